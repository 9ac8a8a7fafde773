//! Credentials, rate limits, latency, conditional requests.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta};
use headwater_connect::ManualClock;
use headwater_testkit::simulator::{Settings, Simulator};
use serde_json::json;
use tokio::time::Instant;

use super::simulator_client::{ask, get, load, start};

#[tokio::test]
async fn credentials_are_asked_for_as_described() {
    let text = "
auth: {header: Authorization, prefix: 'Bearer ', values: [good], body: {error: denied}, headers: {WWW-Authenticate: Bearer}}
endpoints:
  - {path: /a, corpus: a}
  - {path: /b, corpus: a, auth: {query: api_key, status: 403}, strict_params: true}
  - {path: /c, corpus: a, auth: false}
";
    let simulator = start(text, &[("a", json!([]))]);
    let refused = get(&simulator, "/a").await;
    assert_eq!((refused.status, refused.json()), (401, json!({"error": "denied"})));
    assert_eq!(refused.header("www-authenticate"), Some("Bearer"));
    for (header, expect) in [("Bearer good", 200), ("Bearer bad", 401), ("Basic good", 401), ("Bearer ", 401)]
    {
        let got = ask(&simulator, "GET /a", &format!("Authorization: {header}\r\n"), "").await;
        assert_eq!(got.status, expect, "{header}");
    }
    assert_eq!(get(&simulator, "/b").await.status, 403);
    assert_eq!(get(&simulator, "/b?api_key=x").await.status, 200);
    assert_eq!(get(&simulator, "/c").await.status, 200);
}

#[tokio::test]
async fn a_limit_is_told_and_kept_by_the_clock() {
    let text = "
rate_limit:
  requests: 2
  window_seconds: 60
  headers: {limit: X-RateLimit-Limit, remaining: X-RateLimit-Remaining, reset: X-RateLimit-Reset}
  body: {error: slow down}
  not_modified_counts: false
endpoints:
  - {path: /a, corpus: a, etag: true}
  - {path: /b, corpus: a, rate_limit: {requests: 1, window_seconds: 60, status: 403, retry_after: date}}
";
    let clock = ManualClock::new(DateTime::from_timestamp(1_700_000_000, 0).unwrap());
    let settings = Settings { clock: Arc::new(clock.clone()), ..Settings::default() };
    let simulator = Simulator::start(load(text, &[("a", json!([]))]), settings).unwrap();
    let first = get(&simulator, "/a").await;
    assert_eq!(
        ["x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"]
            .map(|name| first.header(name).unwrap()),
        ["2", "1", "1700000060"]
    );
    let known = format!("If-None-Match: {}\r\n", first.header("etag").unwrap());
    for _ in 0..5 {
        let got = ask(&simulator, "GET /a", &known, "").await;
        assert_eq!((got.status, got.body.len()), (304, 0));
    }
    assert_eq!(get(&simulator, "/a").await.status, 200);
    clock.advance(TimeDelta::seconds(20));
    let refused = get(&simulator, "/a").await;
    assert_eq!((refused.status, refused.header("retry-after")), (429, Some("40")));
    assert_eq!(refused.json(), json!({"error": "slow down"}));
    assert_eq!(get(&simulator, "/b").await.status, 200);
    let refused = get(&simulator, "/b").await;
    assert_eq!((refused.status, refused.header("retry-after")), (403, Some("Tue, 14 Nov 2023 22:14:40 GMT")));
    clock.advance(TimeDelta::seconds(40));
    assert_eq!(get(&simulator, "/a").await.status, 200);
}

#[tokio::test]
async fn so_many_requests_at_the_same_time() {
    let text = "
endpoints:
  - {path: /a, corpus: a, latency_ms: 100, rate_limit: {concurrent: 2}}
";
    let simulator = start(text, &[("a", json!([]))]);
    let started = Instant::now();
    let all = futures::future::join_all((0..5).map(|_| get(&simulator, "/a"))).await;
    let served = all.iter().filter(|got| got.status == 200).count();
    assert_eq!(served, 2);
    assert!(started.elapsed() >= Duration::from_millis(100));
    assert_eq!(get(&simulator, "/a").await.status, 200);
}

#[tokio::test]
async fn a_changed_body_has_another_tag() {
    let simulator = start("endpoints: [{path: /a, corpus: a, etag: true}]", &[("a", json!([]))]);
    let first = get(&simulator, "/a").await.header("etag").unwrap().to_owned();
    simulator.control().insert("a", json!({"id": 1})).unwrap();
    let got = ask(&simulator, "GET /a", &format!("If-None-Match: W/{first}\r\n"), "").await;
    assert_eq!((got.status, got.all("id")), (200, vec![json!(1)]));
    assert_ne!(got.header("etag").unwrap(), first);
}
