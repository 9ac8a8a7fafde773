use std::collections::HashSet;
use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::{RuntimeSettings, environment, package};

/// What a process that was killed leaves half-made is not touched before it is so old: another may be at it.
const HALF_MADE_AGE: Duration = Duration::from_secs(60 * 60);

/// A folder that nothing refers to any more.
#[derive(Debug)]
pub struct Unused {
    /// The folder.
    pub path: PathBuf,
    /// What is in it.
    pub bytes: u64,
    /// A running process uses it all the same, so it stays.
    pub in_use: bool,
}

impl Unused {
    /// Looks at a folder.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn look(path: PathBuf) -> io::Result<Self> {
        let in_use = matches!(File::open(&path)?.try_lock(), Err(TryLockError::WouldBlock));
        Ok(Self { bytes: bytes_in(&path)?, in_use, path })
    }

    /// Removes it, unless a process has begun to use it meanwhile; then gives `false`.
    ///
    /// # Errors
    /// It cannot be removed.
    pub fn remove(&self) -> io::Result<bool> {
        let folder = match File::open(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
            folder => folder?,
        };
        if let Err(TryLockError::WouldBlock) = folder.try_lock() {
            return Ok(false);
        }
        // Whoever waits for the lock sees that the folder is gone, and never half of it.
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        let gone = self.path.with_file_name(format!(".gone-{}-{name}", std::process::id()));
        std::fs::rename(&self.path, &gone)?;
        std::fs::remove_dir_all(&gone)?;
        Ok(true)
    }
}

/// Says to others that a folder is in use, until what it gives is dropped; `None` where the folder has been removed.
pub(crate) fn hold(folder: &Path) -> io::Result<Option<File>> {
    let open = match File::open(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        open => open?,
    };
    if let Err(error) = open.lock_shared() {
        // Without locks, nobody is told.
        tracing::debug!(%error, folder = %folder.display(), "a folder in use cannot be locked");
    }
    Ok(folder.is_dir().then_some(open))
}

/// Environments that no connector of `connectors` runs in, packages of other versions, and what was left half-made.
pub(crate) fn find(settings: &RuntimeSettings, connectors: &[&str]) -> io::Result<Vec<Unused>> {
    let python_dir = settings.python_dir();
    let mut found = Vec::new();
    let kept: HashSet<PathBuf> =
        connectors.iter().filter_map(|name| environment::folder_of(settings, name)).collect();
    for path in folders(&python_dir.join("envs"))? {
        let half_made = name_of(&path).starts_with('.');
        if (half_made && is_old(&path)) || (!half_made && !kept.contains(&path)) {
            found.push(Unused::look(path)?);
        }
    }
    for path in folders(&python_dir)? {
        let name = name_of(&path);
        let half_made = (name.starts_with(".unpack-") || name.starts_with(".gone-")) && is_old(&path);
        if half_made || (name.starts_with("headwater-") && name != package::FOLDER) {
            found.push(Unused::look(path)?);
        }
    }
    Ok(found)
}

fn name_of(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}

fn folders(of: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(of) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

#[allow(clippy::disallowed_methods, reason = "the age of a file is against the clock that dated it")]
fn is_old(path: &Path) -> bool {
    let modified = path.metadata().and_then(|metadata| metadata.modified());
    modified.is_ok_and(|at| SystemTime::now().duration_since(at).is_ok_and(|age| age > HALF_MADE_AGE))
}

fn bytes_in(folder: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        // Of a link only the link itself is freed.
        let metadata = entry.path().symlink_metadata()?;
        bytes += if metadata.is_dir() { bytes_in(&entry.path())? } else { metadata.len() };
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::{Unused, find, hold};
    use crate::RuntimeSettings;

    #[test]
    fn what_nothing_refers_to_goes_and_what_is_in_use_stays() {
        let state = tempfile::tempdir().unwrap();
        let python = state.path().join("python");
        for folder in
            ["envs/mine-1", "envs/mine-2", "envs/other-1", "envs/.making-x", "headwater-0.0.1-x", "tmp"]
        {
            std::fs::create_dir_all(python.join(folder).join("bin")).unwrap();
            std::fs::write(python.join(folder).join("bin/python"), "12345").unwrap();
        }
        std::fs::create_dir_all(python.join("prepared")).unwrap();
        let note = serde_json::json!({"seen": "", "python": python.join("envs/mine-2/bin/python"), "python_changed_ns": 1});
        std::fs::write(python.join("prepared/mine.json"), note.to_string()).unwrap();
        let settings = RuntimeSettings::new(state.path());

        let held = hold(&python.join("envs/mine-1")).unwrap();
        let seen = |found: &[Unused]| {
            let name = |u: &Unused| u.path.file_name().unwrap().to_str().unwrap().to_owned();
            found.iter().map(|u| (name(u), u.bytes, u.in_use)).collect::<Vec<_>>()
        };
        let found = find(&settings, &["mine"]).unwrap();
        let expect = [
            ("mine-1".to_owned(), 5, true),
            ("other-1".to_owned(), 5, false),
            ("headwater-0.0.1-x".to_owned(), 5, false),
        ];
        assert_eq!(seen(&found), expect);
        assert_eq!(found.iter().map(|u| u.remove().unwrap()).collect::<Vec<_>>(), [false, true, true]);
        drop(held);
        let found = find(&settings, &["mine"]).unwrap();
        assert_eq!(seen(&found), [("mine-1".to_owned(), 5, false)]);
        assert!(found[0].remove().unwrap() && hold(&found[0].path).unwrap().is_none());
        assert!(find(&settings, &["mine"]).unwrap().is_empty());
        assert!(python.join("envs/mine-2/bin/python").is_file());
    }
}
