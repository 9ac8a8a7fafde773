//! Reads tables to their end, by the rules of the contract.

use std::collections::BTreeMap;

use futures::StreamExt;
use headwater_connect::{
    Connector, ConnectorError, ConnectorFactory, JsonPointer, Offset, Options, Page, PageStream, ReadItem,
};
use headwater_source_example::{ExampleFactory, ExampleOptions, ExampleServer};
use serde_json::Value;

pub(crate) fn shop(options: ExampleOptions) -> ExampleServer {
    ExampleServer::start(options).unwrap()
}

/// An instance as an engine makes one for each table of each update.
pub(crate) async fn connect(server: &ExampleServer, options: &[(&str, &str)]) -> Box<dyn Connector> {
    let mut all: Options = options.iter().copied().collect();
    all.set("base_url", server.base_url());
    ExampleFactory::new().connect(&all).await.unwrap()
}

pub(crate) fn options(pairs: &[(&str, &str)]) -> Options {
    pairs.iter().copied().collect()
}

/// The rows of a page, as they came.
pub(crate) fn rows(page: Page) -> Vec<Value> {
    match page {
        Page::Json { body, records } => {
            let raw = JsonPointer::find(&records, &body).unwrap().unwrap();
            match serde_json::from_slice(raw).unwrap() {
                Value::Array(rows) => rows,
                row => vec![row],
            }
        }
        Page::JsonLines(lines) => serde_json::Deserializer::from_slice(&lines)
            .into_iter::<Value>()
            .map(|row| row.unwrap())
            .collect(),
        Page::Values(rows) => rows,
        Page::Arrow(_) => panic!("the example has no Arrow pages"),
    }
}

/// The rows of one read and its end. The end comes once, and last (R7).
pub(crate) async fn read(mut stream: PageStream<'_>) -> Result<(Vec<Value>, Option<Offset>), ConnectorError> {
    let mut all = Vec::new();
    while let Some(item) = stream.next().await {
        match item? {
            ReadItem::Page(page) => all.extend(rows(page)),
            ReadItem::End(end) => {
                assert!(stream.next().await.is_none(), "something follows the end");
                return Ok((all, end));
            }
        }
    }
    panic!("the read has no end");
}

/// What one update reads of a stream: the rows of each read, with the offset at which it began.
pub(crate) struct Drained {
    pub(crate) reads: Vec<(Offset, Vec<Value>)>,
    pub(crate) end: Offset,
}

impl Drained {
    pub(crate) fn rows(&self) -> Vec<Value> {
        self.reads.iter().flat_map(|(_, rows)| rows.clone()).collect()
    }
}

/// Reads a stream from `start` until its end offset is the one it was given (R8).
pub(crate) async fn drain(
    start: Offset,
    read_from: impl AsyncFn(Offset) -> Result<(Vec<Value>, Option<Offset>), ConnectorError>,
) -> Result<Drained, ConnectorError> {
    let mut reads = Vec::new();
    let mut at = start;
    for _ in 0..10_000 {
        let (rows, end) = read_from(at.clone()).await?;
        let end = end.expect("a stream has an end offset");
        reads.push((at.clone(), rows));
        if end == at {
            return Ok(Drained { reads, end });
        }
        at = end;
    }
    panic!("the stream does not end");
}

pub(crate) async fn drain_table(
    connector: &dyn Connector,
    table: &str,
    start: Offset,
    options: &Options,
) -> Result<Drained, ConnectorError> {
    drain(start, async |at: Offset| read(connector.read_table(table, Some(&at), options)).await).await
}

pub(crate) async fn drain_deletes(
    connector: &dyn Connector,
    table: &str,
    start: Offset,
    options: &Options,
) -> Result<Drained, ConnectorError> {
    drain(start, async |at: Offset| read(connector.read_table_deletes(table, Some(&at), options)).await).await
}

/// The current rows of a table by key, as upserts and deletions leave them, whatever their order.
#[derive(Default)]
pub(crate) struct Replica {
    rows: BTreeMap<String, Value>,
    deleted: BTreeMap<String, String>,
}

impl Replica {
    pub(crate) fn upsert(&mut self, rows: impl IntoIterator<Item = Value>, keys: &[&str], cursor: &str) {
        for row in rows {
            let key = key(&row, keys);
            match self.rows.get(&key) {
                Some(old) if after(&old[cursor], &row[cursor]) => {}
                _ => {
                    self.rows.insert(key, row);
                }
            }
        }
    }

    pub(crate) fn delete(&mut self, rows: impl IntoIterator<Item = Value>, keys: &[&str], cursor: &str) {
        for row in rows {
            self.deleted.insert(key(&row, keys), row[cursor].as_str().unwrap().to_owned());
        }
    }

    /// The rows that are left. An order never comes back after its deletion.
    pub(crate) fn current(&self) -> Vec<Value> {
        let live = self.rows.iter().filter(|(key, _)| !self.deleted.contains_key(*key));
        sorted(live.map(|(_, row)| row.clone()))
    }
}

fn after(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::String(left), Value::String(right)) => left > right,
        _ => left.as_u64() > right.as_u64(),
    }
}

fn key(row: &Value, keys: &[&str]) -> String {
    keys.iter().map(|key| row[key].to_string()).collect::<Vec<_>>().join("|")
}

/// Rows in an order of their own, to be compared as sets with repetitions.
pub(crate) fn sorted(rows: impl IntoIterator<Item = Value>) -> Vec<Value> {
    let mut rows: Vec<Value> = rows.into_iter().collect();
    rows.sort_by_cached_key(Value::to_string);
    rows
}

/// Compares two sets of rows; says which rows differ rather than printing all of them.
pub(crate) fn assert_same(found: &[Value], expected: &[Value], what: &str) {
    let (found, expected) = (sorted(found.to_vec()), sorted(expected.to_vec()));
    if found != expected {
        let lost: Vec<_> = expected.iter().filter(|row| !found.contains(row)).take(3).collect();
        let extra: Vec<_> = found.iter().filter(|row| !expected.contains(row)).take(3).collect();
        panic!(
            "{what}: {} rows found, {} expected; lost {lost:?}; not in the source {extra:?}",
            found.len(),
            expected.len()
        );
    }
}
