//! Text out of JSON strings.

use std::borrow::Cow;

use headwater_connect::json_scan::{ScanError, TRUNCATED, string_end};

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
        // Escapes often come in pairs.
        while body.get(at) == Some(&b'\\') {
            at = escape(body, at, out)?;
        }
        at = out.extend_plain(body, at);
        match body.get(at) {
            Some(b'"') => return Ok(at + 1),
            Some(b'\\') => {}
            Some(_) => return Err(ScanError::new(at, "a control character in a string")),
            None => return Err(ScanError::new(at, TRUNCATED)),
        }
    }
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

/// Appends what the escape at `at` stands for.
#[inline(always)]
fn escape(body: &[u8], at: usize, out: &mut Bytes) -> Result<usize, ScanError> {
    let Some(letter) = body.get(at + 1) else { return Err(ScanError::new(at + 1, TRUNCATED)) };
    let byte = ESCAPES[usize::from(*letter)];
    if byte != 0 {
        out.extend_block([byte], 1);
        return Ok(at + 2);
    }
    if *letter == b'u' { unicode_escape(body, at, out) } else { Err(ScanError::new(at, NO_ESCAPE)) }
}

const NO_ESCAPE: &str = "not an escape that JSON has";

#[inline(always)]
#[allow(clippy::cast_possible_truncation, reason = "six bits, and the few above them, are taken at a time")]
fn unicode_escape(body: &[u8], at: usize, out: &mut Bytes) -> Result<usize, ScanError> {
    let code = hex4(body, at + 2)?;
    match code {
        0..0x80 => out.extend_block([code as u8], 1),
        0x80..0x800 => out.extend_block([0xc0 | (code >> 6) as u8, 0x80 | (code & 0x3f) as u8], 2),
        0xd800..0xe000 => return surrogates(body, at, code, out),
        _ => {
            let [first, second] = [(code >> 12) as u8, (code >> 6 & 0x3f) as u8];
            out.extend_block([0xe0 | first, 0x80 | second, 0x80 | (code & 0x3f) as u8], 3);
        }
    }
    Ok(at + 6)
}

#[inline(never)]
fn surrogates(body: &[u8], at: usize, first: u32, out: &mut Bytes) -> Result<usize, ScanError> {
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
    out.extend(character.encode_utf8(&mut [0; 4]).as_bytes());
    Ok(at + 12)
}

#[inline(always)]
fn hex4(body: &[u8], at: usize) -> Result<u32, ScanError> {
    let Some(digits) = body.get(at..).and_then(<[u8]>::first_chunk::<4>) else {
        return Err(ScanError::new(body.len(), TRUNCATED));
    };
    let [a, b, c, d] = digits.map(|digit| u32::from(HEX[usize::from(digit)]));
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
