//! What all ways to apply changes need: the settings, the two tables, and how to find one's way in them.

use std::sync::Arc;

use arrow_array::types::TimestampMicrosecondType;
use arrow_array::{Array, ArrayRef, PrimitiveArray, RecordBatch};
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use arrow_schema::DataType;
use headwater_cdc::RowCodec;
use headwater_connect::BoxError;

use crate::LakeError;
use crate::cdc::arrays::{at_path, columns};
use crate::cdc::config::Config;
use crate::cdc::fileset::RowId;
use crate::cdc::side::Side;
use crate::kernel::damaged;

/// What a commit did to the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Counts {
    pub(crate) inserted: u64,
    pub(crate) updated: u64,
    pub(crate) deleted: u64,
}

/// A micro-batch on its way into the two tables.
pub(crate) struct Apply<'a> {
    pub(crate) config: &'a Config,
    pub(crate) target: &'a mut Side,
    pub(crate) hidden: &'a mut Side,
    /// Places of the columns that the source has.
    pub(crate) given: &'a [usize],
    pub(crate) counts: &'a mut Counts,
    /// Microseconds since 1970.
    pub(crate) now: i64,
    /// Deletes that were remembered before this instant are forgotten.
    pub(crate) forget_before: Option<i64>,
    /// What the comparison with a snapshot may take of memory.
    pub(crate) comparison_bytes: usize,
}

impl Apply<'_> {
    pub(crate) fn wrong(&self, error: impl Into<BoxError>) -> LakeError {
        damaged(&self.target.set.table.name, error)
    }

    pub(crate) fn types(&self, places: &[usize]) -> Vec<DataType> {
        places.iter().map(|&at| self.target.layout.arrow.field(at).data_type().clone()).collect()
    }

    /// The place of the column that holds the sequence.
    pub(crate) fn sequence_root(&self) -> usize {
        self.config.sequence.as_ref().and_then(|path| path.first().copied()).unwrap_or(0)
    }

    /// The sequence inside the column that holds it.
    pub(crate) fn below_root(&self, root: &ArrayRef) -> Result<ArrayRef, LakeError> {
        let below = self.config.sequence.as_ref().and_then(|path| path.get(1..)).unwrap_or_default();
        at_path(root, below).map_err(|e| self.wrong(e))
    }

    pub(crate) fn sequence_of(&self, batch: &RecordBatch) -> Result<ArrayRef, LakeError> {
        self.below_root(batch.column(self.sequence_root()))
    }

    pub(crate) fn sequence_type(&self) -> Result<DataType, LakeError> {
        let empty = RecordBatch::new_empty(Arc::clone(&self.target.layout.arrow));
        Ok(self.sequence_of(&empty)?.data_type().clone())
    }

    pub(crate) fn sequence_codec(&self) -> Result<RowCodec, LakeError> {
        RowCodec::new(&[self.sequence_type()?]).map_err(|e| self.wrong(e))
    }

    pub(crate) fn is_expired(&self, remembered: Option<i64>) -> bool {
        self.forget_before.zip(remembered).is_some_and(|(limit, at)| at < limit)
    }

    /// Adds rows, in the columns of the target, to the hidden ones.
    pub(crate) async fn hide(&mut self, rows: &RecordBatch) -> Result<(), LakeError> {
        let mut columns = rows.columns().to_vec();
        let times = PrimitiveArray::<TimestampMicrosecondType>::from_value(self.now, rows.num_rows());
        columns.push(Arc::new(times.with_timezone("UTC")));
        let hidden = RecordBatch::try_new(Arc::clone(&self.hidden.layout.arrow), columns);
        let hidden = hidden.map_err(|e| self.wrong(e))?;
        self.hidden.files.write(hidden).await
    }

    /// The error for a key of which the table has a second row.
    pub(crate) async fn duplicate(&self, row: RowId) -> LakeError {
        let key = match self.target.set.fetch_columns(&[row], &self.config.keys).await {
            Ok(batch) => shown(&batch, 0),
            Err(error) => return error,
        };
        LakeError::DuplicateKey { table: self.target.set.table.name.clone(), holder: "", key }
    }

    /// The key of a row, for a message.
    pub(crate) fn shown_key(&self, batch: &RecordBatch, row: usize) -> String {
        let names: Vec<_> =
            self.config.keys.iter().map(|&at| self.target.layout.arrow.field(at).clone()).collect();
        let schema = Arc::new(arrow_schema::Schema::new(names));
        RecordBatch::try_new(schema, columns(batch, &self.config.keys))
            .map_or_else(|_| String::new(), |keys| shown(&keys, row))
    }
}

/// A row as `(name = value, …)`, cut short.
fn shown(batch: &RecordBatch, row: usize) -> String {
    const MOST: usize = 200;
    let options = FormatOptions::default().with_null("null");
    let schema = batch.schema();
    let each = schema.fields().iter().zip(batch.columns()).map(|(field, column)| {
        let value = ArrayFormatter::try_new(column, &options).map(|f| f.value(row).to_string());
        format!("{} = {}", field.name(), value.unwrap_or_default())
    });
    let text: String = each.collect::<Vec<_>>().join(", ").chars().take(MOST).collect();
    format!("({text})")
}
