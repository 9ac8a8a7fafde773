//! Long answers, cut into pages of whole records while they come.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use axum::body::Body;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures::StreamExt;
use headwater_connect::{ConnectorError, JsonPointer, Page, Retry};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::server::{answer, answer_with, chain, send, serve, serve_raw};

fn pointer(text: &str) -> JsonPointer {
    text.parse().unwrap()
}

/// Serves `body` in chunks of these sizes.
async fn chunked(body: Vec<u8>, sizes: Vec<usize>) -> crate::server::Server {
    serve(move |_, _| {
        let (mut rest, mut chunks) = (&body[..], Vec::new());
        for size in sizes.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (chunk, after) = rest.split_at((*size).clamp(1, rest.len()));
            chunks.push(Ok::<_, std::io::Error>(chunk.to_vec()));
            rest = after;
        }
        async move { answer(200, Body::from_stream(futures::stream::iter(chunks))) }
    })
    .await
}

/// The records of each page, and the error at the end where there is one.
async fn read(mut pages: headwater_http::RecordPages) -> (Vec<Vec<Value>>, Option<ConnectorError>) {
    let mut read = Vec::new();
    while let Some(page) = pages.next().await {
        match page {
            Ok(Page::Json { body, records }) => {
                assert_eq!(records, JsonPointer::root());
                match serde_json::from_slice(&body).unwrap() {
                    Value::Array(records) => read.push(records),
                    one => read.push(vec![one]),
                }
            }
            Ok(other) => panic!("{other:?}"),
            Err(error) => {
                assert!(pages.next().await.is_none(), "nothing follows an error");
                return (read, Some(error));
            }
        }
    }
    (read, None)
}

async fn read_from(
    server: &crate::server::Server,
    at: &str,
    piece: usize,
) -> (Vec<Vec<Value>>, Option<ConnectorError>) {
    read(server.client().get("x").stream_records(pointer(at), piece)).await
}

fn records(count: usize) -> Vec<Value> {
    (0..count).map(|id| json!({"id": id, "text": "a \"quoted\" ] } , \\ text\r\n".repeat(id % 7), "n": [1, {"x": []}]})).collect()
}

#[tokio::test]
async fn records_come_whole_and_in_order_wherever_the_answer_is_cut() {
    let all = records(2000);
    for (at, body) in [
        ("", json!(all)),
        ("/data", json!({"a": {"data": [1, 2]}, "data": all, "next": {"x": [{"y": "]"}]}})),
        ("/a/1/b", json!({"a": [0, {"b": all, "c": 1}, "]"]})),
    ] {
        for pretty in [false, true] {
            let mut text =
                if pretty { serde_json::to_string_pretty(&body) } else { serde_json::to_string(&body) }
                    .unwrap();
            if pretty {
                text = text.replace('\n', "\r\n");
            }
            for sizes in [vec![1_000_000], vec![5000, 1, 2, 63, 64, 65], vec![70_000, 300]] {
                let server = chunked(text.clone().into_bytes(), sizes).await;
                let (pages, error) = read_from(&server, at, 20_000).await;
                assert!(error.is_none(), "{error:?}");
                assert!(pages.len() > 1 || text.len() < 1_000_000, "{}", pages.len());
                assert_eq!(pages.concat(), all, "{at} {pretty}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn any_records_survive_any_cut(
        texts in proptest::collection::vec("[ -~\\PC]{0,3000}", 0..12), sizes in proptest::collection::vec(1_usize..5000, 1..5),
        piece in 0_usize..9000,
    ) {
        let all: Vec<Value> = texts.into_iter().map(|text| json!({"t": text})).collect();
        let body = serde_json::to_vec(&json!({"data": all, "z": 1})).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (pages, error) = runtime.block_on(async {
            let server = chunked(body, sizes).await;
            read_from(&server, "/data", piece).await
        });
        prop_assert!(error.is_none(), "{:?}", error);
        prop_assert_eq!(pages.concat(), all);
    }
}

#[tokio::test]
async fn small_and_odd_answers_are_read_too() {
    let check = async |at: &str, body: &str, expect: Value| {
        let server = chunked(body.as_bytes().to_vec(), vec![1]).await;
        let (pages, error) = read_from(&server, at, 1 << 20).await;
        assert!(error.is_none(), "{body}: {error:?}");
        assert_eq!(json!(pages.concat()), expect, "{body}");
    };
    check("", "[]", json!([])).await;
    check("", " [ \r\n ] ", json!([])).await;
    check("/data", r#"{"data":[]}"#, json!([])).await;
    check("/data", r#"{"data":[{"a":1}],"n":null}"#, json!([{"a": 1}])).await;
    check("/data", r#"{"data":{"a":[1,2]},"n":null}"#, json!([{"a": [1, 2]}])).await;
    check("", r#"[1,"a",null,[],{}]"#, json!([1, "a", null, [], {}])).await;
    let nothing = serve(|_, _| async { answer(204, "") }).await;
    let (pages, error) = read_from(&nothing, "/data", 1000).await;
    assert!(pages.is_empty() && error.is_none());
}

#[tokio::test]
async fn what_is_wrong_is_said_after_the_records_before_it() {
    let check = async |at: &str, body: &str, expect: Value, error: &str| {
        for sizes in [vec![1], vec![100_000]] {
            let server = chunked(body.as_bytes().to_vec(), sizes).await;
            let (pages, found) = read_from(&server, at, 1 << 20).await;
            let text = chain(&found.unwrap_or_else(|| panic!("{body} was taken")));
            assert!(text.contains(error), "{body}: {text}");
            assert!(text.contains("/x answered"), "{text}");
            assert_eq!(json!(pages.concat()), expect, "{body}");
        }
    };
    check(
        "",
        r#"[{"a":1},{"a":2},{"a""#,
        json!([{"a": 1}, {"a": 2}]),
        "byte 21: the document ends in the middle",
    )
    .await;
    check("", r#"[{"a":1},{"a":2}"#, json!([{"a": 1}]), "ends in the middle").await;
    check("", "[{\"a\":1},{\"a\":\"\n\"}]", json!([{"a": 1}]), "byte 15: a control character").await;
    check("", r#"[{"a":1},{"a":2]]"#, json!([{"a": 1}]), "byte 15: a bracket that closes nothing").await;
    check("", r#"[{"a":1}}"#, json!([]), "byte 8: a bracket that closes nothing").await;
    check("", r#"[{"a":1}] x"#, json!([{"a": 1}]), "byte 10: something behind the end").await;
    check("/data", r#"{"data":[{"a":1}]"#, json!([{"a": 1}]), "byte 17: the document ends").await;
    check("/data", r#"{"data":[{"a":1}],"x":tru}"#, json!([{"a": 1}]), "a value was expected").await;
    check("/data", r#"{"data":[{"a":1}]]"#, json!([{"a": 1}]), "byte 17: a comma or").await;
    check(
        "/data",
        r#"{"x":1}"#,
        json!([]),
        "answered nothing at `/data`, where an array of records was expected",
    )
    .await;
    check("/data", r#"{"data":"none"}"#, json!([]), "answered `\"none\"}` at `/data`").await;
    check("/data", r#"{"data":null}"#, json!([]), "answered `null}` at `/data`").await;
    check("/data", r#"{"data" 1}"#, json!([]), "byte 8: a colon").await;
    check("/data", r#"{"data":{"a":1"#, json!([]), "ends in the middle").await;
    check("", "<html>busy</html>", json!([]), "answered `<html>busy</html>` at ``").await;
    check("/data", "<html>", json!([]), "byte 0: a value was expected").await;
    check("", "", json!([]), "ends in the middle").await;
    check("", &format!("[{}", "[".repeat(1000)), json!([]), "nested deeper than 128 levels").await;
}

#[tokio::test]
async fn an_empty_item_is_not_passed_over_where_a_page_is_cut() {
    // The comma behind the records stands where nothing follows any more.
    let long = json!({"t": "x".repeat(6000)}).to_string();
    for body in [format!("[{long},]"), format!("[{long}, , {long}]"), format!("[,{long}]")] {
        let server = chunked(body.clone().into_bytes(), vec![6000, 5, 7]).await;
        let mut pages = server.client().get("x").stream_records(JsonPointer::root(), 4096);
        let mut wrong = false;
        while let Some(page) = pages.next().await {
            match page {
                Ok(Page::Json { body, .. }) => wrong |= serde_json::from_slice::<Value>(&body).is_err(),
                Ok(other) => panic!("{other:?}"),
                Err(error) => {
                    wrong = true;
                    assert!(error.to_string().contains("a value was expected"), "{error}");
                }
            }
        }
        assert!(wrong, "{body}");
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_gives_its_whole_records() {
    let server = serve_raw(|number, mut stream| async move {
        // The first time it is not even begun, and asked for again.
        if number > 1 {
            let body = r#"{"data":[{"a":1},{"a":2},{"a":3"#;
            send(&mut stream, format!("HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{body}")).await;
        }
    })
    .await;
    let (pages, error) = read_from(&server, "/data", 1 << 20).await;
    assert_eq!(json!(pages.concat()), json!([{"a": 1}, {"a": 2}]));
    let error = error.unwrap();
    assert!(matches!(error, ConnectorError::Unavailable { .. }), "{error:?}");
    assert!(chain(&error).contains("/x broke off after 31 bytes"), "{}", chain(&error));
    assert_eq!((error.retry(), server.count()), (Retry::Backoff, 2));
}

#[tokio::test]
async fn a_refusal_is_an_error_as_for_any_request() {
    let server = serve(|_, _| async { answer(404, "no such thing") }).await;
    let (pages, error) = read_from(&server, "/data", 1000).await;
    assert!(pages.is_empty());
    assert!(matches!(error, Some(ConnectorError::Rejected { .. })), "{error:?}");
}

#[tokio::test]
async fn the_limit_holds_for_a_record_and_not_for_the_whole() {
    let all: Vec<Value> = (0..100).map(|id| json!({"id": id, "t": "x".repeat(9_000)})).collect();
    let server = chunked(serde_json::to_vec(&all).unwrap(), vec![50_000]).await;
    let client = server.builder().max_body_bytes(100_000).build().unwrap();
    let (pages, error) = read(client.get("x").stream_records(JsonPointer::root(), 20_000)).await;
    assert!(error.is_none(), "{error:?}");
    assert_eq!(pages.concat(), all);

    let mut all = all;
    all[50] = json!({"id": 50, "t": "x".repeat(200_000)});
    let before = serde_json::to_vec(&all[..50]).unwrap().len();
    let server = chunked(serde_json::to_vec(&all).unwrap(), vec![50_000]).await;
    let client = server.builder().max_body_bytes(100_000).build().unwrap();
    let (pages, error) = read(client.get("x").stream_records(JsonPointer::root(), 20_000)).await;
    assert_eq!(pages.concat(), all[..50]);
    let error = error.unwrap();
    assert!(matches!(error, ConnectorError::AnswerTooLarge { limit_bytes: 100_000, .. }), "{error:?}");
    let expect = format!("for one record, at byte {}", before - 1);
    assert!(chain(&error).contains(&expect), "{expect}: {}", chain(&error));

    // What stands around the records is limited as well.
    for body in [json!({"a": "x".repeat(200_000), "data": []}), json!({"data": [], "z": "x".repeat(200_000)})]
    {
        let server = chunked(serde_json::to_vec(&body).unwrap(), vec![50_000]).await;
        let client = server.builder().max_body_bytes(100_000).build().unwrap();
        let (_, error) = read(client.get("x").stream_records(pointer("/data"), 20_000)).await;
        assert!(matches!(error, Some(ConnectorError::AnswerTooLarge { .. })), "{error:?}");
    }
}

#[tokio::test]
async fn a_compressed_answer_is_cut_by_what_it_becomes() {
    let all: Vec<Value> = (0..5_000).map(|id| json!({"id": id, "zeros": "0".repeat(500)})).collect();
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(&serde_json::to_vec(&all).unwrap()).unwrap();
    let packed = encoder.finish().unwrap();
    assert!(packed.len() < 500_000);
    let server = serve(move |_, _| {
        let packed = packed.clone();
        async move { answer_with(200, &[("content-encoding", "gzip")], packed) }
    })
    .await;
    let client = server.builder().max_body_bytes(1 << 18).build().unwrap();
    let (pages, error) = read(client.get("x").stream_records(JsonPointer::root(), 100_000)).await;
    assert!(error.is_none() && pages.len() > 10, "{error:?} {}", pages.len());
    assert_eq!(pages.concat().len(), 5_000);
}

#[tokio::test]
async fn only_so_much_is_taken_as_the_reader_asks_for() {
    let sent = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&sent);
    let server = serve(move |_, _| {
        let counter = Arc::clone(&counter);
        let record = Bytes::from(format!("{{\"t\":\"{}\"}},", "x".repeat(99_000)));
        let endless = futures::stream::iter(0_u64..).map(move |number| {
            counter.fetch_add(1, SeqCst);
            Ok::<_, std::io::Error>(if number == 0 { Bytes::from_static(b"[") } else { record.clone() })
        });
        async move { answer(200, Body::from_stream(endless)) }
    })
    .await;
    let mut pages = server.client().get("x").stream_records(JsonPointer::root(), 1 << 20);
    for _ in 0..5 {
        pages.next().await.unwrap().unwrap();
    }
    // What the reader has taken, what a page holds, and the buffers of the connection.
    let other = server.client();
    for _ in 0..5 {
        let _endless = other.get("y").max_body_bytes(1).send().await;
    }
    let before = sent.load(SeqCst);
    assert!(before < 500, "{before} records of 99 kB");
    drop(pages);
}
