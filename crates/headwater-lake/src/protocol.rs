//! Which features of Delta a table carries: those that it uses, and no others.

use std::collections::BTreeSet;

use headwater_connect::{DataType, StructType};
use serde_json::{Value, json};

use crate::schema::each_field;
use crate::{LakeError, TableName};

/// What a table uses of Delta.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Uses {
    /// Clustering columns are set.
    pub(crate) clustering: bool,
    /// Names in the files differ from those of the columns.
    pub(crate) mapping: bool,
    /// Files of an older, narrower type are among the live ones.
    pub(crate) widening: bool,
    /// Dead rows are marked instead of being rewritten.
    pub(crate) vectors: bool,
}

const CLUSTERING: &str = "clustering";
const COLUMN_MAPPING: &str = "columnMapping";
const DELETION_VECTORS: &str = "deletionVectors";
const DOMAIN_METADATA: &str = "domainMetadata";
const INVARIANTS: &str = "invariants";
const TIMESTAMP_NTZ: &str = "timestampNtz";
const TYPE_WIDENING: &str = "typeWidening";
const VARIANT: &str = "variantType";

/// Features that readers must know too.
const READER_FEATURES: [&str; 6] =
    [COLUMN_MAPPING, DELETION_VECTORS, TIMESTAMP_NTZ, TYPE_WIDENING, "v2Checkpoint", VARIANT];

/// Features of a table that writing as we do keeps intact. Those that need a property or a column of their own to
/// matter are looked at in [`check_writable`].
const WRITABLE: [&str; 14] = [
    "appendOnly",
    "changeDataFeed",
    "checkConstraints",
    CLUSTERING,
    COLUMN_MAPPING,
    DELETION_VECTORS,
    DOMAIN_METADATA,
    "generatedColumns",
    "identityColumns",
    INVARIANTS,
    TIMESTAMP_NTZ,
    TYPE_WIDENING,
    "v2Checkpoint",
    VARIANT,
];

/// The features that a table with these columns needs.
pub(crate) fn needed(schema: &StructType, uses: Uses) -> BTreeSet<String> {
    let mut features = BTreeSet::from([DOMAIN_METADATA.to_owned()]);
    let mut add = |name: &str, used: bool| {
        if used {
            features.insert(name.to_owned());
        }
    };
    add(CLUSTERING, uses.clustering);
    add(COLUMN_MAPPING, uses.mapping);
    add(TYPE_WIDENING, uses.widening);
    add(DELETION_VECTORS, uses.vectors);
    each_field(&mut schema.clone(), &mut |field| {
        add(INVARIANTS, !field.nullable);
        each_type(&field.data_type, &mut |data_type| {
            add(TIMESTAMP_NTZ, *data_type == DataType::TimestampNtz);
            add(VARIANT, *data_type == DataType::Variant);
        });
    });
    features
}

/// Visits a type and those it is made of; fields of structs are the caller's.
fn each_type(data_type: &DataType, visit: &mut dyn FnMut(&DataType)) {
    visit(data_type);
    match data_type {
        DataType::Array { element, .. } => each_type(element, visit),
        DataType::Map { key, value, .. } => {
            each_type(key, visit);
            each_type(value, visit);
        }
        _ => {}
    }
}

/// The features of a protocol; those that an old version number stands for are named.
pub(crate) fn features(protocol: &Value) -> BTreeSet<String> {
    let version = |name: &str| protocol[name].as_i64().unwrap_or(1);
    let (reader, writer) = (version("minReaderVersion"), version("minWriterVersion"));
    let listed = |name: &str| {
        let names = protocol[name].as_array().into_iter().flatten();
        names.filter_map(|f| f.as_str().map(str::to_owned)).collect::<Vec<_>>()
    };
    let mut features: BTreeSet<String> =
        listed("readerFeatures").into_iter().chain(listed("writerFeatures")).collect();
    let implied: [(i64, &[&str]); 5] = [
        (2, &["appendOnly", INVARIANTS]),
        (3, &["checkConstraints"]),
        (4, &["changeDataFeed", "generatedColumns"]),
        (5, &[COLUMN_MAPPING]),
        (6, &["identityColumns"]),
    ];
    for (since, names) in implied {
        if writer < 7 && writer >= since {
            features.extend(names.iter().map(|&n| n.to_owned()));
        }
    }
    if reader == 2 {
        features.insert(COLUMN_MAPPING.to_owned());
    }
    features
}

/// The body of a `protocol` action with these features.
pub(crate) fn protocol(features: &BTreeSet<String>) -> Value {
    let reader: Vec<_> = features.iter().filter(|f| READER_FEATURES.contains(&f.as_str())).collect();
    if reader.is_empty() {
        json!({"minReaderVersion": 1, "minWriterVersion": 7, "writerFeatures": features})
    } else {
        json!({
            "minReaderVersion": 3,
            "minWriterVersion": 7,
            "readerFeatures": reader,
            "writerFeatures": features,
        })
    }
}

/// The protocol that the table needs where the present one does not do; `None` where it does.
pub(crate) fn upgrade(present: &Value, needed: &BTreeSet<String>) -> Option<Value> {
    let has = features(present);
    let lists = present["minWriterVersion"].as_i64() == Some(7);
    if lists && needed.is_subset(&has) {
        return None;
    }
    Some(protocol(&has.union(needed).cloned().collect()))
}

/// Checks that the table can be written to without breaking what it promises.
///
/// # Errors
/// [`LakeError::Unsupported`] with the feature.
pub(crate) fn check_writable(
    table: &TableName,
    protocol: &Value,
    metadata: &Value,
    schema: &StructType,
) -> Result<(), LakeError> {
    let refuse = |feature: String| Err(LakeError::Unsupported { table: table.clone(), feature });
    if let Some(unknown) = features(protocol).iter().find(|f| !WRITABLE.contains(&f.as_str())) {
        return refuse(format!("the table feature `{unknown}`"));
    }
    let writer = protocol["minWriterVersion"].as_i64().unwrap_or(1);
    if writer > 7 {
        return refuse(format!("writer version {writer}"));
    }
    if metadata["partitionColumns"].as_array().is_some_and(|columns| !columns.is_empty()) {
        return refuse("partition columns".into());
    }
    if let Some(properties) = metadata["configuration"].as_object() {
        if properties.keys().any(|name| name.starts_with("delta.constraints.")) {
            return refuse("check constraints".into());
        }
        if properties.get("delta.columnMapping.mode").and_then(Value::as_str) == Some("id") {
            return refuse("column mapping by id".into());
        }
    }
    let mut refused = None;
    each_field(&mut schema.clone(), &mut |field| {
        for (key, what) in [
            ("delta.generationExpression", "a generated column"),
            ("delta.identity.start", "an identity column"),
            ("delta.invariants", "an invariant on a column"),
        ] {
            if field.metadata.contains_key(key) {
                refused = Some(format!("{what} (`{}`)", field.name));
            }
        }
    });
    refused.map_or(Ok(()), refuse)
}

/// Says whether the table takes new rows only.
pub(crate) fn is_append_only(metadata: &Value) -> bool {
    metadata["configuration"]["delta.appendOnly"].as_str() == Some("true")
}
