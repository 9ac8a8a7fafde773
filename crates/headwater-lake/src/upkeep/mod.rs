//! Upkeep of a table: merging small files, removing files and log files that nothing needs any more.
//!
//! **Invariant:** upkeep never changes what a reader sees: not the rows, not the offsets, not the newest version's
//! columns. What it removes, no version younger than the retention needs.

mod compact;
mod interval;
mod kernel;
mod log;
mod merge;
mod optimize;
mod plan;
mod source;
mod vacuum;

pub(crate) use kernel::vector_file;
pub(crate) use optimize::{is_worn, optimize, tend};
pub(crate) use plan::TIER_FILES;
pub(crate) use vacuum::vacuum;
