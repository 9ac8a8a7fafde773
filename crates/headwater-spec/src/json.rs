//! JSON text to nodes, with positions and with numbers as they were written.

use crate::diagnostic::{Complaints, Problem};
use crate::node::{
    Budget, Key, MAX_DEPTH, MAX_NODES, MapBuilder, Node, Place, Position, Scalar, Value, is_json_number,
    shown,
};

/// What stops a JSON text from being read.
#[derive(Debug)]
pub(crate) struct JsonError {
    pub(crate) place: Place,
    pub(crate) problem: Problem,
}

/// A key that came twice.
#[derive(Debug)]
pub(crate) struct Repeated {
    key: Key,
    first_line: usize,
}

/// Reads `text`. Repeated keys are reported and left out; anything worse ends in `None`.
pub(crate) fn read(text: &str, complaints: &mut Complaints) -> Option<Node> {
    match parse(text) {
        Ok((node, repeated)) => {
            report(repeated, complaints);
            Some(node)
        }
        Err(error) => {
            complaints.error(error.place, "", error.problem);
            None
        }
    }
}

/// Adds the complaints about keys that came twice.
pub(crate) fn report(repeated: Vec<Repeated>, complaints: &mut Complaints) {
    for Repeated { key, first_line } in repeated {
        complaints.error(key.place, "", Problem::RepeatedField { name: shown(&key.text), first_line });
    }
}

/// Reads `text` without reporting anything.
pub(crate) fn parse(text: &str) -> Result<(Node, Vec<Repeated>), JsonError> {
    let mut reader =
        Reader { rest: text.chars(), line: 1, column: 1, budget: Budget::default(), repeated: Vec::new() };
    reader.skip_space();
    let node = reader.value(0)?;
    reader.skip_space();
    match reader.peek() {
        None => Ok((node, reader.repeated)),
        Some(c) => Err(reader.fail(format!("`{}` after the end of the document", c.escape_default()))),
    }
}

struct Reader<'a> {
    rest: std::str::Chars<'a>,
    line: usize,
    column: usize,
    budget: Budget,
    repeated: Vec<Repeated>,
}

impl Reader<'_> {
    fn peek(&self) -> Option<char> {
        self.rest.clone().next()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.rest.next()?;
        if c == '\n' {
            self.line += 1;
            self.column = 1;
        } else {
            self.column += 1;
        }
        Some(c)
    }

    fn here(&self) -> Place {
        Place { at: Position { line: self.line, column: self.column }, width: 1 }
    }

    fn since(&self, start: Place) -> Place {
        let width =
            if start.at.line == self.line { self.column.saturating_sub(start.at.column).max(1) } else { 1 };
        Place { width, ..start }
    }

    fn fail(&self, detail: impl Into<String>) -> JsonError {
        let problem = Problem::Syntax { detail: format!("not valid JSON: {}", detail.into()) };
        JsonError { place: self.here(), problem }
    }

    fn unexpected(&self, expected: &str) -> JsonError {
        match self.peek() {
            Some(c) => self.fail(format!("expected {expected}, found `{}`", c.escape_default())),
            None => self.fail(format!("expected {expected}, but the text ends")),
        }
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(' ' | '\t' | '\n' | '\r')) {
            self.next();
        }
    }

    fn spend(&mut self, bytes: usize) -> Result<(), JsonError> {
        if self.budget.add(bytes) {
            return Ok(());
        }
        let problem = Problem::TooLarge { detail: format!("it has more than {MAX_NODES} values") };
        Err(JsonError { place: self.here(), problem })
    }

    fn value(&mut self, depth: usize) -> Result<Node, JsonError> {
        let start = self.here();
        if depth > MAX_DEPTH {
            let detail = format!("lists and maps are nested more than {MAX_DEPTH} deep");
            return Err(JsonError { place: start, problem: Problem::TooLarge { detail } });
        }
        match self.peek() {
            Some('{') => self.map(start, depth),
            Some('[') => self.list(start, depth),
            Some('"') => {
                let text = self.text()?;
                self.spend(text.len())?;
                Ok(Node { place: self.since(start), value: Value::Scalar(Scalar { text, plain: false }) })
            }
            Some(c) if c == '-' || c.is_ascii_alphanumeric() => self.word(start),
            _ => Err(self.unexpected("a value")),
        }
    }

    fn map(&mut self, start: Place, depth: usize) -> Result<Node, JsonError> {
        self.spend(0)?;
        self.next();
        let mut map = MapBuilder::default();
        self.skip_space();
        if self.peek() == Some('}') {
            self.next();
            return Ok(Node { place: start, value: Value::Map(map.finish()) });
        }
        loop {
            self.skip_space();
            let key_start = self.here();
            if self.peek() != Some('"') {
                return Err(self.unexpected("a name in double quotes"));
            }
            let text = self.text()?;
            self.spend(text.len())?;
            let key = Key { text, place: self.since(key_start) };
            self.skip_space();
            if self.peek() != Some(':') {
                return Err(self.unexpected("`:`"));
            }
            self.next();
            self.skip_space();
            let value = self.value(depth + 1)?;
            if let Some((key, first_line)) = map.add(key, value) {
                self.repeated.push(Repeated { key, first_line });
            }
            self.skip_space();
            match self.peek() {
                Some(',') => {
                    self.next();
                }
                Some('}') => {
                    self.next();
                    return Ok(Node { place: start, value: Value::Map(map.finish()) });
                }
                _ => return Err(self.unexpected("`,` or `}`")),
            }
        }
    }

    fn list(&mut self, start: Place, depth: usize) -> Result<Node, JsonError> {
        self.spend(0)?;
        self.next();
        let mut items = Vec::new();
        self.skip_space();
        if self.peek() == Some(']') {
            self.next();
            return Ok(Node { place: start, value: Value::List(items) });
        }
        loop {
            self.skip_space();
            items.push(self.value(depth + 1)?);
            self.skip_space();
            match self.peek() {
                Some(',') => {
                    self.next();
                }
                Some(']') => {
                    self.next();
                    return Ok(Node { place: start, value: Value::List(items) });
                }
                _ => return Err(self.unexpected("`,` or `]`")),
            }
        }
    }

    /// A number, `true`, `false` or `null`.
    fn word(&mut self, start: Place) -> Result<Node, JsonError> {
        let mut text = String::new();
        while let Some(c) = self.peek().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '+' | '.'))
        {
            text.push(c);
            self.next();
        }
        self.spend(text.len())?;
        let place = self.since(start);
        if matches!(text.as_str(), "true" | "false" | "null") || is_json_number(&text) {
            return Ok(Node { place, value: Value::Scalar(Scalar { text, plain: true }) });
        }
        let detail = format!(
            "not valid JSON: `{}` is neither a number, `true`, `false`, `null` nor in quotes",
            shown(&text)
        );
        Err(JsonError { place, problem: Problem::Syntax { detail } })
    }

    fn text(&mut self) -> Result<String, JsonError> {
        self.next();
        let mut out = String::new();
        loop {
            match self.peek() {
                None => return Err(self.fail("a text in quotes does not end")),
                Some('"') => {
                    self.next();
                    return Ok(out);
                }
                Some('\\') => {
                    self.next();
                    out.push(self.escape()?);
                }
                Some(c) if c < ' ' => {
                    return Err(self.fail(format!(
                        "`{}` inside a text must be written as an escape",
                        c.escape_default()
                    )));
                }
                Some(c) => {
                    self.next();
                    out.push(c);
                }
            }
        }
    }

    fn escape(&mut self) -> Result<char, JsonError> {
        let c = match self.peek() {
            Some(c @ ('"' | '\\' | '/')) => c,
            Some('b') => '\u{8}',
            Some('f') => '\u{c}',
            Some('n') => '\n',
            Some('r') => '\r',
            Some('t') => '\t',
            Some('u') => {
                self.next();
                return self.unicode();
            }
            _ => return Err(self.unexpected("one of `\"\\/bfnrtu` after `\\`")),
        };
        self.next();
        Ok(c)
    }

    fn unicode(&mut self) -> Result<char, JsonError> {
        let first = self.hex4()?;
        let code = match first {
            0xd800..=0xdbff => {
                if self.next() != Some('\\') || self.next() != Some('u') {
                    return Err(self.fail("half of a surrogate pair"));
                }
                let second = self.hex4()?;
                if !(0xdc00..=0xdfff).contains(&second) {
                    return Err(self.fail("half of a surrogate pair"));
                }
                0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00)
            }
            code => code,
        };
        char::from_u32(code).ok_or_else(|| self.fail("half of a surrogate pair"))
    }

    fn hex4(&mut self) -> Result<u32, JsonError> {
        let mut code = 0;
        for _ in 0..4 {
            match self.peek().and_then(|c| c.to_digit(16)) {
                Some(digit) => code = code * 16 + digit,
                None => return Err(self.unexpected("four hexadecimal digits after `\\u`")),
            }
            self.next();
        }
        Ok(code)
    }
}

#[cfg(test)]
mod tests {
    use super::parse;
    use crate::node::Value;

    #[test]
    fn texts_are_read_as_json_and_not_as_yaml_would() {
        for (json, expected) in [
            (r#""a\/b""#, "a/b"),
            (r#""\ud83d\ude00""#, "😀"),
            (r#""\u0041\t\b\f\n\r\"\\""#, "A\t\u{8}\u{c}\n\r\"\\"),
            ("\t\r\n\"x\"\t", "x"),
            ("1.10", "1.10"),
            ("-0", "-0"),
            ("1E+5", "1E+5"),
        ] {
            let (node, _) = parse(json).unwrap_or_else(|e| panic!("{json}: {e:?}"));
            let Value::Scalar(scalar) = node.value else { panic!("{json}") };
            assert_eq!(scalar.text, expected, "{json}");
        }
    }

    #[test]
    fn what_json_forbids_is_refused_at_its_place() {
        for (json, place, part) in [
            ("", "1:1", "the text ends"),
            ("{", "1:2", "a name in double quotes"),
            ("{\"a\" 1}", "1:6", "expected `:`"),
            ("{\"a\":1,}", "1:8", "a name in double quotes"),
            ("[1,]", "1:4", "expected a value"),
            ("[1\n 2]", "2:2", "expected `,` or `]`"),
            ("{a: 1}", "1:2", "a name in double quotes"),
            ("'a'", "1:1", "expected a value"),
            ("01", "1:1", "`01` is neither"),
            ("TRUE", "1:1", "`TRUE` is neither"),
            ("\"\n\"", "1:2", "must be written as an escape"),
            ("\"\\x\"", "1:3", "after `\\`"),
            ("\"\\ud800\"", "1:9", "half of a surrogate pair"),
            ("\"\\ude00\"", "1:8", "half of a surrogate pair"),
            ("\"\\u12g4\"", "1:6", "four hexadecimal digits"),
            ("\"abc", "1:5", "does not end"),
            ("1 2", "1:3", "after the end of the document"),
        ] {
            let error = parse(json).err().unwrap_or_else(|| panic!("{json} was accepted"));
            assert_eq!(error.place.at.to_string(), place, "{json}");
            assert!(error.problem.to_string().contains(part), "{json}: {}", error.problem);
        }
    }
}
