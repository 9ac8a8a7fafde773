//! Values of records, compared as a source compares them: numbers and times as such, everything else as text.

use std::cmp::Ordering;

use chrono::{DateTime, NaiveDate, NaiveDateTime, Utc};
use serde_json::Value;

/// The value at a dotted path. A name with dots in it is found as well.
pub(super) fn at<'a>(record: &'a Value, path: &str) -> Option<&'a Value> {
    if let Some(found) = record.get(path) {
        return Some(found);
    }
    let (mut rest, mut value) = (path, record);
    while let Some((name, after)) = rest.split_once('.') {
        value = step(value, name)?;
        rest = after;
    }
    step(value, rest)
}

fn step<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    match value {
        Value::Array(items) => items.get(name.parse::<usize>().ok()?),
        _ => value.get(name),
    }
}

/// Sets the value at a dotted path; objects on the way are made where they are missing.
pub(super) fn set(record: &mut Value, path: &str, new: Value) {
    if !record.is_object() {
        *record = Value::Object(serde_json::Map::new());
    }
    let mut value = record;
    let mut rest = path;
    while let (Some((name, after)), true) = (rest.split_once('.'), value.get(rest).is_none()) {
        let Some(object) = value.as_object_mut() else { return };
        value = object.entry(name).or_insert_with(|| Value::Object(serde_json::Map::new()));
        rest = after;
    }
    if let Some(object) = value.as_object_mut() {
        object.insert(rest.to_owned(), new);
    }
}

/// A value that can be compared.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Key {
    /// Missing or null.
    None,
    /// Whole numbers exactly, however large.
    Integer(i128),
    Number(f64),
    /// An instant, in nanoseconds since 1970.
    Time(i128),
    Text(String),
}

impl Key {
    pub(super) fn of(value: Option<&Value>) -> Self {
        match value {
            None | Some(Value::Null) => Key::None,
            Some(Value::Number(number)) => number_key(&number.to_string()).unwrap_or(Key::None),
            Some(Value::String(text)) => Key::of_text(text),
            Some(other) => Key::Text(other.to_string()),
        }
    }

    /// What a text stands for.
    pub(super) fn of_text(text: &str) -> Self {
        if let Some(key) = number_key(text) {
            return key;
        }
        match parse_time(text) {
            Some(at) => Key::Time(nanos(at)),
            None => Key::Text(text.to_owned()),
        }
    }

    /// Compares as values of one kind; of different kinds, as text.
    pub(super) fn compare(&self, other: &Key) -> Ordering {
        match (self, other) {
            (Key::None, Key::None) => Ordering::Equal,
            (Key::None, _) => Ordering::Less,
            (_, Key::None) => Ordering::Greater,
            (Key::Integer(a), Key::Integer(b)) | (Key::Time(a), Key::Time(b)) => a.cmp(b),
            (Key::Text(a), Key::Text(b)) => a.cmp(b),
            (Key::Number(_) | Key::Integer(_), Key::Number(_) | Key::Integer(_)) => {
                self.number().total_cmp(&other.number())
            }
            // Of different kinds: an order that is the same for any two, so that sorting is sound.
            _ => self.kind().cmp(&other.kind()),
        }
    }

    /// Says whether both are numbers, times or texts.
    pub(super) fn is_like(&self, other: &Key) -> bool {
        self.kind() == other.kind()
    }

    fn kind(&self) -> u8 {
        match self {
            Key::None => 0,
            Key::Integer(_) | Key::Number(_) => 1,
            Key::Time(_) => 2,
            Key::Text(_) => 3,
        }
    }

    fn number(&self) -> f64 {
        match self {
            #[allow(clippy::cast_precision_loss, reason = "compared with a number that is no more exact")]
            Key::Integer(number) => *number as f64,
            Key::Number(number) => *number,
            _ => f64::NAN,
        }
    }
}

/// Says whether a text is a number as sources write them.
fn number_key(text: &str) -> Option<Key> {
    let first = text.strip_prefix('-').unwrap_or(text).bytes().next()?;
    if !first.is_ascii_digit() {
        return None;
    }
    if let Ok(whole) = text.parse::<i128>() {
        return Some(Key::Integer(whole));
    }
    text.parse::<f64>().ok().filter(|n| n.is_finite()).map(Key::Number)
}

/// Reads an ISO 8601 time; one without a zone is UTC, a date is its midnight.
pub(super) fn parse_time(text: &str) -> Option<DateTime<Utc>> {
    let bytes = text.as_bytes();
    if bytes.len() < 10 || bytes.get(4) != Some(&b'-') || bytes.get(7) != Some(&b'-') {
        return None;
    }
    if let Ok(date) = NaiveDate::parse_from_str(text, "%Y-%m-%d") {
        return Some(date.and_hms_opt(0, 0, 0)?.and_utc());
    }
    if let Ok(at) = DateTime::parse_from_rfc3339(text) {
        return Some(at.to_utc());
    }
    for form in ["%Y-%m-%dT%H:%M:%S%.f%z", "%Y-%m-%d %H:%M:%S%.f%z", "%Y-%m-%dT%H:%M%z"] {
        if let Ok(at) = DateTime::parse_from_str(text, form) {
            return Some(at.to_utc());
        }
    }
    for form in ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S%.fZ"] {
        if let Ok(at) = NaiveDateTime::parse_from_str(text, form) {
            return Some(at.and_utc());
        }
    }
    None
}

fn nanos(at: DateTime<Utc>) -> i128 {
    i128::from(at.timestamp()) * 1_000_000_000 + i128::from(at.timestamp_subsec_nanos())
}

/// Writes `at` in the form in which `like` is written.
pub(super) fn time_like(like: &str, at: DateTime<Utc>) -> String {
    if like.len() == 10 {
        return at.format("%Y-%m-%d").to_string();
    }
    let separator = if like.as_bytes().get(10) == Some(&b' ') { " " } else { "T" };
    let (clock, zone) = split_zone(like.get(11..).unwrap_or_default());
    let digits = clock.split_once('.').map_or(0, |(_, part)| part.len());
    let mut text = at.format(&format!("%Y-%m-%d{separator}%H:%M")).to_string();
    if clock.matches(':').count() > 1 || clock.is_empty() {
        text.push_str(&at.format(":%S").to_string());
    }
    if digits > 0 {
        let fraction = format!("{:09}", at.timestamp_subsec_nanos());
        text.push('.');
        text.extend(fraction.chars().chain(std::iter::repeat('0')).take(digits));
    }
    // Another zone is written as the same distance of none.
    text.push_str(match zone {
        "" => "",
        "Z" | "z" => "Z",
        zone if zone.contains(':') => "+00:00",
        _ => "+0000",
    });
    text
}

fn split_zone(clock: &str) -> (&str, &str) {
    clock.find(['Z', 'z', '+', '-']).and_then(|at| clock.split_at_checked(at)).unwrap_or((clock, ""))
}

/// A value as the text that a parameter would hold.
pub(super) fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::cmp::Ordering;

    use serde_json::json;

    use super::{Key, at, parse_time, set, time_like};

    #[test]
    fn values_compare_as_what_they_are() {
        let check = |a: serde_json::Value, b: &str, expect: Ordering| {
            assert_eq!(Key::of(Some(&a)).compare(&Key::of_text(b)), expect, "{a} {b}");
        };
        check(json!(9), "10", Ordering::Less);
        check(json!("9"), "10", Ordering::Less);
        check(json!(2.5), "2.50", Ordering::Equal);
        check(json!(9007199254740993i64), "9007199254740992", Ordering::Greater);
        check(json!("2024-05-01T10:00:00Z"), "2024-05-01T12:00:00+02:00", Ordering::Equal);
        check(json!("2024-05-01T10:00:00.5Z"), "2024-05-01T10:00:00Z", Ordering::Greater);
        check(json!("2024-05-01"), "2024-05-01T00:00:01", Ordering::Less);
        check(json!("2024-05-01 10:00:00"), "2024-05-01T10:00:00Z", Ordering::Equal);
        check(json!("abc"), "abd", Ordering::Less);
        check(json!(true), "true", Ordering::Equal);
        check(json!(null), "", Ordering::Less);
        check(json!("-"), "0", Ordering::Greater);
    }

    #[test]
    fn dotted_paths_lead_into_records() {
        let record = json!({"a": {"b": [{"c": 1}]}, "x.y": 2});
        assert_eq!(at(&record, "a.b.0.c"), Some(&json!(1)));
        assert_eq!(at(&record, "x.y"), Some(&json!(2)));
        assert_eq!(at(&record, "a.z"), None);
        let mut record = json!({"a": {"b": 1}});
        set(&mut record, "a.b", json!(2));
        set(&mut record, "c.d.e", json!(3));
        set(&mut record, "f", json!(4));
        assert_eq!(record, json!({"a": {"b": 2}, "c": {"d": {"e": 3}}, "f": 4}));
    }

    #[test]
    fn times_are_written_in_the_form_they_had() {
        let at = parse_time("2024-05-01T10:00:00.123456Z").unwrap();
        for (like, expect) in [
            ("2020-01-01", "2024-05-01"),
            ("2020-01-01T00:00:00Z", "2024-05-01T10:00:00Z"),
            ("2020-01-01T00:00:00.000Z", "2024-05-01T10:00:00.123Z"),
            ("2020-01-01 00:00:00", "2024-05-01 10:00:00"),
            ("2020-01-01T00:00:00+02:00", "2024-05-01T10:00:00+00:00"),
            ("2020-01-01T00:00:00-0500", "2024-05-01T10:00:00+0000"),
            ("2020-01-01T00:00", "2024-05-01T10:00"),
        ] {
            assert_eq!(time_like(like, at), expect, "{like}");
        }
    }
}
