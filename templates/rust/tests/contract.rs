//! The rules that every connector keeps, against the simulated source, and what is particular to this one.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests, like tests, end by panicking")]

use std::path::Path;

use futures::StreamExt;
use headwater_connect::{Connector, ConnectorError, ConnectorFactory, Offset, Options, Page, ReadItem};
use headwater_testkit::simulator::{Description, Settings, Simulator};
use headwater_testkit::{Subject, check};
use my_source::MySourceFactory;
use serde_json::Value;

fn source() -> Simulator {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("simulator");
    Simulator::start(Description::load(&folder).unwrap(), Settings::default()).unwrap()
}

fn connection(source: &Simulator) -> Options {
    [("base_url", source.base_url()), ("token", "made-up-token".to_owned())].into_iter().collect()
}

async fn connect(source: &Simulator) -> Box<dyn Connector> {
    MySourceFactory.connect(&connection(source)).await.unwrap()
}

#[tokio::test]
async fn every_rule_is_kept() {
    let source = source();
    let mut subject = Subject::new(&MySourceFactory, connection(&source));
    // Small pages, so that there are several.
    subject.tables = vec![
        ("items".into(), [("page_size", "7"), ("max_records_per_batch", "25")].into_iter().collect()),
        ("categories".into(), [("page_size", "5")].into_iter().collect()),
    ];
    subject.secrets = vec!["made-up-token".into()];
    let broken = check(&subject).await.unwrap();
    assert!(broken.is_empty(), "{broken:#?}");
}

/// One read: its records, and the offset that it reached.
async fn read(
    connector: &dyn Connector,
    start: &Offset,
    options: &Options,
) -> Result<(Vec<Value>, Offset), ConnectorError> {
    let (mut rows, mut end) = (Vec::new(), None);
    let mut stream = connector.read_table("items", Some(start), options);
    while let Some(item) = stream.next().await {
        match item? {
            ReadItem::Page(Page::Json { body, records }) => {
                let all = records.find(&body)?.unwrap();
                rows.extend(serde_json::from_slice::<Vec<Value>>(all).unwrap());
            }
            ReadItem::Page(other) => panic!("{other:?}"),
            ReadItem::End(offset) => end = offset,
        }
    }
    Ok((rows, end.unwrap()))
}

#[tokio::test]
async fn batches_are_bounded_and_together_hold_every_item_once() {
    let source = source();
    let connector = connect(&source).await;
    for (page_size, limit) in [("1", 100), ("2", 3), ("7", 1), ("7", 7), ("100", 4), ("100", 100)] {
        let options = [("page_size", page_size.to_owned()), ("max_records_per_batch", limit.to_string())]
            .into_iter()
            .collect();
        let (mut offset, mut ids) = (Offset::empty(), Vec::new());
        loop {
            let (rows, end) = read(connector.as_ref(), &offset, &options).await.unwrap();
            assert!(rows.len() <= limit, "{} rows, at most {limit}", rows.len());
            ids.extend(rows.iter().map(|row| row["id"].as_u64().unwrap()));
            if end == offset {
                break;
            }
            // An offset is stored as JSON between two reads.
            offset = Offset::from_json(end.as_json()).unwrap();
        }
        ids.sort_unstable();
        let mut once = ids.clone();
        once.dedup();
        assert_eq!((ids.len(), once.len()), (60, 60), "page_size {page_size}, limit {limit}");
    }
}

#[tokio::test]
async fn an_offset_of_another_connector_is_refused() {
    let source = source();
    let connector = connect(&source).await;
    for offset in [r#"{"page": 3}"#, r#"{"cursor": "soon"}"#, r#"{"until": "2024-01-01T00:00:00Z"}"#, "[]"] {
        let offset = Offset::from_json(offset).unwrap();
        let refused = read(connector.as_ref(), &offset, &Options::new()).await;
        assert!(matches!(refused, Err(ConnectorError::InvalidOffset { .. })), "{offset}: {refused:?}");
    }
}

#[tokio::test]
async fn bad_options_are_named() {
    let missing = MySourceFactory.connect(&Options::new()).await.err();
    assert!(
        matches!(&missing, Some(ConnectorError::MissingOption { name, .. }) if name == "token"),
        "{missing:?}"
    );
    let source = source();
    let connector = connect(&source).await;
    for option in ["page_size", "max_records_per_batch", "lookback_seconds"] {
        for value in ["-1", "many", "99999999"] {
            let options = [(option, value)].into_iter().collect();
            let refused = read(connector.as_ref(), &Offset::empty(), &options).await.unwrap_err();
            assert!(refused.to_string().contains(option), "{refused}");
        }
    }
}
