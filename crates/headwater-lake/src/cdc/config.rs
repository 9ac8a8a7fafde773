//! How changes are applied to a table: the user's settings against the columns, and what the table itself remembers of
//! them.

use headwater_cdc::check_sequence_type;
use headwater_connect::{DataType, StructField, StructType};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::actions;
use crate::schema::find;
use crate::table::{Table, View};
use crate::{
    CdcSpec, END_AT, Feed, LakeError, SEQUENCE, START_AT, ScdType, TableName, TrackHistory, WriteMode,
    WriterSpec,
};

/// The domain in which a table keeps how changes are applied to it, and which version of the hidden rows goes with it.
pub(crate) const CDC_DOMAIN: &str = "headwater-cdc";

/// The text of the domain. Persisted; fields are added, never changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CdcRecord {
    /// Version of this form.
    pub(crate) v: u32,
    /// 1 or 2.
    pub(crate) scd_type: u8,
    /// The key columns with their types, sorted by name.
    pub(crate) keys: Vec<Typed>,
    /// The type of the sequence; none for snapshots.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) sequence: Option<Value>,
    /// Which columns are tracked; none with SCD type 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) track: Option<Track>,
    /// The version of the table of hidden rows that belongs to this version of the table; none where no row is hidden.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) hidden: Option<u64>,
    /// The version of the last snapshot, in microseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) snapshot: Option<i64>,
    /// The key columns in the order that files are sorted by, where it is another than by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) order: Option<Vec<String>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Typed {
    pub(crate) name: String,
    #[serde(rename = "type")]
    pub(crate) data_type: Value,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Track {
    All,
    Only(Vec<String>),
    Except(Vec<String>),
}

impl Track {
    fn shown(&self) -> String {
        match self {
            Track::All => "all".to_owned(),
            Track::Only(names) => names.join(", "),
            Track::Except(names) => format!("all but {}", names.join(", ")),
        }
    }
}

impl CdcRecord {
    pub(crate) const VERSION: u32 = 1;

    /// The `domainMetadata` action.
    pub(crate) fn line(&self) -> Result<Value, serde_json::Error> {
        Ok(actions::domain(CDC_DOMAIN, &serde_json::to_string(self)?))
    }

    /// The `domainMetadata` action of a table to which changes are no longer applied.
    pub(crate) fn removal() -> Value {
        serde_json::json!({"domainMetadata": {"domain": CDC_DOMAIN, "configuration": "", "removed": true}})
    }

    /// The key columns in the order that files are sorted by.
    pub(crate) fn order(&self) -> Vec<String> {
        self.order.clone().unwrap_or_else(|| self.keys.iter().map(|key| key.name.clone()).collect())
    }

    pub(crate) fn scd_name(&self) -> String {
        format!("SCD_TYPE_{}", self.scd_type)
    }

    /// Compares what the table was made with and what is asked for.
    ///
    /// # Errors
    /// [`LakeError::Drift`] with the first difference.
    pub(crate) fn check(&self, asked: &Self, table: &TableName) -> Result<(), LakeError> {
        let drift =
            |what, was: String, now: String| Err(LakeError::Drift { table: table.clone(), what, was, now });
        if self.scd_type != asked.scd_type {
            return drift("the SCD type", self.scd_name(), asked.scd_name());
        }
        if self.keys != asked.keys {
            let shown = |keys: &[Typed]| {
                let each = keys.iter().map(|k| format!("{} {}", k.name, type_name(&k.data_type)));
                format!("({})", each.collect::<Vec<_>>().join(", "))
            };
            return drift("the key", shown(&self.keys), shown(&asked.keys));
        }
        if self.sequence != asked.sequence {
            let shown = |sequence: &Option<Value>| {
                sequence.as_ref().map_or("none (a snapshot)".to_owned(), type_name)
            };
            return drift("the type of the sequence", shown(&self.sequence), shown(&asked.sequence));
        }
        if self.track != asked.track {
            let shown = |track: &Option<Track>| track.as_ref().map_or_else(String::new, Track::shown);
            return drift("the set of tracked columns", shown(&self.track), shown(&asked.track));
        }
        Ok(())
    }
}

/// A type without what the log keeps beside the fields in it: their mapping is no part of what they are.
fn bare(mut data_type: Value) -> Value {
    match &mut data_type {
        Value::Array(items) => items.iter_mut().for_each(|item| *item = bare(item.take())),
        Value::Object(members) => {
            for (name, member) in members {
                *member = if name == "metadata" { Value::Object(Map::new()) } else { bare(member.take()) };
            }
        }
        _ => {}
    }
    data_type
}

fn type_name(data_type: &Value) -> String {
    DataType::from_json(data_type).map_or_else(|_| data_type.to_string(), |t| t.to_string())
}

/// The settings of a writer, in terms of the table's columns.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    /// Places of the key columns.
    pub(crate) keys: Vec<usize>,
    /// The place of the sequence: a column and, below it, fields.
    pub(crate) sequence: Option<Vec<usize>>,
    /// Places of the tracked columns.
    pub(crate) tracked: Vec<usize>,
    /// Places of the columns that come from the source.
    pub(crate) own: Vec<usize>,
    /// Places of the start and the end of a record.
    pub(crate) span: Option<(usize, usize)>,
    /// What the table is to remember.
    pub(crate) record: CdcRecord,
}

/// Adds to the source's columns those that a history has of its own.
///
/// # Errors
/// [`LakeError::BadCdc`]: the keys, the sequence or the tracked columns do not fit the columns.
pub(crate) fn extended(
    table: &TableName,
    cdc: &CdcSpec,
    schema: &StructType,
) -> Result<StructType, LakeError> {
    let mut schema = schema.clone();
    if cdc.scd_type == ScdType::Two {
        for name in [START_AT, END_AT] {
            if find(&schema, name).is_some() {
                return Err(bad(
                    table,
                    format!("the source has a column `{name}`, which a history needs for itself"),
                    "leave the column out with `exclude_columns`, or keep current rows only (`scd_type: SCD_TYPE_1`)",
                ));
            }
        }
        let data_type = sequence_type(table, cdc, &schema)?.unwrap_or(DataType::Timestamp);
        schema.fields.push(StructField::nullable(START_AT, data_type.clone()));
        schema.fields.push(StructField::nullable(END_AT, data_type));
    }
    Ok(schema)
}

fn bad(table: &TableName, reason: String, remedy: &str) -> LakeError {
    LakeError::BadCdc { table: table.clone(), reason, remedy: remedy.to_owned() }
}

fn sequence_type(
    table: &TableName,
    cdc: &CdcSpec,
    schema: &StructType,
) -> Result<Option<DataType>, LakeError> {
    const REMEDY: &str = "name a column that orders the changes in `sequence_by`";
    let Some(path) = &cdc.sequence_by else {
        return match cdc.feed {
            Feed::Snapshot { .. } => Ok(None),
            Feed::Upserts | Feed::Deletes => {
                Err(bad(table, "no column orders the changes of a row".to_owned(), REMEDY))
            }
        };
    };
    let Some((_, data_type)) = resolve(schema, path) else {
        return Err(bad(table, format!("there is no column `{path}` to order the changes by"), REMEDY));
    };
    if let Err(why) = check_sequence_type(&data_type) {
        return Err(bad(table, format!("`{path}` cannot order the changes: {why}"), REMEDY));
    }
    Ok(Some(data_type))
}

/// Finds a column, or a field in a struct column, and its type. A column whose name has dots is found before a path.
fn resolve(schema: &StructType, path: &str) -> Option<(Vec<usize>, DataType)> {
    if let Some(field) = find(schema, path) {
        let at = schema.fields.iter().position(|f| f.name == field.name)?;
        return Some((vec![at], field.data_type.clone()));
    }
    path.match_indices('.').find_map(|(dot, _)| {
        let (head, rest) = (path.get(..dot)?, path.get(dot + 1..)?);
        let field = find(schema, head)?;
        let DataType::Struct(inner) = &field.data_type else { return None };
        let (mut places, data_type) = resolve(inner, rest)?;
        places.insert(0, schema.fields.iter().position(|f| f.name == field.name)?);
        Some((places, data_type))
    })
}

impl Config {
    /// Resolves the settings against the table's columns, those of a history included. `source` are the columns that
    /// the rows come with.
    ///
    /// # Errors
    /// [`LakeError::BadCdc`].
    pub(crate) fn new(
        table: &TableName,
        cdc: &CdcSpec,
        source: &StructType,
        schema: &StructType,
    ) -> Result<Self, LakeError> {
        const KEYS: &str = "name the columns that identify a record in `primary_keys`";
        if cdc.keys.is_empty() {
            return Err(bad(table, "no column is named as its key".to_owned(), KEYS));
        }
        let place = |name: &str| {
            let field = find(schema, name)?;
            schema.fields.iter().position(|f| f.name == field.name)
        };
        let mut keys = Vec::with_capacity(cdc.keys.len());
        for name in &cdc.keys {
            let at = find(source, name).and_then(|_| place(name));
            let at = at.ok_or_else(|| {
                bad(table, format!("its key column `{name}` is not among the columns"), KEYS)
            })?;
            let field = &schema.fields[at];
            if matches!(field.data_type, DataType::Map { .. } | DataType::Variant | DataType::Null) {
                return Err(bad(table, format!("`{name}` is {} and cannot be a key", field.data_type), KEYS));
            }
            if keys.contains(&at) {
                return Err(bad(table, format!("the key column `{name}` is named twice"), KEYS));
            }
            keys.push(at);
        }
        let sequence = match &cdc.sequence_by {
            None => None,
            Some(path) => resolve(schema, path).map(|(places, _)| places),
        };
        let sequence_type = sequence_type(table, cdc, schema)?;
        let own: Vec<usize> = (0..schema.fields.len())
            .filter(|&at| ![START_AT, END_AT].contains(&schema.fields[at].name.as_str()))
            .collect();
        let span = match cdc.scd_type {
            ScdType::One => None,
            ScdType::Two => place(START_AT).zip(place(END_AT)),
        };
        let (tracked, track) = match cdc.scd_type {
            ScdType::One => (Vec::new(), None),
            ScdType::Two => {
                let (places, track) = tracked(table, cdc, schema, &keys, &own)?;
                (places, Some(track))
            }
        };
        let mut typed: Vec<Typed> = keys
            .iter()
            .map(|&at| Typed {
                name: schema.fields[at].name.clone(),
                data_type: bare(schema.fields[at].data_type.to_json()),
            })
            .collect();
        let given: Vec<String> = typed.iter().map(|key| key.name.clone()).collect();
        typed.sort_by(|a, b| a.name.cmp(&b.name));
        let order = (!given.iter().eq(typed.iter().map(|key| &key.name))).then_some(given);
        let record = CdcRecord {
            v: CdcRecord::VERSION,
            scd_type: if cdc.scd_type == ScdType::One { 1 } else { 2 },
            keys: typed,
            sequence: sequence_type.map(|t| bare(t.to_json())),
            track,
            hidden: None,
            snapshot: None,
            order,
        };
        Ok(Self { keys, sequence, tracked, own, span, record })
    }

    /// The name of the column that orders the changes, for messages.
    pub(crate) fn sequence_name(cdc: &CdcSpec) -> String {
        cdc.sequence_by.clone().unwrap_or_default()
    }
}

fn tracked(
    table: &TableName,
    cdc: &CdcSpec,
    schema: &StructType,
    keys: &[usize],
    own: &[usize],
) -> Result<(Vec<usize>, Track), LakeError> {
    let may: Vec<usize> =
        own.iter().copied().filter(|at| !keys.contains(at) && schema.fields[*at].name != SEQUENCE).collect();
    let places = |names: &[String]| {
        let mut places = Vec::with_capacity(names.len());
        for name in names {
            let found = find(schema, name)
                .and_then(|f| may.iter().copied().find(|&at| schema.fields[at].name == f.name));
            let Some(at) = found else {
                let names: Vec<_> = may.iter().map(|&at| schema.fields[at].name.as_str()).collect();
                return Err(bad(
                    table,
                    format!(
                        "`{name}` is not a column whose history can be tracked; there are {}",
                        names.join(", ")
                    ),
                    "correct `track_history_columns` or `track_history_except_columns`",
                ));
            };
            places.push(at);
        }
        places.sort_unstable();
        places.dedup();
        Ok(places)
    };
    let names = |places: &[usize]| {
        let mut names: Vec<String> = places.iter().map(|&at| schema.fields[at].name.clone()).collect();
        names.sort();
        names
    };
    Ok(match &cdc.track {
        TrackHistory::All => (may, Track::All),
        TrackHistory::Only(wanted) => {
            let places = places(wanted)?;
            let track = Track::Only(names(&places));
            (places, track)
        }
        TrackHistory::Except(unwanted) => {
            let out = places(unwanted)?;
            let track = Track::Except(names(&out));
            (may.into_iter().filter(|at| !out.contains(at)).collect(), track)
        }
    })
}

/// Where a key or the sequence has taken another type, that is the error, and not what it does to a column.
pub(crate) fn drift_behind(
    error: LakeError,
    table: &Table,
    view: Option<&View>,
    spec: &WriterSpec,
    source: &StructType,
) -> LakeError {
    let LakeError::IncompatibleColumn { column, .. } = &error else { return error };
    let (Some(record), WriteMode::Cdc(cdc)) = (view.and_then(|v| v.cdc.as_ref()), &spec.mode) else {
        return error;
    };
    let spans = [START_AT, END_AT].contains(&column.as_str());
    if !spans && !record.keys.iter().any(|key| key.name == *column) {
        return error;
    }
    let cdc = CdcSpec { track: TrackHistory::All, ..cdc.clone() };
    let Ok(asked) = Config::new(&table.name, &cdc, source, &spec.schema) else { return error };
    let asked = CdcRecord { track: record.track.clone(), ..asked.record };
    record.check(&asked, &table.name).err().unwrap_or(error)
}

/// Compares how the table was made with how changes are to be applied to it.
pub(crate) async fn check_drift(
    table: &Table,
    view: &View,
    config: &Config,
    cdc: &CdcSpec,
) -> Result<(), LakeError> {
    if let Some(record) = &view.cdc {
        return record.check(&config.record, &table.name);
    }
    // The rows of whole snapshots are the current rows; those of an append table are events.
    let adoptable = matches!(cdc.feed, Feed::Snapshot { .. })
        && cdc.scd_type == ScdType::One
        && view.flows.values().all(|flow| flow.snapshot.is_some());
    if adoptable || table.live_files(view).await?.is_empty() {
        return Ok(());
    }
    Err(LakeError::Drift {
        table: table.name.clone(),
        what: "the SCD type",
        was: "none (rows were appended or replaced as a whole)".into(),
        now: config.record.scd_name(),
    })
}
