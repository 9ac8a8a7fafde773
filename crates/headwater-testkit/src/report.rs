//! What the suite found: every test, and a report of them for people and for programs.

use std::fmt;
use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::Rule;

/// How a test went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// The rule is kept, as far as could be seen.
    Passed,
    /// Something that deserves a look, and breaks no rule for this connector.
    Warned {
        /// What was seen.
        seen: String,
    },
    /// The rule is broken.
    Failed {
        /// What was seen.
        seen: String,
    },
    /// The rule could not be tested, or was left out.
    Skipped {
        /// Why.
        reason: String,
    },
}

/// One rule tested on one table.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TestResult {
    /// The rule.
    #[serde(flatten, serialize_with = "rule")]
    pub rule: &'static Rule,
    /// The table; none where the rule is about the connector.
    pub table: Option<String>,
    /// How it went.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// How long it took.
    #[serde(rename = "seconds", serialize_with = "seconds")]
    pub took: Duration,
}

fn rule<S: Serializer>(rule: &Rule, serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Shown<'a> {
        rule: String,
        title: &'a str,
        change: &'a str,
    }
    Shown { rule: format!("R{}", rule.number), title: rule.title, change: rule.change }.serialize(serializer)
}

fn seconds<S: Serializer>(took: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64((took.as_secs_f64() * 1000.0).round() / 1000.0)
}

impl TestResult {
    /// What was seen, or why nothing was; none where the rule is kept.
    pub fn seen(&self) -> Option<&str> {
        match &self.outcome {
            Outcome::Passed => None,
            Outcome::Warned { seen: text }
            | Outcome::Failed { seen: text }
            | Outcome::Skipped { reason: text } => Some(text),
        }
    }

    /// Says whether the rule is broken.
    pub fn is_failed(&self) -> bool {
        matches!(self.outcome, Outcome::Failed { .. })
    }
}

impl fmt::Display for TestResult {
    /// One line: how it went, the rule, the table and what was seen.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self.outcome {
            Outcome::Passed => "ok",
            Outcome::Warned { .. } => "warn",
            Outcome::Failed { .. } => "FAIL",
            Outcome::Skipped { .. } => "skip",
        };
        write!(f, "{word:4} {:4}", format!("R{}", self.rule.number))?;
        if let Some(table) = &self.table {
            write!(f, " {table}:")?;
        }
        write!(f, " {}", self.rule.title)?;
        match self.seen() {
            Some(seen) => write!(f, ": {seen}"),
            None => Ok(()),
        }
    }
}

/// All tests of a connector.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Report {
    /// The connector.
    pub connector: String,
    /// The tests, in the order in which they ran.
    pub tests: Vec<TestResult>,
}

/// How many tests went how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Rules that are kept.
    pub passed: usize,
    /// Warnings.
    pub warned: usize,
    /// Rules that are broken.
    pub failed: usize,
    /// Tests that were left out.
    pub skipped: usize,
}

impl Report {
    /// Says whether no rule is broken.
    pub fn is_passed(&self) -> bool {
        !self.tests.iter().any(TestResult::is_failed)
    }

    /// The tests that found a broken rule.
    pub fn failures(&self) -> impl Iterator<Item = &TestResult> {
        self.tests.iter().filter(|test| test.is_failed())
    }

    /// How many tests went how.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for test in &self.tests {
            match test.outcome {
                Outcome::Passed => counts.passed += 1,
                Outcome::Warned { .. } => counts.warned += 1,
                Outcome::Failed { .. } => counts.failed += 1,
                Outcome::Skipped { .. } => counts.skipped += 1,
            }
        }
        counts
    }
}

impl fmt::Display for Report {
    /// What went wrong, a test a paragraph, and the numbers.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for test in self.failures() {
            writeln!(f, "{test}\n     to change: {}", test.rule.change)?;
        }
        let Counts { passed, warned, failed, skipped } = self.counts();
        write!(f, "{}: {passed} passed, {failed} failed, {warned} warned, {skipped} skipped", self.connector)
    }
}
