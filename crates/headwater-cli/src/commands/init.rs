//! `init`: a project folder that runs at once.

use std::io::Write;
use std::path::Path;

use chrono::{DateTime, SecondsFormat, SubsecRound, TimeDelta, Utc};
use headwater_connect::{Clock, SystemClock};
use serde_json::json;

use crate::args;
use crate::config::{PROJECT_FILE, shown};
use crate::fail::{Exit, Failure};
use crate::output::{Out, Style};

/// What a new project holds: path and text.
const FILES: [(&str, &str); 5] = [
    (PROJECT_FILE, include_str!("../templates/headwater.yaml")),
    ("pipelines/example.yaml", include_str!("../templates/example.yaml")),
    ("pipelines/wiki.yaml", include_str!("../templates/wiki.yaml")),
    (".gitignore", include_str!("../templates/gitignore")),
    ("README.md", include_str!("../templates/README.md")),
];

pub(crate) fn init(arguments: &args::Init, out: &Out) -> Result<Exit, Failure> {
    let (made, kept) = write_project(&arguments.dir)?;
    let folder = shown(&std::path::absolute(&arguments.dir).unwrap_or_else(|_| arguments.dir.clone()));
    if out.is_json() {
        out.json(&json!({"project": folder, "made": made, "kept": kept}))?;
        return Ok(Exit::Ok);
    }
    for file in &made {
        out.say(&format!("{} {}", out.style(Style::Green, "made"), folder.join(file).display()));
    }
    for file in &kept {
        out.say(&format!("{} {} (it exists)", out.style(Style::Dim, "kept"), folder.join(file).display()));
    }
    let step =
        if folder.as_os_str().is_empty() { String::new() } else { format!("cd {} && ", folder.display()) };
    out.say(&format!("\nnext: {step}headwater run example"));
    Ok(Exit::Ok)
}

/// Writes the files that are not there yet; returns those made and those kept.
pub(crate) fn write_project(folder: &Path) -> Result<(Vec<&'static str>, Vec<&'static str>), Failure> {
    let (mut made, mut kept) = (Vec::new(), Vec::new());
    for (name, text) in FILES {
        let path = folder.join(name);
        let failed = |error: std::io::Error| {
            Failure::other(format!("{} cannot be written", shown(&path).display()), &error)
                .with_exit(Exit::Usage)
        };
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(failed)?;
        }
        // `create_new` never touches what is there, not even a file that appears in this moment.
        match std::fs::File::create_new(&path) {
            Ok(mut file) => {
                file.write_all(filled_in(text).as_bytes()).map_err(failed)?;
                made.push(name);
            }
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => kept.push(name),
            Err(error) => return Err(failed(error)),
        }
    }
    Ok((made, kept))
}

/// Puts the present time into a template.
fn filled_in(text: &str) -> String {
    let now = SystemClock.now().trunc_subsecs(0);
    let hour_ago = now - TimeDelta::hours(1);
    let written = |at: DateTime<Utc>| at.to_rfc3339_opts(SecondsFormat::Secs, true);
    text.replace("{{now}}", &written(now)).replace("{{an hour ago}}", &written(hour_ago))
}
