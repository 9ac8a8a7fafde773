//! Every fault, as a client meets it.

use std::time::Duration;

use headwater_testkit::simulator::{Fault, FaultKind, Settings, Simulator, When};
use serde_json::json;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::simulator_client::{exchange, get, load, start, tls, try_ask};

const ENDPOINTS: &str = "
endpoints:
  - {path: /a, corpus: a}
  - {path: /b, corpus: a}
";

fn simulator() -> Simulator {
    start(ENDPOINTS, &[("a", json!([{"id": 1, "text": "some words"}]))])
}

#[tokio::test]
async fn a_status_comes_in_place_of_the_answer() {
    let simulator = simulator();
    let fault = Fault::new(FaultKind::Status(503), When::Nth(2))
        .retry_after(Duration::from_secs(7))
        .body(json!({"error": "busy"}));
    simulator.control().set_faults(vec![fault]);
    assert_eq!(get(&simulator, "/a").await.status, 200);
    let got = get(&simulator, "/a").await;
    assert_eq!(
        (got.status, got.header("retry-after"), got.json()),
        (503, Some("7"), json!({"error": "busy"}))
    );
    assert_eq!(get(&simulator, "/a").await.status, 200);
    let seen: Vec<_> = simulator.control().requests().iter().map(|r| r.status).collect();
    assert_eq!(seen, [Some(200), Some(503), Some(200)]);
}

#[tokio::test]
async fn a_body_breaks_off_short_of_its_length() {
    let simulator = simulator();
    let whole = get(&simulator, "/a").await;
    simulator.control().set_faults(vec![Fault::new(FaultKind::TruncatedBody, When::Always)]);
    let got = get(&simulator, "/a").await;
    assert_eq!(got.status, 200);
    assert_eq!(got.header("content-length").unwrap(), whole.body.len().to_string());
    assert_eq!(got.body, whole.body[..whole.body.len() / 2]);
}

#[tokio::test]
async fn a_connection_is_reset_in_the_clear_and_inside_tls() {
    let simulator = simulator();
    simulator.control().set_faults(vec![Fault::new(FaultKind::Reset, When::Always)]);
    let error = try_ask(&simulator, "GET /a", "", "").await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    let stream = TcpStream::connect(simulator.address()).await.unwrap();
    let stream = tls(&simulator, stream, "api.example.org").await;
    let error = exchange(stream, "GET /a", "", "").await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    assert_eq!(simulator.control().requests()[0].status, None);
    simulator.control().clear_faults();
    assert_eq!(get(&simulator, "/a").await.status, 200);
}

#[tokio::test]
async fn json_may_be_broken_and_whole_as_http() {
    let simulator = simulator();
    simulator.control().set_faults(vec![Fault::new(FaultKind::InvalidJson, When::Always)]);
    let got = get(&simulator, "/a").await;
    assert_eq!(got.header("content-length").unwrap(), got.body.len().to_string());
    assert!(serde_json::from_slice::<serde_json::Value>(&got.body).is_err());
}

#[tokio::test]
async fn answers_may_be_late_or_slow() {
    let simulator = simulator();
    let by = Duration::from_millis(80);
    for kind in [FaultKind::Delay(by), FaultKind::SlowBody(by)] {
        simulator.control().set_faults(vec![Fault::new(kind, When::Always)]);
        let started = Instant::now();
        let got = get(&simulator, "/a").await;
        assert_eq!(got.all("id"), [json!(1)], "{kind:?}");
        assert!(started.elapsed() >= by, "{kind:?}");
    }
}

#[tokio::test]
async fn faults_of_the_description_come_from_its_seed() {
    let text = "
faults: [{kind: status, status: 502, nth: 4}]
endpoints:
  - {path: /a, corpus: a, faults: [{kind: status, probability: 0.5}]}
  - {path: /b, corpus: a}
";
    let run = async |seed: u64| {
        let description = load(text, &[("a", json!([]))]);
        let simulator = Simulator::start(description, Settings { seed, ..Settings::default() }).unwrap();
        let mut statuses = Vec::new();
        for _ in 0..20 {
            statuses.push(get(&simulator, "/a").await.status);
        }
        simulator.control().reset();
        let mut again = Vec::new();
        for _ in 0..20 {
            again.push(get(&simulator, "/a").await.status);
        }
        assert_eq!(statuses, again);
        statuses
    };
    let first = run(1).await;
    assert_eq!(first, run(1).await);
    assert_ne!(first, run(2).await);
    assert!(first.contains(&500) && first.contains(&200), "{first:?}");
}

#[tokio::test]
async fn a_fault_may_be_of_one_endpoint() {
    let simulator = simulator();
    simulator.control().set_faults(vec![Fault::new(FaultKind::Status(500), When::Always).on("/b")]);
    assert_eq!(get(&simulator, "/a").await.status, 200);
    assert_eq!(get(&simulator, "/b").await.status, 500);
}
