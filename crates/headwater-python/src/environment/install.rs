//! Makes a virtual environment and installs into it.

use std::collections::VecDeque;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use siphasher::sip128::{Hasher128, SipHasher13};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::Command;
use tokio::sync::mpsc;

use super::last_output;
use super::python::Python;
use super::requirements::index_options;
use crate::error::steps;
use crate::{PrepareError, Progress};

/// The version under which the package that is brought along answers to the framework's name.
const FRAMEWORK_VERSION: &str = env!("CARGO_PKG_VERSION");

/// Lines of pip's that are kept for an error.
const KEPT_LINES: usize = 200;

/// What pip says where it cannot reach an index.
const OFFLINE_SIGNS: &[&str] = &[
    "NewConnectionError",
    "Failed to establish a new connection",
    "Temporary failure in name resolution",
    "Name or service not known",
    "nodename nor servname",
    "Network is unreachable",
    "Connection refused",
    "ConnectTimeoutError",
    "Read timed out",
    "Cannot connect to proxy",
    "No matching distribution found",
    "Could not find a version that satisfies",
];

/// What an environment has to hold.
#[derive(Debug, Clone, Hash)]
pub(super) struct Plan {
    /// The connector's folder: relative paths start there.
    pub(super) folder: PathBuf,
    /// Requirements, each as pip takes them.
    pub(super) requirements: Vec<String>,
    /// A list as in a requirements file.
    pub(super) from_file: Option<String>,
    /// What is installed where that works.
    pub(super) nice: Vec<String>,
    /// The interpreter has a pip that can install into the environment.
    pub(super) lends_pip: bool,
}

impl Plan {
    /// Changes with everything that the environment depends on.
    pub(super) fn key(&self, python: &Python) -> String {
        let mut hasher = SipHasher13::new();
        (self, &python.executable, python.version, FRAMEWORK_VERSION).hash(&mut hasher);
        // Lists and packages that the requirements name by path count with their content.
        let text = self.from_file.as_deref().unwrap_or_default();
        let files =
            text.lines().chain(self.requirements.iter().map(String::as_str)).flat_map(str::split_whitespace);
        for file in files.map(|word| self.folder.join(word)).filter(|path| path.is_file()) {
            std::fs::read(file).unwrap_or_default().hash(&mut hasher);
        }
        format!("{:016x}", hasher.finish128().h1 ^ hasher.finish())
    }
}

/// Makes the environment in `folder`, which is empty.
pub(super) async fn make(
    connector: &str,
    python: &Python,
    plan: &Plan,
    folder: &Path,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<(), PrepareError> {
    progress(Progress::Step(steps::VENV));
    let mut venv = Command::new(&python.executable);
    venv.args(["-I", "-m", "venv", "--clear"]);
    if plan.lends_pip {
        venv.arg("--without-pip");
    }
    venv.arg(folder);
    run(venv, connector, steps::VENV, progress).await?;
    register_framework(folder, python).map_err(|source| PrepareError::File {
        action: "write",
        path: folder.to_owned(),
        source,
    })?;

    progress(Progress::Step(steps::INSTALL));
    let mut install = pip(python, folder, plan);
    install.args(&plan.requirements);
    if let Some(text) = &plan.from_file {
        let list = folder.join("requirements.txt");
        std::fs::write(&list, text).map_err(|source| PrepareError::File {
            action: "write",
            path: list.clone(),
            source,
        })?;
        install.arg("-r").arg(list);
    }
    if !plan.requirements.is_empty() || plan.from_file.is_some() {
        run(install, connector, steps::INSTALL, progress).await?;
    }
    if !plan.nice.is_empty() {
        let mut install = pip(python, folder, plan);
        install.args(["--retries", "0", "--timeout", "10", "--only-binary", ":all:"]);
        install.args(index_options(plan.from_file.as_deref().unwrap_or_default())).args(&plan.nice);
        if let Err(PrepareError::Step { output, .. }) =
            run(install, connector, steps::INSTALL, progress).await
        {
            progress(Progress::Line(format!("not installed, and not needed: {}", plan.nice.join(", "))));
            tracing::debug!(connector, %output, "packages that are not needed were not installed");
        }
    }
    Ok(())
}

fn pip(python: &Python, folder: &Path, plan: &Plan) -> Command {
    let own = folder.join("bin").join("python");
    let mut command = if plan.lends_pip {
        let mut command = Command::new(&python.executable);
        command.args(["-P", "-m", "pip", "--python"]).arg(own);
        command
    } else {
        let mut command = Command::new(own);
        command.args(["-I", "-m", "pip"]);
        command
    };
    command
        .args(["install", "--disable-pip-version-check", "--no-input", "--no-color", "--progress-bar", "off"])
        .current_dir(&plan.folder);
    command
}

/// Lets pip see the framework as installed, so that nothing asks an index for it.
fn register_framework(folder: &Path, python: &Python) -> std::io::Result<()> {
    let [major, minor, _] = python.version;
    let packages = folder.join("lib").join(format!("python{major}.{minor}")).join("site-packages");
    let info = packages.join(format!("lakeflow_community_connectors-{FRAMEWORK_VERSION}.dist-info"));
    std::fs::create_dir_all(&info)?;
    let metadata = format!(
        "Metadata-Version: 2.1\nName: lakeflow-community-connectors\nVersion: {FRAMEWORK_VERSION}\n\
         Summary: Brought along by headwater\n"
    );
    std::fs::write(info.join("METADATA"), metadata)?;
    std::fs::write(info.join("INSTALLER"), "headwater\n")?;
    std::fs::write(info.join("RECORD"), "")
}

/// Runs a step in a process group of its own, and passes its lines on. Dropped, it kills the group.
async fn run(
    mut command: Command,
    connector: &str,
    step: &'static str,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<(), PrepareError> {
    let mut lines = VecDeque::new();
    let outcome = run_inner(&mut command, &mut lines, progress).await;
    let reason = match outcome {
        Ok(true) => return Ok(()),
        Ok(false) => None,
        Err(error) => Some(error.to_string()),
    };
    let offline = step == steps::INSTALL
        && lines.iter().any(|line: &String| OFFLINE_SIGNS.iter().any(|sign| line.contains(sign)));
    lines.extend(reason);
    let output = last_output(lines.into_iter());
    Err(PrepareError::Step { step, connector: connector.to_owned(), output, offline })
}

async fn run_inner(
    command: &mut Command,
    lines: &mut VecDeque<String>,
    progress: &(dyn Fn(Progress) + Sync),
) -> std::io::Result<bool> {
    let mut child = command
        .env_remove("PYTHONHOME")
        .env_remove("PYTHONPATH")
        .env_remove("PIP_TARGET")
        .env_remove("PIP_USER")
        .env_remove("PIP_REQUIRE_VIRTUALENV")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()?;
    let group = Group(child.id());
    let (sender, mut receiver) = mpsc::channel::<String>(64);
    let stdout = child.stdout.take().map(|pipe| forward(pipe, sender.clone()));
    let stderr = child.stderr.take().map(|pipe| forward(pipe, sender));
    let collect = async {
        while let Some(line) = receiver.recv().await {
            if lines.len() == KEPT_LINES {
                lines.pop_front();
            }
            lines.push_back(line.clone());
            progress(Progress::Line(line));
        }
    };
    let pipes = async {
        tokio::join!(
            async {
                if let Some(pipe) = stdout {
                    pipe.await
                }
            },
            async {
                if let Some(pipe) = stderr {
                    pipe.await;
                }
            }
        )
    };
    tokio::join!(pipes, collect);
    let status = child.wait().await?;
    drop(group);
    Ok(status.success())
}

async fn forward(pipe: impl AsyncRead + Unpin, sender: mpsc::Sender<String>) {
    let mut lines = BufReader::new(pipe).split(b'\n');
    while let Ok(Some(line)) = lines.next_segment().await {
        let line = String::from_utf8_lossy(&line).trim_end().to_owned();
        if !line.is_empty() && sender.send(line).await.is_err() {
            return;
        }
    }
}

/// Kills what a step started when it is given up.
struct Group(Option<u32>);

impl Drop for Group {
    fn drop(&mut self) {
        let group = self.0.and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw);
        if let Some(group) = group {
            let _gone = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
    }
}
