//! Logs on stderr, when asked for.

use tracing_subscriber::EnvFilter;

use crate::config;
use crate::fail::Failure;
use crate::output::{LogWriter, Out};

/// Starts logging where `-v` or `HEADWATER_LOG` asks for it; otherwise costs nothing.
///
/// # Errors
/// `HEADWATER_LOG` is not a filter.
pub(crate) fn start(out: &Out, verbose: u8) -> Result<(), Failure> {
    let filter = match (config::log_filter(), verbose) {
        (Some(filter), _) => filter,
        (None, 0) => return Ok(()),
        (None, 1) => "warn,headwater=info".to_owned(),
        (None, 2) => "info,headwater=debug".to_owned(),
        (None, _) => "debug,headwater=trace".to_owned(),
    };
    let filter = EnvFilter::try_new(&filter).map_err(|error| {
        Failure::usage(format!("HEADWATER_LOG `{filter}` is not a log filter: {error}"))
            .hint("write a level (`info`) or levels by target (`headwater_engine=debug,info`)")
    })?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(false)
        .with_writer(LogWriter(out.clone()))
        .init();
    Ok(())
}
