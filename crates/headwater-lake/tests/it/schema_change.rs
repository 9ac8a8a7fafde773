//! Columns that come, go and grow, clustering columns, and names that Parquet does not take.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, TimestampMicrosecondType};
use arrow_array::{
    Array, ArrayRef, Date32Array, Int32Array, Int64Array, RecordBatch, StringArray, StructArray,
};
use arrow_select::concat::concat_batches;
use headwater_connect::{DataType, StructField, StructType};
use headwater_lake::{DeltaLake, Lake, LakeError, ReadSpec, SchemaChange, WriteMode, WriterSpec};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::file::statistics::Statistics;

use crate::common::{committed, data_files, lake, log, name, offset, put, read, rows, spec};

fn with(schema: &StructType) -> WriterSpec {
    WriterSpec { schema: schema.clone(), ..spec(WriteMode::Append) }
}

fn one_column(name: &str, data_type: DataType) -> StructType {
    StructType::new([StructField::nullable(name, data_type)])
}

fn batch(schema: &StructType, columns: Vec<ArrayRef>) -> RecordBatch {
    RecordBatch::try_new(schema.to_arrow(), columns).unwrap()
}

async fn append(lake: &DeltaLake, spec: WriterSpec, columns: Vec<ArrayRef>) -> Vec<SchemaChange> {
    let schema = spec.schema.clone();
    let mut writer = lake.writer(spec).await.unwrap();
    let changes = writer.changes().to_vec();
    writer.write(batch(&schema, columns)).await.unwrap();
    committed(writer.commit(Some(&offset(fastrand::i64(..)))).await.unwrap());
    changes
}

async fn all(lake: &DeltaLake) -> RecordBatch {
    let batches = read(lake, &name(), ReadSpec::default()).await;
    concat_batches(&batches[0].schema(), &batches).unwrap()
}

fn protocol(dir: &tempfile::TempDir) -> serde_json::Value {
    let mut newest = serde_json::Value::Null;
    for version in 0.. {
        if !dir.path().join(format!("main/shop/orders/_delta_log/{version:020}.json")).exists() {
            break;
        }
        for line in log(dir, version) {
            if let Some(protocol) = line.get("protocol") {
                newest = protocol.clone();
            }
        }
    }
    newest
}

#[tokio::test]
async fn a_new_column_reads_null_before_and_a_dropped_one_after() {
    let dir = tempfile::tempdir().unwrap();
    let lake = lake(&dir);
    committed(put(&mut *lake.writer(spec(WriteMode::Append)).await.unwrap(), 0..2, Some(1)).await);
    let next = StructType::new([
        StructField::nullable("born", DataType::Date),
        StructField::nullable("ID", DataType::Long),
    ]);
    let expected = [
        SchemaChange::AllowNull { column: "id".into() },
        SchemaChange::KeepDropped { column: "name".into() },
        SchemaChange::AddColumn { column: "born".into(), data_type: "date".into() },
    ];
    assert_eq!(lake.plan(&with(&next)).await.unwrap(), expected);
    assert_eq!(lake.table(&name()).await.unwrap().unwrap().version, 0);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Date32Array::from(vec![Some(3), None])),
        Arc::new(Int64Array::from(vec![Some(7), None])),
    ];
    assert_eq!(append(&lake, with(&next), columns).await, expected);
    let rows = all(&lake).await;
    assert_eq!(
        rows.schema().fields().iter().map(|f| f.name().as_str()).collect::<Vec<_>>(),
        ["id", "name", "born"]
    );
    assert_eq!((rows.num_rows(), rows.column(0).null_count()), (4, 1));
    assert_eq!(rows.column(1).null_count(), 3);
    assert_eq!(rows.column(2).null_count(), 3);
    // From now on only the dropped column is different, and that is no reason for a version.
    let mut writer = lake.writer(with(&next)).await.unwrap();
    assert_eq!(writer.changes(), [SchemaChange::KeepDropped { column: "name".into() }]);
    let state = writer.flow_state().unwrap().offset.clone();
    assert_eq!(writer.commit(state.as_ref()).await.unwrap(), headwater_lake::CommitOutcome::Unchanged);
}

#[tokio::test]
async fn a_wider_type_rewrites_the_files_in_the_same_version() {
    let dir = tempfile::tempdir().unwrap();
    let lake = lake(&dir);
    let narrow = StructType::new([
        StructField::nullable("n", DataType::Integer),
        StructField::nullable("day", DataType::Date),
    ]);
    let wide = StructType::new([
        StructField::nullable("n", DataType::Long),
        StructField::nullable("day", DataType::TimestampNtz),
    ]);
    let first: Vec<ArrayRef> =
        vec![Arc::new(Int32Array::from(vec![1, 2])), Arc::new(Date32Array::from(vec![1, 2]))];
    append(&lake, with(&narrow), first).await;
    let second: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from(vec![i64::MAX])),
        Arc::new(arrow_array::TimestampMicrosecondArray::from(vec![5])),
    ];
    let changes = append(&lake, with(&wide), second).await;
    assert_eq!(changes.len(), 2);
    let rows = all(&lake).await;
    let mut values = rows.column(0).as_primitive::<Int64Type>().values().to_vec();
    values.sort_unstable();
    assert_eq!(values, [1, 2, i64::MAX]);
    let days = rows.column(1).as_primitive::<TimestampMicrosecondType>();
    assert!(days.values().contains(&86_400_000_000));
    let count = |action: &str| log(&dir, 1).iter().filter(|l| l.get(action).is_some()).count();
    assert_eq!((count("add"), count("remove"), count("metaData"), count("protocol")), (2, 1, 1, 1));
    let protocol = protocol(&dir);
    assert!(!protocol.to_string().contains("typeWidening"), "{protocol}");
    assert!(protocol["readerFeatures"].to_string().contains("timestampNtz"), "{protocol}");
    // A source that still gives the narrow type is taken as it is.
    let third: Vec<ArrayRef> =
        vec![Arc::new(Int32Array::from(vec![9])), Arc::new(Date32Array::from(vec![9]))];
    assert_eq!(append(&lake, with(&narrow), third).await, []);
    assert_eq!(all(&lake).await.num_rows(), 4);
}

#[tokio::test]
async fn a_wider_type_by_the_protocol_leaves_the_files() {
    let dir = tempfile::tempdir().unwrap();
    let lake = lake(&dir);
    let narrow = one_column("n", DataType::Integer);
    append(&lake, with(&narrow), vec![Arc::new(Int32Array::from(vec![1, 2]))]).await;
    let wide = WriterSpec { type_widening: true, ..with(&one_column("n", DataType::Long)) };
    append(&lake, wide, vec![Arc::new(Int64Array::from(vec![i64::MIN]))]).await;
    assert!(!log(&dir, 1).iter().any(|l| l.get("remove").is_some()));
    assert!(protocol(&dir)["readerFeatures"].to_string().contains("typeWidening"));
    let rows = all(&lake).await;
    let mut values = rows.column(0).as_primitive::<Int64Type>().values().to_vec();
    values.sort_unstable();
    assert_eq!(values, [i64::MIN, 1, 2]);
}

#[tokio::test]
async fn a_type_that_cannot_be_reached_is_refused_before_anything_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let lake = lake(&dir);
    append(&lake, with(&one_column("n", DataType::Long)), vec![Arc::new(Int64Array::from(vec![1]))]).await;
    let error = lake.writer(with(&one_column("n", DataType::String))).await.err().unwrap();
    let LakeError::IncompatibleColumn { column, from, to, .. } = &error else { panic!("{error:?}") };
    assert_eq!((column.as_str(), from.as_str(), to.as_str()), ("n", "long", "string"));
    assert!(error.hint().unwrap().contains("--full-refresh=orders"));
    assert_eq!(data_files(&dir).len(), 1);
}

#[tokio::test]
async fn names_that_parquet_does_not_take_are_mapped() {
    let dir = tempfile::tempdir().unwrap();
    let lake = lake(&dir);
    let plain = StructType::new([StructField::nullable("id", DataType::Long)]);
    append(&lake, with(&plain), vec![Arc::new(Int64Array::from(vec![1]))]).await;
    assert!(!protocol(&dir).to_string().contains("columnMapping"));
    // The table has files already when the first such name comes.
    let inner = StructType::new([StructField::nullable("in;ner", DataType::Long)]);
    let odd = StructType::new([
        StructField::nullable("id", DataType::Long),
        StructField::nullable("full name, (as given)", DataType::String),
        StructField::nullable("a.b", DataType::Struct(inner.clone())),
    ]);
    let nested = |v: i64| -> ArrayRef {
        let arrow_schema::DataType::Struct(fields) = DataType::Struct(inner.clone()).to_arrow() else {
            panic!()
        };
        Arc::new(StructArray::new(fields, vec![Arc::new(Int64Array::from(vec![v]))], None))
    };
    let columns: Vec<ArrayRef> =
        vec![Arc::new(Int64Array::from(vec![2])), Arc::new(StringArray::from(vec!["x"])), nested(5)];
    append(&lake, with(&odd), columns.clone()).await;
    append(&lake, with(&odd), columns).await;
    let rows = all(&lake).await;
    assert_eq!(rows.num_rows(), 3);
    assert_eq!(rows.column(0).null_count(), 0);
    let at = rows.schema().index_of("full name, (as given)").unwrap();
    assert_eq!(rows.column(at).null_count(), 1);
    let values = rows.column_by_name("a.b").unwrap().as_struct();
    assert_eq!(values.fields()[0].name(), "in;ner");
    assert_eq!(values.null_count(), 1);
    assert!(protocol(&dir)["readerFeatures"].to_string().contains("columnMapping"));
    let state = lake.table(&name()).await.unwrap().unwrap();
    assert_eq!(state.properties["delta.columnMapping.mode"], "name");
    assert_eq!(state.properties["delta.columnMapping.maxColumnId"], "4");

    // And a table that has such a name from the start, clustered by it.
    let dir = tempfile::tempdir().unwrap();
    let lake = crate::common::lake(&dir);
    let spec =
        WriterSpec { cluster_by: vec!["the id".into()], ..with(&one_column("the id", DataType::Long)) };
    append(&lake, spec.clone(), vec![Arc::new(Int64Array::from(vec![3, 1, 2]))]).await;
    let state = lake.table(&name()).await.unwrap().unwrap();
    assert_eq!(state.cluster_by, ["the id"]);
    let rows = all(&lake).await;
    assert_eq!(rows.column(0).as_primitive::<Int64Type>().values(), &[1, 2, 3]);
    let anew = WriterSpec { full_refresh: true, ..spec };
    append(&lake, anew, vec![Arc::new(Int64Array::from(vec![8]))]).await;
    assert_eq!(all(&lake).await.column(0).as_primitive::<Int64Type>().values(), &[8]);
}

#[tokio::test]
async fn clustering_columns_sort_the_files_and_can_change() {
    let dir = tempfile::tempdir().unwrap();
    let lake = lake(&dir);
    let by = |columns: &[&str]| WriterSpec {
        cluster_by: columns.iter().map(|&c| c.to_owned()).collect(),
        memory_bytes: 4 * 1024 * 1024,
        ..spec(WriteMode::Append)
    };
    let error = lake.writer(by(&["nmae"])).await.err().unwrap();
    assert!(matches!(error, LakeError::BadClusterColumn { .. }), "{error:?}");
    let mut writer = lake.writer(by(&["id"])).await.unwrap();
    for part in 0..10_i64 {
        writer.write(rows((0..10_000).map(|i| (i * 7_919 + part) % 100_003))).await.unwrap();
    }
    committed(writer.commit(Some(&offset(1))).await.unwrap());
    let features = protocol(&dir)["writerFeatures"].to_string();
    assert!(features.contains("clustering"), "{features}");
    let state = lake.table(&name()).await.unwrap().unwrap();
    assert_eq!((state.cluster_by.clone(), state.rows), (vec!["id".to_owned()], Some(100_000)));
    for file in data_files(&dir) {
        let file = std::fs::File::open(dir.path().join("main/shop/orders").join(file)).unwrap();
        let builder = ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
        for group in builder.metadata().row_groups() {
            assert!(
                matches!(group.column(0).statistics(), Some(Statistics::Int64(s)) if s.min_opt().is_some())
            );
        }
        let mut before = i64::MIN;
        let mut down = 0;
        for batch in builder.build().unwrap() {
            for &id in batch.unwrap().column(0).as_primitive::<Int64Type>().values() {
                down += usize::from(id < before);
                before = id;
            }
        }
        // One sorted run for each chunk that fits into memory.
        assert!(down < 12, "{down}");
    }
    // Not naming any leaves them; naming others changes them.
    let mut writer = lake.writer(spec(WriteMode::Append)).await.unwrap();
    assert_eq!(writer.changes(), []);
    committed(put(&mut *writer, 0..3, Some(2)).await);
    let mut writer = lake.writer(by(&["name", "id"])).await.unwrap();
    assert_eq!(writer.changes(), [SchemaChange::ClusterBy { columns: vec!["name".into(), "id".into()] }]);
    committed(put(&mut *writer, 3..6, Some(3)).await);
    let state = lake.table(&name()).await.unwrap().unwrap();
    assert_eq!((state.cluster_by, state.rows), (vec!["name".to_owned(), "id".to_owned()], Some(100_006)));
}

#[tokio::test]
async fn a_batch_with_other_columns_or_a_null_is_refused_and_the_rest_stays() {
    let dir = tempfile::tempdir().unwrap();
    let lake = lake(&dir);
    let mut writer = lake.writer(spec(WriteMode::Append)).await.unwrap();
    writer.write(rows(0..2)).await.unwrap();
    let wrong = [
        (batch(&one_column("id", DataType::Long), vec![Arc::new(Int64Array::from(vec![1]))]), "1 columns"),
        (
            batch(
                &StructType::new([
                    StructField::nullable("id", DataType::Long),
                    StructField::nullable("name", DataType::String),
                ]),
                vec![Arc::new(Int64Array::from(vec![None])), Arc::new(StringArray::from(vec!["x"]))],
            ),
            "`id` must not be null",
        ),
        (
            batch(
                &StructType::new([
                    StructField::nullable("id", DataType::Long),
                    StructField::nullable("name", DataType::Long),
                ]),
                vec![Arc::new(Int64Array::from(vec![1])), Arc::new(Int64Array::from(vec![1]))],
            ),
            "`name` is Int64 instead of Utf8",
        ),
    ];
    for (batch, expect) in wrong {
        let error = writer.write(batch).await.unwrap_err();
        assert!(
            matches!(&error, LakeError::WrongBatch { reason, .. } if reason.contains(expect)),
            "{error:?}"
        );
    }
    committed(writer.commit(Some(&offset(2))).await.unwrap());
    assert_eq!(crate::common::ids(&lake).await, [0, 1]);
}

#[tokio::test]
async fn another_writers_column_does_not_disturb_an_append_and_another_type_does() {
    let dir = tempfile::tempdir().unwrap();
    let lake = lake(&dir);
    let base = one_column("n", DataType::Integer);
    append(&lake, with(&base), vec![Arc::new(Int32Array::from(vec![1]))]).await;
    let other = |schema: &StructType| WriterSpec { flow: "other".into(), ..with(schema) };

    let mut writer = lake.writer(with(&base)).await.unwrap();
    writer.write(batch(&base, vec![Arc::new(Int32Array::from(vec![2]))])).await.unwrap();
    let more =
        StructType::new(base.fields.iter().cloned().chain([StructField::nullable("m", DataType::Date)]));
    append(
        &lake,
        other(&more),
        vec![Arc::new(Int32Array::from(vec![3])), Arc::new(Date32Array::from(vec![3]))],
    )
    .await;
    committed(writer.commit(Some(&offset(2))).await.unwrap());
    assert_eq!(all(&lake).await.num_rows(), 3);
    // The writer goes on with the column that it does not have.
    writer.write(batch(&base, vec![Arc::new(Int32Array::from(vec![4]))])).await.unwrap();
    committed(writer.commit(Some(&offset(3))).await.unwrap());
    assert_eq!(all(&lake).await.column(1).null_count(), 3);

    writer.write(batch(&base, vec![Arc::new(Int32Array::from(vec![5]))])).await.unwrap();
    append(&lake, other(&one_column("n", DataType::Long)), vec![Arc::new(Int64Array::from(vec![6]))]).await;
    let error = writer.commit(Some(&offset(4))).await.unwrap_err();
    assert!(matches!(error, LakeError::Conflict { .. }), "{error:?}");
    assert_eq!(all(&lake).await.num_rows(), 5);
}
