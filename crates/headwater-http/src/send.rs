use std::error::Error;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use headwater_connect::ConnectorError;
use reqwest::header::{
    ACCEPT, AUTHORIZATION, COOKIE, DATE, HeaderValue, LOCATION, RETRY_AFTER, SET_COOKIE, USER_AGENT,
};
use reqwest::header::{CONTENT_TYPE, HeaderMap};
use reqwest::{Method, StatusCode};
use tokio::time::{Instant, timeout};
use url::Url;

use crate::auth::Credentials;
use crate::body::{self, BodyError};
use crate::budget::{Exhausted, Outcome, Permit};
use crate::client::{HttpClient, Inner};
use crate::error::{Failure, HttpError, Remedy, snippet};
use crate::quota::Quota;
use crate::request::Parts;
use crate::response::Response;
use crate::retry::{parse_http_date, parse_retry_after};
use crate::token::Issued;

/// Redirects that are followed for one request.
const MAX_REDIRECTS: usize = 10;

/// A body of an error is read up to here: its start is shown.
const MAX_ERROR_BODY_BYTES: usize = 64 << 10;

/// How far an answer is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Extent {
    /// To its end.
    Whole,
    /// Up to its body.
    Head,
}

/// An answer whose body is still to come.
pub(crate) struct Opened {
    pub(crate) response: reqwest::Response,
    /// The method and URL without secrets.
    pub(crate) request: String,
    /// The request is under way until its body has been read.
    pub(crate) permit: Permit,
}

enum Done {
    Response(Box<Response>),
    Opened(Box<Opened>),
}

/// Sends a request until it succeeds or the policy ends it.
pub(crate) async fn send(client: &HttpClient, parts: &Parts) -> Result<Response, ConnectorError> {
    match within_deadline(client, parts, Extent::Whole).await? {
        Done::Response(response) => Ok(*response),
        Done::Opened(_) => Err(ConnectorError::bug("an answer was not read")),
    }
}

/// As [`send`], up to the body.
pub(crate) async fn open(client: &HttpClient, parts: &Parts) -> Result<Opened, ConnectorError> {
    match within_deadline(client, parts, Extent::Head).await? {
        Done::Opened(opened) => Ok(*opened),
        Done::Response(_) => Err(ConnectorError::bug("an answer was read too far")),
    }
}

async fn within_deadline(client: &HttpClient, parts: &Parts, extent: Extent) -> Result<Done, ConnectorError> {
    let Some(deadline) = parts.deadline else { return attempts(&client.inner, parts, extent).await };
    timeout(deadline, attempts(&client.inner, parts, extent)).await.unwrap_or_else(|_| {
        let request = shown(&client.inner, &parts.method, &parts.url);
        Err(timed_out(request, "succeed, waits and repetitions included", deadline).into_connector_error())
    })
}

async fn attempts(inner: &Inner, parts: &Parts, extent: Extent) -> Result<Done, ConnectorError> {
    let started = Instant::now();
    let mut attempts = 0;
    let mut renewed = false;
    loop {
        attempts += 1;
        let token = token(inner, &parts.url).await?;
        let failure = match follow(inner, parts, token.as_deref(), (attempts, extent)).await {
            Ok(done) => return Ok(done),
            Err(failure) => failure,
        };
        if let (Some(token), Some(Credentials::Token(cell)), Some(401)) =
            (&token, &inner.credentials, failure.error.status())
        {
            cell.refused(token);
            // The token may have ended before its time. The source has not acted on the request.
            if !renewed {
                renewed = true;
                tracing::debug!(request = %shown(inner, &parts.method, &parts.url), "token refused; another is asked for");
                inner.stats.retry();
                continue;
            }
        }
        let elapsed = started.elapsed();
        let left = parts.deadline.map_or(Duration::MAX, |deadline| deadline.saturating_sub(elapsed));
        let wait = inner
            .retry
            .wait(attempts, elapsed, failure.remedy, parts.idempotent, fastrand::f64())
            .filter(|wait| *wait < left);
        let Some(wait) = wait else {
            // Others keep to the pause, though this one does not live to see its end.
            if let Remedy::Pause(Some(asked)) = failure.remedy
                && asked <= inner.retry.max_retry_after
            {
                inner.budget.refused(asked, true);
            }
            return Err(failure.into_connector_error());
        };
        tracing::warn!(
            request = %shown(inner, &parts.method, &parts.url),
            error = %failure.error,
            attempts,
            wait_secs = wait.as_secs_f64(),
            "request failed; it is sent again"
        );
        if let Remedy::Pause(asked) = failure.remedy {
            // The source means all of its client's requests, not this one alone.
            inner.budget.refused(wait, asked.is_some());
        }
        tokio::time::sleep(wait).await;
        inner.stats.waited(wait);
        inner.stats.retry();
    }
}

/// The token to ask with, where the client has one for this place.
async fn token(inner: &Inner, url: &Url) -> Result<Option<Arc<Issued>>, ConnectorError> {
    match &inner.credentials {
        Some(Credentials::Token(cell)) if is_trusted(&inner.base, url) => {
            cell.get(&inner.token_http).await.map(Some)
        }
        _ => Ok(None),
    }
}

/// What the next request of a chain of redirects is.
struct Hop {
    method: Method,
    url: Url,
    with_body: bool,
    /// Whether every hop so far was to the host of the base URL.
    trusted: bool,
}

enum Answer {
    Done(Done),
    Redirect(Hop),
}

/// One attempt: the request, and those that it is redirected to.
async fn follow(
    inner: &Inner,
    parts: &Parts,
    token: Option<&Issued>,
    (attempt, extent): (u32, Extent),
) -> Result<Done, Failure> {
    let mut hop = Hop {
        method: parts.method.clone(),
        url: parts.url.clone(),
        with_body: parts.body.is_some(),
        trusted: is_trusted(&inner.base, &parts.url),
    };
    for _ in 0..=MAX_REDIRECTS {
        let request = shown(inner, &hop.method, &hop.url);
        let permit = inner.budget.acquire(inner.retry.max_retry_after).await.map_err(|Exhausted(wait)| {
            let until =
                TimeDelta::from_std(wait).ok().and_then(|wait| inner.clock.now().checked_add_signed(wait));
            let error = HttpError::Exhausted {
                request: request.clone(),
                until: until.unwrap_or(DateTime::<Utc>::MAX_UTC),
            };
            Failure { error, remedy: Remedy::Pause(Some(wait)) }
        })?;
        let (started, waited) = (Instant::now(), permit.waited);
        inner.stats.waited(waited);
        inner.stats.request();
        let exchange = exchange(inner, parts, &hop, (token, extent), permit);
        let exchanged = match inner.timeouts.total {
            Some(total) => timeout(total, exchange)
                .await
                .unwrap_or_else(|_| Err(timed_out(request.clone(), "answer in full", total))),
            None => exchange.await,
        };
        let (status, bytes, error) = match &exchanged {
            Ok(Answer::Done(Done::Response(response))) => {
                (Some(response.status.as_u16()), Some(response.body.len()), None)
            }
            Ok(Answer::Done(Done::Opened(opened))) => (Some(opened.response.status().as_u16()), None, None),
            Ok(Answer::Redirect(_)) => (None, None, None),
            Err(failure) => (failure.error.status(), None, Some(&failure.error)),
        };
        tracing::debug!(
            request,
            status,
            bytes,
            attempt,
            error = error.map(tracing::field::display),
            waited_secs = waited.as_secs_f64(),
            elapsed_secs = started.elapsed().as_secs_f64(),
            "request"
        );
        match exchanged? {
            Answer::Done(done) => return Ok(done),
            Answer::Redirect(next) => hop = next,
        }
    }
    let request = shown(inner, &parts.method, &parts.url);
    Err(not_followed(request, format!("there were more than {MAX_REDIRECTS} redirects")))
}

/// One request and its answer.
async fn exchange(
    inner: &Inner,
    parts: &Parts,
    hop: &Hop,
    (token, extent): (Option<&Issued>, Extent),
    permit: Permit,
) -> Result<Answer, Failure> {
    let request = shown(inner, &hop.method, &hop.url);
    let response = match answered(inner, build(inner, parts, hop, token), &request).await {
        Ok(response) => response,
        Err(failure) => {
            permit.ended(Outcome::Failed);
            return Err(failure);
        }
    };
    let status = response.status();
    keep_cookies(inner, &hop.url, response.headers());
    let quota = heed_quota(inner, response.headers());

    let allowed = parts.allowed.contains(&status.as_u16());
    if is_redirect(status) && !allowed && response.headers().contains_key(LOCATION) {
        permit.ended(Outcome::Answered);
        return redirected(inner, hop, status, response.headers(), request).map(Answer::Redirect);
    }
    if !(status.is_success() || status == StatusCode::NOT_MODIFIED || allowed) {
        let failure = refusal(inner, parts, response, request, quota).await;
        permit.ended(match (failure.remedy, status.as_u16()) {
            // A source that says "now" does not mean the rate.
            (Remedy::Pause(Some(Duration::ZERO)), _) => Outcome::Answered,
            (Remedy::Pause(_), 429 | 403) => Outcome::Refused,
            (Remedy::Pause(_), _) | (_, 500..) => Outcome::Failed,
            _ => Outcome::Answered,
        });
        return Err(failure);
    }
    permit.ended(Outcome::Answered);
    if extent == Extent::Head {
        return Ok(Answer::Done(Done::Opened(Box::new(Opened { response, request, permit }))));
    }
    let response = whole(inner, parts, hop, response, request).await?;
    Ok(Answer::Done(Done::Response(Box::new(response))))
}

/// Sends a request and waits for the head of the answer.
async fn answered(
    inner: &Inner,
    sent: reqwest::Request,
    request: &str,
) -> Result<reqwest::Response, Failure> {
    let sent = inner.http.execute(sent);
    let sent = match inner.timeouts.read {
        Some(read) => {
            timeout(read, sent).await.map_err(|_| timed_out(request.to_owned(), "start answering", read))?
        }
        None => sent.await,
    };
    sent.map_err(|error| {
        let (untrusted, connecting) = (is_untrusted(&error), error.is_connect());
        // The URL in the error has its secrets; the request is named without them.
        let (request, source) = (request.to_owned(), Box::new(error.without_url()));
        match (untrusted, connecting) {
            (true, _) => Failure { error: HttpError::Untrusted { request, source }, remedy: Remedy::None },
            (_, true) => Failure { error: HttpError::NoAnswer { request, source }, remedy: Remedy::NotSent },
            _ => Failure { error: HttpError::NoAnswer { request, source }, remedy: Remedy::Lost },
        }
    })
}

/// Whether a certificate is what stands between us and the host.
fn is_untrusted(error: &reqwest::Error) -> bool {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(rustls::Error::InvalidCertificate(_)) = error.downcast_ref() {
            return true;
        }
        // An error within an I/O error is not among its causes.
        let inside = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        cause = match inside {
            Some(inside) => Some(inside),
            None => error.source(),
        };
    }
    false
}

/// Makes a failure of an answer that is no success.
async fn refusal(
    inner: &Inner,
    parts: &Parts,
    mut response: reqwest::Response,
    request: String,
    quota: Option<Quota>,
) -> Failure {
    let status = response.status();
    let retry_after = retry_after(inner, response.headers());
    let used_up = quota.filter(Quota::is_used_up);
    let remedy = match Failure::remedy_of(status.as_u16(), retry_after, used_up.is_some()) {
        Remedy::Pause(None) => Remedy::Pause(used_up.and_then(|quota| quota.reset)),
        other => other,
    };
    let limit = MAX_ERROR_BODY_BYTES.min(parts.max_body_bytes);
    let body = body::read(&mut response, limit, inner.timeouts.read, 0).await.unwrap_or_default();
    // Secrets go before the text is cut: half a secret would not be recognised.
    let body = snippet(inner.redactor.text(&String::from_utf8_lossy(&body)).as_bytes());
    let reason = status.canonical_reason().unwrap_or_default();
    let error = HttpError::Status { request, status: status.as_u16(), reason, body };
    Failure { error, remedy }
}

async fn whole(
    inner: &Inner,
    parts: &Parts,
    hop: &Hop,
    mut response: reqwest::Response,
    request: String,
) -> Result<Response, Failure> {
    let declared = response.content_length().is_some();
    let expected = inner.last_body_bytes.load(Relaxed);
    let read = body::read(&mut response, parts.max_body_bytes, inner.timeouts.read, expected).await;
    let body = read.map_err(|error| body_failure(error, &request, parts.max_body_bytes))?;
    inner.stats.body(body.len());
    if !declared {
        inner.last_body_bytes.store(body.len(), Relaxed);
    }
    let status = response.status();
    let headers = std::mem::take(response.headers_mut());
    Ok(Response { status, headers, body, url: hop.url.clone(), request })
}

fn build(inner: &Inner, parts: &Parts, hop: &Hop, token: Option<&Issued>) -> reqwest::Request {
    let mut url = hop.url.clone();
    let mut headers = HeaderMap::new();
    if hop.trusted {
        headers.extend(inner.headers.clone());
        headers.extend(parts.headers.clone());
        match &inner.credentials {
            Some(Credentials::Header(name, value)) => {
                headers.insert(name, value.clone());
            }
            // A link of the source's own may hold it already.
            Some(Credentials::Query(name, value)) if !url.query_pairs().any(|(n, _)| n == name.as_str()) => {
                url.query_pairs_mut().append_pair(name, value.expose());
            }
            Some(Credentials::Token(_)) => {
                if let Some(token) = token {
                    headers.insert(AUTHORIZATION, token.header.clone());
                }
            }
            _ => {}
        }
        if let Some(cookies) = &inner.cookies {
            let jar = cookies.lock().unwrap_or_else(PoisonError::into_inner);
            let cookies = jar.header(&url, inner.clock.now()).map(HeaderValue::try_from);
            if let Some(Ok(mut value)) = cookies {
                value.set_sensitive(true);
                headers.insert(COOKIE, value);
            }
        }
    }
    if !hop.with_body {
        headers.remove(CONTENT_TYPE);
    }
    headers.entry(ACCEPT).or_insert(HeaderValue::from_static("application/json, */*;q=0.5"));
    headers.entry(USER_AGENT).or_insert_with(|| inner.user_agent.clone());
    let mut request = reqwest::Request::new(hop.method.clone(), url);
    *request.headers_mut() = headers;
    if let (true, Some(body)) = (hop.with_body, &parts.body) {
        *request.body_mut() = Some(body.clone().into());
    }
    request
}

/// Whether `url` is where the credentials may go: the host, scheme and port of the base URL. The same host over
/// https in place of http is as good.
fn is_trusted(base: &Url, url: &Url) -> bool {
    let same_port = base.port_or_known_default() == url.port_or_known_default();
    let upgraded =
        (base.scheme(), url.scheme()) == ("http", "https") && base.port().is_none() && url.port().is_none();
    base.host_str() == url.host_str() && ((base.scheme() == url.scheme() && same_port) || upgraded)
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

fn redirected(
    inner: &Inner,
    hop: &Hop,
    status: StatusCode,
    headers: &HeaderMap,
    request: String,
) -> Result<Hop, Failure> {
    let location = headers.get(LOCATION).and_then(|value| value.to_str().ok());
    let target = location.and_then(|location| hop.url.join(location).ok());
    let Some(mut url) = target.filter(|url| matches!(url.scheme(), "http" | "https")) else {
        return Err(not_followed(request, "the target is no http or https URL".to_owned()));
    };
    url.set_fragment(None);
    if hop.url.scheme() == "https" && url.scheme() == "http" {
        return Err(not_followed(request, format!("{} is not encrypted", inner.redactor.url(&url))));
    }
    let trusted = hop.trusted && is_trusted(&inner.base, &url);
    let becomes_get = match status.as_u16() {
        303 => hop.method != Method::HEAD,
        301 | 302 => hop.method == Method::POST,
        _ => false,
    };
    let with_body = hop.with_body && !becomes_get;
    if with_body && !trusted {
        // The body may hold a password.
        let reason = format!("the body of the request would go to {}", inner.redactor.url(&url));
        return Err(not_followed(request, reason));
    }
    let method = if becomes_get { Method::GET } else { hop.method.clone() };
    Ok(Hop { method, url, with_body, trusted })
}

fn keep_cookies(inner: &Inner, url: &Url, headers: &HeaderMap) {
    let Some(cookies) = &inner.cookies else { return };
    let set = headers.get_all(SET_COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut jar = cookies.lock().unwrap_or_else(PoisonError::into_inner);
    set.for_each(|header| jar.store(url, header, inner.clock.now()));
}

/// Reads what the source says of its limits, and tells the budget.
fn heed_quota(inner: &Inner, headers: &HeaderMap) -> Option<Quota> {
    let quota = Quota::read(headers, inner.rate_headers.as_ref(), inner.clock.now())?;
    inner.budget.heed(&quota);
    Some(quota)
}

/// What `Retry-After` asks for. A date in it is compared with the source's own date where that is given, so that
/// clocks which differ do no harm.
fn retry_after(inner: &Inner, headers: &HeaderMap) -> Option<Duration> {
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let now = text(DATE).and_then(parse_http_date).unwrap_or_else(|| inner.clock.now());
    parse_retry_after(text(RETRY_AFTER)?, now)
}

pub(crate) fn body_failure(error: BodyError, request: &str, limit_bytes: usize) -> Failure {
    let request = request.to_owned();
    match error {
        BodyError::BrokenOff { received_bytes, source } => {
            let source = Box::new(source.without_url());
            let error = HttpError::BrokenOff { request, received_bytes, source };
            Failure { error, remedy: Remedy::Lost }
        }
        BodyError::TimedOut { after } => timed_out(request, "go on with its answer", after),
        BodyError::TooLarge => {
            Failure { error: HttpError::TooLarge { request, limit_bytes }, remedy: Remedy::None }
        }
    }
}

fn timed_out(request: String, what: &'static str, after: Duration) -> Failure {
    Failure { error: HttpError::TimedOut { request, what, after }, remedy: Remedy::Lost }
}

fn not_followed(request: String, reason: String) -> Failure {
    Failure { error: HttpError::Redirect { request, reason }, remedy: Remedy::None }
}

fn shown(inner: &Inner, method: &Method, url: &Url) -> String {
    format!("{method} {}", inner.redactor.url(url))
}

#[cfg(test)]
mod tests {
    use url::Url;

    use super::is_trusted;

    #[test]
    fn credentials_go_to_the_host_of_the_base_url_only() {
        let check = |base: &str, url: &str, expect| {
            assert_eq!(
                is_trusted(&Url::parse(base).unwrap(), &Url::parse(url).unwrap()),
                expect,
                "{base} {url}"
            );
        };
        check("https://h/api", "https://H:443/other", true);
        check("https://h/", "http://h/", false);
        check("http://h/", "https://h/", true);
        check("http://h:8080/", "https://h/", false);
        check("https://h/", "https://h:8443/", false);
        check("https://h/", "https://api.h/", false);
        check("https://h/", "https://h.evil/", false);
    }
}
