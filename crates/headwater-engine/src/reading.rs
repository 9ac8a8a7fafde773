//! Fetching: drives a connector's reads by the rules of the contract, and hands pages on as they come.

use std::collections::VecDeque;
use std::sync::Arc;

use futures::StreamExt;
use headwater_connect::{Connector, ConnectorError, Offset, Options, Page, PageStream, Partition, ReadItem};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::memory::{ByteBudget, BytesPermit, MAX_PAGE_BYTES};
use crate::plan::Part;
use crate::{Cancellation, FlowError, Reading};

/// What comes out of the reads of a flow, in order.
#[derive(Debug)]
pub(crate) enum Fetched {
    /// Some records. The permit stands for the page's memory.
    Page { page: Page, permit: BytesPermit },
    /// Everything up to `offset` has been handed on. `last`: there is no more.
    Boundary { offset: Option<Offset>, last: bool },
    /// A stop was asked for, and this is a safe point.
    Stopped,
    /// The reads are over.
    Failed(FlowError),
}

/// Reads one table of one update.
pub(crate) struct Reader {
    pub(crate) connector: Arc<dyn Connector>,
    pub(crate) table: String,
    pub(crate) options: Options,
    pub(crate) part: Part,
    pub(crate) reading: Reading,
    pub(crate) pages: ByteBudget,
    pub(crate) parallel_parts: usize,
    pub(crate) cancel: Cancellation,
    pub(crate) sender: mpsc::Sender<Fetched>,
}

/// Why a reader ended early.
enum Halt {
    Failed(Box<FlowError>),
    /// Nobody listens any more, or a stop was asked for and has been passed on.
    Over,
}

impl Halt {
    fn failed(error: FlowError) -> Self {
        Halt::Failed(Box::new(error))
    }
}

impl Reader {
    /// Reads from `start` to the end. What happens on the way, failures too, goes to the sender.
    pub(crate) async fn run(self, start: Option<Offset>) {
        let this = Arc::new(self);
        let ended = match this.reading {
            Reading::Stream => this.stream(start).await,
            Reading::StreamParts => Self::stream_parts(&this, start).await,
            Reading::Snapshot => this.snapshot().await,
            Reading::SnapshotParts => Self::snapshot_parts(&this).await,
        };
        if let Err(Halt::Failed(error)) = ended {
            // With nobody listening there is nobody to tell.
            this.send(Fetched::Failed(*error)).await.ok();
        }
    }

    async fn stream(&self, start: Option<Offset>) -> Result<(), Halt> {
        let mut from = start.unwrap_or_else(Offset::empty);
        let mut guard = OffsetGuard::new(from.clone());
        loop {
            let pages = match self.part {
                Part::Records => self.connector.read_table(&self.table, Some(&from), &self.options),
                Part::Deletions => self.connector.read_table_deletes(&self.table, Some(&from), &self.options),
            };
            let Some(next) = self.drain(pages).await? else {
                return Err(self.breach("a read of a stream ended without an offset (rule R8)"));
            };
            let last = next == from;
            if !last {
                self.guard(&mut guard, &next)?;
            }
            self.boundary(Some(next.clone()), last).await?;
            if last {
                return Ok(());
            }
            from = next;
        }
    }

    async fn snapshot(&self) -> Result<(), Halt> {
        let mut from: Option<Offset> = None;
        let mut guard = OffsetGuard::new(Offset::empty());
        loop {
            let pages = self.connector.read_table(&self.table, from.as_ref(), &self.options);
            let next = self.drain(pages).await?.filter(|offset| !offset.is_empty());
            let last = next.is_none() || next == from;
            if let (false, Some(next)) = (last, &next) {
                self.guard(&mut guard, next)?;
            }
            // Only a whole snapshot counts, so its inner offsets are nothing to keep.
            self.boundary(None, last).await?;
            if last {
                return Ok(());
            }
            from = next;
        }
    }

    async fn snapshot_parts(this: &Arc<Self>) -> Result<(), Halt> {
        let Some(ability) = this.connector.partitions() else {
            return Err(this.breach("a table that was partitioned no longer is"));
        };
        let parts =
            ability.get_partitions(&this.table, &this.options).await.map_err(|source| this.failed(source))?;
        Self::read_parts(this, parts).await?;
        this.boundary(None, true).await
    }

    async fn stream_parts(this: &Arc<Self>, start: Option<Offset>) -> Result<(), Halt> {
        let Some(ability) = this.connector.partitioned_stream() else {
            return Err(this.breach("a table that was partitioned no longer is"));
        };
        let (table, options) = (&this.table, &this.options);
        let mut from = start.unwrap_or_else(Offset::empty);
        let mut guard = OffsetGuard::new(from.clone());
        loop {
            let end =
                ability.latest_offset(table, &from, options).await.map_err(|source| this.failed(source))?;
            if end == from {
                return this.boundary(Some(end), true).await;
            }
            this.guard(&mut guard, &end)?;
            let parts = ability
                .get_partitions(table, &from, &end, options)
                .await
                .map_err(|source| this.failed(source))?;
            Self::read_parts(this, parts).await?;
            this.boundary(Some(end.clone()), false).await?;
            from = end;
        }
    }

    /// Reads all parts, some at the same time. When one fails the others are dropped.
    async fn read_parts(this: &Arc<Self>, parts: Vec<Partition>) -> Result<(), Halt> {
        let mut parts = parts.into_iter();
        let mut tasks: JoinSet<Result<(), Halt>> = JoinSet::new();
        loop {
            while tasks.len() < this.parallel_parts.max(1) {
                let Some(part) = parts.next() else { break };
                let this = this.clone();
                tasks.spawn(async move { this.read_part(&part).await });
            }
            match tasks.join_next().await {
                None => return Ok(()),
                Some(Ok(ended)) => ended?,
                Some(Err(lost)) => return Err(Halt::failed(FlowError::TaskLost { source: lost.into() })),
            }
        }
    }

    async fn read_part(&self, part: &Partition) -> Result<(), Halt> {
        let pages = match self.reading {
            Reading::StreamParts => self
                .connector
                .partitioned_stream()
                .map(|ability| ability.read_partition(&self.table, part, &self.options)),
            _ => self
                .connector
                .partitions()
                .map(|ability| ability.read_partition(&self.table, part, &self.options)),
        };
        let Some(pages) = pages else {
            return Err(self.breach("a table that was partitioned no longer is"));
        };
        match self.drain(pages).await? {
            None => Ok(()),
            Some(offset) => {
                Err(self.breach(&format!("the read of a part ended with offset {offset} (rules R17, R18)")))
            }
        }
    }

    /// Hands on the pages of one read and gives its end. Rule R7.
    async fn drain(&self, mut items: PageStream<'_>) -> Result<Option<Offset>, Halt> {
        let mut end = None;
        while let Some(item) = items.next().await {
            match (item.map_err(|source| self.failed(source))?, &end) {
                (ReadItem::Page(_), Some(_)) => {
                    return Err(self.breach("a page followed the end of a read (rule R7)"));
                }
                (ReadItem::End(_), Some(_)) => return Err(self.breach("a read ended twice (rule R7)")),
                (ReadItem::End(offset), None) => end = Some(offset),
                (ReadItem::Page(page), None) => {
                    let bytes = page.size_bytes();
                    if bytes > MAX_PAGE_BYTES {
                        return Err(Halt::failed(FlowError::PageTooLarge {
                            table: self.table.clone(),
                            bytes,
                            limit_bytes: MAX_PAGE_BYTES,
                        }));
                    }
                    let permit = self.pages.acquire(bytes).await;
                    self.send(Fetched::Page { page, permit }).await?;
                }
            }
        }
        end.ok_or_else(|| self.breach("a read broke off without its end (rule R7)"))
    }

    /// Marks the end of a read, and ends there when a stop was asked for.
    async fn boundary(&self, offset: Option<Offset>, last: bool) -> Result<(), Halt> {
        self.send(Fetched::Boundary { offset, last }).await?;
        if !last && self.cancel.is_requested() {
            self.send(Fetched::Stopped).await?;
            return Err(Halt::Over);
        }
        Ok(())
    }

    async fn send(&self, item: Fetched) -> Result<(), Halt> {
        self.sender.send(item).await.map_err(|_| Halt::Over)
    }

    fn guard(&self, guard: &mut OffsetGuard, next: &Offset) -> Result<(), Halt> {
        if guard.is_new(next) {
            return Ok(());
        }
        let offset = shorten(next.as_json());
        Err(Halt::failed(FlowError::OffsetLoop { table: self.table.clone(), offset }))
    }

    fn failed(&self, source: ConnectorError) -> Halt {
        Halt::failed(FlowError::Read { table: self.table.clone(), source })
    }

    fn breach(&self, what: &str) -> Halt {
        self.failed(ConnectorError::bug(what))
    }
}

fn shorten(text: &str) -> String {
    const SHOWN: usize = 200;
    if text.chars().count() <= SHOWN {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(SHOWN).collect();
    short.push('…');
    short
}

/// Notices that offsets come back.
///
/// The most recent offsets are remembered as they are. One older offset, renewed at each power of two (Brent's
/// method), finds circles of any length, so memory stays bounded however long a stream is.
struct OffsetGuard {
    recent: VecDeque<Offset>,
    landmark: Offset,
    since_landmark: u64,
    renew_after: u64,
}

impl OffsetGuard {
    const RECENT: usize = 1024;

    fn new(start: Offset) -> Self {
        Self { recent: VecDeque::from([start.clone()]), landmark: start, since_landmark: 0, renew_after: 1 }
    }

    /// Takes the next offset, and says whether it has not been there before.
    fn is_new(&mut self, next: &Offset) -> bool {
        if *next == self.landmark || self.recent.contains(next) {
            return false;
        }
        self.since_landmark += 1;
        if self.since_landmark == self.renew_after {
            self.landmark = next.clone();
            self.since_landmark = 0;
            self.renew_after = self.renew_after.saturating_mul(2);
        }
        if self.recent.len() == Self::RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(next.clone());
        true
    }
}

#[cfg(test)]
mod tests {
    use headwater_connect::Offset;
    use serde_json::json;

    use super::OffsetGuard;

    fn offset(n: u64) -> Offset {
        Offset::from(json!({"n": n}))
    }

    /// Walks `lead` new offsets, then a circle of `length`; gives how many steps it took to notice.
    fn noticed_after(lead: u64, length: u64) -> Option<u64> {
        let mut guard = OffsetGuard::new(Offset::empty());
        (0..lead + 8 * (lead + length)).find(|step| {
            let n = if *step < lead { *step } else { lead + (step - lead) % length };
            !guard.is_new(&offset(n))
        })
    }

    #[test]
    fn circles_of_any_length_are_noticed() {
        assert_eq!(noticed_after(0, 1), Some(1));
        assert_eq!(noticed_after(3, 2), Some(5));
        assert_eq!(noticed_after(10, 1000), Some(1010));
        assert!(noticed_after(2, 1500).is_some());
        assert!(noticed_after(700, 2000).is_some());
    }

    #[test]
    fn offsets_that_move_on_are_never_called_a_circle() {
        let mut guard = OffsetGuard::new(Offset::empty());
        assert!((0..5000).all(|n| guard.is_new(&offset(n))));
        assert!(!guard.is_new(&Offset::from_json(r#"{"n": 4.999e3}"#).unwrap()), "compared as values");
    }
}
