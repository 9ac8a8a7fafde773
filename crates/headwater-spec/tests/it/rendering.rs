//! How complaints look.

use headwater_spec::{ConnectorSpec, PipelineSpec};
use insta::assert_snapshot;

fn errors(text: &str) -> String {
    PipelineSpec::parse(text, "pipelines/wiki.yaml").expect_err("errors").render()
}

#[test]
fn an_unknown_field_shows_what_is_allowed_and_the_nearest() {
    assert_snapshot!(errors("connection_name: wiki\nobjects:\n  - table:\n      source_table: pages\n      destination_tabel: p\n"), @r"
    error: unknown field `destination_tabel`
      --> pipelines/wiki.yaml:5:7
      |
    5 |       destination_tabel: p
      |       ^^^^^^^^^^^^^^^^^
      = at: objects[0].table.destination_tabel
      = allowed: source_table, source_schema, source_catalog, destination_catalog, destination_schema, destination_table, table_configuration
      = hint: did you mean `destination_table`?
    ");
}

#[test]
fn errors_come_in_the_order_of_the_document_and_warnings_after_them() {
    assert_snapshot!(errors("photon: true\nconnection_name: wiki\ncontinuous: on\nobjects:\n  - table: {source_table: pages, table_configuration: {scd_type: type2}}\n"), @r"
    error: expected `true` or `false`, found the text `on`
      --> pipelines/wiki.yaml:3:13
      |
    3 | continuous: on
      |             ^^
      = at: continuous
      = hint: write `true`, without quotes; `on` is not a truth value in YAML 1.2

    error: `type2` is not a value of `scd_type`
      --> pipelines/wiki.yaml:5:66
      |
    5 |   - table: {source_table: pages, table_configuration: {scd_type: type2}}
      |                                                                  ^^^^^
      = at: objects[0].table.table_configuration.scd_type
      = allowed: SCD_TYPE_1, SCD_TYPE_2, APPEND_ONLY
      = hint: did you mean `SCD_TYPE_2`?

    warning: `photon` has no meaning here and is ignored
      --> pipelines/wiki.yaml:1:1
      |
    1 | photon: true
      | ^^^^^^
      = at: photon
      = hint: There is one engine.
    ");
}

#[test]
fn line_numbers_of_several_digits_move_the_bar() {
    let text =
        format!("{}connection_name: c\nobjects: [{{table: {{source_table: a/b}}}}]\n", "# c\n".repeat(99));
    assert_snapshot!(errors(&text), @r"
    error: `a/b` holds a slash
        --> pipelines/wiki.yaml:101:34
        |
    101 | objects: [{table: {source_table: a/b}}]
        |                                  ^^^
        = at: objects[0].table.source_table
        = hint: set `destination_table` to a name for the lake
    ");
}

#[test]
fn long_lines_are_cut_around_the_place_and_control_characters_do_not_reach_the_terminal() {
    let text = format!(
        "connection_name: c\nobjects: [{{schema: {{}}}}] # {}\nname: \"{}\\e[31m\u{85}\" \n",
        "x".repeat(30),
        "y".repeat(300)
    );
    let rendered = errors(&text);
    assert!(rendered.lines().all(|line| line.chars().count() < 200), "{rendered}");
    assert!(!rendered.contains(['\u{1b}', '\u{85}']), "{rendered:?}");
    let far = format!(
        "connection_name: c\nobjects: [{{table: {{source_table: t, destination_table: {:>300}}}}}]\n",
        "a/b"
    );
    let rendered = errors(&far);
    let lines: Vec<&str> = rendered.lines().collect();
    let (source, caret) = (lines[3], lines[4]);
    assert!(source.starts_with("2 | …"), "{rendered}");
    let column = caret.chars().position(|c| c == '^').expect("a caret");
    assert_eq!(source.chars().skip(column).take(3).collect::<String>(), "a/b", "{rendered}");
}

#[test]
fn one_line_names_file_line_column_and_path() {
    let errors = PipelineSpec::parse("connection_name: c\nobjects: [{}]\n", "a.yaml").expect_err("errors");
    assert_eq!(errors.to_string(), "a.yaml:2:11: objects[0]: one of `table` or `schema` is needed");
}

#[test]
fn a_refused_table_option_shows_the_list() {
    let connector = ConnectorSpec::parse(
        "display_name: MediaWiki\nexternal_options_allowlist: [namespace, with_content]\n",
        "connector_spec.yaml",
    )
    .expect("a connector spec")
    .value;
    let parsed = PipelineSpec::parse(
        "connection_name: c\nobjects:\n  - table:\n      source_table: t\n      table_configuration:\n        scd_type: SCD_TYPE_1\n        withContent: true\n        Namespace: 0\n",
        "wiki.yaml",
    )
    .expect("a pipeline spec");
    let found: Vec<String> = parsed.check_table_options(&connector).iter().map(|d| d.render()).collect();
    assert_snapshot!(found.join("\n"), @r"
    error: connector `MediaWiki` has no table option `withContent`
      --> wiki.yaml:7:9
      |
    7 |         withContent: true
      |         ^^^^^^^^^^^
      = at: objects[0].table.table_configuration.withContent
      = allowed: namespace, with_content
      = hint: did you mean `with_content`?
    ");
}
