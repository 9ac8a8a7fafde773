//! Puts what a writer of changes has applied into the log: the hidden rows first, then the target with its rows, the
//! offset, and the version of the hidden rows that goes with them.

use headwater_connect::Offset;
use serde_json::Value;
use uuid::Uuid;

use crate::actions::{self, CommitInfo, FlowRecord};
use crate::cdc::config::CdcRecord;
use crate::cdc::fileset::Origin;
use crate::cdc::fit::Fit;
use crate::cdc::side::{FileActions, Side, hidden_lines, hidden_schema, mapping_properties};
use crate::cdc::writer::CdcWriter;
use crate::files::Limits;
use crate::kernel::damaged;
use crate::plan::{Plan, uses_vectors};
use crate::table::{Landed, View};
use crate::{CommitOutcome, Feed, LakeError, upkeep};

/// How often a commit is put on top of another writer's before giving up.
const REBASES: usize = 20;
/// The share of the memory for upkeep, which goes on between micro-batches: only decoded keys are held then.
const TEND_SHARE: usize = 2;

/// How an attempt to commit ended.
enum Tried {
    Done(CommitOutcome),
    Lost,
}

impl CdcWriter {
    pub(super) async fn commit_as(
        &mut self,
        number: Option<u64>,
        offset: Option<&Offset>,
    ) -> Result<CommitOutcome, LakeError> {
        let last = self.position.last;
        let micro_batch = number.unwrap_or(last + 1);
        if micro_batch < last {
            return Err(self.table.moved(&self.asked.spec.flow, last));
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

    async fn try_commit(&mut self, micro_batch: u64, offset: Option<&Offset>) -> Result<Tried, LakeError> {
        let base = self.base();
        // A table that was filled by snapshots before their keys were recorded takes the record on with a commit.
        let known = base.is_some_and(|view| view.cdc.is_some());
        if known && !self.is_changed() && !self.fit.plan.changes_table() && self.position.is_at(offset) {
            self.clear().await?;
            return Ok(Tried::Done(CommitOutcome::Unchanged));
        }
        self.sides().await?;
        self.incomplete = true;
        self.rewrite().await?;
        self.incomplete = false;
        let hidden = self.commit_hidden().await?;
        let now = self.table.now();
        let live = self.live().await?;
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
        let vectors = uses_vectors(&self.asked.spec, self.base().map(|v| &v.metadata));
        let all = self.fit.plan.rewrite;
        let Some(sides) = &mut self.sides else { return Ok(()) };
        let wanted: Vec<usize> = (0..sides.target.set.entries.len())
            .filter(|&at| {
                let entry = &sides.target.set.entries[at];
                let old = matches!(entry.origin, Origin::Live(_));
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
        let schema = hidden_schema(&self.fit.plan.schema);
        let mapping = mapping_properties(&self.fit.plan, self.view.as_ref());
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
                parameters: vec![("mode", "Hidden".to_owned()), ("flow", self.asked.spec.flow.clone())],
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
        let feed = match self.asked.cdc.feed {
            Feed::Upserts => "Upserts",
            Feed::Deletes => "Deletes",
            Feed::Snapshot { .. } => "Snapshot",
        };
        let info = CommitInfo {
            at: now,
            operation: if self.view.is_none() { "CREATE TABLE AS SELECT" } else { "MERGE" },
            parameters: vec![
                ("mode", if self.refresh { "FullRefresh" } else { feed }.to_owned()),
                ("flow", self.asked.spec.flow.clone()),
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
        lines.extend(self.fit.plan.lines.iter().cloned());
        lines.push(actions::transaction(&self.asked.spec.flow, record.micro_batch, now));
        lines.push(actions::flow_domain(&self.asked.spec.flow, record).map_err(wrong)?);
        // With the rows go the offsets of all flows: none may go on behind rows that are no longer there.
        let others = self.view.iter().filter(|_| self.refresh).flat_map(|view| &view.flows);
        let others = others.filter(|(flow, _)| **flow != self.asked.spec.flow);
        lines.extend(actions::forget(others, now).map_err(wrong)?);
        let before = self.base().and_then(|v| v.cdc.as_ref());
        let asked = CdcRecord {
            hidden,
            snapshot: match self.asked.cdc.feed {
                Feed::Snapshot { .. } => Some(self.fit.snapshot_version),
                Feed::Upserts | Feed::Deletes => None,
            },
            ..self.fit.config.record.clone()
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
            changes: std::mem::take(&mut self.fit.plan.changes),
        };
        self.position.take(&record);
        self.refresh = false;
        self.asked.spec.full_refresh = false;
        self.fit.plan.lines.clear();
        self.settle();
        // The commit stands: what fails from here on is met by the next micro-batch.
        if let Err(error) = self.read_back().await {
            tracing::warn!(table = %self.table.name, version, error = &error as &dyn std::error::Error, "table not read back");
            self.stand_on(None, None);
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
            memory_bytes: self.asked.spec.memory_bytes / TEND_SHARE,
            target_file_bytes: self.asked.spec.target_file_bytes,
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

    async fn read_back(&mut self) -> Result<(), LakeError> {
        let view = self.table.after_commit(self.view.as_ref()).await?;
        self.take_in(view).await
    }

    /// Goes on from a version in which nothing but what is known has changed.
    async fn take_in(&mut self, view: View) -> Result<(), LakeError> {
        let fit = Fit::to(&self.table, Some(&view), &self.asked, false).await?;
        if fit.plan.schema != self.fit.plan.schema || fit.plan.cluster_by != self.fit.plan.cluster_by {
            // The columns bear other names in the log than planned: start over from what it says.
            self.sides = None;
        }
        let plan = Plan { changes: Vec::new(), ..fit.plan };
        self.fit = Fit { plan, ..fit };
        let version = view.cdc.as_ref().and_then(|record| record.hidden);
        self.stand_on(Some(view), None);
        if self.sides.is_none() {
            return Ok(());
        }
        let live = self.live().await?;
        let Some(sides) = &mut self.sides else { return Ok(()) };
        sides.target.committed(live.iter().cloned())?;
        // Another writer may have changed the hidden rows since.
        if version == sides.hidden_version && !sides.hidden.set.is_changed() {
            return Ok(());
        }
        let hidden = sides.hidden.set.table.clone();
        let live = match version {
            Some(version) => hidden.live_files(&hidden.view_at(version).await?).await?,
            None => Vec::new(),
        };
        sides.hidden.committed(live)?;
        sides.hidden_version = version;
        Ok(())
    }
}
