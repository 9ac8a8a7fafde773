use headwater_connect::SchemaError;

/// Why a page cannot be decoded. Nothing of such a page stays in the columns.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The schema itself cannot be decoded into.
    #[error("the schema cannot be used")]
    Schema {
        /// Why.
        #[source]
        source: SchemaError,
    },
    /// The page is not JSON (or not UTF-8).
    #[error("malformed JSON at byte {offset}{}: {reason}", in_record(.record))]
    Malformed {
        /// Where in the page, from 0.
        offset: usize,
        /// In which record, from 0; none outside the records.
        record: Option<u64>,
        /// What is wrong there.
        reason: String,
    },
    /// The page holds no records where they should be.
    #[error("no records at `{pointer}`: {reason}")]
    NoRecords {
        /// Where they should be, as a JSON pointer.
        pointer: String,
        /// What is there instead.
        reason: String,
    },
    /// A record does not fit the schema.
    #[error(
        "record {record} at byte {offset} does not fit column `{column}`: {reason}{}",
        shown_value(.value)
    )]
    Unfit {
        /// Which record of the page, from 0.
        record: u64,
        /// Where in the page the value is, from 0.
        offset: usize,
        /// Path of the column, such as `user.id`; empty where the record itself is not an object.
        column: String,
        /// The value, cut short; empty where it is missing.
        value: String,
        /// What is wrong.
        reason: String,
    },
    /// An Arrow page whose columns are not those of the schema.
    #[error("column `{column}` of the Arrow page {reason}")]
    ArrowColumn {
        /// The column.
        column: String,
        /// What is wrong, as the end of a sentence that starts with the column.
        reason: String,
    },
    /// More than one Arrow array can hold.
    #[error("column `{column}` is larger than one batch can hold")]
    TooLarge {
        /// Path of the column.
        column: String,
    },
    /// The columns do not make a batch: a defect of the decoder.
    #[error("the columns do not make a batch")]
    Batch {
        /// What Arrow says.
        #[source]
        source: arrow_schema::ArrowError,
    },
}

impl DecodeError {
    /// Says what to change, where that is known.
    pub fn hint(&self) -> Option<String> {
        match self {
            DecodeError::Unfit { column, .. } if column.is_empty() => {
                Some("records must be JSON objects; check where the connector says the records are".into())
            }
            DecodeError::Unfit { column, .. } => Some(format!(
                "change the type of `{column}`, or set `on_bad_record` to `quarantine` or `null` in the table's configuration"
            )),
            DecodeError::Malformed { .. } => Some(
                "the source sent a cut or damaged body; read again, and report it to the source if it stays"
                    .into(),
            ),
            DecodeError::NoRecords { .. } => {
                Some("check the place of the records against an answer of the source".into())
            }
            DecodeError::ArrowColumn { .. } => {
                Some("Arrow pages must have the types that the table's schema declares".into())
            }
            DecodeError::TooLarge { .. } => Some("send smaller pages".into()),
            DecodeError::Schema { .. } | DecodeError::Batch { .. } => None,
        }
    }
}

fn in_record(record: &Option<u64>) -> String {
    record.map(|r| format!(" in record {r}")).unwrap_or_default()
}

fn shown_value(value: &str) -> String {
    if value.is_empty() { String::new() } else { format!(": {value}") }
}
