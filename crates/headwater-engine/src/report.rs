use std::time::Duration;

use chrono::{DateTime, Utc};
use headwater_connect::Offset;
use headwater_lake::{SchemaChange, TableName};
use serde::Serialize;

use crate::{FlowError, UpdateError};

/// Where an update stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum UpdateState {
    /// Waiting for its turn and for memory.
    WaitingForResources,
    /// Finding out what there is to read.
    Initializing,
    /// Reading.
    Running,
    /// Ending early, as asked.
    Stopping,
    /// Every flow has read everything.
    Completed,
    /// At least one flow has failed.
    Failed,
    /// It was asked to end early, and no flow failed.
    Canceled,
}

impl UpdateState {
    /// The name in the event log.
    pub fn as_str(self) -> &'static str {
        match self {
            UpdateState::WaitingForResources => "WAITING_FOR_RESOURCES",
            UpdateState::Initializing => "INITIALIZING",
            UpdateState::Running => "RUNNING",
            UpdateState::Stopping => "STOPPING",
            UpdateState::Completed => "COMPLETED",
            UpdateState::Failed => "FAILED",
            UpdateState::Canceled => "CANCELED",
        }
    }
}

/// Where a flow stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum FlowStatus {
    /// Waiting for its turn.
    Queued,
    /// Finding out what the table is.
    Starting,
    /// Reading.
    Running,
    /// Everything has been read and committed.
    Completed,
    /// It ended with an error; what was committed before stays.
    Failed,
    /// It was asked to end early; what was committed before stays.
    Stopped,
}

impl FlowStatus {
    /// The name in the event log.
    pub fn as_str(self) -> &'static str {
        match self {
            FlowStatus::Queued => "QUEUED",
            FlowStatus::Starting => "STARTING",
            FlowStatus::Running => "RUNNING",
            FlowStatus::Completed => "COMPLETED",
            FlowStatus::Failed => "FAILED",
            FlowStatus::Stopped => "STOPPED",
        }
    }
}

/// What a flow has done so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct FlowMetrics {
    /// Records that came from the source, repeated after a failure or not. Deletions are among them.
    pub records_read: u64,
    /// Deletions that came from the source.
    pub deletions_read: u64,
    /// Rows that commits hold.
    pub rows_written: u64,
    /// Records that did not fit and went to the quarantine, in commits.
    pub bad_records: u64,
    /// Values that did not fit and were set to null.
    pub nulled_values: u64,
    /// Pages that came from the source.
    pub pages: u64,
    /// Their size.
    pub bytes_read: u64,
    /// Reads that ended.
    pub reads: u64,
    /// Requests that the connector says it sent.
    pub requests: u64,
    /// Commits.
    pub commits: u64,
    /// Files that commits added.
    pub files_written: u64,
    /// Their size.
    pub bytes_written: u64,
    /// Attempts after a failure.
    pub retries: u64,
    /// The most memory that the connector was seen to hold outside this process.
    pub outside_bytes: u64,
}

/// Where the flow of a table's deletions stands.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DeletesReport {
    /// The name of the flow in its table.
    pub flow: String,
    /// The offset that the table holds now; `None` before the first commit.
    pub offset: Option<Offset>,
}

/// How a flow went.
#[derive(Debug)]
pub struct FlowReport {
    /// The name of the flow in its table.
    pub flow: String,
    /// The table of the source.
    pub source_table: String,
    /// The table of the lake.
    pub destination: TableName,
    /// How it ended.
    pub status: FlowStatus,
    /// What it did.
    pub metrics: FlowMetrics,
    /// How long it took, waiting for its turn not included.
    pub duration: Duration,
    /// The offset that the table holds now; `None` for snapshots and before the first commit.
    pub offset: Option<Offset>,
    /// The flow of the table's deletions, where they are read.
    pub deletes: Option<DeletesReport>,
    /// Columns that were added or changed.
    pub changes: Vec<SchemaChange>,
    /// What the user should know.
    pub warnings: Vec<String>,
    /// Why it failed.
    pub error: Option<FlowError>,
}

/// How an update went.
#[derive(Debug)]
pub struct UpdateReport {
    /// Names the update in the event log.
    pub update_id: String,
    /// The pipeline.
    pub pipeline: String,
    /// How it ended: completed, failed or canceled.
    pub state: UpdateState,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// How long it took.
    pub duration: Duration,
    /// Each flow, in the order of the pipeline's objects.
    pub flows: Vec<FlowReport>,
    /// What the user should know and no flow says.
    pub warnings: Vec<String>,
    /// Why the update did not begin.
    pub error: Option<UpdateError>,
}

impl FlowReport {
    /// When the source answers again, where the flow has ended because it does not until then.
    pub fn resume_at(&self) -> Option<DateTime<Utc>> {
        self.error.as_ref()?.resume_at()
    }
}

impl UpdateReport {
    /// When it is worth going on, where flows have ended because their source answers no more until then.
    pub fn resume_at(&self) -> Option<DateTime<Utc>> {
        self.flows.iter().filter_map(FlowReport::resume_at).max()
    }

    /// The sums over all flows.
    pub fn totals(&self) -> FlowMetrics {
        self.flows.iter().fold(FlowMetrics::default(), |sum, flow| {
            let one = flow.metrics;
            FlowMetrics {
                records_read: sum.records_read + one.records_read,
                deletions_read: sum.deletions_read + one.deletions_read,
                rows_written: sum.rows_written + one.rows_written,
                bad_records: sum.bad_records + one.bad_records,
                nulled_values: sum.nulled_values + one.nulled_values,
                pages: sum.pages + one.pages,
                bytes_read: sum.bytes_read + one.bytes_read,
                reads: sum.reads + one.reads,
                requests: sum.requests + one.requests,
                commits: sum.commits + one.commits,
                files_written: sum.files_written + one.files_written,
                bytes_written: sum.bytes_written + one.bytes_written,
                retries: sum.retries + one.retries,
                outside_bytes: sum.outside_bytes + one.outside_bytes,
            }
        })
    }
}
