//! The reference pages say what the tables of fields say, and their examples work.

use std::path::Path;

use headwater_spec::{ConnectorSpec, PipelineSpec, connector_reference, pipeline_reference};

const BEGIN: &str = "<!-- fields: written by a test, do not edit -->\n";
const END: &str = "<!-- end of fields -->\n";

fn path(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(name)
}

fn page(name: &str) -> String {
    std::fs::read_to_string(path(name)).unwrap_or_else(|e| panic!("docs/{name}: {e}"))
}

/// The page with the fields as they are.
fn renewed(page: &str, fields: &str) -> String {
    let (before, rest) = page.split_once(BEGIN).expect("the mark where the fields begin");
    let (_, after) = rest.split_once(END).expect("the mark where the fields end");
    format!("{before}{BEGIN}\n{fields}\n{END}{after}")
}

fn pages() -> [(&'static str, String); 2] {
    [("pipeline-spec.md", pipeline_reference()), ("connector-spec.md", connector_reference())]
}

#[test]
fn the_pages_list_the_fields_there_are() {
    for (name, fields) in pages() {
        let page = page(name);
        assert!(
            page == renewed(&page, &fields),
            "docs/{name} is not up to date: run `cargo test -p headwater-spec --test it write_the_fields -- --ignored`"
        );
    }
}

#[test]
#[ignore = "writes the fields into the pages"]
fn write_the_fields() {
    for (name, fields) in pages() {
        std::fs::write(path(name), renewed(&page(name), &fields)).expect("a page that can be written");
    }
}

/// The fenced blocks of a language.
fn blocks<'a>(page: &'a str, language: &str) -> Vec<&'a str> {
    let fence = format!("```{language}\n");
    page.split(fence.as_str()).skip(1).filter_map(|rest| rest.split("\n```").next()).collect()
}

#[test]
fn the_examples_of_the_pages_work() {
    let mut seen = 0;
    for (language, file) in [("yaml", "spec.yaml"), ("json", "spec.json")] {
        for block in blocks(&page("pipeline-spec.md"), language) {
            seen += 1;
            let parsed =
                PipelineSpec::parse(block, file).unwrap_or_else(|e| panic!("{}\n{block}", e.render()));
            assert_eq!(parsed.warnings, [], "{block}");
        }
    }
    for block in blocks(&page("connector-spec.md"), "yaml") {
        seen += 1;
        let parsed =
            ConnectorSpec::parse(block, "spec.yaml").unwrap_or_else(|e| panic!("{}\n{block}", e.render()));
        assert_eq!(parsed.warnings, [], "{block}");
    }
    assert!(seen >= 4, "{seen} examples");
}
