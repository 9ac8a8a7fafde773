//! The rate that a source bears, found out from what it takes and what it refuses.
//!
//! A source that refuses has nothing left at that moment. What it takes from there to its next refusal is therefore what
//! came up anew in between: so many requests in so much time are its rate. Until there are two refusals a guess has to
//! do, which grows; a rate that was measured is kept to for a while, and then tried a little above, and more and more.

use std::time::Duration;

use tokio::time::Instant;

use super::LATE;

/// Allowances are rarely for less than a second: what was taken at once may be one for a second.
const SHORTEST_ALLOWANCE: Duration = Duration::from_secs(1);
/// Fewer answers say nothing of a rate.
const LEAST_ANSWERS: u64 = 5;
/// What is used of a rate that was measured: pacing is never quite even, nor is a measure exact.
const SHARE: f64 = 0.98;
/// How long a measured rate is kept to, in seconds of work.
const HOLD_SECS: f64 = 20.0;
/// How long it then takes to get a little above it.
const RISE_SECS: f64 = 20.0;
const SLOWEST_PER_SECOND: f64 = 0.02;
const FASTEST_PER_SECOND: f64 = 1e6;

#[derive(Debug, Default)]
pub(super) struct Pace {
    /// What the source says that it takes each second.
    declared: Option<f64>,
    learned: Option<Learned>,
    /// Since the last refusal, or since the work began.
    count: Count,
    refused_at: Option<Instant>,
    last_start: Option<Instant>,
    next_at: Option<Instant>,
}

#[derive(Debug, Clone, Copy)]
struct Learned {
    per_second: f64,
    measured: bool,
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
            let factor = match learned.measured {
                false => (0.15 * secs).exp(),
                true if secs <= HOLD_SECS => SHARE,
                true if secs <= HOLD_SECS + RISE_SECS => SHARE + 0.04 * (secs - HOLD_SECS) / RISE_SECS,
                true => 1.02 * ((secs - HOLD_SECS - RISE_SECS) / 60.0).exp(),
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
    pub(super) fn answered(&mut self) {
        self.count.answered += 1;
    }

    /// All requests pause for `time` more.
    pub(super) fn paused(&mut self, time: Duration) {
        self.count.paused += time;
        self.count.paused_since_start += time;
    }

    /// A request that had started at `started_at` was refused.
    pub(super) fn refused(&mut self, started_at: Instant, now: Instant) {
        // Those that were under way at a refusal are refused for the same reason.
        if self.refused_at.is_some_and(|at| started_at <= at) {
            return;
        }
        self.refused_at = Some(now);
        #[allow(clippy::cast_precision_loss, reason = "no process sends so many requests")]
        let answered = self.count.answered as f64;
        let busy = self.count.busy.as_secs_f64().max(0.001);
        let whole = busy + self.count.paused.as_secs_f64();
        let present = self.rate();
        let holding = self.learned.is_some_and(|learned| learned.measured) && busy <= HOLD_SECS;
        self.learned = match (self.learned, present) {
            (Some(learned), Some(present)) => Some(if self.count.answered == 0 {
                Learned { per_second: present / 2.0, ..learned }
            } else if whole < SHORTEST_ALLOWANCE.as_secs_f64() {
                // Too short to say; the count goes on from the refusal before this one.
                let per_second = present * 0.7;
                self.learned = Some(Learned { per_second, ..learned });
                self.next_at = self.interval().map(|interval| now + interval);
                return;
            } else {
                // A source may give what comes up in a pause later, or not at all. Where the rate was kept to and was
                // too much all the same, it is the first.
                let measured = if holding { answered / whole } else { answered / busy };
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
        }
        self.next_at = self.interval().map(|interval| now + interval);
    }
}
