//! The contract suite of the testkit, against a shop that stands still.

use headwater_connect::Options;
use headwater_source_example::{ExampleFactory, ExampleOptions, ExampleServer};
use headwater_testkit::{Subject, check};

#[tokio::test(flavor = "multi_thread")]
async fn the_connector_keeps_every_rule_of_the_contract() {
    let server = ExampleServer::start(ExampleOptions::default()).unwrap();
    let factory = ExampleFactory::new();
    let subject = Subject::new(&factory, Options::from_iter([("base_url", server.base_url())]));
    let breaches = check(&subject).await.unwrap();
    assert!(breaches.is_empty(), "{breaches:#?}");
}
