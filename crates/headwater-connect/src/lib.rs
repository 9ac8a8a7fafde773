//! The connector contract: what a source connector gives, and what it may rely on.
//!
//! A connector answers five questions about a source: which tables there are, their schemas, how each is
//! ingested, which records there are since an offset, and which were deleted. Everything else (conversion,
//! ordering, exactly-once delivery, retries, storage) is the engine's work.
//!
//! **Invariant:** this crate does no I/O, so that any crate may depend on it; only the feature `serve`, for connectors
//! that are executables of their own, reads standard input and writes standard output.
//!
//! Start reading at [`Connector`]; its methods carry the numbered rules (R1, R2, …).

mod clock;
mod connector;
mod error;
mod exception;
pub mod json_scan;
mod metadata;
mod offset;
mod options;
mod page;
mod partition;
mod profile;
pub mod protocol;
mod schema;
#[cfg(feature = "serve")]
mod serve;

pub use clock::{Clock, ManualClock, SystemClock};
pub use connector::{
    AgentOperation, AgentParameter, Connector, ConnectorFactory, SupportsAgent, SupportsNamespaces,
    SupportsPartition, SupportsPartitionedStream,
};
pub use error::{Blame, BoxError, ConnectorError, Retry};
pub use exception::{Exception, LastLog, Trace};
pub use metadata::{IngestionType, TableMetadata};
pub use offset::{Offset, OffsetError};
pub use options::{Options, Secret};
pub use page::{JsonPointer, Page, PageStream, ReadItem};
pub use partition::Partition;
pub use profile::Profile;
pub use schema::{DataType, SchemaError, StructField, StructType};
#[cfg(feature = "serve")]
pub use serve::{ServeError, serve, serve_on};
