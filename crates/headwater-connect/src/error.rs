use std::time::Duration;

use crate::{Exception, LastLog, OffsetError};

/// Any error, as the cause of another.
pub type BoxError = Box<dyn std::error::Error + Send + Sync + 'static>;

/// Whether doing the same again may help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// No.
    Never,
    /// Yes, after a pause of the caller's choice.
    Backoff,
    /// Yes, but not sooner than this.
    After(Duration),
}

/// Who must act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    /// The user's options, credentials or spec.
    Configuration,
    /// The source, or the way to it.
    Source,
    /// The connector or Headwater.
    Connector,
}

/// What can go wrong between a connector and its source.
///
/// `Display` never contains a secret or the source error; walk [`std::error::Error::source`] for the causes.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectorError {
    /// A required option is not there.
    #[error("option `{name}` is missing")]
    MissingOption {
        /// The option.
        name: String,
        /// What to set it to.
        hint: String,
    },
    /// An option has a value that cannot be used.
    #[error("option `{name}` {reason}")]
    InvalidOption {
        /// The option.
        name: String,
        /// What is wrong, as the end of a sentence that starts with the option.
        reason: String,
    },
    /// The source has no such table.
    #[error("table `{table}` does not exist in the source")]
    UnknownTable {
        /// The name asked for.
        table: String,
        /// The names there are.
        available: Vec<String>,
    },
    /// The source does not accept the credentials.
    #[error("the source refused the credentials")]
    Unauthorized {
        /// What came back.
        #[source]
        source: BoxError,
    },
    /// The credentials do not allow this.
    #[error("the source does not allow this with these credentials")]
    Forbidden {
        /// What came back.
        #[source]
        source: BoxError,
    },
    /// Whoever answers cannot prove to be the source.
    #[error("the source's certificate is not trusted")]
    Untrusted {
        /// What is wrong with it.
        #[source]
        source: BoxError,
    },
    /// The source asked to slow down.
    #[error("the source asked to slow down")]
    RateLimited {
        /// How long to wait, where it said so.
        retry_after: Option<Duration>,
        /// What came back.
        #[source]
        source: BoxError,
    },
    /// The source could not be reached, broke off, or answered that it is down.
    #[error("the source is unavailable")]
    Unavailable {
        /// What came back.
        #[source]
        source: BoxError,
    },
    /// The source did not answer in time.
    #[error("the source did not answer within {} s", .after.as_secs_f64())]
    Timeout {
        /// The limit.
        after: Duration,
        /// What was asked.
        #[source]
        source: BoxError,
    },
    /// The source does not take the request, and will not take it the next time either.
    #[error("the source rejected the request")]
    Rejected {
        /// What came back.
        #[source]
        source: BoxError,
    },
    /// The source answered something that cannot be used.
    #[error("the source's answer cannot be used: {what}")]
    BadResponse {
        /// What was asked, and what is wrong with the answer.
        what: String,
        /// The cause, where there is one.
        #[source]
        source: Option<BoxError>,
    },
    /// The source answered with more than is taken at once, and will do so again.
    #[error("the source's answer has more than {limit_bytes} bytes")]
    AnswerTooLarge {
        /// The limit.
        limit_bytes: usize,
        /// What was asked.
        #[source]
        source: BoxError,
    },
    /// The offset was not made by this connector, or by another version of it.
    #[error("offset {offset} cannot be read")]
    InvalidOffset {
        /// The offset, as JSON.
        offset: String,
        /// Why.
        #[source]
        source: OffsetError,
    },
    /// Code of a connector outside this process raised something that it did not name.
    #[error("the connector raised an exception")]
    Raised {
        /// Whether a retry may help, as the connector says.
        retry: Retry,
        /// What it raised.
        #[source]
        source: Box<Exception>,
    },
    /// Where a connector should be there is none, or more than one.
    #[error("no connector to run: {what}")]
    NoConnector {
        /// What was found.
        what: String,
    },
    /// The process of a connector could not be started.
    #[error("the connector's worker cannot be started: {command}")]
    NotStarted {
        /// What was to be started.
        command: String,
        /// Why.
        #[source]
        source: BoxError,
    },
    /// The process of a connector ended before it had answered.
    #[error("the connector's worker ended before it had answered `{call}` ({status})")]
    WorkerDied {
        /// What it was asked.
        call: String,
        /// Its exit code or signal.
        status: String,
        /// The last that it wrote, where it wrote anything.
        #[source]
        log: Option<LastLog>,
    },
    /// The process of a connector did not keep to the worker protocol.
    #[error("the connector's worker broke the protocol: {what}")]
    Protocol {
        /// What it did.
        what: String,
        /// The cause, where there is one.
        #[source]
        source: Option<BoxError>,
    },
    /// The connector broke its contract.
    #[error("the connector broke its contract: {what}")]
    Bug {
        /// What it did.
        what: String,
    },
}

impl ConnectorError {
    /// A breach of the contract by the connector itself.
    pub fn bug(what: impl Into<String>) -> Self {
        ConnectorError::Bug { what: what.into() }
    }

    /// An option that cannot be used; `reason` continues "option `name` …".
    pub fn invalid_option(name: impl Into<String>, reason: impl Into<String>) -> Self {
        ConnectorError::InvalidOption { name: name.into(), reason: reason.into() }
    }

    /// An answer that cannot be used.
    pub fn bad_response(what: impl Into<String>) -> Self {
        ConnectorError::BadResponse { what: what.into(), source: None }
    }

    /// Says whether a retry may help, and when.
    pub fn retry(&self) -> Retry {
        match self {
            ConnectorError::RateLimited { retry_after: Some(after), .. } => Retry::After(*after),
            ConnectorError::RateLimited { .. }
            | ConnectorError::Unavailable { .. }
            | ConnectorError::Timeout { .. } => Retry::Backoff,
            ConnectorError::Raised { retry, .. } => *retry,
            // A crash may come of what passes: memory, a packet of its source.
            ConnectorError::WorkerDied { .. } => Retry::Backoff,
            // A cut or garbled body is most often a broken connection.
            ConnectorError::BadResponse { .. } => Retry::Backoff,
            _ => Retry::Never,
        }
    }

    /// Says who must act.
    pub fn blame(&self) -> Blame {
        match self {
            ConnectorError::MissingOption { .. }
            | ConnectorError::InvalidOption { .. }
            | ConnectorError::UnknownTable { .. }
            | ConnectorError::Unauthorized { .. }
            | ConnectorError::Forbidden { .. }
            | ConnectorError::Untrusted { .. }
            | ConnectorError::Rejected { .. }
            | ConnectorError::AnswerTooLarge { .. }
            | ConnectorError::NoConnector { .. }
            | ConnectorError::NotStarted { .. }
            | ConnectorError::InvalidOffset { .. } => Blame::Configuration,
            ConnectorError::RateLimited { .. }
            | ConnectorError::Unavailable { .. }
            | ConnectorError::Timeout { .. }
            | ConnectorError::BadResponse { .. } => Blame::Source,
            ConnectorError::Raised { .. }
            | ConnectorError::WorkerDied { .. }
            | ConnectorError::Protocol { .. }
            | ConnectorError::Bug { .. } => Blame::Connector,
        }
    }

    /// Says what to change, where that is known.
    pub fn hint(&self) -> Option<String> {
        match self {
            ConnectorError::MissingOption { hint, .. } => Some(hint.clone()),
            ConnectorError::UnknownTable { available, .. } if available.is_empty() => {
                Some("the source lists no tables; check what the credentials may see".into())
            }
            ConnectorError::UnknownTable { available, .. } => {
                let shown = available.iter().take(20).map(String::as_str).collect::<Vec<_>>().join(", ");
                let more = if available.len() > 20 { ", …" } else { "" };
                Some(format!("the tables are: {shown}{more}"))
            }
            ConnectorError::Unauthorized { .. } => Some("check the connection's credentials".into()),
            ConnectorError::Forbidden { .. } => {
                Some("grant the connection's user access, or leave the table out".into())
            }
            ConnectorError::Untrusted { .. } => Some(
                "check the address; a certificate authority of your own must be among those that the system trusts \
                 (`SSL_CERT_FILE` names a file of them)"
                    .into(),
            ),
            ConnectorError::Rejected { .. } => {
                Some("check the connection's address and the table's options".into())
            }
            ConnectorError::AnswerTooLarge { .. } => {
                Some("ask the source for less at once with the table's options, such as smaller pages".into())
            }
            ConnectorError::InvalidOffset { .. } => {
                Some("a full refresh of the table starts it afresh".into())
            }
            ConnectorError::NotStarted { .. } => {
                Some("check that the command exists and may be executed".into())
            }
            ConnectorError::Timeout { .. } => {
                Some("try again later; a connector of the project may take longer with a `call_timeout` of its own".into())
            }
            ConnectorError::WorkerDied { status, .. } if status.contains("SIGKILL") => {
                Some("the system may have run out of memory".into())
            }
            _ => None,
        }
    }
}
