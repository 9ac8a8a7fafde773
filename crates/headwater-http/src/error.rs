use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use headwater_connect::{BoxError, ConnectorError};

/// How much of a body stands in an error.
const SNIPPET_CHARS: usize = 200;

/// What came back, or did not, for one request. The cause of the [`ConnectorError`]s of this crate.
///
/// `request` is the method and the URL without secrets.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HttpError {
    /// An answer with a status that is not a success.
    #[error("{request} answered {status}{}", shown(.reason, .body))]
    Status {
        /// What was asked.
        request: String,
        /// The status code.
        status: u16,
        /// Its usual name.
        reason: &'static str,
        /// The start of the body, on one line and without secrets.
        body: String,
    },
    /// No connection, or none that carried an answer.
    #[error("{request} got no answer")]
    NoAnswer {
        /// What was asked.
        request: String,
        /// What the transport says.
        #[source]
        source: BoxError,
    },
    /// Somebody answered who cannot prove to be the host that was asked for.
    #[error("{request} was not sent: the certificate of the host is not trusted")]
    Untrusted {
        /// What was asked.
        request: String,
        /// What is wrong with the certificate.
        #[source]
        source: BoxError,
    },
    /// The source has said that it answers no more before an instant.
    #[error("{request} was not sent: the source has no requests left until {}", .until.to_rfc3339_opts(SecondsFormat::Secs, true))]
    Exhausted {
        /// What was to be asked.
        request: String,
        /// When there are requests again.
        until: DateTime<Utc>,
    },
    /// The body broke off, or its compression is damaged.
    #[error("{request} broke off after {received_bytes} bytes of the body")]
    BrokenOff {
        /// What was asked.
        request: String,
        /// What had come, after decompression.
        received_bytes: usize,
        /// What the transport says.
        #[source]
        source: BoxError,
    },
    /// Nothing came for too long, or all of it took too long.
    #[error("{request} took longer than {} s to {what}", .after.as_secs_f64())]
    TimedOut {
        /// What was asked.
        request: String,
        /// What it was waited for.
        what: &'static str,
        /// The limit.
        after: Duration,
    },
    /// The body is larger than the client takes.
    #[error("{request} answered with more than {limit_bytes} bytes, the limit of a response body")]
    TooLarge {
        /// What was asked.
        request: String,
        /// The limit.
        limit_bytes: usize,
    },
    /// A record of a long answer is larger than the client takes, or what stands around the records is.
    #[error("{request} answered with more than {limit_bytes} bytes for one record, at byte {at}")]
    RecordTooLarge {
        /// What was asked.
        request: String,
        /// The limit.
        limit_bytes: usize,
        /// Where the record begins.
        at: usize,
    },
    /// A redirect that is not followed.
    #[error("{request} was redirected, which is not followed: {reason}")]
    Redirect {
        /// What was asked.
        request: String,
        /// Why not.
        reason: String,
    },
}

fn shown(reason: &str, body: &str) -> String {
    let space = if reason.is_empty() { "" } else { " " };
    let colon = if body.is_empty() { "" } else { ": " };
    format!("{space}{reason}{colon}{body}")
}

impl HttpError {
    /// Finds the HTTP error that is the cause of `error`, so that a connector can tell statuses apart.
    pub fn of(error: &ConnectorError) -> Option<&HttpError> {
        let source = error.source()?;
        match source.downcast_ref::<SharedCause>() {
            Some(SharedCause(shared)) => HttpError::of(shared),
            None => source.downcast_ref(),
        }
    }

    /// The status code, where there was an answer.
    pub fn status(&self) -> Option<u16> {
        match self {
            HttpError::Status { status, .. } => Some(*status),
            _ => None,
        }
    }
}

/// The cause of an error that several are told of.
#[derive(Debug, Clone)]
pub(crate) struct SharedCause(Arc<ConnectorError>);

impl SharedCause {
    /// The same error for one more.
    pub(crate) fn again(error: &Arc<ConnectorError>) -> ConnectorError {
        let source: BoxError = Box::new(Self(Arc::clone(error)));
        match &**error {
            ConnectorError::MissingOption { name, hint } => {
                ConnectorError::MissingOption { name: name.clone(), hint: hint.clone() }
            }
            ConnectorError::InvalidOption { name, reason } => ConnectorError::invalid_option(name, reason),
            ConnectorError::Unauthorized { .. } => ConnectorError::Unauthorized { source },
            ConnectorError::Forbidden { .. } => ConnectorError::Forbidden { source },
            ConnectorError::Rejected { .. } => ConnectorError::Rejected { source },
            ConnectorError::Untrusted { .. } => ConnectorError::Untrusted { source },
            ConnectorError::RateLimited { retry_after, .. } => {
                ConnectorError::RateLimited { retry_after: *retry_after, source }
            }
            ConnectorError::Timeout { after, .. } => ConnectorError::Timeout { after: *after, source },
            ConnectorError::BadResponse { what, .. } => {
                ConnectorError::BadResponse { what: what.clone(), source: error.source().map(|_| source) }
            }
            ConnectorError::Bug { what } => ConnectorError::bug(what),
            _ => ConnectorError::Unavailable { source },
        }
    }
}

impl fmt::Display for SharedCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.source() {
            Some(cause) => fmt::Display::fmt(cause, f),
            None => fmt::Display::fmt(&self.0, f),
        }
    }
}

impl Error for SharedCause {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source()?.source()
    }
}

/// What a repetition may do about a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Remedy {
    /// Nothing.
    None,
    /// The request never left: any may be sent again.
    NotSent,
    /// The request may have had its effect: it may be sent again if doing it twice does no harm.
    Lost,
    /// The source asked for a pause, of a length where it said so.
    Pause(Option<Duration>),
}

/// A failed attempt.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) error: HttpError,
    pub(crate) remedy: Remedy,
}

impl Failure {
    /// Judges a status that is not a success. `retry_after` is what the source asked for, `exhausted` whether it
    /// said that no requests are left.
    pub(crate) fn remedy_of(status: u16, retry_after: Option<Duration>, exhausted: bool) -> Remedy {
        match status {
            429 => Remedy::Pause(retry_after),
            403 if exhausted || retry_after.is_some() => Remedy::Pause(retry_after),
            503 if retry_after.is_some() => Remedy::Pause(retry_after),
            408 | 425 | 500 | 502..=504 | 507..=510 | 512.. => Remedy::Lost,
            _ => Remedy::None,
        }
    }

    pub(crate) fn into_connector_error(self) -> ConnectorError {
        let Failure { error, remedy } = self;
        if let Remedy::Pause(retry_after) = remedy {
            return ConnectorError::RateLimited { retry_after, source: Box::new(error) };
        }
        match &error {
            HttpError::Status { status, .. } => match status {
                401 => ConnectorError::Unauthorized { source: Box::new(error) },
                403 => ConnectorError::Forbidden { source: Box::new(error) },
                408 | 425 | 500.. => ConnectorError::Unavailable { source: Box::new(error) },
                _ => ConnectorError::Rejected { source: Box::new(error) },
            },
            HttpError::Untrusted { .. } => ConnectorError::Untrusted { source: Box::new(error) },
            HttpError::Exhausted { .. } => {
                ConnectorError::RateLimited { retry_after: None, source: Box::new(error) }
            }
            HttpError::NoAnswer { .. } | HttpError::BrokenOff { .. } => {
                ConnectorError::Unavailable { source: Box::new(error) }
            }
            HttpError::TimedOut { after, .. } => {
                ConnectorError::Timeout { after: *after, source: Box::new(error) }
            }
            HttpError::TooLarge { limit_bytes, .. } | HttpError::RecordTooLarge { limit_bytes, .. } => {
                ConnectorError::AnswerTooLarge { limit_bytes: *limit_bytes, source: Box::new(error) }
            }
            HttpError::Redirect { .. } => ConnectorError::Rejected { source: Box::new(error) },
        }
    }
}

/// The start of a body, on one line.
pub(crate) fn snippet(body: &[u8]) -> String {
    // Enough bytes for the characters that are shown, whatever their width.
    let start = body.get(..SNIPPET_CHARS * 8).unwrap_or(body);
    let text = String::from_utf8_lossy(start);
    let line = text
        .split(|c: char| c.is_whitespace() || c.is_control())
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join(" ");
    if line.chars().count() <= SNIPPET_CHARS {
        return line;
    }
    line.chars().take(SNIPPET_CHARS).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Failure, Remedy, snippet};

    #[test]
    fn a_status_says_what_a_repetition_may_do() {
        let after = Some(Duration::from_secs(3));
        let check = |status, retry_after, exhausted, expect| {
            assert_eq!(Failure::remedy_of(status, retry_after, exhausted), expect, "{status}");
        };
        check(429, None, false, Remedy::Pause(None));
        check(429, after, false, Remedy::Pause(after));
        check(503, after, false, Remedy::Pause(after));
        check(503, None, false, Remedy::Lost);
        check(403, None, false, Remedy::None);
        check(403, None, true, Remedy::Pause(None));
        check(403, after, false, Remedy::Pause(after));
        for status in [400, 401, 404, 405, 409, 410, 422, 501, 505, 511] {
            check(status, None, false, Remedy::None);
        }
        for status in [408, 425, 500, 502, 504, 520, 599] {
            check(status, None, false, Remedy::Lost);
        }
    }

    #[test]
    fn a_snippet_is_one_short_line_whatever_the_body_is() {
        assert_eq!(snippet(b" {\n\t\"a\":\x00 1 }\r\n"), "{ \"a\": 1 }");
        assert_eq!(snippet(&[0xff, 0xfe, b'x']), "\u{fffd}\u{fffd}x");
        let long = snippet("é".repeat(100_000).as_bytes());
        assert_eq!(long.chars().count(), 201);
        assert_eq!(snippet(b""), "");
    }
}
