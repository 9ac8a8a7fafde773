//! Counts requests against the limits of a source.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;

use super::answer::Answer;
use super::description::{RateLimit, RetryAfter};

/// Which limit: that of an endpoint by its number, or that of the whole source.
pub(super) type LimitId = Option<usize>;

/// How far each limit is used up.
#[derive(Debug, Default)]
pub(super) struct Rates(Arc<Mutex<HashMap<LimitId, Used>>>);

#[derive(Debug, Default, Clone)]
struct Used {
    since: Option<DateTime<Utc>>,
    requests: u32,
    under_way: u32,
}

/// A request that was let through. Dropped, it is not under way any more.
#[derive(Debug)]
pub(super) struct Permit {
    rates: Arc<Mutex<HashMap<LimitId, Used>>>,
    id: LimitId,
    /// What the answer tells of the limit.
    pub(super) headers: Vec<(String, String)>,
    counts_not_modified: bool,
}

impl Rates {
    /// Forgets what was counted.
    pub(super) fn reset(&self) {
        for used in self.0.lock().unwrap_or_else(PoisonError::into_inner).values_mut() {
            used.since = None;
            used.requests = 0;
        }
    }

    /// Lets a request through, or refuses it with the answer of the source.
    pub(super) fn enter(&self, id: LimitId, limit: &RateLimit, now: DateTime<Utc>) -> Result<Permit, Answer> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let used = all.entry(id).or_default();
        let window = TimeDelta::from_std(limit.window).unwrap_or(TimeDelta::MAX);
        let over = |since: DateTime<Utc>| now.signed_duration_since(since) >= window || now < since;
        if used.since.is_none_or(over) {
            used.since = Some(now);
            used.requests = 0;
        }
        let left_of_window = used.since.map_or(window, |since| window - now.signed_duration_since(since));
        let crowded = limit.concurrent.is_some_and(|most| used.under_way >= most);
        if crowded || used.requests >= limit.requests {
            let wait = if crowded { TimeDelta::zero() } else { left_of_window };
            return Err(refusal(limit, limit.requests.saturating_sub(used.requests), wait, now));
        }
        used.requests += 1;
        used.under_way += 1;
        let headers = headers(limit, limit.requests - used.requests, left_of_window, now);
        Ok(Permit { rates: Arc::clone(&self.0), id, headers, counts_not_modified: limit.counts_not_modified })
    }
}

impl Permit {
    /// The answer has this status: one that nothing was changed may be free.
    pub(super) fn answered(&self, status: u16) {
        if status == 304 && !self.counts_not_modified {
            let mut all = self.rates.lock().unwrap_or_else(PoisonError::into_inner);
            let used = all.entry(self.id).or_default();
            used.requests = used.requests.saturating_sub(1);
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut all = self.rates.lock().unwrap_or_else(PoisonError::into_inner);
        let used = all.entry(self.id).or_default();
        used.under_way = used.under_way.saturating_sub(1);
    }
}

/// Whole seconds, so that a client which waits as long finds the window over.
fn seconds(wait: TimeDelta) -> i64 {
    let whole = wait.num_seconds();
    if wait > TimeDelta::seconds(whole) { whole + 1 } else { whole }
}

fn headers(limit: &RateLimit, left: u32, wait: TimeDelta, now: DateTime<Utc>) -> Vec<(String, String)> {
    let reset = seconds(wait) + if limit.reset_in_seconds { 0 } else { now.timestamp() };
    [
        (&limit.limit_header, limit.requests.to_string()),
        (&limit.remaining_header, left.to_string()),
        (&limit.reset_header, reset.to_string()),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name.clone()?, value)))
    .collect()
}

fn refusal(limit: &RateLimit, left: u32, wait: TimeDelta, now: DateTime<Utc>) -> Answer {
    let mut answer = Answer::refusal(&limit.refusal, || json!({"message": "too many requests"}));
    answer.headers.extend(headers(limit, left, wait, now));
    let wait = seconds(wait).max(1);
    match limit.retry_after {
        RetryAfter::Seconds => answer.headers.push(("retry-after".into(), wait.to_string())),
        RetryAfter::Date => {
            let at = now + TimeDelta::seconds(wait);
            answer.headers.push(("retry-after".into(), http_date(at)));
        }
        RetryAfter::None => {}
    }
    answer
}

/// The form of dates in headers.
pub(super) fn http_date(at: DateTime<Utc>) -> String {
    at.format("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use chrono::{DateTime, TimeDelta, Utc};

    use super::Rates;
    use crate::simulator::description::{RateLimit, Refusal, RetryAfter};

    fn limit(requests: u32, concurrent: Option<u32>) -> RateLimit {
        RateLimit {
            requests,
            window: Duration::from_secs(10),
            concurrent,
            retry_after: RetryAfter::Seconds,
            limit_header: Some("x-limit".into()),
            remaining_header: Some("x-left".into()),
            reset_header: Some("x-reset".into()),
            reset_in_seconds: true,
            counts_not_modified: false,
            refusal: Refusal { status: 429, body: None, headers: Vec::new() },
        }
    }

    fn at(millis: i64) -> DateTime<Utc> {
        DateTime::from_timestamp_millis(1_700_000_000_000).unwrap() + TimeDelta::milliseconds(millis)
    }

    fn header(headers: &[(String, String)], name: &str) -> Option<String> {
        headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.clone())
    }

    #[test]
    fn a_window_lets_so_many_through_and_tells() {
        let (rates, limit) = (Rates::default(), limit(2, None));
        let first = rates.enter(None, &limit, at(0)).unwrap();
        assert_eq!(header(&first.headers, "x-left").as_deref(), Some("1"));
        rates.enter(None, &limit, at(100)).unwrap();
        let refused = rates.enter(None, &limit, at(4500)).unwrap_err();
        assert_eq!(refused.status, 429);
        assert_eq!(header(&refused.headers, "retry-after").as_deref(), Some("6"));
        assert_eq!(header(&refused.headers, "x-reset").as_deref(), Some("6"));
        assert!(rates.enter(Some(1), &limit, at(4500)).is_ok());
        assert!(rates.enter(None, &limit, at(10_000)).is_ok());
    }

    #[test]
    fn what_was_not_modified_may_be_free() {
        let (rates, limit) = (Rates::default(), limit(1, None));
        rates.enter(None, &limit, at(0)).unwrap().answered(304);
        rates.enter(None, &limit, at(0)).unwrap().answered(200);
        assert!(rates.enter(None, &limit, at(0)).is_err());
    }

    #[test]
    fn so_many_at_the_same_time() {
        let (rates, limit) = (Rates::default(), limit(100, Some(1)));
        let first = rates.enter(None, &limit, at(0)).unwrap();
        let refused = rates.enter(None, &limit, at(0)).unwrap_err();
        assert_eq!(header(&refused.headers, "retry-after").as_deref(), Some("1"));
        drop(first);
        assert!(rates.enter(None, &limit, at(0)).is_ok());
    }
}
