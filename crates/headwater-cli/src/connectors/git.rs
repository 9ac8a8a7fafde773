//! Fetches a connector from a Git repository, with the `git` of the machine and its credentials.
//!
//! Ctrl-C reaches git as well as this process, so nothing waits for it.
//!
//! Only files are fetched: no submodules, no hooks, and nothing of them is run.

use std::ffi::OsStr;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::fail::{Exit, Failure};
use crate::output::Out;

/// A repository and what of it is wanted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted<'a> {
    pub(crate) url: &'a str,
    /// Branch, tag or commit; the default branch where `None`.
    pub(crate) reference: Option<&'a str>,
}

/// Says whether the text is the address of a repository rather than a folder's path.
pub(crate) fn is_url(text: &str) -> bool {
    let scheme = text.split_once("://").is_some_and(|(scheme, _)| {
        !scheme.is_empty() && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
    });
    // As `scp` writes it: `git@host:team/repository.git`.
    let like_scp = text.split_once(':').is_some_and(|(host, path)| {
        host.contains('@') && !host.contains('/') && !host.starts_with('-') && !path.is_empty()
    });
    scheme || like_scp
}

/// Refuses an address that git would not take for one, or that holds a secret.
pub(crate) fn check(wanted: Wanted<'_>, out: &Out) -> Result<(), Failure> {
    if !is_url(wanted.url) {
        return Err(Failure::usage(format!("`{}` is not the URL of a Git repository", wanted.url)).hint(
            "such as https://git.example.org/team/connectors.git or git@git.example.org:team/connectors.git",
        ));
    }
    if let Ok(url) = url::Url::parse(wanted.url)
        && let Some(password) = url.password()
    {
        out.redactor().add(password);
        return Err(Failure::usage("the URL holds a password, which does not belong into a project's files")
            .hint("take it out and let git find it: a credential helper (`git config credential.helper`), or SSH"));
    }
    if let Some(reference) = wanted.reference
        && (reference.starts_with('-') || reference.contains("..") || reference.contains(char::is_whitespace))
    {
        return Err(Failure::usage(format!("`{reference}` is not a branch, tag or commit")));
    }
    Ok(())
}

/// Fetches a commit into `folder`, which must not exist.
///
/// The folder appears whole or not at all.
pub(crate) fn fetch(wanted: Wanted<'_>, commit: &str, folder: &Path) -> Result<(), Failure> {
    let above = folder.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(above).map_err(|e| unwritable(above, &e))?;
    let temporary = Temporary(above.join(format!(".{}.new", std::process::id())));
    std::fs::create_dir(&temporary.0).map_err(|e| unwritable(&temporary.0, &e))?;
    clone(wanted, commit, &temporary.0)?;
    std::fs::remove_dir_all(temporary.0.join(".git")).map_err(|e| unwritable(&temporary.0, &e))?;
    match std::fs::rename(&temporary.0, folder) {
        Ok(()) => Ok(()),
        // Another process was first; a commit holds the same files for both.
        Err(_) if folder.is_dir() => Ok(()),
        Err(e) => Err(unwritable(folder, &e)),
    }
}

/// Asks the repository which commit a branch or tag is now, without fetching it.
pub(crate) fn resolve(wanted: Wanted<'_>) -> Result<String, Failure> {
    let reference = wanted.reference.unwrap_or("HEAD");
    if is_commit(reference) {
        return Ok(reference.to_ascii_lowercase());
    }
    let listed = git(
        None,
        [
            "ls-remote",
            "--",
            wanted.url,
            reference,
            &format!("refs/heads/{reference}"),
            &format!("refs/tags/{reference}"),
            &format!("refs/tags/{reference}^{{}}"),
        ],
    )
    .map_err(|said| unreachable_repository(wanted, &said))?;
    let found = |name: &str| {
        listed.lines().find_map(|line| {
            line.split_once('\t').filter(|(_, listed)| *listed == name).map(|(commit, _)| commit.to_owned())
        })
    };
    found(&format!("refs/heads/{reference}"))
        .or_else(|| found(&format!("refs/tags/{reference}^{{}}")))
        .or_else(|| found(&format!("refs/tags/{reference}")))
        .or_else(|| found(reference))
        .ok_or_else(|| {
            Failure::usage(format!("{} has no branch or tag `{reference}`", wanted.url)).hint(format!(
                "`git ls-remote {}` lists them; a commit is given with all of its 40 digits",
                wanted.url
            ))
        })
}

fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|b| b.is_ascii_hexdigit())
}

fn clone(wanted: Wanted<'_>, commit: &str, folder: &Path) -> Result<(), Failure> {
    let failed = |said: String| unreachable_repository(wanted, &said);
    git(Some(folder), ["init", "--quiet"]).map_err(failed)?;
    git(Some(folder), ["remote", "add", "--", "origin", wanted.url]).map_err(failed)?;
    let fetch = |depth: &[&str], what: &str| {
        let head = ["fetch", "--quiet", "--no-tags"].iter().chain(depth).copied();
        git(Some(folder), head.chain(["--", "origin", what]))
    };
    // Not every server hands out a commit by its number; then it is looked for in what was asked for, then everywhere.
    let found = fetch(&["--depth", "1"], commit).is_ok()
        || fetch(&[], wanted.reference.unwrap_or("HEAD")).is_ok() && has(folder, commit);
    if !found {
        fetch(&[], "+refs/*:refs/remotes/origin/*").map_err(failed)?;
    }
    if !has(folder, commit) {
        return Err(Failure::message(
            Exit::Source,
            format!("{} does not have commit {commit} any more", wanted.url),
        )
        .hint("`headwater connector update` pins the newest commit of the branch or tag"));
    }
    git(Some(folder), ["-c", "core.hooksPath=/dev/null", "checkout", "--quiet", "--detach", commit])
        .map_err(failed)?;
    Ok(())
}

fn has(folder: &Path, commit: &str) -> bool {
    git(Some(folder), ["cat-file", "-e", &format!("{commit}^{{commit}}")]).is_ok()
}

fn unreachable_repository(wanted: Wanted<'_>, said: &str) -> Failure {
    let reference = wanted.reference.map(|r| format!(" at `{r}`")).unwrap_or_default();
    let said = said.trim();
    let failure = Failure::new(
        Exit::Source,
        &std::io::Error::other(if said.is_empty() { "git said nothing more" } else { said }),
        None,
    )
    .context(format!("{}{reference} cannot be fetched", wanted.url));
    let hint = if said.contains("ouldn't find remote ref") || said.contains("not our ref") {
        "check the branch, tag or commit; `git ls-remote <url>` lists them"
    } else if said.contains("uthentication") || said.contains("ermission") || said.contains("could not read")
    {
        "git has no credentials that the repository takes: try `git ls-remote <url>`, and set up SSH or a credential helper"
    } else {
        "check the URL and the network; `git ls-remote <url>` tries the same"
    };
    failure.hint(hint)
}

fn unwritable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::other(format!("{} cannot be written", path.display()), error).with_exit(Exit::Usage)
}

/// A folder that is removed unless it has been moved away.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        if self.0.exists() {
            drop(std::fs::remove_dir_all(&self.0));
        }
    }
}

/// Runs git and gives what it prints; what it complains of is the error.
fn git(
    folder: Option<&Path>,
    arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
) -> Result<String, String> {
    let mut command = Command::new("git");
    if let Some(folder) = folder {
        command.arg("-C").arg(folder);
    }
    command
        .args(arguments)
        // A URL names a place to fetch from, never a program to run.
        .env("GIT_ALLOW_PROTOCOL", "file:git:http:https:ssh")
        .env("GIT_LFS_SKIP_SMUDGE", "1")
        .env("LC_ALL", "C")
        .env_remove("GIT_DIR")
        .env_remove("GIT_WORK_TREE")
        .env_remove("GIT_INDEX_FILE")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    if !std::io::stderr().is_terminal() {
        command.env("GIT_TERMINAL_PROMPT", "0");
        command.env("GIT_SSH_COMMAND", "ssh -o BatchMode=yes");
    }
    let output = command.output().map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => "there is no `git` on this machine; install it".to_owned(),
        _ => format!("git cannot be started: {e}"),
    })?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::is_url;

    #[test]
    fn urls_are_told_from_folders() {
        for url in [
            "https://git.example.org/team/c.git",
            "ssh://git@git.example.org/team/c",
            "git@git.example.org:team/c.git",
            "file:///srv/c",
        ] {
            assert!(is_url(url), "{url}");
        }
        for path in ["./c", "c", "/srv/c.git", "../a:b", "C:\\c", "-oProxyCommand=x@h:p", "://x"] {
            assert!(!is_url(path), "{path}");
        }
    }
}
