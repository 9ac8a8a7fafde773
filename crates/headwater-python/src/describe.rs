use std::path::PathBuf;

use headwater_connect::protocol::Abilities;
use serde::Serialize;

/// What a connector is, as far as it tells without a connection.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Description {
    /// Its class (`module:Class`), or what an executable calls itself.
    pub class: String,
    /// The first line of its documentation.
    pub summary: String,
    /// The file that defines it, where there is one.
    pub file: Option<PathBuf>,
    /// The connector classes that were found, the one taken included.
    pub candidates: Vec<String>,
    /// What it can do besides the five methods. An executable tells with a connection only.
    pub abilities: Abilities,
    /// The text of its `connector_spec.yaml`.
    pub spec: Option<String>,
    /// What it runs on: the path of a Python, or what an executable says.
    pub runtime: String,
    /// What may cause trouble later.
    pub warnings: Vec<String>,
}
