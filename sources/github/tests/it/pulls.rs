//! Pull requests and reviews.

use std::sync::{Arc, Mutex};

use headwater_testkit::simulator::{Control, Settings};
use serde_json::json;

use crate::changes::changed;
use crate::support::{Site, corpus_values};

const KIT: (&str, &str) = ("url", "/oxbow-x/kit/");

#[tokio::test]
async fn pull_requests_that_changed_are_read_down_to_those_that_are_known() {
    let site = Site::start();
    let control = site.control();
    let first = site.update("pull_requests", &[("per_page", "10")], None).await;
    assert_eq!(first.values("id"), corpus_values(&control, "pull_requests", "id", KIT));

    for (number, at) in
        [(103, "2025-05-01T00:00:00Z"), (140, "2025-05-01T00:00:00Z"), (111, "2025-05-02T00:00:00Z")]
    {
        let change = json!({"updated_at": at, "state": "closed"});
        assert_eq!(control.update("pull_requests", "number", &json!(number), &change).unwrap(), 1);
    }
    let new = json!({"id": 9001, "number": 190, "created_at": "2025-05-03T00:00:00Z", "updated_at": "2025-05-03T00:00:00Z"});
    control.insert("pull_requests", changed(&control, "pull_requests", 120, &new)).unwrap();
    let before = control.requests().len();
    let second = site.update("pull_requests", &[("per_page", "10")], first.end.as_ref()).await;
    let numbers = second.values("number");
    for number in ["103", "140", "111", "190"] {
        assert!(numbers.contains(number), "{number} is missing from {numbers:?}");
    }
    // One page holds them all; the next read finds nothing new.
    assert_eq!(control.requests().len() - before, 2);
}

#[tokio::test]
async fn batches_move_on_and_can_be_taken_up_anywhere() {
    let site = Site::start();
    let all = corpus_values(&site.control(), "pull_requests", "id", KIT);
    for start_date in ["", "2025-01-01"] {
        let options = [("max_records_per_batch", "8"), ("start_date", start_date)];
        let whole = site.update("pull_requests", &options, None).await;
        assert_eq!(whole.values("id"), all, "{start_date}");
        assert!(whole.reads.iter().all(|read| read.len() <= 16), "{start_date}");
        assert!(whole.reads.len() >= 6, "{start_date}: {} reads", whole.reads.len());
        for (index, offset) in whole.offsets.iter().enumerate() {
            let rest = site.update("pull_requests", &options, Some(offset)).await.values("id");
            let seen = crate::support::values(whole.reads[..=index].iter().flatten(), "id");
            assert!(
                all.iter().all(|id| seen.contains(id) || rest.contains(id)),
                "{start_date}: from {offset}"
            );
        }
    }
}

#[tokio::test]
async fn what_changed_last_before_the_start_date_is_left_out() {
    let site = Site::start();
    let start = "2025-01-12";
    for (table, column) in
        [("pull_requests", "updated_at"), ("reviews", "pull_updated_at"), ("issues", "updated_at")]
    {
        let update = site.update(table, &[("start_date", start), ("per_page", "10")], None).await;
        let times = update.values(column);
        assert!(times.first().unwrap().as_str() >= start && times.len() > 5, "{table}: {times:?}");
        let later = site.update(table, &[("start_date", "2030-01-01")], None).await;
        assert_eq!(later.rows().count(), 0, "{table}");
    }
}

#[tokio::test]
async fn reviews_come_with_the_pull_requests_that_changed() {
    let site = Site::start();
    let control = site.control();
    let first = site.update("reviews", &[], None).await;
    assert_eq!(first.values("id"), corpus_values(&control, "reviews", "id", ("pull_request_url", "/kit/")));
    let row = first.rows().find(|row| row["state"] == "PENDING").unwrap();
    assert!(row.get("submitted_at").is_none() && row["pull_updated_at"].is_string(), "{row}");

    let at = "2025-05-01T00:00:00Z";
    control.update("pull_requests", "number", &json!(105), &json!({"updated_at": at})).unwrap();
    let mut review = control.records("reviews").unwrap()[1].clone();
    review["id"] = json!(8001);
    review["user"] = json!(null);
    review["pull_request_url"] = json!("https://api.github.com/repos/oxbow-x/kit/pulls/105");
    control.insert("reviews", review).unwrap();
    let before = site.seen("/reviews").len();
    let second = site.update("reviews", &[("lookback_seconds", "0")], first.end.as_ref()).await;
    let row = second.rows().find(|row| row["id"] == 8001).unwrap();
    assert_eq!((&row["pull_number"], &row["pull_updated_at"]), (&json!(105), &json!(at)));
    assert!(site.seen("/reviews").len() - before < 8, "reviews of what has not changed are asked for");
}

#[tokio::test]
async fn reviews_are_read_in_batches_too() {
    let site = Site::start();
    let all = corpus_values(&site.control(), "reviews", "id", ("pull_request_url", "/kit/"));
    for start_date in ["", "2025-01-01"] {
        let options = [("max_records_per_batch", "5"), ("start_date", start_date)];
        let whole = site.update("reviews", &options, None).await;
        assert_eq!(whole.values("id"), all, "{start_date}");
        assert!(whole.reads.iter().all(|read| read.len() <= 10), "{start_date}");
        for (index, offset) in whole.offsets.iter().enumerate().step_by(3) {
            let rest = site.update("reviews", &options, Some(offset)).await.values("id");
            let seen = crate::support::values(whole.reads[..=index].iter().flatten(), "id");
            assert!(
                all.iter().all(|id| seen.contains(id) || rest.contains(id)),
                "{start_date}: from {offset}"
            );
        }
    }
}

#[tokio::test]
async fn what_moves_to_the_front_while_it_is_read_hides_nothing() {
    let control: Arc<Mutex<Option<Control>>> = Arc::default();
    let moved = Arc::clone(&control);
    let settings = Settings::default().observer(move |request| {
        // With each page of the way down, the pull request at its bottom moves to the front.
        if request.path_and_query.contains("direction=desc")
            && let Some(control) = &*moved.lock().unwrap()
        {
            let minute = control.request_count() % 60;
            let change = json!({"updated_at": format!("2025-07-01T00:{minute:02}:00Z")});
            control.update("pull_requests", "number", &json!(101 + minute), &change).unwrap();
        }
    });
    let site = Site::with(settings, &[]);
    *control.lock().unwrap() = Some(site.control());
    let options = [("per_page", "7"), ("start_date", "2025-01-01"), ("max_records_per_batch", "14")];
    let mut request = site.options(&options);
    request.set("tableName", "pull_requests");
    // Until the first way down has come to its end; the source never stands still.
    let connector = crate::support::connect(&request, "pull_requests").await.unwrap();
    let none = headwater_connect::Options::new();
    let mut at = headwater_connect::Offset::empty();
    let mut ids = std::collections::BTreeSet::new();
    for _ in 0..30 {
        let (rows, end) =
            crate::support::drain(connector.read_table("pull_requests", Some(&at), &none)).await.unwrap();
        ids.extend(crate::support::values(&rows, "id"));
        at = end.unwrap();
        if !at.as_json().contains("descent") {
            break;
        }
    }
    // What moved in front of the way down is found by the next one, now that the source stands still.
    *control.lock().unwrap() = None;
    ids.extend(site.update("pull_requests", &options, Some(&at)).await.values("id"));
    assert_eq!(ids, corpus_values(&site.control(), "pull_requests", "id", KIT));
}
