//! `simulate`, and connectors led to it by one variable: unchanged, with the host names that they know.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStdout, Command};

use serde_json::{Value, json};

use crate::harness::{Ran, Sandbox};

const ENDPOINTS: &str = "
auth: {header: Authorization, prefix: 'Bearer '}
endpoints:
  - path: /v1/ships
    corpus: ships
    params: {page: page, per_page: {role: per_page, default: 2}, token: ignore}
    response: {pagination_style: page_number_with_link_header}
";

/// Knows nothing but its source.
const CONNECTOR: &str = r#"
import json
import re
import urllib.request

from databricks.labs.community_connector.interface import LakeflowConnect
from pyspark.sql.types import LongType, StringType, StructField, StructType


class ShipsLakeflowConnect(LakeflowConnect):
    def list_tables(self):
        return ["ships"]

    def get_table_schema(self, table_name, table_options):
        return StructType([StructField("id", LongType(), False), StructField("name", StringType())])

    def read_table_metadata(self, table_name, table_options):
        return {"primary_keys": ["id"], "ingestion_type": "snapshot"}

    def read_table(self, table_name, start_offset, table_options):
        return self._pages("https://api.ships.example/v1/ships"), None

    def _pages(self, url):
        while url:
            request = urllib.request.Request(url, headers={"Authorization": "Bearer " + self.options["token"]})
            with urllib.request.urlopen(request, timeout=30) as answer:
                yield from json.load(answer)
                following = re.match(r'<([^>]*)>; rel="next"', answer.headers.get("Link") or "")
                url = following and following[1]
"#;

struct Served {
    child: Child,
    stdout: BufReader<ChildStdout>,
    url: String,
}

impl Served {
    fn start(sandbox: &Sandbox, arguments: &[&str]) -> Self {
        let mut all = vec!["simulate", "source", "--json"];
        all.extend(arguments);
        let mut child = sandbox.start(&all);
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        if line.is_empty() {
            let mut said = String::new();
            child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
            panic!("it did not start: {said}");
        }
        let event: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(event["event"], "started");
        Self { child, stdout, url: event["url"].as_str().unwrap().to_owned() }
    }

    fn get(&self, path: &str) -> String {
        let address = self.url.strip_prefix("http://").unwrap();
        let mut stream = TcpStream::connect(address).unwrap();
        let request =
            format!("GET {path} HTTP/1.0\r\nHost: {address}\r\nAuthorization: Bearer t0ken-of-mine\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    /// Ends it as a user does; gives the events behind the first.
    fn stop(mut self) -> Vec<Value> {
        let stopped = Command::new("kill").args(["-INT", &self.child.id().to_string()]).status().unwrap();
        assert!(stopped.success());
        let mut rest = String::new();
        self.stdout.read_to_string(&mut rest).unwrap();
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
        rest.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

fn sandbox() -> Sandbox {
    let sandbox = Sandbox::with_settings("connections: {}\n");
    sandbox.write("source/endpoints.yaml", ENDPOINTS);
    let ships: Vec<Value> = (1..=5).map(|i| json!({"id": i, "name": format!("ship {i}")})).collect();
    sandbox.write("source/corpus/ships.json", &json!(ships).to_string());
    sandbox
}

#[test]
fn it_serves_until_it_is_interrupted_and_tells_what_was_asked() {
    let sandbox = sandbox();
    let served = Served::start(&sandbox, &["--faults", "status=503@2"]);
    assert!(served.get("/v1/ships?token=t0ken-of-mine").contains("\"ship 2\""));
    assert!(served.get("/v1/ships").starts_with("HTTP/1.0 503"));
    let events = served.stop();
    assert!(events[0]["request"].as_str().unwrap().ends_with("/v1/ships?token=REDACTED"), "{events:?}");
    assert_eq!((&events[1]["status"], &events[2]["event"]), (&json!(503), &json!("stopped")));
    assert_eq!((&events[2]["requests"], &events[2]["statuses"]), (&json!(2), &json!({"200": 1, "503": 1})));
}

#[test]
fn every_mistake_of_a_folder_is_told_at_once() {
    let sandbox = sandbox();
    sandbox.write(
        "source/endpoints.yaml",
        "endpoints:\n  - {path: /a, corpus: shps}\n  - {pth: /b, corpus: ships}\n",
    );
    let ran = sandbox.run(&["simulate", "source"]).code(2);
    for text in [
        "`shps` is not a value of `corpus`",
        "did you mean `ships`?",
        "unknown field `pth`",
        "missing field `path`",
    ] {
        assert!(ran.stderr.contains(text), "{text}: {ran}");
    }
    let check = |arguments: &[&str], expect: &str| {
        let ran: Ran = sandbox.run(arguments).code(2);
        assert!(ran.stderr.contains(expect), "{expect}: {ran}");
    };
    check(&["simulate", "nowhere"], "there is no folder nowhere");
    check(&["simulate", "source", "--mode", "live", "--faults", "fire"], "`fire` is no fault");
    check(&["simulate", "source", "--mode", "live", "--secret", "t0ken"], "--secret takes a reference");
    check(&["simulate", "source", "--mode", "live", "--upstream", "ftp://x"], "no http or https URL");
    check(&["simulate", "source", "--mode", "replay"], "cannot be read");
}

/// A project with the connector in Python, as a folder or behind an executable, and a pipeline for its table.
fn project(sandbox: &mut Sandbox, as_command: bool) {
    sandbox.write("ships/ships.py", CONNECTOR);
    if as_command {
        let package =
            std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../python/src").canonicalize().unwrap();
        // Nothing of ours leads it: a proxy and a certificate, as any program takes them.
        let script = format!(
            "#!/bin/sh\nunset HEADWATER_SIMULATOR\nPYTHONPATH={} exec python3 -m headwater_worker --path {}/ships\n",
            package.display(),
            sandbox.path().display()
        );
        let path = sandbox.write("worker.sh", &script);
        let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(path, executable).unwrap();
        sandbox.run(&["connector", "add", "ships", "--command", "./worker.sh"]).ok();
    } else {
        sandbox.run(&["connector", "add", "ships", "./ships"]).ok();
    }
    sandbox.env("SHIPS_TOKEN", "t0ken-of-mine");
    sandbox
        .run(&["connection", "add", "sea", "--connector", "ships", "--option", "token=env:SHIPS_TOKEN"])
        .ok();
    sandbox.write("pipelines/sea.yaml", "connection_name: sea\nobjects:\n  - table: {source_table: ships}\n");
}

#[test]
fn connectors_are_led_to_it_without_a_changed_line() {
    for as_command in [false, true] {
        let mut sandbox = sandbox();
        project(&mut sandbox, as_command);
        let served = Served::start(&sandbox, &[]);
        sandbox.env("HEADWATER_SIMULATOR", &served.url.clone());
        let ran = sandbox.run(&["run", "sea"]).ok();
        assert!(ran.stderr.contains("sources are simulated by http://127.0.0.1:"), "{ran}");
        let rows = sandbox.run(&["show", "sea.ships", "--json"]).ok().json();
        assert_eq!(rows["rows"].as_array().unwrap().len(), 5, "{rows}");
        let events = served.stop();
        assert_eq!(events[0]["host"], "api.ships.example", "{events:?}");
        // Without a simulator behind the variable nothing is asked of anybody.
        let ran = sandbox.run(&["run", "sea"]).code(2);
        assert!(
            ran.stderr.contains("no simulator answers") && ran.stderr.contains("unset HEADWATER_SIMULATOR"),
            "{ran}"
        );
    }
}

#[test]
fn a_connector_that_is_built_in_is_led_to_it_over_tls() {
    let mut sandbox = sandbox();
    let served = Served::start(&sandbox, &[]);
    let base = "base_url=https://wiki.ships.example/w/";
    sandbox.env("HEADWATER_SIMULATOR", &served.url.clone());
    // No wiki is described, and that is what the connector is told.
    let ran = sandbox.run(&["connection", "add", "wiki", "--connector", "mediawiki", "--option", base]);
    let again = sandbox.run(&["connection", "test", "wiki"]);
    assert!(ran.code != 0 || again.code != 0, "{ran} {again}");
    let events = served.stop();
    assert_eq!(
        (&events[0]["host"], &events[0]["status"]),
        (&json!("wiki.ships.example"), &json!(404)),
        "{events:?} {ran} {again}"
    );
}

#[test]
fn what_is_recorded_of_a_source_is_replayed() {
    let mut sandbox = sandbox();
    let source = Served::start(&sandbox, &[]);
    sandbox.env("SHIPS_TOKEN", "t0ken-of-mine");
    let cassette = ["--cassette", "tape.json", "--secret", "env:SHIPS_TOKEN"];
    let mut record = vec!["--mode", "record", "--sample", "1", "--upstream", source.url.as_str()];
    record.extend(cassette);
    let recorder = Served::start(&sandbox, &record);
    let first = recorder.get("/v1/ships?token=t0ken-of-mine");
    let told = recorder.stop();
    assert_eq!((&told[1]["recorded"], &told[1]["differences"]), (&json!(1), &json!([])), "{told:?}");
    source.stop();
    let tape = sandbox.read("tape.json");
    assert!(tape.contains("ship 1") && !tape.contains("ship 2") && !tape.contains("t0ken"), "{tape}");
    let mut replay = vec!["--mode", "replay"];
    replay.extend(cassette);
    let player = Served::start(&sandbox, &replay);
    let body = |answer: &str| answer.split_once("\r\n\r\n").unwrap().1.to_owned();
    assert_eq!(body(&player.get("/v1/ships?token=t0ken-of-mine")), body(&first));
    assert!(player.get("/v1/boats").contains("was not recorded"));
    player.stop();
}
