//! How many requests under way at the same time do a source good: one more for each round that goes well, three tenths
//! fewer when it does not.

use std::time::Duration;

use tokio::time::Instant;

/// How many there are at first, where so many are allowed.
const FIRST: f64 = 8.0;
/// Answers that take so many times longer than the quickest ones say that the source is at its limit …
const SLOW_FACTOR: u32 = 4;
/// … if they take this much longer at least.
const SLOW_AT_LEAST: Duration = Duration::from_millis(250);

#[derive(Debug)]
pub(super) struct Cap {
    most: f64,
    now: f64,
    /// Nothing has gone wrong yet: one more for each answer.
    fresh: bool,
    congested_at: Option<Instant>,
    quickest: Option<Duration>,
    /// The mean time of the last answers.
    usual: Duration,
    answers_since_check: f64,
    /// Answers that still count as given while others waited for room.
    pressed: f64,
}

impl Cap {
    pub(super) fn new(most: usize) -> Self {
        #[allow(clippy::cast_precision_loss, reason = "nobody has so many requests under way")]
        let most = most.max(1) as f64;
        Self {
            most,
            now: most.min(FIRST),
            fresh: true,
            congested_at: None,
            quickest: None,
            usual: Duration::ZERO,
            answers_since_check: 0.0,
            pressed: 0.0,
        }
    }

    pub(super) fn limit(&mut self, most: usize) {
        #[allow(clippy::cast_precision_loss, reason = "nobody has so many requests under way")]
        let most = most.max(1) as f64;
        self.most = most;
        self.now = self.now.min(most);
    }

    pub(super) fn most_now(&self) -> usize {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between one and a limit")]
        let now = self.now as usize;
        now
    }

    /// Somebody waits for room.
    pub(super) fn full(&mut self) {
        self.pressed = self.now;
    }

    /// A request was answered in `time`.
    pub(super) fn answered(&mut self, time: Duration) {
        self.quickest = Some(self.quickest.map_or(time, |quickest| quickest.min(time)));
        self.usual = if self.usual.is_zero() { time } else { self.usual * 9 / 10 + time / 10 };
        self.answers_since_check += 1.0;
        if self.is_slow() {
            if self.answers_since_check >= self.now {
                self.answers_since_check = 0.0;
                self.fresh = false;
                self.now = (self.now * 0.9).max(self.most.min(2.0));
                // What is slow all the time is how the source is.
                self.quickest = self.quickest.map(|quickest| quickest * 11 / 10);
            }
            return;
        }
        if self.answers_since_check >= self.now {
            self.answers_since_check = 0.0;
        }
        // Room that nobody uses says nothing of more room.
        if self.pressed >= 1.0 {
            self.pressed -= 1.0;
            self.now = (self.now + if self.fresh { 1.0 } else { 1.0 / self.now }).min(self.most);
        }
    }

    fn is_slow(&self) -> bool {
        self.quickest.is_some_and(|quickest| {
            self.usual > quickest * SLOW_FACTOR && self.usual > quickest + SLOW_AT_LEAST
        })
    }

    /// A request that had started at `started_at` was refused or failed.
    pub(super) fn congested(&mut self, started_at: Instant, now: Instant) {
        // Those that were under way when it happened are of the same trouble.
        if self.congested_at.is_some_and(|at| started_at < at) {
            return;
        }
        self.congested_at = Some(now);
        self.fresh = false;
        self.now = (self.now * 0.7).max(1.0);
    }
}
