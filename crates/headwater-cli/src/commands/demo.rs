//! `demo`: a project on the embedded example source, run twice, and what arrived.

use std::collections::BTreeMap;
use std::path::PathBuf;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use futures::StreamExt;
use headwater_engine::{Engine, EngineSettings, UpdateRequest};
use headwater_lake::{Lake, ReadSpec, TableName, TableState};

use super::{init, pipeline, show, timeline};
use crate::args;
use crate::config::Project;
use crate::fail::{Exit, Failure};
use crate::output::{Out, Style};
use crate::spec::Pipeline;
use crate::warehouse;

/// The folder of the demo; a temporary one goes away with it, however the demo ends.
struct Folder {
    path: PathBuf,
    temporary: bool,
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.temporary {
            // What cannot be removed stays for the system to clear up.
            drop(std::fs::remove_dir_all(&self.path));
        }
    }
}

impl Folder {
    fn new(given: Option<&PathBuf>) -> Result<Self, Failure> {
        if let Some(path) = given {
            return Ok(Self { path: path.clone(), temporary: false });
        }
        let path = std::env::temp_dir().join(format!("headwater-demo-{}", std::process::id()));
        // Somebody else's folder of that name is not used.
        std::fs::create_dir(&path).map_err(|e| {
            Failure::other(format!("{} cannot be made", path.display()), &e).with_exit(Exit::Usage)
        })?;
        Ok(Self { path, temporary: true })
    }
}

/// The order of which most is told.
async fn most_changed(lake: &dyn Lake, state: &TableState) -> Result<Option<i64>, Failure> {
    let spec = ReadSpec { columns: Some(vec!["order_id".into()]), ..ReadSpec::default() };
    let mut rows = lake.read(&state.name, spec).await?;
    let mut counts: BTreeMap<i64, usize> = BTreeMap::new();
    while let Some(batch) = rows.next().await {
        let batch = batch?;
        let orders = batch.column(0).as_primitive_opt::<Int64Type>();
        orders.into_iter().flatten().flatten().for_each(|order| *counts.entry(order).or_default() += 1);
    }
    Ok(counts.into_iter().max_by_key(|(_, count)| *count).map(|(order, _)| order))
}

pub(crate) async fn demo(arguments: &args::Demo, out: &Out) -> Result<Exit, Failure> {
    let folder = Folder::new(arguments.dir.as_ref())?;
    let step = |text: &str| out.say(&format!("\n{}", out.style(Style::Bold, text)));
    init::write_project(&folder.path)?;
    out.say(&format!("project: {}", folder.path.display()));
    let project = Project::open(&folder.path)?;
    let pipeline = Pipeline::load(&project, &project.spec_path("pipelines/example.yaml")?, out).await?;
    let lake = warehouse::open(&project, out)?;
    let engine = Engine::new(lake.clone(), EngineSettings::default());
    for title in ["headwater run example", "headwater run example   (again: only what is new)"] {
        step(title);
        let mut connection = pipeline.source.options()?;
        // Something happens in the shop with each request, so that the second run finds something new.
        connection.set("steps_per_request", "5");
        let mut request =
            UpdateRequest::new(pipeline.definition.clone(), pipeline.source.factory.clone(), connection);
        request.secret_options = pipeline.source.secret_options();
        let report = pipeline::run_update(&engine, request, out).await?;
        let exit = pipeline::finish(&report, out)?;
        if exit != Exit::Ok {
            return Ok(exit);
        }
    }
    step("headwater plan example   (what is read how, and kept as what)");
    let selection = args::Selection { spec: "example".into(), tables: Vec::new(), full_refresh: Vec::new() };
    pipeline::plan(&args::Plan { selection }, &project, &pipeline, out).await?;
    step("headwater show");
    show::tables(lake.as_ref(), out).await?;
    let changes = TableName::new(project.catalog(), "example", "order_changes")?;
    if let Some(state) = lake.table(&changes).await?
        && let Some(order) = most_changed(lake.as_ref(), &state).await?
    {
        step(&format!("headwater show example.order_changes --history {order}"));
        timeline::show(lake.as_ref(), &state, &order.to_string(), out).await?;
    }
    if let Some(dir) = &arguments.dir {
        out.say(&format!("\nlook around: cd {} && headwater show example.orders", dir.display()));
    } else {
        out.say("\nto keep what it makes: headwater demo ./my-lake");
    }
    Ok(Exit::Ok)
}
