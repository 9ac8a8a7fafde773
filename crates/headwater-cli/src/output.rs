//! Everything that the command prints goes through here: stdout is data, stderr is talk.
//!
//! Secrets that were resolved are replaced before anything is written, a closed stdout (`| head`) is remembered and
//! ends the command quietly, and colours appear on a terminal only.

mod redact;
mod rows;
mod table;

use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use serde_json::json;

pub(crate) use redact::Redactor;
pub(crate) use rows::RowPrinter;
pub(crate) use table::{Align, Table, bytes_text, count_text};

use crate::fail::Failure;

/// Where the command's output goes. Cheap to clone; all clones share one state.
#[derive(Clone)]
pub(crate) struct Out(Arc<Inner>);

struct Inner {
    json: bool,
    quiet: bool,
    color: bool,
    stdout_closed: AtomicBool,
    redactor: Redactor,
    bars: Mutex<Option<indicatif::MultiProgress>>,
}

/// Styles of talk on a terminal.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Style {
    Bold,
    Dim,
    Red,
    Yellow,
    Green,
    Cyan,
}

impl Style {
    fn code(self) -> &'static str {
        match self {
            Style::Bold => "1",
            Style::Dim => "2",
            Style::Red => "1;31",
            Style::Yellow => "33",
            Style::Green => "32",
            Style::Cyan => "36",
        }
    }
}

impl Out {
    /// Takes what the user asked for; colours are decided by the terminal and `no_color`.
    pub(crate) fn new(json: bool, quiet: bool, no_color: bool) -> Self {
        Out(Arc::new(Inner {
            json,
            quiet,
            color: !no_color,
            stdout_closed: AtomicBool::new(false),
            redactor: Redactor::default(),
            bars: Mutex::new(None),
        }))
    }

    /// Says whether the user wants JSON.
    pub(crate) fn is_json(&self) -> bool {
        self.0.json
    }

    /// Says whether talk is suppressed.
    pub(crate) fn is_quiet(&self) -> bool {
        self.0.quiet
    }

    /// The secrets that are never printed.
    pub(crate) fn redactor(&self) -> &Redactor {
        &self.0.redactor
    }

    /// Says whether progress bars can be drawn.
    pub(crate) fn draws_bars(&self) -> bool {
        !self.0.json && !self.0.quiet && std::io::stderr().is_terminal()
    }

    /// Says whether a question can be asked and answered.
    pub(crate) fn can_ask(&self) -> bool {
        !self.0.json && std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
    }

    /// Text for stderr in a style, where colours are on.
    pub(crate) fn style(&self, style: Style, text: &str) -> String {
        self.paint(std::io::stderr().is_terminal(), style, text)
    }

    /// Text for stdout in a style, where colours are on.
    pub(crate) fn style_data(&self, style: Style, text: &str) -> String {
        self.paint(std::io::stdout().is_terminal(), style, text)
    }

    fn paint(&self, terminal: bool, style: Style, text: &str) -> String {
        if self.0.color && terminal {
            format!("\u{1b}[{}m{text}\u{1b}[0m", style.code())
        } else {
            text.to_owned()
        }
    }

    /// From now on talk goes above these bars.
    pub(crate) fn set_bars(&self, bars: Option<indicatif::MultiProgress>) {
        *self.0.bars.lock().unwrap_or_else(PoisonError::into_inner) = bars;
    }

    /// Writes a line of data to stdout.
    pub(crate) fn line(&self, text: &str) -> Result<(), Failure> {
        self.raw(&format!("{text}\n"))
    }

    /// Writes a piece of data to stdout as it is.
    ///
    /// # Errors
    /// Stdout was closed by its reader (a quiet end), or cannot be written.
    pub(crate) fn raw(&self, text: &str) -> Result<(), Failure> {
        if self.0.stdout_closed.load(Ordering::Relaxed) {
            return Err(Failure::stdout_closed());
        }
        let text = self.0.redactor.data(text);
        let written = self.above_bars(|| {
            let mut stdout = std::io::stdout().lock();
            stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush())
        });
        match written {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {
                self.0.stdout_closed.store(true, Ordering::Relaxed);
                Err(Failure::stdout_closed())
            }
            Err(error) => Err(Failure::other("stdout cannot be written", &error)),
        }
    }

    /// Writes a table to stdout.
    pub(crate) fn table(&self, table: &Table) -> Result<(), Failure> {
        self.raw(&table.render(|header| self.style_data(Style::Bold, header)))
    }

    /// Writes one JSON document to stdout.
    pub(crate) fn json(&self, document: &impl Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(document)
            .map_err(|error| Failure::other("the answer cannot be written as JSON", &error))?;
        self.line(&text)
    }

    /// Writes one line of JSON to stdout.
    pub(crate) fn json_line(&self, event: &impl Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string(event)
            .map_err(|error| Failure::other("the event cannot be written as JSON", &error))?;
        self.line(&text)
    }

    /// Says something on stderr, unless `--quiet`.
    pub(crate) fn say(&self, text: &str) {
        if !self.0.quiet {
            self.stderr(&format!("{text}\n"));
        }
    }

    /// Warns on stderr, unless `--quiet`: for a program as a line of JSON.
    pub(crate) fn warn(&self, text: &str) {
        if self.0.json {
            return self.say(&json!({"event": "warning", "message": text}).to_string());
        }
        self.say(&format!("{} {text}", self.style(Style::Yellow, "warning:")));
    }

    /// Writes to stderr, whatever was asked for. A stderr that is closed is nobody's concern.
    pub(crate) fn stderr(&self, text: &str) {
        let text = self.0.redactor.talk(text);
        self.above_bars(|| {
            let mut stderr = std::io::stderr().lock();
            if stderr.write_all(text.as_bytes()).is_ok() {
                // Nothing is left to do about a stderr that fails.
                drop(stderr.flush());
            }
        });
    }

    /// Asks a question that is answered with yes or no; no is the default.
    pub(crate) fn ask(&self, question: &str) -> bool {
        self.stderr(&format!("{question} [y/N] "));
        let mut answer = String::new();
        let read = std::io::stdin().read_line(&mut answer);
        read.is_ok() && matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes")
    }

    fn above_bars<T>(&self, write: impl FnOnce() -> T) -> T {
        let bars = self.0.bars.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match bars {
            Some(bars) => bars.suspend(write),
            None => write(),
        }
    }
}

/// Writes log lines to stderr, without secrets and above the progress bars.
#[derive(Clone)]
pub(crate) struct LogWriter(pub(crate) Out);

impl Write for LogWriter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.stderr(&String::from_utf8_lossy(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> tracing_subscriber::fmt::MakeWriter<'a> for LogWriter {
    type Writer = LogWriter;

    fn make_writer(&'a self) -> Self::Writer {
        self.clone()
    }
}
