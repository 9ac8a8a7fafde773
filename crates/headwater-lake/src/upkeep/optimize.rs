//! Merges small files and purges dead rows, in one version of the table that changes no row.
//!
//! The hidden rows of a table with changes are tended as well. They have a log of their own, and a version of it counts
//! only where a version of the table names it: so the hidden table's new version is written first, and the table's new
//! version names it together with the table's own new files. Until then nobody reads it, and whoever writes hidden rows
//! next replaces it; where another writer gets in between with other hidden rows, it is made again from these.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};

use serde_json::Value;
use uuid::Uuid;

use crate::actions::{CommitInfo, add, add_again, fingerprint, flow_domain, remove};
use crate::cdc::CdcRecord;
use crate::files::Limits;
use crate::kernel::{LiveFile, damaged, properties};
use crate::protocol::check_writable;
use crate::table::{Landed, Table, View, files_fingerprint};
use crate::upkeep::compact::{Compactor, Group, Which};
use crate::upkeep::plan::{bytes, worn};
use crate::{LakeError, OptimizeReport};

/// How many versions of other writers the commit is put on top of before giving up.
const MOST_REBASES: usize = 100;
/// The property by which a table's owner turns upkeep between micro-batches off; other engines have it too.
const AUTO_COMPACT: &str = "delta.autoOptimize.autoCompact";

/// Merges small files of a table and purges rows that deletion vectors mark dead, as far as it is worth it.
///
/// Other writers may go on: their versions are kept, and a group of which they removed or changed a file is left out.
/// With nothing to do, or nothing left to do, no version is made.
///
/// # Errors
/// The table is as before, unless [`LakeError::is_in_doubt`].
/// # Cancel safety
/// A dropped call leaves files that no version names; vacuum takes them.
pub(crate) async fn optimize(table: &Table, limits: Limits) -> Result<OptimizeReport, LakeError> {
    let view = table.existing().await?;
    Ok(run(table, view, Which::All, limits).await?.map_or_else(OptimizeReport::default, |done| done.report))
}

/// Upkeep between micro-batches: does as [`optimize`] does where the table needs it, and as little as it needs. Gives
/// the version after it, where there is a new one.
///
/// # Errors
/// As [`optimize`].
/// # Cancel safety
/// As [`optimize`].
pub(crate) async fn tend(table: &Table, view: View, limits: Limits) -> Result<Option<Done>, LakeError> {
    let off = properties(&view.metadata).get(AUTO_COMPACT).is_some_and(|text| text == "false");
    if !table.core.auto_optimize || off {
        return Ok(None);
    }
    run(table, view, Which::Worn, limits).await
}

/// Says whether upkeep between micro-batches has something to do with these files.
pub(crate) fn is_worn<'f>(files: impl IntoIterator<Item = &'f LiveFile>, target_file_bytes: u64) -> bool {
    !worn(files.into_iter().collect(), target_file_bytes).is_empty()
}

/// A compaction that stands.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) report: OptimizeReport,
    /// The version it made, or a newer one; `None` where it could not be read back.
    pub(crate) view: Option<View>,
}

/// The files of a table that are replaced, and those of its hidden rows.
#[derive(Default)]
struct Made {
    own: Vec<Group>,
    hidden: Vec<Group>,
}

async fn run(table: &Table, view: View, which: Which, limits: Limits) -> Result<Option<Done>, LakeError> {
    check_writable(&table.name, &view.protocol, &view.metadata, &view.schema)?;
    let mut made = Made::default();
    let result = match rewrite(table, &view, which, limits, &mut made).await {
        Ok(()) => commit(table, view, &mut made).await,
        Err(error) => Err(error),
    };
    // A commit that may have landed needs its files.
    if result.as_ref().is_err_and(|error| !error.is_in_doubt()) {
        for group in made.own.iter_mut().chain(&mut made.hidden) {
            if let Err(error) = group.new.discard().await {
                tracing::warn!(table = %table.name, error = &error as &dyn std::error::Error, "files left for vacuum");
            }
        }
    }
    result
}

/// Writes the new files of the table and of its hidden rows.
async fn rewrite(
    table: &Table,
    view: &View,
    which: Which,
    limits: Limits,
    made: &mut Made,
) -> Result<(), LakeError> {
    let mut files = table.live_files(view).await?;
    // The last micro-batch of a numbered flow may be written again, and then takes back the files that it added.
    let pinned: HashSet<&String> = view.flows.values().flat_map(|r| r.files.iter().flatten()).collect();
    files.retain(|f| !pinned.contains(&f.path));
    let keys = view.cdc.as_ref().map(CdcRecord::order).unwrap_or_default();
    let order = if view.cluster_by.is_empty() { &keys } else { &view.cluster_by };
    Compactor::new(table, view, order, limits)?.compact(files, which, &mut made.own).await?;
    if let Some((hidden, version)) = hidden_of(table, view)? {
        let view = hidden.view_at(version).await?;
        let files = hidden.live_files(&view).await?;
        Compactor::new(&hidden, &view, &keys, limits)?.compact(files, which, &mut made.hidden).await?;
    }
    Ok(())
}

/// The table of the hidden rows, and the version that belongs to this one.
pub(crate) fn hidden_of(table: &Table, view: &View) -> Result<Option<(Table, u64)>, LakeError> {
    match view.cdc.as_ref().and_then(|record| record.hidden) {
        Some(version) => Ok(Some((table.hidden()?, version))),
        None => Ok(None),
    }
}

/// Adds the version that swaps the files, on top of whatever others have added meanwhile.
async fn commit(table: &Table, view: View, made: &mut Made) -> Result<Option<Done>, LakeError> {
    let first = (view.schema.clone(), view.protocol.clone());
    let mut view = view;
    let mut rebases = 0;
    // The version of the hidden rows that our files are made of, and the one that has our files.
    let mut base = hidden_of(table, &view)?;
    let mut hidden = None;
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
            keep_unchanged(&mut made.own, &live).await?;
            let now = hidden_of(table, &view)?;
            if now.as_ref().map(|(_, version)| *version) != base.as_ref().map(|(_, version)| *version) {
                base = now;
                hidden = None;
                let live = match &base {
                    Some((table, version)) => table.live_files(&table.view_at(*version).await?).await?,
                    None => Vec::new(),
                };
                keep_unchanged(&mut made.hidden, &live).await?;
            }
        }
        if made.own.is_empty() && made.hidden.is_empty() {
            return Ok(None);
        }
        if let (Some((table, version)), None, false) = (&base, hidden, made.hidden.is_empty()) {
            hidden = Some(commit_hidden(table, *version, &mut made.hidden).await?);
        }
        let id = Uuid::new_v4().to_string();
        let (lines, report) = lines(table, &view, made, hidden, &live, &id)?;
        match table.commit(view.version + 1, &lines, &id).await? {
            Landed::Won => {
                made.own.iter_mut().chain(&mut made.hidden).for_each(|group| group.new.committed());
                let report = OptimizeReport { version: Some(view.version + 1), ..report };
                // The commit stands, whatever becomes of checksum and checkpoint.
                let view = match table.after_commit(Some(&view)).await {
                    Ok(view) => Some(view),
                    Err(error) => {
                        tracing::warn!(table = %table.name, error = &error as &dyn std::error::Error, "log not tended");
                        None
                    }
                };
                return Ok(Some(Done { report, view }));
            }
            Landed::Lost if rebases >= MOST_REBASES => return Err(too_fast(table, view.version + 1)),
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

fn too_fast(table: &Table, version: u64) -> LakeError {
    LakeError::Conflict {
        table: table.name.clone(),
        version,
        what: "the table again and again while its files were being merged".into(),
    }
}

/// Adds the version of the hidden table that has the rows of `version` in the new files. Nobody reads it before a
/// version of the table names it.
async fn commit_hidden(table: &Table, version: u64, made: &mut [Group]) -> Result<u64, LakeError> {
    let named = table.live_files(&table.view_at(version).await?).await?;
    let old: HashSet<&str> = made.iter().flat_map(|g| &g.old).map(|f| f.path.as_str()).collect();
    let wanted: Vec<&LiveFile> = named.iter().filter(|f| !old.contains(f.path.as_str())).collect();
    let wanted_keys: HashSet<String> = wanted.iter().map(|f| f.key()).collect();
    for _ in 0..MOST_REBASES {
        // The newest version may be one that no version of the table names, or not yet: this one comes after it, and
        // has nothing of it.
        let view = table.existing().await?;
        let present = table.live_files(&view).await?;
        let present_keys: HashSet<String> = present.iter().map(LiveFile::key).collect();
        let at = table.now();
        let id = Uuid::new_v4().to_string();
        let mut lines = vec![info(table, &id, Vec::new())];
        let removed = present.iter().filter(|f| !wanted_keys.contains(&f.key()));
        lines.extend(removed.map(|f| remove(f, at, false)));
        let missing = wanted.iter().filter(|f| !present_keys.contains(&f.key()));
        lines.extend(missing.map(|f| add_again(f)));
        lines.extend(made.iter().flat_map(|g| g.new.done()).map(|f| add(f, false)));
        made.iter_mut().for_each(|group| group.new.hold(true));
        match table.commit(view.version + 1, &lines, &id).await {
            Ok(Landed::Won) => {
                // They are in a log, though nobody reads it: vacuum finds out when they can go.
                if let Err(error) = table.after_commit(Some(&view)).await {
                    tracing::warn!(table = %table.name, error = &error as &dyn std::error::Error, "log not tended");
                }
                return Ok(view.version + 1);
            }
            Ok(Landed::Lost) => {}
            Err(error) => {
                made.iter_mut().for_each(|group| group.new.hold(error.is_in_doubt()));
                return Err(error);
            }
        }
    }
    Err(too_fast(table, version))
}

fn info(table: &Table, id: &str, metrics: Vec<(&str, u64)>) -> Value {
    CommitInfo {
        at: table.now(),
        operation: "OPTIMIZE",
        parameters: vec![("predicate", "[]".to_owned()), ("zOrderBy", "[]".to_owned())],
        metrics,
        engine: &table.core.app,
        blind_append: false,
        id,
    }
    .line()
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
    made: &Made,
    hidden: Option<u64>,
    live: &[LiveFile],
    id: &str,
) -> Result<(Vec<Value>, OptimizeReport), LakeError> {
    let at = table.now();
    let mut report = OptimizeReport::default();
    let (mut adds, mut removes) = (Vec::new(), Vec::new());
    let mut keys: HashMap<&str, Cow<'_, str>> =
        live.iter().map(|f| (f.path.as_str(), Cow::Owned(f.key()))).collect();
    for group in &made.own {
        for file in &group.old {
            keys.remove(file.path.as_str());
            removes.push(remove(file, at, false));
        }
        for file in group.new.done() {
            keys.insert(&file.path, Cow::Borrowed(file.path.as_str()));
            adds.push(add(file, false));
        }
    }
    for group in made.own.iter().chain(&made.hidden) {
        for file in &group.old {
            report.files_removed += 1;
            report.bytes_removed += bytes(file);
            report.dead_rows_purged += file.dead_rows;
        }
        for file in group.new.done() {
            report.files_added += 1;
            report.bytes_added += file.size;
        }
    }
    let metrics = vec![
        ("numRemovedFiles", report.files_removed),
        ("numAddedFiles", report.files_added),
        ("numRemovedBytes", report.bytes_removed),
        ("numAddedBytes", report.bytes_added),
        ("numDeletedRowsPurged", report.dead_rows_purged),
    ];
    let wrong = |e: serde_json::Error| damaged(&table.name, e);
    let mut lines = vec![info(table, id, metrics)];
    if let (Some(version), Some(record)) = (hidden, &view.cdc) {
        lines.push(CdcRecord { hidden: Some(version), ..record.clone() }.line().map_err(wrong)?);
    }
    lines.extend(
        moved_marks(view, &files_fingerprint(live), &fingerprint(keys.into_values())).map_err(wrong)?,
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
