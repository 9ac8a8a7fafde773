//! Whether a secret shows: in any error that the suite meets, and in what is logged meanwhile.

use std::error::Error;
use std::fmt::Debug;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use headwater_connect::ConnectorError;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// Shorter texts are no secrets, and stand everywhere.
const SHORTEST: usize = 4;

/// Places that are kept; more of them tell no more.
const MOST_PLACES: usize = 20;

/// What stands where Headwater has taken a secret out of a worker's words.
const PLACEHOLDER: &str = "<secret>";

/// Where secrets showed.
#[derive(Debug, Default)]
pub(crate) struct Witness {
    secrets: Vec<String>,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default, Clone)]
pub(crate) struct Seen {
    /// Places where a secret stood.
    pub(crate) shown: Vec<String>,
    /// Places where one stood before it was taken out.
    pub(crate) taken_out: Vec<String>,
}

impl Seen {
    fn add(places: &mut Vec<String>, place: String) {
        if places.len() < MOST_PLACES && !places.contains(&place) {
            places.push(place);
        }
    }
}

impl Witness {
    pub(crate) fn new(secrets: impl IntoIterator<Item = String>) -> Self {
        Self { secrets: long_enough(secrets), seen: Mutex::default() }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks through all that an error may show of itself.
    pub(crate) fn look_at(&self, error: &ConnectorError) {
        let debug = format!("{error:?}");
        let text = format!("{} {debug} {}", chain(error), error.hint().unwrap_or_default());
        let place = || self.without(&error.to_string());
        if self.secrets.iter().any(|secret| text.contains(secret.as_str())) {
            Seen::add(&mut self.seen().shown, format!("the error \"{}\"", place()));
        } else if text.contains(PLACEHOLDER) {
            Seen::add(&mut self.seen().taken_out, format!("the error \"{}\"", place()));
        }
    }

    /// `text` with a placeholder for each secret, so that the report does not show them in turn.
    pub(crate) fn without(&self, text: &str) -> String {
        self.secrets.iter().fold(text.to_owned(), |text, secret| text.replace(secret.as_str(), PLACEHOLDER))
    }

    /// Everything seen so far, of errors and of the log.
    pub(crate) fn gathered(&self, log: Option<&LogWatch>) -> Seen {
        let mut all = self.seen().clone();
        if let Some(log) = log {
            let log = log.state().seen.clone();
            all.shown.extend(log.shown);
            all.taken_out.extend(log.taken_out);
        }
        all
    }
}

fn long_enough(secrets: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut kept: Vec<String> =
        secrets.into_iter().map(|s| s.trim().to_owned()).filter(|s| s.len() >= SHORTEST).collect();
    // One that holds another is replaced first, or its rest would stay.
    kept.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    kept.dedup();
    kept
}

/// An error with its causes in one line.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

/// Watches what is logged for the secrets of the connection under test.
///
/// It is a layer of a `tracing` subscriber, and sees what the process logs: the words of workers as well, which the
/// runtime of Python connectors logs line by line. Cheap to clone; clones share one state.
#[derive(Debug, Clone, Default)]
pub struct LogWatch(Arc<Mutex<Watched>>);

#[derive(Debug, Default)]
struct Watched {
    secrets: Vec<String>,
    seen: Seen,
}

impl LogWatch {
    /// A watch that knows no secret yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes a watch the subscriber of the whole process; for tests. None where there is a subscriber already.
    pub fn install() -> Option<Self> {
        use tracing_subscriber::layer::SubscriberExt;
        let watch = Self::new();
        // Finer events are of libraries, and cost more than the connector.
        let layer = watch.clone().with_filter(tracing_subscriber::filter::LevelFilter::DEBUG);
        let subscriber = tracing_subscriber::registry().with(layer);
        tracing::subscriber::set_global_default(subscriber).ok().map(|()| watch)
    }

    fn state(&self) -> MutexGuard<'_, Watched> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks for these from now on.
    pub(crate) fn look_for(&self, secrets: impl IntoIterator<Item = String>) {
        let mut state = self.state();
        state.secrets = long_enough(secrets);
        state.seen = Seen::default();
    }
}

impl<S: Subscriber> Layer<S> for LogWatch {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut state = self.state();
        if state.secrets.is_empty() {
            return;
        }
        let mut text = Text::default();
        event.record(&mut text);
        let Watched { secrets, seen } = &mut *state;
        let metadata = event.metadata();
        let place = |how: &str| {
            format!("{how} by {} ({})", metadata.target(), metadata.level().as_str().to_lowercase())
        };
        if secrets.iter().any(|secret| text.0.contains(secret.as_str())) {
            Seen::add(&mut seen.shown, place("a line logged"));
        } else if text.0.contains(PLACEHOLDER) {
            Seen::add(&mut seen.taken_out, "what the connector wrote to its log".to_owned());
        }
    }
}

/// All fields of an event.
#[derive(Default)]
struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0 += &format!("{}={value:?} ", field.name());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.extend([field.name(), "=", value, " "]);
    }
}
