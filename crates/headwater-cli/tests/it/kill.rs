//! Nothing is lost and nothing comes twice, whenever the process is killed.
//!
//! A shop that grows is read by one process after another, each killed (SIGKILL) at a random instant of its life.
//! Then one run is left alone, and the table is compared with the shop row by row.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use headwater_source_example::{ExampleOptions, ExampleServer};
use serde_json::Value;

use crate::harness::{Sandbox, shop_project};

/// Kills of each table: more than 200 in all.
const KILLS: usize = 45;

pub(crate) struct Dice(u64);

impl Dice {
    /// Random, or from `HEADWATER_KILL_SEED` to repeat a run.
    pub(crate) fn new() -> Self {
        let given = std::env::vars().find(|(name, _)| name == "HEADWATER_KILL_SEED");
        let seed = given
            .map_or_else(|| RandomState::new().build_hasher().finish(), |(_, seed)| seed.parse().unwrap());
        println!("HEADWATER_KILL_SEED={seed}");
        Dice(seed | 1)
    }

    /// From 0 (inclusive) to `limit`.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.roll();
        usize::try_from(self.0 >> 11).unwrap() % limit
    }

    /// From 0 (inclusive) to 1.
    pub(crate) fn roll(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }
}

const RUN: [&str; 5] = ["run", "shop", "--quiet", "--commit-every", "0s"];

/// Starts a run, waits, kills it; says whether it had ended by itself.
fn run_and_kill(sandbox: &Sandbox, after: Duration) -> bool {
    let mut child = sandbox.command(&RUN).spawn().unwrap();
    // Waiting for the instant is the test.
    let (_nobody, never) = mpsc::channel::<()>();
    assert_eq!(never.recv_timeout(after), Err(mpsc::RecvTimeoutError::Timeout));
    let ended = child.try_wait().unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    match ended {
        None => false,
        Some(status) => {
            assert!(status.success(), "a run that was not killed failed: {status}");
            true
        }
    }
}

#[allow(clippy::disallowed_methods, reason = "measures how long a real process lives")]
pub(crate) fn length_of(work: impl FnOnce()) -> Duration {
    let started_at = Instant::now();
    work();
    started_at.elapsed()
}

/// Kills runs of a table at random instants while its shop grows; `check` looks at the table now and then.
fn storm(server: &ExampleServer, sandbox: &Sandbox, growth: u64, mut check: impl FnMut()) {
    let mut dice = Dice::new();
    let full = length_of(|| drop(sandbox.run(&RUN).ok()));
    let (mut ended, mut killed) = (0, 0);
    while killed < KILLS {
        server.advance(growth);
        // Some go to the end, so that ends are among the instants; a run with more to read takes longer.
        if run_and_kill(sandbox, full.mul_f64(dice.roll() * 1.1)) {
            ended += 1;
        } else {
            killed += 1;
        }
        if (ended + killed) % 20 == 0 {
            check();
        }
        assert!(ended < 10 * KILLS, "no run lives long enough to be killed");
    }
    println!("{killed} killed, {ended} had ended, a full run takes {full:?}");
    sandbox.run(&RUN).ok();
}

/// The rows of a table, by key.
fn rows(sandbox: &Sandbox, table: &str, key: &str) -> BTreeMap<i64, Value> {
    let shown = sandbox.run(&["show", table, "--limit", "0", "--json"]).ok().json();
    by_key(shown["rows"].as_array().unwrap().clone(), key)
}

fn by_key(rows: Vec<Value>, key: &str) -> BTreeMap<i64, Value> {
    let count = rows.len();
    let rows: BTreeMap<i64, Value> = rows.into_iter().map(|row| (row[key].as_i64().unwrap(), row)).collect();
    assert_eq!(rows.len(), count, "a row is there twice");
    rows
}

/// Every value of the source is in the table, as far as both write it the same way.
fn assert_same(table: &BTreeMap<i64, Value>, truth: &BTreeMap<i64, Value>, columns: &[&str]) {
    let keys = |rows: &BTreeMap<i64, Value>| rows.keys().copied().collect::<Vec<_>>();
    assert_eq!(keys(table), keys(truth));
    for (key, row) in truth {
        for column in columns {
            assert_eq!(table[key][column], row[column], "column {column} of row {key}");
        }
    }
}

#[test]
fn an_append_table_survives_being_killed_at_any_instant() {
    let options = ExampleOptions { steps: 500, ..ExampleOptions::default() };
    let (server, sandbox) = shop_project(options, &["events"]);
    storm(&server, &sandbox, 60, || {
        if sandbox.path().join("warehouse/main/shop/events/_delta_log").exists() {
            let part = rows(&sandbox, "shop.events", "id");
            // In order from the first, whatever was killed.
            assert!(part.keys().copied().eq(1..=part.len() as i64));
        }
    });
    let truth = by_key(server.truth("events").unwrap(), "id");
    assert_same(
        &rows(&sandbox, "shop.events", "id"),
        &truth,
        &["id", "kind", "visitor", "customer_id", "path"],
    );
}

#[test]
fn a_stream_of_many_commits_survives_being_killed_at_any_instant() {
    let options = ExampleOptions { steps: 500, ..ExampleOptions::default() };
    let (server, sandbox) = shop_project(options, &["+order_changes"]);
    storm(&server, &sandbox, 400, || {
        if sandbox.path().join("warehouse/main/shop/order_changes/_delta_log").exists() {
            let part = rows(&sandbox, "shop.order_changes", "seq");
            assert!(part.keys().copied().eq(1..=part.len() as i64));
        }
    });
    let table = rows(&sandbox, "shop.order_changes", "seq");
    // The shop tells the last change of each order; all changes before are numbered without gaps.
    let truth = by_key(server.truth("order_changes").unwrap(), "seq");
    assert!(table.keys().copied().eq(1..=*truth.keys().last().unwrap()));
    for (seq, change) in &truth {
        for column in ["order_id", "status"] {
            assert_eq!(table[seq][column], change[column], "column {column} of change {seq}");
        }
    }
}

#[test]
fn a_snapshot_table_survives_being_killed_at_any_instant() {
    let options = ExampleOptions { steps: 500, ..ExampleOptions::default() };
    let (server, sandbox) = shop_project(options, &["customers"]);
    let mut most = 0;
    storm(&server, &sandbox, 60, || {
        let part = rows(&sandbox, "shop.customers", "id");
        // Customers only become more: a snapshot that was replaced by an older or a partial one would have fewer.
        assert!(part.len() >= most && part.keys().copied().eq(1..=part.len() as i64));
        most = part.len();
    });
    let truth = by_key(server.truth("customers").unwrap(), "id");
    assert_same(&rows(&sandbox, "shop.customers", "id"), &truth, &["id", "name", "email", "vip", "tags"]);
}

#[test]
fn current_rows_with_deletions_survive_being_killed_at_any_instant() {
    let options = ExampleOptions { steps: 500, ..ExampleOptions::default() };
    let (server, sandbox) = shop_project(options, &["orders"]);
    storm(&server, &sandbox, 60, || {
        if sandbox.path().join("warehouse/main/shop/orders/_delta_log").exists() {
            // No key is there twice.
            rows(&sandbox, "shop.orders", "id");
        }
    });
    let truth = by_key(server.truth("orders").unwrap(), "id");
    assert_same(
        &rows(&sandbox, "shop.orders", "id"),
        &truth,
        &["id", "customer_id", "status", "express", "note"],
    );
}

#[test]
fn a_history_survives_being_killed_at_any_instant() {
    let options = ExampleOptions { steps: 500, ..ExampleOptions::default() };
    let (server, sandbox) = shop_project(options, &["~order_changes"]);
    storm(&server, &sandbox, 60, || {
        if sandbox.path().join("warehouse/main/shop/order_changes/_delta_log").exists() {
            let part = rows(&sandbox, "shop.order_changes", "__START_AT");
            assert!(part.keys().copied().eq(1..=part.len() as i64));
        }
    });
    let table = rows(&sandbox, "shop.order_changes", "__START_AT");
    let truth = by_key(server.truth("order_changes").unwrap(), "seq");
    assert!(table.keys().copied().eq(1..=*truth.keys().last().unwrap()));
    let open: BTreeMap<i64, Value> = table.into_iter().filter(|(_, row)| row["__END_AT"].is_null()).collect();
    assert_same(&open, &truth, &["order_id", "status"]);
}
