//! Items by the time of their last change, oldest first.
//!
//! Behind each page the source is asked for what has changed since its last item, not for the next page number: an
//! item that changes meanwhile moves to the end of the list, and everything behind it one place to the front.

use std::collections::BTreeSet;

use async_stream::try_stream;
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use headwater_connect::{ConnectorError, JsonPointer, Offset, Options, Page, PageStream, ReadItem};
use headwater_http::Response;
use serde::{Deserialize, Serialize};

use crate::{MySource, records, whole};

/// What the options of the table say.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    page_size: u64,
    records: u64,
    lookback: TimeDelta,
}

impl Limits {
    pub(crate) fn new(options: &Options, page_size: u64) -> Result<Self, ConnectorError> {
        let records = whole(options, "max_records_per_batch", 10_000, 1..=1_000_000)?;
        let lookback = whole(options, "lookback_seconds", 300, 0..=30 * 86_400)?;
        let lookback = TimeDelta::seconds(i64::try_from(lookback).unwrap_or(i64::MAX));
        Ok(Self { page_size, records, lookback })
    }
}

/// The offset: the time that was reached and, in the middle of a window, the items of that time that have been read
/// and where the window ends.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Reached {
    cursor: DateTime<Utc>,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    seen: BTreeSet<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    until: Option<DateTime<Utc>>,
}

/// What is read between two times.
struct Window {
    since: Option<DateTime<Utc>>,
    seen: BTreeSet<u64>,
    until: DateTime<Utc>,
    /// Records that may still be given.
    left: u64,
}

/// What a page means for the read.
struct Taken {
    page: Option<Page>,
    /// The offset with which the read ends here.
    end: Option<Reached>,
}

#[derive(Deserialize)]
struct Stamp {
    id: u64,
    updated_at: DateTime<Utc>,
}

impl MySource {
    pub(crate) fn items<'a>(&'a self, start: Option<&'a Offset>, limits: Limits) -> PageStream<'a> {
        Box::pin(try_stream! {
            let Some(mut window) = Window::open(start, self.now, limits)? else {
                yield ReadItem::End(start.cloned());
                return;
            };
            let mut number = 1;
            loop {
                let request = self.client.get("v1/items");
                let mut request = request.query("page", number).query("per_page", limits.page_size);
                if let Some(since) = window.since {
                    request = request.query("updated_since", since.to_rfc3339_opts(SecondsFormat::AutoSi, true));
                }
                let before = window.since;
                let response = request.send().await?;
                let taken = window.take(&response, limits.page_size)?;
                if let Some(page) = taken.page {
                    yield ReadItem::Page(page);
                }
                if let Some(end) = taken.end {
                    yield ReadItem::End(Some(offset(&end)?));
                    return;
                }
                // As long as a page holds one instant only, the next page of that instant is asked for.
                number = if window.since == before { number + 1 } else { 1 };
            }
        })
    }
}

impl Window {
    /// The window to read from `start`; none where this update has read all that there was when it began.
    fn open(
        start: Option<&Offset>,
        now: DateTime<Utc>,
        limits: Limits,
    ) -> Result<Option<Self>, ConnectorError> {
        let left = limits.records;
        let Some(start) = start.filter(|start| !start.is_empty()) else {
            return Ok(Some(Self { since: None, seen: BTreeSet::new(), until: now, left }));
        };
        let Reached { cursor, seen, until } = start
            .read()
            .map_err(|source| ConnectorError::InvalidOffset { offset: start.to_string(), source })?;
        Ok(match until {
            Some(until) => Some(Self { since: Some(cursor), seen, until, left }),
            None if cursor >= now => None,
            // A change may become visible late, and the source's clock may be behind ours.
            None => {
                let since = cursor.checked_sub_signed(limits.lookback).unwrap_or(cursor);
                Some(Self { since: Some(since), seen, until: now, left })
            }
        })
    }

    /// Takes what belongs to the read out of an answer.
    fn take(&mut self, response: &Response, page_size: u64) -> Result<Taken, ConnectorError> {
        let rows = records(response, "items")?;
        let mut kept = Vec::with_capacity(rows.len());
        let mut end = None;
        for row in &rows {
            let stamp: Stamp = serde_json::from_str(row.get()).map_err(|error| {
                response.unusable(format_args!("has an item without `id` and `updated_at`: {error}"))
            })?;
            if stamp.updated_at > self.until {
                end = Some(self.completed());
                break;
            }
            if self.since.is_some_and(|since| stamp.updated_at < since) {
                return Err(response.unusable("has items that do not come in the order of `updated_at`"));
            }
            if self.since == Some(stamp.updated_at) && self.seen.contains(&stamp.id) {
                continue;
            }
            if let (0, Some(cursor)) = (self.left, self.since) {
                let seen = std::mem::take(&mut self.seen);
                end = Some(Reached { cursor, seen, until: Some(self.until) });
                break;
            }
            if self.since != Some(stamp.updated_at) {
                self.since = Some(stamp.updated_at);
                self.seen.clear();
            }
            self.seen.insert(stamp.id);
            self.left -= 1;
            kept.push(*row);
        }
        if end.is_none() && (rows.len() as u64) < page_size {
            end = Some(self.completed());
        }
        let page = match kept.len() {
            0 => None,
            // The whole answer goes on as it came.
            all if all == rows.len() => {
                Some(Page::Json { body: response.body.clone(), records: JsonPointer::from_iter(["items"]) })
            }
            _ => {
                let kept: Vec<&str> = kept.iter().map(|row| row.get()).collect();
                Some(Page::json_array(format!("[{}]", kept.join(","))))
            }
        };
        Ok(Taken { page, end })
    }

    fn completed(&self) -> Reached {
        Reached { cursor: self.until, seen: BTreeSet::new(), until: None }
    }
}

fn offset(reached: &Reached) -> Result<Offset, ConnectorError> {
    Offset::from_value(reached).map_err(|error| ConnectorError::bug(error.to_string()))
}
