use std::fmt;

use chrono::{DateTime, Datelike, NaiveDate, TimeDelta, Utc};
use headwater_connect::{ConnectorError, Options, Secret};
use url::Url;

const PUBLIC_API: &str = "https://api.github.com";
const MAX_PER_PAGE: u64 = 100;
const DEFAULT_LOOKBACK_SECS: u32 = 300;
const DEFAULT_RECORDS_PER_BATCH: u64 = 10_000;

/// The connection's options.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) base_url: String,
    pub(crate) credentials: Credentials,
}

/// Who reads.
#[derive(Debug, Clone)]
pub(crate) enum Credentials {
    /// Nobody: what is public, at few requests an hour.
    None,
    Token(Secret),
    App(App),
}

/// An installation of a GitHub App.
#[derive(Debug, Clone)]
pub(crate) struct App {
    pub(crate) id: String,
    pub(crate) installation_id: u64,
    pub(crate) private_key: Secret,
}

impl Settings {
    pub(crate) fn from_options(options: &Options) -> Result<Self, ConnectorError> {
        Ok(Self {
            base_url: base_url(given(options, "base_url").unwrap_or(PUBLIC_API))?,
            credentials: Credentials::from_options(options)?,
        })
    }
}

fn base_url(text: &str) -> Result<String, ConnectorError> {
    let bad = |reason: String| ConnectorError::invalid_option("base_url", reason);
    let url = Url::parse(text)
        .map_err(|error| bad(format!("is no address such as https://github.example.org/api/v3: {error}")))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(bad("must start with https:// or http://".into()));
    }
    if matches!(url.host_str(), Some("github.com" | "www.github.com")) {
        return Err(bad(format!("is the web site; the API is at {PUBLIC_API}")));
    }
    Ok(text.trim_end_matches('/').to_owned())
}

impl Credentials {
    fn from_options(options: &Options) -> Result<Self, ConnectorError> {
        let token = given(options, "token");
        let of_app = ["app_id", "installation_id", "private_key"].map(|name| (name, given(options, name)));
        let first = of_app.iter().find_map(|(name, value)| value.map(|_| *name));
        match (token, first) {
            (None, None) => Ok(Self::None),
            (Some(token), None) => Ok(Self::Token(Secret::new(token))),
            (Some(_), Some(name)) => {
                let reason = "is set, and `token` too; a connection signs in one way".to_owned();
                Err(ConnectorError::invalid_option(name, reason))
            }
            (None, Some(_)) => {
                let [app_id, installation_id, private_key] = of_app.map(|(name, value)| {
                    value.ok_or_else(|| ConnectorError::MissingOption {
                        name: name.into(),
                        hint: "a GitHub App needs `app_id`, `installation_id` and `private_key`".into(),
                    })
                });
                let installation = installation_id?;
                Ok(Self::App(App {
                    id: app_id?.to_owned(),
                    installation_id: installation.parse().map_err(|_| {
                        let reason = "must be a number; it ends the address of the installation's settings";
                        ConnectorError::invalid_option("installation_id", reason)
                    })?,
                    private_key: Secret::new(private_key?),
                }))
            }
        }
    }

    /// What the requests of one credential are counted by.
    pub(crate) fn secret(&self) -> Option<Secret> {
        match self {
            Self::None => None,
            Self::Token(token) => Some(token.clone()),
            Self::App(app) => {
                Some(Secret::new(format!("{} {}", app.installation_id, app.private_key.expose())))
            }
        }
    }
}

/// A repository by its full name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct RepoName {
    pub(crate) owner: String,
    pub(crate) name: String,
}

impl fmt::Display for RepoName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.owner, self.name)
    }
}

impl RepoName {
    pub(crate) fn new(owner: impl Into<String>, name: impl Into<String>) -> Self {
        Self { owner: owner.into(), name: name.into() }
    }

    /// Reads `owner/name`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (owner, name) = text.split_once('/')?;
        (is_account(owner) && is_repository(name)).then(|| Self::new(owner, name))
    }
}

/// The repositories to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Repos {
    Named(Vec<RepoName>),
    AllOf(String),
}

/// The organizations to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Orgs {
    Named(Vec<String>),
    /// Those that the credentials belong to.
    Own,
}

/// Which issues, pull requests and milestones to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Open,
    Closed,
    All,
}

impl State {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Closed => "closed",
            Self::All => "all",
        }
    }
}

/// The options of one table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TableSettings {
    owner: Option<String>,
    repos: Option<Vec<String>>,
    pub(crate) orgs: Option<Orgs>,
    pub(crate) state: State,
    /// Nothing that changed last before this.
    pub(crate) start: Option<DateTime<Utc>>,
    pub(crate) lookback: TimeDelta,
    /// A read ends after so many records, where it has moved on.
    pub(crate) records_per_batch: u64,
    pub(crate) per_page: u64,
}

impl TableSettings {
    pub(crate) fn from_options(options: &Options) -> Result<Self, ConnectorError> {
        let owner = given(options, "owner").map(|owner| account("owner", owner)).transpose()?;
        let repos = match list(options, "repo")? {
            Some(names) if names.iter().any(|name| name == "*") => {
                if names.len() > 1 {
                    let reason = "holds `*` beside names; `*` alone reads all of `owner`";
                    return Err(ConnectorError::invalid_option("repo", reason));
                }
                None
            }
            names => names,
        };
        let orgs = match list(options, "org")? {
            None => None,
            Some(names) if names == ["*"] => Some(Orgs::Own),
            Some(names) => {
                Some(Orgs::Named(names.iter().map(|name| account("org", name)).collect::<Result<_, _>>()?))
            }
        };
        let state = match given(options, "state").map(str::to_ascii_lowercase).as_deref() {
            None | Some("all") => State::All,
            Some("open") => State::Open,
            Some("closed") => State::Closed,
            Some(other) => {
                let reason = format!("is `{other}`; it must be open, closed or all");
                return Err(ConnectorError::invalid_option("state", reason));
            }
        };
        let lookback = number(options, "lookback_seconds", 0, 366 * 86_400)?;
        let lookback = lookback.and_then(|secs| u32::try_from(secs).ok()).unwrap_or(DEFAULT_LOOKBACK_SECS);
        let records = number(options, "max_records_per_batch", 1, u64::from(u32::MAX))?;
        let records_per_batch = records.unwrap_or(DEFAULT_RECORDS_PER_BATCH);
        let per_page = number(options, "per_page", 1, MAX_PER_PAGE)?.unwrap_or(MAX_PER_PAGE);
        let settings = Self {
            owner,
            repos,
            orgs,
            state,
            start: given(options, "start_date").map(instant).transpose()?,
            lookback: TimeDelta::seconds(i64::from(lookback)),
            records_per_batch,
            // A page larger than the batch would be fetched to be thrown away.
            per_page: per_page.min(records_per_batch),
        };
        if settings.repos.is_some() {
            settings.repos()?;
        }
        Ok(settings)
    }

    /// `at`, or the start where that is later.
    pub(crate) fn not_before_start(&self, at: DateTime<Utc>) -> DateTime<Utc> {
        self.start.map_or(at, |start| start.max(at))
    }

    /// The repositories that the options name.
    pub(crate) fn repos(&self) -> Result<Repos, ConnectorError> {
        let owner = || {
            self.owner.clone().ok_or_else(|| ConnectorError::MissingOption {
                name: "owner".into(),
                hint: "the user or organization whose repositories are read, such as `octo-org`".into(),
            })
        };
        let Some(names) = &self.repos else { return Ok(Repos::AllOf(owner()?)) };
        let mut repos = Vec::new();
        for name in names {
            let repo = match RepoName::parse(name) {
                Some(full) => full,
                None if is_repository(name) => RepoName::new(owner()?, name),
                None => {
                    let reason = format!("holds `{name}`, which is neither `name` nor `owner/name`");
                    return Err(ConnectorError::invalid_option("repo", reason));
                }
            };
            if !repos.contains(&repo) {
                repos.push(repo);
            }
        }
        Ok(Repos::Named(repos))
    }

    /// The organizations that the options name: `org`, or the owner.
    pub(crate) fn orgs(&self) -> Orgs {
        match (&self.orgs, &self.owner) {
            (Some(orgs), _) => orgs.clone(),
            (None, Some(owner)) => Orgs::Named(vec![owner.clone()]),
            (None, None) => Orgs::Own,
        }
    }

    /// The option that named the organizations.
    pub(crate) fn org_option(&self) -> &'static str {
        if self.orgs.is_none() && self.owner.is_some() { "owner" } else { "org" }
    }
}

/// The value of an option, where it is set to something.
fn given<'a>(options: &'a Options, name: &str) -> Option<&'a str> {
    options.get(name).map(str::trim).filter(|text| !text.is_empty())
}

fn number(options: &Options, name: &str, min: u64, max: u64) -> Result<Option<u64>, ConnectorError> {
    let Some(text) = given(options, name) else { return Ok(None) };
    match text.parse() {
        Ok(number) if (min..=max).contains(&number) => Ok(Some(number)),
        _ => {
            let reason = format!("is `{text}`; it must be a whole number from {min} to {max}");
            Err(ConnectorError::invalid_option(name, reason))
        }
    }
}

/// A list: a JSON array of texts, or texts with commas between them.
fn list(options: &Options, name: &str) -> Result<Option<Vec<String>>, ConnectorError> {
    let Some(text) = given(options, name) else { return Ok(None) };
    let items: Vec<String> = if text.starts_with('[') {
        serde_json::from_str(text).map_err(|error| {
            let reason = format!("starts with `[` but is no JSON array of texts: {error}");
            ConnectorError::invalid_option(name, reason)
        })?
    } else {
        text.split(',').map(str::to_owned).collect()
    };
    let items: Vec<String> =
        items.iter().map(|item| item.trim().to_owned()).filter(|i| !i.is_empty()).collect();
    if items.is_empty() {
        return Err(ConnectorError::invalid_option(name, "is an empty list; leave it out to read all"));
    }
    Ok(Some(items))
}

fn account(option: &str, name: &str) -> Result<String, ConnectorError> {
    if is_account(name) {
        return Ok(name.to_owned());
    }
    let reason = format!("is `{name}`, which cannot be the name of a user or an organization");
    Err(ConnectorError::invalid_option(option, reason))
}

fn is_account(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
}

fn is_repository(name: &str) -> bool {
    !matches!(name, "" | "." | "..")
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

fn instant(text: &str) -> Result<DateTime<Utc>, ConnectorError> {
    let parsed = DateTime::parse_from_rfc3339(text).map(|at| at.to_utc()).ok().or_else(|| {
        let day: NaiveDate = text.parse().ok()?;
        Some(day.and_hms_opt(0, 0, 0)?.and_utc())
    });
    parsed.filter(|at| (1970..=9999).contains(&at.year())).ok_or_else(|| {
        let reason = format!("is `{text}`; it must be a date or an instant, such as 2024-01-31T00:00:00Z");
        ConnectorError::invalid_option("start_date", reason)
    })
}

#[cfg(test)]
mod tests {
    use headwater_connect::Options;

    use super::{Credentials, Orgs, RepoName, Repos, Settings, TableSettings};

    fn options(text: &[(&str, &str)]) -> Options {
        text.iter().copied().collect()
    }

    #[test]
    fn repositories_are_one_or_several_or_all() {
        let check = |text: &[(&str, &str)], expect: &[&str]| {
            let repos = TableSettings::from_options(&options(text)).unwrap().repos().unwrap();
            let expect = expect.iter().map(|name| RepoName::parse(name).unwrap()).collect();
            assert_eq!(repos, Repos::Named(expect), "{text:?}");
        };
        check(&[("owner", "o"), ("repo", "a")], &["o/a"]);
        check(&[("owner", "o"), ("repo", " a , b.c,a ")], &["o/a", "o/b.c"]);
        check(&[("owner", "o"), ("repo", r#"["a", "other/b"]"#)], &["o/a", "other/b"]);
        check(&[("repo", "o/a")], &["o/a"]);
        for all in [&[("owner", "o")][..], &[("owner", "o"), ("repo", "*")], &[("owner", "o"), ("repo", "")]]
        {
            let repos = TableSettings::from_options(&options(all)).unwrap().repos().unwrap();
            assert_eq!(repos, Repos::AllOf("o".into()), "{all:?}");
        }
    }

    #[test]
    fn organizations_are_named_or_taken_from_the_owner_or_the_credentials() {
        let check = |text: &[(&str, &str)], expect: Orgs| {
            assert_eq!(TableSettings::from_options(&options(text)).unwrap().orgs(), expect, "{text:?}");
        };
        check(&[("org", "a,b"), ("owner", "o")], Orgs::Named(vec!["a".into(), "b".into()]));
        check(&[("owner", "o")], Orgs::Named(vec!["o".into()]));
        check(&[("org", "*"), ("owner", "o")], Orgs::Own);
        check(&[], Orgs::Own);
    }

    #[test]
    fn options_that_cannot_be_are_named() {
        let check = |name: &str, value: &str| {
            let set = options(&[("owner", "o"), (name, value)]);
            let error = TableSettings::from_options(&set).unwrap_err().to_string();
            assert!(error.starts_with(&format!("option `{name}` ")), "{error}");
        };
        check("owner", "o/p");
        check("owner", "o p");
        check("repo", "a b");
        check("repo", "a/b/c");
        check("repo", "..");
        check("repo", "a,*");
        check("repo", "[1]");
        check("repo", ",");
        check("org", "a,b c");
        check("state", "merged");
        check("start_date", "yesterday");
        check("start_date", "2024-13-01");
        check("start_date", "-262143-01-01");
        check("lookback_seconds", "-1");
        check("lookback_seconds", "99999999999");
        check("max_records_per_batch", "0");
        check("max_records_per_batch", "many");
        check("per_page", "0");
        check("per_page", "101");
    }

    #[test]
    fn a_name_without_its_owner_is_told_of() {
        let error = TableSettings::from_options(&options(&[("repo", "a")])).unwrap_err();
        assert_eq!(error.to_string(), "option `owner` is missing");
        let error = TableSettings::from_options(&options(&[])).unwrap().repos().unwrap_err();
        assert_eq!(error.to_string(), "option `owner` is missing");
    }

    #[test]
    fn a_connection_signs_in_one_way() {
        let check = |text: &[(&str, &str)], expect: &str| {
            let error = Settings::from_options(&options(text)).unwrap_err().to_string();
            assert!(error.starts_with(expect), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        };
        check(&[("base_url", "github.example.org")], "option `base_url` ");
        check(&[("base_url", "ftp://h")], "option `base_url` ");
        check(&[("base_url", "https://github.com/acme")], "option `base_url` is the web site");
        check(&[("app_id", "1")], "option `installation_id` is missing");
        check(&[("installation_id", "1"), ("private_key", "hunter2")], "option `app_id` is missing");
        let app = [("app_id", "1"), ("private_key", "hunter2"), ("installation_id", "x")];
        check(&app, "option `installation_id` must be a number");
        check(&[("app_id", "1"), ("token", "hunter2")], "option `app_id` is set, and `token` too");
        let set = Settings::from_options(&options(&[("token", "hunter2")])).unwrap();
        assert!(matches!(set.credentials, Credentials::Token(_)));
        assert!(!format!("{set:?}").contains("hunter2"), "{set:?}");
    }
}
