//! The `headwater` command: projects, connections, and pipelines run from a terminal or a script.
//!
//! It joins the parts: arguments and `headwater.yaml` become requests to the engine, connectors and lake, and what
//! comes back becomes text or JSON.
//!
//! **Invariant:** nothing is printed but by [`output`], which knows the secrets and leaves them out; the environment
//! is read in [`config`] only; a command builds what it needs and nothing else.
//!
//! Start reading at `main`, then [`commands`].

mod args;
mod commands;
mod config;
mod connectors;
#[cfg(test)]
mod documents;
mod fail;
mod logging;
mod names;
mod output;
mod progress;
mod signals;
mod spec;
mod warehouse;

use std::process::ExitCode;

use clap::Parser;

use crate::args::Cli;
use crate::output::Out;

fn main() -> ExitCode {
    headwater_engine::share_one_heap();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(answer) => return ExitCode::from(commands::arguments_answered(answer)),
    };
    // An agent reads JSON only.
    let json = cli.global.json || matches!(cli.command, args::Command::Agent(_));
    let out = Out::new(json, cli.global.quiet, config::no_color());
    let watch = matches!(cli.command, args::Command::Test(_)).then(headwater_testkit::LogWatch::new);
    let exit = logging::start(&out, cli.global.verbose, watch.as_ref())
        .and_then(|()| commands::run(cli, &out, watch))
        .unwrap_or_else(|failure| {
            failure.print(&out);
            failure.exit()
        });
    ExitCode::from(exit.code())
}
