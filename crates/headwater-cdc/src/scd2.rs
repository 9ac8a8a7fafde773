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

use std::cmp::Ordering;

use arrow_row::Rows;

use crate::CdcError;
use crate::hash::Seed;

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
    let tables = Tables::new(events, stored);
    let mut changes = Changes::default();
    let mut timeline = Timeline::default();
    let mut cutoffs = Vec::with_capacity(BLOCK);
    for begin in (0..groups).step_by(BLOCK) {
        let block = begin..groups.min(begin + BLOCK);
        cutoffs.clear();
        cutoffs.extend(block.clone().map(|group| tables.cutoff(new_rows.of(group), old_rows.of(group))));
        for (group, cutoff) in block.zip(&cutoffs) {
            let Some(cutoff) = *cutoff else { continue };
            timeline.clear();
            tables.load(new_rows.of(group), old_rows.of(group), cutoff, &mut timeline)?;
            timeline.settle(&tables);
            timeline.report(&tables, &mut changes);
        }
    }
    Ok(changes)
}

/// Keys are worked on in blocks of this many: the first look at the rows of all of them, which waits for memory, overlaps.
const BLOCK: usize = 256;

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

/// A sequence at work: its first bytes, which nearly always tell it from another, and where the rest is.
///
/// Rows of one codec are never the beginning of one another, so filling up with zeros does not change their order.
#[derive(Clone, Copy)]
struct Point {
    head: u128,
    /// Whether there is more than the head.
    cut: bool,
    seq: Seq,
}

/// The first bytes of a row as a number of the same order, and whether they are not all.
fn head(bytes: &[u8]) -> (u128, bool) {
    if let Some(head) = bytes.first_chunk::<16>() {
        return (u128::from_be_bytes(*head), bytes.len() > 16);
    }
    let mut head = [0; 16];
    head.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
    (u128::from_be_bytes(head), false)
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
struct Entry {
    at: Point,
    kind: Kind,
    start: Point,
    end: Option<Point>,
    data: Source,
    /// Continued by the next row, and therefore hidden.
    joined: bool,
    gone: bool,
}

impl Entry {
    fn point(kind: Kind, at: Point, data: Source) -> Self {
        Self { at, kind, start: at, end: Some(at), data, joined: false, gone: false }
    }
}

/// What is needed of an event, side by side.
struct NewRow {
    at: (u128, bool),
    tracked: u64,
}

/// What is needed of a stored row, side by side: keys come in another order than stored rows lie in, and to gather a row from all
/// of its columns would be to wait for memory again and again.
struct OldRow {
    at: (u128, bool),
    start: (u128, bool),
    end: (u128, bool),
    tracked: u64,
}

struct Tables<'a> {
    events: &'a Events<'a>,
    stored: &'a Stored<'a>,
    new: Vec<NewRow>,
    old: Vec<OldRow>,
}

impl<'a> Tables<'a> {
    fn new(events: &'a Events<'a>, stored: &'a Stored<'a>) -> Self {
        let seed = Seed::random();
        let new = events.at.iter().zip(events.tracked);
        let new =
            new.map(|(at, tracked)| NewRow { at: head(at.data()), tracked: seed.bytes(tracked.data()) });
        let old = stored.at.iter().zip(stored.start).zip(stored.end).zip(stored.tracked);
        let old = old.map(|(((at, start), end), tracked)| OldRow {
            at: head(at.data()),
            start: head(start.data()),
            end: head(end.data()),
            tracked: seed.bytes(tracked.data()),
        });
        let (new, old) = (new.collect(), old.collect());
        Self { events, stored, new, old }
    }

    /// Where the working set of a key begins: at its last stored row before the first event, or at that; none without events.
    fn cutoff(&self, new: &[u32], old: &[u32]) -> Option<Point> {
        let first = new.iter().map(|&row| self.new_at(row)).min_by(|a, b| self.compare(*a, *b))?;
        let before = old.iter().map(|&row| self.stored_at(row)).filter(|at| self.compare(*at, first).is_lt());
        before.max_by(|a, b| self.compare(*a, *b)).or(Some(first))
    }

    fn load(&self, new: &[u32], old: &[u32], cutoff: Point, timeline: &mut Timeline) -> Result<(), CdcError> {
        for &row in new {
            let kind = if self.events.delete[row as usize] { Kind::Tombstone } else { Kind::Upsert };
            let mut entry = Entry::point(kind, self.new_at(row), Source::New(row));
            if kind == Kind::Upsert {
                entry.end = None;
            }
            timeline.entries.push(entry);
        }
        for &row in old {
            let entry = self.stored_entry(row)?;
            if self.compare(entry.at, cutoff).is_ge() {
                timeline.entries.push(entry);
                timeline.old.push(row);
            }
        }
        Ok(())
    }

    fn new_at(&self, row: u32) -> Point {
        let (head, cut) = self.new[row as usize].at;
        Point { head, cut, seq: Seq::New(row) }
    }

    fn stored_at(&self, row: u32) -> Point {
        let (head, cut) = self.old[row as usize].at;
        Point { head, cut, seq: Seq::At(row) }
    }

    fn stored_start(&self, row: u32) -> Point {
        let (head, cut) = self.old[row as usize].start;
        Point { head, cut, seq: Seq::Start(row) }
    }

    fn stored_end(&self, row: u32) -> Option<Point> {
        let (head, cut) = self.old[row as usize].end;
        if self.stored.open[row as usize] { None } else { Some(Point { head, cut, seq: Seq::End(row) }) }
    }

    fn stored_entry(&self, row: u32) -> Result<Entry, CdcError> {
        let (at, start, end) = (self.stored_at(row), self.stored_start(row), self.stored_end(row));
        let data = Source::Stored(row);
        let run = self.compare(start, at);
        let open_for = end.map_or(Ordering::Greater, |end| self.compare(end, at));
        if run.is_eq() && open_for.is_eq() && self.stored.hidden[row as usize] {
            return Ok(Entry::point(Kind::Tombstone, at, data));
        }
        if run.is_gt() || open_for.is_le() {
            return Err(CdcError::ImpossibleRow { row });
        }
        Ok(Entry { at, kind: Kind::Upsert, start, end, data, joined: false, gone: false })
    }

    fn compare(&self, a: Point, b: Point) -> Ordering {
        a.head.cmp(&b.head).then_with(|| {
            if a.cut || b.cut { self.bytes(a.seq).cmp(self.bytes(b.seq)) } else { Ordering::Equal }
        })
    }

    fn bytes(&self, seq: Seq) -> &'a [u8] {
        match seq {
            Seq::New(row) => self.events.at.row(row as usize).data(),
            Seq::At(row) => self.stored.at.row(row as usize).data(),
            Seq::Start(row) => self.stored.start.row(row as usize).data(),
            Seq::End(row) => self.stored.end.row(row as usize).data(),
        }
    }

    /// The order in which, of rows at one place, the last survives: tails give way to events, upserts to deletes, of copies of one
    /// upsert the one whose run starts first and ends first stays, new rows give way to stored ones, and of new rows the later stays.
    fn order(&self, a: &Entry, b: &Entry) -> Ordering {
        let place = self.compare(a.at, b.at).then(a.kind.cmp(&b.kind));
        let copies = || match (a.kind, a.end, b.end) {
            (Kind::Upsert, a_end, b_end) => {
                self.compare(b.start, a.start).then_with(|| match (a_end, b_end) {
                    (Some(a), Some(b)) => self.compare(b, a),
                    // An open end is later than any.
                    (a, b) => a.is_some().cmp(&b.is_some()),
                })
            }
            _ => Ordering::Equal,
        };
        place.then_with(copies).then_with(|| a.data.cmp(&b.data))
    }

    fn tracked(&self, source: Source) -> (u64, &'a Rows, u32) {
        match source {
            Source::New(row) => (self.new[row as usize].tracked, self.events.tracked, row),
            Source::Stored(row) => (self.old[row as usize].tracked, self.stored.tracked, row),
        }
    }

    fn same_tracked(&self, a: Source, b: Source) -> bool {
        let ((hash_a, rows_a, a), (hash_b, rows_b, b)) = (self.tracked(a), self.tracked(b));
        hash_a == hash_b && rows_a.row(a as usize).data() == rows_b.row(b as usize).data()
    }

    /// Whether the second row continues the first, its neighbour: no delete lies between them, and the tracked values are equal.
    fn joins(&self, first: &Entry, second: &Entry) -> bool {
        first.kind == Kind::Upsert
            && second.kind == Kind::Upsert
            && first.end.is_none_or(|end| self.compare(end, second.at).is_ge())
            && self.same_tracked(first.data, second.data)
    }

    fn is_as_stored(&self, row: u32, entry: &Entry, hidden: bool) -> bool {
        let same_end = match (self.stored_end(row), entry.end) {
            (None, None) => true,
            (Some(before), Some(now)) => self.compare(before, now).is_eq(),
            _ => false,
        };
        self.stored.hidden[row as usize] == hidden
            && same_end
            && self.compare(self.stored_start(row), entry.start).is_eq()
    }
}

/// The working set of one key, and how it settles. Kept from key to key for its memory.
#[derive(Default)]
struct Timeline {
    entries: Vec<Entry>,
    /// The stored rows among them, ascending.
    old: Vec<u32>,
    /// Those that stay where and as they are.
    staying: Vec<u32>,
}

impl Timeline {
    fn clear(&mut self) {
        self.entries.clear();
        self.old.clear();
        self.staying.clear();
    }

    fn settle(&mut self, tables: &Tables<'_>) {
        self.entries.sort_unstable_by(|a, b| tables.order(a, b));
        self.split(tables);
        self.keep_last_of_each_place(tables);
        self.redraw(tables);
        self.forget_absorbed(tables);
    }

    /// A closed row that the next event falls into gives up its end, which becomes a row of its own.
    fn split(&mut self, tables: &Tables<'_>) {
        let count = self.entries.len();
        for index in 0..count {
            let entry = self.entries[index];
            if let (Kind::Upsert, Some(end)) = (entry.kind, entry.end)
                && index + 1 < count
                && tables.compare(self.entries[index + 1].at, end).is_lt()
            {
                self.entries[index].end = None;
                self.entries.push(Entry::point(Kind::Tail, end, entry.data));
            }
        }
        if self.entries.len() > count {
            self.entries.sort_unstable_by(|a, b| tables.order(a, b));
        }
    }

    fn keep_last_of_each_place(&mut self, tables: &Tables<'_>) {
        let mut kept = 0;
        for index in 0..self.entries.len() {
            let entry = self.entries[index];
            if kept > 0 && tables.compare(self.entries[kept - 1].at, entry.at).is_eq() {
                kept -= 1;
            }
            self.entries[kept] = entry;
            kept += 1;
        }
        self.entries.truncate(kept);
    }

    /// Draws runs anew: where each starts and ends.
    fn redraw(&mut self, tables: &Tables<'_>) {
        let mut joined_before = false;
        for index in 0..self.entries.len() {
            let entry = self.entries[index];
            if entry.kind != Kind::Upsert {
                joined_before = false;
                continue;
            }
            if joined_before {
                self.entries[index].start = self.entries[index - 1].start;
            } else if index > 0 {
                self.entries[index].start = entry.at;
            }
            joined_before = false;
            let Some(next) = self.entries.get(index + 1).copied() else { break };
            if tables.joins(&entry, &next) {
                self.entries[index].end = None;
                self.entries[index].joined = true;
                joined_before = true;
            } else if entry.end.is_none_or(|end| tables.compare(end, next.at).is_gt()) {
                self.entries[index].end = Some(next.at);
            }
        }
    }

    /// A delete that is the end of the row right before it needs no row of its own; one that is not stays as a tombstone.
    fn forget_absorbed(&mut self, tables: &Tables<'_>) {
        for index in 1..self.entries.len() {
            let before = self.entries[index - 1];
            let entry = &mut self.entries[index];
            entry.gone = entry.kind != Kind::Upsert
                && before.kind == Kind::Upsert
                && before.end.is_some_and(|end| tables.compare(end, entry.at).is_eq());
        }
    }

    /// Adds what differs from what is stored.
    fn report(&mut self, tables: &Tables<'_>, changes: &mut Changes) {
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
    fn arrays_that_do_not_describe_the_same_rows_are_errors() {
        let (none, one) = (rows(&[]), rows(&[1]));
        let events = Events { group: &[0], at: &one, delete: &[false], tracked: &one };
        let stored = Stored {
            group: &[],
            at: &none,
            start: &none,
            end: &none,
            open: &[],
            hidden: &[],
            tracked: &none,
        };
        assert_eq!(apply(&events, &stored, 1).unwrap().written.len(), 1);
        let refused = |events: Events<'_>, stored: Stored<'_>| match apply(&events, &stored, 1) {
            Err(CdcError::UnevenLengths { what, .. }) => what,
            other => panic!("{other:?}"),
        };
        assert_eq!(refused(Events { at: &none, ..events }, stored), "sequences of events");
        assert_eq!(refused(Events { delete: &[], ..events }, stored), "deletes");
        assert_eq!(refused(Events { tracked: &none, ..events }, stored), "tracked values of events");
        assert_eq!(refused(events, Stored { at: &one, ..stored }), "record starts");
        assert_eq!(refused(events, Stored { start: &one, ..stored }), "starts");
        assert_eq!(refused(events, Stored { end: &one, ..stored }), "ends");
        assert_eq!(refused(events, Stored { open: &[true], ..stored }), "open ends");
        assert_eq!(refused(events, Stored { hidden: &[true], ..stored }), "hidden marks");
        assert_eq!(refused(events, Stored { tracked: &one, ..stored }), "tracked values of stored rows");
        let unknown = apply(&Events { group: &[1], ..events }, &stored, 1);
        assert!(matches!(unknown, Err(CdcError::UnknownGroup { row: 0, group: 1, groups: 1 })));
        let unknown = working_set(&[0], &one, &[2], &one, 1);
        assert!(matches!(unknown, Err(CdcError::UnknownGroup { row: 0, group: 2, groups: 1 })));
    }

    #[test]
    fn stored_rows_of_other_keys_are_left_alone() {
        let (none, one) = (rows(&[]), rows(&[1]));
        let events = Events { group: &[], at: &none, delete: &[], tracked: &none };
        // The row is impossible, which nobody finds out as long as its key has no event.
        let stored = Stored {
            group: &[0],
            at: &one,
            start: &rows(&[5]),
            end: &one,
            open: &[false],
            hidden: &[false],
            tracked: &one,
        };
        assert_eq!(apply(&events, &stored, 1).unwrap(), Changes::default());
    }
}
