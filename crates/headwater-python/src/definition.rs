use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// A connector that runs outside the `headwater` process, as a project knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectorDefinition {
    /// The name that connections use.
    pub name: String,
    /// Where it is.
    pub source: ConnectorSource,
    /// The connector class, where its package holds several: a class name, or `module:Class`.
    pub class: Option<String>,
    /// Extras of its package that are installed too.
    pub extras: Vec<String>,
}

/// Where a connector is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConnectorSource {
    /// A Python connector in a folder, or in one file.
    Folder {
        /// The folder of the connector's package (or its one file).
        path: PathBuf,
        /// The repository that it came from: what the connector imports of the framework and we do not have is
        /// looked up there.
        repository: Option<PathBuf>,
    },
    /// A Python connector that the project's Python can import.
    Module {
        /// Its full name, such as `my_company.connectors.crm`.
        module: String,
    },
    /// An executable that speaks the worker protocol.
    Command {
        /// The executable.
        program: PathBuf,
        /// Its arguments.
        args: Vec<String>,
    },
}

/// What running connectors depends on besides the connector.
#[derive(Debug, Clone)]
pub struct RuntimeSettings {
    /// A folder of the project's for environments, the unpacked package, and the workers' temporary files. Made where
    /// it is missing; may be removed while nothing runs.
    pub state_dir: PathBuf,
    /// The Python to use, instead of looking for one.
    pub python: Option<PathBuf>,
    /// `PATH`, in which a Python is looked for.
    pub search_path: Option<OsString>,
    /// `PYTHONPATH`: where modules of the user's own are looked for besides the environment.
    pub module_path: Option<OsString>,
    /// Variables that a worker's environment has besides those of this process.
    pub environment: Vec<(String, OsString)>,
    /// How long a request may take without a record or its end, where the connection does not say.
    pub call_timeout: Duration,
    /// How many workers may read parts of one table at the same time.
    pub parallel_parts: usize,
}

impl RuntimeSettings {
    /// How long a request may take without a record or its end.
    pub const CALL_TIMEOUT: Duration = Duration::from_secs(15 * 60);

    /// Settings with defaults, for a state folder.
    pub fn new(state_dir: impl Into<PathBuf>) -> Self {
        let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        Self {
            state_dir: state_dir.into(),
            python: None,
            search_path: None,
            module_path: None,
            environment: Vec::new(),
            call_timeout: Self::CALL_TIMEOUT,
            parallel_parts: cores.max(2),
        }
    }
}
