//! Checks cron expressions in the form of the Quartz scheduler.
//!
//! Fields and special characters: Quartz scheduler documentation, "CronTrigger tutorial".

struct Unit {
    name: &'static str,
    min: u32,
    max: u32,
    names: &'static [&'static str],
}

const MONTHS: &[&str] = &["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];
const DAYS: &[&str] = &["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];

const UNITS: [Unit; 7] = [
    Unit { name: "seconds", min: 0, max: 59, names: &[] },
    Unit { name: "minutes", min: 0, max: 59, names: &[] },
    Unit { name: "hours", min: 0, max: 23, names: &[] },
    Unit { name: "day of month", min: 1, max: 31, names: &[] },
    Unit { name: "month", min: 1, max: 12, names: MONTHS },
    Unit { name: "day of week", min: 1, max: 7, names: DAYS },
    Unit { name: "year", min: 1970, max: 2099, names: &[] },
];
const DAY_OF_MONTH: usize = 3;
const DAY_OF_WEEK: usize = 5;

/// Says what is wrong with an expression, as the end of a sentence that starts with it.
pub(crate) fn check(text: &str) -> Result<(), String> {
    let parts: Vec<&str> = text.split_whitespace().collect();
    match parts.len() {
        6 | 7 => {}
        5 => return Err("has five fields; the Quartz form starts with one for seconds".into()),
        n => return Err(format!("has {n} fields instead of six or seven")),
    }
    for (index, (part, unit)) in parts.iter().zip(&UNITS).enumerate() {
        field(part, index, unit)
            .map_err(|reason| format!("has a wrong field for {}: {reason}", unit.name))?;
    }
    match (parts.get(DAY_OF_MONTH), parts.get(DAY_OF_WEEK)) {
        (Some(&"?"), Some(&"?")) => Err("has `?` for both days; one of them must say when".into()),
        (Some(month), Some(week)) if *month != "?" && *week != "?" => {
            Err("sets both days; one of day of month and day of week must be `?`".into())
        }
        _ => Ok(()),
    }
}

fn field(part: &str, index: usize, unit: &Unit) -> Result<(), String> {
    if part == "?" {
        return if index == DAY_OF_MONTH || index == DAY_OF_WEEK {
            Ok(())
        } else {
            Err("`?` is for the two days only".into())
        };
    }
    part.split(',').try_for_each(|item| self::item(item, index, unit))
}

fn item(item: &str, index: usize, unit: &Unit) -> Result<(), String> {
    if index == DAY_OF_MONTH && last_day_of_month(item) {
        return Ok(());
    }
    if index == DAY_OF_WEEK && special_day_of_week(item, unit) {
        return Ok(());
    }
    let (range, step) = match item.split_once('/') {
        Some((range, step)) => (range, Some(step)),
        None => (item, None),
    };
    if let Some(step) = step
        && !number(step).is_some_and(|n| n >= 1 && n <= unit.max)
    {
        return Err(format!("`{step}` is not a step from 1 to {}", unit.max));
    }
    if range == "*" || (range.is_empty() && step.is_some()) {
        return Ok(());
    }
    match range.split_once('-') {
        Some((from, to)) => {
            value(from, unit)?;
            value(to, unit).map(|_| ())
        }
        None => value(range, unit).map(|_| ()),
    }
}

fn number(text: &str) -> Option<u32> {
    if text.is_empty() || text.len() > 4 || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

fn value(text: &str, unit: &Unit) -> Result<u32, String> {
    let named = unit.names.iter().any(|name| name.eq_ignore_ascii_case(text));
    match number(text) {
        Some(n) if (unit.min..=unit.max).contains(&n) => Ok(n),
        _ if named => Ok(unit.min),
        _ => {
            let names = match unit.names {
                [first, .., last] => format!(" or {first} to {last}"),
                _ => String::new(),
            };
            Err(format!("`{}` is not from {} to {}{names}", crate::node::shown(text), unit.min, unit.max))
        }
    }
}

/// `L`, `LW`, `L-3`, `15W`.
fn last_day_of_month(item: &str) -> bool {
    match item.to_ascii_uppercase().as_str() {
        "L" | "LW" => true,
        item => {
            let before_last = item.strip_prefix("L-").map(|n| n.strip_suffix('W').unwrap_or(n));
            let weekday = item.strip_suffix('W');
            before_last.and_then(number).is_some_and(|n| n <= 30)
                || weekday.and_then(number).is_some_and(|n| (1..=31).contains(&n))
        }
    }
}

/// `L`, `6L`, `FRIL`, `6#3`.
fn special_day_of_week(item: &str, unit: &Unit) -> bool {
    if item.eq_ignore_ascii_case("L") {
        return true;
    }
    if let Some(day) = item.strip_suffix(['L', 'l']) {
        return value(day, unit).is_ok();
    }
    item.split_once('#').is_some_and(|(day, nth)| {
        value(day, unit).is_ok() && number(nth).is_some_and(|n| (1..=5).contains(&n))
    })
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn quartz_expressions_are_accepted() {
        for good in [
            "0 0 12 * * ?",
            "0 15 10 ? * MON-FRI",
            "0 0/5 14,18 * * ?",
            "0 15 10 ? * 6L 2026-2030",
            "0 15 10 ? * 6#3",
            "0 15 10 ? * fril",
            "0 15 10 L * ?",
            "0 15 10 L-3 * ?",
            "0 15 10 LW * ?",
            "0 15 10 15w JAN,JUL ?",
            "0 */10 * * * ?",
            "0 /10 * * * ?",
            "59 59 23 31 12 ? 2099",
        ] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
    }

    #[test]
    fn anything_else_is_refused_with_the_field() {
        for (bad, part) in [
            ("* * * * *", "five fields"),
            ("0 0 12 * *", "five fields"),
            ("0", "1 fields"),
            ("0 0 12 * * ? 2026 x", "8 fields"),
            ("60 0 12 * * ?", "seconds: `60`"),
            ("0 60 12 * * ?", "minutes: `60`"),
            ("0 0 24 * * ?", "hours: `24`"),
            ("0 0 12 0 * ?", "day of month: `0`"),
            ("0 0 12 * 13 ?", "month: `13` is not from 1 to 12 or JAN to DEC"),
            ("0 0 12 ? * 8", "day of week: `8`"),
            ("0 0 12 ? * 0", "day of week: `0`"),
            ("0 0 12 ? * MONDAY", "day of week: `MONDAY`"),
            ("0 0 12 * * ? 1900", "year: `1900`"),
            ("0 0 12 * * *", "sets both days"),
            ("0 0 12 ? * ?", "both days"),
            ("? 0 12 * * ?", "two days only"),
            ("0 0/0 12 * * ?", "not a step"),
            ("0 0 12 * * 6#6", "6#6"),
            ("0 1- 12 * * ?", "minutes: ``"),
            ("0 , 12 * * ?", "minutes: ``"),
            ("0 99999999999999999999 12 * * ?", "minutes"),
        ] {
            let error = check(bad).expect_err(bad);
            assert!(error.contains(part), "{bad}: {error}");
        }
    }
}
