//! Columns as bytes whose order is the order of the values.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, Float64Type};
use arrow_array::{
    Array, ArrayRef, FixedSizeListArray, GenericListArray, MapArray, NullArray, OffsetSizeTrait, RecordBatch,
    StructArray,
};
use arrow_row::{RowConverter, Rows, SortField};
use arrow_schema::{DataType, Field};

use crate::CdcError;

/// Encodes columns to bytes, a row after the other: equal values have equal bytes, and the order of the bytes is the order that
/// sequences and keys have. The order and equality of floating point numbers is made Spark's first, at any depth: one NaN, which is greatest, and one zero.
///
/// Maps are encoded entry by entry as they are stored, and are good for equality only. Rows of two codecs of the same types may be compared by
/// their bytes ([`arrow_row::Row::data`]).
#[derive(Debug)]
pub struct RowCodec {
    converter: RowConverter,
    types: Vec<DataType>,
    floats: Vec<bool>,
}

impl RowCodec {
    /// A codec for columns of these types. No columns at all is fine: then all rows are equal.
    ///
    /// # Errors
    /// [`CdcError::UnsupportedType`] for types that no table column has (dictionaries, unions, views of lists, half floats).
    pub fn new(types: &[DataType]) -> Result<Self, CdcError> {
        for (column, data_type) in types.iter().enumerate() {
            if !is_supported(data_type) {
                return Err(CdcError::UnsupportedType { column, data_type: data_type.clone() });
            }
        }
        // Rows without columns would have no bytes to count them by.
        let encoded = if types.is_empty() { &[DataType::Null][..] } else { types };
        let fields = encoded.iter().map(|data_type| SortField::new(data_type.clone())).collect();
        let converter = RowConverter::new(fields).map_err(CdcError::Arrow)?;
        Ok(Self { converter, types: types.to_vec(), floats: types.iter().map(has_floats).collect() })
    }

    /// The types of the columns.
    pub fn types(&self) -> &[DataType] {
        &self.types
    }

    /// The rows of the columns, which must be of equal length. A codec without columns gives no rows here; see [`Self::encode_rows`].
    ///
    /// # Errors
    /// Another number of columns, other types, uneven lengths.
    pub fn encode(&self, columns: &[ArrayRef]) -> Result<Rows, CdcError> {
        self.encode_rows(columns, columns.first().map_or(0, |column| column.len()))
    }

    /// As [`Self::encode`], for a number of rows that the columns alone would not tell when there are none.
    ///
    /// # Errors
    /// As [`Self::encode`]; a column of another length than `row_count`.
    pub fn encode_rows(&self, columns: &[ArrayRef], row_count: usize) -> Result<Rows, CdcError> {
        let mut rows = self.empty();
        self.append(&mut rows, columns, row_count)?;
        Ok(rows)
    }

    /// The rows of several chunks, one after the other. A codec without columns gives no rows here; see [`Self::encode_batches`].
    ///
    /// # Errors
    /// As [`Self::encode`].
    pub fn encode_chunks(&self, chunks: &[Vec<ArrayRef>]) -> Result<Rows, CdcError> {
        let mut rows = self.empty();
        for columns in chunks {
            self.append(&mut rows, columns, columns.first().map_or(0, |column| column.len()))?;
        }
        Ok(rows)
    }

    /// The rows of several batches, one after the other, by the places of their columns. Rows are counted even where there are no columns.
    ///
    /// # Errors
    /// As [`Self::encode`]; [`CdcError::UnknownColumn`] for a place that a batch does not have.
    pub fn encode_batches(&self, batches: &[RecordBatch], places: &[usize]) -> Result<Rows, CdcError> {
        let mut rows = self.empty();
        for batch in batches {
            let column = |place: &usize| {
                let column = batch.columns().get(*place).map(Arc::clone);
                column.ok_or_else(|| CdcError::UnknownColumn { path: format!("number {place}") })
            };
            let columns = places.iter().map(column).collect::<Result<Vec<_>, _>>()?;
            self.append(&mut rows, &columns, batch.num_rows())?;
        }
        Ok(rows)
    }

    /// No rows yet, to be filled by [`Self::append`].
    pub(crate) fn empty(&self) -> Rows {
        self.converter.empty_rows(0, 0)
    }

    /// Adds rows to those that this codec began.
    pub(crate) fn append(
        &self,
        rows: &mut Rows,
        columns: &[ArrayRef],
        row_count: usize,
    ) -> Result<(), CdcError> {
        if columns.len() != self.types.len() {
            return Err(CdcError::WrongColumnCount { expected: self.types.len(), found: columns.len() });
        }
        let mut encoded: Vec<ArrayRef> = Vec::with_capacity(columns.len().max(1));
        for (column, array) in columns.iter().enumerate() {
            let expected = &self.types[column];
            if !array.data_type().equals_datatype(expected) {
                let (expected, found) = (expected.clone(), array.data_type().clone());
                return Err(CdcError::WrongType { column, expected, found });
            }
            if array.len() != row_count {
                let found = array.len();
                return Err(CdcError::UnevenLengths { what: "columns", expected: row_count, found });
            }
            encoded.push(if self.floats[column] { normalised(array)? } else { Arc::clone(array) });
        }
        if encoded.is_empty() {
            encoded.push(Arc::new(NullArray::new(row_count)));
        }
        self.converter.append(rows, &encoded).map_err(CdcError::Arrow)
    }
}

/// Whether the type is one that a table column can have, in the forms that readers and decoders produce.
fn is_supported(data_type: &DataType) -> bool {
    match data_type {
        DataType::Float16
        | DataType::Dictionary(_, _)
        | DataType::RunEndEncoded(_, _)
        | DataType::Union(_, _)
        | DataType::ListView(_)
        | DataType::LargeListView(_) => false,
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            is_supported(item.data_type())
        }
        DataType::Struct(fields) => fields.iter().all(|field| is_supported(field.data_type())),
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(fields) => {
                fields.len() == 2 && fields.iter().all(|field| is_supported(field.data_type()))
            }
            _ => false,
        },
        _ => true,
    }
}

/// Whether floating point numbers occur at any depth.
pub(crate) fn has_floats(data_type: &DataType) -> bool {
    let inside = |field: &Arc<Field>| has_floats(field.data_type());
    match data_type {
        DataType::Float32 | DataType::Float64 => true,
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::FixedSizeList(item, _)
        | DataType::Map(item, _) => inside(item),
        DataType::Struct(fields) => fields.iter().any(inside),
        _ => false,
    }
}

/// The same values with one NaN, which sorts last, and one zero.
fn normalised(array: &ArrayRef) -> Result<ArrayRef, CdcError> {
    if !has_floats(array.data_type()) {
        return Ok(Arc::clone(array));
    }
    let made: ArrayRef = match array.data_type() {
        DataType::Float32 => {
            let one = |value: f32| if value.is_nan() { f32::NAN.abs() } else { value + 0.0 };
            Arc::new(array.as_primitive::<Float32Type>().unary::<_, Float32Type>(one))
        }
        DataType::Float64 => {
            let one = |value: f64| if value.is_nan() { f64::NAN.abs() } else { value + 0.0 };
            Arc::new(array.as_primitive::<Float64Type>().unary::<_, Float64Type>(one))
        }
        DataType::Struct(fields) => {
            let outer = array.as_struct();
            let columns = outer.columns().iter().map(normalised).collect::<Result<Vec<_>, _>>()?;
            Arc::new(
                StructArray::try_new(fields.clone(), columns, outer.nulls().cloned())
                    .map_err(CdcError::Arrow)?,
            )
        }
        DataType::List(item) => Arc::new(normalised_list(item, array.as_list::<i32>())?),
        DataType::LargeList(item) => Arc::new(normalised_list(item, array.as_list::<i64>())?),
        DataType::FixedSizeList(item, size) => {
            let list = array.as_fixed_size_list();
            let values = normalised(list.values())?;
            let nulls = list.nulls().cloned();
            Arc::new(
                FixedSizeListArray::try_new_with_length(Arc::clone(item), *size, values, nulls, list.len())
                    .map_err(CdcError::Arrow)?,
            )
        }
        DataType::Map(entries, ordered) => {
            let map = array.as_map();
            let columns = map.entries().columns().iter().map(normalised).collect::<Result<Vec<_>, _>>()?;
            let inner =
                StructArray::try_new(map.entries().fields().clone(), columns, map.entries().nulls().cloned())
                    .map_err(CdcError::Arrow)?;
            let (offsets, nulls) = (map.offsets().clone(), map.nulls().cloned());
            Arc::new(
                MapArray::try_new(Arc::clone(entries), offsets, inner, nulls, *ordered)
                    .map_err(CdcError::Arrow)?,
            )
        }
        _ => Arc::clone(array),
    };
    Ok(made)
}

fn normalised_list<O: OffsetSizeTrait>(
    item: &Arc<Field>,
    list: &GenericListArray<O>,
) -> Result<GenericListArray<O>, CdcError> {
    let values = normalised(list.values())?;
    GenericListArray::try_new(Arc::clone(item), list.offsets().clone(), values, list.nulls().cloned())
        .map_err(CdcError::Arrow)
}
