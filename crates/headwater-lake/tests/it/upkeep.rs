//! Optimize and vacuum: nothing that a reader sees changes, and nothing goes that somebody needs.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use headwater_connect::{Clock, ManualClock, SystemClock};
use headwater_lake::{CommitOutcome, Lake, LakeError, LakeOptions, OptimizeReport, WriteMode, WriterSpec};
use serde_json::{Value, json};

use crate::canon;
use crate::maker::{
    Local, every_type, every_value, name, offset, put, same_everywhere, same_for, small, small_schema,
    sound_stats, spec, write,
};
use crate::readers::{READERS, ask, sql};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const TARGET: u64 = WriterSpec::DEFAULT_TARGET_FILE_BYTES;

/// A lake whose clock the test moves, and where nothing is tended unasked. The clock starts at the machine's time, since
/// files get theirs from there.
fn clocked() -> (Local, ManualClock) {
    let clock = ManualClock::new(SystemClock.now());
    let options =
        LakeOptions { clock: Arc::new(clock.clone()), auto_optimize: false, ..LakeOptions::default() };
    (Local::with(options), clock)
}

fn days(count: i64) -> TimeDelta {
    TimeDelta::days(count) + TimeDelta::minutes(1)
}

/// Names of the files in a folder that do not begin with `_`.
fn data_files(path: &str) -> BTreeSet<String> {
    let names = std::fs::read_dir(path).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    names.filter(|n| !n.starts_with('_')).collect()
}

#[tokio::test]
async fn small_files_become_one_and_nothing_else_changes() {
    let local = Local::new();
    let table = name("compacted");
    let batches: Vec<_> = (0..6).map(|i| every_value(i * 10)).collect();
    for (at, batch) in (1..).zip(&batches) {
        put(&local.lake, spec(&table, &every_type(), WriteMode::Append), std::slice::from_ref(batch), at)
            .await;
    }
    let before = local.lake.table(&table).await.unwrap().unwrap();
    let report = local.lake.optimize(&table, TARGET).await.unwrap();
    assert_eq!((report.files_removed, report.files_added, report.version), (6, 1, Some(6)));
    assert_eq!(report.bytes_removed, before.bytes);
    let after = local.lake.table(&table).await.unwrap().unwrap();
    assert_eq!((after.files, after.rows, after.bytes), (1, Some(30), report.bytes_added));
    assert_eq!(after.flows, before.flows);
    same_everywhere(&local.path(&table), &every_type(), &canon::rows(&batches));
    let commits = ask("log", json!({"path": local.path(&table)})).unwrap();
    let actions = commits[6][1].as_array().unwrap();
    for action in actions.iter().filter_map(|a| a.get("add").or(a.get("remove"))) {
        assert_eq!(action["dataChange"], false);
    }
    assert_eq!(actions[0]["commitInfo"]["operation"], "OPTIMIZE");
    // A second time there is nothing to do, and no version.
    assert_eq!(local.lake.optimize(&table, TARGET).await.unwrap(), OptimizeReport::default());
    assert_eq!(local.lake.table(&table).await.unwrap().unwrap().version, 6);
}

#[tokio::test]
async fn a_table_that_is_not_there_or_empty_is_no_trouble() {
    let local = Local::new();
    let error = local.lake.optimize(&name("nowhere"), TARGET).await.unwrap_err();
    assert!(matches!(error, LakeError::NoTable { .. }), "{error:?}");
    let error = local.lake.vacuum(&name("nowhere"), 7 * DAY, false).await.unwrap_err();
    assert!(matches!(error, LakeError::NoTable { .. }), "{error:?}");
    let table = name("hollow");
    put(&local.lake, spec(&table, &small_schema(), WriteMode::Append), &[], 1).await;
    assert_eq!(local.lake.optimize(&table, TARGET).await.unwrap(), OptimizeReport::default());
    assert_eq!(local.lake.vacuum(&table, 7 * DAY, false).await.unwrap().files, [""; 0]);
}

#[tokio::test]
async fn a_clustered_table_stays_sorted_and_its_files_stay_apart() {
    let local = Local::new();
    let table = name("clustered");
    let by_id =
        || WriterSpec { cluster_by: vec!["id".into()], ..spec(&table, &small_schema(), WriteMode::Append) };
    // Four ranges, written out of order.
    for (at, from) in [(1, 3_000), (2, 0), (3, 2_000), (4, 1_000)] {
        put(&local.lake, by_id(), &[small((from..from + 1_000).rev())], at).await;
    }
    let size = local.lake.table(&table).await.unwrap().unwrap().bytes / 4;
    // Room for two files: those of neighbouring ranges go together.
    let report = local.lake.optimize(&table, size * 5 / 2).await.unwrap();
    assert_eq!((report.files_removed, report.files_added), (4, 2));
    same_everywhere(&local.path(&table), &small_schema(), &canon::rows([&small(0..4_000)]));
    let commits = ask("log", json!({"path": local.path(&table)})).unwrap();
    let mut ranges: Vec<(i64, i64)> = commits[4][1]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|a| serde_json::from_str::<Value>(a["add"]["stats"].as_str()?).ok())
        .map(|s| (s["minValues"]["id"].as_i64().unwrap(), s["maxValues"]["id"].as_i64().unwrap()))
        .collect();
    ranges.sort_unstable();
    assert_eq!(ranges, [(0, 1_999), (2_000, 3_999)]);
}

#[tokio::test]
async fn a_snapshot_is_still_known_after_its_files_were_merged() {
    let local = Local::new();
    let table = name("known");
    let many = || WriterSpec { target_file_bytes: 1, ..spec(&table, &small_schema(), WriteMode::Snapshot) };
    let rows: Vec<_> = (0..4).map(|i| small(i * 50_000..(i + 1) * 50_000)).collect();
    put(&local.lake, many(), &rows, 1).await;
    let files = local.lake.table(&table).await.unwrap().unwrap().files;
    assert!(files > 1, "the snapshot is in one file");
    let report = local.lake.optimize(&table, TARGET).await.unwrap();
    assert_eq!((report.files_removed, report.files_added), (files, 1));
    assert_eq!(write(&local.lake, many(), &rows, 1).await, CommitOutcome::Unchanged);
    assert_eq!(local.lake.table(&table).await.unwrap().unwrap().files, 1);
}

/// Somebody else's tables, deletion vectors and all.
#[tokio::test]
async fn dead_rows_of_a_table_that_spark_wrote_are_purged() {
    let local = Local::new();
    let table = name("dead");
    let path = local.path(&table);
    sql(&[
        format!(
            "CREATE TABLE delta.`{path}` (id BIGINT, text STRING) USING delta \
             TBLPROPERTIES ('delta.enableDeletionVectors' = 'true')"
        ),
        format!("INSERT INTO delta.`{path}` SELECT id, concat('text ', id) FROM range(0, 1000, 1, 1)"),
        format!("INSERT INTO delta.`{path}` SELECT id, concat('text ', id) FROM range(1000, 1010, 1, 1)"),
        format!("DELETE FROM delta.`{path}` WHERE id % 10 = 3"),
        format!("INSERT INTO delta.`{path}` SELECT id, NULL FROM range(5000, 5001, 1, 1)"),
    ]);
    let before = ask("read", json!({"reader": "spark", "path": path})).unwrap();
    assert_eq!(before["rows"].as_array().unwrap().len(), 910);
    let report = local.lake.optimize(&table, TARGET).await.unwrap();
    assert_eq!((report.dead_rows_purged, report.files_removed, report.files_added), (101, 3, 1));
    let state = local.lake.table(&table).await.unwrap().unwrap();
    assert_eq!((state.rows, state.files), (Some(910), 1));
    let schema = state.schema.clone();
    for reader in READERS {
        same_for(reader, &path, &schema, before["rows"].as_array().unwrap(), None);
    }
    sound_stats(&path);
}

#[tokio::test]
async fn a_table_with_what_we_cannot_keep_is_refused() {
    let local = Local::new();
    let check = |table: &str, columns: &str, expect: &str| {
        let (table, expect) = (name(table), expect.to_owned());
        let path = local.path(&table);
        sql(&[
            format!("CREATE TABLE delta.`{path}` (id BIGINT, day DATE) USING delta {columns}"),
            format!("INSERT INTO delta.`{path}` VALUES (1, DATE'2020-01-01')"),
            format!("INSERT INTO delta.`{path}` VALUES (2, DATE'2020-01-02')"),
        ]);
        let lake = local.lake.clone();
        async move {
            let error = lake.optimize(&table, TARGET).await.unwrap_err();
            assert!(
                matches!(&error, LakeError::Unsupported { feature, .. } if feature.contains(&expect)),
                "{error:?}"
            );
        }
    };
    check("partitioned", "PARTITIONED BY (day)", "partition").await;
    check("tracked", "TBLPROPERTIES ('delta.enableRowTracking' = 'true')", "rowTracking").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn appends_and_compaction_go_on_at_the_same_time() {
    let local = Local::new();
    let table = name("busy");
    let append = spec(&table, &small_schema(), WriteMode::Append);
    put(&local.lake, append.clone(), &[small([0])], 0).await;
    let writing = {
        let (lake, append) = (local.lake.clone(), append.clone());
        async move {
            let mut writer = lake.writer(append).await.unwrap();
            for at in 1..=30 {
                writer.write(small([at])).await.unwrap();
                let outcome = writer.commit(Some(&offset(at))).await.unwrap();
                assert!(matches!(outcome, CommitOutcome::Committed { .. }), "{outcome:?}");
            }
        }
    };
    let merging = {
        let (lake, table) = (local.lake.clone(), table.clone());
        async move {
            let mut merged = 0;
            for _ in 0..10 {
                merged += lake.optimize(&table, TARGET).await.unwrap().files_removed;
            }
            merged
        }
    };
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(writing);
    let merged = merging.await;
    tasks.join_all().await;
    assert!(merged > 0);
    let state = local.lake.table(&table).await.unwrap().unwrap();
    assert_eq!((state.rows, &state.flows["flow"].offset), (Some(31), &Some(offset(30))));
    same_everywhere(&local.path(&table), &small_schema(), &canon::rows([&small(0..=30)]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_compactions_at_the_same_time_keep_each_row_once() {
    let local = Local::new();
    let table = name("twice");
    for at in 0..12 {
        put(&local.lake, spec(&table, &small_schema(), WriteMode::Append), &[small([at])], at).await;
    }
    let run = || {
        let (lake, table) = (local.lake.clone(), table.clone());
        async move { lake.optimize(&table, TARGET).await.unwrap() }
    };
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(run());
    tasks.spawn(run());
    let reports = tasks.join_all().await;
    assert_eq!(reports.iter().map(|r| r.files_removed).sum::<u64>(), 12, "{reports:?}");
    let state = local.lake.table(&table).await.unwrap().unwrap();
    assert_eq!((state.rows, state.files), (Some(12), 1));
    // The files of the one that came too late are gone again.
    assert_eq!(data_files(&local.path(&table)).len(), 13);
}

#[tokio::test]
async fn vacuum_keeps_what_the_retention_covers() {
    let (local, clock) = clocked();
    let table = name("vacuumed");
    let path = local.path(&table);
    let append = || spec(&table, &small_schema(), WriteMode::Append);
    put(&local.lake, append(), &[small(0..3)], 1).await;
    put(&local.lake, append(), &[small(3..6)], 2).await;
    let old = data_files(&path);
    local.lake.optimize(&table, TARGET).await.unwrap();

    let error = local.lake.vacuum(&table, 6 * DAY, false).await.unwrap_err();
    let LakeError::RetentionTooShort { asked, least, .. } = &error else { panic!("{error:?}") };
    assert_eq!((asked.as_str(), least.as_str()), ("6 days", "7 days"));

    // Young files stay; so do those that are not of the table's making.
    std::fs::write(format!("{path}/part-crashed.parquet"), "half a file").unwrap();
    std::fs::write(format!("{path}/_notes"), "hidden").unwrap();
    std::fs::create_dir(format!("{path}/.hidden")).unwrap();
    std::fs::write(format!("{path}/.hidden/file"), "hidden").unwrap();
    clock.advance(TimeDelta::days(6));
    assert_eq!(local.lake.vacuum(&table, 7 * DAY, false).await.unwrap().files, [""; 0]);
    for reader in READERS {
        same_for(reader, &path, &small_schema(), &canon::rows([&small(0..3)]), Some(0));
    }

    clock.advance(days(1));
    let dry = local.lake.vacuum(&table, 7 * DAY, true).await.unwrap();
    let expect: BTreeSet<_> = old.iter().cloned().chain(["part-crashed.parquet".to_owned()]).collect();
    assert_eq!(dry.files.iter().cloned().collect::<BTreeSet<_>>(), expect);
    assert!(dry.bytes > 0);
    assert!(old.is_subset(&data_files(&path)), "a dry run removes nothing");
    let wet = local.lake.vacuum(&table, 7 * DAY, false).await.unwrap();
    assert_eq!(wet, dry);
    assert_eq!(data_files(&path).len(), 2, "one live file, and the hidden folder");
    assert!(std::fs::exists(format!("{path}/.hidden/file")).unwrap());
    assert!(std::fs::exists(format!("{path}/_notes")).unwrap());
    same_everywhere(&path, &small_schema(), &canon::rows([&small(0..6)]));
    assert_eq!(local.lake.vacuum(&table, 7 * DAY, false).await.unwrap().files, [""; 0]);
}

/// A file goes by when it was removed, not by when it was made.
#[tokio::test]
async fn a_file_that_was_replaced_yesterday_stays_however_old_it_is() {
    let (local, clock) = clocked();
    let table = name("replaced");
    let snapshot = || spec(&table, &small_schema(), WriteMode::Snapshot);
    put(&local.lake, snapshot(), &[small(0..3)], 1).await;
    let path = local.path(&table);
    // As if the first version had been made a year before.
    for entry in
        std::fs::read_dir(&path).unwrap().chain(std::fs::read_dir(format!("{path}/_delta_log")).unwrap())
    {
        let file = std::fs::File::open(entry.unwrap().path()).unwrap();
        file.set_modified(std::time::SystemTime::from(SystemClock.now() - TimeDelta::days(365))).unwrap();
    }
    put(&local.lake, snapshot(), &[small(3..6)], 2).await;
    clock.advance(TimeDelta::days(1));
    assert_eq!(local.lake.vacuum(&table, 7 * DAY, false).await.unwrap().files, [""; 0]);
    // Spark refuses to go back further than the retention, whatever is there.
    for reader in ["deltalake", "polars"] {
        same_for(reader, &path, &small_schema(), &canon::rows([&small(0..3)]), Some(0));
    }
    clock.advance(days(7));
    assert_eq!(local.lake.vacuum(&table, 7 * DAY, false).await.unwrap().files.len(), 1);
    same_everywhere(&path, &small_schema(), &canon::rows([&small(3..6)]));
}

#[tokio::test]
async fn the_log_is_cut_below_a_checkpoint_that_has_expired() {
    let (local, clock) = clocked();
    let table = name("logged");
    let path = local.path(&table);
    let append = || spec(&table, &small_schema(), WriteMode::Append);
    for at in 0..23 {
        put(&local.lake, append(), &[small([at])], at).await;
    }
    clock.advance(days(20));
    assert_eq!(local.lake.vacuum(&table, 7 * DAY, false).await.unwrap().log_files, 0);
    clock.advance(days(10));
    let dry = local.lake.vacuum(&table, 7 * DAY, true).await.unwrap();
    // Commits and checksums of 0 to 19, and the checkpoint of 10.
    assert_eq!((dry.log_files, dry.files.len()), (41, 0));
    assert_eq!(local.lake.vacuum(&table, 7 * DAY, false).await.unwrap(), dry);
    assert_eq!(local.lake.vacuum(&table, 7 * DAY, false).await.unwrap().log_files, 0);
    let commits = ask("log", json!({"path": path})).unwrap();
    let left: Vec<u64> = commits.as_array().unwrap().iter().map(|c| c[0].as_u64().unwrap()).collect();
    assert_eq!(left, [20, 21, 22]);
    same_everywhere(&path, &small_schema(), &canon::rows([&small(0..23)]));
    assert_eq!(local.lake.history(&table, 100).await.unwrap().len(), 3);
    // Life goes on, offsets and all.
    let state = local.lake.table(&table).await.unwrap().unwrap();
    assert_eq!(state.flows["flow"].offset, Some(offset(22)));
    put(&local.lake, append(), &[small([23])], 23).await;
    local.lake.optimize(&table, TARGET).await.unwrap();
    clock.advance(days(8));
    let report = local.lake.vacuum(&table, 7 * DAY, false).await.unwrap();
    assert_eq!(report.files.len(), 24);
    same_everywhere(&path, &small_schema(), &canon::rows([&small(0..24)]));
}

#[tokio::test]
async fn deletion_vectors_of_live_files_stay_and_others_go() {
    let (local, clock) = clocked();
    let table = name("vectors");
    let path = local.path(&table);
    sql(&[
        format!(
            "CREATE TABLE delta.`{path}` (id BIGINT, text STRING) USING delta \
             TBLPROPERTIES ('delta.enableDeletionVectors' = 'true')"
        ),
        format!("INSERT INTO delta.`{path}` SELECT id, 'x' FROM range(0, 100, 1, 1)"),
        format!("DELETE FROM delta.`{path}` WHERE id = 3"),
        format!("DELETE FROM delta.`{path}` WHERE id = 4"),
    ]);
    let vectors = || data_files(&path).into_iter().filter(|n| n.ends_with(".bin")).count();
    assert_eq!(vectors(), 2);
    let rows = ask("read", json!({"reader": "spark", "path": path})).unwrap()["rows"].clone();
    clock.advance(days(7));
    let gone = local.lake.vacuum(&table, 7 * DAY, false).await.unwrap();
    assert_eq!(vectors(), 1, "{gone:?}");
    let schema = local.lake.table(&table).await.unwrap().unwrap().schema;
    for reader in READERS {
        same_for(reader, &path, &schema, rows.as_array().unwrap(), None);
    }
    let report = local.lake.optimize(&table, TARGET).await.unwrap();
    assert_eq!((report.dead_rows_purged, report.files_added), (2, 1));
    for reader in READERS {
        same_for(reader, &path, &schema, rows.as_array().unwrap(), None);
    }
}
