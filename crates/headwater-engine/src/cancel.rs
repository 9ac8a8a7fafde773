use tokio_util::sync::CancellationToken;

/// Asks a running update to end. Clones ask the same update.
///
/// The first request is graceful: each flow ends at its next safe point, which is after the commit of what was
/// read up to the end of a read. The second ends everything at once; the tables are then as their last commits
/// left them.
#[derive(Debug, Clone, Default)]
pub struct Cancellation {
    graceful: CancellationToken,
    immediate: CancellationToken,
}

impl Cancellation {
    /// Nothing is asked yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks for an end at the next safe point.
    pub fn request(&self) {
        self.graceful.cancel();
    }

    /// Asks for an end at once.
    pub fn request_immediate(&self) {
        self.graceful.cancel();
        self.immediate.cancel();
    }

    /// Says whether any end was asked for.
    pub fn is_requested(&self) -> bool {
        self.graceful.is_cancelled()
    }

    /// Says whether an end at once was asked for.
    pub fn is_immediate(&self) -> bool {
        self.immediate.is_cancelled()
    }

    /// Waits until any end is asked for.
    pub async fn requested(&self) {
        self.graceful.cancelled().await;
    }

    /// Waits until an end at once is asked for.
    pub async fn immediate(&self) {
        self.immediate.cancelled().await;
    }
}
