use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use headwater_connect::Secret;
use tokio::sync::{Mutex as TurnMutex, Notify};
use tokio::time::Instant;

use self::cap::Cap;
use self::pace::Pace;
use crate::quota::Quota;
use crate::token::{Hash, hash};

mod cap;
mod pace;

/// How many requests a source bears.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    /// Requests in each `per`, evenly spread; `None` where nobody knows.
    pub requests: Option<u32>,
    /// The time in which `requests` may be sent.
    pub per: Duration,
    /// Requests that may be sent at once after a time without any; at least one.
    pub burst: u32,
    /// Requests under way at the same time, at most.
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

    fn interval(&self) -> Option<Duration> {
        self.requests.map(|requests| self.per / requests.max(1))
    }

    /// What keeps to both.
    fn stricter(self, other: Self) -> Self {
        let concurrency = self.concurrency.min(other.concurrency);
        let slower = if self.interval() >= other.interval() { self } else { other };
        Self { concurrency, ..slower }
    }
}

impl Default for RateLimit {
    fn default() -> Self {
        Self::concurrency(16)
    }
}

/// The requests that may be sent to one source. Clones share it: give one to every client of a source, or take it from
/// [`RateBudget::shared`].
///
/// It keeps to the limit that it is made with, and learns the rest from what the source answers:
/// - how many requests are left and when there are more, from the usual headers;
/// - the rate that the source bears, from its refusals (429): between two moments at which the source had nothing left, it
///   took as many requests as it bears;
/// - how many requests under way at the same time do it good: fewer after a refusal, a failure, or when answers take much
///   longer, and more again while all goes well.
#[derive(Debug, Clone)]
pub struct RateBudget {
    core: Arc<Core>,
}

#[derive(Debug)]
struct Core {
    /// Who holds this is the next to start, so that all start in the order in which they came.
    turn: TurnMutex<()>,
    /// A request has ended, or the source has said something.
    changed: Notify,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    limit: RateLimit,
    /// When the bucket would be full again.
    full_at: Option<Instant>,
    /// No request before this: the source asked for a pause.
    paused_until: Option<Instant>,
    /// What is left of a quota, and until when it has to do.
    left: Option<(u64, Instant)>,
    under_way: usize,
    cap: Cap,
    pace: Pace,
}

/// When one may start.
enum Start {
    Now,
    At(Instant),
    /// When another has ended.
    Later,
    /// Not before this, which is longer than anybody wants to wait.
    Exhausted(Duration),
}

/// The source has no requests left for so long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Exhausted(pub(crate) Duration);

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It was answered.
    Answered,
    /// The source asked to slow down.
    Refused,
    /// The source could not answer.
    Failed,
}

/// Leave to have one request under way; given back by dropping it.
#[derive(Debug)]
pub(crate) struct Permit {
    core: Arc<Core>,
    started_at: Instant,
    /// How long it took to get.
    pub(crate) waited: Duration,
}

/// The budgets of this process, by what they are for.
static SHARED: LazyLock<Mutex<HashMap<Hash, Weak<Core>>>> = LazyLock::new(Mutex::default);

impl RateBudget {
    /// A budget of its own.
    pub fn new(limit: RateLimit) -> Self {
        let cap = Cap::new(limit.concurrency);
        let state = State {
            limit,
            full_at: None,
            paused_until: None,
            left: None,
            under_way: 0,
            cap,
            pace: Pace::default(),
        };
        let core = Core { turn: TurnMutex::new(()), changed: Notify::new(), state: Mutex::new(state) };
        Self { core: Arc::new(core) }
    }

    /// The budget of everyone in this process who asks `source` (its base URL, or its name) with this credential: all tables
    /// of all pipelines. It lives as long as somebody holds it. Where they name different limits, the stricter holds.
    pub fn shared(source: &str, credential: Option<&Secret>, limit: RateLimit) -> Self {
        let key = hash(&[source, credential.map_or("", Secret::expose)]);
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(core) = shared.get(&key).and_then(Weak::upgrade) {
            let budget = Self { core };
            let mut state = budget.core.state();
            state.limit = state.limit.stricter(limit);
            let most = state.limit.concurrency;
            state.cap.limit(most);
            drop(state);
            return budget;
        }
        shared.retain(|_, core| core.strong_count() > 0);
        let budget = Self::new(limit);
        shared.insert(key, Arc::downgrade(&budget.core));
        budget
    }

    /// The requests a second that the source was found to bear; `None` while it has refused none.
    pub fn learned_per_second(&self) -> Option<f64> {
        self.core.state().pace.rate()
    }

    /// Waits until a request may be sent; not at all where the source has said that it must wait longer than `longest`.
    ///
    /// # Cancel safety
    /// Dropping the future gives its place up.
    pub(crate) async fn acquire(&self, longest: Duration) -> Result<Permit, Exhausted> {
        let asked_at = Instant::now();
        let _turn = self.core.turn.lock().await;
        loop {
            let changed = self.core.changed.notified();
            let start = self.core.state().start(Instant::now(), longest);
            match start {
                Start::Now => {
                    let started_at = Instant::now();
                    let waited = started_at - asked_at;
                    return Ok(Permit { core: Arc::clone(&self.core), started_at, waited });
                }
                Start::At(at) => {
                    // A pause may begin, or be made longer, while this one waits.
                    tokio::select! {
                        () = tokio::time::sleep_until(at) => {}
                        () = changed => {}
                    }
                }
                Start::Later => changed.await,
                Start::Exhausted(wait) => return Err(Exhausted(wait)),
            }
        }
    }

    /// Holds all requests back after a refusal, for `time`; `asked`: the source named it. A pause of our own choice is left
    /// out where the rate is known: they are spread by it.
    pub(crate) fn refused(&self, time: Duration, asked: bool) {
        if asked || !self.core.state().pace.is_measured() {
            self.pause(time);
        }
    }

    /// Lets no request start for `time`.
    pub(crate) fn pause(&self, time: Duration) {
        let Some(until) = Instant::now().checked_add(time) else { return };
        let mut state = self.core.state();
        let free_at = state.paused_until.map_or_else(Instant::now, |before| before.max(Instant::now()));
        state.pace.paused(until.saturating_duration_since(free_at));
        state.paused_until = Some(until.max(free_at));
        drop(state);
        self.core.changed.notify_waiters();
    }

    /// Takes to heart how much the source says is left.
    pub(crate) fn heed(&self, quota: &Quota) {
        let now = Instant::now();
        let mut state = self.core.state();
        if let Some(rate) = quota.short_rate() {
            state.pace.declared(rate);
        }
        if let (Some(remaining), Some(until)) =
            (quota.remaining, quota.reset.and_then(|r| now.checked_add(r)))
        {
            // Those under way may not be counted in it yet; what was reckoned before knows of them.
            let reckoned = state.left.filter(|(_, end)| *end > now).map(|(left, _)| left);
            let left = reckoned.map_or(remaining, |reckoned| reckoned.min(remaining));
            state.left = Some((left, until));
        }
    }
}

impl Default for RateBudget {
    fn default() -> Self {
        Self::new(RateLimit::default())
    }
}

impl Core {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Starts a request, or says when that may be.
    fn start(&mut self, now: Instant, longest: Duration) -> Start {
        if self.under_way >= self.cap.most_now() {
            self.cap.full();
            return Start::Later;
        }
        let mut at = self.paused_until.map_or(now, |until| until.max(now));
        if let Some((left, until)) = self.left {
            if until <= now {
                self.left = None;
            } else if left == 0 {
                at = at.max(until);
            }
        }
        if at.saturating_duration_since(now) > longest {
            return Start::Exhausted(at - now);
        }
        if let Some(interval) = self.limit.interval() {
            let slack = interval.saturating_mul(self.limit.burst.saturating_sub(1));
            let full_at = self.full_at.map_or(at, |full_at| full_at.max(at - LATE.min(interval / 2)));
            at = full_at.checked_sub(slack).map_or(at, |start| at.max(start));
            if at <= now {
                self.full_at = full_at.checked_add(interval);
            }
        }
        if let Some(next) = self.pace.next_at() {
            at = at.max(next);
        }
        if at > now {
            return Start::At(at);
        }
        self.pace.started(now);
        self.under_way += 1;
        if let Some((left, _)) = &mut self.left {
            *left = left.saturating_sub(1);
        }
        Start::Now
    }
}

/// Timers ring a little late; so much of it does not count, or the rate would never be reached.
const LATE: Duration = Duration::from_millis(10);

impl Permit {
    /// Tells the budget what became of the request.
    pub(crate) fn ended(&self, outcome: Outcome) {
        let now = Instant::now();
        let mut state = self.core.state();
        match outcome {
            Outcome::Answered => {
                state.pace.answered(now);
                state.cap.answered(now - self.started_at);
            }
            Outcome::Refused => {
                state.pace.refused(self.started_at, now);
                state.cap.congested(self.started_at, now);
            }
            Outcome::Failed => state.cap.congested(self.started_at, now),
        }
        drop(state);
        self.core.changed.notify_waiters();
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.core.state().under_way -= 1;
        self.core.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests;
