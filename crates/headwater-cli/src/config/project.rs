use std::io::Write;
use std::path::{Path, PathBuf};

use headwater_spec::{ConnectionSpec, Parsed, ProjectSpec, SpecErrors, is_secret_name};

use super::PROJECT_FILE;
use super::secrets::{Reference, ReferenceError};
use super::units::ByteSize;
use crate::fail::Failure;
use crate::output::Redactor;

/// A project folder and what its `headwater.yaml` says.
#[derive(Debug)]
pub(crate) struct Project {
    /// The folder.
    pub(crate) root: PathBuf,
    /// The text of its `headwater.yaml`.
    pub(crate) text: String,
    /// What it says, and where.
    pub(crate) parsed: Parsed<ProjectSpec>,
}

/// Why there is no project to work with.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProjectError {
    #[error("there is no {PROJECT_FILE} in {} or above it", .start.display())]
    NotFound { start: PathBuf },
    #[error("{} is not a project folder: it has no {PROJECT_FILE}", .folder.display())]
    NotAProject { folder: PathBuf },
    #[error("{} cannot be read", .path.display())]
    Unreadable {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{PROJECT_FILE} cannot be used")]
    Settings(#[source] SpecErrors),
    #[error("connection `{name}` is not in {PROJECT_FILE}")]
    UnknownConnection { name: String, available: Vec<String> },
    #[error("option `{option}` of connection `{connection}` cannot be resolved")]
    Option {
        connection: String,
        option: String,
        #[source]
        source: ReferenceError,
    },
    #[error("storage option `{option}` cannot be resolved")]
    StorageOption {
        option: String,
        #[source]
        source: ReferenceError,
    },
    #[error("pipeline spec `{spec}` does not exist")]
    UnknownSpec { spec: String, available: Vec<String> },
}

impl ProjectError {
    /// What to change.
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            ProjectError::NotFound { .. } => Some(
                "`headwater init` makes a project here; `--project <DIR>` names one that is elsewhere".into(),
            ),
            ProjectError::NotAProject { folder } => {
                Some(format!("`headwater init {}` makes one", folder.display()))
            }
            ProjectError::UnknownConnection { name, available } => Some(crate::names::hint(
                name,
                available,
                "connections",
                "there is none yet: `headwater connection add <name> --connector <connector>`",
            )),
            ProjectError::UnknownSpec { spec, available } => Some(crate::names::hint(
                spec,
                available,
                "pipelines",
                "give the path of a spec, or put one into the project's pipelines/ folder",
            )),
            ProjectError::Option { source, .. } | ProjectError::StorageOption { source, .. } => source.hint(),
            ProjectError::Settings(_) | ProjectError::Unreadable { .. } => None,
        }
    }
}

impl From<ProjectError> for crate::fail::Failure {
    fn from(error: ProjectError) -> Self {
        if let ProjectError::Settings(errors) = error {
            return errors.into();
        }
        let hint = error.hint();
        crate::fail::Failure::new(crate::fail::Exit::Usage, &error, hint)
    }
}

impl Project {
    /// Finds the project: the given folder, or the nearest upwards from one of `starts`.
    pub(crate) fn find(given: Option<&Path>, starts: &[&Path]) -> Result<Self, ProjectError> {
        if let Some(folder) = given {
            if !folder.join(PROJECT_FILE).is_file() {
                return Err(ProjectError::NotAProject { folder: folder.to_owned() });
            }
            return Self::open(folder);
        }
        for start in starts {
            let absolute = std::path::absolute(start).unwrap_or_else(|_| start.to_path_buf());
            if let Some(folder) = absolute.ancestors().find(|f| f.join(PROJECT_FILE).is_file()) {
                return Self::open(folder);
            }
        }
        let start = starts.first().map(|s| std::path::absolute(s).unwrap_or_else(|_| s.to_path_buf()));
        Err(ProjectError::NotFound { start: start.unwrap_or_default() })
    }

    /// A project that says nothing, with a folder for what is made for it.
    pub(crate) fn without_file(root: PathBuf) -> Result<Self, ProjectError> {
        let parsed = ProjectSpec::parse("", PROJECT_FILE).map_err(ProjectError::Settings)?;
        Ok(Self { root, text: String::new(), parsed })
    }

    /// Reads the project in `folder`.
    pub(crate) fn open(folder: &Path) -> Result<Self, ProjectError> {
        let path = folder.join(PROJECT_FILE);
        let text = std::fs::read_to_string(&path)
            .map_err(|source| ProjectError::Unreadable { path: path.clone(), source })?;
        let parsed =
            ProjectSpec::parse(&text, &shown(&path).display().to_string()).map_err(ProjectError::Settings)?;
        Ok(Self { root: folder.to_owned(), text, parsed })
    }

    /// The project file.
    pub(crate) fn file(&self) -> PathBuf {
        self.root.join(PROJECT_FILE)
    }

    /// Finds a connection by its name.
    pub(crate) fn connection(&self, name: &str) -> Result<&ConnectionSpec, ProjectError> {
        self.parsed.value.connections.iter().find(|c| c.name == name).ok_or_else(|| {
            ProjectError::UnknownConnection {
                name: name.to_owned(),
                available: self.parsed.value.connections.iter().map(|c| c.name.clone()).collect(),
            }
        })
    }

    /// The memory that the project sets for a run.
    ///
    /// # Errors
    /// It is not a size.
    pub(crate) fn memory(&self) -> Result<Option<u64>, Failure> {
        let Some(text) = &self.parsed.value.memory else { return Ok(None) };
        let size: Result<ByteSize, _> = text.parse();
        size.map(|size| Some(size.0))
            .map_err(|error| Failure::diagnostics(&[self.parsed.error_at("memory", error.to_string(), None)]))
    }

    /// The folder for what does not fit into memory; made where it is missing.
    ///
    /// # Errors
    /// It cannot be made.
    pub(crate) fn temp_folder(&self) -> Result<Option<PathBuf>, Failure> {
        let Some(given) = &self.parsed.value.temp_folder else { return Ok(None) };
        let folder = self.root.join(given);
        std::fs::create_dir_all(&folder).map_err(|error| {
            let detail = format!("folder `{given}` cannot be used: {error}");
            Failure::diagnostics(&[self.parsed.error_at("temp_folder", detail, None)])
        })?;
        Ok(Some(folder))
    }

    /// The storage options with every reference looked up.
    ///
    /// # Errors
    /// A reference gives nothing, or a secret stands in the clear.
    pub(crate) fn storage(&self, redactor: &Redactor) -> Result<Vec<(String, String)>, Failure> {
        let mut options = Vec::new();
        for (option, value) in &self.parsed.value.storage {
            let value = match Reference::parse(value) {
                Some(reference) => reference
                    .resolve(&self.root, redactor)
                    .map_err(|source| ProjectError::StorageOption { option: option.clone(), source })?,
                None if is_secret_name(option) && !value.is_empty() => {
                    redactor.add(value);
                    let detail =
                        format!("storage option `{option}` is a secret and stands here in the clear");
                    let hint = format!(
                        "name an environment variable or a file that holds it: `{option}: env:{}`",
                        option.to_ascii_uppercase()
                    );
                    let at = format!("storage.{option}");
                    return Err(Failure::diagnostics(&[self.parsed.error_at(&at, detail, Some(hint))]));
                }
                None => value.clone(),
            };
            options.push((option.clone(), value));
        }
        Ok(options)
    }

    /// The warehouse: a URL as it is, a path relative to the project folder.
    pub(crate) fn warehouse(&self) -> String {
        let given = self.parsed.value.warehouse.as_deref().unwrap_or("./warehouse");
        if given.contains("://") {
            return given.to_owned();
        }
        let given = given.strip_prefix("./").unwrap_or(given);
        let path = self.root.join(given);
        std::path::absolute(&path).unwrap_or(path).to_string_lossy().into_owned()
    }

    /// The catalog of tables whose spec names none.
    pub(crate) fn catalog(&self) -> &str {
        self.parsed.value.catalog.as_deref().unwrap_or("main")
    }

    /// Finds a pipeline spec: a path, or a name under `pipelines/`.
    pub(crate) fn spec_path(&self, spec: &str) -> Result<PathBuf, ProjectError> {
        let path = PathBuf::from(spec);
        if path.is_file() {
            return Ok(path);
        }
        let folder = self.root.join("pipelines");
        let candidates = ["", ".yaml", ".yml", ".json"].map(|end| folder.join(format!("{spec}{end}")));
        let found = candidates.into_iter().find(|p| p.is_file()).or_else(|| {
            // From a folder below the project, the path from its root is meant.
            Some(self.root.join(spec)).filter(|p| p.is_file())
        });
        found.ok_or_else(|| ProjectError::UnknownSpec {
            spec: spec.to_owned(),
            available: self.specs().iter().map(|p| name_of(p)).collect(),
        })
    }

    /// The pipeline specs of the project, sorted.
    pub(crate) fn specs(&self) -> Vec<PathBuf> {
        let Ok(entries) = std::fs::read_dir(self.root.join("pipelines")) else {
            return Vec::new();
        };
        let is_spec = |p: &PathBuf| {
            p.extension().and_then(|e| e.to_str()).is_some_and(|e| ["yaml", "yml", "json"].contains(&e))
        };
        let mut specs: Vec<PathBuf> = entries.flatten().map(|e| e.path()).filter(is_spec).collect();
        specs.sort();
        specs
    }
}

/// A spec's file name without its ending: the name of the pipeline unless the spec says another.
pub(crate) fn name_of(path: &Path) -> String {
    path.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default()
}

/// The path as the user would write it: relative to the working folder where it is below it.
pub(crate) fn shown(path: &Path) -> PathBuf {
    let here = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(&here).unwrap_or(path).to_owned()
}

/// Replaces a file in one step, keeping its permissions: whoever reads it finds the old text or the new one.
pub(crate) fn write_atomically(path: &Path, text: &str) -> std::io::Result<()> {
    // A link stays a link: what it points to is replaced.
    let path = &std::fs::canonicalize(path)?;
    let folder = path.parent().unwrap_or(Path::new("."));
    let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let temporary = folder.join(format!(".{name}.{}.new", std::process::id()));
    let written = (|| {
        let mut file = std::fs::File::create_new(&temporary)?;
        file.set_permissions(std::fs::metadata(path)?.permissions())?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)
    })();
    if written.is_err() {
        // The first error is the one to report.
        drop(std::fs::remove_file(&temporary));
    }
    written
}
