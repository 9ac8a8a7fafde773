//! A hash of many rows that does not depend on their order, to tell whether a snapshot equals what the table holds.

use arrow_array::RecordBatch;
use arrow_row::{RowConverter, SortField};
use arrow_schema::{ArrowError, SchemaRef};
use std::hash::{DefaultHasher, Hasher};
use uuid::Uuid;

/// The sum of the hashes of rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct RowSum {
    pub(crate) rows: u64,
    sum: u128,
}

impl RowSum {
    #[must_use]
    pub(crate) fn plus(self, other: Self) -> Self {
        Self { rows: self.rows + other.rows, sum: self.sum.wrapping_add(other.sum) }
    }

    /// The sum as text.
    pub(crate) fn text(&self) -> String {
        format!("{:032x}", self.sum)
    }
}

/// Hashes rows, 128 bits each, with a key that belongs to one table: nobody can make rows whose sums cancel out.
///
/// The standard library may change its hash between releases; then every snapshot is written once more.
#[derive(Debug)]
pub(crate) struct RowHasher {
    key: String,
    schema: SchemaRef,
}

impl RowHasher {
    /// Uses the key of an earlier snapshot, or a new one.
    pub(crate) fn new(schema: SchemaRef, key: Option<String>) -> Self {
        Self { key: key.unwrap_or_else(|| Uuid::new_v4().simple().to_string()), schema }
    }

    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    /// Adds up the hashes of rows.
    pub(crate) fn sum(&self, batches: &[RecordBatch]) -> Result<RowSum, ArrowError> {
        // Values are comparable between calls only where no dictionary is built up, and none of our types has one.
        let fields = self.schema.fields().iter().map(|f| SortField::new(f.data_type().clone()));
        let converter = RowConverter::new(fields.collect())?;
        let mut total = RowSum::default();
        for batch in batches {
            let rows = converter.convert_columns(batch.columns())?;
            for row in &rows {
                let hash = |salt: u8| {
                    let mut hasher = DefaultHasher::new();
                    hasher.write(self.key.as_bytes());
                    hasher.write_u8(salt);
                    hasher.write(row.as_ref());
                    u128::from(hasher.finish())
                };
                let sum = total.sum.wrapping_add((hash(0) << 64) | hash(1));
                total = RowSum { rows: total.rows + 1, sum };
            }
        }
        Ok(total)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{Int64Array, RecordBatch, StringArray};
    use arrow_schema::{DataType, Field, Schema};

    use super::RowHasher;

    #[test]
    fn the_sum_depends_on_the_rows_and_not_on_their_order_or_batches() {
        let schema = Arc::new(Schema::new(vec![
            Field::new("a", DataType::Int64, true),
            Field::new("b", DataType::Utf8, true),
        ]));
        let batch = |rows: &[(i64, &str)]| {
            let a: Int64Array = rows.iter().map(|r| r.0).collect();
            let b: StringArray = rows.iter().map(|r| Some(r.1)).collect();
            RecordBatch::try_new(Arc::clone(&schema), vec![Arc::new(a), Arc::new(b)]).unwrap()
        };
        let hasher = RowHasher::new(Arc::clone(&schema), Some("k".into()));
        let of = |batches: &[RecordBatch]| hasher.sum(batches).unwrap();
        let all = of(&[batch(&[(1, "x"), (2, "y"), (2, "y")])]);
        assert_eq!(all, of(&[batch(&[(2, "y")]), batch(&[(2, "y"), (1, "x")])]));
        assert_eq!(all.rows, 3);
        assert_ne!(all, of(&[batch(&[(1, "x"), (2, "y")])]));
        assert_ne!(all.text(), of(&[batch(&[(1, "y"), (2, "x"), (2, "y")])]).text());
        let other = RowHasher::new(Arc::clone(&schema), Some("l".into()));
        assert_ne!(other.sum(&[batch(&[(1, "x"), (2, "y"), (2, "y")])]).unwrap(), all);
    }
}
