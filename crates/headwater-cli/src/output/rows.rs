use std::sync::Arc;

use arrow_array::{RecordBatch, RecordBatchOptions};
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use arrow_schema::{DataType, Field, Schema};
use headwater_connect::StructType;
use headwater_decode::variants_to_json;

use super::{Align, Out, Table};
use crate::fail::Failure;

/// Prints rows as they come: a table for people, an array of objects in JSON.
pub(crate) struct RowPrinter<'a> {
    out: &'a Out,
    schema: StructType,
    table: Option<Table>,
    rows: u64,
}

impl<'a> RowPrinter<'a> {
    /// Starts to print rows of these columns. With JSON, `head` holds the members of the document before its `rows`.
    pub(crate) fn start(
        out: &'a Out,
        schema: StructType,
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
        Ok(Self { out, schema, table: None, rows: 0 })
    }

    /// Takes a batch.
    pub(crate) fn batch(&mut self, batch: &RecordBatch) -> Result<(), Failure> {
        let batch = &self.with_readable_variants(batch)?;
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

    /// The same rows with variants as the JSON that they stand for.
    fn with_readable_variants(&self, batch: &RecordBatch) -> Result<RecordBatch, Failure> {
        let schema = batch.schema();
        let (mut fields, mut columns) = (Vec::new(), Vec::new());
        for (field, column) in schema.fields().iter().zip(batch.columns()) {
            let column = match self.schema.field(field.name()) {
                Some(known) => variants_to_json(column, &known.data_type).map_err(|error| {
                    Failure::other(format!("column `{}` cannot be shown", field.name()), &error)
                })?,
                None => column.clone(),
            };
            fields.push(Field::new(field.name(), column.data_type().clone(), field.is_nullable()));
            columns.push(column);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)
            .map_err(|error| Failure::other("the rows cannot be shown", &error))
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

    /// Ends; returns how many rows there were.
    pub(crate) fn finish(self) -> Result<u64, Failure> {
        if self.out.is_json() {
            self.out.raw("]}\n")?;
        } else {
            self.out.table(&self.table.unwrap_or_else(|| empty_table(&self.schema.to_arrow())))?;
        }
        Ok(self.rows)
    }
}

fn empty_table(schema: &Schema) -> Table {
    Table::new(schema.fields().iter().map(|field| {
        let numeric = field.data_type().is_numeric() || matches!(field.data_type(), DataType::Decimal128(..));
        (field.name().clone(), if numeric { Align::Right } else { Align::Left })
    }))
}
