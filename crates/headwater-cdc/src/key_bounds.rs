//! Whether keys can lie between bounds.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, Float32Array, Float64Array};
use arrow_row::Rows;
use arrow_schema::DataType;

use crate::key_columns::{one_integer, one_text};
use crate::key_index::Keys;
use crate::{CdcError, RowCodec};

/// The groups in the order of one key column.
#[derive(Debug)]
pub(crate) struct Sorted(Vec<u32>);

impl Sorted {
    /// One order for each key column.
    pub(crate) fn columns(keys: &Keys) -> Vec<Self> {
        match keys {
            Keys::Integers { values, .. } => {
                vec![Self::by(values.len(), |a, b| values[a].cmp(&values[b]))]
            }
            Keys::Texts { values, .. } => {
                vec![Self::by(values.len(), |a, b| values.get(a).cmp(values.get(b)))]
            }
            Keys::Rows { columns, .. } => columns
                .iter()
                .map(|(_, rows)| Self::by(rows.num_rows(), |a, b| rows.row(a).cmp(&rows.row(b))))
                .collect(),
        }
    }

    fn by(groups: usize, order: impl Fn(usize, usize) -> std::cmp::Ordering) -> Self {
        let mut sorted: Vec<u32> = (0_u32..).take(groups).collect();
        sorted.sort_unstable_by(|a, b| order(*a as usize, *b as usize));
        Self(sorted)
    }

    /// Whether the column's value of any key lies within the bounds, both included.
    pub(crate) fn any_within(
        &self,
        keys: &Keys,
        column: usize,
        min: Option<&ArrayRef>,
        max: Option<&ArrayRef>,
    ) -> Result<bool, CdcError> {
        Ok(match keys {
            Keys::Integers { values, .. } => {
                let value = |group: u32| values[group as usize];
                let (min, max) = (min.and_then(one_integer), max.and_then(one_integer));
                self.holds(value, min.as_ref(), max.as_ref())
            }
            Keys::Texts { values, .. } => {
                let value = |group: u32| values.get(group as usize);
                let (min, max) = (min.and_then(one_text), max.and_then(one_text));
                self.holds(value, min.as_deref().as_ref(), max.as_deref().as_ref())
            }
            Keys::Rows { columns, .. } => {
                let Some((codec, rows)) = columns.get(column) else { return Ok(true) };
                let value = |group: u32| rows.row(group as usize).data();
                // Bounds say nothing of NaN, which sorts last.
                let nan = nan(codec)?;
                if let (Some(nan), Some(last)) = (&nan, self.0.last())
                    && value(*last) == nan.row(0).data()
                {
                    return Ok(true);
                }
                let (min, max) = (bound(codec, min, nan.as_ref())?, bound(codec, max, nan.as_ref())?);
                let bytes = |rows: &Option<Rows>| rows.as_ref().map(|rows| rows.row(0).data().to_vec());
                let (min, max) = (bytes(&min), bytes(&max));
                self.holds(value, min.as_deref().as_ref(), max.as_deref().as_ref())
            }
        })
    }

    fn holds<T: Ord>(&self, value: impl Fn(u32) -> T, min: Option<&T>, max: Option<&T>) -> bool {
        let first = match min {
            Some(min) => self.0.partition_point(|group| value(*group) < *min),
            None => 0,
        };
        match (self.0.get(first), max) {
            (None, _) => false,
            (Some(_), None) => true,
            (Some(group), Some(max)) => value(*group) <= *max,
        }
    }
}

/// The bytes of NaN, for a column of floating point numbers.
fn nan(codec: &RowCodec) -> Result<Option<Rows>, CdcError> {
    let nan: ArrayRef = match codec.types() {
        [DataType::Float32] => Arc::new(Float32Array::from(vec![f32::NAN])),
        [DataType::Float64] => Arc::new(Float64Array::from(vec![f64::NAN])),
        _ => return Ok(None),
    };
    codec.encode(&[nan]).map(Some)
}

fn bound(codec: &RowCodec, bound: Option<&ArrayRef>, nan: Option<&Rows>) -> Result<Option<Rows>, CdcError> {
    let Some(bound) = bound.filter(|bound| bound.is_valid(0)) else { return Ok(None) };
    let rows = codec.encode(std::slice::from_ref(bound))?;
    Ok(Some(rows).filter(|rows| nan.is_none_or(|nan| nan.row(0).data() != rows.row(0).data())))
}
