use std::path::PathBuf;
use std::sync::Arc;

use crate::RuntimeSettings;

/// Runs the connectors of a project. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Runtime {
    settings: Arc<RuntimeSettings>,
}

impl Runtime {
    /// A runtime with these settings. Nothing is done yet.
    pub fn new(settings: RuntimeSettings) -> Self {
        Self { settings: Arc::new(settings) }
    }

    /// The settings.
    pub fn settings(&self) -> &RuntimeSettings {
        &self.settings
    }
}

/// What a connector runs in, made ready by [`Runtime::prepare`].
#[derive(Debug, Clone)]
pub struct Environment {
    /// The Python, where the connector needs one.
    pub(crate) python: Option<PathBuf>,
}

impl Environment {
    /// The Python that runs the connector; none for an executable.
    pub fn python(&self) -> Option<&std::path::Path> {
        self.python.as_deref()
    }
}

/// What is being done to make an environment ready; shown to whoever waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// Another process is making the same environment.
    Waiting,
    /// A step begins, such as `making a virtual environment`.
    Step(&'static str),
    /// A line that pip wrote.
    Line(String),
}
