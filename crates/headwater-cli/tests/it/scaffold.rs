//! Connectors that `connector new` has made: they work, pass the suite, and have a page that is current.

use std::path::{Path, PathBuf};
use std::process::Command;

use headwater_testkit::simulator::{Description, Settings, Simulator};
use serde_json::Value;

use crate::harness::{Ran, Sandbox};
use crate::python_support::{flows, rows};

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// A project that has made a connector `big_shop`.
fn with_new(arguments: &[&str]) -> Sandbox {
    let mut sandbox = Sandbox::with_settings("connections: {}\n");
    sandbox.env("BIG_SHOP_TOKEN", "made-up-token");
    sandbox.run(&[&["connector", "new", "big_shop"], arguments].concat()).ok();
    sandbox
}

fn simulator(sandbox: &Sandbox) -> Simulator {
    let description = Description::load(&sandbox.path().join("big_shop/simulator")).unwrap();
    Simulator::start(description, Settings::default()).unwrap()
}

fn corpus(sandbox: &Sandbox, name: &str) -> Vec<Value> {
    serde_json::from_str(&sandbox.read(&format!("big_shop/simulator/corpus/{name}.json"))).unwrap()
}

/// The first piece of code in a language that a page shows behind a heading.
fn code_of<'a>(page: &'a str, heading: &str, language: &str) -> &'a str {
    let behind = page.split_once(heading).unwrap().1;
    behind.split_once(&format!("```{language}\n")).unwrap().1.split_once("```").unwrap().0
}

/// Does what a user does with a connector that has been added: connects it, looks, runs twice.
fn use_it(sandbox: &Sandbox) {
    let source = simulator(sandbox);
    let base_url = format!("base_url={}", source.base_url());
    sandbox
        .run(&[
            "connection",
            "add",
            "big_shop",
            "--connector",
            "big_shop",
            "--option",
            &base_url,
            "--option",
            "token=env:BIG_SHOP_TOKEN",
        ])
        .ok();
    sandbox.run(&["connection", "test", "big_shop"]).ok();
    assert_eq!(sandbox.run(&["tables", "big_shop"]).ok().stdout, "items\ncategories\n");
    let previewed = sandbox.run(&["preview", "big_shop", "items", "--limit", "5", "--json"]).ok().json();
    assert_eq!(previewed["rows"].as_array().unwrap().len(), 5);

    // The page's own example.
    let page = sandbox.read("big_shop/README.md");
    let spec = code_of(&page, "## Run", "yaml");
    sandbox.write("pipelines/big_shop.yaml", spec);
    sandbox.run(&["validate", "pipelines/big_shop.yaml"]).ok();
    let ran = sandbox.run(&["run", "big_shop", "--json"]).ok();
    let mut items = corpus(sandbox, "items");
    assert_eq!(flows(&ran)["items"]["metrics"]["records_read"], items.len(), "{ran}");
    let found = rows(sandbox, "big_shop.items", Some(&["id", "name", "tags"]));
    items.sort_by_key(|item| item["id"].as_i64());
    let mut ids: Vec<i64> = found.iter().map(|row| row["id"].as_i64().unwrap()).collect();
    ids.sort_unstable();
    assert_eq!(ids, items.iter().map(|item| item["id"].as_i64().unwrap()).collect::<Vec<_>>());
    assert_eq!(rows(sandbox, "big_shop.categories", None).len(), corpus(sandbox, "categories").len());

    let again = sandbox.run(&["run", "big_shop", "--json"]).ok();
    assert_eq!(flows(&again)["items"]["metrics"]["records_read"], 0, "{again}");
    assert!(source.control().requests().iter().all(|request| request.status == Some(200)));
}

fn is_current(ran: &Ran) {
    assert_eq!(ran.code, 0, "{ran}");
    assert!(ran.stderr.contains("is current"), "{ran}");
}

#[test]
fn a_new_connector_in_python_works() {
    let sandbox = with_new(&[]);
    let tested = sandbox.run(&["test", "./big_shop"]).ok();
    assert!(!tested.stdout.contains("FAIL"), "{tested}");
    sandbox.run(&["connector", "add", "big_shop", "./big_shop"]).ok();
    let info = sandbox.run(&["connector", "info", "big_shop"]).ok();
    assert!(info.stdout.contains("BigShopLakeflowConnect"), "{info}");
    use_it(&sandbox);
    is_current(&sandbox.run(&["connector", "docs", "./big_shop", "--check"]));
    is_current(&sandbox.run(&["connector", "docs", "big_shop", "--check"]));
}

#[test]
fn a_new_connector_is_told_of_and_never_overwrites() {
    let sandbox = Sandbox::empty();
    let said = sandbox.run(&["connector", "new", "big_shop", "--dir", "here/there", "--with-prompts"]).ok();
    for text in ["here/there/big_shop", "headwater test here/there/big_shop", "prompts/README.md"] {
        assert!(said.stderr.contains(text), "`{text}` is not in\n{said}");
    }
    let skill = sandbox.read("here/there/big_shop/.claude/skills/connector-test/SKILL.md");
    assert!(skill.starts_with("---\nname: connector-test\ndescription: "), "{skill}");
    let rule = sandbox.read("here/there/big_shop/.cursor/rules/connector.mdc");
    assert!(rule.starts_with("---\ndescription: ") && rule.contains("alwaysApply: false"), "{rule}");
    sandbox.write("here/there/big_shop/client.py", "mine");
    let refused = sandbox.run(&["connector", "new", "big_shop", "--dir", "here/there"]).code(2);
    assert!(refused.stderr.contains("exists already"), "{refused}");
    assert_eq!(sandbox.read("here/there/big_shop/client.py"), "mine");

    let said = sandbox.run(&["connector", "new", "other", "--json"]).ok().json();
    assert_eq!(said["connector"], "other");
    for file in said["files"].as_array().unwrap() {
        assert!(sandbox.path().join("other").join(file.as_str().unwrap()).is_file(), "{file}");
    }
    assert!(!sandbox.path().join("other/prompts").exists());

    let check = |arguments: &[&str], hint: &str| {
        let refused = sandbox.run(&[&["connector", "new"], arguments].concat()).code(2);
        assert!(refused.stderr.contains(hint), "{refused}");
    };
    check(&["Big-Shop"], "take `big_shop`");
    check(&["../x"], "small letters");
    check(&["class"], "class_source");
    check(&["mediawiki"], "built in");
    check(&["x", "--lang", "rust"], "--headwater-path");
    check(&["x", "--lang", "rust", "--headwater-path", "."], "does not hold the source code");
    check(&["x", "--lang", "rust", "--headwater-path", "./none"], "there is no folder");
    check(&["x", "--headwater-path", "."], "--lang rust");
    assert!(!sandbox.path().join("x").exists());
}

#[test]
#[ignore = "compiles a crate, which takes minutes: `make test` runs it"]
fn a_new_connector_in_rust_works() {
    let repository = repository();
    let sandbox = with_new(&["--lang", "rust", "--headwater-path", repository.to_str().unwrap()]);
    let folder = sandbox.path().join("big_shop");
    // No dependency that the workspace does not have, in no other version: nothing is fetched.
    std::fs::copy(repository.join("Cargo.lock"), folder.join("Cargo.lock")).unwrap();
    let target = Path::new(env!("CARGO_BIN_EXE_headwater")).ancestors().nth(2).unwrap().to_owned();
    let mut build = Command::new(env!("CARGO"));
    build.args(["build", "--offline", "--target-dir"]).arg(&target).current_dir(&folder);
    // As the workspace builds them, so that what it has built is used.
    for setting in [
        "profile.dev.debug=\"line-tables-only\"",
        "profile.dev.package.\"*\".opt-level=1",
        "profile.dev.package.\"*\".debug=false",
    ] {
        build.args(["--config", setting]);
    }
    let built = build.output().unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let executable = target.join("debug/big-shop");
    sandbox.run(&["connector", "add", "big_shop", "--command", executable.to_str().unwrap()]).ok();
    use_it(&sandbox);
    is_current(&sandbox.run(&["connector", "docs", "big_shop", "--folder", "./big_shop", "--check"]));
    is_current(&sandbox.run(&["connector", "docs", "./big_shop", "--check"]));
    let tested = sandbox.run(&["test", "big_shop", "--folder", "./big_shop"]).ok();
    assert!(!tested.stdout.contains("FAIL"), "{tested}");
}

#[test]
fn a_new_connector_in_rust_needs_nothing_that_the_workspace_does_not_have() {
    let repository = repository();
    let sandbox = with_new(&["--lang", "rust", "--headwater-path", repository.to_str().unwrap()]);
    let folder = sandbox.path().join("big_shop");
    std::fs::copy(repository.join("Cargo.lock"), folder.join("Cargo.lock")).unwrap();
    let mut resolve = Command::new(env!("CARGO"));
    resolve.args(["metadata", "--offline", "--format-version", "1"]).current_dir(&folder);
    let resolved = resolve.output().unwrap();
    assert!(resolved.status.success(), "{}", String::from_utf8_lossy(&resolved.stderr));
    let resolved: Value = serde_json::from_slice(&resolved.stdout).unwrap();
    let lock = std::fs::read_to_string(repository.join("Cargo.lock")).unwrap();
    for package in resolved["packages"].as_array().unwrap() {
        let (name, version) = (package["name"].as_str().unwrap(), package["version"].as_str().unwrap());
        let locked = lock.contains(&format!("name = \"{name}\"\nversion = \"{version}\"\n"));
        assert!(locked || name == "big-shop", "{name} {version}");
    }
    // The code is that of a crate of the workspace, which is compiled and tested as such.
    let model = std::fs::read_to_string(repository.join("templates/rust/src/items.rs")).unwrap();
    assert_eq!(sandbox.read("big_shop/src/items.rs"), model.replace("MySource", "BigShop"));
}

#[test]
fn a_page_keeps_what_people_write_and_tells_when_it_is_stale() {
    let sandbox = with_new(&[]);
    let page = sandbox.read("big_shop/README.md");
    let mine = page.replace("<!-- kept: about -->\n", "<!-- kept: about -->\n  Mine. ß\t\r\n");
    sandbox.write("big_shop/README.md", &mine);
    is_current(&sandbox.run(&["connector", "docs", "./big_shop", "--check"]));

    let spec = sandbox.read("big_shop/connector_spec.yaml");
    sandbox.write("big_shop/connector_spec.yaml", &spec.replace("Access token, from", "A token from"));
    let stale = sandbox.run(&["connector", "docs", "./big_shop", "--check"]).code(1);
    assert!(
        stale.stdout.contains("-   ") && stale.stdout.contains("A token from the settings page"),
        "{stale}"
    );
    let stale = sandbox.run(&["connector", "docs", "./big_shop", "--check", "--json"]).code(1).json();
    assert_eq!(stale["current"], false);
    assert_eq!(sandbox.read("big_shop/README.md"), mine);

    sandbox.run(&["connector", "docs", "./big_shop"]).ok();
    let written = sandbox.read("big_shop/README.md");
    assert_eq!(written, mine.replace("Access token, from", "A token from"));

    // One that nobody has made is not lost.
    sandbox.write("big_shop/README.md", "# By hand\n");
    let refused = sandbox.run(&["connector", "docs", "./big_shop"]).code(2);
    assert!(refused.stderr.contains("written by hand"), "{refused}");
    assert_eq!(sandbox.read("big_shop/README.md"), "# By hand\n");
    sandbox.run(&["connector", "docs", "./big_shop", "--output", "page.md"]).ok();
    assert!(sandbox.read("page.md").contains("A token from"));
    sandbox.write("big_shop/README.md", "<!-- kept: a -->\n");
    let refused = sandbox.run(&["connector", "docs", "./big_shop"]).code(2);
    assert!(refused.stderr.contains("line 1"), "{refused}");

    let refused = sandbox.run(&["connector", "docs", "mediawiki"]).code(2);
    assert!(refused.stderr.contains("--output"), "{refused}");
    sandbox.run(&["connector", "docs", "nothing"]).code(2);
    sandbox.write("big_shop/my.py", "");
    sandbox.write("big_shop/big_shop.py", "raise RuntimeError('torn')\n");
    let refused = sandbox.run(&["connector", "docs", "./big_shop", "--output", "page.md"]);
    assert_ne!(refused.code, 0, "{refused}");
    assert!(refused.stderr.contains("torn"), "{refused}");
}

#[test]
fn the_pages_of_built_in_connectors_are_current_and_their_examples_work() {
    let sandbox = Sandbox::project();
    for entry in std::fs::read_dir(repository().join("sources")).unwrap() {
        let folder = entry.unwrap().path();
        let ran = sandbox.run(&["connector", "docs", folder.to_str().unwrap(), "--check"]);
        assert_eq!(ran.code, 0, "run `headwater connector docs {}`\n{ran}", folder.display());
        let page = std::fs::read_to_string(folder.join("README.md")).unwrap();
        let project = Sandbox::with_settings(code_of(&page, "The same in `headwater.yaml`", "yaml"));
        project.write("pipelines/page.yaml", code_of(&page, "## Run", "yaml"));
        project.run(&["validate"]).ok();
    }
}

/// The lines of code of a page that are commands of ours, as words.
fn commands(page: &str) -> Vec<Vec<String>> {
    let blocks = page.split("```").skip(1).step_by(2);
    let lines = blocks.flat_map(str::lines).map(str::trim).filter_map(|line| line.strip_prefix("headwater "));
    lines.map(|line| line.split_whitespace().map(str::to_owned).collect()).collect()
}

#[test]
fn the_commands_of_the_instructions_run_on_a_new_connector() {
    let sandbox = with_new(&["--with-prompts"]);
    let source = simulator(&sandbox);
    let page = sandbox.read("big_shop/README.md");
    let spec =
        code_of(&page, "## Run", "yaml").replace("connection_name: big_shop", "connection_name: my_conn");
    sandbox.write("pipelines/big_shop.yaml", &spec);
    let mut ran = 0;
    for step in ["README", "1-understand", "2-implement", "3-test", "4-document"] {
        for mut words in commands(&sandbox.read(&format!("big_shop/prompts/{step}.md"))) {
            // What needs the real source, serves until it is stopped, takes long, or has been done by other tests.
            let is = |word: &str| words.iter().any(|other| other == word);
            let left_out = is("live") || is("simulate") || is("new") || (is("test") && !is("--rule"));
            if left_out {
                continue;
            }
            for word in &mut words {
                *word = word.replace("http://127.0.0.1:8080", &source.base_url());
            }
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            sandbox.run(&words).ok();
            ran += 1;
        }
    }
    assert!(ran > 12, "only {ran} commands were run");
}
