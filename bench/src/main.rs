//! Benchmarks of whole processes against a hand-written baseline, side by side in one run.
//!
//! `headwater-bench w1` lands a million records from a static server on loopback in one Delta table, in turn with the
//! baseline, and prints the median of each figure and the ratios. `headwater-bench decode` measures the decoder alone.
//! It judges nothing: figures depend on the machine. Start reading at [`w1`]; the other commands are the processes that it starts.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

mod baseline;
mod decode;
mod headwater;
mod pages;
mod serve;
mod usage;

const HELP: &str = "\
headwater-bench w1 [PAGES [RECORDS [RUNS]]]    one million records into a Delta table, against a baseline by hand
                                               (1000 pages of 1000 records, 5 runs of each unless said otherwise)
headwater-bench decode [NAME]                  the decoder alone, beside `arrow-json`; only lines that contain NAME
";

fn main() -> ExitCode {
    match command() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ignored = writeln!(std::io::stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn command() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["w1", sizes @ ..] => w1(sizes),
        ["decode"] => decode::run(""),
        ["decode", name] => decode::run(name),
        ["serve", folder, pages] => serve::serve(Path::new(folder), pages.parse()?),
        ["baseline", url, out] => measured(|| baseline::run(url, Path::new(out))),
        ["headwater", url, out] => measured(|| headwater::run(url, Path::new(out))),
        _ => Ok(write!(std::io::stdout(), "{HELP}")?),
    }
}

/// Does the work and prints what it cost.
#[allow(clippy::disallowed_methods, reason = "a benchmark measures real time")]
fn measured(work: impl FnOnce() -> Result<u64>) -> Result<()> {
    let started = std::time::Instant::now();
    let rows = work()?;
    let wall = started.elapsed().as_secs_f64();
    Ok(writeln!(std::io::stdout(), "{}", usage::Usage::of_this_process()?.to_json(wall, rows))?)
}

/// Runs baseline and Headwater in turn and prints both.
fn w1(sizes: &[&str]) -> Result<()> {
    let size = |i: usize, default: u64| sizes.get(i).map_or(Ok(default), |s| s.parse());
    let (pages, records, runs) = (size(0, 1000)?, size(1, 1000)?, size(2, 5)?);
    let scratch = std::env::temp_dir().join("headwater-bench");
    let folder = scratch.join(format!("w1-{pages}-{records}"));
    pages::generate(&folder, pages, records)?;

    let mut server = start(&["serve", path(&folder)?, &pages.to_string()])?;
    let mut url = String::new();
    BufReader::new(server.0.stdout.take().context("no stdout")?).read_line(&mut url)?;
    let url = url.trim();

    let (mut by_hand, mut ours) = (Vec::new(), Vec::new());
    for run in 0..=runs {
        let file = scratch.join("baseline.parquet");
        let warehouse = scratch.join("warehouse");
        if warehouse.exists() {
            std::fs::remove_dir_all(&warehouse)?;
        }
        let pair = (one(&["baseline", url, path(&file)?])?, one(&["headwater", url, path(&warehouse)?])?);
        for figures in [&pair.0, &pair.1] {
            if figures["rows"].as_u64() != Some(pages * records) {
                bail!("{} rows instead of {}", figures["rows"], pages * records);
            }
        }
        // The first run of each warms the page cache and does not count.
        if run > 0 {
            by_hand.push(pair.0);
            ours.push(pair.1);
        }
    }
    report(&by_hand, &ours)
}

fn report(by_hand: &[Value], ours: &[Value]) -> Result<()> {
    let mut out = std::io::stdout();
    writeln!(out, "{:<12} {:>10} {:>10} {:>8}", "median", "baseline", "headwater", "ratio")?;
    let rows = [
        ("cpu_secs", 1.0, "CPU s"),
        ("wall_secs", 1.0, "wall s"),
        ("peak_rss_bytes", 1_048_576.0, "RSS MiB"),
    ];
    for (field, unit, label) in rows {
        let (a, b) = (median(by_hand, field)? / unit, median(ours, field)? / unit);
        writeln!(out, "{label:<12} {a:>10.2} {b:>10.2} {:>8.2}", b / a)?;
    }
    Ok(())
}

fn median(runs: &[Value], field: &str) -> Result<f64> {
    let mut values: Vec<f64> = runs.iter().filter_map(|run| run[field].as_f64()).collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().context("no run")
}

/// Runs one measured process to its end.
fn one(arguments: &[&str]) -> Result<Value> {
    let mut child = start(arguments)?;
    let mut line = String::new();
    BufReader::new(child.0.stdout.take().context("no stdout")?).read_line(&mut line)?;
    if !child.0.wait()?.success() {
        bail!("`{}` failed", arguments.join(" "));
    }
    serde_json::from_str(&line).with_context(|| format!("`{}` printed {line:?}", arguments.join(" ")))
}

/// A process that ends with us.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _already_gone = self.0.kill();
        let _status = self.0.wait();
    }
}

fn start(arguments: &[&str]) -> Result<Running> {
    let program: PathBuf = std::env::current_exe()?;
    let child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| arguments.join(" "))?;
    Ok(Running(child))
}

fn path(path: &Path) -> Result<&str> {
    path.to_str().context("a path that is not UTF-8")
}
