//! What a writer asks for, fitted to a version of its table.

use std::sync::Arc;

use arrow_array::{Array, RecordBatch, new_null_array};
use arrow_schema::{ArrowError, Schema, SchemaRef};
use headwater_connect::{DataType, StructField, StructType};

use crate::adapt::{Adapter, convert};
use crate::cdc::config::{Config, check_drift, drift_behind, extended};
use crate::cdc::side::hidden_schema;
use crate::encode::Layout;
use crate::kernel::damaged;
use crate::plan::{Plan, plan};
use crate::schema::{find, physical_name};
use crate::table::{Table, View};
use crate::{CdcSpec, Feed, LakeError, WriterSpec};

/// What a writer asks for.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    /// The spec, with the columns that a history has of its own.
    pub(crate) spec: WriterSpec,
    pub(crate) cdc: CdcSpec,
    /// The columns that the rows come with.
    pub(crate) source: StructType,
}

impl Asked {
    /// # Errors
    /// [`LakeError::BadCdc`]: the columns are not enough for what is asked.
    pub(crate) fn new(table: &Table, spec: WriterSpec, cdc: CdcSpec) -> Result<Self, LakeError> {
        let source = spec.schema.clone();
        let spec = WriterSpec { schema: extended(&table.name, &cdc, &source)?, ..spec };
        Ok(Self { spec, cdc, source })
    }
}

/// How rows get into a version of a table.
#[derive(Debug)]
pub(crate) struct Fit {
    pub(crate) plan: Plan,
    pub(crate) config: Config,
    pub(crate) layout: Arc<Layout>,
    pub(crate) adapter: Adapter,
    /// The version of a snapshot, in microseconds since 1970.
    pub(crate) snapshot_version: i64,
}

impl Fit {
    /// Fits what is asked to a version of the table, or to none. `replace` is for a full refresh: nothing of the old
    /// columns and settings counts.
    ///
    /// # Errors
    /// The columns cannot be reached, the settings do not fit them or are not those that the table was made with, or the
    /// table uses something that we must not write to.
    pub(crate) async fn to(
        table: &Table,
        view: Option<&View>,
        asked: &Asked,
        replace: bool,
    ) -> Result<Self, LakeError> {
        let Asked { spec, cdc, source } = asked;
        let plan = plan(table, view, spec, replace)
            .map_err(|error| drift_behind(error, table, view, spec, source))?;
        let config = Config::new(&table.name, cdc, source, &plan.schema)?;
        if let Some(view) = view.filter(|_| !replace) {
            check_drift(table, view, &config, cdc).await?;
        }
        let layout = Arc::new(plan.layout_by(table, &cdc.keys)?);
        let target: SchemaRef = match cdc.feed {
            // Of rows that are gone only keys and sequence need to be there.
            Feed::Deletes => {
                let fields = layout.arrow.fields().iter().map(|f| f.as_ref().clone().with_nullable(true));
                Arc::new(Schema::new(fields.collect::<Vec<_>>()))
            }
            Feed::Upserts | Feed::Snapshot { .. } => Arc::clone(&layout.arrow),
        };
        let adapter = Adapter::new(table.name.clone(), source.clone(), layout.logical.clone(), target);
        Ok(Self { plan, config, layout, adapter, snapshot_version: snapshot_version(cdc, view) })
    }

    /// The layout of the hidden rows.
    pub(crate) fn hidden_layout(&self, table: &Table, cdc: &CdcSpec) -> Result<Arc<Layout>, LakeError> {
        let schema = hidden_schema(&self.plan.schema);
        let layout = Layout::new(&schema, &cdc.keys, self.plan.stats_limit);
        layout.map(Arc::new).map_err(|e| damaged(&table.name, e))
    }

    /// Places of the columns that the source has.
    pub(crate) fn given(&self, source: &StructType) -> Vec<usize> {
        let fields = self.plan.schema.fields.iter().enumerate();
        fields.filter(|(_, f)| find(source, &f.name).is_some()).map(|(at, _)| at).collect()
    }

    /// Puts rows that were adapted for another version of the table into the columns of this one: names of the files
    /// may differ, types may be wider, and columns that are new are null.
    ///
    /// # Errors
    /// A value does not fit its column any more.
    pub(crate) fn carry(&self, rows: &RecordBatch, from: &Self) -> Result<RecordBatch, ArrowError> {
        let target = self.adapter.target();
        let written = as_written(&self.layout.logical, &from.layout.logical);
        let columns = written.fields.iter().zip(target.fields()).map(|(field, target)| {
            match rows.column_by_name(&field.name) {
                Some(column) => convert(column, &field.data_type, target.data_type()),
                None => Ok(new_null_array(target.data_type(), rows.num_rows())),
            }
        });
        RecordBatch::try_new(Arc::clone(target), columns.collect::<Result<_, _>>()?)
    }

    /// Every row needs a key and, where changes have an order, a sequence.
    pub(crate) fn check_rows(
        &self,
        rows: &RecordBatch,
        table: &Table,
        cdc: &CdcSpec,
    ) -> Result<(), LakeError> {
        let missing = |column: String, role, rows: usize| {
            let rows = u64::try_from(rows).unwrap_or(u64::MAX);
            Err(LakeError::NullKey { table: table.name.clone(), column, role, rows })
        };
        for &key in &self.config.keys {
            let nulls = rows.column(key).logical_null_count();
            if nulls > 0 {
                let name = self.plan.schema.fields[key].name.clone();
                return missing(name, "which is part of the key", nulls);
            }
        }
        if let Some(path) = &self.config.sequence
            && let Some((root, below)) = path.split_first()
        {
            let sequence = crate::cdc::arrays::at_path(rows.column(*root), below)
                .map_err(|e| damaged(&table.name, e))?;
            let nulls = sequence.logical_null_count();
            if nulls > 0 {
                return missing(Config::sequence_name(cdc), "which orders the changes", nulls);
            }
        }
        Ok(())
    }
}

/// The version of a snapshot: when it was taken, or just after the one before.
fn snapshot_version(cdc: &CdcSpec, view: Option<&View>) -> i64 {
    let Feed::Snapshot { version } = cdc.feed else { return 0 };
    let before = view.and_then(|v| v.cdc.as_ref()).and_then(|record| record.snapshot);
    version.timestamp_micros().max(before.map_or(i64::MIN, |before| before.saturating_add(1)))
}

/// The columns `now`, under the names that rows were given when the columns were `then`.
fn as_written(now: &StructType, then: &StructType) -> StructType {
    let fields = now.fields.iter().map(|field| match find(then, &field.name) {
        None => StructField { name: physical_name(field).to_owned(), ..field.clone() },
        Some(old) => StructField {
            name: physical_name(old).to_owned(),
            data_type: type_as_written(&field.data_type, &old.data_type),
            ..field.clone()
        },
    });
    StructType { fields: fields.collect() }
}

fn type_as_written(now: &DataType, then: &DataType) -> DataType {
    match (now, then) {
        (DataType::Struct(now), DataType::Struct(then)) => DataType::Struct(as_written(now, then)),
        (DataType::Array { element, contains_null }, DataType::Array { element: then, .. }) => {
            DataType::Array {
                element: Box::new(type_as_written(element, then)),
                contains_null: *contains_null,
            }
        }
        (
            DataType::Map { key, value, value_contains_null },
            DataType::Map { key: then_key, value: then_value, .. },
        ) => DataType::Map {
            key: Box::new(type_as_written(key, then_key)),
            value: Box::new(type_as_written(value, then_value)),
            value_contains_null: *value_contains_null,
        },
        (now, _) => now.clone(),
    }
}
