use headwater_connect::{ConnectorError, IngestionType, StructType, TableMetadata};

use crate::schema;

/// The tables of every account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Table {
    Repositories,
    Issues,
    PullRequests,
    Reviews,
    IssueComments,
    ReviewComments,
    Commits,
    Branches,
    Assignees,
    Collaborators,
    Organizations,
    Teams,
    Users,
    Releases,
    Tags,
    Milestones,
    WorkflowRuns,
}

impl Table {
    pub(crate) const ALL: [Table; 17] = [
        Table::Repositories,
        Table::Issues,
        Table::PullRequests,
        Table::Reviews,
        Table::IssueComments,
        Table::ReviewComments,
        Table::Commits,
        Table::Branches,
        Table::Assignees,
        Table::Collaborators,
        Table::Organizations,
        Table::Teams,
        Table::Users,
        Table::Releases,
        Table::Tags,
        Table::Milestones,
        Table::WorkflowRuns,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Table::Repositories => "repositories",
            Table::Issues => "issues",
            Table::PullRequests => "pull_requests",
            Table::Reviews => "reviews",
            Table::IssueComments => "issue_comments",
            Table::ReviewComments => "review_comments",
            Table::Commits => "commits",
            Table::Branches => "branches",
            Table::Assignees => "assignees",
            Table::Collaborators => "collaborators",
            Table::Organizations => "organizations",
            Table::Teams => "teams",
            Table::Users => "users",
            Table::Releases => "releases",
            Table::Tags => "tags",
            Table::Milestones => "milestones",
            Table::WorkflowRuns => "workflow_runs",
        }
    }

    pub(crate) fn from_name(name: &str) -> Result<Self, ConnectorError> {
        let unknown = || ConnectorError::UnknownTable {
            table: name.to_owned(),
            available: Self::ALL.iter().map(|table| table.name().to_owned()).collect(),
        };
        Self::ALL.into_iter().find(|table| table.name() == name).ok_or_else(unknown)
    }

    pub(crate) fn metadata(self) -> TableMetadata {
        let (keys, cursor): (&[&str], Option<&str>) = match self {
            Table::Issues
            | Table::PullRequests
            | Table::IssueComments
            | Table::ReviewComments
            | Table::WorkflowRuns => (&["id"], Some("updated_at")),
            Table::Reviews => (&["id"], Some("pull_updated_at")),
            Table::Commits => (&["owner", "repo", "sha"], Some("committed_at")),
            Table::Branches | Table::Tags => (&["owner", "repo", "name"], None),
            Table::Assignees | Table::Collaborators => (&["owner", "repo", "id"], None),
            Table::Repositories
            | Table::Organizations
            | Table::Teams
            | Table::Users
            | Table::Releases
            | Table::Milestones => (&["id"], None),
        };
        TableMetadata {
            primary_keys: keys.iter().map(|key| (*key).to_owned()).collect(),
            cursor_field: cursor.map(str::to_owned),
            ingestion_type: if cursor.is_some() { IngestionType::Cdc } else { IngestionType::Snapshot },
        }
    }

    pub(crate) fn schema(self) -> StructType {
        schema::of(self)
    }
}
