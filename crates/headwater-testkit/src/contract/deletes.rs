//! The rule on deletions.

use headwater_connect::{IngestionType, Offset};
use serde_json::Value;

use super::Table;
use crate::reading::{Read, shown};
use crate::trial::{Verdict, not_tested};

/// Deletions read to their end.
pub(super) struct Deletions {
    pub(super) records: Vec<Value>,
    pub(super) reached: Offset,
}

impl Table<'_> {
    pub(super) async fn r14_deletions_hold_keys_and_cursor(&self) -> Verdict {
        if self.metadata.ingestion_type != IngestionType::CdcWithDeletes {
            return not_tested("the table is not `cdc_with_deletes`");
        }
        let deletions = self.deletions(Offset::empty()).await?;
        for record in &deletions.records {
            let mut named = self.metadata.primary_keys.iter().chain(&self.metadata.cursor_field);
            if let Some(name) = named.find(|name| record.get(name.as_str()).is_none_or(Value::is_null)) {
                return Err(format!("a deletion lacks `{name}`: {}", shown(&record.to_string())).into());
            }
        }
        Ok(())
    }

    /// Reads the deletions from `start` on, by an instance of its own.
    pub(super) async fn deletions(&self, start: Offset) -> Result<Deletions, String> {
        let connector = self.connect().await?;
        let mut deletions = Deletions { records: Vec::new(), reached: start };
        for _ in 0..self.trial.subject.max_reads {
            let stream = connector.read_table_deletes(self.name, Some(&deletions.reached), self.options);
            let read = Read::drain(stream).await.map_err(|error| self.trial.said(&error))?;
            deletions.records.extend(read.values()?);
            match read.end() {
                Some(end) if *end == deletions.reached => return Ok(deletions),
                Some(end) => deletions.reached = end.clone(),
                None => return Err("the deletions end without an offset".to_owned()),
            }
        }
        Err(format!("the deletions have not settled after {} reads", self.trial.subject.max_reads))
    }
}
