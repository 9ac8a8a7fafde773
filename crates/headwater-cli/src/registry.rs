//! The connectors that are built in.

use std::sync::Arc;

use headwater_connect::ConnectorFactory;
use headwater_source_example::ExampleFactory;
use headwater_source_mediawiki::MediaWikiFactory;

use crate::fail::Failure;

/// All of them, by name.
pub(crate) fn factories() -> Vec<Arc<dyn ConnectorFactory>> {
    vec![Arc::new(ExampleFactory::default()), Arc::new(MediaWikiFactory)]
}

/// Finds one by its name.
///
/// # Errors
/// There is no such connector.
pub(crate) fn factory(name: &str) -> Result<Arc<dyn ConnectorFactory>, Failure> {
    let all = factories();
    let names: Vec<String> = all.iter().map(|f| f.name().to_owned()).collect();
    all.into_iter().find(|f| f.name() == name).ok_or_else(|| {
        Failure::usage(format!("connector `{name}` does not exist")).hint(crate::names::hint(
            name,
            &names,
            "connectors",
            "this build has none",
        ))
    })
}
