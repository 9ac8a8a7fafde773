//! Documents against the tree: crates they leave out, paths they name that are not there.

use std::path::Path;

use anyhow::{Context, Result};

use crate::crates::Metadata;
use crate::files::Tracked;

const ARCHITECTURE: &str = "ARCHITECTURE.md";
/// The folders whose contents documents refer to by path.
const FOLDERS: &[&str] =
    &["crates/", "sources/", "xtask/", "bench/", "testing/", "docs/", "prompts/", "templates/", ".ci/"];

/// Crates that the architecture page does not speak of.
pub(crate) fn missing_crates(root: &Path, metadata: &Metadata) -> Result<Vec<String>> {
    let page = std::fs::read_to_string(root.join(ARCHITECTURE)).context(ARCHITECTURE)?;
    Ok(metadata
        .names()
        .filter(|name| !page.contains(&format!("`{name}`")))
        .map(|name| format!("{ARCHITECTURE}: says nothing of `{name}`"))
        .collect())
}

/// Paths and crates in back-ticks that do not exist.
pub(crate) fn dead_references(root: &Path, tracked: &Tracked) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for file in tracked.with_ending(&["md"]) {
        let text = std::fs::read_to_string(root.join(file)).with_context(|| file.display().to_string())?;
        for (number, line) in text.lines().enumerate() {
            for path in paths(line) {
                if !root.join(path).exists() {
                    found.push(format!("{}:{}: `{path}` does not exist", file.display(), number + 1));
                }
            }
        }
    }
    Ok(found)
}

/// What a line names in back-ticks that looks like a path of this repository.
fn paths(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2).filter(|name| {
        FOLDERS.iter().any(|folder| name.starts_with(folder))
            && !name.contains(['*', '<', '{', ' ', '…'])
            && !name.ends_with("...")
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn only_plain_paths_of_the_repository_are_followed() {
        let line = "see `crates/a/src/lib.rs`, `sources/<name>/` and `other/x.rs`, crates/b";
        assert_eq!(super::paths(line).collect::<Vec<_>>(), ["crates/a/src/lib.rs"]);
    }
}
