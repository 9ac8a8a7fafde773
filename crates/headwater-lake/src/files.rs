//! The data files of a commit: batches in, finished files out, within a bound of memory.
//!
//! Batches are gathered to a *chunk*; while one chunk is sorted, encoded and uploaded in the background, the caller
//! gathers the next. At most one chunk is in the background.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use arrow_array::{ArrayRef, RecordBatch};
use arrow_ord::sort::{SortColumn, SortOptions, lexsort_to_indices};
use arrow_schema::{ArrowError, SchemaRef};
use arrow_select::concat::concat_batches;
use arrow_select::take::take_record_batch;
use bytes::Bytes;
use headwater_connect::BoxError;
use object_store::path::Path;
use object_store::{MultipartUpload, PutPayload};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::actions::DataFile;
use crate::adapt::batch_bytes;
use crate::encode::{Encoder, Layout, cut};
use crate::rows::{RowHasher, RowSum};
use crate::store::{blocking, run, runtime, storage_error};
use crate::table::Table;
use crate::{LakeError, Staged};

/// Size of a part of an upload.
const PART_BYTES: usize = 8 * 1024 * 1024;
/// What object stores want at least.
const LEAST_PART_BYTES: usize = 5 * 1024 * 1024;
const LARGEST_CHUNK_BYTES: usize = 16 * 1024 * 1024;
/// Parts of an upload and the start of a row group do not fit into less.
const LEAST_MEMORY_BYTES: usize = 16 * 1024 * 1024;

/// How much the files may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Memory, in bytes.
    pub(crate) memory_bytes: usize,
    /// Size at which a file is closed.
    pub(crate) target_file_bytes: u64,
}

impl Limits {
    fn memory(self) -> usize {
        self.memory_bytes.max(LEAST_MEMORY_BYTES)
    }

    /// A chunk; there are two, and sorting one doubles it. One that is sorted is as long as it may: the longer, the
    /// better the files prune.
    fn chunk_bytes(self, sorted: bool) -> usize {
        let share = self.memory() / 10;
        if sorted { share } else { share.min(LARGEST_CHUNK_BYTES) }
    }

    /// The encoded columns at which a row group is closed; a chunk may go beyond it.
    fn group_bytes(self) -> usize {
        self.memory() / 20 * 3
    }

    fn part_bytes(self) -> usize {
        (self.memory() / 5).clamp(LEAST_PART_BYTES, PART_BYTES)
    }
}

/// Writes the files of one commit.
#[derive(Debug)]
pub(crate) struct DataFiles {
    table: Table,
    layout: Arc<Layout>,
    limits: Limits,
    hasher: Option<Arc<RowHasher>>,
    chunk: Vec<RecordBatch>,
    chunk_bytes: usize,
    /// The chunk in the background, which holds the open file.
    job: JoinSet<Result<Progress, LakeError>>,
    progress: Progress,
    rows: u64,
    /// Something failed and rows are lost: nothing may be committed before [`DataFiles::discard`].
    broken: bool,
    /// Names of all files that were begun.
    begun: Vec<Path>,
    /// A commit that names the files was tried and its end is not known: they must not be removed.
    held: bool,
    most_memory: usize,
}

/// What moves between the caller and the background.
#[derive(Debug, Default)]
struct Progress {
    /// In a lock only because nothing else may look at it from two threads; it is never waited for.
    open: Mutex<Option<OpenFile>>,
    /// Size of the open file if it were closed, about.
    open_bytes: usize,
    done: Vec<DataFile>,
    begun: Vec<Path>,
    sum: RowSum,
    /// Memory that the open file took at most.
    memory: usize,
}

impl Progress {
    fn take_open(&mut self) -> Option<OpenFile> {
        self.open_bytes = 0;
        self.open.get_mut().unwrap_or_else(PoisonError::into_inner).take()
    }
}

#[derive(Debug)]
struct OpenFile {
    name: String,
    path: Path,
    encoder: Encoder,
    upload: Option<Box<dyn MultipartUpload>>,
    uploaded: u64,
    /// Encoded bytes that are not uploaded yet.
    pending: Pending,
}

/// What the background needs to know.
#[derive(Debug, Clone)]
struct Context {
    table: Table,
    layout: Arc<Layout>,
    limits: Limits,
    hasher: Option<Arc<RowHasher>>,
}

impl DataFiles {
    pub(crate) fn new(
        table: Table,
        layout: Arc<Layout>,
        limits: Limits,
        hasher: Option<Arc<RowHasher>>,
    ) -> Self {
        Self {
            table,
            layout,
            limits,
            hasher,
            chunk: Vec::new(),
            chunk_bytes: 0,
            job: JoinSet::new(),
            progress: Progress::default(),
            rows: 0,
            broken: false,
            begun: Vec::new(),
            held: false,
            most_memory: 0,
        }
    }

    /// Takes rows that have the columns of the layout.
    pub(crate) async fn write(&mut self, batch: RecordBatch) -> Result<(), LakeError> {
        self.check()?;
        let limit = self.limits.chunk_bytes(!self.layout.sort.is_empty());
        for piece in cut(&batch, limit) {
            self.rows += u64::try_from(piece.num_rows()).unwrap_or(0);
            self.chunk_bytes += batch_bytes(&piece);
            self.chunk.push(piece);
            if self.chunk_bytes >= limit {
                self.settle().await?;
                self.start()?;
            }
        }
        Ok(())
    }

    /// Ends all files. They can be taken with [`DataFiles::take`] until more is written.
    pub(crate) async fn finish(&mut self) -> Result<(), LakeError> {
        self.check()?;
        self.settle().await?;
        if !self.chunk.is_empty() {
            self.start()?;
            self.settle().await?;
        }
        if let Some(open) = self.progress.take_open() {
            self.broken = true;
            let context = self.context();
            let done = run(async move { open.close(&context).await }).await??;
            self.progress.done.push(done);
            self.broken = false;
        }
        Ok(())
    }

    /// The finished files.
    pub(crate) fn done(&self) -> &[DataFile] {
        &self.progress.done
    }

    /// The sum of the hashes of the rows.
    pub(crate) fn sum(&self) -> RowSum {
        self.progress.sum
    }

    /// Says whether a commit may have put the files into the log: then [`DataFiles::discard`] leaves them.
    pub(crate) fn hold(&mut self, held: bool) {
        self.held = held;
    }

    /// Takes note of a file that belongs to the commit and was written elsewhere: it goes when the files are discarded.
    pub(crate) fn begun(&mut self, path: Path) {
        self.begun.push(path);
    }

    /// Forgets the finished files: they are in the log now.
    pub(crate) fn committed(&mut self) {
        self.progress = Progress::default();
        self.begun.clear();
        self.rows = 0;
    }

    pub(crate) fn staged(&self) -> Staged {
        let done: u64 = self.progress.done.iter().map(|f| f.size).sum();
        let open = self.progress.open_bytes;
        let bytes = done.saturating_add(u64::try_from(open + self.chunk_bytes).unwrap_or(u64::MAX));
        Staged { rows: self.rows, bytes }
    }

    /// The most memory that was held at once, as counted: chunks, open row group, bytes not yet uploaded.
    #[cfg(test)]
    pub(crate) fn most_memory(&self) -> usize {
        self.most_memory
    }

    /// Forgets everything and removes the files.
    pub(crate) async fn discard(&mut self) -> Result<(), LakeError> {
        // What runs in the background is waited for: it must not finish a file after its removal.
        while let Some(ended) = self.job.join_next().await {
            if let Ok(Ok(progress)) = ended {
                self.adopt(progress);
            }
        }
        if let Some(mut upload) = self.progress.take_open().and_then(|open| open.upload)
            && let Err(error) = run(async move { upload.abort().await }).await?
        {
            tracing::warn!(error = &error as &dyn std::error::Error, "upload not aborted");
        }
        self.progress = Progress::default();
        self.chunk.clear();
        self.chunk_bytes = 0;
        self.rows = 0;
        self.broken = false;
        let begun = std::mem::take(&mut self.begun);
        if std::mem::take(&mut self.held) {
            // Vacuum takes them when no version names them.
            return Ok(());
        }
        for path in begun {
            self.table.core.storage.delete(&path).await?;
        }
        Ok(())
    }

    fn check(&self) -> Result<(), LakeError> {
        if self.broken {
            return Err(LakeError::Storage {
                doing: format!("writing to {}", self.table.name),
                source: "an earlier write failed and what was staged is incomplete; discard it first".into(),
                retryable: false,
                in_doubt: false,
            });
        }
        Ok(())
    }

    fn context(&self) -> Context {
        Context {
            table: self.table.clone(),
            layout: Arc::clone(&self.layout),
            limits: self.limits,
            hasher: self.hasher.clone(),
        }
    }

    fn adopt(&mut self, mut progress: Progress) {
        self.begun.append(&mut progress.begun);
        self.most_memory = self.most_memory.max(progress.memory + self.chunk_bytes);
        self.progress = progress;
    }

    /// Waits for the background.
    async fn settle(&mut self) -> Result<(), LakeError> {
        let Some(ended) = self.job.join_next().await else { return Ok(()) };
        self.broken = true;
        let progress = match ended {
            Ok(progress) => progress?,
            Err(lost) => return Err(LakeError::TaskLost { source: Box::new(lost) }),
        };
        self.adopt(progress);
        self.broken = false;
        Ok(())
    }

    /// Hands the chunk to the background, where nothing is.
    fn start(&mut self) -> Result<(), LakeError> {
        let (chunk, bytes) = (std::mem::take(&mut self.chunk), std::mem::take(&mut self.chunk_bytes));
        let progress = std::mem::take(&mut self.progress);
        self.job.spawn_on(self.context().work(progress, chunk, bytes), runtime()?);
        Ok(())
    }
}

impl Context {
    /// Sorts, hashes and encodes a chunk, and uploads what is ready.
    async fn work(
        self,
        mut progress: Progress,
        chunk: Vec<RecordBatch>,
        chunk_bytes: usize,
    ) -> Result<Progress, LakeError> {
        let open = progress.take_open();
        let context = self.clone();
        let encoded = blocking(move || context.encode(open, chunk)).await?;
        let (mut open, sum, begun) = encoded.map_err(|source| LakeError::Storage {
            doing: format!("encoding rows of {}", self.table.name),
            source,
            retryable: false,
            in_doubt: false,
        })?;
        progress.begun.extend(begun);
        progress.sum = progress.sum.plus(sum);
        progress.memory = progress.memory.max(chunk_bytes + open.memory_bytes());
        if u64::try_from(open.encoder.estimated_bytes()).unwrap_or(u64::MAX) >= self.limits.target_file_bytes
        {
            progress.done.push(open.close(&self).await?);
        } else {
            open.upload_ready(&self).await?;
            progress.open_bytes = open.encoder.estimated_bytes();
            progress.open = Mutex::new(Some(open));
        }
        Ok(progress)
    }

    fn encode(
        &self,
        open: Option<OpenFile>,
        chunk: Vec<RecordBatch>,
    ) -> Result<(OpenFile, RowSum, Option<Path>), BoxError> {
        let chunk = sorted(chunk, &self.layout.sort, &self.layout.arrow)?;
        let sum = match &self.hasher {
            Some(hasher) => hasher.sum(&chunk)?,
            None => RowSum::default(),
        };
        let (mut open, begun) = match open {
            Some(open) => (open, None),
            None => {
                let open = self.begin(&chunk)?;
                let path = open.path.clone();
                (open, Some(path))
            }
        };
        open.encoder.encode(&chunk)?;
        Ok((open, sum, begun))
    }

    fn begin(&self, first: &[RecordBatch]) -> Result<OpenFile, BoxError> {
        let name = format!("part-00000-{}-c000.zstd.parquet", Uuid::new_v4());
        let encoder = Encoder::new(&self.layout, first, self.limits.group_bytes(), &self.table.core.app)?;
        Ok(OpenFile {
            path: self.table.path.clone().join(name.as_str()),
            name,
            encoder,
            upload: None,
            uploaded: 0,
            pending: Pending::default(),
        })
    }
}

impl OpenFile {
    fn memory_bytes(&self) -> usize {
        self.encoder.memory_bytes() + self.pending.bytes
    }

    /// Uploads whole parts.
    async fn upload_ready(&mut self, context: &Context) -> Result<(), LakeError> {
        let part = context.limits.part_bytes();
        if self.encoder.pending_bytes() == 0 {
            return Ok(());
        }
        self.pending.extend(self.encoder.take());
        while self.pending.bytes >= part {
            let payload = self.pending.take(part);
            self.upload_part(context, payload).await?;
        }
        Ok(())
    }

    async fn upload_part(&mut self, context: &Context, payload: PutPayload) -> Result<(), LakeError> {
        let failed = |e| storage_error(format!("writing {}", self.path), e);
        let mut upload = match self.upload.take() {
            Some(upload) => upload,
            None => context.table.core.storage.upload(&self.path).await?,
        };
        self.uploaded += u64::try_from(payload.content_length()).unwrap_or(0);
        upload.put_part(payload).await.map_err(failed)?;
        self.upload = Some(upload);
        Ok(())
    }

    /// Ends the file, in memory and in storage.
    async fn close(mut self, context: &Context) -> Result<DataFile, LakeError> {
        self.upload_ready(context).await?;
        let rows = self.encoder.rows();
        let name = self.name;
        let encoder = self.encoder;
        let failed = |source| LakeError::Storage {
            doing: format!("encoding rows of {}", context.table.name),
            source,
            retryable: false,
            in_doubt: false,
        };
        let (rest, stats) = blocking(move || encoder.finish()).await?.map_err(failed)?;
        self.pending.extend(rest);
        let size = self.uploaded + u64::try_from(self.pending.bytes).unwrap_or(0);
        match self.upload {
            None => {
                let all = self.pending.take(usize::MAX);
                context.table.core.storage.put(&self.path, all).await?;
            }
            Some(mut upload) => {
                let failed = |e| storage_error(format!("writing {}", self.path), e);
                while self.pending.bytes > 0 {
                    let part = self.pending.take(context.limits.part_bytes());
                    upload.put_part(part).await.map_err(failed)?;
                }
                upload.complete().await.map_err(failed)?;
            }
        }
        let modification_time = context.table.now().timestamp_millis();
        Ok(DataFile { path: name, size, rows, modification_time, stats })
    }
}

/// Bytes in pieces, which are cut and never copied.
#[derive(Debug, Default)]
struct Pending {
    pieces: VecDeque<Bytes>,
    bytes: usize,
}

impl Pending {
    fn extend(&mut self, pieces: Vec<Bytes>) {
        self.bytes += pieces.iter().map(Bytes::len).sum::<usize>();
        self.pieces.extend(pieces);
    }

    /// Takes so many bytes, or all where there are fewer.
    fn take(&mut self, bytes: usize) -> PutPayload {
        let mut taken = Vec::new();
        let mut left = bytes;
        while left > 0 {
            let Some(mut piece) = self.pieces.pop_front() else { break };
            if piece.len() > left {
                let rest = piece.split_off(left);
                self.pieces.push_front(rest);
            }
            left -= piece.len();
            self.bytes -= piece.len();
            taken.push(piece);
        }
        taken.into_iter().collect()
    }
}

/// Sorts a chunk by the columns at these places.
fn sorted(chunk: Vec<RecordBatch>, by: &[usize], schema: &SchemaRef) -> Result<Vec<RecordBatch>, ArrowError> {
    if by.is_empty() || chunk.is_empty() {
        return Ok(chunk);
    }
    let all = concat_batches(schema, &chunk)?;
    drop(chunk);
    let columns: Vec<SortColumn> = by
        .iter()
        .map(|&at| SortColumn {
            values: ArrayRef::clone(all.column(at)),
            options: Some(SortOptions { descending: false, nulls_first: true }),
        })
        .collect();
    let order = lexsort_to_indices(&columns, None)?;
    Ok(vec![take_record_batch(&all, &order)?])
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{Int64Array, RecordBatch, StringArray};
    use headwater_connect::{DataType, StructField, StructType};

    use super::{DataFiles, Limits};
    use crate::encode::Layout;
    use crate::lake::DeltaLake;
    use crate::{LakeOptions, TableName};

    fn files(dir: &tempfile::TempDir, limits: Limits, cluster_by: &[String]) -> DataFiles {
        let lake = DeltaLake::open(dir.path().to_str().unwrap(), LakeOptions::default()).unwrap();
        let table = lake.at(&TableName::new("c", "s", "t").unwrap()).unwrap();
        let schema = StructType::new([
            StructField::nullable("id", DataType::Long),
            StructField::nullable("text", DataType::String),
        ]);
        let layout = Layout::new(&schema, cluster_by, 32).unwrap();
        DataFiles::new(table, Arc::new(layout), limits, None)
    }

    /// Text that does not compress, so that what is encoded takes as much memory as it can.
    fn noise(rows: i64) -> RecordBatch {
        let ids: Int64Array = (0..rows).map(|_| fastrand::i64(..)).collect();
        let texts: StringArray =
            (0..rows).map(|_| Some((0..100).map(|_| fastrand::alphanumeric()).collect::<String>())).collect();
        let schema = StructType::new([
            StructField::nullable("id", DataType::Long),
            StructField::nullable("text", DataType::String),
        ]);
        RecordBatch::try_new(schema.to_arrow(), vec![Arc::new(ids), Arc::new(texts)]).unwrap()
    }

    #[tokio::test]
    async fn what_is_held_stays_within_the_memory_given() {
        for cluster_by in [vec![], vec!["id".to_owned()]] {
            let dir = tempfile::tempdir().unwrap();
            let limits = Limits { memory_bytes: 16 * 1024 * 1024, target_file_bytes: 12 * 1024 * 1024 };
            let mut files = files(&dir, limits, &cluster_by);
            let batch = noise(5_000);
            for _ in 0..60 {
                files.write(batch.clone()).await.unwrap();
            }
            // One batch that is larger than all the memory is taken in pieces.
            files.write(noise(100_000)).await.unwrap();
            files.finish().await.unwrap();
            let rows: u64 = files.done().iter().map(|f| f.rows).sum();
            assert_eq!(rows, 400_000);
            assert!(files.done().len() > 1);
            for file in files.done() {
                let path = dir.path().join("c/s/t").join(&file.path);
                assert_eq!(std::fs::metadata(path).unwrap().len(), file.size);
                assert!(file.stats.contains(&format!("\"numRecords\":{}", file.rows)));
            }
            let most = files.most_memory();
            assert!(most > 1024 * 1024, "{most}");
            assert!(most <= limits.memory_bytes, "{most}");
            files.discard().await.unwrap();
            assert_eq!(std::fs::read_dir(dir.path().join("c/s/t")).unwrap().count(), 0);
        }
    }
}
