//! W1: a million records from a static server on loopback into one Delta table, in turn with a baseline by hand.

use std::io::{BufRead, BufReader, Write};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::child::{median_of, one, path, start};
use crate::pages;

/// Runs baseline and Headwater in turn and prints both.
pub(crate) fn run(sizes: &[&str]) -> Result<()> {
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
    writeln!(out, "{:<12} {:>10} {:>10} {:>8}", "W1, median", "baseline", "headwater", "ratio")?;
    let rows = [
        ("cpu_secs", 1.0, "CPU s"),
        ("wall_secs", 1.0, "wall s"),
        ("peak_rss_bytes", 1_048_576.0, "RSS MiB"),
    ];
    for (field, unit, label) in rows {
        let (a, b) = (median_of(by_hand, field)? / unit, median_of(ours, field)? / unit);
        writeln!(out, "{label:<12} {a:>10.2} {b:>10.2} {:>8.2}", b / a)?;
    }
    Ok(())
}
