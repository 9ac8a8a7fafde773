use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::ser::{SerializeMap, Serializer};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use super::{FrameError, checked_line, present};
use crate::{Offset, Options, Partition};

/// What Headwater asks of a worker.
#[derive(Debug, Clone)]
pub struct Request {
    /// The request's own number.
    pub id: u64,
    /// What is asked.
    pub call: Call,
}

/// The calls of the protocol.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "the members are those of the protocol's page")]
pub enum Call {
    /// The handshake.
    Hello { protocols: Vec<u32>, headwater: String },
    /// The text of the connector's spec.
    Spec,
    /// A new instance.
    Open { options: Options, secrets: Vec<String>, table: Option<String> },
    /// Tries the connection.
    TestConnection,
    /// Names of the tables.
    ListTables,
    /// Schema of a table.
    GetTableSchema { table: String, options: Options },
    /// Keys, cursor and ingestion type.
    ReadTableMetadata { table: String, options: Options },
    /// Records since an offset. `text_columns` names the top-level columns of the schema that take text.
    ReadTable { table: String, start: Option<Offset>, options: Options, text_columns: Vec<String> },
    /// Deletions since an offset.
    ReadTableDeletes { table: String, start: Option<Offset>, options: Options, text_columns: Vec<String> },
    /// Whether a table is read in parts, as a stream or as a batch.
    IsPartitioned { table: String, stream: bool },
    /// The offset that the source has reached.
    LatestOffset { table: String, start: Offset, options: Options },
    /// The parts of a table, or of what lies between two offsets.
    GetPartitions { table: String, options: Options, start: Option<Offset>, end: Option<Offset> },
    /// Records of one part.
    ReadPartition {
        table: String,
        partition: Partition,
        options: Options,
        stream: bool,
        text_columns: Vec<String>,
    },
    /// Namespaces one level below another.
    ListNamespaces { prefix: Vec<String> },
    /// Tables of a namespace.
    ListTablesInNamespace { namespace: Vec<String> },
    /// What an agent may ask.
    AgentOperations,
    /// One thing that an agent asks, with a JSON object.
    Agent { operation: String, arguments: Box<RawValue> },
    /// A call that this version does not know; only read, never sent.
    Unknown { call: String },
}

impl Call {
    /// The name that stands in the message.
    pub fn name(&self) -> &str {
        match self {
            Call::Hello { .. } => "hello",
            Call::Spec => "spec",
            Call::Open { .. } => "open",
            Call::TestConnection => "test_connection",
            Call::ListTables => "list_tables",
            Call::GetTableSchema { .. } => "get_table_schema",
            Call::ReadTableMetadata { .. } => "read_table_metadata",
            Call::ReadTable { .. } => "read_table",
            Call::ReadTableDeletes { .. } => "read_table_deletes",
            Call::IsPartitioned { .. } => "is_partitioned",
            Call::LatestOffset { .. } => "latest_offset",
            Call::GetPartitions { .. } => "get_partitions",
            Call::ReadPartition { .. } => "read_partition",
            Call::ListNamespaces { .. } => "list_namespaces",
            Call::ListTablesInNamespace { .. } => "list_tables_in_namespace",
            Call::AgentOperations => "agent_operations",
            Call::Agent { .. } => "agent",
            Call::Unknown { call } => call,
        }
    }

    /// The table that it is about.
    pub fn table(&self) -> Option<&str> {
        match self {
            Call::GetTableSchema { table, .. }
            | Call::ReadTableMetadata { table, .. }
            | Call::ReadTable { table, .. }
            | Call::ReadTableDeletes { table, .. }
            | Call::IsPartitioned { table, .. }
            | Call::LatestOffset { table, .. }
            | Call::GetPartitions { table, .. }
            | Call::ReadPartition { table, .. } => Some(table),
            _ => None,
        }
    }

    /// The offset that it starts at.
    pub fn start(&self) -> Option<&Offset> {
        match self {
            Call::ReadTable { start, .. }
            | Call::ReadTableDeletes { start, .. }
            | Call::GetPartitions { start, .. } => start.as_ref(),
            Call::LatestOffset { start, .. } => Some(start),
            _ => None,
        }
    }

    /// Says whether records are the answer.
    pub fn is_read(&self) -> bool {
        matches!(self, Call::ReadTable { .. } | Call::ReadTableDeletes { .. } | Call::ReadPartition { .. })
    }
}

impl Request {
    /// The line, with its line break.
    ///
    /// # Errors
    /// Something in it does not serialise, which an offset or an option cannot do.
    pub fn to_line(&self) -> Result<Vec<u8>, serde_json::Error> {
        let mut line = serde_json::to_vec(self)?;
        line.push(b'\n');
        Ok(line)
    }

    /// Reads a line.
    ///
    /// # Errors
    /// It is not a request.
    pub fn parse(line: &[u8]) -> Result<Self, FrameError> {
        let text = checked_line(line)?;
        let refuse = |reason: String| FrameError::not_a_message(line, reason);
        let wire: Wire = serde_json::from_str(text).map_err(|e| refuse(e.to_string()))?;
        let id = wire.id;
        let call = wire.into_call().map_err(|member| refuse(format!("`{member}` is missing")))?;
        Ok(Request { id, call })
    }
}

impl Serialize for Request {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("id", &self.id)?;
        map.serialize_entry("call", self.call.name())?;
        if let Some(table) = self.call.table() {
            map.serialize_entry("table", table)?;
        }
        match &self.call {
            Call::Hello { protocols, headwater } => {
                map.serialize_entry("protocols", protocols)?;
                map.serialize_entry("headwater", headwater)?;
            }
            Call::Open { options, secrets, table } => {
                map.serialize_entry("options", &Texts(options))?;
                map.serialize_entry("secrets", secrets)?;
                map.serialize_entry("table", table)?;
            }
            Call::GetTableSchema { options, .. } | Call::ReadTableMetadata { options, .. } => {
                map.serialize_entry("options", &Texts(options))?;
            }
            Call::ReadTable { start, options, text_columns, .. }
            | Call::ReadTableDeletes { start, options, text_columns, .. } => {
                map.serialize_entry("start", start)?;
                map.serialize_entry("options", &Texts(options))?;
                if !text_columns.is_empty() {
                    map.serialize_entry("text_columns", text_columns)?;
                }
            }
            Call::LatestOffset { start, options, .. } => {
                map.serialize_entry("start", start)?;
                map.serialize_entry("options", &Texts(options))?;
            }
            Call::GetPartitions { options, start, end, .. } => {
                map.serialize_entry("options", &Texts(options))?;
                map.serialize_entry("start", start)?;
                map.serialize_entry("end", end)?;
            }
            Call::IsPartitioned { stream, .. } => map.serialize_entry("stream", stream)?,
            Call::ReadPartition { partition, options, stream, text_columns, .. } => {
                map.serialize_entry("partition", partition)?;
                map.serialize_entry("options", &Texts(options))?;
                map.serialize_entry("stream", stream)?;
                if !text_columns.is_empty() {
                    map.serialize_entry("text_columns", text_columns)?;
                }
            }
            Call::ListNamespaces { prefix } => map.serialize_entry("prefix", prefix)?,
            Call::ListTablesInNamespace { namespace } => map.serialize_entry("namespace", namespace)?,
            Call::Agent { operation, arguments } => {
                map.serialize_entry("operation", operation)?;
                map.serialize_entry("arguments", arguments)?;
            }
            Call::Spec
            | Call::TestConnection
            | Call::ListTables
            | Call::AgentOperations
            | Call::Unknown { .. } => {}
        }
        map.end()
    }
}

/// Options as an object of texts. The one place where they leave the process.
struct Texts<'a>(&'a Options);

impl Serialize for Texts<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter())
    }
}

/// Options as they are read.
#[derive(Default)]
struct ReadOptions(Options);

impl<'de> Deserialize<'de> for ReadOptions {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Options;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of texts")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Options, A::Error> {
                let mut options = Options::new();
                while let Some((name, value)) = map.next_entry::<String, String>()? {
                    options.set(name, value);
                }
                Ok(options)
            }
        }
        deserializer.deserialize_map(Entries).map(ReadOptions)
    }
}

/// Every member that a request may have.
#[derive(Deserialize)]
struct Wire {
    id: u64,
    call: String,
    protocols: Option<Vec<u32>>,
    headwater: Option<String>,
    options: Option<ReadOptions>,
    secrets: Option<Vec<String>>,
    table: Option<String>,
    #[serde(default, deserialize_with = "present")]
    start: Option<Option<Offset>>,
    #[serde(default, deserialize_with = "present")]
    end: Option<Option<Offset>>,
    partition: Option<Box<RawValue>>,
    stream: Option<bool>,
    prefix: Option<Vec<String>>,
    namespace: Option<Vec<String>>,
    operation: Option<String>,
    arguments: Option<Box<RawValue>>,
    text_columns: Option<Vec<String>>,
}

impl Wire {
    /// The call, or the member that it lacks.
    fn into_call(self) -> Result<Call, &'static str> {
        let options = self.options.map(|options| options.0).unwrap_or_default();
        let table = self.table;
        let named = |table: Option<String>| table.ok_or("table");
        let start = self.start.flatten();
        let text_columns = self.text_columns.unwrap_or_default();
        Ok(match self.call.as_str() {
            "hello" => Call::Hello {
                protocols: self.protocols.ok_or("protocols")?,
                headwater: self.headwater.unwrap_or_default(),
            },
            "spec" => Call::Spec,
            "open" => Call::Open { options, secrets: self.secrets.unwrap_or_default(), table },
            "test_connection" => Call::TestConnection,
            "list_tables" => Call::ListTables,
            "get_table_schema" => Call::GetTableSchema { table: named(table)?, options },
            "read_table_metadata" => Call::ReadTableMetadata { table: named(table)?, options },
            "read_table" => Call::ReadTable { table: named(table)?, start, options, text_columns },
            "read_table_deletes" => {
                Call::ReadTableDeletes { table: named(table)?, start, options, text_columns }
            }
            "is_partitioned" => {
                Call::IsPartitioned { table: named(table)?, stream: self.stream.unwrap_or(false) }
            }
            "latest_offset" => {
                Call::LatestOffset { table: named(table)?, start: start.ok_or("start")?, options }
            }
            "get_partitions" => {
                Call::GetPartitions { table: named(table)?, options, start, end: self.end.flatten() }
            }
            "read_partition" => Call::ReadPartition {
                table: named(table)?,
                partition: object(self.partition)
                    .and_then(|raw| Partition::from_value(&raw).ok())
                    .ok_or("partition")?,
                options,
                stream: self.stream.unwrap_or(false),
                text_columns,
            },
            "list_namespaces" => Call::ListNamespaces { prefix: self.prefix.unwrap_or_default() },
            "list_tables_in_namespace" => {
                Call::ListTablesInNamespace { namespace: self.namespace.ok_or("namespace")? }
            }
            "agent_operations" => Call::AgentOperations,
            "agent" => Call::Agent {
                operation: self.operation.ok_or("operation")?,
                arguments: object(self.arguments).ok_or("arguments")?,
            },
            _ => Call::Unknown { call: self.call },
        })
    }
}

/// A raw value, where it is an object.
fn object(raw: Option<Box<RawValue>>) -> Option<Box<RawValue>> {
    raw.filter(|raw| raw.get().starts_with('{'))
}

#[cfg(test)]
mod tests {
    use super::{Call, Request};

    fn round(line: &str) {
        let request = Request::parse(line.as_bytes()).unwrap();
        let text = String::from_utf8(request.to_line().unwrap()).unwrap();
        assert_eq!(text, format!("{line}\n"));
    }

    #[test]
    fn requests_are_written_as_the_protocol_says_and_read_back() {
        round(r#"{"id":1,"call":"hello","protocols":[1],"headwater":"0.1.0"}"#);
        round(r#"{"id":2,"call":"spec"}"#);
        round(
            r#"{"id":2,"call":"open","options":{"token":"s","tableName":"t"},"secrets":["token"],"table":"t"}"#,
        );
        round(r#"{"id":2,"call":"open","options":{},"secrets":[],"table":null}"#);
        round(r#"{"id":3,"call":"get_table_schema","table":"t","options":{"Owner":"o"}}"#);
        round(r#"{"id":4,"call":"read_table","table":"t","start":null,"options":{}}"#);
        round(
            r#"{"id":4,"call":"read_table","table":"t","start":{"n":123456789012345678901234567890,"f":1.10},"options":{}}"#,
        );
        round(r#"{"id":5,"call":"read_table_deletes","table":"t","start":{},"options":{}}"#);
        round(r#"{"id":5,"call":"read_table","table":"t","start":{},"options":{},"text_columns":["a"]}"#);
        round(r#"{"id":5,"call":"is_partitioned","table":"t","stream":true}"#);
        round(r#"{"id":5,"call":"latest_offset","table":"t","start":{},"options":{}}"#);
        round(r#"{"id":5,"call":"get_partitions","table":"t","options":{},"start":null,"end":null}"#);
        round(
            r#"{"id":5,"call":"read_partition","table":"t","partition":{"b":1e400,"a":18446744073709551616},"options":{},"stream":false}"#,
        );
        round(r#"{"id":5,"call":"list_namespaces","prefix":["a"]}"#);
        round(r#"{"id":5,"call":"list_tables_in_namespace","namespace":["a","b"]}"#);
        round(r#"{"id":5,"call":"agent","operation":"read_table","arguments":{"limit":5}}"#);
    }

    #[test]
    fn what_is_not_known_is_passed_over() {
        let line = br#"{"id":1,"call":"spec","later":{"deep":[1,2]}}"#;
        assert!(matches!(Request::parse(line).unwrap().call, Call::Spec));
        let line = br#"{"id":1,"call":"fly"}"#;
        assert!(matches!(Request::parse(line).unwrap().call, Call::Unknown { call } if call == "fly"));
    }

    #[test]
    fn a_request_that_cannot_be_read_says_why() {
        let check = |line: &str, expect: &str| {
            let error = Request::parse(line.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(expect), "{error}");
        };
        check("[]", "a JSON object was expected");
        check("{}", "missing field `id`");
        check(r#"{"id":1,"call":"read_table","options":{}}"#, "`table` is missing");
        check(r#"{"id":1,"call":"latest_offset","table":"t","start":null}"#, "`start` is missing");
        check(r#"{"id":1,"call":"read_partition","table":"t","partition":[1]}"#, "`partition` is missing");
        check(r#"{"id":1,"call":"open","options":{"a":1}}"#, "expected a string");
        check(r#"{"id":-1,"call":"spec"}"#, "invalid value");
        check(r#"{"id":1,"call":"spec"} {}"#, "more than one value");
        check(&format!(r#"{{"id":1,"call":"spec","x":{}}}"#, "[".repeat(200_000)), "nested deeper");
    }

    #[test]
    fn options_do_not_show_in_debug_output() {
        let line =
            br#"{"id":2,"call":"open","options":{"token":"hunter2"},"secrets":["token"],"table":null}"#;
        assert!(!format!("{:?}", Request::parse(line).unwrap()).contains("hunter2"));
    }
}
