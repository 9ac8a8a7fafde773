use headwater_connect::protocol::Abilities;
use serde::{Deserialize, Serialize};

/// What a connector is, as far as it tells without a connection.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Description {
    /// Its class (`module:Class`), or what an executable calls itself.
    #[serde(default)]
    pub class: String,
    /// The file that defines it, where there is one.
    #[serde(default)]
    pub file: Option<String>,
    /// What it can do besides the five methods, where that is known without a connection.
    #[serde(default)]
    pub abilities: Abilities,
    /// The text of its `connector_spec.yaml`.
    #[serde(default)]
    pub spec: Option<String>,
    /// What it runs on, such as `CPython 3.11.7`.
    #[serde(default)]
    pub runtime: String,
    /// What may cause trouble later.
    #[serde(default)]
    pub warnings: Vec<String>,
}
