//! A corpus that makes many records of few: distinct keys, advancing times, each record built when it is asked for.

use std::borrow::Cow;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;

use super::description::GrowRules;
use super::value::{Key, at, parse_time, set, text_of, time_like};

/// A record as JSON, cut where a field grows, with the field that belongs there.
type Pieces = Vec<(String, Option<String>)>;

/// The records of a grown corpus, by their number.
#[derive(Debug, Clone)]
pub(super) struct Grown {
    base: Arc<Vec<Arc<Value>>>,
    records: usize,
    keys: Arc<Vec<GrownKey>>,
    times: Arc<Vec<String>>,
    step: TimeDelta,
    /// The instant of the first time field of the last record of the base.
    last_at: Option<DateTime<Utc>>,
    /// The records of the base.
    cut: Arc<Vec<Pieces>>,
    /// Fields whose values rise with the number of the record.
    rising: Arc<Vec<String>>,
    seed: u64,
}

#[derive(Debug, Clone)]
struct GrownKey {
    field: String,
    form: KeyForm,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum KeyForm {
    /// Counts on from the largest.
    Integer(i64),
    /// The same, written as text.
    Digits(i64),
    Uuid,
    /// The text of the record that it was made of, and how often that has been used.
    Text,
}

impl Grown {
    /// Orders the base by its first time field, or else its first key, and counts on from there. The rules have been
    /// checked against the base: it is not empty, and each record has the fields.
    pub(super) fn new(base: &[Value], rules: &GrowRules, seed: u64) -> Self {
        let mut base: Vec<Arc<Value>> = base.iter().cloned().map(Arc::new).collect();
        let order = rules.times.first().or_else(|| rules.keys.first()).cloned().unwrap_or_default();
        base.sort_by(|a, b| Key::of(at(a, &order)).compare(&Key::of(at(b, &order))));
        let last = base.last().and_then(|record| at(record, rules.times.first()?));
        let last_at = last.and_then(instant);
        let keys = rules.keys.iter().map(|field| GrownKey { field: field.clone(), form: form(&base, field) });
        let mut grown = Self {
            keys: Arc::new(keys.collect()),
            times: Arc::new(rules.times.clone()),
            step: TimeDelta::from_std(rules.step).unwrap_or(TimeDelta::seconds(60)),
            last_at,
            rising: Arc::new(Vec::new()),
            cut: Arc::new(Vec::new()),
            records: rules.records,
            base: Arc::new(base),
            seed,
        };
        let rises = |field: &&String| {
            let numbers = 0..grown.base.len() + 1;
            let keys: Vec<Key> = numbers.map(|i| Key::of(grown.field(i, field).as_deref())).collect();
            keys.windows(2).all(|pair| matches!(pair, [a, b] if a.compare(b).is_lt()))
        };
        // What is made of a text or drawn at random rises in the base at most.
        let counted = grown.keys.iter().filter(|k| matches!(k.form, KeyForm::Integer(_))).map(|k| &k.field);
        let first_time = last_at.and(rules.times.first());
        let rising: Vec<String> = counted.chain(first_time).filter(rises).cloned().collect();
        grown.rising = Arc::new(rising);
        grown.cut = Arc::new(grown.base.iter().map(|record| grown.cut_up(record)).collect());
        grown
    }

    /// How many records there are; a base that is larger stays whole.
    pub(super) fn len(&self) -> usize {
        self.records.max(self.base.len())
    }

    /// Says whether the field's values rise with the number of the record.
    pub(super) fn rises(&self, field: &str) -> bool {
        self.rising.iter().any(|name| name == field)
    }

    /// Says whether the field differs from that of the record it was made of.
    pub(super) fn varies(&self, field: &str) -> bool {
        let own = |name: &str| name == field || name.split('.').next() == field.split('.').next();
        self.keys.iter().any(|key| own(&key.field)) || self.times.iter().any(|name| own(name))
    }

    /// The number of the record that this one is made of.
    pub(super) fn base_of(&self, index: usize) -> usize {
        index % self.base.len().max(1)
    }

    /// One field of a record, without building the record.
    pub(super) fn field(&self, index: usize, field: &str) -> Option<Cow<'_, Value>> {
        let base = self.base.get(self.base_of(index))?;
        let found = at(base, field);
        if index < self.base.len() {
            return found.map(Cow::Borrowed);
        }
        if let Some(key) = self.keys.iter().find(|key| key.field == field) {
            return Some(Cow::Owned(self.key(key, index, found?)));
        }
        if self.times.iter().any(|name| name == field) {
            return Some(Cow::Owned(self.time(index, base, found?)));
        }
        if self.varies(field) {
            // A field inside of one that grows, or around it.
            return at(self.record(index).as_ref(), field).cloned().map(Cow::Owned);
        }
        found.map(Cow::Borrowed)
    }

    /// The whole record.
    pub(super) fn record(&self, index: usize) -> Arc<Value> {
        let Some(base) = self.base.get(self.base_of(index)) else { return Arc::new(Value::Null) };
        if index < self.base.len() {
            return Arc::clone(base);
        }
        let mut record = Value::clone(base);
        for key in self.keys.iter() {
            if let Some(found) = at(base, &key.field) {
                set(&mut record, &key.field, self.key(key, index, found));
            }
        }
        for field in self.times.iter() {
            if let Some(found) = at(base, field) {
                set(&mut record, field, self.time(index, base, found));
            }
        }
        Arc::new(record)
    }

    /// Writes a record as JSON: what is the same for all that are made of one is copied.
    pub(super) fn write(&self, index: usize, out: &mut Vec<u8>) {
        let base = self.base.get(self.base_of(index)).filter(|_| index >= self.base.len());
        let (Some(base), Some(pieces)) = (base, self.cut.get(self.base_of(index))) else {
            // A value of JSON can always be written to memory.
            return drop(serde_json::to_writer(out, self.record(index).as_ref()));
        };
        for (text, field) in pieces {
            out.extend_from_slice(text.as_bytes());
            let Some((field, found)) = field.as_ref().and_then(|field| Some((field, at(base, field)?)))
            else {
                continue;
            };
            let value = match self.keys.iter().find(|key| key.field == *field) {
                Some(key) => self.key(key, index, found),
                None => self.time(index, base, found),
            };
            drop(serde_json::to_writer(&mut *out, &value));
        }
    }

    fn cut_up(&self, record: &Value) -> Pieces {
        let fields: Vec<&String> = self.keys.iter().map(|key| &key.field).chain(self.times.iter()).collect();
        let mark = |number: usize| format!("\u{0}{number}\u{0}");
        let mut marked = record.clone();
        for (number, field) in fields.iter().enumerate() {
            set(&mut marked, field, mark(number).into());
        }
        let mut rest = marked.to_string();
        let mut pieces = Vec::new();
        loop {
            let next = fields.iter().enumerate().filter_map(|(number, field)| {
                let quoted = Value::from(mark(number)).to_string();
                Some((rest.find(&quoted)?, quoted.len(), *field))
            });
            let Some((place, len, field)) = next.min_by_key(|(place, ..)| *place) else { break };
            let after = rest.split_off(place + len);
            rest.truncate(place);
            pieces.push((rest, Some(field.clone())));
            rest = after;
        }
        pieces.push((rest, None));
        pieces
    }

    fn key(&self, key: &GrownKey, index: usize, found: &Value) -> Value {
        let beyond = index - self.base.len();
        let counted =
            |last: i64| last.saturating_add(i64::try_from(beyond).unwrap_or(i64::MAX)).saturating_add(1);
        match key.form {
            KeyForm::Integer(last) => counted(last).into(),
            KeyForm::Digits(last) => counted(last).to_string().into(),
            KeyForm::Uuid => {
                let mut draw =
                    fastrand::Rng::with_seed(self.seed ^ (index as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
                uuid(&mut draw).into()
            }
            KeyForm::Text => format!("{}-{}", text_of(found), index / self.base.len().max(1)).into(),
        }
    }

    /// The first time field goes on by a step with each record; the others keep their distance from it.
    fn time(&self, index: usize, base: &Value, found: &Value) -> Value {
        let beyond = i32::try_from(index - self.base.len()).unwrap_or(i32::MAX).saturating_add(1);
        let first = self.times.first().and_then(|field| at(base, field)).and_then(instant);
        let new =
            self.last_at.zip(self.step.checked_mul(beyond)).and_then(|(at, by)| at.checked_add_signed(by));
        let (Some(first), Some(new), Some(own)) = (first, new, instant(found)) else { return found.clone() };
        match own.checked_add_signed(new - first) {
            Some(moved) => instant_like(found, moved),
            None => found.clone(),
        }
    }
}

fn form(base: &[Arc<Value>], field: &str) -> KeyForm {
    let values: Vec<&Value> = base.iter().filter_map(|record| at(record, field)).collect();
    let largest = |numbers: Option<Vec<i64>>| numbers.and_then(|list| list.into_iter().max());
    if let Some(last) = largest(values.iter().map(|v| v.as_i64()).collect()) {
        return KeyForm::Integer(last);
    }
    if let Some(last) = largest(values.iter().map(|v| v.as_str()?.parse().ok()).collect()) {
        return KeyForm::Digits(last);
    }
    let is_uuid = |text: &str| text.len() == 36 && text.matches('-').count() == 4;
    if values.iter().all(|v| v.as_str().is_some_and(is_uuid)) { KeyForm::Uuid } else { KeyForm::Text }
}

/// A random UUID of version 4.
pub(super) fn uuid(draw: &mut fastrand::Rng) -> String {
    let bits = (draw.u128(..) & !(0xf << 76) & !(0x3 << 62)) | (0x4 << 76) | (0x2 << 62);
    let hex = format!("{bits:032x}");
    let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
    format!("{}-{}-{}-{}-{}", part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32))
}

/// Seconds since 1970 beyond this are milliseconds.
const MILLIS_FROM: i64 = 100_000_000_000;

/// The instant that a value stands for: an ISO time, or seconds or milliseconds since 1970.
pub(super) fn instant(value: &Value) -> Option<DateTime<Utc>> {
    match value {
        Value::String(text) => parse_time(text),
        Value::Number(_) => {
            let number = value.as_i64()?;
            if number >= MILLIS_FROM {
                DateTime::from_timestamp_millis(number)
            } else {
                DateTime::from_timestamp(number, 0)
            }
        }
        _ => None,
    }
}

/// An instant in the form in which `like` is.
pub(super) fn instant_like(like: &Value, at: DateTime<Utc>) -> Value {
    match like {
        Value::String(text) => time_like(text, at).into(),
        _ if like.as_i64().is_some_and(|number| number >= MILLIS_FROM) => at.timestamp_millis().into(),
        _ => at.timestamp().into(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::time::Duration;

    use serde_json::{Value, json};

    use super::Grown;
    use crate::simulator::description::GrowRules;
    use crate::simulator::value::at;

    fn grown(keys: &[&str], times: &[&str], base: &[Value]) -> Grown {
        let names = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect();
        let step = Duration::from_secs(60);
        Grown::new(base, &GrowRules { records: 1_000_000, keys: names(keys), times: names(times), step }, 7)
    }

    #[test]
    fn keys_are_distinct_and_times_advance() {
        let base = [
            json!({"id": 5, "uid": "5e2f1b9c-0000-4000-8000-000000000001", "n": "b", "at": "2024-01-02T00:00:00Z", "made": "2024-01-01"}),
            json!({"id": 3, "uid": "5e2f1b9c-0000-4000-8000-000000000002", "n": "a", "at": "2024-01-01T00:00:00Z", "made": "2023-12-31"}),
        ];
        let grown = grown(&["id", "uid", "n"], &["at", "made"], &base);
        assert_eq!(grown.len(), 1_000_000);
        assert_eq!(*grown.record(0), base[1]);
        let third = grown.record(2);
        assert_eq!(
            (&third["id"], &third["n"], &third["at"]),
            (&json!(6), &json!("a-1"), &json!("2024-01-02T00:01:00Z"))
        );
        assert_eq!(third["made"], "2024-01-01");
        for field in ["id", "uid", "n"] {
            let seen: HashSet<String> = (0..1000).map(|i| grown.record(i)[field].to_string()).collect();
            assert_eq!(seen.len(), 1000, "{field}");
        }
        for i in [0, 1, 2, 3, 999_999] {
            let mut written = Vec::new();
            grown.write(i, &mut written);
            assert_eq!(serde_json::from_slice::<Value>(&written).unwrap(), *grown.record(i), "{i}");
            for field in ["id", "uid", "n", "at", "made"] {
                assert_eq!(grown.field(i, field).as_deref(), at(&grown.record(i), field), "{i} {field}");
            }
        }
        assert!(grown.rises("id") && grown.rises("at") && !grown.rises("n") && !grown.rises("made"));
    }

    #[test]
    fn times_may_be_numbers_and_keys_may_be_inside() {
        let base = [
            json!({"key": {"id": "9"}, "t": 1_700_000_000}),
            json!({"key": {"id": "10"}, "t": 1_700_000_060}),
        ];
        let grown = grown(&["key.id"], &["t"], &base);
        assert_eq!(*grown.record(2), json!({"key": {"id": "11"}, "t": 1_700_000_120}));
        let mut written = Vec::new();
        grown.write(2, &mut written);
        assert_eq!(String::from_utf8(written).unwrap(), grown.record(2).to_string());
        assert_eq!(grown.field(2, "key").as_deref(), Some(&json!({"id": "11"})));
        assert!(grown.rises("t") && !grown.rises("key.id"));
    }
}
