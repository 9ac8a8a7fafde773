//! The connector against the simulator: the contract, and what changes between and during reads.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests are tests; the lints know functions marked as such only"
)]

mod access;
mod changes;
mod commits;
mod corpus;
mod limits;
mod pulls;
mod repositories;
mod rules;
mod runs;
mod support;
