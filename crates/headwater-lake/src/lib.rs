//! Delta tables: create, evolve, append, replace, compact, vacuum.
//!
//! The only crate that knows `delta_kernel`, `object_store` and `parquet`. The engine sees the traits of
//! [`api`] alone, so it can be tested against a lake that fails wherever the test wants.
//!
//! **Invariant:** the table is the checkpoint. A commit holds the rows *and* the offset that they reach; there is
//! no second place that knows how far a flow got.
//!
//! **Invariant:** a commit is one file, `_delta_log/N.json`, that is created or is not. Everything before it only
//! adds files that no version names; everything after it (checkpoints, checksums) may fail without harm.
//!
//! Start reading at [`DeltaLake`], then `writer` (what a micro-batch goes through) and `table` (the commit).
//! `kernel` and `upkeep::kernel` are the only modules that touch the internal API of `delta_kernel`: snapshots,
//! listings, reading, checkpoints, checksums.

pub mod api;

mod actions;
mod adapt;
mod cdc;
mod encode;
mod files;
mod kernel;
mod lake;
mod plan;
mod protocol;
mod read;
mod rows;
mod schema;
mod stats;
mod store;
mod table;
mod tune;
mod upkeep;
mod writer;

pub use api::*;
pub use lake::DeltaLake;
pub use store::LakeOptions;
