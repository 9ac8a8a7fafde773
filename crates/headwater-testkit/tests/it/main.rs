//! The suite finds nothing in a sound connector, and each fault in one that has just that fault.

#![allow(clippy::unwrap_used, reason = "a helper of tests, which may")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use futures::StreamExt;
use headwater_connect::{
    Connector, ConnectorError, ConnectorFactory, DataType, IngestionType, Offset, OffsetError, Options, Page,
    PageStream, Partition, ReadItem, StructField, StructType, SupportsNamespaces, SupportsPartition,
    SupportsPartitionedStream, TableMetadata,
};
use headwater_testkit::{Breach, Subject, check};
use serde::Deserialize;
use serde_json::{Value, json};

/// What a scripted connector does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    NamesATableTwice,
    AnswersForUnknownTables,
    NamesAColumnTwice,
    KeyIsNoColumn,
    NoKeys,
    RefusesTheEmptyOffset,
    EndsTwice,
    NeverSettles,
    SnapshotNeverEnds,
    ForgetsRecords,
    RecordDoesNotFit,
    StumblesAfterADrop,
    TakesAnyOffset,
    DeletionWithoutCursor,
    ShowsTheSecret,
    GoesOnAfterADrop,
    PartitionTwice,
    PartLacksARecord,
    NamespaceOfNothing,
}

struct Factory(Fault);

#[async_trait]
impl ConnectorFactory for Factory {
    fn name(&self) -> &str {
        "scripted"
    }

    fn connector_spec(&self) -> Option<&str> {
        None
    }

    async fn connect(&self, _options: &Options) -> Result<Box<dyn Connector>, ConnectorError> {
        Ok(Box::new(Scripted { fault: self.0, reads: Arc::default(), requests: Arc::default() }))
    }
}

struct Scripted {
    fault: Fault,
    reads: Arc<AtomicU64>,
    requests: Arc<AtomicU64>,
}

/// Counts a request when it is dropped, as work that was left running would.
struct Late(Arc<AtomicU64>, bool);

impl Drop for Late {
    fn drop(&mut self) {
        if self.1 {
            let requests = Arc::clone(&self.0);
            tokio::task::JoinSet::new().detach_after(requests);
        }
    }
}

/// Spawns a task that outlives its set.
trait DetachAfter {
    fn detach_after(self, requests: Arc<AtomicU64>);
}

impl DetachAfter for tokio::task::JoinSet<()> {
    fn detach_after(mut self, requests: Arc<AtomicU64>) {
        self.spawn(async move {
            requests.fetch_add(1, Ordering::SeqCst);
        });
        self.detach_all();
    }
}

const TABLES: [&str; 3] = ["changes", "whole", "log"];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct At {
    #[serde(default)]
    page: u64,
}

impl Scripted {
    fn known(&self, table: &str) -> Result<(), ConnectorError> {
        if TABLES.contains(&table) || self.fault == Fault::AnswersForUnknownTables {
            return Ok(());
        }
        let secret = if self.fault == Fault::ShowsTheSecret { "hunter2" } else { "" };
        let available = TABLES.iter().map(|t| (*t).to_owned()).collect();
        Err(ConnectorError::UnknownTable { table: format!("{table}{secret}"), available })
    }

    fn at(&self, start: Option<&Offset>) -> Result<u64, ConnectorError> {
        let Some(start) = start else { return Ok(0) };
        if self.fault == Fault::RefusesTheEmptyOffset && start.is_empty() {
            return Err(ConnectorError::bug("an empty offset"));
        }
        if self.fault == Fault::TakesAnyOffset {
            return Ok(0);
        }
        let invalid =
            |source: OffsetError| ConnectorError::InvalidOffset { offset: start.to_string(), source };
        start.read::<At>().map(|at| at.page).map_err(invalid)
    }

    /// Records of one of three pages.
    fn records(&self, page: u64) -> Vec<Value> {
        if page >= 3 {
            return Vec::new();
        }
        let id =
            |i: u64| if self.fault == Fault::RecordDoesNotFit { json!("x") } else { json!(page * 2 + i) };
        (0..2).map(|i| json!({"id": id(i), "at": page * 2 + i})).collect()
    }

    fn items(&self, table: &str, start: Option<&Offset>) -> Result<Vec<ReadItem>, ConnectorError> {
        self.known(table)?;
        let read = self.reads.fetch_add(1, Ordering::SeqCst);
        let page = self.at(start)?;
        let mut records = self.records(page);
        if self.fault == Fault::ForgetsRecords && read == 0 {
            records.pop();
        }
        let next = match self.fault {
            Fault::NeverSettles if table != "whole" => page + 1,
            Fault::SnapshotNeverEnds if table == "whole" => page + 1,
            _ => (page + 1).min(3),
        };
        let end = Offset::from(json!({"page": next}));
        let mut items = vec![ReadItem::Page(Page::Values(records)), ReadItem::End(Some(end.clone()))];
        if self.fault == Fault::EndsTwice {
            items.push(ReadItem::End(Some(end)));
        }
        Ok(items)
    }
}

fn streamed<'a>(items: Result<Vec<ReadItem>, ConnectorError>) -> PageStream<'a> {
    match items {
        Ok(items) => Box::pin(futures::stream::iter(items).map(Ok)),
        Err(error) => Box::pin(futures::stream::once(async { Err(error) })),
    }
}

#[async_trait]
impl Connector for Scripted {
    async fn list_tables(&self) -> Result<Vec<String>, ConnectorError> {
        let mut tables: Vec<String> = TABLES.iter().map(|t| (*t).to_owned()).collect();
        if self.fault == Fault::NamesATableTwice {
            tables.push("log".to_owned());
        }
        Ok(tables)
    }

    async fn get_table_schema(&self, table: &str, _: &Options) -> Result<StructType, ConnectorError> {
        self.known(table)?;
        let mut fields =
            vec![StructField::required("id", DataType::Long), StructField::nullable("at", DataType::Long)];
        if self.fault == Fault::NamesAColumnTwice {
            fields.push(StructField::nullable("ID", DataType::Long));
        }
        Ok(StructType::new(fields))
    }

    async fn read_table_metadata(&self, table: &str, _: &Options) -> Result<TableMetadata, ConnectorError> {
        self.known(table)?;
        let key = if self.fault == Fault::KeyIsNoColumn { "key" } else { "id" };
        let keys = if self.fault == Fault::NoKeys { vec![] } else { vec![key.to_owned()] };
        let ingestion_type = match table {
            "changes" => IngestionType::CdcWithDeletes,
            "whole" => IngestionType::Snapshot,
            _ => IngestionType::Append,
        };
        Ok(TableMetadata { primary_keys: keys, cursor_field: Some("at".to_owned()), ingestion_type })
    }

    fn read_table<'a>(&'a self, table: &'a str, start: Option<&'a Offset>, _: &'a Options) -> PageStream<'a> {
        let stumbles = self.fault == Fault::StumblesAfterADrop;
        let late = Late(Arc::clone(&self.requests), self.fault == Fault::GoesOnAfterADrop);
        let mut items = self.items(table, start);
        // A read that was broken off leaves the next one without its first page.
        if stumbles
            && self.reads.load(Ordering::SeqCst) > 1
            && let Ok(items) = &mut items
        {
            items.remove(0);
        }
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
        let record = match self.fault {
            Fault::DeletionWithoutCursor => json!({"id": 1}),
            _ => json!({"id": 1, "at": 9}),
        };
        streamed(self.at(start).map(|_| {
            vec![
                ReadItem::Page(Page::Values(vec![record])),
                ReadItem::End(Some(Offset::from(json!({"page": 1})))),
            ]
        }))
    }

    fn requests(&self) -> u64 {
        self.requests.load(Ordering::SeqCst)
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

fn part(page: u64) -> Partition {
    Partition::from_iter([("page".to_owned(), json!(page))])
}

impl Scripted {
    fn read_part<'a>(&'a self, partition: &'a Partition) -> PageStream<'a> {
        let page = partition["page"].as_u64().unwrap_or_default();
        let mut records = self.records(page);
        if self.fault == Fault::PartLacksARecord {
            records.pop();
        }
        streamed(Ok(vec![ReadItem::Page(Page::Values(records)), ReadItem::End(None)]))
    }
}

#[async_trait]
impl SupportsPartition for Scripted {
    async fn is_partitioned(&self, table: &str) -> Result<bool, ConnectorError> {
        Ok(table == "whole")
    }

    async fn get_partitions(&self, _: &str, _: &Options) -> Result<Vec<Partition>, ConnectorError> {
        let twice = (self.fault == Fault::PartitionTwice).then(|| part(0));
        Ok((0..3).map(part).chain(twice).collect())
    }

    fn read_partition<'a>(&'a self, _: &'a str, partition: &'a Partition, _: &'a Options) -> PageStream<'a> {
        self.read_part(partition)
    }
}

#[async_trait]
impl SupportsPartitionedStream for Scripted {
    async fn is_partitioned(&self, table: &str) -> Result<bool, ConnectorError> {
        Ok(table == "log")
    }

    async fn latest_offset(&self, _: &str, _: &Offset, _: &Options) -> Result<Offset, ConnectorError> {
        Ok(Offset::from(json!({"page": 3})))
    }

    async fn get_partitions(
        &self,
        _: &str,
        _: &Offset,
        _: &Offset,
        _: &Options,
    ) -> Result<Vec<Partition>, ConnectorError> {
        Ok((0..3).map(part).collect())
    }

    fn read_partition<'a>(&'a self, _: &'a str, partition: &'a Partition, _: &'a Options) -> PageStream<'a> {
        self.read_part(partition)
    }
}

#[async_trait]
impl SupportsNamespaces for Scripted {
    async fn list_namespaces(&self, _: &[String]) -> Result<Vec<Vec<String>>, ConnectorError> {
        Ok(vec![vec!["shop".to_owned()]])
    }

    async fn list_tables_in_namespace(&self, _: &[String]) -> Result<Vec<String>, ConnectorError> {
        let table = if self.fault == Fault::NamespaceOfNothing { "nothing" } else { "whole" };
        Ok(vec![table.to_owned()])
    }
}

async fn breaches(fault: Fault) -> Vec<Breach> {
    let factory = Factory(fault);
    let mut subject = Subject::new(&factory, Options::from_iter([("token", "hunter2")]));
    subject.secrets = vec!["hunter2".to_owned()];
    subject.max_reads = 20;
    check(&subject).await.unwrap()
}

#[tokio::test]
async fn a_sound_connector_breaks_nothing() {
    assert_eq!(breaches(Fault::None).await, []);
}

#[tokio::test]
async fn each_fault_is_found_under_its_rule() {
    let faults = [
        (1, Fault::NamesATableTwice),
        (2, Fault::AnswersForUnknownTables),
        (3, Fault::NamesAColumnTwice),
        (4, Fault::KeyIsNoColumn),
        (5, Fault::NoKeys),
        (6, Fault::RefusesTheEmptyOffset),
        (7, Fault::EndsTwice),
        (8, Fault::NeverSettles),
        (9, Fault::SnapshotNeverEnds),
        (10, Fault::ForgetsRecords),
        (11, Fault::RecordDoesNotFit),
        (12, Fault::StumblesAfterADrop),
        (13, Fault::TakesAnyOffset),
        (14, Fault::DeletionWithoutCursor),
        (15, Fault::ShowsTheSecret),
        (16, Fault::GoesOnAfterADrop),
        (17, Fault::PartitionTwice),
        (17, Fault::PartLacksARecord),
        (18, Fault::PartLacksARecord),
        (19, Fault::NamespaceOfNothing),
    ];
    for (rule, fault) in faults {
        let found = breaches(fault).await;
        assert!(found.iter().any(|b| b.rule == rule), "{fault:?} should break R{rule}, found {found:?}");
    }
}
