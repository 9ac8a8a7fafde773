//! Small pieces of work on Arrow data that the ways to apply changes share.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, ListArray, RecordBatch, StructArray, make_array};
use arrow_buffer::NullBuffer;
use arrow_schema::{ArrowError, DataType};
use arrow_select::interleave::interleave;

/// Columns of a batch by place.
pub(crate) fn columns(batch: &RecordBatch, places: &[usize]) -> Vec<ArrayRef> {
    places.iter().map(|&at| Arc::clone(batch.column(at))).collect()
}

/// The column at a path of places; null where a struct on the way is.
pub(crate) fn at_path(first: &ArrayRef, below: &[usize]) -> Result<ArrayRef, ArrowError> {
    let mut column = Arc::clone(first);
    for &place in below {
        let outer = column
            .as_struct_opt()
            .ok_or_else(|| ArrowError::SchemaError("a path leads through a column without fields".into()))?;
        let inner = Arc::clone(outer.column(place));
        let nulls = NullBuffer::union(outer.nulls(), inner.nulls());
        column = make_array(inner.to_data().into_builder().nulls(nulls).build()?);
    }
    Ok(column)
}

/// The same values in a type that differs in no more than what it calls nested fields: the columns of a history repeat
/// the sequence's type, and with column mapping each has names and ids of its own.
pub(crate) fn relabelled(array: &ArrayRef, data_type: &DataType) -> Result<ArrayRef, ArrowError> {
    if array.data_type() == data_type {
        return Ok(Arc::clone(array));
    }
    let nulls = array.nulls().cloned();
    Ok(match (array.data_type(), data_type) {
        (DataType::Struct(had), DataType::Struct(fields)) if had.len() == fields.len() => {
            let columns = array.as_struct().columns().iter().zip(fields);
            let columns = columns.map(|(column, field)| relabelled(column, field.data_type()));
            let columns = columns.collect::<Result<_, _>>()?;
            Arc::new(StructArray::try_new_with_length(fields.clone(), columns, nulls, array.len())?)
        }
        (DataType::List(_), DataType::List(field)) => {
            let list = array.as_list::<i32>();
            let values = relabelled(list.values(), field.data_type())?;
            Arc::new(ListArray::try_new(Arc::clone(field), list.offsets().clone(), values, nulls)?)
        }
        (found, wanted) => {
            return Err(ArrowError::SchemaError(format!("values of {found} instead of {wanted}")));
        }
    })
}

/// Rows of several batches by one number.
#[derive(Debug)]
pub(crate) struct Numbers {
    /// Where each batch begins.
    starts: Vec<usize>,
}

impl Numbers {
    pub(crate) fn new(batches: &[RecordBatch]) -> Self {
        let starts = batches.iter().scan(0, |next, batch| {
            let start = *next;
            *next += batch.num_rows();
            Some(start)
        });
        Self { starts: starts.collect() }
    }

    /// The batch of a row, and its place there.
    pub(crate) fn of(&self, row: usize) -> (usize, usize) {
        let batch = self.starts.partition_point(|&start| start <= row).saturating_sub(1);
        (batch, row - self.starts.get(batch).copied().unwrap_or(0))
    }
}

/// Takes values out of several arrays, by array and place.
pub(crate) fn gather(arrays: &[ArrayRef], places: &[(usize, usize)]) -> Result<ArrayRef, ArrowError> {
    let arrays: Vec<&dyn Array> = arrays.iter().map(AsRef::as_ref).collect();
    interleave(&arrays, places)
}

/// The batch with another column at a place.
pub(crate) fn with_column(
    batch: &RecordBatch,
    place: usize,
    column: ArrayRef,
) -> Result<RecordBatch, ArrowError> {
    let mut columns = batch.columns().to_vec();
    if let Some(old) = columns.get_mut(place) {
        *old = column;
    }
    RecordBatch::try_new(batch.schema(), columns)
}
