//! Where a warehouse lies: opening it, and reading and writing objects in it.
//!
//! All I/O runs on one runtime of the lake's own, so that it does not matter which kind of runtime the caller has.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use futures::TryStreamExt;
use headwater_connect::{BoxError, Clock, SystemClock};
use object_store::aws::AmazonS3ConfigKey;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    Error as StoreError, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutOptions,
    PutPayload,
};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::JoinSet;
use url::Url;

use crate::LakeError;

/// How to open a warehouse.
#[derive(Clone)]
pub struct LakeOptions {
    /// Options of the storage, by name: `endpoint`, `region`, `access_key_id`, `secret_access_key`, `allow_http`, …
    pub storage: BTreeMap<String, String>,
    /// Stamps commits and tells how old files are.
    pub clock: Arc<dyn Clock>,
    /// Written to each commit as the program that made it.
    pub app_version: String,
    /// Memory that `optimize` may take, in bytes; it does not work with less than 32 MiB.
    pub optimize_memory_bytes: usize,
    /// Whether writers merge small files and purge dead rows after a commit, where a table needs it. A table's property
    /// `delta.autoOptimize.autoCompact` = `false` turns it off for that table.
    pub auto_optimize: bool,
    /// The folder for temporary files, which hold what does not fit into memory; the system's where `None`.
    pub temp_folder: Option<PathBuf>,
}

impl Default for LakeOptions {
    fn default() -> Self {
        Self {
            storage: BTreeMap::new(),
            clock: Arc::new(SystemClock),
            app_version: concat!("headwater/", env!("CARGO_PKG_VERSION")).to_owned(),
            optimize_memory_bytes: 128 * 1024 * 1024,
            auto_optimize: true,
            temp_folder: None,
        }
    }
}

impl fmt::Debug for LakeOptions {
    /// Names the storage options, and never shows their values: some are secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LakeOptions")
            .field("storage", &self.storage.keys().collect::<Vec<_>>())
            .field("app_version", &self.app_version)
            .field("optimize_memory_bytes", &self.optimize_memory_bytes)
            .field("auto_optimize", &self.auto_optimize)
            .field("temp_folder", &self.temp_folder)
            .finish_non_exhaustive()
    }
}

static RUNTIME: OnceLock<Result<Runtime, String>> = OnceLock::new();

/// Gives the runtime that all storage work runs on. It lives as long as the process: a runtime must not be dropped
/// inside another one.
pub(crate) fn runtime() -> Result<&'static Handle, LakeError> {
    let made = RUNTIME.get_or_init(|| {
        Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("headwater-lake")
            .enable_all()
            .build()
            .map_err(|e| e.to_string())
    });
    match made {
        Ok(runtime) => Ok(runtime.handle()),
        Err(reason) => Err(LakeError::TaskLost { source: reason.clone().into() }),
    }
}

/// Runs `work` on the lake's runtime. Dropping the returned future ends it.
pub(crate) async fn run<T: Send + 'static>(
    work: impl Future<Output = T> + Send + 'static,
) -> Result<T, LakeError> {
    let mut tasks = JoinSet::new();
    tasks.spawn_on(work, runtime()?);
    finished(tasks).await
}

/// Runs blocking `work` on a thread of the lake's runtime. Dropping the returned future does not end it.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, LakeError> {
    let mut tasks = JoinSet::new();
    tasks.spawn_blocking_on(work, runtime()?);
    finished(tasks).await
}

async fn finished<T: 'static>(mut tasks: JoinSet<T>) -> Result<T, LakeError> {
    match tasks.join_next().await {
        Some(Ok(value)) => Ok(value),
        Some(Err(lost)) => Err(LakeError::TaskLost { source: Box::new(lost) }),
        None => Err(LakeError::TaskLost { source: "no task".into() }),
    }
}

/// Objects of a warehouse.
#[derive(Debug, Clone)]
pub(crate) struct Storage {
    store: Arc<dyn ObjectStore>,
}

/// Whether an object was made, or was there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(crate) enum Created {
    /// It was made.
    Made,
    /// It was there, made by somebody, and is as it was.
    Exists,
}

impl Storage {
    pub(crate) fn new(store: Arc<dyn ObjectStore>) -> Self {
        Self { store }
    }

    pub(crate) fn store(&self) -> &Arc<dyn ObjectStore> {
        &self.store
    }

    /// Makes or replaces an object.
    pub(crate) async fn put(&self, path: &Path, payload: PutPayload) -> Result<(), LakeError> {
        let (store, at) = (Arc::clone(&self.store), path.clone());
        let put = run(async move { store.put(&at, payload).await }).await?;
        put.map(|_| ()).map_err(|e| storage_error(format!("writing {path}"), e))
    }

    /// Makes an object unless there is one, in one step.
    pub(crate) async fn create(&self, path: &Path, payload: Bytes) -> Result<Created, StoreOrLost> {
        let (store, at) = (Arc::clone(&self.store), path.clone());
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        let put = run(async move { store.put_opts(&at, PutPayload::from(payload), options).await }).await;
        match put.map_err(StoreOrLost::Lost)? {
            Ok(_) => Ok(Created::Made),
            Err(StoreError::AlreadyExists { .. } | StoreError::Precondition { .. }) => Ok(Created::Exists),
            Err(e) => Err(StoreOrLost::Store(e)),
        }
    }

    /// Begins an upload in parts.
    pub(crate) async fn upload(&self, path: &Path) -> Result<Box<dyn MultipartUpload>, LakeError> {
        let (store, at) = (Arc::clone(&self.store), path.clone());
        let begun = run(async move { store.put_multipart(&at).await }).await?;
        begun.map_err(|e| storage_error(format!("writing {path}"), e))
    }

    /// Reads a whole object; `None` where there is none.
    pub(crate) async fn get(&self, path: &Path) -> Result<Option<Bytes>, LakeError> {
        let (store, at) = (Arc::clone(&self.store), path.clone());
        let got = run(async move { store.get(&at).await?.bytes().await }).await?;
        match got {
            Ok(bytes) => Ok(Some(bytes)),
            Err(StoreError::NotFound { .. }) => Ok(None),
            Err(e) => Err(storage_error(format!("reading {path}"), e)),
        }
    }

    /// Removes an object; one that is not there is no error.
    pub(crate) async fn delete(&self, path: &Path) -> Result<(), LakeError> {
        let (store, at) = (Arc::clone(&self.store), path.clone());
        match run(async move { store.delete(&at).await }).await? {
            Ok(()) | Err(StoreError::NotFound { .. }) => Ok(()),
            Err(e) => Err(storage_error(format!("removing {path}"), e)),
        }
    }

    /// Lists every object below a folder, at any depth, in no order.
    pub(crate) async fn list(&self, folder: &Path) -> Result<Vec<ObjectMeta>, LakeError> {
        let (store, at) = (Arc::clone(&self.store), folder.clone());
        let listed = run(async move { store.list(Some(&at)).try_collect::<Vec<_>>().await }).await?;
        listed.map_err(|e| storage_error(format!("listing {folder}"), e))
    }

    /// Lists the folders and the objects directly in a folder.
    pub(crate) async fn list_folder(&self, folder: &Path) -> Result<(Vec<Path>, Vec<ObjectMeta>), LakeError> {
        let (store, at) = (Arc::clone(&self.store), folder.clone());
        match run(async move { store.list_with_delimiter(Some(&at)).await }).await? {
            Ok(listed) => Ok((listed.common_prefixes, listed.objects)),
            Err(StoreError::NotFound { .. }) => Ok((Vec::new(), Vec::new())),
            Err(e) => Err(storage_error(format!("listing {folder}"), e)),
        }
    }
}

/// Why an object could not be created: storage said so, or the task was lost.
#[derive(Debug)]
pub(crate) enum StoreOrLost {
    Store(StoreError),
    Lost(LakeError),
}

/// Opens the storage of a warehouse and tells its root as a URL that ends in a slash.
pub(crate) fn open(warehouse: &str, options: &LakeOptions) -> Result<(Storage, Url), LakeError> {
    let bad = |source: BoxError| LakeError::BadWarehouse { url: shown(warehouse), source };
    if warehouse.trim().is_empty() {
        return Err(bad("the name is empty".into()));
    }
    let folder = match warehouse.split_once("://") {
        None => std::path::PathBuf::from(warehouse),
        Some(("file", _)) => Url::parse(warehouse)
            .map_err(|e| bad(e.into()))?
            .to_file_path()
            .map_err(|()| bad("a file URL needs an absolute path: `file:///folder`".into()))?,
        Some(_) => return open_remote(warehouse, options).map_err(bad),
    };
    std::fs::create_dir_all(&folder).map_err(|e| bad(Box::new(e)))?;
    let folder = folder.canonicalize().map_err(|e| bad(Box::new(e)))?;
    let root = Url::from_directory_path(&folder).map_err(|()| bad("not an absolute path".into()))?;
    let store = LocalFileSystem::new().with_fsync(true);
    Ok((Storage::new(Arc::new(store)), root))
}

fn open_remote(warehouse: &str, options: &LakeOptions) -> Result<(Storage, Url), BoxError> {
    let mut root = Url::parse(warehouse)?;
    if !root.path().ends_with('/') {
        root.set_path(&format!("{}/", root.path()));
    }
    if !root.username().is_empty() || root.password().is_some() {
        return Err("credentials belong in the storage options, not in the URL".into());
    }
    if matches!(root.scheme(), "s3" | "s3a") {
        for name in options.storage.keys() {
            AmazonS3ConfigKey::from_str(&name.to_ascii_lowercase())
                .map_err(|_| format!("`{name}` is not an option of S3 storage"))?;
        }
    }
    let given = options.storage.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.clone()));
    let (store, _) = object_store::parse_url_opts(&root, given)?;
    Ok((Storage::new(Arc::from(store)), root))
}

/// The URL without what may be a password.
fn shown(warehouse: &str) -> String {
    match Url::parse(warehouse) {
        Ok(mut url) if url.password().is_some() => match url.set_password(Some("...")) {
            Ok(()) => url.to_string(),
            Err(()) => "(not shown)".to_owned(),
        },
        _ => warehouse.to_owned(),
    }
}

/// Turns an error of the storage into the lake's.
pub(crate) fn storage_error(doing: String, source: StoreError) -> LakeError {
    let retryable = is_transient(&source);
    LakeError::Storage { doing, source: Box::new(source), retryable, in_doubt: false }
}

/// Says whether doing the same again may help: a network that failed, and not a full disk or a missing permission.
pub(crate) fn is_transient(error: &StoreError) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(inner) = cause {
        if let Some(error) = inner.downcast_ref::<io::Error>() {
            return matches!(
                error.kind(),
                io::ErrorKind::Interrupted
                    | io::ErrorKind::TimedOut
                    | io::ErrorKind::WouldBlock
                    | io::ErrorKind::ConnectionReset
                    | io::ErrorKind::ConnectionAborted
                    | io::ErrorKind::ConnectionRefused
                    | io::ErrorKind::BrokenPipe
                    | io::ErrorKind::UnexpectedEof
            );
        }
        cause = inner.source();
    }
    if is_refusal(&error.to_string()) {
        return false;
    }
    matches!(error, StoreError::Generic { .. } | StoreError::JoinError { .. })
}

/// Says whether the text of an error tells of an HTTP answer that stays the same however often one asks: there is no such
/// bucket, the key is wrong. The storage library shows the status in its text alone.
fn is_refusal(text: &str) -> bool {
    let status = text.split_once("status code: ").and_then(|(_, rest)| rest.get(..3));
    matches!(status, Some("400" | "401" | "403" | "404" | "405"))
}

/// Says what to change when storage failed for the reason `source`, where its kind or its answer tells.
pub(crate) fn storage_hint(source: &(dyn std::error::Error + 'static)) -> Option<&'static str> {
    let mut cause = Some(source);
    while let Some(inner) = cause {
        let kind = inner.downcast_ref::<io::Error>().map(io::Error::kind);
        match kind {
            Some(io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => {
                return Some(
                    "make room, then run it again: what is committed stays, and nothing is half done",
                );
            }
            Some(io::ErrorKind::PermissionDenied) => {
                return Some("the user that runs this needs to read and write the warehouse");
            }
            Some(io::ErrorKind::ReadOnlyFilesystem) => {
                return Some("the warehouse is on a file system that is mounted read-only");
            }
            Some(io::ErrorKind::ConnectionRefused) => {
                return Some(
                    "nothing listens there: check `warehouse`, and the endpoint under `storage` in headwater.yaml",
                );
            }
            _ => {}
        }
        let text = inner.to_string();
        for (part, hint) in ANSWERS {
            if text.contains(part) {
                return Some(hint);
            }
        }
        cause = inner.source();
    }
    None
}

/// What an object store says of itself, and what to change then.
const ANSWERS: [(&str, &str); 6] = [
    ("NoSuchBucket", "make the bucket, or name another one in `warehouse` in headwater.yaml"),
    (
        "SignatureDoesNotMatch",
        "the secret key does not belong to the access key: check `storage` in headwater.yaml",
    ),
    ("InvalidAccessKeyId", "the store does not know the access key: check `storage` in headwater.yaml"),
    ("ExpiredToken", "the credentials have run out: set new ones under `storage` in headwater.yaml"),
    (
        "403 Forbidden",
        "the credentials do not allow this: they need to list, read, write and delete in `warehouse`",
    ),
    (
        "dns error",
        "the host is not known here: check `warehouse`, and the endpoint and region under `storage`",
    ),
];

/// Says whether storage answered that the object was not written, so that no doubt is left.
pub(crate) fn surely_not_written(error: &StoreError) -> bool {
    !is_transient(error)
}

#[cfg(test)]
mod tests {
    use super::{LakeOptions, StoreError, is_transient, open};
    use crate::LakeError;

    #[test]
    fn warehouses_that_cannot_be_used_say_why() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "x").unwrap();
        let check = |warehouse: &str, options: &[(&str, &str)], expect: &str| {
            let storage = options.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
            let options = LakeOptions { storage, ..LakeOptions::default() };
            match open(warehouse, &options) {
                Err(LakeError::BadWarehouse { source, url }) => {
                    let text = source.to_string();
                    assert!(text.contains(expect), "{url}: {text}");
                    assert!(!url.contains("hidden"), "{url}");
                }
                other => panic!("{warehouse}: {other:?}"),
            }
        };
        check("", &[], "empty");
        check(file.join("below").to_str().unwrap(), &[], "");
        check("s3://bucket/x", &[("acess_key", "1")], "`acess_key` is not an option");
        check("s3://user:hidden@bucket/x", &[], "credentials belong");
        check("nosuch://x", &[], "");
    }

    #[test]
    fn a_full_disk_is_not_worth_a_retry_and_a_reset_connection_is() {
        let check = |kind: std::io::ErrorKind, expect: bool| {
            let source = Box::new(std::io::Error::from(kind));
            assert_eq!(is_transient(&StoreError::Generic { store: "x", source }), expect, "{kind:?}");
        };
        check(std::io::ErrorKind::StorageFull, false);
        check(std::io::ErrorKind::PermissionDenied, false);
        check(std::io::ErrorKind::ReadOnlyFilesystem, false);
        check(std::io::ErrorKind::ConnectionReset, true);
        check(std::io::ErrorKind::TimedOut, true);
    }

    #[test]
    fn an_answer_that_refuses_is_not_worth_a_retry() {
        let check = |text: &str, expect: bool| {
            let source = Box::new(std::io::Error::other(text.to_owned()));
            let generic = StoreError::Generic { store: "S3", source };
            assert_eq!(super::is_refusal(&generic.to_string()), expect, "{text}");
        };
        check("Server returned non-2xx status code: 404 Not Found: <Code>NoSuchBucket</Code>", true);
        check("Server returned non-2xx status code: 403 Forbidden", true);
        check("Server returned non-2xx status code: 503 Slow Down", false);
        check("Server returned non-2xx status code: 429 Too Many Requests", false);
        check("connection reset", false);
        check("status code: ", false);
    }

    #[test]
    fn what_to_change_is_said_where_the_storage_tells() {
        let check = |source: std::io::Error, expect: Option<&str>| {
            let shown = source.to_string();
            let error = StoreError::Generic { store: "S3", source: Box::new(source) };
            let hint = super::storage_hint(&error);
            match expect {
                Some(part) => assert!(hint.is_some_and(|hint| hint.contains(part)), "{shown}: {hint:?}"),
                None => assert_eq!(hint, None, "{shown}"),
            }
        };
        check(std::io::ErrorKind::StorageFull.into(), Some("make room"));
        check(std::io::ErrorKind::PermissionDenied.into(), Some("read and write"));
        check(std::io::ErrorKind::ReadOnlyFilesystem.into(), Some("read-only"));
        check(std::io::ErrorKind::ConnectionRefused.into(), Some("nothing listens"));
        check(std::io::Error::other("404 Not Found: <Code>NoSuchBucket</Code>"), Some("make the bucket"));
        check(std::io::Error::other("403 Forbidden: <Code>SignatureDoesNotMatch</Code>"), Some("secret key"));
        check(std::io::Error::other("status code: 403 Forbidden"), Some("do not allow"));
        check(std::io::Error::other("status code: 500"), None);
        check(std::io::ErrorKind::TimedOut.into(), None);
    }

    #[test]
    fn options_do_not_show_their_values() {
        let storage = [("secret_access_key".to_owned(), "hidden".to_owned())].into();
        let shown = format!("{:?}", LakeOptions { storage, ..LakeOptions::default() });
        assert!(shown.contains("secret_access_key") && !shown.contains("hidden"), "{shown}");
    }
}
