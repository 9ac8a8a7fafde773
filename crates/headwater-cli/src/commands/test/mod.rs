//! `test`: holds a connector to the rules of the contract.

mod own;
mod show;
mod target;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use headwater_connect::{Options, Secret};
use headwater_http::SimulatorAddress;
use headwater_testkit::simulator::{Description, Mode, Settings, Simulator};
use headwater_testkit::{
    Changes, LogWatch, RemoteWriteBack, Report, SimulatedError, SimulatedStage, SimulatorFolder, Stage,
    Subject, WriteBack, run,
};

use self::show::Shown;
use self::target::Target;
use super::connection::Source;
use crate::args::{self, TestMode};
use crate::config::Project;
use crate::connectors::{spec_of, warn_without_spec};
use crate::fail::{Exit, Failure};
use crate::output::Out;
use crate::signals;

/// Records that are looked at, and kept of each answer, where the real source is read.
const LIVE_SAMPLE: usize = 1_000;
const RECORD_SAMPLE: usize = 20;

/// Where a class that changes the source is looked for.
const WRITE_BACK_FILES: [&str; 2] = ["simulator/write_back.py", "tests/write_back.py"];

impl TestMode {
    fn as_str(self) -> &'static str {
        match self {
            TestMode::Simulate => "simulate",
            TestMode::Record => "record",
            TestMode::Replay => "replay",
            TestMode::Live => "live",
        }
    }

    fn is_real(self) -> bool {
        matches!(self, TestMode::Record | TestMode::Live)
    }
}

pub(crate) async fn test(
    arguments: &args::Test,
    project: Option<Project>,
    log: Option<LogWatch>,
    out: &Out,
) -> Result<Exit, Failure> {
    let mode = arguments.mode;
    let target = Target::find(arguments, project.as_ref(), out)?;
    let folder = target.folder(arguments.folder.as_deref())?;
    let real = match (mode.is_real(), &arguments.connection) {
        (true, Some(connection)) => Some(connection_of(connection, project.as_ref(), &target, out).await?),
        (true, None) => {
            return Err(Failure::usage(format!("`--mode {}` reads the real source", mode.as_str()))
                .hint("name a connection of the project with `--connection`"));
        }
        (false, Some(_)) => {
            return Err(Failure::usage(format!(
                "`--connection` does not go with `--mode {}`",
                mode.as_str()
            ))
            .hint("the options of the connection stand in simulator/suite.yaml"));
        }
        (false, None) => None,
    };
    let led = Led::start(arguments, &target, &folder, real.as_ref())?;
    let connection = match (&real, &led) {
        (Some(options), _) => options.clone(),
        (None, Some(led)) => folder.connection(&led.simulator.base_url()),
        (None, None) => folder.connection(""),
    };
    let leading = if target.is_python() { Led::python_environment } else { Led::environment };
    let target = target.with_environment(led.as_ref().map(leading).unwrap_or_default());
    let ready = signals::until_interrupted(out, target.ready(out)).await?;
    warn_without_spec(ready.factory.name(), &spec_of(ready.factory.as_ref())?, out);
    let mut subject = Subject::new(ready.factory.as_ref(), connection.clone());
    subject.follow(&folder.suite);
    choose(&mut subject, arguments, &folder)?;
    subject.log = log;
    subject.complete = mode == TestMode::Simulate && folder.has_description();
    subject.stage = led.as_ref().and_then(|led| led.stage.as_ref()).map(|stage| stage as &dyn Stage);
    let write_back = changes(arguments, &folder, &target, &ready, &connection, out).await?;
    let changes = write_back.as_ref().map(|write_back| Changes::new(write_back.as_ref()));
    subject.changes = changes.as_ref();
    let shown = Shown::new(out, mode.as_str());
    shown.begins(ready.factory.name(), led.as_ref().map(|led| &led.simulator));
    let told = |test: &headwater_testkit::TestResult| shown.test(test);
    let ran = signals::until_interrupted(out, async {
        run(&subject, &told).await.map_err(|error| {
            Failure::from(error).context(format!("connector `{}` cannot be tested", ready.factory.name()))
        })
    })
    .await;
    if let Some(changes) = &changes {
        for left in changes.clean_up().await {
            out.warn(&format!("a record that was made for the test is still there: {left}"));
        }
    }
    let report = ran?;
    let own = own::run(&folder, &ready, led.as_ref(), out).await?;
    if let Some(path) = &arguments.junit {
        write_junit(&report, path)?;
    }
    shown.end(&report, own.as_ref())?;
    let passed = report.is_passed() && own.is_none_or(|own| own.passed != Some(false));
    Ok(if passed { Exit::Ok } else { Exit::TableFailed })
}

fn write_junit(report: &Report, path: &Path) -> Result<(), Failure> {
    let failed = |error: std::io::Error| {
        Failure::other(format!("{} cannot be written", path.display()), &error).with_exit(Exit::Usage)
    };
    let mut xml = Vec::new();
    report.write_junit(&mut xml).map_err(failed)?;
    std::fs::write(path, xml).map_err(failed)
}

/// The options of a connection of the project, with its secrets looked up.
async fn connection_of(
    name: &str,
    project: Option<&Project>,
    target: &Target,
    out: &Out,
) -> Result<Options, Failure> {
    let Some(project) = project else {
        return Err(Failure::usage(format!("there is no project here, so no connection `{name}`"))
            .hint("run this in a project folder, or name it with `--project`"));
    };
    let source = signals::until_interrupted(out, Source::find(project, name, out)).await?;
    let of = source.factory.name();
    if !target.is_path() && of != target.name() {
        return Err(Failure::usage(format!(
            "connection `{name}` is one of connector `{of}`, not of `{}`",
            target.name()
        )));
    }
    source.options()
}

/// Tables, rules and sample as the arguments choose them.
fn choose(
    subject: &mut Subject<'_>,
    arguments: &args::Test,
    folder: &SimulatorFolder,
) -> Result<(), Failure> {
    if !arguments.tables.is_empty() {
        let known = std::mem::take(&mut subject.tables);
        let options = |name: &String| {
            known
                .iter()
                .find(|(table, _)| table == name)
                .map(|(_, options)| options.clone())
                .unwrap_or_default()
        };
        subject.tables = arguments.tables.iter().map(|name| (name.clone(), options(name))).collect();
        if let Some(name) = arguments.tables.iter().find(|name| subject.exclude.contains(name)) {
            return Err(Failure::usage(format!("table `{name}` is left out by `exclude`"))
                .hint(format!("change {}", folder.path.join("suite.yaml").display())));
        }
    }
    subject.rules.clone_from(&arguments.rules);
    let usual = match arguments.mode {
        TestMode::Live => Some(LIVE_SAMPLE),
        TestMode::Record => Some(RECORD_SAMPLE),
        TestMode::Simulate | TestMode::Replay => None,
    };
    subject.sample = arguments.sample.and_then(|n| usize::try_from(n).ok()).or(usual);
    Ok(())
}

/// The class that changes the source, where there is one and the source may be changed.
async fn changes(
    arguments: &args::Test,
    folder: &SimulatorFolder,
    target: &Target,
    ready: &target::Ready,
    connection: &Options,
    out: &Out,
) -> Result<Option<Box<dyn WriteBack>>, Failure> {
    let beside = folder.path.parent().unwrap_or(Path::new("."));
    let found = WRITE_BACK_FILES.iter().map(|file| beside.join(file)).find(|file| file.is_file());
    let file: PathBuf = match (&arguments.write_back, found) {
        (Some(file), _) if !file.is_file() => {
            return Err(Failure::usage(format!("there is no file {}", file.display())));
        }
        (Some(file), _) => file.clone(),
        // A recording holds no answers to what is asked after a change.
        (None, Some(file)) if matches!(arguments.mode, TestMode::Simulate | TestMode::Live) => file,
        (None, _) => return Ok(None),
    };
    let factory = signals::until_interrupted(out, target.write_back(ready, &file, out)).await?;
    let instance = signals::until_interrupted(out, async {
        factory
            .connect(connection)
            .await
            .map_err(|error| Failure::from(error).context(format!("{} cannot be used", file.display())))
    })
    .await?;
    Ok(Some(Box::new(RemoteWriteBack::new(instance))))
}

/// A simulator, and what leads the connector there.
struct Led {
    simulator: Simulator,
    stage: Option<SimulatedStage>,
    /// Holds the simulator's certificate for programs that take it from a file.
    certificate: tempfile::NamedTempFile,
}

impl Led {
    /// Starts the simulator that the mode needs, and leads this process to it.
    fn start(
        arguments: &args::Test,
        target: &Target,
        folder: &SimulatorFolder,
        real: Option<&Options>,
    ) -> Result<Option<Self>, Failure> {
        let described = folder.has_description();
        let (mode, description) = match arguments.mode {
            TestMode::Live => return Ok(None),
            // The shop that is built in brings its own server.
            TestMode::Simulate if !described && target.is_self_contained() => return Ok(None),
            TestMode::Simulate if !described && !target.may_be_self_contained() => {
                return Err(no_description(target, folder));
            }
            // With nothing described, nothing answers: what a connector of its own records does not mind.
            TestMode::Simulate if !described => (Mode::Simulate, Description::default()),
            TestMode::Simulate => (Mode::Simulate, folder.description().map_err(simulated)?),
            TestMode::Record => {
                let sample = arguments.sample.and_then(|n| usize::try_from(n).ok()).unwrap_or(RECORD_SAMPLE);
                (Mode::Record { cassette: folder.cassette(), sample }, Description::default())
            }
            TestMode::Replay if !folder.cassette().is_file() => {
                return Err(Failure::usage(format!("there is no recording {}", folder.cassette().display()))
                    .hint("`--mode record --connection <name>` makes it"));
            }
            TestMode::Replay => (Mode::Replay { cassette: folder.cassette() }, Description::default()),
        };
        let grows = description.synthesizes_records();
        let can_fail = mode == Mode::Simulate && described;
        let secrets =
            real.into_iter().flat_map(|options| target.secrets_of(options)).map(Secret::new).collect();
        let settings = Settings { mode, seed: arguments.seed, secrets, ..Settings::default() };
        let simulator = Simulator::start(description, settings)
            .map_err(|error| Failure::other("the simulator cannot be started", &error))?;
        let address =
            SimulatorAddress { address: simulator.address(), ca_pem: simulator.certificate_pem().to_owned() };
        headwater_http::lead_to(address)?;
        let unwritten = |error: std::io::Error| Failure::other("a temporary file cannot be written", &error);
        let certificate = tempfile::NamedTempFile::new().map_err(unwritten)?;
        std::fs::write(certificate.path(), simulator.certificate_pem()).map_err(unwritten)?;
        let stage = can_fail.then(|| SimulatedStage::new(simulator.control(), grows));
        Ok(Some(Self { simulator, stage, certificate }))
    }

    /// What leads a program in Python there.
    fn python_environment(&self) -> Vec<(String, OsString)> {
        vec![("HEADWATER_SIMULATOR".to_owned(), self.simulator.base_url().into())]
    }

    /// What leads any other executable there: it is led as to a proxy.
    fn environment(&self) -> Vec<(String, OsString)> {
        let url = self.simulator.base_url();
        let certificate = self.certificate.path().as_os_str().to_owned();
        let mut variables = self.python_environment();
        for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
            variables.push((name.to_owned(), url.clone().into()));
            variables.push((name.to_lowercase(), url.clone().into()));
        }
        variables.extend(["NO_PROXY", "no_proxy"].map(|name| (name.to_owned(), "".into())));
        variables.push(("SSL_CERT_FILE".to_owned(), certificate));
        variables
    }
}

fn no_description(target: &Target, folder: &SimulatorFolder) -> Failure {
    Failure::usage(format!("there is no {}", folder.path.join("endpoints.yaml").display())).hint(format!(
        "name the folder of `{}` with `--folder`, or test against the real source: `--mode live --connection <name>`",
        target.name()
    ))
}

/// A folder of a simulated source that cannot be used.
pub(super) fn simulated(error: SimulatedError) -> Failure {
    match error {
        SimulatedError::Suite(errors) => errors.into(),
        SimulatedError::Description(errors) => Failure::diagnostics(&errors.errors),
        other => Failure::new(Exit::Usage, &other, None),
    }
}
