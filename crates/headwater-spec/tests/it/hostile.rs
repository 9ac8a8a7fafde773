//! Input that means harm, and input that means nothing.

use headwater_spec::{ConnectorSpec, PipelineSpec};
use proptest::prelude::*;

/// The first error of a document that must be refused, with time and memory in proportion to its size.
fn refused(text: &str) -> String {
    let pipeline = PipelineSpec::parse(text, "spec.yaml").expect_err("a pipeline spec");
    let connector = ConnectorSpec::parse(text, "spec.yaml").expect_err("a connector spec");
    assert_eq!(pipeline.errors[0].problem, connector.errors[0].problem);
    pipeline.errors[0].problem.to_string()
}

#[test]
fn a_few_lines_that_stand_for_gigabytes() {
    let mut laughs = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for i in 1..12 {
        let before = format!("*a{}", i - 1);
        laughs.push_str(&format!("a{i}: &a{i} [{}]\n", vec![before; 10].join(", ")));
    }
    assert!(refused(&laughs).contains("with its aliases copied out"), "{}", refused(&laughs));

    let long = "y".repeat(1024 * 1024);
    let text = format!("a: &a {long}\nb: [{}]\n", vec!["*a"; 1000].join(", "));
    assert!(refused(&text).contains("bytes of text"), "{}", refused(&text));

    // Each level holds the one before once: few nodes, but ever deeper.
    let mut deep = String::from("a0: &a0 [x]\n");
    for i in 1..200 {
        deep.push_str(&format!("a{i}: &a{i} [*a{}]\n", i - 1));
    }
    assert!(refused(&deep).contains("too large"), "{}", refused(&deep));
}

#[test]
fn nesting_without_end() {
    for text in [
        "[".repeat(100_000),
        "{\"a\":".repeat(100_000),
        "- ".repeat(100_000),
        "a: {b: ".repeat(1_000),
        "? ".repeat(50_000),
    ] {
        let reason = refused(&text);
        let known = ["nested", "recursion limit", "not valid", "expected a name"];
        assert!(known.iter().any(|part| reason.contains(part)), "{reason}");
    }
    let nested = format!("{{\"a\": {}{}}}", "[".repeat(65), "]".repeat(65));
    assert!(refused(&nested).contains("nested more than 64 deep"), "{}", refused(&nested));
    let errors = PipelineSpec::parse(&"[".repeat(100_000), "spec.json").expect_err("too deep");
    assert!(errors.errors[0].problem.to_string().contains("nested more than 64 deep"));
}

#[test]
fn large_files() {
    let text = format!("# {}\n", "x".repeat(4 * 1024 * 1024));
    assert!(refused(&text).contains("bytes; 4194304 are the most"), "{}", refused(&text));
    let many = format!("a: [{}]", "1,".repeat(300_000));
    assert!(refused(&many).contains("too large"), "{}", refused(&many));
    let json = format!("{{\"a\": [{}1]}}", "1,".repeat(300_000));
    let errors = PipelineSpec::parse(&json, "spec.json").expect_err("too large");
    assert!(errors.errors[0].problem.to_string().contains("more than 200000 values"));
}

const GOOD: &str = r#"
name: wiki
catalog: main
schema: wiki
connection_name: my_wiki
table_configuration: {on_bad_record: quarantine}
objects:
  - table:
      source_table: pages
      destination_table: p
      table_configuration: &c
        scd_type: SCD_TYPE_1
        primary_keys: [id]
        cluster_by: a, b
        filter: {x: [1, 2.50, ~]}
  - schema: {source_schema: shop, exclude: [a], table_configuration: *c}
trigger: {cron: {quartz_cron_schedule: 0 0 1 * * ?}}
tags: {a: "b"}
"#;

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

    #[test]
    fn any_text_is_read_or_refused(text in "\\PC*|[ \\-:\\[\\]{}#&*!|>'\"%@`,?a-c0-9\n\t\r\u{0}\u{7f}\u{85}\u{feff}]{0,200}") {
        for name in ["a.yaml", "a.json"] {
            if let Err(errors) = PipelineSpec::parse(&text, name) {
                prop_assert!(!errors.errors.is_empty());
                prop_assert!(!errors.render().contains('\0'));
            }
            if let Err(errors) = ConnectorSpec::parse(&text, name) {
                prop_assert!(!errors.errors.is_empty());
            }
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Err(errors) = PipelineSpec::parse_bytes(&bytes, "a.yaml") {
            prop_assert!(!errors.errors.is_empty());
        }
    }

    #[test]
    fn a_spec_with_a_slip_is_read_or_refused_and_what_is_read_comes_round(
        at in 0..GOOD.len(), cut in 0usize..12, put in "[ \\-:\\[\\]{}#&*!|>'\",?a-z0-9\n]{0,6}"
    ) {
        let mut text = String::from(GOOD.get(..at).unwrap_or_default());
        text.push_str(&put);
        text.push_str(GOOD.get((at + cut).min(GOOD.len())..).unwrap_or_default());
        match PipelineSpec::parse(&text, "a.yaml") {
            Ok(parsed) => {
                let spec = parsed.value;
                for (text, name) in [(spec.to_yaml(), "b.yaml"), (spec.to_json(), "b.json"), (spec.to_json(), "b.yaml")] {
                    let again = PipelineSpec::parse(&text, name);
                    prop_assert_eq!(again.map(|p| p.value).map_err(|e| e.render()), Ok(spec.clone()), "{}", text);
                }
            }
            Err(errors) => {
                prop_assert!(!errors.errors.is_empty());
                for error in &errors.errors {
                    prop_assert!(error.at.line >= 1 && error.at.line <= text.lines().count() + 1, "{}", error);
                }
            }
        }
    }

    #[test]
    fn every_text_of_an_option_comes_round(value in any::<String>(), name in "[a-zA-Z][a-zA-Z0-9_. ]{0,20}x") {
        let value = value.as_str();
        let document = serde_json::json!({
            "connection_name": "c",
            "objects": [{"table": {"source_table": "t", "table_configuration": {name.as_str(): value}}}],
            "tags": {name.as_str(): value},
        });
        let spec = PipelineSpec::parse(&document.to_string(), "a.json").map_err(|e| TestCaseError::fail(e.render()))?.value;
        let table = spec.tables().next().expect("a table");
        prop_assert_eq!(table.configuration.connector_options.get(&name), Some(value));
        for (text, name) in [(spec.to_yaml(), "b.yaml"), (spec.to_json(), "b.json")] {
            let again = PipelineSpec::parse(&text, name);
            prop_assert_eq!(again.map(|p| p.value).map_err(|e| e.render()), Ok(spec.clone()), "{}", text);
        }
    }
}
