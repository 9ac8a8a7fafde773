use std::time::Duration;

use headwater_lake::WriterSpec;

/// What a process takes at most beside the memory that is counted.
const BESIDE_BYTES: usize = 16 * 1024 * 1024;

/// How an engine works. The defaults suit a laptop.
#[derive(Debug, Clone)]
pub struct EngineSettings {
    /// Memory for pages, columns and writers of all flows together, in bytes.
    pub memory_bytes: usize,
    /// Flows of one update that run at the same time.
    pub parallel_flows: usize,
    /// Parts of one table that are read at the same time.
    pub parallel_parts: usize,
    /// When a stream commits before its end.
    pub commit: CommitPolicy,
    /// When a failed flow tries again.
    pub retry: RetryPolicy,
    /// How long a graceful stop waits for the end of a read before it gives up what is not committed.
    pub stop_grace: Duration,
    /// Rows that make a batch.
    pub batch_rows: usize,
    /// Size at which a data file is closed, in bytes.
    pub target_file_bytes: u64,
    /// Widen column types by the protocol's type widening instead of rewriting files.
    pub type_widening: bool,
    /// How long events gather before they are written.
    pub event_interval: Duration,
}

impl Default for EngineSettings {
    fn default() -> Self {
        Self {
            memory_bytes: 512 * 1024 * 1024,
            parallel_flows: 4,
            parallel_parts: 4,
            commit: CommitPolicy::default(),
            retry: RetryPolicy::default(),
            stop_grace: Duration::from_secs(30),
            batch_rows: 8192,
            target_file_bytes: WriterSpec::DEFAULT_TARGET_FILE_BYTES,
            type_widening: false,
            event_interval: Duration::from_secs(5),
        }
    }
}

impl EngineSettings {
    /// Sets the memory so that a process which does nothing but run the engine stays within `bytes`: a part is left to
    /// what nobody counts, the code, the runtimes and the buffers of connections.
    pub fn set_process_memory(&mut self, bytes: usize) {
        self.memory_bytes = bytes - (bytes / 6).min(BESIDE_BYTES);
    }
}

/// When a stream commits before its end: at the first end of a read after any of these is reached.
#[derive(Debug, Clone, Copy)]
pub struct CommitPolicy {
    /// Staged bytes, encoded.
    pub bytes: u64,
    /// Rows.
    pub rows: u64,
    /// Time since the last commit.
    pub interval: Duration,
}

impl Default for CommitPolicy {
    fn default() -> Self {
        Self { bytes: 128 * 1024 * 1024, rows: 10_000_000, interval: Duration::from_secs(60) }
    }
}

/// When a failed flow tries again.
#[derive(Debug, Clone, Copy)]
pub struct RetryPolicy {
    /// Attempts without a commit in between, the first included.
    pub attempts: u32,
    /// The pause before the second attempt; it doubles from there.
    pub first_pause: Duration,
    /// The longest pause that the engine chooses; a source may ask for a longer one.
    pub longest_pause: Duration,
    /// The longest pause that a source may ask for. A flow whose source asks for more ends, and its report says when to go on.
    pub longest_asked: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts: 5,
            first_pause: Duration::from_secs(1),
            longest_pause: Duration::from_secs(60),
            longest_asked: Duration::from_secs(300),
        }
    }
}

impl RetryPolicy {
    /// The pause after `failures` failures in a row: doubled each time, spread over the upper half so that flows
    /// that failed together do not come back together, and never shorter than what the source asked for.
    pub(crate) fn pause(&self, failures: u32, asked: Option<Duration>) -> Duration {
        let doubled = self.first_pause.saturating_mul(1 << failures.saturating_sub(1).min(16));
        let base = doubled.min(self.longest_pause);
        let pause = base.mul_f64(0.5 + fastrand::f64() / 2.0);
        asked.map_or(pause, |asked| asked + base.mul_f64(fastrand::f64() / 10.0))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::RetryPolicy;

    #[test]
    fn pauses_double_up_to_the_longest_and_respect_the_source() {
        let policy = RetryPolicy::default();
        let check = |failures, asked: Option<u64>, least: f64, most: f64| {
            for _ in 0..100 {
                let pause = policy.pause(failures, asked.map(Duration::from_secs)).as_secs_f64();
                assert!((least..=most).contains(&pause), "{failures} failures: {pause}");
            }
        };
        check(1, None, 0.5, 1.0);
        check(2, None, 1.0, 2.0);
        check(4, None, 4.0, 8.0);
        check(40, None, 30.0, 60.0);
        check(1, Some(300), 300.0, 301.0);
        check(9, Some(300), 300.0, 306.0);
    }
}
