//! Workers of every kind, driven through the public interface.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests stand outside of test functions"
)]

mod python;
mod served;
mod support;
mod workers;
