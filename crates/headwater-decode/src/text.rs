//! Text out of JSON strings.

use std::borrow::Cow;

use headwater_connect::json_scan::{ScanError, TRUNCATED, chunk16, special_bytes, string_end};

/// Appends the text of the string whose opening quote stands before `at` to `out`; gives the place behind the
/// closing quote. `out` may hold a part of it after an error.
#[inline]
pub(crate) fn append(body: &[u8], mut at: usize, out: &mut Vec<u8>) -> Result<usize, ScanError> {
    loop {
        let Some(chunk) = chunk16(body, at) else { return append_tail(body, at, out) };
        let before = out.len();
        // Sixteen bytes at once, and then back to the hit: one store instead of a loop.
        out.extend_from_slice(chunk);
        let hits = special_bytes(chunk);
        if hits == 0 {
            at += 16;
            continue;
        }
        let plain = hits.trailing_zeros() as usize;
        out.truncate(before + plain);
        at += plain;
        match body[at] {
            b'"' => return Ok(at + 1),
            b'\\' => at = escape(body, at, out)?,
            _ => return Err(ScanError::new(at, "a control character in a string")),
        }
    }
}

#[cold]
fn append_tail(body: &[u8], mut at: usize, out: &mut Vec<u8>) -> Result<usize, ScanError> {
    loop {
        match body.get(at) {
            Some(b'"') => return Ok(at + 1),
            Some(b'\\') => at = escape(body, at, out)?,
            Some(0..0x20) => return Err(ScanError::new(at, "a control character in a string")),
            Some(byte) => {
                out.push(*byte);
                at += 1;
            }
            None => return Err(ScanError::new(at, TRUNCATED)),
        }
    }
}

/// Appends what the escape at `at` stands for.
#[inline]
fn escape(body: &[u8], at: usize, out: &mut Vec<u8>) -> Result<usize, ScanError> {
    let byte = match body.get(at + 1) {
        Some(b'n') => b'\n',
        Some(byte @ (b'"' | b'\\' | b'/')) => *byte,
        Some(b'r') => b'\r',
        Some(b't') => b'\t',
        Some(b'u') => return unicode_escape(body, at, out),
        Some(b'b') => 8,
        Some(b'f') => 12,
        Some(_) => return Err(ScanError::new(at, "not an escape that JSON has")),
        None => return Err(ScanError::new(at + 1, TRUNCATED)),
    };
    out.push(byte);
    Ok(at + 2)
}

fn unicode_escape(body: &[u8], at: usize, out: &mut Vec<u8>) -> Result<usize, ScanError> {
    const ALONE: &str = "a surrogate that stands alone";
    let first = hex4(body, at + 2)?;
    let (code, end) = match first {
        0xd800..0xdc00 => {
            if body.get(at + 6) != Some(&b'\\') || body.get(at + 7) != Some(&b'u') {
                return Err(ScanError::new(at, ALONE));
            }
            let second = hex4(body, at + 8)?;
            if !(0xdc00..0xe000).contains(&second) {
                return Err(ScanError::new(at, ALONE));
            }
            (0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00), at + 12)
        }
        _ => (first, at + 6),
    };
    let Some(character) = char::from_u32(code) else { return Err(ScanError::new(at, ALONE)) };
    out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
    Ok(end)
}

fn hex4(body: &[u8], at: usize) -> Result<u32, ScanError> {
    let Some(digits) = body.get(at..).and_then(<[u8]>::first_chunk::<4>) else {
        return Err(ScanError::new(body.len(), TRUNCATED));
    };
    let mut code = 0;
    for digit in digits {
        match char::from(*digit).to_digit(16) {
            Some(value) => code = code << 4 | value,
            None => return Err(ScanError::new(at - 2, "not an escape that JSON has")),
        }
    }
    Ok(code)
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
    let mut out = Vec::with_capacity(raw.len());
    append(body, at + 1, &mut out)?;
    match String::from_utf8(out) {
        Ok(text) => Ok((Cow::Owned(text), end)),
        Err(_) => Err(ScanError::new(at, "text that is not UTF-8")),
    }
}
