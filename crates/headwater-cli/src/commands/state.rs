//! `state`: where the tables of a pipeline stand, and how to move them.

use headwater_connect::Offset;
use headwater_engine::{PipelineDefinition, deletes_flow_name, flow_name};
use headwater_lake::{FlowState, Lake, TableName};
use headwater_spec::Object;
use serde::Serialize;

use crate::args;
use crate::config::Project;
use crate::fail::{Exit, Failure};
use crate::output::{Align, Out, Table};
use crate::spec::Pipeline;
use crate::warehouse;

/// A flow of the pipeline, as a table of the warehouse knows it.
struct Known {
    source_table: String,
    table: TableName,
    flow: String,
    /// `None` where nothing has been committed yet.
    state: Option<FlowState>,
}

/// The flows of the pipeline: those that tables know, and tables of the spec that have not been read yet.
async fn flows(lake: &dyn Lake, pipeline: &PipelineDefinition) -> Result<Vec<Known>, Failure> {
    let mut places = vec![(pipeline.catalog.clone(), pipeline.schema.clone())];
    let mut expected = Vec::new();
    for object in pipeline.spec.value.objects() {
        let (catalog, schema) = match object {
            Object::Table(table) => (&table.destination_catalog, &table.destination_schema),
            Object::Schema(schema) => (&schema.destination_catalog, &schema.destination_schema),
        };
        let catalog = catalog.clone().unwrap_or_else(|| pipeline.catalog.clone());
        let schema = schema.clone().unwrap_or_else(|| pipeline.schema.clone());
        if let Object::Table(table) = object {
            let name = TableName::new(&catalog, &schema, table.destination_name())?;
            expected.push((table.source_table.clone(), name));
        }
        places.push((catalog, schema));
    }
    let prefix = flow_name(&pipeline.name, "");
    let mut known = Vec::new();
    for name in lake.tables().await? {
        if !places.iter().any(|(catalog, schema)| *catalog == name.catalog && *schema == name.schema) {
            continue;
        }
        // The event log keeps its own place; to move it would lose events.
        if pipeline.event_log.as_ref() == Some(&name) {
            continue;
        }
        let Some(table) = lake.table(&name).await? else { continue };
        let names: Vec<String> = table.flows.keys().cloned().collect();
        for (flow, state) in table.flows {
            // A flow of deletions stands beside that of the records.
            let of_records = names.iter().find(|other| deletes_flow_name(other) == flow).unwrap_or(&flow);
            if let Some(source_table) = of_records.strip_prefix(&prefix) {
                let source_table = source_table.to_owned();
                known.push(Known { source_table, table: name.clone(), flow, state: Some(state) });
            }
        }
    }
    for (source_table, table) in expected {
        if !known.iter().any(|k| k.table == table) {
            let flow = flow_name(&pipeline.name, &source_table);
            known.push(Known { source_table, table, flow, state: None });
        }
    }
    known.sort_by(|a, b| (&a.table, &a.flow).cmp(&(&b.table, &b.flow)));
    Ok(known)
}

/// Those of `table`, by its name in the source or in the lake.
fn of_table(known: Vec<Known>, table: &str) -> Result<Vec<Known>, Failure> {
    let names: Vec<String> = known.iter().map(|k| k.source_table.clone()).collect();
    let is_meant =
        |k: &Known| k.source_table == table || k.table.table == table || k.table.to_string() == table;
    let found: Vec<Known> = known.into_iter().filter(is_meant).collect();
    if found.is_empty() {
        return Err(Failure::usage(format!("the pipeline has no table `{table}`")).hint(crate::names::hint(
            table,
            &names,
            "tables",
            "none of its tables has been read yet",
        )));
    }
    Ok(found)
}

/// The answer of `state show`. Offsets are written as they are: a JSON value in between would round their numbers.
#[derive(Serialize)]
struct ShownAll<'a> {
    pipeline: &'a str,
    flows: Vec<Shown<'a>>,
}

#[derive(Serialize)]
struct Shown<'a> {
    table: &'a str,
    destination: String,
    flow: &'a str,
    micro_batch: Option<u64>,
    offset: Option<&'a Offset>,
    committed_at: Option<String>,
}

/// The answer of `state set` and `state reset`.
#[derive(Serialize)]
struct Changed<'a> {
    table: String,
    flow: &'a str,
    before: Option<&'a Offset>,
    offset: Option<&'a Offset>,
    version: u64,
}

pub(crate) async fn show(
    arguments: &args::StateShow,
    project: &Project,
    pipeline: &Pipeline,
    out: &Out,
) -> Result<Exit, Failure> {
    let lake = warehouse::open(project, out)?;
    let mut known = flows(lake.as_ref(), &pipeline.definition).await?;
    if let Some(table) = &arguments.table {
        known = of_table(known, table)?;
    }
    if out.is_json() {
        let flows = known
            .iter()
            .map(|k| Shown {
                table: &k.source_table,
                destination: k.table.to_string(),
                flow: &k.flow,
                micro_batch: k.state.as_ref().map(|s| s.micro_batch),
                offset: k.state.as_ref().and_then(|s| s.offset.as_ref()),
                committed_at: k.state.as_ref().and_then(|s| s.committed_at).map(|t| t.to_rfc3339()),
            })
            .collect();
        out.json(&ShownAll { pipeline: &pipeline.definition.name, flows })?;
        return Ok(Exit::Ok);
    }
    let mut table = Table::new([
        ("table", Align::Left),
        ("in", Align::Left),
        ("flow", Align::Left),
        ("micro-batch", Align::Right),
        ("committed at (UTC)", Align::Left),
        ("offset", Align::Left),
    ]);
    for k in &known {
        let state = k.state.as_ref();
        table.row([
            k.source_table.clone(),
            k.table.to_string(),
            k.flow.clone(),
            state.map_or_else(|| "-".into(), |s| s.micro_batch.to_string()),
            state
                .and_then(|s| s.committed_at)
                .map_or_else(|| "-".into(), |t| t.format("%Y-%m-%d %H:%M:%S").to_string()),
            state.map_or_else(
                || "not read yet".into(),
                |s| s.offset.as_ref().map_or_else(|| "-".into(), ToString::to_string),
            ),
        ]);
    }
    out.table(&table)?;
    Ok(Exit::Ok)
}

/// Which flow, and what is to become of it.
struct Change<'a> {
    table: &'a str,
    flow: Option<&'a str>,
    yes: bool,
    offset: Option<Offset>,
}

pub(crate) async fn set(
    arguments: &args::StateSet,
    project: &Project,
    pipeline: &Pipeline,
    out: &Out,
) -> Result<Exit, Failure> {
    let offset = Offset::from_json(&arguments.offset).ok().filter(|o| o.as_json().starts_with('{')).ok_or_else(|| {
        Failure::usage(format!("`--offset {}` is not a JSON object", arguments.offset))
            .hint("quote it for the shell: `--offset '{\"after\":1200}'`; `headwater state show` prints the present one")
    })?;
    let change = Change {
        table: &arguments.table,
        flow: arguments.flow.as_deref(),
        yes: arguments.yes,
        offset: Some(offset),
    };
    apply(&change, project, pipeline, out).await
}

pub(crate) async fn reset(
    arguments: &args::StateReset,
    project: &Project,
    pipeline: &Pipeline,
    out: &Out,
) -> Result<Exit, Failure> {
    let change =
        Change { table: &arguments.table, flow: arguments.flow.as_deref(), yes: arguments.yes, offset: None };
    apply(&change, project, pipeline, out).await
}

async fn apply(
    change: &Change<'_>,
    project: &Project,
    pipeline: &Pipeline,
    out: &Out,
) -> Result<Exit, Failure> {
    let lake = warehouse::open(project, out)?;
    let mut known = of_table(flows(lake.as_ref(), &pipeline.definition).await?, change.table)?;
    if let Some(flow) = change.flow {
        let names: Vec<String> = known.iter().map(|k| k.flow.clone()).collect();
        known.retain(|k| k.flow == flow);
        if known.is_empty() {
            return Err(Failure::usage(format!("table `{}` has no flow `{flow}`", change.table))
                .hint(crate::names::hint(flow, &names, "flows", "it has not been read yet")));
        }
    }
    let known = match known.as_slice() {
        [one] => one,
        several => {
            let names = several.iter().map(|k| format!("`{}`", k.flow)).collect::<Vec<_>>().join(", ");
            return Err(Failure::usage(format!("table `{}` has several flows", change.table))
                .hint(format!("name one with `--flow`: {names}")));
        }
    };
    if known.state.is_none() {
        return Err(Failure::usage(format!(
            "table {} has not been read yet, so it has no offset",
            known.table
        ))
        .hint("`headwater run` reads it from the start"));
    }
    let shown = |offset: Option<&Offset>| offset.map_or_else(|| "none".into(), ToString::to_string);
    let before = known.state.as_ref().and_then(|s| s.offset.as_ref());
    let what = match &change.offset {
        Some(offset) => format!("{}: offset {} becomes {offset}", known.table, shown(before)),
        None => format!(
            "{}: offset {} is forgotten, the next run reads from the start",
            known.table,
            shown(before)
        ),
    };
    let twice = match lake.table(&known.table).await? {
        Some(table) if !table.keys.is_empty() => "What is read again finds its rows by their keys.",
        _ => "Rows that are read again are appended again.",
    };
    out.warn(&format!("{what}. {twice}"));
    if change.offset.is_none() {
        let spec = crate::config::name_of(&pipeline.path);
        out.say(&format!(
            "`headwater run {spec} --full-refresh={}` makes the table anew instead",
            known.source_table
        ));
    }
    if !change.yes {
        if !out.can_ask() {
            return Err(Failure::usage("this needs a yes, and there is nobody to ask").hint("add `--yes`"));
        }
        if !out.ask("Go on?") {
            out.say("nothing was changed");
            return Ok(Exit::Ok);
        }
    }
    let version = lake.set_offset(&known.table, &known.flow, change.offset.as_ref()).await?;
    if out.is_json() {
        out.json(&Changed {
            table: known.table.to_string(),
            flow: &known.flow,
            before,
            offset: change.offset.as_ref(),
            version,
        })?;
    } else {
        out.say(&format!("{}: version {version}", known.table));
    }
    Ok(Exit::Ok)
}
