//! The tables that are read whole.

use async_stream::try_stream;
use futures::{StreamExt, stream};
use headwater_connect::{ConnectorError, JsonPointer, Page, PageStream, ReadItem};
use headwater_http::{Response, pages};

use crate::github::{GitHub, PAGES_AHEAD, REPOS_AHEAD, all_pages, status};
use crate::repos::{Account, Repo, is_missing};
use crate::rows::{Added, Rows};
use crate::settings::{Orgs, Repos, TableSettings};
use crate::tables::Table;

/// Reads a list of each repository: `branches`, `tags` and the like.
pub(crate) fn read_lists(github: &GitHub, table: Table, settings: TableSettings) -> PageStream<'_> {
    Box::pin(try_stream! {
        let repos = github.repos(&settings).await?;
        let per_page = settings.per_page;
        // The first page of each is fetched ahead: most repositories have no more.
        let mut lists = stream::iter(repos)
            .map(|repo| {
                let mut list = github.get_of(&repo.name, table.name()).query("per_page", per_page);
                if table == Table::Milestones {
                    list = list.query("state", settings.state.as_str());
                }
                let responses = pages::by_link_header(list, PAGES_AHEAD);
                async move { (repo, responses.into_future().await) }
            })
            .buffered(REPOS_AHEAD);
        while let Some((repo, (first, others))) = lists.next().await {
            let mut responses = stream::iter(first).chain(others);
            while let Some(response) = responses.next().await {
                match response {
                    Ok(response) => {
                        if let Some(page) = Rows::of(&response, "")?.page(&repo.columns()) {
                            yield ReadItem::Page(page);
                        }
                    }
                    Err(error) => {
                        repo.pass_over(error)?;
                        break;
                    }
                }
            }
        }
        yield ReadItem::End(None);
    })
}

/// Reads `repositories`: each that is named, or the list of an owner's.
pub(crate) fn read_repositories(github: &GitHub, settings: TableSettings) -> PageStream<'_> {
    Box::pin(try_stream! {
        match settings.repos()? {
            Repos::AllOf(owner) => {
                let mut list = github.list_of(&owner).await?;
                let records: JsonPointer = list.place.parse()?;
                while let Some(page) = list.pages.next().await {
                    yield ReadItem::Page(Page::Json { body: page?.body, records: records.clone() });
                }
            }
            Repos::Named(_) => {
                let repos = github.repos(&settings).await?;
                let mut found = stream::iter(repos)
                    .map(|repo: Repo| async move {
                        let response = github.get_of(&repo.name, "").send().await;
                        (repo, response)
                    })
                    .buffered(PAGES_AHEAD);
                while let Some((repo, response)) = found.next().await {
                    match response {
                        Ok(response) => yield entity(response),
                        Err(error) => repo.pass_over(error)?,
                    }
                }
            }
        }
        yield ReadItem::End(None);
    })
}

/// Reads `organizations`.
pub(crate) fn read_organizations(github: &GitHub, settings: TableSettings) -> PageStream<'_> {
    Box::pin(try_stream! {
        let names = org_names(github, &settings).await?;
        let mut found = stream::iter(names)
            .map(|name| async move { github.get(&format!("orgs/{name}")).send().await.map_err(|error| (name, error)) })
            .buffered(PAGES_AHEAD);
        while let Some(response) = found.next().await {
            match response {
                Ok(response) => yield entity(response),
                Err((name, error)) => Err(no_organization(&settings, &name, error))?,
            }
        }
        yield ReadItem::End(None);
    })
}

/// Reads `teams`.
pub(crate) fn read_teams(github: &GitHub, settings: TableSettings) -> PageStream<'_> {
    Box::pin(try_stream! {
        for name in org_names(github, &settings).await? {
            let list = github.get(&format!("orgs/{name}/teams")).query("per_page", settings.per_page);
            let columns = Added::default().with("org", name.as_str());
            let mut responses = pages::by_link_header(list, PAGES_AHEAD);
            while let Some(response) = responses.next().await {
                let response = response.map_err(|error| no_organization(&settings, &name, error))?;
                if let Some(page) = Rows::of(&response, "")?.page(&columns) {
                    yield ReadItem::Page(page);
                }
            }
        }
        yield ReadItem::End(None);
    })
}

/// Reads `users`: the members of the organizations, or the owner where that is a user.
pub(crate) fn read_users(github: &GitHub, settings: TableSettings) -> PageStream<'_> {
    Box::pin(try_stream! {
        let mut logins: Vec<String> = Vec::new();
        for name in org_names(github, &settings).await? {
            let list = github.get(&format!("orgs/{name}/members")).query("per_page", 100).allow_status(404);
            let members = all_pages(list).await?;
            if is_missing(&members) {
                if settings.orgs.is_some() {
                    Err(missing_organization(&settings, &name))?;
                }
                logins.push(name);
                continue;
            }
            for page in &members {
                let accounts: Vec<Account> = Rows::of(page, "")?.read()?;
                logins.extend(accounts.into_iter().map(|account| account.login));
            }
        }
        logins.sort();
        logins.dedup();
        let mut found = stream::iter(logins)
            .map(|login| async move { github.get(&format!("users/{login}")).allow_status(404).send().await })
            .buffered(PAGES_AHEAD);
        while let Some(response) = found.next().await {
            let response = response?;
            // An account that was deleted after it was listed is no member any more.
            if response.status.as_u16() != 404 {
                yield entity(response);
            }
        }
        yield ReadItem::End(None);
    })
}

/// A page of the one record that an answer is.
fn entity(response: Response) -> ReadItem {
    ReadItem::Page(Page::Json { body: response.body, records: JsonPointer::root() })
}

async fn org_names(github: &GitHub, settings: &TableSettings) -> Result<Vec<String>, ConnectorError> {
    let mut names = match settings.orgs() {
        Orgs::Named(names) => names,
        Orgs::Own => {
            let mut names = Vec::new();
            for page in all_pages(github.get("user/orgs").query("per_page", 100)).await? {
                let accounts: Vec<Account> = Rows::of(&page, "")?.read()?;
                names.extend(accounts.into_iter().map(|account| account.login));
            }
            names
        }
    };
    names.sort();
    names.dedup();
    Ok(names)
}

/// Says which organization an error is about, where it is not there.
fn no_organization(settings: &TableSettings, name: &str, error: ConnectorError) -> ConnectorError {
    if status(&error) == Some(404) { missing_organization(settings, name) } else { error }
}

fn missing_organization(settings: &TableSettings, name: &str) -> ConnectorError {
    let option = settings.org_option();
    let reason = format!(
        "names `{name}`, which is no organization that these credentials show; `org` says which are read"
    );
    ConnectorError::invalid_option(option, reason)
}
