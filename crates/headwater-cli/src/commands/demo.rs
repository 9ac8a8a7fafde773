//! `demo`: a project on the embedded example source, run twice, and what arrived.

use std::path::PathBuf;

use headwater_engine::{Engine, EngineSettings, UpdateRequest};

use super::{init, pipeline, show};
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

pub(crate) async fn demo(arguments: &args::Demo, out: &Out) -> Result<Exit, Failure> {
    let folder = Folder::new(arguments.dir.as_ref())?;
    let step = |text: &str| out.say(&format!("\n{}", out.style(Style::Bold, text)));
    init::write_project(&folder.path)?;
    out.say(&format!("project: {}", folder.path.display()));
    let project = Project::open(&folder.path)?;
    let pipeline = Pipeline::load(&project, &project.spec_path("pipelines/example.yaml")?, out)?;
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
    step("headwater show");
    show::tables(lake.as_ref(), out).await?;
    if let Some(dir) = &arguments.dir {
        out.say(&format!("\nlook around: cd {} && headwater show example.orders", dir.display()));
    } else {
        out.say("\nto keep what it makes: headwater demo ./my-lake");
    }
    Ok(Exit::Ok)
}
