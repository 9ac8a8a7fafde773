//! JSON pages to Arrow record batches, by schema.
//!
//! A [`Decoder`] is made for the schema of a table, takes [`Page`](headwater_connect::Page)s as a source handed them over, and gives
//! record batches. It knows the type of a column before it touches a value, so that each value is read once, as what it is to be;
//! what each type accepts is the same for connectors of every language.
//!
//! **Invariants:** it does no I/O. No input, however damaged or hostile, makes it panic, overflow its stack, or put a value into a
//! column that the source did not send: a value that does not fit is an error of its record, and a page that is not JSON is an
//! error as a whole, of which no row stays.
//!
//! # How strict
//!
//! All of a page must be UTF-8. Records, and everything around them, must be JSON as RFC 8259 has it: commas, colons, escapes, numbers
//! without leading zeros, no control characters in strings, nothing behind the document. A surrogate that stands alone is an error
//! where its text is wanted. Nesting is followed to 128 levels.
//!
//! Two things are looked at less closely, for speed. Fields that nobody selected are passed over in one run once the layout
//! of the records is known; in such a run strings (their ends, control characters) and brackets (each closed by its own kind) are
//! checked, which is what decides where a record ends, but not numbers, literals, escapes, colons and inner commas. And of two
//! equal keys in one object the later wins (the earlier must fit as well), except that a selected key that comes once more inside such a run is not seen.
//!
//! In the profile [`Profile::Python`] the names `NaN`, `Infinity` and `-Infinity`, which Python writes, are numbers too.
//!
//! Back from the columns, [`variants_to_json`] gives the JSON text of variants, for output.
//!
//! Start reading at `decoder.rs`, then `parser.rs` (values and objects) and `object.rs` (how layouts are learned).

mod arrow_page;
mod bytes;
mod coerce;
mod column;
mod decoder;
mod error;
mod number;
mod object;
mod options;
mod page;
mod parser;
mod render;
mod text;
mod time;
mod variant;
mod variant_text;

pub use decoder::Decoder;
pub use error::DecodeError;
pub use headwater_connect::Profile;
pub use options::{BadRecord, DecodeOptions, OnBadRecord, PageReport};
pub use variant_text::{VariantTextError, variant_to_json, variants_to_json};
