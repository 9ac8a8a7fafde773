//! What a writer's columns and clustering make of a table: the actions beside its files.

use std::collections::BTreeSet;

use headwater_connect::StructType;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::actions;
use crate::encode::Layout;
use crate::kernel::properties;
use crate::protocol::{self, Uses};
use crate::schema::{
    assign_mapping, cluster_columns, forget_widening, merge, needs_mapping, note_widening, physical_name,
    stored,
};
use crate::table::{Table, View};
use crate::{LakeError, SchemaChange, WriteMode, WriterSpec};

const MAPPING_MODE: &str = "delta.columnMapping.mode";
const MAPPING_MAX_ID: &str = "delta.columnMapping.maxColumnId";
const VECTORS: &str = "delta.enableDeletionVectors";
/// How many leaf columns have statistics unless the table says otherwise.
const STATS_COLUMNS: usize = 32;

/// What the next commit does to the table beside adding rows.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// The columns after it, with what the log keeps beside each.
    pub(crate) schema: StructType,
    /// The clustering columns after it.
    pub(crate) cluster_by: Vec<String>,
    /// How the user is told.
    pub(crate) changes: Vec<SchemaChange>,
    /// The `protocol`, `metaData` and clustering lines of the commit, where they change.
    pub(crate) lines: Vec<Value>,
    /// The files that are there must be written anew with the new types.
    pub(crate) rewrite: bool,
    /// How many leaf columns have statistics.
    pub(crate) stats_limit: usize,
}

impl Plan {
    /// Says whether the commit changes more than rows.
    pub(crate) fn changes_table(&self) -> bool {
        !self.lines.is_empty()
    }

    pub(crate) fn layout(&self, table: &Table) -> Result<Layout, LakeError> {
        self.layout_by(table, &[])
    }

    /// The layout of files that are sorted by the clustering columns, or else by `keys`.
    pub(crate) fn layout_by(&self, table: &Table, keys: &[String]) -> Result<Layout, LakeError> {
        let order = if self.cluster_by.is_empty() { keys } else { &self.cluster_by };
        Layout::new(&self.schema, order, self.stats_limit)
            .map_err(|e| LakeError::BadSchema { table: table.name.clone(), reason: e.to_string() })
    }
}

/// Works out the plan. `replace` is for a full refresh: nothing of the old columns stays.
///
/// # Errors
/// The columns cannot be reached, or the table uses something that we must not write to.
pub(crate) fn plan(
    table: &Table,
    view: Option<&View>,
    spec: &WriterSpec,
    replace: bool,
) -> Result<Plan, LakeError> {
    match view {
        None => plan_create(table, spec),
        Some(view) => {
            protocol::check_writable(&table.name, &view.protocol, &view.metadata, &view.schema)?;
            let removes = replace || spec.mode != WriteMode::Append;
            if removes && protocol::is_append_only(&view.metadata) {
                let feature = "`delta.appendOnly`: its rows may not be replaced".to_owned();
                return Err(LakeError::Unsupported { table: table.name.clone(), feature });
            }
            if replace { plan_replace(table, view, spec, None) } else { plan_change(table, view, spec) }
        }
    }
}

fn plan_create(table: &Table, spec: &WriterSpec) -> Result<Plan, LakeError> {
    let mut schema = stored(&table.name, &spec.schema)?;
    let cluster_by = cluster_columns(&table.name, &schema, &spec.cluster_by)?;
    let mut configuration = json!({});
    let mapping = needs_mapping(&schema);
    if mapping {
        let highest = assign_mapping(&mut schema, 0, None);
        configuration[MAPPING_MODE] = json!("name");
        configuration[MAPPING_MAX_ID] = json!(highest.to_string());
    }
    let vectors = wanted_vectors(spec, None);
    if let Some(wanted) = vectors {
        configuration[VECTORS] = json!(wanted.to_string());
    }
    let clustering = !cluster_by.is_empty();
    let uses = Uses { clustering, mapping, widening: false, vectors: vectors == Some(true) };
    let metadata = json!({
        "id": Uuid::new_v4().to_string(),
        "format": {"provider": "parquet", "options": {}},
        "schemaString": schema.to_json().to_string(),
        "partitionColumns": [],
        "configuration": configuration,
        "createdTime": table.now().timestamp_millis(),
    });
    let mut lines = vec![
        json!({"protocol": protocol::protocol(&protocol::needed(&schema, uses))}),
        json!({"metaData": metadata}),
    ];
    if !cluster_by.is_empty() {
        lines.push(clustering_line(&schema, &cluster_by));
    }
    let changes = vec![SchemaChange::Create];
    Ok(Plan { schema, cluster_by, changes, lines, rewrite: false, stats_limit: STATS_COLUMNS })
}

/// The plan of a full refresh. `written` are the columns that files were written with already, where there are such.
pub(crate) fn plan_replace(
    table: &Table,
    view: &View,
    spec: &WriterSpec,
    written: Option<&StructType>,
) -> Result<Plan, LakeError> {
    let mut schema = match written {
        Some(written) => written.clone(),
        None => stored(&table.name, &spec.schema)?,
    };
    let cluster_by = cluster_columns(&table.name, &schema, &spec.cluster_by)?;
    // What is told is the way from the old columns to the new, as far as there are words for it.
    let mut changes = merge(&table.name, &view.schema, &spec.schema).map(|m| m.changes).unwrap_or_default();
    changes.retain(|c| !matches!(c, SchemaChange::KeepDropped { .. }));
    let mapped = is_mapped(view);
    let mapping = mapped || needs_mapping(&schema);
    let mut metadata = view.metadata.clone();
    if mapping {
        let highest = assign_mapping(&mut schema, highest_id(view), None);
        set_property(&mut metadata, MAPPING_MODE, "name");
        set_property(&mut metadata, MAPPING_MAX_ID, &highest.to_string());
    }
    forget_widening(&mut schema);
    metadata["schemaString"] = json!(schema.to_json().to_string());
    let vectors = set_vectors(&mut metadata, spec);
    let uses = Uses { clustering: !cluster_by.is_empty(), mapping, widening: false, vectors };
    let lines = change_lines(view, &metadata, &schema, &cluster_by, uses);
    if cluster_by != view.cluster_by {
        changes.push(SchemaChange::ClusterBy { columns: cluster_by.clone() });
    }
    let stats_limit = stats_limit(&metadata);
    Ok(Plan { schema, cluster_by, changes, lines, rewrite: false, stats_limit })
}

fn plan_change(table: &Table, view: &View, spec: &WriterSpec) -> Result<Plan, LakeError> {
    let merged = merge(&table.name, &view.schema, &spec.schema)?;
    let (widens, mut schema, mut changes) = (merged.widens(), merged.schema, merged.changes);
    let cluster_by = if spec.cluster_by.is_empty() {
        view.cluster_by.clone()
    } else {
        cluster_columns(&table.name, &schema, &spec.cluster_by)?
    };
    let mut metadata = view.metadata.clone();
    let mapped = is_mapped(view);
    let mapping = mapped || needs_mapping(&schema);
    if mapping {
        let keep = (!mapped).then_some(&view.schema);
        let highest = assign_mapping(&mut schema, highest_id(view), keep);
        set_property(&mut metadata, MAPPING_MODE, "name");
        set_property(&mut metadata, MAPPING_MAX_ID, &highest.to_string());
    }
    let by_protocol = widens && spec.type_widening;
    // A snapshot replaces every file, so none keeps the narrower type.
    let rewrite = widens && !by_protocol && spec.mode != WriteMode::Snapshot;
    if by_protocol {
        note_widening(&view.schema, &mut schema);
        set_property(&mut metadata, "delta.enableTypeWidening", "true");
    } else if widens {
        forget_widening(&mut schema);
    }
    if rewrite && protocol::is_append_only(&view.metadata) {
        let feature = "`delta.appendOnly`: its files may not be rewritten for a wider type".to_owned();
        return Err(LakeError::Unsupported { table: table.name.clone(), feature });
    }
    if schema != view.schema {
        metadata["schemaString"] = json!(schema.to_json().to_string());
    }
    let vectors = set_vectors(&mut metadata, spec);
    let uses = Uses { clustering: !cluster_by.is_empty(), mapping, widening: by_protocol, vectors };
    let lines = change_lines(view, &metadata, &schema, &cluster_by, uses);
    if cluster_by != view.cluster_by {
        changes.push(SchemaChange::ClusterBy { columns: cluster_by.clone() });
    }
    let stats_limit = stats_limit(&metadata);
    Ok(Plan { schema, cluster_by, changes, lines, rewrite, stats_limit })
}

/// Whether dead rows are to be marked in deletion vectors; `None` where no row ever dies.
fn wanted_vectors(spec: &WriterSpec, metadata: Option<&Value>) -> Option<bool> {
    let WriteMode::Cdc(cdc) = &spec.mode else { return None };
    let property = metadata.and_then(|m| properties(m).get(VECTORS).map(|text| text != "false"));
    Some(cdc.deletion_vectors.or(property).unwrap_or(true))
}

/// Sets the property of deletion vectors as the spec wants it; says whether they are used.
fn set_vectors(metadata: &mut Value, spec: &WriterSpec) -> bool {
    let wanted = wanted_vectors(spec, Some(metadata));
    if let Some(wanted) = wanted {
        set_property(metadata, VECTORS, &wanted.to_string());
    }
    wanted == Some(true)
}

/// Says whether dead rows are marked in deletion vectors.
pub(crate) fn uses_vectors(spec: &WriterSpec, metadata: Option<&Value>) -> bool {
    wanted_vectors(spec, metadata) == Some(true)
}

fn change_lines(
    view: &View,
    metadata: &Value,
    schema: &StructType,
    cluster_by: &[String],
    uses: Uses,
) -> Vec<Value> {
    let mut lines = Vec::new();
    let needed: BTreeSet<String> = protocol::needed(schema, uses);
    if let Some(protocol) = protocol::upgrade(&view.protocol, &needed) {
        lines.push(json!({"protocol": protocol}));
    }
    if *metadata != view.metadata {
        let mut body = metadata.clone();
        if let Some(fields) = body.as_object_mut() {
            fields.retain(|_, value| !value.is_null());
        }
        lines.push(json!({"metaData": body}));
    }
    let physical = |schema: &StructType, names: &[String]| physical_names(schema, names);
    if physical(schema, cluster_by) != physical(&view.schema, &view.cluster_by) {
        lines.push(clustering_line(schema, cluster_by));
    }
    lines
}

fn physical_names(schema: &StructType, names: &[String]) -> Vec<String> {
    names
        .iter()
        .map(|name| schema.field(name).map_or_else(|| name.clone(), |f| physical_name(f).to_owned()))
        .collect()
}

fn clustering_line(schema: &StructType, cluster_by: &[String]) -> Value {
    actions::clustering(&physical_names(schema, cluster_by))
}

fn is_mapped(view: &View) -> bool {
    properties(&view.metadata).get(MAPPING_MODE).is_some_and(|mode| mode != "none")
}

fn highest_id(view: &View) -> i64 {
    properties(&view.metadata).get(MAPPING_MAX_ID).and_then(|text| text.parse().ok()).unwrap_or(0)
}

fn set_property(metadata: &mut Value, name: &str, value: &str) {
    if !metadata["configuration"].is_object() {
        metadata["configuration"] = json!({});
    }
    metadata["configuration"][name] = json!(value);
}

/// How many leaf columns have statistics.
pub(crate) fn stats_limit(metadata: &Value) -> usize {
    let limit =
        properties(metadata).get("delta.dataSkippingNumIndexedCols").and_then(|t| t.parse::<i64>().ok());
    match limit {
        Some(all) if all < 0 => usize::MAX,
        Some(columns) => usize::try_from(columns).unwrap_or(usize::MAX),
        None => STATS_COLUMNS,
    }
}
