//! The rate that a source bears, found out from what it takes and what it refuses.
//!
//! A source that refuses has nothing left at that moment. What it takes from there to its next refusal is therefore what
//! came up anew in between, if all of it was used: so many requests in so much time are its rate. Until there are two
//! refusals a guess has to do, which grows; a rate that was measured is kept to for a while, and then tried a little above,
//! and more and more.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::LATE;

/// Allowances are rarely for less than a second: what was taken at once may be one for a second.
const SHORTEST_ALLOWANCE: Duration = Duration::from_secs(1);
/// A measure takes so long: what comes up in pauses may be lost, and weighs less then.
const LEAST_MEASURE: Duration = Duration::from_secs(5);
/// Fewer answers say nothing of a rate.
const LEAST_ANSWERS: u64 = 5;
/// What is used of a rate that was measured: pacing is never quite even, nor is a measure exact.
const SHARE: f64 = 0.98;
/// How fast a guess grows, each second.
const GROWTH: f64 = 0.25;
/// While the rate grows, what the source has taken in so long tells more than the whole time before.
const RECENT: Duration = Duration::from_secs(2);
/// So many refusals without an answer between are no matter of a moment.
const MANY_IN_A_ROW: u32 = 3;
/// More answers are not remembered one by one.
const MOST_RECENT: usize = 10_000;
/// How many requests a measured rate is kept to, within limits of time; it takes twice as long to get a little above it.
const HOLD_REQUESTS: f64 = 300.0;
const LEAST_HOLD_SECS: f64 = 6.0;
const MOST_HOLD_SECS: f64 = 60.0;
const SLOWEST_PER_SECOND: f64 = 0.02;
/// Single refusals make no rate slower than this: they may have another reason. A row of them does.
const SLOWEST_BY_STEPS: f64 = 1.0;
const FASTEST_PER_SECOND: f64 = 1e6;

#[derive(Debug, Default)]
pub(super) struct Pace {
    /// What the source says that it takes each second.
    declared: Option<f64>,
    learned: Option<Learned>,
    /// Since the last refusal, or since the work began.
    count: Count,
    /// When the last answers came.
    recent: VecDeque<Instant>,
    refused_at: Option<Instant>,
    /// Refusals since the last answer.
    in_a_row: u32,
    last_start: Option<Instant>,
    next_at: Option<Instant>,
}

#[derive(Debug, Clone, Copy)]
struct Learned {
    per_second: f64,
    measured: bool,
}

impl Learned {
    /// How long it is kept to, in seconds of work.
    fn hold_secs(self) -> f64 {
        (HOLD_REQUESTS / self.per_second).clamp(LEAST_HOLD_SECS, MOST_HOLD_SECS)
    }
}

#[derive(Debug, Default, Clone, Copy)]
struct Count {
    answered: u64,
    /// Time in which requests were sent, waits for the source's pauses and idle times left out.
    busy: Duration,
    /// Pauses that the source asked for.
    paused: Duration,
    /// Those of them that the time between two starts still holds.
    paused_since_start: Duration,
}

impl Pace {
    /// Takes note of a rate that the source itself names.
    pub(super) fn declared(&mut self, per_second: f64) {
        self.declared = Some(per_second.clamp(SLOWEST_PER_SECOND, FASTEST_PER_SECOND));
    }

    /// Requests a second that may be sent now; `None` where there is no reason to hold any back.
    pub(super) fn rate(&self) -> Option<f64> {
        let learned = self.learned.map(|learned| {
            let secs = self.count.busy.as_secs_f64();
            let hold = learned.hold_secs();
            let factor = match learned.measured {
                false => (GROWTH * secs).exp(),
                true if secs <= hold => SHARE,
                true if secs <= 3.0 * hold => SHARE + 0.04 * (secs - hold) / (2.0 * hold),
                true => 1.02 * ((secs - 3.0 * hold) / 40.0).exp(),
            };
            (learned.per_second * factor).clamp(SLOWEST_PER_SECOND, FASTEST_PER_SECOND)
        });
        match (self.declared, learned) {
            (Some(declared), Some(learned)) => Some(declared.min(learned)),
            (declared, learned) => declared.or(learned),
        }
    }

    fn interval(&self) -> Option<Duration> {
        self.rate().map(|rate| Duration::from_secs_f64(1.0 / rate))
    }

    /// Whether the source's rate is known well enough to go on at once after a refusal.
    pub(super) fn is_measured(&self) -> bool {
        self.in_a_row <= 1 && self.learned.is_some_and(|learned| learned.measured)
    }

    /// When the next request may start, where that is not at once.
    pub(super) fn next_at(&self) -> Option<Instant> {
        self.next_at
    }

    /// A request starts.
    pub(super) fn started(&mut self, now: Instant) {
        let gap = self.last_start.map_or(Duration::ZERO, |last| now - last);
        let gap = gap.saturating_sub(std::mem::take(&mut self.count.paused_since_start));
        let interval = self.interval();
        match interval {
            // A gap is idle time where nobody held the request back.
            Some(interval) => self.count.busy += gap.min(interval.saturating_mul(3)),
            None if gap > SHORTEST_ALLOWANCE * 2 => self.count = Count::default(),
            None => self.count.busy += gap,
        }
        self.last_start = Some(now);
        self.next_at = interval.map(|interval| {
            let due = self.next_at.map_or(now, |due| due.max(now - LATE.min(interval / 2)));
            due + interval
        });
    }

    /// A request was answered, and so was one of those that the source bears.
    pub(super) fn answered(&mut self, now: Instant) {
        self.count.answered += 1;
        self.in_a_row = 0;
        self.recent.push_back(now);
        while self.recent.len() > MOST_RECENT || self.recent.front().is_some_and(|at| now - *at > RECENT) {
            self.recent.pop_front();
        }
    }

    /// Answers a second, of late.
    fn recent_rate(&self, now: Instant) -> f64 {
        let counted = self.recent.iter().filter(|at| now - **at <= RECENT);
        let (count, first) = (counted.clone().count(), counted.min());
        let span = first.map_or(RECENT, |first| now - *first).max(RECENT / 4);
        #[allow(clippy::cast_precision_loss, reason = "a bounded count")]
        let rate = count as f64 / span.as_secs_f64();
        rate
    }

    /// All requests pause for `time` more.
    pub(super) fn paused(&mut self, time: Duration) {
        self.count.paused += time;
        self.count.paused_since_start += time;
    }

    /// A request that had started at `started_at` was refused.
    pub(super) fn refused(&mut self, started_at: Instant, now: Instant) {
        // Those that were under way at a refusal are refused for the same reason.
        if self.refused_at.is_some_and(|at| started_at < at) {
            return;
        }
        self.refused_at = Some(now);
        self.in_a_row += 1;
        #[allow(clippy::cast_precision_loss, reason = "no process sends so many requests")]
        let answered = self.count.answered as f64;
        let busy = self.count.busy.as_secs_f64();
        let whole = (busy + self.count.paused.as_secs_f64()).max(0.001);
        let present = self.rate();
        let holding = self.learned.is_some_and(|learned| learned.measured && busy <= learned.hold_secs());
        self.learned = match (self.learned, present) {
            (Some(learned), Some(present)) => Some(if self.in_a_row > 1 {
                // The source gives nothing before some moment, whatever the rate; or the rate is far too high.
                let factor = if self.in_a_row > MANY_IN_A_ROW { 0.5 } else { 1.0 };
                Learned { per_second: learned.per_second * factor, ..learned }
            } else if whole < SHORTEST_ALLOWANCE.as_secs_f64()
                || (holding && whole < LEAST_MEASURE.as_secs_f64())
            {
                // Too short to say; the count goes on from the refusal before this one.
                let slower = present * if holding { 0.95 } else { 0.7 };
                let per_second = slower.max(present.min(SLOWEST_BY_STEPS));
                self.learned = Some(Learned { per_second, ..learned });
                self.next_at = self.interval().map(|interval| now + interval);
                return;
            } else {
                // What was above the source's rate all the time used all that came up, but for what a source does not
                // keep for those who pause.
                let measured = match holding {
                    true => (answered / whole).max(present * 0.9),
                    false => f64::midpoint(self.recent_rate(now), present),
                };
                Learned { per_second: measured.min(present), measured: true }
            }),
            _ if self.count.answered < LEAST_ANSWERS => None,
            _ => {
                let per_second = answered / whole.max(SHORTEST_ALLOWANCE.as_secs_f64());
                Some(Learned { per_second, measured: false })
            }
        };
        if let Some(learned) = &mut self.learned {
            learned.per_second = learned.per_second.clamp(SLOWEST_PER_SECOND, FASTEST_PER_SECOND);
            self.count = Count::default();
            self.recent.clear();
        }
        self.next_at = self.interval().map(|interval| now + interval);
    }
}
