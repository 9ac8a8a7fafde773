//! The same work by Headwater: one flow of one update, through the engine, into one Delta table.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use async_trait::async_trait;
use headwater_connect::{
    Connector, ConnectorError, ConnectorFactory, IngestionType, Offset, Options, PageStream, ReadItem,
    StructType, TableMetadata,
};
use headwater_engine::{Engine, EngineSettings, PipelineDefinition, Silent, UpdateRequest};
use headwater_http::HttpClient;
use headwater_http::pages::{NextLink, by_next_link, into_pages};
use headwater_lake::{DeltaLake, LakeOptions};
use headwater_spec::PipelineSpec;

use crate::pages;

/// The memory that the figures of W1 are for.
const MEMORY_BYTES: usize = 96 * 1024 * 1024;
/// Pages that are fetched ahead of the decoder.
const AHEAD: usize = 4;

/// Reads all pages from `url` into a warehouse in the folder `out`; gives the number of rows.
pub(crate) fn run(url: &str, out: &Path) -> Result<u64> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let warehouse = out.to_str().context("a path that is not UTF-8")?;
        let lake = DeltaLake::open(warehouse, LakeOptions::default())?;
        let mut settings = EngineSettings::default();
        settings.set_process_memory(MEMORY_BYTES);
        let engine = Engine::new(Arc::new(lake), settings);
        let connection = Options::from_iter([("base_url", url)]);
        let request = UpdateRequest::new(pipeline()?, Arc::new(Pages), connection);
        let report = engine.run(request, Arc::new(Silent)).await;
        if let Some(error) = report.flows.iter().find_map(|flow| flow.error.as_ref()) {
            bail!("the flow failed: {error:?}");
        }
        Ok(report.totals().rows_written)
    })
}

fn pipeline() -> Result<PipelineDefinition> {
    let spec = "connection_name: pages\nobjects:\n  - table: {source_table: items}\n";
    Ok(PipelineDefinition {
        id: "w1".into(),
        name: "w1".into(),
        catalog: "main".into(),
        schema: "bench".into(),
        spec: Arc::new(PipelineSpec::parse(spec, "w1.yaml")?),
        event_log: None,
    })
}

struct Pages;

#[async_trait]
impl ConnectorFactory for Pages {
    fn name(&self) -> &str {
        "pages"
    }

    fn connector_spec(&self) -> Option<&str> {
        Some("display_name: Pages")
    }

    async fn connect(&self, options: &Options) -> Result<Box<dyn Connector>, ConnectorError> {
        let client = HttpClient::builder(options.get("base_url").unwrap_or_default()).build()?;
        Ok(Box::new(PagesConnector { client }))
    }
}

struct PagesConnector {
    client: HttpClient,
}

#[async_trait]
impl Connector for PagesConnector {
    async fn list_tables(&self) -> Result<Vec<String>, ConnectorError> {
        Ok(vec!["items".to_owned()])
    }

    async fn get_table_schema(&self, _: &str, _: &Options) -> Result<StructType, ConnectorError> {
        Ok(pages::schema())
    }

    async fn read_table_metadata(&self, _: &str, _: &Options) -> Result<TableMetadata, ConnectorError> {
        Ok(TableMetadata {
            primary_keys: vec!["id".to_owned()],
            cursor_field: Some("updated_at".to_owned()),
            ingestion_type: IngestionType::Append,
        })
    }

    fn read_table<'a>(&'a self, _: &'a str, start: Option<&'a Offset>, _: &'a Options) -> PageStream<'a> {
        let end = Offset::from(serde_json::json!({"done": true}));
        if start == Some(&end) {
            return Box::pin(futures::stream::once(async { Ok(ReadItem::End(Some(end))) }));
        }
        let records = "/data".parse();
        let next = "/next".parse();
        match (records, next) {
            (Ok(records), Ok(next)) => {
                let responses = by_next_link(self.client.get("/items/1.json"), NextLink::Body(next), AHEAD);
                into_pages(responses, records, Some(end))
            }
            (Err(error), _) | (_, Err(error)) => Box::pin(futures::stream::once(async { Err(error) })),
        }
    }

    fn requests(&self) -> u64 {
        self.client.stats().counts().requests
    }
}
