//! Objects: their fields, and the layout that their records were last seen in.
//!
//! A [`Plan`] holds the raw bytes that stood between one value and the next, separators, white space and
//! key included, so that a record of the same layout costs one comparison per field instead of a key to be read.

use std::collections::HashMap;

use headwater_connect::StructField;
use headwater_connect::json_scan::chunk16;

use crate::column::Column;

/// The fields of a struct (or of the records themselves) under construction.
#[derive(Debug)]
pub(crate) struct Object {
    pub(crate) fields: Vec<Column>,
    pub(crate) rows: usize,
    pub(crate) plan: Plan,
    places: HashMap<Box<str>, usize>,
    /// Objects that did not have the layout of the plan.
    misses: u64,
}

impl Object {
    pub(crate) fn new(fields: &[StructField]) -> Self {
        let places = fields.iter().enumerate().map(|(i, f)| (f.name.as_str().into(), i)).collect();
        let fields = fields.iter().map(Column::new).collect();
        Self { fields, rows: 0, plan: Plan::default(), places, misses: 0 }
    }

    /// Goes back to `rows` objects, and drops what was appended of a further one.
    pub(crate) fn truncate(&mut self, rows: usize) {
        self.fields.iter_mut().for_each(|field| field.truncate(rows));
        self.rows = rows;
    }

    /// The field of that name; `guess` is looked at first.
    pub(crate) fn place(&self, name: &str, guess: usize) -> Option<usize> {
        if self.fields.get(guess).is_some_and(|field| *field.name == *name) {
            return Some(guess);
        }
        self.places.get(name).copied()
    }

    /// Counts an object that did not have the layout of the plan, and says whether to learn its layout: often at
    /// first, and seldom where layouts keep changing.
    pub(crate) fn missed(&mut self) -> bool {
        self.misses += 1;
        if self.misses <= 64 { self.misses.is_power_of_two() } else { self.misses.is_multiple_of(256) }
    }
}

/// Bytes that are expected.
#[derive(Debug)]
pub(crate) struct Gap {
    first: u128,
    mask: u128,
    len: usize,
    bytes: Box<[u8]>,
}

impl Gap {
    fn new(bytes: &[u8]) -> Self {
        let mut first = [0; 16];
        let mut mask = [0; 16];
        for ((byte, first), mask) in bytes.iter().zip(&mut first).zip(&mut mask) {
            *first = *byte;
            *mask = 0xff;
        }
        Self {
            first: u128::from_le_bytes(first),
            mask: u128::from_le_bytes(mask),
            len: bytes.len(),
            bytes: bytes.into(),
        }
    }

    /// The place behind the expected bytes, where they stand at `at`. Near the end of the body they are not looked
    /// for.
    #[inline(always)]
    pub(crate) fn end(&self, body: &[u8], at: usize) -> Option<usize> {
        let chunk = u128::from_le_bytes(*chunk16(body, at)?);
        if (chunk ^ self.first) & self.mask != 0 {
            return None;
        }
        let end = at + self.len;
        if self.len > 16 && body.get(at..end) != Some(&*self.bytes) {
            return None;
        }
        Some(end)
    }
}

/// What follows the bytes of a step.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Action {
    /// The value of a field.
    Field(usize),
    /// A value that nobody wants.
    Skip,
    /// Values that nobody wants, up to the comma of this number.
    Run(u32),
    /// Values that nobody wants, up to the end of the object.
    RunToEnd,
}

/// One value, or several that nobody wants, and the bytes before.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) gap: Gap,
    /// The field whose value follows; beyond the fields where `action` is another.
    pub(crate) field: usize,
    pub(crate) action: Action,
}

impl Step {
    fn new(gap: Gap, action: Action) -> Self {
        let field = if let Action::Field(field) = action { field } else { usize::MAX };
        Self { gap, field, action }
    }
}

/// The layout of an object.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) steps: Vec<Step>,
    /// The bytes from the last value to behind the closing brace; none before anything was learned, and none behind a run.
    pub(crate) end: Option<Gap>,
    /// Every field has a step.
    pub(crate) complete: bool,
    /// The first step behind a field's own.
    pub(crate) after: Vec<usize>,
}

/// A member of an object that was read without a plan.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Member {
    /// Where the value before it ends; for the first, the opening brace.
    pub(crate) from: usize,
    /// The comma before it; for the first, the opening brace.
    pub(crate) comma: usize,
    pub(crate) value: usize,
    pub(crate) field: Option<usize>,
}

impl Plan {
    /// Makes the plan of an object with these members, in order and no field twice, that ends at `end` (behind its brace).
    ///
    /// Several members that nobody wants are passed over as one run. That is sound only where every field has a
    /// step of its own: otherwise a wanted key could hide in a run.
    pub(crate) fn learn(body: &[u8], members: &[Member], last: usize, end: usize, fields: usize) -> Self {
        let bytes = |from: usize, to: usize| Gap::new(body.get(from..to).unwrap_or_default());
        let wanted = members.iter().filter(|member| member.field.is_some()).count();
        let mut plan = Plan {
            steps: Vec::with_capacity(members.len()),
            end: Some(bytes(last, end)),
            complete: wanted == fields,
            after: vec![0; fields],
        };
        let mut in_run = false;
        for (i, member) in members.iter().enumerate() {
            // A run ends at a comma, whatever space stands before it.
            let gap = bytes(if in_run { member.comma } else { member.from }, member.value);
            in_run = false;
            let action = match member.field {
                Some(field) => {
                    if let Some(after) = plan.after.get_mut(field) {
                        *after = plan.steps.len() + 1;
                    }
                    Action::Field(field)
                }
                None if !plan.complete => Action::Skip,
                None => {
                    if let Some(Step { action: Action::Run(commas), .. }) = plan.steps.last_mut() {
                        *commas += 1;
                        in_run = true;
                        continue;
                    }
                    in_run = true;
                    let rest = members.get(i..).unwrap_or_default();
                    if rest.iter().all(|member| member.field.is_none()) {
                        plan.steps.push(Step::new(gap, Action::RunToEnd));
                        plan.end = None;
                        return plan;
                    }
                    Action::Run(1)
                }
            };
            plan.steps.push(Step::new(gap, action));
        }
        plan
    }
}
