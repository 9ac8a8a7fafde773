//! The escape hatch: what an endpoint does that no description says.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;

/// Answers the requests to endpoints that name it as their `handler`.
pub type Handler = Arc<dyn Fn(&HandlerRequest<'_>) -> HandlerAnswer + Send + Sync>;

/// A request that a handler answers.
#[derive(Debug)]
pub struct HandlerRequest<'a> {
    /// The method.
    pub method: &'a str,
    /// Scheme and host that the client asked, such as `https://api.example.org`.
    pub origin: &'a str,
    /// The path.
    pub path: &'a str,
    /// The placeholders of the path.
    pub path_values: &'a [(String, String)],
    /// The parameters of the query, decoded, in their order.
    pub query: &'a [(String, String)],
    /// The headers, their names in small letters.
    pub headers: &'a [(String, String)],
    /// The body.
    pub body: &'a Bytes,
    /// The records of the endpoint's corpus as they are now; one for a corpus that is one object.
    pub records: Vec<Arc<Value>>,
}

/// What a handler answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HandlerAnswer {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Bytes,
}

impl HandlerAnswer {
    /// An answer in JSON.
    pub fn json(status: u16, body: &Value) -> Self {
        let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
        Self { status, headers, body: body.to_string().into() }
    }
}
