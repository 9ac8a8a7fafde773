//! The project file, `headwater.yaml`: where the tables go, and the connections to sources.

use crate::check::{self, Checked};
use crate::diagnostic::{Complaints, Parsed, Problem, SpecErrors};
use crate::fields::{Field, ObjectKind, Rest, Shape, TextRule};
use crate::node::shown;

const LINE: Shape = Shape::Text(TextRule::Line);

static PROJECT: ObjectKind = ObjectKind {
    name: "project",
    about: "A project: where its tables go, and the connections that its pipelines use.",
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
        Field::new("connections", Shape::Named(&CONNECTION), "Connections by name.").example(
            r#"{"wiki": {"connector": "mediawiki", "options": {"base_url": "https://wiki.example.org/w/"}}}"#,
        ),
    ],
    rest: Rest::Refused,
    rules: &[],
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
    /// The connections, in the order of the document.
    pub connections: Vec<ConnectionSpec>,
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
            spec
        };
        plain(self) == plain(other)
    }
}

fn build(top: &Checked, complaints: &mut Complaints) -> ProjectSpec {
    let mut connections: Vec<ConnectionSpec> = Vec::new();
    for (name, checked) in top.named("connections").into_iter().flatten() {
        let is_fine = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
        if name.is_empty() || !name.chars().all(is_fine) {
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
        connections,
    }
}

#[cfg(test)]
mod tests {
    use super::ProjectSpec;

    fn check(text: &str, expect: &[&str]) {
        let found: Vec<String> = match ProjectSpec::parse(text, "headwater.yaml") {
            Ok(_) => Vec::new(),
            Err(errors) => errors.errors.iter().map(ToString::to_string).collect(),
        };
        assert_eq!(found, expect, "{text}");
    }

    #[test]
    fn a_project_file_is_read_with_its_connections_in_order() {
        let text = "warehouse: s3://b/l\nstorage: {aws_region: x}\ncatalog: main\nmemory: 1GiB\nconnections:\n  b: {connector: example}\n  a:\n    connector: mediawiki\n    options: {limit: 50, token: env:T}\n";
        let spec = ProjectSpec::parse(text, "headwater.yaml").unwrap();
        let names: Vec<&str> = spec.value.connections.iter().map(|c| c.name.as_str()).collect();
        assert_eq!(names, ["b", "a"]);
        let options = [("limit".to_owned(), "50".to_owned()), ("token".to_owned(), "env:T".to_owned())];
        assert_eq!(spec.value.connections[1].options, options);
        assert_eq!(spec.position("connections.a.options.token").line, 9);
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
