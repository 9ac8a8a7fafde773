//! What a table is to be: the connector's word and the user's settings, checked against each other.

use headwater_connect::{DataType, IngestionType, StructField, StructType, TableMetadata};
use headwater_lake::{CdcSpec, END_AT, Feed, SEQUENCE, START_AT, TrackHistory, WriteMode};
use headwater_spec::{Retention, ScdType, TableConfiguration};

use crate::FlowError;
use crate::columns::{Columns, Path};
use crate::error::did_you_mean;
use crate::expand::FlowTarget;

/// A table whose settings go together.
pub(crate) struct Settled {
    pub(crate) schema: StructType,
    pub(crate) primary_keys: Vec<String>,
    pub(crate) sequence_by: Option<String>,
    pub(crate) scd_type: ScdType,
    pub(crate) mode: WriteMode,
    pub(crate) cluster_by: Vec<String>,
    pub(crate) columns: Columns,
    pub(crate) columns_of_deletions: Option<Columns>,
    pub(crate) warnings: Vec<String>,
}

/// Settles a table of this schema and these metadata.
pub(crate) fn settle(
    target: &FlowTarget,
    schema: StructType,
    metadata: &TableMetadata,
) -> Result<Settled, FlowError> {
    Settling {
        table: &target.source_table,
        configuration: &target.configuration,
        target,
        schema,
        metadata,
        warnings: Vec::new(),
    }
    .settle()
}

/// What becomes of the rows.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kept {
    /// All stay.
    Appended,
    /// Those of the last time only.
    Replaced,
    /// By key.
    Keyed,
}

/// The settings of one table while they are checked.
struct Settling<'a> {
    table: &'a str,
    configuration: &'a TableConfiguration,
    target: &'a FlowTarget,
    /// All columns that the source has.
    schema: StructType,
    metadata: &'a TableMetadata,
    warnings: Vec<String>,
}

impl Settling<'_> {
    fn settle(mut self) -> Result<Settled, FlowError> {
        let scd_type = self.scd_type()?;
        let is_keyed = scd_type != ScdType::AppendOnly;
        let primary_keys = self.primary_keys(is_keyed)?;
        let kept = self.kept(scd_type, &primary_keys)?;
        let sequence = self.sequence(kept)?;
        let cluster_by = self.configuration.cluster_by.as_deref().unwrap_or_default();
        let cluster_by = self.columns("cluster_by", cluster_by)?;
        let needed = [("primary_keys", primary_keys.as_slice()), ("cluster_by", cluster_by.as_slice())];
        let mut schema = self.selected_columns(&needed)?;
        let (mut mode, mut columns_of_deletions) = (WriteMode::Append, None);
        if kept == Kept::Replaced {
            mode = WriteMode::Snapshot;
        }
        if kept != Kept::Keyed {
            let columns = Columns::same(&schema);
            let sequence_by = sequence.map(|path| path.text());
            let warnings = self.warnings;
            return Ok(Settled {
                schema,
                primary_keys,
                sequence_by,
                scd_type,
                mode,
                cluster_by,
                columns,
                columns_of_deletions,
                warnings,
            });
        }
        self.no_reserved_columns(scd_type, &schema)?;
        let track = self.track(&primary_keys, &schema)?;
        let is_snapshot = !self.metadata.ingestion_type.is_stream();
        let order = sequence.as_ref().filter(|_| !is_snapshot);
        let deletes = self.metadata.ingestion_type == IngestionType::CdcWithDeletes;
        if deletes {
            relax(&mut schema, &primary_keys, order);
        }
        let in_table = order.map(|path| add_sequence(&mut schema, &self.schema, path));
        let columns = Columns::keyed(&self.schema, &schema, &primary_keys, order);
        if deletes {
            columns_of_deletions = Some(Columns::of_deletions(&self.schema, &schema, &primary_keys, order));
        }
        mode = WriteMode::Cdc(CdcSpec {
            keys: primary_keys.clone(),
            scd_type: match scd_type {
                ScdType::Type2 => headwater_lake::ScdType::Two,
                ScdType::Type1 | ScdType::AppendOnly => headwater_lake::ScdType::One,
            },
            feed: if is_snapshot {
                Feed::Snapshot { version: self.target.update_started_at }
            } else {
                Feed::Upserts
            },
            sequence_by: in_table,
            track,
            tombstone_retention: match self.configuration.tombstone_retention {
                None | Some(Retention::Keep) => None,
                Some(Retention::For(length)) => Some(length),
            },
            deletion_vectors: self.configuration.deletion_vectors,
        });
        let sequence_by = sequence.map(|path| path.text());
        let warnings = self.warnings;
        Ok(Settled {
            schema,
            primary_keys,
            sequence_by,
            scd_type,
            mode,
            cluster_by,
            columns,
            columns_of_deletions,
            warnings,
        })
    }

    fn scd_type(&mut self) -> Result<ScdType, FlowError> {
        use IngestionType::{Append, CdcWithDeletes};
        match (self.metadata.ingestion_type, self.configuration.scd_type) {
            (Append, Some(ScdType::Type2)) => Err(self.wrong(
                "scd_type",
                "is SCD_TYPE_2, but its records never change, so that there is no history to keep".into(),
                "take it out, or set it to APPEND_ONLY".into(),
            )),
            (Append, asked) => {
                if asked == Some(ScdType::Type1) {
                    self.warnings.push(format!(
                        "`scd_type: SCD_TYPE_1` changes nothing for `{}`: its records never change, so they are appended",
                        self.table
                    ));
                }
                Ok(ScdType::AppendOnly)
            }
            (ingestion_type, Some(ScdType::AppendOnly)) => {
                if ingestion_type == CdcWithDeletes {
                    self.warnings.push(format!(
                        "deletions of `{}` are not read: with `scd_type: APPEND_ONLY` only its changed records are kept",
                        self.table
                    ));
                }
                Ok(ScdType::AppendOnly)
            }
            (_, asked) => Ok(asked.unwrap_or(ScdType::Type1)),
        }
    }

    fn kept(&self, scd_type: ScdType, keys: &[String]) -> Result<Kept, FlowError> {
        match (scd_type, self.metadata.ingestion_type) {
            (ScdType::AppendOnly, _) => Ok(Kept::Appended),
            (ScdType::Type1, IngestionType::Snapshot) if keys.is_empty() => Ok(Kept::Replaced),
            _ if keys.is_empty() => Err(self.wrong(
                "primary_keys",
                format!(
                    "must say what tells records apart, to keep it as {scd_type}: the connector names no keys"
                ),
                "set `primary_keys` in its `table_configuration`".into(),
            )),
            _ => Ok(Kept::Keyed),
        }
    }

    fn wrong(&self, setting: &'static str, reason: String, hint: String) -> FlowError {
        FlowError::Configuration { table: self.table.to_owned(), setting, reason, hint }
    }

    fn no_such_column(&self, setting: &'static str, name: &str) -> FlowError {
        let hint = did_you_mean(name, self.schema.fields.iter().map(|field| field.name.as_str()));
        self.wrong(setting, format!("names `{name}`, which is not a column"), hint)
    }

    /// Finds a column by its name, exactly or else without regard to case, and gives its own spelling.
    fn find(&self, name: &str) -> Option<String> {
        let field = self.schema.field(name).or_else(|| self.schema.field_ignore_case(name));
        field.map(|field| field.name.clone())
    }

    /// Finds the columns that a setting names.
    fn columns(&self, setting: &'static str, names: &[String]) -> Result<Vec<String>, FlowError> {
        let found =
            names.iter().map(|name| self.find(name).ok_or_else(|| self.no_such_column(setting, name)));
        found.collect()
    }

    /// The keys: those of the user, or else those of the connector. What the connector names wrongly is an error
    /// where rows go by their keys, and otherwise left out, because the table is right all the same.
    fn primary_keys(&mut self, is_keyed: bool) -> Result<Vec<String>, FlowError> {
        if let Some(keys) = &self.configuration.primary_keys {
            return self.columns("primary_keys", keys);
        }
        let mut found = Vec::new();
        for name in &self.metadata.primary_keys {
            match self.find(name) {
                Some(column) => found.push(column),
                None if is_keyed => return Err(self.named_wrongly("primary_keys", name)),
                None => self.warn_of_name("primary keys", name),
            }
        }
        Ok(found)
    }

    /// The column that orders changes: that of the user, or else that of the connector.
    fn sequence(&mut self, kept: Kept) -> Result<Option<Path>, FlowError> {
        let is_needed = kept == Kept::Keyed && self.metadata.ingestion_type.is_stream();
        if let Some(name) = &self.configuration.sequence_by {
            let found = Path::find(&self.schema, name);
            return found.map(Some).ok_or_else(|| self.no_such_path(name));
        }
        match &self.metadata.cursor_field {
            Some(name) => match Path::find(&self.schema, name) {
                Some(path) => Ok(Some(path)),
                None if is_needed => Err(self.named_wrongly("sequence_by", name)),
                None => {
                    self.warn_of_name("cursor field", name);
                    Ok(None)
                }
            },
            None if is_needed => Err(self.wrong(
                "sequence_by",
                "must say what orders its changes: the connector names no cursor field".into(),
                "set `sequence_by` in its `table_configuration`".into(),
            )),
            None => Ok(None),
        }
    }

    /// A path that ends early is explained by the fields that there are where it ends.
    fn no_such_path(&self, name: &str) -> FlowError {
        let within = name.match_indices('.').map(|(at, _)| name.split_at(at).0);
        let above = within.filter_map(|above| Some((above, Path::find(&self.schema, above)?))).next_back();
        let Some((above, path)) = above else { return self.no_such_column("sequence_by", name) };
        let rest = name.strip_prefix(above).unwrap_or(name).trim_start_matches('.');
        let inner = match path.field(&self.schema).map(|field| &field.data_type) {
            Some(DataType::Struct(inner)) => inner,
            other => {
                let reason = format!("names `{name}`, but `{}` is not a struct", path.text());
                let orders = !matches!(
                    other,
                    None | Some(DataType::Array { .. } | DataType::Map { .. } | DataType::Variant)
                );
                let hint = if orders {
                    format!("did you mean `{}`?", path.text())
                } else {
                    "name a column, or a field of a struct column".to_owned()
                };
                return self.wrong("sequence_by", reason, hint);
            }
        };
        let hint = did_you_mean(rest, inner.fields.iter().map(|field| field.name.as_str()));
        self.wrong(
            "sequence_by",
            format!("names `{name}`, but `{}` has no field `{rest}`", path.text()),
            hint,
        )
    }

    fn named_wrongly(&self, setting: &'static str, name: &str) -> FlowError {
        self.wrong(
            setting,
            format!("of the connector names `{name}`, which is not a column"),
            format!(
                "this is a defect of the connector: report it; until it is mended, set `{setting}` in the `table_configuration`"
            ),
        )
    }

    fn warn_of_name(&mut self, what: &str, name: &str) {
        let warning = format!(
            "the connector names `{name}` among the {what} of `{}`, which is not a column",
            self.table
        );
        self.warnings.push(warning);
    }

    /// Narrows the schema to the columns that the user wants.
    fn selected_columns(&self, needed: &[(&'static str, &[String])]) -> Result<StructType, FlowError> {
        let included = match &self.configuration.include_columns {
            None => None,
            Some(names) => Some(self.columns("include_columns", names)?),
        };
        let excluded = self.configuration.exclude_columns.as_deref().unwrap_or_default();
        let excluded = self.columns("exclude_columns", excluded)?;
        let stays = |name: &String| {
            included.as_ref().is_none_or(|included| included.contains(name)) && !excluded.contains(name)
        };
        for (role, columns) in needed {
            if let Some(lost) = columns.iter().find(|column| !stays(column)) {
                let setting = if excluded.contains(lost) { "exclude_columns" } else { "include_columns" };
                let hint = format!("keep `{lost}`, or name other columns in `{role}`");
                return Err(self.wrong(setting, format!("leaves out `{lost}`, which `{role}` needs"), hint));
            }
        }
        let schema = StructType::new(self.schema.fields.iter().filter(|field| stays(&field.name)).cloned());
        if schema.fields.is_empty() {
            let hint = "keep at least one column".to_owned();
            return Err(self.wrong("exclude_columns", "leaves no column".into(), hint));
        }
        Ok(schema)
    }

    /// Names that tables with keys have for columns of their own.
    fn no_reserved_columns(&self, scd_type: ScdType, schema: &StructType) -> Result<(), FlowError> {
        let of_history = |name: &str| {
            scd_type == ScdType::Type2 && [START_AT, END_AT].iter().any(|own| own.eq_ignore_ascii_case(name))
        };
        let of_sequence =
            |name: &str| name.get(..SEQUENCE.len()).is_some_and(|start| start.eq_ignore_ascii_case(SEQUENCE));
        match schema.fields.iter().find(|field| of_history(&field.name) || of_sequence(&field.name)) {
            None => Ok(()),
            Some(field) => Err(FlowError::ReservedColumn {
                table: self.table.to_owned(),
                column: field.name.clone(),
                scd_type,
            }),
        }
    }

    /// The columns whose changes begin a record of the history.
    fn track(&self, keys: &[String], schema: &StructType) -> Result<TrackHistory, FlowError> {
        let check = |setting: &'static str, names: &[String]| {
            let columns = self.columns(setting, names)?;
            for column in &columns {
                if keys.contains(column) {
                    let reason = format!("names `{column}`, which is part of the key");
                    return Err(self.wrong(setting, reason, "a key never changes; take it out".into()));
                }
                if schema.field(column).is_none() && setting == "track_history_columns" {
                    let reason = format!("names `{column}`, which is not kept");
                    let hint = "keep the column, or take it out".to_owned();
                    return Err(self.wrong(setting, reason, hint));
                }
            }
            Ok(columns)
        };
        match (&self.configuration.track_history_columns, &self.configuration.track_history_except_columns) {
            (Some(names), _) => Ok(TrackHistory::Only(check("track_history_columns", names)?)),
            (None, Some(names)) => {
                let mut columns = check("track_history_except_columns", names)?;
                columns.retain(|column| schema.field(column).is_some());
                Ok(if columns.is_empty() { TrackHistory::All } else { TrackHistory::Except(columns) })
            }
            (None, None) => Ok(TrackHistory::All),
        }
    }
}

/// Lets everything be null that a deletion does not have.
fn relax(schema: &mut StructType, keys: &[String], sequence: Option<&Path>) {
    fn deep(field: &mut StructField) {
        field.nullable = true;
        if let DataType::Struct(inner) = &mut field.data_type {
            inner.fields.iter_mut().for_each(deep);
        }
    }
    for field in &mut schema.fields {
        let orders = sequence.is_some_and(|path| path.column() == field.name);
        let alone = orders && !matches!(field.data_type, DataType::Struct(_));
        if !keys.contains(&field.name) && !alone {
            deep(field);
        }
    }
}

/// Gives the sequence a column of its own where the table does not have its column; gives its path in the table.
fn add_sequence(schema: &mut StructType, source: &StructType, path: &Path) -> String {
    if schema.field(path.column()).is_some() {
        return path.text();
    }
    if let Some(field) = path.field(source) {
        schema.fields.push(StructField {
            nullable: false,
            ..StructField::nullable(SEQUENCE, field.data_type.clone())
        });
    }
    SEQUENCE.to_owned()
}
