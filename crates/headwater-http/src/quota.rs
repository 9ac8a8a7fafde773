//! What a source says of its limits in headers: how much is left, until when, and how much there is in how long.

use std::time::Duration;

use chrono::{DateTime, Utc};
use reqwest::header::{HeaderMap, HeaderName};

use crate::retry::parse_http_date;

/// A number from here on is an instant, in seconds since 1970, and no number of seconds.
const LEAST_INSTANT: f64 = 1e9;
/// From here on it is in milliseconds.
const LEAST_MILLISECONDS: f64 = 1e11;
/// Nothing is waited for that long.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);
/// Requests are spread evenly over a window of at most this length. Longer ones are for those who come first.
const SHORT_WINDOW: Duration = Duration::from_secs(10);

/// How each source that is known calls its headers.
const STEMS: [&str; 3] = ["x-ratelimit", "x-rate-limit", "ratelimit"];

/// What there is of a quota.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Quota {
    /// Requests that are left.
    pub(crate) remaining: Option<u64>,
    /// When there are all again.
    pub(crate) reset: Option<Duration>,
    /// So many requests in so long.
    pub(crate) policy: Option<(u64, Duration)>,
}

impl Quota {
    /// Reads the headers of an answer. `own` are the names of a source that has others than everybody else; `now` is
    /// what instants count from.
    pub(crate) fn read(
        headers: &HeaderMap,
        own: Option<&(HeaderName, HeaderName)>,
        now: DateTime<Utc>,
    ) -> Option<Self> {
        let text = |name: &str| headers.get(name)?.to_str().ok();
        let pair = |remaining: &str, reset: &str| {
            let remaining = count(text(remaining)?)?;
            Some(Quota {
                remaining: Some(remaining),
                reset: text(reset).and_then(|t| wait(t, now)),
                policy: None,
            })
        };
        let named = own.and_then(|(remaining, reset)| pair(remaining.as_str(), reset.as_str()));
        let usual =
            || STEMS.iter().find_map(|stem| pair(&format!("{stem}-remaining"), &format!("{stem}-reset")));
        let standard = || structured(text("ratelimit")?, now);
        let mut quota = named.or_else(usual).or_else(standard)?;
        quota.policy = text("ratelimit-policy").and_then(policy);
        Some(quota)
    }

    /// Whether nothing is left.
    pub(crate) fn is_used_up(&self) -> bool {
        self.remaining == Some(0)
    }

    /// Requests a second, where the window is so short that they are best spread over it.
    pub(crate) fn short_rate(&self) -> Option<f64> {
        let (requests, window) = self.policy?;
        #[allow(clippy::cast_precision_loss, reason = "no source takes so many requests")]
        let requests = requests as f64;
        (window <= SHORT_WINDOW && !window.is_zero() && requests > 0.0)
            .then(|| requests / window.as_secs_f64())
    }
}

/// A number of requests; a fraction of one is none.
fn count(text: &str) -> Option<u64> {
    let number = text.trim().parse::<f64>().ok().filter(|number| number.is_finite())?;
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it saturates, and is not negative"
    )]
    Some(number.max(0.0) as u64)
}

/// The time until an instant that is given as seconds from now, seconds or milliseconds since 1970, a date, or a
/// duration such as `6m0s`.
fn wait(text: &str, now: DateTime<Utc>) -> Option<Duration> {
    let text = text.trim();
    let wait = match text.parse::<f64>() {
        Ok(number) if number < LEAST_INSTANT => Duration::try_from_secs_f64(number).ok()?,
        Ok(number) => {
            let at = if number < LEAST_MILLISECONDS { number } else { number / 1000.0 };
            #[allow(clippy::cast_precision_loss, reason = "milliseconds since 1970 are exact in a float")]
            let now = now.timestamp_millis() as f64 / 1000.0;
            Duration::try_from_secs_f64((at - now).max(0.0)).ok()?
        }
        Err(_) => match DateTime::parse_from_rfc3339(text)
            .ok()
            .map(|at| at.to_utc())
            .or_else(|| parse_http_date(text))
        {
            Some(at) => (at - now).to_std().unwrap_or(Duration::ZERO),
            None => duration(text)?,
        },
    };
    (wait <= LONGEST).then_some(wait)
}

/// `1h2m3.5s`, `20ms`.
fn duration(text: &str) -> Option<Duration> {
    let (mut rest, mut sum) = (text, Duration::ZERO);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at_checked(digits)?;
        let units = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at_checked(units)?;
        let secs = match unit {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            "d" => 86400.0,
            _ => return None,
        };
        sum = sum.checked_add(Duration::try_from_secs_f64(number.parse::<f64>().ok()? * secs).ok()?)?;
        rest = after;
    }
    (!text.is_empty()).then_some(sum)
}

/// `RateLimit` in the forms that its drafts had: `limit=100, remaining=50, reset=5`, and `"default";r=50;t=5`, of
/// which there may be several; the tightest counts.
fn structured(text: &str, now: DateTime<Utc>) -> Option<Quota> {
    if let Some(remaining) = member(text, &[',', ';'], "remaining").and_then(count) {
        let reset = member(text, &[',', ';'], "reset").and_then(|reset| wait(reset, now));
        return Some(Quota { remaining: Some(remaining), reset, policy: None });
    }
    let items = text.split(',').filter_map(|item| {
        let remaining = member(item, &[';'], "r").and_then(count)?;
        let reset = member(item, &[';'], "t").and_then(|reset| wait(reset, now));
        Some(Quota { remaining: Some(remaining), reset, policy: None })
    });
    items.min_by_key(|quota| quota.remaining)
}

/// `"default";q=100;w=60`, or `100;w=60`; the one with the shortest window.
fn policy(text: &str) -> Option<(u64, Duration)> {
    let items = text.split(',').filter_map(|item| {
        let window =
            member(item, &[';'], "w").and_then(|window| window.parse().ok()).map(Duration::from_secs)?;
        let quota = member(item, &[';'], "q").or_else(|| item.split(';').next()).and_then(count)?;
        Some((quota, window))
    });
    items.min_by_key(|(_, window)| *window)
}

/// The value of member `name` of a list.
fn member<'a>(text: &'a str, separators: &[char], name: &str) -> Option<&'a str> {
    text.split(separators).find_map(|part| {
        let (found, value) = part.split_once('=')?;
        (found.trim() == name).then(|| value.trim().trim_matches('"'))
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use chrono::DateTime;
    use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

    use super::Quota;

    fn read(headers: &[(&'static str, &str)]) -> Option<Quota> {
        let now = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        let map: HeaderMap = headers
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap()))
            .collect();
        Quota::read(&map, None, now)
    }

    fn check(headers: &[(&'static str, &str)], remaining: u64, reset: Option<f64>) {
        let quota = read(headers).unwrap_or_else(|| panic!("{headers:?}"));
        let expect = (Some(remaining), reset.map(Duration::from_secs_f64));
        assert_eq!((quota.remaining, quota.reset), expect, "{headers:?}");
    }

    #[test]
    fn what_is_left_is_read_in_every_form() {
        check(&[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "30")], 0, Some(30.0));
        check(&[("x-ratelimit-remaining", "4999"), ("x-ratelimit-reset", "1800000900")], 4999, Some(900.0));
        check(&[("x-rate-limit-remaining", "7"), ("x-rate-limit-reset", "1800000900500")], 7, Some(900.5));
        check(&[("ratelimit-remaining", "1"), ("ratelimit-reset", "2027-01-15T08:00:09Z")], 1, Some(9.0));
        check(
            &[("ratelimit-remaining", "1"), ("ratelimit-reset", "Fri, 15 Jan 2027 08:00:09 GMT")],
            1,
            Some(9.0),
        );
        check(&[("x-ratelimit-remaining", "1"), ("x-ratelimit-reset", "6m0.5s")], 1, Some(360.5));
        check(&[("x-ratelimit-remaining", "1"), ("x-ratelimit-reset", "20ms")], 1, Some(0.02));
        check(&[("x-ratelimit-remaining", "0.4"), ("x-ratelimit-reset", "1000000001")], 0, Some(0.0));
        check(&[("x-ratelimit-remaining", "-2")], 0, None);
        check(&[("x-ratelimit-remaining", "1"), ("x-ratelimit-reset", "soon")], 1, None);
        check(&[("x-ratelimit-remaining", "1"), ("x-ratelimit-reset", "1e300")], 1, None);
        check(&[("ratelimit", "limit=100, remaining=50, reset=5")], 50, Some(5.0));
        check(&[("ratelimit", "\"default\";r=50;t=30")], 50, Some(30.0));
        check(&[("ratelimit", "\"hour\";r=50;t=3000, \"burst\";r=2;t=1")], 2, Some(1.0));
        check(&[("ratelimit", "\"default\";r=0")], 0, None);
        for none in [("ratelimit", "soon"), ("x-ratelimit-reset", "5"), ("x-ratelimit-remaining", "many")] {
            assert_eq!(read(&[none]), None, "{none:?}");
        }
    }

    #[test]
    fn a_short_window_is_a_rate() {
        let check = |policy: &str, expect: Option<f64>| {
            let quota = read(&[("ratelimit", "\"x\";r=5;t=1"), ("ratelimit-policy", policy)]).unwrap();
            assert_eq!(quota.short_rate(), expect, "{policy}");
        };
        check("\"default\";q=50;w=1", Some(50.0));
        check("100;w=10", Some(10.0));
        check("\"hour\";q=5000;w=3600, \"second\";q=20;w=1", Some(20.0));
        check("\"hour\";q=5000;w=3600", None);
        check("\"x\";q=0;w=1", None);
        check("\"x\";q=5;w=0", None);
        check("w=", None);
        check("", None);
    }
}
