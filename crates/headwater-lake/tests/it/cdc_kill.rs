//! A process that applies micro-batches is killed (SIGKILL) at random instants of its life, and another goes on.

use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use arrow_array::RecordBatch;
use futures::TryStreamExt;
use headwater_lake::{
    DeltaLake, Feed, Lake, LakeOptions, ReadSpec, ScdType, TrackHistory, WriteMode, WriterSpec,
};
use serde_json::Value;

use crate::canon;
use crate::cdc_model::{Column, Event, Received, Shape, Shown};
use crate::cdc_values::{Kind, RANKS};
use crate::maker::{Local, name, offset, same_for, spec};

const MICRO_BATCHES: usize = 60;
const KILLS: usize = 8;
const FOLDER: &str = "HEADWATER_KILL_FOLDER";

fn shape(scd_type: ScdType) -> Shape {
    Shape {
        scd_type,
        keys: vec![Kind::Long],
        sequence: Kind::Instant,
        nested: false,
        track: match scd_type {
            ScdType::One => TrackHistory::All,
            ScdType::Two => TrackHistory::Only(vec!["a".into()]),
        },
        deletion_vectors: None,
        cluster_by: Vec::new(),
        required_keys: true,
        wide: false,
        target_file_bytes: 20_000,
    }
}

fn columns() -> Vec<Column> {
    vec![Column::Key(0), Column::Sequence, Column::Value(0), Column::Value(1)]
}

/// The micro-batch of this number: the same in every process. Each third is of deletes.
fn micro_batch(number: usize) -> (bool, Vec<Event>) {
    let delete = number % 3 == 2;
    let mut random = fastrand::Rng::with_seed(u64::try_from(number).unwrap());
    let mut events: Vec<Event> = Vec::new();
    for _ in 0..25 {
        // Each sequence is of one kind, so that none is there twice with other content.
        let (key, at) =
            (random.usize(..9), random.usize(..RANKS / 3) * 3 + if delete { 2 } else { random.usize(..2) });
        let mut values = [None; 5];
        values[0] = Some((key + at) % 2);
        values[1] = Some((key * 7 + at * 3) % 5);
        if !events.iter().any(|e| e.key == key && e.at == at) {
            events.push(Event { key, at, delete, values });
        }
    }
    (delete, events)
}

fn writer_spec(shape: &Shape, delete: bool) -> WriterSpec {
    let feed = if delete { Feed::Deletes } else { Feed::Upserts };
    WriterSpec {
        flow: if delete { "flow.deletes".into() } else { "flow".into() },
        target_file_bytes: shape.target_file_bytes,
        ..spec(&name("killed"), &shape.schema(&columns()), WriteMode::Cdc(shape.cdc(feed)))
    }
}

/// The number of the last micro-batch that the flow has committed.
async fn stands(lake: &DeltaLake, flow: &str) -> Option<usize> {
    let state = lake.table(&name("killed")).await.unwrap()?;
    let at = state.flows.get(flow)?.offset.clone()?;
    let at = at.read::<Value>().unwrap()["at"].as_u64()?;
    Some(usize::try_from(at).unwrap())
}

/// Goes on where the table stands, to the end.
async fn work(folder: &str, scd_type: ScdType) {
    let lake = DeltaLake::open(folder, LakeOptions::default()).unwrap();
    let shape = shape(scd_type);
    let mut done = [stands(&lake, "flow").await, stands(&lake, "flow.deletes").await];
    for number in 0..MICRO_BATCHES {
        let (delete, events) = micro_batch(number);
        let before = &mut done[usize::from(delete)];
        if before.is_some_and(|before| number <= before) {
            continue;
        }
        *before = Some(number);
        let rows: Vec<Shown> = events.iter().map(Shown::of).collect();
        let mut writer = lake.writer(writer_spec(&shape, delete)).await.unwrap();
        writer.write(shape.batch(&columns(), &rows)).await.unwrap();
        let _outcome = writer.commit(Some(&offset(i64::try_from(number).unwrap()))).await.unwrap();
        if number % 7 == 6 {
            lake.optimize(&name("killed"), 1 << 20).await.unwrap();
        }
    }
}

/// Not a test of its own: the process that is killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "started by the tests that kill it"]
async fn child() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let folder = folder.into_string().unwrap();
    let (scd_type, folder) = folder.split_at(1);
    work(folder, if scd_type == "1" { ScdType::One } else { ScdType::Two }).await;
}

fn start(folder: &str, scd_type: ScdType) -> Child {
    let scd_type = if scd_type == ScdType::One { "1" } else { "2" };
    Command::new(std::env::current_exe().unwrap())
        .args(["cdc_kill::child", "--exact", "--ignored"])
        .env(FOLDER, format!("{scd_type}{folder}"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

async fn check(local: &Local, shape: &Shape, foreign: bool) -> usize {
    let done = [stands(&local.lake, "flow").await, stands(&local.lake, "flow.deletes").await];
    let mut received = Received::default();
    let mut given = Vec::new();
    for number in 0..MICRO_BATCHES {
        let (delete, events) = micro_batch(number);
        if done[usize::from(delete)].is_some_and(|done| number <= done) {
            received.micro_batches.push(events);
            given.push(vec![0, 1]);
        }
    }
    let count = received.micro_batches.len();
    if count == 0 {
        return 0;
    }
    let (rows, mut columns) = (
        if shape.scd_type == ScdType::One { received.current(&given) } else { received.history(shape) },
        columns(),
    );
    if shape.scd_type == ScdType::Two {
        columns.extend([Column::Start, Column::End]);
    }
    let expect = canon::sorted(canon::rows([&shape.batch(&columns, &rows)]));
    let read = local.lake.read(&name("killed"), ReadSpec::default()).await.unwrap();
    let read: Vec<RecordBatch> = read.try_collect().await.unwrap();
    assert_eq!(canon::sorted(canon::rows(&read)), expect, "after {count} micro-batches");
    if foreign {
        same_for("polars", &local.path(&name("killed")), &shape.schema(&columns), &expect, None);
    }
    count
}

async fn storm(scd_type: ScdType) {
    let (local, shape) = (Local::new(), shape(scd_type));
    let folder = local.dir.path().to_str().unwrap().to_owned();
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    let (mut killed, mut counts) = (0, Vec::new());
    loop {
        let mut child = start(&folder, scd_type);
        if killed < KILLS {
            // Waiting for the instant is the test.
            let (_nobody, never) = mpsc::channel::<()>();
            assert!(never.recv_timeout(Duration::from_millis(random.u64(60..400))).is_err());
        } else {
            assert!(child.wait().unwrap().success(), "seed {seed}: a process that was not killed failed");
        }
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.success(), "seed {seed}: a process that was not killed failed");
            break;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        killed += 1;
        counts.push(check(&local, &shape, false).await);
    }
    assert_eq!(check(&local, &shape, true).await, MICRO_BATCHES, "seed {seed}");
    assert!(killed > 0 && counts.is_sorted(), "seed {seed}: {killed} kills, {counts:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn current_rows_survive_being_killed_at_any_instant() {
    storm(ScdType::One).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_history_survives_being_killed_at_any_instant() {
    storm(ScdType::Two).await;
}
