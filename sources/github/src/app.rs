use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use headwater_connect::{ConnectorError, Secret};
use headwater_http::{AccessToken, SigningKey, TokenHttp, TokenSource};
use serde::Deserialize;
use serde_json::Map;

use crate::github::{API_VERSION, MEDIA_TYPE};
use crate::settings::App;

/// GitHub takes assertions of ten minutes at most.
const ASSERTION_SECS: i64 = 540;
/// Clocks differ: an assertion that seems to come from the future is refused.
const CLOCK_SKEW_SECS: i64 = 60;
/// An installation's token lives an hour; it is exchanged so long before its end.
const MARGIN: Duration = Duration::from_secs(300);

/// Gets the tokens of a GitHub App's installation.
pub(crate) struct Installation {
    base_url: String,
    app: App,
    key: SigningKey,
}

#[derive(Deserialize)]
struct Issued {
    token: String,
    expires_at: DateTime<Utc>,
}

impl Installation {
    pub(crate) fn new(base_url: &str, app: App) -> Result<Self, ConnectorError> {
        let key = SigningKey::rs256(&app.private_key).map_err(|error| error.of_option("private_key"))?;
        Ok(Self { base_url: base_url.to_owned(), app, key })
    }

    /// What proves that the key is there.
    fn assertion(&self, now: DateTime<Utc>) -> Result<Secret, ConnectorError> {
        let now = now.timestamp();
        let claims = [
            ("iat", (now - CLOCK_SKEW_SECS).into()),
            ("exp", (now + ASSERTION_SECS).into()),
            ("iss", self.app.id.as_str().into()),
        ];
        let claims = claims.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        self.key.sign(&Map::new(), &claims)
    }
}

#[async_trait]
impl TokenSource for Installation {
    fn identity(&self) -> Secret {
        let App { id, installation_id, private_key } = &self.app;
        Secret::new(format!("{} {id} {installation_id} {}", self.base_url, private_key.expose()))
    }

    async fn fetch(&self, http: &TokenHttp) -> Result<AccessToken, ConnectorError> {
        let assertion = self.assertion(http.now())?;
        let client = http
            .client(&self.base_url)
            .auth(headwater_http::Auth::Bearer(assertion))
            .header("Accept", MEDIA_TYPE)
            .header("X-GitHub-Api-Version", API_VERSION)
            .build()?;
        let path = format!("app/installations/{}/access_tokens", self.app.installation_id);
        // A token that nobody got does no harm: asking twice is safe.
        let response = client.post(&path).idempotent().send().await?;
        let issued: Issued = response.json()?;
        let token = AccessToken::bearer(Secret::new(issued.token)).until(issued.expires_at);
        Ok(AccessToken { margin: MARGIN, ..token })
    }

    fn secrets(&self) -> Vec<Secret> {
        vec![self.app.private_key.clone()]
    }
}

impl std::fmt::Debug for Installation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Installation({})", self.app.installation_id)
    }
}
