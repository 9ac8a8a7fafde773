//! `headwater test` as its user sees it: connectors, modes, what it prints and how it ends.

use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use serde_json::Value;

use crate::harness::{Ran, Sandbox};
use crate::python_support::{connectors, copy};

/// A Python that has pytest, first in the search path.
fn path_with_pytest() -> &'static str {
    static PATH: OnceLock<String> = OnceLock::new();
    PATH.get_or_init(|| {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testing/setup-python.sh");
        let output = Command::new(&script).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        format!("{}/bin:/usr/bin:/bin", String::from_utf8(output.stdout).unwrap().trim())
    })
}

/// A folder with a copy of the bug tracker, and nothing of a project.
fn bug_tracker() -> Sandbox {
    let mut sandbox = Sandbox::empty();
    sandbox.env("PATH", path_with_pytest());
    copy(&connectors().join("bug_tracker"), &sandbox.path().join("bug_tracker"));
    sandbox
}

/// Changes a file of the copy.
fn change(sandbox: &Sandbox, file: &str, from: &str, to: &str) {
    let text = sandbox.read(file);
    assert!(text.contains(from), "{file} has no {from}");
    sandbox.write(file, &text.replace(from, to));
}

fn tests_of(report: &Value, rule: &str) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let tests = report["tests"].as_array().unwrap().iter().filter(|test| test["rule"] == rule);
    tests.map(|test| (text(&test["table"]), text(&test["outcome"]))).collect()
}

fn pair(table: &str, outcome: &str) -> (String, String) {
    (table.to_owned(), outcome.to_owned())
}

#[test]
fn a_connector_in_python_is_tested_against_its_simulated_source() {
    let sandbox = bug_tracker();
    let ran = sandbox.run(&["test", "./bug_tracker", "--junit", "report.xml", "--json"]).ok();
    let report = ran.json();
    assert_eq!((&report["connector"], &report["mode"]), (&"bug_tracker".into(), &"simulate".into()));
    assert_eq!(report["counts"]["failed"], 0, "{ran}");
    // What needs the simulator was tested, on every table that it concerns.
    for rule in ["R23", "R26", "R27"] {
        assert_eq!(
            tests_of(&report, rule),
            [pair("bugs", "passed"), pair("people", "passed")],
            "{rule}\n{ran}"
        );
    }
    for rule in ["R28", "R29", "R30"] {
        assert_eq!(tests_of(&report, rule), [pair("bugs", "passed")], "{rule}\n{ran}");
    }
    assert_eq!(tests_of(&report, "R15"), [pair("", "passed")], "{ran}");
    assert_eq!(tests_of(&report, "R25"), [pair("", "passed")], "{ran}");
    assert_eq!(report["own_tests"]["passed"], true, "{ran}");
    assert!(report["own_tests"]["note"].as_str().unwrap().starts_with("1 passed"), "{ran}");
    let xml = sandbox.read("report.xml");
    assert!(
        xml.contains(r#"<testsuite name="bug_tracker.bugs""#) && xml.contains(r#"failures="0""#),
        "{xml}"
    );
    assert!(!format!("{ran}{xml}").contains("made-up-token"), "{ran}\n{xml}");
}

#[test]
fn a_broken_rule_is_told_with_what_was_seen_and_what_to_change() {
    let sandbox = bug_tracker();
    // Takes an answer that fails for an empty one, and says what it was asked with.
    let file = "bug_tracker/bug_tracker.py";
    change(&sandbox, file, "iter(self._get(\"/people\"))", "iter(self._people())");
    let people = "    def _people(self):\n        try:\n            return self._get(\"/people\")\n        except Exception as error:\n            print(f\"token {self.token}: {error}\")\n            return []\n\n";
    change(&sandbox, file, "    def _pages(", &format!("{people}    def _pages("));
    let ran = sandbox.run(&["test", "bug_tracker", "--rule", "R26", "--rule", "R15", "-t", "people"]).code(1);
    assert!(ran.stdout.contains("FAIL  R26  people: passing faults of the source are survived"), "{ran}");
    assert!(
        ran.stdout
            .contains("seen: after an answer with status 500 to request 1, the read succeeds and lacks"),
        "{ran}"
    );
    assert!(
        ran.stdout.contains("to change: repeat the request, or fail with an error that may be retried"),
        "{ran}"
    );
    assert!(ran.stdout.contains("warn  R15"), "{ran}");
    assert!(ran.stdout.contains("where Headwater took it out"), "{ran}");
    assert!(ran.stdout.contains("broken: R26 (people)"), "{ran}");
    assert!(!ran.to_string().contains("made-up-token"), "{ran}");
    assert!(!ran.stdout.contains("R8 "), "{ran}");
}

#[test]
fn a_failing_test_of_the_connectors_own_fails_the_command() {
    let sandbox = bug_tracker();
    sandbox.write("bug_tracker/tests/test_more.py", "def test_more():\n    assert 1 == 2\n");
    let ran = sandbox.run(&["test", "bug_tracker", "--rule", "R1"]).code(1);
    assert!(ran.stdout.contains("FAIL  own tests: 1 failed, 1 passed"), "{ran}");
    assert!(ran.stderr.contains("assert 1 == 2"), "{ran}");
}

#[test]
fn what_a_failed_write_back_left_is_deleted_or_told() {
    let sandbox = bug_tracker();
    change(
        &sandbox,
        "bug_tracker/simulator/write_back.py",
        "self._ask(\"DELETE\"",
        "raise OSError(\"no\")\n        self._ask(\"DELETE\"",
    );
    let ran = sandbox.run(&["test", "bug_tracker", "--rule", "R30", "--rule", "R28"]).code(1);
    assert!(ran.stdout.contains("records that the suite made are still there, such as {\"id\":"), "{ran}");
}

#[test]
fn the_built_in_shop_is_tested_without_anything() {
    let sandbox = Sandbox::empty();
    let report = sandbox.run(&["test", "example", "--json"]).ok().json();
    assert_eq!(report["counts"]["failed"], 0);
    assert!(report["counts"]["passed"].as_u64().unwrap() > 80, "{report:#}");
    // Quiet is quiet.
    assert_eq!(sandbox.run(&["test", "example", "-q", "-t", "stock"]).ok().stdout, "");
}

#[test]
fn a_recording_is_made_of_the_real_source_and_tested_against() {
    use headwater_source_example::{ExampleOptions, ExampleServer};
    let server = ExampleServer::start(ExampleOptions::default()).unwrap();
    let sandbox = Sandbox::with_settings(&format!(
        "connections:\n  shop:\n    connector: example\n    options:\n      base_url: {}\n      token: env:SHOP_TOKEN\n",
        server.base_url()
    ));
    let mut sandbox = sandbox;
    sandbox.env("SHOP_TOKEN", "a-token-that-nobody-may-see");
    std::fs::create_dir(sandbox.path().join("kit")).unwrap();
    let folder = ["--folder", "kit", "-t", "customers", "-t", "stock"];
    let test = |more: &[&str]| sandbox.run(&[&["test", "example"], &folder[..], more].concat());
    test(&["--mode", "live", "--connection", "shop"]).ok();
    test(&["--mode", "record", "--connection", "shop", "--rule", "R9", "--sample", "500"]).ok();
    let cassette = sandbox.read("kit/simulator/cassettes/suite.json");
    assert!(cassette.contains("/customers") && !cassette.contains("nobody-may-see"), "{cassette}");
    sandbox.write("kit/simulator/suite.yaml", &format!("connection:\n  base_url: {}\n", server.base_url()));
    drop(server);
    let replayed = test(&["--mode", "replay", "--rule", "R9", "--json"]).ok().json();
    assert_eq!(tests_of(&replayed, "R9"), [pair("customers", "passed"), pair("stock", "passed")]);
}

#[test]
fn wrong_usage_says_what_to_change() {
    let sandbox = bug_tracker();
    let check = |arguments: &[&str], message: &str, hint: &str| {
        let ran: Ran = sandbox.run(&[&["test"], arguments].concat()).code(2);
        assert!(ran.stderr.contains(message) && ran.stderr.contains(hint), "{ran}");
    };
    check(&["bug_trakker"], "connector `bug_trakker` does not exist", "is named by its path");
    check(&["mediawiki"], "there is no sources/mediawiki/simulator/endpoints.yaml", "--folder");
    check(&["bug_tracker", "--mode", "live"], "`--mode live` reads the real source", "--connection");
    check(&["bug_tracker", "--mode", "live", "--connection", "x"], "there is no project here", "--project");
    check(
        &["bug_tracker", "--connection", "x"],
        "`--connection` does not go with `--mode simulate`",
        "suite.yaml",
    );
    check(&["bug_tracker", "--mode", "replay"], "there is no recording", "--mode record");
    check(&["bug_tracker", "--rule", "R99"], "a rule is written R1 to R30", "");
    check(&["bug_tracker", "--folder", "nowhere"], "there is no folder nowhere", "");
    sandbox.write("bug_tracker/simulator/suite.yaml", "connection: {token: x}\nskips: []\n");
    check(&["bug_tracker"], "unknown field `skips`", "suite.yaml:2:1");
    sandbox.write("bug_tracker/simulator/suite.yaml", "");
    let ran = sandbox.run(&["test", "bug_tracker"]);
    // The connector does not begin without its token, and says so.
    assert!(ran.code != 0 && ran.stderr.contains("token"), "{ran}");
}
