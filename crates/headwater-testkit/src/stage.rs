//! What the suite may do to the source that it tests against.

use crate::simulator::{self, Control, Fault, FaultKind};

/// A fault that a source has now and then, and that passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disturbance {
    /// Status 500.
    ServerError,
    /// Status 429, with a pause of no length.
    TooManyRequests,
    /// The connection is reset.
    Reset,
    /// The body breaks off in its middle.
    Truncated,
}

impl Disturbance {
    /// All of them.
    pub const ALL: [Disturbance; 4] =
        [Disturbance::ServerError, Disturbance::TooManyRequests, Disturbance::Reset, Disturbance::Truncated];

    /// What the source does, in a few words.
    pub fn as_str(self) -> &'static str {
        match self {
            Disturbance::ServerError => "an answer with status 500",
            Disturbance::TooManyRequests => "an answer with status 429",
            Disturbance::Reset => "a connection that is reset",
            Disturbance::Truncated => "a body that breaks off",
        }
    }
}

/// When a disturbance comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// At one request, counted from 1 and from now.
    Request(u64),
    /// At random, at about this many of a hundred requests.
    Percent(u8),
}

/// A source that can be told to misbehave: the simulator, or one of a test's own.
pub trait Stage: Send + Sync {
    /// From now on the source has this fault, and no other. Its state and its counters start anew.
    fn disturb(&self, disturbance: Disturbance, when: When);

    /// From now on the source has no fault. Its state and its counters start anew.
    fn calm(&self);

    /// Whether the source adds records that lie ahead of now each time it is asked. False where it cannot.
    fn grow_ahead(&self, on: bool) -> bool;

    /// Requests that have been answered since the last change.
    fn requests(&self) -> u64;
}

/// The simulator as a stage.
#[derive(Debug, Clone)]
pub struct SimulatedStage {
    control: Control,
    grows: bool,
}

impl SimulatedStage {
    /// The stage of a simulator; `grows` says whether its description can add records from ahead of now.
    pub fn new(control: Control, grows: bool) -> Self {
        Self { control, grows }
    }
}

impl Stage for SimulatedStage {
    fn disturb(&self, disturbance: Disturbance, when: When) {
        self.calm();
        let when = match when {
            When::Request(number) => simulator::When::Nth(number),
            When::Percent(share) => simulator::When::Probability(f64::from(share) / 100.0),
        };
        let fault = match disturbance {
            Disturbance::ServerError => Fault::new(FaultKind::Status(500), when),
            Disturbance::TooManyRequests => {
                Fault::new(FaultKind::Status(429), when).retry_after(std::time::Duration::ZERO)
            }
            Disturbance::Reset => Fault::new(FaultKind::Reset, when),
            Disturbance::Truncated => Fault::new(FaultKind::TruncatedBody, when),
        };
        self.control.set_faults(vec![fault]);
    }

    fn calm(&self) {
        self.control.clear_faults();
        self.control.reset();
    }

    fn grow_ahead(&self, on: bool) -> bool {
        self.control.synthesize_future_records(on && self.grows);
        self.grows
    }

    fn requests(&self) -> u64 {
        self.control.request_count()
    }
}
