//! Specs, names and places that are wrong: each is an error that says what, where and what to change.

use headwater_source_example::ExampleOptions;

use crate::harness::{Sandbox, finish, ids, shop_project};
use crate::snapshot;

fn project(spec: &str) -> Sandbox {
    let sandbox = Sandbox::with_settings("connections:\n  shop:\n    connector: example\n");
    sandbox.write("pipelines/p.yaml", spec);
    sandbox
}

#[test]
fn a_spec_that_is_wrong_is_explained_at_its_place() {
    let check = |name: &str, spec: &str| {
        let sandbox = project(spec);
        snapshot!(name, sandbox.run(&["run", "p"]).code(2));
        assert!(!sandbox.path().join("warehouse").exists(), "{name}");
        sandbox.run(&["validate"]).code(2);
    };
    check("broken_yaml", "connection_name: shop\nobjects: [\n");
    check("empty", "");
    check("unknown_field", "connection_name: shop\nobjects:\n  - table:\n      source_tabel: events\n");
    check("unknown_connection", "connection_name: shpo\nobjects:\n  - table: {source_table: events}\n");
    check(
        "unknown_option",
        "connection_name: shop\nobjects:\n  - table:\n      source_table: events\n      table_configuration: {page_sise: 5}\n",
    );
    check(
        "bad_scd_type",
        "connection_name: shop\nobjects:\n  - table:\n      source_table: events\n      table_configuration: {scd_type: SCD_3}\n",
    );
    check(
        "same_destination",
        "connection_name: shop\nobjects:\n  - table: {source_table: events}\n  - table: {source_table: orders, destination_table: events}\n",
    );
}

#[test]
fn validate_looks_at_every_spec() {
    let sandbox = project("connection_name: shop\nobjects: []\n");
    sandbox
        .write("pipelines/good.yaml", "connection_name: shop\nobjects:\n  - table: {source_table: events}\n");
    snapshot!("validate_all", sandbox.run(&["validate"]).code(2));
    let json = sandbox.run(&["validate", "--json"]).code(2).json();
    assert_eq!(json["specs"][0]["ok"], true, "{json:#}");
    assert_eq!(json["specs"][1]["ok"], false, "{json:#}");
}

#[test]
fn a_name_that_does_not_exist_gets_the_nearest_one() {
    let (_server, sandbox) = shop_project(ExampleOptions::default(), &["events"]);
    snapshot!("unknown_spec", sandbox.run(&["run", "shopp"]).code(2));
    snapshot!("unknown_table_of_pipeline", sandbox.run(&["run", "shop", "--table", "event"]).code(2));
    snapshot!("unknown_refresh", sandbox.run(&["run", "shop", "--full-refresh=orders"]).code(2));
    snapshot!("unknown_source_table", sandbox.run(&["columns", "shop", "custmers"]).code(2));
    snapshot!("unknown_preview_option", sandbox.run(&["preview", "shop", "events", "-o", "page=1"]).code(2));
    snapshot!("show_empty", sandbox.run(&["show"]).ok());
    snapshot!("show_unknown_in_empty", sandbox.run(&["show", "events"]).code(2));
    sandbox.run(&["run", "shop", "--quiet"]).ok();
    snapshot!("show_unknown", sandbox.run(&["show", "evnets"]).code(2));
    snapshot!("show_unknown_column", sandbox.run(&["show", "events", "--columns", "idd"]).code(2));
    snapshot!("optimize_unknown", sandbox.run(&["optimize", "main.shop.evnts"]).code(2));
}

#[test]
fn what_only_the_source_can_tell_of_a_spec_has_its_place_too() {
    let sandbox = project(
        "connection_name: shop\nobjects:\n  - table:\n      source_schema: eu\n      source_table: events\n",
    );
    sandbox.run(&["validate"]).ok();
    snapshot!("namespace_of_a_source_without", sandbox.run(&["plan", "p"]).code(2));
    sandbox.run(&["run", "p"]).code(2);
    assert!(!sandbox.path().join("warehouse/main/p/events").exists());
}

#[test]
fn a_table_that_the_source_does_not_have_fails_alone() {
    let (_server, sandbox) =
        shop_project(ExampleOptions { steps: 20, ..ExampleOptions::default() }, &["events", "evnets"]);
    snapshot!("one_table_fails", sandbox.run(&["run", "shop", "-q"]).code(1));
    assert_eq!(ids(&sandbox, "shop.events", "id").len(), 20);
    snapshot!("plan_with_one_that_fails", sandbox.run(&["plan", "shop"]).code(1));
}

#[test]
fn settings_of_keys_and_history_that_do_not_fit_the_table_are_explained() {
    let check = |name: &str, configuration: &str| {
        let (_server, sandbox) =
            shop_project(ExampleOptions { steps: 20, ..ExampleOptions::default() }, &["orders"]);
        let table = format!(
            "  - table:\n      source_table: orders\n      table_configuration: {{{configuration}}}\n"
        );
        sandbox.write("pipelines/shop.yaml", &format!("connection_name: shop\nobjects:\n{table}"));
        snapshot!(name, sandbox.run(&["run", "shop", "-q"]).code(1));
        assert!(!sandbox.path().join("warehouse/main/shop/orders").exists(), "{name}");
    };
    check("cdc_tracks_unknown", "scd_type: SCD_TYPE_2, track_history_columns: [stauts]");
    check("cdc_tracks_key", "scd_type: SCD_TYPE_2, track_history_except_columns: [ID]");
    check("cdc_sequence_unknown", "sequence_by: update_at");
    check("cdc_sequence_in_list", "sequence_by: lines.quantity");
    check("cdc_key_unknown", "primary_keys: [order_id]");
}

#[test]
fn errors_are_json_for_programs() {
    let sandbox = project("connection_name: shop\nobjects:\n  - table: {source_tabel: x}\n");
    let ran = sandbox.run(&["run", "p", "--json"]).code(2);
    assert_eq!(ran.stdout, "");
    let error: serde_json::Value = serde_json::from_str(&ran.stderr).unwrap();
    assert_eq!(error["exit_code"], 2);
    assert_eq!(error["errors"][0]["place"]["line"], 3, "{error:#}");
}

#[test]
fn a_source_that_is_not_there_is_the_sources_fault() {
    let sandbox = Sandbox::with_settings(
        "connections:\n  shop:\n    connector: example\n    options: {base_url: http://127.0.0.1:9}\n",
    );
    let ran = sandbox.run(&["connection", "test", "shop"]).code(3);
    assert!(ran.stderr.contains("caused by:"), "{ran}");
}

#[test]
fn the_memory_setting_must_be_a_size() {
    let sandbox = Sandbox::with_settings("memory: lots\nconnections:\n  shop:\n    connector: example\n");
    sandbox.write("pipelines/p.yaml", "connection_name: shop\nobjects:\n  - table: {source_table: events}\n");
    snapshot!("bad_memory_setting", sandbox.run(&["run", "p"]).code(2));
}

#[test]
fn settings_of_upkeep_are_checked_before_anything_is_written() {
    let sandbox = Sandbox::project();
    let settings = sandbox.read("headwater.yaml");
    let with = |line: &str| sandbox.write("headwater.yaml", &format!("{line}\n{settings}"));
    with("auto_optimize: sometimes");
    let ran = sandbox.run(&["run", "example"]).code(2);
    assert!(ran.stderr.contains("headwater.yaml:1:16") && ran.stderr.contains("sometimes"), "{ran}");
    with("temp_folder: headwater.yaml/tmp");
    let ran = sandbox.run(&["run", "example"]).code(2);
    assert!(ran.stderr.contains("headwater.yaml:1:14") && ran.stderr.contains("cannot be used"), "{ran}");
    assert!(!sandbox.path().join("warehouse").exists());
    with("auto_optimize: false\ntemp_folder: scratch/deep");
    sandbox.run(&["run", "example", "--table", "products"]).ok();
    assert!(sandbox.path().join("scratch/deep").is_dir());
}

#[test]
fn two_runs_at_once_on_one_table_leave_each_row_once() {
    let options = ExampleOptions {
        steps: 1000,
        latency: std::time::Duration::from_millis(10),
        ..ExampleOptions::default()
    };
    let (_server, sandbox) = shop_project(options, &["events"]);
    let arguments = ["run", "shop", "--quiet", "--commit-every", "0s"];
    let runs: Vec<_> = (0..2)
        .map(|_| sandbox.start(&arguments))
        .map(|child| std::thread::spawn(move || finish(child)))
        .collect();
    let outcome = |(code, _, stderr): (i32, String, String)| match code {
        0 => "read to the end",
        // The one that lost says that it did, and what to do.
        1 if stderr.contains("another process has moved flow `shop.events`")
            && stderr.contains("run it again, it goes on where the other ended") =>
        {
            "overtaken"
        }
        other => panic!("exit code {other}\n{stderr}"),
    };
    let mut outcomes: Vec<&str> = runs.into_iter().map(|run| outcome(run.join().unwrap())).collect();
    outcomes.sort_unstable();
    let allowed = [["overtaken", "read to the end"], ["read to the end", "read to the end"]];
    assert!(allowed.iter().any(|allowed| outcomes == allowed), "{outcomes:?}");
    assert_eq!(ids(&sandbox, "shop.events", "id"), (1..=1000).collect::<Vec<i64>>());
}
