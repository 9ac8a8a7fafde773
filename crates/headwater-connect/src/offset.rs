use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

/// Where a read ended: a JSON value of the connector's own, opaque to everybody else.
///
/// The text is kept as it came, so integers of any size and floats survive bit for bit. Two offsets are equal
/// when they are equal *as values*: the order of members and the way a number is written do not matter, while
/// `1` and `1.0` are equal and `9007199254740993` and `9007199254740992.0` are not.
#[derive(Clone)]
pub struct Offset {
    text: String,
    value: Value,
}

/// Why a text is not an offset, or an offset not what a connector expected.
#[derive(Debug, thiserror::Error)]
#[error("not the JSON that was expected")]
pub struct OffsetError(#[from] serde_json::Error);

impl Offset {
    /// The offset at which every stream starts: `{}`.
    pub fn empty() -> Self {
        Self { text: "{}".into(), value: Value::Object(BTreeMap::new()) }
    }

    /// Takes JSON text.
    ///
    /// # Errors
    /// The text is not one JSON value.
    pub fn from_json(text: &str) -> Result<Self, OffsetError> {
        let raw: &RawValue = serde_json::from_str(text)?;
        Ok(Self { text: raw.get().to_owned(), value: Value::parse(raw.get(), 0)? })
    }

    /// Takes anything that serialises to JSON.
    ///
    /// # Errors
    /// It does not serialise to JSON (a map whose keys are not text).
    pub fn from_value(value: &impl Serialize) -> Result<Self, OffsetError> {
        Self::from_json(&serde_json::to_string(value)?)
    }

    /// The JSON text, as the connector gave it.
    pub fn as_json(&self) -> &str {
        &self.text
    }

    /// Reads the offset as a type of the connector's.
    ///
    /// # Errors
    /// The offset has another shape: it was made by something else, or by another version.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, OffsetError> {
        Ok(serde_json::from_str(&self.text)?)
    }

    /// Says whether this is `{}`.
    pub fn is_empty(&self) -> bool {
        matches!(&self.value, Value::Object(members) if members.is_empty())
    }
}

impl From<serde_json::Value> for Offset {
    fn from(value: serde_json::Value) -> Self {
        let text = value.to_string();
        let value = Value::parse(&text, 0).unwrap_or(Value::Null);
        Self { text, value }
    }
}

impl PartialEq for Offset {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl Eq for Offset {}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Offset({})", self.text)
    }
}

impl Serialize for Offset {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let raw: Box<RawValue> =
            RawValue::from_string(self.text.clone()).map_err(serde::ser::Error::custom)?;
        raw.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Offset {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        Offset::from_json(raw.get()).map_err(|OffsetError(cause)| serde::de::Error::custom(cause))
    }
}

/// A JSON value with exact numbers, for comparing.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Value {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    Array(Vec<Value>),
    Object(BTreeMap<String, Value>),
}

impl Value {
    /// How deep an offset may nest.
    const MAX_DEPTH: usize = 64;

    fn parse(text: &str, depth: usize) -> Result<Self, serde_json::Error> {
        if depth > Self::MAX_DEPTH {
            return Err(serde::de::Error::custom("offset nests more than 64 levels deep"));
        }
        let text = text.trim_ascii();
        Ok(match text.as_bytes().first() {
            Some(b'{') => {
                let members: BTreeMap<String, &RawValue> = serde_json::from_str(text)?;
                let parsed =
                    members.into_iter().map(|(name, raw)| Ok((name, Value::parse(raw.get(), depth + 1)?)));
                Value::Object(parsed.collect::<Result<_, serde_json::Error>>()?)
            }
            Some(b'[') => {
                let items: Vec<&RawValue> = serde_json::from_str(text)?;
                let parsed = items.into_iter().map(|raw| Value::parse(raw.get(), depth + 1));
                Value::Array(parsed.collect::<Result<_, _>>()?)
            }
            Some(b'"') => Value::Text(serde_json::from_str(text)?),
            Some(b'-' | b'0'..=b'9') => Value::Number(Number::parse(text)),
            _ => match serde_json::from_str::<Option<bool>>(text)? {
                None => Value::Null,
                Some(flag) => Value::Bool(flag),
            },
        })
    }
}

/// A decimal number without a limit: sign, digits without zeros at either end, power of ten of the last digit.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Number {
    negative: bool,
    digits: String,
    exponent: i64,
}

impl Number {
    /// Parses a JSON number; the caller has checked that it is one.
    fn parse(text: &str) -> Self {
        let (negative, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let mut digits = format!("{whole}{fraction}");
        // An exponent beyond i64 can only be met by the same text: saturating keeps equality sound in practice.
        let exponent = exponent
            .trim_start_matches('+')
            .parse::<i64>()
            .unwrap_or_else(|_| if exponent.starts_with('-') { i64::MIN / 2 } else { i64::MAX / 2 });
        let mut exponent = exponent.saturating_sub(i64::try_from(fraction.len()).unwrap_or(i64::MAX));
        let kept = digits.trim_end_matches('0').len();
        exponent = exponent.saturating_add(i64::try_from(digits.len() - kept).unwrap_or(0));
        digits.truncate(kept);
        let digits = digits.trim_start_matches('0').to_owned();
        match digits.len().cmp(&0) {
            Ordering::Equal => Number { negative: false, digits, exponent: 0 },
            _ => Number { negative, digits, exponent },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Offset;

    fn check(left: &str, right: &str, equal: bool) {
        let (a, b) = (Offset::from_json(left).unwrap(), Offset::from_json(right).unwrap());
        assert_eq!(a == b, equal, "{left} and {right}");
        assert_eq!(b == a, equal, "{right} and {left}");
    }

    #[test]
    fn offsets_are_compared_as_values() {
        check(r#"{"a":1,"b":[null,true]}"#, r#"{ "b": [null, true], "a": 1.0 }"#, true);
        check(r#"{"a":null}"#, "{}", false);
        check("{}", r#"{"pageToken": null}"#, false);
        check(r#"{"t":1e3}"#, r#"{"t":1000}"#, true);
        check(r#"{"t":-0.0}"#, r#"{"t":0}"#, true);
        check("9007199254740993", "9007199254740992", false);
        check("9007199254740993", "9007199254740993.0", true);
        check("100000000000000000000000000000001", "100000000000000000000000000000002", false);
        check("1732000000.1234567", "1732000000.1234568", false);
        check(r#""1""#, "1", false);
        check("[1,2]", "[2,1]", false);
        check(r#""\u00e9""#, r#""é""#, true);
        check("true", "false", false);
        check("1E400", "1e400", true);
    }

    #[test]
    fn the_text_survives_a_round_trip_to_the_last_bit() {
        let text = r#"{"n":123456789012345678901234567890,"f":0.1000000000000000055,"z":1.0}"#;
        let offset = Offset::from_json(text).unwrap();
        let stored = serde_json::to_string(&offset).unwrap();
        let back: Offset = serde_json::from_str(&stored).unwrap();
        assert_eq!(back.as_json(), text);
        assert_eq!(back, offset);
    }

    #[test]
    fn rubbish_is_an_error() {
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        for text in [deep.as_str(), "", "{", "{} {}", "nan", "[1,]", "01"] {
            assert!(Offset::from_json(text).is_err(), "{text}");
        }
    }
}
