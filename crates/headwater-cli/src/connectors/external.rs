//! A connector that a project has added: where its code is, and how it is run.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use headwater_connect::ConnectorFactory;
use headwater_python::{
    ConnectorDefinition, ConnectorSource as Code, Description, Environment, PrepareError, Progress, Runtime,
    RuntimeSettings, Unused,
};
use headwater_spec::{ConnectorOrigin, ConnectorSource};

use super::git::{self, Wanted};
use super::lock::Lock;
use crate::config::{Project, module_path, parse_duration, search_path, shown};
use crate::fail::{Exit, Failure, exit_of};
use crate::output::Out;

/// The folder below a project for what Headwater makes for itself. It is not for version control, and says so.
pub(crate) fn state_dir(project: &Project) -> Result<PathBuf, Failure> {
    state_below(&project.root)
}

fn state_below(root: &Path) -> Result<PathBuf, Failure> {
    let folder = root.join(".headwater");
    let failed = |e: std::io::Error| {
        Failure::other(format!("{} cannot be written", shown(&folder).display()), &e).with_exit(Exit::Usage)
    };
    std::fs::create_dir_all(&folder).map_err(failed)?;
    let ignore = folder.join(".gitignore");
    if !ignore.exists() {
        std::fs::write(&ignore, "# Made by headwater; may be removed at any time.\n*\n").map_err(failed)?;
    }
    Ok(std::path::absolute(&folder).unwrap_or(folder))
}

/// A connector that is here and can be started.
pub(crate) struct External {
    pub(crate) definition: ConnectorDefinition,
    /// The commit that it is, where it came from a repository.
    pub(crate) commit: Option<String>,
    runtime: Runtime,
}

impl External {
    /// Finds the code of a connector, and fetches it where it is not here: at the commit that `headwater.lock` names.
    pub(crate) fn locate(project: &Project, source: &ConnectorSource, out: &Out) -> Result<Self, Failure> {
        let state = state_dir(project)?;
        let at = |field: &str| format!("{}.{field}", source.path);
        let mut commit = None;
        let code = match &source.origin {
            ConnectorOrigin::Folder(folder) => {
                let path = project.root.join(folder);
                existing(&path, source).map_err(|detail| complain(project, &at("folder"), detail))?;
                let path = absolute(&path);
                Code::Folder { repository: repository_of(&path), path }
            }
            ConnectorOrigin::Git { url, reference, path } => {
                let wanted = Wanted { url, reference: reference.as_deref() };
                let (root, found) = checkout(project, &state, &source.name, wanted, out)?;
                let folder = inside(&root, path.as_deref())
                    .map_err(|detail| complain(project, &at("path"), detail))?;
                commit = Some(found);
                Code::Folder { path: folder, repository: Some(root) }
            }
            ConnectorOrigin::Module(module) => Code::Module { module: module.clone() },
            ConnectorOrigin::Command { program, arguments } => {
                let program = if program.contains('/') {
                    absolute(&project.root.join(program))
                } else {
                    program.into()
                };
                Code::Command { program, args: arguments.clone() }
            }
        };
        let mut settings = RuntimeSettings::new(&state);
        if matches!(code, Code::Command { .. }) {
            // Python finds its way by the variable itself.
            settings.environment = crate::commands::environment_of_simulator(&state)?;
        }
        settings.search_path = search_path();
        settings.module_path = module_path();
        settings.python = source.python.as_ref().map(|python| {
            if python.contains('/') { absolute(&project.root.join(python)) } else { python.into() }
        });
        if let Some(text) = &source.call_timeout {
            settings.call_timeout = parse_duration(text)
                .map_err(|error| complain(project, &at("call_timeout"), error.to_string()))?;
        }
        let definition = ConnectorDefinition {
            name: source.name.clone(),
            source: code,
            class: source.class.clone(),
            extras: source.extras.clone(),
        };
        Ok(Self { definition, commit, runtime: Runtime::new(settings) })
    }

    /// The same with more variables in the environment of its workers.
    #[must_use]
    pub(crate) fn with_environment(mut self, environment: Vec<(String, OsString)>) -> Self {
        let settings = RuntimeSettings { environment, ..self.runtime.settings().clone() };
        self.runtime = Runtime::new(settings);
        self
    }

    /// The folder that the connector's code is in, where it has one.
    pub(crate) fn folder(&self) -> Option<&Path> {
        match &self.definition.source {
            Code::Folder { path, .. } if path.is_file() => path.parent(),
            Code::Folder { path, .. } => Some(path),
            _ => None,
        }
    }

    /// A factory of a class that changes the connector's source, for tests.
    pub(crate) fn write_back(&self, environment: &Environment, file: &Path) -> Arc<dyn ConnectorFactory> {
        self.runtime.write_back(&self.definition, environment, file)
    }

    /// A connector in Python in a folder that no project has to know. What is made for it is kept in the project around,
    /// or in the folder itself.
    pub(crate) fn in_folder(folder: &Path, name: &str, project: Option<&Project>) -> Result<Self, Failure> {
        let state = match project {
            Some(project) => state_dir(project)?,
            None => state_below(folder)?,
        };
        let path = absolute(folder);
        let mut settings = RuntimeSettings::new(&state);
        settings.search_path = search_path();
        settings.module_path = module_path();
        let definition = ConnectorDefinition {
            name: name.to_owned(),
            source: Code::Folder { repository: repository_of(&path), path },
            class: None,
            extras: Vec::new(),
        };
        Ok(Self { definition, commit: None, runtime: Runtime::new(settings) })
    }

    /// Installs what the connector needs, where that has not been done. Nothing of the connector is run.
    pub(crate) async fn prepare(&self, out: &Out) -> Result<Environment, Failure> {
        let name = &self.definition.name;
        let progress = |progress: Progress| match progress {
            Progress::Waiting => {
                out.say(&format!("{name}: waiting for another process that installs the same"));
            }
            Progress::Step(step) => out.say(&format!("{name}: {step}")),
            Progress::Line(line) => tracing::info!(connector = name, line, "pip"),
        };
        self.runtime.prepare(&self.definition, &progress).await.map_err(failure)
    }

    /// Loads its code to see what it is.
    pub(crate) async fn describe(&self, environment: &Environment) -> Result<Description, Failure> {
        self.runtime.describe(&self.definition, environment).await.map_err(failure)
    }

    /// A factory of it.
    pub(crate) async fn factory(
        &self,
        environment: &Environment,
    ) -> Result<Arc<dyn ConnectorFactory>, Failure> {
        self.runtime.factory(&self.definition, environment).await.map_err(|error| {
            Failure::from(error).context(format!("connector `{}` cannot be used", self.definition.name))
        })
    }
}

/// The text of a connector's spec, where it is on disk already.
pub(crate) fn spec_at_hand(project: &Project, source: &ConnectorSource) -> Option<String> {
    let folder = match &source.origin {
        ConnectorOrigin::Folder(folder) => project.root.join(folder),
        ConnectorOrigin::Git { url, reference, path } => {
            let wanted = Wanted { url, reference: reference.as_deref() };
            let lock = Lock::read(&project.root).ok()?;
            let commit = lock.commit(&source.name, wanted)?;
            inside(&checkout_folder(&project.root.join(".headwater"), &source.name, commit), path.as_deref())
                .ok()?
        }
        ConnectorOrigin::Module(_) | ConnectorOrigin::Command { .. } => return None,
    };
    let folder = if folder.is_file() { folder.parent()?.to_owned() } else { folder };
    std::fs::read_to_string(folder.join("connector_spec.yaml")).ok()
}

fn failure(error: PrepareError) -> Failure {
    let exit = match &error {
        PrepareError::Describe { source, .. } => exit_of(source),
        PrepareError::Step { .. } => Exit::Source,
        _ => Exit::Usage,
    };
    Failure::new(exit, &error, error.hint())
}

fn complain(project: &Project, at: &str, detail: String) -> Failure {
    Failure::diagnostics(&[project.parsed.error_at(at, detail, None)])
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

fn existing(path: &Path, source: &ConnectorSource) -> Result<(), String> {
    if path.is_dir() || path.is_file() {
        return Ok(());
    }
    Err(format!("there is no folder or file {} for connector `{}`", shown(path).display(), source.name))
}

/// The folder of a repository that a path is in: the nearest upwards that git knows.
fn repository_of(path: &Path) -> Option<PathBuf> {
    path.ancestors().skip(1).find(|folder| folder.join(".git").exists()).map(Path::to_owned)
}

/// The place of a connector in a repository, which must not lie outside.
fn inside(root: &Path, path: Option<&str>) -> Result<PathBuf, String> {
    let Some(path) = path else { return Ok(root.to_owned()) };
    let not_there = || format!("the repository has no folder or file `{path}`");
    let found = root.join(path).canonicalize().map_err(|_| not_there())?;
    let root = root.canonicalize().map_err(|_| not_there())?;
    if found.starts_with(&root) { Ok(found) } else { Err(format!("`{path}` lies outside of the repository")) }
}

fn checkout_folder(state: &Path, name: &str, commit: &str) -> PathBuf {
    state.join("connectors").join(name).join(commit)
}

/// The files of a repository at the commit that is pinned; at the newest, which is pinned then, where none is.
fn checkout(
    project: &Project,
    state: &Path,
    name: &str,
    wanted: Wanted<'_>,
    out: &Out,
) -> Result<(PathBuf, String), Failure> {
    git::check(wanted, out)?;
    let mut lock = Lock::read(&project.root)?;
    let pinned = lock.commit(name, wanted).map(str::to_owned);
    let commit = match &pinned {
        Some(commit) => commit.clone(),
        None => git::resolve(wanted)?,
    };
    let folder = fetched(state, name, wanted, &commit, out)?;
    if pinned.is_none() {
        lock.set(name, wanted, &commit);
        lock.write(&project.root)?;
    }
    Ok((folder, commit))
}

/// The folder of a commit's files, which are fetched where they are not there.
fn fetched(
    state: &Path,
    name: &str,
    wanted: Wanted<'_>,
    commit: &str,
    out: &Out,
) -> Result<PathBuf, Failure> {
    let folder = checkout_folder(state, name, commit);
    if !folder.is_dir() {
        out.say(&format!("{name}: fetching {} at {}", wanted.url, commit.get(..12).unwrap_or(commit)));
        git::fetch(wanted, commit, &folder)?;
    }
    Ok(folder)
}

/// What is kept for connectors and nothing refers to any more: commits, environments, packages of other versions.
pub(crate) fn unused(project: &Project) -> Result<Vec<Unused>, Failure> {
    let state = state_dir(project)?;
    let failed = |e: std::io::Error| {
        Failure::other(format!("{} cannot be looked through", shown(&state).display()), &e)
            .with_exit(Exit::Usage)
    };
    let lock = Lock::read(&project.root)?;
    let connectors = &project.parsed.value.connectors;
    let kept = |name: &str, commit: &str| {
        connectors.iter().filter(|c| c.name == name).any(|c| match &c.origin {
            ConnectorOrigin::Git { url, reference, .. } => {
                lock.commit(name, Wanted { url, reference: reference.as_deref() }) == Some(commit)
            }
            _ => false,
        })
    };
    let mut found = Vec::new();
    for connector in folders(&state.join("connectors")).map_err(failed)? {
        for commit in folders(&connector).map_err(failed)? {
            let name =
                |path: &Path| path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
            // A hidden one is being fetched.
            if !name(&commit).starts_with('.') && !kept(&name(&connector), &name(&commit)) {
                found.push(Unused::look(commit).map_err(failed)?);
            }
        }
    }
    let names: Vec<&str> = connectors.iter().map(|c| c.name.as_str()).collect();
    found.extend(Runtime::new(RuntimeSettings::new(&state)).unused(&names).map_err(failed)?);
    Ok(found)
}

fn folders(of: &Path) -> std::io::Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(of) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut found = entries.map(|e| e.map(|e| e.path())).collect::<std::io::Result<Vec<_>>>()?;
    found.retain(|path| path.is_dir());
    found.sort();
    Ok(found)
}

/// Pins the newest commit of a connector. Gives the one before and the one now.
pub(crate) fn update(
    project: &Project,
    name: &str,
    wanted: Wanted<'_>,
    out: &Out,
) -> Result<(Option<String>, String), Failure> {
    git::check(wanted, out)?;
    let state = state_dir(project)?;
    let mut lock = Lock::read(&project.root)?;
    let before = lock.commit(name, wanted).map(str::to_owned);
    let newest = git::resolve(wanted)?;
    fetched(&state, name, wanted, &newest, out)?;
    lock.set(name, wanted, &newest);
    lock.write(&project.root)?;
    Ok((before, newest))
}

/// Pins a connector to the commit `before` again, or to none.
pub(crate) fn pin_back(
    project: &Project,
    name: &str,
    wanted: Wanted<'_>,
    before: Option<&str>,
) -> Result<(), Failure> {
    let mut lock = Lock::read(&project.root)?;
    match before {
        Some(commit) => lock.set(name, wanted, commit),
        None => lock.remove(name),
    }
    lock.write(&project.root)
}

/// Removes what was fetched and installed for a connector, and its place in `headwater.lock`.
pub(crate) fn forget(project: &Project, name: &str) -> Result<(), Failure> {
    let state = state_dir(project)?;
    let folder = state.join("connectors").join(name);
    let failed = |e: std::io::Error| {
        Failure::other(format!("{} cannot be removed", shown(&folder).display()), &e).with_exit(Exit::Usage)
    };
    match std::fs::remove_dir_all(&folder) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(failed(e)),
        _ => {}
    }
    Runtime::new(RuntimeSettings::new(&state)).remove_environments(name).map_err(failed)?;
    let mut lock = Lock::read(&project.root)?;
    lock.remove(name);
    lock.write(&project.root)
}
