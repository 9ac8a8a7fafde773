//! Delta tables: create, evolve, append, replace, compact, vacuum.
//!
//! The only crate that knows `delta_kernel`, `object_store` and `parquet`. The engine sees the traits of
//! [`api`] alone, so it can be tested against a lake that fails wherever the test wants.
//!
//! **Invariant:** the table is the checkpoint. A commit holds the rows *and* the offset that they reach; there is
//! no second place that knows how far a flow got.

pub mod api;

pub use api::*;
