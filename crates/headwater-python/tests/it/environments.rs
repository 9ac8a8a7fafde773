//! Virtual environments, from packages that are on this machine only.

use std::path::Path;
use std::sync::Mutex;

use headwater_connect::Options;
use headwater_python::{PrepareError, Progress};

use crate::support::{Project, chain, options};

const CONNECTOR: &str = r#"
from databricks.labs.community_connector.interface import LakeflowConnect
import tellme

class MineLakeflowConnect(LakeflowConnect):
    def list_tables(self):
        return [tellme.WORD]
    def get_table_schema(self, table_name, table_options): ...
    def read_table_metadata(self, table_name, table_options): ...
    def read_table(self, table_name, start_offset, table_options): ...
"#;

/// A package as a wheel, which is a ZIP file: written by Python, so that no tool has to be there.
fn wheel(folder: &Path, version: &str, word: &str) {
    let script = r#"
import sys, zipfile, os
folder, version, word = sys.argv[1:]
name = f"tellme-{version}"
with zipfile.ZipFile(os.path.join(folder, f"{name}-py3-none-any.whl"), "w") as z:
    z.writestr("tellme.py", f"WORD = {word!r}\n")
    z.writestr(f"{name}.dist-info/METADATA", f"Metadata-Version: 2.1\nName: tellme\nVersion: {version}\nRequires-Dist: lakeflow-community-connectors>=0.1.0,<1.0\n")
    z.writestr(f"{name}.dist-info/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
    z.writestr(f"{name}.dist-info/RECORD", "")
"#;
    let status = std::process::Command::new(crate::support::python())
        .args(["-c", script])
        .arg(folder)
        .args([version, word])
        .status()
        .unwrap();
    assert!(status.success());
}

fn environments(project: &Project) -> Vec<String> {
    let folder = project.folder.path().join("state/python/envs");
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name != ".lock").collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_environment_is_made_once_and_again_when_the_requirements_change() {
    let project = Project::new();
    let definition = project.python(CONNECTOR);
    wheel(project.folder.path(), "1.0", "one");
    wheel(project.folder.path(), "2.0", "two");
    let wheels = project.folder.path().display().to_string();
    let list = |version: &str| {
        let text = format!(
            "# needs\n--no-index\n--find-links {wheels}\nlakeflow-community-connectors>=0.1.0,<1.0\ntellme=={version}\n"
        );
        project.write("c/requirements.txt", &text);
    };
    list("1.0");
    let seen = Mutex::new(Vec::new());
    let progress = |step: Progress| seen.lock().unwrap().push(step);
    let environment = project.runtime.prepare(&definition, &progress).await.unwrap();
    let python = environment.python().unwrap().to_owned();
    assert!(python.starts_with(project.folder.path().join("state")), "{}", python.display());
    let steps = std::mem::take(&mut *seen.lock().unwrap());
    assert!(
        steps.iter().any(|s| matches!(s, Progress::Step(step) if step.contains("virtual environment"))),
        "{steps:?}"
    );
    assert!(steps.iter().any(|s| matches!(s, Progress::Line(line) if line.contains("tellme"))), "{steps:?}");

    let factory = project.runtime.factory(&definition, &environment).await.unwrap();
    let connector = factory.connect(&options(&[("tableName", "t")])).await.unwrap();
    assert_eq!(connector.list_tables().await.unwrap(), ["one"]);

    let again = project.runtime.prepare(&definition, &progress).await.unwrap();
    assert_eq!(again.python(), Some(python.as_path()));
    assert!(seen.lock().unwrap().is_empty(), "made again");

    list("2.0");
    let environment = project.runtime.prepare(&definition, &progress).await.unwrap();
    assert_ne!(environment.python(), Some(python.as_path()));
    let factory = project.runtime.factory(&definition, &environment).await.unwrap();
    let connector = factory.connect(&Options::new()).await.unwrap();
    assert_eq!(connector.list_tables().await.unwrap(), ["two"]);

    assert_eq!(environments(&project).len(), 2);
    project.runtime.remove_environments("c").unwrap();
    assert_eq!(environments(&project).len(), 0);
}

#[tokio::test]
async fn requirements_that_cannot_be_met_leave_nothing_and_say_what_pip_said() {
    let project = Project::new();
    let definition = project.python(CONNECTOR);
    project.write("c/requirements.txt", "--no-index\ntellme==3.0\n");
    let error = project.runtime.prepare(&definition, &|_| {}).await.unwrap_err();
    let PrepareError::Step { offline: true, .. } = &error else { panic!("{error:?}") };
    let text = chain(&error);
    assert!(text.contains("installing the requirements failed for connector `c`"), "{text}");
    assert!(text.contains("tellme==3.0"), "{text}");
    assert!(error.hint().unwrap().contains("PIP_FIND_LINKS"));
    assert!(environments(&project).is_empty(), "{:?}", environments(&project));
}

#[tokio::test]
async fn a_connector_whose_imports_are_there_needs_no_environment() {
    let project = Project::new();
    let definition = project.python("import json, os\n");
    project.write(
        "c/pyproject.toml",
        "[project]\nname = 'c'\nversion = '1'\ndependencies = ['lakeflow-community-connectors>=0.1']\n",
    );
    let environment = project.runtime.prepare(&definition, &|_| {}).await.unwrap();
    assert!(!environment.python().unwrap().starts_with(project.folder.path()));
    assert!(environments(&project).is_empty());
}

#[tokio::test]
async fn what_is_wrong_with_a_project_is_said() {
    let project = Project::new();
    let mut definition = project.python("");
    let check = async |definition: &headwater_python::ConnectorDefinition, text: &str, expect: &str| {
        project.write("c/pyproject.toml", text);
        let error = project.runtime.prepare(definition, &|_| {}).await.unwrap_err();
        assert!(chain(&error).contains(expect) && error.hint().is_some(), "{}", chain(&error));
    };
    check(&definition, "[project", "TOMLDecodeError").await;
    check(&definition, "[project]\nname='c'\ndependencies='x'\n", "is not a list of texts").await;
    check(&definition, "[tool.poetry]\nname='c'\n", "[tool.poetry]").await;
    check(
        &definition,
        "[project]\nname='c'\nrequires-python='>=3.99'\n",
        "3.11 or newer, and >=3.99 is needed",
    )
    .await;
    definition.extras = vec!["azure".into()];
    check(&definition, "[project]\nname='c'\n", "it has no extra `azure`").await;
}

#[tokio::test]
async fn a_machine_without_a_suitable_python_is_told_what_was_found() {
    use std::os::unix::fs::PermissionsExt;
    let project = Project::with(|settings| {
        settings.search_path = Some(settings.state_dir.parent().unwrap().join("bin").into());
    });
    let definition = project.python("");
    let old = project.write("bin/python3", "#!/bin/sh\necho '[[3, 8, 10], \"/usr/bin/python3\"]'\n");
    let odd = project.write("bin/python", "#!/bin/sh\necho hello\n");
    for file in [&old, &odd] {
        std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let error = project.runtime.prepare(&definition, &|_| {}).await.unwrap_err();
    let text = chain(&error);
    assert!(text.contains("3.11 or newer is needed"), "{text}");
    assert!(
        text.contains("bin/python3 (version 3.8.10)") && text.contains("bin/python (is no Python)"),
        "{text}"
    );
    assert!(error.hint().unwrap().contains("install Python 3.11"));

    std::fs::remove_file(old).unwrap();
    std::fs::remove_file(odd).unwrap();
    let error = project.runtime.prepare(&definition, &|_| {}).await.unwrap_err();
    assert!(chain(&error).contains("there is no Python in the search path"), "{}", chain(&error));
}

#[tokio::test]
async fn a_connector_is_described_without_an_instance() {
    let project = Project::new();
    let mut definition =
        project.python(&CONNECTOR.replace("import tellme", "print('loading')").replace("tellme.WORD", "''"));
    project.write("c/connector_spec.yaml", "name: mine\n");
    let environment = project.runtime.prepare(&definition, &|_| {}).await.unwrap();
    let described = project.runtime.describe(&definition, &environment).await.unwrap();
    assert!(described.class.ends_with(":MineLakeflowConnect"), "{described:?}");
    assert_eq!(described.spec.as_deref(), Some("name: mine\n"));
    assert!(described.file.unwrap().ends_with("c/c.py"));

    definition.class = Some("Nobody".into());
    let error = project.runtime.describe(&definition, &environment).await.unwrap_err();
    assert!(chain(&error).contains("Nobody"), "{}", chain(&error));
    definition.class = None;
    project.write("c/c.py", "1 / 0\n");
    let error = project.runtime.describe(&definition, &environment).await.unwrap_err();
    assert!(chain(&error).contains("ZeroDivisionError"), "{}", chain(&error));
}
