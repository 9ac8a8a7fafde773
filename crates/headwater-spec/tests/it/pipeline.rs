//! Pipeline specs: what is accepted and what it means.

use headwater_spec::{Object, OnBadRecord, Parsed, PipelineSpec, ScdType, Trigger};

pub(crate) fn parse(text: &str) -> Parsed<PipelineSpec> {
    PipelineSpec::parse(text, "spec.yaml").unwrap_or_else(|e| panic!("{}\n{text}", e.render()))
}

#[test]
fn the_short_form_has_connection_and_objects() {
    let parsed = parse(
        "connection_name: wiki
objects:
  - table:
      source_table: pages
      table_configuration:
        SCD_Type: scd_type_1
        primary_keys: page_id, wiki
        on_bad_record: null
        PageSize: 50
        ratio: 1.10
        deep: true
        filters: [{ns: 0, names: [a, 1.50]}]
  - schema:
      source_schema: shop
      exclude: drafts
",
    );
    let spec = parsed.value;
    assert_eq!(spec.name_or("wiki"), "wiki");
    assert_eq!(spec.connection_name(), "wiki");
    let [Object::Table(table), Object::Schema(schema)] = spec.objects() else {
        panic!("{:?}", spec.objects())
    };
    assert_eq!(table.path, "objects[0].table");
    assert_eq!(table.configuration.scd_type, Some(ScdType::Type1));
    assert_eq!(
        table.configuration.primary_keys.as_deref(),
        Some(&["page_id".to_owned(), "wiki".to_owned()][..])
    );
    assert_eq!(table.configuration.on_bad_record, Some(OnBadRecord::Null));
    let options: Vec<(&str, &str)> = table.configuration.connector_options.iter().collect();
    assert_eq!(
        options,
        [
            ("PageSize", "50"),
            ("ratio", "1.10"),
            ("deep", "true"),
            ("filters", r#"[{"ns":0,"names":["a",1.50]}]"#)
        ]
    );
    assert_eq!(schema.namespace.as_deref(), Some("shop"));
    assert_eq!(schema.exclude, ["drafts"]);
    assert_eq!(parsed.warnings, []);
}

#[test]
fn the_full_form_nests_connection_and_objects() {
    let parsed = parse(
        r#"{
  "name": "wiki", "catalog": "main", "target": "wiki", "id": 12,
  "ingestion_definition": {
    "connection_name": "wiki",
    "table_configuration": {"on_bad_record": "quarantine", "depth": 1, "lang": "en"},
    "objects": [
      {"table": {"source_table": "pages", "destination_table": "p", "table_configuration": {"DEPTH": 2}}},
      {"schema": {}}
    ]
  },
  "schedule": {"cron": {"quartz_cron_schedule": "0 30 6 * * ?", "timezone_id": "Europe/Paris", "pause_status": "PAUSED"}},
  "event_log": {"name": "events"},
  "continuous": false, "development": true,
  "configuration": {"a": 1, "b": true}, "tags": {"team": "data"},
  "clusters": [{"label": "default"}], "photon": true
}"#,
    );
    let spec = &parsed.value;
    assert_eq!(
        (spec.name(), spec.catalog(), spec.schema(), spec.id()),
        (Some("wiki"), Some("main"), Some("wiki"), Some("12"))
    );
    let table = spec.tables().next().expect("one table");
    assert_eq!(table.path, "ingestion_definition.objects[0].table");
    assert_eq!(table.configuration.on_bad_record, Some(OnBadRecord::Quarantine));
    let options: Vec<(&str, &str)> = table.configuration.connector_options.iter().collect();
    assert_eq!(options, [("lang", "en"), ("DEPTH", "2")]);
    let schedule = spec.schedule().expect("a schedule");
    assert_eq!(schedule.paused, Some(true));
    assert_eq!(
        schedule.trigger,
        Trigger::Cron { expression: "0 30 6 * * ?".into(), timezone: Some("Europe/Paris".into()) }
    );
    assert!(spec.development() && !spec.continuous());
    assert_eq!(spec.configuration(), [("a".to_owned(), "1".to_owned()), ("b".to_owned(), "true".to_owned())]);
    let warnings: Vec<String> = parsed.warnings.iter().map(|w| format!("{} {}", w.path, w.problem)).collect();
    assert_eq!(
        warnings,
        [
            "clusters `clusters` has no meaning here and is ignored",
            "photon `photon` has no meaning here and is ignored"
        ]
    );
}
