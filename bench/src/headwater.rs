//! The same work by Headwater: one flow of one update, through the engine, into one Delta table.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt};
use headwater_connect::{
    Connector, ConnectorError, ConnectorFactory, IngestionType, JsonPointer, Offset, Options, PageStream,
    ReadItem, StructType, TableMetadata,
};
use headwater_engine::{Engine, EngineSettings, PipelineDefinition, Silent, UpdateRequest};
use headwater_http::pages::{NextLink, Responses, by_link_header, by_next_link, into_pages, numbered};
use headwater_http::{HttpClient, RateLimit};
use headwater_lake::{DeltaLake, LakeOptions};
use headwater_spec::PipelineSpec;

use crate::pages;

/// Pages that are fetched ahead of the decoder: for a source nearby, and for one far away.
const AHEAD: usize = 4;
const FAR_AHEAD: usize = 32;
/// Requests under way at the same time.
const CONCURRENCY: usize = 20;
/// Of one long answer, so much is a page.
const PIECE_BYTES: usize = 512 << 10;

/// How the source is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// From link to link, as W1 is meant.
    NextLink,
    /// By page numbers, 20 at once.
    Numbers,
    /// By a `Link` header that names the last page, 20 at once.
    LastLink,
    /// All in one answer.
    OneAnswer,
}

impl Style {
    pub(crate) fn named(name: &str) -> Result<Self> {
        Ok(match name {
            "numbers" => Style::Numbers,
            "last-link" => Style::LastLink,
            "one-answer" => Style::OneAnswer,
            other => bail!("no style `{other}`"),
        })
    }

    /// The memory that the figures are for.
    fn memory_bytes(self) -> usize {
        let mib = if self == Style::NextLink { 96 } else { 128 };
        mib * 1024 * 1024
    }
}

/// Reads all pages from `url` into a warehouse in the folder `out`; gives the number of rows.
pub(crate) fn run(style: Style, url: &str, out: &Path) -> Result<u64> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let warehouse = out.to_str().context("a path that is not UTF-8")?;
        let lake = DeltaLake::open(warehouse, LakeOptions::default())?;
        let mut settings = EngineSettings::default();
        settings.set_process_memory(style.memory_bytes());
        let engine = Engine::new(Arc::new(lake), settings);
        let connection = Options::from_iter([("base_url", url)]);
        let request = UpdateRequest::new(pipeline()?, Arc::new(Pages { style }), connection);
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

struct Pages {
    style: Style,
}

#[async_trait]
impl ConnectorFactory for Pages {
    fn name(&self) -> &str {
        "pages"
    }

    fn connector_spec(&self) -> Option<&str> {
        Some("display_name: Pages")
    }

    async fn connect(&self, options: &Options) -> Result<Box<dyn Connector>, ConnectorError> {
        let limit = RateLimit::concurrency(CONCURRENCY);
        let client =
            HttpClient::builder(options.get("base_url").unwrap_or_default()).rate_limit(limit).build()?;
        Ok(Box::new(PagesConnector { client, style: self.style }))
    }
}

struct PagesConnector {
    client: HttpClient,
    style: Style,
}

impl PagesConnector {
    fn responses(&self, records: &JsonPointer) -> Result<Responses, ConnectorError> {
        let first = self.client.get("/items").query("page", 1);
        Ok(match self.style {
            Style::Numbers => {
                let pages = numbered(self.client.get("/items"), "page");
                pages.until_empty(records.clone()).fetch(FAR_AHEAD)
            }
            Style::LastLink => by_link_header(first, FAR_AHEAD),
            Style::NextLink | Style::OneAnswer => {
                by_next_link(self.client.get("/items/1.json"), NextLink::Body("/next".parse()?), AHEAD)
            }
        })
    }

    fn pages(&self, end: Offset) -> Result<PageStream<'static>, ConnectorError> {
        let records: JsonPointer = "/data".parse()?;
        if self.style == Style::OneAnswer {
            let pages = self.client.get("").stream_records(records, PIECE_BYTES).map_ok(ReadItem::Page);
            return Ok(pages.chain(futures::stream::once(async { Ok(ReadItem::End(Some(end))) })).boxed());
        }
        Ok(into_pages(self.responses(&records)?, records, Some(end)))
    }
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
        match self.pages(end) {
            Ok(pages) => pages,
            Err(error) => Box::pin(futures::stream::once(async { Err(error) })),
        }
    }

    fn requests(&self) -> u64 {
        self.client.stats().counts().requests
    }
}
