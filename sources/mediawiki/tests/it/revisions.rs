use std::collections::BTreeSet;

use headwater_connect::Offset;
use serde_json::{Value, json};

use crate::support::{TestWiki, dump, edit, iso};

const ALL: &str = "SELECT rev_id FROM revision";

/// Five pages with edits that share seconds.
fn some_edits() -> Value {
    let mut steps = Vec::new();
    for n in 0..12 {
        let at = format!("202501010000{:02}", n / 5);
        steps.push(edit(&format!("Page {}", n % 5), &format!("text {n} é 漢 🜚"), &at));
    }
    steps.push(json!({"do": "edit", "title": "Ünïcode:Zoë & co’s", "text": "x", "user": "Zoë",
        "summary": "\"quoted\" 漢", "minor": true, "at": "20250101000002"}));
    steps.push(json!({"do": "edit", "title": "Page 0", "text": "by nobody", "user": "192.0.2.7", "at": "20250101000002"}));
    Value::Array(steps)
}

#[tokio::test]
async fn every_revision_is_read_once_whatever_the_size_of_a_page() {
    let wiki = TestWiki::start();
    wiki.run(&some_edits());
    let truth = wiki.sql(
        "SELECT rev_id, rev_page, rev_parent_id, rev_timestamp, rev_minor_edit, rev_len, actor_name, comment_text, \
         page_namespace FROM revision JOIN actor ON rev_actor = actor_id \
         JOIN revision_comment_temp ON revcomment_rev = rev_id \
         JOIN comment ON revcomment_comment_id = comment_id JOIN page ON page_id = rev_page",
    );
    assert!(truth.len() > 14);
    for size in ["1", "3", "500"] {
        let update = wiki.update("revisions", &Offset::empty(), &[("page_size", size)]).await;
        assert_eq!(update.distinct("revid"), wiki.ids(ALL), "page_size {size}");
        assert!(update.ids("revid").is_sorted());
        for row in &truth {
            let number = |name: &str| row[name].as_str().unwrap().parse::<u64>().unwrap();
            let read = update.row("revid", number("rev_id"));
            assert_eq!(read["pageid"], number("rev_page"));
            assert_eq!(read["parentid"], number("rev_parent_id"));
            assert_eq!(read["ns"], number("page_namespace"));
            assert_eq!(read["size"], number("rev_len"));
            assert_eq!(read["minor"], number("rev_minor_edit") == 1);
            assert_eq!(read["timestamp"], iso(&row["rev_timestamp"]));
            assert_eq!(read["user"], row["actor_name"]);
            assert_eq!(read["comment"], row["comment_text"]);
            assert_eq!(read["contentmodel"], "wikitext");
            assert_eq!(read["sha1"].as_str().unwrap().len(), 40);
            assert!(read.get("content").is_none());
        }
        let again = wiki.update("revisions", &update.end, &[("page_size", size)]).await;
        assert_eq!((again.rows.len(), again.end), (0, update.end));
    }
}

#[tokio::test]
async fn what_is_stored_between_two_updates_is_read_whatever_its_time() {
    let wiki = TestWiki::start();
    wiki.run(&some_edits());
    let mut offset = Offset::empty();
    let mut read = BTreeSet::new();
    let changes = [
        json!([
            edit("Page 0", "same second, later", "20250101000002"),
            edit("Page 9", "new", "20250101000002")
        ]),
        // As importDump.php does it: old times, nothing in the log or the recent changes.
        json!([{"do": "import", "xml": dump("Imported", &[("2005-05-05T05:05:05Z", "old"), ("2006-06-06T06:06:06Z", "older")])}]),
        json!([{"do": "import", "report": true, "xml": dump("Page 1", &[("2001-01-01T00:00:00Z", "before all")])}]),
        json!([{"do": "move", "from": "Page 2", "to": "Ünïcode:Moved", "at": "20250101000003"}]),
        json!([{"do": "delete", "title": "Page 3"}, edit("Page 4", "after", "20250101000004")]),
    ];
    for steps in [json!([])].iter().chain(&changes) {
        wiki.run(steps);
        let update = wiki.update("revisions", &offset, &[("page_size", "3")]).await;
        let fresh = update.distinct("revid");
        assert!(fresh.is_disjoint(&read), "{fresh:?} again");
        assert!(steps == &json!([]) || !fresh.is_empty(), "nothing new after {steps}");
        read.extend(fresh);
        assert!(read.is_superset(&wiki.ids(ALL)), "after {steps}");
        offset = update.end;
    }
}

#[tokio::test]
async fn a_read_from_any_offset_gives_the_rest() {
    let wiki = TestWiki::start();
    let steps: Vec<Value> = (0..70).map(|n| edit("Much", &format!("text {n}"), "20250101000000")).collect();
    wiki.run(&Value::Array(steps));
    let whole = wiki.update("revisions", &Offset::empty(), &[("page_size", "1")]).await;
    assert!(whole.steps.len() >= 4, "{:?}", whole.steps);
    for (offset, before) in &whole.steps {
        let rest = wiki.update("revisions", offset, &[("page_size", "2")]).await;
        assert_eq!(rest.ids("revid"), whole.ids("revid")[*before..], "from {offset}");
        assert_eq!(rest.end, whole.end);
    }
}

#[tokio::test]
async fn a_revision_that_becomes_visible_after_a_later_one_is_not_lost() {
    let wiki = TestWiki::start();
    let made = wiki.run(&json!([
        {"do": "edit", "title": "Slow", "text": "a"},
        {"do": "edit", "title": "Quick", "text": "b"},
        {"do": "delete", "title": "Slow"},
    ]));
    let (slow, quick) = (made[0]["revid"].as_u64().unwrap(), made[1]["revid"].as_u64().unwrap());
    let first = wiki.update("revisions", &Offset::empty(), &[]).await;
    assert!(first.distinct("revid").contains(&quick));
    assert!(!first.distinct("revid").contains(&slow));
    // To the reader, a restored revision is one whose transaction ends late.
    wiki.run(&json!([{"do": "undelete", "title": "Slow"}]));
    let second = wiki.update("revisions", &first.end, &[]).await;
    assert_eq!(second.ids("revid"), [slow]);
    let third = wiki.update("revisions", &second.end, &[]).await;
    assert!(third.rows.is_empty());
}

#[tokio::test]
async fn hidden_parts_are_null_and_say_so() {
    let wiki = TestWiki::start();
    let made = wiki.run(&json!([
        {"do": "edit", "title": "Hidden", "text": "secret", "user": "Zoë", "summary": "private"},
        {"do": "edit", "title": "Hidden", "text": "secret 2", "user": "Zoë", "summary": "private"},
        {"do": "edit", "title": "Hidden", "text": "public"},
    ]));
    let id = |n: usize| made[n]["revid"].as_u64().unwrap();
    wiki.run(&json!([
        {"do": "hide", "revids": [id(0)], "hide": ["text", "comment", "user", "suppress"]},
        {"do": "hide", "revids": [id(1)], "hide": ["comment"]},
    ]));
    let update = wiki.update("revisions", &Offset::empty(), &[("content", "true")]).await;
    let all = update.row("revid", id(0));
    for name in ["user", "comment", "sha1", "content"] {
        assert!(all[name].is_null(), "{name} of {all}");
    }
    for name in ["userhidden", "commenthidden", "sha1hidden", "texthidden", "suppressed"] {
        assert_eq!(all[name], true, "{name} of {all}");
    }
    let comment = update.row("revid", id(1));
    assert!(comment["comment"].is_null() && comment["commenthidden"] == true);
    assert_eq!((&comment["user"], &comment["content"]), (&json!("Zoë"), &json!("secret 2")));
    let open = update.row("revid", id(2));
    assert_eq!(open["content"], "public");
    assert!(open["texthidden"].is_null());
}

#[tokio::test]
async fn content_comes_when_it_is_asked_for_in_as_many_answers_as_it_takes() {
    let wiki = TestWiki::start();
    let line = "漢字 and \"quotes\" \\ and tabs\t\n";
    let steps: Vec<Value> = (0..12)
        .map(|n| edit(&format!("Long {n}"), &format!("{n} {}", line.repeat(30_000)), "20250101000000"))
        .collect();
    wiki.run(&Value::Array(steps));
    // More than the 8 MB that one answer holds.
    let update = wiki.update("revisions", &Offset::empty(), &[("content", "true")]).await;
    assert_eq!(update.distinct("revid"), wiki.ids(ALL));
    for n in 0..12 {
        let title = format!("Long {n}");
        let row = update.rows.iter().find(|row| row["title"] == title).unwrap();
        // A wiki drops white space at the end of a page.
        assert_eq!(row["content"], format!("{n} {}", line.repeat(30_000)).trim_end());
    }
}

#[tokio::test]
async fn namespaces_and_start_narrow_what_is_read() {
    let wiki = TestWiki::start();
    wiki.run(&some_edits());
    let old = wiki.ids("SELECT rev_id FROM revision WHERE rev_timestamp < '20250101000002'");
    wiki.run(&json!([{"do": "import", "xml": dump("Imported", &[("2005-05-05T05:05:05Z", "old")])}]));
    let since = wiki.update("revisions", &Offset::empty(), &[("start", "2025-01-01T00:00:02Z")]).await;
    let truth = wiki.ids("SELECT rev_id FROM revision WHERE rev_timestamp >= '20250101000002'");
    assert_eq!(since.distinct("revid"), truth);
    assert!(!old.is_empty() && !truth.is_empty());
    let later = wiki.update("revisions", &Offset::empty(), &[("start", "2999-01-01")]).await;
    assert!(later.rows.is_empty());
    let other = wiki.update("revisions", &Offset::empty(), &[("namespaces", "[3000, 2]")]).await;
    let truth =
        wiki.ids("SELECT rev_id FROM revision JOIN page ON page_id = rev_page WHERE page_namespace = 3000");
    assert_eq!(other.distinct("revid"), truth);
    assert_eq!(truth.len(), 1);
}

#[tokio::test]
async fn offsets_of_others_are_refused() {
    let wiki = TestWiki::start();
    for (table, text) in [
        ("revisions", r#"{"timestamp":"2025-01-01T00:00:00Z"}"#),
        ("revisions", r#"{"revid":-1,"missing":[]}"#),
        ("revisions", r#"{"revid":1,"missing":[],"more":1}"#),
        ("revisions", "7"),
        ("pages", r#"{"revid":1,"missing":[]}"#),
        ("recent_changes", r#"{"at":"yesterday","since":null,"seen":[]}"#),
        ("log_events", r#"{"at":null}"#),
    ] {
        let connector = wiki.connect(&[]).await;
        let offset = Offset::from_json(text).unwrap();
        let result =
            crate::support::update(connector.as_ref(), table, &offset, crate::support::Kind::Upserts).await;
        let error = result.err().unwrap_or_else(|| panic!("{table} took {text}"));
        assert!(
            matches!(error, headwater_connect::ConnectorError::InvalidOffset { .. }),
            "{table} {text}: {error:?}"
        );
    }
}
