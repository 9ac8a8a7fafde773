use std::path::{Path, PathBuf};

use crate::output::Redactor;

/// A value of the project file that stands for another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reference {
    /// `env:NAME`: an environment variable.
    Env(String),
    /// `file:PATH`: the content of a file, relative to the project folder.
    File(PathBuf),
}

/// Why a reference gives no value. Never holds the value.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReferenceError {
    #[error("environment variable `{name}` is not set")]
    Unset { name: String },
    #[error("environment variable `{name}` is empty")]
    Empty { name: String },
    #[error("environment variable `{name}` is not UTF-8 text")]
    NotText { name: String },
    #[error("`env:` names no environment variable")]
    NoName,
    #[error("`file:` names no file")]
    NoPath,
    #[error("secret file {} cannot be read", .path.display())]
    Unreadable {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("secret file {} is empty", .path.display())]
    EmptyFile { path: PathBuf },
    #[error("secret file {} is larger than 64 KiB", .path.display())]
    TooLarge { path: PathBuf },
}

impl ReferenceError {
    /// What to change.
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            ReferenceError::Unset { name } | ReferenceError::Empty { name } => {
                Some(format!("set it before the command: `export {name}=…`"))
            }
            ReferenceError::Unreadable { .. } => {
                Some("the path is relative to the project folder".to_owned())
            }
            _ => None,
        }
    }
}

/// A secret longer than this is a mistake in the path.
const LONGEST_SECRET_BYTES: u64 = 64 * 1024;

impl Reference {
    /// Reads `env:NAME` and `file:PATH`; `None` for a plain value. A `file://` URL is a plain value.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if let Some(name) = text.strip_prefix("env:") {
            return Some(Reference::Env(name.trim().to_owned()));
        }
        match text.strip_prefix("file:") {
            Some(path) if !path.starts_with("//") => Some(Reference::File(PathBuf::from(path.trim()))),
            _ => None,
        }
    }

    /// Looks the value up and keeps it out of everything that is printed from now on.
    pub(crate) fn resolve(&self, root: &Path, redactor: &Redactor) -> Result<String, ReferenceError> {
        let value = match self {
            Reference::Env(name) if name.is_empty() => return Err(ReferenceError::NoName),
            Reference::Env(name) => match super::environment(name) {
                Ok(value) if value.is_empty() => return Err(ReferenceError::Empty { name: name.clone() }),
                Ok(value) => value,
                Err(std::env::VarError::NotPresent) => {
                    return Err(ReferenceError::Unset { name: name.clone() });
                }
                Err(std::env::VarError::NotUnicode(_)) => {
                    return Err(ReferenceError::NotText { name: name.clone() });
                }
            },
            Reference::File(path) if path.as_os_str().is_empty() => return Err(ReferenceError::NoPath),
            Reference::File(path) => read_secret(&root.join(path))?,
        };
        redactor.add(&value);
        Ok(value)
    }
}

fn read_secret(path: &Path) -> Result<String, ReferenceError> {
    let unreadable = |source| ReferenceError::Unreadable { path: path.to_owned(), source };
    let size = std::fs::metadata(path).map_err(unreadable)?.len();
    if size > LONGEST_SECRET_BYTES {
        return Err(ReferenceError::TooLarge { path: path.to_owned() });
    }
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    // Editors and `echo` end a file with a line break that is no part of the secret.
    let text = text.strip_suffix('\n').map_or(text.as_str(), |t| t.strip_suffix('\r').unwrap_or(t));
    if text.is_empty() {
        return Err(ReferenceError::EmptyFile { path: path.to_owned() });
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::Reference;
    use crate::output::Redactor;

    #[test]
    fn references_are_told_from_plain_values() {
        let check = |text: &str, reference: Option<Reference>| {
            assert_eq!(Reference::parse(text), reference, "{text}")
        };
        check("env:TOKEN", Some(Reference::Env("TOKEN".into())));
        check("file:secrets/token", Some(Reference::File("secrets/token".into())));
        check("file:/run/secrets/token", Some(Reference::File("/run/secrets/token".into())));
        check("file:///srv/lake", None);
        check("environment", None);
        check("https://host/env:x", None);
    }

    #[test]
    fn a_file_loses_its_last_line_break_only_and_is_redacted() {
        let folder = tempfile::tempdir().unwrap();
        let redactor = Redactor::default();
        let check = |content: &str, value: Option<&str>| {
            std::fs::write(folder.path().join("s"), content).unwrap();
            let resolved = Reference::File("s".into()).resolve(folder.path(), &redactor);
            assert_eq!(resolved.ok().as_deref(), value, "{content:?}");
        };
        check("top-secret-1\n", Some("top-secret-1"));
        check("top-secret-2\r\n", Some("top-secret-2"));
        check(" a b \n\n", Some(" a b \n"));
        check("top-secret-3", Some("top-secret-3"));
        check("", None);
        check("\n", None);
        assert_eq!(redactor.talk("x top-secret-1 y"), "x <secret> y");
    }

    #[test]
    fn what_is_missing_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let error = |r: Reference| r.resolve(folder.path(), &Redactor::default()).unwrap_err().to_string();
        assert_eq!(
            error(Reference::Env("HEADWATER_TEST_UNSET".into())),
            "environment variable `HEADWATER_TEST_UNSET` is not set"
        );
        assert!(error(Reference::File("none".into())).ends_with("none cannot be read"));
        assert_eq!(error(Reference::Env(String::new())), "`env:` names no environment variable");
        std::fs::write(folder.path().join("big"), vec![b'x'; 70_000]).unwrap();
        assert!(error(Reference::File("big".into())).ends_with("is larger than 64 KiB"));
    }
}
