//! Writes the live rows of chosen files into new ones: few instead of many, without dead rows, and in order.
//!
//! Where a table has an order, the files of a group become one sorted sequence of files. Files of ours are made of
//! sorted stretches, which are merged; what is not sorted, is first, into files that go again.

use std::sync::Arc;

use arrow_array::RecordBatch;
use roaring::RoaringTreemap;
use tokio::sync::{OnceCell, mpsc};
use tokio::task::JoinSet;

use crate::LakeError;
use crate::actions::DataFile;
use crate::adapt::{Adapter, conform};
use crate::cdc::read_vectors;
use crate::encode::Layout;
use crate::files::{DataFiles, Limits};
use crate::kernel::{LiveFile, damaged};
use crate::plan::stats_limit;
use crate::store::{run, runtime};
use crate::table::{Table, View};
use crate::upkeep::kernel::FileReader;
use crate::upkeep::merge::{chains, fan_in, merge};
use crate::upkeep::plan::{self, Item, bytes};
use crate::upkeep::source::{Look, Run, Segment, Sorting, Source};

/// Writing does not go with less, whatever it is given.
const LEAST_WRITING_BYTES: usize = 16 * 1024 * 1024;
const LEAST_MERGING_BYTES: usize = 4 * 1024 * 1024;
/// Batches that are read ahead of the writer.
const BATCHES_AHEAD: usize = 2;

/// Which files are rewritten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Which {
    /// All that are small, have dead rows, or lie across others in the order of the table.
    All,
    /// As few as keep the table in good shape, and none before it is worth it.
    Worn,
}

/// Files that are replaced, and what replaces them.
pub(crate) struct Group {
    pub(crate) old: Vec<LiveFile>,
    pub(crate) new: DataFiles,
    /// Merging took so much memory at most, beside what writing took.
    merged: usize,
}

/// A file that is open, and its keys where they were looked at.
struct Opened {
    file: LiveFile,
    source: Arc<Source>,
    look: Look,
    /// Its row groups follow each other in order and no other file lies across it: its keys were not looked at.
    settled: bool,
}

/// Rewrites files of one version of a table.
pub(crate) struct Compactor<'a> {
    table: &'a Table,
    view: &'a View,
    limits: Limits,
    /// With the order of the rows.
    layout: Arc<Layout>,
    /// Without: what comes in order is not sorted again.
    plain: Arc<Layout>,
    sorting: Option<Arc<Sorting>>,
    adapter: Adapter,
    reader: OnceCell<Arc<FileReader>>,
}

impl<'a> Compactor<'a> {
    /// `order` are the columns that rows are sorted by.
    pub(crate) fn new(
        table: &'a Table,
        view: &'a View,
        order: &[String],
        limits: Limits,
    ) -> Result<Self, LakeError> {
        let layout = Layout::new(&view.schema, order, stats_limit(&view.metadata))
            .map_err(|e| damaged(&table.name, e))?;
        let sorting = Sorting::new(table, &layout)?.map(Arc::new);
        let limits = Limits { target_file_bytes: limits.target_file_bytes.max(1), ..limits };
        let mut plain = layout.clone();
        plain.sort.clear();
        let adapter = Adapter::new(
            table.name.clone(),
            view.schema.clone(),
            view.schema.clone(),
            Arc::clone(&layout.arrow),
        );
        Ok(Self {
            table,
            view,
            limits,
            layout: Arc::new(layout),
            plain: Arc::new(plain),
            sorting,
            adapter,
            reader: OnceCell::new(),
        })
    }

    /// Rewrites what is worth it of `files`. What was begun stands in `made`, also where it fails.
    pub(crate) async fn compact(
        &self,
        files: Vec<LiveFile>,
        which: Which,
        made: &mut Vec<Group>,
    ) -> Result<(), LakeError> {
        let target = self.limits.target_file_bytes;
        let Some(sorting) = &self.sorting else {
            let groups = match which {
                Which::All => plan::groups(files, target),
                Which::Worn => plan::worn(files.iter().collect(), target),
            };
            for old in groups {
                let paths = old.iter().map(|f| f.path.clone()).collect();
                let group = self.begin(old, made);
                self.copy(paths, &mut group.new).await?;
                self.finish(made).await?;
            }
            return Ok(());
        };
        let groups = match which {
            Which::All => self.ranges(sorting, files).await?,
            Which::Worn => {
                let mut groups = Vec::new();
                for group in plan::worn(files.iter().collect(), target) {
                    groups.push(self.open(sorting, group, true).await?);
                }
                groups
            }
        };
        for opened in groups {
            let (old, sources): (Vec<_>, Vec<_>) =
                opened.into_iter().map(|o| (o.file, (o.source, o.look))).unzip();
            self.begin(old, made);
            self.merge_files(sorting, sources, made).await?;
            self.finish(made).await?;
        }
        Ok(())
    }

    fn begin<'m>(&self, old: Vec<LiveFile>, made: &'m mut Vec<Group>) -> &'m mut Group {
        let limits = if self.sorting.is_some() { self.writing() } else { self.limits };
        let new = self.files(&self.plain, limits);
        made.push(Group { old, new, merged: 0 });
        let last = made.len() - 1;
        &mut made[last]
    }

    /// Sees to it that the last group holds every row, and drops it where nothing is won.
    async fn finish(&self, made: &mut Vec<Group>) -> Result<(), LakeError> {
        let Some(group) = made.last_mut() else { return Ok(()) };
        group.new.finish().await?;
        group.check_rows(self.table)?;
        let purges = group.old.iter().any(|f| f.deletion_vector.is_some());
        // Files of one group that lie across each other are fewer or in order afterwards; else only the number counts.
        if !purges && self.sorting.is_none() && group.new.done().len() >= group.old.len() {
            group.new.discard().await?;
            made.pop();
        }
        Ok(())
    }

    fn files(&self, layout: &Arc<Layout>, limits: Limits) -> DataFiles {
        DataFiles::new(self.table.clone(), Arc::clone(layout), limits, None)
    }

    /// Groups files by what they hold: those of a group lie across each other, or are small and neighbours.
    async fn ranges(
        &self,
        sorting: &Arc<Sorting>,
        files: Vec<LiveFile>,
    ) -> Result<Vec<Vec<Opened>>, LakeError> {
        let mut opened = self.open(sorting, files, false).await?;
        let touched = plan::touched(
            &opened.iter().map(|o| (o.look.least.as_ref(), o.look.greatest.as_ref())).collect::<Vec<_>>(),
        );
        let mut settled = Vec::new();
        let mut again = Vec::new();
        for (opened, touched) in opened.drain(..).zip(touched) {
            if opened.settled && touched { again.push(opened) } else { settled.push(opened) }
        }
        let mut opened = settled;
        opened.extend(looked(sorting, again).await?);
        let items: Vec<Item> = opened
            .iter()
            .map(|o| Item {
                least: o.look.least.clone(),
                greatest: o.look.greatest.clone(),
                bytes: bytes(&o.file),
                worn: o.file.deletion_vector.is_some() || o.look.unsorted,
            })
            .collect();
        let mut slots: Vec<Option<Opened>> = opened.into_iter().map(Some).collect();
        let groups = plan::ranges(&items, self.limits.target_file_bytes);
        Ok(groups.into_iter().map(|g| g.into_iter().filter_map(|at| slots[at].take()).collect()).collect())
    }

    /// Opens files. The keys are looked at of all of them, or only of those that are not in order as far as their
    /// footers tell.
    async fn open(
        &self,
        sorting: &Arc<Sorting>,
        files: Vec<LiveFile>,
        look_at_all: bool,
    ) -> Result<Vec<Opened>, LakeError> {
        let small = self.limits.target_file_bytes / plan::SMALL_SHARE;
        let dead = read_vectors(self.table, &files.iter().collect::<Vec<_>>()).await?;
        let sorting = Arc::clone(sorting);
        run(async move {
            let mut opened = Vec::with_capacity(files.len());
            for (file, dead) in files.into_iter().zip(dead) {
                let size = bytes(&file);
                let source = Arc::new(Source::open(&sorting, &file.path, size, dead).await?);
                let may_settle = !look_at_all
                    && file.deletion_vector.is_none()
                    && size >= small
                    && !has_nulls(&file, &sorting);
                let ordered = if may_settle { source.ordered_groups(&sorting) } else { None };
                let settled = ordered.is_some();
                let look = match ordered {
                    Some((least, greatest)) => Look { least, greatest, ..Look::default() },
                    None => source.look(&sorting, false).await?,
                };
                opened.push(Opened { file, source, look, settled });
            }
            Ok(opened)
        })
        .await?
    }

    /// Merges files into the last group.
    async fn merge_files(
        &self,
        sorting: &Arc<Sorting>,
        sources: Vec<(Arc<Source>, Look)>,
        made: &mut [Group],
    ) -> Result<(), LakeError> {
        let Some(group) = made.last_mut() else { return Ok(()) };
        let mut helpers = Vec::new();
        let merged = self.merge_with(sorting, sources, group, &mut helpers).await;
        // They were of use to nobody else, however it ended.
        for mut files in helpers {
            if let Err(error) = files.discard().await {
                tracing::warn!(table = %self.table.name, error = &error as &dyn std::error::Error, "files left for vacuum");
            }
        }
        merged
    }

    async fn merge_with(
        &self,
        sorting: &Arc<Sorting>,
        sources: Vec<(Arc<Source>, Look)>,
        group: &mut Group,
        helpers: &mut Vec<DataFiles>,
    ) -> Result<(), LakeError> {
        let mut runs: Vec<(Run, Arc<Source>)> = Vec::new();
        let mut unsorted = Vec::new();
        for ((source, look), file) in sources.into_iter().zip(&group.old) {
            if look.runs.is_empty() {
                unsorted.push(file.path.clone());
            }
            runs.extend(look.runs.into_iter().map(|run| (run, Arc::clone(&source))));
        }
        if !unsorted.is_empty() {
            helpers.push(self.files(&self.layout, self.limits));
            if let Some(files) = helpers.last_mut() {
                self.copy(unsorted, files).await?;
                files.finish().await?;
                let (sorting, done) = (Arc::clone(sorting), files.done().to_vec());
                runs.extend(
                    run(async move {
                        let mut runs = Vec::new();
                        for file in &done {
                            let source = reopened(&sorting, file).await?;
                            let look = source.look(&sorting, true).await?;
                            runs.extend(look.runs.into_iter().map(|run| (run, Arc::clone(&source))));
                        }
                        Ok::<_, LakeError>(runs)
                    })
                    .await??,
                );
            }
        }
        let most = fan_in(self.merging_bytes());
        let mut sequences = chains(runs);
        while sequences.len() > most {
            let mut next = Vec::new();
            let mut rest = sequences.into_iter();
            loop {
                let part: Vec<_> = rest.by_ref().take(most).collect();
                if part.is_empty() {
                    break;
                }
                helpers.push(self.files(&self.plain, self.writing()));
                if let Some(files) = helpers.last_mut() {
                    self.merge_sequences(sorting, part, files, &mut group.merged).await?;
                    files.finish().await?;
                    next.push(self.sequence(sorting, files.done()).await?);
                }
            }
            sequences = next;
        }
        self.merge_sequences(sorting, sequences, &mut group.new, &mut group.merged).await
    }

    /// Memory for reading in order; the rest is for writing.
    fn merging_bytes(&self) -> usize {
        let all = self.limits.memory_bytes;
        all.saturating_sub(LEAST_WRITING_BYTES).min(all / 2).max(LEAST_MERGING_BYTES)
    }

    fn writing(&self) -> Limits {
        Limits { memory_bytes: self.limits.memory_bytes / 2, ..self.limits }
    }

    /// The rows of files that were written one after the other, in order.
    async fn sequence(&self, sorting: &Arc<Sorting>, files: &[DataFile]) -> Result<Vec<Segment>, LakeError> {
        let (sorting, files) = (Arc::clone(sorting), files.to_vec());
        run(async move {
            let mut segments = Vec::new();
            for file in &files {
                segments.extend(reopened(&sorting, file).await?.whole());
            }
            Ok(segments)
        })
        .await?
    }

    async fn merge_sequences(
        &self,
        sorting: &Arc<Sorting>,
        sequences: Vec<Vec<Segment>>,
        into: &mut DataFiles,
        most: &mut usize,
    ) -> Result<(), LakeError> {
        let (sender, mut batches) = mpsc::channel::<RecordBatch>(BATCHES_AHEAD);
        let mut reading = JoinSet::new();
        reading.spawn_on(merge(Arc::clone(sorting), sequences, self.merging_bytes(), sender), runtime()?);
        while let Some(batch) = batches.recv().await {
            into.write(batch).await?;
        }
        // The channel also ends where the reader fails: that must not pass for the end of the rows.
        match reading.join_next().await {
            Some(Ok(held)) => *most = held?.max(*most),
            Some(Err(lost)) => return Err(LakeError::TaskLost { source: Box::new(lost) }),
            None => {}
        }
        Ok(())
    }

    /// Copies the live rows of files, one file after the other.
    async fn copy(&self, paths: Vec<String>, into: &mut DataFiles) -> Result<(), LakeError> {
        let reader = self.reader.get_or_try_init(|| async {
            let (table, snapshot) = (self.table.clone(), Arc::clone(&self.view.snapshot));
            let open = move || FileReader::open(Arc::clone(&table.core.engine), table.name, &snapshot);
            crate::store::blocking(open).await?.map(Arc::new)
        });
        let reader = reader.await?;
        let (sender, mut batches) = mpsc::channel::<Result<RecordBatch, LakeError>>(BATCHES_AHEAD);
        let from = Arc::clone(reader);
        let mut reading = JoinSet::new();
        reading.spawn_blocking_on(
            move || {
                for path in paths {
                    let read = from.read(&path, &mut |batch| sender.blocking_send(Ok(batch)).is_ok());
                    match read {
                        Ok(true) => {}
                        Ok(false) => return,
                        Err(error) => {
                            // Where nobody listens any more, the writer has failed and says why itself.
                            let _gone = sender.blocking_send(Err(error)).is_err();
                            return;
                        }
                    }
                }
            },
            runtime()?,
        );
        while let Some(batch) = batches.recv().await {
            let batch = batch?;
            if batch.num_rows() > 0 {
                let batch = conform(&batch, &self.view.schema).map_err(|e| damaged(reader.table(), e))?;
                into.write(self.adapter.adapt(&batch)?).await?;
            }
        }
        // The channel also ends when the reader dies: that must not pass for the end of the rows.
        if let Some(Err(lost)) = reading.join_next().await {
            return Err(LakeError::TaskLost { source: Box::new(lost) });
        }
        Ok(())
    }
}

impl Group {
    /// Counts once more: a compaction that loses rows must never be committed.
    fn check_rows(&self, table: &Table) -> Result<(), LakeError> {
        let Some(expected) = self.old.iter().map(LiveFile::rows).sum::<Option<u64>>() else {
            return Ok(());
        };
        let written: u64 = self.new.done().iter().map(|f| f.rows).sum();
        if written != expected {
            return Err(damaged(
                &table.name,
                format!("the log counts {expected} rows in files that hold {written}"),
            ));
        }
        Ok(())
    }
}

/// Looks at the keys of files that were taken as they are before.
async fn looked(sorting: &Arc<Sorting>, files: Vec<Opened>) -> Result<Vec<Opened>, LakeError> {
    let sorting = Arc::clone(sorting);
    run(async move {
        let mut looked = Vec::with_capacity(files.len());
        for opened in files {
            let look = opened.source.look(&sorting, false).await?;
            looked.push(Opened { look, settled: false, ..opened });
        }
        Ok(looked)
    })
    .await?
}

async fn reopened(sorting: &Sorting, file: &DataFile) -> Result<Arc<Source>, LakeError> {
    let source = Source::open(sorting, &file.path, file.size, RoaringTreemap::new()).await?;
    Ok(Arc::new(source))
}

/// Says whether the first sort column may be null in a file: bounds do not tell of nulls.
fn has_nulls(file: &LiveFile, sorting: &Sorting) -> bool {
    let stats: serde_json::Value =
        file.stats.as_deref().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    let nulls = sorting.first_column().map(|name| &stats["nullCount"][name]);
    nulls.and_then(serde_json::Value::as_u64) != Some(0)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::cast::AsArray;
    use arrow_array::types::Int64Type;
    use arrow_array::{Int64Array, RecordBatch, StringArray};
    use futures::TryStreamExt;
    use headwater_connect::{DataType, StructField, StructType};

    use super::{Compactor, Which};
    use crate::files::Limits;
    use crate::lake::DeltaLake;
    use crate::{Lake, LakeOptions, ReadSpec, TableName, WriteMode, WriterSpec};

    const MEMORY: usize = 32 * 1024 * 1024;
    const FILES: i64 = 40;
    const FILE_ROWS: usize = 10_000;

    fn schema() -> StructType {
        StructType::new([
            StructField::nullable("id", DataType::Long),
            StructField::nullable("text", DataType::String),
        ])
    }

    /// More sorted files that lie across each other than can be merged at once, and more rows than fit into memory.
    #[tokio::test]
    async fn merging_stays_within_the_memory_given() {
        let dir = tempfile::tempdir().unwrap();
        let options = LakeOptions { auto_optimize: false, ..LakeOptions::default() };
        let lake = DeltaLake::open(dir.path().to_str().unwrap(), options).unwrap();
        let name = TableName::new("c", "s", "t").unwrap();
        let spec = WriterSpec {
            table: name.clone(),
            flow: "flow".into(),
            schema: schema(),
            mode: WriteMode::Append,
            cluster_by: vec!["id".into()],
            full_refresh: false,
            memory_bytes: MEMORY,
            target_file_bytes: 8 * 1024 * 1024,
            type_widening: false,
        };
        let mut writer = lake.writer(spec).await.unwrap();
        for file in 0..FILES {
            let noise = || (0..100).map(|_| fastrand::alphanumeric()).collect::<String>();
            let texts: StringArray = (0..FILE_ROWS).map(|_| Some(noise())).collect();
            let ids: Int64Array = (0_i64..).take(FILE_ROWS).map(|row| row * FILES + file).collect();
            let batch = RecordBatch::try_new(schema().to_arrow(), vec![Arc::new(ids), Arc::new(texts)]);
            writer.write(batch.unwrap()).await.unwrap();
            let _outcome = writer.commit(None).await.unwrap();
        }
        let table = lake.at(&name).unwrap();
        let view = table.existing().await.unwrap();
        let limits = Limits { memory_bytes: MEMORY, target_file_bytes: 8 * 1024 * 1024 };
        let compactor = Compactor::new(&table, &view, &view.cluster_by, limits).unwrap();
        let mut made = Vec::new();
        let files = table.live_files(&view).await.unwrap();
        compactor.compact(files, Which::All, &mut made).await.unwrap();
        let [group] = made.as_mut_slice() else { panic!("{} groups", made.len()) };
        assert_eq!(group.old.len(), 40);
        assert!(group.new.done().len() > 2);
        let most = group.merged + group.new.most_memory();
        assert!(most > 4 * 1024 * 1024, "{most}");
        assert!(most <= MEMORY, "{most}");
        // What helped on the way is gone.
        let data = std::fs::read_dir(dir.path().join("c/s/t")).unwrap().count();
        assert_eq!(data, 40 + group.new.done().len() + 1);
        group.new.discard().await.unwrap();

        let options = LakeOptions { optimize_memory_bytes: MEMORY, ..LakeOptions::default() };
        let lake = DeltaLake::open(dir.path().to_str().unwrap(), options).unwrap();
        lake.optimize(&name, 8 * 1024 * 1024).await.unwrap();
        let batches: Vec<RecordBatch> =
            lake.read(&name, ReadSpec::default()).await.unwrap().try_collect().await.unwrap();
        let ids = batches.iter().flat_map(|b| b.column(0).as_primitive::<Int64Type>().values().to_vec());
        let mut ids: Vec<i64> = ids.collect();
        ids.sort_unstable();
        assert!(ids.iter().copied().eq(0..FILES * 10_000));
    }
}
