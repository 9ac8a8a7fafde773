//! A user's first day, from an empty folder to tables that are looked after.

use headwater_source_example::{ExampleOptions, ExampleServer};
use serde_json::Value;

use crate::harness::{Sandbox, ids, shop_project};
use crate::snapshot;

#[test]
fn from_init_to_history() {
    let server = ExampleServer::start(ExampleOptions { steps: 400, ..ExampleOptions::default() }).unwrap();
    let sandbox = Sandbox::project();
    let add = [
        "connection",
        "add",
        "store",
        "--connector",
        "example",
        "--option",
        &format!("base_url={}", server.base_url()),
    ];
    snapshot!("1_add", sandbox.run(&add).ok());
    snapshot!("2_test", sandbox.run(&["connection", "test", "store"]).ok());
    snapshot!("3_tables", sandbox.run(&["tables", "store"]).ok());
    snapshot!("4_columns", sandbox.run(&["columns", "store", "events"]).ok());
    snapshot!("5_preview", sandbox.run(&["preview", "store", "order_changes", "--limit", "3"]).ok());

    let spec =
        sandbox.read("pipelines/example.yaml").replace("connection_name: shop", "connection_name: store");
    sandbox.write("pipelines/example.yaml", &spec);
    snapshot!("6_validate", sandbox.run(&["validate"]).ok());
    snapshot!("7_plan", sandbox.run(&["plan", "example"]).ok());
    snapshot!("8_run", sandbox.run(&["run", "pipelines/example.yaml"]).ok().stdout);
    let first = ids(&sandbox, "example.events", "id");
    assert_eq!(first, (1..=400).collect::<Vec<i64>>());

    // Nothing new: nothing is written, and no version is made but one that says how far `orders` were asked for.
    // (They are asked for by time, from the second of the last one on, so that some come twice.)
    let before = versions(&sandbox);
    snapshot!("9_run_again", sandbox.run(&["run", "example"]).ok().stdout);
    assert_eq!(versions(&sandbox), before);

    // Only what is new.
    server.advance(50);
    let ran = sandbox.run(&["run", "example", "--json"]).ok();
    let report = ran.json_lines().pop().unwrap()["report"].clone();
    let events = report["flows"].as_array().unwrap().iter().find(|f| f["table"] == "events").unwrap();
    assert_eq!(events["metrics"]["records_read"], 50, "{report:#}");
    assert_eq!(events["metrics"]["rows_written"], 50, "{report:#}");
    assert_eq!(ids(&sandbox, "example.events", "id"), (1..=450).collect::<Vec<i64>>());

    snapshot!("a_show", sandbox.run(&["show"]).ok());
    snapshot!(
        "b_show_rows",
        sandbox.run(&["show", "events", "--limit", "3", "--columns", "id,at,kind"]).ok()
    );
    snapshot!("c_history", sandbox.run(&["show", "main.example.events", "--history"]).ok());
    snapshot!("d_state", sandbox.run(&["state", "show", "example"]).ok());

    // The version before can be read as long as its files are there.
    sandbox.run(&["show", "customers", "--version", "0", "--json"]).ok();
    snapshot!("g_show_future", sandbox.run(&["show", "customers", "--version", "99"]).code(2));
}

#[test]
fn a_table_is_optimized_and_vacuumed_and_keeps_its_rows() {
    let (server, sandbox) =
        shop_project(ExampleOptions { steps: 400, ..ExampleOptions::default() }, &["events"]);
    sandbox.run(&["run", "shop", "--quiet"]).ok();
    server.advance(50);
    sandbox.run(&["run", "shop", "--quiet"]).ok();
    let optimized = sandbox.run(&["optimize", "events", "--json"]).ok().json();
    assert_eq!(optimized["tables"][0]["files_added"], 1, "{optimized:#}");
    assert_eq!(ids(&sandbox, "shop.events", "id"), (1..=450).collect::<Vec<i64>>());
    snapshot!("optimize_again", sandbox.run(&["optimize", "events"]).ok());
    snapshot!("vacuum", sandbox.run(&["vacuum", "events"]).ok());
    // What readers of older versions may still need is not taken away.
    snapshot!("vacuum_too_soon", sandbox.run(&["vacuum", "events", "--retention", "0s"]).code(2));
    assert_eq!(ids(&sandbox, "shop.events", "id"), (1..=450).collect::<Vec<i64>>());
}

fn versions(sandbox: &Sandbox) -> Vec<Value> {
    let shown = sandbox.run(&["show", "--json"]).ok().json();
    let tables = shown["tables"].as_array().unwrap();
    let data = tables.iter().filter(|t| {
        !["main.example.event_log", "main.example.orders"].contains(&t["table"].as_str().unwrap())
    });
    data.map(|t| serde_json::json!([t["table"], t["version"]])).collect()
}

#[test]
fn offsets_can_be_shown_set_and_reset() {
    let (server, sandbox) =
        shop_project(ExampleOptions { steps: 100, ..ExampleOptions::default() }, &["events"]);
    snapshot!("state_before", sandbox.run(&["state", "show", "shop"]).ok());
    snapshot!(
        "state_set_too_early",
        sandbox.run(&["state", "set", "shop", "events", "--offset", "{}", "--yes"]).code(2)
    );
    sandbox.run(&["run", "shop"]).ok();
    let state = sandbox.run(&["state", "show", "shop", "events", "--json"]).ok().json();
    let offset = state["flows"][0]["offset"].clone();
    assert!(offset.is_object(), "{state:#}");

    let exact = r#"{"n":123456789012345678901234567890,"f":0.1000000000000000055}"#;
    let set = sandbox.run(&["state", "set", "shop", "events", "--offset", exact, "--yes", "--json"]).ok();
    let shown = sandbox.run(&["state", "show", "shop", "events", "--json"]).ok();
    for told in [&set.stdout, &shown.stdout] {
        assert!(told.contains("123456789012345678901234567890"), "{told}");
        assert!(told.contains("0.1000000000000000055"), "{told}");
    }
    let before = offset.to_string();
    sandbox.run(&["state", "set", "shop", "events", "--offset", &before, "--yes"]).ok();

    snapshot!(
        "state_set_nonsense",
        sandbox.run(&["state", "set", "shop", "events", "--offset", "{after:1}", "--yes"]).code(2)
    );
    snapshot!(
        "state_set_number",
        sandbox.run(&["state", "set", "shop", "events", "--offset", "12", "--yes"]).code(2)
    );
    snapshot!(
        "state_set_without_yes",
        sandbox.run(&["state", "set", "shop", "events", "--offset", "{}"]).code(2)
    );
    snapshot!("state_unknown_table", sandbox.run(&["state", "reset", "shop", "evnets", "--yes"]).code(2));
    assert_eq!(
        sandbox.run(&["state", "show", "shop", "events", "--json"]).ok().json()["flows"][0]["offset"],
        offset
    );

    // An offset that no connector made stops the flow instead of reading from the start.
    sandbox.run(&["state", "set", "shop", "events", "--offset", r#"{"nonsense":true}"#, "--yes"]).ok();
    snapshot!("run_from_nonsense", sandbox.run(&["run", "shop", "--quiet"]).code(1));

    sandbox.run(&["state", "set", "shop", "events", "--offset", &offset.to_string(), "--yes"]).ok();
    sandbox.run(&["run", "shop"]).ok();
    assert_eq!(ids(&sandbox, "shop.events", "id"), (1..=100).collect::<Vec<i64>>());

    // A reset reads from the start, and appends again, as the warning says.
    let reset = sandbox.run(&["state", "reset", "shop", "events", "--yes"]).ok();
    assert!(reset.stderr.contains("--full-refresh=events"), "{reset}");
    server.advance(1);
    sandbox.run(&["run", "shop"]).ok();
    assert_eq!(ids(&sandbox, "shop.events", "id").len(), 201);
    // A full refresh makes it right.
    sandbox.run(&["run", "shop", "--full-refresh=events"]).ok();
    assert_eq!(ids(&sandbox, "shop.events", "id"), (1..=101).collect::<Vec<i64>>());
}

#[test]
fn the_demo_shows_tables_and_leaves_nothing_behind() {
    let mut sandbox = Sandbox::empty();
    let temporary = sandbox.path().join("tmp");
    std::fs::create_dir(&temporary).unwrap();
    sandbox.env("TMPDIR", temporary.to_str().unwrap());
    let ran = sandbox.run(&["demo"]).ok();
    for table in ["customers", "events", "order_changes", "event_log"] {
        assert!(ran.stdout.contains(&format!("main.example.{table}")), "{ran}");
    }
    for word in ["snapshot", "cdc ", "cdc_with_deletes", "append", "SCD_TYPE_1", "SCD_TYPE_2", "__START_AT"] {
        assert!(ran.stdout.contains(word), "{word}\n{ran}");
    }
    assert_eq!(std::fs::read_dir(&temporary).unwrap().count(), 0);
    let kept = sandbox.run(&["demo", "lake"]).ok();
    assert!(sandbox.path().join("lake/warehouse/main/example/events/_delta_log").is_dir(), "{kept}");
}

#[test]
fn the_project_of_init_runs_as_it_is() {
    let sandbox = Sandbox::project();
    sandbox.run(&["run", "example", "--quiet"]).ok();
    let first = ids(&sandbox, "example.events", "id");
    assert_eq!(first, (1..=first.len() as i64).collect::<Vec<i64>>());
    sandbox.run(&["run", "example", "--quiet"]).ok();
    let second = ids(&sandbox, "example.events", "id");
    assert_eq!(second, (1..=second.len() as i64).collect::<Vec<i64>>());
}

#[test]
fn a_reader_that_goes_away_ends_the_command_quietly() {
    let (_server, sandbox) =
        shop_project(ExampleOptions { steps: 3000, ..ExampleOptions::default() }, &["events"]);
    sandbox.run(&["run", "shop", "--quiet"]).ok();
    let script = format!("{} show events --limit 0 --json | head -c 10", env!("CARGO_BIN_EXE_headwater"));
    let output =
        std::process::Command::new("sh").args(["-c", &script]).current_dir(sandbox.path()).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert_eq!(output.stdout.len(), 10);
}
