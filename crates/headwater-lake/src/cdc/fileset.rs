//! The files of a table while changes are applied to it: which rows have a key, what is in these rows, and which rows
//! and files the next commit takes away or adds.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow_array::{Array, ArrayRef, RecordBatch, UInt32Array};
use arrow_select::interleave::interleave_record_batch;
use arrow_select::take::take_record_batch;
use headwater_cdc::{KeyIndex, RowCodec};
use headwater_connect::BoxError;
use object_store::path::Path;
use roaring::RoaringTreemap;
use serde_json::Value;
use tokio::sync::{OnceCell, mpsc};
use tokio::task::JoinSet;

use crate::LakeError;
use crate::actions::DataFile;
use crate::cdc::bounds::{file_bounds, has_bounds};
use crate::cdc::cache::KeyColumn;
use crate::cdc::reader::{Columns, DataReader};
use crate::cdc::vectors;
use crate::encode::Layout;
use crate::kernel::{LiveFile, damaged};
use crate::store::runtime;
use crate::table::Table;

/// Files that are read at the same time.
const READ_AHEAD: usize = 2;

/// A row of a file set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct RowId {
    /// The file's number in the set.
    pub(crate) file: u32,
    /// The row's place in the file.
    pub(crate) row: u32,
}

/// Where a file comes from.
#[derive(Debug, Clone)]
pub(crate) enum Origin {
    /// The log names it.
    Live(LiveFile),
    /// It is written and not in the log yet.
    New(DataFile),
}

/// A file of the set.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) origin: Origin,
    path: Path,
    size: u64,
    reader: Arc<OnceCell<DataReader>>,
    /// Dead rows; `None` until they are read.
    dead: Option<RoaringTreemap>,
    /// How the log describes `dead`; null, which the log never says, where it does not know them.
    described: Option<Value>,
    /// Rows died that the log does not know of.
    pub(crate) changed: bool,
    /// The next commit takes the file away.
    pub(crate) gone: bool,
    /// How often its keys were read from storage.
    probes: u32,
    keys: Option<Arc<KeyColumn>>,
}

impl Entry {
    fn stats(&self) -> Option<&str> {
        match &self.origin {
            Origin::Live(file) => file.stats.as_deref(),
            Origin::New(file) => Some(&file.stats),
        }
    }

    /// How the log describes the dead rows; null where it does not know them.
    pub(crate) fn described(&self) -> Option<&Value> {
        self.described.as_ref()
    }

    /// Says that the log, once the commit stands, describes the dead rows so.
    pub(crate) fn describe(&mut self, vector: Value) {
        self.described = Some(vector);
    }

    pub(crate) fn dead(&self) -> Option<&RoaringTreemap> {
        self.dead.as_ref().filter(|dead| !dead.is_empty())
    }

    /// Rows in the file, dead ones included, where its statistics say.
    pub(crate) fn rows(&self) -> Option<u64> {
        match &self.origin {
            Origin::Live(file) => file.rows().map(|live| live + file.dead_rows),
            Origin::New(file) => Some(file.rows),
        }
    }
}

/// What is looked for in a set.
#[derive(Debug, Clone)]
pub(crate) struct Probe {
    pub(crate) index: Arc<KeyIndex>,
    /// Places of the key columns.
    pub(crate) keys: Vec<usize>,
    /// Places of columns that are read of the rows found.
    pub(crate) extra: Vec<usize>,
    /// Where every value of a column in a file is less than this, the extra columns are not read and are null: which
    /// sequence exactly it is that the changes come after does not matter.
    pub(crate) later: Option<Later>,
}

/// A value of the column at `place`, as the codec encodes it.
#[derive(Debug, Clone)]
pub(crate) struct Later {
    pub(crate) place: usize,
    pub(crate) codec: Arc<RowCodec>,
    pub(crate) least: Vec<u8>,
}

/// The rows that were found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) rows: Vec<RowId>,
    /// The group of each row's key.
    pub(crate) groups: Vec<u32>,
    /// The extra columns of the rows, in the same order.
    pub(crate) extra: Vec<RecordBatch>,
}

/// The files of a table, as the next commit will leave them.
#[derive(Debug)]
pub(crate) struct FileSet {
    pub(crate) table: Table,
    columns: Arc<Columns>,
    pub(crate) entries: Vec<Entry>,
    /// Bytes that decoded key columns may take.
    cache_limit: usize,
}

/// What a job found in one file.
struct FileFound {
    file: u32,
    rows: Vec<u32>,
    groups: Vec<u32>,
    extra: Vec<RecordBatch>,
    /// The decoded key column, where it was asked for.
    keys: Option<KeyColumn>,
    read: bool,
}

impl FileSet {
    pub(crate) fn new(
        table: Table,
        layout: &Layout,
        live: impl IntoIterator<Item = LiveFile>,
        cache_limit: usize,
    ) -> Result<Self, LakeError> {
        let columns = Arc::new(Columns::new(&table.name, layout));
        let mut set = Self { table, columns, entries: Vec::new(), cache_limit };
        for file in live {
            let entry = set.entry(Origin::Live(file))?;
            set.entries.push(entry);
        }
        Ok(set)
    }

    /// Starts over from the files of a newer version; what is known of files that are still there is kept.
    pub(crate) fn rebase(
        &mut self,
        layout: &Layout,
        live: impl IntoIterator<Item = LiveFile>,
    ) -> Result<(), LakeError> {
        let columns = Columns::new(&self.table.name, layout);
        let same_columns = columns.arrow() == self.columns.arrow();
        self.columns = Arc::new(columns);
        let mut known: HashMap<String, Entry> = HashMap::new();
        for entry in std::mem::take(&mut self.entries) {
            let path = match &entry.origin {
                Origin::Live(file) => file.path.clone(),
                Origin::New(file) => file.path.clone(),
            };
            known.insert(path, entry);
        }
        for file in live {
            let old = known.remove(&file.path);
            let mut entry = self.entry(Origin::Live(file))?;
            if let Some(old) = old {
                if same_columns {
                    entry.reader = old.reader;
                }
                entry.probes = old.probes;
                entry.keys = old.keys;
                if old.described == entry.described {
                    entry.dead = old.dead;
                }
            }
            self.entries.push(entry);
        }
        Ok(())
    }

    fn entry(&self, origin: Origin) -> Result<Entry, LakeError> {
        let (path, size, described) = match &origin {
            Origin::Live(file) => {
                let size = u64::try_from(file.size).map_err(|e| damaged(&self.table.name, e))?;
                (self.table.file_path(&file.path)?, size, file.deletion_vector.clone())
            }
            Origin::New(file) => (self.table.file_path(&file.path)?, file.size, None),
        };
        let dead = described.is_none().then(RoaringTreemap::new);
        let reader = Arc::new(OnceCell::new());
        Ok(Entry {
            origin,
            path,
            size,
            reader,
            dead,
            described,
            changed: false,
            gone: false,
            probes: 0,
            keys: None,
        })
    }

    /// Adds files that are written and not in the log yet.
    pub(crate) fn add(&mut self, files: impl IntoIterator<Item = DataFile>) -> Result<(), LakeError> {
        for file in files {
            let entry = self.entry(Origin::New(file))?;
            self.entries.push(entry);
        }
        Ok(())
    }

    /// Marks rows dead.
    pub(crate) fn kill(&mut self, rows: &[RowId]) {
        for id in rows {
            if let Some(entry) = self.entries.get_mut(id.file as usize) {
                let dead = entry.dead.get_or_insert_default();
                if dead.insert(u64::from(id.row)) {
                    entry.changed = true;
                    entry.described = Some(Value::Null);
                }
            }
        }
        for entry in &mut self.entries {
            if entry.changed
                && entry.rows().is_some_and(|rows| entry.dead.as_ref().is_some_and(|d| d.len() >= rows))
            {
                entry.gone = true;
            }
        }
    }

    /// The files that the log names.
    pub(crate) fn live(&self) -> impl Iterator<Item = &LiveFile> {
        self.entries.iter().filter_map(|entry| match &entry.origin {
            Origin::Live(file) => Some(file),
            Origin::New(_) => None,
        })
    }

    /// Says whether a commit of the set changes the table's rows.
    pub(crate) fn is_changed(&self) -> bool {
        self.entries.iter().any(|e| e.gone || e.changed || matches!(e.origin, Origin::New(_)))
    }

    /// Finds the live rows that have a key of the index.
    pub(crate) async fn probe(&mut self, probe: &Probe) -> Result<Found, LakeError> {
        let mut wanted = Vec::new();
        for (at, entry) in self.entries.iter().enumerate() {
            if !entry.gone && self.may_hold(entry, probe)? {
                wanted.push(at);
            }
        }
        self.load_dead(&wanted).await?;
        let mut room = self
            .cache_limit
            .saturating_sub(self.entries.iter().filter_map(|e| e.keys.as_ref()).map(|k| k.bytes()).sum());
        let single = matches!(probe.keys.as_slice(), [at] if KeyColumn::holds(self.columns.arrow().field(*at).data_type()));
        let mut found = Found::default();
        let mut jobs: JoinSet<Result<FileFound, LakeError>> = JoinSet::new();
        let mut done: BTreeMap<u32, FileFound> = BTreeMap::new();
        let mut waiting = wanted.into_iter();
        loop {
            while jobs.len() < READ_AHEAD
                && let Some(at) = waiting.next()
            {
                let job = self.job(at, probe, single, &mut room)?;
                jobs.spawn_on(job.run(), runtime()?);
            }
            match jobs.join_next().await {
                None => break,
                Some(Ok(part)) => {
                    let part = part?;
                    done.insert(part.file, part);
                }
                Some(Err(lost)) => return Err(LakeError::TaskLost { source: Box::new(lost) }),
            }
        }
        for (file, part) in done {
            if let Some(entry) = self.entries.get_mut(file as usize) {
                entry.probes += u32::from(part.read);
                if let Some(keys) = part.keys {
                    entry.keys = Some(Arc::new(keys));
                }
            }
            found.rows.extend(part.rows.into_iter().map(|row| RowId { file, row }));
            found.groups.extend(part.groups);
            found.extra.extend(part.extra);
        }
        Ok(found)
    }

    fn may_hold(&self, entry: &Entry, probe: &Probe) -> Result<bool, LakeError> {
        let Some(stats) = entry.stats() else { return Ok(true) };
        let (mut least, mut greatest) = (Vec::new(), Vec::new());
        for &at in &probe.keys {
            let field = self.columns.arrow().field(at);
            let (low, high) = file_bounds(stats, field.name(), field.data_type());
            least.push(low);
            greatest.push(high);
        }
        probe.index.may_hold(&least, &greatest).map_err(|e| damaged(&self.table.name, e))
    }

    /// Reads the deletion vectors of files that are going to be looked at.
    async fn load_dead(&mut self, wanted: &[usize]) -> Result<(), LakeError> {
        let missing: Vec<usize> =
            wanted.iter().copied().filter(|&at| self.entries[at].dead.is_none()).collect();
        let files: Vec<&LiveFile> = missing
            .iter()
            .filter_map(|&at| match &self.entries[at].origin {
                Origin::Live(file) => Some(file),
                Origin::New(_) => None,
            })
            .collect();
        let read = vectors::read(&self.table, &files).await?;
        for (at, dead) in missing.into_iter().zip(read) {
            self.entries[at].dead = Some(dead);
        }
        Ok(())
    }

    fn job(&self, at: usize, probe: &Probe, single: bool, room: &mut usize) -> Result<Job, LakeError> {
        let entry = &self.entries[at];
        let too_many = || damaged(&self.table.name, "a table of more than four thousand million files");
        let mut keep = false;
        // A file whose keys are looked up again is likely to be looked up often.
        if single && entry.keys.is_none() && entry.probes > 0 {
            let size =
                entry.rows().and_then(|r| usize::try_from(r).ok()).unwrap_or(usize::MAX).saturating_mul(8);
            keep = size <= *room;
            *room = room.saturating_sub(if keep { size } else { 0 });
        }
        Ok(Job {
            file: u32::try_from(at).map_err(|_| too_many())?,
            table: self.table.clone(),
            entry: entry.clone(),
            columns: Arc::clone(&self.columns),
            probe: probe.clone(),
            keep,
        })
    }

    /// Reads rows, in the order in which they are named. All columns of the layout.
    pub(crate) async fn fetch(&self, rows: &[RowId]) -> Result<RecordBatch, LakeError> {
        let all: Vec<usize> = (0..self.columns.arrow().fields().len()).collect();
        self.fetch_columns(rows, &all).await
    }

    /// Reads the columns at `places` of rows, in the order in which they are named.
    pub(crate) async fn fetch_columns(
        &self,
        rows: &[RowId],
        places: &[usize],
    ) -> Result<RecordBatch, LakeError> {
        let wrong = |e: arrow_schema::ArrowError| damaged(&self.table.name, e);
        let mut order: Vec<u32> = (0..u32::try_from(rows.len()).unwrap_or(u32::MAX)).collect();
        order.sort_unstable_by_key(|&at| rows[at as usize]);
        type Part = BTreeMap<(usize, usize), Vec<RecordBatch>>;
        let mut jobs: JoinSet<Result<Part, LakeError>> = JoinSet::new();
        let mut parts = Part::new();
        // Files differ in size: each is read by as many jobs as there are, which take turns with its row groups.
        let runs = order.chunk_by(|&a, &b| rows[a as usize].file == rows[b as usize].file).enumerate();
        let mut shares = runs.flat_map(|run| (0..READ_AHEAD).map(move |turn| (run, turn)));
        loop {
            while jobs.len() < READ_AHEAD
                && let Some(((number, run), turn)) = shares.next()
            {
                let entry = self.entries[rows[run[0] as usize].file as usize].clone();
                let wanted: Vec<u32> = run.iter().map(|&at| rows[at as usize].row).collect();
                let (table, columns, places) =
                    (self.table.clone(), Arc::clone(&self.columns), places.to_vec());
                jobs.spawn_on(
                    async move {
                        let reader = entry.open(&table, &columns).await?;
                        let read = read_rows(&reader, &wanted, &places, |group| group % READ_AHEAD == turn);
                        Ok(read.await?.into_iter().map(|(group, rows)| ((number, group), rows)).collect())
                    },
                    runtime()?,
                );
            }
            match jobs.join_next().await {
                None => break,
                Some(Ok(part)) => parts.extend(part?),
                Some(Err(lost)) => return Err(LakeError::TaskLost { source: Box::new(lost) }),
            }
        }
        let batches: Vec<RecordBatch> = parts.into_values().flatten().collect();
        if batches.is_empty() {
            let schema = self.columns.arrow().project(places).map_err(wrong)?;
            return Ok(RecordBatch::new_empty(Arc::new(schema)));
        }
        // Straight into the order asked for: rows that are fetched may be a large part of what is held.
        let found =
            batches.iter().enumerate().flat_map(|(at, rows)| (0..rows.num_rows()).map(move |row| (at, row)));
        let mut back = vec![(0, 0); order.len()];
        for (place, &at) in found.zip(&order) {
            back[at as usize] = place;
        }
        interleave_record_batch(&batches.iter().collect::<Vec<_>>(), &back).map_err(wrong)
    }

    /// Reads the columns at `places` of all live rows of a file in the background. Sends them with their places in the
    /// file; a receiver that is gone ends it. With more than one task the rows come in no order.
    pub(crate) async fn live_rows(
        &mut self,
        file: usize,
        places: &[usize],
        tasks: usize,
        sender: mpsc::Sender<(Vec<u32>, RecordBatch)>,
    ) -> Result<JoinSet<Result<(), LakeError>>, LakeError> {
        self.load_dead(&[file]).await?;
        let mut reading = JoinSet::new();
        for first in 0..tasks {
            let (table, columns) = (self.table.clone(), Arc::clone(&self.columns));
            let (entry, places, sender) = (self.entries[file].clone(), places.to_vec(), sender.clone());
            reading.spawn_on(
                async move {
                    let reader = entry.open(&table, &columns).await?;
                    let mut base = 0_usize;
                    for (group, rows) in reader.group_rows().into_iter().enumerate() {
                        let mut start = base;
                        base += rows;
                        if group % tasks != first {
                            continue;
                        }
                        let mut stream = reader.batches(group, &places)?;
                        while let Some(batch) = stream.next().await? {
                            let count = batch.num_rows();
                            let live = live(&entry, start, batch).map_err(|e| damaged(&table.name, e))?;
                            start += count;
                            if sender.send(live).await.is_err() {
                                return Ok(());
                            }
                        }
                    }
                    Ok(())
                },
                runtime()?,
            );
        }
        Ok(reading)
    }
}

/// The live rows of a batch that begins at row `start` of a file, with their places in it.
fn live(entry: &Entry, start: usize, batch: RecordBatch) -> Result<(Vec<u32>, RecordBatch), BoxError> {
    let first = u32::try_from(start)?;
    let count = u32::try_from(batch.num_rows())?;
    let Some(dead) = entry.dead() else { return Ok(((first..first + count).collect(), batch)) };
    let rows: Vec<u32> = (0..count).filter(|row| !dead.contains(u64::from(first + row))).collect();
    let batch = if rows.len() == batch.num_rows() {
        batch
    } else {
        take_record_batch(&batch, &UInt32Array::from(rows.clone()))?
    };
    Ok((rows.into_iter().map(|row| first + row).collect(), batch))
}

impl Entry {
    async fn open(&self, table: &Table, columns: &Arc<Columns>) -> Result<DataReader, LakeError> {
        let opened = self.reader.get_or_try_init(|| {
            let store = Arc::clone(table.core.storage.store());
            DataReader::open(store, self.path.clone(), self.size, Arc::clone(columns))
        });
        opened.await.cloned()
    }
}

/// Looks for keys in one file.
struct Job {
    file: u32,
    table: Table,
    entry: Entry,
    columns: Arc<Columns>,
    probe: Probe,
    /// Keep the decoded keys.
    keep: bool,
}

impl Job {
    async fn run(self) -> Result<FileFound, LakeError> {
        let mut found = FileFound {
            file: self.file,
            rows: Vec::new(),
            groups: Vec::new(),
            extra: Vec::new(),
            keys: None,
            read: false,
        };
        let mut hits: Vec<(u32, u32)> = Vec::new();
        if let Some(keys) = &self.entry.keys {
            keys.probe(&self.probe.index, &mut hits);
        } else {
            found.read = true;
            self.read_keys(&mut hits, &mut found.keys).await?;
        }
        if let Some(dead) = self.entry.dead() {
            hits.retain(|&(row, _)| !dead.contains(u64::from(row)));
        }
        if hits.is_empty() {
            return Ok(found);
        }
        (found.rows, found.groups) = hits.into_iter().unzip();
        if !self.probe.extra.is_empty() {
            let reader = self.entry.open(&self.table, &self.columns).await?;
            found.extra = if self.is_earlier(&reader)? {
                vec![
                    self.columns
                        .nulls(&self.probe.extra, found.rows.len())
                        .map_err(|e| damaged(&self.table.name, e))?,
                ]
            } else {
                let read = read_rows(&reader, &found.rows, &self.probe.extra, |_| true).await?;
                read.into_iter().flat_map(|(_, rows)| rows).collect()
            };
        }
        Ok(found)
    }

    /// Says whether all sequences of the file are less than all those at hand.
    fn is_earlier(&self, reader: &DataReader) -> Result<bool, LakeError> {
        let Some(later) = &self.probe.later else { return Ok(false) };
        if !has_bounds(self.columns.arrow().field(later.place).data_type()) {
            return Ok(false);
        }
        let Some((_, greatest)) = reader.bounds(later.place) else { return Ok(false) };
        if greatest.null_count() > 0 {
            return Ok(false);
        }
        let greatest = later.codec.encode(&[greatest]).map_err(|e| damaged(&self.table.name, e))?;
        Ok(greatest.iter().all(|row| row.data() < later.least.as_slice()))
    }

    /// Reads the key columns of the row groups that may hold a key.
    async fn read_keys(
        &self,
        hits: &mut Vec<(u32, u32)>,
        kept: &mut Option<KeyColumn>,
    ) -> Result<(), LakeError> {
        let reader = self.entry.open(&self.table, &self.columns).await?;
        let wrong = |e: headwater_cdc::CdcError| damaged(&self.table.name, e);
        let groups = reader.group_rows();
        let candidates = self.candidates(&reader, groups.len())?;
        let keep = self.keep && candidates.iter().all(|&c| c);
        let mut column = keep.then(KeyColumn::default);
        let mut base = 0_usize;
        let mut batch_hits: Vec<(u32, u32)> = Vec::new();
        for (group, rows) in groups.into_iter().enumerate() {
            if candidates[group] {
                let mut stream = reader.batches(group, &self.probe.keys)?;
                let mut start = u32::try_from(base).map_err(|e| damaged(&self.table.name, e))?;
                while let Some(batch) = stream.next().await? {
                    batch_hits.clear();
                    self.probe.index.probe(batch.columns(), &mut batch_hits).map_err(wrong)?;
                    hits.extend(batch_hits.iter().map(|&(row, group)| (start + row, group)));
                    if let Some(column) = &mut column {
                        column.push(batch.column(0));
                    }
                    start += u32::try_from(batch.num_rows()).map_err(|e| damaged(&self.table.name, e))?;
                }
            }
            base += rows;
        }
        *kept = column.and_then(KeyColumn::sealed);
        Ok(())
    }

    /// The row groups that may hold a key.
    fn candidates(&self, reader: &DataReader, groups: usize) -> Result<Vec<bool>, LakeError> {
        let bounds: Vec<Option<(ArrayRef, ArrayRef)>> = self
            .probe
            .keys
            .iter()
            .map(|&at| has_bounds(self.columns.arrow().field(at).data_type()).then(|| reader.bounds(at))?)
            .collect();
        (0..groups)
            .map(|group| {
                let of = |array: &ArrayRef| array.is_valid(group).then(|| array.slice(group, 1));
                let least: Vec<_> = bounds.iter().map(|b| of(&b.as_ref()?.0)).collect();
                let greatest: Vec<_> = bounds.iter().map(|b| of(&b.as_ref()?.1)).collect();
                self.probe.index.may_hold(&least, &greatest).map_err(|e| damaged(&self.table.name, e))
            })
            .collect()
    }
}

/// Reads the columns at `places` of rows of a file, given by their places in the file, ascending: those in the row groups that are
/// wanted, each with its number.
async fn read_rows(
    reader: &DataReader,
    rows: &[u32],
    places: &[usize],
    wanted: impl Fn(usize) -> bool,
) -> Result<Vec<(usize, Vec<RecordBatch>)>, LakeError> {
    let mut found = Vec::new();
    let (mut base, mut next) = (0_usize, 0_usize);
    for (group, count) in reader.group_rows().into_iter().enumerate() {
        let end = next + rows[next..].partition_point(|&row| (row as usize) < base + count);
        if end > next && wanted(group) {
            let inside: Vec<usize> = rows[next..end].iter().map(|&row| row as usize - base).collect();
            found.push((group, reader.rows(group, places, &inside).await?));
        }
        next = end;
        base += count;
    }
    Ok(found)
}
