//! A data file that is read piece by piece: which of its rows are dead, and which stretches of it are sorted.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow_array::{ArrayRef, RecordBatch, UInt32Array};
use arrow_row::{RowConverter, Rows, SortField};
use arrow_select::concat::concat_batches;
use arrow_select::take::take_record_batch;
use roaring::RoaringTreemap;

use crate::LakeError;
use crate::adapt::batch_bytes;
use crate::cdc::{Columns, DataReader};
use crate::encode::Layout;
use crate::kernel::damaged;
use crate::table::Table;

/// Rows of a file of which nothing is known yet that are read at a time.
const FIRST_ROWS: usize = 1_024;
/// A file whose sorted stretches are shorter than this is sorted before it is merged.
const FEWEST_RUN_ROWS: usize = 1_024;

/// A sort key; keys compare as their bytes do.
pub(crate) type Key = Box<[u8]>;

/// How the rows of a table are sorted: by the columns at these places, nulls first.
pub(crate) struct Sorting {
    pub(crate) table: Table,
    pub(crate) columns: Arc<Columns>,
    places: Vec<usize>,
    converter: RowConverter,
    first: RowConverter,
}

impl Sorting {
    /// `None` where the rows of the layout have no order.
    pub(crate) fn new(table: &Table, layout: &Layout) -> Result<Option<Self>, LakeError> {
        let Some(&first) = layout.sort.first() else { return Ok(None) };
        let field = |&at: &usize| SortField::new(layout.arrow.field(at).data_type().clone());
        let bad = |e| damaged(&table.name, e);
        Ok(Some(Self {
            table: table.clone(),
            columns: Arc::new(Columns::new(&table.name, layout)),
            places: layout.sort.clone(),
            converter: RowConverter::new(layout.sort.iter().map(field).collect()).map_err(bad)?,
            first: RowConverter::new(vec![field(&first)]).map_err(bad)?,
        }))
    }

    /// The first of the columns, by its name in the files.
    pub(crate) fn first_column(&self) -> Option<&str> {
        self.places.first().map(|&at| self.columns.arrow().field(at).name().as_str())
    }

    /// The sort keys of rows of all columns.
    pub(crate) fn keys(&self, batch: &RecordBatch) -> Result<Rows, LakeError> {
        let columns: Vec<ArrayRef> =
            self.places.iter().map(|&at| ArrayRef::clone(batch.column(at))).collect();
        self.converter.convert_columns(&columns).map_err(|e| damaged(&self.table.name, e))
    }
}

/// Neighbouring rows of a file that are sorted, with their least and greatest key.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    pub(crate) least: Key,
    pub(crate) greatest: Key,
    pub(crate) rows: Range<usize>,
}

/// What a file's keys look like.
#[derive(Debug, Clone, Default)]
pub(crate) struct Look {
    pub(crate) least: Key,
    pub(crate) greatest: Key,
    /// Empty for a file that has to be sorted first.
    pub(crate) runs: Vec<Run>,
    /// The file is not one run.
    pub(crate) unsorted: bool,
}

/// A file that is open.
pub(crate) struct Source {
    reader: DataReader,
    dead: RoaringTreemap,
    /// The memory that a row took where it took most; 0 before any was read.
    row_bytes: AtomicUsize,
}

impl Source {
    /// Opens a file by its path in the log. Runs on the lake's runtime.
    pub(crate) async fn open(
        sorting: &Sorting,
        path: &str,
        size: u64,
        dead: RoaringTreemap,
    ) -> Result<Self, LakeError> {
        let store = Arc::clone(sorting.table.core.storage.store());
        let path = sorting.table.file_path(path)?;
        let reader = DataReader::open_with_pages(store, path, size, Arc::clone(&sorting.columns)).await?;
        Ok(Self { reader, dead, row_bytes: AtomicUsize::new(0) })
    }

    /// The range of the first sort column, as far as row groups tell, where they follow each other in its order: then
    /// sorting the file would not let readers pass over more of it.
    pub(crate) fn ordered_groups(&self, sorting: &Sorting) -> Option<(Key, Key)> {
        let &place = sorting.places.first()?;
        if !crate::cdc::has_bounds(sorting.columns.arrow().field(place).data_type()) {
            return None;
        }
        let (least, greatest) = self.reader.bounds(place)?;
        if least.null_count() + greatest.null_count() > 0 {
            return None;
        }
        let least = sorting.first.convert_columns(&[least]).ok()?;
        let greatest = sorting.first.convert_columns(&[greatest]).ok()?;
        let last = least.num_rows().checked_sub(1)?;
        let ordered = (0..last).all(|at| greatest.row(at) < least.row(at + 1));
        ordered.then(|| (least.row(0).as_ref().into(), greatest.row(last).as_ref().into()))
    }

    /// Reads the keys and finds the sorted stretches. Those of a file that was made to be merged may be of any length.
    pub(crate) async fn look(&self, sorting: &Sorting, ours: bool) -> Result<Look, LakeError> {
        let groups = self.reader.group_rows();
        let total: usize = groups.iter().sum();
        let most = if ours { usize::MAX } else { total / FEWEST_RUN_ROWS + 1 };
        let keep = ours || self.reader.is_splittable();
        let mut look = Look::default();
        let mut last: Option<Key> = None;
        let mut at = 0_usize;
        for group in 0..groups.len() {
            let mut batches = self.reader.batches(group, &sorting.places)?;
            while let Some(batch) = batches.next().await? {
                let keys = sorting.converter.convert_columns(batch.columns());
                let keys = keys.map_err(|e| damaged(&sorting.table.name, e))?;
                for row in 0..keys.num_rows() {
                    let key = keys.row(row);
                    let follows = match row.checked_sub(1) {
                        Some(before) => keys.row(before) <= key,
                        None => last.as_deref().is_some_and(|last| last <= key.as_ref()),
                    };
                    if !follows {
                        if at > 0 {
                            let before = row
                                .checked_sub(1)
                                .map(|before| keys.row(before).as_ref().into())
                                .or(last.take());
                            look.end_run(before.unwrap_or_default(), at);
                        }
                        if at == 0 || key.as_ref() < look.least.as_ref() {
                            look.least = key.as_ref().into();
                        }
                        look.runs.push(Run {
                            least: key.as_ref().into(),
                            greatest: Box::default(),
                            rows: at..at,
                        });
                        if look.runs.len() > most {
                            // Too short to be of use: only the range counts from here on.
                            look.unsorted = true;
                            look.runs.drain(..look.runs.len() - 1);
                        }
                    }
                    at += 1;
                }
                if let Some(row) = keys.num_rows().checked_sub(1) {
                    last = Some(keys.row(row).as_ref().into());
                }
            }
        }
        if let Some(last) = last {
            look.end_run(last, at);
        }
        if look.unsorted || !keep {
            look.unsorted |= look.runs.len() > 1;
            look.runs.clear();
        } else {
            look.unsorted = look.runs.len() > 1;
        }
        Ok(look)
    }

    /// All rows of a file that is known to be sorted.
    pub(crate) fn whole(self: &Arc<Self>) -> Vec<Segment> {
        self.segments(0..self.reader.group_rows().iter().sum())
    }

    /// The parts of row groups that make up some rows of the file.
    pub(crate) fn segments(self: &Arc<Self>, rows: Range<usize>) -> Vec<Segment> {
        let mut segments = Vec::new();
        let mut base = 0;
        for (group, count) in self.reader.group_rows().into_iter().enumerate() {
            let inside =
                rows.start.clamp(base, base + count) - base..rows.end.clamp(base, base + count) - base;
            if !inside.is_empty() {
                segments.push(Segment { source: Arc::clone(self), group, base, rows: inside });
            }
            base += count;
        }
        segments
    }
}

impl Look {
    fn end_run(&mut self, greatest: Key, at: usize) {
        if greatest > self.greatest {
            self.greatest.clone_from(&greatest);
        }
        if let Some(run) = self.runs.last_mut() {
            run.greatest = greatest;
            run.rows.end = at;
        }
    }
}

/// Neighbouring rows of a row group.
pub(crate) struct Segment {
    source: Arc<Source>,
    group: usize,
    /// Rows of the file before the row group.
    base: usize,
    rows: Range<usize>,
}

impl Segment {
    /// Reads the next rows, about as many as take so much memory; `None` at the end. Dead rows are left out, so that
    /// there may be none.
    pub(crate) async fn next(
        &mut self,
        sorting: &Sorting,
        bytes: usize,
    ) -> Result<Option<RecordBatch>, LakeError> {
        if self.rows.is_empty() {
            return Ok(None);
        }
        let source = &self.source;
        let count = match source.row_bytes.load(Ordering::Relaxed) {
            0 => FIRST_ROWS,
            each => (bytes / each).max(1),
        };
        let rows = self.rows.start..self.rows.end.min(self.rows.start.saturating_add(count));
        let all: Vec<usize> = (0..sorting.columns.arrow().fields().len()).collect();
        let found = source.reader.range(self.group, &all, rows.clone()).await?;
        let wrong = |e: arrow_schema::ArrowError| damaged(&sorting.table.name, e);
        let batch = match <[RecordBatch; 1]>::try_from(found) {
            Ok([batch]) => batch,
            Err(several) => concat_batches(sorting.columns.arrow(), &several).map_err(wrong)?,
        };
        source.row_bytes.fetch_max(batch_bytes(&batch).div_ceil(rows.len()).max(1), Ordering::Relaxed);
        self.rows.start = rows.end;
        if source.dead.is_empty() {
            return Ok(Some(batch));
        }
        let first = u64::try_from(self.base + rows.start).map_err(|e| damaged(&sorting.table.name, e))?;
        let count = u32::try_from(rows.len()).map_err(|e| damaged(&sorting.table.name, e))?;
        let live: UInt32Array =
            (0..count).filter(|&row| !source.dead.contains(first + u64::from(row))).collect();
        if live.len() == rows.len() {
            return Ok(Some(batch));
        }
        take_record_batch(&batch, &live).map(Some).map_err(wrong)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
}
