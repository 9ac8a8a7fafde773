//! The first reading of a list, in the order in which its records were made.
//!
//! That order does not change when records do, so that pages can be fetched at the same time: what is new comes at the end,
//! and what changes meanwhile is found by the reading of changes that follows.

use async_stream::try_stream;
use chrono::{DateTime, TimeDelta, Utc};
use futures::StreamExt;
use futures::stream::BoxStream;
use headwater_connect::ConnectorError;
use headwater_http::Request;
use headwater_http::pages;
use serde::{Deserialize, Serialize};

use crate::github::{GitHub, PAGES_AHEAD, before};
use crate::rows::Rows;

/// The answer was made a moment before its date says.
const MARGIN: TimeDelta = TimeDelta::seconds(10);

/// Where the first reading stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BackfillMark {
    /// Records that have been read.
    pub(crate) done: u64,
    /// When the last of them was made.
    pub(crate) made_at: DateTime<Utc>,
    /// When the reading began: what changed later is read again.
    pub(crate) from: DateTime<Utc>,
    /// The latest change among the records that have been read, up to `from`.
    pub(crate) newest: Option<DateTime<Utc>>,
}

/// What the records of all lists by time have.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Stamp {
    pub(crate) created_at: DateTime<Utc>,
    pub(crate) updated_at: DateTime<Utc>,
    /// Of issues and pull requests.
    #[serde(default)]
    pub(crate) number: u64,
}

/// A page of the first reading.
pub(crate) struct BackfillPage {
    pub(crate) rows: Rows,
    pub(crate) stamps: Vec<Stamp>,
    /// Where to go on from after each record.
    pub(crate) marks: Vec<BackfillMark>,
    /// Records at its beginning that were read before.
    pub(crate) known: usize,
}

/// Reads a list from `mark`. `list` makes the request for its records by the time at which they were made; page and page
/// size are added to it. The last item is the time from which on changes are to be read.
pub(crate) fn read<'a>(
    github: &'a GitHub,
    list: Request,
    per_page: u64,
    mark: Option<BackfillMark>,
) -> BoxStream<'a, Result<Backfilled, ConnectorError>> {
    Box::pin(try_stream! {
        let done = match &mark {
            Some(mark) => resume(&list, per_page, mark).await?,
            None => 0,
        };
        let first = list.query("per_page", per_page).query("page", done / per_page + 1);
        let mut known = usize::try_from(done % per_page).unwrap_or(usize::MAX);
        let mut done = done - done % per_page;
        let mut newest = mark.as_ref().and_then(|mark| mark.newest);
        let mut from = mark.map(|mark| mark.from);
        let mut responses = pages::by_link_header(first, PAGES_AHEAD);
        while let Some(response) = responses.next().await {
            let response = response?;
            let from = *from.get_or_insert_with(|| before(github.answered_at(&response), MARGIN));
            let rows = Rows::of(&response, "")?;
            let stamps: Vec<Stamp> = rows.read()?;
            let marks = stamps.iter().map(|stamp| {
                done += 1;
                newest = newest.max(Some(stamp.updated_at).filter(|at| *at <= from));
                BackfillMark { done, made_at: stamp.created_at, from, newest }
            });
            let marks = marks.collect();
            yield Backfilled::Page(BackfillPage { rows, stamps, marks, known: std::mem::take(&mut known) });
        }
        let from = from.unwrap_or_else(|| before(github.clock.now(), MARGIN));
        yield Backfilled::Until(newest.unwrap_or(from));
    })
}

/// An item of a first reading.
pub(crate) enum Backfilled {
    Page(BackfillPage),
    /// The end: changes are to be read from here.
    Until(DateTime<Utc>),
}

/// How many records there are before the one to go on with. Where some have been deleted, those after them have moved up.
async fn resume(list: &Request, per_page: u64, mark: &BackfillMark) -> Result<u64, ConnectorError> {
    let mut done = mark.done;
    while done > 0 {
        let response = list.clone().query("per_page", 1).query("page", done).send().await?;
        let last: Vec<Stamp> = Rows::of(&response, "")?.read()?;
        if last.first().is_some_and(|stamp| stamp.created_at <= mark.made_at) {
            break;
        }
        done = done.saturating_sub(per_page);
    }
    Ok(done)
}
