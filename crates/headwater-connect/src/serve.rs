//! Makes an executable of a connector: the worker's side of the protocol, over standard input and output.
//!
//! ```no_run
//! # use headwater_connect::ConnectorFactory;
//! # async fn example(factory: impl ConnectorFactory) -> Result<(), headwater_connect::ServeError> {
//! // In `main`, under a Tokio runtime; then `headwater connector add my_source --command target/release/my-source`.
//! headwater_connect::serve(factory).await
//! # }
//! ```
//!
//! Pages of JSON go through as they are: what has to be done for them is to find where each record ends. Pages
//! of Arrow are refused: a connector that has records in Arrow is built into `headwater`, or writes them as JSON.
//!
//! Standard output belongs to the protocol: a connector must not print to it. What it writes to standard error
//! goes to the log.

mod bodies;

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use futures::future::Either;
use futures::{Stream, StreamExt, future};
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use crate::protocol::{
    Abilities, Alive, Call, Failure, FailureKind, Frame, FrameError, Frames, Hello, Message, Opened, Request,
    VERSION,
};
use crate::{Connector, ConnectorError, ConnectorFactory, Options, PageStream, Partition, ReadItem};

/// How often a sign of life is sent.
const ALIVE_PERIOD: Duration = Duration::from_secs(5);

/// Why a worker ended before its input did.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The other side does not speak the protocol.
    #[error("the request cannot be read")]
    Request(#[from] FrameError),
    /// The input or the output broke.
    #[error("the way to headwater broke")]
    Io(#[from] io::Error),
    /// An answer does not serialise.
    #[error("the answer cannot be written")]
    Answer(#[from] serde_json::Error),
}

/// Answers requests on standard input until it ends.
///
/// # Errors
/// What comes is not the protocol, or the way to Headwater broke. Errors of the connector are answers.
pub async fn serve(factory: impl ConnectorFactory) -> Result<(), ServeError> {
    let mut interrupts = signal(SignalKind::interrupt())?;
    let interrupts = futures::stream::poll_fn(move |context| interrupts.poll_recv(context));
    let input = input(io::stdin().as_fd().try_clone_to_owned()?)?;
    let output = output(io::stdout().as_fd().try_clone_to_owned()?)?;
    serve_on(&factory, input, output, interrupts).await
}

/// A pipe is waited for; anything else is read in a thread.
fn input(fd: std::os::fd::OwnedFd) -> io::Result<Box<dyn AsyncRead + Send + Unpin>> {
    use tokio::net::unix::pipe::Receiver;
    Ok(match Receiver::from_owned_fd(fd.try_clone()?) {
        Ok(pipe) => Box::new(pipe),
        Err(_) => Box::new(tokio::fs::File::from_std(fd.into())),
    })
}

fn output(fd: std::os::fd::OwnedFd) -> io::Result<Box<dyn AsyncWrite + Send + Unpin>> {
    use tokio::net::unix::pipe::Sender;
    Ok(match Sender::from_owned_fd(fd.try_clone()?) {
        Ok(pipe) => Box::new(pipe),
        Err(_) => Box::new(tokio::fs::File::from_std(fd.into())),
    })
}

/// As [`serve`], over any way to the other side. `interrupts` tells that the open request is to be ended.
///
/// # Errors
/// As for [`serve`].
pub async fn serve_on(
    factory: &dyn ConnectorFactory,
    input: impl AsyncRead + Unpin,
    output: impl AsyncWrite + Unpin,
    interrupts: impl Stream<Item = ()> + Unpin,
) -> Result<(), ServeError> {
    let mut requests = Requests { input, frames: Frames::new() };
    let mut output = output;
    let mut interrupts = interrupts;
    let mut instance: Option<Box<dyn Connector>> = None;
    while let Some(request) = requests.next().await? {
        let id = request.id;
        // One that came while nothing was asked meant nothing.
        while future::poll_immediate(interrupts.next()).await.flatten().is_some() {}
        if let Call::Open { options, .. } = &request.call {
            instance = None;
            let watch = Watch { requests: &mut requests, interrupts: &mut interrupts, output: &mut output };
            let Some(made) = watch.over(factory.connect(options), None).await? else { return Ok(()) };
            let answer = match made {
                Ok(Ok(made)) => {
                    let opened =
                        Opened { connector: factory.name().to_owned(), abilities: abilities(made.as_ref()) };
                    instance = Some(made);
                    result(id, &opened)?
                }
                Ok(Err(error)) => Message::Error { id, error: Failure::from_error(&error) },
                Err(Cancelled) => cancelled(id),
            };
            send(&mut output, &answer).await?;
            continue;
        }
        let connector = instance.as_deref();
        let watch = Watch { requests: &mut requests, interrupts: &mut interrupts, output: &mut output };
        let go_on = answer(factory, connector, request, watch).await?;
        if !go_on {
            return Ok(());
        }
    }
    Ok(())
}

fn abilities(connector: &dyn Connector) -> Abilities {
    Abilities {
        partition: connector.partitions().is_some(),
        partitioned_stream: connector.partitioned_stream().is_some(),
        namespaces: connector.namespaces().is_some(),
        agent: connector.agent().is_some(),
    }
}

/// Answers one request; says whether there may be another.
async fn answer<R, W, S>(
    factory: &dyn ConnectorFactory,
    connector: Option<&dyn Connector>,
    request: Request,
    mut watch: Watch<'_, R, W, S>,
) -> Result<bool, ServeError>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
    S: Stream<Item = ()> + Unpin,
{
    let id = request.id;
    let answer = match (&request.call, connector) {
        (Call::Hello { protocols, .. }, _) if protocols.contains(&VERSION) => {
            let hello = Hello {
                protocol: VERSION,
                worker: factory.name().to_owned(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                runtime: "Rust".to_owned(),
                values: None,
            };
            result(id, &hello)?
        }
        (Call::Hello { .. }, _) => {
            let what = format!("this worker speaks version {VERSION} of the protocol only");
            Message::Error { id, error: Failure::new(FailureKind::Protocol, what) }
        }
        (Call::Spec, _) => result(id, &factory.connector_spec())?,
        (_, None) => {
            let what = format!("`{}` came before `open`", request.call.name());
            Message::Error { id, error: Failure::new(FailureKind::Protocol, what) }
        }
        (call, Some(connector)) if call.is_read() => {
            let outcome = match read(connector, call) {
                Ok(mut pages) => watch.pass_on(id, connector, &mut pages).await?,
                Err(failure) => Some(Message::Error { id, error: failure }),
            };
            let Some(answer) = outcome else { return Ok(false) };
            answer
        }
        (call, Some(connector)) => {
            let Some(outcome) = watch.by_ref().over(ask(connector, call), Some(connector)).await? else {
                return Ok(false);
            };
            match outcome {
                Ok(Ok(raw)) => Message::Result { id, result: raw },
                Ok(Err(error)) => Message::Error { id, error },
                Err(Cancelled) => cancelled(id),
            }
        }
    };
    send(watch.output, &answer).await?;
    Ok(true)
}

fn result(id: u64, value: &impl Serialize) -> Result<Message, serde_json::Error> {
    Ok(Message::Result { id, result: serde_json::value::to_raw_value(value)? })
}

fn cancelled(id: u64) -> Message {
    Message::Error { id, error: Failure::new(FailureKind::Cancelled, "the request was interrupted") }
}

async fn send(output: &mut (impl AsyncWrite + Unpin), message: &Message) -> Result<(), ServeError> {
    output.write_all(&message.to_line()?).await?;
    output.flush().await?;
    Ok(())
}

/// Lines of the other side, one request at a time.
struct Requests<R> {
    input: R,
    frames: Frames,
}

impl<R: AsyncRead + Unpin> Requests<R> {
    /// The next request; none where the input has ended. Given up, it can be called again.
    async fn next(&mut self) -> Result<Option<Request>, ServeError> {
        loop {
            if let Some(Frame::Line(line) | Frame::Body(line)) = self.frames.next_frame()? {
                return Ok(Some(Request::parse(&line)?));
            }
            let (room, most) = self.frames.room();
            let mut room = bytes::BufMut::limit(room, most);
            if self.input.read_buf(&mut room).await? == 0 {
                return Ok(None);
            }
        }
    }
}

/// The open request was interrupted.
struct Cancelled;

/// What is looked at while a request is open.
struct Watch<'w, R, W, S> {
    requests: &'w mut Requests<R>,
    interrupts: &'w mut S,
    output: &'w mut W,
}

impl<R, W, S> Watch<'_, R, W, S>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
    S: Stream<Item = ()> + Unpin,
{
    fn by_ref(&mut self) -> Watch<'_, R, W, S> {
        Watch { requests: self.requests, interrupts: self.interrupts, output: self.output }
    }

    /// Waits for `work`, with signs of life. None where the input has ended meanwhile.
    async fn over<T>(
        self,
        work: impl Future<Output = T>,
        connector: Option<&dyn Connector>,
    ) -> Result<Option<Result<T, Cancelled>>, ServeError> {
        let mut ticks = ticks();
        let mut work = std::pin::pin!(work);
        loop {
            let aside = async {
                tokio::select! {
                    request = self.requests.next() => Aside::Request(request),
                    () = interrupted(self.interrupts) => Aside::Interrupt,
                    _ = ticks.tick() => Aside::Tick,
                }
            };
            let aside = match future::select(&mut work, std::pin::pin!(aside)).await {
                Either::Left((done, _)) => return Ok(Some(Ok(done))),
                Either::Right((aside, _)) => aside,
            };
            match aside {
                Aside::Tick => send(self.output, &alive(connector)).await?,
                Aside::Interrupt => return Ok(Some(Err(Cancelled))),
                Aside::Request(request) => return ended(request),
            }
        }
    }

    /// Passes the pages of a read on, and gives the answer that ends it. None where the input has ended meanwhile.
    async fn pass_on(
        &mut self,
        id: u64,
        connector: &dyn Connector,
        pages: &mut PageStream<'_>,
    ) -> Result<Option<Message>, ServeError> {
        let fail = |error: &ConnectorError| Message::Error { id, error: Failure::from_error(error) };
        loop {
            let next = self.by_ref().over(pages.next(), Some(connector)).await?;
            let item = match next {
                None => return Ok(None),
                Some(Err(Cancelled)) => return Ok(Some(cancelled(id))),
                Some(Ok(None)) => {
                    return Ok(Some(fail(&ConnectorError::bug("a read ended without an end offset"))));
                }
                Some(Ok(Some(Err(error)))) => return Ok(Some(fail(&error))),
                Some(Ok(Some(Ok(item)))) => item,
            };
            match item {
                ReadItem::End(end) => {
                    send(self.output, &alive(Some(connector))).await?;
                    return Ok(Some(Message::End { id, end }));
                }
                ReadItem::Page(page) => match bodies::bodies(page) {
                    Ok(bodies) => {
                        for body in bodies {
                            let bytes = u64::try_from(body.bytes()).unwrap_or(u64::MAX);
                            let head = Message::Records { id, records: body.records, bytes };
                            self.output.write_all(&head.to_line()?).await?;
                            for piece in body.pieces() {
                                self.output.write_all(piece).await?;
                            }
                            self.output.write_all(b"\n").await?;
                        }
                        self.output.flush().await?;
                    }
                    Err(error) => return Ok(Some(fail(&error))),
                },
            }
        }
    }
}

enum Aside {
    Request(Result<Option<Request>, ServeError>),
    Interrupt,
    Tick,
}

/// What a request that comes while another is open means: the end of the input, or an end of the protocol.
fn ended<T>(request: Result<Option<Request>, ServeError>) -> Result<Option<T>, ServeError> {
    match request? {
        None => Ok(None),
        Some(_) => Err(FrameError::NotAMessage {
            reason: "a request came before the one before was answered".into(),
            start: String::new(),
        }
        .into()),
    }
}

/// Waits for an interrupt; for ever where none can come any more.
async fn interrupted(interrupts: &mut (impl Stream<Item = ()> + Unpin)) {
    if interrupts.next().await.is_none() {
        future::pending::<()>().await;
    }
}

fn ticks() -> Interval {
    let mut ticks = interval_at(Instant::now() + ALIVE_PERIOD, ALIVE_PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

fn alive(connector: Option<&dyn Connector>) -> Message {
    Message::Alive(Alive { requests: connector.map(Connector::requests), ..Alive::default() })
}

/// Starts a read.
fn read<'a>(connector: &'a dyn Connector, call: &'a Call) -> Result<PageStream<'a>, Failure> {
    match call {
        Call::ReadTable { table, start, options, .. } => {
            Ok(connector.read_table(table, start.as_ref(), options))
        }
        Call::ReadTableDeletes { table, start, options, .. } => {
            Ok(connector.read_table_deletes(table, start.as_ref(), options))
        }
        Call::ReadPartition { table, partition, options, stream, .. } => {
            part(connector, table, partition, options, *stream)
        }
        call => Err(unknown(call)),
    }
}

/// Starts the read of a part.
fn part<'a>(
    connector: &'a dyn Connector,
    table: &'a str,
    partition: &'a Partition,
    options: &'a Options,
    stream: bool,
) -> Result<PageStream<'a>, Failure> {
    if connector.partitions().is_none() && connector.partitioned_stream().is_none() {
        return Err(Failure::new(FailureKind::UnknownCall, "this connector reads no parts"));
    }
    Ok(Box::pin(async_stream::try_stream! {
        let mut pages = match (connector.partitions(), connector.partitioned_stream()) {
            (None, Some(parts)) => parts.read_partition(table, partition, options),
            (Some(_), Some(parts)) if stream => parts.read_partition(table, partition, options),
            (Some(parts), _) => parts.read_partition(table, partition, options),
            (None, None) => return,
        };
        while let Some(item) = pages.next().await {
            yield item?;
        }
    }))
}

fn unknown(call: &Call) -> Failure {
    Failure::new(FailureKind::UnknownCall, format!("`{}` is not a call of this connector", call.name()))
}

/// Answers a call that does not read.
async fn ask(connector: &dyn Connector, call: &Call) -> Result<Box<RawValue>, Failure> {
    let failed = |error: ConnectorError| Failure::from_error(&error);
    let parts = connector.partitions();
    let streams = connector.partitioned_stream();
    let namespaces = || connector.namespaces().ok_or_else(|| unknown(call));
    let agent = || connector.agent().ok_or_else(|| unknown(call));
    match call {
        Call::TestConnection => raw(&connector.test_connection().await.map_err(failed)?),
        Call::ListTables => raw(&connector.list_tables().await.map_err(failed)?),
        Call::GetTableSchema { table, options } => {
            raw(&connector.get_table_schema(table, options).await.map_err(failed)?)
        }
        Call::ReadTableMetadata { table, options } => {
            raw(&connector.read_table_metadata(table, options).await.map_err(failed)?)
        }
        Call::IsPartitioned { table, stream } => match (streams, parts) {
            (Some(ability), _) if *stream => raw(&ability.is_partitioned(table).await.map_err(failed)?),
            (_, Some(ability)) if !*stream => raw(&ability.is_partitioned(table).await.map_err(failed)?),
            (None, None) => Err(unknown(call)),
            _ => raw(&false),
        },
        Call::LatestOffset { table, start, options } => {
            let ability = streams.ok_or_else(|| unknown(call))?;
            raw(&ability.latest_offset(table, start, options).await.map_err(failed)?)
        }
        Call::GetPartitions { table, options, start: Some(start), end: Some(end) } => {
            let ability = streams.ok_or_else(|| unknown(call))?;
            raw(&ability.get_partitions(table, start, end, options).await.map_err(failed)?)
        }
        Call::GetPartitions { table, options, .. } => {
            let ability = parts.ok_or_else(|| unknown(call))?;
            raw(&ability.get_partitions(table, options).await.map_err(failed)?)
        }
        Call::ListNamespaces { prefix } => {
            raw(&namespaces()?.list_namespaces(prefix).await.map_err(failed)?)
        }
        Call::ListTablesInNamespace { namespace } => {
            raw(&namespaces()?.list_tables_in_namespace(namespace).await.map_err(failed)?)
        }
        Call::AgentOperations => {
            let operations = agent()?.agent_operations().await.map_err(failed)?;
            let by_name: std::collections::BTreeMap<_, _> =
                operations.into_iter().map(|operation| (operation.name.clone(), operation)).collect();
            raw(&by_name)
        }
        Call::Agent { operation, arguments } => {
            let arguments = serde_json::from_str(arguments.get())
                .map_err(|error| Failure::new(FailureKind::Protocol, error.to_string()))?;
            raw(&agent()?.run_operation(operation, &arguments).await.map_err(failed)?)
        }
        call => Err(unknown(call)),
    }
}

fn raw(value: &impl Serialize) -> Result<Box<RawValue>, Failure> {
    serde_json::value::to_raw_value(value)
        .map_err(|error| Failure::new(FailureKind::Bug, format!("the result is not JSON: {error}")))
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use futures::StreamExt;
    use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream, duplex};
    use tokio::sync::mpsc;
    use tokio::task::JoinSet;

    use super::{ServeError, serve_on};
    use crate::{
        Connector, ConnectorError, ConnectorFactory, Offset, Options, Page, PageStream, ReadItem, StructType,
        TableMetadata,
    };

    /// A table `ends`, one that never does, and calls that never answer.
    struct Test;

    #[async_trait]
    impl ConnectorFactory for Test {
        fn name(&self) -> &str {
            "test"
        }

        fn connector_spec(&self) -> Option<&str> {
            None
        }

        async fn connect(&self, options: &Options) -> Result<Box<dyn Connector>, ConnectorError> {
            match options.get("token") {
                Some(_) => Ok(Box::new(Test)),
                None => Err(ConnectorError::MissingOption { name: "token".into(), hint: "set it".into() }),
            }
        }
    }

    #[async_trait]
    impl Connector for Test {
        async fn list_tables(&self) -> Result<Vec<String>, ConnectorError> {
            Ok(vec!["ends".into()])
        }

        async fn get_table_schema(&self, _: &str, _: &Options) -> Result<StructType, ConnectorError> {
            futures::future::pending().await
        }

        async fn read_table_metadata(&self, _: &str, _: &Options) -> Result<TableMetadata, ConnectorError> {
            Err(ConnectorError::bug("no metadata"))
        }

        fn read_table<'a>(
            &'a self,
            table: &'a str,
            start: Option<&'a Offset>,
            _: &'a Options,
        ) -> PageStream<'a> {
            let page = Ok(ReadItem::Page(Page::json_array(r#"[{"n":1},{"n":2}]"#)));
            let end = start.cloned();
            match table {
                "ends" => futures::stream::iter([page, Ok(ReadItem::End(end))]).boxed(),
                "cut" => futures::stream::iter([page]).boxed(),
                _ => futures::stream::iter([page]).chain(futures::stream::pending()).boxed(),
            }
        }
    }

    struct Driven {
        to: DuplexStream,
        from: tokio::io::Lines<BufReader<DuplexStream>>,
        interrupts: mpsc::UnboundedSender<()>,
        worker: JoinSet<Result<(), ServeError>>,
    }

    impl Driven {
        fn start() -> Self {
            let (to, input) = duplex(1 << 16);
            let (output, from) = duplex(1 << 16);
            let (interrupts, mut receiver) = mpsc::unbounded_channel();
            let mut worker = JoinSet::new();
            worker.spawn(async move {
                serve_on(&Test, input, output, futures::stream::poll_fn(|cx| receiver.poll_recv(cx))).await
            });
            Self { to, from: BufReader::new(from).lines(), interrupts, worker }
        }

        async fn send(&mut self, line: &str) {
            self.to.write_all(format!("{line}\n").as_bytes()).await.unwrap();
        }

        /// The next line that is no sign of life.
        async fn line(&mut self) -> String {
            loop {
                let line = self.from.next_line().await.unwrap().unwrap();
                if !line.starts_with("{\"alive\"") {
                    return line;
                }
            }
        }

        async fn check(&mut self, request: &str, expect: &str) {
            self.send(request).await;
            let line = self.line().await;
            assert!(line.starts_with(expect), "{request}: {line}");
        }

        async fn open(&mut self) {
            self.check(
                r#"{"id":1,"call":"hello","protocols":[1,2],"headwater":"x"}"#,
                r#"{"id":1,"result":{"protocol":1"#,
            )
            .await;
            self.check(
                r#"{"id":2,"call":"open","options":{"token":"s"}}"#,
                r#"{"id":2,"result":{"connector":"test","abilities":[]}}"#,
            )
            .await;
        }
    }

    #[tokio::test]
    async fn requests_are_answered_as_the_protocol_says() {
        let mut driven = Driven::start();
        driven
            .check(
                r#"{"id":1,"call":"hello","protocols":[9],"headwater":"x"}"#,
                r#"{"id":1,"error":{"kind":"protocol""#,
            )
            .await;
        driven
            .check(
                r#"{"id":2,"call":"list_tables"}"#,
                r#"{"id":2,"error":{"kind":"protocol","message":"`list_tables` came before `open`""#,
            )
            .await;
        driven.check(r#"{"id":3,"call":"open","options":{}}"#, r#"{"id":3,"error":{"kind":"missing_option","message":"set it","retry":"never","option":"token"}}"#).await;
        driven.open().await;
        driven.check(r#"{"id":4,"call":"spec"}"#, r#"{"id":4,"result":null}"#).await;
        driven.check(r#"{"id":5,"call":"list_tables"}"#, r#"{"id":5,"result":["ends"]}"#).await;
        driven.check(r#"{"id":6,"call":"fly"}"#, r#"{"id":6,"error":{"kind":"unknown_call""#).await;
        driven
            .check(r#"{"id":7,"call":"list_namespaces"}"#, r#"{"id":7,"error":{"kind":"unknown_call""#)
            .await;
        driven
            .check(
                r#"{"id":8,"call":"read_partition","table":"t","partition":{}}"#,
                r#"{"id":8,"error":{"kind":"unknown_call""#,
            )
            .await;
        driven
            .check(
                r#"{"id":9,"call":"read_table","table":"ends","start":{"n":1.10}}"#,
                r#"{"id":9,"records":2,"bytes":17}"#,
            )
            .await;
        assert_eq!(driven.line().await, r#"[{"n":1},{"n":2}]"#);
        assert_eq!(driven.line().await, r#"{"id":9,"end":{"n":1.10}}"#);
        driven.check(r#"{"id":10,"call":"read_table","table":"cut"}"#, r#"{"id":10,"records":2"#).await;
        driven.line().await;
        assert!(driven.line().await.contains("a read ended without an end offset"));
        drop(driven.to);
        driven.worker.join_next().await.unwrap().unwrap().unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_can_be_interrupted_and_signs_of_life_come_meanwhile() {
        let mut driven = Driven::start();
        driven.open().await;
        // One that comes while nothing is asked means nothing.
        driven.interrupts.send(()).unwrap();
        driven.check(r#"{"id":3,"call":"list_tables"}"#, r#"{"id":3,"result""#).await;
        driven.send(r#"{"id":4,"call":"get_table_schema","table":"t"}"#).await;
        assert!(driven.from.next_line().await.unwrap().unwrap().starts_with("{\"alive\""));
        driven.interrupts.send(()).unwrap();
        assert!(driven.line().await.starts_with(r#"{"id":4,"error":{"kind":"cancelled""#));
        driven.check(r#"{"id":5,"call":"read_table","table":"endless"}"#, r#"{"id":5,"records":2"#).await;
        driven.line().await;
        driven.interrupts.send(()).unwrap();
        assert!(driven.line().await.starts_with(r#"{"id":5,"error":{"kind":"cancelled""#));
        driven.check(r#"{"id":6,"call":"list_tables"}"#, r#"{"id":6,"result""#).await;
        // The input ends in the middle of a request.
        driven.send(r#"{"id":7,"call":"get_table_schema","table":"t"}"#).await;
        drop(driven.to);
        driven.worker.join_next().await.unwrap().unwrap().unwrap();
    }

    #[tokio::test]
    async fn what_is_not_a_request_ends_the_worker_with_an_error() {
        for line in ["hello", "[]", "{}", r#"{"id":1,"call":"read_table"}"#] {
            let mut driven = Driven::start();
            driven.send(line).await;
            let ended = driven.worker.join_next().await.unwrap().unwrap();
            assert!(matches!(ended, Err(ServeError::Request(_))), "{line}: {ended:?}");
        }
    }
}
