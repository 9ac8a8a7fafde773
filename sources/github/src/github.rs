use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use futures::StreamExt;
use headwater_connect::{Clock, ConnectorError, Offset, SystemClock};
use headwater_http::pages;
use headwater_http::{Auth, HttpClient, HttpError, RateBudget, RateLimit, Request, Response, TokenSource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::Mutex;

use crate::app::Installation;
use crate::repos::Repo;
use crate::settings::{Credentials, RepoName, Settings};

pub(crate) const API_VERSION: &str = "2022-11-28";
pub(crate) const MEDIA_TYPE: &str = "application/vnd.github+json";

/// Pages of one list that are fetched ahead of the reader.
pub(crate) const PAGES_AHEAD: usize = 8;
/// Repositories whose first page is fetched ahead of the reader.
pub(crate) const REPOS_AHEAD: usize = 4;
/// GitHub allows 100 requests under way for one credential, and counts what they cost it besides.
const CONCURRENCY: usize = 24;
/// What GitHub asks for where it does not say how long to wait.
const UNTOLD_PAUSE: Duration = Duration::from_secs(60);

/// One GitHub, for one instance of the connector.
pub(crate) struct GitHub {
    pub(crate) client: HttpClient,
    pub(crate) credentials: Credentials,
    /// The repositories of each owner, listed once.
    pub(crate) listed: Mutex<HashMap<String, Vec<Repo>>>,
    pub(crate) clock: Arc<dyn Clock>,
}

impl GitHub {
    pub(crate) fn new(settings: Settings) -> Result<Self, ConnectorError> {
        let Settings { base_url, credentials } = settings;
        let budget =
            RateBudget::shared(&base_url, credentials.secret().as_ref(), RateLimit::concurrency(CONCURRENCY));
        let mut builder = HttpClient::builder(&base_url)
            .header("Accept", MEDIA_TYPE)
            .header("X-GitHub-Api-Version", API_VERSION)
            .budget(budget);
        match &credentials {
            Credentials::None => {}
            Credentials::Token(token) => builder = builder.auth(Auth::Bearer(token.clone())),
            Credentials::App(app) => {
                let source: Arc<dyn TokenSource> = Arc::new(Installation::new(&base_url, app.clone())?);
                builder = builder.auth(Auth::Token(source));
            }
        }
        let client = builder.build()?;
        Ok(Self { client, credentials, listed: Mutex::default(), clock: Arc::new(SystemClock) })
    }

    pub(crate) fn get(&self, path: &str) -> Request {
        self.client.get(path)
    }

    /// A request for a repository, or for what stands at `path` below it.
    pub(crate) fn get_of(&self, repo: &RepoName, path: &str) -> Request {
        let slash = if path.is_empty() { "" } else { "/" };
        self.client.get(&format!("repos/{}/{}{slash}{path}", repo.owner, repo.name))
    }

    /// Tries the credentials; it costs nothing of the quota.
    pub(crate) async fn check(&self) -> Result<(), ConnectorError> {
        // An Enterprise Server without limits has nothing there.
        self.get("rate_limit").allow_status(404).send().await.map(|_| ())
    }

    /// When an answer was given, by the clock of the source where it says so.
    pub(crate) fn answered_at(&self, response: &Response) -> DateTime<Utc> {
        let said = response.header("date").and_then(|date| DateTime::parse_from_rfc2822(date).ok());
        said.map_or_else(|| self.clock.now(), |date| date.to_utc())
    }
}

/// All pages of a list.
pub(crate) async fn all_pages(first: Request) -> Result<Vec<Response>, ConnectorError> {
    let mut pages = pages::by_link_header(first, PAGES_AHEAD);
    let mut all = Vec::new();
    while let Some(page) = pages.next().await {
        all.push(page?);
    }
    Ok(all)
}

/// Tells a limit from what is forbidden: GitHub may answer both with 403, and then only its words say which it is.
pub(crate) fn judged(error: ConnectorError) -> ConnectorError {
    let is_limit = match HttpError::of(&error) {
        Some(HttpError::Status { status: 403, body, .. }) => {
            let body = body.to_ascii_lowercase();
            body.contains("rate limit") || body.contains("abuse detection")
        }
        _ => false,
    };
    match error {
        ConnectorError::Forbidden { source } if is_limit => {
            ConnectorError::RateLimited { retry_after: Some(UNTOLD_PAUSE), source }
        }
        error => error,
    }
}

/// The status that an error is about, where the source answered.
pub(crate) fn status(error: &ConnectorError) -> Option<u16> {
    match error {
        // Slowing down is asked for with 403 too.
        ConnectorError::RateLimited { .. } => None,
        _ => HttpError::of(error).and_then(HttpError::status),
    }
}

/// The instant that lies so long before another; the same where there is none.
pub(crate) fn before(at: DateTime<Utc>, by: TimeDelta) -> DateTime<Utc> {
    at.checked_sub_signed(by).unwrap_or(at)
}

/// An instant as the API takes it.
pub(crate) fn api_time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// Reads an offset; `None` at the start of a stream.
pub(crate) fn read_offset<T: DeserializeOwned>(start: Option<&Offset>) -> Result<Option<T>, ConnectorError> {
    let Some(start) = start.filter(|start| !start.is_empty()) else { return Ok(None) };
    let mark = start.read();
    mark.map(Some).map_err(|source| ConnectorError::InvalidOffset { offset: start.to_string(), source })
}

pub(crate) fn offset(mark: &impl Serialize) -> Result<Offset, ConnectorError> {
    Offset::from_value(mark).map_err(|error| ConnectorError::bug(format!("an offset is no JSON: {error}")))
}
