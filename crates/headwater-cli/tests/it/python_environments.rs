//! What connectors run in: environments from an index, what an interrupted installation leaves, what is cleaned up, and
//! the real PySpark.

use std::path::Path;
use std::process::Command;

use serde_json::json;

use crate::faults::RawServer;
use crate::harness::{Sandbox, finish};
use crate::object_store::readers_python;
use crate::python_support::connect;

/// A connector whose one table says what `expression` is.
fn connector(imports: &str, expression: &str) -> String {
    format!(
        "{imports}\n\
         from databricks.labs.community_connector.interface import LakeflowConnect\n\
         from pyspark.sql.types import StringType, StructField, StructType\n\n\n\
         class WordsLakeflowConnect(LakeflowConnect):\n\
         \x20   def list_tables(self):\n\
         \x20       return ['words']\n\n\
         \x20   def get_table_schema(self, table_name, table_options):\n\
         \x20       return StructType([StructField('says', StringType(), False)])\n\n\
         \x20   def read_table_metadata(self, table_name, table_options):\n\
         \x20       return {{'primary_keys': ['says'], 'ingestion_type': 'snapshot'}}\n\n\
         \x20   def read_table(self, table_name, start_offset, table_options):\n\
         \x20       return iter([{{'says': {expression}}}]), None\n"
    )
}

/// What the first row of table `words` says.
fn says(sandbox: &Sandbox) -> String {
    let preview = sandbox.run(&["preview", "conn", "words", "--json"]).ok().json();
    preview["rows"][0]["says"].as_str().unwrap_or_else(|| panic!("{preview:#}")).to_owned()
}

/// A folder that is an index of packages, with two versions of `tellme`.
fn index(folder: &Path) {
    let script = r#"
import os, sys, zipfile
folder = sys.argv[1]
os.makedirs(os.path.join(folder, "simple/tellme"))
links = []
for version, word in (("1.0", "one"), ("2.0", "two")):
    name = f"tellme-{version}"
    file = f"{name}-py3-none-any.whl"
    with zipfile.ZipFile(os.path.join(folder, file), "w") as z:
        z.writestr("tellme.py", f"WORD = {word!r}\n")
        z.writestr(f"{name}.dist-info/METADATA", f"Metadata-Version: 2.1\nName: tellme\nVersion: {version}\n")
        z.writestr(f"{name}.dist-info/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        z.writestr(f"{name}.dist-info/RECORD", "")
    links.append(f'<a href="../../{file}">{file}</a>')
with open(os.path.join(folder, "simple/tellme/index.html"), "w") as page:
    page.write("<!DOCTYPE html><html><body>" + "".join(links) + "</body></html>")
"#;
    std::fs::create_dir_all(folder).unwrap();
    let made = Command::new("python3").args(["-c", script]).arg(folder).env("PATH", "/usr/bin:/bin").status();
    assert!(made.unwrap().success());
}

/// Environments that there are, whole or not.
fn environments(sandbox: &Sandbox) -> Vec<String> {
    let entries = std::fs::read_dir(sandbox.path().join(".headwater/python/envs")).into_iter().flatten();
    let mut names: Vec<String> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.retain(|name| name != ".lock");
    names.sort();
    names
}

#[test]
fn an_environment_comes_from_an_index_and_the_one_before_can_be_cleaned_up() {
    let mut sandbox = Sandbox::with_settings("connections: {}\n");
    index(&sandbox.path().join("index"));
    sandbox.env("PIP_INDEX_URL", &format!("file://{}/index/simple", sandbox.path().display()));
    sandbox.write("words/words.py", &connector("import tellme", "tellme.WORD"));
    let needs = |version: &str| {
        let project = format!(
            "[project]\nname = 'words'\nversion = '1'\ndependencies = ['lakeflow-community-connectors>=0.1.0', 'tellme=={version}']\n"
        );
        sandbox.write("words/pyproject.toml", &project);
    };
    needs("3.0");
    let missing = sandbox.run(&["connector", "add", "words", "./words"]);
    assert!(missing.code != 0 && missing.stderr.contains("tellme==3.0"), "{missing}");
    assert_eq!(environments(&sandbox), [""; 0]);
    needs("1.0");
    sandbox.run(&["connector", "add", "words", "./words"]).ok();
    connect(&sandbox, "words", &[]);
    assert_eq!(says(&sandbox), "one");
    let first = environments(&sandbox);
    let nothing = sandbox.run(&["connector", "prune", "--json"]).ok().json();
    assert_eq!(nothing, json!({"folders": [], "bytes": 0, "dry_run": false}));

    needs("2.0");
    assert_eq!(says(&sandbox), "two");
    assert_eq!(environments(&sandbox).len(), 2);
    let dry = sandbox.run(&["connector", "prune", "--dry-run"]).ok();
    assert!(dry.stdout.contains(&first[0]) && dry.stdout.contains("would go"), "{dry}");
    assert_eq!(environments(&sandbox).len(), 2);
    let pruned = sandbox.run(&["connector", "prune", "--json"]).ok().json();
    assert_eq!(pruned["folders"].as_array().unwrap().len(), 1, "{pruned:#}");
    assert!(pruned["bytes"].as_u64().unwrap() > 100, "{pruned:#}");
    let second = environments(&sandbox);
    assert!(second.len() == 1 && second != first, "{second:?}");
    assert_eq!(says(&sandbox), "two");
    assert_eq!(environments(&sandbox), second);
}

#[test]
fn an_installation_that_is_interrupted_leaves_nothing_half_made() {
    let sandbox = Sandbox::with_settings("connections: {}\n");
    // An index that never answers.
    let server = RawServer::start(|_| None);
    sandbox.write("words/words.py", &connector("import tellme", "tellme.WORD"));
    sandbox.write("words/requirements.txt", &format!("--index-url {}/simple\ntellme==1.0\n", server.url()));
    let child = sandbox.start(&["connector", "add", "words", "./words"]);
    server.wait_for_requests(1);
    assert_eq!(environments(&sandbox).len(), 1, "it is being made");
    let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
    let (code, _, stderr) = finish(child);
    assert_eq!(code, 130, "{stderr}");
    assert_eq!(environments(&sandbox), [""; 0]);
    assert_eq!(sandbox.read("headwater.yaml"), "connections: {}\n");
    // Nor does pip go on.
    let (_nobody, never) = std::sync::mpsc::channel::<()>();
    for turn in 0.. {
        let left = processes_of(sandbox.path());
        if left.is_empty() {
            break;
        }
        assert!(turn < 500, "{left:?}");
        never.recv_timeout(std::time::Duration::from_millis(10)).unwrap_err();
    }
}

/// Command lines of processes that name a folder.
fn processes_of(folder: &Path) -> Vec<String> {
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let lines = processes.filter_map(|process| std::fs::read(process.path().join("cmdline")).ok());
    let lines = lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " "));
    lines.filter(|line| line.contains(folder.to_str().unwrap())).collect()
}

/// What stands in for PySpark is behind the real one.
#[test]
fn a_connector_gets_the_real_pyspark_where_it_is_installed() {
    let sandbox = Sandbox::with_settings("connections: {}\n");
    let imports =
        "import pyspark\nfrom pyspark.sql import Row\nfrom pyspark.sql.types import VariantVal, DataType";
    let expression = "str([pyspark.__version__ > '3', 'headwater_worker' in pyspark.__file__]) + \
                      str(Row(a=1, b=(2, 'x'))) + VariantVal.parseJson('{\"a\":[1,2.5]}').toJson()";
    sandbox.write("words/words.py", &connector(imports, expression));
    let python = readers_python();
    assert!(python.is_file(), "{} is missing: run testing/setup-readers.sh", python.display());
    let add = ["connector", "add", "words", "./words", "--python", python.to_str().unwrap()];
    sandbox.run(&add).ok();
    connect(&sandbox, "words", &[]);
    assert_eq!(says(&sandbox), "[True, False]Row(a=1, b=(2, 'x')){\"a\":[1,2.5]}");
    assert_eq!(environments(&sandbox), [""; 0]);
    // The stand-in gives the same.
    sandbox.run(&["connector", "add", "stand_in", "./words"]).ok();
    sandbox.run(&["connection", "add", "other", "--connector", "stand_in"]).ok();
    let preview = sandbox.run(&["preview", "other", "words", "--json"]).ok().json();
    let said = preview["rows"][0]["says"].as_str().unwrap();
    assert_eq!(said, "[True, True]Row(a=1, b=(2, 'x')){\"a\":[1,2.5]}");
}
