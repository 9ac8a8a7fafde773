//! How a command fails: an exit code, what went wrong, why, and what to change.

use std::error::Error;

use headwater_connect::{Blame, ConnectorError};
use headwater_lake::LakeError;
use headwater_spec::{Diagnostic, SpecErrors};
use serde_json::{Value, json};

use crate::output::{Out, Style};

/// What the process tells its caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    Ok = 0,
    TableFailed = 1,
    Usage = 2,
    Source = 3,
    Warehouse = 4,
    Fault = 5,
    Interrupted = 130,
}

impl Exit {
    /// The number for the operating system.
    pub(crate) fn code(self) -> u8 {
        self as u8
    }
}

/// The end of a command that did not do what was asked.
#[derive(Debug)]
pub(crate) struct Failure {
    exit: Exit,
    /// Empty when all has been said already.
    problems: Vec<Problem>,
}

#[derive(Debug)]
struct Problem {
    message: String,
    causes: Vec<String>,
    hints: Vec<String>,
    /// Where in a file, for a person.
    excerpt: String,
    /// The same for a program.
    place: Option<Value>,
}

impl Problem {
    fn new(message: impl Into<String>, causes: Vec<String>) -> Self {
        Problem { message: message.into(), causes, hints: Vec::new(), excerpt: String::new(), place: None }
    }
}

impl Failure {
    /// A failure with an error, its causes, and what to change.
    pub(crate) fn new(exit: Exit, error: &(dyn Error + 'static), hint: Option<String>) -> Self {
        let mut problem = Problem::new(error.to_string(), causes(error));
        problem.hints.extend(hint);
        Self { exit, problems: vec![problem] }
    }

    /// A failure that a sentence describes.
    pub(crate) fn message(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, problems: vec![Problem::new(message, Vec::new())] }
    }

    /// Wrong usage that a sentence describes.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::message(Exit::Usage, message)
    }

    /// A failure of the machine around us.
    pub(crate) fn other(message: impl Into<String>, cause: &(dyn Error + 'static)) -> Self {
        Self { exit: Exit::Fault, problems: vec![Problem::new(message, chain(cause))] }
    }

    /// Complaints about a document, each with its place.
    pub(crate) fn diagnostics<'a>(complaints: impl IntoIterator<Item = &'a Diagnostic>) -> Self {
        let problems = complaints.into_iter().map(|d| Problem {
            excerpt: d.render_context(),
            place: Some(place(d)),
            hints: d.nearest.iter().map(|n| format!("did you mean `{n}`?")).chain(d.hint.clone()).collect(),
            ..Problem::new(d.problem.to_string(), Vec::new())
        });
        Self { exit: Exit::Usage, problems: problems.collect() }
    }

    /// The reader of stdout has gone: nothing to say, and no failure.
    pub(crate) fn stdout_closed() -> Self {
        Self { exit: Exit::Ok, problems: Vec::new() }
    }

    /// An end about which all has been said.
    pub(crate) fn silent(exit: Exit) -> Self {
        Self { exit, problems: Vec::new() }
    }

    /// The same with another exit code.
    #[must_use]
    pub(crate) fn with_exit(mut self, exit: Exit) -> Self {
        self.exit = exit;
        self
    }

    /// The same with one more hint.
    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        if let Some(problem) = self.problems.last_mut() {
            problem.hints.push(hint.into());
        }
        self
    }

    /// The same as the cause of `message`.
    #[must_use]
    pub(crate) fn context(mut self, message: impl Into<String>) -> Self {
        if let Some(problem) = self.problems.last_mut() {
            let cause = std::mem::replace(&mut problem.message, message.into());
            problem.causes.insert(0, cause);
        }
        self
    }

    /// Both failures, with the graver exit code of the two.
    #[must_use]
    pub(crate) fn and(mut self, other: Failure) -> Self {
        self.exit = if self.exit.code() >= other.exit.code() { self.exit } else { other.exit };
        self.problems.extend(other.problems);
        self
    }

    /// What the process tells its caller.
    pub(crate) fn exit(&self) -> Exit {
        self.exit
    }

    /// Tells the user: `error:`, `caused by:`, `hint:` on stderr; one line of JSON with `--json`.
    pub(crate) fn print(&self, out: &Out) {
        if out.is_json() {
            if !self.problems.is_empty() {
                let errors: Vec<_> = self
                    .problems
                    .iter()
                    .map(|p| json!({"message": p.message, "causes": p.causes, "hints": p.hints, "place": p.place}))
                    .collect();
                out.stderr(&format!("{}\n", json!({"exit_code": self.exit.code(), "errors": errors})));
            }
            return;
        }
        for problem in &self.problems {
            if problem.excerpt.is_empty() {
                out.stderr(&error_text(out, &problem.message, &problem.causes, &problem.hints));
            } else {
                // The excerpt holds the hints, beside the line that they are about.
                out.stderr(&error_text(out, &problem.message, &problem.causes, &[]));
                out.stderr(&problem.excerpt);
            }
        }
    }
}

/// Where a complaint stands and what may stand there, for a program.
pub(crate) fn place(d: &Diagnostic) -> Value {
    json!({"file": d.file, "line": d.at.line, "column": d.at.column, "path": d.path, "allowed": d.allowed})
}

impl From<SpecErrors> for Failure {
    fn from(errors: SpecErrors) -> Self {
        Failure::from(&errors)
    }
}

impl From<&SpecErrors> for Failure {
    fn from(errors: &SpecErrors) -> Self {
        let mut failure = Failure::diagnostics(&errors.errors);
        if errors.more > 0 {
            failure.problems.push(Problem::new(format!("… and {} more", errors.more), Vec::new()));
        }
        failure
    }
}

/// Lays out an error for a person.
pub(crate) fn error_text(out: &Out, message: &str, causes: &[String], hints: &[String]) -> String {
    let mut text = format!("{} {}\n", out.style(Style::Red, "error:"), indented(message));
    for cause in causes {
        text.push_str(&format!("  {} {}\n", out.style(Style::Bold, "caused by:"), indented(cause)));
    }
    for hint in hints {
        text.push_str(&format!("  {} {}\n", out.style(Style::Cyan, "hint:"), indented(hint)));
    }
    text
}

fn indented(text: &str) -> String {
    text.trim_end().replace('\n', "\n    ")
}

/// The error and what caused it, outermost first.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> Vec<String> {
    std::iter::once(error.to_string()).chain(causes(error)).collect()
}

/// What caused the error, outermost first. Layers that only repeat the one above are left out.
pub(crate) fn causes(error: &(dyn Error + 'static)) -> Vec<String> {
    let mut texts: Vec<String> = Vec::new();
    let mut last = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let text = cause.to_string();
        if !text.is_empty() && !last.ends_with(&text) {
            texts.push(text.clone());
        }
        last = text;
        next = cause.source();
    }
    texts
}

/// Who must act on a connector's error decides the exit code.
pub(crate) fn exit_of(error: &ConnectorError) -> Exit {
    match error {
        // Credentials can be right in form and refused all the same.
        ConnectorError::Unauthorized { .. }
        | ConnectorError::Forbidden { .. }
        | ConnectorError::Untrusted { .. }
        | ConnectorError::Rejected { .. } => Exit::Source,
        _ => match error.blame() {
            Blame::Configuration => Exit::Usage,
            Blame::Source => Exit::Source,
            Blame::Connector => Exit::Fault,
        },
    }
}

impl From<ConnectorError> for Failure {
    fn from(error: ConnectorError) -> Self {
        Failure::new(exit_of(&error), &error, error.hint())
    }
}

impl From<LakeError> for Failure {
    fn from(error: LakeError) -> Self {
        let exit = match &error {
            LakeError::BadTableName { .. }
            | LakeError::BadWarehouse { .. }
            | LakeError::NoTable { .. }
            | LakeError::NoVersion { .. }
            | LakeError::NoColumn { .. }
            | LakeError::RetentionTooShort { .. } => Exit::Usage,
            LakeError::TaskLost { .. } => Exit::Fault,
            _ => Exit::Warehouse,
        };
        Failure::new(exit, &error, error.hint())
    }
}
