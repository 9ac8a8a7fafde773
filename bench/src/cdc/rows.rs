//! The rows of the workloads: id, seq, name, amount, state, note.
//!
//! A row is a function of its key and its sequence number, and the order of the keys one of their places, so that
//! processes agree on the content of a table without telling each other.

use std::sync::Arc;

use anyhow::Result;
use arrow_array::builder::StringBuilder;
use arrow_array::{Float64Array, Int64Array, RecordBatch, StringArray};
use headwater_connect::{DataType, StructField, StructType};

/// Rows of a batch, as the engine makes them.
pub(crate) const BATCH_ROWS: usize = 8192;
const WORDS: [&str; 16] = [
    "amber", "birch", "cedar", "delta", "ember", "fjord", "grove", "haven", "inlet", "jetty", "knoll",
    "larch", "marsh", "north", "orbit", "pine",
];
const STATES: [&str; 5] = ["draft", "open", "paid", "shipped", "closed"];

/// The columns.
pub(crate) fn schema() -> StructType {
    StructType::new([
        StructField::nullable("id", DataType::Long),
        StructField::nullable("seq", DataType::Long),
        StructField::nullable("name", DataType::String),
        StructField::nullable("amount", DataType::Double),
        StructField::nullable("state", DataType::String),
        StructField::nullable("note", DataType::String),
    ])
}

/// A key and its sequence number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) id: u64,
    pub(crate) seq: u64,
}

/// The numbers below a bound, in an order that looks like chance: a Feistel network over a power of four, of which
/// numbers beyond the bound are mapped again until they are below it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Permutation {
    bound: u64,
    half_bits: u32,
    seed: u64,
}

impl Permutation {
    pub(crate) fn new(bound: u64, seed: u64) -> Self {
        let bits = u64::BITS - bound.max(2).leading_zeros();
        Self { bound, half_bits: bits.div_ceil(2), seed }
    }

    /// The number at a place; both are below the bound.
    pub(crate) fn at(&self, place: u64) -> u64 {
        let mut number = place;
        loop {
            number = self.mixed(number);
            if number < self.bound {
                return number;
            }
        }
    }

    fn mixed(&self, number: u64) -> u64 {
        let mask = (1 << self.half_bits) - 1;
        let (mut left, mut right) = (number >> self.half_bits, number & mask);
        for round in 0..4 {
            (left, right) = (right, left ^ (scatter(right ^ self.seed << 40 ^ round << 36) & mask));
        }
        left << self.half_bits | right
    }
}

/// A number that has nothing to do with the one given, and is always the same for it.
pub(crate) fn scatter(number: u64) -> u64 {
    let mut n = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    n = (n ^ n >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    n = (n ^ n >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ n >> 31
}

/// Makes batches of so many rows of `events`, one at a time.
pub(crate) fn batches(
    mut events: impl Iterator<Item = Event>,
    rows: usize,
) -> impl Iterator<Item = Result<RecordBatch>> {
    std::iter::from_fn(move || {
        let events: Vec<Event> = events.by_ref().take(rows).collect();
        (!events.is_empty()).then(|| batch(&events))
    })
}

fn batch(events: &[Event]) -> Result<RecordBatch> {
    let whole = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    let mut names = StringBuilder::with_capacity(events.len(), events.len() * 16);
    let mut notes = StringBuilder::with_capacity(events.len(), events.len() * 32);
    let mut text = String::new();
    let mut amounts = Vec::with_capacity(events.len());
    let mut states = Vec::with_capacity(events.len());
    for event in events {
        let mut random = fastrand::Rng::with_seed(scatter(event.id ^ event.seq << 32));
        text.clear();
        text.push_str(WORDS[random.usize(..WORDS.len())]);
        text.push_str(&format!("-{}", event.id));
        names.append_value(&text);
        amounts.push(f64::from(random.u32(..10_000_000)) / 100.0);
        states.push(STATES[random.usize(..STATES.len())]);
        text.clear();
        for word in 0..4 {
            text.push_str(if word == 0 { "" } else { " " });
            text.push_str(WORDS[random.usize(..WORDS.len())]);
        }
        notes.append_value(&text);
    }
    Ok(RecordBatch::try_new(
        schema().to_arrow(),
        vec![
            Arc::new(events.iter().map(|event| whole(event.id)).collect::<Int64Array>()),
            Arc::new(events.iter().map(|event| whole(event.seq)).collect::<Int64Array>()),
            Arc::new(names.finish()),
            Arc::new(Float64Array::from(amounts)),
            Arc::new(StringArray::from(states)),
            Arc::new(notes.finish()),
        ],
    )?)
}

#[cfg(test)]
mod tests {
    use super::{Event, Permutation, batches};

    #[test]
    fn a_permutation_holds_every_number_once_and_mixes_them() {
        for bound in [1, 2, 3, 1000, 4096, 5000] {
            let order = Permutation::new(bound, 7);
            let mut seen: Vec<u64> = (0..bound).map(|place| order.at(place)).collect();
            let rising = seen.windows(2).filter(|pair| pair[0] < pair[1]).count();
            seen.sort_unstable();
            assert_eq!(seen, (0..bound).collect::<Vec<_>>());
            if bound >= 1000 {
                let share = rising as f64 / bound as f64;
                assert!((0.4..0.6).contains(&share), "{share} of {bound} rise");
            }
        }
        let orders = [1, 2].map(|seed| Permutation::new(1000, seed));
        assert!((0..1000).filter(|&place| orders[0].at(place) == orders[1].at(place)).count() < 20);
    }

    #[test]
    fn rows_depend_on_key_and_sequence_alone() {
        let make = |ids: std::ops::Range<u64>, seq| {
            batches(ids.map(|id| Event { id, seq }), 8192).map(Result::unwrap).collect::<Vec<_>>()
        };
        let (all, part) = (make(0..20_000, 1), make(8192..8200, 1));
        assert_eq!(
            all.iter().map(arrow_array::RecordBatch::num_rows).collect::<Vec<_>>(),
            [8192, 8192, 3616]
        );
        assert_eq!(all[1].slice(0, 8), part[0]);
        assert_ne!(make(0..10, 1), make(0..10, 2));
    }
}
