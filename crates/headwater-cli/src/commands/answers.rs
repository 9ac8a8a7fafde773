//! What `plan` and `run` answer with `--json`. Offsets are written as they are: a JSON value in between would round their
//! numbers.

use std::time::Duration;

use headwater_connect::Offset;
use headwater_engine::{
    DeletesReport, FlowMetrics, FlowReport, FlowStatus, PlannedTable, UpdateReport, UpdateState,
};
use headwater_lake::FlowState;
use serde::Serialize;
use serde_json::{Value, json};

use super::pipeline::{change_text, per_second};
use crate::fail::causes;

/// The answer of `plan`.
#[derive(Serialize)]
pub(super) struct PlanAnswer<'a> {
    pub(super) pipeline: &'a str,
    pub(super) connection: &'a str,
    pub(super) tables: Vec<PlannedAnswer<'a>>,
    pub(super) warnings: &'a [String],
}

/// A table of it.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum PlannedAnswer<'a> {
    Planned(Box<Planned<'a>>),
    Failed { table: &'a str, error: Value },
}

#[derive(Serialize)]
pub(super) struct Planned<'a> {
    table: &'a str,
    destination: String,
    ingestion_type: Value,
    scd_type: &'a str,
    reading: Value,
    primary_keys: &'a [String],
    sequence_by: Option<&'a str>,
    cluster_by: &'a [String],
    full_refresh: bool,
    schema: Value,
    changes: Vec<String>,
    micro_batch: Option<u64>,
    offset: Option<&'a Offset>,
    flow: &'a str,
    deletes: Option<PlannedDeletes<'a>>,
    warnings: &'a [String],
}

#[derive(Serialize)]
struct PlannedDeletes<'a> {
    flow: &'a str,
    micro_batch: Option<u64>,
    offset: Option<&'a Offset>,
}

impl<'a> PlannedAnswer<'a> {
    pub(super) fn of(planned: &'a PlannedTable) -> Self {
        let plan = match &planned.plan {
            Ok(plan) => plan,
            Err(error) => {
                let error = error_json(error, error.hint());
                return Self::Failed { table: &planned.source_table, error };
            }
        };
        let at = |state: &'a Option<FlowState>| {
            (state.as_ref().map(|s| s.micro_batch), state.as_ref().and_then(|s| s.offset.as_ref()))
        };
        let (micro_batch, offset) = at(&plan.state);
        let deletes = plan.deletes_flow.as_deref().map(|flow| {
            let (micro_batch, offset) = at(&plan.deletes_state);
            PlannedDeletes { flow, micro_batch, offset }
        });
        Self::Planned(Box::new(Planned {
            table: &planned.source_table,
            destination: plan.destination.to_string(),
            ingestion_type: json!(plan.ingestion_type),
            scd_type: plan.scd_type.as_str(),
            reading: json!(plan.reading),
            primary_keys: &plan.primary_keys,
            sequence_by: plan.sequence_by.as_deref(),
            cluster_by: &plan.cluster_by,
            full_refresh: plan.full_refresh,
            schema: plan.schema.to_json(),
            changes: plan.changes.iter().map(change_text).collect(),
            micro_batch,
            offset,
            flow: &plan.flow,
            deletes,
            warnings: &plan.warnings,
        }))
    }
}

/// The last event of `run`.
#[derive(Serialize)]
pub(super) struct ReportEvent<'a> {
    event: &'static str,
    report: Report<'a>,
}

#[derive(Serialize)]
struct Report<'a> {
    update_id: &'a str,
    pipeline: &'a str,
    state: UpdateState,
    started_at: String,
    duration_secs: f64,
    totals: FlowMetrics,
    flows: Vec<Flow<'a>>,
    warnings: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    resume_at: Option<String>,
    error: Option<Value>,
}

#[derive(Serialize)]
struct Flow<'a> {
    table: &'a str,
    destination: String,
    flow: &'a str,
    status: FlowStatus,
    metrics: FlowMetrics,
    duration_secs: f64,
    records_per_sec: u64,
    offset: Option<&'a Offset>,
    deletes: Option<&'a DeletesReport>,
    changes: Vec<String>,
    warnings: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    resume_at: Option<String>,
    error: Option<Value>,
}

impl<'a> ReportEvent<'a> {
    pub(super) fn of(report: &'a UpdateReport) -> Self {
        let flow = |flow: &'a FlowReport| Flow {
            table: &flow.source_table,
            destination: flow.destination.to_string(),
            flow: &flow.flow,
            status: flow.status,
            metrics: flow.metrics,
            duration_secs: secs(flow.duration),
            records_per_sec: per_second(flow.metrics.records_read, flow.duration),
            offset: flow.offset.as_ref(),
            deletes: flow.deletes.as_ref(),
            changes: flow.changes.iter().map(change_text).collect(),
            warnings: &flow.warnings,
            resume_at: flow.resume_at().map(|at| at.to_rfc3339()),
            error: flow.error.as_ref().map(|e| error_json(e, e.hint())),
        };
        let report = Report {
            update_id: &report.update_id,
            pipeline: &report.pipeline,
            state: report.state,
            started_at: report.started_at.to_rfc3339(),
            duration_secs: secs(report.duration),
            totals: report.totals(),
            flows: report.flows.iter().map(flow).collect(),
            warnings: &report.warnings,
            resume_at: report.resume_at().map(|at| at.to_rfc3339()),
            error: report.error.as_ref().map(|e| error_json(e, e.hint())),
        };
        Self { event: "report", report }
    }
}

fn secs(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1000.0).round() / 1000.0
}

fn error_json(error: &(dyn std::error::Error + 'static), hint: Option<String>) -> Value {
    json!({"message": error.to_string(), "causes": causes(error), "hint": hint})
}
