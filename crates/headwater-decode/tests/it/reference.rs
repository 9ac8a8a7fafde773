//! A slow decoder that is easy to check by eye: `serde_json` values, field by field.

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, RecordBatch};
use arrow_schema::DataType as ArrowType;
use headwater_connect::{DataType, StructField, StructType};
use serde_json::{Map, Value};

/// What a value should come to.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Expect {
    /// This.
    Value(Value),
    /// A struct of these.
    Struct(Vec<(String, Expect)>),
    /// A list of these.
    List(Vec<Expect>),
    /// A map of these, sorted by key.
    Map(Vec<(String, Expect)>),
    /// The record does not fit.
    Unfit,
    /// A conversion that other tests look at: anything, or unfit.
    Any,
}

/// The columns of the generated pages. No name is another one with a byte changed.
pub(crate) fn schema() -> StructType {
    let field = StructField::nullable;
    let nested =
        StructType::new([field("login", DataType::String), StructField::required("key", DataType::Long)]);
    let item = StructType::new([field("rank", DataType::Integer), field("text", DataType::String)]);
    StructType::new([
        StructField::required("id", DataType::Long),
        field("a rather long name of a field", DataType::String),
        field("score", DataType::Double),
        field("updated_at", DataType::Timestamp),
        field("locked", DataType::Boolean),
        field("owner", DataType::Struct(nested)),
        field("items", DataType::Array { element: Box::new(DataType::Struct(item)), contains_null: true }),
        field(
            "extra",
            DataType::Map {
                key: Box::new(DataType::String),
                value: Box::new(DataType::Double),
                value_contains_null: true,
            },
        ),
        field("größe", DataType::Long),
    ])
}

/// Some of the columns.
pub(crate) fn projection() -> StructType {
    let keep = ["id", "updated_at", "owner"];
    StructType::new(schema().fields.into_iter().filter(|f| keep.contains(&f.name.as_str())))
}

/// The expected rows of a document that is a list of records; `None` where a record does not fit (or may not).
pub(crate) fn rows(schema: &StructType, document: &Value) -> Option<Vec<Expect>> {
    let mut rows = Vec::new();
    for record in document.as_array()? {
        match object(schema, record) {
            Expect::Unfit => return None,
            row => rows.push(row),
        }
    }
    Some(rows)
}

fn object(schema: &StructType, value: &Value) -> Expect {
    let Value::Object(members) = value else { return Expect::Unfit };
    let mut fields = Vec::new();
    for field in &schema.fields {
        let expect =
            nullable(&field.data_type, field.nullable, members.get(&field.name).unwrap_or(&Value::Null));
        if expect == Expect::Unfit {
            return Expect::Unfit;
        }
        fields.push((field.name.clone(), expect));
    }
    Expect::Struct(fields)
}

fn nullable(data_type: &DataType, nullable: bool, value: &Value) -> Expect {
    match (value, nullable) {
        (Value::Null, true) => Expect::Value(Value::Null),
        (Value::Null, false) => Expect::Unfit,
        _ => convert(data_type, value),
    }
}

fn convert(data_type: &DataType, value: &Value) -> Expect {
    let exact = |value: Option<Value>| value.map_or(Expect::Any, Expect::Value);
    match (data_type, value) {
        (DataType::String, Value::String(_)) => Expect::Value(value.clone()),
        (DataType::Long, Value::Number(number)) => exact(number.as_i64().map(Value::from)),
        (DataType::Long, Value::String(text)) => exact(text.parse::<i64>().ok().map(Value::from)),
        (DataType::Integer, Value::Number(number)) => match number.as_i64() {
            Some(value) if i32::try_from(value).is_ok() => Expect::Value(value.into()),
            Some(_) => Expect::Unfit,
            None => Expect::Any,
        },
        (DataType::Double, Value::Number(number)) => exact(number.as_f64().map(bits)),
        (DataType::Double, Value::String(text)) => exact(text.parse::<f64>().ok().map(bits)),
        (DataType::Long | DataType::Integer | DataType::Double, Value::Array(_) | Value::Object(_)) => {
            Expect::Unfit
        }
        (DataType::Boolean, Value::Bool(_)) => Expect::Value(value.clone()),
        (DataType::Timestamp, Value::String(text)) => {
            let plain = text.len() == 20 && text.ends_with('Z') && text.is_ascii();
            let parsed = chrono::NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%SZ").ok();
            let parsed = parsed.filter(|t| plain && t.format("%Y-%m-%dT%H:%M:%SZ").to_string() == *text);
            exact(parsed.map(|time| time.and_utc().timestamp_micros().into()))
        }
        (DataType::Struct(fields), _) => object(fields, value),
        (DataType::Array { element, contains_null }, Value::Array(items)) => {
            let items: Vec<_> = items.iter().map(|item| nullable(element, *contains_null, item)).collect();
            if items.contains(&Expect::Unfit) { Expect::Unfit } else { Expect::List(items) }
        }
        (DataType::Map { value: inner, value_contains_null, .. }, Value::Object(members)) => {
            let mut entries: Vec<_> = members
                .iter()
                .map(|(key, value)| (key.clone(), nullable(inner, *value_contains_null, value)))
                .collect();
            entries.sort_by(|a, b| a.0.cmp(&b.0));
            if entries.iter().any(|entry| entry.1 == Expect::Unfit) {
                Expect::Unfit
            } else {
                Expect::Map(entries)
            }
        }
        (DataType::Map { .. }, _) => Expect::Unfit,
        _ => Expect::Any,
    }
}

/// Zeros, infinities and NaN are told apart by their bits.
fn bits(value: f64) -> Value {
    if value.is_nan() { "nan".into() } else { value.to_bits().into() }
}

/// The rows of a batch as values.
pub(crate) fn read(batch: &RecordBatch) -> Vec<Value> {
    let names: Vec<_> = batch.schema().fields().iter().map(|f| f.name().clone()).collect();
    let row =
        |i| names.iter().zip(batch.columns()).map(move |(name, column)| (name.clone(), cell(column, i)));
    (0..batch.num_rows()).map(|i| Value::Object(row(i).collect::<Map<_, _>>())).collect()
}

fn cell(array: &dyn Array, row: usize) -> Value {
    if array.is_null(row) {
        return Value::Null;
    }
    match array.data_type() {
        ArrowType::Utf8 => array.as_string::<i32>().value(row).into(),
        ArrowType::Int32 => array.as_primitive::<Int32Type>().value(row).into(),
        ArrowType::Int64 => array.as_primitive::<Int64Type>().value(row).into(),
        ArrowType::Float64 => bits(array.as_primitive::<Float64Type>().value(row)),
        ArrowType::Boolean => array.as_boolean().value(row).into(),
        ArrowType::Timestamp(..) => array.as_primitive::<TimestampMicrosecondType>().value(row).into(),
        ArrowType::List(_) => {
            let items = array.as_list::<i32>().value(row);
            (0..items.len()).map(|i| cell(&items, i)).collect()
        }
        ArrowType::Map(..) => {
            let entries = array.as_map().value(row);
            let entry = |i| (cell(entries.column(0), i), cell(entries.column(1), i));
            (0..entries.len()).map(entry).map(|(k, v)| (k.as_str().unwrap_or("?").to_owned(), v)).collect()
        }
        ArrowType::Struct(fields) => {
            let columns = array.as_struct().columns();
            fields.iter().zip(columns).map(|(f, c)| (f.name().clone(), cell(c, row))).collect()
        }
        other => Value::from(format!("unexpected {other}")),
    }
}

/// Whether a value is what was expected.
pub(crate) fn agrees(expect: &Expect, got: &Value) -> bool {
    match (expect, got) {
        (Expect::Any, _) => true,
        (Expect::Unfit, _) => false,
        (Expect::Value(expect), got) => expect == got,
        (Expect::Struct(fields), Value::Object(got)) | (Expect::Map(fields), Value::Object(got)) => {
            fields.len() == got.len()
                && fields.iter().all(|(name, expect)| got.get(name).is_some_and(|got| agrees(expect, got)))
        }
        (Expect::List(items), Value::Array(got)) => {
            items.len() == got.len() && items.iter().zip(got).all(|(expect, got)| agrees(expect, got))
        }
        _ => false,
    }
}

/// Whether a conversion that is not looked at here may have refused a record.
pub(crate) fn is_open(expect: &Expect) -> bool {
    match expect {
        Expect::Any => true,
        Expect::Value(_) | Expect::Unfit => false,
        Expect::Struct(members) | Expect::Map(members) => members.iter().any(|(_, member)| is_open(member)),
        Expect::List(items) => items.iter().any(is_open),
    }
}
