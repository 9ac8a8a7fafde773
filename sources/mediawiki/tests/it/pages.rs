use std::collections::{BTreeMap, BTreeSet};

use headwater_connect::{Clock, Offset, SystemClock};
use serde_json::{Value, json};

use crate::support::{TestWiki, Update, dump, edit, iso};

/// The table as it would stand in a lake: the row with the greatest `touched` for each page. Where a deletion and a
/// change are equal the change stays.
#[derive(Default)]
struct Mirror {
    rows: BTreeMap<u64, Value>,
    deleted: BTreeMap<u64, String>,
    upserts: Option<Offset>,
    deletes: Option<Offset>,
}

fn touched(row: &Value) -> String {
    // Of one length, so that texts compare as instants do.
    let text = row["touched"].as_str().unwrap().trim_end_matches('Z').to_owned();
    if text.contains('.') { text } else { format!("{text}.000000") }
}

/// Waits until the present second is over: an update reads the log up to the last whole one.
fn next_second() {
    let now = || SystemClock.now().timestamp();
    let start = now();
    while now() == start {
        std::thread::yield_now();
    }
}

impl Mirror {
    async fn refresh(&mut self, wiki: &TestWiki, more: &[(&str, &str)]) -> (Update, Update) {
        next_second();
        let from = self.upserts.clone().unwrap_or_else(Offset::empty);
        let upserts = wiki.update("pages", &from, more).await;
        let from = self.deletes.clone().unwrap_or_else(Offset::empty);
        let deletes = wiki.update_deletes(&from, more).await;
        for row in &upserts.rows {
            let id = row["pageid"].as_u64().unwrap();
            let late = self.deleted.get(&id).is_some_and(|at| *at > touched(row));
            if !late && self.rows.get(&id).is_none_or(|known| touched(known) <= touched(row)) {
                self.rows.insert(id, row.clone());
            }
        }
        for row in &deletes.rows {
            let id = row["pageid"].as_u64().unwrap();
            self.deleted.insert(id, touched(row));
            if self.rows.get(&id).is_some_and(|known| touched(known) < touched(row)) {
                self.rows.remove(&id);
            }
        }
        self.upserts = Some(upserts.end.clone());
        self.deletes = Some(deletes.end.clone());
        (upserts, deletes)
    }

    fn check(&self, wiki: &TestWiki, namespaces: &str) {
        let truth = wiki.sql(&format!(
            "SELECT page_id, page_namespace, page_title, page_latest, page_len, page_is_redirect, page_touched \
             FROM page WHERE page_namespace IN ({namespaces})"
        ));
        let number = |row: &Value, name: &str| row[name].as_str().unwrap().parse::<u64>().unwrap();
        let ids: BTreeSet<u64> = truth.iter().map(|row| number(row, "page_id")).collect();
        assert_eq!(self.rows.keys().copied().collect::<BTreeSet<_>>(), ids);
        for row in &truth {
            let ours = &self.rows[&number(row, "page_id")];
            let title = row["page_title"].as_str().unwrap().replace('_', " ");
            let shown = ours["title"].as_str().unwrap();
            assert_eq!(shown.split_once(':').map_or(shown, |(_, title)| title), title);
            assert_eq!(ours["ns"], number(row, "page_namespace"));
            assert_eq!(ours["lastrevid"], number(row, "page_latest"), "{title}");
            assert_eq!(ours["length"], number(row, "page_len"));
            assert_eq!(ours["redirect"] == true, number(row, "page_is_redirect") == 1);
            // Later where the wiki's value had gone back.
            assert!(ours["touched"].as_str().unwrap() >= iso(&row["page_touched"]).as_str());
        }
    }
}

const EVERYWHERE: &str = "0, 2, 14, 3000";

#[tokio::test]
async fn the_table_follows_edits_moves_deletions_restorations_and_imports() {
    let wiki = TestWiki::start();
    let mut mirror = Mirror::default();
    let rounds = [
        json!([
            edit("A", "1", "20250101000000"), edit("B", "1", "20250101000000"), edit("C", "1", "20250101000000"),
            edit("Ünïcode:漢字 🜚", "1", "20250101000000"), edit("Gone before", "1", "20250101000000"),
            {"do": "delete", "title": "Gone before"},
        ]),
        json!([edit("A", "2", "20250101000000"), edit("New", "1", "20250101000000")]),
        json!([{"do": "move", "from": "A", "to": "Ünïcode:A moved"}, {"do": "move", "from": "B", "to": "B2", "redirect": false}]),
        json!([{"do": "delete", "title": "C"}]),
        json!([{"do": "undelete", "title": "C"}]),
        // Over the redirect that the first move left, which takes that page away.
        json!([{"do": "move", "from": "Ünïcode:A moved", "to": "A"}]),
        json!([{"do": "import", "xml": dump("Imported", &[("2005-05-05T05:05:05Z", "old")])}]),
        json!([{"do": "edit", "title": "Short life", "text": "x"}, {"do": "delete", "title": "Short life"}]),
        json!([{"do": "edit", "title": "C", "text": "same second", "at": "20300101000000"},
               {"do": "delete", "title": "C", "at": "20300101000000"}]),
    ];
    for steps in &rounds[..8] {
        wiki.run(steps);
        let (upserts, deletes) = mirror.refresh(&wiki, &[("page_size", "2")]).await;
        assert!(upserts.rows.len() + deletes.rows.len() > 0, "nothing after {steps}");
        mirror.check(&wiki, EVERYWHERE);
        let (upserts, deletes) = mirror.refresh(&wiki, &[("page_size", "50")]).await;
        assert!(upserts.rows.is_empty() && deletes.rows.is_empty(), "{:?} {:?}", upserts.rows, deletes.rows);
    }
    // An entry of the log that is dated later than the wiki's clock waits until its time has come.
    wiki.run(&rounds[8]);
    let (_, deletes) = mirror.refresh(&wiki, &[]).await;
    assert!(deletes.rows.is_empty());
}

#[tokio::test]
async fn a_page_whose_time_goes_back_replaces_its_row() {
    let wiki = TestWiki::start();
    let mut mirror = Mirror::default();
    wiki.run(&json!([
        edit("A", "1", "20200101000000"),
        {"do": "sql", "query": "UPDATE page SET page_touched = '20240101000000' WHERE page_title = 'A'"},
    ]));
    mirror.refresh(&wiki, &[]).await;
    // A dump holds a later revision of the page, which takes its time with it.
    wiki.run(&json!([{"do": "import", "xml": dump("A", &[("2022-01-01T00:00:00Z", "from a dump")])}]));
    assert_eq!(wiki.ids("SELECT page_touched FROM page WHERE page_title = 'A'"), [20_220_101_000_000].into());
    mirror.refresh(&wiki, &[]).await;
    mirror.check(&wiki, EVERYWHERE);
    wiki.run(&json!([{"do": "edit", "title": "A", "text": "and an edit"}]));
    mirror.refresh(&wiki, &[]).await;
    mirror.check(&wiki, EVERYWHERE);
    // Deleted and restored between two updates, then in two of them.
    wiki.run(&json!([{"do": "delete", "title": "A"}, {"do": "undelete", "title": "A"}]));
    mirror.refresh(&wiki, &[]).await;
    mirror.check(&wiki, EVERYWHERE);
    for step in ["delete", "undelete"] {
        wiki.run(&json!([{"do": step, "title": "A"}]));
        mirror.refresh(&wiki, &[]).await;
        mirror.check(&wiki, EVERYWHERE);
    }
}

#[tokio::test]
async fn an_edit_and_a_deletion_in_one_second_leave_no_page() {
    let wiki = TestWiki::start();
    let mut mirror = Mirror::default();
    let made = wiki.run(&json!([edit("A", "1", "20250101000000"), edit("B", "1", "20250101000000")]));
    mirror.refresh(&wiki, &[]).await;
    next_second();
    let second = SystemClock.now();
    let at = second.format("%Y%m%d%H%M%S").to_string();
    wiki.run(&json!([edit("A", "2", &at)]));
    let (upserts, _) = mirror.refresh(&wiki, &[]).await;
    assert_eq!(upserts.rows[0]["touched"], second.format("%Y-%m-%dT%H:%M:%SZ").to_string());
    wiki.run(&json!([{"do": "delete", "title": "A", "at": at}]));
    let (_, deletes) = mirror.refresh(&wiki, &[]).await;
    let touched = second.format("%Y-%m-%dT%H:%M:%S.999999Z").to_string();
    assert_eq!(
        deletes.rows,
        [json!({"pageid": made[0]["pageid"], "ns": 0, "title": "A", "touched": touched})]
    );
    mirror.check(&wiki, EVERYWHERE);
}

#[tokio::test]
async fn a_page_that_leaves_the_chosen_namespaces_is_deleted_and_comes_back() {
    let wiki = TestWiki::start();
    let mut mirror = Mirror::default();
    let more = [("namespaces", "0"), ("page_size", "3")];
    wiki.run(&json!([edit("A", "1", "20250101000000"), edit("Ünïcode:Other", "1", "20250101000000")]));
    mirror.refresh(&wiki, &more).await;
    mirror.check(&wiki, "0");
    for steps in [
        json!([{"do": "move", "from": "A", "to": "Ünïcode:A", "redirect": false}]),
        json!([{"do": "move", "from": "Ünïcode:A", "to": "A again", "redirect": false}]),
        json!([{"do": "move", "from": "A again", "to": "Ünïcode:B"},
               {"do": "delete", "title": "Ünïcode:Other"}]),
    ] {
        wiki.run(&steps);
        mirror.refresh(&wiki, &more).await;
        mirror.check(&wiki, "0");
    }
}

#[tokio::test]
async fn changes_while_the_pages_are_listed_are_followed() {
    let wiki = TestWiki::start();
    let steps: Vec<Value> = (10..60).map(|n| edit(&format!("Page {n}"), "1", "20250101000000")).collect();
    wiki.run(&Value::Array(steps));
    let first = wiki.update("pages", &Offset::empty(), &[("page_size", "1")]).await;
    assert!(first.steps.len() > 4, "{}", first.steps.len());
    let (middle, before) = first.steps[1].clone();
    assert!(middle.as_json().contains("continue"), "{middle}");
    wiki.run(&json!([
        {"do": "edit", "title": "Page 10", "text": "changed behind the listing"},
        {"do": "edit", "title": "Page 59", "text": "changed before it"},
        {"do": "move", "from": "Page 11", "to": "AAA"},
        {"do": "edit", "title": "AAB", "text": "new behind the listing"},
        {"do": "delete", "title": "Page 12"},
        {"do": "delete", "title": "Page 58"},
    ]));
    next_second();
    let rest = wiki.update("pages", &middle, &[("page_size", "1")]).await;
    let mut rows: BTreeMap<u64, Value> = BTreeMap::new();
    for row in first.rows[..before].iter().chain(&rest.rows) {
        rows.insert(row["pageid"].as_u64().unwrap(), row.clone());
    }
    let deletes = wiki.update_deletes(&Offset::empty(), &[("page_size", "1")]).await;
    assert_eq!(deletes.distinct("pageid").len(), 2);
    deletes.ids("pageid").iter().for_each(|id| drop(rows.remove(id)));
    let mirror = Mirror { rows, ..Mirror::default() };
    mirror.check(&wiki, EVERYWHERE);
    for (offset, before) in &first.steps {
        let rest = wiki.update("pages", offset, &[("page_size", "7")]).await;
        let all: BTreeSet<u64> =
            first.ids("pageid")[..*before].iter().copied().chain(rest.ids("pageid")).collect();
        assert!(all.is_superset(&wiki.ids("SELECT page_id FROM page")), "from {offset}");
    }
}

#[tokio::test]
async fn deletions_begin_at_start_and_leave_out_pages_that_are_back() {
    let wiki = TestWiki::start();
    wiki.run(&json!([
        edit("A", "1", "20250101000000"), {"do": "delete", "title": "A", "at": "20250101000001"},
        edit("B", "1", "20250101000000"), {"do": "delete", "title": "B", "at": "20250102000001"},
        edit("C", "1", "20250101000000"), {"do": "delete", "title": "C", "at": "20250102000001"},
        {"do": "undelete", "title": "C", "at": "20250102000001"},
    ]));
    let titles = |update: &Update| -> Vec<String> {
        update.rows.iter().map(|row| row["title"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(titles(&wiki.update_deletes(&Offset::empty(), &[("page_size", "1")]).await), ["A", "B"]);
    assert_eq!(titles(&wiki.update_deletes(&Offset::empty(), &[("start", "2025-01-02")]).await), ["B"]);
}
