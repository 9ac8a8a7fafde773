//! Random snapshots of a source, one after the other, and what the table shows by the definition.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use chrono::DateTime;
use futures::TryStreamExt;
use headwater_connect::{DataType, StructField, StructType};
use headwater_lake::{
    CdcSpec, CommitOutcome, Feed, Lake, ReadSpec, ScdType, TrackHistory, WriteMode, WriterSpec,
};
use serde_json::{Value, json};

use crate::canon;
use crate::maker::{Local, name, same_for, sound_stats, spec};

/// The first life of an ordinary run.
const FIRST_SEED: u64 = 1_000;
const LIVES: u64 = 8;
const SNAPSHOTS: usize = 8;

/// The values of a row: `a`, `b`, and `c`, which comes later.
type Row = [Option<i64>; 3];
const NAMES: [&str; 3] = ["a", "b", "c"];

/// A record of a key, from a version to another.
#[derive(Clone)]
struct Record {
    key: i64,
    row: Row,
    start: i64,
    end: Option<i64>,
}

fn schema(columns: usize) -> StructType {
    let mut fields =
        vec![StructField::required("k", DataType::Long), StructField::required("l", DataType::String)];
    fields.extend(NAMES[..columns].iter().map(|n| StructField::nullable(*n, DataType::Long)));
    StructType::new(fields)
}

/// Keys of two columns.
fn key(key: i64) -> (i64, String) {
    (key / 3, format!("l{}", key % 3))
}

fn batch(rows: &[(i64, Row)], columns: usize) -> RecordBatch {
    let mut arrays: Vec<ArrayRef> = vec![
        Arc::new(rows.iter().map(|r| Some(key(r.0).0)).collect::<Int64Array>()),
        Arc::new(rows.iter().map(|r| Some(key(r.0).1)).collect::<StringArray>()),
    ];
    for at in 0..columns {
        arrays.push(Arc::new(rows.iter().map(|r| r.1[at]).collect::<Int64Array>()));
    }
    RecordBatch::try_new(schema(columns).to_arrow(), arrays).unwrap()
}

fn shown(record: &Record, columns: usize, history: bool) -> Value {
    let mut row = json!({"k": key(record.key).0, "l": key(record.key).1});
    for (at, name) in NAMES[..columns].iter().enumerate() {
        row[*name] = json!(record.row[at]);
    }
    if history {
        row["__START_AT"] = json!(record.start);
        row["__END_AT"] = json!(record.end);
    }
    row
}

struct Source {
    scd_type: ScdType,
    track: TrackHistory,
    vectors: Option<bool>,
}

impl Source {
    fn spec(&self, version: i64, columns: usize) -> WriterSpec {
        let cdc = CdcSpec {
            keys: vec!["l".into(), "k".into()],
            scd_type: self.scd_type,
            feed: Feed::Snapshot { version: DateTime::from_timestamp_micros(version).unwrap() },
            sequence_by: None,
            track: self.track.clone(),
            tombstone_retention: None,
            deletion_vectors: self.vectors,
        };
        WriterSpec {
            target_file_bytes: 3_000,
            ..spec(&name("snapshots"), &schema(columns), WriteMode::Cdc(cdc))
        }
    }

    fn tracks(&self, column: usize) -> bool {
        match &self.track {
            TrackHistory::All => true,
            TrackHistory::Only(names) => names.iter().any(|n| n == NAMES[column]),
            TrackHistory::Except(names) => !names.iter().any(|n| n == NAMES[column]),
        }
    }

    /// What becomes of the records when a snapshot of this version holds these rows.
    fn take(&self, records: &mut Vec<Record>, rows: &BTreeMap<i64, Row>, version: i64) {
        for record in records.iter_mut().filter(|r| r.end.is_none()) {
            match rows.get(&record.key) {
                Some(row) if (0..3).all(|at| !self.tracks(at) || row[at] == record.row[at]) => {
                    record.row = *row
                }
                _ => record.end = Some(version),
            }
        }
        for (key, row) in rows {
            if !records.iter().any(|r| r.key == *key && r.end.is_none()) {
                records.push(Record { key: *key, row: *row, start: version, end: None });
            }
        }
    }
}

/// The key at random, its values few.
fn change(random: &mut fastrand::Rng, rows: &mut BTreeMap<i64, Row>, columns: usize) {
    for _ in 0..random.usize(0..12) {
        let key = random.i64(0..30);
        if random.u8(..3) == 0 {
            rows.remove(&key);
            continue;
        }
        let mut row: Row = [None; 3];
        for value in &mut row[..columns] {
            *value = Some(random.i64(0..3)).filter(|v| *v > 0);
        }
        rows.insert(key, row);
    }
}

#[allow(clippy::print_stdout, reason = "shown where a test fails")]
async fn live(seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    let scd_type = if random.bool() { ScdType::One } else { ScdType::Two };
    let track = match (scd_type, random.u8(..3)) {
        (ScdType::One, _) | (_, 0) => TrackHistory::All,
        (_, 1) => TrackHistory::Only(vec!["a".into()]),
        _ => TrackHistory::Except(vec!["a".into()]),
    };
    let vectors = *random.choice(&[None, Some(true), Some(false)]).unwrap();
    println!("seed {seed}: {scd_type:?} {track:?} {vectors:?}");
    let source = Source { scd_type, track, vectors };
    let (local, history) = (Local::new(), scd_type == ScdType::Two);
    let (mut rows, mut records) = (BTreeMap::new(), Vec::new());
    // In the middle of the snapshots a column comes; the history has its own columns before it.
    let (mut columns, mut last) = (2, i64::MIN);
    let mut kept = None;
    for number in 0..SNAPSHOTS {
        match random.u8(..8) {
            0 => rows.clear(),
            1 => {}
            _ => change(&mut random, &mut rows, columns),
        }
        if number == SNAPSHOTS / 2 {
            (columns, kept) = (3, None);
            change(&mut random, &mut rows, columns);
        }
        // A clock that stands still, or goes back, gives the next microsecond.
        let now = 1_000_000 + i64::try_from(number).unwrap() * random.i64(-1..3);
        let version = now.max(last.saturating_add(1));
        let before: Vec<Record> = records.clone();
        source.take(&mut records, &rows, version);
        let same = before.len() == records.len()
            && before.iter().zip(&records).all(|(a, b)| shown(a, 3, true) == shown(b, 3, true));
        let mut writer = match kept.take() {
            // Its next snapshot is the one right after.
            Some(writer) if random.bool() && now <= last => writer,
            _ => local.lake.writer(source.spec(now, columns)).await.unwrap(),
        };
        let mut order: Vec<(i64, Row)> = rows.iter().map(|(k, r)| (*k, *r)).collect();
        random.shuffle(&mut order);
        for piece in order.chunks(7) {
            writer.write(batch(piece, columns)).await.unwrap();
        }
        let outcome = writer.commit(None).await.unwrap();
        let unchanged = outcome == CommitOutcome::Unchanged;
        println!("    {version}: {} rows, {outcome:?}", rows.len());
        assert!(
            !same || unchanged || number == 0 || number == SNAPSHOTS / 2,
            "an equal snapshot writes nothing"
        );
        assert!(same || !unchanged);
        if !unchanged {
            last = version;
        }
        kept = (!unchanged).then_some(writer);
        if random.u8(..4) == 0 {
            local.lake.optimize(&name("snapshots"), 1 << 20).await.unwrap();
        }
        let expect: Vec<Value> = records
            .iter()
            .filter(|r| history || r.end.is_none())
            .map(|r| shown(r, columns, history))
            .collect();
        let expect = canon::sorted(expect);
        let read = local.lake.read(&name("snapshots"), ReadSpec::default()).await.unwrap();
        let read: Vec<RecordBatch> = read.try_collect().await.unwrap();
        assert_eq!(canon::sorted(canon::rows(&read)), expect);
        if number % 3 == 1 || number == SNAPSHOTS - 1 {
            let state = local.lake.table(&name("snapshots")).await.unwrap().unwrap();
            same_for("polars", &local.path(&name("snapshots")), &state.schema, &expect, None);
            sound_stats(&local.path(&name("snapshots")));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_snapshots_lead_to_the_table_that_they_define() {
    // The same lives each time; `soak` goes on to others.
    for seed in FIRST_SEED..FIRST_SEED + LIVES {
        live(seed).await;
    }
}
