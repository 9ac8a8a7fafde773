//! The keys of a micro-batch, and a search for them in other data.

use std::sync::OnceLock;

use arrow_array::ArrayRef;
use arrow_buffer::NullBuffer;
use arrow_row::Rows;
use arrow_schema::DataType;

use crate::key_bounds::Sorted;
use crate::key_columns::{
    WithIntegers, WithTexts, all_nulls, check_chunks, check_columns, check_type, is_integer, is_text,
    with_integers, with_texts,
};
use crate::key_table::{STRETCH, Table};
use crate::{CdcError, RowCodec};

/// The distinct keys of a micro-batch, numbered in the order in which they first occur: their *groups*.
///
/// A single integer, date, timestamp or text column is searched as it is; other keys are encoded by [`RowCodec`] first. Keys are compared
/// by equality as described there; null equals nothing, at the top level of a key column.
#[derive(Debug)]
pub struct KeyIndex {
    keys: Keys,
    table: Table,
    sorted: OnceLock<Vec<Sorted>>,
}

/// The distinct keys, by group.
#[derive(Debug)]
pub(crate) enum Keys {
    Integers {
        data_type: DataType,
        values: Vec<i64>,
    },
    Texts {
        data_type: DataType,
        values: Texts,
    },
    /// The whole keys, and each column of them.
    Rows {
        codec: RowCodec,
        whole: Rows,
        columns: Vec<(RowCodec, Rows)>,
    },
}

/// Byte strings, one after the other.
#[derive(Debug, Default)]
pub(crate) struct Texts {
    ends: Vec<usize>,
    bytes: Vec<u8>,
}

impl Texts {
    fn push(&mut self, text: &[u8]) {
        self.bytes.extend_from_slice(text);
        self.ends.push(self.bytes.len());
    }

    #[inline]
    pub(crate) fn get(&self, index: usize) -> &[u8] {
        let begin = if index == 0 { 0 } else { self.ends[index - 1] };
        &self.bytes[begin..self.ends[index]]
    }

    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }
}

impl KeyIndex {
    /// Numbers the keys of a micro-batch: one array per key column, in any number of chunks. Returns the index and the group of each row, in
    /// the order of the rows.
    ///
    /// # Errors
    /// [`CdcError::NullKey`]; chunks that differ in columns or types; no key columns at all.
    pub fn build(chunks: &[Vec<ArrayRef>]) -> Result<(Self, Vec<u32>), CdcError> {
        let types: Vec<DataType> = match chunks.first() {
            Some(columns) => columns.iter().map(|column| column.data_type().clone()).collect(),
            None => Vec::new(),
        };
        if types.is_empty() && !chunks.is_empty() {
            return Err(CdcError::WrongColumnCount { expected: 1, found: 0 });
        }
        let rows = check_chunks(chunks, &types)?;
        let mut building = Building { table: Table::for_keys(rows), groups: Vec::with_capacity(rows) };
        let keys = match types.as_slice() {
            [data_type] if is_integer(data_type) => building.integers(chunks, data_type),
            [data_type] if is_text(data_type) => building.texts(chunks, data_type),
            _ => building.rows(chunks, &types)?,
        };
        let seed = building.table.seed;
        building.table.fill_filter(keys.len(), |group| match &keys {
            Keys::Integers { values, .. } => seed.integer(values[group]),
            Keys::Texts { values, .. } => seed.bytes(values.get(group)),
            Keys::Rows { whole, .. } => seed.bytes(whole.row(group).data()),
        });
        Ok((Self { keys, table: building.table, sorted: OnceLock::new() }, building.groups))
    }

    /// The number of distinct keys. Groups are `0..groups`.
    pub fn groups(&self) -> usize {
        self.keys.len()
    }

    /// Appends (row, group) for each row whose key is in the index, in the order of the rows.
    ///
    /// # Errors
    /// Other columns or types than those the index was built of (text may be `Utf8`, `LargeUtf8` or `Utf8View`, and so for binary; a time zone does not
    /// matter), or more than 2³² rows. Nothing is appended then.
    pub fn probe(&self, columns: &[ArrayRef], hits: &mut Vec<(u32, u32)>) -> Result<(), CdcError> {
        if self.groups() == 0 {
            return Ok(());
        }
        check_columns(columns, self.keys.types())?;
        let rows = columns.first().map_or(0, |column| column.len());
        if u32::try_from(rows).is_err() {
            return Err(CdcError::TooManyRows { rows });
        }
        match (&self.keys, columns) {
            (Keys::Integers { values, .. }, [column]) => {
                let nulls = column.nulls();
                with_integers(column, IntegerProbe { table: &self.table, values, nulls, hits });
            }
            (Keys::Texts { values, .. }, [column]) => {
                let nulls = column.nulls();
                with_texts(column, TextProbe { table: &self.table, values, nulls, hits });
            }
            (Keys::Rows { codec, whole, .. }, _) => {
                let before = hits.len();
                if let Err(error) = self.probe_rows(codec, whole, columns, hits) {
                    hits.truncate(before);
                    return Err(error);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// As [`Self::probe`] for keys that are at hand as plain numbers: the integers, days or units of time of a single key column. None, and
    /// nothing appended, when the keys are not of that kind or there are more than 2³² of them.
    pub fn probe_i64(&self, keys: &[i64], hits: &mut Vec<(u32, u32)>) -> Option<()> {
        let Keys::Integers { values, .. } = &self.keys else { return None };
        u32::try_from(keys.len()).ok()?;
        if !values.is_empty() {
            IntegerProbe { table: &self.table, values, nulls: None, hits }.run(keys, |key| key);
        }
        Some(())
    }

    /// Whether a key of the index can lie in a file or row group with these bounds: for each key column the least and the greatest value as an array of
    /// one row, or none where unknown. Bounds must hold every value but null and NaN; a bound that is null or NaN counts as unknown.
    ///
    /// # Errors
    /// Another number of columns, other types, arrays without a row.
    pub fn may_hold(&self, min: &[Option<ArrayRef>], max: &[Option<ArrayRef>]) -> Result<bool, CdcError> {
        if self.groups() == 0 {
            return Ok(false);
        }
        let types = self.keys.types();
        for bounds in [min, max] {
            if bounds.len() != types.len() {
                return Err(CdcError::WrongColumnCount { expected: types.len(), found: bounds.len() });
            }
            for (column, (bound, data_type)) in bounds.iter().zip(types).enumerate() {
                let Some(bound) = bound else { continue };
                check_type(column, bound, data_type)?;
                if bound.len() != 1 {
                    let found = bound.len();
                    return Err(CdcError::UnevenLengths { what: "bounds", expected: 1, found });
                }
            }
        }
        let sorted = self.sorted.get_or_init(|| Sorted::columns(&self.keys));
        for (column, sorted) in sorted.iter().enumerate() {
            if !sorted.any_within(&self.keys, column, min[column].as_ref(), max[column].as_ref())? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn probe_rows(
        &self,
        codec: &RowCodec,
        whole: &Rows,
        columns: &[ArrayRef],
        hits: &mut Vec<(u32, u32)>,
    ) -> Result<(), CdcError> {
        let rows = columns.first().map_or(0, |column| column.len());
        let mut encoded = codec.empty();
        for begin in (0..rows).step_by(STRETCH) {
            let count = STRETCH.min(rows - begin);
            let part: Vec<ArrayRef> = columns.iter().map(|column| column.slice(begin, count)).collect();
            let nulls = all_nulls(&part);
            encoded.clear();
            codec.append(&mut encoded, &part, count)?;
            self.table.search(
                count,
                |row| self.table.seed.bytes(encoded.row(row).data()),
                |row, group| {
                    is_valid(nulls.as_ref(), row)
                        && encoded.row(row).data() == whole.row(group as usize).data()
                },
                |row, group| hits.push((number(begin + row), group)),
            );
        }
        Ok(())
    }
}

impl Keys {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Integers { values, .. } => values.len(),
            Self::Texts { values, .. } => values.len(),
            Self::Rows { whole, .. } => whole.num_rows(),
        }
    }

    fn types(&self) -> &[DataType] {
        match self {
            Self::Integers { data_type, .. } | Self::Texts { data_type, .. } => {
                std::slice::from_ref(data_type)
            }
            Self::Rows { codec, .. } => codec.types(),
        }
    }
}

/// Row numbers fit, which is checked where rows come in.
#[allow(clippy::cast_possible_truncation, reason = "the number of rows was checked to fit")]
fn number(row: usize) -> u32 {
    row as u32
}

struct Building {
    table: Table,
    groups: Vec<u32>,
}

impl Building {
    fn integers(&mut self, chunks: &[Vec<ArrayRef>], data_type: &DataType) -> Keys {
        struct Add<'a>(&'a mut Building, &'a mut Vec<i64>);
        impl WithIntegers for Add<'_> {
            fn run<T: Copy>(self, keys: &[T], widen: impl Fn(T) -> i64) {
                let Self(building, values) = self;
                for key in keys.iter().map(|key| widen(*key)) {
                    let hash = building.table.seed.integer(key);
                    let next = number(values.len());
                    let group = building.table.insert(hash, next, |group| values[group as usize] == key);
                    if group == next {
                        values.push(key);
                    }
                    building.groups.push(group);
                }
            }
        }
        let mut values = Vec::new();
        for column in chunks.iter().flatten() {
            with_integers(column, Add(self, &mut values));
        }
        Keys::Integers { data_type: data_type.clone(), values }
    }

    fn texts(&mut self, chunks: &[Vec<ArrayRef>], data_type: &DataType) -> Keys {
        struct Add<'a>(&'a mut Building, &'a mut Texts);
        impl WithTexts for Add<'_> {
            fn run<'t>(self, rows: usize, text: impl Fn(usize) -> &'t [u8]) {
                let Self(building, values) = self;
                for row in 0..rows {
                    let key = text(row);
                    let next = number(values.len());
                    let hash = building.table.seed.bytes(key);
                    let group = building.table.insert(hash, next, |group| values.get(group as usize) == key);
                    if group == next {
                        values.push(key);
                    }
                    building.groups.push(group);
                }
            }
        }
        let mut values = Texts::default();
        for column in chunks.iter().flatten() {
            with_texts(column, Add(self, &mut values));
        }
        Keys::Texts { data_type: data_type.clone(), values }
    }

    fn rows(&mut self, chunks: &[Vec<ArrayRef>], types: &[DataType]) -> Result<Keys, CdcError> {
        let codec = RowCodec::new(types)?;
        let mut columns = Vec::with_capacity(types.len());
        for data_type in types {
            let codec = RowCodec::new(std::slice::from_ref(data_type))?;
            let rows = codec.empty();
            columns.push((codec, rows));
        }
        let (mut whole, mut encoded) = (codec.empty(), codec.empty());
        for chunk in chunks {
            let rows = chunk.first().map_or(0, |column| column.len());
            encoded.clear();
            codec.append(&mut encoded, chunk, rows)?;
            let mut fresh = Vec::new();
            for (row, key) in encoded.iter().enumerate() {
                let next = number(whole.num_rows());
                let hash = self.table.seed.bytes(key.data());
                let same = |group: u32| whole.row(group as usize).data() == key.data();
                let group = self.table.insert(hash, next, same);
                if group == next {
                    whole.push(key);
                    fresh.push(row);
                }
                self.groups.push(group);
            }
            for ((codec, values), column) in columns.iter_mut().zip(chunk) {
                let encoded = codec.encode(std::slice::from_ref(column))?;
                fresh.iter().for_each(|row| values.push(encoded.row(*row)));
            }
        }
        Ok(Keys::Rows { codec, whole, columns })
    }
}

struct IntegerProbe<'a> {
    table: &'a Table,
    values: &'a [i64],
    nulls: Option<&'a NullBuffer>,
    hits: &'a mut Vec<(u32, u32)>,
}

impl WithIntegers for IntegerProbe<'_> {
    fn run<T: Copy>(self, keys: &[T], widen: impl Fn(T) -> i64) {
        let Self { table, values, nulls, hits } = self;
        for (stretch, keys) in keys.chunks(STRETCH).enumerate() {
            let begin = stretch * STRETCH;
            table.search(
                keys.len(),
                |row| table.seed.integer(widen(keys[row])),
                |row, group| values[group as usize] == widen(keys[row]) && is_valid(nulls, begin + row),
                |row, group| hits.push((number(begin + row), group)),
            );
        }
    }
}

struct TextProbe<'a> {
    table: &'a Table,
    values: &'a Texts,
    nulls: Option<&'a NullBuffer>,
    hits: &'a mut Vec<(u32, u32)>,
}

impl WithTexts for TextProbe<'_> {
    fn run<'t>(self, rows: usize, text: impl Fn(usize) -> &'t [u8]) {
        let Self { table, values, nulls, hits } = self;
        for begin in (0..rows).step_by(STRETCH) {
            table.search(
                STRETCH.min(rows - begin),
                |row| table.seed.bytes(text(begin + row)),
                |row, group| values.get(group as usize) == text(begin + row) && is_valid(nulls, begin + row),
                |row, group| hits.push((number(begin + row), group)),
            );
        }
    }
}

fn is_valid(nulls: Option<&NullBuffer>, row: usize) -> bool {
    nulls.is_none_or(|nulls| nulls.is_valid(row))
}
