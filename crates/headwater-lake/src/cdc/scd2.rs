//! SCD type 2: the records of each key, from `__START_AT` to `__END_AT`.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::TimestampMicrosecondType;
use arrow_array::{Array, ArrayRef, RecordBatch, new_null_array};
use arrow_row::Rows;
use arrow_select::concat::concat;
use arrow_select::zip::zip;
use headwater_cdc::KeyIndex;
use headwater_cdc::scd2::{Changes, Events, Seq, Source, Stored, Written, apply, working_set};

use crate::LakeError;
use crate::cdc::apply::Apply;
use crate::cdc::arrays::{Numbers, columns, gather, relabelled};
use crate::cdc::fileset::{Probe, RowId};

/// The stored rows of the keys of a micro-batch.
struct Timelines {
    /// Rows of the target, then hidden ones, in the target's columns.
    batches: [RecordBatch; 2],
    ids: [Vec<RowId>; 2],
    group: Vec<u32>,
    /// Record starts, starts and ends.
    at: ArrayRef,
    start: ArrayRef,
    end: ArrayRef,
}

impl Apply<'_> {
    /// Applies rows that are new or changed, or with `delete` those that are gone.
    pub(crate) async fn history(&mut self, batches: &[RecordBatch], delete: bool) -> Result<(), LakeError> {
        let Some(span) = self.config.span else {
            return Err(self.wrong("a history without its columns"));
        };
        let keys: Vec<Vec<ArrayRef>> = batches.iter().map(|b| columns(b, &self.config.keys)).collect();
        let (index, group) = KeyIndex::build(&keys).map_err(|e| self.wrong(e))?;
        let (index, groups) = (Arc::new(index), group.iter().max().map_or(0, |&g| g as usize + 1));
        let at = self.sequences(batches)?;
        let stored = self.timelines(&index, span, (&group, &at, groups)).await?;

        let codec = self.sequence_codec()?;
        let encoded = |array: &ArrayRef| codec.encode(std::slice::from_ref(array)).map_err(|e| self.wrong(e));
        let (stored_at, start, end) = (encoded(&stored.at)?, encoded(&stored.start)?, encoded(&stored.end)?);
        let open: Vec<bool> = (0..stored.end.len()).map(|row| stored.end.is_null(row)).collect();
        let hidden: Vec<bool> = (0..stored.group.len()).map(|row| row >= stored.ids[0].len()).collect();
        let (tracked, stored_tracked) = (self.tracked(batches)?, self.tracked(&stored.batches)?);
        let delete = vec![delete; group.len()];
        let changes = apply(
            &Events { group: &group, at: &at, delete: &delete, tracked: &tracked },
            &Stored {
                group: &stored.group,
                at: &stored_at,
                start: &start,
                end: &end,
                open: &open,
                hidden: &hidden,
                tracked: &stored_tracked,
            },
            groups,
        );
        let changes = changes.map_err(|e| self.wrong(e))?;
        self.carry_out_history(batches, &stored, span, changes).await
    }

    /// Finds and reads the stored rows that the micro-batch may change.
    async fn timelines(
        &mut self,
        index: &Arc<KeyIndex>,
        span: (usize, usize),
        events: (&[u32], &Rows, usize),
    ) -> Result<Timelines, LakeError> {
        let root = self.sequence_root();
        let remembered = self.hidden.layout.arrow.fields().len() - 1;
        let probe =
            |extra| Probe { index: Arc::clone(index), keys: self.config.keys.clone(), extra, later: None };
        let (visible, secret) = (probe(Vec::new()), probe(vec![root, span.1, remembered]));
        let visible = self.target.set.probe(&visible).await?;
        let secret = self.hidden.set.probe(&secret).await?;
        let (events_group, events_at, groups) = events;

        // The only row of a key is wanted, whenever it began: sequences are read where there are several.
        let mut count = vec![0_u8; groups];
        for &group in visible.groups.iter().chain(&secret.groups) {
            let count = &mut count[group as usize];
            *count = count.saturating_add(1);
        }
        let several = |group: &u32| count[*group as usize] > 1;
        let found = visible.rows.iter().zip(&visible.groups);
        let (some, mut group): (Vec<RowId>, Vec<u32>) =
            found.filter(|(_, group)| several(group)).map(|(row, group)| (*row, *group)).unzip();
        let some = self.target.set.fetch_columns(&some, &[root]).await?;

        let mut chunks = vec![vec![self.below_root(some.column(0))?]];
        let mut expired = Vec::new();
        for batch in &secret.extra {
            chunks.push(vec![self.hidden_at(batch.column(0), batch.column(1))?]);
            let times = batch.column(2).as_primitive::<TimestampMicrosecondType>();
            let ends = batch.column(1);
            expired.extend((0..batch.num_rows()).map(|row| {
                // Members of a run are kept: only deletes are forgotten.
                ends.is_valid(row) && self.is_expired(times.is_valid(row).then(|| times.value(row)))
            }));
        }
        let at = self.sequence_codec()?.encode_chunks(&chunks).map_err(|e| self.wrong(e))?;
        group.extend(&secret.groups);
        let wanted = working_set(events_group, events_at, &group, &at, groups).map_err(|e| self.wrong(e))?;
        let (visible_wanted, secret_wanted) = wanted.split_at(some.num_rows());

        let mut ids = [Vec::new(), Vec::new()];
        let mut kept = Vec::new();
        let mut next = visible_wanted.iter();
        for (&id, group) in visible.rows.iter().zip(&visible.groups) {
            if !several(group) || next.next() == Some(&true) {
                ids[0].push(id);
                kept.push(*group);
            }
        }
        for (((&id, &group), wanted), expired) in
            secret.rows.iter().zip(&secret.groups).zip(secret_wanted).zip(&expired)
        {
            if *wanted && !expired {
                ids[1].push(id);
                kept.push(group);
            }
        }
        let forgotten: Vec<RowId> =
            secret.rows.iter().zip(&expired).filter(|(_, expired)| **expired).map(|(id, _)| *id).collect();
        self.hidden.set.kill(&forgotten);

        let rows = self.target.set.fetch(&ids[0]).await?;
        let secret = self.hidden.set.fetch(&ids[1]).await?;
        let at = concat(&[
            &self.sequence_of(&rows)?,
            &self.hidden_at(secret.column(root), secret.column(span.1))?,
        ]);
        let both = |place: usize| concat(&[rows.column(place), secret.column(place)]);
        Ok(Timelines {
            at: at.map_err(|e| self.wrong(e))?,
            start: both(span.0).map_err(|e| self.wrong(e))?,
            end: both(span.1).map_err(|e| self.wrong(e))?,
            batches: [rows, secret],
            ids,
            group: kept,
        })
    }

    /// The record starts of hidden rows: of a delete where it ends, of an upsert its sequence.
    fn hidden_at(&self, root: &ArrayRef, end: &ArrayRef) -> Result<ArrayRef, LakeError> {
        let sequence = self.below_root(root)?;
        let ended = arrow_array::BooleanArray::from_iter((0..end.len()).map(|row| Some(end.is_valid(row))));
        let end = relabelled(end, sequence.data_type()).map_err(|e| self.wrong(e))?;
        zip(&ended, &end, &sequence).map_err(|e| self.wrong(e))
    }

    async fn carry_out_history(
        &mut self,
        batches: &[RecordBatch],
        stored: &Timelines,
        span: (usize, usize),
        changes: Changes,
    ) -> Result<(), LakeError> {
        let seen = stored.ids[0].len();
        let mut gone: [Vec<RowId>; 2] = [Vec::new(), Vec::new()];
        for &row in &changes.removed {
            let row = row as usize;
            if row < seen {
                gone[0].push(stored.ids[0][row]);
            } else {
                gone[1].push(stored.ids[1][row - seen]);
            }
        }
        let (hidden, visible): (Vec<Written>, Vec<Written>) =
            changes.written.into_iter().partition(|w| w.hidden);
        let (new, old) = (visible.len() as u64, gone[0].len() as u64);
        self.counts.updated += new.min(old);
        self.counts.inserted += new.saturating_sub(old);
        self.counts.deleted += old.saturating_sub(new);
        self.target.set.kill(&gone[0]);
        self.hidden.set.kill(&gone[1]);
        if !visible.is_empty() {
            let columns = self.built(batches, stored, span, &visible)?;
            let rows = RecordBatch::try_new(Arc::clone(&self.target.layout.arrow), columns);
            self.target.files.write(rows.map_err(|e| self.wrong(e))?).await?;
        }
        if !hidden.is_empty() {
            let columns = self.built(batches, stored, span, &hidden)?;
            let fields = self.hidden.layout.arrow.fields();
            let schema = arrow_schema::Schema::new(fields[..columns.len()].to_vec());
            let rows = RecordBatch::try_new(Arc::new(schema), columns).map_err(|e| self.wrong(e))?;
            self.hide(&rows).await?;
        }
        Ok(())
    }

    /// The columns of rows that are written: the data from where it is, the span anew.
    fn built(
        &self,
        batches: &[RecordBatch],
        stored: &Timelines,
        span: (usize, usize),
        written: &[Written],
    ) -> Result<Vec<ArrayRef>, LakeError> {
        let numbers = Numbers::new(batches);
        let (count, seen) = (batches.len(), stored.ids[0].len());
        let data: Vec<(usize, usize)> = written
            .iter()
            .map(|w| match w.data {
                Source::New(row) => numbers.of(row as usize),
                Source::Stored(row) if (row as usize) < seen => (count, row as usize),
                Source::Stored(row) => (count + 1, row as usize - seen),
            })
            .collect();
        let mut sequences = batches.iter().map(|b| self.sequence_of(b)).collect::<Result<Vec<_>, _>>()?;
        for array in [&stored.at, &stored.start, &stored.end] {
            sequences.push(relabelled(array, stored.at.data_type()).map_err(|e| self.wrong(e))?);
        }
        sequences.push(new_null_array(stored.at.data_type(), 1));
        let place = |seq: Option<Seq>| match seq {
            Some(Seq::New(row)) => numbers.of(row as usize),
            Some(Seq::At(row)) => (count, row as usize),
            Some(Seq::Start(row)) => (count + 1, row as usize),
            Some(Seq::End(row)) => (count + 2, row as usize),
            None => (count + 3, 0),
        };
        let starts: Vec<_> = written.iter().map(|w| place(Some(w.start))).collect();
        let ends: Vec<_> = written.iter().map(|w| place(w.end)).collect();
        (0..self.target.layout.arrow.fields().len())
            .map(|at| {
                if at == span.0 || at == span.1 {
                    let places = if at == span.0 { &starts } else { &ends };
                    let data_type = self.target.layout.arrow.field(at).data_type();
                    return relabelled(&gather(&sequences, places)?, data_type);
                }
                let all = batches.iter().chain(&stored.batches);
                gather(&all.map(|b| Arc::clone(b.column(at))).collect::<Vec<_>>(), &data)
            })
            .collect::<Result<_, _>>()
            .map_err(|e| self.wrong(e))
    }
}
