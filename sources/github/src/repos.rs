//! The repositories that a table reads: those that are named, or all of an owner.

use std::sync::Arc;

use headwater_connect::{BoxError, ConnectorError};
use headwater_http::Response;
use serde::Deserialize;

use crate::github::{GitHub, all_pages, status};
use crate::rows::{Added, Rows};
use crate::settings::{Credentials, RepoName, Repos, TableSettings};

/// A repository, and whether the options name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Repo {
    pub(crate) name: RepoName,
    named: bool,
}

/// The repositories of an owner, as they were listed.
pub(crate) struct Listed {
    pub(crate) pages: Vec<Response>,
    /// Where the records stand in each.
    pub(crate) place: &'static str,
    repos: Vec<Repo>,
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
            Repos::AllOf(owner) => self.listed(&owner).await?.repos.clone(),
        };
        repos.sort_by_cached_key(|repo: &Repo| repo.name.to_string());
        Ok(repos)
    }

    /// The repositories of an owner; listed once.
    pub(crate) async fn listed(&self, owner: &str) -> Result<Arc<Listed>, ConnectorError> {
        let mut known = self.listed.lock().await;
        if let Some(listed) = known.get(owner) {
            return Ok(Arc::clone(listed));
        }
        let listed = Arc::new(self.list(owner).await?);
        known.insert(owner.to_owned(), Arc::clone(&listed));
        Ok(listed)
    }

    async fn list(&self, owner: &str) -> Result<Listed, ConnectorError> {
        let list = |path: &str| self.get(path).query("per_page", 100).allow_status(404);
        let pages = all_pages(list(&format!("orgs/{owner}/repos")).query("type", "all")).await?;
        if !is_missing(&pages) {
            return Listed::of(pages, "");
        }
        // An owner that is no organization is a user. A list of somebody else's shows what is public.
        match &self.credentials {
            Credentials::None => {}
            Credentials::Token(_) => {
                let account: Account = self.get("user").send().await?.json()?;
                if account.login.eq_ignore_ascii_case(owner) {
                    return Listed::of(
                        all_pages(list("user/repos").query("affiliation", "owner")).await?,
                        "",
                    );
                }
            }
            Credentials::App(_) => {
                let installed =
                    Listed::of(all_pages(list("installation/repositories")).await?, "/repositories")?;
                if installed.repos.iter().any(|repo| repo.name.owner.eq_ignore_ascii_case(owner)) {
                    return Ok(installed);
                }
            }
        }
        let pages = all_pages(list(&format!("users/{owner}/repos")).query("type", "owner")).await?;
        if is_missing(&pages) {
            let reason =
                format!("is `{owner}`, which is no user or organization that these credentials show");
            return Err(ConnectorError::invalid_option("owner", reason));
        }
        Listed::of(pages, "")
    }
}

/// Whether there was nothing to list.
pub(crate) fn is_missing(pages: &[Response]) -> bool {
    pages.first().is_some_and(|page| page.status.as_u16() == 404)
}

impl Listed {
    fn of(pages: Vec<Response>, place: &'static str) -> Result<Self, ConnectorError> {
        let mut repos: Vec<Repo> = Vec::new();
        for page in &pages {
            if page.status.as_u16() == 404 {
                continue;
            }
            let records: Vec<RepoRecord> = Rows::of(page, place)?.read()?;
            let names = records.into_iter().map(|record| RepoName::new(record.owner.login, record.name));
            repos.extend(names.map(|name| Repo { name, named: false }));
        }
        // A repository that is made while the list is read moves another to the next page.
        repos.sort_by_cached_key(|repo| repo.name.to_string());
        repos.dedup();
        Ok(Self { pages, place, repos })
    }
}
