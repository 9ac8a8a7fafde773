//! Changes on storage that fails at every step: before, between and after the two commits of a micro-batch.

use std::path::Path;
use std::sync::atomic::Ordering;

use headwater_lake::{
    CdcSpec, CommitOutcome, DeltaLake, Feed, Lake, LakeError, ScdType, TableName, TrackHistory, WriteMode,
    WriterSpec,
};
use serde_json::Value;

use crate::cdc::{Event, apply, batch, changes, rows};
use crate::faults::faulty;
use crate::maker::{Local, name, offset};

fn event(id: i64, at: i64, text: &str) -> Event {
    (id, at, Some(text.to_owned()), None)
}

/// What every table begins with: rows, and deletes that are remembered.
fn begun() -> (Vec<Event>, Vec<Event>) {
    let rows = (0..20).map(|id| event(id, 10, "first")).collect();
    let deletes = (18..24).map(|id| event(id, 20 + id % 2, "")).collect();
    (rows, deletes)
}

/// Rows that change, that come back, that were deleted later (22 and 23, which nobody knew), and a late one.
fn upserts() -> Vec<Event> {
    vec![
        event(1, 30, "second"),
        event(2, 30, "first"),
        event(3, 5, "late"),
        event(19, 30, "back"),
        event(22, 15, "late"),
        event(40, 30, "new"),
    ]
}

/// Rows that go, one twice, one that nobody knows.
fn deletes() -> Vec<Event> {
    vec![
        event(4, 40, ""),
        event(1, 40, ""),
        event(1, 35, ""),
        event(50, 40, ""),
        event(51, 40, ""),
        event(5, 8, ""),
    ]
}

/// Comes before the delete of 50 would let it.
fn late() -> Vec<Event> {
    vec![event(50, 39, "late"), event(6, 50, "x")]
}

#[derive(Clone, Copy)]
struct Kind {
    scd_type: ScdType,
    vectors: bool,
}

impl Kind {
    fn spec(self, table: &TableName, feed: Feed) -> WriterSpec {
        let track = match self.scd_type {
            ScdType::One => TrackHistory::All,
            ScdType::Two => TrackHistory::Only(vec!["name".into()]),
        };
        let mut spec = changes(table, self.scd_type, track, feed);
        if let WriteMode::Cdc(cdc) = &mut spec.mode {
            *cdc = CdcSpec { deletion_vectors: Some(self.vectors), ..cdc.clone() };
        }
        spec
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// Where a flow stands.
async fn at(lake: &DeltaLake, table: &TableName, flow: &str) -> i64 {
    let state = lake.table(table).await.unwrap().unwrap();
    let offset = state.flows[flow].offset.clone().unwrap();
    offset.read::<Value>().unwrap()["at"].as_i64().unwrap()
}

/// A micro-batch as the engine makes it: not if the table holds it, and tried once more where that is allowed.
async fn put(lake: &DeltaLake, spec: WriterSpec, events: &[Event], to: i64) -> Result<(), LakeError> {
    let mut writer = lake.writer(spec).await?;
    let stands = writer.flow_state().and_then(|s| s.offset.clone());
    if stands == Some(offset(to)) {
        return Ok(());
    }
    writer.write(batch(events)).await?;
    let outcome = match writer.commit(Some(&offset(to))).await {
        Err(error) if error.is_in_doubt() => return Err(error),
        // The rows are still staged.
        Err(_) => writer.commit(Some(&offset(to))).await?,
        Ok(outcome) => outcome,
    };
    assert!(matches!(outcome, CommitOutcome::Committed { .. }), "{outcome:?}");
    Ok(())
}

/// What a table without faults holds after these micro-batches.
async fn truth(kind: Kind, micro_batches: &[(Feed, Vec<Event>)]) -> Vec<Vec<Value>> {
    let (local, table) = (Local::new(), name("truth"));
    for (number, (feed, events)) in (1..).zip(micro_batches) {
        apply(&local.lake, kind.spec(&table, *feed), events, number).await;
    }
    rows(&local.lake, &table).await
}

/// Modes of failure: the step is done and only its answer lost; nothing works from there on.
type Modes = [(bool, bool)];

/// How far apart the steps are that fail. `make soak` lets each fail.
fn stride() -> usize {
    if std::env::var_os("SOAK_MINUTES").is_some() { 1 } else { 3 }
}

async fn fail_at_each_step(kind: Kind, modes: &Modes) {
    let (base, table) = (Local::new(), name("faults"));
    let (first, gone) = begun();
    assert!(apply(&base.lake, kind.spec(&table, Feed::Upserts), &first, 1).await);
    assert!(apply(&base.lake, kind.spec(&table, Feed::Deletes), &gone, 1).await);
    let mut history = vec![(Feed::Upserts, first), (Feed::Deletes, gone)];
    // As before, after the first, after the second, and after the late ones came without the second.
    let mut expect = vec![truth(kind, &history).await];
    history.push((Feed::Upserts, upserts()));
    expect.push(truth(kind, &history).await);
    let without = [&history[..], &[(Feed::Upserts, late())]].concat();
    let without = truth(kind, &without).await;
    history.push((Feed::Deletes, deletes()));
    expect.push(truth(kind, &history).await);
    history.push((Feed::Upserts, late()));
    let end = truth(kind, &history).await;

    let (mut failed_runs, mut between) = (0, 0);
    for &(after, for_good) in modes {
        for step in (1 + fastrand::usize(..stride())..).step_by(stride()) {
            let local = Local::new();
            copy(base.dir.path(), local.dir.path());
            let (broken, steps) = faulty(&local.dir);
            steps.fails.store(step, Ordering::SeqCst);
            steps.after.store(after, Ordering::SeqCst);
            steps.for_good.store(for_good, Ordering::SeqCst);
            let mut result = put(&broken, kind.spec(&table, Feed::Upserts), &upserts(), 2).await;
            if result.is_ok() {
                result = put(&broken, kind.spec(&table, Feed::Deletes), &deletes(), 2).await;
            }
            let taken = steps.taken.load(Ordering::SeqCst);

            // Another process finds the table as before or as after, and goes on.
            let lake = &local.lake;
            let done = (at(lake, &table, "flow").await - 1) + (at(lake, &table, "flow.deletes").await - 1);
            let done = usize::try_from(done).unwrap();
            assert!(result.is_err() || done == 2);
            let told = format!("step {step}, {after}, {for_good}, {done} micro-batches, {result:?}");
            assert_eq!(rows(lake, &table).await, expect[done], "{told}");
            if done < 1 {
                assert!(apply(lake, kind.spec(&table, Feed::Upserts), &upserts(), 2).await, "{told}");
                assert_eq!(rows(lake, &table).await, expect[1], "{told}");
            }
            if done < 2 {
                let hidden = local.dir.path().join("main/tests/faults/_headwater_hidden/_delta_log");
                let names = std::fs::read_dir(hidden).unwrap();
                let versions =
                    names.filter(|e| e.as_ref().unwrap().file_name().to_str().unwrap().ends_with(".json"));
                // A hidden version that no version of the table names: one was for the deletes at the start, one may
                // be of the upserts.
                between += usize::from(versions.count() > 2);
                // What was lost must not count: nothing has deleted 50 yet.
                assert!(apply(lake, kind.spec(&table, Feed::Upserts), &late(), 3).await, "{told}");
                assert_eq!(rows(lake, &table).await, without, "{told}");
                assert!(apply(lake, kind.spec(&table, Feed::Deletes), &deletes(), 2).await, "{told}");
            } else {
                assert!(apply(lake, kind.spec(&table, Feed::Upserts), &late(), 3).await, "{told}");
            }
            assert_eq!(rows(lake, &table).await, end, "{told}");
            failed_runs += usize::from(result.is_err());
            if taken < step {
                assert!(result.is_ok());
                break;
            }
        }
    }
    assert!(
        failed_runs > 10 && between > 0,
        "{failed_runs} runs failed, {between} of them between the commits"
    );
}

#[tokio::test]
async fn current_rows_survive_a_failure_at_any_step() {
    fail_at_each_step(Kind { scd_type: ScdType::One, vectors: true }, &[(false, false), (true, true)]).await;
}

#[tokio::test]
async fn current_rows_in_rewritten_files_survive_a_failure_at_any_step() {
    fail_at_each_step(Kind { scd_type: ScdType::One, vectors: false }, &[(false, true)]).await;
}

#[tokio::test]
async fn a_history_survives_a_failure_at_any_step() {
    fail_at_each_step(Kind { scd_type: ScdType::Two, vectors: true }, &[(true, false), (false, true)]).await;
}

/// The hidden rows are committed, then another flow takes the table's version: the same writer commits them once more.
#[tokio::test]
async fn a_commit_that_is_overtaken_between_its_two_commits_keeps_its_hidden_rows() {
    for scd_type in [ScdType::One, ScdType::Two] {
        let kind = Kind { scd_type, vectors: true };
        let (local, table) = (Local::new(), name("overtaken"));
        let (first, _) = begun();
        assert!(apply(&local.lake, kind.spec(&table, Feed::Upserts), &first, 1).await);
        let mut writer = local.lake.writer(kind.spec(&table, Feed::Deletes)).await.unwrap();
        writer.write(batch(&deletes())).await.unwrap();
        // An offset alone: no file changes.
        assert!(apply_offset(&local.lake, kind.spec(&table, Feed::Upserts), 2).await);
        let outcome = writer.commit(Some(&offset(1))).await.unwrap();
        assert!(matches!(outcome, CommitOutcome::Committed { .. }), "{outcome:?}");
        assert!(apply(&local.lake, kind.spec(&table, Feed::Upserts), &late(), 3).await);
        let history = [(Feed::Upserts, first), (Feed::Deletes, deletes()), (Feed::Upserts, late())];
        assert_eq!(rows(&local.lake, &table).await, truth(kind, &history).await);
        // And once more by the writer that was overtaken.
        writer.write(batch(&[event(6, 60, "")])).await.unwrap();
        assert!(apply_offset(&local.lake, kind.spec(&table, Feed::Upserts), 4).await);
        let outcome = writer.commit(Some(&offset(2))).await.unwrap();
        assert!(matches!(outcome, CommitOutcome::Committed { .. }), "{outcome:?}");
        let history = [&history[..], &[(Feed::Deletes, vec![event(6, 60, "")])]].concat();
        assert_eq!(rows(&local.lake, &table).await, truth(kind, &history).await);
    }
}

async fn apply_offset(lake: &DeltaLake, spec: WriterSpec, to: i64) -> bool {
    let mut writer = lake.writer(spec).await.unwrap();
    matches!(writer.commit(Some(&offset(to))).await.unwrap(), CommitOutcome::Committed { .. })
}
