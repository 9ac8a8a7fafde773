//! From objects to tables.

use headwater_spec::{Listing, PipelineSpec};

use crate::pipeline::parse;

fn listing(entries: &[(Option<&str>, &[&str])]) -> Listing {
    Listing {
        connector: "model".into(),
        namespaces: Some(entries.iter().filter_map(|(namespace, _)| namespace.map(str::to_owned)).collect()),
        tables: entries
            .iter()
            .map(|(namespace, tables)| {
                (namespace.map(str::to_owned), tables.iter().map(|t| (*t).to_owned()).collect())
            })
            .collect(),
        catalog: "main".into(),
        schema: "raw".into(),
    }
}

#[test]
fn a_schema_object_becomes_one_object_per_table() {
    let parsed = parse(
        "connection_name: c
objects:
  - schema:
      source_schema: shop
      destination_schema: s
      exclude: [Drafts, gone]
      table_configuration: {scd_type: append_only, depth: 1}
  - table: {source_table: orders, source_schema: shop, destination_table: o}
  - schema: {}
",
    );
    assert_eq!(parsed.value.namespaces_to_list(), [None, Some("shop")]);
    let list = parsed
        .expand(&listing(&[(Some("shop"), &["orders", "items", "drafts"]), (None, &["orders", "x"])]))
        .expect("no clash");
    let tables: Vec<String> = list
        .tables
        .iter()
        .map(|t| {
            let namespace = t.namespace.as_deref().unwrap_or("-");
            let schema = t.destination_schema.as_deref().unwrap_or("-");
            format!(
                "{namespace}.{} {schema}.{} {:?}",
                t.source_table,
                t.destination_name(),
                t.configuration.scd_type
            )
        })
        .collect();
    assert_eq!(
        tables,
        [
            "shop.items s.items Some(AppendOnly)",
            "shop.orders -.o None",
            "-.orders -.orders None",
            "-.x -.x None"
        ]
    );
    let warnings: Vec<String> = list.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        warnings,
        ["spec.yaml:6:16: objects[0].schema.exclude_tables: the source has no table `gone` to leave out"]
    );
}

#[test]
fn clashes_bad_names_and_missing_listings_are_errors_with_a_place() {
    let parsed = parse(
        "connection_name: c
objects:
  - table: {source_table: b, destination_table: A}
  - schema: {source_schema: n}
  - schema: {source_schema: unlisted}
  - table: {source_table: z, destination_schema: Raw, destination_table: c}
  - table: {source_table: c}
  - table: {source_table: q, source_schema: n, destination_table: d}
",
    );
    let errors = parsed.expand(&listing(&[(Some("n"), &["a", "x/y", "Event_log"])])).expect_err("clashes");
    let lines: Vec<String> = errors.errors.iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        [
            "spec.yaml:4:13: objects[1].schema: `main.raw.a` is already the destination of `objects[0].table` (line 3)",
            "spec.yaml:4:13: objects[1].schema: `x/y` holds a slash",
            "spec.yaml:4:13: objects[1].schema: `main.raw.Event_log` is already the destination of `event_log` (line 1)",
            "spec.yaml:5:29: objects[2].schema.source_schema: the source has no namespace `unlisted`",
            "spec.yaml:7:27: objects[4].table.source_table: `main.raw.c` is already the destination of `objects[3].table` (line 6)",
            "spec.yaml:8:27: objects[5].table.source_table: namespace `n` has no table `q`",
        ]
    );
    let without = Listing { namespaces: None, ..listing(&[]) };
    let errors = parsed.expand(&without).expect_err("a connector without namespaces");
    assert!(errors.errors[0].to_string().ends_with("source_schema: connector `model` has no namespaces"));
    let nothing = parse("connection_name: c\nobjects:\n  - schema: {}\n").expand(&listing(&[]));
    assert!(nothing.expect_err("nothing listed").to_string().contains("were not listed"));
}

#[test]
fn callers_can_complain_about_a_place_too() {
    let text = "connection_name: c\nobjects:\n  - table:\n      source_table: pagse\n";
    let parsed = PipelineSpec::parse(text, "spec.yaml").expect("a spec");
    let table = parsed.value.tables().next().expect("a table");
    let error = parsed.error_at(
        &format!("{}.source_table", table.path),
        "the source has no table `pagse`",
        Some("did you mean `pages`?".into()),
    );
    assert_eq!(
        error.to_string(),
        "spec.yaml:4:21: objects[0].table.source_table: the source has no table `pagse`"
    );
    assert!(
        error.render().contains("4 |       source_table: pagse\n  |                     ^^^^^\n"),
        "{}",
        error.render()
    );
    assert_eq!(parsed.position("objects[0].table.destination_table").line, 4);
}
