//! The columns of each table, as the REST API (version 2022-11-28) documents its records.

mod parts;
mod tables;

use headwater_connect::{DataType, StructField, StructType};

use crate::tables::Table;

/// Columns of one type: their names, with blanks between them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Columns {
    names: &'static str,
    kind: Kind,
    required: bool,
    comment: Option<&'static str>,
}

/// The type of a column.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    Text,
    Long,
    Flag,
    Time,
    /// Anything, as JSON text.
    Json,
    /// An object whose members are texts under names of its own.
    Texts,
    Struct(&'static [Columns]),
    List(&'static Kind),
}

/// Columns that may be null.
const fn cols(names: &'static str, kind: Kind) -> Columns {
    Columns { names, kind, required: false, comment: None }
}

/// Columns that are never null: keys and cursors.
const fn keys(names: &'static str, kind: Kind) -> Columns {
    Columns { names, kind, required: true, comment: None }
}

impl Columns {
    const fn note(self, comment: &'static str) -> Self {
        Self { comment: Some(comment), ..self }
    }

    fn fields(&self) -> impl Iterator<Item = StructField> {
        self.names.split_ascii_whitespace().map(|name| {
            let field = StructField {
                nullable: !self.required,
                ..StructField::nullable(name, self.kind.data_type())
            };
            match self.comment {
                Some(comment) => field.with_comment(comment),
                None => field,
            }
        })
    }
}

impl Kind {
    fn data_type(self) -> DataType {
        match self {
            Kind::Text | Kind::Json => DataType::String,
            Kind::Long => DataType::Long,
            Kind::Flag => DataType::Boolean,
            Kind::Time => DataType::Timestamp,
            Kind::Texts => DataType::Map {
                key: Box::new(DataType::String),
                value: Box::new(DataType::String),
                value_contains_null: true,
            },
            Kind::Struct(columns) => DataType::Struct(struct_type(columns)),
            Kind::List(element) => {
                DataType::Array { element: Box::new(element.data_type()), contains_null: true }
            }
        }
    }
}

fn struct_type(columns: &[Columns]) -> StructType {
    StructType::new(columns.iter().flat_map(Columns::fields))
}

/// The schema of a table.
pub(crate) fn of(table: Table) -> StructType {
    struct_type(tables::columns(table))
}

#[cfg(test)]
mod tests {
    use super::of;
    use crate::tables::Table;

    #[test]
    fn schemas_and_metadata_keep_the_rules_of_the_contract() {
        for table in Table::ALL {
            let schema = of(table);
            schema.check().unwrap();
            let metadata = table.metadata();
            for column in metadata.primary_keys.iter().chain(&metadata.cursor_field) {
                assert!(!schema.field(column).unwrap().nullable, "{} {column}", table.name());
            }
            assert_eq!(Table::from_name(table.name()).unwrap(), table);
        }
        assert!(Table::from_name("Issues").is_err());
    }
}
