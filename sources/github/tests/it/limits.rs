//! Limits of the source, and pages at the same time.

use std::time::Duration;

use headwater_connect::{ConnectorError, Retry};
use headwater_testkit::simulator::{Fault, FaultKind, Settings, When};
use serde_json::json;

use crate::support::{Site, corpus_values};

const ISSUES: &str = "/repos/{owner}/{repo}/issues";

#[tokio::test]
async fn secondary_limits_are_waited_out() {
    let site = Site::start();
    for status in [403, 429] {
        let body = json!({"message": "You have exceeded a secondary rate limit."});
        let fault = Fault::new(FaultKind::Status(status), When::Nth(2)).on(ISSUES);
        site.control().set_faults(vec![fault.retry_after(Duration::from_secs(1)).body(body)]);
        let update = site.update("issues", &[("per_page", "20")], None).await;
        let all = corpus_values(&site.control(), "issues", "id", ("url", "/kit/"));
        assert_eq!(update.values("id"), all, "{status}");
    }
}

#[tokio::test]
async fn a_used_up_quota_ends_the_read_with_its_time() {
    let replaced = [("  requests: 100000", "  requests: 3")];
    let site = Site::with(Settings::default(), &replaced);
    let token = "ghs_invented0123456789abcdefghijklmnop";
    let update = site.try_update("issues", &[("per_page", "5"), ("token", token)], None).await;
    let error = update.err().unwrap();
    assert!(matches!(error, ConnectorError::RateLimited { .. }), "{error:?}");
    let Retry::After(after) = error.retry() else { panic!("{error:?}") };
    assert!(after > Duration::from_secs(3000) && after <= Duration::from_secs(3600), "{after:?}");
}

#[tokio::test]
async fn what_is_forbidden_is_no_limit() {
    let site = Site::start();
    let fault = Fault::new(FaultKind::Status(403), When::Always).on(ISSUES);
    site.control().set_faults(vec![fault.body(json!({"message": "Resource not accessible"}))]);
    let error = site.try_update("issues", &[], None).await.err().unwrap();
    assert!(matches!(error, ConnectorError::Forbidden { .. }), "{error:?}");
    let said = crate::support::chain(&error);
    assert!(said.contains("repository `oxbow-x/kit` does not allow this"), "{said}");
}

/// GitHub does not always say how long to wait, and then only its words tell a limit from what is forbidden.
#[tokio::test]
async fn a_limit_without_headers_leaves_no_repository_out() {
    let site = Site::start();
    let body = json!({"message": "You have exceeded a secondary rate limit. Please wait a few minutes."});
    let fault = Fault::new(FaultKind::Status(403), When::Nth(2)).on("/repos/{owner}/{repo}/releases");
    site.control().set_faults(vec![fault.body(body)]);
    let error = site.try_update("releases", &[("repo", "*")], None).await.err().unwrap();
    assert!(matches!(error, ConnectorError::RateLimited { .. }), "{error:?}");
    assert_eq!(error.retry(), Retry::After(Duration::from_secs(60)));
}

#[tokio::test]
async fn pages_are_fetched_at_the_same_time() {
    let latency = Duration::from_secs(1);
    let site = Site::with(Settings { latency: Some(latency), ..Settings::default() }, &[]);
    let update = site.update("issues", &[("per_page", "10"), ("lookback_seconds", "0")], None).await;
    assert_eq!(update.values("id").len(), 55);
    let mut pages: Vec<_> = site.seen("sort=created").iter().map(|request| request.at).collect();
    pages.sort();
    assert_eq!(pages.len(), 6);
    // The first tells how many there are. If the others waited for each other, they would take four seconds.
    let between = (pages[5] - pages[1]).to_std().unwrap();
    assert!(between < 3 * latency, "{between:?}");
}
