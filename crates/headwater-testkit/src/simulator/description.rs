//! What a source is: its endpoints, what their parameters do, how they answer.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use super::faults::Fault;

/// A source as its description says: endpoints and the records behind them.
#[derive(Debug, Clone, Default)]
pub struct Description {
    pub(super) endpoints: Vec<Endpoint>,
    pub(super) corpora: BTreeMap<String, CorpusFile>,
    /// Faults that any endpoint may show.
    pub(super) faults: Vec<Fault>,
    /// A limit that all endpoints share, which have none of their own.
    pub(super) rate_limit: Option<RateLimit>,
}

/// The content of `corpus/<name>.json`.
#[derive(Debug, Clone)]
pub(super) enum CorpusFile {
    Records(Vec<Value>),
    One(Value),
}

/// One endpoint of a source.
#[derive(Debug, Clone)]
pub struct Endpoint {
    pub(super) path: PathTemplate,
    pub(super) method: String,
    pub(super) corpus: Option<String>,
    pub(super) params: Vec<Param>,
    pub(super) path_params: Vec<Param>,
    pub(super) response: ResponseRules,
    pub(super) strict_params: bool,
    pub(super) future: Option<FutureRecords>,
    pub(super) handler: Option<String>,
    pub(super) auth: Option<Auth>,
    pub(super) rate_limit: Option<RateLimit>,
    pub(super) faults: Vec<Fault>,
    pub(super) latency: Option<Latency>,
    pub(super) grow: Option<GrowRules>,
    pub(super) state: Option<StateRules>,
    pub(super) etag: bool,
}

impl Endpoint {
    /// The method.
    pub fn method(&self) -> &str {
        &self.method
    }

    /// The path with its placeholders.
    pub fn path(&self) -> &str {
        &self.path.text
    }

    /// The corpus that it answers from.
    pub fn corpus(&self) -> Option<&str> {
        self.corpus.as_deref()
    }
}

impl Description {
    /// The endpoints, in the order in which they are tried.
    pub fn endpoints(&self) -> &[Endpoint] {
        &self.endpoints
    }

    /// Names of the corpora.
    pub fn corpora(&self) -> impl Iterator<Item = &str> {
        self.corpora.keys().map(String::as_str)
    }

    /// Says whether some endpoint can add records from ahead of now.
    pub fn synthesizes_records(&self) -> bool {
        self.endpoints.iter().any(|endpoint| endpoint.future.is_some())
    }

    /// The first endpoint that answers this method and path, with the values of its placeholders; where only the path
    /// fits, the methods that would.
    pub(super) fn find(&self, method: &str, path: &str) -> Found<'_> {
        let mut methods = Vec::new();
        for (index, endpoint) in self.endpoints.iter().enumerate() {
            let Some(values) = endpoint.path.matches(path) else { continue };
            if endpoint.method == method || (method == "HEAD" && endpoint.method == "GET") {
                return Found::Endpoint { index, endpoint, values };
            }
            methods.push(endpoint.method.clone());
        }
        methods.dedup();
        Found::Nothing { methods }
    }
}

/// What a method and a path lead to.
pub(super) enum Found<'a> {
    Endpoint {
        index: usize,
        endpoint: &'a Endpoint,
        values: Vec<(String, String)>,
    },
    /// Only other methods know the path.
    Nothing {
        methods: Vec<String>,
    },
}

/// A path whose placeholders each stand for one segment.
#[derive(Debug, Clone)]
pub(super) struct PathTemplate {
    pub(super) text: String,
    segments: Vec<Vec<Piece>>,
}

/// A segment may hold more than its placeholder: `{id}.json`.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Value(String),
}

impl PathTemplate {
    /// Reads a path; says what is wrong with it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        // The host is not matched, and may be written.
        let path = match text.split_once("://") {
            Some((_, rest)) => rest.find('/').and_then(|at| rest.get(at..)).unwrap_or("/"),
            None => text,
        };
        if !path.starts_with('/') {
            return Err("does not start with `/`".into());
        }
        if path.contains(['?', '#']) {
            return Err("holds a query; parameters go under `params`".into());
        }
        let mut names: Vec<String> = Vec::new();
        let mut segments = Vec::new();
        for segment in split(path) {
            let pieces = pieces(segment)?;
            for piece in &pieces {
                let Piece::Value(name) = piece else { continue };
                if names.contains(name) {
                    return Err(format!("has the placeholder `{{{name}}}` twice"));
                }
                names.push(name.clone());
            }
            segments.push(pieces);
        }
        Ok(Self { text: path.to_owned(), segments })
    }

    /// The names of its placeholders.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.segments.iter().flatten().filter_map(|piece| match piece {
            Piece::Value(name) => Some(name.as_str()),
            Piece::Text(_) => None,
        })
    }

    /// The values of its placeholders, where the path is one of this form.
    pub(super) fn matches(&self, path: &str) -> Option<Vec<(String, String)>> {
        let segments: Vec<&str> = split(path).collect();
        if segments.len() != self.segments.len() {
            return None;
        }
        let mut values = Vec::new();
        for (pieces, segment) in self.segments.iter().zip(segments) {
            let segment = decoded(segment);
            let mut rest = segment.as_str();
            for (i, piece) in pieces.iter().enumerate() {
                match piece {
                    Piece::Text(text) => rest = rest.strip_prefix(text.as_str())?,
                    Piece::Value(name) => {
                        let end = match pieces.get(i + 1) {
                            Some(Piece::Text(text)) => rest.find(text.as_str())?,
                            _ => rest.len(),
                        };
                        let (value, after) = rest.split_at_checked(end).filter(|(v, _)| !v.is_empty())?;
                        values.push((name.clone(), value.to_owned()));
                        rest = after;
                    }
                }
            }
            if !rest.is_empty() {
                return None;
            }
        }
        Some(values)
    }
}

/// The segments of a path; a slash at the end makes none.
fn split(path: &str) -> impl Iterator<Item = &str> {
    let path = path.strip_prefix('/').unwrap_or(path);
    path.strip_suffix('/').unwrap_or(path).split('/')
}

fn pieces(segment: &str) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut rest = segment;
    while let Some((before, after)) = rest.split_once('{') {
        let (name, after) = after.split_once('}').ok_or("has a `{` without its `}`")?;
        if name.is_empty() {
            return Err("has a placeholder without a name".into());
        }
        if before.is_empty() && matches!(pieces.last(), Some(Piece::Value(_))) {
            return Err("has two placeholders with nothing between them".into());
        }
        if !before.is_empty() {
            pieces.push(Piece::Text(before.to_owned()));
        }
        pieces.push(Piece::Value(name.to_owned()));
        rest = after;
    }
    if rest.contains('}') {
        return Err("has a `}` without its `{`".into());
    }
    if !rest.is_empty() || pieces.is_empty() {
        pieces.push(Piece::Text(rest.to_owned()));
    }
    Ok(pieces)
}

/// Undoes the percent encoding of a path's segment; a plus stays one.
pub(super) fn decoded(segment: &str) -> String {
    if !segment.contains('%') {
        return segment.to_owned();
    }
    let plus = segment.replace('+', "%2B");
    url::form_urlencoded::parse(plus.as_bytes()).map(|(name, _)| name.into_owned()).next().unwrap_or_default()
}

/// A parameter and what it does.
#[derive(Debug, Clone)]
pub(super) struct Param {
    pub(super) name: String,
    pub(super) role: Role,
}

#[derive(Debug, Clone)]
pub(super) enum Role {
    Filter { field: String, op: Op },
    SortBy { options: Vec<(String, String)> },
    SortOrder { options: Vec<(String, String)> },
    Page,
    PerPage(Size),
    Offset,
    Limit(Size),
    Cursor,
    Ignore,
}

/// The names of the roles, as descriptions write them.
pub(super) const ROLES: &[&str] =
    &["filter", "sort_by", "sort_order", "page", "per_page", "offset", "limit", "cursor", "ignore"];

/// How many records a page has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) default: usize,
    pub(super) max: usize,
}

impl Default for Size {
    fn default() -> Self {
        Self { default: 30, max: 100 }
    }
}

/// How a record's field compares with the value of a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Op {
    Eq,
    Ne,
    Gt,
    Gte,
    Lt,
    Lte,
    In,
    Contains,
    StartsWith,
    EndsWith,
    /// From one value to another, both inclusive: `a..b`, with `*` for an open end.
    Range,
}

/// The operators, as descriptions write them.
pub(super) const OPS: &[(&str, Op)] = &[
    ("eq", Op::Eq),
    ("ne", Op::Ne),
    ("gt", Op::Gt),
    ("gte", Op::Gte),
    ("lt", Op::Lt),
    ("lte", Op::Lte),
    ("in", Op::In),
    ("contains", Op::Contains),
    ("starts_with", Op::StartsWith),
    ("ends_with", Op::EndsWith),
    ("range", Op::Range),
];

/// How an endpoint lays out its answer.
#[derive(Debug, Clone, Default)]
pub(super) struct ResponseRules {
    pub(super) style: Style,
    pub(super) default_sort: Option<Sort>,
    pub(super) single_entity: bool,
    pub(super) wrapper: Option<Wrapper>,
    pub(super) expected_status_codes: Vec<u16>,
    /// Dotted place in the body, and what is told there.
    pub(super) computed: Vec<(String, Told)>,
    pub(super) headers: Vec<(String, String)>,
    pub(super) status: Option<u16>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Style {
    #[default]
    None,
    PageNumber,
    PageNumberWithLinkHeader,
    OffsetLimit,
    Cursor,
    ODataNextLink,
}

/// The pagination styles, as descriptions write them.
pub(super) const STYLES: &[(&str, Style)] = &[
    ("none", Style::None),
    ("page_number", Style::PageNumber),
    ("page_number_with_link_header", Style::PageNumberWithLinkHeader),
    ("offset_limit", Style::OffsetLimit),
    ("cursor", Style::Cursor),
    ("odata_next_link", Style::ODataNextLink),
];

/// An order of records.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Sort {
    pub(super) field: String,
    pub(super) descending: bool,
}

#[derive(Debug, Clone)]
pub(super) struct Wrapper {
    pub(super) records_key: Option<String>,
    pub(super) extras: Vec<(String, Value)>,
    /// Keys beside the records that a comparison with a live answer leaves out; `None` is all of them.
    pub(super) ignore_extra_keys: Option<Vec<String>>,
}

/// What an answer can tell about the page that it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    Total,
    Count,
    Pages,
    Page,
    PerPage,
    HasMore,
    NextPage,
    NextOffset,
    NextCursor,
    NextUrl,
}

/// What can be told, as descriptions write it.
pub(super) const TOLD: &[(&str, Told)] = &[
    ("total", Told::Total),
    ("count", Told::Count),
    ("pages", Told::Pages),
    ("page", Told::Page),
    ("per_page", Told::PerPage),
    ("has_more", Told::HasMore),
    ("next_page", Told::NextPage),
    ("next_offset", Told::NextOffset),
    ("next_cursor", Told::NextCursor),
    ("next_url", Told::NextUrl),
];

/// Records from ahead of now.
#[derive(Debug, Clone)]
pub(super) struct FutureRecords {
    pub(super) cursor_field: String,
    pub(super) count: usize,
}

/// What must be there for an answer, and the answer where it is not.
#[derive(Debug, Clone)]
pub(super) struct Auth {
    pub(super) place: AuthPlace,
    pub(super) prefix: String,
    /// Any value where there is none.
    pub(super) values: Vec<String>,
    pub(super) refusal: Refusal,
}

#[derive(Debug, Clone)]
pub(super) enum AuthPlace {
    Header(String),
    Query(String),
}

/// An answer without records.
#[derive(Debug, Clone)]
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) body: Option<Value>,
    pub(super) headers: Vec<(String, String)>,
}

/// How many requests a source takes.
#[derive(Debug, Clone)]
pub(super) struct RateLimit {
    pub(super) requests: u32,
    pub(super) window: Duration,
    /// Requests at the same time.
    pub(super) concurrent: Option<u32>,
    pub(super) retry_after: RetryAfter,
    /// Names of the headers that tell limit, what is left, and when it is whole again.
    pub(super) limit_header: Option<String>,
    pub(super) remaining_header: Option<String>,
    pub(super) reset_header: Option<String>,
    /// The reset as seconds from now, in place of the time since 1970.
    pub(super) reset_in_seconds: bool,
    /// An answer 304 counts like another.
    pub(super) counts_not_modified: bool,
    pub(super) refusal: Refusal,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RetryAfter {
    Seconds,
    Date,
    None,
}

/// How long an answer takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Latency {
    pub(super) min: Duration,
    pub(super) max: Duration,
}

/// Many records made of few.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct GrowRules {
    pub(super) records: usize,
    pub(super) keys: Vec<String>,
    pub(super) times: Vec<String>,
    pub(super) step: Duration,
}

/// How a request changes the corpus.
#[derive(Debug, Clone)]
pub(super) struct StateRules {
    pub(super) action: Action,
    /// Where in the body the record is.
    pub(super) body_key: Option<String>,
    pub(super) set: Vec<(String, Setting)>,
    /// Where deleted records go.
    pub(super) deleted_to: Option<String>,
    pub(super) deleted_set: Vec<(String, Setting)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    Create,
    Replace,
    Update,
    Delete,
}

/// The actions, as descriptions write them.
pub(super) const ACTIONS: &[(&str, Action)] = &[
    ("create", Action::Create),
    ("replace", Action::Replace),
    ("update", Action::Update),
    ("delete", Action::Delete),
];

/// What a field of a changed record is set to.
#[derive(Debug, Clone)]
pub(super) enum Setting {
    /// One more than the largest that is there.
    Next,
    Uuid,
    /// The time of the request, in ISO form.
    Now,
    /// The same in seconds since 1970.
    NowSeconds,
    /// A placeholder of the path.
    FromPath(String),
    Fixed(Value),
}

#[cfg(test)]
mod tests {
    use super::PathTemplate;

    #[test]
    fn paths_match_segment_by_segment() {
        let check = |template: &str, path: &str, expect: Option<&[(&str, &str)]>| {
            let found = PathTemplate::parse(template).unwrap().matches(path);
            let expect = expect
                .map(|list| list.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect::<Vec<_>>());
            assert_eq!(found, expect, "{template} {path}");
        };
        check("/v1/orders", "/v1/orders", Some(&[]));
        check("/v1/orders", "/v1/orders/", Some(&[]));
        check("/v1/orders", "/v1/orders/7", None);
        check("/v1/orders/{id}", "/v1/orders/7", Some(&[("id", "7")]));
        check("/v1/orders/{id}", "/v1/orders/", None);
        check("/v1/{a}/{b}", "/v1/x%2Fy/z+w", Some(&[("a", "x/y"), ("b", "z+w")]));
        check("/v1/{id}.json", "/v1/ab.json", Some(&[("id", "ab")]));
        check("/v1/{id}.json", "/v1/ab.xml", None);
        check("/v1/X('{id}')", "/v1/X('7')", Some(&[("id", "7")]));
        check("https://api.example.org/v1/{id}", "/v1/7", Some(&[("id", "7")]));
        check("/", "/", Some(&[]));
    }

    #[test]
    fn paths_that_cannot_be_are_told() {
        for (template, expect) in [
            ("orders", "does not start"),
            ("/a?b=c", "holds a query"),
            ("/{a", "without its `}`"),
            ("/a}", "without its `{`"),
            ("/{}", "without a name"),
            ("/{a}/{a}", "twice"),
            ("/{a}{b}", "nothing between"),
        ] {
            let reason = PathTemplate::parse(template).unwrap_err();
            assert!(reason.contains(expect), "{template}: {reason}");
        }
    }
}
