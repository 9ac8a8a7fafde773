//! The records behind the endpoints, and what changes them.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;

use super::description::{CorpusFile, Description};
use super::grow::Grown;
use super::query::{Filter, Selected};
use super::value::{Key, at};
use crate::simulator::description::Sort;

/// Selections that are kept for the next page of the same.
const KEPT_SELECTIONS: usize = 16;

/// Why records could not be looked at or changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChangeError {
    /// There is no corpus of that name.
    #[error("there is no corpus `{name}`; there are: {}", .known.join(", "))]
    UnknownCorpus {
        /// The name.
        name: String,
        /// Those that there are.
        known: Vec<String>,
    },
    /// The corpus is one object.
    #[error("corpus `{name}` is one object, without records")]
    OneObject {
        /// The corpus.
        name: String,
    },
}

/// All corpora of a source.
#[derive(Debug, Clone)]
pub(super) struct Corpora(BTreeMap<String, Arc<Corpus>>);

impl Corpora {
    pub(super) fn new(description: &Description, seed: u64) -> Self {
        let made = description.corpora.iter().map(|(name, file)| {
            let endpoints = description.endpoints.iter().filter(|e| e.corpus.as_deref() == Some(name));
            let rules = endpoints.filter_map(|e| e.grow.as_ref()).next();
            let corpus = match (file, rules) {
                (CorpusFile::One(one), _) => Corpus::new(Some(one.clone()), Vec::new(), None),
                (CorpusFile::Records(base), Some(rules)) => {
                    Corpus::new(None, Vec::new(), Some(Grown::new(base, rules, seed)))
                }
                (CorpusFile::Records(base), None) => {
                    Corpus::new(None, base.iter().cloned().map(Arc::new).collect(), None)
                }
            };
            (name.clone(), Arc::new(corpus))
        });
        Self(made.collect())
    }

    pub(super) fn get(&self, name: &str) -> Result<Arc<Corpus>, ChangeError> {
        self.0.get(name).cloned().ok_or_else(|| self.unknown(name))
    }

    /// For a change; readers keep what they have.
    pub(super) fn get_mut(&mut self, name: &str) -> Result<&mut Corpus, ChangeError> {
        let unknown = self.unknown(name);
        let corpus = self.0.get_mut(name).ok_or(unknown)?;
        if corpus.one.is_some() {
            return Err(ChangeError::OneObject { name: name.to_owned() });
        }
        let corpus = Arc::make_mut(corpus);
        corpus.kept = Kept::default();
        Ok(corpus)
    }

    fn unknown(&self, name: &str) -> ChangeError {
        ChangeError::UnknownCorpus { name: name.to_owned(), known: self.0.keys().cloned().collect() }
    }
}

/// Selections made before. A changed corpus has none.
#[derive(Debug, Default)]
struct Kept(Mutex<Vec<(Wanted, Arc<Vec<u32>>)>>);

impl Clone for Kept {
    fn clone(&self) -> Self {
        Self::default()
    }
}

type Wanted = (Vec<Filter>, Option<Sort>);

/// The records of one name.
#[derive(Debug, Clone)]
pub(super) struct Corpus {
    one: Option<Value>,
    base: Arc<Vec<Arc<Value>>>,
    grown: Option<Grown>,
    /// Records of the base that were changed, or deleted.
    changed: HashMap<usize, Option<Arc<Value>>>,
    added: Vec<Option<Arc<Value>>>,
    kept: Kept,
}

impl Corpus {
    fn new(one: Option<Value>, base: Vec<Arc<Value>>, grown: Option<Grown>) -> Self {
        let (changed, added) = (HashMap::new(), Vec::new());
        Self { one, base: Arc::new(base), grown, changed, added, kept: Kept::default() }
    }

    /// The one object, where it is no list.
    pub(super) fn one(&self) -> Option<&Value> {
        self.one.as_ref()
    }

    fn base_len(&self) -> usize {
        self.grown.as_ref().map_or(self.base.len(), Grown::len)
    }

    /// Numbers of records go up to here; those of deleted ones stay free.
    pub(super) fn end(&self) -> usize {
        self.base_len() + self.added.len()
    }

    /// A record by its number.
    pub(super) fn record(&self, index: usize) -> Option<Arc<Value>> {
        match self.changed.get(&index) {
            Some(changed) => return changed.clone(),
            None if index >= self.base_len() => return self.added.get(index - self.base_len())?.clone(),
            None => {}
        }
        match &self.grown {
            Some(grown) => Some(grown.record(index)),
            None => self.base.get(index).cloned(),
        }
    }

    /// Writes a record as JSON; says whether it is there.
    pub(super) fn write(&self, index: usize, out: &mut Vec<u8>) -> bool {
        match &self.grown {
            Some(grown) if index < self.base_len() && !self.changed.contains_key(&index) => {
                grown.write(index, out);
                true
            }
            // A value of JSON can always be written to memory.
            _ => self.record(index).is_some_and(|record| serde_json::to_writer(out, record.as_ref()).is_ok()),
        }
    }

    /// A field of a record, without building the record; `None` where the record is gone.
    fn field(&self, index: usize, field: &str) -> Option<Cow<'_, Value>> {
        let of = |record: &'_ Option<Arc<Value>>| {
            record.as_ref().and_then(|record| at(record, field)).cloned().map(Cow::Owned)
        };
        match self.changed.get(&index) {
            Some(changed) => return of(changed),
            None if index >= self.base_len() => return of(self.added.get(index - self.base_len())?),
            None => {}
        }
        match &self.grown {
            Some(grown) => grown.field(index, field),
            None => self.base.get(index).and_then(|record| at(record, field)).map(Cow::Borrowed),
        }
    }

    fn is_there(&self, index: usize) -> bool {
        match self.changed.get(&index) {
            Some(changed) => changed.is_some(),
            None if index >= self.base_len() => {
                self.added.get(index - self.base_len()).is_some_and(Option::is_some)
            }
            None => true,
        }
    }

    /// The records that all filters keep, in order.
    pub(super) fn select(&self, filters: &[Filter], sort: Option<&Sort>) -> Selected {
        if let Some(range) = self.select_range(filters, sort) {
            return range;
        }
        let wanted: Wanted = (filters.to_vec(), sort.cloned());
        let mut kept = self.kept.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, found)) = kept.iter().find(|(before, _)| *before == wanted) {
            return Selected::List(Arc::clone(found));
        }
        let found = Arc::new(self.scan(filters, sort));
        if kept.len() >= KEPT_SELECTIONS {
            kept.remove(0);
        }
        kept.push((wanted, Arc::clone(&found)));
        Selected::List(found)
    }

    /// A grown corpus is in the order of its rising fields, so that a range of it is found without looking at each.
    fn select_range(&self, filters: &[Filter], sort: Option<&Sort>) -> Option<Selected> {
        let grown = self.grown.as_ref()?;
        let ordered = sort.is_none_or(|sort| grown.rises(&sort.field));
        if !ordered || !self.changed.is_empty() || !self.added.is_empty() {
            return None;
        }
        let (mut start, mut end) = (0, grown.len());
        for filter in filters {
            let (from, to) = filter.bounds().filter(|_| grown.rises(&filter.field))?;
            let sample = Key::of(grown.field(0, &filter.field).as_deref());
            if from.iter().chain(&to).any(|(key, _)| !key.is_like(&sample)) {
                return None;
            }
            let first = |keep: &dyn Fn(&Key) -> bool| {
                let (mut low, mut high) = (0, grown.len());
                while low < high {
                    let middle = low + (high - low) / 2;
                    let key = Key::of(grown.field(middle, &filter.field).as_deref());
                    if keep(&key) { high = middle } else { low = middle + 1 }
                }
                low
            };
            if let Some((key, inclusive)) = from {
                start = start
                    .max(first(&|k| if inclusive { k.compare(key).is_ge() } else { k.compare(key).is_gt() }));
            }
            if let Some((key, inclusive)) = to {
                end = end
                    .min(first(&|k| if inclusive { k.compare(key).is_gt() } else { k.compare(key).is_ge() }));
            }
        }
        Some(Selected::Range { start, end: end.max(start), descending: sort.is_some_and(|s| s.descending) })
    }

    fn scan(&self, filters: &[Filter], sort: Option<&Sort>) -> Vec<u32> {
        // A filter on a field that does not grow says the same of all records that were made of one.
        let (varying, fixed): (Vec<&Filter>, Vec<&Filter>) =
            filters.iter().partition(|f| self.grown.as_ref().is_none_or(|g| g.varies(&f.field)));
        let mut told: HashMap<usize, bool> = HashMap::new();
        let mut keeps = |index: usize| {
            let keep = |filter: &&Filter| filter.keeps(self.field(index, &filter.field).as_deref());
            let plain = index < self.base_len() && !self.changed.contains_key(&index);
            match (&self.grown, plain) {
                (Some(grown), true) => {
                    *told.entry(grown.base_of(index)).or_insert_with(|| fixed.iter().all(keep))
                        && varying.iter().all(keep)
                }
                _ => fixed.iter().all(keep) && varying.iter().all(keep),
            }
        };
        let mut found: Vec<u32> = (0..self.end())
            .filter(|index| self.is_there(*index) && keeps(*index))
            .filter_map(|index| u32::try_from(index).ok())
            .collect();
        let Some(sort) = sort else { return found };
        let untouched = self.changed.is_empty() && self.added.is_empty();
        if untouched && self.grown.as_ref().is_some_and(|grown| grown.rises(&sort.field)) {
            if sort.descending {
                found.reverse();
            }
            return found;
        }
        let mut keyed: Vec<(Key, u32)> = found
            .into_iter()
            .map(|index| (Key::of(self.field(index as usize, &sort.field).as_deref()), index))
            .collect();
        keyed.sort_by(|(a, _), (b, _)| if sort.descending { b.compare(a) } else { a.compare(b) });
        keyed.into_iter().map(|(_, index)| index).collect()
    }

    /// Every record, in order.
    pub(super) fn all(&self) -> impl Iterator<Item = Arc<Value>> + '_ {
        (0..self.end()).filter_map(|index| self.record(index))
    }

    /// Adds a record at the end.
    pub(super) fn insert(&mut self, record: Value) {
        self.added.push(Some(Arc::new(record)));
    }

    /// Puts a record in place of another, or deletes it.
    pub(super) fn put(&mut self, index: usize, record: Option<Value>) {
        let record = record.map(Arc::new);
        match index.checked_sub(self.base_len()) {
            Some(added) => {
                if let Some(place) = self.added.get_mut(added) {
                    *place = record;
                }
            }
            None => {
                self.changed.insert(index, record);
            }
        }
    }

    /// One more than the largest whole number in a field.
    pub(super) fn next_number(&self, field: &str) -> i64 {
        let numbers = (0..self.end()).rev().filter_map(|index| {
            let value = self.field(index, field)?;
            value.as_i64().or_else(|| value.as_str()?.parse().ok())
        });
        // The last records of a grown corpus have the largest.
        let looked_at = if self.grown.is_some() { self.added.len() + 1000 } else { usize::MAX };
        numbers.take(looked_at).max().unwrap_or(0).saturating_add(1)
    }
}
