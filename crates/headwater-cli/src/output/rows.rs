use arrow_array::RecordBatch;
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use arrow_schema::{DataType, SchemaRef};

use super::{Align, Out, Table};
use crate::fail::Failure;

/// Prints rows as they come: a table for people, an array of objects in JSON.
pub(crate) struct RowPrinter<'a> {
    out: &'a Out,
    table: Option<Table>,
    rows: u64,
}

impl<'a> RowPrinter<'a> {
    /// Starts. With JSON, `head` holds the members of the document before its `rows`.
    pub(crate) fn start(
        out: &'a Out,
        head: serde_json::Map<String, serde_json::Value>,
    ) -> Result<Self, Failure> {
        if out.is_json() {
            let mut text = String::from("{");
            for (name, value) in &head {
                text.push_str(&format!("{}:{value},", serde_json::Value::from(name.as_str())));
            }
            text.push_str("\"rows\":[");
            out.raw(&text)?;
        }
        Ok(Self { out, table: None, rows: 0 })
    }

    /// Takes a batch.
    pub(crate) fn batch(&mut self, batch: &RecordBatch) -> Result<(), Failure> {
        if self.out.is_json() {
            return self.json(batch);
        }
        let schema = batch.schema();
        let table = self.table.get_or_insert_with(|| empty_table(&schema));
        let options = FormatOptions::new().with_null("null").with_display_error(true);
        let formatters = batch
            .columns()
            .iter()
            .map(|column| ArrayFormatter::try_new(column, &options))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| Failure::other("the rows cannot be shown", &error))?;
        for row in 0..batch.num_rows() {
            table.row(formatters.iter().map(|f| f.value(row).to_string()));
        }
        self.rows += batch.num_rows() as u64;
        Ok(())
    }

    fn json(&mut self, batch: &RecordBatch) -> Result<(), Failure> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let failed = |error| Failure::other("the rows cannot be written as JSON", &error);
        let mut bytes = Vec::new();
        let mut writer = arrow_json::WriterBuilder::new()
            .with_explicit_nulls(true)
            .build::<_, arrow_json::writer::JsonArray>(&mut bytes);
        writer.write(batch).and_then(|()| writer.finish()).map_err(failed)?;
        drop(writer);
        let text = String::from_utf8_lossy(&bytes);
        let inner = text.trim().trim_start_matches('[').strip_suffix(']').unwrap_or_default();
        self.out.raw(&format!("{}{inner}", if self.rows == 0 { "" } else { "," }))?;
        self.rows += batch.num_rows() as u64;
        Ok(())
    }

    /// Ends; returns how many rows there were. `schema` heads a table that has none.
    pub(crate) fn finish(self, schema: &SchemaRef) -> Result<u64, Failure> {
        if self.out.is_json() {
            self.out.raw("]}\n")?;
        } else {
            self.out.table(&self.table.unwrap_or_else(|| empty_table(schema)))?;
        }
        Ok(self.rows)
    }
}

fn empty_table(schema: &SchemaRef) -> Table {
    Table::new(schema.fields().iter().map(|field| {
        let numeric = field.data_type().is_numeric() || matches!(field.data_type(), DataType::Decimal128(..));
        (field.name().clone(), if numeric { Align::Right } else { Align::Left })
    }))
}
