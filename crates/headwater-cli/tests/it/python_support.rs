//! A connector of `testing/connectors` in a project of its own, and what its `expected.json` says of it.
//!
//! | member of `expected.json` | |
//! |---|---|
//! | `about` | what is odd about the connector |
//! | `path` | the file or folder to add, below the connector's; the folder itself without it |
//! | `add` | more arguments of `connector add` |
//! | `info` | texts that `connector info` must show |
//! | `warning` | a text that `connector add` must say on stderr |
//! | `options`, `secrets` | options of the connection; `{server}` is the address of the test's server, `{folder}` the project |
//! | `http` | what the test's server answers, by path and query |
//! | `folders` | folders of the project to make |
//! | `tables` | what `tables` must list |
//! | `objects` | the objects of the pipeline spec; without it, every table of `expect` |
//! | `destinations` | names of tables in the lake, where they differ |
//! | `attempts` | `--attempts` of the runs |
//! | `preview` | `false`: no table is previewed; `preview_options` are options for it, by table |
//! | `expect` | by table: `rows` (all of them, in any order; only `columns`, where given), or `range` (a column that counts from 0) and `count`, or `error` (texts that the error must hold); `read` is the number of records that the first run reads, `again` that of the second, `shown` and `printed` texts that `show` must print, with `--json` and without |
//! | `absent` | tables that must not be there |
//! | `log` | texts that the log of a run must hold |

use std::cell::RefCell;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::faults::{RawServer, http};
use crate::harness::{Ran, Sandbox};

/// The folder with the connectors.
pub(crate) fn connectors() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testing/connectors").canonicalize().unwrap()
}

/// Copies a folder, as a user has it in a project.
pub(crate) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            _ if entry.file_name() == "__pycache__" || entry.file_name() == "expected.json" => {}
            true => copy(&entry.path(), &target),
            false => drop(std::fs::copy(entry.path(), target).unwrap()),
        }
    }
}

/// A project with connector `name` of `testing/connectors` in the folder `connectors/name`, not added yet.
pub(crate) fn project_with(name: &str) -> Sandbox {
    let sandbox = Sandbox::with_settings("connections: {}\n");
    copy(&connectors().join(name), &sandbox.path().join("connectors").join(name));
    sandbox
}

/// A project in which connector `name` has been added, and connection `conn` to it.
pub(crate) fn connected(name: &str, options: &[&str]) -> Sandbox {
    let sandbox = project_with(name);
    sandbox.run(&["connector", "add", name, &format!("./connectors/{name}")]).ok();
    connect(&sandbox, name, options);
    sandbox
}

/// Adds connection `conn` to a connector.
pub(crate) fn connect(sandbox: &Sandbox, connector: &str, options: &[&str]) {
    let mut arguments = vec!["connection", "add", "conn", "--connector", connector];
    options.iter().for_each(|option| arguments.extend(["--option", option]));
    sandbox.run(&arguments).ok();
}

/// The rows of a table, or some columns of them, in a fixed order.
pub(crate) fn rows(sandbox: &Sandbox, table: &str, columns: Option<&[&str]>) -> Vec<Value> {
    let shown = sandbox.run(&["show", table, "--limit", "0", "--json"]).ok().json();
    let mut rows = shown["rows"].as_array().unwrap().clone();
    if let Some(columns) = columns {
        for row in &mut rows {
            let picked = columns.iter().map(|column| ((*column).to_owned(), row[*column].take()));
            *row = Value::Object(picked.collect());
        }
    }
    sorted(rows)
}

fn sorted(mut rows: Vec<Value>) -> Vec<Value> {
    rows.sort_by_key(Value::to_string);
    rows
}

/// What a run said of each table, by the name in the source.
pub(crate) fn flows(ran: &Ran) -> Map<String, Value> {
    let report = ran.json_lines().pop().unwrap_or_else(|| panic!("no report\n{ran}"))["report"].take();
    let flows = report["flows"].as_array().unwrap_or_else(|| panic!("{report:#}\n{ran}")).clone();
    flows.into_iter().map(|flow| (flow["table"].as_str().unwrap().to_owned(), flow)).collect()
}

/// A connector, its project, and all that the command said about it.
pub(crate) struct Case {
    name: String,
    expected: Value,
    pub(crate) sandbox: Sandbox,
    server: Option<RawServer>,
    said: RefCell<Vec<Ran>>,
}

impl Case {
    /// Reads what is expected of `testing/connectors/<name>`, and makes a project with it.
    pub(crate) fn of(name: &str) -> Self {
        let text = std::fs::read_to_string(connectors().join(name).join("expected.json")).unwrap();
        let expected: Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{name}: {e}"));
        let server = expected.get("http").and_then(Value::as_object).map(|answers| {
            let answers = answers.clone();
            RawServer::start(move |path| {
                let missing =
                    b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_vec();
                Some(answers.get(path).map_or(missing, |answer| http(&answer.to_string())))
            })
        });
        let sandbox = project_with(name);
        for folder in texts(&expected["folders"]) {
            std::fs::create_dir_all(sandbox.path().join(folder)).unwrap();
        }
        Self { name: name.to_owned(), expected, sandbox, server, said: RefCell::default() }
    }

    /// Does with it what a user does, from `connector add` to the second run, and looks at everything.
    pub(crate) fn check(mut self) {
        self.add();
        self.connect();
        self.tables();
        self.preview();
        self.write_pipeline();
        let first = self.say(&self.run_arguments(&["--json", "-v"]));
        self.check_run(&first, "read");
        self.check_tables();
        for text in texts(&self.expected["log"]) {
            assert!(first.stderr.contains(text), "`{text}` is not in the log\n{first}");
        }
        let second = self.say(&self.run_arguments(&["--json"]));
        self.check_run(&second, "again");
        self.check_tables();
        self.say(&self.run_arguments(&[]));
        self.check_secrets();
    }

    fn say(&self, arguments: &[&str]) -> Ran {
        let ran = self.sandbox.run(arguments);
        self.said.borrow_mut().push(ran.clone());
        ran
    }

    fn run_arguments<'a>(&'a self, more: &[&'a str]) -> Vec<&'a str> {
        let mut arguments = vec!["run", "p"];
        if let Some(attempts) = self.expected["attempts"].as_u64() {
            let text = if attempts == 1 { "1" } else { "2" };
            arguments.extend(["--attempts", text]);
        }
        arguments.extend(more);
        arguments
    }

    fn filled(&self, text: &str) -> String {
        let server = self.server.as_ref().map(RawServer::url).unwrap_or_default();
        text.replace("{server}", &server).replace("{folder}", self.sandbox.path().to_str().unwrap())
    }

    fn add(&self) {
        let path = self.expected["path"].as_str().map(|path| format!("/{path}")).unwrap_or_default();
        let path = format!("./connectors/{}{path}", self.name);
        let mut arguments = vec!["connector", "add", &self.name, &path];
        arguments.extend(texts(&self.expected["add"]));
        let added = self.say(&arguments).ok();
        if let Some(warning) = self.expected["warning"].as_str() {
            assert!(added.stderr.contains(warning), "{added}");
        }
        let info = self.say(&["connector", "info", &self.name]).ok();
        for text in texts(&self.expected["info"]) {
            assert!(info.stdout.contains(text), "`{text}` is not in\n{info}");
        }
        let list = self.say(&["connector", "list"]).ok();
        assert!(list.stdout.contains(&self.name), "{list}");
    }

    fn connect(&mut self) {
        let mut options = Vec::new();
        for (name, value) in members(&self.expected["options"]) {
            options.push(format!("{name}={}", self.filled(value.as_str().unwrap())));
        }
        for (name, value) in members(&self.expected["secrets"]) {
            let variable = format!("SECRET_{}", name.to_uppercase());
            options.push(format!("{name}=env:{variable}"));
            self.sandbox.env(&variable, value.as_str().unwrap());
        }
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        connect(&self.sandbox, &self.name, &options);
    }

    fn tables(&self) {
        let told = self.say(&["tables", "conn", "--json"]).ok().json();
        if let Some(tables) = self.expected["tables"].as_array() {
            let names: Vec<Value> =
                told["tables"].as_array().unwrap().iter().map(|t| t["name"].clone()).collect();
            assert_eq!(names, *tables);
        }
        self.say(&["connection", "test", "conn"]).ok();
    }

    /// The first records of each table come out without anything being written.
    fn preview(&self) {
        if self.expected["preview"] == false {
            return;
        }
        for (table, expect) in members(&self.expected["expect"]) {
            if expect["error"].is_array() {
                continue;
            }
            self.say(&["columns", "conn", table]).ok();
            let mut options = Vec::new();
            for (name, value) in members(&self.expected["preview_options"][table]) {
                options.push(format!("--option={name}={}", self.filled(value.as_str().unwrap())));
            }
            let mut arguments = vec!["preview", "conn", table, "--limit", "3", "--json"];
            arguments.extend(options.iter().map(String::as_str));
            let previewed = self.say(&arguments).ok();
            let count = previewed.json()["rows"].as_array().map_or(0, Vec::len);
            let all = expect["rows"].as_array().map_or(usize::MAX, Vec::len);
            assert_eq!(count == 0, all == 0, "{table}\n{previewed}");
            assert!(count <= 3, "{previewed}");
        }
        assert!(!self.sandbox.path().join("warehouse").exists(), "a preview wrote something");
    }

    fn write_pipeline(&self) {
        let objects = match self.expected["objects"].as_array() {
            Some(objects) => Value::from(objects.clone()),
            None => members(&self.expected["expect"])
                .map(|(table, _)| {
                    // Most are about what arrives, so every record is kept.
                    json!({"table": {"source_table": table}})
                })
                .collect(),
        };
        let spec = json!({"connection_name": "conn", "objects": objects});
        self.sandbox.write("pipelines/p.yaml", &self.filled(&spec.to_string()));
    }

    /// Each table ended as it should; `count` names the member that says how many records were read.
    fn check_run(&self, ran: &Ran, count: &str) {
        let fails = members(&self.expected["expect"]).any(|(_, expect)| expect["error"].is_array());
        let ran = ran.clone().code(i32::from(fails));
        let flows = flows(&ran);
        for (table, expect) in members(&self.expected["expect"]) {
            let flow = flows.get(table).unwrap_or_else(|| panic!("no flow of {table}\n{ran}"));
            let error = flow["error"].to_string();
            if expect["error"].is_array() {
                assert_eq!(flow["status"], "FAILED", "{table}: {flow:#}");
                for text in texts(&expect["error"]) {
                    let quoted = Value::from(text).to_string();
                    let text = quoted.trim_matches('"');
                    assert!(error.contains(text), "{table}: `{text}` is not in {error}");
                }
                assert!(
                    !error.contains("panicked") && !error.contains("headwater_worker"),
                    "{table}: {error}"
                );
                continue;
            }
            assert_eq!(flow["status"], "COMPLETED", "{table}: {flow:#}\n{ran}");
            if let Some(expected) = expect[count].as_u64() {
                assert_eq!(flow["metrics"]["records_read"], expected, "{table} ({count}): {flow:#}");
            }
        }
    }

    fn destination<'a>(&'a self, table: &'a str) -> String {
        let name = self.expected["destinations"][table].as_str().unwrap_or(table);
        format!("p.{name}")
    }

    fn check_tables(&self) {
        for (table, expect) in members(&self.expected["expect"]) {
            if expect["error"].is_array() {
                continue;
            }
            let shown = self.sandbox.run(&["show", &self.destination(table), "--limit", "0", "--json"]).ok();
            for text in texts(&expect["shown"]) {
                assert!(shown.stdout.contains(text), "`{text}` is not in\n{shown}");
            }
            let printed = self.sandbox.run(&["show", &self.destination(table)]).ok();
            for text in texts(&expect["printed"]) {
                assert!(printed.stdout.contains(text), "`{text}` is not in\n{printed}");
            }
            let columns: Option<Vec<&str>> = expect["columns"].as_array().map(|c| texts_of(c).collect());
            let found = rows(&self.sandbox, &self.destination(table), columns.as_deref());
            if let Some(column) = expect["range"].as_str() {
                let mut numbers: Vec<i64> = found.iter().map(|row| row[column].as_i64().unwrap()).collect();
                numbers.sort_unstable();
                assert_eq!(numbers, (0..expect["count"].as_i64().unwrap()).collect::<Vec<i64>>(), "{table}");
            } else {
                assert_eq!(found, sorted(expect["rows"].as_array().unwrap().clone()), "{table}");
            }
        }
        for table in texts(&self.expected["absent"]) {
            self.sandbox.run(&["show", &format!("p.{table}")]).code(2);
        }
    }

    /// No secret stands in what was said, in the event log, or in a file.
    fn check_secrets(&self) {
        let secrets: Vec<String> =
            members(&self.expected["secrets"]).flat_map(|(_, s)| forms(s.as_str().unwrap())).collect();
        if secrets.is_empty() {
            return;
        }
        let log = self.say(&["show", "p.event_log", "--limit", "0", "--json"]).ok();
        assert!(log.stdout.contains("COMPLETED") || log.stdout.contains("FAILED"), "{log}");
        self.say(&self.run_arguments(&["-vv"]));
        for ran in self.said.borrow().iter() {
            for secret in &secrets {
                let everything = format!("{}{}", ran.stdout, ran.stderr);
                assert!(!everything.contains(secret.as_str()), "`{secret}` is in\n{ran}");
            }
        }
        check_files(self.sandbox.path(), &secrets);
    }
}

fn check_files(folder: &Path, secrets: &[String]) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_symlink() {
            continue;
        }
        if path.is_dir() {
            check_files(&path, secrets);
            continue;
        }
        let bytes = std::fs::read(&path).unwrap();
        for secret in secrets {
            let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!found, "`{secret}` is in {}", path.display());
        }
    }
}

/// A secret as it may stand in a text: as it is, in JSON or Python's repr, in a URL.
fn forms(secret: &str) -> Vec<String> {
    let json = Value::from(secret).to_string();
    let percent = |keep: &str, space: &str| -> String {
        let byte = |b: &u8| match *b {
            b' ' => space.to_owned(),
            b if b.is_ascii_alphanumeric() || keep.as_bytes().contains(&b) => char::from(b).to_string(),
            b => format!("%{b:02X}"),
        };
        secret.as_bytes().iter().map(byte).collect()
    };
    let mut forms = vec![
        secret.to_owned(),
        json.trim_matches('"').to_owned(),
        secret.replace('\'', "\\'"),
        percent("_.-~", "+"),
        percent("_.-~", "%20"),
        percent("_.-~/", "%20"),
    ];
    forms.sort();
    forms.dedup();
    forms
}

fn members(value: &Value) -> impl Iterator<Item = (&str, &Value)> {
    value.as_object().into_iter().flatten().map(|(name, value)| (name.as_str(), value))
}

fn texts(value: &Value) -> impl Iterator<Item = &str> {
    texts_of(value.as_array().map_or(&[][..], Vec::as_slice))
}

fn texts_of(values: &[Value]) -> impl Iterator<Item = &str> {
    values.iter().map(|text| text.as_str().unwrap())
}
