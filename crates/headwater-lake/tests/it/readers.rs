//! The other readers: one process of `testing/readers.py` for the whole binary.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};

use serde_json::{Value, json};

/// All readers that tables are checked with.
pub(crate) const READERS: [&str; 3] = ["deltalake", "polars", "spark"];

struct Readers {
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    next: u64,
    _process: Child,
}

fn testing() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testing").canonicalize().unwrap()
}

/// The environment that `testing/setup-readers.sh` makes, found by the same rule.
pub(crate) fn environment() -> PathBuf {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = set("HEADWATER_TEST_CACHE").unwrap_or_else(|| {
        set("XDG_CACHE_HOME")
            .unwrap_or_else(|| set("HOME").expect("HOME is not set").join(".cache"))
            .join("headwater")
    });
    let found = cache.join("readers-venv");
    for name in ["requirements.txt", "spark-jars.txt"] {
        let wanted = std::fs::read(testing().join(name)).unwrap();
        let is = std::fs::read(found.join(name)).ok();
        assert!(
            is == Some(wanted),
            "{} is missing or older than testing/{name}: run testing/setup-readers.sh",
            found.display()
        );
    }
    found
}

/// Starts a script of `testing/`, with its arguments, in that environment; what it says on stderr goes to a file.
pub(crate) fn start(script: &[&str], log: &str) -> Child {
    let log = Path::new(env!("CARGO_TARGET_TMPDIR")).join(log);
    Command::new(environment().join("bin/python"))
        .arg(testing().join(script[0]))
        .args(&script[1..])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(std::fs::File::create(log).unwrap())
        .spawn()
        .unwrap()
}

static SHARED: OnceLock<Mutex<Readers>> = OnceLock::new();

/// Asks the readers' process; `Err` holds what the reader said.
pub(crate) fn ask(op: &str, mut request: Value) -> Result<Value, String> {
    let shared = SHARED.get_or_init(|| {
        let mut process = start(&["readers.py"], "readers.log");
        let (input, output) = (process.stdin.take().unwrap(), process.stdout.take().unwrap());
        Mutex::new(Readers { input, output: BufReader::new(output), next: 0, _process: process })
    });
    let mut readers = shared.lock().unwrap_or_else(PoisonError::into_inner);
    readers.next += 1;
    request["id"] = json!(readers.next);
    request["op"] = json!(op);
    writeln!(readers.input, "{request}").expect("the readers' process has ended; see readers.log");
    let mut line = String::new();
    readers.output.read_line(&mut line).unwrap();
    assert!(
        !line.is_empty(),
        "the readers' process has ended; see readers.log in {}",
        env!("CARGO_TARGET_TMPDIR")
    );
    let mut answer: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(answer["id"], request["id"]);
    match answer["error"].as_str() {
        Some(error) => Err(error.to_owned()),
        None => Ok(answer["ok"].take()),
    }
}

/// Runs statements with Spark.
pub(crate) fn sql(statements: &[String]) {
    ask("sql", json!({"statements": statements})).unwrap();
}
