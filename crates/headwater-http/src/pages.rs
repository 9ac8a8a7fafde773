//! Paging through a source ahead of the reader.
//!
//! Each function gives a stream of [`Response`]s in order. The requests run in tasks that the stream owns: the next
//! page is on its way while the reader works on the one before, at most `ahead` pages are fetched and not yet
//! taken, and dropping the stream ends them all. [`into_pages`] makes a
//! [`PageStream`](headwater_connect::PageStream) of it.

use std::collections::VecDeque;

use futures::stream::BoxStream;
use futures::{Stream, StreamExt};
use headwater_connect::{BoxError, ConnectorError, JsonPointer, Offset, Page, PageStream, ReadItem};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use crate::request::Request;
use crate::response::Response;

/// The responses of a read, in order. An error ends the stream.
pub type Responses = BoxStream<'static, Result<Response, ConnectorError>>;

/// Where a source says how to get the next page.
#[derive(Debug, Clone)]
pub enum NextLink {
    /// A link at this place of the body; missing, null or empty on the last page.
    Body(JsonPointer),
    /// The `Link` header with `rel="next"`.
    Header,
}

/// Follows links from page to page.
pub fn by_next_link(first: Request, next: NextLink, ahead: usize) -> Responses {
    let client = first.client.clone();
    let mut guard = LoopGuard::default();
    sequential(first, ahead, move |response| {
        let link = match &next {
            NextLink::Header => response.link("next").map(str::to_owned),
            NextLink::Body(pointer) => text_at(response, pointer)?,
        };
        let Some(link) = link else { return Ok(None) };
        guard.check(response, &link)?;
        client.follow(&response.url, &link).map(Some)
    })
}

/// Repeats `first` with the cursor that each page gives, in query parameter `parameter`.
pub fn by_cursor(first: Request, parameter: &str, cursor: JsonPointer, ahead: usize) -> Responses {
    let (request, parameter) = (first.clone(), parameter.to_owned());
    let mut guard = LoopGuard::default();
    sequential(first, ahead, move |response| {
        let Some(cursor) = text_at(response, &cursor)? else { return Ok(None) };
        guard.check(response, &cursor)?;
        Ok(Some(request.clone().set_query(&parameter, cursor)))
    })
}

/// Pages of which each says what the next request is; `next` gives `None` after the last.
pub fn sequential(
    first: Request,
    ahead: usize,
    mut next: impl FnMut(&Response) -> Result<Option<Request>, ConnectorError> + Send + 'static,
) -> Responses {
    let start = move || {
        let (sender, receiver) = mpsc::channel(ahead.max(1));
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut request = Some(first);
            while let Some(this) = request.take() {
                // The place is taken before the request is sent: that bounds what is fetched and not yet taken.
                let Ok(place) = sender.reserve().await else { return };
                let response = this.send().await;
                let followed = response.as_ref().ok().map(&mut next);
                match followed {
                    Some(Ok(following)) => {
                        request = following;
                        place.send(response);
                    }
                    // The records of the page are good, what it says about the next is not.
                    Some(Err(error)) => {
                        place.send(response);
                        let Ok(place) = sender.reserve().await else { return };
                        place.send(Err(error));
                    }
                    None => place.send(response),
                }
            }
        });
        (tasks, receiver)
    };
    async_stream::try_stream! {
        let (mut tasks, mut receiver) = start();
        while let Some(response) = receiver.recv().await {
            yield response?;
        }
        ended(&mut tasks).await?;
    }
    .boxed()
}

/// Numbered pages from `numbers`, several at the same time, delivered in order.
///
/// `request` makes the request for a number. The stream ends with `numbers`, or after the first page for which
/// `is_last` holds; pages beyond it that are on their way are given up.
pub fn by_page_number(
    numbers: impl IntoIterator<Item = u64, IntoIter: Send + 'static>,
    request: impl Fn(u64) -> Request + Send + 'static,
    is_last: impl Fn(&Response) -> Result<bool, ConnectorError> + Send + 'static,
    ahead: usize,
) -> Responses {
    let mut numbers = numbers.into_iter();
    async_stream::try_stream! {
        let mut tasks = JoinSet::new();
        let mut waiting: VecDeque<oneshot::Receiver<_>> = VecDeque::new();
        loop {
            while waiting.len() < ahead.max(1) {
                let Some(number) = numbers.next() else { break };
                let (sender, receiver) = oneshot::channel();
                let request = request(number);
                tasks.spawn(async move {
                    // Nobody waits for it any more when the stream has ended.
                    let _unwanted = sender.send(request.send().await);
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
            while tasks.try_join_next().is_some() {}
            let last = is_last(&response)?;
            yield response;
            if last {
                break;
            }
        }
    }
    .boxed()
}

/// Makes pages of responses whose records are at `records`, and ends them with `end`.
pub fn into_pages<'a>(
    responses: impl Stream<Item = Result<Response, ConnectorError>> + Send + 'a,
    records: JsonPointer,
    end: Option<Offset>,
) -> PageStream<'a> {
    Box::pin(async_stream::try_stream! {
        for await response in responses {
            yield ReadItem::Page(Page::Json { body: response?.body, records: records.clone() });
        }
        yield ReadItem::End(end);
    })
}

/// Takes a panic of a task to the reader, as an error.
async fn ended(tasks: &mut JoinSet<()>) -> Result<(), ConnectorError> {
    while let Some(done) = tasks.join_next().await {
        if done.is_err_and(|error| error.is_panic()) {
            return Err(ConnectorError::bug("the task that fetches pages panicked"));
        }
    }
    Ok(())
}

/// The text or number at `pointer`; `None` where there is nothing, null, false or an empty text.
fn text_at(response: &Response, pointer: &JsonPointer) -> Result<Option<String>, ConnectorError> {
    let unreadable = |source: BoxError| ConnectorError::BadResponse {
        what: format!("{} did not answer JSON with `{pointer}`", response.request),
        source: Some(source),
    };
    let found = pointer.find(&response.body).map_err(|error| unreadable(Box::new(error)))?;
    let Some(raw) = found else { return Ok(None) };
    let text = match raw.first() {
        Some(b'"') => serde_json::from_slice::<String>(raw).map_err(|error| unreadable(Box::new(error)))?,
        Some(b'-' | b'0'..=b'9') => String::from_utf8_lossy(raw).into_owned(),
        Some(b'n' | b'f') => return Ok(None),
        _ => {
            let start: String = String::from_utf8_lossy(raw).chars().take(80).collect();
            return Err(
                response.unusable(format_args!("has `{start}` at `{pointer}`, where a text was expected"))
            );
        }
    };
    Ok(Some(text).filter(|text| !text.is_empty()))
}

/// Finds a source that sends its client round in circles, however long they are, in memory for one link
/// (Brent's algorithm).
#[derive(Default)]
struct LoopGuard {
    kept: Option<String>,
    steps: u64,
    limit: u64,
}

impl LoopGuard {
    fn check(&mut self, response: &Response, next: &str) -> Result<(), ConnectorError> {
        if self.kept.as_deref() == Some(next) {
            return Err(
                response.unusable("leads back to a page that was read before: the pages go in a circle")
            );
        }
        if self.steps >= self.limit {
            self.kept = Some(next.to_owned());
            self.limit = (self.limit * 2).max(1);
            self.steps = 0;
        }
        self.steps += 1;
        Ok(())
    }
}
