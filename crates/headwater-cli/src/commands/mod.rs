//! One module per group of commands. Each builds what it needs, and nothing else.

mod agent;
mod answers;
mod connection;
mod connector;
mod connectors;
mod demo;
mod docs;
mod init;
mod new;
mod pipeline;
mod show;
mod simulate;
mod source;
mod state;
mod test;
mod timeline;
mod upkeep;

use std::future::Future;
use std::path::Path;

use clap::CommandFactory;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use headwater_testkit::LogWatch;

pub(crate) use connection::Source;
pub(crate) use simulate::environment_of_simulator;

use crate::args::{self, Cli, Command, Connection, Connector, Global, SchemaKind, State};
use crate::config::Project;
use crate::fail::{Exit, Failure};
use crate::output::Out;
use crate::signals;
use crate::spec::Pipeline;

/// Runs what the arguments say.
pub(crate) fn run(cli: Cli, out: &Out, log: Option<LogWatch>) -> Result<Exit, Failure> {
    let project = || find_project(&cli.global);
    if cli.command.asks_sources() {
        simulate::lead_from_environment(out)?;
    }
    match &cli.command {
        Command::Init(a) => init::init(a, out),
        Command::Connectors(a) => ask(out, connectors::connectors(a, project().ok().as_ref(), out)),
        Command::Connector(Connector::New(a)) => new::new(a, out),
        Command::Connector(Connector::Docs(a)) => ask(out, docs::docs(a, project().ok().as_ref(), out)),
        Command::Connector(Connector::Add(a)) => ask(out, connector::add(a, &project()?, out)),
        Command::Connector(Connector::List) => connector::list(&project()?, out),
        Command::Connector(Connector::Info(a)) => ask(out, connector::info(&a.name, &project()?, out)),
        Command::Connector(Connector::Update(a)) => {
            ask(out, connector::update(a.name.as_deref(), &project()?, out))
        }
        Command::Connector(Connector::Remove(a)) => connector::remove(&a.name, &project()?, out),
        Command::Connector(Connector::Prune(a)) => connector::prune(a, &project()?, out),
        Command::Agent(a) => ask(out, agent::agent(a, &project()?, out)),
        Command::Connection(Connection::Add(a)) => ask(out, connection::add(a, &project()?, out)),
        Command::Connection(Connection::List) => connection::list(&project()?, out),
        Command::Connection(Connection::Remove(a)) => connection::remove(a, &project()?, out),
        Command::Connection(Connection::Test(a)) => ask(out, source::test(&a.name, &project()?, out)),
        Command::Tables(a) => ask(out, source::tables(a, &project()?, out)),
        Command::Columns(a) => ask(out, source::columns(a, &project()?, out)),
        Command::Preview(a) => ask(out, source::preview(a, &project()?, out)),
        Command::Simulate(a) => block_on(simulate::simulate(a, cli.global.verbose > 0, out)),
        // What a test has changed in a source is put back before the command ends.
        Command::Test(a) => block_on(test::test(a, project().ok(), log, out)),
        Command::Validate(a) => ask(out, pipeline::validate(a, &project()?, out)),
        Command::Plan(a) => ask(out, async {
            let (project, pipeline) = find_pipeline(&cli.global, &a.selection.spec, out).await?;
            pipeline::plan(a, &project, &pipeline, out).await
        }),
        Command::Run(a) => block_on(async {
            let found = find_pipeline(&cli.global, &a.selection.spec, out);
            let (project, pipeline) = signals::until_interrupted(out, found).await?;
            pipeline::run(a, &project, &pipeline, out).await
        }),
        Command::State(state) => {
            let (State::Show(args::StateShow { spec, .. })
            | State::Set(args::StateSet { spec, .. })
            | State::Reset(args::StateReset { spec, .. })) = state;
            ask(out, async {
                let (project, pipeline) = find_pipeline(&cli.global, spec, out).await?;
                match state {
                    State::Show(a) => state::show(a, &project, &pipeline, out).await,
                    State::Set(a) => state::set(a, &project, &pipeline, out).await,
                    State::Reset(a) => state::reset(a, &project, &pipeline, out).await,
                }
            })
        }
        Command::Show(a) => ask(out, show::show(a, &project()?, out)),
        Command::Optimize(a) => ask(out, upkeep::optimize(a, &project()?, out)),
        Command::Vacuum(a) => ask(out, upkeep::vacuum(a, &project()?, out)),
        Command::Schema(a) => {
            let schema = match a.kind {
                SchemaKind::Pipeline => headwater_spec::pipeline_schema(),
                SchemaKind::Connector => headwater_spec::connector_schema(),
                SchemaKind::Suite => headwater_spec::suite_schema(),
            };
            out.json(&schema).map(|()| Exit::Ok)
        }
        Command::Completions(a) => {
            let mut script = Vec::new();
            clap_complete::generate(a.shell, &mut Cli::command(), "headwater", &mut script);
            out.raw(&String::from_utf8_lossy(&script)).map(|()| Exit::Ok)
        }
        Command::Demo(a) => block_on(demo::demo(a, out)),
    }
}

fn find_project(global: &Global) -> Result<Project, Failure> {
    Ok(Project::find(global.project.as_deref(), &[Path::new(".")])?)
}

async fn find_pipeline(global: &Global, spec: &str, out: &Out) -> Result<(Project, Pipeline), Failure> {
    Pipeline::find(global.project.as_deref(), spec, out).await
}

/// Prints what clap has to say (help, the version, wrong arguments) and gives the exit code.
pub(crate) fn arguments_answered(mut answer: clap::Error) -> u8 {
    // An option of a connection may be a secret, so what was written is not shown.
    let is_option = |argument: &ContextValue| matches!(argument, ContextValue::String(name) if name.starts_with("--option"));
    let hidden = || ContextValue::String("…".to_owned());
    if answer.get(ContextKind::InvalidArg).is_some_and(is_option) {
        answer.insert(ContextKind::InvalidValue, hidden());
    }
    let has_options =
        std::env::args().any(|argument| argument.starts_with("-o") || argument.starts_with("--option"));
    if answer.kind() == ErrorKind::UnknownArgument && has_options {
        answer.insert(ContextKind::InvalidArg, hidden());
        answer.remove(ContextKind::Suggested);
    }
    // A closed stdout (`--help | head`) is no failure.
    drop(answer.print());
    u8::try_from(answer.exit_code()).unwrap_or(Exit::Usage.code())
}

/// Runs a command that asks something and can be broken off at any time.
fn ask(out: &Out, work: impl Future<Output = Result<Exit, Failure>>) -> Result<Exit, Failure> {
    block_on(signals::until_interrupted(out, work))
}

fn block_on(work: impl Future<Output = Result<Exit, Failure>>) -> Result<Exit, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::other("no threads can be started", &e))?;
    let done = runtime.block_on(work);
    // A blocking read that hangs must not keep the process.
    runtime.shutdown_background();
    done
}
