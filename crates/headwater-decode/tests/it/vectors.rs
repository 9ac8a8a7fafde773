//! The conversions observed on the reference implementation, line by line.

use headwater_connect::DataType;
use serde_json::Value;

use crate::landing::{INDISTINCT, check, lines};

/// Inputs that are no plain JSON, and the text that a worker sends for each.
fn worker_json(raw: &str) -> Option<String> {
    let value: Value = serde_json::from_str(raw).unwrap();
    let tagged = |tag: &str| value.get(tag).cloned();
    let printed = |iso: &Value| iso.as_str().unwrap().replace('T', " ").replace(".000000", "");
    if let Some(text) = tagged("$dec").or_else(|| tagged("$d")).or_else(|| tagged("$b")) {
        return Some(text.to_string());
    }
    if let Some(iso) = tagged("$ts").or_else(|| tagged("$tz")) {
        return Some(Value::from(printed(&iso)).to_string());
    }
    if let Some(items) = tagged("$tuple").or_else(|| tagged("$set")) {
        return Some(items.to_string());
    }
    if let Some(variant) = tagged("$variant") {
        return Some(variant["json"].to_string());
    }
    let pairs = tagged("$map")?;
    let members = pairs.as_array().unwrap().iter().map(|pair| {
        let key = if let Some(text) = pair[0].as_str() { text.to_owned() } else { pair[0].to_string() };
        format!("{}:{}", Value::from(key), pair[1])
    });
    Some(format!("{{{}}}", members.collect::<Vec<_>>().join(",")))
}

/// Floats stand in the vectors as their text and bits.
fn plain_json(raw: &str) -> String {
    let mut out = String::new();
    let mut rest = raw;
    while let Some((before, after)) = rest.split_once(r#"{"$f": [""#) {
        let (number, after) = after.split_once('"').unwrap();
        let (_, after) = after.split_once("]}").unwrap();
        out.push_str(before);
        out.push_str(match number {
            "nan" => "NaN",
            "inf" => "Infinity",
            "-inf" => "-Infinity",
            number => number,
        });
        rest = after;
    }
    out + rest
}

#[test]
fn json_values_convert_as_on_the_reference() {
    let mut failures = Vec::new();
    let (mut equal, mut beyond) = (0, std::collections::BTreeMap::new());
    for line in lines().filter(|line| line.from == "json") {
        match check(&line, &plain_json(line.r#in.get())) {
            Ok(None) => equal += 1,
            Ok(Some(reason)) => *beyond.entry(reason).or_insert(0) += 1,
            Err(failure) => failures.push(failure),
        }
    }
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
    let expect = [
        ("a partial date", 1),
        ("a whole number with an exponent", 1),
        ("an empty object for a struct", 2),
        ("any JSON for a variant", 50),
    ];
    assert_eq!((equal, beyond.into_iter().collect::<Vec<_>>()), (1599, expect.to_vec()));
}

#[test]
fn python_values_convert_as_on_the_reference_where_json_can_carry_them() {
    let mut failures = Vec::new();
    let (mut equal, mut indistinct) = (0, 0);
    for line in lines().filter(|line| line.from == "py") {
        let json = worker_json(line.r#in.get()).unwrap();
        let data_type = DataType::from_json(&line.r#type).unwrap().to_string();
        let known = INDISTINCT.iter().any(|(t, value, _)| *t == data_type && *value == line.r#in.get());
        match (check(&line, &json), known) {
            (Ok(_), false) => equal += 1,
            (Err(_), true) => indistinct += 1,
            (Ok(_), true) => failures.push(format!("{data_type} {} is told apart after all", line.r#in)),
            (Err(failure), false) => failures.push(format!("{} {failure}", line.r#in)),
        }
    }
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
    assert_eq!((equal, indistinct), (104, INDISTINCT.len()));
}
