//! Keeps secrets out of what is written down.

use headwater_connect::Secret;
use headwater_spec::is_secret_name;
use serde_json::Value;
use url::Url;

/// What stands in place of a secret.
pub(super) const REDACTED: &str = "REDACTED";

/// Shorter values are found in ordinary text, and protect nothing.
const SHORTEST: usize = 4;

/// Knows the secrets of a connection, and the names that secrets have.
#[derive(Clone, Default)]
pub(super) struct Redactor {
    /// Longest first, so that one inside of another does not leave its rest.
    values: Vec<String>,
}

impl Redactor {
    pub(super) fn new(secrets: &[Secret]) -> Self {
        let mut values: Vec<String> = Vec::new();
        for secret in secrets.iter().map(Secret::expose).filter(|secret| secret.len() >= SHORTEST) {
            let encoded: String = url::form_urlencoded::byte_serialize(secret.as_bytes()).collect();
            let escaped = Value::from(secret).to_string();
            let escaped = escaped.trim_matches('"').to_owned();
            values.extend([secret.to_owned(), encoded, escaped]);
        }
        values.sort_by(|a, b| b.len().cmp(&a.len()).then(a.cmp(b)));
        values.dedup();
        Self { values }
    }

    /// A text without the secrets that are known, and without those in the URLs that it holds.
    pub(super) fn text(&self, text: &str) -> String {
        if is_signed_token(text) {
            return REDACTED.to_owned();
        }
        let mut out = urls(text, |url| self.url(url));
        for value in &self.values {
            if out.contains(value.as_str()) {
                out = out.replace(value.as_str(), REDACTED);
            }
        }
        out
    }

    /// A parameter of a query or a form.
    pub(super) fn parameter(&self, name: &str, value: &str) -> String {
        if is_secret_parameter(name) && !value.is_empty() { REDACTED.to_owned() } else { self.text(value) }
    }

    pub(super) fn header(&self, name: &str, value: &str) -> String {
        let name = name.to_ascii_lowercase();
        let secret = matches!(
            name.as_str(),
            "authorization" | "proxy-authorization" | "cookie" | "set-cookie" | "authentication-info"
        );
        if secret || is_secret(&name) { REDACTED.to_owned() } else { self.text(value) }
    }

    pub(super) fn json(&self, value: &mut Value) {
        match value {
            Value::Object(fields) => {
                for (name, value) in fields.iter_mut() {
                    let holds = match value {
                        Value::String(text) => !text.is_empty(),
                        Value::Number(_) => true,
                        _ => false,
                    };
                    if holds && is_secret(name) { *value = REDACTED.into() } else { self.json(value) }
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.json(item)),
            Value::String(text) => *text = self.text(text),
            _ => {}
        }
    }

    fn url(&self, url: &str) -> String {
        let Ok(mut parsed) = Url::parse(url) else { return url.to_owned() };
        let named = !parsed.username().is_empty() || parsed.password().is_some();
        let holds = parsed.query_pairs().any(|(name, value)| is_secret_parameter(&name) && !value.is_empty());
        if !named && !holds {
            return url.to_owned();
        }
        // A URL with a host has room for both.
        if parsed.set_username("").is_err() || parsed.set_password(None).is_err() {
            return REDACTED.to_owned();
        }
        let pairs: Vec<(String, String)> =
            parsed.query_pairs().map(|(n, v)| (n.to_string(), self.parameter(&n, &v))).collect();
        if !pairs.is_empty() {
            parsed.query_pairs_mut().clear().extend_pairs(pairs);
        }
        parsed.into()
    }
}

/// Says whether a value under this name is a secret. A token that says where to go on is none.
fn is_secret(name: &str) -> bool {
    let plain: String =
        name.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
    let goes_on =
        ["page", "next", "prev", "contin", "skip", "cursor", "sync", "delta", "resume", "start", "scroll"];
    if plain.ends_with("token") && goes_on.iter().any(|part| plain.contains(part)) {
        return false;
    }
    is_secret_name(name)
        || matches!(
            plain.as_str(),
            "authorization"
                | "bearer"
                | "jwt"
                | "sessionid"
                | "sid"
                | "signature"
                | "sig"
                | "assertion"
                | "clientassertion"
                | "otp"
                | "tokensecret"
                | "authcode"
                | "codeverifier"
        )
}

/// As [`is_secret`], for names that mean something else in a record.
fn is_secret_parameter(name: &str) -> bool {
    is_secret(name) || matches!(name.to_ascii_lowercase().as_str(), "key" | "code" | "auth")
}

/// Says whether a text is a signed token (a JWT), whatever its name.
fn is_signed_token(text: &str) -> bool {
    text.len() > 40 && text.starts_with("eyJ") && text.matches('.').count() == 2 && !text.contains(' ')
}

/// Replaces the URLs in a text.
fn urls(text: &str, replace: impl Fn(&str) -> String) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("http://").into_iter().chain(rest.find("https://")).min() {
        let (before, url) = rest.split_at(at);
        let end = url.find(|c: char| c.is_whitespace() || matches!(c, '<' | '>' | '"' | '\'' | '\\'));
        let (url, after) = url.split_at(end.unwrap_or(url.len()));
        out.push_str(before);
        out.push_str(&replace(url));
        rest = after;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use headwater_connect::Secret;
    use serde_json::json;

    use super::{Redactor, is_secret};

    #[test]
    fn names_tell_secrets_from_places_to_go_on() {
        for name in
            ["access_token", "client_secret", "X-Api-Key", "refreshToken", "password", "Authorization"]
        {
            assert!(is_secret(name), "{name}");
        }
        for name in ["next_page_token", "pageToken", "continuationToken", "$skiptoken", "id", "key", "tokens"]
        {
            assert!(!is_secret(name), "{name}");
        }
    }

    #[test]
    fn secrets_are_found_wherever_they_stand() {
        let redactor = Redactor::new(&[Secret::new("hun/ter2"), Secret::new("abc")]);
        let check = |text: &str, expect: &str| assert_eq!(redactor.text(text), expect, "{text}");
        check("a hun/ter2 b", "a REDACTED b");
        check("x=hun%2Fter2", "x=REDACTED");
        check("abc", "abc");
        check(
            "<https://h/a?page=2&api_key=zzz>; rel=\"next\"",
            "<https://h/a?page=2&api_key=REDACTED>; rel=\"next\"",
        );
        check("https://u:p@h/a", "https://h/a");
        check("https://h/a?page=2", "https://h/a?page=2");
        let mut value = json!({"access_token": "t", "expires_in": 5, "list": [{"password": 1, "note": "hun/ter2"}],
            "token": "", "next_page_token": "n", "token_type": "bearer"});
        redactor.json(&mut value);
        assert_eq!(
            value,
            json!({"access_token": "REDACTED", "expires_in": 5,
                "list": [{"password": "REDACTED", "note": "REDACTED"}],
                "token": "", "next_page_token": "n", "token_type": "bearer"})
        );
        assert_eq!(redactor.header("Set-Cookie", "a=b"), "REDACTED");
        assert_eq!(redactor.parameter("key", "zzz"), "REDACTED");
    }
}
