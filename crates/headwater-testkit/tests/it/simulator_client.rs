//! What the tests of the simulator have in common: an invented source, and a client that sees every byte.

use std::path::Path;
use std::sync::Arc;

use headwater_testkit::simulator::{Description, Settings, Simulator};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// A folder with a description and its corpora.
pub(crate) fn folder(endpoints: &str, corpora: &[(&str, Value)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("endpoints.yaml"), endpoints).unwrap();
    std::fs::create_dir(folder.path().join("corpus")).unwrap();
    for (name, records) in corpora {
        let path = folder.path().join("corpus").join(format!("{name}.json"));
        std::fs::write(path, records.to_string()).unwrap();
    }
    folder
}

pub(crate) fn load(endpoints: &str, corpora: &[(&str, Value)]) -> Description {
    let folder = folder(endpoints, corpora);
    load_from(folder.path())
}

pub(crate) fn load_from(folder: &Path) -> Description {
    Description::load(folder).unwrap_or_else(|errors| {
        let all: Vec<String> = errors.errors.iter().map(|e| e.render()).collect();
        panic!("{}", all.join("\n"))
    })
}

pub(crate) fn start(endpoints: &str, corpora: &[(&str, Value)]) -> Simulator {
    Simulator::start(load(endpoints, corpora), Settings::default()).unwrap()
}

/// An answer as it came.
#[derive(Debug)]
pub(crate) struct Got {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Got {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|e| panic!("{e}: {} {}", self.status, String::from_utf8_lossy(&self.body)))
    }

    /// The values of a field of all records.
    pub(crate) fn all(&self, field: &str) -> Vec<Value> {
        let body = self.json();
        body.as_array().unwrap().iter().map(|record| record[field].clone()).collect()
    }
}

/// Sends a request over its own connection, and reads the answer to the end of the connection.
pub(crate) async fn ask(simulator: &Simulator, request: &str, headers: &str, body: &str) -> Got {
    try_ask(simulator, request, headers, body).await.unwrap()
}

pub(crate) async fn get(simulator: &Simulator, path: &str) -> Got {
    ask(simulator, &format!("GET {path}"), "", "").await
}

pub(crate) async fn try_ask(
    simulator: &Simulator,
    request: &str,
    headers: &str,
    body: &str,
) -> std::io::Result<Got> {
    let stream = TcpStream::connect(simulator.address()).await?;
    exchange(stream, request, headers, body).await
}

pub(crate) async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    request: &str,
    headers: &str,
    body: &str,
) -> std::io::Result<Got> {
    let host = if headers.to_ascii_lowercase().contains("host:") { "" } else { "Host: source.example\r\n" };
    let length = body.len();
    let text = format!(
        "{request} HTTP/1.1\r\n{host}{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    );
    stream.write_all(text.as_bytes()).await?;
    let mut all = Vec::new();
    if let Err(error) = stream.read_to_end(&mut all).await {
        // A server that ends without a word of TLS has ended all the same.
        if error.kind() != std::io::ErrorKind::UnexpectedEof || all.is_empty() {
            return Err(error);
        }
    }
    Ok(parse(&all))
}

fn parse(all: &[u8]) -> Got {
    let end = all.windows(4).position(|w| w == b"\r\n\r\n").expect("an answer has a head");
    let head = String::from_utf8(all[..end].to_vec()).unwrap();
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers =
        lines.filter_map(|l| l.split_once(": ")).map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
    Got { status, headers, body: all[end + 4..].to_vec() }
}

/// Speaks TLS with the server at the other end of `stream` under `name`, trusting the simulator only.
pub(crate) async fn tls<S: AsyncRead + AsyncWrite + Unpin>(
    simulator: &Simulator,
    stream: S,
    name: &str,
) -> tokio_rustls::client::TlsStream<S> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(simulator.certificate_pem().as_bytes()).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap()
}
