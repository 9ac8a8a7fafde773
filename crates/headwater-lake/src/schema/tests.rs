use headwater_connect::{DataType, StructField, StructType};
use proptest::prelude::*;
use serde_json::json;

use super::{
    assign_mapping, cluster_columns, fits, merge, needs_mapping, note_widening, physical, stats_columns,
    stored, widens,
};
use crate::{LakeError, SchemaChange, TableName};

fn table() -> TableName {
    TableName::new("c", "s", "t").unwrap()
}

/// Reads `id long not null, tags array<string>`; types as Spark writes them, or JSON.
fn schema(text: &str) -> StructType {
    let fields = text.split(';').map(str::trim).filter(|t| !t.is_empty()).map(|field| {
        let (name, rest) = field.split_once(' ').unwrap();
        let required = rest.ends_with(" not null");
        let name_of_type = rest.trim_end_matches(" not null");
        let data_type = match name_of_type.starts_with('{') {
            true => DataType::from_json(&serde_json::from_str(name_of_type).unwrap()).unwrap(),
            false => name_of_type.parse().unwrap(),
        };
        StructField { nullable: !required, ..StructField::nullable(name, data_type) }
    });
    StructType::new(fields)
}

fn show(changes: &[SchemaChange]) -> String {
    let one = |change: &SchemaChange| match change {
        SchemaChange::Create => "create".to_owned(),
        SchemaChange::AddColumn { column, data_type } => format!("add {column} {data_type}"),
        SchemaChange::WidenColumn { column, from, to } => format!("widen {column} {from} {to}"),
        SchemaChange::AllowNull { column } => format!("null {column}"),
        SchemaChange::KeepDropped { column } => format!("keep {column}"),
        SchemaChange::ClusterBy { columns } => format!("cluster {columns:?}"),
    };
    changes.iter().map(one).collect::<Vec<_>>().join("; ")
}

#[test]
fn what_a_source_makes_of_a_table() {
    let check = |present: &str, source: &str, expect: &str| {
        let told = match merge(&table(), &schema(present), &schema(source)) {
            Ok(merged) => show(&merged.changes),
            Err(LakeError::IncompatibleColumn { column, from, to, .. }) => {
                format!("{column}: {from} -> {to}")
            }
            Err(e) => format!("{e}"),
        };
        assert_eq!(told, expect, "{present} + {source}");
    };
    check("a long", "a long", "");
    check("a long; b string", "b string; a long", "");
    check("a long", "A long", "");
    check("a long", "a long; b string not null", "add b string");
    check("a long; b string", "a long", "keep b");
    check("a long; b string not null", "a long", "keep b; null b");
    check("a long not null", "a long", "null a");
    check("a long", "a long not null", "");
    check("a int", "a long", "widen a integer long");
    check("a long", "a int", "");
    check("a long", "a double", "a: long -> double");
    check("a int", "a double", "widen a integer double");
    check("a float", "a double", "widen a float double");
    check("a double", "a float", "");
    check("a string", "a long", "a: string -> long");
    check("a long", "a string", "a: long -> string");
    check("a date", "a timestamp_ntz", "widen a date timestamp_ntz");
    check("a date", "a timestamp", "a: date -> timestamp");
    check("a decimal(10,2)", "a decimal(12,4)", "widen a decimal(10,2) decimal(12,4)");
    check("a decimal(10,2)", "a decimal(11,4)", "a: decimal(10,2) -> decimal(11,4)");
    check("a int", "a decimal(10,0)", "widen a integer decimal(10,0)");
    check("a long", "a decimal(19,0)", "a: long -> decimal(19,0)");
    check("a long", "a decimal(20,0)", "widen a long decimal(20,0)");
    check("a string", "a varchar(7)", "");
    check("a string; b long", "a string; b void", "");
    check("a string", "a string; b void", "");
    check("a string not null", "a void", "null a");
    let list = |element: &str, nulls: bool| {
        json!({"type": "array", "elementType": element, "containsNull": nulls}).to_string()
    };
    let of = |text: &str| format!("a {text}");
    check(
        &of(&list("integer", false)),
        &of(&list("long", true)),
        "widen a.element integer long; null a.element",
    );
    check(&of(&list("integer", true)), "a long", "a: array<integer> -> long");
    let nested = |fields: serde_json::Value| format!("a {}", json!({"type": "struct", "fields": fields}));
    check(
        &nested(json!([{"name": "x", "type": "integer"}, {"name": "y", "type": "string"}])),
        &nested(json!([{"name": "x", "type": "long"}, {"name": "z", "type": "date"}])),
        "widen a.x integer long; keep a.y; add a.z date",
    );
    let map = |value: &str| {
        let inner = json!({"type": "struct", "fields": [{"name": "v", "type": value}]});
        format!("a {}", json!({"type": "map", "keyType": "string", "valueType": inner}))
    };
    check(&map("short"), &map("integer"), "widen a.value.v short integer");
}

#[test]
fn schemas_that_cannot_be_stored_say_why() {
    let check = |source: StructType, expect: &str| match stored(&table(), &source) {
        Err(LakeError::BadSchema { reason, .. }) => assert!(reason.contains(expect), "{reason}"),
        other => panic!("{other:?}"),
    };
    check(StructType::default(), "at least one field");
    check(schema("a long; A string"), "stands twice");
    check(schema("a void"), "no column has a type");
    let void = DataType::Array { element: Box::new(DataType::Null), contains_null: true };
    check(StructType::new([StructField::nullable("a", void)]), "`a` holds values without a type");
    let hollow = DataType::Struct(StructType::default());
    check(StructType::new([StructField::nullable("a", hollow)]), "struct without fields");
    let kept = stored(&table(), &schema("a void; b varchar(3)")).unwrap();
    assert_eq!(kept, schema("b string"));
}

#[test]
fn clustering_columns_that_cannot_be_say_why() {
    let present = schema("id long; name string; ok boolean; a int; b int; c int");
    let check = |columns: &[&str], expect: Result<&[&str], &str>| {
        let wanted: Vec<String> = columns.iter().map(|&c| c.to_owned()).collect();
        match (cluster_columns(&table(), &present, &wanted), expect) {
            (Ok(columns), Ok(expect)) => assert_eq!(columns, expect),
            (Err(LakeError::BadClusterColumn { reason, .. }), Err(expect)) => {
                assert!(reason.contains(expect), "{reason}");
            }
            (other, _) => panic!("{other:?}"),
        }
    };
    check(&[], Ok(&[]));
    check(&["ID", "name"], Ok(&["id", "name"]));
    check(&["nmae"], Err("there are id, name"));
    check(&["ok"], Err("boolean"));
    check(&["id", "Id"], Err("twice"));
    check(&["id", "name", "a", "b", "c"], Err("four"));
}

#[test]
fn mapping_gives_ids_and_keeps_the_names_of_files_that_are_there() {
    let inner = json!({"type": "struct", "fields": [{"name": "x y", "type": "long"}]});
    let mut present = schema(&format!("id long; s {inner}"));
    assert!(needs_mapping(&present));
    assert!(!needs_mapping(&schema("a.b$c-d long")));
    let before = present.clone();
    present.fields.push(StructField::nullable("new, one", DataType::Date));
    assert_eq!(assign_mapping(&mut present, 0, Some(&before)), 4);
    let inside = physical(&present);
    assert_eq!(inside.fields[0].name, "id");
    assert!(inside.fields[2].name.starts_with("col-"));
    let again = present.clone();
    assert_eq!(assign_mapping(&mut present, 4, None), 4);
    assert_eq!(present, again);
    let mut fresh = schema("id long");
    assert_eq!(assign_mapping(&mut fresh, 7, None), 8);
    assert!(physical(&fresh).fields[0].name.starts_with("col-"));
    assert!(!fits(&fresh, &schema("id long")));
}

#[test]
fn widening_is_noted_as_the_protocol_says() {
    let before = schema("a int; b string");
    let mut after = schema("a long; b string");
    note_widening(&before, &mut after);
    let note = json!([{"fromType": "integer", "toType": "long"}]);
    assert_eq!(after.fields[0].metadata["delta.typeChanges"], note);
    assert!(after.fields[1].metadata.is_empty());
    let list = |element: &str| {
        schema(&format!("a {}", json!({"type": "array", "elementType": element, "containsNull": true})))
    };
    let mut after = list("long");
    note_widening(&list("short"), &mut after);
    let note = json!([{"fromType": "short", "toType": "long", "fieldPath": "element"}]);
    assert_eq!(after.fields[0].metadata["delta.typeChanges"], note);
}

#[test]
fn statistics_cover_the_first_leaves_and_the_clustering_columns() {
    let inner =
        json!({"type": "struct", "fields": [{"name": "x", "type": "long"}, {"name": "y", "type": "long"}]});
    let present = schema(&format!("a long; s {inner}; z long"));
    let paths = |limit, always: &[String]| {
        stats_columns(&present, limit, always).iter().map(|p| p.join(".")).collect::<Vec<_>>()
    };
    assert_eq!(paths(2, &[]), ["a", "s.x"]);
    assert_eq!(paths(2, &["z".into()]), ["a", "s.x", "z"]);
    assert_eq!(paths(usize::MAX, &[]).len(), 4);
}

fn simple_type() -> impl Strategy<Value = DataType> {
    let decimal = (1u8..=38).prop_flat_map(|precision| {
        (0..=i8::try_from(precision).unwrap()).prop_map(move |scale| DataType::Decimal { precision, scale })
    });
    prop_oneof![
        Just(DataType::Byte),
        Just(DataType::Short),
        Just(DataType::Integer),
        Just(DataType::Long),
        Just(DataType::Float),
        Just(DataType::Double),
        Just(DataType::Date),
        Just(DataType::TimestampNtz),
        Just(DataType::String),
        decimal,
    ]
}

fn any_type() -> impl Strategy<Value = DataType> {
    simple_type().prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            (inner.clone(), any::<bool>())
                .prop_map(|(e, contains_null)| DataType::Array { element: Box::new(e), contains_null }),
            (simple_type(), inner.clone(), any::<bool>()).prop_map(|(k, v, value_contains_null)| {
                DataType::Map { key: Box::new(k), value: Box::new(v), value_contains_null }
            }),
            fields(inner).prop_map(DataType::Struct),
        ]
    })
}

fn fields(of: impl Strategy<Value = DataType>) -> impl Strategy<Value = StructType> {
    proptest::collection::btree_map("[a-d]", (of, any::<bool>()), 1..4).prop_map(|fields| {
        StructType::new(fields.into_iter().map(|(name, (data_type, nullable))| StructField {
            nullable,
            ..StructField::nullable(name, data_type)
        }))
    })
}

proptest! {
    #[test]
    fn a_schema_merged_with_itself_changes_nothing(present in fields(any_type())) {
        let merged = merge(&table(), &present, &present).unwrap();
        prop_assert_eq!(merged.changes, []);
        prop_assert_eq!(merged.schema, present);
    }

    #[test]
    fn merging_twice_changes_nothing_more_and_loses_no_column(
        present in fields(any_type()),
        source in fields(any_type()),
    ) {
        let Ok(merged) = merge(&table(), &present, &source) else { return Ok(()) };
        let again = merge(&table(), &merged.schema, &source).unwrap();
        let dropped = |c: &SchemaChange| matches!(c, SchemaChange::KeepDropped { .. });
        prop_assert!(again.changes.iter().all(dropped), "{:?}", again.changes);
        prop_assert_eq!(&again.schema, &merged.schema);
        for field in present.fields.iter().chain(&source.fields) {
            prop_assert!(merged.schema.field(&field.name).is_some());
        }
        // What was written for the merged columns stays right for them.
        prop_assert!(fits(&merged.schema, &again.schema));
        let changes = merged.changes.iter().filter(|c| !dropped(c)).count();
        prop_assert_eq!(changes == 0, merged.schema == present);
    }

    #[test]
    fn widening_has_one_direction(a in simple_type(), b in simple_type(), c in simple_type()) {
        prop_assert!(!(widens(&a, &b) && widens(&b, &a)));
        if widens(&a, &b) && widens(&b, &c) {
            prop_assert!(widens(&a, &c), "{a} {b} {c}");
        }
    }
}
