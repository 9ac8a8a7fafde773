use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt};
use headwater_connect::{
    Connector, ConnectorError, ConnectorFactory, Offset, Options, PageStream, StructType, TableMetadata,
};

use crate::changes::{self, List};
use crate::commits;
use crate::github::{GitHub, judged};
use crate::pulls::{self, What};
use crate::runs;
use crate::settings::{Settings, TableSettings};
use crate::snapshots;
use crate::tables::Table;

/// Makes connectors for GitHub.
#[derive(Debug, Clone, Copy, Default)]
pub struct GitHubFactory;

#[async_trait]
impl ConnectorFactory for GitHubFactory {
    fn name(&self) -> &'static str {
        "github"
    }

    fn connector_spec(&self) -> Option<&str> {
        Some(include_str!("../connector_spec.yaml"))
    }

    async fn connect(&self, options: &Options) -> Result<Box<dyn Connector>, ConnectorError> {
        // What is wrong with a table's options is said before the first request.
        TableSettings::from_options(options)?;
        let github = GitHub::new(Settings::from_options(options)?)?;
        Ok(Box::new(GitHubConnector { github, options: options.clone() }))
    }
}

struct GitHubConnector {
    github: GitHub,
    options: Options,
}

impl GitHubConnector {
    fn table(&self, name: &str, options: &Options) -> Result<(Table, TableSettings), ConnectorError> {
        let table = Table::from_name(name)?;
        Ok((table, TableSettings::from_options(&self.options.merged(options))?))
    }
}

#[async_trait]
impl Connector for GitHubConnector {
    async fn list_tables(&self) -> Result<Vec<String>, ConnectorError> {
        Ok(Table::ALL.iter().map(|table| table.name().to_owned()).collect())
    }

    async fn get_table_schema(&self, table: &str, options: &Options) -> Result<StructType, ConnectorError> {
        Ok(self.table(table, options)?.0.schema())
    }

    async fn read_table_metadata(
        &self,
        table: &str,
        options: &Options,
    ) -> Result<TableMetadata, ConnectorError> {
        Ok(self.table(table, options)?.0.metadata())
    }

    fn read_table<'a>(
        &'a self,
        table: &'a str,
        start: Option<&'a Offset>,
        options: &'a Options,
    ) -> PageStream<'a> {
        let (table, settings) = match self.table(table, options) {
            Ok(found) => found,
            Err(error) => return Box::pin(futures::stream::once(async move { Err(error) })),
        };
        let github = &self.github;
        let pages = match table {
            Table::Repositories => snapshots::read_repositories(github, settings),
            Table::Issues => changes::read(github, List::Issues, settings, start),
            Table::IssueComments => changes::read(github, List::IssueComments, settings, start),
            Table::ReviewComments => changes::read(github, List::ReviewComments, settings, start),
            Table::PullRequests => pulls::read(github, What::Pulls, settings, start),
            Table::Reviews => pulls::read(github, What::Reviews, settings, start),
            Table::Commits => commits::read(github, settings, start),
            Table::WorkflowRuns => runs::read(github, settings, start),
            Table::Organizations => snapshots::read_organizations(github, settings),
            Table::Teams => snapshots::read_teams(github, settings),
            Table::Users => snapshots::read_users(github, settings),
            Table::Branches
            | Table::Assignees
            | Table::Collaborators
            | Table::Releases
            | Table::Tags
            | Table::Milestones => snapshots::read_lists(github, table, settings),
        };
        pages.map_err(judged).boxed()
    }

    async fn test_connection(&self) -> Result<(), ConnectorError> {
        self.github.check().await.map_err(judged)
    }

    fn requests(&self) -> u64 {
        self.github.client.stats().counts().requests
    }
}
