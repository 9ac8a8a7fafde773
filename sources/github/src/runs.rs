//! Workflow runs, by windows of the time at which they were made.
//!
//! GitHub gives 1,000 runs for one question, so that a window with more is split. A run changes after it was made, and cannot
//! be asked for by that: the mark holds those that had not ended, and they are asked for one by one.

use std::collections::BTreeSet;

use async_stream::try_stream;
use chrono::{DateTime, TimeDelta, Timelike, Utc};
use futures::{StreamExt, stream};
use headwater_connect::{ConnectorError, Offset, PageStream};
use headwater_http::windows::{TimeWindows, Window};
use headwater_http::{Request, Response, pages};
use serde::{Deserialize, Serialize};

use crate::github::{GitHub, PAGES_AHEAD, api_time, before};
use crate::repos::Repo;
use crate::rows::Rows;
use crate::settings::TableSettings;
use crate::walk::{self, Step, Walk};

/// Runs that GitHub gives for one question.
const MOST_RUNS: u64 = 1_000;
const SECOND: TimeDelta = TimeDelta::seconds(1);
const PLACE: &str = "/workflow_runs";

/// Where the reading of one repository stands.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RunMark {
    /// All runs that were made up to here have been read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cursor: Option<DateTime<Utc>>,
    /// The window that is being read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    window: Option<RunWindow>,
    /// Runs that had not ended.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    open: BTreeSet<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RunWindow {
    from: DateTime<Utc>,
    to: DateTime<Utc>,
    /// Runs that have been read.
    done: u64,
}

#[derive(Deserialize)]
struct RunRecord {
    id: u64,
    status: Option<String>,
    created_at: DateTime<Utc>,
}

#[derive(Deserialize)]
struct Found {
    total_count: u64,
}

#[derive(Deserialize)]
struct RepoRecord {
    created_at: DateTime<Utc>,
}

pub(crate) fn read<'a>(
    github: &'a GitHub,
    settings: TableSettings,
    start: Option<&'a Offset>,
) -> PageStream<'a> {
    let of_walk = settings.clone();
    walk::read(github, settings, start, move |repo, mark| walk(github, of_walk.clone(), repo, mark))
}

fn walk(github: &GitHub, settings: TableSettings, repo: Repo, mark: RunMark) -> Walk<'_, RunMark> {
    Box::pin(try_stream! {
        let per_page = settings.per_page;
        let columns = repo.columns();
        let now = github.clock.now();
        let end = now.with_nanosecond(0).unwrap_or(now) + SECOND;
        let mut at = mark.clone();
        let from = match (&mark.window, mark.cursor, settings.start) {
            (Some(window), ..) => window.to,
            (None, Some(cursor), _) => settings.not_before_start(before(cursor, settings.lookback.max(SECOND))),
            (None, None, Some(start)) => start,
            (None, None, None) => {
                let repo: RepoRecord = github.get_of(&repo.name, "").send().await?.json()?;
                repo.created_at
            }
        };
        if mark.window.is_none() {
            let mut open = stream::iter(mark.open.clone())
                .map(|id| run(github, &repo, id))
                .buffered(PAGES_AHEAD);
            while let Some(found) = open.next().await {
                let (id, rows) = found?;
                at.open.remove(&id);
                let Some(rows) = rows else { continue };
                note(&mut at, &rows.read()?, now);
                at.cursor = mark.cursor;
                yield Step::of(&rows, &columns, None);
            }
        }
        let mut begun = mark.window;
        let mut windows = TimeWindows::new(from, end, (end - from).max(SECOND));
        loop {
            let (window, mut done) = match begun.take() {
                Some(RunWindow { from, to, done }) => (Window { from, to }, done - done % per_page),
                None => match windows.next() {
                    Some(window) => (window, 0),
                    None => break,
                },
            };
            // Both ends of the filter count.
            let created = format!("{}..{}", api_time(window.from), api_time(before(window.to, SECOND)));
            let list = github.get_of(&repo.name, "actions/runs").query("created", created).query("per_page", per_page);
            let number = done / per_page + 1;
            let first: Response = list.clone().query("page", number).send().await?;
            let total = first.json::<Found>()?.total_count;
            if total > MOST_RUNS {
                windows.split(window)?;
                continue;
            }
            let request = move |number: u64| -> Request { list.clone().query("page", number) };
            let others = pages::by_page_number(number + 1..=total.div_ceil(per_page), request, |_| Ok(false), PAGES_AHEAD);
            let mut responses = stream::iter([Ok(first)]).chain(others);
            while let Some(response) = responses.next().await {
                let rows = Rows::of(&response?, PLACE)?;
                note(&mut at, &rows.read()?, now);
                done += rows.len() as u64;
                at.window = Some(RunWindow { from: window.from, to: window.to, done });
                let further = mark.window.is_some() || at.cursor > mark.cursor;
                yield Step::of(&rows, &columns, further.then(|| at.clone()));
            }
        }
        at.window = None;
        yield Step::to(at);
    })
}

/// Takes note of what was read: the latest run, and those that had not ended.
fn note(mark: &mut RunMark, runs: &[RunRecord], now: DateTime<Utc>) {
    for run in runs {
        if run.status.as_deref() == Some("completed") {
            mark.open.remove(&run.id);
        } else {
            mark.open.insert(run.id);
        }
        // What lies ahead of now does not count: it would be chased for ever.
        mark.cursor = mark.cursor.max(Some(run.created_at).filter(|at| *at <= now));
    }
}

/// One run; nothing where it is gone.
async fn run(github: &GitHub, repo: &Repo, id: u64) -> Result<(u64, Option<Rows>), ConnectorError> {
    let response = github.get_of(&repo.name, &format!("actions/runs/{id}")).allow_status(404).send().await?;
    let rows = if response.status.as_u16() == 404 { None } else { Some(Rows::of(&response, "")?) };
    Ok((id, rows))
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, Utc};

    use super::{RunMark, RunRecord, note};

    #[test]
    fn runs_that_have_not_ended_are_remembered_until_they_have() {
        let at = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
        let run = |id, status: &str, created_at| RunRecord {
            id,
            status: Some(status.to_owned()),
            created_at: at(created_at),
        };
        let now = at("2025-01-02T00:00:00Z");
        let mut mark = RunMark::default();
        let runs = [
            run(1, "queued", "2025-01-01T00:00:01Z"),
            run(2, "completed", "2025-01-01T00:00:02Z"),
            run(3, "in_progress", "2025-03-01T00:00:00Z"),
        ];
        note(&mut mark, &runs, now);
        assert_eq!(mark.open.iter().copied().collect::<Vec<_>>(), [1, 3]);
        assert_eq!(mark.cursor, Some(at("2025-01-01T00:00:02Z")));
        note(&mut mark, &[run(1, "completed", "2025-01-01T00:00:01Z")], now);
        assert_eq!(mark.open.iter().copied().collect::<Vec<_>>(), [3]);
    }
}
