//! Logs on stderr, when asked for.

use headwater_testkit::LogWatch;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use crate::config;
use crate::fail::Failure;
use crate::output::{LogWriter, Out};

/// Starts logging where `-v` or `HEADWATER_LOG` asks for it; otherwise costs nothing.
///
/// # Errors
/// `HEADWATER_LOG` is not a filter.
pub(crate) fn start(out: &Out, verbose: u8, watch: Option<&LogWatch>) -> Result<(), Failure> {
    let filter = match (config::log_filter(), verbose) {
        (Some(filter), _) => filter,
        (None, 0) => {
            if let Some(watch) = watch {
                tracing_subscriber::registry().with(watch.clone().with_filter(LevelFilter::DEBUG)).init();
            }
            return Ok(());
        }
        (None, 1) => "warn,headwater=info".to_owned(),
        (None, 2) => "info,headwater=debug".to_owned(),
        (None, _) => "debug,headwater=trace".to_owned(),
    };
    let filter = EnvFilter::try_new(&filter).map_err(|error| {
        Failure::usage(format!("HEADWATER_LOG `{filter}` is not a log filter: {error}"))
            .hint("write a level (`info`) or levels by target (`headwater_engine=debug,info`)")
    })?;
    let shown = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(LogWriter(out.clone()));
    // A watch sees what it looks for, whatever is shown.
    let watch = watch.map(|watch| watch.clone().with_filter(LevelFilter::DEBUG));
    tracing_subscriber::registry().with(shown.with_filter(filter)).with(watch).init();
    Ok(())
}
