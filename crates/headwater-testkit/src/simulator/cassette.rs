//! Answers of a real source, written down: plain JSON, one entry for each distinct request.

use std::io::Write;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::answer::{Answer, Asked, nearest};
use super::redact::{REDACTED, Redactor};

const FORMAT: &str = "headwater-cassette/1";

/// Why a cassette could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CassetteError {
    /// The file cannot be read or written.
    #[error("cassette {} cannot be {what}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What was tried.
        what: &'static str,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// The file is no cassette.
    #[error("{} is no cassette of the form {FORMAT}", .path.display())]
    Form {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// The file is a cassette of another form.
    #[error("{} has the form `{found}`; this version reads {FORMAT}", .path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// What it says of itself.
        found: String,
    },
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    format: String,
    entries: Vec<Entry>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    request: Key,
    response: Recorded,
}

/// What tells one request from another.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Key {
    method: String,
    host: String,
    path: String,
    /// Sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    query: Vec<(String, String)>,
    #[serde(default, skip_serializing_if = "Content::is_empty")]
    body: Content,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Recorded {
    status: u16,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    headers: Vec<(String, String)>,
    #[serde(default, skip_serializing_if = "Content::is_empty")]
    body: Content,
}

/// A body in the most readable form that holds it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Content {
    #[default]
    Empty,
    Json(Value),
    /// A form that was posted, sorted.
    Form(Vec<(String, String)>),
    Text(String),
    Base64(String),
}

impl Content {
    fn is_empty(&self) -> bool {
        *self == Content::Empty
    }

    fn of(body: &Bytes, form: bool, redactor: &Redactor) -> Self {
        if body.is_empty() {
            return Content::Empty;
        }
        if form {
            let pairs = url::form_urlencoded::parse(body);
            return Content::Form(sorted(pairs.map(|(n, v)| (n.to_string(), redactor.parameter(&n, &v)))));
        }
        if let Ok(mut value) = serde_json::from_slice::<Value>(body) {
            redactor.json(&mut value);
            return Content::Json(value);
        }
        match std::str::from_utf8(body) {
            Ok(text) => Content::Text(redactor.text(text)),
            Err(_) => Content::Base64(BASE64.encode(body)),
        }
    }

    fn bytes(&self) -> Bytes {
        match self {
            Content::Empty => Bytes::new(),
            Content::Json(value) => serde_json::to_vec(value).unwrap_or_default().into(),
            Content::Form(pairs) => {
                url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish().into()
            }
            Content::Text(text) => text.clone().into(),
            Content::Base64(text) => BASE64.decode(text).unwrap_or_default().into(),
        }
    }

    fn fits(&self, asked: &Content) -> bool {
        match (self, asked) {
            (Content::Json(own), Content::Json(other)) => json_fits(own, other),
            (Content::Form(own), Content::Form(other)) => pairs_fit(own, other),
            (Content::Text(own), Content::Text(other)) => text_fits(own, other),
            (own, other) => own == other,
        }
    }
}

fn sorted(pairs: impl Iterator<Item = (String, String)>) -> Vec<(String, String)> {
    let mut pairs: Vec<_> = pairs.collect();
    pairs.sort();
    pairs
}

/// A secret that was left out stands for any, since the one at hand now may be another.
fn text_fits(own: &str, asked: &str) -> bool {
    let mut rest = asked;
    let mut parts = own.split(REDACTED);
    let Some(first) = parts.next() else { return own == asked };
    let Some(after) = rest.strip_prefix(first) else { return false };
    rest = after;
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        let Some(at) = rest.find(part) else { return false };
        rest = rest.get(at + part.len()..).unwrap_or_default();
    }
    rest.ends_with(last)
}

fn pairs_fit(own: &[(String, String)], asked: &[(String, String)]) -> bool {
    own.len() == asked.len()
        && own.iter().zip(asked).all(|((a, own), (b, other))| a == b && text_fits(own, other))
}

fn json_fits(own: &Value, asked: &Value) -> bool {
    match (own, asked) {
        (Value::String(own), Value::String(other)) => text_fits(own, other),
        (Value::String(own), Value::Number(_)) => own == REDACTED,
        (Value::Array(own), Value::Array(other)) => {
            own.len() == other.len() && own.iter().zip(other).all(|(a, b)| json_fits(a, b))
        }
        (Value::Object(own), Value::Object(other)) => {
            own.len() == other.len()
                && own.iter().all(|(name, a)| other.get(name).is_some_and(|b| json_fits(a, b)))
        }
        (own, other) => own == other,
    }
}

impl Key {
    fn of(asked: &Asked, host: &str, redactor: &Redactor) -> Self {
        let form = asked.has_content("application/x-www-form-urlencoded");
        Self {
            method: asked.method.clone(),
            host: redactor.text(host),
            path: redactor.text(&asked.path),
            query: sorted(asked.query.iter().map(|(n, v)| (n.clone(), redactor.parameter(n, v)))),
            body: Content::of(&asked.body, form, redactor),
        }
    }

    fn fits(&self, asked: &Key, any_host: bool) -> bool {
        self.method == asked.method
            && (any_host || self.host == asked.host)
            && text_fits(&self.path, &asked.path)
            && pairs_fit(&self.query, &asked.query)
            && self.body.fits(&asked.body)
    }

    fn shown(&self) -> String {
        let query = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(&self.query).finish();
        let query = if query.is_empty() { query } else { format!("?{query}") };
        format!("{} {}{}{query}", self.method, self.host, self.path)
    }

    fn order(&self) -> (String, String) {
        (self.shown(), String::from_utf8_lossy(&self.body.bytes()).into_owned())
    }
}

/// Headers that are of the connection, or of the moment.
const NOT_KEPT: &[&str] = &[
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "content-length",
    "content-encoding",
    "date",
    "age",
    "server",
    "via",
    "alt-svc",
    "report-to",
    "nel",
    "strict-transport-security",
    "content-security-policy",
];

/// A recording: read to replay it, or being made.
#[derive(Debug)]
pub(super) struct Cassette {
    path: PathBuf,
    redactor: Redactor,
    entries: Vec<Entry>,
    unsaved: usize,
}

/// So many new entries are written at once.
const SAVE_EVERY: usize = 25;

impl std::fmt::Debug for Redactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Redactor")
    }
}

impl Cassette {
    /// Reads one.
    pub(super) fn open(path: &Path, redactor: Redactor) -> Result<Self, CassetteError> {
        let text = std::fs::read(path).map_err(|source| CassetteError::File {
            path: path.to_owned(),
            what: "read",
            source,
        })?;
        let file: File = serde_json::from_slice(&text)
            .map_err(|source| CassetteError::Form { path: path.to_owned(), source })?;
        if file.format != FORMAT {
            return Err(CassetteError::Version { path: path.to_owned(), found: file.format });
        }
        Ok(Self { path: path.to_owned(), redactor, entries: file.entries, unsaved: 0 })
    }

    /// Goes on with the one that is there, or begins one.
    pub(super) fn open_or_new(path: &Path, redactor: Redactor) -> Result<Self, CassetteError> {
        if path.exists() {
            return Self::open(path, redactor);
        }
        let mut new = Self { path: path.to_owned(), redactor, entries: Vec::new(), unsaved: 1 };
        // A place that cannot be written to is told of before anything is asked of the source.
        new.save()?;
        Ok(new)
    }

    /// How many requests it holds.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Notes an answer. A later one takes its place, unless it says less: an error, or that nothing has changed.
    pub(super) fn note(&mut self, asked: &Asked, host: &str, answer: &Answer) -> Result<(), CassetteError> {
        let request = Key::of(asked, host, &self.redactor);
        let headers =
            answer.headers.iter().filter(|(n, _)| !NOT_KEPT.contains(&n.to_ascii_lowercase().as_str()));
        let headers = headers.map(|(n, v)| (n.to_ascii_lowercase(), self.redactor.header(n, v)));
        let response = Recorded {
            status: answer.status,
            headers: sorted(headers),
            body: Content::of(&answer.body, false, &self.redactor),
        };
        match self.entries.iter_mut().find(|entry| entry.request == request) {
            Some(known) => {
                let good = |status: u16| (200..300).contains(&status);
                if good(response.status) || !good(known.response.status) {
                    known.response = response;
                }
            }
            None => self.entries.push(Entry { request, response }),
        }
        self.unsaved += 1;
        if self.unsaved >= SAVE_EVERY { self.save() } else { Ok(()) }
    }

    /// The answer that was noted for a request; or a message that names it and the nearest.
    pub(super) fn answer(&self, asked: &Asked, any_host: bool) -> Answer {
        let wanted = Key::of(asked, asked.host(), &self.redactor);
        if let Some(entry) = self.entries.iter().find(|entry| entry.request.fits(&wanted, any_host)) {
            let response = &entry.response;
            return Answer {
                status: response.status,
                headers: response.headers.clone(),
                body: response.body.bytes(),
            };
        }
        let shown: Vec<String> = self.entries.iter().map(|entry| entry.request.shown()).collect();
        let near = match nearest(&wanted.shown(), &shown) {
            Some(near) => format!("the nearest that was is {near}"),
            None => format!("{} other requests were", shown.len()),
        };
        let body = if wanted.body.is_empty() { "" } else { " with this body" };
        let message = format!(
            "{}{body} was not recorded in {}; {near}. Record again with --mode record",
            wanted.shown(),
            self.path.display()
        );
        Answer::message(404, message)
    }

    /// Writes what is new, in one step: the file is as it was before, or whole.
    pub(super) fn save(&mut self) -> Result<(), CassetteError> {
        if self.unsaved == 0 {
            return Ok(());
        }
        self.entries.sort_by_cached_key(|entry| entry.request.order());
        let file = File { format: FORMAT.to_owned(), entries: self.entries.clone() };
        let failed = |source| CassetteError::File { path: self.path.clone(), what: "written", source };
        let text = serde_json::to_string_pretty(&file)
            .map_err(|source| CassetteError::Form { path: self.path.clone(), source })?;
        if let Some(folder) = self.path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder).map_err(failed)?;
        }
        let mut name = self.path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}.new", std::process::id()));
        let temporary = self.path.with_file_name(name);
        let written = (|| {
            let mut new = std::fs::File::create(&temporary)?;
            new.write_all(text.as_bytes())?;
            new.write_all(b"\n")?;
            new.sync_all()?;
            std::fs::rename(&temporary, &self.path)
        })();
        if let Err(error) = written {
            // The first error is the one to tell.
            drop(std::fs::remove_file(&temporary));
            return Err(failed(error));
        }
        self.unsaved = 0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{json_fits, text_fits};

    #[test]
    fn what_was_left_out_stands_for_anything() {
        let check = |own: &str, asked: &str, expect: bool| {
            assert_eq!(text_fits(own, asked), expect, "{own} {asked}");
        };
        check("a", "a", true);
        check("a", "ab", false);
        check("REDACTED", "whatever", true);
        check("u:REDACTED@h", "u:x@h", true);
        check("u:REDACTED@h", "u:x@g", false);
        check("REDACTED-REDACTED", "a-b", true);
        check("REDACTED-REDACTED", "ab", false);
        check("aREDACTEDa", "a", false);
        assert!(json_fits(&json!({"a": ["REDACTED", 1]}), &json!({"a": ["x", 1]})));
        assert!(!json_fits(&json!({"a": 1}), &json!({"a": 1, "b": 2})));
    }
}
