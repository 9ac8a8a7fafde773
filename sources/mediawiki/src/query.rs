use std::collections::BTreeMap;

use headwater_connect::ConnectorError;

use crate::api::{Answer, Params};
use crate::session::Wiki;

/// One `action=query`, asked again with what the wiki gave as `continue` until it gives none.
#[derive(Debug)]
pub(crate) struct Query {
    params: Params,
    next: Option<BTreeMap<String, String>>,
    done: bool,
}

impl Query {
    pub(crate) fn new(mut params: Params) -> Self {
        params.insert(0, ("action".into(), "query".into()));
        Self { params, next: None, done: false }
    }

    /// A query that goes on where another stopped.
    pub(crate) fn resumed(params: Params, next: Option<BTreeMap<String, String>>) -> Self {
        Self { next, ..Self::new(params) }
    }

    /// What the next request will send as its continuation.
    pub(crate) fn next(&self) -> Option<&BTreeMap<String, String>> {
        self.next.as_ref()
    }

    /// Says whether there is nothing left to ask.
    pub(crate) fn is_done(&self) -> bool {
        self.done
    }

    /// Asks for the next part; `None` after the last.
    pub(crate) async fn ask(&mut self, wiki: &Wiki) -> Result<Option<Answer>, ConnectorError> {
        if self.done {
            return Ok(None);
        }
        let mut params = self.params.clone();
        if let Some(next) = &self.next {
            // A member of `continue` stands in for a parameter of the same name.
            params.retain(|(name, _)| !next.contains_key(name));
            params.extend(next.iter().map(|(name, value)| (name.clone(), value.clone())));
        }
        let answer = wiki.call(&params).await?;
        if answer.next.is_some() && answer.next == self.next {
            return Err(answer.unusable("says to go on from where it was asked to go on, which has no end"));
        }
        self.next.clone_from(&answer.next);
        self.done = answer.next.is_none();
        Ok(Some(answer))
    }
}
