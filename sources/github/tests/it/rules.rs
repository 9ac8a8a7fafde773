//! The contract suite of the testkit, over all tables.

use headwater_connect::Options;
use headwater_source_github::GitHubFactory;
use headwater_spec::SuiteSpec;
use headwater_testkit::{Subject, run};

use crate::support::{Site, folder};

#[tokio::test(flavor = "multi_thread")]
async fn the_connector_keeps_every_rule_of_the_contract() {
    let site = Site::start();
    let text = std::fs::read_to_string(folder().join("suite.yaml")).unwrap();
    let suite = SuiteSpec::parse(&text, "suite.yaml").unwrap().value;
    let connection =
        suite.connection.iter().map(|(name, value)| (name, value.replace("{simulator}", &site.url())));
    let connection: Options = connection.collect();
    let factory = GitHubFactory;
    let mut subject = Subject::new(&factory, connection);
    subject.follow(&suite);
    subject.complete = true;
    let report = run(&subject, &|_| {}).await.unwrap();
    let broken: Vec<String> =
        report.tests.iter().filter(|test| test.is_failed()).map(ToString::to_string).collect();
    assert!(broken.is_empty(), "{broken:#?}");
    assert!(report.counts().passed > 200, "{:?}", report.counts());
}
