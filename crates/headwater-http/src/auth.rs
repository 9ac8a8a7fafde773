use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use headwater_connect::{ConnectorError, Secret};
use reqwest::header::{AUTHORIZATION, HeaderName, HeaderValue};
use url::Url;

use crate::token::{TokenCell, TokenSource};

/// How a client proves who it is. Sent to the host of the base URL only.
#[derive(Debug, Clone)]
pub enum Auth {
    /// `Authorization: Bearer …`.
    Bearer(Secret),
    /// `Authorization: Basic …`.
    Basic {
        /// The user name.
        user: String,
        /// The password.
        password: Secret,
    },
    /// A header of the source's own, such as `X-Api-Key`.
    Header {
        /// The header's name.
        name: String,
        /// Its value.
        value: Secret,
    },
    /// A query parameter, such as `api_key`.
    Query {
        /// The parameter's name.
        name: String,
        /// Its value.
        value: Secret,
    },
    /// A token that expires, in `Authorization`; all clients with the same credential share it.
    Token(Arc<dyn TokenSource>),
}

impl<T: TokenSource + 'static> From<T> for Auth {
    fn from(source: T) -> Self {
        Auth::Token(Arc::new(source))
    }
}

/// Credentials in the form in which they are sent.
pub(crate) enum Credentials {
    Header(HeaderName, HeaderValue),
    Query(String, Secret),
    Token(Arc<TokenCell>),
}

impl Auth {
    /// Prepares what is sent.
    ///
    /// # Errors
    /// The name or the value cannot stand in a header. The value is not shown.
    pub(crate) fn prepare(&self) -> Result<Credentials, ConnectorError> {
        let (name, value) = match self {
            Auth::Bearer(token) => (AUTHORIZATION, format!("Bearer {}", token.expose())),
            Auth::Basic { user, password } => {
                let pair = STANDARD.encode(format!("{user}:{}", password.expose()));
                (AUTHORIZATION, format!("Basic {pair}"))
            }
            Auth::Header { name, value } => {
                let parsed = HeaderName::try_from(name.as_str()).map_err(|_| {
                    ConnectorError::invalid_option(
                        "auth",
                        format!("names `{name}`, which no header can have"),
                    )
                })?;
                (parsed, value.expose().to_owned())
            }
            Auth::Query { name, value } => return Ok(Credentials::Query(name.clone(), value.clone())),
            Auth::Token(source) => return Ok(Credentials::Token(TokenCell::shared(source))),
        };
        let mut value = HeaderValue::try_from(value).map_err(|_| {
            ConnectorError::invalid_option(
                "auth",
                "has a credential with characters that no header can hold (a line break at its end?)",
            )
        })?;
        value.set_sensitive(true);
        Ok(Credentials::Header(name, value))
    }

    /// The texts that must not come back in an error.
    pub(crate) fn secrets(&self) -> Vec<Secret> {
        match self {
            Auth::Bearer(value) | Auth::Header { value, .. } | Auth::Query { value, .. } => {
                vec![value.clone()]
            }
            Auth::Basic { user, password } => {
                let pair = STANDARD.encode(format!("{user}:{}", password.expose()));
                vec![password.clone(), Secret::new(pair)]
            }
            Auth::Token(source) => source.secrets(),
        }
    }

    /// The name of the query parameter that holds the credential, if one does.
    pub(crate) fn query_name(&self) -> Option<&str> {
        match self {
            Auth::Query { name, .. } => Some(name),
            _ => None,
        }
    }

    /// Takes user and password out of `url`.
    pub(crate) fn take_from_url(url: &mut Url) -> Option<Auth> {
        if url.username().is_empty() && url.password().is_none() {
            return None;
        }
        let decode = |text: &str| {
            let pairs = format!("x={}", text.replace('+', "%2B"));
            url::form_urlencoded::parse(pairs.as_bytes()).next().map(|(_, v)| v.into_owned())
        };
        let user = decode(url.username()).unwrap_or_default();
        let password = Secret::new(decode(url.password().unwrap_or_default()).unwrap_or_default());
        // Both fail only for URLs that cannot have a host, and those are refused before.
        let cleared = url.set_username("").and_then(|()| url.set_password(None));
        cleared.ok().map(|()| Auth::Basic { user, password })
    }
}
