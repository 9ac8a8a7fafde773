//! Which files are merged with which. No I/O.

use std::cmp::Ordering;

use serde_json::Value;

use crate::kernel::LiveFile;

/// A file of less than this share of the target is small.
const SMALL_SHARE: u64 = 2;

/// Puts the files that are worth rewriting into groups of about `target_bytes`.
///
/// Worth rewriting are files with dead rows, and small ones that have company. Groups are made of neighbours: by the
/// least values of `order_by` (names in the files), else by age, so that what was written together stays together.
pub(crate) fn groups(files: Vec<LiveFile>, target_bytes: u64, order_by: &[String]) -> Vec<Vec<LiveFile>> {
    let mut candidates: Vec<(Vec<Least>, LiveFile)> = files
        .into_iter()
        .filter(|f| f.deletion_vector.is_some() || bytes(f) < target_bytes / SMALL_SHARE)
        .map(|f| (least_values(&f, order_by), f))
        .collect();
    candidates.sort_by(|(a, x), (b, y)| {
        compare(a, b).then(x.modification_time.cmp(&y.modification_time)).then_with(|| x.path.cmp(&y.path))
    });
    let mut groups: Vec<Vec<LiveFile>> = Vec::new();
    let mut room = 0;
    for (_, file) in candidates {
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

/// The size of a file; a log that gives a negative one is damaged, and the file then counts as large.
pub(crate) fn bytes(file: &LiveFile) -> u64 {
    u64::try_from(file.size).unwrap_or(u64::MAX)
}

/// The least value of a column in a file, as far as statistics tell.
#[derive(Debug, Clone, PartialEq)]
enum Least {
    /// Not known, or null only.
    Unknown,
    Number(f64),
    /// Text, dates and timestamps: as text they have their own order.
    Text(String),
}

fn least_values(file: &LiveFile, columns: &[String]) -> Vec<Least> {
    if columns.is_empty() {
        return Vec::new();
    }
    let stats: Value =
        file.stats.as_deref().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    let least = |column: &String| match &stats["minValues"][column] {
        Value::Number(number) => number.as_f64().map_or(Least::Unknown, Least::Number),
        Value::String(text) => Least::Text(text.clone()),
        _ => Least::Unknown,
    };
    columns.iter().map(least).collect()
}

fn compare(a: &[Least], b: &[Least]) -> Ordering {
    let rank = |least: &Least| match least {
        Least::Unknown => 0,
        Least::Number(_) => 1,
        Least::Text(_) => 2,
    };
    for (a, b) in a.iter().zip(b) {
        let order = match (a, b) {
            (Least::Number(a), Least::Number(b)) => a.total_cmp(b),
            (Least::Text(a), Least::Text(b)) => a.cmp(b),
            (a, b) => rank(a).cmp(&rank(b)),
        };
        if order != Ordering::Equal {
            return order;
        }
    }
    Ordering::Equal
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::groups;
    use crate::kernel::LiveFile;

    fn file(name: &str, size: i64, age: i64, least: Option<i64>, dead: u64) -> LiveFile {
        LiveFile {
            path: name.to_owned(),
            size,
            modification_time: age,
            stats: least.map(|least| json!({"numRecords": 9, "minValues": {"k": least}}).to_string()),
            deletion_vector: (dead > 0).then(|| json!({"cardinality": dead})),
            dead_rows: dead,
            partition_values: std::collections::BTreeMap::new(),
        }
    }

    #[test]
    fn files_are_grouped_with_their_neighbours() {
        let check = |order: &[&str], files: Vec<LiveFile>, expect: &[&str]| {
            let order: Vec<String> = order.iter().map(|&c| c.to_owned()).collect();
            let made: Vec<String> = groups(files, 100, &order)
                .iter()
                .map(|g| g.iter().map(|f| f.path.as_str()).collect::<Vec<_>>().join(" "))
                .collect();
            assert_eq!(made, expect);
        };
        check(&[], vec![], &[]);
        check(&[], vec![file("alone", 1, 0, None, 0)], &[]);
        check(&[], vec![file("large", 60, 0, None, 0), file("small", 1, 0, None, 0)], &[]);
        check(&[], vec![file("b", 40, 2, None, 0), file("a", 40, 1, None, 0)], &["a b"]);
        // What does not fit opens the next group; a last one alone stays as it is.
        check(&[], (1..=4).map(|i| file(&format!("f{i}"), 40, i, None, 0)).collect(), &["f1 f2", "f3 f4"]);
        check(&[], (1..=3).map(|i| file(&format!("f{i}"), 40, i, None, 0)).collect(), &["f1 f2"]);
        // Dead rows are purged from files of any size, alone if need be.
        check(&[], vec![file("large", 500, 0, None, 3)], &["large"]);
        check(&[], vec![file("d", 30, 0, None, 1), file("s", 10, 1, None, 0)], &["d s"]);
        // By the least value rather than by age; 9 comes before 10.
        let files = || {
            vec![
                file("ten", 45, 1, Some(10), 0),
                file("none", 45, 2, None, 0),
                file("nine", 45, 3, Some(9), 0),
                file("minus", 45, 4, Some(-5), 0),
            ]
        };
        check(&["k"], files(), &["none minus", "nine ten"]);
        check(&[], files(), &["ten none", "nine minus"]);
    }
}
