//! The suite finds nothing in a sound connector, and each fault in one that has just that fault; the simulator answers
//! real clients as its description says.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests stand outside of test functions"
)]

mod contract;
mod shelf;
mod simulator_client;
mod simulator_faults;
mod simulator_lead;
mod simulator_limits;
mod simulator_load;
mod simulator_modes;
mod simulator_python;
mod simulator_query;
mod simulator_state;
