//! The lake against real files, a real S3 server, and readers of Delta tables that others wrote.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests stand outside of test functions"
)]

mod canon;
mod cdc;
mod cdc_beside;
mod cdc_drift;
mod cdc_faults;
mod cdc_kill;
mod cdc_model;
mod cdc_readers;
mod cdc_snapshots;
mod cdc_tombstones;
mod cdc_values;
mod commit;
mod common;
mod faults;
mod foreign;
mod maker;
mod model;
mod readers;
mod s3;
mod schema_change;
mod snapshot;
mod spill;
mod upkeep;
mod upkeep_cdc;
