//! Reads My source: items as they change, and the list of categories.
//!
//! It knows of the source what `api.md` says. It converts nothing: pages go on as the source sent them, and Headwater
//! makes columns of them. Start reading at [`MySource`]; the reading of items is in `items`.

mod items;
mod tables;

use std::ops::RangeInclusive;

use async_trait::async_trait;
use chrono::{DateTime, SubsecRound, Utc};
use headwater_connect::{
    Clock, Connector, ConnectorError, ConnectorFactory, JsonPointer, Offset, Options, PageStream, StructType,
    SystemClock, TableMetadata,
};
use headwater_http::{Auth, HttpClient, RateBudget, RateLimit, Response, pages};
use serde_json::value::RawValue;

use crate::tables::Table;

/// The connector's specification: the options of a connection and of its tables.
pub const CONNECTOR_SPEC: &str = include_str!("../connector_spec.yaml");

const BASE_URL: &str = "https://api.my-source.example";

/// Pages that are fetched ahead of the reader, and requests under way at the same time.
const AHEAD: usize = 4;

/// Makes instances of the connector.
pub struct MySourceFactory;

#[async_trait]
impl ConnectorFactory for MySourceFactory {
    fn name(&self) -> &str {
        "my_source"
    }

    fn connector_spec(&self) -> Option<&str> {
        Some(CONNECTOR_SPEC)
    }

    async fn connect(&self, options: &Options) -> Result<Box<dyn Connector>, ConnectorError> {
        let token = options.secret("token").filter(|token| !token.expose().is_empty()).ok_or_else(|| {
            ConnectorError::MissingOption {
                name: "token".into(),
                hint: "make one on the settings page of My source".into(),
            }
        })?;
        let base_url = options.get("base_url").unwrap_or(BASE_URL);
        // Credentials, repetition with pauses, `Retry-After` and limits are the client's work. All tables that are read
        // with one token share what the source allows it, which the budget learns from the answers.
        let budget = RateBudget::shared(base_url, Some(&token), RateLimit::concurrency(AHEAD));
        let client = HttpClient::builder(base_url).auth(Auth::Bearer(token)).budget(budget).build()?;
        Ok(Box::new(MySource { client, now: SystemClock.now().trunc_subsecs(0) }))
    }
}

/// Reads one table during one update.
pub struct MySource {
    client: HttpClient,
    /// What counts as "now": an update ends although the source goes on.
    now: DateTime<Utc>,
}

#[async_trait]
impl Connector for MySource {
    async fn list_tables(&self) -> Result<Vec<String>, ConnectorError> {
        Ok(Table::ALL.iter().map(|table| table.name().to_owned()).collect())
    }

    async fn get_table_schema(&self, table: &str, _: &Options) -> Result<StructType, ConnectorError> {
        Ok(Table::find(table)?.schema())
    }

    async fn read_table_metadata(&self, table: &str, _: &Options) -> Result<TableMetadata, ConnectorError> {
        Ok(Table::find(table)?.metadata())
    }

    fn read_table<'a>(
        &'a self,
        table: &'a str,
        start: Option<&'a Offset>,
        options: &'a Options,
    ) -> PageStream<'a> {
        let read = || {
            let table = Table::find(table)?;
            let page_size = whole(options, "page_size", 100, 1..=100)?;
            Ok(match table {
                Table::Categories => self.categories(page_size),
                Table::Items => self.items(start, items::Limits::new(options, page_size)?),
            })
        };
        read().unwrap_or_else(|error| Box::pin(futures::stream::iter([Err(error)])))
    }

    async fn test_connection(&self) -> Result<(), ConnectorError> {
        self.client.get("v1/categories").query("page", 1).query("per_page", 1).send().await.map(|_| ())
    }

    fn requests(&self) -> u64 {
        self.client.stats().counts().requests
    }
}

impl MySource {
    /// All categories: numbered pages, several on their way at the same time.
    fn categories(&self, page_size: u64) -> PageStream<'_> {
        let place = JsonPointer::from_iter(["categories"]);
        let request = self.client.get("v1/categories").query("per_page", page_size);
        let responses = pages::numbered(request, "page").until_short(place.clone(), page_size).fetch(AHEAD);
        pages::into_pages(responses, place, None)
    }
}

/// The records in member `name` of an answer, each as it stands there.
fn records<'a>(response: &'a Response, name: &str) -> Result<Vec<&'a RawValue>, ConnectorError> {
    let pointer = JsonPointer::from_iter([name]);
    let unreadable = || response.unusable(format_args!("has no list `{name}`"));
    let found = pointer.find(&response.body).map_err(|_| unreadable())?.ok_or_else(unreadable)?;
    serde_json::from_slice(found).map_err(|_| unreadable())
}

/// A table option that is a whole number.
fn whole(
    options: &Options,
    name: &str,
    default: u64,
    allowed: RangeInclusive<u64>,
) -> Result<u64, ConnectorError> {
    let Some(text) = options.get(name) else { return Ok(default) };
    text.trim().parse().ok().filter(|number| allowed.contains(number)).ok_or_else(|| {
        let reason =
            format!("must be a whole number from {} to {}, not `{text}`", allowed.start(), allowed.end());
        ConnectorError::invalid_option(name, reason)
    })
}
