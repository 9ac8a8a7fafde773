//! Variants in their binary form to JSON text, for people and for outputs that have no variant.

use std::io::Write;
use std::sync::Arc;

use arrow_array::builder::StringBuilder;
use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, BinaryArray, ListArray, MapArray, StructArray};
use arrow_buffer::NullBuffer;
use arrow_cast::cast;
use arrow_schema::{ArrowError, DataType as ArrowType, Field, FieldRef, Fields};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use headwater_connect::DataType;
use parquet_variant::Variant;

/// Why a column of variants has no JSON text.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VariantTextError {
    /// The column is not what its type says.
    #[error("a column of type {expected} was expected, found {found}")]
    NotThatType {
        /// The type it should have.
        expected: String,
        /// Its Arrow type.
        found: ArrowType,
    },
    /// A value is not in the binary form of a variant.
    #[error("the variant in row {row} is damaged")]
    Damaged {
        /// The row of the array, from 0.
        row: usize,
        /// What is wrong.
        #[source]
        source: ArrowError,
    },
    /// The text does not make an array.
    #[error("the text of the variants does not make a column")]
    Array {
        /// What Arrow says.
        #[source]
        source: ArrowError,
    },
}

impl From<ArrowError> for VariantTextError {
    fn from(source: ArrowError) -> Self {
        VariantTextError::Array { source }
    }
}

/// The variants of `column` (a struct of `metadata` and `value`, both binary, in any order) as a `Utf8` column of JSON
/// text, one per row; null where the row is null.
///
/// Numbers keep their digits. What JSON has no form for is a string: dates and times as ISO 8601, binary as base64, NaN and the
/// infinities by name.
///
/// # Errors
/// The column is no such struct, or a value in it is damaged.
pub fn variant_to_json(column: &ArrayRef) -> Result<ArrayRef, VariantTextError> {
    variant_text(column, None)
}

/// `column`, whose type is `data_type`, with each variant in it, at any depth, as JSON text (see [`variant_to_json`]).
/// A column without variants comes back as it is.
///
/// # Errors
/// As [`variant_to_json`].
pub fn variants_to_json(column: &ArrayRef, data_type: &DataType) -> Result<ArrayRef, VariantTextError> {
    below(column, data_type, None)
}

fn has_variant(data_type: &DataType) -> bool {
    match data_type {
        DataType::Variant => true,
        DataType::Array { element, .. } => has_variant(element),
        DataType::Map { key, value, .. } => has_variant(key) || has_variant(value),
        DataType::Struct(fields) => fields.fields.iter().any(|field| has_variant(&field.data_type)),
        _ => false,
    }
}

/// `outer` are the nulls of the structs around: what stands below them need not be valid.
fn below(
    column: &ArrayRef,
    data_type: &DataType,
    outer: Option<&NullBuffer>,
) -> Result<ArrayRef, VariantTextError> {
    if !has_variant(data_type) {
        return Ok(Arc::clone(column));
    }
    let wrong = || not_that_type(data_type, column);
    match data_type {
        DataType::Variant => variant_text(column, outer),
        DataType::Array { element, .. } => {
            let list = column.as_list_opt::<i32>().ok_or_else(wrong)?;
            let ArrowType::List(field) = list.data_type() else { return Err(wrong()) };
            let elements = below(list.values(), element, None)?;
            let field = retyped(field, &elements);
            Ok(Arc::new(ListArray::try_new(field, list.offsets().clone(), elements, list.nulls().cloned())?))
        }
        DataType::Map { key, value, .. } => {
            let map = column.as_map_opt().ok_or_else(wrong)?;
            let ArrowType::Map(field, sorted) = map.data_type() else { return Err(wrong()) };
            let entries = map.entries();
            let columns = vec![below(map.keys(), key, None)?, below(map.values(), value, None)?];
            let fields: Fields =
                entries.fields().iter().zip(&columns).map(|(field, column)| retyped(field, column)).collect();
            let entries = StructArray::try_new(fields, columns, entries.nulls().cloned())?;
            let field: FieldRef = Arc::new(Field::clone(field).with_data_type(entries.data_type().clone()));
            Ok(Arc::new(MapArray::try_new(
                field,
                map.offsets().clone(),
                entries,
                map.nulls().cloned(),
                *sorted,
            )?))
        }
        DataType::Struct(inner) => {
            let object = column.as_struct_opt().ok_or_else(wrong)?;
            let nulls = NullBuffer::union(object.nulls(), outer);
            let mut columns = Vec::with_capacity(object.num_columns());
            for (field, column) in object.fields().iter().zip(object.columns()) {
                columns.push(match inner.field(field.name()) {
                    Some(inner) => below(column, &inner.data_type, nulls.as_ref())?,
                    None => Arc::clone(column),
                });
            }
            let fields: Fields =
                object.fields().iter().zip(&columns).map(|(field, column)| retyped(field, column)).collect();
            let nulls = object.nulls().cloned();
            Ok(Arc::new(StructArray::try_new_with_length(fields, columns, nulls, object.len())?))
        }
        _ => Err(wrong()),
    }
}

/// The field, with the type of `column`.
fn retyped(field: &Field, column: &ArrayRef) -> FieldRef {
    Arc::new(field.clone().with_data_type(column.data_type().clone()))
}

fn not_that_type(expected: &DataType, found: &ArrayRef) -> VariantTextError {
    VariantTextError::NotThatType { expected: expected.to_string(), found: found.data_type().clone() }
}

fn variant_text(column: &ArrayRef, outer: Option<&NullBuffer>) -> Result<ArrayRef, VariantTextError> {
    let wrong = || not_that_type(&DataType::Variant, column);
    let pair = column.as_struct_opt().ok_or_else(wrong)?;
    let binary = |name: &str| match pair.column_by_name(name) {
        Some(column) if pair.num_columns() == 2 => match column.data_type() {
            ArrowType::Binary | ArrowType::LargeBinary | ArrowType::BinaryView => {
                Ok(cast(column, &ArrowType::Binary)?)
            }
            _ => Err(wrong()),
        },
        _ => Err(wrong()),
    };
    let (metadata, value) = (binary("metadata")?, binary("value")?);
    let (metadata, value): (&BinaryArray, &BinaryArray) = (metadata.as_binary(), value.as_binary());
    let nulls = NullBuffer::union(pair.nulls(), outer);
    let mut out = StringBuilder::with_capacity(pair.len(), value.value_data().len() * 2);
    let mut json = Vec::new();
    for row in 0..pair.len() {
        if nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
            out.append_null();
            continue;
        }
        // The check bounds the depth of the recursion in `write_json`.
        Variant::try_new(metadata.value(row), value.value(row))
            .and_then(|variant| {
                json.clear();
                write_json(&variant, &mut json)?;
                out.append_value(std::str::from_utf8(&json)?);
                Ok(())
            })
            .map_err(|source| VariantTextError::Damaged { row, source })?;
    }
    Ok(Arc::new(out.finish()))
}

fn write_json(variant: &Variant<'_, '_>, out: &mut impl Write) -> Result<(), ArrowError> {
    match variant {
        Variant::Null => out.write_all(b"null")?,
        Variant::BooleanTrue => out.write_all(b"true")?,
        Variant::BooleanFalse => out.write_all(b"false")?,
        Variant::Int8(value) => write!(out, "{value}")?,
        Variant::Int16(value) => write!(out, "{value}")?,
        Variant::Int32(value) => write!(out, "{value}")?,
        Variant::Int64(value) => write!(out, "{value}")?,
        Variant::Float(value) if value.is_finite() => write!(out, "{value:?}")?,
        Variant::Float(value) => write_float_name(f64::from(*value), out)?,
        Variant::Double(value) if value.is_finite() => write!(out, "{value:?}")?,
        Variant::Double(value) => write_float_name(*value, out)?,
        Variant::Decimal4(value) => write!(out, "{value}")?,
        Variant::Decimal8(value) => write!(out, "{value}")?,
        Variant::Decimal16(value) => write!(out, "{value}")?,
        Variant::Date(date) => write!(out, "\"{date}\"")?,
        Variant::Time(time) => write!(out, "\"{time}\"")?,
        Variant::TimestampMicros(at) | Variant::TimestampNanos(at) => {
            write!(out, "\"{:?}Z\"", at.naive_utc())?;
        }
        Variant::TimestampNtzMicros(at) | Variant::TimestampNtzNanos(at) => write!(out, "\"{at:?}\"")?,
        Variant::Uuid(uuid) => write!(out, "\"{uuid}\"")?,
        Variant::Binary(bytes) => write!(out, "\"{}\"", STANDARD.encode(bytes))?,
        Variant::String(text) => write_quoted(text, out)?,
        Variant::ShortString(text) => write_quoted(text.as_str(), out)?,
        Variant::List(list) => {
            for (i, element) in list.iter_try().enumerate() {
                out.write_all(if i == 0 { b"[" } else { b"," })?;
                write_json(&element?, out)?;
            }
            out.write_all(if list.is_empty() { b"[]" } else { b"]" as &[u8] })?;
        }
        Variant::Object(object) => {
            for (i, member) in object.iter_try().enumerate() {
                let (key, value) = member?;
                out.write_all(if i == 0 { b"{" } else { b"," })?;
                write_quoted(key, out)?;
                out.write_all(b":")?;
                write_json(&value, out)?;
            }
            out.write_all(if object.is_empty() { b"{}" } else { b"}" as &[u8] })?;
        }
    }
    Ok(())
}

fn write_float_name(value: f64, out: &mut impl Write) -> std::io::Result<()> {
    out.write_all(match value {
        _ if value.is_nan() => b"\"NaN\"" as &[u8],
        _ if value > 0.0 => b"\"Infinity\"",
        _ => b"\"-Infinity\"",
    })
}

fn write_quoted(text: &str, out: &mut impl Write) -> Result<(), ArrowError> {
    serde_json::to_writer(out, text).map_err(|error| ArrowError::InvalidArgumentError(error.to_string()))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::cast::AsArray;
    use arrow_array::{Array, ArrayRef, BinaryArray, StructArray};
    use arrow_schema::{DataType as ArrowType, Field};
    use headwater_connect::{DataType, Page, StructField, StructType};
    use parquet_variant::{Variant, VariantBuilder};

    use super::{VariantTextError, variant_to_json, variants_to_json};
    use crate::{DecodeOptions, Decoder};

    fn decoded(data_type: &DataType, records: &str) -> ArrayRef {
        let schema = StructType::new([StructField::nullable("v", data_type.clone())]);
        let mut decoder = Decoder::new(&schema, DecodeOptions::default()).unwrap();
        decoder.push(&Page::json_array(records.to_owned().into_bytes())).unwrap();
        decoder.finish().unwrap().unwrap().column(0).clone()
    }

    #[test]
    fn json_comes_back_as_it_went_in() {
        let check = |json: &str, expect: &str| {
            let column = decoded(&DataType::Variant, &format!(r#"[{{"v":{json}}}]"#));
            let text = variant_to_json(&column).unwrap();
            assert_eq!(text.as_string::<i32>().value(0), expect, "{json}");
            serde_json::from_str::<serde_json::Value>(expect).unwrap();
        };
        for json in [
            "true",
            "false",
            "0",
            "-128",
            "32767",
            "-2147483648",
            "9223372036854775807",
            "-0.5",
            "123456789.25",
            "0.00000000000000000000000000000000000001",
            "[]",
            "{}",
            r#"[1,[2,null],{"a":"x"}]"#,
            r#"{"a":{"b":[]},"z":1.5}"#,
            r#"{"quote\"d":"line\nbreak \\ é 日本 😀"}"#,
        ] {
            check(json, json);
        }
        check(r#""[1, 2]""#, "[1,2]");
        check(r#""\"text\"""#, "\"text\"");
        check(r#""null""#, "null");
        check("1e300", "1e300");
        check("[ 1 , {\"b\":1, \"a\":2} ]", r#"[1,{"a":2,"b":1}]"#);
        check(r#""[NaN,-Infinity,Infinity]""#, r#"["NaN","-Infinity","Infinity"]"#);
    }

    fn built(append: impl FnOnce(&mut VariantBuilder)) -> (Vec<u8>, Vec<u8>) {
        let mut builder = VariantBuilder::new();
        append(&mut builder);
        builder.finish()
    }

    fn column(rows: &[(Vec<u8>, Vec<u8>)]) -> ArrayRef {
        let binary = |name: &str| Arc::new(Field::new(name, ArrowType::Binary, false));
        let metadata: BinaryArray = rows.iter().map(|(metadata, _)| Some(metadata)).collect();
        let value: BinaryArray = rows.iter().map(|(_, value)| Some(value)).collect();
        Arc::new(StructArray::from(vec![
            (binary("value"), Arc::new(value) as ArrayRef),
            (binary("metadata"), Arc::new(metadata) as ArrayRef),
        ]))
    }

    #[test]
    fn values_that_json_has_no_form_for_are_strings() {
        let at = chrono::DateTime::from_timestamp(1_700_000_000, 250_000_000).unwrap();
        let check = |variant: Variant<'_, '_>, expect: &str| {
            let array = column(&[built(|builder| builder.append_value(variant))]);
            assert_eq!(variant_to_json(&array).unwrap().as_string::<i32>().value(0), expect);
        };
        check(Variant::from(at), "\"2023-11-14T22:13:20.250Z\"");
        check(Variant::from(at.naive_utc()), "\"2023-11-14T22:13:20.250\"");
        check(Variant::from(at.date_naive()), "\"2023-11-14\"");
        check(Variant::from(&[0u8, 255, 7][..]), "\"AP8H\"");
        check(Variant::from(0.1f32), "0.1");
        check(Variant::from(f32::NAN), "\"NaN\"");
        check(Variant::from(1e16), "1e16");
        check(Variant::from(3.0), "3.0");
    }

    #[test]
    fn null_rows_are_null_and_nested_variants_are_found() {
        let text = DataType::from_json(
            &serde_json::json!({"type": "array", "containsNull": true, "elementType": {"type": "struct", "fields": [
                {"name": "n", "type": "long", "nullable": true, "metadata": {}},
                {"name": "v", "type": {"type": "map", "keyType": "string", "valueType": "variant", "valueContainsNull": true},
                 "nullable": true, "metadata": {}},
            ]}}),
        )
        .unwrap();
        let array = decoded(&text, r#"[{"v":[{"n":1,"v":{"k":[1,"x"],"l":null}},null,{"n":2}]},{"v":null}]"#);
        let text = variants_to_json(&array, &text).unwrap();
        assert_eq!((text.len(), text.null_count()), (2, 1));
        let elements = text.as_list::<i32>().values().clone();
        let maps = elements.as_struct().column_by_name("v").unwrap().clone();
        let values = maps.as_map().values().as_string::<i32>().clone();
        assert_eq!(values.iter().collect::<Vec<_>>(), [Some(r#"[1,"x"]"#), None]);

        let array = decoded(&DataType::Variant, r#"[{"v":null},{"v":"1"},{}]"#);
        let text = variant_to_json(&array).unwrap();
        assert_eq!(text.as_string::<i32>().iter().collect::<Vec<_>>(), [None, Some("1"), None]);
    }

    #[test]
    fn what_is_no_variant_is_an_error_that_names_the_row() {
        let good = built(|builder| builder.append_value("x"));
        let check = |bad: (Vec<u8>, Vec<u8>)| {
            let error = variant_to_json(&column(&[good.clone(), bad])).unwrap_err();
            assert!(matches!(error, VariantTextError::Damaged { row: 1, .. }), "{error:?}");
        };
        check((vec![], vec![]));
        check((good.0.clone(), vec![]));
        check((good.0.clone(), good.1[..1].to_vec()));
        check((vec![0xff; 3], good.1.clone()));
        // Lists in lists, one element each, as deep as they come: header, count, two offsets, the element.
        let mut deep = vec![0];
        for _ in 0..20_000 {
            let size = u32::try_from(deep.len()).unwrap().to_le_bytes();
            let head = [&[0b0000_1111, 1, 0, 0, 0, 0][..], &size].concat();
            deep.splice(0..0, head);
        }
        check((good.0.clone(), deep));

        let text = decoded(&DataType::String, r#"[{"v":"x"}]"#);
        let error = variants_to_json(&text, &DataType::Variant).unwrap_err();
        assert_eq!(error.to_string(), "a column of type variant was expected, found Utf8");
    }
}
