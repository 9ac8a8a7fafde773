use std::fmt;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use headwater_connect::{Clock, ConnectorError, Secret, SystemClock};
use reqwest::Method;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use url::Url;

use crate::auth::{Auth, Credentials};
use crate::budget::{RateBudget, RateLimit};
use crate::cookies::CookieJar;
use crate::redact::Redactor;
use crate::request::Request;
use crate::retry::RetryPolicy;
use crate::stats::RequestStats;
use crate::token::TokenHttp;
use crate::transport::{self, TransportSettings, Way, transport};

/// The program and its version; a source's operator can tell who asks.
const USER_AGENT: &str = concat!("Headwater/", env!("CARGO_PKG_VERSION"));

/// How long a client waits. `None` waits for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// For the connection.
    pub connect: Option<Duration>,
    /// For the start of an answer, and between any two parts of it.
    pub read: Option<Duration>,
    /// For one attempt from the first byte sent to the last one read.
    pub total: Option<Duration>,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Some(Duration::from_secs(10)),
            read: Some(Duration::from_secs(60)),
            total: Some(Duration::from_secs(300)),
        }
    }
}

/// Sends requests to one source. Clones share connections, cookies, rate budget and counters.
#[derive(Clone)]
pub struct HttpClient {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) http: reqwest::Client,
    pub(crate) base: Url,
    pub(crate) credentials: Option<Credentials>,
    pub(crate) headers: HeaderMap,
    pub(crate) user_agent: HeaderValue,
    pub(crate) redactor: Redactor,
    pub(crate) timeouts: Timeouts,
    pub(crate) retry: RetryPolicy,
    pub(crate) max_body_bytes: usize,
    pub(crate) budget: RateBudget,
    pub(crate) rate_headers: Option<(HeaderName, HeaderName)>,
    pub(crate) cookies: Option<Mutex<CookieJar>>,
    pub(crate) stats: Arc<RequestStats>,
    pub(crate) clock: Arc<dyn Clock>,
    /// The length of the last body whose length had not been said: the next is likely as long.
    pub(crate) last_body_bytes: AtomicUsize,
    /// What tokens are asked for with.
    pub(crate) token_http: TokenHttp,
}

impl HttpClient {
    /// Starts a client for the source at `base_url`; user and password in it become [`Auth::Basic`].
    pub fn builder(base_url: &str) -> HttpClientBuilder {
        HttpClientBuilder {
            base_url: base_url.to_owned(),
            user_agent: USER_AGENT.to_owned(),
            auth: None,
            headers: Vec::new(),
            secrets: Vec::new(),
            timeouts: Timeouts::default(),
            retry: RetryPolicy::default(),
            max_body_bytes: 64 << 20,
            budget: RateBudget::default(),
            rate_headers: None,
            cookies: false,
            stats: Arc::default(),
            clock: Arc::new(SystemClock),
            transport: TransportSettings::default(),
        }
    }

    /// A GET of `path`, which counts from the base URL whether it starts with `/` or not; an absolute `http` or
    /// `https` URL is taken as it is.
    pub fn get(&self, path: &str) -> Request {
        self.request(Method::GET, path)
    }

    /// A POST to `path`, which is sent once unless it is marked [`Request::idempotent`].
    pub fn post(&self, path: &str) -> Request {
        self.request(Method::POST, path)
    }

    /// A request with any method to `path`.
    pub fn request(&self, method: Method, path: &str) -> Request {
        Request::new(self.clone(), method, self.url(path))
    }

    /// A GET of a link that an answer from `from` holds, which may be relative to it.
    ///
    /// # Errors
    /// [`ConnectorError::BadResponse`] where the link is not an `http` or `https` URL.
    pub fn follow(&self, from: &Url, link: &str) -> Result<Request, ConnectorError> {
        match from.join(link) {
            Ok(url) if matches!(url.scheme(), "http" | "https") => {
                Ok(Request::new(self.clone(), Method::GET, Ok(url)))
            }
            _ => {
                let link: String = self.inner.redactor.text(link).chars().take(200).collect();
                let from = self.inner.redactor.url(from);
                Err(ConnectorError::bad_response(format!("{from} links to `{link}`, which is no URL")))
            }
        }
    }

    /// The counters.
    pub fn stats(&self) -> &Arc<RequestStats> {
        &self.inner.stats
    }

    /// The rate budget, to be given to other clients of the same source.
    pub fn budget(&self) -> &RateBudget {
        &self.inner.budget
    }

    /// `text` without the secrets that this client knows.
    pub fn redact(&self, text: &str) -> String {
        self.inner.redactor.text(text)
    }

    fn url(&self, path: &str) -> Result<Url, String> {
        if path.starts_with("http://") || path.starts_with("https://") {
            return Url::parse(path).map_err(|error| format!("a request's URL cannot be read: {error}"));
        }
        let path = path.trim_start_matches('/');
        if path.is_empty() {
            return Ok(self.inner.base.clone());
        }
        let mut folder = self.inner.base.clone();
        folder.set_query(None);
        if !folder.path().ends_with('/') {
            folder.set_path(&format!("{}/", self.inner.base.path()));
        }
        // `./` keeps a colon in the first segment from being read as a scheme.
        folder.join(&format!("./{path}")).map_err(|error| format!("path `{path}` cannot be read: {error}"))
    }
}

impl fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpClient").field("base", &self.inner.redactor.url(&self.inner.base)).finish()
    }
}

/// Settings of a client.
pub struct HttpClientBuilder {
    base_url: String,
    user_agent: String,
    auth: Option<Auth>,
    headers: Vec<(String, Secret)>,
    secrets: Vec<Secret>,
    timeouts: Timeouts,
    retry: RetryPolicy,
    max_body_bytes: usize,
    budget: RateBudget,
    rate_headers: Option<(HeaderName, HeaderName)>,
    cookies: bool,
    stats: Arc<RequestStats>,
    clock: Arc<dyn Clock>,
    pub(crate) transport: TransportSettings,
}

impl HttpClientBuilder {
    /// Sends these credentials to the host of the base URL: an [`Auth`], or a source of tokens such as
    /// [`OAuth2`](crate::OAuth2).
    #[must_use]
    pub fn auth(mut self, auth: impl Into<Auth>) -> Self {
        self.auth = Some(auth.into());
        self
    }

    /// Goes by this proxy (an `http` or `https` URL, which may hold user and password) in place of those that the
    /// environment names.
    #[must_use]
    pub fn proxy(mut self, url: Secret) -> Self {
        self.transport.way = Way::Proxy(url);
        self
    }

    /// Goes by no proxy, whatever the environment says.
    #[must_use]
    pub fn no_proxy(mut self) -> Self {
        self.transport.way = Way::Straight;
        self
    }

    /// Goes to the source itself even where [`lead_to`](crate::lead_to) leads others to a simulator; for a
    /// simulator that records.
    #[must_use]
    pub fn past_simulator(mut self) -> Self {
        self.transport.way = Way::PastSimulator;
        self
    }

    /// Goes to this simulator, as [`lead_to`](crate::lead_to) does for a whole process.
    #[must_use]
    pub fn simulator(mut self, simulator: transport::SimulatorAddress) -> Self {
        self.transport.way = Way::Simulator(Arc::new(simulator));
        self
    }

    /// Trusts the certificate authorities of this PEM text beside those of the system.
    #[must_use]
    pub fn trust(mut self, authorities_pem: impl Into<String>) -> Self {
        self.transport.authorities.push(authorities_pem.into());
        self
    }

    /// Sends this `User-Agent` in place of `Headwater/<version>`.
    #[must_use]
    pub fn user_agent(mut self, text: impl Into<String>) -> Self {
        self.user_agent = text.into();
        self
    }

    /// Adds a header to each request to the host of the base URL. Its value is not shown in errors.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), Secret::new(value)));
        self
    }

    /// Keeps one more text (a password that is posted in a form) out of errors and logs.
    #[must_use]
    pub fn redact(mut self, secret: Secret) -> Self {
        self.secrets.push(secret);
        self
    }

    /// Sets how long to wait.
    #[must_use]
    pub fn timeouts(mut self, timeouts: Timeouts) -> Self {
        self.timeouts = timeouts;
        self
    }

    /// Sets when a request is sent again.
    #[must_use]
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        self.retry = policy;
        self
    }

    /// Takes no body larger than this, after decompression. The default is 64 MiB.
    #[must_use]
    pub fn max_body_bytes(mut self, bytes: usize) -> Self {
        self.max_body_bytes = bytes;
        self
    }

    /// Limits the requests of this client and its clones.
    #[must_use]
    pub fn rate_limit(self, limit: RateLimit) -> Self {
        self.budget(RateBudget::new(limit))
    }

    /// Shares a budget with other clients of the same source.
    #[must_use]
    pub fn budget(mut self, budget: RateBudget) -> Self {
        self.budget = budget;
        self
    }

    /// Heeds two headers with which a source says how many requests are left, and when there are more again
    /// (in seconds from now or, beyond 1,000,000,000, since 1970), beside the usual ones. At none left, all
    /// requests pause.
    #[must_use]
    pub fn rate_limit_headers(mut self, remaining: HeaderName, reset: HeaderName) -> Self {
        self.rate_headers = Some((remaining, reset));
        self
    }

    /// Keeps cookies and sends them back to the host that set them.
    #[must_use]
    pub fn cookies(mut self, keep: bool) -> Self {
        self.cookies = keep;
        self
    }

    /// Counts in these counters, which may be shared.
    #[must_use]
    pub fn stats(mut self, stats: Arc<RequestStats>) -> Self {
        self.stats = stats;
        self
    }

    /// Reads the time from this clock, for dates in headers and cookies.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Builds the client. Nothing is sent.
    ///
    /// # Errors
    /// [`ConnectorError::InvalidOption`] for `base_url`, `auth`, `user_agent` or a header that cannot be used.
    pub fn build(self) -> Result<HttpClient, ConnectorError> {
        let mut base = Url::parse(self.base_url.trim()).map_err(|error| {
            ConnectorError::invalid_option(
                "base_url",
                format!("is not a URL such as https://example.org: {error}"),
            )
        })?;
        if !matches!(base.scheme(), "http" | "https") || base.host_str().is_none() {
            let reason = format!("has the scheme `{}`; it must be http or https", base.scheme());
            return Err(ConnectorError::invalid_option("base_url", reason));
        }
        base.set_fragment(None);
        let in_url = Auth::take_from_url(&mut base);
        let auth = self.auth.or(in_url);

        let mut redactor = Redactor::default();
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            let bad =
                || ConnectorError::invalid_option("headers", format!("has `{name}`, which cannot be sent"));
            let parsed = HeaderName::try_from(name.as_str()).map_err(|_| bad())?;
            let mut sent = HeaderValue::try_from(value.expose()).map_err(|_| bad())?;
            sent.set_sensitive(true);
            headers.append(parsed, sent);
        }
        let secrets = auth.iter().flat_map(Auth::secrets).chain(self.secrets);
        secrets.for_each(|secret| redactor.add_value(&secret));
        if let Some(name) = auth.as_ref().and_then(Auth::query_name) {
            redactor.add_query_name(name);
        }
        let user_agent = HeaderValue::try_from(&self.user_agent)
            .map_err(|_| ConnectorError::invalid_option("user_agent", "cannot be sent in a header"))?;

        let credentials = auth.map(|auth| auth.prepare()).transpose()?;
        if let Some(Credentials::Token(cell)) = &credentials {
            redactor.watch(Arc::clone(&cell.secrets));
        }
        if let Way::Proxy(url) = &self.transport.way {
            redactor.add_value(url);
        }
        let settings = TransportSettings { connect: self.timeouts.connect, ..self.transport };
        let token_http = TokenHttp {
            transport: settings.clone(),
            timeouts: self.timeouts,
            retry: self.retry,
            stats: Arc::clone(&self.stats),
            clock: Arc::clone(&self.clock),
        };
        let inner = Inner {
            http: transport(&settings)?,
            base,
            credentials,
            headers,
            user_agent,
            redactor,
            timeouts: self.timeouts,
            retry: self.retry,
            max_body_bytes: self.max_body_bytes,
            budget: self.budget,
            rate_headers: self.rate_headers,
            cookies: self.cookies.then(Mutex::default),
            stats: self.stats,
            clock: self.clock,
            last_body_bytes: AtomicUsize::new(0),
            token_http,
        };
        Ok(HttpClient { inner: Arc::new(inner) })
    }
}

#[cfg(test)]
mod tests {
    use headwater_connect::Secret;

    use super::HttpClient;
    use crate::Auth;

    fn check(base: &str, path: &str, expect: &str) {
        let client = HttpClient::builder(base).build().unwrap();
        assert_eq!(client.url(path).unwrap().as_str(), expect, "{base} {path}");
    }

    #[tokio::test]
    async fn paths_count_from_the_base_url() {
        check("https://h/api/v1", "orders", "https://h/api/v1/orders");
        check("https://h/api/v1/", "/orders?x=1", "https://h/api/v1/orders?x=1");
        check("https://h/w/api.php", "", "https://h/w/api.php");
        check("https://h", "a/b", "https://h/a/b");
        check("https://h/api", "//evil.example/x", "https://h/api/evil.example/x");
        check("https://h/api", "User:Bob", "https://h/api/User:Bob");
        check("https://h/api", "https://other/x", "https://other/x");
        check(" https://u:p@h/api ", "x", "https://h/api/x");
        check("https://h/api?q=1#f", "x", "https://h/api/x");
    }

    #[tokio::test]
    async fn settings_that_cannot_be_are_errors_without_the_secret() {
        for base in ["", "shop", "ftp://h/", "file:///etc/passwd", "https://", "data:text/plain,x"] {
            assert!(HttpClient::builder(base).build().is_err(), "{base}");
        }
        let auth = Auth::Bearer(Secret::new("hunter2\n"));
        let error = HttpClient::builder("https://h").auth(auth).build().unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
        assert!(HttpClient::builder("https://h").header("a b", "c").build().is_err());
        assert!(HttpClient::builder("https://h").user_agent("a\nb").build().is_err());
        let client = HttpClient::builder("https://user:hunter2@h").build().unwrap();
        assert!(!format!("{client:?}").contains("hunter2"), "{client:?}");
    }
}
