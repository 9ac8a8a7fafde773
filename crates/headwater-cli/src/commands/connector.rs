//! `connector add|list|info|update|remove`: connectors that are not built in.

use headwater_connect::protocol::Abilities;
use headwater_python::Description;
use headwater_spec::{ConnectorOrigin, ConnectorSource, ConnectorSpec, ProjectSpec};
use serde_json::{Value, json};

use super::connection::replace;
use super::connectors::describe;
use crate::args;
use crate::config::edit::{self, Entry, Written};
use crate::config::{Project, parse_duration, shown};
use crate::connectors::git::{self, Wanted};
use crate::connectors::{
    External, Lock, forget, is_built_in, pin_back, spec_of, unused, update as pin, warn_without_spec,
};
use crate::fail::{Exit, Failure};
use crate::names;
use crate::output::{Align, Out, Style, Table, bytes_text};

pub(crate) async fn add(
    arguments: &args::ConnectorAdd,
    project: &Project,
    out: &Out,
) -> Result<Exit, Failure> {
    let name = arguments.name.as_str();
    names::check_new(name, "connector")?;
    if is_built_in(name) {
        return Err(Failure::usage(format!("connector `{name}` is built in")).hint("take another name"));
    }
    if project.parsed.value.connectors.iter().any(|c| c.name == name) {
        return Err(Failure::usage(format!("connector `{name}` exists already")).hint(format!(
            "take another name, or `headwater connector remove {name}` first; `connector update {name}` fetches its newest commit"
        )));
    }
    let source = source(arguments, project)?;
    let added = prepare(&source, project, out).await;
    if added.is_err() {
        // What was fetched is of no use to anybody; the failure to tell is the first.
        drop(forget(project, name));
    }
    let (external, found) = added?;
    if out.is_json() {
        out.json(&json!({"added": name, "commit": external.commit, "class": found.class, "abilities": abilities(&found)}))?;
        return Ok(Exit::Ok);
    }
    out.say(&format!("added connector `{name}` to {}", shown(&project.file()).display()));
    if let Some(commit) = &external.commit {
        out.say(&format!("headwater.lock pins commit {commit}"));
    }
    out.say(&format!("next: headwater connectors {name}     shows its options"));
    out.say(&format!("      headwater connection add <name> --connector {name} --option …"));
    Ok(Exit::Ok)
}

/// Fetches a connector, installs what it needs, looks at it, and writes it into the project when it has been found to
/// work.
async fn prepare(
    source: &ConnectorSource,
    project: &Project,
    out: &Out,
) -> Result<(External, Description), Failure> {
    let (external, found, spec) = try_out(source, project, out).await?;
    warn_without_spec(&source.name, &spec, out);
    write_added(source, project)?;
    Ok((external, found))
}

/// Fetches a connector, installs what it needs, and loads it.
async fn try_out(
    source: &ConnectorSource,
    project: &Project,
    out: &Out,
) -> Result<(External, Description, ConnectorSpec), Failure> {
    let external = External::locate(project, source, out)?;
    let environment = external.prepare(out).await?;
    let found = external.describe(&environment).await?;
    let factory = external.factory(&environment).await?;
    let spec = spec_of(factory.as_ref())?;
    Ok((external, found, spec))
}

/// What the arguments say of the connector, as `headwater.yaml` will.
fn source(arguments: &args::ConnectorAdd, project: &Project) -> Result<ConnectorSource, Failure> {
    let origin = match (&arguments.source, &arguments.module, &arguments.program) {
        (Some(source), ..) if git::is_url(source) => ConnectorOrigin::Git {
            url: source.clone(),
            reference: arguments.reference.clone(),
            path: arguments.path.clone(),
        },
        (Some(folder), ..) => {
            if arguments.reference.is_some() || arguments.path.is_some() {
                return Err(Failure::usage("`--ref` and `--path` go with a Git repository")
                    .hint(format!("`{folder}` is taken for a folder: name the connector's folder itself")));
            }
            ConnectorOrigin::Folder(in_project(folder, project)?)
        }
        (None, Some(module), _) => ConnectorOrigin::Module(module.clone()),
        (None, None, program) => {
            let program = program.as_deref().unwrap_or_default();
            let program =
                if program.contains('/') { in_project(program, project)? } else { program.to_owned() };
            ConnectorOrigin::Command { program, arguments: arguments.arguments.clone() }
        }
    };
    if let Some(text) = &arguments.call_timeout {
        parse_duration(text).map_err(|e| Failure::usage(format!("`--call-timeout {text}`: {e}")))?;
    }
    let python = match &arguments.python {
        Some(python) if python.contains('/') => Some(in_project(python, project)?),
        python => python.clone(),
    };
    Ok(ConnectorSource {
        name: arguments.name.clone(),
        origin,
        class: arguments.class.clone(),
        extras: arguments.extras.clone(),
        python,
        call_timeout: arguments.call_timeout.clone(),
        path: format!("connectors.{}", arguments.name),
    })
}

/// A path of the command line, as it is written in the project: relative to its root where it lies below that.
fn in_project(path: &str, project: &Project) -> Result<String, Failure> {
    let absolute = std::path::absolute(path)
        .map_err(|e| Failure::other(format!("`{path}` is no path"), &e).with_exit(Exit::Usage))?;
    if !absolute.exists() {
        return Err(Failure::usage(format!("there is no file or folder `{path}`")).hint(
            "a Git repository is given by its URL, such as https://git.example.org/team/connectors.git",
        ));
    }
    let found = absolute.canonicalize().unwrap_or_else(|_| absolute.clone());
    let root = project.root.canonicalize().unwrap_or_else(|_| project.root.clone());
    Ok(match found.strip_prefix(&root) {
        // A link may lead out of its folder, such as the interpreter of an environment; it stays a link.
        Ok(inside) if !absolute.is_symlink() => format!("./{}", inside.display()),
        _ => absolute.to_string_lossy().into_owned(),
    })
}

fn entry<'a>(source: &'a ConnectorSource) -> Entry<'a> {
    let mut fields = Vec::new();
    let mut text = |field, value: Option<&'a String>| {
        fields.extend(value.map(|value| (field, Written::Text(value))));
    };
    match &source.origin {
        ConnectorOrigin::Folder(folder) => text("folder", Some(folder)),
        ConnectorOrigin::Git { url, reference, path } => {
            text("git", Some(url));
            text("ref", reference.as_ref());
            text("path", path.as_ref());
        }
        ConnectorOrigin::Module(module) => text("module", Some(module)),
        ConnectorOrigin::Command { program, .. } => text("command", Some(program)),
    }
    text("class", source.class.as_ref());
    text("python", source.python.as_ref());
    text("call_timeout", source.call_timeout.as_ref());
    if let ConnectorOrigin::Command { arguments, .. } = &source.origin {
        fields.push(("arguments", Written::List(arguments)));
    }
    fields.push(("extras", Written::List(&source.extras)));
    Entry { name: &source.name, fields }
}

/// Edits the text, and replaces the file only where the result says what was meant and nothing else.
fn write_added(source: &ConnectorSource, project: &Project) -> Result<(), Failure> {
    let mut meant: ProjectSpec = project.parsed.value.clone();
    meant.connectors.push(source.clone());
    let entry = entry(source);
    let edited = edit::insert(&project.text, "connectors", &entry).ok();
    replace(project, edited, &meant).map_err(|failure| {
        failure.hint(format!("add this under `connectors:` yourself:\n{}", entry.block(2).trim_end()))
    })
}

fn find<'a>(project: &'a Project, name: &str) -> Result<&'a ConnectorSource, Failure> {
    let added = &project.parsed.value.connectors;
    added.iter().find(|c| c.name == name).ok_or_else(|| {
        if is_built_in(name) {
            return Failure::usage(format!("connector `{name}` is built in"))
                .hint(format!("`headwater connectors {name}` shows its options"));
        }
        let names: Vec<String> = added.iter().map(|c| c.name.clone()).collect();
        Failure::usage(format!("the project has no connector `{name}`")).hint(names::hint(
            name,
            &names,
            "added connectors",
            "none was added yet: `headwater connector add <name> <folder or Git URL>`",
        ))
    })
}

/// Where a connector comes from, for people.
fn origin_text(origin: &ConnectorOrigin) -> String {
    match origin {
        ConnectorOrigin::Folder(folder) => folder.clone(),
        ConnectorOrigin::Git { url, reference, path } => {
            let path = path.as_ref().map(|p| format!(" {p}")).unwrap_or_default();
            let reference = reference.as_ref().map(|r| format!(" ({r})")).unwrap_or_default();
            format!("{url}{path}{reference}")
        }
        ConnectorOrigin::Module(module) => format!("module {module}"),
        ConnectorOrigin::Command { program, arguments } => {
            let all: Vec<&str> =
                std::iter::once(program.as_str()).chain(arguments.iter().map(String::as_str)).collect();
            format!("command {}", all.join(" "))
        }
    }
}

fn origin_json(origin: &ConnectorOrigin) -> Value {
    match origin {
        ConnectorOrigin::Folder(folder) => json!({"folder": folder}),
        ConnectorOrigin::Git { url, reference, path } => json!({"git": url, "ref": reference, "path": path}),
        ConnectorOrigin::Module(module) => json!({"module": module}),
        ConnectorOrigin::Command { program, arguments } => {
            json!({"command": program, "arguments": arguments})
        }
    }
}

/// The commit that a connector from a repository is pinned to.
fn pinned(source: &ConnectorSource, lock: &Lock) -> Option<String> {
    let ConnectorOrigin::Git { url, reference, .. } = &source.origin else { return None };
    lock.commit(&source.name, Wanted { url, reference: reference.as_deref() }).map(str::to_owned)
}

pub(crate) fn list(project: &Project, out: &Out) -> Result<Exit, Failure> {
    let lock = Lock::read(&project.root)?;
    let added = &project.parsed.value.connectors;
    let mut table =
        Table::new([("connector", Align::Left), ("comes from", Align::Left), ("commit", Align::Left)]);
    let mut documents = Vec::new();
    for source in added {
        let commit = pinned(source, &lock);
        let short = commit.as_deref().and_then(|c| c.get(..12)).unwrap_or_default().to_owned();
        table.row([source.name.clone(), origin_text(&source.origin), short]);
        documents.push(json!({"name": source.name, "origin": origin_json(&source.origin), "commit": commit}));
    }
    if out.is_json() {
        out.json(&json!({"connectors": documents}))?;
    } else if added.is_empty() {
        out.say(
            "the project has added no connector yet: `headwater connector add <name> <folder or Git URL>`",
        );
        out.say("`headwater connectors` lists those that are built in");
    } else {
        out.table(&table)?;
    }
    Ok(Exit::Ok)
}

/// What a connector can do besides the five methods.
fn abilities(found: &Description) -> Vec<&'static str> {
    let Abilities { partition, partitioned_stream, namespaces, agent } = found.abilities;
    [
        (partition, "partitions"),
        (partitioned_stream, "partitioned streams"),
        (namespaces, "namespaces"),
        (agent, "agent operations"),
    ]
    .into_iter()
    .filter_map(|(has, name)| has.then_some(name))
    .collect()
}

pub(crate) async fn info(name: &str, project: &Project, out: &Out) -> Result<Exit, Failure> {
    let source = find(project, name)?;
    let external = External::locate(project, source, out)?;
    let environment = external.prepare(out).await?;
    let found = external.describe(&environment).await?;
    let factory = external.factory(&environment).await?;
    let spec = spec_of(factory.as_ref())?;
    if out.is_json() {
        out.json(&json!({
            "name": name, "origin": origin_json(&source.origin), "commit": external.commit,
            "class": found.class, "file": found.file, "abilities": abilities(&found), "runtime": found.runtime,
            "python": environment.python(), "has_spec": !spec.takes_any_option(),
        }))?;
        return Ok(Exit::Ok);
    }
    let line = |label: &str, text: &str| {
        let label = out.style_data(Style::Bold, &format!("{label:<13}"));
        if text.is_empty() { Ok(()) } else { out.line(&format!("{label}{text}")) }
    };
    line("comes from", &origin_text(&source.origin))?;
    line("commit", external.commit.as_deref().unwrap_or_default())?;
    line("class", &found.class)?;
    line("file", &found.file.as_ref().map(|f| shown(f.as_ref()).display().to_string()).unwrap_or_default())?;
    line("abilities", &abilities(&found).join(", "))?;
    line("runs on", &found.runtime)?;
    line("python", &environment.python().map(|p| shown(p).display().to_string()).unwrap_or_default())?;
    if spec.takes_any_option() {
        return out.line("\nno connector_spec.yaml: its options are not known").map(|()| Exit::Ok);
    }
    out.line("")?;
    describe(name, &spec, out)
}

pub(crate) async fn update(name: Option<&str>, project: &Project, out: &Out) -> Result<Exit, Failure> {
    let chosen: Vec<&ConnectorSource> = match name {
        Some(name) => vec![find(project, name)?],
        None => project.parsed.value.connectors.iter().collect(),
    };
    let mut documents = Vec::new();
    for source in &chosen {
        let ConnectorOrigin::Git { url, reference, .. } = &source.origin else {
            if name.is_some() {
                return Err(Failure::usage(format!(
                    "connector `{}` does not come from a Git repository",
                    source.name
                ))
                .hint("there is nothing to fetch: it is used as it stands"));
            }
            continue;
        };
        let wanted = Wanted { url, reference: reference.as_deref() };
        let (before, now) = pin(project, &source.name, wanted, out)?;
        let short = |commit: &str| commit.get(..12).unwrap_or(commit).to_owned();
        // A commit that does not work is seen now rather than in the next run.
        if let Err(failure) = try_out(source, project, out).await {
            pin_back(project, &source.name, wanted, before.as_deref())?;
            let what = format!("commit {} of connector `{}` cannot be used", short(&now), source.name);
            return Err(failure.context(what));
        }
        if !out.is_json() {
            out.line(&match &before {
                Some(before) if *before == now => format!("{}: {} is the newest", source.name, short(&now)),
                Some(before) => format!("{}: {} -> {}", source.name, short(before), short(&now)),
                None => format!("{}: {}", source.name, short(&now)),
            })?;
        }
        documents.push(json!({"name": source.name, "before": before, "commit": now}));
    }
    if out.is_json() {
        out.json(&json!({"updated": documents}))?;
    } else if documents.is_empty() {
        out.say("no connector of the project comes from a Git repository");
    }
    Ok(Exit::Ok)
}

pub(crate) fn remove(name: &str, project: &Project, out: &Out) -> Result<Exit, Failure> {
    find(project, name)?;
    let users: Vec<String> = project
        .parsed
        .value
        .connections
        .iter()
        .filter(|c| c.connector == name)
        .map(|c| format!("`{}`", c.name))
        .collect();
    if !users.is_empty() {
        return Err(Failure::usage(format!("connector `{name}` is used by {}", users.join(", ")))
            .hint("`headwater connection remove <name>` first"));
    }
    let mut meant = project.parsed.value.clone();
    meant.connectors.retain(|c| c.name != name);
    replace(project, edit::remove(&project.text, "connectors", name).ok(), &meant)
        .map_err(|failure| failure.hint(format!("take `{name}` out yourself")))?;
    forget(project, name)?;
    if out.is_json() {
        out.json(&json!({"removed": name}))?;
    } else {
        out.say(&format!("removed connector `{name}` from {}", shown(&project.file()).display()));
    }
    Ok(Exit::Ok)
}

pub(crate) fn prune(arguments: &args::ConnectorPrune, project: &Project, out: &Out) -> Result<Exit, Failure> {
    let found = unused(project)?;
    let (mut freed, mut documents) = (0, Vec::new());
    for folder in &found {
        let path = shown(&folder.path).display().to_string();
        let failed = |e| Failure::other(format!("{path} cannot be removed"), &e).with_exit(Exit::Usage);
        let goes = match arguments.dry_run {
            true => !folder.in_use,
            false => folder.remove().map_err(failed)?,
        };
        let what = match (goes, arguments.dry_run) {
            (false, _) => "is in use and stays",
            (true, true) => "would go",
            (true, false) => "removed",
        };
        freed += if goes { folder.bytes } else { 0 };
        documents.push(json!({"path": path, "bytes": folder.bytes, "in_use": !goes}));
        if !out.is_json() {
            out.line(&format!("{path} ({}) {what}", bytes_text(folder.bytes)))?;
        }
    }
    if out.is_json() {
        out.json(&json!({"folders": documents, "bytes": freed, "dry_run": arguments.dry_run}))?;
    } else if found.is_empty() {
        out.say("nothing is kept that no connector needs");
    } else {
        out.say(&format!(
            "{} {}",
            bytes_text(freed),
            if arguments.dry_run { "would be freed" } else { "freed" }
        ));
    }
    Ok(Exit::Ok)
}
