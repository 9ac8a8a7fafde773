//! What a value lands as, compared with the vectors of the reference implementation.

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Decimal128Type, Float32Type, Float64Type, Int32Type, Int64Type, TimestampMicrosecondType,
};
use arrow_array::{Array, RecordBatch};
use arrow_schema::DataType as ArrowType;
use headwater_connect::{DataType, Page, StructField, StructType};
use headwater_decode::{DecodeError, DecodeOptions, Decoder, Profile};
use serde_json::value::RawValue;
use serde_json::{Value, json};

const VECTORS: &str = include_str!("../data/coercion_vectors.jsonl");

#[derive(serde::Deserialize)]
pub(crate) struct Line {
    pub(crate) r#type: Value,
    pub(crate) r#in: Box<RawValue>,
    pub(crate) value: Option<Value>,
    pub(crate) error: Option<String>,
    pub(crate) from: String,
}

fn decode(data_type: &DataType, json: &str) -> Result<RecordBatch, DecodeError> {
    let schema = StructType::new([StructField::nullable("v", data_type.clone())]);
    let options = DecodeOptions { profile: Profile::Python, ..DecodeOptions::default() };
    let mut decoder = Decoder::new(&schema, options).unwrap();
    decoder.push(&Page::json_array(format!(r#"[{{"v": {json}}}]"#)))?;
    Ok(decoder.finish().unwrap().unwrap())
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let bits = chunk.iter().fold(0u32, |n, b| n << 8 | u32::from(*b)) << (8 * (3 - chunk.len()));
        for i in 0..4 {
            let symbol = ALPHABET[(bits >> (18 - 6 * i) & 63) as usize];
            out.push(if i <= chunk.len() { char::from(symbol) } else { '=' });
        }
    }
    out
}

/// A value as the vectors write it.
fn encode(array: &dyn Array, row: usize) -> Value {
    if array.is_null(row) {
        return Value::Null;
    }
    let float = |value: f64| json!({"$f": if value.is_nan() { "nan".into() } else { format!("{:016x}", value.to_bits()) }});
    let instant = |micros: i64| chrono::DateTime::from_timestamp_micros(micros).unwrap();
    match array.data_type() {
        ArrowType::Utf8 => json!(array.as_string::<i32>().value(row)),
        ArrowType::Binary => json!({"$b": base64(array.as_binary::<i32>().value(row))}),
        ArrowType::Int32 => json!(array.as_primitive::<Int32Type>().value(row)),
        ArrowType::Int64 => json!(array.as_primitive::<Int64Type>().value(row)),
        ArrowType::Float32 => float(f64::from(array.as_primitive::<Float32Type>().value(row))),
        ArrowType::Float64 => float(array.as_primitive::<Float64Type>().value(row)),
        ArrowType::Boolean => json!(array.as_boolean().value(row)),
        ArrowType::Decimal128(_, scale) => {
            json!({"$dec": format!("{}e-{scale}", array.as_primitive::<Decimal128Type>().value(row))})
        }
        ArrowType::Date32 => {
            let days = i64::from(array.as_primitive::<Date32Type>().value(row));
            json!({"$d": instant(days * 86_400_000_000).format("%Y-%m-%d").to_string()})
        }
        ArrowType::Timestamp(..) => {
            let micros = array.as_primitive::<TimestampMicrosecondType>().value(row);
            json!({"utc": instant(micros).format("%Y-%m-%dT%H:%M:%S%.6f+00:00").to_string()})
        }
        ArrowType::List(_) => {
            let items = array.as_list::<i32>().value(row);
            (0..items.len()).map(|i| encode(&items, i)).collect()
        }
        ArrowType::Map(..) => {
            let entries = array.as_map().value(row);
            let pair = |i| json!({"$tuple": [encode(entries.column(0), i), encode(entries.column(1), i)]});
            (0..entries.len()).map(pair).collect()
        }
        ArrowType::Struct(fields) => {
            let columns = array.as_struct().columns();
            fields.iter().zip(columns).map(|(f, c)| (f.name().clone(), encode(c, row))).collect()
        }
        other => panic!("{other}"),
    }
}

/// The expected value in the form of [`encode`].
fn normal(value: &Value) -> Value {
    match value {
        Value::Array(items) => items.iter().map(normal).collect(),
        Value::Object(members) => {
            if let Some(float) = members.get("$f") {
                let bits = if float[0] == "nan" { &float[0] } else { &float[1] };
                return json!({"$f": bits});
            }
            if let Some(utc) = members.get("utc") {
                return json!({"utc": utc});
            }
            if let Some(text) = members.get("$dec").and_then(Value::as_str) {
                let (digits, scale) = match (text.split_once('.'), text.split_once("E-")) {
                    (Some((front, back)), _) => (format!("{front}{back}"), back.len()),
                    (None, Some((digits, scale))) => (digits.to_owned(), scale.parse().unwrap()),
                    (None, None) => (text.to_owned(), 0),
                };
                return json!({"$dec": format!("{}e-{scale}", digits.parse::<i128>().unwrap())});
            }
            members.iter().map(|(k, v)| (k.clone(), normal(v))).collect()
        }
        other => other.clone(),
    }
}

/// Why we may accept what the reference refuses; these are all such reasons.
fn accepted_beyond(data_type: &str, json: &str) -> Option<&'static str> {
    match (data_type, json) {
        (t, "{}") if t.starts_with("struct<") => Some("an empty object for a struct"),
        ("struct<a:struct<b:long>>", r#"{"a": {}}"#) => Some("an empty object for a struct"),
        ("integer" | "long", r#""1e3""#) => Some("a whole number with an exponent"),
        ("date", r#""2024""#) => Some("a partial date"),
        ("variant", json) if !json.starts_with('"') => Some("any JSON for a variant"),
        ("struct<v:variant>", r#"{"v": {"a": 1}}"# | r#"{"v": 5}"#) => Some("any JSON for a variant"),
        _ => None,
    }
}

pub(crate) fn check(line: &Line, json: &str) -> Result<Option<&'static str>, String> {
    let data_type = DataType::from_json(&line.r#type).unwrap();
    let shown = format!("{data_type} {json}");
    match (decode(&data_type, json), &line.error) {
        (Ok(batch), None) => {
            let (got, expect) =
                (encode(batch.column(0), 0), normal(line.value.as_ref().unwrap_or(&Value::Null)));
            if got == expect { Ok(None) } else { Err(format!("{shown}: {got}, expected {expect}")) }
        }
        (Ok(batch), Some(error)) => match accepted_beyond(&data_type.to_string(), json) {
            Some(reason) => Ok(Some(reason)),
            None => Err(format!("{shown}: {}, expected {error}", encode(batch.column(0), 0))),
        },
        (Err(DecodeError::Unfit { record: 0, column, value, reason, .. }), Some(error)) => {
            let missing = reason.starts_with("missing");
            if !column.starts_with('v') || (value.is_empty() && !missing) {
                return Err(format!("{shown}: column `{column}`, value `{value}`"));
            }
            // Numbers that are numbers and do not fit are told apart from what is no number.
            let numeric = ["integer", "long", "decimal"].iter().any(|t| data_type.to_string().starts_with(t));
            let range = error.starts_with("does not fit") || error == "OverflowError";
            if numeric && line.from == "json" && reason.contains("out of the range") != range {
                return Err(format!("{shown}: `{reason}`, expected {error}"));
            }
            Ok(None)
        }
        (Err(error), _) => Err(format!("{shown}: {error}, expected {:?} {:?}", line.value, line.error)),
    }
}

pub(crate) fn lines() -> impl Iterator<Item = Line> {
    VECTORS.lines().map(|line| serde_json::from_str(line).unwrap())
}

/// Python values that cannot be told apart any more once a worker has written them as JSON: type, value, and why.
pub(crate) const INDISTINCT: [(&str, &str, &str); 10] = [
    ("integer", r#"{"$dec": "1.50"}"#, DECIMAL),
    ("integer", r#"{"$dec": "1E+5"}"#, DECIMAL),
    ("long", r#"{"$dec": "1E+5"}"#, DECIMAL),
    ("variant", r#"{"$dec": "1.50"}"#, DECIMAL),
    ("variant", r#"{"$dec": "NaN"}"#, DECIMAL),
    ("binary", r#"{"$dec": "1E+5"}"#, DECIMAL),
    ("date", r#"{"$d": "2024-01-05"}"#, "a date is sent as text, which both types take"),
    ("timestamp", r#"{"$d": "2024-01-05"}"#, "a date is sent as text, which both types take"),
    ("binary", r#"{"$tuple": [1, 2]}"#, "a tuple is sent as a list"),
    ("map<string,long>", r#"{"$map": [[null, 1]]}"#, "a key of None is sent as text"),
];
const DECIMAL: &str = "a Decimal is sent as its text, and is read as text is";
