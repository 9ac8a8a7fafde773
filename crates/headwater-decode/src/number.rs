//! Numbers out of bytes and text.

use std::borrow::Cow;

/// Powers of ten that a double holds exactly.
const POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18,
    1e19, 1e20, 1e21, 1e22,
];
const TENS: [u64; 9] = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000];

/// Reads up to eight digits at `at`: their value and number.
#[inline]
fn digits8(body: &[u8], at: usize) -> Option<(u64, usize)> {
    let lanes = u64::from_le_bytes(*body.get(at..)?.first_chunk()?) ^ 0x3030_3030_3030_3030;
    // A lane above 9 shows in its high nibble; a carry can only reach lanes behind it.
    let other = (lanes | lanes.wrapping_add(0x0606_0606_0606_0606)) & 0xf0f0_f0f0_f0f0_f0f0;
    let count = other.trailing_zeros() / 8;
    if count == 0 {
        return Some((0, 0));
    }
    // The digits move to the end of the word; zeros stand before them.
    let lanes = lanes << (64 - 8 * count);
    let pairs = lanes.wrapping_mul(10).wrapping_add(lanes >> 8);
    let low = (pairs & 0x0000_00ff_0000_00ff).wrapping_mul(100 + (1_000_000 << 32));
    let high = ((pairs >> 16) & 0x0000_00ff_0000_00ff).wrapping_mul(1 + (10_000 << 32));
    Some((low.wrapping_add(high) >> 32, count as usize))
}

/// Reads up to sixteen digits at `at`.
#[inline]
fn digits16(body: &[u8], at: usize) -> Option<(u64, usize)> {
    let (first, count) = digits8(body, at)?;
    if count < 8 {
        return Some((first, count));
    }
    let (second, more) = digits8(body, at + 8)?;
    Some((first * TENS[more] + second, 8 + more))
}

/// What may not stand behind the digits of an integer.
#[inline(always)]
fn goes_on(byte: u8) -> bool {
    byte == b'.' || byte | 0x20 == b'e'
}

/// Digits at `at` where there are one to seven of them: their value, their number and the byte behind.
#[inline(always)]
#[allow(clippy::cast_possible_truncation, reason = "one byte is taken")]
fn digits7(body: &[u8], at: usize) -> Option<(u64, usize, u8)> {
    let word = u64::from_le_bytes(*body.get(at..)?.first_chunk()?);
    let lanes = word ^ 0x3030_3030_3030_3030;
    let other = (lanes | lanes.wrapping_add(0x0606_0606_0606_0606)) & 0xf0f0_f0f0_f0f0_f0f0;
    // The bits up to the first byte that is no digit: 8, 16, …, 64.
    let bits = (other.trailing_zeros() | 7) ^ 7;
    if bits.wrapping_sub(8) > 48 {
        return None;
    }
    // The digits move to the end of the word; zeros stand before them.
    let lanes = lanes << (64 - bits);
    let pairs = lanes.wrapping_mul(10).wrapping_add(lanes >> 8);
    let low = (pairs & 0x0000_00ff_0000_00ff).wrapping_mul(100 + (1_000_000 << 32));
    let high = ((pairs >> 16) & 0x0000_00ff_0000_00ff).wrapping_mul(1 + (10_000 << 32));
    Some((low.wrapping_add(high) >> 32, (bits / 8) as usize, (word >> bits) as u8))
}

/// Reads an integer of at most sixteen digits and no more than that: its value and the place behind it.
#[inline(always)]
#[allow(clippy::cast_possible_wrap, reason = "seven digits")]
pub(crate) fn fast_integer(body: &[u8], at: usize) -> Option<(i64, usize)> {
    if let Some((value, count, next)) = digits7(body, at)
        && !goes_on(next)
        && (count == 1 || body[at] != b'0')
    {
        return Some((value as i64, at + count));
    }
    long_integer(body, at)
}

#[inline(never)]
fn long_integer(body: &[u8], at: usize) -> Option<(i64, usize)> {
    let negative = *body.get(at)? == b'-';
    let start = at + usize::from(negative);
    let (value, count) = digits16(body, start)?;
    if count == 0 || (count > 1 && body[start] == b'0') {
        return None;
    }
    let end = start + count;
    if matches!(body.get(end), Some(b'.' | b'e' | b'E' | b'0'..=b'9')) {
        return None;
    }
    let value = i64::try_from(value).ok()?;
    Some((if negative { -value } else { value }, end))
}

/// Reads a number of at most fifteen digits and without an exponent, for which one division is exactly rounded.
#[inline(always)]
pub(crate) fn fast_double(body: &[u8], at: usize) -> Option<(f64, usize)> {
    if let Some((whole, count, b'.')) = digits7(body, at)
        && let Some((fraction, places, next)) = digits7(body, at + count + 1)
        && !goes_on(next)
        && (count == 1 || body[at] != b'0')
    {
        #[allow(clippy::cast_precision_loss, reason = "fourteen digits are exact")]
        let value = (whole * TENS[places] + fraction) as f64 / POWERS[places];
        return Some((value, at + count + 1 + places));
    }
    long_double(body, at)
}

#[inline(never)]
fn long_double(body: &[u8], at: usize) -> Option<(f64, usize)> {
    let negative = *body.get(at)? == b'-';
    let start = at + usize::from(negative);
    let (mut value, count) = digits16(body, start)?;
    if count == 0 || (count > 1 && body[start] == b'0') {
        return None;
    }
    let mut end = start + count;
    let mut places = 0;
    if body.get(end) == Some(&b'.') {
        let (fraction, more) = digits16(body, end + 1)?;
        places = more;
        if places == 0 || count + places > 15 {
            return None;
        }
        let scale = if places <= 8 { TENS[places] } else { TENS[8] * TENS[places - 8] };
        value = value * scale + fraction;
        end += 1 + places;
    }
    if count + places > 15 || matches!(body.get(end), Some(b'.' | b'e' | b'E' | b'0'..=b'9')) {
        return None;
    }
    #[allow(clippy::cast_precision_loss, reason = "fifteen digits are exact")]
    let value = value as f64 / POWERS[places];
    Some((if negative { -value } else { value }, end))
}

/// Zeros of the decimal digits of Unicode; the other nine follow each.
const ZEROS: [u32; 65] = [
    0x660, 0x6f0, 0x7c0, 0x966, 0x9e6, 0xa66, 0xae6, 0xb66, 0xbe6, 0xc66, 0xce6, 0xd66, 0xde6, 0xe50, 0xed0,
    0xf20, 0x1040, 0x1090, 0x17e0, 0x1810, 0x1946, 0x19d0, 0x1a80, 0x1a90, 0x1b50, 0x1bb0, 0x1c40, 0x1c50,
    0xa620, 0xa8d0, 0xa900, 0xa9d0, 0xa9f0, 0xaa50, 0xabf0, 0xff10, 0x104a0, 0x10d30, 0x11066, 0x110f0,
    0x11136, 0x111d0, 0x112f0, 0x11450, 0x114d0, 0x11650, 0x116c0, 0x11730, 0x118e0, 0x11950, 0x11c50,
    0x11d50, 0x11da0, 0x16a60, 0x16ac0, 0x16b50, 0x1d7ce, 0x1d7d8, 0x1d7e2, 0x1d7ec, 0x1d7f6, 0x1e140,
    0x1e2f0, 0x1e950, 0x1fbf0,
];

/// Whether Python's `str.strip` takes the character away.
fn is_space(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\u{1c}'..='\u{1f}')
}

/// The text without spaces around it and with ASCII digits.
fn plain(text: &str) -> Cow<'_, str> {
    let text = text.trim_matches(is_space);
    if text.is_ascii() {
        return Cow::Borrowed(text);
    }
    let ascii = |c: char| {
        let digit = ZEROS.iter().find_map(|zero| u32::from(c).checked_sub(*zero).filter(|d| *d < 10));
        digit.and_then(|d| char::from_digit(d, 10)).unwrap_or(c)
    };
    Cow::Owned(text.chars().map(ascii).collect())
}

/// Drops underscores that stand between two digits; others make it no number.
fn ungrouped(text: Cow<'_, str>) -> Option<Cow<'_, str>> {
    if !text.contains('_') {
        return Some(text);
    }
    let bytes = text.as_bytes();
    let digit = |i: Option<usize>| i.and_then(|i| bytes.get(i)).is_some_and(u8::is_ascii_digit);
    let grouped =
        bytes.iter().enumerate().all(|(i, b)| *b != b'_' || (digit(i.checked_sub(1)) && digit(Some(i + 1))));
    grouped.then(|| Cow::Owned(text.replace('_', "")))
}

/// Why text or a number is no number of the type asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NumberError {
    /// Not a number.
    Syntax,
    /// NaN, an infinity, or a fraction that may not be dropped.
    NotWhole,
    /// Too large.
    Range,
}

/// A double cut to a whole number.
pub(crate) fn whole(value: f64) -> Result<i128, NumberError> {
    if value.is_nan() {
        return Err(NumberError::NotWhole);
    }
    if value.abs() >= 1e38 {
        return Err(NumberError::Range);
    }
    #[allow(clippy::cast_possible_truncation, reason = "cutting is meant, and the range was checked")]
    Ok(value as i128)
}

/// An integer as Python's `int()` reads it; text with a point goes through [`double`] and is cut, and
/// text with an exponent only is accepted where it is whole.
pub(crate) fn integer(text: &str) -> Result<i128, NumberError> {
    let text = ungrouped(plain(text)).ok_or(NumberError::Syntax)?;
    let digits = text.strip_prefix(['+', '-']).unwrap_or(&text);
    if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) {
        return text.parse().map_err(|_| NumberError::Range);
    }
    let value = double(&text).ok_or(NumberError::Syntax)?;
    if !text.contains('.') && (!value.is_finite() || value.fract() != 0.0) {
        let named = !text.bytes().any(|b| b.is_ascii_digit());
        return Err(if named { NumberError::Syntax } else { NumberError::NotWhole });
    }
    whole(value)
}

/// A double as Python's `float()` reads it.
pub(crate) fn double(text: &str) -> Option<f64> {
    ungrouped(plain(text))?.parse().ok()
}

/// A decimal of `precision` digits, `scale` of them behind the point, as Python's `Decimal` reads it; `None` is NaN. Half of
/// the last digit goes to the even one.
pub(crate) fn decimal(text: &str, precision: u8, scale: i8) -> Result<Option<i128>, NumberError> {
    let text = plain(text);
    let text = if text.contains('_') { Cow::Owned(text.replace('_', "")) } else { text };
    let (negative, unsigned) = match text.as_bytes().first() {
        Some(b'-') => (true, text.get(1..)),
        Some(b'+') => (false, text.get(1..)),
        _ => (false, Some(text.as_ref())),
    };
    let unsigned = unsigned.ok_or(NumberError::Syntax)?;
    if unsigned.eq_ignore_ascii_case("nan") {
        return Ok(None);
    }
    if unsigned.eq_ignore_ascii_case("inf") || unsigned.eq_ignore_ascii_case("infinity") {
        return Err(NumberError::Range);
    }
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent_value(exponent)?),
        None => (unsigned, 0),
    };
    let (front, back) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = [front, back].concat();
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(NumberError::Syntax);
    }
    let behind = i64::try_from(back.len()).map_err(|_| NumberError::Range)?;
    let shift = exponent.saturating_sub(behind).saturating_add(i64::from(scale));
    let value = shifted(digits.trim_start_matches('0'), shift)?;
    if value >= 10_i128.pow(u32::from(precision)) {
        return Err(NumberError::Range);
    }
    Ok(Some(if negative { -value } else { value }))
}

fn exponent_value(text: &str) -> Result<i64, NumberError> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(NumberError::Syntax);
    }
    let limit = if text.starts_with('-') { -1_000_000_000 } else { 1_000_000_000 };
    Ok(text.parse().unwrap_or(limit).clamp(-1_000_000_000, 1_000_000_000))
}

/// `digits` times ten to the `shift`, rounded half to even; at most 38 digits.
fn shifted(digits: &str, shift: i64) -> Result<i128, NumberError> {
    if digits.is_empty() {
        return Ok(0);
    }
    let parse = |kept: &str| -> Result<i128, NumberError> {
        if kept.is_empty() { Ok(0) } else { kept.parse().map_err(|_| NumberError::Range) }
    };
    if shift >= 0 {
        let shift = u32::try_from(shift).map_err(|_| NumberError::Range)?;
        let scale = 10_i128.checked_pow(shift).ok_or(NumberError::Range)?;
        return parse(digits)?.checked_mul(scale).ok_or(NumberError::Range);
    }
    let dropped = usize::try_from(shift.unsigned_abs()).map_err(|_| NumberError::Range)?;
    let Some(kept) = digits.len().checked_sub(dropped) else { return Ok(0) };
    let (kept, rest) = digits.split_at_checked(kept).ok_or(NumberError::Range)?;
    let value = parse(kept)?;
    let tail_is_zero = rest.get(1..).is_some_and(|tail| tail.bytes().all(|b| b == b'0'));
    let up = match rest.as_bytes().first() {
        Some(b'5') if tail_is_zero => value % 2 == 1,
        Some(b'5'..=b'9') => true,
        _ => false,
    };
    Ok(value + i128::from(up))
}

/// Whether a JSON number (or one of Python's names for numbers that JSON lacks) is a float for Python.
pub(crate) fn is_float(token: &str) -> bool {
    token.bytes().any(|b| matches!(b, b'.' | b'e' | b'E' | b'N' | b'I'))
}

/// A decimal out of a JSON number, as if it had been a double first where it is a float for Python.
pub(crate) fn decimal_of_number(token: &str, precision: u8, scale: i8) -> Result<Option<i128>, NumberError> {
    if is_float(token) && token.len() > 16 {
        let value = double(token).ok_or(NumberError::Syntax)?;
        return decimal(&format!("{value:e}"), precision, scale);
    }
    decimal(token, precision, scale)
}

#[cfg(test)]
mod tests {
    use super::{NumberError, decimal, fast_double, fast_integer, integer};

    #[test]
    fn fast_numbers_are_those_of_the_standard_library() {
        let mut tried = 0;
        for text in [
            "0",
            "-0",
            "7",
            "12345678",
            "123456789",
            "9999999999999999",
            "12345678901234567",
            "-1",
            "01",
            "1.5",
            "-0.25",
            "123.456",
            "0.1",
            "1.",
            ".5",
            "1e5",
            "123456789.123456",
            "1234567.12345678",
            "0.000001",
            "x",
            "-",
            "0.1234567890123456",
            "1.5e3",
            "1.5.5",
            "12345678.",
            "00.5",
        ] {
            let body = format!("{text},               ");
            if let Some((value, end)) = fast_integer(body.as_bytes(), 0) {
                assert_eq!((Ok(value), end), (text.parse(), text.len()), "{text}");
                tried += 1;
            }
            if let Some((value, end)) = fast_double(body.as_bytes(), 0) {
                let expect: f64 = text.parse().unwrap();
                assert_eq!((value.to_bits(), end), (expect.to_bits(), text.len()), "{text}");
                tried += 1;
            }
        }
        assert_eq!(tried, 20);
    }

    #[test]
    fn every_length_of_number_is_read_fast() {
        for digits in 1..=15 {
            let whole = "123456789012345".get(..digits).unwrap();
            for behind in [",", "}", " ", "]"] {
                let padded = format!("{whole}{behind}                  ");
                let expect = (whole.parse().unwrap(), digits);
                assert_eq!(fast_integer(padded.as_bytes(), 0), Some(expect), "{padded}");
                for places in 1..=15 - digits {
                    let text = format!("{whole}.{}", "098765432109876".get(..places).unwrap());
                    let padded = format!("{text}{behind}                  ");
                    let expect = (text.parse().unwrap(), text.len());
                    assert_eq!(fast_double(padded.as_bytes(), 0), Some(expect), "{padded}");
                }
            }
            for behind in [".", "e", "E", ".5", "e5"] {
                let padded = format!("{whole}{behind}                  ");
                assert_eq!(fast_integer(padded.as_bytes(), 0), None, "{padded}");
            }
        }
    }

    #[test]
    fn decimals_round_half_to_even() {
        let check = |text: &str, expect| assert_eq!(decimal(text, 5, 1), expect, "{text}");
        check("0.25", Ok(Some(2)));
        check("0.35", Ok(Some(4)));
        check("0.2500001", Ok(Some(3)));
        check("-0.05", Ok(Some(0)));
        check("0.051", Ok(Some(1)));
        check("9999.95", Err(NumberError::Range));
        check("9999.94", Ok(Some(99_999)));
        check("1e-999999999999", Ok(Some(0)));
        check("0e999999999999", Ok(Some(0)));
        check("1e999999999999", Err(NumberError::Range));
        check("1e", Err(NumberError::Syntax));
        check("1.2.3", Err(NumberError::Syntax));
        check("", Err(NumberError::Syntax));
    }

    #[test]
    fn integers_of_text() {
        let check = |text: &str, expect| assert_eq!(integer(text), expect, "{text}");
        check("1__0", Err(NumberError::Syntax));
        check("_1", Err(NumberError::Syntax));
        check("\u{ff11}\u{ff12}", Ok(12));
        check("1e3", Ok(1000));
        check("15e-1", Err(NumberError::NotWhole));
        check("1e99", Err(NumberError::Range));
        check("+-1", Err(NumberError::Syntax));
    }
}
