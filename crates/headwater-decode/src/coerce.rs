//! Conversions of values that are not of their column's JSON type: the ways off the hot path.

use std::borrow::Cow;

use headwater_connect::json_scan::{ScanError, skip_space};

use crate::Profile;
use crate::column::{Data, Strings};
use crate::number::{self, NumberError};
use crate::{render, text, time, variant};

/// A value for a column that is not nested. Containers and numbers are whole and checked JSON.
#[derive(Debug)]
pub(crate) enum Token<'a> {
    Bool(bool),
    /// As it stands; in Python's profile also `NaN`, `Infinity`, `-Infinity`.
    Number(&'a str),
    Text(Cow<'a, str>),
    Array(&'a str),
    Object(&'a str),
}

/// What a conversion came to.
#[derive(Debug)]
pub(crate) enum Converted {
    /// The value was appended.
    Value,
    /// The value stands for null.
    Null,
}

/// Why a value was not appended.
#[derive(Debug)]
pub(crate) enum Refused {
    /// It does not fit, because of this.
    Unfit(String),
    /// The column is full.
    Full,
    /// Text inside it cannot be read.
    Malformed(ScanError),
}

impl From<crate::column::Full> for Refused {
    fn from(_: crate::column::Full) -> Self {
        Refused::Full
    }
}

fn unfit<T>(reason: impl Into<String>) -> Result<T, Refused> {
    Err(Refused::Unfit(reason.into()))
}

fn refused(error: NumberError, wanted: &str) -> Refused {
    Refused::Unfit(match error {
        NumberError::Syntax => format!("not {wanted}"),
        NumberError::NotWhole => format!("not a whole number, and the column is {wanted}"),
        NumberError::Range => format!("out of the range of {wanted}"),
    })
}

/// Converts `token` and appends it to `data`. After an error a part may have been appended.
pub(crate) fn append(data: &mut Data, token: &Token<'_>, profile: Profile) -> Result<Converted, Refused> {
    match data {
        Data::Text(strings) => {
            strings.bytes.extend(as_text(token, profile)?.as_bytes());
            end_text(strings)?;
        }
        Data::Byte(values) => values.push(integer(token, "an 8-bit integer")?),
        Data::Short(values) => values.push(integer(token, "a 16-bit integer")?),
        Data::Integer(values) => values.push(integer(token, "a 32-bit integer")?),
        Data::Long(values) => values.push(integer(token, "a 64-bit integer")?),
        #[allow(clippy::cast_possible_truncation, reason = "the nearest float is meant")]
        Data::Float(values) => values.push(double(token)? as f32),
        Data::Double(values) => values.push(double(token)?),
        Data::Decimal(decimals) => {
            match decimal(token, decimals.precision, decimals.scale)? {
                Some(value) => decimals.values.push(value),
                None => return Ok(Converted::Null),
            };
        }
        Data::Boolean(values) => values.push(boolean(token)),
        Data::Date(values) => match token {
            Token::Text(text) => match time::date(text) {
                Some(days) => values.push(days),
                None => return unfit("not a date"),
            },
            _ => return unfit("a date is text"),
        },
        Data::Timestamp(times) => times.values.push(timestamp(token, times.utc)?),
        Data::Binary(strings) => {
            strings.push(&binary(token, profile)?)?;
        }
        Data::Variant(pair) => {
            let (metadata, value) = as_variant(token)?;
            pair.0.push(&metadata)?;
            pair.1.push(&value)?;
        }
        Data::Null(_) => return unfit("the column has no type and holds nulls only"),
        Data::Struct(_) => return unfit("not an object"),
        Data::Map(_) => return unfit("not an object"),
        Data::List(_) => return unfit("not a list"),
    }
    Ok(Converted::Value)
}

/// Ends a text and checks its length.
pub(crate) fn end_text(strings: &mut Strings) -> Result<(), Refused> {
    if let Some(limit) = strings.max_chars {
        let text = strings.bytes.as_slice().get(strings.open_start()..).unwrap_or_default();
        // Every byte but those that continue a character.
        let chars = text.iter().filter(|b| *b & 0xc0 != 0x80).count();
        if u32::try_from(chars).is_ok_and(|chars| chars > limit) || u32::try_from(chars).is_err() {
            strings.drop_open();
            return unfit(format!("{chars} characters, and the column holds {limit}"));
        }
    }
    Ok(strings.end()?)
}

fn as_text<'a>(token: &'a Token<'_>, profile: Profile) -> Result<Cow<'a, str>, Refused> {
    Ok(match (token, profile) {
        (Token::Text(text), _) => Cow::Borrowed(text.as_ref()),
        (Token::Bool(value), Profile::Json) => Cow::Borrowed(if *value { "true" } else { "false" }),
        (Token::Bool(value), Profile::Python) => Cow::Borrowed(if *value { "True" } else { "False" }),
        (Token::Number(number), Profile::Json) => Cow::Owned(render::json_number(number)),
        (Token::Number(number), Profile::Python) => Cow::Owned(render::python_number(number)),
        (Token::Array(raw) | Token::Object(raw), Profile::Json) => Cow::Owned(render::compact(raw)),
        (Token::Array(raw) | Token::Object(raw), Profile::Python) => {
            let mut out = String::with_capacity(raw.len());
            render::python_repr(raw.as_bytes(), 0, &mut out).map_err(Refused::Malformed)?;
            Cow::Owned(out)
        }
    })
}

fn integer<T: TryFrom<i128>>(token: &Token<'_>, wanted: &str) -> Result<T, Refused> {
    let value = match token {
        Token::Bool(value) => Ok(i128::from(*value)),
        Token::Number(token) if number::is_float(token) => match token.parse() {
            Ok(value) => number::whole(value),
            Err(_) => Err(NumberError::Syntax),
        },
        Token::Number(token) => token.parse().map_err(|_| NumberError::Range),
        Token::Text(text) => number::integer(text),
        Token::Array(_) | Token::Object(_) => Err(NumberError::Syntax),
    };
    let value = value.map_err(|error| refused(error, wanted))?;
    T::try_from(value).map_err(|_| refused(NumberError::Range, wanted))
}

fn double(token: &Token<'_>) -> Result<f64, Refused> {
    let value = match token {
        Token::Bool(value) => Some(if *value { 1.0 } else { 0.0 }),
        Token::Number(token) => token.parse().ok(),
        Token::Text(text) => number::double(text),
        Token::Array(_) | Token::Object(_) => None,
    };
    value.ok_or_else(|| refused(NumberError::Syntax, "a number"))
}

fn decimal(token: &Token<'_>, precision: u8, scale: i8) -> Result<Option<i128>, Refused> {
    let value = match token {
        Token::Number(token) => number::decimal_of_number(token, precision, scale),
        Token::Text(text) => number::decimal(text, precision, scale),
        Token::Bool(_) | Token::Array(_) | Token::Object(_) => Err(NumberError::Syntax),
    };
    value.map_err(|error| match error {
        NumberError::Range => refused(error, &format!("decimal({precision},{scale})")),
        _ => refused(error, "a decimal number"),
    })
}

fn boolean(token: &Token<'_>) -> bool {
    match token {
        Token::Bool(value) => *value,
        Token::Number(token) => token.parse::<f64>() != Ok(0.0),
        Token::Text(text) => {
            !["", "f", "false", "no", "n", "0"].iter().any(|no| text.eq_ignore_ascii_case(no))
        }
        Token::Array(raw) | Token::Object(raw) => !is_empty(raw),
    }
}

fn is_empty(container: &str) -> bool {
    let body = container.as_bytes();
    matches!(body.get(skip_space(body, 1)), Some(b']' | b'}'))
}

fn timestamp(token: &Token<'_>, utc: bool) -> Result<i64, Refused> {
    match token {
        Token::Text(text) => {
            time::timestamp(text, utc).ok_or_else(|| Refused::Unfit("not a timestamp".into()))
        }
        Token::Number(token) => match token.parse::<f64>().ok().and_then(time::from_seconds) {
            Some(micros) => Ok(micros),
            None => unfit("out of the range of a timestamp (numbers are seconds since 1970)"),
        },
        _ => unfit("a timestamp is text, or seconds since 1970"),
    }
}

fn binary(token: &Token<'_>, profile: Profile) -> Result<Vec<u8>, Refused> {
    match token {
        Token::Text(text) => {
            let decoded = base64(text).or_else(|| hex(text));
            Ok(decoded.unwrap_or_else(|| text.as_bytes().to_vec()))
        }
        Token::Array(raw) => match bytes_of_list(raw) {
            Some(bytes) => Ok(bytes),
            None => unfit("a list that is not of bytes"),
        },
        _ => as_text(token, profile).map(|text| text.as_bytes().to_vec()),
    }
}

/// Base64 as Python reads it by default: characters of no meaning are passed over, and full padding ends it.
fn base64(text: &str) -> Option<Vec<u8>> {
    if !text.is_ascii() {
        return None;
    }
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut count, mut pads) = (0u32, 0, 0);
    for byte in text.bytes() {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            b'=' if count >= 2 => {
                pads += 1;
                if count + pads >= 4 {
                    return Some(out);
                }
                continue;
            }
            _ => continue,
        };
        pads = 0;
        bits = bits << 6 | u32::from(value);
        count = (count + 1) % 4;
        let [_, .., last] = bits.to_be_bytes();
        match count {
            2 => out.push((bits >> 4).to_le_bytes()[0]),
            3 => out.push((bits >> 2).to_le_bytes()[0]),
            0 => out.push(last),
            _ => {}
        }
    }
    (count == 0).then_some(out)
}

/// Pairs of hex digits, with spaces between pairs.
fn hex(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len() / 2);
    let mut bytes = text.bytes().filter(|b| b.is_ascii());
    if !text.is_ascii() {
        return None;
    }
    while let Some(first) = bytes.next() {
        if matches!(first, b' ' | b'\t'..=b'\r') {
            continue;
        }
        let digit = |b: u8| char::from(b).to_digit(16);
        let value = digit(first)? << 4 | digit(bytes.next()?)?;
        out.push(u8::try_from(value).ok()?);
    }
    Some(out)
}

fn bytes_of_list(raw: &str) -> Option<Vec<u8>> {
    let inner = raw.strip_prefix('[')?.strip_suffix(']')?;
    if inner.trim().is_empty() {
        return Some(Vec::new());
    }
    let byte = |item: &str| match item.trim() {
        "true" => Some(1),
        "false" | "-0" => Some(0),
        number => number.parse().ok(),
    };
    inner.split(',').map(byte).collect()
}

fn as_variant(token: &Token<'_>) -> Result<(Vec<u8>, Vec<u8>), Refused> {
    let json = match token {
        Token::Bool(value) => {
            if *value {
                "true"
            } else {
                "false"
            }
        }
        Token::Number(raw) | Token::Array(raw) | Token::Object(raw) => raw,
        Token::Text(text) => text.as_ref(),
    };
    variant::encode(json).map_err(|error| match error {
        variant::VariantError::Syntax(error) => {
            Refused::Unfit(format!("not JSON: at byte {}: {}", error.at, error.reason))
        }
        variant::VariantError::Encoding(error) => Refused::Unfit(format!("not a variant: {error}")),
    })
}

/// Reads the text at `at`.
pub(crate) fn text_token(body: &[u8], at: usize) -> Result<(Token<'_>, usize), ScanError> {
    let (text, end) = text::read(body, at)?;
    Ok((Token::Text(text), end))
}
