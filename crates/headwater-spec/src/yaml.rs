//! YAML 1.2 text to nodes, through the events of the parser.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span, Tag};

use crate::diagnostic::{Complaints, Problem};
use crate::node::{
    Budget, Key, MAX_DEPTH, MAX_NODES, MAX_SCALAR_BYTES, MapBuilder, Node, Place, Position, Scalar, Value,
};

/// Reads the one document of `text`. Repeated keys are reported and left out; anything worse ends in `None`.
pub(crate) fn read(text: &str, complaints: &mut Complaints) -> Option<Node> {
    let mut reader =
        Reader { complaints, open: Vec::new(), anchors: HashMap::new(), budget: Budget::default() };
    let mut root: Option<Node> = None;
    let mut parser = Parser::new_from_str(text);
    while let Some(event) = parser.next_event() {
        let (event, span) = match event {
            Ok(event) => event,
            Err(error) => {
                reader.syntax(&error, text);
                return None;
            }
        };
        let place = place_of(&span);
        let (node, anchor) = match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => continue,
            Event::DocumentStart(_) => {
                if root.is_some() {
                    let detail = "a second document starts here; a spec is one document".to_owned();
                    reader.complaints.error(place, "", Problem::Syntax { detail });
                    return None;
                }
                continue;
            }
            Event::Alias(id) => (reader.copy(id, place)?, 0),
            Event::Scalar(text, style, anchor, tag) => {
                let text = text.into_owned();
                reader.spend(text.len(), place)?;
                let plain = style == ScalarStyle::Plain && reader.tag(tag.as_deref(), place)?;
                (Node { place, value: Value::Scalar(Scalar { text, plain }) }, anchor)
            }
            Event::SequenceStart(anchor, tag) => {
                reader.tag(tag.as_deref(), place)?;
                reader.open(place, anchor, Container::List(Vec::new()))?;
                continue;
            }
            Event::MappingStart(anchor, tag) => {
                reader.tag(tag.as_deref(), place)?;
                reader.open(place, anchor, Container::Map(MapBuilder::default(), None))?;
                continue;
            }
            Event::SequenceEnd | Event::MappingEnd => match reader.open.pop() {
                Some(open) => {
                    let value = match open.container {
                        Container::List(items) => Value::List(items),
                        Container::Map(map, _) => Value::Map(map.finish()),
                    };
                    (Node { place: open.place, value }, open.anchor)
                }
                None => continue,
            },
        };
        if anchor != 0 {
            reader.anchors.insert(anchor, node.clone());
        }
        if let Some(done) = reader.place_node(node)? {
            root = Some(done);
        }
    }
    root
}

struct Open {
    place: Place,
    anchor: usize,
    container: Container,
}

enum Container {
    List(Vec<Node>),
    Map(MapBuilder, Option<Key>),
}

struct Reader<'a> {
    complaints: &'a mut Complaints,
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    budget: Budget,
}

impl Reader<'_> {
    fn open(&mut self, place: Place, anchor: usize, container: Container) -> Option<()> {
        self.spend(0, place)?;
        if self.open.len() >= MAX_DEPTH {
            let detail = format!("lists and maps are nested more than {MAX_DEPTH} deep");
            self.complaints.error(place, "", Problem::TooLarge { detail });
            return None;
        }
        self.open.push(Open { place, anchor, container });
        Some(())
    }

    fn spend(&mut self, bytes: usize, place: Place) -> Option<()> {
        if self.budget.add(bytes) {
            return Some(());
        }
        self.too_large(place)
    }

    fn too_large(&mut self, place: Place) -> Option<()> {
        let detail = format!(
            "with its aliases copied out it has more than {MAX_NODES} values or {MAX_SCALAR_BYTES} bytes of text"
        );
        self.complaints.error(place, "", Problem::TooLarge { detail });
        None
    }

    /// Copies what an alias stands for. An anchor counts from the end of its value on, so that none holds itself.
    fn copy(&mut self, id: usize, place: Place) -> Option<Node> {
        let Some(node) = self.anchors.get(&id) else {
            let detail = "the alias stands inside the value that it names".to_owned();
            self.complaints.error(place, "", Problem::Syntax { detail });
            return None;
        };
        // Counted before it is copied: a few lines of aliases can stand for gigabytes.
        if !self.budget.add_copy(node) || depth(node) + self.open.len() > MAX_DEPTH {
            self.too_large(place);
            return None;
        }
        Some(Node { place, value: node.value.clone() })
    }

    /// Says whether a plain scalar with this tag may be more than text.
    fn tag(&mut self, tag: Option<&Tag>, place: Place) -> Option<bool> {
        let Some(tag) = tag else { return Some(true) };
        let core = tag.is_yaml_core_schema();
        match tag.suffix.as_str() {
            "str" if core => Some(false),
            "int" | "float" | "bool" | "null" | "seq" | "map" if core => Some(true),
            "" if tag.handle == "!" => Some(false),
            _ => {
                let detail = format!("the tag `{}` is not supported", crate::node::shown(&tag.to_string()));
                self.complaints.add(place, "", Problem::Syntax { detail }, |d| d.hint("leave the tag out"));
                None
            }
        }
    }

    /// Puts a finished node where it belongs; gives it back when it is the whole document.
    fn place_node(&mut self, mut node: Node) -> Option<Option<Node>> {
        let Some(top) = self.open.last_mut() else { return Some(Some(node)) };
        match &mut top.container {
            Container::List(items) => items.push(node),
            Container::Map(map, key) => match key.take() {
                Some(key) => {
                    if matches!(&node.value, Value::Scalar(s) if s.plain && s.text.is_empty()) {
                        // Nothing has no place of its own.
                        node.place = key.place;
                    }
                    if let Some((key, first_line)) = map.add(key, node) {
                        let problem =
                            Problem::RepeatedField { name: crate::node::shown(&key.text), first_line };
                        self.complaints.error(key.place, "", problem);
                    }
                }
                None => match node.value {
                    Value::Scalar(Scalar { text, plain })
                        if !(plain && (text.is_empty() || text == "<<")) =>
                    {
                        *key = Some(Key { text, place: node.place });
                    }
                    Value::Scalar(Scalar { text, .. }) if text == "<<" => {
                        let detail = "merge keys (`<<`) are not part of YAML 1.2".to_owned();
                        self.complaints.add(node.place, "", Problem::Syntax { detail }, |d| {
                            d.hint("write the fields out, or use an alias (`*name`) for a whole value")
                        });
                        return None;
                    }
                    _ => {
                        let expected = "a name before the `:`".to_owned();
                        let problem = Problem::WrongType { expected, found: node.found() };
                        self.complaints.error(node.place, "", problem);
                        return None;
                    }
                },
            },
        }
        Some(None)
    }

    fn syntax(&mut self, error: &ScanError, text: &str) {
        let place = Place { at: position(error.marker()), width: 1 };
        let line = text.lines().nth(place.at.line.saturating_sub(1)).unwrap_or_default();
        let indent = line.chars().take_while(|c| c.is_whitespace());
        let tabbed = indent.into_iter().any(|c| c == '\t');
        let problem = Problem::Syntax { detail: format!("not valid YAML: {}", error.info()) };
        self.complaints.add(place, "", problem, |d| {
            if tabbed { d.hint("the line is indented with a tab; YAML takes spaces only") } else { d }
        });
    }
}

fn depth(node: &Node) -> usize {
    match &node.value {
        Value::Scalar(_) => 0,
        Value::List(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Map(entries) => 1 + entries.iter().map(|(_, value)| depth(value)).max().unwrap_or(0),
    }
}

fn position(marker: &saphyr_parser::Marker) -> Position {
    Position { line: marker.line().max(1), column: marker.col() + 1 }
}

fn place_of(span: &Span) -> Place {
    let width = if span.start.line() == span.end.line() {
        span.end.col().saturating_sub(span.start.col()).max(1)
    } else {
        1
    };
    Place { at: position(&span.start), width }
}
