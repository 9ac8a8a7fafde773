use std::collections::HashMap;
use std::fmt;

use headwater_connect::Options;
use headwater_decode::OnBadRecord;
use headwater_lake::TableName;

/// A pipeline, with everything filled in that its spec leaves to defaults.
#[derive(Debug, Clone)]
pub struct PipelineDefinition {
    /// Names the pipeline for good; the name, where nobody gave it another id.
    pub id: String,
    /// The name. Part of the flows' names in the tables, so a renamed pipeline starts over.
    pub name: String,
    /// The connection that it reads through.
    pub connection_name: String,
    /// Where tables go that do not say so themselves.
    pub catalog: String,
    /// Where tables go that do not say so themselves.
    pub schema: String,
    /// What it reads.
    pub objects: Vec<ObjectDefinition>,
    /// The table that keeps the events; `None` keeps none.
    pub event_log: Option<TableName>,
}

/// One entry of a pipeline's `objects`.
#[derive(Debug, Clone)]
pub enum ObjectDefinition {
    /// One table.
    Table(TableDefinition),
    /// Every table of a namespace, or of the connection.
    Schema(SchemaDefinition),
}

/// Where a table goes; what is `None` comes from the pipeline, the table's name from the source.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Destination {
    /// First level.
    pub catalog: Option<String>,
    /// Second level.
    pub schema: Option<String>,
    /// Third level.
    pub table: Option<String>,
}

/// One table of a pipeline.
#[derive(Debug, Clone)]
pub struct TableDefinition {
    /// Its name in the source.
    pub source_table: String,
    /// Its place in the lake.
    pub destination: Destination,
    /// How it is read and written.
    pub configuration: TableConfiguration,
}

/// All tables of a namespace, or of the connection.
#[derive(Debug, Clone)]
pub struct SchemaDefinition {
    /// The namespace; the whole connection where `None`.
    pub namespace: Option<Vec<String>>,
    /// Tables to leave out, by their names in the source, without regard to case.
    pub exclude: Vec<String>,
    /// Catalog and schema of the tables.
    pub destination: Destination,
    /// How each is read and written.
    pub configuration: TableConfiguration,
    /// Settings of single tables, by their names in the source; these replace `configuration`.
    pub tables: HashMap<String, TableConfiguration>,
}

/// How a table is kept when its records change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub enum ScdType {
    /// Current rows only.
    #[serde(rename = "SCD_TYPE_1")]
    Type1,
    /// Every version of a row, with the time in which it held.
    #[serde(rename = "SCD_TYPE_2")]
    Type2,
    /// Every record that was read.
    #[serde(rename = "APPEND_ONLY")]
    AppendOnly,
}

impl fmt::Display for ScdType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ScdType::Type1 => "SCD_TYPE_1",
            ScdType::Type2 => "SCD_TYPE_2",
            ScdType::AppendOnly => "APPEND_ONLY",
        })
    }
}

/// How one table is read and written.
#[derive(Debug, Clone, Default)]
pub struct TableConfiguration {
    /// How changes are kept; by the ingestion type where `None`.
    pub scd_type: Option<ScdType>,
    /// Replaces the connector's primary keys.
    pub primary_keys: Option<Vec<String>>,
    /// Replaces the connector's cursor field as the order of changes.
    pub sequence_by: Option<String>,
    /// Clustering columns.
    pub cluster_by: Vec<String>,
    /// Only these columns; all where `None`.
    pub include_columns: Option<Vec<String>>,
    /// All but these columns.
    pub exclude_columns: Vec<String>,
    /// What becomes of records that do not fit the schema.
    pub on_bad_record: OnBadRecord,
    /// Everything else, for the connector.
    pub options: Options,
}

/// The name of a flow in its table: what the offset and the transaction are filed under.
pub fn flow_name(pipeline: &str, source_table: &str) -> String {
    format!("{pipeline}.{source_table}")
}
