use std::fmt;

/// A text that must not be shown: `Debug` and `Display` print a placeholder.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes a text into care.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Gives the text, for the one place that needs it (a header, a signature).
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}

/// Named options with text values: those of a connection, of a table, or both merged.
///
/// Names keep the caller's spelling and are looked up without regard to ASCII case. A later value for the same
/// name replaces the earlier one. Values may be secrets, so `Debug` prints names only.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Options {
    entries: Vec<(String, Secret)>,
}

impl Options {
    /// No options.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets `name` to `value`, replacing what stood under the same name in any case.
    pub fn set(&mut self, name: impl Into<String>, value: impl Into<String>) {
        let name = name.into();
        self.entries.retain(|(n, _)| !n.eq_ignore_ascii_case(&name));
        self.entries.push((name, Secret::new(value)));
    }

    /// Returns the value of `name`, looked up without regard to case.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.entries.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.expose())
    }

    /// As [`Options::get`], in a wrapper that does not print itself.
    pub fn secret(&self, name: &str) -> Option<Secret> {
        self.get(name).map(Secret::new)
    }

    /// Iterates over names and values in the order in which they were set.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.entries.iter().map(|(n, v)| (n.as_str(), v.expose()))
    }

    /// Iterates over names in the order in which they were set.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|(n, _)| n.as_str())
    }

    /// Returns these options with those of `over` on top.
    #[must_use]
    pub fn merged(&self, over: &Options) -> Options {
        let mut all = self.clone();
        for (name, value) in over.iter() {
            all.set(name, value);
        }
        all
    }

    /// Says whether there is no option at all.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.names()).finish()
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Options {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(iter: I) -> Self {
        let mut options = Options::new();
        for (name, value) in iter {
            options.set(name, value);
        }
        options
    }
}

#[cfg(test)]
mod tests {
    use super::{Options, Secret};

    #[test]
    fn names_are_looked_up_without_regard_to_case_and_keep_their_spelling() {
        let options: Options = [("PageSize", "10"), ("token", "t"), ("pagesize", "20")].into_iter().collect();
        assert_eq!(options.get("PAGESIZE"), Some("20"));
        assert_eq!(options.names().collect::<Vec<_>>(), ["token", "pagesize"]);
    }

    #[test]
    fn secrets_do_not_print_themselves() {
        let options: Options = [("token", "hunter2")].into_iter().collect();
        let printed = format!("{options:?} {:?} {}", Secret::new("hunter2"), Secret::new("hunter2"));
        assert!(!printed.contains("hunter2"), "{printed}");
    }
}
