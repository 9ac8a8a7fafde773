//! Small tables in memory that apply micro-batches by the crate's interface alone.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::{
    ArrayRef, Decimal128Array, Float64Array, Int64Array, StringArray, StructArray, TimestampMicrosecondArray,
};
use arrow_row::Rows;
use arrow_schema::{DataType, Field};
use headwater_cdc::scd1::{self, Decision, HiddenAction, State, TargetAction};
use headwater_cdc::scd2::{self, Changes, Events, Seq, Source, Stored, Written};
use headwater_cdc::{CdcError, KeyIndex, RowCodec};

/// A change event. `at` stands for its sequence, whatever the type that is made of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) key: i64,
    pub(crate) at: i64,
    pub(crate) delete: bool,
    pub(crate) values: Values,
}

pub(crate) type Values = (Option<String>, Option<String>);

/// How sequences are made of numbers. All keep the order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sequence {
    Long,
    Text,
    /// Equal for longer than any shortcut looks.
    LongText,
    Double,
    Decimal,
    Timestamp,
    Struct,
}

impl Sequence {
    pub(crate) const ALL: [Self; 7] =
        [Self::Long, Self::Text, Self::LongText, Self::Double, Self::Decimal, Self::Timestamp, Self::Struct];

    fn array(self, at: &[Option<i64>]) -> ArrayRef {
        let split = |high: bool| -> ArrayRef {
            Arc::new(
                at.iter()
                    .map(|at| at.map(|at| if high { at.div_euclid(4) } else { at.rem_euclid(4) }))
                    .collect::<Int64Array>(),
            )
        };
        match self {
            Self::Long => Arc::new(Int64Array::from(at.to_vec())),
            Self::Text => {
                Arc::new(at.iter().map(|at| at.map(|at| format!("{at:08}"))).collect::<StringArray>())
            }
            Self::LongText => {
                let text = |at: i64| format!("{}{at:08}", "the sequence ".repeat(3));
                Arc::new(at.iter().map(|at| at.map(text)).collect::<StringArray>())
            }
            Self::Double => {
                Arc::new(at.iter().map(|at| at.map(|at| at as f64 / 8.0 - 1.0)).collect::<Float64Array>())
            }
            Self::Decimal => Arc::new(
                at.iter()
                    .map(|at| at.map(|at| i128::from(at) - 5))
                    .collect::<Decimal128Array>()
                    .with_precision_and_scale(10, 2)
                    .unwrap(),
            ),
            Self::Timestamp => Arc::new(
                at.iter()
                    .map(|at| at.map(|at| at - 10))
                    .collect::<TimestampMicrosecondArray>()
                    .with_timezone("UTC"),
            ),
            Self::Struct => Arc::new(StructArray::from(vec![
                (Arc::new(Field::new("high", DataType::Int64, true)), split(true)),
                (Arc::new(Field::new("low", DataType::Int64, true)), split(false)),
            ])),
        }
    }

    fn rows(self, at: &[Option<i64>]) -> Rows {
        let array = self.array(at);
        RowCodec::new(&[array.data_type().clone()]).unwrap().encode(&[array]).unwrap()
    }
}

/// Which columns are tracked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tracked {
    Nothing,
    Name,
    NameNote,
    /// The sequence too.
    All,
}

impl Tracked {
    fn rows(self, sequence: Sequence, at: &[i64], values: &[&Values]) -> Rows {
        let text = |pick: fn(&Values) -> Option<&str>| -> ArrayRef {
            Arc::new(values.iter().map(|values| pick(values)).collect::<StringArray>())
        };
        let name = text(|(name, _)| name.as_deref());
        let note = text(|(_, note)| note.as_deref());
        let at: Vec<Option<i64>> = at.iter().copied().map(Some).collect();
        let columns = match self {
            Self::Nothing => vec![],
            Self::Name => vec![name],
            Self::NameNote => vec![name, note],
            Self::All => vec![name, note, sequence.array(&at)],
        };
        let types: Vec<DataType> = columns.iter().map(|column| column.data_type().clone()).collect();
        RowCodec::new(&types).unwrap().encode_rows(&columns, values.len()).unwrap()
    }
}

fn keys(keys: impl Iterator<Item = i64>) -> Vec<ArrayRef> {
    vec![Arc::new(Int64Array::from_iter_values(keys))]
}

/// The groups of a micro-batch, and the (row, group) of the stored rows of its keys.
fn grouped(batch: &[Event], stored: impl Iterator<Item = i64>) -> (Vec<u32>, usize, Vec<(u32, u32)>) {
    let (first, second) = batch.split_at(batch.len() / 2);
    let chunks = [keys(first.iter().map(|event| event.key)), keys(second.iter().map(|event| event.key))];
    let (index, groups) = KeyIndex::build(&chunks).unwrap();
    let mut hits = Vec::new();
    index.probe(&keys(stored), &mut hits).unwrap();
    (groups, index.groups(), hits)
}

/// A row of an SCD 2 table or of its hidden state.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Row {
    pub(crate) key: i64,
    pub(crate) start: i64,
    pub(crate) end: Option<i64>,
    pub(crate) at: i64,
    pub(crate) values: Values,
    pub(crate) hidden: bool,
}

/// An SCD 2 table with its hidden state.
#[derive(Debug)]
pub(crate) struct History {
    pub(crate) rows: Vec<Row>,
    sequence: Sequence,
    tracked: Tracked,
}

impl History {
    pub(crate) fn new(sequence: Sequence, tracked: Tracked) -> Self {
        Self { rows: Vec::new(), sequence, tracked }
    }

    /// What a micro-batch changes, and the numbers of the rows that its answer calls stored.
    pub(crate) fn changes(&self, batch: &[Event]) -> Result<(Vec<usize>, Changes), CdcError> {
        let (event_groups, groups, hits) = grouped(batch, self.rows.iter().map(|row| row.key));
        let numbers: Vec<usize> = hits.iter().map(|(row, _)| *row as usize).collect();
        let stored_groups: Vec<u32> = hits.iter().map(|(_, group)| *group).collect();
        let stored: Vec<&Row> = numbers.iter().map(|row| &self.rows[*row]).collect();
        let sequence = self.sequence;
        let event_at: Vec<i64> = batch.iter().map(|event| event.at).collect();
        let event_values: Vec<&Values> = batch.iter().map(|event| &event.values).collect();
        let stored_at: Vec<i64> = stored.iter().map(|row| row.at).collect();
        let stored_values: Vec<&Values> = stored.iter().map(|row| &row.values).collect();
        let some = |at: &[i64]| sequence.rows(&at.iter().copied().map(Some).collect::<Vec<_>>());
        let changes = scd2::apply(
            &Events {
                group: &event_groups,
                at: &some(&event_at),
                delete: &batch.iter().map(|event| event.delete).collect::<Vec<_>>(),
                tracked: &self.tracked.rows(sequence, &event_at, &event_values),
            },
            &Stored {
                group: &stored_groups,
                at: &some(&stored_at),
                start: &some(&stored.iter().map(|row| row.start).collect::<Vec<_>>()),
                end: &sequence.rows(&stored.iter().map(|row| row.end).collect::<Vec<_>>()),
                open: &stored.iter().map(|row| row.end.is_none()).collect::<Vec<_>>(),
                hidden: &stored.iter().map(|row| row.hidden).collect::<Vec<_>>(),
                tracked: &self.tracked.rows(sequence, &stored_at, &stored_values),
            },
            groups,
        )?;
        self.check_working_set(batch, (&event_groups, &stored_groups, groups), &stored, &changes);
        Ok((numbers, changes))
    }

    /// Only rows of the working set change, and it is what the rule says it is.
    fn check_working_set(
        &self,
        batch: &[Event],
        (event_groups, stored_groups, groups): (&[u32], &[u32], usize),
        stored: &[&Row],
        changes: &Changes,
    ) {
        let some = |at: Vec<i64>| self.sequence.rows(&at.into_iter().map(Some).collect::<Vec<_>>());
        let event_at = some(batch.iter().map(|event| event.at).collect());
        let stored_at = some(stored.iter().map(|row| row.at).collect());
        let inside = scd2::working_set(event_groups, &event_at, stored_groups, &stored_at, groups).unwrap();
        for (row, inside) in stored.iter().zip(&inside) {
            let first =
                batch.iter().filter(|event| event.key == row.key).map(|event| event.at).min().unwrap();
            let others = stored.iter().filter(|other| other.key == row.key && other.at < first);
            let cutoff = others.map(|other| other.at).max().unwrap_or(first);
            assert_eq!(*inside, row.at >= cutoff, "{row:?} in {stored:?}, first event {first}");
        }
        assert!(changes.removed.iter().all(|row| inside[*row as usize]), "{changes:?}");
    }

    pub(crate) fn apply(&mut self, batch: &[Event]) -> Result<(), CdcError> {
        let (numbers, Changes { removed, written }) = self.changes(batch)?;
        let stored = |row: u32| &self.rows[numbers[row as usize]];
        let sequence = |seq: Seq| match seq {
            Seq::New(row) => batch[row as usize].at,
            Seq::At(row) => stored(row).at,
            Seq::Start(row) => stored(row).start,
            Seq::End(row) => stored(row).end.unwrap(),
        };
        let make = |Written { data, at, start, end, hidden, tombstone }: &Written| {
            let (key, values) = match data {
                Source::New(row) => (batch[*row as usize].key, batch[*row as usize].values.clone()),
                Source::Stored(row) => (stored(*row).key, stored(*row).values.clone()),
            };
            let row = Row {
                key,
                start: sequence(*start),
                end: end.map(sequence),
                at: sequence(*at),
                values,
                hidden: *hidden,
            };
            assert_eq!(*tombstone, row.hidden && row.end == Some(row.at) && row.start == row.at, "{row:?}");
            row
        };
        let made: Vec<Row> = written.iter().map(make).collect();
        let mut leaving: Vec<usize> = removed.iter().map(|row| numbers[*row as usize]).collect();
        leaving.sort_unstable();
        leaving.windows(2).for_each(|pair| assert_ne!(pair[0], pair[1], "a row is removed twice"));
        leaving.iter().rev().for_each(|row| drop(self.rows.swap_remove(*row)));
        self.rows.extend(made);
        Ok(())
    }

    /// The rows that readers see, or the hidden ones, in order.
    pub(crate) fn part(&self, hidden: bool) -> Vec<Row> {
        let mut rows: Vec<Row> = self.rows.iter().filter(|row| row.hidden == hidden).cloned().collect();
        rows.sort();
        rows
    }
}

/// An SCD 1 table with its tombstones.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Current {
    pub(crate) target: BTreeMap<i64, (i64, Values)>,
    pub(crate) tombstones: BTreeMap<i64, i64>,
}

impl Current {
    pub(crate) fn apply(&mut self, batch: &[Event], sequence: Sequence) {
        let (event_groups, groups, _) = grouped(batch, std::iter::empty());
        let (first, second) = batch.split_at(batch.len() / 3);
        let at =
            |events: &[Event]| sequence.rows(&events.iter().map(|event| Some(event.at)).collect::<Vec<_>>());
        let (first, second) = (at(first), at(second));
        let last = scd1::last_events(&event_groups, groups, &[&first, &second]).unwrap();
        assert_eq!(last.len(), groups);
        for event in last.iter().map(|row| &batch[*row as usize]) {
            let stored = |at: Option<i64>| at.map(|at| sequence.rows(&[Some(at)]).row(0).owned());
            let state = State {
                upsert: stored(self.target.get(&event.key).map(|(at, _)| *at)),
                tombstone: stored(self.tombstones.get(&event.key).copied()),
            };
            let kind = if event.delete { scd1::Event::Delete } else { scd1::Event::Upsert };
            let Decision { target, hidden } = scd1::decide(kind, &stored(Some(event.at)).unwrap(), &state);
            let before = match target {
                TargetAction::Keep => None,
                TargetAction::Insert => {
                    assert!(self.target.insert(event.key, (event.at, event.values.clone())).is_none());
                    None
                }
                TargetAction::Replace => self.target.insert(event.key, (event.at, event.values.clone())),
                TargetAction::Remove => self.target.remove(&event.key),
            };
            assert_eq!(before.is_some(), matches!(target, TargetAction::Replace | TargetAction::Remove));
            match hidden {
                HiddenAction::Keep => {}
                HiddenAction::Put => drop(self.tombstones.insert(event.key, event.at)),
                HiddenAction::Remove => assert!(self.tombstones.remove(&event.key).is_some()),
            }
        }
    }
}
