//! Storage that fails at every step of a commit, a damaged log, folders that cannot be written.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, stream};
use headwater_lake::{CommitOutcome, DeltaLake, Lake, LakeError, LakeOptions, WriteMode, WriterSpec};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, UploadPart,
};
use url::Url;

use crate::common::{committed, data_files, ids, lake, name, offset, put, rows, spec};

/// A storage that fails at one step, before or after doing it, and from then on where it is told so.
#[derive(Debug)]
struct Faulty {
    inner: LocalFileSystem,
    steps: Arc<Steps>,
}

#[derive(Debug, Default)]
pub(crate) struct Steps {
    pub(crate) taken: AtomicUsize,
    /// The step that fails; 0 for none.
    pub(crate) fails: AtomicUsize,
    /// The step is carried out and its answer lost.
    pub(crate) after: AtomicBool,
    /// No later step succeeds either: the process or the network is gone.
    pub(crate) for_good: AtomicBool,
}

impl Steps {
    fn next(&self) -> (bool, bool) {
        let step = self.taken.fetch_add(1, Ordering::SeqCst) + 1;
        let fails = self.fails.load(Ordering::SeqCst);
        let hit = fails > 0 && (step == fails || (step > fails && self.for_good.load(Ordering::SeqCst)));
        (hit, hit && step == fails && self.after.load(Ordering::SeqCst))
    }

    /// Does a step, or fails in its place or behind it.
    async fn step<T>(&self, what: impl Future<Output = Result<T>>) -> Result<T> {
        let (fails, after) = self.next();
        if fails && !after {
            return Err(lost());
        }
        let done = what.await;
        if after { Err(lost()) } else { done }
    }
}

fn lost() -> Error {
    let source = Box::new(std::io::Error::from(std::io::ErrorKind::ConnectionReset));
    Error::Generic { store: "faulty", source }
}

impl fmt::Display for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("faulty")
    }
}

#[derive(Debug)]
struct FaultyUpload {
    inner: Box<dyn MultipartUpload>,
    steps: Arc<Steps>,
}

#[async_trait]
impl MultipartUpload for FaultyUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let (steps, part) = (Arc::clone(&self.steps), self.inner.put_part(data));
        Box::pin(async move { steps.step(part).await })
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let steps = Arc::clone(&self.steps);
        steps.step(self.inner.complete()).await
    }

    async fn abort(&mut self) -> Result<()> {
        let steps = Arc::clone(&self.steps);
        steps.step(self.inner.abort()).await
    }
}

#[async_trait]
impl ObjectStore for Faulty {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        self.steps.step(self.inner.put_opts(location, payload, opts)).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let inner = self.steps.step(self.inner.put_multipart_opts(location, opts)).await?;
        Ok(Box::new(FaultyUpload { inner, steps: Arc::clone(&self.steps) }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.steps.step(self.inner.get_opts(location, options)).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.steps.step(self.inner.get_ranges(location, ranges)).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let (fails, after) = self.steps.next();
        if fails && !after {
            return stream::iter([Err(lost())]).boxed();
        }
        let deleted = self.inner.delete_stream(locations);
        if after { deleted.map(|_| Err(lost())).boxed() } else { deleted }
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        if self.steps.next().0 { stream::iter([Err(lost())]).boxed() } else { self.inner.list(prefix) }
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        if self.steps.next().0 {
            stream::iter([Err(lost())]).boxed()
        } else {
            self.inner.list_with_offset(prefix, offset)
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.steps.step(self.inner.list_with_delimiter(prefix)).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.steps.step(self.inner.copy_opts(from, to, options)).await
    }
}

pub(crate) fn faulty(dir: &tempfile::TempDir) -> (DeltaLake, Arc<Steps>) {
    let steps = Arc::new(Steps::default());
    let store = Faulty { inner: LocalFileSystem::new(), steps: Arc::clone(&steps) };
    let root = Url::from_directory_path(dir.path().canonicalize().unwrap()).unwrap();
    (DeltaLake::with_store(Arc::new(store), root, LakeOptions::default()).unwrap(), steps)
}

/// A run as the engine makes it: goes on at the offset of the table, two micro-batches of five rows (a snapshot
/// writes all rows each time).
async fn run(lake: &DeltaLake, spec: WriterSpec) -> Result<(), LakeError> {
    let snapshot = spec.mode == WriteMode::Snapshot;
    let mut writer = lake.writer(spec).await?;
    loop {
        let at = match writer.flow_state().and_then(|s| s.offset.as_ref()) {
            None => 0,
            Some(offset) => offset.read::<serde_json::Value>().unwrap()["at"].as_i64().unwrap(),
        };
        if at == 10 {
            return Ok(());
        }
        let from = if snapshot { 0 } else { at };
        writer.write(rows(from..at + 5)).await?;
        match writer.commit(Some(&offset(at + 5))).await? {
            CommitOutcome::Committed { .. } => {}
            CommitOutcome::Unchanged => panic!("rows came and nothing was committed"),
        }
    }
}

async fn fail_at_each_step(mode: WriteMode, full_refresh: bool) {
    for (after, for_good) in [(false, false), (true, false), (false, true), (true, true)] {
        for step in 1.. {
            let dir = tempfile::tempdir().unwrap();
            let (broken, steps) = faulty(&dir);
            let old = WriterSpec { flow: "old".into(), ..spec(WriteMode::Append) };
            if full_refresh {
                committed(put(&mut *broken.writer(old).await.unwrap(), 900..903, Some(1)).await);
            }
            steps.taken.store(0, Ordering::SeqCst);
            steps.fails.store(step, Ordering::SeqCst);
            steps.after.store(after, Ordering::SeqCst);
            steps.for_good.store(for_good, Ordering::SeqCst);
            let first = WriterSpec { full_refresh, ..spec(mode.clone()) };
            let failed = run(&broken, first.clone()).await.is_err();
            let taken = steps.taken.load(Ordering::SeqCst);

            // Another process finds the table as before or as after a commit, and ends the work.
            let (sound, _) = faulty(&dir);
            let begun = sound.table(&name()).await.unwrap().is_some_and(|t| t.flows.contains_key("flow-1"));
            if begun {
                let there = ids(&sound).await;
                assert_eq!(
                    there,
                    (0..i64::try_from(there.len()).unwrap()).collect::<Vec<_>>(),
                    "step {step}"
                );
                assert_eq!(there.len() % 5, 0, "step {step}");
            } else if full_refresh {
                assert_eq!(ids(&sound).await, [900, 901, 902], "step {step}");
            }
            let rest = WriterSpec { full_refresh: full_refresh && !begun, ..first };
            run(&sound, rest).await.unwrap();
            assert_eq!(ids(&sound).await, (0..10).collect::<Vec<_>>(), "step {step} {after} {for_good}");
            if taken < step {
                assert!(!failed);
                assert!(step > 10, "the faults were not met");
                break;
            }
        }
    }
}

#[tokio::test]
async fn an_append_that_fails_at_any_step_loses_and_doubles_nothing() {
    fail_at_each_step(WriteMode::Append, false).await;
}

#[tokio::test]
async fn a_snapshot_that_fails_at_any_step_loses_and_doubles_nothing() {
    fail_at_each_step(WriteMode::Snapshot, false).await;
}

#[tokio::test]
async fn a_full_refresh_that_fails_at_any_step_loses_and_doubles_nothing() {
    fail_at_each_step(WriteMode::Append, true).await;
}

#[tokio::test]
async fn a_commit_whose_answer_is_lost_is_found_and_not_repeated() {
    let dir = tempfile::tempdir().unwrap();
    let (broken, steps) = faulty(&dir);
    let mut writer = broken.writer(spec(WriteMode::Append)).await.unwrap();
    writer.write(rows(0..3)).await.unwrap();
    steps.taken.store(0, Ordering::SeqCst);
    // The first step puts the file, the second makes the version.
    steps.fails.store(2, Ordering::SeqCst);
    steps.after.store(true, Ordering::SeqCst);
    let outcome = writer.commit(Some(&offset(3))).await.unwrap();
    assert!(matches!(outcome, CommitOutcome::Committed { version: 0, .. }), "{outcome:?}");
    assert_eq!(ids(&lake(&dir)).await, [0, 1, 2]);
}

#[tokio::test]
async fn a_commit_that_nobody_answers_is_in_doubt() {
    let dir = tempfile::tempdir().unwrap();
    let (broken, steps) = faulty(&dir);
    let mut writer = broken.writer(spec(WriteMode::Append)).await.unwrap();
    writer.write(rows(0..3)).await.unwrap();
    steps.taken.store(0, Ordering::SeqCst);
    steps.fails.store(2, Ordering::SeqCst);
    steps.after.store(true, Ordering::SeqCst);
    steps.for_good.store(true, Ordering::SeqCst);
    let error = writer.commit(Some(&offset(3))).await.unwrap_err();
    assert!(error.is_in_doubt() && error.is_retryable(), "{error:?}");
    // The files of a commit in doubt stay, whatever the writer is told: it may have landed, as here.
    steps.for_good.store(false, Ordering::SeqCst);
    writer.discard().await.unwrap();
    assert_eq!(ids(&lake(&dir)).await, [0, 1, 2]);
    // Nor can the same rows be committed again by this writer.
    writer.write(rows(0..3)).await.unwrap();
    let error = writer.commit(Some(&offset(3))).await.unwrap_err();
    assert!(matches!(error, LakeError::FlowMoved { micro_batch: 1, .. }), "{error:?}");
}

#[tokio::test]
async fn a_damaged_table_says_so() {
    for (what, expect_read) in
        [("garbage", false), ("truncated data", true), ("missing data", true), ("gap", false)]
    {
        let dir = tempfile::tempdir().unwrap();
        let sound = lake(&dir);
        let mut writer = sound.writer(spec(WriteMode::Append)).await.unwrap();
        for at in 0..3 {
            committed(put(&mut *writer, at..at + 1, Some(at)).await);
        }
        let table = dir.path().join("main/shop/orders");
        let version = table.join("_delta_log/00000000000000000001.json");
        let data = table.join(&data_files(&dir)[0]);
        for at in 0..3 {
            std::fs::remove_file(table.join(format!("_delta_log/{at:020}.crc"))).unwrap();
        }
        match what {
            "garbage" => std::fs::write(version, "{\"add\": {\"path\": ").unwrap(),
            "gap" => std::fs::remove_file(version).unwrap(),
            "truncated data" => {
                let bytes = std::fs::read(&data).unwrap();
                std::fs::write(&data, &bytes[..bytes.len() / 2]).unwrap();
            }
            _ => std::fs::remove_file(data).unwrap(),
        }
        let lake = lake(&dir);
        let error = match lake.read(&name(), headwater_lake::ReadSpec::default()).await {
            Err(error) => {
                assert!(!expect_read, "{what}: {error:?}");
                error
            }
            Ok(rows) => {
                assert!(expect_read, "{what}");
                let failed: Vec<_> = rows.filter_map(|batch| async { batch.err() }).collect().await;
                failed.into_iter().next().unwrap_or_else(|| panic!("{what}"))
            }
        };
        assert!(matches!(error, LakeError::Damaged { .. }), "{what}: {error:?}");
    }
}

#[tokio::test]
async fn a_warehouse_with_a_file_in_the_place_of_a_folder_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let lake = lake(&dir);
    std::fs::write(dir.path().join("main"), "").unwrap();
    let error = lake.writer(spec(WriteMode::Append)).await.err().unwrap();
    let LakeError::Storage { doing, retryable: false, in_doubt: false, .. } = &error else {
        panic!("{error:?}")
    };
    assert!(doing.contains("main/shop/orders"), "{doing}");
}
