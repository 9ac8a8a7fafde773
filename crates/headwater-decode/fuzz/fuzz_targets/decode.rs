//! Any bytes as a page: what holds for all of them is in `any_page.rs` of the tests, which run it as well.
#![no_main]

#[path = "../../tests/it/any_page.rs"]
mod any_page;
#[path = "../../tests/it/reference.rs"]
#[allow(dead_code, reason = "some of it is for the tests only")]
mod reference;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| any_page::check(body));
