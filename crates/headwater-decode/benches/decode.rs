//! How fast pages become batches: megabytes of JSON per second of one thread, best of several runs.
//!
//! `cargo bench -p headwater-decode` prints a line per data set; `arrow-json` decodes the first for comparison.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark: it reports to its user and may stop"
)]
#![allow(clippy::disallowed_methods, reason = "wall-clock time is what is measured")]

use std::fmt::Write;
use std::time::{Duration, Instant};

use arrow_json::ReaderBuilder;
use headwater_connect::{DataType, Page, StructField, StructType};
use headwater_decode::{DecodeOptions, Decoder};

const WORDS: [&str; 19] = [
    "lorem",
    "ipsum",
    "dolor",
    "sit",
    "amet",
    "consectetur",
    "adipiscing",
    "elit",
    "sed",
    "do",
    "eiusmod",
    "tempor",
    "incididunt",
    "ut",
    "labore",
    "et",
    "dolore",
    "magna",
    "aliqua",
];

/// A small generator of numbers that look random, so that every run decodes the same bytes.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }

    fn word(&mut self) -> &'static str {
        WORDS[usize::try_from(self.below(19)).unwrap()]
    }

    fn words(&mut self, count: usize) -> String {
        (0..count).map(|_| self.word()).collect::<Vec<_>>().join(" ")
    }
}

#[derive(Clone, Copy)]
enum Prose {
    Ascii,
    /// Quotes, line breaks, and characters outside ASCII as `\uXXXX`.
    Escaped,
    /// Characters outside ASCII as they are.
    Raw,
}

fn body(random: &mut Random, prose: Prose) -> String {
    let mut out = random.words(14);
    let parts: &[&str] = match prose {
        Prose::Ascii => return out,
        Prose::Escaped => &["\\r\\n", "\\\"quoted\\\"", "caf\\u00e9", "\\t", "\\u65e5\\u672c", "it's"],
        Prose::Raw => &["\\n", "„so“", "café", "日本", "\\\"x\\\"", "it's", "plain", "text"],
    };
    for _ in 0..20 {
        let part = parts[usize::try_from(random.below(parts.len() as u64)).unwrap()];
        write!(out, " {} {part}", random.words(2)).unwrap();
    }
    out
}

/// 1,000 records in the shape of a tracker's issues.
fn records(random: &mut Random, first: u64, prose: Prose) -> Vec<String> {
    let mut records = Vec::new();
    for id in first..first + 1000 {
        let mut out = String::new();
        let time = format!(
            "2026-01-{:02}T{:02}:{:02}:{:02}Z",
            1 + id / 86_400 % 28,
            id / 3600 % 24,
            id / 60 % 60,
            id % 60
        );
        let closed = if random.below(2) == 0 { "null".to_owned() } else { format!("\"{time}\"") };
        let labels: Vec<_> = (0..random.below(4))
            .map(|_| random.below(19))
            .map(|k| format!("{{\"id\":{k},\"name\":\"{}\"}}", WORDS[usize::try_from(k).unwrap()]))
            .collect();
        write!(
            out,
            "{{\"id\":{id},\"node_id\":\"{:08x}-{:04x}-{:04x}-{:04x}-{:012x}\",\"title\":\"{}\",\"state\":\"{}\",\
             \"locked\":{},\"comments\":{},\"score\":{}.{:03},\"created_at\":\"2026-01-01T00:00:00Z\",\
             \"updated_at\":\"{time}\",\"closed_at\":{closed},\"user\":{{\"login\":\"u{}\",\"id\":{},\"type\":\"User\",\
             \"site_admin\":false}},\"labels\":[{}],\"body\":\"{}\"}}",
            random.below(1 << 32), random.below(1 << 16), random.below(1 << 16), random.below(1 << 16),
            random.below(1 << 48), random.words(6), ["open", "closed", "merged"][usize::try_from(random.below(3)).unwrap()],
            random.below(10) == 0, random.below(100), random.below(100), random.below(999) + 1, random.below(5000),
            random.below(5000), labels.join(","), body(random, prose),
        )
        .unwrap();
        records.push(out);
    }
    records
}

/// The page that holds them.
fn page(records: &[String], number: usize) -> String {
    format!("{{\"data\":[{}],\"next\":\"/items/{}.json\"}}", records.join(","), number + 2)
}

fn schema() -> StructType {
    let field = StructField::nullable;
    let user = StructType::new([
        field("login", DataType::String),
        field("id", DataType::Long),
        field("type", DataType::String),
        field("site_admin", DataType::Boolean),
    ]);
    let label = StructType::new([field("id", DataType::Long), field("name", DataType::String)]);
    StructType::new([
        StructField::required("id", DataType::Long),
        field("node_id", DataType::String),
        field("title", DataType::String),
        field("state", DataType::String),
        field("locked", DataType::Boolean),
        field("comments", DataType::Long),
        field("score", DataType::Double),
        field("created_at", DataType::Timestamp),
        field("updated_at", DataType::Timestamp),
        field("closed_at", DataType::Timestamp),
        field("user", DataType::Struct(user)),
        field("labels", DataType::Array { element: Box::new(DataType::Struct(label)), contains_null: true }),
        field("body", DataType::String),
    ])
}

/// Best of nine runs.
fn measure(name: &str, bytes: usize, mut run: impl FnMut() -> usize) {
    let mut best = Duration::MAX;
    let mut rows = 0;
    for _ in 0..9 {
        let start = Instant::now();
        rows = run();
        best = best.min(start.elapsed());
    }
    #[allow(clippy::cast_precision_loss, reason = "a rate for people")]
    let rate = bytes as f64 / 1e6 / best.as_secs_f64();
    println!("{name:<34} {rate:>7.0} MB/s   {rows} rows, {} bytes each", bytes / rows.max(1));
}

fn decode(schema: &StructType, pages: &[Page]) -> usize {
    let mut decoder = Decoder::new(schema, DecodeOptions::default()).unwrap();
    let mut rows = 0;
    for page in pages {
        decoder.push(page).unwrap();
        while let Some(batch) = decoder.take_full().unwrap() {
            rows += batch.num_rows();
        }
    }
    rows + decoder.finish().unwrap().map_or(0, |batch| batch.num_rows())
}

fn main() {
    let all = schema();
    let some = StructType::new(
        all.fields
            .iter()
            .filter(|f| ["id", "state", "score", "updated_at"].contains(&f.name.as_str()))
            .cloned(),
    );
    for (name, prose) in [("ascii", Prose::Ascii), ("escaped", Prose::Escaped), ("raw UTF-8", Prose::Raw)] {
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        let records: Vec<_> = (0..50).map(|i| records(&mut random, i * 1000, prose)).collect();
        let bodies: Vec<String> = records.iter().enumerate().map(|(i, records)| page(records, i)).collect();
        let bytes = bodies.iter().map(String::len).sum();
        let pages: Vec<Page> = bodies
            .iter()
            .map(|body| Page::Json { body: body.clone().into(), records: "/data".parse().unwrap() })
            .collect();
        measure(&format!("{name}, 13 columns"), bytes, || decode(&all, &pages));
        measure(&format!("{name}, 4 of 13 columns"), bytes, || decode(&some, &pages));
        measure(&format!("{name}, find /next"), bytes, || {
            let next = "/next".parse::<headwater_connect::JsonPointer>().unwrap();
            bodies.iter().filter(|body| next.find(body.as_bytes()).unwrap().is_some()).count() * 1000
        });
        if matches!(prose, Prose::Ascii) {
            let lines: Vec<String> = records.iter().map(|records| records.join("\n")).collect();
            measure("ascii, 13 columns, arrow-json", bytes, || arrow_json(&all, &lines));
        }
    }
}

fn arrow_json(schema: &StructType, pages: &[String]) -> usize {
    let mut decoder = ReaderBuilder::new(schema.to_arrow()).with_batch_size(8192).build_decoder().unwrap();
    let mut rows = 0;
    for page in pages {
        let mut records = page.as_bytes();
        while !records.is_empty() {
            let read = decoder.decode(records).unwrap();
            records = &records[read..];
            if !records.is_empty() {
                rows += decoder.flush().unwrap().map_or(0, |batch| batch.num_rows());
            }
        }
    }
    rows + decoder.flush().unwrap().map_or(0, |batch| batch.num_rows())
}
