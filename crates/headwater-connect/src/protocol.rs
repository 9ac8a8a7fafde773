//! The worker protocol as pure code: messages, limits and framing, for both sides.
//!
//! A connector outside the `headwater` process talks to it over its standard input and output. `docs/PROTOCOL.md` is
//! the contract; this module is what both sides read and write it with. Bytes come in through [`Frames`], which
//! cuts them into lines and bodies; [`Message`] and [`Request`] are what lines hold; [`Failure`] carries a
//! [`ConnectorError`](crate::ConnectorError) across.
//!
//! **Invariant:** no input makes it panic, recurse without bound, or hold more than the limits allow.

mod answer;
mod failure;
mod frame;
mod request;

pub use answer::{Abilities, Ability, Alive, Hello, LogLevel, LogLine, Message, Opened, read_result};
pub use failure::{Failure, FailureKind, RetryAdvice, TraceFrame};
pub use frame::{Frame, FrameError, Frames};
pub use request::{Call, Request};

/// The version of the protocol that this module speaks.
pub const VERSION: u32 = 1;

/// Bytes of the longest line, without its line break.
pub const MAX_LINE_BYTES: usize = 64 << 20;

/// Bytes of the longest body, without its line break.
pub const MAX_BODY_BYTES: usize = 64 << 20;

/// Levels of nesting in a line.
pub const MAX_DEPTH: u32 = crate::json_scan::MAX_DEPTH;

/// Bytes that a body of records should have; a side that makes bodies aims at it.
pub const GOOD_BODY_BYTES: usize = 512 << 10;

/// Records that a body should have at most.
pub const GOOD_BODY_RECORDS: usize = 1_000;

/// Checks that `line` is one JSON object within the limits, and gives it as text.
fn checked_line(line: &[u8]) -> Result<&str, FrameError> {
    let refuse = |reason: String| FrameError::not_a_message(line, reason);
    let text = std::str::from_utf8(line).map_err(|e| refuse(e.to_string()))?;
    let start = crate::json_scan::skip_space(line, 0);
    if line.get(start) != Some(&b'{') {
        return Err(refuse("a JSON object was expected".into()));
    }
    let end = crate::json_scan::value_end(line, start)
        .map_err(|e| refuse(format!("{} at byte {}", e.reason, e.at)))?;
    if crate::json_scan::skip_space(line, end) != line.len() {
        return Err(refuse(format!("more than one value, at byte {end}")));
    }
    Ok(text)
}

/// Reads a member that may be there and be `null`, which an `Option` alone cannot tell from one that is not there.
fn present<'de, T, D>(deserializer: D) -> Result<Option<T>, D::Error>
where
    T: serde::Deserialize<'de>,
    D: serde::Deserializer<'de>,
{
    T::deserialize(deserializer).map(Some)
}

/// Reads `null` as the default.
fn null_is_default<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: serde::Deserialize<'de> + Default,
    D: serde::Deserializer<'de>,
{
    Ok(<Option<T> as serde::Deserialize>::deserialize(deserializer)?.unwrap_or_default())
}
