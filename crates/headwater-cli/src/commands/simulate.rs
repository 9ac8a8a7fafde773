//! `simulate`: a source served from a description; and what leads this process to one.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use headwater_connect::Secret;
use headwater_http::SimulatorAddress;
use headwater_testkit::simulator::{
    Control, Description, Fault, LeadError, Mode, SeenRequest, Settings, Simulator, StartError,
    environment_of, lead_process,
};
use serde_json::json;

use crate::args;
use crate::config::{self, Reference};
use crate::fail::{Exit, Failure};
use crate::output::{Out, Style};
use crate::signals;

/// Serves until the user interrupts.
pub(crate) async fn simulate(arguments: &args::Simulate, verbose: bool, out: &Out) -> Result<Exit, Failure> {
    let folder = source_folder(&arguments.folder)?;
    let mode = mode(arguments, &folder);
    // What a recording is compared with; a replay needs none.
    let described = folder.join("endpoints.yaml").is_file() || folder.join("endpoints.yml").is_file();
    let description = match mode {
        Mode::Simulate => load(&folder)?,
        Mode::Record { .. } if described => load(&folder)?,
        _ => Description::default(),
    };
    let settings = Settings {
        mode: mode.clone(),
        port: arguments.port,
        seed: arguments.seed,
        faults: faults(arguments)?,
        latency: arguments.latency_ms.map(Duration::from_millis),
        upstream: arguments.upstream.clone(),
        secrets: secrets(arguments, out)?,
        ..Settings::default()
    };
    let shown = out.clone();
    let log = verbose || arguments.log;
    let settings = settings.observer(move |request| show_request(&shown, log, request));
    let simulator = Simulator::start(description, settings).map_err(not_started)?;
    let control = simulator.control();
    control.synthesize_future_records(arguments.future_records);
    tell_where(&simulator, &mode, out)?;
    signals::interrupted().await?;
    tell_what(&control, &mode, out)?;
    control.save().map_err(|e| Failure::new(Exit::Usage, &e, None))?;
    Ok(Exit::Ok)
}

/// The folder itself, or the one that a connector has for it.
fn source_folder(given: &Path) -> Result<PathBuf, Failure> {
    if !given.is_dir() {
        return Err(Failure::usage(format!("there is no folder {}", given.display()))
            .hint("a source's folder holds endpoints.yaml and corpus/<name>.json (docs/simulator.md)"));
    }
    let inner = given.join("simulator");
    let has =
        |folder: &Path| folder.join("endpoints.yaml").is_file() || folder.join("endpoints.yml").is_file();
    Ok(if !has(given) && has(&inner) { inner } else { given.to_owned() })
}

fn load(folder: &Path) -> Result<Description, Failure> {
    Description::load(folder).map_err(|errors| Failure::diagnostics(&errors.errors))
}

fn mode(arguments: &args::Simulate, folder: &Path) -> Mode {
    let cassette = arguments.cassette.clone().unwrap_or_else(|| folder.join("cassette.json"));
    match arguments.mode {
        args::SimulateMode::Simulate => Mode::Simulate,
        args::SimulateMode::Record => {
            Mode::Record { cassette, sample: usize::try_from(arguments.sample).unwrap_or(Mode::SAMPLE) }
        }
        args::SimulateMode::Replay => Mode::Replay { cassette },
        args::SimulateMode::Live => Mode::Live,
    }
}

fn faults(arguments: &args::Simulate) -> Result<Vec<Fault>, Failure> {
    let parsed = arguments.faults.iter().map(|text| {
        text.parse::<Fault>().map_err(|error| {
            Failure::usage(error.to_string())
                .hint("KIND[=VALUE][:PROBABILITY][@NTH], such as status=503:0.05, reset@10 or delay=2000")
        })
    });
    parsed.collect()
}

fn secrets(arguments: &args::Simulate, out: &Out) -> Result<Vec<Secret>, Failure> {
    let resolved = arguments.secrets.iter().map(|text| {
        let Some(reference) = Reference::parse(text) else {
            return Err(Failure::usage("--secret takes a reference, not the secret itself")
                .hint("`env:NAME` for an environment variable, `file:PATH` for a file"));
        };
        let value = reference.resolve(Path::new("."), out.redactor());
        value.map(Secret::new).map_err(|error| {
            let hint = error.hint();
            Failure::new(Exit::Usage, &error, hint)
        })
    });
    resolved.collect()
}

fn not_started(error: StartError) -> Failure {
    let hint = match &error {
        StartError::Port { .. } => {
            Some("another program has it; leave `--port` out to take a free one".to_owned())
        }
        StartError::Cassette(_) => Some("`--mode record` makes one; `--cassette` names another".to_owned()),
        StartError::Upstream { .. } => Some("such as https://api.example.org".to_owned()),
        _ => None,
    };
    Failure::new(Exit::Usage, &error, hint)
}

fn show_request(out: &Out, log: bool, request: &SeenRequest) {
    let status = request.status.map_or_else(|| "reset".to_owned(), |status| status.to_string());
    if out.is_json() {
        let event = json!({
            "event": "request",
            "at": request.at.to_rfc3339(),
            "request": request.shown(),
            "method": request.method,
            "host": request.host,
            "status": request.status,
        });
        // A reader that has gone does not stop the server.
        drop(out.json_line(&event));
    } else if log {
        let style =
            if request.status.is_some_and(|status| status < 400) { Style::Dim } else { Style::Yellow };
        out.say(&format!("{} {}", out.style(style, &status), request.shown()));
    }
}

fn tell_where(simulator: &Simulator, mode: &Mode, out: &Out) -> Result<(), Failure> {
    let url = simulator.base_url();
    if out.is_json() {
        return out.json_line(&json!({"event": "started", "url": url, "mode": mode_name(mode)}));
    }
    out.line(&url)?;
    out.say(&format!(
        "\nlead connectors here, without a changed line:\n  HEADWATER_SIMULATOR={url} headwater run <spec>\n  \
         HEADWATER_SIMULATOR={url} python -m headwater_worker.simulated -m pytest\nor give {url} as the base URL\n\
         its certificate: {url}{}\nCtrl-C ends it",
        headwater_testkit::simulator::CA_PATH
    ));
    Ok(())
}

fn mode_name(mode: &Mode) -> &'static str {
    match mode {
        Mode::Record { .. } => "record",
        Mode::Replay { .. } => "replay",
        Mode::Live => "live",
        _ => "simulate",
    }
}

/// What was asked for, by status; what was recorded, and where the description differs.
fn tell_what(control: &Control, mode: &Mode, out: &Out) -> Result<(), Failure> {
    let mut statuses: BTreeMap<String, u64> = BTreeMap::new();
    for request in control.requests() {
        let status = request.status.map_or_else(|| "reset".to_owned(), |status| status.to_string());
        *statuses.entry(status).or_default() += 1;
    }
    let differences: Vec<String> = control.differences().iter().map(ToString::to_string).collect();
    let recording = matches!(mode, Mode::Record { .. });
    if out.is_json() {
        return out.json_line(&json!({
            "event": "stopped",
            "requests": control.request_count(),
            "statuses": statuses,
            "recorded": recording.then(|| control.recorded()),
            "differences": differences,
        }));
    }
    let by: Vec<String> = statuses.iter().map(|(status, count)| format!("{status}: {count}")).collect();
    let by = if by.is_empty() { String::new() } else { format!(" ({})", by.join(", ")) };
    out.say(&format!("\n{} requests{by}", control.request_count()));
    if let Mode::Record { cassette, .. } = mode {
        out.say(&format!("{} in {}", control.recorded(), cassette.display()));
    }
    differences.iter().for_each(|difference| out.warn(difference));
    Ok(())
}

static LED_TO: OnceLock<Arc<SimulatorAddress>> = OnceLock::new();

/// Leads connectors to the simulator that the environment names, where it names one.
pub(crate) fn lead_from_environment(out: &Out) -> Result<(), Failure> {
    let Some(url) = config::simulator() else { return Ok(()) };
    let simulator = lead_process(&url).map_err(|error| {
        let hint = match &error {
            LeadError::NoAnswer { .. } => {
                "start it with `headwater simulate <folder> --port <N>`, or unset HEADWATER_SIMULATOR"
            }
            _ => "HEADWATER_SIMULATOR is the address that `headwater simulate` prints",
        };
        Failure::new(Exit::Usage, &error, Some(hint.to_owned()))
    })?;
    out.say(&out.style(Style::Dim, &format!("sources are simulated by {url} (HEADWATER_SIMULATOR)")));
    // Once for a process.
    LED_TO.get_or_init(|| Arc::new(simulator));
    Ok(())
}

/// What leads an executable there, where this process is led there; its certificate is put into the folder `state`.
pub(crate) fn environment_of_simulator(state: &Path) -> Result<Vec<(String, OsString)>, Failure> {
    let Some(simulator) = LED_TO.get() else { return Ok(Vec::new()) };
    let certificate = state.join(format!("simulator-{}.pem", simulator.address.port()));
    std::fs::write(&certificate, &simulator.ca_pem).map_err(|e| {
        Failure::other(format!("{} cannot be written", certificate.display()), &e).with_exit(Exit::Usage)
    })?;
    Ok(environment_of(simulator, &certificate))
}
