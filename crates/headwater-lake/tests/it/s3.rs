//! A whole table's life in an object store that speaks S3 over HTTP, and what goes wrong there.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use headwater_lake::{CommitOutcome, DeltaLake, Lake, LakeError, LakeOptions, WriteMode, WriterSpec};
use serde_json::{Value, json};

use crate::canon;
use crate::maker::{every_type, every_value, name, offset, put, small, small_schema, spec, write};
use crate::readers::{ask, environment, start};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const TARGET: u64 = WriterSpec::DEFAULT_TARGET_FILE_BYTES;
const KEY: &str = "tests";

/// A server of `testing/s3.py`; it ends with the binary, whose end closes its stdin.
struct Server {
    port: u64,
    _process: Child,
}

fn server(script: &[&str], log: &str) -> Server {
    let mut process = start(script, log);
    let mut line = String::new();
    BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let said: Value =
        serde_json::from_str(&line).unwrap_or_else(|_| panic!("the S3 server did not start; see {log}"));
    Server { port: said["port"].as_u64().unwrap(), _process: process }
}

fn port() -> u64 {
    static SHARED: OnceLock<Server> = OnceLock::new();
    SHARED.get_or_init(|| server(&["s3.py"], "s3.log")).port
}

fn options(port: u64) -> LakeOptions {
    let storage = [
        ("endpoint", format!("http://127.0.0.1:{port}")),
        ("allow_http", "true".into()),
        ("region", "us-east-1".into()),
        ("access_key_id", KEY.into()),
        ("secret_access_key", "not-a-secret".into()),
    ];
    LakeOptions { storage: storage.map(|(k, v)| (k.to_owned(), v)).into(), ..LakeOptions::default() }
}

/// The same for readers that use the names of environment variables.
fn storage_options(port: u64) -> Value {
    json!({
        "AWS_ENDPOINT_URL": format!("http://127.0.0.1:{port}"),
        "AWS_ALLOW_HTTP": "true",
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": "not-a-secret",
    })
}

/// A new bucket of the shared server, made as anybody would: with a PUT.
fn bucket(bucket: &str) -> DeltaLake {
    let made = std::process::Command::new(environment().join("bin/python"))
        .args([
            "-c",
            "import sys, boto3; boto3.client('s3', endpoint_url=sys.argv[1], region_name='us-east-1', \
               aws_access_key_id='x', aws_secret_access_key='x').create_bucket(Bucket=sys.argv[2])",
        ])
        .args([format!("http://127.0.0.1:{}", port()), bucket.to_owned()])
        .stdin(Stdio::null())
        .status()
        .unwrap();
    assert!(made.success());
    open(bucket)
}

fn open(bucket: &str) -> DeltaLake {
    DeltaLake::open(&format!("s3://{bucket}/warehouse"), options(port())).unwrap()
}

fn same(bucket: &str, table: &str, rows: &[Value]) {
    for reader in ["deltalake", "polars"] {
        let path = format!("s3://{bucket}/warehouse/main/tests/{table}");
        let request = json!({"reader": reader, "path": path, "storage_options": storage_options(port())});
        let read = ask("read", request).unwrap_or_else(|e| panic!("{reader}: {e}"));
        assert_eq!(
            canon::sorted(read["rows"].as_array().unwrap().clone()),
            canon::sorted(rows.to_vec()),
            "{reader}"
        );
    }
}

#[tokio::test]
async fn a_table_lives_in_a_bucket() {
    let lake = bucket("a-life");
    let table = name("life");
    let append = || spec(&table, &every_type(), WriteMode::Append);
    assert!(lake.table(&table).await.unwrap().is_none());
    assert_eq!(lake.tables().await.unwrap(), []);
    let batches: Vec<_> = (0..12).map(|i| every_value(i * 10)).collect();
    for (at, batch) in (1..).zip(&batches) {
        put(&lake, append(), std::slice::from_ref(batch), at).await;
    }
    same("a-life", "life", &canon::rows(&batches));
    // A new process finds everything in the bucket.
    let lake = open("a-life");
    assert_eq!(lake.tables().await.unwrap(), std::slice::from_ref(&table));
    let state = lake.table(&table).await.unwrap().unwrap();
    assert_eq!((state.version, state.rows, &state.flows["flow"].offset), (11, Some(60), &Some(offset(12))));
    let report = lake.optimize(&table, TARGET).await.unwrap();
    assert_eq!((report.files_removed, report.files_added, report.version), (12, 1, Some(12)));
    same("a-life", "life", &canon::rows(&batches));
    assert_eq!(lake.vacuum(&table, 7 * DAY, false).await.unwrap().files, [""; 0]);

    let snapshot = WriterSpec { full_refresh: true, ..spec(&table, &small_schema(), WriteMode::Snapshot) };
    put(&lake, snapshot, &[small(0..9)], 1).await;
    same("a-life", "life", &canon::rows([&small(0..9)]));
    let snapshot = || spec(&table, &small_schema(), WriteMode::Snapshot);
    assert_eq!(write(&lake, snapshot(), &[small(0..9)], 1).await, CommitOutcome::Unchanged);
    put(&lake, snapshot(), &[small(5..7)], 2).await;
    same("a-life", "life", &canon::rows([&small(5..7)]));

    // Eight days later, what was replaced goes.
    let clock =
        headwater_connect::ManualClock::new(headwater_connect::Clock::now(&headwater_connect::SystemClock));
    clock.advance(chrono::TimeDelta::days(8));
    let later = LakeOptions { clock: std::sync::Arc::new(clock), ..options(port()) };
    let later = DeltaLake::open("s3://a-life/warehouse", later).unwrap();
    let report = later.vacuum(&table, 7 * DAY, false).await.unwrap();
    assert_eq!(report.files.len(), 14, "twelve small files, the merged one, the first snapshot: {report:?}");
    same("a-life", "life", &canon::rows([&small(5..7)]));
}

/// Large enough for an upload in parts.
#[tokio::test]
async fn a_large_file_is_uploaded_in_parts() {
    let lake = bucket("in-parts");
    let table = name("large");
    let schema = small_schema();
    let rows = 400_000;
    let mut random = fastrand::Rng::with_seed(7);
    let ids: Vec<i64> = (0..rows).map(|_| random.i64(..)).collect();
    let texts: arrow_array::StringArray =
        ids.iter().map(|_| Some((0..24).map(|_| random.alphanumeric()).collect::<String>())).collect();
    let columns: Vec<arrow_array::ArrayRef> =
        vec![std::sync::Arc::new(arrow_array::Int64Array::from(ids)), std::sync::Arc::new(texts)];
    let batch = arrow_array::RecordBatch::try_new(schema.to_arrow(), columns).unwrap();
    let outcome =
        write(&lake, spec(&table, &schema, WriteMode::Append), std::slice::from_ref(&batch), 1).await;
    let CommitOutcome::Committed { bytes, files, .. } = outcome else { panic!("{outcome:?}") };
    assert!(files == 1 && bytes > 10 * 1024 * 1024, "{files} files of {bytes} bytes");
    same("in-parts", "large", &canon::rows([&batch]));
}

/// Each version is won by one writer; the other comes after it, and no row is lost or doubled.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_writers_share_a_table() {
    const COMMITS: i64 = 15;
    let lake = bucket("two-writers");
    let table = name("shared");
    let mut tasks = tokio::task::JoinSet::new();
    for writer in 0..2_i64 {
        // Each has a lake of its own, as two processes have.
        let lake = open("two-writers");
        let spec =
            WriterSpec { flow: format!("flow {writer}"), ..spec(&table, &small_schema(), WriteMode::Append) };
        tasks.spawn(async move {
            let mut open = lake.writer(spec).await.unwrap();
            let mut versions = Vec::new();
            for at in 0..COMMITS {
                open.write(small([writer * 1_000 + at])).await.unwrap();
                match open.commit(Some(&offset(at))).await.unwrap() {
                    CommitOutcome::Committed { version, .. } => versions.push(version),
                    CommitOutcome::Unchanged => panic!("rows were not committed"),
                }
            }
            versions
        });
    }
    let mut versions = tasks.join_all().await.concat();
    versions.sort_unstable();
    versions.dedup();
    assert_eq!(versions.len(), 30, "{versions:?}");
    // What is between them are the writers' own merges of small files.
    for version in lake.history(&table, 100).await.unwrap() {
        let ours = versions.contains(&version.version);
        assert_eq!(ours, version.operation != "OPTIMIZE", "{version:?}");
    }
    let expect = small((0..COMMITS).chain(1_000..1_000 + COMMITS));
    same("two-writers", "shared", &canon::rows([&expect]));
    let state = lake.table(&table).await.unwrap().unwrap();
    for flow in ["flow 0", "flow 1"] {
        assert_eq!(state.flows[flow].offset, Some(offset(COMMITS - 1)));
        assert_eq!(state.flows[flow].micro_batch, 15);
    }
}

/// The error and all its causes, as the command line shows them.
fn told(error: &LakeError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

#[tokio::test]
async fn a_bucket_that_is_not_there_is_named() {
    let table = name("nowhere");
    let lake = open("no-such-bucket");
    for error in [
        lake.table(&table).await.unwrap_err(),
        lake.writer(spec(&table, &small_schema(), WriteMode::Append)).await.err().unwrap(),
    ] {
        let text = told(&error);
        assert!(text.contains("no-such-bucket") || text.contains("NoSuchBucket"), "{text}");
        assert!(!error.is_retryable(), "{text}");
    }
}

#[tokio::test]
async fn keys_that_the_server_does_not_know_are_refused() {
    let strict = server(&["s3.py", "--auth"], "s3-strict.log");
    let lake = DeltaLake::open("s3://any-bucket/x", options(strict.port)).unwrap();
    let error = lake.table(&name("t")).await.unwrap_err();
    let text = told(&error);
    assert!(text.contains("InvalidAccessKeyId") || text.contains("403"), "{text}");
    assert!(!text.contains("not-a-secret"), "{text}");
    assert!(!error.is_retryable(), "{text}");
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_named() {
    // A port that was free a moment ago, and where nobody listens.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let lake = DeltaLake::open("s3://bucket/x", options(port.into())).unwrap();
    let error = lake.table(&name("t")).await.unwrap_err();
    let text = told(&error);
    assert!(text.contains(&format!("127.0.0.1:{port}")), "{text}");
    assert!(error.is_retryable(), "{text}");
}
