//! The contract suite of the testkit, against a real wiki behind a simulator that makes it fail now and then.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use headwater_source_mediawiki::MediaWikiFactory;
use headwater_testkit::simulator::{Description, Mode, Settings, Simulator};
use headwater_testkit::{
    Changes, Key, LogWatch, Outcome, SimulatedStage, SkippedRule, Subject, WriteBack, WriteBackError, run,
};
use serde_json::{Value, json};

use crate::support::{BOT, TestWiki, edit};

/// Edits pages of the wiki, as a maintenance script does.
struct Editor<'a> {
    wiki: &'a TestWiki,
    titles: Mutex<HashMap<u64, String>>,
}

impl Editor<'_> {
    fn step(&self, step: Value) -> Value {
        self.wiki.run(&json!([step])).remove(0)
    }

    fn title(&self, key: &Key) -> Result<String, WriteBackError> {
        let titles = self.titles.lock().unwrap();
        let title = key["pageid"].as_u64().and_then(|id| titles.get(&id).cloned());
        title.ok_or_else(|| WriteBackError::failed("no page of this test"))
    }
}

#[async_trait]
impl WriteBack for Editor<'_> {
    async fn tables(&self) -> Result<Vec<String>, WriteBackError> {
        Ok(vec!["pages".to_owned()])
    }

    async fn insert(&self, _: &str) -> Result<Key, WriteBackError> {
        let title = format!("Made by a test {}", self.titles.lock().unwrap().len());
        let made = self.step(json!({"do": "edit", "title": title, "text": "1"}));
        let id = made["pageid"].as_u64().ok_or_else(|| WriteBackError::failed("the page has no id"))?;
        self.titles.lock().unwrap().insert(id, title);
        Ok(Key::from_iter([("pageid".to_owned(), json!(id))]))
    }

    async fn update(&self, _: &str, key: &Key) -> Result<(), WriteBackError> {
        self.step(json!({"do": "edit", "title": self.title(key)?, "text": "1 and more"}));
        Ok(())
    }

    async fn delete(&self, _: &str, key: &Key) -> Result<(), WriteBackError> {
        self.step(json!({"do": "delete", "title": self.title(key)?}));
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_connector_keeps_every_rule_of_the_contract() {
    let wiki = TestWiki::start();
    wiki.run(&json!([
        edit("A", "1 [[Category:C]]", "20250101000000"),
        edit("B", "1", "20250101000001"),
        edit("A", "2 [[Category:C]]", "20250101000002"),
        {"do": "delete", "title": "B", "at": "20250101000003"},
    ]));
    let settings = Settings { mode: Mode::Live, upstream: Some(wiki.url()), ..Settings::default() };
    let simulator = Simulator::start(Description::default(), settings).unwrap();
    let stage = SimulatedStage::new(simulator.control(), false);
    let editor = Editor { wiki: &wiki, titles: Mutex::default() };
    let changes = Changes::new(&editor).with_patience(Duration::from_secs(60));
    let factory = MediaWikiFactory;
    let mut connection = wiki.options(&[("user", BOT.0), ("bot_password", BOT.1)]);
    connection.set("base_url", simulator.base_url());
    let mut subject = Subject::new(&factory, connection);
    subject.stage = Some(&stage);
    subject.changes = Some(&changes);
    subject.log = LogWatch::install();
    // A way of reading each; a wiki that fails is waited for, and tests have no time.
    let walked_alike = ["recent_changes", "log_events", "categories", "category_members", "site_info"];
    subject.skip = walked_alike
        .map(|table| SkippedRule {
            rule: 26,
            table: Some(table.to_owned()),
            reason: "read as another table is".to_owned(),
        })
        .to_vec();
    let report = run(&subject, &|_| {}).await.unwrap();
    assert!(report.is_passed(), "{report}");
    for rule in [15, 25, 26, 28, 29, 30] {
        let of = report.tests.iter().filter(|test| test.rule.number == rule);
        let passed = of.filter(|test| test.outcome == Outcome::Passed).count();
        assert_eq!(passed, if rule == 26 { 3 } else { 1 }, "R{rule} {:#?}", report.tests);
    }
    let left = wiki.sql("SELECT page_title FROM page WHERE page_title LIKE 'Made_by%'");
    assert!(left.is_empty(), "{left:?}");
}
