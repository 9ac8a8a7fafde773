//! `headwater.lock`: which commit each connector from a Git repository is.
//!
//! The file belongs into version control, so that everybody runs the same code.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::git::Wanted;
use crate::fail::{Exit, Failure};

const FILE: &str = "headwater.lock";
const VERSION: u32 = 1;

/// What the file says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Lock {
    version: u32,
    connectors: BTreeMap<String, Locked>,
}

/// A connector's commit, and what it was asked for with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Locked {
    git: String,
    #[serde(rename = "ref", default, skip_serializing_if = "Option::is_none")]
    reference: Option<String>,
    commit: String,
}

impl Lock {
    /// Reads the file of a project; one that is not there says nothing.
    pub(crate) fn read(root: &Path) -> Result<Self, Failure> {
        let path = file(root);
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self { version: VERSION, connectors: BTreeMap::new() });
            }
            Err(e) => return Err(Failure::other(format!("{FILE} cannot be read"), &e).with_exit(Exit::Usage)),
        };
        let lock: Self = serde_json::from_slice(&text).map_err(|e| {
            Failure::other(format!("{FILE} cannot be used"), &e)
                .with_exit(Exit::Usage)
                .hint("take it back from version control, or remove it: the next run writes it anew")
        })?;
        if lock.version != VERSION {
            return Err(Failure::usage(format!(
                "{FILE} is of version {}, and this program knows {VERSION}",
                lock.version
            ))
            .hint("use the Headwater that wrote it, or remove the file: the next run writes it anew"));
        }
        let bad = lock.connectors.iter().find(|(_, c)| {
            !matches!(c.commit.len(), 40 | 64) || !c.commit.bytes().all(|b| b.is_ascii_hexdigit())
        });
        match bad {
            None => Ok(lock),
            Some((name, locked)) => Err(Failure::usage(format!(
                "{FILE}: `{}` of connector `{name}` is not a commit",
                locked.commit
            ))
            .hint("take the file back from version control, or remove it")),
        }
    }

    /// The commit of a connector, where it was fixed for the same repository and reference.
    pub(crate) fn commit(&self, name: &str, wanted: Wanted<'_>) -> Option<&str> {
        let locked = self.connectors.get(name)?;
        let same = locked.git == wanted.url && locked.reference.as_deref() == wanted.reference;
        same.then_some(locked.commit.as_str())
    }

    pub(crate) fn set(&mut self, name: &str, wanted: Wanted<'_>, commit: &str) {
        let locked = Locked {
            git: wanted.url.to_owned(),
            reference: wanted.reference.map(str::to_owned),
            commit: commit.to_owned(),
        };
        self.connectors.insert(name.to_owned(), locked);
    }

    pub(crate) fn remove(&mut self, name: &str) {
        self.connectors.remove(name);
    }

    /// Replaces the file in one step; an empty one is removed.
    pub(crate) fn write(&self, root: &Path) -> Result<(), Failure> {
        let path = file(root);
        let failed = |e: std::io::Error| {
            Failure::other(format!("{FILE} cannot be written"), &e).with_exit(Exit::Usage)
        };
        if self.connectors.is_empty() {
            return match std::fs::remove_file(&path) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(failed(e)),
                _ => Ok(()),
            };
        }
        let mut text = serde_json::to_string_pretty(self).map_err(|e| failed(e.into()))?;
        text.push('\n');
        if !path.exists() {
            std::fs::write(&path, "").map_err(failed)?;
        }
        crate::config::write_atomically(&path, &text).map_err(failed)
    }
}

fn file(root: &Path) -> PathBuf {
    root.join(FILE)
}

#[cfg(test)]
mod tests {
    use super::{Lock, Wanted};

    #[test]
    fn a_commit_holds_for_what_was_asked_and_survives_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let main = Wanted { url: "https://h/r.git", reference: Some("main") };
        let commit = "0123456789abcdef0123456789abcdef01234567";
        let mut lock = Lock::read(folder.path()).unwrap();
        lock.set("c", main, commit);
        lock.write(folder.path()).unwrap();
        let mut lock = Lock::read(folder.path()).unwrap();
        assert_eq!(lock.commit("c", main), Some(commit));
        assert_eq!(lock.commit("c", Wanted { reference: None, ..main }), None);
        assert_eq!(lock.commit("c", Wanted { url: "https://h/other.git", ..main }), None);
        assert_eq!(lock.commit("d", main), None);
        lock.remove("c");
        lock.write(folder.path()).unwrap();
        assert!(!folder.path().join("headwater.lock").exists());
    }

    #[test]
    fn a_file_that_cannot_be_used_is_an_error() {
        for text in [
            "",
            "{",
            r#"{"version": 2, "connectors": {}}"#,
            r#"{"version": 1, "connectors": {"c": {"git": "u", "commit": "../../etc"}}}"#,
        ] {
            let folder = tempfile::tempdir().unwrap();
            std::fs::write(folder.path().join("headwater.lock"), text).unwrap();
            assert!(Lock::read(folder.path()).is_err(), "{text}");
        }
    }
}
