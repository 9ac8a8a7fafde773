//! A quick keyed hash for tables in memory.

use std::hash::{BuildHasher, RandomState};

/// The key of the hash, drawn at random, so that nobody can send values that all fall together.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seed {
    first: u64,
    second: u64,
}

impl Seed {
    pub(crate) fn random() -> Self {
        let state = RandomState::new();
        // The multiplier is odd so that it loses no bit.
        Self { first: state.hash_one(1_u8), second: state.hash_one(2_u8) | 1 }
    }

    /// Two halves of a wider key.
    pub(crate) fn parts(self) -> (u64, u64) {
        (self.first, self.second)
    }

    #[inline]
    pub(crate) fn integer(self, value: i64) -> u64 {
        fold(value.cast_unsigned() ^ self.first, self.second)
    }

    #[inline]
    pub(crate) fn bytes(self, data: &[u8]) -> u64 {
        let mut state = self.first ^ (data.len() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let (blocks, rest) = data.as_chunks::<16>();
        for block in blocks {
            state = fold(low(block) ^ self.second, high(block) ^ state);
        }
        if !rest.is_empty() {
            let mut block = [0; 16];
            block[..rest.len()].copy_from_slice(rest);
            state = fold(low(&block) ^ self.second, high(&block) ^ state);
        }
        fold(state ^ self.second, self.first | 1)
    }
}

#[inline]
fn low(block: &[u8; 16]) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = *block;
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}

#[inline]
fn high(block: &[u8; 16]) -> u64 {
    let [.., a, b, c, d, e, f, g, h] = *block;
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}

#[inline]
#[allow(clippy::cast_possible_truncation, reason = "the halves of the product are what is wanted")]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product as u64) ^ ((product >> 64) as u64)
}
