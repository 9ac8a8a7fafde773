//! The same simulation on real Delta tables in a folder.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, RecordBatch};
use async_trait::async_trait;
use futures::TryStreamExt;
use headwater_connect::{IngestionType, Offset};
use headwater_engine::{
    CommitPolicy, Engine, EngineSettings, FullRefresh, RetryPolicy, Silent, UpdateReport, UpdateRequest,
    UpdateState,
};
use headwater_lake::{
    CommitOutcome, DeltaLake, FlowState, Lake, LakeError, LakeOptions, OptimizeReport, ReadSpec, RowStream,
    SchemaChange, Staged, TableName, TableState, TableVersion, TableWriter, VacuumReport, WriterSpec,
};
use tempfile::TempDir;

use serde_json::json;

use crate::faults::{Fault, Faults, lake_error};
use crate::ledger::Ledger;
use crate::model_lake::current;
use crate::source::{Source, Style};
use crate::support::{error_text, name, request};

/// A lake whose calls fail wherever a test wants.
struct Faulty {
    lake: DeltaLake,
    faults: Faults,
}

#[async_trait]
impl Lake for Faulty {
    async fn table(&self, name: &TableName) -> Result<Option<TableState>, LakeError> {
        lake_error(self.faults.step("table").await, "table")?;
        self.lake.table(name).await
    }

    async fn tables(&self) -> Result<Vec<TableName>, LakeError> {
        self.lake.tables().await
    }

    async fn plan(&self, spec: &WriterSpec) -> Result<Vec<SchemaChange>, LakeError> {
        self.lake.plan(spec).await
    }

    async fn writer(&self, spec: WriterSpec) -> Result<Box<dyn TableWriter>, LakeError> {
        lake_error(self.faults.step("writer").await, "writer")?;
        let writer = self.lake.writer(spec).await?;
        Ok(Box::new(FaultyWriter { writer, faults: self.faults.clone() }))
    }

    async fn set_offset(
        &self,
        name: &TableName,
        flow: &str,
        offset: Option<&Offset>,
    ) -> Result<u64, LakeError> {
        lake_error(self.faults.step("set_offset").await, "set_offset")?;
        self.lake.set_offset(name, flow, offset).await
    }

    async fn read(&self, name: &TableName, spec: ReadSpec) -> Result<RowStream, LakeError> {
        self.lake.read(name, spec).await
    }

    async fn history(&self, name: &TableName, limit: usize) -> Result<Vec<TableVersion>, LakeError> {
        self.lake.history(name, limit).await
    }

    async fn optimize(&self, name: &TableName, target: u64) -> Result<OptimizeReport, LakeError> {
        self.lake.optimize(name, target).await
    }

    async fn vacuum(
        &self,
        name: &TableName,
        retention: Duration,
        dry_run: bool,
    ) -> Result<VacuumReport, LakeError> {
        self.lake.vacuum(name, retention, dry_run).await
    }
}

struct FaultyWriter {
    writer: Box<dyn TableWriter>,
    faults: Faults,
}

impl FaultyWriter {
    async fn commit_as(
        &mut self,
        number: Option<u64>,
        offset: Option<&Offset>,
    ) -> Result<CommitOutcome, LakeError> {
        let fault = self.faults.step("commit").await;
        if !matches!(fault, Some(Fault::LandedInDoubt)) {
            lake_error(fault, "commit")?;
        }
        let outcome = match number {
            Some(number) => self.writer.commit_numbered(number, offset).await,
            None => self.writer.commit(offset).await,
        };
        if fault == Some(Fault::CrashAfter) {
            self.faults.die().await;
        }
        lake_error(fault, "commit")?;
        outcome
    }
}

#[async_trait]
impl TableWriter for FaultyWriter {
    fn flow_state(&self) -> Option<&FlowState> {
        self.writer.flow_state()
    }

    fn next_micro_batch(&self) -> u64 {
        self.writer.next_micro_batch()
    }

    fn changes(&self) -> &[SchemaChange] {
        self.writer.changes()
    }

    async fn write(&mut self, batch: RecordBatch) -> Result<(), LakeError> {
        lake_error(self.faults.step("write").await, "write")?;
        self.writer.write(batch).await
    }

    fn staged(&self) -> Staged {
        self.writer.staged()
    }

    async fn commit(&mut self, offset: Option<&Offset>) -> Result<CommitOutcome, LakeError> {
        self.commit_as(None, offset).await
    }

    async fn commit_numbered(
        &mut self,
        micro_batch: u64,
        offset: Option<&Offset>,
    ) -> Result<CommitOutcome, LakeError> {
        self.commit_as(Some(micro_batch), offset).await
    }

    async fn discard(&mut self) -> Result<(), LakeError> {
        self.writer.discard().await
    }
}

fn open(folder: &TempDir) -> DeltaLake {
    DeltaLake::open(folder.path().to_str().unwrap(), LakeOptions::default()).unwrap()
}

async fn longs(folder: &TempDir, table: &str, column: &str) -> Vec<i64> {
    let spec = ReadSpec { columns: Some(vec![column.to_owned()]), ..ReadSpec::default() };
    let batches: Vec<RecordBatch> =
        open(folder).read(&name(table), spec).await.unwrap().try_collect().await.unwrap();
    let mut all: Vec<i64> = batches
        .iter()
        .flat_map(|batch| batch.column(0).as_primitive::<Int64Type>().values().to_vec())
        .collect();
    all.sort_unstable();
    all
}

async fn run(folder: &TempDir, faults: &Faults, request: UpdateRequest) -> Option<UpdateReport> {
    let settings = EngineSettings {
        commit: CommitPolicy { rows: 6, ..CommitPolicy::default() },
        retry: RetryPolicy { first_pause: Duration::from_millis(1), ..RetryPolicy::default() },
        ..EngineSettings::default()
    };
    let engine = Engine::new(Arc::new(Faulty { lake: open(folder), faults: faults.clone() }), settings);
    tokio::select! {
        biased;
        () = faults.death() => None,
        report = engine.run(request, Arc::new(Silent)) => Some(report),
    }
}

/// Runs until an update completes, the first with faults.
async fn complete(folder: &TempDir, faults: &Faults, make: impl Fn(Faults) -> UpdateRequest) {
    let mut faults = faults.clone();
    for _ in 0..4 {
        let report = run(folder, &faults, make(faults.clone())).await;
        if let Some(report) = &report
            && report.state == UpdateState::Completed
        {
            return;
        }
        faults = Faults::none();
    }
    panic!("no update completes");
}

fn ids(count: u64) -> Vec<i64> {
    (0..i64::try_from(count).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn real_tables_lose_and_double_nothing_either() {
    let cases = [
        (IngestionType::Append, Style::Plain, FullRefresh::None),
        (IngestionType::Append, Style::Parts, FullRefresh::All),
        (IngestionType::Snapshot, Style::Floats, FullRefresh::None),
    ];
    for (ingestion_type, style, full_refresh) in cases {
        for fault in Fault::ALL {
            // Every third step, at another phase for each fault: the model lake's tests take them all.
            for step in (fault as usize % 3..).step_by(3) {
                let folder = TempDir::new().unwrap();
                let source = Source::new(ingestion_type, style, 13);
                let make = |faults| {
                    let mut request = request(Source { faults, ..source.clone() }, json!({}));
                    request.full_refresh = full_refresh.clone();
                    request
                };
                complete(&folder, &Faults::none(), make).await;
                source.grow(7);
                let faults = Faults::at([(step, fault)]);
                complete(&folder, &faults, make).await;
                assert_eq!(
                    longs(&folder, "orders", "id").await,
                    ids(20),
                    "{ingestion_type} {style:?} {fault:?} at {step}\n{}",
                    faults.trace()
                );
                if faults.steps() <= step {
                    break;
                }
            }
        }
    }
}

/// The rows of a table, as `sequence name` by key, those that have ended left out; and how many rows there are.
async fn keyed(folder: &TempDir) -> (BTreeMap<i64, (i64, String)>, usize) {
    let stream = open(folder).read(&name("orders"), ReadSpec::default()).await.unwrap();
    let batches: Vec<RecordBatch> = stream.try_collect().await.unwrap();
    let (mut rows, mut count) = (BTreeMap::new(), 0);
    for batch in &batches {
        let column = |name: &str| batch.column_by_name(name);
        let longs = |name: &str| column(name).unwrap().as_primitive::<Int64Type>().values().to_vec();
        let names = column("name").unwrap().as_string::<i32>();
        for (row, (id, sequence)) in longs("id").into_iter().zip(longs("seq")).enumerate() {
            count += 1;
            if column("__END_AT").is_none_or(|ends| ends.is_null(row)) {
                let twice = rows.insert(id, (sequence, names.value(row).to_owned()));
                assert_eq!(twice, None, "key {id} is there twice");
            }
        }
    }
    (rows, count)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn real_tables_with_keys_come_right_wherever_an_update_is_broken_off() {
    for (scd_type, full_refresh) in [
        ("SCD_TYPE_1", FullRefresh::None),
        ("SCD_TYPE_1", FullRefresh::All),
        ("SCD_TYPE_2", FullRefresh::None),
    ] {
        for fault in Fault::ALL {
            // Every fifth step, at another phase for each fault: the model lake's tests take them all.
            for step in (fault as usize % 5..).step_by(5) {
                let folder = TempDir::new().unwrap();
                let ledger = Ledger::new(10);
                let make =
                    |faults| request(Ledger { faults, ..ledger.clone() }, json!({"scd_type": scd_type}));
                complete(&folder, &Faults::none(), make).await;
                ledger.grow(9);
                let faults = Faults::at([(step, fault)]);
                let mut first = make(faults.clone());
                first.full_refresh = full_refresh.clone();
                let report = run(&folder, &faults, first).await;
                if report.is_none_or(|report| report.state != UpdateState::Completed) {
                    complete(&folder, &Faults::none(), make).await;
                }
                let at = format!("{scd_type} {full_refresh:?} {fault:?} at {step}\n{}", faults.trace());
                let (rows, count) = keyed(&folder).await;
                assert_eq!(rows, current(&ledger.events()), "{at}");
                let upserts = ledger.events().iter().filter(|change| change.name.is_some()).count();
                let expect = if scd_type == "SCD_TYPE_2" { upserts } else { rows.len() };
                assert_eq!(count, expect, "{at}");
                if faults.steps() <= step {
                    break;
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_records_stand_in_a_real_quarantine_once() {
    for fault in Fault::ALL {
        for step in 0.. {
            let folder = TempDir::new().unwrap();
            let make = |faults| {
                let configuration = json!({"on_bad_record": "quarantine"});
                let mut source = Source::new(IngestionType::Append, Style::Plain, 13);
                source.bad_every = Some(4);
                request(Source { faults, ..source }, configuration)
            };
            let faults = Faults::at([(step, fault)]);
            complete(&folder, &faults, make).await;
            let good: Vec<i64> = ids(13).into_iter().filter(|id| id % 4 != 3).collect();
            assert_eq!(longs(&folder, "orders", "id").await, good, "{fault:?} at {step}");
            let aside = longs(&folder, "orders__quarantine", "record").await;
            assert_eq!(aside.len(), 3, "{aside:?} {fault:?} at {step}\n{}", faults.trace());
            if faults.steps() <= step {
                break;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_event_log_is_a_table_that_can_be_read() {
    let folder = TempDir::new().unwrap();
    for expect in [11, 22] {
        let source = Source::new(IngestionType::Snapshot, Style::Plain, 13 + expect);
        let mut request = request(source, json!({}));
        request.pipeline.event_log = Some(name("event_log"));
        let report = run(&folder, &Faults::none(), request).await.unwrap();
        assert_eq!(report.state, UpdateState::Completed, "{}", error_text(&report));
        assert!(report.warnings.is_empty(), "{:?}", report.warnings);
        let stream = open(&folder).read(&name("event_log"), ReadSpec::default()).await.unwrap();
        let batches: Vec<RecordBatch> = stream.try_collect().await.unwrap();
        let rows: u64 = batches.iter().map(|batch| batch.num_rows() as u64).sum();
        assert_eq!(rows, expect);
        let ids = batches[0].column_by_name("id").unwrap();
        assert_eq!(ids.null_count(), 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_updates_of_one_table_at_once_double_nothing() {
    let folder = TempDir::new().unwrap();
    let make = || request(Source::new(IngestionType::Append, Style::Plain, 40), json!({}));
    let none = Faults::none();
    let (one, two) = tokio::join!(run(&folder, &none, make()), run(&folder, &none, make()));
    for report in [one.unwrap(), two.unwrap()] {
        let text = error_text(&report);
        let clear = report.state == UpdateState::Completed || text.contains("another process has moved flow");
        assert!(clear, "{text}");
    }
    complete(&folder, &none, |_| make()).await;
    assert_eq!(longs(&folder, "orders", "id").await, ids(40));
}
