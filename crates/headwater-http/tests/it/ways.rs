//! The way to a source: TLS, proxies, and simulators that stand in for it.

use std::sync::{Arc, Mutex};

use headwater_connect::{Blame, ConnectorError, Retry, Secret};
use headwater_http::{Auth, HttpClient, OAuth2, SimulatorAddress, lead_to};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::server::{chain, quick};

/// A certificate authority that nobody knows.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// A server that proves to be these hosts.
    fn acceptor(&self, names: &[&str]) -> TlsAcceptor {
        let params =
            CertificateParams::new(names.iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], private)
            .unwrap();
        TlsAcceptor::from(Arc::new(config))
    }
}

/// Reads the head of a request.
async fn head(stream: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    Some(String::from_utf8(head).unwrap())
}

/// Says back the head of each request.
async fn echo(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> Option<()> {
    loop {
        let head = head(&mut stream).await?;
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{head}", head.len());
        stream.write_all(answer.as_bytes()).await.ok()?;
        stream.flush().await.ok()?;
    }
}

struct Running {
    port: u16,
    _tasks: JoinSet<()>,
}

async fn listen<F>(serve: impl Fn(TcpStream) -> F + Send + 'static) -> Running
where
    F: Future<Output = Option<()>> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            connections.spawn(serve(stream));
        }
    });
    Running { port, _tasks: tasks }
}

async fn tls_echo(acceptor: TlsAcceptor) -> Running {
    listen(move |stream| {
        let acceptor = acceptor.clone();
        async move { echo(acceptor.accept(stream).await.ok()?).await }
    })
    .await
}

async fn text(client: &HttpClient, path: &str) -> String {
    String::from_utf8(client.get(path).send().await.unwrap().body.to_vec()).unwrap()
}

#[tokio::test]
async fn a_host_that_cannot_prove_its_name_is_not_talked_to() {
    let authority = Authority::new();
    let server = tls_echo(authority.acceptor(&["localhost"])).await;
    let url = format!("https://localhost:{}", server.port);
    let builder = || {
        let auth = Auth::Bearer(Secret::new("hunter2hunter2"));
        HttpClient::builder(&url).no_proxy().auth(auth).retry(quick(3))
    };
    let client = builder().build().unwrap();
    let error = client.get("x").send().await.unwrap_err();
    assert!(matches!(error, ConnectorError::Untrusted { .. }), "{error:?}");
    assert_eq!((error.retry(), error.blame()), (Retry::Never, Blame::Configuration));
    assert_eq!(client.stats().counts().requests, 1, "it is not asked again");
    assert!(error.hint().unwrap().contains("SSL_CERT_FILE"));
    assert!(chain(&error).contains("the certificate of the host is not trusted"), "{}", chain(&error));
    assert!(!chain(&error).contains("hunter2"));

    let trusting = builder().trust(&authority.pem).build().unwrap();
    assert!(text(&trusting, "x").await.contains("Bearer hunter2hunter2"));

    // A good certificate of another host is no better.
    let other = tls_echo(authority.acceptor(&["elsewhere.example"])).await;
    let url = format!("https://localhost:{}", other.port);
    let client = HttpClient::builder(&url).no_proxy().trust(&authority.pem).build().unwrap();
    let error = client.get("x").send().await.unwrap_err();
    assert!(matches!(error, ConnectorError::Untrusted { .. }), "{error:?}");
    let error = HttpClient::builder(&url).trust("no PEM").build().unwrap_err();
    assert!(error.to_string().contains("`ca_certificate` holds no certificate"), "{error}");
}

/// A proxy: passes `CONNECT` on to wherever `localhost` stands for, and says back what comes in absolute form.
async fn proxy(log: Arc<Mutex<Vec<String>>>, acceptor: Option<TlsAcceptor>) -> Running {
    listen(move |mut stream| {
        let (log, acceptor) = (Arc::clone(&log), acceptor.clone());
        async move {
            let head = head(&mut stream).await?;
            log.lock().unwrap().push(head.clone());
            let Some(target) = head.strip_prefix("CONNECT ") else {
                let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{head}", head.len());
                stream.write_all(answer.as_bytes()).await.ok()?;
                return Some(());
            };
            stream.write_all(b"HTTP/1.1 200 Connected\r\n\r\n").await.ok()?;
            match acceptor {
                // It is the source itself.
                Some(acceptor) => echo(acceptor.accept(stream).await.ok()?).await,
                None => {
                    let address = target.split(' ').next()?.to_owned();
                    let mut onward = TcpStream::connect(address).await.ok()?;
                    copy_bidirectional(&mut stream, &mut onward).await.ok()?;
                    Some(())
                }
            }
        }
    })
    .await
}

#[tokio::test]
async fn requests_go_by_the_proxy_that_is_named() {
    let log = Arc::<Mutex<Vec<String>>>::default();
    let proxy = proxy(Arc::clone(&log), None).await;
    let by = Secret::new(format!("http://user:p4ssw0rd@127.0.0.1:{}", proxy.port));
    let client = HttpClient::builder("http://shop.example/api").proxy(by.clone()).build().unwrap();
    let seen = text(&client, "orders?page=2").await;
    assert!(seen.starts_with("GET http://shop.example/api/orders?page=2 HTTP/1.1\r\n"), "{seen}");
    assert!(seen.contains("proxy-authorization: Basic dXNlcjpwNHNzdzByZA=="), "{seen}");

    let authority = Authority::new();
    let server = tls_echo(authority.acceptor(&["localhost"])).await;
    let url = format!("https://localhost:{}", server.port);
    let client = HttpClient::builder(&url).proxy(by.clone()).trust(&authority.pem).build().unwrap();
    let seen = text(&client, "x").await;
    assert!(seen.starts_with("GET /x ") && !seen.contains("proxy-authorization"), "{seen}");
    let connect = log.lock().unwrap().last().unwrap().clone();
    assert!(connect.starts_with(&format!("CONNECT localhost:{} HTTP/1.1\r\n", server.port)), "{connect}");

    let check = |url: &str| {
        let error = HttpClient::builder("http://h").proxy(Secret::new(url)).build().unwrap_err();
        assert!(error.to_string().starts_with("option `proxy` is not a"), "{error}");
        assert!(!error.to_string().contains("p4ssw0rd"), "{error}");
    };
    check("proxy.example:3128");
    check("socks5://user:p4ssw0rd@h");
    check("");
    drop(proxy);
    let client = HttpClient::builder("http://shop.example").proxy(by).retry(quick(1)).build().unwrap();
    let error = client.get("x").send().await.unwrap_err();
    assert!(!chain(&error).contains("p4ssw0rd"), "{}", chain(&error));
}

/// Plays every source that is named, on one port.
async fn simulator(log: Arc<Mutex<Vec<String>>>, names: &[&str]) -> (Running, SimulatorAddress) {
    let authority = Authority::new();
    let running = proxy(log, Some(authority.acceptor(names))).await;
    let address = SimulatorAddress { address: ([127, 0, 0, 1], running.port).into(), ca_pem: authority.pem };
    (running, address)
}

#[tokio::test]
async fn a_simulator_is_asked_under_the_name_of_its_source() {
    let log = Arc::<Mutex<Vec<String>>>::default();
    let (_running, simulator) = simulator(Arc::clone(&log), &["api.shop.example"]).await;
    let builder = |url: &str| HttpClient::builder(url).retry(quick(1)).simulator(simulator.clone());
    let seen = text(&builder("https://api.shop.example/v1").build().unwrap(), "orders").await;
    assert!(seen.starts_with("GET /v1/orders ") && seen.contains("host: api.shop.example\r\n"), "{seen}");
    assert!(log.lock().unwrap()[0].starts_with("CONNECT api.shop.example:443 "));
    let seen = text(&builder("http://127.0.0.1:9/v1").build().unwrap(), "orders").await;
    assert!(seen.starts_with("GET http://127.0.0.1:9/v1/orders "), "{seen}");
    // Even a real server is out of reach.
    let authority = Authority::new();
    let server = tls_echo(authority.acceptor(&["localhost"])).await;
    let client =
        builder(&format!("https://localhost:{}", server.port)).trust(&authority.pem).build().unwrap();
    let error = client.get("x").send().await.unwrap_err();
    assert!(matches!(error, ConnectorError::Untrusted { .. }), "{error:?}");
}

/// Runs in a process of its own: what it sets holds for the whole of it.
#[tokio::test]
#[ignore = "started by another test, in a process of its own"]
async fn a_whole_process_is_led() {
    let log = Arc::<Mutex<Vec<String>>>::default();
    let names = ["api.shop.example", "login.shop.example"];
    let (_running, simulator) = simulator(Arc::clone(&log), &names).await;
    let bad = SimulatorAddress { ca_pem: "rubbish".into(), ..simulator.clone() };
    assert!(lead_to(bad).is_err());
    lead_to(simulator).unwrap();
    let seen = text(&HttpClient::builder("https://api.shop.example").build().unwrap(), "x").await;
    assert!(seen.starts_with("GET /x "), "{seen}");
    // Requests for tokens are led as well; the simulator says back no token.
    let oauth = OAuth2::client_credentials("https://login.shop.example/token", "me", Secret::new("pw-pw-pw"));
    let client = HttpClient::builder("https://api.shop.example").auth(oauth).build().unwrap();
    let error = client.get("x").send().await.unwrap_err();
    assert!(
        chain(&error).contains("POST https://login.shop.example/token did not answer"),
        "{}",
        chain(&error)
    );
    // What records goes to the source itself.
    let past = HttpClient::builder("https://localhost:9").past_simulator().retry(quick(1)).build().unwrap();
    let error = past.get("x").send().await.unwrap_err();
    assert!(matches!(error, ConnectorError::Unavailable { .. }), "{error:?}");
    assert!(log.lock().unwrap().iter().all(|head| !head.contains("localhost")));
}

#[tokio::test]
async fn a_process_may_be_led_to_a_simulator_and_does_not_go_elsewhere() {
    run_alone("ways::a_whole_process_is_led", &[]).await;
}

#[tokio::test]
#[ignore = "started by another test, in a process of its own"]
async fn the_environment_names_a_proxy() {
    let mut port = String::new();
    std::io::stdin().read_line(&mut port).unwrap();
    let port = port.trim();
    let seen = text(&HttpClient::builder("http://shop.example").build().unwrap(), "x").await;
    assert!(seen.starts_with("GET http://shop.example/x "), "{seen}");
    let direct = HttpClient::builder(&format!("http://127.0.0.1:{port}")).build().unwrap();
    assert!(text(&direct, "x").await.starts_with("GET /x "), "it is one of NO_PROXY");
    let error = HttpClient::builder("http://shop.invalid").no_proxy().retry(quick(1)).build().unwrap();
    assert!(error.get("x").send().await.is_err());
}

#[tokio::test]
async fn the_proxies_of_the_environment_are_used() {
    let log = Arc::<Mutex<Vec<String>>>::default();
    let proxy = proxy(log, None).await;
    let url = format!("http://127.0.0.1:{}", proxy.port);
    run_alone(
        "ways::the_environment_names_a_proxy",
        &[("HTTP_PROXY", &url), ("http_proxy", &url), ("NO_PROXY", "127.0.0.1"), ("no_proxy", "127.0.0.1")],
    )
    .await;
}

/// Runs one test of this program in a process of its own.
pub(crate) async fn run_alone(test: &str, environment: &[(&str, &str)]) {
    let direct = listen(echo).await;
    let mut child = tokio::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--ignored"])
        .envs(environment.iter().copied())
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(format!("{}\n", direct.port).as_bytes()).await.unwrap();
    let output = child.wait_with_output().await.unwrap();
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}
