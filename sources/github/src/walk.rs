//! Goes through the repositories of a table that is read by changes, with a mark for each.
//!
//! A read ends when it has given so many records as the options say, at a mark of the repository that it is in, and
//! the next one goes on from there. It only ends early where it has come further than the offset it was given, and an
//! offset never leads back to one before it, so that an update comes to its end.

use std::collections::BTreeMap;

use async_stream::try_stream;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use headwater_connect::{ConnectorError, Offset, Page, PageStream, ReadItem};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::github::{GitHub, REPOS_AHEAD, offset, read_offset};
use crate::repos::Repo;
use crate::rows::{Added, Rows};
use crate::settings::TableSettings;

/// Where the reading of one repository stands. The default is its start.
pub(crate) trait Mark:
    Serialize + DeserializeOwned + Default + Clone + PartialEq + Send + Sync
{
}

impl<T: Serialize + DeserializeOwned + Default + Clone + PartialEq + Send + Sync> Mark for T {}

/// A step of the way through one repository.
#[derive(Debug)]
pub(crate) struct Step<M> {
    pub(crate) page: Option<Page>,
    pub(crate) rows: usize,
    /// Where to go on from after this step, where that can be said. The last step of a walk has it.
    pub(crate) mark: Option<M>,
}

impl<M> Step<M> {
    /// A step that gives records.
    pub(crate) fn of(rows: &Rows, columns: &Added, mark: Option<M>) -> Self {
        Self { page: rows.page(columns), rows: rows.len(), mark }
    }

    /// A step that gives none.
    pub(crate) fn to(mark: M) -> Self {
        Self { page: None, rows: 0, mark: Some(mark) }
    }
}

/// The way through one repository.
pub(crate) type Walk<'a, M> = BoxStream<'a, Result<Step<M>, ConnectorError>>;

/// The offset of a table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Marks<M> {
    #[serde(default = "BTreeMap::new", skip_serializing_if = "BTreeMap::is_empty")]
    repos: BTreeMap<String, M>,
    /// The repository that a read ended in before it had been through all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// Reads the repositories that `settings` ask for, each by `walk` from its mark.
pub(crate) fn read<'a, M: Mark + 'a>(
    github: &'a GitHub,
    settings: TableSettings,
    start: Option<&'a Offset>,
    walk: impl Fn(Repo, M) -> Walk<'a, M> + Send + Sync + 'a,
) -> PageStream<'a> {
    Box::pin(try_stream! {
        let begun: Marks<M> = read_offset(start)?.unwrap_or(Marks { repos: BTreeMap::new(), next: None });
        let mut marks = begun.repos.clone();
        let mut repos = github.repos(&settings).await?;
        if let Some(next) = &begun.next {
            repos.retain(|repo| repo.name.to_string() >= *next);
        }
        // The first request for each repository goes out ahead: most have nothing new, and that is all there is to it.
        let mut walks = stream::iter(repos)
            .map(|repo| {
                let mark = begun.repos.get(&repo.name.to_string()).cloned().unwrap_or_default();
                let steps = walk(repo.clone(), mark);
                async move { (repo, steps.into_future().await) }
            })
            .buffered(REPOS_AHEAD);
        let limit = usize::try_from(settings.records_per_batch).unwrap_or(usize::MAX);
        let mut rows: usize = 0;
        while let Some((repo, (first, others))) = walks.next().await {
            let name = repo.name.to_string();
            // Where the read may end: nowhere before it has come further than its start.
            let end_at = |marks: &BTreeMap<String, M>| -> Result<Option<Offset>, ConnectorError> {
                let went_on = *marks != begun.repos || begun.next.as_ref().is_some_and(|next| *next != name);
                let end = || offset(&Marks { repos: marks.clone(), next: Some(name.clone()) });
                went_on.then(end).transpose()
            };
            let mut end = end_at(&marks)?;
            let mut steps = stream::iter(first).chain(others);
            while let Some(step) = steps.next().await {
                let Step { page, rows: more, mark } = match step {
                    Ok(step) => step,
                    Err(error) => {
                        repo.pass_over(error)?;
                        break;
                    }
                };
                if let (Some(end), true) = (&end, rows > 0 && rows.saturating_add(more) > limit) {
                    yield ReadItem::End(Some(end.clone()));
                    return;
                }
                rows = rows.saturating_add(more);
                if let Some(page) = page {
                    yield ReadItem::Page(page);
                    end = None;
                }
                let Some(mark) = mark else { continue };
                if mark != M::default() || marks.contains_key(&name) {
                    marks.insert(name.clone(), mark);
                }
                end = end_at(&marks)?;
                if let (Some(end), true) = (&end, rows >= limit) {
                    yield ReadItem::End(Some(end.clone()));
                    return;
                }
            }
        }
        yield ReadItem::End(Some(offset(&Marks { repos: marks, next: None })?));
    })
}
