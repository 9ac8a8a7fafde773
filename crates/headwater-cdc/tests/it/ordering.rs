//! How values compare, and what may be a sequence.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow_array::builder::{
    FixedSizeListBuilder, Float64Builder, Int64Builder, ListBuilder, MapBuilder, StringBuilder,
};
use arrow_array::{
    Array, ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, DictionaryArray, Float32Array,
    Float64Array, Int8Array, Int32Array, Int64Array, NullArray, RecordBatch, StringArray, StructArray,
    TimestampMicrosecondArray,
};
use arrow_buffer::NullBuffer;
use arrow_schema::{DataType, Field};
use headwater_cdc::{CdcError, NotOrderable, RowCodec, check_sequence_type, column_at};
use headwater_connect::{DataType as Column, StructField, StructType};

/// `places` says where each value stands in the order; equal values stand at one place.
fn check(array: ArrayRef, places: &[i32]) {
    assert_eq!(array.len(), places.len());
    let codec = RowCodec::new(&[array.data_type().clone()]).unwrap();
    let rows = codec.encode(&[Arc::clone(&array)]).unwrap();
    for (a, place_a) in places.iter().enumerate() {
        for (b, place_b) in places.iter().enumerate() {
            let found = rows.row(a).data().cmp(rows.row(b).data());
            assert_eq!(found, place_a.cmp(place_b), "values {a} and {b} of {array:?}");
        }
    }
    // A slice, and a copy inside a struct, compare as the whole does.
    let half = array.len() / 2;
    let part = codec.encode(&[array.slice(half, array.len() - half)]).unwrap();
    assert_eq!(part.row(0).data(), rows.row(half).data());
    let field = Arc::new(Field::new("inner", array.data_type().clone(), true));
    let outer: ArrayRef = Arc::new(StructArray::from(vec![(field, Arc::clone(&array))]));
    let inside = RowCodec::new(&[outer.data_type().clone()]).unwrap().encode(&[outer]).unwrap();
    for (row, place) in places.iter().enumerate().skip(1) {
        assert_eq!(inside.row(row - 1).data().cmp(inside.row(row).data()), places[row - 1].cmp(place));
    }
}

#[test]
fn numbers_compare_by_value() {
    check(
        Arc::new(Int64Array::from(vec![Some(9), Some(10), Some(-1), Some(i64::MIN), Some(i64::MAX), None])),
        &[3, 4, 2, 1, 5, 0],
    );
    check(Arc::new(Int8Array::from(vec![-128, -1, 0, 127])), &[0, 1, 2, 3]);
    let decimals =
        Decimal128Array::from(vec![-1_005, -1_000, 999, 10_000, 9]).with_precision_and_scale(10, 2).unwrap();
    check(Arc::new(decimals), &[0, 1, 3, 4, 2]);
}

#[test]
fn text_compares_by_bytes() {
    check(
        Arc::new(StringArray::from(vec!["10", "9", "", "1", "10 ", "Z", "a", "é", "\u{ffff}", "\u{10000}"])),
        &[2, 4, 0, 1, 3, 5, 6, 7, 8, 9],
    );
    let long = "x".repeat(100);
    check(Arc::new(StringArray::from(vec![format!("{long}b"), format!("{long}a"), long])), &[2, 1, 0]);
}

#[test]
fn binary_compares_unsigned() {
    let values: Vec<&[u8]> = vec![&[0x80], &[0x7f], &[], &[0], &[0, 0], &[0xff], &[0x7f, 0]];
    check(Arc::new(BinaryArray::from(values)), &[5, 3, 0, 1, 2, 6, 4]);
}

#[test]
fn false_is_before_true() {
    check(Arc::new(BooleanArray::from(vec![Some(true), Some(false), None])), &[2, 1, 0]);
}

#[test]
fn times_compare_to_the_microsecond() {
    let instants =
        TimestampMicrosecondArray::from(vec![1, 0, -1, 1_700_000_000_000_001, 1_700_000_000_000_000]);
    check(Arc::new(instants.clone().with_timezone("UTC")), &[2, 1, 0, 4, 3]);
    check(Arc::new(instants), &[2, 1, 0, 4, 3]);
    check(Arc::new(Date32Array::from(vec![0, -1, 19_000])), &[1, 0, 2]);
}

#[test]
fn floats_have_one_nan_which_is_greatest_and_one_zero() {
    let other_nan = f64::from_bits(0xfff8_0000_0000_0001);
    let values =
        vec![f64::NAN, other_nan, -f64::NAN, f64::INFINITY, 0.0, -0.0, -1.5, f64::NEG_INFINITY, 5e-324];
    check(Arc::new(Float64Array::from(values)), &[9, 9, 9, 8, 3, 3, 2, 1, 4]);
    let values = vec![f32::NAN, f32::from_bits(0xffc0_0001), f32::INFINITY, 0.0, -0.0, -1.5];
    check(Arc::new(Float32Array::from(values)), &[9, 9, 8, 3, 3, 2]);
}

fn floats(lists: &[Option<&[Option<f64>]>]) -> ArrayRef {
    let mut builder = ListBuilder::new(Float64Builder::new());
    for list in lists {
        builder.append_option(list.map(|list| list.iter().copied()));
    }
    Arc::new(builder.finish())
}

#[test]
fn arrays_compare_element_by_element_with_a_prefix_first() {
    let lists: [Option<&[Option<f64>]>; 8] = [
        Some(&[Some(1.0)]),
        Some(&[Some(1.0), Some(0.0)]),
        Some(&[Some(1.0), Some(-0.0)]),
        Some(&[Some(1.0), None]),
        Some(&[]),
        None,
        Some(&[Some(2.0)]),
        Some(&[Some(-f64::NAN)]),
    ];
    check(floats(&lists), &[2, 4, 4, 3, 1, 0, 5, 6]);
    let mut builder = FixedSizeListBuilder::new(Float64Builder::new(), 2);
    for pair in [[1.0, 0.0], [1.0, -0.0], [0.5, f64::NAN]] {
        builder.values().append_slice(&pair);
        builder.append(true);
    }
    check(Arc::new(builder.finish()), &[1, 1, 0]);
}

fn pair(first: Vec<Option<i64>>, second: Vec<Option<f64>>, valid: Vec<bool>) -> StructArray {
    let fields =
        vec![Field::new("first", DataType::Int64, true), Field::new("second", DataType::Float64, true)];
    let columns: Vec<ArrayRef> =
        vec![Arc::new(Int64Array::from(first)), Arc::new(Float64Array::from(second))];
    StructArray::new(fields.into(), columns, Some(NullBuffer::from(valid)))
}

#[test]
fn structs_compare_field_by_field_with_null_first() {
    let pairs = pair(
        vec![None, Some(1), Some(1), Some(1), None, Some(7), Some(8)],
        vec![Some(1.0), None, Some(0.0), Some(-0.0), None, Some(1.0), Some(2.0)],
        vec![true, true, true, true, true, false, false],
    );
    check(Arc::new(pairs), &[2, 3, 4, 4, 1, 0, 0]);
}

#[test]
fn maps_are_equal_entry_by_entry() {
    let mut builder = MapBuilder::new(None, StringBuilder::new(), Float64Builder::new());
    let maps: [Option<&[(&str, f64)]>; 7] = [
        Some(&[("a", 0.0), ("b", f64::NAN)]),
        Some(&[("a", -0.0), ("b", -f64::NAN)]),
        Some(&[("b", f64::NAN), ("a", 0.0)]),
        Some(&[("a", 0.0)]),
        Some(&[]),
        None,
        Some(&[("a", 1.0)]),
    ];
    for map in maps {
        for (key, value) in map.unwrap_or(&[("hidden", 3.0)]) {
            builder.keys().append_value(key);
            builder.values().append_value(*value);
        }
        builder.append(map.is_some()).unwrap();
    }
    let maps: ArrayRef = Arc::new(builder.finish());
    let rows = RowCodec::new(&[maps.data_type().clone()]).unwrap().encode(&[maps]).unwrap();
    let classes = [0, 0, 1, 2, 3, 4, 5];
    for a in 0..classes.len() {
        for b in 0..classes.len() {
            assert_eq!(
                rows.row(a).data() == rows.row(b).data(),
                classes[a] == classes[b],
                "maps {a} and {b}"
            );
        }
    }
}

#[test]
fn columns_compare_one_after_the_other() {
    let codec = RowCodec::new(&[DataType::Utf8, DataType::Int64]).unwrap();
    let columns: Vec<ArrayRef> =
        vec![Arc::new(StringArray::from(vec!["a", "ab", "a"])), Arc::new(Int64Array::from(vec![2, 1, 3]))];
    let rows = codec.encode(&columns).unwrap();
    assert_eq!(rows.row(0).data().cmp(rows.row(1).data()), Ordering::Less);
    assert_eq!(rows.row(0).data().cmp(rows.row(2).data()), Ordering::Less);
    assert_eq!(rows.row(2).data().cmp(rows.row(1).data()), Ordering::Less);
    let chunks: Vec<Vec<ArrayRef>> =
        (0..3).map(|row| columns.iter().map(|column| column.slice(row, 1)).collect()).collect();
    let chunked = codec.encode_chunks(&chunks).unwrap();
    assert!(rows.iter().eq(chunked.iter()));
}

#[test]
fn rows_without_columns_are_equal() {
    let codec = RowCodec::new(&[]).unwrap();
    let rows = codec.encode_rows(&[], 3).unwrap();
    assert_eq!(rows.num_rows(), 3);
    assert!(rows.iter().all(|row| row == rows.row(0)));
    assert_eq!(codec.encode(&[]).unwrap().num_rows(), 0);
    let number: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3]));
    let batch = RecordBatch::try_from_iter([("n", number)]).unwrap();
    assert_eq!(codec.encode_batches(&[batch.clone(), batch.slice(1, 2)], &[]).unwrap().num_rows(), 5);
    let numbers = RowCodec::new(&[DataType::Int64]).unwrap();
    let rows = numbers.encode_batches(&[batch.clone(), batch.slice(0, 1)], &[0]).unwrap();
    assert_eq!((rows.num_rows(), rows.row(0) == rows.row(3)), (4, true));
    let beyond = numbers.encode_batches(&[batch], &[1]);
    assert!(matches!(beyond, Err(CdcError::UnknownColumn { path }) if path == "number 1"));
}

#[test]
fn a_codec_refuses_other_columns() {
    let codec = RowCodec::new(&[DataType::Int64, DataType::Utf8]).unwrap();
    let number: ArrayRef = Arc::new(Int64Array::from(vec![1]));
    let text: ArrayRef = Arc::new(StringArray::from(vec!["a"]));
    assert!(matches!(codec.encode(&[]), Err(CdcError::WrongColumnCount { expected: 2, found: 0 })));
    let swapped = codec.encode(&[Arc::clone(&text), Arc::clone(&number)]);
    assert!(matches!(swapped, Err(CdcError::WrongType { column: 0, expected: DataType::Int64, .. })));
    let uneven = codec.encode(&[number, text.slice(0, 0)]);
    assert!(matches!(uneven, Err(CdcError::UnevenLengths { expected: 1, found: 0, .. })));
    let dictionary: DictionaryArray<arrow_array::types::Int32Type> = vec!["a"].into_iter().collect();
    let refused = RowCodec::new(&[DataType::Int64, dictionary.data_type().clone()]);
    assert!(matches!(refused, Err(CdcError::UnsupportedType { column: 1, .. })));
    let bare_map = DataType::Map(Arc::new(Field::new("entries", DataType::Int64, false)), false);
    assert!(matches!(RowCodec::new(&[bare_map]), Err(CdcError::UnsupportedType { column: 0, .. })));
}

#[test]
fn maps_and_variants_cannot_be_sequences() {
    let map = || Column::Map {
        key: Box::new(Column::String),
        value: Box::new(Column::Long),
        value_contains_null: true,
    };
    let array = |element: Column| Column::Array { element: Box::new(element), contains_null: true };
    let outer = |inner: Column| {
        Column::Struct(StructType::new([
            StructField::nullable("n", Column::Long),
            StructField::nullable("at", inner),
        ]))
    };
    let refused = |data_type: Column| {
        let NotOrderable { path, type_name } = check_sequence_type(&data_type).unwrap_err();
        (path, type_name)
    };
    assert_eq!(refused(map()), (String::new(), "map"));
    assert_eq!(refused(Column::Variant), (String::new(), "variant"));
    assert_eq!(refused(array(Column::Variant)), ("element".into(), "variant"));
    assert_eq!(refused(outer(array(outer(map())))), ("at.element.at".into(), "map"));
    let fine = [
        Column::Boolean,
        Column::Binary,
        Column::Decimal { precision: 38, scale: 10 },
        Column::TimestampNtz,
        Column::Date,
        Column::Double,
        array(outer(Column::String)),
    ];
    fine.iter().for_each(|data_type| assert_eq!(check_sequence_type(data_type), Ok(()), "{data_type:?}"));
    let text = check_sequence_type(&array(Column::Variant)).unwrap_err().to_string();
    assert_eq!(text, "values of variant have no order (at element)");
}

#[test]
fn a_nested_column_is_null_where_a_struct_around_it_is() {
    let inner =
        pair(vec![Some(1), Some(2), Some(3), None], vec![Some(0.0); 4], vec![true, false, true, true]);
    let nothing: ArrayRef = Arc::new(NullArray::new(4));
    let plain: ArrayRef = Arc::new(Int32Array::from(vec![5, 6, 7, 8]));
    let fields = vec![
        Field::new("b", inner.data_type().clone(), true),
        Field::new("none", DataType::Null, true),
        Field::new("plain", DataType::Int32, false),
    ];
    let columns: Vec<ArrayRef> = vec![Arc::new(inner), nothing, plain];
    let nulls = NullBuffer::from(vec![true, true, false, true]);
    let outer: ArrayRef = Arc::new(StructArray::new(
        fields.into_iter().map(|field| field.with_nullable(true)).collect(),
        columns,
        Some(nulls),
    ));
    let batch = RecordBatch::try_from_iter([("a", outer)]).unwrap();
    let check = |batch: &RecordBatch, path: &[&str], expected: ArrayRef| {
        assert_eq!(&column_at(batch, path).unwrap(), &expected, "{path:?}");
    };
    check(&batch, &["a", "b", "first"], Arc::new(Int64Array::from(vec![Some(1), None, None, None])));
    check(&batch, &["a", "plain"], Arc::new(Int32Array::from(vec![Some(5), Some(6), None, Some(8)])));
    check(&batch, &["a", "none"], Arc::new(NullArray::new(4)));
    check(&batch.slice(1, 3), &["a", "plain"], Arc::new(Int32Array::from(vec![Some(6), None, Some(8)])));

    let unknown = |path: &[&str]| match column_at(&batch, path) {
        Err(CdcError::UnknownColumn { path }) => path,
        other => panic!("{other:?}"),
    };
    assert_eq!(unknown(&[]), "");
    assert_eq!(unknown(&["x", "b"]), "x");
    assert_eq!(unknown(&["a", "B", "first"]), "a.B");
    let through = column_at(&batch, &["a", "plain", "x"]);
    assert!(
        matches!(through, Err(CdcError::NotAStruct { path, data_type: DataType::Int32 }) if path == "a.plain")
    );
}

#[test]
fn numbers_in_lists_keep_their_order() {
    let mut builder = ListBuilder::new(Int64Builder::new());
    for list in [vec![2], vec![10], vec![2, -1], vec![-3, 9]] {
        builder.append_value(list.into_iter().map(Some));
    }
    check(Arc::new(builder.finish()), &[1, 3, 2, 0]);
}
