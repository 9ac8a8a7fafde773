//! What goes wrong on purpose, and when.

use std::str::FromStr;
use std::time::Duration;

use serde_json::Value;

/// Something that a source does wrong now and then.
#[derive(Debug, Clone, PartialEq)]
pub struct Fault {
    pub(super) kind: FaultKind,
    pub(super) when: When,
    /// The path of the endpoint, as its description writes it; any where it is `None`.
    pub(super) endpoint: Option<String>,
    pub(super) retry_after: Option<Duration>,
    pub(super) body: Option<Value>,
}

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FaultKind {
    /// The source answers with this status, and does nothing.
    Status(u16),
    /// The answer starts this much later.
    Delay(Duration),
    /// The body breaks off in its middle, short of the length that was announced.
    TruncatedBody,
    /// The connection is reset in place of an answer.
    Reset,
    /// The answer is whole, and its body is no JSON.
    InvalidJson,
    /// The body comes in pieces, over this time.
    SlowBody(Duration),
}

/// The names of the kinds, as descriptions write them.
pub(super) const KINDS: &[&str] = &["status", "delay", "truncate", "reset", "invalid_json", "slow_body"];

/// Which requests a fault befalls. Each fault counts the requests that it could befall, from 1.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum When {
    /// Each.
    Always,
    /// Each with this probability, from 0 to 1, drawn from the seed.
    Probability(f64),
    /// One.
    Nth(u64),
    /// Each that this divides.
    Every(u64),
    /// Those up to this.
    First(u64),
}

impl Fault {
    /// A fault of any endpoint.
    pub fn new(kind: FaultKind, when: When) -> Self {
        Self { kind, when, endpoint: None, retry_after: None, body: None }
    }

    /// The same for one endpoint only, named by its path as the description writes it.
    #[must_use]
    pub fn on(mut self, path: impl Into<String>) -> Self {
        self.endpoint = Some(path.into());
        self
    }

    /// The same with a `Retry-After` header; for a status.
    #[must_use]
    pub fn retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }

    /// The same with this body; for a status.
    #[must_use]
    pub fn body(mut self, body: Value) -> Self {
        self.body = Some(body);
        self
    }
}

/// Why a fault could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no fault: {reason}")]
pub struct FaultParseError {
    text: String,
    reason: String,
}

/// Reads `KIND[=VALUE][:PROBABILITY][@NTH]`: `reset:0.05`, `status=503@3`, `delay=2000`, `truncate@1`.
impl FromStr for Fault {
    type Err = FaultParseError;

    fn from_str(text: &str) -> Result<Self, FaultParseError> {
        let failed = |reason: String| FaultParseError { text: text.to_owned(), reason };
        let (rest, nth) = match text.split_once('@') {
            Some((rest, nth)) => {
                let nth = nth.parse().ok().filter(|nth| *nth > 0);
                (rest, Some(nth.ok_or_else(|| failed("behind `@` stands which request, from 1".into()))?))
            }
            None => (text, None),
        };
        let (rest, share) = match rest.split_once(':') {
            Some((rest, share)) => {
                let share = share.parse().ok().filter(|share| (0.0..=1.0).contains(share));
                (
                    rest,
                    Some(share.ok_or_else(|| failed("behind `:` stands a probability from 0 to 1".into()))?),
                )
            }
            None => (rest, None),
        };
        let (name, value) = rest.split_once('=').map_or((rest, None), |(name, value)| (name, Some(value)));
        let number = |default: u64| match value {
            Some(value) => {
                value.parse::<u64>().map_err(|_| failed("behind `=` stands a whole number".into()))
            }
            None => Ok(default),
        };
        let kind = match name {
            "status" => {
                let status = u16::try_from(number(500)?).ok().filter(|status| (200..600).contains(status));
                FaultKind::Status(status.ok_or_else(|| failed("a status is from 200 to 599".into()))?)
            }
            "delay" => FaultKind::Delay(Duration::from_millis(number(1000)?)),
            "slow_body" => FaultKind::SlowBody(Duration::from_millis(number(1000)?)),
            "truncate" => FaultKind::TruncatedBody,
            "reset" => FaultKind::Reset,
            "invalid_json" => FaultKind::InvalidJson,
            _ => return Err(failed(format!("the kinds are {}", KINDS.join(", ")))),
        };
        let when = match (share, nth) {
            (None, None) => When::Always,
            (Some(share), None) => When::Probability(share),
            (None, Some(nth)) => When::Nth(nth),
            (Some(_), Some(_)) => return Err(failed("`:` and `@` exclude each other".into())),
        };
        Ok(Fault::new(kind, when))
    }
}

/// Faults with their counters.
#[derive(Debug)]
pub(super) struct FaultRun {
    faults: Vec<(Fault, u64)>,
    draw: fastrand::Rng,
}

impl FaultRun {
    pub(super) fn new(faults: Vec<Fault>, seed: u64) -> Self {
        Self {
            faults: faults.into_iter().map(|fault| (fault, 0)).collect(),
            draw: fastrand::Rng::with_seed(seed),
        }
    }

    /// Counts a request to the endpoint with this path, and gives the first fault that befalls it.
    pub(super) fn next(&mut self, path: &str) -> Option<Fault> {
        let mut found = None;
        for (fault, count) in &mut self.faults {
            if fault.endpoint.as_deref().is_some_and(|only| only != path) {
                continue;
            }
            *count += 1;
            let now = match fault.when {
                When::Always => true,
                // Drawn by each, so that one fault does not change when the others come.
                When::Probability(share) => self.draw.f64() < share,
                When::Nth(nth) => *count == nth,
                When::Every(every) => every > 0 && *count % every == 0,
                When::First(first) => *count <= first,
            };
            if now && found.is_none() {
                found = Some(fault.clone());
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Fault, FaultKind, FaultRun, When};

    #[test]
    fn faults_are_read_from_text() {
        let check = |text: &str, kind: FaultKind, when: When| {
            assert_eq!(text.parse::<Fault>().unwrap(), Fault::new(kind, when), "{text}");
        };
        check("reset:0.05", FaultKind::Reset, When::Probability(0.05));
        check("status=503@3", FaultKind::Status(503), When::Nth(3));
        check("status", FaultKind::Status(500), When::Always);
        check("delay=20", FaultKind::Delay(Duration::from_millis(20)), When::Always);
        check("truncate@1", FaultKind::TruncatedBody, When::Nth(1));
        for (text, expect) in [
            ("resets", "the kinds are"),
            ("status=99", "from 200"),
            ("reset:2", "probability"),
            ("reset@0", "from 1"),
            ("reset:0.1@2", "exclude"),
            ("delay=x", "whole number"),
        ] {
            let error = text.parse::<Fault>().unwrap_err().to_string();
            assert!(error.contains(expect), "{text}: {error}");
        }
    }

    #[test]
    fn faults_come_when_they_should() {
        let check = |when: When, expect: &[u64]| {
            let mut run = FaultRun::new(vec![Fault::new(FaultKind::Reset, when)], 1);
            let found: Vec<u64> = (1..=10).filter(|_| run.next("/a").is_some()).collect();
            assert_eq!(found, expect, "{when:?}");
        };
        check(When::Nth(3), &[3]);
        check(When::Every(4), &[4, 8]);
        check(When::First(2), &[1, 2]);
        check(When::Probability(0.0), &[]);
        let mut some = FaultRun::new(vec![Fault::new(FaultKind::Reset, When::Probability(0.1))], 1);
        let count = (0..1000).filter(|_| some.next("/a").is_some()).count();
        assert!((60..140).contains(&count), "{count}");
        let mut one = FaultRun::new(vec![Fault::new(FaultKind::Reset, When::Always).on("/b")], 1);
        assert!(one.next("/a").is_none() && one.next("/b").is_some());
    }
}
