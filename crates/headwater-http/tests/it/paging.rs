use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use headwater_connect::{ConnectorError, JsonPointer, Offset, Page, ReadItem};
use headwater_http::pages::{self, NextLink, Responses};
use tokio::sync::Barrier;

use crate::server::{Server, answer, answer_with, serve};

/// Twelve pages: the number of each is in `page`, and ways to the next beside it.
async fn book() -> Server {
    serve(|_, request| async move {
        let query = request.uri().query().unwrap_or_default().to_owned();
        let value = |name: &str| {
            query.split('&').find_map(|p| p.strip_prefix(&format!("{name}=")).map(str::to_owned))
        };
        let page: u32 = value("page").or(value("cursor")).map_or(1, |page| page.parse().unwrap());
        if page >= 12 {
            return answer(200, format!(r#"{{"page":{page},"next":null,"more":{{"cursor":""}}}}"#));
        }
        let next = page + 1;
        let body = format!(r#"{{"page":{page},"next":"/book?page={next}","more":{{"cursor":{next}}}}}"#);
        let link = format!("</book?page={next}>; rel=\"next\"");
        // Later pages answer sooner, so that parallel ones come in the wrong order.
        for _ in 0..50 * (12 - page) {
            tokio::task::yield_now().await;
        }
        answer_with(200, &[("link", link.as_str())], body)
    })
    .await
}

async fn numbers(responses: Responses) -> Result<Vec<u64>, ConnectorError> {
    let read = responses.map(|response| {
        let page: serde_json::Value = response?.json()?;
        Ok(page["page"].as_u64().unwrap())
    });
    read.try_collect().await
}

fn pointer(text: &str) -> JsonPointer {
    text.parse().unwrap()
}

#[tokio::test]
async fn every_page_comes_once_and_in_order() {
    let server = book().await;
    let client = server.client();
    let expected: Vec<u64> = (1..=12).collect();
    for ahead in [0, 1, 3, 50] {
        let first = || client.get("book");
        let check = async |responses, requests: usize| {
            let before = server.count();
            assert_eq!(numbers(responses).await.unwrap(), expected, "{ahead}");
            assert_eq!(server.count() - before, requests, "{ahead}");
        };
        check(pages::by_next_link(first(), NextLink::Header, ahead), 12).await;
        check(pages::by_next_link(first(), NextLink::Body(pointer("/next")), ahead), 12).await;
        check(pages::by_cursor(first(), "cursor", pointer("/more/cursor"), ahead), 12).await;
        let (one, two) = (client.clone(), client.clone());
        let by_number = move |page| one.get("book").query("page", page);
        check(pages::by_page_number(1..=12, by_number, |_| Ok(false), ahead), 12).await;
        let by_number = move |page| two.get("book").query("page", page);
        let last =
            |response: &headwater_http::Response| Ok(response.json::<serde_json::Value>()?["next"].is_null());
        assert_eq!(numbers(pages::by_page_number(1.., by_number, last, ahead)).await.unwrap(), expected);
    }
}

#[tokio::test]
async fn numbered_pages_are_fetched_at_the_same_time_within_the_limit() {
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let counters = (Arc::clone(&now), Arc::clone(&most));
    // Nobody is answered before five are there.
    let five = Arc::new(Barrier::new(5));
    let server = serve(move |_, _| {
        let ((now, most), five) = (counters.clone(), Arc::clone(&five));
        async move {
            most.fetch_max(now.fetch_add(1, SeqCst) + 1, SeqCst);
            five.wait().await;
            now.fetch_sub(1, SeqCst);
            answer(200, r#"{"page":1}"#)
        }
    })
    .await;
    let client = server.client();
    let responses =
        pages::by_page_number(1..=30, move |p| client.get("x").query("page", p), |_| Ok(false), 5);
    assert_eq!(numbers(responses).await.unwrap().len(), 30);
    assert_eq!(most.load(SeqCst), 5);
}

/// Requests for pages that the server has seen.
fn pages_seen(server: &Server) -> usize {
    server.seen().iter().filter(|request| request.contains("/book")).count()
}

/// Waits until so many pages were asked for.
async fn until(server: &Server, pages: usize) {
    let wait = async {
        while pages_seen(server) < pages {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), wait).await.unwrap();
}

/// Sends other requests, one after the other: whatever was about to be sent before has been sent by then.
async fn settle(server: &Server) {
    let client = server.client();
    for _ in 0..20 {
        client.get("other").send().await.unwrap();
    }
}

#[tokio::test]
async fn the_next_pages_are_fetched_while_the_reader_works_and_no_more_than_allowed() {
    for by_number in [false, true] {
        let server = book().await;
        let client = server.client();
        let mut responses = match by_number {
            false => pages::by_next_link(client.get("book"), NextLink::Header, 2),
            true => {
                let request = move |page| client.get("book").query("page", page);
                pages::by_page_number(1.., request, |_| Ok(false), 2)
            }
        };
        responses.next().await.unwrap().unwrap();
        // The reader holds one page and asks for none, yet the next ones are asked for.
        let expected = if by_number { 2 } else { 3 };
        until(&server, expected).await;
        settle(&server).await;
        assert_eq!(pages_seen(&server), expected, "by number: {by_number}");
    }
}

#[tokio::test]
async fn a_dropped_stream_sends_no_more_requests() {
    for by_number in [false, true] {
        let server = book().await;
        let client = server.client();
        let mut responses = match by_number {
            false => pages::by_next_link(client.get("book"), NextLink::Header, 1),
            true => {
                let request = move |page| client.get("book").query("page", page);
                pages::by_page_number(1.., request, |_| Ok(false), 3)
            }
        };
        responses.next().await.unwrap().unwrap();
        drop(responses);
        settle(&server).await;
        let after = pages_seen(&server);
        assert!(after <= 4, "{after}");
        settle(&server).await;
        assert_eq!(pages_seen(&server), after);
    }
}

#[tokio::test]
async fn pages_that_go_in_a_circle_are_an_error_after_bounded_requests() {
    for length in [1, 2, 7] {
        let server = serve(move |number, _| async move {
            answer(200, format!(r#"{{"page":{number},"next":"?page={}"}}"#, number % length))
        })
        .await;
        let responses = pages::by_next_link(server.client().get("x"), NextLink::Body(pointer("/next")), 1);
        let error = numbers(responses).await.unwrap_err();
        assert!(error.to_string().contains("circle"), "{error}");
        assert!(server.count() < 8 + 3 * length, "{} requests for {length}", server.count());
    }
}

#[tokio::test]
async fn what_a_page_says_of_the_next_may_be_rubbish() {
    let check = async |body: &'static str, expected: &str| {
        let server = serve(move |_, _| async move { answer(200, body) }).await;
        let mut responses =
            pages::by_next_link(server.client().get("x"), NextLink::Body(pointer("/next")), 1);
        // The records of the page itself are good.
        let first = responses.next().await.unwrap();
        assert!(first.is_ok(), "{first:?}");
        let error = responses.next().await.unwrap().unwrap_err();
        let text = crate::server::chain(&error);
        assert!(text.contains(expected), "{body}: {text}");
        assert!(responses.next().await.is_none());
    };
    check(r#"{"next":{"a":1}}"#, "where a text was expected").await;
    check(r#"{"next":"javascript:alert(1)"}"#, "which is no URL").await;
    check(r#"{"next":"http://[::1"}"#, "which is no URL").await;
    check(r#"{"next":"\ud800"}"#, "/next").await;
    check("{\"next", "/next").await;
    check("<html>", "/next").await;
}

#[tokio::test]
async fn pages_that_say_nothing_of_a_next_one_are_the_last() {
    for body in [r#"{"next":null}"#, r#"{"next":""}"#, r#"{"next":false}"#, "{}", "[]", r#"{"next2":"x"}"#] {
        let server = serve(move |_, _| async move { answer(200, body) }).await;
        let responses = pages::by_next_link(server.client().get("x"), NextLink::Body(pointer("/next")), 1);
        assert_eq!(responses.count().await, 1, "{body}");
    }
}

#[tokio::test]
async fn an_error_ends_the_stream_after_the_pages_before_it() {
    let server = serve(|_, request| async move {
        let page: u64 = request.uri().query().unwrap().trim_start_matches("page=").parse().unwrap();
        if page == 4 { answer(404, "gone") } else { answer(200, format!(r#"{{"page":{page}}}"#)) }
    })
    .await;
    let client = server.client();
    let mut responses =
        pages::by_page_number(1.., move |p| client.get("x").query("page", p), |_| Ok(false), 3);
    for _ in 0..3 {
        assert!(responses.next().await.unwrap().is_ok());
    }
    let error = responses.next().await.unwrap().unwrap_err();
    assert!(matches!(error, ConnectorError::Rejected { .. }), "{error:?}");
    assert!(responses.next().await.is_none());
}

#[tokio::test]
async fn responses_become_pages_with_an_end() {
    let server = book().await;
    let responses = pages::by_next_link(server.client().get("book"), NextLink::Header, 2);
    let end = Offset::from_json(r#"{"page":12}"#).unwrap();
    let mut pages = pages::into_pages(responses, pointer("/page"), Some(end.clone()));
    let mut count = 0;
    while let Some(item) = pages.next().await {
        match item.unwrap() {
            ReadItem::Page(Page::Json { body, records }) => {
                count += 1;
                let found = records.find(&body).unwrap().unwrap();
                assert_eq!(found, count.to_string().as_bytes());
            }
            ReadItem::Page(other) => panic!("{other:?}"),
            ReadItem::End(found) => {
                assert_eq!(found.as_ref(), Some(&end));
                assert!(pages.next().await.is_none());
                break;
            }
        }
    }
    assert_eq!(count, 12);
}
