//! Columns under construction: values, places of nulls, and how both become Arrow arrays.

use std::sync::Arc;

use arrow_array::builder::BooleanBufferBuilder;
use arrow_array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float32Array, Float64Array, Int8Array,
    Int16Array, Int32Array, Int64Array, ListArray, MapArray, NullArray, StringArray, StructArray,
    TimestampMicrosecondArray,
};
use arrow_buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow_schema::{ArrowError, DataType as ArrowType, Fields};
use headwater_connect::{DataType, StructField};

use crate::bytes::Bytes;
use crate::object::Object;
use crate::time::DayCache;

/// Byte strings of a column, end to end.
#[derive(Debug)]
pub(crate) struct Strings {
    /// Where each ends; the first entry is 0 and belongs to none.
    ends: Vec<i32>,
    pub(crate) bytes: Bytes,
    /// Longest text in characters.
    pub(crate) max_chars: Option<u32>,
}

/// The column's bytes do not fit one Arrow array.
#[derive(Debug)]
pub(crate) struct Full;

impl Strings {
    fn new(max_chars: Option<u32>) -> Self {
        Self { ends: vec![0], bytes: Bytes::default(), max_chars }
    }

    pub(crate) fn len(&self) -> usize {
        self.ends.len() - 1
    }

    /// Ends the string that was appended to `bytes`.
    #[inline]
    pub(crate) fn end(&mut self) -> Result<(), Full> {
        let end = i32::try_from(self.bytes.len()).map_err(|_| Full)?;
        self.ends.push(end);
        Ok(())
    }

    pub(crate) fn push(&mut self, value: &[u8]) -> Result<(), Full> {
        self.bytes.extend(value);
        self.end()
    }

    /// Drops what was appended to `bytes` since the last end.
    pub(crate) fn drop_open(&mut self) {
        self.bytes.truncate(self.open_start());
    }

    /// Where the string that is being appended starts.
    pub(crate) fn open_start(&self) -> usize {
        self.ends.last().map_or(0, |end| usize::try_from(*end).unwrap_or(0))
    }

    fn get(&self, row: usize) -> &[u8] {
        let place = |i: usize| self.ends.get(i).map_or(0, |end| usize::try_from(*end).unwrap_or(0));
        self.bytes.as_slice().get(place(row)..place(row + 1)).unwrap_or_default()
    }

    fn truncate(&mut self, len: usize) {
        self.ends.truncate(len + 1);
        self.drop_open();
    }

    fn take(&mut self) -> (OffsetBuffer<i32>, Vec<u8>) {
        let mut ends = Vec::with_capacity(self.ends.len());
        ends.push(0);
        let ends = std::mem::replace(&mut self.ends, ends);
        (OffsetBuffer::new(ends.into()), self.bytes.take())
    }
}

/// A list column: its elements, and where each list ends.
#[derive(Debug)]
pub(crate) struct List {
    ends: Vec<i32>,
    pub(crate) element: Column,
}

/// A map column: its keys and values, and where each map ends.
#[derive(Debug)]
pub(crate) struct Map {
    ends: Vec<i32>,
    pub(crate) key: Column,
    pub(crate) value: Column,
}

impl List {
    /// Ends the list whose elements were appended.
    pub(crate) fn end(&mut self) -> Result<(), Full> {
        self.ends.push(i32::try_from(self.element.len()).map_err(|_| Full)?);
        Ok(())
    }
}

impl Map {
    /// Ends the map whose entries were appended.
    pub(crate) fn end(&mut self) -> Result<(), Full> {
        self.ends.push(i32::try_from(self.key.len()).map_err(|_| Full)?);
        Ok(())
    }
}

/// Micros since 1970, and the day that was parsed last.
#[derive(Debug)]
pub(crate) struct Times {
    pub(crate) values: Vec<i64>,
    pub(crate) cache: DayCache,
    pub(crate) utc: bool,
}

/// Decimals, scaled.
#[derive(Debug)]
pub(crate) struct Decimals {
    pub(crate) values: Vec<i128>,
    pub(crate) precision: u8,
    pub(crate) scale: i8,
}

/// The values of a column. Where a row is null, something stands in its place.
#[derive(Debug)]
pub(crate) enum Data {
    Null(usize),
    Text(Strings),
    Byte(Vec<i8>),
    Short(Vec<i16>),
    Integer(Vec<i32>),
    Long(Vec<i64>),
    Float(Vec<f32>),
    Double(Vec<f64>),
    Decimal(Decimals),
    Boolean(Vec<bool>),
    Date(Vec<i32>),
    Timestamp(Times),
    Binary(Strings),
    /// Metadata, value.
    Variant(Box<(Strings, Strings)>),
    List(Box<List>),
    Map(Box<Map>),
    Struct(Box<Object>),
}

/// One column under construction.
#[derive(Debug)]
pub(crate) struct Column {
    pub(crate) name: Box<str>,
    pub(crate) nullable: bool,
    /// Rows that are null, ascending: nothing is paid for a value that is there.
    nulls: Vec<u32>,
    pub(crate) data: Data,
    arrow: ArrowType,
}

impl Column {
    pub(crate) fn new(field: &StructField) -> Self {
        let inner = |name: &str, data_type: &DataType, nullable: bool| {
            Column::new(&StructField { nullable, ..StructField::nullable(name, data_type.clone()) })
        };
        let times = |utc| Data::Timestamp(Times { values: Vec::new(), cache: DayCache::default(), utc });
        let data = match &field.data_type {
            DataType::Null => Data::Null(0),
            DataType::String => Data::Text(Strings::new(None)),
            DataType::Char(length) | DataType::Varchar(length) => Data::Text(Strings::new(Some(*length))),
            DataType::Byte => Data::Byte(Vec::new()),
            DataType::Short => Data::Short(Vec::new()),
            DataType::Integer => Data::Integer(Vec::new()),
            DataType::Long => Data::Long(Vec::new()),
            DataType::Float => Data::Float(Vec::new()),
            DataType::Double => Data::Double(Vec::new()),
            DataType::Decimal { precision, scale } => {
                Data::Decimal(Decimals { values: Vec::new(), precision: *precision, scale: *scale })
            }
            DataType::Boolean => Data::Boolean(Vec::new()),
            DataType::Date => Data::Date(Vec::new()),
            DataType::Timestamp => times(true),
            DataType::TimestampNtz => times(false),
            DataType::Binary => Data::Binary(Strings::new(None)),
            DataType::Variant => Data::Variant(Box::new((Strings::new(None), Strings::new(None)))),
            DataType::Array { element, contains_null } => Data::List(Box::new(List {
                ends: vec![0],
                element: inner("element", element, *contains_null),
            })),
            DataType::Map { key, value, value_contains_null } => Data::Map(Box::new(Map {
                ends: vec![0],
                key: inner("key", key, false),
                value: inner("value", value, *value_contains_null),
            })),
            DataType::Struct(fields) => Data::Struct(Box::new(Object::new(&fields.fields))),
        };
        Self {
            name: field.name.as_str().into(),
            nullable: field.nullable,
            nulls: Vec::new(),
            data,
            arrow: field.data_type.to_arrow(),
        }
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        match &self.data {
            Data::Null(len) => *len,
            Data::Text(strings) | Data::Binary(strings) => strings.len(),
            Data::Byte(values) => values.len(),
            Data::Short(values) => values.len(),
            Data::Integer(values) => values.len(),
            Data::Long(values) => values.len(),
            Data::Float(values) => values.len(),
            Data::Double(values) => values.len(),
            Data::Decimal(decimals) => decimals.values.len(),
            Data::Boolean(values) => values.len(),
            Data::Date(values) => values.len(),
            Data::Timestamp(times) => times.values.len(),
            Data::Variant(pair) => pair.0.len(),
            Data::List(list) => list.ends.len() - 1,
            Data::Map(map) => map.ends.len() - 1,
            Data::Struct(object) => object.rows,
        }
    }

    /// Appends a null, allowed or not: below a null struct a required field is null too.
    pub(crate) fn push_null(&mut self) {
        self.nulls.push(u32::try_from(self.len()).unwrap_or(u32::MAX));
        match &mut self.data {
            Data::Null(len) => *len += 1,
            Data::Text(strings) | Data::Binary(strings) => strings.ends.extend(strings.ends.last().copied()),
            Data::Byte(values) => values.push(0),
            Data::Short(values) => values.push(0),
            Data::Integer(values) => values.push(0),
            Data::Long(values) => values.push(0),
            Data::Float(values) => values.push(0.0),
            Data::Double(values) => values.push(0.0),
            Data::Decimal(decimals) => decimals.values.push(0),
            Data::Boolean(values) => values.push(false),
            Data::Date(values) => values.push(0),
            Data::Timestamp(times) => times.values.push(0),
            Data::Variant(pair) => {
                for strings in [&mut pair.0, &mut pair.1] {
                    strings.ends.extend(strings.ends.last().copied());
                }
            }
            Data::List(list) => list.ends.extend(list.ends.last().copied()),
            Data::Map(map) => map.ends.extend(map.ends.last().copied()),
            Data::Struct(object) => {
                object.fields.iter_mut().for_each(Column::push_null);
                object.rows += 1;
            }
        }
    }

    /// Goes back to `len` rows, and drops what was appended of a further one.
    pub(crate) fn truncate(&mut self, len: usize) {
        while self.nulls.last().is_some_and(|row| usize::try_from(*row).is_ok_and(|row| row >= len)) {
            self.nulls.pop();
        }
        match &mut self.data {
            Data::Null(count) => *count = len,
            Data::Text(strings) | Data::Binary(strings) => strings.truncate(len),
            Data::Byte(values) => values.truncate(len),
            Data::Short(values) => values.truncate(len),
            Data::Integer(values) => values.truncate(len),
            Data::Long(values) => values.truncate(len),
            Data::Float(values) => values.truncate(len),
            Data::Double(values) => values.truncate(len),
            Data::Decimal(decimals) => decimals.values.truncate(len),
            Data::Boolean(values) => values.truncate(len),
            Data::Date(values) => values.truncate(len),
            Data::Timestamp(times) => times.values.truncate(len),
            Data::Variant(pair) => {
                pair.0.truncate(len);
                pair.1.truncate(len);
            }
            Data::List(list) => {
                list.ends.truncate(len + 1);
                list.element.truncate(last(&list.ends));
            }
            Data::Map(map) => {
                map.ends.truncate(len + 1);
                map.key.truncate(last(&map.ends));
                map.value.truncate(last(&map.ends));
            }
            Data::Struct(object) => object.truncate(len),
        }
    }

    /// Bytes that tell two values of a key column apart.
    pub(crate) fn key_bytes(&self, row: usize) -> Vec<u8> {
        fn at<T: Copy, const N: usize>(values: &[T], row: usize, bytes: impl Fn(T) -> [u8; N]) -> Vec<u8> {
            values.get(row).map(|v| bytes(*v).to_vec()).unwrap_or_default()
        }
        match &self.data {
            Data::Text(strings) | Data::Binary(strings) => strings.get(row).to_vec(),
            Data::Byte(values) => at(values, row, i8::to_le_bytes),
            Data::Short(values) => at(values, row, i16::to_le_bytes),
            Data::Integer(values) | Data::Date(values) => at(values, row, i32::to_le_bytes),
            Data::Long(values) => at(values, row, i64::to_le_bytes),
            // Zero and minus zero are one key.
            Data::Float(values) => at(values, row, |v| (v + 0.0).to_le_bytes()),
            Data::Double(values) => at(values, row, |v| (v + 0.0).to_le_bytes()),
            Data::Decimal(decimals) => at(&decimals.values, row, i128::to_le_bytes),
            Data::Boolean(values) => at(values, row, |v| [u8::from(v)]),
            Data::Timestamp(times) => at(&times.values, row, i64::to_le_bytes),
            // Text does not convert to any of these, so that a key never has such a type.
            Data::Null(_) | Data::Variant(_) | Data::List(_) | Data::Map(_) | Data::Struct(_) => {
                row.to_le_bytes().to_vec()
            }
        }
    }

    /// Bytes held.
    pub(crate) fn size_bytes(&self) -> usize {
        let strings = |s: &Strings| s.bytes.len() + 4 * s.ends.len();
        let data = match &self.data {
            Data::Null(_) => 0,
            Data::Text(s) | Data::Binary(s) => strings(s),
            Data::Variant(pair) => strings(&pair.0) + strings(&pair.1),
            Data::List(list) => 4 * list.ends.len() + list.element.size_bytes(),
            Data::Map(map) => 4 * map.ends.len() + map.key.size_bytes() + map.value.size_bytes(),
            Data::Struct(object) => object.fields.iter().map(Column::size_bytes).sum(),
            Data::Byte(_) | Data::Boolean(_) => self.len(),
            Data::Short(_) => 2 * self.len(),
            Data::Integer(_) | Data::Float(_) | Data::Date(_) => 4 * self.len(),
            Data::Long(_) | Data::Double(_) | Data::Timestamp(_) => 8 * self.len(),
            Data::Decimal(_) => 16 * self.len(),
        };
        data + 4 * self.nulls.len()
    }

    fn take_nulls(&mut self) -> Option<NullBuffer> {
        if self.nulls.is_empty() || matches!(self.data, Data::Null(_)) {
            self.nulls.clear();
            return None;
        }
        let len = self.len();
        let mut words = vec![u64::MAX; len.div_ceil(64)];
        for row in self.nulls.drain(..) {
            if let Some(word) = usize::try_from(row / 64).ok().and_then(|i| words.get_mut(i)) {
                *word &= !(1 << (row % 64));
            }
        }
        Some(NullBuffer::new(BooleanBuffer::new(Buffer::from_vec(words), 0, len)))
    }

    /// The array of all rows; the column is empty afterwards.
    pub(crate) fn finish(&mut self) -> Result<ArrayRef, ArrowError> {
        let nulls = self.take_nulls();
        Ok(match &mut self.data {
            Data::Null(len) => Arc::new(NullArray::new(std::mem::take(len))),
            Data::Text(strings) => Arc::new(string_array(strings, nulls)?),
            Data::Binary(strings) => {
                let (offsets, bytes) = strings.take();
                Arc::new(BinaryArray::try_new(offsets, bytes.into(), nulls)?)
            }
            Data::Byte(values) => Arc::new(Int8Array::try_new(scalars(values), nulls)?),
            Data::Short(values) => Arc::new(Int16Array::try_new(scalars(values), nulls)?),
            Data::Integer(values) => Arc::new(Int32Array::try_new(scalars(values), nulls)?),
            Data::Long(values) => Arc::new(Int64Array::try_new(scalars(values), nulls)?),
            Data::Float(values) => Arc::new(Float32Array::try_new(scalars(values), nulls)?),
            Data::Double(values) => Arc::new(Float64Array::try_new(scalars(values), nulls)?),
            Data::Decimal(decimals) => Arc::new(
                Decimal128Array::try_new(scalars(&mut decimals.values), nulls)?
                    .with_precision_and_scale(decimals.precision, decimals.scale)?,
            ),
            Data::Boolean(values) => {
                let mut bits = BooleanBufferBuilder::new(values.len());
                bits.append_slice(values);
                values.clear();
                Arc::new(BooleanArray::new(bits.finish(), nulls))
            }
            Data::Date(values) => Arc::new(Date32Array::try_new(scalars(values), nulls)?),
            Data::Timestamp(times) => {
                let array = TimestampMicrosecondArray::try_new(scalars(&mut times.values), nulls)?;
                Arc::new(if times.utc { array.with_timezone("UTC") } else { array })
            }
            Data::Variant(pair) => {
                let arrays = [&mut pair.0, &mut pair.1].map(|strings| {
                    let (offsets, bytes) = strings.take();
                    BinaryArray::try_new(offsets, bytes.into(), None).map(|a| Arc::new(a) as ArrayRef)
                });
                let arrays = arrays.into_iter().collect::<Result<Vec<_>, _>>()?;
                Arc::new(StructArray::try_new(struct_fields(&self.arrow)?, arrays, nulls)?)
            }
            Data::List(list) => {
                let ArrowType::List(field) = &self.arrow else { return Err(mismatch()) };
                let elements = list.element.finish()?;
                Arc::new(ListArray::try_new(Arc::clone(field), offsets(&mut list.ends), elements, nulls)?)
            }
            Data::Map(map) => {
                let ArrowType::Map(field, sorted) = &self.arrow else { return Err(mismatch()) };
                let arrays = vec![map.key.finish()?, map.value.finish()?];
                let entries = StructArray::try_new(struct_fields(field.data_type())?, arrays, None)?;
                let ends = offsets(&mut map.ends);
                Arc::new(MapArray::try_new(Arc::clone(field), ends, entries, nulls, *sorted)?)
            }
            Data::Struct(object) => {
                let rows = std::mem::take(&mut object.rows);
                let arrays = object.fields.iter_mut().map(Column::finish).collect::<Result<Vec<_>, _>>()?;
                let fields = struct_fields(&self.arrow)?;
                Arc::new(StructArray::try_new_with_length(fields, arrays, nulls, rows)?)
            }
        })
    }
}

fn last(ends: &[i32]) -> usize {
    ends.last().map_or(0, |end| usize::try_from(*end).unwrap_or(0))
}

fn scalars<T: arrow_buffer::ArrowNativeType>(values: &mut Vec<T>) -> ScalarBuffer<T> {
    let empty = Vec::with_capacity(values.len());
    std::mem::replace(values, empty).into()
}

fn offsets(ends: &mut Vec<i32>) -> OffsetBuffer<i32> {
    let mut empty = Vec::with_capacity(ends.len());
    empty.push(0);
    OffsetBuffer::new(std::mem::replace(ends, empty).into())
}

fn struct_fields(data_type: &ArrowType) -> Result<Fields, ArrowError> {
    if let ArrowType::Struct(fields) = data_type { Ok(fields.clone()) } else { Err(mismatch()) }
}

fn mismatch() -> ArrowError {
    ArrowError::SchemaError("a column's data are not of its type".into())
}

/// Arrow's own constructor checks UTF-8 with the standard library, which costs a large part of the decode time on text
/// that is not ASCII.
#[allow(unsafe_code, reason = "the check is made here, several times faster than by the safe constructor")]
fn string_array(strings: &mut Strings, nulls: Option<NullBuffer>) -> Result<StringArray, ArrowError> {
    let (offsets, bytes) = strings.take();
    let on_boundary = |offset: &i32| {
        let byte = usize::try_from(*offset).ok().and_then(|at| bytes.get(at));
        byte.is_none_or(|b| b & 0xc0 != 0x80)
    };
    let fits = usize::try_from(offsets.last()).is_ok_and(|end| end == bytes.len());
    let nulls_fit = nulls.as_ref().is_none_or(|n| n.len() + 1 == offsets.len());
    // In ASCII every place is a boundary.
    let text =
        bytes.is_ascii() || (simdutf8::basic::from_utf8(&bytes).is_ok() && offsets.iter().all(on_boundary));
    if !fits || !nulls_fit || !text {
        return Err(ArrowError::InvalidArgumentError("text that is not UTF-8".into()));
    }
    // SAFETY: the bytes are valid UTF-8 and no offset lies inside a character (both just checked). Offsets ascend from at
    // least 0, because `OffsetBuffer::new` checks it, and the last is the number of bytes; the nulls are as long as the array.
    Ok(unsafe { StringArray::new_unchecked(offsets, bytes.into(), nulls) })
}
