use std::time::Duration;

use bytes::{Bytes, BytesMut};

/// The most that is set aside for a body because its sender says so.
const MAX_RESERVED_BYTES: usize = 16 << 20;

/// Why a body could not be read.
pub(crate) enum BodyError {
    BrokenOff { received_bytes: usize, source: reqwest::Error },
    TimedOut { after: Duration },
    TooLarge,
}

/// Reads a body of at most `limit` bytes (after decompression), waiting at most `pause` for each part of it.
///
/// The bytes are copied once, from the connection's buffer into the body's own; not at all when they came in one
/// part. `expected` is the guess where the source does not say the length.
pub(crate) async fn read(
    response: &mut reqwest::Response,
    limit: usize,
    pause: Option<Duration>,
    expected: usize,
) -> Result<Bytes, BodyError> {
    let declared = response.content_length();
    if declared.is_some_and(|length| usize::try_from(length).map_or(true, |length| length > limit)) {
        return Err(BodyError::TooLarge);
    }
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    loop {
        let received_bytes = first.len() + rest.len();
        let Some(chunk) = next(response, pause, received_bytes).await? else { break };
        if chunk.len() > limit - received_bytes {
            return Err(BodyError::TooLarge);
        }
        if received_bytes == 0 {
            first = chunk;
            continue;
        }
        if rest.is_empty() {
            let length = declared.and_then(|length| usize::try_from(length).ok()).unwrap_or(expected);
            rest.reserve(length.min(MAX_RESERVED_BYTES).min(limit).max(received_bytes + chunk.len()));
            rest.extend_from_slice(&std::mem::take(&mut first));
        }
        rest.extend_from_slice(&chunk);
    }
    Ok(if rest.is_empty() { first } else { rest.freeze() })
}

/// The next part of a body of which so many bytes have come; `None` at its end.
pub(crate) async fn next(
    response: &mut reqwest::Response,
    pause: Option<Duration>,
    received_bytes: usize,
) -> Result<Option<Bytes>, BodyError> {
    let chunk = match pause {
        Some(pause) => tokio::time::timeout(pause, response.chunk())
            .await
            .map_err(|_| BodyError::TimedOut { after: pause })?,
        None => response.chunk().await,
    };
    chunk.map_err(|source| BodyError::BrokenOff { received_bytes, source })
}
