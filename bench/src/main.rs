//! Benchmarks of whole processes, side by side in one run with what they are to be compared with.
//!
//! `w1` lands a million records from a static server on loopback in one Delta table, `cdc` applies changes to large
//! tables, `python` reads the same through a
//! connector in Python, `w5` reads from a source that is far away, `start` times the first request of the command, `decode` measures the decoder alone. Each prints its
//! figures; a goal is met or missed, and none is asserted, since figures depend on the machine.
//! Start reading at [`w1`], [`w5`], [`cdc`] and [`cold_start`]; the commands that the help does not list are the processes
//! that they start.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;

use crate::headwater::Style;

mod baseline;
mod cdc;
mod child;
mod cold_start;
mod decode;
mod headwater;
mod pages;
mod python;
mod serve;
mod usage;
mod w1;
mod w5;

const HELP: &str = "\
headwater-bench w1 [PAGES [RECORDS [RUNS]]]    one million records into a Delta table, against a baseline by hand
                                               (1000 pages of 1000 records, 5 runs of each unless said otherwise)
headwater-bench decode [NAME]                  the decoder alone, beside `arrow-json`; only lines that contain NAME
headwater-bench cdc [OPTIONS]                  changes applied to large tables, against Python's deltalake
    --rows N           rows of the base table (10000000)
    --runs N           runs of each workload, of which the median counts (3)
    --only W2,W3       these workloads: w2, w2b, w2c, w2d, w2e, w3, w4
    --json             a line of JSON for each, with every run
    --keep             leave the tables where they are
    --without-python   no comparison with deltalake
headwater-bench python [PAGES [RECORDS [RUNS]]] the pages of w1 through a connector in Python (300 pages of 1000 records,
                                               3 runs of each unless said otherwise)
headwater-bench w5 [PART]                      a source far away: pages that take 100 ms each, by number and by Link header (pages);
                                               one answer of 2 GB within 128 MiB (answer [MEGABYTES]); 50 requests a second,
                                               found out and used by ten tables (budget, 40 s)
headwater-bench start [RUNS [BINARY]]          from the start of the command to its first request (20 runs of the
                                               `headwater` beside this program)
";

fn main() -> ExitCode {
    headwater_engine::share_one_heap();
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
        ["w1", sizes @ ..] => w1::run(sizes),
        ["decode"] => decode::run(""),
        ["decode", name] => decode::run(name),
        ["cdc", options @ ..] => cdc::run(options),
        ["python", sizes @ ..] => python::run(sizes),
        ["start"] => cold_start::run(20, None),
        ["start", runs] => cold_start::run(runs.parse()?, None),
        ["start", runs, binary] => cold_start::run(runs.parse()?, Some(binary)),
        ["serve", folder, pages] => serve::serve(Path::new(folder), pages.parse()?),
        ["baseline", url, out] => measured(|| baseline::run(url, Path::new(out))),
        ["headwater", url, out] => measured(|| headwater::run(Style::NextLink, url, Path::new(out))),
        ["headwater", style, url, out] => {
            let style = Style::named(style)?;
            measured(|| headwater::run(style, url, Path::new(out)))
        }
        ["w5", parts @ ..] => w5::run(parts),
        ["w5-pages", folder, pages, latency_ms] => {
            w5::server::pages(Path::new(folder), pages.parse()?, latency_ms.parse()?)
        }
        ["w5-limited", per_second, latency_ms] => {
            w5::server::limited(per_second.parse()?, latency_ms.parse()?)
        }
        ["python-start", url, state] => child::print(&python::start_time(url, Path::new(state))?),
        ["python-read", url, out, state, tables] => {
            child::print(&python::read(url, Path::new(out), Path::new(state), tables)?)
        }
        other => match cdc::child(other)? {
            Some(figures) => child::print(&figures),
            None => Ok(write!(std::io::stdout(), "{HELP}")?),
        },
    }
}

/// Does the work and prints what it cost.
#[allow(clippy::disallowed_methods, reason = "a benchmark measures real time")]
fn measured(work: impl FnOnce() -> Result<u64>) -> Result<()> {
    let started = std::time::Instant::now();
    let rows = work()?;
    let wall = started.elapsed().as_secs_f64();
    child::print(&usage::Usage::of_this_process()?.to_json(wall, rows))
}
