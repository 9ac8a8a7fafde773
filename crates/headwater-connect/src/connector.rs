use async_trait::async_trait;

use crate::{ConnectorError, Offset, Options, PageStream, Partition, Profile, StructType, TableMetadata};

/// Reads one source for one table during one update.
///
/// The engine makes a new instance for each table of each update, so an instance may fix "now" when it is
/// built, and hold on to sessions and caches. Table options reach both the constructor (merged over the
/// connection's, with `tableName`) and each call.
///
/// # Rules
///
/// * **R1** `list_tables` names every table that the other methods accept; no name twice.
/// * **R2** A table that the source does not have is [`ConnectorError::UnknownTable`], never an empty result.
/// * **R3** A schema has at least one field and no two fields whose names are equal without regard to case.
/// * **R4** Primary keys and cursor field name top-level columns of the schema.
/// * **R5** `cdc` and `cdc_with_deletes` tables name primary keys and a cursor field.
/// * **R6** A stream starts at the empty offset `{}`; a snapshot starts at `None`.
/// * **R7** A read yields pages, then [`ReadItem::End`](crate::ReadItem::End) exactly once, last.
/// * **R8** A stream ends when the end offset equals the start offset as a value. Rows of that read count.
/// * **R9** A snapshot ends when the end offset is `None`, `{}` or the one that it was given.
/// * **R10** Reading again from the same offset gives at least the records that it gave before and that the
///   source still has; the engine relies on it after a failure.
/// * **R11** A connector does not convert: records hold the source's own JSON values.
/// * **R12** A failed read leaves the instance able to read again from any earlier offset.
/// * **R13** An offset that the connector did not make is [`ConnectorError::InvalidOffset`], not a read from the start.
/// * **R14** `read_table_deletes` has an offset of its own, from `{}`. Its records hold at least the primary keys and
///   the cursor field; the schema of the table holds for them.
/// * **R15** Errors say whether a retry helps and who must act, and contain no secret.
/// * **R16** Dropping a [`PageStream`] or a future ends its work promptly and leaves nothing running.
/// * **R20** Records hold their primary keys. In a snapshot no two have the same; in a stream two that have the same
///   keys, and the same cursor where it is `cdc`, are equal.
/// * **R21** The records of a stream with a cursor field hold it, all of one kind, and a later read gives no earlier
///   state of a record that was not given before.
/// * **R22** An offset means the same when it comes back from JSON with its members in another order.
/// * **R23** An update ends although the source goes on: what is new while it runs belongs to the next one.
/// * **R24** Each column, and each field of a struct, is filled by some record of a source that holds all there is.
/// * **R26** A read survives what passes (a status 429 or 500, a connection that is reset, a body that breaks off), or
///   fails with an error that may be retried. It never takes a broken answer for the end.
/// * **R27** Where there is a table option `max_records_per_batch`, a read of a stream gives no more records than that,
///   but for those that share the last value of the cursor; the records of all reads are the same.
/// * **R28** What is created in the source after a read, the read from its end offset gives.
/// * **R29** What is changed in the source after a read, the read from its end offset gives (`append` tables aside).
/// * **R30** What is deleted in the source is missing from the next snapshot, or told by `read_table_deletes`.
#[async_trait]
pub trait Connector: Send + Sync {
    /// Names the tables of the source. Rules R1, R15.
    async fn list_tables(&self) -> Result<Vec<String>, ConnectorError>;

    /// Gives the schema of `table`. Rules R2, R3.
    async fn get_table_schema(&self, table: &str, options: &Options) -> Result<StructType, ConnectorError>;

    /// Gives keys, cursor and ingestion type of `table`. Rules R2, R4, R5.
    async fn read_table_metadata(
        &self,
        table: &str,
        options: &Options,
    ) -> Result<TableMetadata, ConnectorError>;

    /// Reads the records of `table` from `start`. Rules R2, R6 to R13, R16, R20 to R29.
    fn read_table<'a>(
        &'a self,
        table: &'a str,
        start: Option<&'a Offset>,
        options: &'a Options,
    ) -> PageStream<'a>;

    /// Reads the deletions of `table` from `start`. Called for `cdc_with_deletes` tables only. Rules R14, R30.
    fn read_table_deletes<'a>(
        &'a self,
        table: &'a str,
        start: Option<&'a Offset>,
        options: &'a Options,
    ) -> PageStream<'a> {
        let _ = (start, options);
        let error =
            ConnectorError::bug(format!("table `{table}` is `cdc_with_deletes`, but deletions are not read"));
        Box::pin(futures::stream::once(async move { Err(error) }))
    }

    /// Tries the connection as cheaply as the source allows.
    async fn test_connection(&self) -> Result<(), ConnectorError> {
        self.list_tables().await.map(|_| ())
    }

    /// Counts the requests that this instance has sent to the source so far, repeated ones included.
    fn requests(&self) -> u64 {
        0
    }

    /// Counts the calls that this instance has made again without a word to its caller, because a process of its own
    /// had died.
    fn retries(&self) -> u64 {
        0
    }

    /// Partitioned batch reads, where the connector can.
    fn partitions(&self) -> Option<&dyn SupportsPartition> {
        None
    }

    /// Partitioned streaming reads, where the connector can.
    fn partitioned_stream(&self) -> Option<&dyn SupportsPartitionedStream> {
        None
    }

    /// Namespaces, where the source has them.
    fn namespaces(&self) -> Option<&dyn SupportsNamespaces> {
        None
    }

    /// Operations of its own for agents, where the connector has any.
    fn agent(&self) -> Option<&dyn SupportsAgent> {
        None
    }

    /// Bytes that the instance holds outside this process, such as the memory of a worker.
    fn memory_bytes(&self) -> u64 {
        0
    }
}

/// Reads the snapshot of a table in parts that may be read at the same time.
///
/// * **R17** The parts together hold every record once. Each may be read by another instance, in any order, again.
#[async_trait]
pub trait SupportsPartition: Send + Sync {
    /// Says whether `table` is read in parts; a table that is not is read by `read_table`.
    async fn is_partitioned(&self, table: &str) -> Result<bool, ConnectorError>;

    /// Names the parts. Rule R17.
    async fn get_partitions(&self, table: &str, options: &Options) -> Result<Vec<Partition>, ConnectorError>;

    /// Reads one part. The stream ends with `End(None)`.
    fn read_partition<'a>(
        &'a self,
        table: &'a str,
        partition: &'a Partition,
        options: &'a Options,
    ) -> PageStream<'a>;
}

/// Reads the stream of a table in parts that may be read at the same time.
///
/// * **R18** The parts between two offsets hold what `read_table` would give between them. The end offset
///   counts when all parts have been read.
#[async_trait]
pub trait SupportsPartitionedStream: Send + Sync {
    /// Says whether `table` is read in parts; a table that is not is read by `read_table`.
    async fn is_partitioned(&self, table: &str) -> Result<bool, ConnectorError>;

    /// Gives the offset that the source has reached. Equal to `start` when there is nothing new.
    async fn latest_offset(
        &self,
        table: &str,
        start: &Offset,
        options: &Options,
    ) -> Result<Offset, ConnectorError>;

    /// Names the parts between `start` (exclusive) and `end` (inclusive). Rule R18.
    async fn get_partitions(
        &self,
        table: &str,
        start: &Offset,
        end: &Offset,
        options: &Options,
    ) -> Result<Vec<Partition>, ConnectorError>;

    /// Reads one part. The stream ends with `End(None)`.
    fn read_partition<'a>(
        &'a self,
        table: &'a str,
        partition: &'a Partition,
        options: &'a Options,
    ) -> PageStream<'a>;
}

/// Walks a source whose tables live in namespaces (databases, sites, organisations).
///
/// * **R19** A listed namespace has its tables listed; their names are accepted by the other methods.
#[async_trait]
pub trait SupportsNamespaces: Send + Sync {
    /// Lists the namespaces one level below `prefix` (the top where it is empty).
    async fn list_namespaces(&self, prefix: &[String]) -> Result<Vec<Vec<String>>, ConnectorError>;

    /// Lists the tables of `namespace`. Rule R19.
    async fn list_tables_in_namespace(&self, namespace: &[String]) -> Result<Vec<String>, ConnectorError>;
}

/// Operations of a connector's own that an agent may call, beside those that every connector has.
#[async_trait]
pub trait SupportsAgent: Send + Sync {
    /// Describes the operations.
    async fn agent_operations(&self) -> Result<Vec<AgentOperation>, ConnectorError>;

    /// Runs one of them.
    async fn run_operation(
        &self,
        operation: &str,
        arguments: &serde_json::Map<String, serde_json::Value>,
    ) -> Result<serde_json::Value, ConnectorError>;
}

/// What an agent may ask a connector to do.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct AgentOperation {
    /// The name to call it by.
    pub name: String,
    /// What it does, in a sentence or two.
    #[serde(default)]
    pub description: String,
    /// What it takes.
    #[serde(default)]
    pub parameters: Vec<AgentParameter>,
}

/// A named argument of an operation.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct AgentParameter {
    /// Its name.
    pub name: String,
    /// Its type, in the words of JSON Schema.
    #[serde(rename = "type", default)]
    pub kind: String,
    /// What it means.
    #[serde(default)]
    pub description: String,
    /// Whether the operation cannot do without it.
    #[serde(default)]
    pub required: bool,
}

/// Makes instances of one kind of connector.
#[async_trait]
pub trait ConnectorFactory: Send + Sync {
    /// The name that connections use, such as `mediawiki`.
    fn name(&self) -> &str;

    /// The text of the connector's `connector_spec.yaml`, where it has one.
    fn connector_spec(&self) -> Option<&str>;

    /// How the connector's values become text.
    fn profile(&self) -> Profile {
        Profile::default()
    }

    /// Builds an instance from the connection's options (with a table's merged over them, and `tableName`,
    /// where it is for a table).
    ///
    /// * **R25** An option that is missing or wrong is refused here, at the latest by the first read, and the error
    ///   names it. What the spec calls required is.
    ///
    /// # Errors
    /// An option that is missing or not valid, or a connector that cannot be started. A connector in Rust makes no
    /// request here; one in Python may, in its constructor.
    async fn connect(&self, options: &Options) -> Result<Box<dyn Connector>, ConnectorError>;
}
