//! Rules on changes of the source: they come through the connector's own reads.

use std::time::Duration;

use headwater_connect::{IngestionType, Offset, Options};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::Table;
use crate::reading::shown;
use crate::secrets::chain;
use crate::trial::{Fault, Trial, Verdict, not_tested};
use crate::write_back::{Changes, Key, WriteBackError};

/// How long it is waited between two looks.
const PAUSE: Duration = Duration::from_millis(250);

/// A record that is made, changed and deleted, and how far its table has been read.
struct Story<'a> {
    table: &'a Table<'a>,
    changes: &'a Changes<'a>,
    key: Option<Key>,
    /// As it was last read.
    record: Option<Value>,
    at: Option<Offset>,
    deletes_at: Option<Offset>,
}

pub(super) async fn check(trial: &Trial<'_>, changes: &Changes<'_>, tables: &[(String, Options)]) {
    let changed = match changes.write_back.tables().await {
        Ok(changed) => changed,
        Err(error) => {
            let seen = format!("the tables that can be changed are not known: {}", chain(&error));
            return trial.test(28, None, async { Err(Fault::Broken(seen)) }).await;
        }
    };
    let chosen = &trial.subject.tables;
    for name in changed.iter().filter(|name| !trial.subject.exclude.contains(name)) {
        let found = tables.iter().find(|(table, _)| table == name);
        if found.is_none() && !chosen.is_empty() {
            continue;
        }
        let none = Options::new();
        let options = found.map_or(&none, |(_, options)| options);
        match Table::open(trial, name, options).await {
            Err(error) => {
                let seen = format!("it can be changed, but {}", trial.said(&error));
                trial.test(28, Some(name), async { Err(Fault::Broken(seen)) }).await;
            }
            Ok(table) => {
                let mut story =
                    Story { table: &table, changes, key: None, record: None, at: None, deletes_at: None };
                trial.test(28, Some(name), story.r28_a_created_record_arrives()).await;
                trial.test(29, Some(name), story.r29_a_changed_record_arrives()).await;
                trial.test(30, Some(name), story.r30_a_deleted_record_goes()).await;
            }
        }
    }
    let remains = changes.clean_up().await;
    if let Some(first) = remains.first() {
        let seen = format!("{} records that the suite made are still there, such as {first}", remains.len());
        trial.test(30, None, async { Err(Fault::Broken(seen)) }).await;
    }
}

/// What a change that was not made means.
fn refused(error: &WriteBackError) -> Fault {
    match error {
        WriteBackError::Unsupported => Fault::NotTested("the table does not know this change".to_owned()),
        WriteBackError::Failed(_) => Fault::NotTested(chain(error)),
    }
}

impl Story<'_> {
    async fn r28_a_created_record_arrives(&mut self) -> Verdict {
        // What is there already is read first: the change is what comes next.
        let unread = |error: String| Fault::NotTested(format!("the table cannot be read: {error}"));
        self.read_on().await.map_err(unread)?;
        if self.table.metadata.ingestion_type == IngestionType::CdcWithDeletes {
            self.deletes_at = Some(self.table.deletions(Offset::empty()).await.map_err(unread)?.reached);
        }
        let key = self.changes.insert(self.table.name).await.map_err(|error| refused(&error))?;
        self.key = Some(key.clone());
        match self.until(|found| found.is_some()).await? {
            Some(record) => {
                self.record = Some(record);
                Ok(())
            }
            None => Err(self.unseen("was created", &key)),
        }
    }

    async fn r29_a_changed_record_arrives(&mut self) -> Verdict {
        let (Some(key), Some(before)) = (self.key.clone(), self.record.clone()) else {
            return not_tested("no record was created");
        };
        let changed = self.changes.write_back.update(self.table.name, &key).await;
        changed.map_err(|error| refused(&error))?;
        match self.until(|found| found.is_some_and(|record| *record != before)).await? {
            Some(record) => {
                self.record = Some(record);
                Ok(())
            }
            None => Err(self.unseen("was changed", &key)),
        }
    }

    async fn r30_a_deleted_record_goes(&mut self) -> Verdict {
        let (Some(key), true) = (self.key.clone(), self.record.is_some()) else {
            return not_tested("no record was created");
        };
        self.changes.delete(self.table.name, &key).await.map_err(|error| refused(&error))?;
        let kind = self.table.metadata.ingestion_type;
        let gone = match (kind, self.deletes_at.clone()) {
            (IngestionType::CdcWithDeletes, Some(start)) => self.is_told(&key, start).await?,
            (IngestionType::Snapshot, _) => self.until(|found| found.is_none()).await?.is_none(),
            _ => return not_tested(format!("a table that is `{kind}` does not tell what was deleted")),
        };
        if gone { Ok(()) } else { Err(self.unseen("was deleted", &key)) }
    }

    fn unseen(&self, what: &str, key: &Key) -> Fault {
        let key = shown(&Value::Object(key.clone()).to_string());
        let patience = self.changes.patience.as_secs();
        Fault::Broken(format!("a record {what}, and the reads of {patience} s do not show it: {key}"))
    }

    /// Reads what is new, as the next update does. Gives the record of this story, where it is there.
    async fn read_on(&mut self) -> Result<Option<Value>, String> {
        let connector = self.table.connect().await?;
        let start = self.at.clone().or_else(|| self.table.start());
        let read = self.table.gather(connector.as_ref(), self.table.options, start, None).await;
        let read = read.map_err(|stop| self.table.stopped(&stop))?;
        if self.table.is_stream() {
            self.at = read.reached();
        }
        let key = self.key.as_ref();
        // The last state of it counts.
        let found = read.records().filter(|record| key.is_some_and(|key| has_key(record, key))).last();
        Ok(found.cloned())
    }

    /// Reads on until the record is as wanted, and gives it: none where it never is, or where it was to be gone.
    async fn until(&mut self, wanted: impl Fn(Option<&Value>) -> bool) -> Result<Option<Value>, String> {
        let started_at = Instant::now();
        loop {
            let found = self.read_on().await?;
            if wanted(found.as_ref()) {
                return Ok(found);
            }
            if started_at.elapsed() > self.changes.patience {
                // What was to be gone is still there.
                return Ok(if wanted(None) { found } else { None });
            }
            sleep(PAUSE).await;
        }
    }

    /// Says whether the deletions tell of a record.
    async fn is_told(&self, key: &Key, start: Offset) -> Result<bool, String> {
        let (mut at, started_at) = (start, Instant::now());
        loop {
            let deletions = self.table.deletions(at).await?;
            if deletions.records.iter().any(|record| has_key(record, key)) {
                return Ok(true);
            }
            if started_at.elapsed() > self.changes.patience {
                return Ok(false);
            }
            at = deletions.reached;
            sleep(PAUSE).await;
        }
    }
}

/// Says whether a record has a key; a number may stand there as its text.
fn has_key(record: &Value, key: &Key) -> bool {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    key.iter().all(|(name, value)| record.get(name).is_some_and(|there| text(there) == text(value)))
}
