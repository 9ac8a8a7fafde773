use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use headwater_connect::{BoxError, ConnectorError, Retry, SchemaError};
use headwater_decode::{DecodeError, OnBadRecord};
use headwater_lake::{LakeError, TableName};
use headwater_spec::{ScdType, SpecErrors};

/// Why an update cannot begin. Nothing has been read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UpdateError {
    /// The connector cannot be made from the connection's options.
    #[error("connection `{connection}` cannot be used")]
    Connect {
        /// The connection.
        connection: String,
        /// Why.
        #[source]
        source: ConnectorError,
    },
    /// The source could not say which tables there are.
    #[error("the tables of {what} cannot be listed")]
    List {
        /// The namespace or the connection.
        what: String,
        /// Why.
        #[source]
        source: ConnectorError,
    },
    /// The spec does not go with what the source has.
    #[error("the spec does not go with what the source has")]
    Spec {
        /// What, each with its place in the spec.
        #[source]
        source: SpecErrors,
    },
    /// No table is left to read.
    #[error("the pipeline has no table to read")]
    NoTables,
    /// A destination is not a table name.
    #[error("table `{source_table}` cannot be stored under its name")]
    BadDestination {
        /// The table of the source.
        source_table: String,
        /// Why.
        #[source]
        source: LakeError,
    },
    /// A table was asked for that the pipeline does not have.
    #[error("the pipeline has no table `{name}`")]
    UnknownTable {
        /// What was asked for.
        name: String,
        /// What there is.
        available: Vec<String>,
    },
    /// A stop was asked for before anything began.
    #[error("the update was canceled before it began")]
    Canceled,
}

impl UpdateError {
    /// Says what to change, where that is known.
    pub fn hint(&self) -> Option<String> {
        match self {
            UpdateError::Connect { source, .. } | UpdateError::List { source, .. } => source.hint(),
            UpdateError::NoTables => {
                Some("add a table to `objects`, or leave fewer tables out with `exclude`".into())
            }
            UpdateError::Spec { source } => source.errors.first().and_then(|first| first.hint.clone()),
            UpdateError::BadDestination { source, .. } => Some(format!(
                "set `destination_table` for it: {}",
                source.hint().unwrap_or_else(|| "a name that a folder can have".into())
            )),
            UpdateError::UnknownTable { name, available } => {
                Some(did_you_mean(name, available.iter().map(String::as_str)))
            }
            UpdateError::Canceled => None,
        }
    }
}

/// An answer that is no JSON may have been cut or exchanged on its way; when it comes a third time, that is what the
/// source says.
const GARBLED_ATTEMPTS: u32 = 3;

/// Why a flow ended without having read everything. The table is as its last commit left it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FlowError {
    /// The connector cannot be made for this table.
    #[error("the connector cannot be started for table `{table}`")]
    Connect {
        /// The table of the source.
        table: String,
        /// Why.
        #[source]
        source: ConnectorError,
    },
    /// The connector could not say what the table is.
    #[error("the {what} of table `{table}` cannot be read")]
    Describe {
        /// The table of the source.
        table: String,
        /// `schema` or `metadata`.
        what: &'static str,
        /// Why.
        #[source]
        source: ConnectorError,
    },
    /// The connector's schema breaks its contract (rule R3).
    #[error("the connector gives a schema for table `{table}` that cannot be used")]
    Schema {
        /// The table of the source.
        table: String,
        /// Why.
        #[source]
        source: SchemaError,
    },
    /// Metadata that do not go with the schema, or a setting that does not go with either.
    #[error("`{setting}` of table `{table}` {reason}")]
    Configuration {
        /// The table of the source.
        table: String,
        /// Which setting.
        setting: &'static str,
        /// What is wrong, as the end of a sentence that starts with the setting.
        reason: String,
        /// What to change.
        hint: String,
    },
    /// The source has a column with a name that a table with keys has for a column of its own.
    #[error(
        "column `{column}` of table `{table}` has a name that is reserved in a table that is kept as {scd_type}"
    )]
    ReservedColumn {
        /// The table of the source.
        table: String,
        /// The column.
        column: String,
        /// How the table is kept.
        scd_type: ScdType,
    },
    /// A record without a key or without a place in the order of changes.
    #[error("a record of table `{table}` (page {page}) has no usable `{column}`, {role}")]
    Unplaced {
        /// The table of the source.
        table: String,
        /// Which page since the flow began to read, from 1.
        page: u64,
        /// The column.
        column: String,
        /// What the column is to the table, as a clause that begins with `which`.
        role: &'static str,
        /// What is asked for bad records.
        on_bad_record: OnBadRecord,
        /// What is wrong with its value.
        #[source]
        source: DecodeError,
    },
    /// A read failed.
    #[error("table `{table}` cannot be read")]
    Read {
        /// The table of the source.
        table: String,
        /// Why.
        #[source]
        source: ConnectorError,
    },
    /// The connector goes round in circles.
    #[error("the connector came back to offset {offset} of table `{table}`, so the reads would never end")]
    OffsetLoop {
        /// The table of the source.
        table: String,
        /// The offset that came twice.
        offset: String,
    },
    /// A page that no memory is set aside for.
    #[error("a page of table `{table}` has {bytes} bytes, and at most {limit_bytes} can be taken")]
    PageTooLarge {
        /// The table of the source.
        table: String,
        /// Its size.
        bytes: usize,
        /// The limit.
        limit_bytes: usize,
    },
    /// A page or a record of it does not fit.
    #[error("page {page} of table `{table}` cannot be decoded")]
    Decode {
        /// The table of the source.
        table: String,
        /// Which page since the flow began to read, from 1.
        page: u64,
        /// Why.
        #[source]
        source: DecodeError,
    },
    /// The lake failed.
    #[error("{doing} {table} failed")]
    Lake {
        /// The table of the lake.
        table: TableName,
        /// `opening`, `writing`, `committing`.
        doing: &'static str,
        /// Why.
        #[source]
        source: LakeError,
    },
    /// The source answers no more for so long that waiting is left to the next update.
    #[error(
        "the source answers no more for table `{table}` until {}",
        .resume_at.to_rfc3339_opts(SecondsFormat::Secs, true)
    )]
    QuotaUsedUp {
        /// The table of the source.
        table: String,
        /// When it answers again.
        resume_at: DateTime<Utc>,
        /// What it said.
        #[source]
        source: Box<FlowError>,
    },
    /// A retry would help, but did not often enough.
    #[error("gave up after {attempts} attempts without progress")]
    RetriesExhausted {
        /// How many there were.
        attempts: u32,
        /// The last failure.
        #[source]
        source: Box<FlowError>,
    },
    /// A task of the flow was lost (it panicked or the process is ending).
    #[error("a background task of the flow ended early")]
    TaskLost {
        /// Why.
        #[source]
        source: BoxError,
    },
}

impl FlowError {
    /// Says whether doing the same again may help.
    pub fn retry(&self) -> Retry {
        match self {
            FlowError::Describe { source, .. }
            | FlowError::Connect { source, .. }
            | FlowError::Read { source, .. } => source.retry(),
            // A cut body looks like this; the next answer may be whole.
            FlowError::Decode { source: DecodeError::Malformed { .. }, .. } => Retry::Backoff,
            // The next attempt opens the table anew and goes on where the table says.
            FlowError::Lake { source, .. } => match source {
                LakeError::Conflict { .. } => Retry::Backoff,
                _ if source.is_retryable() || source.is_in_doubt() => Retry::Backoff,
                _ => Retry::Never,
            },
            _ => Retry::Never,
        }
    }

    /// How many attempts in a row the failure is worth, where doing the same again may help at all.
    pub(crate) fn most_attempts(&self) -> u32 {
        match self {
            FlowError::Decode { source: DecodeError::Malformed { .. }, .. } => GARBLED_ATTEMPTS,
            FlowError::Describe { source: ConnectorError::BadResponse { .. }, .. }
            | FlowError::Read { source: ConnectorError::BadResponse { .. }, .. } => GARBLED_ATTEMPTS,
            _ => u32::MAX,
        }
    }

    /// Says what to change, where that is known.
    pub fn hint(&self) -> Option<String> {
        match self {
            FlowError::Connect { source, .. }
            | FlowError::Describe { source, .. }
            | FlowError::Read { source, .. } => source.hint(),
            FlowError::Configuration { hint, .. } => Some(hint.clone()),
            FlowError::ReservedColumn { column, .. } => {
                Some(format!("leave it out: `exclude_columns: [{column}]` in the table's configuration"))
            }
            FlowError::Unplaced { on_bad_record: OnBadRecord::Null, .. } => Some(
                "`on_bad_record: null` does not help here, a row cannot do without it; `quarantine` sets such records \
                 apart, and `primary_keys` and `sequence_by` can name other columns"
                    .into(),
            ),
            FlowError::Unplaced { .. } => Some(
                "`on_bad_record: quarantine` in the table's configuration sets such records apart; `primary_keys` and \
                 `sequence_by` can name other columns"
                    .into(),
            ),
            FlowError::OffsetLoop { .. } => {
                Some("this is a defect of the connector: report it, with the offset".into())
            }
            FlowError::PageTooLarge { .. } => {
                Some("ask the source for smaller pages with the table's options".into())
            }
            FlowError::Decode { source, .. } => source.hint(),
            FlowError::Lake { source, .. } => source.hint(),
            FlowError::QuotaUsedUp { .. } => {
                Some("what was read is kept; run the pipeline again after that, it goes on where it stands".into())
            }
            FlowError::RetriesExhausted { source, .. } => source
                .hint()
                .or_else(|| Some("run the pipeline again later; it goes on where it stands".into())),
            FlowError::Schema { .. } | FlowError::TaskLost { .. } => None,
        }
    }

    /// When the source answers again, where that is what the flow has ended for.
    pub fn resume_at(&self) -> Option<DateTime<Utc>> {
        match self {
            FlowError::QuotaUsedUp { resume_at, .. } => Some(*resume_at),
            _ => None,
        }
    }

    /// The shortest pause before the next attempt that the source asked for.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self.retry() {
            Retry::After(pause) => Some(pause),
            _ => None,
        }
    }
}

/// Names the nearest of `available`, or lists them.
pub(crate) fn did_you_mean<'a>(name: &str, available: impl Iterator<Item = &'a str>) -> String {
    let available: Vec<&str> = available.collect();
    let lower = name.to_lowercase();
    let nearest = available
        .iter()
        .map(|candidate| (strsim::damerau_levenshtein(&lower, &candidate.to_lowercase()), *candidate))
        .min();
    match nearest {
        Some((distance, candidate)) if distance <= name.chars().count().div_ceil(3) => {
            format!("did you mean `{candidate}`?")
        }
        _ => {
            let shown = available.iter().take(20).copied().collect::<Vec<_>>().join(", ");
            let more = if available.len() > 20 { ", …" } else { "" };
            format!("there are: {shown}{more}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::did_you_mean;

    #[test]
    fn the_nearest_name_is_offered_where_one_is_near() {
        let check = |name: &str, expect: &str| {
            assert_eq!(did_you_mean(name, ["orders", "customers", "events"].into_iter()), expect);
        };
        check("order", "did you mean `orders`?");
        check("Custmers", "did you mean `customers`?");
        check("xyz", "there are: orders, customers, events");
    }
}
