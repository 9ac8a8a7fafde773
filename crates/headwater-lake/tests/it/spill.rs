//! Snapshots that do not fit into memory, compared in a temporary file: the same tables as in memory, and nothing left.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, ArrayRef, BinaryArray, Int64Array, RecordBatch, StructArray, UInt32Array};
use arrow_select::concat::concat_batches;
use arrow_select::take::take_record_batch;
use chrono::DateTime;
use fastrand::Rng;
use futures::TryStreamExt;
use headwater_connect::{DataType, StructField, StructType};
use headwater_lake::{
    CdcSpec, CommitOutcome, DeltaLake, Feed, Lake, LakeError, LakeOptions, ReadSpec, ScdType, TableName,
    TableWriter, TrackHistory, WriteMode, WriterSpec,
};

use crate::cdc::{Event, batch, changes, schema};
use crate::common::committed;
use crate::faults::faulty;
use crate::maker::{Local, every_type, every_value, name, offset, spec};

/// So little that little more than a thousand rows can be compared in memory.
const TINY: usize = 192 * 1024;
const AMPLE: usize = 64 * 1024 * 1024;
/// Rows of a snapshot that are written at a time.
const STEP: usize = 700;

/// Name and note by key.
type Snapshot = BTreeMap<i64, (String, String)>;

/// A warehouse and a folder for temporary files.
struct Place {
    local: Local,
    temp: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let temp = tempfile::tempdir().unwrap();
        let options = LakeOptions { temp_folder: Some(temp.path().into()), ..LakeOptions::default() };
        Self { local: Local::with(options), temp }
    }

    /// The same warehouse with another folder for temporary files.
    fn with_temp(&self, folder: &Path) -> DeltaLake {
        let options = LakeOptions { temp_folder: Some(folder.into()), ..LakeOptions::default() };
        DeltaLake::open(self.local.dir.path().to_str().unwrap(), options).unwrap()
    }

    fn nothing_left(&self) {
        assert_eq!(std::fs::read_dir(self.temp.path()).unwrap().count(), 0);
        assert_eq!(open_files(self.temp.path()), 0);
    }
}

/// How many files in a folder this process has open, those without a name among them.
fn open_files(folder: &Path) -> usize {
    let folder = folder.canonicalize().unwrap();
    let Ok(open) = std::fs::read_dir("/proc/self/fd") else { return 0 };
    let targets = open.filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok());
    targets.filter(|target| target.starts_with(&folder)).count()
}

/// The spec of a snapshot at a second.
fn at(table: &TableName, scd_type: ScdType, track: &TrackHistory, second: i64, memory: usize) -> WriterSpec {
    let feed = Feed::Snapshot { version: DateTime::from_timestamp(second, 0).unwrap() };
    WriterSpec { memory_bytes: memory, ..changes(table, scd_type, track.clone(), feed) }
}

fn events(snapshot: &Snapshot, rng: &mut Rng) -> Vec<Event> {
    let mut events: Vec<Event> =
        snapshot.iter().map(|(id, (name, note))| (*id, 0, Some(name.clone()), Some(note.clone()))).collect();
    rng.shuffle(&mut events);
    events
}

async fn write(writer: &mut dyn TableWriter, events: &[Event]) -> Result<(), LakeError> {
    for some in events.chunks(STEP) {
        writer.write(batch(some)).await?;
    }
    Ok(())
}

/// A row as it is read: key, name and note, and with a history start and end in seconds.
type Row = (i64, String, String, Option<i64>, Option<i64>);

async fn rows(lake: &DeltaLake, table: &TableName) -> Vec<Row> {
    let batches: Vec<RecordBatch> =
        lake.read(table, ReadSpec::default()).await.unwrap().try_collect().await.unwrap();
    let mut rows = Vec::new();
    for batch in batches {
        let text = |name: &str, row: usize| {
            batch.column_by_name(name).unwrap().as_string::<i32>().value(row).to_owned()
        };
        let time = |name: &str, row: usize| {
            let times = batch.column_by_name(name)?.as_primitive::<TimestampMicrosecondType>();
            times.is_valid(row).then(|| times.value(row) / 1_000_000)
        };
        let ids = batch.column_by_name("id").unwrap().as_primitive::<Int64Type>();
        rows.extend((0..batch.num_rows()).map(|row| {
            let span = (time("__START_AT", row), time("__END_AT", row));
            (ids.value(row), text("name", row), text("note", row), span.0, span.1)
        }));
    }
    rows.sort();
    rows
}

/// What the table must be: every record there ever was.
#[derive(Default)]
struct Model {
    records: Vec<Row>,
}

impl Model {
    fn apply(&mut self, snapshot: &Snapshot, scd_type: ScdType, track: &TrackHistory, second: i64) {
        if scd_type == ScdType::One {
            self.records = snapshot
                .iter()
                .map(|(id, (name, note))| (*id, name.clone(), note.clone(), None, None))
                .collect();
            return;
        }
        let mut new = snapshot.clone();
        for record in self.records.iter_mut().filter(|record| record.4.is_none()) {
            match new.remove(&record.0) {
                None => record.4 = Some(second),
                Some((name, note)) if name == record.1 && note == record.2 => {}
                Some((name, note)) if *track != TrackHistory::All && name == record.1 => record.2 = note,
                Some(values) => {
                    record.4 = Some(second);
                    new.insert(record.0, values);
                }
            }
        }
        self.records.extend(new.into_iter().map(|(id, (name, note))| (id, name, note, Some(second), None)));
        self.records.sort();
    }
}

fn drawn(rng: &mut Rng, ids: impl Iterator<Item = i64>) -> Snapshot {
    ids.map(|id| (id, (format!("name {}", rng.u8(0..3)), format!("note {}", rng.u8(0..3))))).collect()
}

/// Some rows change, some go, some come.
fn next(rng: &mut Rng, before: &Snapshot, ids: std::ops::Range<i64>) -> Snapshot {
    let mut next: Snapshot = drawn(rng, ids);
    for (id, values) in &mut next {
        match before.get(id) {
            Some(old) if rng.u8(0..10) > 0 => *values = old.clone(),
            _ => {}
        }
    }
    next.retain(|_, _| rng.u8(0..20) > 0);
    next
}

#[tokio::test]
async fn tables_become_the_same_in_a_file_as_in_memory() {
    let place = Place::new();
    let only = TrackHistory::Only(vec!["name".into()]);
    for (number, (scd_type, track)) in
        [(ScdType::One, TrackHistory::All), (ScdType::Two, TrackHistory::All), (ScdType::Two, only)]
            .into_iter()
            .enumerate()
    {
        for memory in [TINY, AMPLE] {
            let table = name(&format!("same_{number}_{memory}"));
            let mut rng = Rng::with_seed(number as u64);
            let (mut model, mut snapshot) = (Model::default(), Snapshot::new());
            for (second, ids) in [0..5_000, 500..5_500, 4_000..4_300, 4_000..4_300, 0..6_000, 0..0, 3..2_000]
                .into_iter()
                .enumerate()
            {
                let second = second as i64 + 1;
                // The fourth is the third once more.
                if second != 4 {
                    snapshot = next(&mut rng, &snapshot, ids);
                }
                let spec = at(&table, scd_type, &track, second, memory);
                let mut writer = place.local.lake.writer(spec).await.unwrap();
                write(&mut *writer, &events(&snapshot, &mut rng)).await.unwrap();
                let outcome = writer.commit(Some(&offset(second))).await.unwrap();
                let CommitOutcome::Committed { rows: written, .. } = outcome else { panic!("{outcome:?}") };
                model.apply(&snapshot, scd_type, &track, second);
                let context = format!("{scd_type:?} {track:?} {memory} at {second}");
                assert!(second != 4 || written == 0, "{context}");
                assert!(rows(&place.local.lake, &table).await == model.records, "{context}");
                place.nothing_left();
            }
        }
    }
}

#[tokio::test]
async fn a_first_load_larger_than_all_parts_is_split_again() {
    let place = Place::new();
    let table = name("large");
    let mut rng = Rng::with_seed(7);
    let snapshot = drawn(&mut rng, 0..80_000);
    let spec = at(&table, ScdType::One, &TrackHistory::All, 1, TINY);
    let mut writer = place.local.lake.writer(spec).await.unwrap();
    write(&mut *writer, &events(&snapshot, &mut rng)).await.unwrap();
    committed(writer.commit(Some(&offset(1))).await.unwrap());
    let mut model = Model::default();
    model.apply(&snapshot, ScdType::One, &TrackHistory::All, 1);
    assert!(rows(&place.local.lake, &table).await == model.records);
    place.nothing_left();
}

/// Every type there is, and a variant.
fn every_column() -> StructType {
    StructType::new(every_type().fields.into_iter().chain([StructField::nullable("v", DataType::Variant)]))
}

fn every_row(from: i64) -> RecordBatch {
    let schema = every_column().to_arrow();
    let rows = every_value(from);
    let arrow_schema::DataType::Struct(fields) = schema.fields().last().unwrap().data_type() else {
        panic!()
    };
    let part = |name: &str| -> ArrayRef {
        let values: [&[u8]; 5] = [&[(2 << 2) | 1, b'h', b'i'], &[3 << 2, 7], &[0], &[0], &[4 << 2, 1, 2]];
        let metadata: [&[u8]; 5] = [&[1, 0, 0]; 5];
        Arc::new(BinaryArray::from_iter_values(if name == "metadata" { metadata } else { values }))
    };
    let parts = fields.iter().map(|field| part(field.name())).collect();
    let nulls = arrow_buffer::NullBuffer::from(vec![true, true, false, true, true]);
    let variant: ArrayRef = Arc::new(StructArray::new(fields.clone(), parts, Some(nulls)));
    let columns = rows.columns().iter().cloned().chain([variant]).collect();
    RecordBatch::try_new(schema, columns).unwrap()
}

/// All rows in one batch, by `id`, without the columns of the history.
async fn sorted(lake: &DeltaLake, table: &TableName) -> RecordBatch {
    let batches: Vec<RecordBatch> =
        lake.read(table, ReadSpec::default()).await.unwrap().try_collect().await.unwrap();
    let all = concat_batches(&batches[0].schema(), &batches).unwrap();
    let ids = all.column(0).as_primitive::<Int64Type>();
    let mut order: Vec<u32> = (0..u32::try_from(all.num_rows()).unwrap()).collect();
    order.sort_by_key(|&row| ids.value(row as usize));
    let own: Vec<usize> = (0..every_column().fields.len()).collect();
    take_record_batch(&all, &UInt32Array::from(order)).unwrap().project(&own).unwrap()
}

#[tokio::test]
async fn values_of_every_type_come_out_of_the_file_as_they_went_in() {
    let place = Place::new();
    let steps: Vec<RecordBatch> = (0..600).map(|step| every_row(step * 5)).collect();
    let given = concat_batches(&steps[0].schema(), &steps).unwrap();
    for scd_type in [ScdType::One, ScdType::Two] {
        let mut tables = Vec::new();
        for memory in [TINY, AMPLE] {
            let table = name(&format!("values_{scd_type:?}_{memory}").to_lowercase());
            for second in 1..4 {
                let feed = Feed::Snapshot { version: DateTime::from_timestamp(second, 0).unwrap() };
                let cdc = CdcSpec {
                    keys: vec!["id".into()],
                    scd_type,
                    feed,
                    sequence_by: None,
                    track: TrackHistory::All,
                    tombstone_retention: None,
                    deletion_vectors: None,
                };
                let spec =
                    WriterSpec { memory_bytes: memory, ..spec(&table, &every_column(), WriteMode::Cdc(cdc)) };
                let mut writer = place.local.lake.writer(spec).await.unwrap();
                for step in &steps {
                    writer.write(step.clone()).await.unwrap();
                }
                let outcome = writer.commit(Some(&offset(1))).await.unwrap();
                // What came out of the file is what is stored.
                match outcome {
                    CommitOutcome::Committed { rows, .. } => {
                        assert_eq!(rows, if second == 1 { 3_000 } else { 0 })
                    }
                    CommitOutcome::Unchanged => assert!(second > 1),
                }
            }
            tables.push(sorted(&place.local.lake, &table).await);
        }
        assert!(tables[0] == tables[1], "{scd_type:?}");
        assert_eq!(tables[0].num_rows(), given.num_rows());
        for (column, (read, given)) in tables[0].columns().iter().zip(given.columns()).enumerate() {
            assert_eq!(read, given, "column {column}");
        }
    }
    place.nothing_left();
}

#[tokio::test]
async fn a_key_that_comes_twice_is_named_and_nothing_changes() {
    let place = Place::new();
    let mut rng = Rng::with_seed(3);
    for scd_type in [ScdType::One, ScdType::Two] {
        let table = name(&format!("twice_{scd_type:?}").to_lowercase());
        let first = drawn(&mut rng, 0..800);
        let spec = |second| at(&table, scd_type, &TrackHistory::All, second, TINY);
        let mut writer = place.local.lake.writer(spec(1)).await.unwrap();
        write(&mut *writer, &events(&first, &mut rng)).await.unwrap();
        committed(writer.commit(Some(&offset(1))).await.unwrap());
        let before = rows(&place.local.lake, &table).await;

        // In memory before the file is begun and in the file, a stored key and a new one; both in the file.
        for (id, first_at, second_at) in
            [(5, 0, 4_500), (9_999, 0, 4_500), (5, 4_000, 4_500), (9_999, 4_000, 4_800)]
        {
            let mut snapshot = events(&drawn(&mut rng, 800..6_000), &mut rng);
            for place in [first_at, second_at] {
                snapshot.insert(place, (id, 0, Some("again".into()), Some(place.to_string())));
            }
            let mut writer = place.local.lake.writer(spec(2)).await.unwrap();
            let result = match write(&mut *writer, &snapshot).await {
                Ok(()) => writer.commit(Some(&offset(2))).await.map(|_| ()),
                failed => failed,
            };
            let Err(LakeError::DuplicateKey { holder: "the snapshot for", key, .. }) = result else {
                panic!("{result:?}")
            };
            assert_eq!(key, format!("(id = {id})"));
            // Nobody can commit the rest of it.
            let again = writer.commit(Some(&offset(2))).await;
            assert!(matches!(again, Err(LakeError::Storage { retryable: false, .. })), "{again:?}");
            assert_eq!(rows(&place.local.lake, &table).await, before);
            writer.discard().await.unwrap();
            drop(writer);
            place.nothing_left();
        }
    }
}

#[tokio::test]
async fn a_key_that_the_table_holds_twice_is_named() {
    let place = Place::new();
    let table = name("held_twice");
    let mut held = events(&drawn(&mut Rng::with_seed(5), 0..6_000), &mut Rng::with_seed(6));
    held.push((4_321, 0, Some("again".into()), Some("again".into())));
    let whole = WriterSpec { memory_bytes: TINY, ..spec(&table, &schema(), WriteMode::Snapshot) };
    crate::maker::put(&place.local.lake, whole, &[batch(&held)], 1).await;
    let spec = at(&table, ScdType::One, &TrackHistory::All, 2, TINY);
    let mut writer = place.local.lake.writer(spec).await.unwrap();
    writer.write(batch(&held[..10])).await.unwrap();
    let result = writer.commit(Some(&offset(2))).await;
    assert!(
        matches!(&result, Err(LakeError::DuplicateKey { holder: "", key, .. }) if key == "(id = 4321)"),
        "{result:?}"
    );
    place.nothing_left();
}

#[tokio::test]
async fn without_a_folder_for_temporary_files_nothing_is_committed() {
    let place = Place::new();
    let table = name("no_folder");
    let mut rng = Rng::with_seed(1);
    let first = drawn(&mut rng, 0..3_000);
    let spec = |second, memory| at(&table, ScdType::Two, &TrackHistory::All, second, memory);
    let none = place.temp.path().join("none");
    let lake = place.with_temp(&none);
    // What fits into memory needs no file.
    let mut writer = lake.writer(spec(1, AMPLE)).await.unwrap();
    write(&mut *writer, &events(&first, &mut rng)).await.unwrap();
    committed(writer.commit(Some(&offset(1))).await.unwrap());
    let before = rows(&lake, &table).await;

    let second = next(&mut rng, &first, 100..3_500);
    let mut writer = lake.writer(spec(2, TINY)).await.unwrap();
    write(&mut *writer, &events(&second, &mut rng)).await.unwrap();
    let error = writer.commit(Some(&offset(2))).await.unwrap_err();
    let LakeError::Storage { doing, retryable: false, in_doubt: false, .. } = &error else {
        panic!("{error:?}")
    };
    assert!(doing.contains(none.to_str().unwrap()) && doing.contains("main.tests.no_folder"), "{doing}");
    assert!(writer.commit(Some(&offset(2))).await.is_err());
    assert_eq!(rows(&lake, &table).await, before);

    // The same writer goes on once there is a folder.
    std::fs::create_dir(&none).unwrap();
    writer.discard().await.unwrap();
    write(&mut *writer, &events(&second, &mut rng)).await.unwrap();
    committed(writer.commit(Some(&offset(2))).await.unwrap());
    let mut model = Model::default();
    model.apply(&first, ScdType::Two, &TrackHistory::All, 1);
    model.apply(&second, ScdType::Two, &TrackHistory::All, 2);
    assert_eq!(rows(&lake, &table).await, model.records);
    assert_eq!(std::fs::read_dir(&none).unwrap().count(), 0);
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_writer_that_is_dropped_or_discarded_on_the_way_leaves_nothing() {
    let place = Place::new();
    let table = name("dropped");
    let wide: Snapshot = (0..6_000).map(|id| (id, ("name".into(), "wide ".repeat(200)))).collect();
    let events = events(&wide, &mut Rng::with_seed(1));
    for discard in [false, true] {
        let spec = at(&table, ScdType::One, &TrackHistory::All, 1, TINY);
        let mut writer = place.local.lake.writer(spec).await.unwrap();
        write(&mut *writer, &events).await.unwrap();
        assert_eq!(open_files(place.temp.path()), 1);
        // Whatever becomes of the process, nothing is there that has a name.
        assert_eq!(std::fs::read_dir(place.temp.path()).unwrap().count(), 0);
        if discard {
            writer.discard().await.unwrap();
            place.nothing_left();
        }
        drop(writer);
        place.nothing_left();
    }
    assert!(place.local.lake.table(&table).await.unwrap().is_none());
}

#[tokio::test]
async fn a_commit_that_failed_and_is_tried_again_takes_no_row_away() {
    use std::sync::atomic::Ordering;
    let mut rng = Rng::with_seed(9);
    let first = drawn(&mut rng, 0..40);
    let second = next(&mut rng, &first, 10..50);
    let (first, second) = (events(&first, &mut rng), events(&second, &mut rng));
    let ids = |events: &[Event]| {
        let mut ids: Vec<i64> = events.iter().map(|event| event.0).collect();
        ids.sort_unstable();
        ids
    };
    let (mut tried_again, mut steps_taken) = (0, 0);
    for step in 1.. {
        let dir = tempfile::tempdir().unwrap();
        let (lake, steps) = faulty(&dir);
        let table = name("again");
        let spec = |second| at(&table, ScdType::One, &TrackHistory::All, second, AMPLE);
        let mut writer = lake.writer(spec(1)).await.unwrap();
        write(&mut *writer, &first).await.unwrap();
        committed(writer.commit(Some(&offset(1))).await.unwrap());
        let mut writer = lake.writer(spec(2)).await.unwrap();
        write(&mut *writer, &second).await.unwrap();
        steps.taken.store(0, Ordering::SeqCst);
        steps.fails.store(step, Ordering::SeqCst);
        let result = writer.commit(Some(&offset(2))).await;
        let done = steps.taken.load(Ordering::SeqCst) < step;
        steps.fails.store(0, Ordering::SeqCst);
        let mut committed = result.is_ok();
        if let Err(error) = result
            && !error.is_in_doubt()
        {
            tried_again += 1;
            committed = writer.commit(Some(&offset(2))).await.is_ok();
        }
        let read = lake.read(&table, ReadSpec { columns: Some(vec!["id".into()]), ..ReadSpec::default() });
        let batches: Vec<RecordBatch> = read.await.unwrap().try_collect().await.unwrap();
        let mut found: Vec<i64> = batches
            .iter()
            .flat_map(|batch| {
                batch.column(0).as_any().downcast_ref::<Int64Array>().unwrap().values().to_vec()
            })
            .collect();
        found.sort_unstable();
        assert_eq!(found, ids(if committed { &second } else { &first }), "step {step}");
        if done {
            break;
        }
        steps_taken = step;
    }
    assert!(steps_taken > 3 && tried_again > 2, "{steps_taken} {tried_again}");
}
