//! The parts of a page that people write, between marks, which are kept byte for byte.

/// The beginning of a mark that opens a kept part; its name follows.
const OPEN: &str = "<!-- kept: ";
const OPEN_END: &str = " -->";
const CLOSE: &str = "<!-- /kept -->";

/// A page in its parts.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part<'a> {
    /// Text that is made.
    Made(&'a str),
    /// Text that is kept: its name, and everything between the lines of the marks.
    Kept(&'a str, &'a str),
}

/// Why a page cannot be taken apart.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum KeptError {
    #[error("the kept part `{name}` that opens in line {line} has no `{CLOSE}`")]
    NotClosed { name: String, line: usize },
    #[error("there is a `{CLOSE}` in line {line} without a part that it closes")]
    NotOpened { line: usize },
    #[error("the kept part `{name}` opens a second time in line {line}")]
    Twice { name: String, line: usize },
    #[error("the kept part in line {line} has no name")]
    NoName { line: usize },
}

/// Takes a page apart. Marks count where they are alone on a line.
pub(super) fn parts(text: &str) -> Result<Vec<Part<'_>>, KeptError> {
    let mut parts = Vec::new();
    let mut names: Vec<&str> = Vec::new();
    // Where the part that is being read began, and for a kept one its name and line.
    let (mut began, mut open): (usize, Option<(&str, usize)>) = (0, None);
    let mut at = 0;
    for (index, raw) in text.split_inclusive('\n').enumerate() {
        let (line, number) = (raw.trim_end(), index + 1);
        let next = at + raw.len();
        let name = line.strip_prefix(OPEN).and_then(|rest| rest.strip_suffix(OPEN_END)).map(str::trim);
        match (open, name) {
            (None, Some("")) => return Err(KeptError::NoName { line: number }),
            (None, Some(name)) => {
                if names.contains(&name) {
                    return Err(KeptError::Twice { name: name.to_owned(), line: number });
                }
                names.push(name);
                parts.push(Part::Made(text.get(began..at).unwrap_or_default()));
                (began, open) = (next, Some((name, number)));
            }
            (Some((name, _)), None) if line == CLOSE => {
                parts.push(Part::Kept(name, text.get(began..at).unwrap_or_default()));
                (began, open) = (next, None);
            }
            (Some((name, line)), Some(_)) => {
                return Err(KeptError::NotClosed { name: name.to_owned(), line });
            }
            (None, None) if line == CLOSE => return Err(KeptError::NotOpened { line: number }),
            _ => {}
        }
        at = next;
    }
    if let Some((name, line)) = open {
        return Err(KeptError::NotClosed { name: name.to_owned(), line });
    }
    parts.push(Part::Made(text.get(began..).unwrap_or_default()));
    Ok(parts)
}

/// Puts the kept parts of `old` into `new`, whose own count where `old` has none of that name. Parts that `new` does
/// not have go to its end.
pub(super) fn merged(new: &str, old: &str) -> Result<String, KeptError> {
    let (new, old) = (parts(new)?, parts(old)?);
    let kept = |wanted: &str| {
        old.iter().find_map(|part| match part {
            Part::Kept(name, text) if *name == wanted => Some(*text),
            _ => None,
        })
    };
    let mut page = String::new();
    for part in &new {
        match part {
            Part::Made(text) => page.push_str(text),
            Part::Kept(name, text) => write(&mut page, name, kept(name).unwrap_or(text)),
        }
    }
    for part in &old {
        let Part::Kept(name, text) = part else { continue };
        if !new.iter().any(|part| matches!(part, Part::Kept(other, _) if other == name)) {
            page.push('\n');
            write(&mut page, name, text);
        }
    }
    Ok(page)
}

fn write(page: &mut String, name: &str, text: &str) {
    page.push_str(&format!("{OPEN}{name}{OPEN_END}\n{text}{CLOSE}\n"));
}

#[cfg(test)]
mod tests {
    use super::{KeptError, merged};

    #[test]
    fn kept_parts_stay_and_everything_else_is_new() {
        let check = |new: &str, old: &str, expect: &str| {
            assert_eq!(merged(new, old).unwrap(), expect, "{new} {old}");
        };
        check("a\n", "b\n", "a\n");
        check(
            "new\n<!-- kept: x -->\ndefault\n<!-- /kept -->\nend\n",
            "old\n",
            "new\n<!-- kept: x -->\ndefault\n<!-- /kept -->\nend\n",
        );
        check(
            "new\n<!-- kept: x -->\ndefault\n<!-- /kept -->\nend\n",
            "old\n<!-- kept: x -->\n  mine  \r\n\n  <!-- /kept --> not alone\n<!-- /kept -->",
            "new\n<!-- kept: x -->\n  mine  \r\n\n  <!-- /kept --> not alone\n<!-- /kept -->\nend\n",
        );
        check(
            "new\n<!-- kept: x -->\ndefault\n<!-- /kept -->\n",
            "<!-- kept: x -->\n<!-- /kept -->\n",
            "new\n<!-- kept: x -->\n<!-- /kept -->\n",
        );
        check(
            "new\n",
            "<!-- kept: mine -->\nü\n<!-- /kept -->\n",
            "new\n\n<!-- kept: mine -->\nü\n<!-- /kept -->\n",
        );
    }

    #[test]
    fn marks_that_do_not_fit_are_errors_with_their_line() {
        let check = |old: &str, expect: KeptError| assert_eq!(merged("", old).unwrap_err(), expect, "{old}");
        check("a\n<!-- kept: x -->\nb\n", KeptError::NotClosed { name: "x".into(), line: 2 });
        check(
            "<!-- kept: x -->\n<!-- kept: y -->\n<!-- /kept -->\n",
            KeptError::NotClosed { name: "x".into(), line: 1 },
        );
        check("a\n<!-- /kept -->\n", KeptError::NotOpened { line: 2 });
        check("<!-- kept:   -->\n<!-- /kept -->\n", KeptError::NoName { line: 1 });
        check(
            "<!-- kept: x -->\n<!-- /kept -->\n<!-- kept: x -->\n<!-- /kept -->\n",
            KeptError::Twice { name: "x".into(), line: 3 },
        );
    }
}
