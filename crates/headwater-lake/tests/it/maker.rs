//! Tables for the tests: columns of every type, and short ways to write and to compare.

use std::sync::Arc;

use arrow_array::builder::{Int64Builder, ListBuilder, MapBuilder, MapFieldNames, StringBuilder};
use arrow_array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float32Array, Float64Array, Int8Array,
    Int16Array, Int32Array, Int64Array, RecordBatch, StringArray, StructArray, TimestampMicrosecondArray,
    new_null_array,
};
use arrow_buffer::NullBuffer;
use arrow_schema::DataType as Arrow;
use headwater_connect::{DataType, Offset, StructField, StructType};
use headwater_lake::{CommitOutcome, DeltaLake, Lake, LakeOptions, TableName, WriteMode, WriterSpec};
use serde_json::{Value, json};

use crate::canon;
use crate::readers::{READERS, ask};

/// A lake in a folder that goes when this goes.
pub(crate) struct Local {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) lake: DeltaLake,
}

impl Local {
    pub(crate) fn new() -> Self {
        Self::with(LakeOptions::default())
    }

    pub(crate) fn with(options: LakeOptions) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let lake = DeltaLake::open(dir.path().to_str().unwrap(), options).unwrap();
        Self { dir, lake }
    }

    pub(crate) fn path(&self, table: &TableName) -> String {
        let path = self.dir.path().join(&table.catalog).join(&table.schema).join(&table.table);
        path.to_str().unwrap().to_owned()
    }
}

pub(crate) fn name(table: &str) -> TableName {
    TableName::new("main", "tests", table).unwrap()
}

pub(crate) fn spec(table: &TableName, schema: &StructType, mode: WriteMode) -> WriterSpec {
    WriterSpec {
        table: table.clone(),
        flow: "flow".into(),
        schema: schema.clone(),
        mode,
        cluster_by: Vec::new(),
        full_refresh: false,
        memory_bytes: 16 * 1024 * 1024,
        target_file_bytes: WriterSpec::DEFAULT_TARGET_FILE_BYTES,
        type_widening: false,
    }
}

/// Opens a writer, writes and commits.
pub(crate) async fn write(
    lake: &DeltaLake,
    spec: WriterSpec,
    batches: &[RecordBatch],
    at: i64,
) -> CommitOutcome {
    let mut writer = lake.writer(spec).await.unwrap();
    for batch in batches {
        writer.write(batch.clone()).await.unwrap();
    }
    writer.commit(Some(&offset(at))).await.unwrap()
}

/// The same where it must have made a version.
pub(crate) async fn put(lake: &DeltaLake, spec: WriterSpec, batches: &[RecordBatch], at: i64) {
    let outcome = write(lake, spec, batches, at).await;
    assert!(matches!(outcome, CommitOutcome::Committed { .. }), "{outcome:?}");
}

pub(crate) fn offset(at: i64) -> Offset {
    Offset::from(json!({"at": at, "exact": "123456789012345678901234567890"}))
}

/// Reads a table with every foreign reader and compares rows and columns.
pub(crate) fn same_everywhere(path: &str, schema: &StructType, rows: &[Value]) {
    for reader in READERS {
        same_for(reader, path, schema, rows, None);
    }
    sound_stats(path);
}

pub(crate) fn same_for(reader: &str, path: &str, schema: &StructType, rows: &[Value], version: Option<u64>) {
    let read = ask("read", json!({"reader": reader, "path": path, "version": version}))
        .unwrap_or_else(|e| panic!("{reader}: {e}"));
    assert_eq!(read["schema"], canon::bare(&schema.to_json()), "schema of {reader}");
    let found = canon::sorted(read["rows"].as_array().unwrap().clone());
    let expect = canon::sorted(rows.to_vec());
    assert_eq!(found.len(), expect.len(), "number of rows of {reader}");
    for (found, expect) in found.iter().zip(&expect) {
        assert_eq!(found, expect, "a row of {reader}");
    }
}

/// Compares the statistics of each live file with the file; gives what was compared.
pub(crate) fn sound_stats(path: &str) -> Value {
    let stats = ask("stats", json!({"path": path})).unwrap();
    assert_eq!(stats["problems"], json!([]));
    stats
}

/// `id` and `text`, the least that a table needs.
pub(crate) fn small_schema() -> StructType {
    StructType::new([
        StructField::required("id", DataType::Long),
        StructField::nullable("text", DataType::String),
    ])
}

pub(crate) fn small(ids: impl IntoIterator<Item = i64>) -> RecordBatch {
    let ids: Vec<i64> = ids.into_iter().collect();
    let texts: StringArray = ids.iter().map(|id| (id % 5 != 0).then(|| format!("text {id}"))).collect();
    RecordBatch::try_new(small_schema().to_arrow(), vec![Arc::new(Int64Array::from(ids)), Arc::new(texts)])
        .unwrap()
}

fn list(element: DataType) -> DataType {
    DataType::Array { element: Box::new(element), contains_null: true }
}

/// A column of each type, nested ones among them.
pub(crate) fn every_type() -> StructType {
    let inner = StructType::new([
        StructField::nullable("x", DataType::Integer),
        StructField::nullable(
            "Deep",
            DataType::Struct(StructType::new([StructField::nullable("ü", DataType::String)])),
        ),
    ]);
    let map = DataType::Map {
        key: Box::new(DataType::String),
        value: Box::new(DataType::Long),
        value_contains_null: true,
    };
    StructType::new([
        StructField::required("id", DataType::Long),
        StructField::nullable("tiny", DataType::Byte),
        StructField::nullable("short", DataType::Short),
        StructField::nullable("int", DataType::Integer),
        StructField::nullable("long", DataType::Long),
        StructField::nullable("float", DataType::Float),
        StructField::nullable("double", DataType::Double),
        StructField::nullable("money", DataType::Decimal { precision: 9, scale: 2 }),
        StructField::nullable("middle", DataType::Decimal { precision: 18, scale: 6 }),
        StructField::nullable("wide", DataType::Decimal { precision: 38, scale: 10 }),
        StructField::nullable("flag", DataType::Boolean),
        StructField::nullable("Text", DataType::String).with_comment("mixed case, and a comment"),
        StructField::nullable("bytes", DataType::Binary),
        StructField::nullable("day", DataType::Date),
        StructField::nullable("at", DataType::Timestamp),
        StructField::nullable("local", DataType::TimestampNtz),
        StructField::nullable("list", list(DataType::Long)),
        StructField::nullable("map", map),
        StructField::nullable("nested", DataType::Struct(inner)),
        StructField::nullable("never", DataType::String),
    ])
}

/// Rows that try the limits of each type; `from` is the first id.
pub(crate) fn every_value(from: i64) -> RecordBatch {
    const DAY: i64 = 86_400_000_000;
    let schema = every_type().to_arrow();
    let rows = 5;
    let decimal = |precision, scale, values: [Option<i128>; 5]| -> ArrayRef {
        Arc::new(Decimal128Array::from_iter(values).with_precision_and_scale(precision, scale).unwrap())
    };
    let widest = 10_i128.pow(38) - 1;
    let micros = [Some(-2_208_988_800_000_001), Some(0), None, Some(253_402_300_799_999_999), Some(-1)];
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(from..from + 5)),
        Arc::new(Int8Array::from(vec![Some(i8::MIN), Some(i8::MAX), None, Some(0), Some(-1)])),
        Arc::new(Int16Array::from(vec![Some(i16::MIN), Some(i16::MAX), None, Some(0), Some(-1)])),
        Arc::new(Int32Array::from(vec![Some(i32::MIN), Some(i32::MAX), None, Some(0), Some(-1)])),
        Arc::new(Int64Array::from(vec![Some(i64::MIN), Some(i64::MAX), None, Some(0), Some((1 << 53) + 1)])),
        Arc::new(Float32Array::from(vec![
            Some(-0.0),
            Some(f32::NAN),
            None,
            Some(f32::INFINITY),
            Some(f32::MIN_POSITIVE),
        ])),
        Arc::new(Float64Array::from(vec![
            Some(f64::NAN),
            Some(-0.0),
            None,
            Some(f64::NEG_INFINITY),
            Some(0.1),
        ])),
        decimal(9, 2, [Some(-999_999_999), Some(999_999_999), None, Some(0), Some(-1)]),
        decimal(
            18,
            6,
            [Some(-999_999_999_999_999_999), Some(999_999_999_999_999_999), None, Some(0), Some(1)],
        ),
        decimal(
            38,
            10,
            [Some(-widest), Some(widest), None, Some(1_234_567_890_123_456_789_012_345_678), Some(1)],
        ),
        Arc::new(BooleanArray::from(vec![Some(true), Some(false), None, Some(true), Some(true)])),
        Arc::new(StringArray::from(vec![
            Some(""),
            Some("\u{10ffff}ü\"\\ \u{0}\n"),
            None,
            Some("a text that is longer than the thirty-two characters that bounds keep"),
            Some("🦀🦀🦀🦀🦀🦀🦀🦀🦀🦀🦀🦀🦀🦀🦀🦀🦀🦀🦀🦀🦀🦀🦀🦀🦀🦀🦀🦀🦀🦀🦀🦀🦀🦀🦀🦀🦀🦀"),
        ])),
        Arc::new(BinaryArray::from(vec![
            Some(&b""[..]),
            Some(&[0, 255, 128]),
            None,
            Some(b"x"),
            Some(b"text"),
        ])),
        Arc::new(Date32Array::from(vec![Some(-719_162), Some(2_932_896), None, Some(0), Some(-1)])),
        Arc::new(TimestampMicrosecondArray::from_iter(micros).with_timezone("UTC")),
        Arc::new(TimestampMicrosecondArray::from_iter(
            micros.map(|m| m.map(|m| (m - DAY / 7).max(-62_135_596_800_000_000))),
        )),
        lists(schema.field(16).data_type()),
        maps(schema.field(17).data_type()),
        nested(schema.field(18).data_type()),
        new_null_array(&Arrow::Utf8, rows),
    ];
    RecordBatch::try_new(schema, columns).unwrap()
}

fn lists(data_type: &Arrow) -> ArrayRef {
    let Arrow::List(element) = data_type else { panic!("{data_type}") };
    let mut lists = ListBuilder::new(Int64Builder::new()).with_field(Arc::clone(element));
    lists.append_value([Some(1), None, Some(-3)]);
    lists.append_value([]);
    lists.append_null();
    lists.append_value([None]);
    lists.append_value((0..100).map(Some));
    Arc::new(lists.finish())
}

fn maps(data_type: &Arrow) -> ArrayRef {
    let Arrow::Map(entries, _) = data_type else { panic!("{data_type}") };
    let Arrow::Struct(fields) = entries.data_type() else { panic!("{data_type}") };
    let names = MapFieldNames {
        entry: entries.name().clone(),
        key: fields[0].name().clone(),
        value: fields[1].name().clone(),
    };
    let mut maps = MapBuilder::new(Some(names), StringBuilder::new(), Int64Builder::new())
        .with_keys_field(Arc::clone(&fields[0]))
        .with_values_field(Arc::clone(&fields[1]));
    maps.keys().append_value("one");
    maps.values().append_value(1);
    maps.keys().append_value("");
    maps.values().append_null();
    maps.append(true).unwrap();
    maps.append(true).unwrap();
    maps.append(false).unwrap();
    maps.keys().append_value("ü");
    maps.values().append_value(i64::MAX);
    maps.append(true).unwrap();
    maps.append(true).unwrap();
    Arc::new(maps.finish())
}

fn nested(data_type: &Arrow) -> ArrayRef {
    let Arrow::Struct(fields) = data_type else { panic!("{data_type}") };
    let Arrow::Struct(deep) = fields[1].data_type() else { panic!("{data_type}") };
    let texts: ArrayRef = Arc::new(StringArray::from(vec![Some("deep"), None, None, None, Some("")]));
    let inner = StructArray::try_new(
        deep.clone(),
        vec![texts],
        Some(NullBuffer::from(vec![true, true, false, false, true])),
    )
    .unwrap();
    let numbers: ArrayRef = Arc::new(Int32Array::from(vec![Some(1), None, None, Some(i32::MIN), Some(5)]));
    let nulls = NullBuffer::from(vec![true, true, false, true, true]);
    Arc::new(StructArray::try_new(fields.clone(), vec![numbers, Arc::new(inner)], Some(nulls)).unwrap())
}
