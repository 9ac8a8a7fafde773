use bytes::Bytes;
use headwater_connect::ConnectorError;
use reqwest::StatusCode;
use reqwest::header::{ETAG, HeaderMap, LAST_MODIFIED, LINK};
use serde::de::DeserializeOwned;
use url::Url;

/// An answer, whole.
#[derive(Clone)]
#[non_exhaustive]
pub struct Response {
    /// The status: a success, `304 Not Modified`, or one that the request allows.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, decompressed.
    pub body: Bytes,
    /// The URL that answered, after redirects.
    pub url: Url,
    /// The method and URL of the request without secrets, for errors.
    pub request: String,
}

impl Response {
    /// Reads the body as JSON.
    ///
    /// # Errors
    /// [`ConnectorError::BadResponse`] that names the request and the place in the body.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, ConnectorError> {
        serde_json::from_slice(&self.body).map_err(|error| ConnectorError::BadResponse {
            what: format!("{} did not answer the JSON that was expected", self.request),
            source: Some(Box::new(error)),
        })
    }

    /// The value of a header, where it is there and is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// What [`Request::if_none_match`](crate::Request::if_none_match) takes the next time.
    pub fn etag(&self) -> Option<&str> {
        self.header(ETAG.as_str())
    }

    /// What [`Request::if_modified_since`](crate::Request::if_modified_since) takes the next time.
    pub fn last_modified(&self) -> Option<&str> {
        self.header(LAST_MODIFIED.as_str())
    }

    /// Whether the answer is the one that the client has already (304). It has no body then.
    pub fn not_modified(&self) -> bool {
        self.status == StatusCode::NOT_MODIFIED
    }

    /// The link with relation `relation` in the `Link` header (RFC 8288).
    pub fn link(&self, relation: &str) -> Option<&str> {
        let values = self.headers.get_all(LINK).iter().filter_map(|value| value.to_str().ok());
        values
            .flat_map(links)
            .find(|(_, parameters)| has_relation(parameters, relation))
            .map(|(link, _)| link)
    }

    /// An error about this answer; `what` continues "GET … ".
    pub fn unusable(&self, what: impl std::fmt::Display) -> ConnectorError {
        ConnectorError::bad_response(format!("{} {what}", self.request))
    }
}

impl std::fmt::Debug for Response {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Response({} answered {}, {} bytes)", self.request, self.status, self.body.len())
    }
}

/// Splits a `Link` header into targets and their parameters. A target may hold commas and semicolons.
fn links(header: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut rest = header;
    std::iter::from_fn(move || {
        let (_, after) = rest.split_once('<')?;
        let (target, after) = after.split_once('>')?;
        let (parameters, _) = after.split_once('<').unwrap_or((after, ""));
        rest = after;
        Some((target, parameters))
    })
}

fn has_relation(parameters: &str, relation: &str) -> bool {
    parameters.split([';', ',']).any(|parameter| {
        parameter.split_once('=').is_some_and(|(name, value)| {
            let value = value.trim().trim_matches('"');
            name.trim().eq_ignore_ascii_case("rel")
                && value.split_ascii_whitespace().any(|r| r.eq_ignore_ascii_case(relation))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::{has_relation, links};

    fn check(header: &str, expect: Option<&str>) {
        let found = links(header).find(|(_, parameters)| has_relation(parameters, "next"));
        assert_eq!(found.map(|(link, _)| link), expect, "{header}");
    }

    #[test]
    fn the_next_link_is_found_among_others() {
        check(r#"<https://h/a?page=2>; rel="next""#, Some("https://h/a?page=2"));
        check(r#"<https://h/1>; rel="first", <https://h/a,b;c>; rel="next last""#, Some("https://h/a,b;c"));
        check("<https://h/1>; rel=prev, <https://h/2>; title=x; rel=next", Some("https://h/2"));
        check(r#"<https://h/1>; rel="prev next-archive""#, None);
        check("<https://h/1", None);
        check("", None);
        check("rel=next", None);
    }
}
