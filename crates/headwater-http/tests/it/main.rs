//! The client against real servers on the loopback interface: well-behaved ones, and ones that send bytes that no
//! server should.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests are tests; the lints know functions marked as such only"
)]

mod bodies;
mod credentials;
mod limits;
mod paging;
mod records;
mod retries;
mod server;
mod styles;
mod tokens;
mod ways;
