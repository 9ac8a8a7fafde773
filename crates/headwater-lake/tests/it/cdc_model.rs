//! Random lives of tables that get changes, on a real disk, held to a model that knows every event ever received and
//! works the whole table out from them, from nothing, by the definition of what such a table shows. Polars reads the
//! tables back.
//!
//! `CDC_SEED` repeats one life; `SOAK_MINUTES` makes the ignored test `soak` go on for so long.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use arrow_array::{ArrayRef, RecordBatch, StructArray};
use chrono::TimeDelta;
use futures::TryStreamExt;
use headwater_connect::{Clock, DataType, ManualClock, StructField, StructType, SystemClock};
use headwater_lake::{
    CdcSpec, CommitOutcome, DeltaLake, END_AT, Feed, Lake, LakeOptions, ReadSpec, START_AT, ScdType,
    TableWriter, TrackHistory, WriteMode, WriterSpec,
};

use serde_json::Value;
use tokio::time::Instant;

use crate::canon;
use crate::cdc_values::{Kind, RANKS};
use crate::maker::{Local, name, offset, same_for, sound_stats, spec};

/// The first life of an ordinary run.
const FIRST_SEED: u64 = 1_000;
/// Lives that each run of the tests goes through.
const LIVES: u64 = 16;
const STEPS: usize = 14;
const KEYS: usize = 9;

/// The columns beside keys and sequence. The first two are there from the start.
const VALUES: [(&str, Kind); 5] = [
    ("a", Kind::Text),
    ("b", Kind::Long),
    ("late double", Kind::Double),
    ("late_day", Kind::Date),
    ("pad", Kind::Pad),
];
const PAD: usize = 4;
/// The column whose name must be mapped; Polars cannot read such a table.
pub(crate) const MAPPED: usize = 2;

pub(crate) type Values = [Option<usize>; VALUES.len()];

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Event {
    pub(crate) key: usize,
    pub(crate) at: usize,
    pub(crate) delete: bool,
    pub(crate) values: Values,
}

/// What a row of the table shows.
#[derive(Debug, Clone)]
pub(crate) struct Shown {
    key: usize,
    at: usize,
    values: Values,
    start: Option<usize>,
    end: Option<usize>,
}

impl Shown {
    /// The row that an event brings.
    pub(crate) fn of(event: &Event) -> Self {
        Self { key: event.key, at: event.at, values: event.values, start: None, end: None }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Column {
    Key(usize),
    Sequence,
    Value(usize),
    Start,
    End,
}

/// What is settled when a table is made.
#[derive(Debug, Clone)]
pub(crate) struct Shape {
    pub(crate) scd_type: ScdType,
    pub(crate) keys: Vec<Kind>,
    pub(crate) sequence: Kind,
    /// The sequence is a field of a struct column.
    pub(crate) nested: bool,
    pub(crate) track: TrackHistory,
    pub(crate) deletion_vectors: Option<bool>,
    pub(crate) cluster_by: Vec<String>,
    pub(crate) required_keys: bool,
    /// Rows are so wide that a micro-batch is applied in parts.
    pub(crate) wide: bool,
    pub(crate) target_file_bytes: u64,
}

impl Shape {
    fn random(random: &mut fastrand::Rng) -> Self {
        const KEY_KINDS: [Kind; 9] = [
            Kind::Int,
            Kind::Long,
            Kind::Text,
            Kind::LongText,
            Kind::Date,
            Kind::Instant,
            Kind::Decimal,
            Kind::Bytes,
            Kind::Struct,
        ];
        const SEQUENCES: [Kind; 10] = [
            Kind::Long,
            Kind::Long,
            Kind::Text,
            Kind::Instant,
            Kind::Instant,
            Kind::Decimal,
            Kind::Struct,
            Kind::Double,
            Kind::Date,
            Kind::Bytes,
        ];
        let scd_type = if random.bool() { ScdType::One } else { ScdType::Two };
        let keys: Vec<Kind> = (0..*random.choice(&[1, 1, 2, 3]).unwrap())
            .map(|_| *random.choice(&KEY_KINDS).unwrap())
            .collect();
        let nested = random.u8(..4) == 0;
        let clustered = match random.u8(..4) {
            0 => vec!["b".to_owned()],
            1 => vec!["a".to_owned(), "b".to_owned()],
            _ => Vec::new(),
        };
        let track = match (scd_type, random.u8(..3)) {
            (ScdType::One, _) | (_, 0) => TrackHistory::All,
            (_, 1) => TrackHistory::Only(vec!["a".into()]),
            _ => TrackHistory::Except(vec![if nested { "meta".into() } else { "seq".into() }, "b".into()]),
        };
        Self {
            scd_type,
            keys,
            sequence: *random.choice(&SEQUENCES).unwrap(),
            nested,
            track,
            deletion_vectors: *random.choice(&[None, None, Some(true), Some(false)]).unwrap(),
            cluster_by: clustered,
            required_keys: random.bool(),
            wide: random.u8(..10) == 0,
            target_file_bytes: *random.choice(&[1, 4_000, 1 << 30]).unwrap(),
        }
    }

    pub(crate) fn cdc(&self, feed: Feed) -> CdcSpec {
        CdcSpec {
            keys: (0..self.keys.len()).map(|at| format!("k{at}")).collect(),
            scd_type: self.scd_type,
            feed,
            sequence_by: Some(if self.nested { "meta.at".into() } else { "seq".into() }),
            track: self.track.clone(),
            tombstone_retention: None,
            deletion_vectors: self.deletion_vectors,
        }
    }

    /// Whether a change of the column opens a new record.
    fn tracks(&self, value: usize) -> bool {
        match &self.track {
            TrackHistory::All => true,
            TrackHistory::Only(names) => names.iter().any(|n| n == VALUES[value].0),
            TrackHistory::Except(names) => !names.iter().any(|n| n == VALUES[value].0),
        }
    }

    fn field(&self, column: Column) -> StructField {
        match column {
            Column::Key(at) if self.required_keys => {
                StructField::required(format!("k{at}"), self.keys[at].data_type())
            }
            Column::Key(at) => StructField::nullable(format!("k{at}"), self.keys[at].data_type()),
            Column::Sequence if self.nested => {
                let inner = StructType::new([
                    StructField::nullable("who", DataType::String),
                    StructField::nullable("at", self.sequence.data_type()),
                ]);
                StructField::nullable("meta", DataType::Struct(inner))
            }
            Column::Sequence => StructField::nullable("seq", self.sequence.data_type()),
            Column::Value(at) => StructField::nullable(VALUES[at].0, VALUES[at].1.data_type()),
            Column::Start => StructField::nullable(START_AT, self.sequence.data_type()),
            Column::End => StructField::nullable(END_AT, self.sequence.data_type()),
        }
    }

    pub(crate) fn schema(&self, columns: &[Column]) -> StructType {
        StructType::new(columns.iter().map(|c| self.field(*c)))
    }

    pub(crate) fn batch(&self, columns: &[Column], rows: &[Shown]) -> RecordBatch {
        let schema = self.schema(columns).to_arrow();
        let arrays = columns.iter().zip(schema.fields()).map(|(column, field)| -> ArrayRef {
            let ranks = |of: &dyn Fn(&Shown) -> Option<usize>| rows.iter().map(of).collect::<Vec<_>>();
            match *column {
                Column::Key(at) => {
                    // Keys share their first parts.
                    let parts = self.keys.len();
                    self.keys[at].column(&ranks(&|r| {
                        Some(match (parts, at) {
                            (1, _) => r.key * 5,
                            (_, 0) => r.key / 4,
                            (2, _) => r.key % 4 * 7,
                            (_, 1) => r.key / 2 % 2,
                            _ => r.key % 2 * 40,
                        })
                    }))
                }
                Column::Sequence => {
                    let at = self.sequence.column(&ranks(&|r| Some(r.at)));
                    if !self.nested {
                        return at;
                    }
                    let arrow_schema::DataType::Struct(fields) = field.data_type() else { panic!() };
                    let who = Kind::Text.column(&vec![None; rows.len()]);
                    Arc::new(StructArray::try_new(fields.clone(), vec![who, at], None).unwrap())
                }
                Column::Value(at) => VALUES[at].1.column(&ranks(&|r| r.values[at])),
                Column::Start => self.sequence.column(&ranks(&|r| r.start)),
                Column::End => self.sequence.column(&ranks(&|r| r.end)),
            }
        });
        RecordBatch::try_new(Arc::clone(&schema), arrays.collect()).unwrap()
    }
}

/// Everything that was received, in the order in which it came.
#[derive(Default)]
pub(crate) struct Received {
    pub(crate) micro_batches: Vec<Vec<Event>>,
}

impl Received {
    /// SCD type 1: of each key the last upsert, unless a later delete took it. Of equal sequences an upsert wins over a
    /// delete, and of two upserts the one that came later. A column that its micro-batch did not give keeps the value of
    /// the row that it replaced.
    pub(crate) fn current(&self, given: &[Vec<usize>]) -> Vec<Shown> {
        let mut rows: BTreeMap<usize, Shown> = BTreeMap::new();
        let mut deleted: BTreeMap<usize, usize> = BTreeMap::new();
        for (events, given) in self.micro_batches.iter().zip(given) {
            for event in events {
                let held_off = deleted.get(&event.key).is_some_and(|at| event.at < *at)
                    || rows.get(&event.key).is_some_and(|row| event.at < row.at);
                if event.delete {
                    let at = deleted.entry(event.key).or_insert(event.at);
                    *at = event.at.max(*at);
                    if rows.get(&event.key).is_some_and(|row| event.at > row.at) {
                        rows.remove(&event.key);
                    }
                } else if !held_off {
                    let mut values = event.values;
                    for at in (0..VALUES.len()).filter(|at| !given.contains(at)) {
                        values[at] = rows.get(&event.key).and_then(|row| row.values[at]);
                    }
                    let row = Shown { key: event.key, at: event.at, values, start: None, end: None };
                    rows.insert(event.key, row);
                }
            }
        }
        // The same once more by the definition, which knows no order of arrival but for ties.
        for key in 0..KEYS {
            let of = |delete: bool| {
                let events = self.micro_batches.iter().flatten();
                events.filter(move |e| e.key == key && e.delete == delete)
            };
            let last = of(false).max_by_key(|e| e.at);
            let gone = of(true).map(|e| e.at).max();
            let expect = last.filter(|last| gone.is_none_or(|gone| last.at >= gone));
            assert_eq!(
                rows.get(&key).map(|r| r.at),
                expect.map(|e| e.at),
                "the model is at odds with itself"
            );
        }
        rows.into_values().collect()
    }

    /// SCD type 2: runs of upserts without a delete in between and with equal tracked values, each from its first upsert
    /// to the next event after it.
    pub(crate) fn history(&self, shape: &Shape) -> Vec<Shown> {
        let mut lines: BTreeMap<usize, BTreeMap<usize, &Event>> = BTreeMap::new();
        for event in self.micro_batches.iter().flatten() {
            // Of two upserts with the same sequence the one that came first stays.
            lines.entry(event.key).or_default().entry(event.at).or_insert(event);
        }
        let sequence_tracked = match &shape.track {
            TrackHistory::All => true,
            TrackHistory::Only(_) | TrackHistory::Except(_) => false,
        };
        let mut shown: Vec<Shown> = Vec::new();
        for line in lines.values() {
            let mut run: Option<Shown> = None;
            for event in line.values() {
                let tracked = |v: &Values| -> Vec<Option<usize>> {
                    (0..VALUES.len()).filter(|at| shape.tracks(*at)).map(|at| v[at]).collect()
                };
                let joins = !event.delete
                    && !sequence_tracked
                    && run.as_ref().is_some_and(|run| tracked(&run.values) == tracked(&event.values));
                if joins {
                    let run = run.as_mut().unwrap();
                    (run.at, run.values) = (event.at, event.values);
                    continue;
                }
                if let Some(ended) = run.take() {
                    shown.push(Shown { end: Some(event.at), ..ended });
                }
                if !event.delete {
                    let start = Some(event.at);
                    run =
                        Some(Shown { key: event.key, at: event.at, values: event.values, start, end: None });
                }
            }
            shown.extend(run);
        }
        shown
    }
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Upserts,
    Deletes,
    /// Both flows have a writer open; what the second one applied must be applied again.
    Both,
    /// The last micro-batch again.
    Again,
    AddColumn,
    DropColumn,
    Optimize,
    Vacuum,
    Reopen,
    Discard,
}

struct Life {
    local: Local,
    lake: DeltaLake,
    clock: ManualClock,
    random: fastrand::Rng,
    shape: Shape,
    received: Received,
    /// The value columns that each micro-batch had.
    given: Vec<Vec<usize>>,
    /// Those that the source has now.
    has: Vec<usize>,
    /// Columns of the table, as far as there has been a commit with them.
    table: Vec<Column>,
    at: BTreeMap<bool, i64>,
    writers: BTreeMap<bool, Box<dyn TableWriter>>,
    /// The newest micro-batch and its flow, where nothing has happened since.
    last: Option<(bool, Vec<Event>)>,
}

impl Life {
    fn new(seed: u64) -> Self {
        let clock = ManualClock::new(SystemClock.now());
        let local = Local::with(LakeOptions { clock: Arc::new(clock.clone()), ..LakeOptions::default() });
        let mut random = fastrand::Rng::with_seed(seed);
        let shape = Shape::random(&mut random);
        let lake = local.lake.clone();
        let mut has = vec![0, 1];
        if shape.wide {
            has.push(PAD);
        }
        Self {
            local,
            lake,
            clock,
            random,
            shape,
            received: Received::default(),
            given: Vec::new(),
            has,
            table: Vec::new(),
            at: BTreeMap::new(),
            writers: BTreeMap::new(),
            last: None,
        }
    }

    /// The columns that come from the source.
    fn source(&self) -> Vec<Column> {
        let mut columns: Vec<Column> = (0..self.shape.keys.len()).map(Column::Key).collect();
        columns.push(Column::Sequence);
        columns.extend(self.has.iter().map(|at| Column::Value(*at)));
        columns
    }

    fn spec(&self, delete: bool) -> WriterSpec {
        let feed = if delete { Feed::Deletes } else { Feed::Upserts };
        let schema = self.shape.schema(&self.source());
        WriterSpec {
            flow: if delete { "flow.deletes".into() } else { "flow".into() },
            cluster_by: self.shape.cluster_by.clone(),
            target_file_bytes: self.shape.target_file_bytes,
            memory_bytes: 1,
            ..spec(&name("life"), &schema, WriteMode::Cdc(self.shape.cdc(feed)))
        }
    }

    /// New events, late ones, and such as have come before.
    fn events(&mut self, delete: bool) -> Vec<Event> {
        let known: Vec<Event> = self.received.micro_batches.iter().flatten().cloned().collect();
        let count = if self.shape.wide { self.random.usize(0..120) } else { self.random.usize(0..30) };
        let mut made: Vec<Event> = Vec::new();
        let mut taken: BTreeSet<(usize, usize)> = BTreeSet::new();
        for _ in 0..count {
            let again: Vec<&Event> = known.iter().filter(|e| e.delete == delete).collect();
            if !again.is_empty() && self.random.u8(..4) == 0 {
                let event = (*self.random.choice(&again).unwrap()).clone();
                if taken.insert((event.key, event.at)) {
                    made.push(event);
                }
                continue;
            }
            let (key, at) = (self.random.usize(..KEYS), self.random.usize(..RANKS));
            let same = known.iter().find(|e| e.key == key && e.at == at);
            let tie_is_defined = match (self.shape.scd_type, same) {
                (_, None) | (ScdType::One, _) => true,
                // Of two upserts the first stays; a delete against an upsert is told apart by what lies around.
                (ScdType::Two, Some(same)) => !same.delete && !delete,
            };
            if !tie_is_defined || !taken.insert((key, at)) {
                continue;
            }
            let mut values = Values::default();
            for value in &self.has {
                // Few values, so that there are runs.
                values[*value] = if *value == PAD {
                    Some(self.random.usize(..2))
                } else {
                    Some(self.random.usize(..4)).filter(|v| *v > 0)
                };
            }
            made.push(Event { key, at, delete, values });
        }
        made
    }

    fn batch(&self, events: &[Event]) -> RecordBatch {
        let rows: Vec<Shown> = events.iter().map(Shown::of).collect();
        self.shape.batch(&self.source(), &rows)
    }

    /// A writer that has been there before, or a new one.
    async fn writer(&mut self, delete: bool) -> Box<dyn TableWriter> {
        let kept = self.writers.remove(&delete).filter(|_| self.random.u8(..3) > 0);
        match kept {
            Some(writer) => writer,
            None => self.lake.writer(self.spec(delete)).await.unwrap(),
        }
    }

    async fn write(&mut self, writer: &mut dyn TableWriter, events: &[Event]) {
        let piece = self.random.usize(1..50);
        for events in events.chunks(piece) {
            writer.write(self.batch(events)).await.unwrap();
        }
    }

    /// Notes a micro-batch as received.
    fn note(&mut self, delete: bool, events: Vec<Event>) {
        let values: Vec<Event> = events.clone();
        self.received.micro_batches.push(values);
        self.given.push(self.has.clone());
        self.last = Some((delete, events));
    }

    /// A commit has been made with the columns that the source has now.
    fn columns_are_known(&mut self) {
        let source = self.source();
        if self.table.is_empty() {
            self.table = source;
            if self.shape.scd_type == ScdType::Two {
                self.table.extend([Column::Start, Column::End]);
            }
            return;
        }
        for column in source {
            if !self.table.contains(&column) {
                self.table.push(column);
            }
        }
    }

    async fn commit(&mut self, mut writer: Box<dyn TableWriter>, delete: bool, events: Vec<Event>) {
        let at = self.at.entry(delete).or_default();
        *at += 1;
        let outcome = writer.commit(Some(&offset(*at))).await.unwrap();
        assert!(matches!(outcome, CommitOutcome::Committed { .. }), "a new offset: {outcome:?}");
        self.columns_are_known();
        self.note(delete, events);
        self.writers.insert(delete, writer);
    }

    async fn one(&mut self, delete: bool) {
        let events = self.events(delete);
        let mut writer = self.writer(delete).await;
        self.write(&mut *writer, &events).await;
        self.commit(writer, delete, events).await;
    }

    async fn step(&mut self, step: Step) {
        let there = !self.table.is_empty();
        match step {
            Step::Upserts => self.one(false).await,
            Step::Deletes => self.one(true).await,
            Step::Both => {
                // Many parts cannot be applied again by the writer itself.
                if self.shape.wide || !there {
                    return;
                }
                let order = if self.random.bool() { [false, true] } else { [true, false] };
                let mut open = Vec::new();
                for delete in order {
                    let mut writer = self.writer(delete).await;
                    let events = self.events(delete);
                    self.write(&mut *writer, &events).await;
                    open.push((writer, delete, events));
                }
                for (writer, delete, events) in open {
                    // Made without knowing of each other: a tie between the two is another matter.
                    let earlier = self.received.micro_batches.iter().flatten();
                    let tie = self.shape.scd_type == ScdType::Two
                        && earlier
                            .filter(|e| e.delete != delete)
                            .any(|e| events.iter().any(|n| n.key == e.key && n.at == e.at));
                    if !tie {
                        self.commit(writer, delete, events).await;
                    }
                }
            }
            Step::Again => {
                let Some((delete, events)) = self.last.clone() else { return };
                let at = self.at[&delete];
                let mut writer = self.writer(delete).await;
                self.write(&mut *writer, &events).await;
                let outcome = writer.commit(Some(&offset(at))).await.unwrap();
                assert_eq!(outcome, CommitOutcome::Unchanged, "nothing is new");
                self.writers.insert(delete, writer);
            }
            Step::AddColumn => {
                let polars = self.random.u8(..4) > 0;
                let may = |at: &usize| !self.has.contains(at) && (*at != MAPPED || !polars);
                let Some(at) = [3, MAPPED].into_iter().find(may) else { return };
                self.has.push(at);
                self.has.sort_unstable();
                self.writers.clear();
                self.last = None;
            }
            Step::DropColumn => {
                let may: Vec<usize> = self
                    .has
                    .iter()
                    .copied()
                    .filter(|at| *at != PAD && self.table.contains(&Column::Value(*at)))
                    .collect();
                if may.len() > 1
                    && let Some(at) = self.random.choice(may)
                {
                    self.has.retain(|a| *a != at);
                    self.writers.clear();
                    self.last = None;
                }
            }
            Step::Optimize if there => {
                let target = self.random.u64(1_000..200_000);
                self.lake.optimize(&name("life"), target).await.unwrap();
            }
            Step::Vacuum if there => {
                self.clock.advance(TimeDelta::days(self.random.i64(0..12)));
                let keep = Duration::from_secs(7 * 86_400);
                self.lake.vacuum(&name("life"), keep, false).await.unwrap();
                // Writers that were open for longer than that have lost their files.
                self.writers.clear();
            }
            Step::Reopen => {
                let options = LakeOptions { clock: Arc::new(self.clock.clone()), ..LakeOptions::default() };
                self.lake = DeltaLake::open(self.local.dir.path().to_str().unwrap(), options).unwrap();
                self.writers.clear();
            }
            Step::Discard => {
                let delete = self.random.bool();
                let events = self.events(delete);
                let mut writer = self.lake.writer(self.spec(delete)).await.unwrap();
                self.write(&mut *writer, &events).await;
                writer.discard().await.unwrap();
                self.writers.insert(delete, writer);
            }
            Step::Optimize | Step::Vacuum => {}
        }
    }

    fn expect(&self) -> RecordBatch {
        let rows = match self.shape.scd_type {
            ScdType::One => self.received.current(&self.given),
            ScdType::Two => self.received.history(&self.shape),
        };
        self.shape.batch(&self.table, &rows)
    }

    /// Compares the table with the model: by our own reader, and where it is worth it by Polars.
    async fn check(&mut self, end: bool) {
        let table = name("life");
        let Some(state) = self.lake.table(&table).await.unwrap() else {
            assert!(self.table.is_empty());
            return;
        };
        let expect = self.expect();
        assert_eq!(
            state.rows,
            Some(u64::try_from(expect.num_rows()).unwrap()),
            "rows as the log counts them"
        );
        for (delete, flow) in [(false, "flow"), (true, "flow.deletes")] {
            let offset = self.at.get(&delete).map(|at| offset(*at));
            assert_eq!(state.flows.get(flow).and_then(|f| f.offset.clone()), offset, "offset of {flow}");
        }
        if self.shape.wide && !end {
            return;
        }
        let schema = self.shape.schema(&self.table);
        assert_eq!(canon::bare(&state.schema.to_json()), canon::bare(&schema.to_json()));
        let read: Vec<RecordBatch> =
            self.lake.read(&table, ReadSpec::default()).await.unwrap().try_collect().await.unwrap();
        let expect = canon::sorted(canon::rows([&expect]));
        let found = canon::sorted(canon::rows(&read));
        let only = |these: &[Value], those: &[Value]| -> Vec<Value> {
            these.iter().filter(|row| !those.contains(row)).cloned().collect()
        };
        assert!(
            found == expect,
            "rows that are there and should not be: {:#?}\nrows that should be there: {:#?}",
            only(&found, &expect),
            only(&expect, &found)
        );
        if end || self.random.u8(..5) == 0 {
            let path = self.local.path(&table);
            let reader = if self.table.contains(&Column::Value(MAPPED)) { "deltalake" } else { "polars" };
            same_for(reader, &path, &schema, &expect, None);
            sound_stats(&path);
        }
    }
}

/// Says how to repeat a life that ends before its time, wherever the output goes.
struct Repeat(u64);

impl Drop for Repeat {
    #[allow(clippy::print_stderr, reason = "the one thing that must be known of a failure")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("CDC_SEED={} repeats the life that failed", self.0);
        }
    }
}

#[allow(clippy::print_stdout, reason = "shown where a test fails")]
/// Goes through one life; panics where the table is not as the model.
async fn live(seed: u64) {
    let _repeat = Repeat(seed);
    use Step::{AddColumn, Again, Both, Deletes, Discard, DropColumn, Optimize, Reopen, Upserts, Vacuum};
    let mut life = Life::new(seed);
    println!("CDC_SEED={seed}: {:?}", life.shape);
    for _ in 0..STEPS {
        let all = [
            Upserts, Upserts, Upserts, Upserts, Deletes, Deletes, Both, Both, Again, AddColumn, DropColumn,
            Optimize, Vacuum, Reopen, Discard,
        ];
        let step = *life.random.choice(&all).unwrap();
        println!("    {step:?}");
        life.step(step).await;
        life.check(false).await;
    }
    // What the source has by now is known to the table after a commit.
    life.one(false).await;
    life.check(true).await;
}

fn number(name: &str) -> Option<u64> {
    std::env::var_os(name).map(|text| text.to_str().unwrap().parse().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_changes_lead_to_the_table_that_all_events_together_define() {
    if let Some(seed) = number("CDC_SEED") {
        return live(seed).await;
    }
    // The same lives each time; `soak` goes on to others.
    for seed in FIRST_SEED..FIRST_SEED + LIVES {
        live(seed).await;
    }
}

/// `make soak`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "goes on for SOAK_MINUTES"]
async fn soak() {
    let minutes = number("SOAK_MINUTES").unwrap_or(30);
    let (begun, base) = (Instant::now(), fastrand::u64(..1 << 40));
    let mut said = 0;
    for lives in 1.. {
        live(base + lives).await;
        let passed = begun.elapsed().as_secs();
        if passed / 10 > said {
            said = passed / 10;
            eprintln!("{lives} lives in {passed} s");
        }
        if passed >= minutes * 60 {
            break;
        }
    }
}
