//! Issues and comments: what changes between two updates, and while one reads.

use std::sync::{Arc, Mutex};

use headwater_connect::Offset;
use headwater_testkit::simulator::{Control, Settings};
use serde_json::{Value, json};

use crate::support::{Site, corpus_values, values};

const KIT: (&str, &str) = ("url", "/oxbow-x/kit/");

/// A copy of the issue with this number, changed.
pub(crate) fn changed(control: &Control, corpus: &str, number: u64, changes: &Value) -> Value {
    let records = control.records(corpus).unwrap();
    let mut record = records.into_iter().find(|record| record["number"] == number).unwrap();
    for (name, value) in changes.as_object().unwrap() {
        record[name] = value.clone();
    }
    record
}

#[tokio::test]
async fn the_first_update_gives_every_record_as_it_came() {
    let site = Site::start();
    for (table, state) in [("issues", "all"), ("issue_comments", ""), ("review_comments", "")] {
        let update = site.update(table, &[("per_page", "20"), ("state", state)], None).await;
        assert_eq!(update.values("id"), corpus_values(&site.control(), table, "id", KIT), "{table}");
        assert_eq!(update.values("owner").into_iter().collect::<Vec<_>>(), ["oxbow-x"], "{table}");
        assert_eq!(update.values("repo").into_iter().collect::<Vec<_>>(), ["kit"], "{table}");
        let records = site.control().records(table).unwrap();
        for row in update.rows() {
            let mut row = row.clone();
            let columns = row.as_object_mut().unwrap();
            columns.remove("owner");
            columns.remove("repo");
            assert!(records.contains(&row), "{table}: {row}");
        }
    }
}

#[tokio::test]
async fn an_update_gives_what_is_new_and_what_has_changed() {
    let site = Site::start();
    let control = site.control();
    let first = site.update("issues", &[("lookback_seconds", "0")], None).await;
    let last = first.values("updated_at").into_iter().next_back().unwrap();

    // A change in the very second up to which was read, one by an account that is gone, and a new one.
    let same_second =
        changed(&control, "issues", 205, &json!({"id": 5001, "number": 501, "updated_at": last}));
    control.insert("issues", same_second).unwrap();
    let later = json!({"updated_at": "2025-05-01T00:00:00Z", "title": "changed", "user": null});
    assert_eq!(control.update("issues", "number", &json!(210), &later).unwrap(), 1);
    let new = json!({"id": 5002, "number": 502, "created_at": "2025-05-02T00:00:00Z", "updated_at": "2025-05-02T00:00:00Z"});
    control.insert("issues", changed(&control, "issues", 206, &new)).unwrap();

    let second = site.update("issues", &[("lookback_seconds", "0")], first.end.as_ref()).await;
    let numbers = second.values("number");
    for number in ["501", "210", "502"] {
        assert!(numbers.contains(number), "{number} is missing from {numbers:?}");
    }
    assert!(numbers.len() < 8, "too much is read again: {numbers:?}");
    let row = second.rows().find(|row| row["number"] == 210).unwrap();
    assert_eq!((&row["title"], &row["user"]), (&json!("changed"), &Value::Null));

    let third = site.update("issues", &[("lookback_seconds", "0")], second.end.as_ref()).await;
    assert_eq!(third.rows().count(), 0);
}

#[tokio::test]
async fn what_was_read_just_before_is_read_again_as_far_as_the_options_say() {
    let site = Site::start();
    let first = site.update("issue_comments", &[], None).await;
    let control = site.control();
    let cursor = first.values("updated_at").into_iter().next_back().unwrap();
    let cursor: chrono::DateTime<chrono::Utc> = cursor.parse().unwrap();
    let late = (cursor - chrono::TimeDelta::seconds(200)).to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
    let mut record = control.records("issue_comments").unwrap()[0].clone();
    record["id"] = json!(77);
    record["updated_at"] = json!(late);
    control.insert("issue_comments", record).unwrap();
    let check = async |lookback: &str, expect: bool| {
        let update =
            site.update("issue_comments", &[("lookback_seconds", lookback)], first.end.as_ref()).await;
        assert_eq!(update.values("id").contains("77"), expect, "{lookback}");
    };
    check("300", true).await;
    check("100", false).await;
}

#[tokio::test]
async fn batches_move_on_and_can_be_taken_up_anywhere() {
    let site = Site::start();
    for start_date in ["", "2025-01-01"] {
        let options = [("max_records_per_batch", "7"), ("start_date", start_date)];
        let whole = site.update("issues", &options, None).await;
        let all = corpus_values(&site.control(), "issues", "id", KIT);
        assert_eq!(whole.values("id"), all, "{start_date}");
        // Two reads at most hold more: a second with several records, and the one before the end.
        for read in &whole.reads {
            assert!(read.len() <= 14, "{start_date}: a read of {}", read.len());
        }
        assert!(whole.reads.len() >= 7, "{start_date}: {} reads", whole.reads.len());
        for (index, offset) in whole.offsets.iter().enumerate() {
            let stored: Offset = serde_json::from_str(&serde_json::to_string(offset).unwrap()).unwrap();
            let rest = site.update("issues", &options, Some(&stored)).await;
            let seen = values(whole.reads[..=index].iter().flatten(), "id");
            let missing: Vec<_> = all.iter().filter(|id| !seen.contains(*id)).collect();
            let rest = rest.values("id");
            assert!(missing.iter().all(|id| rest.contains(*id)), "{start_date}: from {stored}");
        }
    }
}

#[tokio::test]
async fn many_records_of_one_second_are_all_read() {
    let site = Site::start();
    let control = site.control();
    let options = [("per_page", "10"), ("max_records_per_batch", "10")];
    let first = site.update("issues", &options, None).await;
    for id in 0..35 {
        let at = "2025-06-01T00:00:00Z";
        let change = json!({"id": 6000 + id, "number": 600 + id, "created_at": at, "updated_at": at});
        control.insert("issues", changed(&control, "issues", 207, &change)).unwrap();
    }
    let later = json!({"updated_at": "2025-06-01T00:00:03Z"});
    control.update("issues", "number", &json!(208), &later).unwrap();
    let second = site.update("issues", &options, first.end.as_ref()).await;
    let ids = second.values("id");
    assert!((6000..6035).all(|id| ids.contains(&id.to_string())), "{ids:?}");
    assert!(second.values("number").contains("208"));
}

/// What changes while it is read is not lost, in the first reading and after it.
#[tokio::test]
async fn records_that_move_while_they_are_read_are_not_lost() {
    for start_date in ["", "2025-01-01"] {
        let control: Arc<Mutex<Option<Control>>> = Arc::default();
        let moved = Arc::clone(&control);
        let settings = Settings::default().observer(move |request| {
            // With the second page on its way, a record of the first moves to the end.
            let is_list =
                request.path_and_query.contains("/issues?") && request.path_and_query.contains("per_page=10");
            let control = moved.lock().unwrap().take_if(|_| is_list);
            if let Some(control) = control {
                let change = json!({"updated_at": "2025-07-01T00:00:00Z", "title": "moved"});
                control.update("issues", "number", &json!(101), &change).unwrap();
            }
        });
        let site = Site::with(settings, &[]);
        *control.lock().unwrap() = Some(site.control());
        let update = site.update("issues", &[("per_page", "10"), ("start_date", start_date)], None).await;
        assert!(control.lock().unwrap().is_none(), "nothing was moved");
        assert_eq!(update.values("id"), corpus_values(&site.control(), "issues", "id", KIT), "{start_date}");
        assert!(update.rows().any(|row| row["number"] == 101 && row["title"] == "moved"), "{start_date}");
    }
}

#[tokio::test]
async fn deletions_during_the_first_reading_move_no_record_out_of_sight() {
    let site = Site::start();
    let options = [("per_page", "10"), ("max_records_per_batch", "10")];
    let mut request = site.options(&options);
    request.set("tableName", "issue_comments");
    let connector = crate::support::connect(&request, "issue_comments").await.unwrap();
    let none = headwater_connect::Options::new();
    let start = Offset::empty();
    let (rows, end) =
        crate::support::drain(connector.read_table("issue_comments", Some(&start), &none)).await.unwrap();
    assert_eq!(rows.len(), 10);
    let control = site.control();
    for row in &rows[2..7] {
        assert_eq!(control.delete("issue_comments", "id", &row["id"]).unwrap(), 1);
    }
    let rest = site.update("issue_comments", &options, end.as_ref()).await.values("id");
    let read = values(&rows, "id");
    for id in corpus_values(&control, "issue_comments", "id", ("url", "/kit/")) {
        assert!(read.contains(&id) || rest.contains(&id), "{id} was passed over");
    }
}

#[tokio::test]
async fn a_list_that_refuses_page_numbers_is_read_by_time() {
    use headwater_testkit::simulator::{Fault, FaultKind, When};
    let site = Site::start();
    let fault = Fault::new(FaultKind::Status(422), When::Nth(1)).on("/repos/{owner}/{repo}/issues");
    site.control().set_faults(vec![fault]);
    let update = site.update("issues", &[("per_page", "10")], None).await;
    assert_eq!(update.values("id"), corpus_values(&site.control(), "issues", "id", KIT));
    assert!(site.seen("sort=updated").len() > 4);
}

#[tokio::test]
async fn what_lies_ahead_of_now_is_not_chased() {
    let site = Site::start();
    site.control().synthesize_future_records(true);
    for table in ["issues", "issue_comments", "review_comments", "pull_requests", "reviews"] {
        let update = site.update(table, &[], None).await;
        assert!(update.reads.len() <= 4, "{table}: {} reads", update.reads.len());
        site.update(table, &[], update.end.as_ref()).await;
    }
}

#[tokio::test]
async fn an_update_without_news_costs_nothing() {
    let site = Site::start();
    for table in ["issues", "issue_comments", "review_comments", "pull_requests", "reviews", "commits"] {
        let first = site.update(table, &[], None).await;
        let before = site.control().requests().len();
        let second = site.update(table, &[], first.end.as_ref()).await;
        assert_eq!(second.rows().count(), 0, "{table}");
        let requests = site.control().requests();
        let statuses: Vec<_> = requests[before..].iter().map(|request| request.status).collect();
        assert_eq!(statuses, [Some(304)], "{table}");
    }
}

#[tokio::test]
async fn an_offset_from_the_ends_of_time_is_no_disaster() {
    let site = Site::start();
    for table in ["issues", "pull_requests", "workflow_runs"] {
        for at in ["-262143-01-01T00:00:00Z", "+262142-12-31T23:59:59Z"] {
            let offset =
                Offset::from_json(&format!(r#"{{"repos":{{"oxbow-x/kit":{{"cursor":"{at}"}}}}}}"#)).unwrap();
            // Whether such a time can be asked for is the source's business.
            drop(site.try_update(table, &[], Some(&offset)).await);
        }
    }
}
