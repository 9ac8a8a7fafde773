use bytes::Bytes;
use headwater_connect::ConnectorError;
use reqwest::Method;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use serde::Serialize;
use url::Url;

use crate::client::HttpClient;
use crate::response::Response;
use crate::send;

/// A request that is being put together, and can be sent any number of times.
#[derive(Clone)]
pub struct Request {
    pub(crate) client: HttpClient,
    pub(crate) parts: Result<Parts, String>,
}

#[derive(Clone)]
pub(crate) struct Parts {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Option<Bytes>,
    pub(crate) idempotent: bool,
    pub(crate) allowed: Vec<u16>,
    pub(crate) max_body_bytes: usize,
}

impl Request {
    pub(crate) fn new(client: HttpClient, method: Method, url: Result<Url, String>) -> Self {
        let parts = url.map(|url| Parts {
            idempotent: method.is_idempotent(),
            method,
            url,
            headers: HeaderMap::new(),
            body: None,
            allowed: Vec::new(),
            max_body_bytes: client.inner.max_body_bytes,
        });
        Self { client, parts }
    }

    fn with(mut self, change: impl FnOnce(&mut Parts) -> Result<(), String>) -> Self {
        self.parts = self.parts.and_then(|mut parts| change(&mut parts).map(|()| parts));
        self
    }

    /// Adds a query parameter.
    #[must_use]
    pub fn query(self, name: &str, value: impl ToString) -> Self {
        self.with(|parts| {
            parts.url.query_pairs_mut().append_pair(name, &value.to_string());
            Ok(())
        })
    }

    /// Sets a query parameter, in place of those of the same name.
    #[must_use]
    pub fn set_query(self, name: &str, value: impl ToString) -> Self {
        self.with(|parts| {
            let kept: Vec<(String, String)> = parts
                .url
                .query_pairs()
                .filter(|(n, _)| n != name)
                .map(|(n, v)| (n.into(), v.into()))
                .collect();
            parts.url.query_pairs_mut().clear().extend_pairs(kept).append_pair(name, &value.to_string());
            Ok(())
        })
    }

    /// Adds a header.
    #[must_use]
    pub fn header(self, name: &str, value: &str) -> Self {
        self.with(|parts| {
            let bad = || format!("header `{name}` of a request cannot be sent");
            let parsed = HeaderName::try_from(name).map_err(|_| bad())?;
            let mut sent = HeaderValue::try_from(value).map_err(|_| bad())?;
            sent.set_sensitive(true);
            parts.headers.insert(parsed, sent);
            Ok(())
        })
    }

    /// Sends these pairs as a form.
    #[must_use]
    pub fn form<N: AsRef<str>, V: AsRef<str>>(self, pairs: impl IntoIterator<Item = (N, V)>) -> Self {
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
        self.body("application/x-www-form-urlencoded", body)
    }

    /// Sends `value` as JSON.
    #[must_use]
    pub fn json(self, value: &impl Serialize) -> Self {
        match serde_json::to_vec(value) {
            Ok(body) => self.body("application/json", body),
            Err(error) => self.with(|_| Err(format!("the body of a request is no JSON: {error}"))),
        }
    }

    /// Sends these bytes.
    #[must_use]
    pub fn body(self, content_type: &'static str, body: impl Into<Bytes>) -> Self {
        self.with(|parts| {
            parts.headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
            parts.body = Some(body.into());
            Ok(())
        })
    }

    /// Says that sending this request twice does no harm, so that it is repeated as a GET is.
    #[must_use]
    pub fn idempotent(self) -> Self {
        self.with(|parts| {
            parts.idempotent = true;
            Ok(())
        })
    }

    /// Hands an answer with this status to the caller instead of an error.
    #[must_use]
    pub fn allow_status(self, status: u16) -> Self {
        self.with(|parts| {
            parts.allowed.push(status);
            Ok(())
        })
    }

    /// Takes no body larger than this, whatever the client's limit is.
    #[must_use]
    pub fn max_body_bytes(self, bytes: usize) -> Self {
        self.with(|parts| {
            parts.max_body_bytes = bytes;
            Ok(())
        })
    }

    /// Sends the request, again where that helps and does no harm, and reads the whole answer.
    ///
    /// # Errors
    /// [`ConnectorError::Unauthorized`] (401), [`Forbidden`](ConnectorError::Forbidden) (403),
    /// [`RateLimited`](ConnectorError::RateLimited) (429, or 503 and 403 with `Retry-After`),
    /// [`Unavailable`](ConnectorError::Unavailable) (408, 425, 5xx, no connection, a body that broke off),
    /// [`Timeout`](ConnectorError::Timeout), [`BadResponse`](ConnectorError::BadResponse) (a body that is too
    /// large) and [`Rejected`](ConnectorError::Rejected) (any other status). Their cause is an
    /// [`HttpError`](crate::HttpError). A request that cannot be put together is a
    /// [`Bug`](ConnectorError::Bug).
    ///
    /// # Cancel safety
    /// Dropping the future ends the request; the source may have acted on it.
    pub async fn send(&self) -> Result<Response, ConnectorError> {
        match &self.parts {
            Ok(parts) => send::send(&self.client, parts).await,
            Err(what) => Err(ConnectorError::bug(self.client.redact(what))),
        }
    }

    /// Method and URL without secrets, for errors and logs.
    pub fn shown(&self) -> String {
        match &self.parts {
            Ok(parts) => format!("{} {}", parts.method, self.client.inner.redactor.url(&parts.url)),
            Err(what) => self.client.redact(what),
        }
    }
}

impl std::fmt::Debug for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Request({})", self.shown())
    }
}
