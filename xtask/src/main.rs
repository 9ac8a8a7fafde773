//! Repository checks that the compiler cannot make: `cargo xtask tidy`.
//!
//! Each rule lives in a module of its own and returns what it found as text, with the place and the remedy. Start
//! reading at [`tidy`].

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};

mod crates;
mod documents;
mod files;
mod rules;

const HELP: &str = "\
cargo xtask tidy    checks what the compiler cannot: the direction of dependencies, the owners of heavy ones,
                    documents that name things which do not exist, contract rules without a test, file lengths
";

fn main() -> ExitCode {
    let command = std::env::args().nth(1).unwrap_or_default();
    let result = match command.as_str() {
        "tidy" => tidy(),
        "" | "help" | "--help" | "-h" => say(HELP).map(|()| true),
        other => say(&format!("error: there is no `{other}`\n\n{HELP}")).map(|()| false),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            let _ignored = say(&format!("error: {error:#}\n"));
            ExitCode::FAILURE
        }
    }
}

/// Runs every rule; true when none found anything.
fn tidy() -> Result<bool> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask has no parent folder")?;
    let metadata = crates::Metadata::read(root)?;
    let tracked = files::Tracked::list(root)?;
    let mut found = Vec::new();
    found.extend(metadata.wrong_edges());
    found.extend(metadata.wrong_owners());
    found.extend(documents::missing_crates(root, &metadata)?);
    found.extend(documents::dead_references(root, &tracked)?);
    found.extend(rules::untested(root, &tracked)?);
    found.extend(files::check(root, &tracked)?);
    for line in &found {
        say(&format!("{line}\n"))?;
    }
    let summary = if found.is_empty() {
        "tidy: nothing to say".to_owned()
    } else {
        format!("tidy: {} found", found.len())
    };
    say(&format!("{summary}\n"))?;
    Ok(found.is_empty())
}

fn say(text: &str) -> Result<()> {
    std::io::stdout().write_all(text.as_bytes()).context("cannot write to stdout")
}
