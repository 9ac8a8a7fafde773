//! From a pipeline spec and the project to what the engine runs.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use headwater_engine::PipelineDefinition;
use headwater_lake::TableName;
use headwater_spec::{Parsed, PipelineSpec};

use crate::commands::Source;
use crate::config::{Project, name_of, shown};
use crate::fail::{Exit, Failure};
use crate::output::Out;

/// A pipeline spec of the project, checked against the project and the connector's own spec.
pub(crate) struct Pipeline {
    /// The file.
    pub(crate) path: PathBuf,
    /// What it says.
    pub(crate) parsed: Arc<Parsed<PipelineSpec>>,
    /// The same with everything filled in.
    pub(crate) definition: PipelineDefinition,
    /// Its connection.
    pub(crate) source: Source,
}

impl Pipeline {
    /// Finds the project and the spec in it. The project may be that of the working folder or that of the spec.
    pub(crate) async fn find(
        given: Option<&Path>,
        spec: &str,
        out: &Out,
    ) -> Result<(Project, Self), Failure> {
        let spec_folder = Path::new(spec).parent().unwrap_or(Path::new("."));
        let project = Project::find(given, &[Path::new("."), spec_folder])?;
        let pipeline = Self::load(&project, &project.spec_path(spec)?, out).await?;
        Ok((project, pipeline))
    }

    /// Reads and checks a spec. No request is made, and no secret is looked up.
    pub(crate) async fn load(project: &Project, path: &Path, out: &Out) -> Result<Self, Failure> {
        let file = shown(path).display().to_string();
        let bytes = std::fs::read(path)
            .map_err(|e| Failure::other(format!("{file} cannot be read"), &e).with_exit(Exit::Usage))?;
        let parsed = Arc::new(PipelineSpec::parse_bytes(&bytes, &file)?);
        let source = source(project, &parsed, out).await?;
        source.check_pipeline(&parsed)?;
        let definition = definition(project, &parsed, &name_of(path))?;
        Ok(Self { path: path.to_owned(), parsed, definition, source })
    }
}

/// The connection of the spec; a name that the project does not have is an error at its place in the spec.
async fn source(project: &Project, parsed: &Parsed<PipelineSpec>, out: &Out) -> Result<Source, Failure> {
    let name = parsed.value.connection_name();
    match project.connection(name) {
        Ok(_) => Source::find(project, name, out).await,
        Err(error) => {
            let path = ["ingestion_definition.connection_name", "connection_name"]
                .into_iter()
                .max_by_key(|path| parsed.position(path))
                .unwrap_or_default();
            Err(Failure::diagnostics(&[parsed.error_at(path, error.to_string(), error.hint())]))
        }
    }
}

fn definition(
    project: &Project,
    parsed: &Arc<Parsed<PipelineSpec>>,
    file_name: &str,
) -> Result<PipelineDefinition, Failure> {
    let spec = &parsed.value;
    let name = spec.name_or(file_name).to_owned();
    let catalog = spec.catalog().unwrap_or_else(|| project.catalog()).to_owned();
    let schema = spec.schema().unwrap_or(&name).to_owned();
    let log = spec.event_log();
    let part = |of: Option<&String>, default: &str| of.map_or(default, String::as_str).to_owned();
    let event_log = TableName::new(
        part(log.and_then(|l| l.catalog.as_ref()), &catalog),
        part(log.and_then(|l| l.schema.as_ref()), &schema),
        part(log.and_then(|l| l.name.as_ref()), "event_log"),
    )
    .map_err(|e| {
        Failure::from(e).hint("set `schema` in the spec, or give the spec a `name` that a folder can have")
    })?;
    Ok(PipelineDefinition {
        id: spec.id().unwrap_or(&name).to_owned(),
        name,
        catalog,
        schema,
        spec: parsed.clone(),
        event_log: Some(event_log),
    })
}
