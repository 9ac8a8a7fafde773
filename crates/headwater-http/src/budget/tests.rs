use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt;
use headwater_connect::Secret;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::{Outcome, Permit, RateBudget, RateLimit};
use crate::quota::Quota;

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

/// A source that refuses what is beyond its rate, in paused time.
enum Source {
    /// Tokens that come evenly, up to a number of them.
    Bucket { per_second: f64, most: f64, tokens: f64, at: Instant },
    /// So many in each second of its clock.
    Windows { each: u32, begun: Instant, window: u64, taken: u32 },
}

impl Source {
    fn bucket(per_second: f64, most: f64) -> Self {
        Source::Bucket { per_second, most, tokens: most, at: Instant::now() }
    }

    fn takes(&mut self) -> bool {
        let now = Instant::now();
        match self {
            Source::Bucket { per_second, most, tokens, at } => {
                *tokens = (*tokens + (now - *at).as_secs_f64() * *per_second).min(*most);
                *at = now;
                *tokens >= 1.0 && {
                    *tokens -= 1.0;
                    true
                }
            }
            Source::Windows { each, begun, window, taken } => {
                let here = (now - *begun).as_secs();
                if here != *window {
                    (*window, *taken) = (here, 0);
                }
                *taken < *each && {
                    *taken += 1;
                    true
                }
            }
        }
    }
}

/// Asks `source` for so long by so many at once; gives how many requests it took and refused each second.
async fn asked(source: Source, askers: usize, secs: u64, retry_after: Option<Duration>) -> Vec<(u32, u32)> {
    let source = Arc::new(Mutex::new(source));
    let counts = Arc::new(Mutex::new(vec![(0, 0); usize::try_from(secs).unwrap() + 30]));
    let budget = RateBudget::new(RateLimit::default());
    let begun = Instant::now();
    let mut tasks = JoinSet::new();
    for asker in 0..askers {
        let (source, counts, budget) = (source.clone(), counts.clone(), budget.clone());
        tasks.spawn(async move {
            let mut random = fastrand::Rng::with_seed(asker as u64);
            while begun.elapsed().as_secs() < secs {
                let permit = acquire(&budget).await;
                tokio::time::sleep(Duration::from_millis(random.u64(8..14))).await;
                let took = source.lock().unwrap().takes();
                tokio::time::sleep(Duration::from_millis(random.u64(8..14))).await;
                {
                    let mut counts = counts.lock().unwrap();
                    let count = &mut counts[usize::try_from(begun.elapsed().as_secs()).unwrap()];
                    if took { count.0 += 1 } else { count.1 += 1 }
                }
                permit.ended(if took { Outcome::Answered } else { Outcome::Refused });
                drop(permit);
                if !took {
                    let wait = retry_after.unwrap_or(Duration::from_millis(random.u64(0..500)));
                    budget.refused(wait, retry_after.is_some());
                    tokio::time::sleep(wait).await;
                }
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    let counts = counts.lock().unwrap();
    counts[..usize::try_from(secs).unwrap()].to_vec()
}

fn sums(counts: &[(u32, u32)]) -> (f64, f64) {
    let sum = counts.iter().fold((0, 0), |sum, count| (sum.0 + count.0, sum.1 + count.1));
    (f64::from(sum.0), f64::from(sum.1))
}

#[tokio::test(start_paused = true)]
async fn a_rate_that_nobody_told_is_found_and_kept_to() {
    let second = Some(Duration::from_secs(1));
    let windows = |each| Source::Windows { each, begun: Instant::now(), window: 0, taken: 0 };
    for (name, source, rate, retry_after) in [
        ("bucket", Source::bucket(50.0, 50.0), 50.0, None),
        ("bucket, told to wait", Source::bucket(50.0, 50.0), 50.0, second),
        ("small bucket", Source::bucket(50.0, 5.0), 50.0, None),
        ("slow bucket", Source::bucket(10.0, 20.0), 10.0, second),
        ("windows, told to wait", windows(50), 50.0, second),
        ("windows", windows(50), 50.0, None),
    ] {
        let counts = asked(source, 10, 60, retry_after).await;
        // The first seconds are for finding the rate: as long as it takes to send some hundreds of requests.
        let found = if rate > 20.0 { 10 } else { 30 };
        let (took, refused) = sums(&counts[found..]);
        let used = took / (rate * f64::from(u8::try_from(60 - found).unwrap()));
        // What a source does not give later, a pause that it asks for loses.
        let least = if name == "windows, told to wait" { 0.9 } else { 0.95 };
        assert!(used >= least, "{name}: {used} of the rate; {counts:?}");
        assert!(refused / (took + refused) < 0.01, "{name}: {refused} refused of {took}; {counts:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_source_that_becomes_quicker_is_noticed() {
    let source = Source::bucket(20.0, 20.0);
    let counts = asked(source, 10, 30, None).await;
    let before = sums(&counts[20..]).0 / 10.0;
    assert!((18.0..=21.0).contains(&before), "{before}");
    // The same budget, after its source has grown: what it has learned does not hold it for ever.
    let mut pace = super::pace::Pace::default();
    let mut now = Instant::now();
    let start = |pace: &mut super::pace::Pace, now: &mut Instant| {
        *now = pace.next_at().map_or(*now, |next| next.max(*now));
        pace.started(*now);
        pace.answered(*now);
    };
    for _ in 0..40 {
        start(&mut pace, &mut now);
    }
    for _ in 0..2 {
        let refused = now;
        start(&mut pace, &mut now);
        now += Duration::from_secs(2);
        for _ in 0..40 {
            start(&mut pace, &mut now);
        }
        pace.refused(refused + Duration::from_millis(1), now);
    }
    let learned = pace.rate().unwrap();
    for _ in 0..40_000 {
        start(&mut pace, &mut now);
    }
    assert!(pace.rate().unwrap() > learned * 3.0, "{learned} {:?}", pace.rate());
}

#[tokio::test(start_paused = true)]
async fn idle_time_is_no_sign_of_a_slow_source() {
    // Bursts with long pauses between: the source would bear fifty a second all the time.
    let source = Arc::new(Mutex::new(Source::bucket(50.0, 10.0)));
    let budget = RateBudget::new(RateLimit::default());
    for _ in 0..20 {
        for _ in 0..100 {
            let permit = acquire(&budget).await;
            tokio::time::sleep(Duration::from_millis(5)).await;
            let took = source.lock().unwrap().takes();
            permit.ended(if took { Outcome::Answered } else { Outcome::Refused });
        }
        tokio::time::sleep(Duration::from_secs(120)).await;
    }
    let rate = budget.learned_per_second().unwrap();
    assert!((30.0..=80.0).contains(&rate), "{rate}");
}

#[tokio::test(start_paused = true)]
async fn fewer_are_under_way_after_trouble_and_more_again_when_it_is_over() {
    let budget = RateBudget::new(RateLimit::concurrency(32));
    let round = async |outcome: Outcome, millis: u64| {
        let mut permits = Vec::new();
        while let Some(permit) = budget.acquire(Duration::MAX).now_or_never() {
            permits.push(permit.unwrap());
        }
        tokio::time::sleep(Duration::from_millis(millis)).await;
        permits.iter().for_each(|permit| permit.ended(outcome));
        permits.len()
    };
    let first = round(Outcome::Answered, 50).await;
    assert_eq!(first, 8, "a source is not overrun at the start");
    assert_eq!((round(Outcome::Answered, 50).await, round(Outcome::Answered, 50).await), (16, 32));
    assert_eq!(round(Outcome::Failed, 50).await, 32);
    // All of a round are one trouble.
    assert_eq!(round(Outcome::Failed, 50).await, 22);
    let after = round(Outcome::Answered, 50).await;
    assert_eq!(after, 15);
    for _ in 0..30 {
        round(Outcome::Answered, 50).await;
    }
    assert_eq!(round(Outcome::Answered, 50).await, 32);
    // Answers that take ten times as long are trouble too.
    for _ in 0..20 {
        round(Outcome::Answered, 800).await;
    }
    let slow = round(Outcome::Answered, 800).await;
    assert!((2..16).contains(&slow), "{slow}");
    for _ in 0..60 {
        round(Outcome::Answered, 50).await;
    }
    assert_eq!(round(Outcome::Answered, 50).await, 32);
}

#[tokio::test(start_paused = true)]
async fn a_quota_is_not_overdrawn_and_starts_anew() {
    let budget = RateBudget::default();
    let quota = |remaining, secs| Quota {
        remaining: Some(remaining),
        reset: Some(Duration::from_secs(secs)),
        policy: None,
    };
    let begun = Instant::now();
    drop(acquire(&budget).await);
    budget.heed(&quota(3, 20));
    for _ in 0..2 {
        drop(acquire(&budget).await);
        // What is under way is not counted yet by the source.
        budget.heed(&quota(3, 20));
    }
    drop(acquire(&budget).await);
    assert_eq!(begun.elapsed().as_secs(), 0);
    drop(acquire(&budget).await);
    assert_eq!(begun.elapsed().as_secs(), 20, "the fourth waits for the reset");
    budget.heed(&quota(0, 3600));
    let refused = budget.acquire(Duration::from_secs(60)).await.unwrap_err();
    assert_eq!(refused.0.as_secs(), 3600);
    assert_eq!(begun.elapsed().as_secs(), 20, "nobody waits in vain");
}

#[tokio::test(start_paused = true)]
async fn a_rate_that_the_source_names_is_kept_to() {
    let budget = RateBudget::default();
    let policy = Some((20, Duration::from_secs(2)));
    budget.heed(&Quota { remaining: Some(20), reset: Some(Duration::from_secs(2)), policy });
    let begun = Instant::now();
    for _ in 0..11 {
        drop(acquire(&budget).await);
    }
    assert!((900..=1100).contains(&begun.elapsed().as_millis()), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn one_budget_belongs_to_one_source_and_credential() {
    let secret = |text: &str| Secret::new(text);
    let limit = RateLimit::concurrency(4);
    let budget = RateBudget::shared("https://a", Some(&secret("hunter2")), limit);
    let same = RateBudget::shared("https://a", Some(&secret("hunter2")), RateLimit::per_second(2));
    let others = [
        RateBudget::shared("https://a", Some(&secret("two")), limit),
        RateBudget::shared("https://b", Some(&secret("hunter2")), limit),
        RateBudget::shared("https://a", None, limit),
    ];
    assert!(Arc::ptr_eq(&budget.core, &same.core));
    assert!(others.iter().all(|other| !Arc::ptr_eq(&budget.core, &other.core)));
    let both = budget.core.state().limit;
    assert_eq!((both.requests, both.concurrency), (Some(2), 4), "the stricter of both");
    assert!(!format!("{budget:?}").contains("hunter2"), "{budget:?}");
    let old = Arc::downgrade(&budget.core);
    drop((budget, same));
    assert!(old.upgrade().is_none(), "nobody holds it for ever");
    let anew = RateBudget::shared("https://a", Some(&secret("hunter2")), limit);
    assert_eq!(anew.core.state().limit, limit);
}
