//! How a document is described: objects, their fields, what a field may hold.

/// An object of a document: its fields and what holds between them.
#[derive(Debug)]
pub(crate) struct ObjectKind {
    /// Name of its definition in the JSON Schema.
    pub(crate) name: &'static str,
    /// What it is, for the reference.
    pub(crate) about: &'static str,
    pub(crate) fields: &'static [Field],
    pub(crate) rest: Rest,
    pub(crate) rules: &'static [Rule],
}

/// What becomes of a field that is not in the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rest {
    /// An error.
    Refused,
    /// A warning: the document may be another's, made for a later version.
    Ignored,
    /// Options: names are found without regard to case, and what is not ours is handed on as text.
    Options,
}

/// What must hold between fields of one object.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Rule {
    /// One of them and no more.
    ExactlyOne(&'static [&'static str]),
    /// Not both.
    NotBoth(&'static str, &'static str),
    /// The second is needed unless the first is there.
    NeededUnless(&'static str, &'static str),
    /// Unless the first is there, the second is a name for the lake.
    LakeNameUnless(&'static str, &'static str),
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Field {
    pub(crate) name: &'static str,
    /// Another name of the same field.
    pub(crate) alias: Option<&'static str>,
    pub(crate) need: Need,
    pub(crate) shape: Shape,
    pub(crate) about: &'static str,
    /// An example value, as JSON.
    pub(crate) example: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    Required,
    Optional,
    /// Part of the public format, accepted with a warning.
    Ignored,
}

/// What a field may hold.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Shape {
    Text(TextRule),
    /// One of these, in any case.
    Choice(&'static [&'static str]),
    Flag,
    Integer {
        min: i64,
        max: i64,
    },
    /// A list of texts, or one text with commas; no more than `most`; `empty` says whether none is fine.
    Names {
        most: usize,
        empty: bool,
    },
    /// A map of texts.
    Texts,
    Object(&'static ObjectKind),
    /// A map of objects by names of the user's choice.
    Named(&'static ObjectKind),
    /// A list of objects; `empty` says whether none is fine.
    List {
        of: &'static ObjectKind,
        empty: bool,
    },
    /// A list of texts or of objects that have a `name`.
    NamesOrObjects,
    /// One scalar of any type.
    Scalar,
    /// A list of scalars.
    Scalars,
    Any,
}

/// What a text must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TextRule {
    /// Something other than blanks, on one line.
    Line,
    /// Any text, of any number of lines.
    Free,
    /// Part of a table's name in the lake.
    LakeName,
    /// A Quartz cron expression.
    Cron,
    /// The name of a time zone.
    TimeZone,
    /// A length of time, or `keep` for one without end.
    Retention,
}

impl Field {
    pub(crate) const fn new(name: &'static str, shape: Shape, about: &'static str) -> Self {
        Field { name, alias: None, need: Need::Optional, shape, about, example: "" }
    }

    /// A field of the public format that means nothing here.
    pub(crate) const fn ignored(name: &'static str, about: &'static str) -> Self {
        Field { name, alias: None, need: Need::Ignored, shape: Shape::Any, about, example: "" }
    }

    pub(crate) const fn required(mut self) -> Self {
        self.need = Need::Required;
        self
    }

    pub(crate) const fn alias(mut self, alias: &'static str) -> Self {
        self.alias = Some(alias);
        self
    }

    pub(crate) const fn example(mut self, json: &'static str) -> Self {
        self.example = json;
        self
    }
}

impl ObjectKind {
    /// Finds a field by a name as written.
    pub(crate) fn field(&self, written: &str) -> Option<&'static Field> {
        let any_case = self.rest == Rest::Options;
        let is = |name: &str| if any_case { name.eq_ignore_ascii_case(written) } else { name == written };
        self.fields.iter().find(|f| is(f.name) || f.alias.is_some_and(is))
    }

    /// The names that may be written, without those that would be ignored.
    pub(crate) fn names(&self) -> impl Iterator<Item = &'static str> {
        self.fields
            .iter()
            .filter(|f| f.need != Need::Ignored)
            .flat_map(|f| std::iter::once(f.name).chain(f.alias))
    }
}
