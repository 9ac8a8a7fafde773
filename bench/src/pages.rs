//! The pages that are read: `{"data":[…],"next":"/items/2.json"}` with records in the shape of a tracker's issues, made from a seed.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result};
use headwater_connect::{DataType, StructField, StructType};

const WORDS: &[&str] = &[
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

/// What the longest text of a record is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Prose {
    /// Words.
    Ascii,
    /// Longer, with quotes, line breaks, and characters outside ASCII as `\uXXXX`.
    Escaped,
    /// Longer, with characters outside ASCII as they are.
    Raw,
}

/// Makes pages one after the other.
#[derive(Debug)]
pub(crate) struct Generator {
    random: fastrand::Rng,
    prose: Prose,
    id: u64,
}

impl Generator {
    pub(crate) fn new(prose: Prose) -> Self {
        Self { random: fastrand::Rng::with_seed(7), prose, id: 0 }
    }

    /// The next page, which names page `next`.
    pub(crate) fn page(&mut self, records: u64, next: Option<u64>) -> Result<String> {
        let mut text = String::with_capacity(512 * 1024);
        text.push_str("{\"data\":[");
        for record in 0..records {
            self.id += 1;
            text.push_str(if record == 0 { "" } else { "," });
            write_record(&mut text, &mut self.random, self.id, self.prose)?;
        }
        match next {
            Some(page) => write!(text, "],\"next\":\"/items/{page}.json\"}}")?,
            None => text.push_str("],\"next\":null}"),
        }
        Ok(text)
    }
}

/// Writes `pages` files of `records` records each into `folder`, unless they are there already.
pub(crate) fn generate(folder: &Path, pages: u64, records: u64) -> Result<()> {
    let done = folder.join(format!("complete-{pages}-{records}"));
    if done.exists() {
        return Ok(());
    }
    std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    let mut generator = Generator::new(Prose::Ascii);
    for page in 1..=pages {
        let text = generator.page(records, (page < pages).then_some(page + 1))?;
        std::fs::write(folder.join(format!("{page}.json")), text)?;
    }
    std::fs::write(done, "")?;
    Ok(())
}

fn write_record(text: &mut String, random: &mut fastrand::Rng, id: u64, prose: Prose) -> Result<()> {
    let (day, second) = (1 + id / 86_400, id % 86_400);
    let updated =
        format!("2026-01-{day:02}T{:02}:{:02}:{:02}Z", second / 3600, second / 60 % 60, second % 60);
    let n = random.u128(..);
    write!(
        text,
        "{{\"id\":{id},\"node_id\":\"{:08x}-{:04x}-{:04x}-{:04x}-{:012x}\",\"title\":\"",
        n >> 96,
        n >> 80 & 0xffff,
        n >> 64 & 0xffff,
        n >> 48 & 0xffff,
        n & 0xffff_ffff_ffff,
    )?;
    words(text, random, 6);
    let state = ["open", "closed", "merged"][random.usize(..3)];
    let score = f64::from(random.u32(..100_000)) / 1000.0;
    write!(
        text,
        "\",\"state\":\"{state}\",\"locked\":{},\"comments\":{},\"score\":{score:?},\"created_at\":\"2026-01-01T00:00:00Z\",\
         \"updated_at\":\"{updated}\",\"closed_at\":",
        random.u8(..10) == 0,
        random.u8(..100),
    )?;
    match random.bool() {
        true => text.push_str("null"),
        false => write!(text, "\"{updated}\"")?,
    }
    write!(
        text,
        ",\"user\":{{\"login\":\"u{}\",\"id\":{},\"type\":\"User\",\"site_admin\":false}},\"labels\":[",
        random.u32(..5000),
        random.u32(..5000),
    )?;
    for label in 0..random.usize(..4) {
        let k = random.usize(..WORDS.len());
        let comma = if label == 0 { "" } else { "," };
        write!(text, "{comma}{{\"id\":{k},\"name\":\"{}\"}}", WORDS[k])?;
    }
    text.push_str("],\"body\":\"");
    words(text, random, 14);
    let parts: &[&str] = match prose {
        Prose::Ascii => &[],
        Prose::Escaped => &["\\r\\n", "\\\"quoted\\\"", "caf\\u00e9", "\\t", "\\u65e5\\u672c", "it's"],
        Prose::Raw => &["\\n", "„so“", "café", "日本", "\\\"x\\\"", "it's", "plain", "text"],
    };
    for _ in 0..if parts.is_empty() { 0 } else { 20 } {
        text.push(' ');
        words(text, random, 2);
        text.push(' ');
        text.push_str(parts[random.usize(..parts.len())]);
    }
    text.push_str("\"}");
    Ok(())
}

fn words(text: &mut String, random: &mut fastrand::Rng, count: usize) {
    for word in 0..count {
        text.push_str(if word == 0 { "" } else { " " });
        text.push_str(WORDS[random.usize(..WORDS.len())]);
    }
}

/// The 13 columns of the records.
pub(crate) fn schema() -> StructType {
    let user = StructType::new([
        StructField::nullable("login", DataType::String),
        StructField::nullable("id", DataType::Long),
        StructField::nullable("type", DataType::String),
        StructField::nullable("site_admin", DataType::Boolean),
    ]);
    let label = StructType::new([
        StructField::nullable("id", DataType::Long),
        StructField::nullable("name", DataType::String),
    ]);
    let labels = DataType::Array { element: Box::new(DataType::Struct(label)), contains_null: true };
    StructType::new([
        StructField::nullable("id", DataType::Long),
        StructField::nullable("node_id", DataType::String),
        StructField::nullable("title", DataType::String),
        StructField::nullable("state", DataType::String),
        StructField::nullable("locked", DataType::Boolean),
        StructField::nullable("comments", DataType::Long),
        StructField::nullable("score", DataType::Double),
        StructField::nullable("created_at", DataType::Timestamp),
        StructField::nullable("updated_at", DataType::Timestamp),
        StructField::nullable("closed_at", DataType::Timestamp),
        StructField::nullable("user", DataType::Struct(user)),
        StructField::nullable("labels", labels),
        StructField::nullable("body", DataType::String),
    ])
}
