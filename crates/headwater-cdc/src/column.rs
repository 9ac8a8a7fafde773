//! Columns by path, and what may be a sequence.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, RecordBatch, make_array};
use arrow_buffer::NullBuffer;
use arrow_schema::DataType as ArrowType;
use headwater_connect::DataType;

use crate::CdcError;

/// A column cannot be a sequence, because values of its type have no order.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("values of {type_name} have no order{}", at(path))]
pub struct NotOrderable {
    /// Where in the type: names of fields, `element` inside arrays; empty for the type itself.
    pub path: String,
    /// `map` or `variant`.
    pub type_name: &'static str,
}

fn at(path: &str) -> String {
    if path.is_empty() { String::new() } else { format!(" (at {path})") }
}

/// Whether values of this type can be put in order, as a sequence must be: all can, but maps and variants, at any depth.
///
/// # Errors
/// [`NotOrderable`] with the first such type.
pub fn check_sequence_type(data_type: &DataType) -> Result<(), NotOrderable> {
    fn check(data_type: &DataType, path: &mut Vec<String>) -> Result<(), NotOrderable> {
        let refuse = |type_name| Err(NotOrderable { path: path.join("."), type_name });
        match data_type {
            DataType::Map { .. } => refuse("map"),
            DataType::Variant => refuse("variant"),
            DataType::Array { element, .. } => {
                path.push("element".into());
                check(element, path)?;
                path.pop();
                Ok(())
            }
            DataType::Struct(fields) => {
                for field in &fields.fields {
                    path.push(field.name.clone());
                    check(&field.data_type, path)?;
                    path.pop();
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
    check(data_type, &mut Vec::new())
}

/// The column at a path of field names. A value is null where it or any struct around it is.
///
/// # Errors
/// [`CdcError::UnknownColumn`] and [`CdcError::NotAStruct`], with the path up to where it ends; an empty path is an unknown column.
pub fn column_at(batch: &RecordBatch, path: &[&str]) -> Result<ArrayRef, CdcError> {
    let so_far = |names: usize| path[..names].join(".");
    let unknown = |names: usize| CdcError::UnknownColumn { path: so_far(names) };
    let Some((first, rest)) = path.split_first() else { return Err(unknown(0)) };
    let mut column = Arc::clone(batch.column_by_name(first).ok_or_else(|| unknown(1))?);
    for (depth, name) in rest.iter().enumerate() {
        let Some(outer) = column.as_struct_opt() else {
            let data_type = column.data_type().clone();
            return Err(CdcError::NotAStruct { path: so_far(depth + 1), data_type });
        };
        let inner = outer.column_by_name(name).ok_or_else(|| unknown(depth + 2))?;
        column = with_nulls(inner, outer.nulls())?;
    }
    Ok(column)
}

fn with_nulls(array: &ArrayRef, outer: Option<&NullBuffer>) -> Result<ArrayRef, CdcError> {
    // An array of the null type is null throughout and keeps no account of it.
    if outer.is_none_or(|nulls| nulls.null_count() == 0) || array.data_type() == &ArrowType::Null {
        return Ok(Arc::clone(array));
    }
    let nulls = NullBuffer::union(array.nulls(), outer);
    let data = array.to_data().into_builder().nulls(nulls).build().map_err(CdcError::Arrow)?;
    Ok(make_array(data))
}
