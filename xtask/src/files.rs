//! What every file must be: short enough, opened by a word on what it is, free of what does not belong.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

/// Lines after which a source file is too long to read in one go.
const MAX_LINES: usize = 900;
/// Size after which a file is data rather than source.
const MAX_BYTES: usize = 1_000_000;
/// Marks of unfinished work, taken apart so that this file does not hold them.
const MARKS: &[&[&str]] = &[&["FIX", "ME"], &["X", "XX"], &["TO", "DO"]];
/// Beginnings of absolute paths of somebody's machine.
const MACHINE_PATHS: &[&[&str]] = &[&["/", "root/"], &["/", "work/"], &["/", "home/"], &["/", "Users/"]];

/// The files that git knows or would take.
pub(crate) struct Tracked(Vec<PathBuf>);

impl Tracked {
    pub(crate) fn list(root: &Path) -> Result<Self> {
        let output = Command::new("git")
            .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
            .current_dir(root)
            .output()
            .context("cannot run git ls-files")?;
        if !output.status.success() {
            bail!("git ls-files failed: {}", String::from_utf8_lossy(&output.stderr));
        }
        let names = String::from_utf8(output.stdout).context("a file name that is not UTF-8")?;
        let files = names.split('\0').filter(|n| !n.is_empty()).map(PathBuf::from);
        Ok(Self(files.filter(|f| root.join(f).is_file()).collect()))
    }

    /// Paths relative to the root with one of the endings.
    pub(crate) fn with_ending<'a>(&'a self, endings: &'a [&str]) -> impl Iterator<Item = &'a Path> {
        self.0
            .iter()
            .map(PathBuf::as_path)
            .filter(move |f| f.extension().and_then(|e| e.to_str()).is_some_and(|e| endings.contains(&e)))
    }

    fn all(&self) -> impl Iterator<Item = &Path> {
        self.0.iter().map(PathBuf::as_path)
    }
}

pub(crate) fn check(root: &Path, tracked: &Tracked) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for file in tracked.all() {
        let bytes = std::fs::read(root.join(file)).with_context(|| file.display().to_string())?;
        if bytes.len() > MAX_BYTES {
            found.push(format!("{}: {} bytes; generate it instead", file.display(), bytes.len()));
        }
        if let Ok(text) = String::from_utf8(bytes) {
            found.extend(check_text(file, &text));
        }
    }
    Ok(found)
}

fn check_text(file: &Path, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let rust = file.extension().is_some_and(|e| e == "rs");
    if rust && text.lines().count() > MAX_LINES {
        found.push(format!("{}: more than {MAX_LINES} lines; split it by what it does", file.display()));
    }
    let crate_root = file.ends_with("src/lib.rs") || file.ends_with("src/main.rs");
    if crate_root && !text.starts_with("//!") {
        found.push(format!("{}: open with what the crate is and must never do (`//! …`)", file.display()));
    }
    let source = file
        .extension()
        .and_then(|e| e.to_str())
        .is_some_and(|e| ["rs", "py", "sh", "toml", "md", "yaml", "yml", "ts", "php"].contains(&e));
    for (number, line) in text.lines().enumerate().filter(|_| source) {
        let place = || format!("{}:{}", file.display(), number + 1);
        if MARKS.iter().any(|mark| has_word(line, &mark.concat())) {
            found.push(format!("{}: a mark of unfinished work", place()));
        }
        if MACHINE_PATHS.iter().any(|path| line.contains(&path.concat()) && !line.contains("://")) {
            found.push(format!("{}: an absolute path of somebody's machine", place()));
        }
    }
    found
}

fn has_word(line: &str, word: &str) -> bool {
    line.split(|c: char| !c.is_alphanumeric() && c != '_').any(|w| w == word)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::check_text;

    fn check(file: &str, text: &str, expect: usize) {
        let found = check_text(Path::new(file), text);
        assert_eq!(found.len(), expect, "{found:?}");
    }

    #[test]
    fn what_does_not_belong_is_found() {
        check("a/src/lib.rs", "fn f() {}", 1);
        check("a/src/lib.rs", "//! What it is.\nfn f() {}", 0);
        check("a/src/f.rs", &"\n".repeat(901), 1);
        check("a/src/f.rs", &format!("// {}{}: later", "TO", "DO"), 1);
        check("notes.md", &format!("see {}work/main", "/"), 1);
        check("data.json", &format!("{}{}", "TO", "DO"), 0);
    }
}
