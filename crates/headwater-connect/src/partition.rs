use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::OffsetError;

/// One part of a table's records: a JSON object of the connector's own, opaque to everybody else.
///
/// The text is kept as it came, so integers of any size and floats survive to the last digit.
#[derive(Clone, Debug)]
pub struct Partition(Box<RawValue>);

impl Partition {
    /// Takes anything that serialises to a JSON object.
    ///
    /// # Errors
    /// It does not serialise, or to something else.
    pub fn from_value(value: &impl Serialize) -> Result<Self, OffsetError> {
        Self::checked(serde_json::value::to_raw_value(value)?)
    }

    fn checked(raw: Box<RawValue>) -> Result<Self, OffsetError> {
        if raw.get().starts_with('{') {
            Ok(Self(raw))
        } else {
            Err(serde_json::Error::custom("a part of a table is an object").into())
        }
    }

    /// The JSON text, as the connector gave it.
    pub fn as_json(&self) -> &str {
        self.0.get()
    }

    /// Reads the part as a type of the connector's.
    ///
    /// # Errors
    /// It has another shape: something else made it.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, OffsetError> {
        Ok(serde_json::from_str(self.0.get())?)
    }
}

impl From<Map<String, Value>> for Partition {
    fn from(members: Map<String, Value>) -> Self {
        // A map of values always serialises.
        Self(serde_json::value::to_raw_value(&members).unwrap_or_else(|_| RawValue::NULL.to_owned()))
    }
}

impl FromIterator<(String, Value)> for Partition {
    fn from_iter<I: IntoIterator<Item = (String, Value)>>(members: I) -> Self {
        Map::from_iter(members).into()
    }
}

impl std::fmt::Display for Partition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_json())
    }
}

impl Serialize for Partition {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Partition {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::checked(Box::<RawValue>::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::Partition;

    #[test]
    fn numbers_of_any_size_survive() {
        let text = r#"[{"n":123456789012345678901234567890,"f":0.1000000000000000055,"e":1e400}, {}]"#;
        let parts: Vec<Partition> = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&parts).unwrap(), text.replace(", ", ","));
    }

    #[test]
    fn a_part_is_an_object() {
        for text in ["[1]", "null", "7", r#""x""#] {
            assert!(serde_json::from_str::<Partition>(text).is_err(), "{text}");
        }
        assert!(Partition::from_value(&7).is_err());
        assert_eq!(Partition::from_iter([("a".to_owned(), 7.into())]).as_json(), r#"{"a":7}"#);
    }
}
