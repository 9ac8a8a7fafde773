//! A source whose rows change and go: what happened is numbered, and upserts and deletions are read apart.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use headwater_connect::{
    Connector, ConnectorError, ConnectorFactory, DataType, IngestionType, Offset, Options, Page, PageStream,
    ReadItem, StructField, StructType, TableMetadata,
};
use serde_json::{Value, json};

use crate::faults::Faults;
use crate::model_lake::Change;
use crate::source::connector_error;

/// What happened, in order; the place in the list, from 1, is the sequence. Shared by all instances.
#[derive(Debug, Clone)]
pub(crate) struct Ledger {
    pub(crate) events: Arc<Mutex<Vec<Change>>>,
    pub(crate) ingestion_type: IngestionType,
    pub(crate) faults: Faults,
    /// Records that every read of upserts, or of deletions, ends with.
    pub(crate) also: Arc<Mutex<[Vec<Value>; 2]>>,
}

impl Ledger {
    pub(crate) fn new(events: usize) -> Self {
        let ledger = Self {
            events: Arc::default(),
            ingestion_type: IngestionType::CdcWithDeletes,
            faults: Faults::none(),
            also: Arc::default(),
        };
        ledger.grow(events);
        ledger
    }

    /// Lets more happen: keys come and change, and every fourth time one goes, which may come back.
    pub(crate) fn grow(&self, by: usize) {
        let mut events = self.events.lock().unwrap();
        for _ in 0..by {
            let sequence = i64::try_from(events.len()).unwrap() + 1;
            let id = (sequence * 7) % 5;
            let name = (sequence % 4 != 0).then(|| format!("n{sequence}"));
            events.push(Change { id, sequence, name });
        }
    }

    pub(crate) fn events(&self) -> Vec<Change> {
        self.events.lock().unwrap().clone()
    }
}

struct Instance {
    ledger: Ledger,
    events: Vec<Change>,
}

impl Instance {
    fn read(&self, start: Option<&Offset>, deletions: bool) -> PageStream<'static> {
        const PER_READ: usize = 3;
        let at: Value = start.map_or(Value::Null, |offset| offset.read().unwrap());
        let after = at.get("after").and_then(Value::as_i64).unwrap_or(0);
        let of_kind = |change: &&Change| change.name.is_none() == deletions && change.sequence > after;
        let found: Vec<&Change> = self.events.iter().filter(of_kind).take(PER_READ).collect();
        let mut records: Vec<Value> = found.iter().map(|change| record(change)).collect();
        let end = match found.last() {
            Some(last) => Offset::from(json!({"after": last.sequence, "deletions": deletions})),
            None => start.cloned().unwrap_or_else(Offset::empty),
        };
        records.extend(self.ledger.also.lock().unwrap()[usize::from(deletions)].clone());
        let faults = self.ledger.faults.clone();
        let items = [ReadItem::Page(Page::Values(records)), ReadItem::End(Some(end))];
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

fn record(change: &Change) -> Value {
    match &change.name {
        Some(name) => {
            json!({"id": change.id, "name": name, "seq": change.sequence, "at": {"n": change.sequence}})
        }
        // Some sources send more than they need to.
        None => {
            json!({"id": change.id, "name": "gone", "seq": change.sequence, "at": {"n": change.sequence}})
        }
    }
}

#[async_trait]
impl Connector for Instance {
    async fn list_tables(&self) -> Result<Vec<String>, ConnectorError> {
        Ok(vec!["orders".into()])
    }

    async fn get_table_schema(&self, _: &str, _: &Options) -> Result<StructType, ConnectorError> {
        let at = StructType::new([StructField::nullable("n", DataType::Long)]);
        Ok(StructType::new([
            StructField::nullable("id", DataType::Long),
            StructField::required("name", DataType::String),
            StructField::nullable("seq", DataType::Long),
            StructField::nullable("at", DataType::Struct(at)),
        ]))
    }

    async fn read_table_metadata(&self, _: &str, _: &Options) -> Result<TableMetadata, ConnectorError> {
        Ok(TableMetadata {
            primary_keys: vec!["id".into()],
            cursor_field: Some("seq".into()),
            ingestion_type: self.ledger.ingestion_type,
        })
    }

    fn read_table<'a>(&'a self, _: &'a str, start: Option<&'a Offset>, _: &'a Options) -> PageStream<'a> {
        self.read(start, false)
    }

    fn read_table_deletes<'a>(
        &'a self,
        _: &'a str,
        start: Option<&'a Offset>,
        _: &'a Options,
    ) -> PageStream<'a> {
        self.read(start, true)
    }
}

#[async_trait]
impl ConnectorFactory for Ledger {
    fn name(&self) -> &str {
        "ledger"
    }

    fn connector_spec(&self) -> Option<&str> {
        None
    }

    async fn connect(&self, _: &Options) -> Result<Box<dyn Connector>, ConnectorError> {
        Ok(Box::new(Instance { ledger: self.clone(), events: self.events() }))
    }
}
