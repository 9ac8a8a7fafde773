//! What agents may ask: the same of every connector, and a connector's own operations.

use std::io::Write;
use std::process::Stdio;

use headwater_source_example::ExampleOptions;
use serde_json::{Value, json};

use crate::harness::{Ran, Sandbox, shop_project};
use crate::python_support::connected;

fn ask(sandbox: &Sandbox, connection: &str, operation: &str, arguments: &Value) -> Ran {
    sandbox.run(&["agent", connection, operation, &arguments.to_string()])
}

fn operations(sandbox: &Sandbox, connection: &str) -> Vec<String> {
    let told = sandbox.run(&["agent", connection, "list_operations"]).ok().json();
    let operations = told["operations"].as_array().unwrap();
    for operation in operations {
        assert!(!operation["description"].as_str().unwrap().is_empty(), "{operation}");
        assert!(operation["parameters"].is_array(), "{operation}");
    }
    let mut names: Vec<String> =
        operations.iter().map(|operation| operation["name"].as_str().unwrap().to_owned()).collect();
    names.sort();
    names
}

/// The error, which is the last line on stderr.
fn told(refused: &Ran) -> Value {
    let last = refused.stderr.lines().last().unwrap_or_default();
    serde_json::from_str(last).unwrap_or_else(|e| panic!("{e}\n{refused}"))
}

const BUILT_IN: [&str; 5] =
    ["get_object_metadata", "list_objects", "list_operations", "read_table", "validate_connection"];

/// What every connector answers in the same shape.
fn check_common(sandbox: &Sandbox, connection: &str, table: &str, key: &str) {
    let objects = ask(sandbox, connection, "list_objects", &json!({})).ok().json();
    assert!(objects["tables"].as_array().unwrap().contains(&json!(table)), "{objects}");
    let metadata = ask(sandbox, connection, "get_object_metadata", &json!({"table": table})).ok().json();
    assert_eq!(metadata["primary_keys"], json!([key]), "{metadata}");
    assert_eq!(metadata["schema"]["type"], "struct", "{metadata}");
    assert!(metadata["ingestion_type"].is_string(), "{metadata}");
    let read = ask(sandbox, connection, "read_table", &json!({"table": table, "limit": 2})).ok().json();
    let rows = read["rows"].as_array().unwrap_or_else(|| panic!("{read}"));
    assert_eq!(rows.len(), 2, "{read}");
    assert!(rows[0][key].is_i64(), "{read}");
    assert_eq!(ask(sandbox, connection, "validate_connection", &json!({})).ok().json()["ok"], true);

    // Arguments come on stdin, too.
    let mut child = sandbox
        .command(&["agent", connection, "read_table", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let arguments = json!({"table": table, "limit": 1}).to_string();
    child.stdin.take().unwrap().write_all(arguments.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let read: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(read["rows"].as_array().unwrap().len(), 1, "{read}");

    for (operation, arguments, says) in [
        ("read_tables", json!({}), "read_table"),
        ("read_table", json!({}), "table"),
        ("read_table", json!({"table": table, "limit": 0}), "limit"),
        ("read_table", json!({"table": table, "limt": 1}), "limt"),
        ("get_object_metadata", json!({"table": 5}), "table"),
        ("get_object_metadata", json!({"table": "no_such_table"}), "no_such_table"),
        ("list_objects", json!([]), "object"),
    ] {
        let refused = ask(sandbox, connection, operation, &arguments);
        assert!(refused.code != 0 && refused.stdout.is_empty(), "{refused}");
        let error = told(&refused);
        assert!(error.to_string().contains(says), "{refused}");
    }
}

#[test]
fn an_agent_asks_the_shop() {
    let (_server, sandbox) =
        shop_project(ExampleOptions { steps: 50, ..ExampleOptions::default() }, &["events"]);
    assert_eq!(operations(&sandbox, "shop"), BUILT_IN);
    check_common(&sandbox, "shop", "events", "id");
}

#[test]
fn an_agent_asks_a_connector_in_python_and_uses_its_own_operations() {
    let sandbox = connected("agent_desk", &[]);
    let mut expected = vec!["refuse", "search"];
    expected.extend(BUILT_IN);
    expected.sort_unstable();
    assert_eq!(operations(&sandbox, "conn"), expected);
    check_common(&sandbox, "conn", "notes", "id");

    let found = ask(&sandbox, "conn", "search", &json!({"text": "note"})).ok().json();
    assert_eq!(
        found,
        json!({"notes": [{"id": 1, "title": "note 1"}, {"id": 2, "title": "note 2"}], "total": 7})
    );
    let found = ask(&sandbox, "conn", "search", &json!({"text": "5", "limit": 9})).ok().json();
    assert_eq!(found, json!({"notes": [{"id": 5, "title": "note 5"}], "total": 1}));

    let refused = ask(&sandbox, "conn", "refuse", &json!({}));
    assert!(refused.code != 0 && refused.stdout.is_empty(), "{refused}");
    let error = told(&refused);
    assert!(error.to_string().contains("nobody may do this"), "{refused}");
    assert!(error.to_string().contains("PERMISSION_DENIED"), "{refused}");
    // An argument that the operation does not take, and one that is missing.
    for (arguments, says) in [(json!({"txt": "x"}), "'txt'"), (json!({}), "'text'")] {
        let refused = ask(&sandbox, "conn", "search", &arguments);
        assert!(refused.code != 0 && refused.stderr.contains(says), "{refused}");
    }

    // An offset goes in and is read from there.
    let read = ask(&sandbox, "conn", "read_table", &json!({"table": "notes", "start_offset": {"after": 6}}))
        .ok()
        .json();
    assert_eq!(read["rows"], json!([{"id": 7, "title": "note 7"}]), "{read}");
}

#[test]
fn an_agent_walks_namespaces() {
    let sandbox = connected("branch_offices", &[]);
    let top = ask(&sandbox, "conn", "list_objects", &json!({})).ok().json();
    assert_eq!(top["namespaces"], json!([["oslo"], ["rome"], ["empty"]]), "{top}");
    let oslo = ask(&sandbox, "conn", "list_objects", &json!({"namespace": ["oslo"]})).ok().json();
    assert_eq!(oslo["namespaces"], json!([["oslo", "sales"], ["oslo", "it"]]), "{oslo}");
    assert_eq!(oslo["tables"], json!([]), "{oslo}");
    let sales = ask(&sandbox, "conn", "list_objects", &json!({"namespace": ["oslo", "sales"]})).ok().json();
    assert_eq!(sales["tables"], json!(["oslo_sales_deals", "oslo_sales_leads"]), "{sales}");
}
