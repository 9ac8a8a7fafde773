//! What opens connections, shared by all clients of a process that want the same of it: making one reads the
//! system's certificates, and each table of an update has a client of its own.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use headwater_connect::ConnectorError;
use tokio::runtime::{Handle, Id};

/// More than a process has kinds of; beyond, the oldest go.
const MOST_KEPT: usize = 8;

struct Kept {
    /// Connections are served by tasks of the runtime that they were opened in.
    runtime: Id,
    connect: Option<Duration>,
    http: reqwest::Client,
}

static KEPT: Mutex<Vec<Kept>> = Mutex::new(Vec::new());

/// Gives a transport that waits at most `connect` for a connection. Outside of a runtime it is a new one.
pub(crate) fn transport(connect: Option<Duration>) -> Result<reqwest::Client, ConnectorError> {
    let Ok(runtime) = Handle::try_current().map(|handle| handle.id()) else { return make(connect) };
    let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(found) = kept.iter().find(|one| one.runtime == runtime && one.connect == connect) {
        return Ok(found.http.clone());
    }
    let http = make(connect)?;
    if kept.len() >= MOST_KEPT {
        kept.remove(0);
    }
    kept.push(Kept { runtime, connect, http: http.clone() });
    Ok(http)
}

fn make(connect: Option<Duration>) -> Result<reqwest::Client, ConnectorError> {
    let mut http = reqwest::Client::builder()
        // Redirects are followed in this crate, which knows what is secret and whose it is.
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .tcp_nodelay(true);
    if let Some(connect) = connect {
        http = http.connect_timeout(connect);
    }
    http.build().map_err(|error| ConnectorError::Unavailable { source: Box::new(error) })
}
