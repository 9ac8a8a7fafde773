use std::sync::Arc;

use headwater_connect::{ConnectorFactory, Options};
use headwater_engine::{
    Destination, Engine, EngineSettings, ObjectDefinition, PipelineDefinition, Silent, TableConfiguration,
    TableDefinition, UpdateReport, UpdateRequest,
};
use headwater_lake::TableName;

use crate::faults::Faults;
use crate::model_lake::{ModelLake, ModelTable, Storage};

pub(crate) fn table(configuration: TableConfiguration) -> ObjectDefinition {
    ObjectDefinition::Table(TableDefinition {
        source_table: "orders".into(),
        destination: Destination::default(),
        configuration,
    })
}

pub(crate) fn pipeline(objects: Vec<ObjectDefinition>) -> PipelineDefinition {
    PipelineDefinition {
        id: "shop".into(),
        name: "shop".into(),
        connection_name: "c".into(),
        catalog: "main".into(),
        schema: "shop".into(),
        objects,
        event_log: None,
    }
}

pub(crate) fn request(
    factory: impl ConnectorFactory + 'static,
    configuration: TableConfiguration,
) -> UpdateRequest {
    UpdateRequest::new(pipeline(vec![table(configuration)]), Arc::new(factory), Options::new())
}

pub(crate) fn name(table: &str) -> TableName {
    TableName::new("main", "shop", table).unwrap()
}

pub(crate) fn stored(storage: &Storage, table: &str) -> ModelTable {
    storage.lock().unwrap().get(&name(table)).cloned().unwrap_or_default()
}

pub(crate) async fn run(storage: &Storage, request: UpdateRequest) -> UpdateReport {
    run_with(storage, &Faults::none(), EngineSettings::default(), request).await.expect("nothing kills it")
}

/// Runs one process with one update; `None` where it died.
pub(crate) async fn run_with(
    storage: &Storage,
    faults: &Faults,
    settings: EngineSettings,
    request: UpdateRequest,
) -> Option<UpdateReport> {
    let engine = Engine::new(Arc::new(ModelLake::new(storage, faults)), settings);
    tokio::select! {
        biased;
        () = faults.death() => None,
        report = engine.run(request, Arc::new(Silent)) => Some(report),
    }
}

/// The error of the only flow, with its causes.
pub(crate) fn error_text(report: &UpdateReport) -> String {
    let Some(error) = &report.flows[0].error else { return String::new() };
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push_str(" <- ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
