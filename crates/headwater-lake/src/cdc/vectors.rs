//! Deletion vectors: which rows of a data file are dead. Read from and written to one file for many vectors.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use delta_kernel::actions::deletion_vector::{DeletionVectorDescriptor, DeletionVectorStorageType};
use delta_kernel::actions::deletion_vector_writer::{KernelDeletionVector, StreamingDeletionVectorWriter};
use delta_kernel::{
    FileMeta, FileSlice, KernelError, KernelResult, KernelResultIteratorStatic, StorageHandler,
};
use headwater_connect::BoxError;
use object_store::PutPayload;
use object_store::path::Path;
use roaring::RoaringTreemap;
use serde_json::{Value, json};
use url::Url;
use uuid::Uuid;

use crate::LakeError;
use crate::kernel::{LiveFile, damaged};
use crate::table::Table;
use crate::upkeep::vector_file;

/// Reads the vectors of files; each file of vectors is read once.
///
/// # Errors
/// [`LakeError::Damaged`]: a vector is missing or is not what the log says.
pub(crate) async fn read(table: &Table, files: &[&LiveFile]) -> Result<Vec<RoaringTreemap>, LakeError> {
    let mut held = Held::default();
    let mut found = Vec::with_capacity(files.len());
    for file in files {
        let Some(vector) = &file.deletion_vector else {
            found.push(RoaringTreemap::new());
            continue;
        };
        if let Some(url) = vector_file(&table.name, &table.location, vector)?
            && !held.files.contains_key(&url)
        {
            let path = table.file_path(url.as_str())?;
            let bytes = table.core.storage.get(&path).await?;
            let bytes = bytes.ok_or_else(|| damaged(&table.name, format!("{path} is missing")))?;
            held.files.insert(url, bytes);
        }
        let rows = descriptor(vector)
            .and_then(|d| Ok(d.read(Arc::new(held.clone()), &table.location)?))
            .map_err(|e| damaged(&table.name, e))?;
        if rows.len() != file.dead_rows {
            let what = format!("the deletion vector of {} marks other rows than the log counts", file.path);
            return Err(damaged(&table.name, what));
        }
        found.push(rows);
    }
    Ok(found)
}

fn descriptor(vector: &Value) -> Result<DeletionVectorDescriptor, BoxError> {
    let bad = || BoxError::from(format!("the log names the deletion vector {vector}"));
    let kind: DeletionVectorStorageType = vector["storageType"].as_str().ok_or_else(bad)?.parse()?;
    let path = vector["pathOrInlineDv"].as_str().ok_or_else(bad)?;
    let number = |name: &str| vector[name].as_i64();
    let offset = number("offset").map(i32::try_from).transpose()?;
    let size = i32::try_from(number("sizeInBytes").ok_or_else(bad)?)?;
    Ok(DeletionVectorDescriptor::try_new(kind, path, offset, size, number("cardinality").ok_or_else(bad)?)?)
}

/// Files of vectors that have been read, for the kernel's parser.
#[derive(Debug, Clone, Default)]
struct Held {
    files: HashMap<Url, Bytes>,
}

impl StorageHandler for Held {
    fn list_from(&self, _: &Url) -> KernelResult<KernelResultIteratorStatic<FileMeta>> {
        Err(KernelError::generic("nothing can be listed here"))
    }

    fn read_files(&self, files: Vec<FileSlice>) -> KernelResult<KernelResultIteratorStatic<Bytes>> {
        let held = self.clone();
        Ok(Box::new(files.into_iter().map(move |(url, _)| {
            held.files.get(&url).cloned().ok_or_else(|| KernelError::generic(format!("{url} was not read")))
        })))
    }

    fn copy_atomic(&self, _: &Url, _: &Url) -> KernelResult<()> {
        Err(KernelError::generic("nothing can be copied here"))
    }

    fn put(&self, _: &Url, _: Bytes, _: bool) -> KernelResult<()> {
        Err(KernelError::generic("nothing can be written here"))
    }

    fn head(&self, _: &Url) -> KernelResult<FileMeta> {
        Err(KernelError::generic("nothing can be looked up here"))
    }

    fn delete(&self, _: &Url) -> KernelResult<()> {
        Err(KernelError::generic("nothing can be removed here"))
    }
}

/// Writes vectors to one new file. Gives each one's description for the log, and where the file lies.
///
/// # Errors
/// Storage failed; no version names the file.
pub(crate) async fn write(
    table: &Table,
    vectors: &[&RoaringTreemap],
) -> Result<(Vec<Value>, Path), LakeError> {
    let id = Uuid::new_v4();
    let path = table.path.clone().join(format!("deletion_vector_{id}.bin"));
    let (bytes, described) = encode(vectors, id).map_err(|e| damaged(&table.name, e))?;
    table.core.storage.put(&path, PutPayload::from(bytes)).await?;
    Ok((described, path))
}

fn encode(vectors: &[&RoaringTreemap], id: Uuid) -> Result<(Bytes, Vec<Value>), BoxError> {
    let name = z85::encode(id.as_bytes());
    let mut buffer = Vec::new();
    let mut described = Vec::with_capacity(vectors.len());
    let mut writer = StreamingDeletionVectorWriter::new(&mut buffer);
    for rows in vectors {
        let mut vector = KernelDeletionVector::new();
        vector.add_deleted_row_indexes(rows.iter());
        let written = writer.write_deletion_vector(vector)?;
        described.push(json!({
            "storageType": "u",
            "pathOrInlineDv": name,
            "offset": written.offset,
            "sizeInBytes": written.size_in_bytes,
            "cardinality": written.cardinality,
        }));
    }
    writer.finalize()?;
    Ok((buffer.into(), described))
}
