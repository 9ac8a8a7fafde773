//! Limits that a source names, limits that we set, and answers that need no body.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use headwater_connect::{ConnectorError, ManualClock, Retry};
use headwater_http::{HttpError, Timeouts};
use tokio::time::Instant;

use crate::server::{NO_TIMEOUTS, answer, answer_with, chain, quick, send, serve, serve_raw};

#[tokio::test(start_paused = true)]
async fn the_usual_headers_are_heeded_without_being_told() {
    for headers in [
        &[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "30")][..],
        &[("x-rate-limit-remaining", "0"), ("x-rate-limit-reset", "30")],
        &[("ratelimit", "limit=9, remaining=0, reset=30")],
        &[("ratelimit", "\"default\";r=0;t=30")],
    ] {
        let server = serve(move |number, _| async move {
            if number == 1 { answer_with(200, headers, "") } else { answer(200, "") }
        })
        .await;
        let client = server.builder().timeouts(NO_TIMEOUTS).build().unwrap();
        let started = Instant::now();
        for expected in [0, 30, 30] {
            client.get("x").send().await.unwrap();
            assert_eq!(started.elapsed().as_secs(), expected, "{headers:?}");
        }
    }
}

#[tokio::test]
async fn nothing_is_sent_to_a_source_that_has_nothing_left_for_long() {
    let now: DateTime<Utc> = "2026-01-01T00:00:00Z".parse().unwrap();
    let reset = (now.timestamp() + 7200).to_string();
    let server = serve(move |_, _| {
        let reset = reset.clone();
        async move { answer_with(200, &[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", &reset)], "") }
    })
    .await;
    let client = server.builder().clock(Arc::new(ManualClock::new(now))).build().unwrap();
    client.get("x").send().await.unwrap();
    let error = client.get("y").query("token", "s3cret").send().await.unwrap_err();
    assert_eq!(server.count(), 1);
    let Retry::After(wait) = error.retry() else { panic!("{error:?}") };
    assert!((7190..=7200).contains(&wait.as_secs()), "{wait:?}");
    let cause = HttpError::of(&error).unwrap().to_string();
    assert!(
        cause.contains("/y?token=<secret> was not sent: the source has no requests left until 2026-01-01T0"),
        "{cause}"
    );
}

#[tokio::test]
async fn a_second_limit_that_says_when_is_waited_for_though_the_first_has_requests_left() {
    let server = serve(|number, _| async move {
        let left = ("x-ratelimit-remaining", "4000");
        if number == 1 {
            answer_with(403, &[left, ("retry-after", "0")], "secondary limit")
        } else {
            answer(200, "")
        }
    })
    .await;
    server.client().get("x").send().await.unwrap();
    assert_eq!(server.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_deadline_holds_for_waits_and_repetitions_too() {
    let server = serve(|_, _| async { answer_with(429, &[("retry-after", "30")], "later") }).await;
    let client = server.builder().timeouts(NO_TIMEOUTS).build().unwrap();
    let started = Instant::now();
    let deadline = Duration::from_secs(40);
    let error = client.get("x").deadline(deadline).send().await.unwrap_err();
    // The answer that came is worth more than a wait that is cut off.
    assert_eq!(HttpError::of(&error).unwrap().status(), Some(429), "{error:?}");
    assert!(started.elapsed() <= deadline, "{:?}", started.elapsed());
    // Others wait for the pause that the source asked for.
    let error = client.get("x").deadline(Duration::from_secs(2)).send().await.unwrap_err();
    assert!(matches!(error, ConnectorError::Timeout { after, .. } if after.as_secs() == 2), "{error:?}");
    assert!(chain(&error).contains("waits and repetitions included"), "{}", chain(&error));
}

#[tokio::test]
async fn an_answer_that_has_not_changed_is_recognised() {
    let server = serve(|_, request| async move {
        let sent = |name: &str| request.headers().get(name).map(|v| v.to_str().unwrap().to_owned());
        match (sent("if-none-match").as_deref(), sent("if-modified-since").as_deref()) {
            (Some("W/\"v1\""), _) | (_, Some("Sun, 06 Nov 1994 08:49:37 GMT")) => answer(304, ""),
            _ => answer_with(
                200,
                &[("etag", "W/\"v1\""), ("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT")],
                "[1]",
            ),
        }
    })
    .await;
    let client = server.client();
    let first = client.get("x").if_none_match("\"v0\"").send().await.unwrap();
    assert!(!first.not_modified());
    let again = client.get("x").if_none_match(first.etag().unwrap()).send().await.unwrap();
    assert!(again.not_modified() && again.body.is_empty());
    let since = client.get("x").if_modified_since(first.last_modified().unwrap()).send().await.unwrap();
    assert!(since.not_modified());
    let odd = client.get("x").if_none_match("a\nb").send().await.unwrap_err();
    assert!(matches!(odd, ConnectorError::Bug { .. }), "{odd:?}");
}

#[tokio::test]
async fn more_headers_than_anybody_sends_are_refused() {
    for (lines, length) in [(10_000, 10), (50, 100_000)] {
        let server = serve_raw(move |_, mut stream| async move {
            let mut head = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n".to_owned();
            for line in 0..lines {
                head.push_str(&format!("x-{line}: {}\r\n", "v".repeat(length)));
            }
            send(&mut stream, head + "\r\n").await;
        })
        .await;
        let timeouts = Timeouts { read: Some(Duration::from_secs(5)), ..Timeouts::default() };
        let client = server.builder().retry(quick(1)).timeouts(timeouts).build().unwrap();
        let error = client.get("x").send().await.unwrap_err();
        assert!(matches!(error, ConnectorError::Unavailable { .. }), "{error:?}");
        assert!(chain(&error).contains("got no answer"), "{}", chain(&error));
    }
}

/// Takes what is logged.
#[derive(Clone, Default)]
struct Log(Arc<std::sync::Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Runs in a process of its own: whether an event is wanted is remembered for a whole process.
#[tokio::test]
#[ignore = "started by another test, in a process of its own"]
async fn requests_are_events() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::DEBUG)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let server = serve(|number, _| async move {
        if number == 1 { answer(503, "busy hunter2hunter2") } else { answer(200, "12345") }
    })
    .await;
    let auth = headwater_http::Auth::Bearer(headwater_connect::Secret::new("hunter2hunter2"));
    let client = server.builder().auth(auth).build().unwrap();
    client.get("orders").query("api_key", "hunter2hunter2").send().await.unwrap();
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(!log.contains("hunter2"), "{log}");
    let events: Vec<&str> =
        log.lines().filter(|line| line.contains("DEBUG") && line.contains(" request ")).collect();
    assert_eq!(events.len(), 2, "{log}");
    for (event, expect) in
        events.iter().zip([["status=503", "attempt=1"], ["status=200 bytes=5", "attempt=2"]])
    {
        assert!(event.contains("/orders?api_key=<secret>") && event.contains("waited_secs="), "{event}");
        assert!(expect.iter().all(|part| event.contains(part)), "{event}");
    }
}

#[tokio::test]
async fn every_request_is_an_event_without_what_is_secret_in_it() {
    crate::ways::run_alone("limits::requests_are_events", &[]).await;
}
