use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Call, null_is_default};
use crate::{BoxError, ConnectorError, Exception, Offset, OffsetError, Retry, Trace};

/// The longest pause that a failure may ask for; a longer one is cut to it.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

/// Why a request failed, as it crosses the border.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    /// What it is.
    #[serde(default)]
    pub kind: FailureKind,
    /// For people.
    #[serde(default, deserialize_with = "null_is_default")]
    pub message: String,
    /// Class of the exception.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// Whether a retry helps, where the kind does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<RetryAdvice>,
    /// Not sooner than this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_seconds: Option<f64>,
    /// The connector's own frames, outermost first.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    pub trace: Vec<TraceFrame>,
    /// The option that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub option: Option<String>,
    /// The tables there are.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    pub available: Vec<String>,
}

/// What a failure is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the names are those of the protocol's page")]
pub enum FailureKind {
    MissingOption,
    InvalidOption,
    UnknownTable,
    Unauthorized,
    Forbidden,
    Rejected,
    InvalidOffset,
    RateLimited,
    Unavailable,
    Timeout,
    BadResponse,
    Bug,
    NoConnector,
    Cancelled,
    Protocol,
    UnknownCall,
    /// Anything else that the connector raised, and kinds that this version does not know.
    #[default]
    #[serde(other)]
    Exception,
}

/// Whether a retry helps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RetryAdvice {
    /// Yes.
    Backoff,
    /// No; also what this version does not know.
    #[serde(other)]
    Never,
}

/// A place in a connector's code.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceFrame {
    /// The file.
    #[serde(default, deserialize_with = "null_is_default")]
    pub file: String,
    /// The line, from 1.
    #[serde(default, deserialize_with = "null_is_default")]
    pub line: u64,
    /// The function.
    #[serde(default, deserialize_with = "null_is_default")]
    pub function: String,
    /// The line's text.
    #[serde(default, deserialize_with = "null_is_default")]
    pub code: String,
}

impl Failure {
    /// A failure of this kind.
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), ..Self::default() }
    }

    /// The error that it stands for, as the answer to `call`.
    pub fn into_error(self, call: &Call) -> ConnectorError {
        let retry_after = self.retry_after_seconds.and_then(|s| Duration::try_from_secs_f64(s).ok());
        let retry_after = retry_after.map(|after| after.min(MAX_RETRY_AFTER));
        let retry = match (self.retry, retry_after) {
            (Some(RetryAdvice::Backoff), Some(after)) => Retry::After(after),
            (Some(RetryAdvice::Backoff), None) => Retry::Backoff,
            _ => Retry::Never,
        };
        let Failure { kind, message, option, available, .. } = self;
        let exception = Box::new(Exception { class: self.class, message, trace: Trace(self.trace) });
        let source = || -> BoxError { exception.clone() };
        match kind {
            FailureKind::MissingOption => {
                ConnectorError::MissingOption { name: option.unwrap_or_default(), hint: exception.message }
            }
            FailureKind::InvalidOption => {
                ConnectorError::InvalidOption { name: option.unwrap_or_default(), reason: exception.message }
            }
            FailureKind::UnknownTable => ConnectorError::UnknownTable {
                table: call.table().map_or(exception.message, str::to_owned),
                available,
            },
            FailureKind::Unauthorized => ConnectorError::Unauthorized { source: source() },
            FailureKind::Forbidden => ConnectorError::Forbidden { source: source() },
            FailureKind::Rejected => ConnectorError::Rejected { source: source() },
            FailureKind::InvalidOffset => ConnectorError::InvalidOffset {
                offset: call.start().map_or("null", Offset::as_json).to_owned(),
                source: OffsetError::from(<serde_json::Error as serde::de::Error>::custom(&exception)),
            },
            FailureKind::RateLimited => ConnectorError::RateLimited { retry_after, source: source() },
            FailureKind::Unavailable | FailureKind::Timeout => {
                ConnectorError::Unavailable { source: source() }
            }
            FailureKind::BadResponse => {
                ConnectorError::BadResponse { what: exception.to_string(), source: trace_of(&exception) }
            }
            FailureKind::Bug => match trace_of(&exception) {
                None => ConnectorError::bug(exception.to_string()),
                Some(_) => ConnectorError::Raised { retry: Retry::Never, source: exception },
            },
            FailureKind::NoConnector => ConnectorError::NoConnector { what: exception.message },
            FailureKind::Exception | FailureKind::Cancelled => {
                ConnectorError::Raised { retry, source: exception }
            }
            FailureKind::Protocol | FailureKind::UnknownCall => {
                ConnectorError::Protocol { what: exception.to_string(), source: None }
            }
        }
    }

    /// What stands for `error` on the way to Headwater.
    pub fn from_error(error: &ConnectorError) -> Self {
        let mut failure = Failure::new(kind_of(error), error.to_string());
        match error {
            ConnectorError::MissingOption { name, hint } => {
                failure.option = Some(name.clone());
                failure.message.clone_from(hint);
            }
            ConnectorError::InvalidOption { name, reason } => {
                failure.option = Some(name.clone());
                failure.message.clone_from(reason);
            }
            ConnectorError::UnknownTable { available, .. } => failure.available.clone_from(available),
            ConnectorError::BadResponse { what, .. } | ConnectorError::Bug { what } => {
                failure.message.clone_from(what);
            }
            _ => failure.message.clear(),
        }
        let mut cause = std::error::Error::source(error);
        while let Some(error) = cause {
            let separator = if failure.message.is_empty() { "" } else { ": " };
            failure.message = format!("{}{separator}{error}", failure.message);
            cause = error.source();
        }
        if failure.message.is_empty() {
            failure.message = error.to_string();
        }
        match error.retry() {
            Retry::Never => failure.retry = Some(RetryAdvice::Never),
            Retry::Backoff => failure.retry = Some(RetryAdvice::Backoff),
            Retry::After(after) => {
                failure.retry = Some(RetryAdvice::Backoff);
                failure.retry_after_seconds = Some(after.as_secs_f64());
            }
        }
        failure
    }
}

fn trace_of(exception: &Exception) -> Option<BoxError> {
    if exception.trace.0.is_empty() { None } else { Some(Box::new(exception.trace.clone())) }
}

fn kind_of(error: &ConnectorError) -> FailureKind {
    match error {
        ConnectorError::MissingOption { .. } => FailureKind::MissingOption,
        ConnectorError::InvalidOption { .. } => FailureKind::InvalidOption,
        ConnectorError::UnknownTable { .. } => FailureKind::UnknownTable,
        ConnectorError::Unauthorized { .. } => FailureKind::Unauthorized,
        ConnectorError::Forbidden { .. } => FailureKind::Forbidden,
        ConnectorError::RateLimited { .. } => FailureKind::RateLimited,
        ConnectorError::Unavailable { .. } => FailureKind::Unavailable,
        // The worker's message says what is wrong; that nothing helps but a change, the kind says.
        ConnectorError::Untrusted { .. } => FailureKind::Rejected,
        ConnectorError::Timeout { .. } => FailureKind::Timeout,
        ConnectorError::Rejected { .. } | ConnectorError::AnswerTooLarge { .. } => FailureKind::Rejected,
        ConnectorError::BadResponse { .. } => FailureKind::BadResponse,
        ConnectorError::InvalidOffset { .. } => FailureKind::InvalidOffset,
        ConnectorError::Protocol { .. } => FailureKind::Protocol,
        ConnectorError::Bug { .. } => FailureKind::Bug,
        ConnectorError::NoConnector { .. } => FailureKind::NoConnector,
        ConnectorError::Raised { .. }
        | ConnectorError::NotStarted { .. }
        | ConnectorError::WorkerDied { .. } => FailureKind::Exception,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::Call;
    use super::{Failure, FailureKind};
    use crate::{ConnectorError, Offset, Options, Retry};

    fn read_table() -> Call {
        let start = Offset::from_json(r#"{"n":1}"#).ok();
        Call::ReadTable { table: "x".into(), start, options: Options::new(), text_columns: Vec::new() }
    }

    fn crossed(error: &ConnectorError) -> ConnectorError {
        let text = serde_json::to_string(&Failure::from_error(error)).unwrap();
        serde_json::from_str::<Failure>(&text).unwrap().into_error(&read_table())
    }

    fn chain(error: &ConnectorError) -> String {
        let mut text = error.to_string();
        let mut cause = std::error::Error::source(error);
        while let Some(error) = cause {
            text = format!("{text}: {error}");
            cause = error.source();
        }
        text
    }

    #[test]
    fn an_error_says_the_same_on_the_other_side() {
        let source = || -> crate::BoxError { "503 from the source".into() };
        for error in [
            ConnectorError::MissingOption { name: "token".into(), hint: "set it".into() },
            ConnectorError::invalid_option("limit", "is not a number"),
            ConnectorError::UnknownTable { table: "x".into(), available: vec!["a".into()] },
            ConnectorError::Unauthorized { source: source() },
            ConnectorError::Forbidden { source: source() },
            ConnectorError::Rejected { source: source() },
            ConnectorError::RateLimited { retry_after: Some(Duration::from_secs(3)), source: source() },
            ConnectorError::RateLimited { retry_after: None, source: source() },
            ConnectorError::Unavailable { source: source() },
            ConnectorError::bad_response("no `data`"),
            ConnectorError::bug("two ends"),
            ConnectorError::InvalidOffset {
                offset: "{\"n\":1}".into(),
                source: Offset::from_json("{").unwrap_err(),
            },
        ] {
            let back = crossed(&error);
            assert_eq!(std::mem::discriminant(&back), std::mem::discriminant(&error), "{error}");
            assert_eq!(back.retry(), error.retry(), "{error}");
            assert_eq!(back.blame(), error.blame(), "{error}");
            assert_eq!(back.hint(), error.hint(), "{error}");
            assert!(chain(&back).starts_with(&error.to_string()), "{} {}", chain(&back), chain(&error));
        }
        assert!(
            chain(&crossed(&ConnectorError::Unavailable { source: source() }))
                .contains("503 from the source")
        );
    }

    #[test]
    fn a_failure_is_read_whatever_members_it_has() {
        let read = |text: &str| serde_json::from_str::<Failure>(text).unwrap().into_error(&Call::ListTables);
        assert!(matches!(read("{}"), ConnectorError::Raised { retry: Retry::Never, .. }));
        assert!(matches!(
            read(r#"{"kind":"teapot","message":null,"trace":null,"available":null,"class":null}"#),
            ConnectorError::Raised { .. }
        ));
        let retry = |text: &str| read(text).retry();
        assert_eq!(retry(r#"{"kind":"exception","retry":"backoff"}"#), Retry::Backoff);
        assert_eq!(retry(r#"{"kind":"exception","retry":"sometimes"}"#), Retry::Never);
        assert_eq!(
            retry(r#"{"kind":"rate_limited","retry_after_seconds":2.5}"#),
            Retry::After(Duration::from_millis(2500))
        );
        assert_eq!(retry(r#"{"kind":"rate_limited","retry_after_seconds":-1}"#), Retry::Backoff);
        assert_eq!(retry(r#"{"kind":"rate_limited","retry_after_seconds":1e300}"#), Retry::Backoff);
        assert_eq!(
            retry(r#"{"kind":"rate_limited","retry_after_seconds":1e9}"#),
            Retry::After(super::MAX_RETRY_AFTER)
        );
        assert_eq!(
            Failure::new(FailureKind::Bug, "m").into_error(&Call::Spec).to_string(),
            "the connector broke its contract: m"
        );
    }
}
