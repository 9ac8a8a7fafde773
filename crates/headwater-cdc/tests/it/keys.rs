//! The index of keys against a plain map, for every kind of key.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use arrow_array::types::{Date32Type, Int8Type, Int16Type, Int32Type, Int64Type};
use arrow_array::{
    Array, ArrayRef, BinaryArray, BinaryViewArray, BooleanArray, Decimal128Array, Float64Array, Int32Array,
    Int64Array, LargeBinaryArray, LargeStringArray, NullArray, PrimitiveArray, StringArray, StringViewArray,
    StructArray, TimestampMicrosecondArray, TimestampMillisecondArray, TimestampNanosecondArray,
    TimestampSecondArray,
};
use arrow_schema::{DataType, Field};
use fastrand::Rng;
use headwater_cdc::{CdcError, KeyIndex};

/// A column of keys made of numbers from 0 to 99: different for different numbers and in their order.
type Make = fn(&[Option<i64>]) -> ArrayRef;

fn text(number: i64) -> String {
    // Some longer than a block of the hash and of the encoding, with equal beginnings.
    let tail = if number % 3 == 0 { "-".repeat(40) } else { String::new() };
    format!("{number:02}{tail}{}", if number % 2 == 0 { "é" } else { "" })
}

fn small(number: i64) -> i32 {
    i32::try_from(number).unwrap() - 50
}

const KINDS: [(&str, Make); 18] = [
    ("int8", |n| {
        Arc::new(
            n.iter()
                .map(|n| n.map(|n| i8::try_from(small(n)).unwrap()))
                .collect::<PrimitiveArray<Int8Type>>(),
        )
    }),
    ("int16", |n| {
        Arc::new(
            n.iter()
                .map(|n| n.map(|n| i16::try_from(small(n)).unwrap() * 300))
                .collect::<PrimitiveArray<Int16Type>>(),
        )
    }),
    ("int32", |n| {
        Arc::new(n.iter().map(|n| n.map(|n| small(n) * 40_000_000)).collect::<PrimitiveArray<Int32Type>>())
    }),
    ("int64", |n| {
        Arc::new(n.iter().map(|n| n.map(|n| (n - 50) << 57)).collect::<PrimitiveArray<Int64Type>>())
    }),
    ("date", |n| Arc::new(n.iter().map(|n| n.map(small)).collect::<PrimitiveArray<Date32Type>>())),
    ("second", |n| Arc::new(n.iter().copied().collect::<TimestampSecondArray>())),
    ("millisecond", |n| Arc::new(n.iter().copied().collect::<TimestampMillisecondArray>())),
    ("microsecond", |n| {
        Arc::new(n.iter().copied().collect::<TimestampMicrosecondArray>().with_timezone("UTC"))
    }),
    ("nanosecond", |n| Arc::new(n.iter().copied().collect::<TimestampNanosecondArray>())),
    ("text", |n| Arc::new(n.iter().map(|n| n.map(text)).collect::<StringArray>())),
    ("large text", |n| Arc::new(n.iter().map(|n| n.map(text)).collect::<LargeStringArray>())),
    ("text view", |n| Arc::new(n.iter().map(|n| n.map(text)).collect::<StringViewArray>())),
    ("binary", |n| Arc::new(n.iter().map(|n| n.map(|n| text(n).into_bytes())).collect::<BinaryArray>())),
    ("large binary", |n| {
        Arc::new(n.iter().map(|n| n.map(|n| text(n).into_bytes())).collect::<LargeBinaryArray>())
    }),
    ("binary view", |n| {
        Arc::new(n.iter().map(|n| n.map(|n| text(n).into_bytes())).collect::<BinaryViewArray>())
    }),
    ("decimal", |n| {
        Arc::new(n.iter().map(|n| n.map(|n| i128::from(n - 50) << 70)).collect::<Decimal128Array>())
    }),
    ("double", |n| Arc::new(n.iter().map(|n| n.map(|n| n as f64 / 7.0 - 3.0)).collect::<Float64Array>())),
    ("struct", |n| {
        let inner: ArrayRef = Arc::new(n.iter().copied().collect::<Int64Array>());
        let field = Field::new("n", DataType::Int64, true);
        let nulls = inner.nulls().cloned();
        Arc::new(StructArray::new(vec![field].into(), vec![inner], nulls))
    }),
];

fn numbers(rng: &mut Rng, count: usize, nulls: bool) -> Vec<Option<i64>> {
    (0..count).map(|_| Some(rng.i64(0..100)).filter(|_| !nulls || rng.u8(..8) > 0)).collect()
}

/// Builds an index of rows given as numbers, checks the groups, and gives the group of each key.
fn build(chunks: &[Vec<Vec<Option<i64>>>], makes: &[Make]) -> (KeyIndex, HashMap<Vec<i64>, u32>) {
    let arrays: Vec<Vec<ArrayRef>> = chunks.iter().map(|columns| made(columns, makes)).collect();
    let (index, groups) = KeyIndex::build(&arrays).unwrap();
    let mut model = HashMap::new();
    let mut expected = Vec::new();
    for columns in chunks {
        for row in 0..columns[0].len() {
            let next = u32::try_from(model.len()).unwrap();
            let key: Vec<i64> = columns.iter().map(|column| column[row].unwrap()).collect();
            expected.push(*model.entry(key).or_insert(next));
        }
    }
    assert_eq!(groups, expected);
    assert_eq!(index.groups(), model.len());
    (index, model)
}

fn made(columns: &[Vec<Option<i64>>], makes: &[Make]) -> Vec<ArrayRef> {
    columns.iter().zip(makes).map(|(column, make)| make(column)).collect()
}

fn check_probe(name: &str, makes: &[Make], rng: &mut Rng) {
    let columns = |rng: &mut Rng, count: usize, nulls: bool| -> Vec<Vec<Option<i64>>> {
        makes.iter().map(|_| numbers(rng, count, nulls)).collect()
    };
    let sizes = [rng.usize(0..30), rng.usize(0..30), rng.usize(1..10)];
    let chunks: Vec<_> = sizes.iter().map(|size| columns(rng, *size, false)).collect();
    let (index, model) = build(&chunks, makes);
    let count = rng.usize(0..3_000);
    let probed = columns(rng, count, true);
    let expected: Vec<(u32, u32)> = (0..count)
        .filter_map(|row| {
            let key: Option<Vec<i64>> = probed.iter().map(|column| column[row]).collect();
            Some((u32::try_from(row).unwrap(), *model.get(&key?)?))
        })
        .collect();
    let arrays = made(&probed, makes);
    let mut hits = vec![(7, 7)];
    index.probe(&arrays, &mut hits).unwrap();
    assert_eq!(hits[0], (7, 7), "{name}: hits are appended");
    assert_eq!(hits[1..], expected, "{name}");

    let begin = rng.usize(0..=count);
    let sliced: Vec<ArrayRef> = arrays.iter().map(|array| array.slice(begin, count - begin)).collect();
    let mut hits = Vec::new();
    index.probe(&sliced, &mut hits).unwrap();
    let begin = u32::try_from(begin).unwrap();
    let moved = expected.iter().filter(|(row, _)| *row >= begin).map(|(row, group)| (row - begin, *group));
    assert_eq!(hits, moved.collect::<Vec<_>>(), "{name}: a slice");
}

#[test]
fn single_keys_of_every_type_are_found() {
    for (name, make) in KINDS {
        for seed in 0..20 {
            check_probe(name, &[make], &mut Rng::with_seed(seed));
        }
    }
}

#[test]
fn keys_of_several_columns_are_found() {
    for seed in 0..60 {
        let mut rng = Rng::with_seed(seed);
        let kinds: Vec<(&str, Make)> = (0..rng.usize(2..=4)).map(|_| rng.choice(KINDS).unwrap()).collect();
        let names: Vec<&str> = kinds.iter().map(|(name, _)| *name).collect();
        let makes: Vec<Make> = kinds.iter().map(|(_, make)| *make).collect();
        check_probe(&names.join(", "), &makes, &mut rng);
        // Few values, so that whole keys match as well as halves of them.
        let few: Vec<Make> =
            vec![|n| Arc::new(n.iter().map(|n| n.map(|n| n % 2 == 0)).collect::<BooleanArray>()), |n| {
                Arc::new(n.iter().map(|n| n.map(|n| n % 3)).collect::<Int64Array>())
            }];
        let arrays = |columns: &[Vec<Option<i64>>]| made(columns, &few);
        let (left, right) = (numbers(&mut rng, 4, false), numbers(&mut rng, 200, false));
        let (index, groups) = KeyIndex::build(&[arrays(&[left.clone(), left.clone()])]).unwrap();
        let mut hits = Vec::new();
        index.probe(&arrays(&[right.clone(), right.clone()]), &mut hits).unwrap();
        for (row, number) in right.iter().enumerate() {
            let same = left.iter().position(|other| other.unwrap() % 6 == number.unwrap() % 6);
            let hit = hits.iter().find(|(found, _)| *found as usize == row).map(|(_, group)| *group);
            assert_eq!(hit, same.map(|other| groups[other]), "seed {seed}");
        }
    }
}

#[test]
fn many_keys_are_found_in_many_rows() {
    let mut rng = Rng::with_seed(1);
    let keys: Vec<i64> = (0..50_000).map(|_| rng.i64(..)).collect();
    let probed: Vec<i64> = (0..200_000)
        .map(|_| if rng.u8(..4) == 0 { keys[rng.usize(0..keys.len())] } else { rng.i64(..) })
        .collect();
    let number: ArrayRef = Arc::new(Int64Array::from(keys.clone()));
    let (index, groups) = KeyIndex::build(&[vec![number]]).unwrap();
    let model: HashMap<i64, u32> = keys.iter().copied().zip(groups).collect();
    let expected: Vec<(u32, u32)> =
        (0..).zip(&probed).filter_map(|(row, key)| Some((row, *model.get(key)?))).collect();
    let mut hits = Vec::new();
    index.probe_i64(&probed, &mut hits).unwrap();
    assert_eq!(hits, expected);
    hits.clear();
    index.probe(&[Arc::new(Int64Array::from(probed.clone()))], &mut hits).unwrap();
    assert_eq!(hits, expected);

    let text = |keys: &[i64]| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(keys.iter().map(i64::to_string)))
    };
    let (index, _) = KeyIndex::build(&[vec![text(&keys)]]).unwrap();
    hits.clear();
    index.probe(&[text(&probed)], &mut hits).unwrap();
    assert_eq!(hits, expected);
    assert_eq!(index.probe_i64(&probed, &mut hits), None);
}

#[test]
fn floating_keys_have_one_nan_and_one_zero() {
    let floats = |values: Vec<f64>| -> Vec<ArrayRef> { vec![Arc::new(Float64Array::from(values))] };
    let (index, groups) = KeyIndex::build(&[floats(vec![0.0, f64::NAN, -0.0, -f64::NAN])]).unwrap();
    assert_eq!(groups, [0, 1, 0, 1]);
    let mut hits = Vec::new();
    index.probe(&floats(vec![-f64::NAN, 1.0, -0.0]), &mut hits).unwrap();
    assert_eq!(hits, [(0, 1), (2, 0)]);
}

#[test]
fn layouts_of_text_and_time_zones_do_not_matter() {
    let (index, _) = KeyIndex::build(&[
        vec![Arc::new(StringArray::from(vec!["a", "b"])) as ArrayRef],
        vec![Arc::new(LargeStringArray::from(vec!["b", "c"]))],
    ])
    .unwrap();
    assert_eq!(index.groups(), 3);
    let mut hits = Vec::new();
    index.probe(&[Arc::new(StringViewArray::from(vec!["c", "x", "a"]))], &mut hits).unwrap();
    assert_eq!(hits, [(0, 2), (2, 0)]);
    let instants = TimestampMicrosecondArray::from(vec![5, 6]);
    let (index, _) =
        KeyIndex::build(&[vec![Arc::new(instants.clone().with_timezone("UTC")) as ArrayRef]]).unwrap();
    hits.clear();
    index.probe(&[Arc::new(instants.with_timezone("+00:00"))], &mut hits).unwrap();
    assert_eq!(hits, [(0, 0), (1, 1)]);
}

#[test]
fn null_keys_are_refused() {
    let whole: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3]));
    let holed: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), Some("b"), None]));
    let refused = |chunks: &[Vec<ArrayRef>]| match KeyIndex::build(chunks) {
        Err(CdcError::NullKey { column, row }) => (column, row),
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(&[vec![Arc::clone(&holed)]]), (0, 2));
    let good = vec![whole.slice(0, 2), holed.slice(0, 2)];
    assert_eq!(refused(&[good, vec![whole, holed]]), (1, 4));
    assert_eq!(refused(&[vec![Arc::new(NullArray::new(2))]]), (0, 0));
}

#[test]
fn an_empty_index_finds_nothing() {
    let nothing: ArrayRef = Arc::new(Int64Array::from(Vec::<i64>::new()));
    let number: ArrayRef = Arc::new(Int64Array::from(vec![0, 1]));
    for chunks in [vec![], vec![vec![Arc::clone(&nothing)]], vec![vec![Arc::clone(&nothing), nothing]]] {
        let (index, groups) = KeyIndex::build(&chunks).unwrap();
        let mut hits = Vec::new();
        index.probe(&[Arc::clone(&number)], &mut hits).unwrap();
        assert_eq!((index.groups(), groups.len(), hits.len()), (0, 0, 0));
        assert!(!index.may_hold(&[None], &[None]).unwrap());
    }
}

#[test]
fn other_columns_are_refused() {
    let number: ArrayRef = Arc::new(Int64Array::from(vec![1]));
    let narrow: ArrayRef = Arc::new(Int32Array::from(vec![1]));
    let (index, _) = KeyIndex::build(&[vec![Arc::clone(&number)]]).unwrap();
    let mut hits = Vec::new();
    let mut probe = |columns: &[ArrayRef]| index.probe(columns, &mut hits).unwrap_err();
    assert!(matches!(probe(&[]), CdcError::WrongColumnCount { expected: 1, found: 0 }));
    assert!(matches!(probe(&[Arc::clone(&narrow)]), CdcError::WrongType { column: 0, .. }));
    let bounds = |min: &[Option<ArrayRef>], max: &[Option<ArrayRef>]| index.may_hold(min, max).unwrap_err();
    assert!(matches!(bounds(&[], &[None]), CdcError::WrongColumnCount { .. }));
    assert!(matches!(bounds(&[None], &[Some(narrow)]), CdcError::WrongType { .. }));
    assert!(matches!(bounds(&[Some(number.slice(0, 0))], &[None]), CdcError::UnevenLengths { .. }));
    assert!(matches!(KeyIndex::build(&[vec![]]), Err(CdcError::WrongColumnCount { .. })));
    let two = vec![Arc::clone(&number), number.slice(0, 0)];
    assert!(matches!(KeyIndex::build(&[two]), Err(CdcError::UnevenLengths { .. })));
}

#[test]
fn bounds_tell_which_files_can_hold_a_key() {
    for (name, make) in KINDS {
        let mut rng = Rng::with_seed(3);
        let count = rng.usize(1..8);
        let keys = numbers(&mut rng, count, false);
        let distinct: BTreeSet<i64> = keys.iter().flatten().copied().collect();
        let (index, _) = build(&[vec![keys]], &[make]);
        let one = |number: Option<i64>| number.map(|number| make(&[Some(number)]));
        for min in (0..100).map(Some).chain([None]) {
            for max in (min.unwrap_or(0)..100).map(Some).chain([None]) {
                let expected = distinct.range(min.unwrap_or(0)..=max.unwrap_or(99)).next().is_some();
                let found = index.may_hold(&[one(min)], &[one(max)]).unwrap();
                assert_eq!(found, expected, "{name}: {distinct:?} in {min:?}..={max:?}");
            }
        }
        assert!(
            index.may_hold(&[Some(make(&[None]))], &[Some(make(&[None]))]).unwrap(),
            "{name}: null bounds"
        );
    }
}

#[test]
fn bounds_of_several_columns_each_tell() {
    let column = |numbers: &[i64]| -> ArrayRef { Arc::new(Int64Array::from(numbers.to_vec())) };
    let text = |texts: &[&str]| -> ArrayRef { Arc::new(StringArray::from(texts.to_vec())) };
    let (index, _) = KeyIndex::build(&[vec![column(&[1, 5]), text(&["m", "q"])]]).unwrap();
    let holds = |(a, b): (i64, i64), (c, d): (&str, &str)| {
        let (min, max) = ([Some(column(&[a])), Some(text(&[c]))], [Some(column(&[b])), Some(text(&[d]))]);
        index.may_hold(&min, &max).unwrap()
    };
    assert!(holds((0, 9), ("a", "z")));
    assert!(holds((5, 5), ("q", "q")));
    assert!(!holds((2, 4), ("a", "z")));
    assert!(!holds((0, 9), ("n", "p")));
    assert!(index.may_hold(&[None, None], &[None, Some(text(&["m"]))]).unwrap());
    assert!(!index.may_hold(&[None, None], &[None, Some(text(&["l"]))]).unwrap());
}

#[test]
fn bounds_say_nothing_of_nan() {
    let floats = |values: Vec<f64>| -> ArrayRef { Arc::new(Float64Array::from(values)) };
    let holds = |keys: Vec<f64>, min: f64, max: f64| {
        let (index, _) = KeyIndex::build(&[vec![floats(keys)]]).unwrap();
        index.may_hold(&[Some(floats(vec![min]))], &[Some(floats(vec![max]))]).unwrap()
    };
    assert!(holds(vec![5.0, f64::NAN], 1.0, 2.0));
    assert!(!holds(vec![5.0], 1.0, 2.0));
    assert!(holds(vec![5.0], 1.0, f64::NAN));
    assert!(holds(vec![5.0], f64::NAN, 6.0));
    assert!(holds(vec![0.0], -0.0, -0.0));
}
