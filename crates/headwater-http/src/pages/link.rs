use futures::StreamExt;
use headwater_connect::ConnectorError;
use url::Url;

use super::numbered::in_order;
use super::{Ahead, NextLink, Responses, by_next_link};
use crate::request::Request;
use crate::response::Response;

/// More pages than this are not believed to be there.
const MOST_PAGES: u64 = 10_000_000;

/// Follows `Link` headers. Where the first answer names the last page as well (`rel="last"`), as GitHub and many others
/// do, the pages between are fetched at the same time and delivered in order; else from link to link.
///
/// A page without a next link is the last; where the page that was named as the last has one, it is followed. A 304 answer to
/// the first request is the only one.
pub fn by_link_header(first: Request, ahead: impl Into<Ahead>) -> Responses {
    let ahead = ahead.into();
    async_stream::try_stream! {
        let response = first.send().await?;
        let mut next = next(&first, &response)?;
        let planned = plan(&response);
        yield response;
        if let Some(urls) = planned {
            let template = first.clone();
            let requests = urls.map(move |url| template.to_url(url));
            for await response in in_order(requests, ahead) {
                let response = response?;
                next = self::next(&first, &response)?;
                yield response;
                if next.is_none() {
                    break;
                }
            }
        }
        if let Some(next) = next {
            for await response in by_next_link(next, NextLink::Header, ahead) {
                yield response?;
            }
        }
    }
    .boxed()
}

fn next(first: &Request, response: &Response) -> Result<Option<Request>, ConnectorError> {
    match response.link("next") {
        Some(link) if !response.not_modified() => first.follow(response, link).map(Some),
        _ => Ok(None),
    }
}

/// The URLs from the next page to the last, where the answer tells them: its links to both are the same but for one
/// parameter, which is a number.
fn plan(response: &Response) -> Option<impl Iterator<Item = Url> + Send + use<>> {
    if response.not_modified() {
        return None;
    }
    let next = response.url.join(response.link("next")?).ok()?;
    let last = response.url.join(response.link("last")?).ok()?;
    let (index, from, to) = difference(&next, &last)?;
    let pairs: Vec<(String, String)> = pairs(&next);
    let name = pairs.get(index)?.0.clone();
    let here =
        self::pairs(&response.url).iter().find(|(n, _)| *n == name).and_then(|(_, value)| value.parse().ok());
    // Pages count from 1, offsets from 0.
    let here: u64 = here.unwrap_or(if from == 2 { 1 } else { 0 });
    let step = from.checked_sub(here).filter(|step| *step > 0)?;
    let distance = to.checked_sub(from)?;
    if distance % step != 0 || distance / step > MOST_PAGES {
        return None;
    }
    Some((0..=distance / step).map(move |page| {
        let number = (from + page * step).to_string();
        let mut url = next.clone();
        let pairs = pairs
            .iter()
            .enumerate()
            .map(|(at, (name, value))| (name, if at == index { &number } else { value }));
        url.query_pairs_mut().clear().extend_pairs(pairs);
        url
    }))
}

fn pairs(url: &Url) -> Vec<(String, String)> {
    url.query_pairs().map(|(name, value)| (name.into_owned(), value.into_owned())).collect()
}

/// The only parameter in which two URLs differ, by its place in the first, and its numbers in both.
fn difference(next: &Url, last: &Url) -> Option<(usize, u64, u64)> {
    let bare = |url: &Url| {
        let mut url = url.clone();
        url.set_query(None);
        url.set_fragment(None);
        url
    };
    let (a, mut b) = (pairs(next), pairs(last));
    if bare(next) != bare(last) || a.len() != b.len() {
        return None;
    }
    let mut found = None;
    for (at, (name, value)) in a.iter().enumerate() {
        // The order of parameters means nothing.
        let same = b.iter().position(|pair| pair == &(name.clone(), value.clone()));
        let place = same.or_else(|| b.iter().position(|(other, _)| other == name))?;
        let (_, other) = b.swap_remove(place);
        if same.is_none() {
            if found.is_some() {
                return None;
            }
            found = Some((at, value.parse().ok()?, other.parse().ok()?));
        }
    }
    // With one page left both are the same; then there is nothing to gain.
    found
}

#[cfg(test)]
mod tests {
    use url::Url;

    use super::difference;

    #[test]
    fn the_number_of_a_page_is_found_where_it_is_the_only_difference() {
        let check = |next: &str, last: &str, expect: Option<(usize, u64, u64)>| {
            let url = |text: &str| Url::parse("https://h/items").unwrap().join(text).unwrap();
            assert_eq!(difference(&url(next), &url(last)), expect, "{next} {last}");
        };
        check("?page=2", "?page=34", Some((0, 2, 34)));
        check("?state=all&page=2&per_page=100", "?per_page=100&page=34&state=all", Some((1, 2, 34)));
        check("?offset=100&limit=100", "?limit=100&offset=900", Some((0, 100, 900)));
        check("?page=2&page=x", "?page=x&page=5", None);
        check("?page=2", "?page=2", None);
        check("?page=2&after=x", "?page=5&after=y", None);
        check("?after=abc", "?after=xyz", None);
        check("?page=2", "?page=5&x=1", None);
        check("?page=2", "/others?page=5", None);
        check("?page=2", "https://elsewhere/items?page=5", None);
        check("?page=-2", "?page=5", None);
        check("/items/2", "/items/9", None);
    }
}
