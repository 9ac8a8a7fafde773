//! Which files are merged with which. No I/O.

use std::collections::BTreeMap;

use crate::kernel::LiveFile;
use crate::upkeep::source::Key;

/// A file of less than this share of the target is small.
pub(crate) const SMALL_SHARE: u64 = 2;
/// Upkeep between micro-batches merges only files of less than this share of the target.
const LITTLE_SHARE: u64 = 8;
/// So many little files of about the same size are merged. A row is then rewritten once each time that its file grows
/// by this factor, and no more often, however small the micro-batches are.
pub(crate) const TIER_FILES: usize = 16;
/// Dead rows below this share of the target's size are not worth a commit.
const DEAD_WORTH_SHARE: u64 = 128;
/// Dead rows of all rows, in percent, from which on files are rewritten: four rows at most for each one that died.
const MOST_DEAD_PERCENT: u64 = 20;
/// What is left after that.
const LEFT_DEAD_PERCENT: u64 = 10;
/// Files that are rewritten in one go for the sake of the table's dead rows, in sizes of the target.
const DEAD_AT_ONCE: u64 = 2;

/// Puts the files that are worth rewriting into groups of about `target_bytes`, where rows have no order.
///
/// Worth rewriting are files with dead rows, and small ones that have company. Groups are made by age, so that what was
/// written together stays together.
pub(crate) fn groups(files: Vec<LiveFile>, target_bytes: u64) -> Vec<Vec<LiveFile>> {
    let mut candidates: Vec<LiveFile> = files
        .into_iter()
        .filter(|f| f.deletion_vector.is_some() || bytes(f) < target_bytes / SMALL_SHARE)
        .collect();
    candidates
        .sort_by(|x, y| x.modification_time.cmp(&y.modification_time).then_with(|| x.path.cmp(&y.path)));
    let mut groups: Vec<Vec<LiveFile>> = Vec::new();
    let mut room = 0;
    for file in candidates {
        let size = bytes(&file);
        match groups.last_mut() {
            Some(group) if size <= room => {
                room -= size;
                group.push(file);
            }
            _ => {
                room = target_bytes.saturating_sub(size);
                groups.push(vec![file]);
            }
        }
    }
    groups.retain(|group| group.len() > 1 || group.iter().any(|f| f.deletion_vector.is_some()));
    groups
}

/// A file by what it holds.
#[derive(Debug, Clone)]
pub(crate) struct Item {
    /// The least and the greatest sort key.
    pub(crate) least: Key,
    pub(crate) greatest: Key,
    pub(crate) bytes: u64,
    /// It has dead rows or is not in order.
    pub(crate) worn: bool,
}

/// Puts the files that are worth rewriting into groups, where rows have an order.
///
/// The files of a group become one sorted sequence. Together go files of which one lies across another, and small ones
/// that are neighbours, up to `target_bytes`. Files that meet in one key do not lie across each other.
pub(crate) fn ranges(items: &[Item], target_bytes: u64) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..items.len()).collect();
    order.sort_by(|&a, &b| (&items[a].least, &items[a].greatest).cmp(&(&items[b].least, &items[b].greatest)));
    let mut blocks: Vec<(Vec<usize>, &[u8])> = Vec::new();
    for at in order {
        let item = &items[at];
        match blocks.last_mut() {
            Some((block, greatest)) if *item.least < **greatest => {
                block.push(at);
                *greatest = (*greatest).max(&item.greatest);
            }
            _ => blocks.push((vec![at], &item.greatest)),
        }
    }
    let mut groups: Vec<(Vec<usize>, u64, bool)> = Vec::new();
    let mut open = false;
    for (block, _) in blocks {
        let size: u64 = block.iter().fold(0, |sum, &at| items[at].bytes.saturating_add(sum));
        let worn = block.len() > 1 || block.iter().any(|&at| items[at].worn);
        if !worn && size >= target_bytes / SMALL_SHARE {
            open = false;
            continue;
        }
        match groups.last_mut() {
            Some((group, total, dirty))
                if open && (total.saturating_add(size) <= target_bytes || (*dirty && worn)) =>
            {
                group.extend(block);
                *total = total.saturating_add(size);
                *dirty |= worn;
            }
            _ => groups.push((block, size, worn)),
        }
        open = true;
    }
    groups.into_iter().filter(|(group, _, worn)| *worn || group.len() > 1).map(|(group, ..)| group).collect()
}

/// Says of each range whether another one meets it. Ranges may be given by the first parts of their keys.
pub(crate) fn touched(ranges: &[(&[u8], &[u8])]) -> Vec<bool> {
    let mut order: Vec<usize> = (0..ranges.len()).collect();
    order.sort_by_key(|&at| ranges[at]);
    let mut touched = vec![false; ranges.len()];
    // The range that reaches furthest so far.
    let mut furthest: Option<usize> = None;
    for at in order {
        let (least, greatest) = ranges[at];
        if let Some(before) = furthest {
            let end = ranges[before].1;
            if least <= end || least.starts_with(end) {
                touched[before] = true;
                touched[at] = true;
            }
            if greatest < end {
                continue;
            }
        }
        furthest = Some(at);
    }
    touched
}

/// The files that upkeep between micro-batches rewrites, in groups; none before it is worth it.
///
/// Little files are merged with others of about their size, so that a large file is not rewritten for the sake of a few
/// rows. Of larger files those are rewritten of which more than half of the rows are dead, and, where many rows of the
/// table are, those with the most.
pub(crate) fn worn(files: Vec<&LiveFile>, target_bytes: u64) -> Vec<Vec<LiveFile>> {
    let (mut little, large): (Vec<&LiveFile>, Vec<&LiveFile>) =
        files.into_iter().partition(|f| bytes(f) < target_bytes / LITTLE_SHARE);
    let mut counts: BTreeMap<u32, usize> = BTreeMap::new();
    for file in &little {
        *counts.entry(tier(file)).or_default() += 1;
    }
    let full = counts.iter().rev().find(|&(_, &count)| count >= TIER_FILES).map(|(&tier, _)| tier);
    little.retain(|file| full.is_some_and(|full| tier(file) <= full));
    little.sort_by(|x, y| x.modification_time.cmp(&y.modification_time).then_with(|| x.path.cmp(&y.path)));
    let little: Vec<LiveFile> = little.into_iter().cloned().collect();
    let mut groups = if little.is_empty() { Vec::new() } else { vec![little] };
    groups.extend(dying(large, target_bytes).into_iter().map(|file| vec![file.clone()]));
    groups
}

/// Files of one tier differ in size by a factor of four at most.
fn tier(file: &LiveFile) -> u32 {
    bytes(file).max(1).ilog2() / 2
}

/// A file with its dead rows and all of its rows.
struct Dying<'f> {
    file: &'f LiveFile,
    dead: u64,
    rows: u64,
}

impl Dying<'_> {
    fn dead_bytes(&self) -> u64 {
        let part = u128::from(bytes(self.file)) * u128::from(self.dead) / u128::from(self.rows.max(1));
        u64::try_from(part).unwrap_or(u64::MAX)
    }

    fn is_over(&self, percent: u64) -> bool {
        self.dead.saturating_mul(100) > self.rows.saturating_mul(percent)
    }
}

/// The files that have too many dead rows.
fn dying(files: Vec<&LiveFile>, target_bytes: u64) -> Vec<&LiveFile> {
    let worth = (target_bytes / DEAD_WORTH_SHARE).max(1);
    let mut files: Vec<Dying<'_>> = files
        .into_iter()
        .filter_map(|file| {
            let (live, dead) = (file.rows()?, file.dead_rows);
            Some(Dying { file, dead, rows: live.saturating_add(dead) })
        })
        .collect();
    files.sort_by_key(|f| std::cmp::Reverse((f.dead.saturating_mul(1_000) / f.rows.max(1), f.dead)));
    let rows: u64 = files.iter().map(|f| f.rows).sum();
    let mut dead: u64 = files.iter().map(|f| f.dead).sum();
    let dead_bytes: u64 = files.iter().map(|f| f.dead_bytes()).fold(0, u64::saturating_add);
    let many = dead.saturating_mul(100) > rows.saturating_mul(MOST_DEAD_PERCENT) && dead_bytes >= worth;
    let mut chosen = Vec::new();
    let mut size = 0_u64;
    for file in files {
        let mostly_dead = file.is_over(50) && file.dead_bytes() >= worth;
        let helps = many
            && dead.saturating_mul(100) > rows.saturating_mul(LEFT_DEAD_PERCENT)
            && file.is_over(LEFT_DEAD_PERCENT);
        if (mostly_dead || helps) && size < target_bytes.saturating_mul(DEAD_AT_ONCE) {
            dead -= file.dead;
            size = size.saturating_add(bytes(file.file));
            chosen.push(file.file);
        }
    }
    chosen
}

/// The size of a file; a log that gives a negative one is damaged, and the file then counts as large.
pub(crate) fn bytes(file: &LiveFile) -> u64 {
    u64::try_from(file.size).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Item, groups, ranges, touched, worn};
    use crate::kernel::LiveFile;

    fn file(name: &str, size: i64, age: i64, rows: u64, dead: u64) -> LiveFile {
        LiveFile {
            path: name.to_owned(),
            size,
            modification_time: age,
            stats: Some(json!({"numRecords": rows}).to_string()),
            deletion_vector: (dead > 0).then(|| json!({"cardinality": dead})),
            dead_rows: dead,
            partition_values: std::collections::BTreeMap::new(),
        }
    }

    fn named(groups: &[Vec<LiveFile>]) -> Vec<String> {
        groups.iter().map(|g| g.iter().map(|f| f.path.as_str()).collect::<Vec<_>>().join(" ")).collect()
    }

    #[test]
    fn files_without_an_order_are_grouped_by_age() {
        let check = |files: Vec<LiveFile>, expect: &[&str]| assert_eq!(named(&groups(files, 100)), expect);
        let small = |name: &str, size: i64, age: i64, dead: u64| file(name, size, age, 9, dead);
        check(vec![], &[]);
        check(vec![small("alone", 1, 0, 0)], &[]);
        check(vec![small("large", 60, 0, 0), small("small", 1, 0, 0)], &[]);
        check(vec![small("b", 40, 2, 0), small("a", 40, 1, 0)], &["a b"]);
        // What does not fit opens the next group; a last one alone stays as it is.
        check((1..=4).map(|i| small(&format!("f{i}"), 40, i, 0)).collect(), &["f1 f2", "f3 f4"]);
        check((1..=3).map(|i| small(&format!("f{i}"), 40, i, 0)).collect(), &["f1 f2"]);
        // Dead rows are purged from files of any size, alone if need be.
        check(vec![small("large", 500, 0, 3)], &["large"]);
        check(vec![small("d", 30, 0, 1), small("s", 10, 1, 0)], &["d s"]);
    }

    #[test]
    fn files_with_an_order_are_grouped_by_what_they_hold() {
        let check = |items: &[(u8, u8, u64, bool)], expect: &[&[usize]]| {
            let items: Vec<Item> = items
                .iter()
                .map(|&(least, greatest, bytes, worn)| Item {
                    least: [least].into(),
                    greatest: [greatest].into(),
                    bytes,
                    worn,
                })
                .collect();
            assert_eq!(ranges(&items, 100), expect);
        };
        check(&[], &[]);
        check(&[(1, 5, 10, false)], &[]);
        check(&[(1, 5, 10, true)], &[&[0]]);
        // In order, large, and meeting in a key: nothing to do.
        check(&[(5, 9, 90, false), (1, 5, 90, false), (9, 9, 90, false)], &[]);
        // One that lies across others draws them in; the one beside them stays.
        check(&[(1, 3, 90, false), (4, 6, 90, false), (7, 9, 90, false), (2, 5, 1, false)], &[&[0, 3, 1]]);
        // Small neighbours go together, up to the target, and not past a large one.
        check(&[(1, 2, 40, false), (3, 4, 40, false), (5, 6, 40, false)], &[&[0, 1]]);
        check(&[(1, 2, 40, false), (3, 4, 90, false), (5, 6, 40, false)], &[]);
        // Those with dead rows next to each other become one sequence, whatever their size.
        check(&[(1, 2, 90, true), (3, 4, 90, true), (5, 6, 20, false)], &[&[0, 1]]);
        check(&[(1, 2, 60, true), (3, 4, 20, false), (8, 9, 90, false)], &[&[0, 1]]);
    }

    #[test]
    fn ranges_that_meet_are_found() {
        let check = |ranges: &[(&str, &str)], expect: &[bool]| {
            let ranges: Vec<_> = ranges.iter().map(|(a, b)| (a.as_bytes(), b.as_bytes())).collect();
            assert_eq!(touched(&ranges), expect, "{ranges:?}");
        };
        check(&[], &[]);
        check(&[("a", "c"), ("d", "e")], &[false, false]);
        check(&[("d", "e"), ("a", "d")], &[true, true]);
        check(&[("a", "z"), ("b", "c"), ("d", "e")], &[true, true, true]);
        // The second key may be anything behind the first part.
        check(&[("a", "c"), ("cx", "d")], &[true, true]);
        check(&[("a", "c"), ("d", "e"), ("ex", "f")], &[false, true, true]);
    }

    #[test]
    fn upkeep_waits_until_a_tier_is_full_and_leaves_large_files_alone() {
        let many =
            |count: i64, size: i64| (0..count).map(move |i| file(&format!("s{size}x{i}"), size, i, 9, 0));
        let check = |files: Vec<LiveFile>, expect: &[usize]| {
            let sizes: Vec<usize> = worn(files.iter().collect(), 1_000_000).iter().map(Vec::len).collect();
            assert_eq!(sizes, expect);
        };
        check(many(15, 1_000).collect(), &[]);
        check(many(16, 1_000).collect(), &[16]);
        check(many(16, 1_000).chain(many(5, 100)).chain(many(15, 60_000)).collect(), &[21]);
        check(many(16, 60_000).chain(many(5, 1_000)).collect(), &[21]);
        check(many(15, 1_000).chain(many(15, 5_000)).chain(many(15, 20_000)).collect(), &[]);
        check(many(100, 200_000).collect(), &[]);
        check(many(100, 2_000_000).chain(many(16, 10)).collect(), &[16]);
    }

    #[test]
    fn dead_rows_are_purged_where_they_are_many() {
        let check = |files: &[(i64, u64, u64)], expect: &[&str]| {
            let files = files.iter().zip(0_i64..);
            let files = files.map(|(&(size, rows, dead), at)| file(&format!("f{at}"), size, at, rows, dead));
            assert_eq!(named(&worn(files.collect::<Vec<_>>().iter().collect(), 1_000_000)), expect);
        };
        check(&[(900_000, 100, 0)], &[]);
        check(&[(900_000, 1_000, 200), (900_000, 1_000, 200)], &[]);
        // A fifth of all: the worst go, until a tenth is left.
        check(&[(900_000, 1_000, 150), (900_000, 1_000, 350), (900_000, 1_000, 110)], &["f1"]);
        check(&[(900_000, 1_000, 190), (900_000, 1_000, 500), (900_000, 1_000, 500)], &["f1", "f2"]);
        // More than half of one file.
        check(&[(900_000, 1_000, 501), (9_000_000, 9_000, 0)], &["f0"]);
        check(&[(900_000, 1_000, 500), (9_000_000, 9_000, 0)], &[]);
        // Of little files tiers take care.
        check(&[(90_000, 100, 99)], &[]);
        // Not everything at once.
        check(&[(1_500_000, 1_000, 600), (1_500_000, 1_000, 600), (1_500_000, 1_000, 600)], &["f0", "f1"]);
    }
}
