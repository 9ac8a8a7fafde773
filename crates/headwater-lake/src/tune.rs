//! How each leaf column is best encoded, decided from the first rows of a file.
//!
//! A dictionary of values that hardly repeat costs time and makes the file larger; deltas of sorted whole numbers
//! take almost no space, and those of small ones in no order no more than the codec makes of them, in much less time.

use std::hash::{BuildHasher, RandomState};

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::DataType;
use arrow_select::concat::concat;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder};
use parquet::schema::types::ColumnPath;

/// Rows that are looked at.
const SAMPLE_ROWS: usize = 65_536;
/// A leaf with fewer values is left to the defaults.
const FEWEST_VALUES: usize = 1_000;
/// Differences that are packed together, about.
const PACKED_ROWS: usize = 128;
const DICTIONARY_PAGE_BYTES: usize = 128 * 1024;
/// A page of this size and what it compresses to stay in a core's cache; larger ones are no smaller in the end.
const DATA_PAGE_BYTES: usize = 256 * 1024;

/// Chooses the properties of a file from its first batches.
pub(crate) fn properties(first: &[RecordBatch], app: &str) -> Result<WriterProperties, ParquetError> {
    let mut builder = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(1)?))
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_dictionary_page_size_limit(DICTIONARY_PAGE_BYTES)
        .set_data_page_size_limit(DATA_PAGE_BYTES)
        .set_created_by(app.to_owned());
    let Some(schema) = first.first().map(RecordBatch::schema) else { return Ok(builder.build()) };
    for (at, field) in schema.fields().iter().enumerate() {
        let mut rows = 0;
        let mut pieces = Vec::new();
        for batch in first {
            let take = batch.num_rows().min(SAMPLE_ROWS - rows);
            pieces.push(batch.column(at).slice(0, take));
            rows += take;
        }
        let pieces: Vec<&dyn Array> = pieces.iter().map(AsRef::as_ref).collect();
        if let Ok(sample) = concat(&pieces) {
            builder = choose(builder, &sample, vec![field.name().clone()]);
        }
    }
    Ok(builder.build())
}

fn choose(builder: WriterPropertiesBuilder, sample: &ArrayRef, path: Vec<String>) -> WriterPropertiesBuilder {
    let below =
        |names: &[&str]| path.iter().cloned().chain(names.iter().map(|&n| n.to_owned())).collect::<Vec<_>>();
    match sample.data_type() {
        DataType::Struct(fields) => fields
            .iter()
            .zip(sample.as_struct().columns())
            .fold(builder, |builder, (field, column)| choose(builder, column, below(&[field.name()]))),
        DataType::List(element) => {
            choose(builder, sample.as_list::<i32>().values(), below(&["list", element.name()]))
        }
        DataType::Map(entry, _) => {
            let map = sample.as_map();
            let builder = choose(builder, map.keys(), below(&[entry.name(), "key"]));
            choose(builder, map.values(), below(&[entry.name(), "value"]))
        }
        _ => match look(sample) {
            Some(Choice::Delta) => {
                let path = ColumnPath::new(path);
                builder
                    .set_column_dictionary_enabled(path.clone(), false)
                    .set_column_encoding(path, Encoding::DELTA_BINARY_PACKED)
            }
            Some(Choice::Plain) => builder.set_column_dictionary_enabled(ColumnPath::new(path), false),
            None => builder,
        },
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Choice {
    /// No dictionary.
    Plain,
    /// No dictionary, and differences instead of values.
    Delta,
}

fn look(sample: &ArrayRef) -> Option<Choice> {
    let values = sample.len() - sample.logical_null_count();
    if values < FEWEST_VALUES {
        return None;
    }
    let distinct = distinct(sample)?;
    let often_new = distinct.saturating_mul(2) > values;
    match descents(sample) {
        // Values that repeat a lot are smaller as runs of one entry of a dictionary, sorted or not.
        Some(down) if down.saturating_mul(20) < values && distinct.saturating_mul(10) > values => {
            Some(Choice::Delta)
        }
        Some(_) if often_new && packs_well(sample) => Some(Choice::Delta),
        _ => often_new.then_some(Choice::Plain),
    }
}

/// Says whether differences take at most half of the bits of the values, in whatever order these are: the codec finds no
/// more in either, and takes long to find it in the values.
fn packs_well(sample: &ArrayRef) -> bool {
    let Some(width) = sample.data_type().primitive_width() else { return false };
    let Some(values) = whole_numbers(sample) else { return false };
    let (mut count, mut bits) = (0, 0);
    let mut values = values.into_iter().flatten().map(i128::from);
    let Some(mut before) = values.next() else { return false };
    let mut block = Vec::with_capacity(PACKED_ROWS);
    loop {
        block.clear();
        block.extend(
            values.by_ref().take(PACKED_ROWS).map(|value| value - std::mem::replace(&mut before, value)),
        );
        let (Some(least), Some(greatest)) = (block.iter().min(), block.iter().max()) else { break };
        bits += block.len() * (i128::BITS - (greatest - least).leading_zeros()) as usize;
        count += block.len();
    }
    bits * 2 <= count * width * 8
}

/// Counts the different values, about.
fn distinct(sample: &ArrayRef) -> Option<usize> {
    let data = sample.to_data();
    let bytes = data.buffers();
    let mut seen = Seen::new();
    match sample.data_type() {
        DataType::Utf8 => sample.as_string::<i32>().iter().flatten().for_each(|v| seen.add(v.as_bytes())),
        DataType::Binary => sample.as_binary::<i32>().iter().flatten().for_each(|v| seen.add(v)),
        other => {
            let width = other.primitive_width()?;
            let all = bytes.first()?.as_slice().get(data.offset() * width..)?;
            for (at, value) in all.chunks_exact(width).take(sample.len()).enumerate() {
                if sample.is_valid(at) {
                    seen.add(value);
                }
            }
        }
    }
    Some(seen.count())
}

/// Estimates a number of different values from the places that are free when each takes one by its hash (linear counting:
/// Whang, Vander-Zanden, Taylor, 1990). Values that share a hash on purpose spoil no more than the choice.
struct Seen {
    places: Vec<u64>,
    seed: u64,
}

impl Seen {
    /// Eight for each row that is looked at: the estimate is off by less than a hundredth.
    const PLACES: usize = 8 * SAMPLE_ROWS;

    fn new() -> Self {
        Self { places: vec![0; Self::PLACES / 64], seed: RandomState::new().hash_one(0) }
    }

    #[allow(
        clippy::cast_possible_truncation,
        reason = "the highest bits are taken, as many as there are places"
    )]
    fn add(&mut self, value: &[u8]) {
        const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
        let (words, rest) = value.as_chunks::<8>();
        let last = rest.iter().fold(value.len() as u64, |word, byte| word << 8 | u64::from(*byte));
        let words = words.iter().map(|word| u64::from_le_bytes(*word)).chain([last]);
        let hash = words.fold(self.seed, |hash, word| {
            let mixed = (hash.rotate_left(29) ^ word).wrapping_mul(ODD);
            mixed ^ mixed >> 32
        });
        let place = (hash.wrapping_mul(ODD) >> (u64::BITS - Self::PLACES.trailing_zeros())) as usize;
        if let Some(word) = self.places.get_mut(place / 64) {
            *word |= 1 << (place % 64);
        }
    }

    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an estimate of a small number"
    )]
    fn count(&self) -> usize {
        let free: u32 = self.places.iter().map(|word| word.count_zeros()).sum();
        let all = Self::PLACES as f64;
        (all * (all / f64::from(free.max(1))).ln()).round() as usize
    }
}

/// The whole numbers of a sample; `None` for other types.
fn whole_numbers(sample: &ArrayRef) -> Option<Vec<Option<i64>>> {
    use arrow_array::types::{Date32Type, Int32Type, Int64Type, TimestampMicrosecondType};
    Some(match sample.data_type() {
        DataType::Int32 => sample.as_primitive::<Int32Type>().iter().map(|v| v.map(i64::from)).collect(),
        DataType::Int64 => sample.as_primitive::<Int64Type>().iter().collect(),
        DataType::Date32 => sample.as_primitive::<Date32Type>().iter().map(|v| v.map(i64::from)).collect(),
        DataType::Timestamp(..) => sample.as_primitive::<TimestampMicrosecondType>().iter().collect(),
        _ => return None,
    })
}

/// Counts how often a whole number is less than the one before; `None` for other types.
fn descents(sample: &ArrayRef) -> Option<usize> {
    let mut before: Option<i64> = None;
    let mut down = 0;
    for value in whole_numbers(sample)?.into_iter().flatten() {
        down += usize::from(before.is_some_and(|b| value < b));
        before = Some(value);
    }
    Some(down)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{ArrayRef, Int64Array, StringArray};

    use super::{Choice, SAMPLE_ROWS, distinct, look};

    #[test]
    fn different_values_are_counted_about_right() {
        let rows = i64::try_from(SAMPLE_ROWS).unwrap();
        for different in [1, 2, 10, 1_000, 20_000, rows] {
            let numbers: ArrayRef =
                Arc::new((0..rows).map(|i| i % different * 1_000).collect::<Int64Array>());
            let text = |i: i64| Some(format!("text of some length {}", i % different));
            let texts: ArrayRef = Arc::new((0..rows).map(text).collect::<StringArray>());
            for sample in [numbers, texts] {
                let found = i64::try_from(distinct(&sample).unwrap()).unwrap();
                assert!((found - different).abs() * 50 <= different, "{found} instead of {different}");
            }
        }
    }

    #[test]
    fn encodings_follow_the_values() {
        let check = |values: ArrayRef, expect: Option<Choice>| assert_eq!(look(&values), expect);
        let numbers = |f: fn(i64) -> i64| Arc::new((0..5_000).map(f).collect::<Int64Array>()) as ArrayRef;
        let texts = |f: fn(i64) -> String| {
            Arc::new((0..5_000).map(|i| Some(f(i))).collect::<StringArray>()) as ArrayRef
        };
        check(numbers(|i| i), Some(Choice::Delta));
        check(numbers(|i| i + i64::from(i % 50 == 0) * -90), Some(Choice::Delta));
        check(numbers(|i| i * 7_919 % 5_003), Some(Choice::Delta));
        check(numbers(|i| i.wrapping_mul(0x9e37_79b9_7f4a_7c15_u64.cast_signed())), Some(Choice::Plain));
        check(numbers(|i| if i % 2 == 0 { i64::MAX - i } else { i64::MIN + i }), Some(Choice::Plain));
        check(numbers(|i| i % 7), None);
        check(numbers(|_| 1), None);
        check(texts(|i| format!("name {i}")), Some(Choice::Plain));
        check(texts(|i| format!("name {}", i % 9)), None);
        check(Arc::new((0..10).collect::<Int64Array>()), None);
        check(Arc::new(Int64Array::from(vec![None::<i64>; 5_000])), None);
    }
}
