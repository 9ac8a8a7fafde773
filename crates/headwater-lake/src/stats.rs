//! Statistics of a file, collected while it is written.
//!
//! What they look like is the kernel's business. It is given only the rows that hold the least and the greatest values: to
//! compare all texts of a file is as much work as to encode a good part of it, and most differ in their first bytes.

use std::cmp::Ordering;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{
    Array, ArrayRef, ArrowNativeTypeOp, ArrowPrimitiveType, Int64Array, PrimitiveArray, RecordBatch,
    StringArray, StructArray, UInt32Array, downcast_primitive_array,
};
use arrow_buffer::NullBuffer;
use arrow_schema::{ArrowError, DataType};
use arrow_select::take::take_record_batch;
use delta_kernel::expressions::ColumnName;
use delta_kernel::schema::StructType;
use delta_kernel_default_engine::stats::FileStatsAccumulator;
use headwater_connect::BoxError;

/// Collects the statistics of a file, batch by batch.
#[derive(Debug)]
pub(crate) struct FileStats {
    bounds: FileStatsAccumulator,
    rows: usize,
    /// Nulls of each leaf column, by its path.
    nulls: HashMap<Vec<String>, usize>,
}

impl FileStats {
    /// `leaves` are the columns that have statistics, of a file with these columns.
    pub(crate) fn new(leaves: &[ColumnName], schema: &StructType) -> Self {
        Self {
            bounds: FileStatsAccumulator::new(leaves, schema),
            rows: 0,
            nulls: leaves.iter().map(|leaf| (leaf.path().to_vec(), 0)).collect(),
        }
    }

    /// Takes rows into account.
    pub(crate) fn merge(&mut self, batch: &RecordBatch) -> Result<(), BoxError> {
        // The first row makes a batch of nothing but nulls known.
        let mut telling = BTreeSet::from([0]);
        for (path, count) in &mut self.nulls {
            let Some(Leaf { values, nulls }) = Leaf::find(batch, path) else { continue };
            *count += match values.data_type() {
                DataType::Null => values.len(),
                _ => nulls.as_ref().map_or(0, NullBuffer::null_count),
            };
            telling.extend(extremes(values, nulls.as_ref()).into_iter().flatten());
        }
        self.rows += batch.num_rows();
        telling.retain(|row| *row < batch.num_rows());
        let telling = telling.into_iter().map(u32::try_from).collect::<Result<Vec<_>, _>>()?;
        Ok(self.bounds.merge(&take_record_batch(batch, &UInt32Array::from(telling))?)?)
    }

    /// The statistics of all rows, or `None` where there was no batch.
    pub(crate) fn finish(self) -> Result<Option<StructArray>, BoxError> {
        let Some(stats) = self.bounds.finish()? else { return Ok(None) };
        let (fields, mut columns, _) = stats.into_parts();
        for (field, column) in fields.iter().zip(&mut columns) {
            match field.name().as_str() {
                "numRecords" => *column = count(self.rows)?,
                "nullCount" => *column = null_counts(column, &mut Vec::new(), &self.nulls)?,
                _ => {}
            }
        }
        Ok(Some(StructArray::try_new(fields, columns, None)?))
    }
}

fn count(number: usize) -> Result<ArrayRef, BoxError> {
    Ok(Arc::new(Int64Array::from(vec![i64::try_from(number)?])))
}

/// The struct of counts again, with these numbers.
fn null_counts(
    shape: &ArrayRef,
    path: &mut Vec<String>,
    nulls: &HashMap<Vec<String>, usize>,
) -> Result<ArrayRef, BoxError> {
    let Some(inner) = shape.as_struct_opt() else {
        let number = nulls.get(path.as_slice()).ok_or_else(|| format!("no nulls counted of {path:?}"))?;
        return count(*number);
    };
    let mut columns = Vec::with_capacity(inner.num_columns());
    for (field, column) in inner.fields().iter().zip(inner.columns()) {
        path.push(field.name().clone());
        columns.push(null_counts(column, path, nulls)?);
        path.pop();
    }
    let array: Result<StructArray, ArrowError> = StructArray::try_new(inner.fields().clone(), columns, None);
    Ok(Arc::new(array?))
}

/// A leaf column, and where it is null: there, or in a struct around it.
struct Leaf<'a> {
    values: &'a ArrayRef,
    nulls: Option<NullBuffer>,
}

impl<'a> Leaf<'a> {
    fn find(batch: &'a RecordBatch, path: &[String]) -> Option<Self> {
        let (first, rest) = path.split_first()?;
        let mut values = batch.column_by_name(first)?;
        let mut nulls = values.nulls().cloned();
        for name in rest {
            values = values.as_struct_opt()?.column_by_name(name)?;
            nulls = NullBuffer::union(nulls.as_ref(), values.nulls());
        }
        Some(Self { values, nulls })
    }
}

/// Rows that hold the least and the greatest value, where the type has such.
fn extremes(values: &ArrayRef, nulls: Option<&NullBuffer>) -> Option<[usize; 2]> {
    let values: &dyn Array = values.as_ref();
    downcast_primitive_array! {
        values => number_extremes(values, nulls),
        DataType::Utf8 => text_extremes(values.as_string_opt()?, nulls),
        _ => None,
    }
}

/// Rows that are not null.
fn valid(len: usize, nulls: Option<&NullBuffer>) -> impl Iterator<Item = usize> {
    (0..len).filter(move |row| nulls.is_none_or(|nulls| nulls.is_valid(*row)))
}

fn number_extremes<T: ArrowPrimitiveType>(
    array: &PrimitiveArray<T>,
    nulls: Option<&NullBuffer>,
) -> Option<[usize; 2]> {
    let values = array.values();
    let first = valid(array.len(), nulls).next()?;
    let (mut least, mut greatest) = (first, first);
    let (mut least_value, mut greatest_value) = (values[first], values[first]);
    for (row, value) in values.iter().enumerate() {
        let (less, greater) = (value.is_lt(least_value), value.is_gt(greatest_value));
        if (less || greater) && nulls.is_none_or(|nulls| nulls.is_valid(row)) {
            if less {
                (least, least_value) = (row, *value);
            }
            if greater {
                (greatest, greatest_value) = (row, *value);
            }
        }
    }
    Some([least, greatest])
}

/// A text, and its first bytes as a number that is ordered as they are.
#[derive(Clone, Copy)]
struct Text<'a> {
    head: u64,
    bytes: &'a [u8],
}

const HEAD: usize = size_of::<u64>();

impl<'a> Text<'a> {
    #[inline]
    fn new(data: &'a [u8], from: usize, to: usize) -> Option<Self> {
        let bytes = data.get(from..to)?;
        let head = match data.get(from..)?.first_chunk::<HEAD>() {
            Some(chunk) if bytes.len() >= HEAD => u64::from_be_bytes(*chunk),
            _ => {
                let mut chunk = [0; HEAD];
                chunk.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
                u64::from_be_bytes(chunk)
            }
        };
        Some(Self { head, bytes })
    }

    #[inline]
    fn compare(&self, other: &Self) -> Ordering {
        self.head.cmp(&other.head).then_with(|| {
            if self.bytes.len() <= HEAD && other.bytes.len() <= HEAD {
                // The heads are the whole texts but for zeroes at their ends.
                self.bytes.len().cmp(&other.bytes.len())
            } else {
                self.bytes.cmp(other.bytes)
            }
        })
    }
}

fn text_extremes(array: &StringArray, nulls: Option<&NullBuffer>) -> Option<[usize; 2]> {
    let (offsets, data) = (array.value_offsets(), array.value_data());
    let text = |row: usize| {
        let place = |at: usize| offsets.get(at).and_then(|offset| usize::try_from(*offset).ok());
        Text::new(data, place(row)?, place(row + 1)?)
    };
    let first = valid(array.len(), nulls).next()?;
    let (mut least, mut greatest) = (first, first);
    let (mut least_text, mut greatest_text) = (text(first)?, text(first)?);
    for row in valid(array.len(), nulls) {
        let this = text(row)?;
        if this.compare(&least_text) == Ordering::Less {
            (least, least_text) = (row, this);
        } else if this.compare(&greatest_text) == Ordering::Greater {
            (greatest, greatest_text) = (row, this);
        }
    }
    Some([least, greatest])
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::builder::{Int64Builder, ListBuilder};
    use arrow_array::{
        Array, ArrayRef, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int32Array, Int64Array,
        NullArray, RecordBatch, StringArray, StructArray, TimestampMicrosecondArray,
    };
    use arrow_buffer::NullBuffer;
    use arrow_schema::{DataType, Field, Fields, Schema};
    use delta_kernel::expressions::ColumnName;
    use delta_kernel::schema::StructType;
    use delta_kernel_default_engine::stats::FileStatsAccumulator;
    use proptest::prelude::*;

    use super::FileStats;

    /// One row: text, whole number, float, and whether it and the struct beside it are there.
    type Row = (Option<String>, Option<i64>, Option<f64>, bool, Option<String>);

    fn rows() -> impl Strategy<Value = Vec<Row>> {
        let text = || {
            prop_oneof![
                "[ab\0]{0,3}",
                "common prefix [a-c]{0,3}",
                "[a-c]{28,40}",
                "\\PC{0,70}",
                "[\u{7e}-\u{81}\u{10ffff}]{30,36}",
            ]
        };
        let float =
            prop_oneof![any::<f64>(), Just(f64::NAN), Just(-f64::NAN), Just(0.0), Just(-0.0), -9.0..9.0f64,];
        let row = (
            proptest::option::of(text()),
            proptest::option::of(prop_oneof![any::<i64>(), -9..9i64]),
            proptest::option::of(float),
            any::<bool>(),
            proptest::option::of(text()),
        );
        proptest::collection::vec(row, 1..20)
    }

    fn batch(rows: &[Row]) -> RecordBatch {
        let numbers = || rows.iter().map(|row| row.1);
        let narrow = || numbers().map(|n| n.map(|n| i32::try_from(n % 1000).unwrap()));
        let mut lists = ListBuilder::new(Int64Builder::new());
        rows.iter().for_each(|row| lists.append_option(row.1.map(|n| [Some(n), None])));
        let inner = Fields::from(vec![
            Field::new("text", DataType::Utf8, true),
            Field::new("number", DataType::Int64, true),
        ]);
        let there: NullBuffer = rows.iter().map(|row| row.3).collect();
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("text", Arc::new(rows.iter().map(|row| row.0.clone()).collect::<StringArray>())),
            ("long", Arc::new(numbers().collect::<Int64Array>())),
            ("int", Arc::new(narrow().collect::<Int32Array>())),
            ("date", Arc::new(narrow().collect::<Date32Array>())),
            ("double", Arc::new(rows.iter().map(|row| row.2).collect::<Float64Array>())),
            ("decimal", Arc::new(numbers().map(|n| n.map(i128::from)).collect::<Decimal128Array>())),
            (
                "time",
                Arc::new(
                    numbers()
                        .map(|n| n.map(|n| n % (1 << 52)))
                        .collect::<TimestampMicrosecondArray>()
                        .with_timezone("UTC"),
                ),
            ),
            ("bool", Arc::new(rows.iter().map(|row| row.2.map(|_| row.3)).collect::<BooleanArray>())),
            ("void", Arc::new(NullArray::new(rows.len()))),
            ("list", Arc::new(lists.finish())),
            (
                "struct",
                Arc::new(StructArray::new(
                    inner,
                    vec![
                        Arc::new(rows.iter().map(|row| row.4.clone()).collect::<StringArray>()),
                        Arc::new(numbers().collect::<Int64Array>()),
                    ],
                    Some(there),
                )),
            ),
            ("unseen", Arc::new(numbers().collect::<Int64Array>())),
        ];
        let fields: Vec<Field> =
            columns.iter().map(|(name, array)| Field::new(*name, array.data_type().clone(), true)).collect();
        RecordBatch::try_new(Arc::new(Schema::new(fields)), columns.into_iter().map(|c| c.1).collect())
            .unwrap()
    }

    proptest! {
        #[test]
        fn statistics_are_those_that_the_kernel_collects_of_all_rows(
            batches in proptest::collection::vec(rows(), 1..4), from in 0..3usize,
        ) {
            let leaves: Vec<ColumnName> = [
                "text", "long", "int", "date", "double", "decimal", "time", "bool", "void", "list",
            ].iter().map(|name| ColumnName::new([*name])).chain([
                ColumnName::new(["struct", "text"]), ColumnName::new(["struct", "number"]),
            ]).collect();
            let schema = StructType::try_new([]).unwrap();
            let mut ours = FileStats::new(&leaves, &schema);
            let mut kernels = FileStatsAccumulator::new(&leaves, &schema);
            for rows in &batches {
                // A batch that is a part of a larger one has its values elsewhere.
                let batch = batch(rows);
                let from = from.min(batch.num_rows() - 1);
                let batch = batch.slice(from, batch.num_rows() - from);
                ours.merge(&batch).unwrap();
                kernels.merge(&batch).unwrap();
            }
            let (ours, kernels) = (ours.finish().unwrap().unwrap(), kernels.finish().unwrap().unwrap());
            prop_assert_eq!(format!("{ours:?}"), format!("{kernels:?}"));
            prop_assert_eq!(ours.data_type(), kernels.data_type());
        }
    }

    #[test]
    fn a_batch_without_rows_counts_as_one() {
        let one: Row = (Some("a".into()), Some(1), Some(1.0), true, None);
        let leaves = [ColumnName::new(["text"])];
        let schema = StructType::try_new([]).unwrap();
        let mut stats = FileStats::new(&leaves, &schema);
        stats.merge(&batch(&[one]).slice(0, 0)).unwrap();
        assert!(stats.finish().unwrap().is_some());
        assert!(FileStats::new(&leaves, &schema).finish().unwrap().is_none());
    }
}
