//! The project's warehouse, and the tables in it.

use std::sync::Arc;

use headwater_lake::{DeltaLake, Lake, LakeError, LakeOptions, TableName, TableState};

use crate::config::Project;
use crate::fail::Failure;
use crate::output::Out;

/// Opens the warehouse of the project. Nothing is read yet.
pub(crate) fn open(project: &Project, out: &Out) -> Result<Arc<dyn Lake>, Failure> {
    let mut options = LakeOptions::default();
    if let Some(bytes) = project.memory()? {
        options.optimize_memory_bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
    }
    options.temp_folder = project.temp_folder()?;
    options.auto_optimize = project.parsed.value.auto_optimize.unwrap_or(options.auto_optimize);
    for (name, value) in project.storage(out.redactor())? {
        options.storage.insert(name, value);
    }
    Ok(Arc::new(DeltaLake::open(&project.warehouse(), options)?))
}

/// Finds the table that `wanted` means: `table`, `schema.table` or `catalog.schema.table`.
///
/// # Errors
/// There is none, or more than one.
pub(crate) async fn find(lake: &dyn Lake, wanted: &str) -> Result<TableState, Failure> {
    if let Ok(name) = wanted.parse::<TableName>()
        && let Some(state) = lake.table(&name).await?
    {
        return Ok(state);
    }
    let tables = lake.tables().await?;
    let is_meant = |name: &&TableName| {
        let full = name.to_string();
        full == wanted || full.ends_with(&format!(".{wanted}"))
    };
    let found: Vec<&TableName> = tables.iter().filter(is_meant).collect();
    match found.as_slice() {
        [name] => lake.table(name).await?.ok_or_else(|| LakeError::NoTable { table: (*name).clone() }.into()),
        [] => {
            let mut names: Vec<String> = tables.iter().map(ToString::to_string).collect();
            let short: Vec<String> = tables.iter().map(|t| t.table.clone()).collect();
            if crate::names::nearest(wanted, &short).is_some() {
                names = short;
            }
            Err(Failure::usage(format!("table `{wanted}` does not exist in the warehouse")).hint(
                crate::names::hint(
                    wanted,
                    &names,
                    "tables",
                    "the warehouse has no table yet: `headwater run <spec>` fills it",
                ),
            ))
        }
        several => {
            let names = several.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            Err(Failure::usage(format!("`{wanted}` is the name of several tables"))
                .hint(format!("write one of them in full: {names}")))
        }
    }
}
