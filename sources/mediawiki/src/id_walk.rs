//! Walks over revisions in the order of their ids.
//!
//! Ids are given in the order in which revisions are stored, whatever time a revision carries: an imported
//! revision has an old time and a new id. So a walk over ids meets every revision that was stored since, and the
//! wiki says which ids of a range it does not have. Of those, the young ones may belong to an edit that is being
//! stored at this moment (a later edit can be visible first): they are kept in the mark and asked for again.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::session::RevisionBounds;

/// How many requests a read makes before it names an offset.
const REQUESTS_PER_READ: usize = 20;

/// Where a walk stands.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RevisionMark {
    /// The highest id that was asked for.
    pub(crate) revid: u64,
    /// Lower ids that were not there, but may come yet, in ascending order.
    pub(crate) missing: BTreeSet<u64>,
}

/// The part of a walk that belongs to one read.
#[derive(Debug)]
pub(crate) struct IdWalk {
    mark: RevisionMark,
    bounds: RevisionBounds,
    batch: usize,
    requests: usize,
    /// The ids of the mark that are to be asked for again when the walk has reached the end.
    again: Vec<u64>,
    asked: Vec<u64>,
}

impl IdWalk {
    /// Goes on from `mark`; each request asks for `batch` ids.
    pub(crate) fn new(mark: RevisionMark, bounds: RevisionBounds, batch: usize) -> Self {
        let again = mark.missing.iter().copied().collect();
        Self { mark, bounds, batch: batch.max(1), requests: 0, again, asked: Vec::new() }
    }

    /// The ids of the next request; `None` at the end of the read. The answer to the one before must have been
    /// told to [`IdWalk::answered`].
    pub(crate) fn next_ids(&mut self) -> Option<Vec<u64>> {
        self.asked.clear();
        if self.mark.revid < self.bounds.newest {
            if self.requests == REQUESTS_PER_READ {
                return None;
            }
            let ids = self.mark.revid + 1..=self.bounds.newest;
            self.asked = ids.take(self.batch).collect();
        } else {
            let rest = self.again.split_off(self.again.len().min(self.batch));
            self.asked = std::mem::replace(&mut self.again, rest);
        }
        self.requests += 1;
        (!self.asked.is_empty()).then(|| self.asked.clone())
    }

    /// Takes note of the ids that the last request asked for and that were not there.
    pub(crate) fn answered(&mut self, is_missing: impl Fn(u64) -> bool) {
        for id in &self.asked {
            if is_missing(*id) && *id > self.bounds.settled {
                self.mark.missing.insert(*id);
            } else {
                self.mark.missing.remove(id);
            }
        }
        self.mark.revid = self.mark.revid.max(self.asked.last().copied().unwrap_or(0));
    }

    /// Where the walk stands now.
    pub(crate) fn into_mark(self) -> RevisionMark {
        self.mark
    }

    /// Says whether the walk has met every id that there was.
    pub(crate) fn is_complete(&self) -> bool {
        self.mark.revid >= self.bounds.newest && self.again.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::{IdWalk, RevisionMark};
    use crate::session::RevisionBounds;

    fn mark(revid: u64, missing: &[u64]) -> RevisionMark {
        RevisionMark { revid, missing: missing.iter().copied().collect() }
    }

    /// One read of a source that has `present`; gives what it met and where it ended.
    fn read(
        from: RevisionMark,
        bounds: (u64, u64),
        batch: usize,
        present: &[u64],
    ) -> (Vec<u64>, RevisionMark) {
        let bounds = RevisionBounds { newest: bounds.0, settled: bounds.1 };
        let mut walk = IdWalk::new(from, bounds, batch);
        let mut met = Vec::new();
        while let Some(ids) = walk.next_ids() {
            assert!(ids.len() <= batch);
            met.extend(ids.iter().filter(|id| present.contains(id)));
            walk.answered(|id| !present.contains(&id));
        }
        (met, walk.into_mark())
    }

    #[test]
    fn every_id_is_asked_for_once() {
        for batch in [1, 2, 3, 50] {
            let (met, end) = read(mark(0, &[]), (7, 7), batch, &[1, 2, 4, 7]);
            assert_eq!((met, end), (vec![1, 2, 4, 7], mark(7, &[])), "{batch}");
        }
        assert_eq!(read(mark(7, &[]), (7, 7), 3, &[7]), (vec![], mark(7, &[])));
    }

    #[test]
    fn a_young_id_that_is_missing_is_asked_for_again_until_it_has_settled() {
        let (met, end) = read(mark(0, &[]), (6, 2), 4, &[2, 4, 6]);
        assert_eq!((met, &end), (vec![2, 4, 6], &mark(6, &[3, 5])));
        // The same read again changes nothing: the stream has come to its end.
        assert_eq!(read(end.clone(), (6, 2), 4, &[2, 4, 6]), (vec![], end.clone()));
        let (met, end) = read(end, (8, 2), 4, &[2, 3, 4, 6, 8]);
        assert_eq!((met, &end), (vec![8, 3], &mark(8, &[5, 7])));
        let (met, end) = read(end, (8, 6), 4, &[2, 3, 4, 6, 8]);
        assert_eq!((met, &end), (vec![], &mark(8, &[7])));
    }

    #[test]
    fn a_long_walk_is_cut_into_reads() {
        let present: Vec<u64> = (1..=100).collect();
        let (met, end) = read(mark(0, &[]), (100, 100), 2, &present);
        assert_eq!((met.len(), end.revid), (40, 40));
        let (met, end) = read(end, (100, 100), 2, &present);
        assert_eq!((met.first(), end.revid), (Some(&41), 80));
    }

    #[test]
    fn a_wiki_whose_newest_revisions_were_deleted_does_not_turn_the_walk_back() {
        assert_eq!(read(mark(9, &[]), (5, 5), 3, &[5]), (vec![], mark(9, &[])));
    }
}
