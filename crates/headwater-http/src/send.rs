use std::sync::PoisonError;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use headwater_connect::ConnectorError;
use reqwest::header::{ACCEPT, COOKIE, DATE, HeaderValue, LOCATION, RETRY_AFTER, SET_COOKIE, USER_AGENT};
use reqwest::header::{CONTENT_TYPE, HeaderMap};
use reqwest::{Method, StatusCode};
use tokio::time::{Instant, timeout};
use url::Url;

use crate::auth::Credentials;
use crate::body::{self, BodyError};
use crate::client::{HttpClient, Inner};
use crate::error::{Failure, HttpError, Remedy, snippet};
use crate::request::Parts;
use crate::response::Response;
use crate::retry::{parse_http_date, parse_retry_after};

/// Redirects that are followed for one request.
const MAX_REDIRECTS: usize = 10;

/// A body of an error is read up to here: its start is shown.
const MAX_ERROR_BODY_BYTES: usize = 64 << 10;

/// Sends a request until it succeeds or the policy ends it.
pub(crate) async fn send(client: &HttpClient, parts: &Parts) -> Result<Response, ConnectorError> {
    let inner = &*client.inner;
    let started = Instant::now();
    let mut attempts = 0;
    loop {
        attempts += 1;
        let failure = match follow(inner, parts).await {
            Ok(response) => return Ok(response),
            Err(failure) => failure,
        };
        let elapsed = started.elapsed();
        let wait = inner.retry.wait(attempts, elapsed, failure.remedy, parts.idempotent, fastrand::f64());
        let Some(wait) = wait else {
            return Err(failure.into_connector_error());
        };
        tracing::warn!(
            request = %shown(inner, &parts.method, &parts.url),
            error = %failure.error,
            attempts,
            wait_secs = wait.as_secs_f64(),
            "request failed; it is sent again"
        );
        if let Remedy::Pause(_) = failure.remedy {
            // The source means all of its client's requests, not this one alone.
            inner.budget.pause(wait);
        }
        tokio::time::sleep(wait).await;
        inner.stats.waited(wait);
        inner.stats.retry();
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
    Response(Response),
    Redirect(Hop),
}

/// One attempt: the request, and those that it is redirected to.
async fn follow(inner: &Inner, parts: &Parts) -> Result<Response, Failure> {
    let mut hop = Hop {
        method: parts.method.clone(),
        url: parts.url.clone(),
        with_body: parts.body.is_some(),
        trusted: is_trusted(&inner.base, &parts.url),
    };
    for _ in 0..=MAX_REDIRECTS {
        let permit = inner.budget.acquire().await;
        inner.stats.waited(permit.waited);
        inner.stats.request();
        let exchanged = match inner.timeouts.total {
            Some(total) => timeout(total, exchange(inner, parts, &hop)).await.unwrap_or_else(|_| {
                Err(timed_out(shown(inner, &hop.method, &hop.url), "answer in full", total))
            }),
            None => exchange(inner, parts, &hop).await,
        };
        match exchanged? {
            Answer::Response(response) => return Ok(response),
            Answer::Redirect(next) => hop = next,
        }
    }
    let request = shown(inner, &parts.method, &parts.url);
    Err(not_followed(request, format!("there were more than {MAX_REDIRECTS} redirects")))
}

/// One request and its answer.
async fn exchange(inner: &Inner, parts: &Parts, hop: &Hop) -> Result<Answer, Failure> {
    let request = shown(inner, &hop.method, &hop.url);
    let started = Instant::now();
    let sent = inner.http.execute(build(inner, parts, hop));
    let sent = match inner.timeouts.read {
        Some(read) => {
            timeout(read, sent).await.map_err(|_| timed_out(request.clone(), "start answering", read))?
        }
        None => sent.await,
    };
    let mut response = sent.map_err(|error| {
        let remedy = if error.is_connect() { Remedy::NotSent } else { Remedy::Lost };
        // The URL in the error has its secrets; the request is named without them.
        let source = Box::new(error.without_url());
        Failure { error: HttpError::NoAnswer { request: request.clone(), source }, remedy }
    })?;
    let status = response.status();
    tracing::debug!(
        request,
        status = status.as_u16(),
        elapsed_secs = started.elapsed().as_secs_f64(),
        "source answered"
    );
    keep_cookies(inner, &hop.url, response.headers());

    let allowed = parts.allowed.contains(&status.as_u16());
    if is_redirect(status) && !allowed && response.headers().contains_key(LOCATION) {
        return redirected(inner, hop, status, response.headers(), request).map(Answer::Redirect);
    }
    let exhausted = heed_rate_headers(inner, response.headers());
    if !(status.is_success() || status == StatusCode::NOT_MODIFIED || allowed) {
        let retry_after = retry_after(inner, response.headers());
        let remedy = Failure::remedy_of(status.as_u16(), retry_after, exhausted.is_some());
        let remedy = match remedy {
            Remedy::Pause(None) => Remedy::Pause(exhausted.flatten()),
            other => other,
        };
        let limit = MAX_ERROR_BODY_BYTES.min(parts.max_body_bytes);
        let body = body::read(&mut response, limit, inner.timeouts.read, 0).await.unwrap_or_default();
        // Secrets go before the text is cut: half a secret would not be recognised.
        let body = snippet(inner.redactor.text(&String::from_utf8_lossy(&body)).as_bytes());
        let reason = status.canonical_reason().unwrap_or_default();
        let error = HttpError::Status { request, status: status.as_u16(), reason, body };
        return Err(Failure { error, remedy });
    }

    let declared = response.content_length().is_some();
    let expected = inner.last_body_bytes.load(Relaxed);
    let read = body::read(&mut response, parts.max_body_bytes, inner.timeouts.read, expected).await;
    let body = read.map_err(|error| body_failure(error, &request, parts.max_body_bytes))?;
    inner.stats.body(body.len());
    if !declared {
        inner.last_body_bytes.store(body.len(), Relaxed);
    }
    let headers = std::mem::take(response.headers_mut());
    Ok(Answer::Response(Response { status, headers, body, url: hop.url.clone(), request }))
}

fn build(inner: &Inner, parts: &Parts, hop: &Hop) -> reqwest::Request {
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

/// Reads how many requests are left; pauses all of them when none is. Gives the pause where none is left.
fn heed_rate_headers(inner: &Inner, headers: &HeaderMap) -> Option<Option<Duration>> {
    let (remaining, reset) = inner.rate_headers.as_ref()?;
    let number = |name| headers.get(name)?.to_str().ok()?.trim().parse::<f64>().ok();
    if number(remaining)? >= 1.0 {
        return None;
    }
    let pause = number(reset).and_then(|reset| {
        #[allow(clippy::cast_precision_loss, reason = "seconds since 1970 are exact in a float")]
        let now = inner.clock.now().timestamp() as f64;
        let seconds = if reset > 1e9 { (reset - now).max(0.0) } else { reset };
        Duration::try_from_secs_f64(seconds).ok()
    });
    // A longer pause is for the caller to decide on, when the source refuses.
    if let Some(pause) = pause.filter(|pause| *pause <= inner.retry.max_retry_after) {
        inner.budget.pause(pause);
    }
    Some(pause)
}

/// What `Retry-After` asks for. A date in it is compared with the source's own date where that is given, so that
/// clocks which differ do no harm.
fn retry_after(inner: &Inner, headers: &HeaderMap) -> Option<Duration> {
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let now = text(DATE).and_then(parse_http_date).unwrap_or_else(|| inner.clock.now());
    parse_retry_after(text(RETRY_AFTER)?, now)
}

fn body_failure(error: BodyError, request: &str, limit_bytes: usize) -> Failure {
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
