//! Pages that are Arrow already.

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow_cast::{CastOptions, cast_with_options};
use arrow_schema::{DataType, SchemaRef, TimeUnit};

use crate::DecodeError;

/// The columns of `schema` out of `batch`, by name. Columns beyond them are left out; a column that is not there is
/// null where it may be.
///
/// # Errors
/// A column of another type, or with nulls where none may be.
pub(crate) fn project(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, DecodeError> {
    let mut columns: Vec<ArrayRef> = Vec::with_capacity(schema.fields().len());
    for field in schema.fields() {
        let wrong = |reason: String| DecodeError::ArrowColumn { column: field.name().clone(), reason };
        let Some(column) = batch.column_by_name(field.name()) else {
            if !field.is_nullable() {
                return Err(wrong("is missing, and may not be null".into()));
            }
            columns.push(arrow_array::new_null_array(field.data_type(), batch.num_rows()));
            continue;
        };
        if !field.is_nullable() && column.logical_null_count() > 0 {
            return Err(wrong("has nulls, and may not be null".into()));
        }
        if column.data_type() == field.data_type() {
            columns.push(Arc::clone(column));
        } else if is_harmless(column.data_type(), field.data_type()) {
            let options = CastOptions { safe: false, ..CastOptions::default() };
            let cast = cast_with_options(column, field.data_type(), &options)
                .map_err(|error| wrong(format!("cannot be turned into {}: {error}", field.data_type())))?;
            if is_coarser(column.data_type()) {
                let back = cast_with_options(&cast, column.data_type(), &options)
                    .map_err(|error| wrong(format!("cannot be compared: {error}")))?;
                if back.to_data() != column.to_data() {
                    return Err(wrong("has times finer than a microsecond".into()));
                }
            }
            columns.push(cast);
        } else {
            return Err(wrong(format!(
                "is {}, and the schema has {}",
                column.data_type(),
                field.data_type()
            )));
        }
    }
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)
        .map_err(|source| DecodeError::Batch { source })
}

/// Whether a cast changes how the values are held, and not the values.
fn is_harmless(from: &DataType, to: &DataType) -> bool {
    use DataType as T;
    match (from, to) {
        (T::LargeUtf8 | T::Utf8View, T::Utf8) => true,
        (T::LargeBinary | T::BinaryView, T::Binary) => true,
        (T::Timestamp(_, Some(_)), T::Timestamp(_, Some(_))) => true,
        (T::Timestamp(_, None), T::Timestamp(_, None)) => true,
        (T::Dictionary(_, values), to) => **values == *to || is_harmless(values, to),
        (T::List(from), T::List(to)) | (T::LargeList(from), T::List(to)) => {
            same_or_harmless(from.data_type(), to.data_type())
        }
        (T::Map(from, _), T::Map(to, _)) => same_or_harmless(from.data_type(), to.data_type()),
        (T::Struct(from), T::Struct(to)) => {
            from.len() == to.len()
                && from.iter().zip(to).all(|(from, to)| {
                    from.name() == to.name() && same_or_harmless(from.data_type(), to.data_type())
                })
        }
        _ => false,
    }
}

fn same_or_harmless(from: &DataType, to: &DataType) -> bool {
    from == to || is_harmless(from, to)
}

/// Whether a cast of this type to the declared one may drop digits.
fn is_coarser(from: &DataType) -> bool {
    matches!(from, DataType::Timestamp(TimeUnit::Nanosecond, _))
}
