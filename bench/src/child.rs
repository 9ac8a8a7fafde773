//! The processes that a workload is made of: each measures itself and prints its figures as a line of JSON.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// A process that ends with us.
pub(crate) struct Running(pub(crate) Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _already_gone = self.0.kill();
        let _status = self.0.wait();
    }
}

/// Starts this program with other arguments.
pub(crate) fn start(arguments: &[&str]) -> Result<Running> {
    let program: PathBuf = std::env::current_exe()?;
    launch(Command::new(program).args(arguments))
}

fn launch(command: &mut Command) -> Result<Running> {
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    Ok(Running(child.with_context(|| format!("{command:?}"))?))
}

/// Runs this program with other arguments to its end and gives its figures.
pub(crate) fn one(arguments: &[&str]) -> Result<Value> {
    figures(Command::new(std::env::current_exe()?).args(arguments))
}

/// Runs a process to its end and gives its figures, with how long it lived as `process_secs`.
#[allow(clippy::disallowed_methods, reason = "a benchmark measures real time")]
pub(crate) fn figures(command: &mut Command) -> Result<Value> {
    let started = std::time::Instant::now();
    let mut child = launch(command)?;
    let mut line = String::new();
    BufReader::new(child.0.stdout.take().context("no stdout")?).read_line(&mut line)?;
    if !child.0.wait()?.success() {
        bail!("{command:?} failed");
    }
    let lived = started.elapsed().as_secs_f64();
    let mut figures: Value =
        serde_json::from_str(&line).with_context(|| format!("{command:?} printed {line:?}"))?;
    figures["process_secs"] = lived.into();
    Ok(figures)
}

/// Prints figures for the process that started this one.
pub(crate) fn print(figures: &Value) -> Result<()> {
    Ok(writeln!(std::io::stdout(), "{figures}")?)
}

/// A path as an argument.
pub(crate) fn path(path: &Path) -> Result<&str> {
    path.to_str().context("a path that is not UTF-8")
}

/// The one in the middle.
pub(crate) fn median(mut values: Vec<f64>) -> Result<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().context("no run")
}

/// The one in the middle of a field of several figures.
pub(crate) fn median_of(runs: &[Value], field: &str) -> Result<f64> {
    median(runs.iter().filter_map(|run| run[field].as_f64()).collect())
}
