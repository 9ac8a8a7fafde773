//! Fingerprints of rows, worked out column by column.
//!
//! A fingerprint is SipHash-1-3 with 128 bits over a row's values as words of 64 bits. The words tell where each value ends, so
//! different rows have different words; the last word says which values are null. Values are equal as [`RowCodec`]'s are.

use arrow_array::cast::AsArray;
use arrow_array::types::{Decimal128Type, Float32Type, Float64Type};
use arrow_array::{Array, ArrayRef};
use arrow_buffer::NullBuffer;
use arrow_row::Rows;
use arrow_schema::DataType;

use crate::key_columns::{WithIntegers, WithTexts, is_integer, is_text, with_integers, with_texts};
use crate::snapshot::Salt;
use crate::{CdcError, RowCodec};

/// Rows that are worked on at a time: their states stay in the innermost cache.
const BLOCK: usize = 512;
/// Columns whose nulls one word tells.
const NULLS: usize = 64;

/// Makes the fingerprints of rows of some types.
#[derive(Debug)]
pub struct Printer {
    salt: Salt,
    columns: Vec<(DataType, Way)>,
}

/// How the values of a column become words.
#[derive(Debug)]
enum Way {
    Integer,
    Text,
    Boolean,
    Float32,
    Float64,
    Decimal128,
    /// As the codec encodes them.
    Encoded(RowCodec),
}

impl Printer {
    /// Fingerprints of different salts have nothing in common.
    ///
    /// # Errors
    /// [`CdcError::UnsupportedType`] as [`RowCodec::new`].
    pub fn new(types: &[DataType], salt: Salt) -> Result<Self, CdcError> {
        // Whatever is refused elsewhere is refused here.
        RowCodec::new(types)?;
        let columns = types.iter().map(|data_type| {
            let way = match data_type {
                _ if is_integer(data_type) => Way::Integer,
                _ if is_text(data_type) => Way::Text,
                DataType::Boolean => Way::Boolean,
                DataType::Float32 => Way::Float32,
                DataType::Float64 => Way::Float64,
                DataType::Decimal128(..) => Way::Decimal128,
                other => Way::Encoded(RowCodec::new(std::slice::from_ref(other))?),
            };
            Ok((data_type.clone(), way))
        });
        Ok(Self { salt, columns: columns.collect::<Result<_, CdcError>>()? })
    }

    /// The fingerprint of each row. Equal rows have equal ones; null equals null.
    ///
    /// # Errors
    /// Another number of columns, other types, uneven lengths.
    pub fn print(&self, columns: &[ArrayRef], rows: usize) -> Result<Vec<u128>, CdcError> {
        if columns.len() != self.columns.len() {
            return Err(CdcError::WrongColumnCount { expected: self.columns.len(), found: columns.len() });
        }
        for (column, (array, (expected, _))) in columns.iter().zip(&self.columns).enumerate() {
            if !array.data_type().equals_datatype(expected) {
                let (expected, found) = (expected.clone(), array.data_type().clone());
                return Err(CdcError::WrongType { column, expected, found });
            }
            if array.len() != rows {
                return Err(CdcError::UnevenLengths { what: "columns", expected: rows, found: array.len() });
            }
        }
        let mut prints = vec![0; rows];
        let columns: Vec<Column<'_>> = columns
            .iter()
            .zip(&self.columns)
            .map(|(array, (_, way))| Column::new(ArrayRef::clone(array), way))
            .collect::<Result<_, CdcError>>()?;
        let mut lanes = Lanes::default();
        for (block, prints) in prints.chunks_mut(BLOCK).enumerate() {
            let begin = block * BLOCK;
            lanes.begin(self.salt.parts(), prints.len());
            for columns in columns.chunks(NULLS) {
                let mut missing = [0; BLOCK];
                for (bit, column) in columns.iter().enumerate() {
                    if let Some(nulls) = column.nulls() {
                        for (row, missing) in missing[..prints.len()].iter_mut().enumerate() {
                            *missing |= u64::from(nulls.is_null(begin + row)) << bit;
                        }
                    }
                    column.absorb(&mut lanes, begin);
                }
                lanes.each(|row| missing[row]);
            }
            lanes.end(prints);
        }
        Ok(prints)
    }
}

/// A column on its way into fingerprints.
struct Column<'a> {
    array: ArrayRef,
    encoded: Option<Rows>,
    way: &'a Way,
}

impl<'a> Column<'a> {
    fn new(array: ArrayRef, way: &'a Way) -> Result<Self, CdcError> {
        let encoded = match way {
            Way::Encoded(codec) => Some(codec.encode(std::slice::from_ref(&array))?),
            _ => None,
        };
        Ok(Self { array, encoded, way })
    }

    fn nulls(&self) -> Option<&NullBuffer> {
        self.array.nulls().filter(|nulls| nulls.null_count() > 0)
    }

    /// Takes the values from row `begin` on into the states. What a null holds does not count.
    fn absorb(&self, lanes: &mut Lanes, begin: usize) {
        let nulls = self.nulls();
        let valid = |row: usize| nulls.is_none_or(|nulls| nulls.is_valid(begin + row));
        match self.way {
            Way::Integer => with_integers(&self.array, Integers { lanes, begin, nulls }),
            Way::Text => with_texts(&self.array, Texts { lanes, begin, nulls }),
            Way::Boolean => {
                let values = self.array.as_boolean();
                lanes.each(|row| u64::from(valid(row) && values.value(begin + row)));
            }
            Way::Float32 => {
                let values = &self.array.as_primitive::<Float32Type>().values()[begin..];
                lanes.each(|row| if valid(row) { u64::from(bits32(values[row])) } else { 0 });
            }
            Way::Float64 => {
                let values = &self.array.as_primitive::<Float64Type>().values()[begin..];
                lanes.each(|row| if valid(row) { bits64(values[row]) } else { 0 });
            }
            Way::Decimal128 => {
                let values = &self.array.as_primitive::<Decimal128Type>().values()[begin..];
                let value = |row: usize| if valid(row) { values[row].cast_unsigned() } else { 0 };
                lanes.each(|row| low(value(row)));
                lanes.each(|row| low(value(row) >> 64));
            }
            Way::Encoded(_) => {
                if let Some(encoded) = &self.encoded {
                    lanes.texts(|row| encoded.row(begin + row).data());
                }
            }
        }
    }
}

/// One NaN, and one zero.
fn bits32(value: f32) -> u32 {
    if value.is_nan() { f32::NAN.to_bits() } else { (value + 0.0).to_bits() }
}

fn bits64(value: f64) -> u64 {
    if value.is_nan() { f64::NAN.to_bits() } else { (value + 0.0).to_bits() }
}

#[allow(clippy::cast_possible_truncation, reason = "the lower half is what is wanted")]
fn low(value: u128) -> u64 {
    value as u64
}

struct Integers<'a> {
    lanes: &'a mut Lanes,
    begin: usize,
    nulls: Option<&'a NullBuffer>,
}

impl WithIntegers for Integers<'_> {
    fn run<T: Copy>(self, values: &[T], widen: impl Fn(T) -> i64) {
        let Self { lanes, begin, nulls } = self;
        let values = &values[begin..];
        match nulls {
            None => lanes.each(|row| widen(values[row]).cast_unsigned()),
            Some(nulls) => lanes
                .each(|row| if nulls.is_valid(begin + row) { widen(values[row]).cast_unsigned() } else { 0 }),
        }
    }
}

struct Texts<'a> {
    lanes: &'a mut Lanes,
    begin: usize,
    nulls: Option<&'a NullBuffer>,
}

impl WithTexts for Texts<'_> {
    fn run<'t>(self, _rows: usize, text: impl Fn(usize) -> &'t [u8]) {
        let Self { lanes, begin, nulls } = self;
        match nulls {
            None => lanes.texts(|row| text(begin + row)),
            Some(nulls) => {
                lanes.texts(|row| if nulls.is_valid(begin + row) { text(begin + row) } else { &[] });
            }
        }
    }
}

/// The state of the hash of one row.
#[derive(Debug, Clone, Copy, Default)]
struct State([u64; 4]);

impl State {
    #[inline]
    fn begin((first, second): (u64, u64)) -> Self {
        Self([
            first ^ 0x736f_6d65_7073_6575,
            second ^ 0x646f_7261_6e64_6f6d ^ 0xee,
            first ^ 0x6c79_6765_6e65_7261,
            second ^ 0x7465_6462_7974_6573,
        ])
    }

    #[inline]
    fn round(&mut self) {
        let [a, b, c, d] = &mut self.0;
        *a = a.wrapping_add(*b);
        *c = c.wrapping_add(*d);
        *b = b.rotate_left(13) ^ *a;
        *d = d.rotate_left(16) ^ *c;
        *a = a.rotate_left(32);
        *c = c.wrapping_add(*b);
        *a = a.wrapping_add(*d);
        *b = b.rotate_left(17) ^ *c;
        *d = d.rotate_left(21) ^ *a;
        *c = c.rotate_left(32);
    }

    #[inline]
    fn absorb(&mut self, word: u64) {
        self.0[3] ^= word;
        self.round();
        self.0[0] ^= word;
    }

    /// Takes in the length, then the bytes: the last word may hold some of those before it again.
    #[inline]
    fn absorb_text(&mut self, text: &[u8]) {
        self.absorb(text.len() as u64);
        let (words, rest) = text.as_chunks::<8>();
        for word in words {
            self.absorb(u64::from_le_bytes(*word));
        }
        if rest.is_empty() {
            return;
        }
        let last = match (text.last_chunk::<8>(), text.first_chunk::<4>(), text.last_chunk::<4>()) {
            (Some(last), ..) => u64::from_le_bytes(*last),
            (None, Some(first), Some(last)) => {
                u64::from(u32::from_le_bytes(*first)) << 32 | u64::from(u32::from_le_bytes(*last))
            }
            _ => text.iter().fold(0, |word, byte| word << 8 | u64::from(*byte)),
        };
        self.absorb(last);
    }

    #[inline]
    fn end(mut self) -> u128 {
        let mut half = |mark: usize, word: u64| {
            self.0[mark] ^= word;
            (0..3).for_each(|_| self.round());
            u128::from(self.0[0] ^ self.0[1] ^ self.0[2] ^ self.0[3])
        };
        let first = half(2, 0xee);
        first | half(1, 0xdd) << 64
    }
}

/// The states of some rows.
struct Lanes {
    states: [State; BLOCK],
    rows: usize,
}

impl Default for Lanes {
    fn default() -> Self {
        Self { states: [State::default(); BLOCK], rows: 0 }
    }
}

impl Lanes {
    fn begin(&mut self, key: (u64, u64), rows: usize) {
        self.rows = rows;
        self.states[..rows].fill(State::begin(key));
    }

    /// Takes a word of each row in.
    #[inline]
    fn each(&mut self, word: impl Fn(usize) -> u64) {
        for (row, state) in self.states[..self.rows].iter_mut().enumerate() {
            state.absorb(word(row));
        }
    }

    #[inline]
    fn texts<'t>(&mut self, text: impl Fn(usize) -> &'t [u8]) {
        for (row, state) in self.states[..self.rows].iter_mut().enumerate() {
            state.absorb_text(text(row));
        }
    }

    fn end(&self, prints: &mut [u128]) {
        for (print, state) in prints.iter_mut().zip(&self.states) {
            *print = state.end();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};
    use std::hash::Hasher;
    use std::sync::Arc;

    use arrow_array::builder::{Int64Builder, ListBuilder};
    use arrow_array::{
        Array, ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Decimal256Array,
        Float32Array, Float64Array, Int8Array, Int64Array, LargeStringArray, StringArray, StringViewArray,
        TimestampMicrosecondArray,
    };
    use arrow_buffer::i256;
    use siphasher::sip128::{Hasher128, SipHasher13};

    use super::{BLOCK, Printer, State};
    use crate::RowCodec;
    use crate::snapshot::Salt;

    #[test]
    fn the_hash_is_siphash_1_3() {
        for words in 0..20_u64 {
            let (mut ours, mut theirs) = (State::begin((3, 5)), SipHasher13::new_with_keys(3, 5));
            for word in 0..words {
                ours.absorb(word.wrapping_mul(0x9e37_79b9_7f4a_7c15));
                theirs.write_u64(word.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            }
            // What ends a message there is its length.
            ours.absorb((words * 8) << 56);
            assert_eq!(ours.end(), theirs.finish128().as_u128());
        }
    }

    /// Rows whose fingerprints must tell apart what the codec tells apart, and nothing else.
    fn check(columns: &[ArrayRef]) {
        let types: Vec<_> = columns.iter().map(|column| column.data_type().clone()).collect();
        let rows = columns[0].len();
        let encoded = RowCodec::new(&types).unwrap().encode(columns).unwrap();
        let printer = Printer::new(&types, Salt::random()).unwrap();
        let prints = printer.print(columns, rows).unwrap();
        let mut by_row: HashMap<Vec<u8>, u128> = HashMap::new();
        for (row, print) in encoded.iter().zip(&prints) {
            assert_eq!(by_row.entry(row.data().to_vec()).or_insert(*print), print, "{types:?}");
        }
        let different: HashSet<u128> = by_row.values().copied().collect();
        assert_eq!(different.len(), by_row.len(), "{types:?}");
        // The same rows in another batch.
        if rows > 2 {
            let part: Vec<ArrayRef> = columns.iter().map(|column| column.slice(1, rows - 2)).collect();
            assert_eq!(printer.print(&part, rows - 2).unwrap(), prints[1..rows - 1]);
        }
    }

    #[test]
    fn rows_have_one_fingerprint_if_and_only_if_they_are_equal() {
        let texts: Vec<Option<String>> = (0..40)
            .flat_map(|length| {
                let text: String = (0..length).map(|at| char::from(b'a' + at % 26)).collect();
                let other = format!("{}\u{0}", text.get(1..).unwrap_or_default());
                [Some(text.clone()), Some(text), Some(other), None, Some(String::new())]
            })
            .collect();
        let rows = texts.len();
        let text = |at: usize| texts[at].as_deref();
        let whole = |at: usize| Some(at as i64 % 7 - 3).filter(|value| *value != 2);
        let all: Vec<ArrayRef> = vec![
            Arc::new((0..rows).map(text).collect::<StringArray>()),
            Arc::new((0..rows).map(text).collect::<LargeStringArray>()),
            Arc::new((0..rows).map(text).collect::<StringViewArray>()),
            Arc::new((0..rows).map(|at| text(at).map(str::as_bytes)).collect::<BinaryArray>()),
            Arc::new((0..rows).map(whole).collect::<Int64Array>()),
            Arc::new((0..rows).map(|at| whole(at).map(|v| i8::try_from(v).unwrap())).collect::<Int8Array>()),
            Arc::new(
                (0..rows).map(|at| whole(at).map(|v| i32::try_from(v).unwrap())).collect::<Date32Array>(),
            ),
            Arc::new((0..rows).map(whole).collect::<TimestampMicrosecondArray>().with_timezone("UTC")),
            Arc::new((0..rows).map(|at| whole(at).map(|v| v > 0)).collect::<BooleanArray>()),
            Arc::new(
                (0..rows)
                    .map(|at| {
                        [Some(0.0), Some(-0.0), Some(f32::NAN), Some(-f32::NAN), None, Some(1.5)][at % 6]
                    })
                    .collect::<Float32Array>(),
            ),
            Arc::new(
                (0..rows)
                    .map(|at| {
                        [Some(0.0), Some(-0.0), Some(f64::NAN), Some(-f64::NAN), None, Some(1.5)][at % 6]
                    })
                    .collect::<Float64Array>(),
            ),
            Arc::new(
                (0..rows).map(|at| whole(at).map(|v| i128::from(v) << 80 | 5)).collect::<Decimal128Array>(),
            ),
            Arc::new((0..rows).map(|at| whole(at).map(i256::from)).collect::<Decimal256Array>()),
            Arc::new(lists(rows)),
        ];
        for column in &all {
            check(std::slice::from_ref(column));
        }
        check(&all);
        for pair in all.windows(2) {
            check(pair);
        }
    }

    fn lists(rows: usize) -> arrow_array::ListArray {
        let mut lists = ListBuilder::new(Int64Builder::new());
        for at in 0..rows {
            match at % 5 {
                0 => lists.append_null(),
                count => lists.append_value((1..count as i64).map(|value| Some(value).filter(|v| *v != 2))),
            }
        }
        lists.finish()
    }

    #[test]
    fn what_a_null_holds_does_not_count_and_where_a_text_ends_does() {
        let nulls = arrow_buffer::NullBuffer::from(vec![false, false, true]);
        check(&[Arc::new(Int64Array::new(vec![1, 2, 0].into(), Some(nulls)))]);
        let columns = |first: [&str; 2], second: [&str; 2]| -> Vec<ArrayRef> {
            vec![Arc::new(StringArray::from(first.to_vec())), Arc::new(StringArray::from(second.to_vec()))]
        };
        check(&columns(["ab", "a"], ["c", "bc"]));
        check(&columns(["", "a"], ["a", ""]));
        let many: Vec<ArrayRef> = (0..130)
            .map(|at| Arc::new(Int64Array::from(vec![Some(0), (at != 129).then_some(0)])) as _)
            .collect();
        check(&many);
    }

    #[test]
    fn many_rows_are_told_apart() {
        for rows in [BLOCK - 1, BLOCK, BLOCK + 1, 9 * BLOCK + 3] {
            let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..rows as i64));
            let names: ArrayRef =
                Arc::new((0..rows).map(|at| Some(format!("name {}", at / 3))).collect::<StringArray>());
            check(&[ids, names]);
        }
        check(&[Arc::new(Int64Array::from(Vec::<i64>::new()))]);
        let none = Printer::new(&[], Salt::random()).unwrap();
        let prints = none.print(&[], 3).unwrap();
        assert!(prints.len() == 3 && prints.iter().all(|print| *print == prints[0]));
    }
}
