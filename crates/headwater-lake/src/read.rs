//! Reading rows back.

use std::sync::Arc;

use arrow_array::RecordBatch;
use futures::StreamExt;
use futures::channel::mpsc;
use headwater_connect::StructType;

use crate::adapt::conform;
use crate::kernel::{self, damaged};
use crate::schema::find;
use crate::store::runtime;
use crate::table::{Table, View};
use crate::{LakeError, ReadSpec, RowStream};

/// Batches that wait for the reader at most.
const BATCHES_AHEAD: usize = 2;

/// Streams the rows of a version, in the columns that the spec names.
pub(crate) fn rows(table: &Table, view: &View, spec: &ReadSpec) -> Result<RowStream, LakeError> {
    let schema = match &spec.columns {
        None => view.schema.clone(),
        Some(names) => {
            let fields = names.iter().map(|name| {
                find(&view.schema, name)
                    .cloned()
                    .ok_or_else(|| LakeError::NoColumn { table: table.name.clone(), column: name.clone() })
            });
            StructType { fields: fields.collect::<Result<_, _>>()? }
        }
    };
    let mut left = spec.limit.unwrap_or(u64::MAX);
    let holding = spec.holding.clone();
    let (mut sender, receiver) = mpsc::channel::<Result<RecordBatch, LakeError>>(BATCHES_AHEAD);
    let (table, snapshot) = (table.clone(), Arc::clone(&view.snapshot));
    // The reader's end tells this thread to stop: a send to a dropped receiver fails.
    runtime()?.spawn_blocking(move || {
        let names: Vec<String> = schema.fields.iter().map(|f| f.name.clone()).collect();
        let mut send = |item| futures::executor::block_on(futures::SinkExt::send(&mut sender, item)).is_ok();
        if left == 0 {
            return;
        }
        let wanted = kernel::Wanted { columns: &names, holding: &holding };
        let read = kernel::scan_rows(&table.core.engine, &table.name, &snapshot, wanted, |batch| {
            let rows = u64::try_from(batch.num_rows()).unwrap_or(u64::MAX).min(left);
            if rows == 0 {
                return true;
            }
            left -= rows;
            let batch = batch.slice(0, usize::try_from(rows).unwrap_or(usize::MAX));
            let batch = conform(&batch, &schema).map_err(|e| damaged(&table.name, e));
            let failed = batch.is_err();
            send(batch) && !failed && left > 0
        });
        if let Err(error) = read {
            // Nobody may be listening any more.
            send(Err(error));
        }
    });
    Ok(receiver.boxed())
}
