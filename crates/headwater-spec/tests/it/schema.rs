//! The JSON Schemas accept what the parser accepts.

use boon::{Compiler, SchemaIndex, Schemas};
use headwater_spec::{
    ConnectorSpec, PipelineSpec, Problem, SpecErrors, SuiteSpec, connector_schema, pipeline_schema,
    suite_schema,
};
use proptest::prelude::*;
use serde_json::{Value, json};

struct Schema {
    schemas: Schemas,
    index: SchemaIndex,
}

impl Schema {
    fn new(schema: Value) -> Self {
        let mut compiler = Compiler::new();
        compiler.set_default_draft(boon::Draft::V2020_12);
        compiler.add_resource("mem:///schema.json", schema).expect("a resource");
        let mut schemas = Schemas::new();
        let index = compiler.compile("mem:///schema.json", &mut schemas).unwrap_or_else(|e| panic!("{e:#}"));
        Schema { schemas, index }
    }

    fn check(&self, document: &Value) -> Result<(), String> {
        self.schemas.validate(document, self.index).map_err(|e| format!("{e:#}"))
    }
}

/// Problems that JSON Schema cannot express: they hang on two places, or on the inside of a text.
fn is_beyond_a_schema(problem: &Problem) -> bool {
    match problem {
        Problem::SameDestination { .. } | Problem::Contradiction { .. } | Problem::RepeatedField { .. } => {
            true
        }
        Problem::BadValue { reason, .. } => {
            let inside_a_text = [
                "named twice",
                "the name of two",
                "commas",
                "fields",
                "both days",
                "wrong field",
                "number of a rule",
            ];
            inside_a_text.iter().any(|part| reason.contains(part))
        }
        Problem::WrongType { expected, .. } => {
            expected.starts_with("at most") || expected == "at least one name"
        }
        _ => false,
    }
}

/// Parser and schema must agree; the schema may only miss what no schema can say.
fn agree<T>(schema: &Schema, document: &Value, parsed: Result<T, SpecErrors>) -> Result<(), String> {
    match (schema.check(document), parsed) {
        (Ok(()), Ok(_)) | (Err(_), Err(_)) => Ok(()),
        (Err(error), Ok(_)) => Err(format!("only the schema refuses: {error}\n{document}")),
        (Ok(()), Err(errors)) => match errors.errors.iter().find(|e| !is_beyond_a_schema(&e.problem)) {
            Some(error) => Err(format!("only the parser refuses: {error}\n{document}")),
            None => Ok(()),
        },
    }
}

fn pipeline(schema: &Schema, document: &Value) -> Result<(), String> {
    agree(schema, document, PipelineSpec::parse(&document.to_string(), "spec.json"))
}

fn connector(schema: &Schema, document: &Value) -> Result<(), String> {
    agree(schema, document, ConnectorSpec::parse(&document.to_string(), "spec.json"))
}

fn good_pipelines() -> Vec<Value> {
    vec![
        json!({"connection_name": "c", "objects": [{"table": {"source_table": "t"}}]}),
        json!({"connection_name": "c", "objects": [{"schema": {}}]}),
        json!({
            "name": "p", "id": 5, "catalog": "main", "target": "s",
            "ingestion_definition": {
                "connection_name": "c",
                "table_configuration": {"on_bad_record": "null", "SCD_TYPE": "Append_Only"},
                "objects": [
                    {"table": {
                        "source_table": "t", "source_schema": "n", "source_catalog": "x",
                        "destination_catalog": "a", "destination_schema": "b", "destination_table": "c",
                        "table_configuration": {
                            "scd_type": "scd_type_2", "primary_keys": ["a", 2], "sequence_by": "x.y",
                            "track_history_columns": "x, b", "tombstone_retention": "36h", "deletion_vectors": false,
                            "cluster_by": "a, b", "include_columns": ["a", "2", "x", "b"], "on_bad_record": null,
                            "deep": {"er": [1, null, true]}, "size": 10
                        }
                    }},
                    {"schema": {"source_schema": "n", "exclude": [], "table_configuration": null}}
                ]
            },
            "event_log": {"catalog": "a", "schema": "b", "name": "log"},
            "schedule": {"cron": {"quartz_cron_schedule": "0 0 1 * * ?", "timezone_id": "Europe/Paris", "pause_status": "paused"}},
            "continuous": false, "development": null, "configuration": {"a": 1}, "tags": {},
            "clusters": [{"x": 1}], "photon": "yes"
        }),
        json!({"connection_name": "c", "objects": [{"table": {"source_table": true}}],
               "trigger": {"periodic": {"interval": 3, "unit": "hours"}}}),
    ]
}

fn good_connectors() -> Vec<Value> {
    vec![
        json!({}),
        json!({
            "display_name": "Wiki", "description": "a\nb", "more": 1,
            "connection": {
                "parameters": [
                    {"name": "base_url", "type": "string", "required": true, "description": "d", "default": 5,
                     "allowed_values": ["a", 1, true], "secret": false, "example": "x", "other": []}
                ],
                "auth_methods": [
                    {"name": "a", "parameters": [{"name": "token", "enum": ["x"]}], "oauth": {"scopes": "a,b"}},
                    {"type": "b", "display_name": "B", "description": "d"}
                ],
                "oauth": {"authorization_endpoint": "https://e.example/a", "token_url": "https://e.example/t",
                          "scope": ["a"], "grant_type": "g", "pkce": true}
            },
            "external_options_allowlist": "",
            "tables": ["a", {"name": "b", "x": 1}]
        }),
        json!({"external_options_allowlist": ["a", "b"], "auth_methods": null}),
    ]
}

#[test]
fn good_documents_are_good_to_both() {
    let schema = Schema::new(pipeline_schema());
    for document in good_pipelines() {
        schema.check(&document).unwrap_or_else(|e| panic!("{e}\n{document:#}"));
        pipeline(&schema, &document).unwrap_or_else(|e| panic!("{e}"));
    }
    let schema = Schema::new(connector_schema());
    for document in good_connectors() {
        schema.check(&document).unwrap_or_else(|e| panic!("{e}\n{document:#}"));
        connector(&schema, &document).unwrap_or_else(|e| panic!("{e}"));
    }
}

/// One change at a time of one good document, at a place and of a kind that the numbers choose.
fn change(document: &mut Value, place: usize, kind: usize, value: &Value, key: &str) {
    let mut paths = Vec::new();
    collect(document, &mut String::new(), &mut paths);
    let path = paths[place % paths.len()].clone();
    match (kind % 4, path.rsplit_once('/')) {
        (0, _) | (_, None) => {
            if let Some(target) = document.pointer_mut(&path) {
                *target = value.clone();
            }
        }
        (1, Some((parent, name))) => match document.pointer_mut(parent) {
            Some(Value::Object(map)) => {
                map.remove(name);
            }
            Some(Value::Array(list)) => {
                list.pop();
            }
            _ => {}
        },
        (2, Some((parent, name))) => {
            if let Some(Value::Object(map)) = document.pointer_mut(parent)
                && let Some(old) = map.remove(name)
            {
                map.insert(key.to_owned(), old);
            }
        }
        (_, Some(_)) => {
            if let Some(Value::Object(map)) = document.pointer_mut(&path) {
                map.insert(key.to_owned(), value.clone());
            }
        }
    }
}

fn collect(value: &Value, path: &mut String, paths: &mut Vec<String>) {
    paths.push(path.clone());
    let length = path.len();
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                path.push_str(&format!("/{key}"));
                collect(value, path, paths);
                path.truncate(length);
            }
        }
        Value::Array(list) => {
            for (i, value) in list.iter().enumerate() {
                path.push_str(&format!("/{i}"));
                collect(value, path, paths);
                path.truncate(length);
            }
        }
        _ => {}
    }
}

fn values() -> Vec<Value> {
    vec![
        json!(null),
        json!(true),
        json!(false),
        json!(0),
        json!(1),
        json!(-3),
        json!(1.5),
        json!(2_000_000),
        json!(""),
        json!(" "),
        json!("a"),
        json!("a b"),
        json!("a/b"),
        json!("_a"),
        json!(".a"),
        json!("a\nb"),
        json!("a,b"),
        json!("a,,b"),
        json!("é"),
        json!("x".repeat(256)),
        json!("x".repeat(1025)),
        json!("[\"a\"]"),
        json!("SCD_TYPE_1"),
        json!("quarantine"),
        json!("NULL"),
        json!("PAUSED"),
        json!("HOURS"),
        json!("0 0 1 * * ?"),
        json!("0 0 1 * *"),
        json!("Europe/Paris"),
        json!("a//b"),
        json!("12"),
        json!([]),
        json!(["a"]),
        json!(["a", "a"]),
        json!([null]),
        json!([""]),
        json!([[]]),
        json!(["a", {}]),
        json!({}),
        json!({"a": "b"}),
        json!({"a": []}),
        json!({"source_table": "t"}),
        json!({"name": "n"}),
        json!([{"table": {"source_table": "t"}}]),
        json!([{"name": "n"}]),
        json!({"manual": {}}),
    ]
}

const KEYS: [&str; 26] = [
    "name",
    "catalog",
    "schema",
    "target",
    "connection_name",
    "objects",
    "table",
    "ingestion_definition",
    "source_table",
    "destination_table",
    "table_configuration",
    "scd_type",
    "Primary_Keys",
    "include_columns",
    "EXCLUDE_COLUMNS",
    "exclude_tables",
    "tableName",
    "anything",
    "trigger",
    "schedule",
    "cron",
    "photon",
    "parameters",
    "auth_methods",
    "external_options_allowlist",
    "type",
];

thread_local! {
    static PIPELINES: Schema = Schema::new(pipeline_schema());
    static CONNECTORS: Schema = Schema::new(connector_schema());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1_500) })]

    #[test]
    fn changed_documents_are_judged_alike(place: usize, kind: usize, value: usize, key: usize, times in 1usize..4) {
        let values = values();
        for (good, is_pipeline) in [(good_pipelines(), true), (good_connectors(), false)] {
            let mut document = good[place % good.len()].clone();
            for time in 0..times {
                let value = &values[value.wrapping_mul(time + 1) % values.len()];
                change(&mut document, (place / 7).wrapping_mul(time + 1), kind.wrapping_add(time), value, KEYS[key % KEYS.len()]);
            }
            let verdict = if is_pipeline {
                PIPELINES.with(|schema| pipeline(schema, &document))
            } else {
                CONNECTORS.with(|schema| connector(schema, &document))
            };
            prop_assert_eq!(verdict, Ok(()));
        }
    }
}

#[test]
fn every_value_in_every_place_is_judged_alike() {
    let (pipelines, connectors) = (Schema::new(pipeline_schema()), Schema::new(connector_schema()));
    let mut verdicts = 0;
    for (good, is_pipeline) in [(good_pipelines(), true), (good_connectors(), false)] {
        for document in good {
            let mut paths = Vec::new();
            collect(&document, &mut String::new(), &mut paths);
            for (place, path) in paths.iter().enumerate() {
                for value in values() {
                    let mut changed = document.clone();
                    change(&mut changed, place, 0, &value, "");
                    let verdict = if is_pipeline {
                        pipeline(&pipelines, &changed)
                    } else {
                        connector(&connectors, &changed)
                    };
                    verdict.unwrap_or_else(|e| panic!("{path}: {e}"));
                    verdicts += 1;
                }
            }
        }
    }
    assert!(verdicts > 2_000, "{verdicts}");
}

#[test]
fn a_suite_is_judged_alike() {
    let schema = Schema::new(suite_schema());
    let good = json!({
        "connection": {"token": "made-up", "size": 5}, "exclude": "a, b", "max_reads": 5,
        "tables": {"issues": {"owner": "acme", "deep": [1, {"a": null}]}, "users": {}},
        "skip": [{"rule": "R13", "reason": "x"}, {"rule": "R1", "table": "t", "reason": "x"}],
        "unfilled_columns": [{"table": "t", "column": "c", "reason": "x"}]
    });
    let mut paths = Vec::new();
    collect(&good, &mut String::new(), &mut paths);
    for (place, path) in paths.iter().enumerate() {
        for value in values() {
            let mut changed = good.clone();
            change(&mut changed, place, 0, &value, "");
            let parsed = SuiteSpec::parse(&changed.to_string(), "suite.json");
            agree(&schema, &changed, parsed).unwrap_or_else(|e| panic!("{path}: {e}"));
        }
    }
}

/// Every property says what it is and shows a value that its own schema accepts.
#[test]
fn every_field_has_a_description_and_an_example_that_fits() {
    for schema in [pipeline_schema(), connector_schema(), suite_schema()] {
        let definitions = schema["$defs"].clone();
        let objects = definitions.as_object().into_iter().flatten().map(|(_, object)| object);
        for object in objects.chain([&schema]) {
            for (name, property) in object["properties"].as_object().into_iter().flatten() {
                assert!(property["description"].as_str().is_some_and(|d| d.len() > 5), "{name}");
                let Some(example) = property["examples"].get(0) else {
                    assert_eq!(property["deprecated"], json!(true), "{name} has no example");
                    continue;
                };
                let mut alone = property.clone();
                alone["$defs"] = definitions.clone();
                Schema::new(alone).check(example).unwrap_or_else(|e| panic!("{name}: {e}"));
            }
        }
    }
}
