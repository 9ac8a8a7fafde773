//! How long it takes from the start of the command to its first request at a source.
//!
//! The source is a socket that this process listens on; the run is killed once its request has come, and its project
//! folder is removed.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::child::{Running, median};

/// The goal, in milliseconds.
const GOAL: f64 = 50.0;
/// How long a request may take at all.
const PATIENCE: Duration = Duration::from_secs(10);

/// Starts `headwater run` so often, and prints the median, the least and the most. The command is the one beside this
/// program unless `binary` names another.
pub(crate) fn run(runs: usize, binary: Option<&str>) -> Result<()> {
    let binary = match binary {
        Some(binary) => PathBuf::from(binary),
        None => std::env::current_exe()?.with_file_name("headwater"),
    };
    if !binary.exists() {
        bail!("{} is not there: build it first, or name one", binary.display());
    }
    let folder = std::env::temp_dir().join(format!("headwater-bench-start-{}", std::process::id()));
    let measured = measure(runs, &binary, &folder);
    if folder.exists() {
        std::fs::remove_dir_all(&folder)?;
    }
    let mut millis = measured?;
    millis.sort_by(f64::total_cmp);
    let middle = median(millis.clone())?;
    let (least, most) = (millis.first().copied().unwrap_or(middle), millis.last().copied().unwrap_or(middle));
    let verdict = if middle < GOAL { "met" } else { "missed" };
    Ok(writeln!(
        std::io::stdout(),
        "start to the first request, {runs} runs: median {middle:.1} ms, {least:.1} to {most:.1} ms; goal {GOAL} ms: {verdict}"
    )?)
}

#[allow(clippy::disallowed_methods, reason = "a benchmark measures real time")]
fn measure(runs: usize, binary: &Path, folder: &Path) -> Result<Vec<f64>> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let url = format!("http://{}/w/api.php", listener.local_addr()?);
    project(folder, &url)?;
    let (arrived, arrivals) = mpsc::channel();
    std::thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            if let Some(at) = request(connection)
                && arrived.send(at).is_err()
            {
                return;
            }
        }
    });
    let mut millis = Vec::with_capacity(runs);
    // The first run warms the page cache and does not count.
    for run in 0..=runs {
        let started = Instant::now();
        let child = Command::new(binary)
            .args(["--quiet", "run", "pipelines/wiki.yaml"])
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| binary.display().to_string())?;
        let child = Running(child);
        let at = arrivals.recv_timeout(PATIENCE).context("no request came")?;
        drop(child);
        // A connection that was begun before the end of the run is none of the next one's.
        std::thread::sleep(Duration::from_millis(20));
        while arrivals.try_recv().is_ok() {}
        if run > 0 {
            millis.push(at.duration_since(started).as_secs_f64() * 1000.0);
        }
    }
    Ok(millis)
}

/// Waits for a request line; tells when it was there. The connection is dropped without an answer.
#[allow(clippy::disallowed_methods, reason = "a benchmark measures real time")]
fn request(mut connection: TcpStream) -> Option<Instant> {
    let mut first = [0; 4];
    connection.read_exact(&mut first).ok()?;
    first.starts_with(b"GET").then(Instant::now)
}

fn project(folder: &Path, url: &str) -> Result<()> {
    std::fs::create_dir_all(folder.join("pipelines")).with_context(|| folder.display().to_string())?;
    let project = format!(
        "warehouse: warehouse\nconnections:\n  wiki:\n    connector: mediawiki\n    options:\n      base_url: {url}\n"
    );
    std::fs::write(folder.join("headwater.yaml"), project)?;
    let pipeline = "connection_name: wiki\nobjects:\n  - table:\n      source_table: site_info\n";
    Ok(std::fs::write(folder.join("pipelines/wiki.yaml"), pipeline)?)
}
