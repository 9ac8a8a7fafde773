//! The rules by which a connector is driven, one by one.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use headwater_connect::{ConnectorError, IngestionType, ManualClock, Options, Page, ReadItem};
use headwater_engine::{Engine, EngineSettings, FlowStatus, Silent, UpdateState};
use serde_json::json;
use tokio::time::Instant;

use crate::faults::Faults;
use crate::model_lake::{ModelLake, Storage};
use crate::source::{Script, end, page};
use crate::support::{error_text, request, run, stored};

fn options(pairs: &[(&str, &str)]) -> Options {
    pairs.iter().copied().collect()
}

#[tokio::test(start_paused = true)]
async fn a_stream_starts_at_the_empty_offset_and_ends_at_an_equal_one() {
    let script = Script::new(
        IngestionType::Append,
        [
            vec![page([1, 2]), end(r#"{"t": 1.0, "n": null}"#)],
            vec![page([3]), end(r#"{"n":null,"t":9007199254740993}"#)],
            vec![page([4]), end(r#"{"t":9007199254740993.0, "n":null}"#)],
        ],
    );
    let storage = Storage::default();
    let report = run(&storage, request(script.clone(), json!({}))).await;
    assert_eq!(report.state, UpdateState::Completed, "{}", error_text(&report));
    let starts: Vec<_> = script.starts().into_iter().flatten().collect();
    assert_eq!(starts, ["{}", r#"{"t": 1.0, "n": null}"#, r#"{"n":null,"t":9007199254740993}"#]);
    assert_eq!(stored(&storage, "orders").longs("id"), [1, 2, 3, 4], "rows of the last call count");
    assert_eq!(report.flows[0].metrics.commits, 1, "small reads are gathered");
    assert_eq!(report.flows[0].offset.as_ref().unwrap().as_json(), r#"{"t":9007199254740993.0, "n":null}"#);
}

#[tokio::test(start_paused = true)]
async fn a_stream_goes_on_where_its_table_stands() {
    let storage = Storage::default();
    let first = Script::new(
        IngestionType::Append,
        [vec![page([1]), end(r#"{"a":0.1000000000000000055}"#)], vec![end(r#"{"a":0.1000000000000000055}"#)]],
    );
    run(&storage, request(first, json!({}))).await;
    let second = Script::new(IngestionType::Append, [vec![end(r#"{"a":0.1000000000000000055}"#)]]);
    let report = run(&storage, request(second.clone(), json!({}))).await;
    assert_eq!(second.starts(), [Some(r#"{"a":0.1000000000000000055}"#.to_owned())], "to the last bit");
    assert_eq!(report.flows[0].metrics.commits, 0, "nothing new, nothing committed");
    assert_eq!(stored(&storage, "orders").version, 1);
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_starts_at_none_and_goes_on_while_offsets_are_new() {
    for last in [r#"{"p":2}"#, "{}"] {
        let script = Script::new(
            IngestionType::Snapshot,
            [
                vec![page([1]), end(r#"{"p":1}"#)],
                vec![page([2]), end(r#"{"p":2}"#)],
                vec![page([3]), end(last)],
            ],
        );
        let storage = Storage::default();
        let report = run(&storage, request(script.clone(), json!({}))).await;
        assert_eq!(report.state, UpdateState::Completed, "{}", error_text(&report));
        let starts = [None, Some(r#"{"p":1}"#.to_owned()), Some(r#"{"p":2}"#.to_owned())];
        assert_eq!(script.starts(), starts);
        assert_eq!(stored(&storage, "orders").longs("id"), [1, 2, 3]);
        assert_eq!(report.flows[0].offset, None);
    }
    let script = Script::new(IngestionType::Snapshot, [vec![page([1]), Ok(ReadItem::End(None))]]);
    let storage = Storage::default();
    run(&storage, request(script.clone(), json!({}))).await;
    assert_eq!(script.starts(), [None]);
    assert_eq!(stored(&storage, "orders").longs("id"), [1]);
}

#[tokio::test(start_paused = true)]
async fn a_table_that_has_no_records_yet_is_made_all_the_same() {
    let script = Script::new(IngestionType::Append, [vec![end("{}")]]);
    let storage = Storage::default();
    let report = run(&storage, request(script, json!({}))).await;
    assert_eq!(report.state, UpdateState::Completed);
    assert_eq!(stored(&storage, "orders").version, 1);
}

#[tokio::test(start_paused = true)]
async fn offsets_that_come_back_end_the_flow() {
    for ingestion_type in [IngestionType::Append, IngestionType::Snapshot] {
        let script = Script::new(
            ingestion_type,
            [
                vec![page([1]), end(r#"{"at":"a"}"#)],
                vec![page([2]), end(r#"{"at":"b"}"#)],
                vec![page([3]), end(r#"{"at": "a"}"#)],
            ],
        );
        let storage = Storage::default();
        let report = run(&storage, request(script, json!({}))).await;
        assert_eq!(report.flows[0].status, FlowStatus::Failed);
        let text = error_text(&report);
        assert!(text.contains(r#"came back to offset {"at": "a"} of table `orders`"#), "{text}");
        assert_eq!(report.flows[0].metrics.retries, 0, "a retry would not help");
        assert!(stored(&storage, "orders").longs("id").is_empty(), "the read of the circle is in no commit");
    }
}

#[tokio::test(start_paused = true)]
async fn breaches_of_the_contract_name_their_rule() {
    let check = async |ingestion_type, items: Vec<_>, expect: &str| {
        let storage = Storage::default();
        let script = Script::new(ingestion_type, [items]);
        let report = run(&storage, request(script, json!({}))).await;
        let text = error_text(&report);
        assert!(text.contains(expect), "{text}");
        assert!(text.contains("table `orders`"), "{text}");
        assert_eq!(report.state, UpdateState::Failed);
        assert_eq!(stored(&storage, "orders").version, 0, "nothing is committed");
    };
    use IngestionType::{Append, Snapshot};
    check(Append, vec![page([1])], "a read broke off without its end (rule R7)").await;
    check(Append, vec![], "a read broke off without its end (rule R7)").await;
    check(Append, vec![end("{}"), page([1])], "a page followed the end of a read (rule R7)").await;
    check(Snapshot, vec![Ok(ReadItem::End(None)), Ok(ReadItem::End(None))], "a read ended twice (rule R7)")
        .await;
    check(Append, vec![Ok(ReadItem::End(None))], "a read of a stream ended without an offset (rule R8)")
        .await;
}

#[tokio::test(start_paused = true)]
async fn the_constructor_gets_all_options_and_a_call_those_of_the_table() {
    let script = Script::new(IngestionType::Append, [vec![end("{}")]]);
    let configuration = json!({"Owner": "me", "token": "t2"});
    let mut request = request(script.clone(), configuration);
    request.connection = options(&[("token", "t1"), ("base_url", "u")]);
    run(&Storage::default(), request).await;
    let seen = script.options.lock().unwrap().clone();
    let expect = [
        ("base_url", "u"),
        ("Owner", "me"),
        ("token", "t2"),
        ("tableName", "orders"),
        ("call:Owner", "me"),
        ("call:token", "t2"),
    ];
    assert_eq!(seen, expect.map(|(name, value)| (name.to_owned(), value.to_owned())));
    assert_eq!(*script.instances.lock().unwrap(), 1);
}

#[tokio::test(start_paused = true)]
async fn one_flow_that_fails_does_not_stop_the_others() {
    use crate::source::{Source, Style};
    use crate::support::{pipeline, table};
    use headwater_engine::UpdateRequest;
    let source = Source::new(IngestionType::Append, Style::Plain, 13);
    let missing = json!({"table": {"source_table": "ordres"}});
    let objects = vec![missing, table(json!({}))];
    let storage = Storage::default();
    let request = UpdateRequest::new(pipeline(objects), std::sync::Arc::new(source), Options::new());
    let report = run(&storage, request).await;
    assert_eq!(report.state, UpdateState::Failed);
    assert_eq!(report.flows[0].status, FlowStatus::Failed);
    assert_eq!(report.flows[0].source_table, "ordres");
    assert!(error_text(&report).contains("`ordres` does not exist"), "{}", error_text(&report));
    assert_eq!(report.flows[0].error.as_ref().unwrap().hint().as_deref(), Some("the tables are: orders"));
    assert_eq!(report.flows[1].status, FlowStatus::Completed);
    assert_eq!(stored(&storage, "orders").longs("id").len(), 13);
    assert_eq!(report.totals().records_read, 13);
    assert_eq!(report.flows[1].metrics.requests, 7);
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_asked_for_again_as_often_as_that_may_help() {
    let check = async |make: &dyn Fn() -> Result<ReadItem, ConnectorError>, expect: usize| {
        let script = Script::new(IngestionType::Append, (0..9).map(|_| vec![make()]));
        let report = run(&Storage::default(), request(script.clone(), json!({}))).await;
        assert_eq!(report.state, UpdateState::Failed);
        assert_eq!(script.starts().len(), expect, "{}", error_text(&report));
        assert_eq!(report.flows[0].metrics.retries, expect as u64 - 1);
    };
    let malformed = || Ok(ReadItem::Page(Page::json_array("<html>Please sign in</html>")));
    check(&malformed, 3).await;
    check(&|| Err(ConnectorError::bad_response("GET /x did not answer with JSON")), 3).await;
    check(&|| Err(ConnectorError::Unavailable { source: "injected".into() }), 5).await;
    check(&|| Err(ConnectorError::AnswerTooLarge { limit_bytes: 9, source: "injected".into() }), 1).await;
    // What does not fit a column fits no better the next time.
    check(&|| Ok(ReadItem::Page(Page::json_array(r#"[{"id":"x"}]"#))), 1).await;
}

#[tokio::test(start_paused = true)]
async fn a_source_that_is_used_up_for_long_ends_its_flow_with_what_it_gave_and_says_when_to_go_on() {
    let limited = |secs| {
        let retry_after = Some(Duration::from_secs(secs));
        Err(ConnectorError::RateLimited { retry_after, source: "nothing left today".into() })
    };
    // A pause of a minute is waited for; one of a day is not.
    let reads = [
        vec![page([1, 2]), end(r#"{"at":2}"#)],
        vec![limited(60)],
        vec![page([3]), end(r#"{"at":3}"#)],
        vec![limited(60)],
        vec![page([4]), limited(86_400)],
    ];
    let script = Script::new(IngestionType::Append, reads);
    let storage = Storage::default();
    let now: DateTime<Utc> = "2026-11-23T10:00:00Z".parse().unwrap();
    let lake = Arc::new(ModelLake::new(&storage, &Faults::none()));
    let engine = Engine::new(lake, EngineSettings::default()).with_clock(Arc::new(ManualClock::new(now)));
    let started = Instant::now();
    let report = engine.run(request(script.clone(), json!({})), Arc::new(Silent)).await;
    assert!((120..140).contains(&started.elapsed().as_secs()), "{:?}", started.elapsed());
    let flow = &report.flows[0];
    assert_eq!((report.state, flow.status), (UpdateState::Failed, FlowStatus::Failed));
    assert_eq!(flow.resume_at(), Some(now + TimeDelta::days(1)));
    assert_eq!(report.resume_at(), flow.resume_at());
    let text = error_text(&report);
    assert!(
        text.starts_with("the source answers no more for table `orders` until 2026-11-24T10:00:00Z"),
        "{text}"
    );
    assert!(text.ends_with("nothing left today"), "{text}");
    assert!(flow.error.as_ref().unwrap().hint().unwrap().contains("goes on where it stands"));
    // Whole reads are kept with their offset; the one that broke off is not.
    assert_eq!(stored(&storage, "orders").longs("id"), [1, 2, 3]);
    assert_eq!(flow.offset.as_ref().unwrap().as_json(), r#"{"at":3}"#);

    let next =
        Script::new(IngestionType::Append, [vec![page([4]), end(r#"{"at":4}"#)], vec![end(r#"{"at":4}"#)]]);
    let report = run(&storage, request(next.clone(), json!({}))).await;
    assert_eq!(next.starts()[0].as_deref(), Some(r#"{"at":3}"#));
    assert_eq!((report.state, report.resume_at()), (UpdateState::Completed, None));
    assert_eq!(stored(&storage, "orders").longs("id"), [1, 2, 3, 4]);
}
