//! One function per rule. A function gives the first breach that it sees, as a sentence.

mod deletes;
mod faults;
mod options;
mod parts;
mod reads;
mod records;
mod shape;
mod write_back;

use headwater_connect::{Connector, ConnectorError, Offset, Options, Page, StructType, TableMetadata};
use headwater_decode::{DecodeOptions, Decoder};
use tokio::sync::OnceCell;

use crate::reading::{OneRead, Read, Stop, Whole, offset_text};
use crate::secrets::chain;
use crate::trial::{Fault, Told, Trial, not_tested};
use crate::{Report, Subject};

/// A table under test.
pub(crate) struct Table<'a> {
    trial: &'a Trial<'a>,
    name: &'a str,
    options: &'a Options,
    schema: StructType,
    metadata: TableMetadata,
    first: OnceCell<Result<(), String>>,
    whole: OnceCell<Result<Whole, String>>,
}

/// Holds a connector to every rule, and tells of each test as it ends.
///
/// # Errors
/// The source could not be asked at all: no instance could be made, or its tables not be listed.
pub async fn run(subject: &Subject<'_>, told: Told<'_>) -> Result<Report, ConnectorError> {
    let trial = Trial::new(subject, told);
    let connector = subject.factory.connect(&subject.connection).await?;
    let listed = connector.list_tables().await?;
    trial.test(1, None, async { shape::r1_each_table_is_named_once(&listed) }).await;
    trial.test(2, None, shape::r2_an_unknown_table_is_an_error(&trial, connector.as_ref())).await;
    trial.test(19, None, shape::r19_namespaces_list_tables_that_exist(&trial, connector.as_ref())).await;
    trial.test(25, None, options::r25_bad_options_are_refused_by_name(&trial, &listed)).await;
    drop(connector);
    let tables: Vec<(String, Options)> = match subject.tables.is_empty() {
        true => listed.iter().map(|name| (name.clone(), Options::new())).collect(),
        false => subject.tables.clone(),
    };
    for (name, options) in tables.iter().filter(|(name, _)| !subject.exclude.contains(name)) {
        match Table::open(&trial, name, options).await {
            Ok(table) => table.check().await,
            Err(error) => {
                let seen = format!("it is listed, but {}", trial.said(&error));
                trial.test(1, Some(name), async { Err(Fault::Broken(seen)) }).await;
            }
        }
    }
    if let Some(changes) = subject.changes {
        write_back::check(&trial, changes, &tables).await;
    }
    trial.test(15, None, shape::r15_nothing_shows_a_secret(&trial)).await;
    Ok(trial.finish())
}

/// A rule that a connector broke.
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

/// As [`run`], and gives the broken rules only, none when all is well.
///
/// # Errors
/// As [`run`].
pub async fn check(subject: &Subject<'_>) -> Result<Vec<Breach>, ConnectorError> {
    let report = run(subject, &|_| {}).await?;
    let breaches = report.failures().map(|test| Breach {
        rule: test.rule.number,
        table: test.table.clone().unwrap_or_default(),
        seen: test.seen().unwrap_or_default().to_owned(),
    });
    Ok(breaches.collect())
}

impl<'a> Table<'a> {
    async fn open(trial: &'a Trial<'a>, name: &'a str, options: &'a Options) -> Result<Self, ConnectorError> {
        let connector = trial.subject.connect(name, options).await?;
        let schema = connector.get_table_schema(name, options).await?;
        let metadata = connector.read_table_metadata(name, options).await?;
        let (first, whole) = (OnceCell::new(), OnceCell::new());
        Ok(Self { trial, name, options, schema, metadata, first, whole })
    }

    async fn check(&self) {
        let (trial, table) = (self.trial, Some(self.name));
        trial.test(3, table, async { self.r3_schema_has_fields_with_distinct_names() }).await;
        trial.test(4, table, async { self.r4_keys_and_cursor_are_columns() }).await;
        trial.test(5, table, async { self.r5_changes_have_keys_and_a_cursor() }).await;
        if self.is_read_in_parts_only().await {
            trial.test(6, table, async { not_tested("the table is read in parts only") }).await;
        } else {
            self.check_reads().await;
        }
        trial.test(14, table, self.r14_deletions_hold_keys_and_cursor()).await;
        trial.test(17, table, self.r17_parts_hold_every_record_once()).await;
        trial.test(18, table, self.r18_parts_of_a_stream_equal_the_stream()).await;
    }

    async fn check_reads(&self) {
        let (trial, table) = (self.trial, Some(self.name));
        trial.test(6, table, self.r6_the_first_read_starts_where_it_should()).await;
        if self.first_read().await.is_err() {
            let of_reads = [7, 8, 9, 10, 11, 12, 13, 16, 20, 21, 22, 23, 24, 26, 27];
            let left = of_reads.into_iter().filter(|rule| *rule != if self.is_stream() { 9 } else { 8 });
            for rule in left {
                trial.test(rule, table, async { not_tested("the first read fails: see R6") }).await;
            }
            return;
        }
        trial.test(7, table, self.r7_a_read_ends_once_and_last()).await;
        match self.is_stream() {
            true => trial.test(8, table, self.r8_a_stream_settles()).await,
            false => trial.test(9, table, self.r9_a_snapshot_ends()).await,
        }
        trial.test(10, table, self.r10_the_same_offset_gives_the_same_records()).await;
        trial.test(11, table, self.r11_records_fit_the_schema()).await;
        trial.test(12, table, self.r12_a_broken_off_read_does_no_harm()).await;
        trial.test(13, table, self.r13_a_foreign_offset_is_refused()).await;
        trial.test(16, table, self.r16_a_dropped_read_stops()).await;
        trial.test(20, table, self.r20_records_hold_distinct_keys()).await;
        trial.test(21, table, self.r21_the_cursor_moves_forward()).await;
        trial.test(22, table, self.r22_an_offset_survives_json()).await;
        trial.test(23, table, self.r23_new_data_is_not_chased()).await;
        trial.test(24, table, self.r24_each_column_is_filled()).await;
        trial.test(26, table, self.r26_passing_faults_are_survived()).await;
        trial.test(27, table, self.r27_a_batch_is_bounded()).await;
    }

    fn is_stream(&self) -> bool {
        self.metadata.ingestion_type.is_stream()
    }

    fn start(&self) -> Option<Offset> {
        self.is_stream().then(Offset::empty)
    }

    async fn connect(&self) -> Result<Box<dyn Connector>, String> {
        self.connect_with(self.options).await.map_err(|error| self.trial.said(&error))
    }

    async fn connect_with(&self, options: &Options) -> Result<Box<dyn Connector>, ConnectorError> {
        self.trial.subject.connect(self.name, options).await
    }

    /// Says whether a connector in Python reads the table in parts and refuses to read it otherwise.
    async fn is_read_in_parts_only(&self) -> bool {
        if !self.trial.subject.is_foreign() {
            return false;
        }
        let Ok(connector) = self.connect().await else { return false };
        let partitioned = match (self.is_stream(), connector.partitioned_stream(), connector.partitions()) {
            (true, Some(parts), _) => parts.is_partitioned(self.name).await,
            (false, _, Some(parts)) => parts.is_partitioned(self.name).await,
            _ => return false,
        };
        matches!(partitioned, Ok(true))
            && Read::drain(connector.read_table(self.name, self.start().as_ref(), self.options))
                .await
                .is_err()
    }

    /// Reads once.
    async fn read(&self, connector: &dyn Connector, start: Option<&Offset>) -> Result<Read, String> {
        let stream = connector.read_table(self.name, start, self.options);
        Read::drain(stream).await.map_err(|error| self.trial.said(&error))
    }

    /// Whether the table can be read from its start at all.
    async fn first_read(&self) -> Result<(), String> {
        let read = self.first.get_or_init(|| async {
            self.read(self.connect().await?.as_ref(), self.start().as_ref()).await.map(|_| ())
        });
        read.await.clone()
    }

    /// The table read from its start by an instance of its own: once, however many rules look at it.
    async fn whole(&self) -> Result<&Whole, Fault> {
        let read = self.whole.get_or_init(|| async {
            let connector = self.connect().await?;
            let options =
                DecodeOptions { profile: self.trial.subject.factory.profile(), ..Default::default() };
            let mut fits = Fits(Decoder::new(&self.schema, options).map_err(|error| chain(&error)));
            let gathered = self.gather(connector.as_ref(), self.options, self.start(), Some(&mut fits)).await;
            let mut whole = gathered.map_err(|stop| self.stopped(&stop))?;
            whole.misfit = fits.finish();
            Ok(whole)
        });
        read.await.as_ref().map_err(|_| {
            let rule = if self.is_stream() { "R8" } else { "R9" };
            Fault::NotTested(format!("the table cannot be read to its end: see {rule}"))
        })
    }

    fn stopped(&self, stop: &Stop) -> String {
        match stop {
            Stop::Refused(error) => self.trial.said(error),
            Stop::Unusable(seen) => seen.clone(),
        }
    }

    /// Reads from `start` until the table has ended, or enough of it has been read.
    async fn gather(
        &self,
        connector: &dyn Connector,
        options: &Options,
        start: Option<Offset>,
        mut fits: Option<&mut Fits>,
    ) -> Result<Whole, Stop> {
        let subject = self.trial.subject;
        let (mut whole, mut at, mut records) = (Whole::default(), start, 0);
        let mut before: Vec<Offset> = at.iter().cloned().collect();
        for _ in 0..subject.max_reads {
            let read = Read::drain(connector.read_table(self.name, at.as_ref(), options)).await?;
            if let Some(fits) = fits.as_deref_mut() {
                read.pages.iter().for_each(|page| fits.push(page));
            }
            let end = read.end().cloned();
            let values = read.values().map_err(Stop::Unusable)?;
            records += values.len();
            whole.reads.push(OneRead { start: at.clone(), end: end.clone(), records: values });
            match end.filter(|end| self.is_stream() || !end.is_empty()) {
                Some(end) if at.as_ref() != Some(&end) => {
                    if before.contains(&end) {
                        let seen = format!("the offset {} comes back after others", offset_text(Some(&end)));
                        return Err(Stop::Unusable(seen));
                    }
                    // A table of thousands of reads is not looked through to its beginning each time.
                    if before.len() < 1_000 {
                        before.push(end.clone());
                    }
                    at = Some(end);
                }
                Some(_) => {
                    whole.ended = true;
                    return Ok(whole);
                }
                None if self.is_stream() => {
                    return Err(Stop::Unusable("a stream ended without an offset".to_owned()));
                }
                None => {
                    whole.ended = true;
                    return Ok(whole);
                }
            }
            if subject.sample.is_some_and(|most| records >= most) {
                return Ok(whole);
            }
        }
        Err(Stop::Unusable(format!(
            "it has not settled after {} reads; the last offset is {}",
            subject.max_reads,
            offset_text(at.as_ref())
        )))
    }
}

/// Whether records fit the schema: the decoder, until the first that does not.
struct Fits(Result<Decoder, String>);

impl Fits {
    fn push(&mut self, page: &Page) {
        let Ok(decoder) = &mut self.0 else { return };
        let pushed = decoder.push(page).and_then(|_| {
            while decoder.take_full()?.is_some() {}
            Ok(())
        });
        if let Err(error) = pushed {
            self.0 = Err(chain(&error));
        }
    }

    fn finish(self) -> Option<String> {
        match self.0 {
            Ok(mut decoder) => decoder.finish().err().map(|error| chain(&error)),
            Err(seen) => Some(seen),
        }
    }
}

/// Some of `count` places: the first, the last and one between, and few more.
fn sampled(count: usize) -> Vec<usize> {
    let mut places = match count {
        0..=6 => (0..count).collect(),
        _ => vec![0, 1, 2, count / 2, count - 2, count - 1],
    };
    places.dedup();
    places
}
