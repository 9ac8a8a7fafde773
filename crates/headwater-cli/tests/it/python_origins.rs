//! Where connectors come from: folders, Git repositories, installed modules, executables. And what goes wrong there.

use std::path::Path;
use std::process::Command;

use serde_json::json;

use crate::harness::Sandbox;
use crate::python_support::{connect, project_with, rows};

/// A connector with one table of one row, which says `says`.
fn connector(class: &str, says: &str) -> String {
    format!(
        "from databricks.labs.community_connector.interface import LakeflowConnect\n\
         from pyspark.sql.types import StringType, StructField, StructType\n\n\n\
         class {class}(LakeflowConnect):\n\
         \x20   def list_tables(self):\n\
         \x20       return ['words']\n\n\
         \x20   def get_table_schema(self, table_name, table_options):\n\
         \x20       return StructType([StructField('says', StringType(), False)])\n\n\
         \x20   def read_table_metadata(self, table_name, table_options):\n\
         \x20       return {{'primary_keys': ['says'], 'ingestion_type': 'snapshot'}}\n\n\
         \x20   def read_table(self, table_name, start_offset, table_options):\n\
         \x20       return iter([{{'says': {says}}}]), None\n"
    )
}

fn empty_project() -> Sandbox {
    Sandbox::with_settings("connections: {}\n")
}

/// Runs a pipeline of table `words` through connection `conn`, and gives what it says.
fn says(sandbox: &Sandbox) -> String {
    let spec = json!({"connection_name": "conn", "objects": [{"table": {"source_table": "words"}}]});
    sandbox.write("pipelines/p.yaml", &spec.to_string());
    sandbox.run(&["run", "p", "--quiet"]).ok();
    let rows = rows(sandbox, "p.words", None);
    assert_eq!(rows.len(), 1, "{rows:?}");
    rows[0]["says"].as_str().unwrap().to_owned()
}

/// A repository that Git makes, in a folder of its own.
struct Repository {
    folder: tempfile::TempDir,
}

impl Repository {
    fn new() -> Self {
        let repository = Self { folder: tempfile::tempdir().unwrap() };
        repository.git(&["init", "--quiet", "--initial-branch=main"]);
        repository
    }

    fn git(&self, arguments: &[&str]) -> String {
        let output = Command::new("git")
            .args(["-c", "user.name=Somebody", "-c", "user.email=somebody@example.org"])
            .args(["-c", "commit.gpgsign=false"])
            .args(arguments)
            .current_dir(self.folder.path())
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("HOME", self.folder.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn write(&self, path: &str, text: &str) -> &Self {
        let path = self.folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
        self
    }

    /// Commits everything and gives the commit.
    fn commit(&self, message: &str) -> String {
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--message", message]);
        self.git(&["rev-parse", "HEAD"])
    }

    fn url(&self) -> String {
        format!("file://{}", self.folder.path().display())
    }
}

/// The commit that `headwater.lock` pins a connector to.
fn pinned(sandbox: &Sandbox, name: &str) -> String {
    let lock: serde_json::Value = serde_json::from_str(&sandbox.read("headwater.lock")).unwrap();
    lock["connectors"][name]["commit"].as_str().unwrap_or_else(|| panic!("{lock:#}")).to_owned()
}

#[test]
fn a_connector_comes_from_a_git_repository_and_stays_at_its_commit() {
    let repository = Repository::new();
    repository.write("sources/words/words.py", &connector("WordsLakeflowConnect", "'first'"));
    repository.write("sources/other/other.py", &connector("OtherLakeflowConnect", "'other'"));
    let first = repository.commit("First");
    let sandbox = empty_project();
    let url = repository.url();
    let added =
        sandbox.run(&["connector", "add", "words", &url, "--ref", "main", "--path", "sources/words"]).ok();
    assert!(added.stderr.contains(&first) || added.stdout.contains(&first), "{added}");
    assert_eq!(pinned(&sandbox, "words"), first);
    connect(&sandbox, "words", &[]);
    assert_eq!(says(&sandbox), "first");
    assert!(sandbox.run(&["connector", "info", "words"]).ok().stdout.contains(&first));
    assert!(sandbox.run(&["connector", "list"]).ok().stdout.contains(first.get(..7).unwrap()));

    // The branch moves on; the project does not, until it is told to.
    repository.write("sources/words/words.py", &connector("WordsLakeflowConnect", "'second'"));
    let second = repository.commit("Second");
    assert_eq!(says(&sandbox), "first");
    assert_eq!(pinned(&sandbox, "words"), first);
    sandbox.run(&["connector", "update", "words"]).ok();
    assert_eq!(pinned(&sandbox, "words"), second);
    assert_eq!(says(&sandbox), "second");
    // Once more: nothing is newer.
    sandbox.run(&["connector", "update"]).ok();
    assert_eq!(pinned(&sandbox, "words"), second);

    // The commit before stays until somebody cleans up.
    let commits = sandbox.path().join(".headwater/connectors/words");
    let dry = sandbox.run(&["connector", "prune", "--dry-run"]).ok();
    assert!(dry.stdout.contains(&first) && !dry.stdout.contains(&second), "{dry}");
    assert!(commits.join(&first).is_dir());
    sandbox.run(&["connector", "prune"]).ok();
    assert!(!commits.join(&first).exists() && commits.join(&second).is_dir());
    assert_eq!(says(&sandbox), "second");

    // A clone of the project, without what was fetched, gets the same commit although the branch has moved on.
    repository.write("sources/words/words.py", &connector("WordsLakeflowConnect", "'third'"));
    repository.commit("Third");
    std::fs::remove_dir_all(sandbox.path().join(".headwater")).unwrap();
    assert_eq!(says(&sandbox), "second");

    // A branch that cannot be loaded is no update.
    repository.write("sources/words/words.py", "raise RuntimeError('half written')\n");
    repository.commit("Broken");
    let broken = sandbox.run(&["connector", "update", "words"]);
    assert_ne!(broken.code, 0, "{broken}");
    assert!(broken.stderr.contains("half written"), "{broken}");
    assert_eq!(pinned(&sandbox, "words"), second);
    assert_eq!(says(&sandbox), "second");

    // What was fetched goes with the connector.
    let refused = sandbox.run(&["connector", "remove", "words"]);
    if refused.code != 0 {
        // The connection still needs it.
        assert!(refused.stderr.contains("conn"), "{refused}");
        sandbox.run(&["connection", "remove", "conn"]).ok();
        sandbox.run(&["connector", "remove", "words"]).ok();
    }
    assert!(!sandbox.read("headwater.yaml").contains("words"));
    assert!(
        !sandbox.path().join("headwater.lock").exists() || !sandbox.read("headwater.lock").contains("words")
    );
    let left = files_with(&sandbox.path().join(".headwater"), b"WordsLakeflowConnect");
    assert!(left.is_empty(), "{left:?}");
    sandbox.run(&["tables", "conn"]).code(2);
}

/// The files below a folder whose content holds `bytes`.
fn files_with(folder: &Path, bytes: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.is_symlink() {
            found.extend(files_with(&path, bytes));
        } else if std::fs::read(&path).is_ok_and(|read| read.windows(bytes.len()).any(|w| w == bytes)) {
            found.push(path.display().to_string());
        }
    }
    found
}

#[test]
fn a_tag_and_a_commit_can_be_named_and_other_parts_of_the_repository_are_found() {
    let repository = Repository::new();
    let chain = "src/databricks/labs/community_connector";
    repository.write(&format!("{chain}/libs/phrases.py"), "WORD = 'from a library beside'\n");
    let body = connector("WordsLakeflowConnect", "WORD");
    let import = "from databricks.labs.community_connector.libs.phrases import WORD\n";
    // A framework of the repository's own is not taken for ours.
    repository
        .write(&format!("{chain}/interface/__init__.py"), "raise RuntimeError('the wrong framework')\n");
    repository.write(&format!("{chain}/sources/words/words.py"), &format!("{import}{body}"));
    repository.write(&format!("{chain}/sources/words/__init__.py"), "");
    let first = repository.commit("With a library");
    repository.git(&["tag", "v1"]);
    repository.write(&format!("{chain}/libs/phrases.py"), "WORD = 'changed'\n");
    repository.commit("Changed");
    let url = repository.url();
    let path = format!("{chain}/sources/words");
    for reference in ["v1", first.as_str()] {
        let sandbox = empty_project();
        sandbox.run(&["connector", "add", "words", &url, "--ref", reference, "--path", &path]).ok();
        assert_eq!(pinned(&sandbox, "words"), first);
        connect(&sandbox, "words", &[]);
        assert_eq!(says(&sandbox), "from a library beside");
    }
    let sandbox = empty_project();
    let unknown = sandbox.run(&["connector", "add", "words", &url, "--ref", "v9", "--path", &path]).code(2);
    assert!(unknown.stderr.contains("v9"), "{unknown}");
    let unknown = sandbox.run(&["connector", "add", "words", &url, "--path", "sources/wrods"]);
    assert!(unknown.code != 0 && unknown.stderr.contains("sources/wrods"), "{unknown}");
    for out in ["../words", "/etc", "sources/../../words"] {
        let refused = sandbox.run(&["connector", "add", "words", &url, "--path", out]);
        assert!(refused.code == 2 && refused.stderr.contains(out), "{refused}");
    }
    let missing = sandbox.run(&["connector", "add", "words", "file:///nowhere/at/all.git"]);
    assert!(missing.code != 0 && missing.stderr.contains("/nowhere/at/all"), "{missing}");
    assert_eq!(sandbox.read("headwater.yaml"), "connections: {}\n");
    assert!(!sandbox.path().join("headwater.lock").exists());
}

#[test]
fn a_connector_that_is_installed_is_added_by_its_module() {
    let sandbox = empty_project();
    // An environment of the user's own, with the connector in it.
    let made = Command::new("python3")
        .args(["-m", "venv", "--without-pip"])
        .arg(sandbox.path().join("venv"))
        .env("PATH", "/usr/bin:/bin")
        .status()
        .unwrap();
    assert!(made.success());
    let lib = std::fs::read_dir(sandbox.path().join("venv/lib")).unwrap().next().unwrap().unwrap().path();
    let package = lib.join("site-packages/acme_connectors");
    std::fs::create_dir(&package).unwrap();
    std::fs::write(package.join("__init__.py"), "").unwrap();
    std::fs::write(package.join("words.py"), connector("WordsLakeflowConnect", "__name__")).unwrap();
    let add = ["connector", "add", "words", "--module", "acme_connectors.words"];
    let missing = sandbox.run(&add);
    assert!(missing.code != 0 && missing.stderr.contains("acme_connectors"), "{missing}");
    sandbox.run(&[&add[..], &["--python", "./venv/bin/python"]].concat()).ok();
    connect(&sandbox, "words", &[]);
    assert_eq!(says(&sandbox), "acme_connectors.words");
}

/// A connector of any language: a small program that speaks the protocol of `docs/PROTOCOL.md`, here in Python, but
/// with nothing of ours.
const PROGRAM: &str = r#"#!/usr/bin/env python3
import json, sys

def send(message, body=None):
    if body is not None:
        message["bytes"] = len(body)
    sys.stdout.buffer.write(json.dumps(message).encode() + b"\n")
    if body is not None:
        sys.stdout.buffer.write(body + b"\n")
    sys.stdout.buffer.flush()

ROWS = [b'[{"n":1,"of":"%s"},{"n":2}]' % sys.argv[1].encode(), b'[{"n":12345678901234567890123,"of":"too large"}]'[:0] or b'[]']
for line in sys.stdin.buffer:
    request = json.loads(line)
    number, call = request["id"], request["call"]
    if call == "hello":
        assert 1 in request["protocols"]
        send({"id": number, "result": {"protocol": 1, "worker": "script", "version": "9", "runtime": "none"}, "news": []})
    elif call == "open":
        assert request["options"]["Token"] == "s3cret-value", request
        print("opened with", request["options"]["Token"], file=sys.stderr, flush=True)
        send({"id": number, "result": {"connector": "script", "abilities": []}})
    elif call in ("spec", "test_connection"):
        send({"id": number, "result": None})
    elif call == "list_tables":
        send({"id": number, "result": ["numbers", "refused", "garbled", "wrong_answer"]})
    elif call == "get_table_schema":
        fields = [{"name": "n", "type": "long", "nullable": False, "metadata": {}}, {"name": "of", "type": "string", "nullable": True, "metadata": {}}]
        send({"id": number, "result": {"type": "struct", "fields": fields}})
    elif call == "read_table_metadata":
        send({"id": number, "result": {"primary_keys": ["n"], "cursor_field": "n", "ingestion_type": "append", "more": 1}})
    elif call == "read_table" and request["table"] == "numbers":
        if request["start"] != {}:
            send({"id": number, "end": request["start"]})
            continue
        send({"log": {"level": "warning", "message": "a line for the log", "logger": "script"}})
        send({"alive": {"requests": 7}})
        send({"id": number, "records": 2}, ROWS[0])
        send({"id": number, "end": {"at": [1, 2.50, None, 123456789012345678901234567890]}})
    elif call == "read_table" and request["table"] == "refused":
        send({"id": number, "error": {"kind": "forbidden", "message": "not for " + request["options"].get("who", "you")}})
    elif call == "read_table" and request["table"] == "wrong_answer":
        send({"id": number + 100, "end": None})
    elif call == "read_table":
        sys.stdout.buffer.write(b"Segmentation fault (not really)\n")
        sys.stdout.buffer.flush()
    else:
        send({"id": number, "error": {"kind": "unknown_call", "message": call}})
"#;

#[test]
fn any_executable_that_speaks_the_protocol_is_a_connector() {
    use std::os::unix::fs::PermissionsExt;
    let mut sandbox = empty_project();
    sandbox.env("TOKEN", "s3cret-value");
    let program = sandbox.write("bin/my-source", PROGRAM);
    let add = ["connector", "add", "script", "--command", "./bin/my-source", "--argument", "an argument"];
    let refused = sandbox.run(&add);
    assert!(refused.code != 0 && refused.stderr.contains("bin/my-source"), "{refused}");
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    sandbox.run(&add).ok();
    connect(&sandbox, "script", &["Token=env:TOKEN"]);
    let tables = sandbox.run(&["tables", "conn"]).ok();
    assert_eq!(tables.stdout, "numbers\nrefused\ngarbled\nwrong_answer\n");
    let preview = sandbox.run(&["preview", "conn", "numbers", "--json"]).ok().json();
    assert_eq!(preview["rows"].as_array().unwrap().len(), 2, "{preview}");
    let objects: Vec<_> = ["numbers", "refused", "garbled", "wrong_answer"]
        .iter()
        .map(|table| json!({"table": {"source_table": table}}))
        .collect();
    sandbox.write("pipelines/p.yaml", &json!({"connection_name": "conn", "objects": objects}).to_string());
    for again in [false, true] {
        let ran = sandbox.run(&["run", "p", "--json", "-v", "--attempts", "1"]).code(1);
        let flows = crate::python_support::flows(&ran);
        // Offsets are written to the last digit.
        let offset = r#""offset":{"at":[1,2.5,null,123456789012345678901234567890]}"#;
        assert!(ran.stdout.replace(' ', "").contains(offset), "{ran}");
        let plan = sandbox.run(&["plan", "p", "--json"]).ok().stdout;
        assert!(plan.replace([' ', '\n'], "").contains(offset), "{plan}");
        let warning = &ran.json_lines()[0];
        assert_eq!(warning["event"], "warning", "{ran}");
        assert!(warning["message"].as_str().unwrap().contains("no connector_spec.yaml"), "{ran}");
        assert!(!ran.stderr.contains("no connector_spec.yaml"), "{ran}");
        let error = |table: &str| flows[table]["error"].to_string();
        assert!(error("refused").contains("not for you"), "{ran}");
        assert!(error("garbled").contains("Segmentation fault (not really)"), "{ran}");
        assert!(error("wrong_answer").contains("answered request 105"), "{ran}");
        assert_eq!(flows["numbers"]["metrics"]["records_read"], if again { 0 } else { 2 }, "{ran}");
        assert!(!format!("{}{}", ran.stdout, ran.stderr).contains("s3cret-value"), "{ran}");
        assert!(ran.stderr.contains("opened with"), "{ran}");
        assert_eq!(
            rows(&sandbox, "p.numbers", None),
            [json!({"n": 1, "of": "an argument"}), json!({"n": 2, "of": null})]
        );
    }
}

#[test]
fn a_class_that_is_ambiguous_or_missing_is_an_error_that_lists_what_was_found() {
    let sandbox = empty_project();
    let two = format!("{}\n\n{}", connector("NorthConnect", "'north'"), connector("SouthConnect", "'south'"));
    sandbox.write("two/words.py", &two);
    let ambiguous = sandbox.run(&["connector", "add", "words", "./two"]);
    assert_eq!(ambiguous.code, 2, "{ambiguous}");
    for text in ["NorthConnect", "SouthConnect", "--class"] {
        assert!(ambiguous.stderr.contains(text), "{ambiguous}");
    }
    let wrong = sandbox.run(&["connector", "add", "words", "./two", "--class", "EastConnect"]);
    assert!(wrong.code == 2 && wrong.stderr.contains("EastConnect"), "{wrong}");

    let abstract_only = connector("Half", "''").replace("def list_tables", "def list_the_tables");
    sandbox.write("none/words.py", &abstract_only);
    let missing = sandbox.run(&["connector", "add", "words", "./none"]);
    assert_eq!(missing.code, 2, "{missing}");
    for text in ["Half", "list_tables"] {
        assert!(missing.stderr.contains(text), "{missing}");
    }
    sandbox.write("nothing/README.md", "No Python here.");
    let nothing = sandbox.run(&["connector", "add", "words", "./nothing"]);
    assert!(nothing.code == 2 && nothing.stderr.contains("nothing"), "{nothing}");
    sandbox.write("broken/words.py", "import a_module_that_nobody_has\n");
    let broken = sandbox.run(&["connector", "add", "words", "./broken"]);
    assert!(broken.code != 0 && broken.stderr.contains("a_module_that_nobody_has"), "{broken}");
    sandbox.write("syntax/words.py", "class Words(LakeflowConnect:\n    pass\n");
    let syntax = sandbox.run(&["connector", "add", "words", "./syntax"]);
    assert!(syntax.code != 0 && syntax.stderr.contains("SyntaxError"), "{syntax}");

    // Nothing of all that was kept.
    assert_eq!(sandbox.read("headwater.yaml"), "connections: {}\n");
    sandbox.run(&["connector", "add", "words", "./two", "--class", "SouthConnect"]).ok();
    connect(&sandbox, "words", &[]);
    assert_eq!(says(&sandbox), "south");
}

#[test]
fn nothing_of_a_connector_runs_before_it_is_added() {
    let sandbox = empty_project();
    let marker = sandbox.path().join("marker");
    let mark = format!("open({:?}, 'w').close()\n", marker.display().to_string());
    sandbox.write("eager/words.py", &format!("{mark}{}", connector("EagerConnect", "'eager'")));
    sandbox.write("eager/setup.py", &format!("{mark}from setuptools import setup\nsetup()\n"));
    sandbox.write("eager/conftest.py", &mark);
    sandbox.write("headwater_note.txt", "");
    for command in [&["connectors"][..], &["validate"], &["connector", "list"], &["connection", "list"]] {
        sandbox.run(command);
        assert!(!marker.exists(), "{command:?}");
    }
    // A connector that somebody else's project names does not run when the project is looked at.
    sandbox.write(
        "headwater.yaml",
        "connectors:\n  eager:\n    folder: ./eager\nconnections:\n  conn:\n    connector: eager\n",
    );
    for command in [&["connectors"][..], &["validate"], &["connector", "list"], &["connection", "list"]] {
        sandbox.run(command).ok();
        assert!(!marker.exists(), "{command:?}");
    }
    sandbox.write("headwater.yaml", "connections: {}\n");
    sandbox.run(&["connector", "add", "eager", "./eager"]).ok();
    assert!(marker.exists());
    connect(&sandbox, "eager", &[]);
    assert_eq!(says(&sandbox), "eager");
}

#[test]
fn names_that_are_taken_or_unusable_and_paths_that_lead_nowhere_are_refused() {
    let sandbox = project_with("parts_depot");
    let folder = "./connectors/parts_depot";
    for (name, path, says) in [
        ("mediawiki", folder, "built in"),
        ("a b", folder, "not a name"),
        ("", folder, "not a name"),
        ("parts", "./connectors/parts_dept", "parts_dept"),
        ("parts", "./headwater.yaml", "headwater.yaml"),
    ] {
        let ran = sandbox.run(&["connector", "add", name, path]);
        assert!(ran.code != 0 && ran.stderr.contains(says), "{ran}");
    }
    sandbox.run(&["connector", "add", "parts", folder]).ok();
    let twice = sandbox.run(&["connector", "add", "parts", folder]).code(2);
    assert!(twice.stderr.contains("exists already"), "{twice}");
    // The spec of the connector is that of its connections.
    let missing = sandbox.run(&["connection", "add", "conn", "--connector", "parts"]).code(2);
    assert!(missing.stderr.contains("shelf"), "{missing}");
    let unknown = sandbox
        .run(&["connection", "add", "conn", "--connector", "parts", "-o", "shelf=a", "-o", "shlef=b"])
        .code(2);
    assert!(unknown.stderr.contains("shlef"), "{unknown}");
    connect(&sandbox, "parts", &["shelf=a"]);
    sandbox.run(&["columns", "conn", "parts"]).ok();
    let missing = sandbox.run(&["columns", "conn", "prats"]);
    assert!(missing.code != 0 && missing.stderr.contains("prats"), "{missing}");
    // A folder that is gone is an error that names it.
    std::fs::rename(sandbox.path().join("connectors"), sandbox.path().join("moved")).unwrap();
    let gone = sandbox.run(&["tables", "conn"]);
    assert!(gone.code == 2 && gone.stderr.contains("connectors/parts_depot"), "{gone}");
}

#[test]
fn a_change_of_the_folder_counts_at_the_next_run() {
    let sandbox = empty_project();
    sandbox.write("words/words.py", &connector("WordsConnect", "'before'"));
    sandbox.run(&["connector", "add", "words", "./words"]).ok();
    connect(&sandbox, "words", &[]);
    assert_eq!(says(&sandbox), "before");
    sandbox.write("words/words.py", &connector("WordsConnect", "'after it'"));
    assert_eq!(says(&sandbox), "after it");
    // So does a file of requirements that comes to it.
    sandbox.write("words/requirements.txt", "lakeflow-community-connectors>=0.1.0,<1.0\n");
    sandbox.write("words/words.py", &connector("WordsConnect", "'with requirements'"));
    assert_eq!(says(&sandbox), "with requirements");
}
