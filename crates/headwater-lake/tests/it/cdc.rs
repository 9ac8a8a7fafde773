//! Changes of rows with keys, on a real table: what Spark's own tables looked like after each micro-batch.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, ArrayRef, Int64Array, RecordBatch, StringArray, StructArray};
use futures::TryStreamExt;
use headwater_connect::{DataType, StructField, StructType};
use headwater_lake::{
    CdcSpec, CommitOutcome, DeltaLake, Feed, Lake, ReadSpec, ScdType, TableName, TrackHistory, WriteMode,
    WriterSpec,
};
use serde_json::{Value, json};

use crate::canon;
use crate::maker::{Local, name, offset, spec};

const VECTORS: &str = include_str!("../../../headwater-cdc/tests/data/auto_cdc_vectors.json");

pub(crate) fn schema() -> StructType {
    StructType::new([
        StructField::nullable("id", DataType::Long),
        StructField::nullable("seq", DataType::Long),
        StructField::nullable("name", DataType::String),
        StructField::nullable("note", DataType::String),
    ])
}

/// An event: key, sequence, name and note.
pub(crate) type Event = (i64, i64, Option<String>, Option<String>);

pub(crate) fn batch(events: &[Event]) -> RecordBatch {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(events.iter().map(|e| e.0).collect::<Int64Array>()),
        Arc::new(events.iter().map(|e| e.1).collect::<Int64Array>()),
        Arc::new(events.iter().map(|e| e.2.clone()).collect::<StringArray>()),
        Arc::new(events.iter().map(|e| e.3.clone()).collect::<StringArray>()),
    ];
    RecordBatch::try_new(schema().to_arrow(), columns).unwrap()
}

pub(crate) fn changes(table: &TableName, scd_type: ScdType, track: TrackHistory, feed: Feed) -> WriterSpec {
    let cdc = CdcSpec {
        keys: vec!["id".into()],
        scd_type,
        feed,
        sequence_by: (!matches!(feed, Feed::Snapshot { .. })).then(|| "seq".into()),
        track,
        tombstone_retention: None,
        deletion_vectors: None,
    };
    let flow = if feed == Feed::Deletes { "flow.deletes" } else { "flow" };
    WriterSpec { flow: flow.into(), ..spec(table, &schema(), WriteMode::Cdc(cdc)) }
}

/// Applies events as one micro-batch and says whether there was a commit.
pub(crate) async fn apply(lake: &DeltaLake, spec: WriterSpec, events: &[Event], at: i64) -> bool {
    let mut writer = lake.writer(spec).await.unwrap();
    writer.write(batch(events)).await.unwrap();
    matches!(writer.commit(Some(&offset(at))).await.unwrap(), CommitOutcome::Committed { .. })
}

/// All rows as JSON arrays, sorted.
pub(crate) async fn rows(lake: &DeltaLake, table: &TableName) -> Vec<Vec<Value>> {
    let batches: Vec<RecordBatch> =
        lake.read(table, ReadSpec::default()).await.unwrap().try_collect().await.unwrap();
    let mut rows = Vec::new();
    for batch in batches {
        for row in 0..batch.num_rows() {
            let value = |column: &ArrayRef| {
                if column.is_null(row) {
                    Value::Null
                } else if let Some(numbers) = column.as_primitive_opt::<Int64Type>() {
                    numbers.value(row).into()
                } else {
                    column.as_string::<i32>().value(row).into()
                }
            };
            rows.push(batch.columns().iter().map(value).collect::<Vec<_>>());
        }
    }
    rows.sort_by_key(|row| serde_json::to_string(row).unwrap());
    rows
}

/// `U5a:x` is an upsert at 5 of the name `a` and the note `x`, `D5` a delete; `-` stands for no name.
fn event(text: &str) -> (bool, Event) {
    let (kind, rest) = text.split_at(1);
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let (at, rest) = rest.split_at(digits);
    let (word, note) =
        rest.split_once(':').map_or((rest, None), |(word, note)| (word, Some(note.to_owned())));
    let word = (!word.is_empty() && word != "-").then(|| word.to_owned());
    (kind == "D", (1, at.parse().unwrap(), word, note))
}

#[tokio::test]
async fn tables_look_as_sparks_do_after_each_micro_batch() {
    let vectors: Value = serde_json::from_str(VECTORS).unwrap();
    let local = Local::new();
    let mut compared = 0;
    for scenario in vectors["scenarios"].as_array().unwrap() {
        for (number, config) in ["v_scd1", "v_scd2_name", "v_scd2_all"].into_iter().enumerate() {
            let (scd_type, track) = match config {
                "v_scd1" => (ScdType::One, TrackHistory::All),
                "v_scd2_name" => (ScdType::Two, TrackHistory::Only(vec!["name".into()])),
                _ => (ScdType::Two, TrackHistory::All),
            };
            let table = name(&format!("vectors_{}_{number}", scenario["id"]));
            let mut at = 0;
            for (step, text) in scenario["batches"].as_array().unwrap().iter().enumerate() {
                let (deletes, upserts): (Vec<_>, Vec<_>) =
                    text.as_str().unwrap().split_whitespace().map(event).partition(|e| e.0);
                // Events of both kinds in one micro-batch are two here: ties between them are another matter.
                let tie = upserts.iter().any(|u| deletes.iter().any(|d| d.1.1 == u.1.1));
                for (feed, events) in [(Feed::Upserts, upserts), (Feed::Deletes, deletes)] {
                    at += 1;
                    let events: Vec<Event> = events.into_iter().map(|e| e.1).collect();
                    let spec = changes(&table, scd_type, track.clone(), feed);
                    apply(&local.lake, spec, &events, at).await;
                }
                if tie && scd_type == ScdType::One {
                    break;
                }
                let expect: &Value = &scenario["after"][config][step]["target"];
                let mut expect: Vec<Vec<Value>> = expect
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|row| {
                        let row = row.as_array().unwrap();
                        match scd_type {
                            ScdType::One => vec![1.into(), row[0].clone(), row[1].clone(), row[2].clone()],
                            ScdType::Two => vec![
                                1.into(),
                                row[2].clone(),
                                row[3].clone(),
                                row[4].clone(),
                                row[0].clone(),
                                row[1].clone(),
                            ],
                        }
                    })
                    .collect();
                expect.sort_by_key(|row| serde_json::to_string(row).unwrap());
                let found = rows(&local.lake, &table).await;
                assert_eq!(found, expect, "scenario {} {config} after {text} ({step})", scenario["id"]);
                compared += 1;
            }
        }
    }
    assert!(compared > 150, "{compared}");
}

#[tokio::test]
async fn the_same_micro_batch_again_writes_nothing() {
    let local = Local::new();
    for (scd_type, track) in
        [(ScdType::One, TrackHistory::All), (ScdType::Two, TrackHistory::Except(vec!["seq".into()]))]
    {
        let table = name(&format!("again_{scd_type:?}").to_lowercase());
        let events: Vec<Event> =
            (0..1_000).map(|i| (i % 400, i, Some(format!("n{}", i % 3)), None)).collect();
        let deletes: Vec<Event> = (0..50).map(|i| (i * 8, 900 + i, None, None)).collect();
        let up = || changes(&table, scd_type, track.clone(), Feed::Upserts);
        let down = || changes(&table, scd_type, track.clone(), Feed::Deletes);
        assert!(apply(&local.lake, up(), &events, 1).await);
        assert!(apply(&local.lake, down(), &deletes, 1).await);
        let before = (rows(&local.lake, &table).await, files(&local, &table));
        assert!(!apply(&local.lake, up(), &events, 1).await, "{scd_type:?}");
        assert!(!apply(&local.lake, down(), &deletes, 1).await, "{scd_type:?}");
        assert_eq!((rows(&local.lake, &table).await, files(&local, &table)), before, "{scd_type:?}");
    }
}

/// With column mapping the sequence and the two columns that repeat its type have names and ids of their own inside.
#[tokio::test]
async fn a_sequence_may_be_a_struct_in_a_history_whose_names_are_mapped() {
    let (local, table) = (Local::new(), name("struct_sequence"));
    let sequence = StructType::new([
        StructField::nullable("day", DataType::Long),
        StructField::nullable("n", DataType::Long),
    ]);
    let schema = StructType::new([
        StructField::nullable("id", DataType::Long),
        StructField::nullable("seq", DataType::Struct(sequence)),
        StructField::nullable("a name", DataType::String),
    ]);
    let made = |events: &[(i64, i64, &str)]| -> RecordBatch {
        let arrow = schema.to_arrow();
        let arrow_schema::DataType::Struct(fields) = arrow.field(1).data_type() else { panic!() };
        let days: ArrayRef = Arc::new(Int64Array::from(vec![7; events.len()]));
        let numbers: ArrayRef = Arc::new(events.iter().map(|e| e.1).collect::<Int64Array>());
        let columns: Vec<ArrayRef> = vec![
            Arc::new(events.iter().map(|e| e.0).collect::<Int64Array>()),
            Arc::new(StructArray::try_new(fields.clone(), vec![days, numbers], None).unwrap()),
            Arc::new(events.iter().map(|e| Some(e.2)).collect::<StringArray>()),
        ];
        RecordBatch::try_new(arrow, columns).unwrap()
    };
    let track = TrackHistory::Only(vec!["a name".into()]);
    for (at, feed, events) in [
        (1, Feed::Upserts, vec![(1, 10, "a"), (1, 20, "a"), (2, 10, "b")]),
        // Hidden: a delete that nobody knows the row of; the first member of the run is hidden already.
        (1, Feed::Deletes, vec![(2, 30, ""), (3, 50, "")]),
        (2, Feed::Upserts, vec![(1, 15, "c"), (3, 40, "d"), (3, 60, "e")]),
    ] {
        let spec = changes(&table, ScdType::Two, track.clone(), feed);
        let mut writer = local.lake.writer(WriterSpec { schema: schema.clone(), ..spec }).await.unwrap();
        writer.write(made(&events)).await.unwrap();
        let outcome = writer.commit(Some(&offset(at))).await.unwrap();
        assert!(matches!(outcome, CommitOutcome::Committed { .. }), "{outcome:?}");
    }
    let read: Vec<RecordBatch> =
        local.lake.read(&table, ReadSpec::default()).await.unwrap().try_collect().await.unwrap();
    let shown = canon::rows(&read).into_iter().map(|row| {
        let n = |column: &str| row[column]["n"].clone();
        json!([row["id"], row["a name"], n("__START_AT"), n("__END_AT")])
    });
    let expect = json!([
        [1, "a", 10, 15],
        [1, "a", 20, null],
        [1, "c", 15, 20],
        [2, "b", 10, 30],
        [3, "d", 40, 50],
        [3, "e", 60, null],
    ]);
    assert_eq!(Value::from(canon::sorted(shown.collect())), expect);
}

/// More rows than one row group of a file holds.
const MANY: i64 = 300_000;

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_end_are_taken_from_all_row_groups_of_a_file() {
    let (local, table) = (Local::new(), name("row_groups"));
    let spec = WriterSpec {
        memory_bytes: 1 << 30,
        ..changes(&table, ScdType::Two, TrackHistory::All, Feed::Upserts)
    };
    let event = |id: i64, seq: i64| (id, seq, Some(format!("{id} at {seq}")), None);
    let all: Vec<Event> = (0..MANY).map(|id| event(id, 1)).collect();
    assert!(apply(&local.lake, spec.clone(), &all, 1).await);
    // In no order, and from everywhere.
    let ended: Vec<i64> = (0..300).map(|n| n * 7_919 % 300 * (MANY / 300) + n).collect();
    let newer: Vec<Event> = ended.iter().map(|id| event(*id, 2)).collect();
    assert!(apply(&local.lake, spec, &newer, 2).await);

    let read: Vec<RecordBatch> =
        local.lake.read(&table, ReadSpec::default()).await.unwrap().try_collect().await.unwrap();
    let mut found = BTreeMap::new();
    for row in canon::rows(&read) {
        let number = |column: &str| row[column].as_i64();
        let (id, seq) = (number("id").unwrap(), number("seq").unwrap());
        assert_eq!(row["name"].as_str(), Some(format!("{id} at {seq}").as_str()));
        assert_eq!(number("__START_AT"), Some(seq));
        assert!(found.insert((id, seq), number("__END_AT")).is_none());
    }
    let ended: BTreeSet<i64> = ended.into_iter().collect();
    assert_eq!(found.len(), 300_300);
    assert!((0..MANY).all(|id| found[&(id, 1)] == ended.contains(&id).then_some(2)));
    assert!(ended.iter().all(|id| found[&(*id, 2)].is_none()));
}

/// Every file of a table, with its size.
fn files(local: &Local, table: &TableName) -> BTreeMap<String, u64> {
    let mut found = BTreeMap::new();
    let mut folders = vec![std::path::PathBuf::from(local.path(table))];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
            } else {
                found.insert(entry.path().display().to_string(), entry.metadata().unwrap().len());
            }
        }
    }
    found
}
