use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use headwater_connect::ConnectorError;
use rustix::process::{Pid, Signal};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::log::WorkerLog;

/// Bytes that the pipe from a worker should hold, so that it goes on while a page is decoded.
const PIPE_BYTES: usize = 1 << 20;

/// How long a process has to end after it was asked to.
const END_LIMIT: Duration = Duration::from_secs(2);

/// How long a process has to end after SIGTERM.
const TERM_LIMIT: Duration = Duration::from_secs(5);

/// How long the rest of a dead worker's log is waited for; a child of its own may hold the pipe open.
const LOG_LIMIT: Duration = Duration::from_millis(500);

/// What is started, and how.
#[derive(Debug, Clone)]
pub(crate) struct Launch {
    pub(crate) program: PathBuf,
    pub(crate) args: Vec<OsString>,
    /// Added to this process's own environment.
    pub(crate) variables: Vec<(String, OsString)>,
    /// Taken out of it.
    pub(crate) removed_variables: Vec<&'static str>,
    /// Where each worker gets a folder for its temporary files.
    pub(crate) temp_root: PathBuf,
}

/// A worker's process: its group, its temporary folder, and the task that reads its log.
///
/// Dropped, it kills the group at once.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    group: Option<Pid>,
    log_reader: JoinSet<()>,
    /// Removed when the process is gone.
    _temp: tempfile::TempDir,
}

impl Process {
    /// Starts it in a process group of its own, with pipes.
    pub(crate) fn start(
        launch: &Launch,
        log: &Arc<WorkerLog>,
    ) -> Result<(Self, ChildStdin, ChildStdout), ConnectorError> {
        let not_started = |source: io::Error| ConnectorError::NotStarted {
            command: launch.program.display().to_string(),
            source: source.into(),
        };
        let temp = temp_folder(&launch.temp_root).map_err(not_started)?;
        let mut command = Command::new(&launch.program);
        command
            .args(&launch.args)
            .env("TZ", "UTC")
            .env("TMPDIR", temp.path())
            .env("HEADWATER_PROTOCOL", headwater_connect::protocol::VERSION.to_string())
            .envs(launch.variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        for name in &launch.removed_variables {
            command.env_remove(name);
        }
        let mut child = command.spawn().map_err(not_started)?;
        let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(stdin), Some(stdout), Some(stderr)) = pipes else {
            return Err(not_started(io::Error::other("it has no pipes")));
        };
        if let Err(error) = rustix::pipe::fcntl_setpipe_size(&stdout, PIPE_BYTES) {
            tracing::debug!(%error, "the pipe from the worker keeps its size");
        }
        let mut log_reader = JoinSet::new();
        log_reader.spawn(Arc::clone(log).pump(stderr));
        Ok((Self { child, group, log_reader, _temp: temp }, stdin, stdout))
    }

    /// Its number, while it runs.
    pub(crate) fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Says whether it has not ended yet.
    pub(crate) fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Sends a signal to the process and those it started.
    pub(crate) fn signal(&self, signal: Signal) {
        if let Some(group) = self.group
            && let Err(error) = rustix::process::kill_process_group(group, signal)
        {
            tracing::trace!(%error, "the worker has ended before the signal");
        }
    }

    /// Waits until it has ended and its log has been read, and says how it ended. What it left running is killed. One
    /// that does not end by itself (its input or output is closed) is killed.
    pub(crate) async fn ended(&mut self) -> String {
        let status = match timeout(END_LIMIT, self.child.wait()).await {
            Ok(status) => status,
            Err(_) => {
                self.signal(Signal::KILL);
                // Its own end is told apart from ours.
                return match self.child.wait().await {
                    Ok(_) => "it closed its output and was killed".into(),
                    Err(error) => format!("its end is not known: {error}"),
                };
            }
        };
        self.signal(Signal::KILL);
        let _all_read = timeout(LOG_LIMIT, self.log_reader.join_next()).await;
        self.group = None;
        match status {
            Ok(status) => describe(status),
            Err(error) => format!("its end is not known: {error}"),
        }
    }

    /// Ends it: it is given time to end by itself once its input is closed, then told to, then killed.
    pub(crate) async fn end(mut self, patience: Patience) {
        if patience == Patience::Polite && timeout(END_LIMIT, self.child.wait()).await.is_ok() {
            self.finish();
            return;
        }
        if patience != Patience::None {
            self.signal(Signal::TERM);
            if timeout(TERM_LIMIT, self.child.wait()).await.is_ok() {
                self.finish();
                return;
            }
        }
        self.signal(Signal::KILL);
        if let Err(error) = self.child.wait().await {
            tracing::debug!(%error, "the end of a worker is not known");
        }
        self.finish();
    }

    /// What the process left running goes with it.
    fn finish(&mut self) {
        self.signal(Signal::KILL);
        self.group = None;
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

/// How much time a process gets to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Patience {
    /// It is idle, and ends by itself.
    Polite,
    /// It did not answer an interrupt.
    Told,
    /// It broke the protocol.
    None,
}

/// A folder whose name says whose it is, so that what a killed process left is found.
fn temp_folder(root: &Path) -> io::Result<tempfile::TempDir> {
    std::fs::create_dir_all(root)?;
    // A worker's own files may hold what its connector read.
    let root = root.canonicalize()?;
    tempfile::Builder::new().prefix(&format!("worker-{}-", std::process::id())).tempdir_in(root)
}

/// Removes the folders of workers whose `headwater` process is gone.
pub(crate) fn sweep_temp_folders(root: &Path) {
    let Ok(entries) = std::fs::read_dir(root) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let owner =
            name.to_str().and_then(|name| name.strip_prefix("worker-")?.split_once('-')?.0.parse().ok());
        let gone = |pid| rustix::process::test_kill_process(pid) == Err(rustix::io::Errno::SRCH);
        if owner.and_then(Pid::from_raw).is_some_and(gone)
            && let Err(error) = std::fs::remove_dir_all(entry.path())
        {
            tracing::debug!(%error, folder = %entry.path().display(), "a temporary folder stays");
        }
    }
}

fn describe(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => {
            let name = match signal {
                1 => "SIGHUP",
                2 => "SIGINT",
                3 => "SIGQUIT",
                4 => "SIGILL",
                6 => "SIGABRT",
                7 => "SIGBUS",
                8 => "SIGFPE",
                9 => "SIGKILL",
                11 => "SIGSEGV",
                13 => "SIGPIPE",
                15 => "SIGTERM",
                _ => return format!("signal {signal}"),
            };
            format!("signal {name}")
        }
        (None, None) => "it ended".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::sweep_temp_folders;

    #[test]
    fn folders_of_processes_that_are_gone_are_removed() {
        let root = tempfile::tempdir().unwrap();
        let own = format!("worker-{}-a", std::process::id());
        // No system gives out numbers as high as the first.
        for name in ["worker-2147483646-a", own.as_str(), "worker-x-a", "else"] {
            std::fs::create_dir_all(root.path().join(name).join("inside")).unwrap();
        }
        sweep_temp_folders(root.path());
        let mut left: Vec<String> = std::fs::read_dir(root.path())
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        let mut expect = vec!["else".to_owned(), own, "worker-x-a".to_owned()];
        expect.sort();
        assert_eq!(left, expect);
    }
}
