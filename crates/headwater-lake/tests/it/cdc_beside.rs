//! Writers that are open while another one changes the columns of their table: what is staged goes on where it fits, and
//! is never lost in silence where it does not.

use std::sync::Arc;

use arrow_array::{ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray, StructArray};
use futures::TryStreamExt;
use headwater_connect::{DataType, StructField, StructType};
use headwater_lake::{
    CommitOutcome, Feed, Lake, LakeError, ReadSpec, ScdType, TableName, TableWriter, TrackHistory, WriterSpec,
};
use serde_json::{Value, json};

use crate::canon;
use crate::cdc::{Event, apply, batch, changes, rows};
use crate::maker::{Local, name, offset};

/// A column whose name cannot stand in a file: each writer that adds it makes up another one for it.
const SPACED: &str = "a name with spaces";

fn event(id: i64, at: i64, text: &str) -> Event {
    (id, at, Some(text.to_owned()), None)
}

fn both(table: &TableName, scd_type: ScdType) -> (WriterSpec, WriterSpec) {
    let spec = |feed| changes(table, scd_type, TrackHistory::All, feed);
    (spec(Feed::Upserts), spec(Feed::Deletes))
}

fn with_column(mut spec: WriterSpec, column: &str, data_type: DataType) -> WriterSpec {
    spec.schema.fields.push(StructField::nullable(column, data_type));
    spec
}

/// The events with one more column.
fn with_values(events: &[Event], field: StructField, values: ArrayRef) -> RecordBatch {
    let rows = batch(events);
    let mut fields = StructType::new([
        StructField::nullable("id", DataType::Long),
        StructField::nullable("seq", DataType::Long),
        StructField::nullable("name", DataType::String),
        StructField::nullable("note", DataType::String),
    ]);
    fields.fields.push(field);
    let mut columns = rows.columns().to_vec();
    columns.push(values);
    RecordBatch::try_new(fields.to_arrow(), columns).unwrap()
}

async fn commit(writer: &mut dyn TableWriter, at: i64) {
    let outcome = writer.commit(Some(&offset(at))).await.unwrap();
    assert!(matches!(outcome, CommitOutcome::Committed { .. }), "{outcome:?}");
}

async fn shown(local: &Local, table: &TableName) -> Vec<Value> {
    let read: Vec<RecordBatch> =
        local.lake.read(table, ReadSpec::default()).await.unwrap().try_collect().await.unwrap();
    canon::sorted(canon::rows(&read))
}

/// Of every row the key, the sequence, the name and one more column.
fn picked(rows: &[Value], column: &str) -> Value {
    rows.iter().map(|row| json!([row["id"], row["seq"], row["name"], row[column]])).collect()
}

#[tokio::test]
async fn two_open_writers_add_the_same_column_under_a_name_of_its_own_each() {
    for (scd_type, order) in [
        (ScdType::One, [true, false]),
        (ScdType::One, [false, true]),
        (ScdType::Two, [true, false]),
        (ScdType::Two, [false, true]),
    ] {
        let (local, table) = (Local::new(), name("same_column"));
        let (up, down) = both(&table, scd_type);
        assert!(apply(&local.lake, up.clone(), &[event(1, 1, "a"), event(2, 1, "b")], 1).await);
        assert!(apply(&local.lake, down.clone(), &[event(9, 5, "")], 1).await);
        let up = with_column(up, SPACED, DataType::String);
        let down = with_column(down, SPACED, DataType::String);
        let spaced = |event: Event, text: &str| {
            let field = StructField::nullable(SPACED, DataType::String);
            with_values(&[event], field, Arc::new(StringArray::from(vec![text])))
        };
        // Whichever comes first, the other one goes on.
        let mut writers = Vec::new();
        for upserts in order {
            let spec = if upserts { up.clone() } else { down.clone() };
            let mut writer = local.lake.writer(spec).await.unwrap();
            let event = if upserts { event(1, 10, "c") } else { event(2, 10, "") };
            writer.write(spaced(event, "x")).await.unwrap();
            writers.push(writer);
        }
        for writer in &mut writers {
            commit(&mut **writer, 10).await;
        }
        // The same writers once more.
        for (writer, upserts) in writers.iter_mut().zip(order) {
            let event = if upserts { event(2, 11, "d") } else { event(1, 2, "") };
            writer.write(spaced(event, "y")).await.unwrap();
            commit(&mut **writer, 11).await;
        }
        let mut found = shown(&local, &table).await;
        found.retain(|row| row.get("__END_AT").is_none_or(Value::is_null));
        let expect = json!([[1, 10, "c", "x"], [2, 11, "d", "y"]]);
        assert_eq!(picked(&found, SPACED), expect, "{scd_type:?} {order:?}");
    }
}

#[tokio::test]
async fn a_column_that_another_flow_adds_is_null_in_what_is_staged() {
    for scd_type in [ScdType::One, ScdType::Two] {
        let (local, table) = (Local::new(), name("added"));
        let (up, down) = both(&table, scd_type);
        assert!(apply(&local.lake, up.clone(), &[event(1, 1, "a"), event(2, 1, "b")], 1).await);
        let mut staged = local.lake.writer(up.clone()).await.unwrap();
        staged.write(batch(&[event(1, 9, "later"), event(3, 9, "new")])).await.unwrap();

        let other = WriterSpec { flow: "another".into(), ..with_column(up, SPACED, DataType::Long) };
        let mut other = local.lake.writer(other).await.unwrap();
        let field = StructField::nullable(SPACED, DataType::Long);
        let values: ArrayRef = Arc::new(Int64Array::from(vec![7, 8]));
        other.write(with_values(&[event(1, 5, "c"), event(4, 5, "d")], field, values)).await.unwrap();
        commit(&mut *other, 1).await;

        commit(&mut *staged, 2).await;
        let found = shown(&local, &table).await;
        let of = |id: i64, seq: i64| -> Vec<Value> {
            let same = |row: &&Value| row["id"] == json!(id) && row["seq"] == json!(seq);
            found.iter().filter(same).map(|row| row[SPACED].clone()).collect()
        };
        // A row that is replaced keeps what its source does not give; a new record of a history has nothing there.
        let kept = if scd_type == ScdType::One { json!(7) } else { Value::Null };
        assert_eq!(of(1, 9), [kept], "{scd_type:?}: {found:?}");
        assert_eq!(of(3, 9), [Value::Null], "{scd_type:?}: {found:?}");
        assert_eq!(of(4, 5), [json!(8)], "{scd_type:?}: {found:?}");
        // Deletes, by a writer that knew nothing of the column either.
        assert!(apply(&local.lake, down, &[event(1, 20, "")], 1).await);
        let open = shown(&local, &table).await;
        let open = open.iter().filter(|row| row.get("__END_AT").is_none_or(Value::is_null));
        assert!(open.into_iter().all(|row| row["id"] != json!(1)));
    }
}

#[tokio::test]
async fn what_is_staged_takes_the_wider_type_and_the_names_of_nested_fields() {
    let (local, table) = (Local::new(), name("wider"));
    let inner = |amount: DataType, more: bool| {
        let mut fields = vec![StructField::nullable("an amount", amount)];
        if more {
            fields.push(StructField::nullable("more", DataType::String));
        }
        StructType::new(fields)
    };
    let make = |flow: &str, data_type: StructType| {
        let mut spec = changes(&table, ScdType::One, TrackHistory::All, Feed::Upserts);
        spec.flow = flow.into();
        with_column(spec, "nested", DataType::Struct(data_type))
    };
    let column = |data_type: &StructType, columns: Vec<ArrayRef>| -> ArrayRef {
        let arrow_schema::DataType::Struct(fields) = DataType::Struct(data_type.clone()).to_arrow() else {
            panic!()
        };
        Arc::new(StructArray::try_new(fields, columns, None).unwrap())
    };
    // Both make the table, each with names of its own for what is in the struct.
    let (narrow, wide) = (inner(DataType::Integer, false), inner(DataType::Long, true));
    let mut first = local.lake.writer(make("first", narrow.clone())).await.unwrap();
    let mut second = local.lake.writer(make("second", wide.clone())).await.unwrap();
    let values = column(&narrow, vec![Arc::new(Int32Array::from(vec![Some(5), None]))]);
    let field = StructField::nullable("nested", DataType::Struct(narrow));
    first.write(with_values(&[event(1, 1, "a"), event(2, 1, "b")], field, values)).await.unwrap();
    let large = i64::MAX;
    let values = column(
        &wide,
        vec![Arc::new(Int64Array::from(vec![large])), Arc::new(StringArray::from(vec!["text"]))],
    );
    let field = StructField::nullable("nested", DataType::Struct(wide));
    second.write(with_values(&[event(3, 1, "c")], field, values)).await.unwrap();
    commit(&mut *second, 1).await;
    commit(&mut *first, 1).await;
    let found = shown(&local, &table).await;
    let nested: Vec<Value> = found.iter().map(|row| row["nested"].clone()).collect();
    let expect = json!([
        {"an amount": 5, "more": null},
        {"an amount": null, "more": null},
        {"an amount": large, "more": "text"},
    ]);
    assert_eq!(Value::from(nested), expect, "{found:?}");
}

/// Rows of several mebibytes.
fn large(ids: std::ops::Range<i64>, at: i64) -> Vec<Event> {
    let text = "x".repeat(3_000);
    ids.map(|id| (id, at, Some(format!("{id}{text}")), None)).collect()
}

#[tokio::test]
async fn a_large_micro_batch_goes_on_with_columns_that_were_added_before_it_was_applied() {
    let (local, table) = (Local::new(), name("large"));
    let (up, _) = both(&table, ScdType::One);
    assert!(apply(&local.lake, up.clone(), &[event(1, 1, "a")], 1).await);
    let staged = WriterSpec { memory_bytes: 1, ..up.clone() };
    let mut staged = local.lake.writer(staged).await.unwrap();
    staged.write(batch(&large(0..1_000, 5))).await.unwrap();
    let other = WriterSpec { flow: "another".into(), ..with_column(up, SPACED, DataType::Long) };
    let mut other = local.lake.writer(other).await.unwrap();
    let field = StructField::nullable(SPACED, DataType::Long);
    let values: ArrayRef = Arc::new(Int64Array::from(vec![7]));
    other.write(with_values(&[event(5_000, 5, "c")], field, values)).await.unwrap();
    commit(&mut *other, 1).await;
    // More than fits: applied now, in the columns that are there now.
    staged.write(batch(&large(1_000..2_000, 5))).await.unwrap();
    commit(&mut *staged, 2).await;
    assert_eq!(local.lake.table(&table).await.unwrap().unwrap().rows, Some(2_001));
}

#[tokio::test]
async fn a_large_micro_batch_that_was_overtaken_cannot_be_committed_without_its_rows() {
    let (local, table) = (Local::new(), name("overtaken_large"));
    let (up, down) = both(&table, ScdType::One);
    assert!(apply(&local.lake, up.clone(), &large(0..3_000, 1), 1).await);
    let mut staged = local.lake.writer(WriterSpec { memory_bytes: 1, ..up }).await.unwrap();
    for ids in [0..1_500, 1_500..3_000] {
        staged.write(batch(&large(ids, 5))).await.unwrap();
    }
    assert!(apply(&local.lake, down, &[event(7, 9, "")], 1).await);
    let before = rows(&local.lake, &table).await;
    let error = staged.commit(Some(&offset(2))).await.unwrap_err();
    assert!(matches!(error, LakeError::Conflict { .. }), "{error}");
    // The rows are gone from memory: their offset must not get into the table without them.
    for _ in 0..2 {
        let error = staged.commit(Some(&offset(2))).await.unwrap_err();
        assert!(error.to_string().contains("applying changes"), "{error}");
    }
    assert!(rows(&local.lake, &table).await == before);
    // Once it is discarded the writer is as good as a new one.
    staged.discard().await.unwrap();
    staged.write(batch(&[event(7, 8, "late"), event(8, 8, "b")])).await.unwrap();
    commit(&mut *staged, 2).await;
    let found = rows(&local.lake, &table).await;
    assert_eq!(found.len(), 2_999);
    assert!(found.iter().any(|row| row[0] == 8 && row[2] == "b"));
}
