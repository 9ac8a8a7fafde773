//! Runs tests one after the other, and keeps and tells how each went.

use std::future::Future;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use headwater_connect::ConnectorError;
use headwater_spec::ConnectorSpec;
use tokio::time::{Instant, timeout};

use crate::secrets::{Witness, chain};
use crate::{Outcome, Report, Rule, Subject, TestResult};

/// How long one rule may take on one table: a connector that hangs is a broken rule, not a suite that never ends.
const LIMIT: Duration = Duration::from_secs(600);

/// Characters of what was seen that are kept.
const SHOWN_CHARS: usize = 1_500;

/// Why a rule does not simply hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It is broken.
    Broken(String),
    /// It need not hold for this connector, and it would be better if it did.
    Doubtful(String),
    /// It could not be tested.
    NotTested(String),
}

impl From<String> for Fault {
    fn from(seen: String) -> Self {
        Fault::Broken(seen)
    }
}

impl From<&str> for Fault {
    fn from(seen: &str) -> Self {
        Fault::Broken(seen.to_owned())
    }
}

/// What a rule says of a connector.
pub(crate) type Verdict = Result<(), Fault>;

pub(crate) fn not_tested(reason: impl Into<String>) -> Verdict {
    Err(Fault::NotTested(reason.into()))
}

/// Who is told of each test as it ends.
pub(crate) type Told<'a> = &'a (dyn Fn(&TestResult) + Sync);

/// A run of the suite.
pub(crate) struct Trial<'a> {
    pub(crate) subject: &'a Subject<'a>,
    pub(crate) spec: Option<ConnectorSpec>,
    pub(crate) witness: Witness,
    told: Told<'a>,
    tests: Mutex<Vec<TestResult>>,
}

impl<'a> Trial<'a> {
    pub(crate) fn new(subject: &'a Subject<'a>, told: Told<'a>) -> Self {
        let secrets = subject.all_secrets();
        if let Some(log) = &subject.log {
            log.look_for(secrets.iter().cloned());
        }
        let (spec, witness) = (subject.spec(), Witness::new(secrets));
        Self { subject, spec, witness, told, tests: Mutex::default() }
    }

    /// Runs a test, unless the rule is not wanted.
    pub(crate) async fn test(&self, rule: u32, table: Option<&str>, verdict: impl Future<Output = Verdict>) {
        let Some(rule) = Rule::of(rule) else { return };
        let wanted = &self.subject.rules;
        if !wanted.is_empty() && !wanted.contains(&rule.number) {
            return;
        }
        let started_at = Instant::now();
        let left_out = self.subject.skip.iter().find(|skip| {
            skip.rule == rule.number && skip.table.as_deref().is_none_or(|name| Some(name) == table)
        });
        let verdict = match left_out {
            Some(skip) => Err(Fault::NotTested(skip.reason.clone())),
            // On the heap: a rule holds several reads at once.
            None => match timeout(LIMIT, Box::pin(verdict)).await {
                Ok(verdict) => verdict,
                Err(_) => Err(Fault::Broken(format!("it did not end within {} s", LIMIT.as_secs()))),
            },
        };
        let shown = |text: String| cut(&self.witness.without(&text));
        let outcome = match verdict {
            Ok(()) => Outcome::Passed,
            Err(Fault::Broken(seen)) => Outcome::Failed { seen: shown(seen) },
            Err(Fault::Doubtful(seen)) => Outcome::Warned { seen: shown(seen) },
            Err(Fault::NotTested(reason)) => Outcome::Skipped { reason: shown(reason) },
        };
        let took = started_at.elapsed();
        let result = TestResult { rule, table: table.map(str::to_owned), outcome, took };
        (self.told)(&result);
        self.tests.lock().unwrap_or_else(PoisonError::into_inner).push(result);
    }

    /// What an error says, which is looked through for secrets.
    pub(crate) fn said(&self, error: &ConnectorError) -> String {
        self.witness.look_at(error);
        chain(error)
    }

    /// A rule that connectors in Python need not keep is broken.
    pub(crate) fn unless_foreign(&self, seen: String) -> Fault {
        if self.subject.is_foreign() { Fault::Doubtful(seen) } else { Fault::Broken(seen) }
    }

    pub(crate) fn finish(self) -> Report {
        let tests = self.tests.into_inner().unwrap_or_else(PoisonError::into_inner);
        Report { connector: self.subject.factory.name().to_owned(), tests }
    }
}

fn cut(text: &str) -> String {
    let mut shown: String = text.chars().take(SHOWN_CHARS).collect();
    if text.chars().nth(SHOWN_CHARS).is_some() {
        shown.push('…');
    }
    shown
}
