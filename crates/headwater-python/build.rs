//! Lists the files of the Python package that is brought along, so that the library holds them.

use std::error::Error;
use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() -> Result<(), Box<dyn Error>> {
    let here = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").ok_or("no manifest folder")?);
    let root = here.join("../../python/src");
    println!("cargo::rerun-if-changed={}", root.display());
    let mut files = Vec::new();
    collect(&root, &mut files)?;
    files.sort();
    let mut hasher = DefaultHasher::new();
    let mut list = String::from("&[\n");
    for file in &files {
        let name =
            file.strip_prefix(&root)?.to_str().ok_or("a file name that is not UTF-8")?.replace('\\', "/");
        (name.as_str(), fs::read(file)?).hash(&mut hasher);
        let path = file.canonicalize()?;
        writeln!(list, "    ({name:?}, include_bytes!({path:?})),")?;
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("no output folder")?);
    // The distribution that connectors require: some ask for its version.
    let version = env!("CARGO_PKG_VERSION");
    let metadata = out.join("METADATA");
    fs::write(
        &metadata,
        format!("Metadata-Version: 2.1\nName: lakeflow-community-connectors\nVersion: {version}\n"),
    )?;
    let name = format!("lakeflow_community_connectors-{version}.dist-info/METADATA");
    (name.as_str(), version).hash(&mut hasher);
    writeln!(list, "    ({name:?}, include_bytes!({metadata:?})),")?;
    list.push_str("]\n");
    fs::write(out.join("package_files.rs"), list)?;
    println!("cargo::rustc-env=HEADWATER_PACKAGE_HASH={:016x}", hasher.finish());
    Ok(())
}

/// The files that ship: Python, its type marker, and data beside it.
fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), Box<dyn Error>> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            let name = path.file_name().unwrap_or_default();
            if name != "__pycache__" && !name.to_string_lossy().ends_with(".egg-info") {
                println!("cargo::rerun-if-changed={}", path.display());
                collect(&path, files)?;
            }
        } else if path.extension().is_none_or(|e| e != "pyc") {
            files.push(path);
        }
    }
    Ok(())
}
