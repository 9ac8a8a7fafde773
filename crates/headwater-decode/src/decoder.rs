use arrow_array::RecordBatch;
use arrow_schema::{ArrowError, SchemaRef};
use headwater_connect::{Page, StructType};
use serde_json::Value;

use crate::{DecodeError, DecodeOptions, PageReport};

/// Turns pages into record batches of one schema.
#[derive(Debug)]
pub struct Decoder {
    schema: SchemaRef,
    options: DecodeOptions,
    decoder: arrow_json::reader::Decoder,
    rows: usize,
}

fn batch(source: ArrowError) -> DecodeError {
    DecodeError::Batch { source }
}

fn malformed(error: &serde_json::Error) -> DecodeError {
    DecodeError::Malformed { offset: error.column(), record: None, reason: error.to_string() }
}

impl Decoder {
    /// Makes a decoder for `schema`, which holds the selected columns only.
    ///
    /// # Errors
    /// A schema that breaks its own rules.
    pub fn new(schema: &StructType, options: DecodeOptions) -> Result<Self, DecodeError> {
        schema.check().map_err(|source| DecodeError::Schema { source })?;
        let arrow = schema.to_arrow();
        let decoder = arrow_json::ReaderBuilder::new(arrow.clone())
            .with_batch_size(1 << 30)
            .build_decoder()
            .map_err(batch)?;
        Ok(Self { schema: arrow, options, decoder, rows: 0 })
    }

    /// The schema of the batches: `StructType::to_arrow` of the schema given.
    pub fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    /// Decodes one page into the columns.
    ///
    /// # Errors
    /// A page that is malformed, or a record that does not fit. Nothing of that page stays, and the decoder
    /// can go on.
    pub fn push(&mut self, page: &Page) -> Result<PageReport, DecodeError> {
        let values = match page {
            Page::Json { body, records } => {
                let document: Value = serde_json::from_slice(body).map_err(|e| malformed(&e))?;
                match document.pointer(&records.to_string()) {
                    Some(Value::Array(values)) => values.clone(),
                    Some(Value::Null) => Vec::new(),
                    Some(one) => vec![one.clone()],
                    None => {
                        return Err(DecodeError::NoRecords {
                            pointer: records.to_string(),
                            reason: "the member is missing".into(),
                        });
                    }
                }
            }
            Page::JsonLines(lines) => serde_json::Deserializer::from_slice(lines)
                .into_iter::<Value>()
                .collect::<Result<Vec<_>, _>>()
                .map_err(|e| malformed(&e))?,
            Page::Values(values) => values.clone(),
            Page::Arrow(_) => Vec::new(),
        };
        self.decoder.serialize(&values).map_err(batch)?;
        self.rows += values.len();
        Ok(PageReport { records: values.len() as u64, ..PageReport::default() })
    }

    /// Takes a batch once at least `batch_rows` rows are there.
    ///
    /// # Errors
    /// A defect of the decoder.
    pub fn take_full(&mut self) -> Result<Option<RecordBatch>, DecodeError> {
        if self.rows >= self.options.batch_rows { self.finish() } else { Ok(None) }
    }

    /// Takes what is left.
    ///
    /// # Errors
    /// A defect of the decoder.
    pub fn finish(&mut self) -> Result<Option<RecordBatch>, DecodeError> {
        self.rows = 0;
        self.decoder.flush().map_err(batch)
    }

    /// Rows decoded and not yet taken.
    pub fn buffered_rows(&self) -> usize {
        self.rows
    }

    /// Roughly how much memory they take.
    pub fn buffered_bytes(&self) -> usize {
        self.rows * 256
    }
}
