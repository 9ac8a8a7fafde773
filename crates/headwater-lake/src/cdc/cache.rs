//! The keys of a file, decoded and kept small, for tables that get one small micro-batch after the other.

use arrow_array::cast::AsArray;
use arrow_array::types::{Date32Type, Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, ArrayRef};
use arrow_schema::{DataType, TimeUnit};
use headwater_cdc::KeyIndex;

/// Keys that are unpacked at a time.
const CHUNK: usize = 4_096;

/// A column of whole numbers, as differences from the least where they are small enough.
#[derive(Debug, Default)]
pub(crate) struct KeyColumn {
    wide: Vec<i64>,
    least: i64,
    narrow: Vec<u32>,
    /// Nulls or another type were met: the column cannot be kept.
    broken: bool,
}

impl KeyColumn {
    /// Says whether keys of this type can be kept.
    pub(crate) fn holds(data_type: &DataType) -> bool {
        matches!(
            data_type,
            DataType::Int32
                | DataType::Int64
                | DataType::Date32
                | DataType::Timestamp(TimeUnit::Microsecond, _)
        )
    }

    pub(crate) fn push(&mut self, keys: &ArrayRef) {
        if keys.null_count() > 0 {
            self.broken = true;
        }
        if self.broken {
            return;
        }
        match keys.data_type() {
            DataType::Int32 => {
                self.wide.extend(keys.as_primitive::<Int32Type>().values().iter().map(|&v| i64::from(v)))
            }
            DataType::Date32 => {
                self.wide.extend(keys.as_primitive::<Date32Type>().values().iter().map(|&v| i64::from(v)));
            }
            DataType::Int64 => self.wide.extend_from_slice(keys.as_primitive::<Int64Type>().values()),
            DataType::Timestamp(TimeUnit::Microsecond, _) => {
                self.wide.extend_from_slice(keys.as_primitive::<TimestampMicrosecondType>().values());
            }
            _ => self.broken = true,
        }
    }

    /// Packs what was pushed; `None` where it cannot be kept.
    pub(crate) fn sealed(mut self) -> Option<Self> {
        if self.broken {
            return None;
        }
        let least = self.wide.iter().copied().min()?;
        let narrow: Option<Vec<u32>> =
            self.wide.iter().map(|&v| u32::try_from(v.checked_sub(least)?).ok()).collect();
        match narrow {
            Some(narrow) => {
                self.narrow = narrow;
                self.wide = Vec::new();
            }
            None => self.wide.shrink_to_fit(),
        }
        self.least = least;
        Some(self)
    }

    pub(crate) fn bytes(&self) -> usize {
        self.wide.len() * 8 + self.narrow.len() * 4
    }

    /// Finds the rows whose key is in the index.
    pub(crate) fn probe(&self, index: &KeyIndex, hits: &mut Vec<(u32, u32)>) {
        let mut found = Vec::new();
        let mut start = 0_u32;
        let mut look = |keys: &[i64]| {
            found.clear();
            index.probe_i64(keys, &mut found);
            hits.extend(found.iter().map(|&(row, group)| (start + row, group)));
            start += u32::try_from(keys.len()).unwrap_or(0);
        };
        if self.narrow.is_empty() {
            self.wide.chunks(CHUNK).for_each(&mut look);
            return;
        }
        let mut unpacked = [0_i64; CHUNK];
        for chunk in self.narrow.chunks(CHUNK) {
            let unpacked = &mut unpacked[..chunk.len()];
            for (to, &from) in unpacked.iter_mut().zip(chunk) {
                *to = self.least + i64::from(from);
            }
            look(unpacked);
        }
    }
}
