//! Comparisons in a file, against plain maps.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::sync::{Arc, LazyLock};

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use fastrand::Rng;
use headwater_cdc::snapshot::{Salt, SnapshotIndex, Split, Verdict};
use headwater_cdc::{CdcError, Printer};

use super::{Failed, LEAST_LIMIT, Means, Part, Pass, Printed, Spill, SpillError};
use crate::{LakeError, TableName};

type Rows = Vec<(i64, String)>;

static SALT: LazyLock<Salt> = LazyLock::new(Salt::random);

fn means(folder: &std::path::Path, memory_bytes: usize) -> Arc<Means> {
    let table = TableName::new("main", "tests", "spill").unwrap();
    Arc::new(Means { table, memory_bytes, folder: folder.into() })
}

fn printed(rows: &[(i64, String)]) -> Printed {
    let ids: ArrayRef = Arc::new(rows.iter().map(|row| row.0).collect::<Int64Array>());
    let texts: ArrayRef = Arc::new(rows.iter().map(|row| Some(row.1.as_str())).collect::<StringArray>());
    let of = |column: &ArrayRef| {
        let printer = Printer::new(&[column.data_type().clone()], *SALT).unwrap();
        printer.print(std::slice::from_ref(column), column.len()).unwrap()
    };
    let (keys, values) = (of(&ids), of(&texts));
    Printed { rows: RecordBatch::try_from_iter([("id", ids), ("text", texts)]).unwrap(), keys, values }
}

#[derive(Debug, Default, PartialEq)]
struct Outcome {
    new: BTreeSet<i64>,
    changed: BTreeMap<i64, u64>,
    gone: BTreeSet<u64>,
    duplicate: Option<i64>,
}

impl Outcome {
    fn take(&mut self, rows: &RecordBatch, verdicts: Vec<Verdict>) {
        let ids = rows.column(0).as_primitive::<Int64Type>();
        for (row, verdict) in verdicts.into_iter().enumerate() {
            let id = ids.value(row);
            match verdict {
                Verdict::Same => {}
                Verdict::New => assert!(self.new.insert(id), "{id} is new twice"),
                Verdict::Changed { position } => {
                    assert_eq!(self.changed.insert(id, position), None, "{id} changed twice");
                }
                Verdict::Duplicate => self.duplicate = Some(id),
            }
        }
    }
}

/// What happened on the way.
#[derive(Debug, Default)]
struct Way {
    parts: usize,
    parts_of_parts: usize,
    peak_bytes: usize,
}

/// Compares rows; stored ones are at the position 10 + their place. In pieces of `step`.
async fn compared(
    stored: &Rows,
    snapshot: &Rows,
    means: &Arc<Means>,
    step: usize,
    known: bool,
) -> Result<(Outcome, Way), SpillError> {
    let (mut outcome, mut way) = (Outcome::default(), Way::default());
    let mut pass = Pass::new(Arc::clone(means), known.then_some(stored.len() as u64));
    let mut at = 10;
    for rows in stored.chunks(step) {
        let printed = printed(rows);
        let positions: Vec<u64> = (at..).take(rows.len()).collect();
        at += rows.len() as u64;
        pass.push_stored(&printed.keys, &printed.values, &positions).await?;
    }
    pass.end_stored().await?;
    for rows in snapshot.chunks(step) {
        let printed = printed(rows);
        outcome.take(&printed.rows, pass.compare(&printed, None).await?);
    }
    let gone = |outcome: &mut Outcome, positions: &mut dyn Iterator<Item = u64>| {
        for position in positions {
            assert!(outcome.gone.insert(position), "{position} is gone twice");
        }
    };
    let mut waiting: Vec<(bool, Part)> =
        pass.end(|positions| gone(&mut outcome, positions)).await?.into_iter().map(|p| (true, p)).collect();
    way.parts = waiting.len();
    way.peak_bytes = pass.peak_bytes;
    let schema = printed(&[]).rows.schema();
    while let Some((first, mut part)) = waiting.pop() {
        let mut pass = part.begin().await?;
        while let Some(printed) = part.next_rows(&schema).await? {
            outcome.take(&printed.rows, pass.compare(&printed, None).await?);
        }
        let parts = pass.end(|positions| gone(&mut outcome, positions)).await?;
        way.parts_of_parts += usize::from(first) * parts.len();
        way.peak_bytes = way.peak_bytes.max(pass.peak_bytes);
        waiting.extend(parts.into_iter().map(|part| (false, part)));
    }
    Ok((outcome, way))
}

fn expected(stored: &Rows, snapshot: &Rows) -> Outcome {
    let places: BTreeMap<i64, u64> = stored.iter().map(|row| row.0).zip(10..).collect();
    let before: BTreeMap<_, _> = stored.iter().cloned().collect();
    let after: BTreeMap<_, _> = snapshot.iter().cloned().collect();
    let changed = after.iter().filter(|(id, text)| before.get(id).is_some_and(|b| b != *text));
    Outcome {
        new: after.keys().filter(|id| !before.contains_key(id)).copied().collect(),
        changed: changed.map(|(id, _)| (*id, places[id])).collect(),
        gone: places.iter().filter(|(id, _)| !after.contains_key(id)).map(|(_, at)| *at).collect(),
        duplicate: None,
    }
}

fn rows(rng: &mut Rng, ids: impl Iterator<Item = i64>) -> Rows {
    let mut rows: Rows = ids.map(|id| (id, format!("text {}", rng.u8(0..2)))).collect();
    rng.shuffle(&mut rows);
    rows
}

#[tokio::test]
async fn a_comparison_in_a_file_comes_to_the_same_in_no_more_memory() {
    let folder = tempfile::tempdir().unwrap();
    let (mut split, mut split_again, mut in_memory) = (0, 0, 0);
    for (seed, (stored, snapshot)) in [
        (0..5_000, 100..5_100),
        (0..5_000, 5_000..5_000),
        (0..0, 0..20_000),
        (0..0, 0..90_000),
        (0..1_000, 0..1_000),
        (0..1_000, 500..3_000),
        (0..1_100, 1_000..9_000),
        (0..60_000, 30_000..60_100),
        (0..0, 0..0),
    ]
    .into_iter()
    .enumerate()
    {
        let mut rng = Rng::with_seed(seed as u64);
        let (stored, snapshot) = (rows(&mut rng, stored), rows(&mut rng, snapshot));
        let (means, step) = (means(folder.path(), LEAST_LIMIT), rng.usize(20..400));
        let known = rng.bool();
        let (outcome, way) = compared(&stored, &snapshot, &means, step, known).await.unwrap();
        assert_eq!(outcome, expected(&stored, &snapshot), "case {seed}, steps of {step}: {way:?}");
        assert!(way.peak_bytes <= LEAST_LIMIT, "case {seed}: {way:?}");
        split += usize::from(way.parts > 0);
        split_again += usize::from(way.parts_of_parts > 0);
        in_memory += usize::from(way.parts == 0);

        let most = self::means(folder.path(), 1 << 30);
        let (outcome, way) = compared(&stored, &snapshot, &most, 10_000, known).await.unwrap();
        assert_eq!(outcome, expected(&stored, &snapshot), "case {seed} in memory");
        assert_eq!(way.parts, 0, "case {seed}");
    }
    assert!(split >= 5 && split_again >= 1 && in_memory >= 2, "{split} {split_again} {in_memory}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_key_that_comes_again_is_found_wherever_the_first_one_is() {
    let folder = tempfile::tempdir().unwrap();
    let means = means(folder.path(), LEAST_LIMIT);
    let row = |id: i64| (id, "same".to_owned());
    for (stored, twice, second_at) in [
        // New: before the file was begun and after, both after, both before.
        (0, 3, 6_000),
        (0, 5_900, 6_000),
        (0, 3, 5),
        // Stored: as with new keys.
        (900, 3, 6_000),
        (900, 3, 5),
        (5_000, 3, 4_000),
        (5_000, 5_500, 6_000),
    ] {
        let stored: Rows = (0..stored).map(row).collect();
        let mut snapshot: Rows = (0..6_000).map(row).collect();
        snapshot.insert(second_at, row(twice));
        let (outcome, way) = compared(&stored, &snapshot, &means, 100, true).await.unwrap();
        assert_eq!(outcome.duplicate, Some(twice), "{} stored, at {second_at}", stored.len());
        assert!(way.parts > 0);
    }
}

#[tokio::test]
async fn a_key_that_is_stored_twice_is_found_in_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let means = means(folder.path(), LEAST_LIMIT);
    for (first, second) in [(3_u64, 4), (3, 5_000), (4_998, 5_000)] {
        let mut stored: Rows = (0..6_000).map(|id| (id, String::new())).collect();
        stored[second].0 = first.cast_signed();
        let found = compared(&stored, &Vec::new(), &means, 64, false).await;
        let (first, second) = (first + 10, second as u64 + 10);
        assert!(
            matches!(found, Err(SpillError::Rules(CdcError::DuplicateStoredKey { first: a, second: b })) if (a, b) == (first, second)),
            "{found:?}"
        );
    }
}

#[tokio::test]
async fn a_folder_that_is_not_there_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let means = means(&folder.path().join("none"), LEAST_LIMIT);
    let stored: Rows = (0..6_000).map(|id| (id, String::new())).collect();
    let error = compared(&stored, &Vec::new(), &means, 64, true).await.unwrap_err();
    let SpillError::Lake(LakeError::Storage { doing, retryable: false, .. }) = error else {
        panic!("{error:?}")
    };
    let path = folder.path().join("none").display().to_string();
    assert!(doing.contains(&path) && doing.contains("main.tests.spill"), "{doing}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_an_error_that_names_the_folder() {
    let means = means("/dev".as_ref(), LEAST_LIMIT);
    let full = || Spill::new(File::options().write(true).open("/dev/full").unwrap(), Split::new(4));
    let mut index = SnapshotIndex::with_capacity(1);
    index.push(1, 1, 1);
    let waiting = [printed(&[(1, "a".into())])];
    for failed in [full().put_stored(&mut index, 10).unwrap_err(), full().put_rows(&waiting).unwrap_err()] {
        assert!(matches!(&failed, Failed::File(e) if e.kind() == std::io::ErrorKind::StorageFull));
        let SpillError::Lake(error) = failed.while_doing("writing", &means) else { panic!() };
        assert_eq!(
            error.to_string(),
            "storage failed while writing a temporary file in /dev, for a snapshot of main.tests.spill that does not fit into memory"
        );
    }
}

#[tokio::test]
async fn a_file_that_was_changed_is_an_error() {
    use std::io::{Seek, Write};
    let means = means("".as_ref(), LEAST_LIMIT);
    let mut spill = Spill::new(tempfile::tempfile().unwrap(), Split::new(2));
    let rows: Rows = (0..50).map(|id| (id, String::new())).collect();
    let waiting = [printed(&rows)];
    let schema = waiting[0].rows.schema();
    spill.put_rows(&waiting).unwrap();
    spill.put_rows(&waiting).unwrap();
    spill.file.seek(std::io::SeekFrom::Start(8)).unwrap();
    spill.file.write_all(&[255; 60]).unwrap();
    let mut errors = 0;
    for mut part in spill.into_parts(&means) {
        loop {
            match part.next_rows(&schema).await {
                Ok(Some(printed)) => assert!(printed.rows.num_rows() > 0),
                Ok(None) => break,
                Err(error) => {
                    errors += 1;
                    assert!(matches!(error, SpillError::Lake(LakeError::Storage { .. })), "{error:?}");
                    break;
                }
            }
        }
    }
    assert_eq!(errors, 1);
}
