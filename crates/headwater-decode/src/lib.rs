//! JSON pages to Arrow record batches, by schema.

mod decoder;
mod error;
mod options;

pub use decoder::Decoder;
pub use error::DecodeError;
pub use options::{BadRecord, DecodeOptions, OnBadRecord, PageReport, Profile};
