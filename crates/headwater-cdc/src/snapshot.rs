//! What a snapshot changed: which of its rows are new or changed, and which stored rows are gone.
//!
//! Rows are compared by 128-bit fingerprints of their key and of their values ([`Printer`](crate::Printer)), so that a stored row costs 41 to 43 bytes whatever its width. The
//! fingerprints are keyed by a secret [`Salt`]: nobody can make two rows that are taken for one another, and by chance it does not happen.
//! A snapshot that is too large for memory is split by a part of the key's fingerprint ([`Split`]), and each part compared on its own.

use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hasher};
use std::hint::black_box;
use std::thread;

use crate::CdcError;
use crate::hash::Seed;

/// Rows are compared in stretches of this many.
const STRETCH: usize = 256;

/// The secret that keys fingerprints; those of different salts have nothing in common.
#[derive(Clone, Copy)]
pub struct Salt(u64, u64);

impl Salt {
    /// A new secret.
    pub fn random() -> Self {
        let (first, second) = Seed::random().parts();
        Self(first, second)
    }

    /// Its halves.
    pub(crate) fn parts(self) -> (u64, u64) {
        (self.0, self.1)
    }
}

impl std::fmt::Debug for Salt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Salt(..)")
    }
}

/// The stored rows of a table, or of one part of it, while they are gathered.
#[derive(Debug)]
pub struct SnapshotIndex {
    entries: Vec<Entry>,
}

/// Halves, so that an entry takes 40 bytes and not 48.
#[derive(Debug, Clone, Copy)]
struct Entry {
    key: [u64; 2],
    values: [u64; 2],
    position: u64,
}

/// The position of a key that came already, so that it is a duplicate when it comes again.
const SEEN: u64 = u64::MAX;

impl Entry {
    const BYTES: usize = 40;

    fn words(self) -> [u64; 5] {
        [self.key[0], self.key[1], self.values[0], self.values[1], self.position]
    }

    fn from_bytes(bytes: &[u8; Self::BYTES]) -> Self {
        let (words, _) = bytes.as_chunks::<8>();
        let word = |at: usize| words.get(at).map_or(0, |word| u64::from_le_bytes(*word));
        Self { key: [word(0), word(1)], values: [word(2), word(3)], position: word(4) }
    }
}

/// How the rows of a table or of a snapshot are split into parts: by bits of the key's fingerprint that the order of entries in memory
/// does not go by first. A part is split again by the bits that follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Split {
    used: u32,
    bits: u32,
}

impl Split {
    /// Splits into that many parts, rounded up to a power of two; at least two.
    pub fn new(parts: usize) -> Self {
        Self { used: 0, bits: bits(parts) }
    }

    /// Splits a part again. `None` where all bits are used up.
    pub fn again(self, parts: usize) -> Option<Self> {
        let used = self.used + self.bits;
        let bits = bits(parts).min(u64::BITS.saturating_sub(used));
        (bits > 0).then_some(Self { used, bits })
    }

    /// How many parts there are.
    pub fn parts(self) -> usize {
        1 << self.bits
    }

    /// The part of a key, by its fingerprint.
    pub fn part(self, key: u128) -> usize {
        self.part_of(halves(key))
    }

    #[allow(clippy::cast_possible_truncation, reason = "less than the number of parts")]
    #[inline]
    fn part_of(self, key: [u64; 2]) -> usize {
        (key[1] >> self.used & ((1 << self.bits) - 1)) as usize
    }
}

fn bits(parts: usize) -> u32 {
    parts.clamp(2, 1 << 16).next_power_of_two().trailing_zeros()
}

#[allow(clippy::cast_possible_truncation, reason = "the halves of a fingerprint")]
#[inline]
fn halves(fingerprint: u128) -> [u64; 2] {
    [(fingerprint >> 64) as u64, fingerprint as u64]
}

impl SnapshotIndex {
    /// No rows yet, but room for as many as will come.
    pub fn with_capacity(stored_rows: usize) -> Self {
        Self { entries: Vec::with_capacity(stored_rows) }
    }

    /// How many rows an index and what becomes of it hold in so many bytes.
    pub fn rows_within(bytes: usize) -> usize {
        bytes / (Entry::BYTES + 3)
    }

    /// Rows so far.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// No rows yet.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// What it takes of memory.
    pub fn bytes(&self) -> usize {
        self.entries.capacity() * size_of::<Entry>()
    }

    /// Makes room for more rows, and not for more than `most` in all unless these are needed.
    pub fn reserve(&mut self, more: usize, most: usize) {
        let (rows, needed) = (self.entries.len(), self.entries.len().saturating_add(more));
        if needed > self.entries.capacity() {
            self.entries.reserve_exact(rows.saturating_mul(2).min(most).max(needed) - rows);
        }
    }

    /// Takes out all rows, part by part and in pieces of at most so many rows, as bytes for [`Self::push_bytes`]. Each piece comes with its part and number of rows.
    ///
    /// # Errors
    /// [`CdcError::DuplicateStoredKey`]; what `write` fails with.
    pub fn drain<E: From<CdcError>>(
        &mut self,
        split: Split,
        piece_rows: usize,
        mut write: impl FnMut(usize, usize, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        self.entries.sort_unstable_by_key(|entry| (split.part_of(entry.key), entry.key));
        no_key_twice(&self.entries)?;
        let mut bytes = Vec::new();
        for part in self.entries.chunk_by(|a, b| split.part_of(a.key) == split.part_of(b.key)) {
            for piece in part.chunks(piece_rows.max(1)) {
                bytes.clear();
                bytes.extend(piece.iter().flat_map(|entry| entry.words()).flat_map(u64::to_le_bytes));
                write(split.part_of(piece[0].key), piece.len(), &bytes)?;
            }
        }
        self.entries.clear();
        Ok(())
    }

    /// How many rows [`Self::push_bytes`] adds.
    pub fn rows_in(bytes: &[u8]) -> usize {
        bytes.len() / Entry::BYTES
    }

    /// Adds rows that [`Self::drain`] gave away.
    ///
    /// # Errors
    /// [`CdcError::UnevenLengths`] where the bytes do not end with a row; nothing is added then.
    pub fn push_bytes(&mut self, bytes: &[u8]) -> Result<(), CdcError> {
        let (entries, rest) = bytes.as_chunks::<{ Entry::BYTES }>();
        same_length("bytes of a row", if rest.is_empty() { 0 } else { Entry::BYTES }, rest.len())?;
        self.entries.extend(entries.iter().map(Entry::from_bytes));
        Ok(())
    }

    /// Adds a key that came in the snapshot and needs no further thought: when it comes again, it is a duplicate.
    pub fn push_seen(&mut self, key: u128) {
        self.push(key, 0, SEEN);
    }

    /// Adds a stored row by its fingerprints. `position` is whatever the caller finds the row again by, less than `u64::MAX`.
    pub fn push(&mut self, key: u128, values: u128, position: u64) {
        self.entries.push(Entry { key: halves(key), values: halves(values), position });
    }

    /// Adds stored rows by their fingerprints.
    ///
    /// # Errors
    /// Lengths that differ; nothing is added then.
    pub fn push_stored(&mut self, keys: &[u128], values: &[u128], positions: &[u64]) -> Result<(), CdcError> {
        same_length("values", keys.len(), values.len())?;
        same_length("positions", keys.len(), positions.len())?;
        for ((&key, &values), &position) in keys.iter().zip(values).zip(positions) {
            self.push(key, values, position);
        }
        Ok(())
    }

    /// All stored rows are known now.
    ///
    /// # Errors
    /// [`CdcError::DuplicateStoredKey`].
    pub fn seal(self) -> Result<SnapshotDiff, CdcError> {
        let Self { mut entries } = self;
        if u32::try_from(entries.len()).is_err() {
            return Err(CdcError::TooManyRows { rows: entries.len() });
        }
        sort(&mut entries);
        no_key_twice(&entries)?;
        let shift = shift(entries.len());
        let begins = begins(&entries, shift);
        let seen = entries.chunks(64).map(|some| {
            some.iter().rev().fold(0, |word, entry| word << 1 | u64::from(entry.position == SEEN))
        });
        let seen = seen.collect();
        Ok(SnapshotDiff { entries, shift, begins, seen, new: HashSet::default() })
    }
}

/// Sorts by the key: first into places by the leading byte of the fingerprint, which are spread evenly, then each place on its own.
fn sort(entries: &mut [Entry]) {
    let place = |entry: &Entry| (entry.key[0] >> (u64::BITS - 8)) as usize;
    let mut ends = [0; 1 << 8];
    entries.iter().for_each(|entry| ends[place(entry)] += 1);
    let mut end = 0;
    let mut next = ends.map(|count| {
        end += count;
        end - count
    });
    ends = std::array::from_fn(|at| next.get(at + 1).copied().unwrap_or(end));
    for at in 0..ends.len() {
        while next[at] < ends[at] {
            let to = place(&entries[next[at]]);
            if to != at {
                entries.swap(next[at], next[to]);
            }
            next[to] += 1;
        }
    }
    let sort_places = |mut entries: &mut [Entry], ends: &[usize], mut begin: usize| {
        for end in ends {
            let (place, rest) = std::mem::take(&mut entries).split_at_mut(end - begin);
            place.sort_unstable_by_key(|entry| whole(entry.key));
            (entries, begin) = (rest, *end);
        }
    };
    let middle = ends.len() / 2;
    let (lower, upper) = ends.split_at(middle);
    let (first, second) = entries.split_at_mut(lower.last().copied().unwrap_or(0));
    let begin = first.len();
    if entries_for_threads(begin) {
        thread::scope(|scope| {
            scope.spawn(move || sort_places(second, upper, begin));
            sort_places(first, lower, 0);
        });
    } else {
        sort_places(first, lower, 0);
        sort_places(second, upper, begin);
    }
}

/// Whether so many are enough for a thread to be worth it.
fn entries_for_threads(entries: usize) -> bool {
    entries >= 65_536
}

#[inline]
fn whole(key: [u64; 2]) -> u128 {
    u128::from(key[0]) << 64 | u128::from(key[1])
}

fn no_key_twice(sorted: &[Entry]) -> Result<(), CdcError> {
    let twice = sorted.iter().zip(sorted.iter().skip(1)).find(|(a, b)| a.key == b.key);
    match twice {
        None => Ok(()),
        Some((a, b)) => {
            let (first, second) = (a.position.min(b.position), a.position.max(b.position));
            Err(CdcError::DuplicateStoredKey { first, second })
        }
    }
}

fn same_length(what: &'static str, expected: usize, found: usize) -> Result<(), CdcError> {
    if expected == found { Ok(()) } else { Err(CdcError::UnevenLengths { what, expected, found }) }
}

/// Fingerprints are spread evenly, so their first bits lead to two to four entries.
fn shift(entries: usize) -> u32 {
    let buckets = (entries / 4).next_power_of_two().max(2);
    u64::BITS - buckets.trailing_zeros()
}

#[allow(clippy::cast_possible_truncation, reason = "there are at most as many buckets as entries")]
#[inline]
fn bucket(key: [u64; 2], shift: u32) -> usize {
    (key[0] >> shift) as usize
}

/// Where the entries of each first bits begin, and where the last ones end.
fn begins(entries: &[Entry], shift: u32) -> Vec<u32> {
    let mut begins = Vec::with_capacity((1 << (u64::BITS - shift)) + 1);
    for (number, entry) in (0_u32..).zip(entries) {
        while begins.len() <= bucket(entry.key, shift) {
            begins.push(number);
        }
    }
    let end = (0_u32..).nth(entries.len()).unwrap_or(u32::MAX);
    begins.resize((1 << (u64::BITS - shift)) + 1, end);
    begins
}

/// What a row of the snapshot is to the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The table has it as it is.
    Same,
    /// The table has the key with other values.
    Changed {
        /// Of the stored row.
        position: u64,
    },
    /// The table does not have the key.
    New,
    /// The snapshot had the key before.
    Duplicate,
}

/// The stored rows of some rows of a snapshot.
#[derive(Debug)]
pub struct Matches(Vec<Option<(u32, bool)>>);

/// The comparison of a snapshot with the stored rows.
#[derive(Debug)]
pub struct SnapshotDiff {
    entries: Vec<Entry>,
    /// How far a key is shifted to give the place in `begins`.
    shift: u32,
    begins: Vec<u32>,
    seen: Vec<u64>,
    new: HashSet<u128, BuildHasherDefault<Itself>>,
}

/// Fingerprints are hashes already.
#[derive(Default)]
struct Itself(u64);

impl Hasher for Itself {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u128(&mut self, fingerprint: u128) {
        let [high, low] = halves(fingerprint);
        self.0 = high.rotate_left(32) ^ low;
    }
}

impl SnapshotDiff {
    /// Compares rows of the snapshot by their fingerprints, one verdict for each.
    ///
    /// # Errors
    /// Lengths that differ; nothing is compared then.
    pub fn compare(&mut self, keys: &[u128], values: &[u128]) -> Result<Vec<Verdict>, CdcError> {
        same_length("values", keys.len(), values.len())?;
        Ok(self.compare_within(keys, self.find(keys, values), usize::MAX))
    }

    /// Compares rows of the snapshot, by the fingerprints of their keys and what [`Self::find`] gave for them, while this takes at most so many bytes
    /// of memory. Rows without a verdict, the last ones, were not compared; a row whose key is stored always is.
    pub fn compare_within(&mut self, keys: &[u128], found: Matches, bytes: usize) -> Vec<Verdict> {
        let mut verdicts = Vec::with_capacity(keys.len());
        for (&key, found) in keys.iter().zip(found.0) {
            let verdict = match found {
                Some((number, same)) => self.stored(number, same),
                None if !self.has_room(bytes) && !self.new.contains(&key) => break,
                None if self.new.insert(key) => Verdict::New,
                None => Verdict::Duplicate,
            };
            verdicts.push(verdict);
        }
        verdicts
    }

    /// Finds the stored rows of keys, and whether their values are these. What came before does not matter, so that several threads may do this.
    pub fn find(&self, keys: &[u128], values: &[u128]) -> Matches {
        let mut found = vec![None; keys.len()];
        self.find_each(keys, values, &mut found);
        Matches(found)
    }

    fn find_each(&self, keys: &[u128], values: &[u128], found: &mut [Option<(u32, bool)>]) {
        let mut buckets = Vec::with_capacity(STRETCH);
        let stretches = keys.chunks(STRETCH).zip(values.chunks(STRETCH));
        for ((keys, values), found) in stretches.zip(found.chunks_mut(STRETCH)) {
            buckets.clear();
            buckets.extend(keys.iter().map(|key| self.bucket(*key)));
            // Entries lie anywhere: read one after the other without a decision in between, they do not wait for each other.
            let first = |at: u32| self.entries.get(at as usize).map_or(0, |entry| entry.key[0]);
            black_box(
                buckets
                    .iter()
                    .fold(0, |all, &(begin, end)| all ^ first(begin) ^ first(end.saturating_sub(1))),
            );
            for (((&key, &values), &(begin, end)), found) in keys.iter().zip(values).zip(&buckets).zip(found)
            {
                let (wanted, values) = (halves(key), halves(values));
                *found = (begin..end).find_map(|number| {
                    let entry = self.entries.get(number as usize)?;
                    (entry.key == wanted).then_some((number, entry.values == values))
                });
            }
        }
    }

    /// Whether one more new key can be kept. While a set grows, the old one is still there.
    fn has_room(&self, bytes: usize) -> bool {
        let room = self.new.capacity();
        self.new.len() < room || self.bytes().saturating_add(set_bytes(room.saturating_mul(2))) <= bytes
    }

    /// What it takes of memory.
    pub fn bytes(&self) -> usize {
        self.entries.capacity() * size_of::<Entry>()
            + self.begins.capacity() * size_of::<u32>()
            + self.seen.capacity() * size_of::<u64>()
            + set_bytes(self.new.capacity())
    }

    /// Takes it apart, to go on with a part of it at a time: the stored rows, of which those that came are but keys that were seen, and the keys that
    /// were new.
    pub fn unsealed(self) -> (SnapshotIndex, impl Iterator<Item = u128>) {
        let Self { mut entries, begins, seen, new, .. } = self;
        drop(begins);
        for (number, entry) in entries.iter_mut().enumerate() {
            if seen[number / 64] >> (number % 64) & 1 == 1 {
                entry.position = SEEN;
            }
        }
        (SnapshotIndex { entries }, new.into_iter())
    }

    /// From where to where the entry of a key would be.
    #[inline]
    fn bucket(&self, key: u128) -> (u32, u32) {
        let bucket = bucket(halves(key), self.shift);
        (self.begins[bucket], self.begins[bucket + 1])
    }

    /// The verdict on a row whose key is stored.
    fn stored(&mut self, number: u32, same_values: bool) -> Verdict {
        let number = number as usize;
        let (word, bit) = (&mut self.seen[number / 64], 1 << (number % 64));
        if *word & bit != 0 {
            return Verdict::Duplicate;
        }
        *word |= bit;
        if same_values { Verdict::Same } else { Verdict::Changed { position: self.entries[number].position } }
    }

    /// The positions of the stored rows whose key did not come, ascending.
    pub fn gone(&self) -> Vec<u64> {
        let mut gone: Vec<u64> = self.gone_unsorted().collect();
        gone.sort_unstable();
        gone
    }

    /// The positions of the stored rows whose key did not come, in no order.
    pub fn gone_unsorted(&self) -> impl Iterator<Item = u64> {
        let is_seen = |number: usize| self.seen[number / 64] >> (number % 64) & 1 == 1;
        let unseen = self.entries.iter().enumerate().filter(move |(number, _)| !is_seen(*number));
        unseen.map(|(_, entry)| entry.position)
    }
}

/// What a set of keys with so much room takes of memory: a byte beside each, and an eighth of the places stay empty.
fn set_bytes(room: usize) -> usize {
    if room == 0 { 0 } else { (room + room / 7 + 1).next_power_of_two() * (size_of::<u128>() + 1) }
}
