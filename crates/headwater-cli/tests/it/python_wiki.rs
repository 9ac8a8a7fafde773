//! One wiki read by the built-in connector and by one in Python: the tables are equal.

#[path = "../../../../sources/mediawiki/tests/it/support.rs"]
#[allow(dead_code, reason = "the wiki of the built-in connector's own tests, which look at more of it")]
mod support;

use headwater_connect::{Clock, SystemClock};
use serde_json::{Value, json};

use crate::harness::Sandbox;
use crate::python_support::{connectors, copy, rows};
use support::{TestWiki, edit};

const TABLES: [&str; 3] = ["pages", "revisions", "users"];

/// Waits until the present second is over: the log is read up to the last whole one.
fn next_second() {
    let now = || SystemClock.now().timestamp();
    let start = now();
    while now() == start {
        std::thread::yield_now();
    }
}

fn add_connection(sandbox: &Sandbox, connector: &str, wiki: &TestWiki) {
    let base_url = format!("base_url={}", wiki.url());
    sandbox.run(&["connection", "add", connector, "--connector", connector, "--option", &base_url]).ok();
    let objects: Vec<Value> = TABLES.iter().map(|table| json!({"table": {"source_table": table}})).collect();
    let spec = json!({"connection_name": connector, "objects": objects});
    sandbox.write(&format!("pipelines/{connector}.yaml"), &spec.to_string());
}

/// Runs both and compares; gives how many rows each table has.
fn compare(sandbox: &Sandbox) -> Vec<usize> {
    next_second();
    for pipeline in ["mediawiki", "mediawiki_py"] {
        sandbox.run(&["run", pipeline, "--quiet"]).ok();
    }
    let counts = TABLES.iter().map(|table| {
        let built_in = rows(sandbox, &format!("mediawiki.{table}"), None);
        let python = rows(sandbox, &format!("mediawiki_py.{table}"), None);
        assert_eq!(built_in.len(), python.len(), "{table}");
        for (built_in, python) in built_in.iter().zip(&python) {
            assert_eq!(built_in, python, "{table}");
        }
        built_in.len()
    });
    counts.collect()
}

#[test]
fn a_wiki_read_by_both_gives_equal_tables() {
    let wiki = TestWiki::start();
    let texts = |count: usize| -> Vec<Value> {
        (0..count).map(|n| edit(&format!("Page {n}"), &format!("text {n}"), "20250101000000")).collect()
    };
    let mut steps = texts(45);
    steps.extend([
        json!({"do": "user", "user": "Zoë"}),
        json!({"do": "user", "user": "漢字", "groups": ["sysop", "bot"]}),
        json!({"do": "user", "user": "Blocked"}),
        json!({"do": "block", "target": "Blocked", "reason": "why", "expiry": "infinity"}),
        edit("Ünïcode 😀", "#REDIRECT [[Page 1]]", "20250102000000"),
        edit("Category:Things", "[[Category:More]]", "20250102000000"),
        edit("Page 1", "changed", "20250103000000"),
    ]);
    wiki.run(&Value::Array(steps));

    let sandbox = Sandbox::with_settings("connections: {}\n");
    copy(&connectors().join("mediawiki_py"), &sandbox.path().join("mediawiki_py"));
    sandbox.run(&["connector", "add", "mediawiki_py", "./mediawiki_py"]).ok();
    add_connection(&sandbox, "mediawiki", &wiki);
    add_connection(&sandbox, "mediawiki_py", &wiki);
    let first = compare(&sandbox);
    assert!(first[0] >= 47 && first[1] >= 48 && first[2] >= 4, "{first:?}");

    // It changes: edits, deletions, new pages and users.
    wiki.run(&json!([
        {"do": "edit", "title": "Page 2", "text": "changed as well"},
        {"do": "edit", "title": "Page new", "text": "new"},
        {"do": "delete", "title": "Page 3"},
        {"do": "delete", "title": "Page 44"},
        {"do": "user", "user": "Later"},
    ]));
    let second = compare(&sandbox);
    assert_eq!(second[0], first[0] - 1, "two pages are gone, one is new");
    assert_eq!(second[2], first[2] + 1);
    // And once more, without a change.
    assert_eq!(compare(&sandbox), second);
}

#[test]
fn a_real_wiki_is_tested_live_and_its_changes_come_through() {
    let wiki = TestWiki::start();
    wiki.run(&json!([edit("A", "1 [[Category:C]]", "20250101000000"), edit("B", "1", "20250101000001")]));
    let testing = connectors().join("..").canonicalize().unwrap();
    let mut sandbox = Sandbox::with_settings("connections: {}\n");
    add_connection(&sandbox, "mediawiki", &wiki);
    // The wiki of the test is a copy of one that has its code beside its cache.
    let code = wiki.folder.path().join("cache").canonicalize().unwrap().with_file_name("code");
    let set = |sandbox: &mut Sandbox, name: &str, path: std::path::PathBuf| {
        sandbox.env(name, path.to_str().unwrap());
    };
    set(&mut sandbox, "MW_CONFIG_FILE", wiki.folder.path().join("LocalSettings.php"));
    set(&mut sandbox, "MW_INSTALL_PATH", code.canonicalize().unwrap());
    set(&mut sandbox, "HEADWATER_WIKI_DRIVER", testing.join("mediawiki-driver.php"));
    let write_back = testing.join("write_back/mediawiki.py");
    let asked =
        ["test", "mediawiki", "--mode", "live", "--connection", "mediawiki", "--json", "--write-back"];
    let ran = sandbox.run(&[&asked[..], &[write_back.to_str().unwrap()]].concat()).ok();
    let report = ran.json();
    for rule in ["R28", "R29", "R30"] {
        let tests = report["tests"].as_array().unwrap().iter().filter(|test| test["rule"] == rule);
        let seen: Vec<(&Value, &Value)> = tests.map(|test| (&test["table"], &test["outcome"])).collect();
        assert_eq!(seen, [(&json!("pages"), &json!("passed"))], "{rule}\n{ran}");
    }
    assert!(wiki.sql("SELECT page_id FROM page WHERE page_title LIKE 'Made_by%'").is_empty(), "{ran}");
}
