//! Writes one flow into one table.

use std::borrow::Cow;
use std::sync::Arc;

use arrow_array::RecordBatch;
use async_trait::async_trait;
use futures::StreamExt;
use headwater_connect::Offset;
use serde_json::Value;
use uuid::Uuid;

use crate::actions::{self, CommitInfo, DataFile, FlowRecord, SnapshotMark, fingerprint};
use crate::adapt::Adapter;
use crate::cdc::CdcRecord;
use crate::files::{DataFiles, Limits};
use crate::kernel::{LiveFile, damaged};
use crate::plan::{Plan, plan, plan_replace};
use crate::rows::RowHasher;
use crate::schema::fits;
use crate::table::{Landed, Position, Table, View, files_fingerprint};
use crate::upkeep::{self, TIER_FILES};
use crate::{
    CommitOutcome, FlowState, LakeError, ReadSpec, SchemaChange, Staged, TableWriter, WriteMode, WriterSpec,
    read,
};

/// How often a commit is put on top of another writer's before giving up.
const REBASES: usize = 50;

/// The writer of a flow.
#[derive(Debug)]
pub(crate) struct DeltaWriter {
    table: Table,
    spec: WriterSpec,
    /// The version that the plan was made for; `None` before the table is there.
    view: Option<View>,
    plan: Plan,
    adapter: Adapter,
    files: DataFiles,
    hasher: Option<Arc<RowHasher>>,
    position: Position,
    /// The next commit replaces everything.
    refresh: bool,
    /// Our last commit could not be read back yet.
    stale: bool,
}

/// A commit that is ready to be tried.
struct Attempt {
    version: u64,
    id: String,
    lines: Vec<Value>,
    record: FlowRecord,
    /// Files that were rewritten for it, which go when it is lost.
    rewritten: Option<DataFiles>,
}

/// What to do once the table has been looked at.
enum Step {
    Try(Box<Attempt>),
    Nothing,
}

impl DeltaWriter {
    pub(crate) async fn open(table: Table, spec: WriterSpec) -> Result<Self, LakeError> {
        let view = table.view(None).await?;
        let refresh = spec.full_refresh && view.is_some();
        let plan = plan(&table, view.as_ref(), &spec, refresh)?;
        check_changes(&table, view.as_ref(), &spec, refresh)?;
        let mut position = table.position(view.as_ref(), &spec.flow).await?;
        position.state = position.state.filter(|_| !refresh);
        let hasher = hasher(&spec, view.as_ref(), &plan);
        let (adapter, files) = outfit(&table, &spec, &plan, hasher.clone())?;
        Ok(Self { table, spec, view, plan, adapter, files, hasher, position, refresh, stale: false })
    }

    async fn commit_as(
        &mut self,
        number: Option<u64>,
        offset: Option<&Offset>,
    ) -> Result<CommitOutcome, LakeError> {
        self.files.finish().await?;
        // Whether a snapshot changes anything depends on what others did meanwhile.
        let compares = self.spec.mode == WriteMode::Snapshot && self.view.is_some();
        if self.stale || compares {
            self.catch_up().await?;
            self.stale = false;
        }
        for _ in 0..REBASES {
            match self.prepare(number, offset).await? {
                Step::Nothing => {
                    self.drop_files().await;
                    return Ok(CommitOutcome::Unchanged);
                }
                Step::Try(attempt) => {
                    // Until the end is known the files may be part of the table, also where this future is dropped.
                    self.files.hold(true);
                    let landed = self.table.commit(attempt.version, &attempt.lines, &attempt.id).await;
                    self.files.hold(landed.as_ref().is_err_and(LakeError::is_in_doubt));
                    match landed {
                        Ok(Landed::Won) => return self.won(*attempt).await,
                        Ok(Landed::Lost) => {
                            if let Some(mut rewritten) = attempt.rewritten {
                                rewritten.discard().await?;
                            }
                            self.catch_up().await?;
                        }
                        Err(e) => {
                            if let (Some(mut rewritten), false) = (attempt.rewritten, e.is_in_doubt()) {
                                rewritten.discard().await?;
                            }
                            return Err(e);
                        }
                    }
                }
            }
        }
        Err(LakeError::Conflict {
            table: self.table.name.clone(),
            version: self.view.as_ref().map_or(0, |v| v.version),
            what: "it commits faster than this write can follow".into(),
        })
    }

    /// Takes in what another writer committed; the staged files stay good or the write ends here.
    async fn catch_up(&mut self) -> Result<(), LakeError> {
        let Some(view) = self.table.view(self.view.as_ref()).await? else {
            return Err(self.conflict("it removed the table"));
        };
        self.table.check_position(&view, &self.spec.flow, &self.position).await?;
        let same = self.view.as_ref().is_some_and(|old| {
            old.metadata == view.metadata
                && old.protocol == view.protocol
                && old.cluster_by == view.cluster_by
                && old.cdc.is_some() == view.cdc.is_some()
        });
        if !same {
            let replace = self.refresh || (self.view.is_none() && self.spec.full_refresh);
            let plan = if replace {
                // The staged files keep the names that they were written with.
                plan_replace(&self.table, &view, &self.spec, Some(&self.plan.schema))?
            } else {
                plan(&self.table, Some(&view), &self.spec, false)?
            };
            check_changes(&self.table, Some(&view), &self.spec, replace)?;
            if !fits(&self.plan.schema, &plan.schema) {
                self.view = Some(view);
                return Err(self.conflict("it changed the columns"));
            }
            self.plan = plan;
            self.refresh = replace;
        }
        self.view = Some(view);
        Ok(())
    }

    fn conflict(&self, what: &str) -> LakeError {
        LakeError::Conflict {
            table: self.table.name.clone(),
            version: self.view.as_ref().map_or(0, |v| v.version),
            what: what.to_owned(),
        }
    }

    /// Works out the commit that puts what is staged on top of the version at hand.
    async fn prepare(&self, number: Option<u64>, offset: Option<&Offset>) -> Result<Step, LakeError> {
        let record = self.view.as_ref().and_then(|v| v.flows.get(&self.spec.flow));
        let last = self.position.last;
        let repeats = number == Some(last) && last > 0;
        let micro_batch = match number {
            None => last + 1,
            Some(number) if number > last || repeats => number,
            Some(_) => return Err(self.table.moved(&self.spec.flow, last)),
        };
        let new: &[DataFile] = self.files.done();
        if number.is_some()
            && new.is_empty()
            && !repeats
            && self.spec.mode == WriteMode::Append
            && !self.refresh
        {
            return Ok(Step::Nothing);
        }
        let all = self.refresh || self.plan.rewrite || self.spec.mode == WriteMode::Snapshot;
        let live = match &self.view {
            Some(view) if all || repeats => self.table.live_files(view).await?,
            _ => Vec::new(),
        };
        let mut keeps = false;
        if !self.refresh && !self.plan.changes_table() && self.view.is_some() {
            let same_rows = match self.spec.mode {
                WriteMode::Snapshot => self.holds_already(record, &live),
                WriteMode::Append | WriteMode::Cdc(_) => new.is_empty() && !repeats,
            };
            if same_rows && self.position.is_at(offset) {
                return Ok(Step::Nothing);
            }
            keeps = same_rows;
        }
        let replaced = self.replaced(record, &live, all && !keeps, repeats)?;
        let rewritten = match &self.view {
            Some(view) if self.plan.rewrite && !self.refresh => Some(self.rewrite(view).await?),
            _ => None,
        };
        let mut added: Vec<DataFile> = if keeps { Vec::new() } else { new.to_vec() };
        let own: Vec<String> = added.iter().map(|f| f.path.clone()).collect();
        added.extend(rewritten.iter().flat_map(|r| r.done().iter().cloned()));
        let now = self.table.now();
        let snapshot = match &self.hasher {
            None => None,
            Some(_) if keeps => record.and_then(|r| r.snapshot.clone()),
            Some(hasher) => Some(SnapshotMark {
                key: hasher.key().to_owned(),
                sum: self.files.sum().text(),
                rows: self.files.sum().rows,
                files: fingerprint(own.iter().map(|p| Cow::Borrowed(p.as_str()))),
            }),
        };
        let record = FlowRecord {
            v: FlowRecord::VERSION,
            micro_batch,
            offset: offset.map(|o| o.as_json().to_owned()),
            forgotten: false,
            committed_at: Some(now),
            snapshot,
            files: number.map(|_| own),
        };
        let id = Uuid::new_v4().to_string();
        let lines = self.lines(&id, &record, &added, &replaced)?;
        let version = self.view.as_ref().map_or(0, |v| v.version + 1);
        Ok(Step::Try(Box::new(Attempt { version, id, lines, record, rewritten })))
    }

    /// Says whether a staged snapshot equals what the table holds.
    fn holds_already(&self, record: Option<&FlowRecord>, live: &[LiveFile]) -> bool {
        let (Some(mark), Some(hasher)) = (record.and_then(|r| r.snapshot.as_ref()), &self.hasher) else {
            return false;
        };
        let sum = self.files.sum();
        mark.key == hasher.key()
            && mark.rows == sum.rows
            && mark.sum == sum.text()
            && mark.files == files_fingerprint(live)
    }

    /// The live files that the commit removes.
    fn replaced(
        &self,
        record: Option<&FlowRecord>,
        live: &[LiveFile],
        all: bool,
        repeats: bool,
    ) -> Result<Vec<LiveFile>, LakeError> {
        if all {
            return Ok(live.to_vec());
        }
        let Some(paths) = record.and_then(|r| r.files.as_ref()).filter(|_| repeats) else {
            return Ok(Vec::new());
        };
        let found: Vec<LiveFile> = live.iter().filter(|f| paths.contains(&f.path)).cloned().collect();
        if found.len() == paths.len() {
            return Ok(found);
        }
        Err(self.conflict("it rewrote the files that this micro-batch replaces"))
    }

    /// Writes all live rows anew with the types of the plan.
    async fn rewrite(&self, view: &View) -> Result<DataFiles, LakeError> {
        let layout = Arc::new(self.plan.layout(&self.table)?);
        let adapter = Adapter::new(
            self.table.name.clone(),
            view.schema.clone(),
            layout.logical.clone(),
            Arc::clone(&layout.arrow),
        );
        let mut files = DataFiles::new(self.table.clone(), layout, limits(&self.spec), None);
        let written = async {
            let mut rows = read::rows(&self.table, view, &ReadSpec::default())?;
            while let Some(batch) = rows.next().await {
                files.write(adapter.adapt(&batch?)?).await?;
            }
            files.finish().await
        };
        if let Err(e) = written.await {
            files.discard().await?;
            return Err(e);
        }
        Ok(files)
    }

    fn lines(
        &self,
        id: &str,
        record: &FlowRecord,
        added: &[DataFile],
        removed: &[LiveFile],
    ) -> Result<Vec<Value>, LakeError> {
        let now = self.table.now();
        let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        let mode = if self.refresh {
            "FullRefresh"
        } else {
            match self.spec.mode {
                WriteMode::Append => "Append",
                WriteMode::Snapshot => "Snapshot",
                WriteMode::Cdc(_) => "Cdc",
            }
        };
        let info = CommitInfo {
            at: now,
            operation: if self.view.is_none() { "CREATE TABLE AS SELECT" } else { "WRITE" },
            parameters: vec![
                ("mode", mode.to_owned()),
                ("flow", self.spec.flow.clone()),
                ("microBatch", record.micro_batch.to_string()),
            ],
            metrics: vec![
                ("numFiles", count(added.len())),
                ("numOutputRows", added.iter().map(|f| f.rows).sum()),
                ("numOutputBytes", added.iter().map(|f| f.size).sum()),
                ("numRemovedFiles", count(removed.len())),
            ],
            engine: &self.table.core.app,
            blind_append: removed.is_empty() && !added.is_empty() && !self.plan.changes_table(),
            id,
        };
        let mut lines = vec![info.line()];
        lines.extend(self.plan.lines.iter().cloned());
        if self.view.as_ref().is_some_and(|v| v.cdc.is_some()) {
            lines.push(CdcRecord::removal());
        }
        lines.push(actions::transaction(&self.spec.flow, record.micro_batch, now));
        let domain = actions::flow_domain(&self.spec.flow, record);
        lines.push(
            domain.map_err(|e| LakeError::BadSchema {
                table: self.table.name.clone(),
                reason: e.to_string(),
            })?,
        );
        // With the rows go the offsets of all flows: none may go on behind rows that are no longer there. Who has no
        // offset has nothing to go on from, and counts by numbers of its own.
        let others = self.view.iter().filter(|_| self.refresh).flat_map(|view| &view.flows);
        let others = others.filter(|(flow, record)| **flow != self.spec.flow && record.offset.is_some());
        lines.extend(actions::forget(others, now).map_err(|e| damaged(&self.table.name, e))?);
        lines.extend(removed.iter().map(|file| actions::remove(file, now, true)));
        lines.extend(added.iter().map(|file| actions::add(file, true)));
        Ok(lines)
    }

    /// Takes in our own commit.
    async fn won(&mut self, attempt: Attempt) -> Result<CommitOutcome, LakeError> {
        let new = self.files.done();
        let added = attempt.lines.iter().any(|line| line.get("add").is_some());
        let outcome = CommitOutcome::Committed {
            version: attempt.version,
            micro_batch: attempt.record.micro_batch,
            rows: if added { new.iter().map(|f| f.rows).sum() } else { 0 },
            bytes: if added { new.iter().map(|f| f.size).sum() } else { 0 },
            files: if added { u64::try_from(new.len()).unwrap_or(u64::MAX) } else { 0 },
            changes: std::mem::take(&mut self.plan.changes),
        };
        self.position.take(&attempt.record);
        self.refresh = false;
        if added {
            self.files.committed();
        } else {
            self.drop_files().await;
        }
        // The commit stands: what fails from here on must not look as if it did not.
        if let Err(error) = self.read_back().await {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(table = %self.table.name, error, "commit not read back yet");
            self.stale = true;
        } else {
            self.tend().await;
        }
        Ok(outcome)
    }

    /// Merges small files of a table that grows, where it needs it. The commit stands: what fails here is met again
    /// later.
    async fn tend(&mut self) {
        let every = u64::try_from(TIER_FILES).unwrap_or(1);
        let view = self.view.as_ref().filter(|v| v.version > 0 && v.version.is_multiple_of(every));
        let Some(view) = view.filter(|_| self.spec.mode == WriteMode::Append) else { return };
        let version = view.version;
        match upkeep::tend(&self.table, view.clone(), limits(&self.spec)).await {
            Ok(None) => {}
            Ok(Some(done)) => {
                self.stale = true;
                if let Some(view) = done.view.filter(|view| view.version == version + 1) {
                    self.view = Some(view);
                    self.stale = false;
                }
            }
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(table = %self.table.name, error, "files not tended");
            }
        }
    }

    async fn read_back(&mut self) -> Result<(), LakeError> {
        let view = self.table.after_commit(self.view.as_ref()).await?;
        let next = plan(&self.table, Some(&view), &self.spec, false)?;
        if next.schema != self.plan.schema || next.cluster_by != self.plan.cluster_by {
            let (adapter, files) = outfit(&self.table, &self.spec, &next, self.hasher.clone())?;
            (self.adapter, self.files) = (adapter, files);
        }
        self.plan = Plan { changes: Vec::new(), ..next };
        self.view = Some(view);
        Ok(())
    }

    /// Removes staged files that are not needed; those that cannot be removed are left to vacuum.
    async fn drop_files(&mut self) {
        if let Err(error) = self.files.discard().await {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(table = %self.table.name, error, "files that are not needed are left");
        }
    }
}

/// Rows must not be appended to, or replaced in, a table that shows the current rows of keys or their history.
pub(crate) fn check_changes(
    table: &Table,
    view: Option<&View>,
    spec: &WriterSpec,
    refresh: bool,
) -> Result<(), LakeError> {
    match view.and_then(|v| v.cdc.as_ref()) {
        Some(record) if !refresh => Err(LakeError::Drift {
            table: table.name.clone(),
            what: "the SCD type",
            was: record.scd_name(),
            now: match spec.mode {
                WriteMode::Append => "APPEND_ONLY".into(),
                WriteMode::Snapshot | WriteMode::Cdc(_) => "a whole snapshot without keys".into(),
            },
        }),
        _ => Ok(()),
    }
}

fn limits(spec: &WriterSpec) -> Limits {
    Limits { memory_bytes: spec.memory_bytes, target_file_bytes: spec.target_file_bytes.max(1) }
}

fn hasher(spec: &WriterSpec, view: Option<&View>, plan: &Plan) -> Option<Arc<RowHasher>> {
    if spec.mode != WriteMode::Snapshot {
        return None;
    }
    let mark = view.and_then(|v| v.flows.get(&spec.flow)).and_then(|r| r.snapshot.as_ref());
    let schema = crate::schema::physical_arrow(&plan.schema);
    Some(Arc::new(RowHasher::new(schema, mark.map(|m| m.key.clone()))))
}

fn outfit(
    table: &Table,
    spec: &WriterSpec,
    plan: &Plan,
    hasher: Option<Arc<RowHasher>>,
) -> Result<(Adapter, DataFiles), LakeError> {
    let layout = Arc::new(plan.layout(table)?);
    let adapter = Adapter::new(
        table.name.clone(),
        spec.schema.clone(),
        layout.logical.clone(),
        Arc::clone(&layout.arrow),
    );
    Ok((adapter, DataFiles::new(table.clone(), layout, limits(spec), hasher)))
}

#[async_trait]
impl TableWriter for DeltaWriter {
    fn flow_state(&self) -> Option<&FlowState> {
        self.position.state.as_ref()
    }

    fn next_micro_batch(&self) -> u64 {
        self.position.last + 1
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
        self.files.write(rows).await
    }

    fn staged(&self) -> Staged {
        self.files.staged()
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
        self.files.discard().await
    }
}
