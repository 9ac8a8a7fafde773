//! Snapshots: all rows there are, compared with the table by key.

use std::sync::Arc;

use arrow_array::types::TimestampMicrosecondType;
use arrow_array::{Array, ArrayRef, BooleanArray, PrimitiveArray, RecordBatch, UInt32Array};
use arrow_select::filter::filter_record_batch;
use arrow_select::take::take_record_batch;
use headwater_cdc::RowCodec;
use headwater_cdc::snapshot::{Salt, SnapshotDiff, SnapshotIndex, Verdict};
use tokio::sync::mpsc;

use crate::LakeError;
use crate::cdc::apply::Apply;
use crate::cdc::arrays::{columns, gather, with_column};
use crate::cdc::fileset::RowId;

/// Rows that are read and written anew at a time when records end.
const END_ROWS: usize = 50_000;

/// A snapshot that is being compared.
#[derive(Debug)]
pub(crate) struct Comparison {
    diff: SnapshotDiff,
    keys: RowCodec,
    values: RowCodec,
    /// Stored rows that are replaced.
    killed: Vec<RowId>,
}

fn position(id: RowId) -> u64 {
    u64::from(id.file) << 32 | u64::from(id.row)
}

fn row_id(position: u64) -> RowId {
    let part = |value: u64| u32::try_from(value & u64::from(u32::MAX)).unwrap_or(u32::MAX);
    RowId { file: part(position >> 32), row: part(position) }
}

impl Apply<'_> {
    /// Reads the table for the comparison: its current rows, or with a history those that have not ended.
    pub(crate) async fn compare(&mut self) -> Result<Comparison, LakeError> {
        let keys = RowCodec::new(&self.types(&self.config.keys)).map_err(|e| self.wrong(e))?;
        let values = RowCodec::new(&self.types(&self.config.own)).map_err(|e| self.wrong(e))?;
        let entries = &self.target.set.entries;
        let rows: Option<u64> =
            entries.iter().filter(|e| !e.gone).map(crate::cdc::fileset::Entry::rows).sum();
        let room = usize::try_from(rows.unwrap_or(0)).unwrap_or(0);
        let mut index = SnapshotIndex::with_capacity(Salt::random(), room);
        let places: Vec<usize> = (0..self.target.layout.arrow.fields().len()).collect();
        for file in 0..self.target.set.entries.len() {
            if self.target.set.entries[file].gone {
                continue;
            }
            let (sender, mut batches) = mpsc::channel(2);
            let mut reading = self.target.set.live_rows(file, places.clone(), sender).await?;
            let number = u32::try_from(file).map_err(|e| self.wrong(e))?;
            while let Some((rows, batch)) = batches.recv().await {
                let (rows, batch) = self.open_rows(rows, batch)?;
                let encode = |codec: &RowCodec, places: &[usize]| {
                    codec.encode(&columns(&batch, places)).map_err(|e| self.wrong(e))
                };
                let (keys, values) = (encode(&keys, &self.config.keys)?, encode(&values, &self.config.own)?);
                let positions: Vec<u64> =
                    rows.into_iter().map(|row| position(RowId { file: number, row })).collect();
                index.push_stored(&keys, &values, &positions).map_err(|e| self.wrong(e))?;
            }
            match reading.join_next().await {
                Some(Ok(read)) => read?,
                Some(Err(lost)) => return Err(LakeError::TaskLost { source: Box::new(lost) }),
                None => {}
            }
        }
        let diff = match index.seal() {
            Ok(diff) => diff,
            Err(headwater_cdc::CdcError::DuplicateStoredKey { first, .. }) => {
                return Err(self.duplicate(row_id(first)).await);
            }
            Err(other) => return Err(self.wrong(other)),
        };
        Ok(Comparison { diff, keys, values, killed: Vec::new() })
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
    pub(crate) async fn compare_rows(
        &mut self,
        comparison: &mut Comparison,
        batch: &RecordBatch,
        version: i64,
    ) -> Result<(), LakeError> {
        let encode = |codec: &RowCodec, places: &[usize]| {
            codec.encode(&columns(batch, places)).map_err(|e| self.wrong(e))
        };
        let keys = encode(&comparison.keys, &self.config.keys)?;
        let values = encode(&comparison.values, &self.config.own)?;
        let verdicts = comparison.diff.compare(&keys, &values).map_err(|e| self.wrong(e))?;
        let (mut new, mut changed, mut old) = (Vec::new(), Vec::new(), Vec::new());
        for (row, verdict) in (0_u32..).zip(verdicts) {
            match verdict {
                Verdict::Same => {}
                Verdict::New => new.push(row),
                Verdict::Changed { position } => {
                    changed.push(row);
                    old.push(row_id(position));
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
        if let Some(span) = self.config.span {
            let (new, changed) = (take(new)?, take(changed)?);
            let start = self.versions(version, new.num_rows());
            let new = with_column(&new, span.0, start).map_err(|e| self.wrong(e))?;
            self.write(new).await?;
            self.replace_records(span, &changed, &old, version).await?;
        } else {
            new.extend(changed);
            new.sort_unstable();
            let rows = take(new)?;
            self.write(rows).await?;
        }
        comparison.killed.extend(old);
        Ok(())
    }

    /// Ends the comparison: what did not come is gone.
    pub(crate) async fn end_comparison(
        &mut self,
        comparison: Comparison,
        version: i64,
    ) -> Result<(), LakeError> {
        let gone: Vec<RowId> = comparison.diff.gone().into_iter().map(row_id).collect();
        self.counts.deleted += gone.len() as u64;
        if let Some(span) = self.config.span {
            for part in gone.chunks(END_ROWS) {
                let rows = self.target.set.fetch(part).await?;
                let end = self.versions(version, rows.num_rows());
                let rows = with_column(&rows, span.1, end).map_err(|e| self.wrong(e))?;
                self.write(rows).await?;
            }
        }
        self.target.set.kill(&comparison.killed);
        self.target.set.kill(&gone);
        Ok(())
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
