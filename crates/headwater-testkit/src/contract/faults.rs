//! Rules on what passes, and on bounded batches.

use headwater_connect::{Options, Retry};
use serde_json::Value;

use super::Table;
use super::records::compared;
use crate::reading::{Records, Stop, Whole, absent_from, missing_from};
use crate::trial::{Fault, Verdict, not_tested};
use crate::{Disturbance, Stage, When};

/// How often a read that failed for a passing fault is tried again while the fault goes on at random.
const ATTEMPTS: usize = 10;

/// The option that bounds a read.
const BATCH: &str = "max_records_per_batch";

impl Table<'_> {
    pub(super) async fn r26_passing_faults_are_survived(&self) -> Verdict {
        let Some(stage) = self.trial.subject.stage else {
            return not_tested("the source cannot be told to fail; the simulator can");
        };
        let clean = self.whole().await?;
        if !clean.ended {
            return not_tested("the sample was full before the table had ended");
        }
        stage.calm();
        let requests = self.requests_of_a_read(stage).await?;
        if requests == 0 {
            return not_tested("reading the table makes no request to the simulator");
        }
        let verdict = self.each_disturbance(stage, clean, requests).await;
        stage.calm();
        verdict
    }

    async fn requests_of_a_read(&self, stage: &dyn Stage) -> Result<u64, String> {
        let connector = self.connect().await?;
        let read = self.gather(connector.as_ref(), self.options, self.start(), None).await;
        read.map_err(|stop| self.stopped(&stop))?;
        Ok(stage.requests())
    }

    async fn each_disturbance(&self, stage: &dyn Stage, clean: &Whole, requests: u64) -> Verdict {
        let expected = clean.counted();
        for disturbance in Disturbance::ALL {
            for when in [When::Request(requests.min(2)), When::Percent(25)] {
                stage.disturb(disturbance, when);
                self.survives(stage, &expected).await.map_err(|fault| {
                    let what = match when {
                        When::Request(number) => {
                            format!("after {} to request {number}", disturbance.as_str())
                        }
                        When::Percent(share) => {
                            format!("with {} to {share} of 100 requests", disturbance.as_str())
                        }
                    };
                    match fault {
                        Fault::Broken(seen) => Fault::Broken(format!("{what}, {seen}")),
                        Fault::Doubtful(seen) => Fault::Doubtful(format!("{what}, {seen}")),
                        other => other,
                    }
                })?;
            }
        }
        Ok(())
    }

    /// Reads the table as the engine does: an error that may be retried is, by a new instance.
    async fn survives(&self, stage: &dyn Stage, expected: &Records) -> Verdict {
        for attempt in 0..=ATTEMPTS {
            if attempt == ATTEMPTS {
                // What fails so often fails by its own bad luck: now it has to work.
                stage.calm();
            }
            let read = match self.connect_with(self.options).await {
                Ok(connector) => self.gather(connector.as_ref(), self.options, self.start(), None).await,
                Err(error) => Err(Stop::Refused(error)),
            };
            match read {
                Ok(read) => return self.gives(&read, expected),
                Err(Stop::Unusable(seen)) => return Err(seen.into()),
                Err(Stop::Refused(error)) if error.retry() == Retry::Never => {
                    let said = self.trial.said(&error);
                    return Err(
                        format!("the read fails with an error that says no retry helps: {said}").into()
                    );
                }
                Err(Stop::Refused(error)) => self.trial.witness.look_at(&error),
            }
        }
        Err("the read goes on failing when the fault is over".into())
    }

    fn gives(&self, read: &Whole, expected: &Records) -> Verdict {
        let found = read.counted();
        if let Some(record) = absent_from(&found, expected) {
            return Err(format!("the read succeeds and lacks {record}").into());
        }
        let extra =
            if self.is_stream() { absent_from(expected, &found) } else { missing_from(expected, &found) };
        match extra {
            Some(record) => Err(format!("the read succeeds and gives {record} too often").into()),
            None => Ok(()),
        }
    }

    pub(super) async fn r27_a_batch_is_bounded(&self) -> Verdict {
        let takes = |spec: &headwater_spec::ConnectorSpec| {
            spec.table_options().iter().any(|option| option.eq_ignore_ascii_case(BATCH))
        };
        if !self.trial.spec.as_ref().is_some_and(takes) {
            return not_tested("the connector has no option `max_records_per_batch`");
        }
        let clean = self.whole().await?;
        let all = clean.records().count();
        if !clean.ended || all < 2 {
            return not_tested("the table has not two records, or more than the sample");
        }
        let most = (all / 4).clamp(1, 50);
        let mut options: Options = self.options.clone();
        options.set(BATCH, most.to_string());
        let connector = self.connect_with(&options).await.map_err(|error| self.trial.said(&error))?;
        let bounded = self.gather(connector.as_ref(), &options, self.start(), None).await;
        let bounded = bounded.map_err(|e| format!("with `{BATCH}` = {most}: {}", self.stopped(&e)))?;
        if let Err(Fault::Broken(seen)) = self.gives(&bounded, &clean.counted()) {
            return Err(format!("with `{BATCH}` = {most}: {seen}").into());
        }
        if !self.is_stream() {
            return Ok(());
        }
        match bounded.reads.iter().map(|read| self.beyond_ties(&read.records)).find(|count| *count > most) {
            Some(count) => Err(self
                .trial
                .unless_foreign(format!("with `{BATCH}` = {most} a read gives {count} records"))),
            None => Ok(()),
        }
    }

    /// How many records a read gives, without those that share the last value of the cursor: a read that goes by a
    /// cursor cannot end between them.
    fn beyond_ties(&self, records: &[Value]) -> usize {
        let Some(cursor) = self.metadata.cursor_field.as_deref() else { return records.len() };
        let at = |record: &Value| record.get(cursor).cloned().unwrap_or(Value::Null);
        let last = records.iter().map(at).reduce(|one, other| match compared(&one, &other) {
            Some(std::cmp::Ordering::Less) => other,
            _ => one,
        });
        let Some(last) = last else { return 0 };
        // One of them is a record as any other.
        records.iter().filter(|record| at(record) != last).count() + 1
    }
}
