//! Rows that change and go: the tables show them as they are, or with their history.

use std::collections::BTreeMap;

use headwater_source_example::{ExampleOptions, ExampleServer};
use serde_json::Value;

use crate::harness::{Sandbox, shop_project};
use crate::snapshot;

fn shown(sandbox: &Sandbox, table: &str) -> Vec<Value> {
    let shown = sandbox.run(&["show", table, "--limit", "0", "--json"]).ok().json();
    shown["rows"].as_array().unwrap().clone()
}

fn by_key(rows: Vec<Value>, key: &str) -> BTreeMap<i64, Value> {
    let count = rows.len();
    let rows: BTreeMap<i64, Value> = rows.into_iter().map(|row| (row[key].as_i64().unwrap(), row)).collect();
    assert_eq!(rows.len(), count, "a key is there twice");
    rows
}

/// The table holds the rows of the source, with the same values in these columns.
fn assert_current(rows: Vec<Value>, truth: Vec<Value>, key: &str, columns: &[&str]) {
    let (rows, truth) = (by_key(rows, key), by_key(truth, key));
    assert!(rows.keys().eq(truth.keys()), "{:?}\n{:?}", rows.keys(), truth.keys());
    for (id, row) in &truth {
        for column in columns {
            assert_eq!(rows[id][column], row[column], "column {column} of {id}");
        }
    }
}

/// The records of each key follow each other without a gap, and the last of them is open; gives those.
fn assert_history(rows: Vec<Value>, key: &str) -> Vec<Value> {
    let mut timelines: BTreeMap<i64, Vec<Value>> = BTreeMap::new();
    for row in rows {
        timelines.entry(row[key].as_i64().unwrap()).or_default().push(row);
    }
    let mut current = Vec::new();
    for (id, mut records) in timelines {
        let start = |row: &Value| (row["__START_AT"].as_i64(), row["__START_AT"].to_string());
        records.sort_by_key(start);
        for pair in records.windows(2) {
            assert_eq!(pair[0]["__END_AT"], pair[1]["__START_AT"], "{key} {id}: {records:#?}");
        }
        let last = records.pop().unwrap();
        assert!(last["__END_AT"].is_null(), "{last:#}");
        current.push(last);
    }
    current
}

fn check(server: &ExampleServer, sandbox: &Sandbox) {
    let truth = |table: &str| server.truth(table).unwrap();
    assert_current(
        shown(sandbox, "orders"),
        truth("orders"),
        "id",
        &["customer_id", "status", "note", "express"],
    );

    let changes = shown(sandbox, "order_changes");
    let mut numbers: Vec<i64> = changes.iter().map(|row| row["__START_AT"].as_i64().unwrap()).collect();
    numbers.sort_unstable();
    assert!(numbers.iter().copied().eq(1..=numbers.len() as i64), "each change is a record, once");
    assert_current(
        assert_history(changes, "order_id"),
        truth("order_changes"),
        "order_id",
        &["seq", "status"],
    );

    let customers = assert_history(shown(sandbox, "customers"), "id");
    assert_current(customers, truth("customers"), "id", &["name", "email", "vip", "tags"]);
    assert_current(shown(sandbox, "events"), truth("events"), "id", &["kind", "visitor"]);
}

fn shop() -> (ExampleServer, Sandbox) {
    let options = ExampleOptions { steps: 300, ..ExampleOptions::default() };
    shop_project(options, &["orders", "~order_changes", "~customers", "events"])
}

#[test]
fn current_rows_and_histories_follow_the_shop_run_by_run() {
    let (server, sandbox) = shop();
    for _ in 0..4 {
        sandbox.run(&["run", "shop", "--quiet"]).ok();
        check(&server, &sandbox);
        server.advance(90);
    }
    // A run that finds nothing new writes nothing.
    sandbox.run(&["run", "shop", "--quiet"]).ok();
    let ran = sandbox.run(&["run", "shop", "--json"]).ok();
    let report = ran.json_lines().pop().unwrap()["report"].clone();
    assert_eq!(report["totals"]["rows_written"], 0, "{report:#}");
    check(&server, &sandbox);
    // The same, made anew.
    sandbox.run(&["run", "shop", "--quiet", "--full-refresh=orders", "--full-refresh=order_changes"]).ok();
    check(&server, &sandbox);
}

#[test]
fn deletions_have_an_offset_of_their_own_that_is_shown_set_and_reset() {
    let (server, sandbox) = shop();
    snapshot!("state_before", sandbox.run(&["state", "show", "shop", "orders"]).ok());
    let ran = sandbox.run(&["run", "shop", "--json"]).ok();
    let report = ran.json_lines().pop().unwrap()["report"].clone();
    let orders = report["flows"].as_array().unwrap().iter().find(|f| f["table"] == "orders").unwrap();
    assert_eq!(
        (&orders["flow"], &orders["deletes"]["flow"]),
        (&"shop.orders".into(), &"shop.orders.deletes".into())
    );
    assert!(orders["deletes"]["offset"]["since"].is_string(), "{orders:#}");
    assert!(orders["metrics"]["deletions_read"].as_u64().unwrap() > 5, "{orders:#}");

    let state = sandbox.run(&["state", "show", "shop", "orders", "--json"]).ok().json();
    let flows: Vec<&str> =
        state["flows"].as_array().unwrap().iter().map(|f| f["flow"].as_str().unwrap()).collect();
    assert_eq!(flows, ["shop.orders", "shop.orders.deletes"]);
    assert_eq!(state["flows"][1]["offset"], orders["deletes"]["offset"]);
    assert_eq!(state["flows"][1]["table"], "orders");
    snapshot!("plan", sandbox.run(&["plan", "shop", "-t", "orders"]).ok());

    snapshot!("reset_of_which", sandbox.run(&["state", "reset", "shop", "orders", "--yes"]).code(2));
    let reset = ["state", "reset", "shop", "orders", "--yes", "--flow", "shop.orders.deletes"];
    snapshot!("reset", sandbox.run(&reset).ok());
    server.advance(50);
    let ran = sandbox.run(&["run", "shop", "--json"]).ok();
    let again = ran.json_lines().pop().unwrap()["report"].clone();
    let again = again["flows"].as_array().unwrap().iter().find(|f| f["table"] == "orders").unwrap().clone();
    let read = |report: &Value| report["metrics"]["deletions_read"].as_u64().unwrap();
    assert!(read(&again) >= read(orders), "all deletions are read again: {again:#}");
    check(&server, &sandbox);
}

#[test]
fn the_timeline_of_a_key_is_shown_however_the_key_is_written() {
    let (server, sandbox) = shop();
    sandbox.run(&["run", "shop", "--quiet"]).ok();
    let mut counts: BTreeMap<i64, usize> = BTreeMap::new();
    for row in shown(&sandbox, "order_changes") {
        *counts.entry(row["order_id"].as_i64().unwrap()).or_default() += 1;
    }
    let (order, count) = counts.into_iter().max_by_key(|(order, count)| (*count, *order)).unwrap();
    snapshot!("timeline", sandbox.run(&["show", "order_changes", "--history", &order.to_string()]).ok());
    let object = format!("{{\"order_id\": {order}}}");
    for key in [order.to_string(), format!("order_id={order}"), format!("ORDER_ID = {order}"), object] {
        let shown = sandbox.run(&["show", "order_changes", "--json", "--history", &key]).ok().json();
        let rows = shown["rows"].as_array().unwrap();
        assert_eq!(rows.len(), count, "{shown:#}");
        assert!(rows.iter().all(|row| row["order_id"] == order));
        let starts: Vec<i64> = rows.iter().map(|row| row["__START_AT"].as_i64().unwrap()).collect();
        assert!(starts.is_sorted(), "{starts:?}");
    }
    snapshot!("timeline_of_nothing", sandbox.run(&["show", "order_changes", "--history", "1"]).ok());
    snapshot!("timeline_bad_value", sandbox.run(&["show", "order_changes", "--history", "abc"]).code(2));
    snapshot!("timeline_bad_json", sandbox.run(&["show", "order_changes", "--history", "{1"]).code(2));
    snapshot!(
        "timeline_bad_column",
        sandbox.run(&["show", "order_changes", "--history", r#"{"id":1}"#]).code(2)
    );
    snapshot!("timeline_of_current_rows", sandbox.run(&["show", "orders", "--history", "1"]).code(2));
    snapshot!("timeline_of_no_table", sandbox.run(&["show", "--history", "1"]).code(2));
    drop(server);
}

#[test]
fn a_key_of_two_columns_is_named_in_full() {
    let (_server, sandbox) =
        shop_project(ExampleOptions { steps: 20, ..ExampleOptions::default() }, &["~stock"]);
    sandbox.run(&["run", "shop", "--quiet"]).ok();
    let rows = shown(&sandbox, "stock");
    let (warehouse, sku) = (rows[0]["warehouse"].as_str().unwrap(), rows[0]["sku"].as_str().unwrap());
    let object = format!("{{\"sku\":\"{sku}\",\"warehouse\":\"{warehouse}\"}}");
    for key in [format!("warehouse={warehouse},sku={sku}"), object] {
        let shown = sandbox.run(&["show", "stock", "--json", "--history", &key]).ok().json();
        let found = shown["rows"].as_array().unwrap();
        assert_eq!(found.len(), 1, "{shown:#}");
        assert_eq!(found[0], rows[0]);
    }
    snapshot!(
        "timeline_half_a_key",
        sandbox.run(&["show", "stock", "--history", &format!("sku={sku}")]).code(2)
    );
    snapshot!("timeline_bare_key", sandbox.run(&["show", "stock", "--history", "1"]).code(2));
}

#[test]
fn variants_are_shown_as_json() {
    let (_server, sandbox) =
        shop_project(ExampleOptions { steps: 60, ..ExampleOptions::default() }, &["events"]);
    sandbox.run(&["run", "shop", "--quiet"]).ok();
    for arguments in [
        &["show", "events", "--limit", "0", "--json"][..],
        &["preview", "shop", "events", "--limit", "60", "--json"],
    ] {
        let shown = sandbox.run(arguments).ok().json();
        let payloads = shown["rows"].as_array().unwrap().iter().filter_map(|row| row["payload"].as_str());
        let parsed: Vec<Value> = payloads.map(|text| serde_json::from_str(text).unwrap()).collect();
        assert!(parsed.iter().any(Value::is_object), "{shown:#}");
    }
}
