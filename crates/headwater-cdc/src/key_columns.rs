//! Key columns: which types they have, and their values as numbers or bytes.

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Int8Type, Int16Type, Int32Type, Int64Type, TimestampMicrosecondType,
    TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType,
};
use arrow_array::{Array, ArrayRef};
use arrow_buffer::NullBuffer;
use arrow_schema::{DataType, TimeUnit};

use crate::CdcError;

/// What is to be done with the values of a column of numbers, whatever their width. Places that are null hold any value.
pub(crate) trait WithIntegers {
    fn run<T: Copy>(self, keys: &[T], widen: impl Fn(T) -> i64);
}

/// What is to be done with the values of a column of text or binary. Places that are null hold any value.
pub(crate) trait WithTexts {
    fn run<'t>(self, rows: usize, text: impl Fn(usize) -> &'t [u8]);
}

pub(crate) fn is_integer(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Int8
            | DataType::Int16
            | DataType::Int32
            | DataType::Int64
            | DataType::Date32
            | DataType::Timestamp(_, _)
    )
}

pub(crate) fn is_text(data_type: &DataType) -> bool {
    text_kind(data_type).is_some()
}

/// Whether text (true) or binary.
fn text_kind(data_type: &DataType) -> Option<bool> {
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Some(true),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => Some(false),
        _ => None,
    }
}

/// Runs the work on a column of one of the types of [`is_integer`].
pub(crate) fn with_integers(column: &ArrayRef, work: impl WithIntegers) {
    match column.data_type() {
        DataType::Int8 => work.run(column.as_primitive::<Int8Type>().values(), i64::from),
        DataType::Int16 => work.run(column.as_primitive::<Int16Type>().values(), i64::from),
        DataType::Int32 => work.run(column.as_primitive::<Int32Type>().values(), i64::from),
        DataType::Int64 => work.run(column.as_primitive::<Int64Type>().values(), |key| key),
        DataType::Date32 => work.run(column.as_primitive::<Date32Type>().values(), i64::from),
        DataType::Timestamp(unit, _) => work.run(
            match unit {
                TimeUnit::Second => column.as_primitive::<TimestampSecondType>().values(),
                TimeUnit::Millisecond => column.as_primitive::<TimestampMillisecondType>().values(),
                TimeUnit::Microsecond => column.as_primitive::<TimestampMicrosecondType>().values(),
                TimeUnit::Nanosecond => column.as_primitive::<TimestampNanosecondType>().values(),
            },
            |key: i64| key,
        ),
        _ => {}
    }
}

/// Runs the work on a column of one of the types of [`is_text`].
pub(crate) fn with_texts(column: &ArrayRef, work: impl WithTexts) {
    let rows = column.len();
    match column.data_type() {
        DataType::Utf8 => {
            let column = column.as_string::<i32>();
            work.run(rows, |row| column.value(row).as_bytes());
        }
        DataType::LargeUtf8 => {
            let column = column.as_string::<i64>();
            work.run(rows, |row| column.value(row).as_bytes());
        }
        DataType::Utf8View => {
            let column = column.as_string_view();
            work.run(rows, |row| column.value(row).as_bytes());
        }
        DataType::Binary => {
            let column = column.as_binary::<i32>();
            work.run(rows, |row| column.value(row));
        }
        DataType::LargeBinary => {
            let column = column.as_binary::<i64>();
            work.run(rows, |row| column.value(row));
        }
        DataType::BinaryView => {
            let column = column.as_binary_view();
            work.run(rows, |row| column.value(row));
        }
        _ => {}
    }
}

/// A single value of a column of numbers.
pub(crate) fn one_integer(column: &ArrayRef) -> Option<i64> {
    struct First<'a>(&'a mut Option<i64>);
    impl WithIntegers for First<'_> {
        fn run<T: Copy>(self, keys: &[T], widen: impl Fn(T) -> i64) {
            *self.0 = keys.first().map(|key| widen(*key));
        }
    }
    let mut first = None;
    with_integers(column, First(&mut first));
    first.filter(|_| column.is_valid(0))
}

/// A single value of a column of text or binary.
pub(crate) fn one_text(column: &ArrayRef) -> Option<Vec<u8>> {
    struct First<'a>(&'a mut Option<Vec<u8>>);
    impl WithTexts for First<'_> {
        fn run<'t>(self, rows: usize, text: impl Fn(usize) -> &'t [u8]) {
            *self.0 = (rows > 0).then(|| text(0).to_vec());
        }
    }
    let mut first = None;
    with_texts(column, First(&mut first));
    first.filter(|_| column.is_valid(0))
}

/// Checks that the column has the type of a key column, in any of the layouts that [`with_integers`] and [`with_texts`] understand.
pub(crate) fn check_type(column: usize, array: &ArrayRef, expected: &DataType) -> Result<(), CdcError> {
    let found = array.data_type();
    let same = match (expected, found) {
        (DataType::Timestamp(expected, _), DataType::Timestamp(found, _)) => expected == found,
        _ => match text_kind(expected) {
            Some(kind) => text_kind(found) == Some(kind),
            None => found.equals_datatype(expected),
        },
    };
    if same {
        return Ok(());
    }
    Err(CdcError::WrongType { column, expected: expected.clone(), found: found.clone() })
}

/// Checks number, types and lengths of key columns.
pub(crate) fn check_columns(columns: &[ArrayRef], types: &[DataType]) -> Result<(), CdcError> {
    if columns.len() != types.len() {
        return Err(CdcError::WrongColumnCount { expected: types.len(), found: columns.len() });
    }
    let expected = columns.first().map_or(0, |column| column.len());
    for (number, (column, data_type)) in columns.iter().zip(types).enumerate() {
        check_type(number, column, data_type)?;
        if column.len() != expected {
            let found = column.len();
            return Err(CdcError::UnevenLengths { what: "key columns", expected, found });
        }
    }
    Ok(())
}

/// Checks the chunks of a micro-batch and gives the number of rows.
pub(crate) fn check_chunks(chunks: &[Vec<ArrayRef>], types: &[DataType]) -> Result<usize, CdcError> {
    let mut rows = 0;
    for columns in chunks {
        check_columns(columns, types)?;
        for (number, column) in columns.iter().enumerate() {
            if let Some(row) = (0..column.len()).find(|row| column.null_count() > 0 && column.is_null(*row)) {
                return Err(CdcError::NullKey { column: number, row: rows + row });
            }
            if column.data_type() == &DataType::Null && !column.is_empty() {
                return Err(CdcError::NullKey { column: number, row: rows });
            }
        }
        rows += columns.first().map_or(0, |column| column.len());
    }
    if rows >= u32::MAX as usize {
        return Err(CdcError::TooManyRows { rows });
    }
    Ok(rows)
}

/// Where any of the columns is null.
pub(crate) fn all_nulls(columns: &[ArrayRef]) -> Option<NullBuffer> {
    columns.iter().fold(None, |nulls, column| NullBuffer::union(nulls.as_ref(), column.nulls()))
}
