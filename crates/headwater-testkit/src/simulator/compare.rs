//! A live answer beside the one that the description gives.

use std::collections::BTreeSet;
use std::fmt;

use serde_json::Value;

use super::answer::{Answer, Asked};
use super::description::{Description, Endpoint, Found};
use super::value::at;

/// Where a description and the source do not agree.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub struct Difference {
    /// The method.
    pub method: String,
    /// The endpoint's path as the description writes it; the path of the request where none fits.
    pub path: String,
    /// What differs.
    pub what: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.method, self.path, self.what)
    }
}

/// What differs between two answers to the same request.
pub(super) fn differences(
    description: &Description,
    asked: &Asked,
    live: &Answer,
    simulated: &Answer,
) -> Vec<Difference> {
    let told =
        |path: &str, what: String| Difference { method: asked.method.clone(), path: path.to_owned(), what };
    let Found::Endpoint { endpoint, .. } = description.find(&asked.method, &asked.path) else {
        return vec![told(
            &asked.path,
            format!("no endpoint is described; the source answers {}", live.status),
        )];
    };
    let path = &endpoint.path.text;
    let expected = &endpoint.response.expected_status_codes;
    if !expected.is_empty() {
        if !expected.contains(&live.status) {
            let list: Vec<String> = expected.iter().map(ToString::to_string).collect();
            return vec![told(
                path,
                format!("the source answers {}, expected is {}", live.status, list.join(" or ")),
            )];
        }
    } else if live.status != simulated.status {
        let what = format!("the source answers {}, the description {}", live.status, simulated.status);
        return vec![told(path, what)];
    }
    let bodies =
        (serde_json::from_slice::<Value>(&live.body), serde_json::from_slice::<Value>(&simulated.body));
    let (Ok(live), Ok(simulated)) = bodies else { return Vec::new() };
    let mut found = Vec::new();
    let mut note = |place: &str, live: BTreeSet<String>, simulated: BTreeSet<String>| {
        for key in live.difference(&simulated) {
            found.push(told(path, format!("the source gives `{key}` in {place}, the description does not")));
        }
        for key in simulated.difference(&live) {
            found.push(told(path, format!("the description gives `{key}` in {place}, the source does not")));
        }
    };
    if let (Some(live), Some(simulated)) = (outer(endpoint, &live), outer(endpoint, &simulated)) {
        note("the answer", live, simulated);
    }
    let (live, simulated) = (records(endpoint, &live), records(endpoint, &simulated));
    // Without a record there is nothing to be seen.
    if !live.is_empty() && !simulated.is_empty() {
        note("its records", keys(&live), keys(&simulated));
    }
    found
}

/// The keys beside the records, without those that are to be ignored.
fn outer(endpoint: &Endpoint, body: &Value) -> Option<BTreeSet<String>> {
    let wrapper = endpoint.response.wrapper.as_ref().filter(|_| !endpoint.response.single_entity)?;
    let ignored = wrapper.ignore_extra_keys.as_ref()?;
    let keys = body.as_object()?.keys().filter(|key| !ignored.contains(key));
    Some(keys.cloned().collect())
}

/// The records of a body: under the endpoint's key, or the body itself.
fn records<'a>(endpoint: &Endpoint, body: &'a Value) -> Vec<&'a Value> {
    let key = endpoint.response.wrapper.as_ref().and_then(|wrapper| wrapper.records_key.as_deref());
    let found = match key {
        Some(key) => at(body, key),
        None if body.is_object() && !endpoint.response.single_entity => at(body, "value").or(Some(body)),
        None => Some(body),
    };
    match found {
        Some(Value::Array(items)) => items.iter().collect(),
        Some(one @ Value::Object(_)) => vec![one],
        _ => Vec::new(),
    }
}

fn keys(records: &[&Value]) -> BTreeSet<String> {
    records.iter().filter_map(|record| record.as_object()).flat_map(|fields| fields.keys().cloned()).collect()
}

/// Cuts the records of an answer to a sample: those under the endpoint's key, or else the largest array of objects.
pub(super) fn cut(description: &Description, asked: &Asked, answer: &mut Answer, most: usize) {
    let Ok(mut body) = serde_json::from_slice::<Value>(&answer.body) else { return };
    let key = match description.find(&asked.method, &asked.path) {
        Found::Endpoint { endpoint, .. } => {
            endpoint.response.wrapper.as_ref().and_then(|w| w.records_key.clone())
        }
        Found::Nothing { .. } => None,
    };
    let pointer = key.map(|key| format!("/{}", key.replace('.', "/")));
    let pointer = pointer.filter(|pointer| body.pointer(pointer).is_some_and(Value::is_array));
    let pointer = pointer.or_else(|| largest(&body, String::new(), 0).map(|(pointer, _)| pointer));
    let array = pointer.and_then(|pointer| body.pointer_mut(&pointer)).and_then(Value::as_array_mut);
    if let Some(array) = array.filter(|array| array.len() > most) {
        array.truncate(most);
        answer.body = serde_json::to_vec(&body).unwrap_or_default().into();
    }
}

/// How deep records are looked for.
const DEEPEST: usize = 4;

fn largest(value: &Value, pointer: String, depth: usize) -> Option<(String, usize)> {
    match value {
        Value::Array(items) if items.iter().any(Value::is_object) => Some((pointer, items.len())),
        Value::Object(fields) if depth < DEEPEST => fields
            .iter()
            .filter_map(|(name, inner)| {
                let name = name.replace('~', "~0").replace('/', "~1");
                largest(inner, format!("{pointer}/{name}"), depth + 1)
            })
            .max_by_key(|(_, len)| *len),
        _ => None,
    }
}
