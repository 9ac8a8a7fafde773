//! The report as JUnit's XML, which continuous integration shows.

use std::io::{self, Write};
use std::time::Duration;

use quick_xml::Writer;
use quick_xml::events::{BytesDecl, BytesEnd, BytesStart, BytesText, Event};

use crate::{Outcome, Report, TestResult};

impl Report {
    /// Writes the report as JUnit's XML: a suite for each table, a case for each rule. A warning is a case that
    /// passed, with its text as the case's output.
    ///
    /// # Errors
    /// What `to` says.
    pub fn write_junit(&self, to: impl Write) -> io::Result<()> {
        let mut xml = Writer::new_with_indent(to, b' ', 2);
        xml.write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))?;
        let name = format!("headwater test {}", self.connector);
        let all: Vec<&TestResult> = self.tests.iter().collect();
        xml.write_event(Event::Start(suite("testsuites", &name, &all)))?;
        let mut groups: Vec<(Option<&str>, Vec<&TestResult>)> = Vec::new();
        for test in &self.tests {
            let table = test.table.as_deref();
            match groups.iter_mut().find(|(name, _)| *name == table) {
                Some((_, tests)) => tests.push(test),
                None => groups.push((table, vec![test])),
            }
        }
        for (table, tests) in groups {
            let name = match table {
                Some(table) => format!("{}.{}", self.connector, clean(table)),
                None => self.connector.clone(),
            };
            xml.write_event(Event::Start(suite("testsuite", &name, &tests)))?;
            for test in tests {
                case(&mut xml, &name, test)?;
            }
            xml.write_event(Event::End(BytesEnd::new("testsuite")))?;
        }
        xml.write_event(Event::End(BytesEnd::new("testsuites")))?;
        let mut to = xml.into_inner();
        to.write_all(b"\n")?;
        to.flush()
    }
}

fn suite<'a>(element: &'a str, name: &str, tests: &[&TestResult]) -> BytesStart<'a> {
    let count = |of: fn(&Outcome) -> bool| tests.iter().filter(|t| of(&t.outcome)).count().to_string();
    let took: Duration = tests.iter().map(|test| test.took).sum();
    let mut start = BytesStart::new(element);
    start.push_attribute(("name", clean(name).as_str()));
    start.push_attribute(("tests", tests.len().to_string().as_str()));
    start.push_attribute(("failures", count(|o| matches!(o, Outcome::Failed { .. })).as_str()));
    start.push_attribute(("skipped", count(|o| matches!(o, Outcome::Skipped { .. })).as_str()));
    start.push_attribute(("time", seconds(took).as_str()));
    start
}

fn case(xml: &mut Writer<impl Write>, class: &str, test: &TestResult) -> io::Result<()> {
    let mut start = BytesStart::new("testcase");
    start.push_attribute(("classname", clean(class).as_str()));
    start.push_attribute(("name", format!("R{} {}", test.rule.number, test.rule.title).as_str()));
    start.push_attribute(("time", seconds(test.took).as_str()));
    let mut inner = |element: &str, message: Option<&str>, text: &str| -> io::Result<()> {
        xml.write_event(Event::Start(start.borrow()))?;
        let mut child = BytesStart::new(element);
        if let Some(message) = message {
            child.push_attribute(("message", clean(message).as_str()));
        }
        xml.write_event(Event::Start(child))?;
        xml.write_event(Event::Text(BytesText::new(&clean(text))))?;
        xml.write_event(Event::End(BytesEnd::new(element)))?;
        xml.write_event(Event::End(BytesEnd::new("testcase")))
    };
    match &test.outcome {
        Outcome::Passed => xml.write_event(Event::Empty(start)),
        Outcome::Failed { seen } => {
            inner("failure", Some(seen), &format!("{seen}\nto change: {}", test.rule.change))
        }
        Outcome::Skipped { reason } => inner("skipped", Some(reason), ""),
        Outcome::Warned { seen } => inner("system-out", None, &format!("warning: {seen}")),
    }
}

fn seconds(took: Duration) -> String {
    format!("{:.3}", took.as_secs_f64())
}

/// XML has no way to say most control characters; what a source sends may hold any.
fn clean(text: &str) -> String {
    let allowed =
        |c: char| matches!(c, '\t' | '\n' | '\r') || (c >= ' ' && c != '\u{fffe}' && c != '\u{ffff}');
    text.chars().map(|c| if allowed(c) { c } else { '\u{fffd}' }).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::{Outcome, Report, Rule, TestResult};

    fn test(rule: u32, table: Option<&str>, outcome: Outcome) -> TestResult {
        let rule = Rule::of(rule).unwrap();
        TestResult { rule, table: table.map(str::to_owned), outcome, took: Duration::from_millis(1500) }
    }

    #[test]
    fn a_report_is_well_formed_xml_whatever_was_seen() {
        let seen = "a <record> & \"more\" ]]> \u{0} \u{1b}[31m".to_owned();
        let report = Report {
            connector: "c".into(),
            tests: vec![
                test(1, None, Outcome::Passed),
                test(8, Some("t<"), Outcome::Failed { seen: seen.clone() }),
                test(13, Some("t<"), Outcome::Warned { seen: seen.clone() }),
                test(9, Some("t<"), Outcome::Skipped { reason: seen }),
            ],
        };
        let mut xml = Vec::new();
        report.write_junit(&mut xml).unwrap();
        let text = String::from_utf8(xml).unwrap();
        let mut reader = quick_xml::Reader::from_str(&text);
        reader.config_mut().check_end_names = true;
        let (mut cases, mut failures) = (0, 0);
        loop {
            use quick_xml::events::Event;
            match reader.read_event().unwrap() {
                Event::Eof => break,
                Event::Start(e) | Event::Empty(e) => {
                    cases += usize::from(e.name().as_ref() == b"testcase");
                    failures += usize::from(e.name().as_ref() == b"failure");
                    for attribute in e.attributes() {
                        attribute.unwrap();
                    }
                }
                _ => {}
            }
        }
        assert_eq!((cases, failures), (4, 1), "{text}");
        assert!(
            text.contains(
                r#"<testsuites name="headwater test c" tests="4" failures="1" skipped="1" time="6.000">"#
            ),
            "{text}"
        );
        assert!(text.contains(r#"<testsuite name="c.t&lt;" tests="3""#), "{text}");
        assert!(
            text.contains(r#"name="R1 tables are named once and can be described" time="1.500"/>"#),
            "{text}"
        );
        assert!(!text.contains(['\u{0}', '\u{1b}']), "{text}");
    }
}
