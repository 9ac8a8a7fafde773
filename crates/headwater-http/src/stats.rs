use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Counts what a client did. Share one between clients to count them together.
#[derive(Debug, Default)]
pub struct RequestStats {
    requests: AtomicU64,
    retries: AtomicU64,
    body_bytes: AtomicU64,
    waited_micros: AtomicU64,
}

/// What [`RequestStats`] had counted at one instant.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RequestCounts {
    /// Requests sent, repeated and redirected ones included.
    pub requests: u64,
    /// Requests sent again after a failure.
    pub retries: u64,
    /// Bytes of response bodies, after decompression.
    pub body_bytes: u64,
    /// Time spent waiting for the rate budget, for a pause that the source asked for, or between attempts.
    pub waited: Duration,
}

impl RequestStats {
    /// Reads the counters.
    pub fn counts(&self) -> RequestCounts {
        RequestCounts {
            requests: self.requests.load(Relaxed),
            retries: self.retries.load(Relaxed),
            body_bytes: self.body_bytes.load(Relaxed),
            waited: Duration::from_micros(self.waited_micros.load(Relaxed)),
        }
    }

    pub(crate) fn request(&self) {
        self.requests.fetch_add(1, Relaxed);
    }

    pub(crate) fn retry(&self) {
        self.retries.fetch_add(1, Relaxed);
    }

    pub(crate) fn body(&self, bytes: usize) {
        self.body_bytes.fetch_add(bytes as u64, Relaxed);
    }

    pub(crate) fn waited(&self, time: Duration) {
        self.waited_micros.fetch_add(u64::try_from(time.as_micros()).unwrap_or(u64::MAX), Relaxed);
    }
}
