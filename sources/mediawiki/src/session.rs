use std::collections::{BTreeMap, HashSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use headwater_connect::ConnectorError;
use headwater_http::{HttpClient, RateBudget, RateLimit, Response};
use serde::Deserialize;
use tokio::sync::OnceCell;
use tokio::time::Instant;
use url::Url;

use crate::api::{Answer, Envelope, Params, params, warning_texts};
use crate::error::{ApiError, Verdict, fault, judge};
use crate::settings::{Login, Settings};

/// Ids in one request for those without the right `apihighlimits`, and for those with it.
const IDS_PER_REQUEST: usize = 50;
const MANY_IDS_PER_REQUEST: usize = 500;
/// Requests of all tables and pipelines that one wiki gets at the same time: wikis are shared with people.
const CONCURRENCY: usize = 8;
/// Longer parameters travel in a form: servers refuse long URLs.
const MAX_URL_BYTES: usize = 4000;
/// The pause where the wiki asks to wait and does not say how long.
const DEFAULT_PAUSE: Duration = Duration::from_secs(5);
/// By this age a revision has been stored, and with it all that were given a lower id.
const SETTLED_AFTER: TimeDelta = TimeDelta::minutes(10);
/// How far past the newest known id new ones are looked for, in requests.
const MAX_PROBES: usize = 2_000;

/// One wiki, for one instance of the connector: what is found out at the first request stays as it is, so that
/// an update has an end.
#[derive(Debug)]
pub(crate) struct Wiki {
    client: HttpClient,
    settings: Settings,
    api_url: OnceCell<String>,
    session: OnceCell<Session>,
    bounds: OnceCell<RevisionBounds>,
    warned: Mutex<HashSet<String>>,
}

/// What the wiki says about itself.
#[derive(Debug, Clone)]
pub(crate) struct Session {
    /// The wiki's own clock at the first request.
    pub(crate) now: DateTime<Utc>,
    /// The namespaces that hold pages, in the order of their ids.
    pub(crate) namespaces: Vec<i64>,
    /// How many ids one request may name.
    pub(crate) ids_per_request: usize,
}

/// Where the ids of revisions stood when they were first asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RevisionBounds {
    /// The highest id.
    pub(crate) newest: u64,
    /// The highest id below which nothing can still be on its way into the database.
    pub(crate) settled: u64,
}

#[derive(Debug, Default, Deserialize)]
struct SiteInfo {
    general: Option<General>,
    #[serde(default)]
    namespaces: BTreeMap<String, Namespace>,
    userinfo: Option<UserInfo>,
}

#[derive(Debug, Deserialize)]
struct General {
    generator: String,
    time: DateTime<Utc>,
}

#[derive(Debug, Deserialize)]
struct Namespace {
    id: i64,
}

#[derive(Debug, Deserialize)]
struct UserInfo {
    #[serde(default)]
    rights: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct LoginAnswer {
    login: LoginResult,
}

#[derive(Debug, Deserialize)]
struct LoginResult {
    result: String,
    reason: Option<String>,
    wait: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
struct TokenQuery {
    tokens: Option<Tokens>,
}

#[derive(Debug, Deserialize)]
struct Tokens {
    logintoken: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
struct AllRevisions {
    #[serde(default)]
    allrevisions: Vec<RevisionIds>,
}

#[derive(Debug, Deserialize)]
struct RevisionIds {
    revisions: Vec<RevisionId>,
}

#[derive(Debug, Deserialize)]
struct RevisionId {
    revid: u64,
}

impl Wiki {
    pub(crate) fn new(settings: Settings) -> Result<Self, ConnectorError> {
        let password = settings.login.as_ref().map(|login| &login.password);
        let limit = RateLimit::concurrency(CONCURRENCY);
        let mut builder = HttpClient::builder(settings.base.as_str())
            .budget(RateBudget::shared(settings.base.as_str(), password, limit))
            .user_agent(settings.user_agent.clone())
            .cookies(settings.login.is_some());
        if let Some(login) = &settings.login {
            builder = builder.redact(login.password.clone());
        }
        Ok(Self {
            client: builder.build()?,
            settings,
            api_url: OnceCell::new(),
            session: OnceCell::new(),
            bounds: OnceCell::new(),
            warned: Mutex::default(),
        })
    }

    /// How many requests have been sent.
    pub(crate) fn requests(&self) -> u64 {
        self.client.stats().counts().requests
    }

    /// Finds the API, logs in and asks what kind of wiki it is, the first time.
    pub(crate) async fn session(&self) -> Result<&Session, ConnectorError> {
        self.session.get_or_try_init(|| self.open()).await
    }

    async fn open(&self) -> Result<Session, ConnectorError> {
        self.api_url().await?;
        if let Some(login) = &self.settings.login {
            self.log_in(login).await?;
        }
        let answer = self.send(&site_params(), false).await?;
        let info: SiteInfo = answer.query()?;
        let Some(general) = info.general else {
            return Err(answer.unusable("does not say what wiki it is (`query.general`)"));
        };
        tracing::debug!(generator = general.generator, now = %general.time, "wiki answers");
        let many = info.userinfo.is_some_and(|user| user.rights.iter().any(|right| right == "apihighlimits"));
        let mut namespaces: Vec<i64> =
            info.namespaces.values().map(|namespace| namespace.id).filter(|id| *id >= 0).collect();
        namespaces.sort_unstable();
        Ok(Session {
            now: general.time,
            namespaces,
            ids_per_request: if many { MANY_IDS_PER_REQUEST } else { IDS_PER_REQUEST },
        })
    }

    /// Finds the address of `api.php` from the address that the user gave.
    async fn api_url(&self) -> Result<&str, ConnectorError> {
        let find = || async {
            let candidates = candidates(&self.settings.base);
            let mut refusals = Vec::new();
            for url in &candidates {
                match self.is_api(url).await {
                    Ok(None) => return Ok(url.clone()),
                    Ok(Some(refusal)) => refusals.push(refusal),
                    Err(error) => return Err(error),
                }
            }
            let reason = format!(
                "does not lead to the API of a MediaWiki; give the address of its api.php. {}",
                refusals.join("; ")
            );
            Err(ConnectorError::invalid_option("base_url", reason))
        };
        self.api_url.get_or_try_init(find).await.map(String::as_str)
    }

    /// `None` where the API answers at `url`, why not otherwise, an error where it may answer another time.
    async fn is_api(&self, url: &str) -> Result<Option<String>, ConnectorError> {
        // Also a wiki that only members may read gives a login token.
        let query = params! { "action" => "query", "meta" => "tokens", "type" => "login" };
        let request = with_params(self.client.get(url), &format_params(query));
        match request.send().await {
            Ok(response) => Ok(match envelope(&response) {
                Ok(envelope) if envelope.error.is_some() => None,
                Ok(_) => response
                    .json::<serde_json::Value>()?
                    .pointer("/query/tokens")
                    .is_none()
                    .then(|| format!("{url} did not answer MediaWiki's JSON")),
                Err(_) => Some(format!("{url} did not answer MediaWiki's JSON")),
            }),
            Err(error @ (ConnectorError::Rejected { .. } | ConnectorError::Forbidden { .. })) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                let cause: String = cause.unwrap_or_default().chars().take(160).collect();
                Ok(Some(format!("{url}: {cause}")))
            }
            Err(error) => Err(error),
        }
    }

    async fn log_in(&self, login: &Login) -> Result<(), ConnectorError> {
        let api_url = self.api_url().await?.to_owned();
        let query = params! { "action" => "query", "meta" => "tokens", "type" => "login" };
        let tokens: TokenQuery = self.send(&query, false).await?.query()?;
        let Some(token) = tokens.tokens.and_then(|tokens| tokens.logintoken) else {
            return Err(ConnectorError::bad_response(format!("{api_url} gave no login token")));
        };
        let form = format_params(params! {
            "action" => "login",
            "lgname" => login.user,
            "lgpassword" => login.password.expose(),
            "lgtoken" => token,
        });
        let response = self.client.post(&api_url).form(form).send().await?;
        let answer: LoginAnswer = response.json()?;
        let refused = |reason: Option<String>| {
            Box::new(ApiError::LoginRefused {
                user: login.user.clone(),
                reason: self.client.redact(&reason.unwrap_or_else(|| answer.login.result.clone())),
            })
        };
        match answer.login.result.as_str() {
            "Success" => Ok(()),
            "Throttled" => Err(ConnectorError::RateLimited {
                retry_after: answer.login.wait.map(Duration::from_secs),
                source: refused(answer.login.reason.clone()),
            }),
            _ => Err(ConnectorError::Unauthorized { source: refused(answer.login.reason.clone()) }),
        }
    }

    /// Sends a request of a session: waits while the wiki asks for it, and logs in again when it has to.
    pub(crate) async fn call(&self, params: &Params) -> Result<Answer, ConnectorError> {
        self.session().await?;
        match (self.send(params, true).await, &self.settings.login) {
            (Err(error @ ConnectorError::Unauthorized { .. }), Some(login)) if is_session_lost(&error) => {
                tracing::warn!("the wiki ended the session; logging in again");
                self.log_in(login).await?;
                self.send(params, true).await
            }
            (result, _) => result,
        }
    }

    /// Sends a request, again as long as the wiki asks to wait.
    async fn send(&self, params: &Params, assert: bool) -> Result<Answer, ConnectorError> {
        let api_url = self.api_url().await?;
        let mut all = format_params(params.clone());
        all.push(("maxlag".into(), self.settings.maxlag_secs.to_string()));
        if assert && self.settings.login.is_some() {
            all.push(("assert".into(), "user".into()));
        }
        let size: usize = all.iter().map(|(name, value)| name.len() + value.len() * 3 / 2 + 2).sum();
        let request = if size > MAX_URL_BYTES {
            self.client.post(api_url).form(all).idempotent()
        } else {
            with_params(self.client.get(api_url), &all)
        };
        let started = Instant::now();
        loop {
            let response = request.send().await?;
            let envelope = envelope(&response)?;
            envelope.warnings.iter().for_each(|warnings| self.warn(warnings));
            let Some(error) = &envelope.error else {
                return Ok(Answer::new(response, envelope));
            };
            let asked = response.header("retry-after").and_then(|text| text.trim().parse().ok());
            let pause = asked.map_or(DEFAULT_PAUSE, Duration::from_secs);
            let waits = judge(&error.code) == Verdict::Wait;
            if !waits || started.elapsed() + pause > self.settings.lag_patience {
                let info = self.client.redact(&error.info);
                return Err(fault(response.request, &error.code, &info, waits.then_some(pause)));
            }
            tracing::warn!(code = error.code, pause_secs = pause.as_secs(), "the wiki asks to wait");
            tokio::time::sleep(pause).await;
        }
    }

    fn warn(&self, warnings: &serde_json::Value) {
        for text in warning_texts(warnings) {
            let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
            if warned.insert(text.clone()) {
                tracing::warn!(warning = text, "the wiki warns");
            }
        }
    }

    /// Where the ids of revisions stand; asked once.
    pub(crate) async fn revision_bounds(&self) -> Result<RevisionBounds, ConnectorError> {
        self.bounds.get_or_try_init(|| self.find_bounds()).await.copied()
    }

    async fn find_bounds(&self) -> Result<RevisionBounds, ConnectorError> {
        let session = self.session().await?;
        let newest_stored = |limit: usize, from: Option<DateTime<Utc>>| async move {
            let mut query = params! {
                "action" => "query", "list" => "allrevisions", "arvprop" => "ids", "arvdir" => "older",
                "arvlimit" => limit,
            };
            query.extend(from.map(|at| ("arvstart".to_owned(), api_time(at))));
            Ok::<_, ConnectorError>(ids(&self.call(&query).await?.query()?).max().unwrap_or(0))
        };
        let settled = newest_stored(1, Some(session.now - SETTLED_AFTER)).await?;
        let mut newest = newest_stored(IDS_PER_REQUEST, None).await?.max(settled);
        // The newest id need not belong to the newest revision: imported ones keep their old times.
        for _ in 0..MAX_PROBES {
            let probe: Vec<u64> = (newest + 1..).take(session.ids_per_request).collect();
            let missing = self.missing_ids(&probe).await?;
            let found = probe.len() - missing.len();
            newest = probe.into_iter().filter(|id| !missing.contains(id)).max().unwrap_or(newest);
            // A few new ones are today's edits, and there are always more of those.
            if found * 2 < session.ids_per_request {
                break;
            }
        }
        Ok(RevisionBounds { newest, settled })
    }

    /// Those of `ids` that no revision has.
    async fn missing_ids(&self, ids: &[u64]) -> Result<HashSet<u64>, ConnectorError> {
        let answer = self.call(&params! { "action" => "query", "revids" => joined(ids) }).await?;
        answer.query::<BadIds>().map(|query| query.badrevids.into_values().map(|bad| bad.revid).collect())
    }

    /// The lowest id among the first revisions at or after `start`; `None` where there is none.
    pub(crate) async fn first_revision_since(
        &self,
        start: DateTime<Utc>,
    ) -> Result<Option<u64>, ConnectorError> {
        let query = params! {
            "action" => "query", "list" => "allrevisions", "arvprop" => "ids", "arvdir" => "newer",
            "arvlimit" => "max", "arvstart" => api_time(start),
        };
        Ok(ids(&self.call(&query).await?.query()?).min())
    }
}

/// The member `query` of an answer to a request with `revids`.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct BadIds {
    #[serde(default)]
    pub(crate) badrevids: BTreeMap<String, BadId>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct BadId {
    pub(crate) revid: u64,
}

fn ids(query: &AllRevisions) -> impl Iterator<Item = u64> {
    query.allrevisions.iter().flat_map(|page| &page.revisions).map(|revision| revision.revid)
}

/// Ids as one value of a parameter.
pub(crate) fn joined(ids: &[u64]) -> String {
    ids.iter().map(u64::to_string).collect::<Vec<_>>().join("|")
}

/// An instant as the API takes it.
pub(crate) fn api_time(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn site_params() -> Params {
    params! {
        "action" => "query", "meta" => "siteinfo|userinfo", "siprop" => "general|namespaces",
        "uiprop" => "rights",
    }
}

fn format_params(mut params: Params) -> Params {
    params.extend(params! { "format" => "json", "formatversion" => 2 });
    params
}

fn with_params(request: headwater_http::Request, params: &Params) -> headwater_http::Request {
    params.iter().fold(request, |request, (name, value)| request.query(name, value))
}

fn envelope(response: &Response) -> Result<Envelope, ConnectorError> {
    response.json().map_err(|error| {
        if response.body.trim_ascii_start().starts_with(b"<") {
            response.unusable("answered a web page in place of JSON")
        } else {
            error
        }
    })
}

fn is_session_lost(error: &ConnectorError) -> bool {
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<ApiError>());
    matches!(cause, Some(ApiError::Fault { code, .. }) if judge(code) == Verdict::LogIn)
}

/// Where `api.php` may be, likeliest first, for the address of a wiki, of one of its pages, or of `api.php`.
fn candidates(base: &Url) -> Vec<String> {
    let mut root = base.clone();
    root.set_query(None);
    root.set_fragment(None);
    let path = base.path();
    if path.ends_with("/api.php") {
        return vec![root.to_string()];
    }
    let folder = ["/index.php", "/wiki/"]
        .iter()
        .filter_map(|entry| path.split_once(entry).map(|(before, _)| before))
        .min_by_key(|before| before.len())
        .unwrap_or(path)
        .trim_end_matches('/');
    let mut urls = Vec::new();
    let places: &[&str] = if folder.is_empty() { &["/w", "", "/wiki"] } else { &[folder, "/w", ""] };
    for place in places {
        root.set_path(&format!("{place}/api.php"));
        if !urls.contains(&root.to_string()) {
            urls.push(root.to_string());
        }
    }
    urls
}

#[cfg(test)]
mod tests {
    use url::Url;

    use super::candidates;

    fn check(base: &str, expect: &[&str]) {
        assert_eq!(candidates(&Url::parse(base).unwrap()), expect, "{base}");
    }

    #[test]
    fn the_api_is_looked_for_where_wikis_have_it() {
        let usual =
            ["https://en.wikipedia.org/w/api.php", "https://en.wikipedia.org/api.php"].map(String::from);
        for base in [
            "https://en.wikipedia.org",
            "https://en.wikipedia.org/wiki/Main_Page?action=history#x",
            "https://en.wikipedia.org/index.php/A/b",
        ] {
            assert_eq!(candidates(&Url::parse(base).unwrap())[..2], usual, "{base}");
        }
        check("https://h/w/api.php?action=query", &["https://h/w/api.php"]);
        check("https://h/w/", &["https://h/w/api.php", "https://h/api.php"]);
        check(
            "https://h:8080/club/index.php?title=A",
            &["https://h:8080/club/api.php", "https://h:8080/w/api.php", "https://h:8080/api.php"],
        );
    }
}
