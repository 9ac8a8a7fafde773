use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use headwater_connect::protocol::{Abilities, Call};
use headwater_connect::{
    AgentOperation, AgentParameter, Connector, ConnectorError, ConnectorFactory, DataType, IngestionType,
    Offset, Options, Page, PageStream, Partition, Profile, ReadItem, StructField, StructType, SupportsAgent,
    SupportsNamespaces, SupportsPartition, SupportsPartitionedStream, TableMetadata,
};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::pool::{Home, Lease, Pool};
use crate::worker::Incoming;

/// The option of a connection that says how long a request may take without a record or its end. It is Headwater's,
/// and not passed on.
const CALL_TIMEOUT: &str = "call_timeout";

/// Makes instances of a connector that runs in worker processes.
#[derive(Debug)]
pub(crate) struct WorkerConnectorFactory {
    pub(crate) pool: Arc<Pool>,
    pub(crate) spec: Option<String>,
    pub(crate) profile: Profile,
    pub(crate) call_timeout: Duration,
    pub(crate) parallel_parts: usize,
}

#[async_trait]
impl ConnectorFactory for WorkerConnectorFactory {
    fn name(&self) -> &str {
        &self.pool.connector
    }

    fn connector_spec(&self) -> Option<&str> {
        self.spec.as_deref()
    }

    fn profile(&self) -> Profile {
        self.profile
    }

    async fn connect(&self, options: &Options) -> Result<Box<dyn Connector>, ConnectorError> {
        let call_timeout = match options.get(CALL_TIMEOUT) {
            Some(text) => duration(text).ok_or_else(|| {
                ConnectorError::invalid_option(
                    CALL_TIMEOUT,
                    "is not a length of time, such as `90s`, `15m` or `1h`",
                )
            })?,
            None => self.call_timeout,
        };
        let own = options.iter().filter(|(name, _)| !name.eq_ignore_ascii_case(CALL_TIMEOUT));
        let home = Home::new(Arc::clone(&self.pool), own.collect(), call_timeout, self.parallel_parts);
        let home = Arc::new(home);
        let (lease, abilities) = home.lease(false).await?;
        // The worker waits for the first call.
        drop(lease);
        Ok(Box::new(WorkerConnector { home, abilities, text_columns: Mutex::default() }))
    }
}

/// Reads `90`, `90s`, `15m` or `1h`.
fn duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    let (number, unit) = match text.find(|c: char| !c.is_ascii_digit()) {
        Some(at) => text.split_at(at),
        None => (text, "s"),
    };
    let seconds = match unit.trim() {
        "s" => 1,
        "m" | "min" => 60,
        "h" => 3_600,
        _ => return None,
    };
    let seconds = number.parse::<u64>().ok()?.checked_mul(seconds)?;
    (1..=7 * 24 * 3_600).contains(&seconds).then_some(Duration::from_secs(seconds))
}

/// An instance: one worker, and more while several parts are read.
#[derive(Debug)]
struct WorkerConnector {
    home: Arc<Home>,
    abilities: Abilities,
    /// By table: the top-level columns of the last schema that take text. Each worker that reads is told.
    text_columns: Mutex<HashMap<String, Vec<String>>>,
}

impl WorkerConnector {
    /// Asks something of a worker that is not busy, and waits for the first thing in answer. A worker that has
    /// answered before may have died since: then another one is asked.
    async fn begin(&self, call: &Call) -> Result<(Lease, Incoming), ConnectorError> {
        let (mut lease, _) = self.home.lease(false).await?;
        let reused = lease.reused;
        match Self::ask(&mut lease, call).await {
            Ok(first) => Ok((lease, first)),
            Err(ConnectorError::WorkerDied { .. }) if reused => {
                drop(lease);
                self.home.count_retry();
                tracing::warn!(call = call.name(), "a worker died and is replaced");
                let (mut lease, _) = self.home.lease(true).await?;
                let first = Self::ask(&mut lease, call).await?;
                Ok((lease, first))
            }
            Err(error) => Err(error),
        }
    }

    async fn ask(lease: &mut Lease, call: &Call) -> Result<Incoming, ConnectorError> {
        lease.send(call.clone()).await?;
        lease.next().await
    }

    async fn call<T: DeserializeOwned>(&self, call: Call) -> Result<T, ConnectorError> {
        let (mut lease, first) = self.begin(&call).await?;
        match first {
            Incoming::Result(result) => lease.parse(call.name(), &result),
            Incoming::Records { .. } | Incoming::End(_) => {
                Err(ConnectorError::bug(format!("records in answer to `{}`", call.name())))
            }
        }
    }

    fn read(&self, call: Call) -> PageStream<'_> {
        Box::pin(async_stream::try_stream! {
            let is_part = matches!(call, Call::ReadPartition { .. });
            let permit = if is_part { self.home.part_permit().await } else { None };
            let (mut lease, mut next) = self.begin(&call).await?;
            loop {
                match next {
                    Incoming::Records { records: 0, .. } => {}
                    Incoming::Records { body, .. } => yield ReadItem::Page(Page::json_array(body)),
                    Incoming::End(end) => {
                        // The worker is free before the caller goes on.
                        drop(lease);
                        drop(permit);
                        yield ReadItem::End(end);
                        break;
                    }
                    Incoming::Result(_) => {
                        Err(ConnectorError::bug(format!("a result in answer to `{}`", call.name())))?;
                    }
                }
                next = lease.next().await?;
            }
        })
    }

    fn read_part<'a>(
        &'a self,
        table: &str,
        partition: &Partition,
        options: &Options,
        stream: bool,
    ) -> PageStream<'a> {
        let (partition, text_columns) = (partition.clone(), self.text_columns(table));
        let (table, options) = (table.to_owned(), options.clone());
        self.read(Call::ReadPartition { table, partition, options, stream, text_columns })
    }

    fn text_columns(&self, table: &str) -> Vec<String> {
        let known = self.text_columns.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(table).cloned().unwrap_or_default()
    }

    async fn ask_partitioned(&self, table: &str, stream: bool) -> Result<bool, ConnectorError> {
        self.call(Call::IsPartitioned { table: table.to_owned(), stream }).await
    }
}

fn raw(value: &impl serde::Serialize) -> Result<Box<RawValue>, ConnectorError> {
    serde_json::value::to_raw_value(value)
        .map_err(|error| ConnectorError::bug(format!("an argument is not JSON: {error}")))
}

/// Metadata as connectors write it: keys may be one name or nothing, a cursor nothing or empty.
#[derive(Deserialize)]
struct Metadata {
    #[serde(default)]
    primary_keys: Option<Names>,
    #[serde(default)]
    cursor_field: Option<String>,
    #[serde(default)]
    ingestion_type: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Names {
    One(String),
    Several(Vec<String>),
}

impl Metadata {
    fn checked(self, table: &str) -> Result<TableMetadata, ConnectorError> {
        let named = self.ingestion_type.as_deref().unwrap_or("nothing");
        let ingestion_type =
            IngestionType::ALL.into_iter().find(|kind| kind.as_str() == named).ok_or_else(|| {
                let known = IngestionType::ALL.map(IngestionType::as_str).join(", ");
                ConnectorError::bug(format!(
                    "the ingestion type of table `{table}` is `{named}`, and has to be one of {known}"
                ))
            })?;
        let primary_keys = match self.primary_keys {
            None => Vec::new(),
            Some(Names::One(name)) => vec![name],
            Some(Names::Several(names)) => names,
        };
        let cursor_field = self.cursor_field.filter(|name| !name.is_empty());
        Ok(TableMetadata { primary_keys, cursor_field, ingestion_type })
    }
}

#[async_trait]
impl Connector for WorkerConnector {
    async fn list_tables(&self) -> Result<Vec<String>, ConnectorError> {
        self.call(Call::ListTables).await
    }

    async fn get_table_schema(&self, table: &str, options: &Options) -> Result<StructType, ConnectorError> {
        let call = Call::GetTableSchema { table: table.to_owned(), options: options.clone() };
        let json: Value = self.call(call).await?;
        let schema = StructType::from_json(&json)
            .map_err(|error| ConnectorError::bug(format!("the schema of table `{table}`: {error}")))?;
        let takes_text = |field: &&StructField| {
            matches!(field.data_type, DataType::String | DataType::Char(_) | DataType::Varchar(_))
        };
        let names = schema.fields.iter().filter(takes_text).map(|field| field.name.clone()).collect();
        self.text_columns.lock().unwrap_or_else(PoisonError::into_inner).insert(table.to_owned(), names);
        Ok(schema)
    }

    async fn read_table_metadata(
        &self,
        table: &str,
        options: &Options,
    ) -> Result<TableMetadata, ConnectorError> {
        let call = Call::ReadTableMetadata { table: table.to_owned(), options: options.clone() };
        self.call::<Metadata>(call).await?.checked(table)
    }

    fn read_table<'a>(
        &'a self,
        table: &'a str,
        start: Option<&'a Offset>,
        options: &'a Options,
    ) -> PageStream<'a> {
        let text_columns = self.text_columns(table);
        let (table, start, options) = (table.to_owned(), start.cloned(), options.clone());
        self.read(Call::ReadTable { table, start, options, text_columns })
    }

    fn read_table_deletes<'a>(
        &'a self,
        table: &'a str,
        start: Option<&'a Offset>,
        options: &'a Options,
    ) -> PageStream<'a> {
        let text_columns = self.text_columns(table);
        let (table, start, options) = (table.to_owned(), start.cloned(), options.clone());
        self.read(Call::ReadTableDeletes { table, start, options, text_columns })
    }

    async fn test_connection(&self) -> Result<(), ConnectorError> {
        self.call::<Value>(Call::TestConnection).await.map(|_| ())
    }

    fn requests(&self) -> u64 {
        self.home.requests()
    }

    fn retries(&self) -> u64 {
        self.home.retries()
    }

    fn partitions(&self) -> Option<&dyn SupportsPartition> {
        if self.abilities.partition { Some(self) } else { None }
    }

    fn partitioned_stream(&self) -> Option<&dyn SupportsPartitionedStream> {
        if self.abilities.partitioned_stream { Some(self) } else { None }
    }

    fn namespaces(&self) -> Option<&dyn SupportsNamespaces> {
        if self.abilities.namespaces { Some(self) } else { None }
    }

    fn agent(&self) -> Option<&dyn SupportsAgent> {
        if self.abilities.agent { Some(self) } else { None }
    }

    fn memory_bytes(&self) -> u64 {
        self.home.memory_bytes()
    }
}

#[async_trait]
impl SupportsPartition for WorkerConnector {
    async fn is_partitioned(&self, table: &str) -> Result<bool, ConnectorError> {
        self.ask_partitioned(table, false).await
    }

    async fn get_partitions(&self, table: &str, options: &Options) -> Result<Vec<Partition>, ConnectorError> {
        let (table, options) = (table.to_owned(), options.clone());
        self.call(Call::GetPartitions { table, options, start: None, end: None }).await
    }

    fn read_partition<'a>(
        &'a self,
        table: &'a str,
        partition: &'a Partition,
        options: &'a Options,
    ) -> PageStream<'a> {
        self.read_part(table, partition, options, false)
    }
}

#[async_trait]
impl SupportsPartitionedStream for WorkerConnector {
    async fn is_partitioned(&self, table: &str) -> Result<bool, ConnectorError> {
        self.ask_partitioned(table, true).await
    }

    async fn latest_offset(
        &self,
        table: &str,
        start: &Offset,
        options: &Options,
    ) -> Result<Offset, ConnectorError> {
        let (table, start, options) = (table.to_owned(), start.clone(), options.clone());
        self.call(Call::LatestOffset { table, start, options }).await
    }

    async fn get_partitions(
        &self,
        table: &str,
        start: &Offset,
        end: &Offset,
        options: &Options,
    ) -> Result<Vec<Partition>, ConnectorError> {
        let (table, options) = (table.to_owned(), options.clone());
        let (start, end) = (Some(start.clone()), Some(end.clone()));
        self.call(Call::GetPartitions { table, options, start, end }).await
    }

    fn read_partition<'a>(
        &'a self,
        table: &'a str,
        partition: &'a Partition,
        options: &'a Options,
    ) -> PageStream<'a> {
        self.read_part(table, partition, options, true)
    }
}

#[async_trait]
impl SupportsNamespaces for WorkerConnector {
    async fn list_namespaces(&self, prefix: &[String]) -> Result<Vec<Vec<String>>, ConnectorError> {
        self.call(Call::ListNamespaces { prefix: prefix.to_vec() }).await
    }

    async fn list_tables_in_namespace(&self, namespace: &[String]) -> Result<Vec<String>, ConnectorError> {
        self.call(Call::ListTablesInNamespace { namespace: namespace.to_vec() }).await
    }
}

/// An operation as it crosses the border, under its name.
#[derive(Deserialize)]
struct Operation {
    #[serde(default)]
    description: Option<String>,
    #[serde(default)]
    parameters: Option<Vec<AgentParameter>>,
}

#[async_trait]
impl SupportsAgent for WorkerConnector {
    async fn agent_operations(&self) -> Result<Vec<AgentOperation>, ConnectorError> {
        let operations: BTreeMap<String, Operation> = self.call(Call::AgentOperations).await?;
        let listed = operations.into_iter().map(|(name, operation)| AgentOperation {
            name,
            description: operation.description.unwrap_or_default(),
            parameters: operation.parameters.unwrap_or_default(),
        });
        Ok(listed.collect())
    }

    async fn run_operation(
        &self,
        operation: &str,
        arguments: &Map<String, Value>,
    ) -> Result<Value, ConnectorError> {
        let arguments = raw(arguments)?;
        self.call(Call::Agent { operation: operation.to_owned(), arguments }).await
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Metadata, duration};

    #[test]
    fn lengths_of_time_are_read() {
        assert_eq!(duration("90"), Some(Duration::from_secs(90)));
        assert_eq!(duration(" 15m "), Some(Duration::from_secs(900)));
        assert_eq!(duration("1 h"), Some(Duration::from_secs(3_600)));
        for text in ["", "0", "-1", "1d", "9999999999999999999h", "soon", "999999h"] {
            assert_eq!(duration(text), None, "{text}");
        }
    }

    #[test]
    fn metadata_is_taken_as_connectors_write_it() {
        let read = |text: &str| serde_json::from_str::<Metadata>(text).unwrap().checked("t");
        let metadata =
            read(r#"{"primary_keys":"id","cursor_field":"","ingestion_type":"cdc","x":1}"#).unwrap();
        assert_eq!((metadata.primary_keys, metadata.cursor_field), (vec!["id".to_owned()], None));
        let metadata =
            read(r#"{"primary_keys":null,"cursor_field":null,"ingestion_type":"append"}"#).unwrap();
        assert!(metadata.primary_keys.is_empty());
        for text in [r"{}", r#"{"ingestion_type":"CDC"}"#] {
            assert!(read(text).unwrap_err().to_string().contains("has to be one of snapshot, cdc"), "{text}");
        }
    }
}
