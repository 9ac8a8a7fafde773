//! Paging through a source ahead of the reader.
//!
//! Each function gives a stream of [`Response`]s in order. The requests run in tasks that the stream owns: the next
//! page is on its way while the reader works on the one before, at most so many pages and bytes as [`Ahead`] says are
//! fetched and not yet taken, and dropping the stream ends them all. [`into_pages`] makes a
//! [`PageStream`](headwater_connect::PageStream) of it.
//!
//! | how the source pages | function | at the same time |
//! |---|---|---|
//! | page numbers, or offset and limit | [`numbered`], [`by_page_number`] | yes |
//! | a `Link` header that names the last page | [`by_link_header`] | yes, from the second page on |
//! | a link to the next page | [`by_next_link`] | no |
//! | a cursor for the next page | [`by_cursor`] | no |
//! | all after the last key that was read | [`by_last_key`] | no |
//! | anything else | [`sequential`] | no |

use futures::stream::BoxStream;
use futures::{Stream, StreamExt};
use headwater_connect::{ConnectorError, JsonPointer, Offset, Page, PageStream, ReadItem};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::request::Request;
use crate::response::Response;

mod link;
mod numbered;
mod place;

pub use link::by_link_header;
pub use numbered::{Numbered, by_page_number, numbered};
pub use place::Place;
use place::{last_item, text_at};

/// The responses of a read, in order. An error ends the stream.
pub type Responses = BoxStream<'static, Result<Response, ConnectorError>>;

/// How far ahead of the reader pages are fetched. A number stands for so many pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ahead {
    /// Pages that are on their way or wait for the reader, at most; at least one.
    pub pages: usize,
    /// Bytes of them, about: what is on its way is reckoned by the pages that came before.
    pub bytes: usize,
}

impl Ahead {
    /// What pages ahead take of the memory, where nothing else is said.
    pub const BYTES: usize = 16 << 20;
}

impl From<usize> for Ahead {
    fn from(pages: usize) -> Self {
        Self { pages, bytes: Self::BYTES }
    }
}

/// Where a source says how to get the next page.
#[derive(Debug, Clone)]
pub enum NextLink {
    /// A link at this place of the body; missing, null or empty on the last page.
    Body(JsonPointer),
    /// The `Link` header with `rel="next"`.
    Header,
}

/// Follows links from page to page.
pub fn by_next_link(first: Request, next: NextLink, ahead: impl Into<Ahead>) -> Responses {
    let template = first.clone();
    let mut guard = LoopGuard::default();
    sequential(first, ahead, move |response| {
        let link = match &next {
            NextLink::Header => response.link("next").map(str::to_owned),
            NextLink::Body(pointer) => text_at(response, &response.body, pointer)?,
        };
        let Some(link) = link else { return Ok(None) };
        guard.check(response, &link)?;
        template.follow(response, &link).map(Some)
    })
}

/// Repeats `first` with the cursor that each page gives, in query parameter `parameter`.
pub fn by_cursor(first: Request, parameter: &str, cursor: JsonPointer, ahead: impl Into<Ahead>) -> Responses {
    let (request, parameter) = (first.clone(), parameter.to_owned());
    let mut guard = LoopGuard::default();
    sequential(first, ahead, move |response| {
        let Some(cursor) = text_at(response, &response.body, &cursor)? else { return Ok(None) };
        guard.check(response, &cursor)?;
        Ok(Some(request.clone().set_query(&parameter, cursor)))
    })
}

/// Repeats `first` with the key of the last record of each page, in query parameter `parameter`, until a page has no
/// record: the source gives the records after that key, in its order. `records` is the array of records in a page, `key` the place
/// of the key in a record.
pub fn by_last_key(
    first: Request,
    parameter: &str,
    records: JsonPointer,
    key: JsonPointer,
    ahead: impl Into<Ahead>,
) -> Responses {
    let (request, parameter) = (first.clone(), parameter.to_owned());
    let mut guard = LoopGuard::default();
    sequential(first, ahead, move |response| {
        let Some(last) = last_item(response, &records)? else { return Ok(None) };
        let Some(found) = text_at(response, last, &key)? else {
            let what = format!("has no key at `{key}` of the last record of `{records}`");
            return Err(response.unusable(what));
        };
        guard.check(response, &found)?;
        Ok(Some(request.clone().set_query(&parameter, found)))
    })
}

/// Pages of which each says what the next request is; `next` gives `None` after the last.
pub fn sequential(
    first: Request,
    ahead: impl Into<Ahead>,
    mut next: impl FnMut(&Response) -> Result<Option<Request>, ConnectorError> + Send + 'static,
) -> Responses {
    let ahead = ahead.into();
    let start = move || {
        let (sender, receiver) = mpsc::channel(ahead.pages.max(1));
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
