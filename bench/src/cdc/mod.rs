//! AUTO CDC workloads: changes applied to large tables through the lake, each in a process of its own, so that the
//! start of a process and its memory count.
//!
//! W2 100,000 upserts of keys from anywhere, W2b the same into six times the rows, W2c upserts of the newest keys of a
//! table in key order, W2d the batch of W2 again, W2e 60 small upserts in a row, W3 W2 with history, W4 a snapshot of
//! which little has changed. W2 is also done by the Python package `deltalake` on an equal table of its own. Figures
//! are compared with the goals, and nothing is asserted.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::child::{figures, median_of, one, path};

mod report;
mod rows;
mod work;

use report::Report;

/// Small upserts of W2e.
const SMALL_UPSERTS: u64 = 60;

/// What to measure.
struct Plan {
    rows: u64,
    runs: usize,
    only: Vec<String>,
    json: bool,
    keep: bool,
    python: bool,
}

impl Plan {
    fn parse(arguments: &[&str]) -> Result<Self> {
        let mut plan =
            Plan { rows: 10_000_000, runs: 3, only: Vec::new(), json: false, keep: false, python: true };
        let mut arguments = arguments.iter();
        while let Some(&argument) = arguments.next() {
            let mut value = || arguments.next().with_context(|| format!("{argument} needs a value"));
            match argument {
                "--rows" => plan.rows = value()?.parse().context("--rows")?,
                "--runs" => plan.runs = value()?.parse().context("--runs")?,
                "--only" => plan.only = value()?.split(',').map(str::to_lowercase).collect(),
                "--json" => plan.json = true,
                "--keep" => plan.keep = true,
                "--without-python" => plan.python = false,
                other => bail!("{other} is no option of `cdc`"),
            }
        }
        if plan.rows < 1000 || plan.runs == 0 {
            bail!("at least 1000 rows and one run are needed");
        }
        Ok(plan)
    }

    fn wants(&self, work: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|name| name == work)
    }

    /// Rows of the large batch: one of a hundred of the base table.
    fn batch(&self) -> u64 {
        self.rows / 100
    }
}

/// Runs the workloads and prints their figures.
pub(crate) fn run(arguments: &[&str]) -> Result<()> {
    let plan = Plan::parse(arguments)?;
    let scratch = Scratch {
        folder: std::env::temp_dir().join(format!("headwater-bench-cdc-{}", std::process::id())),
        keep: plan.keep,
    };
    std::fs::create_dir_all(&scratch.folder).with_context(|| scratch.folder.display().to_string())?;
    let mut report = Report::new(plan.json);
    let bench = Bench { plan: &plan, folder: &scratch.folder };
    if ["w2", "w2d", "w2e", "w3"].iter().any(|work| plan.wants(work)) {
        bench.unsorted(&mut report)?;
    }
    if plan.wants("w2b") {
        let base = bench.base("w2b", "scd1", "base", plan.rows * 6)?;
        let runs = bench.repeated(&base, "scd1", "upserts", plan.rows * 6, plan.batch())?;
        report.add("w2b", "the same into six times the rows", &runs, bench.goal(2.5, 80.0))?;
        bench.remove(&base)?;
    }
    if plan.wants("w2c") {
        let base = bench.base("w2c", "scd1", "sorted", plan.rows)?;
        let runs = bench.repeated(&base, "scd1", "recent", plan.rows, plan.batch())?;
        report.add(
            "w2c",
            "upserts of the newest keys, table in key order",
            &runs,
            bench.goal(0.2, f64::NAN),
        )?;
        bench.remove(&base)?;
    }
    if plan.wants("w4") {
        bench.snapshot(&mut report)?;
    }
    report.end()
}

/// Runs one of the processes that the workloads are made of, where `arguments` are for one.
pub(crate) fn child(arguments: &[&str]) -> Result<Option<Value>> {
    let place = |warehouse, table| work::Place { warehouse, table };
    Ok(Some(match arguments {
        ["cdc-write", warehouse, table, mode, events, rows, count] => work::write(
            &place(*warehouse, *table),
            work::mode(mode)?,
            work::Events::parse(events)?,
            rows.parse()?,
            count.parse()?,
        )?,
        ["cdc-read", warehouse, table] => work::read(&place(*warehouse, *table))?,
        ["cdc-parquet", out, events, rows, count] => {
            work::parquet(Path::new(out), work::Events::parse(events)?, rows.parse()?, count.parse()?)?
        }
        _ => return Ok(None),
    }))
}

struct Bench<'a> {
    plan: &'a Plan,
    folder: &'a Path,
}

impl Bench<'_> {
    /// The table in no order: W2, W2d, W2e, the same by Python, and W3 on one with history.
    fn unsorted(&self, report: &mut Report) -> Result<()> {
        let (rows, batch) = (self.plan.rows, self.plan.batch());
        let base = self.base("w2", "scd1", "base", rows)?;
        let mut wall = None;
        if ["w2", "w3"].iter().any(|work| self.plan.wants(work)) {
            let runs = self.repeated(&base, "scd1", "upserts", rows, batch)?;
            wall = Some(median_of(&runs, "process_secs")?);
            report.add("w2", "upserts of keys from anywhere", &runs, self.goal(0.7, 80.0))?;
            if self.plan.python && self.plan.wants("w2") {
                let python = self.python(&base)?;
                report.compare("w2", "deltalake MERGE, Python", &runs, &python)?;
            }
        }
        if self.plan.wants("w2d") {
            let table = self.copy(&base)?;
            self.write(&table, "scd1", "upserts", rows, batch)?;
            let again = self.write(&table, "scd1", "upserts", rows, batch)?;
            report.add("w2d", "the same batch again", &[again], report::Goal::NothingWritten)?;
            self.remove(&table)?;
        }
        if self.plan.wants("w2e") {
            let table = self.copy(&base)?;
            let small = self.write(
                &table,
                "scd1",
                "small",
                rows,
                SMALL_UPSERTS.min(rows / 2 / work::SMALL_ROWS).max(1),
            )?;
            report.each("w2e", "small upserts in a row, each", &small, self.goal(0.15, f64::NAN))?;
            self.remove(&table)?;
        }
        self.remove(&base)?;
        if self.plan.wants("w3") {
            let base = self.base("w3", "scd2", "base", rows)?;
            let runs = self.repeated(&base, "scd2", "upserts", rows, batch)?;
            let goal = report::Goal::Under { wall_secs: 2.0 * wall.unwrap_or(f64::NAN), rss_mib: f64::NAN };
            report.add("w3", "the same with history (goal: twice W2)", &runs, goal)?;
            self.remove(&base)?;
        }
        Ok(())
    }

    /// W4, beside what reading the table and writing the changed rows take on their own.
    fn snapshot(&self, report: &mut Report) -> Result<()> {
        let rows = self.plan.rows / 2;
        let base = self.base("w4", "snapshot", "first", rows)?;
        let read = one(&["cdc-read", path(&base)?, "t"])?;
        let apart = self.folder.join("w4-apart");
        let changed = self.write(&apart, "append", "changed", rows, rows)?;
        let runs = self.repeated(&base, "snapshot", "second", rows, 0)?;
        let limit = read["wall_secs"].as_f64().unwrap_or(f64::NAN)
            + changed["wall_secs"].as_f64().unwrap_or(f64::NAN);
        report.add(
            "w4",
            "a snapshot, 1% changed, 0.1% gone (goal: reading it and writing the changes)",
            &runs,
            report::Goal::Work { wall_secs: limit },
        )?;
        self.remove(&apart)?;
        self.remove(&base)
    }

    /// The goal, where the size is the one that it was set for.
    fn goal(&self, wall_secs: f64, rss_mib: f64) -> report::Goal {
        if self.plan.rows == 10_000_000 {
            report::Goal::Under { wall_secs, rss_mib }
        } else {
            report::Goal::None
        }
    }

    /// Makes a table; its warehouse is the folder that is given.
    fn base(&self, name: &str, mode: &str, events: &str, rows: u64) -> Result<PathBuf> {
        let warehouse = self.folder.join(name);
        self.write(&warehouse, mode, events, rows, 0)?;
        Ok(warehouse)
    }

    fn write(&self, warehouse: &Path, mode: &str, events: &str, rows: u64, count: u64) -> Result<Value> {
        one(&["cdc-write", path(warehouse)?, "t", mode, events, &rows.to_string(), &count.to_string()])
    }

    /// Applies a batch to copies of a table, as often as asked.
    fn repeated(&self, base: &Path, mode: &str, events: &str, rows: u64, count: u64) -> Result<Vec<Value>> {
        let mut runs = Vec::with_capacity(self.plan.runs);
        for _ in 0..self.plan.runs {
            let table = self.copy(base)?;
            runs.push(self.write(&table, mode, events, rows, count)?);
            self.remove(&table)?;
        }
        Ok(runs)
    }

    /// W2 by Python, on a copy of the table that it has written itself.
    fn python(&self, base: &Path) -> Result<Vec<Value>> {
        let python = python()?;
        let batch = self.folder.join("batch.parquet");
        let (rows, count) = (self.plan.rows.to_string(), self.plan.batch().to_string());
        one(&["cdc-parquet", path(&batch)?, "upserts", &rows, &count])?;
        let copied = self.folder.join("python");
        let run = |command: &str, table: &Path, files: &[PathBuf]| {
            let mut process = Command::new(&python);
            figures(process.args(["-c", include_str!("merge.py"), command]).arg(table).args(files))
        };
        let mut files: Vec<PathBuf> = std::fs::read_dir(base.join("main/bench/t"))?
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<Result<_, _>>()?;
        files.retain(|file| file.extension().is_some_and(|extension| extension == "parquet"));
        files.sort();
        run("copy", &copied, &files)?;
        let mut runs = Vec::with_capacity(self.plan.runs);
        for _ in 0..self.plan.runs {
            let table = self.copy(&copied)?;
            runs.push(run("merge", &table, std::slice::from_ref(&batch))?);
            self.remove(&table)?;
        }
        self.remove(&copied)?;
        Ok(runs)
    }

    /// Copies a folder without copying its files: a Delta table's are never changed in place.
    fn copy(&self, from: &Path) -> Result<PathBuf> {
        let to = self.folder.join("copy");
        link_all(from, &to)?;
        Ok(to)
    }

    fn remove(&self, folder: &Path) -> Result<()> {
        if self.plan.keep && !folder.ends_with("copy") {
            return Ok(());
        }
        std::fs::remove_dir_all(folder).with_context(|| folder.display().to_string())
    }
}

fn link_all(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            link_all(&entry.path(), &target)?;
        } else {
            std::fs::hard_link(entry.path(), &target).with_context(|| target.display().to_string())?;
        }
    }
    Ok(())
}

/// The Python that the readers' environment of the tests has.
#[allow(
    clippy::disallowed_methods,
    reason = "the scripts that make the environment go by the same variables"
)]
fn python() -> Result<PathBuf> {
    let folder = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let cache = folder("HEADWATER_TEST_CACHE")
        .or_else(|| folder("XDG_CACHE_HOME").map(|cache| cache.join("headwater")))
        .or_else(|| folder("HOME").map(|home| home.join(".cache/headwater")))
        .context("neither HOME nor HEADWATER_TEST_CACHE is set")?;
    let python = cache.join("readers-venv/bin/python");
    if !python.exists() {
        bail!(
            "{} is not there: run testing/setup-readers.sh, or leave the comparison out with --without-python",
            python.display()
        );
    }
    Ok(python)
}

/// A folder that is removed at the end.
struct Scratch {
    folder: PathBuf,
    keep: bool,
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if !self.keep {
            let _left_behind = std::fs::remove_dir_all(&self.folder);
        }
    }
}
