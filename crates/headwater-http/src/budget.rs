use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// How many requests a source bears.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    /// Requests in each `per`, evenly spread; `None` for no limit.
    pub requests: Option<u32>,
    /// The time in which `requests` may be sent.
    pub per: Duration,
    /// Requests that may be sent at once after a time without any; at least one.
    pub burst: u32,
    /// Requests under way at the same time.
    pub concurrency: usize,
}

impl RateLimit {
    /// Any number of requests, but only so many under way at the same time.
    pub fn concurrency(requests: usize) -> Self {
        Self { requests: None, per: Duration::from_secs(1), burst: 1, concurrency: requests }
    }

    /// So many requests each second.
    pub fn per_second(requests: u32) -> Self {
        Self { requests: Some(requests), ..Self::default() }
    }

    /// So many requests each minute.
    pub fn per_minute(requests: u32) -> Self {
        Self { requests: Some(requests), per: Duration::from_secs(60), ..Self::default() }
    }

    /// The same with a limit on requests under way.
    #[must_use]
    pub fn with_concurrency(self, requests: usize) -> Self {
        Self { concurrency: requests, ..self }
    }

    /// The same with a number of requests that may be sent at once.
    #[must_use]
    pub fn with_burst(self, requests: u32) -> Self {
        Self { burst: requests, ..self }
    }
}

impl Default for RateLimit {
    fn default() -> Self {
        Self::concurrency(16)
    }
}

/// The requests that may be sent to one source. Clones share it: give one to every client of a source.
#[derive(Debug, Clone)]
pub struct RateBudget {
    limit: RateLimit,
    slots: Arc<Semaphore>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// When the bucket would be full again.
    full_at: Option<Instant>,
    /// No request before this: the source asked for a pause.
    paused_until: Option<Instant>,
}

/// Leave to have one request under way; give it back by dropping it.
#[derive(Debug)]
pub(crate) struct Permit {
    _slot: Option<OwnedSemaphorePermit>,
    /// How long it took to get.
    pub(crate) waited: Duration,
}

impl RateBudget {
    /// A budget of its own.
    pub fn new(limit: RateLimit) -> Self {
        let slots = limit.concurrency.clamp(1, Semaphore::MAX_PERMITS);
        Self { limit, slots: Arc::new(Semaphore::new(slots)), state: Arc::default() }
    }

    /// Waits until a request may be sent.
    ///
    /// # Cancel safety
    /// Dropping the future gives its place up; a share of the rate that it had been given is not given back.
    pub(crate) async fn acquire(&self) -> Permit {
        let started = Instant::now();
        // The semaphore is never closed; without a permit the request would go on all the same.
        let slot = Arc::clone(&self.slots).acquire_owned().await.ok();
        let mut until = self.reserve();
        // A pause may begin, or be made longer, while this one waits.
        while let Some(at) = until {
            tokio::time::sleep_until(at).await;
            until = self.paused_until();
        }
        Permit { _slot: slot, waited: started.elapsed() }
    }

    /// Lets no request start for `time`.
    pub(crate) fn pause(&self, time: Duration) {
        let Some(until) = Instant::now().checked_add(time) else { return };
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.paused_until = state.paused_until.max(Some(until));
    }

    /// Takes a share of the rate; gives the instant from which it counts, unless that is now.
    fn reserve(&self) -> Option<Instant> {
        let now = Instant::now();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut start = state.paused_until.map_or(now, |until| until.max(now));
        if let Some(requests) = self.limit.requests {
            let interval = self.limit.per / requests.max(1);
            let full_at = state.full_at.map_or(start, |at| at.max(start));
            let slack = interval.saturating_mul(self.limit.burst.saturating_sub(1));
            start = full_at.checked_sub(slack).map_or(start, |at| at.max(start));
            state.full_at = full_at.checked_add(interval);
        }
        (start > now).then_some(start)
    }

    fn paused_until(&self) -> Option<Instant> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.paused_until.filter(|until| *until > Instant::now())
    }
}

impl Default for RateBudget {
    fn default() -> Self {
        Self::new(RateLimit::default())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::FutureExt;
    use tokio::time::Instant;

    use super::{RateBudget, RateLimit};

    /// The times in milliseconds at which so many requests may start, one after the other.
    async fn starts(limit: RateLimit, requests: usize) -> Vec<u128> {
        let budget = RateBudget::new(limit);
        let begun = Instant::now();
        let mut times = Vec::new();
        for _ in 0..requests {
            let _permit = budget.acquire().await;
            times.push(begun.elapsed().as_millis());
        }
        times
    }

    #[tokio::test(start_paused = true)]
    async fn requests_are_spread_evenly_after_the_burst() {
        assert_eq!(starts(RateLimit::per_second(4), 4).await, [0, 250, 500, 750]);
        assert_eq!(starts(RateLimit::per_minute(60).with_burst(3), 5).await, [0, 0, 0, 1000, 2000]);
        assert_eq!(starts(RateLimit::concurrency(1), 3).await, [0, 0, 0]);
        assert_eq!(starts(RateLimit::per_second(0), 2).await, [0, 1000]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_holds_those_who_wait_already() {
        let budget = RateBudget::new(RateLimit::per_second(1));
        let begun = Instant::now();
        drop(budget.acquire().await);
        let second = async {
            drop(budget.acquire().await);
            begun.elapsed().as_secs()
        };
        let pause = async { budget.pause(Duration::from_secs(7)) };
        let (second, ()) = tokio::join!(second, pause);
        assert_eq!(second, 7);
        budget.pause(Duration::MAX);
        drop(budget.acquire().await);
    }

    #[tokio::test]
    async fn no_more_requests_are_under_way_than_allowed() {
        let budget = RateBudget::new(RateLimit::concurrency(2));
        let first = budget.acquire().await;
        let _second = budget.clone().acquire().await;
        assert!(budget.acquire().now_or_never().is_none());
        drop(first);
        assert!(budget.acquire().now_or_never().is_some());
    }
}
