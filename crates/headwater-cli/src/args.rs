//! The command line: what may be written, and the help for it.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use crate::config::ByteSize;

/// Fills a lake: reads sources through connectors and lands their tables in Delta tables
///
/// A project is a folder with a `headwater.yaml`: where the warehouse is, and the connections to sources.
/// A pipeline spec (`pipelines/*.yaml`) names a connection and the tables to read. `headwater run` reads what is
/// new since the last run and commits it, together with the place that it reached, in one step per table.
#[derive(Debug, Parser)]
#[command(name = "headwater", version, max_term_width = 100, after_help = EXIT_CODES, after_long_help = AFTER)]
#[command(disable_help_subcommand = true, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

macro_rules! exit_codes {
    () => {
        "\
Exit codes:
  0    done
  1    the update ran, but a table of it failed
  2    wrong usage: an argument, the project file, a spec, an option, a name that does not exist
  3    the source failed, refused the credentials, or gave something that cannot be used
  4    the warehouse failed: storage, permissions, a damaged table
  5    a fault of Headwater or of a connector
  130  interrupted (Ctrl-C or SIGTERM); what was committed stays, the next run goes on from there"
    };
}

const EXIT_CODES: &str = exit_codes!();

const AFTER: &str = concat!(
    "\
Examples:
  headwater demo                        see it work, nothing to set up
  headwater init my-lake && cd my-lake  start a project
  headwater run pipelines/example.yaml  fill its tables
  headwater show                        list the tables of the warehouse

",
    exit_codes!(),
    "

Environment:
  HEADWATER_PROJECT  the project folder, as --project
  HEADWATER_LOG      log filter for stderr, such as `info` or `headwater_engine=debug`
  HEADWATER_SIMULATOR
                     address of a `headwater simulate`: connectors ask it in place of their sources
  NO_COLOR           no colours when set

Data goes to stdout, everything else to stderr."
);

/// Options of every command.
#[derive(Debug, Clone, Args)]
pub(crate) struct Global {
    /// Project folder; by default the nearest one upwards that has a headwater.yaml
    #[arg(long, global = true, value_name = "DIR", env = "HEADWATER_PROJECT", hide_env = true)]
    #[arg(help_heading = "Global options")]
    pub(crate) project: Option<PathBuf>,
    /// Print JSON: one document, or one event per line while running
    #[arg(long, global = true, help_heading = "Global options")]
    pub(crate) json: bool,
    /// Print data and errors only
    #[arg(short, long, global = true, conflicts_with = "verbose", help_heading = "Global options")]
    pub(crate) quiet: bool,
    /// Log to stderr; twice for every request
    #[arg(short, long, global = true, action = clap::ArgAction::Count, help_heading = "Global options")]
    pub(crate) verbose: u8,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a project folder with a runnable example
    ///
    /// Writes headwater.yaml, two pipeline specs, a README and a .gitignore. Files that exist are left as they are.
    #[command(after_help = "Examples:\n  headwater init my-lake\n  cd my-lake && headwater run example")]
    Init(Init),
    /// List the connectors, or show the options of one
    #[command(after_help = "Examples:\n  headwater connectors\n  headwater connectors mediawiki")]
    Connectors(Connectors),
    /// Make, add, list, update, remove or document connectors of your own: in Python, or any executable
    #[command(subcommand)]
    Connector(Connector),
    /// Add, list, test or remove connections
    #[command(subcommand)]
    Connection(Connection),
    /// List the tables of a connection
    #[command(
        after_help = "Examples:\n  headwater tables shop\n  headwater tables shop --json | jq -r '.tables[].name'"
    )]
    Tables(Tables),
    /// Show columns, keys and ingestion type of a table
    #[command(
        after_help = "Examples:\n  headwater columns shop orders\n  headwater columns wiki revisions --option namespaces=0"
    )]
    Columns(Columns),
    /// Show the first records of a table, without writing anything
    #[command(
        after_help = "Examples:\n  headwater preview shop orders --limit 5\n  headwater preview shop orders --json"
    )]
    Preview(Preview),
    /// Ask a connection for something as an agent does: JSON in, JSON out
    ///
    /// Every connector knows list_operations, list_objects, get_object_metadata, read_table and validate_connection;
    /// a connector may have operations of its own. The answer is one JSON document on stdout; an error is one on
    /// stderr, with the exit code.
    #[command(after_help = "Examples:
  headwater agent shop list_operations
  headwater agent shop list_objects
  headwater agent shop get_object_metadata '{\"table\": \"orders\"}'
  echo '{\"table\": \"orders\", \"limit\": 5}' | headwater agent shop read_table -")]
    Agent(Agent),
    /// Serve a source from a description and a few records, as the real one would
    ///
    /// The folder holds endpoints.yaml and corpus/<name>.json (docs/simulator.md). One port answers everything: requests
    /// to its own address, and, as a proxy or led there by HEADWATER_SIMULATOR, requests to any host, TLS included.
    /// It goes on until Ctrl-C.
    #[command(after_help = "Examples:
  headwater simulate sources/my_source/simulator
  headwater simulate ./my_source --port 8700 --faults status=503:0.05,reset@10 --latency-ms 100
  HEADWATER_SIMULATOR=http://127.0.0.1:8700 headwater run my_pipeline
  headwater simulate ./my_source --mode record --secret env:MY_TOKEN --sample 20
  headwater simulate ./my_source --mode replay")]
    Simulate(Box<Simulate>),
    /// Test a connector against the rules of the contract
    ///
    /// The connector is one of the project, one that is built in, or a folder with a connector in Python; for a folder
    /// nothing of a project is needed. `simulate` starts the simulator of `simulator/endpoints.yaml` beside the
    /// connector and leads the connector there; `simulator/suite.yaml` says with which options (docs/testing-connectors.md).
    /// Only `live` and `record` reach the real source, with a connection of the project, and only read.
    #[command(after_help = "Examples:
  headwater test ./my_source
  headwater test my_source --table issues --rule R8 --rule R10
  headwater test my_source --mode live --connection my_connection --sample 500
  headwater test my_source --mode record --connection my_connection
  headwater test my_source --mode replay --junit report.xml
  headwater test example

Exit codes: 0 no rule is broken, 1 a rule is broken, 2 wrong usage, 3 the source failed, 5 the connector cannot be started")]
    Test(Test),
    /// Check pipeline specs; all of the project's without arguments
    ///
    /// Reads the specs and the project file only: no request is made to a source.
    #[command(after_help = "Examples:\n  headwater validate\n  headwater validate pipelines/wiki.yaml")]
    Validate(Validate),
    /// Show what a run would do: tables, keys, types, schema changes, where offsets stand
    #[command(
        after_help = "Examples:\n  headwater plan pipelines/example.yaml\n  headwater plan example --full-refresh=orders"
    )]
    Plan(Plan),
    /// Run a pipeline: read what is new and commit it
    ///
    /// Each table is a flow of its own; one that fails does not stop the others. Every commit holds the rows and the
    /// offset that they reach, so that a run which was cut short, in whatever way, is simply run again.
    ///
    /// Ctrl-C ends the run at the next safe point; a second one ends it at once.
    #[command(after_help = "Examples:
  headwater run pipelines/example.yaml
  headwater run example --table orders --table customers
  headwater run example --full-refresh            every table anew
  headwater run example --full-refresh=orders     one of them
  headwater run example --json | tail -1 | jq .report")]
    Run(Run),
    /// Show, set or reset the offset where a table's next read starts
    #[command(subcommand)]
    State(State),
    /// Show rows or history of a table of the warehouse; without a table: the tables
    #[command(after_help = "Examples:
  headwater show
  headwater show example.orders --limit 5 --columns order_id,status
  headwater show main.example.orders --history
  headwater show example.orders --history 1042
  headwater show example.orders --version 3 --json")]
    Show(Show),
    /// Merge small files of a table and purge its dead rows
    #[command(after_help = "Examples:\n  headwater optimize example.orders\n  headwater optimize --all")]
    Optimize(Optimize),
    /// Remove files that no version within the retention needs
    ///
    /// A version older than the retention cannot be read any more afterwards.
    #[command(
        after_help = "Examples:\n  headwater vacuum example.orders --dry-run\n  headwater vacuum --all --retention 30d"
    )]
    Vacuum(Vacuum),
    /// Print the JSON Schema of a pipeline spec, a connector spec or a suite.yaml, for an editor
    #[command(after_help = "Examples:\n  headwater schema pipeline > pipeline.schema.json")]
    Schema(Schema),
    /// Print shell completions
    #[command(after_help = "Examples:
  headwater completions bash > ~/.local/share/bash-completion/completions/headwater
  headwater completions zsh > ~/.zfunc/_headwater
  headwater completions fish > ~/.config/fish/completions/headwater.fish")]
    Completions(Completions),
    /// Run the embedded example source end to end and show its tables
    ///
    /// Makes a project in a temporary folder (or in the one given), runs it twice while the source grows, and shows
    /// what has arrived.
    #[command(after_help = "Examples:\n  headwater demo\n  headwater demo ./my-lake")]
    Demo(Demo),
}

impl Command {
    /// Says whether connectors run in it that ask a source of the user's.
    pub(crate) fn asks_sources(&self) -> bool {
        matches!(
            self,
            Command::Agent(_)
                | Command::Columns(_)
                | Command::Connection(Connection::Add(_) | Connection::Test(_))
                | Command::Plan(_)
                | Command::Preview(_)
                | Command::Run(_)
                | Command::Tables(_)
        )
    }
}

#[derive(Debug, Args)]
pub(crate) struct Init {
    /// Folder of the project; made when it does not exist
    #[arg(default_value = ".")]
    pub(crate) dir: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct Connectors {
    /// The connector to describe
    pub(crate) name: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Connector {
    /// Make a new connector that works, to start from
    ///
    /// Writes a folder with code, connector_spec.yaml, a simulated source, tests, README.md and api.md. It reads a source
    /// that nobody has, and passes its tests: change it step by step. A folder that exists is left as it is.
    #[command(after_help = "Examples:
  headwater connector new my_source
  headwater connector new my_source --with-prompts
  headwater connector new my_source --lang rust --headwater-path ./headwater")]
    New(ConnectorNew),
    /// Add a connector to the project: a folder, a Git repository, an installed module, or an executable
    ///
    /// A folder or a repository holds a connector in Python. Its requirements are installed into an environment of
    /// its own, below .headwater/ in the project; then its code is loaded to find the connector's class. Nothing of a
    /// connector runs before it is added. headwater.yaml says where it comes from, headwater.lock which commit it is.
    #[command(after_help = "Examples:
  headwater connector add my_source ./my_source
  headwater connector add my_source https://git.example.org/team/connectors.git --ref main --path sources/my_source
  headwater connector add my_source git@git.example.org:team/my-source.git
  headwater connector add my_source --module acme_connectors.my_source --python ./venv/bin/python
  headwater connector add my_source --command ./my-source")]
    Add(Box<ConnectorAdd>),
    /// List the connectors that were added
    List,
    /// Show where a connector comes from, its class and what it can do, its options and its environment
    #[command(after_help = "Examples:\n  headwater connector info my_source")]
    Info(ConnectorName),
    /// Fetch the newest commit of a connector's branch or tag; all connectors without a name
    #[command(after_help = "Examples:\n  headwater connector update\n  headwater connector update my_source")]
    Update(ConnectorUpdate),
    /// Remove a connector from the project, with what was fetched for it
    #[command(after_help = "Examples:\n  headwater connector remove my_source")]
    Remove(ConnectorName),
    /// Remove environments and commits of connectors that nothing refers to any more
    ///
    /// They stay behind when requirements change, when `connector update` moves to another commit, and when Headwater
    /// itself is updated. What a running process uses stays.
    #[command(after_help = "Examples:\n  headwater connector prune --dry-run\n  headwater connector prune")]
    Prune(ConnectorPrune),
    /// Write the page for users of a connector, README.md
    ///
    /// It is made from connector_spec.yaml and from what the connector says of its tables. What stands between
    /// `<!-- kept: NAME -->` and `<!-- /kept -->`, each alone on a line, is left as it is. The connector is asked with
    /// made-up options, against its simulated source where it has one; nothing is read.
    #[command(after_help = "Examples:
  headwater connector docs ./my_source
  headwater connector docs ./my_source --check
  headwater connector docs my_source --folder ./my_source
  headwater connector docs my_source --connection my_conn --output docs/my_source.md")]
    Docs(ConnectorDocs),
}

#[derive(Debug, Args)]
pub(crate) struct ConnectorPrune {
    /// Show what would be removed, and remove nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// What a connector is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Language {
    Python,
    Rust,
}

#[derive(Debug, Args)]
pub(crate) struct ConnectorNew {
    /// Name of the connector: small letters, digits and `_`
    pub(crate) name: String,
    /// What it is written in
    #[arg(long, value_enum, default_value_t = Language::Python)]
    pub(crate) lang: Language,
    /// Where its folder is made
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub(crate) dir: PathBuf,
    /// Source code of Headwater, which a connector in Rust is built with
    #[arg(long, value_name = "DIR")]
    pub(crate) headwater_path: Option<PathBuf>,
    /// Add instructions for work with a coding assistant
    #[arg(long)]
    pub(crate) with_prompts: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ConnectorDocs {
    /// The connector: its name, or its folder
    pub(crate) connector: String,
    /// Write nothing; end with 1 and show the difference where the page is not current
    #[arg(long)]
    pub(crate) check: bool,
    /// Folder of a connector that is given by name: its page and its simulated source are there
    #[arg(long, value_name = "DIR")]
    pub(crate) folder: Option<PathBuf>,
    /// Another file than README.md in its folder
    #[arg(long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Ask the source of this connection for the tables
    #[arg(long, value_name = "NAME")]
    pub(crate) connection: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ConnectorAdd {
    /// Name of the connector, as connections use it
    pub(crate) name: String,
    /// Folder or file with the connector, or URL of a Git repository
    #[arg(required_unless_present_any = ["module", "program"])]
    pub(crate) source: Option<String>,
    /// Branch, tag or commit of the repository; its default branch otherwise
    #[arg(long = "ref", value_name = "REF", requires = "source")]
    pub(crate) reference: Option<String>,
    /// Folder or file of the connector in the repository
    #[arg(long, value_name = "PATH", requires = "source")]
    pub(crate) path: Option<String>,
    /// An installed module instead of a folder
    #[arg(long, value_name = "MODULE", conflicts_with_all = ["source", "program"])]
    pub(crate) module: Option<String>,
    /// An executable that speaks the worker protocol (docs/PROTOCOL.md)
    #[arg(long = "command", value_name = "PROGRAM", conflicts_with = "source")]
    pub(crate) program: Option<String>,
    /// An argument of the executable; may be repeated
    #[arg(long = "argument", value_name = "ARG", requires = "program", allow_hyphen_values = true)]
    pub(crate) arguments: Vec<String>,
    /// The connector's class, where there are several: `Class` or `module:Class`
    #[arg(long, value_name = "CLASS", conflicts_with = "program")]
    pub(crate) class: Option<String>,
    /// An optional requirement of its package to install, or another package; may be repeated
    #[arg(long = "extra", value_name = "NAME", conflicts_with = "program")]
    pub(crate) extras: Vec<String>,
    /// The Python to use; the newest found from 3.11 on otherwise
    #[arg(long, value_name = "PYTHON", conflicts_with = "program")]
    pub(crate) python: Option<String>,
    /// How long a call may go on without giving a record, such as 1h; 15 minutes otherwise
    #[arg(long, value_name = "AGE")]
    pub(crate) call_timeout: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ConnectorName {
    /// The connector
    pub(crate) name: String,
}

#[derive(Debug, Args)]
pub(crate) struct ConnectorUpdate {
    /// The connector; all of them otherwise
    pub(crate) name: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Agent {
    /// The connection
    pub(crate) connection: String,
    /// The operation (see `list_operations`)
    pub(crate) operation: String,
    /// Its arguments as a JSON object; `-` reads them from stdin
    #[arg(default_value = "{}", hide_default_value = true)]
    pub(crate) arguments: String,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Connection {
    /// Add a connection to headwater.yaml
    ///
    /// A secret is given as a reference, never as itself: `env:NAME` for an environment variable, `file:PATH` for a
    /// file (relative to the project folder). The reference is resolved when the connection is used.
    #[command(after_help = "Examples:
  headwater connection add shop --connector example
  headwater connection add wiki --connector mediawiki --option base_url=https://en.wikipedia.org/w/ \\
      --option user=Bot --option bot_password=env:WIKI_PASSWORD")]
    Add(ConnectionAdd),
    /// List the connections of the project
    List,
    /// Try a connection as cheaply as the source allows
    #[command(after_help = "Examples:\n  headwater connection test shop")]
    Test(ConnectionTest),
    /// Remove a connection from headwater.yaml
    #[command(after_help = "Examples:\n  headwater connection remove shop")]
    Remove(ConnectionRemove),
}

#[derive(Debug, Args)]
pub(crate) struct ConnectionAdd {
    /// Name of the connection, as pipeline specs use it
    pub(crate) name: String,
    /// The connector (see `headwater connectors`)
    #[arg(long, value_name = "NAME")]
    pub(crate) connector: String,
    /// An option of the connection; may be repeated
    #[arg(long = "option", short = 'o', value_name = "KEY=VALUE", value_parser = key_value)]
    pub(crate) options: Vec<(String, String)>,
}

#[derive(Debug, Args)]
pub(crate) struct ConnectionTest {
    /// The connection
    pub(crate) name: String,
}

#[derive(Debug, Args)]
pub(crate) struct ConnectionRemove {
    /// The connection
    pub(crate) name: String,
}

#[derive(Debug, Args)]
pub(crate) struct Tables {
    /// The connection
    pub(crate) connection: String,
}

#[derive(Debug, Args)]
pub(crate) struct Columns {
    /// The connection
    pub(crate) connection: String,
    /// The table of the source
    pub(crate) table: String,
    /// A table option; may be repeated
    #[arg(long = "option", short = 'o', value_name = "KEY=VALUE", value_parser = key_value)]
    pub(crate) options: Vec<(String, String)>,
}

#[derive(Debug, Args)]
pub(crate) struct Preview {
    /// The connection
    pub(crate) connection: String,
    /// The table of the source
    pub(crate) table: String,
    /// How many records
    #[arg(long, default_value_t = 10, value_name = "ROWS", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) limit: u64,
    /// A table option; may be repeated
    #[arg(long = "option", short = 'o', value_name = "KEY=VALUE", value_parser = key_value)]
    pub(crate) options: Vec<(String, String)>,
}

/// Where the answers of a simulator come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SimulateMode {
    /// The corpus
    Simulate,
    /// The real source, and what it answers is written to the cassette, with records cut to a sample
    Record,
    /// The cassette
    Replay,
    /// The real source
    Live,
}

#[derive(Debug, Args)]
pub(crate) struct Simulate {
    /// Folder with endpoints.yaml and corpus/, or one that has them in simulator/
    pub(crate) folder: PathBuf,
    /// Port on loopback; a free one otherwise
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub(crate) port: u16,
    /// Where answers come from
    #[arg(long, value_enum, default_value_t = SimulateMode::Simulate)]
    pub(crate) mode: SimulateMode,
    /// File of `record` and `replay`; cassette.json in the folder otherwise
    #[arg(long, value_name = "FILE")]
    pub(crate) cassette: Option<PathBuf>,
    /// Records of an answer that `record` keeps
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) sample: u32,
    /// URL of the real source, for clients that ask the simulator's own address; others name it themselves
    #[arg(long, value_name = "URL")]
    pub(crate) upstream: Option<String>,
    /// A secret that is never written to the cassette: `env:NAME` or `file:PATH`; may be repeated
    #[arg(long = "secret", value_name = "REFERENCE")]
    pub(crate) secrets: Vec<String>,
    /// What chance is drawn from
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,
    /// What goes wrong: KIND[=VALUE][:PROBABILITY][@NTH]; status, delay, truncate, reset, invalid_json, slow_body
    #[arg(long, value_name = "FAULTS", value_delimiter = ',')]
    pub(crate) faults: Vec<String>,
    /// How long each answer takes, where its endpoint does not say
    #[arg(long, value_name = "N")]
    pub(crate) latency_ms: Option<u64>,
    /// Add records from ahead of now, where an endpoint describes them
    #[arg(long)]
    pub(crate) future_records: bool,
    /// Print a line for each request, as --verbose does
    #[arg(long)]
    pub(crate) log: bool,
}

/// Where a connector under test reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum TestMode {
    /// The simulator: the description and the corpus beside the connector
    Simulate,
    /// The real source, and what it answers is written to simulator/cassettes/suite.json
    Record,
    /// What `record` wrote
    Replay,
    /// The real source
    Live,
}

#[derive(Debug, Args)]
pub(crate) struct Test {
    /// The connector: its name, or a path to its folder or file
    pub(crate) connector: String,
    /// Where it reads
    #[arg(long, value_enum, default_value_t = TestMode::Simulate)]
    pub(crate) mode: TestMode,
    /// Only this table; may be repeated
    #[arg(long = "table", short = 't', value_name = "TABLE")]
    pub(crate) tables: Vec<String>,
    /// Only this rule, such as R8; may be repeated
    #[arg(long = "rule", value_name = "RULE", value_parser = rule_number)]
    pub(crate) rules: Vec<u32>,
    /// The connector's folder, with simulator/ in it, where it is another than the connector's own
    #[arg(long, value_name = "DIR")]
    pub(crate) folder: Option<PathBuf>,
    /// The connection of the project whose options are used; for `live` and `record`
    #[arg(long, value_name = "NAME")]
    pub(crate) connection: Option<String>,
    /// A Python file with the class WriteBack; by default simulator/write_back.py or tests/write_back.py of the folder
    #[arg(long, value_name = "FILE")]
    pub(crate) write_back: Option<PathBuf>,
    /// Write the report as JUnit's XML
    #[arg(long, value_name = "FILE")]
    pub(crate) junit: Option<PathBuf>,
    /// What chance is drawn from in the simulator
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,
    /// How many records of a table to look at; all, or 1,000 where the real source is read
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) sample: Option<u32>,
}

#[derive(Debug, Args)]
pub(crate) struct Validate {
    /// Pipeline specs: paths, or names under pipelines/
    #[arg(value_name = "SPEC")]
    pub(crate) specs: Vec<String>,
}

/// What `plan` and `run` have in common.
#[derive(Debug, Args)]
pub(crate) struct Selection {
    /// Pipeline spec: a path, or a name under pipelines/
    #[arg(value_name = "SPEC")]
    pub(crate) spec: String,
    /// Only this table (its name in the source or in the lake); may be repeated
    #[arg(long = "table", short = 't', value_name = "TABLE")]
    pub(crate) tables: Vec<String>,
    /// Read from the start and swap the content in one commit; every table, or the one named
    #[arg(long, value_name = "TABLE", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    pub(crate) full_refresh: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Plan {
    #[command(flatten)]
    pub(crate) selection: Selection,
}

#[derive(Debug, Args)]
pub(crate) struct Run {
    #[command(flatten)]
    pub(crate) selection: Selection,
    /// Memory that fetching, decoding and writing may hold together, such as 512MiB
    #[arg(long, value_name = "SIZE")]
    pub(crate) memory: Option<ByteSize>,
    /// How many tables are read at the same time
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) parallel: Option<u16>,
    /// Commit a stream at least this often, at the next safe point: 90s, 10m; 0s after each read
    #[arg(long, value_name = "AGE", value_parser = crate::config::parse_duration)]
    pub(crate) commit_every: Option<std::time::Duration>,
    /// How often a table is tried without progress before it fails
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) attempts: Option<u32>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum State {
    /// Show where the tables of a pipeline stand
    #[command(
        after_help = "Examples:\n  headwater state show example\n  headwater state show example orders --json"
    )]
    Show(StateShow),
    /// Set the offset where the next read of a table starts
    ///
    /// The offset is the connector's own JSON object: `state show` prints the present one. Setting it back makes the
    /// next run read records again; setting it forward leaves records out.
    #[command(after_help = "Examples:\n  headwater state set example events --offset '{\"after\":1200}'")]
    Set(StateSet),
    /// Forget the offset, so that the next run reads the table from the start
    ///
    /// Rows that are in the table stay there, and a table that appends gets them a second time. To make a table anew,
    /// use `headwater run <spec> --full-refresh=<table>` instead.
    #[command(after_help = "Examples:\n  headwater state reset example customers")]
    Reset(StateReset),
}

#[derive(Debug, Args)]
pub(crate) struct StateShow {
    /// Pipeline spec: a path, or a name under pipelines/
    #[arg(value_name = "SPEC")]
    pub(crate) spec: String,
    /// Only this table
    pub(crate) table: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct StateSet {
    /// Pipeline spec: a path, or a name under pipelines/
    #[arg(value_name = "SPEC")]
    pub(crate) spec: String,
    /// The table
    pub(crate) table: String,
    /// The offset, as JSON
    #[arg(long, value_name = "JSON")]
    pub(crate) offset: String,
    /// The flow, for a table that has several (upserts and deletions)
    #[arg(long, value_name = "FLOW")]
    pub(crate) flow: Option<String>,
    /// Do not ask
    #[arg(long, short)]
    pub(crate) yes: bool,
}

#[derive(Debug, Args)]
pub(crate) struct StateReset {
    /// Pipeline spec: a path, or a name under pipelines/
    #[arg(value_name = "SPEC")]
    pub(crate) spec: String,
    /// The table
    pub(crate) table: String,
    /// The flow, for a table that has several (upserts and deletions)
    #[arg(long, value_name = "FLOW")]
    pub(crate) flow: Option<String>,
    /// Do not ask
    #[arg(long, short)]
    pub(crate) yes: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Show {
    /// `table`, `schema.table` or `catalog.schema.table`
    pub(crate) table: Option<String>,
    /// How many rows or versions; 0 for all
    #[arg(long, default_value_t = 20, value_name = "ROWS")]
    pub(crate) limit: u64,
    /// Version of the table; the newest by default
    #[arg(long, value_name = "N", requires = "table")]
    pub(crate) version: Option<u64>,
    /// The versions of the table instead of its rows; with a key, the timeline of that key
    ///
    /// A key is the value of the key column, or `column=value` for each, separated by commas, or a JSON object. The
    /// table must keep its history (SCD_TYPE_2).
    #[arg(long, value_name = "KEY", num_args = 0..=1, default_missing_value = "", requires = "table")]
    #[arg(conflicts_with_all = ["version", "columns"])]
    pub(crate) history: Option<String>,
    /// Only these columns, separated by commas
    #[arg(long, value_delimiter = ',', value_name = "COLUMNS", requires = "table")]
    pub(crate) columns: Vec<String>,
}

/// One table of the warehouse, or all.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct TableOrAll {
    /// `table`, `schema.table` or `catalog.schema.table`
    pub(crate) table: Option<String>,
    /// Every table of the warehouse
    #[arg(long)]
    pub(crate) all: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Optimize {
    #[command(flatten)]
    pub(crate) target: TableOrAll,
    /// Size of the files to make
    #[arg(long, value_name = "SIZE", default_value = "128MiB")]
    pub(crate) target_file_size: ByteSize,
}

#[derive(Debug, Args)]
pub(crate) struct Vacuum {
    #[command(flatten)]
    pub(crate) target: TableOrAll,
    /// Keep what versions of this age need: 12h, 7d
    #[arg(long, value_name = "AGE", default_value = "7d", value_parser = crate::config::parse_duration)]
    pub(crate) retention: std::time::Duration,
    /// Only say what would be removed
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum SchemaKind {
    /// Pipeline specs
    Pipeline,
    /// connector_spec.yaml of a connector
    Connector,
    /// simulator/suite.yaml of a connector, for `headwater test`
    Suite,
}

#[derive(Debug, Args)]
pub(crate) struct Schema {
    /// Which
    pub(crate) kind: SchemaKind,
}

#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// The shell
    pub(crate) shell: Shell,
}

#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// Folder for the project; a temporary one, removed at the end, by default
    pub(crate) dir: Option<PathBuf>,
}

fn rule_number(text: &str) -> Result<u32, String> {
    let number = text.trim().strip_prefix(['R', 'r']).and_then(|digits| digits.parse().ok());
    let last = headwater_testkit::RULES.len();
    number
        .filter(|number| headwater_testkit::Rule::of(*number).is_some())
        .ok_or_else(|| format!("a rule is written R1 to R{last}"))
}

fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => Ok((key.trim().to_owned(), value.to_owned())),
        // The text is not repeated: it may be a secret.
        _ => Err("an option is written KEY=VALUE, such as base_url=https://example.org".to_owned()),
    }
}
