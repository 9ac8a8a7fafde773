//! Runs connectors that live outside the `headwater` process: connectors in Python, unmodified, and any executable
//! that speaks the worker protocol (`docs/PROTOCOL.md`).
//!
//! ```text
//! let runtime = Runtime::new(RuntimeSettings::new(project.join(".headwater")));
//! let environment = runtime.prepare(&definition, &|progress| …).await?;     // makes a virtual environment, once
//! let description = runtime.describe(&definition, &environment).await?;     // for `connector add` and `info`
//! let factory = runtime.factory(&definition, &environment).await?;           // an `Arc<dyn ConnectorFactory>`
//! ```
//!
//! **Invariant:** a connector's code never runs in this process, and none of it before [`Runtime::describe`] or
//! [`Runtime::factory`] is called for it: [`Runtime::prepare`] reads its files only.
//! **Invariant:** options travel over a worker's standard input only, and no text of a worker reaches the log or an
//! error before the secrets in it have been replaced.
//! **Invariant:** nothing that a worker does (or fails to do) makes this process hang, panic, or hold more memory
//! than the protocol's limits; dropping a factory, an instance or a stream leaves no process behind.
//!
//! Start reading at [`Runtime`]; a worker's life is in `worker`, and what it may send in
//! `headwater_connect::protocol`.

mod body;
mod connector;
mod definition;
mod describe;
mod environment;
mod error;
mod log;
mod package;
mod pool;
mod process;
mod redact;
mod runtime;
mod unused;
mod worker;

pub use definition::{ConnectorDefinition, ConnectorSource, RuntimeSettings};
pub use describe::Description;
pub use error::{LastOutput, PrepareError, PythonsFound};
pub use runtime::{Environment, Progress, Runtime};
pub use unused::Unused;
