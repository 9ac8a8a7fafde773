//! A table's columns: what Delta stores of a source's schema, and what becomes of a table's columns when the source's
//! differ.

use std::sync::Arc;

use arrow_schema as arrow;
use headwater_connect::{DataType, StructField, StructType};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::{LakeError, SchemaChange, TableName};

pub(crate) const MAPPING_ID: &str = "delta.columnMapping.id";
pub(crate) const PHYSICAL_NAME: &str = "delta.columnMapping.physicalName";
const TYPE_CHANGES: &str = "delta.typeChanges";
/// Under this key the Parquet writer looks for the id of a column.
const PARQUET_FIELD_ID: &str = "PARQUET:field_id";

/// What a source's columns make of a table's.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Merged {
    /// The table's columns after the change.
    pub(crate) schema: StructType,
    /// What changes.
    pub(crate) changes: Vec<SchemaChange>,
}

impl Merged {
    /// Says whether a column takes a wider type.
    pub(crate) fn widens(&self) -> bool {
        self.changes.iter().any(|c| matches!(c, SchemaChange::WidenColumn { .. }))
    }
}

/// Gives the columns that a new table has for those of a source: text of a set length is text, and a column without a
/// type is left out until it has one.
///
/// # Errors
/// [`LakeError::BadSchema`]: no columns, two of the same name, or a nested value without a type.
pub(crate) fn stored(table: &TableName, source: &StructType) -> Result<StructType, LakeError> {
    let bad = |reason: String| LakeError::BadSchema { table: table.clone(), reason };
    source.check().map_err(|e| bad(e.to_string()))?;
    let typed = source.fields.iter().filter(|f| f.data_type != DataType::Null);
    let fields =
        typed.map(|field| stored_field(field, &field.name).map_err(&bad)).collect::<Result<Vec<_>, _>>()?;
    if fields.is_empty() {
        return Err(bad("no column has a type".into()));
    }
    Ok(StructType { fields })
}

fn stored_field(field: &StructField, path: &str) -> Result<StructField, String> {
    if field.name.is_empty() {
        return Err(format!("a field of `{path}` has no name"));
    }
    let metadata =
        field.metadata.iter().filter(|(key, _)| !key.starts_with("delta.") && *key != PARQUET_FIELD_ID);
    Ok(StructField {
        name: field.name.clone(),
        data_type: stored_type(&field.data_type, path)?,
        nullable: field.nullable,
        metadata: metadata.map(|(k, v)| (k.clone(), v.clone())).collect(),
    })
}

fn stored_type(data_type: &DataType, path: &str) -> Result<DataType, String> {
    let inner = |inner: &DataType| stored_type(inner, path).map(Box::new);
    Ok(match data_type {
        DataType::Null => return Err(format!("`{path}` holds values without a type (void)")),
        DataType::Char(_) | DataType::Varchar(_) => DataType::String,
        DataType::Array { element, contains_null } => {
            DataType::Array { element: inner(element)?, contains_null: *contains_null }
        }
        DataType::Map { key, value, value_contains_null } => DataType::Map {
            key: inner(key)?,
            value: inner(value)?,
            value_contains_null: *value_contains_null,
        },
        DataType::Struct(fields) if fields.fields.is_empty() => {
            return Err(format!("`{path}` is a struct without fields"));
        }
        DataType::Struct(fields) => {
            let fields = fields.fields.iter().map(|f| stored_field(f, &format!("{path}.{}", f.name)));
            DataType::Struct(StructType { fields: fields.collect::<Result<_, _>>()? })
        }
        other => other.clone(),
    })
}

/// Works out what the source's columns make of the table's.
///
/// # Errors
/// [`LakeError::IncompatibleColumn`] for a type that cannot become the other, [`LakeError::BadSchema`] as [`stored`].
pub(crate) fn merge(
    table: &TableName,
    present: &StructType,
    source: &StructType,
) -> Result<Merged, LakeError> {
    let typed = stored(table, source).or_else(|e| match source.check() {
        // Nothing but columns without a type: the table's stay as they are.
        Ok(()) if source.fields.iter().all(|f| f.data_type == DataType::Null) => Ok(StructType::default()),
        _ => Err(e),
    })?;
    let mut merge = Merge { table, source, changes: Vec::new() };
    let schema = merge.fields(present, &typed, "")?;
    Ok(Merged { schema, changes: merge.changes })
}

struct Merge<'a> {
    table: &'a TableName,
    source: &'a StructType,
    changes: Vec<SchemaChange>,
}

impl Merge<'_> {
    fn fields(
        &mut self,
        present: &StructType,
        wanted: &StructType,
        prefix: &str,
    ) -> Result<StructType, LakeError> {
        let mut fields = Vec::with_capacity(present.fields.len());
        for old in &present.fields {
            let column = format!("{prefix}{}", old.name);
            match find(wanted, &old.name) {
                Some(new) => fields.push(self.field(old, new, column)?),
                None => {
                    // A column that the source has without a type is there, and always null.
                    let untyped = prefix.is_empty() && find(self.source, &old.name).is_some();
                    if !untyped {
                        self.changes.push(SchemaChange::KeepDropped { column: column.clone() });
                    }
                    let mut kept = old.clone();
                    if !old.nullable {
                        kept.nullable = true;
                        self.changes.push(SchemaChange::AllowNull { column });
                    }
                    fields.push(kept);
                }
            }
        }
        for new in &wanted.fields {
            if find(present, &new.name).is_none() {
                let (column, data_type) = (format!("{prefix}{}", new.name), new.data_type.to_string());
                self.changes.push(SchemaChange::AddColumn { column, data_type });
                // Rows from before have no value for it.
                fields.push(StructField { nullable: true, ..new.clone() });
            }
        }
        Ok(StructType { fields })
    }

    fn field(
        &mut self,
        old: &StructField,
        new: &StructField,
        column: String,
    ) -> Result<StructField, LakeError> {
        let data_type = self.data_type(&old.data_type, &new.data_type, &column)?;
        let nullable = old.nullable || new.nullable;
        if nullable != old.nullable {
            self.changes.push(SchemaChange::AllowNull { column });
        }
        Ok(StructField { data_type, nullable, ..old.clone() })
    }

    fn data_type(&mut self, old: &DataType, new: &DataType, column: &str) -> Result<DataType, LakeError> {
        match (old, new) {
            (DataType::Struct(old), DataType::Struct(new)) => {
                self.fields(old, new, &format!("{column}.")).map(DataType::Struct)
            }
            (
                DataType::Array { element: old, contains_null: had },
                DataType::Array { element: new, contains_null: has },
            ) => {
                let column = format!("{column}.element");
                let element = Box::new(self.data_type(old, new, &column)?);
                Ok(DataType::Array { element, contains_null: self.or_null(*had, *has, column) })
            }
            (
                DataType::Map { key: old_key, value: old, value_contains_null: had },
                DataType::Map { key: new_key, value: new, value_contains_null: has },
            ) => {
                let key = Box::new(self.data_type(old_key, new_key, &format!("{column}.key"))?);
                let column = format!("{column}.value");
                let value = Box::new(self.data_type(old, new, &column)?);
                let value_contains_null = self.or_null(*had, *has, column);
                Ok(DataType::Map { key, value, value_contains_null })
            }
            _ if old == new || widens(new, old) => Ok(old.clone()),
            _ if widens(old, new) => {
                let (from, to) = (old.to_string(), new.to_string());
                self.changes.push(SchemaChange::WidenColumn { column: column.to_owned(), from, to });
                Ok(new.clone())
            }
            _ => Err(LakeError::IncompatibleColumn {
                table: self.table.clone(),
                column: column.to_owned(),
                from: old.to_string(),
                to: new.to_string(),
            }),
        }
    }

    fn or_null(&mut self, had: bool, has: bool, column: String) -> bool {
        if has && !had {
            self.changes.push(SchemaChange::AllowNull { column });
        }
        had || has
    }
}

/// Finds a field as Delta does: without regard to case.
pub(crate) fn find<'a>(schema: &'a StructType, name: &str) -> Option<&'a StructField> {
    schema.field(name).or_else(|| {
        let lower = name.to_lowercase();
        schema.fields.iter().find(|f| f.name.to_lowercase() == lower)
    })
}

/// Says whether every value of `from` is one of `to`, as the Delta protocol lists it under "Type Widening".
pub(crate) fn widens(from: &DataType, to: &DataType) -> bool {
    use DataType as D;
    let digits = |data_type: &DataType| match data_type {
        D::Byte | D::Short | D::Integer => Some(10),
        D::Long => Some(20),
        _ => None,
    };
    match (from, to) {
        (D::Byte, D::Short | D::Integer | D::Long | D::Double)
        | (D::Short, D::Integer | D::Long | D::Double)
        | (D::Integer, D::Long | D::Double)
        | (D::Float, D::Double)
        | (D::Date, D::TimestampNtz) => true,
        (D::Decimal { precision: p, scale: s }, D::Decimal { precision: q, scale: t }) => {
            t >= s && i16::from(*q) - i16::from(*t) >= i16::from(*p) - i16::from(*s) && (p, s) != (q, t)
        }
        (whole, D::Decimal { precision, scale }) => {
            digits(whole).is_some_and(|d| i16::from(*precision) - i16::from(*scale) >= d)
        }
        _ => false,
    }
}

/// Notes in the fields that became wider what they were, as the protocol's type widening asks.
pub(crate) fn note_widening(before: &StructType, after: &mut StructType) {
    for field in &mut after.fields {
        if let Some(old) = find(before, &field.name) {
            let mut notes = Vec::new();
            note_type(&old.data_type, &mut field.data_type, "", &mut notes);
            if !notes.is_empty() {
                let earlier = field.metadata.get(TYPE_CHANGES).and_then(Value::as_array).cloned();
                let all: Vec<Value> = earlier.unwrap_or_default().into_iter().chain(notes).collect();
                field.metadata.insert(TYPE_CHANGES.into(), Value::Array(all));
            }
        }
    }
}

fn note_type(before: &DataType, after: &mut DataType, path: &str, notes: &mut Vec<Value>) {
    let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    match (before, after) {
        (DataType::Struct(before), DataType::Struct(after)) => note_widening(before, after),
        (DataType::Array { element: old, .. }, DataType::Array { element: new, .. }) => {
            note_type(old, new, &below("element"), notes);
        }
        (DataType::Map { key: old_key, value: old, .. }, DataType::Map { key: new_key, value: new, .. }) => {
            note_type(old_key, new_key, &below("key"), notes);
            note_type(old, new, &below("value"), notes);
        }
        (old, new) if old != new => {
            let mut note = json!({"fromType": old.to_json(), "toType": new.to_json()});
            if !path.is_empty() {
                note["fieldPath"] = json!(path);
            }
            notes.push(note);
        }
        _ => {}
    }
}

/// Removes the notes of [`note_widening`]: once all files are rewritten none has the old type.
pub(crate) fn forget_widening(schema: &mut StructType) {
    each_field(schema, &mut |field| {
        field.metadata.remove(TYPE_CHANGES);
    });
}

/// Says whether a name cannot stand in a Parquet file of a table without column mapping.
pub(crate) fn needs_mapping(schema: &StructType) -> bool {
    let mut needed = false;
    each_field(&mut schema.clone(), &mut |field| {
        needed |= field.name.contains([' ', ',', ';', '{', '}', '(', ')', '\n', '\t', '=']);
    });
    needed
}

/// Gives every field that has none an id and a physical name. Fields that have files already keep their own name as
/// the physical one (`keep_names`).
///
/// Returns the highest id in use.
pub(crate) fn assign_mapping(schema: &mut StructType, highest: i64, keep_names: Option<&StructType>) -> i64 {
    let mut highest = highest;
    each_field(schema, &mut |field| {
        highest = highest.max(field.metadata.get(MAPPING_ID).and_then(Value::as_i64).unwrap_or(0));
    });
    let mut had: Vec<String> = Vec::new();
    if let Some(present) = keep_names {
        collect_paths(present, "", &mut had);
    }
    assign(schema, "", &had, &mut highest);
    highest
}

fn assign(schema: &mut StructType, prefix: &str, had: &[String], highest: &mut i64) {
    for field in &mut schema.fields {
        let path = format!("{prefix}{}", field.name);
        if !field.metadata.contains_key(MAPPING_ID) {
            *highest += 1;
            field.metadata.insert(MAPPING_ID.into(), json!(*highest));
        }
        if !field.metadata.contains_key(PHYSICAL_NAME) {
            let name =
                if had.contains(&path) { field.name.clone() } else { format!("col-{}", Uuid::new_v4()) };
            field.metadata.insert(PHYSICAL_NAME.into(), json!(name));
        }
        assign_type(&mut field.data_type, &format!("{path}\u{0}"), had, highest);
    }
}

fn assign_type(data_type: &mut DataType, prefix: &str, had: &[String], highest: &mut i64) {
    match data_type {
        DataType::Struct(fields) => assign(fields, prefix, had, highest),
        DataType::Array { element, .. } => assign_type(element, prefix, had, highest),
        DataType::Map { key, value, .. } => {
            assign_type(key, &format!("{prefix}key\u{0}"), had, highest);
            assign_type(value, prefix, had, highest);
        }
        _ => {}
    }
}

fn collect_paths(schema: &StructType, prefix: &str, paths: &mut Vec<String>) {
    for field in &schema.fields {
        let path = format!("{prefix}{}", field.name);
        collect_type(&field.data_type, &format!("{path}\u{0}"), paths);
        paths.push(path);
    }
}

fn collect_type(data_type: &DataType, prefix: &str, paths: &mut Vec<String>) {
    match data_type {
        DataType::Struct(fields) => collect_paths(fields, prefix, paths),
        DataType::Array { element, .. } => collect_type(element, prefix, paths),
        DataType::Map { key, value, .. } => {
            collect_type(key, &format!("{prefix}key\u{0}"), paths);
            collect_type(value, prefix, paths);
        }
        _ => {}
    }
}

/// Visits every field, at any depth.
pub(crate) fn each_field(schema: &mut StructType, visit: &mut dyn FnMut(&mut StructField)) {
    for field in &mut schema.fields {
        visit(field);
        each_in_type(&mut field.data_type, visit);
    }
}

fn each_in_type(data_type: &mut DataType, visit: &mut dyn FnMut(&mut StructField)) {
    match data_type {
        DataType::Struct(fields) => each_field(fields, visit),
        DataType::Array { element, .. } => each_in_type(element, visit),
        DataType::Map { key, value, .. } => {
            each_in_type(key, visit);
            each_in_type(value, visit);
        }
        _ => {}
    }
}

/// The name that a column bears inside the files.
pub(crate) fn physical_name(field: &StructField) -> &str {
    field.metadata.get(PHYSICAL_NAME).and_then(Value::as_str).unwrap_or(&field.name)
}

/// The columns as the files have them: physical names, and nothing else that only the log needs.
pub(crate) fn physical(schema: &StructType) -> StructType {
    let mut schema = schema.clone();
    each_field(&mut schema, &mut |field| {
        field.name = physical_name(field).to_owned();
        let id = field.metadata.get(MAPPING_ID).cloned();
        field.metadata = Map::new();
        if let Some(id) = id {
            field.metadata.insert(PARQUET_FIELD_ID.into(), id);
        }
    });
    schema
}

/// The Arrow schema of the files; ids of column mapping go where the Parquet writer looks for them.
pub(crate) fn physical_arrow(schema: &StructType) -> arrow::SchemaRef {
    let fields: Vec<_> = physical(schema).fields.iter().map(arrow_field).collect();
    Arc::new(arrow::Schema::new(fields))
}

fn arrow_field(field: &StructField) -> arrow::Field {
    let made = arrow::Field::new(&field.name, arrow_type(&field.data_type), field.nullable);
    match field.metadata.get(PARQUET_FIELD_ID) {
        Some(id) => {
            let pair = (PARQUET_FIELD_ID.to_owned(), id.to_string());
            made.with_metadata(std::collections::HashMap::from([pair]))
        }
        None => made,
    }
}

fn arrow_type(data_type: &DataType) -> arrow::DataType {
    match data_type {
        DataType::Struct(fields) => {
            arrow::DataType::Struct(fields.fields.iter().map(arrow_field).collect::<Vec<_>>().into())
        }
        DataType::Array { element, contains_null } => {
            let element = arrow::Field::new("element", arrow_type(element), *contains_null);
            arrow::DataType::List(Arc::new(element))
        }
        DataType::Map { key, value, value_contains_null } => {
            let entries = vec![
                arrow::Field::new("key", arrow_type(key), false),
                arrow::Field::new("value", arrow_type(value), *value_contains_null),
            ];
            let entries = arrow::Field::new("key_value", arrow::DataType::Struct(entries.into()), false);
            arrow::DataType::Map(Arc::new(entries), false)
        }
        other => other.to_arrow(),
    }
}

/// Says whether files written for `then` are right for a table of columns `now`: every column of the files is there
/// with the same type, and what is missing in them may be null.
pub(crate) fn fits(then: &StructType, now: &StructType) -> bool {
    now.fields.iter().all(|field| match find(then, &field.name) {
        None => field.nullable,
        Some(written) => {
            physical_name(written) == physical_name(field)
                && (field.nullable || !written.nullable)
                && fits_type(&written.data_type, &field.data_type)
        }
    }) && then.fields.iter().all(|field| find(now, &field.name).is_some())
}

fn fits_type(then: &DataType, now: &DataType) -> bool {
    match (then, now) {
        (DataType::Struct(then), DataType::Struct(now)) => fits(then, now),
        (
            DataType::Array { element: then, contains_null: had },
            DataType::Array { element: now, contains_null: has },
        ) => (*has || !*had) && fits_type(then, now),
        (
            DataType::Map { key: then_key, value: then, value_contains_null: had },
            DataType::Map { key: now_key, value: now, value_contains_null: has },
        ) => (*has || !*had) && fits_type(then_key, now_key) && fits_type(then, now),
        (then, now) => then == now,
    }
}

/// Checks the clustering columns and gives them in the table's spelling.
///
/// # Errors
/// [`LakeError::BadClusterColumn`]: unknown, named twice, more than four, or of a type without an order.
pub(crate) fn cluster_columns(
    table: &TableName,
    schema: &StructType,
    wanted: &[String],
) -> Result<Vec<String>, LakeError> {
    let mut columns: Vec<String> = Vec::with_capacity(wanted.len());
    for name in wanted {
        let bad = |reason: String| LakeError::BadClusterColumn {
            table: table.clone(),
            column: name.clone(),
            reason,
        };
        let Some(field) = find(schema, name) else {
            let names: Vec<_> = schema.fields.iter().map(|f| f.name.as_str()).collect();
            return Err(bad(format!("there is no such column; there are {}", names.join(", "))));
        };
        let ordered = !matches!(
            field.data_type,
            DataType::Struct(_)
                | DataType::Array { .. }
                | DataType::Map { .. }
                | DataType::Variant
                | DataType::Binary
                | DataType::Boolean
                | DataType::Null
        );
        if !ordered {
            return Err(bad(format!("files cannot be ordered by a column of type {}", field.data_type)));
        }
        if columns.contains(&field.name) {
            return Err(bad("it is named twice".into()));
        }
        columns.push(field.name.clone());
    }
    if let Some(fifth) = columns.get(4) {
        let reason = "Delta clusters by four columns at most".to_owned();
        return Err(LakeError::BadClusterColumn { table: table.clone(), column: fifth.clone(), reason });
    }
    Ok(columns)
}

/// The leaf columns that file statistics cover: the first `limit`, and those that must be covered whatever their
/// place. Paths in the names of `schema`.
pub(crate) fn stats_columns(schema: &StructType, limit: usize, always: &[String]) -> Vec<Vec<String>> {
    let mut leaves = Vec::new();
    collect_leaves(schema, &mut Vec::new(), &mut leaves);
    let mut at = 0;
    leaves.retain(|leaf| {
        at += 1;
        at <= limit || (leaf.len() == 1 && always.contains(&leaf[0]))
    });
    leaves
}

fn collect_leaves(schema: &StructType, path: &mut Vec<String>, leaves: &mut Vec<Vec<String>>) {
    for field in &schema.fields {
        path.push(field.name.clone());
        match &field.data_type {
            DataType::Struct(fields) => collect_leaves(fields, path, leaves),
            _ => leaves.push(path.clone()),
        }
        path.pop();
    }
}

#[cfg(test)]
mod tests;
