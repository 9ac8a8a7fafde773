//! SCD type 2: the whole timeline of each key.
//!
//! The upserts of a key, in the order of their sequences, fall into *runs*: stretches without a delete in between and with equal
//! tracked values. A run is one row that readers see: it starts where the first upsert of the run does, ends at the next event after the
//! run, and carries the values of the run's last upsert. The earlier upserts of a run are kept out of sight, because a late event may
//! cut the run at any of them. A delete is the end of the run before it, and where there is none (or where an earlier delete
//! took it away) it is kept as a tombstone.
//!
//! [`apply`] brings the stored rows of the keys of a micro-batch to the state that all events together would give, without seeing more than
//! the stored rows from the last one before the batch on.
//!
//! Equal sequences: a delete wins over an upsert, except that an upsert at the sequence where a stored row was ended
//! by a delete wins; of two upserts the stored one stays; in one batch the later row wins.

use std::cmp::{Ordering, Reverse};

use arrow_row::Rows;

use crate::CdcError;

/// The new events of a micro-batch. Arrays describe the same rows.
#[derive(Clone, Copy)]
pub struct Events<'a> {
    /// The group of each event: the number of its key.
    pub group: &'a [u32],
    /// The sequence.
    pub at: &'a Rows,
    /// Whether it is a delete.
    pub delete: &'a [bool],
    /// The tracked values; those of deletes are not looked at.
    pub tracked: &'a Rows,
}

/// Stored rows of the keys of a micro-batch, of the table and of its hidden state alike. Arrays describe the same rows.
///
/// A row is a tombstone if it is hidden and its start and end are its record start.
#[derive(Clone, Copy)]
pub struct Stored<'a> {
    /// The group of each row: the number of its key.
    pub group: &'a [u32],
    /// The record start: the sequence of the event that the row carries.
    pub at: &'a Rows,
    /// The start: the sequence of the first upsert of the run.
    pub start: &'a Rows,
    /// The end; not looked at where `open`.
    pub end: &'a Rows,
    /// Whether the end is null.
    pub open: &'a [bool],
    /// Whether the row is in the hidden state.
    pub hidden: &'a [bool],
    /// The tracked values; those of tombstones are not looked at.
    pub tracked: &'a Rows,
}

/// Whose data a row carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// The event with this number.
    New(u32),
    /// The stored row with this number.
    Stored(u32),
}

/// Where a sequence is found, so that it can be taken from the arrays it came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Seq {
    /// The sequence of the event with this number.
    New(u32),
    /// The record start of the stored row with this number.
    At(u32),
    /// The start of the stored row with this number.
    Start(u32),
    /// The end of the stored row with this number.
    End(u32),
}

/// A row to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// Whose data it carries; those of a tombstone mean nothing but the key.
    pub data: Source,
    /// The record start.
    pub at: Seq,
    /// The start.
    pub start: Seq,
    /// The end; none while the row is the last one.
    pub end: Option<Seq>,
    /// Whether it goes to the hidden state.
    pub hidden: bool,
    /// Whether it is a tombstone, which is hidden as well.
    pub tombstone: bool,
}

/// What a micro-batch changes. A stored row that stays where and as it is appears in neither list; one that changes appears in both.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[must_use]
pub struct Changes {
    /// The stored rows that leave where they are.
    pub removed: Vec<u32>,
    /// The rows that are written.
    pub written: Vec<Written>,
}

/// What the events change, for all keys of the micro-batch. Stored rows of keys without an event are left alone, as are rows that
/// lie before the working set (see [`working_set`]); either may be left out.
///
/// Results come group by group. Applying a batch once more to what it led to gives no changes.
///
/// # Errors
/// [`CdcError::ImpossibleRow`] for a stored row of a key at hand that starts after its record start, ends before it, or is a tombstone that is not hidden;
/// lengths that differ, groups outside of `0..groups`.
pub fn apply(events: &Events<'_>, stored: &Stored<'_>, groups: usize) -> Result<Changes, CdcError> {
    check_lengths(events, stored)?;
    let new_rows = Grouped::new(events.group, groups)?;
    let old_rows = Grouped::new(stored.group, groups)?;
    let tables = Tables { events, stored };
    let mut changes = Changes::default();
    let mut timeline = Timeline::default();
    for group in 0..groups {
        let new = new_rows.of(group);
        if new.is_empty() {
            continue;
        }
        let old = old_rows.of(group);
        timeline.clear();
        tables.load(new, old, &mut timeline)?;
        timeline.settle(&tables);
        timeline.report(&tables, &mut changes);
    }
    Ok(changes)
}

/// Which of the stored rows [`apply`] looks at: of each key those from the last one before the key's first event of the batch on.
///
/// # Errors
/// Lengths that differ, groups outside of `0..groups`.
pub fn working_set(
    events_group: &[u32],
    events_at: &Rows,
    stored_group: &[u32],
    stored_at: &Rows,
    groups: usize,
) -> Result<Vec<bool>, CdcError> {
    same_length("sequences of events", events_group.len(), events_at.num_rows())?;
    same_length("record starts", stored_group.len(), stored_at.num_rows())?;
    let mut first: Vec<Option<&[u8]>> = vec![None; groups];
    for (row, (&group, at)) in events_group.iter().zip(events_at).enumerate() {
        let least = first.get_mut(group as usize).ok_or(CdcError::UnknownGroup { row, group, groups })?;
        if least.is_none_or(|least| at.data() < least) {
            *least = Some(at.data());
        }
    }
    let mut cutoff: Vec<Option<&[u8]>> = vec![None; groups];
    for (row, (&group, at)) in stored_group.iter().zip(stored_at).enumerate() {
        let place = group as usize;
        let least = first.get(place).ok_or(CdcError::UnknownGroup { row, group, groups })?;
        let greatest = &mut cutoff[place];
        if least.is_some_and(|least| at.data() < least)
            && greatest.is_none_or(|greatest| at.data() > greatest)
        {
            *greatest = Some(at.data());
        }
    }
    let inside = stored_group.iter().zip(stored_at).map(|(&group, at)| {
        let place = group as usize;
        cutoff[place].or(first[place]).is_some_and(|from| at.data() >= from)
    });
    Ok(inside.collect())
}

fn same_length(what: &'static str, expected: usize, found: usize) -> Result<(), CdcError> {
    if expected == found { Ok(()) } else { Err(CdcError::UnevenLengths { what, expected, found }) }
}

fn check_lengths(events: &Events<'_>, stored: &Stored<'_>) -> Result<(), CdcError> {
    let rows = events.group.len();
    same_length("sequences of events", rows, events.at.num_rows())?;
    same_length("deletes", rows, events.delete.len())?;
    same_length("tracked values of events", rows, events.tracked.num_rows())?;
    let rows = stored.group.len();
    same_length("record starts", rows, stored.at.num_rows())?;
    same_length("starts", rows, stored.start.num_rows())?;
    same_length("ends", rows, stored.end.num_rows())?;
    same_length("open ends", rows, stored.open.len())?;
    same_length("hidden marks", rows, stored.hidden.len())?;
    same_length("tracked values of stored rows", rows, stored.tracked.num_rows())
}

/// Row numbers, group by group, in their order.
struct Grouped {
    begins: Vec<u32>,
    rows: Vec<u32>,
}

impl Grouped {
    fn new(group: &[u32], groups: usize) -> Result<Self, CdcError> {
        let count = u32::try_from(group.len()).map_err(|_| CdcError::TooManyRows { rows: group.len() })?;
        let mut begins = vec![0_u32; groups + 1];
        for (row, &of) in group.iter().enumerate() {
            if of as usize >= groups {
                return Err(CdcError::UnknownGroup { row, group: of, groups });
            }
            begins[of as usize] += 1;
        }
        let mut total = 0;
        for begin in &mut begins {
            total += *begin;
            *begin = total;
        }
        // From the end of its group backwards, each row takes the place before the one taken last.
        let mut rows = vec![0_u32; group.len()];
        for (row, &of) in (0..count).rev().zip(group.iter().rev()) {
            let begin = &mut begins[of as usize];
            *begin -= 1;
            rows[*begin as usize] = row;
        }
        Ok(Self { begins, rows })
    }

    fn of(&self, group: usize) -> &[u32] {
        &self.rows[self.begins[group] as usize..self.begins[group + 1] as usize]
    }
}

/// A sequence's bytes and where they came from.
#[derive(Clone, Copy)]
struct Point<'a> {
    bytes: &'a [u8],
    seq: Seq,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    /// The end of a closed row that an event falls into, on its own for as long as the work lasts.
    Tail,
    Upsert,
    Tombstone,
}

/// A row at work. Tails and tombstones have their place as start and end too.
#[derive(Clone, Copy)]
struct Entry<'a> {
    at: Point<'a>,
    kind: Kind,
    start: Point<'a>,
    end: Option<Point<'a>>,
    data: Source,
    /// Continued by the next row, and therefore hidden.
    joined: bool,
    gone: bool,
}

impl<'a> Entry<'a> {
    fn point(kind: Kind, at: Point<'a>, data: Source) -> Self {
        Self { at, kind, start: at, end: Some(at), data, joined: false, gone: false }
    }

    fn end_bytes(&self) -> Option<&'a [u8]> {
        self.end.map(|end| end.bytes)
    }

    /// The order in which, of rows at one place, the last survives: tails give way to events, upserts to deletes, of copies of one
    /// upsert the one whose run starts first and ends first stays, new rows give way to stored ones, and of new rows the later stays.
    fn order(&self, other: &Self) -> Ordering {
        let by_kind = self.at.bytes.cmp(other.at.bytes).then(self.kind.cmp(&other.kind));
        by_kind
            .then_with(|| match self.kind {
                // Ends descend, and an open end, which is later than any, comes first.
                Kind::Upsert => other.start.bytes.cmp(self.start.bytes).then_with(|| {
                    (self.end.is_some(), Reverse(self.end_bytes()))
                        .cmp(&(other.end.is_some(), Reverse(other.end_bytes())))
                }),
                _ => Ordering::Equal,
            })
            .then_with(|| self.data.cmp(&other.data))
    }
}

struct Tables<'e, 'a> {
    events: &'e Events<'a>,
    stored: &'e Stored<'a>,
}

impl<'a> Tables<'_, 'a> {
    fn load(&self, new: &[u32], old: &[u32], timeline: &mut Timeline<'a>) -> Result<(), CdcError> {
        let mut first: Option<&[u8]> = None;
        for &row in new {
            let bytes = self.events.at.row(row as usize).data();
            let kind = if self.events.delete[row as usize] { Kind::Tombstone } else { Kind::Upsert };
            let mut entry = Entry::point(kind, Point { bytes, seq: Seq::New(row) }, Source::New(row));
            if kind == Kind::Upsert {
                entry.end = None;
            }
            timeline.entries.push(entry);
            if first.is_none_or(|first| bytes < first) {
                first = Some(bytes);
            }
        }
        let place = |row: u32| self.stored.at.row(row as usize).data();
        let before = old.iter().map(|&row| place(row)).filter(|at| Some(*at) < first).max();
        let from = before.or(first);
        for &row in old {
            let entry = self.stored_entry(row)?;
            if Some(entry.at.bytes) >= from {
                timeline.entries.push(entry);
                timeline.old.push(row);
            }
        }
        Ok(())
    }

    fn stored_entry(&self, row: u32) -> Result<Entry<'a>, CdcError> {
        let (stored, index) = (self.stored, row as usize);
        let at = Point { bytes: stored.at.row(index).data(), seq: Seq::At(row) };
        let start = Point { bytes: stored.start.row(index).data(), seq: Seq::Start(row) };
        let end = Point { bytes: stored.end.row(index).data(), seq: Seq::End(row) };
        let open = stored.open[index];
        let data = Source::Stored(row);
        if !open && stored.hidden[index] && start.bytes == at.bytes && end.bytes == at.bytes {
            return Ok(Entry::point(Kind::Tombstone, at, data));
        }
        if start.bytes > at.bytes || (!open && end.bytes <= at.bytes) {
            return Err(CdcError::ImpossibleRow { row });
        }
        let end = if open { None } else { Some(end) };
        Ok(Entry { at, kind: Kind::Upsert, start, end, data, joined: false, gone: false })
    }

    fn tracked(&self, source: Source) -> &'a [u8] {
        match source {
            Source::New(row) => self.events.tracked.row(row as usize).data(),
            Source::Stored(row) => self.stored.tracked.row(row as usize).data(),
        }
    }

    /// Whether the second row continues the first, its neighbour: no delete lies between them, and the tracked values are equal.
    fn joins(&self, first: &Entry<'_>, second: &Entry<'_>) -> bool {
        first.kind == Kind::Upsert
            && second.kind == Kind::Upsert
            && first.end.is_none_or(|end| end.bytes >= second.at.bytes)
            && self.tracked(first.data) == self.tracked(second.data)
    }
}

/// The working set of one key, and how it settles. Kept from key to key for its memory.
#[derive(Default)]
struct Timeline<'a> {
    entries: Vec<Entry<'a>>,
    /// The stored rows among them, ascending.
    old: Vec<u32>,
    /// Those that stay where and as they are.
    staying: Vec<u32>,
}

impl<'a> Timeline<'a> {
    fn clear(&mut self) {
        self.entries.clear();
        self.old.clear();
        self.staying.clear();
    }

    fn settle(&mut self, tables: &Tables<'_, 'a>) {
        self.entries.sort_unstable_by(Entry::order);
        self.split();
        self.keep_last_of_each_place();
        self.redraw(tables);
        self.forget_absorbed();
    }

    /// A closed row that the next event falls into gives up its end, which becomes a row of its own.
    fn split(&mut self) {
        let count = self.entries.len();
        for index in 0..count {
            let entry = self.entries[index];
            if let (Kind::Upsert, Some(end)) = (entry.kind, entry.end)
                && index + 1 < count
                && self.entries[index + 1].at.bytes < end.bytes
            {
                self.entries[index].end = None;
                self.entries.push(Entry::point(Kind::Tail, end, entry.data));
            }
        }
        if self.entries.len() > count {
            self.entries.sort_unstable_by(Entry::order);
        }
    }

    fn keep_last_of_each_place(&mut self) {
        let mut kept = 0;
        for index in 0..self.entries.len() {
            let entry = self.entries[index];
            if kept > 0 && self.entries[kept - 1].at.bytes == entry.at.bytes {
                kept -= 1;
            }
            self.entries[kept] = entry;
            kept += 1;
        }
        self.entries.truncate(kept);
    }

    /// Draws runs anew: where each starts and ends.
    fn redraw(&mut self, tables: &Tables<'_, 'a>) {
        let mut joined_before = false;
        for index in 0..self.entries.len() {
            let entry = self.entries[index];
            if entry.kind != Kind::Upsert {
                joined_before = false;
                continue;
            }
            if joined_before {
                self.entries[index].start = self.entries[index - 1].start;
            } else if index > 0 && entry.start.bytes != entry.at.bytes {
                self.entries[index].start = entry.at;
            }
            joined_before = false;
            let Some(next) = self.entries.get(index + 1).copied() else { break };
            if tables.joins(&entry, &next) {
                self.entries[index].end = None;
                self.entries[index].joined = true;
                joined_before = true;
            } else if entry.end.is_none_or(|end| end.bytes > next.at.bytes) {
                self.entries[index].end = Some(next.at);
            }
        }
    }

    /// A delete that is the end of the row right before it needs no row of its own; one that is not stays as a tombstone.
    fn forget_absorbed(&mut self) {
        for index in 1..self.entries.len() {
            let before = self.entries[index - 1];
            let entry = &mut self.entries[index];
            entry.gone = entry.kind != Kind::Upsert
                && before.kind == Kind::Upsert
                && before.end_bytes() == Some(entry.at.bytes);
        }
    }

    /// Adds what differs from what is stored.
    fn report(&mut self, tables: &Tables<'_, 'a>, changes: &mut Changes) {
        for entry in self.entries.iter().filter(|entry| !entry.gone) {
            let tombstone = entry.kind != Kind::Upsert;
            let hidden = tombstone || entry.joined;
            // A tail is never a stored row, though it carries the data of one.
            if let (Source::Stored(row), true) = (entry.data, entry.kind != Kind::Tail)
                && tables.is_as_stored(row, entry, hidden)
            {
                self.staying.push(row);
                continue;
            }
            changes.written.push(Written {
                data: entry.data,
                at: entry.at.seq,
                start: entry.start.seq,
                end: entry.end.map(|end| end.seq),
                hidden,
                tombstone,
            });
        }
        // Stored rows were loaded in the order of their numbers.
        self.staying.sort_unstable();
        let mut staying = self.staying.iter().peekable();
        changes.removed.extend(self.old.iter().filter(|row| staying.next_if_eq(row).is_none()));
    }
}

impl Tables<'_, '_> {
    fn is_as_stored(&self, row: u32, entry: &Entry<'_>, hidden: bool) -> bool {
        let (stored, index) = (self.stored, row as usize);
        let end = if stored.open[index] { None } else { Some(stored.end.row(index).data()) };
        stored.hidden[index] == hidden
            && stored.start.row(index).data() == entry.start.bytes
            && end == entry.end_bytes()
    }
}
