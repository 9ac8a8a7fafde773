//! OAuth 2 (RFC 6749): client credentials, refresh tokens, and signed assertions (RFC 7523).

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use chrono::TimeDelta;
use headwater_connect::{BoxError, ConnectorError, Secret};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::sync::Mutex as TurnMutex;

use crate::auth::Auth;
use crate::client::{HttpClient, HttpClientBuilder};
use crate::error::snippet;
use crate::jwt::SigningKey;
use crate::response::Response;
use crate::token::{AccessToken, Hash, TokenHttp, TokenSource, hash};

/// How a client says who it is at the token endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ClientAuth {
    /// In `Authorization: Basic`, as RFC 6749 prefers.
    #[default]
    Header,
    /// As `client_id` and `client_secret` in the form.
    Body,
}

/// A refresh token that takes the place of another, which is good for nothing from now on.
#[derive(Debug, Clone)]
pub struct RotatedToken {
    /// The client that it was given to.
    pub client_id: String,
    /// The new one.
    pub refresh_token: Secret,
}

/// Keeps refresh tokens where the next process finds them.
#[async_trait]
pub trait KeepRotated: Send + Sync {
    /// Keeps `rotated`. The access token that came with it is not used before this has succeeded; it is called again
    /// until then.
    ///
    /// # Errors
    /// It could not be kept.
    async fn keep(&self, rotated: &RotatedToken) -> Result<(), BoxError>;
}

/// A signed assertion as a credential: who says it, about whom, and to whom.
#[derive(Debug, Clone)]
pub struct Assertion {
    /// What it is signed with.
    pub key: Arc<SigningKey>,
    /// `iss`.
    pub issuer: String,
    /// `sub`, where it is not the issuer.
    pub subject: Option<String>,
    /// `aud`, where it is not the address of the token endpoint.
    pub audience: Option<String>,
    /// How long it is good for.
    pub lifetime: Duration,
    /// Other claims, such as `scope`.
    pub claims: Map<String, Value>,
    /// Other members of the header, such as `kid`.
    pub header: Map<String, Value>,
}

impl Assertion {
    /// An assertion of `issuer` about itself that is good for five minutes.
    pub fn new(key: SigningKey, issuer: impl Into<String>) -> Self {
        Self {
            key: Arc::new(key),
            issuer: issuer.into(),
            subject: None,
            audience: None,
            lifetime: Duration::from_secs(300),
            claims: Map::new(),
            header: Map::new(),
        }
    }
}

/// Gets access tokens from an OAuth 2 token endpoint.
#[derive(Clone)]
pub struct OAuth2 {
    token_url: String,
    client_id: String,
    client_secret: Option<Secret>,
    grant: Grant,
    scopes: Vec<String>,
    parameters: Vec<(String, Secret)>,
    client_auth: ClientAuth,
    margin: Duration,
    keeper: Option<Arc<dyn KeepRotated>>,
}

#[derive(Clone)]
enum Grant {
    ClientCredentials,
    RefreshToken(Arc<Lineage>),
    Assertion(Box<Assertion>),
}

/// A refresh token and all that have taken its place.
struct Lineage {
    root: Hash,
    newest: TurnMutex<Newest>,
}

struct Newest {
    token: Secret,
    /// An access token that waits until the newest refresh token has been kept.
    unkept: Option<AccessToken>,
}

/// Refresh tokens that this process has seen, by their hashes. A connector's options may still hold one that has been
/// replaced since; the one that is good now is found by it.
static LINEAGES: LazyLock<Mutex<HashMap<Hash, Arc<Lineage>>>> = LazyLock::new(Mutex::default);

impl Lineage {
    fn of(token_url: &str, client_id: &str, token: Secret) -> Arc<Self> {
        let root = hash(&[token_url, client_id, token.expose()]);
        let mut all = LINEAGES.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || Self { root, newest: TurnMutex::new(Newest { token, unkept: None }) };
        Arc::clone(all.entry(root).or_insert_with(|| Arc::new(new())))
    }

    fn add(self: &Arc<Self>, token_url: &str, client_id: &str, token: &Secret) {
        let key = hash(&[token_url, client_id, token.expose()]);
        LINEAGES.lock().unwrap_or_else(PoisonError::into_inner).insert(key, Arc::clone(self));
    }
}

impl OAuth2 {
    fn new(token_url: impl Into<String>, client_id: impl Into<String>, grant: Grant) -> Self {
        Self {
            token_url: token_url.into(),
            client_id: client_id.into(),
            client_secret: None,
            grant,
            scopes: Vec::new(),
            parameters: Vec::new(),
            client_auth: ClientAuth::default(),
            margin: Duration::from_secs(60),
            keeper: None,
        }
    }

    /// The client's own credentials (RFC 6749 section 4.4).
    pub fn client_credentials(
        token_url: impl Into<String>,
        client_id: impl Into<String>,
        client_secret: Secret,
    ) -> Self {
        Self::new(token_url, client_id, Grant::ClientCredentials).client_secret(client_secret)
    }

    /// A refresh token that a user's consent gave (RFC 6749 section 6).
    pub fn refresh_token(
        token_url: impl Into<String>,
        client_id: impl Into<String>,
        refresh_token: Secret,
    ) -> Self {
        let (token_url, client_id) = (token_url.into(), client_id.into());
        let lineage = Lineage::of(&token_url, &client_id, refresh_token);
        Self::new(token_url, client_id, Grant::RefreshToken(lineage))
    }

    /// A signed assertion (RFC 7523 section 2.1). An empty `client_id` is not sent.
    pub fn assertion(
        token_url: impl Into<String>,
        client_id: impl Into<String>,
        assertion: Assertion,
    ) -> Self {
        Self::new(token_url, client_id, Grant::Assertion(Box::new(assertion)))
    }

    /// Proves who the client is; a public client has no secret.
    #[must_use]
    pub fn client_secret(mut self, secret: Secret) -> Self {
        self.client_secret = Some(secret);
        self
    }

    /// Asks for these scopes.
    #[must_use]
    pub fn scopes<S: Into<String>>(mut self, scopes: impl IntoIterator<Item = S>) -> Self {
        self.scopes = scopes.into_iter().map(Into::into).collect();
        self
    }

    /// Sends one more parameter, such as `audience` or `resource`. Its value is not shown.
    #[must_use]
    pub fn parameter(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.parameters.push((name.into(), Secret::new(value)));
        self
    }

    /// Says where the client's secret goes.
    #[must_use]
    pub fn client_auth(mut self, place: ClientAuth) -> Self {
        self.client_auth = place;
        self
    }

    /// Exchanges a token so long before it ends (a minute unless said otherwise, at most a fifth of its life).
    #[must_use]
    pub fn margin(mut self, margin: Duration) -> Self {
        self.margin = margin;
        self
    }

    /// Keeps each new refresh token before the access token that came with it is used.
    #[must_use]
    pub fn keep_rotated(mut self, keeper: Arc<dyn KeepRotated>) -> Self {
        self.keeper = Some(keeper);
        self
    }

    fn client(&self, http: &TokenHttp) -> HttpClientBuilder {
        let mut client = http.client(&self.token_url);
        for secret in self.secrets() {
            client = client.redact(secret);
        }
        match (&self.client_secret, self.client_auth) {
            (Some(secret), ClientAuth::Header) => {
                // RFC 6749 section 2.3.1: each is encoded as in a form before they are joined.
                let encode =
                    |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
                let (user, password) = (encode(&self.client_id), Secret::new(encode(secret.expose())));
                client.auth(Auth::Basic { user, password })
            }
            _ => client,
        }
    }

    /// The form, but for what the grant adds.
    fn form(&self, grant_type: &str) -> Vec<(String, String)> {
        let mut form = vec![("grant_type".to_owned(), grant_type.to_owned())];
        let in_header = self.client_secret.is_some() && self.client_auth == ClientAuth::Header;
        if !in_header && !self.client_id.is_empty() {
            form.push(("client_id".to_owned(), self.client_id.clone()));
        }
        if let (Some(secret), false) = (&self.client_secret, in_header) {
            form.push(("client_secret".to_owned(), secret.expose().to_owned()));
        }
        if !self.scopes.is_empty() {
            form.push(("scope".to_owned(), self.scopes.join(" ")));
        }
        form.extend(self.parameters.iter().map(|(name, value)| (name.clone(), value.expose().to_owned())));
        form
    }

    async fn ask(
        &self,
        client: HttpClientBuilder,
        form: Vec<(String, String)>,
        http: &TokenHttp,
    ) -> Result<(AccessToken, Option<Secret>), ConnectorError> {
        let client = client.build()?;
        let mut request = client.post("").form(form).allow_status(400).allow_status(401).allow_status(403);
        if !matches!(self.grant, Grant::RefreshToken(_)) {
            request = request.idempotent();
        }
        let response = request.send().await?;
        let answer = self.read(&client, &response)?;
        let mut token = AccessToken { margin: self.margin, ..AccessToken::bearer(answer.0) };
        match answer.1.token_type {
            Some(kind) if !kind.is_empty() && !kind.eq_ignore_ascii_case("bearer") => token.scheme = kind,
            _ => {}
        }
        let life = answer.1.expires_in.as_ref().and_then(seconds);
        token.expires_at = life.and_then(|life| http.now().checked_add_signed(life));
        Ok((token, answer.1.refresh_token.filter(|token| !token.is_empty()).map(Secret::new)))
    }

    /// Takes the token from an answer, or says what the endpoint refuses.
    fn read(
        &self,
        client: &HttpClient,
        response: &Response,
    ) -> Result<(Secret, TokenAnswer), ConnectorError> {
        let request = response.request.clone();
        let parsed = response.json::<TokenAnswer>();
        match parsed {
            // Some endpoints refuse with status 200.
            Ok(TokenAnswer { error: Some(error), error_description, .. }) => {
                let advice = self.advice(&error);
                let shown = |text: &str| snippet(client.redact(text).as_bytes());
                let description =
                    error_description.map(|text| format!(" ({})", shown(&text))).unwrap_or_default();
                Err(TokenError::Refused { request, error: shown(&error), description, advice }.into())
            }
            Ok(mut answer) if response.status.is_success() => match answer.access_token.take() {
                Some(token) if !token.is_empty() => Ok((Secret::new(token), answer)),
                _ => Err(response.unusable("gave no `access_token`")),
            },
            Err(error) if response.status.is_success() => Err(error),
            _ => {
                let body = client.redact(&String::from_utf8_lossy(&response.body));
                let status = response.status.as_u16();
                Err(TokenError::Status { request, status, body: snippet(body.as_bytes()) }.into())
            }
        }
    }

    fn advice(&self, error: &str) -> &'static str {
        match (error, &self.grant) {
            ("invalid_grant", Grant::RefreshToken(_)) => {
                "the refresh token has expired, was withdrawn, or has been used up elsewhere: give consent again and set \
                 the new refresh token"
            }
            ("invalid_grant", Grant::Assertion(_)) => {
                "the assertion is not accepted: check the private key, the issuer, the subject, the audience and this \
                 machine's clock"
            }
            ("invalid_client", _) => {
                "the client is not known or its secret is wrong: check `client_id` and `client_secret`"
            }
            ("unauthorized_client", _) => {
                "the client may not use this way to get tokens: allow it at the source"
            }
            ("unsupported_grant_type", _) => {
                "the endpoint does not offer this way to get tokens: check its address"
            }
            ("invalid_scope", _) => "a scope is not known, or more than was consented to: check the scopes",
            _ => "",
        }
    }

    /// Exchanges the newest refresh token, and keeps the one that takes its place before anything else happens.
    async fn refresh(&self, lineage: &Arc<Lineage>, http: &TokenHttp) -> Result<AccessToken, ConnectorError> {
        let mut newest = lineage.newest.lock().await;
        if newest.unkept.is_none() {
            let mut form = self.form("refresh_token");
            form.push(("refresh_token".to_owned(), newest.token.expose().to_owned()));
            let client = self.client(http).redact(newest.token.clone());
            let (token, rotated) = self.ask(client, form, http).await?;
            let Some(rotated) = rotated.filter(|rotated| *rotated != newest.token) else { return Ok(token) };
            lineage.add(&self.token_url, &self.client_id, &rotated);
            newest.token = rotated;
            newest.unkept = Some(token);
        }
        let Some(keeper) = &self.keeper else {
            tracing::warn!(
                client_id = self.client_id,
                "the source replaced the refresh token, and nobody keeps the new one: when this process has ended, \
                 consent must be given again"
            );
            return newest.unkept.take().ok_or_else(|| ConnectorError::bug("a token was taken twice"));
        };
        let rotated = RotatedToken { client_id: self.client_id.clone(), refresh_token: newest.token.clone() };
        if let Err(source) = keeper.keep(&rotated).await {
            let source = Box::new(TokenError::NotKept { source });
            return Err(ConnectorError::Unavailable { source });
        }
        newest.unkept.take().ok_or_else(|| ConnectorError::bug("a token was taken twice"))
    }

    fn signed(&self, assertion: &Assertion, http: &TokenHttp) -> Result<Secret, ConnectorError> {
        let now = http.now().timestamp();
        let until = now.saturating_add_unsigned(assertion.lifetime.as_secs());
        let mut claims = Map::from_iter([
            ("iss".to_owned(), json!(assertion.issuer)),
            ("sub".to_owned(), json!(assertion.subject.as_ref().unwrap_or(&assertion.issuer))),
            ("aud".to_owned(), json!(assertion.audience.as_ref().unwrap_or(&self.token_url))),
            ("iat".to_owned(), json!(now)),
            ("exp".to_owned(), json!(until)),
            ("jti".to_owned(), json!(format!("{:032x}", fastrand::u128(..)))),
        ]);
        claims.extend(assertion.claims.clone());
        assertion.key.sign(&assertion.header, &claims)
    }
}

#[async_trait]
impl TokenSource for OAuth2 {
    fn identity(&self) -> Secret {
        let grant = match &self.grant {
            Grant::ClientCredentials => "client credentials".to_owned(),
            Grant::RefreshToken(lineage) => format!("refresh token {:?}", lineage.root),
            Grant::Assertion(one) => {
                let who = json!([
                    one.key.identity(),
                    one.issuer,
                    one.subject,
                    one.audience,
                    one.claims,
                    one.header
                ]);
                format!("assertion {who}")
            }
        };
        let secret = self.client_secret.as_ref().map(Secret::expose);
        let parameters: Vec<_> = self.parameters.iter().map(|(name, value)| (name, value.expose())).collect();
        // Whoever holds the same refresh token must share what comes of it, whatever else differs.
        let rest = match &self.grant {
            Grant::RefreshToken(_) => Value::Null,
            _ => json!([secret, self.scopes, parameters]),
        };
        Secret::new(json!([self.token_url, self.client_id, grant, rest]).to_string())
    }

    async fn fetch(&self, http: &TokenHttp) -> Result<AccessToken, ConnectorError> {
        match &self.grant {
            Grant::ClientCredentials => {
                let form = self.form("client_credentials");
                Ok(self.ask(self.client(http), form, http).await?.0)
            }
            Grant::RefreshToken(lineage) => self.refresh(lineage, http).await,
            Grant::Assertion(assertion) => {
                let signed = self.signed(assertion, http)?;
                let mut form = self.form("urn:ietf:params:oauth:grant-type:jwt-bearer");
                form.push(("assertion".to_owned(), signed.expose().to_owned()));
                let client = self.client(http).redact(signed);
                Ok(self.ask(client, form, http).await?.0)
            }
        }
    }

    fn secrets(&self) -> Vec<Secret> {
        let parameters = self.parameters.iter().map(|(_, value)| value.clone());
        let mut secrets: Vec<Secret> = self.client_secret.iter().cloned().chain(parameters).collect();
        if let Grant::RefreshToken(lineage) = &self.grant
            && let Ok(newest) = lineage.newest.try_lock()
        {
            secrets.push(newest.token.clone());
        }
        secrets
    }
}

impl fmt::Debug for OAuth2 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OAuth2({} at {})", self.client_id, self.token_url)
    }
}

/// An answer of a token endpoint, good or bad (RFC 6749 sections 5.1 and 5.2).
#[derive(Deserialize)]
struct TokenAnswer {
    access_token: Option<String>,
    token_type: Option<String>,
    expires_in: Option<Value>,
    refresh_token: Option<String>,
    error: Option<String>,
    error_description: Option<String>,
}

/// A number of seconds, which some endpoints write as a text.
fn seconds(value: &Value) -> Option<TimeDelta> {
    let seconds = value.as_f64().or_else(|| value.as_str()?.trim().parse().ok())?;
    TimeDelta::from_std(Duration::try_from_secs_f64(seconds).ok()?).ok()
}

/// Why a token endpoint gave no token, or why it cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// The endpoint says what it refuses.
    #[error("{request} answered `{error}`{description}{}{advice}", if advice.is_empty() { "" } else { ": " })]
    Refused {
        /// What was asked.
        request: String,
        /// The error's code (RFC 6749 section 5.2).
        error: String,
        /// What the endpoint adds.
        description: String,
        /// What to do.
        advice: &'static str,
    },
    /// The endpoint refuses and does not say what.
    #[error("{request} answered {status}: {body}")]
    Status {
        /// What was asked.
        request: String,
        /// The status code.
        status: u16,
        /// The start of the body.
        body: String,
    },
    /// A new refresh token could not be kept. It is held in memory, and kept with the next attempt.
    #[error("the new refresh token could not be kept")]
    NotKept {
        /// Why.
        #[source]
        source: BoxError,
    },
}

impl From<TokenError> for ConnectorError {
    fn from(error: TokenError) -> Self {
        match &error {
            // Both say that it may go well another time.
            TokenError::Refused { error: code, .. }
                if matches!(code.as_str(), "temporarily_unavailable" | "server_error") =>
            {
                ConnectorError::Unavailable { source: Box::new(error) }
            }
            TokenError::Refused { .. } | TokenError::Status { .. } => {
                ConnectorError::Unauthorized { source: Box::new(error) }
            }
            TokenError::NotKept { .. } => ConnectorError::Unavailable { source: Box::new(error) },
        }
    }
}
