//! Keys, sequences and settings that do not fit, or that change under a table: each is an error that says what was, what is
//! and what to do, before anything is altered; a full refresh makes the table anew, in one swap.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use arrow_array::{Array, ArrayRef, Int64Array, RecordBatch, StringArray, StructArray, new_null_array};
use arrow_buffer::NullBuffer;
use chrono::DateTime;
use futures::TryStreamExt;
use headwater_connect::{DataType, StructField, StructType};
use headwater_lake::{
    CdcSpec, CommitOutcome, Feed, Lake, LakeError, ReadSpec, ScdType, TableName, TrackHistory, WriteMode,
    WriterSpec,
};
use serde_json::{Value, json};

use crate::canon;
use crate::cdc::{Event, apply, batch, changes, rows, schema};
use crate::faults::faulty;
use crate::maker::{Local, name, offset, put, small, small_schema, spec};

fn event(id: i64, at: i64, text: &str) -> Event {
    (id, at, Some(text.to_owned()), None)
}

fn with(spec: &WriterSpec, change: impl FnOnce(&mut CdcSpec)) -> WriterSpec {
    let mut spec = spec.clone();
    let WriteMode::Cdc(cdc) = &mut spec.mode else { panic!("no changes") };
    change(cdc);
    spec
}

/// Sees to it that a writer is refused with such an error and such a hint, by the plan as by the writer, and that nothing
/// is altered.
async fn refused(local: &Local, spec: WriterSpec, message: &[&str], hint: &[&str]) {
    let before = local.lake.table(&spec.table).await.unwrap().map(|t| t.version);
    let planned = local.lake.plan(&spec).await.err().unwrap_or_else(|| panic!("{message:?} was not refused"));
    let opened = local.lake.writer(spec.clone()).await.err().unwrap();
    for error in [planned, opened] {
        says(&error, message, hint);
        assert!(!error.is_retryable());
    }
    assert_eq!(local.lake.table(&spec.table).await.unwrap().map(|t| t.version), before);
}

fn says(error: &LakeError, message: &[&str], hint: &[&str]) {
    let (text, remedy) = (error.to_string(), error.hint().unwrap_or_else(|| panic!("no hint: {error}")));
    for part in message {
        assert!(text.contains(part), "{part:?} is not in {text:?}");
    }
    for part in hint {
        assert!(remedy.contains(part), "{part:?} is not in {remedy:?}");
    }
}

/// A table with a row and a delete that is remembered.
async fn made(local: &Local, table: &TableName, scd_type: ScdType, track: TrackHistory) -> WriterSpec {
    let up = changes(table, scd_type, track.clone(), Feed::Upserts);
    assert!(apply(&local.lake, up.clone(), &[event(1, 10, "a"), event(2, 10, "b")], 1).await);
    let down = changes(table, scd_type, track, Feed::Deletes);
    assert!(apply(&local.lake, down, &[event(3, 50, "")], 1).await);
    up
}

fn retyped(spec: &WriterSpec, column: &str, data_type: DataType) -> WriterSpec {
    let mut spec = spec.clone();
    for field in &mut spec.schema.fields {
        if field.name == column {
            field.data_type = data_type.clone();
        }
    }
    spec
}

#[tokio::test]
async fn what_a_table_was_made_with_cannot_change_under_it() {
    let local = Local::new();
    for scd_type in [ScdType::One, ScdType::Two] {
        let table = name(&format!("drift_{scd_type:?}").to_lowercase());
        let (track, other) = match scd_type {
            ScdType::One => (TrackHistory::All, ScdType::Two),
            ScdType::Two => (TrackHistory::Only(vec!["name".into()]), ScdType::One),
        };
        let up = made(&local, &table, scd_type, track).await;
        let refresh = &format!("--full-refresh={}", table.table);
        let called = &table.to_string();
        let key = [called, "the key", "was (id long)"];
        let more = with(&up, |cdc| cdc.keys.push("note".into()));
        refused(&local, more, &[&key[..], &["(id long, note string)"]].concat(), &[refresh]).await;
        let another = with(&up, |cdc| cdc.keys = vec!["note".into()]);
        refused(&local, another, &[&key[..], &["(note string)"]].concat(), &[refresh]).await;
        let text = retyped(&up, "id", DataType::String);
        refused(&local, text, &[&key[..], &["(id string)"]].concat(), &[refresh]).await;

        let wrong = with(&up, |cdc| {
            cdc.scd_type = other;
            cdc.track = TrackHistory::All;
        });
        let (was, now) = if scd_type == ScdType::One { ("_1", "_2") } else { ("_2", "_1") };
        refused(
            &local,
            wrong,
            &[called, "the SCD type", &format!("was SCD_TYPE{was}"), &format!("now SCD_TYPE{now}")],
            &[refresh],
        )
        .await;

        let by_name = with(&up, |cdc| cdc.sequence_by = Some("note".into()));
        refused(&local, by_name, &[called, "the type of the sequence", "was long", "now string"], &[refresh])
            .await;

        let appended = spec(&table, &schema(), WriteMode::Append);
        let was = format!("was SCD_TYPE{was}");
        refused(&local, appended, &[called, "the SCD type", &was, "APPEND_ONLY"], &[refresh]).await;
        let snapshot = with(&up, |cdc| {
            cdc.feed = Feed::Snapshot { version: DateTime::UNIX_EPOCH };
            cdc.sequence_by = None;
        });
        refused(
            &local,
            snapshot,
            &[called, "the type of the sequence", "was long", "none (a snapshot)"],
            &[refresh],
        )
        .await;

        // The order in which keys are named, the flow, and the column that orders may change.
        let renamed = WriterSpec { flow: "another".into(), ..up.clone() };
        assert!(apply(&local.lake, renamed, &[event(1, 11, "c")], 1).await);
    }
}

#[tokio::test]
async fn tracked_columns_cannot_change_under_a_history() {
    let local = Local::new();
    let table = name("tracked");
    let up = made(&local, &table, ScdType::Two, TrackHistory::Only(vec!["note".into(), "name".into()])).await;
    let track = |track: TrackHistory| with(&up, |cdc| cdc.track = track);
    let what = "the set of tracked columns";
    let refresh = "--full-refresh=tracked";
    let only = track(TrackHistory::Only(vec!["name".into()]));
    refused(&local, only, &["main.tests.tracked", what, "was name, note", "now name"], &[refresh]).await;
    refused(&local, track(TrackHistory::All), &[what, "was name, note", "now all"], &[refresh]).await;
    let except = track(TrackHistory::Except(vec!["seq".into()]));
    refused(&local, except, &[what, "now all but seq"], &[refresh]).await;
    // Another order, and another case, is the same set.
    let same = track(TrackHistory::Only(vec!["NAME".into(), "note".into(), "name".into()]));
    assert!(apply(&local.lake, same, &[event(1, 20, "z")], 2).await);
    for list in [vec!["id"], vec!["nowhere"], vec!["__START_AT"]] {
        let names = list.iter().map(|n| (*n).to_owned()).collect();
        let wrong = track(TrackHistory::Only(names));
        refused(
            &local,
            wrong,
            &["main.tests.tracked", list[0], "seq, name, note"],
            &["track_history_columns"],
        )
        .await;
    }
}

#[tokio::test]
async fn a_table_of_events_cannot_become_one_of_keys_but_by_a_full_refresh() {
    let local = Local::new();
    let table = name("was_append");
    let appended = spec(&table, &schema(), WriteMode::Append);
    put(&local.lake, appended.clone(), &[batch(&[event(1, 1, "a"), event(1, 2, "b")])], 1).await;
    for scd_type in [ScdType::One, ScdType::Two] {
        let up = changes(&table, scd_type, TrackHistory::All, Feed::Upserts);
        refused(
            &local,
            up.clone(),
            &[
                "main.tests.was_append",
                "the SCD type",
                "rows were appended",
                &format!("SCD_TYPE_{}", if scd_type == ScdType::One { 1 } else { 2 }),
            ],
            &["--full-refresh=was_append"],
        )
        .await;
        let anew = WriterSpec { full_refresh: true, ..up };
        assert!(apply(&local.lake, anew, &[event(1, 1, "a"), event(1, 2, "b")], 5).await);
        assert_eq!(rows(&local.lake, &table).await.len(), if scd_type == ScdType::One { 1 } else { 2 });
        // And back.
        refused(&local, appended.clone(), &["the SCD type", "APPEND_ONLY"], &["--full-refresh=was_append"])
            .await;
        let back = WriterSpec { full_refresh: true, ..appended.clone() };
        put(&local.lake, back, &[batch(&[event(1, 1, "a"), event(1, 2, "b")])], 6).await;
        assert_eq!(rows(&local.lake, &table).await.len(), 2);
        put(&local.lake, appended.clone(), &[batch(&[event(1, 2, "b")])], 7).await;
        assert_eq!(rows(&local.lake, &table).await.len(), 3);
    }
}

#[tokio::test]
async fn keys_and_sequences_that_do_not_fit_the_source_are_refused_at_once() {
    let local = Local::new();
    let table = name("unfit");
    let up = changes(&table, ScdType::One, TrackHistory::All, Feed::Upserts);
    let keys = |keys: &[&str]| with(&up, |cdc| cdc.keys = keys.iter().map(|k| (*k).to_owned()).collect());
    let sequence = |path: Option<&str>| with(&up, |cdc| cdc.sequence_by = path.map(str::to_owned));
    let key_hint = ["primary_keys"];
    refused(&local, keys(&[]), &["main.tests.unfit", "no column is named as its key"], &key_hint).await;
    refused(&local, keys(&["id", "gone"]), &["main.tests.unfit", "`gone`"], &key_hint).await;
    refused(&local, keys(&["id", "ID"]), &["`ID`", "twice"], &key_hint).await;
    refused(&local, sequence(None), &["main.tests.unfit", "no column orders"], &["sequence_by"]).await;
    refused(&local, sequence(Some("gone")), &["main.tests.unfit", "`gone`"], &["sequence_by"]).await;
    refused(&local, sequence(Some("name.at")), &["`name.at`"], &["sequence_by"]).await;
    let map = DataType::Map {
        key: Box::new(DataType::String),
        value: Box::new(DataType::Long),
        value_contains_null: true,
    };
    let deep = DataType::Struct(StructType::new([StructField::nullable("inside", map.clone())]));
    for (data_type, called) in [(map.clone(), "map"), (DataType::Variant, "variant"), (deep, "map")] {
        let wrong = retyped(&up, "seq", data_type.clone());
        refused(&local, wrong, &["main.tests.unfit", "`seq` cannot order", called], &["sequence_by"]).await;
        if !matches!(data_type, DataType::Struct(_)) {
            let wrong = retyped(&up, "id", data_type);
            refused(&local, wrong, &["main.tests.unfit", "`id`", called, "cannot be a key"], &key_hint).await;
        }
    }
    for reserved in ["__START_AT", "__end_at"] {
        let mut wrong = changes(&table, ScdType::Two, TrackHistory::All, Feed::Upserts);
        wrong.schema.fields.push(StructField::nullable(reserved, DataType::Long));
        let parts = ["main.tests.unfit", if reserved == "__START_AT" { reserved } else { "__END_AT" }];
        refused(&local, wrong, &parts, &["exclude_columns", "SCD_TYPE_1"]).await;
    }
    assert!(local.lake.table(&table).await.unwrap().is_none());
    // The current rows may have such columns.
    let mut fine = up;
    fine.schema.fields.push(StructField::nullable("__START_AT", DataType::Long));
    assert!(local.lake.writer(fine).await.is_ok());
}

fn with_nulls(ids: &[Option<i64>], ats: &[Option<i64>]) -> RecordBatch {
    let none = new_null_array(&arrow_schema::DataType::Utf8, ids.len());
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from(ids.to_vec())),
        Arc::new(Int64Array::from(ats.to_vec())),
        Arc::clone(&none),
        none,
    ];
    RecordBatch::try_new(schema().to_arrow(), columns).unwrap()
}

#[tokio::test]
async fn rows_without_key_or_sequence_are_refused_and_nothing_of_their_batch_is_staged() {
    let local = Local::new();
    for (scd_type, feed) in [
        (ScdType::One, Feed::Upserts),
        (ScdType::One, Feed::Deletes),
        (ScdType::Two, Feed::Upserts),
        (ScdType::Two, Feed::Deletes),
    ] {
        let table = name(&format!("nulls_{scd_type:?}_{feed:?}").to_lowercase());
        let up = changes(&table, scd_type, TrackHistory::All, Feed::Upserts);
        assert!(apply(&local.lake, up, &[event(1, 1, "a"), event(2, 1, "b")], 1).await);
        let mut writer = local.lake.writer(changes(&table, scd_type, TrackHistory::All, feed)).await.unwrap();
        writer.write(batch(&[event(1, 5, "c")])).await.unwrap();
        let staged = writer.staged();
        for (rows, column, role) in [
            (with_nulls(&[None, Some(7), None], &[Some(1), None, Some(2)]), "`id`", "part of the key"),
            (with_nulls(&[Some(8), Some(7)], &[Some(1), None]), "`seq`", "orders the changes"),
        ] {
            let count = if column == "`id`" { "2 rows" } else { "1 rows" };
            let error = writer.write(rows).await.unwrap_err();
            says(&error, &[&table.to_string(), column, role, count], &["on_bad_record: quarantine"]);
        }
        assert_eq!(writer.staged(), staged);
        let outcome = writer.commit(Some(&offset(2))).await.unwrap();
        assert!(matches!(outcome, CommitOutcome::Committed { .. }));
        let ids: Vec<Value> = rows(&local.lake, &table).await.into_iter().map(|row| row[0].clone()).collect();
        let expect = match (scd_type, feed) {
            (ScdType::One, Feed::Deletes) => json!([2]),
            (ScdType::One, _) | (ScdType::Two, Feed::Deletes) => json!([1, 2]),
            (ScdType::Two, _) => json!([1, 1, 2]),
        };
        assert_eq!(Value::from(ids), expect);
    }
}

#[tokio::test]
async fn a_sequence_inside_a_struct_that_is_null_is_none() {
    let local = Local::new();
    let table = name("nested_null");
    let inner = StructType::new([StructField::nullable("at", DataType::Long)]);
    let schema = StructType::new([
        StructField::nullable("id", DataType::Long),
        StructField::nullable("meta", DataType::Struct(inner)),
    ]);
    let rows = |nulls: Option<NullBuffer>| -> RecordBatch {
        let arrow = schema.to_arrow();
        let arrow_schema::DataType::Struct(fields) = arrow.field(1).data_type() else { panic!() };
        let at: ArrayRef = Arc::new(Int64Array::from(vec![5, 6]));
        let meta = StructArray::try_new(fields.clone(), vec![at], nulls).unwrap();
        let ids: ArrayRef = Arc::new(Int64Array::from(vec![1, 2]));
        RecordBatch::try_new(Arc::clone(&arrow), vec![ids, Arc::new(meta)]).unwrap()
    };
    let mut up = changes(&table, ScdType::One, TrackHistory::All, Feed::Upserts);
    up.schema = schema.clone();
    let up = with(&up, |cdc| cdc.sequence_by = Some("meta.at".into()));
    let mut writer = local.lake.writer(up).await.unwrap();
    let error = writer.write(rows(Some(NullBuffer::from(vec![true, false])))).await.unwrap_err();
    says(&error, &["1 rows", "main.tests.nested_null", "`meta.at`"], &["sequence_by"]);
    writer.write(rows(None)).await.unwrap();
    let outcome = writer.commit(Some(&offset(1))).await.unwrap();
    assert!(matches!(outcome, CommitOutcome::Committed { rows: 2, .. }), "{outcome:?}");
}

async fn all_rows(local: &Local, table: &TableName) -> Vec<Value> {
    let read = local.lake.read(table, ReadSpec::default()).await.unwrap();
    canon::sorted(canon::rows(&read.try_collect::<Vec<_>>().await.unwrap()))
}

#[tokio::test]
async fn a_snapshot_must_hold_each_key_once() {
    let local = Local::new();
    for scd_type in [ScdType::One, ScdType::Two] {
        let table = name(&format!("twice_{scd_type:?}").to_lowercase());
        let feed = Feed::Snapshot { version: DateTime::UNIX_EPOCH };
        let mut all = changes(&table, scd_type, TrackHistory::All, feed);
        all.schema = small_schema();
        put(&local.lake, all.clone(), &[small(0..4)], 1).await;
        let before = all_rows(&local, &table).await;
        // Equal rows are two rows as well, in one batch or in two.
        for batches in [vec![small([5, 6, 5])], vec![small([5, 6]), small([1, 5])], vec![small([2, 2])]] {
            let mut writer = local.lake.writer(all.clone()).await.unwrap();
            let mut failed = None;
            for rows in batches {
                failed = failed.or(writer.write(rows).await.err());
            }
            let error = match failed {
                Some(error) => error,
                None => writer.commit(Some(&offset(2))).await.unwrap_err(),
            };
            let called = table.to_string();
            says(&error, &[&called, "the snapshot", "(id = "], &["primary_keys", "--full-refresh=twice"]);
            writer.discard().await.unwrap();
            assert_eq!(all_rows(&local, &table).await, before);
        }
        let null = StringArray::from(vec![Some("x")]);
        let ids = Int64Array::from(vec![None]);
        all.schema.fields[0].nullable = true;
        let null =
            RecordBatch::try_new(all.schema.to_arrow(), vec![Arc::new(ids) as ArrayRef, Arc::new(null)])
                .unwrap();
        assert_eq!(null.column(0).null_count(), 1);
        let error = local.lake.writer(all).await.unwrap().write(null).await.unwrap_err();
        says(&error, &[&table.to_string(), "`id`", "part of the key", "1 rows"], &["primary_keys"]);
    }
}

/// The remedy of all drift, with storage that fails at any step: the table is the old one or the new one.
#[tokio::test]
async fn a_full_refresh_resets_rows_hidden_rows_settings_and_offsets_in_one_swap() {
    let table = name("refreshed");
    let old_rows = vec![
        vec![json!(1), json!(10), json!("a"), json!(null)],
        vec![json!(2), json!(10), json!("b"), json!(null)],
    ];
    let anew = WriterSpec {
        full_refresh: true,
        ..changes(&table, ScdType::Two, TrackHistory::Except(vec!["seq".into()]), Feed::Upserts)
    };
    let anew = with(&anew, |cdc| cdc.keys = vec!["name".into()]);
    // The key 3 was deleted at 50 in the table before.
    let events = [event(3, 40, "k"), event(4, 60, "k")];
    let new_rows = vec![
        vec![json!(3), json!(40), json!("k"), json!(null), json!(40), json!(60)],
        vec![json!(4), json!(60), json!("k"), json!(null), json!(60), json!(null)],
    ];
    let mut met = 0;
    for (after, for_good) in [(false, false), (true, false), (false, true), (true, true)] {
        for step in 1.. {
            let local = Local::new();
            made(&local, &table, ScdType::One, TrackHistory::All).await;
            let (broken, steps) = faulty(&local.dir);
            steps.fails.store(step, Ordering::SeqCst);
            steps.after.store(after, Ordering::SeqCst);
            steps.for_good.store(for_good, Ordering::SeqCst);
            let failed = async {
                let mut writer = broken.writer(anew.clone()).await?;
                writer.write(batch(&events)).await?;
                writer.commit(Some(&offset(7))).await
            }
            .await
            .is_err();
            let taken = steps.taken.load(Ordering::SeqCst);
            let state = local.lake.table(&table).await.unwrap().unwrap();
            let swapped = state.schema.field("__START_AT").is_some();
            let there = rows(&local.lake, &table).await;
            if swapped {
                assert_eq!(there, new_rows, "step {step}");
                assert_eq!(state.flows["flow"].offset, Some(offset(7)));
                // The flow of deletes starts over as well.
                assert!(!state.flows.contains_key("flow.deletes"));
            } else {
                assert!(failed);
                assert_eq!(there, old_rows, "step {step}");
                assert_eq!(state.flows["flow"].offset, Some(offset(1)));
                assert_eq!(state.flows["flow.deletes"].offset, Some(offset(1)));
                // The old table goes on with what it remembers.
                let up = changes(&table, ScdType::One, TrackHistory::All, Feed::Upserts);
                assert!(apply(&local.lake, up, &[event(3, 49, "late"), event(2, 11, "b2")], 2).await);
                assert_eq!(rows(&local.lake, &table).await.len(), 2, "step {step}");
                assert!(apply(&local.lake, anew.clone(), &events, 7).await);
                assert_eq!(rows(&local.lake, &table).await, new_rows, "step {step}");
            }
            // It goes on as what it is now.
            let on = WriterSpec { full_refresh: false, ..anew.clone() };
            assert!(apply(&local.lake, on, &[event(5, 50, "k")], 8).await);
            assert_eq!(rows(&local.lake, &table).await.len(), 3);
            met += usize::from(failed);
            if taken < step {
                assert!(!failed && step > 8);
                break;
            }
        }
    }
    assert!(met > 20, "{met} faults were met");
}
