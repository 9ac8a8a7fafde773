//! A project folder of its own for each test, and the command in it.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use headwater_source_example::{ExampleOptions, ExampleServer};
use serde_json::Value;

pub(crate) struct Sandbox {
    folder: tempfile::TempDir,
    env: Vec<(String, String)>,
}

/// How a command ended.
#[derive(Debug, Clone)]
pub(crate) struct Ran {
    pub(crate) command: String,
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Sandbox {
    /// An empty folder.
    pub(crate) fn empty() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), env: Vec::new() }
    }

    /// A folder in which `headwater init` ran.
    pub(crate) fn project() -> Self {
        let sandbox = Self::empty();
        sandbox.run(&["init"]).ok();
        sandbox
    }

    /// A project with only this `headwater.yaml`.
    pub(crate) fn with_settings(yaml: &str) -> Self {
        let sandbox = Self::empty();
        sandbox.write("headwater.yaml", yaml);
        sandbox
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    pub(crate) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path().join(name)).unwrap()
    }

    /// Sets an environment variable for the commands that follow.
    pub(crate) fn env(&mut self, name: &str, value: &str) {
        self.env.push((name.into(), value.into()));
    }

    /// The command, ready to start in the folder, with an environment that holds nothing of the tester's.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_headwater"));
        command.args(arguments).current_dir(self.path()).stdin(Stdio::null());
        command.env_clear().env("HOME", self.path()).env("PATH", "/usr/bin:/bin");
        command.envs(self.env.iter().map(|(k, v)| (k, v)));
        command
    }

    /// Runs the command to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        let output = self.command(arguments).output().unwrap();
        Ran {
            command: format!("headwater {}", arguments.join(" ")),
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
        .cleaned(self.path())
    }

    /// Starts the command and leaves it running.
    pub(crate) fn start(&self, arguments: &[&str]) -> Child {
        self.command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }
}

impl Ran {
    fn cleaned(mut self, folder: &Path) -> Self {
        let real = folder.canonicalize().unwrap();
        for text in [&mut self.stdout, &mut self.stderr] {
            for path in [folder, real.as_path()] {
                *text = text.replace(path.to_str().unwrap(), "[DIR]");
            }
        }
        self
    }

    /// The command succeeded; shows what it said where it did not.
    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        assert_eq!(self.code, 0, "{self}");
        self
    }

    /// The command ended with this code.
    #[track_caller]
    pub(crate) fn code(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self}");
        self
    }

    /// Stdout is one JSON document.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}\n{self}"))
    }

    /// Stdout is JSON lines.
    #[track_caller]
    pub(crate) fn json_lines(&self) -> Vec<Value> {
        self.stdout
            .lines()
            .map(|l| serde_json::from_str(l).unwrap_or_else(|e| panic!("{e}\n{self}")))
            .collect()
    }
}

impl std::fmt::Display for Ran {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "$ {}\nexit code: {}", self.command, self.code)?;
        write!(f, "----- stdout -----\n{}----- stderr -----\n{}", self.stdout, self.stderr)
    }
}

/// Waits for a child and gathers what it wrote.
pub(crate) fn finish(mut child: Child) -> (i32, String, String) {
    let (mut stdout, mut stderr) = (String::new(), String::new());
    let mut err = child.stderr.take().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| err.read_to_string(&mut stderr).unwrap());
        child.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
    });
    (child.wait().unwrap().code().unwrap_or(-1), stdout, stderr)
}

/// Compares with the stored snapshot; times, sizes, ids and widths are made equal first.
#[macro_export]
macro_rules! snapshot {
    ($name:expr, $ran:expr) => {{
        let mut settings = insta::Settings::clone_current();
        settings.set_prepend_module_to_snapshot(true);
        settings.set_omit_expression(true);
        for (pattern, with) in [
            (r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00)?", "[TIME]"),
            (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "[ID]"),
            (r"127\.0\.0\.1:\d+", "127.0.0.1:[PORT]"),
            (r"\b\d+ ms\b", "[MS]"),
            (r"\b[\d,.]+ (B|KiB|MiB)\b", "[SIZE]"),
            (r"\b[\d,]+/s", "[RATE]"),
            (r"\b\d+\.\d+ s\b", "[SECS]"),
            (r#""(bytes|bytes_\w+|size|millis|duration_secs|secs|records_per_sec)": [\d.]+"#, r#""$1": [N]"#),
            (r" {3,}", "  "),
            (r"(?m)  \d+\.\d  [\d,]+(  |$)", "  [SECS]  [RATE]$1"),
        ] {
            settings.add_filter(pattern, with);
        }
        settings.bind(|| insta::assert_snapshot!($name, $ran.to_string()));
    }};
}

/// A shop and a project that reads these tables of it, in pipeline `shop`.
pub(crate) fn shop_project(options: ExampleOptions, tables: &[&str]) -> (ExampleServer, Sandbox) {
    let server = ExampleServer::start(options).unwrap();
    let sandbox = project_for(&server.base_url(), tables);
    (server, sandbox)
}

/// A project that reads these tables of the shop at `base_url`, in pipeline `shop`, with small pages and short reads.
/// A `+` before the name keeps every record (`APPEND_ONLY`), a `~` the history (`SCD_TYPE_2`).
pub(crate) fn project_for(base_url: &str, tables: &[&str]) -> Sandbox {
    let sandbox = Sandbox::with_settings(&format!(
        "connections:\n  shop:\n    connector: example\n    options:\n      base_url: {base_url}\n"
    ));
    let objects: String = tables
        .iter()
        .map(|table| {
            let (name, scd) = match (table.strip_prefix('+'), table.strip_prefix('~')) {
                (Some(name), _) => (name, "        scd_type: APPEND_ONLY\n"),
                (_, Some(name)) => (name, "        scd_type: SCD_TYPE_2\n"),
                _ => (*table, ""),
            };
            format!(
                "  - table:\n      source_table: {name}\n      table_configuration:\n        page_size: 50\n        pages_per_read: 2\n{scd}"
            )
        })
        .collect();
    sandbox.write("pipelines/shop.yaml", &format!("connection_name: shop\nobjects:\n{objects}"));
    sandbox
}

/// The values of an integer column, sorted.
pub(crate) fn ids(sandbox: &Sandbox, table: &str, column: &str) -> Vec<i64> {
    let shown = sandbox.run(&["show", table, "--limit", "0", "--columns", column, "--json"]).ok().json();
    let mut ids: Vec<i64> =
        shown["rows"].as_array().unwrap().iter().map(|r| r[column].as_i64().unwrap()).collect();
    ids.sort_unstable();
    ids
}
