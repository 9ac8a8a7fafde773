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
use crate::table::{Table, View};
use crate::upkeep::interval;
use crate::upkeep::kernel::vector_file;
use crate::upkeep::log::{LogFiles, recent};
use crate::{LakeError, VacuumReport};

const FILE_RETENTION: &str = "delta.deletedFileRetentionDuration";
const LOG_RETENTION: &str = "delta.logRetentionDuration";
const LOG_CLEANUP: &str = "delta.enableExpiredLogCleanup";
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Removes, or with `dry_run` only lists, the files of a table that are older than `retention` and that no version
/// needs that was the newest at any time since; files of writers that died are among them. Then removes the files of
/// the log that lie below a checkpoint older than the table's log retention.
///
/// Files and folders whose names begin with `_` or `.` are left alone.
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
        let needed = needed(table, &view, &log, cutoff).await?;
        let old = unneeded(table, &needed, cutoff).await?;
        report.bytes = old.iter().map(|(_, object)| object.size).sum();
        if !dry_run {
            delete(table, old.iter().map(|(_, object)| object.location.clone()).collect()).await?;
        }
        report.files = old.into_iter().map(|(name, _)| name).collect();
    }
    report.log_files = clean_log(table, &view, &log, now, dry_run).await?;
    Ok(report)
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

/// All files that a version needs that was the newest at or after `cutoff`.
async fn needed(
    table: &Table,
    view: &View,
    log: &LogFiles,
    cutoff: DateTime<Utc>,
) -> Result<HashSet<Path>, LakeError> {
    let mut needed = HashSet::new();
    keep_live(table, &table.live_files(view).await?, &mut needed)?;
    let recent = recent(table, log, view.version, cutoff).await?;
    for add in &recent.adds {
        let path = add["path"].as_str().unwrap_or_default();
        keep(table, path, Some(&add["deletionVector"]).filter(|v| !v.is_null()), &mut needed)?;
    }
    // What was there before these is in the listing of the first version, or, where that cannot be read any more, in
    // that of the oldest one that can: what only older ones need, nobody can read.
    if let Some(first) = log.oldest_readable(recent.first)
        && first < view.version
    {
        let then = table.view_at(first).await?;
        keep_live(table, &table.live_files(&then).await?, &mut needed)?;
    }
    Ok(needed)
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

/// Removes the log files that have expired, and counts them.
async fn clean_log(
    table: &Table,
    view: &View,
    log: &LogFiles,
    now: DateTime<Utc>,
    dry_run: bool,
) -> Result<u64, LakeError> {
    if view.metadata["configuration"][LOG_CLEANUP].as_str() == Some("false") {
        return Ok(0);
    }
    let retention = property(table, view, LOG_RETENTION, 30 * DAY)?;
    let Some(cutoff) = before(now, retention) else { return Ok(0) };
    let version = log.newest_at(view.version, cutoff);
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
