use std::collections::HashMap;
use std::sync::Arc;

use headwater_connect::{Clock, ConnectorFactory, Options, Retry, Secret, SystemClock};
use headwater_lake::Lake;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::context::{FlowContext, Progress};
use crate::events::{Event, EventLog, LogPlace};
use crate::expand::{Expanded, FlowTarget, expand};
use crate::flow::{Flow, connect};
use crate::memory::{ByteBudget, FlowMemory, STEP_BYTES};
use crate::observer::Observer;
use crate::plan::{Part, TablePlan, describe};
use crate::settings::EngineSettings;
use crate::{
    Cancellation, FlowError, FlowReport, FlowStatus, PipelineDefinition, UpdateError, UpdateReport,
    UpdateState,
};

/// Which tables are made anew.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum FullRefresh {
    /// None.
    #[default]
    None,
    /// All of the pipeline's.
    All,
    /// These, by their names in the source or in the lake.
    Tables(Vec<String>),
}

/// What one update does.
#[derive(Clone)]
pub struct UpdateRequest {
    /// The pipeline.
    pub pipeline: PipelineDefinition,
    /// Makes the connector.
    pub factory: Arc<dyn ConnectorFactory>,
    /// The connection's options, secrets resolved.
    pub connection: Options,
    /// Names of the options whose values must never stand in an event, of the connection or of a table.
    pub secret_options: Vec<String>,
    /// Other texts that must never stand in one.
    pub secrets: Vec<Secret>,
    /// Which tables are made anew.
    pub full_refresh: FullRefresh,
    /// Only these tables, by their names in the source or in the lake; all where `None`.
    pub tables: Option<Vec<String>>,
    /// Asks the update to end early.
    pub cancel: Cancellation,
}

impl UpdateRequest {
    /// An ordinary update of all tables.
    pub fn new(
        pipeline: PipelineDefinition,
        factory: Arc<dyn ConnectorFactory>,
        connection: Options,
    ) -> Self {
        Self {
            pipeline,
            factory,
            connection,
            secret_options: Vec::new(),
            secrets: Vec::new(),
            full_refresh: FullRefresh::None,
            tables: None,
            cancel: Cancellation::new(),
        }
    }

    /// Everything that must not stand in an event.
    fn all_secrets(&self) -> Vec<Secret> {
        let objects = self.pipeline.spec.value.objects().iter();
        let options = objects.map(|object| &object.configuration().connector_options);
        let values = std::iter::once(&self.connection)
            .chain(options)
            .flat_map(|options| self.secret_options.iter().filter_map(|name| options.secret(name)));
        values.chain(self.secrets.iter().cloned()).collect()
    }
}

/// What an update would do. See [`Engine::plan`].
#[derive(Debug)]
pub struct UpdatePlan {
    /// Each table, or why it could not be read, in the order of the pipeline's objects.
    pub tables: Vec<PlannedTable>,
    /// What the user should know and no table says.
    pub warnings: Vec<String>,
}

/// What an update would do with one table.
#[derive(Debug)]
pub struct PlannedTable {
    /// The table of the source.
    pub source_table: String,
    /// The plan, or why there is none.
    pub plan: Result<TablePlan, FlowError>,
}

/// Runs updates. One per process: its memory is shared by all updates that run at the same time.
#[derive(Clone)]
pub struct Engine {
    lake: Arc<dyn Lake>,
    clock: Arc<dyn Clock>,
    settings: Arc<EngineSettings>,
    memory: ByteBudget,
}

impl Engine {
    /// An engine that writes to `lake`.
    pub fn new(lake: Arc<dyn Lake>, settings: EngineSettings) -> Self {
        let memory = ByteBudget::new(settings.memory_bytes);
        Self { lake, clock: Arc::new(SystemClock), settings: Arc::new(settings), memory }
    }

    /// The same engine with another clock.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Tells what an update would do, and changes nothing. Asks the source for schemas and metadata only.
    ///
    /// # Errors
    /// The tables cannot be told. What goes wrong with one table stands in its place of the plan.
    pub async fn plan(&self, request: &UpdateRequest) -> Result<UpdatePlan, UpdateError> {
        let Expanded { targets, warnings } = tokio::select! {
            biased;
            () = request.cancel.requested() => return Err(UpdateError::Canceled),
            expanded = expand(request, self.settings.retry, self.clock.now()) => expanded?,
        };
        let slots = Arc::new(Semaphore::new(self.settings.parallel_flows.max(1)));
        let mut tasks = JoinSet::new();
        for (index, target) in targets.iter().cloned().enumerate() {
            let (engine, slots) = (self.clone(), slots.clone());
            let (factory, connection) = (request.factory.clone(), request.connection.clone());
            tasks.spawn(async move {
                let _slot = slots.acquire_owned().await;
                (index, engine.plan_table(&target, factory.as_ref(), &connection).await)
            });
        }
        let mut plans: Vec<Option<Result<TablePlan, FlowError>>> = targets.iter().map(|_| None).collect();
        loop {
            let joined = tokio::select! {
                biased;
                () = request.cancel.requested() => return Err(UpdateError::Canceled),
                joined = tasks.join_next() => joined,
            };
            match joined {
                None => break,
                Some(Ok((index, plan))) => {
                    if let Some(place) = plans.get_mut(index) {
                        *place = Some(plan);
                    }
                }
                Some(Err(lost)) => {
                    tracing::error!(error = &lost as &dyn std::error::Error, "planning was lost")
                }
            }
        }
        let planned = targets.into_iter().zip(plans).map(|(target, plan)| PlannedTable {
            source_table: target.source_table,
            plan: plan.unwrap_or_else(|| Err(FlowError::TaskLost { source: "its task panicked".into() })),
        });
        Ok(UpdatePlan { tables: planned.collect(), warnings })
    }

    async fn plan_table(
        &self,
        target: &FlowTarget,
        factory: &dyn ConnectorFactory,
        connection: &Options,
    ) -> Result<TablePlan, FlowError> {
        let mut connector = None;
        let mut failures = 0;
        let mut plan = loop {
            let described = async {
                let connector = match &connector {
                    Some(connector) => Arc::clone(connector),
                    None => connector.insert(connect(factory, connection, target).await?).clone(),
                };
                describe(target, connector.as_ref()).await
            };
            match described.await {
                Ok(plan) => break plan,
                Err(error) => {
                    failures += 1;
                    let most = self.settings.retry.attempts.min(error.most_attempts());
                    let asked = error.retry_after();
                    let too_long = asked.is_some_and(|asked| asked > self.settings.retry.longest_asked);
                    if error.retry() == Retry::Never || failures >= most || too_long {
                        return Err(error);
                    }
                    tokio::time::sleep(self.settings.retry.pause(failures, asked)).await;
                }
            }
        };
        let failed = |source| FlowError::Lake { table: target.destination.clone(), doing: "opening", source };
        let table = self.lake.table(&target.destination).await.map_err(failed)?;
        if let Some(table) = table {
            plan.state = table.flows.get(&plan.flow).cloned();
            plan.deletes_state = plan.deletes_flow.as_ref().and_then(|flow| table.flows.get(flow).cloned());
        }
        let spec = plan.writer_spec(Part::Records, &self.settings, 0);
        plan.changes = self.lake.plan(&spec).await.map_err(failed)?;
        Ok(plan)
    }

    /// Runs an update to its end. Everything that goes wrong stands in the report.
    ///
    /// # Cancel safety
    /// When dropped, each table is as its last commit left it. To end in good order, use the request's
    /// [`Cancellation`].
    pub async fn run(&self, request: UpdateRequest, observer: Arc<dyn Observer>) -> UpdateReport {
        let started = Instant::now();
        let update_id = uuid::Uuid::new_v4().to_string();
        let pipeline = &request.pipeline;
        let mut report = UpdateReport {
            update_id: update_id.clone(),
            pipeline: pipeline.name.clone(),
            state: UpdateState::WaitingForResources,
            started_at: self.clock.now(),
            duration: std::time::Duration::ZERO,
            flows: Vec::new(),
            warnings: Vec::new(),
            error: None,
        };
        let events = match &pipeline.event_log {
            None => EventLog::none(),
            Some(table) => {
                let place = LogPlace {
                    table,
                    pipeline_id: &pipeline.id,
                    pipeline: &pipeline.name,
                    update_id: &update_id,
                };
                let secrets = request.all_secrets();
                EventLog::new(&place, self.lake.clone(), self.clock.clone(), self.settings.clone(), secrets)
            }
        };
        let mut log_task = JoinSet::new();
        log_task.spawn(events.clone().run());
        events.record(Event::create_update(&refresh_json(&request.full_refresh), request.tables.as_deref()));
        let update = Update { engine: self, request: &request, observer, events: events.clone() };
        update.run(&mut report).await;
        events.end();
        // A stop at once does not wait for the log either.
        let logged = tokio::select! {
            biased;
            logged = log_task.join_next() => logged,
            () = async { request.cancel.immediate().await; tokio::time::sleep(LOG_PATIENCE).await } => None,
        };
        let problem = match logged {
            Some(Ok(problem)) => problem.map(|error| text_with_causes(&error)),
            Some(Err(lost)) => Some(lost.to_string()),
            None => Some("the update was stopped before it was written".to_owned()),
        };
        if let Some(problem) = problem {
            let warning = format!("the event log is not complete: {problem}");
            tracing::warn!(problem, "the event log is not complete");
            update.observer.warning(None, &warning);
            report.warnings.push(warning);
        }
        report.duration = started.elapsed();
        report
    }
}

/// How long the event log may still be written after a stop at once.
const LOG_PATIENCE: std::time::Duration = std::time::Duration::from_secs(2);

/// One run of [`Engine::run`].
struct Update<'a> {
    engine: &'a Engine,
    request: &'a UpdateRequest,
    observer: Arc<dyn Observer>,
    events: EventLog,
}

impl Update<'_> {
    async fn run(&self, report: &mut UpdateReport) {
        self.state(report, UpdateState::WaitingForResources, None);
        self.state(report, UpdateState::Initializing, None);
        let cancel = &self.request.cancel;
        let targets = tokio::select! {
            biased;
            () = cancel.requested() => Err(UpdateError::Canceled),
            expanded = expand(self.request, self.engine.settings.retry, report.started_at) => expanded,
        };
        let Expanded { targets, warnings } = match targets {
            Ok(expanded) => expanded,
            Err(UpdateError::Canceled) => return self.state(report, UpdateState::Canceled, None),
            Err(error) => {
                self.state(report, UpdateState::Failed, Some(&error));
                report.error = Some(error);
                return;
            }
        };
        for warning in &warnings {
            self.observer.warning(None, warning);
            self.events.record(Event::warning(None, warning));
        }
        report.warnings.extend(warnings);
        self.state(report, UpdateState::Running, None);
        report.flows = self.flows(targets).await;
        let any = |status| report.flows.iter().any(|flow| flow.status == status);
        let state = if any(FlowStatus::Failed) {
            UpdateState::Failed
        } else if any(FlowStatus::Stopped) {
            UpdateState::Canceled
        } else {
            UpdateState::Completed
        };
        self.state(report, state, None);
    }

    fn state(&self, report: &mut UpdateReport, state: UpdateState, error: Option<&UpdateError>) {
        report.state = state;
        self.observer.update_state(state);
        let error = error.map(|error| error as &(dyn std::error::Error + 'static));
        self.events.record(Event::update_progress(state, error));
        tracing::info!(update = %report.update_id, state = state.as_str(), "update");
    }

    /// Runs all flows, some at the same time, and gives their reports in order.
    async fn flows(&self, targets: Vec<FlowTarget>) -> Vec<FlowReport> {
        let settings = &self.engine.settings;
        let parallel = settings.parallel_flows.clamp(1, targets.len().max(1));
        // Whole steps, so that the shares of all flows together are no more than there is.
        let share = settings.memory_bytes / parallel / STEP_BYTES * STEP_BYTES;
        let slots = Arc::new(Semaphore::new(parallel));
        let mut tasks = JoinSet::new();
        let mut started: HashMap<tokio::task::Id, (usize, FlowTarget)> = HashMap::new();
        let count = targets.len();
        for (index, target) in targets.into_iter().enumerate() {
            let flow = self.flow(target.clone(), FlowMemory::new(share));
            let (slots, memory) = (slots.clone(), self.engine.memory.clone());
            let handle = tasks.spawn(async move {
                let cancel = flow.context.cancel.clone();
                let turn = async {
                    let slot = slots.acquire_owned().await;
                    (slot, memory.acquire(share).await)
                };
                let _turn = tokio::select! {
                    biased;
                    () = cancel.requested() => return flow.not_started(),
                    turn = turn => turn,
                };
                flow.run().await
            });
            started.insert(handle.id(), (index, target));
        }
        let mut reports: Vec<Option<FlowReport>> = (0..count).map(|_| None).collect();
        let mut stopping = false;
        loop {
            let joined = tokio::select! {
                joined = tasks.join_next_with_id() => joined,
                () = self.request.cancel.requested(), if !stopping => {
                    stopping = true;
                    self.observer.update_state(UpdateState::Stopping);
                    self.events.record(Event::update_progress(UpdateState::Stopping, None));
                    continue;
                }
            };
            let (id, report) = match joined {
                None => break,
                Some(Ok((id, report))) => (id, Ok(report)),
                Some(Err(lost)) => (lost.id(), Err(lost)),
            };
            let Some((index, target)) = started.remove(&id) else { continue };
            let report = report.unwrap_or_else(|lost| self.lost(target, lost));
            if let Some(place) = reports.get_mut(index) {
                *place = Some(report);
            }
        }
        reports.into_iter().flatten().collect()
    }

    fn flow(&self, target: FlowTarget, memory: FlowMemory) -> Flow {
        let engine = self.engine;
        let context = FlowContext {
            id: target.id(),
            destination: target.destination.clone(),
            lake: engine.lake.clone(),
            clock: engine.clock.clone(),
            settings: engine.settings.clone(),
            memory,
            cancel: self.request.cancel.clone(),
            observer: self.observer.clone(),
            events: self.events.clone(),
            progress: std::sync::Mutex::new(Progress::default()),
        };
        self.observer.flow_added(&context.id);
        self.observer.flow_status(&context.id, FlowStatus::Queued);
        let none = crate::FlowMetrics::default();
        self.events.record(Event::flow_progress(&context.id, FlowStatus::Queued, &none, None));
        Flow {
            context: Arc::new(context),
            target,
            factory: self.request.factory.clone(),
            connection: self.request.connection.clone(),
            connector: None,
            plan: None,
            ended: 0,
            in_doubt: None,
            silent_retries: 0,
        }
    }

    /// The report of a flow whose task panicked.
    fn lost(&self, target: FlowTarget, lost: tokio::task::JoinError) -> FlowReport {
        let id = target.id();
        let error = FlowError::TaskLost { source: lost.into() };
        let none = crate::FlowMetrics::default();
        self.observer.flow_status(&id, FlowStatus::Failed);
        self.events.record(Event::flow_progress(&id, FlowStatus::Failed, &none, Some(&error)));
        FlowReport {
            flow: target.flow,
            source_table: target.source_table,
            destination: target.destination,
            status: FlowStatus::Failed,
            metrics: none,
            duration: std::time::Duration::ZERO,
            offset: None,
            deletes: None,
            changes: Vec::new(),
            warnings: Vec::new(),
            error: Some(error),
        }
    }
}

fn refresh_json(full_refresh: &FullRefresh) -> Value {
    match full_refresh {
        FullRefresh::None => json!(false),
        FullRefresh::All => json!(true),
        FullRefresh::Tables(tables) => json!(tables),
    }
}

/// An error and its causes in one line.
fn text_with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}
