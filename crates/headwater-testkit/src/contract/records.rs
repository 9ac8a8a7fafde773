//! Rules on the records themselves: that they fit the schema, hold keys and cursor, and fill the columns.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use chrono::{DateTime, FixedOffset};
use headwater_connect::{DataType, IngestionType, StructType};
use serde_json::Value;

use super::Table;
use crate::reading::{kind, listed, shown};
use crate::trial::{Fault, Verdict, not_tested};

impl Table<'_> {
    pub(super) async fn r11_records_fit_the_schema(&self) -> Verdict {
        let whole = self.whole().await?;
        if let Some(other) = whole.records().find(|record| !record.is_object()) {
            return Err(format!("a record is {}", kind(other)).into());
        }
        match &whole.misfit {
            Some(seen) => Err(Fault::Broken(seen.clone())),
            None if whole.records().next().is_none() => not_tested("the table has no record"),
            None => Ok(()),
        }
    }

    pub(super) async fn r20_records_hold_distinct_keys(&self) -> Verdict {
        let (keys, whole) = (&self.metadata.primary_keys, self.whole().await?);
        if keys.is_empty() {
            return not_tested("the table has no primary keys");
        }
        if whole.records().next().is_none() {
            return not_tested("the table has no record");
        }
        // A change is told from another of the same record by its cursor.
        let cursor = match self.metadata.ingestion_type {
            IngestionType::Cdc | IngestionType::CdcWithDeletes => self.metadata.cursor_field.as_ref(),
            IngestionType::Snapshot | IngestionType::Append => None,
        };
        let mut seen: HashMap<Vec<String>, &Value> = HashMap::new();
        for record in whole.records() {
            if let Some(name) = keys.iter().find(|name| record.get(name.as_str()).is_none_or(Value::is_null))
            {
                return Err(format!("a record lacks its key `{name}`: {}", shown(&record.to_string())).into());
            }
            let names = keys.iter().chain(cursor);
            let of = names.map(|name| record.get(name.as_str()).unwrap_or(&Value::Null).to_string());
            let other = seen.insert(of.collect(), record);
            let snapshot = !self.is_stream();
            if let Some(other) = other.filter(|other| snapshot || *other != record) {
                let named = keys.iter().chain(cursor).map(|name| format!("`{name}`")).collect::<Vec<_>>();
                return Err(Fault::Broken(format!(
                    "two records have the same {}: {} and {}",
                    named.join(", "),
                    shown(&other.to_string()),
                    shown(&record.to_string())
                )));
            }
        }
        Ok(())
    }

    pub(super) async fn r21_the_cursor_moves_forward(&self) -> Verdict {
        let whole = self.whole().await?;
        let Some(cursor) = self.metadata.cursor_field.as_deref().filter(|_| self.is_stream()) else {
            return not_tested("the table is no stream with a cursor field");
        };
        if whole.records().next().is_none() {
            return not_tested("the table has no record");
        }
        let mut latest: BTreeMap<Vec<String>, (&Value, &Value)> = BTreeMap::new();
        let mut first: Option<&Value> = None;
        for read in &whole.reads {
            let mut of_read = Vec::new();
            for record in &read.records {
                let at = record.get(cursor).unwrap_or(&Value::Null);
                if at.is_null() {
                    let seen = format!("a record has no `{cursor}`: {}", shown(&record.to_string()));
                    return Err(self.if_changes(seen));
                }
                if let Some(other) = first.filter(|first| kind(first) != kind(at)) {
                    return Err(format!(
                        "`{cursor}` is {} in one record and {} in another",
                        kind(other),
                        kind(at)
                    )
                    .into());
                }
                first = first.or(Some(at));
                let keys = self.metadata.primary_keys.iter();
                let key: Vec<String> =
                    keys.map(|name| record.get(name.as_str()).unwrap_or(&Value::Null).to_string()).collect();
                if let Some((before, other)) = latest.get(&key)
                    && !key.is_empty()
                    && *other != record
                    && compared(before, at) == Some(Ordering::Greater)
                {
                    return Err(Fault::Broken(format!(
                        "a later read gives an earlier state: `{cursor}` is {before}, then {at} in {}",
                        shown(&record.to_string())
                    )));
                }
                of_read.push((key, (at, record)));
            }
            // Within a read the order is the source's own.
            for (key, (at, record)) in of_read {
                let newer = latest
                    .get(&key)
                    .is_none_or(|(before, _)| compared(before, at) != Some(Ordering::Greater));
                if newer {
                    latest.insert(key, (at, record));
                }
            }
        }
        Ok(())
    }

    /// A breach where the cursor decides which row counts, a doubt where it does not.
    fn if_changes(&self, seen: String) -> Fault {
        match self.metadata.ingestion_type {
            IngestionType::Append | IngestionType::Snapshot => Fault::Doubtful(seen),
            IngestionType::Cdc | IngestionType::CdcWithDeletes => Fault::Broken(seen),
        }
    }

    pub(super) async fn r24_each_column_is_filled(&self) -> Verdict {
        let whole = self.whole().await?;
        if whole.records().next().is_none() {
            let seen = "the table has no record, so that no column is seen filled".to_owned();
            return match self.trial.subject.complete {
                true => Err(Fault::Broken(seen)),
                false => Err(Fault::NotTested(seen)),
            };
        }
        let mut empty = BTreeSet::new();
        unfilled(&self.schema, &whole.records().collect::<Vec<_>>(), "", &mut empty);
        let known: Vec<&str> = self
            .trial
            .subject
            .unfilled
            .iter()
            .filter(|column| column.table == self.name)
            .map(|column| column.column.as_str())
            .collect();
        let (excused, left): (BTreeSet<String>, BTreeSet<String>) =
            empty.into_iter().partition(|path| known.iter().any(|known| is_below(path, known)));
        if !left.is_empty() {
            let seen = format!("no record fills {}", listed(&left));
            return Err(if self.trial.subject.complete {
                Fault::Broken(seen)
            } else {
                Fault::Doubtful(seen)
            });
        }
        let filled = known.iter().find(|known| !excused.iter().any(|path| is_below(path, known)));
        match filled {
            Some(column) => Err(Fault::Doubtful(format!(
                "`unfilled_columns` names `{column}`, and it is filled or no column: take the entry out"
            ))),
            None => Ok(()),
        }
    }
}

/// Says whether `path` is `parent` or a field in it.
fn is_below(path: &str, parent: &str) -> bool {
    path.strip_prefix(parent).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// The paths of fields that are null or absent in all of `records`. What lies in an empty one is not named besides.
fn unfilled(schema: &StructType, records: &[&Value], above: &str, empty: &mut BTreeSet<String>) {
    for field in &schema.fields {
        let path = if above.is_empty() { field.name.clone() } else { format!("{above}.{}", field.name) };
        let values: Vec<&Value> = records
            .iter()
            .filter_map(|record| record.get(&field.name))
            .filter(|value| !value.is_null())
            .collect();
        if values.is_empty() {
            empty.insert(path);
        } else {
            unfilled_within(&field.data_type, &values, &path, empty);
        }
    }
}

fn unfilled_within(data_type: &DataType, values: &[&Value], path: &str, empty: &mut BTreeSet<String>) {
    match data_type {
        // A struct that comes as text is a matter of the decoder.
        DataType::Struct(fields) => {
            let objects: Vec<&Value> = values.iter().copied().filter(|value| value.is_object()).collect();
            if !objects.is_empty() {
                unfilled(fields, &objects, path, empty);
            }
        }
        DataType::Array { element, .. } if holds_a_struct(element) => {
            let items: Vec<&Value> = values.iter().filter_map(|value| value.as_array()).flatten().collect();
            if items.is_empty() {
                empty.insert(path.to_owned());
            } else {
                unfilled_within(element, &items, path, empty);
            }
        }
        DataType::Map { value, .. } if holds_a_struct(value) => {
            let inner: Vec<&Value> =
                values.iter().filter_map(|v| v.as_object()).flat_map(|o| o.values()).collect();
            if inner.is_empty() {
                empty.insert(path.to_owned());
            } else {
                unfilled_within(value, &inner, path, empty);
            }
        }
        _ => {}
    }
}

fn holds_a_struct(data_type: &DataType) -> bool {
    match data_type {
        DataType::Struct(_) => true,
        DataType::Array { element, .. } => holds_a_struct(element),
        DataType::Map { value, .. } => holds_a_struct(value),
        _ => false,
    }
}

/// Compares two values of a cursor: numbers and times as such, other texts by their letters.
pub(super) fn compared(one: &Value, other: &Value) -> Option<Ordering> {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => match (one.as_i64(), other.as_i64()) {
            (Some(one), Some(other)) => Some(one.cmp(&other)),
            _ => one.as_f64()?.partial_cmp(&other.as_f64()?),
        },
        (Value::String(one), Value::String(other)) => {
            let time = |text: &str| text.parse::<DateTime<FixedOffset>>().ok();
            let number = |text: &str| text.parse::<i128>().ok();
            match (time(one), time(other), number(one), number(other)) {
                (Some(one), Some(other), ..) => Some(one.cmp(&other)),
                (_, _, Some(one), Some(other)) => Some(one.cmp(&other)),
                _ => Some(one.cmp(other)),
            }
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::cmp::Ordering;
    use std::collections::BTreeSet;

    use headwater_connect::StructType;
    use serde_json::{Value, json};

    use super::{compared, is_below, unfilled};

    #[test]
    fn cursors_are_compared_as_what_they_are() {
        let check =
            |one: Value, other: Value, expect| assert_eq!(compared(&one, &other), expect, "{one} {other}");
        check(json!(9), json!(10), Some(Ordering::Less));
        check(json!("9"), json!("10"), Some(Ordering::Less));
        check(json!(1.5), json!(1), Some(Ordering::Greater));
        check(json!("2024-01-01T00:00:00Z"), json!("2024-01-01T00:30:00+01:00"), Some(Ordering::Greater));
        check(json!("a"), json!("b"), Some(Ordering::Less));
        check(json!("a"), json!(1), None);
    }

    #[test]
    fn fields_that_nothing_fills_are_named_by_their_path() {
        let text = |name: &str| json!({"name": name, "type": "string", "nullable": true, "metadata": {}});
        let of = |name: &str, data_type: Value| json!({"name": name, "type": data_type, "nullable": true, "metadata": {}});
        let user = json!({"type": "struct", "fields": [text("login"), text("email")]});
        let schema = StructType::from_json(&json!({"type": "struct", "fields": [
            text("id"), text("closed"), of("user", user.clone()), of("owner", user.clone()),
            of("labels", json!({"type": "array", "elementType": user.clone(), "containsNull": true})),
            of("none", json!({"type": "array", "elementType": user.clone(), "containsNull": true})),
            of("tags", json!({"type": "array", "elementType": "string", "containsNull": true})),
            of("by", json!({"type": "map", "keyType": "string", "valueType": user, "valueContainsNull": true})),
        ]}))
        .unwrap();
        let records = [
            json!({"id": "1", "closed": null, "user": {"login": "a"}, "labels": [], "none": [], "tags": [], "by": {"x": {"email": "e"}}}),
            json!({"id": "2", "user": {"login": "b", "email": null}, "owner": {"login": "c", "email": "e"}, "labels": [{"email": "e"}]}),
        ];
        let mut empty = BTreeSet::new();
        unfilled(&schema, &records.iter().collect::<Vec<_>>(), "", &mut empty);
        let names: Vec<&str> = empty.iter().map(String::as_str).collect();
        assert_eq!(names, ["by.login", "closed", "labels.login", "none", "user.email"]);
        assert!(is_below("a.b", "a") && is_below("a", "a") && !is_below("ab", "a") && !is_below("a", "a.b"));
    }
}
