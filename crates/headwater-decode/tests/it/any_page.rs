//! What holds whatever the bytes of a page are. The fuzz target calls this with all that it comes upon, and a test with a
//! bounded number of damaged pages.

use arrow_array::{Array, RecordBatch};
use headwater_connect::{DataType, Page, Profile, StructField, StructType};
use headwater_decode::{DecodeOptions, Decoder, OnBadRecord};
use serde_json::Value;

use crate::reference;

/// Pages for [`every_type`], to begin with.
pub(crate) const PAGES: [&str; 2] = [
    r#"[{"a":1,"b":-300,"c":7,"d":9007199254740993,"e":1.5,"f":-2.5e-3,"g":"123.4567","h":true,"i":"2026-01-02","j":"2026-01-02T03:04:05.678+01:00","k":"2026-01-02 03:04:05","l":"of \"some\" length, caf\u00e9 \ud83d\ude00\n日本 to the end","m":"abcde","n":"aGk=","o":{"k":[1,null,"v"]},"p":[{"a":1,"b":["x",null]},null],"q":{"x":1.5,"y":null},"r":{"a":2,"b":[]},"s":null},{"a":"2","b":null,"c":-7,"d":"8","e":0,"f":1e300,"g":-0.5,"h":"false","i":null,"j":1767323045.5,"k":"2026-01-02T03:04:06Z","l":[1,{"a":null}],"m":5,"n":"","o":-1.25,"p":{"a":3},"q":{},"r":null,"s":null}]"#,
    "{\"a\":127,\"g\":1.5,\"p\":[{\"a\":1}]}\n{\"a\":-128,\"g\":2.5,\"p\":[{\"a\":2}]}\n\n{\"a\":0,\"g\":\"3\",\"p\":[]}\n",
];

/// A column of every type; each has a name of one letter.
pub(crate) fn every_type() -> StructType {
    let list = |element| DataType::Array { element: Box::new(element), contains_null: true };
    let map = |value| DataType::Map {
        key: Box::new(DataType::String),
        value: Box::new(value),
        value_contains_null: true,
    };
    let inner = StructType::new([
        StructField::required("a", DataType::Long),
        StructField::nullable("b", list(DataType::String)),
    ]);
    let types = [
        DataType::Byte,
        DataType::Short,
        DataType::Integer,
        DataType::Long,
        DataType::Float,
        DataType::Double,
        DataType::Decimal { precision: 20, scale: 4 },
        DataType::Boolean,
        DataType::Date,
        DataType::Timestamp,
        DataType::TimestampNtz,
        DataType::String,
        DataType::Varchar(5),
        DataType::Binary,
        DataType::Variant,
        list(DataType::Struct(inner.clone())),
        map(DataType::Double),
        DataType::Struct(inner),
        DataType::Null,
    ];
    StructType::new(('a'..).zip(types).map(|(name, data_type)| StructField::nullable(name, data_type)))
}

/// Decodes the bytes in many ways, and panics where one of them does what none may.
pub(crate) fn check(body: &[u8]) {
    for schema in [reference::schema(), reference::projection()] {
        against_the_reference(&schema, body);
    }
    let page = Page::json_array(body.to_vec());
    let lines = Page::JsonLines(body.to_vec().into());
    for schema in [reference::schema(), every_type()] {
        for on_bad_record in [OnBadRecord::Fail, OnBadRecord::Quarantine, OnBadRecord::Null] {
            for profile in [Profile::Json, Profile::Python] {
                let options = DecodeOptions { profile, on_bad_record, batch_rows: 5 };
                twice(&schema, &options, &page);
                twice(&schema, &options, &lines);
            }
        }
    }
}

/// What is accepted is what the slow decoder reads.
fn against_the_reference(schema: &StructType, body: &[u8]) {
    let mut decoder = decoder(schema, &DecodeOptions { batch_rows: 5, ..DecodeOptions::default() });
    let Ok(report) = decoder.push(&Page::json_array(body.to_vec())) else { return };
    let batch = decoder.finish().expect("columns make a batch");
    let Ok(document) = serde_json::from_slice::<Value>(body) else { return };
    let Some(records) = document.as_array() else { return };
    assert_eq!(report.records, records.len() as u64, "records");
    let Some(expect) = reference::rows(schema, &document) else { return };
    let got = batch.map(|batch| reference::read(&batch)).unwrap_or_default();
    assert_eq!(got.len(), expect.len(), "rows");
    // A wanted key that comes twice may be inside a run that nobody wants, and is then not seen.
    if !has_unknown_keys(schema, &document) {
        for (expect, got) in expect.iter().zip(&got) {
            assert!(reference::agrees(expect, got), "got {got}, expected {expect:?}");
        }
    }
}

/// A page that is accepted gives the same rows again once its layout is known, and one that is refused leaves nothing.
fn twice(schema: &StructType, options: &DecodeOptions, page: &Page) {
    let mut decoder = decoder(schema, options);
    let mut rows = 0;
    let mut accepted = Vec::new();
    for _ in 0..2 {
        if let Ok(report) = decoder.push(page) {
            assert!(report.bad.is_empty() || options.on_bad_record == OnBadRecord::Quarantine);
            assert!(report.nulled == 0 || options.on_bad_record == OnBadRecord::Null);
            rows += usize::try_from(report.records).expect("a number of rows") - report.bad.len();
            accepted.push(report);
        }
        assert_eq!(decoder.buffered_rows(), rows, "rows that are buffered");
    }
    let batch = decoder.finish().expect("columns make a batch");
    assert_eq!(batch.as_ref().map_or(0, RecordBatch::num_rows), rows);
    let Some(batch) = batch else { return };
    for column in batch.columns() {
        column.to_data().validate_full().expect("a valid array");
    }
    if let ([first, second], Page::Json { body, .. }) = (accepted.as_slice(), page)
        && serde_json::from_slice(body).is_ok_and(|document| !has_unknown_keys(schema, &document))
    {
        assert_eq!(first, second, "reports");
        assert_eq!(batch.slice(0, rows / 2), batch.slice(rows / 2, rows / 2), "rows of the same page");
    }
}

fn decoder(schema: &StructType, options: &DecodeOptions) -> Decoder {
    Decoder::new(schema, options.clone()).expect("a good schema")
}

/// Whether an object that is a record, or belongs to one, has a member that the schema does not know.
fn has_unknown_keys(schema: &StructType, document: &Value) -> bool {
    let records = document.as_array().into_iter().flatten();
    records.chain(Some(document)).any(|record| object_has(schema, record))
}

fn object_has(schema: &StructType, value: &Value) -> bool {
    let members = value.as_object().into_iter().flatten();
    members.into_iter().any(|(key, value)| match schema.field(key) {
        Some(field) => type_has(&field.data_type, value),
        None => true,
    })
}

fn type_has(data_type: &DataType, value: &Value) -> bool {
    match data_type {
        DataType::Struct(fields) => object_has(fields, value),
        DataType::Array { element, .. } => match value {
            Value::Array(items) => items.iter().any(|item| type_has(element, item)),
            // A value that is no list stands for a list of itself.
            value => type_has(element, value),
        },
        DataType::Map { value: inner, .. } => {
            value.as_object().into_iter().flatten().any(|(_, value)| type_has(inner, value))
        }
        _ => false,
    }
}
