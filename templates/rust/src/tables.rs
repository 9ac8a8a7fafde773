use headwater_connect::{ConnectorError, DataType, IngestionType, StructField, StructType, TableMetadata};

/// The tables of the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Table {
    Items,
    Categories,
}

impl Table {
    pub(crate) const ALL: [Table; 2] = [Table::Items, Table::Categories];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Table::Items => "items",
            Table::Categories => "categories",
        }
    }

    /// Finds a table by its name.
    ///
    /// # Errors
    /// [`ConnectorError::UnknownTable`] with the names that there are.
    pub(crate) fn find(name: &str) -> Result<Table, ConnectorError> {
        Self::ALL.into_iter().find(|table| table.name() == name).ok_or_else(|| ConnectorError::UnknownTable {
            table: name.to_owned(),
            available: Self::ALL.iter().map(|table| table.name().to_owned()).collect(),
        })
    }

    /// The columns, with the names that the source uses.
    pub(crate) fn schema(self) -> StructType {
        let text = |name: &str| StructField::nullable(name, DataType::String);
        let number = |name: &str| StructField::nullable(name, DataType::Long);
        let time = |name: &str| StructField::nullable(name, DataType::Timestamp);
        let key = StructField::required("id", DataType::Long);
        let tags = DataType::Array { element: Box::new(DataType::String), contains_null: true };
        let owner = DataType::Struct(StructType::new([number("id"), text("name")]));
        match self {
            Table::Items => StructType::new([
                key,
                text("name"),
                number("category_id"),
                StructField::nullable("tags", tags),
                StructField::nullable("owner", owner),
                time("created_at"),
                StructField::required("updated_at", DataType::Timestamp),
            ]),
            Table::Categories => StructType::new([key, text("name"), text("description")]),
        }
    }

    pub(crate) fn metadata(self) -> TableMetadata {
        let (cursor_field, ingestion_type) = match self {
            Table::Items => (Some("updated_at".to_owned()), IngestionType::Cdc),
            Table::Categories => (None, IngestionType::Snapshot),
        };
        TableMetadata { primary_keys: vec!["id".into()], cursor_field, ingestion_type }
    }
}
