use std::io::Write;
use std::time::Duration;

use axum::body::Body;
use flate2::Compression;
use flate2::write::GzEncoder;
use headwater_connect::{Blame, ConnectorError, Retry};
use headwater_http::{HttpError, Timeouts};

use crate::server::{answer, answer_with, chain, quick, send, serve, serve_raw};

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_and_not_asked_for_again() {
    // Said to be too large, and found to be too large.
    for streamed in [false, true] {
        let server = serve(move |_, _| async move {
            let chunk = vec![b'x'; 100_000];
            match streamed {
                false => answer(200, vec![b'x'; 300_000]),
                true => {
                    let chunks = (0..3).map(move |_| Ok::<_, std::io::Error>(chunk.clone()));
                    answer(200, Body::from_stream(futures::stream::iter(chunks)))
                }
            }
        })
        .await;
        let client = server.builder().max_body_bytes(250_000).build().unwrap();
        let error = client.get("x").send().await.unwrap_err();
        assert!(matches!(error, ConnectorError::AnswerTooLarge { .. }), "{error:?}");
        assert_eq!((error.retry(), error.blame()), (Retry::Never, Blame::Configuration));
        assert_eq!(error.to_string(), "the source's answer has more than 250000 bytes");
        assert!(HttpError::of(&error).unwrap().to_string().contains("/x answered with more"), "{error:?}");
        assert_eq!(server.count(), 1);
        let fits = client.get("x").max_body_bytes(300_000).send().await.unwrap();
        assert_eq!(fits.body.len(), 300_000);
    }
}

#[tokio::test]
async fn a_length_that_cannot_be_is_refused_before_memory_is_taken() {
    for length in ["9223372036854775807", "68719476736"] {
        let server = serve_raw(move |_, mut stream| async move {
            send(&mut stream, format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\nx")).await;
        })
        .await;
        let error = server.client().get("x").send().await.unwrap_err();
        assert!(error.to_string().contains("67108864 bytes"), "{error}");
    }
}

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn a_compressed_body_is_limited_by_what_it_becomes() {
    let bomb = gzip(&vec![0; 50 << 20]);
    assert!(bomb.len() < 100_000);
    let server = serve(move |_, _| {
        let bomb = bomb.clone();
        async move { answer_with(200, &[("content-encoding", "gzip")], bomb) }
    })
    .await;
    let client = server.builder().max_body_bytes(1 << 20).build().unwrap();
    let error = client.get("x").send().await.unwrap_err();
    assert!(error.to_string().contains("more than 1048576 bytes"), "{error}");
}

#[tokio::test]
async fn a_compressed_body_is_read_and_a_damaged_one_asked_for_again() {
    let text = "éé".repeat(200_000);
    let (whole, body) = (gzip(text.as_bytes()), text.clone());
    let server = serve(move |number, _| {
        let mut sent = whole.clone();
        match number {
            1 => sent.truncate(sent.len() / 2),
            2 => sent[5..].fill(7),
            _ => {}
        }
        async move { answer_with(200, &[("content-encoding", "gzip")], sent) }
    })
    .await;
    let response = server.client().get("x").send().await.unwrap();
    assert_eq!(response.body, body.as_bytes());
    assert_eq!(server.count(), 3);
}

#[tokio::test]
async fn a_body_that_breaks_off_is_asked_for_again() {
    let server = serve_raw(|number, mut stream| async move {
        let whole = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n0123456789";
        let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\n01234\r\n";
        match number {
            1 => send(&mut stream, &whole.as_bytes()[..whole.len() - 3]).await,
            2 => send(&mut stream, chunked).await,
            // The connection is reset rather than closed.
            3 => {
                send(&mut stream, &whole.as_bytes()[..whole.len() - 3]).await;
                stream.set_zero_linger().unwrap();
            }
            _ => send(&mut stream, whole).await,
        }
    })
    .await;
    let response = server.client().get("x").send().await.unwrap();
    assert_eq!((&response.body[..], server.count()), (&b"0123456789"[..], 4));
}

#[tokio::test]
async fn a_body_that_always_breaks_off_says_how_far_it_came() {
    let server = serve_raw(|_, mut stream| async move {
        send(&mut stream, "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n0123456").await;
    })
    .await;
    let error = server.client().get("x").send().await.unwrap_err();
    assert!(matches!(error, ConnectorError::Unavailable { .. }), "{error:?}");
    let cause = HttpError::of(&error).unwrap().to_string();
    assert!(cause.ends_with("/x broke off after 7 bytes of the body"), "{cause}");
    assert_eq!(server.count(), 4);
}

#[tokio::test]
async fn a_source_that_drips_is_given_up() {
    // A byte now and then keeps the pause between two short, but not the whole.
    let server = serve_raw(|_, mut stream| async move {
        send(&mut stream, "HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n").await;
        let mut drips = tokio::time::interval(Duration::from_millis(5));
        loop {
            drips.tick().await;
            send(&mut stream, "x").await;
        }
    })
    .await;
    let total = Some(Duration::from_millis(80));
    let timeouts = Timeouts { total, ..Timeouts::default() };
    let client = server.builder().retry(quick(2)).timeouts(timeouts).build().unwrap();
    let error = client.get("x").send().await.unwrap_err();
    assert!(matches!(error, ConnectorError::Timeout { after, .. } if Some(after) == total), "{error:?}");

    let server = serve_raw(|_, mut stream| async move {
        send(&mut stream, "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf").await;
        std::future::pending().await
    })
    .await;
    let read = Some(Duration::from_millis(50));
    let client = server.builder().retry(quick(2)).timeouts(Timeouts { read, ..Timeouts::default() });
    let error = client.build().unwrap().get("x").send().await.unwrap_err();
    assert!(matches!(error, ConnectorError::Timeout { after, .. } if Some(after) == read), "{error:?}");
    assert!(chain(&error).contains("go on with its answer"), "{}", chain(&error));
}

#[tokio::test]
async fn large_bodies_come_whole_however_they_are_sent() {
    let text: Vec<u8> = (0..3_000_000_u32).map(|i| i.to_le_bytes()[i as usize % 3]).collect();
    for chunk in [1, 1000, 70_000, 3_000_000] {
        let body = if chunk == 1 { text[..5000].to_vec() } else { text.clone() };
        let expected = body.clone();
        let server = serve(move |number, _| {
            let body = body.clone();
            async move {
                if number % 2 == 0 {
                    return answer(200, body);
                }
                let chunks: Vec<_> =
                    body.chunks(chunk).map(|c| Ok::<_, std::io::Error>(c.to_vec())).collect();
                answer(200, Body::from_stream(futures::stream::iter(chunks)))
            }
        })
        .await;
        let client = server.client();
        for _ in 0..4 {
            assert!(client.get("x").send().await.unwrap().body == expected, "chunks of {chunk}");
        }
    }
}

#[tokio::test]
async fn a_body_that_is_not_what_was_expected_is_an_error_with_the_request() {
    for body in [&b"<html>busy</html>"[..], b"", b"{\"data\":", b"{\"a\":\"\xff\xfe\"}", b"{} {}"] {
        let server = serve(move |_, _| async move { answer(200, body) }).await;
        let response = server.client().get("x").query("token", "s3cret").send().await.unwrap();
        let error = response.json::<serde_json::Map<String, serde_json::Value>>().unwrap_err();
        assert!(matches!(error, ConnectorError::BadResponse { .. }), "{error:?}");
        assert!(error.to_string().contains("/x?token=<secret> did not answer"), "{error}");
    }
}

#[tokio::test]
async fn statuses_that_are_asked_for_are_answers() {
    let server = serve(|_, _| async { answer(404, "none") }).await;
    let response = server.client().get("x").allow_status(404).send().await.unwrap();
    assert_eq!((response.status.as_u16(), &response.body[..]), (404, &b"none"[..]));
}
