//! Ending early, in good order and at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use headwater_connect::{
    Connector, ConnectorError, ConnectorFactory, IngestionType, Offset, Options, PageStream, StructType,
    TableMetadata,
};
use headwater_engine::{FlowStatus, FullRefresh, UpdateState};

use serde_json::json;

use crate::model_lake::Storage;
use crate::source::{end, page, schema};
use crate::support::{request, run, stored};

/// A source that never ends: each read gives one record and takes some time.
#[derive(Clone)]
struct Endless {
    read_takes: Duration,
    reads: Arc<AtomicU64>,
    ingestion_type: IngestionType,
}

impl Endless {
    fn new(read_takes: Duration, ingestion_type: IngestionType) -> Self {
        Self { read_takes, reads: Arc::default(), ingestion_type }
    }
}

#[async_trait]
impl Connector for Endless {
    async fn list_tables(&self) -> Result<Vec<String>, ConnectorError> {
        Ok(vec!["orders".into()])
    }

    async fn get_table_schema(&self, _: &str, _: &Options) -> Result<StructType, ConnectorError> {
        Ok(schema())
    }

    async fn read_table_metadata(&self, _: &str, _: &Options) -> Result<TableMetadata, ConnectorError> {
        let ingestion_type = self.ingestion_type;
        Ok(TableMetadata { primary_keys: vec![], cursor_field: None, ingestion_type })
    }

    fn read_table<'a>(&'a self, _: &'a str, _: Option<&'a Offset>, _: &'a Options) -> PageStream<'a> {
        let number = self.reads.fetch_add(1, Ordering::SeqCst);
        let items = vec![page([i64::try_from(number).unwrap()]), end(&format!("{{\"n\":{number}}}"))];
        let takes = self.read_takes;
        let paced = futures::stream::iter(items).then(move |item| async move {
            tokio::time::sleep(takes / 2).await;
            item
        });
        paced.boxed()
    }
}

#[async_trait]
impl ConnectorFactory for Endless {
    fn name(&self) -> &str {
        "endless"
    }

    fn connector_spec(&self) -> Option<&str> {
        None
    }

    async fn connect(&self, _: &Options) -> Result<Box<dyn Connector>, ConnectorError> {
        Ok(Box::new(self.clone()))
    }
}

/// Runs until a stop that is asked for after ten seconds.
async fn stopped(
    source: Endless,
    immediate: bool,
    full_refresh: FullRefresh,
) -> (Storage, headwater_engine::UpdateReport, Duration) {
    let storage = Storage::default();
    let mut request = request(source, json!({}));
    request.full_refresh = full_refresh;
    let cancel = request.cancel.clone();
    let ask = async {
        tokio::time::sleep(Duration::from_secs(10)).await;
        if immediate {
            cancel.request_immediate()
        } else {
            cancel.request()
        }
        tokio::time::Instant::now()
    };
    let (report, asked_at) = tokio::join!(run(&storage, request), ask);
    (storage, report, asked_at.elapsed())
}

#[tokio::test(start_paused = true)]
async fn the_first_request_ends_after_the_commit_of_the_current_read() {
    let source = Endless::new(Duration::from_secs(4), IngestionType::Append);
    let (storage, report, took) = stopped(source, false, FullRefresh::None).await;
    assert_eq!(report.state, UpdateState::Canceled);
    assert_eq!(report.flows[0].status, FlowStatus::Stopped);
    let table = stored(&storage, "orders");
    assert_eq!(table.longs("id"), [0, 1, 2], "the read that was on its way is in");
    assert_eq!(table.flows["shop.orders"].offset.as_ref().unwrap().as_json(), r#"{"n":2}"#);
    assert!(took < Duration::from_secs(5), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_read_that_does_not_end_is_given_up_after_the_grace() {
    let source = Endless::new(Duration::from_secs(3600), IngestionType::Append);
    let (storage, report, took) = stopped(source, false, FullRefresh::None).await;
    assert_eq!(report.state, UpdateState::Canceled);
    assert_eq!(stored(&storage, "orders").version, 0, "half a read is nothing");
    assert_eq!(took.as_secs(), 30);
}

#[tokio::test(start_paused = true)]
async fn the_second_request_ends_at_once() {
    let source = Endless::new(Duration::from_secs(4), IngestionType::Append);
    let (storage, report, took) = stopped(source, true, FullRefresh::None).await;
    assert_eq!(report.state, UpdateState::Canceled);
    assert_eq!(stored(&storage, "orders").version, 0);
    assert_eq!(took, Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn what_must_be_whole_is_left_out_when_stopped() {
    for (ingestion_type, full_refresh) in
        [(IngestionType::Snapshot, FullRefresh::None), (IngestionType::Append, FullRefresh::All)]
    {
        let source = Endless::new(Duration::from_secs(4), ingestion_type);
        let (storage, report, _) = stopped(source, false, full_refresh).await;
        assert_eq!(report.state, UpdateState::Canceled);
        assert_eq!(stored(&storage, "orders").version, 0, "half a snapshot is nothing");
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_source_does_not_hold_back_what_is_there() {
    let source = Endless::new(Duration::from_secs(5), IngestionType::Append);
    let storage = Storage::default();
    let request = request(source, json!({}));
    let cancel = request.cancel.clone();
    let watch = async {
        tokio::time::sleep(Duration::from_secs(70)).await;
        let held = stored(&storage, "orders").longs("id");
        cancel.request_immediate();
        held
    };
    let (_, held) = tokio::join!(run(&storage, request), watch);
    assert!((11..=13).contains(&held.len()), "committed after a minute: {held:?}");
}
