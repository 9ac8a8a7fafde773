//! Workers of every kind, driven through the public interface.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests stand outside of test functions"
)]

mod environments;
#[path = "../../../headwater-decode/tests/it/landing.rs"]
mod landing;
mod python;
mod served;
mod support;
mod values;
mod workers;
