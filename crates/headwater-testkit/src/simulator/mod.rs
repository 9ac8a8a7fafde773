//! The source simulator: a real HTTP server that answers as a source does, from a description and a corpus.
//!
//! [`Description::load`] reads `endpoints.yaml` and the corpus beside it. [`Simulator::start`] serves them on a port of
//! its own on loopback, until it is dropped: plain HTTP, TLS under any name, and as a proxy, all on that one port, so
//! that clients can be led to it without a change (see [`Simulator::base_url`] and [`CA_PATH`]). [`Control`] looks at
//! what was asked for, sets faults, and changes records between requests.
//!
//! [`Mode`] chooses where answers come from: the corpus, the real source (recorded or not), or a recording.
//!
//! **Invariant:** the port is on loopback only. **Invariant:** no secret that it was told of, and no value under a name
//! that secrets have, is written to a cassette. **Invariant:** the same seed and the same requests in the same order give
//! the same answers.
//!
//! Start reading at [`answer`](self) (the module), which follows one request from its first byte to its answer.

mod answer;
mod cassette;
mod certificates;
mod compare;
mod corpus;
mod description;
mod faults;
mod grow;
mod handler;
mod lead;
mod load;
mod load_extras;
mod query;
mod rate;
mod redact;
mod server;
mod state;
mod upstream;
mod value;
mod wire;

mod control;

pub use cassette::CassetteError;
pub use compare::Difference;
pub use control::{Control, Mode, Observer, SeenRequest, Settings, Simulator, StartError};
pub use corpus::ChangeError;
pub use description::{Description, Endpoint};
pub use faults::{Fault, FaultKind, FaultParseError, When};
pub use handler::{Handler, HandlerAnswer, HandlerRequest};
pub use lead::{LeadError, environment_of, lead_process};
pub use load::LoadErrors;

/// Where the simulator gives the certificate that its own certificates are signed with, in PEM form.
pub const CA_PATH: &str = "/__headwater__/ca.pem";
