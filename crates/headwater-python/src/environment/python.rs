//! Finds a Python, and asks it what a connector needs.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde::Deserialize;
use tokio::process::Command;
use tokio::time::timeout;

use crate::error::steps;
use crate::{LastOutput, PrepareError, PythonsFound};

/// The oldest version that connectors are run with.
const OLDEST: [u32; 3] = [3, 11, 0];

/// Looked for in this order: the one that is meant by `python3` here and now (which an active virtual environment
/// decides), then others.
const NAMES: &[&str] = &["python3", "python", "python3.13", "python3.12", "python3.11", "python3.14"];

/// How long an interpreter has to say what it is.
const ASK_LIMIT: Duration = Duration::from_secs(30);

/// Says what it is. Has to run in old versions, too.
const ASK: &str = "import sys, json; print(json.dumps([list(sys.version_info[:3]), sys.executable]))";

/// Looks at a connector's files without running any of them.
const INSPECT: &str = include_str!("inspect.py");

/// An interpreter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Python {
    pub(crate) executable: PathBuf,
    pub(crate) version: [u32; 3],
}

/// What a connector's files say that it needs.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct Inspection {
    /// `[project] dependencies`; none where there is no such table.
    pub(crate) dependencies: Option<Vec<String>>,
    /// Those of the extras asked for.
    pub(crate) extras: Vec<String>,
    /// Extras asked for that the project does not have.
    pub(crate) unknown_extras: Vec<String>,
    pub(crate) requires_python: Option<String>,
    /// What is wrong with the pyproject.toml.
    pub(crate) error: Option<String>,
    /// Packages that connectors expect without naming them, and that the code imports.
    pub(crate) companions: Vec<String>,
    /// Those of them that this interpreter does not have.
    pub(crate) missing: Vec<String>,
    /// Version of the interpreter's own pip.
    pub(crate) pip: Option<Vec<u32>>,
}

/// Finds an interpreter that `wanted` (a list such as `>=3.12,<4`) takes, besides being new enough.
pub(crate) async fn find(
    setting: Option<&Path>,
    search_path: Option<&OsStr>,
    wanted: Option<&str>,
) -> Result<Python, PrepareError> {
    let candidates = match setting {
        Some(path) => vec![path.to_owned()],
        None => candidates(search_path),
    };
    let mut found = Vec::new();
    for candidate in candidates {
        let shown = candidate.display().to_string();
        match ask(&candidate).await {
            Ok(python) if python.version < OLDEST => found.push((shown, dotted(python.version))),
            Ok(python) if !wanted.is_none_or(|wanted| takes(wanted, python.version)) => {
                found.push((shown, dotted(python.version)));
            }
            Ok(python) => return Ok(python),
            Err(why) => found.push((shown, why)),
        }
    }
    let wanted = wanted.map_or_else(|| "3.11 or newer".to_owned(), |w| format!("3.11 or newer, and {w}"));
    Err(PrepareError::NoPython { wanted, found: PythonsFound(found) })
}

fn dotted(version: [u32; 3]) -> String {
    format!("version {}.{}.{}", version[0], version[1], version[2])
}

/// The first of each name in the search path.
fn candidates(search_path: Option<&OsStr>) -> Vec<PathBuf> {
    let default = OsString::from("/usr/local/bin:/usr/bin:/bin");
    let search_path = search_path.unwrap_or(&default);
    let folders: Vec<PathBuf> = std::env::split_paths(search_path).collect();
    let first = |name: &&str| {
        folders.iter().map(|folder| folder.join(name)).find(|path| path.is_absolute() && path.is_file())
    };
    NAMES.iter().filter_map(first).collect()
}

async fn ask(candidate: &Path) -> Result<Python, String> {
    let output = Command::new(candidate)
        .args(["-I", "-c", ASK])
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .output();
    let output = match timeout(ASK_LIMIT, output).await {
        Ok(Ok(output)) => output,
        Ok(Err(error)) => return Err(format!("cannot be run: {error}")),
        Err(_) => return Err("does not answer".into()),
    };
    if !output.status.success() {
        return Err("cannot be run".into());
    }
    let (version, executable): ([u32; 3], PathBuf) =
        serde_json::from_slice(&output.stdout).map_err(|_| "is no Python".to_owned())?;
    Ok(Python { executable, version })
}

/// Says whether a list of version clauses, as in `requires-python`, takes a version. What it does not understand takes
/// any.
pub(crate) fn takes(wanted: &str, version: [u32; 3]) -> bool {
    wanted.split(',').map(str::trim).filter(|clause| !clause.is_empty()).all(|clause| {
        let at = clause.find(|c: char| c.is_ascii_digit()).unwrap_or(clause.len());
        let (operator, text) = clause.split_at(at);
        let (text, any_end) = match text.trim().strip_suffix(".*") {
            Some(prefix) => (prefix, true),
            None => (text.trim(), false),
        };
        let Ok(parts) = text.split('.').map(str::parse).collect::<Result<Vec<u32>, _>>() else { return true };
        let mut full = [0; 3];
        full.iter_mut().zip(&parts).for_each(|(to, from)| *to = *from);
        let starts_alike = version.iter().zip(&parts).all(|(a, b)| a == b);
        match operator.trim() {
            ">=" => version >= full,
            ">" => version > full,
            "<=" => version <= full,
            "<" => version < full,
            "==" | "===" if any_end => starts_alike,
            "==" | "===" => version == full,
            "!=" if any_end => !starts_alike,
            "!=" => version != full,
            "~=" => {
                let fixed = parts.len().saturating_sub(1);
                version >= full && version.iter().zip(&parts).take(fixed).all(|(a, b)| a == b)
            }
            _ => true,
        }
    })
}

/// Asks what the connector at `path` needs.
pub(crate) async fn inspect(
    python: &Python,
    connector: &str,
    path: &Path,
    extras: &[String],
) -> Result<Inspection, PrepareError> {
    let failed = |lines: Vec<String>| PrepareError::Step {
        step: steps::INSPECT,
        connector: connector.to_owned(),
        output: LastOutput(lines),
        offline: false,
    };
    let output = Command::new(&python.executable)
        .args(["-P", "-c", INSPECT])
        .arg(path)
        .args(extras)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = timeout(ASK_LIMIT, output)
        .await
        .map_err(|_| failed(vec!["Python does not answer".into()]))?
        .map_err(|error| failed(vec![error.to_string()]))?;
    let said = || {
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.into_iter().rev().take(5).rev().collect()
    };
    if !output.status.success() {
        return Err(failed(said()));
    }
    serde_json::from_slice(&output.stdout).map_err(|error| failed(vec![error.to_string()]))
}

#[cfg(test)]
mod tests {
    use super::takes;

    #[test]
    fn versions_are_compared_as_requirements_say() {
        for (wanted, expect) in [
            ("", true),
            (">=3.11", true),
            (">= 3.11, <4", true),
            (">=3.12", false),
            ("<3.12", true),
            ("<3.11", false),
            ("~=3.10", true),
            ("~=3.11.5", true),
            ("~=3.12.0", false),
            ("==3.11.*", true),
            ("==3.12.*", false),
            ("!=3.11.*", false),
            ("!=3.11.7", false),
            (">3.11.7", false),
            ("==3.11.7", true),
            (">=3.11.dev0", true),
            ("whatever", true),
        ] {
            assert_eq!(takes(wanted, [3, 11, 7]), expect, "{wanted}");
        }
    }
}
