use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use headwater_connect::protocol::{
    self, Abilities, Alive, Call, Failure, FailureKind, Frame, FrameError, Frames, Hello, Message, Opened,
    Request,
};
use headwater_connect::{ConnectorError, Offset, Options};
use rustix::process::Signal;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{ChildStdin, ChildStdout};
use tokio::time::{Instant, timeout, timeout_at};

use crate::body;
use crate::log::WorkerLog;
use crate::process::{Launch, Patience, Process};

/// A worker that says nothing for so long, although it is being read, is given up.
const SILENCE_LIMIT: Duration = Duration::from_secs(120);

/// How long a worker has to say hello.
const HELLO_LIMIT: Duration = Duration::from_secs(60);

/// How long a worker has to answer an interrupt.
const INTERRUPT_LIMIT: Duration = Duration::from_secs(5);

/// A process that reads a source, and what is known of it. One request at a time.
#[derive(Debug)]
pub(crate) struct Worker {
    process: Process,
    stdin: ChildStdin,
    stdout: ChildStdout,
    frames: Frames,
    /// Records of the body that is being read.
    announced: Option<u64>,
    last_id: u64,
    /// The request that has not been answered.
    open_request: Option<Call>,
    /// Nothing can be asked of it any more.
    broken: bool,
    log: Arc<WorkerLog>,
    alive: Alive,
    alive_at: Instant,
    stats: Arc<WorkerStats>,
    hello: Hello,
    started_at: Instant,
    /// What it was last opened with, even where that failed.
    opened_with: Option<Options>,
    /// What the instance that it holds can do.
    abilities: Option<Abilities>,
}

/// What is told of a worker while it is busy.
#[derive(Debug, Default)]
pub(crate) struct WorkerStats {
    process_id: AtomicU64,
    rss_bytes: AtomicU64,
    requests: AtomicU64,
}

impl WorkerStats {
    /// Requests that it has sent to its source since it was opened.
    pub(crate) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Memory that it holds.
    pub(crate) fn memory_bytes(&self) -> u64 {
        let process = self.process_id.load(Ordering::Relaxed);
        resident_bytes(process).unwrap_or_else(|| self.rss_bytes.load(Ordering::Relaxed))
    }
}

/// Resident memory of a process, where the system tells.
fn resident_bytes(process: u64) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}

/// What comes in answer to a request.
#[derive(Debug)]
pub(crate) enum Incoming {
    Records { records: u64, body: Bytes },
    End(Option<Offset>),
    Result(Box<RawValue>),
}

impl Worker {
    /// Starts a process and shakes hands with it.
    pub(crate) async fn start(launch: &Launch, connector: &str) -> Result<Self, ConnectorError> {
        let log = Arc::new(WorkerLog::new(connector));
        let (process, stdin, stdout) = Process::start(launch, &log)?;
        let stats = WorkerStats::default();
        stats.process_id.store(u64::from(process.id().unwrap_or_default()), Ordering::Relaxed);
        let mut worker = Self {
            process,
            stdin,
            stdout,
            frames: Frames::new(),
            announced: None,
            last_id: 0,
            open_request: None,
            broken: false,
            log,
            alive: Alive::default(),
            alive_at: Instant::now(),
            stats: Arc::new(stats),
            hello: Hello::default(),
            started_at: Instant::now(),
            opened_with: None,
            abilities: None,
        };
        let hello = Call::Hello {
            protocols: vec![protocol::VERSION],
            headwater: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let hello: Hello = worker.call(hello, HELLO_LIMIT).await?;
        if hello.protocol != protocol::VERSION {
            worker.broken = true;
            return Err(ConnectorError::Protocol {
                what: format!("it took version {}, which was not offered", hello.protocol),
                source: None,
            });
        }
        tracing::debug!(
            connector,
            worker = hello.worker,
            version = hello.version,
            runtime = hello.runtime,
            process = worker.process.id(),
            "worker started"
        );
        worker.hello = hello;
        Ok(worker)
    }

    /// What it said at the handshake.
    pub(crate) fn hello(&self) -> &Hello {
        &self.hello
    }

    /// Makes a new instance in the place of the one before.
    pub(crate) async fn open(
        &mut self,
        options: &Options,
        is_secret: impl Fn(&str) -> bool,
        limit: Duration,
    ) -> Result<Abilities, ConnectorError> {
        let table = options.get("tableName").map(str::to_owned);
        self.log.set(table.as_deref(), options, &is_secret);
        self.abilities = None;
        self.opened_with = Some(options.clone());
        self.alive = Alive::default();
        self.stats.requests.store(0, Ordering::Relaxed);
        let secrets = options.names().filter(|name| is_secret(name)).map(str::to_owned).collect();
        let opened: Opened =
            self.call(Call::Open { options: options.clone(), secrets, table }, limit).await?;
        tracing::debug!(connector = opened.connector, table = options.get("tableName"), "connector opened");
        self.abilities = Some(opened.abilities);
        Ok(opened.abilities)
    }

    /// Says whether it holds an instance.
    pub(crate) fn is_open(&self) -> bool {
        self.abilities.is_some()
    }

    /// What the instance that it holds can do.
    pub(crate) fn abilities(&self) -> Abilities {
        self.abilities.unwrap_or_default()
    }

    pub(crate) fn started_at(&self) -> Instant {
        self.started_at
    }

    /// The options that it was last opened with.
    pub(crate) fn opened_with(&self) -> Option<&Options> {
        self.opened_with.as_ref()
    }

    pub(crate) fn stats(&self) -> Arc<WorkerStats> {
        Arc::clone(&self.stats)
    }

    /// Says whether it can be asked something.
    pub(crate) fn is_ready(&mut self) -> bool {
        !self.broken && self.open_request.is_none() && self.process.is_running()
    }

    /// Asks what is answered by a result.
    pub(crate) async fn call<T: DeserializeOwned>(
        &mut self,
        call: Call,
        limit: Duration,
    ) -> Result<T, ConnectorError> {
        let name = call.name().to_owned();
        self.send(call).await?;
        match self.next(limit).await? {
            Incoming::Result(result) => self.parse(&name, &result),
            Incoming::Records { .. } | Incoming::End(_) => {
                Err(self.breach(format!("records in answer to `{name}`")))
            }
        }
    }

    /// Reads the result of a call as a type.
    pub(crate) fn parse<T: DeserializeOwned>(
        &mut self,
        call: &str,
        result: &RawValue,
    ) -> Result<T, ConnectorError> {
        protocol::read_result(result).map_err(|error| {
            let shown: String = result.get().chars().take(200).collect();
            self.breach(format!("the answer to `{call}` is not what it should be ({error}): {shown}"))
        })
    }

    /// Sends a request.
    ///
    /// # Cancel safety
    /// Given up, the worker is broken: it may have got half of it.
    pub(crate) async fn send(&mut self, call: Call) -> Result<(), ConnectorError> {
        self.last_id += 1;
        let request = Request { id: self.last_id, call };
        let line = request.to_line().map_err(|error| {
            ConnectorError::bug(format!("`{}` cannot be asked: {error}", request.call.name()))
        })?;
        self.open_request = Some(request.call);
        self.broken = true;
        match timeout(SILENCE_LIMIT, self.stdin.write_all(&line)).await {
            Ok(Ok(())) => {
                self.broken = false;
                Ok(())
            }
            Ok(Err(_)) => Err(self.death().await),
            Err(_) => Err(self.silence(SILENCE_LIMIT, "it does not take the request".into())),
        }
    }

    /// Waits for the next thing in answer to the request; `limit` is how long records or the end may take.
    ///
    /// # Cancel safety
    /// Given up, it can be called again; nothing is lost.
    pub(crate) async fn next(&mut self, limit: Duration) -> Result<Incoming, ConnectorError> {
        let give_up_at = Instant::now() + limit;
        loop {
            let silent_at = Instant::now() + SILENCE_LIMIT;
            let frame = match timeout_at(give_up_at.min(silent_at), self.frame()).await {
                Ok(frame) => frame?,
                Err(_) if Instant::now() >= give_up_at => {
                    let at = self.whereabouts();
                    return Err(self.silence(limit, at));
                }
                Err(_) => {
                    let what = "nothing came from the worker, not even a sign of life";
                    let at = self.whereabouts();
                    return Err(self.silence(SILENCE_LIMIT, format!("{what}; {at}")));
                }
            };
            if let Some(incoming) = self.take(frame)? {
                return Ok(incoming);
            }
        }
    }

    /// The next whole line or body.
    async fn frame(&mut self) -> Result<Frame, ConnectorError> {
        loop {
            match self.frames.next_frame() {
                Ok(Some(frame)) => return Ok(frame),
                Ok(None) => {}
                Err(error) => return Err(self.not_protocol(&error)),
            }
            let (room, most) = self.frames.room();
            let mut room = bytes::BufMut::limit(room, most);
            match self.stdout.read_buf(&mut room).await {
                Ok(0) | Err(_) => return Err(self.death().await),
                Ok(_) => {}
            }
        }
    }

    /// What a line or a body means.
    fn take(&mut self, frame: Frame) -> Result<Option<Incoming>, ConnectorError> {
        let line = match frame {
            Frame::Body(body) => {
                let records = self.announced.take().unwrap_or_default();
                if let Some(what) = body::complaint(&body, records) {
                    return Err(self.breach(what));
                }
                return Ok(Some(Incoming::Records { records, body }));
            }
            Frame::Line(line) => line,
        };
        let message = Message::parse(&line).map_err(|error| self.not_protocol(&error))?;
        let Some(id) = message.id() else {
            self.aside(message);
            return Ok(None);
        };
        let reads = match &self.open_request {
            Some(call) if id == self.last_id => call.is_read(),
            _ => {
                let last = self.last_id;
                return Err(self.breach(format!("it answered request {id}; the last one made is {last}")));
            }
        };
        match message {
            Message::Records { records, bytes, .. } if reads => {
                self.frames.expect_body(bytes).map_err(|error| self.not_protocol(&error))?;
                self.announced = Some(records);
                Ok(None)
            }
            Message::End { end, .. } if reads => {
                self.open_request = None;
                Ok(Some(Incoming::End(end)))
            }
            Message::Result { result, .. } if !reads => {
                self.open_request = None;
                Ok(Some(Incoming::Result(result)))
            }
            Message::Error { error, .. } => Err(self.failed(error)),
            _ => Err(self.breach("its answer is not one to this request".into())),
        }
    }

    /// A message that answers nothing.
    fn aside(&mut self, message: Message) {
        match message {
            Message::Log(line) => self.log.say(line.level, line.logger.as_deref(), &line.message),
            Message::Alive(alive) => {
                self.stats.rss_bytes.store(alive.rss_bytes.unwrap_or_default(), Ordering::Relaxed);
                if let Some(requests) = alive.requests {
                    self.stats.requests.store(requests, Ordering::Relaxed);
                }
                self.alive = alive;
                self.alive_at = Instant::now();
            }
            _ => {}
        }
    }

    /// The error that a failure stands for.
    fn failed(&mut self, failure: Failure) -> ConnectorError {
        let call = self.open_request.take().unwrap_or(Call::Spec);
        if failure.kind == FailureKind::Cancelled {
            // An interrupt that came late has hit another request than the one it was meant for.
            self.broken = true;
            return ConnectorError::Unavailable { source: "the worker was interrupted".into() };
        }
        self.log.redacted_failure(failure).into_error(&call)
    }

    /// Where the connector was last seen.
    fn whereabouts(&self) -> String {
        let ago = Instant::now().duration_since(self.alive_at).as_secs();
        match &self.alive.at {
            Some(at) => format!("{ago} s ago the connector was at {}", self.log.redacted(at)),
            None => "where the connector is, is not known".into(),
        }
    }

    fn silence(&mut self, after: Duration, what: String) -> ConnectorError {
        self.broken = true;
        ConnectorError::Timeout { after, source: what.into() }
    }

    fn breach(&mut self, what: String) -> ConnectorError {
        self.broken = true;
        self.process.signal(Signal::KILL);
        ConnectorError::Protocol { what: self.log.redacted(&what), source: None }
    }

    fn not_protocol(&mut self, error: &FrameError) -> ConnectorError {
        self.breach(error.to_string())
    }

    /// The process has ended, or is as good as ended.
    async fn death(&mut self) -> ConnectorError {
        self.broken = true;
        let status = self.process.ended().await;
        let call = self.open_request.as_ref().map_or("nothing", Call::name).to_owned();
        ConnectorError::WorkerDied { call, status, log: self.log.last() }
    }

    /// Ends what it is doing so that it can be asked again; gives it back where it let itself be interrupted, and
    /// ends it where not.
    pub(crate) async fn wind_down(mut self) -> Option<Self> {
        if self.open_request.is_some() && !self.broken {
            self.process.signal(Signal::INT);
            // Whatever ends the request will do, records on their way are passed over.
            let answered = async {
                while self.open_request.is_some() && !self.broken {
                    let Ok(frame) = self.frame().await else { return };
                    let _answer_or_error = self.take(frame);
                    let interrupted = self.open_request.is_none();
                    if interrupted {
                        // `cancelled` is what was asked for here.
                        self.broken = false;
                    }
                }
            };
            let _in_time = timeout(INTERRUPT_LIMIT, answered).await;
            if self.open_request.is_none() && !self.broken && self.process.is_running() {
                return Some(self);
            }
            self.end(Patience::Told).await;
            return None;
        }
        let patience = if self.broken { Patience::None } else { Patience::Polite };
        self.end(patience).await;
        None
    }

    /// Ends the process.
    pub(crate) async fn end(self, patience: Patience) {
        let Self { process, stdin, stdout, .. } = self;
        // What it still writes has nobody to read it.
        drop((stdin, stdout));
        process.end(patience).await;
    }
}
