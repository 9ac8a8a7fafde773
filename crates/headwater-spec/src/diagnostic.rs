//! Complaints with a place: what is wrong, where, what would be right.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;

use crate::names::nearest;
use crate::node::{Place, Position};

/// Complaints beyond this many are counted, not kept.
const MAX_KEPT: usize = 100;
/// Characters of a source line that a rendering shows.
const MAX_LINE_CHARS: usize = 160;

/// What is wrong with a document.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// The text is not YAML, or not JSON.
    #[error("{detail}")]
    Syntax {
        /// What the reader met.
        detail: String,
    },
    /// The text, or what its aliases make of it, is larger than a spec can sensibly be.
    #[error("the document is too large: {detail}")]
    TooLarge {
        /// Which limit it passes.
        detail: String,
    },
    /// No such field in this place.
    #[error("unknown field `{name}`")]
    UnknownField {
        /// The field as written.
        name: String,
    },
    /// A field that must be there is not.
    #[error("missing field `{name}`")]
    MissingField {
        /// The field.
        name: String,
    },
    /// One of several fields must be there.
    #[error("one of {names} is needed")]
    NoneOf {
        /// The fields, ready to show.
        names: String,
    },
    /// A field stands twice in one map.
    #[error("field `{name}` is given twice (first in line {first_line})")]
    RepeatedField {
        /// The field.
        name: String,
        /// Where it came first.
        first_line: usize,
    },
    /// Fields that cannot stand together.
    #[error("`{first}` and `{second}` exclude each other")]
    Exclusive {
        /// One.
        first: String,
        /// The other.
        second: String,
    },
    /// A value of the wrong type.
    #[error("expected {expected}, found {found}")]
    WrongType {
        /// What is right.
        expected: String,
        /// What stands there.
        found: String,
    },
    /// A value outside a fixed set.
    #[error("`{value}` is not a value of `{name}`")]
    NotAllowed {
        /// The field.
        name: String,
        /// The value as written, cut short.
        value: String,
    },
    /// A value of the right type that cannot be used.
    #[error("`{value}` {reason}")]
    BadValue {
        /// The value as written, cut short.
        value: String,
        /// Why not.
        reason: String,
    },
    /// Two objects that land in one table.
    #[error("`{destination}` is already the destination of `{first_path}` (line {first_line})")]
    SameDestination {
        /// The table.
        destination: String,
        /// The object that came first.
        first_path: String,
        /// Its line.
        first_line: usize,
    },
    /// Settings that contradict each other or what the connector says.
    #[error("{detail}")]
    Contradiction {
        /// Which, and how.
        detail: String,
    },
    /// A table option that the connector does not take.
    #[error("connector `{connector}` has no table option `{name}`")]
    TableOption {
        /// The option as written.
        name: String,
        /// The connector's display name.
        connector: String,
    },
    /// A field of the public format that does nothing here. A warning.
    #[error("`{name}` has no meaning here and is ignored")]
    Ignored {
        /// The field.
        name: String,
    },
    /// Something that is accepted but looks like a slip. A warning.
    #[error("{detail}")]
    Doubtful {
        /// What looks wrong.
        detail: String,
    },
}

/// Whether a complaint stops the document from being used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// It does.
    Error,
    /// It does not.
    Warning,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
        })
    }
}

/// One complaint about a document.
///
/// `Display` is one line: `file:line:column: path: what is wrong`. [`Diagnostic::render`] shows the source line too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// Whether it stops the document.
    pub severity: Severity,
    /// Name of the file as the caller gave it.
    pub file: String,
    /// Where.
    pub at: Position,
    /// Path of the field, such as `objects[2].table.source_table`. Empty for the whole document.
    pub path: String,
    /// What is wrong.
    pub problem: Problem,
    /// What may stand there instead, where that is a list.
    pub allowed: Vec<String>,
    /// The allowed name or value that is most like what was written.
    pub nearest: Option<String>,
    /// What to change, where it is more than the rest says.
    pub hint: Option<String>,
    source_line: String,
    width: usize,
}

impl Diagnostic {
    pub(crate) fn allow<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.allowed = names.into_iter().map(Into::into).collect();
        self
    }

    /// Names what may stand there, and the one of them that `written` is most like.
    pub(crate) fn allow_like<N: Into<String>>(
        self,
        written: &str,
        names: impl IntoIterator<Item = N>,
    ) -> Self {
        let mut this = self.allow(names);
        this.nearest = nearest(written, this.allowed.iter().map(String::as_str)).map(str::to_owned);
        this
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub(crate) fn warning(mut self) -> Self {
        self.severity = Severity::Warning;
        self
    }

    /// Gives the complaint as several lines of plain text: what is wrong, the source line with a caret, what is
    /// allowed, what to do. Ends with a line break.
    pub fn render(&self) -> String {
        format!("{}: {}\n{}", self.severity, self.problem, self.render_context())
    }

    /// As [`Diagnostic::render`] without its first line, for a caller that prints that line in its own way.
    pub fn render_context(&self) -> String {
        let number = self.at.line.to_string();
        let pad = " ".repeat(number.len());
        let mut lines = vec![format!("{pad} --> {}:{}", printable(&self.file), self.at)];
        if !self.source_line.trim().is_empty() {
            let (line, column) = window(&self.source_line, self.at.column);
            let width = line.chars().count().saturating_sub(column - 1).clamp(1, self.width.max(1));
            lines.push(format!("{pad} |"));
            lines.push(format!("{number} | {line}"));
            lines.push(format!("{pad} | {}{}", " ".repeat(column - 1), "^".repeat(width)));
        }
        if !self.path.is_empty() {
            lines.push(format!("{pad} = at: {}", printable(&self.path)));
        }
        if !self.allowed.is_empty() {
            lines.push(format!("{pad} = allowed: {}", self.allowed.join(", ")));
        }
        if let Some(nearest) = &self.nearest {
            lines.push(format!("{pad} = hint: did you mean `{nearest}`?"));
        }
        if let Some(hint) = &self.hint {
            lines.push(format!("{pad} = hint: {hint}"));
        }
        lines.join("\n") + "\n"
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: ", self.file, self.at)?;
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        write!(f, "{}", self.problem)
    }
}

impl Error for Diagnostic {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.problem.source()
    }
}

/// Replaces what would disturb a terminal or the caret's alignment.
fn printable(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\t' => ' ',
            c if c.is_control() => '\u{fffd}',
            c => c,
        })
        .collect()
}

/// Cuts a long line to the part around `column`; gives it with the column's place in it, from 1.
fn window(line: &str, column: usize) -> (String, usize) {
    let clean: Vec<char> = printable(line).chars().collect();
    let column = column.clamp(1, clean.len() + 1);
    if clean.len() <= MAX_LINE_CHARS {
        return (clean.into_iter().collect(), column);
    }
    let from = column.saturating_sub(MAX_LINE_CHARS / 2).min(clean.len() - MAX_LINE_CHARS);
    let part = clean.iter().skip(from).take(MAX_LINE_CHARS);
    if from == 0 {
        (part.collect(), column)
    } else {
        (std::iter::once(&'…').chain(part).collect(), column - from + 1)
    }
}

/// Everything that is wrong with a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpecErrors {
    /// The errors, in the order of the document.
    pub errors: Vec<Diagnostic>,
    /// Warnings about the same document.
    pub warnings: Vec<Diagnostic>,
    /// Errors and warnings beyond those kept.
    pub more: usize,
}

impl SpecErrors {
    /// Renders all errors, then all warnings, with an empty line between them.
    pub fn render(&self) -> String {
        let mut parts: Vec<String> =
            self.errors.iter().chain(&self.warnings).map(Diagnostic::render).collect();
        if self.more > 0 {
            parts.push(format!("… and {} more\n", self.more));
        }
        parts.join("\n")
    }
}

impl fmt::Display for SpecErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.errors.as_slice() {
            [only] => write!(f, "{only}"),
            [first, rest @ ..] => write!(f, "{first} (and {} more)", rest.len() + self.more),
            [] => f.write_str("the document has no errors"),
        }
    }
}

impl Error for SpecErrors {}

/// A document that can be used, with what was odd about it and where everything stands.
#[derive(Debug, Clone)]
pub struct Parsed<T> {
    /// The document.
    pub value: T,
    /// What was accepted with a doubt.
    pub warnings: Vec<Diagnostic>,
    pub(crate) source: Source,
}

impl<T> Parsed<T> {
    /// Says where the field at `path` stands (`objects[2].table.source_table`), or the nearest field above it.
    pub fn position(&self, path: &str) -> Position {
        self.source.place(path).at
    }

    /// Makes an error about the field at `path` that only the caller could find, such as a table that the
    /// source does not have.
    pub fn error_at(&self, path: &str, detail: impl Into<String>, hint: Option<String>) -> Diagnostic {
        let problem = Problem::Contradiction { detail: detail.into() };
        let mut diagnostic = self.source.diagnostic(self.source.place(path), path, problem);
        diagnostic.hint = hint;
        diagnostic
    }
}

/// The text of a document, by lines, with the place of each path in it.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    file: String,
    lines: Vec<String>,
    places: BTreeMap<String, Place>,
}

impl Source {
    pub(crate) fn new(file: &str, text: &str) -> Self {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        Source {
            file: file.to_owned(),
            lines: text.lines().map(str::to_owned).collect(),
            places: BTreeMap::new(),
        }
    }

    pub(crate) fn record(&mut self, path: &str, place: Place) {
        self.places.entry(path.to_owned()).or_insert(place);
    }

    pub(crate) fn has(&self, path: &str) -> bool {
        self.places.contains_key(path)
    }

    pub(crate) fn place(&self, path: &str) -> Place {
        let mut path = path;
        loop {
            if let Some(place) = self.places.get(path) {
                return *place;
            }
            match path.rfind(['.', '[']).and_then(|end| path.get(..end)) {
                Some(above) => path = above,
                None => return Place::start(),
            }
        }
    }

    pub(crate) fn diagnostic(&self, place: Place, path: &str, problem: Problem) -> Diagnostic {
        Diagnostic {
            severity: Severity::Error,
            file: self.file.clone(),
            at: place.at,
            path: path.to_owned(),
            problem,
            allowed: Vec::new(),
            nearest: None,
            hint: None,
            source_line: self.lines.get(place.at.line.saturating_sub(1)).cloned().unwrap_or_default(),
            width: place.width,
        }
    }
}

/// Gathers complaints while a document is looked at.
#[derive(Debug)]
pub(crate) struct Complaints {
    pub(crate) source: Source,
    errors: Vec<Diagnostic>,
    warnings: Vec<Diagnostic>,
    more: usize,
    failed: bool,
}

impl Complaints {
    pub(crate) fn new(source: Source) -> Self {
        Complaints { source, errors: Vec::new(), warnings: Vec::new(), more: 0, failed: false }
    }

    /// Adds a complaint; `finish` lets `allowed`, hints and the severity be set.
    pub(crate) fn add(
        &mut self,
        place: Place,
        path: &str,
        problem: Problem,
        finish: impl FnOnce(Diagnostic) -> Diagnostic,
    ) {
        if self.errors.len() + self.warnings.len() >= MAX_KEPT {
            self.more += 1;
            self.failed |= finish(self.source.diagnostic(place, path, problem)).severity == Severity::Error;
            return;
        }
        let diagnostic = finish(self.source.diagnostic(place, path, problem));
        match diagnostic.severity {
            Severity::Error => {
                self.failed = true;
                self.errors.push(diagnostic);
            }
            Severity::Warning => self.warnings.push(diagnostic),
        }
    }

    pub(crate) fn error(&mut self, place: Place, path: &str, problem: Problem) {
        self.add(place, path, problem, |d| d);
    }

    /// Says whether there was an error.
    pub(crate) fn is_failed(&self) -> bool {
        self.failed
    }

    /// Ends with the document or with its errors.
    pub(crate) fn finish<T>(mut self, value: Option<T>) -> Result<Parsed<T>, SpecErrors> {
        self.errors.sort_by_key(|d| d.at);
        self.warnings.sort_by_key(|d| d.at);
        match value {
            Some(value) if !self.failed => Ok(Parsed { value, warnings: self.warnings, source: self.source }),
            _ => Err(SpecErrors { errors: self.errors, warnings: self.warnings, more: self.more }),
        }
    }
}
