//! A simulated GitHub, read by the command into tables.

use std::collections::BTreeMap;
use std::path::Path;

use headwater_testkit::simulator::{Description, Settings, Simulator};
use serde_json::{Value, json};

use crate::harness::Sandbox;
use crate::python_support::flows;

const TABLES: [&str; 17] = [
    "repositories",
    "issues",
    "pull_requests",
    "reviews",
    "issue_comments",
    "review_comments",
    "commits",
    "branches",
    "assignees",
    "collaborators",
    "organizations",
    "teams",
    "users",
    "releases",
    "tags",
    "milestones",
    "workflow_runs",
];

fn github() -> Simulator {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../sources/github/simulator");
    Simulator::start(Description::load(&folder).unwrap(), Settings::default()).unwrap()
}

fn project(site: &Simulator) -> Sandbox {
    let mut sandbox = Sandbox::with_settings(&format!(
        "connections:\n  github:\n    connector: github\n    options:\n      base_url: {}\n      token: env:TOKEN\n      \
         owner: oxbow-x\n",
        site.base_url()
    ));
    sandbox.env("TOKEN", "ghp_invented0123456789abcdefghijklmnop");
    let objects: Vec<Value> = TABLES
        .iter()
        .map(|table| {
            let options = match *table {
                "organizations" => json!({"org": "*"}),
                "issues" => json!({"scd_type": "SCD_TYPE_2"}),
                _ => json!({}),
            };
            json!({"table": {"source_table": table, "table_configuration": options}})
        })
        .collect();
    let spec = json!({"connection_name": "github", "objects": objects});
    sandbox.write("pipelines/github.yaml", &spec.to_string());
    sandbox
}

fn shown(sandbox: &Sandbox, table: &str) -> Vec<Value> {
    let shown = sandbox.run(&["show", table, "--limit", "0", "--json"]).ok().json();
    shown["rows"].as_array().unwrap().clone()
}

/// The records of each table that a run read.
fn read(sandbox: &Sandbox) -> BTreeMap<String, u64> {
    let ran = sandbox.run(&["run", "github", "--json"]).ok();
    let count = |flow: &Value| flow["metrics"]["records_read"].as_u64().unwrap();
    flows(&ran).iter().map(|(table, flow)| (table.clone(), count(flow))).collect()
}

#[test]
fn all_tables_of_all_repositories_arrive_and_stay_up_to_date() {
    let site = github();
    let control = site.control();
    let sandbox = project(&site);
    read(&sandbox);
    for table in TABLES {
        let records = control.records(table).unwrap();
        assert_eq!(shown(&sandbox, table).len(), records.len(), "{table}");
    }
    let issues = shown(&sandbox, "issues");
    let large = issues.iter().find(|issue| issue["number"] == 222).unwrap();
    assert_eq!(large["id"], json!(9_007_199_254_740_993_i64));
    assert_eq!((&large["owner"], &large["repo"]), (&json!("oxbow-x"), &json!("kit")));
    assert!(issues.iter().any(|issue| issue["user"].is_null()), "accounts that are gone are null");

    // Nothing new: only what is read whole is read.
    let again = read(&sandbox);
    for table in ["issues", "pull_requests", "reviews", "issue_comments", "review_comments", "commits"] {
        assert_eq!(again.get(table).copied().unwrap_or_default(), 0, "{table}: {again:?}");
    }

    let change = json!({"updated_at": "2025-08-01T00:00:00Z", "state": "closed", "closed_by": null});
    assert_eq!(control.update("issues", "number", &json!(221), &change).unwrap(), 1);
    control.delete("tags", "name", &json!("v0.7.0")).unwrap();
    read(&sandbox);
    let versions: Vec<Value> = shown(&sandbox, "issues").into_iter().filter(|i| i["number"] == 221).collect();
    assert_eq!(versions.len(), 2, "{versions:#?}");
    let current = versions.iter().find(|version| version["__END_AT"].is_null()).unwrap();
    assert_eq!(current["state"], "closed");
    assert!(shown(&sandbox, "tags").iter().all(|tag| tag["name"] != "v0.7.0"));
}
