//! Walks a document along its description, and gives what it holds in the form that the description promises.

use std::collections::HashMap;
use std::time::Duration;

use crate::cron;
use crate::diagnostic::{Complaints, Problem, Source};
use crate::fields::{Field, Need, ObjectKind, Rest, Rule, Shape, TextRule};
use crate::names::{either, nearest, nearest_above};
use crate::node::{Key, MAX_TEXT_BYTES, Node, Place, Scalar, ScalarKind, Value, shown};
use crate::{json, yaml};

/// Similarity from which an option is taken for a slip in one of our own names.
const ALMOST_OURS: f64 = 0.93;

/// An object that was looked at: what it holds is of the right type; what was wrong is left out.
#[derive(Debug)]
pub(crate) struct Checked {
    pub(crate) path: String,
    pub(crate) place: Place,
    entries: Vec<(&'static str, Entry)>,
    /// What is not in the description, where it is handed on.
    pub(crate) rest: Vec<(Key, Node)>,
}

#[derive(Debug)]
struct Entry {
    place: Place,
    item: Item,
}

#[derive(Debug)]
enum Item {
    Text(String),
    Choice(&'static str),
    Flag(bool),
    Integer(i64),
    Names(Vec<String>),
    Texts(Vec<(String, String)>),
    Object(Checked),
    List(Vec<Checked>),
    Named(Vec<(String, Checked)>),
}

macro_rules! getter {
    ($name:ident, $variant:ident, $type:ty) => {
        pub(crate) fn $name(&self, field: &str) -> Option<&$type> {
            match self.item(field)? {
                Item::$variant(value) => Some(value),
                _ => None,
            }
        }
    };
}

impl Checked {
    fn item(&self, field: &str) -> Option<&Item> {
        self.entries.iter().find(|(name, _)| *name == field).map(|(_, entry)| &entry.item)
    }

    getter!(text_ref, Text, String);
    getter!(choice, Choice, &'static str);
    getter!(names_ref, Names, Vec<String>);
    getter!(texts, Texts, Vec<(String, String)>);
    getter!(object, Object, Checked);
    getter!(list, List, Vec<Checked>);
    getter!(named, Named, Vec<(String, Checked)>);

    /// Says whether the field is there and right.
    pub(crate) fn has(&self, field: &str) -> bool {
        self.item(field).is_some()
    }

    pub(crate) fn text(&self, field: &str) -> Option<String> {
        self.text_ref(field).cloned()
    }

    pub(crate) fn names(&self, field: &str) -> Option<Vec<String>> {
        self.names_ref(field).cloned()
    }

    pub(crate) fn flag(&self, field: &str) -> Option<bool> {
        match self.item(field)? {
            Item::Flag(flag) => Some(*flag),
            _ => None,
        }
    }

    pub(crate) fn integer(&self, field: &str) -> Option<i64> {
        match self.item(field)? {
            Item::Integer(number) => Some(*number),
            _ => None,
        }
    }

    /// Where a field stands, or the object where it does not.
    pub(crate) fn place_of(&self, field: &str) -> Place {
        self.entries.iter().find(|(name, _)| *name == field).map_or(self.place, |(_, entry)| entry.place)
    }

    pub(crate) fn path_of(&self, field: &str) -> String {
        join(&self.path, field)
    }
}

pub(crate) fn join(path: &str, name: &str) -> String {
    if path.is_empty() { shown(name) } else { format!("{path}.{}", shown(name)) }
}

/// Reads a document and checks it against `kind`.
pub(crate) fn document(text: &str, file: &str, kind: &'static ObjectKind) -> (Complaints, Option<Checked>) {
    if text.len() > MAX_TEXT_BYTES {
        let mut complaints = Complaints::new(Source::new(file, ""));
        let detail = format!("it has {} bytes; {MAX_TEXT_BYTES} are the most", text.len());
        complaints.error(Place::start(), "", Problem::TooLarge { detail });
        return (complaints, None);
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut complaints = Complaints::new(Source::new(file, text));
    let Some(root) = read(text, file, &mut complaints) else { return (complaints, None) };
    let checked = match &root.value {
        Value::Map(entries) => Walker { complaints: &mut complaints }.object(kind, "", root.place, entries),
        _ if root.is_null() => {
            let detail = "the document is empty".to_owned();
            complaints.error(Place::start(), "", Problem::Syntax { detail });
            return (complaints, None);
        }
        _ => {
            let expected = "a map with the fields of the document".to_owned();
            let problem = Problem::WrongType { expected, found: root.found() };
            complaints.add(root.place, "", problem, |d| d.allow(kind.names()));
            return (complaints, None);
        }
    };
    (complaints, Some(checked))
}

/// As [`document`], for bytes that may not be text.
pub(crate) fn text_of<'a>(bytes: &'a [u8], file: &str) -> Result<&'a str, Box<Complaints>> {
    let (detail, hint) = match (std::str::from_utf8(bytes), bytes) {
        (Ok(text), _) => return Ok(text),
        (_, [0xff, 0xfe, ..] | [0xfe, 0xff, ..]) => ("the file is UTF-16 text", "save it as UTF-8"),
        (Err(_), _) => ("the file is not UTF-8 text", "save it as UTF-8"),
    };
    let good = std::str::from_utf8(bytes).err().map_or(0, |e| e.valid_up_to());
    let before = bytes.get(..good).and_then(|b| std::str::from_utf8(b).ok()).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    let place = Place { at: crate::node::Position { line, column }, width: 1 };
    let mut complaints = Complaints::new(Source::new(file, if good <= MAX_TEXT_BYTES { before } else { "" }));
    complaints.add(place, "", Problem::Syntax { detail: detail.into() }, |d| d.hint(hint));
    Err(Box::new(complaints))
}

/// JSON by name, JSON by looks where it is JSON to the end, YAML otherwise.
pub(crate) fn read(text: &str, file: &str, complaints: &mut Complaints) -> Option<Node> {
    let named_json =
        file.rsplit('.').next().is_some_and(|end| end.eq_ignore_ascii_case("json")) && file.contains('.');
    if named_json && !text.trim().is_empty() {
        return json::read(text, complaints);
    }
    if text.trim_start().starts_with(['{', '['])
        && let Ok((node, repeated)) = json::parse(text)
    {
        json::report(repeated, complaints);
        return Some(node);
    }
    let before = complaints.is_failed();
    let node = yaml::read(text, complaints);
    if node.is_none() && complaints.is_failed() == before {
        let detail = "the document is empty".to_owned();
        complaints.error(Place::start(), "", Problem::Syntax { detail });
    }
    node
}

struct Walker<'a> {
    complaints: &'a mut Complaints,
}

impl Walker<'_> {
    fn object(
        &mut self,
        kind: &'static ObjectKind,
        path: &str,
        place: Place,
        map: &[(Key, Node)],
    ) -> Checked {
        self.complaints.source.record(path, place);
        let mut checked = Checked { path: path.to_owned(), place, entries: Vec::new(), rest: Vec::new() };
        // Where each field came first, under the name of the description.
        let mut met: HashMap<&'static str, &Key> = HashMap::new();
        let mut empty: Vec<&'static str> = Vec::new();
        let mut options: HashMap<String, &Key> = HashMap::new();
        for (key, node) in map {
            let here = join(path, &key.text);
            let Some(field) = kind.field(&key.text) else {
                self.unknown(kind, key, node, &mut options, &mut checked);
                continue;
            };
            if let Some(first) = met.get(field.name) {
                self.twice(first, key, &here);
                continue;
            }
            met.insert(field.name, key);
            self.complaints.source.record(&here, if node.is_null() { key.place } else { node.place });
            if field.need == Need::Ignored {
                let problem = Problem::Ignored { name: field.name.into() };
                self.complaints.add(key.place, &here, problem, |d| d.warning().hint(field.about));
                continue;
            }
            if node.is_null() && !means_the_word_null(field, node) {
                empty.push(field.name);
                if field.need == Need::Required {
                    self.missing_value(field, &here, node.place);
                }
                continue;
            }
            // The canonical path is known as well, so that a caller finds the field by its own name.
            self.complaints.source.record(&join(path, field.name), node.place);
            if let Some(item) = self.item(field, &here, node) {
                checked.entries.push((field.name, Entry { place: node.place, item }));
            }
        }
        for field in kind.fields.iter().filter(|f| f.need == Need::Required && !met.contains_key(f.name)) {
            self.complaints
                .add(place, path, Problem::MissingField { name: field.name.into() }, |d| d.hint(field.about));
        }
        met.retain(|name, _| !empty.contains(name));
        self.rules(kind, &checked, &met, &empty);
        checked
    }

    fn unknown<'n>(
        &mut self,
        kind: &'static ObjectKind,
        key: &'n Key,
        node: &Node,
        options: &mut HashMap<String, &'n Key>,
        checked: &mut Checked,
    ) {
        let here = &join(&checked.path, &key.text);
        let problem = Problem::UnknownField { name: shown(&key.text) };
        match kind.rest {
            Rest::Refused => self.complaints.add(key.place, here, problem, |d| {
                let names: Vec<&str> = kind.names().collect();
                let d = d.allow_like(&key.text, names);
                match unsupported(&key.text) {
                    Some(hint) => d.hint(hint),
                    None => d,
                }
            }),
            Rest::Ignored => self.complaints.add(key.place, here, problem, |d| {
                d.allow_like(&key.text, kind.names()).hint("it is ignored").warning()
            }),
            Rest::Options => {
                if let Some(first) = options.get(&key.text.to_ascii_lowercase()) {
                    self.twice(first, key, here);
                    return;
                }
                options.insert(key.text.to_ascii_lowercase(), key);
                self.complaints.source.record(here, key.place);
                self.option(kind, here, key, node, checked);
            }
        }
    }

    fn option(
        &mut self,
        kind: &'static ObjectKind,
        here: &str,
        key: &Key,
        node: &Node,
        checked: &mut Checked,
    ) {
        if key.text.trim().is_empty() || key.text.chars().any(char::is_control) {
            let reason = "is not a name for an option".to_owned();
            self.complaints.error(key.place, here, Problem::BadValue { value: shown(&key.text), reason });
            return;
        }
        if key.text.eq_ignore_ascii_case("tableName") {
            let reason = "is set for each table by the engine".to_owned();
            self.complaints.add(
                key.place,
                here,
                Problem::BadValue { value: shown(&key.text), reason },
                |d| d.hint("name the table in `source_table`"),
            );
            return;
        }
        if node.is_null() {
            let detail = format!("option `{}` has no value and is not passed on", shown(&key.text));
            self.complaints.add(key.place, here, Problem::Doubtful { detail }, |d| d.warning());
            return;
        }
        let plain = |name: &str| name.replace(['_', '-'], "").to_ascii_lowercase();
        let ours = kind.names().find(|name| plain(name) == plain(&key.text));
        if let Some(ours) = ours.or_else(|| nearest_above(ALMOST_OURS, &key.text, kind.names())) {
            let detail = format!("`{}` goes to the connector as an option of its own", shown(&key.text));
            self.complaints.add(key.place, here, Problem::Doubtful { detail }, |d| {
                d.hint(format!("did you mean `{ours}`?")).warning()
            });
        }
        checked.rest.push((key.clone(), node.clone()));
    }

    fn twice(&mut self, first: &Key, second: &Key, here: &str) {
        let problem = Problem::RepeatedField { name: shown(&second.text), first_line: first.place.at.line };
        self.complaints.add(second.place, here, problem, |d| {
            if first.text == second.text { d } else { d.hint(format!("there as `{}`", shown(&first.text))) }
        });
    }

    fn missing_value(&mut self, field: &Field, here: &str, place: Place) {
        self.complaints.add(place, here, Problem::MissingField { name: field.name.into() }, |d| match field
            .shape
        {
            Shape::Text(_) => d.hint("it has no value; a text that reads `null` needs quotes"),
            _ => d.hint("it has no value"),
        });
    }

    fn rules(
        &mut self,
        kind: &ObjectKind,
        checked: &Checked,
        met: &HashMap<&'static str, &Key>,
        empty: &[&'static str],
    ) {
        let (path, place) = (checked.path.as_str(), checked.place);
        let no_value = |names: &[&str]| {
            names
                .iter()
                .find(|n| empty.contains(n))
                .map(|n| format!("`{n}` has no value; for an empty one write `{n}: {{}}`"))
        };
        for rule in kind.rules {
            match *rule {
                Rule::ExactlyOne(names) => {
                    let mut there: Vec<&&Key> = names.iter().filter_map(|n| met.get(n)).collect();
                    there.sort_by_key(|key| key.place.at);
                    match there.as_slice() {
                        [] => {
                            self.complaints.add(place, path, Problem::NoneOf { names: either(names) }, |d| {
                                match no_value(names) {
                                    Some(hint) => d.hint(hint),
                                    None => d,
                                }
                            })
                        }
                        [_] => {}
                        [first, second, ..] => self.exclusive(first, second, path),
                    }
                }
                Rule::NotBoth(one, other) => {
                    if let (Some(one), Some(other)) = (met.get(one), met.get(other)) {
                        let (first, second) =
                            if one.place.at <= other.place.at { (one, other) } else { (other, one) };
                        self.exclusive(first, second, path);
                    }
                }
                Rule::NeededUnless(unless, needed) => {
                    if !met.contains_key(unless) && !met.contains_key(needed) {
                        let about = kind.field(needed).map_or("", |f| f.about);
                        let problem = Problem::MissingField { name: needed.into() };
                        self.complaints.add(place, path, problem, |d| d.hint(about));
                    }
                }
                Rule::LakeNameUnless(unless, name) => {
                    let bad = checked.text_ref(name).and_then(|text| Some((text, bad_lake_name(text)?)));
                    if let (Some((text, reason)), false) = (bad, met.contains_key(unless)) {
                        let problem = Problem::BadValue { value: shown(text), reason: reason.into() };
                        let hint = format!("set `{unless}` to a name for the lake");
                        self.complaints
                            .add(checked.place_of(name), &checked.path_of(name), problem, |d| d.hint(hint));
                    }
                }
            }
        }
    }

    fn exclusive(&mut self, first: &Key, second: &Key, path: &str) {
        let problem = Problem::Exclusive { first: first.text.clone(), second: second.text.clone() };
        self.complaints.error(second.place, &join(path, &second.text), problem);
    }

    fn wrong(&mut self, expected: impl Into<String>, here: &str, node: &Node) {
        let problem = Problem::WrongType { expected: expected.into(), found: node.found() };
        self.complaints.error(node.place, here, problem);
    }

    fn item(&mut self, field: &Field, here: &str, node: &Node) -> Option<Item> {
        match field.shape {
            Shape::Any => None,
            Shape::Text(rule) => self.text(rule, here, node).map(Item::Text),
            Shape::Choice(values) => self.choice(field, values, here, node).map(Item::Choice),
            Shape::Flag => self.flag(here, node).map(Item::Flag),
            Shape::Integer { min, max } => {
                let number = match &node.value {
                    Value::Scalar(s) => s.as_i64().filter(|n| (min..=max).contains(n)),
                    _ => None,
                };
                if number.is_none() {
                    self.wrong(format!("an integer from {min} to {max}"), here, node);
                }
                number.map(Item::Integer)
            }
            Shape::Names { most, empty } => self.names(most, empty, here, node).map(Item::Names),
            Shape::Texts => self.texts(here, node).map(Item::Texts),
            Shape::Object(kind) => match &node.value {
                Value::Map(entries) => Some(Item::Object(self.object(kind, here, node.place, entries))),
                _ => {
                    let names: Vec<&str> = kind.names().collect();
                    let problem = Problem::WrongType { expected: "a map".into(), found: node.found() };
                    self.complaints.add(node.place, here, problem, |d| d.allow(names));
                    None
                }
            },
            Shape::Named(kind) => self.named(kind, here, node).map(Item::Named),
            Shape::List { of, empty } => self.list(of, empty, here, node).map(Item::List),
            Shape::NamesOrObjects => self.names_or_objects(here, node).map(Item::Names),
            Shape::Scalar => match &node.value {
                Value::Scalar(_) => Some(Item::Text(node.option_text())),
                _ => {
                    self.wrong("one value", here, node);
                    None
                }
            },
            Shape::Scalars => self.scalars(here, node).map(Item::Names),
        }
    }

    fn text(&mut self, rule: TextRule, here: &str, node: &Node) -> Option<String> {
        let Value::Scalar(scalar) = &node.value else {
            self.wrong("a text", here, node);
            return None;
        };
        if matches!(rule, TextRule::Cron | TextRule::TimeZone) && scalar.kind() != ScalarKind::Text {
            self.wrong("a text", here, node);
            return None;
        }
        if rule == TextRule::Retention && scalar.kind() != ScalarKind::Text {
            self.wrong("a number with its unit, such as `7d`, or `keep`", here, node);
            return None;
        }
        let text = scalar.text.as_str();
        match bad_text(rule, text) {
            None => Some(text.to_owned()),
            Some((reason, hint)) => {
                let problem = if text.trim().is_empty() {
                    Problem::WrongType { expected: "a text".into(), found: "an empty text".into() }
                } else {
                    Problem::BadValue { value: shown(text), reason }
                };
                self.complaints
                    .add(node.place, here, problem, |d| if hint.is_empty() { d } else { d.hint(hint) });
                None
            }
        }
    }

    fn choice(
        &mut self,
        field: &Field,
        values: &'static [&'static str],
        here: &str,
        node: &Node,
    ) -> Option<&'static str> {
        let Value::Scalar(scalar) = &node.value else {
            let problem = Problem::WrongType { expected: "a text".into(), found: node.found() };
            self.complaints.add(node.place, here, problem, |d| d.allow(values.iter().copied()));
            return None;
        };
        let found = values.iter().find(|v| v.eq_ignore_ascii_case(&scalar.text)).copied();
        if found.is_none() {
            let problem = Problem::NotAllowed { name: field.name.into(), value: shown(&scalar.text) };
            self.complaints
                .add(node.place, here, problem, |d| d.allow_like(&scalar.text, values.iter().copied()));
        }
        found
    }

    fn flag(&mut self, here: &str, node: &Node) -> Option<bool> {
        if let Value::Scalar(scalar) = &node.value {
            if let ScalarKind::Flag(flag) = scalar.kind() {
                return Some(flag);
            }
            let hint = flag_hint(scalar);
            let problem = Problem::WrongType { expected: "`true` or `false`".into(), found: node.found() };
            self.complaints.add(node.place, here, problem, |d| match hint {
                Some(hint) => d.hint(hint),
                None => d,
            });
        } else {
            self.wrong("`true` or `false`", here, node);
        }
        None
    }

    fn names(&mut self, most: usize, empty: bool, here: &str, node: &Node) -> Option<Vec<String>> {
        let mut names: Vec<(String, Place)> = Vec::new();
        match &node.value {
            Value::Map(_) => {
                self.wrong("a list of texts, or one text with commas", here, node);
                return None;
            }
            Value::List(items) => {
                for (i, item) in items.iter().enumerate() {
                    let name = self.text(TextRule::Line, &format!("{here}[{i}]"), item);
                    let name = name.filter(|_| !self.null_name(item, &format!("{here}[{i}]")));
                    names.push((name?, item.place));
                }
            }
            Value::Scalar(scalar) => {
                for name in split_names(&scalar.text).unwrap_or_else(|| {
                    // Marked below as an error of the whole text.
                    vec![String::new()]
                }) {
                    names.push((name, node.place));
                }
                if scalar.text.trim().is_empty() {
                    names.clear();
                }
            }
        }
        if names.is_empty() && !empty {
            self.wrong("at least one name", here, node);
            return None;
        }
        if names.iter().any(|(name, _)| name.is_empty()) {
            let reason = "is not a list of names with commas between them".to_owned();
            let value = node.option_text();
            self.complaints.error(node.place, here, Problem::BadValue { value: shown(&value), reason });
            return None;
        }
        if names.len() > most {
            self.wrong(format!("at most {most} names"), here, node);
            return None;
        }
        let mut seen = std::collections::HashSet::new();
        for (name, place) in &names {
            if !seen.insert(name.to_lowercase()) {
                let reason = "is named twice".to_owned();
                self.complaints.error(*place, here, Problem::BadValue { value: shown(name), reason });
                return None;
            }
        }
        Some(names.into_iter().map(|(name, _)| name).collect())
    }

    /// Refuses an entry without a value.
    fn null_name(&mut self, item: &Node, here: &str) -> bool {
        if !item.is_null() {
            return false;
        }
        let problem = Problem::WrongType { expected: "a text".into(), found: item.found() };
        self.complaints.add(item.place, here, problem, |d| d.hint("a name that reads `null` needs quotes"));
        true
    }

    fn texts(&mut self, here: &str, node: &Node) -> Option<Vec<(String, String)>> {
        let Value::Map(entries) = &node.value else {
            self.wrong("a map of texts", here, node);
            return None;
        };
        let mut texts = Vec::new();
        for (key, value) in entries {
            match &value.value {
                Value::Scalar(s) if s.kind() != ScalarKind::Null => {
                    self.complaints.source.record(&join(here, &key.text), value.place);
                    texts.push((key.text.clone(), value.option_text()));
                }
                _ => self.wrong("a text", &join(here, &key.text), value),
            }
        }
        Some(texts)
    }

    fn named(
        &mut self,
        kind: &'static ObjectKind,
        here: &str,
        node: &Node,
    ) -> Option<Vec<(String, Checked)>> {
        let Value::Map(entries) = &node.value else {
            self.wrong("a map", here, node);
            return None;
        };
        let mut named = Vec::new();
        for (key, item) in entries {
            let here = join(here, &key.text);
            match &item.value {
                Value::Map(entries) => {
                    named.push((key.text.clone(), self.object(kind, &here, key.place, entries)));
                }
                _ => {
                    let problem = Problem::WrongType { expected: "a map".into(), found: item.found() };
                    self.complaints.add(item.place, &here, problem, |d| d.allow(kind.names()));
                }
            }
        }
        Some(named)
    }

    fn list(
        &mut self,
        of: &'static ObjectKind,
        empty: bool,
        here: &str,
        node: &Node,
    ) -> Option<Vec<Checked>> {
        let Value::List(items) = &node.value else {
            let found = node.found();
            let problem = Problem::WrongType { expected: "a list".into(), found };
            self.complaints.add(node.place, here, problem, |d| d.hint("each entry starts with `- `"));
            return None;
        };
        if items.is_empty() && !empty {
            self.wrong("at least one entry", here, node);
        }
        let mut list = Vec::new();
        for (i, item) in items.iter().enumerate() {
            let here = format!("{here}[{i}]");
            match &item.value {
                Value::Map(entries) => list.push(self.object(of, &here, item.place, entries)),
                _ => {
                    let problem = Problem::WrongType { expected: "a map".into(), found: item.found() };
                    self.complaints.add(item.place, &here, problem, |d| d.allow(of.names()));
                }
            }
        }
        Some(list)
    }

    fn names_or_objects(&mut self, here: &str, node: &Node) -> Option<Vec<String>> {
        let Value::List(items) = &node.value else {
            self.wrong("a list", here, node);
            return None;
        };
        let mut names = Vec::new();
        for (i, item) in items.iter().enumerate() {
            let named = match &item.value {
                Value::Map(entries) => {
                    entries.iter().find(|(key, _)| key.text == "name").map(|(_, node)| node)
                }
                _ => Some(item),
            };
            let here = format!("{here}[{i}]");
            match named {
                Some(node) if matches!(node.value, Value::Scalar(_)) && !node.is_null() => {
                    names.extend(self.text(TextRule::Line, &here, node));
                }
                _ => self.wrong("a name, or a map with a `name`", &here, item),
            }
        }
        Some(names)
    }

    fn scalars(&mut self, here: &str, node: &Node) -> Option<Vec<String>> {
        let Value::List(items) = &node.value else {
            self.wrong("a list of values", here, node);
            return None;
        };
        let mut values = Vec::new();
        for (i, item) in items.iter().enumerate() {
            match &item.value {
                Value::Scalar(_) => values.push(item.option_text()),
                _ => self.wrong("one value", &format!("{here}[{i}]"), item),
            }
        }
        Some(values)
    }
}

/// `null` without quotes is the word where the field has a value of that name.
fn means_the_word_null(field: &Field, node: &Node) -> bool {
    let Shape::Choice(values) = field.shape else { return false };
    matches!(&node.value, Value::Scalar(s) if values.iter().any(|v| v.eq_ignore_ascii_case(&s.text)))
}

/// YAML 1.1 read these as truth values, and so do those who learned it.
fn flag_hint(scalar: &Scalar) -> Option<String> {
    let flag = match scalar.text.to_ascii_lowercase().as_str() {
        "yes" | "y" | "on" | "true" | "1" => true,
        "no" | "n" | "off" | "false" | "0" => false,
        _ => return None,
    };
    Some(format!(
        "write `{flag}`, without quotes; `{}` is not a truth value in YAML 1.2",
        shown(&scalar.text)
    ))
}

/// Splits `a, b` at its commas, or reads `["a", "b"]`. Blank names stay, for the caller to refuse.
fn split_names(text: &str) -> Option<Vec<String>> {
    if text.trim_start().starts_with('[') {
        return serde_json::from_str(text.trim()).ok();
    }
    Some(text.split(',').map(|name| name.trim().to_owned()).collect())
}

/// Why a text does not fit its rule, and what to do.
pub(crate) fn bad_text(rule: TextRule, text: &str) -> Option<(String, &'static str)> {
    if rule == TextRule::Free {
        return None;
    }
    if text.trim().is_empty() || text.chars().any(char::is_control) {
        return Some(("holds a line break or another control character".into(), ""));
    }
    if text.chars().count() > 1024 {
        return Some(("is longer than 1024 characters".into(), ""));
    }
    match rule {
        TextRule::Line | TextRule::Free => None,
        TextRule::LakeName => bad_lake_name(text).map(|reason| {
            (reason.into(), "a name has at most 255 bytes, no slash, and does not start with `.` or `_`")
        }),
        TextRule::Cron => cron::check(text).err().map(|reason| {
            (reason, "Quartz form: seconds minutes hours day-of-month month day-of-week [year], such as `0 30 6 * * ?`")
        }),
        TextRule::Retention => retention(text).is_none().then(|| {
            ("is not a length of time".into(), "a whole number and `s`, `m`, `h`, `d` or `w`, such as `7d`; or `keep`")
        }),
        TextRule::TimeZone => {
            if text.parse::<chrono_tz::Tz>().is_ok() {
                return None;
            }
            let near = nearest(text, chrono_tz::TZ_VARIANTS.iter().map(|zone| zone.name()));
            let near = near.map(|zone| format!("; did you mean `{zone}`?")).unwrap_or_default();
            Some((format!("is not the name of a time zone{near}"), "such as `UTC` or `Europe/Paris`"))
        }
    }
}

/// Reads a length of time such as `7d`; `keep` is one without end, the inner `None`.
pub(crate) fn retention(text: &str) -> Option<Option<Duration>> {
    const MOST_DIGITS: usize = 9;
    if text == "keep" {
        return Some(None);
    }
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 60 * 60,
        "d" => 24 * 60 * 60,
        "w" => 7 * 24 * 60 * 60,
        _ => return None,
    };
    let is_number = digits.len() <= MOST_DIGITS && digits.bytes().all(|b| b.is_ascii_digit());
    let number: u64 = digits.parse().ok().filter(|_| is_number && !digits.starts_with('0'))?;
    Some(Some(Duration::from_secs(number * seconds)))
}

/// Why a text cannot be part of a table's name in the lake.
pub(crate) fn bad_lake_name(text: &str) -> Option<&'static str> {
    if text.len() > 255 {
        Some("is longer than 255 bytes")
    } else if text.starts_with(['.', '_']) {
        Some("starts with `.` or `_`, which marks hidden folders")
    } else if text.contains(['/', '\\']) {
        Some("holds a slash")
    } else if text.trim() != text {
        Some("starts or ends with a blank")
    } else {
        None
    }
}

/// Fields of neighbouring formats that cannot be ignored without changing what is meant.
fn unsupported(name: &str) -> Option<&'static str> {
    Some(match name {
        "report" => "reports are not a kind of object here; name the tables with `table`",
        "resources" => "this looks like a bundle; give the part below `resources.pipelines.<name>`",
        "spec" | "settings" => "give what is inside it as the document",
        _ => return None,
    })
}
