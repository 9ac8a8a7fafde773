//! Pages, batches, errors and what is left after them.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{
    Array, ArrayRef, Int64Array, LargeStringArray, RecordBatch, StringArray, TimestampNanosecondArray,
};
use headwater_connect::{DataType, JsonPointer, Page, StructField, StructType};
use headwater_decode::{DecodeError, DecodeOptions, Decoder, OnBadRecord, PageReport};
use serde_json::json;

fn schema() -> StructType {
    let user = StructType::new([
        StructField::required("id", DataType::Long),
        StructField::nullable("name", DataType::String),
    ]);
    StructType::new([
        StructField::required("id", DataType::Long),
        StructField::nullable("name", DataType::Varchar(5)),
        StructField::nullable("at", DataType::Timestamp),
        StructField::nullable("user", DataType::Struct(user)),
        StructField::nullable(
            "tags",
            DataType::Array { element: Box::new(DataType::Integer), contains_null: false },
        ),
        StructField::nullable(
            "more",
            DataType::Map {
                key: Box::new(DataType::Long),
                value: Box::new(DataType::String),
                value_contains_null: true,
            },
        ),
    ])
}

fn decoder(on_bad_record: OnBadRecord) -> Decoder {
    Decoder::new(&schema(), DecodeOptions { on_bad_record, batch_rows: 3, ..DecodeOptions::default() })
        .unwrap()
}

fn page(pointer: &str, body: &str) -> Page {
    Page::Json { body: body.to_owned().into(), records: pointer.parse::<JsonPointer>().unwrap() }
}

fn ids(batch: &RecordBatch) -> Vec<i64> {
    batch.column(0).as_primitive::<Int64Type>().values().to_vec()
}

/// The error of a page, as text, after which the rows from before are still there and another page can follow.
fn error_of(mode: OnBadRecord, page: &Page) -> String {
    let mut decoder = decoder(mode);
    let before = r#"[{"id":1,"name":"a","at":null,"user":{"id":1,"name":"x"},"tags":[1],"more":{"1":"a"}}]"#;
    decoder.push(&Page::json_array(before)).unwrap();
    let error = decoder.push(page).unwrap_err();
    assert_eq!(decoder.buffered_rows(), 1);
    decoder.push(&Page::json_array(r#"[{"id":2,"name":"b"}]"#)).unwrap();
    let batch = decoder.finish().unwrap().unwrap();
    assert_eq!(ids(&batch), [1, 2], "{error}");
    assert_eq!(batch.column(1).as_string::<i32>().iter().collect::<Vec<_>>(), [Some("a"), Some("b")]);
    error.to_string()
}

#[test]
fn records_are_found_where_the_pointer_says() {
    let check = |pointer: &str, body: &str, expect: Result<&[i64], &str>| {
        let mut decoder = decoder(OnBadRecord::Fail);
        let got = decoder.push(&page(pointer, body)).map(|report| report.records);
        match (got, expect) {
            (Ok(records), Ok(expect)) => {
                assert_eq!(records, expect.len() as u64, "{body}");
                assert_eq!(decoder.finish().unwrap().map(|b| ids(&b)).unwrap_or_default(), expect, "{body}");
            }
            (Err(error), Err(expect)) => assert_eq!(error.to_string(), expect, "{body}"),
            (got, _) => panic!("{body}: {got:?}"),
        }
    };
    check("", r#" [ {"id":1} , {"id":2} ] "#, Ok(&[1, 2]));
    check("", r#"{"id":7}"#, Ok(&[7]));
    check("", "[]", Ok(&[]));
    check("/data", r#"{"n":{"data":3},"data":[{"id":1}],"next":"x"}"#, Ok(&[1]));
    check("/a/b", r#"{"a":{"x":[1,2],"b":{"id":4}},"z":[{}]}"#, Ok(&[4]));
    check("/1/d", r#"[0,{"d":[{"id":4}]},{"d":5}]"#, Ok(&[4]));
    check("/data", r#"{"data":null}"#, Ok(&[]));
    check("/data", r#"{"error":"x"}"#, Err("no records at `/data`: the body has no member `data`"));
    check("/a/b", r#"{"a":{"c":1}}"#, Err("no records at `/a/b`: `/a` has no member `b`"));
    check("/a/b", r#"{"a":null}"#, Err("no records at `/a/b`: `/a` has no member `b`"));
    check("/a", r#"{"a":"x"}"#, Err("no records at `/a`: a list or an object was expected, found \"x\""));
    let twice = "malformed JSON at byte 18: the member that holds the records stands twice";
    check("/data", r#"{"data":[{"id":1}],"data":[]}"#, Err(&twice.replace("18", "19")));
    check(
        "/data",
        r#"{"data":[{"id":1}],"n":01}"#,
        Err("malformed JSON at byte 23: a number with a leading zero"),
    );
    check(
        "/data",
        r#"{"data":[{"id":1}]"#,
        Err("malformed JSON at byte 18: the document ends in the middle of a value"),
    );
    check("", r#"[{"id":1}] x"#, Err("malformed JSON at byte 11: something stands behind the document"));
    check("", "", Err("malformed JSON at byte 0: the document ends in the middle of a value"));
}

#[test]
fn lines_hold_a_record_each() {
    let mut decoder = decoder(OnBadRecord::Fail);
    let report = decoder.push(&Page::JsonLines("\n{\"id\":1}\r\n\n {\"id\":2} \n{\"id\":3}".into())).unwrap();
    assert_eq!(report, PageReport { records: 3, ..PageReport::default() });
    assert_eq!(ids(&decoder.finish().unwrap().unwrap()), [1, 2, 3]);
    let error = decoder.push(&Page::JsonLines("{\"id\":1}{\"id\":2}\n".into())).unwrap_err();
    assert_eq!(
        error.to_string(),
        "malformed JSON at byte 8 in record 1: a line break was expected behind the record"
    );
    let error = decoder.push(&Page::JsonLines("{\"id\":1}\n{\"id\":2\n{\"id\":3}\n".into())).unwrap_err();
    assert_eq!(error.to_string(), "malformed JSON at byte 17 in record 1: a comma or `}` was expected");
    assert_eq!(decoder.finish().unwrap().map(|b| b.num_rows()), None);
}

#[test]
fn built_values_are_decoded_like_bytes() {
    let mut decoder = decoder(OnBadRecord::Fail);
    let values =
        vec![json!({"id": "5", "name": "é", "more": {"1": 2.5}}), json!({"user": {"id": 1}, "id": 6})];
    decoder.push(&Page::Values(values)).unwrap();
    let batch = decoder.finish().unwrap().unwrap();
    assert_eq!(ids(&batch), [5, 6]);
    assert_eq!(batch.column(5).as_map().value(0).column(1).as_string::<i32>().value(0), "2.5");
    assert_eq!(batch.schema(), schema().to_arrow());
}

#[test]
fn errors_name_column_record_and_value_and_leave_nothing() {
    let check = |mode, record: &str, expect: &str| {
        let body = format!(r#"[{{"id":8,"name":"ok","tags":[1,2]}},{record}]"#);
        assert_eq!(error_of(mode, &Page::json_array(body)), expect, "{record}");
    };
    use OnBadRecord::{Fail, Null};
    check(Fail, r#"{"id":"x"}"#, "record 1 at byte 41 does not fit column `id`: not a 64-bit integer: \"x\"");
    check(
        Fail,
        r#"{"id":1,"user":{"id":{"a":1},"name":"n"}}"#,
        "record 1 at byte 56 does not fit column `user.id`: not a 64-bit integer: {\"a\":1}",
    );
    check(
        Fail,
        r#"{"id":1,"tags":[1,null]}"#,
        "record 1 at byte 53 does not fit column `tags.element`: null, and the column may not be null: null",
    );
    check(
        Fail,
        r#"{"id":1,"tags":[1,4294967296]}"#,
        "record 1 at byte 53 does not fit column `tags.element`: out of the range of a 32-bit integer: 4294967296",
    );
    check(
        Fail,
        r#"{"id":1,"more":{"k":"v"}}"#,
        "record 1 at byte 51 does not fit column `more.key`: not a 64-bit integer: \"k\"",
    );
    check(
        Fail,
        r#"{"name":"n"}"#,
        "record 1 at byte 35 does not fit column `id`: missing, and the column may not be null",
    );
    check(
        Fail,
        r#"{"id":null}"#,
        "record 1 at byte 41 does not fit column `id`: null, and the column may not be null: null",
    );
    check(
        Fail,
        r#"{"id":1,"name":"sechs!"}"#,
        "record 1 at byte 50 does not fit column `name`: 6 characters, and the column holds 5: \"sechs!\"",
    );
    check(Fail, "5", "record 1 at byte 35 does not fit column ``: a record must be an object: 5");
    check(Fail, "null", "record 1 at byte 35 does not fit column ``: a record must be an object: null");
    check(Null, r#"{"id":"x"}"#, "record 1 at byte 41 does not fit column `id`: not a 64-bit integer: \"x\"");
    let long = format!(r#"{{"id":"{}"}}"#, "é".repeat(500));
    let shown = format!("not a 64-bit integer: \"{}…", "é".repeat(79));
    check(Fail, &long, &format!("record 1 at byte 41 does not fit column `id`: {shown}"));
}

#[test]
fn malformed_pages_name_byte_and_record() {
    let check = |record: &str, expect: &str| {
        let body = format!(r#"[{{"id":8}},{record}]"#);
        for mode in [OnBadRecord::Fail, OnBadRecord::Quarantine, OnBadRecord::Null] {
            let error = error_of(mode, &Page::json_array(body.clone()));
            assert!(error.contains("in record 1") && error.contains(expect), "{record}: {error}");
        }
    };
    check(r#"{"id":01}"#, "byte 16");
    check(r#"{"id":1 "name":"a"}"#, "byte 18");
    check(r#"{"id":1,}"#, "byte 18 in record 1: a key");
    check(r#"{"id":1,"x":tru}"#, "byte 22 in record 1: a value");
    check(r#"{"id":1,"x":[1,]}"#, "byte 25 in record 1: a value");
    check(r#"{"id":1,"x":[1 2]}"#, "byte 25 in record 1: a comma");
    check(r#"{"id":1,"x":"\q"}"#, "byte 23 in record 1: not an escape");
    check("{\"id\":1,\"name\":\"a\u{1}\"}", "byte 27 in record 1: a control character");
    check(r#"{"id":1,"name":"\ud800"}"#, "byte 26 in record 1: a surrogate");
    check(r#"{"id":1,"name":"\ud800\u0041"}"#, "surrogate");
    check(r#"{"id":1,"name":"\udc00"}"#, "surrogate");
    check(r#"{"id":1,"name":"\u12g4"}"#, "not an escape");
    check(r#"{"id":1."#, "a digit");
    check(r#"{"id":"x","n":}"#, "a value");
    check(r#"{"id":1,"name":"abc"#, "ends in the middle");
    check("", "a value was expected");
    let mut body = br#"[{"id":1,"name":""#.to_vec();
    body.extend([0xff, b'"', b'}', b']']);
    let error = error_of(OnBadRecord::Fail, &Page::json_array(body));
    assert_eq!(error, "malformed JSON at byte 17: not UTF-8");
}

#[test]
fn nesting_is_bounded() {
    let deep = format!(r#"[{{"id":1,"x":{}}}]"#, "[".repeat(100_000));
    let error = error_of(OnBadRecord::Fail, &Page::json_array(deep));
    assert!(error.contains("128 levels"), "{error}");
    let deep = format!(r#"[{{"id":1,"name":{}{}}}]"#, "[".repeat(100_000), "]".repeat(100_000));
    let error = error_of(OnBadRecord::Null, &Page::json_array(deep));
    assert!(error.contains("128 levels"), "{error}");
    let nested =
        (0..70).fold(DataType::Long, |t, _| DataType::Array { element: Box::new(t), contains_null: true });
    let schema = StructType::new([StructField::nullable("x", nested)]);
    assert!(matches!(Decoder::new(&schema, DecodeOptions::default()), Err(DecodeError::Schema { .. })));
}

#[test]
fn quarantined_records_are_handed_back_whole() {
    let mut decoder = decoder(OnBadRecord::Quarantine);
    let body = r#"[{"id":1},{"id":2,"user":{"id":"?"},"z":[1, 2]} ,7,{"id":3,"tags":[1]},{"tags":[1]}]"#;
    let report = decoder.push(&Page::json_array(body)).unwrap();
    assert_eq!((report.records, report.bad.len(), report.nulled), (5, 3, 0));
    let shown: Vec<_> = report
        .bad
        .iter()
        .map(|b| (b.record, b.column.as_deref(), b.reason.as_str(), b.raw.as_str()))
        .collect();
    assert_eq!(
        shown,
        [
            (1, Some("user.id"), "not a 64-bit integer", r#"{"id":2,"user":{"id":"?"},"z":[1, 2]}"#),
            (2, None, "a record must be an object", "7"),
            (4, Some("id"), "missing, and the column may not be null", r#"{"tags":[1]}"#),
        ]
    );
    let batch = decoder.finish().unwrap().unwrap();
    assert_eq!(ids(&batch), [1, 3]);
    assert_eq!(batch.column(4).as_list::<i32>().value(1).len(), 1);
}

#[test]
fn values_that_do_not_fit_become_null_where_they_may() {
    let mut decoder = decoder(OnBadRecord::Null);
    let body = r#"[{"id":1,"name":"too long","user":{"id":"?","name":{}},"tags":[1,"x"],"more":{"k":1},"at":"y"},
        {"id":2,"user":{"id":1,"name":"n"},"tags":[5]}]"#;
    let report = decoder.push(&Page::json_array(body)).unwrap();
    assert_eq!((report.records, report.nulled, report.bad.len()), (2, 5, 0));
    let batch = decoder.finish().unwrap().unwrap();
    assert_eq!(ids(&batch), [1, 2]);
    for column in batch.columns().iter().skip(1) {
        assert!(column.is_null(0), "{column:?}");
    }
    assert_eq!(batch.column(4).as_list::<i32>().values().len(), 1);
    assert!(batch.column(3).is_valid(1));
}

#[test]
fn batches_are_full_and_in_order() {
    let mut decoder = decoder(OnBadRecord::Fail);
    let record = |id: i64| json!({"id": id, "name": "abc", "tags": [id]}).to_string();
    let lines: String = (0..8).map(|id| record(id) + "\n").collect();
    decoder.push(&Page::JsonLines("{\"id\":100}".into())).unwrap();
    assert!(decoder.take_full().unwrap().is_none());
    // A page of many batches that fails at its end leaves the one row from before.
    let failing = format!("{lines}{{\"id\":\"x\"}}");
    decoder.push(&Page::JsonLines(failing.into())).unwrap_err();
    assert_eq!(decoder.buffered_rows(), 1);
    decoder.push(&Page::JsonLines(lines.into())).unwrap();
    assert_eq!(decoder.buffered_rows(), 9);
    assert!(decoder.buffered_bytes() > 0);
    let mut seen = Vec::new();
    while let Some(batch) = decoder.take_full().unwrap() {
        assert!(batch.num_rows() >= 3);
        seen.extend(ids(&batch));
    }
    seen.extend(decoder.finish().unwrap().iter().flat_map(ids));
    assert_eq!(seen, [100, 0, 1, 2, 3, 4, 5, 6, 7]);
    assert_eq!((decoder.buffered_rows(), decoder.finish().unwrap()), (0, None));
}

#[test]
fn all_that_is_left_comes_at_once() {
    let mut decoder = decoder(OnBadRecord::Fail);
    let lines: String = (0..8).map(|id| format!("{{\"id\":{id}}}\n")).collect();
    decoder.push(&Page::JsonLines(lines.into())).unwrap();
    assert_eq!(ids(&decoder.finish().unwrap().unwrap()), [0, 1, 2, 3, 4, 5, 6, 7]);
}

#[test]
fn of_two_equal_keys_the_later_wins() {
    let mut decoder = decoder(OnBadRecord::Fail);
    let body =
        r#"[{"id":1,"name":"a","id":2,"name":null},{"id":3,"tags":[1,2],"tags":[3],"user":{"id":1,"id":2}}]"#;
    decoder.push(&Page::json_array(body)).unwrap();
    let batch = decoder.finish().unwrap().unwrap();
    assert_eq!(ids(&batch), [2, 3]);
    assert!(batch.column(1).is_null(0));
    assert_eq!(batch.column(4).as_list::<i32>().value(1).len(), 1);
}

#[test]
fn arrow_pages_are_taken_as_they_are() {
    let schema = StructType::new([
        StructField::required("id", DataType::Long),
        StructField::nullable("name", DataType::String),
        StructField::nullable("at", DataType::Timestamp),
        StructField::nullable("none", DataType::Double),
    ]);
    let mut decoder = Decoder::new(&schema, DecodeOptions::default()).unwrap();
    let times =
        |nanos: i64| Arc::new(TimestampNanosecondArray::from(vec![nanos]).with_timezone("UTC")) as ArrayRef;
    let batch = |id: ArrayRef, name: ArrayRef, at: ArrayRef| {
        Page::Arrow(
            RecordBatch::try_from_iter_with_nullable([
                ("other", id.clone(), true),
                ("at", at, true),
                ("name", name, true),
                ("id", id, true),
            ])
            .unwrap(),
        )
    };
    let id = || Arc::new(Int64Array::from(vec![5])) as ArrayRef;
    let name = || Arc::new(LargeStringArray::from(vec!["x"])) as ArrayRef;
    decoder.push(&Page::json_array(r#"[{"id":4}]"#)).unwrap();
    assert_eq!(decoder.push(&batch(id(), name(), times(7_000))).unwrap().records, 1);
    decoder.push(&Page::json_array(r#"[{"id":6}]"#)).unwrap();
    let mut check = |page: &Page, expect: &str| {
        assert_eq!(decoder.push(page).unwrap_err().to_string(), expect);
    };
    let text = Arc::new(StringArray::from(vec!["5"])) as ArrayRef;
    let null = Arc::new(Int64Array::from(vec![None])) as ArrayRef;
    check(&batch(text, name(), times(0)), "column `id` of the Arrow page is Utf8, and the schema has Int64");
    check(&batch(null, name(), times(0)), "column `id` of the Arrow page has nulls, and may not be null");
    check(&batch(id(), name(), times(1)), "column `at` of the Arrow page has times finer than a microsecond");
    let all = decoder.finish().unwrap().unwrap();
    assert_eq!(ids(&all), [4, 5, 6]);
    assert_eq!(all.schema(), schema.to_arrow());
}

#[test]
fn hints_say_what_to_change() {
    let mut decoder = decoder(OnBadRecord::Fail);
    let error = decoder.push(&Page::json_array(r#"[{"id":"x"}]"#)).unwrap_err();
    assert!(error.hint().unwrap().contains("`on_bad_record`"));
    let error = decoder.push(&Page::json_array("[5]")).unwrap_err();
    assert!(error.hint().unwrap().contains("objects"));
}
