//! What connectors are tested with: the contract suite, a test per numbered rule of
//! [`headwater_connect::Connector`], for connectors in any language.
//!
//! A connector's tests make a [`Subject`] and call [`run`]; what comes back is a [`Report`] of every test: the rule, the
//! table, how it went, what was seen and what to change. `headwater test` does the same from the command line. The
//! source must stand still while the suite runs, except where a rule says otherwise. A source that may be asked
//! anything is [`simulator`]: a real HTTP server made of a description and a corpus.
//!
//! **Invariant:** the suite only reads, and asks for nothing that the contract does not promise; what changes a source
//! is the caller's own [`WriteBack`], and is deleted afterwards.
//!
//! What lies beside a connector for it is in [`SimulatorFolder`]. Start reading at [`run`]; the rules are in [`RULES`], and a function each in `contract`.

mod contract;
mod folder;
mod junit;
mod reading;
mod report;
mod rules;
mod secrets;
pub mod simulator;
mod stage;
mod subject;
mod trial;
mod write_back;

pub use contract::{Breach, check, run};
pub use headwater_spec::{SkippedRule, SuiteSpec, UnfilledColumn};

pub use folder::{SimulatedError, SimulatorFolder, simulate};
pub use report::{Counts, Outcome, Report, TestResult};
pub use rules::{RULES, Rule};
pub use secrets::LogWatch;
pub use stage::{Disturbance, SimulatedStage, Stage, When};
pub use subject::Subject;
pub use write_back::{Changes, Key, RemoteWriteBack, WriteBack, WriteBackError};
