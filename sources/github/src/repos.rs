//! The repositories that a table reads: those that are named, or all of an owner.

use futures::{StreamExt, stream};
use headwater_connect::{BoxError, ConnectorError};
use headwater_http::pages::{self, Responses};
use headwater_http::{Request, Response};
use serde::Deserialize;

use crate::github::{GitHub, PAGES_AHEAD, judged, status};
use crate::rows::{Added, Rows};
use crate::settings::{Credentials, RepoName, Repos, TableSettings};

/// A repository, and whether the options name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Repo {
    pub(crate) name: RepoName,
    named: bool,
}

/// The list of an owner's repositories.
pub(crate) struct RepoList {
    pub(crate) pages: Responses,
    /// Where the records stand in each.
    pub(crate) place: &'static str,
}

/// Why a repository cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("repository `{repository}` {reason}")]
struct UnreadableRepo {
    repository: String,
    reason: &'static str,
    #[source]
    source: BoxError,
}

#[derive(Deserialize)]
struct RepoRecord {
    name: String,
    owner: Account,
}

#[derive(Deserialize)]
pub(crate) struct Account {
    pub(crate) login: String,
}

impl Repo {
    /// The columns that say where a record comes from.
    pub(crate) fn columns(&self) -> Added {
        Added::default().with("owner", self.name.owner.as_str()).with("repo", self.name.name.as_str())
    }

    /// Passes over a repository that cannot be read, where nobody has named it.
    ///
    /// # Errors
    /// Anything else that went wrong; and that the repository cannot be read, where it is named.
    pub(crate) fn pass_over(&self, error: ConnectorError) -> Result<(), ConnectorError> {
        let error = judged(error);
        let reason = match status(&error) {
            Some(403) => "does not allow this with these credentials",
            Some(404) => "does not exist, or these credentials do not show it",
            Some(410) => "has this switched off",
            Some(451) => "is blocked for legal reasons",
            _ => return Err(error),
        };
        let repository = self.name.to_string();
        if !self.named {
            tracing::warn!(repository, reason, "repository is left out");
            return Ok(());
        }
        let forbidden = matches!(error, ConnectorError::Forbidden { .. });
        let source = Box::new(UnreadableRepo { repository, reason, source: Box::new(error) });
        Err(if forbidden {
            ConnectorError::Forbidden { source }
        } else {
            ConnectorError::Rejected { source }
        })
    }
}

impl GitHub {
    /// The repositories that `settings` ask for, in the order of their names.
    pub(crate) async fn repos(&self, settings: &TableSettings) -> Result<Vec<Repo>, ConnectorError> {
        let mut repos = match settings.repos()? {
            Repos::Named(names) => names.into_iter().map(|name| Repo { name, named: true }).collect(),
            Repos::AllOf(owner) => self.repos_of(owner).await?,
        };
        repos.sort_by_cached_key(|repo: &Repo| repo.name.to_string());
        // A repository that is made while the list is read moves another to the next page.
        repos.dedup();
        Ok(repos)
    }

    /// The repositories of an owner; listed once.
    async fn repos_of(&self, owner: String) -> Result<Vec<Repo>, ConnectorError> {
        let mut known = self.listed.lock().await;
        if let Some(repos) = known.get(&owner) {
            return Ok(repos.clone());
        }
        let RepoList { mut pages, place } = self.list_of(&owner).await?;
        let mut repos = Vec::new();
        while let Some(page) = pages.next().await {
            let names = names(&page?, place)?;
            repos.extend(names.into_iter().map(|name| Repo { name, named: false }));
        }
        known.insert(owner, repos.clone());
        Ok(repos)
    }

    /// Opens the list of an owner's repositories.
    pub(crate) async fn list_of(&self, owner: &str) -> Result<RepoList, ConnectorError> {
        let list = |path: &str| self.get(path).query("per_page", 100);
        if let Some(pages) = opened(list(&format!("orgs/{owner}/repos")).query("type", "all")).await? {
            return Ok(RepoList { pages, place: "" });
        }
        // An owner that is no organization is a user. A list of somebody else's shows what is public.
        match &self.credentials {
            Credentials::None => {}
            Credentials::Token(_) => {
                let account: Account = self.get("user").send().await?.json()?;
                if account.login.eq_ignore_ascii_case(owner) {
                    let pages =
                        pages::by_link_header(list("user/repos").query("affiliation", "owner"), PAGES_AHEAD);
                    return Ok(RepoList { pages, place: "" });
                }
            }
            Credentials::App(_) => {
                let mut pages = pages::by_link_header(list("installation/repositories"), PAGES_AHEAD);
                let place = "/repositories";
                if let Some(first) = pages.next().await.transpose()? {
                    // An installation is that of one account.
                    let is_theirs = |name: &RepoName| name.owner.eq_ignore_ascii_case(owner);
                    if names(&first, place)?.iter().any(is_theirs) {
                        return Ok(RepoList { pages: stream::iter([Ok(first)]).chain(pages).boxed(), place });
                    }
                }
            }
        }
        match opened(list(&format!("users/{owner}/repos")).query("type", "owner")).await? {
            Some(pages) => Ok(RepoList { pages, place: "" }),
            None => {
                let reason =
                    format!("is `{owner}`, which is no user or organization that these credentials show");
                Err(ConnectorError::invalid_option("owner", reason))
            }
        }
    }
}

/// Starts to read a list; nothing where there is none.
async fn opened(first: Request) -> Result<Option<Responses>, ConnectorError> {
    let mut pages = pages::by_link_header(first.allow_status(404), PAGES_AHEAD);
    match pages.next().await.transpose()? {
        Some(first) if first.status.as_u16() != 404 => {
            Ok(Some(stream::iter([Ok(first)]).chain(pages).boxed()))
        }
        _ => Ok(None),
    }
}

/// The names of the repositories in a page.
fn names(page: &Response, place: &str) -> Result<Vec<RepoName>, ConnectorError> {
    let records: Vec<RepoRecord> = Rows::of(page, place)?.read()?;
    Ok(records.into_iter().map(|record| RepoName::new(record.owner.login, record.name)).collect())
}

/// Whether there was nothing to list.
pub(crate) fn is_missing(pages: &[Response]) -> bool {
    pages.first().is_some_and(|page| page.status.as_u16() == 404)
}
