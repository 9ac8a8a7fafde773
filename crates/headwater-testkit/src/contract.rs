//! One function per rule. A function gives the first breach that it sees, as a sentence.

use std::collections::HashSet;
use std::error::Error;

use futures::StreamExt;
use headwater_connect::{
    Connector, ConnectorError, IngestionType, Offset, Options, StructType, TableMetadata,
};
use headwater_decode::{DecodeOptions, Decoder};
use serde_json::{Value, json};

use crate::Subject;
use crate::reading::{Read, Records, counted, kind, missing_from};

/// A rule that the connector broke.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("R{rule} broken by table `{table}`: {seen}")]
pub struct Breach {
    /// Number of the rule.
    pub rule: u32,
    /// The table, or empty where the rule is about the connector.
    pub table: String,
    /// What was seen instead.
    pub seen: String,
}

/// What a rule says of a connector: nothing, or what was seen instead.
type Verdict = Result<(), String>;

/// A table under test.
struct Table<'a> {
    subject: &'a Subject<'a>,
    name: &'a str,
    options: &'a Options,
    schema: StructType,
    metadata: TableMetadata,
}

/// Holds the connector to every rule; gives the breaches, none when all is well.
///
/// # Errors
/// The source could not be asked at all: no instance could be made, or its tables not be listed.
pub async fn check(subject: &Subject<'_>) -> Result<Vec<Breach>, ConnectorError> {
    let mut breaches = Vec::new();
    let connector = subject.factory.connect(&subject.connection).await?;
    let listed = connector.list_tables().await?;
    let tables: Vec<(String, Options)> = match subject.tables.is_empty() {
        true => listed.iter().map(|name| (name.clone(), Options::new())).collect(),
        false => subject.tables.clone(),
    };
    note(&mut breaches, 1, "", r1_each_table_is_named_once(&listed));
    note(&mut breaches, 2, "", r2_an_unknown_table_is_an_error(connector.as_ref()).await);
    note(&mut breaches, 15, "", r15_errors_hold_no_secret(subject, connector.as_ref()).await);
    note(&mut breaches, 19, "", r19_namespaces_list_tables_that_exist(connector.as_ref()).await);
    for (name, options) in &tables {
        match Table::open(subject, name, options).await {
            Ok(table) => table.check(&mut breaches).await,
            Err(error) => note(&mut breaches, 1, name, Err(format!("it is listed, but {}", chain(&error)))),
        }
    }
    Ok(breaches)
}

fn note(breaches: &mut Vec<Breach>, rule: u32, table: &str, verdict: Verdict) {
    if let Err(seen) = verdict {
        breaches.push(Breach { rule, table: table.to_owned(), seen });
    }
}

/// An error with its causes in one line.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

fn said(error: ConnectorError) -> String {
    chain(&error)
}

fn r1_each_table_is_named_once(listed: &[String]) -> Verdict {
    let mut seen = HashSet::new();
    match listed.iter().find(|name| !seen.insert(name.as_str())) {
        Some(twice) => Err(format!("`{twice}` is listed twice")),
        None => Ok(()),
    }
}

async fn r2_an_unknown_table_is_an_error(connector: &dyn Connector) -> Verdict {
    let (name, none) = ("no_such_table_anywhere", Options::new());
    let empty = Offset::empty();
    let unknown = |what: &str, error: Option<ConnectorError>| match error {
        Some(ConnectorError::UnknownTable { .. }) => Ok(()),
        Some(other) => Err(format!("{what} of an unknown table says: {}", chain(&other))),
        None => Err(format!("{what} of an unknown table succeeds")),
    };
    unknown("the schema", connector.get_table_schema(name, &none).await.err())?;
    unknown("the metadata", connector.read_table_metadata(name, &none).await.err())?;
    unknown("a read", Read::drain(connector.read_table(name, Some(&empty), &none)).await.err())
}

async fn r15_errors_hold_no_secret(subject: &Subject<'_>, connector: &dyn Connector) -> Verdict {
    let none = Options::new();
    let error = connector.get_table_schema("no_such_table_anywhere", &none).await.err();
    let text =
        error.map(|e| format!("{} {e:?} {}", chain(&e), e.hint().unwrap_or_default())).unwrap_or_default();
    match subject.secrets.iter().any(|secret| text.contains(secret.as_str())) {
        true => Err("an error shows a secret".to_owned()),
        false => Ok(()),
    }
}

async fn r19_namespaces_list_tables_that_exist(connector: &dyn Connector) -> Verdict {
    let Some(namespaces) = connector.namespaces() else { return Ok(()) };
    let top = namespaces.list_namespaces(&[]).await.map_err(said)?;
    if top.is_empty() {
        return Err("there are namespaces, but none is listed".to_owned());
    }
    for namespace in top {
        for table in namespaces.list_tables_in_namespace(&namespace).await.map_err(said)? {
            let schema = connector.get_table_schema(&table, &Options::new()).await;
            schema.map_err(|e| format!("`{table}` of namespace {namespace:?}: {}", chain(&e)))?;
        }
    }
    Ok(())
}

impl<'a> Table<'a> {
    async fn open(
        subject: &'a Subject<'a>,
        name: &'a str,
        options: &'a Options,
    ) -> Result<Self, ConnectorError> {
        let connector = subject.connect(name, options).await?;
        let schema = connector.get_table_schema(name, options).await?;
        let metadata = connector.read_table_metadata(name, options).await?;
        Ok(Self { subject, name, options, schema, metadata })
    }

    async fn check(&self, breaches: &mut Vec<Breach>) {
        let mut note = |rule, verdict| note(breaches, rule, self.name, verdict);
        note(3, self.r3_schema_has_fields_with_distinct_names());
        note(4, self.r4_keys_and_cursor_are_columns());
        note(5, self.r5_changes_have_keys_and_a_cursor());
        note(6, self.r6_the_first_read_starts_where_it_should().await);
        note(7, self.r7_a_read_ends_once_and_last().await);
        match self.metadata.ingestion_type.is_stream() {
            true => note(8, self.r8_a_stream_settles().await),
            false => note(9, self.r9_a_snapshot_ends().await),
        }
        note(10, self.r10_the_same_offset_gives_the_same_records().await);
        note(11, self.r11_records_fit_the_schema().await);
        note(12, self.r12_a_broken_off_read_does_no_harm().await);
        note(13, self.r13_a_foreign_offset_is_refused().await);
        note(14, self.r14_deletions_hold_keys_and_cursor().await);
        note(16, self.r16_a_dropped_read_stops().await);
        note(17, self.r17_parts_hold_every_record_once().await);
        note(18, self.r18_parts_of_a_stream_equal_the_stream().await);
    }

    async fn connect(&self) -> Result<Box<dyn Connector>, String> {
        self.subject.connect(self.name, self.options).await.map_err(said)
    }

    fn start(&self) -> Option<Offset> {
        self.metadata.ingestion_type.is_stream().then(Offset::empty)
    }

    /// Reads once.
    async fn read(&self, connector: &dyn Connector, start: Option<&Offset>) -> Result<Read, String> {
        Read::drain(connector.read_table(self.name, start, self.options)).await.map_err(said)
    }

    /// Reads until the table has settled; gives every record and every offset on the way.
    async fn read_all(&self, connector: &dyn Connector) -> Result<(Vec<Value>, Vec<Offset>), String> {
        let mut at = self.start();
        let (mut records, mut offsets) = (Vec::new(), Vec::new());
        for _ in 0..self.subject.max_reads {
            let read = self.read(connector, at.as_ref()).await?;
            records.extend(read.values()?);
            let Some(end) = read.end().filter(|end| self.start().is_some() || !end.is_empty()) else {
                return Ok((records, offsets));
            };
            if at.as_ref() == Some(end) {
                return Ok((records, offsets));
            }
            offsets.push(end.clone());
            at = Some(end.clone());
        }
        Err(format!(
            "it has not settled after {} reads; the last offset is {}",
            self.subject.max_reads,
            shown(&at)
        ))
    }

    fn r3_schema_has_fields_with_distinct_names(&self) -> Verdict {
        self.schema.check().map_err(|e| e.to_string())
    }

    fn r4_keys_and_cursor_are_columns(&self) -> Verdict {
        let named = self.metadata.primary_keys.iter().chain(&self.metadata.cursor_field);
        match named.into_iter().find(|name| self.schema.field(name).is_none()) {
            Some(name) => Err(format!("`{name}` is not a column of the schema")),
            None => Ok(()),
        }
    }

    fn r5_changes_have_keys_and_a_cursor(&self) -> Verdict {
        let changes =
            matches!(self.metadata.ingestion_type, IngestionType::Cdc | IngestionType::CdcWithDeletes);
        if changes && self.metadata.primary_keys.is_empty() {
            return Err(format!("it is {} without primary keys", self.metadata.ingestion_type));
        }
        if changes && self.metadata.cursor_field.is_none() {
            return Err(format!("it is {} without a cursor field", self.metadata.ingestion_type));
        }
        Ok(())
    }

    async fn r6_the_first_read_starts_where_it_should(&self) -> Verdict {
        let start = self.start();
        let read = self.read(self.connect().await?.as_ref(), start.as_ref()).await;
        read.map(|_| ()).map_err(|e| format!("the first read, from {}: {e}", shown(&start)))
    }

    async fn r7_a_read_ends_once_and_last(&self) -> Verdict {
        let read = self.read(self.connect().await?.as_ref(), self.start().as_ref()).await?;
        match (read.ends.len(), read.after_end) {
            (1, false) if self.start().is_some() && read.end().is_none() => {
                Err("a stream ended without an offset".to_owned())
            }
            (1, false) => Ok(()),
            (0, _) => Err("a read ended without its end".to_owned()),
            _ => Err("something follows the end of a read".to_owned()),
        }
    }

    async fn r8_a_stream_settles(&self) -> Verdict {
        self.read_all(self.connect().await?.as_ref()).await.map(|_| ())
    }

    async fn r9_a_snapshot_ends(&self) -> Verdict {
        self.read_all(self.connect().await?.as_ref()).await.map(|_| ())
    }

    async fn r10_the_same_offset_gives_the_same_records(&self) -> Verdict {
        let (first, second) = (self.connect().await?, self.connect().await?);
        let (_, offsets) = self.read_all(first.as_ref()).await?;
        let starts = std::iter::once(self.start()).chain(offsets.into_iter().map(Some));
        // A stream of many small reads is sampled at its beginning.
        for start in starts.take(20) {
            let before = counted(&self.read(first.as_ref(), start.as_ref()).await?.values()?);
            let again = self.read_from(second.as_ref(), start).await?;
            if let Some(record) = missing_from(&again, &before) {
                return Err(format!("a second read does not give {record} again"));
            }
        }
        Ok(())
    }

    /// Everything from `start` on.
    async fn read_from(&self, connector: &dyn Connector, start: Option<Offset>) -> Result<Records, String> {
        let (mut at, mut records) = (start, Vec::new());
        for _ in 0..self.subject.max_reads {
            let read = self.read(connector, at.as_ref()).await?;
            records.extend(read.values()?);
            match read.end() {
                Some(end) if Some(end) != at.as_ref() && !end.is_empty() => at = Some(end.clone()),
                _ => return Ok(counted(&records)),
            }
        }
        Err(format!("it has not settled after {} reads", self.subject.max_reads))
    }

    async fn r11_records_fit_the_schema(&self) -> Verdict {
        let connector = self.connect().await?;
        let read = self.read(connector.as_ref(), self.start().as_ref()).await?;
        if let Some(other) = read.values()?.iter().find(|v| !v.is_object()) {
            return Err(format!("a record is {}", kind(other)));
        }
        let mut decoder = Decoder::new(&self.schema, DecodeOptions::default()).map_err(|e| chain(&e))?;
        for page in &read.pages {
            decoder.push(page).map_err(|e| chain(&e))?;
            while decoder.take_full().map_err(|e| chain(&e))?.is_some() {}
        }
        decoder.finish().map(|_| ()).map_err(|e| chain(&e))
    }

    async fn r12_a_broken_off_read_does_no_harm(&self) -> Verdict {
        let connector = self.connect().await?;
        let start = self.start();
        {
            let mut stream = connector.read_table(self.name, start.as_ref(), self.options);
            let _first = stream.next().await;
        }
        let after = counted(&self.read(connector.as_ref(), start.as_ref()).await?.values()?);
        let fresh = counted(&self.read(self.connect().await?.as_ref(), start.as_ref()).await?.values()?);
        match missing_from(&after, &fresh) {
            Some(record) => Err(format!("after a read that was broken off, the next one lacks {record}")),
            None => Ok(()),
        }
    }

    async fn r13_a_foreign_offset_is_refused(&self) -> Verdict {
        if self.start().is_none() {
            return Ok(());
        }
        let foreign = Offset::from(json!({"no_such_member_of_any_offset": [1, "two", null]}));
        match Read::drain(self.connect().await?.read_table(self.name, Some(&foreign), self.options)).await {
            Err(ConnectorError::InvalidOffset { .. }) => Ok(()),
            Err(other) => Err(format!("a foreign offset gives: {}", chain(&other))),
            Ok(_) => Err(format!("a foreign offset {foreign} is read from")),
        }
    }

    async fn r14_deletions_hold_keys_and_cursor(&self) -> Verdict {
        if self.metadata.ingestion_type != IngestionType::CdcWithDeletes {
            return Ok(());
        }
        let connector = self.connect().await?;
        let mut at = Offset::empty();
        for _ in 0..self.subject.max_reads {
            let stream = connector.read_table_deletes(self.name, Some(&at), self.options);
            let read = Read::drain(stream).await.map_err(said)?;
            for record in read.values()? {
                let named = self.metadata.primary_keys.iter().chain(&self.metadata.cursor_field);
                if let Some(name) =
                    named.into_iter().find(|name| record.get(name.as_str()).is_none_or(Value::is_null))
                {
                    return Err(format!("a deletion lacks `{name}`: {record}"));
                }
            }
            match read.end() {
                Some(end) if *end == at => return Ok(()),
                Some(end) => at = end.clone(),
                None => return Err("the deletions end without an offset".to_owned()),
            }
        }
        Err(format!("the deletions have not settled after {} reads", self.subject.max_reads))
    }

    async fn r16_a_dropped_read_stops(&self) -> Verdict {
        let connector = self.connect().await?;
        let start = self.start();
        {
            let mut stream = connector.read_table(self.name, start.as_ref(), self.options);
            let _first = stream.next().await;
        }
        let before = connector.requests();
        // Another read in between gives a task that was left behind the chance to show itself.
        let other = self.connect().await?;
        let _other = self.read(other.as_ref(), start.as_ref()).await?;
        for _ in 0..100 {
            step_aside().await;
        }
        match connector.requests() - before {
            0 => Ok(()),
            more => Err(format!("{more} requests were sent after the read was dropped")),
        }
    }

    async fn r17_parts_hold_every_record_once(&self) -> Verdict {
        let connector = self.connect().await?;
        let Some(parts) = connector.partitions() else { return Ok(()) };
        if !parts.is_partitioned(self.name).await.map_err(said)? {
            return Ok(());
        }
        let names = parts.get_partitions(self.name, self.options).await.map_err(said)?;
        let mut records = Vec::new();
        for part in names.iter().rev() {
            let other = self.connect().await?;
            let reader = other.partitions().ok_or("another instance has no partitions")?;
            let stream = reader.read_partition(self.name, part, self.options);
            records.extend(Read::drain(stream).await.map_err(said)?.values()?);
        }
        let (whole, _) = self.read_all(connector.as_ref()).await?;
        same(&counted(&whole), &counted(&records))
    }

    async fn r18_parts_of_a_stream_equal_the_stream(&self) -> Verdict {
        let connector = self.connect().await?;
        let Some(parts) = connector.partitioned_stream() else { return Ok(()) };
        if !parts.is_partitioned(self.name).await.map_err(said)? {
            return Ok(());
        }
        let start = Offset::empty();
        let end = parts.latest_offset(self.name, &start, self.options).await.map_err(said)?;
        let settled = parts.latest_offset(self.name, &end, self.options).await.map_err(said)?;
        if settled != end {
            return Err(format!("from {end} the newest offset is {settled}, and the instance is the same"));
        }
        let names = parts.get_partitions(self.name, &start, &end, self.options).await.map_err(said)?;
        let mut records = Vec::new();
        for part in names.iter().rev() {
            let other = self.connect().await?;
            let reader = other.partitioned_stream().ok_or("another instance has no partitions")?;
            let stream = reader.read_partition(self.name, part, self.options);
            records.extend(Read::drain(stream).await.map_err(said)?.values()?);
        }
        let (whole, _) = self.read_all(connector.as_ref()).await?;
        same(&counted(&whole), &counted(&records))
    }
}

/// Lets other tasks of the runtime run once.
async fn step_aside() {
    let mut stepped = false;
    futures::future::poll_fn(|context| {
        if std::mem::replace(&mut stepped, true) {
            return std::task::Poll::Ready(());
        }
        context.waker().wake_by_ref();
        std::task::Poll::Pending
    })
    .await;
}

fn same(whole: &Records, parts: &Records) -> Verdict {
    if let Some(record) = missing_from(parts, whole) {
        return Err(format!("the parts lack {record}"));
    }
    match missing_from(whole, parts) {
        Some(record) => Err(format!("the parts give {record} too often")),
        None => Ok(()),
    }
}

fn shown(offset: &Option<Offset>) -> String {
    offset.as_ref().map_or_else(|| "none".to_owned(), Offset::to_string)
}
