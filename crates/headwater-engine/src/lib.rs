//! Updates and flows: from a connector's pages through micro-batches to commits.
//!
//! [`Engine::run`] runs one update of a pipeline: a flow for each table, some at the same time, within one budget
//! of memory. A flow fetches, decodes and writes at the same time; a micro-batch is committed only between two
//! reads, together with the offset that it reaches.
//!
//! **Invariant:** the engine knows connectors and the lake as traits only, and keeps no state of its own: where a
//! flow goes on is what its table says. An offset counts only when all records up to it are in the same commit.
//!
//! Start reading at `engine.rs` (an update), then `flow.rs` (attempts), `attempt.rs` (the stages of one attempt),
//! `reading.rs` (the rules by which a connector is driven) and `writing.rs` (commits). What a table is to be is settled
//! in `settle.rs`.

mod allocator;
mod attempt;
mod cancel;
mod columns;
mod context;
mod definition;
mod engine;
mod error;
mod events;
mod expand;
mod flow;
mod memory;
mod observer;
mod plan;
mod quarantine;
mod reading;
mod report;
mod settings;
mod settle;
mod writing;

pub use allocator::share_one_heap;
pub use cancel::Cancellation;
pub use definition::{PipelineDefinition, deletes_flow_name, flow_name};
pub use engine::{Engine, FullRefresh, PlannedTable, UpdatePlan, UpdateRequest};
pub use error::{FlowError, UpdateError};
pub use events::EVENT_LOG_TABLE;
pub use headwater_decode::{OnBadRecord, Profile};
pub use headwater_spec::{ScdType, TableConfiguration};
pub use observer::{FlowId, Observer, Silent};
pub use plan::{Reading, TablePlan};
pub use report::{DeletesReport, FlowMetrics, FlowReport, FlowStatus, UpdateReport, UpdateState};
pub use settings::{CommitPolicy, EngineSettings, RetryPolicy};
