//! Where the records are in a body, and whether the rest of it is JSON.

use headwater_connect::JsonPointer;
use headwater_connect::json_scan::{ScanError, TRUNCATED, colon_end, key_equals, skip_space};

use crate::parser::Parser;

/// Why records cannot be reached.
#[derive(Debug)]
pub(crate) enum Unreached {
    Malformed(ScanError),
    /// Nothing is at the place of the records; this says what is missing.
    Missing(String),
}

impl From<ScanError> for Unreached {
    fn from(error: ScanError) -> Self {
        Unreached::Malformed(error)
    }
}

/// The way to the records: the containers that are open around them, outermost first.
#[derive(Debug)]
pub(crate) struct Way<'p> {
    /// The place of the records.
    pub(crate) at: usize,
    /// The key of each, or none for an array.
    open: Vec<Option<&'p str>>,
}

impl<'p> Way<'p> {
    /// Walks to `pointer`; what is passed over is checked.
    pub(crate) fn find(parser: &Parser<'_>, pointer: &'p JsonPointer) -> Result<Self, Unreached> {
        let mut way = Way { at: skip_space(parser.body, 0), open: Vec::new() };
        for (depth, token) in pointer.tokens().iter().enumerate() {
            let found = match parser.body.get(way.at) {
                Some(b'{') => way.enter_object(parser, token)?,
                Some(b'[') => way.enter_array(parser, token)?,
                _ => {
                    parser.value_end(way.at)?;
                    false
                }
            };
            if !found {
                let around =
                    pointer.tokens().iter().take(depth).fold(String::new(), |path, t| format!("{path}/{t}"));
                let place = if around.is_empty() { "the body".to_owned() } else { format!("`{around}`") };
                return Err(Unreached::Missing(format!("{place} has no member `{token}`")));
            }
        }
        Ok(way)
    }

    fn enter_object(&mut self, parser: &Parser<'_>, token: &'p str) -> Result<bool, ScanError> {
        let body = parser.body;
        let mut at = skip_space(body, self.at + 1);
        if body.get(at) == Some(&b'}') {
            return Ok(false);
        }
        loop {
            let (value, equal) = key(body, at, token)?;
            if equal {
                self.at = value;
                self.open.push(Some(token));
                return Ok(true);
            }
            match next(body, parser.value_end(value)?, b'}')? {
                Some(place) => at = place,
                None => return Ok(false),
            }
        }
    }

    fn enter_array(&mut self, parser: &Parser<'_>, token: &'p str) -> Result<bool, ScanError> {
        let body = parser.body;
        let Some(wanted) = token.parse::<usize>().ok().filter(|n| n.to_string() == token) else {
            return Ok(false);
        };
        let mut at = skip_space(body, self.at + 1);
        if body.get(at) == Some(&b']') {
            return Ok(false);
        }
        for _ in 0..wanted {
            match next(body, parser.value_end(at)?, b']')? {
                Some(place) => at = place,
                None => return Ok(false),
            }
        }
        self.at = at;
        self.open.push(None);
        Ok(true)
    }

    /// Checks what stands behind the records, which end at `at`: members, closing brackets, the end of the body.
    pub(crate) fn finish(&self, parser: &Parser<'_>, at: usize) -> Result<(), ScanError> {
        let body = parser.body;
        let mut at = at;
        for name in self.open.iter().rev() {
            let closing = if name.is_some() { b'}' } else { b']' };
            while let Some(place) = next(body, at, closing)? {
                at = place;
                if let Some(name) = name {
                    let (value, equal) = key(body, at, name)?;
                    if equal {
                        return Err(ScanError::new(at, "the member that holds the records stands twice"));
                    }
                    at = value;
                }
                at = parser.value_end(at)?;
            }
            at = skip_space(body, at) + 1;
        }
        let end = skip_space(body, at);
        if end == body.len() {
            Ok(())
        } else {
            Err(ScanError::new(end, "something stands behind the document"))
        }
    }
}

/// The place of the value of the key at `at`, and whether the key is `name`.
fn key(body: &[u8], at: usize, name: &str) -> Result<(usize, bool), ScanError> {
    match body.get(at) {
        Some(b'"') => {
            let equal = key_equals(body, at, name)?;
            let end = headwater_connect::json_scan::string_end(body, at)?;
            Ok((colon_end(body, end)?, equal))
        }
        Some(_) => Err(ScanError::new(at, "a key was expected")),
        None => Err(ScanError::new(at, TRUNCATED)),
    }
}

/// The place behind the comma at or after `at`, or `None` at the closing bracket.
pub(crate) fn next(body: &[u8], at: usize, closing: u8) -> Result<Option<usize>, ScanError> {
    let at = skip_space(body, at);
    match body.get(at) {
        Some(b',') => Ok(Some(skip_space(body, at + 1))),
        Some(byte) if *byte == closing => Ok(None),
        Some(_) => Err(ScanError::new(at, "a comma or a closing bracket was expected")),
        None => Err(ScanError::new(at, TRUNCATED)),
    }
}
