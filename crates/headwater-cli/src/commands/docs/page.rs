//! A connector's public page, from its spec and what it says of its tables.

use headwater_connect::{DataType, IngestionType, StructField, StructType, TableMetadata};
use headwater_spec::{AuthMethod, ConnectorSpec, Parameter};

use super::super::source::type_text;

const TEMPLATE: &str = include_str!("../../../../../templates/README.md.tmpl");

/// Tables that the example of a pipeline shows.
const SHOWN_TABLES: usize = 2;

/// How deep fields of structs are listed: those of a column's own fields are.
const DEEPEST: usize = 1;

/// Lines of a table's columns that are shown without being asked for.
const OPEN_LINES: usize = 40;

/// A table as the connector describes it.
pub(super) struct Table {
    pub(super) namespace: Option<String>,
    pub(super) name: String,
    pub(super) schema: StructType,
    pub(super) metadata: TableMetadata,
}

/// The page, with the kept parts as the template has them.
pub(super) fn page(name: &str, spec: &ConnectorSpec, tables: &[Table]) -> String {
    let connection = name.to_owned();
    let values = [
        ("title", spec.display_name().unwrap_or(name).trim().to_owned()),
        ("description", spec.description().unwrap_or_default().trim().to_owned()),
        ("parameters", parameters(spec)),
        ("connection", connection.clone()),
        ("add_connection", add_connection(&connection, name, spec)),
        ("connection_yaml", connection_yaml(&connection, name, spec)),
        ("tables", table_list(tables)),
        ("options", options(spec)),
        ("pipeline", pipeline(&connection, tables)),
        ("columns", columns(tables)),
    ];
    let mut page = String::new();
    // What is put in is not looked at again: a value may hold what looks like a place for one.
    let mut rest = TEMPLATE;
    while let Some((before, after)) = rest.split_once("{{") {
        page.push_str(before);
        let Some((place, after)) = after.split_once("}}") else { break };
        page.extend(values.iter().filter(|(name, _)| *name == place).map(|(_, value)| value.as_str()));
        rest = after;
    }
    page.push_str(rest);
    without_gaps(&page)
}

/// One empty line where an empty value has left several.
fn without_gaps(page: &str) -> String {
    let mut text = String::with_capacity(page.len());
    let mut empty = false;
    for line in page.lines() {
        if !(empty && line.is_empty()) {
            text.push_str(line);
            text.push('\n');
        }
        empty = line.is_empty();
    }
    text
}

/// A text as it may stand in a cell.
fn cell(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}

fn code(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("`{}`", cell(text)) }
}

fn rows(head: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | ").trim_end());
    let mut text = line(&head.iter().map(|h| (*h).to_owned()).collect::<Vec<_>>());
    text.push_str(&format!("|{}\n", "---|".repeat(head.len())));
    for row in rows {
        text.push_str(&line(&row));
    }
    text.trim_end().to_owned()
}

fn parameter_rows(parameters: &[Parameter]) -> String {
    let row = |p: &Parameter| {
        let mut about = cell(p.description.as_deref().unwrap_or_default());
        if !p.allowed_values.is_empty() {
            let values: Vec<String> = p.allowed_values.iter().map(|v| code(v)).collect();
            about.push_str(&format!(" One of {}.", values.join(", ")));
        }
        let yes = |is: bool| if is { "yes".to_owned() } else { String::new() };
        vec![
            code(&p.name),
            p.kind.as_str().to_owned(),
            yes(p.required),
            yes(p.is_secret()),
            code(p.default.as_deref().unwrap_or_default()),
            about.trim().to_owned(),
        ]
    };
    rows(&["option", "type", "required", "secret", "default", ""], parameters.iter().map(row))
}

fn parameters(spec: &ConnectorSpec) -> String {
    if spec.takes_any_option() {
        return "It has no `connector_spec.yaml`, so its options are not known.".to_owned();
    }
    let mut text = match spec.common_parameters() {
        [] if spec.auth_methods().is_empty() => "It needs no options.".to_owned(),
        [] => String::new(),
        common => parameter_rows(common),
    };
    if spec.parameters().any(Parameter::is_secret) {
        text.push_str(
            "\n\nA secret is given as `env:NAME` (a variable of the environment) or `file:PATH`, never as itself.",
        );
    }
    if !spec.auth_methods().is_empty() {
        text.push_str("\n\nThere are these ways to sign in; the options that are set say which one counts.");
    }
    for method in spec.auth_methods() {
        text.push_str(&format!("\n\n**{}**", cell(method.display_name.as_deref().unwrap_or(&method.name))));
        let about = cell(method.description.as_deref().unwrap_or_default());
        if !about.is_empty() {
            text.push_str(&format!(": {about}"));
        }
        if !method.parameters.is_empty() {
            text.push_str(&format!("\n\n{}", parameter_rows(&method.parameters)));
        }
    }
    text.trim().to_owned()
}

/// The options of the shortest connection that works, with values that stand for others.
fn example_options(connection: &str, spec: &ConnectorSpec) -> Vec<(String, String)> {
    let simplest = spec.auth_methods().iter().min_by_key(|m: &&AuthMethod| m.parameters.len());
    let own = simplest.map_or(&[][..], |method| &method.parameters);
    let needed = spec.common_parameters().iter().chain(own).filter(|p| p.required);
    let value = |p: &Parameter| {
        if p.is_secret() {
            return format!("env:{}", format!("{connection}_{}", p.name).to_ascii_uppercase());
        }
        let known = p.example.as_ref().or(p.allowed_values.first()).or(p.default.as_ref());
        known.cloned().unwrap_or_else(|| "…".to_owned())
    };
    needed.map(|p| (p.name.clone(), value(p))).collect()
}

fn add_connection(connection: &str, name: &str, spec: &ConnectorSpec) -> String {
    let mut command = format!("headwater connection add {connection} --connector {name}");
    for (option, value) in example_options(connection, spec) {
        command.push_str(&format!(" \\\n    --option {}", shell(&format!("{option}={value}"))));
    }
    command
}

/// A word as a shell takes it.
fn shell(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "_-./:=@,+…".contains(c);
    if word.chars().all(plain) { word.to_owned() } else { format!("'{}'", word.replace('\'', "'\\''")) }
}

fn connection_yaml(connection: &str, name: &str, spec: &ConnectorSpec) -> String {
    let mut text = format!("connections:\n  {connection}:\n    connector: {name}");
    let options = example_options(connection, spec);
    if !options.is_empty() {
        text.push_str("\n    options:");
    }
    for (option, value) in options {
        text.push_str(&format!("\n      {option}: {}", yaml(&value)));
    }
    text
}

/// A text as YAML takes it for one.
fn yaml(text: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "_-./:@+…".contains(c);
    let is_text = text.chars().next().is_some_and(char::is_alphabetic)
        && text.chars().all(plain)
        && !text.ends_with(':')
        && !matches!(
            text.to_ascii_lowercase().as_str(),
            "true" | "false" | "null" | "yes" | "no" | "on" | "off"
        );
    if is_text { text.to_owned() } else { serde_json::Value::from(text).to_string() }
}

fn names(names: &[String]) -> String {
    names.iter().map(|name| code(name)).collect::<Vec<_>>().join(", ")
}

fn ingestion(kind: IngestionType) -> &'static str {
    match kind {
        IngestionType::Snapshot => "read whole by each update",
        IngestionType::Cdc => "what has changed since the last update",
        IngestionType::CdcWithDeletes => "what has changed or was deleted since the last update",
        IngestionType::Append => "what is new since the last update; rows never change",
    }
}

fn table_list(tables: &[Table]) -> String {
    let namespaces = tables.iter().any(|table| table.namespace.is_some());
    let mut head = vec!["table", "ingestion type", "keys", "cursor", "read"];
    if namespaces {
        head.insert(0, "namespace");
    }
    let row = |table: &Table| {
        let metadata = &table.metadata;
        let mut cells = vec![
            code(&table.name),
            code(metadata.ingestion_type.as_str()),
            names(&metadata.primary_keys),
            code(metadata.cursor_field.as_deref().unwrap_or_default()),
            ingestion(metadata.ingestion_type).to_owned(),
        ];
        if namespaces {
            cells.insert(0, code(table.namespace.as_deref().unwrap_or_default()));
        }
        cells
    };
    rows(&head, tables.iter().map(row))
}

fn options(spec: &ConnectorSpec) -> String {
    match spec.table_options() {
        [] if spec.takes_any_option() => {
            "What `table_configuration` may hand to the connector is not known.".to_owned()
        }
        [] => "The tables take no options of the connector's own.".to_owned(),
        list => format!("`table_configuration` may hand these to the connector: {}.", names(list)),
    }
}

fn pipeline(connection: &str, tables: &[Table]) -> String {
    let mut text = format!("connection_name: {connection}\nobjects:");
    // One of each kind says more than two of the first.
    let mut chosen: Vec<&Table> = Vec::new();
    for table in tables {
        let kind = table.metadata.ingestion_type;
        if chosen.len() < SHOWN_TABLES && !chosen.iter().any(|c| c.metadata.ingestion_type == kind) {
            chosen.push(table);
        }
    }
    for table in chosen {
        text.push_str(&format!("\n  - table:\n      source_table: {}", yaml(&table.name)));
    }
    text
}

fn columns(tables: &[Table]) -> String {
    let one = |table: &Table| {
        let mut lines = Vec::new();
        fields("", 0, &table.schema, &mut |path, depth, field| {
            let mut notes: Vec<String> = Vec::new();
            if depth == 0 && table.metadata.primary_keys.contains(&field.name) {
                notes.push("key".to_owned());
            }
            if depth == 0 && table.metadata.cursor_field.as_ref() == Some(&field.name) {
                notes.push("cursor".to_owned());
            }
            if depth == DEEPEST {
                notes.extend(
                    inner_struct(&field.data_type).map(|inner| format!("{} fields", inner.fields.len())),
                );
            }
            notes.extend(field.metadata.get("comment").and_then(|c| c.as_str()).map(cell));
            let about = notes.join("; ");
            let null = if field.nullable { "yes".to_owned() } else { String::new() };
            lines.push(vec![code(path), code(&short_type(&field.data_type)), null, about]);
        });
        let (many, count) = (lines.len() > OPEN_LINES, table.schema.fields.len());
        let listed = rows(&["column", "type", "null", ""], lines);
        match many {
            // What would bury the rest of the page is shown to those who want it.
            true => format!(
                "### `{}`\n\n<details><summary>{count} columns</summary>\n\n{listed}\n\n</details>",
                table.name
            ),
            false => format!("### `{}`\n\n{listed}", table.name),
        }
    };
    tables.iter().map(one).collect::<Vec<_>>().join("\n\n")
}

/// Goes through the fields: those of a struct come after it, as `outer.inner`; those of a list's elements as
/// `outer[].inner`.
fn fields(prefix: &str, depth: usize, schema: &StructType, each: &mut impl FnMut(&str, usize, &StructField)) {
    for field in &schema.fields {
        let path = format!("{prefix}{}", field.name);
        each(&path, depth, field);
        if let Some(nested) = inner_struct(&field.data_type).filter(|_| depth < DEEPEST) {
            let mut inner = path;
            let mut data_type = &field.data_type;
            while let DataType::Array { element: of, .. } | DataType::Map { value: of, .. } = data_type {
                inner.push_str(if matches!(data_type, DataType::Map { .. }) { "{}" } else { "[]" });
                data_type = of;
            }
            fields(&format!("{inner}."), depth + 1, nested, &mut *each);
        }
    }
}

/// The struct that a type is, or that the elements of its lists and maps are.
fn inner_struct(data_type: &DataType) -> Option<&StructType> {
    match data_type {
        DataType::Struct(nested) => Some(nested),
        DataType::Array { element: of, .. } | DataType::Map { value: of, .. } => inner_struct(of),
        _ => None,
    }
}

/// A type without the fields of its structs, which have lines of their own.
fn short_type(data_type: &DataType) -> String {
    match data_type {
        DataType::Struct(_) => "struct".to_owned(),
        DataType::Array { element, .. } => format!("array<{}>", short_type(element)),
        DataType::Map { key, value, .. } => format!("map<{}, {}>", short_type(key), short_type(value)),
        simple => type_text(&simple.to_json()),
    }
}
