//! The columns of each table.

use super::Kind::{Flag, List, Long, Struct, Text, Time};
use super::parts::{
    APP, ASSET, AUTO_MERGE, CODE_OF_CONDUCT, CUSTOM_PROPERTIES, DEPENDENCIES, GIT_COMMIT, HEAD_COMMIT,
    ISSUE_TYPE, LABEL, LICENSE, MILESTONE, MINIMAL_REPOSITORY, OBJECT, PARENT, PERMISSIONS, PLAN, PROTECTION,
    PULL_LINKS, PULL_OF_ISSUE, PULL_OF_RUN, PULL_SIDE, REACTIONS, REFERENCED_WORKFLOW, REPOSITORY_COUNTS,
    REPOSITORY_FLAGS, REPOSITORY_TEXTS, REPOSITORY_URLS, REVIEW_COMMENT_LINKS, REVIEW_LINKS, SECURITY,
    SUB_ISSUES, TEAM, USER,
};
use super::{Columns, cols, keys};
use crate::tables::Table;

/// Where a record comes from; the API says so in addresses only.
const ORIGIN: Columns = keys("owner repo", Text).note("the repository that the record was read from");

pub(super) fn columns(table: Table) -> &'static [Columns] {
    match table {
        Table::Repositories => REPOSITORIES,
        Table::Issues => ISSUES,
        Table::PullRequests => PULL_REQUESTS,
        Table::Reviews => REVIEWS,
        Table::IssueComments => ISSUE_COMMENTS,
        Table::ReviewComments => REVIEW_COMMENTS,
        Table::Commits => COMMITS,
        Table::Branches => BRANCHES,
        Table::Assignees => ASSIGNEES,
        Table::Collaborators => COLLABORATORS,
        Table::Organizations => ORGANIZATIONS,
        Table::Teams => TEAMS,
        Table::Users => USERS,
        Table::Releases => RELEASES,
        Table::Tags => TAGS,
        Table::Milestones => MILESTONES,
        Table::WorkflowRuns => WORKFLOW_RUNS,
    }
}

const REPOSITORIES: &[Columns] = &[
    keys("id", Long),
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
    cols("permissions", Struct(PERMISSIONS)),
    CUSTOM_PROPERTIES,
    cols("security_and_analysis", Struct(SECURITY)),
    // The rest only comes where a repository is asked for by name.
    cols(
        "allow_rebase_merge allow_squash_merge allow_merge_commit allow_auto_merge allow_update_branch \
         delete_branch_on_merge use_squash_pr_title_as_default",
        Flag,
    ),
    cols(
        "squash_merge_commit_title squash_merge_commit_message merge_commit_title merge_commit_message",
        Text,
    ),
    cols("subscribers_count network_count", Long),
    cols("organization", Struct(USER)),
    cols("parent source template_repository", Struct(MINIMAL_REPOSITORY)),
    cols("code_of_conduct", Struct(CODE_OF_CONDUCT)),
];

const ISSUES: &[Columns] = &[
    ORIGIN,
    keys("id", Long),
    cols("number", Long),
    cols("node_id title state state_reason body author_association active_lock_reason", Text),
    cols("user assignee closed_by", Struct(USER)),
    cols("assignees", List(&Struct(USER))),
    cols("labels", List(&Struct(LABEL))),
    cols("milestone", Struct(MILESTONE)),
    cols("type", Struct(ISSUE_TYPE)),
    cols("locked draft", Flag),
    cols("comments", Long),
    cols("created_at", Time),
    keys("updated_at", Time),
    cols("closed_at", Time),
    cols("pull_request", Struct(PULL_OF_ISSUE)).note("null for what is no pull request"),
    cols("reactions", Struct(REACTIONS)),
    cols("performed_via_github_app", Struct(APP)),
    cols("sub_issues_summary", Struct(SUB_ISSUES)),
    cols("issue_dependencies_summary", Struct(DEPENDENCIES)),
    cols("url repository_url labels_url comments_url events_url html_url timeline_url", Text),
];

const PULL_REQUESTS: &[Columns] = &[
    ORIGIN,
    keys("id", Long),
    cols("number", Long),
    cols("node_id title state body author_association active_lock_reason merge_commit_sha", Text),
    cols("user assignee", Struct(USER)),
    cols("assignees requested_reviewers", List(&Struct(USER))),
    cols("requested_teams", List(&Struct(TEAM))),
    cols("labels", List(&Struct(LABEL))),
    cols("milestone", Struct(MILESTONE)),
    cols("locked draft", Flag),
    cols("created_at", Time),
    keys("updated_at", Time),
    cols("closed_at merged_at", Time),
    cols("head base", Struct(PULL_SIDE)),
    cols("auto_merge", Struct(AUTO_MERGE)),
    cols("_links", Struct(PULL_LINKS)),
    cols(
        "url html_url diff_url patch_url issue_url commits_url review_comments_url review_comment_url \
         comments_url statuses_url",
        Text,
    ),
];

const REVIEWS: &[Columns] = &[
    ORIGIN,
    keys("pull_number", Long),
    keys("pull_updated_at", Time).note("when the pull request last changed; every change of a review is one"),
    keys("id", Long),
    cols("node_id state body author_association commit_id", Text),
    cols("user", Struct(USER)),
    cols("submitted_at", Time).note("null for a review that is not sent yet"),
    cols("_links", Struct(REVIEW_LINKS)),
    cols("html_url pull_request_url", Text),
];

const ISSUE_COMMENTS: &[Columns] = &[
    ORIGIN,
    keys("id", Long),
    cols("node_id body author_association", Text),
    cols("user", Struct(USER)),
    cols("created_at", Time),
    keys("updated_at", Time),
    cols("reactions", Struct(REACTIONS)),
    cols("performed_via_github_app", Struct(APP)),
    cols("url html_url issue_url", Text),
];

const REVIEW_COMMENTS: &[Columns] = &[
    ORIGIN,
    keys("id", Long),
    cols("pull_request_review_id in_reply_to_id", Long),
    cols("node_id body author_association diff_hunk path commit_id original_commit_id subject_type", Text),
    cols("user", Struct(USER)),
    cols("created_at", Time),
    keys("updated_at", Time),
    cols("start_line original_start_line line original_line position original_position", Long),
    cols("start_side side", Text),
    cols("reactions", Struct(REACTIONS)),
    cols("_links", Struct(REVIEW_COMMENT_LINKS)),
    cols("url html_url pull_request_url", Text),
];

const COMMITS: &[Columns] = &[
    ORIGIN,
    keys("committed_at", Time).note("the committer's date"),
    keys("sha", Text),
    cols("node_id", Text),
    cols("commit", Struct(GIT_COMMIT)),
    cols("author committer", Struct(USER)).note("null where no account has the address"),
    cols("parents", List(&Struct(PARENT))),
    cols("url html_url comments_url", Text),
];

const BRANCHES: &[Columns] = &[
    ORIGIN,
    keys("name", Text),
    cols("commit", Struct(OBJECT)),
    cols("protected", Flag),
    cols("protection", Struct(PROTECTION)),
    cols("protection_url", Text),
];

const ASSIGNEES: &[Columns] = &[
    ORIGIN,
    cols("login", Text),
    keys("id", Long),
    cols(
        "node_id avatar_url gravatar_id url html_url followers_url following_url gists_url starred_url \
         subscriptions_url organizations_url repos_url events_url received_events_url type user_view_type",
        Text,
    ),
    cols("site_admin", Flag),
];

const COLLABORATORS: &[Columns] = &[
    ORIGIN,
    cols("login", Text),
    keys("id", Long),
    cols("role_name", Text),
    cols("permissions", Struct(PERMISSIONS)),
    cols(
        "node_id avatar_url gravatar_id url html_url followers_url following_url gists_url starred_url \
         subscriptions_url organizations_url repos_url events_url received_events_url type user_view_type",
        Text,
    ),
    cols("site_admin", Flag),
];

const ORGANIZATIONS: &[Columns] = &[
    cols("login", Text),
    keys("id", Long),
    cols(
        "node_id name description company blog location email twitter_username type billing_email \
         default_repository_permission members_allowed_repository_creation_type default_repository_branch \
         secret_scanning_push_protection_custom_link",
        Text,
    ),
    cols("created_at updated_at archived_at", Time),
    cols(
        "public_repos public_gists followers following total_private_repos owned_private_repos private_gists \
         disk_usage collaborators",
        Long,
    ),
    cols(
        "is_verified has_organization_projects has_repository_projects two_factor_requirement_enabled \
         members_can_create_repositories members_can_create_public_repositories \
         members_can_create_private_repositories members_can_create_internal_repositories \
         members_can_create_pages members_can_create_public_pages members_can_create_private_pages \
         members_can_fork_private_repositories members_can_delete_repositories \
         members_can_change_repo_visibility members_can_invite_outside_collaborators \
         members_can_delete_issues members_can_create_teams members_can_view_dependency_insights \
         display_commenter_full_name_setting_enabled readers_can_create_discussions \
         web_commit_signoff_required deploy_keys_enabled_for_repositories \
         advanced_security_enabled_for_new_repositories dependabot_alerts_enabled_for_new_repositories \
         dependabot_security_updates_enabled_for_new_repositories \
         dependency_graph_enabled_for_new_repositories secret_scanning_enabled_for_new_repositories \
         secret_scanning_push_protection_enabled_for_new_repositories \
         secret_scanning_push_protection_custom_link_enabled",
        Flag,
    ),
    cols("plan", Struct(PLAN)),
    cols(
        "url html_url repos_url events_url hooks_url issues_url members_url public_members_url avatar_url",
        Text,
    ),
];

const TEAMS: &[Columns] = &[
    keys("org", Text).note("the organization"),
    keys("id", Long),
    cols(
        "node_id name slug description privacy notification_setting url html_url members_url repositories_url \
         permission type",
        Text,
    ),
    cols("organization_id", Long),
    cols("permissions", Struct(PERMISSIONS)),
    cols("parent", Struct(TEAM)),
];

const USERS: &[Columns] = &[
    cols("login", Text),
    keys("id", Long),
    cols("node_id name company blog location email bio twitter_username type user_view_type", Text),
    cols("hireable site_admin", Flag),
    cols("public_repos public_gists followers following", Long),
    cols("created_at updated_at", Time),
    cols(
        "avatar_url gravatar_id url html_url followers_url following_url gists_url starred_url \
         subscriptions_url organizations_url repos_url events_url received_events_url",
        Text,
    ),
];

const RELEASES: &[Columns] = &[
    ORIGIN,
    keys("id", Long),
    cols("node_id tag_name target_commitish name body", Text),
    cols("draft prerelease immutable", Flag),
    cols("created_at updated_at published_at", Time),
    cols("author", Struct(USER)),
    cols("assets", List(&Struct(ASSET))),
    cols("mentions_count", Long),
    cols("reactions", Struct(REACTIONS)),
    cols("url html_url assets_url upload_url tarball_url zipball_url discussion_url", Text),
];

const TAGS: &[Columns] = &[
    ORIGIN,
    keys("name", Text),
    cols("node_id", Text),
    cols("commit", Struct(OBJECT)),
    cols("zipball_url tarball_url", Text),
];

const MILESTONES: &[Columns] = &[
    ORIGIN,
    keys("id", Long),
    cols("number", Long),
    cols("node_id url html_url labels_url title description state", Text),
    cols("creator", Struct(USER)),
    cols("open_issues closed_issues", Long),
    cols("created_at updated_at closed_at due_on", Time),
];

const WORKFLOW_RUNS: &[Columns] = &[
    ORIGIN,
    keys("id", Long),
    cols("node_id name display_title path event status conclusion head_branch head_sha", Text),
    cols("run_number run_attempt workflow_id check_suite_id", Long),
    cols("check_suite_node_id", Text),
    cols("created_at", Time),
    keys("updated_at", Time),
    cols("run_started_at", Time),
    cols("actor triggering_actor", Struct(USER)),
    cols("pull_requests", List(&Struct(PULL_OF_RUN))),
    cols("referenced_workflows", List(&Struct(REFERENCED_WORKFLOW))),
    cols("head_commit", Struct(HEAD_COMMIT)),
    cols("repository head_repository", Struct(MINIMAL_REPOSITORY)),
    cols(
        "url html_url jobs_url logs_url check_suite_url artifacts_url cancel_url rerun_url \
         previous_attempt_url workflow_url",
        Text,
    ),
];
