"""Writes the corpus of the GitHub simulator: `python3 make_corpus.py [folder]`.

Everything in it is invented, and follows from SEED. Shapes are those of the public REST documentation (version
2022-11-28). One record stands on a line, so that a change can be read in a diff.
"""

import datetime
import hashlib
import json
import pathlib
import random
import sys

SEED = 20221128
API = "https://api.github.com"
WEB = "https://github.com"
ORG = "oxbow-x"
REPO = "kit"
SIDE_REPO = "lab"
EPOCH = datetime.datetime(2025, 1, 6, 9, 0, 0)

rng = random.Random(SEED)

WORDS = (
    "gauge ridge lantern basin cinder harbour meadow signal thistle anchor copper drift ember fathom granite "
    "hollow inlet juniper kelp ledger marsh nimbus orchard pebble quarry reed saddle timber umber vessel"
).split()
NAMES = (
    "Ada Fictive,Bo Invented,Chidi Muster,Dara Placeholder,Ève Exemple,Fumiko Mihon 見本,Gül Örnek,Hal Specimen,"
    "Ines Muestra,Jörg Beispiel,Kai Sample,Lúcia Amostra,Mika Esimerkki,Noor Namuna,Olu Dummy,Pia Provtext"
).split(",")


def time(minutes, seconds=0):
    return (EPOCH + datetime.timedelta(minutes=minutes, seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


def sha(*parts):
    return hashlib.sha1("/".join(map(str, parts)).encode()).hexdigest()


def node(kind, number):
    return f"{kind}_kwDO{hashlib.sha1(f'{kind}{number}'.encode()).hexdigest()[:10]}"


def words(count):
    return " ".join(rng.choice(WORDS) for _ in range(count))


def some(chance, value):
    """The value, or null: the chance is that of a value."""
    return value if rng.random() < chance else None


def login(index):
    return f"fx-{index:02}"


def user(index, site_admin=False):
    """A "simple user"."""
    name, url = login(index), f"{API}/users/{login(index)}"
    return {
        "login": name,
        "id": 9_000_000_000 + index,
        "node_id": node("U", index),
        "avatar_url": f"https://avatars.githubusercontent.com/u/{9_000_000_000 + index}?v=4",
        "gravatar_id": "",
        "url": url,
        "html_url": f"{WEB}/{name}",
        "followers_url": f"{url}/followers",
        "following_url": f"{url}/following{{/other_user}}",
        "gists_url": f"{url}/gists{{/gist_id}}",
        "starred_url": f"{url}/starred{{/owner}}{{/repo}}",
        "subscriptions_url": f"{url}/subscriptions",
        "organizations_url": f"{url}/orgs",
        "repos_url": f"{url}/repos",
        "events_url": f"{url}/events{{/privacy}}",
        "received_events_url": f"{url}/received_events",
        "type": "Bot" if index % 17 == 9 else "User",
        "user_view_type": "public",
        "site_admin": site_admin,
    }


def any_user():
    return user(rng.randrange(1, 17))


def person_or_ghost(chance=0.9):
    """A user, or null as for an account that was deleted."""
    return some(chance, any_user())


def organization_as_owner():
    account = user(0)
    old = login(0)
    text = json.dumps(account).replace(old, ORG)
    return {**json.loads(text), "type": "Organization"}


def profile(index):
    """A "public user", with what only the account itself and its administrators see left out."""
    return {
        **user(index, site_admin=index == 3),
        "name": some(0.9, NAMES[index % len(NAMES)]),
        "company": some(0.6, "@oxbow-x"),
        "blog": rng.choice(["", f"https://{login(index)}.example.org"]),
        "location": some(0.5, rng.choice(["Nowhere", "Sample City", "Ciudad Ejemplo", "架空市"])),
        "email": some(0.4, f"{login(index)}@example.org"),
        "hireable": some(0.3, True),
        "bio": some(0.5, words(6) + rng.choice(["", " 🚀", ' "quoted" \\ and\nsplit'])),
        "twitter_username": some(0.2, f"fx_{index}"),
        "public_repos": rng.randrange(90),
        "public_gists": rng.randrange(9),
        "followers": rng.randrange(5000),
        "following": rng.randrange(300),
        "created_at": time(index * 97 - 900_000),
        "updated_at": time(index * 61),
    }


def repo_urls(full_name):
    url = f"{API}/repos/{full_name}"
    plain = (
        "forks teams hooks events assignees:{/user} branches:{/branch} tags blobs:git/blobs{/sha} "
        "git_tags:git/tags{/sha} git_refs:git/refs{/sha} trees:git/trees{/sha} statuses:{/sha} languages stargazers "
        "contributors subscribers subscription commits:{/sha} git_commits:git/commits{/sha} comments:{/number} "
        "issue_comment:issues/comments{/number} contents:contents/{+path} compare:compare/{base}...{head} merges "
        "archive:{archive_format}{/ref} downloads issues:{/number} pulls:{/number} milestones:{/number} "
        "notifications:{?since,all,participating} labels:{/name} releases:{/id} deployments "
        "keys:{/key_id} collaborators:{/collaborator} issue_events:issues/events{/number}"
    )
    urls = {"html_url": f"{WEB}/{full_name}", "url": url}
    for item in plain.split():
        name, _, rest = item.partition(":")
        path = rest if rest and not rest.startswith("{") else f"{name}{rest}"
        urls[f"{name}_url"] = f"{url}/{path}"
    return urls


def minimal_repository(index, name):
    full_name = f"{ORG}/{name}"
    return {
        "id": 8_000_000_000 + index,
        "node_id": node("R", index),
        "name": name,
        "full_name": full_name,
        "private": index % 3 == 2,
        "owner": organization_as_owner(),
        "description": [None, words(7), "Ünïcode 説明 🧭"][index % 3],
        "fork": index % 11 == 4,
        **repo_urls(full_name),
    }


def repository(index, name):
    """A "repository" as pull requests and listings hold it."""
    full_name = f"{ORG}/{name}"
    return {
        **minimal_repository(index, name),
        "created_at": time(index * 300 - 400_000),
        "updated_at": time(index * 777),
        "pushed_at": time(index * 781),
        "git_url": f"git://github.com/{full_name}.git",
        "ssh_url": f"git@github.com:{full_name}.git",
        "clone_url": f"{WEB}/{full_name}.git",
        "svn_url": f"{WEB}/{full_name}",
        "mirror_url": "git:git.example.org/mirror" if index % 19 == 5 else None,
        "homepage": [None, "", "https://kit.example.org"][index % 3],
        "size": index * 1_009,
        "stargazers_count": index * 37 % 1000,
        "watchers_count": index * 37 % 1000,
        "language": ["Rust", None, "Python", "C++"][index % 4],
        "has_issues": index % 13 != 7,
        "has_projects": True,
        "has_downloads": True,
        "has_wiki": index % 2 == 0,
        "has_pages": index % 5 == 0,
        "has_discussions": index % 7 == 0,
        "forks_count": index % 9,
        "archived": index % 10 == 8,
        "disabled": False,
        "open_issues_count": index * 3 % 40,
        "license": None
        if index % 4 == 3
        else {
            "key": "apache-2.0",
            "name": "Apache License 2.0",
            "spdx_id": "Apache-2.0",
            "url": f"{API}/licenses/apache-2.0",
            "node_id": node("L", 1),
        },
        "allow_forking": True,
        "is_template": index % 12 == 6,
        "web_commit_signoff_required": False,
        "topics": [[], ["data", "lake"], ["ünï"]][index % 3],
        "visibility": ["public", "public", "private"][index % 3],
        "forks": index % 9,
        "open_issues": index * 3 % 40,
        "watchers": index * 37 % 1000,
        "default_branch": "main" if index % 6 else "trunk",
    }


def nested(record, whole):
    """A repository or an account inside another record: whole, or without its owner and its addresses, which would
    make up most of the corpus."""
    if whole or record is None:
        return record
    return {name: value for name, value in record.items() if not name.endswith("_url") and name != "owner"}


def asked_by_name(index):
    """What only comes where a repository is asked for by its name."""
    return {
        "allow_rebase_merge": True,
        "allow_squash_merge": True,
        "allow_merge_commit": False,
        "allow_auto_merge": False,
        "allow_update_branch": True,
        "delete_branch_on_merge": True,
        "use_squash_pr_title_as_default": False,
        "squash_merge_commit_title": "PR_TITLE",
        "squash_merge_commit_message": "BLANK",
        "merge_commit_title": "MERGE_MESSAGE",
        "merge_commit_message": "PR_TITLE",
        "subscribers_count": 42,
        "network_count": 7,
        "organization": organization_as_owner(),
        "parent": minimal_repository(index + 100, "upstream"),
        "source": minimal_repository(index + 100, "upstream"),
        "template_repository": minimal_repository(index + 201, "template"),
        "code_of_conduct": {
            "key": "contributor_covenant",
            "name": "Contributor Covenant",
            "url": f"{API}/codes_of_conduct/contributor_covenant",
            "html_url": f"{WEB}/{ORG}/{REPO}/blob/main/CODE_OF_CONDUCT.md",
        },
    }


def repositories():
    names = [REPO, SIDE_REPO] + [f"lib-{n:02}" for n in range(1, 49)]
    for index, name in enumerate(names, 1):
        yield {
            **repository(index, name),
            **(asked_by_name(index) if index == 1 else {}),
            "permissions": {
                "admin": index % 2 == 0,
                "maintain": index % 2 == 0,
                "push": True,
                "triage": True,
                "pull": True,
            },
            "custom_properties": [{}, {"tier": "gold", "squads": ["core", "data"]}][index % 2],
            "security_and_analysis": {
                part: {"status": ["enabled", "disabled"][index % 2]}
                for part in (
                    "advanced_security",
                    "dependabot_security_updates",
                    "secret_scanning",
                    "secret_scanning_push_protection",
                    "secret_scanning_non_provider_patterns",
                    "secret_scanning_validity_checks",
                )
            },
        }


def label(index):
    name = ["bug", "good first issue", "größer", "perf", "wontfix"][index]
    return {
        "id": 7_000_000_000 + index,
        "node_id": node("LA", index),
        "url": f"{API}/repos/{ORG}/{REPO}/labels/{name.replace(' ', '%20')}",
        "name": name,
        "color": ["d73a4a", "7057ff", "0e8a16", "fbca04", "ffffff"][index],
        "default": index in (0, 1, 4),
        "description": [None, words(3)][index % 2],
    }


LABELS = [label(index) for index in range(5)]


def labels():
    return rng.sample(LABELS, rng.choice([0, 0, 1, 2]))


def milestone(number, repo=REPO):
    url = f"{API}/repos/{ORG}/{repo}/milestones/{number}"
    closed = number % 4 == 0
    return {
        "url": url,
        "html_url": f"{WEB}/{ORG}/{repo}/milestone/{number}",
        "labels_url": f"{url}/labels",
        "id": 6_000_000_000 + number + (1000 if repo != REPO else 0),
        "node_id": node("MI", f"{repo}{number}"),
        "number": number,
        "title": f"v0.{number} {WORDS[number % len(WORDS)]}",
        "description": [None, "", "Überarbeitung 第二"][number % 3],
        "creator": nested(user(number % 16 + 1), number % 6 == 1) if number % 7 else None,
        "open_issues": number % 5,
        "closed_issues": number * 3 % 11,
        "state": "closed" if closed else "open",
        "created_at": time(number * 180),
        "updated_at": time(number * 200),
        "due_on": time(number * 400) if number % 2 else None,
        "closed_at": time(number * 200) if closed else None,
    }


def reactions(url, index):
    counts = [index * prime % 4 if index % 3 == 0 else 0 for prime in (3, 5, 7, 11, 13, 17, 19, 23)]
    names = ["+1", "-1", "laugh", "hooray", "confused", "heart", "rocket", "eyes"]
    return {"url": f"{url}/reactions", "total_count": sum(counts), **dict(zip(names, counts))}


ASSOCIATIONS = ["MEMBER", "NONE", "CONTRIBUTOR", "OWNER", "COLLABORATOR"]
PULLS = range(101, 150)
ISSUES = range(201, 246)
BODIES = [None, "", "Short.", "Line one\r\nline two\n\n```rust\nlet x = \"}{][\";\n```", "Emoji 🐛 and 日本語 \u2028 end"]


def app():
    return {
        "id": 5_000_001,
        "slug": "ox-bot",
        "node_id": node("A", 1),
        "client_id": "Iv1.0123456789abcdef",
        "owner": organization_as_owner(),
        "name": "Ox Bot",
        "description": "Files what it finds.",
        "external_url": "https://bot.example.org",
        "html_url": f"{WEB}/apps/ox-bot",
        "created_at": time(-90_000),
        "updated_at": time(-80_000),
        "permissions": {"issues": "write", "metadata": "read"},
        "events": ["push", "pull_request"],
    }


def issue(number, repo=REPO):
    url = f"{API}/repos/{ORG}/{repo}/issues/{number}"
    is_pull = number < 200
    closed = number % 3 == 0
    # Every sixth shares its second with the one before it.
    stamp = number - 1 if number % 6 == 5 else number
    created = time((number - 100) * 30)
    updated = time((stamp - 100) * 45 + 7_000)
    closed_at = updated if closed else None
    assignees = [nested(user(n), number % 6 == 0) for n in (1, 3)] if number % 5 == 0 else []
    record = {
        "url": url,
        "repository_url": f"{API}/repos/{ORG}/{repo}",
        "labels_url": f"{url}/labels{{/name}}",
        "comments_url": f"{url}/comments",
        "events_url": f"{url}/events",
        "html_url": f"{WEB}/{ORG}/{repo}/{'pull' if is_pull else 'issues'}/{number}",
        # One is beyond what a double holds.
        "id": 9_007_199_254_740_993 if number == 222 else 3_000_000_000 + number + (1000 if repo != REPO else 0),
        "node_id": node("I", f"{repo}{number}"),
        "number": number,
        "title": f"{words(4)} #{number}" + [" ✨", "", ' "q"'][number % 3],
        "user": None if number % 13 == 0 else user(number % 16 + 1),
        "labels": labels(),
        "state": "closed" if closed else "open",
        "locked": number % 17 == 0,
        "assignee": assignees[0] if assignees else None,
        "assignees": assignees,
        "milestone": milestone(number % 9 + 1) if number % 8 == 0 else None,
        "comments": number % 4,
        "created_at": created,
        "updated_at": updated,
        "closed_at": closed_at,
        "author_association": ASSOCIATIONS[number % 5],
        "type": None
        if is_pull or number % 4
        else {
            "id": 4_000_000_001,
            "node_id": node("IT", 1),
            "name": "Task",
            "description": "A piece of work",
            "color": "yellow",
            "created_at": time(-200_000),
            "updated_at": time(-200_000),
            "is_enabled": True,
        },
        "active_lock_reason": ["too heated", "resolved"][number % 2] if number % 17 == 0 else None,
        "body": BODIES[number % 5],
        "closed_by": nested(user(number % 16 + 1), number % 9 == 0) if closed and number % 2 else None,
        "reactions": reactions(url, number),
        "timeline_url": f"{url}/timeline",
        "performed_via_github_app": app() if number == 231 else None,
        "state_reason": ["completed", "not_planned"][number % 2] if closed and not is_pull else None,
    }
    if is_pull:
        web = f"{WEB}/{ORG}/{repo}/pull/{number}"
        record["draft"] = number % 9 == 0
        record["pull_request"] = {
            "url": f"{API}/repos/{ORG}/{repo}/pulls/{number}",
            "html_url": web,
            "diff_url": f"{web}.diff",
            "patch_url": f"{web}.patch",
            "merged_at": closed_at if number % 2 else None,
        }
    else:
        record["sub_issues_summary"] = {"total": number % 3, "completed": number % 2, "percent_completed": 50}
        record["issue_dependencies_summary"] = {
            "blocked_by": number % 2, "total_blocked_by": 1, "blocking": 0, "total_blocking": number % 2
        }
    return record


def issues():
    for number in [*range(101, 111), *ISSUES]:
        yield issue(number)
    for number in range(301, 304):
        yield issue(number, SIDE_REPO)


def team(index, nested=True):
    url = f"{API}/organizations/9000000000/team/{index}"
    record = {
        "name": ["Core", "Data & Lake", "Ünïon", "Ops"][index % 4] + f" {index}",
        "id": 2_000_000 + index,
        "node_id": node("T", index),
        "slug": f"team-{index}",
        "description": [None, "", words(5)][index % 3],
        "privacy": ["closed", "secret"][index % 2],
        "notification_setting": ["notifications_enabled", "notifications_disabled"][index % 2],
        "url": url,
        "html_url": f"{WEB}/orgs/{ORG}/teams/team-{index}",
        "members_url": f"{url}/members{{/member}}",
        "repositories_url": f"{url}/repos",
        "type": "organization",
        "organization_id": 9_000_000_000,
        "permission": ["pull", "push", "admin"][index % 3],
    }
    if not nested:
        return record
    right = index % 3
    record["permissions"] = {
        "pull": True, "triage": right > 0, "push": right > 0, "maintain": right > 1, "admin": right > 1
    }
    record["parent"] = team(index - 1, nested=False) if index % 4 == 0 else None
    return record


def repository_of_pull():
    """The repository as pull requests hold it; nothing that the API may give is null."""
    return {**repository(1, REPO), "language": "Rust", "mirror_url": "git:git.example.org/mirror"}


def pull(number, repo=REPO):
    url = f"{API}/repos/{ORG}/{repo}/pulls/{number}"
    issue_url = f"{API}/repos/{ORG}/{repo}/issues/{number}"
    web = f"{WEB}/{ORG}/{repo}/pull/{number}"
    closed = number % 3 == 0
    merged = closed and number % 2 == 1
    stamp = number - 1 if number % 6 == 5 else number
    created, updated = time((number - 100) * 30), time((stamp - 100) * 45 + 7_000)
    author = None if number % 13 == 0 else user(number % 16 + 1)
    head, base = sha("head", number), sha("base", number)
    return {
        "url": url,
        "id": 1_000_000_000 + number + (1000 if repo != REPO else 0),
        "node_id": node("PR", f"{repo}{number}"),
        "html_url": web,
        "diff_url": f"{web}.diff",
        "patch_url": f"{web}.patch",
        "issue_url": issue_url,
        "number": number,
        "state": "closed" if closed else "open",
        "locked": number % 17 == 0,
        "title": f"{words(4)} #{number}",
        "user": author,
        "body": BODIES[(number + 2) % 5],
        "created_at": created,
        "updated_at": updated,
        "closed_at": updated if closed else None,
        "merged_at": updated if merged else None,
        "merge_commit_sha": sha("merge", number) if number % 4 else None,
        "assignee": any_user() if number % 10 == 0 else None,
        "assignees": [any_user()] if number % 10 == 0 else [],
        "requested_reviewers": [user(4)] if number % 9 == 1 else [],
        "requested_teams": [team(number % 5, nested=False)] if number % 12 == 0 else [],
        "labels": labels(),
        "milestone": milestone(number // 10) if number % 10 == 0 else None,
        "draft": number % 9 == 0,
        "commits_url": f"{url}/commits",
        "review_comments_url": f"{url}/comments",
        "review_comment_url": f"{API}/repos/{ORG}/{repo}/pulls/comments{{/number}}",
        "comments_url": f"{issue_url}/comments",
        "statuses_url": f"{API}/repos/{ORG}/{repo}/statuses/{head}",
        # A fork that is gone leaves null behind.
        "head": {
            "label": f"{ORG}:topic-{number}",
            "ref": f"topic-{number}",
            "sha": head,
            "user": nested(author, number % 6 == 0),
            "repo": nested(repository_of_pull(), number == 112) if number % 16 == 0 else None,
        },
        "base": {
            "label": f"{ORG}:main",
            "ref": "main",
            "sha": base,
            "user": nested(organization_as_owner(), number % 6 == 0),
            "repo": nested(repository_of_pull() if repo == REPO else repository(2, repo), number % 6 == 0),
        },
        "_links": {
            "self": {"href": url},
            "html": {"href": web},
            "issue": {"href": issue_url},
            "comments": {"href": f"{issue_url}/comments"},
            "review_comments": {"href": f"{url}/comments"},
            "review_comment": {"href": f"{API}/repos/{ORG}/{repo}/pulls/comments{{/number}}"},
            "commits": {"href": f"{url}/commits"},
            "statuses": {"href": f"{API}/repos/{ORG}/{repo}/statuses/{head}"},
        },
        "author_association": ASSOCIATIONS[number % 5],
        "auto_merge": {
            "enabled_by": user(2), "merge_method": "squash", "commit_title": "Merge", "commit_message": words(3)
        }
        if number == 121
        else None,
        "active_lock_reason": "spam" if number % 17 == 0 else None,
    }


def pulls():
    yield from (pull(number) for number in PULLS)
    yield pull(301, SIDE_REPO)


def reviews():
    for index in range(54):
        number = PULLS[index * 5 % len(PULLS)]
        web = f"{WEB}/{ORG}/{REPO}/pull/{number}#pullrequestreview-{1_500_000_000 + index}"
        url = f"{API}/repos/{ORG}/{REPO}/pulls/{number}"
        state = ["APPROVED", "COMMENTED", "CHANGES_REQUESTED", "DISMISSED"][index % 4]
        if index in (6, 31):
            state = "PENDING"
        record = {
            "id": 1_500_000_000 + index,
            "node_id": node("PRR", index),
            "user": None if index % 11 == 5 else user(index % 16 + 1),
            "body": BODIES[index % 5] or "",
            "state": state,
            "html_url": web,
            "pull_request_url": url,
            "author_association": ASSOCIATIONS[index % 5],
            "_links": {"html": {"href": web}, "pull_request": {"href": url}},
            "commit_id": sha("head", number) if index % 8 else None,
        }
        # A review that is not sent yet has no time.
        if state != "PENDING":
            record["submitted_at"] = time((number - 100) * 45 + 6_900)
        yield record


def issue_comments():
    for index in range(52):
        repo = SIDE_REPO if index >= 50 else REPO
        number = 301 if repo == SIDE_REPO else [*range(101, 111), *ISSUES][index]
        url = f"{API}/repos/{ORG}/{repo}/issues/comments/{2_500_000_000 + index}"
        issue_url = f"{API}/repos/{ORG}/{repo}/issues/{number}"
        yield {
            "url": url,
            "html_url": f"{WEB}/{ORG}/{repo}/issues/{number}#issuecomment-{2_500_000_000 + index}",
            "issue_url": issue_url,
            "id": 2_500_000_000 + index,
            "node_id": node("IC", index),
            "user": None if index % 12 == 7 else user(index % 16 + 1),
            "created_at": time(index * 31 + 100),
            "updated_at": time(index // 2 * 67 + 3_000),
            "body": BODIES[index % 5] or words(9),
            "author_association": ASSOCIATIONS[index % 5],
            "reactions": reactions(url, index),
            "performed_via_github_app": app() if index == 30 else None,
        }


def review_comments():
    for index in range(51):
        number = PULLS[index * 3 % len(PULLS)]
        url = f"{API}/repos/{ORG}/{REPO}/pulls/comments/{1_700_000_000 + index}"
        web = f"{WEB}/{ORG}/{REPO}/pull/{number}#discussion_r{1_700_000_000 + index}"
        pull_url = f"{API}/repos/{ORG}/{REPO}/pulls/{number}"
        whole_file = index % 9 == 8
        line = None if whole_file or index % 7 == 6 else index + 4
        record = {
            "url": url,
            "pull_request_review_id": None if index % 10 == 9 else 1_500_000_000 + index,
            "id": 1_700_000_000 + index,
            "node_id": node("PRRC", index),
            "diff_hunk": "@@ -1,4 +1,5 @@\n-old \"line\"\n+new {line}",
            "path": f"src/{WORDS[index % 30]}/größe.rs",
            "commit_id": sha("head", number),
            "original_commit_id": sha("base", number),
            "user": None if index % 14 == 3 else user(index % 16 + 1),
            "body": BODIES[index % 5] or words(6),
            "created_at": time(index * 33 + 50),
            "updated_at": time(index // 2 * 71 + 3_000),
            "html_url": web,
            "pull_request_url": pull_url,
            "author_association": ASSOCIATIONS[index % 5],
            "_links": {"self": {"href": url}, "html": {"href": web}, "pull_request": {"href": pull_url}},
            "reactions": reactions(url, index),
            "start_line": line - 2 if line and index % 4 == 0 else None,
            "original_start_line": 2 if index % 4 == 0 else None,
            "start_side": "RIGHT" if index % 4 == 0 else None,
            "line": line,
            "original_line": None if whole_file else index + 4,
            "side": ["RIGHT", "LEFT"][index % 2],
            "position": line and index + 1,
            "original_position": None if whole_file else index + 1,
            "subject_type": "file" if whole_file else "line",
        }
        if index % 5 == 4:
            record["in_reply_to_id"] = 1_700_000_000 + index - 1
        yield record


def signed(index):
    if index % 6 == 0:
        return {
            "verified": True,
            "reason": "valid",
            "signature": "-----BEGIN PGP SIGNATURE-----\n\nmade-up\n-----END PGP SIGNATURE-----\n",
            "payload": "tree made-up\nauthor made-up\n",
            "verified_at": time(index * 90 + 1),
        }
    return {"verified": False, "reason": "unsigned", "signature": None, "payload": None, "verified_at": None}


def commits():
    for repo, count in ((REPO, 51), (SIDE_REPO, 2)):
        for index in range(count):
            this, url = sha("commit", repo, index), f"{API}/repos/{ORG}/{repo}"
            person = {"name": NAMES[index % 16], "email": f"{login(index % 16 + 1)}@example.org"}
            # Every seventh shares its second with the one before it.
            moment = time((index - (index % 7 == 3)) * 90)
            author = None if index % 9 == 4 else user(index % 16 + 1)
            tree = sha("tree", repo, index)
            parents = [sha("commit", repo, index - 1)] if index else []
            if index % 10 == 7:
                parents.append(sha("side", repo, index))
            yield {
                "sha": this,
                "node_id": node("C", f"{repo}{index}"),
                "commit": {
                    "author": {**person, "date": time(index * 90 - 15)},
                    "committer": {**person, "date": moment},
                    "message": f"{words(5)}\n\nCo-authored-by: {NAMES[(index + 1) % 16]} <x@example.org>",
                    "tree": {"sha": tree, "url": f"{url}/git/trees/{tree}"},
                    "url": f"{url}/git/commits/{this}",
                    "comment_count": index % 3,
                    "verification": signed(index),
                },
                "url": f"{url}/commits/{this}",
                "html_url": f"{WEB}/{ORG}/{repo}/commit/{this}",
                "comments_url": f"{url}/commits/{this}/comments",
                "author": author,
                # An address that no account has leaves null behind.
                "committer": nested(author, index % 6 == 1) if index % 4 else None,
                "parents": [
                    {"sha": p, "url": f"{url}/commits/{p}", "html_url": f"{WEB}/{ORG}/{repo}/commit/{p}"}
                    for p in parents
                ],
            }


def branches():
    for repo, count in ((REPO, 51), (SIDE_REPO, 1)):
        for index in range(count):
            name = "main" if index == 0 else f"feature/{WORDS[index % 30]}-{index}" + ("-ü" if index % 9 == 0 else "")
            head = sha("commit", repo, index)
            yield {
                "name": name,
                "commit": {"sha": head, "url": f"{API}/repos/{ORG}/{repo}/commits/{head}"},
                "protected": index % 8 == 0,
                "protection": {
                    "enabled": index % 8 == 0,
                    "required_status_checks": {
                        "enforcement_level": "non_admins" if index % 8 == 0 else "off",
                        "contexts": ["ci"] if index % 8 == 0 else [],
                        "checks": [{"context": "ci", "app_id": 5_000_001}] if index % 8 == 0 else [],
                    },
                },
                "protection_url": f"{API}/repos/{ORG}/{repo}/branches/{name}/protection",
            }


def assignees():
    yield from (user(index) for index in range(1, 51))


def collaborators():
    for index in range(1, 51):
        role = ["read", "triage", "write", "maintain", "admin"][index % 5]
        rights = dict(zip(["pull", "triage", "push", "maintain", "admin"], [index % 5 >= n for n in range(5)]))
        yield {**user(index), "permissions": rights, "role_name": role}


def organization(index):
    name = ORG if index == 0 else f"{ORG}-{index:02}"
    url = f"{API}/orgs/{name}"
    return {
        "login": name,
        "id": 9_000_000_000 + (index and 500 + index),
        "node_id": node("O", index),
        "url": url,
        "repos_url": f"{url}/repos",
        "events_url": f"{url}/events",
        "hooks_url": f"{url}/hooks",
        "issues_url": f"{url}/issues",
        "members_url": f"{url}/members{{/member}}",
        "public_members_url": f"{url}/public_members{{/member}}",
        "avatar_url": f"https://avatars.githubusercontent.com/u/{9_000_000_500 + index}?v=4",
        "description": ["Tools for rivers", "", None, "河の道具"][index % 4],
        "name": some(0.8, f"Oxbow {index}"),
        "company": some(0.3, "Oxbow Invented"),
        "blog": some(0.5, "https://oxbow.example.org"),
        "location": some(0.4, "Nowhere"),
        "email": some(0.4, "mail@oxbow.example.org"),
        "twitter_username": some(0.2, "oxbow_x"),
        "is_verified": index % 5 == 0,
        "has_organization_projects": True,
        "has_repository_projects": index % 2 == 0,
        "public_repos": index * 3,
        "public_gists": 0,
        "followers": index * 11,
        "following": 0,
        "html_url": f"{WEB}/{name}",
        "type": "Organization",
        "total_private_repos": index * 2,
        "owned_private_repos": index * 2,
        "private_gists": 0,
        "disk_usage": index * 4_001,
        "collaborators": index % 6,
        "billing_email": f"bills-{index}@example.org",
        "default_repository_permission": ["read", "none"][index % 2],
        "members_can_create_repositories": True,
        "two_factor_requirement_enabled": index % 3 == 0,
        "members_allowed_repository_creation_type": "all",
        "members_can_create_public_repositories": True,
        "members_can_create_private_repositories": True,
        "members_can_create_internal_repositories": False,
        "members_can_create_pages": True,
        "members_can_create_public_pages": True,
        "members_can_create_private_pages": True,
        "members_can_fork_private_repositories": False,
        "members_can_delete_repositories": True,
        "members_can_change_repo_visibility": False,
        "members_can_invite_outside_collaborators": True,
        "members_can_delete_issues": False,
        "members_can_create_teams": True,
        "members_can_view_dependency_insights": True,
        "display_commenter_full_name_setting_enabled": False,
        "readers_can_create_discussions": True,
        "default_repository_branch": "main",
        "web_commit_signoff_required": False,
        "deploy_keys_enabled_for_repositories": True,
        "advanced_security_enabled_for_new_repositories": False,
        "dependabot_alerts_enabled_for_new_repositories": False,
        "dependabot_security_updates_enabled_for_new_repositories": False,
        "dependency_graph_enabled_for_new_repositories": False,
        "secret_scanning_enabled_for_new_repositories": False,
        "secret_scanning_push_protection_enabled_for_new_repositories": False,
        "secret_scanning_push_protection_custom_link_enabled": False,
        "secret_scanning_push_protection_custom_link": some(0.2, "https://oxbow.example.org/secrets"),
        "plan": {"name": "team", "space": 976_562_499, "private_repos": 999_999, "filled_seats": 40, "seats": 50},
        "created_at": time(-700_000 + index),
        "updated_at": time(index * 50),
        "archived_at": time(index * 40) if index % 15 == 14 else None,
    }


def releases():
    for index in range(50):
        repo = SIDE_REPO if index == 49 else REPO
        number, tag = 1_900_000_000 + index, f"v0.{index}.0" + ("-rc.1" if index % 7 == 6 else "")
        url = f"{API}/repos/{ORG}/{repo}/releases/{number}"
        assets = [
            {
                "url": f"{API}/repos/{ORG}/{repo}/releases/assets/{number * 2 + part}",
                "id": number * 2 + part,
                "node_id": node("RA", number * 2 + part),
                "name": f"kit-{tag}.tar.gz",
                "label": ["", None][part],
                "uploader": user(9) if part == 0 else None,
                "content_type": "application/gzip",
                "state": "uploaded",
                "size": 5_000_000_000 + index,
                "digest": f"sha256:{hashlib.sha256(tag.encode()).hexdigest()}",
                "download_count": index * 101,
                "created_at": time(index * 500),
                "updated_at": time(index * 500, 5),
                "browser_download_url": f"{WEB}/{ORG}/{repo}/releases/download/{tag}/kit-{tag}.tar.gz",
            }
            for part in range([0, 0, 1, 0, 2, 0, 0][index % 7])
        ]
        draft = index % 25 == 24
        yield {
            "url": url,
            "assets_url": f"{url}/assets",
            "upload_url": f"https://uploads.github.com/repos/{ORG}/{repo}/releases/{number}/assets{{?name,label}}",
            "html_url": f"{WEB}/{ORG}/{repo}/releases/tag/{tag}",
            "id": number,
            "author": nested(user(index % 16 + 1), index % 6 == 0),
            "node_id": node("RE", index),
            "tag_name": tag,
            "target_commitish": "main",
            "name": [tag, None, f"Fluss {index} 🌊"][index % 3],
            "draft": draft,
            "immutable": index % 2 == 0,
            "prerelease": index % 7 == 6,
            "created_at": time(index * 500),
            "updated_at": time(index * 510),
            "published_at": None if draft else time(index * 500, 30),
            "assets": assets,
            "tarball_url": f"{API}/repos/{ORG}/{repo}/tarball/{tag}",
            "zipball_url": f"{API}/repos/{ORG}/{repo}/zipball/{tag}",
            "body": BODIES[index % 5],
            "mentions_count": index % 3,
            "discussion_url": f"{WEB}/{ORG}/{repo}/discussions/{index}" if index % 10 == 0 else None,
            "reactions": reactions(url, index),
        }


def tags():
    for repo, count in ((REPO, 50), (SIDE_REPO, 1)):
        for index in range(count):
            name, head = f"v0.{index}.0", sha("commit", repo, index)
            yield {
                "name": name,
                "zipball_url": f"{API}/repos/{ORG}/{repo}/zipball/refs/tags/{name}",
                "tarball_url": f"{API}/repos/{ORG}/{repo}/tarball/refs/tags/{name}",
                "commit": {"sha": head, "url": f"{API}/repos/{ORG}/{repo}/commits/{head}"},
                "node_id": node("REF", f"{repo}{name}"),
            }


def milestones():
    yield from (milestone(number) for number in range(1, 51))
    yield milestone(1, SIDE_REPO)


def workflow_runs():
    kit = minimal_repository(1, REPO)
    for index in range(50):
        number, head = 12_000_000_000 + index, sha("commit", REPO, index)
        url = f"{API}/repos/{ORG}/{REPO}/actions/runs/{number}"
        suite = 11_000_000_000 + index
        done = index % 13 != 12
        # Two start in the same second.
        created = time((index - (index % 8 == 5)) * 120)
        pull_number = PULLS[index % len(PULLS)]
        side = {"id": 8_000_000_001, "url": f"{API}/repos/{ORG}/{REPO}", "name": REPO}
        yield {
            "id": number,
            "name": ["ci", "release", "nächtlich"][index % 3],
            "node_id": node("WFR", index),
            "head_branch": None if index % 11 == 10 else ["main", f"topic-{pull_number}"][index % 2],
            "head_sha": head,
            "path": ".github/workflows/ci.yml@main",
            "display_title": words(4),
            "run_number": index + 1,
            "event": ["push", "pull_request", "schedule"][index % 3],
            "status": "completed" if done else ["queued", "in_progress"][index % 2],
            "conclusion": ["success", "failure", "cancelled", "skipped"][index % 4] if done else None,
            "workflow_id": 150_000_000 + index % 3,
            "check_suite_id": suite,
            "check_suite_node_id": node("CS", suite),
            "url": url,
            "html_url": f"{WEB}/{ORG}/{REPO}/actions/runs/{number}",
            "pull_requests": [
                {
                    "url": f"{API}/repos/{ORG}/{REPO}/pulls/{pull_number}",
                    "id": 1_000_000_000 + pull_number,
                    "number": pull_number,
                    "head": {"ref": f"topic-{pull_number}", "sha": head, "repo": side},
                    "base": {"ref": "main", "sha": sha("base", pull_number), "repo": side},
                }
            ]
            if index % 3 == 1
            else [],
            "created_at": created,
            "updated_at": time(index * 120 + (9 if done else 0)),
            "actor": user(index % 16 + 1),
            "run_attempt": index % 3 + 1,
            "referenced_workflows": [
                {"path": f"{ORG}/{REPO}/.github/workflows/build.yml@main", "sha": head, "ref": "refs/heads/main"}
            ]
            if index % 5 == 2
            else [],
            "run_started_at": created,
            "triggering_actor": nested(user(9 if index % 4 == 3 else index % 16 + 1), index % 6 == 0),
            "jobs_url": f"{url}/jobs",
            "logs_url": f"{url}/logs",
            "check_suite_url": f"{API}/repos/{ORG}/{REPO}/check-suites/{suite}",
            "artifacts_url": f"{url}/artifacts",
            "cancel_url": f"{url}/cancel",
            "rerun_url": f"{url}/rerun",
            "previous_attempt_url": f"{url}/attempts/{index % 3}" if index % 3 else None,
            "workflow_url": f"{API}/repos/{ORG}/{REPO}/actions/workflows/{150_000_000 + index % 3}",
            "head_commit": {
                "id": head,
                "tree_id": sha("tree", REPO, index),
                "message": words(5),
                "timestamp": created,
                "author": {"name": NAMES[index % 16], "email": f"{login(index % 16 + 1)}@example.org"},
                "committer": {"name": NAMES[index % 16], "email": f"{login(index % 16 + 1)}@example.org"},
            },
            "repository": nested(kit, index % 6 == 0),
            # A fork that is gone leaves null behind.
            "head_repository": nested(kit, index == 0) if index % 20 == 0 else None,
        }


TABLES = {
    "assignees": assignees,
    "branches": branches,
    "collaborators": collaborators,
    "commits": commits,
    "issue_comments": issue_comments,
    "issues": issues,
    "milestones": milestones,
    "organizations": lambda: (organization(index) for index in range(51)),
    "pull_requests": pulls,
    "releases": releases,
    "repositories": repositories,
    "review_comments": review_comments,
    "reviews": reviews,
    "tags": tags,
    "teams": lambda: (team(index) for index in range(1, 51)),
    "users": lambda: (profile(index) for index in range(1, 52)),
    "workflow_runs": workflow_runs,
}


def main(folder):
    limit = {"rate": {"limit": 5000, "used": 1, "remaining": 4999, "reset": 4_102_444_800}}
    token = {"token": "ghs_invented0123456789abcdefghijklmnop", "expires_at": "2099-01-01T00:00:00Z"}
    (folder / "access_token.json").write_text(json.dumps(token) + "\n", encoding="utf-8")
    (folder / "rate_limit.json").write_text(json.dumps(limit) + "\n", encoding="utf-8")
    for name, records in TABLES.items():
        rng.seed(f"{SEED}/{name}")
        lines = [json.dumps(record, ensure_ascii=False, separators=(",", ":")) for record in records()]
        (folder / f"{name}.json").write_text("[\n" + ",\n".join(lines) + "\n]\n", encoding="utf-8")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else pathlib.Path(__file__).parent / "corpus")
