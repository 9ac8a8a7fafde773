//! What this process has used so far, as the kernel counts it.

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
        let stat =
            std::fs::read_to_string("/proc/self/stat").context("no /proc/self/stat: figures need Linux")?;
        // The name of the process may hold spaces; what follows its closing bracket does not.
        let fields: Vec<&str> =
            stat.rsplit_once(')').context("odd /proc/self/stat")?.1.split_whitespace().collect();
        let ticks: u32 = fields
            .get(11..13)
            .context("short /proc/self/stat")?
            .iter()
            .map(|t| t.parse::<u32>())
            .sum::<Result<_, _>>()?;
        let status = std::fs::read_to_string("/proc/self/status")?;
        let peak = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).context("no VmHWM")?;
        let kib: u64 = peak.trim().trim_end_matches(" kB").parse()?;
        let io = std::fs::read_to_string("/proc/self/io")?;
        let read = io.lines().find_map(|l| l.strip_prefix("rchar:")).context("no rchar")?;
        let read_bytes = read.trim().parse()?;
        Ok(Self { cpu_secs: f64::from(ticks) / 100.0, peak_rss_bytes: kib * 1024, read_bytes })
    }

    /// As [`Usage::of_this_process`], with the CPU seconds of the processes that it has started, alive or ended.
    pub(crate) fn with_children() -> Result<Self> {
        let own = std::process::id().to_string();
        let mut ticks: u64 = 0;
        for process in std::fs::read_dir("/proc")?.flatten() {
            // One that ends meanwhile has been counted by nobody, and is of no weight.
            let Ok(stat) = std::fs::read_to_string(process.path().join("stat")) else { continue };
            let fields: Vec<&str> =
                stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
            let counted = match process.file_name().to_str() {
                // What has ended stands behind the process's own.
                Some(name) if name == own => fields.get(13..15),
                _ if fields.get(1) == Some(&own.as_str()) => fields.get(11..15),
                _ => continue,
            };
            for count in counted.context("short /proc/<pid>/stat")? {
                ticks += count.parse::<u64>()?;
            }
        }
        let mut usage = Self::of_this_process()?;
        usage.cpu_secs += f64::from(u32::try_from(ticks)?) / 100.0;
        Ok(usage)
    }

    pub(crate) fn to_json(self, wall_secs: f64, rows: u64) -> Value {
        json!({
            "cpu_secs": self.cpu_secs, "peak_rss_bytes": self.peak_rss_bytes, "read_bytes": self.read_bytes,
            "wall_secs": wall_secs, "rows": rows,
        })
    }
}
