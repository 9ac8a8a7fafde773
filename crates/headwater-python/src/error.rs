use std::fmt;
use std::io;
use std::path::PathBuf;

use headwater_connect::ConnectorError;

/// Why a connector's environment could not be made ready.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PrepareError {
    /// The connector is not where it should be.
    #[error("there is no connector at {}", .path.display())]
    NoConnector {
        /// The place.
        path: PathBuf,
    },
    /// No Python that is new enough was found.
    #[error("no suitable Python was found: {wanted} is needed")]
    NoPython {
        /// What is needed, such as `3.11 or newer`.
        wanted: String,
        /// What was found.
        #[source]
        found: PythonsFound,
    },
    /// The connector's list of requirements cannot be read.
    #[error("{} cannot be used: {reason}", .path.display())]
    Requirements {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A step of making the environment failed.
    #[error("{step} failed for connector `{connector}`")]
    Step {
        /// What was done.
        step: &'static str,
        /// For which connector.
        connector: String,
        /// The last that it said.
        #[source]
        output: LastOutput,
        /// It could not reach a package index.
        offline: bool,
    },
    /// A file or folder of the state could not be read or written.
    #[error("cannot {action} {}", .path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The connector itself could not be asked.
    #[error("connector `{connector}` cannot be described")]
    Describe {
        /// Which.
        connector: String,
        /// Why.
        #[source]
        source: Box<ConnectorError>,
    },
}

impl PrepareError {
    /// Says what to change.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            PrepareError::NoConnector { .. } => "check the path, or add the connector again".into(),
            PrepareError::NoPython { .. } => {
                "install Python 3.11 or newer, or name one that is installed in the setting `python`".into()
            }
            PrepareError::Requirements { .. } => {
                "name what the connector needs in `[project] dependencies` of its pyproject.toml, or in a \
                 requirements.txt beside it"
                    .into()
            }
            PrepareError::Step { offline: true, .. } => {
                "the machine cannot reach a package index: connect it, or point pip to an index or a folder of \
                 wheels within reach (PIP_INDEX_URL, or PIP_NO_INDEX=1 with PIP_FIND_LINKS)"
                    .into()
            }
            PrepareError::Step { step: steps::VENV, .. } => {
                "Python's modules `venv` and `ensurepip` are needed; some systems have them in a package of their \
                 own, such as python3-venv"
                    .into()
            }
            PrepareError::Step { .. } => {
                "check the connector's requirements; what pip said is above".into()
            }
            PrepareError::File { .. } => {
                "check the free space and the permissions of the project's state folder".into()
            }
            PrepareError::Describe { source, .. } => return source.hint(),
        })
    }
}

/// Names of the steps that can fail.
pub(crate) mod steps {
    /// Making the virtual environment.
    pub(crate) const VENV: &str = "making a virtual environment";
    /// Installing into it.
    pub(crate) const INSTALL: &str = "installing the requirements";
    /// Asking an interpreter what it has and a connector what it needs.
    pub(crate) const INSPECT: &str = "looking at the connector's requirements";
}

/// The interpreters that were looked at, and why each was not taken.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PythonsFound(pub Vec<(String, String)>);

impl fmt::Display for PythonsFound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("there is no Python in the search path");
        }
        f.write_str("looked at ")?;
        for (index, (path, what)) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            write!(f, "{separator}{path} ({what})")?;
        }
        Ok(())
    }
}

impl std::error::Error for PythonsFound {}

/// The last lines that a program wrote.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LastOutput(pub Vec<String>);

impl fmt::Display for LastOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("it said nothing");
        }
        f.write_str("it said:")?;
        self.0.iter().try_for_each(|line| write!(f, "\n  {line}"))
    }
}

impl std::error::Error for LastOutput {}
