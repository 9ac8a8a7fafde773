//! `validate`, `plan` and `run`.

use std::sync::Arc;
use std::time::Duration;

use chrono::SecondsFormat;
use headwater_connect::Offset;
use headwater_engine::{
    Engine, EngineSettings, FlowMetrics, FlowReport, FullRefresh, TablePlan, UpdateError, UpdateReport,
    UpdateRequest, UpdateState,
};
use headwater_lake::{FlowState, SchemaChange};
use serde_json::{Value, json};

use super::answers::{PlanAnswer, PlannedAnswer, ReportEvent};
use super::source::type_text;
use crate::args;
use crate::config::{Project, shown};
use crate::connectors::without_spec;
use crate::fail::{Exit, Failure, causes, error_text, exit_of, place};
use crate::output::{Align, Out, Style, Table, bytes_text, count_text};
use crate::progress::{Progress, warn_before};
use crate::signals;
use crate::spec::Pipeline;
use crate::warehouse;

/// Checks specs: each alone, so that one that is wrong does not hide another.
pub(crate) async fn validate(
    arguments: &args::Validate,
    project: &Project,
    out: &Out,
) -> Result<Exit, Failure> {
    let paths = if arguments.specs.is_empty() {
        project.specs()
    } else {
        arguments.specs.iter().map(|s| project.spec_path(s)).collect::<Result<_, _>>()?
    };
    if paths.is_empty() {
        out.say("the project has no pipeline spec; put one into its pipelines/ folder");
    }
    let mut exit = Exit::Ok;
    let mut documents = Vec::new();
    for path in &paths {
        let file = shown(path).display().to_string();
        match Pipeline::load(project, path, out).await {
            Ok(pipeline) => {
                for warning in &pipeline.parsed.warnings {
                    out.warn(&format!("{}\n{}", warning.problem, warning.render_context().trim_end()));
                }
                let warnings: Vec<Value> = pipeline
                    .parsed
                    .warnings
                    .iter()
                    .map(|w| json!({"message": w.problem.to_string(), "place": place(w)}))
                    .collect();
                documents.push(json!({"spec": file, "ok": true, "pipeline": pipeline.definition.name, "warnings": warnings}));
                if !out.is_json() {
                    let objects = pipeline.parsed.value.objects().len();
                    let noun = if objects == 1 { "object" } else { "objects" };
                    out.line(&format!("{file}: {} ({objects} {noun})", out.style_data(Style::Green, "ok")))?;
                }
            }
            Err(failure) => {
                exit = Exit::Usage;
                documents.push(json!({"spec": file, "ok": false}));
                failure.print(out);
            }
        }
    }
    if out.is_json() {
        out.json(&json!({"specs": documents}))?;
    }
    Ok(exit)
}

fn request(pipeline: &Pipeline, selection: &args::Selection, out: &Out) -> Result<UpdateRequest, Failure> {
    let connection = pipeline.source.options()?;
    let mut request =
        UpdateRequest::new(pipeline.definition.clone(), pipeline.source.factory.clone(), connection);
    request.secret_options = pipeline.source.secret_options();
    request.secrets = out.redactor().secrets();
    request.tables = (!selection.tables.is_empty()).then(|| selection.tables.clone());
    request.full_refresh = if selection.full_refresh.is_empty() {
        FullRefresh::None
    } else if selection.full_refresh.iter().any(String::is_empty) {
        FullRefresh::All
    } else {
        FullRefresh::Tables(selection.full_refresh.clone())
    };
    Ok(request)
}

fn update_failure(error: &UpdateError) -> Failure {
    if let UpdateError::Spec { source } = error {
        return Failure::from(source);
    }
    let exit = match error {
        UpdateError::Connect { source, .. } | UpdateError::List { source, .. } => exit_of(source),
        UpdateError::Canceled => Exit::Interrupted,
        _ => Exit::Usage,
    };
    Failure::new(exit, error, error.hint())
}

pub(crate) async fn plan(
    arguments: &args::Plan,
    project: &Project,
    pipeline: &Pipeline,
    out: &Out,
) -> Result<Exit, Failure> {
    let engine = Engine::new(warehouse::open(project, out)?, EngineSettings::default());
    let request = request(pipeline, &arguments.selection, out)?;
    let plan = engine.plan(&request).await.map_err(|e| update_failure(&e))?;
    plan.warnings.iter().for_each(|warning| out.warn(warning));
    let mut exit = Exit::Ok;
    let mut table = Table::new([
        ("table", Align::Left),
        ("goes to", Align::Left),
        ("ingestion", Align::Left),
        ("kept as", Align::Left),
        ("keys", Align::Left),
        ("sequence", Align::Left),
        ("columns", Align::Right),
        ("next read", Align::Left),
    ]);
    for planned in &plan.tables {
        match &planned.plan {
            Ok(plan) => table.row([
                planned.source_table.clone(),
                plan.destination.to_string(),
                plan.ingestion_type.to_string(),
                plan.scd_type.to_string(),
                plan.primary_keys.join(", "),
                plan.sequence_by.clone().unwrap_or_default(),
                plan.schema.fields.len().to_string(),
                next_read(plan),
            ]),
            Err(_) => {
                exit = Exit::TableFailed;
                table.row([planned.source_table.clone(), "cannot be planned".into()]);
            }
        }
    }
    if out.is_json() {
        out.json(&PlanAnswer {
            pipeline: &request.pipeline.name,
            connection: request.pipeline.connection_name(),
            tables: plan.tables.iter().map(PlannedAnswer::of).collect(),
            warnings: &plan.warnings,
        })?;
        return Ok(exit);
    }
    out.table(&table)?;
    for planned in &plan.tables {
        match &planned.plan {
            Ok(plan) => {
                let changes: Vec<String> = plan.changes.iter().map(change_text).collect();
                if !changes.is_empty() {
                    out.line(&format!("\n{}", out.style_data(Style::Bold, &plan.destination.to_string())))?;
                    changes.iter().try_for_each(|change| out.line(&format!("  {change}")))?;
                }
                if plan.changes.contains(&SchemaChange::Create) {
                    let columns = plan.schema.fields.iter();
                    columns
                        .map(|f| format!("    {}: {}", f.name, type_text(&f.data_type.to_json())))
                        .try_for_each(|c| out.line(&c))?;
                }
                plan.warnings.iter().for_each(|w| out.warn(&format!("{}: {w}", planned.source_table)));
            }
            Err(error) => Failure::new(Exit::TableFailed, error, error.hint()).print(out),
        }
    }
    Ok(exit)
}

fn next_read(plan: &TablePlan) -> String {
    if plan.full_refresh {
        return "everything, replacing the table".into();
    }
    if !plan.ingestion_type.is_stream() {
        return "everything".into();
    }
    let from = |state: &Option<FlowState>| match state.as_ref().and_then(|state| state.offset.as_ref()) {
        Some(offset) if !offset.is_empty() => format!("after {offset}"),
        _ => "from the start".to_owned(),
    };
    let records = from(&plan.state);
    match plan.deletes_flow {
        Some(_) => format!("{records}; deletions {}", from(&plan.deletes_state)),
        None => records,
    }
}

/// Where a table stands, its deletions too.
fn reached(flow: &FlowReport) -> String {
    let text = |offset: &Option<Offset>| offset.as_ref().map(ToString::to_string).unwrap_or_default();
    match &flow.deletes {
        Some(deletes) if deletes.offset.is_some() => {
            format!("{}; deletions {}", text(&flow.offset), text(&deletes.offset))
        }
        _ => text(&flow.offset),
    }
}

pub(super) fn change_text(change: &SchemaChange) -> String {
    match change {
        SchemaChange::Create => "is made".into(),
        SchemaChange::AddColumn { column, data_type } => format!("column `{column}` ({data_type}) is added"),
        SchemaChange::WidenColumn { column, from, to } => {
            format!("column `{column}` widens from {from} to {to}")
        }
        SchemaChange::AllowNull { column } => format!("column `{column}` may be null from now on"),
        SchemaChange::KeepDropped { column } => {
            format!("column `{column}` is gone from the source; it stays and reads null")
        }
        SchemaChange::ClusterBy { columns } if columns.is_empty() => "is no longer clustered".into(),
        SchemaChange::ClusterBy { columns } => format!("is clustered by {}", columns.join(", ")),
    }
}

pub(crate) async fn run(
    arguments: &args::Run,
    project: &Project,
    pipeline: &Pipeline,
    out: &Out,
) -> Result<Exit, Failure> {
    let mut settings = EngineSettings::default();
    if let Some(bytes) = arguments.memory.map(|m| m.0).or(project.memory()?) {
        settings.set_process_memory(usize::try_from(bytes).unwrap_or(usize::MAX));
    }
    if let Some(parallel) = arguments.parallel {
        settings.parallel_flows = usize::from(parallel);
    }
    if let Some(interval) = arguments.commit_every {
        settings.commit.interval = interval;
    }
    if let Some(attempts) = arguments.attempts {
        settings.retry.attempts = attempts;
    }
    let engine = Engine::new(warehouse::open(project, out)?, settings);
    let request = request(pipeline, &arguments.selection, out)?;
    let without_spec = without_spec(pipeline.source.factory.name(), &pipeline.source.spec);
    for warning in without_spec.into_iter().chain(pipeline.parsed.warnings.iter().map(ToString::to_string)) {
        warn_before(out, &warning);
    }
    let report = run_update(&engine, request, out).await?;
    finish(&report, out)
}

/// Runs an update and shows how it goes; the first signal ends it in good order, the second at once.
pub(crate) async fn run_update(
    engine: &Engine,
    request: UpdateRequest,
    out: &Out,
) -> Result<UpdateReport, Failure> {
    let progress = Arc::new(Progress::new(out));
    let cancel = request.cancel.clone();
    let report = signals::gracefully(out, &cancel, engine.run(request, progress.clone())).await;
    progress.finish();
    report
}

/// Shows how an update went, and says what the process tells its caller.
pub(crate) fn finish(report: &UpdateReport, out: &Out) -> Result<Exit, Failure> {
    if out.is_json() {
        // Nobody may be reading any more; the exit code still tells how the update went.
        drop(out.json_line(&ReportEvent::of(report)));
    } else if !out.is_quiet() && !report.flows.is_empty() {
        drop(out.table(&summary(report)));
    }
    for flow in &report.flows {
        if let Some(error) = &flow.error {
            let hints: Vec<String> = error.hint().into_iter().collect();
            if !out.is_json() {
                out.stderr(&error_text(out, &error.to_string(), &causes(error), &hints));
            }
        }
    }
    if let Some(error) = &report.error {
        return Err(update_failure(error));
    }
    Ok(match report.state {
        UpdateState::Completed => Exit::Ok,
        UpdateState::Canceled => Exit::Interrupted,
        _ => Exit::TableFailed,
    })
}

fn summary(report: &UpdateReport) -> Table {
    let mut table = Table::new([
        ("table", Align::Left),
        ("status", Align::Left),
        ("read", Align::Right),
        ("written", Align::Right),
        ("bad", Align::Right),
        ("bytes", Align::Right),
        ("requests", Align::Right),
        ("seconds", Align::Right),
        ("rows/s", Align::Right),
        ("offset", Align::Left),
    ]);
    let mut row = |name: &str, status: &str, metrics: &FlowMetrics, duration: Duration, offset: String| {
        table.row([
            name.to_owned(),
            status.to_owned(),
            count_text(metrics.records_read),
            count_text(metrics.rows_written),
            count_text(metrics.bad_records),
            bytes_text(metrics.bytes_read),
            count_text(metrics.requests),
            format!("{:.1}", duration.as_secs_f64()),
            count_text(per_second(metrics.records_read, duration)),
            offset,
        ]);
    };
    for flow in &report.flows {
        let mut status = flow.status.as_str().to_lowercase();
        if let Some(resume_at) = flow.resume_at() {
            status = format!("{status}, goes on {}", resume_at.to_rfc3339_opts(SecondsFormat::Secs, true));
        }
        row(&flow.source_table, &status, &flow.metrics, flow.duration, reached(flow));
    }
    if report.flows.len() > 1 {
        row("total", &report.state.as_str().to_lowercase(), &report.totals(), report.duration, String::new());
    }
    table
}

pub(super) fn per_second(count: u64, duration: Duration) -> u64 {
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a rate for people"
    )]
    let rate = (count as f64 / duration.as_secs_f64().max(0.001)) as u64;
    rate
}
