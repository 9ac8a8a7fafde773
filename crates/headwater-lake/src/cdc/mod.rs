//! Changes of rows with keys, applied to a table: AUTO CDC.
//!
//! A target is two Delta tables. Readers see the one; the other, in a folder inside it, holds rows that must be
//! remembered and not be seen: deletes that may still meet a late change, and earlier members of a run of a history.
//!
//! **Invariant:** a version of the target names the version of the hidden table that belongs to it. The hidden table is
//! written first; until the target's commit names the new version, nobody reads it, and the next writer replaces it.
//! So the commit of the target is the one instant at which rows, offset and hidden rows change.
//!
//! **Invariant:** what is read of a table is bounded by its key columns, and what is held in memory by the
//! micro-batch: the keys of the files that may hold one of the micro-batch are streamed past an index of its keys.
//!
//! Start reading at [`CdcWriter`]; `fit` makes the settings fit the columns, `commit` tells the log, `fileset` finds and marks rows, `scd1`, `scd2` and `snapshot` ask the rules of
//! `headwater-cdc` what becomes of them, `side` turns the outcome into actions of the log.

mod apply;
mod arrays;
mod bounds;
mod cache;
mod commit;
mod config;
mod fileset;
mod fit;
mod reader;
mod scd1;
mod scd2;
mod side;
mod snapshot;
mod spill;
mod vectors;
mod writer;

pub(crate) use bounds::has_bounds;
pub(crate) use config::{CDC_DOMAIN, CdcRecord};
pub(crate) use reader::{Columns, DataReader};
pub(crate) use vectors::read as read_vectors;
pub(crate) use writer::CdcWriter;
