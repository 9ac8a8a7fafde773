use std::collections::BTreeMap;

use bytes::Bytes;
use headwater_connect::ConnectorError;
use headwater_http::Response;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Parameters of a request, in the order in which they are sent.
pub(crate) type Params = Vec<(String, String)>;

/// Builds parameters from literal names and any values.
macro_rules! params {
    ($($name:literal => $value:expr),* $(,)?) => {
        vec![$(($name.to_owned(), $value.to_string())),*]
    };
}
pub(crate) use params;

/// An answer without an `error` in it.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The body as it came.
    pub(crate) body: Bytes,
    /// What to send with the next request, where there is more: every member of `continue`, as it came.
    pub(crate) next: Option<BTreeMap<String, String>>,
    response: Response,
}

/// What every answer may hold beside its data.
#[derive(Debug, Deserialize)]
pub(crate) struct Envelope {
    pub(crate) error: Option<Fault>,
    pub(crate) warnings: Option<Value>,
    #[serde(rename = "continue")]
    next: Option<BTreeMap<String, Value>>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Fault {
    pub(crate) code: String,
    #[serde(default)]
    pub(crate) info: String,
}

impl Answer {
    pub(crate) fn new(response: Response, envelope: Envelope) -> Self {
        let text = |(name, value)| match value {
            Value::String(text) => (name, text),
            other => (name, other.to_string()),
        };
        let next = envelope.next.map(|members| members.into_iter().map(text).collect());
        Self { body: response.body.clone(), next, response }
    }

    /// Reads the member `query`; the default where there is none, as in an answer without results.
    pub(crate) fn query<T: DeserializeOwned + Default>(&self) -> Result<T, ConnectorError> {
        Ok(self.read::<Holder<T>>()?.query.unwrap_or_default())
    }

    /// Reads the whole answer.
    pub(crate) fn read<T: DeserializeOwned>(&self) -> Result<T, ConnectorError> {
        self.response.json()
    }

    /// An error about this answer; `what` continues "GET … ".
    pub(crate) fn unusable(&self, what: &str) -> ConnectorError {
        self.response.unusable(what)
    }
}

#[derive(Deserialize)]
#[serde(bound = "T: DeserializeOwned")]
struct Holder<T> {
    query: Option<T>,
}

/// The texts of the `warnings` member: one object per module, which holds `warnings` (one text).
pub(crate) fn warning_texts(warnings: &Value) -> Vec<String> {
    let modules = warnings.as_object().into_iter().flatten();
    let texts = modules.filter_map(|(module, inner)| {
        let text = inner.get("warnings").or_else(|| inner.get("*"))?.as_str()?;
        Some(format!("{module}: {text}"))
    });
    texts.collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::warning_texts;

    #[test]
    fn warnings_of_each_module_are_found() {
        let check = |warnings: serde_json::Value, expect: &[&str]| {
            assert_eq!(warning_texts(&warnings), expect, "{warnings}");
        };
        check(
            json!({"main": {"warnings": "Unrecognized parameter: foo."}, "query": {"warnings": "b"}}),
            &["main: Unrecognized parameter: foo.", "query: b"],
        );
        check(json!({"main": {"*": "old form"}}), &["main: old form"]);
        check(json!([]), &[]);
        check(json!({"main": 1}), &[]);
    }
}
