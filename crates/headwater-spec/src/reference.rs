//! The fields of both documents as Markdown tables, for the reference pages.

use crate::connector_fields::CONNECTOR;
use crate::fields::{Field, Need, ObjectKind, Shape, TextRule};
use crate::names::either;
use crate::pipeline_fields::PIPELINE;

/// The fields of a pipeline spec, a Markdown table per object.
pub fn pipeline_reference() -> String {
    reference(&PIPELINE, "Pipeline")
}

/// The fields of a connector spec, a Markdown table per object.
pub fn connector_reference() -> String {
    reference(&CONNECTOR, "Connector spec")
}

fn reference(top: &'static ObjectKind, title: &str) -> String {
    let mut kinds: Vec<&'static ObjectKind> = vec![top];
    let mut next = 0;
    let mut lines: Vec<String> = Vec::new();
    while let Some(kind) = kinds.get(next).copied() {
        lines.push(if next == 0 { format!("### {title}") } else { format!("### `{}`", kind.name) });
        next += 1;
        lines.extend([String::new(), kind.about.to_owned(), String::new()]);
        lines.extend(table(kind));
        for field in kind.fields {
            let (Shape::Object(inner) | Shape::Named(inner) | Shape::List { of: inner, .. }) = field.shape
            else {
                continue;
            };
            if !kinds.iter().any(|known| known.name == inner.name) {
                kinds.push(inner);
            }
        }
    }
    lines.join("\n").trim_end().to_owned() + "\n"
}

fn table(kind: &ObjectKind) -> Vec<String> {
    let (ignored, known): (Vec<&Field>, Vec<&Field>) =
        kind.fields.iter().partition(|field| field.need == Need::Ignored);
    let mut lines = Vec::new();
    if !known.is_empty() {
        lines.extend(["| field | value | | example |".to_owned(), "|---|---|---|---|".to_owned()]);
        for field in known {
            let required = if field.need == Need::Required { "**Required.** " } else { "" };
            let example = field.example.replace('|', "\\|");
            lines.push(format!(
                "| `{}` | {} | {required}{} | `{example}` |",
                field.name,
                value(field),
                field.about
            ));
        }
        lines.push(String::new());
    }
    if !ignored.is_empty() {
        lines.push(
            "Accepted with a warning, because the public format has it and it has no meaning here:"
                .to_owned(),
        );
        lines.push(String::new());
        lines.extend(ignored.iter().map(|field| format!("- `{}`: {}", field.name, field.about)));
        lines.push(String::new());
    }
    lines
}

fn value(field: &Field) -> String {
    match field.shape {
        Shape::Text(TextRule::Line | TextRule::Free) => "text".into(),
        Shape::Text(TextRule::LakeName) => "name in the lake".into(),
        Shape::Text(TextRule::Cron) => "cron expression".into(),
        Shape::Text(TextRule::TimeZone) => "time zone".into(),
        Shape::Text(TextRule::Retention) => "length of time, or `keep`".into(),
        Shape::Choice(values) => either(values),
        Shape::Flag => "`true` or `false`".into(),
        Shape::Integer { min, max } => format!("integer, {min} to {max}"),
        Shape::Names { .. } => "list of texts, or text with commas".into(),
        Shape::Texts => "map of texts".into(),
        Shape::Object(kind) => format!("[`{0}`](#{0})", kind.name),
        Shape::Named(kind) => format!("map of [`{0}`](#{0}) by name", kind.name),
        Shape::List { of, .. } => format!("list of [`{0}`](#{0})", of.name),
        Shape::NamesOrObjects => "list of names, or of maps with a `name`".into(),
        Shape::Scalar => "any one value".into(),
        Shape::Scalars => "list of values".into(),
        Shape::Any => "anything".into(),
    }
}
