//! Bounds of a column in a file, as the log's statistics give them.

use std::sync::Arc;

use arrow_array::{ArrayRef, Date32Array, Int32Array, Int64Array, StringArray};
use arrow_schema::DataType;
use chrono::{Datelike, NaiveDate};
use serde::Deserialize;
use serde_json::Value;
use std::collections::HashMap;

#[derive(Deserialize)]
struct Stats {
    #[serde(rename = "minValues", default)]
    least: HashMap<String, Value>,
    #[serde(rename = "maxValues", default)]
    greatest: HashMap<String, Value>,
}

/// Says whether bounds of a column of this type can be trusted to hold every value: NaN is outside of all bounds.
pub(crate) fn has_bounds(data_type: &DataType) -> bool {
    !matches!(data_type, DataType::Float32 | DataType::Float64) && !data_type.is_nested()
}

/// The least and the greatest value of a column, where the statistics hold them exactly or widened.
pub(crate) fn file_bounds(
    stats: &str,
    column: &str,
    data_type: &DataType,
) -> (Option<ArrayRef>, Option<ArrayRef>) {
    let Ok(stats) = serde_json::from_str::<Stats>(stats) else { return (None, None) };
    let of = |values: &HashMap<String, Value>| bound(values.get(column)?, data_type);
    (of(&stats.least), of(&stats.greatest))
}

fn bound(value: &Value, data_type: &DataType) -> Option<ArrayRef> {
    Some(match data_type {
        DataType::Int32 => Arc::new(Int32Array::from(vec![i32::try_from(value.as_i64()?).ok()?])),
        DataType::Int64 => Arc::new(Int64Array::from(vec![value.as_i64()?])),
        DataType::Utf8 => Arc::new(StringArray::from(vec![value.as_str()?])),
        DataType::Date32 => {
            let date: NaiveDate = value.as_str()?.parse().ok()?;
            let days = date.num_days_from_ce() - NaiveDate::from_ymd_opt(1970, 1, 1)?.num_days_from_ce();
            Arc::new(Date32Array::from(vec![days]))
        }
        // Timestamps are cut to milliseconds there; the other types are rare in keys.
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use arrow_array::Array;
    use arrow_schema::DataType;

    use super::{file_bounds, has_bounds};

    #[test]
    fn bounds_are_read_where_they_can_be_trusted() {
        let stats = r#"{"numRecords":3,"minValues":{"id":-5,"name":"a","day":"1970-01-03","wide":3000000000},
            "maxValues":{"id":7,"day":"not a day"}}"#;
        let check = |column: &str, data_type: DataType, expect: (bool, bool)| {
            let (least, greatest) = file_bounds(stats, column, &data_type);
            assert_eq!((least.is_some(), greatest.is_some()), expect, "{column}");
            for bound in [least, greatest].into_iter().flatten() {
                assert_eq!((bound.len(), bound.data_type()), (1, &data_type));
            }
        };
        check("id", DataType::Int64, (true, true));
        check("id", DataType::Utf8, (false, false));
        check("name", DataType::Utf8, (true, false));
        check("day", DataType::Date32, (true, false));
        check("wide", DataType::Int32, (false, false));
        check("none", DataType::Int64, (false, false));
        assert!(!has_bounds(&DataType::Float64) && has_bounds(&DataType::Binary));
    }
}
