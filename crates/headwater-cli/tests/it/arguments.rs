//! Help, completions, and arguments that make no sense.

use crate::harness::Sandbox;
use crate::snapshot;

const COMMANDS: [&[&str]; 28] = [
    &["init"],
    &["connectors"],
    &["connector", "new"],
    &["connector", "docs"],
    &["connection"],
    &["connection", "add"],
    &["connection", "list"],
    &["connection", "test"],
    &["connection", "remove"],
    &["tables"],
    &["columns"],
    &["preview"],
    &["validate"],
    &["plan"],
    &["run"],
    &["state"],
    &["state", "show"],
    &["state", "set"],
    &["state", "reset"],
    &["show"],
    &["optimize"],
    &["simulate"],
    &["vacuum"],
    &["schema"],
    &["test"],
    &["completions"],
    &["demo"],
    &[],
];

#[test]
fn every_command_has_long_help_with_exit_codes_in_the_main_one() {
    let sandbox = Sandbox::empty();
    let mut all = String::new();
    for command in COMMANDS {
        let ran = sandbox.run(&[command, &["--help"]].concat()).ok();
        assert!(ran.stderr.is_empty(), "{ran}");
        all.push_str(&format!("{}\n{}\n", "=".repeat(100), ran));
    }
    assert!(all.contains("Exit codes:"));
    snapshot!("help", all);
}

#[test]
fn nothing_and_nonsense_show_usage_and_end_with_2() {
    let sandbox = Sandbox::empty();
    snapshot!("no_arguments", sandbox.run(&[]).code(2));
    snapshot!("unknown_command", sandbox.run(&["rnu"]).code(2));
    snapshot!("unknown_flag", sandbox.run(&["run", "x", "--ful-refresh"]).code(2));
    snapshot!("bad_memory", sandbox.run(&["run", "x", "--memory", "much"]).code(2));
    snapshot!("bad_retention", sandbox.run(&["vacuum", "x", "--retention", "7"]).code(2));
    snapshot!("quiet_and_verbose", sandbox.run(&["show", "-q", "-v"]).code(2));
    snapshot!("vacuum_of_nothing", sandbox.run(&["vacuum"]).code(2));
}

#[test]
fn completions_are_scripts_that_name_every_command() {
    let sandbox = Sandbox::empty();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let ran = sandbox.run(&["completions", shell]).ok();
        for command in ["init", "connection", "run", "vacuum", "full-refresh"] {
            assert!(ran.stdout.contains(command), "{shell}: {command}");
        }
    }
}

#[test]
fn the_json_schemas_are_documents_of_their_own() {
    let sandbox = Sandbox::empty();
    for kind in ["pipeline", "connector", "suite"] {
        let schema = sandbox.run(&["schema", kind]).ok().json();
        assert!(schema["$schema"].as_str().unwrap().starts_with("https://json-schema.org/"), "{kind}");
        assert!(schema.to_string().contains("properties"), "{kind}");
    }
}

#[test]
fn a_log_filter_that_is_none_is_refused() {
    let mut sandbox = Sandbox::project();
    sandbox.env("HEADWATER_LOG", "headwater=loud");
    snapshot!("bad_log_filter", sandbox.run(&["connectors"]).code(2));
}
