//! The contract suite of the testkit, against a wiki that stands still.

use headwater_source_mediawiki::MediaWikiFactory;
use headwater_testkit::{Subject, check};
use serde_json::json;

use crate::support::{TestWiki, edit};

#[tokio::test]
async fn the_connector_keeps_every_rule_of_the_contract() {
    let wiki = TestWiki::start();
    wiki.run(&json!([
        edit("A", "1 [[Category:C]]", "20250101000000"),
        edit("B", "1", "20250101000001"),
        edit("A", "2 [[Category:C]]", "20250101000002"),
        {"do": "delete", "title": "B", "at": "20250101000003"},
    ]));
    let factory = MediaWikiFactory;
    let subject = Subject::new(&factory, wiki.options(&[]));
    let breaches = check(&subject).await.unwrap();
    assert!(breaches.is_empty(), "{breaches:#?}");
}
