//! Cutting a long array into its items while the document is still coming.

use super::{
    BRACKET, CONTROL, Masks, Open, ScanError, Strings, TRUNCATED, find_item, find_member, key_end,
    scalar_end, skip_space, value_end,
};
use crate::JsonPointer;

/// Where a value begins, and the containers that it lies in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    /// The position of its first byte.
    pub at: usize,
    /// The containers from the outermost on; `true` for an object, `false` for an array.
    pub containers: Vec<bool>,
}

impl JsonPointer {
    /// Where the value at this place begins, or `None` where there is none; as [`JsonPointer::find`], but the value itself need
    /// not be there yet.
    ///
    /// # Errors
    /// The document is malformed, or ends before the value begins ([`TRUNCATED`]).
    pub fn find_start(&self, body: &[u8]) -> Result<Option<Start>, ScanError> {
        let mut start = Start { at: skip_space(body, 0), containers: Vec::new() };
        for token in self.tokens() {
            let (found, object) = match body.get(start.at) {
                Some(b'{') => (find_member(body, start.at, token)?, true),
                Some(b'[') => (find_item(body, start.at, token)?, false),
                _ => {
                    scalar_end(body, start.at)?;
                    return Ok(None);
                }
            };
            let Some(at) = found else { return Ok(None) };
            start.at = at;
            start.containers.push(object);
        }
        match body.get(start.at) {
            Some(_) => Ok(Some(start)),
            None => Err(ScanError::new(start.at, TRUNCATED)),
        }
    }
}

/// Passes over the items of an array as they come, and remembers where the last whole one ended. Strings and brackets
/// are checked, as [`run_end`](super::run_end) does; the rest is left to who reads the items.
#[derive(Debug, Default)]
pub struct Items {
    open: Open,
    strings: Strings,
    /// The place of the last comma between two items.
    comma: Option<usize>,
}

impl Items {
    /// The place of the last comma between two items that was passed; what lies before it are whole items.
    pub fn comma(&self) -> Option<usize> {
        self.comma
    }

    /// Forgets the comma: the bytes up to it have been taken away, and places count from elsewhere now.
    pub fn cut(&mut self) {
        self.comma = None;
    }

    /// Passes over `body` from `at` on in blocks of 64 bytes, and over the rest as well where it is the `last` that comes.
    ///
    /// # Errors
    /// A control character in a string, or a bracket that closes nothing.
    pub fn pass(&mut self, body: &[u8], at: usize, last: bool) -> Result<Passed, ScanError> {
        let mut at = at;
        loop {
            let rest = body.get(at..).unwrap_or_default();
            let mut padded = [b' '; 64];
            let (block, length) = match rest.first_chunk::<64>() {
                Some(block) => (block, 64),
                None if last && !rest.is_empty() => {
                    padded.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
                    (&padded, rest.len())
                }
                None => return Ok(Passed::More(at)),
            };
            if let Some(end) = self.block(block, at)? {
                return Ok(Passed::End(end));
            }
            at += length;
        }
    }

    /// Passes over a block; gives the place of the bracket that closes the array.
    fn block(&mut self, block: &[u8; 64], at: usize) -> Result<Option<usize>, ScanError> {
        let masks = Masks::of(block);
        let before = self.strings.clone();
        let outside = match self.strings.outside(&masks) {
            Ok(outside) => outside,
            Err(bit) => {
                // What lies before it may hold the end of an item.
                let mut good = *block;
                good.iter_mut().skip(bit).for_each(|byte| *byte = b' ');
                self.strings = before;
                if bit > 0
                    && let Some(end) = self.block(&good, at)?
                {
                    return Ok(Some(end));
                }
                return Err(ScanError::new(at + bit, CONTROL));
            }
        };
        let separators = masks.comma & outside;
        let mut brackets = (masks.open | masks.close) & outside;
        // Commas count where no bracket is open: from one bracket to the next.
        let mut from = 0_u32;
        loop {
            let bit = brackets.trailing_zeros();
            if self.open.depth == 0 {
                let below = 1_u64.checked_shl(bit).map_or(u64::MAX, |one| one - 1);
                let above = u64::MAX.checked_shl(from).unwrap_or(0);
                let commas = separators & below & above;
                if commas != 0 {
                    self.comma = Some(at + 63 - commas.leading_zeros() as usize);
                }
            }
            if brackets == 0 {
                return Ok(None);
            }
            brackets &= brackets - 1;
            from = bit + 1;
            let place = at + bit as usize;
            let object = block.get(bit as usize).is_some_and(|byte| byte & 0x20 != 0);
            if masks.open & (1 << bit) != 0 {
                self.open.push(place, object)?;
            } else if self.open.depth > 0 {
                self.open.pop(place, object)?;
            } else if object {
                return Err(ScanError::new(place, BRACKET));
            } else {
                return Ok(Some(place));
            }
        }
    }
}

/// How far [`Items::pass`] came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passed {
    /// To this place, and more is to come.
    More(usize),
    /// To the bracket at this place, which closes the array.
    End(usize),
}

/// Checks what follows a value that lies in `containers` (as [`Start`] gives them) from `at` to the end of the document.
///
/// # Errors
/// Anything that JSON's grammar does not have there, and a document that ends too early.
pub fn check_rest(body: &[u8], at: usize, containers: &[bool]) -> Result<(), ScanError> {
    let mut at = at;
    for object in containers.iter().rev().copied() {
        loop {
            at = skip_space(body, at);
            match body.get(at) {
                Some(b',') => {
                    at = skip_space(body, at + 1);
                    if object {
                        at = key_end(body, at)?;
                    }
                    at = value_end(body, at)?;
                }
                Some(byte) if *byte == (if object { b'}' } else { b']' }) => break,
                Some(_) => return Err(ScanError::new(at, "a comma or a closing bracket was expected")),
                None => return Err(ScanError::new(at, TRUNCATED)),
            }
        }
        at += 1;
    }
    at = skip_space(body, at);
    if at < body.len() { Err(ScanError::new(at, "something behind the end of the document")) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Items, Passed, check_rest};
    use crate::JsonPointer;

    #[test]
    fn a_value_is_found_before_it_has_come() {
        let check = |pointer: &str, body: &str, expect: Option<Option<(usize, &[bool])>>| {
            let pointer: JsonPointer = pointer.parse().unwrap();
            let found = pointer.find_start(body.as_bytes()).ok();
            let expect = expect.map(|found| found.map(|(at, containers)| (at, containers.to_vec())));
            assert_eq!(found.map(|f| f.map(|start| (start.at, start.containers))), expect, "{body}");
        };
        check("", " [", Some(Some((1, &[]))));
        check("/data", r#"{"x":[1,2],"data": [{"#, Some(Some((19, &[true]))));
        check("/a/1/b", r#"{"a":[0,{"b":["#, Some(Some((13, &[true, false, true]))));
        check("/data", r#"{"x":[1,2],"data": "#, None);
        check("/data", r#"{"x":[1,2"#, None);
        check("/data", r#"{"x":1}"#, Some(None));
        check("/data", "7 ", Some(None));
        check("", "", None);
    }

    #[test]
    fn what_follows_is_checked_to_the_end() {
        let check = |rest: &str, containers: &[bool], expect: Result<(), usize>| {
            let checked = check_rest(rest.as_bytes(), 0, containers).map_err(|error| error.at);
            assert_eq!(checked, expect, "{rest}");
        };
        check("", &[], Ok(()));
        check(" \r\n", &[], Ok(()));
        check(r#" , "next" : {"a":[1]} } "#, &[true], Ok(()));
        check(r#",2]}]"#, &[false, true, false], Ok(()));
        check("x", &[], Err(0));
        check("", &[true], Err(0));
        check("]", &[true], Err(0));
        check(r#","next":"a"#, &[true], Err(10));
        check(r#"}{"#, &[true], Err(1));
        check(r#",}"#, &[true], Err(1));
        check(r#"}"#, &[false, true], Err(1));
    }

    /// The items of `body`, an array, which comes in pieces of the given sizes and is cut wherever that is possible.
    fn items(body: &[u8], sizes: &[usize]) -> Option<Vec<Vec<u8>>> {
        let (mut items, mut found) = (Items::default(), Vec::new());
        let (mut buffer, mut at, mut came) = (Vec::new(), 1, 0);
        let mut sizes = sizes.iter().cycle();
        loop {
            let more = (came + sizes.next()?).min(body.len());
            buffer.extend_from_slice(&body[came..more]);
            came = more;
            let passed = items.pass(&buffer, at, came == body.len()).ok()?;
            if let Passed::End(end) = passed {
                found.push(buffer[1..end].to_vec());
                return Some(found);
            }
            let Passed::More(to) = passed else { return None };
            at = to;
            if let Some(comma) = items.comma() {
                found.push(buffer[1..comma].to_vec());
                buffer.drain(..comma);
                at -= comma;
                items.cut();
            }
            if came == body.len() {
                return None;
            }
        }
    }

    proptest! {
        #[test]
        fn items_are_cut_alike_wherever_the_document_is(
            values in proptest::collection::vec(
                prop_oneof!["[ -~]{0,200}", "[\\\\\"{}\\[\\],]{0,80}"].prop_map(|text| serde_json::json!({"t": text, "a": [1, {"b": []}]})),
                0..12,
            ),
            pretty: bool,
            sizes in proptest::collection::vec(1_usize..300, 1..6),
        ) {
            let all = serde_json::Value::Array(values.clone());
            let body = if pretty { serde_json::to_string_pretty(&all) } else { serde_json::to_string(&all) }.unwrap();
            let cut = items(body.as_bytes(), &sizes).unwrap();
            let joined = format!("[{}]", cut.iter().map(|part| String::from_utf8(part.clone()).unwrap()).collect::<Vec<_>>().join(","));
            prop_assert_eq!(serde_json::from_str::<serde_json::Value>(&joined).unwrap(), all);
            for part in &cut {
                let one = format!("[{}]", String::from_utf8(part.clone()).unwrap());
                prop_assert!(serde_json::from_str::<serde_json::Value>(&one).is_ok(), "{}", one);
            }
        }

        #[test]
        fn no_bytes_do_harm(body in proptest::collection::vec(any::<u8>(), 0..400), sizes in proptest::collection::vec(1_usize..90, 1..4)) {
            let mut array = b"[".to_vec();
            array.extend(body);
            let _whatever = items(&array, &sizes);
        }
    }
}
