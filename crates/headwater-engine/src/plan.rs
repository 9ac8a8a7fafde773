//! What a table is and how it will be read and written: the connector's word and the user's settings, checked
//! against each other.

use headwater_connect::{Connector, IngestionType, Options, StructType, TableMetadata};
use headwater_decode::OnBadRecord;
use headwater_lake::{FlowState, SchemaChange, TableName, WriteMode, WriterSpec};
use headwater_spec::{ScdType, TableConfiguration};

use crate::FlowError;
use crate::error::did_you_mean;
use crate::expand::FlowTarget;
use crate::settings::EngineSettings;

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

/// What an update would do with one table.
#[derive(Debug, Clone)]
pub struct TablePlan {
    /// The table of the source.
    pub source_table: String,
    /// The table of the lake.
    pub destination: TableName,
    /// The name of the flow in the table.
    pub flow: String,
    /// The columns that are read.
    pub schema: StructType,
    /// Columns that together name a record.
    pub primary_keys: Vec<String>,
    /// The column that orders the changes of a record.
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
    /// What the user should know.
    pub warnings: Vec<String>,
}

impl TablePlan {
    /// Says whether all rows of an update go into one commit at its end: a snapshot is not whole before, and a
    /// refresh must not be seen half done.
    pub(crate) fn single_commit(&self) -> bool {
        self.full_refresh || !self.ingestion_type.is_stream()
    }

    pub(crate) fn writer_spec(&self, settings: &EngineSettings, memory_bytes: usize) -> WriterSpec {
        WriterSpec {
            table: self.destination.clone(),
            flow: self.flow.clone(),
            schema: self.schema.clone(),
            mode: self.mode.clone(),
            cluster_by: self.cluster_by.clone(),
            full_refresh: self.full_refresh,
            memory_bytes,
            target_file_bytes: settings.target_file_bytes,
            type_widening: settings.type_widening,
        }
    }
}

/// Asks the connector what the table is, and settles how it will be handled.
pub(crate) async fn describe(target: &FlowTarget, connector: &dyn Connector) -> Result<TablePlan, FlowError> {
    let table = &target.source_table;
    let configuration = &target.configuration;
    let failed = |what| move |source| FlowError::Describe { table: table.clone(), what, source };
    let schema = connector
        .get_table_schema(table, &configuration.connector_options)
        .await
        .map_err(failed("schema"))?;
    schema.check().map_err(|source| FlowError::Schema { table: table.clone(), source })?;
    let metadata = connector
        .read_table_metadata(table, &configuration.connector_options)
        .await
        .map_err(failed("metadata"))?;

    let mut settled = Settled { table, configuration, schema, warnings: Vec::new() };
    let (scd_type, mode) = settled.write_mode(metadata.ingestion_type)?;
    let primary_keys = settled.primary_keys(&metadata)?;
    let sequence_by = settled.sequence_by(&metadata)?;
    let cluster_by =
        settled.columns("cluster_by", configuration.cluster_by.as_deref().unwrap_or_default())?;
    let kept = [
        ("primary_keys", primary_keys.as_slice()),
        ("sequence_by", sequence_by.as_slice()),
        ("cluster_by", cluster_by.as_slice()),
    ];
    let schema = settled.selected_columns(kept)?;
    Ok(TablePlan {
        source_table: table.clone(),
        destination: target.destination.clone(),
        flow: target.flow.clone(),
        schema,
        primary_keys,
        sequence_by,
        ingestion_type: metadata.ingestion_type,
        scd_type,
        mode,
        reading: reading(connector, table, metadata.ingestion_type),
        cluster_by,
        on_bad_record: on_bad_record(configuration),
        full_refresh: target.full_refresh,
        options: configuration.connector_options.clone(),
        changes: Vec::new(),
        state: None,
        warnings: settled.warnings,
    })
}

fn reading(connector: &dyn Connector, table: &str, ingestion_type: IngestionType) -> Reading {
    if ingestion_type.is_stream() {
        let parts = connector.partitioned_stream().is_some_and(|stream| stream.is_partitioned(table));
        if parts { Reading::StreamParts } else { Reading::Stream }
    } else {
        let parts = connector.partitions().is_some_and(|batch| batch.is_partitioned(table));
        if parts { Reading::SnapshotParts } else { Reading::Snapshot }
    }
}

fn on_bad_record(configuration: &TableConfiguration) -> OnBadRecord {
    match configuration.on_bad_record.unwrap_or_default() {
        headwater_spec::OnBadRecord::Fail => OnBadRecord::Fail,
        headwater_spec::OnBadRecord::Quarantine => OnBadRecord::Quarantine,
        headwater_spec::OnBadRecord::Null => OnBadRecord::Null,
    }
}

/// The settings of one table while they are checked.
struct Settled<'a> {
    table: &'a str,
    configuration: &'a TableConfiguration,
    schema: StructType,
    warnings: Vec<String>,
}

impl Settled<'_> {
    fn write_mode(&mut self, ingestion_type: IngestionType) -> Result<(ScdType, WriteMode), FlowError> {
        use IngestionType::{Append, Cdc, CdcWithDeletes, Snapshot};
        let asked = self.configuration.scd_type;
        match (ingestion_type, asked) {
            (Append, None | Some(ScdType::AppendOnly)) => Ok((ScdType::AppendOnly, WriteMode::Append)),
            (Append, Some(ScdType::Type1)) => {
                self.warnings.push(format!(
                    "`scd_type: SCD_TYPE_1` changes nothing for `{}`: its records never change, so they are appended",
                    self.table
                ));
                Ok((ScdType::AppendOnly, WriteMode::Append))
            }
            (Snapshot, None | Some(ScdType::Type1)) => Ok((ScdType::Type1, WriteMode::Snapshot)),
            (Snapshot | Cdc, Some(ScdType::AppendOnly)) => Ok((ScdType::AppendOnly, WriteMode::Append)),
            (CdcWithDeletes, Some(ScdType::AppendOnly)) => {
                self.warnings.push(format!(
                    "deletions of `{}` are not read: with `scd_type: APPEND_ONLY` only its changed records are kept",
                    self.table
                ));
                Ok((ScdType::AppendOnly, WriteMode::Append))
            }
            (ingestion_type, asked) => Err(FlowError::NeedsAutoCdc {
                table: self.table.to_owned(),
                ingestion_type,
                scd_type: asked.unwrap_or(ScdType::Type1),
            }),
        }
    }

    fn wrong(&self, setting: &'static str, reason: String, hint: String) -> FlowError {
        FlowError::Configuration { table: self.table.to_owned(), setting, reason, hint }
    }

    /// Finds a column by its name, exactly or else without regard to case, and gives its own spelling.
    fn find(&self, name: &str) -> Option<String> {
        let field = self.schema.field(name).or_else(|| self.schema.field_ignore_case(name));
        field.map(|field| field.name.clone())
    }

    /// Finds the columns that a setting names.
    fn columns(&self, setting: &'static str, names: &[String]) -> Result<Vec<String>, FlowError> {
        let mut found: Vec<String> = Vec::new();
        for name in names {
            let Some(column) = self.find(name) else {
                let fields = self.schema.fields.iter().map(|field| field.name.as_str());
                let hint = did_you_mean(name, fields);
                return Err(self.wrong(setting, format!("names `{name}`, which is not a column"), hint));
            };
            found.push(column);
        }
        Ok(found)
    }

    fn primary_keys(&mut self, metadata: &TableMetadata) -> Result<Vec<String>, FlowError> {
        match &self.configuration.primary_keys {
            Some(keys) => self.columns("primary_keys", keys),
            None => Ok(self.named_by_connector("primary keys", &metadata.primary_keys)),
        }
    }

    fn sequence_by(&mut self, metadata: &TableMetadata) -> Result<Option<String>, FlowError> {
        match &self.configuration.sequence_by {
            Some(column) => Ok(self.columns("sequence_by", std::slice::from_ref(column))?.pop()),
            None => Ok(self.named_by_connector("cursor field", metadata.cursor_field.as_slice()).pop()),
        }
    }

    /// Takes the columns that the connector names. What it names wrongly is left out: rows are appended or
    /// replaced as a whole here, so no key decides over them, and the table is right all the same.
    fn named_by_connector(&mut self, what: &str, names: &[String]) -> Vec<String> {
        let mut found = Vec::new();
        for name in names {
            match self.find(name) {
                Some(column) => found.push(column),
                None => self.warnings.push(format!(
                    "the connector names `{name}` among the {what} of `{}`, which is not a column",
                    self.table
                )),
            }
        }
        found
    }

    /// Narrows the schema to the columns that the user wants.
    fn selected_columns(&self, kept: [(&'static str, &[String]); 3]) -> Result<StructType, FlowError> {
        let included = match &self.configuration.include_columns {
            None => None,
            Some(names) => Some(self.columns("include_columns", names)?),
        };
        let excluded = self.configuration.exclude_columns.as_deref().unwrap_or_default();
        let excluded = self.columns("exclude_columns", excluded)?;
        let stays = |name: &String| {
            included.as_ref().is_none_or(|included| included.contains(name)) && !excluded.contains(name)
        };
        for (role, columns) in kept {
            if let Some(lost) = columns.iter().find(|column| !stays(column)) {
                let setting = if excluded.contains(lost) { "exclude_columns" } else { "include_columns" };
                let hint = format!("keep `{lost}`, or name other columns in `{role}`");
                return Err(self.wrong(setting, format!("leaves out `{lost}`, which `{role}` needs"), hint));
            }
        }
        let schema = StructType::new(self.schema.fields.iter().filter(|field| stays(&field.name)).cloned());
        if schema.fields.is_empty() {
            let hint = "keep at least one column".to_owned();
            return Err(self.wrong("exclude_columns", "leaves no column".into(), hint));
        }
        Ok(schema)
    }
}
