//! The pages of W1 through a plain connector in Python: what it costs beside iterating the same records in Python.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use headwater_connect::{ConnectorFactory, Options};
use headwater_engine::{Engine, EngineSettings, PipelineDefinition, Silent, UpdateRequest};
use headwater_lake::{DeltaLake, LakeOptions};
use headwater_python::{ConnectorDefinition, ConnectorSource, Environment, Runtime, RuntimeSettings};
use headwater_spec::PipelineSpec;
use serde_json::{Value, json};

use crate::child::{figures, median, median_of, one, path, start};
use crate::pages;
use crate::usage::Usage;

/// The least rate of one worker, and the most CPU beside the iteration, for the machine of the goals.
const GOAL_ROWS_PER_SEC: f64 = 85_000.0;
const GOAL_CPU_SECS_PER_100K: f64 = 0.5;
const GOAL_SPEEDUP: f64 = 1.8;
const GOAL_START_MILLIS: f64 = 150.0;

/// Prints one table beside the bare iteration, two tables at once beside one, and how long a worker takes to start.
pub(crate) fn run(sizes: &[&str]) -> Result<()> {
    let size = |i: usize, default: u64| sizes.get(i).map_or(Ok(default), |s| s.parse());
    let (pages, records, runs) = (size(0, 300)?, size(1, 1000)?, size(2, 3)?);
    let scratch = std::env::temp_dir().join("headwater-bench");
    let folder = scratch.join(format!("w1-{pages}-{records}"));
    pages::generate(&folder, pages, records)?;
    let state = scratch.join("python");
    let python = tokio(async { environment(&runtime(&state)).await })?;
    let python = python.python().context("no Python")?.to_owned();

    let mut server = start(&["serve", path(&folder)?, &pages.to_string()])?;
    let mut url = String::new();
    BufReader::new(server.0.stdout.take().context("no stdout")?).read_line(&mut url)?;
    let url = url.trim();

    let (mut bare, mut single, mut double, mut starts) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for run in 0..=runs {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("python/iterate.py");
        let alone = figures(Command::new(&python).arg(script).arg(url))?;
        let warehouse = scratch.join("warehouse");
        let read = |tables: &str| {
            if warehouse.exists() {
                std::fs::remove_dir_all(&warehouse)?;
            }
            one(&["python-read", url, path(&warehouse)?, path(&state)?, tables])
        };
        let (first, both) = (read("1")?, read("2")?);
        for (figures, tables) in [(&alone, 1), (&first, 1), (&both, 2)] {
            if figures["rows"].as_u64() != Some(pages * records * tables) {
                bail!("{} rows instead of {}", figures["rows"], pages * records * tables);
            }
        }
        let started = one(&["python-start", url, path(&state)?])?;
        // The first run of each warms caches and does not count.
        if run > 0 {
            bare.push(alone);
            single.push(first);
            double.push(both);
            starts.push(started["start_millis"].as_f64().context("no figure")?);
        }
    }
    report(&bare, &single, &double, median(starts)?)
}

fn report(bare: &[Value], single: &[Value], double: &[Value], start_millis: f64) -> Result<()> {
    let mut out = std::io::stdout();
    let rows = median_of(single, "rows")?;
    let rate =
        |runs: &[Value]| -> Result<f64> { Ok(median_of(runs, "rows")? / median_of(runs, "wall_secs")?) };
    let cpu = |runs: &[Value]| median_of(runs, "cpu_secs");
    let (iterated, read) = (cpu(bare)? / rows * 1e5, cpu(single)? / rows * 1e5);
    let mut line =
        |label: &str, value: String, goal: String| writeln!(out, "{label:<44} {value:>10}   {goal}");
    line("iterating in Python, rows/s", format!("{:.0}", rate(bare)?), String::new())?;
    line("one table, rows/s", format!("{:.0}", rate(single)?), format!("goal {GOAL_ROWS_PER_SEC}"))?;
    line("two tables, rows/s", format!("{:.0}", rate(double)?), String::new())?;
    let speedup = rate(double)? / rate(single)?;
    line("two tables against one", format!("{speedup:.2}"), format!("goal {GOAL_SPEEDUP}"))?;
    line("iterating, CPU s per 100,000 rows", format!("{iterated:.2}"), String::new())?;
    line("one table, CPU s per 100,000 rows", format!("{read:.2}"), String::new())?;
    let beside = read - iterated;
    line(
        "beside the iteration, CPU s per 100,000 rows",
        format!("{beside:.2}"),
        format!("goal {GOAL_CPU_SECS_PER_100K}"),
    )?;
    let mib = |field| median_of(single, field).map(|bytes| format!("{:.0}", bytes / 1_048_576.0));
    line("engine, peak RSS MiB", mib("peak_rss_bytes")?, String::new())?;
    line("worker, RSS MiB", mib("worker_bytes")?, String::new())?;
    line(
        "start of a worker to its first answer, ms",
        format!("{start_millis:.0}"),
        format!("goal {GOAL_START_MILLIS}"),
    )?;
    Ok(())
}

fn runtime(state: &Path) -> Runtime {
    let mut settings = RuntimeSettings::new(state);
    settings.search_path = std::env::var_os("PATH");
    Runtime::new(settings)
}

fn definition() -> ConnectorDefinition {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("python/pages_source");
    ConnectorDefinition {
        name: "pages_source".into(),
        source: ConnectorSource::Folder { path: folder, repository: None },
        class: None,
        extras: Vec::new(),
    }
}

async fn environment(runtime: &Runtime) -> Result<Environment> {
    let say = |progress| {
        drop(writeln!(std::io::stderr(), "{progress:?}"));
    };
    Ok(runtime.prepare(&definition(), &say).await?)
}

async fn factory(state: &Path) -> Result<Arc<dyn ConnectorFactory>> {
    let runtime = runtime(state);
    let environment = environment(&runtime).await?;
    Ok(runtime.factory(&definition(), &environment).await?)
}

fn tokio<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?.block_on(work)
}

/// Reads one or two tables; gives the figures of the engine and its workers, with the start of both.
#[allow(clippy::disallowed_methods, reason = "a benchmark measures real time")]
pub(crate) fn read(url: &str, out: &Path, state: &Path, tables: &str) -> Result<Value> {
    let started = std::time::Instant::now();
    tokio(async {
        let lake =
            DeltaLake::open(out.to_str().context("a path that is not UTF-8")?, LakeOptions::default())?;
        let engine = Engine::new(Arc::new(lake), EngineSettings::default());
        let connection = Options::from_iter([("base_url", url)]);
        // It keeps its workers for a while, so that what they have used can be read below.
        let factory = factory(state).await?;
        let request = UpdateRequest::new(pipeline(tables)?, Arc::clone(&factory), connection);
        let report = engine.run(request, Arc::new(Silent)).await;
        if let Some(error) = report.flows.iter().find_map(|flow| flow.error.as_ref()) {
            bail!("a flow failed: {error:?}");
        }
        let totals = report.totals();
        let wall = started.elapsed().as_secs_f64();
        let mut figures = Usage::with_children()?.to_json(wall, totals.rows_written);
        figures["worker_bytes"] = totals.outside_bytes.into();
        drop(factory);
        Ok(figures)
    })
}

fn pipeline(tables: &str) -> Result<PipelineDefinition> {
    let mut spec = "connection_name: pages\nobjects:\n  - table: {source_table: items}\n".to_owned();
    if tables == "2" {
        spec.push_str("  - table: {source_table: items_again}\n");
    }
    Ok(PipelineDefinition {
        id: "python".into(),
        name: "python".into(),
        catalog: "main".into(),
        schema: "bench".into(),
        spec: Arc::new(PipelineSpec::parse(&spec, "python.yaml")?),
        event_log: None,
    })
}

/// Times a worker from its start to the answer to its first call.
#[allow(clippy::disallowed_methods, reason = "a benchmark measures real time")]
pub(crate) fn start_time(url: &str, state: &Path) -> Result<Value> {
    tokio(async {
        let factory = factory(state).await?;
        let options = Options::from_iter([("base_url", url)]);
        let started = std::time::Instant::now();
        let connector = factory.connect(&options).await?;
        let tables = connector.list_tables().await?;
        let millis = started.elapsed().as_secs_f64() * 1e3;
        if tables.len() != 2 {
            bail!("tables {tables:?}");
        }
        Ok(json!({"start_millis": millis}))
    })
}
