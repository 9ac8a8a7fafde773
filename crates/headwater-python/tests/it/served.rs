//! A connector in Rust behind `serve`, in a process of its own.

use std::path::PathBuf;

use futures::StreamExt;
use headwater_connect::{ConnectorError, Offset, Options, Profile};
use headwater_python::{ConnectorDefinition, ConnectorSource};
use headwater_source_example::{CONNECTOR_SPEC, ExampleOptions, ExampleServer};
use headwater_testkit::{Subject, check};

use crate::support::{Project, chain, drain};

/// The example `shop`, which is built with the tests.
fn shop() -> ConnectorDefinition {
    let test = std::env::current_exe().unwrap();
    let program: PathBuf = test.parent().unwrap().parent().unwrap().join("examples").join("shop");
    assert!(program.is_file(), "{} is missing: cargo builds it with the tests", program.display());
    ConnectorDefinition {
        name: "shop".into(),
        source: ConnectorSource::Command { program, args: Vec::new() },
        class: None,
        extras: Vec::new(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_served_connector_keeps_every_rule_of_the_contract() {
    let project = Project::new();
    let server = ExampleServer::start(ExampleOptions::default()).unwrap();
    let factory = project.factory(&shop()).await;
    assert_eq!(factory.connector_spec(), Some(CONNECTOR_SPEC));
    assert_eq!(factory.profile(), Profile::Json);
    let subject = Subject::new(factory.as_ref(), Options::from_iter([("base_url", server.base_url())]));
    let breaches = check(&subject).await.unwrap();
    assert!(breaches.is_empty(), "{breaches:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_served_connector_is_described_and_its_errors_keep_their_kind() {
    let project = Project::new();
    let server = ExampleServer::start(ExampleOptions::default()).unwrap();
    let definition = shop();
    let environment = project.runtime.prepare(&definition, &|_| {}).await.unwrap();
    let description = project.runtime.describe(&definition, &environment).await.unwrap();
    assert!(description.spec.is_some() && description.runtime == "Rust", "{description:?}");
    let factory = project.runtime.factory(&definition, &environment).await.unwrap();
    let error = factory.connect(&Options::from_iter([("base_url", "no url")])).await.err().unwrap();
    assert!(matches!(error, ConnectorError::InvalidOption { .. }), "{}", chain(&error));
    let options = Options::from_iter([("base_url", server.base_url())]);
    let connector = factory.connect(&options).await.unwrap();
    let none = Options::new();
    let error = drain(connector.read_table("nothing", None, &none)).await.unwrap_err();
    assert!(
        matches!(&error, ConnectorError::UnknownTable { table, available } if table == "nothing" && !available.is_empty())
    );
    assert!(connector.requests() == 0 || connector.memory_bytes() > 0);
    // A read that is given up is interrupted, and the process goes on.
    let start = Offset::empty();
    let mut stream = connector.read_table("events", Some(&start), &none);
    stream.next().await.unwrap().unwrap();
    drop(stream);
    assert!(!connector.list_tables().await.unwrap().is_empty());
}
