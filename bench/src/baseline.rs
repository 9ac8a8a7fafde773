//! What a careful engineer writes by hand: fetch a page, decode it with `arrow-json`, write it to one zstd Parquet file.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use arrow_array::cast::AsArray;
use arrow_array::{Array, RecordBatch};
use arrow_json::reader::ReaderBuilder;
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

use headwater_connect::StructType;

use crate::pages;

/// Reads all pages from `url` into the file `out`; gives the number of rows.
pub(crate) fn run(url: &str, out: &Path) -> Result<u64> {
    let page_schema = page_schema(&pages::schema());
    let properties =
        WriterProperties::builder().set_compression(Compression::ZSTD(ZstdLevel::try_new(1)?)).build();
    let columns = pages::schema().to_arrow();
    let mut writer = ArrowWriter::try_new(File::create(out)?, columns, Some(properties))?;
    let mut connection = Connection::open(url)?;
    let mut next = Some("/items/1.json".to_owned());
    let mut rows = 0;
    while let Some(path) = next {
        let body = connection.get(&path)?;
        let (batch, link) = records(&page_schema, &body).with_context(|| format!("{path} cannot be read"))?;
        rows += batch.num_rows() as u64;
        writer.write(&batch)?;
        next = link;
    }
    writer.close()?;
    Ok(rows)
}

/// A page of records of these columns, as `arrow-json` needs to know it.
pub(crate) fn page_schema(columns: &StructType) -> SchemaRef {
    let item = Field::new("item", DataType::Struct(columns.to_arrow().fields().clone()), true);
    Arc::new(Schema::new(vec![
        Field::new("data", DataType::List(Arc::new(item)), true),
        Field::new("next", DataType::Utf8, true),
    ]))
}

/// Reads a page: its records, and the next page's path.
pub(crate) fn records(page_schema: &SchemaRef, body: &[u8]) -> Result<(RecordBatch, Option<String>)> {
    let mut decoder = ReaderBuilder::new(Arc::clone(page_schema)).build_decoder()?;
    if decoder.decode(body)? != body.len() {
        bail!("more than one page");
    }
    let page = decoder.flush()?.context("an empty page")?;
    let records = page.column(0).as_list::<i32>().value(0);
    let links = page.column(1).as_string::<i32>();
    let next = (!links.is_null(0)).then(|| links.value(0).to_owned());
    Ok((RecordBatch::from(records.as_struct()), next))
}

/// One kept-alive HTTP/1.1 connection, for a server that always sends a length.
struct Connection {
    reader: BufReader<TcpStream>,
    host: String,
}

impl Connection {
    fn open(url: &str) -> Result<Self> {
        let host = url.trim_start_matches("http://").to_owned();
        let stream = TcpStream::connect(&host)?;
        stream.set_nodelay(true)?;
        Ok(Self { reader: BufReader::with_capacity(256 * 1024, stream), host })
    }

    fn get(&mut self, path: &str) -> Result<Vec<u8>> {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", self.host);
        self.reader.get_mut().write_all(request.as_bytes())?;
        let (mut line, mut length) = (String::new(), 0);
        loop {
            line.clear();
            self.reader.read_line(&mut line)?;
            if line == "\r\n" {
                break;
            }
            if let Some(value) = line.strip_prefix("Content-Length: ") {
                length = value.trim().parse()?;
            }
        }
        let mut body = vec![0; length];
        self.reader.read_exact(&mut body)?;
        Ok(body)
    }
}
