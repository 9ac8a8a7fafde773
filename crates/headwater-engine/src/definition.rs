use std::sync::Arc;

use headwater_lake::TableName;
use headwater_spec::{Parsed, PipelineSpec};

/// A pipeline: its spec, with everything filled in that the spec leaves to defaults.
#[derive(Debug, Clone)]
pub struct PipelineDefinition {
    /// Names the pipeline for good; the name, where nobody gave it another id.
    pub id: String,
    /// The name. Part of the flows' names in the tables, so a renamed pipeline starts over.
    pub name: String,
    /// Where tables go that do not say so themselves.
    pub catalog: String,
    /// Where tables go that do not say so themselves.
    pub schema: String,
    /// What it reads, through which connection. Knows the place of everything in its document, for errors.
    pub spec: Arc<Parsed<PipelineSpec>>,
    /// The table that keeps the events; `None` keeps none.
    pub event_log: Option<TableName>,
}

impl PipelineDefinition {
    /// The connection that it reads through.
    pub fn connection_name(&self) -> &str {
        self.spec.value.connection_name()
    }
}

/// The name of a flow in its table: what the offset and the transaction are filed under.
pub fn flow_name(pipeline: &str, source_table: &str) -> String {
    format!("{pipeline}.{source_table}")
}

/// The name of the flow of a table's deletions, beside the flow of its records.
pub fn deletes_flow_name(flow: &str) -> String {
    format!("{flow}.deletes")
}
