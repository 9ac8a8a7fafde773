//! The ways in which sources page, from the request to the last record.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use futures::{StreamExt, TryStreamExt};
use headwater_connect::{ConnectorError, JsonPointer};
use headwater_http::HttpClient;
use headwater_http::pages::{self, Ahead, NextLink, Place, Responses};
use serde_json::{Value, json};
use tokio::sync::Barrier;

use crate::server::{Server, answer, answer_with, serve};

fn pointer(text: &str) -> JsonPointer {
    text.parse().unwrap()
}

fn number(query: &str, name: &str) -> Option<u64> {
    url::form_urlencoded::parse(query.as_bytes()).find(|(n, _)| n == name)?.1.parse().ok()
}

/// Records 0, 1, 2, … as `items`, by whatever way is asked for: `page` (from 1) of `size`, `offset` with `limit`, or `after` a key
/// with `limit`. Says how many there are in the body and in a header, and gives links.
async fn shelf(count: u64) -> Server {
    serve(move |_, request| async move {
        let query = request.uri().query().unwrap_or_default().to_owned();
        let size = number(&query, "size").or(number(&query, "limit")).unwrap_or(10);
        let page = number(&query, "page").unwrap_or(1);
        let first = match (number(&query, "offset"), number(&query, "after")) {
            (Some(offset), _) => offset,
            (_, Some(after)) => after + 1,
            _ => (page - 1) * size,
        };
        let items: Vec<Value> =
            (first..count.min(first + size)).map(|id| json!({"id": id, "k": {"key": id}})).collect();
        let pages = count.div_ceil(size);
        let body = json!({"items": items, "total": count, "meta": {"pages": pages}});
        let mut link = String::new();
        if page < pages {
            link = format!("</items?size={size}&page={}>; rel=\"next\", ", page + 1);
            link.push_str(&format!("<?page={pages}&size={size}>; rel=\"last\""));
        }
        // Later pages come sooner.
        for _ in 0..(pages.saturating_sub(page) * 20).min(400) {
            tokio::task::yield_now().await;
        }
        let total = count.to_string();
        answer_with(200, &[("x-total-count", total.as_str()), ("link", link.as_str())], body.to_string())
    })
    .await
}

async fn ids(responses: Responses) -> Result<Vec<u64>, ConnectorError> {
    let pages: Vec<Vec<u64>> = responses
        .map(|response| {
            let page: Value = response?.json()?;
            Ok::<_, ConnectorError>(
                page["items"].as_array().unwrap().iter().map(|i| i["id"].as_u64().unwrap()).collect(),
            )
        })
        .try_collect()
        .await?;
    Ok(pages.concat())
}

#[tokio::test]
async fn every_style_gives_every_record_once_and_in_order() {
    let items = || pointer("/items");
    let total = || Place::Body(pointer("/total"));
    let by_page = |client: &HttpClient| pages::numbered(client.get("items").query("size", 10), "page");
    let by_offset = |client: &HttpClient| {
        pages::numbered(client.get("items").query("limit", 10), "offset").starting_at(0).step(10)
    };
    for count in [0, 1, 10, 11, 95, 100] {
        let expect: Vec<u64> = (0..count).collect();
        let needed = usize::try_from(count.div_ceil(10)).unwrap().max(1);
        for ahead in [1, 4, 30] {
            let check = async |name: &str, responses: &dyn Fn(&HttpClient) -> Responses, most: usize| {
                let server = shelf(count).await;
                let read = ids(responses(&server.client())).await.unwrap();
                assert_eq!(read, expect, "{name} of {count}, {ahead} ahead");
                let asked = server.count();
                assert!(asked <= most, "{name} of {count}, {ahead} ahead: {asked} requests");
            };
            let beyond = needed + ahead + 1;
            check("short page", &|c| by_page(c).until_short(items(), 10).fetch(ahead), beyond).await;
            check("empty page", &|c| by_page(c).until_empty(items()).fetch(ahead), beyond).await;
            check("short offset", &|c| by_offset(c).until_short(items(), 10).fetch(ahead), beyond).await;
            check("total", &|c| by_page(c).total_records(total(), 10).fetch(ahead), needed).await;
            check("total by offset", &|c| by_offset(c).total_records(total(), 10).fetch(ahead), needed).await;
            let header = || Place::Header("X-Total-Count".into());
            check("header", &|c| by_offset(c).total_records(header(), 10).fetch(ahead), needed).await;
            let count_of_pages = || Place::Body(pointer("/meta/pages"));
            check("pages", &|c| by_page(c).total_pages(count_of_pages()).fetch(ahead), needed).await;
            let first = |c: &HttpClient| c.get("items").query("size", 10);
            check("link with last", &|c| pages::by_link_header(first(c), ahead), needed).await;
            check("link", &|c| pages::by_next_link(first(c), NextLink::Header, ahead), needed).await;
            let limited = |c: &HttpClient| c.get("items").query("limit", 10);
            let keyed =
                |c: &HttpClient| pages::by_last_key(limited(c), "after", items(), pointer("/k/key"), ahead);
            check("key", &keyed, needed + 1).await;
        }
    }
}

#[tokio::test]
async fn pages_up_to_the_last_link_are_fetched_at_the_same_time() {
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let counters = (Arc::clone(&now), Arc::clone(&most));
    // Behind the first page nobody is answered before five are there.
    let five = Arc::new(Barrier::new(5));
    let server = serve(move |_, request| {
        let ((now, most), five) = (counters.clone(), Arc::clone(&five));
        async move {
            let page = number(request.uri().query().unwrap_or_default(), "page").unwrap_or(1);
            if page > 1 {
                most.fetch_max(now.fetch_add(1, SeqCst) + 1, SeqCst);
                five.wait().await;
                now.fetch_sub(1, SeqCst);
            }
            let next = format!("<?page={}>; rel=\"next\", <?page=31>; rel=\"last\"", page + 1);
            let link = if page < 31 { next } else { "<?page=1>; rel=\"first\"".to_owned() };
            answer_with(200, &[("link", link.as_str())], json!({"items": [{"id": page}]}).to_string())
        }
    })
    .await;
    let first = server.client().get("x").header("accept", "application/vnd.shelf");
    let read = ids(pages::by_link_header(first, 5)).await.unwrap();
    assert_eq!(read, (1..=31).collect::<Vec<u64>>());
    assert_eq!(most.load(SeqCst), 5);
}

#[tokio::test]
async fn links_are_followed_where_the_last_page_is_not_a_number() {
    // Cursors; a last page that grows on the way; one that shrinks; and a plan that makes no sense.
    let check = async |link: fn(u64) -> Option<String>, expect: u64| {
        let server = serve(move |_, request| async move {
            let query = request.uri().query().unwrap_or_default().to_owned();
            let page = number(&query, "page").or(number(&query, "after")).unwrap_or(1);
            let link = link(page).unwrap_or_default();
            answer_with(200, &[("link", link.as_str())], json!({"items": [{"id": page}]}).to_string())
        })
        .await;
        let read = ids(pages::by_link_header(server.client().get("x"), 3)).await.unwrap();
        assert_eq!(read, (1..=expect).collect::<Vec<u64>>());
    };
    check(|page| (page < 6).then(|| format!("<?after={}>; rel=next", page + 1)), 6).await;
    check(|page| (page < 9).then(|| format!("<?page={}>; rel=next, <?page=5>; rel=last", page + 1)), 9).await;
    check(|page| (page < 4).then(|| format!("<?page={}>; rel=next, <?page=9>; rel=last", page + 1)), 4).await;
    check(|page| (page < 4).then(|| format!("<?page={}>; rel=next, <?page=1>; rel=last", page + 1)), 4).await;
    check(|page| (page < 4).then(|| format!("<?page={}>; rel=next, <?page=4&x=1>; rel=last", page + 1)), 4)
        .await;
    check(
        |page| (page < 4).then(|| format!("<?page={}>; rel=next, <?page=99999999999>; rel=last", page + 1)),
        4,
    )
    .await;
    check(|_| None, 1).await;
}

#[tokio::test]
async fn an_unchanged_first_page_is_the_only_one() {
    let server =
        serve(|_, _| async { answer_with(304, &[("link", "<?page=2>; rel=next, <?page=9>; rel=last")], "") })
            .await;
    let first = server.client().get("x").if_none_match("\"e\"");
    let read: Vec<_> = pages::by_link_header(first, 4).collect().await;
    assert!(matches!(&read[..], [Ok(response)] if response.not_modified()), "{read:?}");
}

#[tokio::test]
async fn conditions_are_for_the_first_page_only() {
    let server = serve(|_, request| async move {
        let page = number(request.uri().query().unwrap_or_default(), "page").unwrap_or(1);
        let (conditional, kept) =
            (request.headers().contains_key("if-none-match"), request.headers()["x-kept"].clone());
        assert_eq!((conditional, kept.to_str().unwrap()), (page == 1, "yes"));
        let link = format!("<?page={}>; rel=next, <?page=4>; rel=last", page + 1);
        answer_with(
            200,
            &[("link", if page < 4 { link.as_str() } else { "" })],
            json!({"items": [{"id": page}]}).to_string(),
        )
    })
    .await;
    let first = server.client().get("x").header("x-kept", "yes").if_none_match("\"e\"");
    assert_eq!(ids(pages::by_link_header(first.clone(), 4)).await.unwrap(), [1, 2, 3, 4]);
    assert_eq!(ids(pages::by_next_link(first, NextLink::Header, 4)).await.unwrap(), [1, 2, 3, 4]);
}

#[tokio::test]
async fn pages_without_an_end_are_noticed() {
    let server = serve(|_, _| async { answer(200, r#"{"items":[{"id":1}],"total":100000}"#) }).await;
    let client = server.client();
    let numbered = || pages::numbered(client.get("x"), "page");
    for responses in [
        numbered().until_empty(pointer("/items")).fetch(3),
        numbered().total_records(Place::Body(pointer("/total")), 1).fetch(3),
    ] {
        let error = ids(responses).await.unwrap_err();
        assert!(error.to_string().contains("the same as for the page before it"), "{error}");
    }
    let error = ids(pages::by_last_key(client.get("x"), "after", pointer("/items"), pointer("/id"), 3))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("circle"), "{error}");
}

#[tokio::test]
async fn what_a_page_should_say_and_does_not_is_an_error() {
    let check = async |body: &'static str, pages: fn(headwater_http::Request) -> Responses, expect: &str| {
        let server = serve(move |_, _| async move { answer(200, body) }).await;
        let read: Result<Vec<_>, _> = pages(server.client().get("x")).try_collect().await;
        let text = crate::server::chain(&read.unwrap_err());
        assert!(text.contains(expect) && text.contains("/x"), "{body}: {text}");
    };
    let total = |r| pages::numbered(r, "page").total_records(Place::Body(pointer("/total")), 10).fetch(2);
    check("{}", total, "does not say how much there is").await;
    check(r#"{"total":"many"}"#, total, "has `many` at `/total`, where a count was expected").await;
    check(r#"{"total":-1}"#, total, "has `-1` at `/total`").await;
    let short = |r| pages::numbered(r, "page").until_short(pointer("/items"), 10).fetch(2);
    check(r#"{"items":{}}"#, short, "has no array of records at `/items`").await;
    check("{}", short, "has no array of records at `/items`").await;
    check("<html>", short, "did not answer JSON with `/items`").await;
    let key = |r| pages::by_last_key(r, "after", pointer("/items"), pointer("/id"), 2);
    check(r#"{"items":[{"id":1},{}]}"#, key, "has no key at `/id` of the last record of `/items`").await;
}

#[tokio::test]
async fn pages_ahead_are_bounded_in_bytes_too() {
    let server = serve(|number, _| async move {
        answer(200, json!({"items": [{"id": number, "text": "x".repeat(100_000)}]}).to_string())
    })
    .await;
    let client = server.client();
    let request = move |page| client.get("x").query("page", page);
    let ahead = Ahead { pages: 50, bytes: 350_000 };
    let mut responses = pages::by_page_number(1..=40, request, |_| Ok(false), ahead);
    let mut count = 0;
    while let Some(response) = responses.next().await {
        response.unwrap();
        count += 1;
        // What was asked for, less what was taken, is what waits or is on its way.
        let ahead = server.count() - count;
        assert!(ahead <= if count < 8 { 8 } else { 3 }, "{ahead} pages ahead after {count}");
    }
    assert_eq!(count, 40);
}
