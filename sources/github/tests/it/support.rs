//! A GitHub of the test's own, and an update as the engine makes it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use futures::StreamExt;
use headwater_connect::{
    Connector, ConnectorError, ConnectorFactory, IngestionType, Offset, Options, Page, PageStream, ReadItem,
};
use headwater_source_github::GitHubFactory;
use headwater_testkit::simulator::{Control, Description, SeenRequest, Settings, Simulator};
use serde_json::Value;
use tempfile::TempDir;

/// The token that the simulator takes.
pub(crate) const TOKEN: &str = "ghp_invented0123456789abcdefghijklmnop";

pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("simulator")
}

/// A simulated GitHub.
pub(crate) struct Site {
    simulator: Simulator,
}

impl Site {
    pub(crate) fn start() -> Self {
        Self::with(Settings::default(), &[])
    }

    /// One with other settings, and parts of its description replaced.
    pub(crate) fn with(settings: Settings, replaced: &[(&str, &str)]) -> Self {
        let mut text = std::fs::read_to_string(folder().join("endpoints.yaml")).unwrap();
        for (old, new) in replaced {
            assert!(text.contains(old), "the description holds no {old}");
            text = text.replace(old, new);
        }
        let edited: TempDir = tempfile::tempdir().unwrap();
        std::fs::write(edited.path().join("endpoints.yaml"), text).unwrap();
        std::fs::create_dir(edited.path().join("corpus")).unwrap();
        for file in std::fs::read_dir(folder().join("corpus")).unwrap() {
            let file = file.unwrap();
            std::fs::copy(file.path(), edited.path().join("corpus").join(file.file_name())).unwrap();
        }
        let description = Description::load(edited.path()).unwrap_or_else(|errors| panic!("{errors:#?}"));
        Self { simulator: Simulator::start(description, settings).unwrap() }
    }

    pub(crate) fn url(&self) -> String {
        self.simulator.base_url()
    }

    pub(crate) fn control(&self) -> Control {
        self.simulator.control()
    }

    /// The connection's options, with more on top; an empty value takes an option away.
    pub(crate) fn options(&self, more: &[(&str, &str)]) -> Options {
        let url = self.url();
        let usual = [("base_url", url.as_str()), ("token", TOKEN), ("owner", "oxbow-x"), ("repo", "kit")];
        let mut options: Options = usual.into_iter().collect();
        for (name, value) in more {
            options.set(*name, *value);
        }
        options
    }

    /// Reads a table as an update does: an instance of its own, until it has settled.
    pub(crate) async fn update(&self, table: &str, more: &[(&str, &str)], start: Option<&Offset>) -> Update {
        self.try_update(table, more, start).await.unwrap_or_else(|error| panic!("{table}: {}", chain(&error)))
    }

    pub(crate) async fn try_update(
        &self,
        table: &str,
        more: &[(&str, &str)],
        start: Option<&Offset>,
    ) -> Result<Update, ConnectorError> {
        let mut options = self.options(more);
        options.set("tableName", table);
        let connector = GitHubFactory.connect(&options).await?;
        let none = Options::new();
        let metadata = connector.read_table_metadata(table, &none).await?;
        let is_stream = metadata.ingestion_type != IngestionType::Snapshot;
        let empty = is_stream.then(Offset::empty);
        let mut at = start.cloned().or(empty);
        let mut update = Update { reads: Vec::new(), offsets: Vec::new(), end: at.clone() };
        for _ in 0..2_000 {
            let (rows, end) = drain(connector.read_table(table, at.as_ref(), &none)).await?;
            update.reads.push(rows);
            if end == at {
                return Ok(update);
            }
            update.offsets.extend(end.clone());
            update.end.clone_from(&end);
            if !is_stream {
                return Ok(update);
            }
            at = end;
        }
        panic!("{table} has not settled: {:?}", update.end)
    }

    /// The requests seen so far whose path and query hold `text`.
    pub(crate) fn seen(&self, text: &str) -> Vec<SeenRequest> {
        let all = self.control().requests();
        all.into_iter().filter(|request| request.path_and_query.contains(text)).collect()
    }
}

/// What an update read.
pub(crate) struct Update {
    /// The rows of each read.
    pub(crate) reads: Vec<Vec<Value>>,
    /// The offsets on the way.
    pub(crate) offsets: Vec<Offset>,
    pub(crate) end: Option<Offset>,
}

impl Update {
    pub(crate) fn rows(&self) -> impl Iterator<Item = &Value> {
        self.reads.iter().flatten()
    }

    /// The values of a column, each once, as text.
    pub(crate) fn values(&self, column: &str) -> BTreeSet<String> {
        values(self.rows(), column)
    }
}

pub(crate) fn values<'a>(rows: impl IntoIterator<Item = &'a Value>, column: &str) -> BTreeSet<String> {
    rows.into_iter().map(|row| text(&row[column])).collect()
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// The values of a column in those records of a corpus whose `place` holds `part`.
pub(crate) fn corpus_values(
    control: &Control,
    corpus: &str,
    column: &str,
    part: (&str, &str),
) -> BTreeSet<String> {
    let records = control.records(corpus).unwrap();
    let chosen = records.iter().filter(|record| text(&record[part.0]).contains(part.1));
    values(chosen, column)
}

/// The rows of one read and its end.
pub(crate) async fn drain(
    mut stream: PageStream<'_>,
) -> Result<(Vec<Value>, Option<Offset>), ConnectorError> {
    let mut rows = Vec::new();
    while let Some(item) = stream.next().await {
        match item? {
            ReadItem::Page(page) => rows.extend(rows_of(&page)),
            ReadItem::End(end) => {
                assert!(stream.next().await.is_none(), "something follows the end");
                return Ok((rows, end));
            }
        }
    }
    panic!("the read has no end")
}

fn rows_of(page: &Page) -> Vec<Value> {
    let Page::Json { body, records } = page else { panic!("not a page of JSON") };
    let body: Value = serde_json::from_slice(body).unwrap();
    match body.pointer(&records.to_string()).unwrap() {
        Value::Array(rows) => rows.clone(),
        row => vec![row.clone()],
    }
}

/// An instance for one table.
pub(crate) async fn connect(options: &Options, table: &str) -> Result<Box<dyn Connector>, ConnectorError> {
    let mut options = options.clone();
    options.set("tableName", table);
    GitHubFactory.connect(&options).await
}

/// An error with its causes.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(this) = cause {
        text.push_str(": ");
        text.push_str(&this.to_string());
        cause = this.source();
    }
    text
}
