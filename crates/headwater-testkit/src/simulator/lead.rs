//! Leads a process to a simulator that runs in another.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use headwater_connect::ConnectorError;
use headwater_http::SimulatorAddress;

use super::CA_PATH;

/// How long the simulator has to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// A certificate is smaller.
const MAX_ANSWER_BYTES: u64 = 64 << 10;

/// Why a process cannot be led to a simulator.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LeadError {
    /// The text is no address.
    #[error("`{url}` is no address of a simulator, such as http://127.0.0.1:8700")]
    Address {
        /// The text.
        url: String,
    },
    /// Nothing answers there.
    #[error("no simulator answers at {url}")]
    NoAnswer {
        /// The address.
        url: String,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// Something else answers there.
    #[error("something other than a simulator answers at {url}")]
    NoSimulator {
        /// The address.
        url: String,
    },
    /// The certificate that it gives cannot be used.
    #[error("the certificate of the simulator at {url} cannot be used")]
    Certificate {
        /// The address.
        url: String,
        /// Why not.
        #[source]
        source: ConnectorError,
    },
}

/// Leads the HTTP clients that this process builds from now on to the simulator at `url`, in whatever process that runs.
///
/// # Errors
/// There is none at that address; nothing has changed then.
pub fn lead_process(url: &str) -> Result<SimulatorAddress, LeadError> {
    let bare = url.trim().trim_end_matches('/');
    let bare = bare.strip_prefix("http://").unwrap_or(bare);
    let address: SocketAddr = bare
        .replace("localhost", "127.0.0.1")
        .parse()
        .map_err(|_| LeadError::Address { url: url.to_owned() })?;
    let url = format!("http://{address}");
    let ca_pem = fetch(address).map_err(|source| LeadError::NoAnswer { url: url.clone(), source })?;
    let Some(ca_pem) = ca_pem else { return Err(LeadError::NoSimulator { url }) };
    let simulator = SimulatorAddress { address, ca_pem };
    headwater_http::lead_to(simulator.clone()).map_err(|source| LeadError::Certificate { url, source })?;
    Ok(simulator)
}

/// The certificate that the simulator gives; `None` where the answer is another.
fn fetch(address: SocketAddr) -> std::io::Result<Option<String>> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(format!("GET {CA_PATH} HTTP/1.0\r\nHost: {address}\r\n\r\n").as_bytes())?;
    let mut answer = String::new();
    if let Err(error) = stream.take(MAX_ANSWER_BYTES).read_to_string(&mut answer) {
        return if error.kind() == std::io::ErrorKind::InvalidData { Ok(None) } else { Err(error) };
    }
    let found = answer
        .split_once("\r\n\r\n")
        .filter(|(head, _)| head.starts_with("HTTP/1.") && head.contains(" 200"));
    Ok(found.map(|(_, body)| body.to_owned()).filter(|body| body.starts_with("-----BEGIN CERTIFICATE-----")))
}

/// What leads an executable in any language there, as its environment: as a proxy, with a certificate from a file.
pub fn environment_of(simulator: &SimulatorAddress, certificate: &Path) -> Vec<(String, std::ffi::OsString)> {
    let url = format!("http://{}", simulator.address);
    let proxies = ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"];
    let proxies = proxies.iter().map(|name| ((*name).to_owned(), url.clone().into()));
    let others = [
        ("NO_PROXY".to_owned(), "".into()),
        ("no_proxy".to_owned(), "".into()),
        ("SSL_CERT_FILE".to_owned(), certificate.as_os_str().to_owned()),
        ("HEADWATER_SIMULATOR".to_owned(), url.clone().into()),
    ];
    proxies.chain(others).collect()
}
