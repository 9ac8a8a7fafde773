//! The records of an answer, as ranges of its bytes: columns are put into them without reading them.

use std::ops::Range;

use bytes::Bytes;
use headwater_connect::json_scan::{ScanError, container_end, skip_space};
use headwater_connect::{ConnectorError, JsonPointer, Page};
use headwater_http::Response;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// The records of an answer.
#[derive(Debug)]
pub(crate) struct Rows {
    body: Bytes,
    ranges: Vec<Range<usize>>,
    request: String,
}

impl Rows {
    /// Finds the records in the list at `place`, or the one record there.
    pub(crate) fn of(response: &Response, place: &str) -> Result<Self, ConnectorError> {
        let pointer: JsonPointer = place.parse()?;
        let body = response.body.clone();
        let found = pointer.find_range(&body)?;
        let ranges = match found.as_ref().and_then(|range| body.get(range.start)) {
            Some(b'[') => items(&body, found.map_or(0, |range| range.start))?,
            Some(b'{') => found.into_iter().collect(),
            _ => {
                let place = if place.is_empty() { "its top" } else { place };
                return Err(response.unusable(format!("does not hold a list of records at {place}")));
            }
        };
        Ok(Self { body, ranges, request: response.request.clone() })
    }

    pub(crate) fn len(&self) -> usize {
        self.ranges.len()
    }

    /// Leaves out the records for whose place `keep` does not hold.
    pub(crate) fn retain(&mut self, keep: impl Fn(usize) -> bool) {
        let mut place = 0..;
        self.ranges.retain(|_| place.next().is_some_and(&keep));
    }

    /// Reads what `T` names of each record.
    pub(crate) fn read<T: DeserializeOwned>(&self) -> Result<Vec<T>, ConnectorError> {
        let read = |(index, range): (usize, &Range<usize>)| {
            let record = self.body.get(range.clone()).unwrap_or_default();
            serde_json::from_slice(record).map_err(|error| ConnectorError::BadResponse {
                what: format!("{} answered a record (number {index}) that cannot be read", self.request),
                source: Some(Box::new(error)),
            })
        };
        self.ranges.iter().enumerate().map(read).collect()
    }

    /// The records with `columns` before those of their own; `None` where there is no record.
    pub(crate) fn page(&self, columns: &Added) -> Option<Page> {
        self.page_with(|_| columns.clone())
    }

    /// The records, each with columns before those of its own; `None` where there is no record.
    pub(crate) fn page_with(&self, columns: impl Fn(usize) -> Added) -> Option<Page> {
        if self.ranges.is_empty() {
            return None;
        }
        let mut out = Vec::with_capacity(self.body.len() + self.ranges.len() * 64);
        for (index, range) in self.ranges.iter().enumerate() {
            out.push(if index == 0 { b'[' } else { b',' });
            let record = self.body.get(range.clone()).unwrap_or_default();
            let added = columns(index);
            let inner = record.get(1..).unwrap_or_default();
            out.push(b'{');
            out.extend_from_slice(added.0.as_bytes());
            // What an empty record would leave behind is a comma before its end.
            if inner.trim_ascii_start().first() == Some(&b'}') {
                out.truncate(out.len() - usize::from(out.ends_with(b",")));
            }
            out.extend_from_slice(inner);
        }
        out.push(b']');
        Some(Page::json_array(out))
    }
}

/// Members that are put into records: `"name":value,` for each.
#[derive(Debug, Clone, Default)]
pub(crate) struct Added(String);

impl Added {
    #[must_use]
    pub(crate) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.0.push_str(&Value::from(name).to_string());
        self.0.push(':');
        self.0.push_str(&value.into().to_string());
        self.0.push(',');
        self
    }
}

/// The places of the objects in the list that begins at `start`.
fn items(body: &[u8], start: usize) -> Result<Vec<Range<usize>>, ConnectorError> {
    let mut ranges = Vec::new();
    let mut at = skip_space(body, start + 1);
    if body.get(at) == Some(&b']') {
        return Ok(ranges);
    }
    loop {
        if body.get(at) != Some(&b'{') {
            return Err(ScanError::new(at, "a record was expected, an object").into());
        }
        let end = container_end(body, at)?;
        ranges.push(at..end);
        at = skip_space(body, end);
        match body.get(at) {
            Some(b',') => at = skip_space(body, at + 1),
            Some(b']') => return Ok(ranges),
            _ => return Err(ScanError::new(at, "a list goes on with a comma or ends with a bracket").into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use headwater_connect::Page;
    use serde_json::{Value, json};

    use super::{Added, Rows, items};

    fn rows(body: &str) -> Rows {
        let start = body.find('[').unwrap();
        let ranges = items(body.as_bytes(), start).unwrap();
        Rows { body: body.to_owned().into(), ranges, request: "GET x".into() }
    }

    #[test]
    fn columns_stand_before_those_of_the_record() {
        let check = |body: &str, expect: Value| {
            let added = Added::default().with("owner", "o\"").with("n", 1);
            let Some(Page::Json { body: page, .. }) = rows(body).page(&added) else { panic!("{body}") };
            assert_eq!(serde_json::from_slice::<Value>(&page).unwrap(), expect, "{body}");
        };
        check(
            r#"[{"a":"}{]["},{ "b" : [1,{}] }]"#,
            json!([
                {"owner": "o\"", "n": 1, "a": "}{]["},
                {"owner": "o\"", "n": 1, "b": [1, {}]},
            ]),
        );
        check(" [ {} , { } ]", json!([{"owner": "o\"", "n": 1}, {"owner": "o\"", "n": 1}]));
        assert!(rows("[ ]").page(&Added::default()).is_none());
    }

    #[test]
    fn what_is_no_list_of_objects_is_refused() {
        for body in ["[1]", "[{}", "[{},]", "[{} {}]", "[{\"a\":]}]", "["] {
            assert!(items(body.as_bytes(), 0).is_err(), "{body}");
        }
    }
}
