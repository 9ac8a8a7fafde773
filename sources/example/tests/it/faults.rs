use headwater_connect::{ConnectorError, Offset, Options};
use headwater_source_example::ExampleOptions;

use crate::drive::{Replica, assert_same, connect, drain_deletes, drain_table, options, read, shop};

fn bad() -> ExampleOptions {
    ExampleOptions {
        seed: 11,
        steps: 1200,
        error_rate: 0.15,
        throttle_rate: 0.15,
        truncate_rate: 0.1,
        ..ExampleOptions::default()
    }
}

#[tokio::test]
async fn a_source_that_fails_now_and_then_is_read_whole() {
    let server = shop(bad());
    let small = options(&[("page_size", "25"), ("pages_per_read", "5")]);
    for table in ["customers", "products", "stock"] {
        let connector = connect(&server, &[]).await;
        let (rows, _) = read(connector.read_table(table, None, &small)).await.unwrap();
        assert_same(&rows, &server.truth(table).unwrap(), table);
    }
    for table in ["events", "metrics"] {
        let connector = connect(&server, &[]).await;
        let read = drain_table(&*connector, table, Offset::empty(), &small).await.unwrap();
        assert_same(&read.rows(), &server.truth(table).unwrap(), table);
    }
    let mut replica = Replica::default();
    let (one, two) = (connect(&server, &[]).await, connect(&server, &[]).await);
    let upserts = drain_table(&*one, "orders", Offset::empty(), &small).await.unwrap();
    let deletes = drain_deletes(&*two, "orders", Offset::empty(), &small).await.unwrap();
    replica.upsert(upserts.rows(), &["id"], "updated_at");
    replica.delete(deletes.rows(), &["id"], "updated_at");
    assert_same(&replica.current(), &server.truth("orders").unwrap(), "orders");
    // A quarter of the requests failed, so that there were more than without.
    assert!(one.requests() > (upserts.rows().len() / 25 + 2) as u64);
}

#[tokio::test]
async fn a_source_that_asks_for_a_long_pause_is_left_alone() {
    let server =
        shop(ExampleOptions { throttle_rate: 1.0, retry_after_secs: 3600, ..ExampleOptions::default() });
    let connector = connect(&server, &[]).await;
    let error = connector.test_connection().await.unwrap_err();
    assert!(
        matches!(&error, ConnectorError::RateLimited { retry_after: Some(after), .. } if after.as_secs() == 3600),
        "{error:?}"
    );
    assert_eq!(connector.requests(), 1);
}

#[tokio::test]
async fn a_failed_read_leaves_the_instance_able_to_read_again() {
    let server =
        shop(ExampleOptions { throttle_rate: 0.5, retry_after_secs: 3600, ..ExampleOptions::default() });
    let connector = connect(&server, &[]).await;
    let small = options(&[("page_size", "100")]);
    let mut failures = 0;
    let rows = loop {
        match read(connector.read_table("customers", None, &small)).await {
            Ok((rows, _)) => break rows,
            Err(error) => {
                assert!(matches!(error, ConnectorError::RateLimited { .. }), "{error:?}");
                failures += 1;
                assert!(failures < 50);
            }
        }
    };
    assert_same(&rows, &server.truth("customers").unwrap(), "customers");
}

#[tokio::test]
async fn a_shop_that_is_gone_is_unavailable() {
    let server = shop(ExampleOptions::default());
    let connector = connect(&server, &[]).await;
    drop(server);
    let error = read(connector.read_table("stock", None, &Options::new())).await.unwrap_err();
    assert!(matches!(error, ConnectorError::Unavailable { .. }), "{error:?}");
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.contains("GET http://127.0.0.1") && cause.contains("/stock"), "{cause}");
}
