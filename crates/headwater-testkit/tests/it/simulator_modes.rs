//! A real source recorded, replayed, and passed through. The source is a simulator as well: what counts is that it is
//! another server.

use headwater_connect::Secret;
use headwater_testkit::simulator::{Description, Mode, Settings, Simulator};
use serde_json::{Value, json};

use super::simulator_client::{Got, ask, get, load, start};

const SECRET: &str = "s3cr3t-of-the-source";

const ENDPOINTS: &str = "
auth: {header: Authorization, prefix: 'Bearer '}
endpoints:
  - path: /ships
    corpus: ships
    params: {page: page, per_page: {role: per_page, default: 20}, api_key: ignore}
    response: {pagination_style: page_number_with_link_header}
  - {path: /token, method: POST, corpus: token, auth: false, response: {headers: {Set-Cookie: session=s3cr3t-of-the-source}}}
  - {path: /odd, corpus: odd}
";

fn source() -> Simulator {
    let ships: Vec<Value> =
        (1..=50).map(|i| json!({"id": i, "note": format!("by {SECRET}"), "password": "p-4711"})).collect();
    let token = json!({"access_token": "t-4711", "expires_in": 3600});
    start(
        ENDPOINTS,
        &[("ships", json!(ships)), ("token", token), ("odd", json!({"big": 9007199254740993i64}))],
    )
}

fn settings(source: &Simulator, mode: Mode) -> Settings {
    Settings {
        mode,
        upstream: Some(source.base_url()),
        secrets: vec![Secret::new(SECRET)],
        ..Settings::default()
    }
}

/// A session as a client has it: a token, two pages, and something that is not there.
async fn session(simulator: &Simulator, token: &str) -> Vec<(u16, Value, Option<String>)> {
    let host = format!("Host: {}\r\n", simulator.address());
    let form = format!("{host}Content-Type: application/x-www-form-urlencoded\r\n");
    let secret = format!("client_secret={token}&grant_type=client_credentials");
    let bearer = format!("{host}Authorization: Bearer {token}\r\n");
    let got = [
        ask(simulator, "POST /token", &form, &secret).await,
        ask(simulator, &format!("GET /ships?api_key={token}&page=1"), &bearer, "").await,
        ask(simulator, &format!("GET /ships?page=2&api_key={token}"), &bearer, "").await,
        ask(simulator, "GET /odd", &bearer, "").await,
        ask(simulator, "GET /nothing", &bearer, "").await,
    ];
    let shown = |got: Got| (got.status, got.json(), got.header("link").map(str::to_owned));
    got.into_iter().map(shown).collect()
}

#[tokio::test]
async fn what_was_recorded_is_replayed_without_its_secrets() {
    let source = source();
    let folder = tempfile::tempdir().unwrap();
    let cassette = folder.path().join("cassettes/ships.json");
    let record = Mode::Record { cassette: cassette.clone(), sample: 3 };
    let recorded = {
        let simulator = Simulator::start(Description::default(), settings(&source, record)).unwrap();
        let recorded = session(&simulator, SECRET).await;
        assert_eq!(simulator.control().recorded(), 5);
        recorded
    };
    // The client had the real token, and as many records as the recording.
    assert_eq!(recorded[0].1["access_token"], "t-4711");
    assert_eq!(recorded[1].1.as_array().unwrap().len(), 3);
    assert_eq!(recorded[2].1[0]["id"], 21);

    let text = std::fs::read_to_string(&cassette).unwrap();
    for secret in [SECRET, "t-4711", "p-4711", "session="] {
        assert!(!text.contains(secret), "{secret} is in the cassette: {text}");
    }
    assert!(text.contains("\"big\": 9007199254740993"), "{text}");
    assert!(text.lines().count() > 50, "it is written for people");

    drop(source);
    // Other secrets than those of the recording, and an order of parameters that does not count.
    let settings = Settings { mode: Mode::Replay { cassette }, ..Settings::default() };
    let simulator = Simulator::start(Description::default(), settings).unwrap();
    let replayed = session(&simulator, "another-secret").await;
    for (recorded, replayed) in recorded.iter().zip(&replayed) {
        assert_eq!((recorded.0, without_secrets(&recorded.1)), (replayed.0, replayed.1.clone()));
    }
    let missing = get(&simulator, "/ships?page=3&api_key=x").await;
    assert_eq!(missing.status, 404);
    let message = missing.json()["message"].as_str().unwrap().to_owned();
    assert!(message.contains("/ships?api_key=REDACTED&page=3 was not recorded"), "{message}");
    assert!(message.contains("the nearest that was is GET 127.0.0.1:"), "{message}");
}

fn without_secrets(value: &Value) -> Value {
    let text = value
        .to_string()
        .replace(SECRET, "REDACTED")
        .replace("p-4711", "REDACTED")
        .replace("t-4711", "REDACTED");
    serde_json::from_str(&text).unwrap()
}

#[tokio::test]
async fn recording_again_changes_nothing_where_the_source_did_not() {
    let source = source();
    let folder = tempfile::tempdir().unwrap();
    let cassette = folder.path().join("ships.json");
    let record = || Mode::Record { cassette: cassette.clone(), sample: 3 };
    let mut texts = Vec::new();
    for _ in 0..2 {
        let simulator = Simulator::start(Description::default(), settings(&source, record())).unwrap();
        session(&simulator, SECRET).await;
        simulator.control().save().unwrap();
        drop(simulator);
        texts.push(std::fs::read_to_string(&cassette).unwrap());
    }
    assert_eq!(texts[0], texts[1]);
    // A later error does not take the place of an answer.
    let down = Settings { upstream: Some("http://127.0.0.1:9".into()), ..settings(&source, record()) };
    let simulator = Simulator::start(Description::default(), down).unwrap();
    let host = format!("Host: {}\r\n", simulator.address());
    let got = ask(&simulator, "GET /odd", &host, "").await;
    assert_eq!(got.status, 502);
    assert!(got.json()["message"].as_str().unwrap().contains("could not be asked"), "{got:?}");
}

#[tokio::test]
async fn live_passes_through_and_counts() {
    let source = source();
    let simulator = Simulator::start(Description::default(), settings(&source, Mode::Live)).unwrap();
    let seen = session(&simulator, SECRET).await;
    assert_eq!(seen[1].1.as_array().unwrap().len(), 20);
    assert_eq!((simulator.control().request_count(), source.control().request_count()), (5, 5));
    // A client that is led here by its proxy names the source itself.
    let request = format!("GET {}/odd", source.base_url());
    let headers = format!("Host: {}\r\nAuthorization: Bearer x\r\n", source.address());
    assert_eq!(ask(&simulator, &request, &headers, "").await.status, 200);
    // Without a name there is nowhere to go.
    let nowhere = Settings { mode: Mode::Live, ..Settings::default() };
    let nowhere = Simulator::start(Description::default(), nowhere).unwrap();
    let host = format!("Host: {}\r\n", nowhere.address());
    let got = ask(&nowhere, "GET /odd", &host, "").await;
    assert!(got.status == 502 && got.json()["message"].as_str().unwrap().contains("--upstream"), "{got:?}");
}

#[tokio::test]
async fn recording_tells_where_the_description_is_wrong() {
    let source = source();
    let described = "
endpoints:
  - {path: /ships, corpus: ships, response: {expected_status_codes: [200]}}
  - {path: /odd, corpus: odd, response: {expected_status_codes: [404]}}
";
    let description = load(described, &[("ships", json!([{"id": 1, "colour": "red"}])), ("odd", json!({}))]);
    let folder = tempfile::tempdir().unwrap();
    let record = Mode::Record { cassette: folder.path().join("c.json"), sample: 3 };
    let simulator = Simulator::start(description, settings(&source, record)).unwrap();
    session(&simulator, SECRET).await;
    session(&simulator, SECRET).await;
    let found: Vec<String> = simulator.control().differences().iter().map(ToString::to_string).collect();
    assert_eq!(
        found,
        [
            "GET /nothing: no endpoint is described; the source answers 404",
            "GET /odd: the source answers 200, expected is 404",
            "GET /ships: the description gives `colour` in its records, the source does not",
            "GET /ships: the source gives `note` in its records, the description does not",
            "GET /ships: the source gives `password` in its records, the description does not",
            "POST /token: no endpoint is described; the source answers 200",
        ]
    );
}

#[tokio::test]
async fn a_cassette_that_cannot_be_used_is_told_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.json");
    let start = |mode: Mode| {
        let error =
            Simulator::start(Description::default(), Settings { mode, ..Settings::default() }).unwrap_err();
        std::error::Error::source(&error).unwrap().to_string()
    };
    assert!(start(Mode::Replay { cassette: path.clone() }).contains("cannot be read"));
    std::fs::write(&path, "{}").unwrap();
    assert!(start(Mode::Replay { cassette: path.clone() }).contains("no cassette of the form"));
    std::fs::write(&path, "{\"format\": \"other/9\", \"entries\": []}").unwrap();
    assert!(start(Mode::Record { cassette: path.clone(), sample: 1 }).contains("other/9"));
    let nowhere = folder.path().join("c.json/inside.json");
    assert!(start(Mode::Record { cassette: nowhere, sample: 1 }).contains("cannot be written"));
}
