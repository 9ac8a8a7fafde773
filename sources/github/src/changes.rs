//! Issues and comments, which can be asked for by the time of their last change.
//!
//! After the first reading (`backfill`), records are read in the order of their last change, each page from the time at
//! which the one before it ended: a page number would count on a list that moves whenever a record changes.

use async_stream::try_stream;
use chrono::{DateTime, TimeDelta, Utc};
use futures::StreamExt;
use headwater_connect::{Offset, PageStream};
use headwater_http::Request;
use serde::{Deserialize, Serialize};

use crate::backfill::{self, BackfillMark, Backfilled, Stamp};
use crate::github::{GitHub, api_time, before, status};
use crate::repos::Repo;
use crate::rows::Rows;
use crate::settings::TableSettings;
use crate::walk::{self, Step, Walk};

/// Times are whole seconds, and it is not said whether `since` is inclusive.
const SECOND: TimeDelta = TimeDelta::seconds(1);

/// A list that can be asked for by time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum List {
    Issues,
    IssueComments,
    ReviewComments,
}

impl List {
    fn path(self) -> &'static str {
        match self {
            List::Issues => "issues",
            List::IssueComments => "issues/comments",
            List::ReviewComments => "pulls/comments",
        }
    }
}

/// Where the reading of one repository stands.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ChangeMark {
    /// All changes up to here have been read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cursor: Option<DateTime<Utc>>,
    /// There are later ones already.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    more: bool,
    /// What the source calls its answer to the question for changes since the cursor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    etag: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    backfill: Option<BackfillMark>,
}

impl ChangeMark {
    fn at(cursor: DateTime<Utc>) -> Self {
        Self { cursor: Some(cursor), ..Self::default() }
    }
}

pub(crate) fn read<'a>(
    github: &'a GitHub,
    list: List,
    settings: TableSettings,
    start: Option<&'a Offset>,
) -> PageStream<'a> {
    let of_walk = settings.clone();
    walk::read(github, settings, start, move |repo, mark| walk(github, list, of_walk.clone(), repo, mark))
}

fn walk(
    github: &GitHub,
    list: List,
    settings: TableSettings,
    repo: Repo,
    mark: ChangeMark,
) -> Walk<'_, ChangeMark> {
    let mut request = github.get_of(&repo.name, list.path());
    if list == List::Issues {
        request = request.query("state", settings.state.as_str());
    }
    let is_first = mark.cursor.is_none() && (settings.start.is_none() || mark.backfill.is_some());
    if !is_first {
        return changes(github, request, settings, repo, mark);
    }
    Box::pin(try_stream! {
        let made = request.clone().query("sort", "created").query("direction", "asc");
        let mut pages = backfill::read(github, made, settings.per_page, mark.backfill);
        while let Some(page) = pages.next().await {
            match page {
                Ok(Backfilled::Page(page)) => {
                    let mark = page.marks.last().cloned();
                    let mark = mark.map(|mark| ChangeMark { backfill: Some(mark), ..ChangeMark::default() });
                    yield Step::of(&page.rows, &repo.columns(), mark);
                }
                Ok(Backfilled::Until(cursor)) => yield Step::to(ChangeMark::at(cursor)),
                // A list that is too long to be asked for by page numbers is read by time from its beginning.
                Err(error) if status(&error) == Some(422) => {
                    let mark = ChangeMark { more: true, ..ChangeMark::at(DateTime::UNIX_EPOCH + SECOND) };
                    let mut steps = changes(github, request.clone(), settings.clone(), repo.clone(), mark);
                    while let Some(step) = steps.next().await {
                        yield step?;
                    }
                }
                Err(error) => Err(error)?,
            }
        }
    })
}

/// Reads in the order of the last change.
fn changes(
    github: &GitHub,
    request: Request,
    settings: TableSettings,
    repo: Repo,
    mark: ChangeMark,
) -> Walk<'_, ChangeMark> {
    Box::pin(try_stream! {
        let request = request
            .query("sort", "updated")
            .query("direction", "asc")
            .query("per_page", settings.per_page);
        let begun = mark.cursor.or(settings.start).unwrap_or(DateTime::UNIX_EPOCH);
        let mut since = match (mark.cursor, mark.more) {
            (None, _) => begun,
            (Some(_), true) => before(begun, SECOND),
            (Some(_), false) => settings.not_before_start(before(begun, settings.lookback.max(SECOND))),
        };
        let mut ask = request.clone().set_query("since", api_time(since));
        if let Some(etag) = &mark.etag {
            ask = ask.if_none_match(etag);
        }
        let (mut newest, mut number, mut first) = (begun, 1_u64, None);
        loop {
            let response = ask.send().await?;
            if response.not_modified() {
                yield Step::to(mark);
                return;
            }
            let (until, _) =
                first.get_or_insert_with(|| (github.answered_at(&response), response.etag().map(str::to_owned)));
            let rows = Rows::of(&response, "")?;
            let stamps: Vec<Stamp> = rows.read()?;
            let Some(last) = stamps.last().map(|stamp| stamp.updated_at) else { break };
            // What lies ahead of now is read, and does not count: it would be chased for ever.
            let known = stamps.iter().map(|stamp| stamp.updated_at).filter(|at| *at <= *until).max();
            newest = known.map_or(newest, |at| at.max(newest));
            let ends = response.link("next").is_none() || last > *until;
            let further = !ends && newest > begun;
            let mark = further.then(|| ChangeMark { more: true, ..ChangeMark::at(newest) });
            yield Step::of(&rows, &repo.columns(), mark);
            if ends {
                break;
            }
            // More records of one second than a page holds can only be told apart by page.
            if before(last, SECOND) > since {
                (since, number) = (before(last, SECOND), 1);
            } else {
                number += 1;
            }
            ask = request.clone().set_query("since", api_time(since)).set_query("page", number);
        }
        let mut end = ChangeMark::at(newest);
        // The question of the next read is the one that was asked here only where the cursor has not moved. What is known
        // of its answer stays, or a source that calls it by another name each time would be asked for ever.
        if mark.cursor == end.cursor && !mark.more {
            end.etag = mark.etag.or_else(|| first.and_then(|(_, etag)| etag));
        }
        yield Step::to(end);
    })
}
