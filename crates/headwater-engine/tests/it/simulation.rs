//! Whatever fails at whatever step: after a run that ends well, the table holds every record once.

use std::time::Duration;

use headwater_connect::IngestionType;
use headwater_engine::{
    CommitPolicy, EngineSettings, FlowStatus, FullRefresh, RetryPolicy, UpdateReport, UpdateRequest,
    UpdateState,
};
use proptest::prelude::*;

use serde_json::json;

use crate::faults::{Fault, Faults};
use crate::model_lake::Storage;
use crate::source::{Source, Style};
use crate::support::{request, run_with, stored};

fn ids(count: u64) -> Vec<i64> {
    (0..i64::try_from(count).unwrap()).collect()
}

fn settings(commit_rows: u64) -> EngineSettings {
    EngineSettings {
        commit: CommitPolicy { rows: commit_rows, ..CommitPolicy::default() },
        parallel_parts: 2,
        ..EngineSettings::default()
    }
}

/// Runs one process's life with the faults of `faults`, then further ones without any until an update completes.
async fn run_until_complete(
    storage: &Storage,
    source: &Source,
    faults: &Faults,
    commit_rows: u64,
    make: &dyn Fn(Source) -> UpdateRequest,
) -> Vec<Option<UpdateReport>> {
    let mut lives = Vec::new();
    let mut faults = faults.clone();
    for _ in 0..4 {
        let source = Source { faults: faults.clone(), ..source.clone() };
        let report = run_with(storage, &faults, settings(commit_rows), make(source)).await;
        let complete = report.as_ref().is_some_and(|report| report.state == UpdateState::Completed);
        lives.push(report);
        if complete {
            return lives;
        }
        faults = Faults::none();
    }
    panic!("no update completes: {lives:?}");
}

/// Every fault at every step of a first update and of a second one that reads what came in between.
async fn every_fault_at_every_step(
    source: &Source,
    commit_rows: u64,
    kinds: &[Fault],
    make: &dyn Fn(Source) -> UpdateRequest,
) {
    for &fault in kinds {
        for grown in [false, true] {
            for step in 0.. {
                let storage = Storage::default();
                let source = Source { records: std::sync::Arc::new(source.count().into()), ..source.clone() };
                if grown {
                    run_until_complete(&storage, &source, &Faults::none(), commit_rows, make).await;
                    source.grow(7);
                }
                let faults = Faults::at([(step, fault)]);
                run_until_complete(&storage, &source, &faults, commit_rows, make).await;
                let table = stored(&storage, "orders");
                assert_eq!(
                    table.longs("id"),
                    ids(source.count()),
                    "{fault:?} at step {step}, grown: {grown}, {:?}\n{}",
                    source.style,
                    faults.trace()
                );
                if faults.steps() <= step {
                    assert!(step > 5, "the faults reach the work: {}", faults.trace());
                    break;
                }
            }
        }
    }
}

fn plain(source: Source) -> UpdateRequest {
    request(source, json!({}))
}

#[tokio::test(start_paused = true)]
async fn streams_lose_and_double_nothing() {
    for style in [Style::Plain, Style::Floats, Style::NullToken, Style::Parts] {
        let source = Source::new(IngestionType::Append, style, 13);
        every_fault_at_every_step(&source, 6, &Fault::ALL, &plain).await;
    }
}

#[tokio::test(start_paused = true)]
async fn snapshots_are_whole_or_not_there() {
    for style in [Style::Plain, Style::Floats, Style::NullToken, Style::RowsOnLastCall, Style::Parts] {
        let source = Source::new(IngestionType::Snapshot, style, 13);
        every_fault_at_every_step(&source, 1, &Fault::ALL, &plain).await;
    }
}

#[tokio::test(start_paused = true)]
async fn full_refreshes_swap_once() {
    let refresh = |source: Source| UpdateRequest { full_refresh: FullRefresh::All, ..plain(source) };
    for style in [Style::Plain, Style::Parts] {
        let source = Source::new(IngestionType::Append, style, 13);
        every_fault_at_every_step(&source, 1, &Fault::ALL, &refresh).await;
    }
}

#[tokio::test(start_paused = true)]
async fn rows_that_come_with_the_last_call_are_kept_once() {
    // The source itself gives such rows again to whoever asks again, so only one update is looked at.
    let source = Source::new(IngestionType::Append, Style::RowsOnLastCall, 13);
    for fault in [Fault::Again, Fault::LandedInDoubt, Fault::NotLandedInDoubt] {
        for step in 0.. {
            let (storage, faults) = (Storage::default(), Faults::at([(step, fault)]));
            let lives = run_until_complete(&storage, &source, &faults, 6, &plain).await;
            assert_eq!(lives.len(), 1, "one update gets over {fault:?}");
            assert_eq!(stored(&storage, "orders").longs("id"), ids(13), "{fault:?} at {step}");
            if faults.steps() <= step {
                break;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_that_is_appended_lands_once_for_each_update() {
    let append = |source: Source| request(source, json!({"scd_type": "APPEND_ONLY"}));
    for fault in
        [Fault::Again, Fault::LandedInDoubt, Fault::NotLandedInDoubt, Fault::CrashBefore, Fault::Fatal]
    {
        for step in 0.. {
            let source = Source::new(IngestionType::Snapshot, Style::Plain, 13);
            let (storage, faults) = (Storage::default(), Faults::at([(step, fault)]));
            run_until_complete(&storage, &source, &faults, 6, &append).await;
            assert_eq!(stored(&storage, "orders").longs("id"), ids(13), "{fault:?} at {step}");
            if faults.steps() <= step {
                break;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_follows_the_source_and_commits_nothing_when_nothing_changed() {
    let source = Source::new(IngestionType::Snapshot, Style::Plain, 13);
    let storage = Storage::default();
    run_until_complete(&storage, &source, &Faults::none(), 1, &plain).await;
    assert_eq!(stored(&storage, "orders").version, 1);
    run_until_complete(&storage, &source, &Faults::none(), 1, &plain).await;
    assert_eq!(stored(&storage, "orders").version, 1, "the same snapshot");
    *source.records.lock().unwrap() = 4;
    run_until_complete(&storage, &source, &Faults::none(), 1, &plain).await;
    assert_eq!(stored(&storage, "orders").longs("id"), ids(4), "rows that are gone are gone");
}

#[tokio::test(start_paused = true)]
async fn failures_are_retried_so_often_and_no_more() {
    let storage = Storage::default();
    let faults = Faults::at((0..1000).map(|step| (step, Fault::Again)));
    let source = Source { faults: faults.clone(), ..Source::new(IngestionType::Append, Style::Plain, 13) };
    let started = tokio::time::Instant::now();
    let report = run_with(&storage, &faults, settings(6), plain(source)).await.unwrap();
    assert_eq!(report.state, UpdateState::Failed);
    assert_eq!(report.flows[0].status, FlowStatus::Failed);
    assert_eq!(report.flows[0].metrics.retries, 4, "{}", faults.trace());
    let text = crate::support::error_text(&report);
    assert!(text.starts_with("gave up after 5 attempts without progress <- "), "{text}");
    assert!(text.ends_with("injected"), "{text}");
    assert!(report.flows[0].error.as_ref().unwrap().hint().is_some());
    let waited = started.elapsed();
    assert!((Duration::from_secs(7)..Duration::from_secs(16)).contains(&waited), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn progress_starts_the_count_of_failures_anew() {
    // Each read fails at first, so there are far more failures than attempts, but a commit between any two.
    let storage = Storage::default();
    let probe = Faults::none();
    let source = Source { records_per_read: 2, ..Source::new(IngestionType::Append, Style::Plain, 40) };
    let faults = Faults::at((0..600).step_by(7).map(|step| (step, Fault::Again)));
    let settings = EngineSettings { retry: RetryPolicy { attempts: 3, ..Default::default() }, ..settings(1) };
    let source = Source { faults: faults.clone(), ..source };
    let report = run_with(&storage, &probe, settings, plain(source)).await.unwrap();
    assert_eq!(
        report.state,
        UpdateState::Completed,
        "{}\n{}",
        crate::support::error_text(&report),
        faults.trace()
    );
    assert!(report.flows[0].metrics.retries > 3, "{:?}", report.flows[0].metrics);
    assert_eq!(stored(&storage, "orders").longs("id"), ids(40));
}

fn any_fault() -> impl Strategy<Value = Fault> {
    prop::sample::select(Fault::ALL.to_vec())
}

fn any_kind() -> impl Strategy<Value = (IngestionType, Style)> {
    let streams = [Style::Plain, Style::Floats, Style::NullToken, Style::Parts];
    let snapshots = [Style::Plain, Style::Floats, Style::NullToken, Style::RowsOnLastCall, Style::Parts];
    prop_oneof![
        prop::sample::select(streams.to_vec()).prop_map(|style| (IngestionType::Append, style)),
        prop::sample::select(snapshots.to_vec()).prop_map(|style| (IngestionType::Snapshot, style)),
    ]
}

#[derive(Debug, Clone)]
struct Life {
    grows_by: u64,
    faults: Vec<(usize, Fault)>,
    full_refresh: bool,
    stop_after_millis: Option<u64>,
}

fn any_life() -> impl Strategy<Value = Life> {
    (
        0..12_u64,
        prop::collection::vec((0..60_usize, any_fault()), 0..5),
        prop::bool::weighted(0.15),
        prop::option::weighted(0.3, 0..4000_u64),
    )
        .prop_map(|(grows_by, faults, full_refresh, stop_after_millis)| Life {
            grows_by,
            faults,
            full_refresh,
            stop_after_millis,
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_life_of_failures_ends_in_a_correct_table(
        (ingestion_type, style) in any_kind(),
        first in 0..30_u64,
        (per_read, per_page) in (1..9_u64, 1..5_u64),
        commit_rows in 1..20_u64,
        lives in prop::collection::vec(any_life(), 1..5),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let storage = Storage::default();
            let source = Source {
                records_per_read: per_read,
                records_per_page: per_page,
                ..Source::new(ingestion_type, style, first)
            };
            for life in &lives {
                source.grow(life.grows_by);
                let faults = Faults::at(life.faults.iter().copied());
                let mut request = plain(Source { faults: faults.clone(), ..source.clone() });
                if life.full_refresh {
                    request.full_refresh = FullRefresh::All;
                }
                let cancel = request.cancel.clone();
                let stop = async {
                    match life.stop_after_millis {
                        Some(millis) => tokio::time::sleep(Duration::from_millis(millis)).await,
                        None => std::future::pending().await,
                    }
                    if life.grows_by % 2 == 0 { cancel.request() } else { cancel.request_immediate() }
                    std::future::pending::<()>().await;
                };
                let report = tokio::select! {
                    report = run_with(&storage, &faults, settings(commit_rows), request) => report,
                    () = stop => None,
                };
                let held = stored(&storage, "orders").longs("id");
                let complete = report.is_some_and(|report| report.state == UpdateState::Completed);
                if complete {
                    assert_eq!(held, ids(source.count()), "after {life:?}");
                } else {
                    assert!(ids(source.count()).starts_with(&held), "a table is never torn: {held:?} after {life:?}");
                }
            }
            run_until_complete(&storage, &source, &Faults::none(), commit_rows, &plain).await;
            assert_eq!(stored(&storage, "orders").longs("id"), ids(source.count()));
        });
    }
}
