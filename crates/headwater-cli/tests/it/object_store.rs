//! A warehouse in an object store: the settings of a project, upkeep, and what is said when the store refuses.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use headwater_source_example::{ExampleOptions, ExampleServer};
use serde_json::Value;

use crate::harness::{ids, project_for};

/// A server of `testing/s3.py` with the bucket `lake`; it ends when its stdin closes, with this value.
struct Store {
    port: u64,
    process: Child,
}

impl Store {
    fn start() -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testing/s3.py");
        let python = readers_python();
        assert!(python.is_file(), "{} is missing: run testing/setup-readers.sh", python.display());
        let mut process = Command::new(python)
            .arg(script)
            .args(["--bucket", "lake"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let said: Value = serde_json::from_str(&line).unwrap();
        Self { port: said["port"].as_u64().unwrap(), process }
    }

    /// What `headwater.yaml` says of a warehouse there.
    fn settings(&self, warehouse: &str) -> String {
        format!(
            "warehouse: {warehouse}\nstorage:\n  endpoint: http://127.0.0.1:{}\n  region: us-east-1\n  \
             allow_http: \"true\"\n  access_key_id: tests\n  secret_access_key: env:STORE_SECRET\n",
            self.port
        )
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        let _ended = self.process.wait();
    }
}

/// The Python of the environment that `testing/setup-readers.sh` makes, found by the same rule.
pub(crate) fn readers_python() -> PathBuf {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let home = || set("HOME").unwrap().join(".cache");
    let cache = set("HEADWATER_TEST_CACHE")
        .unwrap_or_else(|| set("XDG_CACHE_HOME").unwrap_or_else(home).join("headwater"));
    cache.join("readers-venv/bin/python")
}

#[test]
fn a_warehouse_in_an_object_store_is_filled_and_looked_after() {
    let store = Store::start();
    let shop = ExampleServer::start(ExampleOptions { steps: 200, ..ExampleOptions::default() }).unwrap();
    let mut sandbox = project_for(&shop.base_url(), &["events", "orders", "~customers"]);
    let connections = sandbox.read("headwater.yaml");
    let settings = |warehouse: &str| store.settings(warehouse) + &connections;
    sandbox.write("headwater.yaml", &settings("s3://lake/tables"));

    let unset = sandbox.run(&["run", "shop"]).code(2);
    assert!(unset.stderr.contains("environment variable `STORE_SECRET` is not set"), "{unset}");

    sandbox.env("STORE_SECRET", "correct horse");
    sandbox.run(&["run", "shop"]).ok();
    assert_eq!(ids(&sandbox, "events", "id"), (1..=200).collect::<Vec<i64>>());
    shop.advance(100);
    sandbox.run(&["run", "shop"]).ok();
    assert_eq!(ids(&sandbox, "events", "id"), (1..=300).collect::<Vec<i64>>());
    let orders = ids(&sandbox, "orders", "id");

    sandbox.run(&["optimize", "--all"]).ok();
    sandbox.run(&["vacuum", "--all"]).ok();
    assert_eq!(ids(&sandbox, "orders", "id"), orders);
    assert!(!sandbox.path().join("warehouse").exists(), "a folder was made beside the object store");

    sandbox.write("headwater.yaml", &settings("s3://no-such-bucket/tables"));
    let missing = sandbox.run(&["run", "shop"]).code(1);
    assert!(missing.stderr.contains("hint: make the bucket"), "{missing}");
    assert!(!missing.stderr.contains("correct horse"), "{missing}");
}
