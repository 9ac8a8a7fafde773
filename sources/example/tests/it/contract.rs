use std::collections::HashSet;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use futures::StreamExt;
use headwater_connect::{
    ConnectorError, ConnectorFactory, IngestionType, ManualClock, Offset, Options, Retry,
};
use headwater_source_example::{ExampleFactory, ExampleOptions, ExampleServer};
use serde_json::json;

use crate::drive::{Replica, assert_same, connect, drain_deletes, drain_table, options, read, shop};

const TABLES: [&str; 7] = ["customers", "products", "orders", "order_changes", "events", "metrics", "stock"];

#[tokio::test]
async fn tables_have_schemas_keys_and_a_truth() {
    let server = shop(ExampleOptions::default());
    let connector = connect(&server, &[]).await;
    assert_eq!(connector.list_tables().await.unwrap(), TABLES);
    let mut types = HashSet::new();
    for table in TABLES {
        let schema = connector.get_table_schema(table, &Options::new()).await.unwrap();
        schema.check().unwrap();
        let metadata = connector.read_table_metadata(table, &Options::new()).await.unwrap();
        types.insert(metadata.ingestion_type);
        let columns: Vec<&str> = schema.fields.iter().map(|field| field.name.as_str()).collect();
        for column in metadata.primary_keys.iter().chain(&metadata.cursor_field) {
            assert!(columns.contains(&column.as_str()), "{table}.{column}");
        }
        let truth = server.truth(table).unwrap();
        assert!(truth.len() > 10, "{table} has {} rows", truth.len());
        for row in &truth {
            for field in &schema.fields {
                let value = row.get(&field.name);
                assert!(value.is_some(), "{table} has no {}: {row}", field.name);
                assert!(field.nullable || value != Some(&json!(null)), "{table}.{} is null", field.name);
            }
            assert_eq!(row.as_object().unwrap().len(), columns.len(), "{table}: {row}");
        }
    }
    assert_eq!(types.len(), IngestionType::ALL.len());
    assert!(connector.test_connection().await.is_ok());
    assert!(connector.requests() > 0);
}

#[tokio::test]
async fn a_table_that_is_not_there_is_an_error_everywhere() {
    let server = shop(ExampleOptions::default());
    let connector = connect(&server, &[]).await;
    let none = Options::new();
    let start = Offset::empty();
    let partition = headwater_connect::Partition::from_iter([]);
    let stream = connector.partitioned_stream().unwrap();
    let parts = connector.partitions().unwrap();
    let errors = [
        connector.get_table_schema("nothing", &none).await.unwrap_err(),
        connector.read_table_metadata("nothing", &none).await.unwrap_err(),
        read(connector.read_table("nothing", Some(&start), &none)).await.unwrap_err(),
        read(connector.read_table_deletes("nothing", Some(&start), &none)).await.unwrap_err(),
        parts.get_partitions("nothing", &none).await.unwrap_err(),
        read(parts.read_partition("nothing", &partition, &none)).await.unwrap_err(),
        stream.latest_offset("nothing", &start, &none).await.unwrap_err(),
    ];
    for error in errors {
        assert!(matches!(error, ConnectorError::UnknownTable { .. }), "{error:?}");
        assert!(error.hint().unwrap().contains("order_changes"));
    }
}

#[tokio::test]
async fn snapshots_hold_every_row_once() {
    let server = shop(ExampleOptions { steps: 3000, ..ExampleOptions::default() });
    for (table, page_size) in [("customers", "7"), ("customers", "1000"), ("products", "3"), ("stock", "11")]
    {
        let connector = connect(&server, &[]).await;
        let options = options(&[("page_size", page_size)]);
        let (rows, end) = read(connector.read_table(table, None, &options)).await.unwrap();
        assert_eq!(end, None);
        assert_same(&rows, &server.truth(table).unwrap(), table);
    }
}

#[tokio::test]
async fn orders_and_their_deletions_give_the_shop_over_many_updates() {
    let server = shop(ExampleOptions { steps: 1500, ..ExampleOptions::default() });
    let options = options(&[("page_size", "40"), ("pages_per_read", "3")]);
    let (mut replica, mut upserts, mut deletes) = (Replica::default(), Offset::empty(), Offset::empty());
    for update in 0..6 {
        let connector = connect(&server, &[]).await;
        let read = drain_table(&*connector, "orders", upserts, &options).await.unwrap();
        replica.upsert(read.rows(), &["id"], "updated_at");
        let gone = drain_deletes(&*connect(&server, &[]).await, "orders", deletes, &options).await.unwrap();
        for row in gone.rows() {
            assert_eq!(row.as_object().unwrap().len(), 2, "{row}");
        }
        replica.delete(gone.rows(), &["id"], "updated_at");
        assert_same(&replica.current(), &server.truth("orders").unwrap(), &format!("update {update}"));
        assert!(update > 0 || read.reads.len() > 5, "one read took it all");
        (upserts, deletes) = (read.end, gone.end);
        // Of one thing to happen, as of many, some happen in the second that was read last.
        server.advance([1, 1, 2, 97, 400, 0][update]);
    }
}

#[tokio::test]
async fn what_is_numbered_comes_once_over_many_updates() {
    let server = shop(ExampleOptions { steps: 1100, ..ExampleOptions::default() });
    let options = options(&[("page_size", "60"), ("pages_per_read", "4")]);
    for table in ["events", "metrics"] {
        let (mut all, mut at) = (Vec::new(), Offset::empty());
        for steps in [1, 39, 160, 0] {
            let read = drain_table(&*connect(&server, &[]).await, table, at, &options).await.unwrap();
            all.extend(read.rows());
            at = read.end;
            assert_same(&all, &server.truth(table).unwrap(), table);
            server.advance(steps);
        }
    }
}

#[tokio::test]
async fn metrics_are_read_window_by_window() {
    // Three hours and a bit, at a quarter of a second each.
    let server = shop(ExampleOptions { steps: 45_000, ..ExampleOptions::default() });
    let read = drain_table(&*connect(&server, &[]).await, "metrics", Offset::empty(), &Options::new())
        .await
        .unwrap();
    assert_eq!(read.reads.len(), 5);
    assert_same(&read.rows(), &server.truth("metrics").unwrap(), "metrics");
}

#[tokio::test]
async fn order_changes_give_the_last_change_of_each_order() {
    let server = shop(ExampleOptions::default());
    let options = options(&[("page_size", "33"), ("pages_per_read", "2")]);
    let (mut replica, mut at) = (Replica::default(), Offset::empty());
    let mut seen = 0;
    for _ in 0..3 {
        let read = drain_table(&*connect(&server, &[]).await, "order_changes", at, &options).await.unwrap();
        seen += read.rows().len();
        replica.upsert(read.rows(), &["order_id"], "seq");
        assert_same(&replica.current(), &server.truth("order_changes").unwrap(), "order_changes");
        at = read.end;
        server.advance(50);
    }
    let last = replica.current().iter().map(|row| row["seq"].as_u64().unwrap()).max().unwrap();
    assert_eq!(seen as u64, last, "a change came twice");
}

#[tokio::test]
async fn an_update_ends_although_the_shop_goes_on_and_the_next_takes_up_there() {
    let server = shop(ExampleOptions { steps: 300, steps_per_request: 5, ..ExampleOptions::default() });
    let small = options(&[("page_size", "20"), ("pages_per_read", "2")]);
    let (mut events, mut changes) = (Vec::new(), Vec::new());
    let (mut events_at, mut changes_at) = (Offset::empty(), Offset::empty());
    for _ in 0..4 {
        let before = (events.len(), changes.len());
        let read = drain_table(&*connect(&server, &[]).await, "events", events_at, &small).await.unwrap();
        events.extend(read.rows());
        events_at = read.end;
        let read =
            drain_table(&*connect(&server, &[]).await, "order_changes", changes_at, &small).await.unwrap();
        changes.extend(read.rows());
        changes_at = read.end;
        assert!(events.len() > before.0 && changes.len() > before.1);
        let truth = server.truth("events").unwrap();
        // The shop has gone on since; up to where the read came, every event is there once.
        assert!(truth.len() > events.len());
        assert_same(&events, &truth[..events.len()], "events");
        let numbers: Vec<_> = changes.iter().map(|row| row["seq"].as_u64().unwrap()).collect();
        assert_eq!(numbers, (1..=changes.len() as u64).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn no_order_is_lost_that_changes_while_orders_are_read() {
    let busy = ExampleOptions { steps_per_request: 5, ..ExampleOptions::default() };
    let server = shop(busy);
    let small = options(&[("page_size", "20"), ("pages_per_read", "2")]);
    // A slow update while much happens, and a quick one after it.
    let first = drain_table(&*connect(&server, &[]).await, "orders", Offset::empty(), &small).await.unwrap();
    let gone = drain_deletes(&*connect(&server, &[]).await, "orders", Offset::empty(), &small).await.unwrap();
    let large = options(&[("page_size", "1000"), ("pages_per_read", "1000")]);
    let mut replica = Replica::default();
    replica.upsert(first.rows(), &["id"], "updated_at");
    replica.delete(gone.rows(), &["id"], "updated_at");
    let connector = connect(&server, &[]).await;
    let second = drain_table(&*connector, "orders", first.end, &large).await.unwrap();
    replica.upsert(second.rows(), &["id"], "updated_at");
    let until: DateTime<Utc> =
        second.end.read::<serde_json::Value>().unwrap()["since"].as_str().unwrap().parse().unwrap();
    let connector = connect(&server, &[]).await;
    let gone = drain_deletes(&*connector, "orders", gone.end, &large).await.unwrap();
    replica.delete(gone.rows(), &["id"], "updated_at");
    // Every order that the shop has and that last changed before the end of the read must be there.
    let at = |row: &serde_json::Value| row["updated_at"].as_str().unwrap().parse::<DateTime<Utc>>().unwrap();
    let truth = server.truth("orders").unwrap();
    let settled: Vec<_> = truth.iter().filter(|row| at(row) < until).cloned().collect();
    let current = replica.current();
    let lost: Vec<_> = settled.iter().filter(|row| !current.contains(row)).take(3).collect();
    assert!(settled.len() > 300 && lost.is_empty(), "lost {lost:?}");
}

#[tokio::test]
async fn a_read_may_start_again_from_every_offset() {
    let server = shop(ExampleOptions::default());
    let small = options(&[("page_size", "30"), ("pages_per_read", "2")]);
    for table in ["orders", "order_changes", "events", "metrics"] {
        let whole = drain_table(&*connect(&server, &[]).await, table, Offset::empty(), &small).await.unwrap();
        let connector = connect(&server, &[]).await;
        for (index, (offset, rows)) in whole.reads.iter().enumerate() {
            // In the same instance, in any order, and through the text that a table keeps.
            let stored = Offset::from_json(offset.as_json()).unwrap();
            let (again, _) = read(connector.read_table(table, Some(&stored), &small)).await.unwrap();
            assert_eq!(&again, rows, "{table} from {offset}");
            let rest = drain_table(&*connect(&server, &[]).await, table, stored, &small).await.unwrap();
            let expected: Vec<_> = whole.reads[index..].iter().flat_map(|(_, rows)| rows.clone()).collect();
            assert_same(&rest.rows(), &expected, &format!("{table} from {offset}"));
        }
    }
}

#[tokio::test]
async fn offsets_of_others_are_refused() {
    let server = shop(ExampleOptions::default());
    let connector = connect(&server, &[]).await;
    let none = Options::new();
    for (table, offset) in [
        ("orders", r#"{"since":"yesterday"}"#),
        ("orders", r#"{"after":3}"#),
        ("orders", r#"{"since":"2024-01-01T00:00:00Z","more":1}"#),
        ("events", r#"{"after":-1}"#),
        ("events", r#"{"after":"1"}"#),
        ("events", "7"),
        ("order_changes", r#"{"since":"2024-01-01T00:00:00Z"}"#),
        ("metrics", "[]"),
        ("metrics", "null"),
    ] {
        let offset = Offset::from_json(offset).unwrap();
        let error = read(connector.read_table(table, Some(&offset), &none)).await.unwrap_err();
        assert!(matches!(error, ConnectorError::InvalidOffset { .. }), "{table} {offset}: {error:?}");
        assert_eq!(error.retry(), Retry::Never);
    }
    let offset = Offset::from_json(r#"{"after":1}"#).unwrap();
    let error = read(connector.read_table_deletes("orders", Some(&offset), &none)).await.unwrap_err();
    assert!(matches!(error, ConnectorError::InvalidOffset { .. }), "{error:?}");
}

#[tokio::test]
async fn an_offset_ahead_of_the_shop_ends_the_read_where_it_is() {
    let server = shop(ExampleOptions::default());
    let connector = connect(&server, &[]).await;
    for (table, offset) in [
        ("orders", r#"{"since":"2050-01-01T00:00:00Z"}"#),
        ("events", r#"{"after":999999999}"#),
        ("order_changes", r#"{"after":18446744073709551615}"#),
        ("metrics", r#"{"from":"2050-01-01T00:00:00Z"}"#),
    ] {
        let offset = Offset::from_json(offset).unwrap();
        let (rows, end) = read(connector.read_table(table, Some(&offset), &Options::new())).await.unwrap();
        assert_eq!((rows.len(), end), (0, Some(offset)), "{table}");
    }
}

#[tokio::test]
async fn an_empty_shop_ends_at_once() {
    let server = shop(ExampleOptions { steps: 0, ..ExampleOptions::default() });
    for table in ["orders", "order_changes", "events", "metrics"] {
        let read = drain_table(&*connect(&server, &[]).await, table, Offset::empty(), &Options::new())
            .await
            .unwrap();
        assert_eq!(read.rows().len(), 0, "{table}");
    }
}

#[tokio::test]
async fn options_that_cannot_be_are_refused_by_name() {
    let server = shop(ExampleOptions::default());
    let connector = connect(&server, &[]).await;
    for (name, value) in [("page_size", "0"), ("page_size", "1001"), ("pages_per_read", "many")] {
        let error = read(connector.read_table("orders", None, &options(&[(name, value)]))).await.unwrap_err();
        assert!(error.to_string().contains(name) && error.to_string().contains(value), "{error}");
    }
    let check = async |pairs: &[(&str, &str)], name: &str| {
        let error = ExampleFactory::new().connect(&options(pairs)).await.err().expect(name);
        assert!(error.to_string().contains(name), "{error}");
    };
    check(&[("base_url", "shop")], "base_url").await;
    check(&[("embedded", "false")], "base_url").await;
    check(&[("embedded", "maybe")], "embedded").await;
    check(&[("seed", "one")], "seed").await;
    check(&[("error_rate", "1.5")], "error_rate").await;
    check(&[("error_rate", "NaN")], "error_rate").await;
    check(&[("opened_at", "today")], "opened_at").await;
}

#[tokio::test]
async fn connections_with_the_same_settings_share_a_shop_in_this_process() {
    let factory = ExampleFactory::new();
    let connect =
        async |steps| factory.connect(&options(&[("steps", steps), ("token", "s3cret")])).await.unwrap();
    let (one, two, other) = (connect("100").await, connect("100").await, connect("200").await);
    let count = async |connector: &dyn headwater_connect::Connector| {
        let read = drain_table(connector, "events", Offset::empty(), &Options::new()).await.unwrap();
        read.rows().len()
    };
    assert_eq!(count(&*one).await, 100);
    assert_eq!(count(&*two).await, 100);
    assert_eq!(count(&*other).await, 200);
}

#[tokio::test]
async fn a_shop_with_an_opening_time_goes_on_by_the_clock() {
    let opened: DateTime<Utc> = "2026-03-01T08:00:00Z".parse().unwrap();
    let clock = ManualClock::new(opened);
    let options = ExampleOptions { steps: 10, opened_at: Some(opened), ..ExampleOptions::default() };
    let server = ExampleServer::start_with_clock(options, Arc::new(clock.clone())).unwrap();
    let mut at = Offset::empty();
    for (minutes, expected) in [(0, 10), (1, 30), (10, 300), (-5, 0)] {
        clock.advance(TimeDelta::minutes(minutes));
        let read = drain_table(&*connect(&server, &[]).await, "events", at, &Options::new()).await.unwrap();
        assert_eq!(read.rows().len(), expected, "after {minutes} minutes");
        at = read.end;
    }
}

#[tokio::test]
async fn a_token_is_asked_for_and_never_shown() {
    let token = Some(headwater_connect::Secret::new("s3cret-token"));
    let server = shop(ExampleOptions { token, ..ExampleOptions::default() });
    assert!(connect(&server, &[("token", "s3cret-token")]).await.test_connection().await.is_ok());
    let wrong = connect(&server, &[("token", "wr0ng-token")]).await;
    let error = wrong.test_connection().await.unwrap_err();
    assert!(matches!(error, ConnectorError::Unauthorized { .. }), "{error:?}");
    assert!(!format!("{error:?}").contains("wr0ng"), "{error:?}");
    assert_eq!(wrong.requests(), 1, "a wrong token was tried again");
}

#[tokio::test]
async fn a_read_that_is_dropped_asks_for_nothing_more() {
    let server = shop(ExampleOptions { steps: 5000, ..ExampleOptions::default() });
    let connector = connect(&server, &[]).await;
    let small = options(&[("page_size", "10"), ("pages_per_read", "1000")]);
    let mut stream = connector.read_table("events", None, &small);
    assert!(stream.next().await.unwrap().is_ok());
    drop(stream);
    // One page was taken and a few were on their way.
    assert!(connector.requests() < 12, "{} requests", connector.requests());
}
