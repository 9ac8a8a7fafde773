//! Draining reads, and records in a form that can be compared.

use std::collections::{BTreeMap, BTreeSet};

use arrow_array::{Array, RecordBatch};
use futures::StreamExt;
use headwater_connect::{ConnectorError, Offset, Page, PageStream, ReadItem};
use serde_json::Value;

/// Records as canonical JSON text, with how often each stands.
pub(crate) type Records = BTreeMap<String, usize>;

/// Characters of a record that are shown.
const SHOWN_CHARS: usize = 300;

/// Why a read gave nothing to look at.
#[derive(Debug)]
pub(crate) enum Stop {
    /// The connector said so.
    Refused(ConnectorError),
    /// What it gave cannot be used.
    Unusable(String),
}

impl From<ConnectorError> for Stop {
    fn from(error: ConnectorError) -> Self {
        Stop::Refused(error)
    }
}

/// What one read gave.
#[derive(Default)]
pub(crate) struct Read {
    pub(crate) pages: Vec<Page>,
    pub(crate) ends: Vec<Option<Offset>>,
    /// Something came after the end.
    pub(crate) after_end: bool,
}

impl Read {
    /// Drains a stream.
    pub(crate) async fn drain(mut stream: PageStream<'_>) -> Result<Self, ConnectorError> {
        let mut read = Read::default();
        while let Some(item) = stream.next().await {
            read.after_end |= !read.ends.is_empty();
            match item? {
                ReadItem::Page(page) => read.pages.push(page),
                ReadItem::End(offset) => read.ends.push(offset),
            }
        }
        Ok(read)
    }

    /// The end offset, where the read has one.
    pub(crate) fn end(&self) -> Option<&Offset> {
        self.ends.last().and_then(Option::as_ref)
    }

    /// All records of all pages.
    pub(crate) fn values(&self) -> Result<Vec<Value>, String> {
        let mut all = Vec::new();
        for page in &self.pages {
            values_of(page, &mut all)?;
        }
        Ok(all)
    }
}

/// One read of a table: where it began and ended, and what it gave.
pub(crate) struct OneRead {
    pub(crate) start: Option<Offset>,
    pub(crate) end: Option<Offset>,
    pub(crate) records: Vec<Value>,
}

/// Reads that follow each other.
#[derive(Default)]
pub(crate) struct Whole {
    pub(crate) reads: Vec<OneRead>,
    /// The table has ended; otherwise enough of it was read.
    pub(crate) ended: bool,
    /// Why the records do not fit the schema, where they do not.
    pub(crate) misfit: Option<String>,
}

impl Whole {
    pub(crate) fn records(&self) -> impl Iterator<Item = &Value> {
        self.reads.iter().flat_map(|read| &read.records)
    }

    pub(crate) fn counted(&self) -> Records {
        counted(self.records())
    }

    /// The offset that was reached.
    pub(crate) fn reached(&self) -> Option<Offset> {
        let last = self.reads.last()?;
        last.end.clone().or_else(|| last.start.clone())
    }
}

/// Counts records by their text.
pub(crate) fn counted<'a>(values: impl IntoIterator<Item = &'a Value>) -> Records {
    let mut records = Records::new();
    for value in values {
        *records.entry(value.to_string()).or_default() += 1;
    }
    records
}

/// A record of `part` that `whole` lacks, or has less often.
pub(crate) fn missing_from(whole: &Records, part: &Records) -> Option<String> {
    part.iter().find(|(text, count)| whole.get(*text).unwrap_or(&0) < count).map(|(text, _)| shown(text))
}

/// A record of `part` that `whole` lacks altogether: for streams, which may give a record twice.
pub(crate) fn absent_from(whole: &Records, part: &Records) -> Option<String> {
    part.keys().find(|text| !whole.contains_key(*text)).map(|text| shown(text))
}

/// A text cut to what a message can hold.
pub(crate) fn shown(text: &str) -> String {
    let mut cut: String = text.chars().take(SHOWN_CHARS).collect();
    if text.chars().nth(SHOWN_CHARS).is_some() {
        cut.push('…');
    }
    cut
}

/// An offset, or that there is none.
pub(crate) fn offset_text(offset: Option<&Offset>) -> String {
    offset.map_or_else(|| "no offset".to_owned(), |offset| shown(offset.as_json()))
}

/// Names of columns, in the order of the alphabet.
pub(crate) fn listed(names: &BTreeSet<String>) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

fn values_of(page: &Page, all: &mut Vec<Value>) -> Result<(), String> {
    match page {
        Page::Json { body, records } => {
            let document = parse(body).map_err(|e| format!("a page is not JSON: {e}"))?;
            match document.pointer(&records.to_string()) {
                Some(Value::Array(items)) => all.extend(items.iter().cloned()),
                Some(Value::Null) => {}
                Some(one @ Value::Object(_)) => all.push(one.clone()),
                Some(other) => return Err(format!("the records at `{records}` are {}", kind(other))),
                None => return Err(format!("a page has nothing at `{records}`")),
            }
        }
        Page::JsonLines(lines) => {
            for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty()) {
                all.push(parse(line).map_err(|e| format!("a line is not JSON: {e}"))?);
            }
        }
        Page::Values(values) => all.extend(values.iter().cloned()),
        Page::Arrow(batch) => all.extend((0..batch.num_rows()).map(|row| row_of(batch, row))),
    }
    Ok(())
}

/// Reads JSON, and what Python takes for it: names of numbers that are none, and half characters.
fn parse(bytes: &[u8]) -> Result<Value, serde_json::Error> {
    serde_json::from_slice(bytes)
        .or_else(|error| serde_json::from_slice(&without_what_python_adds(bytes)).map_err(|_| error))
}

/// The same with `NaN`, `Infinity` and lone surrogates as texts that tell them apart.
fn without_what_python_adds(bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(bytes.len());
    let (mut at, mut in_text) = (0, false);
    while let Some(&byte) = bytes.get(at) {
        let rest = bytes.get(at..).unwrap_or_default();
        let name = [&b"NaN"[..], b"-Infinity", b"Infinity"].into_iter().find(|name| rest.starts_with(name));
        match (byte, name) {
            (b'\\', _) if in_text && (rest.starts_with(b"\\ud") || rest.starts_with(b"\\uD")) => {
                // Pairs are read as well; whether a half stands alone is not worth knowing to compare texts.
                plain.extend_from_slice(b"\\\\");
                at += 1;
            }
            (b'\\', _) if in_text => {
                plain.extend(rest.iter().take(2));
                at += 2;
            }
            (b'"', _) => {
                in_text = !in_text;
                plain.push(byte);
                at += 1;
            }
            (_, Some(name)) if !in_text => {
                plain.push(b'"');
                plain.extend_from_slice(name);
                plain.push(b'"');
                at += name.len();
            }
            _ => {
                plain.push(byte);
                at += 1;
            }
        }
    }
    plain
}

/// A row of a batch, each column as its debug text: enough to compare rows of equal schemas.
fn row_of(batch: &RecordBatch, row: usize) -> Value {
    let schema = batch.schema();
    let cells = schema.fields().iter().zip(batch.columns()).map(|(field, column)| {
        let cell = match column.is_null(row) {
            true => Value::Null,
            false => Value::String(format!("{:?}", column.slice(row, 1))),
        };
        (field.name().clone(), cell)
    });
    Value::Object(cells.collect())
}

/// What a JSON value is, for messages.
pub(crate) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::parse;

    #[test]
    fn what_python_writes_is_read() {
        let text = br#"[{"a": NaN, "b": -Infinity, "c": "NaN \" Infinity", "d": [Infinity], "e": "\ud800x", "f": "\\ud"}]"#;
        let read = parse(text).unwrap();
        assert_eq!(
            read,
            json!([{"a": "NaN", "b": "-Infinity", "c": "NaN \" Infinity", "d": ["Infinity"], "e": "\\ud800x", "f": "\\ud"}])
        );
        assert!(parse(b"[NaN").is_err());
    }
}
