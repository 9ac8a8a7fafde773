//! Servers for tests.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::Response;
use futures::future::BoxFuture;
use headwater_connect::ConnectorError;
use headwater_http::{HttpClient, HttpClientBuilder, RetryPolicy, Timeouts};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// A server that ends when it is dropped.
pub(crate) struct Server {
    pub(crate) url: String,
    seen: Arc<Mutex<Vec<String>>>,
    _tasks: JoinSet<()>,
}

impl Server {
    /// What has been asked: for HTTP servers, method and target; for raw ones, all that came.
    pub(crate) fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }

    pub(crate) fn count(&self) -> usize {
        self.seen().len()
    }

    /// A client of this server that waits for milliseconds where others wait for seconds.
    pub(crate) fn client(&self) -> HttpClient {
        self.builder().build().unwrap()
    }

    pub(crate) fn builder(&self) -> HttpClientBuilder {
        HttpClient::builder(&self.url).retry(quick(4))
    }
}

/// Retries without waiting.
pub(crate) fn quick(max_attempts: u32) -> RetryPolicy {
    RetryPolicy { max_attempts, base: Duration::from_millis(1), ..RetryPolicy::default() }
}

/// No timers at all, so that paused time moves for waits between attempts only.
pub(crate) const NO_TIMEOUTS: Timeouts = Timeouts { connect: None, read: None, total: None };

type Handler = Arc<dyn Fn(usize, Request) -> BoxFuture<'static, Response<Body>> + Send + Sync>;

/// Serves HTTP: `answer` gets the number of the request, from 1, and the request.
pub(crate) async fn serve<F>(answer: impl Fn(usize, Request) -> F + Send + Sync + 'static) -> Server
where
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let seen: Arc<Mutex<Vec<String>>> = Arc::default();
    let handler: Handler = Arc::new(move |number, request| Box::pin(answer(number, request)));
    let router = Router::new().fallback(handle).with_state((Arc::clone(&seen), handler));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { axum::serve(listener, router).await.unwrap() });
    Server { url, seen, _tasks: tasks }
}

async fn handle(
    State((seen, handler)): State<(Arc<Mutex<Vec<String>>>, Handler)>,
    request: Request,
) -> Response<Body> {
    let number = {
        let mut seen = seen.lock().unwrap();
        seen.push(format!("{} {}", request.method(), request.uri()));
        seen.len()
    };
    handler(number, request).await
}

/// Serves bytes: `answer` gets the number of the connection, from 1, and the connection when the head of a request
/// has been read from it. The connection closes when it returns.
pub(crate) async fn serve_raw<F>(answer: impl Fn(usize, TcpStream) -> F + Send + Sync + 'static) -> Server
where
    F: Future<Output = ()> + Send + 'static,
{
    let seen: Arc<Mutex<Vec<String>>> = Arc::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let mut tasks = JoinSet::new();
    let log = Arc::clone(&seen);
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                match stream.read_u8().await {
                    Ok(byte) => head.push(byte),
                    Err(_) => break,
                }
            }
            log.lock().unwrap().push(String::from_utf8_lossy(&head).into_owned());
            let number = log.lock().unwrap().len();
            connections.spawn(answer(number, stream));
        }
    });
    Server { url, seen, _tasks: tasks }
}

/// Sends `bytes`; the other side may have hung up, which is fine.
pub(crate) async fn send(stream: &mut TcpStream, bytes: impl AsRef<[u8]>) {
    let _gone = stream.write_all(bytes.as_ref()).await;
}

pub(crate) fn answer(status: u16, body: impl Into<Body>) -> Response<Body> {
    Response::builder().status(status).body(body.into()).unwrap()
}

pub(crate) fn answer_with(status: u16, headers: &[(&str, &str)], body: impl Into<Body>) -> Response<Body> {
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(*name, *value);
    }
    response.body(body.into()).unwrap()
}

/// An error with all its causes, as a log shows it.
pub(crate) fn chain(error: &ConnectorError) -> String {
    let mut text = format!("{error} {error:?}");
    let mut cause = std::error::Error::source(error);
    while let Some(next) = cause {
        text.push_str(&format!(": {next}"));
        cause = next.source();
    }
    text
}
