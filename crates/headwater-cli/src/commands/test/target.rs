//! The connector under test: one of the project, one that is built in, or a folder of no project.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use headwater_connect::{ConnectorFactory, Options};
use headwater_python::{ConnectorSource as Code, Environment};
use headwater_spec::{ConnectorOrigin, ConnectorSource, ConnectorSpec, is_secret_name};
use headwater_testkit::SimulatorFolder;

use super::simulated;
use crate::args;
use crate::config::{Project, cache_folder};
use crate::connectors::{External, Registry, is_built_in, spec_of};
use crate::fail::Failure;
use crate::output::Out;

/// The built-in connector that brings its own source.
const SELF_CONTAINED: &str = "example";

pub(super) struct Target {
    name: String,
    path: Option<PathBuf>,
    kind: Kind,
}

enum Kind {
    BuiltIn(Arc<dyn ConnectorFactory>),
    External(Box<External>),
}

/// A connector that can make instances.
pub(super) struct Ready {
    pub(super) factory: Arc<dyn ConnectorFactory>,
    /// What a connector in Python runs in.
    pub(super) environment: Option<Environment>,
}

impl Target {
    pub(super) fn find(
        arguments: &args::Test,
        project: Option<&Project>,
        out: &Out,
    ) -> Result<Self, Failure> {
        let name = arguments.connector.as_str();
        let added = project.and_then(|p| p.parsed.value.connectors.iter().find(|c| c.name == name));
        if let (Some(project), Some(source)) = (project, added) {
            let external = Box::new(External::locate(project, source, out)?);
            return Ok(Self { name: name.to_owned(), path: None, kind: Kind::External(external) });
        }
        if is_built_in(name) {
            let mut factories = crate::connectors::built_in();
            factories.retain(|factory| factory.name() == name);
            if let Some(factory) = factories.pop() {
                return Ok(Self { name: name.to_owned(), path: None, kind: Kind::BuiltIn(factory) });
            }
        }
        let path = Path::new(name);
        if path.is_dir() || path.is_file() {
            return Self::at(path, out);
        }
        let (message, hint) = Registry::new(project, out).unknown(name);
        Err(Failure::usage(message)
            .hint(hint)
            .hint("a connector in a folder is named by its path: `./my_source`"))
    }

    /// A connector in a folder or a file. What is made for it is kept in the user's cache folder.
    fn at(path: &Path, out: &Out) -> Result<Self, Failure> {
        let failed =
            |error: std::io::Error| Failure::other(format!("{} cannot be read", path.display()), &error);
        let path = path.canonicalize().map_err(failed)?;
        let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or("connector").to_owned();
        let root = cache_folder().unwrap_or_else(std::env::temp_dir).join("test");
        std::fs::create_dir_all(&root)
            .map_err(|error| Failure::other(format!("{} cannot be written", root.display()), &error))?;
        let project = Project::without_file(root)?;
        let source = ConnectorSource {
            name: stem.clone(),
            origin: ConnectorOrigin::Folder(path.display().to_string()),
            class: None,
            extras: Vec::new(),
            python: None,
            call_timeout: None,
            path: String::new(),
        };
        let external = Box::new(External::locate(&project, &source, out)?);
        Ok(Self { name: stem, path: Some(path), kind: Kind::External(external) })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn is_path(&self) -> bool {
        self.path.is_some()
    }

    /// Says whether it runs in a worker of ours.
    pub(super) fn is_python(&self) -> bool {
        match &self.kind {
            Kind::BuiltIn(_) => false,
            Kind::External(external) => !matches!(external.definition.source, Code::Command { .. }),
        }
    }

    /// Says whether it brings its own source.
    pub(super) fn is_self_contained(&self) -> bool {
        matches!(self.kind, Kind::BuiltIn(_)) && self.name == SELF_CONTAINED
    }

    /// Says whether it may have its records without asking anybody.
    pub(super) fn may_be_self_contained(&self) -> bool {
        matches!(self.kind, Kind::External(_))
    }

    /// The folder beside the connector, with what is there for its tests.
    pub(super) fn folder(&self, given: Option<&Path>) -> Result<SimulatorFolder, Failure> {
        if let Some(given) = given.filter(|given| !given.is_dir()) {
            return Err(Failure::usage(format!("there is no folder {}", given.display())));
        }
        let own = match &self.kind {
            Kind::External(external) => external.folder().map(Path::to_owned),
            // Where the sources of Headwater lie, in a clone of it.
            Kind::BuiltIn(_) => Some(Path::new("sources").join(&self.name)),
        };
        let folder = given.map(Path::to_owned).or(own).unwrap_or_default();
        SimulatorFolder::of(&folder).map_err(simulated)
    }

    #[must_use]
    pub(super) fn with_environment(self, environment: Vec<(String, OsString)>) -> Self {
        let kind = match self.kind {
            Kind::External(external) => Kind::External(Box::new(external.with_environment(environment))),
            built_in => built_in,
        };
        Self { kind, ..self }
    }

    /// Makes ready what the connector runs in, and its factory.
    pub(super) async fn ready(&self, out: &Out) -> Result<Ready, Failure> {
        match &self.kind {
            Kind::BuiltIn(factory) => Ok(Ready { factory: Arc::clone(factory), environment: None }),
            Kind::External(external) => {
                let environment = external.prepare(out).await?;
                let factory = external.factory(&environment).await?;
                Ok(Ready { factory, environment: Some(environment) })
            }
        }
    }

    /// A factory of the class that changes the source: run as the connector is, or, for one that is not in Python, as a
    /// file of its own.
    pub(super) async fn write_back(
        &self,
        ready: &Ready,
        file: &Path,
        out: &Out,
    ) -> Result<Arc<dyn ConnectorFactory>, Failure> {
        if let (Kind::External(external), Some(environment)) = (&self.kind, &ready.environment)
            && environment.python().is_some()
        {
            return Ok(external.write_back(environment, file));
        }
        let alone = Self::at(file, out)?;
        match (&alone.kind, alone.ready(out).await?.environment) {
            (Kind::External(external), Some(environment)) => Ok(external.write_back(&environment, file)),
            _ => Err(Failure::usage(format!("{} cannot be run", file.display()))),
        }
    }

    /// The values of those options that are secret.
    pub(super) fn secrets_of(&self, options: &Options) -> Vec<String> {
        let spec = match &self.kind {
            Kind::BuiltIn(factory) => spec_of(factory.as_ref()).ok(),
            Kind::External(external) => external.folder().and_then(|folder| {
                let text = std::fs::read_to_string(folder.join("connector_spec.yaml")).ok()?;
                ConnectorSpec::parse(&text, "connector_spec.yaml").ok().map(|parsed| parsed.value)
            }),
        };
        let secret =
            |name: &str| spec.as_ref().map_or_else(|| is_secret_name(name), |spec| spec.is_secret(name));
        options.iter().filter(|(name, _)| secret(name)).map(|(_, value)| value.to_owned()).collect()
    }
}
