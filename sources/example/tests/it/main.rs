//! Drives the connector as an engine does, against a shop of its own, and compares what it gives with what the shop
//! holds.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests are tests; the lints know functions marked as such only"
)]

mod contract;
mod drive;
mod faults;
mod parts;
mod rules;
