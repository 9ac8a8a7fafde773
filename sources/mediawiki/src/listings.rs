//! The tables that are read whole: users, categories, their members, and what the wiki says about itself; and
//! the two that are read by time.

use async_stream::try_stream;
use headwater_connect::{ConnectorError, Offset, Page, PageStream, ReadItem};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::api::{Params, params};
use crate::connector::{offset, raw_page, read_offset};
use crate::pages::listed_namespaces;
use crate::query::Query;
use crate::session::Wiki;
use crate::settings::TableSettings;
use crate::time_walk::{TimeList, TimeQuery, TimeWalk};

const CATEGORY_NAMESPACE: i64 = 14;
const FILE_NAMESPACE: i64 = 6;

/// Reads `recent_changes` or `log_events`.
pub(crate) fn read_by_time<'a>(
    wiki: &'a Wiki,
    list: TimeList,
    settings: TableSettings,
    start: Option<&'a Offset>,
) -> PageStream<'a> {
    Box::pin(try_stream! {
        let session = wiki.session().await?;
        let mark = read_offset(start)?.unwrap_or_default();
        let query = TimeQuery {
            list,
            params: list_params(list, &settings),
            limit: settings.limit(),
            start: settings.start,
            until: session.now,
            lookback: settings.lookback,
        };
        let mut walk = TimeWalk::new(query, mark);
        while let Some(page) = walk.next(wiki).await? {
            let mut keep = page.fresh;
            if list == TimeList::LogEvents && settings.namespaces.is_some() {
                // The API takes one namespace at a time here.
                let rows: Namespaces = page.answer.query()?;
                for (keep, row) in keep.iter_mut().zip(&rows.logevents) {
                    *keep &= row.ns.is_none_or(|ns| settings.wants_namespace(ns));
                }
            }
            if let Some(page) = raw_page(&page.answer, list.pointer(), &keep)? {
                yield ReadItem::Page(page);
            }
        }
        yield ReadItem::End(Some(offset(&walk.into_mark())?));
    })
}

#[derive(Debug, Default, Deserialize)]
struct Namespaces {
    #[serde(default)]
    logevents: Vec<InNamespace>,
}

#[derive(Debug, Deserialize)]
struct InNamespace {
    ns: Option<i64>,
}

fn list_params(list: TimeList, settings: &TableSettings) -> Params {
    match list {
        TimeList::RecentChanges => {
            let mut params = params! {
                "rcprop" => "ids|title|timestamp|user|userid|comment|flags|sizes|sha1|tags|loginfo",
                "rctype" => "edit|new|log|external|categorize",
            };
            if let Some(wanted) = &settings.namespaces {
                let ids: Vec<String> = wanted.iter().map(ToString::to_string).collect();
                params.extend(params! { "rcnamespace" => ids.join("|") });
            }
            params
        }
        TimeList::LogEvents => {
            params! { "leprop" => "ids|title|type|user|userid|timestamp|comment|details|tags" }
        }
    }
}

/// Reads `users`.
pub(crate) fn read_users(wiki: &Wiki, settings: TableSettings) -> PageStream<'_> {
    let params = params! {
        "list" => "allusers", "auprop" => "blockinfo|groups|editcount|registration",
        "aulimit" => settings.limit(),
    };
    read_list(wiki, params, "allusers")
}

/// Reads `categories`.
pub(crate) fn read_categories(wiki: &Wiki, settings: TableSettings) -> PageStream<'_> {
    let params =
        params! { "list" => "allcategories", "acprop" => "size|hidden", "aclimit" => settings.limit() };
    read_list(wiki, params, "allcategories")
}

/// Hands over the list `name` as it comes.
fn read_list<'a>(wiki: &'a Wiki, params: Params, name: &'static str) -> PageStream<'a> {
    Box::pin(try_stream! {
        let mut query = Query::new(params);
        while let Some(answer) = query.ask(wiki).await? {
            let rows = answer.query::<Map<String, Value>>()?.get(name).and_then(Value::as_array).map_or(0, Vec::len);
            if let Some(page) = raw_page(&answer, &format!("/query/{name}"), &vec![true; rows])? {
                yield ReadItem::Page(page);
            }
        }
        yield ReadItem::End(None);
    })
}

#[derive(Debug, Default, Deserialize)]
struct CategorizedPages {
    #[serde(default)]
    pages: Vec<CategorizedPage>,
}

#[derive(Debug, Deserialize)]
struct CategorizedPage {
    pageid: u64,
    ns: i64,
    title: String,
    #[serde(default)]
    categories: Vec<CategoryOfPage>,
}

#[derive(Debug, Deserialize)]
struct CategoryOfPage {
    title: String,
    sortkey: Option<String>,
    sortkeyprefix: Option<String>,
    timestamp: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
struct Members {
    #[serde(default)]
    categorymembers: Vec<Map<String, Value>>,
}

/// Reads `category_members`: those of the categories that are named, or of all.
pub(crate) fn read_category_members(wiki: &Wiki, settings: TableSettings) -> PageStream<'_> {
    match settings.categories.clone() {
        Some(categories) => read_named_categories(wiki, settings, categories),
        None => read_all_members(wiki, settings),
    }
}

/// Goes through the pages, 500 to a request, rather than through the categories: there are wikis with millions
/// of those, and most have few members.
fn read_all_members(wiki: &Wiki, settings: TableSettings) -> PageStream<'_> {
    Box::pin(try_stream! {
        let all = &wiki.session().await?.namespaces;
        for namespace in listed_namespaces(all, &settings) {
            let limit = settings.limit();
            let mut query = Query::new(params! {
                "generator" => "allpages", "gapnamespace" => namespace, "gaplimit" => limit,
                "prop" => "categories", "clprop" => "sortkey|timestamp", "cllimit" => limit,
            });
            while let Some(answer) = query.ask(wiki).await? {
                let pages = answer.query::<CategorizedPages>()?.pages;
                let rows: Vec<Value> = pages.iter().flat_map(memberships).collect();
                if !rows.is_empty() {
                    yield ReadItem::Page(Page::Values(rows));
                }
            }
        }
        yield ReadItem::End(None);
    })
}

fn memberships(page: &CategorizedPage) -> impl Iterator<Item = Value> {
    page.categories.iter().map(|category| {
        json!({
            "category": category.title,
            "pageid": page.pageid,
            "ns": page.ns,
            "title": page.title,
            "type": match page.ns {
                CATEGORY_NAMESPACE => "subcat",
                FILE_NAMESPACE => "file",
                _ => "page",
            },
            "sortkey": category.sortkey,
            "sortkeyprefix": category.sortkeyprefix,
            "timestamp": category.timestamp,
        })
    })
}

fn read_named_categories(wiki: &Wiki, settings: TableSettings, categories: Vec<String>) -> PageStream<'_> {
    Box::pin(try_stream! {
        let titles = category_titles(wiki, categories).await?;
        for title in titles {
            let mut params = params! {
                "list" => "categorymembers", "cmtitle" => title, "cmlimit" => settings.limit(),
                "cmprop" => "ids|title|sortkey|sortkeyprefix|type|timestamp",
            };
            if let Some(wanted) = &settings.namespaces {
                let ids: Vec<String> = wanted.iter().map(ToString::to_string).collect();
                params.extend(params! { "cmnamespace" => ids.join("|") });
            }
            let mut query = Query::new(params);
            while let Some(answer) = query.ask(wiki).await? {
                let mut rows = answer.query::<Members>()?.categorymembers;
                for row in &mut rows {
                    row.insert("category".into(), title.as_str().into());
                }
                if !rows.is_empty() {
                    yield ReadItem::Page(Page::Values(rows.into_iter().map(Value::Object).collect()));
                }
            }
        }
        yield ReadItem::End(None);
    })
}

#[derive(Debug, Default, Deserialize)]
struct Titles {
    #[serde(default)]
    pages: Vec<TitlePage>,
}

#[derive(Debug, Deserialize)]
struct TitlePage {
    title: String,
    ns: Option<i64>,
    #[serde(default)]
    invalid: bool,
}

/// The titles of categories as the wiki writes them, each once.
async fn category_titles(wiki: &Wiki, names: Vec<String>) -> Result<Vec<String>, ConnectorError> {
    let mut titles = Vec::new();
    for name in names {
        // The name of the namespace differs from language to language, but the wiki knows it by this one too.
        let title = if name.contains(':') { name.clone() } else { format!("Category:{name}") };
        let mut page = None;
        for title in [title, format!("Category:{name}")] {
            let answer = wiki.call(&params! { "action" => "query", "titles" => title }).await?;
            page = answer.query::<Titles>()?.pages.into_iter().next();
            if page.as_ref().is_some_and(|page| page.ns == Some(CATEGORY_NAMESPACE) && !page.invalid) {
                break;
            }
        }
        match page {
            Some(TitlePage { title, ns: Some(CATEGORY_NAMESPACE), invalid: false }) => {
                if !titles.contains(&title) {
                    titles.push(title);
                }
            }
            _ => {
                let reason = format!("holds `{name}`, which cannot be the title of a category");
                return Err(ConnectorError::invalid_option("categories", reason));
            }
        }
    }
    Ok(titles)
}

#[derive(Debug, Default, Deserialize)]
struct SiteInfo {
    general: Option<Map<String, Value>>,
    statistics: Option<Map<String, Value>>,
    #[serde(default)]
    namespaces: std::collections::BTreeMap<String, Map<String, Value>>,
}

/// Reads `site_info`: one row.
pub(crate) fn read_site_info(wiki: &Wiki) -> PageStream<'_> {
    Box::pin(try_stream! {
        let answer = wiki
            .call(&params! {
                "action" => "query", "meta" => "siteinfo", "siprop" => "general|namespaces|statistics",
            })
            .await?;
        let info: SiteInfo = answer.query()?;
        let mut row = info.general.ok_or_else(|| answer.unusable("does not hold `query.general`"))?;
        // It is another at every read, and would make the row look changed.
        row.remove("time");
        let mut namespaces: Vec<Map<String, Value>> = info.namespaces.into_values().collect();
        namespaces.sort_by_key(|namespace| namespace.get("id").and_then(Value::as_i64));
        row.insert("namespaces".into(), namespaces.into_iter().map(Value::Object).collect());
        row.insert("statistics".into(), info.statistics.map_or(Value::Null, Value::Object));
        yield ReadItem::Page(Page::Values(vec![Value::Object(row)]));
        yield ReadItem::End(None);
    })
}
