use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use headwater_connect::Secret;
use url::Url;

/// What stands where a secret stood.
const PLACEHOLDER: &str = "<secret>";

/// Shorter texts are left: they would tear up every message, and are no secret anyway.
const SHORTEST: usize = 4;

/// Takes secrets out of URLs and of what a source answered, for errors and logs.
#[derive(Clone, Default)]
pub(crate) struct Redactor {
    values: Vec<Secret>,
    query_names: Vec<String>,
    /// Secrets that come to be while the client lives.
    issued: Option<Arc<IssuedSecrets>>,
}

/// Tokens that a source has given out, the last ones: what it gave long ago is worth nothing any more.
#[derive(Default)]
pub(crate) struct IssuedSecrets(Mutex<VecDeque<Secret>>);

impl IssuedSecrets {
    const MOST: usize = 64;

    pub(crate) fn add(&self, secret: &Secret) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for form in forms(secret) {
            if !kept.contains(&form) {
                kept.push_back(form);
            }
        }
        while kept.len() > Self::MOST {
            kept.pop_front();
        }
    }
}

/// A secret as it may stand in a text: as it is, and in the two ways in which it is written in a URL.
fn forms(secret: &Secret) -> Vec<Secret> {
    let text = secret.expose().trim();
    if text.len() < SHORTEST {
        return Vec::new();
    }
    let encoded: String = url::form_urlencoded::byte_serialize(text.as_bytes()).collect();
    let mut forms = vec![text.to_owned()];
    for form in [encoded.replace('+', "%20"), encoded] {
        if !forms.contains(&form) {
            forms.push(form);
        }
    }
    forms.into_iter().map(Secret::new).collect()
}

impl Redactor {
    pub(crate) fn add_value(&mut self, secret: &Secret) {
        for form in forms(secret) {
            if !self.values.contains(&form) {
                self.values.push(form);
            }
        }
    }

    /// Leaves out what is issued from now on as well.
    pub(crate) fn watch(&mut self, issued: Arc<IssuedSecrets>) {
        self.issued = Some(issued);
    }

    pub(crate) fn add_query_name(&mut self, name: &str) {
        self.query_names.push(name.to_owned());
    }

    /// `url` without user, password, fragment, and values of parameters that hold secrets.
    pub(crate) fn url(&self, url: &Url) -> String {
        let mut shown = url.clone();
        shown.set_fragment(None);
        // Fails only where there is no host, and then there is no user either.
        let _cleared = shown.set_username("").and_then(|()| shown.set_password(None));
        if url.query().is_some() {
            let pairs = url.query_pairs().map(|(name, value)| {
                let hidden = self.is_secret_name(&name);
                format!("{name}={}", if hidden { PLACEHOLDER } else { value.as_ref() })
            });
            let query = pairs.collect::<Vec<_>>().join("&");
            shown.set_query(None);
            return self.text(&format!("{shown}?{query}"));
        }
        self.text(shown.as_str())
    }

    /// `text` without the secrets that this client knows.
    pub(crate) fn text(&self, text: &str) -> String {
        let mut found: Vec<Secret> = Vec::new();
        let mut look = |secret: &Secret| {
            if text.contains(secret.expose()) {
                found.push(secret.clone());
            }
        };
        self.values.iter().for_each(&mut look);
        if let Some(issued) = &self.issued {
            issued.0.lock().unwrap_or_else(PoisonError::into_inner).iter().for_each(&mut look);
        }
        // A secret that holds another is replaced first, or its rest would stay.
        found.sort_by_key(|secret| std::cmp::Reverse(secret.expose().len()));
        found.iter().fold(text.to_owned(), |text, secret| text.replace(secret.expose(), PLACEHOLDER))
    }

    fn is_secret_name(&self, name: &str) -> bool {
        if self.query_names.iter().any(|n| n.eq_ignore_ascii_case(name)) {
            return true;
        }
        let name = name.to_ascii_lowercase().replace(['-', '_', '.'], "");
        const ANYWHERE: [&str; 7] =
            ["secret", "passw", "apikey", "accesskey", "signature", "credential", "authorization"];
        const WHOLE: [&str; 6] = ["key", "token", "sig", "code", "auth", "jwt"];
        // Paging tokens are not secrets, and an error is hard to follow without them.
        const PAGING: [&str; 5] = ["page", "next", "continu", "cursor", "sync"];
        ANYWHERE.iter().any(|part| name.contains(part))
            || WHOLE.contains(&name.as_str())
            || (name.ends_with("token") && !PAGING.iter().any(|part| name.contains(part)))
    }
}

#[cfg(test)]
mod tests {
    use headwater_connect::Secret;
    use url::Url;

    use super::Redactor;

    fn redactor() -> Redactor {
        let mut redactor = Redactor::default();
        redactor.add_value(&Secret::new("hunter 22/+"));
        redactor.add_query_name("pin");
        redactor
    }

    fn check(url: &str, expect: &str) {
        assert_eq!(redactor().url(&Url::parse(url).unwrap()), expect, "{url}");
    }

    #[test]
    fn urls_are_shown_without_what_is_secret_in_them() {
        check("https://u:p@h/a?x=1#f", "https://h/a?x=1");
        check("https://h/a?api_key=k&x=1", "https://h/a?api_key=<secret>&x=1");
        check("https://h/a?Access-Token=k", "https://h/a?Access-Token=<secret>");
        check("https://h/a?PIN=1234", "https://h/a?PIN=<secret>");
        check("https://h/a?page_token=abc&next_page_token=d", "https://h/a?page_token=abc&next_page_token=d");
        check("https://h/a?q=hunter+22%2F%2B", "https://h/a?q=<secret>");
        check("https://h/hunter%2022%2F%2B/a", "https://h/<secret>/a");
        check("https://h/a?password=x&password=y", "https://h/a?password=<secret>&password=<secret>");
    }

    #[test]
    fn texts_are_shown_without_known_secrets_in_any_encoding() {
        let shown = redactor().text("you sent hunter 22/+ and hunter+22%2F%2B");
        assert_eq!(shown, "you sent <secret> and <secret>");
    }

    #[test]
    fn secrets_that_come_later_are_left_out_from_then_on() {
        let issued = std::sync::Arc::new(super::IssuedSecrets::default());
        let mut redactor = redactor();
        redactor.watch(issued.clone());
        assert_eq!(redactor.text("Bearer tok/en"), "Bearer tok/en");
        issued.add(&Secret::new("tok/en"));
        assert_eq!(redactor.text("Bearer tok/en, tok%2Fen"), "Bearer <secret>, <secret>");
    }

    #[test]
    fn a_secret_within_another_leaves_no_rest() {
        let mut redactor = Redactor::default();
        redactor.add_value(&Secret::new("abcd"));
        redactor.add_value(&Secret::new("xabcdy"));
        assert_eq!(redactor.text("xabcdy"), "<secret>");
    }
}
