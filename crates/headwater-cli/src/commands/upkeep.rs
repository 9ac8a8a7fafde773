//! `optimize` and `vacuum`.

use headwater_lake::{Lake, TableName};
use serde_json::json;

use crate::args;
use crate::config::Project;
use crate::fail::{Exit, Failure};
use crate::output::{Align, Out, Table, bytes_text, count_text};
use crate::warehouse;

async fn targets(lake: &dyn Lake, target: &args::TableOrAll) -> Result<Vec<TableName>, Failure> {
    match &target.table {
        Some(table) => Ok(vec![warehouse::find(lake, table).await?.name]),
        None => Ok(lake.tables().await?),
    }
}

/// Remembers that a table failed, and goes on with the next.
fn remember(failure: &mut Option<Failure>, name: &TableName, error: headwater_lake::LakeError, doing: &str) {
    let failed = Failure::from(error).context(format!("{doing} {name} failed"));
    *failure = Some(match failure.take() {
        Some(before) => before.and(failed),
        None => failed,
    });
}

pub(crate) async fn optimize(
    arguments: &args::Optimize,
    project: &Project,
    out: &Out,
) -> Result<Exit, Failure> {
    let lake = warehouse::open(project, out)?;
    let mut table = Table::new([
        ("table", Align::Left),
        ("files before", Align::Right),
        ("after", Align::Right),
        ("size before", Align::Right),
        ("after", Align::Right),
        ("dead rows purged", Align::Right),
        ("version", Align::Right),
    ]);
    let (mut documents, mut failure) = (Vec::new(), None);
    for name in targets(lake.as_ref(), &arguments.target).await? {
        let report = match lake.optimize(&name, arguments.target_file_size.0).await {
            Ok(report) => report,
            Err(error) => {
                remember(&mut failure, &name, error, "optimizing");
                continue;
            }
        };
        table.row([
            name.to_string(),
            count_text(report.files_removed),
            count_text(report.files_added),
            bytes_text(report.bytes_removed),
            bytes_text(report.bytes_added),
            count_text(report.dead_rows_purged),
            report.version.map_or_else(|| "nothing to do".into(), |v| v.to_string()),
        ]);
        documents.push(json!({
            "table": name.to_string(), "files_removed": report.files_removed, "files_added": report.files_added,
            "bytes_removed": report.bytes_removed, "bytes_added": report.bytes_added,
            "dead_rows_purged": report.dead_rows_purged, "version": report.version,
        }));
    }
    if out.is_json() {
        out.json(&json!({"tables": documents}))?;
    } else {
        out.table(&table)?;
    }
    failure.map_or(Ok(Exit::Ok), Err)
}

pub(crate) async fn vacuum(arguments: &args::Vacuum, project: &Project, out: &Out) -> Result<Exit, Failure> {
    let lake = warehouse::open(project, out)?;
    let verb = if arguments.dry_run { "would be removed" } else { "removed" };
    let mut table = Table::new([
        ("table".to_owned(), Align::Left),
        (format!("files {verb}"), Align::Right),
        ("size".to_owned(), Align::Right),
        ("log files".to_owned(), Align::Right),
    ]);
    let (mut documents, mut failure) = (Vec::new(), None);
    for name in targets(lake.as_ref(), &arguments.target).await? {
        let report = match lake.vacuum(&name, arguments.retention, arguments.dry_run).await {
            Ok(report) => report,
            Err(error) => {
                remember(&mut failure, &name, error, "vacuuming");
                continue;
            }
        };
        table.row([
            name.to_string(),
            count_text(report.files.len() as u64),
            bytes_text(report.bytes),
            count_text(report.log_files),
        ]);
        documents.push(json!({
            "table": name.to_string(), "dry_run": arguments.dry_run, "files": report.files, "bytes": report.bytes,
            "log_files": report.log_files,
        }));
    }
    if out.is_json() {
        out.json(&json!({"tables": documents}))?;
    } else {
        out.table(&table)?;
    }
    failure.map_or(Ok(Exit::Ok), Err)
}
