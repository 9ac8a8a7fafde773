//! What a Python connector runs in: an interpreter that has what the connector imports.
//!
//! A connector with requirements gets a virtual environment of its own, made in a temporary folder, renamed when it is
//! whole, and named after everything that went into it: it is made again when that changes. One without runs with
//! the interpreter that was found, where that has what the connector imports.

mod install;
mod python;
mod requirements;

use std::collections::BTreeSet;
use std::fs::File;
use std::hash::{Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use siphasher::sip128::{Hasher128, SipHasher13};
use tokio::time::sleep;

use crate::{ConnectorDefinition, ConnectorSource, LastOutput, PrepareError, Progress, RuntimeSettings};
use install::Plan;
use python::Python;

/// Files looked at to see whether a connector has changed; one with more is asked anew each time.
const MOST_FILES: usize = 5_000;

/// How often a lock that another process holds is tried.
const LOCK_PERIOD: Duration = Duration::from_millis(200);

/// What connectors expect without naming it; installed where it can be.
const COMPANIONS: &[&str] = &["requests", "pydantic", "pyyaml", "pyjwt[crypto]"];

/// What was made ready for a connector the last time, and for what.
#[derive(Debug, Serialize, Deserialize)]
struct Prepared {
    seen: String,
    python: PathBuf,
    python_changed_ns: u128,
}

/// Makes ready what the connector needs, and gives the Python to run it with.
pub(crate) async fn prepare(
    settings: &RuntimeSettings,
    definition: &ConnectorDefinition,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<PathBuf, PrepareError> {
    let python_dir = settings.python_dir();
    let seen = seen(settings, definition);
    let note = python_dir.join("prepared").join(format!("{}.json", file_name(&definition.name)));
    if let Some(seen) = &seen
        && let Some(python) = remembered(&note, seen)
    {
        return Ok(python);
    }
    let (python, plan) = plan(settings, definition).await?;
    let executable = match plan {
        None => python.executable,
        Some(plan) => environment(&python_dir, definition, &python, &plan, progress).await?,
    };
    if let (Some(seen), Some(python_changed_ns)) = (seen, changed_ns(&executable)) {
        let prepared = Prepared { seen, python: executable.clone(), python_changed_ns };
        // Only saves looking again.
        if let Err(error) = remember(&note, &prepared) {
            tracing::debug!(%error, "what was made ready is not remembered");
        }
    }
    Ok(executable)
}

/// The environment that was made ready for a connector the last time.
pub(crate) fn folder_of(settings: &RuntimeSettings, connector: &str) -> Option<PathBuf> {
    let note = settings.python_dir().join("prepared").join(format!("{}.json", file_name(connector)));
    let prepared: Prepared = serde_json::from_slice(&std::fs::read(note).ok()?).ok()?;
    folder_around(settings, &prepared.python)
}

/// The environment that an interpreter lies in; none for one of the machine's.
pub(crate) fn folder_around(settings: &RuntimeSettings, python: &Path) -> Option<PathBuf> {
    let envs = settings.python_dir().join("envs");
    let name = python.strip_prefix(&envs).ok()?.components().next()?;
    Some(envs.join(name))
}

/// Removes the environments of a connector that are not in use.
pub(crate) fn remove(settings: &RuntimeSettings, connector: &str) -> io::Result<()> {
    let python_dir = settings.python_dir();
    let name = file_name(connector);
    match std::fs::remove_file(python_dir.join("prepared").join(format!("{name}.json"))) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let entries = match std::fs::read_dir(python_dir.join("envs")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let own = entry
            .file_name()
            .to_str()
            .and_then(|n| n.strip_prefix(&name)?.strip_prefix('-').map(str::to_owned));
        if own.is_some_and(|rest| rest.chars().all(|c| c.is_ascii_hexdigit())) {
            std::fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

/// Finds an interpreter, and what has to be installed; nothing where the interpreter has it all.
async fn plan(
    settings: &RuntimeSettings,
    definition: &ConnectorDefinition,
) -> Result<(Python, Option<Plan>), PrepareError> {
    let find = async |wanted: Option<&str>| {
        python::find(settings.python.as_deref(), settings.search_path.as_deref(), wanted).await
    };
    let ConnectorSource::Folder { path, .. } = &definition.source else {
        return Ok((find(None).await?, None));
    };
    if !path.exists() {
        return Err(PrepareError::NoConnector { path: path.clone() });
    }
    let mut python = find(None).await?;
    let mut needs = python::inspect(&python, &definition.name, path, &definition.extras).await?;
    let folder = if path.is_dir() { path.as_path() } else { path.parent().unwrap_or(path) };
    let project = folder.join("pyproject.toml");
    if let Some(reason) = needs.error {
        return Err(PrepareError::Requirements { path: project, reason });
    }
    if !needs.unknown_extras.is_empty() {
        let reason = format!("it has no extra `{}`", needs.unknown_extras.join("`, `"));
        return Err(PrepareError::Requirements { path: project, reason });
    }
    if let Some(wanted) =
        needs.requires_python.as_deref().filter(|wanted| !python::takes(wanted, python.version))
    {
        python = find(Some(wanted)).await?;
        needs = python::inspect(&python, &definition.name, path, &definition.extras).await?;
    }
    let list = folder.join("requirements.txt");
    let mut requirements = needs.extras;
    let mut from_file = None;
    match needs.dependencies {
        Some(dependencies) => requirements.extend(dependencies),
        None if list.is_file() => {
            let text = std::fs::read_to_string(&list).map_err(|source| PrepareError::File {
                action: "read",
                path: list.clone(),
                source,
            })?;
            from_file = Some(requirements::rewritten(&text, folder)).filter(|text| !text.is_empty());
        }
        None => {}
    }
    requirements.retain(|requirement| !requirements::is_framework(requirement));
    if requirements.is_empty() && from_file.is_none() && needs.missing.is_empty() {
        return Ok((python, None));
    }
    let named: BTreeSet<String> = requirements.iter().map(|r| requirements::name_of(r)).collect();
    let lacks = |companion: &String| !named.contains(&requirements::name_of(companion));
    requirements.extend(needs.companions.into_iter().filter(lacks));
    let named: BTreeSet<String> = requirements.iter().map(|r| requirements::name_of(r)).collect();
    let nice = COMPANIONS.iter().chain(&["orjson"]).map(|name| (*name).to_owned());
    let nice = nice.filter(|name| !named.contains(&requirements::name_of(name))).collect();
    // Since this version one pip can install into another environment; bringing one along for each takes seconds.
    let lends_pip = needs.pip.is_some_and(|version| version >= vec![22, 3]);
    let folder = folder.to_owned();
    Ok((python, Some(Plan { folder, requirements, from_file, nice, lends_pip })))
}

/// The Python of the environment for `plan`. Makes the environment where there is none.
async fn environment(
    python_dir: &Path,
    definition: &ConnectorDefinition,
    python: &Python,
    plan: &Plan,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<PathBuf, PrepareError> {
    let envs = python_dir.join("envs");
    let folder = envs.join(format!("{}-{}", file_name(&definition.name), plan.key(python)));
    let executable = folder.join("bin").join("python");
    if folder.is_dir() {
        return Ok(executable);
    }
    let failed = |source| PrepareError::File { action: "write", path: folder.clone(), source };
    std::fs::create_dir_all(&envs).map_err(failed)?;
    let _lock = lock(&envs.join(".lock"), progress).await.map_err(failed)?;
    if folder.is_dir() {
        return Ok(executable);
    }
    let temp = tempfile::Builder::new().prefix(".making-").tempdir_in(&envs).map_err(failed)?;
    install::make(&definition.name, python, plan, temp.path(), progress).await?;
    std::fs::rename(temp.path(), &folder).map_err(failed)?;
    let _gone = temp.keep();
    Ok(executable)
}

/// Waits for a lock on a file that no other process holds. Dropped, it is free.
async fn lock(path: &Path, progress: &(dyn Fn(Progress) + Sync)) -> io::Result<File> {
    let file = File::options().create(true).truncate(false).write(true).open(path)?;
    let mut told = false;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(std::fs::TryLockError::WouldBlock) => {}
            Err(std::fs::TryLockError::Error(error)) => return Err(error),
        }
        if !told {
            progress(Progress::Waiting);
            told = true;
        }
        sleep(LOCK_PERIOD).await;
    }
}

/// Everything that decides what has to be made ready, in short; none where it cannot be told.
fn seen(settings: &RuntimeSettings, definition: &ConnectorDefinition) -> Option<String> {
    let mut hasher = SipHasher13::new();
    env!("CARGO_PKG_VERSION").hash(&mut hasher);
    (&settings.python, &settings.search_path, &definition.extras).hash(&mut hasher);
    match &definition.source {
        ConnectorSource::Folder { path, .. } => {
            path.canonicalize().ok()?.hash(&mut hasher);
            let mut count = 0;
            hash_files(path, &mut hasher, &mut count).ok()?;
            if count > MOST_FILES {
                return None;
            }
        }
        ConnectorSource::Module { module } => module.hash(&mut hasher),
        ConnectorSource::Command { .. } => {}
    }
    Some(format!("{:032x}", hasher.finish128().as_u128()))
}

/// Names, lengths and times of the files that a connector is made of.
fn hash_files(path: &Path, hasher: &mut impl Hasher, count: &mut usize) -> io::Result<()> {
    let metadata = path.metadata()?;
    if metadata.is_dir() {
        let mut entries = std::fs::read_dir(path)?.collect::<io::Result<Vec<_>>>()?;
        entries.sort_by_key(std::fs::DirEntry::file_name);
        for entry in entries {
            let name = entry.file_name();
            let text = name.to_string_lossy();
            let skipped =
                text.starts_with('.') || text == "__pycache__" || text == "node_modules" || text == "venv";
            if !skipped && *count <= MOST_FILES {
                hash_files(&entry.path(), hasher, count)?;
            }
        }
        return Ok(());
    }
    *count += 1;
    path.hash(hasher);
    metadata.len().hash(hasher);
    metadata.modified()?.duration_since(UNIX_EPOCH).map(|d| d.as_nanos()).unwrap_or_default().hash(hasher);
    Ok(())
}

fn remembered(note: &Path, seen: &str) -> Option<PathBuf> {
    let prepared: Prepared = serde_json::from_slice(&std::fs::read(note).ok()?).ok()?;
    let same = prepared.seen == seen && changed_ns(&prepared.python) == Some(prepared.python_changed_ns);
    same.then_some(prepared.python)
}

fn remember(note: &Path, prepared: &Prepared) -> io::Result<()> {
    let parent = note.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(parent)?;
    let mut temp = tempfile::NamedTempFile::new_in(parent)?;
    serde_json::to_writer(&mut temp, prepared)?;
    temp.persist(note)?;
    Ok(())
}

fn changed_ns(path: &Path) -> Option<u128> {
    let modified = path.metadata().ok()?.modified().ok()?;
    modified.duration_since(UNIX_EPOCH).ok().map(|d| d.as_nanos())
}

/// A connector's name as part of a file's name.
fn file_name(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '_' { c } else { '-' };
    name.chars().take(60).map(plain).collect()
}

/// Quotes the last lines of what a program said.
fn last_output(lines: impl DoubleEndedIterator<Item = String>) -> LastOutput {
    const SHOWN: usize = 15;
    let mut last: Vec<String> = lines.rev().filter(|line| !line.trim().is_empty()).take(SHOWN).collect();
    last.reverse();
    LastOutput(last)
}
