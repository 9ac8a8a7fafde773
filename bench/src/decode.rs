//! How fast pages become batches: megabytes of JSON per second of one thread, best of many runs.

use std::io::Write;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bytes::Bytes;
use headwater_connect::{JsonPointer, Page, StructType};
use headwater_decode::{DecodeOptions, Decoder};

use crate::baseline;
use crate::pages::{self, Generator, Prose};

const PAGES: u64 = 50;
const RECORDS: u64 = 1000;
/// How long each line is measured.
const TIME: Duration = Duration::from_secs(2);

/// Prints a line per kind of pages and way to read them whose name contains `wanted`.
pub(crate) fn run(wanted: &str) -> Result<()> {
    let all = pages::schema();
    let some = all
        .fields
        .iter()
        .filter(|f| ["id", "state", "score", "updated_at"].contains(&f.name.as_str()))
        .cloned();
    let some = StructType::new(some);
    let next: JsonPointer = "/next".parse()?;
    for (name, prose) in [("ascii", Prose::Ascii), ("escaped", Prose::Escaped), ("raw UTF-8", Prose::Raw)] {
        let mut generator = Generator::new(prose);
        let bodies = (1..=PAGES)
            .map(|page| generator.page(RECORDS, Some(page + 1)))
            .collect::<Result<Vec<String>>>()?;
        let bodies: Vec<Bytes> = bodies.into_iter().map(Bytes::from).collect();
        let measure = |way: &str, run: &dyn Fn() -> Result<u64>| {
            let name = format!("{name}, {way}");
            if name.contains(wanted) { measure(&name, &bodies, run) } else { Ok(()) }
        };
        measure("13 columns", &|| decode(&all, &bodies))?;
        measure("4 of 13 columns", &|| decode(&some, &bodies))?;
        measure("find /next", &|| {
            for body in &bodies {
                next.find(body)?.context("no `next`")?;
            }
            Ok(PAGES * RECORDS)
        })?;
        measure("13 columns, arrow-json", &|| arrow_json(&all, &bodies))?;
    }
    Ok(())
}

#[allow(clippy::disallowed_methods, reason = "a benchmark measures real time")]
fn measure(name: &str, bodies: &[Bytes], run: &dyn Fn() -> Result<u64>) -> Result<()> {
    let mut best = Duration::MAX;
    let started = Instant::now();
    while started.elapsed() < TIME {
        let start = Instant::now();
        anyhow::ensure!(run()? == PAGES * RECORDS, "{name}: rows are missing");
        best = best.min(start.elapsed());
    }
    let bytes: usize = bodies.iter().map(Bytes::len).sum();
    #[allow(clippy::cast_precision_loss, reason = "a rate for people")]
    let rate = bytes as f64 / 1e6 / best.as_secs_f64();
    let each = bytes as u64 / (PAGES * RECORDS);
    Ok(writeln!(std::io::stdout(), "{name:<36} {rate:>7.0} MB/s   {each} bytes a record")?)
}

fn decode(schema: &StructType, bodies: &[Bytes]) -> Result<u64> {
    let mut decoder = Decoder::new(schema, DecodeOptions::default())?;
    let mut rows = 0;
    for body in bodies {
        decoder.push(&Page::Json { body: body.clone(), records: "/data".parse()? })?;
        while let Some(batch) = decoder.take_full()? {
            rows += batch.num_rows();
        }
    }
    Ok((rows + decoder.finish()?.map_or(0, |batch| batch.num_rows())) as u64)
}

/// Whole pages, as the baseline of `w1` reads them.
fn arrow_json(schema: &StructType, bodies: &[Bytes]) -> Result<u64> {
    let page = baseline::page_schema(schema);
    let mut rows = 0;
    for body in bodies {
        let batch = baseline::records(&page, body)?.0;
        rows += batch.num_rows() as u64;
    }
    Ok(rows)
}
