//! Any bytes as a page, decoded twice: by the decoder and by the slow reference of its tests.
//! They agree wherever both accept, and the decoder accepts nothing with wanted fields only that a strict parser refuses.
#![no_main]

#[path = "../../tests/it/reference.rs"]
#[allow(dead_code, reason = "some of it is for the tests only")]
mod reference;

use headwater_connect::Page;
use headwater_decode::{DecodeOptions, Decoder};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|body: &[u8]| {
    for schema in [reference::schema(), reference::projection()] {
        let Ok(mut decoder) = Decoder::new(&schema, DecodeOptions { batch_rows: 5, ..DecodeOptions::default() }) else {
            return;
        };
        let decoded = decoder.push(&Page::json_array(body.to_vec())).is_ok();
        let batch = decoder.finish().expect("columns make a batch");
        let (true, Ok(document)) = (decoded, serde_json::from_slice::<Value>(body)) else { continue };
        let Some(expect) = reference::rows(&schema, &document) else { continue };
        let got = batch.map(|batch| reference::read(&batch)).unwrap_or_default();
        assert_eq!(got.len(), expect.len(), "rows");
        // A wanted key that comes twice may be inside a run that nobody wants, and is then not seen.
        if schema == reference::schema() && !has_unknown_keys(&document) {
            assert!(expect.iter().zip(&got).all(|(expect, got)| reference::agrees(expect, got)));
        }
    }
});

fn has_unknown_keys(document: &Value) -> bool {
    let known = reference::schema();
    let records = document.as_array().into_iter().flatten().filter_map(Value::as_object);
    records.flat_map(|record| record.keys()).any(|key| known.field(key).is_none())
}
