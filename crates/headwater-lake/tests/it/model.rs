//! Random lives of a table, compared with a model in memory after every step, and with Polars at the end of each.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow_array::{ArrayRef, Float64Array, RecordBatch};
use chrono::TimeDelta;
use futures::TryStreamExt;
use headwater_connect::{Clock, DataType, ManualClock, StructField, StructType, SystemClock};
use headwater_lake::{
    CommitOutcome, DeltaLake, Lake, LakeOptions, ReadSpec, TableWriter, WriteMode, WriterSpec,
};
use serde_json::Value;

use crate::canon;
use crate::maker::{Local, name, offset, same_for, small, small_schema, sound_stats, spec};

/// Lives that are the same in every run, and such as nobody has seen before.
const FIXED_SEEDS: std::ops::Range<u64> = 0..16;
const NEW_SEEDS: usize = 4;
const STEPS: usize = 14;

#[derive(Debug, Clone, Copy)]
enum Step {
    Append,
    /// A writer of another flow that was opened before other steps came in between.
    StaleAppend,
    Snapshot,
    SameSnapshot,
    AddColumn,
    Optimize,
    Vacuum,
    Reopen,
    Discard,
}

struct Model {
    rows: Vec<Value>,
    columns: usize,
    next_id: i64,
    /// Offset of each flow.
    offsets: BTreeMap<&'static str, i64>,
    /// The rows that the last snapshot held.
    snapshot: Option<Vec<i64>>,
    /// Content by version, of those that can be read.
    versions: BTreeMap<u64, Vec<Value>>,
}

struct Life {
    local: Local,
    lake: DeltaLake,
    clock: ManualClock,
    random: fastrand::Rng,
    model: Model,
    stale: Option<Box<dyn TableWriter>>,
}

/// The table with so many columns.
fn schema(columns: usize) -> StructType {
    let mut schema = small_schema();
    for at in 2..columns {
        schema.fields.push(StructField::nullable(format!("extra_{at}"), DataType::Double));
    }
    schema
}

fn rows(ids: &[i64], columns: usize) -> RecordBatch {
    let mut arrays: Vec<ArrayRef> = small(ids.iter().copied()).columns().to_vec();
    for at in 2..columns {
        let values: Float64Array =
            ids.iter().map(|id| (id % 3 != 0).then_some(*id as f64 * at as f64)).collect();
        arrays.push(Arc::new(values));
    }
    RecordBatch::try_new(schema(columns).to_arrow(), arrays).unwrap()
}

/// Rows without the added columns that are null: a version from before its first use does not have such a column.
fn bare(mut rows: Vec<Value>) -> Vec<Value> {
    for row in &mut rows {
        if let Value::Object(members) = row {
            members.retain(|name, value| !(name.starts_with("extra_") && value.is_null()));
        }
    }
    rows
}

impl Life {
    fn new(seed: u64) -> Self {
        let clock = ManualClock::new(SystemClock.now());
        let local = Local::with(LakeOptions { clock: Arc::new(clock.clone()), ..LakeOptions::default() });
        let model = Model {
            rows: Vec::new(),
            columns: 2,
            next_id: 0,
            offsets: BTreeMap::new(),
            snapshot: None,
            versions: BTreeMap::new(),
        };
        let lake = local.lake.clone();
        Self { local, lake, clock, random: fastrand::Rng::with_seed(seed), model, stale: None }
    }

    fn spec(&self, flow: &str, mode: WriteMode) -> WriterSpec {
        let schema = schema(self.model.columns);
        WriterSpec {
            flow: flow.into(),
            cluster_by: vec!["id".into()],
            target_file_bytes: 2_000,
            ..spec(&name("life"), &schema, mode)
        }
    }

    fn new_ids(&mut self) -> Vec<i64> {
        let count = self.random.i64(0..40);
        let from = self.model.next_id;
        self.model.next_id += count;
        let mut ids: Vec<i64> = (from..from + count).collect();
        self.random.shuffle(&mut ids);
        ids
    }

    /// Writes with a new writer and notes what the table holds then.
    async fn put(&mut self, flow: &'static str, mode: WriteMode, ids: &[i64]) -> CommitOutcome {
        let writer = self.lake.writer(self.spec(flow, mode)).await.unwrap();
        self.put_with(writer, flow, ids, self.model.columns).await
    }

    async fn put_with(
        &mut self,
        mut writer: Box<dyn TableWriter>,
        flow: &'static str,
        ids: &[i64],
        columns: usize,
    ) -> CommitOutcome {
        for piece in ids.chunks(7) {
            writer.write(rows(piece, columns)).await.unwrap();
        }
        let at = self.model.offsets.get(flow).copied().unwrap_or(0) + i64::from(!ids.is_empty());
        let outcome = writer.commit(Some(&offset(at))).await.unwrap();
        self.model.offsets.insert(flow, at);
        outcome
    }

    fn note(&mut self, outcome: &CommitOutcome) {
        if let CommitOutcome::Committed { version, .. } = outcome {
            self.model.versions.insert(*version, self.model.rows.clone());
        }
    }

    fn model_rows(&self, ids: &[i64], columns: usize) -> Vec<Value> {
        let mut rows = canon::rows([&rows(ids, columns)]);
        for row in &mut rows {
            for at in columns..self.model.columns {
                row[format!("extra_{at}")] = Value::Null;
            }
        }
        rows
    }

    async fn step(&mut self, step: Step) {
        match step {
            Step::Append => {
                let ids = self.new_ids();
                let outcome = self.put("append", WriteMode::Append, &ids).await;
                let new = self.model_rows(&ids, self.model.columns);
                self.model.rows.extend(new);
                self.note(&outcome);
            }
            Step::StaleAppend => match self.stale.take() {
                None => {
                    if self.lake.table(&name("life")).await.unwrap().is_some() {
                        let writer = self.lake.writer(self.spec("stale", WriteMode::Append)).await;
                        self.stale = Some(writer.unwrap());
                    }
                }
                Some(writer) => {
                    let (ids, columns) = (self.new_ids(), self.model.columns);
                    let outcome = self.put_with(writer, "stale", &ids, columns).await;
                    let new = self.model_rows(&ids, columns);
                    self.model.rows.extend(new);
                    self.note(&outcome);
                }
            },
            Step::Snapshot => {
                let mut ids = self.new_ids();
                ids.extend(self.model.snapshot.iter().flatten().filter(|id| *id % 2 == 0));
                self.snapshot(ids).await;
            }
            Step::SameSnapshot => {
                let Some(mut ids) = self.model.snapshot.clone() else { return };
                self.random.shuffle(&mut ids);
                self.snapshot(ids).await;
            }
            Step::AddColumn => {
                if self.model.columns < 6 {
                    let at = self.model.columns;
                    self.model.columns += 1;
                    for row in &mut self.model.rows {
                        row[format!("extra_{at}")] = Value::Null;
                    }
                    // What is read of versions from before has fewer columns.
                    self.model.versions.clear();
                    self.stale = None;
                }
            }
            Step::Optimize => {
                if self.lake.table(&name("life")).await.unwrap().is_some() {
                    let target = self.random.u64(1_000..200_000);
                    let report = self.lake.optimize(&name("life"), target).await.unwrap();
                    if let Some(version) = report.version {
                        self.model.versions.insert(version, self.model.rows.clone());
                    }
                }
            }
            Step::Vacuum => {
                if self.lake.table(&name("life")).await.unwrap().is_some() {
                    self.clock.advance(TimeDelta::days(self.random.i64(0..12)));
                    let days = self.random.u64(7..10);
                    let keep = Duration::from_secs(days * 86_400);
                    self.lake.vacuum(&name("life"), keep, false).await.unwrap();
                    // All files are as old as the test: only the newest version is sure to be there.
                    let newest = self.lake.table(&name("life")).await.unwrap().unwrap().version;
                    self.model.versions.retain(|version, _| *version == newest);
                }
            }
            Step::Reopen => {
                let options = LakeOptions { clock: Arc::new(self.clock.clone()), ..LakeOptions::default() };
                self.lake = DeltaLake::open(self.local.dir.path().to_str().unwrap(), options).unwrap();
            }
            Step::Discard => {
                let ids = self.new_ids();
                let mut writer = self.lake.writer(self.spec("append", WriteMode::Append)).await.unwrap();
                if !ids.is_empty() {
                    writer.write(rows(&ids, self.model.columns)).await.unwrap();
                }
                writer.discard().await.unwrap();
            }
        }
    }

    async fn snapshot(&mut self, ids: Vec<i64>) {
        let outcome = self.put("snapshot", WriteMode::Snapshot, &ids).await;
        self.model.rows = self.model_rows(&ids, self.model.columns);
        self.note(&outcome);
        self.model.snapshot = Some(ids);
    }

    async fn read(&self, version: Option<u64>) -> Vec<Value> {
        let spec = ReadSpec { version, ..ReadSpec::default() };
        let batches: Vec<_> = self.lake.read(&name("life"), spec).await.unwrap().try_collect().await.unwrap();
        canon::sorted(canon::rows(&batches))
    }

    /// Compares the table with the model, with our own reader.
    async fn check(&self) {
        let Some(state) = self.lake.table(&name("life")).await.unwrap() else {
            assert!(self.model.offsets.is_empty());
            return;
        };
        assert_eq!(state.rows, Some(self.model.rows.len() as u64));
        for (flow, at) in &self.model.offsets {
            assert_eq!(state.flows[*flow].offset, Some(offset(*at)), "offset of {flow}");
        }
    }

    /// Compares content with the model: the newest with Polars, older versions with our own reader.
    async fn end(&mut self) {
        // A column that was added is in the table once something was written with it.
        let outcome = self.put("append", WriteMode::Append, &[]).await;
        self.note(&outcome);
        let path = self.local.path(&name("life"));
        same_for("polars", &path, &schema(self.model.columns), &self.model.rows, None);
        sound_stats(&path);
        for (version, rows) in &self.model.versions {
            let found = canon::sorted(bare(self.read(Some(*version)).await));
            assert_eq!(found, canon::sorted(bare(rows.clone())), "version {version}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_lives_equal_the_model() {
    let new = (0..NEW_SEEDS).map(|_| fastrand::u64(1_000..));
    for seed in FIXED_SEEDS.chain(new) {
        let mut life = Life::new(seed);
        let mut steps = Vec::new();
        for _ in 0..STEPS {
            use Step::{
                AddColumn, Append, Discard, Optimize, Reopen, SameSnapshot, Snapshot, StaleAppend, Vacuum,
            };
            let all = [
                Append,
                Append,
                Append,
                StaleAppend,
                StaleAppend,
                Snapshot,
                SameSnapshot,
                AddColumn,
                Optimize,
                Optimize,
                Vacuum,
                Reopen,
                Discard,
            ];
            steps.push(all[life.random.usize(..all.len())]);
        }
        // Shown where a test fails.
        println!("seed {seed}: {steps:?}");
        for step in steps {
            life.step(step).await;
            life.check().await;
        }
        life.end().await;
    }
}
