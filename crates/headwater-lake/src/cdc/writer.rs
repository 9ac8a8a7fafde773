//! Writes one flow of changes into one table: takes rows, applies them to the files of the table, and applies them again
//! where another writer came in between. `commit` puts the outcome into the log.

use std::sync::Arc;

use arrow_array::RecordBatch;
use async_trait::async_trait;
use headwater_connect::Offset;

use crate::adapt::batch_bytes;
use crate::cdc::apply::{Apply, Counts};
use crate::cdc::fit::{Asked, Fit};
use crate::cdc::side::Side;
use crate::cdc::snapshot::Stage;
use crate::files::Limits;
use crate::kernel::LiveFile;
use crate::table::{Position, Table, View, files_fingerprint};
use crate::{
    CdcSpec, CommitOutcome, Feed, FlowState, LakeError, ScdType, SchemaChange, Staged, TableWriter,
    WriterSpec,
};

/// Changes are applied when they take this share of the memory: to apply them takes several times as much.
const PENDING_SHARE: usize = 6;
const LEAST_PENDING_BYTES: usize = 4 * 1024 * 1024;
/// The share of the memory that decoded keys of the table may take, from one micro-batch to the next.
const CACHE_SHARE: usize = 3;
/// The share of the memory for files that are being written.
const FILES_SHARE: usize = 3;
/// The share of the memory for what is known of a table that a snapshot is compared with.
const COMPARISON_SHARE: usize = 2;

/// The writer of a flow of changes.
#[derive(Debug)]
pub(crate) struct CdcWriter {
    pub(super) table: Table,
    pub(super) asked: Asked,
    pub(super) view: Option<View>,
    /// The live files of the view, where they have been listed.
    live: Option<Arc<Vec<LiveFile>>>,
    pub(super) fit: Fit,
    /// The files of both tables; read when there is something to apply.
    pub(super) sides: Option<Sides>,
    pending: Vec<RecordBatch>,
    pending_bytes: usize,
    rows: u64,
    /// What was applied since the last commit, to apply it again where another writer came in between; `None` where that
    /// was more than one part, or a snapshot.
    replay: Option<Vec<RecordBatch>>,
    parts: u32,
    /// Rows that came were not applied whole: there is nothing that may be committed.
    pub(super) incomplete: bool,
    /// How far the snapshot is compared.
    snapshot: Stage,
    pub(super) counts: Counts,
    pub(super) position: Position,
    pub(super) refresh: bool,
}

#[derive(Debug)]
pub(super) struct Sides {
    pub(super) target: Side,
    pub(super) hidden: Side,
    /// The version of the hidden table.
    pub(super) hidden_version: Option<u64>,
}

impl CdcWriter {
    pub(crate) async fn open(table: Table, spec: WriterSpec, cdc: CdcSpec) -> Result<Self, LakeError> {
        let asked = Asked::new(&table, spec, cdc)?;
        let view = table.view(None).await?;
        let refresh = asked.spec.full_refresh && view.is_some();
        let fit = Fit::to(&table, view.as_ref(), &asked, refresh).await?;
        let mut position = table.position(view.as_ref(), &asked.spec.flow).await?;
        position.state = position.state.filter(|_| !refresh);
        Ok(Self {
            table,
            asked,
            view,
            live: None,
            fit,
            sides: None,
            pending: Vec::new(),
            pending_bytes: 0,
            rows: 0,
            replay: Some(Vec::new()),
            parts: 0,
            incomplete: false,
            snapshot: Stage::default(),
            counts: Counts::default(),
            position,
            refresh,
        })
    }

    /// What a writer would change in the columns, checked as if it were opened.
    pub(crate) async fn changes_of(
        table: &Table,
        view: Option<&View>,
        spec: &WriterSpec,
        cdc: &CdcSpec,
        replace: bool,
    ) -> Result<Vec<SchemaChange>, LakeError> {
        let asked = Asked::new(table, spec.clone(), cdc.clone())?;
        Ok(Fit::to(table, view, &asked, replace).await?.plan.changes)
    }

    /// The table as it counts for what is applied: nothing is there before a refresh.
    pub(super) fn base(&self) -> Option<&View> {
        self.view.as_ref().filter(|_| !self.refresh)
    }

    /// The live files of the version at hand.
    pub(super) async fn live(&mut self) -> Result<Arc<Vec<LiveFile>>, LakeError> {
        if let Some(live) = &self.live {
            return Ok(Arc::clone(live));
        }
        let live = match &self.view {
            Some(view) => Arc::new(self.table.live_files(view).await?),
            None => Arc::default(),
        };
        Ok(Arc::clone(self.live.insert(live)))
    }

    /// Takes a version for the one at hand.
    pub(super) fn stand_on(&mut self, view: Option<View>, live: Option<Arc<Vec<LiveFile>>>) {
        (self.view, self.live) = (view, live);
    }

    pub(super) async fn sides(&mut self) -> Result<(), LakeError> {
        if self.sides.is_some() {
            return Ok(());
        }
        let (mut live, mut hidden_live) = (Arc::default(), Vec::new());
        let hidden = self.table.hidden()?;
        let hidden_version = self.base().and_then(|v| v.cdc.as_ref()).and_then(|record| record.hidden);
        if self.base().is_some() {
            live = self.live().await?;
            if let Some(version) = hidden_version {
                hidden_live = hidden.live_files(&hidden.view_at(version).await?).await?;
            }
        }
        let spec = &self.asked.spec;
        let limits = Limits {
            memory_bytes: spec.memory_bytes / FILES_SHARE,
            target_file_bytes: spec.target_file_bytes.max(1),
        };
        let cache = spec.memory_bytes / CACHE_SHARE;
        let layout = self.fit.hidden_layout(&self.table, &self.asked.cdc)?;
        let live = live.iter().cloned();
        let target = Side::new(self.table.clone(), Arc::clone(&self.fit.layout), live, limits, cache)?;
        let hidden = Side::new(hidden, layout, hidden_live, limits, 0)?;
        self.sides = Some(Sides { target, hidden, hidden_version });
        Ok(())
    }

    /// Applies what is pending.
    pub(super) async fn apply(&mut self) -> Result<(), LakeError> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let snapshot = matches!(self.asked.cdc.feed, Feed::Snapshot { .. });
        if snapshot {
            self.freshen().await?;
        }
        self.sides().await?;
        let batches = std::mem::take(&mut self.pending);
        self.pending_bytes = 0;
        self.parts += 1;
        self.replay = (self.parts == 1 && !snapshot).then(|| batches.clone());
        self.apply_batches(&batches).await
    }

    /// Takes back what was applied, so that it can be applied again; what is more than one part, or a snapshot, stays as
    /// it is.
    pub(super) async fn take_back(&mut self) {
        let Some(mut batches) = self.replay.take() else { return };
        batches.append(&mut self.pending);
        self.pending_bytes = batches.iter().map(batch_bytes).sum();
        self.pending = batches;
        self.drop_sides().await;
        self.replay = Some(Vec::new());
        self.parts = 0;
        self.incomplete = false;
    }

    /// Starts over from what the log says; files that were written and cannot be removed are left for vacuum.
    async fn drop_sides(&mut self) {
        self.counts = Counts::default();
        let Some(mut sides) = self.sides.take() else { return };
        for side in [&mut sides.target, &mut sides.hidden] {
            if let Err(error) = side.files.discard().await {
                tracing::warn!(table = %self.table.name, error = &error as &dyn std::error::Error, "files left for vacuum");
            }
        }
    }

    /// Takes in what others have committed, before something begins that is too large to be done twice.
    async fn freshen(&mut self) -> Result<(), LakeError> {
        if self.parts > 0 || !matches!(self.snapshot, Stage::Before) {
            return Ok(());
        }
        // Another writer may have made the table since this one was opened.
        if self.view.is_none() && !self.table.exists().await? {
            return Ok(());
        }
        self.catch_up().await
    }

    async fn apply_batches(&mut self, batches: &[RecordBatch]) -> Result<(), LakeError> {
        self.check_complete()?;
        // Until all is done: it may fail, and the caller may give up waiting.
        self.incomplete = true;
        self.apply_rows(batches).await?;
        self.incomplete = false;
        Ok(())
    }

    pub(super) fn check_complete(&self) -> Result<(), LakeError> {
        if self.incomplete {
            return Err(LakeError::Storage {
                doing: format!("applying changes to {}", self.table.name),
                source:
                    "an earlier write or commit failed and what is staged is incomplete; discard it first"
                        .into(),
                retryable: false,
                in_doubt: false,
            });
        }
        Ok(())
    }

    async fn apply_rows(&mut self, batches: &[RecordBatch]) -> Result<(), LakeError> {
        self.sides().await?;
        let version = self.fit.snapshot_version;
        let (feed, scd_type) = (self.asked.cdc.feed, self.asked.cdc.scd_type);
        let stage =
            if matches!(feed, Feed::Snapshot { .. }) { self.snapshot.take() } else { Stage::default() };
        let given = self.fit.given(&self.asked.source);
        let Some(mut apply) = self.application(&given) else { return Ok(()) };
        match (feed, scd_type) {
            (Feed::Snapshot { .. }, _) => {
                self.snapshot = apply.compare_batches(stage, batches, version).await?;
                return Ok(());
            }
            (_, ScdType::One) => apply.current(batches, feed == Feed::Deletes).await?,
            (_, ScdType::Two) => apply.history(batches, feed == Feed::Deletes).await?,
        }
        if let Some(sides) = &mut self.sides {
            sides.target.settle().await?;
            sides.hidden.settle().await?;
        }
        Ok(())
    }

    fn application<'a>(&'a mut self, given: &'a [usize]) -> Option<Apply<'a>> {
        let now = self.table.now().timestamp_micros();
        let keep = self.asked.cdc.tombstone_retention.and_then(|keep| i64::try_from(keep.as_micros()).ok());
        let sides = self.sides.as_mut()?;
        Some(Apply {
            config: &self.fit.config,
            target: &mut sides.target,
            hidden: &mut sides.hidden,
            given,
            counts: &mut self.counts,
            now,
            forget_before: keep.map(|keep| now.saturating_sub(keep)),
            comparison_bytes: self.asked.spec.memory_bytes / COMPARISON_SHARE,
        })
    }

    /// Ends the comparison with a snapshot. One that had no rows at all takes every row away.
    pub(super) async fn end_snapshot(&mut self) -> Result<(), LakeError> {
        if !matches!(self.asked.cdc.feed, Feed::Snapshot { .. }) {
            return Ok(());
        }
        self.freshen().await?;
        self.sides().await?;
        let version = self.fit.snapshot_version;
        let stage = self.snapshot.take();
        let given = self.fit.given(&self.asked.source);
        if let Some(mut apply) = self.application(&given) {
            apply.end_comparison(stage, version).await?;
        }
        if let Some(sides) = &mut self.sides {
            sides.target.settle().await?;
        }
        self.snapshot = Stage::Ended;
        self.replay = None;
        Ok(())
    }

    pub(super) fn is_changed(&self) -> bool {
        self.sides.as_ref().is_some_and(|s| s.target.set.is_changed() || s.hidden.set.is_changed())
    }

    pub(super) fn settle(&mut self) {
        self.rows = 0;
        self.parts = 0;
        self.incomplete = false;
        self.replay = Some(Vec::new());
        self.snapshot = Stage::default();
        self.counts = Counts::default();
    }

    /// Takes in what another writer committed. What was applied is applied again to what is there now, and what is
    /// staged gets the columns that are there now. Where it fails nothing has changed, but for a micro-batch that cannot
    /// be applied again: that is forgotten.
    pub(super) async fn catch_up(&mut self) -> Result<(), LakeError> {
        let Some(view) = self.table.view(self.view.as_ref()).await? else {
            return Err(self.conflict("it removed the table"));
        };
        self.table.check_position(&view, &self.asked.spec.flow, &self.position).await?;
        let same_table = self.view.as_ref().is_some_and(|old| {
            old.metadata == view.metadata
                && old.protocol == view.protocol
                && old.cluster_by == view.cluster_by
                && old.cdc == view.cdc
        });
        let live = Arc::new(self.table.live_files(&view).await?);
        let same_files = same_table && files_fingerprint(&self.live().await?) == files_fingerprint(&live);
        if same_files || (self.refresh && same_table) {
            self.stand_on(Some(view), Some(live));
            return Ok(());
        }
        let replace = self.asked.spec.full_refresh;
        let fit = Fit::to(&self.table, Some(&view), &self.asked, replace).await?;
        let carried = |rows: &[RecordBatch]| {
            let carried: Result<Vec<_>, _> = rows.iter().map(|rows| fit.carry(rows, &self.fit)).collect();
            carried.map_err(|e| self.conflict(&format!("what is staged does not fit its columns ({e})")))
        };
        let replay = self.replay.as_deref().map(&carried).transpose()?;
        let pending = carried(&self.pending)?;
        self.drop_sides().await;
        self.stand_on(Some(view), Some(live));
        (self.fit, self.refresh, self.pending) = (fit, replace, pending);
        let Some(replay) = replay else {
            self.clear().await?;
            // Until it is discarded: a commit would lose the rows that are forgotten.
            (self.incomplete, self.replay) = (true, None);
            return Err(self.conflict("it changed rows while a large micro-batch was being applied"));
        };
        self.replay = Some(replay.clone());
        if replay.is_empty() {
            return Ok(());
        }
        self.incomplete = false;
        self.apply_batches(&replay).await
    }

    /// Forgets what was applied and is not committed.
    pub(super) async fn clear(&mut self) -> Result<(), LakeError> {
        self.pending.clear();
        self.pending_bytes = 0;
        self.settle();
        if let Some(mut sides) = self.sides.take() {
            if sides.target.set.is_changed()
                || sides.hidden.set.is_changed()
                || sides.target.files.staged().rows > 0
            {
                sides.target.files.discard().await?;
                sides.hidden.files.discard().await?;
            } else {
                self.sides = Some(sides);
            }
        }
        Ok(())
    }

    pub(super) fn conflict(&self, what: &str) -> LakeError {
        let version = self.view.as_ref().map_or(0, |v| v.version);
        LakeError::Conflict { table: self.table.name.clone(), version, what: what.to_owned() }
    }
}

#[async_trait]
impl TableWriter for CdcWriter {
    fn flow_state(&self) -> Option<&FlowState> {
        self.position.state.as_ref()
    }

    fn next_micro_batch(&self) -> u64 {
        self.position.last + 1
    }

    fn changes(&self) -> &[SchemaChange] {
        &self.fit.plan.changes
    }

    async fn write(&mut self, batch: RecordBatch) -> Result<(), LakeError> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let rows = self.fit.adapter.adapt(&batch)?;
        drop(batch);
        self.fit.check_rows(&rows, &self.table, &self.asked.cdc)?;
        self.rows += u64::try_from(rows.num_rows()).unwrap_or(0);
        self.pending_bytes += batch_bytes(&rows);
        self.pending.push(rows);
        let most = (self.asked.spec.memory_bytes / PENDING_SHARE).max(LEAST_PENDING_BYTES);
        if self.pending_bytes >= most {
            self.freshen().await?;
            self.apply().await?;
        }
        Ok(())
    }

    fn staged(&self) -> Staged {
        let written = self.sides.as_ref().map_or(0, |s| s.target.files.staged().bytes);
        let pending = u64::try_from(self.pending_bytes).unwrap_or(u64::MAX);
        Staged { rows: self.rows, bytes: written.saturating_add(pending) }
    }

    async fn commit(&mut self, offset: Option<&Offset>) -> Result<CommitOutcome, LakeError> {
        self.commit_as(None, offset).await
    }

    async fn commit_numbered(
        &mut self,
        micro_batch: u64,
        offset: Option<&Offset>,
    ) -> Result<CommitOutcome, LakeError> {
        self.commit_as(Some(micro_batch), offset).await
    }

    async fn discard(&mut self) -> Result<(), LakeError> {
        self.clear().await
    }
}
