//! Compares a snapshot with a table in bounded memory: what does not fit goes to a temporary file, in parts that fit.
//!
//! Stored rows and rows of the snapshot are split by their key's fingerprint, so that a part of the one needs to be
//! compared with the same part of the other alone. A part that is still too large is split again.
//!
//! **Invariant:** the file has no name from the moment it is made: whatever becomes of the process, it leaves nothing.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{ArrayRef, FixedSizeBinaryArray, RecordBatch};
use arrow_buffer::Buffer;
use arrow_ipc::reader::StreamReader;
use arrow_ipc::writer::StreamWriter;
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef};
use arrow_select::interleave::interleave_record_batch;
use headwater_cdc::CdcError;
use headwater_cdc::snapshot::{Matches, SnapshotDiff, SnapshotIndex, Split, Verdict};

use crate::adapt::batch_bytes;
use crate::store::blocking;
use crate::{LakeError, TableName};

/// Less than this is no use: each part of a file takes some bytes, too.
const LEAST_LIMIT: usize = 64 * 1024;
/// Parts of what is not known to be small.
const LEAST_PARTS: usize = 64;
/// Parts of a part, of which the size is known.
const LEAST_PARTS_AGAIN: usize = 4;
/// More parts would make pieces so small that reading them takes longer than what is in them.
const MOST_PARTS: usize = 256;
/// Fingerprints of the key and of the values.
const PRINT_BYTES: i32 = 16;
/// What a row that waits to be written takes beside its values: fingerprints, and its place in a part.
const AROUND_ROW_BYTES: usize = 48;
/// Begins a piece of a chain: where the piece before it is, and how long it is.
const HEAD_BYTES: usize = 16;
/// Offsets into the values of a column have 32 bits.
const MOST_WAITING_BYTES: usize = 512 * 1024 * 1024;
const NO_PIECE: u64 = u64::MAX;

/// Why a comparison ended early.
#[derive(Debug)]
pub(crate) enum SpillError {
    Rules(CdcError),
    Lake(LakeError),
}

impl From<CdcError> for SpillError {
    fn from(error: CdcError) -> Self {
        Self::Rules(error)
    }
}

impl From<LakeError> for SpillError {
    fn from(error: LakeError) -> Self {
        Self::Lake(error)
    }
}

/// What a comparison may use.
#[derive(Debug)]
pub(crate) struct Means {
    pub(crate) table: TableName,
    pub(crate) memory_bytes: usize,
    /// Where temporary files go.
    pub(crate) folder: PathBuf,
}

impl Means {
    /// For entries and the keys that are new. The rest is for what is on its way to the file.
    fn index_bytes(&self) -> usize {
        let limit = self.memory_bytes.max(LEAST_LIMIT);
        limit - limit / 4
    }

    /// For rows, or entries, on their way to the file.
    fn waiting_bytes(&self) -> usize {
        (self.memory_bytes.max(LEAST_LIMIT) / 4).min(MOST_WAITING_BYTES)
    }

    fn failed(&self, doing: &str, source: io::Error) -> LakeError {
        let doing = format!(
            "{doing} a temporary file in {}, for a snapshot of {} that does not fit into memory",
            self.folder.display(),
            self.table
        );
        LakeError::Storage { doing, source: Box::new(source), retryable: false, in_doubt: false }
    }
}

/// Rows of a snapshot with the fingerprints of their keys and values.
#[derive(Debug, Clone)]
pub(crate) struct Printed {
    pub(crate) rows: RecordBatch,
    pub(crate) keys: Vec<u128>,
    pub(crate) values: Vec<u128>,
}

impl Printed {
    fn from(&self, first: usize) -> Self {
        Self {
            rows: self.rows.slice(first, self.rows.num_rows() - first),
            keys: self.keys[first..].to_vec(),
            values: self.values[first..].to_vec(),
        }
    }

    fn bytes(&self) -> usize {
        batch_bytes(&self.rows) + self.keys.len() * AROUND_ROW_BYTES
    }
}

/// Pieces in a file, each of which knows where the one before it is.
#[derive(Debug, Clone, Copy)]
struct Chain {
    last: u64,
    rows: u64,
}

impl Chain {
    const EMPTY: Self = Self { last: NO_PIECE, rows: 0 };
}

/// A file of chains that is being written.
#[derive(Debug)]
struct Spill {
    file: File,
    end: u64,
    split: Split,
    stored: Vec<Chain>,
    rows: Vec<Chain>,
}

impl Spill {
    fn new(file: File, split: Split) -> Self {
        let chains = vec![Chain::EMPTY; split.parts()];
        Self { file, end: 0, split, stored: chains.clone(), rows: chains }
    }

    /// Adds a piece to a chain. `piece` begins with room for its head.
    fn append(
        file: &mut File,
        end: &mut u64,
        chain: &mut Chain,
        rows: usize,
        piece: &mut [u8],
    ) -> io::Result<()> {
        let long = |length: usize| u64::try_from(length).map_err(io::Error::other);
        let length = long(piece.len().saturating_sub(HEAD_BYTES))?;
        let head = [chain.last.to_le_bytes(), length.to_le_bytes()].concat();
        piece
            .get_mut(..HEAD_BYTES)
            .ok_or_else(|| io::Error::other("a piece without a head"))?
            .copy_from_slice(&head);
        file.write_all(piece)?;
        *chain = Chain { last: *end, rows: chain.rows + long(rows)? };
        *end += long(piece.len())?;
        Ok(())
    }

    fn put_stored(&mut self, index: &mut SnapshotIndex, piece_rows: usize) -> Result<(), Failed> {
        let Self { file, end, split, stored, .. } = self;
        let mut piece = Vec::new();
        index.drain(*split, piece_rows, |part, rows, bytes| {
            piece.clear();
            piece.extend([0; HEAD_BYTES]);
            piece.extend(bytes);
            Ok(Self::append(file, end, &mut stored[part], rows, &mut piece)?)
        })
    }

    fn put_rows(&mut self, waiting: &[Printed]) -> Result<(), Failed> {
        let mut parts: Vec<Vec<(usize, usize)>> = vec![Vec::new(); self.split.parts()];
        for (batch, printed) in waiting.iter().enumerate() {
            for (row, key) in printed.keys.iter().enumerate() {
                parts[self.split.part(*key)].push((batch, row));
            }
        }
        let batches: Vec<&RecordBatch> = waiting.iter().map(|printed| &printed.rows).collect();
        for (part, places) in parts.into_iter().enumerate().filter(|(_, places)| !places.is_empty()) {
            let rows = interleave_record_batch(&batches, &places)?;
            let prints = |of: fn(&Printed) -> &[u128]| -> Vec<u128> {
                places.iter().map(|&(batch, row)| of(&waiting[batch])[row]).collect()
            };
            let printed = Printed { rows, keys: prints(|p| &p.keys), values: prints(|p| &p.values) };
            let mut piece = encoded(&printed)?;
            Self::append(&mut self.file, &mut self.end, &mut self.rows[part], places.len(), &mut piece)?;
        }
        Ok(())
    }

    fn into_parts(self, means: &Arc<Means>) -> Vec<Part> {
        let file = Arc::new(self.file);
        let parts = self.stored.into_iter().zip(self.rows).map(|(stored, rows)| Part {
            means: Arc::clone(means),
            file: Arc::clone(&file),
            end: self.end,
            split: self.split,
            stored,
            rows,
        });
        parts.filter(|part| part.stored.rows + part.rows.rows > 0).collect()
    }
}

/// What may go wrong between memory and a file.
#[derive(Debug)]
enum Failed {
    Rules(CdcError),
    Arrow(ArrowError),
    File(io::Error),
}

impl From<CdcError> for Failed {
    fn from(error: CdcError) -> Self {
        Self::Rules(error)
    }
}

impl From<ArrowError> for Failed {
    fn from(error: ArrowError) -> Self {
        Self::Arrow(error)
    }
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        Self::File(error)
    }
}

impl Failed {
    fn while_doing(self, doing: &str, means: &Means) -> SpillError {
        match self {
            Self::Rules(error) => SpillError::Rules(error),
            Self::Arrow(error) => SpillError::Lake(means.failed(doing, io::Error::other(error))),
            Self::File(error) => SpillError::Lake(means.failed(doing, error)),
        }
    }
}

/// Rows and their fingerprints as an Arrow stream, after room for a head.
fn encoded(printed: &Printed) -> Result<Vec<u8>, ArrowError> {
    let column = |prints: &[u128]| -> Result<ArrayRef, ArrowError> {
        let bytes: Vec<u8> = prints.iter().flat_map(|print| print.to_le_bytes()).collect();
        Ok(Arc::new(FixedSizeBinaryArray::try_new(PRINT_BYTES, Buffer::from_vec(bytes), None)?))
    };
    let schema = printed.rows.schema();
    let print = || Arc::new(Field::new("", DataType::FixedSizeBinary(PRINT_BYTES), false));
    let fields: Vec<_> = schema.fields().iter().cloned().chain([print(), print()]).collect();
    let mut columns = printed.rows.columns().to_vec();
    columns.extend([column(&printed.keys)?, column(&printed.values)?]);
    let schema = Arc::new(Schema::new(fields));
    let batch = RecordBatch::try_new(Arc::clone(&schema), columns)?;
    let mut stream = StreamWriter::try_new(vec![0; HEAD_BYTES], &schema)?;
    stream.write(&batch)?;
    stream.into_inner()
}

fn decoded(bytes: &[u8], schema: &SchemaRef) -> Result<Printed, ArrowError> {
    let damaged = || ArrowError::IpcError("a piece is not what was written".into());
    let batch = StreamReader::try_new(bytes, None)?.next().ok_or_else(damaged)??;
    let mut columns = batch.columns().to_vec();
    let mut prints = || -> Result<Vec<u128>, ArrowError> {
        let column = columns.pop().ok_or_else(damaged)?;
        let column = column.as_fixed_size_binary_opt().ok_or_else(damaged)?;
        let values = (0..batch.num_rows()).map(|row| column.value(row).try_into().map(u128::from_le_bytes));
        values.collect::<Result<_, _>>().map_err(|_| damaged())
    };
    let (values, keys) = (prints()?, prints()?);
    Ok(Printed { rows: RecordBatch::try_new(Arc::clone(schema), columns)?, keys, values })
}

/// A part of the stored rows and of the snapshot that waits in a file.
#[derive(Debug)]
pub(crate) struct Part {
    means: Arc<Means>,
    file: Arc<File>,
    end: u64,
    split: Split,
    stored: Chain,
    rows: Chain,
}

impl Part {
    /// Begins the comparison of the part and takes in its stored rows.
    pub(crate) async fn begin(&mut self) -> Result<Pass, SpillError> {
        let again = Some((self.split, self.stored.rows + self.rows.rows));
        let mut pass = Pass::over(Arc::clone(&self.means), self.stored.rows, again);
        while let Some(piece) = self.piece(self.stored).await? {
            self.stored.last = piece.before;
            pass.push_piece(&piece.bytes).await?;
        }
        pass.end_stored().await?;
        Ok(pass)
    }

    /// The next rows of the snapshot.
    pub(crate) async fn next_rows(&mut self, schema: &SchemaRef) -> Result<Option<Printed>, SpillError> {
        let Some(piece) = self.piece(self.rows).await? else { return Ok(None) };
        self.rows.last = piece.before;
        let schema = Arc::clone(schema);
        let read = blocking(move || decoded(&piece.bytes, &schema)).await?;
        read.map(Some).map_err(|e| Failed::Arrow(e).while_doing("reading", &self.means))
    }

    /// The last piece of a chain.
    async fn piece(&self, chain: Chain) -> Result<Option<Piece>, SpillError> {
        if chain.last == NO_PIECE {
            return Ok(None);
        }
        let (file, end) = (Arc::clone(&self.file), self.end);
        let read = blocking(move || piece_at(&file, chain.last, end)).await?;
        read.map(Some).map_err(|e| Failed::File(e).while_doing("reading", &self.means))
    }
}

struct Piece {
    before: u64,
    bytes: Vec<u8>,
}

fn piece_at(mut file: &File, at: u64, end: u64) -> io::Result<Piece> {
    let mut head = [[0; 8]; 2];
    file.seek(SeekFrom::Start(at))?;
    file.read_exact(head.as_flattened_mut())?;
    let [before, length] = head.map(u64::from_le_bytes);
    let room = end.saturating_sub(at).saturating_sub(HEAD_BYTES as u64);
    if length > room || (before != NO_PIECE && before >= at) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the file is not as it was written"));
    }
    let mut bytes = vec![0; usize::try_from(length).map_err(io::Error::other)?];
    file.read_exact(&mut bytes)?;
    Ok(Piece { before, bytes })
}

/// The comparison of all rows, or of a part of them.
#[derive(Debug)]
pub(crate) struct Pass {
    means: Arc<Means>,
    /// Stored rows on their way into `diff` or into the file.
    index: SnapshotIndex,
    /// The comparison as long as it fits into memory.
    diff: Option<SnapshotDiff>,
    spill: Option<Spill>,
    /// How to split; `None` where nothing is left to split by.
    split: Option<Split>,
    /// Rows of the snapshot on their way into the file.
    waiting: Vec<Printed>,
    waiting_bytes: usize,
    /// The most that was held, as it is counted.
    peak_bytes: usize,
}

impl Pass {
    /// Compares a table of so many rows, as far as that is known.
    pub(crate) fn new(means: Arc<Means>, stored_rows: Option<u64>) -> Self {
        Self::over(means, stored_rows.unwrap_or(0), None)
    }

    fn over(means: Arc<Means>, stored_rows: u64, again: Option<(Split, u64)>) -> Self {
        // Twice as many parts as are needed: the snapshot may hold keys that are new, and parts differ in size.
        let fits = SnapshotIndex::rows_within(means.index_bytes()) as u64;
        let parts = |rows: u64, least: usize| {
            usize::try_from(rows.saturating_mul(2) / fits.max(1))
                .unwrap_or(MOST_PARTS)
                .clamp(least, MOST_PARTS)
        };
        let split = match again {
            None => Some(Split::new(parts(stored_rows, LEAST_PARTS))),
            Some((split, keys)) => split.again(parts(keys, LEAST_PARTS_AGAIN)),
        };
        let room = usize::try_from(stored_rows.min(fits)).unwrap_or(0);
        Self {
            index: SnapshotIndex::with_capacity(room),
            means,
            diff: None,
            spill: None,
            split,
            waiting: Vec::new(),
            waiting_bytes: 0,
            peak_bytes: 0,
        }
    }

    /// How many entries fit into memory.
    fn room(&self) -> usize {
        match self.split {
            Some(_) => SnapshotIndex::rows_within(self.means.index_bytes()),
            None => usize::MAX,
        }
    }

    fn count(&mut self) {
        let held =
            self.index.bytes() + self.diff.as_ref().map_or(0, SnapshotDiff::bytes) + self.waiting_bytes;
        self.peak_bytes = self.peak_bytes.max(held);
    }

    /// Takes in stored rows.
    pub(crate) async fn push_stored(
        &mut self,
        keys: &[u128],
        values: &[u128],
        positions: &[u64],
    ) -> Result<(), SpillError> {
        let room = self.room();
        for ((&key, &values), &position) in keys.iter().zip(values).zip(positions) {
            if self.index.len() >= room {
                self.put_stored().await?;
            }
            self.index.reserve(1, room);
            self.index.push(key, values, position);
        }
        self.count();
        Ok(())
    }

    async fn push_piece(&mut self, bytes: &[u8]) -> Result<(), SpillError> {
        let (rows, room) = (SnapshotIndex::rows_in(bytes), self.room());
        if !self.index.is_empty() && self.index.len().saturating_add(rows) > room {
            self.put_stored().await?;
        }
        self.index.reserve(rows, room);
        self.index.push_bytes(bytes)?;
        self.count();
        Ok(())
    }

    fn piece_rows(&self) -> usize {
        SnapshotIndex::rows_within(self.means.waiting_bytes())
    }

    /// All stored rows are there.
    pub(crate) async fn end_stored(&mut self) -> Result<(), SpillError> {
        if self.spill.is_some() {
            self.put_stored().await?;
            self.index = SnapshotIndex::with_capacity(0);
        } else {
            let empty = SnapshotIndex::with_capacity(0);
            let index = std::mem::replace(&mut self.index, empty);
            self.diff = Some(blocking(move || index.seal()).await??);
        }
        self.count();
        Ok(())
    }

    /// What the stored rows are known by, where all are in memory.
    pub(crate) fn in_memory(&self) -> Option<&SnapshotDiff> {
        self.diff.as_ref()
    }

    /// Compares rows of the snapshot: a verdict for each of the first ones. The others wait for [`Self::end`]. `found`
    /// is what [`Self::in_memory`] found for the rows, where that was asked.
    pub(crate) async fn compare(
        &mut self,
        printed: &Printed,
        found: Option<Matches>,
    ) -> Result<Vec<Verdict>, SpillError> {
        let mut verdicts = Vec::new();
        if let Some(diff) = &mut self.diff {
            let limit = if self.split.is_some() { self.means.index_bytes() } else { usize::MAX };
            let found = found.unwrap_or_else(|| diff.find(&printed.keys, &printed.values));
            verdicts = diff.compare_within(&printed.keys, found, limit);
            self.count();
            if verdicts.len() == printed.keys.len() {
                return Ok(verdicts);
            }
        }
        if let Some(diff) = self.diff.take() {
            self.put_compared(diff).await?;
        }
        let rest = printed.from(verdicts.len());
        self.waiting_bytes += rest.bytes();
        self.waiting.push(rest);
        self.count();
        if self.waiting_bytes >= self.means.waiting_bytes() {
            self.put_rows().await?;
        }
        Ok(verdicts)
    }

    /// Moves what is in memory to the file. Of rows that came, and were written where they had to be, the keys are
    /// enough.
    async fn put_compared(&mut self, diff: SnapshotDiff) -> Result<(), SpillError> {
        let held = diff.bytes();
        let (index, new) = diff.unsealed();
        self.index = index;
        self.put_stored().await?;
        self.index = SnapshotIndex::with_capacity(self.piece_rows());
        self.peak_bytes = self.peak_bytes.max(held + self.index.bytes());
        for key in new {
            if self.index.len() >= self.piece_rows() {
                self.put_stored().await?;
            }
            self.index.push_seen(key);
        }
        self.put_stored().await?;
        self.index = SnapshotIndex::with_capacity(0);
        Ok(())
    }

    async fn take_spill(&mut self) -> Result<Spill, SpillError> {
        if let Some(spill) = self.spill.take() {
            return Ok(spill);
        }
        let Some(split) = self.split else {
            return Err(self.means.failed("splitting", io::Error::other("nothing to split by")).into());
        };
        tracing::info!(
            table = %self.means.table,
            folder = %self.means.folder.display(),
            parts = split.parts(),
            "snapshot does not fit into memory and goes on in a temporary file"
        );
        let folder = self.means.folder.clone();
        let file = blocking(move || tempfile::tempfile_in(folder)).await?;
        let file = file.map_err(|e| self.means.failed("making", e))?;
        Ok(Spill::new(file, split))
    }

    async fn put_stored(&mut self) -> Result<(), SpillError> {
        let mut spill = self.take_spill().await?;
        let piece_rows = self.piece_rows();
        let mut index = std::mem::replace(&mut self.index, SnapshotIndex::with_capacity(0));
        let (spill, index, put) = blocking(move || {
            let put = spill.put_stored(&mut index, piece_rows);
            (spill, index, put)
        })
        .await?;
        put.map_err(|e| e.while_doing("writing", &self.means))?;
        (self.spill, self.index) = (Some(spill), index);
        Ok(())
    }

    async fn put_rows(&mut self) -> Result<(), SpillError> {
        let mut spill = self.take_spill().await?;
        let waiting = std::mem::take(&mut self.waiting);
        self.waiting_bytes = 0;
        let (spill, put) = blocking(move || {
            let put = spill.put_rows(&waiting);
            (spill, put)
        })
        .await?;
        put.map_err(|e| e.while_doing("writing", &self.means))?;
        self.spill = Some(spill);
        Ok(())
    }

    /// All rows of the snapshot are there. Gives `gone` the positions of stored rows that did not come, and returns the
    /// parts of which this is not known yet. The pass is empty then.
    pub(crate) async fn end(
        &mut self,
        gone: impl FnOnce(&mut dyn Iterator<Item = u64>),
    ) -> Result<Vec<Part>, SpillError> {
        if !self.waiting.is_empty() {
            self.put_rows().await?;
        }
        tracing::debug!(
            table = %self.means.table,
            peak_bytes = self.peak_bytes,
            in_file = self.spill.is_some(),
            "rows of a snapshot compared"
        );
        if let Some(diff) = self.diff.take() {
            gone(&mut diff.gone_unsorted());
        }
        Ok(self.spill.take().map(|spill| spill.into_parts(&self.means)).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests;
