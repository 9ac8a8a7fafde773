//! Writes a pipeline spec in its canonical form, as YAML or JSON.

use headwater_connect::Options;

use crate::node::{Scalar, ScalarKind, quoted};
use crate::pipeline::{Object, PipelineSpec, Schedule, TableConfiguration, Trigger};

/// A document to write: order is kept, every text is a text.
enum Out {
    Text(String),
    Flag(bool),
    Integer(u32),
    List(Vec<Out>),
    Map(Vec<(String, Out)>),
}

impl PipelineSpec {
    /// Gives the spec as YAML. Reading it back gives an equal spec.
    pub fn to_yaml(&self) -> String {
        let mut out = String::new();
        yaml_block(&document(self), 0, &mut out);
        out
    }

    /// Gives the spec as JSON with line breaks. Reading it back gives an equal spec.
    pub fn to_json(&self) -> String {
        let mut out = String::new();
        json(&document(self), 0, &mut out);
        out.push('\n');
        out
    }
}

#[derive(Default)]
struct Map(Vec<(String, Out)>);

impl Map {
    fn put(&mut self, name: &str, value: Out) {
        self.0.push((name.to_owned(), value));
    }

    fn text(&mut self, name: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.put(name, Out::Text(value.to_owned()));
        }
    }

    fn flag(&mut self, name: &str, value: Option<bool>) {
        if let Some(value) = value {
            self.put(name, Out::Flag(value));
        }
    }

    fn names(&mut self, name: &str, values: Option<&[String]>) {
        if let Some(values) = values {
            self.put(name, Out::List(values.iter().cloned().map(Out::Text).collect()));
        }
    }

    fn texts(&mut self, name: &str, values: &[(String, String)]) {
        if !values.is_empty() {
            let map = values.iter().map(|(name, value)| (name.clone(), Out::Text(value.clone()))).collect();
            self.put(name, Out::Map(map));
        }
    }

    fn finish(self) -> Out {
        Out::Map(self.0)
    }
}

fn document(spec: &PipelineSpec) -> Out {
    let mut top = Map::default();
    top.text("name", spec.name.as_deref());
    top.text("id", spec.id.as_deref());
    top.text("catalog", spec.catalog.as_deref());
    top.text("schema", spec.schema.as_deref());
    let objects = Out::List(spec.objects.iter().map(object).collect());
    if spec.nested {
        let mut definition = Map::default();
        definition.text("connection_name", Some(&spec.connection_name));
        definition.put("objects", objects);
        top.put("ingestion_definition", definition.finish());
    } else {
        top.text("connection_name", Some(&spec.connection_name));
        top.put("objects", objects);
    }
    if let Some(log) = &spec.event_log {
        let mut map = Map::default();
        map.text("catalog", log.catalog.as_deref());
        map.text("schema", log.schema.as_deref());
        map.text("name", log.name.as_deref());
        top.put("event_log", map.finish());
    }
    if let Some(schedule) = &spec.schedule {
        top.put("trigger", trigger(schedule));
    }
    top.flag("continuous", spec.continuous);
    top.flag("development", spec.development);
    top.texts("configuration", &spec.configuration);
    top.texts("tags", &spec.tags);
    top.finish()
}

fn object(object: &Object) -> Out {
    let mut map = Map::default();
    let kind = match object {
        Object::Table(table) => {
            map.text("source_table", Some(&table.source_table));
            map.text("source_schema", table.namespace.as_deref());
            map.text("source_catalog", table.source_catalog.as_deref());
            map.text("destination_catalog", table.destination_catalog.as_deref());
            map.text("destination_schema", table.destination_schema.as_deref());
            map.text("destination_table", table.destination_table.as_deref());
            "table"
        }
        Object::Schema(schema) => {
            map.text("source_schema", schema.namespace.as_deref());
            map.text("source_catalog", schema.source_catalog.as_deref());
            map.text("destination_catalog", schema.destination_catalog.as_deref());
            map.text("destination_schema", schema.destination_schema.as_deref());
            map.names("exclude_tables", (!schema.exclude.is_empty()).then_some(&schema.exclude));
            "schema"
        }
    };
    if *object.configuration() != TableConfiguration::default() {
        map.put("table_configuration", configuration(object.configuration()));
    }
    Out::Map(vec![(kind.to_owned(), map.finish())])
}

fn configuration(configuration: &TableConfiguration) -> Out {
    let mut map = Map::default();
    map.text("scd_type", configuration.scd_type.map(|t| t.as_str()));
    map.names("primary_keys", configuration.primary_keys.as_deref());
    map.text("sequence_by", configuration.sequence_by.as_deref());
    map.names("track_history_columns", configuration.track_history_columns.as_deref());
    map.names("track_history_except_columns", configuration.track_history_except_columns.as_deref());
    let retention = configuration.tombstone_retention.map(|retention| retention.to_string());
    map.text("tombstone_retention", retention.as_deref());
    map.flag("deletion_vectors", configuration.deletion_vectors);
    map.names("cluster_by", configuration.cluster_by.as_deref());
    map.names("include_columns", configuration.include_columns.as_deref());
    map.names("exclude_columns", configuration.exclude_columns.as_deref());
    map.text("on_bad_record", configuration.on_bad_record.map(|o| o.as_str()));
    options(&configuration.connector_options, &mut map);
    map.finish()
}

fn options(options: &Options, map: &mut Map) {
    for (name, value) in options.iter() {
        map.text(name, Some(value));
    }
}

fn trigger(schedule: &Schedule) -> Out {
    let mut map = Map::default();
    let kind = match &schedule.trigger {
        Trigger::Cron { expression, timezone } => {
            map.text("quartz_cron_schedule", Some(expression));
            map.text("timezone_id", timezone.as_deref());
            "cron"
        }
        Trigger::Periodic { interval, unit } => {
            map.put("interval", Out::Integer(*interval));
            map.text("unit", Some(unit.as_str()));
            "periodic"
        }
        Trigger::Manual => "manual",
    };
    map.text("pause_status", schedule.paused.map(|paused| if paused { "PAUSED" } else { "UNPAUSED" }));
    Out::Map(vec![(kind.to_owned(), map.finish())])
}

/// Writes lists and maps as blocks; the cursor is at the start of a line.
fn yaml_block(value: &Out, indent: usize, out: &mut String) {
    match value {
        Out::Map(entries) => {
            for (i, (name, value)) in entries.iter().enumerate() {
                if i > 0 {
                    out.push_str(&" ".repeat(indent));
                }
                out.push_str(&yaml_text(name));
                out.push(':');
                yaml_value(value, indent, out);
            }
        }
        Out::List(items) => {
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push_str(&" ".repeat(indent));
                }
                match item {
                    Out::Map(entries) if !entries.is_empty() => {
                        out.push_str("- ");
                        yaml_block(item, indent + 2, out);
                    }
                    _ => {
                        out.push('-');
                        yaml_value(item, indent, out);
                    }
                }
            }
        }
        _ => yaml_value(value, indent, out),
    }
}

/// Writes what stands behind `name:` or `-`, up to the end of the line or of the block.
fn yaml_value(value: &Out, indent: usize, out: &mut String) {
    match value {
        Out::Text(text) => {
            out.push(' ');
            out.push_str(&yaml_text(text));
            out.push('\n');
        }
        Out::Flag(flag) => out.push_str(&format!(" {flag}\n")),
        Out::Integer(number) => out.push_str(&format!(" {number}\n")),
        Out::Map(entries) if entries.is_empty() => out.push_str(" {}\n"),
        Out::List(items) if items.iter().all(|item| matches!(item, Out::Text(_))) => {
            out.push_str(" [");
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push_str(", ");
                }
                if let Out::Text(text) = item {
                    out.push_str(&yaml_text(text));
                }
            }
            out.push_str("]\n");
        }
        Out::Map(_) | Out::List(_) => {
            out.push('\n');
            out.push_str(&" ".repeat(indent + 2));
            yaml_block(value, indent + 2, out);
        }
    }
}

/// Writes a text without quotes where every reader of YAML takes it for that text, in quotes elsewhere.
fn yaml_text(text: &str) -> String {
    let safe_char = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/');
    let starts = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    let is_text = Scalar { text: text.to_owned(), plain: true }.kind() == ScalarKind::Text;
    // Readers of YAML 1.1 take these for truth values.
    let old = ["y", "n", "yes", "no", "on", "off"].iter().any(|word| word.eq_ignore_ascii_case(text));
    if starts && is_text && !old && text.chars().all(safe_char) {
        return text.to_owned();
    }
    let mut json = String::new();
    for c in quoted(text).chars() {
        match c {
            // Line breaks to YAML, though not to JSON; the rest is what YAML does not allow as it is.
            '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}' => {
                json.push_str(&format!("\\u{:04x}", u32::from(c)));
            }
            c => json.push(c),
        }
    }
    json
}

fn json(value: &Out, indent: usize, out: &mut String) {
    let line = |out: &mut String, indent: usize| {
        out.push('\n');
        out.push_str(&" ".repeat(indent));
    };
    match value {
        Out::Text(text) => out.push_str(&quoted(text)),
        Out::Flag(flag) => out.push_str(&flag.to_string()),
        Out::Integer(number) => out.push_str(&number.to_string()),
        Out::List(items) if items.is_empty() => out.push_str("[]"),
        Out::Map(entries) if entries.is_empty() => out.push_str("{}"),
        Out::List(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                line(out, indent + 2);
                json(item, indent + 2, out);
            }
            line(out, indent);
            out.push(']');
        }
        Out::Map(entries) => {
            out.push('{');
            for (i, (name, value)) in entries.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                line(out, indent + 2);
                out.push_str(&quoted(name));
                out.push_str(": ");
                json(value, indent + 2, out);
            }
            line(out, indent);
            out.push('}');
        }
    }
}
