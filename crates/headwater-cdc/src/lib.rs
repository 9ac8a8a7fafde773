//! The rules of AUTO CDC as pure functions on Arrow data.
//!
//! Change events arrive late, twice, out of order and in any batching; the table must look as if they had come once and in order.
//! This crate decides what becomes of the rows: which row of a micro-batch counts ([`scd1`]), how the timeline of a key changes
//! ([`scd2`]), what a snapshot changed ([`snapshot`]). The caller reads and writes: it finds the stored rows of the keys at hand
//! ([`KeyIndex`]), hands over their sequences, and is told which rows go and which come.
//!
//! A stored row belongs either to the table that readers see or to the hidden state of it. Hidden are *tombstones*, the memory of
//! deletes that ended no row, and, for SCD type 2, *run members*: upserts that a later one with equal tracked values continued.
//!
//! **Invariants:** no I/O, no clock, no async, and no knowledge of Delta or Parquet. Results do not depend on the order or the
//! batching of events, as long as the events of a key with one sequence are the same event; where they are not, `scd1` and `scd2`
//! say who wins. No input makes it panic, as long as encoded [`Rows`](arrow_row::Rows) that are compared come from codecs of the same types.
//!
//! Values are compared by [`RowCodec`]'s bytes: numbers by value (NaN is greatest and equals itself, -0.0 equals 0.0), text by
//! UTF-8 bytes, binary unsigned, false before true, arrays lexicographic with a prefix first, structs field by field, null first.
//!
//! Start reading at `codec.rs`, then `scd2.rs`.

mod codec;
mod column;
mod error;
mod hash;
mod key_bounds;
mod key_columns;
mod key_index;
mod key_table;
mod print;
pub mod scd1;
pub mod scd2;
pub mod snapshot;

pub use codec::RowCodec;
pub use column::{NotOrderable, check_sequence_type, column_at};
pub use error::CdcError;
pub use key_index::KeyIndex;
pub use print::Printer;
