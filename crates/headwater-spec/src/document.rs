//! Documents that another crate describes: a tree with positions, and complaints about parts of it.
//!
//! The limits and the rules of reading (YAML 1.2, JSON) are those of the documents of this crate.

use crate::check::read;
use crate::diagnostic::{Complaints, Parsed, Problem, Source, SpecErrors};
use crate::node::{MAX_TEXT_BYTES, Node, Place, Position, ScalarKind, Value, shown};

/// A document under way: its tree, and what is wrong with it so far.
#[derive(Debug)]
pub struct Document {
    root: Option<Element>,
    complaints: Complaints,
}

/// A part of a document: a scalar, a list or a map, with the place where it stands.
#[derive(Debug, Clone)]
pub struct Element {
    node: Node,
    path: String,
}

/// An entry of a map.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The key as written.
    pub key: String,
    /// What it holds.
    pub value: Element,
    place: Place,
}

impl Document {
    /// Reads `text`, which is JSON or YAML; `file` is the name to show. What cannot be read is a complaint.
    pub fn read(text: &str, file: &str) -> Self {
        if text.len() > MAX_TEXT_BYTES {
            let mut document = Self::blank("", file);
            let detail = format!("it has {} bytes; {MAX_TEXT_BYTES} are the most", text.len());
            document.complaints.error(Place::start(), "", Problem::TooLarge { detail });
            return document;
        }
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut document = Self::blank(text, file);
        let node = read(text, file, &mut document.complaints);
        document.root = node.map(|node| Element { node, path: String::new() });
        document
    }

    /// A document whose text is read by somebody else; [`Document::complain_at`] tells of it.
    pub fn blank(text: &str, file: &str) -> Self {
        Self { root: None, complaints: Complaints::new(Source::new(file, text)) }
    }

    /// The whole of it; `None` where it could not be read, of which a complaint tells.
    pub fn root(&self) -> Option<Element> {
        self.root.clone()
    }

    /// Notes what is wrong with a part.
    pub fn complain(&mut self, about: &Element, problem: Problem, hint: Option<String>) {
        self.complaints.add(about.node.place, &about.path, problem, |d| match hint {
            Some(hint) => d.hint(hint),
            None => d,
        });
    }

    /// Notes a part that is not what it should be.
    pub fn expected(&mut self, what: &str, found: &Element) {
        let problem = Problem::WrongType { expected: what.to_owned(), found: found.node.found() };
        self.complain(found, problem, None);
    }

    /// Notes a key that means nothing here; names those that would, and the nearest of them.
    pub fn unknown_key(&mut self, entry: &Entry, allowed: &[&str]) {
        let problem = Problem::UnknownField { name: shown(&entry.key) };
        self.complaints.add(entry.place, &entry.value.path, problem, |d| {
            d.allow_like(&entry.key, allowed.iter().copied())
        });
    }

    /// Notes a value that is none of those that may stand there.
    pub fn not_one_of(&mut self, name: &str, value: &Element, allowed: &[&str]) {
        let written = value.node.option_text();
        let problem = Problem::NotAllowed { name: name.to_owned(), value: shown(&written) };
        self.complaints
            .add(value.node.place, &value.path, problem, |d| d.allow_like(&written, allowed.iter().copied()));
    }

    /// Notes what is wrong at a place of the text.
    pub fn complain_at(&mut self, at: Position, problem: Problem, hint: Option<String>) {
        self.complaints.add(Place { at, width: 1 }, "", problem, |d| match hint {
            Some(hint) => d.hint(hint),
            None => d,
        });
    }

    /// Says whether there was an error.
    pub fn is_failed(&self) -> bool {
        self.complaints.is_failed()
    }

    /// Ends with the value or with the errors.
    ///
    /// # Errors
    /// Something was complained of, or there is no value.
    pub fn finish<T>(self, value: Option<T>) -> Result<Parsed<T>, SpecErrors> {
        self.complaints.finish(value)
    }
}

impl Element {
    /// The path of this part, such as `endpoints[2].path`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Where it starts.
    pub fn position(&self) -> Position {
        self.node.place.at
    }

    /// Says whether there is nothing: `null`, `~`, or no text at all.
    pub fn is_null(&self) -> bool {
        self.node.is_null()
    }

    /// The entries of a map.
    pub fn entries(&self) -> Option<Vec<Entry>> {
        let Value::Map(entries) = &self.node.value else { return None };
        let entry = |(key, node): &(crate::node::Key, Node)| Entry {
            key: key.text.clone(),
            place: key.place,
            value: Element { node: node.clone(), path: crate::check::join(&self.path, &key.text) },
        };
        Some(entries.iter().map(entry).collect())
    }

    /// The items of a list.
    pub fn items(&self) -> Option<Vec<Element>> {
        let Value::List(items) = &self.node.value else { return None };
        let item =
            |(i, node): (usize, &Node)| Element { node: node.clone(), path: format!("{}[{i}]", self.path) };
        Some(items.iter().enumerate().map(item).collect())
    }

    /// A scalar as it was written; `None` for lists, maps and nothing.
    pub fn text(&self) -> Option<&str> {
        match &self.node.value {
            Value::Scalar(scalar) if scalar.kind() != ScalarKind::Null => Some(&scalar.text),
            _ => None,
        }
    }

    /// A truth value.
    pub fn flag(&self) -> Option<bool> {
        match &self.node.value {
            Value::Scalar(scalar) => match scalar.kind() {
                ScalarKind::Flag(flag) => Some(flag),
                _ => None,
            },
            _ => None,
        }
    }

    /// A whole number.
    pub fn integer(&self) -> Option<i64> {
        match &self.node.value {
            Value::Scalar(scalar) => scalar.as_i64(),
            _ => None,
        }
    }

    /// A number.
    pub fn number(&self) -> Option<f64> {
        match &self.node.value {
            Value::Scalar(scalar) if matches!(scalar.kind(), ScalarKind::Integer | ScalarKind::Float) => {
                scalar.text.parse().ok().filter(|number: &f64| number.is_finite())
            }
            _ => None,
        }
    }

    /// The same as a value of JSON.
    pub fn to_json(&self) -> serde_json::Value {
        let mut json = String::new();
        self.node.write_json(&mut json);
        serde_json::from_str(&json).unwrap_or(serde_json::Value::Null)
    }
}

#[cfg(test)]
mod tests {
    use super::Document;
    use crate::diagnostic::Problem;

    #[test]
    fn parts_have_paths_and_complaints_have_places() {
        let text = "things:\n  - name: a\n    size: 12\n    colour: red\n  - 3\n";
        let mut document = Document::read(text, "things.yaml");
        let root = document.root().unwrap();
        let things = root.entries().unwrap().remove(0).value;
        let items = things.items().unwrap();
        let fields = items[0].entries().unwrap();
        assert_eq!(fields[1].value.integer(), Some(12));
        assert_eq!(fields[1].value.path(), "things[0].size");
        assert_eq!(items[0].to_json(), serde_json::json!({"name": "a", "size": 12, "colour": "red"}));
        document.unknown_key(&fields[2], &["name", "size", "color"]);
        document.expected("a map", &items[1]);
        document.complain(&things, Problem::Contradiction { detail: "no".into() }, Some("yes".into()));
        let errors = document.finish(Some(())).unwrap_err();
        let lines: Vec<String> = errors.errors.iter().map(ToString::to_string).collect();
        assert_eq!(
            lines,
            [
                "things.yaml:2:3: things: no",
                "things.yaml:4:5: things[0].colour: unknown field `colour`",
                "things.yaml:5:5: things[1]: expected a map, found the number 3",
            ]
        );
        assert_eq!(errors.errors[1].nearest.as_deref(), Some("color"));
    }

    #[test]
    fn what_cannot_be_read_is_a_complaint() {
        for (text, file) in [("a: [", "x.yaml"), ("", "x.yaml"), ("{\"a\": }", "x.json")] {
            let document = Document::read(text, file);
            assert!(document.root().is_none() && document.is_failed(), "{text}");
            assert_eq!(document.finish(Some(())).unwrap_err().errors.len(), 1, "{text}");
        }
    }
}
