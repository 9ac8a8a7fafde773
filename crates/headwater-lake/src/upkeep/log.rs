//! The files of a table's log by their names, and when its versions were made. Which of them have expired.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use object_store::ObjectMeta;
use serde_json::Value;

use crate::LakeError;
use crate::cdc::{CDC_DOMAIN, CdcRecord};
use crate::kernel::damaged;
use crate::table::Table;

/// What a file of the log is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Commit,
    Checksum,
    /// Commits `first..=last` in one file; named after the last here.
    Compacted,
    /// Part of a checkpoint that has so many parts.
    Checkpoint {
        parts: u32,
    },
}

/// The version that a file of the log belongs to, and what it is; `None` for anything else.
fn classify(name: &str) -> Option<(u64, Kind)> {
    let number = |text: &str, digits: usize| {
        (text.len() == digits && text.bytes().all(|b| b.is_ascii_digit()))
            .then(|| text.parse::<u64>().ok())?
    };
    let parts: Vec<&str> = name.split('.').collect();
    let version = number(parts.first()?, 20)?;
    let kind = match parts.get(1..)? {
        ["json"] => Kind::Commit,
        ["crc"] => Kind::Checksum,
        [last, "compacted", "json"] => return Some((number(last, 20)?, Kind::Compacted)),
        ["checkpoint", "parquet"] => Kind::Checkpoint { parts: 1 },
        ["checkpoint", part, of, "parquet"] if number(part, 10).is_some() => {
            Kind::Checkpoint { parts: u32::try_from(number(of, 10)?).ok()? }
        }
        ["checkpoint", id, "json" | "parquet"] if id.len() == 36 => Kind::Checkpoint { parts: 1 },
        _ => return None,
    };
    Some((version, kind))
}

/// A listing of the log.
#[derive(Debug, Default)]
pub(crate) struct LogFiles {
    files: Vec<(u64, Kind, ObjectMeta)>,
    commits: BTreeMap<u64, ObjectMeta>,
    /// Versions that have a whole checkpoint.
    checkpoints: BTreeSet<u64>,
}

impl LogFiles {
    pub(crate) async fn list(table: &Table) -> Result<Self, LakeError> {
        let (_, objects) = table.core.storage.list_folder(&table.log_path()).await?;
        Ok(Self::of(objects))
    }

    fn of(objects: Vec<ObjectMeta>) -> Self {
        let mut log = Self::default();
        let mut parts: BTreeMap<(u64, u32), u32> = BTreeMap::new();
        for object in objects {
            let Some((version, kind)) = object.location.filename().and_then(classify) else { continue };
            match kind {
                Kind::Commit => {
                    log.commits.insert(version, object.clone());
                }
                Kind::Checkpoint { parts: of } => {
                    let found = parts.entry((version, of)).or_default();
                    *found += 1;
                    if *found >= of {
                        log.checkpoints.insert(version);
                    }
                }
                Kind::Checksum | Kind::Compacted => {}
            }
            log.files.push((version, kind, object));
        }
        log
    }

    /// The oldest version at or above `wanted` that can still be read.
    pub(crate) fn oldest_readable(&self, wanted: u64) -> Option<u64> {
        let whole_from = |first: u64| (first..=wanted).all(|v| self.commits.contains_key(&v));
        let readable = match self.checkpoints.range(..=wanted).next_back() {
            Some(&checkpoint) => checkpoint == wanted || whole_from(checkpoint + 1),
            None => whole_from(0),
        };
        if readable { Some(wanted) } else { self.checkpoints.range(wanted..).next().copied() }
    }

    /// The version that was the newest at an instant, by the age of the commits' files; the oldest one after it where
    /// the log does not reach back so far.
    pub(crate) fn newest_at(&self, newest: u64, instant: DateTime<Utc>) -> u64 {
        let mut first = newest;
        while let Some(commit) = self.commits.get(&first) {
            // Files that were copied are younger than what they tell of, never older.
            if commit.last_modified <= instant || first == 0 || !self.commits.contains_key(&(first - 1)) {
                break;
            }
            first -= 1;
        }
        first
    }

    /// Says whether a version is older than an instant, and so whatever is below it.
    pub(crate) fn is_older(&self, version: u64, instant: DateTime<Utc>) -> bool {
        self.commits.get(&version).is_some_and(|commit| commit.last_modified <= instant)
    }

    /// The files below the newest checkpoint at or below `version`: nothing at or above it needs them.
    pub(crate) fn expired(&self, version: u64) -> Vec<&ObjectMeta> {
        let Some(&checkpoint) = self.checkpoints.range(..=version).next_back() else { return Vec::new() };
        self.files.iter().filter(|(v, _, _)| *v < checkpoint).map(|(_, _, object)| object).collect()
    }
}

/// What the versions since an instant have added.
#[derive(Debug)]
pub(crate) struct Recent {
    /// The oldest version that the log still tells of and that was, or came after, the newest at that instant.
    pub(crate) first: u64,
    /// The bodies of the `add` actions of all versions after `first`.
    pub(crate) adds: Vec<Value>,
    /// The versions of the hidden table that they name.
    pub(crate) hidden: Vec<u64>,
}

/// Reads the commits that are younger than `cutoff`.
pub(crate) async fn recent(
    table: &Table,
    log: &LogFiles,
    newest: u64,
    cutoff: DateTime<Utc>,
) -> Result<Recent, LakeError> {
    since(table, log.newest_at(newest, cutoff), newest).await
}

/// Reads the commits after `first`.
pub(crate) async fn since(table: &Table, first: u64, newest: u64) -> Result<Recent, LakeError> {
    let (mut adds, mut hidden) = (Vec::new(), Vec::new());
    for version in first + 1..=newest {
        let path = table.log_path().join(format!("{version:020}.json"));
        let Some(text) = table.core.storage.get(&path).await? else {
            return Err(damaged(&table.name, format!("{path} is missing")));
        };
        for line in text.split(|&b| b == b'\n').filter(|line| !line.is_empty()) {
            let mut action: Value =
                serde_json::from_slice(line).map_err(|e| damaged(&table.name, format!("{path}: {e}")))?;
            if !action["add"].is_null() {
                adds.push(action["add"].take());
            }
            let domain = &action["domainMetadata"];
            if domain["domain"] == CDC_DOMAIN && domain["removed"] != true {
                let text = domain["configuration"].as_str().unwrap_or_default();
                let record: CdcRecord =
                    serde_json::from_str(text).map_err(|e| damaged(&table.name, format!("{path}: {e}")))?;
                hidden.extend(record.hidden);
            }
        }
    }
    Ok(Recent { first, adds, hidden })
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use object_store::ObjectMeta;
    use object_store::path::Path;

    use super::{Kind, LogFiles, classify};

    #[test]
    fn names_of_log_files_are_told_apart() {
        let check = |name: &str, expect: Option<(u64, Kind)>| assert_eq!(classify(name), expect, "{name}");
        check("00000000000000000007.json", Some((7, Kind::Commit)));
        check("00000000000000000007.crc", Some((7, Kind::Checksum)));
        check("00000000000000000004.00000000000000000007.compacted.json", Some((7, Kind::Compacted)));
        check("00000000000000000007.checkpoint.parquet", Some((7, Kind::Checkpoint { parts: 1 })));
        check(
            "00000000000000000007.checkpoint.0000000001.0000000003.parquet",
            Some((7, Kind::Checkpoint { parts: 3 })),
        );
        check(
            "00000000000000000007.checkpoint.80a083e8-7026-4e79-81be-64bd76c43a11.json",
            Some((7, Kind::Checkpoint { parts: 1 })),
        );
        check("_last_checkpoint", None);
        check("7.json", None);
        check("00000000000000000007.json.tmp", None);
        check("00000000000000000007.checkpoint.parquet.tmp", None);
        check("0000000000000000000x.json", None);
        check("", None);
    }

    fn log(names: &[&str]) -> LogFiles {
        let object = |name: &&str| ObjectMeta {
            location: Path::from(format!("t/_delta_log/{name}")),
            last_modified: DateTime::UNIX_EPOCH,
            size: 1,
            e_tag: None,
            version: None,
        };
        LogFiles::of(names.iter().map(object).collect())
    }

    fn commit(version: u64) -> String {
        format!("{version:020}.json")
    }

    #[test]
    fn the_log_is_cut_below_a_checkpoint_and_never_elsewhere() {
        let mut names: Vec<String> = (0..=9).map(commit).collect();
        names.extend((0..=9).map(|v| format!("{v:020}.crc")));
        names.push(format!("{:020}.checkpoint.parquet", 4));
        names.push(format!("{:020}.checkpoint.0000000001.0000000002.parquet", 8));
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let log = log(&names);
        let check = |version: u64, expect: usize| assert_eq!(log.expired(version).len(), expect, "{version}");
        check(3, 0);
        check(4, 8);
        // Half of a checkpoint is none.
        check(9, 8);
        assert_eq!(log.oldest_readable(2), Some(2));
        assert_eq!(log.oldest_readable(9), Some(9));
    }

    #[test]
    fn a_version_without_its_commits_is_not_readable() {
        let mut names: Vec<String> = (6..=9).map(commit).collect();
        names.push(format!("{:020}.checkpoint.parquet", 5));
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let log = log(&names);
        let check =
            |wanted: u64, expect: Option<u64>| assert_eq!(log.oldest_readable(wanted), expect, "{wanted}");
        check(2, Some(5));
        check(5, Some(5));
        check(7, Some(7));
        check(12, None);
    }
}
