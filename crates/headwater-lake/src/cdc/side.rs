//! The two tables of a target: the rows that readers see, and the hidden ones. Each is a set of files that changes are
//! applied to before anything is committed.

use std::sync::Arc;

use headwater_connect::{DataType, StructField, StructType};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use uuid::Uuid;

use crate::LakeError;
use crate::actions::{self, DataFile};
use crate::cdc::fileset::{Entry, FileSet, Origin};
use crate::cdc::vectors;
use crate::encode::Layout;
use crate::files::{DataFiles, Limits};
use crate::kernel::{LiveFile, damaged};
use crate::plan::Plan;
use crate::protocol;
use crate::schema::{MAPPING_ID, PHYSICAL_NAME};
use crate::table::{Table, View};

/// The column of hidden rows that says when they were hidden.
pub(crate) const REMEMBERED_AT: &str = "__REMEMBERED_AT";

/// One of the two tables.
#[derive(Debug)]
pub(crate) struct Side {
    pub(crate) set: FileSet,
    pub(crate) files: DataFiles,
    pub(crate) layout: Arc<Layout>,
    /// Finished files that the set knows already.
    known: usize,
}

/// What a commit does to the files of a table.
#[derive(Debug, Default)]
pub(crate) struct FileActions {
    pub(crate) lines: Vec<Value>,
    pub(crate) added: u64,
    pub(crate) removed: u64,
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
}

impl Side {
    pub(crate) fn new(
        table: Table,
        layout: Arc<Layout>,
        live: impl IntoIterator<Item = LiveFile>,
        limits: Limits,
        cache_bytes: usize,
    ) -> Result<Self, LakeError> {
        let set = FileSet::new(table.clone(), &layout, live, cache_bytes)?;
        let files = DataFiles::new(table, Arc::clone(&layout), limits, None);
        Ok(Self { set, files, layout, known: 0 })
    }

    /// Ends the files that are being written and makes them part of the set.
    pub(crate) async fn settle(&mut self) -> Result<(), LakeError> {
        self.files.finish().await?;
        let new: Vec<DataFile> = self.files.done().get(self.known..).unwrap_or_default().to_vec();
        self.known += new.len();
        self.set.add(new)
    }

    /// The commit stands: what was new is live.
    pub(crate) fn committed(&mut self, live: impl IntoIterator<Item = LiveFile>) -> Result<(), LakeError> {
        self.files.committed();
        self.known = 0;
        self.set.rebase(&self.layout, live)
    }

    /// Writes the live rows of chosen files anew; the files go with the next commit.
    pub(crate) async fn rewrite(&mut self, wanted: &[usize]) -> Result<(), LakeError> {
        let all: Vec<usize> = (0..self.layout.arrow.fields().len()).collect();
        for &file in wanted {
            let (sender, mut batches) = tokio::sync::mpsc::channel(2);
            let mut reading = self.set.live_rows(file, &all, 1, sender).await?;
            while let Some((_, batch)) = batches.recv().await {
                if batch.num_rows() > 0 {
                    self.files.write(batch).await?;
                }
            }
            // The channel also ends where the reader fails: that must not pass for the end of the rows.
            while let Some(ended) = reading.join_next().await {
                ended.map_err(|lost| LakeError::TaskLost { source: Box::new(lost) })??;
            }
        }
        for &file in wanted {
            if let Some(entry) = self.set.entries.get_mut(file) {
                entry.gone = true;
            }
        }
        self.settle().await
    }

    /// Writes the vectors of files in which rows died since the log was read.
    pub(crate) async fn write_vectors(&mut self) -> Result<(), LakeError> {
        let table = self.set.table.clone();
        let wanted: Vec<usize> = (0..self.set.entries.len())
            .filter(|&at| {
                let entry = &self.set.entries[at];
                !entry.gone && entry.changed && entry.described().is_none_or(Value::is_null)
            })
            .collect();
        let dead: Vec<_> = wanted.iter().filter_map(|&at| self.set.entries[at].dead()).collect();
        if dead.is_empty() {
            return Ok(());
        }
        let (described, path) = vectors::write(&table, &dead).await?;
        self.files.begun(path);
        for (at, vector) in wanted.into_iter().zip(described) {
            self.set.entries[at].describe(vector);
        }
        Ok(())
    }

    /// The actions that lead from the files the log names, `live`, to those of the set.
    pub(crate) fn actions(&self, live: &[LiveFile]) -> Result<FileActions, LakeError> {
        let now = self.set.table.now();
        let mut made = FileActions::default();
        let mut present: BTreeMap<&str, &LiveFile> = live.iter().map(|f| (f.path.as_str(), f)).collect();
        let mut adds = Vec::new();
        for entry in self.set.entries.iter().filter(|e| !e.gone) {
            let vector = entry.described().filter(|v| !v.is_null());
            match &entry.origin {
                Origin::Live(file) => {
                    let same =
                        present.get(file.path.as_str()).is_some_and(|f| f.deletion_vector.as_ref() == vector);
                    if same {
                        present.remove(file.path.as_str());
                    } else {
                        adds.push(self.add_live(file, entry, vector)?);
                    }
                }
                Origin::New(file) => {
                    made.added += 1;
                    made.rows += file.rows - entry.dead().map_or(0, roaring::RoaringTreemap::len);
                    made.bytes += file.size;
                    // A commit of hidden rows that stands while the target's was lost has the file already.
                    let same =
                        present.get(file.path.as_str()).is_some_and(|f| f.deletion_vector.as_ref() == vector);
                    if same {
                        present.remove(file.path.as_str());
                        continue;
                    }
                    let mut line = actions::add(file, true);
                    if let Some(vector) = vector {
                        line["add"]["deletionVector"] = vector.clone();
                        line["add"]["stats"] = loosened(&file.stats).into();
                    }
                    adds.push(line);
                }
            }
        }
        for file in present.values() {
            made.removed += 1;
            made.lines.push(actions::remove(file, now, true));
        }
        made.lines.append(&mut adds);
        Ok(made)
    }

    fn add_live(&self, file: &LiveFile, entry: &Entry, vector: Option<&Value>) -> Result<Value, LakeError> {
        if entry.changed && vector.is_none() {
            return Err(damaged(
                &self.set.table.name,
                format!("the dead rows of {} were not written", file.path),
            ));
        }
        let mut body = serde_json::json!({
            "path": file.path,
            "partitionValues": file.partition_values,
            "size": file.size,
            "modificationTime": file.modification_time,
            "dataChange": true,
        });
        if let Some(stats) = &file.stats {
            body["stats"] = if vector.is_some() { loosened(stats).into() } else { stats.clone().into() };
        }
        if let Some(vector) = vector {
            body["deletionVector"] = vector.clone();
        }
        Ok(serde_json::json!({ "add": body }))
    }
}

/// Statistics that say of themselves that bounds may be wider than the live rows. Values stay as they are, to the
/// letter: a number that went through a float might not hold all rows any more.
fn loosened(stats: &str) -> String {
    let parsed: Result<BTreeMap<String, Box<RawValue>>, _> = serde_json::from_str(stats);
    let loose = parsed.and_then(|mut fields| {
        fields.insert("tightBounds".into(), RawValue::from_string("false".into())?);
        serde_json::to_string(&fields)
    });
    loose.unwrap_or_else(|_| stats.to_owned())
}

/// The columns of the hidden rows of a table: its own, all of them optional, and when a row was hidden.
pub(crate) fn hidden_schema(schema: &StructType) -> StructType {
    let own = schema.fields.iter().map(|f| StructField { nullable: true, ..f.clone() });
    let mut fields: Vec<StructField> = own.collect();
    let mut remembered = StructField::nullable(REMEMBERED_AT, DataType::Timestamp);
    if schema.fields.iter().any(|f| f.metadata.contains_key(MAPPING_ID)) {
        // The table's own columns get their ids from the bottom.
        remembered.metadata.insert(MAPPING_ID.into(), i32::MAX.into());
        remembered.metadata.insert(PHYSICAL_NAME.into(), REMEMBERED_AT.into());
    }
    fields.push(remembered);
    StructType { fields }
}

/// The properties of column mapping, which the hidden table shares.
pub(crate) fn mapping_properties(plan: &Plan, view: Option<&View>) -> Value {
    let written = plan.lines.iter().find_map(|line| line.get("metaData"));
    let metadata = written.or(view.map(|v| &v.metadata));
    let mut properties = json!({"delta.enableDeletionVectors": "true"});
    if let Some(mode) = metadata.and_then(|m| m["configuration"].get("delta.columnMapping.mode")) {
        properties["delta.columnMapping.mode"] = mode.clone();
        properties["delta.columnMapping.maxColumnId"] = i32::MAX.to_string().into();
    }
    properties
}

/// The lines that give the hidden table its columns, where they change.
pub(crate) fn hidden_lines(
    table: &Table,
    view: Option<&View>,
    schema: &StructType,
    properties: &Value,
) -> Vec<Value> {
    let mapping = properties.get("delta.columnMapping.mode").is_some();
    let uses = protocol::Uses { mapping, vectors: true, ..protocol::Uses::default() };
    let needed = protocol::needed(schema, uses);
    let text = schema.to_json().to_string();
    let metadata = |id: Value, created: Value| {
        json!({"metaData": {
            "id": id,
            "format": {"provider": "parquet", "options": {}},
            "schemaString": text,
            "partitionColumns": [],
            "configuration": properties,
            "createdTime": created,
        }})
    };
    let Some(view) = view else {
        let id = Uuid::new_v4().to_string();
        return vec![
            json!({"protocol": protocol::protocol(&needed)}),
            metadata(id.into(), table.now().timestamp_millis().into()),
        ];
    };
    let mut lines = Vec::new();
    if let Some(upgraded) = protocol::upgrade(&view.protocol, &needed) {
        lines.push(json!({"protocol": upgraded}));
    }
    if view.metadata["schemaString"].as_str() != Some(text.as_str()) {
        lines.push(metadata(view.metadata["id"].clone(), view.metadata["createdTime"].clone()));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::loosened;

    #[test]
    fn loosened_statistics_keep_every_digit() {
        let stats = r#"{"numRecords":3,"minValues":{"d":123456789012345678.9012345678},"tightBounds":true}"#;
        let loose = loosened(stats);
        assert!(loose.contains("123456789012345678.9012345678"), "{loose}");
        assert!(loose.contains(r#""tightBounds":false"#) && loose.contains(r#""numRecords":3"#), "{loose}");
        assert_eq!(loosened("not JSON"), "not JSON");
        assert!(loosened("{}").contains("tightBounds"));
    }
}
