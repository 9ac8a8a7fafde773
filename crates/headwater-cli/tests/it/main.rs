//! Runs the real `headwater` binary, and looks at what it prints, how it ends and what is in the warehouse.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "helpers of tests, like tests, end by panicking and say what they do"
)]

mod arguments;
mod bad_input;
mod changes;
mod connections;
mod faults;
mod github;
mod harness;
mod kill;
mod object_store;
mod python;
mod python_agent;
mod python_environments;
mod python_kill;
mod python_origins;
mod python_support;
mod python_wiki;
mod scaffold;
mod secrets;
mod signals;
mod simulate;
mod story;
mod suite;
