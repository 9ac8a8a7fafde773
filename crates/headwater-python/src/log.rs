use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use headwater_connect::protocol::{Failure, LogLevel};
use headwater_connect::{LastLog, Options};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::Instant;

use crate::redact::Redactor;

/// Lines that an error quotes.
const KEPT_LINES: usize = 20;

/// Characters of a line that are shown.
const SHOWN_CHARS: usize = 2_000;

/// Bytes of a line that are looked at; the rest of it is passed over.
const MAX_LINE_BYTES: usize = 64 << 10;

/// Lines that may be logged at once, and per second over a longer time.
const BURST_LINES: u32 = 1_000;
const LINES_PER_SECOND: u32 = 100;

/// What one worker says, on its way to the log: without secrets, cut, and no more than anybody can read.
#[derive(Debug)]
pub(crate) struct WorkerLog {
    connector: String,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    table: Option<String>,
    redactor: Arc<Redactor>,
    last: VecDeque<String>,
    /// Lines that may still be logged now.
    allowed: u32,
    refilled_at: Instant,
    left_out: u64,
}

impl WorkerLog {
    pub(crate) fn new(connector: &str) -> Self {
        let state = State {
            table: None,
            redactor: Arc::default(),
            last: VecDeque::new(),
            allowed: BURST_LINES,
            refilled_at: Instant::now(),
            left_out: 0,
        };
        Self { connector: connector.to_owned(), state: Mutex::new(state) }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says for which table and with which options the worker works from now on.
    pub(crate) fn set(&self, table: Option<&str>, options: &Options, is_secret: impl Fn(&str) -> bool) {
        let redactor = Arc::new(Redactor::new(options, is_secret));
        let mut state = self.state();
        state.table = table.map(str::to_owned);
        state.redactor = redactor;
    }

    /// `text` without secrets.
    pub(crate) fn redacted(&self, text: &str) -> String {
        let redactor = Arc::clone(&self.state().redactor);
        redactor.text(text)
    }

    /// The same failure without secrets.
    pub(crate) fn redacted_failure(&self, mut failure: Failure) -> Failure {
        let redactor = Arc::clone(&self.state().redactor);
        failure.message = redactor.text(&failure.message);
        failure.class = failure.class.map(|class| redactor.text(&class));
        for frame in &mut failure.trace {
            frame.code = redactor.text(&frame.code);
            frame.file = redactor.text(&frame.file);
        }
        failure
    }

    /// The last lines, for an error; none where nothing was said.
    pub(crate) fn last(&self) -> Option<LastLog> {
        let state = self.state();
        if state.last.is_empty() { None } else { Some(LastLog(state.last.iter().cloned().collect())) }
    }

    /// Takes what a worker says.
    pub(crate) fn say(&self, level: LogLevel, logger: Option<&str>, text: &str) {
        let redactor = Arc::clone(&self.state().redactor);
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            self.line(level, logger, cut(redactor.text(line)));
        }
    }

    fn line(&self, level: LogLevel, logger: Option<&str>, line: String) {
        let (table, left_out) = {
            let mut state = self.state();
            if state.last.len() == KEPT_LINES {
                state.last.pop_front();
            }
            state.last.push_back(line.clone());
            if !state.take_turn() {
                state.left_out += 1;
                return;
            }
            (state.table.clone(), std::mem::take(&mut state.left_out))
        };
        let (connector, table, logger) = (self.connector.as_str(), table.as_deref(), logger);
        if left_out > 0 {
            tracing::warn!(
                connector,
                table,
                lines = left_out,
                "the connector wrote too much: lines left out"
            );
        }
        match level {
            LogLevel::Error => tracing::error!(connector, table, logger, line, "connector"),
            LogLevel::Warning => tracing::warn!(connector, table, logger, line, "connector"),
            LogLevel::Info => tracing::info!(connector, table, logger, line, "connector"),
            LogLevel::Debug => tracing::debug!(connector, table, logger, line, "connector"),
        }
    }

    /// Logs what comes on a worker's standard error, until it ends.
    pub(crate) async fn pump(self: Arc<Self>, mut stderr: impl AsyncRead + Unpin) {
        let mut line = Vec::new();
        let mut too_long = false;
        let mut chunk = vec![0; 8 << 10];
        while let Ok(count @ 1..) = stderr.read(&mut chunk).await {
            for piece in chunk.get(..count).unwrap_or_default().split_inclusive(|byte| *byte == b'\n') {
                let ends = piece.last() == Some(&b'\n');
                if !too_long {
                    line.extend_from_slice(piece);
                }
                if ends || line.len() > MAX_LINE_BYTES {
                    if !too_long {
                        self.say(LogLevel::Info, None, &String::from_utf8_lossy(&line));
                    }
                    line.clear();
                    too_long = !ends;
                }
            }
        }
        self.say(LogLevel::Info, None, &String::from_utf8_lossy(&line));
    }
}

impl State {
    /// Says whether one more line may be logged now.
    fn take_turn(&mut self) -> bool {
        let now = Instant::now();
        let gained = now.duration_since(self.refilled_at).as_millis() * u128::from(LINES_PER_SECOND) / 1_000;
        if gained > 0 {
            let gained = u32::try_from(gained).unwrap_or(u32::MAX);
            self.allowed = self.allowed.saturating_add(gained).min(BURST_LINES);
            self.refilled_at += Duration::from_secs(u64::from(gained)) / LINES_PER_SECOND;
        }
        match self.allowed.checked_sub(1) {
            Some(left) => {
                self.allowed = left;
                true
            }
            None => false,
        }
    }
}

/// The line with control characters made visible, and its end left off where it is long.
fn cut(line: String) -> String {
    let plain = !line.contains(|c: char| c.is_control() && c != '\t');
    if plain && line.len() <= SHOWN_CHARS {
        return line;
    }
    let visible = |c: char| if c.is_control() && c != '\t' { '\u{fffd}' } else { c };
    let mut shown: String = line.chars().take(SHOWN_CHARS).map(visible).collect();
    if line.chars().nth(SHOWN_CHARS).is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use headwater_connect::protocol::LogLevel;
    use headwater_connect::{LastLog, Options};

    use super::{BURST_LINES, KEPT_LINES, SHOWN_CHARS, WorkerLog};

    #[tokio::test]
    async fn lines_are_kept_without_secrets_and_cut() {
        let log = Arc::new(WorkerLog::new("c"));
        let options: Options = [("token", "hunter22")].into_iter().collect();
        log.set(Some("t"), &options, |name| name == "token");
        let long = "x".repeat(300_000);
        let text = format!("first\n\n  \nwith hunter22\n{long}\n\x1b[31mred\nlast");
        Arc::clone(&log).pump(text.as_bytes()).await;
        let Some(LastLog(last)) = log.last() else { panic!("nothing") };
        assert_eq!(last[0], "first");
        assert_eq!(last[1], "with <secret>");
        assert_eq!(last[2].chars().count(), SHOWN_CHARS + 1);
        assert_eq!(last[3], "\u{fffd}[31mred");
        assert_eq!(last[4], "last");
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_is_bounded() {
        let log = WorkerLog::new("c");
        for n in 0..BURST_LINES * 3 {
            log.say(LogLevel::Info, None, &n.to_string());
        }
        assert_eq!(log.state().left_out, u64::from(BURST_LINES) * 2);
        assert_eq!(log.last().unwrap().0.len(), KEPT_LINES);
        tokio::time::advance(std::time::Duration::from_secs(1)).await;
        log.say(LogLevel::Info, None, "again");
        assert_eq!(log.state().left_out, 0);
    }
}
