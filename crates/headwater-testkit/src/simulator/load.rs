//! Reads `endpoints.yaml` and the corpus beside it; reports all that is wrong at once, each with its place.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use headwater_spec::document::{Document, Element, Entry};
use headwater_spec::{Diagnostic, Position, Problem};

use super::description::{
    CorpusFile, Description, Endpoint, FutureRecords, OPS, Op, Param, PathTemplate, ROLES, ResponseRules,
    Role, STYLES, Size, Sort, Style, TOLD, Wrapper,
};

/// All that is wrong with a description.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadErrors {
    /// Each with file, place, the key that it is about, and what to change.
    pub errors: Vec<Diagnostic>,
}

impl fmt::Display for LoadErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.errors.as_slice() {
            [] => f.write_str("the description cannot be used"),
            [only] => write!(f, "{only}"),
            [first, rest @ ..] => write!(f, "{first} (and {} more)", rest.len()),
        }
    }
}

impl std::error::Error for LoadErrors {}

/// Corpus files beyond this are no sample: `grow` makes many records of few.
const MAX_CORPUS_BYTES: u64 = 256 << 20;

const TOP_KEYS: &[&str] = &["endpoints", "auth", "rate_limit", "faults", "latency_ms"];
const ENDPOINT_KEYS: &[&str] = &[
    "path",
    "method",
    "corpus",
    "params",
    "path_params",
    "response",
    "strict_params",
    "synthesize_future_records",
    "handler",
    "auth",
    "rate_limit",
    "faults",
    "latency_ms",
    "grow",
    "state",
    "etag",
];
const RESPONSE_KEYS: &[&str] = &[
    "pagination_style",
    "default_sort",
    "single_entity",
    "wrapper",
    "expected_status_codes",
    "computed",
    "headers",
    "status",
];
const METHODS: &[&str] = &["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"];

impl Description {
    /// Loads `endpoints.yaml` and `corpus/*.json` of a folder.
    ///
    /// # Errors
    /// Everything that is wrong with them, each with file, endpoint and key.
    pub fn load(folder: &Path) -> Result<Self, LoadErrors> {
        let mut errors = Vec::new();
        let corpora = read_corpora(&folder.join("corpus"), &mut errors);
        let path = ["endpoints.yaml", "endpoints.yml"].map(|name| folder.join(name));
        let path = path.iter().find(|path| path.is_file()).unwrap_or(&path[0]);
        let file = path.display().to_string();
        let text = match std::fs::read(path) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) => {
                let problem = Problem::Syntax { detail: format!("it cannot be read: {error}") };
                let hint = "a source's folder holds endpoints.yaml and corpus/<name>.json";
                errors.extend(complaint(&file, "", None, problem, Some(hint.to_owned())));
                return Err(LoadErrors { errors });
            }
        };
        match Self::parse(&text, &file, corpora) {
            Ok(description) if errors.is_empty() => Ok(description),
            Ok(_) => Err(LoadErrors { errors }),
            Err(mut other) => {
                other.errors.extend(errors);
                Err(other)
            }
        }
    }

    /// Reads a description from text, with the corpora that it names; `file` is the name to show.
    fn parse(text: &str, file: &str, corpora: BTreeMap<String, CorpusFile>) -> Result<Self, LoadErrors> {
        let mut loader = Loader { document: Document::read(text, file), corpora };
        let description = loader.top();
        match loader.document.finish(description) {
            Ok(mut parsed) => {
                parsed.value.corpora = loader.corpora;
                Ok(parsed.value)
            }
            Err(errors) => Err(LoadErrors { errors: errors.errors }),
        }
    }
}

fn complaint(
    file: &str,
    text: &str,
    at: Option<Position>,
    problem: Problem,
    hint: Option<String>,
) -> Vec<Diagnostic> {
    let mut document = Document::blank(text, file);
    document.complain_at(at.unwrap_or(Position { line: 1, column: 1 }), problem, hint);
    match document.finish(Some(())) {
        Ok(_) => Vec::new(),
        Err(errors) => errors.errors,
    }
}

fn read_corpora(folder: &Path, errors: &mut Vec<Diagnostic>) -> BTreeMap<String, CorpusFile> {
    let mut corpora = BTreeMap::new();
    // Without a folder there are none; an endpoint that names one tells of it.
    let Ok(entries) = std::fs::read_dir(folder) else { return corpora };
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths.iter().filter(|path| path.extension().is_some_and(|end| end == "json")) {
        let file = path.display().to_string();
        let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        match read_corpus(path) {
            Ok(corpus) => {
                corpora.insert(name, corpus);
            }
            Err((text, at, detail)) => {
                let hint = "a corpus is a JSON array of records, or one object".to_owned();
                errors.extend(complaint(&file, &text, at, Problem::Syntax { detail }, Some(hint)));
                // It is there, so that no endpoint is told that it is not.
                corpora.insert(name, CorpusFile::Records(Vec::new()));
            }
        }
    }
    corpora
}

type CorpusProblem = (String, Option<Position>, String);

fn read_corpus(path: &Path) -> Result<CorpusFile, CorpusProblem> {
    let failed = |detail: String| (String::new(), None, detail);
    let size = std::fs::metadata(path).map_err(|e| failed(format!("it cannot be read: {e}")))?.len();
    if size > MAX_CORPUS_BYTES {
        return Err(failed(format!("it has {size} bytes; {MAX_CORPUS_BYTES} are the most")));
    }
    let bytes = std::fs::read(path).map_err(|e| failed(format!("it cannot be read: {e}")))?;
    let text = String::from_utf8(bytes).map_err(|_| failed("it is not UTF-8 text".into()))?;
    match serde_json::from_str(&text) {
        Ok(serde_json::Value::Array(records)) => Ok(CorpusFile::Records(records)),
        Ok(one @ serde_json::Value::Object(_)) => Ok(CorpusFile::One(one)),
        Ok(_) => Err((text, None, "it holds a single value".into())),
        Err(error) => {
            let at = Position { line: error.line().max(1), column: error.column().max(1) };
            let detail = format!("not valid JSON: {error}");
            Err((text, Some(at), detail))
        }
    }
}

/// The fields of a map, after those that mean nothing have been told of.
pub(super) struct Fields(Vec<Entry>);

impl Fields {
    pub(super) fn get(&self, key: &str) -> Option<&Element> {
        self.0
            .iter()
            .find(|entry| entry.key == key)
            .map(|entry| &entry.value)
            .filter(|value| !value.is_null())
    }
}

pub(super) struct Loader {
    pub(super) document: Document,
    pub(super) corpora: BTreeMap<String, CorpusFile>,
}

impl Loader {
    fn top(&mut self) -> Option<Description> {
        let root = self.document.root()?;
        let top = self.fields(&root, TOP_KEYS)?;
        let Some(list) = top.get("endpoints") else {
            let hint = "it is a list; each entry starts with `- path: …`".to_owned();
            self.document.complain(&root, Problem::MissingField { name: "endpoints".into() }, Some(hint));
            return None;
        };
        let auth = top.get("auth").and_then(|e| self.auth(e)).flatten();
        let rate_limit = top.get("rate_limit").and_then(|e| self.rate_limit(e)).flatten();
        let faults = top.get("faults").map(|e| self.faults(e)).unwrap_or_default();
        let latency = top.get("latency_ms").and_then(|e| self.latency(e));
        let mut endpoints = Vec::new();
        let Some(items) = list.items() else {
            self.document.expected("a list of endpoints", list);
            return None;
        };
        self.deleted_records_have_a_place(&items);
        for item in &items {
            let Some(mut endpoint) = self.endpoint(item) else { continue };
            if item.entries().is_some_and(|entries| !entries.iter().any(|e| e.key == "auth")) {
                endpoint.auth.clone_from(&auth);
            }
            if endpoint.latency.is_none() {
                endpoint.latency = latency;
            }
            self.grows_alike(item, &endpoints, &endpoint);
            endpoints.push(endpoint);
        }
        Some(Description { endpoints, corpora: BTreeMap::new(), faults, rate_limit })
    }

    /// A corpus that only takes what is deleted needs no file, wherever the endpoint stands that reads it.
    fn deleted_records_have_a_place(&mut self, endpoints: &[Element]) {
        let field = |element: &Element, key: &str| {
            element.entries()?.into_iter().find(|entry| entry.key == key).map(|entry| entry.value)
        };
        for endpoint in endpoints {
            let name = field(endpoint, "state").and_then(|state| field(&state, "deleted_to"));
            if let Some(name) = name.as_ref().and_then(Element::text) {
                let empty = || CorpusFile::Records(Vec::new());
                self.corpora.entry(name.to_owned()).or_insert_with(empty);
            }
        }
    }

    /// Reads a map, and tells of keys that mean nothing in it.
    pub(super) fn fields(&mut self, element: &Element, allowed: &[&str]) -> Option<Fields> {
        let Some(entries) = element.entries() else {
            self.document.expected("a map", element);
            return None;
        };
        for entry in entries.iter().filter(|entry| !allowed.contains(&entry.key.as_str())) {
            self.document.unknown_key(entry, allowed);
        }
        Some(Fields(entries))
    }

    fn endpoint(&mut self, element: &Element) -> Option<Endpoint> {
        let fields = self.fields(element, ENDPOINT_KEYS)?;
        let path = match fields.get("path") {
            Some(path) => self.path(path),
            None => {
                self.document.complain(element, Problem::MissingField { name: "path".into() }, None);
                None
            }
        };
        let method = fields.get("method").and_then(|e| self.method(e)).unwrap_or_else(|| "GET".into());
        let corpus = fields.get("corpus").and_then(|e| self.corpus(e));
        let handler = fields.get("handler").and_then(|e| self.text(e, "the name of a handler"));
        let params = fields.get("params").map(|e| self.params(e)).unwrap_or_default();
        let path_params = fields.get("path_params").map(|e| self.params(e)).unwrap_or_default();
        if let (Some(path), Some(given)) = (&path, fields.get("path_params")) {
            self.path_params_are_placeholders(path, given);
        }
        let response = fields.get("response").and_then(|e| self.response(e)).unwrap_or_default();
        let endpoint = Endpoint {
            strict_params: self.flag(&fields, "strict_params"),
            etag: self.flag(&fields, "etag"),
            future: fields.get("synthesize_future_records").and_then(|e| self.future(e)),
            auth: fields.get("auth").and_then(|e| self.auth(e)).flatten(),
            rate_limit: fields.get("rate_limit").and_then(|e| self.rate_limit(e)).flatten(),
            faults: fields.get("faults").map(|e| self.faults(e)).unwrap_or_default(),
            latency: fields.get("latency_ms").and_then(|e| self.latency(e)),
            grow: fields.get("grow").and_then(|e| self.grow(e, corpus.as_deref())),
            state: fields.get("state").and_then(|e| self.state(e, &method)),
            path: path?,
            method,
            corpus,
            handler,
            params,
            path_params,
            response,
        };
        if endpoint.corpus.is_none() && fields.get("corpus").is_none() && endpoint.handler.is_none() {
            let names = "`corpus`, `handler`".to_owned();
            let hint = "a corpus is a file corpus/<name>.json; name it without its ending".to_owned();
            self.document.complain(element, Problem::NoneOf { names }, Some(hint));
        }
        Some(endpoint)
    }

    fn path(&mut self, element: &Element) -> Option<PathTemplate> {
        let text = self.text(element, "a path such as `/v1/orders/{id}`")?;
        match PathTemplate::parse(&text) {
            Ok(path) => Some(path),
            Err(reason) => {
                self.document.complain(element, Problem::BadValue { value: text, reason }, None);
                None
            }
        }
    }

    fn method(&mut self, element: &Element) -> Option<String> {
        let method = self.text(element, "a method such as `GET`")?.to_ascii_uppercase();
        if METHODS.contains(&method.as_str()) {
            return Some(method);
        }
        self.document.not_one_of("method", element, METHODS);
        None
    }

    fn corpus(&mut self, element: &Element) -> Option<String> {
        let name = self.text(element, "the name of a corpus")?;
        let name = name.strip_suffix(".json").unwrap_or(&name).to_owned();
        if !self.corpora.contains_key(&name) {
            let names: Vec<String> = self.corpora.keys().cloned().collect();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            if names.is_empty() {
                let reason = "is no file in the folder `corpus`".to_owned();
                let hint = format!("write corpus/{name}.json: an array of records");
                self.document.complain(element, Problem::BadValue { value: name, reason }, Some(hint));
            } else {
                self.document.not_one_of("corpus", element, &names);
            }
            return None;
        }
        Some(name)
    }

    fn path_params_are_placeholders(&mut self, path: &PathTemplate, given: &Element) {
        let names: Vec<&str> = path.names().collect();
        for entry in given.entries().unwrap_or_default() {
            if !names.contains(&entry.key.as_str()) {
                self.document.unknown_key(&entry, &names);
            }
        }
    }

    fn params(&mut self, element: &Element) -> Vec<Param> {
        let Some(entries) = element.entries() else {
            self.document.expected("a map of parameters", element);
            return Vec::new();
        };
        entries
            .into_iter()
            .filter_map(|entry| Some(Param { role: self.role(&entry)?, name: entry.key }))
            .collect()
    }

    fn role(&mut self, entry: &Entry) -> Option<Role> {
        // A role that needs nothing else may stand alone.
        let fields = match entry.value.text() {
            Some(_) => Fields(Vec::new()),
            None => self.fields(&entry.value, &["role", "field", "op", "options", "default", "max"])?,
        };
        let named = if entry.value.text().is_some() { Some(&entry.value) } else { fields.get("role") };
        let Some(named) = named else {
            self.document.complain(&entry.value, Problem::MissingField { name: "role".into() }, None);
            return None;
        };
        let size = |this: &mut Self| Size {
            default: this.count(&fields, "default").unwrap_or(Size::default().default),
            max: this.count(&fields, "max").unwrap_or(Size::default().max),
        };
        Some(match named.text().unwrap_or_default() {
            "filter" => Role::Filter {
                field: fields
                    .get("field")
                    .and_then(|e| self.text(e, "the name of a field"))
                    .unwrap_or_else(|| entry.key.clone()),
                op: fields.get("op").and_then(|e| self.op(e)).unwrap_or(Op::Eq),
            },
            "sort_by" => Role::SortBy { options: self.options(&fields) },
            "sort_order" => Role::SortOrder { options: self.options(&fields) },
            "page" => Role::Page,
            "per_page" => Role::PerPage(size(self)),
            "offset" => Role::Offset,
            "limit" => Role::Limit(size(self)),
            "cursor" => Role::Cursor,
            "ignore" => Role::Ignore,
            _ => {
                self.document.not_one_of("role", named, ROLES);
                return None;
            }
        })
    }

    fn op(&mut self, element: &Element) -> Option<Op> {
        let found = OPS.iter().find(|(name, _)| Some(*name) == element.text());
        if found.is_none() {
            self.document.not_one_of("op", element, &OPS.map_names());
        }
        found.map(|(_, op)| *op)
    }

    /// What a parameter may say, and what it means: a list of names that mean themselves, or a map.
    fn options(&mut self, fields: &Fields) -> Vec<(String, String)> {
        let Some(element) = fields.get("options") else { return Vec::new() };
        if let Some(items) = element.items() {
            let names = items.iter().filter_map(|item| self.text(item, "a name"));
            return names.map(|name| (name.clone(), name)).collect();
        }
        match element.entries() {
            Some(entries) => entries
                .into_iter()
                .filter_map(|entry| {
                    Some((entry.key.clone(), self.text(&entry.value, "the name of a field")?))
                })
                .collect(),
            None => {
                self.document.expected("a list of names", element);
                Vec::new()
            }
        }
    }

    fn response(&mut self, element: &Element) -> Option<ResponseRules> {
        let fields = self.fields(element, RESPONSE_KEYS)?;
        Some(ResponseRules {
            style: fields.get("pagination_style").and_then(|e| self.style(e)).unwrap_or_default(),
            default_sort: fields.get("default_sort").and_then(|e| self.sort(e)),
            single_entity: self.flag(&fields, "single_entity"),
            wrapper: fields.get("wrapper").and_then(|e| self.wrapper(e)),
            expected_status_codes: fields
                .get("expected_status_codes")
                .map(|e| self.statuses(e))
                .unwrap_or_default(),
            computed: fields.get("computed").map(|e| self.computed(e)).unwrap_or_default(),
            headers: fields.get("headers").map(|e| self.texts(e)).unwrap_or_default(),
            status: fields.get("status").and_then(|e| self.status(e)),
        })
    }

    fn style(&mut self, element: &Element) -> Option<Style> {
        let found = STYLES.iter().find(|(name, _)| Some(*name) == element.text());
        if found.is_none() {
            self.document.not_one_of("pagination_style", element, &STYLES.map_names());
        }
        found.map(|(_, style)| *style)
    }

    fn sort(&mut self, element: &Element) -> Option<Sort> {
        let text = self.text(element, "`field`, `field asc` or `field desc`")?;
        let words: Vec<&str> = text.split_whitespace().collect();
        let descending = match words.as_slice() {
            [_] => Some(false),
            [_, order] if order.eq_ignore_ascii_case("asc") => Some(false),
            [_, order] if order.eq_ignore_ascii_case("desc") => Some(true),
            _ => None,
        };
        let Some(descending) = descending else {
            let reason = "is not a field and a direction".to_owned();
            let hint = "write `field`, `field asc` or `field desc`".to_owned();
            self.document.complain(element, Problem::BadValue { value: text, reason }, Some(hint));
            return None;
        };
        Some(Sort { field: words.first().copied().unwrap_or_default().to_owned(), descending })
    }

    fn wrapper(&mut self, element: &Element) -> Option<Wrapper> {
        let fields = self.fields(element, &["records_key", "extras", "ignore_extra_keys"])?;
        let extras = fields.get("extras").map(|e| match e.entries() {
            Some(entries) => entries.into_iter().map(|e| (e.key, e.value.to_json())).collect(),
            None => {
                self.document.expected("a map of fixed fields", e);
                Vec::new()
            }
        });
        let ignore = fields.get("ignore_extra_keys");
        Some(Wrapper {
            records_key: fields.get("records_key").and_then(|e| self.text(e, "the key of the records")),
            extras: extras.unwrap_or_default(),
            ignore_extra_keys: match ignore.map(|e| (e, e.flag())) {
                None | Some((_, Some(false))) => Some(Vec::new()),
                Some((_, Some(true))) => None,
                Some((e, None)) => Some(self.names(e)),
            },
        })
    }

    fn computed(&mut self, element: &Element) -> Vec<(String, super::description::Told)> {
        let Some(entries) = element.entries() else {
            self.document.expected("a map of places in the body to what is told there", element);
            return Vec::new();
        };
        let mut computed = Vec::new();
        for entry in entries {
            match TOLD.iter().find(|(name, _)| Some(*name) == entry.value.text()) {
                Some((_, told)) => computed.push((entry.key, *told)),
                None => self.document.not_one_of(&entry.key, &entry.value, &TOLD.map_names()),
            }
        }
        computed
    }

    fn statuses(&mut self, element: &Element) -> Vec<u16> {
        match element.items() {
            Some(items) => items.iter().filter_map(|item| self.status(item)).collect(),
            None => self.status(element).into_iter().collect(),
        }
    }

    fn future(&mut self, element: &Element) -> Option<FutureRecords> {
        let fields = self.fields(element, &["cursor_field", "count"])?;
        let Some(field) = fields.get("cursor_field") else {
            self.document.complain(element, Problem::MissingField { name: "cursor_field".into() }, None);
            return None;
        };
        Some(FutureRecords {
            cursor_field: self.text(field, "the name of a field")?,
            // More are no other test.
            count: self.count(&fields, "count").unwrap_or(3).min(10_000),
        })
    }

    pub(super) fn text(&mut self, element: &Element, what: &str) -> Option<String> {
        match element.text().filter(|text| !text.trim().is_empty()) {
            Some(text) => Some(text.to_owned()),
            None => {
                self.document.expected(what, element);
                None
            }
        }
    }

    pub(super) fn names(&mut self, element: &Element) -> Vec<String> {
        match element.items() {
            Some(items) => items.iter().filter_map(|item| self.text(item, "a name")).collect(),
            None => self.text(element, "a name, or a list of names").into_iter().collect(),
        }
    }

    pub(super) fn texts(&mut self, element: &Element) -> Vec<(String, String)> {
        let Some(entries) = element.entries() else {
            self.document.expected("a map of texts", element);
            return Vec::new();
        };
        entries
            .into_iter()
            .filter_map(|entry| Some((entry.key.clone(), self.text(&entry.value, "a text")?)))
            .collect()
    }

    pub(super) fn flag(&mut self, fields: &Fields, key: &str) -> bool {
        let Some(element) = fields.get(key) else { return false };
        element.flag().unwrap_or_else(|| {
            self.document.expected("`true` or `false`", element);
            false
        })
    }

    /// A whole number from 0.
    pub(super) fn count(&mut self, fields: &Fields, key: &str) -> Option<usize> {
        let element = fields.get(key)?;
        let number = element.integer().and_then(|number| usize::try_from(number).ok());
        if number.is_none() {
            self.document.expected("a whole number from 0", element);
        }
        number
    }

    pub(super) fn status(&mut self, element: &Element) -> Option<u16> {
        let number = element.integer().and_then(|number| u16::try_from(number).ok());
        let status = number.filter(|number| (200..600).contains(number));
        if status.is_none() {
            self.document.expected("a status code from 200 to 599", element);
        }
        status
    }

    /// Endpoints that share a corpus cannot make different amounts of it.
    fn grows_alike(&mut self, element: &Element, before: &[Endpoint], endpoint: &Endpoint) {
        let Some(grow) = &endpoint.grow else { return };
        let other = before.iter().filter(|e| e.corpus == endpoint.corpus).find_map(|e| e.grow.as_ref());
        if other.is_some_and(|other| other != grow) {
            let corpus = endpoint.corpus.clone().unwrap_or_default();
            let detail = format!("corpus `{corpus}` grows in another way for an endpoint above");
            let hint = "it grows for all endpoints: say how at one of them".to_owned();
            self.document.complain(element, Problem::Contradiction { detail }, Some(hint));
        }
    }
}

/// The names of a table of names.
pub(super) trait Names {
    fn map_names(&self) -> Vec<&'static str>;
}

impl<T> Names for [(&'static str, T)] {
    fn map_names(&self) -> Vec<&'static str> {
        self.iter().map(|(name, _)| *name).collect()
    }
}
