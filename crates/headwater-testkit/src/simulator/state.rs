//! Requests that change records.

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Value, json};

use super::answer::{Answer, Asked, lay_out_one};
use super::corpus::Corpora;
use super::description::{Action, Endpoint, Op, Role, Setting, StateRules};
use super::grow::uuid;
use super::query::Query;
use super::value::{Key, at, set};

/// A change that an endpoint makes.
pub(super) struct Change<'a> {
    pub(super) rules: &'a StateRules,
    pub(super) corpus: &'a str,
    /// The placeholders of the path.
    pub(super) values: &'a [(String, String)],
    pub(super) query: &'a Query,
    pub(super) now: DateTime<Utc>,
}

impl Change<'_> {
    /// Makes it, and answers as a source would.
    pub(super) fn apply(
        &self,
        endpoint: &Endpoint,
        asked: &Asked,
        corpora: &mut Corpora,
        draw: &mut fastrand::Rng,
    ) -> Result<Answer, Box<Answer>> {
        let failed = |status: u16, message: String| Box::new(Answer::message(status, message));
        let corpus = corpora.get_mut(self.corpus).map_err(|e| failed(500, e.to_string()))?;
        if self.rules.action == Action::Create {
            let mut record = self.body(asked)?;
            self.take_from_path(endpoint, &mut record);
            let next = |field: &str| corpus.next_number(field);
            self.set(&self.rules.set, &mut record, &next, draw);
            corpus.insert(record.clone());
            return Ok(with_status(endpoint, 201, lay_out_one(endpoint, &record)));
        }
        if self.query.filters.is_empty() {
            let message =
                "the description does not say which record is meant: no parameter of the path is a filter";
            return Err(failed(500, message.into()));
        }
        let index = corpus.select(&self.query.filters, None).at(0);
        let found = index.and_then(|index| Some((index, corpus.record(index)?)));
        let Some((index, before)) = found else { return Err(failed(404, "there is no such record".into())) };
        if self.rules.action == Action::Delete {
            corpus.put(index, None);
            if let Some(name) = &self.rules.deleted_to {
                let mut record = Value::clone(&before);
                let deleted = corpora.get_mut(name).map_err(|e| failed(500, e.to_string()))?;
                let next = |field: &str| deleted.next_number(field);
                self.set(&self.rules.deleted_set, &mut record, &next, draw);
                deleted.insert(record);
            }
            return Ok(Answer::empty(endpoint.response.status.unwrap_or(204)));
        }
        let body = self.body(asked)?;
        let mut record = match self.rules.action {
            Action::Replace => body,
            _ => merged(&before, body),
        };
        self.take_from_path(endpoint, &mut record);
        let next = |field: &str| corpus.next_number(field);
        self.set(&self.rules.set, &mut record, &next, draw);
        corpus.put(index, Some(record.clone()));
        Ok(with_status(endpoint, 200, lay_out_one(endpoint, &record)))
    }

    fn body(&self, asked: &Asked) -> Result<Value, Box<Answer>> {
        let bad = |message: String| Box::new(Answer::message(400, message));
        let value: Value = if asked.has_content("application/x-www-form-urlencoded") {
            let pairs = url::form_urlencoded::parse(&asked.body);
            Value::Object(pairs.map(|(name, value)| (name.into_owned(), value.into())).collect())
        } else {
            serde_json::from_slice(&asked.body).map_err(|e| bad(format!("the body is no JSON: {e}")))?
        };
        let value = match &self.rules.body_key {
            Some(key) => at(&value, key).cloned().ok_or_else(|| bad(format!("the body has no `{key}`")))?,
            None => value,
        };
        if value.is_object() { Ok(value) } else { Err(bad("the body is no JSON object".into())) }
    }

    /// A record gets the values that its path says, so that the same path finds it.
    fn take_from_path(&self, endpoint: &Endpoint, record: &mut Value) {
        for param in &endpoint.path_params {
            let Role::Filter { field, op: Op::Eq } = &param.role else { continue };
            let given = self.values.iter().find(|(name, _)| *name == param.name);
            if let (Some((_, value)), None) = (given, at(record, field).filter(|v| !v.is_null())) {
                set(record, field, scalar(value));
            }
        }
    }

    fn set(
        &self,
        settings: &[(String, Setting)],
        record: &mut Value,
        next: &dyn Fn(&str) -> i64,
        draw: &mut fastrand::Rng,
    ) {
        for (field, setting) in settings {
            let value = match setting {
                Setting::Next => json!(next(field)),
                Setting::Uuid => uuid(draw).into(),
                Setting::Now => self.now.to_rfc3339_opts(SecondsFormat::AutoSi, true).into(),
                Setting::NowSeconds => json!(self.now.timestamp()),
                Setting::FromPath(name) => {
                    let found = self.values.iter().find(|(given, _)| given == name);
                    found.map_or(Value::Null, |(_, value)| scalar(value))
                }
                Setting::Fixed(value) => value.clone(),
            };
            set(record, field, value);
        }
    }
}

fn with_status(endpoint: &Endpoint, status: u16, mut answer: Answer) -> Answer {
    answer.status = endpoint.response.status.unwrap_or(status);
    answer
}

/// A value of a path: a number where it reads as one.
fn scalar(text: &str) -> Value {
    match Key::of_text(text) {
        Key::Integer(number) => i64::try_from(number).map_or_else(|_| text.into(), Value::from),
        _ => text.into(),
    }
}

/// The fields of the second in place of those of the first; objects are merged.
pub(super) fn merged(before: &Value, changes: Value) -> Value {
    match (before, changes) {
        (Value::Object(before), Value::Object(changes)) => {
            let mut fields = before.clone();
            for (name, value) in changes {
                let new = match fields.get(&name) {
                    Some(old) => merged(old, value),
                    None => value,
                };
                fields.insert(name, new);
            }
            Value::Object(fields)
        }
        (_, changes) => changes,
    }
}
