use std::borrow::Cow;
use std::sync::{PoisonError, RwLock};

use headwater_connect::Secret;

/// Replaces the values of secrets in what is printed.
#[derive(Default)]
pub(crate) struct Redactor {
    /// Longest first, so that a secret that holds another one is replaced whole.
    forms: RwLock<Vec<String>>,
    /// As they are.
    secrets: RwLock<Vec<Secret>>,
}

/// What stands in the place of a secret.
const PLACEHOLDER: &str = "<secret>";

/// Data is exact: a value as short as this would be replaced where it only happens to stand.
const SHORTEST_IN_DATA: usize = 8;

/// In talk, a shorter one is replaced only where it stands alone: it would tear up the words around it.
const SHORTEST_IN_WORDS: usize = 4;

impl Redactor {
    /// Never prints `secret` from now on, neither as it is nor as a URL or JSON writes it.
    pub(crate) fn add(&self, secret: &str) {
        if secret.is_empty() {
            return;
        }
        let form = url::form_urlencoded::byte_serialize(secret.as_bytes()).collect::<String>();
        let percent = form.replace('+', "%20");
        let json = serde_json::to_string(secret).unwrap_or_default();
        let json = json.trim_start_matches('"').trim_end_matches('"').to_owned();
        self.secrets.write().unwrap_or_else(PoisonError::into_inner).push(Secret::new(secret));
        let mut forms = self.forms.write().unwrap_or_else(PoisonError::into_inner);
        forms.extend([secret.to_owned(), form, percent, json]);
        forms.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        forms.dedup();
        forms.retain(|s| !s.is_empty());
    }

    /// The secrets, for others who must leave them out.
    pub(crate) fn secrets(&self) -> Vec<Secret> {
        self.secrets.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns talk (errors, logs, messages) without secrets.
    pub(crate) fn talk<'a>(&self, text: &'a str) -> Cow<'a, str> {
        self.replace(text, 1)
    }

    /// Returns data without secrets, except for very short ones.
    pub(crate) fn data<'a>(&self, text: &'a str) -> Cow<'a, str> {
        self.replace(text, SHORTEST_IN_DATA)
    }

    fn replace<'a>(&self, text: &'a str, shortest: usize) -> Cow<'a, str> {
        let forms = self.forms.read().unwrap_or_else(PoisonError::into_inner);
        let mut text = Cow::Borrowed(text);
        for secret in forms.iter().filter(|s| s.len() >= shortest) {
            if secret.len() < SHORTEST_IN_WORDS {
                if let Some(replaced) = replace_alone(&text, secret) {
                    text = Cow::Owned(replaced);
                }
            } else if text.contains(secret.as_str()) {
                text = Cow::Owned(text.replace(secret.as_str(), PLACEHOLDER));
            }
        }
        text
    }
}

/// `text` with `secret` replaced where no letter or digit stands beside it; `None` where it stands nowhere so.
fn replace_alone(text: &str, secret: &str) -> Option<String> {
    let mut replaced = String::new();
    let (mut before, mut rest, mut found) = (None, text, false);
    while let Some((head, tail)) = rest.split_once(secret) {
        let left = head.chars().next_back().or(before);
        let alone = [left, tail.chars().next()].iter().flatten().all(|c: &char| !c.is_alphanumeric());
        replaced.push_str(head);
        replaced.push_str(if alone { PLACEHOLDER } else { secret });
        found |= alone;
        before = secret.chars().next_back();
        rest = tail;
    }
    replaced.push_str(rest);
    found.then_some(replaced)
}

#[cfg(test)]
mod tests {
    use super::Redactor;

    fn check(secrets: &[&str], text: &str, talk: &str, data: &str) {
        let redactor = Redactor::default();
        secrets.iter().for_each(|s| redactor.add(s));
        assert_eq!(redactor.talk(text), talk);
        assert_eq!(redactor.data(text), data);
    }

    #[test]
    fn secrets_are_replaced_however_they_are_written() {
        check(&[], "nothing", "nothing", "nothing");
        check(&[""], "nothing", "nothing", "nothing");
        check(&["hunter22"], "a hunter22 b hunter22", "a <secret> b <secret>", "a <secret> b <secret>");
        check(&["a b&c/d?e"], "?p=a+b%26c%2Fd%3Fe", "?p=<secret>", "?p=<secret>");
        check(&["a b&c/d?e"], "?p=a%20b%26c%2Fd%3Fe", "?p=<secret>", "?p=<secret>");
        check(&["say \"hi\"!"], r#"{"p":"say \"hi\"!"}"#, r#"{"p":"<secret>"}"#, r#"{"p":"<secret>"}"#);
        check(&["password", "password-2"], "password-2 password", "<secret> <secret>", "<secret> <secret>");
        check(&["on"], "done on time", "done <secret> time", "done on time");
        check(&["y"], "key y, y=y yy", "key <secret>, <secret>=<secret> yy", "key y, y=y yy");
    }
}
