//! `show <table> --history <key>`: what a row was, and when.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::{Array, ArrayRef, BooleanArray, RecordBatch, StringArray};
use arrow_cast::{CastOptions, cast_with_options};
use futures::StreamExt;
use headwater_lake::{END_AT, Lake, ReadSpec, START_AT, TableState};
use serde_json::{Map, Value, json};

use super::source::type_text;
use crate::fail::{Exit, Failure};
use crate::output::{Out, RowPrinter};

/// Prints the records of a key, oldest first.
pub(crate) async fn show(lake: &dyn Lake, state: &TableState, key: &str, out: &Out) -> Result<Exit, Failure> {
    if state.schema.field(START_AT).is_none() || state.schema.field(END_AT).is_none() {
        return Err(Failure::usage(format!("{} does not keep the history of its rows", state.name)).hint(
            "set `scd_type: SCD_TYPE_2` in its `table_configuration` and make it anew with `--full-refresh`; `--history` without a key lists the versions of the table",
        ));
    }
    if state.keys.is_empty() {
        return Err(Failure::usage(format!("{} does not say which columns are its key", state.name))
            .hint("only tables that were made by a run of a pipeline do"));
    }
    let wanted = Wanted::parse(key, state)?;
    let holding = wanted.values.iter().map(|(column, value)| (column.clone(), value.clone())).collect();
    let mut stream = lake.read(&state.name, ReadSpec { holding, ..ReadSpec::default() }).await?;
    let mut found: Vec<RecordBatch> = Vec::new();
    while let Some(batch) = stream.next().await {
        let batch = batch?;
        let rows = wanted.rows_of(&batch)?;
        if rows.true_count() > 0 {
            found.push(arrow_select::filter::filter_record_batch(&batch, &rows).map_err(unreadable)?);
        }
    }
    let mut head = Map::new();
    head.insert("table".into(), json!(state.name.to_string()));
    head.insert("version".into(), json!(state.version));
    head.insert("key".into(), json!(wanted.values));
    let mut printer = RowPrinter::start(out, state.schema.clone(), head)?;
    if let Some(batch) = by_start(&found)? {
        printer.batch(&batch)?;
    }
    if printer.finish()? == 0 {
        out.say(&format!("{} has no record of this key", state.name));
    }
    Ok(Exit::Ok)
}

fn unreadable(error: arrow_schema::ArrowError) -> Failure {
    Failure::other("the rows cannot be looked through", &error)
}

/// The same rows in one batch, in the order of their starts.
fn by_start(batches: &[RecordBatch]) -> Result<Option<RecordBatch>, Failure> {
    let Some(first) = batches.first() else { return Ok(None) };
    let batch = arrow_select::concat::concat_batches(&first.schema(), batches).map_err(unreadable)?;
    let Some(starts) = batch.column_by_name(START_AT) else { return Ok(Some(batch)) };
    let order = arrow_ord::sort::sort_to_indices(starts, None, None).map_err(unreadable)?;
    arrow_select::take::take_record_batch(&batch, &order).map(Some).map_err(unreadable)
}

/// A key to look for.
#[derive(Debug, PartialEq, Eq)]
struct Wanted {
    /// Column and value, as text.
    values: BTreeMap<String, String>,
    /// The types of the columns, for people.
    types: BTreeMap<String, String>,
}

impl Wanted {
    /// Reads `5`, `id=5,region=eu` or `{"id":5,"region":"eu"}`.
    fn parse(text: &str, state: &TableState) -> Result<Self, Failure> {
        let names = state.keys.join(", ");
        let form = || match state.keys.as_slice() {
            [one] => format!("write `--history <{one}>` or `--history {one}=<value>`"),
            several => {
                let example: Vec<String> = several.iter().map(|key| format!("{key}=<value>")).collect();
                format!("write `--history {}`, or a JSON object", example.join(","))
            }
        };
        let given: Vec<(String, String)> = if text.trim_start().starts_with('{') {
            let object: Map<String, Value> = serde_json::from_str(text).map_err(|error| {
                Failure::usage(format!("the key is not a JSON object: {error}")).hint(form())
            })?;
            object.into_iter().map(|(name, value)| (name, shown(&value))).collect()
        } else if state.keys.len() == 1 && !is_named(text, state) {
            state.keys.iter().map(|key| (key.clone(), text.to_owned())).collect()
        } else {
            let pair =
                |part: &str| part.split_once('=').map(|(n, v)| (n.trim().to_owned(), v.trim().to_owned()));
            let pairs: Option<Vec<(String, String)>> = text.split(',').map(pair).collect();
            pairs.ok_or_else(|| {
                Failure::usage(format!("`{text}` is not a key of {}", state.name)).hint(form())
            })?
        };
        let mut values = BTreeMap::new();
        for (name, value) in given {
            let Some(key) = state.keys.iter().find(|key| key.eq_ignore_ascii_case(&name)) else {
                return Err(Failure::usage(format!(
                    "`{name}` is not part of the key of {}, which is {names}",
                    state.name
                ))
                .hint(form()));
            };
            values.insert(key.clone(), value);
        }
        match state.keys.iter().find(|key| !values.contains_key(*key)) {
            Some(missing) => Err(Failure::usage(format!(
                "the key of {} is {names}, and `{missing}` is not given",
                state.name
            ))
            .hint(form())),
            None => {
                let key = |name: &String| state.schema.field(name);
                let types = values.keys().filter_map(key);
                let types = types.map(|field| (field.name.clone(), type_text(&field.data_type.to_json())));
                Ok(Self { types: types.collect(), values })
            }
        }
    }

    /// Says which rows have the key.
    fn rows_of(&self, batch: &RecordBatch) -> Result<BooleanArray, Failure> {
        let mut rows = BooleanArray::from(vec![true; batch.num_rows()]);
        for (name, value) in &self.values {
            let Some(column) = batch.column_by_name(name) else { continue };
            let wanted: ArrayRef = Arc::new(StringArray::from(vec![value.as_str()]));
            // A value of another type becomes null.
            let options = CastOptions { safe: true, ..CastOptions::default() };
            let typed = cast_with_options(&wanted, column.data_type(), &options).map_err(unreadable)?;
            if typed.is_null(0) {
                let type_name = self.types.get(name).map(String::as_str).unwrap_or_default();
                return Err(Failure::usage(format!("`{value}` is not a value of `{name}` ({type_name})")));
            }
            let same = arrow_ord::cmp::eq(column, &arrow_array::Scalar::new(typed)).map_err(unreadable)?;
            let both = rows.values() & same.values();
            let both = match same.nulls() {
                Some(valid) => &both & valid.inner(),
                None => both,
            };
            rows = BooleanArray::new(both, None);
        }
        Ok(rows)
    }
}

/// Says whether the text begins with the name of a key column.
fn is_named(text: &str, state: &TableState) -> bool {
    let Some((name, _)) = text.split_once('=') else { return false };
    state.keys.iter().any(|key| key.eq_ignore_ascii_case(name.trim()))
}

fn shown(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
