//! Records that do not fit: named, set aside once, or nulled; never dropped silently.

use headwater_connect::{ConnectorError, IngestionType, Page, ReadItem};
use headwater_engine::{FlowStatus, UpdateState};

use serde_json::json;

use crate::faults::{Fault, Faults};
use crate::model_lake::Storage;
use crate::source::{Script, end, page};
use crate::support::{error_text, request, run, run_with, stored};

fn body(text: &'static str) -> Result<ReadItem, ConnectorError> {
    Ok(ReadItem::Page(Page::json_array(text.as_bytes())))
}

const BAD: &str = r#"[{"id":1,"name":"a"},{"id":"x","name":"b"},{"id":3,"name":"c"},{"id":[4],"name":"d"}]"#;

fn script(ingestion_type: IngestionType) -> Script {
    let last = match ingestion_type {
        IngestionType::Snapshot => Ok(ReadItem::End(None)),
        _ => end(r#"{"n":1}"#),
    };
    Script::new(ingestion_type, [vec![page([0]), body(BAD), last], vec![end(r#"{"n":1}"#)]])
}

#[tokio::test(start_paused = true)]
async fn a_bad_record_fails_the_flow_and_says_which_it_was() {
    let storage = Storage::default();
    let report =
        run(&storage, request(script(IngestionType::Append), json!({"on_bad_record": "fail"}))).await;
    assert_eq!(report.flows[0].status, FlowStatus::Failed);
    let text = error_text(&report);
    for part in ["page 2 of table `orders`", "record 1", "column `id`", "x"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert_eq!(stored(&storage, "orders").version, 0);
}

#[tokio::test(start_paused = true)]
async fn bad_records_are_set_aside_with_their_place_and_reason() {
    for ingestion_type in [IngestionType::Append, IngestionType::Snapshot] {
        let storage = Storage::default();
        let report =
            run(&storage, request(script(ingestion_type), json!({"on_bad_record": "quarantine"}))).await;
        assert_eq!(report.state, UpdateState::Completed, "{}", error_text(&report));
        let metrics = report.flows[0].metrics;
        assert_eq!((metrics.records_read, metrics.rows_written, metrics.bad_records), (5, 3, 2));
        assert_eq!(stored(&storage, "orders").longs("id"), [0, 1, 3]);
        let aside = stored(&storage, "orders__quarantine");
        assert_eq!(aside.longs("record"), [2, 4], "numbers within the micro-batch");
        assert_eq!(aside.longs("micro_batch"), [1, 1]);
        assert_eq!(aside.texts("column"), ["id", "id"]);
        assert!(aside.texts("raw")[0].contains(r#""x""#), "{:?}", aside.texts("raw"));
    }
}

#[tokio::test(start_paused = true)]
async fn whatever_fails_bad_records_are_set_aside_once() {
    for fault in Fault::ALL {
        for step in 0.. {
            let storage = Storage::default();
            let mut faults = Faults::at([(step, fault)]);
            let mut lives = 0;
            let reached = loop {
                let request = request(script(IngestionType::Append), json!({"on_bad_record": "quarantine"}));
                // Each life has a script of its own; a retry within one needs the reads again.
                let request =
                    headwater_engine::UpdateRequest { factory: std::sync::Arc::new(Repeating), ..request };
                let report = run_with(&storage, &faults, Default::default(), request).await;
                let reached = faults.steps() > step || lives > 0;
                if report.is_some_and(|report| report.state == UpdateState::Completed) {
                    break reached;
                }
                lives += 1;
                assert!(lives < 4);
                faults = Faults::none();
            };
            assert_eq!(stored(&storage, "orders").longs("id"), [0, 1, 3], "{fault:?} at {step}");
            let aside = stored(&storage, "orders__quarantine");
            assert_eq!(aside.longs("record"), [2, 4], "{fault:?} at {step}: {}", faults.trace());
            if !reached {
                break;
            }
        }
    }
}

/// A factory whose instances can be asked again and again.
struct Repeating;

#[async_trait::async_trait]
impl headwater_connect::ConnectorFactory for Repeating {
    fn name(&self) -> &str {
        "repeating"
    }

    fn connector_spec(&self) -> Option<&str> {
        None
    }

    async fn connect(
        &self,
        _: &headwater_connect::Options,
    ) -> Result<Box<dyn headwater_connect::Connector>, ConnectorError> {
        Ok(Box::new(RepeatingConnector))
    }
}

struct RepeatingConnector;

#[async_trait::async_trait]
impl headwater_connect::Connector for RepeatingConnector {
    async fn list_tables(&self) -> Result<Vec<String>, ConnectorError> {
        Ok(vec!["orders".into()])
    }

    async fn get_table_schema(
        &self,
        _: &str,
        _: &headwater_connect::Options,
    ) -> Result<headwater_connect::StructType, ConnectorError> {
        Ok(crate::source::schema())
    }

    async fn read_table_metadata(
        &self,
        _: &str,
        _: &headwater_connect::Options,
    ) -> Result<headwater_connect::TableMetadata, ConnectorError> {
        Ok(script(IngestionType::Append).metadata)
    }

    fn read_table<'a>(
        &'a self,
        _: &'a str,
        start: Option<&'a headwater_connect::Offset>,
        _: &'a headwater_connect::Options,
    ) -> headwater_connect::PageStream<'a> {
        use futures::StreamExt;
        let first = start.is_some_and(headwater_connect::Offset::is_empty);
        let items =
            if first { vec![page([0]), body(BAD), end(r#"{"n":1}"#)] } else { vec![end(r#"{"n":1}"#)] };
        futures::stream::iter(items).boxed()
    }
}

#[tokio::test(start_paused = true)]
async fn values_that_do_not_fit_become_null_and_are_counted() {
    let storage = Storage::default();
    let text = r#"[{"id":1,"name":"a"},{"id":2,"name":{"first":"b"}}]"#;
    let mut script = Script::new(IngestionType::Append, [vec![body(text), end("{}")]]);
    script.schema.fields[1].data_type = headwater_connect::DataType::Long;
    let report = run(&storage, request(script, json!({"on_bad_record": "null"}))).await;
    assert_eq!(report.state, UpdateState::Completed, "{}", error_text(&report));
    assert_eq!(stored(&storage, "orders").longs("id"), [1, 2]);
    assert_eq!(report.flows[0].metrics.nulled_values, 2);
}
