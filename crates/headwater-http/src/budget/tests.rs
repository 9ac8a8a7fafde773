use std::time::Duration;

use futures::FutureExt;
use tokio::time::Instant;

use super::{Permit, RateBudget, RateLimit};

async fn acquire(budget: &RateBudget) -> Permit {
    budget.acquire(Duration::MAX).await.unwrap()
}

/// The times in milliseconds at which so many requests may start, one after the other.
async fn starts(limit: RateLimit, requests: usize) -> Vec<u128> {
    let budget = RateBudget::new(limit);
    let begun = Instant::now();
    let mut times = Vec::new();
    for _ in 0..requests {
        let _permit = acquire(&budget).await;
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
    drop(acquire(&budget).await);
    let second = async {
        drop(acquire(&budget).await);
        begun.elapsed().as_secs()
    };
    let pause = async { budget.pause(Duration::from_secs(7)) };
    let (second, ()) = tokio::join!(second, pause);
    assert_eq!(second, 7);
    budget.pause(Duration::MAX);
    drop(acquire(&budget).await);
}

#[tokio::test]
async fn no_more_requests_are_under_way_than_allowed() {
    let budget = RateBudget::new(RateLimit::concurrency(2));
    let first = acquire(&budget).await;
    let _second = acquire(&budget.clone()).await;
    assert!(budget.acquire(Duration::MAX).now_or_never().is_none());
    drop(first);
    assert!(budget.acquire(Duration::MAX).now_or_never().is_some());
}
