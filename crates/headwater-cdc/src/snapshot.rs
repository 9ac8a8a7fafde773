//! What a snapshot changed: which of its rows are new or changed, and which stored rows are gone.
//!
//! Rows are compared by 128-bit fingerprints of their key and of their values, so that a stored row costs 41 to 43 bytes whatever its width. The
//! fingerprints are keyed by a secret [`Salt`]: nobody can make two rows that are taken for one another, and by chance it does not happen.
//! A snapshot that is too large for memory is split by a part of the key's fingerprint, and each part compared on its own.

use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hasher};
use std::hint::black_box;

use arrow_row::Rows;
use siphasher::sip128::{Hasher128, SipHasher13};

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
}

impl std::fmt::Debug for Salt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Salt(..)")
    }
}

/// The fingerprint of each row. Equal rows have equal ones; null equals null.
pub fn fingerprints(rows: &Rows, salt: Salt) -> Vec<u128> {
    rows.iter().map(|row| fingerprint(row.data(), salt)).collect()
}

fn fingerprint(row: &[u8], salt: Salt) -> u128 {
    let mut hasher = SipHasher13::new_with_keys(salt.0, salt.1);
    hasher.write(row);
    hasher.finish128().as_u128()
}

/// The stored rows of a table, or of one part of it, while they are gathered.
#[derive(Debug)]
pub struct SnapshotIndex {
    salt: Salt,
    entries: Vec<Entry>,
}

/// Halves, so that an entry takes 40 bytes and not 48.
#[derive(Debug, Clone, Copy)]
struct Entry {
    key: [u64; 2],
    values: [u64; 2],
    position: u64,
}

#[allow(clippy::cast_possible_truncation, reason = "the halves of a fingerprint")]
fn halves(fingerprint: u128) -> [u64; 2] {
    [(fingerprint >> 64) as u64, fingerprint as u64]
}

impl SnapshotIndex {
    /// No rows yet, but room for as many as will come.
    pub fn with_capacity(salt: Salt, stored_rows: usize) -> Self {
        Self { salt, entries: Vec::with_capacity(stored_rows) }
    }

    /// The secret that [`Self::push_stored`] keys fingerprints by.
    pub fn salt(&self) -> Salt {
        self.salt
    }

    /// Adds a stored row by its fingerprints. `position` is whatever the caller finds the row again by.
    pub fn push(&mut self, key: u128, values: u128, position: u64) {
        self.entries.push(Entry { key: halves(key), values: halves(values), position });
    }

    /// Adds stored rows.
    ///
    /// # Errors
    /// Lengths that differ; nothing is added then.
    pub fn push_stored(&mut self, keys: &Rows, values: &Rows, positions: &[u64]) -> Result<(), CdcError> {
        same_length("values", keys.num_rows(), values.num_rows())?;
        same_length("positions", keys.num_rows(), positions.len())?;
        self.entries.reserve(positions.len());
        for ((key, values), position) in keys.iter().zip(values).zip(positions) {
            self.push(fingerprint(key.data(), self.salt), fingerprint(values.data(), self.salt), *position);
        }
        Ok(())
    }

    /// All stored rows are known now.
    ///
    /// # Errors
    /// [`CdcError::DuplicateStoredKey`].
    pub fn seal(self) -> Result<SnapshotDiff, CdcError> {
        let Self { salt, mut entries } = self;
        if u32::try_from(entries.len()).is_err() {
            return Err(CdcError::TooManyRows { rows: entries.len() });
        }
        entries.sort_unstable_by_key(|entry| entry.key);
        let twice = entries.iter().zip(entries.iter().skip(1)).find(|(a, b)| a.key == b.key);
        if let Some((a, b)) = twice {
            let (first, second) = (a.position.min(b.position), a.position.max(b.position));
            return Err(CdcError::DuplicateStoredKey { first, second });
        }
        let begins = begins(&entries);
        let seen = vec![0; entries.len().div_ceil(64)];
        Ok(SnapshotDiff { salt, entries, begins, seen, new: HashSet::default() })
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
fn bucket(key: [u64; 2], shift: u32) -> usize {
    (key[0] >> shift) as usize
}

/// Where the entries of each first bits begin, and where the last ones end.
fn begins(entries: &[Entry]) -> Vec<u32> {
    let shift = shift(entries.len());
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

/// The comparison of a snapshot with the stored rows.
#[derive(Debug)]
pub struct SnapshotDiff {
    salt: Salt,
    entries: Vec<Entry>,
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
    /// Compares a row of the snapshot by its fingerprints.
    pub fn compare_one(&mut self, key: u128, values: u128) -> Verdict {
        let bucket = self.bucket(key);
        self.judge(key, values, bucket)
    }

    /// Compares rows of the snapshot, one verdict for each. Keys and values must be encoded as those of the stored rows were.
    ///
    /// # Errors
    /// Lengths that differ; nothing is compared then.
    pub fn compare(&mut self, keys: &Rows, values: &Rows) -> Result<Vec<Verdict>, CdcError> {
        same_length("values", keys.num_rows(), values.num_rows())?;
        let salt = self.salt;
        let mut verdicts = Vec::with_capacity(keys.num_rows());
        let mut rows = keys.iter().zip(values).peekable();
        let (mut prints, mut buckets) = (Vec::with_capacity(STRETCH), Vec::with_capacity(STRETCH));
        while rows.peek().is_some() {
            let stretch = rows.by_ref().take(STRETCH);
            prints.clear();
            prints.extend(
                stretch
                    .map(|(key, values)| (fingerprint(key.data(), salt), fingerprint(values.data(), salt))),
            );
            buckets.clear();
            buckets.extend(prints.iter().map(|(key, _)| self.bucket(*key)));
            // Entries lie anywhere: read one after the other without a decision in between, they do not wait for each other.
            let first =
                |bucket: &(u32, u32)| self.entries.get(bucket.0 as usize).map_or(0, |entry| entry.key[0]);
            black_box(buckets.iter().fold(0, |all, bucket| all ^ first(bucket)));
            for (&(key, values), &bucket) in prints.iter().zip(&buckets) {
                verdicts.push(self.judge(key, values, bucket));
            }
        }
        Ok(verdicts)
    }

    /// From where to where the entry of a key would be.
    fn bucket(&self, key: u128) -> (u32, u32) {
        let bucket = bucket(halves(key), shift(self.entries.len()));
        (self.begins[bucket], self.begins[bucket + 1])
    }

    fn judge(&mut self, key: u128, values: u128, (begin, end): (u32, u32)) -> Verdict {
        let (wanted, begin, end) = (halves(key), begin as usize, end as usize);
        let Some(offset) = self.entries[begin..end].iter().position(|entry| entry.key == wanted) else {
            return if self.new.insert(key) { Verdict::New } else { Verdict::Duplicate };
        };
        let number = begin + offset;
        let (word, bit) = (&mut self.seen[number / 64], 1 << (number % 64));
        if *word & bit != 0 {
            return Verdict::Duplicate;
        }
        *word |= bit;
        let entry = self.entries[number];
        if entry.values == halves(values) {
            Verdict::Same
        } else {
            Verdict::Changed { position: entry.position }
        }
    }

    /// The positions of the stored rows whose key did not come, ascending.
    pub fn gone(&self) -> Vec<u64> {
        let is_seen = |number: usize| self.seen[number / 64] >> (number % 64) & 1 == 1;
        let unseen = self.entries.iter().enumerate().filter(|(number, _)| !is_seen(*number));
        let mut gone: Vec<u64> = unseen.map(|(_, entry)| entry.position).collect();
        gone.sort_unstable();
        gone
    }
}
