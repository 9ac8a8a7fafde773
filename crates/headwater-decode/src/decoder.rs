use std::collections::VecDeque;
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow_schema::{ArrowError, SchemaRef};
use arrow_select::concat::concat_batches;
use headwater_connect::json_scan::{ScanError, skip_space};
use headwater_connect::{DataType, JsonPointer, Page, SchemaError, StructType};

use crate::arrow_page;
use crate::column::Column;
use crate::object::Object;
use crate::page::{Unreached, Way, next};
use crate::parser::{Parser, Problem, Unfit};
use crate::{BadRecord, DecodeError, DecodeOptions, OnBadRecord, PageReport};

/// A batch is closed early when its records took so many bytes of JSON: no column can then come near the 2 GiB that an
/// Arrow array holds.
const BATCH_JSON_BYTES: usize = 256 << 20;
/// Levels of nesting in a schema.
const MAX_SCHEMA_DEPTH: usize = 64;

/// Turns pages into record batches of one schema.
///
/// Pages are pushed in, batches are taken out. Between two pages the decoder holds the rows that are not yet taken,
/// and what it has learned of the layout of the records.
#[derive(Debug)]
pub struct Decoder {
    schema: SchemaRef,
    options: DecodeOptions,
    root: Object,
    /// Closed batches, before the rows of `root`.
    ready: VecDeque<RecordBatch>,
}

/// The state of one page while it is read.
struct PageState<'a> {
    parser: Parser<'a>,
    report: PageReport,
    /// Where the JSON of the batch under construction starts.
    batch_start: usize,
}

impl Decoder {
    /// Makes a decoder for `schema`, which holds the selected columns only.
    ///
    /// # Errors
    /// A schema without fields, with two fields of one name, with an impossible decimal, or nested too deep.
    pub fn new(schema: &StructType, options: DecodeOptions) -> Result<Self, DecodeError> {
        check_fields(schema, 0).map_err(|source| DecodeError::Schema { source })?;
        let root = Object::new(&schema.fields);
        Ok(Self { schema: schema.to_arrow(), options, root, ready: VecDeque::new() })
    }

    /// The schema of the batches: `StructType::to_arrow` of the schema given.
    pub fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    /// Decodes one page. Its rows follow those of the pages before.
    ///
    /// # Errors
    /// A page that is malformed or holds no records where it should, or a record that does not fit (depending on
    /// [`OnBadRecord`]). No row of that page stays, and the decoder can go on with another.
    pub fn push(&mut self, page: &Page) -> Result<PageReport, DecodeError> {
        let rows = self.buffered_rows();
        let pushed = match page {
            Page::Json { body, records } => self.push_json(body, records),
            Page::JsonLines(lines) => self.push_lines(lines),
            Page::Values(values) => match serde_json::to_vec(values) {
                Ok(body) => self.push_json(&body, &JsonPointer::root()),
                Err(source) => {
                    Err(DecodeError::Malformed { offset: 0, record: None, reason: source.to_string() })
                }
            },
            Page::Arrow(batch) => self.push_arrow(batch),
        };
        if pushed.is_err() {
            self.roll_back(rows);
        }
        pushed
    }

    /// Takes a batch once at least `batch_rows` rows are there. Call it until it gives none.
    ///
    /// # Errors
    /// Columns that do not make a batch, which is a defect of the decoder.
    pub fn take_full(&mut self) -> Result<Option<RecordBatch>, DecodeError> {
        if self.buffered_rows() < self.options.batch_rows.max(1) {
            return Ok(None);
        }
        let mut rows = 0;
        let mut batches = Vec::new();
        while rows < self.options.batch_rows.max(1) {
            if self.ready.is_empty() {
                self.close_batch()?;
            }
            let Some(batch) = self.ready.pop_front() else { break };
            rows += batch.num_rows();
            batches.push(batch);
        }
        self.join(batches)
    }

    /// Takes all that is left.
    ///
    /// # Errors
    /// As [`Decoder::take_full`].
    pub fn finish(&mut self) -> Result<Option<RecordBatch>, DecodeError> {
        self.close_batch()?;
        let batches = Vec::from(std::mem::take(&mut self.ready));
        self.join(batches)
    }

    /// Rows decoded and not yet taken.
    pub fn buffered_rows(&self) -> usize {
        self.ready.iter().map(RecordBatch::num_rows).sum::<usize>() + self.root.rows
    }

    /// Roughly how much memory they take.
    pub fn buffered_bytes(&self) -> usize {
        let ready = self.ready.iter().map(RecordBatch::get_array_memory_size).sum::<usize>();
        ready + self.root.fields.iter().map(Column::size_bytes).sum::<usize>()
    }

    fn join(&self, mut batches: Vec<RecordBatch>) -> Result<Option<RecordBatch>, DecodeError> {
        if batches.len() < 2 {
            return Ok(batches.pop());
        }
        concat_batches(&self.schema, &batches).map(Some).map_err(|source| DecodeError::Batch { source })
    }

    /// Closes the batch under construction, if it has rows.
    fn close_batch(&mut self) -> Result<(), DecodeError> {
        let rows = std::mem::take(&mut self.root.rows);
        if rows == 0 {
            return Ok(());
        }
        let columns: Result<Vec<ArrayRef>, ArrowError> =
            self.root.fields.iter_mut().map(Column::finish).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let batch = columns
            .and_then(|columns| {
                RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)
            })
            .map_err(|source| DecodeError::Batch { source })?;
        self.ready.push_back(batch);
        Ok(())
    }

    /// Goes back to `rows` buffered rows.
    fn roll_back(&mut self, rows: usize) {
        let mut ready: usize = self.ready.iter().map(RecordBatch::num_rows).sum();
        self.root.truncate(rows.saturating_sub(ready));
        while ready > rows {
            let Some(batch) = self.ready.pop_back() else { return };
            ready -= batch.num_rows();
            if rows > ready {
                self.ready.push_back(batch.slice(0, rows - ready));
                return;
            }
        }
    }

    fn push_arrow(&mut self, batch: &RecordBatch) -> Result<PageReport, DecodeError> {
        let batch = arrow_page::project(batch, &self.schema)?;
        let records = batch.num_rows() as u64;
        self.close_batch()?;
        if records > 0 {
            self.ready.push_back(batch);
        }
        Ok(PageReport { records, ..PageReport::default() })
    }

    fn page_state<'a>(&self, body: &'a [u8]) -> Result<PageState<'a>, DecodeError> {
        if simdutf8::basic::from_utf8(body).is_err() {
            let place = simdutf8::compat::from_utf8(body).map_or_else(|error| error.valid_up_to(), str::len);
            return Err(DecodeError::Malformed { offset: place, record: None, reason: "not UTF-8".into() });
        }
        let parser = Parser {
            body,
            profile: self.options.profile,
            null_unfit: self.options.on_bad_record == OnBadRecord::Null,
            nulled: 0,
        };
        Ok(PageState { parser, report: PageReport::default(), batch_start: 0 })
    }

    fn push_json(&mut self, body: &[u8], pointer: &JsonPointer) -> Result<PageReport, DecodeError> {
        let mut state = self.page_state(body)?;
        let no_records = |reason: String| DecodeError::NoRecords { pointer: pointer.to_string(), reason };
        let way = Way::find(&state.parser, pointer).map_err(|error| match error {
            Unreached::Malformed(error) => malformed(error, None),
            Unreached::Missing(reason) => no_records(reason),
        })?;
        state.batch_start = way.at;
        let end = match body.get(way.at) {
            Some(b'[') => self.array(&mut state, way.at)?,
            Some(b'{') => self.record(&mut state, way.at)?,
            _ => {
                let end = state.parser.value_end(way.at).map_err(|error| malformed(error, None))?;
                let found = body.get(way.at..end).unwrap_or_default();
                if found != b"null" {
                    return Err(no_records(format!(
                        "a list or an object was expected, found {}",
                        shown(found)
                    )));
                }
                end
            }
        };
        way.finish(&state.parser, end).map_err(|error| malformed(error, None))?;
        state.report.nulled = state.parser.nulled;
        Ok(state.report)
    }

    fn array(&mut self, state: &mut PageState<'_>, at: usize) -> Result<usize, DecodeError> {
        let body = state.parser.body;
        let mut at = skip_space(body, at + 1);
        if body.get(at) == Some(&b']') {
            return Ok(at + 1);
        }
        loop {
            let end = self.record(state, at)?;
            // The usual case first: `},{` without white space.
            if body.get(end) == Some(&b',') && body.get(end + 1) == Some(&b'{') {
                at = end + 1;
                continue;
            }
            match next(body, end, b']').map_err(|error| malformed(error, Some(state.report.records)))? {
                Some(place) => at = place,
                None => return Ok(skip_space(body, end) + 1),
            }
        }
    }

    fn push_lines(&mut self, body: &[u8]) -> Result<PageReport, DecodeError> {
        let mut state = self.page_state(body)?;
        let mut at = skip_space(body, 0);
        while at < body.len() {
            let end = self.record(&mut state, at)?;
            let mut rest = end;
            while let Some(b' ' | b'\t' | b'\r') = body.get(rest) {
                rest += 1;
            }
            if !matches!(body.get(rest), Some(b'\n') | None) {
                let error = ScanError::new(rest, "a line break was expected behind the record");
                return Err(malformed(error, Some(state.report.records)));
            }
            at = skip_space(body, rest);
        }
        state.report.nulled = state.parser.nulled;
        Ok(state.report)
    }

    /// Reads the record at `at`; gives the place behind it.
    #[inline]
    fn record(&mut self, state: &mut PageState<'_>, at: usize) -> Result<usize, DecodeError> {
        let nulled = state.parser.nulled;
        let end = if state.parser.body.get(at) == Some(&b'{') {
            match state.parser.object(&mut self.root, at) {
                Ok(end) => end,
                Err(problem) => {
                    state.parser.nulled = nulled;
                    self.bad_record(state, at, *problem)?
                }
            }
        } else {
            self.no_object(state, at)?
        };
        state.report.records += 1;
        if self.root.rows >= self.options.batch_rows.max(1) || end - state.batch_start > BATCH_JSON_BYTES {
            self.close_batch()?;
            state.batch_start = end;
        }
        Ok(end)
    }

    #[cold]
    fn no_object(&mut self, state: &mut PageState<'_>, at: usize) -> Result<usize, DecodeError> {
        let reason = "a record must be an object".to_owned();
        self.bad_record(state, at, Problem::Unfit(Unfit { path: Vec::new(), at, missing: false, reason }))
    }

    /// Decides what becomes of a record that was not read: an error, or the place behind it.
    #[cold]
    fn bad_record(
        &mut self,
        state: &mut PageState<'_>,
        at: usize,
        problem: Problem,
    ) -> Result<usize, DecodeError> {
        self.root.truncate(self.root.rows);
        let record = state.report.records;
        let unfit = match problem {
            Problem::Malformed(error) => return Err(malformed(error, Some(record))),
            Problem::Full { path } => return Err(DecodeError::TooLarge { column: joined(&path) }),
            Problem::Unfit(unfit) => unfit,
        };
        // A record that is malformed further on is that first of all: where it ends cannot be known.
        let end = state.parser.value_end(at).map_err(|error| malformed(error, Some(record)))?;
        let slice = |from, to| state.parser.body.get(from..to).unwrap_or_default();
        let column = joined(&unfit.path);
        if self.options.on_bad_record == OnBadRecord::Quarantine {
            state.report.bad.push(BadRecord {
                record,
                column: Some(column).filter(|path| !path.is_empty()),
                reason: unfit.reason,
                raw: String::from_utf8_lossy(slice(at, end)).into_owned(),
            });
            return Ok(end);
        }
        let value = if unfit.missing {
            String::new()
        } else {
            shown(slice(unfit.at, state.parser.value_end(unfit.at).unwrap_or(end)))
        };
        Err(DecodeError::Unfit { record, offset: unfit.at, column, value, reason: unfit.reason })
    }
}

/// Names from the column outwards, as a path.
fn joined(path: &[Box<str>]) -> String {
    path.iter().rev().map(AsRef::as_ref).collect::<Vec<_>>().join(".")
}

#[cold]
fn malformed(error: ScanError, record: Option<u64>) -> DecodeError {
    DecodeError::Malformed { offset: error.at, record, reason: error.reason.into() }
}

/// A value as it stands, cut short.
fn shown(raw: &[u8]) -> String {
    let text = String::from_utf8_lossy(raw.get(..400).unwrap_or(raw));
    let mut short: String = text.chars().take(80).collect();
    if short.len() < raw.len() {
        short.push('…');
    }
    short
}

/// Names that differ in case only are two columns here; it is for the table to refuse them.
fn check_fields(schema: &StructType, depth: usize) -> Result<(), SchemaError> {
    if schema.fields.is_empty() {
        return Err(SchemaError::Empty);
    }
    let mut seen = std::collections::HashSet::new();
    for field in &schema.fields {
        if !seen.insert(field.name.as_str()) {
            return Err(SchemaError::Duplicate { name: field.name.clone() });
        }
        check_type(&field.data_type, depth + 1)?;
    }
    Ok(())
}

fn check_type(data_type: &DataType, depth: usize) -> Result<(), SchemaError> {
    if depth > MAX_SCHEMA_DEPTH {
        let expected = format!("at most {MAX_SCHEMA_DEPTH} levels of nesting");
        return Err(SchemaError::Shape { expected, found: "more".into() });
    }
    match data_type {
        DataType::Array { element, .. } => check_type(element, depth + 1),
        DataType::Map { key, value, .. } => {
            check_type(key, depth + 1).and_then(|()| check_type(value, depth + 1))
        }
        DataType::Struct(fields) => check_fields(fields, depth),
        DataType::Decimal { precision, scale } => {
            let fits = (1..=38).contains(precision) && u8::try_from(*scale).is_ok_and(|s| s <= *precision);
            if fits { Ok(()) } else { Err(SchemaError::Decimal { precision: *precision, scale: *scale }) }
        }
        _ => Ok(()),
    }
}
