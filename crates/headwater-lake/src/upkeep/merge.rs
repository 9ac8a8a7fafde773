//! Merges sorted rows of many files into one sorted sequence, within a bound of memory.
//!
//! Each sorted stretch is read a little at a time. Of what has been read, all rows up to the least of the last keys can
//! go out, since nothing that is still to come is less. So rows move in blocks, and no row is looked at alone.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_row::Rows;
use arrow_select::interleave::interleave_record_batch;
use tokio::sync::mpsc;

use crate::LakeError;
use crate::adapt::batch_bytes;
use crate::kernel::damaged;
use crate::upkeep::source::{Key, Run, Segment, Sorting, Source};

/// Less than this of a stretch is not worth a read.
const LEAST_CURSOR_BYTES: usize = 256 * 1024;
/// Stretches that are merged at once however little memory there is.
const LEAST_CURSORS: usize = 4;
const MOST_PIECE_ROWS: usize = 8_192;

/// How many sorted sequences can be merged at once.
pub(crate) fn fan_in(memory_bytes: usize) -> usize {
    (memory_bytes / 2 / LEAST_CURSOR_BYTES).max(LEAST_CURSORS)
}

/// Joins stretches that follow each other to sequences, as few as there can be.
pub(crate) fn chains(mut runs: Vec<(Run, Arc<Source>)>) -> Vec<Vec<Segment>> {
    runs.sort_by(|(a, _), (b, _)| (&a.least, &a.greatest).cmp(&(&b.least, &b.greatest)));
    let mut ends: BTreeMap<Key, Vec<usize>> = BTreeMap::new();
    let mut chains: Vec<Vec<Segment>> = Vec::new();
    for (run, source) in runs {
        let fitting = ends.range(..=run.least.clone()).next_back().map(|(end, _)| end.clone());
        let chain = fitting.and_then(|end| {
            let open = ends.get_mut(&end)?;
            let chain = open.pop();
            if open.is_empty() {
                ends.remove(&end);
            }
            chain
        });
        let chain = chain.unwrap_or_else(|| {
            chains.push(Vec::new());
            chains.len() - 1
        });
        chains[chain].extend(source.segments(run.rows));
        ends.entry(run.greatest).or_default().push(chain);
    }
    chains
}

/// A sorted sequence that is being read.
struct Cursor {
    rest: VecDeque<Segment>,
    batch: RecordBatch,
    keys: Rows,
    /// Rows of the batch that are gone already.
    at: usize,
    bytes: usize,
}

impl Cursor {
    /// Reads on, where all rows are gone. `false` at the end.
    async fn fill(&mut self, sorting: &Sorting, bytes: usize) -> Result<bool, LakeError> {
        while self.at == self.batch.num_rows() {
            let Some(segment) = self.rest.front_mut() else { return Ok(false) };
            // What has gone out makes room first.
            self.batch = RecordBatch::new_empty(self.batch.schema());
            self.at = 0;
            match segment.next(sorting, bytes).await? {
                None => {
                    self.rest.pop_front();
                }
                Some(batch) => {
                    self.keys = sorting.keys(&batch)?;
                    self.bytes = batch_bytes(&batch) + self.keys.size();
                    self.batch = batch;
                }
            }
        }
        while self.rest.front().is_some_and(Segment::is_empty) {
            self.rest.pop_front();
        }
        Ok(true)
    }

    /// The place behind the rows that are not greater than a row.
    fn place_behind(&self, keys: &Rows, row: usize) -> usize {
        let bound = keys.row(row);
        let (mut low, mut high) = (self.at, self.batch.num_rows());
        while low < high {
            let middle = low.midpoint(high);
            if self.keys.row(middle) <= bound { low = middle + 1 } else { high = middle }
        }
        low
    }
}

/// Merges sorted sequences and sends the rows. Gives the most memory that the rows took at once.
///
/// # Errors
/// A file cannot be read. A receiver that is gone is no error.
pub(crate) async fn merge(
    sorting: Arc<Sorting>,
    sequences: Vec<Vec<Segment>>,
    memory_bytes: usize,
    sender: mpsc::Sender<RecordBatch>,
) -> Result<usize, LakeError> {
    let each = memory_bytes / 2 / sequences.len().max(1);
    let empty = RecordBatch::new_empty(Arc::clone(sorting.columns.arrow()));
    let mut cursors = Vec::with_capacity(sequences.len());
    for sequence in sequences {
        let keys = sorting.keys(&empty)?;
        cursors.push(Cursor { rest: sequence.into(), batch: empty.clone(), keys, at: 0, bytes: 0 });
    }
    let mut most = 0;
    loop {
        let mut filled = Vec::with_capacity(cursors.len());
        for mut cursor in cursors {
            if cursor.fill(&sorting, each).await? {
                filled.push(cursor);
            }
        }
        cursors = filled;
        if cursors.is_empty() {
            return Ok(most);
        }
        let held: usize = cursors.iter().map(|c| c.bytes).sum();
        let window = window(&mut cursors);
        let pieces = Pieces { cursors: &cursors, window, bytes: memory_bytes / 16 };
        let mut next = 0;
        while let Some(piece) = pieces.cut(&mut next).map_err(|e| damaged(&sorting.table.name, e))? {
            most = most.max(held + pieces.order_bytes() + batch_bytes(&piece));
            if sender.send(piece).await.is_err() {
                return Ok(most);
            }
        }
    }
}

/// Rows that go out next.
enum Window {
    /// Of one sequence alone, in its own order.
    One { cursor: usize, rows: std::ops::Range<usize> },
    /// By sequence and row.
    Mixed(Vec<(u32, u32)>),
}

/// Takes the rows that nothing still unread can come before.
fn window(cursors: &mut [Cursor]) -> Window {
    let last = |c: &Cursor| c.batch.num_rows() - 1;
    let bound = (0..cursors.len())
        .filter(|&at| !cursors[at].rest.is_empty())
        .min_by(|&a, &b| {
            let (a, b) = (&cursors[a], &cursors[b]);
            a.keys.row(last(a)).cmp(&b.keys.row(last(b)))
        })
        .map(|at| (at, last(&cursors[at])));
    let ends: Vec<usize> = cursors
        .iter()
        .map(|c| match bound {
            Some((at, row)) => c.place_behind(&cursors[at].keys, row),
            None => c.batch.num_rows(),
        })
        .collect();
    let taken: Vec<std::ops::Range<usize>> = cursors
        .iter_mut()
        .zip(ends)
        .map(|(cursor, end)| std::mem::replace(&mut cursor.at, end)..end)
        .collect();
    let mut giving = taken.iter().enumerate().filter(|(_, rows)| !rows.is_empty());
    if let (Some((cursor, rows)), None) = (giving.next(), giving.next()) {
        return Window::One { cursor, rows: rows.clone() };
    }
    let narrow = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    let mut order: Vec<(u32, u32)> = taken
        .into_iter()
        .enumerate()
        .flat_map(|(cursor, rows)| rows.map(move |row| (narrow(cursor), narrow(row))))
        .collect();
    // A stable sort finds the sequences, and merges them.
    order.sort_by(|&(a, x), &(b, y)| {
        cursors[a as usize].keys.row(x as usize).cmp(&cursors[b as usize].keys.row(y as usize))
    });
    Window::Mixed(order)
}

/// Cuts a window into batches.
struct Pieces<'a> {
    cursors: &'a [Cursor],
    window: Window,
    bytes: usize,
}

impl Pieces<'_> {
    fn order_bytes(&self) -> usize {
        match &self.window {
            Window::One { .. } => 0,
            Window::Mixed(order) => order.len() * size_of::<(u32, u32)>(),
        }
    }

    fn cut(&self, next: &mut usize) -> Result<Option<RecordBatch>, arrow_schema::ArrowError> {
        let row_bytes =
            self.cursors.iter().map(|c| c.bytes.div_ceil(c.batch.num_rows().max(1))).max().unwrap_or(1);
        let count = (self.bytes / row_bytes.max(1)).clamp(1, MOST_PIECE_ROWS);
        match &self.window {
            Window::One { cursor, rows } => {
                let from = rows.start + *next;
                if from >= rows.end {
                    return Ok(None);
                }
                let count = count.min(rows.end - from);
                *next += count;
                Ok(Some(self.cursors[*cursor].batch.slice(from, count)))
            }
            Window::Mixed(order) => {
                let part = &order[*next..order.len().min(*next + count)];
                if part.is_empty() {
                    return Ok(None);
                }
                *next += part.len();
                let batches: Vec<&RecordBatch> = self.cursors.iter().map(|c| &c.batch).collect();
                let indices: Vec<(usize, usize)> =
                    part.iter().map(|&(cursor, row)| (cursor as usize, row as usize)).collect();
                interleave_record_batch(&batches, &indices).map(Some)
            }
        }
    }
}
