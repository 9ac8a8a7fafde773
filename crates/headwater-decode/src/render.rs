//! Values that are not text, as text.

use std::collections::HashMap;
use std::fmt::Write;

use headwater_connect::json_scan::{ScanError, colon_end, skip_space, value_end_python};

use crate::number::is_float;
use crate::text;

/// The JSON without white space between its parts; numbers and text stay as they are.
pub(crate) fn compact(raw: &str) -> String {
    let mut out = String::with_capacity(raw.len());
    let (mut in_string, mut escaped) = (false, false);
    for c in raw.chars() {
        if in_string {
            in_string = escaped || c != '"';
            escaped = !escaped && c == '\\';
        } else if c.is_ascii_whitespace() {
            continue;
        } else {
            in_string = c == '"';
        }
        out.push(c);
    }
    out
}

/// A number as JSON: integers as they are, floats with the fewest digits that give the same double.
pub(crate) fn json_number(token: &str) -> String {
    match token.parse::<f64>() {
        Ok(value) if is_float(token) => match serde_json::Number::from_f64(value) {
            Some(number) => number.to_string(),
            None => token.to_owned(),
        },
        _ => token.to_owned(),
    }
}

/// A number as Python prints it.
pub(crate) fn python_number(token: &str) -> String {
    match token.parse::<f64>() {
        Ok(value) if is_float(token) => python_float(value),
        _ if token == "-0" => "0".to_owned(),
        _ => token.to_owned(),
    }
}

fn python_float(value: f64) -> String {
    if value.is_nan() {
        return "nan".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    let shortest = format!("{value:e}");
    let exponent = shortest.split_once('e').and_then(|(_, e)| e.parse::<i32>().ok()).unwrap_or(0);
    if value != 0.0 && !(-4..16).contains(&exponent) {
        let mantissa = shortest.split('e').next().unwrap_or_default();
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{mantissa}e{sign}{:02}", exponent.abs());
    }
    let mut plain = value.to_string();
    if !plain.contains('.') {
        plain.push_str(".0");
    }
    plain
}

/// The value at `at` as Python's `repr()` prints it (which is `str()` for all but text); gives the place behind it.
/// The value has been checked, so that its depth is bounded.
pub(crate) fn python_repr(body: &[u8], at: usize, out: &mut String) -> Result<usize, ScanError> {
    match body.get(at) {
        Some(b'"') => {
            let (text, end) = text::read(body, at)?;
            python_quoted(&text, out);
            Ok(end)
        }
        Some(b'[') => {
            out.push('[');
            let mut at = skip_space(body, at + 1);
            let mut first = true;
            while body.get(at) != Some(&b']') {
                if !first {
                    out.push_str(", ");
                    at = skip_space(body, at + 1);
                }
                first = false;
                at = skip_space(body, python_repr(body, at, out)?);
            }
            out.push(']');
            Ok(at + 1)
        }
        Some(b'{') => python_dict(body, at, out),
        _ => {
            let end = value_end_python(body, at)?;
            let token = body.get(at..end).and_then(|raw| std::str::from_utf8(raw).ok()).unwrap_or_default();
            match token {
                "true" => out.push_str("True"),
                "false" => out.push_str("False"),
                "null" => out.push_str("None"),
                number => out.push_str(&python_number(number)),
            }
            Ok(end)
        }
    }
}

/// Of two equal keys the later value wins, at the place of the earlier one.
fn python_dict(body: &[u8], at: usize, out: &mut String) -> Result<usize, ScanError> {
    let mut members: Vec<(String, usize)> = Vec::new();
    let mut places = HashMap::new();
    let mut at = skip_space(body, at + 1);
    while body.get(at) != Some(&b'}') {
        if body.get(at) == Some(&b',') {
            at = skip_space(body, at + 1);
        }
        let (key, end) = text::read(body, at)?;
        let value = colon_end(body, end)?;
        let place = *places.entry(key.to_string()).or_insert(members.len());
        match members.get_mut(place) {
            Some(member) => member.1 = value,
            None => members.push((key.into_owned(), value)),
        }
        at = skip_space(body, value_end_python(body, value)?);
    }
    out.push('{');
    for (i, (key, value)) in members.iter().enumerate() {
        if i > 0 {
            out.push_str(", ");
        }
        python_quoted(key, out);
        out.push_str(": ");
        python_repr(body, *value, out)?;
    }
    out.push('}');
    Ok(at + 1)
}

fn python_quoted(text: &str, out: &mut String) {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    out.push(quote);
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\\' => out.push_str("\\\\"),
            c if c == quote => {
                out.push('\\');
                out.push(c);
            }
            c if is_printable(c) => out.push(c),
            c => {
                let code = u32::from(c);
                // Writing to a string does not fail.
                let _written = match code {
                    0..0x100 => write!(out, "\\x{code:02x}"),
                    0x100..0x1_0000 => write!(out, "\\u{code:04x}"),
                    _ => write!(out, "\\U{code:08x}"),
                };
            }
        }
    }
    out.push(quote);
}

/// The standard library escapes, behind the first character of a string, exactly what cannot be printed.
fn is_printable(c: char) -> bool {
    let mut text = String::from("a");
    text.push(c);
    matches!(c, ' '..='~') || (!c.is_ascii() && text.escape_debug().count() == 2)
}

#[cfg(test)]
mod tests {
    use super::{compact, json_number, python_number, python_repr};

    #[test]
    fn python_prints_it_so() {
        let check = |json: &str, expect: &str| {
            let mut out = String::new();
            assert_eq!(python_repr(json.as_bytes(), 0, &mut out), Ok(json.len()), "{json}");
            assert_eq!(out, expect);
        };
        check(r#"{"a" : [1, null ,true], "b":{}}"#, "{'a': [1, None, True], 'b': {}}");
        check(r#"{"a":1,"b":2,"a":3}"#, "{'a': 3, 'b': 2}");
        check(
            r#"["it's","say \"it's\"","\n\u0000\u00ad\u2028\ud83d\ude00\u0301"]"#,
            r#"["it's", 'say "it\'s"', '\n\x00\xad\u2028😀́']"#,
        );
        check(
            "[1e16,1e15,123456789012345680.0,1e-5,0.0001,-0.0,1.5,NaN,-Infinity,-0]",
            "[1e+16, 1000000000000000.0, 1.2345678901234568e+17, 1e-05, 0.0001, -0.0, 1.5, nan, -inf, 0]",
        );
    }

    #[test]
    fn json_keeps_its_text() {
        assert_eq!(compact("{ \"a b\\\" \" : [ 1.50 , \"\\\\\" ] }\n"), r#"{"a b\" ":[1.50,"\\"]}"#);
        assert_eq!(json_number("1.50"), "1.5");
        assert_eq!(json_number("12345678901234567890123"), "12345678901234567890123");
        assert_eq!(python_number("1e400"), "inf");
    }
}
