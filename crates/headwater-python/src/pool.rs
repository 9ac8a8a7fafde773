use std::fs::File;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use headwater_connect::protocol::{Abilities, Call};
use headwater_connect::{ConnectorError, Options};
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::process::{Launch, Patience};
use crate::worker::{Incoming, Worker, WorkerStats};

/// How long a worker waits for another instance.
const IDLE_LIMIT: Duration = Duration::from_secs(30);

/// Workers of one connector, which wait for an instance between two others.
pub(crate) struct Pool {
    pub(crate) connector: String,
    launch: Launch,
    is_secret: Box<dyn Fn(&str) -> bool + Send + Sync>,
    /// Waiting workers that may be kept.
    capacity: usize,
    /// Locks on the folders that the workers run from.
    _held: Arc<[File]>,
    idle: Mutex<Vec<(Instant, Worker)>>,
    /// Workers that are being interrupted or ended, and the one task that ends those that have waited too long.
    tasks: Mutex<JoinSet<()>>,
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool").field("connector", &self.connector).finish_non_exhaustive()
    }
}

impl Pool {
    pub(crate) fn new(
        connector: &str,
        launch: Launch,
        is_secret: Box<dyn Fn(&str) -> bool + Send + Sync>,
        capacity: usize,
    ) -> Self {
        let (idle, tasks) = (Mutex::default(), Mutex::default());
        let _held = Arc::default();
        Self { connector: connector.to_owned(), launch, is_secret, capacity, _held, idle, tasks }
    }

    /// The same, with locks that are kept as long as the pool.
    #[must_use]
    pub(crate) fn holding(mut self, held: Arc<[File]>) -> Self {
        self._held = held;
        self
    }

    fn idle(&self) -> MutexGuard<'_, Vec<(Instant, Worker)>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn is_secret(&self, name: &str) -> bool {
        (self.is_secret)(name)
    }

    /// A worker that has said hello, and has no instance or another's.
    pub(crate) async fn worker(
        &self,
        options: &Options,
        fresh: bool,
    ) -> Result<(Worker, bool), ConnectorError> {
        while let Some(mut worker) = if fresh { None } else { self.waiting(options) } {
            if worker.is_ready() {
                return Ok((worker, true));
            }
            worker.end(Patience::None).await;
        }
        Ok((Worker::start(&self.launch, &self.connector).await?, false))
    }

    /// A worker that waits, and may get an instance with these options.
    fn waiting(&self, options: &Options) -> Option<Worker> {
        let mut idle = self.idle();
        let place = idle.iter().position(|(_, worker)| {
            worker.opened_with().is_none_or(|before| self.may_follow(before, options))
        });
        place.map(|place| idle.remove(place).1)
    }

    /// Says whether an instance may use the process of another. What a connector keeps outside its instances must not
    /// pass from one connection to another, so the two may differ in what tables differ in only.
    fn may_follow(&self, before: &Options, after: &Options) -> bool {
        let agrees = |one: &Options, other: &Options| {
            one.iter().all(|(name, value)| match other.get(name) {
                _ if name.eq_ignore_ascii_case("tableName") => true,
                Some(there) => there == value,
                None => !self.is_secret(name),
            })
        };
        agrees(before, after) && agrees(after, before)
    }

    /// Takes a worker back: it waits for another instance, or ends.
    pub(crate) fn take_back(self: &Arc<Self>, mut worker: Worker, handle: &Handle) {
        if !worker.is_ready() || self.idle().len() >= self.capacity {
            return self.wind_down(worker, Weak::new(), handle);
        }
        self.idle().push((Instant::now(), worker));
        let pool = Arc::downgrade(self);
        self.spawn(handle, async move {
            sleep(IDLE_LIMIT).await;
            let Some(pool) = pool.upgrade() else { return };
            let late = {
                let mut idle = pool.idle();
                let (late, kept) = idle.drain(..).partition(|(since, _)| since.elapsed() >= IDLE_LIMIT);
                *idle = kept;
                let late: Vec<(Instant, Worker)> = late;
                late
            };
            drop(pool);
            for (_, worker) in late {
                worker.end(Patience::Polite).await;
            }
        });
    }

    /// Ends what a worker is doing, and gives it back to its instance where that still wants it.
    fn wind_down(self: &Arc<Self>, worker: Worker, home: Weak<Home>, handle: &Handle) {
        let pool = Arc::downgrade(self);
        let own = handle.clone();
        self.spawn(handle, async move {
            let idle = worker.wind_down().await;
            match (idle, home.upgrade(), pool.upgrade()) {
                (Some(worker), Some(home), _) => home.give_back(worker),
                (Some(worker), None, Some(pool)) => pool.take_back(worker, &own),
                (Some(worker), None, None) => worker.end(Patience::Polite).await,
                (None, _, _) => {}
            }
        });
    }

    fn spawn(&self, handle: &Handle, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        tasks.spawn_on(task, handle);
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        // Workers that are being wound down go on with it: each has a limit.
        let tasks = self.tasks.get_mut().unwrap_or_else(PoisonError::into_inner);
        tasks.detach_all();
        let idle = std::mem::take(self.idle.get_mut().unwrap_or_else(PoisonError::into_inner));
        if let Ok(handle) = Handle::try_current() {
            for (_, worker) in idle {
                tasks.spawn_on(worker.end(Patience::Polite), &handle);
            }
            tasks.detach_all();
        }
    }
}

/// The workers of one instance.
#[derive(Debug)]
pub(crate) struct Home {
    pool: Arc<Pool>,
    handle: Handle,
    pub(crate) options: Options,
    pub(crate) call_timeout: Duration,
    idle: Mutex<Vec<Worker>>,
    parts: Arc<Semaphore>,
    stats: Mutex<Stats>,
    retries: AtomicU64,
}

/// What the workers of an instance have done.
#[derive(Debug, Default)]
struct Stats {
    /// Of workers that are gone.
    requests_before: u64,
    /// Those that work for the instance, and how many requests they had sent before they did.
    workers: Vec<(Arc<WorkerStats>, u64)>,
}

impl Home {
    pub(crate) fn new(
        pool: Arc<Pool>,
        options: Options,
        call_timeout: Duration,
        parallel_parts: usize,
    ) -> Self {
        Self {
            pool,
            handle: Handle::current(),
            options,
            call_timeout,
            idle: Mutex::default(),
            parts: Arc::new(Semaphore::new(parallel_parts.max(1))),
            stats: Mutex::default(),
            retries: AtomicU64::new(0),
        }
    }

    fn stats(&self) -> MutexGuard<'_, Stats> {
        self.stats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Worker>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Requests that the workers have sent to the source.
    pub(crate) fn requests(&self) -> u64 {
        let stats = self.stats();
        let done = |(worker, before): &(Arc<WorkerStats>, u64)| worker.requests().saturating_sub(*before);
        stats.requests_before + stats.workers.iter().map(done).sum::<u64>()
    }

    /// A call is made again, because the worker died that was to answer it.
    pub(crate) fn count_retry(&self) {
        self.retries.fetch_add(1, Ordering::Relaxed);
    }

    /// Calls that were made again.
    pub(crate) fn retries(&self) -> u64 {
        self.retries.load(Ordering::Relaxed)
    }

    /// Memory that the workers hold.
    pub(crate) fn memory_bytes(&self) -> u64 {
        let workers = self.stats().workers.clone();
        workers.iter().map(|(worker, _)| worker.memory_bytes()).sum()
    }

    /// Leaves to read one part of a table; waits where as many are being read as may be.
    pub(crate) async fn part_permit(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.parts).acquire_owned().await.ok()
    }

    /// A worker with this instance in it that is not busy: another is started where all are. `fresh` asks for a
    /// process that has not been used.
    pub(crate) async fn lease(self: &Arc<Self>, fresh: bool) -> Result<(Lease, Abilities), ConnectorError> {
        while let Some(mut worker) = if fresh { None } else { self.oldest_idle() } {
            if worker.is_ready() {
                let abilities = worker.abilities();
                return Ok((Lease { worker: Some(worker), home: Arc::clone(self), reused: true }, abilities));
            }
            self.forget(&worker);
            self.pool.take_back(worker, &self.handle);
        }
        loop {
            let (worker, pooled) = self.pool.worker(&self.options, fresh).await?;
            self.count(&worker);
            let mut lease = Lease { worker: Some(worker), home: Arc::clone(self), reused: false };
            match lease.open().await {
                Ok(abilities) => return Ok((lease, abilities)),
                // A process that waited may have died meanwhile.
                Err(ConnectorError::WorkerDied { .. } | ConnectorError::Unavailable { .. }) if pooled => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The oldest worker that is not busy: it is the one that has the connector's caches.
    fn oldest_idle(&self) -> Option<Worker> {
        let mut idle = self.idle();
        let oldest = (0..idle.len()).min_by_key(|place| idle.get(*place).map(Worker::started_at));
        oldest.map(|place| idle.swap_remove(place))
    }

    /// Counts a worker to this instance from now on.
    fn count(&self, worker: &Worker) {
        let stats = worker.stats();
        let before = stats.requests();
        self.stats().workers.push((stats, before));
    }

    /// Counts a worker no more; what it did stays counted.
    fn forget(&self, worker: &Worker) {
        let gone = worker.stats();
        let mut stats = self.stats();
        if let Some(place) = stats.workers.iter().position(|(there, _)| Arc::ptr_eq(there, &gone)) {
            let (_, before) = stats.workers.remove(place);
            stats.requests_before += gone.requests().saturating_sub(before);
        }
    }

    /// Takes a worker back that has been interrupted.
    fn give_back(&self, worker: Worker) {
        self.count(&worker);
        self.idle().push(worker);
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let idle = std::mem::take(self.idle.get_mut().unwrap_or_else(PoisonError::into_inner));
        for worker in idle {
            self.pool.take_back(worker, &self.handle);
        }
    }
}

/// A worker in use. Dropped, the worker goes back to its instance; one that is still busy is interrupted first, and
/// ended where it does not let itself be interrupted.
#[derive(Debug)]
pub(crate) struct Lease {
    worker: Option<Worker>,
    home: Arc<Home>,
    /// It has answered this instance before.
    pub(crate) reused: bool,
}

impl Lease {
    fn worker(&mut self) -> Result<&mut Worker, ConnectorError> {
        self.worker.as_mut().ok_or_else(|| ConnectorError::bug("a lease without a worker"))
    }

    async fn open(&mut self) -> Result<Abilities, ConnectorError> {
        let home = Arc::clone(&self.home);
        let is_secret = |name: &str| home.pool.is_secret(name);
        self.worker()?.open(&home.options, is_secret, home.call_timeout).await
    }

    /// Asks something.
    pub(crate) async fn send(&mut self, call: Call) -> Result<(), ConnectorError> {
        self.worker()?.send(call).await
    }

    /// Waits for the next thing in answer.
    pub(crate) async fn next(&mut self) -> Result<Incoming, ConnectorError> {
        let limit = self.home.call_timeout;
        self.worker()?.next(limit).await
    }

    /// Reads a result as a type.
    pub(crate) fn parse<T: DeserializeOwned>(
        &mut self,
        call: &str,
        result: &RawValue,
    ) -> Result<T, ConnectorError> {
        self.worker()?.parse(call, result)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some(mut worker) = self.worker.take() else { return };
        let home = &self.home;
        if !worker.is_ready() {
            home.forget(&worker);
            let wanted = if worker.is_open() { Arc::downgrade(home) } else { Weak::new() };
            home.pool.wind_down(worker, wanted, &home.handle);
        } else if worker.is_open() {
            home.idle().push(worker);
        } else {
            home.forget(&worker);
            home.pool.take_back(worker, &home.handle);
        }
    }
}
