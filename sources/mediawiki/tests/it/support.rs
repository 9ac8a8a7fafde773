//! A wiki of the test's own, and an update as the engine makes it.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{OnceLock, mpsc};

use chrono::{DateTime, Utc};
use futures::StreamExt;
use headwater_connect::{
    Connector, ConnectorError, ConnectorFactory, DataType, Offset, Options, Page, PageStream, ReadItem,
    StructType,
};
use headwater_source_mediawiki::MediaWikiFactory;
use serde_json::{Value, json};
use tempfile::TempDir;

/// The bot password that the setup script gives to `Reader`.
pub(crate) const BOT: (&str, &str) = ("Reader@headwater", "0123456789abcdefghijklmnopqrstuv");

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

fn prepared() -> &'static Path {
    static PREPARED: OnceLock<PathBuf> = OnceLock::new();
    PREPARED.get_or_init(|| {
        let script = repository().join("testing/setup-mediawiki.sh");
        let output = Command::new(&script).arg("--path").output().unwrap();
        assert!(
            output.status.success(),
            "these tests need a real MediaWiki; run testing/setup-mediawiki.sh once: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        PathBuf::from(String::from_utf8(output.stdout).unwrap().trim())
    })
}

fn php() -> Command {
    let mut command = Command::new("php");
    let opcache = prepared().join("opcache");
    command
        .args(["-d", "opcache.enable_cli=1", "-d"])
        .arg(format!("opcache.file_cache={}", opcache.display()));
    command
}

/// PHP's own web server, which ends with this value.
pub(crate) struct Server {
    child: Child,
    pub(crate) url: String,
}

impl Server {
    pub(crate) fn start(folder: &Path, environment: &[(&str, &Path)]) -> Self {
        let mut child = php()
            .args(["-S", "127.0.0.1:0", "-t"])
            .arg(folder)
            .envs(environment.iter().copied())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let (send, receive) = mpsc::channel();
        // Read to the end, or the server would wait for room in the pipe.
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(|line| drop(send.send(line))));
        let url = receive
            .iter()
            .find_map(|line| Some(line.split_once("(http://")?.1.split_once(')')?.0.to_owned()))
            .unwrap();
        Self { child, url: format!("http://{url}") }
    }

    /// Serves one script as `api.php`.
    pub(crate) fn of_script(script: &str) -> (TempDir, Self) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("api.php"), script).unwrap();
        let server = Self::start(folder.path(), &[]);
        (folder, server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// A copy of the prepared wiki, served.
pub(crate) struct TestWiki {
    pub(crate) folder: TempDir,
    server: Server,
}

impl TestWiki {
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        std::fs::create_dir_all(data.join("locks")).unwrap();
        for entry in std::fs::read_dir(prepared().join("data")).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_file() {
                std::fs::copy(entry.path(), data.join(entry.file_name())).unwrap();
            }
        }
        let settings = folder.path().join("LocalSettings.php");
        std::fs::copy(prepared().join("LocalSettings.php"), &settings).unwrap();
        std::os::unix::fs::symlink(prepared().join("cache"), folder.path().join("cache")).unwrap();
        let server = Server::start(&prepared().join("code"), &[("MW_CONFIG_FILE", &settings)]);
        Self { folder, server }
    }

    pub(crate) fn url(&self) -> String {
        self.server.url.clone()
    }

    /// Runs steps of `testing/mediawiki-driver.php`, and gives their results.
    pub(crate) fn run(&self, steps: &Value) -> Vec<Value> {
        let mut child = php()
            .arg(repository().join("testing/mediawiki-driver.php"))
            .env("MW_CONFIG_FILE", self.folder.path().join("LocalSettings.php"))
            .env("MW_INSTALL_PATH", prepared().join("code").canonicalize().unwrap())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(steps.to_string().as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        serde_json::from_str(&text).unwrap_or_else(|error| {
            panic!("driver: {error}\n{text}\n{}", String::from_utf8_lossy(&output.stderr))
        })
    }

    /// The rows of a SELECT on the wiki's database.
    pub(crate) fn sql(&self, query: &str) -> Vec<Value> {
        let result = self.run(&json!([{"do": "sql", "query": query}])).remove(0);
        serde_json::from_value(result).unwrap()
    }

    /// The first column of a SELECT, as numbers.
    pub(crate) fn ids(&self, query: &str) -> BTreeSet<u64> {
        let first = |row: &Value| row.as_object().unwrap().values().next().unwrap().clone();
        self.sql(query).iter().map(|row| first(row).as_str().unwrap().parse().unwrap()).collect()
    }

    /// The options of a connection to this wiki, and more.
    pub(crate) fn options(&self, more: &[(&str, &str)]) -> Options {
        let mut options: Options = [("base_url", self.url())].into_iter().collect();
        more.iter().for_each(|(name, value)| options.set(*name, *value));
        options
    }

    pub(crate) async fn connect(&self, more: &[(&str, &str)]) -> Box<dyn Connector> {
        MediaWikiFactory.connect(&self.options(more)).await.unwrap()
    }

    /// One update of `table` by a new instance.
    pub(crate) async fn update(&self, table: &str, start: &Offset, more: &[(&str, &str)]) -> Update {
        update(self.connect(more).await.as_ref(), table, start, Kind::Upserts).await.unwrap()
    }

    /// One update of the deletions of `pages` by a new instance.
    pub(crate) async fn update_deletes(&self, start: &Offset, more: &[(&str, &str)]) -> Update {
        update(self.connect(more).await.as_ref(), "pages", start, Kind::Deletes).await.unwrap()
    }

    /// The rows of a snapshot, read by a new instance.
    pub(crate) async fn snapshot(&self, table: &str, more: &[(&str, &str)]) -> Vec<Value> {
        let connector = self.connect(more).await;
        let options = Options::new();
        let schema = connector.get_table_schema(table, &options).await.unwrap();
        let (rows, end) = drain(connector.read_table(table, None, &options)).await.unwrap();
        assert_eq!(end, None);
        rows.iter().for_each(|row| fits(&schema, row));
        rows
    }
}

/// Steps that fail loudly when the JSON is not an array.
pub(crate) fn edit(title: &str, text: &str, at: &str) -> Value {
    json!({"do": "edit", "title": title, "text": text, "at": at})
}

/// A dump with one page of the given revisions (time and text).
pub(crate) fn dump(title: &str, revisions: &[(&str, &str)]) -> String {
    let revision = |(at, text): &(&str, &str)| {
        format!(
            "<revision><id>{}</id><timestamp>{at}</timestamp><contributor><username>Elsewhere</username>\
             <id>7</id></contributor><model>wikitext</model><format>text/x-wiki</format>\
             <text xml:space=\"preserve\">{text}</text></revision>",
            7_000_000 + text.len()
        )
    };
    let revisions: String = revisions.iter().map(revision).collect();
    format!(
        "<mediawiki xmlns=\"http://www.mediawiki.org/xml/export-0.10/\" version=\"0.10\" xml:lang=\"en\">\
         <page><title>{title}</title><ns>0</ns><id>999</id>{revisions}</page></mediawiki>"
    )
}

pub(crate) enum Kind {
    Upserts,
    Deletes,
}

/// What one update read.
pub(crate) struct Update {
    pub(crate) rows: Vec<Value>,
    pub(crate) end: Offset,
    /// The offsets between its reads, the last included, each with the rows that were read before it.
    pub(crate) steps: Vec<(Offset, usize)>,
}

impl Update {
    pub(crate) fn ids(&self, name: &str) -> Vec<u64> {
        self.rows.iter().map(|row| row[name].as_u64().unwrap()).collect()
    }

    /// The ids, which must each stand once.
    pub(crate) fn distinct(&self, name: &str) -> BTreeSet<u64> {
        let ids = self.ids(name);
        let set: BTreeSet<u64> = ids.iter().copied().collect();
        assert_eq!(set.len(), ids.len(), "an id twice: {ids:?}");
        set
    }

    pub(crate) fn row(&self, name: &str, id: u64) -> &Value {
        self.rows.iter().find(|row| row[name] == id).unwrap_or_else(|| panic!("no {name} {id}"))
    }
}

/// Reads until the offset stays, as the engine does.
pub(crate) async fn update(
    connector: &dyn Connector,
    table: &str,
    start: &Offset,
    kind: Kind,
) -> Result<Update, ConnectorError> {
    let options = Options::new();
    let schema = connector.get_table_schema(table, &options).await?;
    let mut update = Update { rows: Vec::new(), end: start.clone(), steps: Vec::new() };
    for _ in 0..1000 {
        let stream = match kind {
            Kind::Upserts => connector.read_table(table, Some(&update.end), &options),
            Kind::Deletes => connector.read_table_deletes(table, Some(&update.end), &options),
        };
        let (rows, end) = drain(stream).await?;
        rows.iter().for_each(|row| fits(&schema, row));
        update.rows.extend(rows);
        let end = end.unwrap();
        update.steps.push((end.clone(), update.rows.len()));
        if end == update.end {
            return Ok(update);
        }
        // An offset goes through a file before it comes back.
        update.end = Offset::from_json(end.as_json()).unwrap();
    }
    panic!("table {table} has no end");
}

/// Reads a stream to its end, which must come once and last.
pub(crate) async fn drain(
    mut stream: PageStream<'_>,
) -> Result<(Vec<Value>, Option<Offset>), ConnectorError> {
    let mut rows = Vec::new();
    while let Some(item) = stream.next().await {
        match item? {
            ReadItem::Page(page) => rows.extend(records(page)),
            ReadItem::End(end) => {
                assert!(stream.next().await.is_none(), "something follows the end");
                return Ok((rows, end));
            }
        }
    }
    panic!("a read without an end");
}

fn records(page: Page) -> Vec<Value> {
    let rows = match page {
        Page::Json { body, records } => {
            let body: Value = serde_json::from_slice(&body).unwrap();
            body.pointer(&records.to_string()).unwrap().as_array().unwrap().clone()
        }
        Page::Values(rows) => rows,
        other => panic!("{other:?}"),
    };
    assert!(!rows.is_empty(), "an empty page");
    rows
}

/// Says whether a row is what the schema says.
fn fits(schema: &StructType, row: &Value) {
    for field in &schema.fields {
        let value = &row[&field.name];
        assert!(field.nullable || !value.is_null(), "{} is null in {row}", field.name);
        assert!(value.is_null() || has_type(&field.data_type, value), "{} is {value}", field.name);
    }
}

fn has_type(data_type: &DataType, value: &Value) -> bool {
    match data_type {
        DataType::Long => value.is_i64(),
        DataType::Boolean => value.is_boolean(),
        // Objects become JSON text.
        DataType::String => value.is_string() || value.is_object() || value.is_array(),
        DataType::Timestamp => value.as_str().is_some_and(|text| text.parse::<DateTime<Utc>>().is_ok()),
        DataType::Array { element, .. } => {
            value.as_array().is_some_and(|items| items.iter().all(|item| has_type(element, item)))
        }
        DataType::Struct(fields) => {
            fits(fields, value);
            true
        }
        other => panic!("{other}"),
    }
}

/// `20250102030405` of the database as `2025-01-02T03:04:05Z` of the API.
pub(crate) fn iso(text: &Value) -> String {
    let at = chrono::NaiveDateTime::parse_from_str(text.as_str().unwrap(), "%Y%m%d%H%M%S").unwrap();
    at.format("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Every error of the chain, in one text.
pub(crate) fn chain(error: &ConnectorError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}
