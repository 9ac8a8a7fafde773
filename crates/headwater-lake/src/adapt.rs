//! From the columns of a batch to those of a table.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{
    Array, ArrayRef, ListArray, MapArray, RecordBatch, RecordBatchOptions, StructArray, new_null_array,
};
use arrow_cast::{CastOptions, cast_with_options};
use arrow_schema::{ArrowError, DataType, Field, Fields, SchemaRef};
use headwater_connect::StructType;

use crate::{LakeError, TableName};

/// How values get from one set of columns to another: by name, with wider types, and null where there is no value.
#[derive(Debug, Clone)]
pub(crate) struct Adapter {
    table: TableName,
    /// What the batches have.
    from: StructType,
    /// What the table has, in names of the source.
    logical: StructType,
    /// What the files have.
    target: SchemaRef,
}

impl Adapter {
    /// `logical` and `target` are the same columns in the same order, in the table's names and in those of the files.
    pub(crate) fn new(table: TableName, from: StructType, logical: StructType, target: SchemaRef) -> Self {
        Self { table, from, logical, target }
    }

    /// What the batches become.
    pub(crate) fn target(&self) -> &SchemaRef {
        &self.target
    }

    /// Puts a batch into the columns of the table.
    ///
    /// # Errors
    /// [`LakeError::WrongBatch`]: other columns than declared, or null in one that must not be.
    pub(crate) fn adapt(&self, batch: &RecordBatch) -> Result<RecordBatch, LakeError> {
        let wrong = |reason: String| LakeError::WrongBatch { table: self.table.clone(), reason };
        let declared = &self.from.fields;
        if batch.num_columns() != declared.len() {
            return Err(wrong(format!("{} columns instead of {}", batch.num_columns(), declared.len())));
        }
        for (field, expected) in batch.schema().fields().iter().zip(declared) {
            if *field.name() != expected.name {
                return Err(wrong(format!("column `{}` instead of `{}`", field.name(), expected.name)));
            }
            let data_type = expected.data_type.to_arrow();
            if !field.data_type().equals_datatype(&data_type) {
                return Err(wrong(format!(
                    "column `{}` is {} instead of {data_type}",
                    expected.name,
                    field.data_type()
                )));
            }
        }
        let mut columns = Vec::with_capacity(self.logical.fields.len());
        for (field, target) in self.logical.fields.iter().zip(self.target.fields()) {
            let at = position(declared.iter().map(|f| f.name.as_str()), &field.name);
            let column = match at {
                Some(at) => convert(batch.column(at), &field.data_type, target.data_type())
                    .map_err(|e| wrong(format!("column `{}`: {e}", field.name)))?,
                None => new_null_array(target.data_type(), batch.num_rows()),
            };
            if !target.is_nullable() && column.logical_null_count() > 0 {
                return Err(wrong(format!("column `{}` must not be null and is", field.name)));
            }
            columns.push(column);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        RecordBatch::try_new_with_options(Arc::clone(&self.target), columns, &options)
            .map_err(|e| wrong(e.to_string()))
    }
}

/// Finds a name: the very same, or the same without regard to case.
fn position<'a>(names: impl Iterator<Item = &'a str> + Clone, name: &str) -> Option<usize> {
    let lower = name.to_lowercase();
    names.clone().position(|n| n == name).or_else(|| names.clone().position(|n| n.to_lowercase() == lower))
}

/// Converts an array. `logical` names nested fields as the array does; `target` names them as the result must.
pub(crate) fn convert(
    array: &ArrayRef,
    logical: &headwater_connect::DataType,
    target: &DataType,
) -> Result<ArrayRef, ArrowError> {
    use headwater_connect::DataType as D;
    if array.data_type() == target {
        return Ok(Arc::clone(array));
    }
    match (array.data_type(), logical, target) {
        (DataType::Struct(_), D::Struct(fields), DataType::Struct(target)) => {
            convert_struct(array.as_struct(), fields, target).map(|made| Arc::new(made) as ArrayRef)
        }
        (DataType::List(_), D::Array { element, .. }, DataType::List(target)) => {
            let list = array.as_list::<i32>();
            let values = convert(list.values(), element, target.data_type())?;
            let made = ListArray::try_new(
                Arc::clone(target),
                list.offsets().clone(),
                values,
                list.nulls().cloned(),
            )?;
            Ok(Arc::new(made))
        }
        (DataType::Map(..), D::Map { key, value, .. }, DataType::Map(entry, sorted)) => {
            let map = array.as_map();
            let DataType::Struct(fields) = entry.data_type() else {
                return Err(ArrowError::SchemaError("a map without entries".into()));
            };
            let keys = convert(map.keys(), key, fields[0].data_type())?;
            let values = convert(map.values(), value, fields[1].data_type())?;
            let entries = StructArray::try_new(fields.clone(), vec![keys, values], None)?;
            let made = MapArray::try_new(
                Arc::clone(entry),
                map.offsets().clone(),
                entries,
                map.nulls().cloned(),
                *sorted,
            )?;
            Ok(Arc::new(made))
        }
        (DataType::Null, ..) => Ok(new_null_array(target, array.len())),
        _ => {
            let options = CastOptions { safe: false, ..CastOptions::default() };
            cast_with_options(array, target, &options)
        }
    }
}

fn convert_struct(
    array: &StructArray,
    logical: &StructType,
    target: &Fields,
) -> Result<StructArray, ArrowError> {
    let names = array.fields().iter().map(|f| f.name().as_str());
    let mut columns = Vec::with_capacity(target.len());
    for (field, target) in logical.fields.iter().zip(target.iter()) {
        columns.push(match position(names.clone(), &field.name) {
            Some(at) => convert(array.column(at), &field.data_type, target.data_type())?,
            None => new_null_array(target.data_type(), array.len()),
        });
    }
    StructArray::try_new_with_length(target.clone(), columns, array.nulls().cloned(), array.len())
}

/// Gives a batch of the kernel the exact Arrow types of `schema`, in which only names of nested fields may differ.
pub(crate) fn conform(batch: &RecordBatch, schema: &StructType) -> Result<RecordBatch, ArrowError> {
    let target = schema.to_arrow();
    let mut columns = Vec::with_capacity(schema.fields.len());
    for (at, field) in schema.fields.iter().enumerate() {
        let made: &Field = target.field(at);
        columns.push(convert(batch.column(at), &field.data_type, made.data_type())?);
    }
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(target, columns, &options)
}

/// How much of memory the rows of a batch take; of a slice, its share.
pub(crate) fn batch_bytes(batch: &RecordBatch) -> usize {
    batch
        .columns()
        .iter()
        .map(|c| c.to_data().get_slice_memory_size().unwrap_or_else(|_| c.get_array_memory_size()))
        .sum()
}
