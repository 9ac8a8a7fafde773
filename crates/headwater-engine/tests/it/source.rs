//! Connectors for tests: one that serves a growing list of records in every style of the contract, and one that
//! plays a script.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use futures::StreamExt;
use headwater_connect::{
    Connector, ConnectorError, ConnectorFactory, DataType, IngestionType, Offset, Options, Page, PageStream,
    Partition, ReadItem, StructField, StructType, SupportsNamespaces, SupportsPartition,
    SupportsPartitionedStream, TableMetadata,
};
use serde_json::{Value, json};

use crate::faults::{Fault, Faults};

/// How a source reads and names its offsets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// `{"at": 3}`, and the last read is empty.
    Plain,
    /// `{"at": 3.0}` and `{"at": 3}` by turns, members in changing order.
    Floats,
    /// `{"token": "3"}`, and `{"token": null}` when there is no more.
    NullToken,
    /// The last read gives its rows with the offset that it was given.
    RowsOnLastCall,
    /// Parts that are read at the same time.
    Parts,
}

/// What the source holds and how it serves it. Shared by all instances.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    pub(crate) records: Arc<Mutex<u64>>,
    pub(crate) style: Style,
    pub(crate) ingestion_type: IngestionType,
    pub(crate) records_per_read: u64,
    pub(crate) records_per_page: u64,
    pub(crate) faults: Faults,
    pub(crate) tables: Vec<String>,
    /// Every so many records one has an id that is no number.
    pub(crate) bad_every: Option<u64>,
}

impl Source {
    pub(crate) fn new(ingestion_type: IngestionType, style: Style, records: u64) -> Self {
        Self {
            records: Arc::new(Mutex::new(records)),
            style,
            ingestion_type,
            records_per_read: 5,
            records_per_page: 2,
            faults: Faults::none(),
            tables: vec!["orders".into()],
            bad_every: None,
        }
    }

    pub(crate) fn grow(&self, by: u64) {
        *self.records.lock().unwrap() += by;
    }

    pub(crate) fn count(&self) -> u64 {
        *self.records.lock().unwrap()
    }

    fn offset(&self, at: u64, end: u64) -> Offset {
        match self.style {
            Style::Floats if at.is_multiple_of(2) => {
                Offset::from_json(&format!(r#"{{"x": null, "at": {at}.0}}"#)).unwrap()
            }
            Style::Floats => Offset::from_json(&format!(r#"{{"at": {at}, "x": null}}"#)).unwrap(),
            Style::NullToken if at == end && !self.ingestion_type.is_stream() => {
                Offset::from(json!({"token": null, "end": at}))
            }
            Style::NullToken => Offset::from(json!({"token": null, "at": at})),
            _ => Offset::from(json!({"at": at})),
        }
    }

    fn position(offset: Option<&Offset>) -> u64 {
        let value: Value = offset.map_or(Value::Null, |offset| offset.read().unwrap());
        let Some(at) = value.get("at").or_else(|| value.get("end")) else { return 0 };
        at.as_u64().unwrap_or_else(|| at.as_f64().unwrap().to_string().parse().unwrap())
    }

    fn pages(&self, from: u64, to: u64) -> Vec<Page> {
        let numbers: Vec<u64> = (from..to).collect();
        let per_page = usize::try_from(self.records_per_page).unwrap();
        let page = |(index, ids): (usize, &[u64])| {
            let records: Vec<Value> = ids.iter().map(|id| self.record(*id)).collect();
            match index % 3 {
                0 => Page::json_array(serde_json::to_vec(&records).unwrap()),
                1 => Page::Values(records),
                _ => Page::JsonLines(
                    records
                        .iter()
                        .map(|record| format!("{record}\n"))
                        .collect::<String>()
                        .into_bytes()
                        .into(),
                ),
            }
        };
        numbers.chunks(per_page).enumerate().map(page).collect()
    }

    fn record(&self, id: u64) -> Value {
        let is_bad = self.bad_every.is_some_and(|every| id % every == every - 1);
        let id = if is_bad { json!("bad") } else { json!(id) };
        json!({"id": id, "name": "n"})
    }

    fn stream(&self, items: Vec<ReadItem>) -> PageStream<'static> {
        let faults = self.faults.clone();
        Box::pin(async_stream::stream! {
            for item in items {
                if let Some(fault) = faults.step("item").await {
                    yield Err(connector_error(fault));
                    return;
                }
                yield Ok(item);
            }
        })
    }
}

pub(crate) fn connector_error(fault: Fault) -> ConnectorError {
    match fault {
        Fault::Fatal => ConnectorError::Forbidden { source: "injected".into() },
        _ => ConnectorError::Unavailable { source: "injected".into() },
    }
}

/// One instance: the end of the source is fixed when it is made.
struct Instance {
    source: Source,
    end: u64,
}

pub(crate) fn schema() -> StructType {
    StructType::new([
        StructField::required("id", DataType::Long),
        StructField::nullable("name", DataType::String),
    ])
}

#[async_trait]
impl Connector for Instance {
    async fn list_tables(&self) -> Result<Vec<String>, ConnectorError> {
        match self.source.faults.step("list").await {
            Some(fault) => Err(connector_error(fault)),
            None => Ok(self.source.tables.clone()),
        }
    }

    async fn get_table_schema(&self, table: &str, _: &Options) -> Result<StructType, ConnectorError> {
        if !self.source.tables.iter().any(|known| known == table) {
            return Err(ConnectorError::UnknownTable {
                table: table.to_owned(),
                available: self.source.tables.clone(),
            });
        }
        match self.source.faults.step("schema").await {
            Some(fault) => Err(connector_error(fault)),
            None => Ok(schema()),
        }
    }

    async fn read_table_metadata(&self, _: &str, _: &Options) -> Result<TableMetadata, ConnectorError> {
        Ok(TableMetadata {
            primary_keys: vec!["id".into()],
            cursor_field: Some("id".into()),
            ingestion_type: self.source.ingestion_type,
        })
    }

    fn read_table<'a>(&'a self, _: &'a str, start: Option<&'a Offset>, _: &'a Options) -> PageStream<'a> {
        let (source, end) = (&self.source, self.end);
        let from = Source::position(start);
        let to = (from + source.records_per_read).min(end);
        let mut items: Vec<ReadItem> = source.pages(from, to).into_iter().map(ReadItem::Page).collect();
        let is_last = source.style == Style::RowsOnLastCall && to == end;
        let next = match start {
            Some(start) if is_last || (from == to && source.ingestion_type.is_stream()) => {
                Some(start.clone())
            }
            None if to == end => None,
            _ if !source.ingestion_type.is_stream() && from == to => Some(Offset::empty()),
            _ => Some(source.offset(to, end)),
        };
        items.push(ReadItem::End(next));
        source.stream(items)
    }

    fn requests(&self) -> u64 {
        7
    }

    fn partitions(&self) -> Option<&dyn SupportsPartition> {
        (self.source.style == Style::Parts).then_some(self)
    }

    fn partitioned_stream(&self) -> Option<&dyn SupportsPartitionedStream> {
        (self.source.style == Style::Parts).then_some(self)
    }

    fn namespaces(&self) -> Option<&dyn SupportsNamespaces> {
        Some(self)
    }
}

impl Instance {
    fn parts(&self, from: u64, to: u64) -> Vec<Partition> {
        let starts: Vec<u64> = (from..to).step_by(3).collect();
        let part =
            |start: &u64| Partition::from_value(&json!({"from": start, "to": (start + 3).min(to)})).unwrap();
        starts.iter().map(part).collect()
    }

    fn part(&self, partition: &Partition) -> PageStream<'static> {
        let bounds: HashMap<String, u64> = partition.read().unwrap();
        let bound = |name: &str| bounds[name];
        let mut items: Vec<ReadItem> =
            self.source.pages(bound("from"), bound("to")).into_iter().map(ReadItem::Page).collect();
        items.push(ReadItem::End(None));
        self.source.stream(items)
    }
}

#[async_trait]
impl SupportsPartition for Instance {
    async fn is_partitioned(&self, _: &str) -> Result<bool, ConnectorError> {
        Ok(true)
    }

    async fn get_partitions(&self, _: &str, _: &Options) -> Result<Vec<Partition>, ConnectorError> {
        match self.source.faults.step("parts").await {
            Some(fault) => Err(connector_error(fault)),
            None => Ok(self.parts(0, self.end)),
        }
    }

    fn read_partition<'a>(&'a self, _: &'a str, part: &'a Partition, _: &'a Options) -> PageStream<'a> {
        self.part(part)
    }
}

#[async_trait]
impl SupportsPartitionedStream for Instance {
    async fn is_partitioned(&self, _: &str) -> Result<bool, ConnectorError> {
        Ok(true)
    }

    async fn latest_offset(&self, _: &str, start: &Offset, _: &Options) -> Result<Offset, ConnectorError> {
        if let Some(fault) = self.source.faults.step("latest").await {
            return Err(connector_error(fault));
        }
        let from = Source::position(Some(start));
        let to = (from + self.source.records_per_read).min(self.end);
        Ok(if from == to { start.clone() } else { self.source.offset(to, self.end) })
    }

    async fn get_partitions(
        &self,
        _: &str,
        start: &Offset,
        end: &Offset,
        _: &Options,
    ) -> Result<Vec<Partition>, ConnectorError> {
        Ok(self.parts(Source::position(Some(start)), Source::position(Some(end))))
    }

    fn read_partition<'a>(&'a self, _: &'a str, part: &'a Partition, _: &'a Options) -> PageStream<'a> {
        self.part(part)
    }
}

#[async_trait]
impl SupportsNamespaces for Instance {
    async fn list_namespaces(&self, prefix: &[String]) -> Result<Vec<Vec<String>>, ConnectorError> {
        Ok(match prefix {
            [] => vec![vec!["shop".into()]],
            [shop] if shop == "shop" => vec![vec!["shop".into(), "eu".into()]],
            _ => Vec::new(),
        })
    }

    async fn list_tables_in_namespace(&self, namespace: &[String]) -> Result<Vec<String>, ConnectorError> {
        Ok(self
            .source
            .tables
            .iter()
            .filter(|table| namespace.first().is_some_and(|first| first == "shop") || table.is_empty())
            .cloned()
            .collect())
    }
}

#[async_trait]
impl ConnectorFactory for Source {
    fn name(&self) -> &str {
        "model"
    }

    fn connector_spec(&self) -> Option<&str> {
        None
    }

    async fn connect(&self, _: &Options) -> Result<Box<dyn Connector>, ConnectorError> {
        Ok(Box::new(Instance { source: self.clone(), end: self.count() }))
    }
}

/// The items of one read.
type Items = Vec<Result<ReadItem, ConnectorError>>;

/// Plays one list of items per read, in order, and remembers from where it was asked to read.
#[derive(Clone)]
pub(crate) struct Script {
    pub(crate) metadata: TableMetadata,
    pub(crate) schema: StructType,
    reads: Arc<Mutex<VecDeque<Items>>>,
    pub(crate) starts: Arc<Mutex<Vec<Option<String>>>>,
    pub(crate) options: Arc<Mutex<Vec<(String, String)>>>,
    pub(crate) instances: Arc<Mutex<u32>>,
}

impl Script {
    pub(crate) fn new(ingestion_type: IngestionType, reads: impl IntoIterator<Item = Items>) -> Self {
        Self {
            metadata: TableMetadata { primary_keys: vec!["id".into()], cursor_field: None, ingestion_type },
            schema: schema(),
            reads: Arc::new(Mutex::new(reads.into_iter().collect())),
            starts: Arc::default(),
            options: Arc::default(),
            instances: Arc::default(),
        }
    }

    pub(crate) fn starts(&self) -> Vec<Option<String>> {
        self.starts.lock().unwrap().clone()
    }
}

/// A page with records of these ids.
pub(crate) fn page(ids: impl IntoIterator<Item = i64>) -> Result<ReadItem, ConnectorError> {
    let records: Vec<Value> = ids.into_iter().map(|id| json!({"id": id, "name": null})).collect();
    Ok(ReadItem::Page(Page::json_array(serde_json::to_vec(&records).unwrap())))
}

/// The end of a read, at an offset given as JSON.
pub(crate) fn end(offset: &str) -> Result<ReadItem, ConnectorError> {
    Ok(ReadItem::End(Some(Offset::from_json(offset).unwrap())))
}

#[async_trait]
impl Connector for Script {
    async fn list_tables(&self) -> Result<Vec<String>, ConnectorError> {
        Ok(vec!["orders".into()])
    }

    async fn get_table_schema(&self, _: &str, _: &Options) -> Result<StructType, ConnectorError> {
        Ok(self.schema.clone())
    }

    async fn read_table_metadata(&self, _: &str, _: &Options) -> Result<TableMetadata, ConnectorError> {
        Ok(self.metadata.clone())
    }

    fn read_table<'a>(
        &'a self,
        _: &'a str,
        start: Option<&'a Offset>,
        options: &'a Options,
    ) -> PageStream<'a> {
        self.starts.lock().unwrap().push(start.map(|start| start.as_json().to_owned()));
        let given = options.iter().map(|(name, value)| (format!("call:{name}"), value.to_owned()));
        self.options.lock().unwrap().extend(given);
        let items = self.reads.lock().unwrap().pop_front().expect("a read more than the script has");
        futures::stream::iter(items).boxed()
    }
}

#[async_trait]
impl ConnectorFactory for Script {
    fn name(&self) -> &str {
        "script"
    }

    fn connector_spec(&self) -> Option<&str> {
        None
    }

    async fn connect(&self, options: &Options) -> Result<Box<dyn Connector>, ConnectorError> {
        *self.instances.lock().unwrap() += 1;
        let given = options.iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
        self.options.lock().unwrap().extend(given);
        Ok(Box::new(self.clone()))
    }
}
