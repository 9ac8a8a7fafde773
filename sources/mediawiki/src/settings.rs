use std::time::Duration;

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use headwater_connect::{ConnectorError, Options, Secret};
use url::Url;

/// What Wikimedia's etiquette names as a polite value, in seconds.
const DEFAULT_MAXLAG_SECS: i64 = 5;
const DEFAULT_LAG_PATIENCE_SECS: u64 = 60;
const DEFAULT_LOOKBACK_SECS: u32 = 60;
/// Rows of the last so many seconds are remembered in the offset, so that the number is bounded.
const MAX_LOOKBACK_SECS: u32 = 3600;

/// The connection's options.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) base: Url,
    pub(crate) login: Option<Login>,
    pub(crate) user_agent: String,
    /// The longest database lag at which the wiki is to answer.
    pub(crate) maxlag_secs: i64,
    /// How long one request is repeated while the wiki asks to wait.
    pub(crate) lag_patience: Duration,
}

#[derive(Debug, Clone)]
pub(crate) struct Login {
    pub(crate) user: String,
    pub(crate) password: Secret,
}

impl Settings {
    pub(crate) fn from_options(options: &Options) -> Result<Self, ConnectorError> {
        let Some(base) = given(options, "base_url") else {
            return Err(ConnectorError::MissingOption {
                name: "base_url".into(),
                hint: "the address of the wiki, such as https://en.wikipedia.org".into(),
            });
        };
        let base = Url::parse(base).map_err(|error| {
            let reason = format!("is not an address such as https://en.wikipedia.org: {error}");
            ConnectorError::invalid_option("base_url", reason)
        })?;
        if !matches!(base.scheme(), "http" | "https") || base.host_str().is_none() {
            return Err(ConnectorError::invalid_option("base_url", "must start with https:// or http://"));
        }
        let login = match (given(options, "user"), given(options, "bot_password")) {
            (None, None) => None,
            (Some(user), Some(password)) => {
                Some(Login { user: user.to_owned(), password: Secret::new(password) })
            }
            (user, _) => {
                let (name, other) =
                    if user.is_some() { ("bot_password", "user") } else { ("user", "bot_password") };
                return Err(ConnectorError::MissingOption {
                    name: name.into(),
                    hint: format!(
                        "`{other}` is set, so `{name}` must be too; Special:BotPasswords of the wiki gives both"
                    ),
                });
            }
        };
        let product = concat!("Headwater/", env!("CARGO_PKG_VERSION"));
        let user_agent = match given(options, "user_agent") {
            Some(contact) => format!("{contact} {product}"),
            None => product.to_owned(),
        };
        let maxlag_secs = number(options, "maxlag")?.unwrap_or(DEFAULT_MAXLAG_SECS);
        let patience = number(options, "lag_patience_seconds")?.unwrap_or(DEFAULT_LAG_PATIENCE_SECS);
        Ok(Self { base, login, user_agent, maxlag_secs, lag_patience: Duration::from_secs(patience) })
    }
}

/// The options of one table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TableSettings {
    /// The namespaces to read; `None` is all of them.
    pub(crate) namespaces: Option<Vec<i64>>,
    pub(crate) content: bool,
    pub(crate) start: Option<DateTime<Utc>>,
    /// The categories to read, with or without the namespace; `None` is all of them.
    pub(crate) categories: Option<Vec<String>>,
    pub(crate) lookback: TimeDelta,
    /// How many records to ask for at once; `None` is what the wiki allows.
    pub(crate) page_size: Option<u32>,
}

impl TableSettings {
    pub(crate) fn from_options(options: &Options) -> Result<Self, ConnectorError> {
        let namespaces = match list(options, "namespaces", [',', '|'])? {
            Some(texts) => Some(texts.iter().map(|text| namespace(text)).collect::<Result<_, _>>()?),
            None => None,
        };
        let content = match given(options, "content").map(str::to_ascii_lowercase).as_deref() {
            None | Some("false") => false,
            Some("true") => true,
            Some(other) => {
                let reason = format!("is `{other}`; it must be true or false");
                return Err(ConnectorError::invalid_option("content", reason));
            }
        };
        let start = given(options, "start").map(instant).transpose()?;
        let lookback = number(options, "lookback_seconds")?.unwrap_or(DEFAULT_LOOKBACK_SECS);
        if lookback > MAX_LOOKBACK_SECS {
            let reason = format!("is {lookback}; it must be {MAX_LOOKBACK_SECS} at most");
            return Err(ConnectorError::invalid_option("lookback_seconds", reason));
        }
        let page_size: Option<u32> = number(options, "page_size")?;
        if page_size == Some(0) {
            return Err(ConnectorError::invalid_option("page_size", "is 0; it must be 1 or more"));
        }
        Ok(Self {
            namespaces,
            content,
            start,
            categories: list(options, "categories", ['|', '\n'])?,
            lookback: TimeDelta::seconds(i64::from(lookback)),
            page_size,
        })
    }

    pub(crate) fn wants_namespace(&self, id: i64) -> bool {
        self.namespaces.as_ref().is_none_or(|wanted| wanted.contains(&id))
    }

    /// The value of a `limit` parameter.
    pub(crate) fn limit(&self) -> String {
        self.page_size.map_or_else(|| "max".to_owned(), |size| size.to_string())
    }
}

/// The value of an option, where it is set to something.
fn given<'a>(options: &'a Options, name: &str) -> Option<&'a str> {
    options.get(name).map(str::trim).filter(|text| !text.is_empty())
}

fn number<T: std::str::FromStr>(options: &Options, name: &str) -> Result<Option<T>, ConnectorError> {
    let Some(text) = given(options, name) else { return Ok(None) };
    let bad = |_| ConnectorError::invalid_option(name, format!("is `{text}`; it must be a whole number"));
    text.parse().map(Some).map_err(bad)
}

/// A list: a JSON array of texts or numbers, or texts with one of `separators` between them.
fn list(options: &Options, name: &str, separators: [char; 2]) -> Result<Option<Vec<String>>, ConnectorError> {
    let Some(text) = given(options, name) else { return Ok(None) };
    let items: Vec<String> = if text.starts_with('[') {
        let values: Vec<serde_json::Value> = serde_json::from_str(text).map_err(|error| {
            ConnectorError::invalid_option(name, format!("starts with `[` but is no JSON array: {error}"))
        })?;
        let text = |value: serde_json::Value| match value {
            serde_json::Value::String(text) => text,
            other => other.to_string(),
        };
        values.into_iter().map(text).collect()
    } else {
        text.split(separators).map(|item| item.trim().to_owned()).filter(|item| !item.is_empty()).collect()
    };
    if items.is_empty() {
        return Err(ConnectorError::invalid_option(name, "is an empty list; leave it out to read all"));
    }
    Ok(Some(items))
}

fn namespace(text: &str) -> Result<i64, ConnectorError> {
    text.parse().ok().filter(|id| *id >= 0).ok_or_else(|| {
        let reason = format!(
            "holds `{text}`; namespaces are given by number, such as 0 (articles) or 14 (categories)"
        );
        ConnectorError::invalid_option("namespaces", reason)
    })
}

fn instant(text: &str) -> Result<DateTime<Utc>, ConnectorError> {
    let parsed = DateTime::parse_from_rfc3339(text).map(|at| at.to_utc()).ok().or_else(|| {
        let day: NaiveDate = text.parse().ok()?;
        Some(day.and_hms_opt(0, 0, 0)?.and_utc())
    });
    parsed.ok_or_else(|| {
        let reason = format!("is `{text}`; it must be a date or an instant, such as 2024-01-31T00:00:00Z");
        ConnectorError::invalid_option("start", reason)
    })
}

#[cfg(test)]
mod tests {
    use headwater_connect::Options;

    use super::{Settings, TableSettings};

    fn options(text: &[(&str, &str)]) -> Options {
        text.iter().copied().collect()
    }

    #[test]
    fn lists_are_json_or_plain() {
        let check = |text: &str, expect: &[i64]| {
            let settings = TableSettings::from_options(&options(&[("namespaces", text)])).unwrap();
            assert_eq!(settings.namespaces.as_deref(), Some(expect), "{text}");
        };
        check("[0, 14]", &[0, 14]);
        check("[\"0\",\"14\"]", &[0, 14]);
        check("0,14", &[0, 14]);
        check(" 0 | 14 ", &[0, 14]);
        check("3000", &[3000]);
        let titles = TableSettings::from_options(&options(&[("categories", "Paris, Texas|Ünï")])).unwrap();
        assert_eq!(titles.categories.unwrap(), ["Paris, Texas", "Ünï"]);
    }

    #[test]
    fn options_that_cannot_be_are_named() {
        let check = |name: &str, value: &str| {
            let error = TableSettings::from_options(&options(&[(name, value)])).unwrap_err();
            assert!(error.to_string().starts_with(&format!("option `{name}` ")), "{error}");
        };
        check("namespaces", "[0");
        check("namespaces", "Talk");
        check("namespaces", "-1");
        check("namespaces", "[]");
        check("namespaces", ",");
        check("content", "yes");
        check("start", "yesterday");
        check("start", "2024-13-01");
        check("page_size", "0");
        check("page_size", "-5");
        check("page_size", "many");
        check("lookback_seconds", "86400");
    }

    #[test]
    fn a_connection_needs_an_address_and_a_whole_login() {
        let check = |text: &[(&str, &str)], expect: &str| {
            let error = Settings::from_options(&options(text)).unwrap_err().to_string();
            assert!(error.contains(expect), "{error}");
        };
        check(&[], "`base_url` is missing");
        check(&[("base_url", "en.wikipedia.org")], "`base_url`");
        check(&[("base_url", "ftp://w")], "must start with https://");
        let login = |name| [("base_url", "https://w"), (name, "hunter2")];
        check(&login("user"), "`bot_password` is missing");
        check(&login("bot_password"), "`user` is missing");
        check(&[("base_url", "https://w"), ("maxlag", "x")], "`maxlag`");
        let set = Settings::from_options(&options(&[
            ("base_url", "https://w"),
            ("user", "A@b"),
            ("bot_password", "hunter2"),
            ("user_agent", "Club (me@example.org)"),
        ]))
        .unwrap();
        assert!(set.user_agent.starts_with("Club (me@example.org) Headwater/"), "{}", set.user_agent);
        assert!(!format!("{set:?}").contains("hunter2"), "{set:?}");
    }
}
