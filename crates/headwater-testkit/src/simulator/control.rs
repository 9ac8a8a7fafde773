//! The simulator as its user has it: started, looked at, changed, stopped.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, Utc};
use headwater_connect::{Clock, Secret, SystemClock};
use serde_json::Value;
use tokio::runtime::{Handle, Runtime};

use super::answer::{Answer, Asked, Source};
use super::cassette::{Cassette, CassetteError};
use super::certificates::Authority;
use super::compare::{Difference, cut, differences};
use super::corpus::{ChangeError, Corpora};
use super::description::{Description, Found, Latency, RateLimit};
use super::faults::{Fault, FaultKind, FaultRun};
use super::handler::{Handler, HandlerAnswer, HandlerRequest};
use super::query::Filter;
use super::rate::{LimitId, Rates};
use super::redact::Redactor;
use super::server::serve;
use super::upstream::Upstream;
use super::value::text_of;
use super::{description, state};

/// Requests that are remembered; older ones are only counted.
const REMEMBERED: usize = 100_000;

/// Where answers come from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Mode {
    /// The corpus.
    #[default]
    Simulate,
    /// The real source; what it answers is written down, with records cut to a sample, for the client as well.
    Record {
        /// The file; one that is there is gone on with.
        cassette: PathBuf,
        /// Records of an answer that are kept at most.
        sample: usize,
    },
    /// What was written down.
    Replay {
        /// The file.
        cassette: PathBuf,
    },
    /// The real source.
    Live,
}

impl Mode {
    /// Records of an answer that a recording keeps unless told otherwise.
    pub const SAMPLE: usize = 10;
}

/// How a simulator runs.
#[derive(Clone)]
pub struct Settings {
    /// Where answers come from.
    pub mode: Mode,
    /// The port on loopback; 0 takes a free one.
    pub port: u16,
    /// What chance is drawn from.
    pub seed: u64,
    /// Faults beside those of the description.
    pub faults: Vec<Fault>,
    /// How long each answer takes, where its endpoint does not say.
    pub latency: Option<std::time::Duration>,
    /// Tells the time of rate limits, changes and records from ahead of now.
    pub clock: Arc<dyn Clock>,
    /// Where the real source is, for clients that ask the simulator under its own address.
    pub upstream: Option<String>,
    /// Values that are never written to a cassette.
    pub secrets: Vec<Secret>,
    /// What answers the endpoints that name a handler.
    pub handlers: HashMap<String, Handler>,
    /// Is told of each request when its answer has been chosen.
    pub observer: Option<Observer>,
}

/// What is told of each request.
pub type Observer = Arc<dyn Fn(&SeenRequest) + Send + Sync>;

impl Default for Settings {
    fn default() -> Self {
        Self {
            mode: Mode::default(),
            port: 0,
            seed: 0,
            faults: Vec::new(),
            latency: None,
            clock: Arc::new(SystemClock),
            upstream: None,
            secrets: Vec::new(),
            handlers: HashMap::new(),
            observer: None,
        }
    }
}

impl Settings {
    /// Lets `answer` answer the endpoints that have `name` as their handler.
    #[must_use]
    pub fn handler(
        mut self,
        name: impl Into<String>,
        answer: impl Fn(&HandlerRequest<'_>) -> HandlerAnswer + Send + Sync + 'static,
    ) -> Self {
        self.handlers.insert(name.into(), Arc::new(answer));
        self
    }

    /// Tells `observe` of each request when its answer has been chosen.
    #[must_use]
    pub fn observer(mut self, observe: impl Fn(&SeenRequest) + Send + Sync + 'static) -> Self {
        self.observer = Some(Arc::new(observe));
        self
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings").field("mode", &self.mode).field("port", &self.port).finish_non_exhaustive()
    }
}

/// Why a simulator did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The port cannot be had.
    #[error("port {port} on loopback cannot be listened on")]
    Port {
        /// The port.
        port: u16,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// There are no threads for it.
    #[error("no threads can be started")]
    Threads {
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// The URL of the real source cannot be used.
    #[error("`{url}` cannot be the source: {reason}")]
    Upstream {
        /// As it was given.
        url: String,
        /// Why not.
        reason: String,
    },
    /// The cassette cannot be used.
    #[error("the cassette cannot be used")]
    Cassette(#[from] CassetteError),
    /// No certificate can be made.
    #[error("no certificates can be made")]
    Certificates {
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// A request that the simulator has seen.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SeenRequest {
    /// The method.
    pub method: String,
    /// The host that the client meant.
    pub host: String,
    /// Path and query as they were written. May hold a secret.
    pub path_and_query: String,
    /// The status of the answer; `None` where the connection was reset in its place.
    pub status: Option<u16>,
    /// When it came.
    pub at: DateTime<Utc>,
}

impl SeenRequest {
    /// The request in one line, without values under names that secrets have.
    pub fn shown(&self) -> String {
        let redactor = Redactor::default();
        let (path, query) = self.path_and_query.split_once('?').unwrap_or((&self.path_and_query, ""));
        let pairs = url::form_urlencoded::parse(query.as_bytes());
        let pairs = pairs.map(|(name, value)| (name.to_string(), redactor.parameter(&name, &value)));
        let query = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
        let query = if query.is_empty() { query } else { format!("?{query}") };
        format!("{} {}{path}{query}", self.method, self.host)
    }
}

/// A running simulator. Dropped, it stops at once.
#[derive(Debug)]
pub struct Simulator {
    shared: Arc<Shared>,
    address: SocketAddr,
    pem: String,
    /// Held for its end.
    _threads: Threads,
}

impl Simulator {
    /// Starts one on threads of its own.
    ///
    /// # Errors
    /// The port is taken, or the machine gives no threads or certificates. Nothing is left running.
    pub fn start(description: Description, settings: Settings) -> Result<Self, StartError> {
        let port = settings.port;
        let failed = |source| StartError::Port { port, source };
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let authority = Authority::new(settings.clock.now())
            .map_err(|source| StartError::Certificates { source: Box::new(source) })?;
        let threads = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("simulator")
            .enable_all()
            .build()
            .map(|runtime| Threads { handle: runtime.handle().clone(), runtime: Some(runtime) })
            .map_err(|source| StartError::Threads { source })?;
        let handle = threads.handle.clone();
        let listener = {
            let _in_runtime = handle.enter();
            tokio::net::TcpListener::from_std(listener).map_err(failed)?
        };
        let pem = authority.pem().to_owned();
        let shared = Arc::new(Shared::new(description, settings, address)?);
        handle.spawn(serve(listener, address, Arc::downgrade(&shared), Arc::new(authority)));
        Ok(Self { shared, address, pem, _threads: threads })
    }

    /// The address that it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The base URL of the source for a client that is told one, and the URL of the proxy for one that is given that.
    pub fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The certificate that a client must trust to be led here under other names, in PEM form.
    pub fn certificate_pem(&self) -> &str {
        &self.pem
    }

    /// What looks at it and changes it while it runs.
    pub fn control(&self) -> Control {
        Control { shared: Arc::clone(&self.shared) }
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        if let Err(error) = self.control().save() {
            tracing::error!(error = &error as &dyn std::error::Error, "a recording is not whole");
        }
    }
}

/// The threads that a simulator runs on. Their end is not waited for, so that they may be dropped in async code.
#[derive(Debug)]
struct Threads {
    handle: Handle,
    runtime: Option<Runtime>,
}

impl Drop for Threads {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Looks at a simulator, and changes it while it runs. Clones mean the same simulator.
#[derive(Debug, Clone)]
pub struct Control {
    shared: Arc<Shared>,
}

impl Control {
    /// Puts these faults in place of those that were set before; those of the description stay.
    pub fn set_faults(&self, faults: Vec<Fault>) {
        *lock(&self.shared.faults) = FaultRun::new(faults, self.shared.settings.seed);
    }

    /// Takes away the faults that were set.
    pub fn clear_faults(&self) {
        self.set_faults(Vec::new());
    }

    /// Whether endpoints that describe it add records from ahead of now.
    pub fn synthesize_future_records(&self, on: bool) {
        self.shared.ahead.store(on, Ordering::Relaxed);
    }

    /// Where the description and the real source did not agree while recording, each once.
    pub fn differences(&self) -> Vec<Difference> {
        lock(&self.shared.differences).iter().cloned().collect()
    }

    /// Writes what was recorded so far. It is done now and then, and when the simulator is dropped.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn save(&self) -> Result<(), CassetteError> {
        match (&self.shared.settings.mode, &self.shared.cassette) {
            (Mode::Record { .. }, Some(cassette)) => lock(cassette).save(),
            _ => Ok(()),
        }
    }

    /// How many requests the cassette holds.
    pub fn recorded(&self) -> usize {
        self.shared.cassette.as_ref().map_or(0, |cassette| lock(cassette).len())
    }

    /// Puts records, faults of the description, limits and what was seen back to where they were at the start.
    pub fn reset(&self) {
        let shared = &self.shared;
        *lock(&shared.source.corpora) = Corpora::new(&shared.source.description, shared.settings.seed);
        *lock(&shared.described_faults) = described_faults(&shared.source.description, shared.settings.seed);
        shared.rates.reset();
        lock(&shared.seen).clear();
        shared.count.store(0, Ordering::Relaxed);
    }

    /// The requests seen since the start or the last reset, oldest first; of very many, the last.
    pub fn requests(&self) -> Vec<SeenRequest> {
        lock(&self.shared.seen).iter().cloned().collect()
    }

    /// How many requests were seen.
    pub fn request_count(&self) -> u64 {
        self.shared.count.load(Ordering::Relaxed)
    }

    /// The records of a corpus as they are now; one for a corpus that is one object.
    ///
    /// # Errors
    /// There is no such corpus.
    pub fn records(&self, corpus: &str) -> Result<Vec<Value>, ChangeError> {
        let corpus = self.shared.source.corpus(corpus)?;
        Ok(match corpus.one() {
            Some(one) => vec![one.clone()],
            None => corpus.all().map(|record| Value::clone(&record)).collect(),
        })
    }

    /// Adds a record.
    ///
    /// # Errors
    /// There is no such corpus, or it is one object.
    pub fn insert(&self, corpus: &str, record: Value) -> Result<(), ChangeError> {
        lock(&self.shared.source.corpora).get_mut(corpus)?.insert(record);
        Ok(())
    }

    /// Changes the records whose field (a dotted path) has this value; gives how many there were.
    ///
    /// # Errors
    /// There is no such corpus, or it is one object.
    pub fn update(
        &self,
        corpus: &str,
        field: &str,
        value: &Value,
        changes: &Value,
    ) -> Result<usize, ChangeError> {
        self.change(corpus, field, value, |record| Some(state::merged(record, changes.clone())))
    }

    /// Deletes the records whose field (a dotted path) has this value; gives how many there were.
    ///
    /// # Errors
    /// There is no such corpus, or it is one object.
    pub fn delete(&self, corpus: &str, field: &str, value: &Value) -> Result<usize, ChangeError> {
        self.change(corpus, field, value, |_| None)
    }

    fn change(
        &self,
        corpus: &str,
        field: &str,
        value: &Value,
        new: impl Fn(&Value) -> Option<Value>,
    ) -> Result<usize, ChangeError> {
        let mut corpora = lock(&self.shared.source.corpora);
        let corpus = corpora.get_mut(corpus)?;
        let found = corpus.select(&[Filter::new(field, description::Op::Eq, &text_of(value))], None);
        let places: Vec<usize> = (0..found.len()).filter_map(|place| found.at(place)).collect();
        for index in &places {
            let record = corpus.record(*index).and_then(|record| new(&record));
            corpus.put(*index, record);
        }
        Ok(places.len())
    }
}

/// What the server and its users share.
pub(super) struct Shared {
    source: Source,
    settings: Settings,
    address: SocketAddr,
    upstream: Upstream,
    cassette: Option<Mutex<Cassette>>,
    differences: Mutex<BTreeSet<Difference>>,
    faults: Mutex<FaultRun>,
    described_faults: Mutex<HashMap<Option<usize>, FaultRun>>,
    rates: Rates,
    ahead: AtomicBool,
    seen: Mutex<VecDeque<SeenRequest>>,
    count: AtomicU64,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("settings", &self.settings).finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn described_faults(description: &Description, seed: u64) -> HashMap<Option<usize>, FaultRun> {
    let own = description.endpoints.iter().enumerate();
    let own = own.map(|(i, endpoint)| (Some(i), FaultRun::new(endpoint.faults.clone(), seed ^ i as u64)));
    own.chain([(None, FaultRun::new(description.faults.clone(), seed))]).collect()
}

impl Shared {
    fn new(description: Description, settings: Settings, address: SocketAddr) -> Result<Self, StartError> {
        let seed = settings.seed;
        let upstream = Upstream::new(settings.upstream.as_deref()).map_err(|reason| {
            StartError::Upstream { url: settings.upstream.clone().unwrap_or_default(), reason }
        })?;
        let redactor = Redactor::new(&settings.secrets);
        let cassette = match &settings.mode {
            Mode::Simulate | Mode::Live => None,
            Mode::Record { cassette, .. } => Some(Cassette::open_or_new(cassette, redactor)?),
            Mode::Replay { cassette } => Some(Cassette::open(cassette, redactor)?),
        };
        Ok(Self {
            address,
            upstream,
            cassette: cassette.map(Mutex::new),
            differences: Mutex::default(),
            faults: Mutex::new(FaultRun::new(settings.faults.clone(), seed)),
            described_faults: Mutex::new(described_faults(&description, seed)),
            rates: Rates::default(),
            ahead: AtomicBool::new(false),
            seen: Mutex::default(),
            count: AtomicU64::new(0),
            source: Source {
                corpora: Mutex::new(Corpora::new(&description, seed)),
                description,
                handlers: settings.handlers.clone(),
                clock: Arc::clone(&settings.clock),
                draw: Mutex::new(fastrand::Rng::with_seed(seed)),
            },
            settings,
        })
    }

    /// Answers a request, with what goes wrong with the answer on its way.
    pub(super) async fn handle(&self, asked: Asked) -> (Answer, Option<FaultKind>) {
        let at = self.settings.clock.now();
        let (method, host) = (asked.method.clone(), asked.host().to_owned());
        let path_and_query = asked.path_and_query();
        let (answer, fault) = self.answered(asked, at).await;
        let status = (fault != Some(FaultKind::Reset)).then_some(answer.status);
        self.see(SeenRequest { method, host, path_and_query, status, at });
        (answer, fault)
    }

    async fn answered(&self, asked: Asked, at: DateTime<Utc>) -> (Answer, Option<FaultKind>) {
        let rules = self.rules(&asked);
        let permit =
            match rules.limit.as_ref().map(|(id, limit)| self.rates.enter(*id, limit, at)).transpose() {
                Ok(permit) => permit,
                Err(refused) => return (refused, None),
            };
        if let Some(latency) = rules.latency {
            let span = latency.max.saturating_sub(latency.min);
            let drawn = span.mul_f64(lock(&self.source.draw).f64());
            tokio::time::sleep(latency.min + drawn).await;
        }
        let fault = self.fault(&rules);
        let kind = fault.as_ref().map(|fault| fault.kind);
        let mut answer = match fault {
            Some(Fault { kind: FaultKind::Status(status), retry_after, body, .. }) => {
                let body = body.unwrap_or_else(|| serde_json::json!({"message": "a fault of the simulator"}));
                let mut answer = Answer::json(status, &body);
                let after = retry_after.map(|after| ("retry-after".to_owned(), after.as_secs().to_string()));
                answer.headers.extend(after);
                answer
            }
            Some(Fault { kind: FaultKind::Reset, .. }) => Answer::empty(500),
            _ => self.by_mode(&asked).await,
        };
        if let Some(FaultKind::Delay(by)) = kind {
            tokio::time::sleep(by).await;
        }
        if let Some(permit) = permit {
            permit.answered(answer.status);
            answer.headers.extend(permit.headers.clone());
        }
        (answer, kind)
    }

    async fn by_mode(&self, asked: &Asked) -> Answer {
        let own = asked.host() == self.address.to_string()
            || asked.host() == format!("localhost:{}", self.address.port());
        match (&self.settings.mode, &self.cassette) {
            (Mode::Live, _) => self.upstream.fetch(asked, own).await,
            (Mode::Replay { .. }, Some(cassette)) => lock(cassette).answer(asked, own),
            (Mode::Record { sample, .. }, Some(cassette)) => {
                let mut answer = self.upstream.fetch(asked, own).await;
                // Without a source there is nothing to record.
                let Some(host) = self.upstream.host(asked, own) else { return answer };
                if !self.source.description.endpoints.is_empty() {
                    let simulated = self.source.answer(asked, false);
                    let found = differences(&self.source.description, asked, &answer, &simulated);
                    lock(&self.differences).extend(found);
                }
                cut(&self.source.description, asked, &mut answer, (*sample).max(1));
                if let Err(error) = lock(cassette).note(asked, &host, &answer) {
                    tracing::error!(error = &error as &dyn std::error::Error, "an answer was not recorded");
                }
                answer
            }
            _ => self.source.answer(asked, self.ahead.load(Ordering::Relaxed)),
        }
    }

    /// Limits, latency and faults of the endpoint that a request goes to.
    fn rules(&self, asked: &Asked) -> Rules {
        let description = &self.source.description;
        let simulated = self.settings.mode == Mode::Simulate;
        let shared = description.rate_limit.clone().filter(|_| simulated).map(|limit| (None, limit));
        let usual = self.settings.latency.map(|fixed| Latency { min: fixed, max: fixed });
        match description.find(&asked.method, &asked.path) {
            Found::Endpoint { index, endpoint, .. } if simulated => Rules {
                endpoint: Some(index),
                path: endpoint.path.text.clone(),
                limit: endpoint.rate_limit.clone().map(|limit| (Some(index), limit)).or(shared),
                latency: endpoint.latency.or(usual),
            },
            Found::Endpoint { endpoint, .. } => {
                Rules { endpoint: None, path: endpoint.path.text.clone(), limit: None, latency: usual }
            }
            Found::Nothing { .. } => {
                Rules { endpoint: None, path: asked.path.clone(), limit: shared, latency: usual }
            }
        }
    }

    /// The fault that befalls a request: one that was set, of the endpoint, or of the whole source.
    fn fault(&self, rules: &Rules) -> Option<Fault> {
        let set = lock(&self.faults).next(&rules.path);
        if self.settings.mode != Mode::Simulate {
            return set;
        }
        let mut described = lock(&self.described_faults);
        let own =
            rules.endpoint.and_then(|i| described.get_mut(&Some(i))).and_then(|run| run.next(&rules.path));
        let any = described.get_mut(&None).and_then(|run| run.next(&rules.path));
        set.or(own).or(any)
    }

    fn see(&self, request: SeenRequest) {
        self.count.fetch_add(1, Ordering::Relaxed);
        if let Some(observe) = &self.settings.observer {
            observe(&request);
        }
        let mut seen = lock(&self.seen);
        if seen.len() >= REMEMBERED {
            seen.pop_front();
        }
        seen.push_back(request);
    }
}

struct Rules {
    endpoint: Option<usize>,
    path: String,
    limit: Option<(LimitId, RateLimit)>,
    latency: Option<Latency>,
}
