use headwater_connect::json_scan::{RunEnd, run_end, skip_space};

/// Says what is wrong with a body of `announced` records; `None` where it is an array of so many. What the records
/// hold is left to the decoder.
pub(crate) fn complaint(body: &[u8], announced: u64) -> Option<String> {
    let first = skip_space(body, 0);
    if body.get(first) != Some(&b'[') {
        return Some("a body of records is not a JSON array".into());
    }
    let first = skip_space(body, first + 1);
    let end = if body.get(first) == Some(&b']') { Ok((0, first)) } else { last(body, first, announced) };
    match end {
        Err(reason) => Some(reason),
        Ok((_, end)) if skip_space(body, end + 1) < body.len() => {
            Some(format!("something follows the array of a body, at byte {}", end + 1))
        }
        Ok((found, _)) if found == announced => None,
        Ok((found, _)) => Some(format!("a body holds {found} records, and {announced} were announced")),
    }
}

/// Number of the values from `at` on, and the place of the bracket behind them. Not looked for beyond `announced`.
fn last(body: &[u8], at: usize, announced: u64) -> Result<(u64, usize), String> {
    let scan =
        |at, commas| run_end(body, at, commas).map_err(|e| format!("byte {} of a body: {}", e.at, e.reason));
    let mut at = at;
    let mut found = 1;
    let between = u32::try_from(announced.saturating_sub(1)).unwrap_or(u32::MAX);
    if between > 0 {
        match scan(at, between)? {
            RunEnd::Comma(place) => (found, at) = (u64::from(between) + 1, place + 1),
            RunEnd::Bracket(_) => {
                return Err(format!("a body holds fewer records than the {announced} that were announced"));
            }
        }
    }
    match scan(at, 1)? {
        RunEnd::Bracket(place) if body.get(place) == Some(&b']') => Ok((found, place)),
        RunEnd::Bracket(place) => Err(format!("byte {place} of a body: a bracket that closes nothing")),
        RunEnd::Comma(_) => {
            found += 1;
            Err(format!("a body holds {found} records or more, and {announced} were announced"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::complaint;

    #[test]
    fn a_body_holds_as_many_records_as_it_says() {
        for (body, announced) in [
            ("[]", 0),
            (" [ ] ", 0),
            (r#"[{"a":[1,2,{"b":","}]}]"#, 1),
            (r#"[ {"a":"],"} , {} ]"#, 2),
            (r#"[{},{"n":NaN},{}]"#, 3),
        ] {
            assert_eq!(complaint(body.as_bytes(), announced), None, "{body}");
        }
        for (body, announced, expect) in [
            ("", 0, "not a JSON array"),
            (r#"{"a":1}"#, 1, "not a JSON array"),
            ("[]", 1, "holds 0 records, and 1"),
            ("[{}]", 0, "holds 1 records, and 0"),
            ("[{},{}]", 1, "holds 2 records or more, and 1"),
            ("[{},{}]", 3, "fewer records than the 3"),
            ("[{},{}]", u64::MAX, "fewer records than"),
            ("[{}][{}]", 1, "follows the array"),
            ("[{},{}", 2, "ends in the middle"),
            ("[{}}", 1, "byte 3 of a body"),
        ] {
            let said = complaint(body.as_bytes(), announced).unwrap_or_default();
            assert!(said.contains(expect), "{body}: {said}");
        }
    }
}
