//! `show`: the tables of the warehouse, the rows or the history of one.

use std::collections::BTreeMap;

use futures::StreamExt;
use headwater_connect::StructType;
use headwater_lake::{Lake, ReadSpec, TableState};
use serde_json::{Map, Value, json};

use super::timeline;
use crate::args;
use crate::config::Project;
use crate::fail::{Exit, Failure};
use crate::output::{Align, Out, RowPrinter, Table, bytes_text, count_text};
use crate::warehouse;

pub(crate) async fn show(arguments: &args::Show, project: &Project, out: &Out) -> Result<Exit, Failure> {
    let lake = warehouse::open(project, out)?;
    match &arguments.table {
        None => tables(lake.as_ref(), out).await,
        Some(table) => {
            let state = warehouse::find(lake.as_ref(), table).await?;
            match arguments.history.as_deref() {
                None => rows(lake.as_ref(), &state, arguments, out).await,
                Some("") => history(lake.as_ref(), &state, arguments.limit, out).await,
                Some(key) => timeline::show(lake.as_ref(), &state, key, out).await,
            }
        }
    }
}

/// Lists the tables. One that cannot be read is listed with the reason, and fails the command at the end.
pub(crate) async fn tables(lake: &dyn Lake, out: &Out) -> Result<Exit, Failure> {
    let names = lake.tables().await?;
    let mut table = Table::new([
        ("table", Align::Left),
        ("rows", Align::Right),
        ("files", Align::Right),
        ("size", Align::Right),
        ("version", Align::Right),
        ("columns", Align::Right),
    ]);
    let mut documents = Vec::new();
    let mut failure: Option<Failure> = None;
    for name in &names {
        match lake.table(name).await {
            Ok(Some(state)) => {
                table.row([
                    name.to_string(),
                    state.rows.map_or_else(|| "?".into(), count_text),
                    count_text(state.files),
                    bytes_text(state.bytes),
                    state.version.to_string(),
                    state.schema.fields.len().to_string(),
                ]);
                documents.push(document(&state));
            }
            // It went away in the meantime.
            Ok(None) => {}
            Err(error) => {
                table.row([name.to_string(), "?".into(), "?".into(), "?".into(), "?".into(), "?".into()]);
                let failed = Failure::from(error);
                failure = Some(match failure {
                    Some(before) => before.and(failed),
                    None => failed,
                });
            }
        }
    }
    if out.is_json() {
        out.json(&json!({"tables": documents}))?;
    } else if names.is_empty() {
        out.say("the warehouse has no table yet; `headwater run <spec>` fills it");
    } else {
        out.table(&table)?;
    }
    failure.map_or(Ok(Exit::Ok), Err)
}

fn document(state: &TableState) -> Value {
    let flows: BTreeMap<&String, Value> = state
        .flows
        .iter()
        .map(|(flow, at)| {
            (flow, json!({"micro_batch": at.micro_batch, "offset": at.offset, "committed_at": at.committed_at.map(|t| t.to_rfc3339())}))
        })
        .collect();
    json!({
        "table": state.name.to_string(),
        "location": state.location,
        "version": state.version,
        "rows": state.rows,
        "files": state.files,
        "bytes": state.bytes,
        "cluster_by": state.cluster_by,
        "keys": state.keys,
        "schema": state.schema.to_json(),
        "properties": state.properties,
        "flows": flows,
    })
}

async fn rows(
    lake: &dyn Lake,
    state: &TableState,
    arguments: &args::Show,
    out: &Out,
) -> Result<Exit, Failure> {
    let columns =
        if arguments.columns.is_empty() { None } else { Some(chosen(&state.schema, &arguments.columns)?) };
    if let Some(version) = arguments.version.filter(|v| *v > state.version) {
        return Err(Failure::usage(format!("{} has no version {version}", state.name))
            .hint(format!("its newest is {}; `--history` lists them", state.version)));
    }
    let limit = (arguments.limit > 0).then_some(arguments.limit);
    let spec =
        ReadSpec { version: arguments.version, columns: columns.clone(), limit, ..ReadSpec::default() };
    let mut stream = lake.read(&state.name, spec).await?;
    let mut head = Map::new();
    head.insert("table".into(), json!(state.name.to_string()));
    head.insert("version".into(), json!(arguments.version.unwrap_or(state.version)));
    let schema = match columns {
        None => state.schema.clone(),
        Some(names) => StructType::new(names.iter().filter_map(|name| state.schema.field(name)).cloned()),
    };
    let mut printer = RowPrinter::start(out, schema, head)?;
    while let Some(batch) = stream.next().await {
        printer.batch(&batch?)?;
    }
    let shown = printer.finish()?;
    if let (Some(rows), None) = (state.rows, arguments.version)
        && rows > shown
    {
        out.say(&format!("{} of {} rows; `--limit` shows more", count_text(shown), count_text(rows)));
    }
    Ok(Exit::Ok)
}

/// The columns that the user named, as the table spells them.
fn chosen(schema: &StructType, wanted: &[String]) -> Result<Vec<String>, Failure> {
    let find = |name: &String| {
        schema.field_ignore_case(name.trim()).map(|f| f.name.clone()).ok_or_else(|| {
            let names: Vec<String> = schema.fields.iter().map(|f| f.name.clone()).collect();
            Failure::usage(format!("column `{name}` does not exist")).hint(crate::names::hint(
                name,
                &names,
                "columns",
                "the table has none",
            ))
        })
    };
    wanted.iter().map(find).collect()
}

async fn history(lake: &dyn Lake, state: &TableState, limit: u64, out: &Out) -> Result<Exit, Failure> {
    let limit = if limit == 0 { usize::MAX } else { usize::try_from(limit).unwrap_or(usize::MAX) };
    let versions = lake.history(&state.name, limit).await?;
    if out.is_json() {
        let list: Vec<Value> = versions
            .iter()
            .map(|v| {
                json!({
                    "version": v.version, "committed_at": v.committed_at.to_rfc3339(), "operation": v.operation,
                    "parameters": v.parameters, "metrics": v.metrics,
                })
            })
            .collect();
        out.json(&json!({"table": state.name.to_string(), "versions": list}))?;
        return Ok(Exit::Ok);
    }
    let mut table = Table::new([
        ("version", Align::Right),
        ("committed at (UTC)", Align::Left),
        ("operation", Align::Left),
        ("what", Align::Left),
    ]);
    let text =
        |map: &BTreeMap<String, String>| map.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>();
    for version in &versions {
        let what =
            text(&version.metrics).into_iter().chain(text(&version.parameters)).collect::<Vec<_>>().join(" ");
        table.row([
            version.version.to_string(),
            version.committed_at.format("%Y-%m-%d %H:%M:%S").to_string(),
            version.operation.clone(),
            what,
        ]);
    }
    out.table(&table)?;
    Ok(Exit::Ok)
}
