use std::sync::Arc;
use std::time::Duration;

use crate::{FlowError, FlowMetrics, FlowStatus, UpdateState};

/// Hears what a running update does, to show it. Called from the update's own tasks: return quickly, never block.
pub trait Observer: Send + Sync {
    /// The update has come to another state.
    fn update_state(&self, state: UpdateState) {
        let _ = state;
    }

    /// A flow is there; called once for each before the first starts, with the name of the source's table.
    fn flow_added(&self, flow: &FlowId) {
        let _ = flow;
    }

    /// A flow has come to another state.
    fn flow_status(&self, flow: &FlowId, status: FlowStatus) {
        let _ = (flow, status);
    }

    /// A flow has read or committed something. Comes often.
    fn flow_progress(&self, flow: &FlowId, metrics: &FlowMetrics) {
        let _ = (flow, metrics);
    }

    /// A flow failed and tries again after a pause.
    fn flow_retry(&self, flow: &FlowId, error: &FlowError, attempt: u32, pause: Duration) {
        let _ = (flow, error, attempt, pause);
    }

    /// Something the user should know; of the update itself where there is no flow.
    fn warning(&self, flow: Option<&FlowId>, message: &str) {
        let _ = (flow, message);
    }
}

/// Hears nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Observer for Silent {}

/// Which flow something is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FlowId {
    /// The name of the flow in its table.
    pub flow: Arc<str>,
    /// The table of the source.
    pub source_table: Arc<str>,
    /// The table of the lake, `catalog.schema.table`.
    pub destination: Arc<str>,
}
