//! Finds places in a JSON document without building it.
//!
//! Connectors use [`JsonPointer::find`] to read a cursor or a link from a body whose records go to the decoder
//! as they are. The decoder uses the pieces below it.
//!
//! Two ways to pass over a value are offered. [`value_end`] checks it fully. [`run_end`] works on blocks of
//! 64 bytes and checks strings (where they end, control characters) and brackets (each closed by its own
//! kind), which is all that decides where a value ends; numbers, literals, escapes, commas and colons
//! inside are not looked at.

use std::ops::Range;

use crate::{ConnectorError, JsonPointer};

/// Levels of nesting that are followed; deeper documents are refused.
pub const MAX_DEPTH: u32 = 128;

/// What is wrong with a document, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScanError {
    /// Byte position, from 0.
    pub at: usize,
    /// What is wrong there.
    pub reason: &'static str,
}

impl ScanError {
    /// Makes the error for byte `at`.
    #[cold]
    pub fn new(at: usize, reason: &'static str) -> Self {
        Self { at, reason }
    }
}

impl From<ScanError> for ConnectorError {
    fn from(error: ScanError) -> Self {
        ConnectorError::bad_response(format!("malformed JSON at byte {}: {}", error.at, error.reason))
    }
}

/// The document ended too early.
pub const TRUNCATED: &str = "the document ends in the middle of a value";
const CONTROL: &str = "a control character in a string";
const ESCAPE: &str = "not an escape that JSON has";
const BRACKET: &str = "a bracket that closes nothing";
const TOO_DEEP: &str = "nested deeper than 128 levels";
const NOT_A_VALUE: &str = "a value was expected";

mod items;
mod lanes;

pub use items::{Items, Passed, Start, check_rest};
use lanes::Lanes;

/// A bit per byte of `chunk` that ends a stretch of plain text in a string: quote, backslash, control character.
#[inline]
pub fn special_bytes(chunk: &[u8; 16]) -> u32 {
    Lanes::load(chunk).special()
}

/// Sixteen bytes at `at`, where there are so many.
#[inline]
pub fn chunk16(body: &[u8], at: usize) -> Option<&[u8; 16]> {
    body.get(at..)?.first_chunk()
}

/// The first byte at or after `at` that is not JSON white space.
#[inline]
pub fn skip_space(body: &[u8], mut at: usize) -> usize {
    while let Some(b' ' | b'\n' | b'\r' | b'\t') = body.get(at) {
        at += 1;
    }
    at
}

/// The place behind the closing quote of the string whose opening quote is at `at`. Fully checked, but for
/// UTF-8 and for surrogates that stand alone.
///
/// # Errors
/// The string does not end, or holds a control character or an unknown escape.
pub fn string_end(body: &[u8], at: usize) -> Result<usize, ScanError> {
    let mut at = at + 1;
    loop {
        if let Some(chunk) = chunk16(body, at) {
            let hits = special_bytes(chunk);
            if hits == 0 {
                at += 16;
                continue;
            }
            at += hits.trailing_zeros() as usize;
        }
        match body.get(at) {
            Some(b'"') => return Ok(at + 1),
            Some(b'\\') => at = escape_end(body, at)?,
            Some(0..0x20) => return Err(ScanError::new(at, CONTROL)),
            Some(_) => at += 1,
            None => return Err(ScanError::new(at, TRUNCATED)),
        }
    }
}

fn escape_end(body: &[u8], at: usize) -> Result<usize, ScanError> {
    match body.get(at + 1) {
        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(at + 2),
        Some(b'u') => match body.get(at + 2..at + 6) {
            Some(digits) if digits.iter().all(u8::is_ascii_hexdigit) => Ok(at + 6),
            Some(_) => Err(ScanError::new(at, ESCAPE)),
            None => Err(ScanError::new(body.len(), TRUNCATED)),
        },
        Some(_) => Err(ScanError::new(at, ESCAPE)),
        None => Err(ScanError::new(body.len(), TRUNCATED)),
    }
}

/// The place behind the number at `at`, by JSON's grammar.
///
/// # Errors
/// Not a number: no digits, a leading zero, no digit behind a point or an exponent.
pub fn number_end(body: &[u8], at: usize) -> Result<usize, ScanError> {
    let digits = |from: usize| {
        let mut to = from;
        while body.get(to).is_some_and(u8::is_ascii_digit) {
            to += 1;
        }
        if to > from {
            Ok(to)
        } else if to >= body.len() {
            Err(ScanError::new(to, TRUNCATED))
        } else {
            Err(ScanError::new(to, "a digit was expected"))
        }
    };
    let first = if body.get(at) == Some(&b'-') { at + 1 } else { at };
    let mut end = digits(first)?;
    if body.get(first) == Some(&b'0') && end > first + 1 {
        return Err(ScanError::new(first, "a number with a leading zero"));
    }
    if body.get(end) == Some(&b'.') {
        end = digits(end + 1)?;
    }
    if let Some(b'e' | b'E') = body.get(end) {
        let sign = usize::from(matches!(body.get(end + 1), Some(b'+' | b'-')));
        end = digits(end + 1 + sign)?;
    }
    Ok(end)
}

/// The place behind the string, number or literal at `at`.
///
/// # Errors
/// As [`string_end`] and [`number_end`], or neither of them is there.
pub fn scalar_end(body: &[u8], at: usize) -> Result<usize, ScanError> {
    let literal = |text: &[u8]| {
        let rest = body.get(at..).unwrap_or_default();
        if rest.starts_with(text) {
            Ok(at + text.len())
        } else if text.starts_with(rest) {
            Err(ScanError::new(body.len(), TRUNCATED))
        } else {
            Err(ScanError::new(at, NOT_A_VALUE))
        }
    };
    match body.get(at) {
        Some(b'"') => string_end(body, at),
        Some(b'-' | b'0'..=b'9') => number_end(body, at),
        Some(b't') => literal(b"true"),
        Some(b'f') => literal(b"false"),
        Some(b'n') => literal(b"null"),
        Some(_) => Err(ScanError::new(at, NOT_A_VALUE)),
        None => Err(ScanError::new(at, TRUNCATED)),
    }
}

/// The place behind the value at `at`, fully checked. It takes no stack, however deep the value.
///
/// # Errors
/// Anything that JSON's grammar does not have, and nesting deeper than [`MAX_DEPTH`].
pub fn value_end(body: &[u8], at: usize) -> Result<usize, ScanError> {
    value_end_by(body, at, scalar_end)
}

/// As [`value_end`], and with `NaN`, `Infinity` and `-Infinity`, which Python writes.
///
/// # Errors
/// As [`value_end`].
pub fn value_end_python(body: &[u8], at: usize) -> Result<usize, ScanError> {
    value_end_by(body, at, |body, at| match python_number_end(body, at) {
        Some(end) => Ok(end),
        None => scalar_end(body, at),
    })
}

/// The place behind `NaN`, `Infinity` or `-Infinity` at `at`, where one of them is there.
pub fn python_number_end(body: &[u8], at: usize) -> Option<usize> {
    let rest = body.get(at..)?;
    let names: [&[u8]; 3] = [b"NaN", b"Infinity", b"-Infinity"];
    names.iter().find(|name| rest.starts_with(name)).map(|name| at + name.len())
}

fn value_end_by(
    body: &[u8],
    at: usize,
    scalar_end: impl Fn(&[u8], usize) -> Result<usize, ScanError>,
) -> Result<usize, ScanError> {
    let mut at = at;
    let mut open = Open::default();
    loop {
        // A value is expected at `at`.
        match body.get(at) {
            Some(b'{') => {
                open.push(at, true)?;
                at = skip_space(body, at + 1);
                if body.get(at) != Some(&b'}') {
                    at = key_end(body, at)?;
                    continue;
                }
            }
            Some(b'[') => {
                open.push(at, false)?;
                at = skip_space(body, at + 1);
                if body.get(at) != Some(&b']') {
                    continue;
                }
            }
            _ => at = scalar_end(body, at)?,
        }
        // A value has ended, or the bracket at `at` closes an empty container.
        loop {
            if open.depth == 0 {
                return Ok(at);
            }
            at = skip_space(body, at);
            match body.get(at) {
                Some(b'}' | b']') => {
                    open.pop(at, body.get(at) == Some(&b'}'))?;
                    at += 1;
                }
                Some(b',') => {
                    at = skip_space(body, at + 1);
                    if open.in_object() {
                        at = key_end(body, at)?;
                    }
                    break;
                }
                Some(_) => return Err(ScanError::new(at, "a comma or a closing bracket was expected")),
                None => return Err(ScanError::new(at, TRUNCATED)),
            }
        }
    }
}

/// The place of the value whose key's opening quote is at `at`.
fn key_end(body: &[u8], at: usize) -> Result<usize, ScanError> {
    match body.get(at) {
        Some(b'"') => colon_end(body, string_end(body, at)?),
        Some(_) => Err(ScanError::new(at, "a key was expected")),
        None => Err(ScanError::new(at, TRUNCATED)),
    }
}

/// The place of the value behind the colon at or after `at`.
///
/// # Errors
/// No colon.
pub fn colon_end(body: &[u8], at: usize) -> Result<usize, ScanError> {
    let at = skip_space(body, at);
    match body.get(at) {
        Some(b':') => Ok(skip_space(body, at + 1)),
        Some(_) => Err(ScanError::new(at, "a colon was expected")),
        None => Err(ScanError::new(at, TRUNCATED)),
    }
}

/// The brackets that are open, a bit each.
#[derive(Debug, Default)]
struct Open {
    objects: u128,
    depth: u32,
}

impl Open {
    #[inline]
    fn push(&mut self, at: usize, object: bool) -> Result<(), ScanError> {
        if self.depth == MAX_DEPTH {
            return Err(ScanError::new(at, TOO_DEEP));
        }
        self.objects = self.objects << 1 | u128::from(object);
        self.depth += 1;
        Ok(())
    }

    #[inline]
    fn pop(&mut self, at: usize, object: bool) -> Result<(), ScanError> {
        if self.depth == 0 || self.in_object() != object {
            return Err(ScanError::new(at, BRACKET));
        }
        self.objects >>= 1;
        self.depth -= 1;
        Ok(())
    }

    #[inline]
    fn in_object(&self) -> bool {
        self.objects & 1 == 1
    }
}

/// Where a run of values ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunEnd {
    /// At this comma, the last one asked for.
    Comma(usize),
    /// At this bracket, `}` or `]`, which closes the container that the run is in.
    Bracket(usize),
}

/// Passes over the values from `at` (a place inside a container, outside its strings) to the `commas`-th comma of that
/// container, or to the bracket that closes it, in blocks of 64 bytes. See the module for what is checked.
///
/// # Errors
/// The document ends first, a control character in a string, or a bracket that closes nothing.
pub fn run_end(body: &[u8], at: usize, commas: u32) -> Result<RunEnd, ScanError> {
    let mut left = commas;
    let mut open = Open::default();
    let mut strings = Strings::default();
    let mut at = at;
    loop {
        let rest = body.get(at..).unwrap_or_default();
        if rest.is_empty() {
            return Err(ScanError::new(body.len(), TRUNCATED));
        }
        let mut padded = [b' '; 64];
        let block = match rest.first_chunk::<64>() {
            Some(block) => block,
            None => {
                padded.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
                &padded
            }
        };
        let masks = Masks::of(block);
        let outside = strings.outside(&masks).map_err(|bit| ScanError::new(at + bit, CONTROL))?;
        let brackets = (masks.open | masks.close) & outside;
        let separators = masks.comma & outside;
        if brackets == 0 {
            if open.depth == 0 {
                let found = separators.count_ones();
                if found >= left {
                    return Ok(RunEnd::Comma(at + nth_bit(separators, left)));
                }
                left -= found;
            }
        } else {
            let mut events =
                brackets | if open.depth == 0 || masks.close & outside != 0 { separators } else { 0 };
            while events != 0 {
                let bit = events.trailing_zeros();
                events &= events - 1;
                let place = at + bit as usize;
                let one = 1u64 << bit;
                if separators & one != 0 {
                    if open.depth == 0 {
                        left -= 1;
                        if left == 0 {
                            return Ok(RunEnd::Comma(place));
                        }
                    }
                } else {
                    let object = block.get(bit as usize).is_some_and(|b| b & 0x20 != 0);
                    if masks.open & one != 0 {
                        open.push(place, object)?;
                    } else if open.depth == 0 {
                        return Ok(RunEnd::Bracket(place));
                    } else {
                        open.pop(place, object)?;
                    }
                }
            }
        }
        at += 64;
    }
}

/// The place of the `n`-th set bit, counted from 1.
#[inline]
fn nth_bit(mut bits: u64, n: u32) -> usize {
    for _ in 1..n {
        bits &= bits - 1;
    }
    bits.trailing_zeros() as usize
}

/// The place behind the container whose bracket is at `at`, by [`run_end`].
///
/// # Errors
/// As [`run_end`].
pub fn container_end(body: &[u8], at: usize) -> Result<usize, ScanError> {
    let closing = if body.get(at) == Some(&b'{') { b'}' } else { b']' };
    match run_end(body, at + 1, u32::MAX)? {
        RunEnd::Bracket(end) if body.get(end) == Some(&closing) => Ok(end + 1),
        RunEnd::Bracket(end) | RunEnd::Comma(end) => Err(ScanError::new(end, BRACKET)),
    }
}

struct Masks {
    quote: u64,
    backslash: u64,
    open: u64,
    close: u64,
    comma: u64,
    control: u64,
}

impl Masks {
    #[inline]
    fn of(block: &[u8; 64]) -> Self {
        let mut masks = Masks { quote: 0, backslash: 0, open: 0, close: 0, comma: 0, control: 0 };
        let (chunks, _) = block.as_chunks::<16>();
        for (i, chunk) in chunks.iter().enumerate() {
            let lanes = Lanes::load(chunk);
            // `[` and `{`, and `]` and `}`, differ in one bit.
            let folded = lanes.lowercase();
            let shift = 16 * i;
            masks.quote |= u64::from(lanes.equal(b'"')) << shift;
            masks.backslash |= u64::from(lanes.equal(b'\\')) << shift;
            masks.open |= u64::from(folded.equal(b'{')) << shift;
            masks.close |= u64::from(folded.equal(b'}')) << shift;
            masks.comma |= u64::from(lanes.equal(b',')) << shift;
            masks.control |= u64::from(lanes.control()) << shift;
        }
        masks
    }
}

/// What a block needs to know of the block before it.
#[derive(Debug, Clone, Default)]
struct Strings {
    /// All ones while inside a string.
    inside: u64,
    /// One where the first byte is escaped.
    escaped: u64,
}

impl Strings {
    /// A bit per byte outside strings (an opening quote counts as inside, a closing one as outside).
    /// An error is the place of a control character inside a string, or of a backslash outside.
    #[inline]
    fn outside(&mut self, masks: &Masks) -> Result<u64, usize> {
        let mut quotes = masks.quote;
        if masks.backslash | self.escaped != 0 {
            quotes &= !self.escaped_bytes(masks.backslash);
        }
        let mut inside = quotes;
        for shift in [1, 2, 4, 8, 16, 32] {
            inside ^= inside << shift;
        }
        inside ^= self.inside;
        self.inside = if inside >> 63 == 1 { u64::MAX } else { 0 };
        let wrong = (masks.control & inside) | (masks.backslash & !inside);
        if wrong != 0 {
            return Err(wrong.trailing_zeros() as usize);
        }
        Ok(!inside)
    }

    /// The bytes that a backslash escapes; a backslash that is itself escaped escapes nothing.
    /// The method is that of Keiser and Lemire, "Validating UTF-8 and parsing JSON", as an addition over runs of backslashes.
    #[inline]
    fn escaped_bytes(&mut self, backslash: u64) -> u64 {
        const ODD: u64 = 0xaaaa_aaaa_aaaa_aaaa;
        let starts = backslash & !self.escaped;
        let ends = ((starts << 1 | ODD).wrapping_sub(starts)) ^ ODD;
        let escaped = ends ^ (backslash | self.escaped);
        self.escaped = (ends & backslash) >> 63;
        escaped
    }
}

impl JsonPointer {
    /// The raw JSON of the value at this place, or `None` where there is none (a member or an item is missing, or
    /// something on the way is not a container). Which of two equal keys counts is left open.
    ///
    /// The document is read up to the end of that value only, and what is passed over is checked as far as
    /// [`run_end`] does; or, where the value is among the last bytes of an object, behind the records, from there on only.
    /// The decoder checks bodies fully.
    ///
    /// # Errors
    /// [`ConnectorError::BadResponse`] where the document is malformed or ends too early.
    pub fn find<'a>(&self, body: &'a [u8]) -> Result<Option<&'a [u8]>, ConnectorError> {
        Ok(self.find_range(body)?.and_then(|range| body.get(range)))
    }

    /// As [`JsonPointer::find`], as a range of positions.
    ///
    /// # Errors
    /// As [`JsonPointer::find`].
    pub fn find_range(&self, body: &[u8]) -> Result<Option<Range<usize>>, ScanError> {
        let mut at = skip_space(body, 0);
        let mut tokens = self.tokens().iter();
        if body.len() > LONG_BYTES
            && let Some(value) = tokens.as_slice().first().and_then(|token| find_last_member(body, at, token))
        {
            at = value;
            tokens.next();
        }
        for token in tokens {
            let found = match body.get(at) {
                Some(b'{') => find_member(body, at, token)?,
                Some(b'[') => find_item(body, at, token)?,
                _ => {
                    scalar_end(body, at)?;
                    None
                }
            };
            match found {
                Some(place) => at = place,
                None => return Ok(None),
            }
        }
        Ok(Some(at..fast_value_end(body, at)?))
    }
}

fn fast_value_end(body: &[u8], at: usize) -> Result<usize, ScanError> {
    match body.get(at) {
        Some(b'{' | b'[') => container_end(body, at),
        _ => scalar_end(body, at),
    }
}

/// A document that is not longer is read from the start.
const LONG_BYTES: usize = 8 * 1024;
/// How many bytes of a longer one are looked at from its end.
const TAIL_BYTES: usize = 1024;

/// The place of the value of member `token`, where the document is the object at `at` and the member is among its last
/// bytes. For a document that is JSON the answer is right; for another there may be one as well.
///
/// A quote behind a comma or a brace, from which on the document reads as members, a closing brace and its end,
/// opens a key of the outermost object. It does not close a string: then the quotes behind it would be in pairs, and read as
/// members they are not. Nor is it inside a string: there a quote stands behind a backslash. And only one level is left to be closed.
fn find_last_member(body: &[u8], at: usize, token: &str) -> Option<usize> {
    // Names that are escaped where they stand are found from the start.
    if body.get(at) != Some(&b'{') || token.contains(['"', '\\']) {
        return None;
    }
    let from = body.len().saturating_sub(TAIL_BYTES).max(at + 1);
    let mut end = body.len();
    loop {
        let key = from + body.get(from..end)?.windows(token.len() + 2).rposition(|w| is_quoted(w, token))?;
        let before = body.get(from - 1..key)?.trim_ascii_end().last();
        if let (Some(b',' | b'{'), Some(value)) = (before, last_members(body, key)) {
            return Some(value);
        }
        end = key + token.len() + 1;
    }
}

fn is_quoted(text: &[u8], token: &str) -> bool {
    matches!(text, [b'"', inner @ .., b'"'] if inner == token.as_bytes())
}

/// The place of the first value, where members, a closing brace and the document's end follow from the key at `at` on.
fn last_members(body: &[u8], at: usize) -> Option<usize> {
    let first = key_end(body, at).ok()?;
    let mut value = first;
    loop {
        let end = value_end(body, value).ok()?;
        match next_item(body, end, b'}').ok()? {
            Some(key) => value = key_end(body, key).ok()?,
            None => return (skip_space(body, skip_space(body, end) + 1) == body.len()).then_some(first),
        }
    }
}

/// The place of the value of member `token` in the object at `at`.
fn find_member(body: &[u8], at: usize, token: &str) -> Result<Option<usize>, ScanError> {
    let mut at = skip_space(body, at + 1);
    if body.get(at) == Some(&b'}') {
        return Ok(None);
    }
    loop {
        let value = key_end(body, at)?;
        if key_equals(body, at, token)? {
            return Ok(Some(value));
        }
        match next_item(body, fast_value_end(body, value)?, b'}')? {
            Some(next) => at = next,
            None => return Ok(None),
        }
    }
}

/// The place of item `token` (a number without leading zeros) of the array at `at`.
fn find_item(body: &[u8], at: usize, token: &str) -> Result<Option<usize>, ScanError> {
    let wanted = token.parse::<usize>().ok().filter(|n| n.to_string() == token).unwrap_or(usize::MAX);
    let mut at = skip_space(body, at + 1);
    if body.get(at) == Some(&b']') {
        return Ok(None);
    }
    for _ in 0..wanted {
        match next_item(body, fast_value_end(body, at)?, b']')? {
            Some(next) => at = next,
            None => return Ok(None),
        }
    }
    Ok(Some(at))
}

/// The place behind the comma at or after `at`, or `None` at the closing bracket.
fn next_item(body: &[u8], at: usize, closing: u8) -> Result<Option<usize>, ScanError> {
    let at = skip_space(body, at);
    match body.get(at) {
        Some(b',') => Ok(Some(skip_space(body, at + 1))),
        Some(b) if *b == closing => Ok(None),
        Some(_) => Err(ScanError::new(at, "a comma or a closing bracket was expected")),
        None => Err(ScanError::new(at, TRUNCATED)),
    }
}

/// Whether the key whose opening quote is at `at` is `name`.
///
/// # Errors
/// A key that is malformed or is not UTF-8.
pub fn key_equals(body: &[u8], at: usize, name: &str) -> Result<bool, ScanError> {
    let end = string_end(body, at)?;
    let raw = body.get(at + 1..end - 1).unwrap_or_default();
    if !raw.contains(&b'\\') {
        return Ok(raw == name.as_bytes());
    }
    match serde_json::from_slice::<String>(body.get(at..end).unwrap_or_default()) {
        Ok(key) => Ok(key == name),
        Err(_) => Err(ScanError::new(at, "a key that is not text")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::{MAX_DEPTH, ScanError, container_end, find_last_member, find_member, value_end};
    use crate::JsonPointer;

    fn find(pointer: &str, body: &str) -> Result<Option<String>, String> {
        let pointer: JsonPointer = pointer.parse().unwrap();
        match pointer.find(body.as_bytes()) {
            Ok(found) => Ok(found.map(|raw| String::from_utf8(raw.to_vec()).unwrap())),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn members_and_items_are_found_as_they_stand() {
        let filler = r#"{"s":"]}\\\",{[","n":[[],{}]},"#.repeat(50);
        let body = format!(
            r#" {{"data": [{filler}1], "a/b" : {{"x~y":"\"q\""}}, "n\u0065xt": "/p?c=2" , "z": -1.5e3 }} "#
        );
        let check = |pointer: &str, expect: Option<&str>| {
            assert_eq!(find(pointer, &body), Ok(expect.map(str::to_owned)), "{pointer}");
        };
        check("/next", Some("\"/p?c=2\""));
        check("/a~1b/x~0y", Some(r#""\"q\"""#));
        check("/z", Some("-1.5e3"));
        check("/data/50", Some("1"));
        check("/data/1/n", Some("[[],{}]"));
        check("/data/51", None);
        check("/data/01", None);
        check("/data/x", None);
        check("/missing", None);
        check("/z/deeper", None);
        check("", Some(body.trim()));
    }

    #[test]
    fn a_member_is_found_from_the_end_where_it_is_one() {
        let records = format!(r#"{{"data":[{}]"#, r#"{"next":"no","a":",\"next\":1"},"#.repeat(999) + "{}");
        let check = |rest: &str, expect: Option<&str>| {
            let body = format!("{records}{rest}");
            assert_eq!(find("/next", &body), Ok(expect.map(str::to_owned)), "{rest}");
        };
        check(r#","next":"yes"}"#, Some("\"yes\""));
        check(" , \"next\" : {\"next\":1} , \"z\":\"}\" } \n", Some("{\"next\":1}"));
        check(r#","z":{"next":"no"}}"#, None);
        check(r#","z":[{"next":"no"}],"y":"\\"}"#, None);
        check(r#","z":"\"next\":1}","y":",\"next\":2"}"#, None);
        check(r#","a\"next":"no"}"#, None);
        check(r#","a,\"next":"no"}"#, None);
        check(r#"}"#, None);
        check(&format!(r#","next":"far","z":"{}"}}"#, "x".repeat(2000)), Some("\"far\""));
        let error = find("/next", &format!(r#"{records},"next":"yes""#)).map(|_| ());
        assert_eq!(error, Ok(()), "what is behind the value is not looked at");
        assert!(find("/next", &format!(r#"{records},"next":"yes"#)).is_err());
    }

    #[test]
    fn malformed_bodies_are_errors_that_name_the_byte() {
        let check = |pointer: &str, body: &str, expect: &str| {
            let error = find(pointer, body).unwrap_err();
            assert!(error.contains(expect), "{body}: {error}");
        };
        check("/b", r#"{"a":[1,2"#, "ends in the middle");
        check("/b", r#"{"a":"x"#, "ends in the middle");
        check("/b", "{\"a\":[\"x\ny\"],\"b\":1}", "byte 8: a control character");
        check("/b", r#"{"a":[1},"b":1}"#, "closes nothing");
        check("/b", r#"{"a":[{]},"b":1}"#, "closes nothing");
        check("/b", r#"{"a" 1}"#, "colon");
        check("/b", r#"{"a":1 "b":2}"#, "comma");
        check("/b", r#"{"a":01,"b":2}"#, "leading zero");
        check("/b", r#"{a:1}"#, "a key");
        check("/b", "", "ends in the middle");
        check("/b", "<html>", "a value was expected");
        check("/b", r#"{"a":"\x","b":1}"#, "escape");
        check("", "tru", "ends in the middle");
    }

    #[test]
    fn hostile_nesting_is_an_error_and_takes_no_stack() {
        let deep = "[".repeat(1_000_000);
        let error = value_end(deep.as_bytes(), 0).unwrap_err();
        assert_eq!(error, ScanError { at: MAX_DEPTH as usize, reason: "nested deeper than 128 levels" });
        assert!(container_end(deep.as_bytes(), 0).is_err());
    }

    fn json() -> impl Strategy<Value = Value> {
        let text = prop_oneof!["[ -~]{0,80}", "[\\\\\"{}\\[\\],]{0,20}", "\\PC{0,10}"];
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_filter("finite", |f| f.is_finite()).prop_map(Value::from),
            text.clone().prop_map(Value::from),
        ];
        leaf.prop_recursive(5, 64, 8, move |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
                proptest::collection::btree_map(text.clone(), inner, 0..8)
                    .prop_map(|m| Value::Object(m.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn every_document_ends_where_it_ends(value in json(), pretty: bool, tail in "[ ,\\]}]{0,70}") {
            let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) }.unwrap();
            let body = format!("{text}{tail}");
            prop_assert_eq!(value_end(body.as_bytes(), 0), Ok(text.len()));
            if value.is_array() || value.is_object() {
                prop_assert_eq!(container_end(body.as_bytes(), 0), Ok(text.len()));
            }
        }

        #[test]
        fn a_member_is_the_one_that_another_parser_finds(
            members in proptest::collection::vec((",|:|[ab,:\"{}\\\\]{0,3}", prop_oneof![json(), "[ab,:\"{}]{0,9}".prop_map(Value::from)]), 0..6),
            wanted in ",|:|[ab,:\"{}\\\\]{0,3}", pretty: bool,
        ) {
            let value = Value::Object(members.into_iter().collect());
            let body = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) }.unwrap();
            let value_at = |place: Option<usize>| place.map(|at| {
                let end = value_end(body.as_bytes(), at).unwrap();
                serde_json::from_str::<Value>(body.get(at..end).unwrap()).unwrap()
            });
            let from_start = find_member(body.as_bytes(), 0, &wanted).unwrap();
            let found = value_at(from_start);
            prop_assert_eq!(found.as_ref(), value.get(&wanted));
            let from_end = find_last_member(body.as_bytes(), 0, &wanted);
            prop_assert!(from_end.is_none() || from_end == from_start);
            if wanted.bytes().all(|b| b != b'"' && b != b'\\') && body.len() < super::TAIL_BYTES {
                prop_assert_eq!(from_end, from_start);
            }
        }

        #[test]
        fn a_changed_document_is_accepted_only_where_a_strict_parser_does(
            value in json(), at in any::<prop::sample::Index>(), byte: u8,
        ) {
            let mut body = serde_json::to_vec(&value).unwrap();
            let at = at.index(body.len());
            body[at] = byte;
            let strict = std::str::from_utf8(&body).is_ok()
                && serde_json::from_slice::<serde::de::IgnoredAny>(&body).is_ok();
            let accepted = value_end(&body, 0) == Ok(body.len());
            // Trailing space is for the caller to pass over.
            if strict && byte != b' ' && !byte.is_ascii_whitespace() {
                prop_assert!(accepted);
            }
            if accepted && std::str::from_utf8(&body).is_ok() {
                prop_assert!(strict);
            }
        }
    }
}
