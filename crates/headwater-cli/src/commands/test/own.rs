//! A connector's own tests, which run with the suite.

use std::path::Path;
use std::process::Stdio;

use headwater_testkit::SimulatorFolder;
use serde::Serialize;
use tokio::process::Command;

use super::Led;
use super::target::Ready;
use crate::config::module_path;
use crate::fail::Failure;
use crate::output::Out;
use crate::signals;

/// What became of a connector's own tests.
#[derive(Debug, Serialize)]
pub(super) struct OwnTests {
    /// Whether they passed; none where they did not run.
    pub(super) passed: Option<bool>,
    /// What to say of it.
    pub(super) note: String,
}

/// Runs `tests/` of a connector in Python with pytest, in the environment that the connector runs in. None where there
/// are no tests.
pub(super) async fn run(
    folder: &SimulatorFolder,
    ready: &Ready,
    led: Option<&Led>,
    out: &Out,
) -> Result<Option<OwnTests>, Failure> {
    let Some(environment) = &ready.environment else { return Ok(None) };
    let (Some(python), Some(connector)) = (environment.python(), folder.path.parent()) else {
        return Ok(None);
    };
    let tests = connector.join("tests");
    if !has_tests(&tests) {
        return Ok(None);
    }
    let command = |arguments: &[&str]| {
        let mut command = Command::new(python);
        command.args(arguments).current_dir(connector).stdin(Stdio::null()).kill_on_drop(true);
        let user = module_path().map(|path| std::env::split_paths(&path).collect::<Vec<_>>());
        let search = environment.package().map(Path::to_owned).into_iter().chain(user.unwrap_or_default());
        command.env("PYTHONPATH", std::env::join_paths(search).unwrap_or_default());
        command.envs(led.map(Led::python_environment).unwrap_or_default());
        command
    };
    let unstarted =
        |error: std::io::Error| Failure::other("the connector's own tests cannot be started", &error);
    let there = command(&["-c", "import pytest"]).stderr(Stdio::null()).status().await.map_err(unstarted)?;
    if !there.success() {
        let note = "not run: pytest is not in the connector's environment; name it in its requirements";
        return Ok(Some(OwnTests { passed: None, note: note.to_owned() }));
    }
    out.say(&format!("pytest {}", tests.display()));
    let asked = ["-m", "headwater_worker.own_tests", ".", "tests"];
    let output =
        signals::until_interrupted(out, async { command(&asked).output().await.map_err(unstarted) }).await?;
    let said = String::from_utf8_lossy(&output.stdout);
    let last = said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default().to_owned();
    if !output.status.success() {
        out.stderr(&said);
        out.stderr(&String::from_utf8_lossy(&output.stderr));
    }
    Ok(Some(OwnTests { passed: Some(output.status.success()), note: last }))
}

/// Says whether a folder has files that pytest takes for tests.
fn has_tests(folder: &Path) -> bool {
    let Ok(entries) = std::fs::read_dir(folder) else { return false };
    entries.flatten().any(|entry| {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        name.ends_with(".py") && (name.starts_with("test_") || name.ends_with("_test.py"))
    })
}
