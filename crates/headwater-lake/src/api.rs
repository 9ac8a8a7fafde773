//! What the engine, the command line and the server need of a lake.

use std::collections::BTreeMap;
use std::fmt;
use std::pin::Pin;
use std::str::FromStr;
use std::time::Duration;

use arrow_array::RecordBatch;
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use futures::Stream;
use headwater_connect::{BoxError, Offset, StructType};

/// The name of a table in the lake: `catalog.schema.table`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TableName {
    /// First level.
    pub catalog: String,
    /// Second level.
    pub schema: String,
    /// Third level.
    pub table: String,
}

impl TableName {
    /// Takes three parts.
    ///
    /// # Errors
    /// A part is empty, longer than 255 bytes, starts with `.` or `_`, or holds a path separator or a control character.
    pub fn new(
        catalog: impl Into<String>,
        schema: impl Into<String>,
        table: impl Into<String>,
    ) -> Result<Self, LakeError> {
        let name = Self { catalog: catalog.into(), schema: schema.into(), table: table.into() };
        for part in [&name.catalog, &name.schema, &name.table] {
            let bad = |c: char| c == '/' || c == '\\' || c.is_control();
            if part.is_empty() || part.len() > 255 || part.starts_with(['.', '_']) || part.contains(bad) {
                return Err(LakeError::BadTableName { name: name.to_string() });
            }
        }
        Ok(name)
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.catalog, self.schema, self.table)
    }
}

impl FromStr for TableName {
    type Err = LakeError;

    /// Reads `catalog.schema.table`; names with dots are made with [`TableName::new`].
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split('.').collect::<Vec<_>>().as_slice() {
            [catalog, schema, table] => Self::new(*catalog, *schema, *table),
            _ => Err(LakeError::BadTableName { name: text.to_owned() }),
        }
    }
}

/// How far a flow has written into a table, as the table itself says.
#[derive(Debug, Clone, PartialEq)]
pub struct FlowState {
    /// Number of the last micro-batch; the first is 1.
    pub micro_batch: u64,
    /// The offset that it reached; `None` for a snapshot that ended.
    pub offset: Option<Offset>,
    /// When it was committed.
    pub committed_at: Option<DateTime<Utc>>,
}

/// What stands of a table.
#[derive(Debug, Clone)]
pub struct TableState {
    /// Its name.
    pub name: TableName,
    /// Its folder, as a URL.
    pub location: String,
    /// Version of the Delta log.
    pub version: u64,
    /// Its columns.
    pub schema: StructType,
    /// Clustering columns, in order.
    pub cluster_by: Vec<String>,
    /// The columns that name a row, where changes are applied by them; empty elsewhere.
    pub keys: Vec<String>,
    /// The flows that write to it.
    pub flows: BTreeMap<String, FlowState>,
    /// Live rows, where every file says how many it holds.
    pub rows: Option<u64>,
    /// Live data files.
    pub files: u64,
    /// Their size.
    pub bytes: u64,
    /// Table properties.
    pub properties: BTreeMap<String, String>,
}

/// What the rows of a writer are to the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WriteMode {
    /// New rows beside the old.
    Append,
    /// The whole content: after a commit the table equals what was written since the last one. When it does
    /// already, nothing is committed.
    Snapshot,
    /// Changes of rows that have keys, as AUTO CDC has them: the table shows the current row of each key, or its
    /// history.
    Cdc(CdcSpec),
}

/// How changes are applied to a table with keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CdcSpec {
    /// The columns that name a row: top-level columns of the spec's schema, none of them ever null.
    pub keys: Vec<String>,
    /// What the table shows of a key.
    pub scd_type: ScdType,
    /// What the rows are.
    pub feed: Feed,
    /// The column that orders the changes of a key, or a path `a.b` into a struct column. `None` for a
    /// [`Feed::Snapshot`] only.
    pub sequence_by: Option<String>,
    /// The columns whose changes open a new record in the history. With [`ScdType::Two`] only.
    pub track: TrackHistory,
    /// How long a delete is remembered, to hold off changes that come late; `None` is for ever.
    pub tombstone_retention: Option<Duration>,
    /// Marks replaced rows in deletion vectors (`Some(true)`, and the default of a new table) or rewrites the files
    /// that hold them (`Some(false)`). `None` leaves it to the table's property `delta.enableDeletionVectors`.
    pub deletion_vectors: Option<bool>,
}

/// What a table shows of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScdType {
    /// The current row.
    One,
    /// Every record that it had, from `__START_AT` to `__END_AT`.
    Two,
}

/// What the rows are that a writer of changes gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Feed {
    /// Rows that are new or changed.
    Upserts,
    /// Rows that are gone. Their keys and their sequence are read, and nothing else.
    Deletes,
    /// All rows there are, between two commits: the table is compared with them.
    Snapshot {
        /// When the snapshot was taken. With [`ScdType::Two`] it is the sequence of all its changes, moved on where
        /// it is not later than the one before.
        version: DateTime<Utc>,
    },
}

/// The columns whose changes open a new record in the history of a key.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum TrackHistory {
    /// Every column but the keys.
    #[default]
    All,
    /// These.
    Only(Vec<String>),
    /// Every column but the keys and these.
    Except(Vec<String>),
}

/// The column of a history that holds where a record starts.
pub const START_AT: &str = "__START_AT";
/// The column of a history that holds where a record ends; null while it lasts.
pub const END_AT: &str = "__END_AT";
/// The column that holds the sequence of a row, in tables whose own columns do not.
pub const SEQUENCE: &str = "__SEQUENCE";

/// What a writer writes, and where.
#[derive(Debug, Clone)]
pub struct WriterSpec {
    /// The table; it is created when it does not exist.
    pub table: TableName,
    /// The flow: names the transaction and the offset in the table. Stable between updates.
    pub flow: String,
    /// The columns of the batches. Compared with the table's; see [`SchemaChange`].
    pub schema: StructType,
    /// What the rows are to the table.
    pub mode: WriteMode,
    /// Clustering columns; files are sorted by them.
    pub cluster_by: Vec<String>,
    /// Replace content, schema and offset by what is written, in the first commit.
    pub full_refresh: bool,
    /// How much memory the writer may hold, in bytes.
    pub memory_bytes: usize,
    /// Size at which a data file is closed, in bytes.
    pub target_file_bytes: u64,
    /// Widen column types by the protocol's type widening instead of rewriting the files.
    pub type_widening: bool,
}

impl WriterSpec {
    /// Size at which a data file is closed unless the user says otherwise.
    pub const DEFAULT_TARGET_FILE_BYTES: u64 = 128 * 1024 * 1024;
}

/// A change of the table's columns that a commit makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SchemaChange {
    /// The table is made.
    Create,
    /// A column is added; rows from before read null.
    AddColumn {
        /// Path of the column.
        column: String,
        /// Its type.
        data_type: String,
    },
    /// A column takes a wider type.
    WidenColumn {
        /// Path of the column.
        column: String,
        /// The type before.
        from: String,
        /// The type after.
        to: String,
    },
    /// A column may be null from now on.
    AllowNull {
        /// Path of the column.
        column: String,
    },
    /// The source no longer has the column; it stays and reads null.
    KeepDropped {
        /// Path of the column.
        column: String,
    },
    /// The clustering columns change.
    ClusterBy {
        /// The new ones.
        columns: Vec<String>,
    },
}

/// What a writer holds that is not committed yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Staged {
    /// Rows.
    pub rows: u64,
    /// Bytes in closed files and in memory, encoded.
    pub bytes: u64,
}

/// How a commit went.
#[derive(Debug, Clone, PartialEq)]
#[must_use]
pub enum CommitOutcome {
    /// A new version of the table.
    Committed {
        /// Version of the Delta log.
        version: u64,
        /// Number of the micro-batch within the flow.
        micro_batch: u64,
        /// Rows written.
        rows: u64,
        /// Size of the files written.
        bytes: u64,
        /// Files written.
        files: u64,
        /// Changes of the columns that came with it.
        changes: Vec<SchemaChange>,
    },
    /// There was nothing to change: no rows and the same offset, or a snapshot equal to the table.
    Unchanged,
}

/// Writes one flow into one table.
///
/// Dropping a writer leaves the table as the last commit left it; files that were not committed stay until vacuum
/// takes them, unless [`TableWriter::discard`] ran.
#[async_trait]
pub trait TableWriter: Send {
    /// Where the flow stood when the writer was opened, or after its last commit. `None` before the first commit
    /// and, with `full_refresh`, until the swap.
    fn flow_state(&self) -> Option<&FlowState>;

    /// The number that the next commit gives its micro-batch. Numbers go on over full refreshes and over flows that
    /// were set back, so [`TableWriter::flow_state`] does not tell it.
    fn next_micro_batch(&self) -> u64;

    /// The changes of the columns that the next commit makes.
    fn changes(&self) -> &[SchemaChange];

    /// Takes rows. Waits while the writer holds as much as it may.
    ///
    /// # Errors
    /// Storage failed: what was staged is lost, `discard` before writing again. Or the batch has other columns than
    /// the spec: what was staged is still there.
    /// # Cancel safety
    /// A dropped call may have staged part of the batch; `discard` before writing again.
    async fn write(&mut self, batch: RecordBatch) -> Result<(), LakeError>;

    /// What has been written since the last commit.
    fn staged(&self) -> Staged;

    /// Commits all that was written since the last commit, and `offset`, in one version of the table.
    ///
    /// # Errors
    /// The table is as before and the rows are still staged, unless [`LakeError::is_in_doubt`]: then drop the writer
    /// and open another, which tells where the flow stands.
    /// # Cancel safety
    /// A dropped call may have made the version: drop the writer, too. Its files stay, whatever is called on it.
    async fn commit(&mut self, offset: Option<&Offset>) -> Result<CommitOutcome, LakeError>;

    /// Commits as [`TableWriter::commit`] does, under a micro-batch number that the caller gives, so that a repeat
    /// after a crash replaces instead of doubling.
    ///
    /// For rows that go to a second table *before* the commit of the first (bad records, for one): number them as
    /// the first table's flow numbers its micro-batch. Where this flow's last commit bears the same number, the
    /// files that it added are removed in the same version, so that the rows of a number are there once. `optimize`
    /// leaves the files of the last numbered commit alone. No rows and a number that the flow does not hold
    /// are [`CommitOutcome::Unchanged`]; no rows and the number that it holds remove those files.
    ///
    /// # Errors
    /// As [`TableWriter::commit`]; [`LakeError::FlowMoved`] where the flow holds a higher number;
    /// [`LakeError::Conflict`] where another writer rewrote the files to be replaced.
    async fn commit_numbered(
        &mut self,
        micro_batch: u64,
        offset: Option<&Offset>,
    ) -> Result<CommitOutcome, LakeError>;

    /// Forgets what was written since the last commit and removes its files.
    async fn discard(&mut self) -> Result<(), LakeError>;
}

/// Rows of a table, in batches.
pub type RowStream = Pin<Box<dyn Stream<Item = Result<RecordBatch, LakeError>> + Send>>;

/// What to read of a table.
#[derive(Debug, Clone, Default)]
pub struct ReadSpec {
    /// Version of the Delta log; the newest where `None`.
    pub version: Option<u64>,
    /// Columns; all where `None`.
    pub columns: Option<Vec<String>>,
    /// Stop after so many rows.
    pub limit: Option<u64>,
    /// Values of columns, as text, that the rows looked for have: files that cannot hold such a row are left out. Other
    /// rows of the files that may are given all the same.
    pub holding: Vec<(String, String)>,
}

/// One version of a table's log.
#[derive(Debug, Clone)]
pub struct TableVersion {
    /// The version.
    pub version: u64,
    /// When it was committed.
    pub committed_at: DateTime<Utc>,
    /// `WRITE`, `OPTIMIZE`, …
    pub operation: String,
    /// What the operation said of itself.
    pub parameters: BTreeMap<String, String>,
    /// Counts, such as rows and files written.
    pub metrics: BTreeMap<String, String>,
}

/// What `optimize` did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OptimizeReport {
    /// Files replaced.
    pub files_removed: u64,
    /// Files written.
    pub files_added: u64,
    /// Size of the files replaced.
    pub bytes_removed: u64,
    /// Size of the files written.
    pub bytes_added: u64,
    /// Rows that were marked dead and are gone now.
    pub dead_rows_purged: u64,
    /// The new version; `None` when there was nothing to do.
    pub version: Option<u64>,
}

/// What `vacuum` removed, or would remove.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct VacuumReport {
    /// Paths relative to the table.
    pub files: Vec<String>,
    /// Their size.
    pub bytes: u64,
    /// Log files (commits, checkpoints, checksums) that have expired.
    pub log_files: u64,
}

/// A warehouse of Delta tables.
#[async_trait]
pub trait Lake: Send + Sync {
    /// Tells what stands of a table; `None` when there is none.
    async fn table(&self, name: &TableName) -> Result<Option<TableState>, LakeError>;

    /// Names the tables there are, sorted.
    async fn tables(&self) -> Result<Vec<TableName>, LakeError>;

    /// Tells what [`Lake::writer`] would change, without changing it.
    async fn plan(&self, spec: &WriterSpec) -> Result<Vec<SchemaChange>, LakeError>;

    /// Opens a writer.
    ///
    /// # Errors
    /// The schema cannot be reached from the table's; nothing has been written.
    async fn writer(&self, spec: WriterSpec) -> Result<Box<dyn TableWriter>, LakeError>;

    /// Sets where a flow stands, without rows; `None` forgets it, so that the flow starts over.
    async fn set_offset(
        &self,
        name: &TableName,
        flow: &str,
        offset: Option<&Offset>,
    ) -> Result<u64, LakeError>;

    /// Reads rows.
    async fn read(&self, name: &TableName, spec: ReadSpec) -> Result<RowStream, LakeError>;

    /// Lists the newest `limit` versions, newest first.
    async fn history(&self, name: &TableName, limit: usize) -> Result<Vec<TableVersion>, LakeError>;

    /// Merges small files and purges dead rows.
    async fn optimize(&self, name: &TableName, target_file_bytes: u64) -> Result<OptimizeReport, LakeError>;

    /// Removes files that no version younger than `retention` needs, and expired log files.
    async fn vacuum(
        &self,
        name: &TableName,
        retention: Duration,
        dry_run: bool,
    ) -> Result<VacuumReport, LakeError>;
}

/// What can go wrong with a lake.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LakeError {
    /// Not a table name.
    #[error("`{name}` is not a table name")]
    BadTableName {
        /// What was given.
        name: String,
    },
    /// The warehouse URL cannot be used.
    #[error("warehouse `{url}` cannot be used")]
    BadWarehouse {
        /// The URL.
        url: String,
        /// Why.
        #[source]
        source: BoxError,
    },
    /// There is no such table.
    #[error("table {table} does not exist in the warehouse")]
    NoTable {
        /// The table.
        table: TableName,
    },
    /// There is no such version of the table, or its files are gone.
    #[error("{table} has no version {version}")]
    NoVersion {
        /// The table.
        table: TableName,
        /// The version that was asked for.
        version: u64,
    },
    /// A read names a column that the table does not have.
    #[error("{table} has no column `{column}`")]
    NoColumn {
        /// The table.
        table: TableName,
        /// The column.
        column: String,
    },
    /// A column's type cannot become the new one.
    #[error("column `{column}` of {table} is {from} and cannot become {to}")]
    IncompatibleColumn {
        /// The table.
        table: TableName,
        /// Path of the column.
        column: String,
        /// The table's type.
        from: String,
        /// The wanted type.
        to: String,
    },
    /// The spec names a column that is not there, or not usable, for clustering.
    #[error("column `{column}` of {table} cannot be clustered by: {reason}")]
    BadClusterColumn {
        /// The table.
        table: TableName,
        /// The column.
        column: String,
        /// Why.
        reason: String,
    },
    /// A batch does not have the columns of the spec.
    #[error("rows for {table} do not have the declared columns: {reason}")]
    WrongBatch {
        /// The table.
        table: TableName,
        /// The difference.
        reason: String,
    },
    /// A schema that Delta cannot hold.
    #[error("the schema of {table} cannot be stored: {reason}")]
    BadSchema {
        /// The table.
        table: TableName,
        /// Why.
        reason: String,
    },
    /// Changes cannot be applied with these keys, sequence or tracked columns.
    #[error("changes cannot be applied to {table}: {reason}")]
    BadCdc {
        /// The table.
        table: TableName,
        /// Why.
        reason: String,
        /// What to change.
        remedy: String,
    },
    /// How changes are applied differs from how the table was made.
    #[error("{what} of {table} was {was} and is now {now}")]
    Drift {
        /// The table.
        table: TableName,
        /// What differs: `the key`, `the SCD type`, `the type of the sequence`, `the tracked columns`.
        what: &'static str,
        /// What the table was made with.
        was: String,
        /// What is asked for.
        now: String,
    },
    /// Rows without a key or a sequence.
    #[error("{rows} rows for {table} have no value in `{column}`, {role}")]
    NullKey {
        /// The table.
        table: TableName,
        /// The column.
        column: String,
        /// What the column is to the table: `which is part of the key` or `which orders the changes`.
        role: &'static str,
        /// How many rows.
        rows: u64,
    },
    /// A key that must be there once is there twice.
    #[error("{holder} {table} holds the key {key} more than once")]
    DuplicateKey {
        /// The table.
        table: TableName,
        /// `the snapshot for` or nothing.
        holder: &'static str,
        /// The values of the key.
        key: String,
    },
    /// Another process moved the same flow on in the meantime.
    #[error("another process has moved flow `{flow}` of {table} to micro-batch {micro_batch}")]
    FlowMoved {
        /// The table.
        table: TableName,
        /// The flow.
        flow: String,
        /// Where it stands now.
        micro_batch: u64,
    },
    /// Another writer changed the table in a way that this write cannot be put on top of.
    #[error("another writer changed {table} at version {version}: {what}")]
    Conflict {
        /// The table.
        table: TableName,
        /// The version that got in between.
        version: u64,
        /// What it changed.
        what: String,
    },
    /// A vacuum that would remove files which the table promises to keep.
    #[error("{table} keeps removed files for {least}, and a vacuum after {asked} would break that")]
    RetentionTooShort {
        /// The table.
        table: TableName,
        /// The retention that was asked for.
        asked: String,
        /// The table's own.
        least: String,
    },
    /// The table uses something of Delta that Headwater cannot write or read.
    #[error("{table} uses {feature}, which is not supported")]
    Unsupported {
        /// The table.
        table: TableName,
        /// The feature.
        feature: String,
    },
    /// The table's log or a file of it is damaged or missing.
    #[error("{table} is damaged")]
    Damaged {
        /// The table.
        table: TableName,
        /// What was found.
        #[source]
        source: BoxError,
    },
    /// Storage failed (disk full, no permission, network).
    #[error("storage failed while {doing}")]
    Storage {
        /// What was being done, with the path.
        doing: String,
        /// Why.
        #[source]
        source: BoxError,
        /// Whether doing it again may help.
        retryable: bool,
        /// Whether the commit may have landed all the same.
        in_doubt: bool,
    },
    /// A task of the lake was lost (it panicked or the process is ending).
    #[error("a background task of the lake ended early")]
    TaskLost {
        /// Why.
        #[source]
        source: BoxError,
    },
}

impl LakeError {
    /// Says whether the same call may succeed later.
    pub fn is_retryable(&self) -> bool {
        matches!(self, LakeError::Storage { retryable: true, .. })
    }

    /// Says whether a failed commit may have landed all the same: the flow must be read back before going on.
    pub fn is_in_doubt(&self) -> bool {
        matches!(self, LakeError::Storage { in_doubt: true, .. })
    }

    /// Says what to change, where that is known.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            LakeError::BadTableName { .. } => {
                "a name has three parts (catalog.schema.table); none is empty, starts with `.` or `_`, or holds a slash"
                    .into()
            }
            LakeError::NoTable { .. } => "`headwater show` without a table lists those there are".into(),
            LakeError::IncompatibleColumn { table, .. } => format!(
                "a full refresh (`--full-refresh={}`) makes the table anew with the new type; or leave the column out with `exclude_columns`",
                table.table
            ),
            LakeError::BadCdc { remedy, .. } => remedy.clone(),
            LakeError::Drift { table, .. } => format!(
                "set it back, or make the table anew with a full refresh (`--full-refresh={}`)",
                table.table
            ),
            LakeError::NullKey { .. } => {
                "name other columns in `primary_keys` or `sequence_by`, or keep such records apart with `on_bad_record: quarantine`".into()
            }
            LakeError::DuplicateKey { table, .. } => format!(
                "`primary_keys` must name a record; add the columns that tell these apart, then make the table anew (`--full-refresh={}`)",
                table.table
            ),
            LakeError::FlowMoved { .. } => {
                "two updates of one pipeline ran at the same time; run it again, it goes on where the other ended".into()
            }
            LakeError::RetentionTooShort { least, .. } => format!(
                "readers of older versions, and writers that have not committed yet, need those files: ask for {least} or more, \
                 or set the table property `delta.deletedFileRetentionDuration`"
            ),
            LakeError::Conflict { .. } => "run the pipeline again".into(),
            LakeError::Damaged { .. } => {
                "restore the file from a backup, or make the table anew with a full refresh".into()
            }
            LakeError::Storage { source, .. } => crate::store::storage_hint(source.as_ref())?.into(),
            _ => return None,
        })
    }
}
