//! Tests of the lake against real files.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests stand outside of test functions")]

mod commit;
mod common;
mod faults;
mod schema_change;
mod snapshot;
