//! What the measured processes do to a table.

use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use futures::StreamExt;
use headwater_connect::{Clock, Offset, SystemClock};
use headwater_lake::{
    CdcSpec, CommitOutcome, DeltaLake, Feed, Lake, LakeOptions, ReadSpec, ScdType, TableName, TrackHistory,
    WriteMode, WriterSpec,
};
use parquet::arrow::ArrowWriter;
use serde_json::{Value, json};

use super::rows::{BATCH_ROWS, Event, Permutation, batches, scatter, schema};
use crate::usage::Usage;

/// Memory of the lake's writer: as much as holds a micro-batch of 100,000 changes in one part.
const MEMORY_BYTES: usize = 72 * 1024 * 1024;
/// The same for a snapshot: as much as compares five million rows without a temporary file.
const SNAPSHOT_MEMORY_BYTES: usize = 768 * 1024 * 1024;
/// Rows of one of the small upserts.
pub(crate) const SMALL_ROWS: u64 = 1_000;

/// The events that a process writes. `rows` is the size of the base table, `count` that of the batch.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Events {
    /// The base table, keys in no order.
    Base,
    /// The base table, keys in order.
    Sorted,
    /// Keys from anywhere, a newer version of each.
    Upserts,
    /// Keys of the newest rows.
    Recent,
    /// As many small batches as there are, keys from anywhere.
    Small,
    /// A snapshot.
    First,
    /// The snapshot after it: of a hundred rows one is changed, of a thousand one is gone.
    Second,
    /// The rows in which the second snapshot differs from the first.
    Changed,
}

impl Events {
    pub(crate) fn parse(name: &str) -> Result<Self> {
        Ok(match name {
            "base" => Events::Base,
            "sorted" => Events::Sorted,
            "upserts" => Events::Upserts,
            "recent" => Events::Recent,
            "small" => Events::Small,
            "first" => Events::First,
            "second" => Events::Second,
            "changed" => Events::Changed,
            other => bail!("no events are called {other}"),
        })
    }

    fn iterate(self, rows: u64, count: u64) -> Box<dyn Iterator<Item = Event>> {
        let order = Permutation::new(rows, 1);
        let keys = Permutation::new(rows, 2);
        let newest = (rows * 3 / 100).max(count).min(rows);
        let among_newest = Permutation::new(newest, 3);
        let gone = |id: u64| scatter(id ^ 0xdead).is_multiple_of(1000);
        let changed = |id: u64| scatter(id ^ 0xbeef).is_multiple_of(100);
        match self {
            Events::Base => Box::new((0..rows).map(move |i| Event { id: order.at(i), seq: i + 1 })),
            Events::Sorted => Box::new((0..rows).map(|i| Event { id: i, seq: i + 1 })),
            Events::Upserts => Box::new((0..count).map(move |i| Event { id: keys.at(i), seq: rows + i + 1 })),
            Events::Recent => Box::new(
                (0..count).map(move |i| Event { id: rows - newest + among_newest.at(i), seq: rows + i + 1 }),
            ),
            // Beyond the sequence numbers of the large batch, which may have gone before.
            Events::Small => Box::new(
                (0..count * SMALL_ROWS)
                    .map(move |i| Event { id: keys.at((i + rows / 2) % rows), seq: 2 * rows + i + 1 }),
            ),
            Events::First => Box::new((0..rows).map(move |i| Event { id: order.at(i), seq: 1 })),
            Events::Second => Box::new(
                (0..rows)
                    .map(move |i| order.at(i))
                    .filter(move |id| !gone(*id))
                    .map(move |id| Event { id, seq: if changed(id) { 2 } else { 1 } }),
            ),
            Events::Changed => Box::new(
                (0..rows).filter(move |id| changed(*id) && !gone(*id)).map(|id| Event { id, seq: 2 }),
            ),
        }
    }
}

/// How the rows are written, by the name of it.
pub(crate) fn mode(name: &str) -> Result<WriteMode> {
    let changes = |scd_type, feed, sequence_by: Option<&str>| {
        WriteMode::Cdc(CdcSpec {
            keys: vec!["id".to_owned()],
            scd_type,
            feed,
            sequence_by: sequence_by.map(str::to_owned),
            track: TrackHistory::All,
            tombstone_retention: None,
            deletion_vectors: None,
        })
    };
    Ok(match name {
        "append" => WriteMode::Append,
        "scd1" => changes(ScdType::One, Feed::Upserts, Some("seq")),
        "scd2" => changes(ScdType::Two, Feed::Upserts, Some("seq")),
        "snapshot" => changes(ScdType::One, Feed::Snapshot { version: SystemClock.now() }, None),
        other => bail!("no mode is called {other}"),
    })
}

/// A table of a warehouse on disk.
pub(crate) struct Place<'a> {
    pub(crate) warehouse: &'a str,
    pub(crate) table: &'a str,
}

impl Place<'_> {
    fn name(&self) -> Result<TableName> {
        Ok(TableName::new("main", "bench", self.table)?)
    }

    fn open(&self) -> Result<DeltaLake> {
        Ok(DeltaLake::open(self.warehouse, LakeOptions::default())?)
    }
}

/// Writes events into a table and gives the figures of this process. `small` events are a commit each `SMALL_ROWS`.
#[allow(clippy::disallowed_methods, reason = "a benchmark measures real time")]
pub(crate) fn write(
    place: &Place<'_>,
    mode: WriteMode,
    events: Events,
    rows: u64,
    count: u64,
) -> Result<Value> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let batch_rows = if matches!(events, Events::Small) { usize::try_from(SMALL_ROWS)? } else { BATCH_ROWS };
    let mut source = Source { events: events.iterate(rows, count), rows: batch_rows, took: Duration::ZERO };
    // What an engine would have received before it applies a batch is not part of the work.
    let ready = if count > 0 { source.next(u64::MAX)? } else { Vec::new() };
    let snapshot = matches!(&mode, WriteMode::Cdc(cdc) if matches!(cdc.feed, Feed::Snapshot { .. }));
    let memory_bytes = if snapshot { SNAPSHOT_MEMORY_BYTES } else { MEMORY_BYTES };
    let mut commits = Vec::new();
    let started = Instant::now();
    source.took = Duration::ZERO;
    let written = runtime.block_on(async {
        let lake = place.open()?;
        let spec = WriterSpec {
            table: place.name()?,
            flow: "bench".to_owned(),
            schema: schema(),
            mode,
            cluster_by: Vec::new(),
            full_refresh: false,
            memory_bytes,
            target_file_bytes: WriterSpec::DEFAULT_TARGET_FILE_BYTES,
            type_widening: false,
        };
        let mut writer = lake.writer(spec).await?;
        let mut outcomes = Vec::new();
        let label = format!("{events:?}");
        if matches!(events, Events::Small) {
            for (number, batch) in ready.into_iter().enumerate() {
                let begun = Instant::now();
                writer.write(batch).await?;
                let offset = Offset::from(json!({ "at": label, "number": number }));
                outcomes.push(writer.commit(Some(&offset)).await?);
                commits.push(begun.elapsed().as_secs_f64());
            }
        } else {
            for batch in ready {
                writer.write(batch).await?;
            }
            while let Some(batch) = source.next(1)?.pop() {
                writer.write(batch).await?;
            }
            let offset = Offset::from(json!({ "at": label }));
            outcomes.push(writer.commit(Some(&offset)).await?);
        }
        anyhow::Ok((lake, outcomes))
    });
    let (lake, outcomes) = written?;
    let wall = started.elapsed().saturating_sub(source.took);
    let usage = Usage::of_this_process()?;
    let made = outcomes.iter().filter(|outcome| matches!(outcome, CommitOutcome::Committed { .. })).count();
    // Upkeep may have made a version of its own after the last commit.
    let versions = runtime.block_on(async { lake.history(&place.name()?, 2).await.context("no history") })?;
    let metrics = versions.iter().find(|version| version.operation != "OPTIMIZE").filter(|_| made > 0);
    let mut figures = usage.to_json(wall.as_secs_f64(), count);
    figures["source_secs"] = source.took.as_secs_f64().into();
    figures["commits"] = made.into();
    figures["commit_secs"] = commits.into();
    figures["outcome"] = outcomes.last().map(|outcome| format!("{outcome:?}")).into();
    figures["metrics"] = metrics.map(|version| json!(version.metrics)).unwrap_or_default();
    Ok(figures)
}

/// Makes batches, and knows how long that took.
struct Source {
    events: Box<dyn Iterator<Item = Event>>,
    /// Rows of a batch.
    rows: usize,
    took: Duration,
}

impl Source {
    #[allow(clippy::disallowed_methods, reason = "a benchmark measures real time")]
    fn next(&mut self, most: u64) -> Result<Vec<arrow_array::RecordBatch>> {
        let begun = Instant::now();
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let made = batches(&mut self.events, self.rows).take(most).collect();
        self.took += begun.elapsed();
        made
    }
}

/// Reads all rows of a table and gives the figures of this process.
#[allow(clippy::disallowed_methods, reason = "a benchmark measures real time")]
pub(crate) fn read(place: &Place<'_>) -> Result<Value> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let started = Instant::now();
    let rows = runtime.block_on(async {
        let lake = place.open()?;
        let mut batches = lake.read(&place.name()?, ReadSpec::default()).await?;
        let mut rows = 0;
        while let Some(batch) = batches.next().await {
            rows += batch?.num_rows() as u64;
        }
        anyhow::Ok(rows)
    })?;
    Ok(Usage::of_this_process()?.to_json(started.elapsed().as_secs_f64(), rows))
}

/// Writes the events of a batch into a Parquet file, for another program to read.
pub(crate) fn parquet(out: &Path, events: Events, rows: u64, count: u64) -> Result<Value> {
    let mut writer = ArrowWriter::try_new(File::create(out)?, schema().to_arrow(), None)?;
    for batch in batches(events.iterate(rows, count), BATCH_ROWS) {
        writer.write(&batch?)?;
    }
    let written = writer.close()?;
    Ok(json!({ "rows": written.file_metadata().num_rows() }))
}
