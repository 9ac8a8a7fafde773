//! A lake in memory that keeps to the interface's promises and fails where a test wants.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, ArrayRef, Int64Array, RecordBatch, StringArray};
use async_trait::async_trait;
use headwater_connect::{Offset, StructType};
use headwater_lake::{
    CdcSpec, CommitOutcome, Feed, FlowState, Lake, LakeError, OptimizeReport, ReadSpec, RowStream,
    SchemaChange, Staged, TableName, TableState, TableVersion, TableWriter, VacuumReport, WriteMode,
    WriterSpec,
};

use crate::faults::{Fault, Faults, lake_error};

/// What the storage holds; outlives the process.
pub(crate) type Storage = Arc<Mutex<BTreeMap<TableName, ModelTable>>>;

#[derive(Debug, Clone, Default)]
pub(crate) struct ModelTable {
    pub(crate) schema: StructType,
    pub(crate) version: u64,
    pub(crate) batches: Vec<RecordBatch>,
    pub(crate) flows: BTreeMap<String, FlowState>,
    /// Rows of the last numbered commit of each flow, which the next of the same number replaces.
    pub(crate) last_numbered: BTreeMap<String, Vec<RecordBatch>>,
    /// Changes that were committed, of a table to which changes are applied.
    pub(crate) changes: Vec<Change>,
}

/// A change of the row with a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) id: i64,
    pub(crate) sequence: i64,
    /// `None` for a deletion.
    pub(crate) name: Option<String>,
}

/// The rows that are left of these changes: sequence and name by key.
pub(crate) fn current(changes: &[Change]) -> BTreeMap<i64, (i64, String)> {
    let mut last: BTreeMap<i64, &Change> = BTreeMap::new();
    for change in changes {
        let held = last.entry(change.id).or_insert(change);
        if held.sequence <= change.sequence {
            *held = change;
        }
    }
    let rows = last.into_values().filter_map(|c| Some((c.id, (c.sequence, c.name.clone()?))));
    rows.collect()
}

/// Reads the changes of a batch, and checks that it is what the interface promises.
fn changes_of(batch: &RecordBatch, schema: &StructType, cdc: &CdcSpec) -> Vec<Change> {
    assert_eq!(batch.schema(), schema.to_arrow(), "a batch has the columns of the spec");
    let sequence = cdc.sequence_by.as_deref().expect("a stream has a sequence");
    let deletes = cdc.feed == Feed::Deletes;
    for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
        let placed = cdc.keys.contains(field.name()) || field.name() == sequence;
        assert!(!placed || column.null_count() == 0, "{} has nulls", field.name());
        assert!(placed || !deletes || column.null_count() == column.len(), "{} has values", field.name());
    }
    let table = ModelTable { batches: vec![batch.clone()], ..ModelTable::default() };
    let unsorted =
        |name: &str| batch.column_by_name(name).unwrap().as_primitive::<Int64Type>().values().to_vec();
    let names = table.texts("name").into_iter().map(|name| (!deletes).then_some(name));
    let rows = unsorted("id").into_iter().zip(unsorted(sequence)).zip(names);
    rows.map(|((id, sequence), name)| Change { id, sequence, name }).collect()
}

impl ModelTable {
    pub(crate) fn column(&self, name: &str) -> Vec<ArrayRef> {
        self.batches.iter().filter_map(|batch| batch.column_by_name(name).cloned()).collect()
    }

    /// The values of a `long` column, sorted.
    pub(crate) fn longs(&self, name: &str) -> Vec<i64> {
        let mut all: Vec<i64> = Vec::new();
        for column in self.column(name) {
            let column = column.as_any().downcast_ref::<Int64Array>().expect("a long column").clone();
            all.extend(column.iter().flatten());
        }
        all.sort_unstable();
        all
    }

    /// The values of a `string` column, in order.
    pub(crate) fn texts(&self, name: &str) -> Vec<String> {
        let mut all = Vec::new();
        for column in self.column(name) {
            let column = column.as_any().downcast_ref::<StringArray>().expect("a string column").clone();
            all.extend(column.iter().map(|text| text.unwrap_or("<null>").to_owned()));
        }
        all
    }

    fn without(&mut self, removed: &[RecordBatch]) {
        for batch in removed {
            let place = self.batches.iter().position(|other| other == batch).expect("the batch is live");
            self.batches.remove(place);
        }
    }
}

pub(crate) struct ModelLake {
    pub(crate) storage: Storage,
    pub(crate) faults: Faults,
    /// Largest batch and most writer memory that was asked for.
    pub(crate) seen: Arc<Mutex<Seen>>,
    /// Each write waits for this long.
    pub(crate) write_takes: Duration,
}

#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Seen {
    pub(crate) largest_batch_bytes: usize,
    pub(crate) writer_memory_bytes: usize,
    pub(crate) commits: usize,
}

impl ModelLake {
    pub(crate) fn new(storage: &Storage, faults: &Faults) -> Self {
        Self {
            storage: storage.clone(),
            faults: faults.clone(),
            seen: Arc::default(),
            write_takes: Duration::ZERO,
        }
    }

    async fn step(&self, what: &str) -> Result<(), LakeError> {
        lake_error(self.faults.step(what).await, what)
    }
}

#[async_trait]
impl Lake for ModelLake {
    async fn table(&self, name: &TableName) -> Result<Option<TableState>, LakeError> {
        self.step("table").await?;
        Ok(self.storage.lock().unwrap().get(name).map(|table| TableState {
            name: name.clone(),
            location: format!("memory:{name}"),
            version: table.version,
            schema: table.schema.clone(),
            cluster_by: Vec::new(),
            keys: Vec::new(),
            flows: table.flows.clone(),
            rows: Some(table.batches.iter().map(|batch| batch.num_rows() as u64).sum()),
            files: 0,
            bytes: 0,
            properties: BTreeMap::new(),
        }))
    }

    async fn tables(&self) -> Result<Vec<TableName>, LakeError> {
        Ok(self.storage.lock().unwrap().keys().cloned().collect())
    }

    async fn plan(&self, spec: &WriterSpec) -> Result<Vec<SchemaChange>, LakeError> {
        let exists = self.storage.lock().unwrap().contains_key(&spec.table);
        Ok(if exists { Vec::new() } else { vec![SchemaChange::Create] })
    }

    async fn writer(&self, spec: WriterSpec) -> Result<Box<dyn TableWriter>, LakeError> {
        self.step("writer").await?;
        self.seen.lock().unwrap().writer_memory_bytes += spec.memory_bytes;
        if let WriteMode::Cdc(cdc) = &spec.mode {
            assert!(cdc.keys.iter().all(|key| spec.schema.field(key).is_some()), "{cdc:?}");
        }
        let storage = self.storage.lock().unwrap();
        let table = storage.get(&spec.table);
        let held = table.and_then(|table| table.flows.get(&spec.flow).cloned());
        let changes = if table.is_some() { Vec::new() } else { vec![SchemaChange::Create] };
        Ok(Box::new(ModelWriter {
            storage: self.storage.clone(),
            faults: self.faults.clone(),
            seen: self.seen.clone(),
            write_takes: self.write_takes,
            state: if spec.full_refresh { None } else { held.clone() },
            held: held.map_or(0, |held| held.micro_batch),
            refresh: spec.full_refresh,
            spec,
            changes,
            staged: Vec::new(),
        }))
    }

    async fn set_offset(
        &self,
        name: &TableName,
        flow: &str,
        offset: Option<&Offset>,
    ) -> Result<u64, LakeError> {
        self.step("set_offset").await?;
        let mut storage = self.storage.lock().unwrap();
        let table = storage.get_mut(name).ok_or_else(|| LakeError::NoTable { table: name.clone() })?;
        match offset {
            None => drop(table.flows.remove(flow)),
            Some(offset) => {
                let state = FlowState { micro_batch: 0, offset: None, committed_at: None };
                table.flows.entry(flow.to_owned()).or_insert(state).offset = Some(offset.clone());
            }
        }
        table.version += 1;
        Ok(table.version)
    }

    async fn read(&self, _: &TableName, _: ReadSpec) -> Result<RowStream, LakeError> {
        panic!("the engine does not read rows")
    }

    async fn history(&self, _: &TableName, _: usize) -> Result<Vec<TableVersion>, LakeError> {
        panic!("the engine does not read the history")
    }

    async fn optimize(&self, _: &TableName, _: u64) -> Result<OptimizeReport, LakeError> {
        panic!("the engine does not optimize")
    }

    async fn vacuum(&self, _: &TableName, _: Duration, _: bool) -> Result<VacuumReport, LakeError> {
        panic!("the engine does not vacuum")
    }
}

struct ModelWriter {
    storage: Storage,
    faults: Faults,
    seen: Arc<Mutex<Seen>>,
    write_takes: Duration,
    spec: WriterSpec,
    state: Option<FlowState>,
    /// The number of the flow's last micro-batch, whatever `state` says.
    held: u64,
    refresh: bool,
    changes: Vec<SchemaChange>,
    staged: Vec<RecordBatch>,
}

impl ModelWriter {
    fn rows(&self) -> usize {
        self.staged.iter().map(RecordBatch::num_rows).sum()
    }

    fn land(&mut self, number: Option<u64>, offset: Option<&Offset>) -> Result<CommitOutcome, LakeError> {
        let mut storage = self.storage.lock().unwrap();
        let created = !storage.contains_key(&self.spec.table);
        let rows = self.rows();
        let held = storage
            .get(&self.spec.table)
            .and_then(|table| table.flows.get(&self.spec.flow))
            .map_or(0, |state| state.micro_batch);
        let moved = held != self.held || number.is_some_and(|number| number < held);
        if moved {
            return Err(LakeError::FlowMoved {
                table: self.spec.table.clone(),
                flow: self.spec.flow.clone(),
                micro_batch: held,
            });
        }
        let replaces_number = number.is_some_and(|number| number == held) && !self.refresh;
        let same_offset = self.state.as_ref().is_some_and(|state| state.offset.as_ref() == offset);
        if !self.refresh && !created {
            let table = &storage[&self.spec.table];
            let unchanged = match (&self.spec.mode, number) {
                (_, Some(_)) => rows == 0 && !replaces_number,
                (WriteMode::Append, None) => rows == 0 && same_offset,
                (WriteMode::Cdc(cdc), None) if !is_snapshot(cdc) => rows == 0 && same_offset,
                (_, None) => same_content(&table.batches, &self.staged),
            };
            if unchanged {
                self.staged.clear();
                return Ok(CommitOutcome::Unchanged);
            }
        }
        let table = storage.entry(self.spec.table.clone()).or_default();
        let staged = std::mem::take(&mut self.staged);
        let keyed = match &self.spec.mode {
            WriteMode::Cdc(cdc) => Some(cdc),
            _ => None,
        };
        if self.refresh {
            table.batches.clear();
            table.changes.clear();
            table.last_numbered.clear();
        } else if replaces_number {
            let last = table.last_numbered.remove(&self.spec.flow).unwrap_or_default();
            table.without(&last);
        } else if self.spec.mode == WriteMode::Snapshot || keyed.is_some_and(is_snapshot) {
            table.batches.clear();
        }
        if number.is_some() {
            table.last_numbered.insert(self.spec.flow.clone(), staged.clone());
        }
        match keyed.filter(|cdc| !is_snapshot(cdc)) {
            None => table.batches.extend(staged),
            Some(cdc) => {
                let changes = staged.iter().flat_map(|batch| changes_of(batch, &self.spec.schema, cdc));
                table.changes.extend(changes);
            }
        }
        table.schema = self.spec.schema.clone();
        table.version += 1;
        let micro_batch = number.unwrap_or(held + 1);
        let state = FlowState { micro_batch, offset: offset.cloned(), committed_at: None };
        table.flows.insert(self.spec.flow.clone(), state.clone());
        self.state = Some(state);
        self.held = micro_batch;
        self.refresh = false;
        self.seen.lock().unwrap().commits += 1;
        Ok(CommitOutcome::Committed {
            version: table.version,
            micro_batch,
            rows: rows as u64,
            bytes: rows as u64 * 100,
            files: 1,
            changes: std::mem::take(&mut self.changes),
        })
    }

    async fn commit_as(
        &mut self,
        number: Option<u64>,
        offset: Option<&Offset>,
    ) -> Result<CommitOutcome, LakeError> {
        let fault = self.faults.step("commit").await;
        match fault {
            Some(Fault::LandedInDoubt) => {
                let _landed = self.land(number, offset)?;
                Err(lake_error(fault, "commit").expect_err("it is in doubt"))
            }
            Some(Fault::CrashAfter) => {
                let _landed = self.land(number, offset)?;
                self.faults.die().await;
                panic!("the process is dead")
            }
            _ => {
                lake_error(fault, "commit")?;
                self.land(number, offset)
            }
        }
    }
}

fn is_snapshot(cdc: &CdcSpec) -> bool {
    matches!(cdc.feed, Feed::Snapshot { .. })
}

/// Compares the `id` columns, which is what the tests' snapshots differ in.
fn same_content(left: &[RecordBatch], right: &[RecordBatch]) -> bool {
    let ids = |batches: &[RecordBatch]| {
        let table = ModelTable { batches: batches.to_vec(), ..ModelTable::default() };
        match batches.first().is_some_and(|batch| batch.column_by_name("id").is_some()) {
            true => Some(table.longs("id")),
            false => None,
        }
    };
    match (ids(left), ids(right)) {
        (Some(left), Some(right)) => left == right,
        _ => left.is_empty() && right.is_empty(),
    }
}

#[async_trait]
impl TableWriter for ModelWriter {
    fn flow_state(&self) -> Option<&FlowState> {
        self.state.as_ref()
    }

    fn next_micro_batch(&self) -> u64 {
        self.held + 1
    }

    fn changes(&self) -> &[SchemaChange] {
        &self.changes
    }

    async fn write(&mut self, batch: RecordBatch) -> Result<(), LakeError> {
        lake_error(self.faults.step("write").await, "write")?;
        if !self.write_takes.is_zero() {
            tokio::time::sleep(self.write_takes).await;
        }
        let mut seen = self.seen.lock().unwrap();
        seen.largest_batch_bytes = seen.largest_batch_bytes.max(batch.get_array_memory_size());
        self.staged.push(batch);
        Ok(())
    }

    fn staged(&self) -> Staged {
        let rows = self.rows() as u64;
        Staged { rows, bytes: rows * 100 }
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
        lake_error(self.faults.step("discard").await, "discard")?;
        self.staged.clear();
        Ok(())
    }
}
