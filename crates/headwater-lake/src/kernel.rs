//! The only module that touches `delta_kernel`'s internal API. Everything here blocks: call it inside
//! [`crate::store::blocking`].

use std::collections::{BTreeMap, HashMap};
use std::num::NonZero;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type};
use arrow_array::{Array, RecordBatch, StructArray};
use delta_kernel::actions::{Metadata, Protocol};
use delta_kernel::engine::arrow_data::ArrowEngineData;
use delta_kernel::engine::arrow_expression::evaluate_expression::evaluate_expression;
use delta_kernel::expressions::{ColumnName, Expression, Predicate, PredicateRef, UnaryExpressionOp};
use delta_kernel::scan::ScanMetadata;
use delta_kernel::schema::{DataType, PrimitiveType};
use delta_kernel::snapshot::{IncrementalReplay, Snapshot, SnapshotRef};
use delta_kernel::{Engine, KernelError};
use delta_kernel_default_engine::executor::tokio::TokioMultiThreadExecutor;
use delta_kernel_default_engine::{DefaultEngine, DefaultEngineBuilder};
use headwater_connect::BoxError;
use object_store::ObjectStore;
use serde::Deserialize;
use serde_json::{Value, json};
use url::Url;

use crate::store::{runtime, storage_error};
use crate::{LakeError, TableName};

/// Rows that the kernel hands out at a time.
const READ_BATCH_ROWS: NonZero<usize> = match NonZero::new(8_192) {
    Some(rows) => rows,
    None => NonZero::<usize>::MIN,
};

pub(crate) type KernelEngine = DefaultEngine<TokioMultiThreadExecutor>;

/// Makes the kernel's engine over a storage.
pub(crate) fn engine(store: Arc<dyn ObjectStore>) -> Result<Arc<KernelEngine>, LakeError> {
    let executor = Arc::new(TokioMultiThreadExecutor::new(runtime()?.clone()));
    let builder = DefaultEngineBuilder::new(store).with_task_executor(executor);
    Ok(Arc::new(builder.with_batch_size(READ_BATCH_ROWS).build()))
}

/// A live data file of a snapshot.
#[derive(Debug, Clone)]
pub(crate) struct LiveFile {
    /// Path as the log has it: relative to the table and percent-encoded, or a URL.
    pub(crate) path: String,
    /// Size in bytes.
    pub(crate) size: i64,
    /// When it was made, in milliseconds since 1970.
    pub(crate) modification_time: i64,
    /// Its statistics, as JSON text.
    pub(crate) stats: Option<String>,
    /// Its deletion vector, as the log has it.
    pub(crate) deletion_vector: Option<Value>,
    /// Rows that the deletion vector marks dead.
    pub(crate) dead_rows: u64,
    /// Values of the partition columns.
    pub(crate) partition_values: BTreeMap<String, Option<String>>,
}

#[derive(Deserialize)]
struct RowCount {
    #[serde(rename = "numRecords")]
    rows: Option<u64>,
}

impl LiveFile {
    /// Live rows, where the statistics say.
    pub(crate) fn rows(&self) -> Option<u64> {
        let count: RowCount = serde_json::from_str(self.stats.as_deref()?).ok()?;
        Some(count.rows?.saturating_sub(self.dead_rows))
    }

    /// What tells this file from others: its path, and which of its rows are dead.
    pub(crate) fn key(&self) -> String {
        match &self.deletion_vector {
            None => self.path.clone(),
            Some(vector) => format!("{} {vector}", self.path),
        }
    }
}

/// What the log says of the table as a whole.
#[derive(Debug, Clone)]
pub(crate) struct RawState {
    /// The body of the `metaData` action.
    pub(crate) metadata: Value,
    /// The body of the `protocol` action.
    pub(crate) protocol: Value,
    /// The domains and their text, those of Delta itself included.
    pub(crate) domains: BTreeMap<String, String>,
}

/// Builds the snapshot of a table; from an earlier one where there is, which costs a listing and the new commits.
pub(crate) fn snapshot(
    engine: &KernelEngine,
    table: &TableName,
    location: &Url,
    from: Option<SnapshotRef>,
    version: Option<u64>,
) -> Result<SnapshotRef, LakeError> {
    let built = match (from, version) {
        (Some(earlier), None) => Snapshot::builder_from(earlier)
            .with_incremental_crc_replay(IncrementalReplay::Unlimited)
            .build(engine),
        (_, Some(version)) => Snapshot::builder_for(location.as_str()).at_version(version).build(engine),
        (None, None) => Snapshot::builder_for(location.as_str())
            .with_incremental_crc_replay(IncrementalReplay::Unlimited)
            .build(engine),
    };
    built.map_err(|e| kernel_error(table, "reading the log", e))
}

/// Reads what the log says of the table as a whole.
pub(crate) fn raw_state(
    engine: &KernelEngine,
    table: &TableName,
    snapshot: &SnapshotRef,
) -> Result<RawState, LakeError> {
    let metadata: &Metadata = snapshot.table_configuration().metadata();
    let protocol: &Protocol = snapshot.table_configuration().protocol();
    let domains = snapshot
        .get_domain_metadatas_internal(engine, None)
        .map_err(|e| kernel_error(table, "reading the log", e))?;
    let json = |made: serde_json::Result<Value>| made.map_err(|e| damaged(table, e));
    Ok(RawState {
        metadata: json(serde_json::to_value(metadata))?,
        protocol: json(serde_json::to_value(protocol))?,
        domains: domains
            .into_iter()
            .filter(|(_, domain)| !domain.is_removed())
            .map(|(name, domain)| (name, domain.configuration().to_owned()))
            .collect(),
    })
}

/// The last version of the transactions of `flow`, or `None`.
pub(crate) fn transaction(
    engine: &KernelEngine,
    table: &TableName,
    snapshot: &SnapshotRef,
    flow: &str,
) -> Result<Option<i64>, LakeError> {
    snapshot.get_app_id_version(flow, engine).map_err(|e| kernel_error(table, "reading the log", e))
}

/// Lists the live files of a snapshot.
pub(crate) fn live_files(
    engine: &KernelEngine,
    table: &TableName,
    snapshot: &SnapshotRef,
) -> Result<Vec<LiveFile>, LakeError> {
    let failed = |e| kernel_error(table, "listing the files of the table", e);
    let scan = Arc::clone(snapshot).scan_builder().without_row_transforms().build().map_err(failed)?;
    let mut files = Vec::new();
    for found in scan.scan_metadata(engine).map_err(failed)? {
        collect_files(table, &found.map_err(failed)?, &mut files)?;
    }
    Ok(files)
}

fn collect_files(
    table: &TableName,
    found: &ScanMetadata,
    files: &mut Vec<LiveFile>,
) -> Result<(), LakeError> {
    let selected = found.scan_files.selection_vector();
    let batch = found
        .scan_files
        .data()
        .any_ref()
        .downcast_ref::<ArrowEngineData>()
        .map(ArrowEngineData::record_batch)
        .ok_or_else(|| damaged(table, "the listing is not Arrow"))?;
    let missing = |name: &str| damaged(table, format!("the listing has no `{name}`"));
    let column = |name: &str| batch.column_by_name(name).ok_or_else(|| missing(name));
    let paths = column("path")?.as_string_opt::<i32>().ok_or_else(|| missing("path"))?;
    let sizes = column("size")?.as_primitive_opt::<Int64Type>().ok_or_else(|| missing("size"))?;
    let times = column("modificationTime")?
        .as_primitive_opt::<Int64Type>()
        .ok_or_else(|| missing("modificationTime"))?;
    let stats = column("stats")?.as_string_opt::<i32>().ok_or_else(|| missing("stats"))?;
    let vectors = column("deletionVector")?.as_struct_opt().ok_or_else(|| missing("deletionVector"))?;
    let constants =
        column("fileConstantValues")?.as_struct_opt().ok_or_else(|| missing("fileConstantValues"))?;
    for row in 0..batch.num_rows() {
        if !selected.get(row).copied().unwrap_or(true) || paths.is_null(row) {
            continue;
        }
        let vector = deletion_vector(vectors, row);
        files.push(LiveFile {
            path: paths.value(row).to_owned(),
            size: sizes.value(row),
            modification_time: times.value(row),
            stats: stats.is_valid(row).then(|| stats.value(row).to_owned()),
            dead_rows: vector.as_ref().and_then(|v| v["cardinality"].as_u64()).unwrap_or(0),
            deletion_vector: vector,
            partition_values: partition_values(constants, row),
        });
    }
    Ok(())
}

fn deletion_vector(vectors: &StructArray, row: usize) -> Option<Value> {
    if vectors.is_null(row) {
        return None;
    }
    let text = |name: &str| {
        let column = vectors.column_by_name(name)?.as_string_opt::<i32>()?;
        column.is_valid(row).then(|| column.value(row).to_owned())
    };
    let mut vector = json!({
        "storageType": text("storageType")?,
        "pathOrInlineDv": text("pathOrInlineDv")?,
        "sizeInBytes": vectors.column_by_name("sizeInBytes")?.as_primitive_opt::<Int32Type>()?.value(row),
        "cardinality": vectors.column_by_name("cardinality")?.as_primitive_opt::<Int64Type>()?.value(row),
    });
    let offset = vectors.column_by_name("offset")?.as_primitive_opt::<Int32Type>()?;
    if offset.is_valid(row) {
        vector["offset"] = json!(offset.value(row));
    }
    Some(vector)
}

fn partition_values(constants: &StructArray, row: usize) -> BTreeMap<String, Option<String>> {
    let mut values = BTreeMap::new();
    let Some(map) = constants.column_by_name("partitionValues").and_then(|c| c.as_map_opt()) else {
        return values;
    };
    if map.is_null(row) {
        return values;
    }
    let entries = map.value(row);
    if let (Some(keys), Some(texts)) =
        (entries.column(0).as_string_opt::<i32>(), entries.column(1).as_string_opt::<i32>())
    {
        for at in 0..entries.len() {
            let text = texts.is_valid(at).then(|| texts.value(at).to_owned());
            values.insert(keys.value(at).to_owned(), text);
        }
    }
    values
}

/// What to read of a snapshot.
#[derive(Clone, Copy)]
pub(crate) struct Wanted<'a> {
    /// The columns.
    pub(crate) columns: &'a [String],
    /// Values of columns: files whose statistics say that they hold no such row are left out.
    pub(crate) holding: &'a [(String, String)],
}

impl Wanted<'_> {
    /// The values as a predicate, as far as the kernel can compare them.
    fn predicate(&self, snapshot: &SnapshotRef) -> Option<PredicateRef> {
        let schema = snapshot.schema();
        let known = self.holding.iter().filter_map(|(column, value)| {
            let DataType::Primitive(kind) = schema.field(column)?.data_type() else { return None };
            // Only types whose text has one meaning.
            let plain = matches!(
                kind,
                PrimitiveType::Byte
                    | PrimitiveType::Short
                    | PrimitiveType::Integer
                    | PrimitiveType::Long
                    | PrimitiveType::Date
                    | PrimitiveType::String
            );
            // The kernel reads an empty text as null.
            let scalar = kind.parse_scalar(value).ok().filter(|_| plain && !value.is_empty())?;
            Some(Expression::Column(ColumnName::new([column])).eq(scalar))
        });
        known.reduce(Predicate::and).map(Arc::new)
    }
}

/// Reads the rows of a snapshot, in batches, until `take` says stop. Dead rows are left out, widened columns cast and
/// added ones filled with null.
pub(crate) fn scan_rows(
    engine: &Arc<KernelEngine>,
    table: &TableName,
    snapshot: &SnapshotRef,
    wanted: Wanted<'_>,
    mut take: impl FnMut(RecordBatch) -> bool,
) -> Result<(), LakeError> {
    let failed = |e| kernel_error(table, "reading rows", e);
    let builder = Arc::clone(snapshot)
        .scan_builder()
        .with_schema(snapshot.schema().project(wanted.columns).map_err(failed)?)
        .with_predicate(wanted.predicate(snapshot));
    let engine: Arc<dyn Engine> = Arc::clone(engine) as Arc<dyn Engine>;
    for rows in builder.build().map_err(failed)?.execute(engine).map_err(failed)? {
        let rows = ArrowEngineData::try_from_engine_data(rows.map_err(failed)?).map_err(failed)?;
        if !take(RecordBatch::from(rows)) {
            break;
        }
    }
    Ok(())
}

/// Writes the checksum of a version.
pub(crate) fn write_checksum(engine: &KernelEngine, snapshot: &SnapshotRef) -> Result<SnapshotRef, BoxError> {
    Ok(snapshot.write_checksum(engine)?.1)
}

/// Writes the checkpoint of a version.
pub(crate) fn write_checkpoint(
    engine: &KernelEngine,
    snapshot: &SnapshotRef,
) -> Result<SnapshotRef, BoxError> {
    Ok(snapshot.checkpoint(engine, None)?.1)
}

/// Turns file statistics into the text that an `add` action holds.
pub(crate) fn stats_json(stats: StructArray) -> Result<String, BoxError> {
    let field = arrow_schema::Field::new("stats", stats.data_type().clone(), true);
    let schema = Arc::new(arrow_schema::Schema::new(vec![field]));
    let batch = RecordBatch::try_new(schema, vec![Arc::new(stats)])?;
    let column = Expression::Column(ColumnName::new(["stats"]));
    let expression = Expression::unary(UnaryExpressionOp::ToJson, column);
    let text = evaluate_expression(&expression, &batch, Some(&delta_kernel::schema::DataType::STRING))?;
    let text = text.as_string_opt::<i32>().ok_or("statistics did not become text")?;
    Ok(text.value(0).to_owned())
}

/// Reads a schema for the kernel's own use from Delta's JSON form.
pub(crate) fn kernel_schema(json: &Value) -> Result<delta_kernel::schema::StructType, BoxError> {
    Ok(serde_json::from_value(json.clone())?)
}

/// Says that the log, or a file, is not what it must be.
pub(crate) fn damaged(table: &TableName, source: impl Into<BoxError>) -> LakeError {
    LakeError::Damaged { table: table.clone(), source: source.into() }
}

/// Turns an error of the kernel into the lake's.
pub(crate) fn kernel_error(table: &TableName, doing: &str, error: KernelError) -> LakeError {
    match error {
        KernelError::Backtraced { source, .. } => kernel_error(table, doing, *source),
        KernelError::ObjectStore(inner @ object_store::Error::NotFound { .. }) => damaged(table, inner),
        KernelError::ObjectStore(inner) => storage_error(format!("{doing} of {table}"), inner),
        KernelError::IOError(inner) if inner.kind() != std::io::ErrorKind::UnexpectedEof => {
            let source = object_store::Error::Generic { store: "local", source: Box::new(inner) };
            storage_error(format!("{doing} of {table}"), source)
        }
        KernelError::Unsupported(feature) => LakeError::Unsupported { table: table.clone(), feature },
        other => damaged(table, other),
    }
}

/// The table properties of a `metaData` body.
pub(crate) fn properties(metadata: &Value) -> HashMap<String, String> {
    let entries = metadata["configuration"].as_object().into_iter().flatten();
    entries.filter_map(|(k, v)| Some((k.clone(), v.as_str()?.to_owned()))).collect()
}
