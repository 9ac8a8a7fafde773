//! What can be wrong with the data that the rules are applied to.

use arrow_schema::{ArrowError, DataType};

/// Why the rules could not be applied. Nothing has been changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CdcError {
    /// A column has a type that cannot be compared.
    #[error("column {column} has the type {data_type}, which cannot be compared")]
    UnsupportedType {
        /// The number of the column, from 0.
        column: usize,
        /// Its type.
        data_type: DataType,
    },
    /// A column has another type than the one agreed on.
    #[error("column {column} has the type {found} in place of {expected}")]
    WrongType {
        /// The number of the column, from 0.
        column: usize,
        /// The type agreed on.
        expected: DataType,
        /// The type of the data.
        found: DataType,
    },
    /// More or fewer columns than agreed on.
    #[error("{found} columns in place of {expected}")]
    WrongColumnCount {
        /// How many there should be.
        expected: usize,
        /// How many there are.
        found: usize,
    },
    /// Arrays that describe the same rows differ in length.
    #[error("{what}: {found} values for {expected} rows")]
    UnevenLengths {
        /// Which array.
        what: &'static str,
        /// The number of rows.
        expected: usize,
        /// The number of values.
        found: usize,
    },
    /// A batch has no column of this name.
    #[error("there is no column {path}")]
    UnknownColumn {
        /// The path as asked for, up to the missing name.
        path: String,
    },
    /// A path leads through a column that has no fields.
    #[error("column {path} has the type {data_type}, which has no fields")]
    NotAStruct {
        /// The path up to the column.
        path: String,
        /// Its type.
        data_type: DataType,
    },
    /// A key of the micro-batch is null.
    #[error("key column {column} is null in row {row}")]
    NullKey {
        /// The number of the key column, from 0.
        column: usize,
        /// The row, counted over all chunks.
        row: usize,
    },
    /// Row numbers have 32 bits.
    #[error("{rows} rows at once; at most {} can be handled", u32::MAX - 1)]
    TooManyRows {
        /// How many there are.
        rows: usize,
    },
    /// A row belongs to a group that does not exist.
    #[error("row {row} is in group {group} of {groups}")]
    UnknownGroup {
        /// The row.
        row: usize,
        /// Its group.
        group: u32,
        /// The number of groups.
        groups: usize,
    },
    /// A key of the micro-batch has no event.
    #[error("group {group} has no event")]
    GroupWithoutEvent {
        /// The group.
        group: u32,
    },
    /// A stored row is neither an upsert nor a tombstone: its record start, start and end contradict each other.
    #[error("stored row {row} is neither an upsert nor a tombstone")]
    ImpossibleRow {
        /// The number of the stored row.
        row: u32,
    },
    /// Two stored rows have the same key.
    #[error("the stored rows at {first} and {second} have the same key")]
    DuplicateStoredKey {
        /// The smaller of the two positions.
        first: u64,
        /// The other one.
        second: u64,
    },
    /// Arrow refused the data.
    #[error("the columns cannot be encoded")]
    Arrow(#[source] ArrowError),
}
