//! The contract suite of the testkit, against a shop behind a simulator that makes it fail now and then.

use std::collections::BTreeSet;

use async_trait::async_trait;
use headwater_connect::Options;
use headwater_source_example::{ExampleFactory, ExampleOptions, ExampleServer};
use headwater_testkit::simulator::{Description, Mode, Settings, Simulator};
use headwater_testkit::{
    Changes, Key, LogWatch, Outcome, SimulatedStage, Subject, UnfilledColumn, WriteBack, WriteBackError, run,
};
use serde_json::{Value, json};

/// Lets the shop go on until what is wanted has happened in it.
struct Clerk<'a>(&'a ExampleServer);

impl Clerk<'_> {
    fn orders(&self) -> Vec<Value> {
        self.0.truth("orders").unwrap()
    }

    fn ids(&self) -> BTreeSet<String> {
        self.orders().iter().map(|order| order["id"].to_string()).collect()
    }

    fn order(&self, key: &Key) -> Option<Value> {
        self.orders().into_iter().find(|order| order["id"] == key["id"])
    }

    fn wait_for(&self, steps: u64, happened: impl Fn() -> bool) -> Result<(), WriteBackError> {
        for _ in 0..100_000 {
            if happened() {
                return Ok(());
            }
            self.0.advance(steps);
        }
        Err(WriteBackError::failed("it never happens in this shop"))
    }
}

#[async_trait]
impl WriteBack for Clerk<'_> {
    async fn tables(&self) -> Result<Vec<String>, WriteBackError> {
        Ok(vec!["orders".to_owned()])
    }

    async fn insert(&self, _: &str) -> Result<Key, WriteBackError> {
        let before = self.ids();
        self.wait_for(1, || self.ids().difference(&before).next().is_some())?;
        let made = self.orders().into_iter().find(|order| !before.contains(&order["id"].to_string()));
        Ok(Key::from_iter([("id".to_owned(), made.unwrap()["id"].clone())]))
    }

    async fn update(&self, _: &str, key: &Key) -> Result<(), WriteBackError> {
        let before = self.order(key);
        self.wait_for(1, || self.order(key) != before)
    }

    async fn delete(&self, _: &str, key: &Key) -> Result<(), WriteBackError> {
        // It takes long, and each look at the shop costs.
        self.wait_for(50, || self.order(key).is_none())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_connector_keeps_every_rule_of_the_contract() {
    let token = "a-token-that-nobody-may-see";
    let server = ExampleServer::start(ExampleOptions {
        steps: 100,
        token: Some(headwater_connect::Secret::new(token)),
        ..ExampleOptions::default()
    })
    .unwrap();
    let settings = Settings { mode: Mode::Live, upstream: Some(server.base_url()), ..Settings::default() };
    let simulator = Simulator::start(Description::default(), settings).unwrap();
    let stage = SimulatedStage::new(simulator.control(), false);
    let clerk = Clerk(&server);
    let changes = Changes::new(&clerk);
    let factory = ExampleFactory::new();
    let connection = Options::from_iter([("base_url", simulator.base_url().as_str()), ("token", token)]);
    let mut subject = Subject::new(&factory, connection);
    subject.complete = true;
    let reason = "the shop never measures it".to_owned();
    let (table, column) = ("products".to_owned(), "dimensions.depth_cm".to_owned());
    subject.unfilled = vec![UnfilledColumn { table, column, reason }];
    subject.stage = Some(&stage);
    subject.changes = Some(&changes);
    subject.log = LogWatch::install();
    let report = run(&subject, &|_| {}).await.unwrap();
    assert!(report.is_passed(), "{report}");
    let passed = |rule: u32| {
        let of = report.tests.iter().filter(|test| test.rule.number == rule);
        of.filter(|test| test.outcome == Outcome::Passed).count()
    };
    assert_eq!(passed(26), 7, "{:#?}", report.tests);
    assert_eq!((passed(15), passed(24), passed(25)), (1, 7, 1), "{:#?}", report.tests);
    assert_eq!((passed(28), passed(29), passed(30)), (1, 1, 1), "{:#?}", report.tests);
    assert_eq!(json!(report)["tests"].as_array().map(Vec::len), Some(report.tests.len()));
}
