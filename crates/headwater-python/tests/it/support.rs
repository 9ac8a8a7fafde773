//! Connectors made for a test, and how they are read.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::TryStreamExt;
use headwater_connect::{
    Connector, ConnectorError, ConnectorFactory, Offset, Options, Page, PageStream, ReadItem,
};
use headwater_python::{ConnectorDefinition, ConnectorSource, Runtime, RuntimeSettings};
use serde_json::Value;
use tempfile::TempDir;

/// A project's state, and a folder for connectors.
pub(crate) struct Project {
    pub(crate) folder: TempDir,
    pub(crate) runtime: Runtime,
}

impl Project {
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(crate) fn with(change: impl FnOnce(&mut RuntimeSettings)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut settings = RuntimeSettings::new(folder.path().join("state"));
        settings.search_path = std::env::var_os("PATH");
        change(&mut settings);
        Self { folder, runtime: Runtime::new(settings) }
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    /// A connector in Python, in a folder `c`.
    pub(crate) fn python(&self, code: &str) -> ConnectorDefinition {
        self.write("c/c.py", code);
        self.folder_connector("c")
    }

    pub(crate) fn folder_connector(&self, name: &str) -> ConnectorDefinition {
        ConnectorDefinition {
            name: name.into(),
            source: ConnectorSource::Folder { path: self.folder.path().join(name), repository: None },
            class: None,
            extras: Vec::new(),
        }
    }

    /// An executable written in Python that speaks the protocol by itself.
    pub(crate) fn command(&self, code: &str) -> ConnectorDefinition {
        let path = self.write("worker.py", &format!("{WORKER}\n{code}\n"));
        ConnectorDefinition {
            name: "hostile".into(),
            source: ConnectorSource::Command {
                program: python(),
                args: vec!["-u".into(), path.to_str().unwrap().into()],
            },
            class: None,
            extras: Vec::new(),
        }
    }

    pub(crate) async fn factory(&self, definition: &ConnectorDefinition) -> Arc<dyn ConnectorFactory> {
        let environment = self.runtime.prepare(definition, &|_| {}).await.unwrap();
        self.runtime.factory(definition, &environment).await.unwrap()
    }

    pub(crate) async fn connect(&self, definition: &ConnectorDefinition) -> Box<dyn Connector> {
        self.factory(definition)
            .await
            .connect(&options(&[("tableName", "t"), ("token", "secret-of-mine")]))
            .await
            .unwrap()
    }

    /// Temporary folders of workers that are there.
    pub(crate) fn temp_folders(&self) -> usize {
        std::fs::read_dir(self.folder.path().join("state/python/tmp")).map_or(0, Iterator::count)
    }
}

/// What every script of a test starts with: the protocol in a few lines.
const WORKER: &str = r#"
import json, os, signal, sys, time
out = sys.stdout.buffer
def send(**message):
    out.write(json.dumps(message).encode() + b"\n"); out.flush()
def records(id, rows):
    body = json.dumps(rows).encode()
    send(id=id, records=len(rows), bytes=len(body)); out.write(body + b"\n"); out.flush()
def requests():
    for line in sys.stdin.buffer:
        request = json.loads(line)
        call = request["call"]
        if call == "hello":
            send(id=request["id"], result={"protocol": 1, "worker": "test"})
        elif call == "spec":
            send(id=request["id"], result=None)
        elif call == "open":
            send(id=request["id"], result={"connector": "test", "abilities": ABILITIES})
        else:
            yield request["id"], call, request
ABILITIES = []
"#;

/// The Python that runs the scripts.
pub(crate) fn python() -> PathBuf {
    let output = std::process::Command::new("python3")
        .args(["-I", "-c", "import sys; print(sys.executable)"])
        .output()
        .unwrap();
    PathBuf::from(String::from_utf8(output.stdout).unwrap().trim())
}

pub(crate) fn options(pairs: &[(&str, &str)]) -> Options {
    pairs.iter().copied().collect()
}

/// The records of a read, and its end.
pub(crate) async fn drain(
    mut stream: PageStream<'_>,
) -> Result<(Vec<Value>, Option<Offset>), ConnectorError> {
    let mut records = Vec::new();
    while let Some(item) = stream.try_next().await? {
        match item {
            ReadItem::Page(Page::Json { body, .. }) => {
                records.extend(serde_json::from_slice::<Vec<Value>>(&body).unwrap());
            }
            ReadItem::Page(_) => panic!("a page of another kind"),
            ReadItem::End(end) => return Ok((records, end)),
        }
    }
    panic!("a read without an end")
}

/// An error with all its causes.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// Says whether a process runs (one that has ended and was not waited for does not).
pub(crate) fn runs(process: u64) -> bool {
    let state = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    state.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

/// Waits until a condition holds, for as long as a slow machine may need.
pub(crate) async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let mut turns = 0;
    while !holds() {
        turns += 1;
        assert!(turns < 3_000, "{what}");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

/// Waits for a file and gives its text.
pub(crate) async fn file(path: &Path) -> String {
    eventually(&format!("{} does not come", path.display()), || {
        std::fs::read_to_string(path).is_ok_and(|text| text.ends_with('\n'))
    })
    .await;
    std::fs::read_to_string(path).unwrap().trim().to_owned()
}
