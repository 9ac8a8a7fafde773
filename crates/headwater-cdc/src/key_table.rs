//! A hash table of group numbers.

use crate::hash::Seed;

/// Rows are looked up in stretches of at most this many: short enough that what was found out about them is still at hand.
pub(crate) const STRETCH: usize = 1024;

/// A hash table of group numbers with open addressing, behind a filter that turns away most of what is not in it.
///
/// The filter has 8 to 16 bits for each key and looks at two bits of one word of it, so that a row costs one read of memory, which stays in the
/// processor's second cache for the keys of a usual micro-batch. A slot is 0, or 32 bits of the hash and the group + 1.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) seed: Seed,
    slots: Vec<u64>,
    slot_shift: u32,
    filter: Vec<u64>,
    filter_shift: u32,
}

impl Table {
    /// A table for as many keys at most.
    pub(crate) fn for_keys(keys: usize) -> Self {
        // Half of the slots stay free, so that a search ends soon.
        let slots = (keys * 2).next_power_of_two().max(16);
        let slot_shift = u64::BITS - slots.trailing_zeros();
        Self {
            seed: Seed::random(),
            slots: vec![0; slots],
            slot_shift,
            filter: Vec::new(),
            filter_shift: u64::BITS - 1,
        }
    }

    /// The group of a key: that of an equal one which is here already, or `next`, under which it is put in.
    pub(crate) fn insert(&mut self, hash: u64, next: u32, same: impl Fn(u32) -> bool) -> u32 {
        match self.seek(hash, same) {
            Ok(group) => group,
            Err(place) => {
                self.slots[place] = (hash << 32) | (u64::from(next) + 1);
                next
            }
        }
    }

    /// Makes the filter for the keys that were put in, by their hashes.
    pub(crate) fn fill_filter(&mut self, keys: usize, hash: impl Fn(usize) -> u64) {
        let words = (keys * 8).next_power_of_two().div_ceil(64).max(2);
        self.filter_shift = u64::BITS - words.trailing_zeros();
        self.filter = vec![0; words];
        for hash in (0..keys).map(hash) {
            self.filter[top_bits(hash, self.filter_shift)] |= 1 << (hash & 63) | 1 << (hash >> 6 & 63);
        }
    }

    /// Calls `found` with each row of a stretch whose key is in the table, and the key's group. `same` says whether a row has the key of a group.
    #[inline]
    pub(crate) fn search(
        &self,
        rows: usize,
        hash: impl Fn(usize) -> u64,
        same: impl Fn(usize, u32) -> bool,
        mut found: impl FnMut(usize, u32),
    ) {
        let mut candidates = [0_u16; STRETCH];
        let mut count = 0;
        for (number, row) in (0_u16..).zip(0..rows.min(STRETCH)) {
            let hash = hash(row);
            let word = self.filter[top_bits(hash, self.filter_shift)];
            // Written always and counted only if it passes: a branch would be guessed wrong too often.
            candidates[count] = number;
            count += usize::from((word >> (hash & 63) & 1 != 0) & (word >> (hash >> 6 & 63) & 1 != 0));
        }
        for row in candidates[..count].iter().map(|row| usize::from(*row)) {
            if let Ok(group) = self.seek(hash(row), |group| same(row, group)) {
                found(row, group);
            }
        }
    }

    /// The group of a key, or the free slot at which the search for it ended.
    #[allow(clippy::cast_possible_truncation, reason = "a slot's lower half is the group + 1")]
    fn seek(&self, hash: u64, same: impl Fn(u32) -> bool) -> Result<u32, usize> {
        let mut place = top_bits(hash, self.slot_shift);
        loop {
            let slot = self.slots[place];
            if slot == 0 {
                return Err(place);
            }
            if slot >> 32 == hash & 0xffff_ffff {
                let group = slot as u32 - 1;
                if same(group) {
                    return Ok(group);
                }
            }
            place = (place + 1) & (self.slots.len() - 1);
        }
    }
}

#[inline]
#[allow(clippy::cast_possible_truncation, reason = "as many bits are left as the table's length has")]
fn top_bits(hash: u64, shift: u32) -> usize {
    (hash >> shift) as usize
}
