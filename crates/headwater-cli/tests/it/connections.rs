//! Projects and connections: made, listed, added, removed, and the file kept as it was written.

use crate::harness::Sandbox;
use crate::snapshot;

#[test]
fn init_makes_a_project_once_and_never_overwrites() {
    let sandbox = Sandbox::empty();
    snapshot!("init", sandbox.run(&["init", "my-lake"]).ok());
    let own = "# mine\nconnections: {}\n";
    sandbox.write("my-lake/headwater.yaml", own);
    std::fs::remove_file(sandbox.path().join("my-lake/README.md")).unwrap();
    snapshot!("init_again", sandbox.run(&["init", "my-lake"]).ok());
    assert_eq!(sandbox.read("my-lake/headwater.yaml"), own);
    assert!(sandbox.read("my-lake/README.md").contains("headwater run example"));
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let sandbox = Sandbox::empty();
    sandbox.write("taken", "a file");
    snapshot!("init_into_a_file", sandbox.run(&["init", "taken"]).code(2));
}

#[test]
fn connectors_are_listed_and_described() {
    let sandbox = Sandbox::empty();
    let list = sandbox.run(&["connectors", "--json"]).ok().json();
    let names: Vec<&str> =
        list["connectors"].as_array().unwrap().iter().map(|c| c["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["example", "github", "mediawiki"]);
    sandbox.run(&["connectors", "example"]).ok();
    let wiki = sandbox.run(&["connectors", "mediawiki"]).ok();
    assert!(wiki.stdout.contains("base_url"), "{wiki}");
    snapshot!("unknown_connector", sandbox.run(&["connectors", "mediawikki"]).code(2));
}

#[test]
fn a_project_is_found_upwards_or_named() {
    let sandbox = Sandbox::project();
    std::fs::create_dir_all(sandbox.path().join("a/b")).unwrap();
    let from_below =
        sandbox.command(&["connection", "list"]).current_dir(sandbox.path().join("a/b")).output().unwrap();
    assert!(from_below.status.success());
    let elsewhere = Sandbox::empty();
    let path = sandbox.path().to_str().unwrap();
    elsewhere.run(&["connection", "list", "--project", path]).ok();
    snapshot!("no_project", elsewhere.run(&["connection", "list"]).code(2));
    snapshot!("not_a_project", elsewhere.run(&["connection", "list", "--project", "."]).code(2));
}

#[test]
fn connections_are_added_and_removed_and_all_else_stays() {
    let sandbox = Sandbox::project();
    let before = sandbox.read("headwater.yaml");
    let add = [
        "connection",
        "add",
        "blog",
        "--connector",
        "mediawiki",
        "--option",
        "base_url=https://blog.example/w/",
    ];
    snapshot!("add", sandbox.run(&add).ok());
    let after = sandbox.read("headwater.yaml");
    assert_eq!(
        after,
        format!(
            "{before}  blog:\n    connector: mediawiki\n    options:\n      base_url: https://blog.example/w/\n"
        )
    );
    snapshot!("add_twice", sandbox.run(&add).code(2));
    assert_eq!(sandbox.read("headwater.yaml"), after);
    snapshot!("list", sandbox.run(&["connection", "list"]).ok());
    snapshot!("list_json", sandbox.run(&["connection", "list", "--json"]).ok());
    sandbox.run(&["connection", "remove", "blog"]).ok();
    assert_eq!(sandbox.read("headwater.yaml"), before);
    snapshot!("remove_unknown", sandbox.run(&["connection", "remove", "wikki"]).code(2));
}

#[test]
fn what_cannot_be_added_is_refused_and_nothing_is_written() {
    let sandbox = Sandbox::project();
    let before = sandbox.read("headwater.yaml");
    let refuse = |name: &str, arguments: &[&str]| {
        snapshot!(name, sandbox.run(&[&["connection", "add"], arguments].concat()).code(2));
        assert_eq!(sandbox.read("headwater.yaml"), before, "{name}");
    };
    refuse("add_unknown_connector", &["x", "--connector", "exmaple"]);
    refuse("add_unknown_option", &["x", "--connector", "mediawiki", "-o", "base_ulr=https://x.example/"]);
    refuse("add_without_required", &["x", "--connector", "mediawiki"]);
    refuse("add_bad_url", &["x", "--connector", "mediawiki", "-o", "base_url=nowhere"]);
    refuse("add_bad_name", &["a b", "--connector", "example"]);
    refuse("add_no_value", &["x", "--connector", "example", "-o", "base_url"]);
}

#[test]
fn a_style_that_is_not_understood_is_left_alone_with_the_block_to_paste() {
    let yaml = "connections: {shop: {connector: example}}\n";
    let sandbox = Sandbox::with_settings(yaml);
    snapshot!(
        "add_to_flow_style",
        sandbox.run(&["connection", "add", "b", "--connector", "example"]).code(2)
    );
    snapshot!("remove_from_flow_style", sandbox.run(&["connection", "remove", "shop"]).code(2));
    assert_eq!(sandbox.read("headwater.yaml"), yaml);
}

#[test]
fn a_project_file_that_is_wrong_is_explained_at_its_place() {
    let check = |name: &str, yaml: &str| {
        let sandbox = Sandbox::with_settings(yaml);
        snapshot!(name, sandbox.run(&["connection", "list"]).code(2));
    };
    check("unknown_key", "warehose: ./x\n");
    check("unknown_connection_key", "connections:\n  shop:\n    conector: example\n");
    check("broken_yaml", "connections:\n  shop: [\n");
    check("tabs", "connections:\n\tshop:\n");
    check("not_a_map", "- a\n- b\n");
}

#[test]
fn an_unknown_connector_in_the_file_is_explained_at_its_place() {
    let sandbox = Sandbox::with_settings("connections:\n  shop:\n    connector: exampel\n");
    snapshot!("file_unknown_connector", sandbox.run(&["tables", "shop"]).code(2));
    snapshot!("unknown_connection", sandbox.run(&["tables", "shopp"]).code(2));
}
