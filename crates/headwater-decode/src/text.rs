//! Text out of JSON strings.

use std::borrow::Cow;

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
#[inline(never)]
fn append_rest(body: &[u8], mut at: usize, out: &mut Bytes) -> Result<usize, ScanError> {
    loop {
        let from = body.get(at..).unwrap_or_default();
        let to = out.room(64);
        // Places in both: an escape is never shorter than what it stands for.
        let (mut read, mut written) = (0, 0);
        while let (Some(block), Some(place)) = (block(from, read), block_mut(to, written)) {
            if block[0] == b'\\' {
                let escape = escape(body, at + read)?;
                if let Some(place) = place.first_chunk_mut() {
                    *place = escape.text;
                }
                read += escape.length;
                written += escape.text_length;
                continue;
            }
            *place = *block;
            let hits = special_in(block);
            let plain = if hits == 0 { BLOCK } else { hits.trailing_zeros() as usize };
            read += plain;
            written += plain;
            if hits != 0 && from[read] != b'\\' {
                out.advance(written);
                return end(body, at + read);
            }
        }
        out.advance(written);
        at += read;
        if from.len() - read < BLOCK {
            return append_tail(body, at, out);
        }
    }
}

const BLOCK: usize = 32;

#[inline(always)]
fn block(bytes: &[u8], at: usize) -> Option<&[u8; BLOCK]> {
    bytes.get(at..)?.first_chunk()
}

#[inline(always)]
fn block_mut(bytes: &mut [u8], at: usize) -> Option<&mut [u8; BLOCK]> {
    bytes.get_mut(at..)?.first_chunk_mut()
}

/// A bit per byte that is special in a string.
#[inline(always)]
fn special_in(block: &[u8; BLOCK]) -> u32 {
    let (halves, _) = block.as_chunks::<16>();
    special_bytes(&halves[0]) | special_bytes(&halves[1]) << 16
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

/// What the characters behind a backslash stand for; 0 for those that are no escape of one byte.
const ESCAPES: [u8; 256] = {
    let mut table = [0; 256];
    table[b'n' as usize] = b'\n';
    table[b'"' as usize] = b'"';
    table[b'\\' as usize] = b'\\';
    table[b'/' as usize] = b'/';
    table[b'r' as usize] = b'\r';
    table[b't' as usize] = b'\t';
    table[b'b' as usize] = 8;
    table[b'f' as usize] = 12;
    table
};

/// Values of hex digits; 16 for what is none.
const HEX: [u8; 256] = {
    let mut table = [16; 256];
    let mut digit = 0;
    while digit < 16 {
        table[b"0123456789abcdef"[digit as usize] as usize] = digit;
        table[b"0123456789ABCDEF"[digit as usize] as usize] = digit;
        digit += 1;
    }
    table
};

/// Reads the escape at `at`.
#[inline(always)]
fn escape(body: &[u8], at: usize) -> Result<Escape, ScanError> {
    let Some(letter) = body.get(at + 1) else { return Err(ScanError::new(at + 1, TRUNCATED)) };
    let byte = ESCAPES[usize::from(*letter)];
    if byte != 0 {
        return Ok(Escape { length: 2, text: [byte, 0, 0, 0], text_length: 1 });
    }
    if *letter == b'u' { unicode_escape(body, at) } else { Err(ScanError::new(at, NO_ESCAPE)) }
}

const NO_ESCAPE: &str = "not an escape that JSON has";

#[inline(always)]
#[allow(clippy::cast_possible_truncation, reason = "six bits, and the few above them, are taken at a time")]
fn unicode_escape(body: &[u8], at: usize) -> Result<Escape, ScanError> {
    let code = hex4(body, at + 2)?;
    let last = 0x80 | (code & 0x3f) as u8;
    let middle = (code >> 6) as u8;
    let (text, text_length) = match code {
        0..0x80 => ([code as u8, 0, 0, 0], 1),
        0x80..0x800 => ([0xc0 | middle, last, 0, 0], 2),
        0xd800..0xe000 => return surrogates(body, at, code),
        _ => ([0xe0 | (code >> 12) as u8, 0x80 | middle & 0x3f, last, 0], 3),
    };
    Ok(Escape { length: 6, text, text_length })
}

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

#[inline(always)]
fn hex4(body: &[u8], at: usize) -> Result<u32, ScanError> {
    let Some(digits) = body.get(at..).and_then(<[u8]>::first_chunk::<4>) else {
        return Err(ScanError::new(body.len(), TRUNCATED));
    };
    let value = |digit: u8| u32::from(HEX[usize::from(digit)]);
    let (a, b, c, d) = (value(digits[0]), value(digits[1]), value(digits[2]), value(digits[3]));
    if (a | b | c | d) & 16 != 0 {
        return Err(ScanError::new(at - 2, NO_ESCAPE));
    }
    Ok(a << 12 | b << 8 | c << 4 | d)
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
