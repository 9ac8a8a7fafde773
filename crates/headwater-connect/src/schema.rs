use std::collections::HashSet;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use arrow_schema as arrow;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value, json};

/// Why a schema cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SchemaError {
    /// Not a type name that Spark's JSON form has.
    #[error("`{name}` is not a column type")]
    UnknownType {
        /// What stood there.
        name: String,
    },
    /// The JSON has another shape.
    #[error("a schema needs {expected}, found {found}")]
    Shape {
        /// What was expected, with where.
        expected: String,
        /// What stood there, cut short.
        found: String,
    },
    /// A decimal outside 1..=38 digits, or with more digits behind the point than there are.
    #[error("decimal({precision},{scale}) is not possible: precision is 1 to 38, scale 0 to the precision")]
    Decimal {
        /// Digits in all.
        precision: u8,
        /// Digits behind the point.
        scale: i8,
    },
    /// Two fields of a struct whose names are equal without regard to case.
    #[error("field `{name}` stands twice (names are compared without regard to case)")]
    Duplicate {
        /// The later of the two.
        name: String,
    },
    /// No field at all.
    #[error("a schema needs at least one field")]
    Empty,
}

/// The type of a column.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are Spark's")]
pub enum DataType {
    Null,
    String,
    Char(u32),
    Varchar(u32),
    Byte,
    Short,
    Integer,
    Long,
    Float,
    Double,
    Decimal { precision: u8, scale: i8 },
    Boolean,
    Date,
    Timestamp,
    TimestampNtz,
    Binary,
    Variant,
    Array { element: Box<DataType>, contains_null: bool },
    Map { key: Box<DataType>, value: Box<DataType>, value_contains_null: bool },
    Struct(StructType),
}

/// A column: name, type, and whether it may be null.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StructField {
    /// The name, in the source's spelling.
    pub name: String,
    /// The type.
    pub data_type: DataType,
    /// Whether null is allowed.
    pub nullable: bool,
    /// Anything else that travels with the column, such as `comment`.
    pub metadata: Map<String, Value>,
}

impl StructField {
    /// A column that may be null.
    pub fn nullable(name: impl Into<String>, data_type: DataType) -> Self {
        Self { name: name.into(), data_type, nullable: true, metadata: Map::new() }
    }

    /// A column that is never null.
    pub fn required(name: impl Into<String>, data_type: DataType) -> Self {
        Self { nullable: false, ..Self::nullable(name, data_type) }
    }

    /// The same column with a comment.
    #[must_use]
    pub fn with_comment(mut self, comment: impl Into<String>) -> Self {
        self.metadata.insert("comment".into(), Value::String(comment.into()));
        self
    }

    /// The Arrow field that holds this column.
    pub fn to_arrow(&self) -> arrow::Field {
        arrow::Field::new(&self.name, self.data_type.to_arrow(), self.nullable)
    }
}

/// The columns of a table, or the fields of a struct.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StructType {
    /// In order.
    pub fields: Vec<StructField>,
}

impl StructType {
    /// Takes fields as they are; see [`StructType::check`].
    pub fn new(fields: impl IntoIterator<Item = StructField>) -> Self {
        Self { fields: fields.into_iter().collect() }
    }

    /// Finds a field by its exact name.
    pub fn field(&self, name: &str) -> Option<&StructField> {
        self.fields.iter().find(|f| f.name == name)
    }

    /// Finds a field without regard to ASCII case.
    pub fn field_ignore_case(&self, name: &str) -> Option<&StructField> {
        self.fields.iter().find(|f| f.name.eq_ignore_ascii_case(name))
    }

    /// Checks rule R3 and the ranges of decimals, at every depth.
    ///
    /// # Errors
    /// The first breach.
    pub fn check(&self) -> Result<(), SchemaError> {
        if self.fields.is_empty() {
            return Err(SchemaError::Empty);
        }
        self.check_fields()
    }

    fn check_fields(&self) -> Result<(), SchemaError> {
        let mut seen = HashSet::new();
        for field in &self.fields {
            if !seen.insert(field.name.to_lowercase()) {
                return Err(SchemaError::Duplicate { name: field.name.clone() });
            }
            field.data_type.check()?;
        }
        Ok(())
    }

    /// The Arrow schema of record batches with these columns.
    pub fn to_arrow(&self) -> arrow::SchemaRef {
        Arc::new(arrow::Schema::new(self.fields.iter().map(StructField::to_arrow).collect::<Vec<_>>()))
    }

    /// Spark's JSON form: `{"type":"struct","fields":[…]}`.
    pub fn to_json(&self) -> Value {
        let fields = self.fields.iter().map(|f| {
            json!({"name": f.name, "type": f.data_type.to_json(), "nullable": f.nullable, "metadata": f.metadata})
        });
        json!({"type": "struct", "fields": fields.collect::<Vec<_>>()})
    }

    /// Reads Spark's JSON form.
    ///
    /// # Errors
    /// Another shape, an unknown type, a decimal out of range, or nesting deeper than 64 levels.
    pub fn from_json(json: &Value) -> Result<Self, SchemaError> {
        match DataType::from_json_at(json, 0)? {
            DataType::Struct(fields) => Ok(fields),
            other => {
                Err(SchemaError::Shape { expected: "a struct at the top".into(), found: other.to_string() })
            }
        }
    }
}

impl DataType {
    fn check(&self) -> Result<(), SchemaError> {
        match self {
            DataType::Decimal { precision, scale } => {
                let fits =
                    (1..=38).contains(precision) && u8::try_from(*scale).is_ok_and(|s| s <= *precision);
                if fits { Ok(()) } else { Err(SchemaError::Decimal { precision: *precision, scale: *scale }) }
            }
            DataType::Array { element, .. } => element.check(),
            DataType::Map { key, value, .. } => key.check().and_then(|()| value.check()),
            DataType::Struct(fields) => fields.check_fields(),
            _ => Ok(()),
        }
    }

    /// The Arrow type that holds this column. Names of nested fields are those that Parquet prescribes
    /// (`element`, `key_value`, `key`, `value`); a variant is its unshredded binary form.
    pub fn to_arrow(&self) -> arrow::DataType {
        use arrow::DataType as A;
        match self {
            DataType::Null => A::Null,
            DataType::String | DataType::Char(_) | DataType::Varchar(_) => A::Utf8,
            DataType::Byte => A::Int8,
            DataType::Short => A::Int16,
            DataType::Integer => A::Int32,
            DataType::Long => A::Int64,
            DataType::Float => A::Float32,
            DataType::Double => A::Float64,
            DataType::Decimal { precision, scale } => A::Decimal128(*precision, *scale),
            DataType::Boolean => A::Boolean,
            DataType::Date => A::Date32,
            DataType::Timestamp => A::Timestamp(arrow::TimeUnit::Microsecond, Some("UTC".into())),
            DataType::TimestampNtz => A::Timestamp(arrow::TimeUnit::Microsecond, None),
            DataType::Binary => A::Binary,
            DataType::Variant => A::Struct(
                vec![
                    arrow::Field::new("metadata", A::Binary, false),
                    arrow::Field::new("value", A::Binary, false),
                ]
                .into(),
            ),
            DataType::Array { element, contains_null } => {
                A::List(Arc::new(arrow::Field::new("element", element.to_arrow(), *contains_null)))
            }
            DataType::Map { key, value, value_contains_null } => {
                let entries = vec![
                    arrow::Field::new("key", key.to_arrow(), false),
                    arrow::Field::new("value", value.to_arrow(), *value_contains_null),
                ];
                A::Map(Arc::new(arrow::Field::new("key_value", A::Struct(entries.into()), false)), false)
            }
            DataType::Struct(fields) => {
                A::Struct(fields.fields.iter().map(StructField::to_arrow).collect::<Vec<_>>().into())
            }
        }
    }

    /// Spark's JSON form: a name, or an object for nested types.
    pub fn to_json(&self) -> Value {
        match self {
            DataType::Array { element, contains_null } => {
                json!({"type": "array", "elementType": element.to_json(), "containsNull": contains_null})
            }
            DataType::Map { key, value, value_contains_null } => json!({
                "type": "map",
                "keyType": key.to_json(),
                "valueType": value.to_json(),
                "valueContainsNull": value_contains_null,
            }),
            DataType::Struct(fields) => fields.to_json(),
            simple => Value::String(simple.to_string()),
        }
    }

    /// Reads Spark's JSON form.
    ///
    /// # Errors
    /// As [`StructType::from_json`].
    pub fn from_json(json: &Value) -> Result<Self, SchemaError> {
        Self::from_json_at(json, 0)
    }

    fn from_json_at(json: &Value, depth: usize) -> Result<Self, SchemaError> {
        if depth > 64 {
            return Err(shape("at most 64 levels of nesting", json));
        }
        let object = match json {
            Value::String(name) => return name.parse(),
            Value::Object(object) => object,
            other => return Err(shape("a type name or an object", other)),
        };
        let nested = |name: &str| match object.get(name) {
            Some(inner) => Self::from_json_at(inner, depth + 1).map(Box::new),
            None => Err(shape(&format!("`{name}` in {}", object.get("type").unwrap_or(&Value::Null)), json)),
        };
        let flag = |name: &str| object.get(name).and_then(Value::as_bool).unwrap_or(true);
        match object.get("type").and_then(Value::as_str) {
            Some("array") => {
                Ok(DataType::Array { element: nested("elementType")?, contains_null: flag("containsNull") })
            }
            Some("map") => Ok(DataType::Map {
                key: nested("keyType")?,
                value: nested("valueType")?,
                value_contains_null: flag("valueContainsNull"),
            }),
            Some("struct") => {
                let Some(Value::Array(fields)) = object.get("fields") else {
                    return Err(shape("`fields` in a struct", json));
                };
                let fields =
                    fields.iter().map(|f| field_from_json(f, depth)).collect::<Result<Vec<_>, _>>()?;
                Ok(DataType::Struct(StructType { fields }))
            }
            _ => Err(shape("`type` to be array, map or struct", json)),
        }
    }
}

fn field_from_json(json: &Value, depth: usize) -> Result<StructField, SchemaError> {
    let (Some(name), Some(data_type)) = (json.get("name").and_then(Value::as_str), json.get("type")) else {
        return Err(shape("`name` and `type` in a field", json));
    };
    Ok(StructField {
        name: name.to_owned(),
        data_type: DataType::from_json_at(data_type, depth + 1)?,
        nullable: json.get("nullable").and_then(Value::as_bool).unwrap_or(true),
        metadata: json.get("metadata").and_then(Value::as_object).cloned().unwrap_or_default(),
    })
}

fn shape(expected: &str, found: &Value) -> SchemaError {
    let text: String = found.to_string().chars().take(80).collect();
    SchemaError::Shape { expected: expected.to_owned(), found: text }
}

impl FromStr for DataType {
    type Err = SchemaError;

    /// Reads the name of a type that is not nested, as `long`, `decimal(10,2)`, `varchar(20)`.
    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let unknown = || SchemaError::UnknownType { name: name.to_owned() };
        let (base, arguments) = match name.split_once('(') {
            Some((base, rest)) => (base.trim(), rest.strip_suffix(')').ok_or_else(unknown)?),
            None => (name, ""),
        };
        let numbers = arguments.split(',').map(|n| n.trim().parse::<u32>().ok()).collect::<Vec<_>>();
        Ok(match (base, numbers.as_slice()) {
            ("null" | "void", [None]) => DataType::Null,
            ("string", [None]) => DataType::String,
            ("byte" | "tinyint", [None]) => DataType::Byte,
            ("short" | "smallint", [None]) => DataType::Short,
            ("integer" | "int", [None]) => DataType::Integer,
            ("long" | "bigint", [None]) => DataType::Long,
            ("float", [None]) => DataType::Float,
            ("double", [None]) => DataType::Double,
            ("boolean", [None]) => DataType::Boolean,
            ("date", [None]) => DataType::Date,
            ("timestamp", [None]) => DataType::Timestamp,
            ("timestamp_ntz", [None]) => DataType::TimestampNtz,
            ("binary", [None]) => DataType::Binary,
            ("variant", [None]) => DataType::Variant,
            ("decimal", [None]) if arguments.is_empty() => DataType::Decimal { precision: 10, scale: 0 },
            ("char", [Some(length)]) => DataType::Char(*length),
            ("varchar", [Some(length)]) => DataType::Varchar(*length),
            ("decimal", [Some(precision)]) => decimal(*precision, 0).ok_or_else(unknown)?,
            ("decimal", [Some(precision), Some(scale)]) => decimal(*precision, *scale).ok_or_else(unknown)?,
            _ => return Err(unknown()),
        })
    }
}

fn decimal(precision: u32, scale: u32) -> Option<DataType> {
    Some(DataType::Decimal { precision: precision.try_into().ok()?, scale: scale.try_into().ok()? })
        .filter(|t| t.check().is_ok())
}

impl fmt::Display for DataType {
    /// The name of the type; nested types as in SQL (`array<string>`).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            DataType::Null => "void",
            DataType::String => "string",
            DataType::Char(length) => return write!(f, "char({length})"),
            DataType::Varchar(length) => return write!(f, "varchar({length})"),
            DataType::Byte => "byte",
            DataType::Short => "short",
            DataType::Integer => "integer",
            DataType::Long => "long",
            DataType::Float => "float",
            DataType::Double => "double",
            DataType::Decimal { precision, scale } => return write!(f, "decimal({precision},{scale})"),
            DataType::Boolean => "boolean",
            DataType::Date => "date",
            DataType::Timestamp => "timestamp",
            DataType::TimestampNtz => "timestamp_ntz",
            DataType::Binary => "binary",
            DataType::Variant => "variant",
            DataType::Array { element, .. } => return write!(f, "array<{element}>"),
            DataType::Map { key, value, .. } => return write!(f, "map<{key},{value}>"),
            DataType::Struct(fields) => {
                f.write_str("struct<")?;
                for (i, field) in fields.fields.iter().enumerate() {
                    let comma = if i == 0 { "" } else { "," };
                    write!(f, "{comma}{}:{}", field.name, field.data_type)?;
                }
                return f.write_str(">");
            }
        };
        f.write_str(name)
    }
}

impl Serialize for StructType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_json().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for StructType {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let json = Value::deserialize(deserializer)?;
        StructType::from_json(&json).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{DataType, SchemaError, StructField, StructType};

    fn nested() -> StructType {
        let point = StructType::new([
            StructField::required("x", DataType::Double),
            StructField::nullable("d", DataType::Decimal { precision: 38, scale: 10 }).with_comment("exact"),
        ]);
        StructType::new([
            StructField::required("id", DataType::Long),
            StructField::nullable(
                "points",
                DataType::Array { element: Box::new(DataType::Struct(point)), contains_null: false },
            ),
            StructField::nullable(
                "labels",
                DataType::Map {
                    key: Box::new(DataType::String),
                    value: Box::new(DataType::Variant),
                    value_contains_null: true,
                },
            ),
            StructField::nullable("code", DataType::Varchar(20)),
        ])
    }

    #[test]
    fn sparks_json_form_is_read_back_as_it_was_written() {
        let schema = nested();
        assert_eq!(StructType::from_json(&schema.to_json()).unwrap(), schema);
        assert_eq!(
            schema.to_json()["fields"][0],
            json!({"name": "id", "type": "long", "nullable": false, "metadata": {}})
        );
        assert_eq!(schema.to_json()["fields"][3]["type"], json!("varchar(20)"));
    }

    #[test]
    fn types_that_cannot_be_are_errors_that_name_them() {
        let check = |name: &str| name.parse::<DataType>().unwrap_err();
        assert_eq!(check("strnig"), SchemaError::UnknownType { name: "strnig".into() });
        for name in ["decimal(39,1)", "decimal(5,6)", "decimal(5", "varchar", "long(3)", "", "decimal(1,2,3)"]
        {
            assert_eq!(check(name), SchemaError::UnknownType { name: name.into() });
        }
        let deep = (0..100).fold(json!("long"), |inner, _| json!({"type": "array", "elementType": inner}));
        assert!(DataType::from_json(&deep).is_err());
    }

    #[test]
    fn two_names_that_differ_in_case_only_are_refused() {
        let schema = StructType::new([
            StructField::nullable("Id", DataType::Long),
            StructField::nullable("iD", DataType::Long),
        ]);
        assert_eq!(schema.check(), Err(SchemaError::Duplicate { name: "iD".into() }));
        assert_eq!(StructType::default().check(), Err(SchemaError::Empty));
    }

    #[test]
    fn arrow_types_have_the_names_that_parquet_prescribes() {
        let schema = nested().to_arrow();
        let shown = format!("{:?}", schema.field(1).data_type());
        assert!(shown.contains("element"), "{shown}");
        assert!(format!("{:?}", schema.field(2).data_type()).contains("key_value"));
    }
}
