use std::sync::Arc;
use std::time::Duration;

use axum::http::Method;
use chrono::{DateTime, Utc};
use futures::future::join_all;
use headwater_connect::{ConnectorError, ManualClock, Retry};
use headwater_http::{HeaderName, HttpError, RateLimit, RetryPolicy, Timeouts};
use tokio::sync::Barrier;
use tokio::time::Instant;

use crate::server::{NO_TIMEOUTS, answer, answer_with, chain, quick, send, serve, serve_raw};

/// Answers with `status` twice, then with success.
async fn after_two(status: u16, headers: &'static [(&'static str, &'static str)]) -> crate::server::Server {
    serve(move |number, _| async move {
        if number <= 2 { answer_with(status, headers, "not now") } else { answer(200, "done") }
    })
    .await
}

#[tokio::test]
async fn statuses_that_pass_are_tried_again() {
    for status in [408, 425, 429, 500, 502, 503, 504] {
        let server = after_two(status, &[]).await;
        let client = server.client();
        let response = client.get("x").send().await.unwrap();
        assert_eq!((&response.body[..], server.count()), (&b"done"[..], 3), "{status}");
        let counts = client.stats().counts();
        assert_eq!((counts.requests, counts.retries, counts.body_bytes), (3, 2, 4), "{status}");
    }
}

#[tokio::test]
async fn each_status_is_the_error_that_says_what_to_do() {
    let check = async |status: u16, attempts: usize, fits: fn(&ConnectorError) -> bool, retry: Retry| {
        let server = serve(move |_, _| async move { answer(status, "the reason") }).await;
        let error = server.client().get("a/b").query("q", 1).send().await.unwrap_err();
        assert!(fits(&error), "{status}: {error:?}");
        assert_eq!((error.retry(), server.count()), (retry, attempts), "{status}");
        let cause = HttpError::of(&error).unwrap();
        assert_eq!(cause.status(), Some(status));
        let expected = format!("GET {}/a/b?q=1 answered {status}", server.url);
        assert!(cause.to_string().starts_with(&expected), "{cause}");
        assert!(cause.to_string().ends_with(": the reason"), "{cause}");
    };
    check(401, 1, |e| matches!(e, ConnectorError::Unauthorized { .. }), Retry::Never).await;
    check(403, 1, |e| matches!(e, ConnectorError::Forbidden { .. }), Retry::Never).await;
    for status in [400, 404, 409, 410, 422] {
        check(status, 1, |e| matches!(e, ConnectorError::Rejected { .. }), Retry::Never).await;
    }
    check(429, 4, |e| matches!(e, ConnectorError::RateLimited { .. }), Retry::Backoff).await;
    for status in [500, 503] {
        check(status, 4, |e| matches!(e, ConnectorError::Unavailable { .. }), Retry::Backoff).await;
    }
    check(501, 1, |e| matches!(e, ConnectorError::Unavailable { .. }), Retry::Backoff).await;
}

#[tokio::test(start_paused = true)]
async fn retry_after_in_seconds_is_waited_for() {
    for status in [429, 503, 403] {
        let server = after_two(status, &[("retry-after", "7")]).await;
        let client = server.builder().timeouts(NO_TIMEOUTS).build().unwrap();
        let started = Instant::now();
        client.get("x").send().await.unwrap();
        let waited = started.elapsed();
        assert!((14.0..16.0).contains(&waited.as_secs_f64()), "{status}: {waited:?}");
        assert!(client.stats().counts().waited >= Duration::from_secs(14));
    }
}

#[tokio::test(start_paused = true)]
async fn retry_after_as_a_date_counts_from_the_sources_own_clock() {
    let headers: &[(&str, &str)] =
        &[("date", "Sun, 06 Nov 1994 08:49:30 GMT"), ("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT")];
    let server = after_two(429, headers).await;
    let client = server.builder().timeouts(NO_TIMEOUTS).build().unwrap();
    let started = Instant::now();
    client.get("x").send().await.unwrap();
    assert!((14.0..16.0).contains(&started.elapsed().as_secs_f64()), "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_date_counts_from_our_clock_where_the_source_tells_no_time() {
    let head =
        "HTTP/1.1 429 Slow Down\r\nretry-after: Sun, 06 Nov 1994 09:49:30 GMT\r\ncontent-length: 0\r\n\r\n";
    let server = serve_raw(move |_, mut stream| async move { send(&mut stream, head).await }).await;
    let now: DateTime<Utc> = "1994-11-06T08:49:30Z".parse().unwrap();
    let client = server.builder().clock(Arc::new(ManualClock::new(now))).build().unwrap();
    let error = client.get("x").send().await.unwrap_err();
    assert_eq!(error.retry(), Retry::After(Duration::from_secs(3600)), "{error:?}");
}

#[tokio::test]
async fn a_pause_that_is_too_long_is_the_callers_to_decide_on() {
    for status in [429, 503] {
        let server = after_two(status, &[("retry-after", "61")]).await;
        let error = server.client().get("x").send().await.unwrap_err();
        assert!(matches!(error, ConnectorError::RateLimited { .. }), "{error:?}");
        assert_eq!(error.retry(), Retry::After(Duration::from_secs(61)));
        assert_eq!(server.count(), 1);
    }
}

#[tokio::test]
async fn a_pause_holds_all_requests_of_the_client() {
    let server = serve(|number, _| async move {
        if number == 1 { answer_with(429, &[("retry-after", "1")], "") } else { answer(200, "") }
    })
    .await;
    let client = server.client();
    let (refused, other) = (client.get("a"), client.get("b"));
    // Requests of another's are answered at once until the refusal has come, and then held.
    let held = async {
        let started = Instant::now();
        while started.elapsed() < Duration::from_secs(5) {
            let sent = Instant::now();
            other.send().await.unwrap();
            if sent.elapsed() > Duration::from_millis(400) {
                return true;
            }
        }
        false
    };
    let (first, held) = tokio::join!(refused.send(), held);
    first.unwrap();
    assert!(held);
}

#[tokio::test(start_paused = true)]
async fn headers_that_count_requests_are_heeded() {
    let server = serve(|number, _| async move {
        let left = if number == 1 { "0" } else { "5" };
        answer_with(200, &[("x-left", left), ("x-reset", "30")], "")
    })
    .await;
    let names = (HeaderName::from_static("x-left"), HeaderName::from_static("x-reset"));
    let client = server.builder().timeouts(NO_TIMEOUTS).rate_limit_headers(names.0, names.1).build().unwrap();
    let started = Instant::now();
    for expected in [0, 30, 30] {
        client.get("x").send().await.unwrap();
        assert_eq!(started.elapsed().as_secs(), expected);
    }
}

#[tokio::test]
async fn a_refusal_with_no_requests_left_says_when_there_are_more() {
    let now: DateTime<Utc> = "2026-01-01T00:00:00Z".parse().unwrap();
    let reset = (now.timestamp() + 900).to_string();
    let server = serve(move |_, _| {
        let reset = reset.clone();
        async move { answer_with(403, &[("x-left", "0"), ("x-reset", reset.as_str())], "") }
    })
    .await;
    let names = (HeaderName::from_static("x-left"), HeaderName::from_static("x-reset"));
    let client = server.builder().rate_limit_headers(names.0, names.1);
    let client = client.clock(Arc::new(ManualClock::new(now))).build().unwrap();
    let error = client.get("x").send().await.unwrap_err();
    assert!(matches!(error, ConnectorError::RateLimited { .. }), "{error:?}");
    assert_eq!((error.retry(), server.count()), (Retry::After(Duration::from_secs(900)), 1));
}

#[tokio::test]
async fn a_post_is_sent_once_unless_it_may_be_sent_twice() {
    for (status, idempotent, count) in
        [(500, false, 1), (500, true, 3), (429, false, 1), (429, true, 3), (200, false, 1)]
    {
        let server = after_two(status, &[]).await;
        let mut post = server.client().post("x").form([("a", "1")]);
        if idempotent {
            post = post.idempotent();
        }
        assert_eq!(post.send().await.is_ok(), idempotent || status == 200, "{status} {idempotent}");
        assert_eq!(server.count(), count, "{status} {idempotent}");
    }
    let server = after_two(500, &[]).await;
    server.client().request(Method::PUT, "x").json(&[1]).send().await.unwrap();
    assert_eq!(server.count(), 3);
}

#[tokio::test]
async fn connections_that_break_before_an_answer_are_tried_again() {
    let server = serve_raw(|number, mut stream| async move {
        match number {
            1 => {}
            2 => send(&mut stream, "HTTP/1.1 2").await,
            3 => send(&mut stream, "\x16\x03\x01 this is no HTTP\r\n\r\n").await,
            _ => send(&mut stream, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await,
        }
    })
    .await;
    let response = server.client().get("x").send().await.unwrap();
    assert_eq!((&response.body[..], server.count()), (&b"ok"[..], 4));
}

#[tokio::test]
async fn a_host_that_does_not_answer_the_door_is_unavailable() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let client = headwater_http::HttpClient::builder(&url).retry(quick(3)).build().unwrap();
    // Nothing has been sent, so that a POST may be tried again as well.
    for request in [client.get("x"), client.post("x")] {
        let before = client.stats().counts().requests;
        let error = request.send().await.unwrap_err();
        assert!(matches!(error, ConnectorError::Unavailable { .. }), "{error:?}");
        assert!(chain(&error).contains("/x got no answer"), "{}", chain(&error));
        assert_eq!(client.stats().counts().requests - before, 3);
    }
}

#[tokio::test]
async fn a_source_that_says_nothing_is_given_up() {
    let server = serve_raw(|_, stream| async move {
        let _open = stream;
        std::future::pending().await
    })
    .await;
    let read = Some(Duration::from_millis(30));
    let client = server.builder().retry(quick(2)).timeouts(Timeouts { read, ..Timeouts::default() });
    let error = client.build().unwrap().get("x").send().await.unwrap_err();
    assert!(matches!(error, ConnectorError::Timeout { after, .. } if Some(after) == read), "{error:?}");
    assert_eq!((server.count(), error.retry()), (2, Retry::Backoff));
}

#[tokio::test(start_paused = true)]
async fn attempts_end_with_the_time_that_is_set_for_them() {
    let server = serve(|_, _| async { answer_with(429, &[("retry-after", "30")], "") }).await;
    let retry = RetryPolicy { max_attempts: 100, ..RetryPolicy::default() };
    let client = server.builder().timeouts(NO_TIMEOUTS).retry(retry).build().unwrap();
    let started = Instant::now();
    client.get("x").send().await.unwrap_err();
    assert!(started.elapsed() <= Duration::from_secs(300), "{:?}", started.elapsed());
    assert!(server.count() >= 9, "{}", server.count());
}

#[tokio::test]
async fn no_more_requests_are_under_way_than_the_budget_allows() {
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let counters = (Arc::clone(&now), Arc::clone(&most));
    // Nobody is answered before three are there.
    let three = Arc::new(Barrier::new(3));
    let server = serve(move |_, _| {
        let ((now, most), three) = (counters.clone(), Arc::clone(&three));
        async move {
            most.fetch_max(now.fetch_add(1, SeqCst) + 1, SeqCst);
            three.wait().await;
            now.fetch_sub(1, SeqCst);
            answer(200, "")
        }
    })
    .await;
    let client = server.builder().rate_limit(RateLimit::concurrency(3)).build().unwrap();
    // Another client of the same source shares the budget.
    let other = server.builder().budget(client.budget().clone()).build().unwrap();
    let requests: Vec<_> =
        (0..24).map(|i| if i % 2 == 0 { client.get("x") } else { other.get("x") }).collect();
    for response in join_all(requests.iter().map(|request| request.send())).await {
        response.unwrap();
    }
    assert_eq!(most.load(SeqCst), 3);
}

#[tokio::test(start_paused = true)]
async fn requests_keep_to_the_rate() {
    let server = serve(|_, _| async { answer(200, "") }).await;
    let client =
        server.builder().timeouts(NO_TIMEOUTS).rate_limit(RateLimit::per_minute(30)).build().unwrap();
    let started = Instant::now();
    for _ in 0..5 {
        client.get("x").send().await.unwrap();
    }
    assert_eq!(started.elapsed().as_secs(), 8);
    assert_eq!(client.stats().counts().waited.as_secs(), 8);
}
