//! Tables whose rows change and go: two flows, one after the other, and nothing without a key or a sequence.

use headwater_connect::IngestionType;
use headwater_engine::{CommitPolicy, EngineSettings, FlowStatus, FullRefresh, UpdateReport, UpdateState};
use serde_json::{Value, json};

use crate::faults::{Fault, Faults};
use crate::ledger::Ledger;
use crate::model_lake::{Change, Storage, current};
use crate::support::{error_text, request, run, run_with, stored};

/// Commits after each read.
fn settings() -> EngineSettings {
    EngineSettings {
        commit: CommitPolicy { rows: 1, ..CommitPolicy::default() },
        ..EngineSettings::default()
    }
}

async fn life(storage: &Storage, ledger: &Ledger, faults: &Faults, refresh: bool) -> Option<UpdateReport> {
    let mut request = request(Ledger { faults: faults.clone(), ..ledger.clone() }, json!({}));
    if refresh {
        request.full_refresh = FullRefresh::All;
    }
    run_with(storage, faults, settings(), request).await
}

fn complete(report: Option<&UpdateReport>) -> bool {
    report.is_some_and(|report| report.state == UpdateState::Completed)
}

fn offsets(storage: &Storage) -> Vec<(String, String)> {
    let flows = stored(storage, "orders").flows;
    flows
        .into_iter()
        .map(|(flow, state)| (flow, state.offset.map_or("-".into(), |o| o.to_string())))
        .collect()
}

fn pairs(pairs: [(&str, &str); 2]) -> Vec<(String, String)> {
    pairs.map(|(flow, offset)| (flow.to_owned(), offset.to_owned())).to_vec()
}

#[tokio::test(start_paused = true)]
async fn changes_and_deletions_are_two_flows_with_an_offset_each() {
    let (storage, ledger) = (Storage::default(), Ledger::new(10));
    let report = life(&storage, &ledger, &Faults::none(), false).await.unwrap();
    assert_eq!(report.state, UpdateState::Completed, "{}", error_text(&report));
    assert_eq!(current(&stored(&storage, "orders").changes), current(&ledger.events()));
    let flow = &report.flows[0];
    assert_eq!((flow.metrics.records_read, flow.metrics.deletions_read), (10, 2));
    assert_eq!(flow.offset.as_ref().unwrap().as_json(), r#"{"after":10,"deletions":false}"#);
    let deletes = flow.deletes.as_ref().unwrap();
    assert_eq!(deletes.flow, "shop.orders.deletes");
    assert_eq!(deletes.offset.as_ref().unwrap().as_json(), r#"{"after":8,"deletions":true}"#);
    let expect = [
        ("shop.orders", r#"{"after":10,"deletions":false}"#),
        ("shop.orders.deletes", r#"{"after":8,"deletions":true}"#),
    ];
    assert_eq!(offsets(&storage), pairs(expect));

    // Nothing new: nothing is committed.
    let version = stored(&storage, "orders").version;
    life(&storage, &ledger, &Faults::none(), false).await.unwrap();
    assert_eq!(stored(&storage, "orders").version, version);
    ledger.grow(2);
    let report = life(&storage, &ledger, &Faults::none(), false).await.unwrap();
    assert_eq!((report.flows[0].metrics.records_read, report.flows[0].metrics.deletions_read), (2, 1));
    assert_eq!(current(&stored(&storage, "orders").changes), current(&ledger.events()));
}

#[tokio::test(start_paused = true)]
async fn whatever_fails_in_either_flow_or_between_them_the_table_comes_right() {
    for refresh in [false, true] {
        for grown in [false, true] {
            for fault in Fault::ALL {
                for step in 0.. {
                    let (storage, ledger) = (Storage::default(), Ledger::new(10));
                    if grown {
                        life(&storage, &ledger, &Faults::none(), false).await.unwrap();
                        ledger.grow(6);
                    }
                    let faults = Faults::at([(step, fault)]);
                    let first = life(&storage, &ledger, &faults, refresh).await;
                    let at =
                        format!("{fault:?} at {step}, refresh {refresh}, grown {grown}\n{}", faults.trace());
                    if !complete(first.as_ref()) {
                        // The next update is an ordinary one, wherever the first was broken off.
                        let second = life(&storage, &ledger, &Faults::none(), false).await;
                        assert!(complete(second.as_ref()), "{at}");
                    }
                    assert_eq!(
                        current(&stored(&storage, "orders").changes),
                        current(&ledger.events()),
                        "{at}"
                    );
                    let ends = offsets(&storage);
                    assert_eq!(ends.len(), 2, "{at}");
                    if faults.steps() <= step {
                        assert!(step > 15, "the faults reach both flows: {at}");
                        break;
                    }
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_full_refresh_reads_deletions_from_their_start() {
    let (storage, ledger) = (Storage::default(), Ledger::new(10));
    life(&storage, &ledger, &Faults::none(), false).await.unwrap();
    let report = life(&storage, &ledger, &Faults::none(), true).await.unwrap();
    // The records of rows that are gone came again, and so must have the deletions.
    assert_eq!((report.flows[0].metrics.records_read, report.flows[0].metrics.deletions_read), (10, 2));
    assert_eq!(current(&stored(&storage, "orders").changes), current(&ledger.events()));
}

#[tokio::test(start_paused = true)]
async fn a_stop_between_the_flows_leaves_the_deletions_to_the_next_update() {
    let (storage, ledger) = (Storage::default(), Ledger::new(10));
    let request = request(ledger.clone(), json!({}));
    let cancel = request.cancel.clone();
    cancel.request();
    let report = run_with(&storage, &Faults::none(), settings(), request).await.unwrap();
    assert_eq!(report.state, UpdateState::Canceled);
    let report = life(&storage, &ledger, &Faults::none(), false).await.unwrap();
    assert_eq!(report.flows[0].metrics.deletions_read, 2);
    assert_eq!(current(&stored(&storage, "orders").changes), current(&ledger.events()));
}

/// Records that have no place in the table: of upserts, and of deletions.
fn unplaced() -> [(usize, Value, &'static str, &'static str); 6] {
    let (key, order) = ("which is part of its key", "which orders its changes");
    [
        (0, json!({"id": null, "name": "x", "seq": 90}), "id", key),
        (0, json!({"name": "x", "seq": 90}), "id", key),
        (0, json!({"id": 1, "name": "x", "seq": null}), "seq", order),
        (0, json!({"id": 1, "name": "x", "seq": "soon"}), "seq", order),
        (1, json!({"id": null, "seq": 90}), "id", key),
        (1, json!({"id": 1}), "seq", order),
    ]
}

#[tokio::test(start_paused = true)]
async fn a_record_without_key_or_sequence_fails_the_flow_whether_others_are_nulled_or_not() {
    for policy in ["fail", "null"] {
        for (feed, record, column, role) in unplaced() {
            let (storage, ledger) = (Storage::default(), Ledger::new(10));
            ledger.also.lock().unwrap()[feed] = vec![record];
            let report = run(&storage, request(ledger.clone(), json!({"on_bad_record": policy}))).await;
            assert_eq!(report.flows[0].status, FlowStatus::Failed);
            let text = error_text(&report);
            let expect =
                format!("a record of table `orders` (page 1) has no usable `{column}`, {role} <- record ");
            assert!(text.starts_with(&expect), "{text}");
            let hint = report.flows[0].error.as_ref().unwrap().hint().unwrap();
            assert_eq!(hint.contains("`on_bad_record: null` does not help here"), policy == "null", "{hint}");
            assert!(hint.contains("quarantine"), "{hint}");
            let held = stored(&storage, "orders").changes;
            assert!(held.iter().all(|change| ledger.events().contains(change)), "{held:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_record_without_key_or_sequence_is_set_aside_with_its_reason() {
    for (feed, record, column, role) in unplaced() {
        let (storage, ledger) = (Storage::default(), Ledger::new(10));
        ledger.also.lock().unwrap()[feed] = vec![record.clone()];
        let report = run(&storage, request(ledger.clone(), json!({"on_bad_record": "quarantine"}))).await;
        assert_eq!(report.state, UpdateState::Completed, "{}", error_text(&report));
        assert_eq!(current(&stored(&storage, "orders").changes), current(&ledger.events()));
        let aside = stored(&storage, "orders__quarantine");
        let flow = ["shop.orders", "shop.orders.deletes"][feed];
        assert_eq!(aside.flows.keys().collect::<Vec<_>>(), [flow]);
        assert!(aside.texts("column").iter().all(|c| c == column), "{:?}", aside.texts("column"));
        assert!(aside.texts("reason").iter().all(|r| r.ends_with(role)), "{:?}", aside.texts("reason"));
        let raw: Value = serde_json::from_str(&aside.texts("raw")[0]).unwrap();
        assert_eq!(raw, record);
        assert!(report.flows[0].metrics.bad_records > 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_sequence_that_is_left_out_or_lies_in_a_struct_orders_all_the_same() {
    for configuration in
        [json!({"exclude_columns": "seq"}), json!({"sequence_by": "at.n", "exclude_columns": ["seq", "at"]})]
    {
        let (storage, ledger) = (Storage::default(), Ledger::new(10));
        let report = run(&storage, request(ledger.clone(), configuration)).await;
        assert_eq!(report.state, UpdateState::Completed, "{}", error_text(&report));
        let table = stored(&storage, "orders");
        assert_eq!(current(&table.changes), current(&ledger.events()));
        let names: Vec<&str> = table.schema.fields.iter().map(|field| field.name.as_str()).collect();
        assert_eq!(names.last(), Some(&"__SEQUENCE"), "{names:?}");
        assert!(!names.contains(&"seq"), "{names:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn with_append_only_every_change_is_kept_and_deletions_are_not_read() {
    let (storage, ledger) = (Storage::default(), Ledger::new(10));
    let report = run(&storage, request(ledger.clone(), json!({"scd_type": "APPEND_ONLY"}))).await;
    assert_eq!(report.state, UpdateState::Completed, "{}", error_text(&report));
    let upserts = |change: &Change| change.name.is_some();
    let table = stored(&storage, "orders");
    assert_eq!(table.longs("seq").len(), ledger.events().into_iter().filter(upserts).count());
    assert_eq!(table.flows.len(), 1);
    assert!(report.flows[0].deletes.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_stream_without_deletions_has_one_flow() {
    let mut ledger = Ledger::new(10);
    ledger.ingestion_type = IngestionType::Cdc;
    let storage = Storage::default();
    let report = run(&storage, request(ledger.clone(), json!({}))).await;
    assert_eq!(report.state, UpdateState::Completed, "{}", error_text(&report));
    let upserts: Vec<Change> = ledger.events().into_iter().filter(|change| change.name.is_some()).collect();
    assert_eq!(current(&stored(&storage, "orders").changes), current(&upserts));
    assert_eq!(stored(&storage, "orders").flows.keys().collect::<Vec<_>>(), ["shop.orders"]);
}
