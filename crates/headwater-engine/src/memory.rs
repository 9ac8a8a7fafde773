//! Memory, counted in bytes: who may hold how much, and who waits.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The largest page that is taken at all. Decoding makes columns of about the same size beside it, and an Arrow
/// text column ends at 2 GiB.
pub(crate) const MAX_PAGE_BYTES: usize = 1024 * 1024 * 1024;

/// The least that a flow can work in.
pub(crate) const MIN_FLOW_BYTES: usize = 4 * 1024 * 1024;

/// Permits are counted in steps of this many bytes, so that any budget fits the semaphore's 32-bit counts.
pub(crate) const STEP_BYTES: usize = 1024;

/// So many bytes that holders share. Those who wait are served in the order in which they came.
#[derive(Debug, Clone)]
pub(crate) struct ByteBudget {
    semaphore: Arc<Semaphore>,
    steps: u32,
}

/// A share of a budget, given back when dropped.
#[derive(Debug)]
pub(crate) struct BytesPermit {
    _permit: Option<OwnedSemaphorePermit>,
}

impl ByteBudget {
    pub(crate) fn new(bytes: usize) -> Self {
        let steps = u32::try_from(bytes / STEP_BYTES).unwrap_or(u32::MAX).max(1);
        let permits = usize::try_from(steps).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        Self { semaphore: Arc::new(Semaphore::new(permits)), steps }
    }

    /// Waits until `bytes` are free. Something larger than the whole budget waits for all of it, and so is held
    /// alone.
    pub(crate) async fn acquire(&self, bytes: usize) -> BytesPermit {
        let steps = u32::try_from(bytes.div_ceil(STEP_BYTES)).unwrap_or(u32::MAX).clamp(1, self.steps);
        // The semaphore is never closed, so this is always a permit.
        BytesPermit { _permit: self.semaphore.clone().acquire_many_owned(steps).await.ok() }
    }

    /// Bytes that are free.
    #[cfg(test)]
    pub(crate) fn free_bytes(&self) -> usize {
        self.semaphore.available_permits() * STEP_BYTES
    }
}

/// How one flow divides its memory among its stages.
#[derive(Debug, Clone)]
pub(crate) struct FlowMemory {
    share_bytes: usize,
    /// Pages fetched and not yet decoded.
    pub(crate) pages: ByteBudget,
    /// Batches decoded and not yet taken by the writer.
    pub(crate) batches: ByteBudget,
    /// Rows that the decoder gathers before they make a batch.
    pub(crate) decoder_bytes: usize,
    /// What the lake's writer may hold.
    pub(crate) writer_bytes: usize,
}

impl FlowMemory {
    /// Half goes to the writer, which encodes; a quarter to pages, an eighth each to the decoder and its batches.
    pub(crate) fn new(share_bytes: usize) -> Self {
        let share_bytes = share_bytes.max(MIN_FLOW_BYTES);
        Self {
            share_bytes,
            pages: ByteBudget::new(share_bytes / 4),
            batches: ByteBudget::new(share_bytes / 8),
            decoder_bytes: share_bytes / 8,
            writer_bytes: share_bytes / 2,
        }
    }

    /// What is left beside memory that is held outside this process, such as that of a connector's worker. However
    /// much that is, half of the share stays: a flow that cannot work holds its memory for ever.
    pub(crate) fn beside(&self, outside_bytes: u64) -> Self {
        let outside = usize::try_from(outside_bytes).unwrap_or(usize::MAX).min(self.share_bytes / 2);
        if outside == 0 { self.clone() } else { Self::new(self.share_bytes - outside) }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::{ByteBudget, FlowMemory, MIN_FLOW_BYTES};

    #[tokio::test]
    async fn what_is_larger_than_the_budget_is_held_alone() {
        let budget = ByteBudget::new(10 * 1024);
        let small = budget.acquire(1).await;
        assert!(budget.acquire(1 << 40).now_or_never().is_none(), "it waits for the small one");
        drop(small);
        let large = budget.acquire(1 << 40).now_or_never().expect("it gets through alone");
        assert_eq!(budget.free_bytes(), 0);
        assert!(budget.acquire(1).now_or_never().is_none());
        drop(large);
        assert_eq!(budget.free_bytes(), 10 * 1024);
    }

    #[test]
    fn memory_outside_leaves_half_of_the_share_at_least() {
        let mib = 1024 * 1024;
        let share = FlowMemory::new(64 * mib);
        assert_eq!(share.beside(0).writer_bytes, 32 * mib);
        assert_eq!(share.beside(24 * 1024 * 1024).writer_bytes, 20 * mib);
        assert_eq!(share.beside(u64::MAX).writer_bytes, 16 * mib);
        assert_eq!(FlowMemory::new(MIN_FLOW_BYTES).beside(u64::MAX).writer_bytes, MIN_FLOW_BYTES / 2);
    }

    #[tokio::test]
    async fn nothing_still_takes_a_step() {
        let budget = ByteBudget::new(0);
        let _one = budget.acquire(0).await;
        assert!(budget.acquire(0).now_or_never().is_none());
    }
}
