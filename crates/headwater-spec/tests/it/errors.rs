//! What is refused, where, and with which words.

use headwater_spec::{Diagnostic, PipelineSpec};

fn line(d: &Diagnostic) -> String {
    let path = if d.path.is_empty() { String::new() } else { format!(" {}", d.path) };
    let nearest = d.nearest.as_ref().map(|n| format!(" ~{n}")).unwrap_or_default();
    format!("{}{path}: {}{nearest}", d.at, d.problem)
}

/// Expects exactly these errors: `line:column path: message ~nearest`.
fn check_file(file: &str, text: &str, expected: &[&str]) {
    let errors = match PipelineSpec::parse(text, file) {
        Ok(parsed) => panic!("accepted as {:?}\n{text}", parsed.value),
        Err(errors) => errors,
    };
    let found: Vec<String> = errors.errors.iter().map(line).collect();
    assert_eq!(found, expected, "\n{text}");
    for error in &errors.errors {
        assert_eq!(error.file, file);
    }
}

fn check(text: &str, expected: &[&str]) {
    check_file("spec.yaml", text, expected);
}

/// A spec with one table and these lines in the table, at column 7 from line 4 on.
fn check_table(lines: &str, expected: &[&str]) {
    let lines: String = lines.lines().map(|l| format!("      {l}\n")).collect();
    check(&format!("connection_name: c\nobjects:\n  - table:\n{lines}"), expected);
}

/// A spec with one table and these lines in its configuration, at column 9 from line 6 on.
fn check_configuration(lines: &str, expected: &[&str]) {
    let lines: String = lines.lines().map(|l| format!("        {l}\n")).collect();
    check(
        &format!(
            "connection_name: c\nobjects:\n  - table:\n      source_table: t\n      table_configuration:\n{lines}"
        ),
        expected,
    );
}

/// A spec with one table and these lines at the top, from line 5 on.
fn check_top(lines: &str, expected: &[&str]) {
    check(&format!("connection_name: c\nobjects:\n  - table:\n      source_table: t\n{lines}"), expected);
}

#[test]
fn a_document_must_be_one_map() {
    check("", &["1:1: the document is empty"]);
    check("# nothing\n\n", &["1:1: the document is empty"]);
    check("~", &["1:1: the document is empty"]);
    check("--- \n...\n", &["1:1: the document is empty"]);
    check("a", &["1:1: expected a map with the fields of the document, found the text `a`"]);
    check("- a\n", &["1:1: expected a map with the fields of the document, found a list"]);
    check("12", &["1:1: expected a map with the fields of the document, found the number 12"]);
    check_file("spec.json", "[]", &["1:1: expected a map with the fields of the document, found a list"]);
    check(
        "connection_name: c\nobjects: [{table: {source_table: t}}]\n---\nconnection_name: d\n",
        &["3:1: a second document starts here; a spec is one document"],
    );
}

#[test]
fn what_is_not_yaml_says_where() {
    check("a: [1", &["2:1: not valid YAML: while parsing a flow sequence, expected ',' or ']'"]);
    check("a: b: c", &["1:5: not valid YAML: mapping values are not allowed in this context"]);
    check("a: 'b", &["1:4: not valid YAML: while scanning a quoted scalar, found unexpected end of stream"]);
    check("a: *nowhere", &["1:4: not valid YAML: while parsing node, found unknown anchor"]);
    check("a: &x [*x]", &["1:8: the alias stands inside the value that it names"]);
    check("a: !!binary aGk=", &["1:4: the tag `tag:yaml.org,2002:!binary` is not supported"]);
    check("a: !Ref x", &["1:4: the tag `!Ref` is not supported"]);
    check("<<: {a: 1}", &["1:1: merge keys (`<<`) are not part of YAML 1.2"]);
    check("[a]: 1", &["1:1: expected a name before the `:`, found a list"]);
    check(": 1", &["1:1: expected a name before the `:`, found nothing"]);
    let tabs = PipelineSpec::parse("objects:\n\t- a\n", "spec.yaml").expect_err("a tab");
    let hints: Vec<&str> = tabs.errors.iter().filter_map(|e| e.hint.as_deref()).collect();
    assert_eq!(hints, ["the line is indented with a tab; YAML takes spaces only"]);
}

#[test]
fn what_is_not_json_says_where() {
    check_file("spec.json", "{\"a\": }", &["1:7: not valid JSON: expected a value, found `}`"]);
    check_file(
        "a.b.JSON",
        "a: 1",
        &["1:1: not valid JSON: `a` is neither a number, `true`, `false`, `null` nor in quotes"],
    );
    check_file(
        "spec.json",
        "{\n\"connection_name\": \"c\",\n\"objects\": [],\n\"objects\": []\n}",
        &[
            "3:12 objects: expected at least one entry, found a list",
            "4:1: field `objects` is given twice (first in line 3)",
        ],
    );
}

#[test]
fn every_missing_field_is_named() {
    check("{}", &["1:1: missing field `connection_name`", "1:1: missing field `objects`"]);
    check("name: x", &["1:1: missing field `connection_name`", "1:1: missing field `objects`"]);
    check("connection_name: c\nobjects:\n", &["1:1: missing field `objects`"]);
    check("connection_name: c\nobjects: []\n", &["2:10 objects: expected at least one entry, found a list"]);
    check(
        "ingestion_definition: {}\n",
        &[
            "1:23 ingestion_definition: missing field `connection_name`",
            "1:23 ingestion_definition: missing field `objects`",
        ],
    );
    check_table("destination_table: x", &["4:7 objects[0].table: missing field `source_table`"]);
    check_table("source_table:", &["4:7 objects[0].table.source_table: missing field `source_table`"]);
    check_table("source_table: null", &["4:21 objects[0].table.source_table: missing field `source_table`"]);
    check(
        "connection_name: c\nobjects:\n  - {}\n  - table: ~\n",
        &[
            "3:5 objects[0]: one of `table` or `schema` is needed",
            "4:5 objects[1]: one of `table` or `schema` is needed",
        ],
    );
}

#[test]
fn unknown_fields_name_the_nearest() {
    check_table(
        "source_tabel: t",
        &[
            "4:7 objects[0].table.source_tabel: unknown field `source_tabel` ~source_table",
            "4:7 objects[0].table: missing field `source_table`",
        ],
    );
    check_table(
        "source_table: t\nSource_Schema: s",
        &["5:7 objects[0].table.Source_Schema: unknown field `Source_Schema` ~source_schema"],
    );
    check_top("colour: red", &["5:1 colour: unknown field `colour`"]);
    check_top("catalogue: main", &["5:1 catalogue: unknown field `catalogue` ~catalog"]);
    check_top("event_log: {names: x}", &["5:13 event_log.names: unknown field `names` ~name"]);
    check_top(
        "trigger: {cron: {cron: x, quartz_cron_schedule: '0 0 1 * * ?'}}",
        &["5:18 trigger.cron.cron: unknown field `cron`"],
    );
    check(
        "connection_name: c\nobjects:\n  - report: {}\n",
        &[
            "3:5 objects[0].report: unknown field `report`",
            "3:5 objects[0]: one of `table` or `schema` is needed",
        ],
    );
    check(
        "connection_name: c\nobjects:\n  - schema: {exclude_table: x}\n",
        &["3:14 objects[0].schema.exclude_table: unknown field `exclude_table` ~exclude_tables"],
    );
    check_top("\"a\\u001bb\": 1", &["5:1 a\\u{1b}b: unknown field `a\\u{1b}b`"]);
}

#[test]
fn repeated_fields_name_the_first() {
    check_top("connection_name: d", &["5:1: field `connection_name` is given twice (first in line 1)"]);
    check_top("schema: s\ntarget: t", &["6:1 target: field `target` is given twice (first in line 5)"]);
    check_configuration(
        "scd_type: SCD_TYPE_1\nSCD_TYPE: SCD_TYPE_2",
        &[
            "7:9 objects[0].table.table_configuration.SCD_TYPE: field `SCD_TYPE` is given twice (first in line 6)",
        ],
    );
    check_configuration(
        "pageSize: 1\npagesize: 2",
        &[
            "7:9 objects[0].table.table_configuration.pagesize: field `pagesize` is given twice (first in line 6)",
        ],
    );
    check_configuration("filter: {a: 1, a: 2}", &["6:24: field `a` is given twice (first in line 6)"]);
}

#[test]
fn fields_that_exclude_each_other() {
    check_configuration(
        "include_columns: a\nexclude_columns: b",
        &[
            "7:9 objects[0].table.table_configuration.exclude_columns: `include_columns` and `exclude_columns` exclude each other",
        ],
    );
    check_top(
        "ingestion_definition: {connection_name: c, objects: [{schema: {}}]}",
        &[
            "5:1 ingestion_definition: `connection_name` and `ingestion_definition` exclude each other",
            "5:1 ingestion_definition: `objects` and `ingestion_definition` exclude each other",
        ],
    );
    check(
        "connection_name: c\nobjects:\n  - schema: {}\n    table: {source_table: t}\n",
        &["4:5 objects[0].table: `schema` and `table` exclude each other"],
    );
    check_top(
        "trigger: {manual: {}, periodic: {interval: 1, unit: days}}",
        &["5:23 trigger.periodic: `manual` and `periodic` exclude each other"],
    );
}

#[test]
fn values_of_a_wrong_type() {
    check_table("source_table: [a]", &["4:21 objects[0].table.source_table: expected a text, found a list"]);
    check_table(
        "source_table: ''",
        &["4:21 objects[0].table.source_table: expected a text, found an empty text"],
    );
    check_table(
        "source_table: ' '",
        &["4:21 objects[0].table.source_table: expected a text, found an empty text"],
    );
    check_table(
        "source_table: t\ntable_configuration: x",
        &["5:28 objects[0].table.table_configuration: expected a map, found the text `x`"],
    );
    check(
        "connection_name: c\nobjects: {table: {source_table: t}}\n",
        &["2:10 objects: expected a list, found a map"],
    );
    check("connection_name: c\nobjects: [t]\n", &["2:11 objects[0]: expected a map, found the text `t`"]);
    check(
        "connection_name: {}\nobjects: [{schema: {}}]\n",
        &["1:18 connection_name: expected a text, found a map"],
    );
    check_top("continuous: yes", &["5:13 continuous: expected `true` or `false`, found the text `yes`"]);
    check_top("continuous: 'true'", &["5:13 continuous: expected `true` or `false`, found the text `true`"]);
    check_top("continuous: 1", &["5:13 continuous: expected `true` or `false`, found the number 1"]);
    check_top("continuous: [true]", &["5:13 continuous: expected `true` or `false`, found a list"]);
    check_top("configuration: [a]", &["5:16 configuration: expected a map of texts, found a list"]);
    check_top(
        "configuration: {a: [1], b: }",
        &[
            "5:20 configuration.a: expected a text, found a list",
            "5:25 configuration.b: expected a text, found nothing",
        ],
    );
    check_configuration(
        "primary_keys: {a: b}",
        &[
            "6:23 objects[0].table.table_configuration.primary_keys: expected a list of texts, or one text with commas, found a map",
        ],
    );
    check_configuration(
        "primary_keys: []",
        &["6:23 objects[0].table.table_configuration.primary_keys: expected at least one name, found a list"],
    );
    check_configuration(
        "primary_keys: [id, ~]",
        &["6:28 objects[0].table.table_configuration.primary_keys[1]: expected a text, found nothing"],
    );
    check_configuration(
        "primary_keys: [id, null]",
        &["6:28 objects[0].table.table_configuration.primary_keys[1]: expected a text, found nothing"],
    );
    check_configuration(
        "primary_keys: [id, [x]]",
        &["6:28 objects[0].table.table_configuration.primary_keys[1]: expected a text, found a list"],
    );
    check_configuration(
        "primary_keys: 'id,,x'",
        &[
            "6:23 objects[0].table.table_configuration.primary_keys: `id,,x` is not a list of names with commas between them",
        ],
    );
    check_configuration(
        "primary_keys: '[\"id\", 1]'",
        &[
            "6:23 objects[0].table.table_configuration.primary_keys: `[\"id\", 1]` is not a list of names with commas between them",
        ],
    );
    check_configuration(
        "primary_keys: [id, ID]",
        &["6:28 objects[0].table.table_configuration.primary_keys: `ID` is named twice"],
    );
    check_configuration(
        "cluster_by: a,b,c,d,e",
        &[
            "6:21 objects[0].table.table_configuration.cluster_by: expected at most 4 names, found the text `a,b,c,d,e`",
        ],
    );
    check_configuration(
        "sequence_by: [a]",
        &["6:22 objects[0].table.table_configuration.sequence_by: expected a text, found a list"],
    );
}

#[test]
fn lengths_of_time() {
    for wrong in ["7", "d", "7 d", "07d", "0d", "-1d", "1.5h", "7D", "7days", "1234567890s", "for ever"] {
        let quoted = format!("tombstone_retention: '{wrong}'");
        let place = "6:30 objects[0].table.table_configuration.tombstone_retention";
        check_configuration(&quoted, &[&format!("{place}: `{wrong}` is not a length of time")]);
    }
    check_configuration(
        "tombstone_retention: 7",
        &[
            "6:30 objects[0].table.table_configuration.tombstone_retention: expected a number with its unit, such as `7d`, or `keep`, found the number 7",
        ],
    );
    check_configuration(
        "tombstone_retenton: 7d\nscd_type: SCD_TYPE_3",
        &[
            "7:19 objects[0].table.table_configuration.scd_type: `SCD_TYPE_3` is not a value of `scd_type` ~SCD_TYPE_1",
        ],
    );
}

#[test]
fn values_outside_their_set() {
    check_configuration(
        "scd_type: scd1",
        &[
            "6:19 objects[0].table.table_configuration.scd_type: `scd1` is not a value of `scd_type` ~SCD_TYPE_1",
        ],
    );
    check_configuration(
        "scd_type: 2",
        &["6:19 objects[0].table.table_configuration.scd_type: `2` is not a value of `scd_type`"],
    );
    check_configuration(
        "scd_type: [SCD_TYPE_1]",
        &["6:19 objects[0].table.table_configuration.scd_type: expected a text, found a list"],
    );
    check_configuration(
        "on_bad_record: quarantin",
        &[
            "6:24 objects[0].table.table_configuration.on_bad_record: `quarantin` is not a value of `on_bad_record` ~quarantine",
        ],
    );
    check_top(
        "trigger: {periodic: {interval: 0, unit: fortnights}}",
        &[
            "5:32 trigger.periodic.interval: expected an integer from 1 to 1000000, found the number 0",
            "5:41 trigger.periodic.unit: `fortnights` is not a value of `unit`",
        ],
    );
    check_top(
        "trigger: {periodic: {interval: 1.5, unit: hours}}",
        &["5:32 trigger.periodic.interval: expected an integer from 1 to 1000000, found the number 1.5"],
    );
    check_top(
        "trigger: {cron: {quartz_cron_schedule: '* * * * *', timezone_id: 'a b', pause_status: on}}",
        &[
            "5:40 trigger.cron.quartz_cron_schedule: `* * * * *` has five fields; the Quartz form starts with one for seconds",
            "5:66 trigger.cron.timezone_id: `a b` is not the name of a time zone",
            "5:87 trigger.cron.pause_status: `on` is not a value of `pause_status`",
        ],
    );
    check_top(
        "trigger: {cron: {quartz_cron_schedule: '0 0 1 * * ?', timezone_id: europe/pariss}}",
        &[
            "5:68 trigger.cron.timezone_id: `europe/pariss` is not the name of a time zone; did you mean `Europe/Paris`?",
        ],
    );
    check_top("trigger: {}", &["5:10 trigger: one of `cron`, `periodic` or `manual` is needed"]);
}

#[test]
fn names_that_the_lake_cannot_hold() {
    for (name, reason) in [
        ("a/b", "holds a slash"),
        ("a\\b", "holds a slash"),
        ("_a", "starts with `.` or `_`, which marks hidden folders"),
        ("..", "starts with `.` or `_`, which marks hidden folders"),
        (" a", "starts or ends with a blank"),
    ] {
        check_table(
            &format!("source_table: t\ndestination_table: '{name}'"),
            &[&format!("5:26 objects[0].table.destination_table: `{name}` {reason}")],
        );
        check_top(&format!("catalog: '{name}'"), &[&format!("5:10 catalog: `{name}` {reason}")]);
        check_table(
            &format!("source_table: '{name}'"),
            &[&format!("4:21 objects[0].table.source_table: `{name}` {reason}")],
        );
        // A source may use any name, as long as the lake has another for it.
        let fine = format!(
            "connection_name: c\nobjects: [{{table: {{source_table: '{name}', destination_table: t}}}}]\n"
        );
        assert!(PipelineSpec::parse(&fine, "spec.yaml").is_ok(), "{fine}");
    }
    check_table(
        "source_table: \"a\\nb\"",
        &["4:21 objects[0].table.source_table: `a\\nb` holds a line break or another control character"],
    );
    let long = "x".repeat(256);
    check_table(
        &format!("source_table: {long}"),
        &[&format!("4:21 objects[0].table.source_table: `{}…` is longer than 255 bytes", "x".repeat(60))],
    );
}

#[test]
fn two_things_in_one_destination() {
    check(
        "connection_name: c\nobjects:\n  - table: {source_table: a}\n  - table: {source_table: b, destination_table: A}\n",
        &[
            "4:49 objects[1].table.destination_table: `A` is already the destination of `objects[0].table` (line 3)",
        ],
    );
    check(
        "catalog: main\nschema: s\nconnection_name: c\nobjects:\n  - table: {source_table: a}\n  - table: {source_table: a, source_schema: n, destination_catalog: main}\n",
        &[
            "6:27 objects[1].table.source_table: `main.s.a` is already the destination of `objects[0].table` (line 5)",
        ],
    );
    check(
        "connection_name: c\nobjects:\n  - table: {source_table: a, table_configuration: {on_bad_record: quarantine}}\n  - table: {source_table: a__quarantine}\n",
        &[
            "4:27 objects[1].table.source_table: `a__quarantine` is already the destination of `objects[0].table` (line 3)",
        ],
    );
    check_top(
        "event_log: {name: T}",
        &["4:21 objects[0].table.source_table: `t` is already the destination of `event_log` (line 5)"],
    );
    check_table(
        "source_table: Event_Log",
        &[
            "4:21 objects[0].table.source_table: `Event_Log` is already the destination of `event_log` (line 1)",
        ],
    );
    let apart = "connection_name: c\nobjects:\n  - table: {source_table: a, destination_schema: x}\n  - table: {source_table: a, destination_schema: y}\n  - table: {source_table: a, destination_catalog: x}\n";
    assert!(PipelineSpec::parse(apart, "spec.yaml").is_ok());
}

#[test]
fn settings_that_contradict_each_other() {
    check_configuration(
        "primary_keys: id\nexclude_columns: [ID]",
        &[
            "6:23 objects[0].table.table_configuration.primary_keys: column `id` is needed by `primary_keys` but is left out by `exclude_columns`",
        ],
    );
    check_configuration(
        "include_columns: [a]\nsequence_by: b\ncluster_by: a,c",
        &[
            "8:21 objects[0].table.table_configuration.cluster_by: column `c` is needed by `cluster_by` but is not among `include_columns`",
        ],
    );
    for field in ["track_history_columns", "track_history_except_columns"] {
        let at =
            |line: usize| format!("{line}:{} objects[0].table.table_configuration.{field}", field.len() + 11);
        let only_two = format!("{}: `{field}` is for tables that keep their history", at(6));
        check_configuration(&format!("{field}: a"), &[&only_two]);
        check_configuration(&format!("{field}: a\nscd_type: SCD_TYPE_1"), &[&only_two]);
        let key = format!("{}: `{field}` names `ID`, which is part of the key", at(8));
        check_configuration(&format!("scd_type: SCD_TYPE_2\nprimary_keys: id\n{field}: [a, ID]"), &[&key]);
    }
    check_configuration(
        "scd_type: SCD_TYPE_2\ntrack_history_columns: a\ntrack_history_except_columns: b",
        &[
            "8:9 objects[0].table.table_configuration.track_history_except_columns: `track_history_columns` and `track_history_except_columns` exclude each other",
        ],
    );
    check_configuration(
        "scd_type: SCD_TYPE_2\ntrack_history_columns: a\nexclude_columns: a",
        &[
            "7:32 objects[0].table.table_configuration.track_history_columns: column `a` is needed by `track_history_columns` but is left out by `exclude_columns`",
        ],
    );
    check_configuration(
        "scd_type: APPEND_ONLY\ntombstone_retention: 7d\ndeletion_vectors: false",
        &[
            "7:30 objects[0].table.table_configuration.tombstone_retention: `tombstone_retention` has no meaning for a table that keeps every record as it came",
            "8:27 objects[0].table.table_configuration.deletion_vectors: `deletion_vectors` has no meaning for a table that keeps every record as it came",
        ],
    );
    check_top(
        "continuous: true\nschedule: {periodic: {interval: 1, unit: HOURS}}",
        &["6:11 trigger: a continuous pipeline has no schedule"],
    );
}

#[test]
fn options_for_the_connector() {
    check_configuration(
        "tablename: x",
        &[
            "6:9 objects[0].table.table_configuration.tablename: `tablename` is set for each table by the engine",
        ],
    );
    check_configuration(
        "' ': x",
        &["6:9 objects[0].table.table_configuration. : ` ` is not a name for an option"],
    );
}

#[test]
fn all_errors_come_at_once_and_not_without_end() {
    check(
        "connection_name: [c]\nobjects:\n  - table: {source_table: a/b}\n  - tables: {}\ncontinuous: no\n",
        &[
            "1:18 connection_name: expected a text, found a list",
            "3:27 objects[0].table.source_table: `a/b` holds a slash",
            "4:5 objects[1].tables: unknown field `tables` ~table",
            "4:5 objects[1]: one of `table` or `schema` is needed",
            "5:13 continuous: expected `true` or `false`, found the text `no`",
        ],
    );
    let mut many = String::from("connection_name: c\nobjects: [{schema: {}}]\n");
    for i in 0..250 {
        many.push_str(&format!("f{i}: 1\n"));
    }
    let errors = PipelineSpec::parse(&many, "spec.yaml").expect_err("unknown fields");
    assert_eq!((errors.errors.len(), errors.more), (100, 150));
    assert!(errors.render().ends_with("… and 150 more\n"));
    assert!(errors.to_string().ends_with("(and 249 more)"), "{errors}");
}

#[test]
fn bytes_that_are_not_utf_8() {
    for (bytes, expected) in [
        (&b"name: a\nconnection_name: \xff\n"[..], "2:18: the file is not UTF-8 text"),
        (b"\xff\xfea\0", "1:1: the file is UTF-16 text"),
    ] {
        let errors = PipelineSpec::parse_bytes(bytes, "spec.yaml").expect_err("not text");
        assert_eq!(errors.errors.iter().map(line).collect::<Vec<_>>(), [expected]);
    }
    let marked = b"\xef\xbb\xbfconnection_name: c\nobjects: [{schema: {}}]\n";
    assert!(PipelineSpec::parse_bytes(marked, "spec.yaml").is_ok());
    let marked = b"\xef\xbb\xbfconnection_name: c\nobject: [{schema: {}}]\n";
    let errors = PipelineSpec::parse_bytes(marked, "spec.yaml").expect_err("a wrong field");
    assert_eq!(
        errors.errors.last().map(line).as_deref(),
        Some("2:1 object: unknown field `object` ~objects")
    );
}
