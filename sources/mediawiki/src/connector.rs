use async_trait::async_trait;
use headwater_connect::{
    Connector, ConnectorError, ConnectorFactory, Offset, Options, Page, PageStream, StructType, TableMetadata,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::api::Answer;
use crate::session::Wiki;
use crate::settings::{Settings, TableSettings};
use crate::tables::Table;
use crate::time_walk::TimeList;
use crate::{listings, pages, revisions};

/// Makes connectors for wikis that run MediaWiki.
#[derive(Debug, Clone, Copy, Default)]
pub struct MediaWikiFactory;

#[async_trait]
impl ConnectorFactory for MediaWikiFactory {
    fn name(&self) -> &'static str {
        "mediawiki"
    }

    fn connector_spec(&self) -> Option<&str> {
        Some(include_str!("../connector_spec.yaml"))
    }

    async fn connect(&self, options: &Options) -> Result<Box<dyn Connector>, ConnectorError> {
        // What is wrong with a table's options is said before the first request.
        TableSettings::from_options(options)?;
        let wiki = Wiki::new(Settings::from_options(options)?)?;
        Ok(Box::new(MediaWiki { wiki, options: options.clone() }))
    }
}

struct MediaWiki {
    wiki: Wiki,
    options: Options,
}

impl MediaWiki {
    fn table(&self, name: &str, options: &Options) -> Result<(Table, TableSettings), ConnectorError> {
        let table = Table::from_name(name)?;
        Ok((table, TableSettings::from_options(&self.options.merged(options))?))
    }
}

#[async_trait]
impl Connector for MediaWiki {
    async fn list_tables(&self) -> Result<Vec<String>, ConnectorError> {
        Ok(Table::ALL.iter().map(|table| table.name().to_owned()).collect())
    }

    async fn get_table_schema(&self, table: &str, options: &Options) -> Result<StructType, ConnectorError> {
        let (table, settings) = self.table(table, options)?;
        Ok(table.schema(&settings))
    }

    async fn read_table_metadata(
        &self,
        table: &str,
        options: &Options,
    ) -> Result<TableMetadata, ConnectorError> {
        Ok(self.table(table, options)?.0.metadata())
    }

    fn read_table<'a>(
        &'a self,
        table: &'a str,
        start: Option<&'a Offset>,
        options: &'a Options,
    ) -> PageStream<'a> {
        let (table, settings) = match self.table(table, options) {
            Ok(found) => found,
            Err(error) => return failed(error),
        };
        let wiki = &self.wiki;
        match table {
            Table::Pages => pages::read(wiki, settings, start),
            Table::Revisions => revisions::read(wiki, settings, start),
            Table::RecentChanges => listings::read_by_time(wiki, TimeList::RecentChanges, settings, start),
            Table::LogEvents => listings::read_by_time(wiki, TimeList::LogEvents, settings, start),
            Table::Users => listings::read_users(wiki, settings),
            Table::Categories => listings::read_categories(wiki, settings),
            Table::CategoryMembers => listings::read_category_members(wiki, settings),
            Table::SiteInfo => listings::read_site_info(wiki),
        }
    }

    fn read_table_deletes<'a>(
        &'a self,
        table: &'a str,
        start: Option<&'a Offset>,
        options: &'a Options,
    ) -> PageStream<'a> {
        match self.table(table, options) {
            Ok((Table::Pages, settings)) => pages::read_deletes(&self.wiki, settings, start),
            Ok(_) => failed(ConnectorError::bug(format!("table `{table}` has no deletions to read"))),
            Err(error) => failed(error),
        }
    }

    async fn test_connection(&self) -> Result<(), ConnectorError> {
        self.wiki.session().await.map(|_| ())
    }

    fn requests(&self) -> u64 {
        self.wiki.requests()
    }
}

fn failed<'a>(error: ConnectorError) -> PageStream<'a> {
    Box::pin(futures::stream::once(async move { Err(error) }))
}

/// Reads an offset; `None` at the start of a stream.
pub(crate) fn read_offset<T: DeserializeOwned>(start: Option<&Offset>) -> Result<Option<T>, ConnectorError> {
    let Some(start) = start.filter(|start| !start.is_empty()) else { return Ok(None) };
    let mark = start.read();
    mark.map(Some).map_err(|source| ConnectorError::InvalidOffset { offset: start.to_string(), source })
}

pub(crate) fn offset(mark: &impl Serialize) -> Result<Offset, ConnectorError> {
    Offset::from_value(mark).map_err(|error| ConnectorError::bug(format!("an offset is no JSON: {error}")))
}

/// The rows at `pointer` of an answer: as they came where all are kept, those that are kept otherwise, `None`
/// where there are none.
pub(crate) fn raw_page(
    answer: &Answer,
    pointer: &str,
    keep: &[bool],
) -> Result<Option<Page>, ConnectorError> {
    if !keep.contains(&true) {
        return Ok(None);
    }
    if !keep.contains(&false) {
        return Ok(Some(Page::Json { body: answer.body.clone(), records: pointer.parse()? }));
    }
    let mut body: Value = answer.read()?;
    let rows = match body.pointer_mut(pointer).map(Value::take) {
        Some(Value::Array(rows)) => rows,
        _ => return Err(answer.unusable(&format!("does not hold the list `{pointer}`"))),
    };
    let kept = rows.into_iter().zip(keep).filter(|(_, keep)| **keep).map(|(row, _)| row).collect();
    Ok(Some(Page::Values(kept)))
}
