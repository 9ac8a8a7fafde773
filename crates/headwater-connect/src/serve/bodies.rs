//! Cuts pages into bodies.

use std::ops::Range;

use bytes::Bytes;

use crate::json_scan::{self, ScanError, skip_space, value_end};
use crate::protocol::{GOOD_BODY_BYTES, GOOD_BODY_RECORDS, MAX_BODY_BYTES};
use crate::{ConnectorError, Page};

/// A JSON array of records: what stands between its brackets, as it lay in the page where that could be.
#[derive(Debug)]
pub(super) struct Body {
    pub(super) records: u64,
    inside: Bytes,
}

impl Body {
    pub(super) fn bytes(&self) -> usize {
        self.inside.len() + 2
    }

    pub(super) fn pieces(&self) -> [&[u8]; 3] {
        [b"[", &self.inside, b"]"]
    }
}

/// The bodies of a page.
pub(super) fn bodies(page: Page) -> Result<Vec<Body>, ConnectorError> {
    let bodies = match page {
        Page::Json { body, records } => {
            let range = records.find_range(&body)?.ok_or_else(|| {
                ConnectorError::bad_response(format!("there are no records at `{records}`"))
            })?;
            cut_array(&body, range)?
        }
        Page::JsonLines(lines) => join_lines(&lines)?,
        Page::Values(values) => {
            let mut joined = Joined::default();
            for value in values {
                let record = serde_json::to_vec(&value)
                    .map_err(|error| ConnectorError::bug(format!("a record is not JSON: {error}")))?;
                joined.push(&record);
            }
            joined.finish()
        }
        Page::Arrow(_) => {
            return Err(ConnectorError::bug(
                "a page of Arrow cannot cross to headwater: hand the records over as JSON",
            ));
        }
    };
    match bodies.iter().map(Body::bytes).find(|bytes| *bytes > MAX_BODY_BYTES) {
        Some(_) => Err(ConnectorError::AnswerTooLarge {
            limit_bytes: MAX_BODY_BYTES,
            source: "one record has more than a body may have".into(),
        }),
        None => Ok(bodies),
    }
}

/// Cuts an array (or one object) where its records end.
fn cut_array(body: &Bytes, range: Range<usize>) -> Result<Vec<Body>, ScanError> {
    let end = range.end;
    let text = body.get(..end).unwrap_or_default();
    let mut at = skip_space(text, range.start);
    if text.get(at) != Some(&b'[') {
        return Ok(vec![Body { records: 1, inside: body.slice(range) }]);
    }
    let mut bodies = Vec::new();
    at = skip_space(text, at + 1);
    if text.get(at) == Some(&b']') {
        return Ok(bodies);
    }
    let (mut start, mut records) = (at, 0);
    loop {
        let record_end = value_end(text, at)?;
        records += 1;
        let next = skip_space(text, record_end);
        let last = match text.get(next) {
            Some(b',') => false,
            Some(b']') => true,
            _ => return Err(ScanError::new(next, json_scan::TRUNCATED)),
        };
        if last || records >= GOOD_BODY_RECORDS || record_end - start >= GOOD_BODY_BYTES {
            bodies.push(Body { records: records as u64, inside: body.slice(start..record_end) });
            records = 0;
        }
        if last {
            return Ok(bodies);
        }
        at = skip_space(text, next + 1);
        if records == 0 {
            start = at;
        }
    }
}

fn join_lines(lines: &[u8]) -> Result<Vec<Body>, ConnectorError> {
    let mut joined = Joined::default();
    for line in lines.split(|byte| *byte == b'\n') {
        let line = line.trim_ascii();
        if line.is_empty() {
            continue;
        }
        // A line that holds two values, or half of one, would change what the others mean.
        if value_end(line, 0)? != line.len() {
            return Err(ConnectorError::bad_response("a line holds more than one JSON value"));
        }
        joined.push(line);
    }
    Ok(joined.finish())
}

/// Records put together with commas.
#[derive(Default)]
struct Joined {
    done: Vec<Body>,
    inside: Vec<u8>,
    records: usize,
}

impl Joined {
    fn push(&mut self, record: &[u8]) {
        if self.records > 0 {
            self.inside.push(b',');
        }
        self.inside.extend_from_slice(record);
        self.records += 1;
        if self.records >= GOOD_BODY_RECORDS || self.inside.len() >= GOOD_BODY_BYTES {
            self.cut();
        }
    }

    fn cut(&mut self) {
        let inside = Bytes::from(std::mem::take(&mut self.inside));
        self.done.push(Body { records: self.records as u64, inside });
        self.records = 0;
    }

    fn finish(mut self) -> Vec<Body> {
        if self.records > 0 {
            self.cut();
        }
        self.done
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use serde_json::{Value, json};

    use super::bodies;
    use crate::Page;

    fn records(page: Page) -> Result<(Vec<Value>, Vec<u64>), String> {
        let bodies = bodies(page).map_err(|error| error.to_string())?;
        let mut all = Vec::new();
        for body in &bodies {
            let text = body.pieces().concat();
            assert_eq!(text.len(), body.bytes());
            let found: Vec<Value> = serde_json::from_slice(&text).unwrap();
            assert_eq!(found.len() as u64, body.records);
            all.extend(found);
        }
        Ok((all, bodies.iter().map(|body| body.records).collect()))
    }

    fn json_page(body: &str, pointer: &str) -> Page {
        Page::Json { body: Bytes::copy_from_slice(body.as_bytes()), records: pointer.parse().unwrap() }
    }

    #[test]
    fn every_kind_of_page_is_cut_into_bodies() {
        let many: Vec<Value> = (0..2_500).map(|n| json!({"n": n, "t": "],["})).collect();
        let text = format!(r#"{{"data": {} , "next": 1}}"#, json!(many));
        let (found, counts) = records(json_page(&text, "/data")).unwrap();
        assert_eq!((found, counts), (many.clone(), vec![1000, 1000, 500]));
        let (found, _) = records(Page::Values(many.clone())).unwrap();
        assert_eq!(found, many);
        let lines = many.iter().map(|v| format!("{v}\r\n")).collect::<String>();
        assert_eq!(records(Page::JsonLines(lines.into())).unwrap().0, many);
        assert_eq!(records(json_page(r#"{"a":{"id":1}}"#, "/a")).unwrap().0, [json!({"id": 1})]);
        assert_eq!(records(json_page(" [ ] ", "")).unwrap().0, Vec::<Value>::new());
        let big = json!({"text": "x".repeat(400 << 10)});
        let (_, counts) = records(Page::Values(vec![big.clone(), big.clone(), big])).unwrap();
        assert_eq!(counts, [2, 1]);
    }

    #[test]
    fn a_page_that_is_not_what_it_says_is_an_error() {
        let check = |page: Page, expect: &str| {
            let error = records(page).unwrap_err();
            assert!(error.contains(expect), "{error}");
        };
        check(json_page("{}", "/data"), "no records at `/data`");
        check(json_page("[{},", ""), "malformed JSON");
        check(json_page("[{} {}]", ""), "malformed JSON");
        check(Page::JsonLines("{} {}\n".into()), "more than one JSON value");
        check(Page::JsonLines("{\n}".into()), "malformed JSON");
    }
}
