//! Writes one flow of changes into one table.

use std::sync::Arc;

use arrow_array::{Array, RecordBatch};
use arrow_schema::SchemaRef;
use async_trait::async_trait;
use headwater_connect::{Offset, StructType};
use serde_json::Value;
use uuid::Uuid;

use crate::actions::{self, CommitInfo, FlowRecord};
use crate::adapt::{Adapter, batch_bytes};
use crate::cdc::apply::{Apply, Counts};
use crate::cdc::config::{CdcRecord, Config, check_drift, drift_behind, extended};
use crate::cdc::side::{FileActions, Side, hidden_lines, hidden_schema, mapping_properties};
use crate::cdc::snapshot::Stage;
use crate::encode::Layout;
use crate::files::Limits;
use crate::kernel::damaged;
use crate::plan::{Plan, plan, uses_vectors};
use crate::schema::{find, physical_arrow};
use crate::table::{Landed, Table, View, files_fingerprint};
use crate::{
    CdcSpec, CommitOutcome, Feed, FlowState, LakeError, ScdType, SchemaChange, Staged, TableWriter,
    WriterSpec, upkeep,
};

/// How often a commit is put on top of another writer's before giving up.
const REBASES: usize = 20;
/// Changes are applied when they take this share of the memory: to apply them takes several times as much.
const PENDING_SHARE: usize = 6;
const LEAST_PENDING_BYTES: usize = 4 * 1024 * 1024;
/// The share of the memory that decoded keys of the table may take, from one micro-batch to the next.
const CACHE_SHARE: usize = 3;
/// The share of the memory for files that are being written.
const FILES_SHARE: usize = 3;
/// The share of the memory for upkeep, which goes on between micro-batches: only decoded keys are held then.
const TEND_SHARE: usize = 2;
/// The share of the memory for what is known of a table that a snapshot is compared with.
const COMPARISON_SHARE: usize = 2;

/// The writer of a flow of changes.
#[derive(Debug)]
pub(crate) struct CdcWriter {
    table: Table,
    /// The spec, with the columns that a history has of its own.
    spec: WriterSpec,
    cdc: CdcSpec,
    /// The columns that the rows come with.
    source: StructType,
    view: Option<View>,
    plan: Plan,
    config: Config,
    layout: Arc<Layout>,
    adapter: Adapter,
    /// The files of both tables; read when there is something to apply.
    sides: Option<Sides>,
    pending: Vec<RecordBatch>,
    pending_bytes: usize,
    rows: u64,
    /// What was applied since the last commit, to apply it again where another writer came in between; `None` where that
    /// was more than one part, or a snapshot.
    replay: Option<Vec<RecordBatch>>,
    parts: u32,
    /// Rows that came were not applied whole: there is nothing that may be committed.
    incomplete: bool,
    /// How far the snapshot is compared.
    snapshot: Stage,
    counts: Counts,
    state: Option<FlowState>,
    last: u64,
    refresh: bool,
    /// The version of a snapshot, in microseconds since 1970.
    version: i64,
}

#[derive(Debug)]
struct Sides {
    target: Side,
    hidden: Side,
    /// The version of the hidden table.
    hidden_version: Option<u64>,
}

/// How an attempt to commit ended.
enum Tried {
    Done(CommitOutcome),
    Lost,
}

impl CdcWriter {
    pub(crate) async fn open(table: Table, spec: WriterSpec, cdc: CdcSpec) -> Result<Self, LakeError> {
        let source = spec.schema.clone();
        let spec = WriterSpec { schema: extended(&table.name, &cdc, &source)?, ..spec };
        let view = table.view(None).await?;
        let refresh = spec.full_refresh && view.is_some();
        let plan = match plan(&table, view.as_ref(), &spec, refresh) {
            Err(error) => return Err(drift_behind(error, &table, view.as_ref(), &spec, &source)),
            Ok(plan) => plan,
        };
        let config = Config::new(&table.name, &cdc, &source, &plan.schema)?;
        if let Some(view) = view.as_ref().filter(|_| !refresh) {
            check_drift(&table, view, &config, &cdc).await?;
        }
        let (last, state) = match &view {
            None => (0, None),
            Some(view) => {
                let state = view.flows.get(&spec.flow).and_then(FlowRecord::state);
                (table.last_micro_batch(view, &spec.flow).await?, state.filter(|_| !refresh))
            }
        };
        let layout = Arc::new(plan.layout_by(&table, &cdc.keys)?);
        let adapter = adapter(&table, &cdc, &source, &layout);
        let version = snapshot_version(&cdc, view.as_ref());
        Ok(Self {
            table,
            spec,
            cdc,
            source,
            view,
            plan,
            config,
            layout,
            adapter,
            sides: None,
            pending: Vec::new(),
            pending_bytes: 0,
            rows: 0,
            replay: Some(Vec::new()),
            parts: 0,
            incomplete: false,
            snapshot: Stage::default(),
            counts: Counts::default(),
            state,
            last,
            refresh,
            version,
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
        let schema = extended(&table.name, cdc, &spec.schema)?;
        let whole = WriterSpec { schema, ..spec.clone() };
        let plan = plan(table, view, &whole, replace)
            .map_err(|error| drift_behind(error, table, view, &whole, &spec.schema))?;
        let config = Config::new(&table.name, cdc, &spec.schema, &plan.schema)?;
        if let Some(view) = view.filter(|_| !replace) {
            check_drift(table, view, &config, cdc).await?;
        }
        Ok(plan.changes)
    }

    /// The table as it counts for what is applied: nothing is there before a refresh.
    fn base(&self) -> Option<&View> {
        self.view.as_ref().filter(|_| !self.refresh)
    }

    async fn sides(&mut self) -> Result<(), LakeError> {
        if self.sides.is_some() {
            return Ok(());
        }
        let (mut live, mut hidden_live) = (Vec::new(), Vec::new());
        let hidden = self.table.hidden()?;
        let hidden_version = self.base().and_then(|v| v.cdc.as_ref()).and_then(|record| record.hidden);
        if let Some(view) = self.base() {
            live = self.table.live_files(view).await?;
            if let Some(version) = hidden_version {
                hidden_live = hidden.live_files(&hidden.view_at(version).await?).await?;
            }
        }
        let limits = Limits {
            memory_bytes: self.spec.memory_bytes / FILES_SHARE,
            target_file_bytes: self.spec.target_file_bytes.max(1),
        };
        let cache = self.spec.memory_bytes / CACHE_SHARE;
        let layout = self.hidden_layout()?;
        let target = Side::new(self.table.clone(), Arc::clone(&self.layout), live, limits, cache)?;
        let hidden = Side::new(hidden, layout, hidden_live, limits, 0)?;
        self.sides = Some(Sides { target, hidden, hidden_version });
        Ok(())
    }

    fn hidden_layout(&self) -> Result<Arc<Layout>, LakeError> {
        let schema = hidden_schema(&self.plan.schema);
        let layout = Layout::new(&schema, &self.cdc.keys, self.plan.stats_limit);
        layout.map(Arc::new).map_err(|e| damaged(&self.table.name, e))
    }

    /// Applies what is pending.
    async fn apply(&mut self) -> Result<(), LakeError> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let snapshot = matches!(self.cdc.feed, Feed::Snapshot { .. });
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
    async fn take_back(&mut self) {
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
        let (pending, bytes, rows) = (std::mem::take(&mut self.pending), self.pending_bytes, self.rows);
        let caught_up = self.catch_up().await;
        // They are still there for another try.
        (self.pending, self.pending_bytes, self.rows) = (pending, bytes, rows);
        caught_up?;
        self.replay = Some(Vec::new());
        Ok(())
    }

    async fn apply_batches(&mut self, batches: &[RecordBatch]) -> Result<(), LakeError> {
        self.check_complete()?;
        // Until all is done: it may fail, and the caller may give up waiting.
        self.incomplete = true;
        self.apply_rows(batches).await?;
        self.incomplete = false;
        Ok(())
    }

    fn check_complete(&self) -> Result<(), LakeError> {
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
        let version = self.version;
        let (feed, scd_type) = (self.cdc.feed, self.cdc.scd_type);
        let stage =
            if matches!(feed, Feed::Snapshot { .. }) { self.snapshot.take() } else { Stage::default() };
        let given = self.given();
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

    /// Places of the columns that the source has.
    fn given(&self) -> Vec<usize> {
        let fields = self.plan.schema.fields.iter().enumerate();
        fields.filter(|(_, f)| find(&self.source, &f.name).is_some()).map(|(at, _)| at).collect()
    }

    fn application<'a>(&'a mut self, given: &'a [usize]) -> Option<Apply<'a>> {
        let now = self.table.now().timestamp_micros();
        let keep = self.cdc.tombstone_retention.and_then(|keep| i64::try_from(keep.as_micros()).ok());
        let sides = self.sides.as_mut()?;
        Some(Apply {
            config: &self.config,
            target: &mut sides.target,
            hidden: &mut sides.hidden,
            given,
            counts: &mut self.counts,
            now,
            forget_before: keep.map(|keep| now.saturating_sub(keep)),
            comparison_bytes: self.spec.memory_bytes / COMPARISON_SHARE,
        })
    }

    /// Ends the comparison with a snapshot. One that had no rows at all takes every row away.
    async fn end_snapshot(&mut self) -> Result<(), LakeError> {
        if !matches!(self.cdc.feed, Feed::Snapshot { .. }) {
            return Ok(());
        }
        self.freshen().await?;
        self.sides().await?;
        let version = self.version;
        let stage = self.snapshot.take();
        let given = self.given();
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

    async fn commit_as(
        &mut self,
        number: Option<u64>,
        offset: Option<&Offset>,
    ) -> Result<CommitOutcome, LakeError> {
        let micro_batch = number.unwrap_or(self.last + 1);
        if micro_batch < self.last {
            return Err(self.moved(self.last));
        }
        let ended = self.commit_applied(micro_batch, offset).await;
        if ended.as_ref().is_err_and(|error| !error.is_in_doubt()) {
            self.take_back().await;
        }
        ended
    }

    async fn commit_applied(
        &mut self,
        micro_batch: u64,
        offset: Option<&Offset>,
    ) -> Result<CommitOutcome, LakeError> {
        self.check_complete()?;
        self.apply().await?;
        self.end_snapshot().await?;
        for _ in 0..REBASES {
            match self.try_commit(micro_batch, offset).await? {
                Tried::Done(outcome) => return Ok(outcome),
                Tried::Lost => self.catch_up().await?,
            }
        }
        Err(self.conflict("it commits faster than this write can follow"))
    }

    fn is_changed(&self) -> bool {
        self.sides.as_ref().is_some_and(|s| s.target.set.is_changed() || s.hidden.set.is_changed())
    }

    async fn try_commit(&mut self, micro_batch: u64, offset: Option<&Offset>) -> Result<Tried, LakeError> {
        let same_offset = self.state.as_ref().is_some_and(|s| s.offset.as_ref() == offset)
            || (self.state.is_none() && offset.is_none());
        let base = self.base();
        // A table that was filled by snapshots before their keys were recorded takes the record on with a commit.
        let known = base.is_some_and(|view| view.cdc.is_some());
        if known && !self.is_changed() && !self.plan.changes_table() && same_offset {
            self.clear().await?;
            return Ok(Tried::Done(CommitOutcome::Unchanged));
        }
        self.sides().await?;
        self.incomplete = true;
        self.rewrite().await?;
        self.incomplete = false;
        let hidden = self.commit_hidden().await?;
        let now = self.table.now();
        let live = match &self.view {
            Some(view) => self.table.live_files(view).await?,
            None => Vec::new(),
        };
        let Some(sides) = &mut self.sides else {
            return Err(damaged(&self.table.name, "no files to commit"));
        };
        sides.target.write_vectors().await?;
        let files = sides.target.actions(&live)?;
        let record = FlowRecord {
            v: FlowRecord::VERSION,
            micro_batch,
            offset: offset.map(|o| o.as_json().to_owned()),
            forgotten: false,
            committed_at: Some(now),
            snapshot: None,
            files: None,
        };
        let id = Uuid::new_v4().to_string();
        let lines = self.lines(&id, &record, hidden, &files)?;
        let version = self.view.as_ref().map_or(0, |v| v.version + 1);
        self.hold(true);
        let landed = self.table.commit(version, &lines, &id).await;
        self.hold(landed.as_ref().is_err_and(LakeError::is_in_doubt));
        match landed? {
            Landed::Lost => Ok(Tried::Lost),
            Landed::Won => self.won(version, record, &files).await.map(Tried::Done),
        }
    }

    fn hold(&mut self, held: bool) {
        if let Some(sides) = &mut self.sides {
            sides.target.files.hold(held);
            sides.hidden.files.hold(held);
        }
    }

    /// Writes anew the files that have to be: all where a column took a wider type, and without deletion vectors those
    /// in which rows died.
    async fn rewrite(&mut self) -> Result<(), LakeError> {
        let vectors = uses_vectors(&self.spec, self.base().map(|v| &v.metadata));
        let all = self.plan.rewrite;
        let Some(sides) = &mut self.sides else { return Ok(()) };
        let wanted: Vec<usize> = (0..sides.target.set.entries.len())
            .filter(|&at| {
                let entry = &sides.target.set.entries[at];
                let old = matches!(entry.origin, crate::cdc::fileset::Origin::Live(_));
                !entry.gone && ((all && old) || (!vectors && entry.changed))
            })
            .collect();
        if wanted.is_empty() {
            return Ok(());
        }
        sides.target.rewrite(&wanted).await
    }

    /// Commits the hidden rows, where they change, and gives the version that goes with the target's next one.
    async fn commit_hidden(&mut self) -> Result<Option<u64>, LakeError> {
        let named = self.base().and_then(|v| v.cdc.as_ref()).and_then(|record| record.hidden);
        let schema = hidden_schema(&self.plan.schema);
        let mapping = mapping_properties(&self.plan, self.view.as_ref());
        let Some(sides) = &mut self.sides else { return Ok(named) };
        if !sides.hidden.set.is_changed() {
            return Ok(named);
        }
        sides.hidden.write_vectors().await?;
        let table = sides.hidden.set.table.clone();
        for _ in 0..REBASES {
            let view = table.view(None).await?;
            let live = match &view {
                Some(view) => table.live_files(view).await?,
                None => Vec::new(),
            };
            let files = sides.hidden.actions(&live)?;
            let id = Uuid::new_v4().to_string();
            let info = CommitInfo {
                at: table.now(),
                operation: "WRITE",
                parameters: vec![("mode", "Hidden".to_owned()), ("flow", self.spec.flow.clone())],
                metrics: Vec::new(),
                engine: &table.core.app,
                blind_append: false,
                id: &id,
            };
            let mut lines = vec![info.line()];
            lines.extend(hidden_lines(&table, view.as_ref(), &schema, &mapping));
            lines.extend(files.lines);
            let version = view.as_ref().map_or(0, |v| v.version + 1);
            sides.hidden.files.hold(true);
            let landed = table.commit(version, &lines, &id).await;
            match landed {
                Ok(Landed::Lost) => {}
                Ok(Landed::Won) => {
                    table.after_commit(view.as_ref()).await?;
                    return Ok(Some(version));
                }
                Err(e) => {
                    sides.hidden.files.hold(e.is_in_doubt());
                    return Err(e);
                }
            }
        }
        Err(self.conflict("it commits hidden rows faster than this write can follow"))
    }

    fn lines(
        &self,
        id: &str,
        record: &FlowRecord,
        hidden: Option<u64>,
        files: &FileActions,
    ) -> Result<Vec<Value>, LakeError> {
        let now = self.table.now();
        let wrong = |e: serde_json::Error| damaged(&self.table.name, e);
        let feed = match self.cdc.feed {
            Feed::Upserts => "Upserts",
            Feed::Deletes => "Deletes",
            Feed::Snapshot { .. } => "Snapshot",
        };
        let info = CommitInfo {
            at: now,
            operation: if self.view.is_none() { "CREATE TABLE AS SELECT" } else { "MERGE" },
            parameters: vec![
                ("mode", if self.refresh { "FullRefresh" } else { feed }.to_owned()),
                ("flow", self.spec.flow.clone()),
                ("microBatch", record.micro_batch.to_string()),
            ],
            metrics: vec![
                ("numTargetRowsInserted", self.counts.inserted),
                ("numTargetRowsUpdated", self.counts.updated),
                ("numTargetRowsDeleted", self.counts.deleted),
                ("numTargetFilesAdded", files.added),
                ("numTargetFilesRemoved", files.removed),
                ("numOutputRows", files.rows),
                ("numOutputBytes", files.bytes),
            ],
            engine: &self.table.core.app,
            blind_append: false,
            id,
        };
        let mut lines = vec![info.line()];
        lines.extend(self.plan.lines.iter().cloned());
        lines.push(actions::transaction(&self.spec.flow, record.micro_batch, now));
        lines.push(actions::flow_domain(&self.spec.flow, record).map_err(wrong)?);
        // With the rows go the offsets of all flows: none may go on behind rows that are no longer there.
        let others = self.view.iter().filter(|_| self.refresh).flat_map(|view| &view.flows);
        for (flow, earlier) in others.filter(|(flow, _)| **flow != self.spec.flow) {
            let forgotten = FlowRecord {
                v: FlowRecord::VERSION,
                micro_batch: earlier.micro_batch + 1,
                offset: None,
                forgotten: true,
                committed_at: Some(now),
                snapshot: None,
                files: None,
            };
            lines.push(actions::transaction(flow, forgotten.micro_batch, now));
            lines.push(actions::flow_domain(flow, &forgotten).map_err(wrong)?);
        }
        let before = self.base().and_then(|v| v.cdc.as_ref());
        let asked = CdcRecord {
            hidden,
            snapshot: match self.cdc.feed {
                Feed::Snapshot { .. } => Some(self.version),
                Feed::Upserts | Feed::Deletes => None,
            },
            ..self.config.record.clone()
        };
        if before != Some(&asked) {
            lines.push(asked.line().map_err(wrong)?);
        }
        lines.extend(files.lines.iter().cloned());
        Ok(lines)
    }

    async fn won(
        &mut self,
        version: u64,
        record: FlowRecord,
        files: &FileActions,
    ) -> Result<CommitOutcome, LakeError> {
        let outcome = CommitOutcome::Committed {
            version,
            micro_batch: record.micro_batch,
            rows: files.rows,
            bytes: files.bytes,
            files: files.added,
            changes: std::mem::take(&mut self.plan.changes),
        };
        self.last = record.micro_batch;
        self.state = record.state();
        self.refresh = false;
        self.spec.full_refresh = false;
        self.plan.lines.clear();
        self.settle();
        // The commit stands: what fails from here on is met by the next micro-batch.
        if let Err(error) = self.read_back().await {
            tracing::warn!(table = %self.table.name, version, error = &error as &dyn std::error::Error, "table not read back");
            self.view = None;
            self.sides = None;
        }
        self.tend().await;
        Ok(outcome)
    }

    /// Merges small files and purges dead rows, where the table needs it. The commit stands: what fails here is met
    /// again after the next one.
    async fn tend(&mut self) {
        let (Some(view), Some(sides)) = (&self.view, &self.sides) else { return };
        let limits = Limits {
            memory_bytes: self.spec.memory_bytes / TEND_SHARE,
            target_file_bytes: self.spec.target_file_bytes,
        };
        let is_worn = |side: &Side| upkeep::is_worn(side.set.live(), limits.target_file_bytes);
        if !is_worn(&sides.target) && !is_worn(&sides.hidden) {
            return;
        }
        let version = view.version;
        let tended = match upkeep::tend(&self.table, view.clone(), limits).await {
            Ok(None) => return,
            // Another writer's version in between must not pass for taken in.
            Ok(Some(done)) => match done.view.filter(|view| view.version == version + 1) {
                Some(view) => self.take_in(view).await,
                None => {
                    self.sides = None;
                    return;
                }
            },
            Err(error) => Err(error),
        };
        if let Err(error) = tended {
            tracing::warn!(table = %self.table.name, version, error = &error as &dyn std::error::Error, "files not tended");
            self.sides = None;
        }
    }

    fn settle(&mut self) {
        self.rows = 0;
        self.parts = 0;
        self.incomplete = false;
        self.replay = Some(Vec::new());
        self.snapshot = Stage::default();
        self.counts = Counts::default();
    }

    async fn read_back(&mut self) -> Result<(), LakeError> {
        let view = self.table.after_commit(self.view.as_ref()).await?;
        self.take_in(view).await
    }

    /// Goes on from a version in which nothing but what is known has changed.
    async fn take_in(&mut self, view: View) -> Result<(), LakeError> {
        let next = plan(&self.table, Some(&view), &self.spec, false)?;
        if next.schema != self.plan.schema || next.cluster_by != self.plan.cluster_by {
            // The columns bear other names in the log than planned: start over from what it says.
            self.sides = None;
        }
        self.adopt(view, next)?;
        let Some(sides) = &mut self.sides else { return Ok(()) };
        if let Some(view) = &self.view {
            sides.target.committed(self.table.live_files(view).await?)?;
            let hidden = sides.hidden.set.table.clone();
            let version = view.cdc.as_ref().and_then(|record| record.hidden);
            // Another writer may have changed the hidden rows since.
            if version == sides.hidden_version && !sides.hidden.set.is_changed() {
                return Ok(());
            }
            let live = match version {
                Some(version) => hidden.live_files(&hidden.view_at(version).await?).await?,
                None => Vec::new(),
            };
            sides.hidden.committed(live)?;
            sides.hidden_version = version;
        }
        Ok(())
    }

    fn adopt(&mut self, view: View, plan: Plan) -> Result<(), LakeError> {
        self.config = Config::new(&self.table.name, &self.cdc, &self.source, &plan.schema)?;
        self.layout = Arc::new(plan.layout_by(&self.table, &self.cdc.keys)?);
        self.adapter = adapter(&self.table, &self.cdc, &self.source, &self.layout);
        self.version = snapshot_version(&self.cdc, Some(&view));
        self.plan = Plan { changes: Vec::new(), ..plan };
        self.view = Some(view);
        Ok(())
    }

    /// Takes in what another writer committed. What was applied is applied again to what is there now.
    async fn catch_up(&mut self) -> Result<(), LakeError> {
        let Some(view) = self.table.view(self.view.as_ref()).await? else {
            return Err(self.conflict("it removed the table"));
        };
        let at = self.table.last_micro_batch(&view, &self.spec.flow).await?;
        if at != self.last {
            return Err(self.moved(at));
        }
        let same_table = self.view.as_ref().is_some_and(|old| {
            old.metadata == view.metadata
                && old.protocol == view.protocol
                && old.cluster_by == view.cluster_by
                && old.cdc == view.cdc
        });
        let same_files = match &self.view {
            Some(old) if same_table => {
                files_fingerprint(&self.table.live_files(old).await?)
                    == files_fingerprint(&self.table.live_files(&view).await?)
            }
            _ => false,
        };
        if same_files || (self.refresh && same_table) {
            self.view = Some(view);
            return Ok(());
        }
        let Some(batches) = self.replay.take() else {
            self.clear().await?;
            self.view = Some(view);
            self.incomplete = true;
            return Err(self.conflict("it changed rows while a large micro-batch was being applied"));
        };
        self.replay = Some(batches.clone());
        self.drop_sides().await;
        self.incomplete = !batches.is_empty();
        let replace = self.spec.full_refresh;
        let next = plan(&self.table, Some(&view), &self.spec, replace)?;
        let fits = physical_arrow(&next.schema) == self.layout.arrow;
        self.refresh = replace;
        self.adopt(view, next)?;
        if let Some(view) = self.base() {
            check_drift(&self.table, view, &self.config, &self.cdc).await?;
        }
        if !fits {
            return Err(self.conflict("it changed the columns"));
        }
        if batches.is_empty() {
            return Ok(());
        }
        self.incomplete = false;
        self.apply_batches(&batches).await
    }

    /// Forgets what was applied and is not committed.
    async fn clear(&mut self) -> Result<(), LakeError> {
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

    fn conflict(&self, what: &str) -> LakeError {
        LakeError::Conflict {
            table: self.table.name.clone(),
            version: self.view.as_ref().map_or(0, |v| v.version),
            what: what.to_owned(),
        }
    }

    fn moved(&self, micro_batch: u64) -> LakeError {
        LakeError::FlowMoved { table: self.table.name.clone(), flow: self.spec.flow.clone(), micro_batch }
    }

    /// Every row needs a key and, where changes have an order, a sequence.
    fn check_rows(&self, rows: &RecordBatch) -> Result<(), LakeError> {
        let missing = |column: String, role, rows: usize| {
            let rows = u64::try_from(rows).unwrap_or(u64::MAX);
            Err(LakeError::NullKey { table: self.table.name.clone(), column, role, rows })
        };
        for &key in &self.config.keys {
            let nulls = rows.column(key).logical_null_count();
            if nulls > 0 {
                let name = self.plan.schema.fields[key].name.clone();
                return missing(name, "which is part of the key", nulls);
            }
        }
        if let Some(path) = &self.config.sequence
            && let Some((root, below)) = path.split_first()
        {
            let sequence = crate::cdc::arrays::at_path(rows.column(*root), below)
                .map_err(|e| damaged(&self.table.name, e))?;
            let nulls = sequence.logical_null_count();
            if nulls > 0 {
                return missing(Config::sequence_name(&self.cdc), "which orders the changes", nulls);
            }
        }
        Ok(())
    }
}

fn adapter(table: &Table, cdc: &CdcSpec, source: &StructType, layout: &Layout) -> Adapter {
    let target: SchemaRef = match cdc.feed {
        // Of rows that are gone only keys and sequence need to be there.
        Feed::Deletes => {
            let fields = layout.arrow.fields().iter().map(|f| f.as_ref().clone().with_nullable(true));
            Arc::new(arrow_schema::Schema::new(fields.collect::<Vec<_>>()))
        }
        Feed::Upserts | Feed::Snapshot { .. } => Arc::clone(&layout.arrow),
    };
    Adapter::new(table.name.clone(), source.clone(), layout.logical.clone(), target)
}

/// The version of a snapshot: when it was taken, or just after the one before.
fn snapshot_version(cdc: &CdcSpec, view: Option<&View>) -> i64 {
    let Feed::Snapshot { version } = cdc.feed else { return 0 };
    let before = view.and_then(|v| v.cdc.as_ref()).and_then(|record| record.snapshot);
    version.timestamp_micros().max(before.map_or(i64::MIN, |before| before.saturating_add(1)))
}

#[async_trait]
impl TableWriter for CdcWriter {
    fn flow_state(&self) -> Option<&FlowState> {
        self.state.as_ref()
    }

    fn next_micro_batch(&self) -> u64 {
        self.last + 1
    }

    fn changes(&self) -> &[SchemaChange] {
        &self.plan.changes
    }

    async fn write(&mut self, batch: RecordBatch) -> Result<(), LakeError> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let rows = self.adapter.adapt(&batch)?;
        drop(batch);
        self.check_rows(&rows)?;
        self.rows += u64::try_from(rows.num_rows()).unwrap_or(0);
        self.pending_bytes += batch_bytes(&rows);
        self.pending.push(rows);
        let most = (self.spec.memory_bytes / PENDING_SHARE).max(LEAST_PENDING_BYTES);
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
