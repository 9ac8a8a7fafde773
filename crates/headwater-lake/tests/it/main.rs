//! Tests of the lake against real files.

mod commit;
mod common;
mod faults;
mod schema_change;
mod snapshot;
