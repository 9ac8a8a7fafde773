//! The direction of dependencies between our crates, and the owners of the heavy ones.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// A crate may depend on crates of lower layers only; crates of one layer are siblings.
const LAYERS: &[(&str, u8)] = &[
    ("headwater-connect", 0),
    ("headwater-spec", 1),
    ("headwater-decode", 1),
    ("headwater-cdc", 1),
    ("headwater-lake", 2),
    ("headwater-http", 2),
    ("headwater-python", 2),
    ("headwater-source-example", 3),
    ("headwater-source-github", 3),
    ("headwater-source-mediawiki", 3),
    ("headwater-testkit", 3),
    ("my-source", 3),
    ("headwater-engine", 4),
    ("headwater-cli", 5),
    ("headwater-bench", 6),
    ("xtask", 6),
];

/// Edges that the layers would allow and the design does not: the engine and the lake know no source, a source
/// knows no lake.
const FORBIDDEN: &[(&str, &str)] = &[
    ("headwater-source-", "headwater-lake"),
    ("headwater-source-", "headwater-spec"),
    ("headwater-source-", "headwater-decode"),
    ("headwater-source-", "headwater-cdc"),
    ("headwater-http", "headwater-spec"),
    ("headwater-http", "headwater-decode"),
    ("headwater-http", "headwater-cdc"),
    ("headwater-python", "headwater-decode"),
    ("headwater-python", "headwater-cdc"),
    ("headwater-engine", "headwater-cdc"),
    ("headwater-engine", "headwater-source-"),
    ("headwater-engine", "headwater-http"),
    ("headwater-engine", "headwater-python"),
];

/// Heavy dependencies, and the only crates that may name them.
const OWNERS: &[(&str, &[&str])] = &[
    ("delta_kernel", &["headwater-lake"]),
    ("delta_kernel_default_engine", &["headwater-lake"]),
    ("object_store", &["headwater-lake"]),
    ("parquet", &["headwater-lake", "headwater-bench"]),
    ("reqwest", &["headwater-http"]),
    ("aws-lc-rs", &["headwater-http"]),
    ("rustls", &["headwater-http"]),
    ("axum", &["headwater-source-example", "headwater-bench"]),
    ("rcgen", &["headwater-testkit"]),
    ("tokio-rustls", &["headwater-testkit"]),
    ("hyper", &["headwater-testkit"]),
    ("clap", &["headwater-cli"]),
    ("clap_complete", &["headwater-cli"]),
    ("indicatif", &["headwater-cli"]),
    ("saphyr", &["headwater-spec"]),
    ("simdutf8", &["headwater-decode"]),
    ("siphasher", &["headwater-cdc", "headwater-python"]),
    ("rustix", &["headwater-python"]),
    ("parquet-variant", &["headwater-decode"]),
    ("quick-xml", &["headwater-testkit"]),
    ("arrow-json", &["headwater-bench", "headwater-cli"]),
];

/// Our crates and what they depend on.
pub(crate) struct Metadata {
    packages: Vec<Package>,
}

struct Package {
    name: String,
    dependencies: Vec<Dependency>,
}

struct Dependency {
    name: String,
    /// A dependency of tests or the build, which the rules on layers leave alone.
    aside: bool,
}

impl Metadata {
    pub(crate) fn read(root: &Path) -> Result<Self> {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let output = Command::new(cargo)
            .args(["metadata", "--no-deps", "--format-version", "1"])
            .current_dir(root)
            .output()
            .context("cannot run cargo metadata")?;
        if !output.status.success() {
            bail!("cargo metadata failed: {}", String::from_utf8_lossy(&output.stderr));
        }
        let json: Value = serde_json::from_slice(&output.stdout)?;
        let packages = json["packages"].as_array().context("cargo metadata names no packages")?;
        Ok(Self { packages: packages.iter().map(Package::from_json).collect::<Result<_>>()? })
    }

    /// Names of the crates.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.packages.iter().map(|p| p.name.as_str())
    }

    /// Edges that point up or sideways.
    pub(crate) fn wrong_edges(&self) -> Vec<String> {
        let mut found = Vec::new();
        for package in &self.packages {
            let Some(from) = layer(&package.name) else {
                found.push(format!("{}: give the crate a layer in xtask/src/crates.rs", package.name));
                continue;
            };
            for dependency in package.dependencies.iter().filter(|d| !d.aside) {
                let forbidden = FORBIDDEN
                    .iter()
                    .any(|(a, b)| package.name.starts_with(a) && dependency.name.starts_with(b));
                if forbidden || layer(&dependency.name).is_some_and(|to| to >= from) {
                    found.push(format!(
                        "{} depends on {}: dependencies point one way (ARCHITECTURE.md)",
                        package.name, dependency.name
                    ));
                }
            }
        }
        found
    }

    /// Heavy dependencies outside the crate that owns them.
    pub(crate) fn wrong_owners(&self) -> Vec<String> {
        let mut found = Vec::new();
        for package in &self.packages {
            for dependency in package.dependencies.iter().filter(|d| !d.aside) {
                let owners = OWNERS.iter().find(|(name, _)| *name == dependency.name);
                if let Some((name, owners)) = owners
                    && !owners.contains(&package.name.as_str())
                {
                    found.push(format!(
                        "{} depends on {name}, which belongs to {}",
                        package.name,
                        owners.join(", ")
                    ));
                }
            }
        }
        found
    }
}

impl Package {
    fn from_json(json: &Value) -> Result<Self> {
        let name = json["name"].as_str().context("a package without a name")?.to_owned();
        let dependencies = json["dependencies"].as_array().context("a package without dependencies")?;
        let dependencies = dependencies.iter().filter_map(|d| {
            Some(Dependency { name: d["name"].as_str()?.to_owned(), aside: !d["kind"].is_null() })
        });
        Ok(Self { name, dependencies: dependencies.collect() })
    }
}

fn layer(name: &str) -> Option<u8> {
    LAYERS.iter().find(|(n, _)| *n == name).map(|(_, layer)| *layer)
}

#[cfg(test)]
mod tests {
    use super::{Dependency, Metadata, Package};

    fn one(name: &str, dependency: &str, aside: bool) -> Metadata {
        let dependencies = vec![Dependency { name: dependency.into(), aside }];
        Metadata { packages: vec![Package { name: name.into(), dependencies }] }
    }

    #[test]
    fn an_edge_that_points_up_or_sideways_is_found() {
        assert_eq!(one("headwater-connect", "headwater-lake", false).wrong_edges().len(), 1);
        assert_eq!(one("headwater-spec", "headwater-decode", false).wrong_edges().len(), 1);
        assert_eq!(one("headwater-engine", "headwater-source-example", false).wrong_edges().len(), 1);
        assert_eq!(one("headwater-engine", "headwater-source-example", true).wrong_edges().len(), 0);
        assert_eq!(one("headwater-engine", "headwater-lake", false).wrong_edges().len(), 0);
        assert_eq!(one("headwater-new", "serde", false).wrong_edges().len(), 1);
    }

    #[test]
    fn a_heavy_dependency_outside_its_owner_is_found() {
        assert_eq!(one("headwater-engine", "parquet", false).wrong_owners().len(), 1);
        assert_eq!(one("headwater-lake", "parquet", false).wrong_owners().len(), 0);
    }
}
