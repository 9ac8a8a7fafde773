use base64::Engine as _;
use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, NO_PAD};
use headwater_connect::{Options, Secret};
use serde_json::Value;

/// What stands where a secret stood.
const PLACEHOLDER: &str = "<secret>";

/// Shorter texts are left: they would tear up every message, and are no secret anyway.
const SHORTEST: usize = 4;

/// Shorter texts inside a JSON or multi-line secret are left: most of them are names and types.
const SHORTEST_PIECE: usize = 8;

/// Takes the secrets of a connection out of what a worker says.
#[derive(Debug, Clone, Default)]
pub(crate) struct Redactor {
    /// Longest first: a secret that holds another is replaced first, or its rest would stay.
    forms: Vec<Secret>,
}

impl Redactor {
    /// Knows the values of those `options` that `is_secret` names.
    pub(crate) fn new(options: &Options, is_secret: impl Fn(&str) -> bool) -> Self {
        let mut redactor = Self::default();
        for (_, value) in options.iter().filter(|(name, _)| is_secret(name)) {
            redactor.add(value);
        }
        redactor.forms.sort_by_key(|form| std::cmp::Reverse(form.expose().len()));
        redactor
    }

    fn add(&mut self, value: &str) {
        let value = value.trim();
        if value.len() < SHORTEST {
            return;
        }
        self.add_forms(value);
        if value.contains('\n') {
            // The log comes line by line.
            value
                .lines()
                .map(str::trim)
                .filter(|l| l.len() >= SHORTEST_PIECE)
                .for_each(|l| self.add_forms(l));
        }
        if value.starts_with(['{', '['])
            && let Ok(json) = serde_json::from_str::<Value>(value)
        {
            self.add_pieces(&json);
        }
    }

    /// The texts in a secret that is JSON, such as the key file of a service account.
    fn add_pieces(&mut self, json: &Value) {
        match json {
            Value::String(text) if text.len() >= SHORTEST_PIECE => {
                self.add_forms(text);
                let lines = text.lines().filter(|l| l.len() >= SHORTEST_PIECE && l.len() < text.len());
                lines.for_each(|line| self.add_forms(line));
            }
            Value::Array(items) => items.iter().for_each(|item| self.add_pieces(item)),
            Value::Object(members) => members.values().for_each(|member| self.add_pieces(member)),
            _ => {}
        }
    }

    fn add_forms(&mut self, text: &str) {
        let encoded: String = url::form_urlencoded::byte_serialize(text.as_bytes()).collect();
        let quoted = serde_json::to_string(text).unwrap_or_default();
        let quoted = quoted.trim_matches('"').to_owned();
        let mut forms = vec![text.to_owned(), encoded.replace('+', "%20"), encoded, quoted];
        if text.len() >= SHORTEST_PIECE {
            forms.extend(base64_forms(text));
        }
        for form in forms {
            if form.len() >= SHORTEST && !self.forms.iter().any(|known| known.expose() == form) {
                self.forms.push(Secret::new(form));
            }
        }
    }

    /// `text` without the secrets.
    pub(crate) fn text(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for secret in &self.forms {
            if text.contains(secret.expose()) {
                text = text.replace(secret.expose(), PLACEHOLDER);
            }
        }
        text
    }
}

/// What base64 makes of a text wherever it stands in what is encoded (`user:password`): the characters that depend
/// on it alone, for each of the three places it may start at.
fn base64_forms(text: &str) -> Vec<String> {
    let mut forms = Vec::new();
    for letters in [alphabet::STANDARD, alphabet::URL_SAFE] {
        let engine = GeneralPurpose::new(&letters, NO_PAD);
        for shift in 0..3 {
            let mut bytes = vec![0; shift];
            bytes.extend_from_slice(text.as_bytes());
            let encoded = engine.encode(&bytes);
            // Six bits to a character: those that hold a bit of what stands before or behind are left off.
            let first = (shift * 8).div_ceil(6);
            let last = bytes.len() * 8 / 6;
            forms.extend(encoded.get(first..last).map(str::to_owned));
        }
    }
    forms
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
    use headwater_connect::Options;

    use super::Redactor;

    fn redactor(value: &str) -> Redactor {
        let options: Options = [("token", value), ("owner", "octocat")].into_iter().collect();
        Redactor::new(&options, |name| name == "token")
    }

    #[test]
    fn a_secret_is_found_in_every_form() {
        let secret = "p@ss w0rd+/\"x";
        let redactor = redactor(secret);
        for text in [
            secret.to_owned(),
            "p%40ss%20w0rd%2B%2F%22x".into(),
            "p%40ss+w0rd%2B%2F%22x".into(),
            serde_json::to_string(secret).unwrap(),
        ] {
            let shown = redactor.text(&format!("a {text} b octocat"));
            assert!(shown.contains("<secret>") && shown.contains("octocat"), "{shown}");
            assert!(!shown.contains("w0rd"), "{shown}");
        }
        for user in ["", "u", "us", "usr", "user"] {
            for text in [format!("{user}:{secret}"), format!("{user}{secret}:{user}")] {
                for encoded in [BASE64_STANDARD.encode(&text), BASE64_URL_SAFE_NO_PAD.encode(&text)] {
                    let shown = redactor.text(&format!("Basic {encoded}"));
                    assert!(shown.contains("<secret>"), "{text}: {shown}");
                    assert!(shown.len() < "Basic <secret>".len() + user.len() * 3 + 8, "{text}: {shown}");
                }
            }
        }
    }

    #[test]
    fn the_parts_of_a_key_file_and_of_a_key_over_several_lines_are_secrets_too() {
        let redactor =
            redactor("{\"type\":\"sa\",\"private_key\":\"-----BEGIN\\nMIIEvQIBADANBg\\nkqhkiG9w0BAQ\\n\"}");
        let shown = redactor.text("key MIIEvQIBADANBg and kqhkiG9w0BAQ of type sa");
        assert_eq!(shown, "key <secret> and <secret> of type sa");
    }

    #[test]
    fn what_is_short_is_left() {
        assert_eq!(redactor("abc").text("abc abc"), "abc abc");
        assert_eq!(Redactor::default().text("x"), "x");
    }
}
