//! One flow of an update: settles what the table is, then attempts until it is done or nothing helps.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use headwater_connect::{Connector, ConnectorFactory, Options, Retry};
use headwater_lake::{LakeError, TableWriter};
use tokio::time::Instant;

use crate::attempt::{self, AttemptEnd, AttemptFailure};
use crate::context::FlowContext;
use crate::events::Event;
use crate::expand::FlowTarget;
use crate::plan::{Part, describe};
use crate::writing::InDoubt;
use crate::{DeletesReport, FlowError, FlowReport, FlowStatus, TablePlan};

/// Everything that a flow is made of.
pub(crate) struct Flow {
    pub(crate) context: Arc<FlowContext>,
    pub(crate) target: FlowTarget,
    pub(crate) factory: Arc<dyn ConnectorFactory>,
    pub(crate) connection: Options,
    /// Made at the first attempt and kept: a connector may fix "now" when it is built, so that an update ends.
    pub(crate) connector: Option<Arc<dyn Connector>>,
    pub(crate) plan: Option<Arc<TablePlan>>,
    /// Flows of the table that have come to their end.
    pub(crate) ended: usize,
    pub(crate) in_doubt: Option<InDoubt>,
    /// What the connector has tried again by itself, as far as it is counted.
    pub(crate) silent_retries: u64,
}

/// Makes the instance that reads one table: the table's options go over the connection's, with `tableName`.
pub(crate) async fn connect(
    factory: &dyn ConnectorFactory,
    connection: &Options,
    target: &FlowTarget,
) -> Result<Arc<dyn Connector>, FlowError> {
    let mut options = connection.merged(&target.configuration.connector_options);
    options.set("tableName", &target.source_table);
    factory
        .connect(&options)
        .await
        .map(Arc::from)
        .map_err(|source| FlowError::Connect { table: target.source_table.clone(), source })
}

impl Flow {
    /// Runs to the end. Ends early at a stop, at once or at the next safe point.
    pub(crate) async fn run(mut self) -> FlowReport {
        let started_at = Instant::now();
        let context = self.context.clone();
        self.status(FlowStatus::Starting, None);
        let cancel = context.cancel.clone();
        let (status, error) = tokio::select! {
            biased;
            () = cancel.immediate() => (FlowStatus::Stopped, None),
            ended = self.attempts() => match ended {
                Ok(AttemptEnd::Completed) => (FlowStatus::Completed, None),
                Ok(AttemptEnd::Stopped) => (FlowStatus::Stopped, None),
                Err(error) => (FlowStatus::Failed, Some(error)),
            },
        };
        self.count_requests();
        self.status(status, error.as_ref());
        self.report(status, error, started_at.elapsed())
    }

    /// The report of a flow that was stopped before its turn came.
    pub(crate) fn not_started(self) -> FlowReport {
        self.status(FlowStatus::Stopped, None);
        self.report(FlowStatus::Stopped, None, Duration::ZERO)
    }

    fn report(self, status: FlowStatus, error: Option<FlowError>, duration: Duration) -> FlowReport {
        let progress = self.context.with_progress(std::mem::take);
        FlowReport {
            flow: self.target.flow,
            source_table: self.target.source_table,
            destination: self.target.destination,
            status,
            metrics: progress.metrics,
            duration,
            offset: progress.offset,
            deletes: self
                .plan
                .as_ref()
                .and_then(|plan| plan.deletes_flow.clone())
                .map(|flow| DeletesReport { flow, offset: progress.deletes_offset }),
            changes: progress.changes,
            warnings: self.plan.map(|plan| plan.warnings.clone()).unwrap_or_default(),
            error,
        }
    }

    fn status(&self, status: FlowStatus, error: Option<&FlowError>) {
        let context = &self.context;
        context.observer.flow_status(&context.id, status);
        let error = error.map(|error| error as &(dyn std::error::Error + 'static));
        context.events.record(Event::flow_progress(&context.id, status, &context.metrics(), error));
        match error {
            Some(error) => tracing::error!(flow = %context.id.flow, error, "flow failed"),
            None => tracing::info!(flow = %context.id.flow, status = status.as_str(), "flow"),
        }
    }

    fn count_requests(&mut self) {
        if let Some(connector) = &self.connector {
            let (requests, outside_bytes) = (connector.requests(), connector.memory_bytes());
            // The connector counts on; what it has counted before is in the figure already.
            let retries = connector.retries();
            let more = retries.saturating_sub(std::mem::replace(&mut self.silent_retries, retries));
            self.context.count(|metrics| {
                metrics.requests = requests;
                metrics.retries += more;
                metrics.outside_bytes = metrics.outside_bytes.max(outside_bytes);
            });
        }
    }

    /// Attempts until done, stopped, or nothing helps. Progress (a commit) starts the count of failures anew.
    async fn attempts(&mut self) -> Result<AttemptEnd, FlowError> {
        let context = self.context.clone();
        let policy = context.settings.retry;
        let mut failures = 0;
        let mut commits = 0;
        loop {
            let AttemptFailure { error, in_doubt } = match self.attempt().await {
                Ok(end) => return Ok(end),
                Err(failure) => failure,
            };
            // A look at the table that failed leaves the older doubt.
            self.in_doubt = in_doubt.or(self.in_doubt.take());
            self.count_requests();
            let committed = context.metrics().commits;
            if committed > commits {
                (commits, failures) = (committed, 0);
            }
            failures += 1;
            if error.retry() == Retry::Never {
                return Err(error);
            }
            if let Some(asked) = error.retry_after().filter(|asked| *asked > policy.longest_asked) {
                return Err(self.used_up(asked, error));
            }
            if failures >= policy.attempts.min(error.most_attempts()) {
                return Err(match failures {
                    1 => error,
                    attempts => FlowError::RetriesExhausted { attempts, source: Box::new(error) },
                });
            }
            let pause = policy.pause(failures, error.retry_after());
            context.count(|metrics| metrics.retries += 1);
            context.observer.flow_retry(&context.id, &error, failures, pause);
            context.events.record(Event::flow_retry(&context.id, &context.metrics(), failures, &error));
            tracing::warn!(flow = %context.id.flow, error = &error as &dyn std::error::Error,
                attempt = failures, pause_secs = pause.as_secs_f64(), "flow failed and is tried again");
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = context.cancel.requested() => {
                    // A commit in doubt is left to the next update, which reads the table.
                    return Ok(AttemptEnd::Stopped);
                }
            }
        }
    }

    /// What was committed stays, with its offset; the next update goes on from there.
    fn used_up(&self, asked: Duration, error: FlowError) -> FlowError {
        let wait = TimeDelta::from_std(asked).unwrap_or(TimeDelta::MAX);
        let resume_at = self.context.clock.now().checked_add_signed(wait).unwrap_or(DateTime::<Utc>::MAX_UTC);
        FlowError::QuotaUsedUp { table: self.target.source_table.clone(), resume_at, source: Box::new(error) }
    }

    async fn attempt(&mut self) -> Result<AttemptEnd, AttemptFailure> {
        let context = self.context.clone();
        let connector = match &self.connector {
            Some(connector) => connector.clone(),
            None => {
                let connector = tokio::select! {
                    biased;
                    () = context.cancel.requested() => return Ok(AttemptEnd::Stopped),
                    connector = connect(self.factory.as_ref(), &self.connection, &self.target) => connector?,
                };
                self.connector.insert(connector).clone()
            }
        };
        let plan = match &self.plan {
            Some(plan) => plan.clone(),
            None => {
                let plan = tokio::select! {
                    biased;
                    // Nothing has been read yet, so there is nothing to wait for.
                    () = context.cancel.requested() => return Ok(AttemptEnd::Stopped),
                    plan = describe(&self.target, connector.as_ref()) => Arc::new(plan?),
                };
                self.described(&plan);
                self.plan.insert(plan).clone()
            }
        };
        while let Some(part) = plan.parts().get(self.ended).copied() {
            let outside_bytes = connector.memory_bytes();
            let memory = context.memory.beside(outside_bytes);
            context.count(|metrics| metrics.outside_bytes = metrics.outside_bytes.max(outside_bytes));
            if let Some(writer) = self.open(&plan, part, memory.writer_bytes).await? {
                context.with_progress(|progress| {
                    *progress.offset_of(part) = writer.flow_state().and_then(|state| state.offset.clone());
                });
                if context.cancel.is_requested() {
                    return Ok(AttemptEnd::Stopped);
                }
                let profile = self.factory.profile();
                let ended =
                    attempt::run(&context, (&plan, part), connector.clone(), profile, memory, writer).await?;
                if ended == AttemptEnd::Stopped {
                    return Ok(AttemptEnd::Stopped);
                }
            }
            self.ended += 1;
        }
        Ok(AttemptEnd::Completed)
    }

    fn described(&self, plan: &TablePlan) {
        let context = &self.context;
        context.events.record(Event::flow_definition(&context.id, plan));
        for warning in &plan.warnings {
            tracing::warn!(flow = %context.id.flow, warning, "flow");
            context.observer.warning(Some(&context.id), warning);
            context.events.record(Event::warning(Some(&context.id), warning));
        }
        self.status(FlowStatus::Running, None);
    }

    /// Opens the table. `None` where the commit that was in doubt turns out to have been the flow's last.
    async fn open(
        &mut self,
        plan: &TablePlan,
        part: Part,
        writer_bytes: usize,
    ) -> Result<Option<Box<dyn TableWriter>>, FlowError> {
        let context = &self.context;
        let failed =
            |source| FlowError::Lake { table: context.destination.clone(), doing: "opening", source };
        let flow = plan.flow_of(part);
        if let Some(doubt) = &self.in_doubt {
            let table = context.lake.table(&context.destination).await.map_err(failed)?;
            let held = table.and_then(|table| table.flows.get(flow).map(|state| state.micro_batch));
            let landed = held.is_some_and(|held| held >= doubt.micro_batch);
            if let Some(doubt) = self.in_doubt.take().filter(|_| landed) {
                self.landed(&doubt);
                if doubt.last {
                    return Ok(None);
                }
            }
        }
        if plan.refreshes(part) {
            self.forget_deletions(plan).await.map_err(failed)?;
        }
        let spec = plan.writer_spec(part, &context.settings, writer_bytes);
        context.lake.writer(spec).await.map(Some).map_err(failed)
    }

    /// Lets the deletions be read from their start again, before the table is made anew: the records that come
    /// from the start may be of rows that have gone since. Deletions that are read twice change nothing, so that an
    /// update which ends between the two does no harm.
    async fn forget_deletions(&self, plan: &TablePlan) -> Result<(), LakeError> {
        let Some(flow) = &plan.deletes_flow else { return Ok(()) };
        let lake = &self.context.lake;
        let table = lake.table(&plan.destination).await?;
        let held = table.as_ref().and_then(|table| table.flows.get(flow));
        if held.is_some_and(|held| held.offset.is_some()) {
            lake.set_offset(&plan.destination, flow, None).await?;
        }
        Ok(())
    }

    fn landed(&self, doubt: &InDoubt) {
        self.context.count(|metrics| {
            metrics.commits += 1;
            metrics.rows_written += doubt.rows;
        });
    }
}
