//! Configuration: the environment, the project folder, its `headwater.yaml`, secrets.
//!
//! The one place that reads environment variables.

pub(crate) mod edit;
mod project;
mod secrets;
mod units;

pub(crate) use project::{Project, ProjectError, name_of, shown, write_atomically};
pub(crate) use secrets::Reference;
pub(crate) use units::{ByteSize, parse_duration};

/// Name of the project file.
pub(crate) const PROJECT_FILE: &str = "headwater.yaml";

/// Reads an environment variable that a secret reference names.
#[allow(clippy::disallowed_methods, reason = "this module is where the environment is read")]
fn environment(name: &str) -> Result<String, std::env::VarError> {
    std::env::var(name)
}

/// Says whether the user wants no colours: `NO_COLOR` is set to anything.
pub(crate) fn no_color() -> bool {
    std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty())
        || environment("TERM").is_ok_and(|t| t == "dumb")
}

/// The log filter of `HEADWATER_LOG`, where one is set.
pub(crate) fn log_filter() -> Option<String> {
    environment("HEADWATER_LOG").ok().filter(|f| !f.trim().is_empty())
}

/// The simulator that connectors are led to, where `HEADWATER_SIMULATOR` names one.
pub(crate) fn simulator() -> Option<String> {
    environment("HEADWATER_SIMULATOR").ok().filter(|url| !url.trim().is_empty())
}

/// Where programs are looked for.
pub(crate) fn search_path() -> Option<std::ffi::OsString> {
    std::env::var_os("PATH")
}

/// Where Python looks for modules besides its own places.
pub(crate) fn module_path() -> Option<std::ffi::OsString> {
    std::env::var_os("PYTHONPATH")
}

/// A folder of the user's for what can be made again: `XDG_CACHE_HOME`, or `.cache` in the home folder.
pub(crate) fn cache_folder() -> Option<std::path::PathBuf> {
    let named = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(std::path::PathBuf::from);
    let folder = named("XDG_CACHE_HOME").or_else(|| named("HOME").map(|home| home.join(".cache")))?;
    Some(folder.join("headwater"))
}
