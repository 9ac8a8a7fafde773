//! Objects that stand in records of several tables.

use super::Kind::{Flag, Json, List, Long, Struct, Text, Texts, Time};
use super::{Columns, cols};

/// A "simple user": a person, a bot or an organization.
pub(super) const USER: &[Columns] = &[
    cols("login", Text),
    cols("id", Long),
    cols(
        "node_id avatar_url gravatar_id url html_url followers_url following_url gists_url starred_url \
         subscriptions_url organizations_url repos_url events_url received_events_url type user_view_type",
        Text,
    ),
    cols("site_admin", Flag),
];

pub(super) const LABEL: &[Columns] =
    &[cols("id", Long), cols("node_id url name description color", Text), cols("default", Flag)];

pub(super) const MILESTONE: &[Columns] = &[
    cols("id", Long),
    cols("number", Long),
    cols("node_id url html_url labels_url title description state", Text),
    cols("creator", Struct(USER)),
    cols("open_issues closed_issues", Long),
    cols("created_at updated_at closed_at due_on", Time),
];

pub(super) const REACTIONS: &[Columns] =
    &[cols("url", Text), cols("total_count +1 -1 laugh confused heart hooray eyes rocket", Long)];

/// A GitHub App.
pub(super) const APP: &[Columns] = &[
    cols("id", Long),
    cols("slug node_id client_id", Text),
    cols("owner", Struct(USER)),
    cols("name description external_url html_url", Text),
    cols("created_at updated_at", Time),
    cols("permissions", Texts),
    cols("events", List(&Text)),
];

pub(super) const ISSUE_TYPE: &[Columns] = &[
    cols("id", Long),
    cols("node_id name description color", Text),
    cols("created_at updated_at", Time),
    cols("is_enabled", Flag),
];

pub(super) const LICENSE: &[Columns] = &[cols("key name spdx_id url node_id", Text)];

pub(super) const PERMISSIONS: &[Columns] = &[cols("admin maintain push triage pull", Flag)];

/// A team as others hold it, without its parent.
pub(super) const TEAM: &[Columns] = &[
    cols("id", Long),
    cols(
        "node_id name slug description privacy notification_setting url html_url members_url repositories_url \
         permission type",
        Text,
    ),
    cols("organization_id", Long),
];

/// The addresses of a repository.
pub(super) const REPOSITORY_URLS: Columns = cols(
    "html_url url forks_url teams_url hooks_url events_url assignees_url branches_url tags_url blobs_url \
     git_tags_url git_refs_url trees_url statuses_url languages_url stargazers_url contributors_url \
     subscribers_url subscription_url commits_url git_commits_url comments_url issue_comment_url contents_url \
     compare_url merges_url archive_url downloads_url issues_url pulls_url milestones_url notifications_url \
     labels_url releases_url deployments_url keys_url collaborators_url issue_events_url",
    Text,
);

/// A "minimal repository".
pub(super) const MINIMAL_REPOSITORY: &[Columns] = &[
    cols("id", Long),
    cols("node_id name full_name description", Text),
    cols("owner", Struct(USER)),
    cols("private fork", Flag),
    REPOSITORY_URLS,
];

/// A "repository", as a pull request holds it.
pub(super) const REPOSITORY: &[Columns] = &[
    cols("id", Long),
    cols("node_id name full_name description", Text),
    cols("owner", Struct(USER)),
    cols("private fork", Flag),
    REPOSITORY_URLS,
    REPOSITORY_TEXTS,
    REPOSITORY_COUNTS,
    REPOSITORY_FLAGS,
    cols("created_at updated_at pushed_at", Time),
    cols("topics", List(&Text)),
    cols("license", Struct(LICENSE)),
];

pub(super) const REPOSITORY_TEXTS: Columns =
    cols("git_url ssh_url clone_url svn_url mirror_url homepage language visibility default_branch", Text);

pub(super) const REPOSITORY_COUNTS: Columns = cols(
    "size stargazers_count watchers_count forks_count open_issues_count forks open_issues watchers",
    Long,
);

pub(super) const REPOSITORY_FLAGS: Columns = cols(
    "has_issues has_projects has_downloads has_wiki has_pages has_discussions archived disabled allow_forking \
     is_template web_commit_signoff_required",
    Flag,
);

const STATUS: &[Columns] = &[cols("status", Text)];

pub(super) const SECURITY: &[Columns] = &[cols(
    "advanced_security dependabot_security_updates secret_scanning secret_scanning_push_protection \
     secret_scanning_non_provider_patterns secret_scanning_validity_checks",
    Struct(STATUS),
)];

pub(super) const CODE_OF_CONDUCT: &[Columns] = &[cols("key name url html_url", Text)];

const LINK: &[Columns] = &[cols("href", Text)];

pub(super) const PULL_LINKS: &[Columns] =
    &[cols("self html issue comments review_comments review_comment commits statuses", Struct(LINK))];

pub(super) const REVIEW_LINKS: &[Columns] = &[cols("html pull_request", Struct(LINK))];

pub(super) const REVIEW_COMMENT_LINKS: &[Columns] = &[cols("self html pull_request", Struct(LINK))];

/// One side of a pull request. The repository is null where a fork is gone.
pub(super) const PULL_SIDE: &[Columns] =
    &[cols("label ref sha", Text), cols("user", Struct(USER)), cols("repo", Struct(REPOSITORY))];

pub(super) const AUTO_MERGE: &[Columns] =
    &[cols("enabled_by", Struct(USER)), cols("merge_method commit_title commit_message", Text)];

pub(super) const PULL_OF_ISSUE: &[Columns] =
    &[cols("url html_url diff_url patch_url", Text), cols("merged_at", Time)];

/// Who, by git and not by GitHub.
const GIT_PERSON: &[Columns] = &[cols("name email", Text), cols("date", Time)];

/// A commit's tree, or the commit of a branch or a tag.
pub(super) const OBJECT: &[Columns] = &[cols("sha url", Text)];

const VERIFICATION: &[Columns] =
    &[cols("verified", Flag), cols("reason signature payload", Text), cols("verified_at", Time)];

pub(super) const GIT_COMMIT: &[Columns] = &[
    cols("url message", Text),
    cols("author committer", Struct(GIT_PERSON)),
    cols("tree", Struct(OBJECT)),
    cols("comment_count", Long),
    cols("verification", Struct(VERIFICATION)),
];

pub(super) const PARENT: &[Columns] = &[cols("sha url html_url", Text)];

const CHECK: &[Columns] = &[cols("context", Text), cols("app_id", Long)];

const STATUS_CHECKS: &[Columns] =
    &[cols("enforcement_level", Text), cols("contexts", List(&Text)), cols("checks", List(&Struct(CHECK)))];

pub(super) const PROTECTION: &[Columns] =
    &[cols("enabled", Flag), cols("required_status_checks", Struct(STATUS_CHECKS))];

pub(super) const ASSET: &[Columns] = &[
    cols("id", Long),
    cols("node_id name label url browser_download_url content_type state digest", Text),
    cols("size download_count", Long),
    cols("created_at updated_at", Time),
    cols("uploader", Struct(USER)),
];

pub(super) const PLAN: &[Columns] =
    &[cols("name", Text), cols("space private_repos filled_seats seats", Long)];

const SHORT_REPOSITORY: &[Columns] = &[cols("id", Long), cols("url name", Text)];

const PULL_SIDE_OF_RUN: &[Columns] = &[cols("ref sha", Text), cols("repo", Struct(SHORT_REPOSITORY))];

pub(super) const PULL_OF_RUN: &[Columns] =
    &[cols("id", Long), cols("number", Long), cols("url", Text), cols("head base", Struct(PULL_SIDE_OF_RUN))];

pub(super) const REFERENCED_WORKFLOW: &[Columns] = &[cols("path sha ref", Text)];

const PERSON: &[Columns] = &[cols("name email", Text)];

pub(super) const HEAD_COMMIT: &[Columns] =
    &[cols("id tree_id message", Text), cols("timestamp", Time), cols("author committer", Struct(PERSON))];

/// Values that an organization defines for its repositories: texts, or lists of them.
pub(super) const CUSTOM_PROPERTIES: Columns = cols("custom_properties", Json);

pub(super) const SUB_ISSUES: &[Columns] = &[cols("total completed percent_completed", Long)];

pub(super) const DEPENDENCIES: &[Columns] =
    &[cols("blocked_by total_blocked_by blocking total_blocking", Long)];
