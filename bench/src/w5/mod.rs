//! W5: a source that is far away. Pages that take 100 ms each, read by number and by `Link` header; one answer of two
//! gigabytes, in little memory; and a source that bears 50 requests a second and does not say so, asked by ten tables at once.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use futures::StreamExt;
use headwater_http::pages::by_page_number;
use headwater_http::{HttpClient, RateBudget, RateLimit};
use serde_json::Value;
use tokio::task::JoinSet;

use crate::child::{Running, median_of, one, path, start};
use crate::pages;

pub(crate) mod server;

const LATENCY_MS: u64 = 100;
/// The goal for the pages of W5 as it is meant, and for the rate that is used.
const GOAL_SECS: f64 = 6.0;
const GOAL_USED: f64 = 0.95;
const GOAL_REFUSED: f64 = 0.01;
const GOAL_RSS_MIB: f64 = 128.0;

const PER_SECOND: u32 = 50;
const TABLES: usize = 10;
/// The time to find the rate, and the time that is measured after it.
const WARM_UP: Duration = Duration::from_secs(10);
const MEASURED: Duration = Duration::from_secs(30);

/// Runs one part, or all.
pub(crate) fn run(arguments: &[&str]) -> Result<()> {
    match arguments {
        [] => {
            by_pages(1000, 1000, 3)?;
            one_answer(2000)?;
            budget()
        }
        ["pages"] => by_pages(1000, 1000, 3),
        ["pages", pages, records, runs] => by_pages(pages.parse()?, records.parse()?, runs.parse()?),
        ["answer"] => one_answer(2000),
        ["answer", megabytes] => one_answer(megabytes.parse()?),
        ["budget"] => budget(),
        other => bail!("w5 has no `{}`; see the help", other.join(" ")),
    }
}

/// Starts a server and gives its address.
fn server(arguments: &[&str]) -> Result<(Running, String)> {
    let mut server = start(arguments)?;
    let mut url = String::new();
    BufReader::new(server.0.stdout.take().context("no stdout")?).read_line(&mut url)?;
    Ok((server, url.trim().to_owned()))
}

fn fresh(warehouse: &Path) -> Result<()> {
    if warehouse.exists() {
        std::fs::remove_dir_all(warehouse)?;
    }
    Ok(())
}

fn by_pages(pages: u64, records: u64, runs: usize) -> Result<()> {
    let scratch = std::env::temp_dir().join("headwater-bench");
    let folder = scratch.join(format!("w1-{pages}-{records}"));
    pages::generate(&folder, pages, records)?;
    let (_server, url) = server(&["w5-pages", path(&folder)?, &pages.to_string(), &LATENCY_MS.to_string()])?;
    for (name, style) in [("page numbers", "numbers"), ("Link header with `last`", "last-link")] {
        let mut figures = Vec::new();
        for _ in 0..runs {
            let warehouse = scratch.join("warehouse");
            fresh(&warehouse)?;
            let run = one(&["headwater", style, &url, path(&warehouse)?])?;
            if run["rows"].as_u64() != Some(pages * records) {
                bail!("{} rows instead of {}", run["rows"], pages * records);
            }
            figures.push(run);
        }
        let (wall, cpu) = (median_of(&figures, "wall_secs")?, median_of(&figures, "cpu_secs")?);
        let rss = median_of(&figures, "peak_rss_bytes")? / 1_048_576.0;
        let rounds = pages as f64 / 20.0 * LATENCY_MS as f64 / 1000.0;
        say(&format!(
            "W5, {name}: {wall:.2} s for {pages} pages of {records} records (20 at once: {rounds:.2} s of waiting at least), \
             {cpu:.2} s CPU, {rss:.0} MiB{}",
            met(wall <= GOAL_SECS, "at most 6 s")
        ))?;
    }
    Ok(())
}

fn one_answer(megabytes: u64) -> Result<()> {
    let scratch = std::env::temp_dir().join("headwater-bench");
    let folder = scratch.join("w5-20-1000");
    pages::generate(&folder, 20, 1000)?;
    let (_server, url) = server(&["w5-pages", path(&folder)?, "20", "0"])?;
    let warehouse = scratch.join("warehouse");
    fresh(&warehouse)?;
    let run = one(&[
        "headwater",
        "one-answer",
        &format!("{url}/all?bytes={}", megabytes * 1_000_000),
        path(&warehouse)?,
    ])?;
    let figure = |name: &str| run[name].as_f64().context("a figure is missing");
    let (wall, rss) = (figure("wall_secs")?, figure("peak_rss_bytes")? / 1_048_576.0);
    say(&format!(
        "W5, one answer of {megabytes} MB: {} rows in {wall:.2} s, {:.0} MB/s, {:.2} s CPU, {rss:.0} MiB at most{}",
        run["rows"],
        megabytes as f64 / wall,
        figure("cpu_secs")?,
        met(rss <= GOAL_RSS_MIB, "within 128 MiB")
    ))
}

fn budget() -> Result<()> {
    let (_server, url) = server(&["w5-limited", &PER_SECOND.to_string(), "20"])?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let [begin, warm, end] = runtime.block_on(ask(&url))?;
    let share = |from: &Counts, to: &Counts, time: Duration| {
        let (served, refused) = (to.served - from.served, to.refused - from.refused);
        (served / (f64::from(PER_SECOND) * time.as_secs_f64()), refused / (served + refused))
    };
    let (used, refused) = share(&warm, &end, MEASURED);
    let (all_used, all_refused) = share(&begin, &end, WARM_UP + MEASURED);
    say(&format!(
        "W5, budget: {TABLES} tables use {:.1} % of {PER_SECOND} requests/s, {:.2} % refused, in {} s after {} s of finding the rate{}",
        used * 100.0,
        refused * 100.0,
        MEASURED.as_secs(),
        WARM_UP.as_secs(),
        met(used >= GOAL_USED && refused < GOAL_REFUSED, "95 % at least, below 1 % refused")
    ))?;
    say(&format!(
        "W5, budget, from the first request on: {:.1} % used, {:.2} % refused ({} of {})",
        all_used * 100.0,
        all_refused * 100.0,
        end.refused - begin.refused,
        end.served + end.refused - begin.served - begin.refused
    ))
}

struct Counts {
    served: f64,
    refused: f64,
}

#[allow(clippy::disallowed_methods, reason = "a benchmark measures real time")]
async fn ask(url: &str) -> Result<[Counts; 3]> {
    let observer = HttpClient::builder(url).build()?;
    let counts = async || -> Result<Counts> {
        let counts: Value = observer.get("counts").send().await?.json()?;
        let number = |name: &str| counts[name].as_f64().context("no count");
        Ok(Counts { served: number("served")?, refused: number("refused")? })
    };
    let mut tables = JoinSet::new();
    let begin = counts().await?;
    let started = Instant::now();
    for _ in 0..TABLES {
        // Each table has a client of its own, as in an update; the budget is what they share.
        let budget = RateBudget::shared(url, None, RateLimit::default());
        let client = HttpClient::builder(url).budget(budget).build()?;
        tables.spawn(async move {
            let request = move |page| client.get("items").query("page", page);
            let mut pages = by_page_number(1.., request, |_| Ok(false), 8);
            while started.elapsed() < WARM_UP + MEASURED {
                pages.next().await.context("pages without end have ended")??;
            }
            anyhow::Ok(())
        });
    }
    tokio::time::sleep(WARM_UP).await;
    let warm = counts().await?;
    tokio::time::sleep(MEASURED).await;
    let end = counts().await?;
    while let Some(table) = tables.join_next().await {
        table??;
    }
    Ok([begin, warm, end])
}

fn met(met: bool, goal: &str) -> String {
    format!(" (goal: {goal}; {})", if met { "met" } else { "missed" })
}

fn say(line: &str) -> Result<()> {
    Ok(writeln!(std::io::stdout(), "{line}")?)
}
