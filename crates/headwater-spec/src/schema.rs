//! JSON Schema (draft 2020-12) of the documents, from the tables of fields.
//!
//! The schemas accept what the parser accepts, as far as JSON Schema can say it: what depends on two places of a
//! document (one destination twice) or on the inside of a text (a cron expression's ranges) is the parser's alone.

use serde_json::{Map, Value, json};

use crate::connector_fields::CONNECTOR;
use crate::fields::{Field, Need, ObjectKind, Rest, Rule, Shape, TextRule};
use crate::pipeline_fields::PIPELINE;
use crate::suite::SUITE;

/// The JSON Schema of a pipeline spec, for editors.
pub fn pipeline_schema() -> Value {
    root(&PIPELINE, "Headwater pipeline spec")
}

/// The JSON Schema of a connector spec, for editors.
pub fn connector_schema() -> Value {
    root(&CONNECTOR, "Headwater connector spec")
}

/// The JSON Schema of `suite.yaml`, for editors.
pub fn suite_schema() -> Value {
    root(&SUITE, "Headwater contract suite of a connector")
}

fn root(kind: &'static ObjectKind, title: &str) -> Value {
    let mut definitions = Map::new();
    let mut schema = object(kind, &mut definitions);
    if let Some(map) = schema.as_object_mut() {
        map.insert("$schema".into(), json!("https://json-schema.org/draft/2020-12/schema"));
        map.insert("title".into(), json!(title));
        map.insert("$defs".into(), Value::Object(definitions));
    }
    schema
}

fn reference(kind: &'static ObjectKind, definitions: &mut Map<String, Value>) -> Value {
    if !definitions.contains_key(kind.name) {
        // Taken before it is filled, so that an object that holds itself ends.
        definitions.insert(kind.name.into(), Value::Null);
        let schema = object(kind, definitions);
        definitions.insert(kind.name.into(), schema);
    }
    json!({ "$ref": format!("#/$defs/{}", kind.name) })
}

fn object(kind: &'static ObjectKind, definitions: &mut Map<String, Value>) -> Value {
    let mut properties = Map::new();
    let mut patterns = Map::new();
    let mut all_of = Vec::new();
    for field in kind.fields {
        let schema = property(field, definitions);
        let names = || std::iter::once(field.name).chain(field.alias);
        for name in names() {
            let mut schema = schema.clone();
            if let (true, Some(map)) = (Some(name) == field.alias, schema.as_object_mut()) {
                map.insert("deprecated".into(), json!(true));
            }
            properties.insert(name.into(), schema);
            if kind.rest == Rest::Options {
                let checked = shape(field, definitions);
                patterns.insert(any_case(name), nullable(checked, field.need));
            }
        }
        if field.need == Need::Required {
            let mut one_of: Vec<Value> = names().map(|name| json!({ "required": [name] })).collect();
            match one_of.len() {
                1 => all_of.extend(one_of.pop()),
                _ => all_of.push(json!({ "anyOf": one_of })),
            }
        }
        if let Some(alias) = field.alias {
            all_of.push(json!({ "not": { "required": [field.name, alias] } }));
        }
    }
    for rule in kind.rules {
        all_of.extend(self::rule(kind, *rule));
    }
    let mut schema = Map::new();
    schema.insert("type".into(), json!("object"));
    schema.insert("description".into(), json!(plain(kind.about)));
    schema.insert("properties".into(), Value::Object(properties));
    match kind.rest {
        Rest::Refused => {
            schema.insert("additionalProperties".into(), json!(false));
        }
        Rest::Ignored => {}
        Rest::Options => {
            schema.insert("patternProperties".into(), Value::Object(patterns));
            let table_name = any_case("tableName");
            schema.insert(
                "propertyNames".into(),
                json!({ "pattern": r"^[^\u0000-\u001f\u007f-\u009f]*$", "not": { "anyOf": [
                    { "pattern": table_name }, { "pattern": r"^\s*$" }
                ] } }),
            );
        }
    }
    if !all_of.is_empty() {
        schema.insert("allOf".into(), Value::Array(all_of));
    }
    Value::Object(schema)
}

/// A pattern that a name matches in any case.
fn any_case(name: &str) -> String {
    let mut pattern = String::from("^");
    for c in name.chars() {
        if c.is_ascii_alphabetic() {
            pattern.push('[');
            pattern.push(c.to_ascii_lowercase());
            pattern.push(c.to_ascii_uppercase());
            pattern.push(']');
        } else {
            pattern.push(c);
        }
    }
    pattern.push('$');
    pattern
}

/// A schema that holds where a field is there with a value.
fn present(kind: &ObjectKind, name: &str) -> Value {
    if kind.rest == Rest::Options {
        // Some name that matches has a value: not all of them have none.
        let mut patterns = Map::new();
        patterns.insert(any_case(name), json!({ "type": "null" }));
        return json!({ "not": { "patternProperties": patterns } });
    }
    let names =
        kind.fields.iter().filter(|f| f.name == name).flat_map(|f| std::iter::once(f.name).chain(f.alias));
    let each = |name: &str| {
        let mut properties = Map::new();
        properties.insert(name.into(), json!({ "not": { "type": "null" } }));
        json!({ "required": [name], "properties": properties })
    };
    let mut schemas: Vec<Value> = names.map(each).collect();
    match schemas.len() {
        1 => schemas.pop().unwrap_or_default(),
        _ => json!({ "anyOf": schemas }),
    }
}

fn rule(kind: &ObjectKind, rule: Rule) -> Vec<Value> {
    match rule {
        Rule::ExactlyOne(names) => {
            let one_of: Vec<Value> = names.iter().map(|name| present(kind, name)).collect();
            vec![json!({ "oneOf": one_of })]
        }
        Rule::NotBoth(one, other) => {
            vec![json!({ "not": { "allOf": [present(kind, one), present(kind, other)] } })]
        }
        Rule::NeededUnless(unless, needed) => {
            vec![json!({ "anyOf": [present(kind, unless), present(kind, needed)] })]
        }
        Rule::LakeNameUnless(unless, name) => {
            let mut properties = Map::new();
            properties.insert(name.into(), text(TextRule::LakeName));
            vec![json!({ "anyOf": [present(kind, unless), { "properties": properties }] })]
        }
    }
}

fn property(field: &Field, definitions: &mut Map<String, Value>) -> Value {
    let mut schema = nullable(shape(field, definitions), field.need);
    if let Some(map) = schema.as_object_mut() {
        let about = match field.need {
            Need::Ignored => format!("Ignored. {}", plain(field.about)),
            _ => plain(field.about),
        };
        map.insert("description".into(), json!(about));
        if let Ok(example) = serde_json::from_str::<Value>(field.example) {
            map.insert("examples".into(), json!([example]));
        }
        if field.need == Need::Ignored {
            map.insert("deprecated".into(), json!(true));
        }
    }
    schema
}

/// Descriptions are written in Markdown; editors show them as they are.
fn plain(text: &str) -> String {
    text.replace('`', "")
}

/// A field without a value is one that is not there.
fn nullable(schema: Value, need: Need) -> Value {
    match need {
        Need::Required | Need::Ignored => schema,
        Need::Optional => json!({ "anyOf": [schema, { "type": "null" }] }),
    }
}

fn shape(field: &Field, definitions: &mut Map<String, Value>) -> Value {
    match field.shape {
        Shape::Any => json!({}),
        Shape::Text(rule) => text(rule),
        Shape::Choice(values) => {
            let patterns = values.iter().map(|v| any_case(v)).collect::<Vec<_>>().join("|");
            let lower = values.iter().map(|v| v.to_ascii_lowercase());
            let common: Vec<String> = values.iter().map(|v| (*v).to_owned()).chain(lower).collect();
            // The enumeration is what editors propose, the pattern what is accepted.
            json!({ "anyOf": [{ "enum": common }, { "type": "string", "pattern": patterns }] })
        }
        Shape::Flag => json!({ "type": "boolean" }),
        Shape::Integer { min, max } => json!({ "type": "integer", "minimum": min, "maximum": max }),
        Shape::Names { most, empty } => {
            let least = usize::from(!empty);
            let one = if empty { json!({ "type": "string" }) } else { text(TextRule::Line) };
            json!({ "anyOf": [
                { "type": "array", "items": text(TextRule::Line), "minItems": least, "maxItems": most, "uniqueItems": true },
                one,
                { "type": ["number", "boolean"] },
            ] })
        }
        Shape::Texts => {
            json!({ "type": "object", "additionalProperties": { "type": ["string", "number", "boolean"] } })
        }
        Shape::Object(kind) => reference(kind, definitions),
        Shape::Named(kind) => {
            json!({ "type": "object", "additionalProperties": reference(kind, definitions) })
        }
        Shape::List { of, empty } => {
            json!({ "type": "array", "items": reference(of, definitions), "minItems": usize::from(!empty) })
        }
        Shape::NamesOrObjects => json!({ "type": "array", "items": { "anyOf": [
            text(TextRule::Line),
            { "type": "object", "required": ["name"], "properties": { "name": text(TextRule::Line) } },
        ] } }),
        Shape::Scalar => json!({ "type": ["string", "number", "boolean"] }),
        Shape::Scalars => {
            json!({ "type": "array", "items": { "type": ["string", "number", "boolean", "null"] } })
        }
    }
}

/// Plain numbers and truth values are texts where a text is meant.
fn text(rule: TextRule) -> Value {
    let line =
        r"^[^\u0000-\u001f\u007f-\u009f]*[^\s\u0000-\u001f\u007f-\u009f][^\u0000-\u001f\u007f-\u009f]*$";
    match rule {
        TextRule::Free => json!({ "type": ["string", "number", "boolean"] }),
        TextRule::Line => {
            json!({ "type": ["string", "number", "boolean"], "pattern": line, "maxLength": 1024 })
        }
        TextRule::LakeName => json!({
            "type": ["string", "number", "boolean"],
            "pattern": r"^[^\s._/\\\u0000-\u001f\u007f-\u009f]([^/\\\u0000-\u001f\u007f-\u009f]*[^\s/\\\u0000-\u001f\u007f-\u009f])?$",
            "maxLength": 255
        }),
        TextRule::Cron => {
            json!({ "type": "string", "pattern": r"^\s*\S+(\s+\S+){5,6}\s*$", "maxLength": 1024 })
        }
        TextRule::Retention => json!({ "type": "string", "pattern": "^(keep|[1-9][0-9]{0,8}[smhdw])$" }),
        TextRule::TimeZone => {
            let zones: Vec<&str> = chrono_tz::TZ_VARIANTS.iter().map(|zone| zone.name()).collect();
            json!({ "type": "string", "enum": zones })
        }
    }
}
