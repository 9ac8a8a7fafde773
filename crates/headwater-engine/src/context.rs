use std::sync::{Arc, Mutex, PoisonError};

use headwater_connect::{Clock, Offset};
use headwater_lake::{Lake, SchemaChange, TableName};

use crate::events::EventLog;
use crate::memory::FlowMemory;
use crate::observer::{FlowId, Observer};
use crate::plan::Part;
use crate::settings::EngineSettings;
use crate::{Cancellation, FlowMetrics};

/// What the stages of one flow share.
pub(crate) struct FlowContext {
    pub(crate) id: FlowId,
    pub(crate) destination: TableName,
    pub(crate) lake: Arc<dyn Lake>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) settings: Arc<EngineSettings>,
    pub(crate) memory: FlowMemory,
    pub(crate) cancel: Cancellation,
    pub(crate) observer: Arc<dyn Observer>,
    pub(crate) events: EventLog,
    pub(crate) progress: Mutex<Progress>,
}

/// How far a flow is.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    pub(crate) metrics: FlowMetrics,
    /// The offset of the last commit, or that the table held at the start.
    pub(crate) offset: Option<Offset>,
    /// The same of the deletions.
    pub(crate) deletes_offset: Option<Offset>,
    pub(crate) changes: Vec<SchemaChange>,
}

impl Progress {
    /// Where a flow of the table stands.
    pub(crate) fn offset_of(&mut self, part: Part) -> &mut Option<Offset> {
        match part {
            Part::Records => &mut self.offset,
            Part::Deletions => &mut self.deletes_offset,
        }
    }
}

impl FlowContext {
    /// Changes the figures, and tells the observer.
    pub(crate) fn count(&self, change: impl FnOnce(&mut FlowMetrics)) {
        let metrics = self.with_progress(|progress| {
            change(&mut progress.metrics);
            progress.metrics
        });
        self.observer.flow_progress(&self.id, &metrics);
    }

    pub(crate) fn metrics(&self) -> FlowMetrics {
        self.with_progress(|progress| progress.metrics)
    }

    pub(crate) fn with_progress<T>(&self, look: impl FnOnce(&mut Progress) -> T) -> T {
        look(&mut self.progress.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
