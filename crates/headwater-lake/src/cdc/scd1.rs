//! SCD type 1: the current row of each key.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::TimestampMicrosecondType;
use arrow_array::{Array, ArrayRef, RecordBatch, new_null_array};
use arrow_select::interleave::interleave_record_batch;
use headwater_cdc::scd1::{Event, HiddenAction, State, TargetAction, decide, last_events};
use headwater_cdc::{KeyIndex, RowCodec};

use crate::LakeError;
use crate::cdc::apply::Apply;
use crate::cdc::arrays::{Numbers, columns, gather, with_column};
use crate::cdc::fileset::{Found, Later, Probe, RowId};

impl Apply<'_> {
    /// Applies rows that are new or changed, or with `delete` those that are gone.
    pub(crate) async fn current(&mut self, batches: &[RecordBatch], delete: bool) -> Result<(), LakeError> {
        let keys: Vec<Vec<ArrayRef>> = batches.iter().map(|b| columns(b, &self.config.keys)).collect();
        let (index, group) = KeyIndex::build(&keys).map_err(|e| self.wrong(e))?;
        let (index, groups) = (Arc::new(index), group.iter().max().map_or(0, |&g| g as usize + 1));
        let at = self.sequences(batches)?;
        let last = last_events(&group, groups, &[&at]).map_err(|e| self.wrong(e))?;

        let tombstones = self.tombstones(&index, groups).await?;
        let stored = self.find_current(&index, &at, &last).await?;

        let event = if delete { Event::Delete } else { Event::Upsert };
        let mut todo = Todo::default();
        for (group, &row) in last.iter().enumerate() {
            let sequence = at.row(row as usize).data();
            let (old, remembered) = (stored.of(group), tombstones.of(group));
            let upsert = old.map(|number| stored.at.row(number).data());
            let tombstone = remembered.map(|number| tombstones.at.row(number).data());
            let decision = decide(event, &sequence, &State { upsert, tombstone });
            match (decision.target, old) {
                (TargetAction::Insert, _) => todo.written.push((row, None)),
                (TargetAction::Replace, Some(old)) => {
                    if upsert == Some(sequence) {
                        todo.perhaps_same.push(todo.written.len());
                    }
                    todo.written.push((row, Some(old)));
                }
                (TargetAction::Remove, Some(old)) => todo.removed.push(stored.found.rows[old]),
                _ => {}
            }
            match decision.hidden {
                HiddenAction::Keep => {}
                // What the delete would hold off later, the newer row holds off as well. Left out, the same changes
                // applied again find nothing to change.
                HiddenAction::Put if upsert.is_some() && decision.target == TargetAction::Keep => {}
                HiddenAction::Put => {
                    todo.remembered.push(row);
                    todo.forgotten.extend(remembered.map(|number| tombstones.found.rows[number]));
                }
                HiddenAction::Remove => {
                    todo.forgotten.extend(remembered.map(|number| tombstones.found.rows[number]));
                }
            }
        }
        self.carry_out(batches, todo, &stored).await
    }

    async fn carry_out(
        &mut self,
        batches: &[RecordBatch],
        mut todo: Todo,
        stored: &Stored,
    ) -> Result<(), LakeError> {
        let numbers = Numbers::new(batches);
        let refs: Vec<&RecordBatch> = batches.iter().collect();
        let take = |rows: &mut dyn Iterator<Item = u32>| {
            let places: Vec<(usize, usize)> = rows.map(|row| numbers.of(row as usize)).collect();
            interleave_record_batch(&refs, &places)
        };
        if !todo.written.is_empty() {
            let mut rows = take(&mut todo.written.iter().map(|w| w.0)).map_err(|e| self.wrong(e))?;
            rows = self.keep_dropped(rows, &todo, stored).await?;
            let same = self.unchanged(&rows, &todo, stored).await?;
            let kept: Vec<u32> =
                (0_u32..).zip(&same).filter(|(_, same)| !**same).map(|(row, _)| row).collect();
            if kept.len() < same.len() {
                let places = arrow_array::UInt32Array::from(kept);
                rows = arrow_select::take::take_record_batch(&rows, &places).map_err(|e| self.wrong(e))?;
            }
            let mut at = 0;
            todo.written.retain(|_| {
                at += 1;
                !same[at - 1]
            });
            todo.removed.extend(todo.written.iter().filter_map(|w| Some(stored.found.rows[w.1?])));
            self.counts.updated += todo.written.iter().filter(|w| w.1.is_some()).count() as u64;
            self.counts.inserted += todo.written.iter().filter(|w| w.1.is_none()).count() as u64;
            if rows.num_rows() > 0 {
                self.target.files.write(rows).await?;
            }
        }
        self.counts.deleted +=
            (todo.removed.len() - todo.written.iter().filter(|w| w.1.is_some()).count()) as u64;
        self.target.set.kill(&todo.removed);
        self.hidden.set.kill(&todo.forgotten);
        if !todo.remembered.is_empty() {
            let rows = take(&mut todo.remembered.iter().copied()).map_err(|e| self.wrong(e))?;
            self.hide(&rows).await?;
        }
        Ok(())
    }

    /// Puts the stored values into columns that the source no longer has.
    async fn keep_dropped(
        &self,
        rows: RecordBatch,
        todo: &Todo,
        stored: &Stored,
    ) -> Result<RecordBatch, LakeError> {
        let dropped: Vec<usize> =
            self.config.own.iter().copied().filter(|at| !self.given.contains(at)).collect();
        let old: Vec<RowId> = todo.written.iter().filter_map(|w| Some(stored.found.rows[w.1?])).collect();
        if dropped.is_empty() || old.is_empty() {
            return Ok(rows);
        }
        let values = self.target.set.fetch_columns(&old, &dropped).await?;
        let mut next = 0;
        let places: Vec<(usize, usize)> = todo
            .written
            .iter()
            .map(|w| match w.1 {
                None => (1, 0),
                Some(_) => {
                    next += 1;
                    (0, next - 1)
                }
            })
            .collect();
        let mut rows = rows;
        for (number, &place) in dropped.iter().enumerate() {
            let column = values.column(number);
            let none = new_null_array(column.data_type(), 1);
            let filled = gather(&[Arc::clone(column), none], &places).map_err(|e| self.wrong(e))?;
            rows = with_column(&rows, place, filled).map_err(|e| self.wrong(e))?;
        }
        Ok(rows)
    }

    /// Says which of the rows the table holds already, to the last value.
    async fn unchanged(
        &self,
        rows: &RecordBatch,
        todo: &Todo,
        stored: &Stored,
    ) -> Result<Vec<bool>, LakeError> {
        let mut same = vec![false; rows.num_rows()];
        let old: Vec<RowId> = todo
            .perhaps_same
            .iter()
            .filter_map(|&at| Some(stored.found.rows[todo.written.get(at)?.1?]))
            .collect();
        if old.is_empty() {
            return Ok(same);
        }
        let all: Vec<usize> = (0..rows.num_columns()).collect();
        let types: Vec<_> = rows.schema().fields().iter().map(|f| f.data_type().clone()).collect();
        let codec = RowCodec::new(&types).map_err(|e| self.wrong(e))?;
        let old = self.target.set.fetch(&old).await?;
        let places = arrow_array::UInt32Array::from_iter_values(
            todo.perhaps_same.iter().filter_map(|&at| u32::try_from(at).ok()),
        );
        let new = arrow_select::take::take_record_batch(rows, &places).map_err(|e| self.wrong(e))?;
        let old = codec.encode(&columns(&old, &all)).map_err(|e| self.wrong(e))?;
        let new = codec.encode(&columns(&new, &all)).map_err(|e| self.wrong(e))?;
        for (number, &at) in todo.perhaps_same.iter().enumerate() {
            same[at] = old.row(number).data() == new.row(number).data();
        }
        Ok(same)
    }

    /// Finds the rows that the table has for the keys.
    async fn find_current(
        &mut self,
        index: &Arc<KeyIndex>,
        at: &arrow_row::Rows,
        last: &[u32],
    ) -> Result<Stored, LakeError> {
        let extra = vec![self.sequence_root()];
        let least = last.iter().map(|&row| at.row(row as usize).data()).min().map(<[u8]>::to_vec);
        // A row whose sequence is null comes before every change.
        let later = match (self.config.sequence.as_deref(), least) {
            (Some(&[place]), Some(least)) => {
                Some(Later { place, codec: Arc::new(self.sequence_codec()?), least })
            }
            _ => None,
        };
        let probe = Probe { index: Arc::clone(index), keys: self.config.keys.clone(), extra, later };
        let found = self.target.set.probe(&probe).await?;
        let at = self.found_sequences(&found)?;
        let mut of = vec![None; last.len()];
        for (number, &group) in (0..).zip(&found.groups) {
            if of[group as usize].replace(number).is_some() {
                return Err(self.duplicate(found.rows[number as usize]).await);
            }
        }
        Ok(Stored { found, at, of })
    }

    /// Finds the deletes that are remembered of the keys.
    async fn tombstones(&mut self, index: &Arc<KeyIndex>, groups: usize) -> Result<Stored, LakeError> {
        let remembered = self.hidden.layout.arrow.fields().len() - 1;
        let extra = vec![self.sequence_root(), remembered];
        let probe = Probe { index: Arc::clone(index), keys: self.config.keys.clone(), extra, later: None };
        let found = self.hidden.set.probe(&probe).await?;
        let at = self.found_sequences(&found)?;
        let times: Vec<Option<i64>> = found
            .extra
            .iter()
            .flat_map(|b| b.column(1).as_primitive::<TimestampMicrosecondType>().iter().collect::<Vec<_>>())
            .collect();
        let (mut of, mut expired) = (vec![None; groups], Vec::new());
        for ((number, &group), &time) in (0..).zip(&found.groups).zip(&times) {
            if self.is_expired(time) {
                expired.push(found.rows[number as usize]);
            } else {
                of[group as usize] = Some(number);
            }
        }
        self.hidden.set.kill(&expired);
        Ok(Stored { found, at, of })
    }

    fn found_sequences(&self, found: &Found) -> Result<arrow_row::Rows, LakeError> {
        let chunks = found.extra.iter().map(|batch| Ok(vec![self.below_root(batch.column(0))?]));
        let chunks = chunks.collect::<Result<Vec<_>, LakeError>>()?;
        self.sequence_codec()?.encode_chunks(&chunks).map_err(|e| self.wrong(e))
    }

    /// The sequences of rows.
    pub(crate) fn sequences(&self, batches: &[RecordBatch]) -> Result<arrow_row::Rows, LakeError> {
        let chunks = batches.iter().map(|batch| Ok(vec![self.sequence_of(batch)?]));
        let chunks = chunks.collect::<Result<Vec<_>, LakeError>>()?;
        self.sequence_codec()?.encode_chunks(&chunks).map_err(|e| self.wrong(e))
    }

    /// The tracked values of rows.
    pub(crate) fn tracked(&self, batches: &[RecordBatch]) -> Result<arrow_row::Rows, LakeError> {
        let codec = RowCodec::new(&self.types(&self.config.tracked)).map_err(|e| self.wrong(e))?;
        codec.encode_batches(batches, &self.config.tracked).map_err(|e| self.wrong(e))
    }
}

/// Stored rows of keys.
struct Stored {
    found: Found,
    at: arrow_row::Rows,
    /// For each group the number of its row.
    of: Vec<Option<u32>>,
}

impl Stored {
    fn of(&self, group: usize) -> Option<usize> {
        self.of.get(group).copied().flatten().map(|number| number as usize)
    }
}

/// What a micro-batch changes.
#[derive(Default)]
struct Todo {
    /// Rows of the micro-batch that become rows of the table, and the stored ones that they replace.
    written: Vec<(u32, Option<usize>)>,
    /// Places in `written` where the stored row has the same sequence.
    perhaps_same: Vec<usize>,
    /// Rows that go from the table.
    removed: Vec<RowId>,
    /// Rows of the micro-batch that become tombstones.
    remembered: Vec<u32>,
    /// Tombstones that go.
    forgotten: Vec<RowId>,
}
