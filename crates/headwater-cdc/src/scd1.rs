//! SCD type 1: one row per key, the last one.
//!
//! Of a key are known: the sequence of its row, if it has one, and of its tombstone, if a delete was seen that no later upsert
//! made irrelevant. Both can be there at once: a delete that came late is older than the row.
//!
//! Equal sequences: an upsert wins over a delete whichever came first, and of two upserts the one that came later.

use arrow_row::Rows;

use crate::CdcError;

/// The row of the last event of each group: the one with the greatest sequence, and of equal ones the later row.
///
/// `group` and the rows of `at`, chunk after chunk, describe the same rows. Everything else in the micro-batch is forgotten, deletes too.
///
/// # Errors
/// Lengths that differ, a group outside of `0..groups`, a group without a row.
pub fn last_events(group: &[u32], groups: usize, at: &[&Rows]) -> Result<Vec<u32>, CdcError> {
    const NONE: u32 = u32::MAX;
    let rows: usize = at.iter().map(|chunk| chunk.num_rows()).sum();
    if rows != group.len() {
        return Err(CdcError::UnevenLengths { what: "sequences", expected: group.len(), found: rows });
    }
    if u32::try_from(rows).is_err() || rows == NONE as usize {
        return Err(CdcError::TooManyRows { rows });
    }
    let mut last = vec![NONE; groups];
    let mut greatest: Vec<&[u8]> = vec![&[]; groups];
    let sequences = at.iter().flat_map(|chunk| chunk.iter());
    for ((row, &of), sequence) in (0_u32..).zip(group).zip(sequences) {
        let place = of as usize;
        if place >= groups {
            return Err(CdcError::UnknownGroup { row: row as usize, group: of, groups });
        }
        if last[place] == NONE || sequence.data() >= greatest[place] {
            last[place] = row;
            greatest[place] = sequence.data();
        }
    }
    match (0_u32..).zip(&last).find(|(_, row)| **row == NONE) {
        Some((group, _)) => Err(CdcError::GroupWithoutEvent { group }),
        None => Ok(last),
    }
}

/// What is stored of a key. `S` is the sequence, such as the bytes of a row that a [`RowCodec`](crate::RowCodec) made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct State<S> {
    /// The sequence of the key's row.
    pub upsert: Option<S>,
    /// The sequence of the key's tombstone.
    pub tombstone: Option<S>,
}

/// What an event does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// The key has these values.
    Upsert,
    /// The key is gone.
    Delete,
}

/// What becomes of the key's row in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TargetAction {
    /// It stays as it is, or stays away.
    Keep,
    /// The event becomes the row of a key that had none.
    Insert,
    /// The event's values and sequence take the place of the row.
    Replace,
    /// The row goes.
    Remove,
}

/// What becomes of the key's tombstone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HiddenAction {
    /// It stays as it is, or stays away.
    Keep,
    /// There is one with the event's sequence now, in place of an older one if there was one.
    Put,
    /// It goes.
    Remove,
}

/// What an event changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct Decision {
    /// In the table.
    pub target: TargetAction,
    /// In the hidden state.
    pub hidden: HiddenAction,
}

/// What the last event of a key in a micro-batch changes. An event that is older than the tombstone changes nothing.
pub fn decide<S: Ord>(event: Event, at: &S, state: &State<S>) -> Decision {
    if state.tombstone.as_ref().is_some_and(|tombstone| at < tombstone) {
        return Decision { target: TargetAction::Keep, hidden: HiddenAction::Keep };
    }
    match event {
        Event::Upsert => Decision {
            target: match &state.upsert {
                None => TargetAction::Insert,
                Some(stored) if at >= stored => TargetAction::Replace,
                Some(_) => TargetAction::Keep,
            },
            hidden: if state.tombstone.is_some() { HiddenAction::Remove } else { HiddenAction::Keep },
        },
        Event::Delete => Decision {
            target: match &state.upsert {
                Some(stored) if at > stored => TargetAction::Remove,
                _ => TargetAction::Keep,
            },
            hidden: match &state.tombstone {
                Some(tombstone) if at == tombstone => HiddenAction::Keep,
                _ => HiddenAction::Put,
            },
        },
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::Int64Array;
    use arrow_schema::DataType;

    use super::*;
    use crate::RowCodec;

    fn rows(at: &[i64]) -> Rows {
        let column = Arc::new(Int64Array::from(at.to_vec()));
        RowCodec::new(&[DataType::Int64]).unwrap().encode(&[column]).unwrap()
    }

    #[test]
    fn the_last_event_has_the_greatest_sequence_and_of_equal_ones_is_the_later_row() {
        let check = |group: &[u32], at: &[i64], expected: &[u32]| {
            let groups = expected.len();
            for split in 0..=at.len() {
                let (first, second) = (rows(&at[..split]), rows(&at[split..]));
                assert_eq!(last_events(group, groups, &[&first, &second]).unwrap(), expected, "{at:?}");
            }
        };
        check(&[], &[], &[]);
        check(&[0, 1, 0, 1], &[5, 5, 4, 6], &[0, 3]);
        check(&[0, 0, 0], &[5, 5, 4], &[1]);
        check(&[1, 0, 1, 1], &[-3, 0, -3, -9], &[1, 2]);
    }

    #[test]
    fn groups_without_events_and_rows_without_groups_are_errors() {
        let refused =
            |group: &[u32], groups, at: &[i64]| last_events(group, groups, &[&rows(at)]).unwrap_err();
        assert!(matches!(refused(&[0], 2, &[1]), CdcError::GroupWithoutEvent { group: 1 }));
        let unknown = refused(&[0, 3], 2, &[1, 1]);
        assert!(matches!(unknown, CdcError::UnknownGroup { row: 1, group: 3, groups: 2 }));
        assert!(matches!(refused(&[0], 1, &[]), CdcError::UnevenLengths { expected: 1, found: 0, .. }));
    }

    #[test]
    fn an_event_meets_what_is_stored() {
        use HiddenAction as H;
        use TargetAction as T;
        // An event at 5 against the sequences of the row and of the tombstone.
        let check = |event, upsert, tombstone, target, hidden| {
            let decision = decide(event, &5, &State { upsert, tombstone });
            assert_eq!(decision, Decision { target, hidden }, "{event:?} {upsert:?} {tombstone:?}");
        };
        check(Event::Upsert, None, None, T::Insert, H::Keep);
        check(Event::Upsert, Some(4), None, T::Replace, H::Keep);
        check(Event::Upsert, Some(5), None, T::Replace, H::Keep);
        check(Event::Upsert, Some(6), None, T::Keep, H::Keep);
        check(Event::Upsert, None, Some(4), T::Insert, H::Remove);
        check(Event::Upsert, None, Some(5), T::Insert, H::Remove);
        check(Event::Upsert, None, Some(6), T::Keep, H::Keep);
        check(Event::Upsert, Some(6), Some(4), T::Keep, H::Remove);
        check(Event::Upsert, Some(5), Some(5), T::Replace, H::Remove);
        check(Event::Delete, None, None, T::Keep, H::Put);
        check(Event::Delete, Some(4), None, T::Remove, H::Put);
        check(Event::Delete, Some(5), None, T::Keep, H::Put);
        check(Event::Delete, Some(6), None, T::Keep, H::Put);
        check(Event::Delete, None, Some(4), T::Keep, H::Put);
        check(Event::Delete, None, Some(5), T::Keep, H::Keep);
        check(Event::Delete, None, Some(6), T::Keep, H::Keep);
        check(Event::Delete, Some(6), Some(4), T::Keep, H::Put);
        check(Event::Delete, Some(4), Some(5), T::Remove, H::Keep);
    }
}
