//! The project file, `headwater.yaml`: where the tables go, the connectors that were added, and the connections.

use crate::check::{self, Checked};
use crate::diagnostic::{Complaints, Parsed, Problem, SpecErrors};
use crate::fields::{Field, ObjectKind, Rest, Rule, Shape, TextRule};
use crate::node::shown;

const LINE: Shape = Shape::Text(TextRule::Line);

static PROJECT: ObjectKind = ObjectKind {
    name: "project",
    about: "A project: where its tables go, the connectors that were added to it, and its connections.",
    fields: &[
        Field::new(
            "warehouse",
            LINE,
            "Folder (relative to the project) or URL that the tables go to; `./warehouse` without it.",
        )
        .example("\"s3://bucket/lake\""),
        Field::new(
            "storage",
            Shape::Texts,
            "Options of the warehouse's storage. `env:NAME` and `file:PATH` stand for secrets.",
        )
        .example(r#"{"aws_region": "eu-central-1", "aws_secret_access_key": "env:AWS_SECRET"}"#),
        Field::new(
            "catalog",
            Shape::Text(TextRule::LakeName),
            "Catalog of pipelines that name none; `main` without it.",
        )
        .example("\"main\""),
        Field::new("memory", LINE, "What a run may hold in memory.").example("\"512MiB\""),
        Field::new(
            "temp_folder",
            LINE,
            "Folder (relative to the project) for what does not fit into memory; the system's without it.",
        )
        .example("\"/mnt/scratch\""),
        Field::new(
            "auto_optimize",
            Shape::Flag,
            "Whether a run merges small files and purges dead rows between its commits; yes without it.",
        )
        .example("false"),
        Field::new(
            "connectors",
            Shape::Named(&CONNECTOR),
            "Connectors by name, beside those that are built in; `headwater connector add` writes them.",
        )
        .example(r#"{"my_source": {"folder": "./my_source"}}"#),
        Field::new("connections", Shape::Named(&CONNECTION), "Connections by name.").example(
            r#"{"wiki": {"connector": "mediawiki", "options": {"base_url": "https://wiki.example.org/w/"}}}"#,
        ),
    ],
    rest: Rest::Refused,
    rules: &[],
};

static CONNECTOR: ObjectKind = ObjectKind {
    name: "project_connector",
    about: "A connector that is not built in: where it comes from.",
    fields: &[
        Field::new("folder", LINE, "Folder (relative to the project) or file with a connector in Python.")
            .example("\"./my_source\""),
        Field::new("git", LINE, "URL of a Git repository with a connector in Python.")
            .example("\"https://git.example.org/team/connectors.git\""),
        Field::new(
            "ref",
            LINE,
            "Branch, tag or commit of `git`; its default branch without it. `headwater.lock` keeps the commit.",
        )
        .example("\"main\""),
        Field::new("path", LINE, "Folder or file in the repository.").example("\"sources/my_source\""),
        Field::new("module", LINE, "A connector in Python that is installed already, by its module.")
            .example("\"acme_connectors.my_source\""),
        Field::new("command", LINE, "An executable that speaks the worker protocol (docs/PROTOCOL.md).")
            .example("\"./bin/my-source\""),
        Field::new("arguments", Shape::Scalars, "Arguments of `command`.").example(r#"["--verbose"]"#),
        Field::new("class", LINE, "The connector's class, where there are several: `Class` or `module:Class`.")
            .example("\"MySourceLakeflowConnect\""),
        Field::new(
            "extras",
            Shape::Names { most: 100, empty: true },
            "Optional requirements of the connector's package to install, or other packages.",
        )
        .example(r#"["azure"]"#),
        Field::new("python", LINE, "The Python to use; the newest from 3.11 on without it.")
            .example("\"/usr/bin/python3.12\""),
        Field::new(
            "call_timeout",
            LINE,
            "How long a call may go on without giving a record; 15 minutes without it.",
        )
        .example("\"1h\""),
    ],
    rest: Rest::Refused,
    rules: &[Rule::ExactlyOne(&["folder", "git", "module", "command"])],
};

static CONNECTION: ObjectKind = ObjectKind {
    name: "project_connection",
    about: "A connection: a connector and its options.",
    fields: &[
        Field::new("connector", LINE, "Name of the connector.").required().example("\"mediawiki\""),
        Field::new(
            "options",
            Shape::Texts,
            "The connector's options. `env:NAME` and `file:PATH` stand for secrets.",
        )
        .example(r#"{"base_url": "https://wiki.example.org/w/", "bot_password": "env:WIKI_PASSWORD"}"#),
    ],
    rest: Rest::Refused,
    rules: &[],
};

/// What a project file says. Values are as written: references to secrets have not been looked up.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProjectSpec {
    /// Folder or URL that the tables go to.
    pub warehouse: Option<String>,
    /// Options of its storage.
    pub storage: Vec<(String, String)>,
    /// Catalog of pipelines that name none.
    pub catalog: Option<String>,
    /// What a run may hold in memory, such as `512MiB`.
    pub memory: Option<String>,
    /// Folder for what does not fit into memory.
    pub temp_folder: Option<String>,
    /// Whether a run merges small files and purges dead rows between its commits.
    pub auto_optimize: Option<bool>,
    /// The connectors that were added, in the order of the document.
    pub connectors: Vec<ConnectorSource>,
    /// The connections, in the order of the document.
    pub connections: Vec<ConnectionSpec>,
}

/// A connector of a project: where it comes from and how it is run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectorSource {
    /// Its name.
    pub name: String,
    /// Where it comes from.
    pub origin: ConnectorOrigin,
    /// Its class, where there are several.
    pub class: Option<String>,
    /// Optional requirements to install.
    pub extras: Vec<String>,
    /// The Python to use.
    pub python: Option<String>,
    /// How long a call may go on without giving a record, as written.
    pub call_timeout: Option<String>,
    /// Where it stands in the document, such as `connectors.my_source`.
    pub path: String,
}

/// Where a connector comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConnectorOrigin {
    /// A folder or a file, relative to the project.
    Folder(String),
    /// A Git repository.
    Git {
        /// Its URL.
        url: String,
        /// Branch, tag or commit.
        reference: Option<String>,
        /// Folder or file in it.
        path: Option<String>,
    },
    /// A module that is installed already.
    Module(String),
    /// An executable that speaks the worker protocol.
    Command {
        /// The executable, relative to the project where it has a slash in it.
        program: String,
        /// Its arguments.
        arguments: Vec<String>,
    },
}

/// A connection of a project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionSpec {
    /// Its name.
    pub name: String,
    /// Name of the connector.
    pub connector: String,
    /// Options, in the order of the document.
    pub options: Vec<(String, String)>,
    /// Where it stands in the document, such as `connections.wiki`.
    pub path: String,
}

impl ProjectSpec {
    /// Reads a project file from YAML. `file_name` is shown in errors.
    ///
    /// # Errors
    /// Everything that is wrong with the document, not only the first of it.
    pub fn parse(text: &str, file_name: &str) -> Result<Parsed<ProjectSpec>, SpecErrors> {
        // A file that holds nothing, or comments only, is a project with nothing set.
        if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
            return Complaints::new(crate::diagnostic::Source::new(file_name, text))
                .finish(Some(ProjectSpec::default()));
        }
        let (mut complaints, checked) = check::document(text, file_name, &PROJECT);
        let spec = checked.map(|top| build(&top, &mut complaints));
        complaints.finish(spec)
    }

    /// Says whether both hold the same, wherever it stands in their documents.
    pub fn says_the_same_as(&self, other: &ProjectSpec) -> bool {
        let plain = |spec: &ProjectSpec| {
            let mut spec = spec.clone();
            spec.connections.iter_mut().for_each(|c| c.path.clear());
            spec.connectors.iter_mut().for_each(|c| c.path.clear());
            spec
        };
        plain(self) == plain(other)
    }
}

/// Says whether a connector or a connection may have the name.
fn is_name(name: &str) -> bool {
    let is_fine = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
    !name.is_empty() && name.chars().all(is_fine)
}

fn connector(name: &str, checked: &Checked, complaints: &mut Complaints) -> Option<ConnectorSource> {
    if !is_name(name) {
        let reason = "is not a name for a connector".to_owned();
        let problem = Problem::BadValue { value: shown(name), reason };
        complaints.add(checked.place, &checked.path, problem, |d| d.hint("use letters, digits, `_` and `-`"));
        return None;
    }
    let origin = if let Some(folder) = checked.text("folder") {
        ConnectorOrigin::Folder(folder)
    } else if let Some(url) = checked.text("git") {
        ConnectorOrigin::Git { url, reference: checked.text("ref"), path: checked.text("path") }
    } else if let Some(module) = checked.text("module") {
        ConnectorOrigin::Module(module)
    } else {
        let arguments = checked.names("arguments").unwrap_or_default();
        // Its absence has been reported.
        ConnectorOrigin::Command { program: checked.text("command")?, arguments }
    };
    let only = match &origin {
        ConnectorOrigin::Git { .. } => &["arguments"][..],
        ConnectorOrigin::Command { .. } => &["ref", "path", "class", "extras", "python"],
        ConnectorOrigin::Folder(_) | ConnectorOrigin::Module(_) => &["ref", "path", "arguments"],
    };
    for field in only.iter().filter(|field| checked.has(field)) {
        let owner = match *field {
            "arguments" => "`command`",
            "ref" | "path" => "`git`",
            _ => "a connector in Python",
        };
        let detail = format!("`{field}` goes with {owner} only");
        let problem = Problem::Doubtful { detail };
        complaints.add(checked.place_of(field), &checked.path_of(field), problem, |d| d.hint("take it out"));
    }
    Some(ConnectorSource {
        name: name.to_owned(),
        origin,
        class: checked.text("class"),
        extras: checked.names("extras").unwrap_or_default(),
        python: checked.text("python"),
        call_timeout: checked.text("call_timeout"),
        path: checked.path.clone(),
    })
}

fn build(top: &Checked, complaints: &mut Complaints) -> ProjectSpec {
    let mut connectors = Vec::new();
    for (name, checked) in top.named("connectors").into_iter().flatten() {
        connectors.extend(connector(name, checked, complaints));
    }
    let mut connections: Vec<ConnectionSpec> = Vec::new();
    for (name, checked) in top.named("connections").into_iter().flatten() {
        if !is_name(name) {
            let reason = "is not a name for a connection".to_owned();
            let problem = Problem::BadValue { value: shown(name), reason };
            complaints
                .add(checked.place, &checked.path, problem, |d| d.hint("use letters, digits, `_` and `-`"));
            continue;
        }
        // Its absence has been reported.
        let Some(connector) = checked.text("connector") else { continue };
        connections.push(ConnectionSpec {
            name: name.clone(),
            connector,
            options: checked.texts("options").cloned().unwrap_or_default(),
            path: checked.path.clone(),
        });
    }
    ProjectSpec {
        warehouse: top.text("warehouse"),
        storage: top.texts("storage").cloned().unwrap_or_default(),
        catalog: top.text("catalog"),
        memory: top.text("memory"),
        temp_folder: top.text("temp_folder"),
        auto_optimize: top.flag("auto_optimize"),
        connectors,
        connections,
    }
}

#[cfg(test)]
mod tests {
    use super::{ConnectorOrigin, ProjectSpec};

    fn check(text: &str, expect: &[&str]) {
        let found: Vec<String> = match ProjectSpec::parse(text, "headwater.yaml") {
            Ok(_) => Vec::new(),
            Err(errors) => errors.errors.iter().map(ToString::to_string).collect(),
        };
        assert_eq!(found, expect, "{text}");
    }

    #[test]
    fn a_project_file_is_read_with_its_connections_in_order() {
        let text = "warehouse: s3://b/l\nstorage: {aws_region: x}\ncatalog: main\nmemory: 1GiB\nauto_optimize: false\ntemp_folder: tmp\nconnections:\n  b: {connector: example}\n  a:\n    connector: mediawiki\n    options: {limit: 50, token: env:T}\n";
        let spec = ProjectSpec::parse(text, "headwater.yaml").unwrap();
        let names: Vec<&str> = spec.value.connections.iter().map(|c| c.name.as_str()).collect();
        assert_eq!(names, ["b", "a"]);
        let options = [("limit".to_owned(), "50".to_owned()), ("token".to_owned(), "env:T".to_owned())];
        assert_eq!(spec.value.connections[1].options, options);
        assert_eq!(spec.position("connections.a.options.token").line, 11);
        assert_eq!((spec.value.auto_optimize, spec.value.temp_folder.as_deref()), (Some(false), Some("tmp")));
    }

    #[test]
    fn connectors_say_where_they_come_from() {
        let text = "connectors:\n  a: {folder: ./a, extras: [x, y]}\n  b: {git: 'https://h/r.git', ref: v1, path: src/b, class: B}\n  c: {module: acme.c, python: python3.12}\n  d: {command: ./d, arguments: [--deep, 3, --deep], call_timeout: 1h}\n";
        let spec = ProjectSpec::parse(text, "headwater.yaml").unwrap().value;
        let origins: Vec<ConnectorOrigin> = spec.connectors.iter().map(|c| c.origin.clone()).collect();
        assert_eq!(
            origins,
            [
                ConnectorOrigin::Folder("./a".into()),
                ConnectorOrigin::Git {
                    url: "https://h/r.git".into(),
                    reference: Some("v1".into()),
                    path: Some("src/b".into())
                },
                ConnectorOrigin::Module("acme.c".into()),
                ConnectorOrigin::Command {
                    program: "./d".into(),
                    arguments: vec!["--deep".into(), "3".into(), "--deep".into()]
                },
            ]
        );
        assert_eq!(spec.connectors[0].extras, ["x", "y"]);
        assert_eq!(spec.connectors[1].class.as_deref(), Some("B"));
        assert_eq!(spec.connectors[2].python.as_deref(), Some("python3.12"));
        assert_eq!(spec.connectors[3].call_timeout.as_deref(), Some("1h"));
    }

    #[test]
    fn a_file_without_content_sets_nothing() {
        for text in ["", "\n\n", "# only a comment\n"] {
            assert_eq!(ProjectSpec::parse(text, "headwater.yaml").unwrap().value, ProjectSpec::default());
        }
    }

    #[test]
    fn what_is_wrong_has_its_place() {
        check("warehose: x\n", &["headwater.yaml:1:1: warehose: unknown field `warehose`"]);
        check(
            "connections:\n  a: {options: {}}\n",
            &["headwater.yaml:2:3: connections.a: missing field `connector`"],
        );
        check(
            "connectors:\n  a: {class: A}\n",
            &["headwater.yaml:2:3: connectors.a: one of `folder`, `git`, `module` or `command` is needed"],
        );
        check(
            "connectors:\n  a: {folder: x, git: y}\n",
            &["headwater.yaml:2:18: connectors.a.git: `folder` and `git` exclude each other"],
        );
        check(
            "connectors:\n  a: {folder: x, ref: main}\n",
            &["headwater.yaml:2:23: connectors.a.ref: `ref` goes with `git` only"],
        );
        check(
            "connectors:\n  a b: {folder: x}\n",
            &["headwater.yaml:2:3: connectors.a b: `a b` is not a name for a connector"],
        );
        check("connections: [a]\n", &["headwater.yaml:1:14: connections: expected a map, found a list"]);
        check(
            "connections:\n  a b: {connector: x}\n",
            &["headwater.yaml:2:3: connections.a b: `a b` is not a name for a connection"],
        );
        check(
            "connections:\n  a: {connector: x, options: {l: [1]}}\n",
            &["headwater.yaml:2:34: connections.a.options.l: expected a text, found a list"],
        );
    }
}
