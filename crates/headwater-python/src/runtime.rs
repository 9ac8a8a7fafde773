use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use headwater_connect::protocol::{Abilities, Call, Failure};
use headwater_connect::{BoxError, ConnectorError, ConnectorFactory, Profile};
use headwater_spec::{ConnectorSpec, is_secret_name};
use serde::Deserialize;
use tokio::process::Command;
use tokio::time::timeout;

use crate::connector::WorkerConnectorFactory;
use crate::pool::Pool;
use crate::process::{Launch, sweep_temp_folders};
use crate::unused::{self, Unused, hold};
use crate::worker::Worker;
use crate::{
    ConnectorDefinition, ConnectorSource, Description, PrepareError, RuntimeSettings, environment, package,
};

/// The name of a connector's spec beside its code.
const SPEC_FILE: &str = "connector_spec.yaml";

/// The largest spec that is read.
const MAX_SPEC_BYTES: u64 = 4 << 20;

/// How long a connector may take to say what it is: its modules are imported for it.
const DESCRIBE_LIMIT: Duration = Duration::from_secs(120);

/// Runs the connectors of a project. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Runtime {
    settings: Arc<RuntimeSettings>,
}

impl Runtime {
    /// A runtime with these settings. Nothing is done yet.
    pub fn new(settings: RuntimeSettings) -> Self {
        Self { settings: Arc::new(settings) }
    }

    /// The settings.
    pub fn settings(&self) -> &RuntimeSettings {
        &self.settings
    }

    /// Makes ready what a connector runs in: finds a Python, and makes a virtual environment where the connector
    /// needs one and has none yet. Nothing of the connector is run. What has been made is found again within
    /// milliseconds until the connector's files or the settings change.
    ///
    /// # Errors
    /// No suitable Python, requirements that cannot be read or installed, or a state folder that cannot be written;
    /// [`PrepareError::hint`] says what to do. Nothing half-made is left.
    ///
    /// # Cancel safety
    /// Given up, it leaves nothing running and nothing half-made.
    pub async fn prepare(
        &self,
        definition: &ConnectorDefinition,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<Environment, PrepareError> {
        if let ConnectorSource::Command { .. } = &definition.source {
            return Ok(Environment { python: None, package: None, held: Arc::default() });
        }
        loop {
            let python = environment::prepare(&self.settings, definition, progress).await?;
            let package = package::unpacked(&self.settings.python_dir())?;
            let repository = match &definition.source {
                ConnectorSource::Folder { repository: Some(folder), .. }
                    if folder.starts_with(&self.settings.state_dir) =>
                {
                    Some(folder.clone())
                }
                _ => None,
            };
            let made = environment::folder_around(&self.settings, &python);
            let mut held = Vec::new();
            let mut is_gone = false;
            for folder in [Some(package.clone()), made, repository].into_iter().flatten() {
                let failed = |source| PrepareError::File { action: "open", path: folder.clone(), source };
                match hold(&folder).map_err(failed)? {
                    Some(open) => held.push(open),
                    // Somebody has just removed what was in nobody's use: it is made again.
                    None => is_gone = true,
                }
            }
            if !is_gone {
                return Ok(Environment { python: Some(python), package: Some(package), held: held.into() });
            }
        }
    }

    /// Finds what is kept for connectors and nothing refers to: environments that none of `connectors` (all that there
    /// are) runs in, and packages of other versions.
    ///
    /// # Errors
    /// The state folder cannot be read.
    pub fn unused(&self, connectors: &[&str]) -> std::io::Result<Vec<Unused>> {
        unused::find(&self.settings, connectors)
    }

    /// Removes the environments that were made for a connector; for when it is removed.
    ///
    /// # Errors
    /// One of them could not be removed.
    pub fn remove_environments(&self, connector: &str) -> std::io::Result<()> {
        environment::remove(&self.settings, connector)
    }

    /// Asks a connector what it is. Its modules are imported, so its code runs; no instance is made.
    ///
    /// # Errors
    /// It cannot be imported, holds no connector class or several, or does not answer.
    pub async fn describe(
        &self,
        definition: &ConnectorDefinition,
        environment: &Environment,
    ) -> Result<Description, PrepareError> {
        let failed =
            |source| PrepareError::Describe { connector: definition.name.clone(), source: Box::new(source) };
        let launch = self.launch(definition, environment);
        let described = match definition.source {
            ConnectorSource::Command { .. } => describe_command(&launch, &definition.name).await,
            _ => describe_python(launch).await,
        };
        described.map_err(failed)
    }

    /// A factory of instances of the connector, each in a worker process.
    ///
    /// # Errors
    /// The connector has to be asked for its spec, and does not answer.
    pub async fn factory(
        &self,
        definition: &ConnectorDefinition,
        environment: &Environment,
    ) -> Result<Arc<dyn ConnectorFactory>, ConnectorError> {
        let launch = self.launch(definition, environment);
        sweep_temp_folders(&launch.temp_root);
        let beside = match &definition.source {
            ConnectorSource::Folder { path, .. } => read_spec(&path.join(SPEC_FILE)),
            _ => None,
        };
        let (spec, worker) = match beside {
            Some(text) => (Some(text), None),
            None => {
                let (spec, worker) = first_worker(&launch, &definition.name).await?;
                (spec, Some(worker))
            }
        };
        let is_secret = secret_names(spec.as_deref());
        let profile = match definition.source {
            ConnectorSource::Command { .. } => match &worker {
                Some(worker) if worker.hello().values.as_deref() == Some("python") => Profile::Python,
                _ => Profile::Json,
            },
            _ => Profile::Python,
        };
        let parallel_parts = self.settings.parallel_parts.max(1);
        let held = Arc::clone(&environment.held);
        let pool =
            Arc::new(Pool::new(&definition.name, launch, is_secret, parallel_parts.max(4)).holding(held));
        if let Some(worker) = worker {
            pool.take_back(worker, &tokio::runtime::Handle::current());
        }
        let call_timeout = self.settings.call_timeout;
        Ok(Arc::new(WorkerConnectorFactory { pool, spec, profile, call_timeout, parallel_parts }))
    }

    /// A factory whose instances change the connector's source instead of reading it, for tests: each is the class
    /// `WriteBack` in `file`, run as the connector is. `list_tables` names the tables that it can change, and its
    /// operations for agents are `insert`, `update` and `delete`.
    pub fn write_back(
        &self,
        definition: &ConnectorDefinition,
        environment: &Environment,
        file: &Path,
    ) -> Arc<dyn ConnectorFactory> {
        let mut launch = self.launch(definition, environment);
        launch.args.extend(["--write-back".into(), file.as_os_str().to_owned()]);
        let spec = match &definition.source {
            ConnectorSource::Folder { path, .. } => read_spec(&path.join(SPEC_FILE)),
            _ => None,
        };
        let pool = Arc::new(Pool::new(&definition.name, launch, secret_names(spec.as_deref()), 1));
        let call_timeout = self.settings.call_timeout;
        Arc::new(WorkerConnectorFactory {
            pool,
            spec,
            profile: Profile::Python,
            call_timeout,
            parallel_parts: 1,
        })
    }

    fn launch(&self, definition: &ConnectorDefinition, environment: &Environment) -> Launch {
        let temp_root = self.settings.python_dir().join("tmp");
        let mut args = Vec::new();
        let program = match &definition.source {
            ConnectorSource::Command { program, args } => {
                return Launch {
                    program: program.clone(),
                    args: args.iter().map(Into::into).collect(),
                    variables: self.settings.environment.clone(),
                    removed_variables: Vec::new(),
                    temp_root,
                };
            }
            ConnectorSource::Folder { path, repository } => {
                args.extend(["--path".into(), path.clone().into_os_string()]);
                args.extend(["--name".into(), definition.name.clone().into()]);
                if let Some(repository) = repository {
                    args.extend(["--repo".into(), repository.clone().into_os_string()]);
                }
                environment.python.clone()
            }
            ConnectorSource::Module { module } => {
                args.extend(["--module".into(), module.into()]);
                environment.python.clone()
            }
        };
        if let Some(class) = &definition.class {
            args.extend(["--class".into(), class.into()]);
        }
        args.splice(0..0, ["-m".into(), "headwater_worker".into()]);
        let mut search = Vec::from_iter(environment.package.clone());
        if let Some(path) = &self.settings.module_path {
            search.extend(std::env::split_paths(path));
        }
        let search = std::env::join_paths(search).unwrap_or_default();
        let mut variables = self.settings.environment.clone();
        variables.push(("PYTHONPATH".to_owned(), search));
        Launch {
            program: program.unwrap_or_else(|| PathBuf::from("python3")),
            args,
            variables,
            removed_variables: vec!["PYTHONHOME", "PYTHONSTARTUP", "PYTHONINSPECT", "PYTHONSAFEPATH"],
            temp_root,
        }
    }
}

/// How often a worker is started that dies before it has told anything: what killed it may pass, and nobody tries
/// again here.
const STARTS: usize = 3;

/// A worker that has told the connector's spec, and the spec.
async fn first_worker(launch: &Launch, name: &str) -> Result<(Option<String>, Worker), ConnectorError> {
    let mut starts = 1;
    loop {
        let asked = async {
            let mut worker = Worker::start(launch, name).await?;
            let spec = ask_spec(&mut worker).await?;
            Ok((spec, worker))
        };
        match asked.await {
            Err(ConnectorError::WorkerDied { .. }) if starts < STARTS => starts += 1,
            done => return done,
        }
    }
}

impl RuntimeSettings {
    /// Where everything about Python is kept.
    pub(crate) fn python_dir(&self) -> PathBuf {
        self.state_dir.join("python")
    }
}

/// What a connector runs in, made ready by [`Runtime::prepare`].
#[derive(Debug, Clone)]
pub struct Environment {
    /// The Python, where the connector needs one.
    python: Option<PathBuf>,
    /// The folder of the package that is brought along.
    package: Option<PathBuf>,
    /// Locks that keep both, and the connector's files, where they are.
    held: Arc<[File]>,
}

impl Environment {
    /// The folder that `PYTHONPATH` has to name for a program that imports what connectors import.
    pub fn package(&self) -> Option<&Path> {
        self.package.as_deref()
    }

    /// The Python that runs the connector; none for an executable.
    pub fn python(&self) -> Option<&Path> {
        self.python.as_deref()
    }
}

/// What is being done to make an environment ready; shown to whoever waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// Another process is making the same environment.
    Waiting,
    /// A step begins, such as `making a virtual environment`.
    Step(&'static str),
    /// A line that pip wrote.
    Line(String),
}

/// Says of an option's name whether its value is secret.
type IsSecret = Box<dyn Fn(&str) -> bool + Send + Sync>;

fn secret_names(spec: Option<&str>) -> IsSecret {
    match spec.and_then(|text| ConnectorSpec::parse(text, SPEC_FILE).ok()) {
        Some(parsed) => Box::new(move |name| parsed.value.is_secret(name)),
        None => Box::new(is_secret_name),
    }
}

/// The text of a spec file, where there is one that can be read.
fn read_spec(path: &Path) -> Option<String> {
    let metadata = path.metadata().ok()?;
    if !metadata.is_file() || metadata.len() > MAX_SPEC_BYTES {
        return None;
    }
    std::fs::read_to_string(path).ok()
}

/// The spec that a worker has, where it knows of specs.
async fn ask_spec(worker: &mut Worker) -> Result<Option<String>, ConnectorError> {
    match worker.call::<Option<String>>(Call::Spec, DESCRIBE_LIMIT).await {
        // Headwater knows the call, so a worker that does not is an older one, or one that has no spec to give.
        Err(ConnectorError::Protocol { .. }) if worker.is_ready() => Ok(None),
        answer => answer,
    }
}

async fn describe_command(launch: &Launch, name: &str) -> Result<Description, ConnectorError> {
    let mut worker = Worker::start(launch, name).await?;
    let spec = ask_spec(&mut worker).await?;
    let hello = worker.hello().clone();
    worker.end(crate::process::Patience::Polite).await;
    let class =
        if hello.version.is_empty() { hello.worker } else { format!("{} {}", hello.worker, hello.version) };
    Ok(Description { class, spec, runtime: hello.runtime, ..Description::default() })
}

/// What `--describe` prints.
#[derive(Deserialize)]
struct Described {
    error: Option<Failure>,
    #[serde(default)]
    selector: String,
    file: Option<PathBuf>,
    #[serde(default)]
    abilities: Abilities,
    #[serde(default)]
    candidates: Vec<String>,
    #[serde(default)]
    doc: String,
    spec: Option<PathBuf>,
}

async fn describe_python(mut launch: Launch) -> Result<Description, ConnectorError> {
    launch.args.push("--describe".into());
    let shown = launch.program.display().to_string();
    let not_started = |source: BoxError| ConnectorError::NotStarted { command: shown.clone(), source };
    let mut command = Command::new(&launch.program);
    command.args(&launch.args).envs(launch.variables).env("TZ", "UTC");
    for name in launch.removed_variables {
        command.env_remove(name);
    }
    command.stdin(std::process::Stdio::null()).process_group(0).kill_on_drop(true);
    let output = timeout(DESCRIBE_LIMIT, command.output())
        .await
        .map_err(|_| not_started("it does not end".into()))?
        .map_err(|error| not_started(error.into()))?;
    let said = String::from_utf8_lossy(&output.stderr);
    let last = || {
        let mut lines: Vec<String> = said.lines().rev().take(20).map(str::to_owned).collect();
        lines.reverse();
        headwater_connect::LastLog(lines)
    };
    let described: Described =
        serde_json::from_slice(&output.stdout).map_err(|_| ConnectorError::WorkerDied {
            call: "describe".into(),
            status: output.status.to_string(),
            log: Some(last()),
        })?;
    if let Some(failure) = described.error {
        return Err(failure.into_error(&Call::Spec));
    }
    let mut warnings: Vec<String> = Vec::new();
    let notes = said.lines().filter_map(|line| line.strip_prefix("headwater_worker: "));
    warnings.extend(notes.map(str::to_owned));
    let spec = described.spec.as_deref().and_then(read_spec);
    if spec.is_none() {
        warnings.push(format!("it has no {SPEC_FILE}: its options are not checked"));
    }
    Ok(Description {
        class: described.selector,
        summary: described.doc,
        file: described.file,
        candidates: described.candidates,
        abilities: described.abilities,
        spec,
        runtime: shown,
        warnings,
    })
}
