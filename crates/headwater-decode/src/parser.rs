//! The parser: JSON into columns, each value read as what its column wants.
//!
//! The usual case of each type is inlined here; everything else leaves through functions marked cold.

use headwater_connect::json_scan::{
    RunEnd, ScanError, TRUNCATED, colon_end, python_number_end, run_end, scalar_end, skip_space, value_end,
    value_end_python,
};

use crate::coerce::{self, Converted, Refused, Token};
use crate::column::{Column, Data, Full, List, Map};
use crate::object::{Action, Member, Object, Plan};
use crate::{Profile, number, text, time};

/// Why a record was not read. What was appended of it stays until it is truncated.
#[derive(Debug)]
pub(crate) enum Problem {
    /// The page is not JSON.
    Malformed(ScanError),
    /// A value does not fit its column.
    Unfit(Unfit),
    /// A column is full.
    Full {
        /// Names from the column outwards.
        path: Vec<Box<str>>,
    },
}

/// A value that does not fit its column.
#[derive(Debug)]
pub(crate) struct Unfit {
    /// Names from the column outwards.
    pub(crate) path: Vec<Box<str>>,
    /// Where the value is.
    pub(crate) at: usize,
    /// No value is there.
    pub(crate) missing: bool,
    pub(crate) reason: String,
}

impl From<ScanError> for Box<Problem> {
    #[cold]
    fn from(error: ScanError) -> Self {
        Box::new(Problem::Malformed(error))
    }
}

impl From<Full> for Box<Problem> {
    #[cold]
    fn from(_: Full) -> Self {
        Box::new(Problem::Full { path: Vec::new() })
    }
}

#[cold]
fn unfit(at: usize, reason: impl Into<String>) -> Box<Problem> {
    Box::new(Problem::Unfit(Unfit { path: Vec::new(), at, missing: false, reason: reason.into() }))
}

impl Problem {
    /// The same problem, seen from the struct, list or map around the column of that name.
    #[cold]
    fn within(mut self: Box<Self>, name: &str) -> Box<Self> {
        match &mut *self {
            Problem::Malformed(_) => {}
            Problem::Unfit(Unfit { path, .. }) | Problem::Full { path } => path.push(name.into()),
        }
        self
    }
}

/// How things stood before a value.
#[derive(Debug, Clone, Copy)]
struct Mark {
    rows: usize,
    nulled: u64,
}

type Parsed = Result<usize, Box<Problem>>;

/// Reads one page.
#[derive(Debug)]
pub(crate) struct Parser<'a> {
    /// The page; valid UTF-8.
    pub(crate) body: &'a [u8],
    pub(crate) profile: Profile,
    /// Values that do not fit become null where they may.
    pub(crate) null_unfit: bool,
    /// How many did.
    pub(crate) nulled: u64,
}

impl Parser<'_> {
    /// The place behind the value at `at`, fully checked.
    pub(crate) fn value_end(&self, at: usize) -> Result<usize, ScanError> {
        match self.profile {
            Profile::Json => value_end(self.body, at),
            Profile::Python => value_end_python(self.body, at),
        }
    }

    /// Appends the value at `at` to `column`; gives the place behind it.
    #[inline(never)]
    fn value(&mut self, column: &mut Column, at: usize) -> Parsed {
        self.value_inlined(column, at)
    }

    /// As [`Parser::value`], for the places where most values are read.
    #[inline(always)]
    fn value_inlined(&mut self, column: &mut Column, at: usize) -> Parsed {
        let body = self.body;
        let quoted = body.get(at) == Some(&b'"');
        match &mut column.data {
            Data::Text(strings) if quoted && strings.max_chars.is_none() => {
                let end = text::append(body, at + 1, &mut strings.bytes)?;
                strings.end()?;
                return Ok(end);
            }
            Data::Long(values) => {
                if let Some((value, end)) = number::fast_integer(body, at) {
                    values.push(value);
                    return Ok(end);
                }
            }
            Data::Timestamp(times) if quoted => {
                if let Some((micros, end)) = time::fast_timestamp(body, at + 1, &mut times.cache) {
                    times.values.push(micros);
                    return Ok(end);
                }
            }
            Data::Double(values) => {
                if let Some((value, end)) = number::fast_double(body, at) {
                    values.push(value);
                    return Ok(end);
                }
            }
            Data::Boolean(values) => {
                let word = body.get(at..).and_then(<[u8]>::first_chunk::<4>);
                if word == Some(b"true") {
                    values.push(true);
                    return Ok(at + 4);
                }
                if word == Some(b"fals") && body.get(at + 4) == Some(&b'e') {
                    values.push(false);
                    return Ok(at + 5);
                }
            }
            Data::Struct(object) if body.get(at) == Some(&b'{') => {
                let before = Mark { rows: object.rows, nulled: self.nulled };
                return match self.object(object, at) {
                    Err(problem) => self.recover(column, before, at, problem),
                    end => end,
                };
            }
            Data::List(list) if body.get(at) == Some(&b'[') => {
                let nulled = self.nulled;
                return match self.list(list, at) {
                    // A list that failed has not been ended, so that the column does not count it.
                    Err(problem) => self.recover(column, Mark { rows: column.len(), nulled }, at, problem),
                    end => end,
                };
            }
            _ => {}
        }
        self.null_or_other(column, at)
    }

    #[inline(never)]
    fn null_or_other(&mut self, column: &mut Column, at: usize) -> Parsed {
        let body = self.body;
        if let Data::Integer(values) = &mut column.data
            && let Some((value, end)) = number::fast_integer(body, at)
            && let Ok(value) = i32::try_from(value)
        {
            values.push(value);
            return Ok(end);
        }
        if column.nullable && body.get(at..).is_some_and(|rest| rest.starts_with(b"null")) {
            column.push_null();
            return Ok(at + 4);
        }
        self.other_value(column, at)
    }

    /// A value that is not of its column's own JSON type, or is wrong.
    #[cold]
    fn other_value(&mut self, column: &mut Column, at: usize) -> Parsed {
        // A plan may have been learned where less space stood behind the colon.
        let value = skip_space(self.body, at);
        if value != at {
            return self.value(column, value);
        }
        let before = Mark { rows: column.len(), nulled: self.nulled };
        match self.convert(column, at) {
            Err(problem) => self.recover(column, before, at, problem),
            end => end,
        }
    }

    #[cold]
    fn convert(&mut self, column: &mut Column, at: usize) -> Parsed {
        let body = self.body;
        let raw =
            |end: usize| body.get(at..end).and_then(|raw| std::str::from_utf8(raw).ok()).unwrap_or_default();
        let first = body.get(at).copied();
        if first == Some(b'n') {
            let end = scalar_end(body, at)?;
            if !column.nullable {
                return Err(unfit(at, "null, and the column may not be null"));
            }
            column.push_null();
            return Ok(end);
        }
        match (&mut column.data, first) {
            (Data::Map(map), Some(b'{')) => return self.map(map, at),
            (Data::List(list), Some(first)) if first != b'[' => {
                if !list.element.nullable {
                    self.value_end(at)?;
                    return Err(unfit(at, "not a list"));
                }
                let end = self.value(&mut list.element, at).map_err(|p| p.within("element"))?;
                list.end()?;
                return Ok(end);
            }
            _ => {}
        }
        let (token, end) = match first {
            Some(b'"') => coerce::text_token(body, at)?,
            Some(b'{') => self.value_end(at).map(|end| (Token::Object(raw(end)), end))?,
            Some(b'[') => self.value_end(at).map(|end| (Token::Array(raw(end)), end))?,
            Some(b't' | b'f') => scalar_end(body, at).map(|end| (Token::Bool(end == at + 4), end))?,
            _ => {
                let named = if self.profile == Profile::Python { python_number_end(body, at) } else { None };
                let end = match named {
                    Some(end) => end,
                    None => scalar_end(body, at)?,
                };
                (Token::Number(raw(end)), end)
            }
        };
        match coerce::append(&mut column.data, &token, self.profile) {
            Ok(Converted::Value) => Ok(end),
            Ok(Converted::Null) if column.nullable => {
                column.push_null();
                Ok(end)
            }
            Ok(Converted::Null) => Err(unfit(at, "stands for null, and the column may not be null")),
            Err(Refused::Unfit(reason)) => Err(unfit(at, reason)),
            Err(Refused::Full) => Err(Full.into()),
            Err(Refused::Malformed(error)) => Err(error.into()),
        }
    }

    /// Sets a value that does not fit to null, where that is asked for and the column may be null.
    #[cold]
    fn recover(&mut self, column: &mut Column, before: Mark, at: usize, problem: Box<Problem>) -> Parsed {
        if !self.null_unfit || !column.nullable || !matches!(*problem, Problem::Unfit(_)) {
            return Err(problem);
        }
        let end = self.value_end(at)?;
        column.truncate(before.rows);
        column.push_null();
        self.nulled = before.nulled + 1;
        Ok(end)
    }

    fn list(&mut self, list: &mut List, at: usize) -> Parsed {
        let body = self.body;
        let mut at = skip_space(body, at + 1);
        if body.get(at) == Some(&b']') {
            list.end()?;
            return Ok(at + 1);
        }
        loop {
            at = match self.value_inlined(&mut list.element, at) {
                Ok(end) => end,
                Err(problem) => return Err(problem.within("element")),
            };
            at = skip_space(body, at);
            match body.get(at) {
                Some(b',') => at = skip_space(body, at + 1),
                Some(b']') => {
                    list.end()?;
                    return Ok(at + 1);
                }
                other => return Err(expected(at, other, "a comma or `]` was expected")),
            }
        }
    }

    fn map(&mut self, map: &mut Map, start: usize) -> Parsed {
        let rows = map.key.len();
        let mut entries: Vec<(usize, usize)> = Vec::new();
        let body = self.body;
        let mut at = skip_space(body, start + 1);
        if body.get(at) != Some(&b'}') {
            loop {
                if body.get(at) != Some(&b'"') {
                    return Err(expected(at, body.get(at), "a key was expected"));
                }
                let key = at;
                at = self.value(&mut map.key, at).map_err(|p| p.within("key"))?;
                at = colon_end(body, at)?;
                entries.push((key, at));
                at = self.value(&mut map.value, at).map_err(|p| p.within("value"))?;
                at = skip_space(body, at);
                match body.get(at) {
                    Some(b',') => at = skip_space(body, at + 1),
                    Some(b'}') => break,
                    other => return Err(expected(at, other, "a comma or `}` was expected")),
                }
            }
        }
        if let Some(kept) = last_of_each_key(map, rows, &entries) {
            map.key.truncate(rows);
            map.value.truncate(rows);
            for (key, value) in kept {
                self.value(&mut map.key, key)?;
                self.value(&mut map.value, value)?;
            }
        }
        map.end()?;
        Ok(at + 1)
    }

    /// Appends the object at `start` (an opening brace) to `object`; gives the place behind it.
    pub(crate) fn object(&mut self, object: &mut Object, start: usize) -> Parsed {
        let body = self.body;
        let before = Mark { rows: object.rows, nulled: self.nulled };
        let mut at = start;
        let mut ran = false;
        let mut done = 0;
        for step in &object.plan.steps {
            let Some(value) = step.gap.end(body, at) else { break };
            if let Some(column) = object.fields.get_mut(step.field) {
                at = match self.value_inlined(column, value) {
                    Ok(end) => end,
                    Err(problem) => return Err(problem.within(&column.name)),
                };
                done += 1;
                continue;
            }
            match step.action {
                // Its place is among the fields, so that it was read above.
                Action::Field(_) => break,
                Action::Skip => at = self.value_end(skip_space(body, value))?,
                Action::Run(commas) => {
                    ran = true;
                    match run_end(body, value, commas) {
                        Ok(RunEnd::Comma(comma)) => at = comma,
                        _ => break,
                    }
                }
                Action::RunToEnd => match run_end(body, value, u32::MAX) {
                    Ok(RunEnd::Bracket(end)) if body[end] == b'}' => {
                        object.rows += 1;
                        return Ok(end + 1);
                    }
                    _ => {
                        ran = true;
                        break;
                    }
                },
            }
            done += 1;
        }
        if done == object.plan.steps.len()
            && let Some(end) = object.plan.end.as_ref().and_then(|gap| gap.end(body, at))
        {
            if object.plan.complete {
                object.rows += 1;
                return Ok(end);
            }
            return self.close(object, start, end);
        }
        if object.missed() {
            object.truncate(before.rows);
            self.nulled = before.nulled;
            return self.learn(object, start);
        }
        if ran {
            // The place where a run ended is not to be trusted when something else follows than expected.
            object.truncate(before.rows);
            self.nulled = before.nulled;
            (at, done) = (start, 0);
        }
        self.other_object(object, start, at, done)
    }

    /// Sets the fields that did not come to null, and counts the object.
    fn close(&mut self, object: &mut Object, start: usize, end: usize) -> Parsed {
        let rows = object.rows;
        for field in &mut object.fields {
            if field.len() > rows {
                continue;
            }
            if !field.nullable {
                let missing = Unfit {
                    path: vec![field.name.clone()],
                    at: start,
                    missing: true,
                    reason: "missing, and the column may not be null".into(),
                };
                return Err(Box::new(Problem::Unfit(missing)));
            }
            field.push_null();
        }
        object.rows += 1;
        Ok(end)
    }

    /// An object that has not the layout of the plan, from `at` on, where step `step` of the plan comes next.
    #[cold]
    fn other_object(&mut self, object: &mut Object, start: usize, mut at: usize, mut step: usize) -> Parsed {
        let rows = object.rows;
        let mut guess = 0;
        loop {
            let member = match self.planned(object, at, step) {
                Some(member) => {
                    step += 1;
                    member
                }
                None => match self.next_member(object, at, start, guess)? {
                    Next::Member(member) => member,
                    Next::End(end) => return self.close(object, start, end),
                },
            };
            at = self.member(object, &member, rows)?;
            if let Some(place) = member.field {
                step = object.plan.after.get(place).copied().unwrap_or(step);
                guess = place + 1;
            }
        }
    }

    /// Reads an object key by key, and keeps its layout.
    #[cold]
    fn learn(&mut self, object: &mut Object, start: usize) -> Parsed {
        let rows = object.rows;
        let mut members = Vec::new();
        let mut twice = false;
        let mut at = start;
        let mut guess = 0;
        loop {
            match self.next_member(object, at, start, guess)? {
                Next::Member(member) => {
                    if let Some(place) = member.field {
                        twice |= object.fields[place].len() > rows;
                        guess = place + 1;
                    }
                    at = self.member(object, &member, rows)?;
                    members.push(member);
                }
                Next::End(end) => {
                    if !twice {
                        object.plan = Plan::learn(self.body, &members, at, end, object.fields.len());
                    }
                    return self.close(object, start, end);
                }
            }
        }
    }

    /// Appends the value of a member, or passes over it.
    fn member(&mut self, object: &mut Object, member: &Member, rows: usize) -> Parsed {
        let Some(place) = member.field else {
            return Ok(self.value_end(skip_space(self.body, member.value))?);
        };
        let column = &mut object.fields[place];
        if column.len() > rows {
            // Of two equal keys the later wins.
            column.truncate(rows);
        }
        match self.value(column, member.value) {
            Ok(end) => Ok(end),
            Err(problem) => Err(problem.within(&column.name)),
        }
    }

    /// The next member, where it is the one that the plan has at `step`.
    fn planned(&self, object: &Object, at: usize, step: usize) -> Option<Member> {
        let step = object.plan.steps.get(step)?;
        let field = match step.action {
            Action::Field(place) => Some(place),
            Action::Skip => None,
            Action::Run(_) | Action::RunToEnd => return None,
        };
        let value = step.gap.end(self.body, at)?;
        let comma = skip_space(self.body, at);
        Some(Member { from: at, comma, value, field })
    }

    /// Reads separator, key and colon: the next member, or the end of the object.
    fn next_member(
        &self,
        object: &Object,
        from: usize,
        start: usize,
        guess: usize,
    ) -> Result<Next, Box<Problem>> {
        let body = self.body;
        let comma = skip_space(body, from);
        let first = from == start;
        let key = match body.get(comma) {
            Some(b'}') if !first => return Ok(Next::End(comma + 1)),
            Some(b'{') if first => skip_space(body, comma + 1),
            Some(b',') if !first => skip_space(body, comma + 1),
            other => return Err(expected(comma, other, "a comma or `}` was expected")),
        };
        match body.get(key) {
            Some(b'"') => {}
            Some(b'}') if first => return Ok(Next::End(key + 1)),
            other => return Err(expected(key, other, "a key was expected")),
        }
        let (name, end) = text::read(body, key)?;
        let value = colon_end(body, end)?;
        Ok(Next::Member(Member { from, comma, value, field: object.place(&name, guess) }))
    }
}

/// What stands next in an object.
enum Next {
    Member(Member),
    /// The end of the object; this is the place behind it.
    End(usize),
}

#[cold]
fn expected(at: usize, found: Option<&u8>, reason: &'static str) -> Box<Problem> {
    ScanError::new(at, if found.is_some() { reason } else { TRUNCATED }).into()
}

/// Where two entries have equal keys: the entries to keep, each at the place of the first with the value of the last.
fn last_of_each_key(map: &Map, rows: usize, entries: &[(usize, usize)]) -> Option<Vec<(usize, usize)>> {
    if entries.len() < 2 {
        return None;
    }
    let mut places = std::collections::HashMap::with_capacity(entries.len());
    let mut kept: Vec<(usize, usize)> = Vec::with_capacity(entries.len());
    for (i, entry) in entries.iter().enumerate() {
        let place = *places.entry(map.key.key_bytes(rows + i)).or_insert(kept.len());
        match kept.get_mut(place) {
            Some((_, value)) => *value = entry.1,
            None => kept.push(*entry),
        }
    }
    (kept.len() < entries.len()).then_some(kept)
}
