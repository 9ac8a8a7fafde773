//! Appending: rows and offset in one version, restart, rebase, two writers.

use futures::StreamExt;
use headwater_lake::{
    CommitOutcome, DeltaLake, Lake, LakeError, LakeOptions, ReadSpec, SchemaChange, WriteMode, WriterSpec,
};

use crate::common::{
    committed, data_files, ids, ids_at, lake, log, name, names, offset, put, read, rows, spec,
};

#[tokio::test]
async fn rows_and_offset_are_read_back_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let first = lake(&dir);
    assert!(first.table(&name()).await.unwrap().is_none());
    let mut writer = first.writer(spec(WriteMode::Append)).await.unwrap();
    assert_eq!(writer.flow_state(), None);
    assert_eq!(writer.changes(), [SchemaChange::Create]);
    let outcome = put(&mut *writer, 0..5, Some(5)).await;
    let CommitOutcome::Committed { version: 0, micro_batch: 1, rows: 5, files: 1, changes, .. } = outcome
    else {
        panic!("{outcome:?}")
    };
    assert_eq!(changes, [SchemaChange::Create]);
    let outcome = put(&mut *writer, 5..7, Some(7)).await;
    assert!(
        matches!(outcome, CommitOutcome::Committed { version: 1, micro_batch: 2, rows: 2, .. }),
        "{outcome:?}"
    );
    drop(writer);

    let again = lake(&dir);
    let writer = again.writer(spec(WriteMode::Append)).await.unwrap();
    let state = writer.flow_state().unwrap();
    assert_eq!(state.micro_batch, 2);
    assert_eq!(state.offset.as_ref().unwrap().as_json(), "{\"at\": 7}");
    assert!(state.committed_at.is_some());
    assert!(writer.changes().is_empty());
    assert_eq!(ids(&again).await, (0..7).collect::<Vec<_>>());
    assert_eq!(ids_at(&again, Some(0)).await, (0..5).collect::<Vec<_>>());
    assert_eq!(names(&again).await[""], 3);
    let table = again.table(&name()).await.unwrap().unwrap();
    assert_eq!((table.version, table.rows, table.files), (1, Some(7), 2));
    assert_eq!(table.schema, crate::common::schema());
    assert_eq!(table.flows["flow-1"], *state);
    assert_eq!(again.tables().await.unwrap(), [name()]);

    // The log says it in the way that any Delta reader knows.
    let lines = log(&dir, 1);
    let find = |action: &str| lines.iter().find_map(|l| l.get(action)).unwrap();
    assert_eq!(find("txn")["appId"], "flow-1");
    assert_eq!(find("txn")["version"], 2);
    assert_eq!(find("domainMetadata")["domain"], "headwater.flow-1");
    assert!(find("add")["stats"].as_str().unwrap().contains("\"numRecords\":2"));
    let features = &log(&dir, 0)[1]["protocol"]["writerFeatures"];
    assert_eq!(*features, serde_json::json!(["domainMetadata", "invariants"]));
}

#[tokio::test]
async fn nothing_new_is_no_version_and_a_new_offset_alone_is_one() {
    let dir = tempfile::tempdir().unwrap();
    let lake = lake(&dir);
    let mut writer = lake.writer(spec(WriteMode::Append)).await.unwrap();
    committed(put(&mut *writer, 0..3, Some(3)).await);
    let same = headwater_connect::Offset::from_json("{\"at\":3}").unwrap();
    assert_eq!(writer.commit(Some(&same)).await.unwrap(), CommitOutcome::Unchanged);
    let outcome = writer.commit(Some(&offset(4))).await.unwrap();
    assert!(matches!(outcome, CommitOutcome::Committed { version: 1, rows: 0, files: 0, .. }), "{outcome:?}");
    assert_eq!(lake.table(&name()).await.unwrap().unwrap().version, 1);
    assert_eq!(ids(&lake).await, [0, 1, 2]);
}

#[tokio::test]
async fn a_discarded_micro_batch_leaves_no_file() {
    let dir = tempfile::tempdir().unwrap();
    let lake = lake(&dir);
    let mut writer =
        lake.writer(WriterSpec { target_file_bytes: 1, ..spec(WriteMode::Append) }).await.unwrap();
    committed(put(&mut *writer, 0..3, Some(3)).await);
    let before = data_files(&dir);
    for _ in 0..3 {
        writer.write(rows(0..200_000)).await.unwrap();
    }
    assert_eq!(writer.staged().rows, 600_000);
    writer.discard().await.unwrap();
    assert_eq!((writer.staged().rows, writer.staged().bytes), (0, 0));
    assert_eq!(data_files(&dir), before);
    committed(put(&mut *writer, 3..4, Some(4)).await);
    assert_eq!(ids(&lake).await, [0, 1, 2, 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_flows_append_to_one_table_at_the_same_time() {
    let dir = tempfile::tempdir().unwrap();
    let options = LakeOptions { auto_optimize: false, ..LakeOptions::default() };
    let lake = DeltaLake::open(dir.path().to_str().unwrap(), options).unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for flow in 0..2_i64 {
        let lake = lake.clone();
        tasks.spawn(async move {
            let spec = WriterSpec { flow: format!("flow-{flow}"), ..spec(WriteMode::Append) };
            let mut writer = lake.writer(spec).await.unwrap();
            for batch in 0..12 {
                let from = flow * 1_000 + batch * 10;
                committed(put(&mut *writer, from..from + 10, Some(batch)).await);
            }
        });
    }
    tasks.join_all().await;
    let expected: Vec<i64> = (0..120).chain(1_000..1_120).collect();
    assert_eq!(ids(&lake).await, expected);
    let table = lake.table(&name()).await.unwrap().unwrap();
    assert_eq!(table.version, 23);
    for flow in ["flow-0", "flow-1"] {
        assert_eq!(table.flows[flow].micro_batch, 12);
        assert_eq!(table.flows[flow].offset, Some(offset(11)));
    }
}

#[tokio::test]
async fn the_same_flow_in_two_processes_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let lake = lake(&dir);
    let mut one = lake.writer(spec(WriteMode::Append)).await.unwrap();
    let mut two = lake.writer(spec(WriteMode::Append)).await.unwrap();
    committed(put(&mut *one, 0..3, Some(3)).await);
    two.write(rows(0..3)).await.unwrap();
    let error = two.commit(Some(&offset(3))).await.unwrap_err();
    assert!(matches!(error, LakeError::FlowMoved { micro_batch: 1, .. }), "{error:?}");
    two.discard().await.unwrap();
    assert_eq!(ids(&lake).await, [0, 1, 2]);
    assert_eq!(data_files(&dir).len(), 1);
}

#[tokio::test]
async fn an_offset_can_be_set_and_forgotten_and_numbers_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let lake = lake(&dir);
    let error = lake.set_offset(&name(), "flow-1", None).await.unwrap_err();
    assert!(matches!(error, LakeError::NoTable { .. }), "{error:?}");
    let mut writer = lake.writer(spec(WriteMode::Append)).await.unwrap();
    committed(put(&mut *writer, 0..3, Some(3)).await);
    assert_eq!(lake.set_offset(&name(), "flow-1", Some(&offset(1))).await.unwrap(), 1);
    let writer = lake.writer(spec(WriteMode::Append)).await.unwrap();
    assert_eq!(writer.flow_state().unwrap().offset, Some(offset(1)));
    lake.set_offset(&name(), "flow-1", None).await.unwrap();
    let mut writer = lake.writer(spec(WriteMode::Append)).await.unwrap();
    assert_eq!(writer.flow_state(), None);
    let outcome = put(&mut *writer, 3..4, Some(4)).await;
    assert!(matches!(outcome, CommitOutcome::Committed { micro_batch: 4, .. }), "{outcome:?}");
}

#[tokio::test]
async fn a_numbered_commit_replaces_the_rows_of_its_number() {
    let dir = tempfile::tempdir().unwrap();
    let lake = lake(&dir);
    let mut writer = lake.writer(spec(WriteMode::Append)).await.unwrap();
    assert_eq!(writer.commit_numbered(3, None).await.unwrap(), CommitOutcome::Unchanged);
    writer.write(rows([1, 2])).await.unwrap();
    committed(writer.commit_numbered(3, None).await.unwrap());
    writer.write(rows([3, 4])).await.unwrap();
    committed(writer.commit_numbered(5, None).await.unwrap());
    assert_eq!(ids(&lake).await, [1, 2, 3, 4]);

    let mut writer = lake.writer(spec(WriteMode::Append)).await.unwrap();
    assert_eq!(writer.flow_state().unwrap().micro_batch, 5);
    writer.write(rows([3, 5])).await.unwrap();
    committed(writer.commit_numbered(5, None).await.unwrap());
    assert_eq!(ids(&lake).await, [1, 2, 3, 5]);
    committed(writer.commit_numbered(5, None).await.unwrap());
    assert_eq!(ids(&lake).await, [1, 2]);
    let error = writer.commit_numbered(4, None).await.unwrap_err();
    assert!(matches!(error, LakeError::FlowMoved { micro_batch: 5, .. }), "{error:?}");
    assert_eq!(writer.commit_numbered(6, None).await.unwrap(), CommitOutcome::Unchanged);
}

#[tokio::test]
async fn the_log_gets_checkpoints_and_checksums() {
    let dir = tempfile::tempdir().unwrap();
    let lake = lake(&dir);
    let mut writer = lake.writer(spec(WriteMode::Append)).await.unwrap();
    for at in 0..12 {
        committed(put(&mut *writer, at..at + 1, Some(at)).await);
    }
    let log = dir.path().join("main/shop/orders/_delta_log");
    for version in 0..12 {
        assert!(log.join(format!("{version:020}.crc")).exists(), "{version}");
    }
    assert!(log.join("00000000000000000010.checkpoint.parquet").exists());
    assert!(log.join("_last_checkpoint").exists());
    let history = lake.history(&name(), 5).await.unwrap();
    assert_eq!(history.iter().map(|v| v.version).collect::<Vec<_>>(), [11, 10, 9, 8, 7]);
    assert_eq!(history[0].operation, "WRITE");
    assert_eq!(history[0].parameters["flow"], "flow-1");
    assert_eq!(history[0].metrics["numOutputRows"], "1");
    assert_eq!(ids(&lake).await, (0..12).collect::<Vec<_>>());
}

#[tokio::test]
async fn reading_stops_at_the_limit_and_names_what_is_not_there() {
    let dir = tempfile::tempdir().unwrap();
    let lake = lake(&dir);
    let mut writer = lake.writer(spec(WriteMode::Append)).await.unwrap();
    committed(put(&mut *writer, 0..30_000, Some(1)).await);
    let count = |limit| {
        let lake = lake.clone();
        async move {
            let spec = ReadSpec { limit, ..ReadSpec::default() };
            read(&lake, &name(), spec).await.iter().map(arrow_array::RecordBatch::num_rows).sum::<usize>()
        }
    };
    assert_eq!(count(None).await, 30_000);
    assert_eq!(count(Some(0)).await, 0);
    assert_eq!(count(Some(10_001)).await, 10_001);
    let error = |spec| {
        let lake = lake.clone();
        async move { lake.read(&name(), spec).await.err().unwrap() }
    };
    let columns = Some(vec!["nmae".into()]);
    assert!(matches!(error(ReadSpec { columns, ..ReadSpec::default() }).await, LakeError::NoColumn { .. }));
    let version = Some(9);
    assert!(matches!(
        error(ReadSpec { version, ..ReadSpec::default() }).await,
        LakeError::NoVersion { version: 9, .. }
    ));
}

#[tokio::test]
async fn files_that_cannot_hold_the_row_looked_for_are_not_read() {
    let dir = tempfile::tempdir().unwrap();
    let lake = lake(&dir);
    let mut writer = lake.writer(spec(WriteMode::Append)).await.unwrap();
    committed(put(&mut *writer, 0..10, Some(1)).await);
    let kept = data_files(&dir);
    committed(put(&mut *writer, 10..20, Some(2)).await);
    let gone = data_files(&dir).into_iter().find(|file| !kept.contains(file)).unwrap();
    std::fs::remove_file(dir.path().join("main/shop/orders").join(gone)).unwrap();
    let holding = |column: &str, value: &str| ReadSpec {
        holding: vec![(column.to_owned(), value.to_owned())],
        ..ReadSpec::default()
    };
    assert_eq!(
        read(&lake, &name(), holding("id", "7")).await.iter().map(|b| b.num_rows()).sum::<usize>(),
        10
    );
    assert!(read(&lake, &name(), holding("id", "99")).await.is_empty());
    // What cannot be compared leaves nothing out.
    for spec in [holding("id", "17"), holding("id", "seven"), holding("no_column", "7"), holding("id", "")] {
        let mut rows = lake.read(&name(), spec.clone()).await.unwrap();
        let mut failed = false;
        while let Some(batch) = rows.next().await {
            failed |= batch.is_err();
        }
        assert!(failed, "{spec:?} did not read the file that is gone");
    }
}

#[tokio::test]
async fn names_with_blanks_signs_and_letters_of_any_language_are_tables() {
    let dir = tempfile::tempdir().unwrap();
    let lake = lake(&dir);
    let table = headwater_lake::TableName::new("my lake", "größe", "50% of #1?").unwrap();
    let named = WriterSpec { table: table.clone(), ..spec(WriteMode::Append) };
    let mut writer = lake.writer(named).await.unwrap();
    committed(put(&mut *writer, 0..3, Some(3)).await);
    committed(put(&mut *writer, 3..4, Some(4)).await);
    assert_eq!(lake.tables().await.unwrap(), std::slice::from_ref(&table));
    let rows = read(&lake, &table, ReadSpec::default()).await;
    assert_eq!(rows.iter().map(arrow_array::RecordBatch::num_rows).sum::<usize>(), 4);
    assert!(dir.path().join("my lake/größe/50% of #1?/_delta_log").is_dir());
}

#[tokio::test]
async fn a_full_refresh_by_one_flow_lets_the_others_start_over() {
    let dir = tempfile::tempdir().unwrap();
    let lake = lake(&dir);
    let of = |flow: &str| WriterSpec { flow: flow.into(), ..spec(WriteMode::Append) };
    for (flow, at) in [("one", 0), ("two", 10)] {
        committed(put(&mut *lake.writer(of(flow)).await.unwrap(), at..at + 5, Some(at)).await);
    }
    // Counts by numbers of its own, without an offset.
    let mut numbered = lake.writer(of("numbered")).await.unwrap();
    numbered.write(rows(20..25)).await.unwrap();
    committed(numbered.commit_numbered(7, None).await.unwrap());

    let mut anew = lake.writer(WriterSpec { full_refresh: true, ..of("one") }).await.unwrap();
    committed(put(&mut *anew, 30..32, Some(30)).await);
    assert_eq!(ids(&lake).await, [30, 31]);
    // The rows of the other flow are gone: it must read them again, and its numbers go on.
    let mut two = lake.writer(of("two")).await.unwrap();
    assert_eq!((two.flow_state(), two.next_micro_batch()), (None, 3));
    committed(put(&mut *two, 10..15, Some(10)).await);
    assert_eq!(ids(&lake).await, [10, 11, 12, 13, 14, 30, 31]);
    let flows = lake.table(&name()).await.unwrap().unwrap().flows;
    assert_eq!(flows["numbered"].micro_batch, 7);
    assert_eq!(flows["one"].offset, Some(offset(30)));
}
