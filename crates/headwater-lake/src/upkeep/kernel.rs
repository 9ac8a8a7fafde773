//! What upkeep needs of `delta_kernel`'s internal API beside [`crate::kernel`]: rows of chosen files, and where
//! deletion vectors lie. Reading blocks: call it inside [`crate::store::blocking`].

use std::collections::HashMap;
use std::str::FromStr;
use std::sync::Arc;

use arrow_array::RecordBatch;
use delta_kernel::actions::deletion_vector::{DeletionVectorDescriptor, DeletionVectorStorageType};
use delta_kernel::engine::arrow_data::EngineDataArrowExt;
use delta_kernel::scan::Scan;
use delta_kernel::scan::state::{ScanFile, transform_to_logical};
use delta_kernel::snapshot::SnapshotRef;
use delta_kernel::{Engine, FileMeta};
use serde_json::Value;
use url::Url;

use crate::kernel::{KernelEngine, damaged, kernel_error};
use crate::{LakeError, TableName};

const DOING: &str = "reading rows";

/// Reads chosen files of one version.
pub(crate) struct FileReader {
    engine: Arc<KernelEngine>,
    table: TableName,
    scan: Scan,
    location: Url,
    files: HashMap<String, ScanFile>,
}

impl FileReader {
    /// Prepares reading files of a version.
    pub(crate) fn open(
        engine: Arc<KernelEngine>,
        table: TableName,
        snapshot: &SnapshotRef,
    ) -> Result<Self, LakeError> {
        let failed = |e| kernel_error(&table, DOING, e);
        let scan = Arc::clone(snapshot).scan_builder().build().map_err(failed)?;
        let mut found = Vec::new();
        for listed in scan.scan_metadata(engine.as_ref()).map_err(failed)? {
            found = listed
                .map_err(failed)?
                .visit_scan_files(found, |files, file| files.push(file))
                .map_err(failed)?;
        }
        let files = found.into_iter().map(|file| (file.path.clone(), file)).collect();
        let location = snapshot.table_root().clone();
        Ok(Self { engine, table, scan, location, files })
    }

    /// The table whose files these are.
    pub(crate) fn table(&self) -> &TableName {
        &self.table
    }

    /// Reads the live rows of a file in the table's columns, until `take` says stop. Says whether it did not.
    pub(crate) fn read(
        &self,
        path: &str,
        take: &mut dyn FnMut(RecordBatch) -> bool,
    ) -> Result<bool, LakeError> {
        let failed = |e| kernel_error(&self.table, DOING, e);
        let file =
            self.files.get(path).ok_or_else(|| damaged(&self.table, format!("{path} is not listed")))?;
        let engine: &dyn Engine = self.engine.as_ref();
        let mut live = file.dv_info.get_selection_vector(engine, &self.location).map_err(failed)?;
        let meta = FileMeta {
            location: self.location.join(&file.path).map_err(|e| damaged(&self.table, e))?,
            last_modified: file.modification_time,
            size: u64::try_from(file.size).map_err(|e| damaged(&self.table, e))?,
        };
        let (physical, logical) = (self.scan.physical_schema(), self.scan.logical_schema());
        let batches = engine
            .parquet_handler()
            .read_parquet_files(&[meta], Arc::clone(physical), None)
            .map_err(failed)?;
        for batch in batches {
            let batch = batch.map_err(failed)?;
            let rows = transform_to_logical(engine, batch, physical, logical, file.transform.clone())
                .map_err(failed)?;
            // The vector covers the file; each batch has its part, and rows behind its end are live.
            let rows = match &mut live {
                None => rows,
                Some(live) => {
                    let rest = live.split_off(rows.len().min(live.len()));
                    let mut part = std::mem::replace(live, rest);
                    part.resize(rows.len(), true);
                    rows.apply_selection_vector(part).map_err(failed)?
                }
            };
            let rows = rows.try_into_record_batch().map_err(failed)?;
            if !take(rows) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Where the file of a deletion vector lies; `None` for one that stands in the log itself.
pub(crate) fn vector_file(
    table: &TableName,
    location: &Url,
    vector: &Value,
) -> Result<Option<Url>, LakeError> {
    let bad = || damaged(table, format!("the log names the deletion vector {vector}"));
    let kind = vector["storageType"].as_str().ok_or_else(bad)?;
    let path = vector["pathOrInlineDv"].as_str().ok_or_else(bad)?;
    let kind = DeletionVectorStorageType::from_str(kind).map_err(|_| bad())?;
    if kind == DeletionVectorStorageType::Inline {
        return Ok(None);
    }
    // The place does not depend on offset, size and cardinality.
    let descriptor =
        DeletionVectorDescriptor::try_new(kind, path, None, 0, 0).map_err(|e| damaged(table, e))?;
    descriptor.absolute_path(location).map_err(|e| damaged(table, e))
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use url::Url;

    use super::vector_file;
    use crate::TableName;

    #[test]
    fn files_of_deletion_vectors_are_found() {
        let table = TableName::new("a", "b", "c").unwrap();
        let location = Url::parse("file:///w/a/b/c/").unwrap();
        let check = |kind: &str, path: &str, expect: Option<Option<&str>>| {
            let vector =
                json!({"storageType": kind, "pathOrInlineDv": path, "sizeInBytes": 1, "cardinality": 1});
            let found = vector_file(&table, &location, &vector).ok();
            assert_eq!(found, expect.map(|e| e.map(|e| Url::parse(e).unwrap())), "{kind} {path}");
        };
        // The example of the protocol.
        check(
            "u",
            "ab^-aqEH.-t@S}K{vb[*k^",
            Some(Some("file:///w/a/b/c/ab/deletion_vector_d2c639aa-8816-431a-aaf6-d3fe2512ff61.bin")),
        );
        check("p", "file:///other/x.bin", Some(Some("file:///other/x.bin")));
        check("i", "wi5b=000010000siXQKl0rr91000f55c8Xg0@@D72lkbi5=-{L", Some(None));
        check("u", "short", None);
        check("x", "ab^-aqEH.-t@S}K{vb[*k^", None);
    }
}
