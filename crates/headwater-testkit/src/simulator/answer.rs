//! One request, from what was asked to what is answered.
//!
//! [`Source::answer`] finds the endpoint, then: credentials, the handler or a change of records where the endpoint has
//! one, the query by the roles of its parameters, the page by its style, the layout of the body, and the `ETag`.

use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use headwater_connect::Clock;
use serde_json::{Map, Value, json};

use super::corpus::{ChangeError, Corpora, Corpus};
use super::description::{
    Auth, AuthPlace, Description, Endpoint, Found, FutureRecords, Refusal, Role, Sort, Style, Told,
};
use super::grow::{instant, instant_like};
use super::handler::{Handler, HandlerRequest};
use super::query::{Filter, Page, Query, SKIP_TOKEN, Selected, cursor, query};
use super::state;
use super::value::{Key, at, set};

/// A request as it came, whichever way.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) method: String,
    /// Scheme and host, such as `https://api.example.org`.
    pub(super) origin: String,
    pub(super) path: String,
    /// As it was written, without the question mark.
    pub(super) raw_query: String,
    pub(super) query: Vec<(String, String)>,
    /// Names in small letters.
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Bytes,
}

impl Asked {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    pub(super) fn has_content(&self, kind: &str) -> bool {
        self.header("content-type").is_some_and(|given| given.to_ascii_lowercase().contains(kind))
    }

    /// The host, with its port where one was given.
    pub(super) fn host(&self) -> &str {
        self.origin.split_once("://").map_or(self.origin.as_str(), |(_, host)| host)
    }

    pub(super) fn path_and_query(&self) -> String {
        if self.raw_query.is_empty() {
            self.path.clone()
        } else {
            format!("{}?{}", self.path, self.raw_query)
        }
    }

    /// The same request with another value of a parameter.
    fn url_with(&self, name: &str, value: &str) -> String {
        let mut pairs: Vec<(&str, &str)> =
            self.query.iter().map(|(n, v)| (n.as_str(), v.as_str())).filter(|(n, _)| *n != name).collect();
        pairs.push((name, value));
        let query = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
        format!("{}{}?{query}", self.origin, self.path)
    }
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Bytes,
}

impl Answer {
    pub(super) fn json(status: u16, body: &Value) -> Self {
        Self::json_text(status, body.to_string())
    }

    /// The same for JSON that is written already.
    fn json_text(status: u16, body: impl Into<Bytes>) -> Self {
        let headers = vec![("content-type".to_owned(), "application/json; charset=utf-8".to_owned())];
        Self { status, headers, body: body.into() }
    }

    pub(super) fn empty(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Bytes::new() }
    }

    pub(super) fn message(status: u16, message: impl Into<String>) -> Self {
        Self::json(status, &json!({"message": message.into(), "simulator": true}))
    }

    pub(super) fn refusal(refusal: &Refusal, otherwise: impl FnOnce() -> Value) -> Self {
        let body = refusal.body.clone().unwrap_or_else(otherwise);
        let mut answer = Self::json(refusal.status, &body);
        answer.headers.extend(refusal.headers.clone());
        answer
    }
}

/// The simulated source: its description and the records as they are now.
pub(super) struct Source {
    pub(super) description: Description,
    pub(super) corpora: Mutex<Corpora>,
    pub(super) handlers: HashMap<String, Handler>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) draw: Mutex<fastrand::Rng>,
}

impl Source {
    pub(super) fn corpus(&self, name: &str) -> Result<Arc<Corpus>, ChangeError> {
        self.corpora.lock().unwrap_or_else(PoisonError::into_inner).get(name)
    }

    /// Answers a request; `ahead` adds records from ahead of now where the endpoint describes them.
    pub(super) fn answer(&self, asked: &Asked, ahead: bool) -> Answer {
        let (endpoint, values) = match self.description.find(&asked.method, &asked.path) {
            Found::Endpoint { endpoint, values, .. } => (endpoint, values),
            Found::Nothing { methods } => return self.not_found(asked, &methods),
        };
        if let Some(refused) = endpoint.auth.as_ref().and_then(|auth| refused(auth, asked)) {
            return refused;
        }
        let answer = self.answer_at(endpoint, asked, &values, ahead).unwrap_or_else(|refused| *refused);
        with_etag(endpoint, asked, answer)
    }

    fn not_found(&self, asked: &Asked, methods: &[String]) -> Answer {
        if !methods.is_empty() {
            let message = format!("{} has no {}; there is {}", asked.path, asked.method, methods.join(", "));
            let mut answer = Answer::message(405, message);
            answer.headers.push(("allow".into(), methods.join(", ")));
            return answer;
        }
        let endpoints = self.description.endpoints.iter();
        let paths: Vec<String> = endpoints.map(|e| format!("{} {}", e.method, e.path.text)).collect();
        let near = nearest(&format!("{} {}", asked.method, asked.path), &paths);
        let near = near.map(|path| format!("; the nearest is {path}")).unwrap_or_default();
        let message = format!("no endpoint answers {} {}{near}", asked.method, asked.path);
        Answer::message(404, message)
    }

    fn answer_at(
        &self,
        endpoint: &Endpoint,
        asked: &Asked,
        values: &[(String, String)],
        ahead: bool,
    ) -> Result<Answer, Box<Answer>> {
        let bad = |message: String| Box::new(Answer::message(400, message));
        if let Some(name) = &endpoint.handler {
            return self.handled(name, endpoint, asked, values);
        }
        if endpoint.strict_params {
            strict(endpoint, asked).map_err(bad)?;
        }
        let given = given(endpoint, asked);
        let query = query(endpoint, &given, values).map_err(bad)?;
        let name = endpoint.corpus.as_deref().unwrap_or_default();
        if let Some(rules) = &endpoint.state {
            let mut draw = self.draw.lock().unwrap_or_else(PoisonError::into_inner);
            let mut corpora = self.corpora.lock().unwrap_or_else(PoisonError::into_inner);
            let change = state::Change { rules, corpus: name, values, query: &query, now: self.clock.now() };
            let changed = change.apply(endpoint, asked, &mut corpora, &mut draw)?;
            return Ok(changed);
        }
        let corpus = self.corpus(name).map_err(|e| Box::new(Answer::message(500, e.to_string())))?;
        if let Some(one) = corpus.one() {
            return Ok(lay_out_one(endpoint, one));
        }
        let future = endpoint.future.as_ref().filter(|_| ahead);
        let records = Records::select(&corpus, &query, future.map(|rules| self.ahead(&corpus, rules)));
        if endpoint.response.single_entity {
            return match records.at(0) {
                Some(record) => Ok(lay_out_one(endpoint, &record)),
                None => Err(Box::new(Answer::message(404, "there is no such record"))),
            };
        }
        Ok(lay_out(endpoint, asked, &query.page, &records))
    }

    fn handled(
        &self,
        name: &str,
        endpoint: &Endpoint,
        asked: &Asked,
        values: &[(String, String)],
    ) -> Result<Answer, Box<Answer>> {
        let Some(handler) = self.handlers.get(name) else {
            let message = format!(
                "{} {} is answered by the handler `{name}`, which this simulator does not have; give it one of \
                 that name, or describe the endpoint without a handler",
                endpoint.method, endpoint.path.text
            );
            return Err(Box::new(Answer::message(501, message)));
        };
        let records = match endpoint.corpus.as_deref().map(|name| self.corpus(name)) {
            Some(Ok(corpus)) => match corpus.one() {
                Some(one) => vec![Arc::new(one.clone())],
                None => corpus.all().collect(),
            },
            _ => Vec::new(),
        };
        let answer = handler(&HandlerRequest {
            method: &asked.method,
            origin: &asked.origin,
            path: &asked.path,
            path_values: values,
            query: &asked.query,
            headers: &asked.headers,
            body: &asked.body,
            records,
        });
        Ok(Answer { status: answer.status, headers: answer.headers, body: answer.body })
    }

    /// Clones of the last record whose cursor lies ahead of now, and further ahead with each request.
    fn ahead(&self, corpus: &Corpus, rules: &FutureRecords) -> Vec<Arc<Value>> {
        let field = rules.cursor_field.as_str();
        let newest_first = Sort { field: field.to_owned(), descending: true };
        let newest = corpus.select(&[], Some(&newest_first)).at(0).and_then(|index| corpus.record(index));
        let Some(newest) = newest else { return Vec::new() };
        let Some(cursor) = at(&newest, field).cloned() else { return Vec::new() };
        (1..=rules.count)
            .map(|i| {
                let mut clone = Value::clone(&newest);
                let hours = chrono::TimeDelta::hours(i64::try_from(i).unwrap_or(1));
                let moved = match instant(&cursor) {
                    // A small number is a count, not a time.
                    Some(_) if cursor.as_i64().is_some_and(|n| n < SMALLEST_TIME) => {
                        json!(self.count_ahead(&cursor) + i64::try_from(i).unwrap_or(1))
                    }
                    Some(_) => instant_like(&cursor, self.clock.now() + hours),
                    None => cursor.clone(),
                };
                set(&mut clone, field, moved);
                Arc::new(clone)
            })
            .collect()
    }

    /// A counting cursor goes on with the clock, so that each request finds something new.
    fn count_ahead(&self, cursor: &Value) -> i64 {
        cursor.as_i64().unwrap_or(0) + self.clock.now().timestamp_millis().rem_euclid(1 << 40)
    }
}

/// Whole numbers below this are no seconds since 1970 (they would lie in 1973).
const SMALLEST_TIME: i64 = 100_000_000;

/// The parameters of a request: of its query, and of the body of a search that is posted.
fn given(endpoint: &Endpoint, asked: &Asked) -> Vec<(String, String)> {
    let mut given = asked.query.clone();
    if endpoint.state.is_none() && asked.method != "GET" {
        if asked.has_content("application/x-www-form-urlencoded") {
            let pairs = url::form_urlencoded::parse(&asked.body);
            given.extend(pairs.map(|(name, value)| (name.into_owned(), value.into_owned())));
        } else if let Ok(Value::Object(fields)) = serde_json::from_slice(&asked.body) {
            let scalars = fields.into_iter().filter(|(_, value)| !value.is_object() && !value.is_null());
            given.extend(scalars.map(|(name, value)| match value {
                Value::Array(items) => {
                    (name, items.iter().map(super::value::text_of).collect::<Vec<_>>().join(","))
                }
                value => (name, super::value::text_of(&value)),
            }));
        }
    }
    given
}

fn strict(endpoint: &Endpoint, asked: &Asked) -> Result<(), String> {
    let known = |name: &str| {
        endpoint.params.iter().any(|param| param.name == name)
            || (endpoint.response.style == Style::ODataNextLink && name == SKIP_TOKEN)
            || matches!(&endpoint.auth, Some(Auth { place: AuthPlace::Query(query), .. }) if query == name)
    };
    match asked.query.iter().find(|(name, _)| !known(name)) {
        Some((name, _)) => {
            let names: Vec<String> = endpoint.params.iter().map(|param| param.name.clone()).collect();
            let near = nearest(name, &names).map(|n| format!("; did you mean `{n}`?")).unwrap_or_default();
            Err(format!("{} has no parameter `{name}`{near}", endpoint.path.text))
        }
        None => Ok(()),
    }
}

/// The answer where the credentials are not those of the description.
fn refused(auth: &Auth, asked: &Asked) -> Option<Answer> {
    let found = match &auth.place {
        AuthPlace::Header(name) => asked.header(name),
        AuthPlace::Query(name) => asked.query.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str()),
    };
    let value = found.and_then(|found| found.strip_prefix(auth.prefix.as_str())).unwrap_or_default();
    let accepted =
        !value.trim().is_empty() && (auth.values.is_empty() || auth.values.iter().any(|v| v == value));
    (!accepted).then(|| Answer::refusal(&auth.refusal, || json!({"message": "bad credentials"})))
}

/// What a query found.
struct Records<'a> {
    corpus: &'a Corpus,
    selected: Selected,
    /// In place of the selection, where records from ahead of now are among them.
    all: Option<Vec<Arc<Value>>>,
}

impl<'a> Records<'a> {
    fn select(corpus: &'a Corpus, query: &Query, ahead: Option<Vec<Arc<Value>>>) -> Self {
        let selected = corpus.select(&query.filters, query.sort.as_ref());
        let all = ahead.filter(|ahead| !ahead.is_empty()).map(|ahead| {
            let places = (0..selected.len()).filter_map(|place| corpus.record(selected.at(place)?));
            let keeps =
                |record: &Arc<Value>| query.filters.iter().all(|f: &Filter| f.keeps(at(record, &f.field)));
            let mut all: Vec<Arc<Value>> = places.chain(ahead.into_iter().filter(keeps)).collect();
            if let Some(sort) = &query.sort {
                all.sort_by_cached_key(|record| SortKey(Key::of(at(record, &sort.field)), sort.descending));
            }
            all
        });
        Self { corpus, selected, all }
    }

    fn len(&self) -> usize {
        self.all.as_ref().map_or(self.selected.len(), Vec::len)
    }

    fn at(&self, place: usize) -> Option<Arc<Value>> {
        match &self.all {
            Some(all) => all.get(place).cloned(),
            None => self.corpus.record(self.selected.at(place)?),
        }
    }

    /// The records of a page as a JSON array, and how many there are.
    fn part(&self, page: &Page) -> (Vec<u8>, usize) {
        let end = page.size.map_or(self.len(), |size| page.start.saturating_add(size)).min(self.len());
        let (mut json, mut count) = (vec![b'['], 0);
        for place in page.start..end {
            let before = json.len();
            if count > 0 {
                json.push(b',');
            }
            let written = match (&self.all, self.selected.at(place)) {
                (None, Some(index)) => self.corpus.write(index, &mut json),
                _ => self
                    .at(place)
                    .is_some_and(|record| serde_json::to_writer(&mut json, record.as_ref()).is_ok()),
            };
            if written { count += 1 } else { json.truncate(before) }
        }
        json.push(b']');
        (json, count)
    }
}

struct SortKey(Key, bool);

impl PartialEq for SortKey {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for SortKey {}

impl PartialOrd for SortKey {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for SortKey {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        if self.1 { other.0.compare(&self.0) } else { self.0.compare(&other.0) }
    }
}

/// One object, in its wrapper where there is one.
pub(super) fn lay_out_one(endpoint: &Endpoint, one: &Value) -> Answer {
    let mut body = one.clone();
    if let Some(wrapper) = &endpoint.response.wrapper {
        if let Some(key) = &wrapper.records_key {
            let mut outer = Value::Object(Map::new());
            set(&mut outer, key, body);
            body = outer;
        }
        wrapper.extras.iter().for_each(|(key, value)| set(&mut body, key, value.clone()));
    }
    finish(endpoint, Answer::json(endpoint.response.status.unwrap_or(200), &body))
}

fn finish(endpoint: &Endpoint, mut answer: Answer) -> Answer {
    answer.headers.extend(endpoint.response.headers.clone());
    answer
}

/// A page of records by the style of the endpoint.
fn lay_out(endpoint: &Endpoint, asked: &Asked, page: &Page, records: &Records<'_>) -> Answer {
    let rules = &endpoint.response;
    let total = records.len();
    let (part, count) = records.part(page);
    let next = Next::of(endpoint, asked, page, total);
    let key = rules.wrapper.as_ref().and_then(|wrapper| wrapper.records_key.as_deref());
    let key = key.or_else(|| (rules.style == Style::ODataNextLink).then_some("value"));
    let body = match key {
        Some(key) => around(endpoint, key, &part, &|told| next.tell(told, page, total, count), &next),
        None => part,
    };
    let mut answer = Answer::json_text(rules.status.unwrap_or(200), body);
    let links =
        rules.style == Style::PageNumberWithLinkHeader || (rules.style == Style::Cursor && key.is_none());
    if let (true, Some(url)) = (links, &next.url) {
        let last = next.last.iter().map(|url| format!(", <{url}>; rel=\"last\""));
        answer.headers.push(("link".into(), format!("<{url}>; rel=\"next\"{}", last.collect::<String>())));
    }
    finish(endpoint, answer)
}

/// Stands for the records while what is around them is written.
const RECORDS: &str = "\u{0}records\u{0}";

/// The object that the records are in, with what it tells beside them.
fn around(endpoint: &Endpoint, key: &str, part: &[u8], tell: &dyn Fn(Told) -> Value, next: &Next) -> Vec<u8> {
    let rules = &endpoint.response;
    let mut outer = Value::Object(Map::new());
    let extras = rules.wrapper.iter().flat_map(|wrapper| &wrapper.extras);
    extras.for_each(|(key, value)| set(&mut outer, key, value.clone()));
    set(&mut outer, key, RECORDS.into());
    for (place, told) in &rules.computed {
        set(&mut outer, place, tell(*told));
    }
    let tells_cursor = |(_, told): &(String, Told)| matches!(told, Told::NextCursor | Told::NextUrl);
    if rules.style == Style::Cursor && !rules.computed.iter().any(tells_cursor) {
        set(&mut outer, "next_cursor", tell(Told::NextCursor));
    }
    if let (Style::ODataNextLink, Some(url), Value::Object(fields)) = (rules.style, &next.url, &mut outer) {
        fields.insert("@odata.nextLink".into(), url.as_str().into());
    }
    let text = outer.to_string();
    let marker = Value::from(RECORDS).to_string();
    let (before, after) = text.split_once(&marker).unwrap_or((&text, ""));
    [before.as_bytes(), part, after.as_bytes()].concat()
}

/// What follows a page.
struct Next {
    at: Option<usize>,
    url: Option<String>,
    last: Option<String>,
}

impl Next {
    fn of(endpoint: &Endpoint, asked: &Asked, page: &Page, total: usize) -> Self {
        let Some(at) = page.next(total) else { return Self { at: None, url: None, last: None } };
        let name = |wanted: fn(&Role) -> bool| {
            endpoint.params.iter().find(|param| wanted(&param.role)).map(|param| param.name.as_str())
        };
        let by_cursor = name(|role| matches!(role, Role::Cursor));
        let by_offset = name(|role| matches!(role, Role::Offset));
        let by_page = name(|role| matches!(role, Role::Page));
        let size = page.size.unwrap_or(1).max(1);
        let (url, last) = match (endpoint.response.style, by_cursor, by_offset, by_page) {
            (Style::PageNumber | Style::PageNumberWithLinkHeader, _, _, page_name) => {
                let page_name = page_name.unwrap_or("page");
                let last = total.div_ceil(size);
                let url = asked.url_with(page_name, &(page.number() + 1).to_string());
                (url, Some(asked.url_with(page_name, &last.to_string())))
            }
            (_, Some(name), _, _) => (asked.url_with(name, &cursor(at)), None),
            (Style::ODataNextLink, None, None, _) => (asked.url_with(SKIP_TOKEN, &cursor(at)), None),
            (Style::Cursor, None, _, _) => (asked.url_with("cursor", &cursor(at)), None),
            (_, None, Some(name), _) => (asked.url_with(name, &at.to_string()), None),
            (_, None, None, Some(name)) => (asked.url_with(name, &(page.number() + 1).to_string()), None),
            (_, None, None, None) => (asked.url_with("offset", &at.to_string()), None),
        };
        Self { at: Some(at), url: Some(url), last }
    }

    fn tell(&self, told: Told, page: &Page, total: usize, count: usize) -> Value {
        match told {
            Told::Total => json!(total),
            Told::Count => json!(count),
            Told::Pages => json!(page.size.map_or(1, |size| total.div_ceil(size.max(1)))),
            Told::Page => json!(page.number()),
            Told::PerPage => json!(page.size.unwrap_or(total)),
            Told::HasMore => json!(self.at.is_some()),
            Told::NextPage => json!(self.at.map(|_| page.number() + 1)),
            Told::NextOffset => json!(self.at),
            Told::NextCursor => json!(self.at.map(cursor)),
            Told::NextUrl => json!(self.url),
        }
    }
}

/// Adds the tag of a body; what the client has already is not sent again.
fn with_etag(endpoint: &Endpoint, asked: &Asked, mut answer: Answer) -> Answer {
    if !endpoint.etag || answer.status != 200 || !matches!(asked.method.as_str(), "GET" | "HEAD") {
        return answer;
    }
    let mut hash = DefaultHasher::new();
    answer.body.hash(&mut hash);
    let tag = format!("\"{:016x}\"", hash.finish());
    let known = asked.header("if-none-match").unwrap_or_default();
    let same = known.split(',').map(str::trim).any(|k| k == "*" || k.strip_prefix("W/").unwrap_or(k) == tag);
    answer.headers.push(("etag".into(), tag));
    if same {
        answer.status = 304;
        answer.body = Bytes::new();
        answer.headers.retain(|(name, _)| name != "content-type");
    }
    answer
}

/// The candidate that is most like `written`.
pub(super) fn nearest<'a>(written: &str, candidates: &'a [String]) -> Option<&'a str> {
    let score = |candidate: &&String| strsim::normalized_levenshtein(written, candidate);
    let best = candidates.iter().max_by(|a, b| score(a).total_cmp(&score(b)))?;
    (score(&best) >= 0.3).then_some(best.as_str())
}
