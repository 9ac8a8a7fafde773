//! A source in memory, and a connector to it that can be told to do one thing wrong.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use headwater_connect::{
    Connector, ConnectorError, ConnectorFactory, DataType, IngestionType, Offset, OffsetError, Options, Page,
    PageStream, Partition, Profile, ReadItem, StructField, StructType, SupportsNamespaces, SupportsPartition,
    SupportsPartitionedStream, TableMetadata,
};
use headwater_testkit::{Disturbance, Key, Stage, When, WriteBack, WriteBackError};
use serde::Deserialize;
use serde_json::{Value, json};

pub(crate) const SECRET: &str = "open-sesame";
const TABLES: [&str; 3] = ["changes", "whole", "log"];

/// What the connector does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(
    clippy::enum_variant_names,
    reason = "a connector that names a table twice does so, whatever it is called"
)]
pub(crate) enum Wrong {
    Nothing,
    NamesATableTwice,
    AnswersForUnknownTables,
    NamesAColumnTwice,
    KeyIsNoColumn,
    NoKeys,
    RefusesTheEmptyOffset,
    EndsTwice,
    EndsNever,
    SnapshotNeverEnds,
    GoesRound,
    ForgetsRecords,
    RecordDoesNotFit,
    StumblesAfterADrop,
    TakesAnyOffset,
    DeletionWithoutCursor,
    ShowsTheSecret,
    LogsTheSecret,
    LeavesWorkBehind,
    PartitionTwice,
    PartLacksARecord,
    StreamPartLacksARecord,
    NamespaceOfNothing,
    KeyIsNull,
    KeyTwice,
    CursorIsNull,
    CursorGoesBack,
    OffsetAsText,
    ChasesNewData,
    ColumnIsEmpty,
    NeedsNoToken,
    HidesWhatIsMissing,
    HidesWhatIsWrong,
    TakesAFaultForTheEnd,
    GivesUpOnAFault,
    IgnoresTheBatch,
    LosesRecordsOfABatch,
    MissesNewRecords,
    MissesChanges,
    KeepsDeletionsBack,
}

/// The source: rows with a number and the time of their last change, and what was deleted.
pub(crate) struct Source {
    rows: Mutex<Vec<(u64, u64)>>,
    gone: Mutex<Vec<(u64, u64)>>,
    now: AtomicU64,
    requests: AtomicU64,
    disturbance: Mutex<Option<(Disturbance, When)>>,
    ahead: AtomicBool,
}

impl Source {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            rows: Mutex::new((1..=12).map(|n| (n, n)).collect()),
            gone: Mutex::new(vec![(100, 5)]),
            now: AtomicU64::new(20),
            requests: AtomicU64::default(),
            disturbance: Mutex::default(),
            ahead: AtomicBool::default(),
        })
    }

    pub(crate) fn rows(&self) -> Vec<(u64, u64)> {
        self.rows.lock().unwrap().clone()
    }

    fn tick(&self) -> u64 {
        self.now.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// A request: fails where the source is disturbed.
    fn ask(&self) -> Result<(), Disturbance> {
        let number = self.requests.fetch_add(1, Ordering::SeqCst) + 1;
        match *self.disturbance.lock().unwrap() {
            Some((disturbance, When::Request(at))) if at == number => Err(disturbance),
            Some((disturbance, When::Percent(share))) if number.is_multiple_of(100 / u64::from(share)) => {
                Err(disturbance)
            }
            _ => Ok(()),
        }
    }
}

impl Stage for Source {
    fn disturb(&self, disturbance: Disturbance, when: When) {
        *self.disturbance.lock().unwrap() = Some((disturbance, when));
        self.requests.store(0, Ordering::SeqCst);
    }

    fn calm(&self) {
        *self.disturbance.lock().unwrap() = None;
        self.requests.store(0, Ordering::SeqCst);
    }

    fn grow_ahead(&self, on: bool) -> bool {
        self.ahead.store(on, Ordering::SeqCst);
        true
    }

    fn requests(&self) -> u64 {
        self.requests.load(Ordering::SeqCst)
    }
}

/// Changes the source; can be told to leave its records behind.
pub(crate) struct Clerk(pub(crate) Arc<Source>);

fn number(key: &Key) -> u64 {
    key["id"].as_u64().unwrap()
}

#[async_trait]
impl WriteBack for Clerk {
    async fn tables(&self) -> Result<Vec<String>, WriteBackError> {
        Ok(TABLES.iter().map(|table| (*table).to_owned()).collect())
    }

    async fn insert(&self, _: &str) -> Result<Key, WriteBackError> {
        let at = self.0.tick();
        self.0.rows.lock().unwrap().push((at, at));
        Ok(Key::from_iter([("id".to_owned(), json!(at))]))
    }

    async fn update(&self, table: &str, key: &Key) -> Result<(), WriteBackError> {
        if table == "log" {
            return Err(WriteBackError::Unsupported);
        }
        let at = self.0.tick();
        let mut rows = self.0.rows.lock().unwrap();
        rows.retain(|(id, _)| *id != number(key));
        rows.push((number(key), at));
        Ok(())
    }

    async fn delete(&self, _: &str, key: &Key) -> Result<(), WriteBackError> {
        let at = self.0.tick();
        let mut rows = self.0.rows.lock().unwrap();
        if !rows.iter().any(|(id, _)| *id == number(key)) {
            return Err(WriteBackError::failed("it is gone already"));
        }
        rows.retain(|(id, _)| *id != number(key));
        self.0.gone.lock().unwrap().push((number(key), at));
        Ok(())
    }
}

pub(crate) struct Factory {
    pub(crate) wrong: Wrong,
    pub(crate) source: Arc<Source>,
    pub(crate) profile: Profile,
}

#[async_trait]
impl ConnectorFactory for Factory {
    fn name(&self) -> &str {
        "shelf"
    }

    fn connector_spec(&self) -> Option<&str> {
        Some(
            "connection:\n  parameters:\n    - {name: token, type: secret, required: true}\n    - {name: size, type: integer}\nexternal_options_allowlist: max_records_per_batch\n",
        )
    }

    fn profile(&self) -> Profile {
        self.profile
    }

    async fn connect(&self, options: &Options) -> Result<Box<dyn Connector>, ConnectorError> {
        let wrong = self.wrong;
        let number = |name: &str| match options.get(name).map(str::parse::<usize>) {
            None => Ok(None),
            Some(Ok(number)) => Ok(Some(number)),
            Some(Err(_)) if wrong == Wrong::HidesWhatIsWrong => {
                Err(ConnectorError::bug("something is wrong"))
            }
            Some(Err(_)) => Err(ConnectorError::invalid_option(name, "is no number")),
        };
        if options.get("token").is_none() && wrong != Wrong::NeedsNoToken {
            let name = if wrong == Wrong::HidesWhatIsMissing { "something" } else { "token" };
            return Err(ConnectorError::MissingOption { name: name.into(), hint: String::new() });
        }
        let batch = number("max_records_per_batch")?.filter(|_| wrong != Wrong::IgnoresTheBatch);
        let instance = Instance {
            wrong,
            source: Arc::clone(&self.source),
            size: batch.or(number("size")?).unwrap_or(4),
            batched: batch.is_some(),
            now: self.source.now.load(Ordering::SeqCst),
            token: options.get("token").unwrap_or_default().to_owned(),
            reads: AtomicU64::default(),
            late_requests: Arc::default(),
        };
        Ok(Box::new(instance))
    }
}

struct Instance {
    wrong: Wrong,
    source: Arc<Source>,
    size: usize,
    batched: bool,
    /// Up to where this instance reads.
    now: u64,
    token: String,
    reads: AtomicU64,
    late_requests: Arc<AtomicU64>,
}

/// Counts a request when it is dropped, as work that was left running would.
struct Late(Arc<AtomicU64>);

impl Drop for Late {
    fn drop(&mut self) {
        let requests = Arc::clone(&self.0);
        let mut left_behind = tokio::task::JoinSet::new();
        left_behind.spawn(async move { requests.fetch_add(1, Ordering::SeqCst) });
        left_behind.detach_all();
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct At {
    #[serde(default)]
    after: u64,
    #[serde(default)]
    turn: u64,
}

/// Written by hand, so that a connector that compares texts knows its own.
fn offset(after: u64, turn: u64) -> Offset {
    Offset::from_json(&format!(r#"{{"after":{after},"turn":{turn}}}"#)).unwrap()
}

impl Instance {
    fn known(&self, table: &str) -> Result<(), ConnectorError> {
        if TABLES.contains(&table) || self.wrong == Wrong::AnswersForUnknownTables {
            return Ok(());
        }
        if self.wrong == Wrong::LogsTheSecret {
            tracing::info!(header = %format!("Bearer {}", self.token), "asking");
        }
        let secret = if self.wrong == Wrong::ShowsTheSecret { self.token.as_str() } else { "" };
        let available = TABLES.iter().map(|t| (*t).to_owned()).collect();
        Err(ConnectorError::UnknownTable { table: format!("{table}{secret}"), available })
    }

    fn at(&self, start: Option<&Offset>) -> Result<At, ConnectorError> {
        let Some(start) = start else { return Ok(At { after: 0, turn: 0 }) };
        if self.wrong == Wrong::RefusesTheEmptyOffset && start.is_empty() {
            return Err(ConnectorError::bug("an empty offset"));
        }
        let read = start.read::<At>();
        let as_text = !start.as_json().starts_with(r#"{"after":"#);
        if self.wrong == Wrong::OffsetAsText && !start.is_empty() && read.is_ok() && as_text {
            return Err(ConnectorError::bug("an offset that starts in another way"));
        }
        if self.wrong == Wrong::TakesAnyOffset {
            return Ok(read.unwrap_or(At { after: 0, turn: 0 }));
        }
        let invalid =
            |source: OffsetError| ConnectorError::InvalidOffset { offset: start.to_string(), source };
        read.map_err(invalid)
    }

    fn record(&self, table: &str, (id, at): (u64, u64)) -> Value {
        let shown = match self.wrong {
            Wrong::RecordDoesNotFit if id == 2 => json!("x"),
            Wrong::KeyTwice if id == 2 => json!(1),
            _ => json!(id),
        };
        let mut record = json!({"id": shown, "at": at, "kind": "book"});
        match self.wrong {
            Wrong::KeyIsNull if id == 2 => record["id"] = Value::Null,
            Wrong::CursorIsNull if id == 2 => record["at"] = Value::Null,
            // The state of the first row comes once more, as it never was before.
            Wrong::CursorGoesBack if table == "changes" && id == 9 => {
                record = json!({"id": 1, "at": 0, "kind": "old"})
            }
            Wrong::ColumnIsEmpty => record["kind"] = Value::Null,
            _ => {}
        }
        record
    }

    /// The rows that changed after a time, in the order of their changes.
    fn rows(&self, after: u64) -> Vec<(u64, u64)> {
        let mut rows = self.source.rows();
        rows.sort_by_key(|(_, at)| *at);
        let chases = self.wrong == Wrong::ChasesNewData && self.source.ahead.load(Ordering::SeqCst);
        if chases {
            let at = self.source.tick() + 1_000;
            rows.push((at, at));
        }
        rows.retain(|(id, at)| {
            let new = *id > 12 && *at == *id;
            let changed = *id > 12 && *at > *id;
            *at > after
                && (*at <= self.now || chases)
                && !(new && self.wrong == Wrong::MissesNewRecords)
                && !(changed && self.wrong == Wrong::MissesChanges)
        });
        rows
    }

    fn items(&self, table: &str, start: Option<&Offset>) -> Result<Vec<ReadItem>, ConnectorError> {
        self.known(table)?;
        let reads = self.reads.fetch_add(1, Ordering::SeqCst);
        let At { after, turn } = self.at(start)?;
        if let Err(disturbance) = self.source.ask() {
            return self.disturbed(disturbance, start);
        }
        let mut rows = self.rows(after);
        rows.truncate(self.size);
        let reached = rows.last().map_or(after, |(_, at)| *at);
        let mut records: Vec<Value> = rows.iter().map(|row| self.record(table, *row)).collect();
        let forgets = self.wrong == Wrong::ForgetsRecords && reads == 0
            || self.wrong == Wrong::LosesRecordsOfABatch && self.batched;
        if forgets {
            records.pop();
        }
        let snapshot = table == "whole";
        let next = match self.wrong {
            Wrong::EndsNever if !snapshot => offset(reached, turn + 1),
            Wrong::SnapshotNeverEnds if snapshot => offset(reached, turn + 1),
            Wrong::GoesRound if !snapshot && rows.is_empty() => offset(4, 0),
            _ => offset(reached, turn),
        };
        let end =
            if after == reached && start.is_some_and(Offset::is_empty) { Offset::empty() } else { next };
        let mut items = Vec::new();
        if !records.is_empty() {
            items.push(ReadItem::Page(Page::Values(records)));
        }
        items.push(ReadItem::End(Some(end.clone())));
        if self.wrong == Wrong::EndsTwice {
            items.push(ReadItem::End(Some(end)));
        }
        Ok(items)
    }

    fn disturbed(
        &self,
        disturbance: Disturbance,
        start: Option<&Offset>,
    ) -> Result<Vec<ReadItem>, ConnectorError> {
        let source = disturbance.as_str().into();
        match self.wrong {
            Wrong::TakesAFaultForTheEnd if disturbance == Disturbance::Truncated => {
                Ok(vec![ReadItem::End(start.cloned())])
            }
            Wrong::GivesUpOnAFault => Err(ConnectorError::Rejected { source }),
            _ if disturbance == Disturbance::TooManyRequests => {
                Err(ConnectorError::RateLimited { retry_after: Some(Duration::ZERO), source })
            }
            _ => Err(ConnectorError::Unavailable { source }),
        }
    }

    fn read_part<'a>(&'a self, partition: &'a Partition, stream: bool) -> PageStream<'a> {
        let odd = partition.read::<HashMap<String, bool>>().is_ok_and(|part| part["odd"]);
        let rows = self.rows(0).into_iter().filter(|(id, _)| (id % 2 == 1) == odd);
        let mut records: Vec<Value> = rows.map(|row| self.record("", row)).collect();
        let lacks = if stream { Wrong::StreamPartLacksARecord } else { Wrong::PartLacksARecord };
        if self.wrong == lacks {
            records.pop();
        }
        streamed(Ok(vec![ReadItem::Page(Page::Values(records)), ReadItem::End(None)]))
    }
}

fn streamed<'a>(items: Result<Vec<ReadItem>, ConnectorError>) -> PageStream<'a> {
    match items {
        Ok(items) => Box::pin(futures::stream::iter(items).map(Ok)),
        Err(error) => Box::pin(futures::stream::once(async { Err(error) })),
    }
}

#[async_trait]
impl Connector for Instance {
    async fn list_tables(&self) -> Result<Vec<String>, ConnectorError> {
        let mut tables: Vec<String> = TABLES.iter().map(|t| (*t).to_owned()).collect();
        if self.wrong == Wrong::NamesATableTwice {
            tables.push("log".to_owned());
        }
        Ok(tables)
    }

    async fn get_table_schema(&self, table: &str, _: &Options) -> Result<StructType, ConnectorError> {
        self.known(table)?;
        let mut fields =
            vec![StructField::nullable("id", DataType::Long), StructField::nullable("at", DataType::Long)];
        fields.push(StructField::nullable("kind", DataType::String));
        if self.wrong == Wrong::NamesAColumnTwice {
            fields.push(StructField::nullable("ID", DataType::Long));
        }
        Ok(StructType::new(fields))
    }

    async fn read_table_metadata(&self, table: &str, _: &Options) -> Result<TableMetadata, ConnectorError> {
        self.known(table)?;
        let key = if self.wrong == Wrong::KeyIsNoColumn { "key" } else { "id" };
        let keys = if self.wrong == Wrong::NoKeys { vec![] } else { vec![key.to_owned()] };
        let ingestion_type = match table {
            "changes" => IngestionType::CdcWithDeletes,
            "whole" => IngestionType::Snapshot,
            _ => IngestionType::Append,
        };
        Ok(TableMetadata { primary_keys: keys, cursor_field: Some("at".to_owned()), ingestion_type })
    }

    fn read_table<'a>(&'a self, table: &'a str, start: Option<&'a Offset>, _: &'a Options) -> PageStream<'a> {
        let mut items = self.items(table, start);
        // A read that was broken off leaves the next one without its first page.
        if self.wrong == Wrong::StumblesAfterADrop
            && self.reads.load(Ordering::SeqCst) > 1
            && start.is_none_or(Offset::is_empty)
            && let Ok(items) = &mut items
        {
            items.remove(0);
        }
        let goes_on = self.wrong == Wrong::LeavesWorkBehind;
        let late = goes_on.then(|| Late(Arc::clone(&self.late_requests)));
        Box::pin(streamed(items).map(move |item| {
            let _held_as_long_as_the_stream = &late;
            item
        }))
    }

    fn read_table_deletes<'a>(
        &'a self,
        _: &'a str,
        start: Option<&'a Offset>,
        _: &'a Options,
    ) -> PageStream<'a> {
        let read = self.at(start).map(|At { after, turn }| {
            let mut gone = self.source.gone.lock().unwrap().clone();
            gone.retain(|(id, at)| *at > after && (self.wrong != Wrong::KeepsDeletionsBack || *id == 100));
            let reached = gone.last().map_or(after, |(_, at)| *at);
            let record = |(id, at): &(u64, u64)| match self.wrong {
                Wrong::DeletionWithoutCursor => json!({"id": id}),
                _ => json!({"id": id, "at": at}),
            };
            let records = gone.iter().map(record).collect();
            vec![ReadItem::Page(Page::Values(records)), ReadItem::End(Some(offset(reached, turn)))]
        });
        streamed(read)
    }

    fn requests(&self) -> u64 {
        self.late_requests.load(Ordering::SeqCst)
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

fn part(odd: bool) -> Partition {
    Partition::from_iter([("odd".to_owned(), json!(odd))])
}

#[async_trait]
impl SupportsPartition for Instance {
    async fn is_partitioned(&self, table: &str) -> Result<bool, ConnectorError> {
        Ok(table == "whole")
    }

    async fn get_partitions(&self, _: &str, _: &Options) -> Result<Vec<Partition>, ConnectorError> {
        let twice = (self.wrong == Wrong::PartitionTwice).then(|| part(true));
        Ok([part(true), part(false)].into_iter().chain(twice).collect())
    }

    fn read_partition<'a>(&'a self, _: &'a str, partition: &'a Partition, _: &'a Options) -> PageStream<'a> {
        self.read_part(partition, false)
    }
}

#[async_trait]
impl SupportsPartitionedStream for Instance {
    async fn is_partitioned(&self, table: &str) -> Result<bool, ConnectorError> {
        Ok(table == "log")
    }

    async fn latest_offset(&self, _: &str, _: &Offset, _: &Options) -> Result<Offset, ConnectorError> {
        Ok(offset(self.rows(0).last().map_or(0, |(_, at)| *at), 0))
    }

    async fn get_partitions(
        &self,
        _: &str,
        _: &Offset,
        _: &Offset,
        _: &Options,
    ) -> Result<Vec<Partition>, ConnectorError> {
        Ok(vec![part(true), part(false)])
    }

    fn read_partition<'a>(&'a self, _: &'a str, partition: &'a Partition, _: &'a Options) -> PageStream<'a> {
        self.read_part(partition, true)
    }
}

#[async_trait]
impl SupportsNamespaces for Instance {
    async fn list_namespaces(&self, _: &[String]) -> Result<Vec<Vec<String>>, ConnectorError> {
        Ok(vec![vec!["shop".to_owned()]])
    }

    async fn list_tables_in_namespace(&self, _: &[String]) -> Result<Vec<String>, ConnectorError> {
        let table = if self.wrong == Wrong::NamespaceOfNothing { "nothing" } else { "whole" };
        Ok(vec![table.to_owned()])
    }
}
