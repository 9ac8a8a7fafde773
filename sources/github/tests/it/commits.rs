//! Commits, whose order is that of a graph.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use headwater_testkit::simulator::{HandlerAnswer, HandlerRequest, Settings};
use serde_json::{Value, json};

use crate::support::{Site, corpus_values};

const KIT: (&str, &str) = ("url", "/oxbow-x/kit/");

/// What can be reached from `head`.
fn reachable(commits: &BTreeMap<&str, &Arc<Value>>, head: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut ahead = vec![head.to_owned()];
    while let Some(sha) = ahead.pop() {
        let Some(commit) = commits.get(sha.as_str()) else { continue };
        if found.insert(sha) {
            let parents = commit["parents"].as_array().unwrap();
            ahead.extend(parents.iter().map(|parent| parent["sha"].as_str().unwrap().to_owned()));
        }
    }
    found
}

/// Answers `compare/{base}...{head}` from the graph of the corpus.
fn compare(request: &HandlerRequest<'_>) -> HandlerAnswer {
    let range = request.path.rsplit('/').next().unwrap();
    let (base, head) = range.split_once("...").unwrap();
    let commits: BTreeMap<&str, &Arc<Value>> =
        request.records.iter().map(|commit| (commit["sha"].as_str().unwrap(), commit)).collect();
    if !commits.contains_key(base) {
        return HandlerAnswer::json(404, &json!({"message": "Not Found"}));
    }
    let old = reachable(&commits, base);
    let new: Vec<_> = reachable(&commits, head).difference(&old).map(|sha| commits[sha.as_str()]).collect();
    let number =
        |name: &str| -> usize { request.query.iter().find(|(n, _)| n == name).unwrap().1.parse().unwrap() };
    let (page, size) = (number("page"), number("per_page"));
    let chosen: Vec<_> =
        new.iter().skip((page - 1) * size).take(size).map(|commit| (**commit).clone()).collect();
    let mut answer =
        HandlerAnswer::json(200, &json!({"total_commits": new.len(), "commits": chosen, "files": []}));
    if page * size < new.len() {
        let link = |page| format!("{}{}?per_page={size}&page={page}", request.origin, request.path);
        let last = new.len().div_ceil(size);
        let value = format!("<{}>; rel=\"next\", <{}>; rel=\"last\"", link(page + 1), link(last));
        answer.headers.push(("link".into(), value));
    }
    answer
}

fn site() -> Site {
    Site::with(Settings::default().handler("compare", compare), &[])
}

/// A commit with this name, parents and day.
fn commit(site: &Site, name: &str, parents: &[&str], day: &str) -> Value {
    let mut commit = site.control().records("commits").unwrap()[0].clone();
    let date = json!(format!("{day}T00:00:00Z"));
    commit["sha"] = json!(name);
    commit["commit"]["committer"]["date"] = date;
    commit["parents"] = parents.iter().map(|sha| json!({"sha": sha})).collect();
    commit
}

fn newest(site: &Site) -> String {
    let commits = site.control().records("commits").unwrap();
    let of_kit = commits.iter().filter(|commit| commit["url"].as_str().unwrap().contains("/kit/"));
    let last = of_kit.max_by_key(|commit| commit["commit"]["committer"]["date"].as_str().unwrap().to_owned());
    last.unwrap()["sha"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_merge_brings_commits_that_were_made_long_ago() {
    let site = site();
    let first = site.update("commits", &[("per_page", "10")], None).await;
    assert_eq!(first.values("sha"), corpus_values(&site.control(), "commits", "sha", KIT));
    let row = first.rows().next().unwrap();
    assert_eq!(row["committed_at"], row["commit"]["committer"]["date"]);

    let control = site.control();
    let head = newest(&site);
    let root = control.records("commits").unwrap()[0]["sha"].as_str().unwrap().to_owned();
    for index in 0..25 {
        let parent = if index == 0 { root.clone() } else { format!("side{}", index - 1) };
        control.insert("commits", commit(&site, &format!("side{index}"), &[&parent], "2025-01-07")).unwrap();
    }
    control.insert("commits", commit(&site, "merge", &[&head, "side24"], "2025-09-01")).unwrap();
    let second = site.update("commits", &[("per_page", "10")], first.end.as_ref()).await;
    let expect = (0..25).map(|index| format!("side{index}")).chain(["merge".to_owned()]);
    assert_eq!(second.values("sha"), expect.collect());
    assert_eq!(second.rows().count(), 26, "a commit came twice");
    assert_eq!(site.update("commits", &[], second.end.as_ref()).await.rows().count(), 0);
}

#[tokio::test]
async fn batches_of_old_and_new_commits_can_be_taken_up_anywhere() {
    let site = site();
    let options = [("max_records_per_batch", "10")];
    let first = site.update("commits", &options, None).await;
    let head = newest(&site);
    let mut parent = head;
    for index in 0..33 {
        let name = format!("new{index}");
        let new = commit(&site, &name, &[&parent], "2025-09-01");
        site.control().insert("commits", new).unwrap();
        parent = name;
    }
    site.control().insert("commits", commit(&site, "head", &[&parent], "2025-09-02")).unwrap();
    let all = corpus_values(&site.control(), "commits", "sha", KIT);
    for (index, offset) in first.offsets.iter().enumerate() {
        let rest = site.update("commits", &options, Some(offset)).await;
        assert!(rest.reads.iter().all(|read| read.len() <= 10), "from {offset}");
        let seen = crate::support::values(first.reads[..=index].iter().flatten(), "sha");
        let rest = rest.values("sha");
        assert!(all.iter().all(|sha| seen.contains(sha) || rest.contains(sha)), "from {offset}");
    }
}

#[tokio::test]
async fn a_branch_that_was_written_anew_is_read_again() {
    let site = site();
    let first = site.update("commits", &[], None).await;
    let control = site.control();
    let head = newest(&site);
    control.delete("commits", "sha", &json!(head)).unwrap();
    control.insert("commits", commit(&site, "anew", &[], "2025-09-01")).unwrap();
    let second = site.update("commits", &[], first.end.as_ref()).await;
    assert_eq!(second.values("sha"), corpus_values(&control, "commits", "sha", KIT));
}

#[tokio::test]
async fn a_start_date_leaves_older_commits_out() {
    let site = site();
    let update = site.update("commits", &[("start_date", "2025-01-08")], None).await;
    let dates = update.values("committed_at");
    assert!(dates.first().unwrap().as_str() >= "2025-01-08" && dates.len() > 3, "{dates:?}");
    assert_eq!(site.update("commits", &[("start_date", "2030-01-01")], None).await.rows().count(), 0);
}

#[tokio::test]
async fn a_repository_without_commits_has_no_rows() {
    use headwater_testkit::simulator::{Fault, FaultKind, When};
    let site = site();
    let fault = Fault::new(FaultKind::Status(409), When::Always).on("/repos/{owner}/{repo}/commits");
    site.control().set_faults(vec![fault.body(json!({"message": "Git Repository is empty."}))]);
    let update = site.update("commits", &[], None).await;
    assert_eq!(update.rows().count(), 0);
    site.control().clear_faults();
    let next = site.update("commits", &[], update.end.as_ref()).await;
    assert_eq!(next.values("sha"), corpus_values(&site.control(), "commits", "sha", KIT));
}
