//! Reads what our descriptions add: credentials, rate limits, faults, latency, growth, changes.

use std::time::Duration;

use headwater_spec::Problem;
use headwater_spec::document::Element;
use serde_json::Value;

use super::description::{
    ACTIONS, Action, Auth, AuthPlace, CorpusFile, GrowRules, Latency, RateLimit, Refusal, RetryAfter,
    Setting, StateRules,
};
use super::faults::{Fault, FaultKind, KINDS, When};
use super::load::{Fields, Loader, Names};

const AUTH_KEYS: &[&str] = &["header", "query", "prefix", "values", "status", "body", "headers"];
const RATE_KEYS: &[&str] = &[
    "requests",
    "window_seconds",
    "concurrent",
    "status",
    "retry_after",
    "headers",
    "reset",
    "not_modified_counts",
    "body",
];
const FAULT_KEYS: &[&str] =
    &["kind", "probability", "nth", "every", "first", "status", "delay_ms", "retry_after", "body"];

/// Records are numbered with fewer bits than a count has.
const MOST_RECORDS: usize = 1_000_000_000;

impl Loader {
    /// `None` when it is wrong, `Some(None)` when it is switched off.
    #[allow(clippy::option_option, reason = "wrong and switched off are told apart")]
    pub(super) fn auth(&mut self, element: &Element) -> Option<Option<Auth>> {
        if element.flag() == Some(false) {
            return Some(None);
        }
        let fields = self.fields(element, AUTH_KEYS)?;
        let header = fields.get("header").and_then(|e| self.text(e, "the name of a header"));
        let query = fields.get("query").and_then(|e| self.text(e, "the name of a parameter"));
        let place = match (header, query) {
            (Some(header), None) => AuthPlace::Header(header),
            (None, Some(query)) => AuthPlace::Query(query),
            (Some(_), Some(_)) => {
                let problem = Problem::Exclusive { first: "header".into(), second: "query".into() };
                self.document.complain(element, problem, None);
                return None;
            }
            (None, None) => {
                let names = "`header`, `query`".to_owned();
                self.document.complain(element, Problem::NoneOf { names }, None);
                return None;
            }
        };
        let mut refusal = self.refusal(&fields, 401);
        refusal.headers = fields.get("headers").map(|e| self.texts(e)).unwrap_or_default();
        Some(Some(Auth {
            place,
            // A blank at its end counts, so it is taken as it is.
            prefix: fields.get("prefix").and_then(Element::text).unwrap_or_default().to_owned(),
            values: fields.get("values").map(|e| self.names(e)).unwrap_or_default(),
            refusal,
        }))
    }

    fn refusal(&mut self, fields: &Fields, status: u16) -> Refusal {
        Refusal {
            status: fields.get("status").and_then(|e| self.status(e)).unwrap_or(status),
            body: fields.get("body").map(Element::to_json),
            headers: Vec::new(),
        }
    }

    #[allow(clippy::option_option, reason = "wrong and switched off are told apart")]
    pub(super) fn rate_limit(&mut self, element: &Element) -> Option<Option<RateLimit>> {
        if element.flag() == Some(false) {
            return Some(None);
        }
        let fields = self.fields(element, RATE_KEYS)?;
        let requests = self.count(&fields, "requests").and_then(|n| u32::try_from(n).ok());
        let concurrent = self.count(&fields, "concurrent").and_then(|n| u32::try_from(n).ok());
        if requests.is_none() && concurrent.is_none() {
            let names = "`requests`, `concurrent`".to_owned();
            self.document.complain(element, Problem::NoneOf { names }, None);
            return None;
        }
        let window = match fields.get("window_seconds") {
            Some(e) => self.seconds(e)?,
            None => Duration::from_secs(60),
        };
        let retry_after = match fields.get("retry_after").map(|e| (e, e.text())) {
            None | Some((_, Some("seconds"))) => RetryAfter::Seconds,
            Some((_, Some("date"))) => RetryAfter::Date,
            Some((_, Some("none"))) => RetryAfter::None,
            Some((e, _)) => {
                self.document.not_one_of("retry_after", e, &["seconds", "date", "none"]);
                return None;
            }
        };
        let reset_in_seconds = match fields.get("reset").map(|e| (e, e.text())) {
            None | Some((_, Some("epoch"))) => false,
            Some((_, Some("seconds"))) => true,
            Some((e, _)) => {
                self.document.not_one_of("reset", e, &["epoch", "seconds"]);
                return None;
            }
        };
        let headers = fields.get("headers").and_then(|e| self.fields(e, &["limit", "remaining", "reset"]));
        let mut header = |key: &str| match &headers {
            Some(headers) => headers.get(key).and_then(|e| self.text(e, "the name of a header")),
            None => None,
        };
        let (limit_header, remaining_header, reset_header) =
            (header("limit"), header("remaining"), header("reset"));
        let counts_not_modified = match fields.get("not_modified_counts") {
            Some(_) => self.flag(&fields, "not_modified_counts"),
            None => true,
        };
        Some(Some(RateLimit {
            requests: requests.unwrap_or(u32::MAX),
            window,
            concurrent,
            retry_after,
            limit_header,
            remaining_header,
            reset_header,
            reset_in_seconds,
            counts_not_modified,
            refusal: self.refusal(&fields, 429),
        }))
    }

    fn seconds(&mut self, element: &Element) -> Option<Duration> {
        let seconds = element.number().filter(|n| *n > 0.0).and_then(|n| Duration::try_from_secs_f64(n).ok());
        if seconds.is_none() {
            self.document.expected("a number of seconds above 0", element);
        }
        seconds
    }

    fn millis(&mut self, element: &Element) -> Option<Duration> {
        let millis = element.integer().and_then(|number| u64::try_from(number).ok());
        if millis.is_none() {
            self.document.expected("a number of milliseconds", element);
        }
        millis.map(Duration::from_millis)
    }

    pub(super) fn latency(&mut self, element: &Element) -> Option<Latency> {
        if element.entries().is_none() {
            let fixed = self.millis(element)?;
            return Some(Latency { min: fixed, max: fixed });
        }
        let fields = self.fields(element, &["min", "max"])?;
        let min = fields.get("min").and_then(|e| self.millis(e)).unwrap_or_default();
        let max = fields.get("max").and_then(|e| self.millis(e)).unwrap_or(min);
        if max < min {
            let detail = "`max` is below `min`".to_owned();
            self.document.complain(element, Problem::Contradiction { detail }, None);
            return None;
        }
        Some(Latency { min, max })
    }

    pub(super) fn faults(&mut self, element: &Element) -> Vec<Fault> {
        match element.items() {
            Some(items) => items.iter().filter_map(|item| self.fault(item)).collect(),
            None => {
                self.document.expected("a list of faults", element);
                Vec::new()
            }
        }
    }

    fn fault(&mut self, element: &Element) -> Option<Fault> {
        let fields = self.fields(element, FAULT_KEYS)?;
        let Some(kind) = fields.get("kind") else {
            let problem = Problem::MissingField { name: "kind".into() };
            self.document.complain(element, problem, Some(format!("one of {}", KINDS.join(", "))));
            return None;
        };
        let delay = fields.get("delay_ms").and_then(|e| self.millis(e));
        let kind = match kind.text().unwrap_or_default() {
            "status" => FaultKind::Status(fields.get("status").and_then(|e| self.status(e)).unwrap_or(500)),
            "delay" => FaultKind::Delay(delay.unwrap_or(Duration::from_secs(1))),
            "slow_body" => FaultKind::SlowBody(delay.unwrap_or(Duration::from_secs(1))),
            "truncate" => FaultKind::TruncatedBody,
            "reset" => FaultKind::Reset,
            "invalid_json" => FaultKind::InvalidJson,
            _ => {
                self.document.not_one_of("kind", kind, KINDS);
                return None;
            }
        };
        let mut fault = Fault::new(kind, self.when(element, &fields)?);
        if let Some(seconds) = self.count(&fields, "retry_after") {
            fault = fault.retry_after(Duration::from_secs(seconds as u64));
        }
        if let Some(body) = fields.get("body") {
            fault = fault.body(body.to_json());
        }
        Some(fault)
    }

    fn when(&mut self, element: &Element, fields: &Fields) -> Option<When> {
        let given: Vec<&str> = ["probability", "nth", "every", "first"]
            .into_iter()
            .filter(|k| fields.get(k).is_some())
            .collect();
        match given.as_slice() {
            [] => Some(When::Always),
            ["probability"] => {
                let e = fields.get("probability")?;
                let share = e.number().filter(|share| (0.0..=1.0).contains(share));
                if share.is_none() {
                    self.document.expected("a number from 0 to 1", e);
                }
                share.map(When::Probability)
            }
            [key] => {
                let e = fields.get(key)?;
                let number = e.integer().and_then(|n| u64::try_from(n).ok()).filter(|n| *n > 0);
                if number.is_none() {
                    self.document.expected("a whole number from 1", e);
                }
                match *key {
                    "nth" => number.map(When::Nth),
                    "every" => number.map(When::Every),
                    _ => number.map(When::First),
                }
            }
            [first, second, ..] => {
                let problem = Problem::Exclusive { first: (*first).into(), second: (*second).into() };
                self.document.complain(element, problem, None);
                None
            }
        }
    }

    pub(super) fn grow(&mut self, element: &Element, corpus: Option<&str>) -> Option<GrowRules> {
        let fields = self.fields(element, &["records", "keys", "times", "step_seconds"])?;
        let Some(records) = self.count(&fields, "records") else {
            if fields.get("records").is_none() {
                self.document.complain(element, Problem::MissingField { name: "records".into() }, None);
            }
            return None;
        };
        if records > MOST_RECORDS {
            let reason = format!("is more than {MOST_RECORDS}");
            let problem = Problem::BadValue { value: records.to_string(), reason };
            self.document.complain(fields.get("records").unwrap_or(element), problem, None);
            return None;
        }
        let step = match fields.get("step_seconds") {
            Some(e) => self.seconds(e)?,
            None => Duration::from_secs(60),
        };
        let keys = fields.get("keys").map_or_else(|| vec!["id".to_owned()], |e| self.names(e));
        let times = fields.get("times").map(|e| self.names(e)).unwrap_or_default();
        let about = fields.get("keys").unwrap_or(element);
        let base = corpus.and_then(|name| self.corpora.get(name));
        let complaint = match base {
            Some(CorpusFile::One(_)) => Some("the corpus is one object, which cannot grow".to_owned()),
            Some(CorpusFile::Records(base)) if base.is_empty() => Some("the corpus is empty".to_owned()),
            Some(CorpusFile::Records(base)) => keys
                .iter()
                .chain(&times)
                .find(|key| {
                    base.iter().any(|record| super::value::at(record, key).is_none_or(Value::is_null))
                })
                .map(|key| format!("a record of the corpus has no `{key}`")),
            None => None,
        };
        if let Some(detail) = complaint {
            let hint = "name the fields that are a record's key under `keys`".to_owned();
            self.document.complain(about, Problem::Contradiction { detail }, Some(hint));
            return None;
        }
        Some(GrowRules { records, keys, times, step })
    }

    pub(super) fn state(&mut self, element: &Element, method: &str) -> Option<StateRules> {
        let by_method = match method {
            "POST" => Some(Action::Create),
            "PUT" => Some(Action::Replace),
            "PATCH" => Some(Action::Update),
            "DELETE" => Some(Action::Delete),
            _ => None,
        };
        let fields = match element.flag() {
            Some(false) => return None,
            Some(true) => None,
            None => Some(self.fields(element, &["action", "body_key", "set", "deleted_to", "deleted_set"])?),
        };
        let fields = fields.as_ref();
        let action = match fields.and_then(|f| f.get("action")) {
            Some(e) => match ACTIONS.iter().find(|(name, _)| Some(*name) == e.text()) {
                Some((_, action)) => Some(*action),
                None => {
                    self.document.not_one_of("action", e, &ACTIONS.map_names());
                    return None;
                }
            },
            None => by_method,
        };
        let Some(action) = action else {
            let detail = format!("{method} changes nothing by itself");
            let hint = "name an `action`: create, replace, update or delete".to_owned();
            self.document.complain(element, Problem::Contradiction { detail }, Some(hint));
            return None;
        };
        let deleted_to = fields.and_then(|f| f.get("deleted_to")).and_then(|e| self.text(e, "a corpus"));
        Some(StateRules {
            action,
            body_key: fields.and_then(|f| f.get("body_key")).and_then(|e| self.text(e, "a key")),
            set: fields.and_then(|f| f.get("set")).map(|e| self.settings(e)).unwrap_or_default(),
            deleted_to,
            deleted_set: fields
                .and_then(|f| f.get("deleted_set"))
                .map(|e| self.settings(e))
                .unwrap_or_default(),
        })
    }

    fn settings(&mut self, element: &Element) -> Vec<(String, Setting)> {
        let Some(entries) = element.entries() else {
            self.document.expected("a map of fields to what they are set to", element);
            return Vec::new();
        };
        let setting = |value: &Element| match value.text() {
            Some("next") => Setting::Next,
            Some("uuid") => Setting::Uuid,
            Some("now") => Setting::Now,
            Some("now_seconds") => Setting::NowSeconds,
            Some(text) if text.len() > 2 && text.starts_with('{') && text.ends_with('}') => {
                Setting::FromPath(text.trim_matches(['{', '}']).to_owned())
            }
            _ => Setting::Fixed(value.to_json()),
        };
        entries.into_iter().map(|entry| (entry.key, setting(&entry.value))).collect()
    }
}
