use std::error::Error;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::protocol::TraceFrame;

/// What a connector outside this process raised: class, message, and where in its own code.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Exception {
    /// Name of the class, where there is one.
    pub class: Option<String>,
    /// What it says, without secrets.
    pub message: String,
    /// The frames of the connector's own code.
    pub trace: Trace,
}

impl fmt::Display for Exception {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.class {
            Some(class) if self.message.is_empty() => f.write_str(class),
            Some(class) => write!(f, "{class}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

impl Error for Exception {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        if self.trace.0.is_empty() { None } else { Some(&self.trace) }
    }
}

/// Frames of a connector's code, outermost first. Shown from the innermost, where it happened.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trace(pub Vec<TraceFrame>);

impl Trace {
    /// Frames shown; those between are counted.
    const SHOWN: usize = 5;
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, frame) in self.0.iter().rev().take(Self::SHOWN).enumerate() {
            f.write_str(if index == 0 { "raised at " } else { ", called at " })?;
            write!(f, "{}:{} in {}", frame.file, frame.line, frame.function)?;
            if index == 0 && !frame.code.is_empty() {
                write!(f, " (`{}`)", frame.code.trim())?;
            }
        }
        match self.0.len().saturating_sub(Self::SHOWN) {
            0 => Ok(()),
            more => write!(f, ", and {more} more"),
        }
    }
}

impl Error for Trace {}

/// The last lines that a worker wrote to its log, without secrets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LastLog(pub Vec<String>);

impl fmt::Display for LastLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("its log ends with:")?;
        self.0.iter().try_for_each(|line| write!(f, "\n  {line}"))
    }
}

impl Error for LastLog {}

#[cfg(test)]
mod tests {
    use std::error::Error;

    use super::{Exception, Trace};
    use crate::protocol::TraceFrame;

    #[test]
    fn an_exception_shows_its_class_and_where_it_was_raised() {
        let frame = |line: u64, code: &str| TraceFrame {
            file: "src.py".into(),
            line,
            function: "read".into(),
            code: code.into(),
        };
        let exception = Exception {
            class: Some("KeyError".into()),
            message: "'id'".into(),
            trace: Trace(vec![frame(1, "self.b()"), frame(2, " x['id']")]),
        };
        assert_eq!(exception.to_string(), "KeyError: 'id'");
        let at = exception.source().unwrap().to_string();
        assert_eq!(at, "raised at src.py:2 in read (`x['id']`), called at src.py:1 in read");
        assert!(Exception::default().source().is_none());
    }
}
