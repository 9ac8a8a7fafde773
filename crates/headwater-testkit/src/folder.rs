//! What lies beside a connector for its tests: `simulator/` with the description, the corpus, the cassettes and
//! `suite.yaml`.

use std::path::{Path, PathBuf};

use headwater_connect::{ConnectorError, ConnectorFactory, Options};
use headwater_spec::{SpecErrors, SuiteSpec};

use crate::simulator::{Description, LoadErrors, Mode, Settings, Simulator, StartError};
use crate::{LogWatch, Report, SimulatedStage, Subject, run};

/// What stands for the simulator's address in the options of a `suite.yaml`.
const SIMULATOR: &str = "{simulator}";

/// The largest `suite.yaml` that is read.
const MAX_BYTES: u64 = 4 << 20;

/// The folder `simulator` of a connector.
#[derive(Debug, Clone)]
pub struct SimulatorFolder {
    /// The folder.
    pub path: PathBuf,
    /// What its `suite.yaml` says; nothing where there is none.
    pub suite: SuiteSpec,
}

/// Why the tests of a connector could not begin.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SimulatedError {
    /// `suite.yaml` is there, and cannot be read.
    #[error("{} cannot be read", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// `suite.yaml` is wrong.
    #[error("suite.yaml is wrong")]
    Suite(#[source] SpecErrors),
    /// The description of the source is wrong.
    #[error("the description of the source is wrong")]
    Description(#[source] LoadErrors),
    /// The simulator did not start.
    #[error("the simulator cannot be started")]
    Start(#[source] StartError),
    /// The connector did not begin.
    #[error("the connector cannot be tested")]
    Connector(#[source] ConnectorError),
}

impl SimulatorFolder {
    /// Reads `simulator/suite.yaml` below a connector's folder.
    ///
    /// # Errors
    /// It is there, and cannot be read or is wrong.
    pub fn of(connector: &Path) -> Result<Self, SimulatedError> {
        let path = connector.join("simulator");
        let file = path.join("suite.yaml");
        let unreadable = |source| SimulatedError::Unreadable { path: file.clone(), source };
        let suite = match std::fs::metadata(&file) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => SuiteSpec::default(),
            Err(error) => return Err(unreadable(error)),
            Ok(metadata) if metadata.len() > MAX_BYTES => {
                return Err(unreadable(std::io::Error::other("it has more than 4 MiB")));
            }
            Ok(_) => {
                let bytes = std::fs::read(&file).map_err(unreadable)?;
                let parsed = SuiteSpec::parse_bytes(&bytes, &file.display().to_string());
                parsed.map_err(SimulatedError::Suite)?.value
            }
        };
        Ok(Self { path, suite })
    }

    /// Says whether there is a description of the source.
    pub fn has_description(&self) -> bool {
        self.path.join("endpoints.yaml").is_file() || self.path.join("endpoints.yml").is_file()
    }

    /// The description of the source, and its corpus.
    ///
    /// # Errors
    /// They are missing or wrong.
    pub fn description(&self) -> Result<Description, SimulatedError> {
        Description::load(&self.path).map_err(SimulatedError::Description)
    }

    /// The file that `record` writes and `replay` reads.
    pub fn cassette(&self) -> PathBuf {
        self.path.join("cassettes").join("suite.json")
    }

    /// The options of the connection with which the connector is led to a simulator at `base_url`.
    pub fn connection(&self, base_url: &str) -> Options {
        self.suite
            .connection
            .iter()
            .map(|(name, value)| (name.clone(), value.replace(SIMULATOR, base_url)))
            .collect()
    }
}

/// Starts the simulator of the folder beside a connector, and holds the connector to every rule there: what the tests
/// of a connector in Rust call. Its `suite.yaml` leads the connector to the simulator by `{simulator}`.
///
/// # Errors
/// The folder is wrong, or the connector does not even begin.
pub async fn simulate(
    factory: &dyn ConnectorFactory,
    connector: &Path,
    log: Option<LogWatch>,
) -> Result<Report, SimulatedError> {
    let folder = SimulatorFolder::of(connector)?;
    let description = folder.description()?;
    let grows = description.synthesizes_records();
    let settings = Settings { mode: Mode::Simulate, ..Settings::default() };
    let simulator = Simulator::start(description, settings).map_err(SimulatedError::Start)?;
    let stage = SimulatedStage::new(simulator.control(), grows);
    let mut subject = Subject::new(factory, folder.connection(&simulator.base_url()));
    subject.follow(&folder.suite);
    subject.complete = true;
    subject.stage = Some(&stage);
    subject.log = log;
    run(&subject, &|_| {}).await.map_err(SimulatedError::Connector)
}
