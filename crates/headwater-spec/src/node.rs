//! A document as a tree that remembers where each part stands and how each scalar was written.

use std::collections::HashMap;
use std::fmt;

/// Largest text that is looked at.
pub(crate) const MAX_TEXT_BYTES: usize = 4 * 1024 * 1024;
/// Deepest nesting of lists and maps.
pub(crate) const MAX_DEPTH: usize = 64;
/// Most nodes of a document, with aliases copied out.
pub(crate) const MAX_NODES: usize = 200_000;
/// Most scalar text of a document, with aliases copied out.
pub(crate) const MAX_SCALAR_BYTES: usize = 2 * MAX_TEXT_BYTES;

/// A place in a text: line and column, both from 1, the column in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Position {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// A position with the number of characters that an underline should cover.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) at: Position,
    pub(crate) width: usize,
}

impl Place {
    pub(crate) fn start() -> Self {
        Place { at: Position { line: 1, column: 1 }, width: 1 }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) place: Place,
    pub(crate) value: Value,
}

#[derive(Debug, Clone)]
pub(crate) enum Value {
    Scalar(Scalar),
    List(Vec<Node>),
    Map(Vec<(Key, Node)>),
}

#[derive(Debug, Clone)]
pub(crate) struct Key {
    pub(crate) text: String,
    pub(crate) place: Place,
}

#[derive(Debug, Clone)]
pub(crate) struct Scalar {
    pub(crate) text: String,
    /// Written without quotes, so that `true`, `12` and `null` are more than their letters.
    pub(crate) plain: bool,
}

/// What a scalar is under the core schema of YAML 1.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ScalarKind {
    Null,
    Flag(bool),
    Integer,
    Float,
    Text,
}

impl Scalar {
    pub(crate) fn kind(&self) -> ScalarKind {
        if !self.plain {
            return ScalarKind::Text;
        }
        match self.text.as_str() {
            "" | "~" | "null" | "Null" | "NULL" => ScalarKind::Null,
            "true" | "True" | "TRUE" => ScalarKind::Flag(true),
            "false" | "False" | "FALSE" => ScalarKind::Flag(false),
            text if is_integer(text) => ScalarKind::Integer,
            text if is_float(text) => ScalarKind::Float,
            _ => ScalarKind::Text,
        }
    }

    /// The value as an integer, where it is one that 64 bits hold.
    pub(crate) fn as_i64(&self) -> Option<i64> {
        if self.kind() != ScalarKind::Integer {
            return None;
        }
        i64::try_from(integer_value(&self.text)?).ok()
    }
}

fn is_integer(text: &str) -> bool {
    if let Some(digits) = text.strip_prefix("0x") {
        return !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_hexdigit());
    }
    if let Some(digits) = text.strip_prefix("0o") {
        return !digits.is_empty() && digits.bytes().all(|b| (b'0'..=b'7').contains(&b));
    }
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())
}

fn integer_value(text: &str) -> Option<i128> {
    if let Some(digits) = text.strip_prefix("0x") {
        return i128::from_str_radix(digits, 16).ok();
    }
    if let Some(digits) = text.strip_prefix("0o") {
        return i128::from_str_radix(digits, 8).ok();
    }
    text.parse().ok()
}

fn is_float(text: &str) -> bool {
    let body = text.strip_prefix(['-', '+']).unwrap_or(text);
    if matches!(body, ".inf" | ".Inf" | ".INF") || matches!(text, ".nan" | ".NaN" | ".NAN") {
        return true;
    }
    let (mantissa, exponent) = match body.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (body, None),
    };
    let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    let (whole, part) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let number = digits(whole) && digits(part) && !(whole.is_empty() && part.is_empty());
    let exponent_ok = exponent.is_none_or(|e| {
        let e = e.strip_prefix(['-', '+']).unwrap_or(e);
        !e.is_empty() && digits(e)
    });
    number && exponent_ok
}

impl Node {
    /// Says whether the value is absent: `null`, `~` or nothing.
    pub(crate) fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar(s) if s.kind() == ScalarKind::Null)
    }

    /// Names the value's type, and shows it where it is short, for "expected …, found …".
    pub(crate) fn found(&self) -> String {
        match &self.value {
            Value::List(_) => "a list".into(),
            Value::Map(_) => "a map".into(),
            Value::Scalar(s) => match s.kind() {
                ScalarKind::Null => "nothing".into(),
                ScalarKind::Flag(flag) => format!("`{flag}`"),
                ScalarKind::Integer | ScalarKind::Float => format!("the number {}", shown(&s.text)),
                ScalarKind::Text if s.text.is_empty() => "an empty text".into(),
                ScalarKind::Text => format!("the text `{}`", shown(&s.text)),
            },
        }
    }

    /// Gives the value as the text that a connector's option holds: scalars as written, the rest as JSON.
    pub(crate) fn option_text(&self) -> String {
        match &self.value {
            Value::Scalar(s) => match s.kind() {
                ScalarKind::Flag(flag) => flag.to_string(),
                ScalarKind::Null => String::new(),
                _ => s.text.clone(),
            },
            _ => {
                let mut json = String::new();
                self.write_json(&mut json);
                json
            }
        }
    }

    pub(crate) fn write_json(&self, out: &mut String) {
        match &self.value {
            Value::Scalar(s) => out.push_str(&scalar_json(s)),
            Value::List(items) => {
                out.push('[');
                for (i, item) in items.iter().enumerate() {
                    if i > 0 {
                        out.push(',');
                    }
                    item.write_json(out);
                }
                out.push(']');
            }
            Value::Map(entries) => {
                out.push('{');
                for (i, (key, value)) in entries.iter().enumerate() {
                    if i > 0 {
                        out.push(',');
                    }
                    out.push_str(&quoted(&key.text));
                    out.push(':');
                    value.write_json(out);
                }
                out.push('}');
            }
        }
    }
}

fn scalar_json(scalar: &Scalar) -> String {
    match scalar.kind() {
        ScalarKind::Null => "null".into(),
        ScalarKind::Flag(flag) => flag.to_string(),
        ScalarKind::Text => quoted(&scalar.text),
        // What JSON knows as a number goes through as written, digit for digit.
        _ if is_json_number(&scalar.text) => scalar.text.clone(),
        ScalarKind::Integer => {
            integer_value(&scalar.text).map_or_else(|| quoted(&scalar.text), |n| n.to_string())
        }
        ScalarKind::Float => match scalar.text.parse::<f64>() {
            Ok(number) if number.is_finite() => serde_json::Value::from(number).to_string(),
            _ => quoted(&scalar.text),
        },
    }
}

pub(crate) fn is_json_number(text: &str) -> bool {
    let body = text.strip_prefix('-').unwrap_or(text);
    let (mantissa, exponent) = match body.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (body, None),
    };
    let (whole, part) = match mantissa.split_once('.') {
        Some((whole, part)) => (whole, Some(part)),
        None => (mantissa, None),
    };
    let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    digits(whole)
        && (whole == "0" || !whole.starts_with('0'))
        && part.is_none_or(digits)
        && exponent.is_none_or(|e| digits(e.strip_prefix(['-', '+']).unwrap_or(e)))
}

/// Writes a text as a JSON string.
pub(crate) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Cuts a value short and makes it harmless to print.
pub(crate) fn shown(text: &str) -> String {
    const MAX_CHARS: usize = 60;
    let mut out = String::new();
    for (i, c) in text.chars().enumerate() {
        if i == MAX_CHARS {
            out.push('…');
            break;
        }
        if c.is_control() { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out
}

/// Counts what a document takes while it is built, and says when it is too much.
#[derive(Debug, Default)]
pub(crate) struct Budget {
    nodes: usize,
    bytes: usize,
}

impl Budget {
    /// Adds one node with `bytes` of text; `false` once the document is too large.
    pub(crate) fn add(&mut self, bytes: usize) -> bool {
        self.nodes += 1;
        self.bytes += bytes;
        self.nodes <= MAX_NODES && self.bytes <= MAX_SCALAR_BYTES
    }

    /// Adds a whole copy of `node`; stops counting as soon as it is too much.
    pub(crate) fn add_copy(&mut self, node: &Node) -> bool {
        match &node.value {
            Value::Scalar(s) => self.add(s.text.len()),
            Value::List(items) => self.add(0) && items.iter().all(|item| self.add_copy(item)),
            Value::Map(entries) => {
                self.add(0)
                    && entries.iter().all(|(key, value)| self.add(key.text.len()) && self.add_copy(value))
            }
        }
    }
}

/// A map under construction, which notices a key that comes twice.
#[derive(Debug, Default)]
pub(crate) struct MapBuilder {
    entries: Vec<(Key, Node)>,
    seen: HashMap<String, usize>,
}

impl MapBuilder {
    /// Adds an entry; a repeated key is left out and reported with the line where it came first.
    pub(crate) fn add(&mut self, key: Key, value: Node) -> Option<(Key, usize)> {
        if let Some(&index) = self.seen.get(&key.text) {
            let first_line = self.entries.get(index).map_or(0, |(first, _)| first.place.at.line);
            return Some((key, first_line));
        }
        self.seen.insert(key.text.clone(), self.entries.len());
        self.entries.push((key, value));
        None
    }

    pub(crate) fn finish(self) -> Vec<(Key, Node)> {
        self.entries
    }
}

#[cfg(test)]
mod tests {
    use super::{Scalar, ScalarKind, is_json_number, scalar_json};

    #[test]
    fn plain_scalars_follow_the_core_schema_of_yaml_1_2() {
        for (text, kind) in [
            ("", ScalarKind::Null),
            ("~", ScalarKind::Null),
            ("NULL", ScalarKind::Null),
            ("nULL", ScalarKind::Text),
            ("True", ScalarKind::Flag(true)),
            ("tRUE", ScalarKind::Text),
            ("no", ScalarKind::Text),
            ("on", ScalarKind::Text),
            ("y", ScalarKind::Text),
            ("12", ScalarKind::Integer),
            ("-012", ScalarKind::Integer),
            ("0x1F", ScalarKind::Integer),
            ("0o17", ScalarKind::Integer),
            ("0x", ScalarKind::Text),
            ("1_000", ScalarKind::Text),
            ("12:30:45", ScalarKind::Text),
            ("1.10", ScalarKind::Float),
            (".5", ScalarKind::Float),
            ("1.", ScalarKind::Float),
            ("1e3", ScalarKind::Float),
            (".", ScalarKind::Text),
            ("1e", ScalarKind::Text),
            ("-.inf", ScalarKind::Float),
            ("-.nan", ScalarKind::Text),
            ("2024-01-01", ScalarKind::Text),
            ("1.2.3", ScalarKind::Text),
        ] {
            let scalar = Scalar { text: text.into(), plain: true };
            assert_eq!(scalar.kind(), kind, "{text}");
            let quoted = Scalar { text: text.into(), plain: false };
            assert_eq!(quoted.kind(), ScalarKind::Text, "{text}");
        }
    }

    #[test]
    fn numbers_become_json_without_losing_a_digit() {
        for (text, json) in [
            ("1.10", "1.10"),
            ("123456789012345678901234567890", "123456789012345678901234567890"),
            ("0x1F", "31"),
            ("0o17", "15"),
            ("007", "7"),
            ("+5", "5"),
            (".5", "0.5"),
            ("-1.", "-1.0"),
            (".inf", "\".inf\""),
            ("true", "true"),
            ("~", "null"),
            ("2024-01-01", "\"2024-01-01\""),
        ] {
            assert_eq!(scalar_json(&Scalar { text: text.into(), plain: true }), json, "{text}");
        }
        for bad in ["01", "1.", ".1", "+1", "1e", "", "-", "0x1"] {
            assert!(!is_json_number(bad), "{bad}");
        }
    }
}
