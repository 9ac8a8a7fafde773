//! `connector docs`: a connector's public page, from its spec and what the connector says of itself.

mod kept;
mod page;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use headwater_connect::{Connector, ConnectorError, ConnectorFactory, Options};
use headwater_http::SimulatorAddress;
use headwater_spec::{AuthMethod, ConnectorSpec};
use headwater_testkit::SimulatorFolder;
use headwater_testkit::simulator::{Settings, Simulator};
use serde_json::json;

use super::connection::Source;
use super::test::simulated;
use crate::args;
use crate::config::{Project, shown, write_atomically};
use crate::connectors::{External, Registry, is_built_in, spec_of};
use crate::fail::{Exit, Failure};
use crate::output::{Out, Style};

const PAGE: &str = "README.md";
const SPEC: &str = "connector_spec.yaml";

/// Lines of a difference that are shown.
const SHOWN_LINES: usize = 60;

pub(crate) async fn docs(
    arguments: &args::ConnectorDocs,
    project: Option<&Project>,
    out: &Out,
) -> Result<Exit, Failure> {
    let subject = Subject::find(arguments, project, out).await?;
    let file = match (&arguments.output, &subject.folder) {
        (Some(file), _) => file.clone(),
        (None, Some(folder)) => folder.join(PAGE),
        (None, None) => {
            return Err(Failure::usage(format!("connector `{}` has no folder for its page", subject.name))
                .hint("name the file with `--output FILE`, or the connector's folder with `--folder DIR`"));
        }
    };
    let tables = subject.tables(arguments, project, out).await?;
    let made = page::page(&subject.name, &subject.spec, &tables);
    let named = shown(&file).display().to_string();
    let old = match std::fs::read_to_string(&file) {
        Ok(text) => Some(text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => {
            return Err(Failure::other(format!("{named} cannot be read"), &error).with_exit(Exit::Usage));
        }
    };
    let new = match &old {
        None => made,
        Some(old) => with_kept(&made, old, &named)?,
    };
    let stale = old.as_ref() != Some(&new);
    if arguments.check {
        return check(&subject.name, &named, old.as_deref().unwrap_or_default(), &new, out);
    }
    if stale {
        let written = match &old {
            Some(_) => write_atomically(&file, &new),
            None => std::fs::write(&file, &new),
        };
        written
            .map_err(|e| Failure::other(format!("{named} cannot be written"), &e).with_exit(Exit::Usage))?;
    }
    if out.is_json() {
        out.json(
            &json!({"connector": subject.name, "file": named, "written": stale, "tables": tables.len()}),
        )?;
    } else {
        out.say(&match stale {
            true => format!("{} {named}: {} tables", out.style(Style::Green, "wrote"), tables.len()),
            false => format!("{named} is current"),
        });
    }
    Ok(Exit::Ok)
}

/// The new page with what people have written into the old one.
fn with_kept(made: &str, old: &str, file: &str) -> Result<String, Failure> {
    let unusable = |error: &kept::KeptError| {
        Failure::usage(format!("{file}: {error}")).hint(
            "a kept part stands between `<!-- kept: NAME -->` and `<!-- /kept -->`, each alone on a line",
        )
    };
    let parts = kept::parts(old).map_err(|e| unusable(&e))?;
    if !old.trim().is_empty() && !parts.iter().any(|part| matches!(part, kept::Part::Kept(..))) {
        return Err(Failure::usage(format!("{file} was written by hand, and would be lost")).hint(
            "put what has to stay between `<!-- kept: about -->` and `<!-- /kept -->`, each alone on a line, or name another file with `--output FILE`",
        ));
    }
    kept::merged(made, old).map_err(|e| unusable(&e))
}

/// Says whether the page is as it would be made.
fn check(name: &str, file: &str, old: &str, new: &str, out: &Out) -> Result<Exit, Failure> {
    let stale = old != new;
    if out.is_json() {
        let difference = if stale { difference(old, new) } else { Vec::new() };
        out.json(&json!({"connector": name, "file": file, "current": !stale, "difference": difference}))?;
    } else if stale {
        out.line(&format!("{file} is not what it would be now (`-` is there, `+` would be):"))?;
        for line in difference(old, new) {
            let style = if line.starts_with('+') { Style::Green } else { Style::Red };
            out.line(&out.style_data(style, &line))?;
        }
        out.say("to write it anew: the same command without `--check`");
    } else {
        out.say(&format!("{file} is current"));
    }
    Ok(if stale { Exit::TableFailed } else { Exit::Ok })
}

/// The lines between what both texts begin and end with, each with the number that it has.
fn difference(old: &str, new: &str) -> Vec<String> {
    let (old, new): (Vec<&str>, Vec<&str>) = (old.split('\n').collect(), new.split('\n').collect());
    let begin = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
    let rest = old.len().min(new.len()) - begin;
    let end = old.iter().rev().zip(new.iter().rev()).take(rest).take_while(|(a, b)| a == b).count();
    let lines = |text: &[&str], sign: char| {
        let changed = text.get(begin..text.len() - end).unwrap_or_default();
        let mut lines: Vec<String> = changed
            .iter()
            .enumerate()
            .take(SHOWN_LINES)
            .map(|(index, line)| format!("{sign}{:>5}  {line}", begin + index + 1))
            .collect();
        if changed.len() > SHOWN_LINES {
            lines.push(format!("{sign}       … and {} more lines", changed.len() - SHOWN_LINES));
        }
        lines
    };
    let mut all = lines(&old, '-');
    all.extend(lines(&new, '+'));
    all
}

/// The connector that the page is about.
struct Subject {
    name: String,
    spec: ConnectorSpec,
    factory: Arc<dyn ConnectorFactory>,
    /// Where its page, its spec and its simulator are.
    folder: Option<PathBuf>,
    /// The simulated source that it is led to.
    led: Option<Led>,
}

/// A simulated source, and the options with which a connector asks it.
struct Led {
    simulator: Simulator,
    connection: Options,
}

impl Led {
    /// Starts what stands in `simulator/` of a connector's folder, where something does, and leads this process there.
    fn start(folder: &Path) -> Result<Option<Self>, Failure> {
        let described = SimulatorFolder::of(folder).map_err(simulated)?;
        if !described.has_description() {
            return Ok(None);
        }
        let description = described.description().map_err(simulated)?;
        let simulator = Simulator::start(description, Settings::default())
            .map_err(|error| Failure::other("the simulator cannot be started", &error))?;
        let address = simulator.address();
        headwater_http::lead_to(SimulatorAddress {
            address,
            ca_pem: simulator.certificate_pem().to_owned(),
        })?;
        let connection = described.connection(&simulator.base_url());
        Ok(Some(Self { simulator, connection }))
    }
}

impl Subject {
    async fn find(
        arguments: &args::ConnectorDocs,
        project: Option<&Project>,
        out: &Out,
    ) -> Result<Self, Failure> {
        let given = arguments.connector.as_str();
        let registry = Registry::new(project, out);
        let path = Path::new(given);
        let is_name = registry.names().iter().any(|name| name == given);
        if !is_name && path.is_dir() {
            return Self::of_folder(path, arguments, project, out).await;
        }
        let factory = registry.factory(given).await?;
        let folder = arguments.folder.clone().or_else(|| registry.folder(given));
        let spec = spec_of(factory.as_ref())?;
        let led = match (&folder, &arguments.connection) {
            (Some(folder), None) => Led::start(folder)?,
            _ => None,
        };
        Ok(Self { name: given.to_owned(), spec, factory, folder, led })
    }

    /// A connector in Python in a folder, or the folder of one that is built in or was added.
    async fn of_folder(
        folder: &Path,
        arguments: &args::ConnectorDocs,
        project: Option<&Project>,
        out: &Out,
    ) -> Result<Self, Failure> {
        let named = shown(folder).display().to_string();
        let text = std::fs::read_to_string(folder.join(SPEC)).ok();
        let parsed = text.map(|text| ConnectorSpec::parse(&text, SPEC)).transpose()?;
        let in_spec = parsed.as_ref().and_then(|p| p.value.name().map(str::to_owned));
        let of_folder = || {
            let absolute = folder.canonicalize().ok()?;
            Some(absolute.file_name()?.to_string_lossy().into_owned())
        };
        let name = in_spec.or_else(of_folder).unwrap_or_else(|| named.clone());
        let registry = Registry::new(project, out);
        let place = arguments.folder.clone().unwrap_or_else(|| folder.to_owned());
        let led = if arguments.connection.is_none() { Led::start(&place)? } else { None };
        if is_built_in(&name) || folder.join("Cargo.toml").is_file() {
            let Some(factory) = registry.find(&name).await? else {
                return Err(Failure::usage(format!("{named} holds the code of `{name}`, which has to be built"))
                    .hint(format!(
                        "build it, `headwater connector add {name} --command <its executable>`, then `headwater connector docs {name} --folder {named}`"
                    )));
            };
            let spec = spec_of(factory.as_ref())?;
            return Ok(Self { name, spec, factory, folder: Some(place), led });
        }
        let mut external = External::in_folder(folder, &name, project)?;
        if let Some(led) = &led {
            external = external
                .with_environment(vec![("HEADWATER_SIMULATOR".to_owned(), led.simulator.base_url().into())]);
        }
        let environment = external.prepare(out).await?;
        let factory = external.factory(&environment).await?;
        let spec = spec_of(factory.as_ref())?;
        Ok(Self { name, spec, factory, folder: Some(place), led })
    }

    /// Every table of the connector, as it describes them.
    async fn tables(
        &self,
        arguments: &args::ConnectorDocs,
        project: Option<&Project>,
        out: &Out,
    ) -> Result<Vec<page::Table>, Failure> {
        let options = match (&arguments.connection, project) {
            (Some(name), Some(project)) => Source::find(project, name, out).await?.options()?,
            (Some(name), None) => {
                return Err(Failure::usage(format!("there is no project with a connection `{name}`"))
                    .hint("run it in a project folder, or name one with `--project DIR`"));
            }
            (None, _) => match &self.led {
                Some(led) => led.connection.clone(),
                None => example_options(&self.spec),
            },
        };
        let described = self.describe(&options).await;
        described.map_err(|error| {
            let failure = Failure::from(error)
                .context(format!("connector `{}` does not describe its tables", self.name));
            match arguments.connection {
                Some(_) => failure,
                None => failure.hint("a connector that asks its source for them needs `--connection NAME`"),
            }
        })
    }

    async fn describe(&self, connection: &Options) -> Result<Vec<page::Table>, ConnectorError> {
        let connector = self.factory.connect(connection).await?;
        let namespaces = namespaces(connector.as_ref()).await?;
        let mut tables = Vec::new();
        for name in connector.list_tables().await? {
            let mut options = Options::new();
            options.set("tableName", &name);
            let instance = self.factory.connect(&connection.merged(&options)).await?;
            let schema = instance.get_table_schema(&name, &options).await?;
            let metadata = instance.read_table_metadata(&name, &options).await?;
            let namespace = namespaces.iter().find(|(table, _)| *table == name).map(|(_, n)| n.clone());
            tables.push(page::Table { namespace, name, schema, metadata });
        }
        Ok(tables)
    }
}

/// The namespace of each table, where the source has namespaces of one level.
async fn namespaces(connector: &dyn Connector) -> Result<Vec<(String, String)>, ConnectorError> {
    let Some(ability) = connector.namespaces() else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    for namespace in ability.list_namespaces(&[]).await? {
        for table in ability.list_tables_in_namespace(&namespace).await? {
            found.push((table, namespace.join(".")));
        }
    }
    Ok(found)
}

/// Options with which a connector can be asked about itself without a connection: what it needs, with the examples of
/// its spec. Nothing that they name is meant to be there.
fn example_options(spec: &ConnectorSpec) -> Options {
    let simplest = spec.auth_methods().iter().min_by_key(|m: &&AuthMethod| m.parameters.len());
    let own = simplest.map_or(&[][..], |method| &method.parameters);
    let needed = spec.common_parameters().iter().chain(own).filter(|p| p.required);
    let value = |p: &headwater_spec::Parameter| {
        let known = p.example.as_ref().or(p.allowed_values.first()).or(p.default.as_ref());
        known.cloned().unwrap_or_else(|| match p.kind {
            headwater_spec::ParameterType::Integer | headwater_spec::ParameterType::Number => "1".to_owned(),
            headwater_spec::ParameterType::Boolean => "false".to_owned(),
            headwater_spec::ParameterType::Url => "https://example.invalid".to_owned(),
            headwater_spec::ParameterType::Json => "{}".to_owned(),
            _ => "example".to_owned(),
        })
    };
    needed.map(|p| (p.name.clone(), value(p))).collect()
}

#[cfg(test)]
mod tests {
    use super::difference;

    #[test]
    fn a_difference_is_what_lies_between_what_is_alike() {
        let check =
            |old: &str, new: &str, expect: &[&str]| assert_eq!(difference(old, new), expect, "{old:?}");
        check("a\nb\nc\n", "a\nx\ny\nc\n", &["-    2  b", "+    2  x", "+    3  y"]);
        check("", "a\n", &["+    1  a"]);
        check("a\na\n", "a\na\na\n", &["+    3  a"]);
        check("a\nb\n", "a\n", &["-    2  b"]);
        let long = "x\n".repeat(100);
        assert_eq!(difference("", &long).last().unwrap(), "+       … and 40 more lines");
    }
}
