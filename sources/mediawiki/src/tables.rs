use headwater_connect::{ConnectorError, DataType, IngestionType, StructField, StructType, TableMetadata};

use crate::settings::TableSettings;

/// The tables of every wiki.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Table {
    Pages,
    Revisions,
    RecentChanges,
    LogEvents,
    Users,
    Categories,
    CategoryMembers,
    SiteInfo,
}

impl Table {
    pub(crate) const ALL: [Table; 8] = [
        Table::Pages,
        Table::Revisions,
        Table::RecentChanges,
        Table::LogEvents,
        Table::Users,
        Table::Categories,
        Table::CategoryMembers,
        Table::SiteInfo,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Table::Pages => "pages",
            Table::Revisions => "revisions",
            Table::RecentChanges => "recent_changes",
            Table::LogEvents => "log_events",
            Table::Users => "users",
            Table::Categories => "categories",
            Table::CategoryMembers => "category_members",
            Table::SiteInfo => "site_info",
        }
    }

    pub(crate) fn from_name(name: &str) -> Result<Self, ConnectorError> {
        let unknown = || ConnectorError::UnknownTable {
            table: name.to_owned(),
            available: Self::ALL.iter().map(|table| table.name().to_owned()).collect(),
        };
        Self::ALL.into_iter().find(|table| table.name() == name).ok_or_else(unknown)
    }

    pub(crate) fn metadata(self) -> TableMetadata {
        let (keys, cursor, ingestion_type): (&[&str], Option<&str>, IngestionType) = match self {
            Table::Pages => (&["pageid"], Some("touched"), IngestionType::CdcWithDeletes),
            Table::Revisions => (&["revid"], Some("revid"), IngestionType::Append),
            Table::RecentChanges => (&["rcid"], Some("timestamp"), IngestionType::Append),
            Table::LogEvents => (&["logid"], Some("timestamp"), IngestionType::Append),
            Table::Users => (&["userid"], None, IngestionType::Snapshot),
            Table::Categories => (&["category"], None, IngestionType::Snapshot),
            Table::CategoryMembers => (&["category", "pageid"], None, IngestionType::Snapshot),
            Table::SiteInfo => (&["wikiid"], None, IngestionType::Snapshot),
        };
        TableMetadata {
            primary_keys: keys.iter().map(|key| (*key).to_owned()).collect(),
            cursor_field: cursor.map(str::to_owned),
            ingestion_type,
        }
    }

    pub(crate) fn schema(self, settings: &TableSettings) -> StructType {
        StructType::new(match self {
            Table::Pages => pages(),
            Table::Revisions => revisions(settings.content),
            Table::RecentChanges => recent_changes(),
            Table::LogEvents => log_events(),
            Table::Users => users(),
            Table::Categories => categories(),
            Table::CategoryMembers => category_members(),
            Table::SiteInfo => site_info(),
        })
    }
}

fn key(name: &str, data_type: DataType) -> StructField {
    StructField::required(name, data_type)
}

fn long(name: &str) -> StructField {
    StructField::nullable(name, DataType::Long)
}

fn text(name: &str) -> StructField {
    StructField::nullable(name, DataType::String)
}

fn time(name: &str) -> StructField {
    StructField::nullable(name, DataType::Timestamp)
}

fn flag(name: &str) -> StructField {
    StructField::nullable(name, DataType::Boolean)
}

/// A flag that the wiki sends only where it is true.
fn rare_flag(name: &str, comment: &str) -> StructField {
    flag(name).with_comment(format!("{comment}; null where not"))
}

fn texts(name: &str) -> StructField {
    let element = Box::new(DataType::String);
    StructField::nullable(name, DataType::Array { element, contains_null: false })
}

fn page_columns() -> [StructField; 2] {
    [long("ns").with_comment("namespace"), text("title").with_comment("with the namespace, without `_`")]
}

fn pages() -> Vec<StructField> {
    let mut fields = vec![key("pageid", DataType::Long)];
    fields.extend(page_columns());
    fields.extend([
        key("touched", DataType::Timestamp).with_comment(
            "when the page last changed in any way; for a deleted page, the end of that second",
        ),
        long("lastrevid").with_comment("the current revision"),
        long("length").with_comment("bytes of wikitext"),
        rare_flag("redirect", "true for a redirect"),
        rare_flag("new", "true for a page with one revision"),
        text("contentmodel"),
        text("pagelanguage"),
    ]);
    fields
}

/// Columns that say who did something, and what of that is hidden.
fn actor_columns() -> [StructField; 5] {
    [
        text("user").with_comment("null where hidden"),
        long("userid").with_comment("0 for an anonymous user; null where hidden"),
        rare_flag("anon", "true for an anonymous user"),
        rare_flag("userhidden", "true where the user is hidden"),
        text("comment").with_comment("null where hidden"),
    ]
}

fn revisions(content: bool) -> Vec<StructField> {
    let mut fields = vec![
        key("revid", DataType::Long),
        long("parentid").with_comment("the revision before it; 0 for the first"),
        key("pageid", DataType::Long),
    ];
    fields.extend(page_columns());
    fields.push(key("timestamp", DataType::Timestamp));
    fields.extend(actor_columns());
    fields.extend([
        rare_flag("commenthidden", "true where the comment is hidden"),
        flag("minor"),
        long("size").with_comment("bytes of wikitext"),
        text("sha1").with_comment("of the content, in hexadecimal; null where hidden"),
        rare_flag("sha1hidden", "true where the content is hidden"),
        rare_flag("texthidden", "true where the content is hidden; needs option `content`"),
        rare_flag("suppressed", "true where also administrators do not see what is hidden"),
        texts("tags"),
        texts("roles").with_comment("names of the slots"),
        text("contentmodel").with_comment("of the main slot"),
    ]);
    if content {
        fields.extend([text("contentformat"), text("content").with_comment("of the main slot")]);
    }
    fields
}

fn recent_changes() -> Vec<StructField> {
    let mut fields = vec![
        key("rcid", DataType::Long),
        text("type").with_comment("edit, new, log, external or categorize"),
        key("timestamp", DataType::Timestamp),
        long("pageid").with_comment("0 where there is no page"),
    ];
    fields.extend(page_columns());
    fields.extend([long("revid"), long("old_revid")]);
    fields.extend(actor_columns());
    fields.extend([
        rare_flag("commenthidden", "true where the comment is hidden"),
        flag("bot"),
        flag("new"),
        flag("minor"),
        long("oldlen"),
        long("newlen"),
        text("sha1"),
        rare_flag("sha1hidden", "true where the content is hidden"),
        rare_flag("suppressed", "true where also administrators do not see what is hidden"),
        texts("tags"),
        long("logid"),
        text("logtype"),
        text("logaction"),
        text("logparams").with_comment("JSON"),
        rare_flag("actionhidden", "true where the entry of the log is hidden"),
    ]);
    fields
}

fn log_events() -> Vec<StructField> {
    let mut fields = vec![
        key("logid", DataType::Long),
        text("type"),
        text("action"),
        key("timestamp", DataType::Timestamp),
        long("pageid").with_comment("the page that has the title now; 0 where there is none"),
        long("logpage").with_comment("the page at the time of the entry"),
    ];
    fields.extend(page_columns());
    fields.extend(actor_columns());
    fields.extend([
        rare_flag("commenthidden", "true where the comment is hidden"),
        rare_flag("actionhidden", "true where title and parameters are hidden"),
        rare_flag("suppressed", "true where also administrators do not see what is hidden"),
        text("params").with_comment("JSON"),
        texts("tags"),
    ]);
    fields
}

fn users() -> Vec<StructField> {
    vec![
        key("userid", DataType::Long),
        text("name"),
        long("editcount"),
        time("registration").with_comment("null for accounts of before this was kept"),
        texts("groups"),
        long("blockid"),
        text("blockedby"),
        long("blockedbyid"),
        text("blockreason"),
        time("blockedtimestamp"),
        text("blockexpiry").with_comment("an instant or `infinite`"),
        flag("blockpartial"),
    ]
}

fn categories() -> Vec<StructField> {
    vec![
        key("category", DataType::String).with_comment("without the namespace"),
        long("size"),
        long("pages"),
        long("files"),
        long("subcats"),
        flag("hidden"),
    ]
}

fn category_members() -> Vec<StructField> {
    let mut fields = vec![
        key("category", DataType::String).with_comment("title of the category, with the namespace"),
        key("pageid", DataType::Long),
    ];
    fields.extend(page_columns());
    fields.extend([
        text("type").with_comment("page, subcat or file"),
        text("sortkey").with_comment("hexadecimal"),
        text("sortkeyprefix"),
        time("timestamp").with_comment("when the page came into the category"),
    ]);
    fields
}

fn site_info() -> Vec<StructField> {
    let namespace = StructType::new([
        StructField::nullable("id", DataType::Long),
        text("name"),
        text("canonical"),
        text("case"),
        flag("content"),
        flag("subpages"),
    ]);
    let statistics = ["pages", "articles", "edits", "images", "users", "activeusers", "admins", "jobs"];
    vec![
        key("wikiid", DataType::String),
        text("sitename"),
        text("mainpage"),
        text("base").with_comment("address of the main page"),
        text("server"),
        text("articlepath"),
        text("scriptpath"),
        text("generator").with_comment("MediaWiki and its version"),
        text("phpversion"),
        text("dbtype"),
        text("dbversion"),
        text("lang"),
        text("case"),
        text("timezone"),
        flag("readonly"),
        StructField::nullable("statistics", DataType::Struct(StructType::new(statistics.map(long)))),
        StructField::nullable(
            "namespaces",
            DataType::Array { element: Box::new(DataType::Struct(namespace)), contains_null: false },
        ),
    ]
}

#[cfg(test)]
mod tests {
    use headwater_connect::Options;

    use super::Table;
    use crate::settings::TableSettings;

    #[test]
    fn schemas_and_metadata_keep_the_rules_of_the_contract() {
        for content in ["false", "true"] {
            let options: Options = [("content", content)].into_iter().collect();
            let settings = TableSettings::from_options(&options).unwrap();
            for table in Table::ALL {
                let schema = table.schema(&settings);
                schema.check().unwrap();
                let metadata = table.metadata();
                for column in metadata.primary_keys.iter().chain(&metadata.cursor_field) {
                    let field = schema.fields.iter().find(|field| field.name == *column);
                    assert!(!field.unwrap().nullable, "{} {column}", table.name());
                }
                assert_eq!(Table::from_name(table.name()).unwrap(), table);
            }
        }
        assert!(Table::from_name("Pages").is_err());
    }
}
