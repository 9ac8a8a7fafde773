//! Ctrl-C and SIGTERM: in good order at first, at once the second time.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command};
use std::time::Duration;

use headwater_source_example::{ExampleOptions, ExampleServer};

use crate::faults::RawServer;
use crate::harness::{ids, project_for, shop_project};

fn send(signal: &str, child: &Child) {
    assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
}

/// Reads events until one says that the flow is running.
fn wait_until_running(child: &mut Child) -> BufReader<std::process::ChildStdout> {
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    loop {
        let mut line = String::new();
        assert_ne!(stdout.read_line(&mut line).unwrap(), 0, "the run ended before it was running");
        let event: serde_json::Value = serde_json::from_str(&line).unwrap();
        if event["event"] == "flow_status" && event["status"] == "RUNNING" {
            return stdout;
        }
    }
}

/// Waits for the first commit.
fn wait_for_file(path: &std::path::Path) {
    let (_nobody, never) = std::sync::mpsc::channel::<()>();
    for _ in 0..6000 {
        if path.exists() {
            return;
        }
        never.recv_timeout(Duration::from_millis(5)).unwrap_err();
    }
    panic!("{} did not appear", path.display());
}

fn rest(mut child: Child, mut stdout: impl Read) -> (Option<i32>, String, String) {
    let (mut out, mut err) = (String::new(), String::new());
    stdout.read_to_string(&mut out).unwrap();
    child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
    (child.wait().unwrap().code(), out, err)
}

/// The number of the last change of an order.
fn last_change(server: &ExampleServer) -> i64 {
    let changes = server.truth("order_changes").unwrap();
    changes.iter().map(|change| change["seq"].as_i64().unwrap()).max().unwrap()
}

#[test]
fn the_first_signal_ends_at_a_safe_point_and_the_next_run_goes_on() {
    for signal in ["-INT", "-TERM"] {
        let options =
            ExampleOptions { steps: 1500, latency: Duration::from_millis(40), ..ExampleOptions::default() };
        let (server, sandbox) = shop_project(options, &["+order_changes"]);
        let mut child = sandbox.start(&["run", "shop", "--json", "--commit-every", "0s"]);
        let stdout = wait_until_running(&mut child);
        wait_for_file(
            &sandbox.path().join("warehouse/main/shop/order_changes/_delta_log/00000000000000000000.json"),
        );
        send(signal, &child);
        let (code, out, err) = rest(child, stdout);
        assert_eq!(code, Some(130), "{signal}\n{err}");
        assert!(err.contains("ending at the next safe point"), "{err}");
        let report: serde_json::Value = serde_json::from_str(out.lines().last().unwrap()).unwrap();
        assert_eq!(report["report"]["state"], "CANCELED", "{report:#}");

        // What is there is a beginning without gaps; the next run adds the rest.
        let last = last_change(&server);
        let part = ids(&sandbox, "shop.order_changes", "seq");
        assert_eq!(part, (1..=part.len() as i64).collect::<Vec<i64>>());
        assert!(!part.is_empty() && (part.len() as i64) < last, "{} of {last}", part.len());
        sandbox.run(&["run", "shop", "--quiet"]).ok();
        assert_eq!(ids(&sandbox, "shop.order_changes", "seq"), (1..=last).collect::<Vec<i64>>());
    }
}

#[test]
fn the_second_signal_ends_at_once_although_the_source_hangs() {
    // It takes requests and never answers.
    let server = RawServer::start(|_| None);
    let sandbox = project_for(&server.url(), &["events"]);
    let mut child = sandbox.start(&["run", "shop", "--json"]);
    server.wait_for_requests(1);
    let stdout = child.stdout.take().unwrap();
    send("-INT", &child);
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    stderr.read_line(&mut line).unwrap();
    if child.try_wait().unwrap().is_none() {
        send("-INT", &child);
    }
    drop(stdout);
    assert_eq!(child.wait().unwrap().code(), Some(130), "{line}");
}

#[test]
fn a_question_to_the_source_is_broken_off_by_the_first_signal() {
    let server = RawServer::start(|_| None);
    let sandbox = project_for(&server.url(), &["events"]);
    let mut child = sandbox.start(&["preview", "shop", "events"]);
    server.wait_for_requests(1);
    send("-INT", &child);
    let stdout = child.stdout.take().unwrap();
    let (code, _, err) = rest(child, stdout);
    assert_eq!((code, err.as_str()), (Some(130), "interrupted\n"));
}
