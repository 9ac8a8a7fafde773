//! Dates and times out of text, as Python 3.11 reads them.

const DAY_MICROS: i64 = 86_400_000_000;
/// 0001-01-01 and 9999-12-31, in days since 1970: the dates that the reference can hold.
const FIRST_DAY: i64 = -719_162;
const LAST_DAY: i64 = 2_932_896;

/// The date and the minute parsed last: sources send many times of the same day, and of one minute where they are sorted.
#[derive(Debug)]
pub(crate) struct DayCache {
    /// The sixteen characters up to the minute.
    minute: u128,
    minute_micros: i64,
    /// The ten characters of the date, as differences to [`LAYOUT`].
    day: u128,
    midnight_micros: i64,
}

impl Default for DayCache {
    fn default() -> Self {
        // No text has such bytes.
        Self { minute: u128::MAX, minute_micros: 0, day: u128::MAX, midnight_micros: 0 }
    }
}

const LAYOUT: u128 = u128::from_le_bytes(*b"0000-00-00T00:00");
const LAYOUT_END: u64 = u64::from_le_bytes(*b":00:00Z\"");
const SEPARATORS: u128 = u128::from_le_bytes([0, 0, 0, 0, 255, 0, 0, 255, 0, 0, 255, 0, 0, 255, 0, 0]);
const SEPARATORS_END: u64 = u64::from_le_bytes([255, 0, 0, 255, 0, 0, 255, 255]);
const SIXES: u128 = u128::from_le_bytes([6; 16]);
const HIGH_NIBBLES: u128 = u128::from_le_bytes([0xf0; 16]);

/// Reads `2024-01-05T10:11:12Z"` at `at`: micros since 1970, and the place behind the quote. Anything else, a wrong
/// date included, is `None` and left to [`timestamp`].
#[inline(always)]
#[allow(clippy::cast_possible_truncation, reason = "lanes of known width are taken apart")]
pub(crate) fn fast_timestamp(body: &[u8], at: usize, cache: &mut DayCache) -> Option<(i64, usize)> {
    let text: &[u8; 21] = body.get(at..)?.first_chunk()?;
    let start = u128::from_le_bytes(*text.first_chunk()?);
    let end = u64::from_le_bytes(*text.last_chunk()?) ^ LAYOUT_END;
    let wrong = (end | end.wrapping_add(SIXES as u64)) & HIGH_NIBBLES as u64 | end & SEPARATORS_END;
    let second = 10 * i64::from((end >> 32) as u8) + i64::from((end >> 40) as u8);
    if wrong != 0 || second > 59 {
        return None;
    }
    if start != cache.minute {
        cache.minute_micros = minute(start, cache)?;
        cache.minute = start;
    }
    Some((cache.minute_micros + second * 1_000_000, at + 21))
}

/// Micros since 1970 of the sixteen characters `2024-01-05T10:11`.
#[inline(never)]
#[allow(clippy::cast_possible_truncation, reason = "lanes of known width are taken apart")]
fn minute(text: u128, cache: &mut DayCache) -> Option<i64> {
    let start = text ^ LAYOUT;
    if (start | start.wrapping_add(SIXES)) & HIGH_NIBBLES | start & SEPARATORS != 0 {
        return None;
    }
    let lane = |i: u32| i64::from((start >> (8 * i)) as u8);
    let hour = 10 * lane(11) + lane(12);
    let minute = 10 * lane(14) + lane(15);
    let day = start & ((1 << 80) - 1);
    if hour > 23 || minute > 59 {
        return None;
    }
    if day != cache.day {
        let year = 1000 * lane(0) + 100 * lane(1) + 10 * lane(2) + lane(3);
        let days = days(year, 10 * lane(5) + lane(6), 10 * lane(8) + lane(9))?;
        cache.midnight_micros = days * DAY_MICROS;
        cache.day = day;
    }
    Some(cache.midnight_micros + (hour * 60 + minute) * 60_000_000)
}

/// Days since 1970 of a date of the years 1 to 9999.
fn days(year: i64, month: i64, day: i64) -> Option<i64> {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let length = match month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    if !(1..=9999).contains(&year) || !(1..=length).contains(&day) {
        return None;
    }
    // Years start in March, so that the leap day is the last of its year.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    Some(365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1 - 719_468)
}

/// A date and time as it stands in the text.
#[derive(Debug, Clone, Copy)]
struct Moment {
    days: i64,
    micros: i64,
    /// East of UTC, where a zone is named.
    offset_micros: Option<i64>,
}

/// Reads a timestamp: micros since 1970, in UTC (`utc`; text without a zone is UTC) or as the clock stands in the text.
pub(crate) fn timestamp(text: &str, utc: bool) -> Option<i64> {
    let moment = iso(text).or_else(|| plain_time(text, '-')).or_else(|| plain_time(text, '/'))?;
    let local = moment.days * DAY_MICROS + moment.micros;
    let micros = if utc { local - moment.offset_micros.unwrap_or(0) } else { local };
    // The reference cannot place the first day of year 1 without a zone.
    let first = if moment.offset_micros.is_none() { FIRST_DAY + 1 } else { FIRST_DAY };
    (first * DAY_MICROS..(LAST_DAY + 1) * DAY_MICROS).contains(&micros).then_some(micros)
}

/// Seconds since 1970 as micros, within the years 1 to 9999. Half a micro goes to the even one.
pub(crate) fn from_seconds(seconds: f64) -> Option<i64> {
    #[allow(clippy::cast_precision_loss, reason = "both limits are exact")]
    let (low, high) = ((FIRST_DAY * 86_400) as f64, ((LAST_DAY + 1) * 86_400) as f64);
    if !(low..high).contains(&seconds) {
        return None;
    }
    let whole = seconds.trunc();
    let fraction = ((seconds - whole) * 1e6).round_ties_even();
    #[allow(clippy::cast_possible_truncation, reason = "whole numbers within the limits above")]
    let micros = whole as i64 * 1_000_000 + fraction as i64;
    (micros < (LAST_DAY + 1) * DAY_MICROS).then_some(micros)
}

/// Reads a date: days since 1970. A time behind it is dropped, and a zone does not move the day.
pub(crate) fn date(text: &str) -> Option<i32> {
    let days = date_fields(text, '-')
        .or_else(|| fields(text, '/').and_then(|[m, d, y]| dated(y, m, d)))
        .or_else(|| fields(text, '-').and_then(|[d, m, y]| dated(y, m, d)))
        .or_else(|| date_fields(text, '/'))
        .or_else(|| iso(text).map(|moment| moment.days))
        .or_else(|| partial_date(text))?;
    i32::try_from(days).ok()
}

/// `2024` and `2024-05`, as FHIR has them: the first day.
fn partial_date(text: &str) -> Option<i64> {
    match text.len() {
        4 => days(number(text, 4)?, 1, 1),
        7 => text.split_once('-').and_then(|(y, m)| days(number(y, 4)?, number(m, 2)?, 1)),
        _ => None,
    }
}

fn fields(text: &str, separator: char) -> Option<[&str; 3]> {
    let mut parts = text.split(separator);
    let fields = [parts.next()?, parts.next()?, parts.next()?];
    parts.next().is_none().then_some(fields)
}

/// Year, month, day with one or two digits for the latter.
fn date_fields(text: &str, separator: char) -> Option<i64> {
    fields(text, separator).and_then(|[y, m, d]| dated(y, m, d))
}

fn dated(year: &str, month: &str, day: &str) -> Option<i64> {
    days(number(year, 4)?, short(month)?, short(day)?)
}

fn short(text: &str) -> Option<i64> {
    number(text, 1).or_else(|| number(text, 2))
}

/// A number of exactly `digits` digits.
fn number(text: &str, digits: usize) -> Option<i64> {
    let all = text.len() == digits && text.bytes().all(|b| b.is_ascii_digit());
    if all { text.parse().ok() } else { None }
}

/// `2024-1-5 1:2:3`, with `-` or `/`.
fn plain_time(text: &str, separator: char) -> Option<Moment> {
    let (date, time) = text.split_once(' ')?;
    let [hour, minute, second] = fields(time, ':')?.map(short);
    let micros = clock(hour?, minute?, second?)?;
    Some(Moment { days: date_fields(date, separator)?, micros, offset_micros: None })
}

fn clock(hour: i64, minute: i64, second: i64) -> Option<i64> {
    let fits = (0..24).contains(&hour) && (0..60).contains(&minute) && (0..60).contains(&second);
    fits.then_some(((hour * 60 + minute) * 60 + second) * 1_000_000)
}

/// ISO 8601: a calendar or week date, extended or basic, with an optional time and zone.
fn iso(text: &str) -> Option<Moment> {
    if !text.is_ascii() {
        return None;
    }
    let split = date_length(text.as_bytes())?;
    let (date, rest) = text.split_at_checked(split)?;
    let days = iso_date(date)?;
    if rest.is_empty() {
        return Some(Moment { days, micros: 0, offset_micros: None });
    }
    let time = rest.strip_prefix(['T', 't', ' '])?;
    let (clock, zone) = match time.find(['Z', '+', '-']) {
        Some(at) => time.split_at_checked(at)?,
        None => (time, ""),
    };
    // One space before the zone is read over, as the reference does.
    let clock = if zone.is_empty() { clock } else { clock.strip_suffix(' ').unwrap_or(clock) };
    let (micros, fraction) = iso_time(clock)?;
    let offset_micros = match zone.as_bytes() {
        [] => None,
        [b'Z'] => Some(0),
        [b'Z', ..] => return None,
        [sign, ..] => {
            let (micros, fraction) = iso_time(zone.get(1..)?)?;
            Some(if *sign == b'-' { -(micros + fraction) } else { micros + fraction })
        }
    };
    Some(Moment { days, micros: micros + fraction, offset_micros })
}

/// How many bytes of `text` are the date.
fn date_length(text: &[u8]) -> Option<usize> {
    let at = |i: usize| text.get(i).copied();
    let length = match (at(4)?, at(5)?) {
        (b'-', b'W') if at(8) != Some(b'-') || at(10).is_some_and(|b| b.is_ascii_digit()) => 8,
        (b'-', _) => 10,
        (b'W', _) => {
            let digits = text.iter().skip(5).take_while(|b| b.is_ascii_digit()).count();
            match digits {
                0..4 => 5 + digits,
                _ if digits % 2 == 1 => 8,
                _ => 7,
            }
        }
        _ => 8,
    };
    (length <= text.len()).then_some(length)
}

fn iso_date(date: &str) -> Option<i64> {
    let (year, rest) = date.split_at_checked(4)?;
    let year = number(year, 4)?;
    let (extended, rest) = match rest.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, rest),
    };
    if let Some(rest) = rest.strip_prefix('W') {
        let (week, day) = rest.split_at_checked(2)?;
        let day = match (extended, day) {
            (_, "") => 1,
            (true, day) => number(day.strip_prefix('-')?, 1)?,
            (false, day) => number(day, 1)?,
        };
        return week_date(year, number(week, 2)?, day);
    }
    let (month, day) = rest.split_at_checked(2)?;
    let day = if extended { day.strip_prefix('-')? } else { day };
    days(year, number(month, 2)?, number(day, 2)?)
}

fn week_date(year: i64, week: i64, day: i64) -> Option<i64> {
    let january_4 = days(year, 1, 4)?;
    // 1970-01-01 was a Thursday; weeks start on Monday, and week 1 holds January 4.
    let monday = |days: i64| days - (days + 3).rem_euclid(7);
    let first = monday(january_4);
    let weeks = match days(year + 1, 1, 4) {
        Some(next) => (monday(next) - first) / 7,
        None => 52,
    };
    let fits = (1..=weeks).contains(&week) && (1..=7).contains(&day);
    let days = first + 7 * (week - 1) + day - 1;
    (fits && (FIRST_DAY..=LAST_DAY).contains(&days)).then_some(days)
}

/// `HH[:MM[:SS[.fraction]]]` or the same without colons: micros of whole seconds, and of the fraction, cut to micros.
fn iso_time(text: &str) -> Option<(i64, i64)> {
    let (whole, fraction) = match text.split_once(['.', ',']) {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (text, None),
    };
    let separator = if whole.as_bytes().get(2) == Some(&b':') { 1 } else { 0 };
    let mut parts = [0; 3];
    let mut rest = whole;
    let mut count = 0;
    for part in &mut parts {
        let (digits, more) = rest.split_at_checked(2)?;
        *part = number(digits, 2)?;
        count += 1;
        if more.is_empty() {
            rest = more;
            break;
        }
        rest = if separator == 1 { more.strip_prefix(':')? } else { more };
    }
    if !rest.is_empty() || (fraction.is_some() && count != 3) {
        return None;
    }
    let micros = clock(parts[0], parts[1], parts[2])?;
    let Some(fraction) = fraction else { return Some((micros, 0)) };
    if fraction.is_empty() || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let scaled = fraction.bytes().chain(std::iter::repeat(b'0')).take(6);
    Some((micros, scaled.fold(0, |n, digit| 10 * n + i64::from(digit - b'0'))))
}

#[cfg(test)]
mod tests {
    use super::{DayCache, date, fast_timestamp, from_seconds, timestamp};

    #[test]
    fn the_fast_way_reads_what_the_slow_way_reads() {
        let check = |cache: &mut DayCache, text: &str| {
            let body = format!("{text}\",           ");
            let slow = timestamp(text, true);
            let fast = fast_timestamp(body.as_bytes(), 0, cache);
            match fast {
                Some((micros, end)) => assert_eq!((Some(micros), end), (slow, text.len() + 1), "{text}"),
                None => assert_eq!(slow, None, "{text}"),
            }
        };
        // The first one must not be taken for what an empty cache holds.
        check(&mut DayCache::default(), "0000-00-00T00:00:00Z");
        check(&mut DayCache::default(), &"\0".repeat(16));
        let mut cache = DayCache::default();
        for date in [
            "2024-02-29",
            "1969-12-31",
            "0001-01-02",
            "9999-12-31",
            "2023-02-29",
            "2024-13-01",
            "0000-01-01",
            "1900-02-28",
            "2000-02-29",
            "2024-00-10",
            "2024-01-00",
            "2024-04-31",
            "20:4-01-01",
            "2024-0/-01",
        ] {
            for time in ["00:00:00", "23:59:59", "24:00:00", "10:60:00", "10:11:60", "1:011:12", "10:1::12"] {
                check(&mut cache, &format!("{date}T{time}Z"));
            }
        }
    }

    #[test]
    fn odd_times() {
        let check = |text: &str, expect: Option<i64>| assert_eq!(timestamp(text, true), expect, "{text}");
        check("2024-01-05T10:11:12.1234567+00:00:01", Some(1_704_449_471_123_456));
        check("2024-1-5 1:2:3", Some(1_704_416_523_000_000));
        check("2024-W53-1", None);
        check("2020-W53-5", Some(1_609_459_200_000_000));
        check("20240105T1011", Some(1_704_449_460_000_000));
        check("2024-01-05T10:11:12.", None);
        check("2024-01-05T10:1112", None);
        check("2024-01-05T", None);
        check("2024-01-05T10:11:12ZZ", None);
        check("2024-01-05T10:11:12+", None);
        check("2024-01-05\u{e9}", None);
        assert_eq!(timestamp("2024-01-05T10:11:12+05:00", false), Some(1_704_449_472_000_000));
        assert_eq!(from_seconds(253_402_300_799.5), Some(253_402_300_799_500_000));
        assert_eq!(from_seconds(f64::NAN), None);
        assert_eq!(date("2024"), Some(19_723));
        assert_eq!(date("2024-05"), Some(19_844));
        assert_eq!(date("2024-5"), None);
    }
}
