//! The table `revisions`: every revision that the wiki has, in the order in which they were stored.

use std::collections::HashSet;

use async_stream::try_stream;
use chrono::{DateTime, Utc};
use headwater_connect::{ConnectorError, Offset, Page, PageStream, ReadItem};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::api::{Answer, Params, params};
use crate::connector::{offset, read_offset};
use crate::id_walk::{IdWalk, RevisionMark};
use crate::query::Query;
use crate::session::{Wiki, joined};
use crate::settings::TableSettings;

#[derive(Debug, Default, Deserialize)]
struct Found {
    #[serde(default)]
    pages: Vec<FoundPage>,
}

#[derive(Debug, Deserialize)]
struct FoundPage {
    pageid: Option<u64>,
    ns: Option<i64>,
    title: Option<Value>,
    #[serde(default)]
    revisions: Vec<Map<String, Value>>,
}

/// Reads from `start` to the end of what there was when the instance first looked, or a part of it.
pub(crate) fn read<'a>(wiki: &'a Wiki, settings: TableSettings, start: Option<&'a Offset>) -> PageStream<'a> {
    Box::pin(try_stream! {
        let bounds = wiki.revision_bounds().await?;
        let mark: RevisionMark = match read_offset(start)? {
            Some(mark) => mark,
            None => first_mark(wiki, &settings, bounds.newest).await?,
        };
        let mut walk = IdWalk::new(mark, bounds, batch_size(wiki, &settings).await?);
        while let Some(ids) = walk.next_ids() {
            let mut found = HashSet::new();
            let mut query = Query::new(query_params(&ids, settings.content));
            while let Some(answer) = query.ask(wiki).await? {
                let rows = take_rows(&answer, &settings, &mut found)?;
                if !rows.is_empty() {
                    yield ReadItem::Page(Page::Values(rows));
                }
            }
            walk.answered(|id| !found.contains(&id));
        }
        yield ReadItem::End(Some(offset(&walk.into_mark())?));
    })
}

/// How many ids a request asks for.
pub(crate) async fn batch_size(wiki: &Wiki, settings: &TableSettings) -> Result<usize, ConnectorError> {
    let most = wiki.session().await?.ids_per_request;
    let wanted = settings.page_size.and_then(|size| usize::try_from(size).ok());
    Ok(wanted.map_or(most, |wanted| wanted.min(most)))
}

async fn first_mark(
    wiki: &Wiki,
    settings: &TableSettings,
    newest: u64,
) -> Result<RevisionMark, ConnectorError> {
    let revid = match settings.start {
        None => 0,
        Some(start) => {
            wiki.first_revision_since(start).await?.map_or(newest, |first| first.saturating_sub(1))
        }
    };
    Ok(RevisionMark { revid, ..RevisionMark::default() })
}

fn query_params(ids: &[u64], content: bool) -> Params {
    let mut props = "ids|flags|timestamp|user|userid|size|sha1|comment|tags|roles|contentmodel".to_owned();
    if content {
        props.push_str("|content");
    }
    params! { "prop" => "revisions", "revids" => joined(ids), "rvprop" => props, "rvslots" => "main" }
}

/// Makes one row of each revision in the answer, adds their ids to `found`, and leaves out those that the
/// settings leave out.
fn take_rows(
    answer: &Answer,
    settings: &TableSettings,
    found: &mut HashSet<u64>,
) -> Result<Vec<Value>, ConnectorError> {
    let mut rows = Vec::new();
    for page in answer.query::<Found>()?.pages {
        for mut row in page.revisions {
            let Some(revid) = row.get("revid").and_then(Value::as_u64) else {
                return Err(answer.unusable("holds a revision without its id"));
            };
            found.insert(revid);
            if !wants(&row, page.ns, settings) {
                continue;
            }
            flatten_slots(&mut row);
            row.insert("pageid".into(), page.pageid.into());
            row.insert("ns".into(), page.ns.into());
            row.insert("title".into(), page.title.clone().unwrap_or_default());
            rows.push((revid, Value::Object(row)));
        }
    }
    rows.sort_by_key(|(revid, _)| *revid);
    Ok(rows.into_iter().map(|(_, row)| row).collect())
}

fn wants(row: &Map<String, Value>, namespace: Option<i64>, settings: &TableSettings) -> bool {
    let at = || {
        let text = row.get("timestamp")?.as_str()?;
        DateTime::parse_from_rfc3339(text).ok().map(|at| at.with_timezone(&Utc))
    };
    namespace.is_none_or(|ns| settings.wants_namespace(ns))
        && settings.start.is_none_or(|start| at().is_none_or(|at| at >= start))
}

/// Lifts what stands in the main slot to the row.
fn flatten_slots(row: &mut Map<String, Value>) {
    let Some(Value::Object(mut slots)) = row.remove("slots") else { return };
    if let Some(Value::Object(main)) = slots.remove("main") {
        for (name, value) in main {
            row.entry(name).or_insert(value);
        }
    }
}
