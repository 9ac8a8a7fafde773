//! What a commit says: the lines of a file of the log, and the flow's own record in it.

use chrono::{DateTime, Utc};
use headwater_connect::Offset;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::FlowState;
use crate::kernel::LiveFile;

/// Domains of flows are named `headwater.<flow>`.
pub(crate) const FLOW_DOMAIN: &str = "headwater.";
/// The domain in which Delta keeps the clustering columns.
pub(crate) const CLUSTERING_DOMAIN: &str = "delta.clustering";

/// What a table holds of a flow: the text of its domain. Persisted; fields are added, never changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct FlowRecord {
    /// Version of this form.
    pub(crate) v: u32,
    /// Number of the last micro-batch.
    pub(crate) micro_batch: u64,
    /// JSON text of the offset, to the letter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) offset: Option<String>,
    /// The offset was taken away on purpose: the flow starts over, and goes on counting.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) forgotten: bool,
    /// When it was committed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) committed_at: Option<DateTime<Utc>>,
    /// What the table held after the last commit of a snapshot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) snapshot: Option<SnapshotMark>,
    /// Paths of the files that the last numbered commit added.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) files: Option<Vec<String>>,
}

/// Tells whether a snapshot equals the table without reading the table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SnapshotMark {
    /// Key of the hash.
    pub(crate) key: String,
    /// Sum of the hashes of all rows.
    pub(crate) sum: String,
    /// How many rows.
    pub(crate) rows: u64,
    /// Fingerprint of the live files, so that another writer's change is noticed.
    pub(crate) files: String,
}

impl FlowRecord {
    pub(crate) const VERSION: u32 = 1;

    /// The state as the engine sees it; `None` where the flow starts over.
    pub(crate) fn state(&self) -> Option<FlowState> {
        if self.forgotten {
            return None;
        }
        let offset = self.offset.as_deref().and_then(|text| Offset::from_json(text).ok());
        Some(FlowState { micro_batch: self.micro_batch, offset, committed_at: self.committed_at })
    }
}

/// A data file that is written and not yet in the log.
#[derive(Debug, Clone)]
pub(crate) struct DataFile {
    /// Name, relative to the table; nothing in it needs an escape.
    pub(crate) path: String,
    /// Size in bytes.
    pub(crate) size: u64,
    /// Rows.
    pub(crate) rows: u64,
    /// When it was written, in milliseconds since 1970.
    pub(crate) modification_time: i64,
    /// Statistics, as JSON text.
    pub(crate) stats: String,
}

/// An `add` action.
pub(crate) fn add(file: &DataFile, data_change: bool) -> Value {
    json!({"add": {
        "path": file.path,
        "partitionValues": {},
        "size": file.size,
        "modificationTime": file.modification_time,
        "dataChange": data_change,
        "stats": file.stats,
    }})
}

/// An `add` action for a file that is in the log already, in an older version.
pub(crate) fn add_again(file: &LiveFile) -> Value {
    let mut body = json!({
        "path": file.path,
        "partitionValues": file.partition_values,
        "size": file.size,
        "modificationTime": file.modification_time,
        "dataChange": true,
    });
    if let Some(stats) = &file.stats {
        body["stats"] = stats.clone().into();
    }
    if let Some(vector) = &file.deletion_vector {
        body["deletionVector"] = vector.clone();
    }
    json!({"add": body})
}

/// A `remove` action.
pub(crate) fn remove(file: &LiveFile, at: DateTime<Utc>, data_change: bool) -> Value {
    let mut body = json!({
        "path": file.path,
        "deletionTimestamp": at.timestamp_millis(),
        "dataChange": data_change,
        "extendedFileMetadata": true,
        "partitionValues": file.partition_values,
        "size": file.size,
    });
    if let Some(vector) = &file.deletion_vector {
        body["deletionVector"] = vector.clone();
    }
    json!({"remove": body})
}

/// A `txn` action.
pub(crate) fn transaction(flow: &str, micro_batch: u64, at: DateTime<Utc>) -> Value {
    json!({"txn": {"appId": flow, "version": micro_batch, "lastUpdated": at.timestamp_millis()}})
}

/// The `domainMetadata` action of a flow.
pub(crate) fn flow_domain(flow: &str, record: &FlowRecord) -> Result<Value, serde_json::Error> {
    Ok(domain(&format!("{FLOW_DOMAIN}{flow}"), &serde_json::to_string(record)?))
}

/// The actions that make flows start over, with numbers that go on: a full refresh took away what they had written.
pub(crate) fn forget<'a>(
    flows: impl Iterator<Item = (&'a String, &'a FlowRecord)>,
    at: DateTime<Utc>,
) -> Result<Vec<Value>, serde_json::Error> {
    let mut lines = Vec::new();
    for (flow, earlier) in flows {
        let forgotten = FlowRecord {
            v: FlowRecord::VERSION,
            micro_batch: earlier.micro_batch + 1,
            offset: None,
            forgotten: true,
            committed_at: Some(at),
            snapshot: None,
            files: None,
        };
        lines.push(transaction(flow, forgotten.micro_batch, at));
        lines.push(flow_domain(flow, &forgotten)?);
    }
    Ok(lines)
}

/// A `domainMetadata` action.
pub(crate) fn domain(name: &str, configuration: &str) -> Value {
    json!({"domainMetadata": {"domain": name, "configuration": configuration, "removed": false}})
}

/// The clustering domain for columns by the names that the files have.
pub(crate) fn clustering(physical: &[String]) -> Value {
    let columns: Vec<_> = physical.iter().map(|name| vec![name]).collect();
    let body = json!({"clusteringColumns": columns, "domainName": CLUSTERING_DOMAIN});
    domain(CLUSTERING_DOMAIN, &body.to_string())
}

/// The columns that a clustering domain names.
pub(crate) fn clustering_columns(configuration: &str) -> Vec<String> {
    #[derive(Deserialize)]
    struct Body {
        #[serde(rename = "clusteringColumns")]
        columns: Vec<Vec<String>>,
    }
    let body: Result<Body, _> = serde_json::from_str(configuration);
    body.map(|b| b.columns.iter().map(|path| path.join(".")).collect()).unwrap_or_default()
}

/// What a commit says of itself.
pub(crate) struct CommitInfo<'a> {
    pub(crate) at: DateTime<Utc>,
    /// `WRITE`, `OPTIMIZE`, …: the kernel keeps its counts of files only through names that it knows.
    pub(crate) operation: &'a str,
    pub(crate) parameters: Vec<(&'a str, String)>,
    pub(crate) metrics: Vec<(&'a str, u64)>,
    pub(crate) engine: &'a str,
    pub(crate) blind_append: bool,
    /// Tells this commit from any other.
    pub(crate) id: &'a str,
}

impl CommitInfo<'_> {
    /// The `commitInfo` action.
    pub(crate) fn line(&self) -> Value {
        let parameters: serde_json::Map<_, _> =
            self.parameters.iter().map(|(k, v)| ((*k).to_owned(), json!(v))).collect();
        let metrics: serde_json::Map<_, _> =
            self.metrics.iter().map(|(k, v)| ((*k).to_owned(), json!(v.to_string()))).collect();
        json!({"commitInfo": {
            "timestamp": self.at.timestamp_millis(),
            "operation": self.operation,
            "operationParameters": parameters,
            "operationMetrics": metrics,
            "engineInfo": self.engine,
            "isBlindAppend": self.blind_append,
            "txnId": self.id,
        }})
    }
}

/// A fingerprint of a set of files, whatever their order.
pub(crate) fn fingerprint<'a>(keys: impl Iterator<Item = std::borrow::Cow<'a, str>>) -> String {
    let mut keys: Vec<_> = keys.collect();
    keys.sort_unstable();
    // FNV-1a over 128 bits: written to disk, so it must never change.
    let mut hash: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    for byte in keys.iter().flat_map(|key| key.bytes().chain([0])) {
        hash = (hash ^ u128::from(byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b);
    }
    format!("{hash:032x}")
}

#[cfg(test)]
mod tests {
    use super::{FlowRecord, SnapshotMark, clustering, clustering_columns, fingerprint};

    #[test]
    fn a_record_is_read_back_as_it_was_written() {
        let record = FlowRecord {
            v: FlowRecord::VERSION,
            micro_batch: 7,
            offset: Some("{\"at\": 1.50,  \"id\":123456789012345678901}".into()),
            forgotten: false,
            committed_at: None,
            snapshot: Some(SnapshotMark {
                key: "00".into(),
                sum: "ff".into(),
                rows: 3,
                files: fingerprint(["a".into()].into_iter()),
            }),
            files: None,
        };
        let text = serde_json::to_string(&record).unwrap();
        let back: FlowRecord = serde_json::from_str(&text).unwrap();
        assert_eq!(back, record);
        let offset = back.state().unwrap().offset.unwrap();
        assert_eq!(offset.as_json(), record.offset.unwrap());
        let later = r#"{"v":1,"micro_batch":2,"something_new":true}"#;
        assert_eq!(serde_json::from_str::<FlowRecord>(later).unwrap().micro_batch, 2);
    }

    #[test]
    fn a_fingerprint_depends_on_the_set_and_not_on_its_order() {
        let of = |keys: &[&'static str]| fingerprint(keys.iter().map(|&k| k.into()));
        assert_eq!(of(&["a", "b"]), of(&["b", "a"]));
        assert_ne!(of(&["a", "b"]), of(&["ab"]));
        assert_ne!(of(&["a"]), of(&[]));
        assert_eq!(of(&["a"]), "0880954519ab1be95aa0733055b70e0c");
    }

    #[test]
    fn clustering_columns_are_read_back() {
        let line = clustering(&["a".into(), "b c".into()]);
        let text = line["domainMetadata"]["configuration"].as_str().unwrap();
        assert_eq!(clustering_columns(text), ["a", "b c"]);
    }
}
