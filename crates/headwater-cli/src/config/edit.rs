//! Adds and removes connections and connectors in the text of `headwater.yaml`, so that comments and order stay as they are.
//!
//! The edit is textual and knows only the plain block style. Its caller parses the result and compares it with what
//! was meant before anything is replaced, so a file in a style that is not understood is refused, never spoilt.

/// Why the text was not edited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EditError {
    #[error("the section is not written as a plain block")]
    Style,
    #[error("the entry is not written as a plain block")]
    NotFound,
}

/// An entry of a section: its name and its fields.
pub(crate) struct Entry<'a> {
    /// Its name.
    pub(crate) name: &'a str,
    /// Its fields, in order; an empty list or map is left out.
    pub(crate) fields: Vec<(&'static str, Written<'a>)>,
}

/// A value of a field.
pub(crate) enum Written<'a> {
    /// A text.
    Text(&'a str),
    /// A list of texts.
    List(&'a [String]),
    /// A map of texts.
    Map(&'a [(String, String)]),
}

impl Entry<'_> {
    /// Writes the lines of the entry, `indent` spaces deep.
    pub(crate) fn block(&self, indent: usize) -> String {
        let pad = " ".repeat(indent);
        let step = " ".repeat(if indent == 0 { 2 } else { indent });
        let mut text = format!("{pad}{}:\n", scalar(self.name));
        for (field, value) in &self.fields {
            match value {
                Written::Text(value) => text.push_str(&format!("{pad}{step}{field}: {}\n", scalar(value))),
                Written::List([]) | Written::Map([]) => {}
                Written::List(items) => {
                    // A JSON list is a YAML list.
                    let items: Vec<String> =
                        items.iter().map(|i| serde_json::Value::from(i.as_str()).to_string()).collect();
                    text.push_str(&format!("{pad}{step}{field}: [{}]\n", items.join(", ")));
                }
                Written::Map(entries) => {
                    text.push_str(&format!("{pad}{step}{field}:\n"));
                    for (key, value) in *entries {
                        text.push_str(&format!("{pad}{step}{step}{}: {}\n", scalar(key), scalar(value)));
                    }
                }
            }
        }
        text
    }
}

/// Puts an entry at the end of a section, `connections` or `connectors`.
pub(crate) fn insert(text: &str, section: &str, entry: &Entry<'_>) -> Result<String, EditError> {
    let key = section;
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let Some(section) = Section::find(&lines, key)? else {
        let mut all = text.to_owned();
        if !all.is_empty() && !all.ends_with('\n') {
            all.push('\n');
        }
        let gap = if all.trim().is_empty() { "" } else { "\n" };
        return Ok(format!("{all}{gap}{key}:\n{}", entry.block(2)));
    };
    let mut all: String = lines.iter().take(section.key).copied().collect();
    if section.is_empty {
        all.push_str(&format!("{key}:\n"));
    } else {
        all.push_str(&lines.iter().take(section.end).skip(section.key).copied().collect::<String>());
    }
    if !all.ends_with('\n') {
        all.push('\n');
    }
    all.push_str(&entry.block(section.indent));
    all.extend(lines.iter().skip(section.end).copied());
    Ok(all)
}

/// Takes an entry out of a section; an empty section stays as `{}`.
pub(crate) fn remove(text: &str, section: &str, name: &str) -> Result<String, EditError> {
    let key = section;
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let section = Section::find(&lines, key)?.ok_or(EditError::NotFound)?;
    let children: Vec<usize> = (section.key + 1..section.end)
        .filter(|i| lines.get(*i).is_some_and(|l| is_content(l) && indent_of(l) == section.indent))
        .collect();
    let is_named = |i: &usize| lines.get(*i).and_then(|l| key_of(l)).is_some_and(|key| key == name);
    let position = children.iter().position(is_named).ok_or(EditError::NotFound)?;
    let start = *children.get(position).ok_or(EditError::NotFound)?;
    let limit = children.get(position + 1).copied().unwrap_or(section.end);
    // Comments after the last line of the block belong to what follows.
    let end =
        (start..limit).rev().find(|i| lines.get(*i).is_some_and(|l| is_content(l))).map_or(limit, |i| i + 1);
    let mut all = String::with_capacity(text.len());
    for (i, line) in lines.iter().enumerate() {
        if i == section.key && children.len() == 1 {
            all.push_str(&format!("{key}: {{}}\n"));
        } else if i < start || i >= end {
            all.push_str(line);
        }
    }
    Ok(all)
}

/// Where a section stands.
struct Section {
    /// Line of the key.
    key: usize,
    /// Line after its last content.
    end: usize,
    /// Spaces before each entry.
    indent: usize,
    /// There is no entry in it.
    is_empty: bool,
}

impl Section {
    fn find(lines: &[&str], name: &str) -> Result<Option<Self>, EditError> {
        let is_key = |l: &&str| indent_of(l) == 0 && key_of(l) == Some(name);
        let Some(key) = lines.iter().position(is_key) else {
            // A key in another style (`{connections: …}`, a tab, a second document) would be doubled.
            let bare = |l: &str| l.trim_start_matches(['{', '?', ' ', '"', '\'', '\t']).starts_with(name);
            return if lines.iter().any(|l| is_content(l) && bare(l)) {
                Err(EditError::Style)
            } else {
                Ok(None)
            };
        };
        let value = lines.get(key).and_then(|l| l.split_once(':')).map_or("", |(_, v)| without_comment(v));
        if matches!(value, "{}" | "null" | "~") {
            return Ok(Some(Self { key, end: key + 1, indent: 2, is_empty: true }));
        }
        if !value.is_empty() {
            return Err(EditError::Style);
        }
        let after = (key + 1..lines.len())
            .find(|i| lines.get(*i).is_some_and(|l| is_content(l) && indent_of(l) == 0))
            .unwrap_or(lines.len());
        let content = |i: &usize| lines.get(*i).is_some_and(|l| is_content(l));
        let Some(first) = (key + 1..after).find(content) else {
            return Ok(Some(Self { key, end: key + 1, indent: 2, is_empty: true }));
        };
        let indent = lines.get(first).map_or(2, |l| indent_of(l));
        let last = (first..after).rev().find(content).unwrap_or(first);
        Ok(Some(Self { key, end: last + 1, indent, is_empty: false }))
    }
}

fn is_content(line: &str) -> bool {
    let line = line.trim();
    !line.is_empty() && !line.starts_with('#')
}

fn indent_of(line: &str) -> usize {
    line.len() - line.trim_start_matches(' ').len()
}

/// The key of a line `key:` or `"key": value`.
fn key_of(line: &str) -> Option<&str> {
    let line = line.trim();
    for quote in ['"', '\''] {
        if let Some(rest) = line.strip_prefix(quote) {
            let (key, rest) = rest.split_once(quote)?;
            return rest.trim_start().starts_with(':').then_some(key);
        }
    }
    let (key, rest) = line.split_once(':')?;
    (rest.is_empty() || rest.starts_with([' ', '\t'])).then_some(key.trim_end())
}

fn without_comment(value: &str) -> &str {
    let value = value.trim();
    if value.starts_with('#') { "" } else { value.split_once(" #").map_or(value, |(v, _)| v.trim_end()) }
}

/// Writes a YAML scalar that reads back as this text.
fn scalar(text: &str) -> String {
    let first_is_letter =
        text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/' || c == '.' && text.len() > 1);
    let plain = |c: char| {
        c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/' | '+' | '@' | '=' | '?' | '&' | ':')
    };
    let ambiguous = ["true", "false", "null", "yes", "no", "on", "off", "y", "n", ".nan", ".inf"];
    let safe = first_is_letter
        && text.chars().all(plain)
        && !text.ends_with(':')
        && !ambiguous.contains(&text.to_ascii_lowercase().as_str())
        && text.parse::<f64>().is_err();
    // A JSON string is a YAML double-quoted scalar.
    if safe { text.to_owned() } else { serde_json::Value::from(text).to_string() }
}

#[cfg(test)]
mod tests {
    use super::{EditError, Entry, Written, scalar};

    fn insert(
        text: &str,
        name: &str,
        connector: &str,
        options: &[(String, String)],
    ) -> Result<String, EditError> {
        let fields = vec![("connector", Written::Text(connector)), ("options", Written::Map(options))];
        super::insert(text, "connections", &Entry { name, fields })
    }

    fn remove(text: &str, name: &str) -> Result<String, EditError> {
        super::remove(text, "connections", name)
    }

    fn options() -> Vec<(String, String)> {
        vec![("base_url".into(), "https://wiki.example/w/".into()), ("limit".into(), "50".into())]
    }

    fn check_insert(before: &str, after: &str) {
        assert_eq!(insert(before, "new", "mediawiki", &options()).unwrap(), after, "{before}");
        assert_eq!(remove(after, "new").unwrap().trim_end(), insert_free(before).trim_end(), "{after}");
    }

    /// What stays after adding and removing: the same, or an empty section in the one normal form.
    fn insert_free(before: &str) -> String {
        match before {
            "" => "connections: {}\n".into(),
            text if text.contains("connections:") => text
                .replace("connections: # none\n", "connections: {}\n")
                .replace("connections: ~", "connections: {}"),
            text => format!("{}\n\nconnections: {{}}\n", text.trim_end()),
        }
    }

    const BLOCK: &str = "  new:\n    connector: mediawiki\n    options:\n      base_url: https://wiki.example/w/\n      limit: \"50\"\n";

    #[test]
    fn a_connection_is_added_at_the_end_and_nothing_else_changes() {
        check_insert("", &format!("connections:\n{BLOCK}"));
        check_insert("warehouse: ./w", &format!("warehouse: ./w\n\nconnections:\n{BLOCK}"));
        check_insert("connections: {}\n", &format!("connections:\n{BLOCK}"));
        check_insert("connections: # none\n", &format!("connections:\n{BLOCK}"));
        check_insert("connections: ~\nmemory: 1GiB\n", &format!("connections:\n{BLOCK}memory: 1GiB\n"));
        check_insert(
            "# top\nconnections:\n  # a shop\n  shop:\n    connector: example # here\n\n# end\nmemory: 1GiB\n",
            &format!(
                "# top\nconnections:\n  # a shop\n  shop:\n    connector: example # here\n{BLOCK}\n# end\nmemory: 1GiB\n"
            ),
        );
        check_insert(
            "connections:\n  a: {connector: example}",
            &format!("connections:\n  a: {{connector: example}}\n{BLOCK}"),
        );
    }

    #[test]
    fn lists_stand_on_one_line_and_sections_do_not_mix() {
        let extras = ["azure".to_owned(), "x: y".to_owned()];
        let fields = vec![("folder", Written::Text("./m")), ("extras", Written::List(&extras))];
        let entry = Entry { name: "m", fields };
        let before = "connections:\n  m:\n    connector: m\n";
        let after = super::insert(before, "connectors", &entry).unwrap();
        let added = "connectors:\n  m:\n    folder: ./m\n    extras: [\"azure\", \"x: y\"]\n";
        assert_eq!(after, format!("{before}\n{added}"));
        assert_eq!(
            super::remove(&after, "connectors", "m").unwrap(),
            format!("{before}\nconnectors: {{}}\n")
        );
    }

    #[test]
    fn the_indent_of_the_file_is_kept() {
        let after = insert("connections:\n    a:\n        connector: x\n", "b", "other", &[]).unwrap();
        assert_eq!(after, "connections:\n    a:\n        connector: x\n    b:\n        connector: other\n");
    }

    #[test]
    fn comments_of_the_next_connection_stay_when_one_is_removed() {
        let text = "connections:\n  a:\n    connector: x\n\n  # about b\n  'b':\n    connector: y\n# end\n";
        assert_eq!(
            remove(text, "a").unwrap(),
            "connections:\n\n  # about b\n  'b':\n    connector: y\n# end\n"
        );
        assert_eq!(
            remove(text, "b").unwrap(),
            "connections:\n  a:\n    connector: x\n\n  # about b\n# end\n"
        );
        assert_eq!(remove(text, "c"), Err(EditError::NotFound));
    }

    #[test]
    fn other_styles_are_refused() {
        for text in [
            "connections: {a: {connector: x}}\n",
            "{connections: {}}\n",
            "? connections\n: {}\n",
            "connections: &x\n  a: {}\n",
        ] {
            assert_eq!(insert(text, "b", "y", &[]), Err(EditError::Style), "{text}");
        }
    }

    #[test]
    fn scalars_read_back_as_text() {
        let quoted = [
            "",
            "50",
            "1e3",
            "true",
            "No",
            "a b",
            "#x",
            "a: b",
            "end:",
            "- x",
            "*x",
            "say \"hi\"",
            ".5",
            "~",
        ];
        quoted.iter().for_each(|t| assert!(scalar(t).starts_with('"'), "{t}"));
        ["env:TOKEN", "https://h/w/?a=b&c=d", "a_b-c.d", "./x"]
            .iter()
            .for_each(|t| assert_eq!(scalar(t), *t));
    }
}
