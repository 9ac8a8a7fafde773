//! What a snapshot changed, against a plain map.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, LazyLock};

use arrow_array::{ArrayRef, Float64Array, Int64Array, StringArray};
use fastrand::Rng;
use headwater_cdc::snapshot::{Salt, SnapshotDiff, SnapshotIndex, Verdict};
use headwater_cdc::{CdcError, Printer};

use crate::model::{Current, Event, History, Sequence, Tracked};

type Stored = BTreeMap<i64, Option<String>>;

static SALT: LazyLock<Salt> = LazyLock::new(Salt::random);

fn printed(column: ArrayRef, salt: Salt) -> Vec<u128> {
    let rows = column.len();
    Printer::new(&[column.data_type().clone()], salt).unwrap().print(&[column], rows).unwrap()
}

fn keys(keys: impl Iterator<Item = i64>) -> Vec<u128> {
    printed(Arc::new(Int64Array::from_iter_values(keys)), *SALT)
}

fn names<'a>(names: impl Iterator<Item = &'a Option<String>>) -> Vec<u128> {
    printed(Arc::new(names.map(|name| name.as_deref()).collect::<StringArray>()), *SALT)
}

/// The stored rows, each at the position 1000 + its key.
fn sealed(stored: &Stored) -> SnapshotDiff {
    let mut index = SnapshotIndex::with_capacity(stored.len());
    let positions: Vec<u64> = stored.keys().map(|key| 1000 + key.cast_unsigned()).collect();
    let (keys, names) = (keys(stored.keys().copied()), names(stored.values()));
    index.push_stored(&keys, &names, &positions).unwrap();
    index.seal().unwrap()
}

fn verdicts(diff: &mut SnapshotDiff, snapshot: &[(i64, Option<String>)]) -> Vec<Verdict> {
    let names = names(snapshot.iter().map(|(_, name)| name));
    diff.compare(&keys(snapshot.iter().map(|(key, _)| *key)), &names).unwrap()
}

fn check(stored: &Stored, snapshot: &[(i64, Option<String>)], context: &str) {
    let mut diff = sealed(stored);
    let (first, second) = snapshot.split_at(snapshot.len() / 2);
    let mut found = verdicts(&mut diff, first);
    found.extend(verdicts(&mut diff, second));
    let mut came = HashSet::new();
    let expected: Vec<Verdict> = snapshot
        .iter()
        .map(|(key, name)| match stored.get(key) {
            _ if !came.insert(*key) => Verdict::Duplicate,
            None => Verdict::New,
            Some(before) if before == name => Verdict::Same,
            Some(_) => Verdict::Changed { position: 1000 + key.cast_unsigned() },
        })
        .collect();
    assert_eq!(found, expected, "{context}");
    let gone = stored.keys().filter(|key| !came.contains(*key)).map(|key| 1000 + key.cast_unsigned());
    assert_eq!(diff.gone(), gone.collect::<Vec<_>>(), "{context}");
}

fn name(rng: &mut Rng) -> Option<String> {
    rng.choice([Some("a"), Some("b"), Some(""), None]).flatten().map(str::to_owned)
}

#[test]
fn a_snapshot_is_told_from_what_is_stored() {
    for seed in 0..400 {
        let mut rng = Rng::with_seed(seed);
        let room = rng.i64(1..400);
        let stored: Stored = (0..rng.usize(0..300)).map(|_| (rng.i64(0..room), name(&mut rng))).collect();
        let snapshot: Vec<_> = (0..rng.usize(0..300)).map(|_| (rng.i64(0..room), name(&mut rng))).collect();
        check(&stored, &snapshot, &format!("seed {seed}"));
    }
}

#[test]
fn an_empty_snapshot_takes_everything_away() {
    let stored: Stored = (0..100).map(|key| (key, None)).collect();
    check(&stored, &[], "nothing came");
    check(&Stored::new(), &[], "nothing at all");
    check(&Stored::new(), &[(1, None), (1, None)], "nothing was there");
}

#[test]
fn many_rows_are_told_apart() {
    let stored: Stored = (0..100_000).map(|key| (key * 7, Some(key.to_string()))).collect();
    let snapshot: Vec<_> =
        (0..100_000).map(|key| (key * 7 + i64::from(key % 10 == 0), Some(key.to_string()))).collect();
    check(&stored, &snapshot, "many");
}

#[test]
fn null_equals_null_and_zero_is_zero() {
    let floats = |values: Vec<Option<f64>>| printed(Arc::new(Float64Array::from(values)), *SALT);
    let mut index = SnapshotIndex::with_capacity(0);
    index
        .push_stored(&keys(0..4), &floats(vec![None, Some(0.0), Some(f64::NAN), None]), &[0, 1, 2, 3])
        .unwrap();
    let mut diff = index.seal().unwrap();
    let now = floats(vec![None, Some(-0.0), Some(-f64::NAN), Some(0.0)]);
    let found = diff.compare(&keys(0..4), &now).unwrap();
    assert_eq!(found, [Verdict::Same, Verdict::Same, Verdict::Same, Verdict::Changed { position: 3 }]);
}

#[test]
fn a_key_that_is_stored_twice_is_an_error() {
    let mut index = SnapshotIndex::with_capacity(0);
    let stored = [1, 2, 3, 2];
    let none = [const { None }; 4];
    index.push_stored(&keys(stored.into_iter()), &names(none.iter()), &[40, 30, 20, 10]).unwrap();
    assert!(matches!(index.seal(), Err(CdcError::DuplicateStoredKey { first: 10, second: 30 })));
}

#[test]
fn lengths_that_differ_are_errors() {
    let mut index = SnapshotIndex::with_capacity(0);
    let one = [None];
    let short = index.push_stored(&keys(0..2), &names(one.iter()), &[0, 1]);
    assert!(matches!(short, Err(CdcError::UnevenLengths { what: "values", expected: 2, found: 1 })));
    let short = index.push_stored(&keys(0..1), &names(one.iter()), &[]);
    assert!(matches!(short, Err(CdcError::UnevenLengths { what: "positions", .. })));
    let mut diff = index.seal().unwrap();
    assert!(diff.gone().is_empty());
    assert!(matches!(diff.compare(&keys(0..2), &names(one.iter())), Err(CdcError::UnevenLengths { .. })));
}

#[test]
fn fingerprints_can_be_split_into_parts() {
    let stored: Stored = (0..1_000).map(|key| (key, Some(key.to_string()))).collect();
    let snapshot: Stored = (500..1_500).map(|key| (key, Some((key / 2 * 2).to_string()))).collect();
    let prints = |rows: &Stored| -> Vec<(i64, u128, u128)> {
        let keys_of = keys(rows.keys().copied());
        let values_of = names(rows.values());
        rows.keys().zip(keys_of).zip(values_of).map(|((row, key), values)| (*row, key, values)).collect()
    };
    let (mut new, mut changed, mut gone) = (Vec::new(), Vec::new(), Vec::new());
    for part in 0..4 {
        let of_part =
            |rows: &Stored| -> Vec<_> { prints(rows).into_iter().filter(|row| row.1 % 4 == part).collect() };
        let mut index = SnapshotIndex::with_capacity(0);
        for (row, key, values) in of_part(&stored) {
            index.push(key, values, row.cast_unsigned());
        }
        let mut diff = index.seal().unwrap();
        for (row, key, values) in of_part(&snapshot) {
            match diff.compare(&[key], &[values]).unwrap()[0] {
                Verdict::New => new.push(row),
                Verdict::Changed { position } => changed.push(position.cast_signed()),
                Verdict::Same => assert_eq!(row % 2, 0),
                Verdict::Duplicate => panic!("{row} came once"),
            }
        }
        gone.extend(diff.gone().into_iter().map(u64::cast_signed));
    }
    let sorted = |mut rows: Vec<i64>| {
        rows.sort_unstable();
        rows
    };
    assert_eq!(sorted(new), (1_000..1_500).collect::<Vec<_>>());
    assert_eq!(sorted(changed), (501..1_000).step_by(2).collect::<Vec<_>>());
    assert_eq!(sorted(gone), (0..500).collect::<Vec<_>>());
}

#[test]
fn salts_are_secret_and_matter() {
    let rows: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3]));
    let (one, other) = (Salt::random(), Salt::random());
    let of = |salt| printed(Arc::clone(&rows), salt);
    assert_eq!(of(one), of(one));
    assert!(of(one).iter().zip(of(other)).all(|(a, b)| *a != b));
    assert_eq!(format!("{one:?}"), "Salt(..)");
}

/// A key and its name; `at` is the version of the snapshot.
fn row(key: i64, at: i64, name: Option<&str>) -> Event {
    Event { key, at, delete: name.is_none(), values: (name.map(str::to_owned), None) }
}

#[test]
fn snapshots_become_events_of_their_version() {
    let snapshots: [(i64, &[(i64, &str)]); 4] = [
        (1, &[(1, "a"), (2, "b")]),
        (2, &[(1, "a"), (2, "c"), (3, "d")]),
        (3, &[(2, "c")]),
        (5, &[(1, "a"), (2, "c")]),
    ];
    let mut history = History::new(Sequence::Long, Tracked::Name);
    let mut current = Current::default();
    for (version, rows) in snapshots {
        let stored: Stored =
            current.target.iter().map(|(key, (_, (name, _)))| (*key, name.clone())).collect();
        let snapshot: Vec<_> = rows.iter().map(|(key, name)| (*key, Some((*name).to_owned()))).collect();
        let mut diff = sealed(&stored);
        let found = verdicts(&mut diff, &snapshot);
        let came = rows.iter().zip(found).filter(|(_, verdict)| *verdict != Verdict::Same);
        let gone = diff.gone().into_iter().map(|position| row(position.cast_signed() - 1000, version, None));
        let events: Vec<Event> =
            came.map(|((key, name), _)| row(*key, version, Some(name))).chain(gone).collect();
        history.apply(&events).unwrap();
        current.apply(&events, Sequence::Long);
    }
    let shown: Vec<_> = history
        .part(false)
        .into_iter()
        .map(|row| (row.key, row.values.0.unwrap(), row.start, row.end))
        .collect();
    let line = |key, name: &str, start, end| (key, name.to_owned(), start, end);
    assert_eq!(
        shown,
        [
            line(1, "a", 1, Some(3)),
            line(1, "a", 5, None),
            line(2, "b", 1, Some(2)),
            line(2, "c", 2, None),
            line(3, "d", 2, Some(3)),
        ]
    );
    assert_eq!(current.target.keys().copied().collect::<Vec<_>>(), [1, 2]);
}
