//! Values for tests of changes, by rank: a greater rank is a greater value, in types whose order is easy to get wrong.

use std::sync::Arc;

use arrow_array::{
    ArrayRef, BinaryArray, Date32Array, Decimal128Array, Float64Array, Int32Array, Int64Array, StringArray,
    StructArray, TimestampMicrosecondArray,
};
use arrow_buffer::NullBuffer;
use headwater_connect::{DataType, StructField, StructType};

/// There are so many values of each kind.
pub(crate) const RANKS: usize = 48;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Int,
    Long,
    /// Text in the order of its bytes: "10" comes before "9".
    Text,
    /// Text that differs behind the characters that statistics keep.
    LongText,
    /// Text of a tenth of a megabyte.
    Pad,
    Date,
    /// Instants less than a millisecond apart, on both sides of 1970.
    Instant,
    /// More digits than a double has.
    Decimal,
    /// From minus infinity to NaN.
    Double,
    /// Bytes on both sides of 0x80.
    Bytes,
    /// Fields one after the other; null comes first.
    Struct,
}

impl Kind {
    pub(crate) fn data_type(self) -> DataType {
        match self {
            Kind::Int => DataType::Integer,
            Kind::Long => DataType::Long,
            Kind::Text | Kind::LongText | Kind::Pad => DataType::String,
            Kind::Date => DataType::Date,
            Kind::Instant => DataType::Timestamp,
            Kind::Decimal => DataType::Decimal { precision: 38, scale: 10 },
            Kind::Double => DataType::Double,
            Kind::Bytes => DataType::Binary,
            Kind::Struct => DataType::Struct(StructType::new([
                StructField::nullable("first", DataType::Integer),
                StructField::nullable("second", DataType::String),
            ])),
        }
    }

    pub(crate) fn column(self, ranks: &[Option<usize>]) -> ArrayRef {
        let each = ranks.iter().copied();
        let small = |rank: usize| i32::try_from(rank).unwrap();
        let long = |rank: usize| i64::try_from(rank).unwrap();
        match self {
            Kind::Int => Arc::new(each.map(|r| Some(small(r?) * 3 - 50)).collect::<Int32Array>()),
            Kind::Long => Arc::new(
                each.map(|r| Some(long(r?) * 190_000_000_000_000_000 - (1 << 62))).collect::<Int64Array>(),
            ),
            Kind::Text => {
                let texts = texts();
                Arc::new(each.map(|r| Some(texts[r?].clone())).collect::<StringArray>())
            }
            Kind::LongText => {
                Arc::new(each.map(|r| Some(format!("{}{:02}", "ü".repeat(40), r?))).collect::<StringArray>())
            }
            Kind::Pad => Arc::new(
                each.map(|r| Some(format!("{:02}{}", r?, "pad ".repeat(25_000)))).collect::<StringArray>(),
            ),
            Kind::Date => Arc::new(each.map(|r| Some(small(r?) * 9 - 200)).collect::<Date32Array>()),
            Kind::Instant => Arc::new(
                each.map(|r| Some(long(r?) * 333 - 7_000))
                    .collect::<TimestampMicrosecondArray>()
                    .with_timezone("UTC"),
            ),
            Kind::Decimal => {
                let values =
                    each.map(|r| Some((i128::from(small(r?)) - 20) * 1_234_567_890_123_456_789_012_345));
                Arc::new(values.collect::<Decimal128Array>().with_precision_and_scale(38, 10).unwrap())
            }
            Kind::Double => Arc::new(
                each.map(|r| {
                    Some(match r? {
                        0 => f64::NEG_INFINITY,
                        rank if rank == RANKS - 1 => f64::NAN,
                        rank => f64::from(small(rank) - 20) / 8.0,
                    })
                })
                .collect::<Float64Array>(),
            ),
            Kind::Bytes => {
                let bytes = |rank: usize| {
                    let first = u8::try_from(110 + rank / 2).unwrap();
                    if rank.is_multiple_of(2) { vec![first] } else { vec![first, 0] }
                };
                Arc::new(BinaryArray::from_iter(each.map(|r| Some(bytes(r?)))))
            }
            Kind::Struct => {
                const SECOND: usize = 6;
                let texts = texts();
                let first: Int32Array =
                    ranks.iter().map(|r| (*r)?.checked_div(SECOND).filter(|f| *f > 0).map(small)).collect();
                let second: StringArray = ranks
                    .iter()
                    .map(|r| Some((*r)? % SECOND).filter(|s| *s > 0).map(|s| texts[s].clone()))
                    .collect();
                let nulls = NullBuffer::from_iter(ranks.iter().map(Option::is_some));
                let arrow_schema::DataType::Struct(fields) = self.data_type().to_arrow() else { panic!() };
                Arc::new(
                    StructArray::try_new(fields, vec![Arc::new(first), Arc::new(second)], Some(nulls))
                        .unwrap(),
                )
            }
        }
    }
}

fn texts() -> Vec<String> {
    let mut texts: Vec<String> = (0..RANKS - 4).map(|n| n.to_string()).collect();
    texts.extend(["", "9z", "ü", "🦀"].map(str::to_owned));
    texts.sort();
    texts
}
