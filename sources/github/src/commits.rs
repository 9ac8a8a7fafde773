//! Commits of the default branch.
//!
//! Time is no way to new commits: a merge brings those that were made weeks ago. So the mark is the commit that the branch
//! pointed at, and the next read asks for what can be reached from the branch now and not from there.

use async_stream::try_stream;
use chrono::{DateTime, Utc};
use futures::StreamExt;
use futures::stream::BoxStream;
use headwater_connect::{ConnectorError, Offset, PageStream};
use headwater_http::{Request, Response, pages};
use serde::{Deserialize, Serialize};

use crate::github::{GitHub, PAGES_AHEAD, api_time, status};
use crate::repos::Repo;
use crate::rows::Rows;
use crate::settings::TableSettings;
use crate::walk::{self, Step, Walk};

/// What git writes where it knows no date.
const NO_DATE: DateTime<Utc> = DateTime::UNIX_EPOCH;

/// Where the reading of one repository stands.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CommitMark {
    /// All commits that can be reached from this one have been read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    head: Option<String>,
    /// The commit that is being read up to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    to: Option<String>,
    /// How many commits of the way to `to` have been read.
    #[serde(default, skip_serializing_if = "is_zero")]
    done: u64,
    /// What the source calls its answer to the question where the branch points.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    etag: Option<String>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference to the field")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[derive(Deserialize)]
struct CommitRecord {
    sha: String,
    commit: GitCommit,
}

#[derive(Deserialize)]
struct GitCommit {
    author: Option<Signature>,
    committer: Option<Signature>,
}

#[derive(Deserialize)]
struct Signature {
    date: Option<DateTime<Utc>>,
}

impl CommitRecord {
    fn committed_at(&self) -> DateTime<Utc> {
        let date = |signature: &Option<Signature>| signature.as_ref()?.date;
        date(&self.commit.committer).or_else(|| date(&self.commit.author)).unwrap_or(NO_DATE)
    }
}

pub(crate) fn read<'a>(
    github: &'a GitHub,
    settings: TableSettings,
    start: Option<&'a Offset>,
) -> PageStream<'a> {
    let of_walk = settings.clone();
    walk::read(github, settings, start, move |repo, mark| walk(github, of_walk.clone(), repo, mark))
}

fn walk(github: &GitHub, settings: TableSettings, repo: Repo, mark: CommitMark) -> Walk<'_, CommitMark> {
    Box::pin(try_stream! {
        let (to, etag) = match mark.to.clone() {
            Some(to) => (to, None),
            None => match branch_head(github, &settings, &repo, &mark).await? {
                Head::At { sha, etag } => (sha, etag),
                Head::Unchanged => {
                    yield Step::to(mark);
                    return;
                }
            },
        };
        if mark.head.as_ref() == Some(&to) {
            // What is known of the answer stays, or a source that calls it by another name each time would be asked for ever.
            yield Step::to(CommitMark { etag: mark.etag.clone().or(etag), ..mark });
            return;
        }
        let mut steps = match &mark.head {
            Some(head) => new_commits(github, &settings, &repo, head.clone(), (to.clone(), mark.done)),
            None => all_commits(github, &settings, &repo, (to.clone(), mark.done)),
        };
        while let Some(step) = steps.next().await {
            match step {
                // A branch that was written anew leaves commits behind that are thrown away in time.
                Err(error) if mark.head.is_some() && status(&error) == Some(404) => {
                    tracing::warn!(repository = %repo.name, "the branch was written anew; all of it is read again");
                    steps = all_commits(github, &settings, &repo, (to.clone(), 0));
                }
                step => yield step?,
            }
        }
        yield Step::to(CommitMark { head: Some(to), etag, ..CommitMark::default() });
    })
}

/// Where the default branch points.
enum Head {
    At {
        sha: String,
        etag: Option<String>,
    },
    /// Where it did, or nowhere.
    Unchanged,
}

async fn branch_head(
    github: &GitHub,
    settings: &TableSettings,
    repo: &Repo,
    mark: &CommitMark,
) -> Result<Head, ConnectorError> {
    let mut request = github.get_of(&repo.name, "commits").query("per_page", 1).allow_status(409);
    if let (None, Some(start)) = (&mark.head, settings.start) {
        request = request.query("since", api_time(start));
    }
    if let Some(etag) = &mark.etag {
        request = request.if_none_match(etag);
    }
    let response = request.send().await?;
    // 409 is the answer of a repository without commits.
    if response.not_modified() || response.status.as_u16() == 409 {
        return Ok(Head::Unchanged);
    }
    let newest: Vec<CommitRecord> = Rows::of(&response, "")?.read()?;
    let etag = response.etag().map(str::to_owned);
    Ok(newest.into_iter().next().map_or(Head::Unchanged, |commit| Head::At { sha: commit.sha, etag }))
}

/// Everything that can be reached from a commit. That never changes, so pages can be counted on.
fn all_commits<'a>(
    github: &'a GitHub,
    settings: &TableSettings,
    repo: &'a Repo,
    (to, done): (String, u64),
) -> BoxStream<'a, Result<Step<CommitMark>, ConnectorError>> {
    let mut list = github.get_of(&repo.name, "commits").query("sha", &to);
    if let Some(start) = settings.start {
        list = list.query("since", api_time(start));
    }
    let mark = CommitMark { to: Some(to), done, ..CommitMark::default() };
    steps(list, "", settings.per_page, repo, mark)
}

/// What can be reached from one commit and not from another.
fn new_commits<'a>(
    github: &'a GitHub,
    settings: &TableSettings,
    repo: &'a Repo,
    head: String,
    (to, done): (String, u64),
) -> BoxStream<'a, Result<Step<CommitMark>, ConnectorError>> {
    let list = github.get_of(&repo.name, &format!("compare/{head}...{to}"));
    let mark = CommitMark { head: Some(head), to: Some(to), done, ..CommitMark::default() };
    steps(list, "/commits", settings.per_page, repo, mark)
}

fn steps<'a>(
    list: Request,
    place: &'static str,
    per_page: u64,
    repo: &'a Repo,
    mark: CommitMark,
) -> BoxStream<'a, Result<Step<CommitMark>, ConnectorError>> {
    Box::pin(try_stream! {
        let mut done = mark.done - mark.done % per_page;
        let first = list.query("per_page", per_page).query("page", done / per_page + 1);
        let mut responses = pages::by_link_header(first, PAGES_AHEAD);
        while let Some(response) = responses.next().await {
            let response: Response = response?;
            let rows = Rows::of(&response, place)?;
            let commits: Vec<CommitRecord> = rows.read()?;
            let origin = repo.columns();
            let page = rows.page_with(|row| {
                let at = commits.get(row).map_or(NO_DATE, CommitRecord::committed_at);
                origin.clone().with("committed_at", api_time(at))
            });
            done += commits.len() as u64;
            yield Step { page, rows: commits.len(), mark: Some(CommitMark { done, ..mark.clone() }) };
        }
    })
}
