use std::time::Duration;

use chrono::{DateTime, NaiveDateTime, Utc};

use crate::error::Remedy;

/// When a failed request is sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// How often a request is sent at most, the first time included.
    pub max_attempts: u32,
    /// The longest pause before the second attempt; it doubles with each. The pause is drawn from zero to this.
    pub base: Duration,
    /// The longest pause that is drawn.
    pub cap: Duration,
    /// The longest pause that the source may ask for; longer ones are handed to the caller as
    /// [`ConnectorError::RateLimited`](headwater_connect::ConnectorError::RateLimited).
    pub max_retry_after: Duration,
    /// No attempt starts later than this after the first.
    pub max_elapsed: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            max_attempts: 5,
            base: Duration::from_millis(500),
            cap: Duration::from_secs(30),
            max_retry_after: Duration::from_secs(60),
            max_elapsed: Duration::from_secs(300),
        }
    }
}

impl RetryPolicy {
    /// Sends each request once.
    pub fn never() -> Self {
        Self { max_attempts: 1, ..Self::default() }
    }

    /// How long to wait before the next attempt, or `None` when there is none.
    ///
    /// `attempts` have been made in `elapsed`; `repeatable` says whether sending twice does no harm; `draw` gives
    /// a number from zero (inclusive) to one (exclusive).
    pub(crate) fn wait(
        &self,
        attempts: u32,
        elapsed: Duration,
        remedy: Remedy,
        repeatable: bool,
        draw: f64,
    ) -> Option<Duration> {
        let asked = match remedy {
            Remedy::None => return None,
            Remedy::NotSent => None,
            Remedy::Lost if repeatable => None,
            Remedy::Pause(asked) if repeatable => asked,
            Remedy::Lost | Remedy::Pause(_) => return None,
        };
        if attempts >= self.max_attempts || asked.is_some_and(|asked| asked > self.max_retry_after) {
            return None;
        }
        let wait = match asked {
            // Requests that were refused together do not come back together.
            Some(asked) => asked + self.base.min(asked / 10).mul_f64(draw),
            None => {
                let doubled = self.base.saturating_mul(2_u32.saturating_pow(attempts.saturating_sub(1)));
                doubled.min(self.cap).mul_f64(draw)
            }
        };
        (elapsed + wait <= self.max_elapsed).then_some(wait)
    }
}

/// Reads `Retry-After`: seconds, or a date in one of the three forms of RFC 9110 section 5.6.7. A date in the past
/// is no wait; what is neither is `None`.
pub(crate) fn parse_retry_after(text: &str, now: DateTime<Utc>) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let at = parse_http_date(text)?;
    Some((at - now).to_std().unwrap_or(Duration::ZERO))
}

/// Reads a date in one of the three forms of RFC 9110 section 5.6.7.
pub(crate) fn parse_http_date(text: &str) -> Option<DateTime<Utc>> {
    if let Ok(at) = DateTime::parse_from_rfc2822(text) {
        return Some(at.to_utc());
    }
    ["%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"]
        .iter()
        .find_map(|form| NaiveDateTime::parse_from_str(text, form).ok())
        .map(|at| at.and_utc())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{RetryPolicy, parse_http_date, parse_retry_after};
    use crate::error::Remedy;

    const SECOND: Duration = Duration::from_secs(1);

    fn policy() -> RetryPolicy {
        RetryPolicy {
            max_attempts: 4,
            base: SECOND,
            cap: 3 * SECOND,
            max_retry_after: 10 * SECOND,
            max_elapsed: 20 * SECOND,
        }
    }

    #[test]
    fn pauses_double_up_to_the_cap_and_end_with_the_attempts() {
        let wait = |attempts, draw| policy().wait(attempts, SECOND, Remedy::Lost, true, draw);
        assert_eq!(wait(1, 1.0), Some(SECOND));
        assert_eq!(wait(2, 1.0), Some(2 * SECOND));
        assert_eq!(wait(3, 1.0), Some(3 * SECOND));
        assert_eq!(wait(3, 0.5), Some(SECOND * 3 / 2));
        assert_eq!(wait(1, 0.0), Some(Duration::ZERO));
        assert_eq!(wait(4, 0.0), None);
        assert_eq!(policy().wait(u32::MAX - 1, SECOND, Remedy::Lost, true, 0.0), None);
    }

    #[test]
    fn a_pause_that_the_source_asked_for_is_kept_or_handed_on() {
        let wait = |asked: Duration, elapsed: Duration, draw| {
            policy().wait(1, elapsed, Remedy::Pause(Some(asked)), true, draw)
        };
        assert_eq!(wait(5 * SECOND, SECOND, 0.0), Some(5 * SECOND));
        assert!(wait(5 * SECOND, SECOND, 0.9).unwrap() > 5 * SECOND);
        assert_eq!(wait(11 * SECOND, SECOND, 0.0), None);
        assert_eq!(wait(5 * SECOND, 16 * SECOND, 0.0), None);
        assert_eq!(wait(Duration::MAX, SECOND, 0.5), None);
    }

    #[test]
    fn only_what_may_be_sent_twice_is_sent_twice() {
        let check = |remedy, repeatable, expect: bool| {
            let wait = policy().wait(1, SECOND, remedy, repeatable, 0.0);
            assert_eq!(wait.is_some(), expect, "{remedy:?} {repeatable}");
        };
        check(Remedy::None, true, false);
        check(Remedy::NotSent, false, true);
        check(Remedy::Lost, true, true);
        check(Remedy::Lost, false, false);
        check(Remedy::Pause(None), true, true);
        check(Remedy::Pause(None), false, false);
    }

    #[test]
    fn retry_after_is_read_in_every_form() {
        let now = parse_http_date("Sun, 06 Nov 1994 08:49:30 GMT").unwrap();
        let check = |text: &str, expect: Option<u64>| {
            assert_eq!(parse_retry_after(text, now), expect.map(Duration::from_secs), "{text}");
        };
        check("7", Some(7));
        check(" 7 ", Some(7));
        check("Sun, 06 Nov 1994 08:49:37 GMT", Some(7));
        check("Sunday, 06-Nov-94 08:49:37 GMT", Some(7));
        check("Sun Nov  6 08:49:37 1994", Some(7));
        check("Sun, 06 Nov 1994 08:49:00 GMT", Some(0));
        check("-1", None);
        check("nan", None);
        check("1e300", None);
        check("soon", None);
        check("", None);
    }
}
