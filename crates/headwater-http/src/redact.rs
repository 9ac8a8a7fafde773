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
}

impl Redactor {
    pub(crate) fn add_value(&mut self, secret: &Secret) {
        let text = secret.expose().trim();
        if text.len() < SHORTEST {
            return;
        }
        let encoded: String = url::form_urlencoded::byte_serialize(text.as_bytes()).collect();
        for form in [text.to_owned(), encoded.replace('+', "%20"), encoded] {
            if !self.values.iter().any(|v| v.expose() == form) {
                self.values.push(Secret::new(form));
            }
        }
        // A secret that holds another is replaced first, or its rest would stay.
        self.values.sort_by_key(|v| std::cmp::Reverse(v.expose().len()));
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
        let mut text = text.to_owned();
        for secret in &self.values {
            if text.contains(secret.expose()) {
                text = text.replace(secret.expose(), PLACEHOLDER);
            }
        }
        text
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
    fn a_secret_within_another_leaves_no_rest() {
        let mut redactor = Redactor::default();
        redactor.add_value(&Secret::new("abcd"));
        redactor.add_value(&Secret::new("xabcdy"));
        assert_eq!(redactor.text("xabcdy"), "<secret>");
    }
}
