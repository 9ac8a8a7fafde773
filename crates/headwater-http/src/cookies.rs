use chrono::{DateTime, Utc};
use url::Url;

use crate::retry::parse_http_date;

/// Cookies that a host may set, so that a hostile one cannot fill the memory.
const MAX_COOKIES: usize = 100;
const MAX_COOKIE_BYTES: usize = 4096;

/// Keeps the cookies of a session. Stricter than a browser: a cookie goes back to the host that set it only,
/// whatever its `Domain` says.
#[derive(Default)]
pub(crate) struct CookieJar {
    cookies: Vec<Cookie>,
}

struct Cookie {
    host: String,
    name: String,
    value: String,
    path: String,
    secure: bool,
    expires_at: Option<DateTime<Utc>>,
}

impl CookieJar {
    /// Takes the text of one `Set-Cookie` header. What cannot be read is left out, as a browser does.
    pub(crate) fn store(&mut self, url: &Url, header: &str, now: DateTime<Utc>) {
        let mut parts = header.split(';').map(str::trim);
        let Some((name, value)) = parts.next().and_then(|pair| pair.split_once('=')) else { return };
        let Some(host) = url.host_str() else { return };
        let (name, value) = (name.trim(), value.trim());
        if name.is_empty() || header.len() > MAX_COOKIE_BYTES {
            return;
        }
        let mut cookie = Cookie {
            host: host.to_owned(),
            name: name.to_owned(),
            value: value.to_owned(),
            path: default_path(url),
            secure: false,
            expires_at: None,
        };
        let mut max_age = None;
        for attribute in parts {
            let (key, value) = attribute.split_once('=').unwrap_or((attribute, ""));
            match key.trim().to_ascii_lowercase().as_str() {
                "path" if value.starts_with('/') => cookie.path = value.to_owned(),
                "secure" => cookie.secure = true,
                "max-age" => max_age = value.trim().parse::<i64>().ok(),
                "expires" => {
                    cookie.expires_at =
                        parse_http_date(value).or_else(|| parse_http_date(&value.replace('-', " ")));
                }
                _ => {}
            }
        }
        if let Some(seconds) = max_age {
            let age = chrono::TimeDelta::try_seconds(seconds.max(0));
            cookie.expires_at = age.and_then(|age| now.checked_add_signed(age));
        }
        self.cookies.retain(|c| (&c.host, &c.name, &c.path) != (&cookie.host, &cookie.name, &cookie.path));
        if cookie.is_alive(now) && self.cookies.len() < MAX_COOKIES {
            self.cookies.push(cookie);
        }
    }

    /// The `Cookie` header for a request to `url`, if any cookie is for it.
    pub(crate) fn header(&self, url: &Url, now: DateTime<Utc>) -> Option<String> {
        let sent = self.cookies.iter().filter(|c| c.is_for(url) && c.is_alive(now));
        let pairs = sent.map(|c| format!("{}={}", c.name, c.value)).collect::<Vec<_>>();
        (!pairs.is_empty()).then(|| pairs.join("; "))
    }
}

impl Cookie {
    fn is_alive(&self, now: DateTime<Utc>) -> bool {
        self.expires_at.is_none_or(|at| at > now)
    }

    fn is_for(&self, url: &Url) -> bool {
        let below = url
            .path()
            .strip_prefix(self.path.as_str())
            .is_some_and(|rest| rest.is_empty() || self.path.ends_with('/') || rest.starts_with('/'));
        url.host_str() == Some(self.host.as_str()) && below && (!self.secure || url.scheme() == "https")
    }
}

/// RFC 6265 section 5.1.4.
fn default_path(url: &Url) -> String {
    match url.path().rsplit_once('/') {
        Some((folder, _)) if !folder.is_empty() => folder.to_owned(),
        _ => "/".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, TimeDelta};
    use url::Url;

    use super::CookieJar;

    fn check(set: &[&str], url: &str, expect: Option<&str>) {
        let now = DateTime::UNIX_EPOCH + TimeDelta::days(10_000);
        let from = Url::parse("https://wiki.example/w/api.php").unwrap();
        let mut jar = CookieJar::default();
        for header in set {
            jar.store(&from, header, now);
        }
        assert_eq!(jar.header(&Url::parse(url).unwrap(), now).as_deref(), expect, "{set:?} {url}");
    }

    #[test]
    fn cookies_go_back_to_where_they_came_from_and_nowhere_else() {
        let api = "https://wiki.example/w/api.php";
        check(&["a=1; path=/; HttpOnly", "b=2; Path=/w"], api, Some("a=1; b=2"));
        check(&["a=1; path=/", "a=3; path=/"], api, Some("a=3"));
        check(&["a=1; domain=.example"], "https://other.example/w/api.php", None);
        check(&["a=1; secure"], "http://wiki.example/w/api.php", None);
        check(&["a=1"], "https://wiki.example/wide", None);
        check(&["a=1"], "https://wiki.example/w/x/y", Some("a=1"));
        check(&["a=x=y"], api, Some("a=x=y"));
    }

    #[test]
    fn cookies_end() {
        let api = "https://wiki.example/w/api.php";
        check(&["a=1", "a=; max-age=0"], api, None);
        check(&["a=1", "a=; expires=Thu, 01-Jan-1970 00:00:01 GMT"], api, None);
        check(&["a=1; expires=Thu, 01 Jan 1970 00:00:01 GMT; max-age=60"], api, Some("a=1"));
        check(&["a=1; max-age=9223372036854775807"], api, Some("a=1"));
        check(&["a=1; expires=whenever"], api, Some("a=1"));
    }

    #[test]
    fn rubbish_and_floods_are_left_out() {
        let api = "https://wiki.example/w/api.php";
        check(&["", "=x", "novalue", ";;;"], api, None);
        let long = format!("a={}", "x".repeat(5000));
        check(&[&long], api, None);
        let many: Vec<String> = (0..500).map(|i| format!("c{i}=1")).collect();
        let now = DateTime::UNIX_EPOCH;
        let (url, mut jar) = (Url::parse(api).unwrap(), CookieJar::default());
        many.iter().for_each(|header| jar.store(&url, header, now));
        assert_eq!(jar.header(&url, now).unwrap().split("; ").count(), 100);
    }
}
