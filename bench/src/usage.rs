//! What this process has used so far, as the kernel counts it.

use std::ops::Range;

use anyhow::{Context, Result};
use serde_json::{Value, json};

/// CPU seconds (user and system, in steps of the kernel's clock tick), the peak of resident memory, and the bytes that
/// were read of files and sockets.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Usage {
    pub(crate) cpu_secs: f64,
    pub(crate) peak_rss_bytes: u64,
    pub(crate) read_bytes: u64,
}

impl Usage {
    /// Reads `/proc/self`.
    pub(crate) fn of_this_process() -> Result<Self> {
        let own = Stat::read("self")?;
        Self::with_ticks(own.ticks(Stat::OWN)?)
    }

    /// As [`Usage::of_this_process`], with the CPU seconds of the processes that it has started, alive or ended.
    pub(crate) fn with_children() -> Result<Self> {
        let own = Stat::read("self")?;
        let mut ticks = own.ticks(Stat::WITH_ENDED_CHILDREN)?;
        let parent = std::process::id().to_string();
        for process in std::fs::read_dir("/proc")?.flatten() {
            let name = process.file_name();
            // What is no process, or ends meanwhile, is counted by nobody, and is of no weight.
            let Some(Ok(child)) = name.to_str().map(Stat::read) else { continue };
            if child.0.get(1) == Some(&parent) {
                ticks += child.ticks(Stat::WITH_ENDED_CHILDREN)?;
            }
        }
        Self::with_ticks(ticks)
    }

    fn with_ticks(ticks: u32) -> Result<Self> {
        let status = std::fs::read_to_string("/proc/self/status")?;
        let peak = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).context("no VmHWM")?;
        let kib: u64 = peak.trim().trim_end_matches(" kB").parse()?;
        let io = std::fs::read_to_string("/proc/self/io")?;
        let read = io.lines().find_map(|l| l.strip_prefix("rchar:")).context("no rchar")?;
        let read_bytes = read.trim().parse()?;
        Ok(Self { cpu_secs: f64::from(ticks) / 100.0, peak_rss_bytes: kib * 1024, read_bytes })
    }

    pub(crate) fn to_json(self, wall_secs: f64, rows: u64) -> Value {
        json!({
            "cpu_secs": self.cpu_secs, "peak_rss_bytes": self.peak_rss_bytes, "read_bytes": self.read_bytes,
            "wall_secs": wall_secs, "rows": rows,
        })
    }
}

/// The fields of a process's `stat` behind its name.
struct Stat(Vec<String>);

impl Stat {
    /// User and system time.
    const OWN: Range<usize> = 11..13;
    /// The same, and that of its children that have ended and been waited for.
    const WITH_ENDED_CHILDREN: Range<usize> = 11..15;

    fn read(process: &str) -> Result<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))
            .context("no /proc/<pid>/stat: figures need Linux")?;
        // The name of the process may hold spaces; what follows its closing bracket does not.
        let fields = stat.rsplit_once(')').context("odd /proc/<pid>/stat")?.1;
        Ok(Self(fields.split_whitespace().map(str::to_owned).collect()))
    }

    fn ticks(&self, fields: Range<usize>) -> Result<u32> {
        let counts = self.0.get(fields).context("short /proc/<pid>/stat")?;
        Ok(counts.iter().map(|count| count.parse::<u32>()).sum::<Result<_, _>>()?)
    }
}
