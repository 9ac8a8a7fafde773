use std::fmt;

use serde::{Deserialize, Serialize};

/// How the records of a table reach the lake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IngestionType {
    /// Read whole at each update.
    Snapshot,
    /// Changed records since an offset.
    Cdc,
    /// Changed records since an offset, and deleted ones since an offset of their own.
    CdcWithDeletes,
    /// New records since an offset; a record never changes.
    Append,
}

impl IngestionType {
    /// All of them, in the order of the documentation.
    pub const ALL: [IngestionType; 4] =
        [IngestionType::Snapshot, IngestionType::Cdc, IngestionType::CdcWithDeletes, IngestionType::Append];

    /// The name that connectors and specs use.
    pub fn as_str(self) -> &'static str {
        match self {
            IngestionType::Snapshot => "snapshot",
            IngestionType::Cdc => "cdc",
            IngestionType::CdcWithDeletes => "cdc_with_deletes",
            IngestionType::Append => "append",
        }
    }

    /// Says whether the table is read by offset (`{}` first) rather than whole (`None` first).
    pub fn is_stream(self) -> bool {
        self != IngestionType::Snapshot
    }
}

impl fmt::Display for IngestionType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What [`Connector::read_table_metadata`](crate::Connector::read_table_metadata) gives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableMetadata {
    /// Columns that together name a record. Empty where the table has none.
    #[serde(default)]
    pub primary_keys: Vec<String>,
    /// Column that orders the changes of a record; the default of `sequence_by`.
    #[serde(default)]
    pub cursor_field: Option<String>,
    /// How the table is ingested.
    pub ingestion_type: IngestionType,
}
