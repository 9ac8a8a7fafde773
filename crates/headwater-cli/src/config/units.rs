use std::str::FromStr;
use std::time::Duration;

/// A number of bytes, written `512MiB`, `1.5 GiB`, `96MB` or `1048576`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ByteSize(pub(crate) u64);

/// Why a text is not a size or an age.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UnitError {
    #[error("`{text}` is not a size: write a number and a unit, such as 512MiB")]
    Size { text: String },
    #[error("`{text}` is not an age: write a number and a unit, such as 90m, 12h, 7d")]
    Age { text: String },
}

const SIZES: [(&str, u64); 13] = [
    ("", 1),
    ("b", 1),
    ("k", 1 << 10),
    ("kib", 1 << 10),
    ("kb", 1_000),
    ("m", 1 << 20),
    ("mib", 1 << 20),
    ("mb", 1_000_000),
    ("g", 1 << 30),
    ("gib", 1 << 30),
    ("gb", 1_000_000_000),
    ("tib", 1 << 40),
    ("tb", 1_000_000_000_000),
];

const AGES: [(&str, u64); 5] = [("s", 1), ("m", 60), ("h", 3600), ("d", 86_400), ("w", 604_800)];

impl FromStr for ByteSize {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        scaled(text, &SIZES).map(ByteSize).ok_or_else(|| UnitError::Size { text: text.to_owned() })
    }
}

/// Reads an age: `30s`, `90m`, `12h`, `7d`, `2w`.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, UnitError> {
    let secs = scaled(text, &AGES).ok_or_else(|| UnitError::Age { text: text.to_owned() })?;
    Ok(Duration::from_secs(secs))
}

/// Number times unit, exactly: a fraction that does not come to a whole number is refused.
fn scaled(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(end)?;
    let unit = unit.trim().to_ascii_lowercase();
    let factor = units.iter().find(|(name, _)| *name == unit)?.1;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || fraction.len() > 6 || fraction.contains('.') || number.ends_with('.') {
        return None;
    }
    let scale = 10_u64.pow(u32::try_from(fraction.len()).ok()?);
    let fraction = if fraction.is_empty() { 0 } else { fraction.parse::<u64>().ok()? };
    let part = u64::try_from(u128::from(fraction) * u128::from(factor) / u128::from(scale)).ok()?;
    whole.parse::<u64>().ok()?.checked_mul(factor)?.checked_add(part)
}

#[cfg(test)]
mod tests {
    use super::{ByteSize, parse_duration};

    fn check(text: &str, bytes: Option<u64>) {
        assert_eq!(text.parse::<ByteSize>().ok().map(|b| b.0), bytes, "{text}");
    }

    #[test]
    fn sizes_are_read_with_their_units() {
        check("1048576", Some(1_048_576));
        check("512MiB", Some(512 << 20));
        check("512 mib", Some(512 << 20));
        check("1.5GiB", Some(3 << 29));
        check("96MB", Some(96_000_000));
        check("4k", Some(4096));
        for bad in
            ["", "MiB", "-1MiB", "1.2.3MiB", "1.", ".5MiB", "12 parsecs", "1e3", "99999999999TiB", "٣MiB"]
        {
            check(bad, None);
        }
    }

    #[test]
    fn ages_are_read_with_their_units() {
        let secs = |text| parse_duration(text).ok().map(|d| d.as_secs());
        assert_eq!(secs("7d"), Some(604_800));
        assert_eq!(secs("12h"), Some(43_200));
        assert_eq!(secs("1.5h"), Some(5_400));
        assert_eq!(secs("0s"), Some(0));
        for bad in ["", "7", "d", "-1d", "7 fortnights", "99999999999999999w"] {
            assert_eq!(secs(bad), None, "{bad}");
        }
    }
}
