use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use bytes::Bytes;
use futures::{Stream, StreamExt};
use headwater_connect::{ConnectorError, JsonPointer};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::place::{Place, is_short};
use super::{Ahead, Responses, ended};
use crate::request::Request;
use crate::response::Response;

/// Pages that are asked for at once before anybody knows how large they are.
const FIRST: usize = 8;

/// Numbered pages from `numbers`, several at the same time, delivered in order.
///
/// `request` makes the request for a number. The stream ends with `numbers`, or after the first page for which
/// `is_last` holds; pages beyond it that are on their way are given up. [`numbered`] knows the usual ways to end.
pub fn by_page_number(
    numbers: impl IntoIterator<Item = u64, IntoIter: Send + 'static>,
    request: impl Fn(u64) -> Request + Send + 'static,
    is_last: impl Fn(&Response) -> Result<bool, ConnectorError> + Send + 'static,
    ahead: impl Into<Ahead>,
) -> Responses {
    let responses = in_order(numbers.into_iter().map(request), ahead.into());
    async_stream::try_stream! {
        for await response in responses {
            let response = response?;
            let last = is_last(&response)?;
            yield response;
            if last {
                break;
            }
        }
    }
    .boxed()
}

/// Sends `requests`, several at the same time, and delivers the answers in order. An error ends the stream.
pub(super) fn in_order(
    mut requests: impl Iterator<Item = Request> + Send + 'static,
    ahead: Ahead,
) -> impl Stream<Item = Result<Response, ConnectorError>> + Send + 'static {
    async_stream::try_stream! {
        let mut tasks = JoinSet::new();
        let mut waiting: VecDeque<oneshot::Receiver<_>> = VecDeque::new();
        let room = Arc::new(Room::default());
        loop {
            while waiting.is_empty() || room.has_place(waiting.len(), ahead) {
                let Some(request) = requests.next() else { break };
                let (sender, receiver) = oneshot::channel();
                let room = Arc::clone(&room);
                tasks.spawn(async move {
                    let response = request.send().await;
                    if let Ok(response) = &response {
                        room.arrived(response.body.len());
                    }
                    // Nobody waits for it any more when the stream has ended.
                    let _unwanted = sender.send(response);
                });
                waiting.push_back(receiver);
            }
            let Some(receiver) = waiting.pop_front() else { break };
            let response: Response = match receiver.await {
                Ok(response) => response?,
                Err(_) => {
                    ended(&mut tasks).await?;
                    Err(ConnectorError::bug("a page was given up"))?
                }
            };
            room.taken(response.body.len());
            while tasks.try_join_next().is_some() {}
            yield response;
        }
    }
}

/// What pages that are ahead of the reader hold.
#[derive(Default)]
struct Room {
    /// Pages that wait for the reader, and their bytes.
    pages: AtomicUsize,
    bytes: AtomicUsize,
    /// What the next page is reckoned to have: as the largest of the last ones.
    expected: AtomicUsize,
}

impl Room {
    fn arrived(&self, bytes: usize) {
        let expected = self.expected.load(Relaxed);
        self.expected.store(bytes.max(expected - expected / 8), Relaxed);
        self.pages.fetch_add(1, Relaxed);
        self.bytes.fetch_add(bytes, Relaxed);
    }

    fn taken(&self, bytes: usize) {
        self.pages.fetch_sub(1, Relaxed);
        self.bytes.fetch_sub(bytes, Relaxed);
    }

    /// Whether one more page may be asked for, beside `waiting` ones that have come or are on their way.
    fn has_place(&self, waiting: usize, ahead: Ahead) -> bool {
        let expected = self.expected.load(Relaxed);
        if waiting >= ahead.pages || (expected == 0 && waiting >= FIRST) {
            return false;
        }
        let on_their_way = waiting.saturating_sub(self.pages.load(Relaxed));
        self.bytes.load(Relaxed).saturating_add((on_their_way + 1).saturating_mul(expected)) <= ahead.bytes
    }
}

/// Pages that are asked for by a number in query parameter `parameter`: page 1, 2, 3, or offset 0, 100, 200.
///
/// ```no_run
/// # fn example(client: headwater_http::HttpClient) -> Result<(), headwater_connect::ConnectorError> {
/// use headwater_http::pages::{self, Place};
///
/// let by_page = pages::numbered(client.get("issues").query("per_page", 100), "page")
///     .until_short("/items".parse()?, 100)
///     .fetch(8);
/// let by_offset = pages::numbered(client.get("orders").query("limit", 500), "offset")
///     .starting_at(0)
///     .step(500)
///     .total_records(Place::Body("/total".parse()?), 500)
///     .fetch(8);
/// # Ok(()) }
/// ```
pub fn numbered(request: Request, parameter: &str) -> Numbered {
    Numbered { request, parameter: parameter.to_owned(), start: 1, step: 1, short: None, total: None }
}

/// How numbered pages are asked for, and how they end. Say at least one way to end.
#[must_use]
pub struct Numbered {
    request: Request,
    parameter: String,
    start: u64,
    step: u64,
    /// A page with fewer records than this at this place is the last.
    short: Option<(JsonPointer, u64)>,
    total: Option<(Place, u64)>,
}

impl Numbered {
    /// The number of the first page; 1 unless said otherwise.
    pub fn starting_at(mut self, number: u64) -> Self {
        self.start = number;
        self
    }

    /// What one page's number is above the one's before it: 1, or with offsets the size of a page.
    pub fn step(mut self, step: u64) -> Self {
        self.step = step.max(1);
        self
    }

    /// Ends with the first page that has fewer than `size` records at `records`. Pages beyond it may have been asked for.
    pub fn until_short(mut self, records: JsonPointer, size: u64) -> Self {
        self.short = Some((records, size));
        self
    }

    /// Ends with the first page that has no records at `records`.
    pub fn until_empty(self, records: JsonPointer) -> Self {
        self.until_short(records, 1)
    }

    /// Ends when all records are there, of which the first page says how many there are; a page has `size`.
    pub fn total_records(mut self, place: Place, size: u64) -> Self {
        self.total = Some((place, size.max(1)));
        self
    }

    /// Ends with the last page, of which the first page says its place in the row of pages, from 1.
    pub fn total_pages(mut self, place: Place) -> Self {
        self.total = Some((place, 1));
        self
    }

    /// Fetches the pages: the first alone where it says how many there are, the others several at the same time.
    ///
    /// The stream ends with an error where the source gives the same page twice in a row, as sources do that do not
    /// know the parameter, or that give their last page for every number beyond it.
    pub fn fetch(self, ahead: impl Into<Ahead>) -> Responses {
        let ahead = ahead.into();
        let Self { request, parameter, start, step, short, total } = self;
        let numbers = move |from: u64| (0..).map_while(move |page| from.checked_add(step.checked_mul(page)?));
        let of_number = move |number: u64| request.clone().set_query(&parameter, number);
        let is_last = move |response: &Response| match &short {
            Some((records, size)) => is_short(response, records, *size),
            None => Ok(false),
        };
        async_stream::try_stream! {
            let mut guard = SamePage::default();
            let mut rest = usize::MAX;
            let mut from = start;
            if let Some((place, size)) = &total {
                let response = of_number(start).send().await?;
                let last = is_last(&response)?;
                match place.number(&response)? {
                    Some(count) => {
                        rest = usize::try_from(count.div_ceil(*size)).unwrap_or(usize::MAX).saturating_sub(1);
                    }
                    None if last => {}
                    None => Err(response.unusable("does not say how much there is"))?,
                }
                guard.check(&response)?;
                yield response;
                from = start.saturating_add(step);
                if last {
                    return;
                }
            }
            let requests = numbers(from).take(rest).map(of_number);
            for await response in in_order(requests, ahead) {
                let response = response?;
                let last = is_last(&response)?;
                if !last {
                    guard.check(&response)?;
                }
                yield response;
                if last {
                    break;
                }
            }
        }
        .boxed()
    }
}

/// Notices a source that answers the same again.
#[derive(Default)]
struct SamePage(Option<Bytes>);

impl SamePage {
    fn check(&mut self, response: &Response) -> Result<(), ConnectorError> {
        if self.0.as_ref().is_some_and(|before| *before == response.body) {
            return Err(
                response.unusable("answered the same as for the page before it: the pages have no end")
            );
        }
        self.0 = Some(response.body.clone());
        Ok(())
    }
}
