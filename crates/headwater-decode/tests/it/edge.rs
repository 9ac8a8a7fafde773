//! Odd pages, whole and damaged, against the reference decoder.

use headwater_connect::{Page, StructType};
use headwater_decode::{DecodeError, DecodeOptions, Decoder};
use proptest::prelude::*;
use serde_json::Value;

use crate::any_page;
use crate::reference::{Expect, agrees, is_open, projection, read, rows, schema};

/// How a page is written.
#[derive(Debug, Clone, Copy)]
struct Layout {
    /// Before a key.
    key: &'static str,
    /// Behind a colon.
    colon: &'static str,
    /// Before a comma.
    comma: &'static str,
    /// Before a closing brace.
    close: &'static str,
}

const LAYOUTS: [Layout; 5] = [
    Layout { key: "", colon: "", comma: "", close: "" },
    Layout { key: " ", colon: " ", comma: "", close: "" },
    Layout { key: "\n      ", colon: " ", comma: "", close: "\n    " },
    Layout { key: "\r\n\t", colon: "  ", comma: " ", close: "\r\n" },
    Layout { key: "                         ", colon: "\t", comma: "\n", close: " " },
];

fn written(members: &[(String, String)], layout: Layout) -> String {
    let body: Vec<String> = members
        .iter()
        .map(|(key, value)| format!("{}{key}{}:{}{value}", layout.key, layout.comma, layout.colon))
        .collect();
    format!("{{{}{}}}", body.join(&format!("{},", layout.comma)), layout.close)
}

fn one_of(texts: &'static [&'static str]) -> impl Strategy<Value = String> + Clone {
    proptest::sample::select(texts).prop_map(str::to_owned)
}

fn text() -> impl Strategy<Value = String> + Clone {
    let plain = "[ -!#-\\[\\]-~]{0,40}".prop_map(|t| format!("\"{t}\""));
    let wild = "\\PC{0,30}".prop_map(|t| Value::from(t).to_string());
    let odd = one_of(&[
        r#""""#,
        r#""\"""#,
        r#""\\""#,
        r#""\\\\\"""#,
        r#""fifteen bytes!!""#,
        r#""sixteen bytes!!!""#,
        r#""\u00e9\u65e5\ud83d\ude00""#,
        r#""\ud842\udfb7""#,
        r#""a]}\",{[b""#,
        r#""\/\b\f\n\r\t""#,
        r#""日本語日本語日本語""#,
        r#""exactly fourteen\n""#,
        r#""\u0000""#,
    ]);
    prop_oneof![3 => plain, 1 => wild, 2 => odd]
}

fn long() -> impl Strategy<Value = String> + Clone {
    prop_oneof![
        3 => any::<i64>().prop_map(|n| n.to_string()),
        3 => (0..100_000_000_i64).prop_map(|n| n.to_string()),
        1 => any::<i64>().prop_map(|n| format!("\"{n}\"")),
        2 => one_of(&["0", "-0", "9223372036854775807", "-9223372036854775808", "12345678", "123456789", "9999999999999999",
            "10000000000000000", "1.5", "1e3", "9223372036854775808", "true"]),
    ]
}

fn double() -> impl Strategy<Value = String> + Clone {
    prop_oneof![
        3 => any::<f64>().prop_filter("finite", |f| f.is_finite()).prop_map(|f| Value::from(f).to_string()),
        3 => (0..100_000_u32, 1..1000_u32).prop_map(|(a, b)| format!("{a}.{b}")),
        2 => one_of(&["0", "-0.0", "1e22", "1E+5", "123456789.123456789", "0.000000000000001", "9007199254740993",
            "1.7976931348623157e308", "5e-324", "\"1.5\"", "12345678.12345678", "null", "0.1", "-1"]),
    ]
}

fn time() -> impl Strategy<Value = String> + Clone {
    let usual = (0..4_102_444_800_i64).prop_map(|s| {
        format!("\"{}\"", chrono::DateTime::from_timestamp(s, 0).unwrap().format("%Y-%m-%dT%H:%M:%SZ"))
    });
    let odd = one_of(&[
        r#""2024-02-29T23:59:59Z""#,
        r#""2024-01-05T10:11:12.123Z""#,
        r#""2024-01-05""#,
        r#""2024-01-05T10:11:12+05:30""#,
        "null",
        "1700000000",
        r#""2024-01-05T10\u003a11:12Z""#,
    ]);
    prop_oneof![4 => usual, 1 => odd]
}

fn owner() -> impl Strategy<Value = String> + Clone {
    let full = (text(), long(), any::<bool>(), 0..LAYOUTS.len()).prop_map(|(login, key, extra, layout)| {
        let mut members = vec![("\"login\"".to_owned(), login), ("\"key\"".to_owned(), key)];
        if extra {
            members.insert(1, ("\"unknown\"".to_owned(), r#"{"login":[1,{"key":"}"}]}"#.to_owned()));
        }
        written(&members, LAYOUTS[layout])
    });
    prop_oneof![8 => full, 1 => one_of(&["null", r#"{"key":1}"#, r#"{"key":1,"key":2}"#, r#"{ "key" : "7" , "x":null}"#])]
}

fn items() -> impl Strategy<Value = String> + Clone {
    let item = (0..50_u32, text()).prop_map(|(rank, text)| format!("{{\"rank\":{rank},\"text\":{text}}}"));
    let list = proptest::collection::vec(item, 0..5).prop_map(|items| format!("[{}]", items.join(",")));
    prop_oneof![5 => list, 1 => one_of(&["[]", "[ ]", "null", "[null]", "[{}]", "[ {\"text\":null} , {\"rank\":2} ]"])]
}

fn extra() -> impl Strategy<Value = String> + Clone {
    let entry = ("[a-c]{1,2}", double()).prop_map(|(key, value)| format!("\"{key}\": {value}"));
    let map =
        proptest::collection::vec(entry, 0..5).prop_map(|entries| format!("{{{}}}", entries.join(" ,")));
    prop_oneof![4 => map, 1 => one_of(&["{}", "null", "{ }"])]
}

/// The members of one record: fields, members that nobody wants, in any order, some missing.
fn members(unknown: bool) -> impl Strategy<Value = Vec<(String, String)>> {
    let junk = prop_oneof![
        text(),
        long(),
        one_of(&[
            "[[],{}]",
            "{\"id\":[1,\"]\",{\"updated_at\":2}],\"x\":\",\"}",
            "false",
            "1e-7",
            "\"\\\\\""
        ]),
        "[ -!#-\\[\\]-~]{60,200}".prop_map(|t| format!("\"{t}\"")),
    ];
    let known = (
        long(),
        text(),
        double(),
        time(),
        one_of(&["true", "false", "null"]),
        owner(),
        items(),
        extra(),
        long(),
    );
    let unknown = proptest::collection::vec(junk, if unknown { 0..5 } else { 0..1 });
    (known, unknown, proptest::collection::vec(0..30_usize, 3), 0..8_u32).prop_map(
        |(known, unknown, places, chaos)| {
            let (id, name, score, at, locked, owner, items, extra, size) = known;
            let mut members: Vec<(String, String)> = [
                ("id", id),
                ("a rather long name of a field", name),
                ("score", score),
                ("updated_at", at),
                ("locked", locked),
                ("owner", owner),
                ("items", items),
                ("extra", extra),
                ("größe", size),
            ]
            .map(|(key, value)| (format!("\"{key}\""), value))
            .into();
            for (i, value) in unknown.into_iter().enumerate() {
                members.insert(2 * i % (members.len() + 1), (format!("\"unknown {i}\""), value));
            }
            // Most records have the usual order.
            match chaos {
                0 => {
                    members.remove(places[0] % members.len());
                }
                1 => {
                    let (a, b) = (places[1] % members.len(), places[2] % members.len());
                    members.swap(a, b);
                }
                2 => {
                    let id = members.iter_mut().find(|(key, _)| key == "\"id\"");
                    id.into_iter().for_each(|member| member.0 = "\"\\u0069d\"".to_owned());
                }
                _ => {}
            }
            members
        },
    )
}

fn page(unknown: bool) -> impl Strategy<Value = String> {
    let record = (members(unknown), 0..20_usize);
    (proptest::collection::vec(record, 0..12), 0..LAYOUTS.len()).prop_map(|(records, usual)| {
        let written: Vec<String> = records
            .iter()
            .map(|(members, odd)| written(members, LAYOUTS[if *odd < LAYOUTS.len() { *odd } else { usual }]))
            .collect();
        let layout = LAYOUTS[usual];
        format!("[{}{}]", written.join(&format!("{},{}", layout.comma, layout.key)), layout.close)
    })
}

fn decode(schema: &StructType, body: &[u8]) -> Result<Vec<Value>, DecodeError> {
    let mut decoder =
        Decoder::new(schema, DecodeOptions { batch_rows: 5, ..DecodeOptions::default() }).unwrap();
    decoder.push(&Page::json_array(body.to_vec()))?;
    Ok(decoder.finish().unwrap().map(|batch| read(&batch)).unwrap_or_default())
}

fn compare(
    schema: &StructType,
    document: &Value,
    got: &Result<Vec<Value>, DecodeError>,
) -> Result<(), String> {
    match (rows(schema, document), got) {
        (Some(expect), Ok(got)) => {
            if expect.len() == got.len() && expect.iter().zip(got).all(|(e, g)| agrees(e, g)) {
                Ok(())
            } else {
                Err(format!("got {got:?}, expected {expect:?}"))
            }
        }
        (Some(expect), Err(DecodeError::Unfit { .. })) if expect.iter().any(is_open) => Ok(()),
        (None, Err(DecodeError::Unfit { .. })) => Ok(()),
        (expect, got) => Err(format!("got {got:?}, expected {expect:?}")),
    }
}

/// A page that may be damaged. `strict`: every member is wanted, so that what a strict parser refuses must be refused.
fn check_damaged(schema: &StructType, body: &[u8], strict: bool) -> Result<(), String> {
    let got = decode(schema, body);
    let shown = || String::from_utf8_lossy(body).into_owned();
    match serde_json::from_slice::<Value>(body) {
        Ok(document) if document.is_array() => match got {
            // Of equal keys, one may be inside a run that nobody wants.
            Ok(_) if !strict && has_equal_keys(body) => Ok(()),
            // The earlier of two equal keys must fit as well.
            Err(DecodeError::Unfit { .. }) if has_equal_keys(body) => Ok(()),
            got => compare(schema, &document, &got).map_err(|error| format!("{error} in {}", shown())),
        },
        Ok(_) => Ok(()),
        // A number beyond a double is infinite here, as in Python, and a surrogate that stands alone is looked for in
        // wanted text only (a damaged key is not wanted).
        Err(error)
            if ["out of range", "hex escape"].iter().any(|known| error.to_string().contains(known)) =>
        {
            Ok(())
        }
        Err(error) => match got {
            Ok(rows) if strict => Err(format!("accepted as {rows:?}, though {error}: {}", shown())),
            _ => Ok(()),
        },
    }
}

/// Whether some object of the document has a key twice, as far as a count of wanted keys tells.
fn has_equal_keys(body: &[u8]) -> bool {
    let text = String::from_utf8_lossy(body);
    let records = serde_json::from_slice::<Vec<Value>>(body).map_or(0, |records| records.len());
    ["\"id\"", "\"updated_at\"", "\"owner\"", "\"login\"", "\"key\""]
        .iter()
        .any(|key| text.matches(key).count() > records)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn odd_pages_decode_as_by_the_reference(body in page(true)) {
        let document: Value = serde_json::from_str(&body).unwrap();
        for schema in [schema(), projection()] {
            let got = decode(&schema, body.as_bytes());
            prop_assert_eq!(compare(&schema, &document, &got), Ok(()), "{}", body);
        }
    }

    #[test]
    fn damaged_pages_never_decode_to_something_else(
        body in page(true), clean in page(false), at in any::<proptest::sample::Index>(), byte: u8,
    ) {
        for (page, strict) in [(&body, false), (&clean, true)] {
            let mut page = page.clone().into_bytes();
            let at = at.index(page.len());
            page[at] = byte;
            prop_assert_eq!(check_damaged(&schema(), &page, strict), Ok(()));
            prop_assert_eq!(check_damaged(&projection(), &page, false), Ok(()));
        }
    }
}

/// Numbers that are the same in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % (limit.max(1) as u64)).unwrap()
    }
}

const PAGES: [&str; 3] = [
    r#"[{"id":1,"a rather long name of a field":"some \"quoted\" text of a few words","score":12.345,"updated_at":"2026-01-01T00:00:01Z","locked":false,"owner":{"login":"u1","key":77},"items":[{"rank":1,"text":"a"},{"rank":2,"text":"b"}],"extra":{"a":1.5,"b":null},"größe":3},{"id":2,"a rather long name of a field":"caf\u00e9 \ud83d\ude00 日本","score":1e-7,"updated_at":null,"locked":true,"owner":{"login":null,"key":78},"items":[],"extra":{},"größe":null},{"id":3,"a rather long name of a field":"","score":0,"updated_at":"2026-01-01T00:00:03Z","locked":null,"owner":{"login":"u3","key":79},"items":[{"rank":1,"text":"a"}],"extra":{"a":2},"größe":5}]"#,
    "[\n  {\n    \"id\": 10,\n    \"score\": 1.5,\n    \"updated_at\": \"2026-01-01T00:00:01Z\"\n  },\n  {\n    \"id\": 11,\n    \"score\": 2.5,\n    \"updated_at\": \"2026-01-02T00:00:01Z\"\n  },\n  {\n    \"id\": 12,\n    \"score\": 3.5,\n    \"updated_at\": \"2026-01-02T00:00:02Z\"\n  }\n]\n",
    r#"[{"x":{"id":[1,"]"]},"id":1,"y":"\\\"","owner":{"z":[],"key":1,"login":"a"},"w":[[{}]],"v":-0.5},{"x":{"id":[2,"}"]},"id":2,"y":"","owner":{"z":{},"key":2,"login":"b"},"w":[],"v":2},{"x":{},"id":3,"y":"\\","owner":{"z":[1],"key":3,"login":"c"},"w":"{","v":null}]"#,
];

/// The page after one to three damages.
fn damaged(page: &str, numbers: &mut Numbers) -> Vec<u8> {
    let interesting = b"\"\\{}[],:0123456789eE+-.tfnu \n\r\t\x00\x1f\x80\xc3\xff";
    let mut body = page.as_bytes().to_vec();
    for _ in 0..=numbers.below(3) {
        let at = numbers.below(body.len());
        let byte = interesting[numbers.below(interesting.len())];
        match numbers.below(6) {
            0 => body.truncate(at),
            1 => {
                body.remove(at);
            }
            2 => body.insert(at, byte),
            3 => {
                let end = (at + numbers.below(40)).min(body.len());
                let copy = body[at..end].to_vec();
                let to = numbers.below(body.len());
                body.splice(to..to, copy);
            }
            4 => {
                let end = (at + numbers.below(40)).min(body.len());
                body.drain(at..end);
            }
            _ => body[at] = byte,
        }
        if body.is_empty() {
            break;
        }
    }
    body
}

#[test]
fn a_long_run_of_damages_finds_nothing() {
    let mut numbers = Numbers(0x1234_5678_9abc_def1);
    let (all, some) = (schema(), projection());
    for round in 0..30_000 {
        let which = round % PAGES.len();
        let body = damaged(PAGES[which], &mut numbers);
        assert_eq!(check_damaged(&all, &body, which < 2), Ok(()));
        assert_eq!(check_damaged(&some, &body, false), Ok(()));
    }
}

#[test]
fn what_the_fuzz_target_checks_holds_for_damaged_pages() {
    let mut numbers = Numbers(0x0f1e_2d3c_4b5a_6978);
    let pages: Vec<&str> = PAGES.iter().chain(&any_page::PAGES).copied().collect();
    pages.iter().for_each(|page| any_page::check(page.as_bytes()));
    for round in 0..3_000 {
        any_page::check(&damaged(pages[round % pages.len()], &mut numbers));
    }
}

#[test]
fn the_reference_itself_expects_what_one_sees() {
    let document: Value = serde_json::from_str(PAGES[0]).unwrap();
    let expect = rows(&projection(), &document).unwrap();
    let Expect::Struct(fields) = &expect[0] else { panic!("{expect:?}") };
    assert_eq!(fields[1], ("updated_at".to_owned(), Expect::Value(1_767_225_601_000_000_i64.into())));
    let got = decode(&projection(), PAGES[0].as_bytes()).unwrap();
    assert!(agrees(&expect[0], &got[0]) && !agrees(&expect[0], &got[1]));
}
