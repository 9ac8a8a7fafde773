//! Snapshots replace the content, unless it is what the table holds already; a full refresh replaces everything.

use headwater_connect::{DataType, StructField, StructType};
use headwater_lake::{CommitOutcome, Lake, LakeError, SchemaChange, TableWriter, WriteMode, WriterSpec};

use crate::common::{committed, data_files, ids, ids_at, lake, log, name, names, offset, put, rows, spec};

async fn open(lake: &headwater_lake::DeltaLake) -> Box<dyn TableWriter> {
    lake.writer(spec(WriteMode::Snapshot)).await.unwrap()
}

#[tokio::test]
async fn a_snapshot_is_what_the_table_holds() {
    let dir = tempfile::tempdir().unwrap();
    let lake = lake(&dir);
    let mut writer = open(&lake).await;
    committed(put(&mut *writer, 0..4, None).await);
    committed(put(&mut *writer, 2..6, None).await);
    assert_eq!(ids(&lake).await, [2, 3, 4, 5]);
    assert_eq!(ids_at(&lake, Some(0)).await, [0, 1, 2, 3]);
    let actions = log(&dir, 1);
    assert_eq!(actions.iter().filter(|l| l.get("remove").is_some()).count(), 1);
    assert_eq!(actions.iter().filter(|l| l.get("add").is_some()).count(), 1);

    // Nothing at all is a snapshot, too.
    let outcome = writer.commit(None).await.unwrap();
    assert!(matches!(outcome, CommitOutcome::Committed { rows: 0, version: 2, .. }), "{outcome:?}");
    assert_eq!(ids(&lake).await, Vec::<i64>::new());
    assert_eq!(writer.commit(None).await.unwrap(), CommitOutcome::Unchanged);
}

#[tokio::test]
async fn an_equal_snapshot_is_no_version_whatever_the_order_of_rows() {
    let dir = tempfile::tempdir().unwrap();
    let lake = lake(&dir);
    let mut writer = open(&lake).await;
    committed(put(&mut *writer, [1, 2, 2, 3], None).await);
    let files = data_files(&dir);
    drop(writer);
    let mut writer = open(&lake).await;
    writer.write(rows([2, 3])).await.unwrap();
    writer.write(rows([2, 1])).await.unwrap();
    assert_eq!(writer.commit(None).await.unwrap(), CommitOutcome::Unchanged);
    assert_eq!(data_files(&dir), files);

    // The same rows and another offset: a version without files.
    let outcome = put(&mut *writer, [3, 2, 1, 2], Some(9)).await;
    assert!(matches!(outcome, CommitOutcome::Committed { version: 1, files: 0, rows: 0, .. }), "{outcome:?}");
    assert_eq!(data_files(&dir), files);
    let outcome = put(&mut *writer, [3, 2, 1, 2], Some(9)).await;
    assert_eq!(outcome, CommitOutcome::Unchanged);
    // One row less of two that are equal is another content.
    let outcome = put(&mut *writer, [3, 2, 1], Some(9)).await;
    assert!(matches!(outcome, CommitOutcome::Committed { version: 2, .. }), "{outcome:?}");
    assert_eq!(ids(&lake).await, [1, 2, 3]);
}

#[tokio::test]
async fn what_another_writer_added_goes_with_the_next_snapshot() {
    let dir = tempfile::tempdir().unwrap();
    let lake = lake(&dir);
    let mut writer = open(&lake).await;
    committed(put(&mut *writer, 0..4, None).await);
    let other = WriterSpec { flow: "other".into(), ..spec(WriteMode::Append) };
    let mut foreign = lake.writer(other).await.unwrap();
    committed(put(&mut *foreign, 10..12, Some(1)).await);
    // The writer was open before and has to take that in.
    let outcome = put(&mut *writer, 0..4, None).await;
    assert!(matches!(outcome, CommitOutcome::Committed { version: 2, .. }), "{outcome:?}");
    assert_eq!(ids(&lake).await, [0, 1, 2, 3]);
}

#[tokio::test]
async fn a_full_refresh_swaps_content_columns_and_offset_in_one_version() {
    let dir = tempfile::tempdir().unwrap();
    let lake = lake(&dir);
    let mut writer =
        lake.writer(WriterSpec { cluster_by: vec!["id".into()], ..spec(WriteMode::Append) }).await.unwrap();
    committed(put(&mut *writer, 0..4, Some(4)).await);
    committed(put(&mut *writer, 4..6, Some(6)).await);

    let anew = WriterSpec { full_refresh: true, ..spec(WriteMode::Append) };
    let mut writer = lake.writer(anew.clone()).await.unwrap();
    assert_eq!(writer.flow_state(), None);
    writer.write(rows(100..103)).await.unwrap();
    assert_eq!(ids(&lake).await, [0, 1, 2, 3, 4, 5]);
    let outcome = writer.commit(Some(&offset(103))).await.unwrap();
    assert!(matches!(outcome, CommitOutcome::Committed { version: 2, micro_batch: 3, .. }), "{outcome:?}");
    committed(put(&mut *writer, 103..104, Some(104)).await);
    assert_eq!(ids(&lake).await, [100, 101, 102, 103]);
    let table = lake.table(&name()).await.unwrap().unwrap();
    assert_eq!(table.cluster_by, Vec::<String>::new());
    assert_eq!(table.flows["flow-1"].offset, Some(offset(104)));
    assert_eq!(ids_at(&lake, Some(1)).await, [0, 1, 2, 3, 4, 5]);

    // Columns that an ordinary write could not change.
    let schema = StructType::new([
        StructField::nullable("name", DataType::Long),
        StructField::nullable("id", DataType::Long),
    ]);
    let ordinary = WriterSpec { schema: schema.clone(), ..spec(WriteMode::Append) };
    let error = lake.writer(ordinary).await.err().unwrap();
    assert!(matches!(&error, LakeError::IncompatibleColumn { column, .. } if column == "name"), "{error:?}");
    let mut writer = lake.writer(WriterSpec { schema: schema.clone(), ..anew }).await.unwrap();
    let batch = arrow_array::RecordBatch::try_new(
        schema.to_arrow(),
        vec![
            std::sync::Arc::new(arrow_array::Int64Array::from(vec![7])),
            std::sync::Arc::new(arrow_array::Int64Array::from(vec![8])),
        ],
    );
    writer.write(batch.unwrap()).await.unwrap();
    committed(writer.commit(None).await.unwrap());
    assert_eq!(ids(&lake).await, [8]);
    assert_eq!(lake.table(&name()).await.unwrap().unwrap().schema, schema);
    assert_eq!(ids_at(&lake, Some(3)).await, [100, 101, 102, 103]);
}

#[tokio::test]
async fn a_full_refresh_of_no_table_makes_one() {
    let dir = tempfile::tempdir().unwrap();
    let lake = lake(&dir);
    let anew = WriterSpec { full_refresh: true, ..spec(WriteMode::Snapshot) };
    assert_eq!(lake.plan(&anew).await.unwrap(), [SchemaChange::Create]);
    let mut writer = lake.writer(anew).await.unwrap();
    let outcome = put(&mut *writer, [], None).await;
    assert!(matches!(outcome, CommitOutcome::Committed { version: 0, micro_batch: 1, .. }), "{outcome:?}");
    assert!(names(&lake).await.is_empty());
}

#[tokio::test]
async fn a_full_refresh_redoes_itself_on_top_of_another_writer() {
    let dir = tempfile::tempdir().unwrap();
    let lake = lake(&dir);
    let mut writer = lake.writer(spec(WriteMode::Append)).await.unwrap();
    committed(put(&mut *writer, 0..4, Some(4)).await);
    let anew = WriterSpec { full_refresh: true, ..spec(WriteMode::Append) };
    let mut refresh = lake.writer(anew).await.unwrap();
    refresh.write(rows(50..52)).await.unwrap();
    let other = WriterSpec {
        flow: "other".into(),
        schema: StructType::new(
            crate::common::schema().fields.into_iter().chain([StructField::nullable("x", DataType::Date)]),
        ),
        ..spec(WriteMode::Append)
    };
    committed(lake.writer(other).await.unwrap().commit(Some(&offset(1))).await.unwrap());
    committed(refresh.commit(Some(&offset(52))).await.unwrap());
    assert_eq!(ids(&lake).await, [50, 51]);
    assert_eq!(lake.table(&name()).await.unwrap().unwrap().schema, crate::common::schema());
}
