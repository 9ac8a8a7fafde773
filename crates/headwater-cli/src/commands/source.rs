//! Commands that ask a source: `tables`, `columns`, `preview`, `connection test`.

use futures::StreamExt;
use headwater_connect::{
    Connector, ConnectorError, Offset, Options, Page, Profile, ReadItem, StructType,
    SupportsPartitionedStream, TableMetadata,
};
use headwater_decode::{DecodeError, DecodeOptions, Decoder, OnBadRecord};
use serde_json::{Map, json};
use tokio::time::Instant;

use super::connection::Source;
use crate::args;
use crate::config::Project;
use crate::fail::{Exit, Failure};
use crate::output::{Align, Out, RowPrinter, Style, Table};

pub(crate) async fn test(name: &str, project: &Project, out: &Out) -> Result<Exit, Failure> {
    let source = Source::find(project, name, out).await?;
    let connector = source.connect(&Options::new()).await?;
    let started_at = Instant::now();
    connector
        .test_connection()
        .await
        .map_err(|e| Failure::from(e).context(format!("connection `{name}` does not work")))?;
    let millis = started_at.elapsed().as_millis();
    if out.is_json() {
        out.json(
            &json!({"connection": name, "connector": source.factory.name(), "ok": true, "millis": millis}),
        )?;
    } else {
        out.line(&format!("{}: {} ({millis} ms)", name, out.style_data(Style::Green, "ok")))?;
    }
    Ok(Exit::Ok)
}

pub(crate) async fn tables(arguments: &args::Tables, project: &Project, out: &Out) -> Result<Exit, Failure> {
    let source = Source::find(project, &arguments.connection, out).await?;
    let connector = source.connect(&Options::new()).await?;
    let names = connector.list_tables().await?;
    if out.is_json() {
        let list: Vec<_> = names.iter().map(|name| json!({"name": name})).collect();
        out.json(&json!({"connection": arguments.connection, "tables": list}))?;
        return Ok(Exit::Ok);
    }
    if names.is_empty() {
        out.say("the source lists no tables; check what the credentials may see");
    }
    for name in &names {
        out.line(name)?;
    }
    Ok(Exit::Ok)
}

/// The table's options: those of the command line, checked against what the connector takes.
fn table_options(source: &Source, table: &str, given: &[(String, String)]) -> Result<Options, Failure> {
    source.check_table_options(given)?;
    let mut options: Options = given.iter().cloned().collect();
    options.set("tableName", table);
    Ok(options)
}

/// A table as its connector describes it, and the connector.
pub(crate) struct Described {
    pub(crate) options: Options,
    pub(crate) connector: Box<dyn Connector>,
    pub(crate) schema: StructType,
    pub(crate) metadata: TableMetadata,
}

impl Described {
    pub(crate) async fn of(
        source: &Source,
        table: &str,
        given: &[(String, String)],
    ) -> Result<Self, Failure> {
        let options = table_options(source, table, given)?;
        let connector = source.connect(&options).await?;
        let schema = connector.get_table_schema(table, &options).await.map_err(unknown_table)?;
        let metadata = connector.read_table_metadata(table, &options).await.map_err(unknown_table)?;
        Ok(Self { options, connector, schema, metadata })
    }
}

pub(crate) async fn columns(
    arguments: &args::Columns,
    project: &Project,
    out: &Out,
) -> Result<Exit, Failure> {
    let source = Source::find(project, &arguments.connection, out).await?;
    let Described { schema, metadata, .. } =
        Described::of(&source, &arguments.table, &arguments.options).await?;
    if out.is_json() {
        out.json(&json!({
            "connection": arguments.connection, "table": arguments.table, "schema": schema.to_json(),
            "primary_keys": metadata.primary_keys, "cursor_field": metadata.cursor_field,
            "ingestion_type": metadata.ingestion_type,
        }))?;
        return Ok(Exit::Ok);
    }
    let mut table = Table::new([
        ("column", Align::Left),
        ("type", Align::Left),
        ("null", Align::Left),
        ("role", Align::Left),
        ("comment", Align::Left),
    ]);
    for field in &schema.fields {
        let mut roles = Vec::new();
        if metadata.primary_keys.contains(&field.name) {
            roles.push("key");
        }
        if metadata.cursor_field.as_ref() == Some(&field.name) {
            roles.push("cursor");
        }
        table.row([
            field.name.clone(),
            type_text(&field.data_type.to_json()),
            if field.nullable { "yes".into() } else { "no".into() },
            roles.join(", "),
            comment(field),
        ]);
    }
    out.table(&table)?;
    out.say(&format!("\ningestion type: {}", metadata.ingestion_type));
    Ok(Exit::Ok)
}

fn comment(field: &headwater_connect::StructField) -> String {
    field.metadata.get("comment").and_then(|c| c.as_str()).unwrap_or_default().to_owned()
}

/// A type for people: Spark's name of a simple one, `array<…>`, `map<…>`, `struct<…>` otherwise.
pub(crate) fn type_text(json: &serde_json::Value) -> String {
    if let Some(name) = json.as_str() {
        return name.to_owned();
    }
    let part = |name: &str| json.get(name).map(type_text).unwrap_or_default();
    match json.get("type").and_then(|t| t.as_str()) {
        Some("array") => format!("array<{}>", part("elementType")),
        Some("map") => format!("map<{}, {}>", part("keyType"), part("valueType")),
        _ => {
            let fields = json.get("fields").and_then(|f| f.as_array()).map_or(&[][..], Vec::as_slice);
            let field = |f: &serde_json::Value| {
                let name = f.get("name").and_then(|n| n.as_str()).unwrap_or_default();
                format!("{name}: {}", f.get("type").map(type_text).unwrap_or_default())
            };
            format!("struct<{}>", fields.iter().map(field).collect::<Vec<_>>().join(", "))
        }
    }
}

/// Puts the nearest name in front of the list of all.
fn unknown_table(error: ConnectorError) -> Failure {
    let near = match &error {
        ConnectorError::UnknownTable { table, available } => {
            crate::names::nearest(table, available).map(|name| format!("did you mean `{name}`?"))
        }
        _ => None,
    };
    let failure = Failure::from(error);
    match near {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

pub(crate) async fn preview(
    arguments: &args::Preview,
    project: &Project,
    out: &Out,
) -> Result<Exit, Failure> {
    let source = Source::find(project, &arguments.connection, out).await?;
    let Described { options, connector, schema, metadata } =
        Described::of(&source, &arguments.table, &arguments.options).await?;
    let mut head = Map::new();
    head.insert("connection".into(), json!(arguments.connection));
    head.insert("table".into(), json!(arguments.table));
    let mut preview = Preview::new(
        &schema,
        source.factory.profile(),
        arguments.limit,
        RowPrinter::start(out, schema.clone(), head)?,
    )?;
    let start = if metadata.ingestion_type.is_stream() { Some(Offset::empty()) } else { None };
    preview.read(connector.as_ref(), &arguments.table, start, &options).await?;
    let (bad, reason) = preview.finish()?;
    if let Some(reason) = reason {
        out.warn(&format!(
            "{bad} of the records read do not fit the schema and are left out, the first because: {reason}"
        ));
    }
    Ok(Exit::Ok)
}

/// Reads and prints the first rows of a table.
pub(crate) struct Preview<'a> {
    decoder: Decoder,
    printer: RowPrinter<'a>,
    left: u64,
    bad: usize,
    reason: Option<String>,
}

fn undecodable(error: &DecodeError) -> Failure {
    Failure::new(Exit::Source, error, error.hint()).context("the records cannot be decoded")
}

impl<'a> Preview<'a> {
    pub(crate) fn new(
        schema: &StructType,
        profile: Profile,
        limit: u64,
        printer: RowPrinter<'a>,
    ) -> Result<Self, Failure> {
        let options =
            DecodeOptions { profile, on_bad_record: OnBadRecord::Quarantine, ..DecodeOptions::default() };
        let decoder = Decoder::new(schema, options).map_err(|e| undecodable(&e))?;
        Ok(Self { decoder, printer, left: limit, bad: 0, reason: None })
    }

    /// Reads from `start` until enough rows are there, or the source has no more.
    pub(crate) async fn read(
        &mut self,
        connector: &dyn Connector,
        table: &str,
        start: Option<Offset>,
        options: &Options,
    ) -> Result<(), Failure> {
        if start.is_none()
            && let Some(partitions) = connector.partitions()
            && partitions.is_partitioned(table).await?
        {
            for partition in partitions.get_partitions(table, options).await? {
                let mut stream = partitions.read_partition(table, &partition, options);
                while let Some(item) = stream.next().await {
                    if let ReadItem::Page(page) = item? {
                        self.page(&page)?;
                    }
                    if self.left == 0 {
                        return Ok(());
                    }
                }
            }
            return Ok(());
        }
        if let Some(from) = &start
            && let Some(stream) = connector.partitioned_stream()
            && stream.is_partitioned(table).await?
        {
            return self.stream_parts(stream, table, from, options).await;
        }
        let mut offset = start;
        loop {
            let mut end = None;
            {
                let mut stream = connector.read_table(table, offset.as_ref(), options);
                while let Some(item) = stream.next().await {
                    match item? {
                        ReadItem::Page(page) => self.page(&page)?,
                        ReadItem::End(reached) => end = reached,
                    }
                    if self.left == 0 {
                        return Ok(());
                    }
                }
            }
            let over = match &end {
                None => true,
                Some(reached) => Some(reached) == offset.as_ref() || reached.is_empty(),
            };
            if over {
                return Ok(());
            }
            offset = end;
        }
    }

    /// Reads the parts of a stream one after the other.
    async fn stream_parts(
        &mut self,
        connector: &dyn SupportsPartitionedStream,
        table: &str,
        from: &Offset,
        options: &Options,
    ) -> Result<(), Failure> {
        let mut from = from.clone();
        loop {
            let end = connector.latest_offset(table, &from, options).await?;
            if end == from {
                return Ok(());
            }
            for partition in connector.get_partitions(table, &from, &end, options).await? {
                let mut stream = connector.read_partition(table, &partition, options);
                while let Some(item) = stream.next().await {
                    if let ReadItem::Page(page) = item? {
                        self.page(&page)?;
                    }
                    if self.left == 0 {
                        return Ok(());
                    }
                }
            }
            from = end;
        }
    }

    fn page(&mut self, page: &Page) -> Result<(), Failure> {
        let report = self.decoder.push(page).map_err(|e| undecodable(&e))?;
        self.bad += report.bad.len();
        if let (None, Some(first)) = (&self.reason, report.bad.first()) {
            let column = first.column.as_ref().map(|c| format!("column `{c}` ")).unwrap_or_default();
            self.reason = Some(format!("{column}{}", first.reason));
        }
        if let Some(batch) = self.decoder.finish().map_err(|e| undecodable(&e))? {
            let rows = batch.num_rows().min(usize::try_from(self.left).unwrap_or(usize::MAX));
            self.printer.batch(&batch.slice(0, rows))?;
            self.left -= rows as u64;
        }
        Ok(())
    }

    /// Ends; gives how many records do not fit the schema, and why the first of them does not.
    pub(crate) fn finish(self) -> Result<(usize, Option<String>), Failure> {
        self.printer.finish()?;
        Ok((self.bad, self.reason))
    }
}
