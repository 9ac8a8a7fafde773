//! Secrets are references, and what they stand for is never printed.

use crate::harness::Sandbox;
use crate::snapshot;

const SECRET: &str = "hunter2-correct-horse";

const WIKI: &str = "connections:\n  wiki:\n    connector: mediawiki\n    options:\n      base_url: http://127.0.0.1:9/w/\n      user: Bot@test\n      bot_password: ";

fn wiki(reference: &str) -> Sandbox {
    Sandbox::with_settings(&format!("{WIKI}{reference}\n"))
}

#[test]
fn a_literal_secret_is_refused_with_the_way_to_do_it_right() {
    let sandbox = Sandbox::project();
    let option = format!("bot_password={SECRET}");
    let ran = sandbox.run(&[
        "connection",
        "add",
        "w",
        "--connector",
        "mediawiki",
        "-o",
        "base_url=https://x.example/w/",
        "-o",
        "user=B",
        "-o",
        &option,
    ]);
    assert!(!sandbox.read("headwater.yaml").contains(SECRET));
    assert!(!ran.stderr.contains(SECRET) && !ran.stdout.contains(SECRET), "{ran}");
    snapshot!("literal_in_arguments", ran.code(2).stderr);

    let sandbox = wiki(SECRET);
    for command in [
        &["tables", "wiki"][..],
        &["connection", "test", "wiki"],
        &["connection", "list"],
        &["tables", "wiki", "--json"],
    ] {
        let ran = sandbox.run(command);
        assert!(!ran.stderr.contains(SECRET) && !ran.stdout.contains(SECRET), "{ran}");
    }
    snapshot!("literal_in_file", sandbox.run(&["tables", "wiki"]).code(2));
}

#[test]
fn a_reference_that_gives_nothing_is_named() {
    snapshot!("unset_variable", wiki("env:WIKI_PASSWORD").run(&["tables", "wiki"]).code(2));
    snapshot!("missing_file", wiki("file:secrets/wiki").run(&["tables", "wiki"]).code(2));
    let mut sandbox = wiki("env:WIKI_PASSWORD");
    sandbox.env("WIKI_PASSWORD", "");
    snapshot!("empty_variable", sandbox.run(&["tables", "wiki"]).code(2));
}

#[test]
fn a_secret_that_is_used_appears_in_no_output_and_no_log() {
    // Nothing listens on the port, so every request fails and is logged.
    let mut sandbox = wiki("env:WIKI_PASSWORD");
    sandbox.env("WIKI_PASSWORD", SECRET);
    sandbox.env("HEADWATER_LOG", "trace");
    for command in [&["connection", "test", "wiki"][..], &["preview", "wiki", "pages"]] {
        let ran = sandbox.run(command);
        assert_ne!(ran.code, 0, "{ran}");
        assert!(!ran.stderr.contains(SECRET) && !ran.stdout.contains(SECRET), "{ran}");
    }
}

#[test]
fn a_secret_file_is_relative_to_the_project() {
    let sandbox = wiki("file:secrets/wiki");
    sandbox.write("secrets/wiki", &format!("{SECRET}\n"));
    std::fs::create_dir(sandbox.path().join("below")).unwrap();
    let output = sandbox
        .command(&["connection", "test", "wiki"])
        .current_dir(sandbox.path().join("below"))
        .output()
        .unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    // The file was read: what fails is the connection to a port where nobody listens.
    assert_eq!(output.status.code(), Some(3), "{stderr}");
    assert!(!stderr.contains("secret file"), "{stderr}");
}

#[test]
fn a_literal_secret_of_the_storage_is_refused() {
    let sandbox = Sandbox::with_settings(&format!(
        "warehouse: s3://bucket/lake\nstorage:\n  secret_access_key: {SECRET}\nconnections: {{}}\n"
    ));
    let ran = sandbox.run(&["show"]).code(2);
    assert!(!ran.stderr.contains(SECRET), "{ran}");
    snapshot!("literal_in_storage", ran);
}

#[test]
fn an_option_that_is_not_written_as_one_is_not_repeated() {
    let sandbox = Sandbox::project();
    let add = ["connection", "add", "w", "--connector", "mediawiki"];
    for option in [
        &["--option", "hunter2"][..],
        &["--option=hunter2"],
        &["-o", "hunter2"],
        &["-ohunter2"],
        &["-o", "=hunter2"],
        &["-o", "bot_password", "hunter2"],
        &["-o", "bot_password=x", "y", "hunter2"],
    ] {
        for command in [&add[..], &["columns", "shop", "events"], &["preview", "shop", "events"]] {
            let ran = sandbox.run(&[command, option].concat()).code(2);
            let about_values = ran.stderr.contains("written KEY=VALUE");
            assert_eq!(about_values, option.len() < 3, "{ran}");
            assert!(about_values || ran.stderr.contains("unexpected argument '…' found"), "{ran}");
            assert!(!format!("{}{}", ran.stdout, ran.stderr).contains("hunter2"), "{ran}");
        }
    }
    snapshot!("option_without_value", sandbox.run(&[&add[..], &["--option", "hunter2"]].concat()).stderr);
}
