use axum::http::{HeaderMap, Request};
use headwater_connect::{ConnectorError, Secret};
use headwater_http::{Auth, HttpClientBuilder, HttpError};

use crate::server::{Server, answer, answer_with, chain, send, serve, serve_raw};

const SECRET: &str = "s3cret/+ key";

fn auths() -> Vec<Auth> {
    let value = || Secret::new(SECRET);
    vec![
        Auth::Bearer(value()),
        Auth::Basic { user: "me".into(), password: value() },
        Auth::Header { name: "X-Api-Key".into(), value: value() },
        Auth::Query { name: "pass".into(), value: value() },
    ]
}

/// Everything of a request that could hold a credential, on one line.
fn all(request: &Request<axum::body::Body>) -> String {
    let headers: &HeaderMap = request.headers();
    let headers: Vec<_> =
        headers.iter().map(|(n, v)| format!("{n}={}", String::from_utf8_lossy(v.as_bytes()))).collect();
    format!("{} {}", request.uri(), headers.join(" "))
}

/// Says back all that was sent.
async fn echo() -> Server {
    serve(|_, request| async move { answer(200, all(&request)) }).await
}

async fn sent(client: HttpClientBuilder) -> String {
    let response = client.build().unwrap().get("x").query("q", "1").send().await.unwrap();
    String::from_utf8(response.body.to_vec()).unwrap()
}

#[tokio::test]
async fn credentials_are_sent_as_the_source_wants_them() {
    let server = echo().await;
    let expected = [
        "authorization=Bearer s3cret/+ key",
        "authorization=Basic bWU6czNjcmV0Lysga2V5",
        "x-api-key=s3cret/+ key",
        "/x?q=1&pass=s3cret%2F%2B+key ",
    ];
    for (auth, expected) in auths().into_iter().zip(expected) {
        let sent = sent(server.builder().auth(auth)).await;
        assert!(sent.contains(expected), "{sent}");
        assert!(sent.contains("user-agent=Headwater/"), "{sent}");
    }
    let url = server.url.replace("http://", "http://me:s3cret%2F%2B%20key@");
    let sent_url = sent(headwater_http::HttpClient::builder(&url)).await;
    assert!(sent_url.contains(expected[1]), "{sent_url}");
    let with = server.builder().header("X-Team", "blue").user_agent("Other/1 (me@example.org)");
    let sent_more = sent(with).await;
    assert!(
        sent_more.contains("x-team=blue") && sent_more.contains("user-agent=Other/1 (me@"),
        "{sent_more}"
    );
}

#[tokio::test]
async fn credentials_stay_with_their_host_when_it_sends_us_elsewhere() {
    let elsewhere = echo().await;
    for status in [301, 302, 303, 307, 308] {
        for auth in auths() {
            let target = format!("{}/landing", elsewhere.url);
            let server = serve(move |_, _| {
                let target = target.clone();
                async move {
                    answer_with(status, &[("location", target.as_str()), ("set-cookie", "sid=s3cret")], "")
                }
            })
            .await;
            let client = server.builder().auth(auth).header("X-Extra", SECRET).cookies(true).build().unwrap();
            for _ in 0..2 {
                let response = client.get("x").header("x-more", SECRET).send().await.unwrap();
                let sent = String::from_utf8(response.body.to_vec()).unwrap();
                assert!(sent.starts_with("/landing ") && !sent.contains("s3cret"), "{sent}");
                assert!(!sent.contains("czNjcmV0"), "{sent}");
            }
        }
    }
}

#[tokio::test]
async fn credentials_do_not_come_back_on_the_way_from_another_host() {
    // Home sends us elsewhere, and elsewhere sends us home to a place of its choice.
    let home_url = std::sync::Arc::new(std::sync::Mutex::new(String::new()));
    let target = std::sync::Arc::clone(&home_url);
    let elsewhere = serve(move |_, _| {
        let home = format!("{}/chosen", target.lock().unwrap());
        async move { answer_with(302, &[("location", home.as_str())], "") }
    })
    .await;
    let away = elsewhere.url.clone();
    let home = serve(move |_, request| {
        let away = away.clone();
        async move {
            match request.uri().path() {
                "/chosen" => answer(200, all(&request)),
                _ => answer_with(302, &[("location", away.as_str())], ""),
            }
        }
    })
    .await;
    home_url.lock().unwrap().push_str(&home.url);
    let client = home.builder().auth(Auth::Bearer(Secret::new(SECRET))).build().unwrap();
    let response = client.get("x").send().await.unwrap();
    let sent = String::from_utf8(response.body.to_vec()).unwrap();
    assert!(sent.starts_with("/chosen") && !sent.contains("s3cret"), "{sent}");
}

#[tokio::test]
async fn redirects_within_the_host_keep_the_credentials_and_the_method() {
    let server = serve(|_, request| async move {
        match request.uri().path() {
            "/old" => answer_with(307, &[("location", "/new?from=old")], ""),
            "/login" => answer_with(302, &[("location", "welcome")], ""),
            _ => {
                let (parts, body) = request.into_parts();
                let body = axum::body::to_bytes(body, 1000).await.unwrap();
                let line = format!("{} {} ", parts.method, String::from_utf8_lossy(&body));
                answer(200, line + &all(&Request::from_parts(parts, "".into())))
            }
        }
    })
    .await;
    let client = server.builder().auth(Auth::Bearer(Secret::new(SECRET))).build().unwrap();
    let text = async |request: headwater_http::Request| {
        String::from_utf8(request.send().await.unwrap().body.to_vec()).unwrap()
    };
    let kept = text(client.post("old").form([("a", "1")])).await;
    assert!(kept.starts_with("POST a=1 /new?from=old") && kept.contains("s3cret"), "{kept}");
    let changed = text(client.post("login").form([("a", "1")])).await;
    assert!(changed.starts_with("GET  /welcome") && !changed.contains("content-type"), "{changed}");
}

#[tokio::test]
async fn redirects_that_lead_nowhere_are_errors() {
    let check = async |location: &'static str, expected: &str| {
        let server = serve(move |_, _| async move { answer_with(307, &[("location", location)], "") }).await;
        let error = server.client().post("x").form([("p", SECRET)]).send().await.unwrap_err();
        assert!(matches!(error, ConnectorError::Rejected { .. }), "{error:?}");
        assert!(chain(&error).contains(expected), "{}", chain(&error));
    };
    check("/again", "more than 10 redirects").await;
    check("file:///etc/passwd", "no http or https URL").await;
    check("http://", "no http or https URL").await;
    check("http://elsewhere.example/", "the body of the request would go to http://elsewhere.example/").await;
    let server = serve(|_, _| async { answer(302, "where to?") }).await;
    let error = server.client().get("x").send().await.unwrap_err();
    assert_eq!(HttpError::of(&error).unwrap().status(), Some(302));
}

#[tokio::test]
async fn links_to_other_hosts_get_no_credentials() {
    let (server, elsewhere) = (echo().await, echo().await);
    for auth in auths() {
        let client = server.builder().auth(auth).build().unwrap();
        let response = client.get(&format!("{}/page2", elsewhere.url)).send().await.unwrap();
        let sent = String::from_utf8(response.body.to_vec()).unwrap();
        assert!(sent.starts_with("/page2 ") && !sent.contains("3cret") && !sent.contains("czNj"), "{sent}");
        let home = client.get("x").send().await.unwrap();
        let followed = client.follow(&home.url, "?page=3").unwrap().send().await.unwrap();
        let sent = String::from_utf8(followed.body.to_vec()).unwrap();
        assert!(
            sent.starts_with("/x?page=3") && (sent.contains("s3cret") || sent.contains("czNj")),
            "{sent}"
        );
        assert!(client.follow(&home.url, "javascript:alert(1)").is_err());
        assert!(client.follow(&home.url, "http://[").is_err());
    }
}

#[tokio::test]
async fn no_error_shows_a_secret() {
    // The source says back all that it was sent, in every kind of failure.
    for status in [400, 401, 403, 404, 429, 500, 503] {
        let server = serve(move |_, request| async move { answer(status, all(&request)) }).await;
        for auth in auths() {
            let client = server.builder().auth(auth).redact(Secret::new("login-pw")).build().unwrap();
            let request =
                client.get("x/s3cret%2F%2B%20key").query("api_key", SECRET).query("note", "login-pw");
            let error = request.send().await.unwrap_err();
            let text = format!("{} {:?} {}", chain(&error), request, request.shown());
            for secret in ["s3cret", "login-pw", "czNjcmV0"] {
                assert!(!text.contains(secret), "{status}: {text}");
            }
            assert!(text.contains("<secret>"), "{text}");
        }
    }
    let server = serve_raw(|number, mut stream| async move {
        let answers = ["", "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n012", "rubbish\r\n\r\n"];
        send(&mut stream, answers[number % 3]).await;
    })
    .await;
    for auth in auths() {
        for _ in 0..3 {
            let client = server.builder().auth(auth.clone()).retry(crate::server::quick(1)).build().unwrap();
            let error = client.get("x").query("password", SECRET).send().await.unwrap_err();
            assert!(!chain(&error).contains("s3cret"), "{}", chain(&error));
        }
    }
}

#[tokio::test]
async fn a_long_answer_with_a_secret_at_the_cut_shows_no_part_of_it() {
    for offset in 180..200 {
        let server = serve(move |_, request| async move {
            let sent = request.headers().get("authorization").unwrap().to_str().unwrap().to_owned();
            answer(400, format!("{}{}", "x".repeat(offset), sent.replace("Bearer ", "")))
        })
        .await;
        let client =
            server.builder().auth(Auth::Bearer(Secret::new("0123456789abcdefghij"))).build().unwrap();
        let error = client.get("x").send().await.unwrap_err();
        assert!(!chain(&error).contains("012"), "{}", chain(&error));
    }
}

#[tokio::test]
async fn a_session_is_kept_in_cookies_where_that_is_asked_for() {
    let server = serve(|number, request| async move {
        let cookies = [("set-cookie", "a=1; HttpOnly"), ("set-cookie", "b=2; Path=/")];
        if number == 1 { answer_with(200, &cookies, "") } else { answer(200, all(&request)) }
    })
    .await;
    let client = server.builder().cookies(true).build().unwrap();
    client.post("login").send().await.unwrap();
    let sent = String::from_utf8(client.clone().get("x").send().await.unwrap().body.to_vec()).unwrap();
    assert!(sent.contains("cookie=a=1; b=2"), "{sent}");
    let other = server.client().get("x").send().await.unwrap();
    assert!(!String::from_utf8_lossy(&other.body).contains("cookie="));
}
