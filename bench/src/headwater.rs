//! stub
use std::path::Path;
use anyhow::Result;
pub(crate) fn run(_url: &str, _out: &Path) -> Result<u64> { Ok(0) }
