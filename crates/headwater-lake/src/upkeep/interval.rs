//! Spans of time as table properties write them.

use std::time::Duration;

/// Reads `interval 7 days`, `interval 1 week 12 hours`, with or without the first word.
///
/// `None` for anything else: months and years have no fixed length, and Delta does not take them either.
pub(crate) fn parse(text: &str) -> Option<Duration> {
    let lower = text.trim().to_lowercase();
    let mut words = lower.split_whitespace().peekable();
    words.next_if_eq(&"interval");
    words.peek()?;
    let mut total = Duration::ZERO;
    while let Some(count) = words.next() {
        let count: u64 = count.parse().ok()?;
        let unit = words.next()?;
        let each = match unit.strip_suffix('s').unwrap_or(unit) {
            "nanosecond" => Duration::from_nanos(count),
            "microsecond" => Duration::from_micros(count),
            "millisecond" => Duration::from_millis(count),
            "second" => Duration::from_secs(count),
            "minute" => Duration::from_secs(count.checked_mul(60)?),
            "hour" => Duration::from_secs(count.checked_mul(60 * 60)?),
            "day" => Duration::from_secs(count.checked_mul(24 * 60 * 60)?),
            "week" => Duration::from_secs(count.checked_mul(7 * 24 * 60 * 60)?),
            _ => return None,
        };
        total = total.checked_add(each)?;
    }
    Some(total)
}

/// A span in the largest units that fit it, for people.
pub(crate) fn shown(span: Duration) -> String {
    let secs = span.as_secs();
    let plural = |count: u64, unit: &str| format!("{count} {unit}{}", if count == 1 { "" } else { "s" });
    match secs {
        _ if secs >= 86_400 && secs.is_multiple_of(86_400) => plural(secs / 86_400, "day"),
        _ if secs >= 3_600 && secs.is_multiple_of(3_600) => plural(secs / 3_600, "hour"),
        _ if secs >= 60 && secs.is_multiple_of(60) => plural(secs / 60, "minute"),
        _ => plural(secs, "second"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{parse, shown};

    #[test]
    fn intervals_are_read_as_delta_writes_them() {
        let check = |text: &str, secs: Option<u64>| {
            assert_eq!(parse(text), secs.map(Duration::from_secs), "{text:?}");
        };
        check("interval 7 days", Some(604_800));
        check("INTERVAL 1 week", Some(604_800));
        check("interval 168 hours", Some(604_800));
        check("30 days", Some(2_592_000));
        check("interval 1 day 12 hours 30 minutes 5 seconds", Some(131_405));
        check("interval 0 hours", Some(0));
        check("interval 1 month", None);
        check("interval -1 days", None);
        check("interval 7", None);
        check("interval days", None);
        check("interval", None);
        check("", None);
        check("interval 99999999999999999999 days", None);
        check("interval 18446744073709551615 weeks", None);
    }

    #[test]
    fn intervals_are_shown_in_the_largest_unit_that_fits() {
        let check = |secs: u64, expect: &str| assert_eq!(shown(Duration::from_secs(secs)), expect);
        check(604_800, "7 days");
        check(86_400, "1 day");
        check(7_200, "2 hours");
        check(60, "1 minute");
        check(61, "61 seconds");
        check(0, "0 seconds");
    }
}
