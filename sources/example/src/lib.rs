//! The embedded example shop: an HTTP server with a small shop in it that grows, and the connector that reads it.
//!
//! The server stands for the sources of the real world: it pages in the usual ways, filters by time, refuses
//! requests now and then, and changes while it is read. All of it follows from a seed and a number of steps, so
//! what a read must give is known. The connector is the model for those who write one; start reading at
//! [`connector`](ExampleConnector).
//!
//! **Invariant:** the connector knows of the shop only what its HTTP interface says (`api.md`); it never looks
//! into the server, although both may run in one process.

mod connector;
mod factory;
mod records;
mod server;
mod shop;
mod tables;

pub use connector::ExampleConnector;
pub use factory::ExampleFactory;
pub use server::{ExampleOptions, ExampleServer, ServerError};

/// The connector's specification: connection parameters and the options that a table may have.
pub const CONNECTOR_SPEC: &str = include_str!("../connector_spec.yaml");
