//! Connections: whatever a client speaks on the port, one function answers its requests.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Weak};

use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::header::{HeaderName, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::CA_PATH;
use super::answer::{Answer, Asked};
use super::certificates::{Authority, host_name};
use super::control::Shared;
use super::faults::FaultKind;
use super::wire::{ResetSwitch, Sent, Sniffed, Wire};

/// The largest body of a request.
const MAX_REQUEST_BYTES: usize = 64 << 20;

type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What all connections of a simulator have in common.
struct Server {
    shared: Arc<Shared>,
    authority: Arc<Authority>,
    address: SocketAddr,
    /// Tunnels go on beside the connection that asked for them.
    tunnels: UnboundedSender<Work>,
}

/// What is known of a client before it sends a request.
#[derive(Clone)]
struct Peer {
    reset: ResetSwitch,
    tls: bool,
    /// The host that a tunnel was asked for.
    tunnel: Option<String>,
}

/// Serves until the task is dropped.
pub(super) async fn serve(
    listener: TcpListener,
    address: SocketAddr,
    shared: Weak<Shared>,
    authority: Arc<Authority>,
) {
    let (tunnels, mut waiting): (_, UnboundedReceiver<Work>) = unbounded_channel();
    let mut connections = JoinSet::new();
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(tunnel) = waiting.recv() => {
                connections.spawn(tunnel);
                continue;
            }
            Some(ended) = connections.join_next() => {
                if let Err(error) = ended {
                    tracing::error!(%error, "a connection of the simulator failed");
                }
                continue;
            }
        };
        let Some(shared) = shared.upgrade() else { return };
        match stream {
            Ok((stream, _)) => {
                let server = Arc::new(Server {
                    shared,
                    authority: Arc::clone(&authority),
                    address,
                    tunnels: tunnels.clone(),
                });
                connections.spawn(connection(server, stream));
            }
            Err(error) => tracing::warn!(%error, "a connection could not be accepted"),
        }
    }
}

async fn connection(server: Arc<Server>, stream: TcpStream) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection keeps its delay");
    }
    let peer = Peer { reset: ResetSwitch::default(), tls: false, tunnel: None };
    let wire = Wire::new(stream, peer.reset.clone());
    ended(sniff(server, wire, peer).await);
}

fn ended(end: io::Result<()>) {
    if let Err(error) = end {
        tracing::debug!(%error, "a connection of the simulator ended early");
    }
}

/// Looks at the first byte: TLS, or HTTP in the clear.
async fn sniff<S>(server: Arc<Server>, stream: S, mut peer: Peer) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let Some(stream) = Sniffed::read(stream).await? else { return Ok(()) };
    if !stream.is_tls() {
        return http(server, stream, peer).await;
    }
    let otherwise = peer.tunnel.as_deref().map_or_else(|| "localhost".to_owned(), host_name);
    let config = server.authority.config(&otherwise).map_err(io::Error::other)?;
    let stream = TlsAcceptor::from(Arc::new(config)).accept(stream).await?;
    peer.tls = true;
    http(server, stream, peer).await
}

async fn http<S>(server: Arc<Server>, stream: S, peer: Peer) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request| answered(Arc::clone(&server), peer.clone(), request));
    let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service).with_upgrades();
    connection.await.map_err(io::Error::other)
}

/// One request. An error ends the connection without an answer.
async fn answered(
    server: Arc<Server>,
    peer: Peer,
    mut request: Request<Incoming>,
) -> Result<Response<Sent>, io::Error> {
    if request.method() == Method::CONNECT {
        return Ok(tunnelled(server, peer, &mut request));
    }
    let asked = match asked(&server, &peer, request).await {
        Ok(asked) => asked,
        Err(answer) => return Ok(response(*answer, None)),
    };
    if asked.path == CA_PATH && asked.method == "GET" {
        let headers = vec![("content-type".to_owned(), "application/x-pem-file".to_owned())];
        let body = server.authority.pem().to_owned().into();
        return Ok(response(Answer { status: 200, headers, body }, None));
    }
    let (answer, fault) = server.shared.handle(asked).await;
    if fault == Some(FaultKind::Reset) {
        peer.reset.throw();
        return Err(io::ErrorKind::ConnectionReset.into());
    }
    Ok(response(answer, fault))
}

/// Agrees to a tunnel; what comes through it is served as a connection of its own, whatever the host.
fn tunnelled(server: Arc<Server>, peer: Peer, request: &mut Request<Incoming>) -> Response<Sent> {
    let host = request.uri().authority().map(ToString::to_string);
    let upgrade = hyper::upgrade::on(request);
    let tunnels = server.tunnels.clone();
    let work = async move {
        let peer = Peer { tunnel: host, ..peer };
        match upgrade.await {
            Ok(stream) => ended(sniff(server, TokioIo::new(stream), peer).await),
            Err(error) => tracing::debug!(%error, "a tunnel did not come about"),
        }
    };
    // It can only fail when the simulator is at its end.
    if tunnels.send(Box::pin(work)).is_err() {
        return response(Answer::message(503, "the simulator has stopped"), None);
    }
    response(Answer::empty(200), None)
}

async fn asked(server: &Server, peer: &Peer, request: Request<Incoming>) -> Result<Asked, Box<Answer>> {
    let (head, body) = request.into_parts();
    let headers: Vec<(String, String)> = head
        .headers
        .iter()
        .map(|(name, value)| {
            (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
        })
        .collect();
    let named = |name: &str| headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.clone());
    let host = head
        .uri
        .authority()
        .map(ToString::to_string)
        .or_else(|| named("host"))
        .or_else(|| peer.tunnel.clone());
    let host = host.unwrap_or_else(|| server.address.to_string());
    let scheme = head.uri.scheme_str().unwrap_or(if peer.tls { "https" } else { "http" });
    let raw_query = head.uri.query().unwrap_or_default().to_owned();
    let query = url::form_urlencoded::parse(raw_query.as_bytes());
    let query = query.map(|(name, value)| (name.into_owned(), value.into_owned())).collect();
    let body = match Limited::new(body, MAX_REQUEST_BYTES).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) => {
            let message = format!("the body of the request cannot be taken: {error}");
            return Err(Box::new(Answer::message(413, message)));
        }
    };
    Ok(Asked {
        method: head.method.as_str().to_owned(),
        origin: format!("{scheme}://{host}"),
        path: head.uri.path().to_owned(),
        raw_query,
        query,
        headers,
        body,
    })
}

fn response(answer: Answer, fault: Option<FaultKind>) -> Response<Sent> {
    let body = match fault {
        Some(FaultKind::TruncatedBody) => Sent::truncated(answer.body),
        Some(FaultKind::SlowBody(over)) => Sent::slow(answer.body, over),
        Some(FaultKind::InvalidJson) => {
            let keep = answer.body.len() * 2 / 3;
            Sent::whole(if keep == 0 { "{".into() } else { answer.body.slice(..keep) })
        }
        _ => Sent::whole(answer.body),
    };
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in answer.headers {
        match (HeaderName::try_from(&name), HeaderValue::try_from(&value)) {
            (Ok(name), Ok(value)) => {
                response.headers_mut().append(name, value);
            }
            _ => tracing::warn!(name, "a header of an answer cannot be sent"),
        }
    }
    response
}
