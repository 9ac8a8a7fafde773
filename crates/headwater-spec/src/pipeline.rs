//! The pipeline spec as values.

use std::fmt;
use std::time::Duration;

use headwater_connect::Options;

use crate::diagnostic::{Parsed, SpecErrors};
use crate::pipeline_build;

/// What the rows of a table stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ScdType {
    /// Current rows.
    Type1,
    /// The history of each row.
    Type2,
    /// Every record as it came.
    AppendOnly,
}

impl ScdType {
    /// The name that specs use.
    pub fn as_str(self) -> &'static str {
        match self {
            ScdType::Type1 => "SCD_TYPE_1",
            ScdType::Type2 => "SCD_TYPE_2",
            ScdType::AppendOnly => "APPEND_ONLY",
        }
    }
}

impl fmt::Display for ScdType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What becomes of a record with a value that does not fit its column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum OnBadRecord {
    /// The flow ends with an error.
    #[default]
    Fail,
    /// The record goes to a table of its own.
    Quarantine,
    /// The value becomes null.
    Null,
}

impl OnBadRecord {
    /// The name that specs use.
    pub fn as_str(self) -> &'static str {
        match self {
            OnBadRecord::Fail => "fail",
            OnBadRecord::Quarantine => "quarantine",
            OnBadRecord::Null => "null",
        }
    }
}

impl fmt::Display for OnBadRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How long something is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retention {
    /// For ever.
    Keep,
    /// So long.
    For(Duration),
}

impl fmt::Display for Retention {
    /// As specs write it, in the largest unit that is exact.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Retention::For(length) = self else { return f.write_str("keep") };
        let seconds = length.as_secs();
        let units = [('w', 604_800), ('d', 86_400), ('h', 3600), ('m', 60)];
        match units.into_iter().find(|(_, unit)| seconds.is_multiple_of(*unit)) {
            Some((name, unit)) => write!(f, "{}{name}", seconds / unit),
            None => write!(f, "{seconds}s"),
        }
    }
}

/// Settings of a table, with the defaults of the pipeline already under them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TableConfiguration {
    /// What the rows stand for; the table's ingestion type decides without it.
    pub scd_type: Option<ScdType>,
    /// Columns that name a record, instead of the connector's. Never empty.
    pub primary_keys: Option<Vec<String>>,
    /// Column that orders changes, or a path `a.b` into a struct column, instead of the connector's cursor field.
    pub sequence_by: Option<String>,
    /// The only columns whose changes begin a record of the history. Never empty; with [`ScdType::Type2`] only;
    /// excludes `track_history_except_columns`.
    pub track_history_columns: Option<Vec<String>>,
    /// Columns whose changes begin none. Never empty; with [`ScdType::Type2`] only; excludes
    /// `track_history_columns`.
    pub track_history_except_columns: Option<Vec<String>>,
    /// How long deletions are remembered, where the spec says so.
    pub tombstone_retention: Option<Retention>,
    /// Whether replaced rows are marked in deletion vectors, where the spec says so.
    pub deletion_vectors: Option<bool>,
    /// Clustering columns. Never empty.
    pub cluster_by: Option<Vec<String>>,
    /// The only columns to take. Never empty; excludes `exclude_columns`.
    pub include_columns: Option<Vec<String>>,
    /// Columns to leave out. Never empty; excludes `include_columns`.
    pub exclude_columns: Option<Vec<String>>,
    /// What becomes of a bad record, where the spec says so.
    pub on_bad_record: Option<OnBadRecord>,
    /// Everything else, for the connector, in the caller's spelling.
    pub connector_options: Options,
}

/// One table to read, and where it lands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableObject {
    /// Name in the source.
    pub source_table: String,
    /// Namespace of the source (`source_schema`).
    pub namespace: Option<String>,
    /// Catalog of the source, kept as given.
    pub source_catalog: Option<String>,
    /// Catalog that it lands in, where the object names one.
    pub destination_catalog: Option<String>,
    /// Schema that it lands in, where the object names one.
    pub destination_schema: Option<String>,
    /// Name in the lake, where it is not that of the source.
    pub destination_table: Option<String>,
    /// Its settings.
    pub configuration: TableConfiguration,
    /// Where it stands in the document, such as `objects[0].table`.
    pub path: String,
}

impl TableObject {
    /// The table's name in the lake, without catalog and schema.
    pub fn destination_name(&self) -> &str {
        self.destination_table.as_deref().unwrap_or(&self.source_table)
    }
}

/// All tables of a namespace, or of the connector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemaObject {
    /// Namespace of the source (`source_schema`); all tables of the connector without it.
    pub namespace: Option<String>,
    /// Catalog of the source, kept as given.
    pub source_catalog: Option<String>,
    /// Catalog that the tables land in, where the object names one.
    pub destination_catalog: Option<String>,
    /// Schema that the tables land in, where the object names one.
    pub destination_schema: Option<String>,
    /// Tables to leave out.
    pub exclude: Vec<String>,
    /// Settings of each of the tables.
    pub configuration: TableConfiguration,
    /// Where it stands in the document, such as `objects[1].schema`.
    pub path: String,
}

/// An entry of `objects`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Object {
    /// One table.
    Table(TableObject),
    /// All tables of a namespace, or of the connector.
    Schema(SchemaObject),
}

impl Object {
    /// Its settings.
    pub fn configuration(&self) -> &TableConfiguration {
        match self {
            Object::Table(table) => &table.configuration,
            Object::Schema(schema) => &schema.configuration,
        }
    }

    /// Where it stands in the document.
    pub fn path(&self) -> &str {
        match self {
            Object::Table(table) => &table.path,
            Object::Schema(schema) => &schema.path,
        }
    }
}

/// Where the event log goes; what is absent is the pipeline's own, and `event_log` for the name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventLogSpec {
    /// Its catalog.
    pub catalog: Option<String>,
    /// Its schema.
    pub schema: Option<String>,
    /// Its table.
    pub name: Option<String>,
}

/// Unit of a period.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PeriodUnit {
    /// Minutes.
    Minutes,
    /// Hours.
    Hours,
    /// Days.
    Days,
    /// Weeks.
    Weeks,
}

impl PeriodUnit {
    /// The name that specs use.
    pub fn as_str(self) -> &'static str {
        match self {
            PeriodUnit::Minutes => "MINUTES",
            PeriodUnit::Hours => "HOURS",
            PeriodUnit::Days => "DAYS",
            PeriodUnit::Weeks => "WEEKS",
        }
    }

    /// Its length in seconds.
    pub fn seconds(self) -> u64 {
        match self {
            PeriodUnit::Minutes => 60,
            PeriodUnit::Hours => 60 * 60,
            PeriodUnit::Days => 24 * 60 * 60,
            PeriodUnit::Weeks => 7 * 24 * 60 * 60,
        }
    }
}

/// What starts an update.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trigger {
    /// A cron expression in Quartz form, and the name of a time zone of the IANA database.
    Cron {
        /// The expression as written.
        expression: String,
        /// The zone; UTC without it.
        timezone: Option<String>,
    },
    /// A period.
    Periodic {
        /// How many units, at least one.
        interval: u32,
        /// The unit.
        unit: PeriodUnit,
    },
    /// Only a request.
    Manual,
}

/// When the pipeline runs by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    /// What starts an update.
    pub trigger: Trigger,
    /// Kept without running, where the spec says so.
    pub paused: Option<bool>,
}

/// What a pipeline reads and where it lands. Made by [`PipelineSpec::parse`]; what it holds has been checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PipelineSpec {
    pub(crate) name: Option<String>,
    pub(crate) id: Option<String>,
    pub(crate) catalog: Option<String>,
    pub(crate) schema: Option<String>,
    pub(crate) connection_name: String,
    pub(crate) objects: Vec<Object>,
    pub(crate) event_log: Option<EventLogSpec>,
    pub(crate) schedule: Option<Schedule>,
    pub(crate) continuous: Option<bool>,
    pub(crate) development: Option<bool>,
    pub(crate) configuration: Vec<(String, String)>,
    pub(crate) tags: Vec<(String, String)>,
    /// Connection and objects stand in `ingestion_definition`.
    pub(crate) nested: bool,
}

impl PipelineSpec {
    /// Reads a pipeline spec from YAML or JSON. `file_name` is shown in errors; one that ends in `.json` makes the
    /// text JSON, otherwise the text decides.
    ///
    /// # Errors
    /// Everything that is wrong with the document, not only the first of it.
    pub fn parse(text: &str, file_name: &str) -> Result<Parsed<PipelineSpec>, SpecErrors> {
        pipeline_build::parse(text, file_name)
    }

    /// As [`PipelineSpec::parse`], for the bytes of a file.
    ///
    /// # Errors
    /// As there, and bytes that are not UTF-8.
    pub fn parse_bytes(bytes: &[u8], file_name: &str) -> Result<Parsed<PipelineSpec>, SpecErrors> {
        match crate::check::text_of(bytes, file_name) {
            Ok(text) => Self::parse(text, file_name),
            Err(complaints) => complaints.finish(None),
        }
    }

    /// Name of the pipeline, where the spec gives one.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Name of the pipeline, or `default` (the file's name without its ending).
    pub fn name_or<'a>(&'a self, default: &'a str) -> &'a str {
        self.name.as_deref().unwrap_or(default)
    }

    /// Identifier, kept as given.
    pub fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// Catalog of tables whose object names none.
    pub fn catalog(&self) -> Option<&str> {
        self.catalog.as_deref()
    }

    /// Schema of tables whose object names none.
    pub fn schema(&self) -> Option<&str> {
        self.schema.as_deref()
    }

    /// The connection that the tables are read through.
    pub fn connection_name(&self) -> &str {
        &self.connection_name
    }

    /// What is read, at least one entry, in the order of the document.
    pub fn objects(&self) -> &[Object] {
        &self.objects
    }

    /// The objects that name one table.
    pub fn tables(&self) -> impl Iterator<Item = &TableObject> {
        self.objects.iter().filter_map(|object| match object {
            Object::Table(table) => Some(table),
            Object::Schema(_) => None,
        })
    }

    /// The objects that name all tables of a namespace or of the connector.
    pub fn schemas(&self) -> impl Iterator<Item = &SchemaObject> {
        self.objects.iter().filter_map(|object| match object {
            Object::Schema(schema) => Some(schema),
            Object::Table(_) => None,
        })
    }

    /// Where the event log goes, where the spec says so.
    pub fn event_log(&self) -> Option<&EventLogSpec> {
        self.event_log.as_ref()
    }

    /// When the pipeline runs by itself.
    pub fn schedule(&self) -> Option<&Schedule> {
        self.schedule.as_ref()
    }

    /// Says whether the next update starts when one ends.
    pub fn continuous(&self) -> bool {
        self.continuous.unwrap_or(false)
    }

    /// Says whether the pipeline is in development mode.
    pub fn development(&self) -> bool {
        self.development.unwrap_or(false)
    }

    /// Named texts, in the order of the document.
    pub fn configuration(&self) -> &[(String, String)] {
        &self.configuration
    }

    /// Tags, in the order of the document.
    pub fn tags(&self) -> &[(String, String)] {
        &self.tags
    }
}
