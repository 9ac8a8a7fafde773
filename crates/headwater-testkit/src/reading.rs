//! Draining reads, and records in a form that can be compared.

use std::collections::BTreeMap;

use arrow_array::RecordBatch;
use futures::StreamExt;
use headwater_connect::{ConnectorError, Offset, Page, PageStream, ReadItem};
use serde_json::Value;

/// Records as canonical JSON text, with how often each stands.
pub(crate) type Records = BTreeMap<String, usize>;

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

/// Counts records by their text.
pub(crate) fn counted(values: &[Value]) -> Records {
    let mut records = Records::new();
    for value in values {
        *records.entry(value.to_string()).or_default() += 1;
    }
    records
}

/// A record of `part` that `whole` lacks, or has less often.
pub(crate) fn missing_from<'a>(whole: &Records, part: &'a Records) -> Option<&'a str> {
    part.iter().find(|(text, count)| whole.get(*text).unwrap_or(&0) < count).map(|(text, _)| text.as_str())
}

fn values_of(page: &Page, all: &mut Vec<Value>) -> Result<(), String> {
    match page {
        Page::Json { body, records } => {
            let document: Value =
                serde_json::from_slice(body).map_err(|e| format!("a page is not JSON: {e}"))?;
            match document.pointer(&records.to_string()) {
                Some(Value::Array(items)) => all.extend(items.iter().cloned()),
                Some(Value::Null) => {}
                Some(one @ Value::Object(_)) => all.push(one.clone()),
                Some(other) => return Err(format!("the records at `{records}` are {}", kind(other))),
                None => return Err(format!("a page has nothing at `{records}`")),
            }
        }
        Page::JsonLines(lines) => {
            let parsed = serde_json::Deserializer::from_slice(lines).into_iter::<Value>();
            for value in parsed {
                all.push(value.map_err(|e| format!("a line is not JSON: {e}"))?);
            }
        }
        Page::Values(values) => all.extend(values.iter().cloned()),
        Page::Arrow(batch) => all.extend((0..batch.num_rows()).map(|row| row_of(batch, row))),
    }
    Ok(())
}

/// A row of a batch, each column as its debug text: enough to compare rows of equal schemas.
fn row_of(batch: &RecordBatch, row: usize) -> Value {
    let schema = batch.schema();
    let cells =
        schema.fields().iter().zip(batch.columns()).map(|(field, column)| {
            (field.name().clone(), Value::String(format!("{:?}", column.slice(row, 1))))
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
