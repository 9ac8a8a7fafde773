//! Pull requests, and the reviews of those that have changed.
//!
//! Pull requests cannot be asked for by time. After the first reading (`backfill`) they are read from the one that changed
//! last down to those that have been read, page after page: what changes meanwhile goes to the front and moves the others
//! behind, so that some come twice and none is missed.

use async_stream::try_stream;
use chrono::{DateTime, TimeDelta, Utc};
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use headwater_connect::{ConnectorError, Offset, PageStream};
use headwater_http::Request;
use serde::{Deserialize, Serialize};

use crate::backfill::{self, BackfillMark, Backfilled, Stamp};
use crate::github::{GitHub, PAGES_AHEAD, all_pages, api_time, before};
use crate::repos::{Repo, is_missing};
use crate::rows::Rows;
use crate::settings::TableSettings;
use crate::walk::{self, Step, Walk};

const SECOND: TimeDelta = TimeDelta::seconds(1);

/// What is read of a list of pull requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    Pulls,
    Reviews,
}

/// Where the reading of one repository stands.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PullMark {
    /// All changes up to here have been read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cursor: Option<DateTime<Utc>>,
    /// What the source calls its answer for the pull requests that changed last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    etag: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    backfill: Option<BackfillMark>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    descent: Option<Descent>,
}

/// How far down a reading has come.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Descent {
    /// The latest change that it met: the cursor, once it is down.
    highest: Option<DateTime<Utc>>,
    /// Pull requests that have been read.
    done: u64,
}

pub(crate) fn read<'a>(
    github: &'a GitHub,
    what: What,
    settings: TableSettings,
    start: Option<&'a Offset>,
) -> PageStream<'a> {
    let of_walk = settings.clone();
    walk::read(github, settings, start, move |repo, mark| walk(github, what, of_walk.clone(), repo, mark))
}

fn walk(
    github: &GitHub,
    what: What,
    settings: TableSettings,
    repo: Repo,
    mark: PullMark,
) -> Walk<'_, PullMark> {
    let pulls = github.get_of(&repo.name, "pulls").query("state", settings.state.as_str());
    let is_first = mark.cursor.is_none() && mark.descent.is_none();
    if !is_first || (settings.start.is_some() && mark.backfill.is_none()) {
        return descend(github, pulls, (what, settings), repo, mark);
    }
    Box::pin(try_stream! {
        let made = pulls.query("sort", "created").query("direction", "asc");
        let mut pages = backfill::read(github, made, settings.per_page, mark.backfill);
        while let Some(page) = pages.next().await {
            match page? {
                Backfilled::Page(page) => {
                    let marks = page.marks.into_iter();
                    let marks = marks.map(|mark| Some(PullMark { backfill: Some(mark), ..PullMark::default() }));
                    let pulls = page.stamps.into_iter().zip(marks).skip(if what == What::Reviews { page.known } else { 0 });
                    let mut steps = page_steps(github, what, &repo, page.rows, pulls.collect());
                    while let Some(step) = steps.next().await {
                        yield step?;
                    }
                }
                Backfilled::Until(cursor) => {
                    yield Step::to(PullMark { cursor: Some(cursor), ..PullMark::default() });
                }
            }
        }
    })
}

/// Reads from the latest change down to the cursor.
fn descend(
    github: &GitHub,
    pulls: Request,
    (what, settings): (What, TableSettings),
    repo: Repo,
    mark: PullMark,
) -> Walk<'_, PullMark> {
    Box::pin(try_stream! {
        let per_page = settings.per_page;
        let list = pulls.query("sort", "updated").query("direction", "desc").query("per_page", per_page);
        let lowest = match mark.cursor {
            Some(cursor) => settings.not_before_start(before(cursor, settings.lookback.max(SECOND))),
            None => settings.start.unwrap_or(DateTime::UNIX_EPOCH),
        };
        let (mut highest, mut done) = match &mark.descent {
            Some(descent) => (descent.highest, descent.done - descent.done % per_page),
            None => (None, 0),
        };
        let mut ask = list.clone().query("page", done / per_page + 1);
        if let (None, Some(etag)) = (&mark.descent, &mark.etag) {
            ask = ask.if_none_match(etag);
        }
        let mut known = mark.descent.as_ref().map_or(0, |descent| usize::try_from(descent.done % per_page).unwrap_or(0));
        let mut first = None;
        loop {
            let response = ask.send().await?;
            if response.not_modified() {
                yield Step::to(mark);
                return;
            }
            let (until, _) =
                first.get_or_insert_with(|| (github.answered_at(&response), response.etag().map(str::to_owned)));
            let mut rows = Rows::of(&response, "")?;
            let stamps: Vec<Stamp> = rows.read()?;
            // What lies ahead of now is read, and does not count: it would be chased for ever.
            highest = highest.max(stamps.iter().map(|stamp| stamp.updated_at).filter(|at| *at <= *until).max());
            let ends = response.link("next").is_none()
                || stamps.last().is_none_or(|last| last.updated_at < lowest);
            let further = mark.descent.is_some() || highest > mark.cursor;
            let from = done;
            let marks = (1..).take(stamps.len()).map(|row: u64| {
                let descent = Some(Descent { highest, done: from + row });
                let mark = PullMark { cursor: mark.cursor, descent, ..PullMark::default() };
                (further && !(ends && row == stamps.len() as u64)).then_some(mark)
            });
            let marks: Vec<Option<PullMark>> = marks.collect();
            done += stamps.len() as u64;
            // What is known already, or older than anybody wants, is left out: a review costs a request besides.
            let passed = std::mem::take(&mut known);
            let wanted: Vec<bool> = stamps
                .iter()
                .enumerate()
                .map(|(row, pull)| pull.updated_at >= lowest && (what == What::Pulls || row >= passed))
                .collect();
            rows.retain(|row| wanted.get(row).copied().unwrap_or_default());
            let pulls = stamps.into_iter().zip(marks).zip(wanted);
            let pulls: Vec<_> = pulls.filter(|(_, wanted)| *wanted).map(|(pull, _)| pull).collect();
            let mut steps = page_steps(github, what, &repo, rows, pulls);
            while let Some(step) = steps.next().await {
                yield step?;
            }
            if ends {
                break;
            }
            ask = list.clone().query("page", done / per_page + 1);
        }
        let cursor = highest.max(mark.cursor.or(settings.start));
        let began_on_top = mark.descent.is_none();
        let answer = first.and_then(|(_, etag)| etag).filter(|_| began_on_top);
        // What is known of an answer stays where nothing is new, or a source that calls it by another name each time would
        // be asked for ever.
        let etag = if cursor == mark.cursor { mark.etag.or(answer) } else { answer };
        yield Step::to(PullMark { cursor, etag, ..PullMark::default() });
    })
}

/// The steps that a page of pull requests gives: itself, or the reviews of each.
fn page_steps<'a>(
    github: &'a GitHub,
    what: What,
    repo: &'a Repo,
    rows: Rows,
    pulls: Vec<(Stamp, Option<PullMark>)>,
) -> BoxStream<'a, Result<Step<PullMark>, ConnectorError>> {
    match what {
        What::Pulls => {
            let mark = pulls.into_iter().next_back().and_then(|(_, mark)| mark);
            stream::iter([Ok(Step::of(&rows, &repo.columns(), mark))]).boxed()
        }
        What::Reviews => stream::iter(pulls)
            .map(move |(pull, mark)| reviews(github, repo, pull, mark))
            .buffered(PAGES_AHEAD)
            .flat_map(|steps| match steps {
                Ok(steps) => stream::iter(steps.into_iter().map(Ok)).boxed(),
                Err(error) => stream::iter([Err(error)]).boxed(),
            })
            .boxed(),
    }
}

/// The reviews of one pull request.
async fn reviews(
    github: &GitHub,
    repo: &Repo,
    pull: Stamp,
    mark: Option<PullMark>,
) -> Result<Vec<Step<PullMark>>, ConnectorError> {
    let path = format!("pulls/{}/reviews", pull.number);
    let pages = all_pages(github.get_of(&repo.name, &path).query("per_page", 100).allow_status(404)).await?;
    let columns =
        repo.columns().with("pull_number", pull.number).with("pull_updated_at", api_time(pull.updated_at));
    let mut steps = Vec::new();
    // A pull request that is gone by now has no reviews.
    if !is_missing(&pages) {
        for page in &pages {
            steps.push(Step::of(&Rows::of(page, "")?, &columns, None));
        }
    }
    match (steps.last_mut(), mark) {
        (Some(last), mark) => last.mark = mark,
        (None, Some(mark)) => steps.push(Step::to(mark)),
        (None, None) => {}
    }
    Ok(steps)
}
