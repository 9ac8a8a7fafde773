use std::path::Path;
use std::process::Command;

use headwater_connect::{Blame, Connector, ConnectorError, ConnectorFactory, Offset, Options, Retry};
use headwater_source_mediawiki::MediaWikiFactory;
use serde_json::json;

use crate::support::{BOT, Kind, Server, TestWiki, chain, drain, edit, update};

async fn connect(url: &str, more: &[(&str, &str)]) -> Box<dyn Connector> {
    let options: Options = [("base_url", url)].into_iter().chain(more.iter().copied()).collect();
    MediaWikiFactory.connect(&options).await.unwrap()
}

async fn refusal(url: &str, more: &[(&str, &str)]) -> ConnectorError {
    connect(url, more).await.test_connection().await.unwrap_err()
}

#[tokio::test]
async fn any_address_of_a_wiki_leads_to_it() {
    let wiki = TestWiki::start();
    for path in [
        "",
        "/",
        "/api.php",
        "/index.php/Main_Page",
        "/index.php?title=Main_Page&action=history",
        "/wiki/Main_Page",
    ] {
        connect(&format!("{}{path}", wiki.url()), &[])
            .await
            .test_connection()
            .await
            .unwrap_or_else(|e| panic!("{path}: {}", chain(&e)));
    }
}

#[tokio::test]
async fn an_address_without_a_wiki_is_an_error_that_says_what_was_tried() {
    let empty = tempfile::tempdir().unwrap();
    let server = Server::start(empty.path(), &[]);
    let error = refusal(&server.url, &[]).await;
    assert!(matches!(&error, ConnectorError::InvalidOption { name, .. } if name == "base_url"), "{error:?}");
    assert_eq!((error.retry(), error.blame()), (Retry::Never, Blame::Configuration));
    let text = chain(&error);
    assert!(text.contains("/w/api.php") && text.contains("404"), "{text}");

    for script in
        ["<html><body>Please log in</body></html>", "{\"hello\": 1}", "[]", "", "{\"query\":{\"tokens\""]
    {
        let (_folder, server) = Server::of_script(script);
        let text = chain(&refusal(&format!("{}/api.php", server.url), &[]).await);
        assert!(text.contains("did not answer MediaWiki's JSON"), "{script}: {text}");
    }
    drop(server);
    let (_folder, server) = Server::of_script("");
    let url = server.url.clone();
    drop(server);
    let error = tokio::time::timeout(std::time::Duration::from_secs(60), refusal(&url, &[])).await.unwrap();
    assert!(matches!(error, ConnectorError::Unavailable { .. }), "{error:?}");
}

#[tokio::test]
async fn a_bot_password_logs_in_and_raises_the_limits() {
    let wiki = TestWiki::start();
    wiki.run(&json!((0..60).map(|n| edit(&format!("P{n}"), "x", "20250101000000")).collect::<Vec<_>>()));
    std::fs::write(wiki.folder.path().join("private"), "").unwrap();
    let login = [("user", BOT.0), ("bot_password", BOT.1)];
    let outside = wiki.connect(&[]).await;
    let error = update(outside.as_ref(), "revisions", &Offset::empty(), Kind::Upserts).await.err().unwrap();
    assert!(matches!(error, ConnectorError::Forbidden { .. }), "{error:?}");
    assert!(chain(&error).contains("readapidenied"), "{}", chain(&error));

    let inside = wiki.connect(&login).await;
    inside.test_connection().await.unwrap();
    let before = inside.requests();
    let read = update(inside.as_ref(), "revisions", &Offset::empty(), Kind::Upserts).await.unwrap();
    assert_eq!(read.distinct("revid"), wiki.ids("SELECT rev_id FROM revision"));
    // Bounds, one request for all revisions, and none for the read that finds nothing more.
    assert!(inside.requests() - before <= 4 + 1, "{}", inside.requests() - before);
}

#[tokio::test]
async fn a_session_that_ends_is_opened_again() {
    let wiki = TestWiki::start();
    let connector = wiki.connect(&[("user", BOT.0), ("bot_password", BOT.1)]).await;
    connector.test_connection().await.unwrap();
    let sessions = wiki.folder.path().join("data/wikicache.sqlite");
    let ended = Command::new("sqlite3")
        .arg(&sessions)
        .arg("DELETE FROM objectcache; SELECT changes();")
        .output()
        .unwrap();
    assert_ne!(String::from_utf8_lossy(&ended.stdout).trim(), "0", "{ended:?}");
    let read = update(connector.as_ref(), "revisions", &Offset::empty(), Kind::Upserts).await.unwrap();
    assert!(!read.rows.is_empty());
}

#[tokio::test]
async fn a_wrong_password_is_refused_and_not_shown() {
    let wiki = TestWiki::start();
    for (user, password) in
        [(BOT.0, "wrong-hunter2-wrong-hunter2-wron"), ("Nobody@x", BOT.1), ("Admin", "hunter2")]
    {
        let error = refusal(&wiki.url(), &[("user", user), ("bot_password", password)]).await;
        assert!(matches!(error, ConnectorError::Unauthorized { .. }), "{error:?}");
        let text = format!("{} {error:?}", chain(&error));
        assert!(text.contains(user), "{text}");
        assert!(!text.contains(password), "{text}");
    }
}

fn lag(wiki: &TestWiki, times: u32) {
    std::fs::write(wiki.folder.path().join("lag"), times.to_string()).unwrap();
}

#[tokio::test]
async fn a_wiki_that_lags_is_waited_for() {
    let wiki = TestWiki::start();
    let connector = wiki.connect(&[]).await;
    connector.test_connection().await.unwrap();
    let before = connector.requests();
    lag(&wiki, 1);
    let started = tokio::time::Instant::now();
    let options = Options::new();
    let (rows, _) = drain(connector.read_table("users", None, &options)).await.unwrap();
    assert!(!rows.is_empty());
    assert!(started.elapsed() >= std::time::Duration::from_secs(5), "{:?}", started.elapsed());
    assert!(connector.requests() - before >= 2);
}

#[tokio::test]
async fn a_wiki_that_lags_for_long_is_an_error_that_says_when_to_come_back() {
    let wiki = TestWiki::start();
    for more in [&[("lag_patience_seconds", "1")][..], &[("lag_patience_seconds", "4"), ("maxlag", "-2")]] {
        if more.len() == 1 {
            lag(&wiki, 1000);
        } else {
            lag(&wiki, 0);
        }
        let error = refusal(&wiki.url(), more).await;
        let five = std::time::Duration::from_secs(5);
        assert!(
            matches!(&error, ConnectorError::RateLimited { retry_after: Some(after), .. } if *after >= five),
            "{error:?}"
        );
        assert!(chain(&error).contains("maxlag"), "{}", chain(&error));
    }
    lag(&wiki, 2);
    connect(&wiki.url(), &[("maxlag", "100")]).await.test_connection().await.unwrap();
}

/// A small `api.php` that answers the first questions as MediaWiki does, and the rest as `rest` says.
fn fake(rest: &str) -> String {
    format!(
        "<?php
        header('Content-Type: application/json');
        file_put_contents(__DIR__ . '/agent', $_SERVER['HTTP_USER_AGENT']);
        $count = (int)@file_get_contents(__DIR__ . '/count') + 1;
        if (($_GET['type'] ?? '') === 'login') {{ echo '{{\"query\":{{\"tokens\":{{\"logintoken\":\"x\"}}}}}}'; return; }}
        if (str_contains($_GET['meta'] ?? '', 'userinfo')) {{
            echo '{{\"query\":{{\"general\":{{\"generator\":\"MediaWiki 1.39\",\"time\":\"2025-01-01T00:00:00Z\"}}}}}}';
            return;
        }}
        file_put_contents(__DIR__ . '/count', (string)$count);
        {rest}"
    )
}

async fn read_fake(rest: &str, table: &str) -> (Result<usize, ConnectorError>, String) {
    let (folder, server) = Server::of_script(&fake(rest));
    let connector = connect(&server.url, &[("user_agent", "Club/1 (me@example.org)")]).await;
    let options = Options::new();
    let read = drain(connector.read_table(table, None, &options)).await;
    let agent = |path: &Path| std::fs::read_to_string(path.join("agent")).unwrap();
    (read.map(|(rows, _)| rows.len()), agent(folder.path()))
}

#[tokio::test]
async fn answers_of_a_broken_or_strict_wiki_are_errors_or_are_asked_for_again() {
    let (rows, agent) = read_fake(
        "header('Retry-After: 1');
         echo $count === 1 ? '{\"error\":{\"code\":\"ratelimited\",\"info\":\"slow down\"}}'
            : '{\"warnings\":{\"main\":{\"warnings\":\"w\"}},\"query\":{\"allusers\":[{\"userid\":1,\"name\":\"A\"}]}}';",
        "users",
    )
    .await;
    assert_eq!(rows.unwrap(), 1);
    assert!(agent.starts_with("Club/1 (me@example.org) Headwater/"), "{agent}");

    let check = async |rest: &str, expect: &str| {
        let text = chain(&read_fake(rest, "users").await.0.unwrap_err());
        assert!(text.contains(expect), "{rest}: {text}");
    };
    check(
        "echo '{\"error\":{\"code\":\"badvalue\",\"info\":\"Unrecognized value\"}}';",
        "Unrecognized value",
    )
    .await;
    check("echo '<!DOCTYPE html><p>Maintenance';", "a web page in place of JSON").await;
    check("echo '{\"query\":{\"allusers\":[{\"userid\"';", "JSON").await;
    check("echo '{\"query\":{\"allusers\":[{\"userid\":1}]},\"continue\":{\"aufrom\":\"A\",\"continue\":\"-||\"}}';", "no end").await;
    check("http_response_code(404); echo 'gone';", "404").await;
}

#[tokio::test]
async fn unknown_tables_are_refused_with_the_list() {
    let connector = connect("https://wiki.example", &[]).await;
    let options = Options::new();
    let error = connector.get_table_schema("page", &options).await.unwrap_err();
    assert!(error.hint().unwrap().contains("category_members"), "{error:?}");
    let error = drain(connector.read_table("Pages", None, &options)).await.unwrap_err();
    assert!(matches!(error, ConnectorError::UnknownTable { .. }), "{error:?}");
    let tables = connector.list_tables().await.unwrap();
    assert_eq!(tables.len(), 8);
    for table in &tables {
        connector.read_table_metadata(table, &options).await.unwrap();
    }
    // None of this needs the wiki.
    assert_eq!(connector.requests(), 0);
}
