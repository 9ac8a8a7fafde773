//! Whatever dies, and whenever: the tables are the same, and no worker stays behind.

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::Sandbox;
use crate::kill::{Dice, length_of};
use crate::python_support::{connect, connected, project_with, rows};

/// Workers that are killed, of all tables together.
const KILLS: usize = 100;

/// As many as a run is hit by at most: each of its flows then has tries and time left.
const KILLS_OF_A_RUN: usize = 6;

/// The longest that anything here may take.
const PATIENCE: Duration = Duration::from_secs(120);

const TABLES: [&str; 3] = ["stream", "snapshot", "changes"];

fn write_pipeline(sandbox: &Sandbox, tables: &[&str]) {
    let objects: Vec<Value> = tables.iter().map(|table| json!({"table": {"source_table": table}})).collect();
    sandbox.write("pipelines/p.yaml", &json!({"connection_name": "conn", "objects": objects}).to_string());
}

/// Waits; it is what these tests are about.
fn wait(time: Duration) {
    let (_nobody, never) = mpsc::channel::<()>();
    assert_eq!(never.recv_timeout(time), Err(mpsc::RecvTimeoutError::Timeout));
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let mut waited = Duration::ZERO;
    while !holds() {
        assert!(waited < PATIENCE, "{what} did not happen");
        wait(Duration::from_millis(5));
        waited += Duration::from_millis(5);
    }
}

/// A process that is alive, as `/proc` tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Process {
    pid: u32,
    parent: u32,
    /// Tells it from a later one with its number.
    started_at: String,
}

fn process(pid: u32) -> Option<Process> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may hold anything.
    let fields: Vec<&str> = stat.get(stat.rfind(')')? + 2..)?.split(' ').collect();
    let is_dead = matches!(*fields.first()?, "Z" | "X");
    (!is_dead).then_some(())?;
    Some(Process { pid, parent: fields.get(1)?.parse().ok()?, started_at: (*fields.get(19)?).to_owned() })
}

fn children(parent: u32) -> Vec<Process> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(process).filter(|found| found.parent == parent).collect()
}

fn send(signal: &str, pid: u32) {
    // One that has just gone is as good as one that was hit.
    Command::new("kill").args([signal, &pid.to_string()]).stderr(Stdio::null()).status().unwrap();
}

/// A run whose output is gathered while the test does other things.
struct Run {
    child: Child,
    output: mpsc::Receiver<(String, String)>,
}

impl Run {
    fn start(sandbox: &Sandbox) -> Self {
        let mut child = sandbox.start(&["run", "p", "--json", "--commit-every", "0s", "--attempts", "50"]);
        let (mut stdout, mut stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let (sender, output) = mpsc::channel();
        std::thread::spawn(move || {
            let errors = std::thread::spawn(move || {
                let mut text = String::new();
                stderr.read_to_string(&mut text).unwrap();
                text
            });
            let mut text = String::new();
            stdout.read_to_string(&mut text).unwrap();
            drop(sender.send((text, errors.join().unwrap())));
        });
        Self { child, output }
    }

    fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for the end, which must be a success, and gives the report.
    fn finish(mut self) -> Value {
        let Ok((stdout, stderr)) = self.output.recv_timeout(PATIENCE) else {
            self.child.kill().unwrap();
            panic!("the run has no end: {:?}", self.output.recv_timeout(PATIENCE));
        };
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}\n{stdout}\n{stderr}");
        let last: Value = serde_json::from_str(stdout.lines().last().unwrap()).unwrap();
        last["report"].clone()
    }
}

fn tables(sandbox: &Sandbox) -> Vec<Vec<Value>> {
    TABLES.iter().map(|table| rows(sandbox, &format!("p.{table}"), None)).collect()
}

#[test]
fn a_worker_that_is_killed_at_any_instant_changes_nothing() {
    let sandbox = connected("storm", &["delay=0.03", "steps=4"]);
    write_pipeline(&sandbox, &TABLES);
    let mut dice = Dice::new();
    let full = length_of(|| drop(Run::start(&sandbox).finish()));
    let truth = tables(&sandbox);
    assert!(truth.iter().all(|rows| !rows.is_empty()), "{truth:?}");
    let (mut killed, mut runs, mut retries) = (0, 0, [0_u64; 3]);
    while killed < KILLS {
        std::fs::remove_dir_all(sandbox.path().join("warehouse")).unwrap();
        let run = Run::start(&sandbox);
        for _ in 0..KILLS_OF_A_RUN {
            wait(full.mul_f64(dice.roll() * 0.4));
            let workers = children(run.pid());
            if let Some(worker) = workers.get(dice.below(workers.len().max(1))) {
                send("-KILL", worker.pid);
                killed += 1;
            }
        }
        let report = run.finish();
        for flow in report["flows"].as_array().unwrap() {
            let at = TABLES.iter().position(|table| flow["table"] == *table).unwrap();
            retries[at] += flow["metrics"]["retries"].as_u64().unwrap();
        }
        assert_eq!(tables(&sandbox), truth, "{report:#}");
        runs += 1;
        assert!(runs < 4 * KILLS, "no run lives long enough to be hit: {killed}");
    }
    println!("{killed} killed in {runs} runs of {full:?} each; retries of {TABLES:?}: {retries:?}");
    // Those that were asked again at once, by another worker, are not among the retries.
    assert!(retries.iter().sum::<u64>() > 10, "{retries:?}");
}

#[test]
fn no_worker_outlives_the_command() {
    let sandbox = project_with("hangs");
    sandbox.run(&["connector", "add", "hangs", "./connectors/hangs"]).ok();
    connect(&sandbox, "hangs", &[]);
    // One sleeps, one waits for a lock, one does not listen to an interrupt.
    write_pipeline(&sandbox, &["sleeps", "waits", "deaf"]);
    let mut dice = Dice::new();
    for round in 0..8 {
        let mut run = Run::start(&sandbox);
        wait_until("a worker", || !children(run.pid()).is_empty());
        if round % 2 == 0 {
            wait_until("three workers", || children(run.pid()).len() >= 3);
        }
        wait(Duration::from_millis(400).mul_f64(dice.roll()));
        let workers = children(run.pid());
        run.child.kill().unwrap();
        run.child.wait().unwrap();
        for worker in workers {
            wait_until(&format!("the end of {worker:?}"), || {
                process(worker.pid).is_none_or(|found| found.started_at != worker.started_at)
            });
        }
    }
}

#[test]
fn a_second_interrupt_ends_the_command_and_its_workers_at_once() {
    let sandbox = project_with("hangs");
    sandbox.run(&["connector", "add", "hangs", "./connectors/hangs"]).ok();
    connect(&sandbox, "hangs", &[]);
    write_pipeline(&sandbox, &["sleeps", "deaf"]);
    let mut run = Run::start(&sandbox);
    wait_until("two workers", || children(run.pid()).len() >= 2);
    let workers = children(run.pid());
    send("-INT", run.pid());
    wait(Duration::from_millis(200));
    send("-INT", run.pid());
    let (_, stderr) = run.output.recv_timeout(Duration::from_secs(20)).unwrap();
    assert_eq!(run.child.wait().unwrap().code(), Some(130), "{stderr}");
    for worker in workers {
        wait_until(&format!("the end of {worker:?}"), || process(worker.pid).as_ref() != Some(&worker));
    }
}

#[test]
fn a_question_to_a_connector_that_hangs_is_broken_off_by_the_first_interrupt() {
    let sandbox = project_with("hangs");
    sandbox.run(&["connector", "add", "hangs", "./connectors/hangs"]).ok();
    connect(&sandbox, "hangs", &[]);
    let mut child = sandbox.start(&["preview", "conn", "waits", "--json"]);
    wait_until("a worker", || !children(child.id()).is_empty());
    let workers = children(child.id());
    send("-INT", child.id());
    wait_until("the end", || child.try_wait().unwrap().is_some());
    assert_eq!(child.wait().unwrap().code(), Some(130));
    for worker in workers {
        wait_until(&format!("the end of {worker:?}"), || {
            process(worker.pid).is_none_or(|found| found.started_at != worker.started_at)
        });
    }
}
