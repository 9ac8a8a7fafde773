//! Text out of JSON strings.

use std::borrow::Cow;
use std::hint::select_unpredictable;
use std::num::NonZeroU32;

use headwater_connect::json_scan::{ScanError, TRUNCATED, special_bytes, string_end};

use crate::bytes::Bytes;

/// Appends the text of the string whose opening quote stands before `at` to `out`; gives the place behind the
/// closing quote. `out` may hold a part of it after an error.
#[inline(always)]
pub(crate) fn append(body: &[u8], at: usize, out: &mut Bytes) -> Result<usize, ScanError> {
    let at = out.extend_plain(body, at);
    if body.get(at) == Some(&b'"') { Ok(at + 1) } else { append_rest(body, at, out) }
}

/// Goes on with a string where it is not plain text.
///
/// Escapes come at odd places and are of odd kinds, so that branches on either would be guessed wrong all the time: what is
/// usual is worked out without.
#[inline(never)]
fn append_rest(body: &[u8], mut at: usize, out: &mut Bytes) -> Result<usize, ScanError> {
    loop {
        let mut from = body.get(at..).unwrap_or_default();
        let mut to = out.room(2 * REACH);
        let room = to.len();
        let mut left = room;
        let is_end = loop {
            let (Some(block), Some(place)) = (from.first_chunk(), to.first_chunk_mut()) else { break false };
            let (mut read, mut written, mut is_end) = (BLOCK, BLOCK, false);
            if let Some(hits) = copy(block, place) {
                let plain = hits.trailing_zeros() as usize;
                let Some(next) = block.get(plain..).and_then(<[u8]>::first_chunk::<8>) else { break false };
                (read, written, is_end) = (plain, plain, next[0] != b'\\');
                if !is_end {
                    let escape = match usual_escape(next) {
                        Some(escape) => escape,
                        None => escape(body, body.len() - from.len() + plain)?,
                    };
                    if let Some(place) = place.get_mut(plain..).and_then(<[u8]>::first_chunk_mut) {
                        *place = escape.text;
                    }
                    read += escape.length;
                    written += escape.text_length;
                }
            }
            // Both are there: no escape is longer than what was looked at, or shorter than what it stands for.
            let (Some(rest), Some(room)) = (from.get(read..), to.get_mut(written..)) else { break false };
            (from, left, to) = (rest, room.len(), room);
            if is_end {
                break true;
            }
        };
        out.advance(room - left);
        at = body.len() - from.len();
        if is_end {
            return end(body, at);
        }
        if body.len() - at < REACH {
            return append_tail(body, at, out);
        }
    }
}

/// Bytes that are copied together.
const BLOCK: usize = 32;
/// The same, and room for an escape that begins at the last of them.
const REACH: usize = BLOCK + 8;

/// Copies a block. Gives a bit per byte that is special in a string, where there is one.
#[inline(always)]
fn copy(from: &[u8; REACH], to: &mut [u8; REACH]) -> Option<NonZeroU32> {
    let (from, _) = from.as_chunks::<16>();
    let (to, _) = to.as_chunks_mut::<16>();
    to[0] = from[0];
    let low = special_bytes(&from[0]);
    to[1] = from[1];
    let high = special_bytes(&from[1]);
    NonZeroU32::new(low | high << 16)
}

/// The place behind the quote at `at`.
fn end(body: &[u8], at: usize) -> Result<usize, ScanError> {
    match body.get(at) {
        Some(b'"') => Ok(at + 1),
        Some(_) => Err(ScanError::new(at, "a control character in a string")),
        None => Err(ScanError::new(at, TRUNCATED)),
    }
}

/// Goes on with a string near the end of the body.
#[cold]
fn append_tail(body: &[u8], mut at: usize, out: &mut Bytes) -> Result<usize, ScanError> {
    loop {
        at = out.extend_plain(body, at);
        if body.get(at) != Some(&b'\\') {
            return end(body, at);
        }
        let escape = escape(body, at)?;
        out.extend(escape.text.get(..escape.text_length).unwrap_or_default());
        at += escape.length;
    }
}

/// An escape, and what it stands for.
struct Escape {
    length: usize,
    text: [u8; 4],
    text_length: usize,
}

/// What the characters behind a backslash stand for; negative for those that are no escape of one byte.
const ESCAPES: [i8; 256] = {
    let mut table = [-1; 256];
    table[b'n' as usize] = 10;
    table[b'"' as usize] = 34;
    table[b'\\' as usize] = 92;
    table[b'/' as usize] = 47;
    table[b'r' as usize] = 13;
    table[b't' as usize] = 9;
    table[b'b' as usize] = 8;
    table[b'f' as usize] = 12;
    table
};

/// Values of hex digits; negative for what is none.
const HEX: [i8; 256] = {
    let mut table = [-1; 256];
    let mut digit = 0_u8;
    while digit < 16 {
        table[b"0123456789abcdef"[digit as usize] as usize] = digit.cast_signed();
        table[b"0123456789ABCDEF"[digit as usize] as usize] = digit.cast_signed();
        digit += 1;
    }
    table
};

/// Reads the escape that eight bytes begin with; `None` for half of a pair of surrogates, and for what is wrong.
#[inline(always)]
fn usual_escape(bytes: &[u8; 8]) -> Option<Escape> {
    let unicode = bytes[1] == b'u';
    let simple = i32::from(ESCAPES[usize::from(bytes[1])]);
    let code = select_unpredictable(unicode, hex([bytes[2], bytes[3], bytes[4], bytes[5]]), simple);
    let code = u32::try_from(code).ok().filter(|code| code & 0xf800 != 0xd800)?;
    let length = select_unpredictable(unicode, 6, 2);
    let last = 0x80 | code & 0x3f;
    let two = 0xc0 | code >> 6 | last << 8;
    let three = 0xe0 | code >> 12 | (0x80 | code >> 6 & 0x3f) << 8 | last << 16;
    let text = select_unpredictable(code < 0x80, code, select_unpredictable(code < 0x800, two, three));
    let text_length = 1 + usize::from(code >= 0x80) + usize::from(code >= 0x800);
    Some(Escape { length, text: text.to_le_bytes(), text_length })
}

/// Reads the escape at `at`, whatever it is.
#[inline(never)]
fn escape(body: &[u8], at: usize) -> Result<Escape, ScanError> {
    let Some(letter) = body.get(at + 1) else { return Err(ScanError::new(at + 1, TRUNCATED)) };
    if *letter == b'u' {
        let code = hex4(body, at + 2)?;
        if code & 0xf800 == 0xd800 {
            return surrogates(body, at, code);
        }
    }
    let mut bytes = [0; 8];
    let rest = body.get(at..).unwrap_or_default();
    let count = rest.len().min(bytes.len());
    bytes[..count].copy_from_slice(&rest[..count]);
    usual_escape(&bytes).ok_or_else(|| ScanError::new(at, NO_ESCAPE))
}

const NO_ESCAPE: &str = "not an escape that JSON has";

#[inline(never)]
fn surrogates(body: &[u8], at: usize, first: u32) -> Result<Escape, ScanError> {
    const ALONE: &str = "a surrogate that stands alone";
    if first >= 0xdc00 || body.get(at + 6) != Some(&b'\\') || body.get(at + 7) != Some(&b'u') {
        return Err(ScanError::new(at, ALONE));
    }
    let second = hex4(body, at + 8)?;
    if !(0xdc00..0xe000).contains(&second) {
        return Err(ScanError::new(at, ALONE));
    }
    let code = 0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00);
    let Some(character) = char::from_u32(code) else { return Err(ScanError::new(at, ALONE)) };
    let mut text = [0; 4];
    let text_length = character.encode_utf8(&mut text).len();
    Ok(Escape { length: 12, text, text_length })
}

fn hex4(body: &[u8], at: usize) -> Result<u32, ScanError> {
    let Some(digits) = body.get(at..).and_then(<[u8]>::first_chunk::<4>) else {
        return Err(ScanError::new(body.len(), TRUNCATED));
    };
    u32::try_from(hex(*digits)).map_err(|_| ScanError::new(at - 2, NO_ESCAPE))
}

/// The value of four hex digits; negative where one is none.
#[inline(always)]
fn hex(digits: [u8; 4]) -> i32 {
    let value = |digit: u8| i32::from(HEX[usize::from(digit)]);
    value(digits[0]) << 12 | value(digits[1]) << 8 | value(digits[2]) << 4 | value(digits[3])
}

/// The text of the string whose opening quote is at `at`, and the place behind it. The body is UTF-8.
pub(crate) fn read(body: &[u8], at: usize) -> Result<(Cow<'_, str>, usize), ScanError> {
    let end = string_end(body, at)?;
    let raw = body.get(at + 1..end - 1).unwrap_or_default();
    if !raw.contains(&b'\\') {
        return match std::str::from_utf8(raw) {
            Ok(text) => Ok((Cow::Borrowed(text), end)),
            Err(_) => Err(ScanError::new(at, "text that is not UTF-8")),
        };
    }
    let mut out = Bytes::default();
    append(body, at + 1, &mut out)?;
    match String::from_utf8(out.take()) {
        Ok(text) => Ok((Cow::Owned(text), end)),
        Err(_) => Err(ScanError::new(at, "text that is not UTF-8")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::append;
    use crate::bytes::Bytes;

    proptest! {
        #[test]
        fn text_is_that_of_another_parser_and_so_are_refusals(
            parts in proptest::collection::vec(prop_oneof![
                4 => "[ -!#-\\[\\]-~é日😀]{0,40}",
                4 => "\\\\[nrtbf/\"\\\\]",
                3 => "\\\\u[0-9a-fA-D][0-9a-fA-F]{3}",
                2 => "\\\\ud[89abAB][0-9a-f]{2}\\\\ud[c-fC-F][0-9a-f]{2}",
                1 => Just("\\\\\\\\".to_owned()),
            ], 0..30),
            damage in prop_oneof![
                20 => Just(""), 1 => Just("\\x"), 1 => Just("\\u12g4"), 1 => Just("\n"), 1 => Just("\\ud800"), 1 => Just("\\"),
            ],
            place in any::<prop::sample::Index>(),
            tail in ",? {0,70}",
        ) {
            let mut parts = parts;
            parts.insert(place.index(parts.len() + 1), damage.to_owned());
            let json = format!("\"{}\"", parts.concat());
            let mut out = Bytes::default();
            out.extend(b"before");
            let got = append(format!("{json}{tail}").as_bytes(), 1, &mut out);
            match serde_json::from_str::<String>(&json) {
                Ok(text) => {
                    prop_assert_eq!(got, Ok(json.len()));
                    let expect = format!("before{text}");
                    prop_assert_eq!(out.as_slice(), expect.as_bytes());
                }
                // A backslash before the quote moves the end of the text.
                Err(_) => prop_assert!(got.is_err() || got != Ok(json.len())),
            }
        }
    }
}
