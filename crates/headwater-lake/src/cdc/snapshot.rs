//! Snapshots: all rows there are, compared with the table by key.

use std::sync::Arc;
use std::thread;

use arrow_array::types::TimestampMicrosecondType;
use arrow_array::{Array, ArrayRef, BooleanArray, PrimitiveArray, RecordBatch, UInt32Array};
use arrow_select::concat::concat_batches;
use arrow_select::filter::filter_record_batch;
use arrow_select::take::take_record_batch;
use headwater_cdc::snapshot::{Matches, Salt, Verdict};
use headwater_cdc::{CdcError, Printer};
use roaring::RoaringTreemap;
use tokio::sync::mpsc;

use crate::LakeError;
use crate::adapt::batch_bytes;
use crate::cdc::apply::Apply;
use crate::cdc::arrays::{columns, gather, with_column};
use crate::cdc::config::Config;
use crate::cdc::fileset::{Entry, RowId};
use crate::cdc::spill::{Means, Pass, Printed, SpillError};

/// Rows of a history that end, or get other values, at the same time; fewer where they are wide.
const END_ROWS: usize = 50_000;
/// Rows that are read to see how wide they are.
const FIRST_END_ROWS: usize = 1_000;
/// Batches of a snapshot that are looked up together.
const TOGETHER: usize = 16;
/// Tasks that read a file for the comparison.
const READERS: usize = 2;
/// Rows that are marked dead at a time.
const KILL_ROWS: usize = 100_000;

/// How far a snapshot has come.
#[derive(Debug, Default)]
pub(crate) enum Stage {
    /// No row came yet.
    #[default]
    Before,
    /// It is being compared.
    Within(Box<Comparison>),
    /// It is compared, and waits for the commit.
    Ended,
    /// It is being worked on, or that failed or was given up: rows are missing.
    Lost,
}

impl Stage {
    /// Takes the stage out. Who does not put back another leaves a comparison that is lost.
    pub(crate) fn take(&mut self) -> Self {
        std::mem::replace(self, Self::Lost)
    }
}

/// A snapshot that is being compared.
#[derive(Debug)]
pub(crate) struct Comparison {
    pass: Pass,
    print: Print,
    /// Stored rows that are replaced.
    killed: RoaringTreemap,
    /// Rows of a history that changed, with the places of what they replace.
    changed: Vec<RecordBatch>,
    changed_bytes: usize,
    old: Vec<RowId>,
}

/// Makes fingerprints.
#[derive(Debug)]
struct Print {
    keys: Printer,
    values: Printer,
}

fn position(id: RowId) -> u64 {
    u64::from(id.file) << 32 | u64::from(id.row)
}

fn row_id(position: u64) -> RowId {
    let part = |value: u64| u32::try_from(value & u64::from(u32::MAX)).unwrap_or(u32::MAX);
    RowId { file: part(position >> 32), row: part(position) }
}

impl Print {
    fn of(&self, config: &Config, rows: RecordBatch) -> Result<Printed, CdcError> {
        let of =
            |printer: &Printer, places: &[usize]| printer.print(&columns(&rows, places), rows.num_rows());
        let (keys, values) = (of(&self.keys, &config.keys)?, of(&self.values, &config.own)?);
        Ok(Printed { rows, keys, values })
    }
}

impl Comparison {
    /// Makes the fingerprints of rows of the snapshot, and looks them up where the stored ones are in memory: on two
    /// threads, since this is where the time goes.
    fn look_up(
        &self,
        config: &Config,
        batches: &[RecordBatch],
    ) -> Result<Vec<(Printed, Option<Matches>)>, CdcError> {
        let each = |batches: &[RecordBatch]| -> Result<Vec<_>, CdcError> {
            let each = batches.iter().map(|rows| {
                let printed = self.print.of(config, rows.clone())?;
                let found = self.pass.in_memory().map(|diff| diff.find(&printed.keys, &printed.values));
                Ok((printed, found))
            });
            each.collect()
        };
        if batches.len() < 2 {
            return each(batches);
        }
        let (first, second) = batches.split_at(batches.len() / 2);
        let (first, second) = thread::scope(|scope| {
            let other = scope.spawn(|| each(second));
            let first = each(first);
            (first, other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        });
        let mut all = first?;
        all.append(&mut second?);
        Ok(all)
    }
}

impl Apply<'_> {
    /// Reads the table for the comparison: its current rows, or with a history those that have not ended.
    async fn compare(&mut self) -> Result<Comparison, LakeError> {
        let salt = Salt::random();
        let printer = |places: &[usize]| Printer::new(&self.types(places), salt).map_err(|e| self.wrong(e));
        let print = Print { keys: printer(&self.config.keys)?, values: printer(&self.config.own)? };
        let table = &self.target.set.table;
        let means = Means {
            table: table.name.clone(),
            memory_bytes: self.comparison_bytes,
            folder: table.core.temp_folder.clone(),
        };
        let entries = self.target.set.entries.iter().filter(|e| !e.gone);
        let mut pass = Pass::new(Arc::new(means), entries.map(Entry::rows).sum());
        let places: Vec<usize> = (0..self.target.layout.arrow.fields().len()).collect();
        for file in 0..self.target.set.entries.len() {
            if self.target.set.entries[file].gone {
                continue;
            }
            let (sender, mut batches) = mpsc::channel(2);
            let mut reading = self.target.set.live_rows(file, &places, READERS, sender).await?;
            let number = u32::try_from(file).map_err(|e| self.wrong(e))?;
            while let Some((rows, batch)) = batches.recv().await {
                let (rows, batch) = self.open_rows(rows, batch)?;
                let printed = print.of(self.config, batch).map_err(|e| self.wrong(e))?;
                let positions: Vec<u64> =
                    rows.into_iter().map(|row| position(RowId { file: number, row })).collect();
                if let Err(error) = pass.push_stored(&printed.keys, &printed.values, &positions).await {
                    return Err(self.failed(error).await);
                }
            }
            while let Some(ended) = reading.join_next().await {
                ended.map_err(|lost| LakeError::TaskLost { source: Box::new(lost) })??;
            }
        }
        if let Err(error) = pass.end_stored().await {
            return Err(self.failed(error).await);
        }
        Ok(Comparison {
            pass,
            print,
            killed: RoaringTreemap::new(),
            changed: Vec::new(),
            changed_bytes: 0,
            old: Vec::new(),
        })
    }

    /// The comparison that a stage is at.
    async fn comparison(&mut self, stage: Stage) -> Result<Box<Comparison>, LakeError> {
        match stage {
            Stage::Before => Ok(Box::new(self.compare().await?)),
            Stage::Within(comparison) => Ok(comparison),
            Stage::Ended | Stage::Lost => Err(LakeError::Storage {
                doing: format!("comparing a snapshot with {}", self.target.set.table.name),
                source: "an earlier write or commit of it failed; discard it first".into(),
                retryable: false,
                in_doubt: false,
            }),
        }
    }

    async fn failed(&self, error: SpillError) -> LakeError {
        match error {
            SpillError::Rules(CdcError::DuplicateStoredKey { first, .. }) => {
                self.duplicate(row_id(first)).await
            }
            SpillError::Rules(other) => self.wrong(other),
            SpillError::Lake(error) => error,
        }
    }

    /// Leaves out the records of a history that have ended.
    fn open_rows(&self, rows: Vec<u32>, batch: RecordBatch) -> Result<(Vec<u32>, RecordBatch), LakeError> {
        let Some((_, end)) = self.config.span else { return Ok((rows, batch)) };
        let ends = batch.column(end);
        if ends.null_count() == ends.len() {
            return Ok((rows, batch));
        }
        let open: BooleanArray = (0..ends.len()).map(|row| Some(ends.is_null(row))).collect();
        let batch = filter_record_batch(&batch, &open).map_err(|e| self.wrong(e))?;
        let rows = rows.into_iter().enumerate().filter(|(at, _)| open.value(*at)).map(|(_, row)| row);
        Ok((rows.collect(), batch))
    }

    /// Compares rows of the snapshot with the table and writes those that differ.
    pub(crate) async fn compare_batches(
        &mut self,
        stage: Stage,
        batches: &[RecordBatch],
        version: i64,
    ) -> Result<Stage, LakeError> {
        let mut comparison = self.comparison(stage).await?;
        for batches in batches.chunks(TOGETHER) {
            for (printed, found) in comparison.look_up(self.config, batches).map_err(|e| self.wrong(e))? {
                let verdicts = match comparison.pass.compare(&printed, found).await {
                    Ok(verdicts) => verdicts,
                    Err(error) => return Err(self.failed(error).await),
                };
                self.follow(&mut comparison, &printed.rows, verdicts, version).await?;
            }
        }
        Ok(Stage::Within(comparison))
    }

    /// Does what the verdicts on the first rows of a batch ask for.
    async fn follow(
        &mut self,
        comparison: &mut Comparison,
        batch: &RecordBatch,
        verdicts: Vec<Verdict>,
        version: i64,
    ) -> Result<(), LakeError> {
        let (mut new, mut changed) = (Vec::new(), Vec::new());
        for (row, verdict) in (0_u32..).zip(verdicts) {
            match verdict {
                Verdict::Same => {}
                Verdict::New => new.push(row),
                Verdict::Changed { position } => {
                    changed.push(row);
                    comparison.killed.insert(position);
                    if self.config.span.is_some() {
                        comparison.old.push(row_id(position));
                    }
                }
                Verdict::Duplicate => {
                    return Err(LakeError::DuplicateKey {
                        table: self.target.set.table.name.clone(),
                        holder: "the snapshot for",
                        key: self.shown_key(batch, row as usize),
                    });
                }
            }
        }
        self.counts.inserted += new.len() as u64;
        self.counts.updated += changed.len() as u64;
        let take =
            |rows: Vec<u32>| take_record_batch(batch, &UInt32Array::from(rows)).map_err(|e| self.wrong(e));
        let Some(span) = self.config.span else {
            new.extend(changed);
            new.sort_unstable();
            let rows = take(new)?;
            return self.write(rows).await;
        };
        let (new, changed) = (take(new)?, take(changed)?);
        let start = self.versions(version, new.num_rows());
        let new = with_column(&new, span.0, start).map_err(|e| self.wrong(e))?;
        self.write(new).await?;
        if changed.num_rows() > 0 {
            comparison.changed_bytes += batch_bytes(&changed);
            comparison.changed.push(changed);
        }
        if comparison.changed_bytes >= self.some_bytes() || comparison.old.len() >= END_ROWS {
            self.replace(comparison, version).await?;
        }
        Ok(())
    }

    /// What rows that are read to be written anew may take of memory.
    fn some_bytes(&self) -> usize {
        self.comparison_bytes / 4
    }

    /// Writes the rows of a history that changed.
    async fn replace(&mut self, comparison: &mut Comparison, version: i64) -> Result<(), LakeError> {
        let Some(span) = self.config.span else { return Ok(()) };
        let (batches, old) = (std::mem::take(&mut comparison.changed), std::mem::take(&mut comparison.old));
        comparison.changed_bytes = 0;
        let changed = concat_batches(&self.target.layout.arrow, &batches).map_err(|e| self.wrong(e))?;
        drop(batches);
        self.replace_records(span, &changed, &old, version).await
    }

    /// Ends the comparison: what did not come is gone.
    pub(crate) async fn end_comparison(&mut self, stage: Stage, version: i64) -> Result<(), LakeError> {
        if matches!(stage, Stage::Ended) {
            return Ok(());
        }
        let mut comparison = self.comparison(stage).await?;
        let gone = match self.end_passes(&mut comparison, version).await {
            Ok(gone) => gone,
            Err(error) => return Err(self.failed(error).await),
        };
        self.replace(&mut comparison, version).await?;
        self.counts.deleted += gone.len();
        if let Some(span) = self.config.span {
            let (mut positions, mut most) = (gone.iter().map(row_id).peekable(), FIRST_END_ROWS);
            while positions.peek().is_some() {
                let part: Vec<RowId> = positions.by_ref().take(most).collect();
                let rows = self.target.set.fetch(&part).await?;
                let row_bytes = batch_bytes(&rows) / rows.num_rows().max(1);
                most = (self.some_bytes() / row_bytes.max(1)).clamp(1, END_ROWS);
                let end = self.versions(version, rows.num_rows());
                let rows = with_column(&rows, span.1, end).map_err(|e| self.wrong(e))?;
                self.write(rows).await?;
            }
        }
        for positions in [comparison.killed, gone] {
            let mut rows = positions.into_iter().map(row_id).peekable();
            while rows.peek().is_some() {
                let part: Vec<RowId> = rows.by_ref().take(KILL_ROWS).collect();
                self.target.set.kill(&part);
            }
        }
        Ok(())
    }

    /// Compares what did not fit into memory, part by part. Gives the positions of all stored rows that did not come.
    async fn end_passes(
        &mut self,
        comparison: &mut Comparison,
        version: i64,
    ) -> Result<RoaringTreemap, SpillError> {
        let mut gone = RoaringTreemap::new();
        let mut waiting = comparison.pass.end(|positions| gone.extend(positions)).await?;
        let schema = Arc::clone(&self.target.layout.arrow);
        while let Some(mut part) = waiting.pop() {
            let mut pass = part.begin().await?;
            while let Some(printed) = part.next_rows(&schema).await? {
                let verdicts = pass.compare(&printed, None).await?;
                self.follow(comparison, &printed.rows, verdicts, version).await?;
            }
            waiting.extend(pass.end(|positions| gone.extend(positions)).await?);
        }
        Ok(gone)
    }

    /// Writes what becomes of records whose row changed: an end and a new record, or new values in place where no
    /// tracked column changed.
    async fn replace_records(
        &mut self,
        span: (usize, usize),
        changed: &RecordBatch,
        old: &[RowId],
        version: i64,
    ) -> Result<(), LakeError> {
        if old.is_empty() {
            return Ok(());
        }
        let stored = self.target.set.fetch(old).await?;
        let before = self.tracked(std::slice::from_ref(&stored))?;
        let after = self.tracked(std::slice::from_ref(changed))?;
        let same: Vec<bool> =
            (0..changed.num_rows()).map(|row| before.row(row).data() == after.row(row).data()).collect();
        let versions = self.versions(version, 1);
        let starts: Vec<(usize, usize)> =
            same.iter().enumerate().map(|(row, same)| if *same { (0, row) } else { (1, 0) }).collect();
        let starts =
            gather(&[Arc::clone(stored.column(span.0)), versions], &starts).map_err(|e| self.wrong(e))?;
        let rows = with_column(changed, span.0, starts).map_err(|e| self.wrong(e))?;
        self.write(rows).await?;

        let ended: BooleanArray = same.iter().map(|same| Some(!same)).collect();
        let ended = filter_record_batch(&stored, &ended).map_err(|e| self.wrong(e))?;
        let end = self.versions(version, ended.num_rows());
        let ended = with_column(&ended, span.1, end).map_err(|e| self.wrong(e))?;
        self.write(ended).await
    }

    fn versions(&self, version: i64, rows: usize) -> ArrayRef {
        Arc::new(PrimitiveArray::<TimestampMicrosecondType>::from_value(version, rows).with_timezone("UTC"))
    }

    async fn write(&mut self, rows: RecordBatch) -> Result<(), LakeError> {
        if rows.num_rows() == 0 {
            return Ok(());
        }
        self.target.files.write(rows).await
    }
}
