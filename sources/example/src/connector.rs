use std::sync::Arc;

use async_stream::try_stream;
use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use futures::StreamExt;
use headwater_connect::{
    Connector, ConnectorError, JsonPointer, Offset, Options, Page, PageStream, Partition, ReadItem,
    StructType, SupportsNamespaces, SupportsPartition, SupportsPartitionedStream, TableMetadata,
};
use headwater_http::HttpClient;
use headwater_http::pages::{self, NextLink, Place};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::server::ExampleServer;
use crate::tables::{self, NAMESPACES, Table};

/// Pages that are fetched ahead of the reader.
const AHEAD: usize = 4;

/// The time that one request for metrics may span; the shop's own limit.
const METRICS_SPAN: TimeDelta = TimeDelta::hours(1);

/// Reads the example shop.
///
/// An instance serves one table of one update. It asks the shop once how far it has come, and reads up to
/// there: an update then ends although the shop goes on, and the next update begins where this one ended.
pub struct ExampleConnector {
    client: HttpClient,
    status: OnceCell<Status>,
    /// Keeps an embedded shop open.
    _server: Option<Arc<ExampleServer>>,
}

/// How far the shop has come.
#[derive(Debug, Clone, Deserialize)]
struct Status {
    now: DateTime<Utc>,
    opened_at: DateTime<Utc>,
    last_event: u64,
    last_change: u64,
    metrics_until: DateTime<Utc>,
}

/// The offset of what is read by time of change.
///
/// Times are whole seconds, and more may happen in a second that has been read. So the next read asks for that second
/// again: its rows come twice, and none is missed.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Since {
    since: DateTime<Utc>,
}

/// The offset of what is numbered: the last number read. Numbers are given out in order, so that nothing is read twice.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct After {
    after: u64,
}

/// The offset of what is read by windows of time: where the next window begins.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct From {
    from: DateTime<Utc>,
}

/// A part of the events: those after `after`, up to and with `up_to`.
#[derive(Serialize, Deserialize)]
struct EventRange {
    after: u64,
    up_to: u64,
}

impl ExampleConnector {
    pub(crate) fn new(client: HttpClient, server: Option<Arc<ExampleServer>>) -> Self {
        Self { client, status: OnceCell::new(), _server: server }
    }

    async fn status(&self) -> Result<&Status, ConnectorError> {
        self.status.get_or_try_init(|| async { self.client.get("status").send().await?.json() }).await
    }

    async fn categories(&self) -> Result<Vec<String>, ConnectorError> {
        #[derive(Deserialize)]
        struct Categories {
            data: Vec<String>,
        }
        let categories: Categories = self.client.get("categories").send().await?.json()?;
        Ok(categories.data)
    }

    /// Numbered pages: several are fetched at the same time.
    fn read_customers(&self, table_options: TableOptions) -> PageStream<'_> {
        let request = self.client.get("customers").query("limit", table_options.page_size);
        let count = Place::Body(JsonPointer::from_iter(["pages"]));
        let responses = pages::numbered(request, "page").total_pages(count).fetch(AHEAD);
        pages::into_pages(responses, data(), None)
    }

    /// Links from page to page, in a header.
    fn read_stock(&self, table_options: TableOptions) -> PageStream<'_> {
        let first = self.client.get("stock").query("limit", table_options.page_size);
        pages::into_pages(pages::by_next_link(first, NextLink::Header, AHEAD), JsonPointer::root(), None)
    }

    /// A cursor in each page that leads to the next.
    fn read_category(&self, category: &str, table_options: TableOptions) -> PageStream<'_> {
        let first = self.client.get("products").query("category", category);
        let first = first.query("limit", table_options.page_size);
        pages::into_pages(pages::by_cursor(first, "cursor", next_cursor(), AHEAD), data(), None)
    }

    fn read_products(&self, table_options: TableOptions) -> PageStream<'_> {
        Box::pin(try_stream! {
            for category in self.categories().await? {
                let mut pages = self.read_category(&category, table_options);
                while let Some(item) = pages.next().await {
                    if let ReadItem::Page(page) = item? {
                        yield ReadItem::Page(page);
                    }
                }
            }
            yield ReadItem::End(None);
        })
    }

    /// Orders, or deletions of orders, by the time of their change.
    fn read_changed<'a>(
        &'a self,
        path: &'static str,
        start: Option<&'a Offset>,
        table_options: TableOptions,
    ) -> PageStream<'a> {
        #[derive(Deserialize)]
        struct Changed {
            data: Vec<Stamp>,
            next_cursor: Option<String>,
        }
        #[derive(Deserialize)]
        struct Stamp {
            updated_at: DateTime<Utc>,
        }
        Box::pin(try_stream! {
            let from = position::<Since>(start)?.map(|offset| offset.since);
            let until = self.status().await?.now;
            let mut request = self.client.get(path).query("limit", table_options.page_size);
            if let Some(from) = from {
                request = request.query("since", from.to_rfc3339());
            }
            // An offset may lie ahead of a shop whose clock was set back; what it gives then is still read.
            let until = from.map_or(until, |from| from.max(until));
            request = request.query("until", until.to_rfc3339());

            let mut responses = pages::by_cursor(request, "cursor", next_cursor(), AHEAD);
            let mut read = 0;
            while let Some(response) = responses.next().await {
                let response = response?;
                let changed: Changed = response.json()?;
                yield ReadItem::Page(Page::Json { body: response.body, records: data() });
                read += 1;
                let Some(last) = changed.data.last() else { continue };
                // A read ends now and then, so that a long one can be taken up again in its middle. It ends in a
                // later second than it began, or the next one would be the same read again.
                if read >= table_options.pages_per_read
                    && changed.next_cursor.is_some()
                    && from.is_none_or(|from| last.updated_at > from)
                {
                    yield end(&Since { since: last.updated_at })?;
                    return;
                }
            }
            yield end(&Since { since: until })?;
        })
    }

    /// Changes, whose records are nested and must be made flat.
    fn read_order_changes<'a>(
        &'a self,
        start: Option<&'a Offset>,
        table_options: TableOptions,
    ) -> PageStream<'a> {
        #[derive(Deserialize)]
        struct Answer {
            result: Changes,
        }
        #[derive(Deserialize)]
        struct Changes {
            changes: Vec<Change>,
        }
        #[derive(Deserialize)]
        struct Change {
            seq: u64,
            order: ChangedOrder,
            at: Value,
        }
        #[derive(Deserialize)]
        struct ChangedOrder {
            id: Value,
            status: Value,
        }
        Box::pin(try_stream! {
            let start = position::<After>(start)?.map_or(0, |offset| offset.after);
            let up_to = self.status().await?.last_change;
            let (mut after, mut read) = (start, 0);
            if start < up_to {
                let request = self.client.get("changes").query("limit", table_options.page_size);
                let request = request.query("after", start).query("up_to", up_to);
                let mut responses = pages::by_cursor(request, "after", JsonPointer::from_iter(["result", "next_after"]), AHEAD);
                while let Some(response) = responses.next().await
                    && read < table_options.pages_per_read
                {
                    let answer: Answer = response?.json()?;
                    after = answer.result.changes.last().map_or(after, |change| change.seq);
                    let rows = answer.result.changes.into_iter().map(|change| {
                        json!({
                            "order_id": change.order.id,
                            "seq": change.seq,
                            "status": change.order.status,
                            "changed_at": change.at,
                        })
                    });
                    yield ReadItem::Page(Page::Values(rows.collect()));
                    read += 1;
                }
            }
            yield end(&After { after })?;
        })
    }

    fn read_events<'a>(&'a self, start: Option<&'a Offset>, table_options: TableOptions) -> PageStream<'a> {
        Box::pin(try_stream! {
            let after = position::<After>(start)?.map_or(0, |offset| offset.after);
            let last = self.status().await?.last_event;
            let range = EventRange { after, up_to: last.min(after.saturating_add(table_options.rows_per_read())) };
            if range.after < range.up_to {
                let mut pages = self.read_event_range(&range, table_options)?;
                while let Some(item) = pages.next().await {
                    if let ReadItem::Page(page) = item? {
                        yield ReadItem::Page(page);
                    }
                }
            }
            yield end(&After { after: range.up_to.max(after) })?;
        })
    }

    fn read_event_range(
        &self,
        range: &EventRange,
        table_options: TableOptions,
    ) -> Result<PageStream<'_>, ConnectorError> {
        let request = self.client.get("events").query("limit", table_options.page_size);
        let request = request.query("after", range.after).query("up_to", range.up_to);
        let responses = pages::by_cursor(request, "after", JsonPointer::from_iter(["next_after"]), AHEAD);
        Ok(pages::into_pages(responses, data(), None))
    }

    /// Metrics, which can be asked for an hour at a time; each read is one such window.
    fn read_metrics<'a>(&'a self, start: Option<&'a Offset>) -> PageStream<'a> {
        Box::pin(try_stream! {
            let start = position::<From>(start)?;
            let status = self.status().await?;
            let from = start.map_or(status.opened_at, |offset| offset.from);
            let to = status.metrics_until.min(from + METRICS_SPAN);
            if from < to {
                let request = self.client.get("metrics");
                let request = request.query("from", from.to_rfc3339()).query("to", to.to_rfc3339());
                yield ReadItem::Page(Page::JsonLines(request.send().await?.body));
            }
            yield end(&From { from: from.max(to) })?;
        })
    }
}

#[async_trait]
impl Connector for ExampleConnector {
    async fn list_tables(&self) -> Result<Vec<String>, ConnectorError> {
        Ok(Table::all().map(|table| table.name().to_owned()).collect())
    }

    async fn get_table_schema(&self, table: &str, _options: &Options) -> Result<StructType, ConnectorError> {
        Ok(tables::schema(Table::find(table)?))
    }

    async fn read_table_metadata(
        &self,
        table: &str,
        _options: &Options,
    ) -> Result<TableMetadata, ConnectorError> {
        Ok(tables::metadata(Table::find(table)?))
    }

    fn read_table<'a>(
        &'a self,
        table: &'a str,
        start: Option<&'a Offset>,
        options: &'a Options,
    ) -> PageStream<'a> {
        let (table, table_options) =
            match Table::find(table).and_then(|t| Ok((t, TableOptions::read(options)?))) {
                Ok(found) => found,
                Err(error) => return failed(error),
            };
        match table {
            Table::Customers => self.read_customers(table_options),
            Table::Products => self.read_products(table_options),
            Table::Stock => self.read_stock(table_options),
            Table::Orders => self.read_changed("orders", start, table_options),
            Table::OrderChanges => self.read_order_changes(start, table_options),
            Table::Events => self.read_events(start, table_options),
            Table::Metrics => self.read_metrics(start),
        }
    }

    fn read_table_deletes<'a>(
        &'a self,
        table: &'a str,
        start: Option<&'a Offset>,
        options: &'a Options,
    ) -> PageStream<'a> {
        match Table::find(table).and_then(|t| Ok((t, TableOptions::read(options)?))) {
            Ok((Table::Orders, options)) => self.read_changed("orders/deleted", start, options),
            Ok(_) => failed(ConnectorError::bug(format!("deletions of table `{table}` cannot be read"))),
            Err(error) => failed(error),
        }
    }

    async fn test_connection(&self) -> Result<(), ConnectorError> {
        // Not the status of the instance: the connection is tried afresh each time.
        let _status: Status = self.client.get("status").send().await?.json()?;
        Ok(())
    }

    fn requests(&self) -> u64 {
        self.client.stats().counts().requests
    }

    fn partitions(&self) -> Option<&dyn SupportsPartition> {
        Some(self)
    }

    fn partitioned_stream(&self) -> Option<&dyn SupportsPartitionedStream> {
        Some(self)
    }

    fn namespaces(&self) -> Option<&dyn SupportsNamespaces> {
        Some(self)
    }
}

/// Products are read by category.
#[async_trait]
impl SupportsPartition for ExampleConnector {
    async fn is_partitioned(&self, table: &str) -> Result<bool, ConnectorError> {
        Ok(table == Table::Products.name())
    }

    async fn get_partitions(
        &self,
        table: &str,
        _options: &Options,
    ) -> Result<Vec<Partition>, ConnectorError> {
        only(Table::Products, table)?;
        let categories = self.categories().await?.into_iter();
        Ok(categories
            .map(|category| Partition::from_iter([("category".to_owned(), category.into())]))
            .collect())
    }

    fn read_partition<'a>(
        &'a self,
        table: &'a str,
        partition: &'a Partition,
        options: &'a Options,
    ) -> PageStream<'a> {
        #[derive(Deserialize)]
        struct Category {
            category: String,
        }
        let pages = only(Table::Products, table)
            .and_then(|()| Ok((part::<Category>(partition)?, TableOptions::read(options)?)))
            .map(|(part, options)| self.read_category(&part.category, options));
        pages.unwrap_or_else(failed)
    }
}

/// Events are read by ranges of their numbers.
#[async_trait]
impl SupportsPartitionedStream for ExampleConnector {
    async fn is_partitioned(&self, table: &str) -> Result<bool, ConnectorError> {
        Ok(table == Table::Events.name())
    }

    async fn latest_offset(
        &self,
        table: &str,
        start: &Offset,
        _options: &Options,
    ) -> Result<Offset, ConnectorError> {
        only(Table::Events, table)?;
        let start = position::<After>(Some(start))?.map_or(0, |offset| offset.after);
        offset(&After { after: self.status().await?.last_event.max(start) })
    }

    async fn get_partitions(
        &self,
        table: &str,
        start: &Offset,
        end: &Offset,
        options: &Options,
    ) -> Result<Vec<Partition>, ConnectorError> {
        only(Table::Events, table)?;
        let after = |offset| Ok::<_, ConnectorError>(position::<After>(Some(offset))?.map_or(0, |o| o.after));
        let (mut start, end) = (after(start)?, after(end)?);
        let rows = TableOptions::read(options)?.rows_per_partition;
        let mut parts = Vec::new();
        while start < end {
            let up_to = end.min(start.saturating_add(rows));
            parts.push(Partition::from_iter([
                ("after".to_owned(), start.into()),
                ("up_to".to_owned(), up_to.into()),
            ]));
            start = up_to;
        }
        Ok(parts)
    }

    fn read_partition<'a>(
        &'a self,
        table: &'a str,
        partition: &'a Partition,
        options: &'a Options,
    ) -> PageStream<'a> {
        let pages = only(Table::Events, table)
            .and_then(|()| Ok((part::<EventRange>(partition)?, TableOptions::read(options)?)))
            .and_then(|(range, options)| self.read_event_range(&range, options));
        pages.unwrap_or_else(failed)
    }
}

#[async_trait]
impl SupportsNamespaces for ExampleConnector {
    async fn list_namespaces(&self, prefix: &[String]) -> Result<Vec<Vec<String>>, ConnectorError> {
        // One level only.
        let names = NAMESPACES.iter().filter(|_| prefix.is_empty());
        Ok(names.map(|(name, _)| vec![(*name).to_owned()]).collect())
    }

    async fn list_tables_in_namespace(&self, namespace: &[String]) -> Result<Vec<String>, ConnectorError> {
        let found = NAMESPACES.iter().find(|(name, _)| *namespace == [*name]);
        let Some((_, tables)) = found else {
            return Err(ConnectorError::UnknownTable {
                table: namespace.join("."),
                available: NAMESPACES.iter().map(|(name, _)| (*name).to_owned()).collect(),
            });
        };
        Ok(tables.iter().map(|table| table.name().to_owned()).collect())
    }
}

/// The options of a table.
#[derive(Clone, Copy)]
struct TableOptions {
    page_size: u64,
    pages_per_read: u64,
    rows_per_partition: u64,
}

impl TableOptions {
    fn read(options: &Options) -> Result<Self, ConnectorError> {
        let number = |name: &str, default: u64, most: u64| match options.get(name) {
            None => Ok(default),
            Some(text) => text.trim().parse().ok().filter(|n| (1..=most).contains(n)).ok_or_else(|| {
                ConnectorError::invalid_option(
                    name,
                    format!("is `{text}`; it must be a number from 1 to {most}"),
                )
            }),
        };
        Ok(Self {
            page_size: number("page_size", 500, 1000)?,
            pages_per_read: number("pages_per_read", 50, 1_000_000)?,
            rows_per_partition: number("rows_per_partition", 10_000, 100_000_000)?,
        })
    }

    fn rows_per_read(self) -> u64 {
        self.page_size.saturating_mul(self.pages_per_read)
    }
}

/// Reads an offset of this connector's; the empty one is `None`.
fn position<T: DeserializeOwned>(offset: Option<&Offset>) -> Result<Option<T>, ConnectorError> {
    match offset {
        None => Ok(None),
        Some(offset) if offset.is_empty() => Ok(None),
        Some(offset) => offset
            .read()
            .map(Some)
            .map_err(|source| ConnectorError::InvalidOffset { offset: offset.as_json().to_owned(), source }),
    }
}

fn offset(position: &impl Serialize) -> Result<Offset, ConnectorError> {
    Offset::from_value(position)
        .map_err(|error| ConnectorError::bug(format!("an offset is no JSON: {error}")))
}

fn end(position: &impl Serialize) -> Result<ReadItem, ConnectorError> {
    offset(position).map(|offset| ReadItem::End(Some(offset)))
}

fn part<T: DeserializeOwned>(partition: &Partition) -> Result<T, ConnectorError> {
    partition
        .read()
        .map_err(|error| ConnectorError::bug(format!("partition {partition} is not one of ours: {error}")))
}

/// Partitions are asked for where there are any only.
fn only(expected: Table, table: &str) -> Result<(), ConnectorError> {
    match Table::find(table)? {
        found if found == expected => Ok(()),
        _ => Err(ConnectorError::bug(format!("table `{table}` is not read in parts"))),
    }
}

fn failed<'a>(error: ConnectorError) -> PageStream<'a> {
    Box::pin(futures::stream::once(async { Err(error) }))
}

fn data() -> JsonPointer {
    JsonPointer::from_iter(["data"])
}

fn next_cursor() -> JsonPointer {
    JsonPointer::from_iter(["next_cursor"])
}
