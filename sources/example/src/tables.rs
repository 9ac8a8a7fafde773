use headwater_connect::{ConnectorError, DataType, IngestionType, StructField, StructType, TableMetadata};

/// What the shop has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Table {
    Customers,
    Products,
    Orders,
    OrderChanges,
    Events,
    Metrics,
    Stock,
}

impl Table {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Table::Customers => "customers",
            Table::Products => "products",
            Table::Orders => "orders",
            Table::OrderChanges => "order_changes",
            Table::Events => "events",
            Table::Metrics => "metrics",
            Table::Stock => "stock",
        }
    }

    /// All tables, namespace by namespace.
    pub(crate) fn all() -> impl Iterator<Item = Table> {
        NAMESPACES.iter().flat_map(|(_, tables)| tables.iter().copied())
    }

    /// Finds a table by its name.
    ///
    /// # Errors
    /// [`ConnectorError::UnknownTable`] with the names that there are.
    pub(crate) fn find(name: &str) -> Result<Table, ConnectorError> {
        Self::all().find(|table| table.name() == name).ok_or_else(|| ConnectorError::UnknownTable {
            table: name.to_owned(),
            available: Self::all().map(|table| table.name().to_owned()).collect(),
        })
    }
}

/// The namespaces, and the tables of each.
pub(crate) const NAMESPACES: [(&str, &[Table]); 2] = [
    (
        "shop",
        &[
            Table::Customers,
            Table::Products,
            Table::Orders,
            Table::OrderChanges,
            Table::Events,
            Table::Metrics,
        ],
    ),
    ("warehouse", &[Table::Stock]),
];

fn decimal(precision: u8, scale: i8) -> DataType {
    DataType::Decimal { precision, scale }
}

fn array(element: DataType, contains_null: bool) -> DataType {
    DataType::Array { element: Box::new(element), contains_null }
}

fn map() -> DataType {
    DataType::Map {
        key: Box::new(DataType::String),
        value: Box::new(DataType::String),
        value_contains_null: true,
    }
}

fn fields(fields: Vec<StructField>) -> DataType {
    DataType::Struct(StructType::new(fields))
}

pub(crate) fn metadata(table: Table) -> TableMetadata {
    let (keys, cursor, ingestion_type): (&[&str], _, _) = match table {
        Table::Customers => (&["id"], Some("updated_at"), IngestionType::Snapshot),
        Table::Products => (&["sku"], Some("updated_at"), IngestionType::Snapshot),
        Table::Orders => (&["id"], Some("updated_at"), IngestionType::CdcWithDeletes),
        Table::OrderChanges => (&["order_id"], Some("seq"), IngestionType::Cdc),
        Table::Events => (&["id"], Some("id"), IngestionType::Append),
        Table::Metrics => (&["name", "window_start"], Some("window_start"), IngestionType::Append),
        Table::Stock => (&["warehouse", "sku"], None, IngestionType::Snapshot),
    };
    TableMetadata {
        primary_keys: keys.iter().map(|key| (*key).to_owned()).collect(),
        cursor_field: cursor.map(str::to_owned),
        ingestion_type,
    }
}

pub(crate) fn schema(table: Table) -> StructType {
    use DataType::{Binary, Boolean, Date, Double, Float, Integer, Long, Short, String, Timestamp, Variant};
    let null = |name: &str, data_type| StructField::nullable(name, data_type);
    let required = |name: &str, data_type| StructField::required(name, data_type);
    StructType::new(match table {
        Table::Customers => vec![
            required("id", Long),
            required("name", String),
            null("email", String),
            null("vip", Boolean),
            null("birthday", Date),
            null("credit_limit", decimal(12, 2)).with_comment("in euros"),
            null(
                "address",
                fields(vec![
                    null("street", String),
                    null("city", String),
                    null("geo", fields(vec![null("lat", Double), null("lon", Double)])),
                ]),
            ),
            null("tags", array(String, false)),
            null("attributes", map()),
            required("created_at", Timestamp),
            required("updated_at", Timestamp),
        ],
        Table::Products => vec![
            required("sku", String),
            required("category", String),
            required("name", String),
            null("price", decimal(10, 2)),
            null("weight_grams", Integer),
            null("rating", Float),
            null(
                "dimensions",
                fields(vec![null("width_cm", Short), null("height_cm", Short), null("depth_cm", Short)]),
            ),
            null("active", Boolean),
            null("thumbnail", Binary),
            required("updated_at", Timestamp),
        ],
        // A deletion holds `id` and `updated_at` only, so that nothing else can be required.
        Table::Orders => vec![
            required("id", Long),
            null("customer_id", Long),
            null("status", String),
            null(
                "lines",
                array(
                    fields(vec![
                        null("sku", String),
                        null("quantity", Integer),
                        null("unit_price", decimal(10, 2)),
                    ]),
                    false,
                ),
            ),
            null("total", decimal(14, 2)),
            null("express", Boolean),
            null("note", String),
            null("created_at", Timestamp),
            required("updated_at", Timestamp),
        ],
        Table::OrderChanges => vec![
            required("order_id", Long),
            required("seq", Long),
            required("status", String),
            required("changed_at", Timestamp),
        ],
        Table::Events => vec![
            required("id", Long),
            required("at", Timestamp),
            required("kind", String),
            null("visitor", Long),
            null("customer_id", Long),
            null("path", array(String, true)),
            null("payload", Variant),
        ],
        Table::Metrics => vec![
            required("name", String),
            required("window_start", Timestamp),
            required("window_end", Timestamp),
            null("count", Long),
            null("value", Double),
            null("quantiles", array(Double, true)),
            null("labels", map()),
        ],
        Table::Stock => vec![
            required("warehouse", String),
            required("sku", String),
            null("quantity", Integer),
            null("shelf", String),
            null("counted_on", Date),
        ],
    })
}
