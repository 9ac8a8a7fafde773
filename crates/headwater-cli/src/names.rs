//! Names: what a new one may be, and suggestions for those that do not exist.

use crate::fail::Failure;

/// Refuses a name that a new connector or connection cannot have.
pub(crate) fn check_new(name: &str, what: &str) -> Result<(), Failure> {
    let is_fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if name.is_empty() || name.len() > 128 || !name.chars().all(is_fine) {
        return Err(Failure::usage(format!("`{name}` is not a name for a {what}"))
            .hint("use letters, digits, `_` and `-`"));
    }
    Ok(())
}

/// The name nearest to `wanted`, where one is near enough to be meant.
pub(crate) fn nearest<'a>(wanted: &str, names: &'a [String]) -> Option<&'a str> {
    let wanted = wanted.to_lowercase();
    names
        .iter()
        .map(|name| (strsim::damerau_levenshtein(&wanted, &name.to_lowercase()), name))
        .filter(|(distance, name)| *distance <= (name.chars().count().max(wanted.chars().count()) / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name.as_str())
}

/// What to say about a name that is not among `names`: the nearest, else the names there are, else `none`.
pub(crate) fn hint(wanted: &str, names: &[String], what: &str, none: &str) -> String {
    if let Some(name) = nearest(wanted, names) {
        return format!("did you mean `{name}`?");
    }
    if names.is_empty() {
        return none.to_owned();
    }
    let shown = names.iter().take(20).map(String::as_str).collect::<Vec<_>>().join(", ");
    let more = if names.len() > 20 { ", …" } else { "" };
    format!("the {what} are: {shown}{more}")
}

#[cfg(test)]
mod tests {
    use super::hint;

    #[test]
    fn the_nearest_name_is_suggested() {
        let check = |wanted: &str, names: &[&str], text: &str| {
            let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
            assert_eq!(hint(wanted, &names, "tables", "there is none"), text);
        };
        check("ordesr", &["customers", "orders"], "did you mean `orders`?");
        check("ORDERS", &["customers", "orders"], "did you mean `orders`?");
        check("x", &["customers", "orders"], "the tables are: customers, orders");
        check("x", &[], "there is none");
    }
}
