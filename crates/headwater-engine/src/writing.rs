//! Writing: takes batches and commit points in order, and makes commits of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow_array::RecordBatch;
use headwater_connect::Offset;
use headwater_decode::BadRecord;
use headwater_lake::{CommitOutcome, LakeError, TableWriter};
use tokio::sync::mpsc;

use crate::FlowError;
use crate::context::FlowContext;
use crate::events::Event;
use crate::memory::BytesPermit;
use crate::plan::Part;
use crate::quarantine::Quarantine;

/// What the decoder's side asks of the writer's side.
pub(crate) enum WriteCommand {
    /// Rows. The permit stands for their memory.
    Batch { batch: RecordBatch, permit: BytesPermit },
    /// Records that did not fit. `first_record` is the number of the page's first record in the micro-batch.
    Bad { records: Vec<BadRecord>, first_record: u64, permit: BytesPermit },
    /// Commit everything since the last commit. `last`: nothing comes after it.
    Commit { offset: Option<Offset>, last: bool },
}

/// What the writer holds, as the decoder's side may see it: how many commits were made, and the bytes since.
#[derive(Debug, Default)]
pub(crate) struct Staging {
    commits: AtomicU64,
    bytes: AtomicU64,
}

impl Staging {
    /// Bytes staged since commit number `commits`; zero while that commit has not been made.
    pub(crate) fn bytes_since(&self, commits: u64) -> u64 {
        if self.commits.load(Ordering::Acquire) == commits { self.bytes.load(Ordering::Acquire) } else { 0 }
    }

    fn set_bytes(&self, bytes: u64) {
        self.bytes.store(bytes, Ordering::Release);
    }

    fn committed(&self) {
        self.bytes.store(0, Ordering::Release);
        self.commits.fetch_add(1, Ordering::AcqRel);
    }
}

/// A commit of which nobody knows whether it landed.
#[derive(Debug, Clone)]
pub(crate) struct InDoubt {
    /// The number that the micro-batch has if it did.
    pub(crate) micro_batch: u64,
    /// Rows in it.
    pub(crate) rows: u64,
    /// The flow had read everything.
    pub(crate) last: bool,
}

/// How the writer's side ended.
pub(crate) struct WriteEnd {
    pub(crate) result: Result<(), FlowError>,
    pub(crate) in_doubt: Option<InDoubt>,
}

pub(crate) struct WriteStage {
    pub(crate) context: Arc<FlowContext>,
    pub(crate) part: Part,
    /// The name of the flow in the table.
    pub(crate) flow: String,
    pub(crate) writer: Box<dyn TableWriter>,
    pub(crate) quarantine: Option<Quarantine>,
    pub(crate) staging: Arc<Staging>,
    pub(crate) in_doubt: Option<InDoubt>,
}

impl WriteStage {
    /// How often a commit that failed for certain is tried again before the flow starts over: what it has staged
    /// may have taken hours to read.
    const COMMIT_ATTEMPTS: u32 = 3;

    /// Works until the last commit, a failure, or the other side's end. What no commit took is forgotten.
    pub(crate) async fn run(mut self, mut commands: mpsc::Receiver<WriteCommand>) -> WriteEnd {
        let result = self.take(&mut commands).await;
        // The files of a commit that may have landed must stay.
        if self.in_doubt.is_none()
            && self.writer.staged().rows > 0
            && let Err(error) = self.writer.discard().await
        {
            tracing::warn!(flow = %self.context.id.flow, error = &error as &dyn std::error::Error,
                "uncommitted files could not be removed; vacuum takes them");
        }
        WriteEnd { result, in_doubt: self.in_doubt }
    }

    async fn take(&mut self, commands: &mut mpsc::Receiver<WriteCommand>) -> Result<(), FlowError> {
        while let Some(command) = commands.recv().await {
            match command {
                WriteCommand::Batch { batch, permit } => {
                    self.writer.write(batch).await.map_err(|source| self.failed("writing", source))?;
                    drop(permit);
                    self.staging.set_bytes(self.writer.staged().bytes);
                }
                WriteCommand::Bad { records, first_record, permit } => {
                    if let Some(quarantine) = &mut self.quarantine {
                        quarantine.add(records, first_record).await?;
                    }
                    drop(permit);
                }
                WriteCommand::Commit { offset, last } => self.commit(offset.as_ref(), last).await?,
            }
        }
        Ok(())
    }

    async fn commit(&mut self, offset: Option<&Offset>, last: bool) -> Result<(), FlowError> {
        let bad = match &mut self.quarantine {
            Some(quarantine) => quarantine.commit().await?,
            None => 0,
        };
        let outcome = self.commit_rows(offset, last).await?;
        self.staging.committed();
        if let Some(quarantine) = &mut self.quarantine {
            quarantine.follow(self.writer.next_micro_batch());
        }
        let context = &self.context;
        context.with_progress(|progress| *progress.offset_of(self.part) = offset.cloned());
        match outcome {
            CommitOutcome::Committed { version, micro_batch, rows, bytes, files, changes } => {
                context.with_progress(|progress| progress.changes.extend(changes.iter().cloned()));
                context.count(|metrics| {
                    metrics.commits += 1;
                    metrics.rows_written += rows;
                    metrics.bytes_written += bytes;
                    metrics.files_written += files;
                    metrics.bad_records += bad;
                });
                tracing::debug!(flow = %self.flow, version, micro_batch, rows, files, "committed");
                context.events.record(Event::committed(context, &self.flow, version, micro_batch, rows));
            }
            CommitOutcome::Unchanged => context.count(|metrics| metrics.bad_records += bad),
        }
        Ok(())
    }

    async fn commit_rows(&mut self, offset: Option<&Offset>, last: bool) -> Result<CommitOutcome, FlowError> {
        let retry = self.context.settings.retry;
        let mut failures = 0;
        loop {
            let rows = self.writer.staged().rows;
            let micro_batch = self.writer.next_micro_batch();
            // Until the commit has answered it may land: should this future be dropped, files must stay too, and
            // they do, because nothing is discarded then.
            match self.writer.commit(offset).await {
                Ok(outcome) => return Ok(outcome),
                Err(source) if source.is_in_doubt() => {
                    self.in_doubt = Some(InDoubt { micro_batch, rows, last });
                    return Err(self.failed("committing", source));
                }
                Err(source) => {
                    failures += 1;
                    if !source.is_retryable() || failures >= Self::COMMIT_ATTEMPTS {
                        return Err(self.failed("committing", source));
                    }
                    self.context.count(|metrics| metrics.retries += 1);
                    tokio::time::sleep(retry.pause(failures, None)).await;
                }
            }
        }
    }

    fn failed(&self, doing: &'static str, source: LakeError) -> FlowError {
        FlowError::Lake { table: self.context.destination.clone(), doing, source }
    }
}
