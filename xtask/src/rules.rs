//! Contract rules and the tests that hold connectors to them.

use std::path::Path;

use anyhow::{Context, Result};

use crate::files::Tracked;

const CONTRACT: &str = "crates/headwater-connect/src/connector.rs";

/// Rules `R1`, `R2`, … of the contract that no test is named after (`fn r7_…`).
pub(crate) fn untested(root: &Path, tracked: &Tracked) -> Result<Vec<String>> {
    let contract = std::fs::read_to_string(root.join(CONTRACT)).context(CONTRACT)?;
    let mut tests = String::new();
    for file in tracked.with_ending(&["rs"]) {
        tests
            .push_str(&std::fs::read_to_string(root.join(file)).with_context(|| file.display().to_string())?);
    }
    Ok(numbers(&contract)
        .into_iter()
        .filter(|n| !tests.contains(&format!("fn r{n}_")))
        .map(|n| format!("{CONTRACT}: rule R{n} has no test (`fn r{n}_what_it_says`)"))
        .collect())
}

/// Numbers of the rules that a text states as `**R7**`.
fn numbers(text: &str) -> Vec<u32> {
    text.split("**R").skip(1).filter_map(|rest| rest.split_once("**")?.0.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn rules_are_read_from_their_statements_only() {
        assert_eq!(super::numbers("/// * **R1** a. See R2.\n/// * **R12** b"), [1, 12]);
    }
}
