//! `connectors`: which there are, and what one takes.

use headwater_spec::{ConnectorSpec, Parameter};
use serde_json::{Value, json};

use crate::args;
use crate::config::Project;
use crate::connectors::{Registry, built_in, spec_of};
use crate::fail::{Exit, Failure};
use crate::output::{Out, Style};

pub(crate) async fn connectors(
    arguments: &args::Connectors,
    project: Option<&Project>,
    out: &Out,
) -> Result<Exit, Failure> {
    let registry = Registry::new(project, out);
    match &arguments.name {
        None => list(&registry, out),
        Some(name) => describe(name, &spec_of(registry.factory(name).await?.as_ref())?, out),
    }
}

fn one_line(text: Option<&str>) -> String {
    text.unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ")
}

fn list(registry: &Registry<'_>, out: &Out) -> Result<Exit, Failure> {
    let mut documents = Vec::new();
    for factory in built_in() {
        let spec = spec_of(factory.as_ref())?;
        documents.push((factory.name().to_owned(), spec));
    }
    for source in registry.added() {
        let spec = registry.spec_at_hand(&source.name).unwrap_or_else(ConnectorSpec::unknown);
        documents.push((source.name.clone(), spec));
    }
    if out.is_json() {
        let list: Vec<Value> = documents
            .iter()
            .map(|(name, spec)| json!({"name": name, "display_name": spec.display_name(), "description": spec.description()}))
            .collect();
        out.json(&json!({"connectors": list}))?;
        return Ok(Exit::Ok);
    }
    for (name, spec) in &documents {
        out.line(&format!(
            "{}  {}",
            out.style_data(Style::Bold, name),
            one_line(spec.description().or(spec.display_name()))
        ))?;
    }
    out.say("\n`headwater connectors <name>` shows the options of one");
    Ok(Exit::Ok)
}

fn parameter_json(parameter: &Parameter) -> Value {
    json!({
        "name": parameter.name, "type": parameter.kind.as_str(), "required": parameter.required,
        "secret": parameter.is_secret(), "description": parameter.description, "default": parameter.default,
        "allowed_values": parameter.allowed_values, "example": parameter.example,
    })
}

/// Shows what a connector takes.
pub(crate) fn describe(name: &str, spec: &ConnectorSpec, out: &Out) -> Result<Exit, Failure> {
    if out.is_json() {
        let methods: Vec<Value> = spec
            .auth_methods()
            .iter()
            .map(|m| {
                let parameters: Vec<Value> = m.parameters.iter().map(parameter_json).collect();
                json!({"name": m.name, "description": m.description, "parameters": parameters})
            })
            .collect();
        let common: Vec<Value> = spec.common_parameters().iter().map(parameter_json).collect();
        out.json(&json!({
            "name": name, "display_name": spec.display_name(), "description": spec.description(),
            "parameters": common, "auth_methods": methods, "table_options": spec.table_options(),
            "tables": spec.tables(),
        }))?;
        return Ok(Exit::Ok);
    }
    out.line(&out.style_data(Style::Bold, spec.display_name().unwrap_or(name)))?;
    if let Some(description) = spec.description() {
        out.line(description.trim())?;
    }
    parameters("Options of a connection", spec.common_parameters(), out)?;
    for method in spec.auth_methods() {
        let about = one_line(method.description.as_deref());
        let about = if about.is_empty() { String::new() } else { format!(": {about}") };
        parameters(&format!("To sign in by `{}`{about}", method.name), &method.parameters, out)?;
    }
    heading("Table options (in `table_configuration`)", out)?;
    let options = spec.table_options();
    out.line(&format!("  {}", if options.is_empty() { "none".to_owned() } else { options.join(", ") }))?;
    if !spec.tables().is_empty() {
        heading("Tables", out)?;
        out.line(&format!("  {}", spec.tables().join(", ")))?;
    }
    let mut example = format!("headwater connection add my-{name} --connector {name}");
    for parameter in spec.common_parameters().iter().filter(|p| p.required) {
        let value = parameter.example.clone().unwrap_or_else(|| "…".into());
        let value = if parameter.is_secret() { "env:NAME".into() } else { value };
        example.push_str(&format!(" --option {}={value}", parameter.name));
    }
    heading("To use it", out)?;
    out.line(&format!("  {example}"))?;
    Ok(Exit::Ok)
}

fn heading(text: &str, out: &Out) -> Result<(), Failure> {
    out.line(&format!("\n{}", out.style_data(Style::Bold, text)))
}

fn parameters(title: &str, parameters: &[Parameter], out: &Out) -> Result<(), Failure> {
    heading(title, out)?;
    if parameters.is_empty() {
        return out.line("  none");
    }
    for parameter in parameters {
        let mut notes = vec![parameter.kind.as_str().to_owned()];
        if parameter.required {
            notes.push("required".into());
        }
        if parameter.is_secret() {
            notes.push("secret: env:NAME or file:PATH".into());
        }
        if let Some(default) = &parameter.default {
            notes.push(format!("default {default}"));
        }
        if !parameter.allowed_values.is_empty() {
            notes.push(format!("one of {}", parameter.allowed_values.join(", ")));
        }
        out.line(&format!("  {} ({})", parameter.name, notes.join("; ")))?;
        if let Some(description) = &parameter.description {
            out.line(&format!("      {}", one_line(Some(description))))?;
        }
    }
    Ok(())
}
