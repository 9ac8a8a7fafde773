use std::io;
use std::path::{Path, PathBuf};

use crate::PrepareError;

/// The files of the Python package that is brought along, by their paths in it.
const FILES: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/package_files.rs"));

/// A name that changes with the package's content.
pub(crate) const FOLDER: &str =
    concat!("headwater-", env!("CARGO_PKG_VERSION"), "-", env!("HEADWATER_PACKAGE_HASH"));

/// The folder that the package is unpacked to. Unpacks it where that has not been done.
///
/// It appears whole or not at all, whoever else does the same at the same time.
pub(crate) fn unpacked(python_dir: &Path) -> Result<PathBuf, PrepareError> {
    let folder = python_dir.join(FOLDER);
    if folder.is_dir() {
        return Ok(folder);
    }
    let failed = |source| PrepareError::File { action: "write", path: folder.clone(), source };
    unpack(python_dir, &folder).map_err(failed)?;
    Ok(folder)
}

fn unpack(python_dir: &Path, folder: &Path) -> io::Result<()> {
    std::fs::create_dir_all(python_dir)?;
    let temp = tempfile::Builder::new().prefix(".unpack-").tempdir_in(python_dir)?;
    for (name, content) in FILES {
        let path = temp.path().join(name);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(path, content)?;
    }
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(temp.path(), std::fs::Permissions::from_mode(0o755))?;
    match std::fs::rename(temp.path(), folder) {
        Ok(()) => {
            // What was the temporary folder is not there any more.
            let _gone = temp.keep();
            Ok(())
        }
        Err(_) if folder.is_dir() => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::{FILES, unpacked};

    #[test]
    fn the_package_is_unpacked_once_and_whole() {
        let state = tempfile::tempdir().unwrap();
        let folder = unpacked(state.path()).unwrap();
        assert!(FILES.iter().any(|(name, _)| *name == "headwater_worker/__main__.py"), "{FILES:?}");
        for (name, content) in FILES {
            assert_eq!(std::fs::read(folder.join(name)).unwrap(), *content, "{name}");
        }
        assert_eq!(unpacked(state.path()).unwrap(), folder);
        assert_eq!(std::fs::read_dir(state.path()).unwrap().count(), 1);
    }
}
