//! The event log tells what happened, and never gets in the way.

use headwater_connect::{IngestionType, Options, Secret};
use headwater_engine::{UpdateRequest, UpdateState};

use serde_json::json;

use crate::faults::{Fault, Faults};
use crate::model_lake::Storage;
use crate::source::{Script, Source, Style, page};
use crate::support::{name, pipeline, request, run, run_with, stored, table};

fn logged(source: Source) -> UpdateRequest {
    let mut request = request(source, json!({}));
    request.pipeline.event_log = Some(name("event_log"));
    request
}

#[tokio::test(start_paused = true)]
async fn an_update_is_told_from_its_creation_to_its_end() {
    let storage = Storage::default();
    let source = Source::new(IngestionType::Append, Style::Plain, 13);
    let report = run(&storage, logged(source)).await;
    assert_eq!(report.state, UpdateState::Completed);
    assert!(report.warnings.is_empty(), "{:?}", report.warnings);
    let log = stored(&storage, "event_log");
    let types = log.texts("event_type");
    let details = log.texts("details");
    let told: Vec<String> = types
        .iter()
        .zip(&details)
        .map(|(event_type, details)| {
            let details: serde_json::Value = serde_json::from_str(details).unwrap();
            let details = &details[event_type];
            let state = details["state"].as_str().or(details["status"].as_str()).unwrap_or("");
            format!("{event_type} {state}").trim().to_owned()
        })
        .collect();
    assert_eq!(
        told,
        [
            "create_update",
            "update_progress WAITING_FOR_RESOURCES",
            "update_progress INITIALIZING",
            "update_progress RUNNING",
            "flow_progress QUEUED",
            "flow_progress STARTING",
            "flow_definition",
            "flow_progress RUNNING",
            "flow_progress RUNNING",
            "flow_progress COMPLETED",
            "update_progress COMPLETED",
        ]
    );
    let last: serde_json::Value = serde_json::from_str(&details[9]).unwrap();
    let metrics = &last["flow_progress"]["metrics"];
    assert_eq!(metrics["num_output_rows"], 13);
    assert!(metrics["input_bytes"].as_u64().unwrap() > 100);
    assert_eq!(metrics["requests"], 7);
    assert_eq!(log.texts("level")[8], "METRICS");
}

#[tokio::test(start_paused = true)]
async fn an_error_is_told_with_its_causes_and_without_secrets() {
    let storage = Storage::default();
    let error = headwater_connect::ConnectorError::Forbidden {
        source: "GET /orders?token=hunter2&key=swordfish answered 403 to opensesame".into(),
    };
    let script = Script::new(IngestionType::Append, [vec![page([1]), Err(error)]]);
    let connection: Options = [("token", "hunter2"), ("base_url", "orders")].into_iter().collect();
    let objects = vec![table(json!({"api_key": "swordfish"}))];
    let mut request = UpdateRequest::new(pipeline(objects), std::sync::Arc::new(script), connection);
    request.pipeline.event_log = Some(name("event_log"));
    request.secret_options = vec!["Token".into(), "api_key".into(), "password".into()];
    request.secrets = vec![Secret::new(""), Secret::new("opensesame")];
    let report = run(&storage, request).await;
    assert_eq!(report.state, UpdateState::Failed);
    let log = stored(&storage, "event_log");
    let text = format!("{:?}", log.batches);
    assert!(text.contains("GET /orders?token=<secret>&key=<secret> answered 403 to <secret>"), "{text}");
    assert!(text.contains("Forbidden") && text.contains("table `orders` cannot be read"), "{text}");
    assert!(["hunter2", "swordfish", "opensesame"].iter().all(|secret| !text.contains(secret)), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_log_that_cannot_be_written_warns_and_fails_nothing() {
    let request = logged(Source::new(IngestionType::Append, Style::Plain, 13));
    // The steps of the flow come first; the log is written at the end.
    let probe = Faults::none();
    run_with(&Storage::default(), &probe, Default::default(), request.clone()).await.unwrap();
    let first_of_log = probe.steps() - 3;
    for fault in [Fault::Fatal, Fault::Again] {
        let storage = Storage::default();
        let faults = Faults::at((first_of_log..first_of_log + 20).map(|step| (step, fault)));
        let report = run_with(&storage, &faults, Default::default(), request.clone()).await.unwrap();
        assert_eq!(report.state, UpdateState::Completed, "{}", faults.trace());
        assert_eq!(report.warnings.len(), 1, "{}", faults.trace());
        assert!(
            report.warnings[0]
                .starts_with("the event log is not complete: the event log main.shop.event_log")
        );
        assert_eq!(stored(&storage, "orders").longs("id").len(), 13);
    }
    // What can be got over is got over, and stands in the log once.
    for fault in [Fault::Again, Fault::LandedInDoubt, Fault::NotLandedInDoubt] {
        for step in first_of_log..first_of_log + 3 {
            let storage = Storage::default();
            let faults = Faults::at([(step, fault)]);
            let report = run_with(&storage, &faults, Default::default(), request.clone()).await.unwrap();
            assert!(report.warnings.is_empty(), "{:?}", report.warnings);
            assert_eq!(stored(&storage, "event_log").texts("id").len(), 11, "{fault:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_update_that_cannot_begin_is_told_too() {
    let storage = Storage::default();
    let mut request = logged(Source::new(IngestionType::Append, Style::Plain, 1));
    request.tables = Some(vec!["ordrs".into()]);
    request.connection = Options::new();
    let report = run(&storage, request).await;
    assert_eq!(report.state, UpdateState::Failed);
    assert_eq!(report.error.as_ref().unwrap().hint().as_deref(), Some("did you mean `orders`?"));
    let log = stored(&storage, "event_log");
    assert!(log.texts("message").contains(&"Update is FAILED.".to_owned()));
}
