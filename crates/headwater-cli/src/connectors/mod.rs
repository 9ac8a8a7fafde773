//! The connectors there are: those built in, and those that the project has added.
//!
//! [`Registry`] gives factories by name. What a project has added is looked for in [`external`], fetched by [`git`] and
//! pinned by [`lock`].

mod external;
pub(crate) mod git;
mod lock;

use std::path::PathBuf;
use std::sync::Arc;

use headwater_connect::ConnectorFactory;
use headwater_source_example::ExampleFactory;
use headwater_source_github::GitHubFactory;
use headwater_source_mediawiki::MediaWikiFactory;
use headwater_spec::{ConnectorOrigin, ConnectorSource, ConnectorSpec};

pub(crate) use external::{External, forget, pin_back, unused, update};
pub(crate) use lock::Lock;

use crate::config::Project;
use crate::fail::{Exit, Failure};
use crate::names;
use crate::output::Out;

/// The connectors that are built in.
pub(crate) fn built_in() -> Vec<Arc<dyn ConnectorFactory>> {
    vec![Arc::new(ExampleFactory::default()), Arc::new(GitHubFactory), Arc::new(MediaWikiFactory)]
}

/// Says whether a connector of this name is built in.
pub(crate) fn is_built_in(name: &str) -> bool {
    built_in().iter().any(|factory| factory.name() == name)
}

/// The connectors of a project, or those built in where there is none.
pub(crate) struct Registry<'a> {
    project: Option<&'a Project>,
    out: &'a Out,
}

impl<'a> Registry<'a> {
    pub(crate) fn new(project: Option<&'a Project>, out: &'a Out) -> Self {
        Self { project, out }
    }

    /// The names of all.
    pub(crate) fn names(&self) -> Vec<String> {
        let built_in = built_in().into_iter().map(|f| f.name().to_owned());
        built_in.chain(self.added().iter().map(|c| c.name.clone())).collect()
    }

    /// What the project has added.
    pub(crate) fn added(&self) -> &'a [ConnectorSource] {
        self.project.map_or(&[], |project| &project.parsed.value.connectors)
    }

    /// The folder that a connector was added from.
    pub(crate) fn folder(&self, name: &str) -> Option<PathBuf> {
        let source = self.added().iter().find(|c| c.name == name)?;
        match &source.origin {
            ConnectorOrigin::Folder(folder) => Some(self.project?.root.join(folder)).filter(|f| f.is_dir()),
            _ => None,
        }
    }

    /// What to say about a connector that does not exist.
    pub(crate) fn unknown(&self, name: &str) -> (String, String) {
        let hint = names::hint(name, &self.names(), "connectors", "this build has none");
        (format!("connector `{name}` does not exist"), hint)
    }

    /// Finds one by its name; one from a Git repository is fetched where it is not here yet. `None` where there is no
    /// connector of that name.
    pub(crate) async fn find(&self, name: &str) -> Result<Option<Arc<dyn ConnectorFactory>>, Failure> {
        if let Some(factory) = built_in().into_iter().find(|f| f.name() == name) {
            return Ok(Some(factory));
        }
        let added = self.added().iter().find(|c| c.name == name);
        let (Some(source), Some(project)) = (added, self.project) else { return Ok(None) };
        let external = External::locate(project, source, self.out)?;
        let environment = external.prepare(self.out).await?;
        external.factory(&environment).await.map(Some)
    }

    /// As [`Registry::find`], where a connector that does not exist is a failure.
    pub(crate) async fn factory(&self, name: &str) -> Result<Arc<dyn ConnectorFactory>, Failure> {
        self.find(name).await?.ok_or_else(|| {
            let (message, hint) = self.unknown(name);
            Failure::usage(message).hint(hint)
        })
    }

    /// The spec of a connector, as far as it can be told without fetching or starting anything.
    pub(crate) fn spec_at_hand(&self, name: &str) -> Option<ConnectorSpec> {
        if let Some(factory) = built_in().into_iter().find(|f| f.name() == name) {
            return spec_of(factory.as_ref()).ok();
        }
        let source = self.added().iter().find(|c| c.name == name)?;
        let text = external::spec_at_hand(self.project?, source)?;
        ConnectorSpec::parse(&text, "connector_spec.yaml").ok().map(|parsed| parsed.value)
    }
}

/// Warns of a connector whose options nobody can check.
pub(crate) fn warn_without_spec(name: &str, spec: &ConnectorSpec, out: &Out) {
    if let Some(warning) = without_spec(name, spec) {
        out.warn(&warning);
    }
}

/// What to say of a connector whose options nobody can check.
pub(crate) fn without_spec(name: &str, spec: &ConnectorSpec) -> Option<String> {
    spec.takes_any_option().then(|| {
        format!(
            "connector `{name}` has no connector_spec.yaml: its options are not checked, and those are secret whose names \
             say so"
        )
    })
}

/// Reads the spec that comes with a connector. One without a spec takes any option.
pub(crate) fn spec_of(factory: &dyn ConnectorFactory) -> Result<ConnectorSpec, Failure> {
    let Some(text) = factory.connector_spec() else { return Ok(ConnectorSpec::unknown()) };
    let name = format!("connector_spec.yaml of `{}`", factory.name());
    let exit = if is_built_in(factory.name()) { Exit::Fault } else { Exit::Usage };
    ConnectorSpec::parse(text, &name)
        .map(|parsed| parsed.value)
        .map_err(|errors| Failure::from(errors).with_exit(exit))
}
