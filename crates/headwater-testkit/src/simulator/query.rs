//! What a request asks for: filters, order, and which page.

use std::sync::Arc;

use serde_json::Value;

use super::description::{Endpoint, Op, Param, Role, Size, Sort, Style};
use super::value::{Key, text_of};

/// A condition on a field.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Filter {
    pub(super) field: String,
    op: Op,
    value: String,
    /// What the value, or each of a list, stands for.
    keys: Vec<Key>,
}

/// A bound of a range, and whether it belongs to the range.
type Bound<'a> = Option<(&'a Key, bool)>;

impl Filter {
    pub(super) fn new(field: &str, op: Op, value: &str) -> Self {
        let keys = match op {
            Op::In => value.split(',').map(|part| Key::of_text(part.trim())).collect(),
            Op::Range => value.split("..").map(|part| Key::of_text(part.trim())).collect(),
            _ => vec![Key::of_text(value)],
        };
        Self { field: field.to_owned(), op, value: value.to_owned(), keys }
    }

    /// Says whether a record with this value in the field stays. Of a list, one of its values is enough.
    pub(super) fn keeps(&self, found: Option<&Value>) -> bool {
        match found {
            Some(Value::Array(items)) if self.op == Op::Ne => {
                items.iter().all(|item| self.keeps_one(Some(item)))
            }
            Some(Value::Array(items)) => items.iter().any(|item| self.keeps_one(Some(item))),
            other => self.keeps_one(other),
        }
    }

    fn keeps_one(&self, found: Option<&Value>) -> bool {
        let key = Key::of(found);
        if key == Key::None {
            return self.op == Op::Ne;
        }
        let text = || found.map(text_of).unwrap_or_default();
        let compared = || {
            let wanted = self.keys.first()?;
            // What is of another kind is text.
            Some(if key.is_like(wanted) { key.compare(wanted) } else { text().cmp(&self.value) })
        };
        match self.op {
            Op::Eq => compared().is_some_and(|o| o.is_eq()) || text() == self.value,
            Op::Ne => compared().is_some_and(|o| o.is_ne()) && text() != self.value,
            Op::Gt => compared().is_some_and(|o| o.is_gt()),
            Op::Gte => compared().is_some_and(|o| o.is_ge()),
            Op::Lt => compared().is_some_and(|o| o.is_lt()),
            Op::Lte => compared().is_some_and(|o| o.is_le()),
            Op::In => {
                let text = text();
                self.keys.iter().any(|wanted| key.compare(wanted).is_eq())
                    || self.value.split(',').any(|part| part.trim() == text)
            }
            Op::Contains => text().contains(&self.value),
            Op::StartsWith => text().starts_with(&self.value),
            Op::EndsWith => text().ends_with(&self.value),
            Op::Range => match self.keys.as_slice() {
                [from, to] => {
                    let (open, to_open) = (self.value.starts_with('*'), self.value.ends_with('*'));
                    (open || key.compare(from).is_ge()) && (to_open || key.compare(to).is_le())
                }
                _ => false,
            },
        }
    }

    /// The range of values that it keeps, where that is one.
    pub(super) fn bounds(&self) -> Option<(Bound<'_>, Bound<'_>)> {
        let key = self.keys.first()?;
        match self.op {
            Op::Eq => Some((Some((key, true)), Some((key, true)))),
            Op::Gt => Some((Some((key, false)), None)),
            Op::Gte => Some((Some((key, true)), None)),
            Op::Lt => Some((None, Some((key, false)))),
            Op::Lte => Some((None, Some((key, true)))),
            _ => None,
        }
    }
}

/// The records that were selected, by their numbers.
#[derive(Debug, Clone)]
pub(super) enum Selected {
    Range { start: usize, end: usize, descending: bool },
    List(Arc<Vec<u32>>),
}

impl Selected {
    pub(super) fn len(&self) -> usize {
        match self {
            Selected::Range { start, end, .. } => end - start,
            Selected::List(list) => list.len(),
        }
    }

    /// The number of the record at a place of the selection.
    pub(super) fn at(&self, place: usize) -> Option<usize> {
        match self {
            Selected::Range { start, end, descending } if place < end - start => {
                Some(if *descending { end - 1 - place } else { start + place })
            }
            Selected::Range { .. } => None,
            Selected::List(list) => list.get(place).map(|index| *index as usize),
        }
    }
}

/// A request against an endpoint's records.
#[derive(Debug)]
pub(super) struct Query {
    pub(super) filters: Vec<Filter>,
    pub(super) sort: Option<Sort>,
    pub(super) page: Page,
}

/// Which part of the records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Page {
    pub(super) start: usize,
    /// `None` is all that follow.
    pub(super) size: Option<usize>,
}

impl Page {
    /// From 1.
    pub(super) fn number(self) -> usize {
        self.size.map_or(1, |size| (self.start / size.max(1)).saturating_add(1))
    }

    /// The place behind it, where something follows.
    pub(super) fn next(self, total: usize) -> Option<usize> {
        self.size
            .and_then(|size| self.start.checked_add(size))
            .filter(|next| *next < total && *next > self.start)
    }
}

/// Why a request is refused with 400.
pub(super) type Refused = String;

/// Reads a request's parameters by their roles.
pub(super) fn query(
    endpoint: &Endpoint,
    given: &[(String, String)],
    path: &[(String, String)],
) -> Result<Query, Refused> {
    let strict = endpoint.strict_params;
    let mut filters = Vec::new();
    let (mut by, mut order) = (None, None);
    let mut sizes = Sizes::default();
    let pairs = |params: &'_ [Param], values: &'_ [(String, String)]| {
        let mut pairs: Vec<(Role, String, String)> = Vec::new();
        for param in params {
            for (_, value) in values.iter().filter(|(name, _)| *name == param.name) {
                // A list may be given as a parameter for each of its values.
                match (&param.role, pairs.last_mut()) {
                    (Role::Filter { op: Op::In, .. }, Some((_, name, before))) if *name == param.name => {
                        *before = format!("{before},{value}");
                    }
                    _ => pairs.push((param.role.clone(), param.name.clone(), value.clone())),
                }
            }
        }
        pairs
    };
    let all = pairs(&endpoint.path_params, path).into_iter().chain(pairs(&endpoint.params, given));
    for (role, name, value) in all {
        match role {
            Role::Filter { field, op } => filters.push(Filter::new(&field, op, &value)),
            Role::SortBy { options } => by = choice(&options, &name, &value, strict)?.or(by),
            Role::SortOrder { options } => {
                let word = choice(&options, &name, &value, strict)?.unwrap_or_default();
                order = direction(&word).or(order);
            }
            Role::Page => sizes.page = number(&name, &value, strict)?.filter(|n| *n > 0),
            Role::Offset => sizes.offset = number(&name, &value, strict)?,
            Role::PerPage(_) => sizes.asked = number(&name, &value, strict)?.filter(|n| *n > 0),
            Role::Limit(_) => sizes.asked = number(&name, &value, strict)?,
            Role::Cursor if value.is_empty() => {}
            Role::Cursor => {
                let at =
                    read_cursor(&value).ok_or_else(|| format!("`{name}` is no cursor of this source"))?;
                sizes.cursor = Some(at);
            }
            Role::Ignore => {}
        }
    }
    if endpoint.response.style == Style::ODataNextLink
        && let Some((_, token)) = given.iter().find(|(name, _)| name == SKIP_TOKEN)
    {
        sizes.cursor = Some(read_cursor(token).ok_or("`$skiptoken` is none of this source")?);
    }
    let default = endpoint.response.default_sort.clone();
    let sort = match by {
        Some(field) => Some(Sort { field, descending: order.unwrap_or(false) }),
        None => default.map(|sort| Sort { descending: order.unwrap_or(sort.descending), ..sort }),
    };
    Ok(Query { filters, sort, page: sizes.page(endpoint) })
}

/// The parameter of a next link where the description names none.
pub(super) const SKIP_TOKEN: &str = "$skiptoken";

#[derive(Debug, Default)]
struct Sizes {
    page: Option<usize>,
    offset: Option<usize>,
    asked: Option<usize>,
    cursor: Option<usize>,
}

impl Sizes {
    fn page(&self, endpoint: &Endpoint) -> Page {
        let declared = endpoint.params.iter().find_map(|param| match &param.role {
            Role::PerPage(size) | Role::Limit(size) => Some(*size),
            _ => None,
        });
        let pages = endpoint.params.iter().any(|param| matches!(param.role, Role::Page | Role::Cursor));
        let paged = endpoint.response.style != Style::None || declared.is_some() || pages;
        let Size { default, max } = declared.unwrap_or_default();
        let size = paged.then(|| self.asked.unwrap_or(default).min(max));
        let start = match (self.cursor, self.offset, self.page, size) {
            (Some(at), ..) | (None, Some(at), ..) => at,
            (None, None, Some(page), Some(size)) => (page - 1).saturating_mul(size),
            _ => 0,
        };
        Page { start, size }
    }
}

fn choice(
    options: &[(String, String)],
    name: &str,
    value: &str,
    strict: bool,
) -> Result<Option<String>, Refused> {
    if options.is_empty() {
        return Ok(Some(value.to_owned()));
    }
    let found = options.iter().find(|(option, _)| option == value).map(|(_, meaning)| meaning.clone());
    if found.is_none() && strict {
        let known: Vec<&str> = options.iter().map(|(option, _)| option.as_str()).collect();
        return Err(format!("`{name}` cannot be `{value}`; it is one of {}", known.join(", ")));
    }
    Ok(found)
}

/// `true` is descending.
fn direction(word: &str) -> Option<bool> {
    match word.to_ascii_lowercase().as_str() {
        "asc" | "ascending" | "1" => Some(false),
        "desc" | "descending" | "-1" => Some(true),
        _ => None,
    }
}

fn number(name: &str, value: &str, strict: bool) -> Result<Option<usize>, Refused> {
    match value.trim().parse() {
        Ok(number) => Ok(Some(number)),
        Err(_) if strict => Err(format!("`{name}` is no number")),
        Err(_) => Ok(None),
    }
}

/// Continuation tokens are places that a client should not take for numbers.
pub(super) fn cursor(at: usize) -> String {
    format!("c{:x}z", (at as u64) ^ 0x5eed_0000)
}

fn read_cursor(token: &str) -> Option<usize> {
    let hex = token.strip_prefix('c')?.strip_suffix('z')?;
    usize::try_from(u64::from_str_radix(hex, 16).ok()? ^ 0x5eed_0000).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{Filter, cursor, read_cursor};
    use crate::simulator::description::Op;

    #[test]
    fn filters_compare_by_their_operator() {
        let check = |op: Op, value: &str, found: Value, expect: bool| {
            assert_eq!(Filter::new("f", op, value).keeps(Some(&found)), expect, "{op:?} {value} {found}");
        };
        check(Op::Eq, "open", json!("open"), true);
        check(Op::Eq, "7", json!(7), true);
        check(Op::Eq, "007", json!("7"), true);
        check(Op::Eq, "true", json!(true), true);
        check(Op::Ne, "open", json!("open"), false);
        check(Op::Ne, "open", json!(null), true);
        check(Op::Gt, "9", json!(10), true);
        check(Op::Gte, "2024-01-01", json!("2024-01-01T00:00:00Z"), true);
        check(Op::Lt, "2024-01-01T00:00:00Z", json!("2023-12-31T23:00:00-02:00"), false);
        check(Op::Lte, "b", json!("b"), true);
        check(Op::In, "1, 3,5", json!(3), true);
        check(Op::In, "a,b", json!("c"), false);
        check(Op::Contains, "ell", json!("hello"), true);
        check(Op::StartsWith, "he", json!("hello"), true);
        check(Op::EndsWith, "lo", json!("hello"), true);
        check(Op::EndsWith, "lo", json!("hell"), false);
        check(Op::Range, "2..4", json!(4), true);
        check(Op::Range, "2..4", json!(1), false);
        check(Op::Range, "*..4", json!(-7), true);
        check(Op::Range, "2..*", json!(10), true);
        check(Op::Range, "2025-01-01T00:00:00Z..2025-01-02T00:00:00Z", json!("2025-01-02T00:00:01Z"), false);
        check(Op::Range, "2025-01-01T00:00:00Z..2025-01-02T00:00:00Z", json!("2025-01-01T12:00:00Z"), true);
        check(Op::Range, "2", json!(2), false);
        check(Op::Eq, "x", json!(["a", "x"]), true);
        check(Op::Ne, "x", json!(["a", "x"]), false);
        check(Op::Gt, "1", json!(null), false);
        check(Op::Gt, "10", json!("9 lives"), true);
        check(Op::Lt, "2024-01-01", json!("10"), true);
        assert!(!Filter::new("f", Op::Eq, "").keeps(None));
    }

    #[test]
    fn cursors_read_back_and_others_do_not() {
        for at in [0, 1, 100, 1_000_000_007] {
            assert_eq!(read_cursor(&cursor(at)), Some(at));
        }
        for other in ["", "12", "cz", "cxyz", "c12"] {
            assert_eq!(read_cursor(other), None, "{other}");
        }
    }
}
