use headwater_connect::json_scan::{RunEnd, run_end, skip_space};
use headwater_connect::{BoxError, ConnectorError, JsonPointer};

use crate::response::Response;

/// Where an answer says a number, such as how many pages there are.
#[derive(Debug, Clone)]
pub enum Place {
    /// In its body.
    Body(JsonPointer),
    /// In a header.
    Header(String),
}

impl Place {
    /// The number; `None` where there is none.
    pub(super) fn number(&self, response: &Response) -> Result<Option<u64>, ConnectorError> {
        let text = match self {
            Place::Body(pointer) => text_at(response, &response.body, pointer)?,
            Place::Header(name) => response.header(name).map(|value| value.trim().to_owned()),
        };
        let Some(text) = text else { return Ok(None) };
        match text.parse() {
            Ok(number) => Ok(Some(number)),
            Err(_) => {
                let shown: String = text.chars().take(80).collect();
                let place = match self {
                    Place::Body(pointer) => pointer.to_string(),
                    Place::Header(name) => name.clone(),
                };
                Err(response.unusable(format_args!("has `{shown}` at `{place}`, where a count was expected")))
            }
        }
    }
}

fn unreadable(response: &Response, pointer: &JsonPointer, source: BoxError) -> ConnectorError {
    let what = format!("{} did not answer JSON with `{pointer}`", response.request);
    ConnectorError::BadResponse { what, source: Some(source) }
}

/// The text or number at `pointer` of `json`, a part of the answer's body; `None` where there is nothing, null, false or an
/// empty text.
pub(super) fn text_at(
    response: &Response,
    json: &[u8],
    pointer: &JsonPointer,
) -> Result<Option<String>, ConnectorError> {
    let bad = |source: BoxError| unreadable(response, pointer, source);
    let Some(raw) = pointer.find(json).map_err(|error| bad(Box::new(error)))? else { return Ok(None) };
    let text = match raw.first() {
        Some(b'"') => serde_json::from_slice::<String>(raw).map_err(|error| bad(Box::new(error)))?,
        Some(b'-' | b'0'..=b'9') => String::from_utf8_lossy(raw).into_owned(),
        Some(b'n' | b'f') => return Ok(None),
        _ => {
            let start: String = String::from_utf8_lossy(raw).chars().take(80).collect();
            return Err(
                response.unusable(format_args!("has `{start}` at `{pointer}`, where a text was expected"))
            );
        }
    };
    Ok(Some(text).filter(|text| !text.is_empty()))
}

/// The array at `pointer`, or an error: paging by what it holds needs it. Null is an array without items.
fn array<'a>(response: &'a Response, pointer: &JsonPointer) -> Result<&'a [u8], ConnectorError> {
    let found =
        pointer.find(&response.body).map_err(|error| unreadable(response, pointer, Box::new(error)))?;
    match found {
        Some(raw) if raw.first() == Some(&b'[') => Ok(raw),
        Some(b"null") => Ok(b"[]"),
        _ => Err(response.unusable(format_args!("has no array of records at `{pointer}`"))),
    }
}

fn is_empty(array: &[u8]) -> bool {
    array.get(skip_space(array, 1)) == Some(&b']')
}

/// Whether the array at `pointer` holds fewer than `size` items.
pub(super) fn is_short(
    response: &Response,
    pointer: &JsonPointer,
    size: u64,
) -> Result<bool, ConnectorError> {
    let array = array(response, pointer)?;
    if is_empty(array) {
        return Ok(size > 0);
    }
    // So many items have one comma less.
    let Some(commas) = u32::try_from(size.saturating_sub(1)).ok().filter(|commas| *commas > 0) else {
        return Ok(false);
    };
    let end = run_end(array, 1, commas)
        .map_err(|error| unreadable(response, pointer, Box::new(ConnectorError::from(error))))?;
    Ok(matches!(end, RunEnd::Bracket(_)))
}

/// The last item of the array at `pointer`; `None` where it is empty.
pub(super) fn last_item<'a>(
    response: &'a Response,
    pointer: &JsonPointer,
) -> Result<Option<&'a [u8]>, ConnectorError> {
    let array = array(response, pointer)?;
    if is_empty(array) {
        return Ok(None);
    }
    let mut at = 1;
    loop {
        match run_end(array, at, 1) {
            Ok(RunEnd::Comma(comma)) => at = comma + 1,
            Ok(RunEnd::Bracket(end)) => return Ok(array.get(at..end)),
            Err(error) => return Err(unreadable(response, pointer, Box::new(ConnectorError::from(error)))),
        }
    }
}
