//! What a table is and how it will be read and written: the connector's word and the user's settings, checked
//! against each other.

use headwater_connect::{Connector, ConnectorError, IngestionType, Options, StructType};
use headwater_decode::OnBadRecord;
use headwater_lake::{CdcSpec, Feed, FlowState, SchemaChange, TableName, WriteMode, WriterSpec};
use headwater_spec::{ScdType, TableConfiguration};

use crate::FlowError;
use crate::columns::Columns;
use crate::definition::deletes_flow_name;
use crate::expand::FlowTarget;
use crate::settings::EngineSettings;
use crate::settle::settle;

/// How a table's records are fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reading {
    /// Read by read, from offset to offset.
    Stream,
    /// From offset to offset, each span in parts at the same time.
    StreamParts,
    /// Whole.
    Snapshot,
    /// Whole, in parts at the same time.
    SnapshotParts,
}

impl Reading {
    fn is_snapshot(self) -> bool {
        matches!(self, Reading::Snapshot | Reading::SnapshotParts)
    }
}

/// What an update would do with one table.
#[derive(Debug, Clone)]
pub struct TablePlan {
    /// The table of the source.
    pub source_table: String,
    /// The table of the lake.
    pub destination: TableName,
    /// The name of the flow in the table.
    pub flow: String,
    /// The name of the flow of its deletions, where they are read: it has an offset of its own.
    pub deletes_flow: Option<String>,
    /// The columns that are written. The table of a history has more of its own.
    pub schema: StructType,
    /// Columns that together name a record.
    pub primary_keys: Vec<String>,
    /// The column that orders the changes of a record, or a path into a struct column.
    pub sequence_by: Option<String>,
    /// How the connector says the table is ingested.
    pub ingestion_type: IngestionType,
    /// How changes are kept.
    pub scd_type: ScdType,
    /// What the rows are to the table.
    pub mode: WriteMode,
    /// How the records are fetched.
    pub reading: Reading,
    /// Clustering columns.
    pub cluster_by: Vec<String>,
    /// What becomes of records that do not fit.
    pub on_bad_record: OnBadRecord,
    /// Whether the table is made anew.
    pub full_refresh: bool,
    /// The table's options for the connector.
    pub options: Options,
    /// What would change in the table's columns. Filled by [`Engine::plan`](crate::Engine::plan).
    pub changes: Vec<SchemaChange>,
    /// Where the flow stands in the table. Filled by [`Engine::plan`](crate::Engine::plan).
    pub state: Option<FlowState>,
    /// Where the flow of its deletions stands. Filled by [`Engine::plan`](crate::Engine::plan).
    pub deletes_state: Option<FlowState>,
    /// What the user should know.
    pub warnings: Vec<String>,
    pub(crate) columns: Columns,
    pub(crate) columns_of_deletions: Option<Columns>,
}

/// The flows of a table. They run one after the other, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// Its records.
    Records,
    /// Its deletions, where they are read.
    Deletions,
}

impl TablePlan {
    /// The table's flows, in the order in which they run.
    pub(crate) fn parts(&self) -> &'static [Part] {
        if self.deletes_flow.is_some() { &[Part::Records, Part::Deletions] } else { &[Part::Records] }
    }

    /// The name of a flow in the table.
    pub(crate) fn flow_of(&self, part: Part) -> &str {
        match (part, &self.deletes_flow) {
            (Part::Deletions, Some(flow)) => flow,
            _ => &self.flow,
        }
    }

    /// How the columns of a flow are decoded and written.
    pub(crate) fn columns_of(&self, part: Part) -> &Columns {
        match (part, &self.columns_of_deletions) {
            (Part::Deletions, Some(columns)) => columns,
            _ => &self.columns,
        }
    }

    /// How the records of a flow are fetched.
    pub(crate) fn reading_of(&self, part: Part) -> Reading {
        match part {
            Part::Records => self.reading,
            Part::Deletions => Reading::Stream,
        }
    }

    /// Whether a flow makes the table anew.
    pub(crate) fn refreshes(&self, part: Part) -> bool {
        self.full_refresh && part == Part::Records
    }

    /// Says whether all rows that a flow reads in an update go into one commit at its end: a snapshot is not whole
    /// before, and a refresh must not be seen half done.
    pub(crate) fn single_commit(&self, part: Part) -> bool {
        self.refreshes(part) || self.reading_of(part).is_snapshot()
    }

    /// Says whether the rows of a commit are all there are, so that those of the commit before count no more.
    pub(crate) fn replaces(&self) -> bool {
        match &self.mode {
            WriteMode::Snapshot => true,
            WriteMode::Cdc(cdc) => matches!(cdc.feed, Feed::Snapshot { .. }),
            WriteMode::Append => false,
        }
    }

    pub(crate) fn writer_spec(
        &self,
        part: Part,
        settings: &EngineSettings,
        memory_bytes: usize,
    ) -> WriterSpec {
        let mode = match (part, &self.mode) {
            (Part::Deletions, WriteMode::Cdc(cdc)) => {
                WriteMode::Cdc(CdcSpec { feed: Feed::Deletes, ..cdc.clone() })
            }
            (_, mode) => mode.clone(),
        };
        WriterSpec {
            table: self.destination.clone(),
            flow: self.flow_of(part).to_owned(),
            schema: self.schema.clone(),
            mode,
            cluster_by: self.cluster_by.clone(),
            full_refresh: self.refreshes(part),
            memory_bytes,
            target_file_bytes: settings.target_file_bytes,
            type_widening: settings.type_widening,
        }
    }
}

/// Asks the connector what the table is, and settles how it will be handled.
pub(crate) async fn describe(target: &FlowTarget, connector: &dyn Connector) -> Result<TablePlan, FlowError> {
    let table = &target.source_table;
    let options = &target.configuration.connector_options;
    let failed = |what| move |source| FlowError::Describe { table: table.clone(), what, source };
    let schema = connector.get_table_schema(table, options).await.map_err(failed("schema"))?;
    schema.check().map_err(|source| FlowError::Schema { table: table.clone(), source })?;
    let metadata = connector.read_table_metadata(table, options).await.map_err(failed("metadata"))?;
    let settled = settle(target, schema, &metadata)?;
    Ok(TablePlan {
        source_table: table.clone(),
        destination: target.destination.clone(),
        deletes_flow: settled.columns_of_deletions.is_some().then(|| deletes_flow_name(&target.flow)),
        flow: target.flow.clone(),
        schema: settled.schema,
        primary_keys: settled.primary_keys,
        sequence_by: settled.sequence_by,
        ingestion_type: metadata.ingestion_type,
        scd_type: settled.scd_type,
        mode: settled.mode,
        reading: reading(connector, table, metadata.ingestion_type)
            .await
            .map_err(failed("kind of reading"))?,
        cluster_by: settled.cluster_by,
        on_bad_record: on_bad_record(&target.configuration),
        full_refresh: target.full_refresh,
        options: options.clone(),
        changes: Vec::new(),
        state: None,
        deletes_state: None,
        warnings: settled.warnings,
        columns: settled.columns,
        columns_of_deletions: settled.columns_of_deletions,
    })
}

async fn reading(
    connector: &dyn Connector,
    table: &str,
    ingestion_type: IngestionType,
) -> Result<Reading, ConnectorError> {
    if ingestion_type.is_stream() {
        let parts = match connector.partitioned_stream() {
            Some(ability) => ability.is_partitioned(table).await?,
            None => false,
        };
        Ok(if parts { Reading::StreamParts } else { Reading::Stream })
    } else {
        let parts = match connector.partitions() {
            Some(ability) => ability.is_partitioned(table).await?,
            None => false,
        };
        Ok(if parts { Reading::SnapshotParts } else { Reading::Snapshot })
    }
}

fn on_bad_record(configuration: &TableConfiguration) -> OnBadRecord {
    match configuration.on_bad_record.unwrap_or_default() {
        headwater_spec::OnBadRecord::Fail => OnBadRecord::Fail,
        headwater_spec::OnBadRecord::Quarantine => OnBadRecord::Quarantine,
        headwater_spec::OnBadRecord::Null => OnBadRecord::Null,
    }
}
