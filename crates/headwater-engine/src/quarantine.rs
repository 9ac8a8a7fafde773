//! Records that did not fit: kept beside the table, so that none is lost.

use std::sync::Arc;

use chrono::SecondsFormat;
use headwater_connect::{DataType, Page, StructField, StructType};
use headwater_decode::{BadRecord, DecodeOptions, Decoder};
use headwater_lake::{CommitOutcome, LakeError, TableName, TableWriter, WriteMode, WriterSpec};
use serde_json::json;

use crate::context::FlowContext;
use crate::plan::Part;
use crate::{FlowError, TablePlan};

/// What the quarantine's writer may hold, in bytes.
const WRITER_BYTES: usize = 4 * 1024 * 1024;

/// The name of the table that keeps what did not fit `table`.
pub(crate) fn quarantine_table(table: &TableName) -> TableName {
    TableName { table: format!("{}__quarantine", table.table), ..table.clone() }
}

/// The columns of a quarantine table.
fn schema() -> StructType {
    StructType::new([
        StructField::nullable("micro_batch", DataType::Long)
            .with_comment("number of the table's micro-batch that the record was read with"),
        StructField::nullable("record", DataType::Long)
            .with_comment("number of the record in the micro-batch, from 0"),
        StructField::nullable("column", DataType::String).with_comment("the column that it does not fit"),
        StructField::nullable("reason", DataType::String),
        StructField::nullable("raw", DataType::String).with_comment("the record as it came, as JSON"),
        StructField::nullable("at", DataType::Timestamp).with_comment("when it was read"),
    ])
}

/// Writes the bad records of one flow.
///
/// They are committed before the rows that they came with, under the number of that micro-batch; should the second
/// commit not happen, the next attempt replaces what stands under the number. Those of a snapshot replace those of
/// the snapshot before.
pub(crate) struct Quarantine {
    context: Arc<FlowContext>,
    spec: WriterSpec,
    writer: Option<Box<dyn TableWriter>>,
    /// What the next commit must do even without a record: take away what stands there.
    clears: bool,
    micro_batch: u64,
    pending: u64,
}

impl Quarantine {
    /// Gets ready for the table's micro-batch of that number.
    pub(crate) async fn open(
        context: &Arc<FlowContext>,
        plan: &TablePlan,
        part: Part,
        micro_batch: u64,
    ) -> Result<Self, FlowError> {
        let flow = plan.flow_of(part);
        let full_refresh = plan.refreshes(part);
        let table = quarantine_table(&context.destination);
        let failed = |source| FlowError::Lake { table: table.clone(), doing: "opening", source };
        let found = context.lake.table(&table).await.map_err(failed)?;
        let held = found.as_ref().and_then(|found| found.flows.get(flow)).map(|held| held.micro_batch);
        let replaces = full_refresh || plan.replaces();
        // The same number was left by an attempt whose rows were not committed.
        let clears = if replaces { found.is_some() } else { held == Some(micro_batch) };
        // A table that was removed by hand and made anew counts from the start, the quarantine beside it does not.
        let micro_batch = held.filter(|held| *held > micro_batch).map_or(micro_batch, |held| held + 1);
        let spec = WriterSpec {
            table,
            flow: flow.to_owned(),
            schema: schema(),
            mode: if plan.replaces() { WriteMode::Snapshot } else { WriteMode::Append },
            cluster_by: Vec::new(),
            full_refresh,
            memory_bytes: WRITER_BYTES,
            target_file_bytes: context.settings.target_file_bytes,
            type_widening: false,
        };
        Ok(Self { context: context.clone(), spec, writer: None, clears, micro_batch, pending: 0 })
    }

    /// Takes records of one page, the first of which has number `first_record` in the micro-batch.
    pub(crate) async fn add(&mut self, records: Vec<BadRecord>, first_record: u64) -> Result<(), FlowError> {
        let at = self.context.clock.now().to_rfc3339_opts(SecondsFormat::Micros, true);
        self.pending += records.len() as u64;
        let rows = records.into_iter().map(|bad| {
            json!({
                "micro_batch": self.micro_batch,
                "record": first_record + bad.record,
                "column": bad.column,
                "reason": bad.reason,
                "raw": bad.raw,
                "at": at,
            })
        });
        let page = Page::Values(rows.collect());
        let undecodable =
            |source| FlowError::Decode { table: self.spec.table.table.clone(), page: 0, source };
        let mut decoder = Decoder::new(&self.spec.schema, DecodeOptions::default()).map_err(undecodable)?;
        decoder.push(&page).map_err(undecodable)?;
        let batch = decoder.finish().map_err(undecodable)?;
        let writer = self.writer().await?;
        if let Some(batch) = batch {
            writer.write(batch).await.map_err(|source| self.failed("writing", source))?;
        }
        Ok(())
    }

    /// Commits what was taken since the last commit, and says how much that was.
    pub(crate) async fn commit(&mut self) -> Result<u64, FlowError> {
        if self.pending == 0 && !self.clears {
            return Ok(0);
        }
        let micro_batch = self.micro_batch;
        let numbered = self.spec.mode == WriteMode::Append;
        let writer = self.writer().await?;
        let outcome = if numbered {
            writer.commit_numbered(micro_batch, None).await
        } else {
            writer.commit(None).await
        };
        match outcome {
            Ok(CommitOutcome::Committed { .. } | CommitOutcome::Unchanged) => {}
            Err(source) => return Err(self.failed("committing", source)),
        }
        self.clears = false;
        Ok(std::mem::take(&mut self.pending))
    }

    /// Goes on to the table's micro-batch of that number.
    pub(crate) fn follow(&mut self, micro_batch: u64) {
        self.micro_batch = micro_batch.max(self.micro_batch + 1);
    }

    async fn writer(&mut self) -> Result<&mut Box<dyn TableWriter>, FlowError> {
        let writer = match self.writer.take() {
            Some(writer) => writer,
            None => self
                .context
                .lake
                .writer(self.spec.clone())
                .await
                .map_err(|source| self.failed("opening", source))?,
        };
        Ok(self.writer.insert(writer))
    }

    fn failed(&self, doing: &'static str, source: LakeError) -> FlowError {
        FlowError::Lake { table: self.spec.table.clone(), doing, source }
    }
}
