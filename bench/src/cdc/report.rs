//! Figures as lines of a table, or of JSON.

use std::io::Write;

use anyhow::Result;
use serde_json::{Value, json};

use crate::child::{median, median_of};

const MIB: f64 = 1_048_576.0;

/// What a workload should keep to; a figure that is not a number is not looked at.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Goal {
    /// Nothing.
    None,
    /// The life of the process, and its memory.
    Under { wall_secs: f64, rss_mib: f64 },
    /// The time without the start of the process and without making the rows.
    Work { wall_secs: f64 },
    /// No commit.
    NothingWritten,
}

/// Prints figures as they come.
pub(crate) struct Report {
    json: bool,
    begun: bool,
}

impl Report {
    pub(crate) fn new(json: bool) -> Self {
        Self { json, begun: false }
    }

    /// Prints the medians of some runs of a workload.
    pub(crate) fn add(&mut self, name: &str, what: &str, runs: &[Value], goal: Goal) -> Result<()> {
        let process = median_of(runs, "process_secs")?;
        let work = median_of(runs, "wall_secs")?;
        let rss = median_of(runs, "peak_rss_bytes")? / MIB;
        let verdict = match goal {
            Goal::None => String::new(),
            Goal::NothingWritten => {
                said(runs.iter().all(|run| run["commits"] == 0), "nothing written".to_owned())
            }
            Goal::Work { wall_secs } => said(work <= wall_secs, format!("{wall_secs:.2} s of work")),
            Goal::Under { wall_secs, rss_mib } if rss_mib.is_nan() => {
                said(process <= wall_secs, format!("{wall_secs:.2} s"))
            }
            Goal::Under { wall_secs, rss_mib } => {
                let met = process <= wall_secs && rss <= rss_mib;
                said(met, format!("{wall_secs:.2} s, {rss_mib:.0} MiB"))
            }
        };
        self.line(
            name,
            what,
            &[Some(process), Some(work), median_of(runs, "cpu_secs").ok(), Some(rss)],
            &verdict,
            runs,
        )
    }

    /// Prints the time that each commit of one run took.
    pub(crate) fn each(&mut self, name: &str, what: &str, run: &Value, goal: Goal) -> Result<()> {
        let mut times: Vec<f64> =
            run["commit_secs"].as_array().into_iter().flatten().filter_map(Value::as_f64).collect();
        times.sort_by(f64::total_cmp);
        let count = times.len();
        let (middle, longest) = (median(times.clone())?, times.last().copied().unwrap_or_default());
        let verdict = match goal {
            Goal::Under { wall_secs, .. } => said(middle <= wall_secs, format!("{wall_secs:.2} s")),
            _ => String::new(),
        };
        let what = format!("{count} {what} (longest {longest:.3} s)");
        #[allow(clippy::cast_precision_loss, reason = "a small count")]
        let cpu = run["cpu_secs"].as_f64().map(|cpu| cpu / count as f64);
        let rss = run["peak_rss_bytes"].as_f64().map(|bytes| bytes / MIB);
        self.line(name, &what, &[None, Some(middle), cpu, rss], &verdict, std::slice::from_ref(run))
    }

    /// Prints the same work done by another program, and how it compares.
    pub(crate) fn compare(&mut self, name: &str, what: &str, ours: &[Value], theirs: &[Value]) -> Result<()> {
        let ratio = |field| Ok::<f64, anyhow::Error>(median_of(theirs, field)? / median_of(ours, field)?);
        let verdict = format!(
            "{:.1} times our work, {:.1} times our CPU, {:.1} times our memory",
            ratio("wall_secs")?,
            ratio("cpu_secs")?,
            ratio("peak_rss_bytes")?
        );
        let of = |field| median_of(theirs, field).ok();
        let figures = [
            of("process_secs"),
            of("wall_secs"),
            of("cpu_secs"),
            of("peak_rss_bytes").map(|bytes| bytes / MIB),
        ];
        self.line(name, what, &figures, &verdict, theirs)
    }

    fn line(
        &mut self,
        name: &str,
        what: &str,
        [process, work, cpu, rss]: &[Option<f64>; 4],
        verdict: &str,
        runs: &[Value],
    ) -> Result<()> {
        let mut out = std::io::stdout();
        if self.json {
            let line = json!({
                "name": name, "what": what, "process_secs": process, "work_secs": work, "cpu_secs": cpu,
                "peak_rss_mib": rss, "goal": verdict, "runs": runs,
            });
            return Ok(writeln!(out, "{line}")?);
        }
        if !self.begun {
            self.begun = true;
            writeln!(
                out,
                "{:<4} {:>9} {:>7} {:>6} {:>8} {:>9} {:>8} {:>8} {:>6}  what",
                "", "process s", "work s", "CPU s", "RSS MiB", "read MiB", "inserted", "updated", "files"
            )?;
        }
        let figure = |value: &Option<f64>, digits: usize| {
            value.map_or("-".to_owned(), |value| format!("{value:.digits$}"))
        };
        let last = runs.last().unwrap_or(&Value::Null);
        let metric = |name: &str| last["metrics"][name].as_str().unwrap_or("-");
        let read = last["read_bytes"].as_f64().map(|bytes| bytes / MIB);
        writeln!(
            out,
            "{name:<4} {:>9} {:>7} {:>6} {:>8} {:>9} {:>8} {:>8} {:>6}  {what}",
            figure(process, 3),
            figure(work, 3),
            figure(cpu, 2),
            figure(rss, 0),
            figure(&read, 1),
            metric("numTargetRowsInserted"),
            metric("numTargetRowsUpdated"),
            metric("numTargetFilesAdded"),
        )?;
        if !verdict.is_empty() {
            writeln!(out, "      {verdict}")?;
        }
        Ok(())
    }

    /// Ends the output.
    pub(crate) fn end(&self) -> Result<()> {
        Ok(std::io::stdout().flush()?)
    }
}

fn said(met: bool, goal: String) -> String {
    format!("goal {goal}: {}", if met { "met" } else { "missed" })
}
