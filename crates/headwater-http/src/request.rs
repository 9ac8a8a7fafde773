use std::time::Duration;

use bytes::Bytes;
use headwater_connect::{ConnectorError, JsonPointer};
use reqwest::Method;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, IF_MODIFIED_SINCE, IF_NONE_MATCH};
use serde::Serialize;
use url::Url;

use crate::client::HttpClient;
use crate::records::RecordPages;
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
    pub(crate) deadline: Option<Duration>,
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
            deadline: None,
        });
        Self { client, parts }
    }

    /// The same request for a link that an answer to it holds, which may be relative to the answer's URL. A body and
    /// conditions are left out.
    ///
    /// # Errors
    /// As [`HttpClient::follow`].
    pub fn follow(&self, response: &Response, link: &str) -> Result<Request, ConnectorError> {
        let next = self.client.follow(&response.url, link)?;
        Ok(match next.parts {
            Ok(parts) => self.to_url(parts.url),
            Err(_) => next,
        })
    }

    /// The same request to another URL, without body and conditions.
    pub(crate) fn to_url(&self, url: Url) -> Request {
        let mut next = Request::new(self.client.clone(), Method::GET, Ok(url));
        if let (Ok(parts), Ok(next)) = (&self.parts, &mut next.parts) {
            next.headers = parts.headers.clone();
            for header in [CONTENT_TYPE, IF_NONE_MATCH, IF_MODIFIED_SINCE] {
                next.headers.remove(header);
            }
            next.allowed.clone_from(&parts.allowed);
            next.max_body_bytes = parts.max_body_bytes;
            next.deadline = parts.deadline;
        }
        next
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

    /// Asks for the answer only where it is not the one with this `ETag`; else the answer is
    /// [`not_modified`](Response::not_modified), which some sources do not count against their limits.
    #[must_use]
    pub fn if_none_match(self, etag: &str) -> Self {
        self.header(IF_NONE_MATCH.as_str(), etag)
    }

    /// Asks for the answer only where it has changed since a time that the source gave as `Last-Modified`.
    #[must_use]
    pub fn if_modified_since(self, last_modified: &str) -> Self {
        self.header(IF_MODIFIED_SINCE.as_str(), last_modified)
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

    /// Gives up when there is no answer in this time, waits for the rate budget and repetitions included.
    #[must_use]
    pub fn deadline(self, time: Duration) -> Self {
        self.with(|parts| {
            parts.deadline = Some(time);
            Ok(())
        })
    }

    /// Sends the request, again where that helps and does no harm, and reads the whole answer.
    ///
    /// # Errors
    /// [`ConnectorError::Unauthorized`] (401), [`Forbidden`](ConnectorError::Forbidden) (403),
    /// [`RateLimited`](ConnectorError::RateLimited) (429, or 503 and 403 with `Retry-After`),
    /// [`Unavailable`](ConnectorError::Unavailable) (408, 425, 5xx, no connection, a body that broke off),
    /// [`Timeout`](ConnectorError::Timeout), [`Untrusted`](ConnectorError::Untrusted) (a certificate),
    /// [`AnswerTooLarge`](ConnectorError::AnswerTooLarge) and [`Rejected`](ConnectorError::Rejected) (any other status). Their cause is an
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

    /// Sends the request and cuts the records out of the answer while it comes, so that an answer of any length is read
    /// in little memory: each page of the stream is a JSON array of whole records, of about `piece_bytes`. `records` is the
    /// place of the array of records in the answer; an object there is one record. The limit of a body
    /// ([`Request::max_body_bytes`]) holds for a record, not for the whole.
    ///
    /// # Errors
    /// The stream ends with the first error, behind the whole records that came before it. Until the answer begins, as
    /// [`Request::send`], with repetitions; then [`Unavailable`](ConnectorError::Unavailable) where it breaks off,
    /// [`BadResponse`](ConnectorError::BadResponse) with the byte where it is no JSON, and
    /// [`AnswerTooLarge`](ConnectorError::AnswerTooLarge) where one record is larger than the limit.
    ///
    /// # Cancel safety
    /// Dropping the stream ends the request.
    pub fn stream_records(self, records: JsonPointer, piece_bytes: usize) -> RecordPages {
        crate::records::stream(self, records, piece_bytes)
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
