//! What opens connections, shared by all clients of a process that want the same of it: making one reads the
//! system's certificates, and each table of an update has a client of its own.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use headwater_connect::{ConnectorError, Secret};
use reqwest::{Certificate, Proxy};
use tokio::runtime::{Handle, Id};
use url::Url;

/// More than a process has kinds of; beyond, the oldest go.
const MOST_KEPT: usize = 16;

/// Where a simulator listens, and what it signs its certificates with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SimulatorAddress {
    /// One port for everything: plain requests in absolute form, `CONNECT`, and TLS inside it.
    pub address: SocketAddr,
    /// The certificate authority that vouches for the names of the sources that it plays, in PEM form.
    pub ca_pem: String,
}

/// Where the clients of this process are led.
static LED_TO: Mutex<Option<Arc<SimulatorAddress>>> = Mutex::new(None);

/// Leads every request of every client that is built from now on to a simulator, as if it were a proxy: connectors see
/// the host names that they know. Inside TLS the simulator's certificate authority is trusted and no other, so that
/// nothing reaches a real source by mistake. Clients that are built already stay as they are.
///
/// # Errors
/// [`ConnectorError::InvalidOption`] where the certificate cannot be read; nothing has changed then.
pub fn lead_to(simulator: SimulatorAddress) -> Result<(), ConnectorError> {
    certificates("simulator", &simulator.ca_pem)?;
    *LED_TO.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(simulator));
    Ok(())
}

/// How to get to a source.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Way {
    /// By the simulator where there is one; else by the proxies that the environment names.
    #[default]
    Environment,
    /// By the proxies that the environment names, even where there is a simulator.
    PastSimulator,
    /// Straight.
    Straight,
    /// By this proxy, whose URL may hold a password.
    Proxy(Secret),
    /// By this simulator.
    Simulator(Arc<SimulatorAddress>),
}

/// What a client wants of its transport.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct TransportSettings {
    /// How long to wait for a connection at most.
    pub(crate) connect: Option<Duration>,
    pub(crate) way: Way,
    /// Certificate authorities that are trusted beside the system's, in PEM form.
    pub(crate) authorities: Vec<String>,
}

struct Kept {
    /// Connections are served by tasks of the runtime that they were opened in.
    runtime: Id,
    settings: TransportSettings,
    http: reqwest::Client,
}

static KEPT: Mutex<Vec<Kept>> = Mutex::new(Vec::new());

/// Gives a transport with these settings. Outside of a runtime it is a new one.
pub(crate) fn transport(settings: &TransportSettings) -> Result<reqwest::Client, ConnectorError> {
    let mut settings = settings.clone();
    if settings.way == Way::Environment
        && let Some(simulator) = LED_TO.lock().unwrap_or_else(PoisonError::into_inner).clone()
    {
        settings.way = Way::Simulator(simulator);
    }
    let Ok(runtime) = Handle::try_current().map(|handle| handle.id()) else { return make(&settings) };
    let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(found) = kept.iter().find(|one| one.runtime == runtime && one.settings == settings) {
        return Ok(found.http.clone());
    }
    let http = make(&settings)?;
    if kept.len() >= MOST_KEPT {
        kept.remove(0);
    }
    kept.push(Kept { runtime, settings, http: http.clone() });
    Ok(http)
}

fn make(settings: &TransportSettings) -> Result<reqwest::Client, ConnectorError> {
    let mut http = reqwest::Client::builder()
        // Redirects are followed in this crate, which knows what is secret and whose it is.
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .tcp_nodelay(true);
    if let Some(connect) = settings.connect {
        http = http.connect_timeout(connect);
    }
    // A simulator is not to be left for a real source, whoever vouches for that.
    let authorities = if matches!(settings.way, Way::Simulator(_)) { &[][..] } else { &settings.authorities };
    for pem in authorities {
        http = http.tls_certs_merge(certificates("ca_certificate", pem)?);
    }
    http = match &settings.way {
        // What reqwest does by itself: HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY, in either case of letters.
        Way::Environment | Way::PastSimulator => http,
        Way::Straight => http.no_proxy(),
        Way::Proxy(url) => http.proxy(proxy(url)?),
        Way::Simulator(simulator) => http
            .proxy(proxy(&Secret::new(format!("http://{}", simulator.address)))?)
            .tls_certs_only(certificates("simulator", &simulator.ca_pem)?),
    };
    http.build().map_err(|error| ConnectorError::Unavailable { source: Box::new(error) })
}

/// Reads the certificates of a PEM text; `option` is what to blame.
fn certificates(option: &str, pem: &str) -> Result<Vec<Certificate>, ConnectorError> {
    let found = Certificate::from_pem_bundle(pem.as_bytes()).ok().filter(|found| !found.is_empty());
    found.ok_or_else(|| {
        let reason = "holds no certificate in PEM form, which begins with `-----BEGIN CERTIFICATE-----`";
        ConnectorError::invalid_option(option, reason)
    })
}

/// Reads the URL of a proxy, with user and password where it needs them. The URL is not shown.
pub(crate) fn proxy(url: &Secret) -> Result<Proxy, ConnectorError> {
    let bad = |reason: &str| ConnectorError::invalid_option("proxy", reason);
    let parsed =
        Url::parse(url.expose().trim()).map_err(|_| bad("is not a URL such as http://proxy.example:3128"))?;
    if !matches!(parsed.scheme(), "http" | "https") || parsed.host_str().is_none() {
        return Err(bad("is not an http or https URL such as http://proxy.example:3128"));
    }
    Proxy::all(parsed).map_err(|_| bad("cannot be used"))
}
