//! Walks over lists that can only be asked for by time: recent changes and the log.
//!
//! A row can become visible after a later one, and many rows share a second. So each walk begins a while before
//! where the last one ended, and passes over the rows whose ids it has met. The mark holds those ids.

use std::collections::{BTreeSet, VecDeque};

use chrono::{DateTime, TimeDelta, Utc};
use headwater_connect::ConnectorError;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::api::{Answer, Params};
use crate::query::Query;
use crate::session::{Wiki, api_time};

/// After so many new rows a read names an offset.
const ROWS_PER_READ: usize = 5_000;

/// Where a walk stands.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TimeMark {
    /// The time of the latest row that was met.
    #[serde(serialize_with = "write_time", deserialize_with = "read_time")]
    pub(crate) at: Option<DateTime<Utc>>,
    /// The time from which on `seen` is complete.
    #[serde(serialize_with = "write_time", deserialize_with = "read_time")]
    pub(crate) since: Option<DateTime<Utc>>,
    /// The ids of the rows that were met from then on.
    pub(crate) seen: BTreeSet<u64>,
}

/// A list of the API that is ordered by time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TimeList {
    RecentChanges,
    LogEvents,
}

impl TimeList {
    /// Name, prefix of the parameters, name of the id.
    fn names(self) -> (&'static str, &'static str) {
        match self {
            TimeList::RecentChanges => ("recentchanges", "rc"),
            TimeList::LogEvents => ("logevents", "le"),
        }
    }

    /// The place of the rows in an answer.
    pub(crate) fn pointer(self) -> &'static str {
        match self {
            TimeList::RecentChanges => "/query/recentchanges",
            TimeList::LogEvents => "/query/logevents",
        }
    }
}

/// What is asked for.
#[derive(Debug, Clone)]
pub(crate) struct TimeQuery {
    pub(crate) list: TimeList,
    /// Parameters beside those of time, order and size.
    pub(crate) params: Params,
    pub(crate) limit: String,
    /// Nothing earlier counts.
    pub(crate) start: Option<DateTime<Utc>>,
    /// Nothing later counts.
    pub(crate) until: DateTime<Utc>,
    pub(crate) lookback: TimeDelta,
}

/// One answer of a walk.
#[derive(Debug)]
pub(crate) struct TimePage {
    pub(crate) answer: Answer,
    /// For each row, whether it was met for the first time.
    pub(crate) fresh: Vec<bool>,
}

#[derive(Debug, Default, Deserialize)]
struct Rows {
    #[serde(default)]
    recentchanges: Vec<Row>,
    #[serde(default)]
    logevents: Vec<Row>,
}

#[derive(Debug, Deserialize)]
struct Row {
    #[serde(default)]
    rcid: u64,
    #[serde(default)]
    logid: u64,
    timestamp: DateTime<Utc>,
}

/// The part of a walk that belongs to one read.
#[derive(Debug)]
pub(crate) struct TimeWalk {
    /// `None` where nothing can be there yet.
    query: Option<Query>,
    list: TimeList,
    lookback: TimeDelta,
    /// Where it started.
    mark: TimeMark,
    window: VecDeque<(DateTime<Utc>, u64)>,
    at: Option<DateTime<Utc>>,
    fresh_rows: usize,
}

impl TimeWalk {
    pub(crate) fn new(query: TimeQuery, mark: TimeMark) -> Self {
        let (name, prefix) = query.list.names();
        // Clocks of a wiki's servers differ; what was met is met again, or it would be taken for new later.
        let until = mark.at.map_or(query.until, |at| at.max(query.until));
        let from = mark.at.map(|at| at - query.lookback).max(mark.since).max(query.start);
        let mut params = query.params;
        let mut add = |name: &str, value: String| params.push((format!("{prefix}{name}"), value));
        add("dir", "newer".into());
        add("limit", query.limit);
        add("end", api_time(until));
        if let Some(from) = from {
            add("start", api_time(from));
        }
        params.push(("list".into(), name.into()));
        let at = mark.at;
        Self {
            query: from.is_none_or(|from| from <= until).then(|| Query::new(params)),
            list: query.list,
            lookback: query.lookback,
            mark,
            window: VecDeque::new(),
            at,
            fresh_rows: 0,
        }
    }

    /// The next answer; `None` at the end of the read.
    pub(crate) async fn next(&mut self, wiki: &Wiki) -> Result<Option<TimePage>, ConnectorError> {
        let has_passed = self.window.back().is_some_and(|(at, _)| Some(*at) > self.mark.at);
        if has_passed && self.fresh_rows >= ROWS_PER_READ {
            return Ok(None);
        }
        let Some(query) = &mut self.query else { return Ok(None) };
        let Some(answer) = query.ask(wiki).await? else { return Ok(None) };
        let rows: Rows = answer.query()?;
        let rows: Vec<(DateTime<Utc>, u64)> = match self.list {
            TimeList::RecentChanges => {
                rows.recentchanges.iter().map(|row| (row.timestamp, row.rcid)).collect()
            }
            TimeList::LogEvents => rows.logevents.iter().map(|row| (row.timestamp, row.logid)).collect(),
        };
        if rows.iter().any(|(_, id)| *id == 0) {
            return Err(answer.unusable("holds a row without its id"));
        }
        Ok(Some(TimePage { answer, fresh: self.take(rows) }))
    }

    /// Takes note of rows; says which are met for the first time.
    fn take(&mut self, rows: Vec<(DateTime<Utc>, u64)>) -> Vec<bool> {
        let fresh: Vec<bool> = rows.iter().map(|(_, id)| !self.mark.seen.contains(id)).collect();
        self.fresh_rows += fresh.iter().filter(|fresh| **fresh).count();
        for (at, id) in rows {
            self.at = self.at.max(Some(at));
            self.window.push_back((at, id));
        }
        let since = self.since();
        while self.window.front().is_some_and(|(at, _)| Some(*at) < since) {
            self.window.pop_front();
        }
        fresh
    }

    /// The time from which on the window is complete.
    fn since(&self) -> Option<DateTime<Utc>> {
        self.at.map(|at| at - self.lookback).max(self.mark.since)
    }

    /// Where the walk stands now.
    pub(crate) fn into_mark(self) -> TimeMark {
        if self.window.is_empty() {
            return self.mark;
        }
        let since = self.since();
        TimeMark { at: self.at, since, seen: self.window.into_iter().map(|(_, id)| id).collect() }
    }
}

#[allow(clippy::ref_option, reason = "serde gives a reference to the field")]
fn write_time<S: Serializer>(at: &Option<DateTime<Utc>>, serializer: S) -> Result<S::Ok, S::Error> {
    at.map(api_time).serialize(serializer)
}

fn read_time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<DateTime<Utc>>, D::Error> {
    Option::<DateTime<Utc>>::deserialize(deserializer)
}
