//! Merges small files and purges dead rows, in one version of the table that changes no row.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use arrow_array::RecordBatch;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::actions::{CommitInfo, add, fingerprint, flow_domain, remove};
use crate::adapt::{Adapter, conform};
use crate::encode::Layout;
use crate::files::{DataFiles, Limits};
use crate::kernel::{LiveFile, damaged};
use crate::plan::stats_limit;
use crate::protocol::check_writable;
use crate::schema::{find, physical_name};
use crate::store::runtime;
use crate::table::{Landed, Table, View, files_fingerprint};
use crate::upkeep::kernel::FileReader;
use crate::upkeep::plan::{bytes, groups};
use crate::{LakeError, OptimizeReport};

/// What writing may take. Reading adds the batches of one file.
const MEMORY_BYTES: usize = 128 * 1024 * 1024;
/// Batches that are read ahead of the writer.
const BATCHES_AHEAD: usize = 2;
/// How many versions of other writers the commit is put on top of before giving up.
const MOST_REBASES: usize = 100;

/// Files that are replaced, and what replaces them.
struct Group {
    old: Vec<LiveFile>,
    new: DataFiles,
}

/// Merges small files of a table and purges rows that deletion vectors mark dead.
///
/// Other writers may go on: their versions are kept, and a group of which they removed or changed a file is left out.
/// With nothing to do, or nothing left to do, no version is made.
///
/// # Errors
/// The table is as before, unless [`LakeError::is_in_doubt`].
/// # Cancel safety
/// A dropped call leaves files that no version names; vacuum takes them.
pub(crate) async fn optimize(table: &Table, target_file_bytes: u64) -> Result<OptimizeReport, LakeError> {
    let view = table.existing().await?;
    check_writable(&table.name, &view.protocol, &view.metadata, &view.schema)?;
    let mut files = table.live_files(&view).await?;
    // The last micro-batch of a numbered flow may be written again, and then takes back the files that it added.
    let pinned: HashSet<&String> = view.flows.values().flat_map(|r| r.files.iter().flatten()).collect();
    files.retain(|f| !pinned.contains(&f.path));
    let planned = groups(files, target_file_bytes, &order(&view));
    if planned.is_empty() {
        return Ok(OptimizeReport::default());
    }
    let mut made = Vec::new();
    let result = match rewrite(table, &view, planned, target_file_bytes, &mut made).await {
        Ok(()) => commit(table, view, &mut made).await,
        Err(error) => Err(error),
    };
    // A commit that may have landed needs its files.
    if result.as_ref().is_err_and(|error| !error.is_in_doubt()) {
        for group in &mut made {
            if let Err(error) = group.new.discard().await {
                tracing::warn!(table = %table.name, error = &error as &dyn std::error::Error, "files left for vacuum");
            }
        }
    }
    result
}

/// The clustering columns by their names in the files.
fn order(view: &View) -> Vec<String> {
    view.cluster_by
        .iter()
        .map(|name| find(&view.schema, name).map_or_else(|| name.clone(), |f| physical_name(f).to_owned()))
        .collect()
}

/// Writes the new files of each group, one group after the other.
async fn rewrite(
    table: &Table,
    view: &View,
    planned: Vec<Vec<LiveFile>>,
    target_file_bytes: u64,
    made: &mut Vec<Group>,
) -> Result<(), LakeError> {
    let layout = Layout::new(&view.schema, &view.cluster_by, stats_limit(&view.metadata))
        .map_err(|e| damaged(&table.name, e))?;
    let layout = Arc::new(layout);
    let limits = Limits { memory_bytes: MEMORY_BYTES, target_file_bytes: target_file_bytes.max(1) };
    let adapter =
        Adapter::new(table.name.clone(), view.schema.clone(), view.schema.clone(), Arc::clone(&layout.arrow));
    let paths = planned.iter().flatten().map(|f| f.path.clone()).collect();
    let reader = Arc::new(open(table, view, paths).await?);
    for old in planned {
        let new = DataFiles::new(table.clone(), Arc::clone(&layout), limits, None);
        made.push(Group { old, new });
        if let Some(group) = made.last_mut() {
            group.write(&reader, &adapter, view).await?;
            group.check_rows(table)?;
        }
    }
    Ok(())
}

async fn open(table: &Table, view: &View, paths: HashSet<String>) -> Result<FileReader, LakeError> {
    let (table, snapshot) = (table.clone(), Arc::clone(&view.snapshot));
    crate::store::blocking(move || {
        FileReader::open(Arc::clone(&table.core.engine), table.name.clone(), &snapshot, &paths)
    })
    .await?
}

impl Group {
    /// Copies the live rows of the old files into new ones.
    async fn write(
        &mut self,
        reader: &Arc<FileReader>,
        adapter: &Adapter,
        view: &View,
    ) -> Result<(), LakeError> {
        let (sender, mut batches) = mpsc::channel::<Result<RecordBatch, LakeError>>(BATCHES_AHEAD);
        let (from, paths) = (Arc::clone(reader), self.old.iter().map(|f| f.path.clone()).collect::<Vec<_>>());
        let mut reading = JoinSet::new();
        reading.spawn_blocking_on(
            move || {
                for path in paths {
                    let read = from.read(&path, &mut |batch| sender.blocking_send(Ok(batch)).is_ok());
                    match read {
                        Ok(true) => {}
                        Ok(false) => return,
                        Err(error) => {
                            // Where nobody listens any more, the writer has failed and says why itself.
                            let _gone = sender.blocking_send(Err(error)).is_err();
                            return;
                        }
                    }
                }
            },
            runtime()?,
        );
        while let Some(batch) = batches.recv().await {
            let batch = batch?;
            if batch.num_rows() > 0 {
                let batch = conform(&batch, &view.schema).map_err(|e| damaged(reader.table(), e))?;
                self.new.write(adapter.adapt(&batch)?).await?;
            }
        }
        // The channel also ends when the reader dies: that must not pass for the end of the rows.
        if let Some(Err(lost)) = reading.join_next().await {
            return Err(LakeError::TaskLost { source: Box::new(lost) });
        }
        self.new.finish().await
    }

    /// Counts once more: a compaction that loses rows must never be committed.
    fn check_rows(&self, table: &Table) -> Result<(), LakeError> {
        let Some(expected) = self.old.iter().map(LiveFile::rows).sum::<Option<u64>>() else {
            return Ok(());
        };
        let written: u64 = self.new.done().iter().map(|f| f.rows).sum();
        if written != expected {
            return Err(damaged(
                &table.name,
                format!("the log counts {expected} rows in files that hold {written}"),
            ));
        }
        Ok(())
    }
}

/// Adds the version that swaps the files, on top of whatever others have added meanwhile.
async fn commit(table: &Table, view: View, made: &mut Vec<Group>) -> Result<OptimizeReport, LakeError> {
    let first = (view.schema.clone(), view.protocol.clone());
    let mut view = view;
    let mut rebases = 0;
    loop {
        let live = table.live_files(&view).await?;
        if rebases > 0 {
            if first != (view.schema.clone(), view.protocol.clone()) {
                return Err(LakeError::Conflict {
                    table: table.name.clone(),
                    version: view.version,
                    what: "the columns or the features of the table".into(),
                });
            }
            keep_unchanged(made, &live).await?;
        }
        if made.is_empty() {
            return Ok(OptimizeReport::default());
        }
        let id = Uuid::new_v4().to_string();
        let (lines, report) = lines(table, &view, made, &live, &id)?;
        match table.commit(view.version + 1, &lines, &id).await? {
            Landed::Won => {
                made.iter_mut().for_each(|group| group.new.committed());
                let version = view.version + 1;
                // The commit stands, whatever becomes of checksum and checkpoint.
                if let Err(error) = table.after_commit(Some(&view)).await {
                    tracing::warn!(table = %table.name, error = &error as &dyn std::error::Error, "log not tended");
                }
                return Ok(OptimizeReport { version: Some(version), ..report });
            }
            Landed::Lost if rebases >= MOST_REBASES => {
                return Err(LakeError::Conflict {
                    table: table.name.clone(),
                    version: view.version + 1,
                    what: "the table again and again while its files were being merged".into(),
                });
            }
            Landed::Lost => {
                rebases += 1;
                view = table
                    .view(Some(&view))
                    .await?
                    .ok_or_else(|| LakeError::NoTable { table: table.name.clone() })?;
            }
        }
    }
}

/// Leaves out the groups of which a file is gone or has other dead rows now.
async fn keep_unchanged(made: &mut Vec<Group>, live: &[LiveFile]) -> Result<(), LakeError> {
    let keys: HashSet<String> = live.iter().map(LiveFile::key).collect();
    let mut kept = Vec::new();
    for mut group in std::mem::take(made) {
        if group.old.iter().all(|f| keys.contains(&f.key())) {
            kept.push(group);
        } else {
            group.new.discard().await?;
        }
    }
    *made = kept;
    Ok(())
}

/// The lines of the commit, and what they amount to.
fn lines(
    table: &Table,
    view: &View,
    made: &[Group],
    live: &[LiveFile],
    id: &str,
) -> Result<(Vec<Value>, OptimizeReport), LakeError> {
    let at = table.now();
    let mut report = OptimizeReport::default();
    let (mut adds, mut removes) = (Vec::new(), Vec::new());
    let mut keys: HashMap<&str, Cow<'_, str>> =
        live.iter().map(|f| (f.path.as_str(), Cow::Owned(f.key()))).collect();
    for group in made {
        for file in &group.old {
            report.files_removed += 1;
            report.bytes_removed += bytes(file);
            report.dead_rows_purged += file.dead_rows;
            keys.remove(file.path.as_str());
            removes.push(remove(file, at, false));
        }
        for file in group.new.done() {
            report.files_added += 1;
            report.bytes_added += file.size;
            keys.insert(&file.path, Cow::Borrowed(file.path.as_str()));
            adds.push(add(file, false));
        }
    }
    let info = CommitInfo {
        at,
        operation: "OPTIMIZE",
        parameters: vec![("predicate", "[]".to_owned()), ("zOrderBy", "[]".to_owned())],
        metrics: vec![
            ("numRemovedFiles", report.files_removed),
            ("numAddedFiles", report.files_added),
            ("numRemovedBytes", report.bytes_removed),
            ("numAddedBytes", report.bytes_added),
            ("numDeletedRowsPurged", report.dead_rows_purged),
        ],
        engine: &table.core.app,
        blind_append: false,
        id,
    };
    let mut lines = vec![info.line()];
    lines.extend(
        moved_marks(view, &files_fingerprint(live), &fingerprint(keys.into_values()))
            .map_err(|e| damaged(&table.name, e))?,
    );
    lines.append(&mut removes);
    lines.append(&mut adds);
    Ok((lines, report))
}

/// A snapshot that was equal to the files before is equal to the files after: they hold the same rows. A mark that did
/// not fit before is left alone, so that the change of another writer is still noticed.
fn moved_marks(view: &View, before: &str, after: &str) -> Result<Vec<Value>, serde_json::Error> {
    let mut lines = BTreeMap::new();
    for (flow, record) in &view.flows {
        let mut record = record.clone();
        match &mut record.snapshot {
            Some(mark) if mark.files == before => mark.files = after.to_owned(),
            _ => continue,
        }
        lines.insert(flow, flow_domain(flow, &record)?);
    }
    Ok(lines.into_values().collect())
}
