use serde::{Deserialize, Serialize};

use super::null_is_default;

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
