//! Connections: what the project says of them, checked against the connector's spec; `connection add|list|remove`.

use std::path::PathBuf;
use std::sync::Arc;

use headwater_connect::{Connector, ConnectorFactory, Options};
use headwater_spec::{ConnectionSpec, ConnectorSpec, OptionProblem, Parsed, PipelineSpec, ProjectSpec};
use serde_json::{Value, json};

use crate::args;
use crate::config::edit::{self, Entry, Written};
use crate::config::{Project, ProjectError, Reference, shown, write_atomically};
use crate::connectors::{Registry, is_built_in, spec_of, warn_without_spec};
use crate::fail::{Exit, Failure};
use crate::names;
use crate::output::{Align, Out, Table};

/// A connection of the project with its connector. Secrets have not been looked up.
pub(crate) struct Source {
    pub(crate) factory: Arc<dyn ConnectorFactory>,
    pub(crate) spec: ConnectorSpec,
    entry: ConnectionSpec,
    root: PathBuf,
    out: Out,
}

impl Source {
    /// Finds a connection and checks what can be checked without its secrets.
    ///
    /// # Errors
    /// There is no such connection or connector; an option is missing, unknown or a secret in the clear.
    pub(crate) async fn find(project: &Project, name: &str, out: &Out) -> Result<Self, Failure> {
        let entry = project.connection(name)?.clone();
        let at = |field: &str| format!("{}.{field}", entry.path);
        let registry = Registry::new(Some(project), out);
        let Some(factory) = registry.find(&entry.connector).await? else {
            let (detail, hint) = registry.unknown(&entry.connector);
            return Err(Failure::diagnostics(&[project.parsed.error_at(
                &at("connector"),
                detail,
                Some(hint),
            )]));
        };
        let spec = spec_of(factory.as_ref())?;
        let mut complaints = Vec::new();
        for (option, value) in &entry.options {
            if is_literal_secret(&spec, option, value) {
                out.redactor().add(value);
                let detail = format!("option `{option}` is a secret and stands here in the clear");
                let hint = secret_hint(name, option);
                complaints.push(project.parsed.error_at(
                    &at(&format!("options.{option}")),
                    detail,
                    Some(hint),
                ));
            }
        }
        for problem in problems(&spec, &entry.options) {
            let path = match &problem {
                OptionProblem::Unknown { name, .. }
                | OptionProblem::WrongType { name, .. }
                | OptionProblem::NotAllowed { name, .. } => at(&format!("options.{name}")),
                _ => entry.path.clone(),
            };
            complaints.push(project.parsed.error_at(&path, problem.to_string(), problem.hint()));
        }
        if !complaints.is_empty() {
            return Err(Failure::diagnostics(&complaints));
        }
        Ok(Self { factory, spec, entry, root: project.root.clone(), out: out.clone() })
    }

    /// The connection's options with every reference looked up.
    pub(crate) fn options(&self) -> Result<Options, Failure> {
        let mut options = Options::new();
        for (option, value) in &self.entry.options {
            let value = match Reference::parse(value) {
                None => value.clone(),
                Some(reference) => reference.resolve(&self.root, self.out.redactor()).map_err(|source| {
                    ProjectError::Option {
                        connection: self.entry.name.clone(),
                        option: option.clone(),
                        source,
                    }
                })?,
            };
            options.set(option, value);
        }
        // What a reference held could not be checked before.
        match self.spec.check_connection_options(&options).first() {
            None => Ok(options),
            Some(problem) => {
                Err(option_failure(problem)
                    .context(format!("connection `{}` cannot be used", self.entry.name)))
            }
        }
    }

    /// The names of the connection's options, and of those that a table may set, whose values are secret.
    pub(crate) fn secret_options(&self) -> Vec<String> {
        let of_connection = self.entry.options.iter().map(|(name, _)| name);
        let names = of_connection.chain(self.spec.table_options()).filter(|name| self.spec.is_secret(name));
        names.cloned().collect()
    }

    /// An instance of the connector, with a table's options over those of the connection.
    pub(crate) async fn connect(&self, table: &Options) -> Result<Box<dyn Connector>, Failure> {
        self.factory
            .connect(&self.options()?.merged(table))
            .await
            .map_err(|e| Failure::from(e).context(format!("connection `{}` cannot be used", self.entry.name)))
    }

    /// Says whether the connector may have operations of its own for agents; those that are built in have none.
    pub(crate) fn may_have_operations(&self) -> bool {
        !is_built_in(self.factory.name())
    }

    /// Checks table options of the command line against what the connector takes.
    pub(crate) fn check_table_options(&self, options: &[(String, String)]) -> Result<(), Failure> {
        options.iter().try_for_each(|(name, _)| {
            self.spec
                .check_table_option(name)
                .map_err(|refused| Failure::usage(refused.to_string()).hint(refused.hint()))
        })
    }

    /// Checks the table options of a pipeline spec, each at its place.
    pub(crate) fn check_pipeline(&self, spec: &Parsed<PipelineSpec>) -> Result<(), Failure> {
        let found = spec.check_table_options(&self.spec);
        if found.is_empty() { Ok(()) } else { Err(Failure::diagnostics(&found)) }
    }
}

fn is_literal_secret(spec: &ConnectorSpec, option: &str, value: &str) -> bool {
    spec.is_secret(option) && !value.is_empty() && Reference::parse(value).is_none()
}

fn secret_hint(connection: &str, option: &str) -> String {
    let variable: String = format!("{connection}_{option}")
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' })
        .collect();
    format!(
        "name an environment variable or a file that holds it: `{option}: env:{variable}` or `{option}: file:secrets/{option}`"
    )
}

/// What is wrong with options whose references have not been looked up.
fn problems(spec: &ConnectorSpec, options: &[(String, String)]) -> Vec<OptionProblem> {
    let all: Options = options.iter().cloned().collect();
    let hidden = |name: &str| all.get(name).is_some_and(|value| Reference::parse(value).is_some());
    let mut found = spec.check_connection_options(&all);
    found.retain(|problem| match problem {
        // The text of a reference says nothing about the value.
        OptionProblem::WrongType { name, .. } | OptionProblem::NotAllowed { name, .. } => !hidden(name),
        _ => true,
    });
    found
}

fn option_failure(problem: &OptionProblem) -> Failure {
    let failure = Failure::usage(problem.to_string());
    match problem.hint() {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

pub(crate) async fn add(
    arguments: &args::ConnectionAdd,
    project: &Project,
    out: &Out,
) -> Result<Exit, Failure> {
    let name = arguments.name.as_str();
    names::check_new(name, "connection")?;
    let factory = Registry::new(Some(project), out).factory(&arguments.connector).await?;
    let spec = spec_of(factory.as_ref())?;
    warn_without_spec(&arguments.connector, &spec, out);
    for (option, value) in &arguments.options {
        if is_literal_secret(&spec, option, value) {
            out.redactor().add(value);
            return Err(Failure::usage(format!(
                "option `{option}` is a secret and is not written into {}",
                crate::config::PROJECT_FILE
            ))
            .hint(
                secret_hint(name, option).replace(&format!("{option}: "), &format!("--option {option}=")),
            ));
        }
    }
    if project.connection(name).is_ok() {
        return Err(Failure::usage(format!("connection `{name}` exists already"))
            .hint(format!("take another name, or `headwater connection remove {name}` first")));
    }
    let mut seen = Options::new();
    for (option, _) in &arguments.options {
        if seen.get(option).is_some() {
            return Err(Failure::usage(format!("option `{option}` is given twice")));
        }
        seen.set(option, "");
    }
    let mut failure: Option<Failure> = None;
    for problem in problems(&spec, &arguments.options) {
        let next = option_failure(&problem);
        failure = Some(match failure {
            Some(before) => before.and(next),
            None => next,
        });
    }
    if let Some(failure) = failure {
        return Err(failure.hint(format!("`headwater connectors {}` lists the options", arguments.connector)));
    }
    write_added(arguments, project)?;
    for (option, value) in &arguments.options {
        if let Some(Err(error)) = Reference::parse(value).map(|r| r.resolve(&project.root, out.redactor())) {
            out.warn(&format!("option `{option}`: {error} (yet)"));
        }
    }
    if out.is_json() {
        out.json(&json!({"added": name, "connector": arguments.connector}))?;
    } else {
        out.say(&format!("added connection `{name}` to {}", shown(&project.file()).display()));
        out.say(&format!("next: headwater connection test {name}"));
    }
    Ok(Exit::Ok)
}

/// Edits the text, and replaces the file only where the result says what was meant and nothing else.
fn write_added(arguments: &args::ConnectionAdd, project: &Project) -> Result<(), Failure> {
    let options = &arguments.options;
    let mut meant = project.parsed.value.clone();
    meant.connections.push(ConnectionSpec {
        name: arguments.name.clone(),
        connector: arguments.connector.clone(),
        options: options.clone(),
        path: String::new(),
    });
    let fields = vec![
        ("connector", Written::Text(arguments.connector.as_str())),
        ("options", Written::Map(options.as_slice())),
    ];
    let entry = Entry { name: &arguments.name, fields };
    let edited = edit::insert(&project.text, "connections", &entry).ok();
    replace(project, edited, &meant).map_err(|failure| {
        failure.hint(format!("add this under `connections:` yourself:\n{}", entry.block(2).trim_end()))
    })
}

/// Replaces the project file, where the new text says what was meant and nothing else.
pub(crate) fn replace(project: &Project, edited: Option<String>, meant: &ProjectSpec) -> Result<(), Failure> {
    let file = shown(&project.file()).display().to_string();
    let right =
        |text: &String| ProjectSpec::parse(text, &file).is_ok_and(|p| p.value.says_the_same_as(meant));
    let Some(text) = edited.filter(right) else {
        return Err(Failure::usage(format!(
            "{file} is written in a style that is not edited safely; it is as before"
        )));
    };
    write_atomically(&project.file(), &text).map_err(|e| {
        Failure::other(format!("{file} cannot be replaced; it is as before"), &e).with_exit(Exit::Usage)
    })
}

pub(crate) fn remove(
    arguments: &args::ConnectionRemove,
    project: &Project,
    out: &Out,
) -> Result<Exit, Failure> {
    let name = arguments.name.as_str();
    project.connection(name)?;
    let mut meant = project.parsed.value.clone();
    meant.connections.retain(|c| c.name != name);
    replace(project, edit::remove(&project.text, "connections", name).ok(), &meant)
        .map_err(|failure| failure.hint(format!("take `{name}` out yourself")))?;
    if out.is_json() {
        out.json(&json!({"removed": name}))?;
    } else {
        out.say(&format!("removed connection `{name}` from {}", shown(&project.file()).display()));
    }
    Ok(Exit::Ok)
}

pub(crate) fn list(project: &Project, out: &Out) -> Result<Exit, Failure> {
    let connections = &project.parsed.value.connections;
    let mut table =
        Table::new([("connection", Align::Left), ("connector", Align::Left), ("options", Align::Left)]);
    let mut documents: Vec<Value> = Vec::new();
    for entry in connections {
        let spec = Registry::new(Some(project), out).spec_at_hand(&entry.connector);
        let visible = |option: &str, value: &str| {
            let literal = match &spec {
                Some(spec) => is_literal_secret(spec, option, value),
                // Nobody says which options of an unknown connector are secret.
                None => Reference::parse(value).is_none(),
            };
            if literal { "<secret>".to_owned() } else { value.to_owned() }
        };
        let options: Vec<(String, String)> =
            entry.options.iter().map(|(o, v)| (o.clone(), visible(o, v))).collect();
        table.row([
            entry.name.clone(),
            entry.connector.clone(),
            options.iter().map(|(o, v)| format!("{o}={v}")).collect::<Vec<_>>().join(" "),
        ]);
        let options: serde_json::Map<String, Value> =
            options.into_iter().map(|(o, v)| (o, v.into())).collect();
        documents.push(json!({"name": entry.name, "connector": entry.connector, "options": options}));
    }
    if out.is_json() {
        out.json(&json!({"connections": documents}))?;
    } else if connections.is_empty() {
        out.say(
            "the project has no connection yet: `headwater connection add <name> --connector <connector>`",
        );
    } else {
        out.table(&table)?;
    }
    Ok(Exit::Ok)
}
