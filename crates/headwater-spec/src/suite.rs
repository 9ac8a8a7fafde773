//! What the contract suite needs to know of a connector, `simulator/suite.yaml`.

use crate::check::{self, Checked};
use crate::diagnostic::{Complaints, Parsed, Problem, Source, SpecErrors};
use crate::fields::{Field, ObjectKind, Rest, Shape, TextRule};
use crate::node::shown;

const LINE: Shape = Shape::Text(TextRule::Line);

pub(crate) static SUITE: ObjectKind = ObjectKind {
    name: "suite",
    about: "How the contract suite tests a connector. Nothing is required.",
    fields: &[
        Field::new(
            "connection",
            Shape::Texts,
            "Options of the connection with which the connector is tested against the simulator and against a \
             cassette. Secrets are made up; `{simulator}` stands for the simulator's address.",
        )
        .example(r#"{"token": "made-up-token"}"#),
        Field::new(
            "tables",
            Shape::Named(&TABLE_OPTIONS),
            "The tables to test, each with its options; all that the connector lists, without options, where it is \
             absent.",
        )
        .example(r#"{"issues": {"owner": "acme", "repo": "anvil"}}"#),
        Field::new(
            "exclude",
            Shape::Names { most: 1_000, empty: true },
            "Tables that are left out.",
        )
        .example(r#"["audit_log"]"#),
        Field::new(
            "max_reads",
            Shape::Integer { min: 1, max: 1_000_000 },
            "Reads after which a table that has not come to an end never will; 10,000 where it is absent.",
        )
        .example("500"),
        Field::new("skip", Shape::List { of: &SKIP, empty: true }, "Rules that are left out, each with the reason.")
            .example(r#"[{"rule": "R13", "table": "issues", "reason": "the source takes any time as an offset"}]"#),
        Field::new(
            "unfilled_columns",
            Shape::List { of: &UNFILLED, empty: true },
            "Columns that no record of the simulated source fills, each with the reason.",
        )
        .example(r#"[{"table": "issues", "column": "closed_by", "reason": "set by an app that is not simulated"}]"#),
    ],
    rest: Rest::Refused,
    rules: &[],
};

static TABLE_OPTIONS: ObjectKind = ObjectKind {
    name: "suite_table",
    about: "The options of a table.",
    fields: &[],
    rest: Rest::Options,
    rules: &[],
};

static SKIP: ObjectKind = ObjectKind {
    name: "suite_skip",
    about: "A rule that is left out.",
    fields: &[
        Field::new("rule", LINE, "Number of the rule.").required().example("\"R13\""),
        Field::new("table", LINE, "Only for this table; for all where it is absent.").example("\"issues\""),
        Field::new("reason", LINE, "Why; it stands in the report.")
            .required()
            .example("\"the source takes any time as an offset\""),
    ],
    rest: Rest::Refused,
    rules: &[],
};

static UNFILLED: ObjectKind = ObjectKind {
    name: "suite_unfilled",
    about: "A column that stays empty.",
    fields: &[
        Field::new("table", LINE, "The table.").required().example("\"issues\""),
        Field::new("column", LINE, "The column; `a.b` for a field of a struct, with all below it.")
            .required()
            .example("\"closed_by\""),
        Field::new("reason", LINE, "Why; it stands in the report.")
            .required()
            .example("\"set by an app that is not simulated\""),
    ],
    rest: Rest::Refused,
    rules: &[],
};

/// What `simulator/suite.yaml` beside a connector says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SuiteSpec {
    /// Options of the connection, as written.
    pub connection: Vec<(String, String)>,
    /// The tables with their options, in the order of the document; all that are listed where it is empty.
    pub tables: Vec<(String, Vec<(String, String)>)>,
    /// Tables that are left out.
    pub exclude: Vec<String>,
    /// Reads after which a table that has not ended never will.
    pub max_reads: Option<usize>,
    /// Rules that are left out.
    pub skip: Vec<SkippedRule>,
    /// Columns that stay empty.
    pub unfilled_columns: Vec<UnfilledColumn>,
}

/// A rule that is left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SkippedRule {
    /// Its number.
    pub rule: u32,
    /// The table; all of them where there is none.
    pub table: Option<String>,
    /// Why.
    pub reason: String,
}

/// A column that no record fills.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnfilledColumn {
    /// The table.
    pub table: String,
    /// Its path, such as `user.email`.
    pub column: String,
    /// Why.
    pub reason: String,
}

impl SuiteSpec {
    /// Reads the file from YAML or JSON. `file_name` is shown in errors.
    ///
    /// # Errors
    /// Everything that is wrong with the document, not only the first of it.
    pub fn parse(text: &str, file_name: &str) -> Result<Parsed<SuiteSpec>, SpecErrors> {
        // A file that holds nothing, or comments only, leaves everything as it is.
        if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
            return Complaints::new(Source::new(file_name, text)).finish(Some(SuiteSpec::default()));
        }
        let (mut complaints, checked) = check::document(text, file_name, &SUITE);
        let spec = checked.map(|top| build(&top, &mut complaints));
        complaints.finish(spec)
    }

    /// As [`SuiteSpec::parse`], for the bytes of a file.
    ///
    /// # Errors
    /// As there, and bytes that are not UTF-8.
    pub fn parse_bytes(bytes: &[u8], file_name: &str) -> Result<Parsed<SuiteSpec>, SpecErrors> {
        match check::text_of(bytes, file_name) {
            Ok(text) => Self::parse(text, file_name),
            Err(complaints) => complaints.finish(None),
        }
    }
}

fn build(top: &Checked, complaints: &mut Complaints) -> SuiteSpec {
    let tables = top.named("tables").into_iter().flatten().map(|(name, options)| {
        let options = options.rest.iter().map(|(key, node)| (key.text.clone(), node.option_text()));
        (name.clone(), options.collect())
    });
    let tables = tables.collect();
    let mut skip = Vec::new();
    for checked in top.list("skip").into_iter().flatten() {
        let (Some(rule), Some(reason)) = (checked.text("rule"), checked.text("reason")) else { continue };
        match number(&rule) {
            Some(rule) => skip.push(SkippedRule { rule, table: checked.text("table"), reason }),
            None => {
                let reason = "is not the number of a rule".to_owned();
                let problem = Problem::BadValue { value: shown(&rule), reason };
                complaints.add(checked.place_of("rule"), &checked.path_of("rule"), problem, |d| {
                    d.hint("write `R` and its number, such as `R13`")
                });
            }
        }
    }
    let unfilled = top.list("unfilled_columns").into_iter().flatten().filter_map(|checked| {
        Some(UnfilledColumn {
            table: checked.text("table")?,
            column: checked.text("column")?,
            reason: checked.text("reason")?,
        })
    });
    SuiteSpec {
        connection: top.texts("connection").cloned().unwrap_or_default(),
        tables,
        exclude: top.names("exclude").unwrap_or_default(),
        max_reads: top.integer("max_reads").and_then(|n| usize::try_from(n).ok()),
        skip,
        unfilled_columns: unfilled.collect(),
    }
}

/// Reads `R13`.
fn number(text: &str) -> Option<u32> {
    text.trim().strip_prefix(['R', 'r'])?.parse().ok().filter(|n| *n > 0)
}

#[cfg(test)]
mod tests {
    use super::{SkippedRule, SuiteSpec, UnfilledColumn};

    fn check(text: &str, expect: &[&str]) {
        let found: Vec<String> = match SuiteSpec::parse(text, "suite.yaml") {
            Ok(_) => Vec::new(),
            Err(errors) => errors.errors.iter().map(ToString::to_string).collect(),
        };
        assert_eq!(found, expect, "{text}");
    }

    #[test]
    fn what_a_suite_needs_is_read() {
        let text = "connection: {token: made-up, page_size: 10}\ntables:\n  issues: {owner: acme, labels: [a, b]}\n  users: {}\nexclude: [audit]\nmax_reads: 50\nskip:\n  - {rule: R13, table: issues, reason: any time will do}\n  - {rule: r26, reason: never fails}\nunfilled_columns:\n  - {table: issues, column: closed.by, reason: unused}\n";
        let spec = SuiteSpec::parse(text, "suite.yaml").unwrap().value;
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            spec,
            SuiteSpec {
                connection: vec![pair("token", "made-up"), pair("page_size", "10")],
                tables: vec![
                    ("issues".into(), vec![pair("owner", "acme"), pair("labels", r#"["a","b"]"#)]),
                    ("users".into(), vec![]),
                ],
                exclude: vec!["audit".into()],
                max_reads: Some(50),
                skip: vec![
                    SkippedRule { rule: 13, table: Some("issues".into()), reason: "any time will do".into() },
                    SkippedRule { rule: 26, table: None, reason: "never fails".into() },
                ],
                unfilled_columns: vec![UnfilledColumn {
                    table: "issues".into(),
                    column: "closed.by".into(),
                    reason: "unused".into()
                }],
            }
        );
        for text in ["", "# nothing\n"] {
            assert_eq!(SuiteSpec::parse(text, "suite.yaml").unwrap().value, SuiteSpec::default());
        }
    }

    #[test]
    fn what_is_wrong_has_its_place() {
        check("skips: []\n", &["suite.yaml:1:1: skips: unknown field `skips`"]);
        check("skip:\n  - {rule: R1}\n", &["suite.yaml:2:5: skip[0]: missing field `reason`"]);
        check(
            "skip:\n  - {rule: names, reason: x}\n",
            &["suite.yaml:2:12: skip[0].rule: `names` is not the number of a rule"],
        );
        check(
            "max_reads: 0\n",
            &["suite.yaml:1:12: max_reads: expected an integer from 1 to 1000000, found the number 0"],
        );
        check("tables: [a]\n", &["suite.yaml:1:9: tables: expected a map, found a list"]);
        check(
            "unfilled_columns:\n  - {table: a, reason: x}\n",
            &["suite.yaml:2:5: unfilled_columns[0]: missing field `column`"],
        );
    }
}
