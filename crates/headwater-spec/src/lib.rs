//! Pipeline specs and connector specs: text in, checked values or precise complaints out.
//!
//! Four documents, each as YAML or JSON:
//!
//! * [`PipelineSpec`]: which tables of which connection land where, and how;
//! * [`ConnectorSpec`]: what a connector's connection needs, and which table options it takes;
//! * [`ProjectSpec`]: where a project's tables go, and its connections;
//! * [`SuiteSpec`]: how the contract suite tests a connector.
//!
//! Each is described once, in a table of fields (`pipeline_fields`, `connector_fields`, `project`, `suite`). The checker, the JSON
//! Schema ([`pipeline_schema`], [`connector_schema`], [`suite_schema`]) and the reference pages ([`pipeline_reference`],
//! [`connector_reference`]) all read that table, so they cannot disagree.
//!
//! **Invariant:** this crate does no I/O. It takes text and the name to show for it, never a path to open.
//! **Invariant:** no input makes it panic, recurse without bound, or use memory out of proportion to the text:
//! size, depth and the growth by aliases are limited (see `node`).
//!
//! YAML is read through the events of `saphyr-parser` rather than a ready tree or a serde front end: events carry
//! positions, keep a scalar as it was written (`1.10`, `2024-01-01` and `no` stay text where text is meant), and let
//! the limits apply before an alias is copied. JSON has a reader of its own, because YAML is not quite a superset
//! of it (surrogate escapes, tabs).
//!
//! Start reading at [`PipelineSpec::parse`].

mod check;
mod connector;
mod connector_fields;
mod connector_options;
mod cron;
mod diagnostic;
pub mod document;
mod fields;
mod json;
mod names;
mod node;
mod pipeline;
mod pipeline_build;
mod pipeline_fields;
mod pipeline_tables;
mod project;
mod reference;
mod schema;
mod suite;
mod write;
mod yaml;

pub use connector::{AuthMethod, ConnectorSpec, OAuthSpec, Parameter, ParameterType, is_secret_name};
pub use connector_options::{ChosenAuth, OptionProblem, TableOptionRefused};
pub use diagnostic::{Diagnostic, Parsed, Problem, Severity, SpecErrors};
pub use node::Position;
pub use pipeline::{
    EventLogSpec, Object, OnBadRecord, PeriodUnit, PipelineSpec, Retention, ScdType, Schedule, SchemaObject,
    TableConfiguration, TableObject, Trigger,
};
pub use pipeline_tables::{Listing, TableList};
pub use project::{ConnectionSpec, ConnectorOrigin, ConnectorSource, ProjectSpec};
pub use reference::{connector_reference, pipeline_reference};
pub use schema::{connector_schema, pipeline_schema, suite_schema};
pub use suite::{SkippedRule, SuiteSpec, UnfilledColumn};
