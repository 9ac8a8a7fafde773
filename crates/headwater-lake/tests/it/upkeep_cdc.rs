//! Upkeep of tables that get changes: rows and hidden rows stay what they are, files come into order, and writers tend
//! their tables themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use headwater_connect::{Clock, ManualClock, SystemClock};
use headwater_lake::{
    CommitOutcome, DeltaLake, Feed, Lake, LakeOptions, OptimizeReport, ScdType, TableName, TrackHistory,
    WriteMode, WriterSpec,
};
use serde_json::Value;

use crate::cdc::{Event, apply, batch, changes, rows};
use crate::maker::{Local, name, offset, put, small, small_schema, spec};

const WEEK: Duration = Duration::from_secs(7 * 24 * 60 * 60);
const TARGET: u64 = WriterSpec::DEFAULT_TARGET_FILE_BYTES;

/// A lake that tends nothing unasked and has little memory for what it is asked.
fn quiet() -> Local {
    let options = LakeOptions {
        auto_optimize: false,
        optimize_memory_bytes: 16 * 1024 * 1024,
        ..LakeOptions::default()
    };
    Local::with(options)
}

fn upserts(table: &TableName, scd_type: ScdType) -> WriterSpec {
    changes(table, scd_type, TrackHistory::All, Feed::Upserts)
}

fn deletes(table: &TableName, scd_type: ScdType) -> WriterSpec {
    changes(table, scd_type, TrackHistory::All, Feed::Deletes)
}

/// An event with a note that does not compress.
fn event(id: i64, at: i64) -> Event {
    let noise = fastrand::Rng::with_seed(u64::from_ne_bytes((id * 1_000_003 + at).to_ne_bytes())).u64(..);
    (id, at, Some(format!("name {}", (id * 7_919 + at) % 1_000)), Some(format!("{noise:016x}")))
}

/// The files that the log in a folder names, with their `add` actions.
fn live(path: &str) -> BTreeMap<String, Value> {
    let mut live = BTreeMap::new();
    for (_, actions) in commits(path) {
        for action in &actions {
            if let Some(remove) = action.get("remove") {
                live.remove(remove["path"].as_str().unwrap());
            }
        }
        for action in actions {
            if let Some(add) = action.get("add") {
                live.insert(add["path"].as_str().unwrap().to_owned(), add.clone());
            }
        }
    }
    live
}

fn commits(path: &str) -> BTreeMap<String, Vec<Value>> {
    let entries = std::fs::read_dir(format!("{path}/_delta_log")).unwrap();
    let names = entries.map(|e| e.unwrap().file_name().into_string().unwrap());
    let names = names.filter(|n| n.len() == 25 && n.ends_with(".json"));
    let read = |name: &String| std::fs::read_to_string(format!("{path}/_delta_log/{name}")).unwrap();
    names.map(|n| (n.clone(), read(&n).lines().map(|l| serde_json::from_str(l).unwrap()).collect())).collect()
}

/// How many versions compaction made.
fn compactions(path: &str) -> usize {
    commits(path).values().filter(|c| c[0]["commitInfo"]["operation"] == "OPTIMIZE").count()
}

fn hidden(path: &str) -> String {
    format!("{path}/_headwater_hidden")
}

/// Sees to it that no file lies across another by a column, and gives how many there are.
fn apart(path: &str, column: &str) -> usize {
    let mut ranges: Vec<(String, String)> = Vec::new();
    for add in live(path).values() {
        assert_eq!(add.get("deletionVector"), None);
        let stats: Value = serde_json::from_str(add["stats"].as_str().unwrap()).unwrap();
        let text = |value: &Value| value.as_i64().map_or_else(|| value.to_string(), |n| format!("{n:020}"));
        ranges.push((text(&stats["minValues"][column]), text(&stats["maxValues"][column])));
    }
    ranges.sort();
    for pair in ranges.windows(2) {
        assert!(pair[0].1 <= pair[1].0, "{pair:?}");
    }
    ranges.len()
}

/// Events in no order, with changes of earlier keys, that come in micro-batches of 40.
fn events(seed: u64, keys: i64, micro_batches: i64) -> Vec<Vec<Event>> {
    let mut random = fastrand::Rng::with_seed(seed);
    (0..micro_batches)
        .map(|at| (0..40).map(|_| event(random.i64(0..keys), at * 10 + random.i64(0..10))).collect())
        .collect()
}

#[tokio::test]
async fn rows_and_hidden_rows_are_the_same_after_optimize() {
    for scd_type in [ScdType::One, ScdType::Two] {
        let local = quiet();
        let (tended, left) = (name("tended"), name("left"));
        let path = local.path(&tended);
        let mut at = 0;
        for (round, micro_batch) in events(7, 90, 12).into_iter().enumerate() {
            at += 1;
            let gone: Vec<Event> =
                micro_batch.iter().step_by(5).map(|e| (e.0, e.1 + 3, None, None)).collect();
            for table in [&tended, &left] {
                apply(&local.lake, upserts(table, scd_type), &micro_batch, at).await;
                apply(&local.lake, deletes(table, scd_type), &gone, at).await;
            }
            if round % 4 == 3 {
                let report = local.lake.optimize(&tended, TARGET).await.unwrap();
                assert!(report.files_removed > report.files_added, "{report:?}");
                assert!(report.dead_rows_purged > 0, "{report:?}");
                assert_eq!(apart(&path, "id"), 1);
                assert_eq!((live(&path).len(), live(&hidden(&path)).len()), (1, 1));
                assert_eq!(local.lake.optimize(&tended, TARGET).await.unwrap(), OptimizeReport::default());
            }
            assert_eq!(rows(&local.lake, &tended).await, rows(&local.lake, &left).await, "round {round}");
        }
        // Changes from long ago, of rows that are gone among others.
        let late: Vec<Event> = (0..90).map(|id| event(id, id % 120)).collect();
        for table in [&tended, &left] {
            apply(&local.lake, upserts(table, scd_type), &late, 99).await;
        }
        let found = rows(&local.lake, &tended).await;
        assert!(!found.is_empty());
        assert_eq!(found, rows(&local.lake, &left).await);
        assert!(live(&path).len() > 1, "the table still changes");
    }
}

#[tokio::test]
async fn optimize_makes_one_sorted_sequence_of_files() {
    for cluster_by in [None, Some("name")] {
        let local = quiet();
        let table = name("sequence");
        let spec = || WriterSpec {
            cluster_by: cluster_by.iter().map(|&c| c.to_owned()).collect(),
            ..upserts(&table, ScdType::One)
        };
        let mut ids: Vec<i64> = (0..90_000).collect();
        fastrand::Rng::with_seed(3).shuffle(&mut ids);
        for (at, part) in (1..).zip(ids.chunks(30_000)) {
            let events: Vec<Event> = part.iter().map(|&id| event(id, 1)).collect();
            apply(&local.lake, spec(), &events, at).await;
        }
        let again: Vec<Event> = ids.iter().step_by(100).map(|&id| event(id, 2)).collect();
        apply(&local.lake, spec(), &again, 4).await;
        let report = local.lake.optimize(&table, 200_000).await.unwrap();
        assert_eq!(report.dead_rows_purged, 900);
        let files = apart(&local.path(&table), cluster_by.unwrap_or("id"));
        assert!(files > 1, "{report:?}");
        let found = rows(&local.lake, &table).await;
        let seen: BTreeSet<i64> = found.iter().map(|row| row[0].as_i64().unwrap()).collect();
        assert_eq!((found.len(), seen.len()), (90_000, 90_000));
        assert_eq!(found.iter().filter(|row| row[1] == 2).count(), 900);
        // A file that lies across others is sorted in among them.
        apply(&local.lake, spec(), &[event(-1, 9), event(45_000, 9), event(90_000, 9)], 5).await;
        local.lake.optimize(&table, 200_000).await.unwrap();
        apart(&local.path(&table), cluster_by.unwrap_or("id"));
        assert_eq!(local.lake.table(&table).await.unwrap().unwrap().rows, Some(90_002));
    }
}

#[tokio::test]
async fn a_writer_goes_on_when_its_table_was_optimized_meanwhile() {
    for scd_type in [ScdType::One, ScdType::Two] {
        let local = quiet();
        let (busy, left) = (name("busy_changes"), name("left_alone"));
        let micro_batches = events(11, 60, 8);
        let mut writer = local.lake.writer(upserts(&busy, scd_type)).await.unwrap();
        for (at, micro_batch) in (1..).zip(&micro_batches) {
            let gone: Vec<Event> =
                micro_batch.iter().step_by(7).map(|e| (e.0, e.1 + 2, None, None)).collect();
            writer.write(batch(micro_batch)).await.unwrap();
            local.lake.optimize(&busy, TARGET).await.ok();
            let outcome = writer.commit(Some(&offset(at))).await.unwrap();
            assert!(matches!(outcome, CommitOutcome::Committed { .. }), "{outcome:?}");
            apply(&local.lake, deletes(&busy, scd_type), &gone, at).await;
            apply(&local.lake, upserts(&left, scd_type), micro_batch, at).await;
            apply(&local.lake, deletes(&left, scd_type), &gone, at).await;
            assert_eq!(rows(&local.lake, &busy).await, rows(&local.lake, &left).await);
        }
        assert!(compactions(&local.path(&busy)) >= 7);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn changes_and_compaction_go_on_at_the_same_time() {
    let local = quiet();
    let (busy, left) = (name("racing"), name("calm"));
    let micro_batches = events(5, 60, 25);
    apply(&local.lake, upserts(&busy, ScdType::One), &micro_batches[0], 1).await;
    let mut tasks = tokio::task::JoinSet::new();
    {
        let (lake, busy, micro_batches) = (local.lake.clone(), busy.clone(), micro_batches.clone());
        tasks.spawn(async move {
            let mut writer = lake.writer(upserts(&busy, ScdType::One)).await.unwrap();
            let mut deleter = lake.writer(deletes(&busy, ScdType::One)).await.unwrap();
            for (at, micro_batch) in (2..).zip(&micro_batches[1..]) {
                let gone: Vec<Event> =
                    micro_batch.iter().step_by(6).map(|e| (e.0, e.1 + 1, None, None)).collect();
                writer.write(batch(micro_batch)).await.unwrap();
                let _outcome = writer.commit(Some(&offset(at))).await.unwrap();
                deleter.write(batch(&gone)).await.unwrap();
                let _outcome = deleter.commit(Some(&offset(at))).await.unwrap();
            }
        });
    }
    let mut merged = 0;
    while !tasks.is_empty() {
        merged += local.lake.optimize(&busy, TARGET).await.unwrap().files_removed;
        if let Some(ended) = tasks.try_join_next() {
            ended.unwrap();
        }
    }
    assert!(merged > 0);
    for (at, micro_batch) in (1..).zip(&micro_batches) {
        let gone: Vec<Event> = micro_batch.iter().step_by(6).map(|e| (e.0, e.1 + 1, None, None)).collect();
        apply(&local.lake, upserts(&left, ScdType::One), micro_batch, at).await;
        if at > 1 {
            apply(&local.lake, deletes(&left, ScdType::One), &gone, at).await;
        }
    }
    assert_eq!(rows(&local.lake, &busy).await, rows(&local.lake, &left).await);
}

async fn commit_events(
    lake: &DeltaLake,
    spec: WriterSpec,
    micro_batches: impl Iterator<Item = Vec<Event>>,
    mut after: impl FnMut(i64),
) {
    let mut writer = lake.writer(spec).await.unwrap();
    for (at, micro_batch) in (1..).zip(micro_batches) {
        writer.write(batch(&micro_batch)).await.unwrap();
        let outcome = writer.commit(Some(&offset(at))).await.unwrap();
        assert!(matches!(outcome, CommitOutcome::Committed { .. }), "{outcome:?}");
        after(at);
    }
}

#[tokio::test]
async fn many_small_micro_batches_leave_few_files() {
    let local = Local::new();
    let table = name("trickle");
    let path = local.path(&table);
    let step = |at: i64| (0..20).map(|i| event((at * 20 + i) % 3_000 - (i % 3) * 7, at)).collect();
    commit_events(&local.lake, upserts(&table, ScdType::One), (0..200).map(step), |at| match at {
        15 => assert_eq!((live(&path).len(), compactions(&path)), (15, 0)),
        16 => assert_eq!((live(&path).len(), compactions(&path)), (1, 1)),
        _ => assert!(live(&path).len() < 3 * 16, "{} files after {at}", live(&path).len()),
    })
    .await;
    // Each one merged a full tier, and none the whole table for the sake of a few rows.
    let made = compactions(&path);
    assert!((10..=14).contains(&made), "{made}");
    let left = quiet();
    commit_events(&left.lake, upserts(&table, ScdType::One), (0..200).map(step), |_| ()).await;
    assert_eq!(compactions(&left.path(&table)), 0);
    assert_eq!(rows(&local.lake, &table).await, rows(&left.lake, &table).await);
}

#[tokio::test]
async fn small_appends_are_merged_and_a_property_turns_that_off() {
    let local = Local::new();
    let (table, off) = (name("appended"), name("turned_off"));
    for table in [&table, &off] {
        let append = || spec(table, &small_schema(), WriteMode::Append);
        put(&local.lake, append(), &[small([0])], 0).await;
        if *table == off {
            // As another engine would set it.
            let log = format!("{}/_delta_log", local.path(table));
            let first = &commits(&local.path(table))[&format!("{:020}.json", 0)];
            let mut metadata = first.iter().find(|a| a.get("metaData").is_some()).unwrap().clone();
            metadata["metaData"]["configuration"]["delta.autoOptimize.autoCompact"] = "false".into();
            std::fs::write(format!("{log}/{:020}.json", 1), metadata.to_string()).unwrap();
        }
        let mut writer = local.lake.writer(append()).await.unwrap();
        for at in 1..40 {
            writer.write(small([at])).await.unwrap();
            let outcome = writer.commit(Some(&offset(at))).await.unwrap();
            assert!(matches!(outcome, CommitOutcome::Committed { .. }), "{outcome:?}");
        }
        let state = local.lake.table(table).await.unwrap().unwrap();
        assert_eq!((state.rows, &state.flows["flow"].offset), (Some(40), &Some(offset(39))));
        let made = compactions(&local.path(table));
        assert_eq!(made, if *table == off { 0 } else { 2 });
        assert!(*table == off || state.files < 20, "{}", state.files);
    }
}

#[tokio::test]
async fn a_file_with_many_dead_rows_is_rewritten_and_not_before() {
    let local = Local::new();
    let table = name("dying");
    let path = local.path(&table);
    let spec = || WriterSpec { target_file_bytes: 64 * 1024, ..upserts(&table, ScdType::One) };
    let change = |from: i64, to: i64, at: i64| (from..to).map(|id| event(id, at)).collect::<Vec<_>>();
    let dead = || -> i64 {
        live(&path).values().filter_map(|add| add["deletionVector"]["cardinality"].as_i64()).sum()
    };
    apply(&local.lake, spec(), &change(0, 10_000, 1), 1).await;
    let first = live(&path);
    let size = first.values().next().unwrap()["size"].as_i64().unwrap();
    assert!(first.len() == 1 && size > 8 * 1024, "{size}");
    apply(&local.lake, spec(), &change(0, 1_900, 2), 2).await;
    assert_eq!((compactions(&path), dead()), (0, 1_900));
    apply(&local.lake, spec(), &change(1_900, 3_000, 3), 3).await;
    assert_eq!((compactions(&path), dead()), (1, 0));
    let found = rows(&local.lake, &table).await;
    assert_eq!(found.len(), 10_000);
    assert_eq!(found.iter().filter(|row| row[1] == 1).count(), 7_000);
}

#[tokio::test]
async fn vacuum_keeps_the_hidden_rows_that_somebody_may_need() {
    let clock = ManualClock::new(SystemClock.now());
    let options =
        LakeOptions { clock: Arc::new(clock.clone()), auto_optimize: false, ..LakeOptions::default() };
    let local = Local::with(options);
    let table = name("remembering");
    let path = local.path(&table);
    let scd_type = ScdType::One;
    let all: Vec<Event> = (0..50).map(|id| event(id, 1)).collect();
    apply(&local.lake, upserts(&table, scd_type), &all, 1).await;
    for round in 0..4 {
        let gone: Vec<Event> = (0..5).map(|i| (round * 5 + i, 50 + round, None, None)).collect();
        apply(&local.lake, deletes(&table, scd_type), &gone, round + 1).await;
        // Some of them once more, later: the row that was hidden before is dead now.
        let more: Vec<Event> = gone.iter().take(2).map(|e| (e.0, 80 + round, None, None)).collect();
        apply(&local.lake, deletes(&table, scd_type), &more, round + 10).await;
    }
    local.lake.optimize(&table, TARGET).await.unwrap();
    let files = || {
        let names = std::fs::read_dir(hidden(&path)).unwrap();
        names.filter(|e| e.as_ref().unwrap().file_type().unwrap().is_file()).count()
    };
    let before = files();
    assert!(before > 4);
    // A crash between the two logs: the table's own version is lost, the hidden rows' is there.
    let lost = local.lake.table(&table).await.unwrap().unwrap().version + 1;
    apply(&local.lake, deletes(&table, scd_type), &[(30, 90, None, None)], 30).await;
    for ending in ["json", "crc", "checkpoint.parquet"] {
        let _may_not_be_there = std::fs::remove_file(format!("{path}/_delta_log/{lost:020}.{ending}"));
    }
    let _may_not_be_there = std::fs::remove_file(format!("{path}/_delta_log/_last_checkpoint"));
    let dangling = files();
    assert!(dangling > before);

    clock.advance(TimeDelta::days(6));
    assert_eq!(local.lake.vacuum(&table, WEEK, false).await.unwrap().files, [""; 0]);
    clock.advance(TimeDelta::days(2));
    let dry = local.lake.vacuum(&table, WEEK, true).await.unwrap();
    assert!(dry.files.iter().any(|f| f.starts_with("_headwater_hidden/")), "{dry:?}");
    assert_eq!(files(), dangling);
    assert_eq!(local.lake.vacuum(&table, WEEK, false).await.unwrap(), dry);
    assert!(files() < before, "{dry:?}");
    // A late change of a row that is gone is still held off, and one of a row that is there is not.
    let late: Vec<Event> = (0..50).map(|id| event(id, 40)).collect();
    apply(&local.lake, upserts(&table, scd_type), &late, 2).await;
    let found = rows(&local.lake, &table).await;
    let ids: BTreeSet<i64> = found.iter().map(|row| row[0].as_i64().unwrap()).collect();
    assert_eq!(ids, (20..50).collect());
    assert!(found.iter().all(|row| row[1] == 40));
}

#[tokio::test]
async fn no_hidden_file_stays_when_no_version_names_hidden_rows() {
    let clock = ManualClock::new(SystemClock.now());
    let options = LakeOptions { clock: Arc::new(clock.clone()), ..LakeOptions::default() };
    let local = Local::with(options);
    let table = name("refreshed");
    apply(&local.lake, upserts(&table, ScdType::One), &[event(1, 1), event(2, 1)], 1).await;
    apply(&local.lake, deletes(&table, ScdType::One), &[(1, 5, None, None)], 1).await;
    let refresh = WriterSpec { full_refresh: true, ..upserts(&table, ScdType::One) };
    apply(&local.lake, refresh, &[event(1, 2), event(3, 1)], 2).await;
    clock.advance(TimeDelta::days(8));
    let report = local.lake.vacuum(&table, WEEK, false).await.unwrap();
    assert!(report.files.iter().any(|f| f.starts_with("_headwater_hidden/")), "{report:?}");
    assert_eq!(rows(&local.lake, &table).await.len(), 2);
    // And life goes on.
    apply(&local.lake, deletes(&table, ScdType::One), &[(3, 5, None, None)], 2).await;
    apply(&local.lake, upserts(&table, ScdType::One), &[event(3, 4)], 3).await;
    assert_eq!(rows(&local.lake, &table).await.len(), 1);
}
