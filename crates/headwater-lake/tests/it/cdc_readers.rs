//! Current rows and histories, with deletion vectors and without, read by readers that we did not write.

use std::collections::BTreeSet;

use headwater_connect::StructType;
use headwater_lake::{Feed, Lake, ScdType, TableName, TrackHistory, WriteMode, WriterSpec};
use serde_json::{Value, json};

use crate::canon;
use crate::cdc_model::{Column, Event, MAPPED, Received, Shape, Shown};
use crate::cdc_values::{Kind, RANKS};
use crate::maker::{Local, name, put, same_everywhere, same_for, sound_stats, spec};
use crate::readers::{READERS, ask, sql};

/// A table that takes changes, and what it must show.
struct Changing {
    table: TableName,
    shape: Shape,
    columns: Vec<Column>,
    received: Received,
}

impl Changing {
    fn new(table: &str, scd_type: ScdType, deletion_vectors: Option<bool>, values: &[usize]) -> Self {
        let shape = Shape {
            scd_type,
            // More digits than a double has: what a file is said to hold must be exact to be of use.
            keys: vec![Kind::Decimal],
            sequence: Kind::Decimal,
            nested: false,
            track: match scd_type {
                ScdType::One => TrackHistory::All,
                ScdType::Two => TrackHistory::Only(vec!["a".into()]),
            },
            deletion_vectors,
            cluster_by: vec!["b".into()],
            required_keys: true,
            wide: false,
            target_file_bytes: 1 << 30,
        };
        let mut columns = vec![Column::Key(0), Column::Sequence];
        columns.extend(values.iter().map(|at| Column::Value(*at)));
        Self { table: name(table), shape, columns, received: Received::default() }
    }

    /// Micro-batches of these numbers; each third is of deletes.
    async fn take(&mut self, local: &Local, numbers: std::ops::Range<usize>) {
        for number in numbers {
            let delete = number % 3 == 2;
            let mut random = fastrand::Rng::with_seed(u64::try_from(number).unwrap());
            let mut events: Vec<Event> = Vec::new();
            for _ in 0..20 {
                let (key, at) =
                    (random.usize(..9), random.usize(..RANKS / 3) * 3 + if delete { 2 } else { 0 });
                let mut values = [None; 5];
                for column in &self.columns {
                    if let Column::Value(value) = column {
                        values[*value] = Some((key + at * (value + 1)) % 4).filter(|v| *v > 0);
                    }
                }
                if !events.iter().any(|e| e.key == key && e.at == at) {
                    events.push(Event { key, at, delete, values });
                }
            }
            let rows: Vec<Shown> = events.iter().map(Shown::of).collect();
            let rows = self.shape.batch(&self.columns, &rows);
            put(&local.lake, self.spec(delete), &[rows], i64::try_from(number).unwrap()).await;
            self.received.micro_batches.push(events);
        }
    }

    fn spec(&self, delete: bool) -> WriterSpec {
        let feed = if delete { Feed::Deletes } else { Feed::Upserts };
        WriterSpec {
            flow: if delete { "flow.deletes".into() } else { "flow".into() },
            cluster_by: self.shape.cluster_by.clone(),
            ..spec(&self.table, &self.shape.schema(&self.columns), WriteMode::Cdc(self.shape.cdc(feed)))
        }
    }

    fn expect(&self) -> (StructType, Vec<Value>) {
        let mut columns = self.columns.clone();
        let rows = match self.shape.scd_type {
            ScdType::One => {
                let given = vec![(0..5).collect(); self.received.micro_batches.len()];
                self.received.current(&given)
            }
            ScdType::Two => {
                columns.extend([Column::Start, Column::End]);
                self.received.history(&self.shape)
            }
        };
        (self.shape.schema(&columns), canon::rows([&self.shape.batch(&columns, &rows)]))
    }
}

fn features(path: &str) -> Vec<String> {
    let detail = ask("detail", json!({"reader": "deltalake", "path": path})).unwrap();
    serde_json::from_value(detail["reader_features"].clone()).unwrap()
}

/// Deletion vectors that the log names, in all versions.
fn vectors(path: &str) -> usize {
    let log = ask("log", json!({"path": path})).unwrap();
    let actions = log.as_array().unwrap().iter().flat_map(|c| c[1].as_array().unwrap());
    actions.filter(|a| a["add"]["deletionVector"].is_object()).count()
}

#[tokio::test]
async fn tables_with_deletion_vectors_are_read_alike_and_by_pyarrow_not_at_all() {
    let local = Local::new();
    for scd_type in [ScdType::One, ScdType::Two] {
        let mut changing =
            Changing::new(&format!("vectors_{scd_type:?}").to_lowercase(), scd_type, None, &[0, 1, 3]);
        let path = local.path(&changing.table);
        changing.take(&local, 0..7).await;
        assert!(vectors(&path) > 0);
        let (schema, rows) = changing.expect();
        assert!(rows.len() > 3);
        same_everywhere(&path, &schema, &rows);
        assert_eq!(features(&path), ["deletionVectors"]);
        let error = ask("read", json!({"reader": "pyarrow", "path": path})).unwrap_err();
        assert!(error.contains("deletionVectors"), "{error}");
        let bounded = sound_stats(&path)["bounded"].as_array().unwrap().clone();
        assert!(bounded.contains(&json!("k0")) && bounded.contains(&json!("seq")), "{bounded:?}");

        // Merged, and changed again.
        local.lake.optimize(&changing.table, WriterSpec::DEFAULT_TARGET_FILE_BYTES).await.unwrap();
        same_everywhere(&path, &schema, &rows);
        changing.take(&local, 7..9).await;
        let (schema, rows) = changing.expect();
        same_everywhere(&path, &schema, &rows);
        let detail = ask("detail", json!({"reader": "spark", "path": path})).unwrap();
        assert_eq!(detail["cluster_by"], json!(["b"]));
    }
}

#[tokio::test]
async fn without_deletion_vectors_a_new_table_asks_nothing_of_a_reader() {
    let local = Local::new();
    for scd_type in [ScdType::One, ScdType::Two] {
        let table = format!("no_vectors_{scd_type:?}").to_lowercase();
        let mut changing = Changing::new(&table, scd_type, Some(false), &[0, 1]);
        let path = local.path(&changing.table);
        changing.take(&local, 0..7).await;
        assert_eq!((vectors(&path), features(&path).len()), (0, 0));
        let (schema, rows) = changing.expect();
        same_everywhere(&path, &schema, &rows);
        same_for("pyarrow", &path, &schema, &rows, None);
        // The table's property says it from then on.
        changing.shape.deletion_vectors = None;
        changing.take(&local, 7..9).await;
        assert_eq!(vectors(&path), 0);
        let (schema, rows) = changing.expect();
        same_for("pyarrow", &path, &schema, &rows, None);
    }
}

#[tokio::test]
async fn deletion_vectors_are_turned_off_by_the_property_that_another_writer_sets() {
    let local = Local::new();
    let mut changing = Changing::new("turned_off", ScdType::One, None, &[0, 1]);
    let path = local.path(&changing.table);
    changing.take(&local, 0..4).await;
    let before = vectors(&path);
    assert!(before > 0);
    sql(&[format!("ALTER TABLE delta.`{path}` SET TBLPROPERTIES ('delta.enableDeletionVectors' = 'false')")]);
    changing.take(&local, 4..9).await;
    assert_eq!(vectors(&path), before);
    let (schema, rows) = changing.expect();
    same_everywhere(&path, &schema, &rows);
}

#[tokio::test]
async fn a_name_with_a_blank_is_read_by_those_that_know_column_mapping() {
    let local = Local::new();
    for scd_type in [ScdType::One, ScdType::Two] {
        let table = format!("mapped_{scd_type:?}").to_lowercase();
        let mut changing = Changing::new(&table, scd_type, None, &[0, 1, MAPPED]);
        let path = local.path(&changing.table);
        changing.take(&local, 0..7).await;
        let (schema, rows) = changing.expect();
        for reader in READERS.into_iter().filter(|r| *r != "polars") {
            same_for(reader, &path, &schema, &rows, None);
        }
        let error = ask("read", json!({"reader": "polars", "path": path})).unwrap_err();
        assert!(error.contains("columnMapping"), "{error}");
        sound_stats(&path);
    }
}

/// The files below a folder.
fn files(folder: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let text = path.to_str().unwrap().to_owned();
        if path.is_dir() {
            found.extend(files(&text));
        } else {
            found.insert(text);
        }
    }
    found
}

#[tokio::test]
async fn sparks_vacuum_leaves_hidden_rows_alone_and_changes_go_on() {
    let local = Local::new();
    for scd_type in [ScdType::One, ScdType::Two] {
        let table = format!("vacuumed_{scd_type:?}").to_lowercase();
        let mut changing = Changing::new(&table, scd_type, None, &[0, 1]);
        let path = local.path(&changing.table);
        changing.take(&local, 0..7).await;
        let hidden = files(&format!("{path}/_headwater_hidden"));
        assert!(hidden.iter().any(|f| f.ends_with(".parquet")));
        let data = || files(&path).iter().filter(|f| !f.contains("/_")).count();
        let all = data();
        sql(&[
            "SET spark.databricks.delta.retentionDurationCheck.enabled = false".to_owned(),
            format!("VACUUM delta.`{path}` RETAIN 0 HOURS"),
        ]);
        assert_eq!(files(&format!("{path}/_headwater_hidden")), hidden);
        assert!(data() < all, "there was nothing to remove");
        let (schema, rows) = changing.expect();
        same_everywhere(&path, &schema, &rows);
        changing.take(&local, 7..13).await;
        let (schema, rows) = changing.expect();
        same_everywhere(&path, &schema, &rows);
    }
}
