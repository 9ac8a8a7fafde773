//! What the tests share: small tables, and reading them back.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, Int64Array, RecordBatch, StringArray};
use futures::TryStreamExt;
use headwater_connect::{DataType, Offset, StructField, StructType};
use headwater_lake::{
    CommitOutcome, DeltaLake, Lake, LakeOptions, ReadSpec, TableName, TableWriter, WriteMode, WriterSpec,
};

pub(crate) fn lake(dir: &tempfile::TempDir) -> DeltaLake {
    DeltaLake::open(dir.path().to_str().unwrap(), LakeOptions::default()).unwrap()
}

pub(crate) fn name() -> TableName {
    TableName::new("main", "shop", "orders").unwrap()
}

/// `id long not null, name string`.
pub(crate) fn schema() -> StructType {
    StructType::new([
        StructField::required("id", DataType::Long),
        StructField::nullable("name", DataType::String),
    ])
}

pub(crate) fn spec(mode: WriteMode) -> WriterSpec {
    WriterSpec {
        table: name(),
        flow: "flow-1".into(),
        schema: schema(),
        mode,
        cluster_by: Vec::new(),
        full_refresh: false,
        memory_bytes: 32 * 1024 * 1024,
        target_file_bytes: WriterSpec::DEFAULT_TARGET_FILE_BYTES,
        type_widening: false,
    }
}

/// Rows of [`schema`] with these ids.
pub(crate) fn rows(ids: impl IntoIterator<Item = i64>) -> RecordBatch {
    let ids: Int64Array = ids.into_iter().collect::<Vec<_>>().into();
    let names: StringArray =
        ids.iter().map(|id| id.filter(|i| i % 3 != 0).map(|i| format!("name {i}"))).collect();
    RecordBatch::try_new(schema().to_arrow(), vec![Arc::new(ids), Arc::new(names)]).unwrap()
}

pub(crate) fn offset(at: i64) -> Offset {
    Offset::from_json(&format!("{{\"at\": {at}}}")).unwrap()
}

/// Sees to it that a commit made a version.
pub(crate) fn committed(outcome: CommitOutcome) {
    assert!(matches!(outcome, CommitOutcome::Committed { .. }), "{outcome:?}");
}

/// Writes and commits.
pub(crate) async fn put(
    writer: &mut dyn TableWriter,
    ids: impl IntoIterator<Item = i64>,
    at: Option<i64>,
) -> CommitOutcome {
    writer.write(rows(ids)).await.unwrap();
    writer.commit(at.map(offset).as_ref()).await.unwrap()
}

pub(crate) async fn read(lake: &DeltaLake, table: &TableName, spec: ReadSpec) -> Vec<RecordBatch> {
    lake.read(table, spec).await.unwrap().try_collect().await.unwrap()
}

/// The values of `id`, sorted.
pub(crate) async fn ids(lake: &DeltaLake) -> Vec<i64> {
    ids_at(lake, None).await
}

pub(crate) async fn ids_at(lake: &DeltaLake, version: Option<u64>) -> Vec<i64> {
    let spec = ReadSpec { version, columns: Some(vec!["id".into()]), ..ReadSpec::default() };
    let batches = read(lake, &name(), spec).await;
    let mut ids: Vec<i64> =
        batches.iter().flat_map(|b| b.column(0).as_primitive::<Int64Type>().values().to_vec()).collect();
    ids.sort_unstable();
    ids
}

/// How often each value of `name` is there; `None` counts as the empty text.
pub(crate) async fn names(lake: &DeltaLake) -> BTreeMap<String, usize> {
    let spec = ReadSpec { columns: Some(vec!["name".into()]), ..ReadSpec::default() };
    let mut names = BTreeMap::new();
    for batch in read(lake, &name(), spec).await {
        let column = batch.column(0).as_string::<i32>().clone();
        for at in 0..column.len() {
            let text = if column.is_null(at) { "" } else { column.value(at) };
            *names.entry(text.to_owned()).or_insert(0) += 1;
        }
    }
    names
}

/// The lines of a version of the log.
pub(crate) fn log(dir: &tempfile::TempDir, version: u64) -> Vec<serde_json::Value> {
    let path = dir.path().join(format!("main/shop/orders/_delta_log/{version:020}.json"));
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The data files in the folder of the table, live or not.
pub(crate) fn data_files(dir: &tempfile::TempDir) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(dir.path().join("main/shop/orders")) else { return Vec::new() };
    let names = entries.map(|e| e.unwrap().file_name().into_string().unwrap());
    let mut files: Vec<_> = names.filter(|n| n != "_delta_log").collect();
    files.sort();
    files
}
