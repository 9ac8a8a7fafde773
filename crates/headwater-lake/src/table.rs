//! One table: what its log says, and adding a version to it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use delta_kernel::snapshot::SnapshotRef;
use headwater_connect::{Clock, Offset, StructType};
use object_store::path::Path;
use serde_json::Value;
use url::Url;

use crate::actions::{CLUSTERING_DOMAIN, FLOW_DOMAIN, FlowRecord, clustering_columns, fingerprint};
use crate::cdc::{CDC_DOMAIN, CdcRecord};
use crate::kernel::{self, KernelEngine, LiveFile, damaged};
use crate::schema::physical_name;
use crate::store::{Created, Storage, StoreOrLost, blocking, storage_error, surely_not_written};
use crate::{FlowState, LakeError, TableName};

/// Every so many versions a checkpoint is written, unless the table's property says otherwise.
const CHECKPOINT_INTERVAL: u64 = 10;
/// The folder of the hidden rows in a table's own, with a slash at the end.
pub(crate) const HIDDEN_FOLDER: &str = "_headwater_hidden/";
/// How often a commit is tried again when storage does not answer.
const COMMIT_TRIES: usize = 3;

/// What all tables of a warehouse share.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) storage: Storage,
    pub(crate) engine: Arc<KernelEngine>,
    pub(crate) root: Url,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) app: String,
    /// Memory for `optimize`.
    pub(crate) optimize_memory_bytes: usize,
    /// Writers tend the files of their tables.
    pub(crate) auto_optimize: bool,
    pub(crate) temp_folder: PathBuf,
}

/// A table, whether it exists or not.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    pub(crate) core: Arc<Core>,
    pub(crate) name: TableName,
    /// Its folder, with a slash at the end.
    pub(crate) location: Url,
    /// Its folder, as the storage names it.
    pub(crate) path: Path,
}

/// A version of a table.
#[derive(Debug, Clone)]
pub(crate) struct View {
    pub(crate) snapshot: SnapshotRef,
    pub(crate) version: u64,
    /// The body of the `metaData` action.
    pub(crate) metadata: Value,
    /// The body of the `protocol` action.
    pub(crate) protocol: Value,
    /// The columns, with what the log keeps beside each.
    pub(crate) schema: StructType,
    /// Clustering columns by the table's names.
    pub(crate) cluster_by: Vec<String>,
    /// The flows that wrote to it.
    pub(crate) flows: BTreeMap<String, FlowRecord>,
    /// How changes are applied to it, where they are.
    pub(crate) cdc: Option<CdcRecord>,
}

/// How far a flow has come in a table.
#[derive(Debug, Clone, Default)]
pub(crate) struct Position {
    /// Number of its last micro-batch, forgotten ones included; 0 before the first.
    pub(crate) last: u64,
    /// What that one reached; `None` where the flow starts over.
    pub(crate) state: Option<FlowState>,
}

impl Position {
    /// Says whether the flow has reached this offset and nothing more.
    pub(crate) fn is_at(&self, offset: Option<&Offset>) -> bool {
        match &self.state {
            Some(state) => state.offset.as_ref() == offset,
            None => offset.is_none(),
        }
    }

    /// Moves on to a micro-batch that is committed.
    pub(crate) fn take(&mut self, record: &FlowRecord) {
        (self.last, self.state) = (record.micro_batch, record.state());
    }
}

/// How an attempt to add a version ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(crate) enum Landed {
    /// The version is ours.
    Won,
    /// Another writer has made that version.
    Lost,
}

impl Table {
    pub(crate) fn new(core: Arc<Core>, name: TableName) -> Result<Self, LakeError> {
        let bad = || LakeError::BadTableName { name: name.to_string() };
        let mut location = core.root.clone();
        {
            let mut segments = location.path_segments_mut().map_err(|()| bad())?;
            segments.pop_if_empty().extend([&name.catalog, &name.schema, &name.table]).push("");
        }
        let path = Path::from_url_path(location.path()).map_err(|_| bad())?;
        Ok(Self { core, name, location, path })
    }

    /// The table of the rows that belong to this one and that readers do not see: in a folder of this one's, by a name
    /// that readers and the cleaning of old files pass over.
    pub(crate) fn hidden(&self) -> Result<Self, LakeError> {
        let bad = |e| damaged(&self.name, e);
        let location = self.location.join(HIDDEN_FOLDER).map_err(bad)?;
        Ok(Self {
            path: self.path.clone().join(HIDDEN_FOLDER.trim_end_matches('/')),
            location,
            ..self.clone()
        })
    }

    /// The folder of the log.
    pub(crate) fn log_path(&self) -> Path {
        self.path.clone().join("_delta_log")
    }

    /// Where a file of the table lies, by its path in the log.
    pub(crate) fn file_path(&self, path: &str) -> Result<Path, LakeError> {
        let url = self.location.join(path).map_err(|e| damaged(&self.name, e))?;
        Path::from_url_path(url.path()).map_err(|e| damaged(&self.name, e))
    }

    pub(crate) fn now(&self) -> DateTime<Utc> {
        self.core.clock.now()
    }

    /// Says whether there is a log.
    pub(crate) async fn exists(&self) -> Result<bool, LakeError> {
        let (_, objects) = self.core.storage.list_folder(&self.log_path()).await?;
        Ok(objects.iter().any(|o| {
            let name = o.location.filename().unwrap_or_default();
            name.as_bytes().first().is_some_and(u8::is_ascii_digit)
                && (name.ends_with(".json") || name.ends_with(".parquet"))
        }))
    }

    /// Reads the newest version; `None` where there is no table.
    pub(crate) async fn view(&self, earlier: Option<&View>) -> Result<Option<View>, LakeError> {
        let from = earlier.map(|v| Arc::clone(&v.snapshot));
        if from.is_none() && !self.exists().await? {
            return Ok(None);
        }
        self.load(from, None).await.map(Some)
    }

    /// Reads the newest version of a table that must be there.
    pub(crate) async fn existing(&self) -> Result<View, LakeError> {
        self.view(None).await?.ok_or_else(|| LakeError::NoTable { table: self.name.clone() })
    }

    /// Reads a version that is named.
    pub(crate) async fn view_at(&self, version: u64) -> Result<View, LakeError> {
        let newest = self.existing().await?;
        if version == newest.version {
            return Ok(newest);
        }
        let none = || LakeError::NoVersion { table: self.name.clone(), version };
        if version > newest.version {
            return Err(none());
        }
        // A damaged table has failed above already: what is missing now was cleaned up.
        self.load(None, Some(version)).await.map_err(|e| match e {
            LakeError::Damaged { .. } => none(),
            other => other,
        })
    }

    async fn load(&self, from: Option<SnapshotRef>, version: Option<u64>) -> Result<View, LakeError> {
        let table = self.clone();
        blocking(move || {
            let engine = &table.core.engine;
            let snapshot = kernel::snapshot(engine, &table.name, &table.location, from, version)?;
            table.read_view(snapshot)
        })
        .await?
    }

    fn read_view(&self, snapshot: SnapshotRef) -> Result<View, LakeError> {
        let raw = kernel::raw_state(&self.core.engine, &self.name, &snapshot)?;
        let text = raw.metadata["schemaString"].as_str().unwrap_or_default();
        let json: Value = serde_json::from_str(text).map_err(|e| damaged(&self.name, e))?;
        let schema = StructType::from_json(&json).map_err(|e| damaged(&self.name, e))?;
        let mut flows = BTreeMap::new();
        for (name, configuration) in &raw.domains {
            if let Some(flow) = name.strip_prefix(FLOW_DOMAIN) {
                let record: FlowRecord =
                    serde_json::from_str(configuration).map_err(|e| damaged(&self.name, e))?;
                if record.v > FlowRecord::VERSION {
                    let feature = format!("a flow record of version {}", record.v);
                    return Err(LakeError::Unsupported { table: self.name.clone(), feature });
                }
                // An offset that cannot be read must not pass for one that is not there.
                if let Some(offset) = &record.offset {
                    Offset::from_json(offset).map_err(|e| damaged(&self.name, e))?;
                }
                flows.insert(flow.to_owned(), record);
            }
        }
        let cdc: Option<CdcRecord> = match raw.domains.get(CDC_DOMAIN) {
            None => None,
            Some(text) => Some(serde_json::from_str(text).map_err(|e| damaged(&self.name, e))?),
        };
        if let Some(newer) = cdc.as_ref().filter(|r| r.v > CdcRecord::VERSION) {
            let feature = format!("a record of changes of version {}", newer.v);
            return Err(LakeError::Unsupported { table: self.name.clone(), feature });
        }
        let physical = raw.domains.get(CLUSTERING_DOMAIN).map(|c| clustering_columns(c)).unwrap_or_default();
        let logical = |name: &String| {
            let field = schema.fields.iter().find(|f| physical_name(f) == name);
            field.map_or_else(|| name.clone(), |f| f.name.clone())
        };
        let cluster_by = physical.iter().map(logical).collect();
        Ok(View {
            version: snapshot.version(),
            snapshot,
            metadata: raw.metadata,
            protocol: raw.protocol,
            schema,
            cluster_by,
            flows,
            cdc,
        })
    }

    /// Lists the live files of a version.
    pub(crate) async fn live_files(&self, view: &View) -> Result<Vec<LiveFile>, LakeError> {
        let (table, snapshot) = (self.clone(), Arc::clone(&view.snapshot));
        blocking(move || kernel::live_files(&table.core.engine, &table.name, &snapshot)).await?
    }

    /// How far a flow has come in a version, or in no table.
    pub(crate) async fn position(&self, view: Option<&View>, flow: &str) -> Result<Position, LakeError> {
        let Some(view) = view else { return Ok(Position::default()) };
        let state = view.flows.get(flow).and_then(FlowRecord::state);
        Ok(Position { last: self.last_micro_batch(view, flow).await?, state })
    }

    /// Checks that a flow is where a writer of it knows it to be.
    pub(crate) async fn check_position(
        &self,
        view: &View,
        flow: &str,
        position: &Position,
    ) -> Result<(), LakeError> {
        let last = self.last_micro_batch(view, flow).await?;
        if last == position.last { Ok(()) } else { Err(self.moved(flow, last)) }
    }

    /// The error for a flow that is elsewhere.
    pub(crate) fn moved(&self, flow: &str, micro_batch: u64) -> LakeError {
        LakeError::FlowMoved { table: self.name.clone(), flow: flow.to_owned(), micro_batch }
    }

    /// The number of the last micro-batch of a flow, forgotten ones included; 0 before the first.
    pub(crate) async fn last_micro_batch(&self, view: &View, flow: &str) -> Result<u64, LakeError> {
        let (table, snapshot, flow_id) = (self.clone(), Arc::clone(&view.snapshot), flow.to_owned());
        let read = move || kernel::transaction(&table.core.engine, &table.name, &snapshot, &flow_id);
        let transaction = blocking(read).await??.unwrap_or(0);
        let record = view.flows.get(flow).map_or(0, |r| r.micro_batch);
        Ok(record.max(u64::try_from(transaction).unwrap_or(0)))
    }

    /// Adds a version made of `lines`, unless there is one of that number.
    ///
    /// # Errors
    /// Storage failed and the version is not there, or, where `in_doubt` is set, may be there.
    pub(crate) async fn commit(&self, version: u64, lines: &[Value], id: &str) -> Result<Landed, LakeError> {
        let path = self.log_path().join(format!("{version:020}.json"));
        let mut text = String::new();
        for line in lines {
            text.push_str(&line.to_string());
            text.push('\n');
        }
        let payload = Bytes::from(text);
        let mut tries = 0;
        loop {
            tries += 1;
            let failed = match self.core.storage.create(&path, payload.clone()).await {
                Ok(Created::Made) => return Ok(Landed::Won),
                Ok(Created::Exists) => None,
                Err(StoreOrLost::Store(e)) => Some(e),
                Err(StoreOrLost::Lost(e)) => return Err(in_doubt(e, &path)),
            };
            // A request that was repeated below us may have found its own first attempt, and one that failed may have
            // been carried out: only what lies there tells.
            match (self.is_ours(&path, id).await, failed) {
                (Ok(Some(true)), _) => return Ok(Landed::Won),
                (Ok(Some(false)), _) => return Ok(Landed::Lost),
                (Ok(None), Some(e)) if surely_not_written(&e) || tries >= COMMIT_TRIES => {
                    let sure = surely_not_written(&e);
                    let error = storage_error(format!("committing {path}"), e);
                    return Err(if sure { error } else { in_doubt(error, &path) });
                }
                (Ok(None), None) if tries >= COMMIT_TRIES => {
                    return Err(damaged(&self.name, format!("{path} is there and cannot be read")));
                }
                (Ok(None), _) => {}
                (Err(e), _) => return Err(in_doubt(e, &path)),
            }
        }
    }

    /// Says whether a version of the log is the commit of this id; `None` where there is no such version.
    async fn is_ours(&self, path: &Path, id: &str) -> Result<Option<bool>, LakeError> {
        let Some(text) = self.core.storage.get(path).await? else { return Ok(None) };
        let first = text.split(|&b| b == b'\n').next().unwrap_or_default();
        let info: Result<Value, _> = serde_json::from_slice(first);
        Ok(Some(info.is_ok_and(|i| i["commitInfo"]["txnId"].as_str() == Some(id))))
    }

    /// Reads the version that a commit made, and does the upkeep of the log: a checksum for each version, a checkpoint
    /// every so many. The commit stands whatever happens to these.
    pub(crate) async fn after_commit(&self, earlier: Option<&View>) -> Result<View, LakeError> {
        let from = earlier.map(|v| Arc::clone(&v.snapshot));
        let table = self.clone();
        blocking(move || {
            let engine = &table.core.engine;
            let snapshot = kernel::snapshot(engine, &table.name, &table.location, from, None)?;
            let mut view = table.read_view(snapshot)?;
            match kernel::write_checksum(engine, &view.snapshot) {
                Ok(snapshot) => view.snapshot = snapshot,
                Err(error) => {
                    tracing::warn!(table = %table.name, version = view.version, error, "checksum not written");
                }
            }
            let interval = view.metadata["configuration"]["delta.checkpointInterval"]
                .as_str()
                .and_then(|text| text.parse().ok())
                .filter(|&versions| versions > 0)
                .unwrap_or(CHECKPOINT_INTERVAL);
            if view.version > 0 && view.version % interval == 0 {
                match kernel::write_checkpoint(engine, &view.snapshot) {
                    Ok(snapshot) => view.snapshot = snapshot,
                    Err(error) => {
                        tracing::warn!(table = %table.name, version = view.version, error, "checkpoint not written");
                    }
                }
            }
            Ok(view)
        })
        .await?
    }
}

/// The fingerprint of live files.
pub(crate) fn files_fingerprint(files: &[LiveFile]) -> String {
    fingerprint(files.iter().map(|f| Cow::Owned(f.key())))
}

fn in_doubt(error: LakeError, path: &Path) -> LakeError {
    match error {
        LakeError::Storage { source, .. } => LakeError::Storage {
            doing: format!("committing {path}"),
            source,
            retryable: true,
            in_doubt: true,
        },
        other => LakeError::Storage {
            doing: format!("committing {path}"),
            source: Box::new(other),
            retryable: true,
            in_doubt: true,
        },
    }
}
