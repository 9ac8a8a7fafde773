//! The table `pages`: first all pages, then those that have a new revision or came back; and the pages that are
//! gone, from the log.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use async_stream::try_stream;
use chrono::{DateTime, TimeDelta, Utc};
use headwater_connect::{ConnectorError, Offset, Page, PageStream, ReadItem};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::api::{Answer, Params, params};
use crate::connector::{offset, raw_page, read_offset};
use crate::id_walk::{IdWalk, RevisionMark};
use crate::query::Query;
use crate::revisions::batch_size;
use crate::session::{BadIds, Wiki, api_time, joined};
use crate::settings::TableSettings;
use crate::time_walk::{TimeList, TimeMark, TimeQuery, TimeWalk};

/// How many requests of the first listing belong to one read.
const LISTING_REQUESTS_PER_READ: usize = 20;

/// Where the upserts stand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PagesMark {
    /// Where the first listing stands, until it is done.
    listing: Option<Listing>,
    /// The time at which the last update that found something looked; none during the first.
    looked_at: Option<DateTime<Utc>>,
    /// New revisions that were followed.
    revisions: RevisionMark,
    /// Restored pages that were followed.
    restored: TimeMark,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Listing {
    namespace: i64,
    #[serde(rename = "continue")]
    next: Option<BTreeMap<String, String>>,
}

/// Where the deletions stand.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct DeletesMark {
    deleted: TimeMark,
    moved: TimeMark,
}

#[derive(Debug, Default, Deserialize)]
struct Pages {
    #[serde(default)]
    pages: Vec<PageId>,
}

#[derive(Debug, Deserialize)]
struct PageId {
    pageid: Option<u64>,
    ns: Option<i64>,
    #[serde(default)]
    missing: bool,
    touched: Option<DateTime<Utc>>,
}

#[derive(Debug, Default, Deserialize)]
struct RawPages {
    #[serde(default)]
    pages: Vec<Map<String, Value>>,
}

#[derive(Debug, Default, Deserialize)]
struct LogRows {
    #[serde(default)]
    logevents: Vec<LogRow>,
}

#[derive(Debug, Deserialize)]
struct LogRow {
    #[serde(default)]
    action: String,
    logpage: Option<u64>,
    pageid: Option<u64>,
    ns: Option<i64>,
    title: Option<String>,
    timestamp: DateTime<Utc>,
}

/// Reads the pages that changed.
pub(crate) fn read<'a>(wiki: &'a Wiki, settings: TableSettings, start: Option<&'a Offset>) -> PageStream<'a> {
    Box::pin(try_stream! {
        let bounds = wiki.revision_bounds().await?;
        let session = wiki.session().await?;
        let namespaces = listed_namespaces(&session.namespaces, &settings);
        let before: Option<PagesMark> = read_offset(start)?;
        let mut mark = match before.clone() {
            Some(mark) => mark,
            None => PagesMark {
                listing: namespaces.first().map(|id| Listing { namespace: *id, next: None }),
                looked_at: None,
                // What may change while the pages are listed is followed afterwards.
                revisions: RevisionMark { revid: bounds.settled, ..RevisionMark::default() },
                restored: TimeMark { at: Some(settled_log(session.now)), since: None, seen: BTreeSet::new() },
            },
        };

        let mut requests = 0;
        while let Some(listing) = mark.listing.take() {
            if requests == LISTING_REQUESTS_PER_READ {
                mark.listing = Some(listing);
                yield ReadItem::End(Some(offset(&mark)?));
                return;
            }
            requests += 1;
            let (page, next) = list_more(wiki, &settings, &namespaces, listing).await?;
            if let Some(page) = page {
                yield ReadItem::Page(page);
            }
            mark.listing = next;
        }

        let batch = batch_size(wiki, &settings).await?;
        let at_least = mark.looked_at.map(|looked_at| Floor { looked_at, now: session.now });
        let mut walk = IdWalk::new(mark.revisions, bounds, batch);
        while let Some(ids) = walk.next_ids() {
            let mut missing = HashSet::new();
            let mut query = Query::new(params! { "prop" => "info", "revids" => joined(&ids) });
            while let Some(answer) = query.ask(wiki).await? {
                missing.extend(answer.query::<BadIds>()?.badrevids.into_values().map(|bad| bad.revid));
                if let Some(page) = upserts(&answer, &settings, at_least)? {
                    yield ReadItem::Page(page);
                }
            }
            walk.answered(|id| missing.contains(&id));
        }
        let complete = walk.is_complete();
        mark.revisions = walk.into_mark();

        if complete {
            // A restored page has no new revision, and the time of its last one; it has to count from after
            // the deletion.
            let restored_now = Some(Floor { looked_at: DateTime::<Utc>::MAX_UTC, now: session.now });
            let params = params! { "leaction" => "delete/restore", "leprop" => "ids|timestamp" };
            let mut walk = log_walk(params, &settings, session.now, mark.restored, None);
            while let Some(page) = walk.next(wiki).await? {
                let rows: LogRows = page.answer.query()?;
                let ids = restored_ids(&rows, &page.fresh);
                for ids in ids.chunks(batch) {
                    let mut query = Query::new(params! { "prop" => "info", "pageids" => joined(ids) });
                    while let Some(answer) = query.ask(wiki).await? {
                        if let Some(page) = upserts(&answer, &settings, restored_now)? {
                            yield ReadItem::Page(page);
                        }
                    }
                }
            }
            mark.restored = walk.into_mark();
            if before.as_ref() != Some(&mark) {
                mark.looked_at = Some(session.now);
            }
        }
        yield ReadItem::End(Some(offset(&mark)?));
    })
}

/// Asks for the next pages of the first listing; gives them, and where it goes on.
async fn list_more(
    wiki: &Wiki,
    settings: &TableSettings,
    namespaces: &[i64],
    listing: Listing,
) -> Result<(Option<Page>, Option<Listing>), ConnectorError> {
    let params = params! {
        "prop" => "info", "generator" => "allpages", "gapnamespace" => listing.namespace,
        "gaplimit" => settings.limit(),
    };
    let mut query = Query::resumed(params, listing.next);
    let page = match query.ask(wiki).await? {
        Some(answer) => upserts(&answer, settings, None)?,
        None => None,
    };
    let next = if query.is_done() {
        let later = namespaces.iter().find(|id| **id > listing.namespace);
        later.map(|id| Listing { namespace: *id, next: None })
    } else {
        Some(Listing { namespace: listing.namespace, next: query.next().cloned() })
    };
    Ok((page, next))
}

/// The pages that `rows` restored, ascending.
fn restored_ids(rows: &LogRows, fresh: &[bool]) -> Vec<u64> {
    let rows = rows.logevents.iter().zip(fresh).filter(|(_, fresh)| **fresh);
    let ids = rows.flat_map(|(row, _)| [row.logpage, row.pageid]).flatten().filter(|id| *id != 0);
    ids.collect::<BTreeSet<_>>().into_iter().collect()
}

/// Reads the pages that are gone: deleted, or moved out of the namespaces that are read.
pub(crate) fn read_deletes<'a>(
    wiki: &'a Wiki,
    settings: TableSettings,
    start: Option<&'a Offset>,
) -> PageStream<'a> {
    Box::pin(try_stream! {
        let session = wiki.session().await?;
        let mut mark: DeletesMark = read_offset(start)?.unwrap_or_default();
        let batch = batch_size(wiki, &settings).await?;

        for kind in ["delete", "move"] {
            // A page that moves is still there where all namespaces are read.
            if kind == "move" && settings.namespaces.is_none() {
                continue;
            }
            let mark = if kind == "delete" { &mut mark.deleted } else { &mut mark.moved };
            let params = params! { "letype" => kind, "leprop" => "ids|title|type|timestamp" };
            let from = std::mem::take(mark);
            let mut walk = log_walk(params, &settings, session.now, from, settings.start);
            while let Some(page) = walk.next(wiki).await? {
                let rows: LogRows = page.answer.query()?;
                let gone = gone_pages(rows.logevents, &page.fresh);
                let mut ids: Vec<u64> = gone.keys().copied().collect();
                ids.sort_unstable();
                let mut records = Vec::new();
                for ids in ids.chunks(batch) {
                    let mut present = HashSet::new();
                    let mut query = Query::new(params! { "prop" => "info", "pageids" => joined(ids) });
                    while let Some(answer) = query.ask(wiki).await? {
                        let pages = answer.query::<Pages>()?.pages;
                        let wanted = pages.iter().filter(|page| wants(page, &settings));
                        present.extend(wanted.filter_map(|page| page.pageid));
                    }
                    // A page that is there again (restored, or moved back) is not gone.
                    let absent = ids.iter().filter(|id| !present.contains(id));
                    records.extend(absent.filter_map(|id| gone.get(id)).map(deletion));
                }
                if !records.is_empty() {
                    yield ReadItem::Page(Page::Values(records));
                }
            }
            *mark = walk.into_mark();
        }
        yield ReadItem::End(Some(offset(&mark)?));
    })
}

/// The last entry of the log for each page that it takes away.
fn gone_pages(rows: Vec<LogRow>, fresh: &[bool]) -> HashMap<u64, LogRow> {
    let mut gone = HashMap::new();
    for (row, _) in rows.into_iter().zip(fresh).filter(|(_, fresh)| **fresh) {
        // `delete/revision`, `delete/event` and `delete/restore` take no page away.
        let takes_away = row.action.starts_with("delete") || row.action.starts_with("move");
        if let Some(id) = row.logpage.filter(|id| *id != 0 && takes_away) {
            gone.insert(id, row);
        }
    }
    gone
}

/// The record of a deletion. It counts from the end of its second, after every change of the page in that second:
/// the log knows no finer time.
fn deletion(row: &LogRow) -> Value {
    let end = row.timestamp + TimeDelta::microseconds(999_999);
    json!({
        "pageid": row.logpage,
        "ns": row.ns,
        "title": row.title,
        "touched": end.format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string(),
    })
}

fn log_walk(
    params: Params,
    settings: &TableSettings,
    now: DateTime<Utc>,
    mark: TimeMark,
    start: Option<DateTime<Utc>>,
) -> TimeWalk {
    let query = TimeQuery {
        list: TimeList::LogEvents,
        params,
        limit: settings.limit(),
        start,
        until: settled_log(now),
        lookback: settings.lookback,
    };
    TimeWalk::new(query, mark)
}

/// The namespaces that the first listing goes through, in ascending order.
pub(crate) fn listed_namespaces(all: &[i64], settings: &TableSettings) -> Vec<i64> {
    let mut listed: Vec<i64> = match &settings.namespaces {
        Some(wanted) => wanted.clone(),
        None => all.to_vec(),
    };
    listed.sort_unstable();
    listed.dedup();
    listed
}

/// The end of the last second that is over. Within a second the log does not say whether a page was deleted or
/// restored last; after it, the wiki does.
fn settled_log(now: DateTime<Utc>) -> DateTime<Utc> {
    now - TimeDelta::seconds(1)
}

/// Keeps `touched` from going back. The wiki sets it to the time of the page's last revision, which is an old
/// one where that was imported or restored; but a page that changed since `looked_at` and was touched before it
/// would not replace the row that stands.
#[derive(Debug, Clone, Copy)]
struct Floor {
    looked_at: DateTime<Utc>,
    now: DateTime<Utc>,
}

/// The pages of an answer, as they came where all of them count and none has to be changed.
fn upserts(
    answer: &Answer,
    settings: &TableSettings,
    floor: Option<Floor>,
) -> Result<Option<Page>, ConnectorError> {
    let pages = answer.query::<Pages>()?.pages;
    let keep: Vec<bool> = pages.iter().map(|page| wants(page, settings)).collect();
    let is_low = |touched: Option<DateTime<Utc>>| {
        floor.filter(|floor| touched.is_some_and(|touched| touched < floor.looked_at))
    };
    if !pages.iter().any(|page| is_low(page.touched).is_some()) {
        return raw_page(answer, "/query/pages", &keep);
    }
    let rows = answer.query::<RawPages>()?.pages;
    let kept = rows.into_iter().zip(&pages).zip(&keep).filter(|(_, keep)| **keep);
    let rows = kept.map(|((mut row, page), _)| {
        if let Some(floor) = is_low(page.touched) {
            row.insert("touched".into(), api_time(floor.now).into());
        }
        Value::Object(row)
    });
    let rows: Vec<Value> = rows.collect();
    Ok((!rows.is_empty()).then_some(Page::Values(rows)))
}

fn wants(page: &PageId, settings: &TableSettings) -> bool {
    !page.missing && page.ns.is_none_or(|ns| settings.wants_namespace(ns))
}
