//! The event log: what an update does, as rows of a Delta table.
//!
//! Events gather in memory and are written every few seconds by a task of their own. A log that cannot be
//! written never fails the data: it warns.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use chrono::SecondsFormat;
use headwater_connect::{Clock, DataType, Offset, Page, Secret, StructField, StructType};
use headwater_decode::{DecodeError, DecodeOptions, Decoder};
use headwater_lake::{Lake, LakeError, TableName, WriteMode, WriterSpec};
use serde_json::{Map, Value, json};
use tokio::sync::Notify;

use crate::context::FlowContext;
use crate::observer::FlowId;
use crate::settings::EngineSettings;
use crate::{FlowMetrics, FlowStatus, TablePlan, UpdateState};

/// The name of an event log's table unless the pipeline gives another.
pub const EVENT_LOG_TABLE: &str = "event_log";

/// Events that wait for a log that cannot be written; beyond, the oldest go.
const MOST_WAITING: usize = 10_000;

/// What the log's writer may hold, in bytes.
const WRITER_BYTES: usize = 4 * 1024 * 1024;

/// How often writing a batch of events is tried.
const ATTEMPTS: u32 = 3;

/// How much an event matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    Info,
    Warn,
    Error,
    Metrics,
}

impl Level {
    fn as_str(self) -> &'static str {
        match self {
            Level::Info => "INFO",
            Level::Warn => "WARN",
            Level::Error => "ERROR",
            Level::Metrics => "METRICS",
        }
    }
}

/// One event, before it has its number and time.
pub(crate) struct Event<'a> {
    event_type: &'static str,
    level: Level,
    flow: Option<&'a FlowId>,
    batch: Option<u64>,
    message: String,
    details: Value,
    error: Option<Value>,
}

impl<'a> Event<'a> {
    fn new(event_type: &'static str, level: Level, message: String, details: Value) -> Self {
        Self { event_type, level, flow: None, batch: None, message, details, error: None }
    }

    fn of(mut self, flow: &'a FlowId) -> Self {
        self.flow = Some(flow);
        self
    }

    fn with_error(mut self, error: &dyn std::error::Error, fatal: bool) -> Self {
        self.error = Some(json!({"fatal": fatal, "exceptions": exceptions(error)}));
        self
    }

    /// An update was made.
    pub(crate) fn create_update(full_refresh: &Value, tables: Option<&[String]>) -> Self {
        let details =
            json!({"cause": "USER_ACTION", "full_refresh": full_refresh, "refresh_selection": tables});
        Self::new("create_update", Level::Info, "Update was created.".into(), details)
    }

    /// An update has come to another state.
    pub(crate) fn update_progress(
        state: UpdateState,
        error: Option<&(dyn std::error::Error + 'static)>,
    ) -> Self {
        let level = if state == UpdateState::Failed { Level::Error } else { Level::Info };
        let name = state.as_str();
        let details = json!({"state": name});
        let event = Self::new("update_progress", level, format!("Update is {name}."), details);
        match error {
            Some(error) => event.with_error(error, true),
            None => event,
        }
    }

    /// What a flow reads and writes.
    pub(crate) fn flow_definition(flow: &'a FlowId, plan: &TablePlan) -> Self {
        let flow_type = match plan.mode {
            WriteMode::Append => "APPEND",
            WriteMode::Snapshot => "COMPLETE",
            WriteMode::Cdc(_) => "CHANGE",
        };
        let details = json!({
            "input_datasets": [plan.source_table],
            "output_dataset": plan.destination.to_string(),
            "flow_type": flow_type,
            "ingestion_type": plan.ingestion_type,
            "scd_type": plan.scd_type.as_str(),
            "primary_keys": plan.primary_keys,
            "sequence_by": plan.sequence_by,
            "deletes_flow": plan.deletes_flow,
            "cluster_by": plan.cluster_by,
            "full_refresh": plan.full_refresh,
            "schema": plan.schema,
        });
        let message = format!("Flow '{}' is defined as {flow_type}.", flow.flow);
        Self::new("flow_definition", Level::Info, message, details).of(flow)
    }

    /// A flow has come to another state.
    pub(crate) fn flow_progress(
        flow: &'a FlowId,
        status: FlowStatus,
        metrics: &FlowMetrics,
        error: Option<&(dyn std::error::Error + 'static)>,
    ) -> Self {
        let level = if status == FlowStatus::Failed { Level::Error } else { Level::Info };
        let message = format!("Flow '{}' is {}.", flow.flow, status.as_str());
        let event = Self::new("flow_progress", level, message, flow_details(status, metrics)).of(flow);
        match error {
            Some(error) => event.with_error(error, true),
            None => event,
        }
    }

    /// A flow has committed a micro-batch.
    pub(crate) fn committed(
        context: &'a FlowContext,
        flow: &str,
        version: u64,
        micro_batch: u64,
        rows: u64,
    ) -> Self {
        let mut details = flow_details(FlowStatus::Running, &context.metrics());
        details["version"] = json!(version);
        details["flow"] = json!(flow);
        let message = format!("Flow '{flow}' committed micro-batch {micro_batch} with {rows} rows.");
        let mut event = Self::new("flow_progress", Level::Metrics, message, details).of(&context.id);
        event.batch = Some(micro_batch);
        event
    }

    /// A flow failed and will try again.
    pub(crate) fn flow_retry(
        flow: &'a FlowId,
        metrics: &FlowMetrics,
        attempt: u32,
        error: &dyn std::error::Error,
    ) -> Self {
        let details = flow_details(FlowStatus::Running, metrics);
        let message = format!("Flow '{}' failed in attempt {attempt} and is retried.", flow.flow);
        Self::new("flow_progress", Level::Warn, message, details).of(flow).with_error(error, false)
    }

    /// Something the user should know.
    pub(crate) fn warning(flow: Option<&'a FlowId>, message: &str) -> Self {
        let mut event =
            Self::new("user_action", Level::Warn, message.to_owned(), json!({"warning": message}));
        event.event_type = if flow.is_some() { "flow_progress" } else { "update_progress" };
        event.flow = flow;
        event
    }
}

fn flow_details(status: FlowStatus, metrics: &FlowMetrics) -> Value {
    json!({
        "status": status.as_str(),
        "metrics": {
            "num_output_rows": metrics.rows_written,
            "num_input_records": metrics.records_read,
            "num_deletions": metrics.deletions_read,
            "input_bytes": metrics.bytes_read,
            "output_bytes": metrics.bytes_written,
            "requests": metrics.requests,
            "commits": metrics.commits,
            "retries": metrics.retries,
            "outside_bytes": metrics.outside_bytes,
        },
        "data_quality": {
            "quarantined_records": metrics.bad_records,
            "nulled_values": metrics.nulled_values,
        },
    })
}

/// The error and its causes, outermost first.
fn exceptions(error: &dyn std::error::Error) -> Vec<Value> {
    let mut found = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        found.push(json!({"class_name": class_name(error), "message": error.to_string()}));
        next = error.source();
    }
    found
}

/// The variant's name, as `Debug` begins with it.
fn class_name(error: &dyn std::error::Error) -> String {
    let debug = format!("{error:?}");
    let name: String = debug.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    if name.is_empty() { "Error".to_owned() } else { name }
}

/// The columns of an event log: those of a declarative pipeline's.
pub(crate) fn schema() -> StructType {
    let text = |name: &str| StructField::nullable(name, DataType::String);
    let long = |name: &str| StructField::nullable(name, DataType::Long);
    let record = |fields: Vec<StructField>| DataType::Struct(StructType::new(fields));
    let list = |element| DataType::Array { element: Box::new(element), contains_null: true };
    let data_plane = record(vec![text("instance"), long("seq_no")]);
    let sequence =
        record(vec![StructField::nullable("data_plane_id", data_plane), long("control_plane_seq_no")]);
    let origin = record(vec![
        text("pipeline_id"),
        text("pipeline_type"),
        text("pipeline_name"),
        text("update_id"),
        text("table_name"),
        text("dataset_name"),
        text("flow_id"),
        text("flow_name"),
        long("batch_id"),
    ]);
    let exception = record(vec![text("class_name"), text("message")]);
    let error = record(vec![
        StructField::nullable("fatal", DataType::Boolean),
        StructField::nullable("exceptions", list(exception)),
    ]);
    StructType::new([
        text("id"),
        StructField::nullable("sequence", sequence),
        StructField::nullable("origin", origin),
        StructField::nullable("timestamp", DataType::Timestamp),
        text("message"),
        text("level"),
        text("maturity_level"),
        StructField::nullable("error", error),
        text("details").with_comment("JSON; the shape goes by event_type, which is its one member"),
        text("event_type"),
    ])
}

/// Takes events. Clones take them for the same log.
#[derive(Clone)]
pub(crate) struct EventLog(Option<Arc<Log>>);

struct Log {
    lake: Arc<dyn Lake>,
    clock: Arc<dyn Clock>,
    table: TableName,
    flow: String,
    origin: Map<String, Value>,
    update_id: String,
    secrets: Vec<Secret>,
    settings: Arc<EngineSettings>,
    numbers: AtomicU64,
    waiting: Mutex<VecDeque<(u64, Value)>>,
    ending: Notify,
}

/// Where a log belongs.
pub(crate) struct LogPlace<'a> {
    pub(crate) table: &'a TableName,
    pub(crate) pipeline_id: &'a str,
    pub(crate) pipeline: &'a str,
    pub(crate) update_id: &'a str,
}

impl EventLog {
    /// A log that keeps nothing.
    pub(crate) fn none() -> Self {
        Self(None)
    }

    pub(crate) fn new(
        place: &LogPlace<'_>,
        lake: Arc<dyn Lake>,
        clock: Arc<dyn Clock>,
        settings: Arc<EngineSettings>,
        secrets: Vec<Secret>,
    ) -> Self {
        let origin = json!({
            "pipeline_id": place.pipeline_id,
            "pipeline_type": "MANAGED_INGESTION",
            "pipeline_name": place.pipeline,
            "update_id": place.update_id,
        });
        Self(Some(Arc::new(Log {
            lake,
            clock,
            table: place.table.clone(),
            flow: format!("{}.{EVENT_LOG_TABLE}", place.pipeline),
            origin: origin.as_object().cloned().unwrap_or_default(),
            update_id: place.update_id.to_owned(),
            secrets,
            settings,
            numbers: AtomicU64::new(0),
            waiting: Mutex::default(),
            ending: Notify::new(),
        })))
    }

    /// Takes an event. It is written within a few seconds.
    pub(crate) fn record(&self, event: Event<'_>) {
        let Some(log) = &self.0 else { return };
        let number = log.numbers.fetch_add(1, Ordering::Relaxed) + 1;
        let mut origin = log.origin.clone();
        if let Some(flow) = event.flow {
            for name in ["flow_id", "flow_name"] {
                origin.insert(name.into(), json!(*flow.flow));
            }
            origin.insert("table_name".into(), json!(*flow.source_table));
            origin.insert("dataset_name".into(), json!(*flow.destination));
        }
        if let Some(batch) = event.batch {
            origin.insert("batch_id".into(), json!(batch));
        }
        let mut details = Map::new();
        details.insert(event.event_type.into(), event.details);
        let row = json!({
            "id": uuid::Uuid::new_v4().to_string(),
            "sequence": {"data_plane_id": {"instance": log.update_id, "seq_no": number}},
            "origin": origin,
            "timestamp": log.clock.now().to_rfc3339_opts(SecondsFormat::Micros, true),
            "message": event.message,
            "level": event.level.as_str(),
            "maturity_level": "EVOLVING",
            "error": event.error,
            "details": Value::Object(details).to_string(),
            "event_type": event.event_type,
        });
        let row = without_secrets(row, &log.secrets);
        let mut waiting = log.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() == MOST_WAITING {
            waiting.pop_front();
        }
        waiting.push_back((number, row));
    }

    /// Writes events as they gather, until [`EventLog::end`] is called; then the rest. Gives what went wrong, if
    /// anything is not in the log for that.
    pub(crate) async fn run(self) -> Option<EventLogError> {
        let log = self.0?;
        loop {
            let ending = tokio::select! {
                () = log.ending.notified() => true,
                () = tokio::time::sleep(log.settings.event_interval) => false,
            };
            let failed = log.flush().await.err();
            if ending {
                return failed;
            }
            if let Some(error) = failed {
                tracing::warn!(table = %log.table, error = &error as &dyn std::error::Error,
                    "the event log could not be written; it is tried again");
            }
        }
    }

    /// Lets [`EventLog::run`] come to its end.
    pub(crate) fn end(&self) {
        if let Some(log) = &self.0 {
            log.ending.notify_one();
        }
    }
}

/// Replaces each secret wherever it stands in a text.
fn without_secrets(value: Value, secrets: &[Secret]) -> Value {
    match value {
        Value::String(mut text) => {
            for secret in secrets.iter().map(Secret::expose).filter(|secret| !secret.is_empty()) {
                if text.contains(secret) {
                    text = text.replace(secret, "<secret>");
                }
            }
            Value::String(text)
        }
        Value::Array(items) => items.into_iter().map(|item| without_secrets(item, secrets)).collect(),
        Value::Object(fields) => Value::Object(
            fields.into_iter().map(|(name, item)| (name, without_secrets(item, secrets))).collect(),
        ),
        other => other,
    }
}

/// Why events could not be written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EventLogError {
    #[error("the event log {table} cannot be written")]
    Lake {
        table: TableName,
        #[source]
        source: LakeError,
    },
    #[error("events do not fit the event log's columns")]
    Decode {
        #[source]
        source: DecodeError,
    },
}

impl Log {
    async fn flush(&self) -> Result<(), EventLogError> {
        let rows: Vec<(u64, Value)> = {
            let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            waiting.iter().cloned().collect()
        };
        let Some(newest) = rows.last().map(|(number, _)| *number) else { return Ok(()) };
        let mut decoder = Decoder::new(&schema(), DecodeOptions::default())
            .map_err(|source| EventLogError::Decode { source })?;
        decoder
            .push(&Page::Values(rows.into_iter().map(|(_, row)| row).collect()))
            .map_err(|source| EventLogError::Decode { source })?;
        let batch = decoder.finish().map_err(|source| EventLogError::Decode { source })?;
        let Some(batch) = batch else { return Ok(()) };
        let offset = Offset::from(json!({"update_id": self.update_id, "seq_no": newest}));
        let mut failures = 0;
        while let Err(source) = self.append(batch.clone(), &offset).await {
            failures += 1;
            // Another update of the pipeline may write at the same time; events do not depend on each other.
            let again = source.is_retryable()
                || source.is_in_doubt()
                || matches!(source, LakeError::FlowMoved { .. } | LakeError::Conflict { .. });
            if !again || failures >= ATTEMPTS {
                return Err(EventLogError::Lake { table: self.table.clone(), source });
            }
            tokio::time::sleep(self.settings.retry.pause(failures, None)).await;
        }
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.retain(|(number, _)| *number > newest);
        Ok(())
    }

    async fn append(&self, batch: arrow_array::RecordBatch, offset: &Offset) -> Result<(), LakeError> {
        let mut writer = self
            .lake
            .writer(WriterSpec {
                table: self.table.clone(),
                flow: self.flow.clone(),
                schema: schema(),
                mode: WriteMode::Append,
                cluster_by: Vec::new(),
                full_refresh: false,
                memory_bytes: WRITER_BYTES,
                target_file_bytes: WriterSpec::DEFAULT_TARGET_FILE_BYTES,
                type_widening: false,
            })
            .await?;
        // A commit of which nobody knew whether it landed did land.
        if writer.flow_state().and_then(|state| state.offset.as_ref()) == Some(offset) {
            return Ok(());
        }
        writer.write(batch).await?;
        let _outcome = writer.commit(Some(offset)).await?;
        Ok(())
    }
}
