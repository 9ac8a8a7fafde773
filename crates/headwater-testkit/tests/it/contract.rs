//! One sound connector, and one for each rule that breaks it.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use headwater_connect::{Options, Profile};
use headwater_testkit::{Changes, LogWatch, Outcome, Report, Subject, run};

use crate::shelf::{Clerk, Factory, SECRET, Source, Wrong};

/// Where all tests of the process look at the log: there is one subscriber only, so they take turns.
fn log() -> LogWatch {
    static WATCH: OnceLock<LogWatch> = OnceLock::new();
    WATCH.get_or_init(|| LogWatch::install().unwrap()).clone()
}

async fn report(wrong: Wrong, profile: Profile) -> Report {
    static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
    let _turn = TURN.lock().await;
    let source = Source::new();
    let factory = Factory { wrong, source: Arc::clone(&source), profile };
    let clerk = Clerk(Arc::clone(&source));
    let changes = Changes::new(&clerk).with_patience(Duration::from_secs(2));
    let before = source.rows();
    let mut subject = Subject::new(&factory, Options::from_iter([("token", SECRET)]));
    subject.max_reads = 20;
    subject.complete = true;
    subject.stage = Some(source.as_ref());
    subject.log = Some(log());
    subject.changes = Some(&changes);
    let report = run(&subject, &|_| {}).await.unwrap();
    assert_eq!(source.rows(), before, "{wrong:?}: what was made is still there");
    report
}

#[tokio::test(start_paused = true)]
async fn a_sound_connector_breaks_nothing() {
    let report = report(Wrong::Nothing, Profile::Json).await;
    assert!(report.is_passed(), "{report}");
    for rule in 1..=30 {
        let of = report.tests.iter().filter(|test| test.rule.number == rule);
        let passed = of.clone().filter(|test| test.outcome == Outcome::Passed).count();
        assert!(passed > 0, "R{rule} was not tested: {:?}", of.collect::<Vec<_>>());
    }
    let warned = report.tests.iter().filter(|test| matches!(test.outcome, Outcome::Warned { .. }));
    assert_eq!(warned.collect::<Vec<_>>(), Vec::<&headwater_testkit::TestResult>::new());
}

/// Each fault with the rule that it breaks, what is seen, and the other rules that it cannot but break.
const FAULTS: &[(Wrong, u32, &str, &[u32])] = &[
    (Wrong::NamesATableTwice, 1, "`log` is listed twice", &[]),
    (Wrong::AnswersForUnknownTables, 2, "the schema of an unknown table succeeds", &[]),
    (Wrong::NamesAColumnTwice, 3, "field `ID` stands twice", &[11, 24]),
    (Wrong::KeyIsNoColumn, 4, "`key` is not a column of the schema", &[14, 20]),
    (Wrong::NoKeys, 5, "it is cdc_with_deletes without primary keys", &[]),
    (
        Wrong::RefusesTheEmptyOffset,
        6,
        "the first read, from {}: the connector broke its contract: an empty offset",
        &[14],
    ),
    (Wrong::EndsTwice, 7, "something follows the end of a read", &[]),
    (Wrong::EndsNever, 8, "it has not settled after 20 reads; the last offset is", &[]),
    (Wrong::GoesRound, 8, "comes back after others", &[]),
    (Wrong::SnapshotNeverEnds, 9, "it has not settled after 20 reads", &[]),
    (
        Wrong::ForgetsRecords,
        10,
        r#"does not give {"at":8,"id":8,"kind":"book"} again"#,
        &[17, 18, 22, 27, 28],
    ),
    (Wrong::RecordDoesNotFit, 11, "column `id`", &[]),
    (Wrong::StumblesAfterADrop, 12, "after a read that was broken off, the next one lacks", &[]),
    (
        Wrong::TakesAnyOffset,
        13,
        "a foreign offset {\"no_such_member_of_any_offset\":[1,\"two\",null]} is read from",
        &[],
    ),
    (Wrong::DeletionWithoutCursor, 14, r#"a deletion lacks `at`: {"id":100}"#, &[]),
    (Wrong::ShowsTheSecret, 15, "a secret stands in the error", &[]),
    (Wrong::LogsTheSecret, 15, "a secret stands in a line logged by it::shelf (info)", &[]),
    (Wrong::LeavesWorkBehind, 16, "1 requests were sent after the read was dropped", &[]),
    (Wrong::PartitionTwice, 17, "too often", &[]),
    (Wrong::PartLacksARecord, 17, "the parts lack", &[]),
    (Wrong::StreamPartLacksARecord, 18, "the parts lack", &[]),
    (Wrong::NamespaceOfNothing, 19, "`nothing` of namespace [\"shop\"]", &[]),
    (Wrong::KeyIsNull, 20, r#"a record lacks its key `id`: {"at":2,"id":null,"kind":"book"}"#, &[]),
    (Wrong::KeyTwice, 20, "two records have the same `id`", &[]),
    (Wrong::CursorIsNull, 21, r#"a record has no `at`: {"at":null,"id":2,"kind":"book"}"#, &[]),
    (Wrong::CursorGoesBack, 21, "a later read gives an earlier state: `at` is 1, then 0", &[]),
    (Wrong::OffsetAsText, 22, r#"written as { "turn" : 0 , "after" : 4 } it is not"#, &[]),
    (
        Wrong::ChasesNewData,
        23,
        "with records that keep lying ahead of now: it has not settled after 20 reads",
        &[],
    ),
    (Wrong::ColumnIsEmpty, 24, "no record fills `kind`", &[]),
    (Wrong::NeedsNoToken, 25, "option `token` is required, and the connector goes on without it", &[]),
    (
        Wrong::HidesWhatIsMissing,
        25,
        "without the required option `token` the error does not name it: option `something` is missing",
        &[],
    ),
    (
        Wrong::HidesWhatIsWrong,
        25,
        "for option `size` the error does not name it: the connector broke its contract: something is wrong",
        &[],
    ),
    (
        Wrong::TakesAFaultForTheEnd,
        26,
        "after a body that breaks off to request 2, the read succeeds and lacks",
        &[],
    ),
    (
        Wrong::GivesUpOnAFault,
        26,
        "after an answer with status 500 to request 2, the read fails with an error that says no retry helps",
        &[],
    ),
    (Wrong::IgnoresTheBatch, 27, "with `max_records_per_batch` = 3 a read gives 4 records", &[]),
    (Wrong::LosesRecordsOfABatch, 27, "with `max_records_per_batch` = 3: the read succeeds and lacks", &[]),
    (Wrong::MissesNewRecords, 28, "a record was created, and the reads of 2 s do not show it", &[]),
    (Wrong::MissesChanges, 29, "a record was changed, and the reads of 2 s do not show it", &[]),
    (Wrong::KeepsDeletionsBack, 30, "a record was deleted, and the reads of 2 s do not show it", &[]),
];

#[tokio::test(start_paused = true)]
async fn each_fault_is_found_under_its_rule_and_no_other() {
    let mut odd = Vec::new();
    for (wrong, rule, seen, besides) in FAULTS {
        let report = report(*wrong, Profile::Json).await;
        let told: Vec<&str> =
            report.failures().filter(|t| t.rule.number == *rule).filter_map(|t| t.seen()).collect();
        if !told.iter().any(|told| told.contains(seen)) {
            odd.push(format!("{wrong:?} should break R{rule} with `{seen}`:\n{report}"));
        }
        assert!(!report.to_string().contains(SECRET), "{report}");
        let others: Vec<u32> = report.failures().map(|test| test.rule.number).filter(|n| n != rule).collect();
        if !others.iter().all(|other| besides.contains(other)) {
            odd.push(format!("{wrong:?} breaks more than R{rule}:\n{report}"));
        }
    }
    assert!(odd.is_empty(), "{}", odd.join("\n\n"));
    for rule in 1..=30 {
        assert!(FAULTS.iter().any(|(_, number, ..)| *number == rule), "nothing breaks R{rule}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_connector_in_python_is_warned_of_what_its_own_document_does_not_ask() {
    for (wrong, rule) in
        [(Wrong::TakesAnyOffset, 13), (Wrong::HidesWhatIsMissing, 25), (Wrong::IgnoresTheBatch, 27)]
    {
        let report = report(wrong, Profile::Python).await;
        assert!(report.is_passed(), "{wrong:?}\n{report}");
        let of = report.tests.iter().filter(|test| test.rule.number == rule);
        assert!(
            of.clone().any(|test| matches!(test.outcome, Outcome::Warned { .. })),
            "{wrong:?} {:?}",
            of.collect::<Vec<_>>()
        );
    }
    // What would lose rows is a failure in any language.
    for wrong in [Wrong::TakesAFaultForTheEnd, Wrong::LosesRecordsOfABatch, Wrong::AnswersForUnknownTables] {
        assert!(!report(wrong, Profile::Python).await.is_passed(), "{wrong:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn rules_and_tables_are_chosen_and_left_out() {
    let source = Source::new();
    let factory = Factory { wrong: Wrong::DeletionWithoutCursor, source, profile: Profile::Json };
    let mut subject = Subject::new(&factory, Options::from_iter([("token", SECRET)]));
    let suite = "tables: {changes: {}, log: {}, whole: {}}\nexclude: [log]\nskip: [{rule: R14, table: changes, reason: being mended}]\nunfilled_columns: [{table: changes, column: kind, reason: x}]\n";
    subject.follow(&headwater_spec::SuiteSpec::parse(suite, "suite.yaml").unwrap().value);
    let all = run(&subject, &|_| {}).await.unwrap();
    assert!(all.is_passed(), "{all}");
    assert!(!all.tests.iter().any(|test| test.table.as_deref() == Some("log")));
    let seen = |rule: u32| {
        let found = all.tests.iter().find(|t| t.rule.number == rule && t.table.as_deref() == Some("changes"));
        found.unwrap().outcome.clone()
    };
    assert_eq!(seen(14), Outcome::Skipped { reason: "being mended".into() });
    assert!(matches!(seen(24), Outcome::Warned { seen } if seen.contains("take the entry out")));
    subject.rules = vec![8, 9];
    subject.sample = Some(5);
    let told = std::sync::Mutex::new(Vec::new());
    let some = run(&subject, &|test| told.lock().unwrap().push(test.clone())).await.unwrap();
    let lines: Vec<String> = some.tests.iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        [
            "skip R8   changes: a stream ends: the sample was full before the table had ended",
            "skip R9   whole: a snapshot ends: the sample was full before the table had ended"
        ]
    );
    assert_eq!(*told.lock().unwrap(), some.tests);
    let json = serde_json::to_value(&some).unwrap();
    assert_eq!(json["tests"][0]["rule"], "R8");
    assert_eq!(json["tests"][0]["outcome"], "skipped");
    assert_eq!(json["tests"][0]["table"], "changes");
}
