//! One attempt at a flow: fetch, decode and write run at the same time, with bounded queues between them.
//!
//! The decoder's side stands in the middle and decides: it knows where reads end, so it knows when a commit is
//! due and may be made.

use std::sync::Arc;

use arrow_array::RecordBatch;
use headwater_connect::{Connector, Offset, Page};
use headwater_decode::{DecodeError, DecodeOptions, Decoder, OnBadRecord, PageReport, Profile};
use headwater_lake::TableWriter;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::context::FlowContext;
use crate::memory::{BytesPermit, FlowMemory};
use crate::plan::Part;
use crate::quarantine::Quarantine;
use crate::reading::{Fetched, Reader};
use crate::writing::{InDoubt, Staging, WriteCommand, WriteEnd, WriteStage};
use crate::{FlowError, TablePlan};

/// How an attempt ended that did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AttemptEnd {
    /// Everything has been read and committed.
    Completed,
    /// It was asked to stop.
    Stopped,
}

/// Why an attempt failed.
pub(crate) struct AttemptFailure {
    pub(crate) error: FlowError,
    pub(crate) in_doubt: Option<InDoubt>,
}

impl From<FlowError> for AttemptFailure {
    fn from(error: FlowError) -> Self {
        Self { error, in_doubt: None }
    }
}

/// Pages in the queue, whatever their size: bytes are what bounds it, this only keeps tiny pages from piling up.
const QUEUED_PAGES: usize = 256;
const QUEUED_COMMANDS: usize = 64;

/// A page up to this size is decoded where it is; handing it to another thread would cost more.
const INLINE_PAGE_BYTES: usize = 32 * 1024;

/// Runs a flow from where its table stands until its end, a stop, or a failure.
///
/// # Cancel safety
/// When dropped, the table is as its last commit left it.
pub(crate) async fn run(
    context: &Arc<FlowContext>,
    (plan, part): (&TablePlan, Part),
    connector: Arc<dyn Connector>,
    profile: Profile,
    memory: FlowMemory,
    writer: Box<dyn TableWriter>,
) -> Result<AttemptEnd, AttemptFailure> {
    let start = writer.flow_state().and_then(|state| state.offset.clone());
    let decoder = new_decoder(context, plan, part, profile)?;
    let quarantine = match plan.on_bad_record {
        OnBadRecord::Quarantine => {
            Some(Quarantine::open(context, plan, part, writer.next_micro_batch()).await?)
        }
        OnBadRecord::Fail | OnBadRecord::Null => None,
    };

    let (fetched_sender, fetched) = mpsc::channel(QUEUED_PAGES);
    let reader = Reader {
        connector: connector.clone(),
        table: plan.source_table.clone(),
        options: plan.options.clone(),
        part,
        reading: plan.reading_of(part),
        pages: memory.pages.clone(),
        parallel_parts: context.settings.parallel_parts,
        cancel: context.cancel.clone(),
        sender: fetched_sender,
    };
    let (commands, command_receiver) = mpsc::channel(QUEUED_COMMANDS);
    let staging = Arc::new(Staging::default());
    let stage = WriteStage {
        context: context.clone(),
        part,
        flow: plan.flow_of(part).to_owned(),
        writer,
        quarantine,
        staging: staging.clone(),
        in_doubt: None,
    };
    let mut readers = JoinSet::new();
    readers.spawn(reader.run(start.clone()));
    let mut writers = JoinSet::new();
    writers.spawn(stage.run(command_receiver));

    let middle = Middle {
        context,
        memory,
        plan,
        part,
        connector,
        decoder: Some(decoder),
        commands,
        staging,
        committed: start,
        reached: None,
        at_boundary: true,
        reads_pending: false,
        records_pending: 0,
        commits: 0,
        last_commit_at: Instant::now(),
        pages: 0,
    };
    let decided = middle.run(fetched, &mut writers).await;
    readers.abort_all();
    // The command channel is closed now, so the writer's side comes to its end.
    let ended = match decided {
        Decided::WriterEnded(ended) => ended,
        Decided::Ended(result) => {
            let ended = joined(writers.join_next().await);
            match (ended.result, result) {
                // The writer's failure is the cause of the other where both failed.
                (Err(error), _) | (Ok(()), Err(error)) => {
                    return Err(AttemptFailure { error, in_doubt: ended.in_doubt });
                }
                (Ok(()), Ok(end)) => return Ok(end),
            }
        }
    };
    let error = match ended.result {
        Err(error) => error,
        Ok(()) => FlowError::TaskLost { source: "the writer ended before the reader".into() },
    };
    Err(AttemptFailure { error, in_doubt: ended.in_doubt })
}

fn new_decoder(
    context: &FlowContext,
    plan: &TablePlan,
    part: Part,
    profile: Profile,
) -> Result<Decoder, FlowError> {
    let options =
        DecodeOptions { profile, on_bad_record: plan.on_bad_record, batch_rows: context.settings.batch_rows };
    Decoder::new(plan.columns_of(part).decoded(), options).map_err(|source| FlowError::Decode {
        table: plan.source_table.clone(),
        page: 0,
        source,
    })
}

fn joined(ended: Option<Result<WriteEnd, tokio::task::JoinError>>) -> WriteEnd {
    let lost = |source| WriteEnd { result: Err(FlowError::TaskLost { source }), in_doubt: None };
    match ended {
        Some(Ok(ended)) => ended,
        Some(Err(error)) => lost(error.into()),
        None => lost("the writer was gone".into()),
    }
}

enum Decided {
    Ended(Result<AttemptEnd, FlowError>),
    WriterEnded(WriteEnd),
}

/// Why the middle stage ends early.
enum Halt {
    Failed(Box<FlowError>),
    /// The writer's side no longer listens; it knows why.
    WriterGone,
}

impl Halt {
    fn failed(error: FlowError) -> Self {
        Halt::Failed(Box::new(error))
    }
}

struct Middle<'a> {
    context: &'a Arc<FlowContext>,
    memory: FlowMemory,
    plan: &'a TablePlan,
    part: Part,
    connector: Arc<dyn Connector>,
    /// Away while a page is being decoded on another thread.
    decoder: Option<Decoder>,
    commands: mpsc::Sender<WriteCommand>,
    staging: Arc<Staging>,
    /// The offset of the last commit.
    committed: Option<Offset>,
    /// The offset of the last boundary.
    reached: Option<Offset>,
    /// No record has come since the last boundary.
    at_boundary: bool,
    /// A boundary has come since the last commit.
    reads_pending: bool,
    /// Records since the last commit, bad ones included.
    records_pending: u64,
    commits: u64,
    last_commit_at: Instant,
    pages: u64,
}

impl Middle<'_> {
    async fn run(mut self, mut fetched: mpsc::Receiver<Fetched>, writers: &mut JoinSet<WriteEnd>) -> Decided {
        let cancel = self.context.cancel.clone();
        let grace = self.context.settings.stop_grace;
        let given_up = std::pin::pin!(async move {
            cancel.requested().await;
            tokio::time::sleep(grace).await;
        });
        let mut given_up = given_up;
        loop {
            let idle_commit_at = self.idle_commit_at();
            let item = tokio::select! {
                biased;
                ended = writers.join_next() => return Decided::WriterEnded(joined(ended)),
                () = &mut given_up => return Decided::Ended(Ok(AttemptEnd::Stopped)),
                item = fetched.recv() => item,
                () = until(idle_commit_at) => {
                    match self.commit(false).await {
                        Ok(()) => continue,
                        Err(halt) => return Decided::Ended(self.halted(halt)),
                    }
                }
            };
            let ended = match item {
                None => {
                    let source = "the reader was gone".into();
                    Some(Err(FlowError::TaskLost { source }))
                }
                Some(item) => match self.take(item).await {
                    Ok(ended) => ended.map(Ok),
                    Err(halt) => Some(self.halted(halt)),
                },
            };
            if let Some(ended) = ended {
                return Decided::Ended(ended);
            }
        }
    }

    /// A writer that is gone has an error of its own, which is preferred to this one.
    fn halted(&self, halt: Halt) -> Result<AttemptEnd, FlowError> {
        match halt {
            Halt::Failed(error) => Err(*error),
            Halt::WriterGone => Err(FlowError::TaskLost { source: "the writer was gone".into() }),
        }
    }

    async fn take(&mut self, item: Fetched) -> Result<Option<AttemptEnd>, Halt> {
        match item {
            Fetched::Page { page, permit } => {
                self.at_boundary = false;
                self.page(page, permit).await?;
                Ok(None)
            }
            Fetched::Boundary { offset, last } => {
                self.at_boundary = true;
                self.reads_pending = true;
                self.reached = offset;
                let requests = self.connector.requests();
                self.context.count(|metrics| {
                    metrics.reads += 1;
                    metrics.requests = requests;
                });
                if last {
                    self.commit(true).await?;
                    return Ok(Some(AttemptEnd::Completed));
                }
                if !self.plan.single_commit(self.part) && self.is_commit_due() {
                    self.commit(false).await?;
                }
                Ok(None)
            }
            Fetched::Stopped => {
                self.commit_if_safe().await?;
                Ok(Some(AttemptEnd::Stopped))
            }
            Fetched::Failed(error) => {
                self.commit_if_safe().await?;
                Err(Halt::failed(error))
            }
        }
    }

    /// Commits what whole reads have given, when nothing else is staged with it.
    async fn commit_if_safe(&mut self) -> Result<(), Halt> {
        if self.at_boundary && !self.plan.single_commit(self.part) && self.has_pending() {
            self.commit(false).await?;
        }
        Ok(())
    }

    fn has_pending(&self) -> bool {
        self.reads_pending && (self.records_pending > 0 || self.reached != self.committed)
    }

    fn is_commit_due(&self) -> bool {
        let policy = &self.context.settings.commit;
        self.has_pending()
            && (self.records_pending >= policy.rows
                || self.staging.bytes_since(self.commits) >= policy.bytes
                || self.last_commit_at.elapsed() >= policy.interval)
    }

    /// When to commit if nothing comes until then: a slow source must not hold back what is there.
    fn idle_commit_at(&self) -> Option<Instant> {
        let may = self.at_boundary && !self.plan.single_commit(self.part) && self.has_pending();
        may.then(|| self.last_commit_at + self.context.settings.commit.interval)
    }

    async fn commit(&mut self, last: bool) -> Result<(), Halt> {
        if let Some(batch) = self.decoder()?.finish().map_err(|source| self.undecodable(source))? {
            self.batch(batch).await?;
        }
        let offset = self.reached.clone();
        self.send(WriteCommand::Commit { offset, last }).await?;
        self.committed = self.reached.clone();
        self.reads_pending = false;
        self.records_pending = 0;
        self.commits += 1;
        self.last_commit_at = Instant::now();
        Ok(())
    }

    async fn page(&mut self, page: Page, permit: BytesPermit) -> Result<(), Halt> {
        self.pages += 1;
        let bytes = page.size_bytes() as u64;
        let mut report = self.decode(page, permit).await?;
        self.context.count(|metrics| {
            metrics.pages += 1;
            metrics.bytes_read += bytes;
            metrics.records_read += report.records;
            if self.part == Part::Deletions {
                metrics.deletions_read += report.records;
            }
            metrics.nulled_values += report.nulled;
        });
        let first_record = self.records_pending;
        self.records_pending += report.records;
        if !report.bad.is_empty() {
            let columns = self.plan.columns_of(self.part);
            for bad in &mut report.bad {
                if let Some(role) = bad.column.as_deref().and_then(|column| columns.role_of(column)) {
                    bad.reason = format!("{}, in a column {role}", bad.reason);
                }
            }
            let bytes = report.bad.iter().map(|bad| bad.raw.len() + bad.reason.len() + 128).sum();
            let permit = self.memory.batches.acquire(bytes).await;
            self.send(WriteCommand::Bad { records: report.bad, first_record, permit }).await?;
        }
        loop {
            let limit = self.memory.decoder_bytes;
            let decoder = self.decoder()?;
            let ready = match decoder.take_full() {
                Ok(None) if decoder.buffered_bytes() >= limit => decoder.finish(),
                ready => ready,
            };
            match ready.map_err(|source| self.undecodable(source))? {
                Some(batch) => self.batch(batch).await?,
                None => return Ok(()),
            }
        }
    }

    /// Decodes a page, on another thread where it is large. The permit is held until the page is gone.
    async fn decode(&mut self, page: Page, permit: BytesPermit) -> Result<PageReport, Halt> {
        let report = if page.size_bytes() <= INLINE_PAGE_BYTES {
            let report = self.decoder()?.push(&page);
            drop((page, permit));
            report
        } else {
            let Some(mut decoder) = self.decoder.take() else { return Err(no_decoder()) };
            let mut tasks = JoinSet::new();
            tasks.spawn_blocking(move || {
                let report = decoder.push(&page);
                drop((page, permit));
                (decoder, report)
            });
            match tasks.join_next().await {
                Some(Ok((decoder, report))) => {
                    self.decoder = Some(decoder);
                    report
                }
                Some(Err(lost)) => return Err(Halt::failed(FlowError::TaskLost { source: lost.into() })),
                None => return Err(no_decoder()),
            }
        };
        report.map_err(|source| self.undecodable(source))
    }

    async fn batch(&mut self, batch: RecordBatch) -> Result<(), Halt> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let batch = self
            .plan
            .columns_of(self.part)
            .written(batch)
            .map_err(|source| self.undecodable(DecodeError::Batch { source }))?;
        let permit = self.memory.batches.acquire(batch.get_array_memory_size()).await;
        self.send(WriteCommand::Batch { batch, permit }).await
    }

    async fn send(&mut self, command: WriteCommand) -> Result<(), Halt> {
        self.commands.send(command).await.map_err(|_| Halt::WriterGone)
    }

    fn decoder(&mut self) -> Result<&mut Decoder, Halt> {
        self.decoder.as_mut().ok_or_else(no_decoder)
    }

    fn undecodable(&self, source: DecodeError) -> Halt {
        let (table, page) = (self.plan.source_table.clone(), self.pages);
        let columns = self.plan.columns_of(self.part);
        let unplaced = match &source {
            DecodeError::Unfit { column, .. } | DecodeError::ArrowColumn { column, .. } => {
                columns.role_of(column).map(|role| (column.clone(), role))
            }
            _ => None,
        };
        Halt::failed(match unplaced {
            Some((column, role)) => {
                let on_bad_record = self.plan.on_bad_record;
                FlowError::Unplaced { table, page, column, role, on_bad_record, source }
            }
            None => FlowError::Decode { table, page, source },
        })
    }
}

fn no_decoder() -> Halt {
    Halt::failed(FlowError::TaskLost { source: "the decoder was lost with its thread".into() })
}

/// Waits until an instant, or for ever where there is none.
async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending::<()>().await,
    }
}
