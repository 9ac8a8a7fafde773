//! How a test of a connector is shown.

use headwater_testkit::simulator::Simulator;
use headwater_testkit::{Counts, Outcome, Report, TestResult};
use serde_json::json;

use super::own::OwnTests;
use crate::fail::Failure;
use crate::output::{Out, Style};

pub(super) struct Shown<'a> {
    out: &'a Out,
    mode: &'static str,
}

impl<'a> Shown<'a> {
    pub(super) fn new(out: &'a Out, mode: &'static str) -> Self {
        Self { out, mode }
    }

    pub(super) fn begins(&self, connector: &str, simulator: Option<&Simulator>) {
        if self.out.is_json() {
            return;
        }
        let at = simulator.map(|simulator| format!(" at {}", simulator.address())).unwrap_or_default();
        self.out.say(&format!("testing `{connector}`, mode {}{at}", self.mode));
    }

    /// A line for a test that has ended. A stdout that is closed does not end the tests.
    pub(super) fn test(&self, test: &TestResult) {
        if self.out.is_json() || (self.out.is_quiet() && !test.is_failed()) {
            return;
        }
        let (word, style) = match test.outcome {
            Outcome::Passed => ("ok", Style::Green),
            Outcome::Warned { .. } => ("warn", Style::Yellow),
            Outcome::Failed { .. } => ("FAIL", Style::Red),
            Outcome::Skipped { .. } => ("skip", Style::Dim),
        };
        let table = test.table.as_ref().map(|table| format!("{table}: ")).unwrap_or_default();
        let rule = format!("R{}", test.rule.number);
        let word = self.out.style_data(style, &format!("{word:<4}"));
        let seconds = test.took.as_secs_f64();
        let mut text = format!("{word}  {rule:<3}  {table}{}  {seconds:.2} s", test.rule.title);
        match &test.outcome {
            Outcome::Passed => {}
            Outcome::Warned { seen } => text.push_str(&format!("\n        seen: {}", indented(seen))),
            Outcome::Failed { seen } => {
                text.push_str(&format!("\n        seen: {}", indented(seen)));
                text.push_str(&format!("\n        to change: {}", test.rule.change));
            }
            Outcome::Skipped { reason } => text.push_str(&format!(" ({})", indented(reason))),
        }
        drop(self.out.line(&text));
    }

    /// The numbers, and again what is broken where there was much in between.
    pub(super) fn end(&self, report: &Report, own: Option<&OwnTests>) -> Result<(), Failure> {
        let Counts { passed, warned, failed, skipped } = report.counts();
        if self.out.is_json() {
            return self.out.json(&json!({
                "connector": report.connector,
                "mode": self.mode,
                "passed": report.is_passed() && own.is_none_or(|own| own.passed != Some(false)),
                "counts": report.counts(),
                "tests": report.tests,
                "own_tests": own,
            }));
        }
        if let Some(own) = own {
            let word = match own.passed {
                Some(true) => self.out.style_data(Style::Green, "ok  "),
                Some(false) => self.out.style_data(Style::Red, "FAIL"),
                None => self.out.style_data(Style::Yellow, "warn"),
            };
            self.out.line(&format!("{word}  own tests: {}", own.note))?;
        }
        if self.out.is_quiet() && report.is_passed() {
            return Ok(());
        }
        let broken: Vec<String> = report
            .failures()
            .map(|test| match &test.table {
                Some(table) => format!("R{} ({table})", test.rule.number),
                None => format!("R{}", test.rule.number),
            })
            .collect();
        let summary = format!(
            "{}: {passed} passed, {failed} failed, {warned} warned, {skipped} skipped",
            report.connector
        );
        self.out.line(&format!("\n{}", self.out.style_data(Style::Bold, &summary)))?;
        if !broken.is_empty() {
            self.out.line(&format!("broken: {}", broken.join(", ")))?;
        }
        Ok(())
    }
}

/// What was seen may have several lines.
fn indented(text: &str) -> String {
    text.replace('\n', "\n          ")
}
