use std::fmt;
use std::pin::Pin;
use std::str::FromStr;

use arrow_array::RecordBatch;
use bytes::Bytes;
use futures::Stream;

use crate::{ConnectorError, Offset};

/// Records as a source handed them over. Nothing has been converted yet.
#[derive(Debug, Clone)]
pub enum Page {
    /// A response body as it came, and where in it the records are (an array of objects, or one object).
    Json {
        /// The body, UTF-8 JSON.
        body: Bytes,
        /// The place of the records in it.
        records: JsonPointer,
    },
    /// Newline-delimited JSON objects.
    JsonLines(Bytes),
    /// Records that the connector had to build or change.
    Values(Vec<serde_json::Value>),
    /// Already Arrow. Columns are matched by name and must have the declared types.
    Arrow(RecordBatch),
}

impl Page {
    /// A page whose whole body is the array of records.
    pub fn json_array(body: impl Into<Bytes>) -> Self {
        Page::Json { body: body.into(), records: JsonPointer::root() }
    }

    /// Roughly how much memory the page holds; queues are counted in it.
    pub fn size_bytes(&self) -> usize {
        match self {
            Page::Json { body, .. } => body.len(),
            Page::JsonLines(lines) => lines.len(),
            Page::Values(values) => values.iter().map(value_size_bytes).sum(),
            Page::Arrow(batch) => batch.get_array_memory_size(),
        }
    }
}

fn value_size_bytes(value: &serde_json::Value) -> usize {
    use serde_json::Value;
    let inner = match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(value_size_bytes).sum(),
        Value::Object(fields) => fields.iter().map(|(k, v)| k.len() + 48 + value_size_bytes(v)).sum(),
    };
    inner + size_of::<Value>()
}

/// A place in a JSON document, by RFC 6901: `""` is the whole, `/data/items` a member of a member.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct JsonPointer {
    tokens: Vec<String>,
}

impl JsonPointer {
    /// The whole document.
    pub fn root() -> Self {
        Self::default()
    }

    /// The reference tokens, unescaped, outermost first.
    pub fn tokens(&self) -> &[String] {
        &self.tokens
    }
}

impl FromStr for JsonPointer {
    type Err = ConnectorError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() {
            return Ok(Self::root());
        }
        let Some(rest) = text.strip_prefix('/') else {
            return Err(ConnectorError::bug(format!("JSON pointer `{text}` does not start with `/`")));
        };
        Ok(Self { tokens: rest.split('/').map(|t| t.replace("~1", "/").replace("~0", "~")).collect() })
    }
}

impl<T: Into<String>> FromIterator<T> for JsonPointer {
    /// A pointer of these reference tokens, unescaped, outermost first.
    fn from_iter<I: IntoIterator<Item = T>>(tokens: I) -> Self {
        Self { tokens: tokens.into_iter().map(Into::into).collect() }
    }
}

impl fmt::Display for JsonPointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for token in &self.tokens {
            write!(f, "/{}", token.replace('~', "~0").replace('/', "~1"))?;
        }
        Ok(())
    }
}

/// What a read yields: any number of pages, then its end, once.
#[derive(Debug, Clone)]
pub enum ReadItem {
    /// Some records.
    Page(Page),
    /// The offset that the read reached; nothing may follow. `None` ends a snapshot.
    End(Option<Offset>),
}

/// The pages of one read, followed by its end offset. An error ends the stream.
pub type PageStream<'a> = Pin<Box<dyn Stream<Item = Result<ReadItem, ConnectorError>> + Send + 'a>>;
