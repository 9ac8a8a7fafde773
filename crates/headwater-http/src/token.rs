//! Credentials that expire: who gives them out, and how all clients of a process share one.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};
use std::time::Duration;

use async_trait::async_trait;
use aws_lc_rs::digest::{SHA256, digest};
use chrono::{DateTime, TimeDelta, Utc};
use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use headwater_connect::{Clock, ConnectorError, Secret};
use reqwest::header::HeaderValue;

use crate::client::{HttpClient, HttpClientBuilder, Timeouts};
use crate::error::SharedCause;
use crate::redact::IssuedSecrets;
use crate::retry::RetryPolicy;
use crate::stats::RequestStats;
use crate::transport::TransportSettings;

/// How long before its end a token is exchanged, where nothing else is said.
const MARGIN: Duration = Duration::from_secs(60);

/// Gets access tokens, such as those of OAuth 2 ([`OAuth2`](crate::OAuth2)) or of a GitHub App.
///
/// All clients of the process whose sources have the same identity share one token. It is asked for when it is first
/// needed, again shortly before it expires, and once more when the source refuses it; whoever needs it meanwhile waits
/// for that one request.
#[async_trait]
pub trait TokenSource: Send + Sync + fmt::Debug {
    /// What tells this credential from every other: address, user, key or secret, scopes. It is hashed, not kept.
    fn identity(&self) -> Secret;

    /// Gets a new token. It runs to its end even if nobody waits for it any more, since a token may be given out only once.
    ///
    /// # Errors
    /// As those of a request; [`ConnectorError::Unauthorized`] where the credential is refused.
    async fn fetch(&self, http: &TokenHttp) -> Result<AccessToken, ConnectorError>;

    /// What else must not stand in an error of a client that uses these tokens.
    fn secrets(&self) -> Vec<Secret> {
        Vec::new()
    }
}

/// What a source accepts for a while.
#[derive(Debug, Clone)]
pub struct AccessToken {
    /// The token.
    pub value: Secret,
    /// What stands before it in `Authorization`.
    pub scheme: String,
    /// When it ends; `None` where that is not known.
    pub expires_at: Option<DateTime<Utc>>,
    /// How long before its end it is exchanged, at most a fifth of its life.
    pub margin: Duration,
}

impl AccessToken {
    /// A `Bearer` token of which nobody knows when it ends.
    pub fn bearer(value: Secret) -> Self {
        Self { value, scheme: "Bearer".to_owned(), expires_at: None, margin: MARGIN }
    }

    /// The same with its end.
    #[must_use]
    pub fn until(self, expires_at: DateTime<Utc>) -> Self {
        Self { expires_at: Some(expires_at), ..self }
    }
}

/// What a [`TokenSource`] sends its requests with: as the client that needs the token does, but for its credentials.
#[derive(Clone)]
pub struct TokenHttp {
    pub(crate) transport: TransportSettings,
    pub(crate) timeouts: Timeouts,
    pub(crate) retry: RetryPolicy,
    pub(crate) stats: Arc<RequestStats>,
    pub(crate) clock: Arc<dyn Clock>,
}

impl TokenHttp {
    /// Starts a client for `base_url`. Its requests are counted with those of the client that needs the token.
    pub fn client(&self, base_url: &str) -> HttpClientBuilder {
        let mut builder = HttpClient::builder(base_url)
            .timeouts(self.timeouts)
            .retry(self.retry)
            .stats(self.stats.clone())
            .clock(self.clock.clone());
        builder.transport = self.transport.clone();
        builder
    }

    /// The time by which tokens expire.
    pub fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }
}

/// A token that has been given out.
pub(crate) struct Issued {
    /// Tells tokens apart that were given out one after the other.
    pub(crate) number: u64,
    /// The value of `Authorization`.
    pub(crate) header: HeaderValue,
    exchange_at: Option<DateTime<Utc>>,
}

type Pending = Shared<BoxFuture<'static, Result<Arc<Issued>, Arc<ConnectorError>>>>;

/// The token that is shared.
pub(crate) struct TokenCell {
    source: Arc<dyn TokenSource>,
    state: Mutex<State>,
    pub(crate) secrets: Arc<IssuedSecrets>,
}

#[derive(Default)]
struct State {
    current: Option<Arc<Issued>>,
    pending: Option<Pending>,
    numbers: u64,
}

/// By the hash of their identity, so that no secret is kept for it.
static CELLS: LazyLock<Mutex<HashMap<Hash, Weak<TokenCell>>>> = LazyLock::new(Mutex::default);

/// What stands for a secret where it is only to be recognised.
pub(crate) type Hash = [u8; 32];

pub(crate) fn hash(parts: &[&str]) -> Hash {
    let mut all = Vec::new();
    for part in parts {
        all.extend_from_slice(&part.len().to_le_bytes());
        all.extend_from_slice(part.as_bytes());
    }
    let mut hash = Hash::default();
    hash.iter_mut().zip(digest(&SHA256, &all).as_ref()).for_each(|(to, from)| *to = *from);
    hash
}

impl TokenCell {
    /// The cell of all clients with this credential.
    pub(crate) fn shared(source: &Arc<dyn TokenSource>) -> Arc<Self> {
        let key = hash(&[source.identity().expose()]);
        let mut cells = CELLS.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(cell) = cells.get(&key).and_then(Weak::upgrade) {
            return cell;
        }
        cells.retain(|_, cell| cell.strong_count() > 0);
        let secrets = Arc::<IssuedSecrets>::default();
        source.secrets().iter().for_each(|secret| secrets.add(secret));
        let cell = Arc::new(Self { source: Arc::clone(source), state: Mutex::default(), secrets });
        cells.insert(key, Arc::downgrade(&cell));
        cell
    }

    /// Gives the token, a new one where there is none or it ends soon.
    ///
    /// # Cancel safety
    /// A request for a token goes on when the future is dropped.
    pub(crate) async fn get(self: &Arc<Self>, http: &TokenHttp) -> Result<Arc<Issued>, ConnectorError> {
        let pending = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(current) = state.current.as_ref().filter(|token| !token.is_stale(http.now())) {
                return Ok(Arc::clone(current));
            }
            // One that has ended with its runtime would never be taken away by its own hand.
            if let Some(ended) = state.pending.as_ref().and_then(Shared::peek)
                && ended.is_err()
            {
                state.pending = None;
            }
            state.pending.get_or_insert_with(|| self.start(http)).clone()
        };
        pending.await.map_err(|error| SharedCause::again(&error))
    }

    fn start(self: &Arc<Self>, http: &TokenHttp) -> Pending {
        let (cell, http) = (Arc::clone(self), http.clone());
        #[allow(
            clippy::disallowed_methods,
            reason = "the answer may hold the only refresh token that is still good, whoever waits for it or not"
        )]
        let task = tokio::spawn(async move {
            let fetched = cell.source.fetch(&http).await;
            cell.finish(fetched, http.now())
        });
        let ended = async move {
            task.await
                .unwrap_or_else(|_| Err(Arc::new(ConnectorError::bug("the task that gets a token was lost"))))
        };
        ended.boxed().shared()
    }

    fn finish(
        &self,
        fetched: Result<AccessToken, ConnectorError>,
        now: DateTime<Utc>,
    ) -> Result<Arc<Issued>, Arc<ConnectorError>> {
        if let Ok(token) = &fetched {
            self.secrets.add(&token.value);
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.pending = None;
        state.numbers += 1;
        let issued = Issued::new(fetched.map_err(Arc::new)?, state.numbers, now).map_err(Arc::new)?;
        Ok(Arc::clone(state.current.insert(Arc::new(issued))))
    }

    /// Says that the source refuses this token; the next one who needs it gets another.
    pub(crate) fn refused(&self, token: &Issued) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.current.as_ref().is_some_and(|current| current.number == token.number) {
            state.current = None;
        }
    }
}

impl Issued {
    fn new(token: AccessToken, number: u64, now: DateTime<Utc>) -> Result<Self, ConnectorError> {
        let text = format!("{} {}", token.scheme, token.value.expose());
        let mut header = HeaderValue::try_from(text).map_err(|_| {
            ConnectorError::bad_response("the source gave out a token that no header can hold")
        })?;
        header.set_sensitive(true);
        let exchange_at = token.expires_at.map(|at| {
            let life = (at - now).max(TimeDelta::zero());
            let margin = TimeDelta::from_std(token.margin).unwrap_or(life).min(life / 5);
            at - margin
        });
        Ok(Self { number, header, exchange_at })
    }

    fn is_stale(&self, now: DateTime<Utc>) -> bool {
        self.exchange_at.is_some_and(|at| at <= now)
    }
}
