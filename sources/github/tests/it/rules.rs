//! The contract suite of the testkit, over all tables, against a GitHub that fails now and then and runs ahead.

use headwater_connect::Options;
use headwater_source_github::GitHubFactory;
use headwater_spec::SuiteSpec;
use headwater_testkit::{RULES, SimulatedStage, Subject, run};

use crate::support::{Site, folder};

/// The rule that a connector survives what passes.
const FAULTS: u32 = 26;

#[tokio::test(flavor = "multi_thread")]
async fn the_connector_keeps_every_rule_of_the_contract() {
    let site = Site::start();
    let text = std::fs::read_to_string(folder().join("suite.yaml")).unwrap();
    let suite = SuiteSpec::parse(&text, "suite.yaml").unwrap().value;
    let connection =
        suite.connection.iter().map(|(name, value)| (name, value.replace("{simulator}", &site.url())));
    let connection: Options = connection.collect();
    let factory = GitHubFactory;
    let stage = SimulatedStage::new(site.control(), true);
    let mut subject = Subject::new(&factory, connection);
    subject.follow(&suite);
    subject.complete = true;
    subject.stage = Some(&stage);
    subject.rules = RULES.iter().map(|rule| rule.number).filter(|number| *number != FAULTS).collect();
    assert_kept(&subject, 200).await;
    // Faults take their time; the tables of each kind will do.
    subject.rules = vec![FAULTS];
    subject.tables.retain(|(table, _)| ["issues", "workflow_runs", "tags"].contains(&table.as_str()));
    assert_kept(&subject, 3).await;
}

async fn assert_kept(subject: &Subject<'_>, passed: usize) {
    let report = run(subject, &|_| {}).await.unwrap();
    let broken: Vec<String> =
        report.tests.iter().filter(|test| test.is_failed()).map(ToString::to_string).collect();
    assert!(broken.is_empty(), "{broken:#?}");
    assert!(report.counts().passed >= passed, "{:?}", report.counts());
}
