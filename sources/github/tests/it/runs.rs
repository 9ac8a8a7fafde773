//! Workflow runs, of which GitHub gives 1,000 for one question.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use headwater_testkit::simulator::{Fault, FaultKind, HandlerAnswer, HandlerRequest, Settings, When};
use serde_json::{Value, json};

use crate::support::{Site, corpus_values};

const KIT: (&str, &str) = ("url", "/oxbow-x/kit/");
const LIST: &str = "corpus: workflow_runs\n    path_params:\n      owner: {role: filter, field: url, op: contains}\n      repo: {role: filter, field: url, op: contains}\n    params:";

#[tokio::test]
async fn runs_are_read_again_until_they_have_ended() {
    let site = Site::start();
    let control = site.control();
    let first = site.update("workflow_runs", &[], None).await;
    assert_eq!(first.values("id"), corpus_values(&control, "workflow_runs", "id", KIT));
    let open: Vec<Value> = control
        .records("workflow_runs")
        .unwrap()
        .into_iter()
        .filter(|run| run["status"] != "completed")
        .collect();
    assert!(open.len() >= 3, "the corpus has too few open runs");

    let ended = json!({"status": "completed", "conclusion": "success", "updated_at": "2025-08-01T00:00:00Z"});
    control.update("workflow_runs", "id", &open[0]["id"], &ended).unwrap();
    control.delete("workflow_runs", "id", &open[1]["id"]).unwrap();
    let second = site.update("workflow_runs", &[], first.end.as_ref()).await;
    let row = second.rows().find(|row| row["id"] == open[0]["id"]).unwrap();
    assert_eq!((&row["conclusion"], &row["owner"]), (&json!("success"), &json!("oxbow-x")));

    let before = control.requests().len();
    site.update("workflow_runs", &[], second.end.as_ref()).await;
    let asked: Vec<_> = control.requests()[before..].iter().map(|r| r.path_and_query.clone()).collect();
    for run in &open[..2] {
        let id = format!("/actions/runs/{}", run["id"]);
        assert!(!asked.iter().any(|path| path.contains(&id)), "{id} is still asked for: {asked:?}");
    }
}

#[tokio::test]
async fn batches_move_on_and_can_be_taken_up_anywhere() {
    let site = Site::start();
    let all = corpus_values(&site.control(), "workflow_runs", "id", KIT);
    let options = [("max_records_per_batch", "9")];
    let whole = site.update("workflow_runs", &options, None).await;
    assert_eq!(whole.values("id"), all);
    assert!(whole.reads.len() >= 6, "{} reads", whole.reads.len());
    for (index, offset) in whole.offsets.iter().enumerate() {
        let rest = site.update("workflow_runs", &options, Some(offset)).await.values("id");
        let seen = crate::support::values(whole.reads[..=index].iter().flatten(), "id");
        assert!(all.iter().all(|id| seen.contains(id) || rest.contains(id)), "from {offset}");
    }
}

/// The list with its filter by time and its limit, over more runs than one question gives.
fn many_runs(request: &HandlerRequest<'_>) -> HandlerAnswer {
    let value = |name: &str| &request.query.iter().find(|(n, _)| n == name).unwrap().1;
    let (from, to) = value("created").split_once("..").unwrap();
    let at = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
    let number = |name: &str| -> usize { value(name).parse().unwrap() };
    let (page, size) = (number("page"), number("per_page"));
    let all = runs(&request.records[0]);
    let mut chosen: Vec<&Value> = all
        .iter()
        .filter(|run| (at(from)..=at(to)).contains(&at(run["created_at"].as_str().unwrap())))
        .collect();
    chosen.reverse();
    let given: Vec<&Value> = chosen.iter().take(1000).skip((page - 1) * size).take(size).copied().collect();
    HandlerAnswer::json(200, &json!({"total_count": chosen.len(), "workflow_runs": given}))
}

/// 2,600 runs, most of them within an hour.
fn runs(like: &Arc<Value>) -> Vec<Value> {
    let start: DateTime<Utc> = "2025-02-01T00:00:00Z".parse().unwrap();
    let run = |index: i64| {
        let at = start + if index < 2_400 { TimeDelta::seconds(index) } else { TimeDelta::hours(index) };
        json!({
            "id": index, "status": "completed", "url": like["url"],
            "created_at": at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true),
            "updated_at": at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true),
        })
    };
    (0..2_600).map(run).collect()
}

#[tokio::test]
async fn windows_with_too_many_runs_are_split() {
    let settings = Settings::default().handler("runs", many_runs);
    let site = Site::with(settings, &[(LIST, "handler: runs\n    corpus: workflow_runs\n    params:")]);
    for batch in ["", "500"] {
        let update = site.update("workflow_runs", &[("max_records_per_batch", batch)], None).await;
        assert_eq!(update.values("id").len(), 2_600, "{batch}");
        let again =
            site.update("workflow_runs", &[("max_records_per_batch", batch)], update.end.as_ref()).await;
        assert!(again.rows().count() < 5, "{batch}: {} rows again", again.rows().count());
    }
}

#[tokio::test]
async fn a_run_list_that_is_switched_off_is_told_of() {
    let site = Site::start();
    let fault = Fault::new(FaultKind::Status(404), When::Always).on("/repos/{owner}/{repo}/actions/runs");
    site.control().set_faults(vec![fault]);
    let error = site.try_update("workflow_runs", &[], None).await.err().unwrap();
    assert!(crate::support::chain(&error).contains("repository `oxbow-x/kit` does not exist"), "{error:?}");
}
