//! Every kind of table that we write, read by readers that we did not write.

use std::sync::Arc;

use arrow_array::{ArrayRef, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray};
use headwater_connect::{DataType, StructField, StructType};
use headwater_lake::{CommitOutcome, Lake, SchemaChange, WriteMode, WriterSpec};
use serde_json::{Value, json};

use crate::canon;
use crate::maker::{
    Local, every_type, every_value, name, offset, put, same_everywhere, same_for, small, small_schema,
    sound_stats, spec, write,
};
use crate::readers::{READERS, ask};

#[tokio::test]
async fn every_type_is_read_alike_and_its_statistics_are_true() {
    let local = Local::new();
    let (table, schema) = (name("every_type"), every_type());
    let (first, second) = (every_value(1), every_value(100));
    put(&local.lake, spec(&table, &schema, WriteMode::Append), std::slice::from_ref(&first), 1).await;
    let path = local.path(&table);
    same_everywhere(&path, &schema, &canon::rows([&first]));
    put(&local.lake, spec(&table, &schema, WriteMode::Append), std::slice::from_ref(&second), 2).await;
    same_everywhere(&path, &schema, &canon::rows([&first, &second]));
    for reader in READERS {
        same_for(reader, &path, &schema, &canon::rows([&first]), Some(0));
    }
    let stats = sound_stats(&path);
    let bounded = stats["bounded"].as_array().unwrap();
    for column in
        ["id", "tiny", "short", "int", "long", "money", "middle", "Text", "day", "at", "local", "nested.x"]
    {
        assert!(bounded.contains(&json!(column)), "no bounds of {column} in {bounded:?}");
    }
    assert_eq!((&stats["files"], &stats["rows"]), (&json!(2), &json!(10)));
}

#[tokio::test]
async fn offsets_and_transactions_are_in_the_log_for_anybody_to_read() {
    let local = Local::new();
    let table = name("offsets");
    for at in 1..=3 {
        put(&local.lake, spec(&table, &small_schema(), WriteMode::Append), &[small([at])], at).await;
    }
    let state = local.lake.table(&table).await.unwrap().unwrap();
    assert_eq!(state.flows["flow"].offset, Some(offset(3)));
    let request = |reader: &str| json!({"reader": reader, "path": local.path(&table), "apps": ["flow"]});
    let spark = ask("detail", request("spark")).unwrap();
    assert_eq!(spark["transactions"], json!({"flow": 3}));
    assert_eq!((&spark["version"], &spark["files"]), (&json!(2), &json!(3)));
    let record: Value = serde_json::from_str(spark["domains"]["headwater.flow"].as_str().unwrap()).unwrap();
    assert_eq!(record["micro_batch"], 3);
    let said: Value = serde_json::from_str(record["offset"].as_str().unwrap()).unwrap();
    assert_eq!(said, json!({"at": 3, "exact": "123456789012345678901234567890"}));
    let deltalake = ask("detail", request("deltalake")).unwrap();
    assert_eq!(deltalake["transactions"], json!({"flow": 3}));
    // A plain table asks nothing of a reader.
    assert_eq!(deltalake["reader_features"], json!([]));
}

#[tokio::test]
async fn a_table_without_rows_has_its_columns() {
    let local = Local::new();
    let table = name("empty");
    put(&local.lake, spec(&table, &every_type(), WriteMode::Append), &[], 1).await;
    same_everywhere(&local.path(&table), &every_type(), &[]);
    let snapshot = name("empty_snapshot");
    put(&local.lake, spec(&snapshot, &small_schema(), WriteMode::Snapshot), &[small(0..9)], 1).await;
    put(&local.lake, spec(&snapshot, &small_schema(), WriteMode::Snapshot), &[], 2).await;
    same_everywhere(&local.path(&snapshot), &small_schema(), &[]);
}

#[tokio::test]
async fn a_snapshot_replaces_what_was_there() {
    let local = Local::new();
    let table = name("snapshot");
    let rows = small(3..9);
    put(&local.lake, spec(&table, &small_schema(), WriteMode::Snapshot), &[small(0..5)], 1).await;
    put(&local.lake, spec(&table, &small_schema(), WriteMode::Snapshot), std::slice::from_ref(&rows), 2)
        .await;
    same_everywhere(&local.path(&table), &small_schema(), &canon::rows([&rows]));
}

/// Reads a table that maps its columns; Polars does not know how to, and must say so.
fn same_for_mapped(path: &str, schema: &StructType, rows: &[Value]) {
    same_for("deltalake", path, schema, rows, None);
    same_for("spark", path, schema, rows, None);
    let error = ask("read", json!({"reader": "polars", "path": path})).unwrap_err();
    assert!(error.contains("columnMapping"), "{error}");
    sound_stats(path);
}

/// Names that Parquet readers stumble over make the table map its columns.
#[tokio::test]
async fn columns_with_awkward_names_are_mapped() {
    let local = Local::new();
    let table = name("awkward");
    let inner = StructType::new([StructField::nullable("in side", DataType::Integer)]);
    let schema = StructType::new([
        StructField::required("the id", DataType::Long),
        StructField::nullable("a,b;{c}(d)=e", DataType::String),
        StructField::nullable("ünï", DataType::Struct(inner)),
    ]);
    let arrow = schema.to_arrow();
    let inside: ArrayRef = Arc::new(Int32Array::from(vec![Some(7), None]));
    let arrow_schema::DataType::Struct(fields) = arrow.field(2).data_type() else { panic!() };
    let rows = RecordBatch::try_new(
        Arc::clone(&arrow),
        vec![
            Arc::new(Int64Array::from(vec![1, 2])),
            Arc::new(StringArray::from(vec![Some("x"), None])),
            Arc::new(arrow_array::StructArray::new(fields.clone(), vec![inside], None)),
        ],
    )
    .unwrap();
    put(&local.lake, spec(&table, &schema, WriteMode::Append), std::slice::from_ref(&rows), 1).await;
    same_for_mapped(&local.path(&table), &schema, &canon::rows([&rows]));
}

fn added_schema() -> StructType {
    let mut schema = small_schema();
    schema.fields.push(StructField::nullable("score", DataType::Double));
    schema
}

fn added(ids: std::ops::Range<i64>) -> RecordBatch {
    let before = small(ids.clone());
    let scores: Float64Array = ids.map(|id| Some(id as f64 / 4.0)).collect();
    let columns = before.columns().iter().cloned().chain([Arc::new(scores) as ArrayRef]).collect();
    RecordBatch::try_new(added_schema().to_arrow(), columns).unwrap()
}

/// The rows of [`small`] as a table with the added column has them.
fn with_null(batch: &RecordBatch) -> Vec<Value> {
    let mut rows = canon::rows([batch]);
    rows.iter_mut().for_each(|row| row["score"] = Value::Null);
    rows
}

#[tokio::test]
async fn an_added_column_is_null_in_what_was_there() {
    let local = Local::new();
    let table = name("added");
    put(&local.lake, spec(&table, &small_schema(), WriteMode::Append), &[small(0..4)], 1).await;
    let outcome =
        write(&local.lake, spec(&table, &added_schema(), WriteMode::Append), &[added(4..8)], 2).await;
    let CommitOutcome::Committed { changes, .. } = outcome else { panic!("{outcome:?}") };
    assert!(
        matches!(&changes[..], [SchemaChange::AddColumn { column, .. }] if column == "score"),
        "{changes:?}"
    );
    let mut rows = with_null(&small(0..4));
    rows.extend(canon::rows([&added(4..8)]));
    same_everywhere(&local.path(&table), &added_schema(), &rows);
}

/// A name that needs mapping turns it on for a table that had none; what was there keeps its names.
#[tokio::test]
async fn an_added_column_may_turn_on_column_mapping() {
    let local = Local::new();
    let table = name("mapped_later");
    let mut schema = small_schema();
    schema.fields.push(StructField::nullable("a score", DataType::Double));
    let new = RecordBatch::try_new(schema.to_arrow(), added(4..8).columns().to_vec()).unwrap();
    put(&local.lake, spec(&table, &small_schema(), WriteMode::Append), &[small(0..4)], 1).await;
    put(&local.lake, spec(&table, &schema, WriteMode::Append), std::slice::from_ref(&new), 2).await;
    let mut rows = canon::rows([&small(0..4)]);
    rows.iter_mut().for_each(|row| row["a score"] = Value::Null);
    rows.extend(canon::rows([&new]));
    same_for_mapped(&local.path(&table), &schema, &rows);
    let report = local.lake.optimize(&table, WriterSpec::DEFAULT_TARGET_FILE_BYTES).await.unwrap();
    assert_eq!((report.files_removed, report.files_added), (2, 1));
    same_for_mapped(&local.path(&table), &schema, &rows);
}

fn number_schema(data_type: DataType) -> StructType {
    StructType::new([StructField::nullable("n", data_type)])
}

fn number_rows() -> (RecordBatch, RecordBatch, Vec<Value>) {
    let narrow: ArrayRef = Arc::new(Int32Array::from(vec![Some(1), None, Some(i32::MIN)]));
    let wide: ArrayRef = Arc::new(Int64Array::from(vec![Some(i64::MAX), Some(2)]));
    let narrow = RecordBatch::try_new(number_schema(DataType::Integer).to_arrow(), vec![narrow]).unwrap();
    let wide = RecordBatch::try_new(number_schema(DataType::Long).to_arrow(), vec![wide]).unwrap();
    let rows = canon::rows([&narrow, &wide]);
    (narrow, wide, rows)
}

#[tokio::test]
async fn a_column_is_widened_by_rewriting() {
    let local = Local::new();
    let table = name("widened");
    let (narrow, wide, rows) = number_rows();
    put(&local.lake, spec(&table, &number_schema(DataType::Integer), WriteMode::Append), &[narrow], 1).await;
    put(&local.lake, spec(&table, &number_schema(DataType::Long), WriteMode::Append), &[wide], 2).await;
    same_everywhere(&local.path(&table), &number_schema(DataType::Long), &rows);
}

/// Widening by the protocol is for readers that know it; the others refuse, and must.
#[tokio::test]
async fn a_column_is_widened_by_the_protocol() {
    let local = Local::new();
    let table = name("widened_in_place");
    let (narrow, wide, rows) = number_rows();
    let int = spec(&table, &number_schema(DataType::Integer), WriteMode::Append);
    put(&local.lake, int, &[narrow], 1).await;
    let long = spec(&table, &number_schema(DataType::Long), WriteMode::Append);
    put(&local.lake, WriterSpec { type_widening: true, ..long }, &[wide], 2).await;
    let path = local.path(&table);
    same_for("spark", &path, &number_schema(DataType::Long), &rows, None);
    for reader in ["deltalake", "polars"] {
        let error = ask("read", json!({"reader": reader, "path": path})).unwrap_err();
        assert!(error.to_lowercase().contains("typewidening"), "{reader}: {error}");
    }
}

#[tokio::test]
async fn a_full_refresh_may_change_every_column() {
    let local = Local::new();
    let table = name("refreshed");
    put(&local.lake, spec(&table, &every_type(), WriteMode::Append), &[every_value(1)], 1).await;
    let (_, wide, _) = number_rows();
    let long = spec(&table, &number_schema(DataType::Long), WriteMode::Append);
    put(&local.lake, WriterSpec { full_refresh: true, ..long }, std::slice::from_ref(&wide), 2).await;
    same_everywhere(&local.path(&table), &number_schema(DataType::Long), &canon::rows([&wide]));
    for reader in READERS {
        same_for(reader, &local.path(&table), &every_type(), &canon::rows([&every_value(1)]), Some(0));
    }
}

#[tokio::test]
async fn a_clustered_table_says_by_what_and_is_sorted_by_it() {
    let local = Local::new();
    let table = name("clustered");
    let clustered = WriterSpec {
        cluster_by: vec!["text".into(), "id".into()],
        ..spec(&table, &small_schema(), WriteMode::Append)
    };
    let rows = small((0..500).map(|i| i * 7919 % 500));
    put(&local.lake, clustered, std::slice::from_ref(&rows), 1).await;
    let path = local.path(&table);
    same_everywhere(&path, &small_schema(), &canon::rows([&rows]));
    let detail = ask("detail", json!({"reader": "spark", "path": path})).unwrap();
    assert_eq!(detail["cluster_by"], json!(["text", "id"]));
    // One file, read in its own order.
    let read = ask("read", json!({"reader": "polars", "path": path})).unwrap();
    let keys: Vec<(Option<&str>, i64)> = read["rows"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| (row["text"].as_str(), row["id"].as_i64().unwrap()))
        .collect();
    assert!(keys.is_sorted(), "{:?}", &keys[..20]);
}

/// Whole numbers in order are written as differences; text in order of first sight without a dictionary.
#[tokio::test]
async fn encodings_that_we_choose_are_read() {
    let local = Local::new();
    let table = name("encodings");
    let schema = StructType::new([
        StructField::required("id", DataType::Long),
        StructField::nullable("count", DataType::Integer),
        StructField::nullable("day", DataType::Date),
        StructField::nullable("at", DataType::Timestamp),
        StructField::nullable("text", DataType::String),
    ]);
    let rows = 20_000;
    let sparse = |i: i64| (i % 11 != 0).then_some(i);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values((0..rows).map(|i| i * 3 - 1_000_000_000_000))),
        Arc::new((0..rows).map(|i| sparse(i).map(|i| i32::try_from(i).unwrap())).collect::<Int32Array>()),
        Arc::new(
            (0..rows)
                .map(|i| sparse(i).map(|i| i32::try_from(i - 10_000).unwrap()))
                .collect::<arrow_array::Date32Array>(),
        ),
        Arc::new(
            (0..rows)
                .map(|i| sparse(i).map(|i| i * 1_000_003 - 9_000_000_000))
                .collect::<arrow_array::TimestampMicrosecondArray>()
                .with_timezone("UTC"),
        ),
        Arc::new((0..rows).map(|i| Some(format!("text {i}"))).collect::<StringArray>()),
    ];
    let batch = RecordBatch::try_new(schema.to_arrow(), columns).unwrap();
    put(&local.lake, spec(&table, &schema, WriteMode::Append), std::slice::from_ref(&batch), 1).await;
    let path = local.path(&table);
    let encodings = ask("encodings", json!({"path": path})).unwrap();
    for column in ["id", "count", "day", "at"] {
        let used = encodings["columns"][column].as_array().unwrap();
        assert!(used.contains(&json!("DELTA_BINARY_PACKED")), "{column}: {used:?}");
    }
    assert!(!encodings["columns"]["text"].as_array().unwrap().contains(&json!("RLE_DICTIONARY")));
    assert_eq!(encodings["codecs"], json!(["ZSTD"]));
    same_everywhere(&path, &schema, &canon::rows([&batch]));
}

/// Spark reads a variant; the others show its encoded parts.
#[tokio::test]
async fn a_variant_is_read_or_refused() {
    let local = Local::new();
    let table = name("variant");
    let schema = StructType::new([
        StructField::required("id", DataType::Long),
        StructField::nullable("v", DataType::Variant),
    ]);
    let arrow = schema.to_arrow();
    let arrow_schema::DataType::Struct(fields) = arrow.field(1).data_type() else { panic!() };
    // An empty dictionary; then the short text "hi" and the number 7, as the variant encoding has them.
    let metadata: [&[u8]; 3] = [&[1, 0, 0], &[1, 0, 0], &[1, 0, 0]];
    let values: [&[u8]; 3] = [&[(2 << 2) | 1, b'h', b'i'], &[3 << 2, 7], &[0]];
    let binary = |all: [&[u8]; 3]| Arc::new(arrow_array::BinaryArray::from_iter_values(all)) as ArrayRef;
    let columns =
        fields.iter().map(|f| binary(if f.name() == "metadata" { metadata } else { values })).collect();
    let nulls = arrow_buffer::NullBuffer::from(vec![true, true, false]);
    let variants = arrow_array::StructArray::new(fields.clone(), columns, Some(nulls));
    let rows = RecordBatch::try_new(
        Arc::clone(&arrow),
        vec![Arc::new(Int64Array::from(vec![1, 2, 3])), Arc::new(variants)],
    )
    .unwrap();
    put(&local.lake, spec(&table, &schema, WriteMode::Append), &[rows], 1).await;
    let path = local.path(&table);
    let expect = [
        json!({"id": 1, "v": {"variant": "hi"}}),
        json!({"id": 2, "v": {"variant": 7}}),
        json!({"id": 3, "v": null}),
    ];
    same_for("spark", &path, &schema, &expect, None);
    let encoded = [
        json!({"id": 1, "v": {"encoded": ["hex:010000", "hex:096869"]}}),
        json!({"id": 2, "v": {"encoded": ["hex:010000", "hex:0c07"]}}),
        json!({"id": 3, "v": null}),
    ];
    for reader in ["deltalake", "polars"] {
        same_for(reader, &path, &schema, &encoded, None);
    }
}
