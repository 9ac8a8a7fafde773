//! Reads parts of data files: some columns, some row groups, some rows. Dead rows are the caller's matter.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions, new_null_array};
use arrow_schema::{ArrowError, SchemaRef};
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt, TryFutureExt, TryStreamExt};
use headwater_connect::StructType;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::statistics::StatisticsConverter;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, RowSelection};
use parquet::arrow::async_reader::{
    AsyncFileReader, ParquetRecordBatchStream, ParquetRecordBatchStreamBuilder,
};
use parquet::basic::Type as PhysicalType;
use parquet::errors::ParquetError;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader};

use crate::adapt::convert;
use crate::encode::Layout;
use crate::kernel::damaged;
use crate::schema::physical;
use crate::store::storage_error;
use crate::{LakeError, TableName};

/// Rows that are decoded at a time.
const BATCH_ROWS: usize = 32_768;
/// A footer is hardly ever larger.
const FOOTER_BYTES: usize = 64 * 1024;

/// Reads ranges of an object for the Parquet reader. What it is asked for is wanted on the lake's runtime already.
#[derive(Debug)]
struct ObjectReader {
    store: Arc<dyn ObjectStore>,
    path: Path,
    size: u64,
}

impl AsyncFileReader for ObjectReader {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, Result<Bytes, ParquetError>> {
        self.store.get_range(&self.path, range).map_err(|e| ParquetError::External(Box::new(e))).boxed()
    }

    fn get_byte_ranges(
        &mut self,
        ranges: Vec<Range<u64>>,
    ) -> BoxFuture<'_, Result<Vec<Bytes>, ParquetError>> {
        async move {
            let read = self.store.get_ranges(&self.path, &ranges).await;
            read.map_err(|e| ParquetError::External(Box::new(e)))
        }
        .boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, Result<Arc<ParquetMetaData>, ParquetError>> {
        async move {
            let size = self.size;
            let reader = ParquetMetaDataReader::new()
                .with_arrow_reader_options(options)
                .with_prefetch_hint(Some(FOOTER_BYTES));
            Ok(Arc::new(reader.load_and_finish(self, size).await?))
        }
        .boxed()
    }
}

/// The columns of a table as its files have them, and as they are handed out.
#[derive(Debug)]
pub(crate) struct Columns {
    table: TableName,
    physical: StructType,
    arrow: SchemaRef,
}

impl Columns {
    pub(crate) fn new(table: &TableName, layout: &Layout) -> Self {
        Self { table: table.clone(), physical: physical(&layout.logical), arrow: Arc::clone(&layout.arrow) }
    }

    pub(crate) fn arrow(&self) -> &SchemaRef {
        &self.arrow
    }

    /// Rows of nothing but null.
    pub(crate) fn nulls(&self, places: &[usize], rows: usize) -> Result<RecordBatch, ArrowError> {
        let fields = places.iter().map(|&at| self.arrow.field(at).clone().with_nullable(true));
        let schema = Arc::new(arrow_schema::Schema::new(fields.collect::<Vec<_>>()));
        let columns = schema.fields().iter().map(|f| new_null_array(f.data_type(), rows)).collect();
        RecordBatch::try_new(schema, columns)
    }

    /// Gives the columns at `places` of a batch that a file gave; null where the file is from before the column.
    fn adapt(&self, batch: &RecordBatch, places: &[usize]) -> Result<RecordBatch, ArrowError> {
        let columns = places.iter().map(|&at| {
            let target = self.arrow.field(at);
            match batch.column_by_name(target.name()) {
                Some(column) => convert(column, &self.physical.fields[at].data_type, target.data_type()),
                None => Ok(new_null_array(target.data_type(), batch.num_rows())),
            }
        });
        let columns = columns.collect::<Result<Vec<_>, _>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        RecordBatch::try_new_with_options(Arc::new(self.arrow.project(places)?), columns, &options)
    }
}

/// A data file that is open for reading.
#[derive(Debug, Clone)]
pub(crate) struct DataReader {
    store: Arc<dyn ObjectStore>,
    path: Path,
    size: u64,
    metadata: ArrowReaderMetadata,
    columns: Arc<Columns>,
}

impl DataReader {
    /// Reads the footer. Runs on the lake's runtime.
    pub(crate) async fn open(
        store: Arc<dyn ObjectStore>,
        path: Path,
        size: u64,
        columns: Arc<Columns>,
    ) -> Result<Self, LakeError> {
        Self::open_as(store, path, size, columns, ArrowReaderOptions::new()).await
    }

    /// Reads the footer, and where the pages lie, so that some rows of a row group can be read without the others.
    pub(crate) async fn open_with_pages(
        store: Arc<dyn ObjectStore>,
        path: Path,
        size: u64,
        columns: Arc<Columns>,
    ) -> Result<Self, LakeError> {
        let options = ArrowReaderOptions::new().with_offset_index_policy(PageIndexPolicy::Optional);
        Self::open_as(store, path, size, columns, options).await
    }

    async fn open_as(
        store: Arc<dyn ObjectStore>,
        path: Path,
        size: u64,
        columns: Arc<Columns>,
        options: ArrowReaderOptions,
    ) -> Result<Self, LakeError> {
        let mut reader = ObjectReader { store: Arc::clone(&store), path: path.clone(), size };
        let opened = ArrowReaderMetadata::load_async(&mut reader, options).await;
        let metadata = opened.map_err(|e| parquet_error(&columns.table, &path, e))?;
        Ok(Self { store, path, size, metadata, columns })
    }

    fn failed(&self, error: ParquetError) -> LakeError {
        parquet_error(&self.columns.table, &self.path, error)
    }

    fn wrong(&self, error: ArrowError) -> LakeError {
        damaged(&self.columns.table, format!("{}: {error}", self.path))
    }

    /// Says whether parts of row groups can be read, and every value exactly: timestamps of an old form cannot hold all
    /// that the table's type can.
    pub(crate) fn is_splittable(&self) -> bool {
        let metadata = self.metadata.metadata();
        let chunks = metadata.row_groups().iter().flat_map(|group| group.columns());
        let leaves = metadata.file_metadata().schema_descr().columns();
        chunks.into_iter().all(|chunk| chunk.offset_index_offset().is_some())
            && leaves.iter().all(|leaf| leaf.physical_type() != PhysicalType::INT96)
    }

    /// Reads the columns at `places` of neighbouring rows of a row group.
    pub(crate) async fn range(
        &self,
        group: usize,
        places: &[usize],
        rows: Range<usize>,
    ) -> Result<Vec<RecordBatch>, LakeError> {
        let total = self.group_rows().get(group).copied().unwrap_or(0);
        let count = rows.len();
        let selection = RowSelection::from_consecutive_ranges(std::iter::once(rows), total);
        self.selected(group, places, selection, count).await
    }

    /// Rows of each row group.
    pub(crate) fn group_rows(&self) -> Vec<usize> {
        let groups = self.metadata.metadata().row_groups();
        groups.iter().map(|g| usize::try_from(g.num_rows()).unwrap_or(0)).collect()
    }

    /// Bounds of a column in each row group: least and greatest values, null where not known.
    pub(crate) fn bounds(&self, place: usize) -> Option<(ArrayRef, ArrayRef)> {
        let field = self.columns.arrow.field(place);
        let metadata = self.metadata.metadata();
        let converter = StatisticsConverter::try_new(
            field.name(),
            self.metadata.schema(),
            self.metadata.parquet_schema(),
        );
        let converter = converter.ok()?;
        let of = |bounds: Result<ArrayRef, ParquetError>| {
            convert(&bounds.ok()?, &self.columns.physical.fields[place].data_type, field.data_type()).ok()
        };
        let least = of(converter.row_group_mins(metadata.row_groups()))?;
        let greatest = of(converter.row_group_maxes(metadata.row_groups()))?;
        Some((least, greatest))
    }

    /// Streams the columns at `places` of a row group; the rows that are selected, or all.
    fn stream(
        &self,
        group: usize,
        places: &[usize],
        selection: Option<RowSelection>,
    ) -> Result<ParquetRecordBatchStream<ObjectReader>, LakeError> {
        let reader =
            ObjectReader { store: Arc::clone(&self.store), path: self.path.clone(), size: self.size };
        let parquet = self.metadata.parquet_schema();
        let names: Vec<&str> =
            places.iter().map(|&at| self.columns.arrow.field(at).name().as_str()).collect();
        let roots = parquet.root_schema().get_fields().iter().enumerate();
        let roots = roots.filter(|(_, field)| names.contains(&field.name())).map(|(at, _)| at);
        // The reader makes room for whole batches, also where few rows are selected.
        let selected = selection.as_ref().map_or(BATCH_ROWS, RowSelection::row_count);
        let batch_rows = selected.clamp(1, BATCH_ROWS);
        let mut builder = ParquetRecordBatchStreamBuilder::new_with_metadata(reader, self.metadata.clone())
            .with_projection(ProjectionMask::roots(parquet, roots))
            .with_row_groups(vec![group])
            .with_batch_size(batch_rows);
        if let Some(selection) = selection {
            builder = builder.with_row_selection(selection);
        }
        builder.build().map_err(|e| self.failed(e))
    }

    /// Reads the columns at `places` of a whole row group, batch by batch.
    pub(crate) fn batches<'a>(&'a self, group: usize, places: &'a [usize]) -> Result<Batches<'a>, LakeError> {
        Ok(Batches { reader: self, places, stream: self.stream(group, places, None)? })
    }

    /// Reads the columns at `places` of some rows of a row group. `rows` are places in the row group, ascending.
    pub(crate) async fn rows(
        &self,
        group: usize,
        places: &[usize],
        rows: &[usize],
    ) -> Result<Vec<RecordBatch>, LakeError> {
        let total = self.group_rows().get(group).copied().unwrap_or(0);
        let ranges = rows.iter().map(|&row| row..row + 1);
        let selection = RowSelection::from_consecutive_ranges(ranges, total);
        self.selected(group, places, selection, rows.len()).await
    }

    async fn selected(
        &self,
        group: usize,
        places: &[usize],
        selection: RowSelection,
        wanted: usize,
    ) -> Result<Vec<RecordBatch>, LakeError> {
        let mut stream = self.stream(group, places, Some(selection))?;
        let mut found = Vec::new();
        while let Some(batch) = stream.try_next().await.map_err(|e| self.failed(e))? {
            found.push(self.columns.adapt(&batch, places).map_err(|e| self.wrong(e))?);
        }
        let count: usize = found.iter().map(RecordBatch::num_rows).sum();
        if count != wanted {
            let what = format!("{} gave {count} rows instead of {wanted}", self.path);
            return Err(damaged(&self.columns.table, what));
        }
        Ok(found)
    }
}

/// The rows of a row group.
pub(crate) struct Batches<'a> {
    reader: &'a DataReader,
    places: &'a [usize],
    stream: ParquetRecordBatchStream<ObjectReader>,
}

impl Batches<'_> {
    pub(crate) async fn next(&mut self) -> Result<Option<RecordBatch>, LakeError> {
        let Some(batch) = self.stream.try_next().await.map_err(|e| self.reader.failed(e))? else {
            return Ok(None);
        };
        self.reader.columns.adapt(&batch, self.places).map(Some).map_err(|e| self.reader.wrong(e))
    }
}

/// Turns an error of the Parquet reader into the lake's.
fn parquet_error(table: &TableName, path: &Path, error: ParquetError) -> LakeError {
    match error {
        ParquetError::External(inner) => match inner.downcast::<object_store::Error>() {
            Ok(store) if matches!(*store, object_store::Error::NotFound { .. }) => damaged(table, store),
            Ok(store) => storage_error(format!("reading {path}"), *store),
            Err(other) => damaged(table, other),
        },
        other => damaged(table, format!("{path}: {other}")),
    }
}
