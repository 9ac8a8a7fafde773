//! One Parquet file: batches in, encoded bytes out. No I/O.
//!
//! The columns of a batch are encoded by two threads, the most expensive first, since encoding and compressing them
//! is where the time goes.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow_array::{RecordBatch, StructArray};
use arrow_schema::{FieldRef, SchemaRef};
use bytes::{Bytes, BytesMut};
use delta_kernel::expressions::ColumnName;
use headwater_connect::{BoxError, StructType};
use parquet::arrow::ArrowSchemaConverter;
use parquet::arrow::add_encoded_arrow_schema_to_metadata;
use parquet::arrow::arrow_writer::{
    ArrowColumnChunk, ArrowColumnWriter, ArrowRowGroupWriterFactory, compute_leaves,
};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;

use crate::adapt::batch_bytes;
use crate::kernel::{kernel_schema, stats_json};
use crate::schema::{physical, physical_arrow, physical_name, stats_columns};
use crate::stats::FileStats;
use crate::tune;

/// Rows at which a row group is closed.
const ROW_GROUP_ROWS: usize = 250_000;
const ENCODE_THREADS: usize = 2;
/// Size of the pieces in which encoded bytes come.
const PIECE_BYTES: usize = 256 * 1024;

/// What the files of a table look like.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    /// The table's columns.
    pub(crate) logical: StructType,
    /// The same in the files.
    pub(crate) arrow: SchemaRef,
    kernel: Arc<delta_kernel::schema::StructType>,
    stats: Vec<ColumnName>,
    /// Places of the columns that files are sorted by.
    pub(crate) sort: Vec<usize>,
}

impl Layout {
    /// `stats_limit` is how many leaf columns have statistics; those of `cluster_by` have them always.
    pub(crate) fn new(
        logical: &StructType,
        cluster_by: &[String],
        stats_limit: usize,
    ) -> Result<Self, BoxError> {
        let inside = physical(logical);
        let sort: Vec<usize> = cluster_by
            .iter()
            .filter_map(|name| logical.fields.iter().position(|f| f.name == *name))
            .collect();
        let always: Vec<String> =
            sort.iter().map(|&at| physical_name(&logical.fields[at]).to_owned()).collect();
        let stats = stats_columns(&inside, stats_limit, &always).into_iter().map(ColumnName::new).collect();
        Ok(Self {
            logical: logical.clone(),
            arrow: physical_arrow(logical),
            kernel: Arc::new(kernel_schema(&inside.to_json())?),
            stats,
            sort,
        })
    }
}

/// Bytes that have been encoded and not been taken yet, in pieces: one buffer that grows would be copied again and
/// again, and would take twice its size.
#[derive(Debug, Default)]
struct Encoded {
    full: Vec<Bytes>,
    /// The piece that is being filled.
    open: BytesMut,
    bytes: usize,
}

impl Encoded {
    fn extend(&mut self, mut bytes: &[u8]) {
        self.bytes += bytes.len();
        while !bytes.is_empty() {
            if self.open.capacity() == self.open.len() {
                self.close_piece();
                self.open.reserve(PIECE_BYTES);
            }
            let (now, later) = bytes.split_at(bytes.len().min(self.open.capacity() - self.open.len()));
            self.open.extend_from_slice(now);
            bytes = later;
        }
    }

    fn close_piece(&mut self) {
        if !self.open.is_empty() {
            self.full.push(std::mem::take(&mut self.open).freeze());
        }
    }

    fn take(&mut self) -> Vec<Bytes> {
        self.close_piece();
        self.bytes = 0;
        std::mem::take(&mut self.full)
    }
}

#[derive(Debug, Clone, Default)]
struct Out(Arc<Mutex<Encoded>>);

impl Out {
    fn lock(&self) -> MutexGuard<'_, Encoded> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.lock().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A file that is being encoded.
pub(crate) struct Encoder {
    arrow: SchemaRef,
    writer: SerializedFileWriter<Out>,
    factory: ArrowRowGroupWriterFactory,
    out: Out,
    stats: FileStats,
    /// Writers of the row group that is open, a list of leaves for each column.
    group: Option<Vec<Vec<ArrowColumnWriter>>>,
    group_rows: usize,
    groups: usize,
    group_bytes_limit: usize,
    rows: u64,
}

impl std::fmt::Debug for Encoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Encoder").field("rows", &self.rows).finish_non_exhaustive()
    }
}

impl Encoder {
    /// Begins a file; how its columns are encoded is decided from `first`. A row group is closed when its encoded
    /// columns reach `group_bytes_limit`.
    pub(crate) fn new(
        layout: &Layout,
        first: &[RecordBatch],
        group_bytes_limit: usize,
        app: &str,
    ) -> Result<Self, ParquetError> {
        let mut properties: WriterProperties = tune::properties(first, app)?;
        add_encoded_arrow_schema_to_metadata(&layout.arrow, &mut properties);
        let schema = ArrowSchemaConverter::new().convert(&layout.arrow)?;
        let out = Out::default();
        let writer = SerializedFileWriter::new(out.clone(), schema.root_schema_ptr(), Arc::new(properties))?;
        let factory = ArrowRowGroupWriterFactory::new(&writer, Arc::clone(&layout.arrow));
        Ok(Self {
            arrow: Arc::clone(&layout.arrow),
            writer,
            factory,
            out,
            stats: FileStats::new(&layout.stats, &layout.kernel),
            group: None,
            group_rows: 0,
            groups: 0,
            group_bytes_limit,
            rows: 0,
        })
    }

    /// Encodes rows; closes the row group when it is full.
    pub(crate) fn encode(&mut self, batches: &[RecordBatch]) -> Result<(), BoxError> {
        let mut pieces = Vec::with_capacity(batches.len());
        let mut rows = self.group_rows;
        for batch in batches {
            let mut from = 0;
            while from < batch.num_rows() {
                let take = (batch.num_rows() - from).min(ROW_GROUP_ROWS - rows);
                pieces.push(batch.slice(from, take));
                from += take;
                rows += take;
                if rows == ROW_GROUP_ROWS {
                    self.encode_pieces(&std::mem::take(&mut pieces))?;
                    rows = 0;
                }
            }
        }
        if pieces.is_empty() { Ok(()) } else { self.encode_pieces(&pieces) }
    }

    /// Encodes rows of one row group, column by column.
    fn encode_pieces(&mut self, pieces: &[RecordBatch]) -> Result<(), BoxError> {
        let mut group = match self.group.take() {
            Some(group) => group,
            None => self.open_group()?,
        };
        let mut jobs: Vec<(usize, &FieldRef, &mut Vec<ArrowColumnWriter>)> = self
            .arrow
            .fields()
            .iter()
            .zip(&mut group)
            .enumerate()
            .map(|(at, (field, leaves))| (at, field, leaves))
            .collect();
        // Workers take from the end.
        jobs.sort_by_key(|(at, ..)| {
            pieces.first().map_or(0, |piece| piece.column(*at).get_array_memory_size())
        });
        let jobs = Mutex::new(jobs);
        let work = || -> Result<(), ParquetError> {
            loop {
                let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).pop();
                let Some((at, field, leaves)) = job else { return Ok(()) };
                for piece in pieces {
                    for (leaf, writer) in compute_leaves(field, piece.column(at))?.iter().zip(&mut *leaves) {
                        writer.write(leaf)?;
                    }
                }
            }
        };
        let stats = &mut self.stats;
        std::thread::scope(|scope| -> Result<(), BoxError> {
            let others: Vec<_> = (1..ENCODE_THREADS).map(|_| scope.spawn(work)).collect();
            pieces.iter().try_for_each(|piece| stats.merge(piece))?;
            work()?;
            for other in others {
                other.join().map_err(|_| "a thread that encodes columns died")??;
            }
            Ok(())
        })?;
        let rows: usize = pieces.iter().map(RecordBatch::num_rows).sum();
        self.group_rows += rows;
        self.rows += u64::try_from(rows)?;
        let held: usize = group.iter().flatten().map(ArrowColumnWriter::memory_size).sum();
        self.group = Some(group);
        if self.group_rows >= ROW_GROUP_ROWS || held >= self.group_bytes_limit {
            self.close_group()?;
        }
        Ok(())
    }

    fn open_group(&self) -> Result<Vec<Vec<ArrowColumnWriter>>, ParquetError> {
        let mut writers = self.factory.create_column_writers(self.groups)?.into_iter();
        let leaves = self.arrow.fields().iter().map(|field| leaf_count(field.data_type()));
        Ok(leaves.map(|count| writers.by_ref().take(count).collect()).collect())
    }

    fn close_group(&mut self) -> Result<(), ParquetError> {
        let Some(group) = self.group.take() else { return Ok(()) };
        let chunks = group
            .into_iter()
            .flatten()
            .map(ArrowColumnWriter::close)
            .collect::<Result<Vec<ArrowColumnChunk>, _>>()?;
        let mut writer = self.writer.next_row_group()?;
        for chunk in chunks {
            chunk.append_to_row_group(&mut writer)?;
        }
        writer.close()?;
        self.groups += 1;
        self.group_rows = 0;
        Ok(())
    }

    /// Rows so far.
    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }

    /// Size that the file would have if it were closed now, about.
    pub(crate) fn estimated_bytes(&self) -> usize {
        let open = self.group.iter().flatten().flatten();
        self.writer.bytes_written() + open.map(ArrowColumnWriter::get_estimated_total_bytes).sum::<usize>()
    }

    /// Memory that the file takes: its open row group, and the bytes that nobody took yet.
    pub(crate) fn memory_bytes(&self) -> usize {
        let open = self.group.iter().flatten().flatten();
        self.pending_bytes() + open.map(ArrowColumnWriter::memory_size).sum::<usize>()
    }

    /// Encoded bytes that [`Encoder::take`] would give.
    pub(crate) fn pending_bytes(&self) -> usize {
        self.out.lock().bytes
    }

    /// Takes encoded bytes.
    pub(crate) fn take(&self) -> Vec<Bytes> {
        self.out.lock().take()
    }

    /// Ends the file. Gives the last bytes and the statistics, as JSON text.
    pub(crate) fn finish(mut self) -> Result<(Vec<Bytes>, String), BoxError> {
        self.close_group()?;
        self.writer.finish()?;
        let stats: StructArray = self.stats.finish()?.ok_or("a file without rows")?;
        let rest = self.out.lock().take();
        Ok((rest, stats_json(stats)?))
    }
}

/// How many leaf columns a type has in a file.
fn leaf_count(data_type: &arrow_schema::DataType) -> usize {
    use arrow_schema::DataType as A;
    match data_type {
        A::Struct(fields) => fields.iter().map(|f| leaf_count(f.data_type())).sum(),
        A::List(inner) | A::Map(inner, _) => leaf_count(inner.data_type()),
        _ => 1,
    }
}

/// Cuts a batch so that no piece takes more than `bytes` of memory, or has more than one row.
pub(crate) fn cut(batch: &RecordBatch, bytes: usize) -> Vec<RecordBatch> {
    let (rows, size) = (batch.num_rows(), batch_bytes(batch));
    if rows < 2 || size <= bytes {
        return vec![batch.clone()];
    }
    let each = (rows / size.div_ceil(bytes.max(1))).max(1);
    (0..rows).step_by(each).map(|from| batch.slice(from, each.min(rows - from))).collect()
}
