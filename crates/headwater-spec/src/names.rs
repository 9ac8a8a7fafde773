//! The nearest of some names.

/// Names longer than this are not compared: they are no slips of the keyboard.
const MAX_CHARS: usize = 64;
/// Similarity (Jaro-Winkler, 0 to 1) from which a name is worth proposing.
const SIMILAR: f64 = 0.82;

/// What a short form counts as.
const SHORT: f64 = 0.83;

/// Says whether `short` is `long` with characters left out, and not too many of them.
fn is_short_for(short: &str, long: &str) -> bool {
    let mut rest = long.chars();
    short.len() >= 3 && short.len() * 3 >= long.len() && short.chars().all(|c| rest.any(|l| l == c))
}

/// Gives the candidate that is most like `written`, if any is like enough. Case does not count.
pub(crate) fn nearest<'a>(written: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    nearest_above(SIMILAR, written, candidates)
}

/// As [`nearest`], for a similarity of the caller's choice.
pub(crate) fn nearest_above<'a>(
    similarity: f64,
    written: &str,
    candidates: impl Iterator<Item = &'a str>,
) -> Option<&'a str> {
    if written.len() > MAX_CHARS {
        return None;
    }
    let written = written.to_ascii_lowercase();
    let mut best: Option<(f64, &str)> = None;
    for candidate in candidates.filter(|c| c.len() <= MAX_CHARS) {
        let lower = candidate.to_ascii_lowercase();
        let short = if is_short_for(&written, &lower) { SHORT } else { 0.0 };
        let score = strsim::jaro_winkler(&written, &lower).max(short);
        if score >= similarity && best.is_none_or(|(top, _)| score > top) {
            best = Some((score, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

/// Joins names for a sentence: `` `a`, `b` or `c` ``.
pub(crate) fn either(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [only] => format!("`{only}`"),
        [most @ .., last] => {
            format!("{} or `{last}`", most.iter().map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn slips_find_their_name_and_strangers_do_not() {
        let names = ["source_table", "source_schema", "destination_table", "SCD_TYPE_1", "SCD_TYPE_2"];
        for (written, expected) in [
            ("source_tabel", Some("source_table")),
            ("sourceTable", Some("source_table")),
            ("scd1", Some("SCD_TYPE_1")),
            ("type_2", Some("SCD_TYPE_2")),
            ("SCD_TYPE_3", Some("SCD_TYPE_1")),
            ("colour", None),
        ] {
            assert_eq!(nearest(written, names.into_iter()), expected, "{written}");
        }
        assert_eq!(nearest(&"source_table".repeat(10), names.into_iter()), None);
    }
}
