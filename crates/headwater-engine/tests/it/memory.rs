//! The budget holds, and nothing that is larger gets stuck.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use headwater_connect::{
    Connector, ConnectorError, ConnectorFactory, IngestionType, Offset, Options, Page, PageStream, ReadItem,
    StructType, TableMetadata,
};
use headwater_engine::{EngineSettings, Silent, UpdateState};

use serde_json::json;

use crate::faults::Faults;
use crate::model_lake::{ModelLake, Storage};
use crate::source::schema;
use crate::support::{error_text, request, stored};

/// Bytes of pages that are alive, and the most there ever were.
#[derive(Debug, Default)]
struct Gauge {
    alive: AtomicUsize,
    most: AtomicUsize,
}

/// A page's body that tells the gauge when it goes.
struct Counted(Vec<u8>, Arc<Gauge>);

impl Counted {
    fn new(body: Vec<u8>, gauge: &Arc<Gauge>) -> Self {
        let alive = gauge.alive.fetch_add(body.len(), Ordering::SeqCst) + body.len();
        gauge.most.fetch_max(alive, Ordering::SeqCst);
        Self(body, gauge.clone())
    }
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.1.alive.fetch_sub(self.0.len(), Ordering::SeqCst);
    }
}

/// Gives pages as fast as they are taken.
#[derive(Clone)]
struct Firehose {
    gauge: Arc<Gauge>,
    pages: i64,
    page_bytes: usize,
}

#[async_trait]
impl Connector for Firehose {
    async fn list_tables(&self) -> Result<Vec<String>, ConnectorError> {
        Ok(vec!["orders".into()])
    }

    async fn get_table_schema(&self, _: &str, _: &Options) -> Result<StructType, ConnectorError> {
        Ok(schema())
    }

    async fn read_table_metadata(&self, _: &str, _: &Options) -> Result<TableMetadata, ConnectorError> {
        let ingestion_type = IngestionType::Snapshot;
        Ok(TableMetadata { primary_keys: vec![], cursor_field: None, ingestion_type })
    }

    fn read_table<'a>(&'a self, _: &'a str, _: Option<&'a Offset>, _: &'a Options) -> PageStream<'a> {
        let pages = futures::stream::iter(0..self.pages).map(|number| {
            let filling = "x".repeat(self.page_bytes);
            let body = format!(r#"[{{"id":{number},"name":"{filling}"}}]"#).into_bytes();
            Ok(ReadItem::Page(Page::json_array(Bytes::from_owner(Counted::new(body, &self.gauge)))))
        });
        pages.chain(futures::stream::once(async { Ok(ReadItem::End(None)) })).boxed()
    }
}

#[async_trait]
impl ConnectorFactory for Firehose {
    fn name(&self) -> &str {
        "firehose"
    }

    fn connector_spec(&self) -> Option<&str> {
        None
    }

    async fn connect(&self, _: &Options) -> Result<Box<dyn Connector>, ConnectorError> {
        Ok(Box::new(self.clone()))
    }
}

const MIB: usize = 1024 * 1024;

/// Reads from a fast source into a slow lake; gives the most page bytes alive and the largest batch.
async fn pressed(memory_bytes: usize, pages: i64, page_bytes: usize) -> (usize, usize) {
    let gauge = Arc::new(Gauge::default());
    let source = Firehose { gauge: gauge.clone(), pages, page_bytes };
    let storage = Storage::default();
    let mut lake = ModelLake::new(&storage, &Faults::none());
    lake.write_takes = Duration::from_millis(30);
    let seen = lake.seen.clone();
    let settings = EngineSettings { memory_bytes, ..EngineSettings::default() };
    let engine = headwater_engine::Engine::new(Arc::new(lake), settings);
    let report = engine.run(request(source, json!({})), Arc::new(Silent)).await;
    assert_eq!(report.state, UpdateState::Completed, "{}", error_text(&report));
    assert_eq!(stored(&storage, "orders").longs("id").len(), usize::try_from(pages).unwrap());
    assert_eq!(gauge.alive.load(Ordering::SeqCst), 0);
    let seen = *seen.lock().unwrap();
    assert!(seen.writer_memory_bytes <= memory_bytes / 2);
    (gauge.most.load(Ordering::SeqCst), seen.largest_batch_bytes)
}

#[tokio::test]
async fn pages_in_flight_stay_within_their_share() {
    let (most_page_bytes, largest_batch_bytes) = pressed(16 * MIB, 200, 256 * 1024).await;
    // A quarter of the memory, and the page that waits for its turn.
    assert!(most_page_bytes <= 4 * MIB + 2 * 257 * 1024, "{most_page_bytes}");
    assert!(most_page_bytes > MIB, "several pages are in flight: {most_page_bytes}");
    // An eighth of the memory, the page that went over it, and the room that growing columns leave.
    assert!(largest_batch_bytes <= 2 * (2 * MIB + 256 * 1024), "{largest_batch_bytes}");
}

#[tokio::test]
async fn a_page_larger_than_its_share_gets_through_alone() {
    let page_bytes = 6 * MIB;
    let (most_page_bytes, _) = pressed(8 * MIB, 5, page_bytes).await;
    assert!(most_page_bytes <= 2 * (page_bytes + 1024), "one is decoded, the next waits: {most_page_bytes}");
}
