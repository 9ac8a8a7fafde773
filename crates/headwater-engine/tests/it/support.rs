use std::sync::Arc;

use headwater_connect::{ConnectorFactory, Options};
use headwater_engine::{Engine, EngineSettings, PipelineDefinition, Silent, UpdateReport, UpdateRequest};
use headwater_lake::TableName;
use headwater_spec::PipelineSpec;
use serde_json::{Value, json};

use crate::faults::Faults;
use crate::model_lake::{ModelLake, ModelTable, Storage};

/// The object of a spec for table `orders`.
pub(crate) fn table(configuration: Value) -> Value {
    json!({"table": {"source_table": "orders", "table_configuration": configuration}})
}

pub(crate) fn pipeline(objects: Vec<Value>) -> PipelineDefinition {
    let text = json!({"connection_name": "c", "objects": objects}).to_string();
    PipelineDefinition {
        id: "shop".into(),
        name: "shop".into(),
        catalog: "main".into(),
        schema: "shop".into(),
        spec: Arc::new(PipelineSpec::parse(&text, "spec.json").unwrap()),
        event_log: None,
    }
}

pub(crate) fn request(factory: impl ConnectorFactory + 'static, configuration: Value) -> UpdateRequest {
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
