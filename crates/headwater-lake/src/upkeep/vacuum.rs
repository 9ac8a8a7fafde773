//! Removes data files that no version within the retention needs, and log files that have expired.

use std::collections::HashSet;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use futures::{StreamExt, stream};
use object_store::path::Path;
use object_store::{Error as StoreError, ObjectMeta, ObjectStore};
use serde_json::Value;

use crate::kernel::LiveFile;
use crate::store::{run, storage_error};
use crate::table::{HIDDEN_FOLDER, Table, View};
use crate::upkeep::interval;
use crate::upkeep::kernel::vector_file;
use crate::upkeep::log::{LogFiles, recent, since};
use crate::{LakeError, VacuumReport};

const FILE_RETENTION: &str = "delta.deletedFileRetentionDuration";
const LOG_RETENTION: &str = "delta.logRetentionDuration";
const LOG_CLEANUP: &str = "delta.enableExpiredLogCleanup";
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Removes, or with `dry_run` only lists, the files of a table that are older than `retention` and that no version
/// needs that was the newest at any time since; files of writers that died are among them. Then removes the files of
/// the log that lie below a checkpoint older than the table's log retention.
///
/// The hidden rows of a table with changes lie in a folder of its own and are tended with it: files stay that a version
/// of the table within the retention needs by naming a version of the hidden table. Other files and folders whose names
/// begin with `_` or `.` are left alone.
///
/// # Errors
/// [`LakeError::RetentionTooShort`], with nothing removed. Where storage fails on the way, some files are gone and none
/// that is needed; calling again goes on.
pub(crate) async fn vacuum(
    table: &Table,
    retention: Duration,
    dry_run: bool,
) -> Result<VacuumReport, LakeError> {
    let view = table.existing().await?;
    let least = property(table, &view, FILE_RETENTION, 7 * DAY)?;
    if retention < least {
        return Err(LakeError::RetentionTooShort {
            table: table.name.clone(),
            asked: interval::shown(retention),
            least: interval::shown(least),
        });
    }
    let now = table.now();
    let log = LogFiles::list(table).await?;
    let mut report = VacuumReport::default();
    if let Some(cutoff) = before(now, retention) {
        let kept = needed(table, &view, &log, cutoff).await?;
        // What both need is known before anything goes.
        let hidden = Hidden::find(table, kept.hidden).await?;
        let old = unneeded(table, &kept.files, cutoff).await?;
        take(table, old, "", dry_run, &mut report).await?;
        if let Some(hidden) = hidden {
            let old = unneeded(&hidden.table, &hidden.needed, cutoff).await?;
            take(&hidden.table, old, HIDDEN_FOLDER, dry_run, &mut report).await?;
            let newest = kept.hidden.map_or(hidden.version, |named| named.min(hidden.version));
            report.log_files += clean_log(&hidden.table, &view, newest, &hidden.log, (now, dry_run)).await?;
        }
    }
    report.log_files += clean_log(table, &view, view.version, &log, (now, dry_run)).await?;
    Ok(report)
}

/// Removes files that are not needed, and reports them.
async fn take(
    table: &Table,
    old: Vec<(String, ObjectMeta)>,
    folder: &str,
    dry_run: bool,
    report: &mut VacuumReport,
) -> Result<(), LakeError> {
    report.bytes += old.iter().map(|(_, object)| object.size).sum::<u64>();
    if !dry_run {
        delete(table, old.iter().map(|(_, object)| object.location.clone()).collect()).await?;
    }
    report.files.extend(old.into_iter().map(|(name, _)| format!("{folder}{name}")));
    Ok(())
}

/// The table of the hidden rows, with the files that are needed of it.
struct Hidden {
    table: Table,
    version: u64,
    log: LogFiles,
    needed: HashSet<Path>,
}

impl Hidden {
    /// `named` is the oldest version that a version of the table names that somebody may read: files of it and of all
    /// versions after it are needed. Where no version is named, none is.
    async fn find(table: &Table, named: Option<u64>) -> Result<Option<Self>, LakeError> {
        let table = table.hidden()?;
        let Some(view) = table.view(None).await? else { return Ok(None) };
        let log = LogFiles::list(&table).await?;
        let mut needed = HashSet::new();
        if let Some(first) = named.and_then(|named| log.oldest_readable(named.min(view.version))) {
            let then = table.view_at(first).await?;
            keep_live(&table, &table.live_files(&then).await?, &mut needed)?;
            keep_added(&table, &since(&table, first, view.version).await?.adds, &mut needed)?;
        }
        Ok(Some(Self { version: view.version, table, log, needed }))
    }
}

/// A table property that is a span of time.
fn property(table: &Table, view: &View, name: &str, default: Duration) -> Result<Duration, LakeError> {
    match view.metadata["configuration"][name].as_str() {
        None => Ok(default),
        Some(text) => interval::parse(text).ok_or_else(|| LakeError::Unsupported {
            table: table.name.clone(),
            feature: format!("the table property `{name}` with the value `{text}`"),
        }),
    }
}

/// The instant so long ago; `None` before the beginning of time.
fn before(now: DateTime<Utc>, span: Duration) -> Option<DateTime<Utc>> {
    now.checked_sub_signed(TimeDelta::from_std(span).ok()?)
}

/// What versions need that were the newest at or after an instant.
#[derive(Default)]
struct Kept {
    files: HashSet<Path>,
    /// The oldest version of the hidden table that one of them names.
    hidden: Option<u64>,
}

impl Kept {
    fn names(&mut self, hidden: Option<u64>) {
        self.hidden = self.hidden.into_iter().chain(hidden).min();
    }
}

/// All that a version needs that was the newest at or after `cutoff`.
async fn needed(
    table: &Table,
    view: &View,
    log: &LogFiles,
    cutoff: DateTime<Utc>,
) -> Result<Kept, LakeError> {
    let mut kept = Kept::default();
    let hidden = |view: &View| view.cdc.as_ref().and_then(|record| record.hidden);
    keep_live(table, &table.live_files(view).await?, &mut kept.files)?;
    kept.names(hidden(view));
    let recent = recent(table, log, view.version, cutoff).await?;
    keep_added(table, &recent.adds, &mut kept.files)?;
    recent.hidden.iter().for_each(|&version| kept.names(Some(version)));
    // What was there before these is in the listing of the first version, or, where that cannot be read any more, in
    // that of the oldest one that can: what only older ones need, nobody can read.
    if let Some(first) = log.oldest_readable(recent.first)
        && first < view.version
    {
        let then = table.view_at(first).await?;
        keep_live(table, &table.live_files(&then).await?, &mut kept.files)?;
        kept.names(hidden(&then));
    }
    Ok(kept)
}

fn keep_added(table: &Table, adds: &[Value], needed: &mut HashSet<Path>) -> Result<(), LakeError> {
    for add in adds {
        let path = add["path"].as_str().unwrap_or_default();
        keep(table, path, Some(&add["deletionVector"]).filter(|v| !v.is_null()), needed)?;
    }
    Ok(())
}

fn keep_live(table: &Table, files: &[LiveFile], needed: &mut HashSet<Path>) -> Result<(), LakeError> {
    files.iter().try_for_each(|file| keep(table, &file.path, file.deletion_vector.as_ref(), needed))
}

fn keep(
    table: &Table,
    path: &str,
    vector: Option<&Value>,
    needed: &mut HashSet<Path>,
) -> Result<(), LakeError> {
    needed.insert(table.file_path(path)?);
    if let Some(vector) = vector
        && let Some(url) = vector_file(&table.name, &table.location, vector)?
    {
        needed.insert(table.file_path(url.as_str())?);
    }
    Ok(())
}

/// The files of the table's folder that are old and not needed, by their names relative to it, sorted.
async fn unneeded(
    table: &Table,
    needed: &HashSet<Path>,
    cutoff: DateTime<Utc>,
) -> Result<Vec<(String, ObjectMeta)>, LakeError> {
    let mut found = Vec::new();
    for object in table.core.storage.list(&table.path).await? {
        let Some(parts) = object.location.prefix_match(&table.path) else { continue };
        let parts: Vec<String> = parts.map(|part| part.as_ref().to_owned()).collect();
        let hidden = parts.is_empty() || parts.iter().any(|part| part.starts_with(['_', '.']));
        if !hidden && object.last_modified <= cutoff && !needed.contains(&object.location) {
            found.push((parts.join("/"), object));
        }
    }
    found.sort_by(|(a, _), (b, _)| a.cmp(b));
    Ok(found)
}

/// Removes the log files that have expired and that `newest` and later versions do not need, and counts them. The
/// properties are those of `view`.
async fn clean_log(
    table: &Table,
    view: &View,
    newest: u64,
    log: &LogFiles,
    (now, dry_run): (DateTime<Utc>, bool),
) -> Result<u64, LakeError> {
    if view.metadata["configuration"][LOG_CLEANUP].as_str() == Some("false") {
        return Ok(0);
    }
    let retention = property(table, view, LOG_RETENTION, 30 * DAY)?;
    let Some(cutoff) = before(now, retention) else { return Ok(0) };
    let version = log.newest_at(newest, cutoff);
    if !log.is_older(version, cutoff) {
        return Ok(0);
    }
    let expired: Vec<Path> = log.expired(version).into_iter().map(|object| object.location.clone()).collect();
    let count = u64::try_from(expired.len()).unwrap_or(u64::MAX);
    if !dry_run {
        delete(table, expired).await?;
    }
    Ok(count)
}

/// Removes objects; those that are gone already are no error.
async fn delete(table: &Table, mut paths: Vec<Path>) -> Result<(), LakeError> {
    // The oldest first: should it stop half-way, what is left of a log is still without gaps.
    paths.sort();
    let doing = || format!("removing old files of {}", table.name);
    let store = std::sync::Arc::clone(table.core.storage.store());
    run(async move {
        let mut removed = store.delete_stream(stream::iter(paths.into_iter().map(Ok)).boxed());
        while let Some(result) = removed.next().await {
            match result {
                Ok(_) | Err(StoreError::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok::<(), StoreError>(())
    })
    .await?
    .map_err(|error| storage_error(doing(), error))
}
