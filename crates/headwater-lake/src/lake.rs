//! The warehouse.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::DateTime;
use headwater_connect::Offset;
use object_store::ObjectStore;
use object_store::path::Path;
use serde_json::Value;
use url::Url;
use uuid::Uuid;

use crate::actions::{self, CommitInfo, FlowRecord};
use crate::cdc::CdcWriter;
use crate::files::Limits;
use crate::kernel::{self, properties};
use crate::plan::plan;
use crate::store::{LakeOptions, Storage, open};
use crate::table::{Core, Landed, Table};
use crate::writer::{DeltaWriter, check_changes};
use crate::{
    Lake, LakeError, OptimizeReport, ReadSpec, RowStream, SchemaChange, TableName, TableState, TableVersion,
    TableWriter, VacuumReport, WriteMode, WriterSpec, protocol, read, upkeep,
};

/// A warehouse of Delta tables: a local folder, or a prefix in an object store.
#[derive(Debug, Clone)]
pub struct DeltaLake {
    pub(crate) core: Arc<Core>,
}

impl DeltaLake {
    /// Opens a warehouse: a local path, or a URL such as `s3://bucket/prefix`. A local folder is made when missing.
    ///
    /// # Errors
    /// [`LakeError::BadWarehouse`].
    pub fn open(warehouse: &str, options: LakeOptions) -> Result<Self, LakeError> {
        let (storage, root) = open(warehouse, &options)?;
        Self::over(storage, root, options)
    }

    /// Opens a warehouse over a storage that is there already; `root` ends in a slash. For tests that let it fail.
    #[doc(hidden)]
    pub fn with_store(
        store: Arc<dyn ObjectStore>,
        root: Url,
        options: LakeOptions,
    ) -> Result<Self, LakeError> {
        Self::over(Storage::new(store), root, options)
    }

    fn over(storage: Storage, root: Url, options: LakeOptions) -> Result<Self, LakeError> {
        let engine = kernel::engine(Arc::clone(storage.store()))?;
        let LakeOptions {
            clock, app_version: app, optimize_memory_bytes, auto_optimize, temp_folder, ..
        } = options;
        let temp_folder = temp_folder.unwrap_or_else(std::env::temp_dir);
        let core =
            Core { storage, engine, root, clock, app, optimize_memory_bytes, auto_optimize, temp_folder };
        Ok(Self { core: Arc::new(core) })
    }

    pub(crate) fn at(&self, name: &TableName) -> Result<Table, LakeError> {
        Table::new(Arc::clone(&self.core), name.clone())
    }
}

#[async_trait]
impl Lake for DeltaLake {
    async fn table(&self, name: &TableName) -> Result<Option<TableState>, LakeError> {
        let table = self.at(name)?;
        let Some(view) = table.view(None).await? else { return Ok(None) };
        let files = table.live_files(&view).await?;
        let flows = view.flows.iter().filter_map(|(flow, record)| Some((flow.clone(), record.state()?)));
        Ok(Some(TableState {
            name: name.clone(),
            location: table.location.to_string(),
            version: view.version,
            schema: view.schema.clone(),
            cluster_by: view.cluster_by.clone(),
            keys: view.cdc.iter().flat_map(|cdc| &cdc.keys).map(|key| key.name.clone()).collect(),
            flows: flows.collect(),
            rows: files.iter().map(kernel::LiveFile::rows).sum(),
            files: u64::try_from(files.len()).unwrap_or(u64::MAX),
            bytes: files.iter().map(|f| u64::try_from(f.size).unwrap_or(0)).sum(),
            properties: properties(&view.metadata).into_iter().collect(),
        }))
    }

    async fn tables(&self) -> Result<Vec<TableName>, LakeError> {
        let storage = &self.core.storage;
        let root = Path::from_url_path(self.core.root.path())
            .map_err(|e| LakeError::BadWarehouse { url: self.core.root.to_string(), source: Box::new(e) })?;
        let mut names = Vec::new();
        for catalog in storage.list_folder(&root).await?.0 {
            for schema in storage.list_folder(&catalog).await?.0 {
                for table in storage.list_folder(&schema).await?.0 {
                    let parts = [&catalog, &schema, &table].map(|p| p.filename().unwrap_or_default());
                    // Other folders may lie in a warehouse; only one with a log is a table.
                    let Ok(name) = TableName::new(parts[0], parts[1], parts[2]) else { continue };
                    if self.at(&name)?.exists().await? {
                        names.push(name);
                    }
                }
            }
        }
        names.sort();
        Ok(names)
    }

    async fn plan(&self, spec: &WriterSpec) -> Result<Vec<SchemaChange>, LakeError> {
        let table = self.at(&spec.table)?;
        let view = table.view(None).await?;
        let replace = spec.full_refresh && view.is_some();
        if let WriteMode::Cdc(cdc) = &spec.mode {
            return CdcWriter::changes_of(&table, view.as_ref(), spec, cdc, replace).await;
        }
        let changes = plan(&table, view.as_ref(), spec, replace)?.changes;
        check_changes(&table, view.as_ref(), spec, replace)?;
        Ok(changes)
    }

    async fn writer(&self, spec: WriterSpec) -> Result<Box<dyn TableWriter>, LakeError> {
        let table = self.at(&spec.table)?;
        if let WriteMode::Cdc(cdc) = spec.mode.clone() {
            return Ok(Box::new(CdcWriter::open(table, spec, cdc).await?));
        }
        Ok(Box::new(DeltaWriter::open(table, spec).await?))
    }

    async fn set_offset(
        &self,
        name: &TableName,
        flow: &str,
        offset: Option<&Offset>,
    ) -> Result<u64, LakeError> {
        let table = self.at(name)?;
        let mut view = table.existing().await?;
        loop {
            protocol::check_writable(name, &view.protocol, &view.metadata, &view.schema)?;
            let now = table.now();
            let earlier = view.flows.get(flow).cloned();
            let record = FlowRecord {
                v: FlowRecord::VERSION,
                micro_batch: table.last_micro_batch(&view, flow).await? + 1,
                offset: offset.map(|o| o.as_json().to_owned()),
                forgotten: offset.is_none(),
                committed_at: Some(now),
                snapshot: earlier.and_then(|r| r.snapshot),
                files: None,
            };
            let id = Uuid::new_v4().to_string();
            let info = CommitInfo {
                at: now,
                operation: "WRITE",
                parameters: vec![("mode", "SetOffset".to_owned()), ("flow", flow.to_owned())],
                metrics: Vec::new(),
                engine: &self.core.app,
                blind_append: false,
                id: &id,
            };
            let mut lines = vec![info.line()];
            let needed = protocol::needed(&view.schema, protocol::Uses::default());
            if let Some(upgraded) = protocol::upgrade(&view.protocol, &needed) {
                lines.push(serde_json::json!({"protocol": upgraded}));
            }
            lines.push(actions::transaction(flow, record.micro_batch, now));
            let domain = actions::flow_domain(flow, &record);
            lines.push(domain.map_err(|e| kernel::damaged(name, e))?);
            let version = view.version + 1;
            if table.commit(version, &lines, &id).await? == Landed::Won {
                table.after_commit(Some(&view)).await?;
                return Ok(version);
            }
            view =
                table.view(Some(&view)).await?.ok_or_else(|| LakeError::NoTable { table: name.clone() })?;
        }
    }

    async fn read(&self, name: &TableName, spec: ReadSpec) -> Result<RowStream, LakeError> {
        let table = self.at(name)?;
        let view = match spec.version {
            None => table.existing().await?,
            Some(version) => table.view_at(version).await?,
        };
        read::rows(&table, &view, &spec)
    }

    async fn history(&self, name: &TableName, limit: usize) -> Result<Vec<TableVersion>, LakeError> {
        let table = self.at(name)?;
        let newest = table.existing().await?.version;
        let mut versions = Vec::new();
        for version in (0..=newest).rev().take(limit) {
            let path = table.log_path().join(format!("{version:020}.json"));
            // Log cleanup removes the oldest.
            let Some(text) = self.core.storage.get(&path).await? else { break };
            versions.push(describe(version, &text));
        }
        Ok(versions)
    }

    async fn optimize(&self, name: &TableName, target_file_bytes: u64) -> Result<OptimizeReport, LakeError> {
        let limits = Limits { memory_bytes: self.core.optimize_memory_bytes, target_file_bytes };
        upkeep::optimize(&self.at(name)?, limits).await
    }

    async fn vacuum(
        &self,
        name: &TableName,
        retention: Duration,
        dry_run: bool,
    ) -> Result<VacuumReport, LakeError> {
        upkeep::vacuum(&self.at(name)?, retention, dry_run).await
    }
}

/// Reads what a commit says of itself; a foreign writer may say little.
fn describe(version: u64, text: &[u8]) -> TableVersion {
    let info = text
        .split(|&b| b == b'\n')
        .filter_map(|line| serde_json::from_slice::<Value>(line).ok())
        .find_map(|line| line.get("commitInfo").cloned())
        .unwrap_or_default();
    let texts = |name: &str| -> BTreeMap<String, String> {
        let entries = info[name].as_object().into_iter().flatten();
        entries
            .map(|(key, value)| {
                (key.clone(), value.as_str().map_or_else(|| value.to_string(), str::to_owned))
            })
            .collect()
    };
    TableVersion {
        version,
        committed_at: info["timestamp"]
            .as_i64()
            .and_then(DateTime::from_timestamp_millis)
            .unwrap_or_default(),
        operation: info["operation"].as_str().unwrap_or("UNKNOWN").to_owned(),
        parameters: texts("operationParameters"),
        metrics: texts("operationMetrics"),
    }
}
