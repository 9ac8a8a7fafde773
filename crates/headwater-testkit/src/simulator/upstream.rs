//! The real source behind the simulator.

use std::collections::HashMap;
use std::error::Error;
use std::sync::{Mutex, PoisonError};

use headwater_http::{HttpClient, Method, RetryPolicy};
use url::Url;

use super::answer::{Answer, Asked};

/// Answers are held whole.
const MAX_BODY_BYTES: usize = 512 << 20;

/// Headers that are of a connection, or that the client here sets itself.
const NOT_PASSED: &[&str] = &[
    "connection",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "host",
    "content-length",
    "accept-encoding",
    "expect",
];

/// Headers of an answer that no longer hold when its body has been read and decoded.
const NOT_GIVEN: &[&str] = &[
    "connection",
    "keep-alive",
    "transfer-encoding",
    "upgrade",
    "content-length",
    "content-encoding",
    "trailer",
];

/// Sends requests on, each once and as it is.
#[derive(Debug, Default)]
pub(super) struct Upstream {
    /// Where requests go that name no host but the simulator's own.
    base: Option<Url>,
    clients: Mutex<HashMap<String, HttpClient>>,
}

impl Upstream {
    /// # Errors
    /// Says why `base` is no URL of a source.
    pub(super) fn new(base: Option<&str>) -> Result<Self, String> {
        let base = match base {
            Some(text) => {
                let url = Url::parse(text).map_err(|error| error.to_string())?;
                if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
                    return Err("it is no http or https URL".into());
                }
                Some(url)
            }
            None => None,
        };
        Ok(Self { base, clients: Mutex::default() })
    }

    /// The host that a request goes to; `own` says that it names the simulator itself.
    pub(super) fn host(&self, asked: &Asked, own: bool) -> Option<String> {
        if !own {
            return Some(asked.host().to_owned());
        }
        let base = self.base.as_ref()?;
        let host = base.host_str()?;
        Some(base.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}")))
    }

    /// Sends a request on, and gives what came back; where nothing did, 502 with the reason.
    pub(super) async fn fetch(&self, asked: &Asked, own: bool) -> Answer {
        match self.exchange(asked, own).await {
            Ok(answer) => answer,
            Err(reason) => Answer::message(502, reason),
        }
    }

    async fn exchange(&self, asked: &Asked, own: bool) -> Result<Answer, String> {
        let origin = match (own, &self.base) {
            (true, None) => {
                return Err(
                    "the request names no source: lead the client here under the source's own name, or \
                            say where it is with --upstream"
                        .into(),
                );
            }
            (true, Some(base)) => base.as_str().trim_end_matches('/').to_owned(),
            (false, _) => asked.origin.clone(),
        };
        let client = self.client(&origin)?;
        let method = Method::from_bytes(asked.method.as_bytes()).map_err(|e| e.to_string())?;
        let mut request = client.request(method, &format!("{origin}{}", asked.path_and_query()));
        if !asked.body.is_empty() {
            request = request.body("application/octet-stream", asked.body.clone());
        }
        for (name, value) in asked.headers.iter().filter(|(name, _)| !NOT_PASSED.contains(&name.as_str())) {
            request = request.header(name, value);
        }
        for status in 300..600 {
            request = request.allow_status(status);
        }
        let response = request.send().await.map_err(|error| {
            let mut text = format!("the source could not be asked: {error}");
            let mut cause: Option<&dyn Error> = error.source();
            while let Some(inner) = cause {
                text = format!("{text}: {inner}");
                cause = inner.source();
            }
            text
        })?;
        let headers = response.headers.iter().filter(|(name, _)| !NOT_GIVEN.contains(&name.as_str()));
        let headers = headers.map(|(name, value)| {
            (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
        });
        Ok(Answer { status: response.status.as_u16(), headers: headers.collect(), body: response.body })
    }

    fn client(&self, origin: &str) -> Result<HttpClient, String> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(origin) {
            return Ok(client.clone());
        }
        let client = HttpClient::builder(origin)
            .retry(RetryPolicy::never())
            .past_simulator()
            .max_body_bytes(MAX_BODY_BYTES)
            .build()
            .map_err(|error| format!("{origin} is no source: {error}"))?;
        clients.insert(origin.to_owned(), client.clone());
        Ok(client)
    }
}
