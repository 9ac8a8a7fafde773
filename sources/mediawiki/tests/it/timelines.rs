use std::collections::BTreeSet;

use headwater_connect::Offset;
use serde_json::{Value, json};

use crate::support::{TestWiki, edit, iso};

const CHANGES: &str = "SELECT rc_id FROM recentchanges";
const LOG: &str = "SELECT log_id FROM logging";

/// Edits, a move, a deletion and a block; several in each second.
fn some_changes() -> Value {
    json!([
        edit("A", "1", "20250101000000"),
        edit("B", "1", "20250101000000"),
        edit("Ünïcode:C 漢", "1", "20250101000000"),
        {"do": "edit", "title": "A", "text": "2", "user": "192.0.2.7", "summary": "é", "at": "20250101000000"},
        {"do": "edit", "title": "A", "text": "3", "user": "Zoë", "bot": true, "minor": true, "at": "20250101000001"},
        {"do": "move", "from": "B", "to": "D", "at": "20250101000001"},
        edit("E", "1", "20250101000001"),
        {"do": "delete", "title": "E", "at": "20250101000001"},
        {"do": "block", "target": "Zoë", "at": "20250101000002"},
    ])
}

#[tokio::test]
async fn every_change_is_read_once_whatever_the_size_of_a_page() {
    let wiki = TestWiki::start();
    wiki.run(&some_changes());
    let truth = wiki.sql(
        "SELECT rc_id, rc_timestamp, rc_this_oldid, rc_last_oldid, rc_bot, rc_minor, rc_new_len, rc_log_type, \
         actor_name, comment_text FROM recentchanges JOIN actor ON rc_actor = actor_id \
         JOIN comment ON rc_comment_id = comment_id",
    );
    assert!(truth.len() >= 9);
    for size in ["1", "2", "500"] {
        let update = wiki.update("recent_changes", &Offset::empty(), &[("page_size", size)]).await;
        assert_eq!(update.distinct("rcid"), wiki.ids(CHANGES), "page_size {size}");
        for row in &truth {
            let number = |name: &str| row[name].as_str().unwrap_or("0").parse::<u64>().unwrap();
            let read = update.row("rcid", number("rc_id"));
            assert_eq!(read["timestamp"], iso(&row["rc_timestamp"]));
            assert_eq!(read["revid"], number("rc_this_oldid"));
            assert_eq!(read["old_revid"], number("rc_last_oldid"));
            assert_eq!(read["bot"], number("rc_bot") == 1);
            assert_eq!(read["minor"], number("rc_minor") == 1);
            assert_eq!(read["newlen"], number("rc_new_len"));
            assert_eq!(read["user"], row["actor_name"]);
            assert_eq!(read["comment"], row["comment_text"]);
            assert_eq!(read.get("logtype").unwrap_or(&Value::Null), &row["rc_log_type"]);
        }
        let again = wiki.update("recent_changes", &update.end, &[("page_size", size)]).await;
        assert_eq!((again.rows.len(), again.end), (0, update.end));
    }
}

#[tokio::test]
async fn every_entry_of_the_log_is_read_once_whatever_the_size_of_a_page() {
    let wiki = TestWiki::start();
    wiki.run(&some_changes());
    let truth = wiki.sql(
        "SELECT log_id, log_timestamp, log_type, log_action, log_page, log_namespace, actor_name FROM logging \
         JOIN actor ON log_actor = actor_id",
    );
    assert!(truth.len() >= 7);
    for size in ["1", "2", "500"] {
        let update = wiki.update("log_events", &Offset::empty(), &[("page_size", size)]).await;
        assert_eq!(update.distinct("logid"), wiki.ids(LOG), "page_size {size}");
        for row in &truth {
            let number = |name: &str| row[name].as_str().unwrap_or("0").parse::<u64>().unwrap();
            let read = update.row("logid", number("log_id"));
            assert_eq!(read["timestamp"], iso(&row["log_timestamp"]));
            assert_eq!(read["type"], row["log_type"]);
            assert_eq!(read["action"], row["log_action"]);
            assert_eq!(read["logpage"], number("log_page"));
            assert_eq!(read["ns"], number("log_namespace"));
            assert_eq!(read["user"], row["actor_name"]);
        }
        let again = wiki.update("log_events", &update.end, &[("page_size", size)]).await;
        assert_eq!((again.rows.len(), again.end), (0, update.end));
    }
    let moved = wiki.update("log_events", &Offset::empty(), &[]).await;
    let moved = moved.rows.iter().find(|row| row["type"] == "move").unwrap();
    assert_eq!(moved["params"]["target_title"], "D");
}

#[tokio::test]
async fn changes_between_two_updates_are_read_also_those_of_the_last_second_and_late_ones() {
    let wiki = TestWiki::start();
    // Without the entries of the installation, the latest row is a change of this test.
    wiki.run(&json!([
        {"do": "sql", "query": "DELETE FROM recentchanges"},
        {"do": "sql", "query": "DELETE FROM logging"},
    ]));
    let rounds = [
        some_changes(),
        json!([edit("F", "same second", "20250101000002"), {"do": "delete", "title": "F", "at": "20250101000002"}]),
        json!([edit("G", "half a minute late", "20241231235932"), {"do": "delete", "title": "G", "at": "20241231235932"}]),
        json!([edit("H", "later", "20250101000500"), {"do": "move", "from": "H", "to": "I", "at": "20250101000500"}]),
        json!([edit("J", "now", "20250101000500"), edit("K", "late", "20250101000441")]),
    ];
    for (table, id, truth) in [("recent_changes", "rcid", CHANGES), ("log_events", "logid", LOG)] {
        wiki.run(&json!([
            {"do": "sql", "query": "DELETE FROM recentchanges"},
            {"do": "sql", "query": "DELETE FROM logging"},
            {"do": "sql", "query": "DELETE FROM page WHERE page_namespace IN (0, 3000)"},
            {"do": "sql", "query": "DELETE FROM ipblocks"},
        ]));
        let mut offset = Offset::empty();
        let mut read = BTreeSet::new();
        for steps in &rounds {
            wiki.run(steps);
            let update = wiki.update(table, &offset, &[("page_size", "2")]).await;
            let fresh = update.distinct(id);
            assert!(fresh.is_disjoint(&read), "{table}: {fresh:?} again");
            assert!(!fresh.is_empty());
            read.extend(fresh);
            assert_eq!(read, wiki.ids(truth), "{table} after {steps}");
            offset = update.end;
        }
    }
}

#[tokio::test]
async fn a_row_is_found_as_late_as_lookback_allows() {
    let wiki = TestWiki::start();
    wiki.run(&json!([{"do": "sql", "query": "DELETE FROM recentchanges"}, edit("A", "1", "20250101001000")]));
    let mut ends = Vec::new();
    for lookback in ["0", "60", "600"] {
        let more = [("lookback_seconds", lookback)];
        ends.push((lookback, wiki.update("recent_changes", &Offset::empty(), &more).await.end));
    }
    wiki.run(&json!([edit("B", "five minutes late", "20250101000500"), edit("C", "same", "20250101001000")]));
    for (lookback, end) in ends {
        let update = wiki.update("recent_changes", &end, &[("lookback_seconds", lookback)]).await;
        let titles: Vec<&str> = update.rows.iter().map(|row| row["title"].as_str().unwrap()).collect();
        let expect: &[&str] = if lookback == "600" { &["B", "C"] } else { &["C"] };
        assert_eq!(titles, expect, "{lookback}");
        // A longer look back than the offset was made with gives nothing twice.
        let wider = wiki.update("recent_changes", &update.end, &[("lookback_seconds", "3600")]).await;
        assert!(wider.rows.is_empty(), "{:?}", wider.rows);
    }
}

#[tokio::test]
async fn a_read_from_any_offset_gives_the_rest() {
    let wiki = TestWiki::start();
    // More rows than one read holds, a hundred in each second.
    wiki.run(&json!([edit("A", "1", "20250101000000"), {"do": "sql", "query":
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 11000) \
         INSERT INTO recentchanges (rc_timestamp, rc_actor, rc_namespace, rc_title, rc_comment_id, rc_type, \
         rc_source, rc_this_oldid, rc_last_oldid, rc_cur_id) \
         SELECT strftime('%Y%m%d%H%M%S', '2025-01-01', '+' || (i / 100) || ' seconds'), rc_actor, rc_namespace, \
         rc_title, rc_comment_id, rc_type, rc_source, rc_this_oldid, rc_last_oldid, rc_cur_id \
         FROM n JOIN recentchanges ON rc_title = 'A'"}]));
    let whole = wiki.update("recent_changes", &Offset::empty(), &[]).await;
    assert_eq!(whole.distinct("rcid"), wiki.ids(CHANGES));
    assert!(whole.steps.len() >= 4, "{}", whole.steps.len());
    for (offset, before) in &whole.steps {
        let rest = wiki.update("recent_changes", offset, &[]).await;
        assert_eq!(rest.ids("rcid"), whole.ids("rcid")[*before..], "from {offset}");
        assert_eq!(rest.end, whole.end);
    }
}

#[tokio::test]
async fn hidden_parts_namespaces_and_start() {
    let wiki = TestWiki::start();
    wiki.run(&some_changes());
    let by_zoe =
        wiki.ids("SELECT rev_id FROM revision JOIN actor ON rev_actor = actor_id WHERE actor_name = 'Zoë'");
    let deletion = wiki.ids("SELECT log_id FROM logging WHERE log_type = 'delete'");
    wiki.run(&json!([
        {"do": "hide", "revids": by_zoe, "hide": ["text", "comment", "user"]},
        {"do": "hideLog", "logids": deletion, "hide": ["text", "comment", "user"]},
    ]));
    let changes = wiki.update("recent_changes", &Offset::empty(), &[]).await;
    let hidden = changes.row("revid", *by_zoe.first().unwrap());
    assert!(
        hidden["user"].is_null() && hidden["comment"].is_null() && hidden["userhidden"] == true,
        "{hidden}"
    );
    let log = wiki.update("log_events", &Offset::empty(), &[]).await;
    let hidden = log.row("logid", *deletion.first().unwrap());
    assert!(hidden["user"].is_null() && hidden["comment"].is_null(), "{hidden}");
    assert!(hidden["title"].is_null() && hidden["actionhidden"] == true, "{hidden}");

    for (table, id, query) in [
        ("recent_changes", "rcid", "SELECT rc_id FROM recentchanges WHERE rc_namespace IN (2, 3000)"),
        (
            "log_events",
            "logid",
            "SELECT log_id FROM logging WHERE log_namespace IN (2, 3000) AND log_type <> 'delete'",
        ),
    ] {
        let some =
            wiki.update(table, &Offset::empty(), &[("namespaces", "2,3000"), ("page_size", "3")]).await;
        let mut rows = some.distinct(id);
        // The namespace of an entry whose title is hidden is not said.
        rows.retain(|id| table != "log_events" || !deletion.contains(id));
        assert_eq!(rows, wiki.ids(query), "{table}");
        assert!(wiki.update(table, &some.end, &[("namespaces", "2,3000")]).await.rows.is_empty());
    }
    let late = wiki.update("recent_changes", &Offset::empty(), &[("start", "2025-01-01T00:00:02Z")]).await;
    assert_eq!(
        late.distinct("rcid"),
        wiki.ids("SELECT rc_id FROM recentchanges WHERE rc_timestamp >= '20250101000002'")
    );
    let never = wiki.update("recent_changes", &Offset::empty(), &[("start", "2999-01-01")]).await;
    assert!(never.rows.is_empty());
}
