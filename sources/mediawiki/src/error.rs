use std::time::Duration;

use headwater_connect::ConnectorError;

/// How much of the wiki's own words stands in an error.
const INFO_CHARS: usize = 400;

/// What the wiki answered instead of data. The cause of the [`ConnectorError`]s of this crate.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    /// The `error` member of an answer.
    #[error("{request} answered the error `{code}`: {info}")]
    Fault { request: String, code: String, info: String },
    /// `action=login` did not end in success.
    #[error("the wiki did not log in user `{user}`: {reason}")]
    LoginRefused { user: String, reason: String },
}

/// What to do about an error code of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Wait and ask again.
    Wait,
    /// The session is gone: log in and ask again.
    LogIn,
    Unauthorized,
    Forbidden,
    Unavailable,
    Rejected,
}

/// Judges an error code of the API (those of the core are listed on API:Errors_and_warnings).
pub(crate) fn judge(code: &str) -> Verdict {
    match code {
        "maxlag" | "ratelimited" | "actionthrottledtext" => Verdict::Wait,
        "assertuserfailed" | "assertnameduserfailed" | "assertbotfailed" => Verdict::LogIn,
        "badtoken" | "notoken" | "mustbeloggedin" | "wrongpassword" => Verdict::Unauthorized,
        "readapidenied" | "permissiondenied" | "blocked" | "autoblocked" | "badaccess-groups" => {
            Verdict::Forbidden
        }
        "readonly" | "timeouterror" => Verdict::Unavailable,
        _ if code.starts_with("internal_api_error") => Verdict::Unavailable,
        _ if code.contains("permissiondenied") || code.ends_with("notallowed") => Verdict::Forbidden,
        _ => Verdict::Rejected,
    }
}

/// The connector's error for an error code of the API.
pub(crate) fn fault(
    request: String,
    code: &str,
    info: &str,
    retry_after: Option<Duration>,
) -> ConnectorError {
    let info = info.chars().take(INFO_CHARS).collect();
    let source = Box::new(ApiError::Fault { request, code: code.to_owned(), info });
    match judge(code) {
        Verdict::Wait => ConnectorError::RateLimited { retry_after, source },
        Verdict::LogIn | Verdict::Unauthorized => ConnectorError::Unauthorized { source },
        Verdict::Forbidden => ConnectorError::Forbidden { source },
        Verdict::Unavailable => ConnectorError::Unavailable { source },
        Verdict::Rejected => ConnectorError::Rejected { source },
    }
}

#[cfg(test)]
mod tests {
    use headwater_connect::{Blame, Retry};

    use super::fault;

    fn check(code: &str, retry: Retry, blame: Blame) {
        let error = fault("GET https://w/api.php".into(), code, "some words", None);
        assert_eq!((error.retry(), error.blame()), (retry, blame), "{code}");
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert!(cause.contains(code) && cause.contains("some words"), "{cause}");
    }

    #[test]
    fn error_codes_say_whether_a_retry_helps_and_who_must_act() {
        check("maxlag", Retry::Backoff, Blame::Source);
        check("ratelimited", Retry::Backoff, Blame::Source);
        check("internal_api_error_DBQueryError", Retry::Backoff, Blame::Source);
        check("readonly", Retry::Backoff, Blame::Source);
        check("assertuserfailed", Retry::Never, Blame::Configuration);
        check("badtoken", Retry::Never, Blame::Configuration);
        check("readapidenied", Retry::Never, Blame::Configuration);
        check("rcpermissiondenied", Retry::Never, Blame::Configuration);
        check("badvalue", Retry::Never, Blame::Configuration);
        check("a-code-of-an-extension", Retry::Never, Blame::Configuration);
    }
}
