use headwater_connect::{ConnectorError, Offset, Options, Partition};
use headwater_source_example::ExampleOptions;
use serde_json::json;

use crate::drive::{assert_same, connect, drain_table, options, read, shop};

#[tokio::test]
async fn the_parts_of_a_snapshot_hold_every_row_once() {
    let server = shop(ExampleOptions { steps: 2000, ..ExampleOptions::default() });
    let connector = connect(&server, &[]).await;
    let partitions = connector.partitions().unwrap();
    assert!(
        partitions.is_partitioned("products").await.unwrap()
            && !partitions.is_partitioned("customers").await.unwrap()
    );
    let small = options(&[("page_size", "4")]);
    let parts = partitions.get_partitions("products", &small).await.unwrap();
    assert_eq!(parts.len(), 5);
    let mut all = Vec::new();
    for part in parts.iter().rev() {
        // Each by an instance of its own, and twice: a part may be read again.
        let other = connect(&server, &[]).await;
        let other = other.partitions().unwrap();
        let (rows, end) = read(other.read_partition("products", part, &small)).await.unwrap();
        let (again, _) = read(partitions.read_partition("products", part, &small)).await.unwrap();
        assert_eq!((end, &rows), (None, &again));
        assert!(!rows.is_empty());
        all.extend(rows);
    }
    let (whole, _) = read(connector.read_table("products", None, &small)).await.unwrap();
    assert_same(&all, &whole, "parts");
    assert_same(&all, &server.truth("products").unwrap(), "products");
}

#[tokio::test]
async fn the_parts_of_a_stream_are_what_the_stream_gives_between_two_offsets() {
    let server = shop(ExampleOptions { steps: 1234, ..ExampleOptions::default() });
    let small = options(&[("page_size", "50"), ("rows_per_partition", "200")]);
    let mut start = Offset::empty();
    let mut all = Vec::new();
    for expected_parts in [7, 2, 0] {
        let connector = connect(&server, &[]).await;
        let stream = connector.partitioned_stream().unwrap();
        assert!(
            stream.is_partitioned("events").await.unwrap() && !stream.is_partitioned("orders").await.unwrap()
        );
        let end = stream.latest_offset("events", &start, &small).await.unwrap();
        // What happens from here on belongs to the next update.
        server.advance(if expected_parts == 7 { 300 } else { 0 });
        assert_eq!(stream.latest_offset("events", &start, &small).await.unwrap(), end);
        let parts = stream.get_partitions("events", &start, &end, &small).await.unwrap();
        assert_eq!(parts.len(), expected_parts);
        for part in parts.iter().rev() {
            let (rows, none) = read(stream.read_partition("events", part, &small)).await.unwrap();
            assert_eq!(none, None);
            all.extend(rows);
        }
        assert_eq!(end == start, expected_parts == 0);
        start = end;
    }
    assert_same(&all, &server.truth("events").unwrap(), "events");
    let whole = drain_table(&*connect(&server, &[]).await, "events", Offset::empty(), &small).await.unwrap();
    assert_same(&all, &whole.rows(), "parts");
    // The offset of the parts is the one of the stream: a table may go from one way to the other.
    assert_eq!(whole.end, start);
}

#[tokio::test]
async fn parts_that_are_not_ours_are_refused() {
    let server = shop(ExampleOptions::default());
    let connector = connect(&server, &[]).await;
    let none = Options::new();
    let part = |json: serde_json::Value| Partition::from_value(&json).unwrap();
    let check = async |table: &str, partition: Partition, streamed: bool| {
        let pages = match streamed {
            true => connector.partitioned_stream().unwrap().read_partition(table, &partition, &none),
            false => connector.partitions().unwrap().read_partition(table, &partition, &none),
        };
        let error = read(pages).await.unwrap_err();
        assert!(matches!(error, ConnectorError::Bug { .. }), "{error:?}");
    };
    check("products", part(json!({})), false).await;
    check("customers", part(json!({"category": "books"})), false).await;
    check("events", part(json!({"after": 1})), true).await;
    check("events", part(json!({"after": 1, "up_to": "x"})), true).await;
}

#[tokio::test]
async fn namespaces_hold_all_tables_once() {
    let server = shop(ExampleOptions::default());
    let connector = connect(&server, &[]).await;
    let namespaces = connector.namespaces().unwrap();
    let top = namespaces.list_namespaces(&[]).await.unwrap();
    assert_eq!(top, [["shop"], ["warehouse"]]);
    let mut tables = Vec::new();
    for namespace in &top {
        assert!(namespaces.list_namespaces(namespace).await.unwrap().is_empty());
        tables.extend(namespaces.list_tables_in_namespace(namespace).await.unwrap());
    }
    assert_eq!(tables, connector.list_tables().await.unwrap());
    assert!(namespaces.list_tables_in_namespace(&["nowhere".into()]).await.is_err());
    assert!(namespaces.list_tables_in_namespace(&["shop".into(), "more".into()]).await.is_err());
}
