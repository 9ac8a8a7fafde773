//! One long answer, cut into pages of whole records while it comes.

use bytes::{Buf, Bytes, BytesMut};
use futures::StreamExt;
use futures::stream::BoxStream;
use headwater_connect::json_scan::{Items, Passed, ScanError, TRUNCATED, check_rest, container_end};
use headwater_connect::{ConnectorError, JsonPointer, Page};
use reqwest::StatusCode;

use crate::body;
use crate::error::{Failure, HttpError, Remedy, snippet};
use crate::request::Request;
use crate::send::{self, Opened, body_failure};

/// Pages of records, in order. An error ends the stream.
pub type RecordPages = BoxStream<'static, Result<Page, ConnectorError>>;

/// The least that is gathered for a page: below it, pages cost more than records.
const LEAST_PIECE_BYTES: usize = 4 << 10;

/// How much is shown of what stands in the place of the records.
const SHOWN_BYTES: usize = 80;

/// What `Request::stream_records` gives.
pub(crate) fn stream(request: Request, records: JsonPointer, piece_bytes: usize) -> RecordPages {
    async_stream::try_stream! {
        let parts = request.parts.clone().map_err(|what| ConnectorError::bug(request.client.redact(&what)))?;
        let inner = &request.client.inner;
        let Opened { mut response, request: shown, permit } = send::open(&request.client, &parts).await?;
        let empty = matches!(response.status(), StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        let mut cutter = Cutter::new(records, piece_bytes, parts.max_body_bytes);
        let mut last = empty;
        while !last {
            let (mut pieces, mut lost) = (Vec::new(), None);
            match body::next(&mut response, inner.timeouts.read, cutter.came()).await {
                Ok(Some(chunk)) => {
                    inner.stats.body(chunk.len());
                    cutter.push(&chunk);
                }
                Ok(None) => last = true,
                Err(error) => lost = Some(error),
            }
            let cut = match lost {
                None => cutter.cut(last, &mut pieces).map_err(|error| error.of(&shown, &cutter)),
                Some(error) => Err(body_failure(error, &shown, parts.max_body_bytes).into_connector_error()),
            };
            if cut.is_err() {
                pieces.extend(cutter.rescued());
            }
            for piece in pieces {
                yield piece;
            }
            cut?;
        }
        drop(permit);
    }
    .boxed()
}

/// Gathers what comes, and cuts it between records.
struct Cutter {
    pointer: JsonPointer,
    piece_bytes: usize,
    /// The largest record that is taken, and the most that may stand before or behind the records.
    limit_bytes: usize,
    /// What has come and is not yet handed on. While records are cut it begins with a bracket: the array's own, or
    /// one in the place of the comma before the first record in it.
    buffer: BytesMut,
    /// How much of the document lies before the buffer.
    base: usize,
    state: State,
}

enum State {
    /// Looking for the records; so much of the buffer has been looked at in vain.
    Head { looked_at: usize },
    /// Inside the array, which lies in these containers; the buffer has been passed up to here.
    Items { items: Items, passed: usize, cut: bool, containers: Vec<bool> },
    /// In the only record, which lies in these containers.
    One { looked_at: usize, containers: Vec<bool> },
    /// Behind the records.
    Rest { containers: Vec<bool> },
}

/// Why records cannot be cut out.
#[derive(Debug, PartialEq, Eq)]
enum CutError {
    /// The document is no JSON at this byte.
    Malformed { at: usize, reason: &'static str },
    /// There is nothing at the place of the records, or something else.
    NoRecords { found: String },
    /// The record at this byte, or what stands around the records, is too large.
    TooLarge,
}

impl CutError {
    fn of(self, request: &str, cutter: &Cutter) -> ConnectorError {
        let pointer = &cutter.pointer;
        match self {
            CutError::Malformed { at, reason } => ConnectorError::bad_response(format!(
                "{request} answered malformed JSON at byte {at}: {reason}"
            )),
            CutError::NoRecords { found } => ConnectorError::bad_response(format!(
                "{request} answered {found} at `{pointer}`, where an array of records was expected"
            )),
            CutError::TooLarge => {
                let (request, limit_bytes) = (request.to_owned(), cutter.limit_bytes);
                let error = HttpError::RecordTooLarge { request, limit_bytes, at: cutter.base };
                Failure { error, remedy: Remedy::None }.into_connector_error()
            }
        }
    }
}

impl Cutter {
    fn new(pointer: JsonPointer, piece_bytes: usize, limit_bytes: usize) -> Self {
        let piece_bytes = piece_bytes.max(LEAST_PIECE_BYTES).min(limit_bytes.max(1));
        let state = State::Head { looked_at: 0 };
        Self { pointer, piece_bytes, limit_bytes, buffer: BytesMut::new(), base: 0, state }
    }

    /// How much of the document has come.
    fn came(&self) -> usize {
        self.base + self.buffer.len()
    }

    fn push(&mut self, chunk: &[u8]) {
        self.buffer.extend_from_slice(chunk);
    }

    /// Cuts what can be cut; `last`: nothing comes any more.
    fn cut(&mut self, last: bool, pieces: &mut Vec<Page>) -> Result<(), CutError> {
        loop {
            let moved = match &mut self.state {
                State::Head { looked_at } => {
                    let before = *looked_at;
                    // Looking again from the start is worth it when there is as much again.
                    if !last && self.buffer.len() < before * 2 {
                        return self.within_limit();
                    }
                    *looked_at = self.buffer.len();
                    self.enter(last)?
                }
                State::Items { .. } => self.items(last, pieces)?,
                State::One { looked_at, .. } => {
                    if !last && self.buffer.len() < *looked_at * 2 {
                        return self.within_limit();
                    }
                    *looked_at = self.buffer.len();
                    self.one(last, pieces)?
                }
                State::Rest { containers } => {
                    if !last {
                        return self.within_limit();
                    }
                    let containers = std::mem::take(containers);
                    return check_rest(&self.buffer, 0, &containers).map_err(|error| self.malformed(error));
                }
            };
            if !moved {
                return self.within_limit();
            }
        }
    }

    fn malformed(&self, error: ScanError) -> CutError {
        CutError::Malformed { at: self.base + error.at, reason: error.reason }
    }

    fn within_limit(&self) -> Result<(), CutError> {
        if self.buffer.len() > self.limit_bytes { Err(CutError::TooLarge) } else { Ok(()) }
    }

    /// Goes to the records. Gives whether they have been found.
    fn enter(&mut self, last: bool) -> Result<bool, CutError> {
        let start = match self.pointer.find_start(&self.buffer) {
            Ok(Some(start)) => start,
            // What looks like the end of a value may be the middle of it.
            Ok(None) if !last => return Ok(false),
            Ok(None) => return Err(CutError::NoRecords { found: "nothing".to_owned() }),
            Err(error) if error.reason == TRUNCATED && !last => return Ok(false),
            Err(error) => return Err(self.malformed(error)),
        };
        let found = self.buffer.get(start.at);
        if !matches!(found, Some(b'[' | b'{')) && !last && self.buffer.len() - start.at < SHOWN_BYTES {
            // The error is to show what there is instead.
            return Ok(false);
        }
        self.take(start.at);
        let containers = start.containers;
        self.state = match self.buffer.first() {
            Some(b'[') => State::Items { items: Items::default(), passed: 1, cut: false, containers },
            Some(b'{') => State::One { looked_at: 0, containers },
            _ => {
                let found = snippet(self.buffer.get(..SHOWN_BYTES).unwrap_or(&self.buffer));
                return Err(CutError::NoRecords { found: format!("`{found}`") });
            }
        };
        Ok(true)
    }

    /// Takes so many bytes off the front.
    fn take(&mut self, bytes: usize) {
        self.buffer.advance(bytes);
        self.base += bytes;
    }

    /// Passes over what has come of the records and cuts a piece. Gives whether it may go on.
    fn items(&mut self, last: bool, pieces: &mut Vec<Page>) -> Result<bool, CutError> {
        let State::Items { items, passed, cut, containers } = &mut self.state else { return Ok(false) };
        match items.pass(&self.buffer, *passed, last) {
            Err(error) => {
                // All that is before that place has been passed.
                *passed = self.buffer.len();
                Err(self.malformed(error))
            }
            Ok(Passed::End(end)) => {
                let records = self.buffer.get(1..end).unwrap_or_default();
                if !records.trim_ascii().is_empty() {
                    let piece = self.buffer.split_to(end + 1);
                    self.base += piece.len();
                    pieces.push(Page::json_array(piece.freeze()));
                } else if *cut {
                    let error = ScanError::new(end, "a value was expected");
                    return Err(self.malformed(error));
                } else {
                    self.buffer.advance(end + 1);
                    self.base += end + 1;
                }
                self.state = State::Rest { containers: std::mem::take(containers) };
                Ok(true)
            }
            Ok(Passed::More(to)) => {
                *passed = to;
                if last {
                    return Err(self.malformed(ScanError::new(self.buffer.len(), TRUNCATED)));
                }
                if self.buffer.len() >= self.piece_bytes {
                    pieces.extend(self.piece()?);
                }
                Ok(false)
            }
        }
    }

    /// Cuts off the whole records, where there are any.
    fn piece(&mut self) -> Result<Option<Page>, CutError> {
        let State::Items { items, passed, cut, .. } = &mut self.state else { return Ok(None) };
        let Some(comma) = items.comma() else { return Ok(None) };
        if self.buffer.get(1..comma).unwrap_or_default().trim_ascii().is_empty() {
            let error = ScanError::new(comma, "a value was expected");
            return Err(self.malformed(error));
        }
        // A copy of its own length: a piece that is kept for a while does not hold the whole buffer, which is used again.
        let mut piece = self.buffer.get(..=comma).unwrap_or_default().to_vec();
        if let Some(end) = piece.last_mut() {
            *end = b']';
        }
        self.buffer.advance(comma);
        if let Some(start) = self.buffer.first_mut() {
            *start = b'[';
        }
        self.base += comma;
        *passed = passed.saturating_sub(comma).max(1);
        *cut = true;
        items.cut();
        Ok(Some(Page::json_array(piece)))
    }

    /// Hands on the only record when it is whole.
    fn one(&mut self, last: bool, pieces: &mut Vec<Page>) -> Result<bool, CutError> {
        let end = match container_end(&self.buffer, 0) {
            Ok(end) => end,
            Err(error) if error.reason == TRUNCATED && !last => return Ok(false),
            Err(error) => return Err(self.malformed(error)),
        };
        let State::One { containers, .. } = &mut self.state else { return Ok(false) };
        let containers = std::mem::take(containers);
        let record: Bytes = self.buffer.split_to(end).freeze();
        self.base += end;
        pieces.push(Page::json_array(record));
        self.state = State::Rest { containers };
        Ok(true)
    }

    /// The whole records that have come and were not handed on, when nothing can come behind them.
    fn rescued(&mut self) -> Option<Page> {
        if let State::Items { items, passed, .. } = &mut self.state
            && let Ok(Passed::More(to)) = items.pass(&self.buffer, *passed, true)
        {
            *passed = to;
        }
        self.piece().ok().flatten()
    }
}
