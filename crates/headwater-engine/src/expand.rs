//! From a pipeline's objects to the tables that an update reads.

use std::collections::HashMap;

use headwater_connect::{Connector, ConnectorError, Retry};
use headwater_lake::TableName;

use crate::definition::{Destination, ObjectDefinition, SchemaDefinition, TableConfiguration, flow_name};
use crate::observer::FlowId;
use crate::settings::RetryPolicy;
use crate::{FullRefresh, UpdateError, UpdateRequest};

/// One table of an update: where from, where to, how.
#[derive(Debug, Clone)]
pub(crate) struct FlowTarget {
    pub(crate) source_table: String,
    pub(crate) destination: TableName,
    pub(crate) flow: String,
    pub(crate) configuration: TableConfiguration,
    pub(crate) full_refresh: bool,
}

impl FlowTarget {
    pub(crate) fn id(&self) -> FlowId {
        FlowId {
            flow: self.flow.as_str().into(),
            source_table: self.source_table.as_str().into(),
            destination: self.destination.to_string().into(),
        }
    }

    /// Says whether the user means this table by `name`: its name in the source or in the lake, in any case.
    fn is_called(&self, name: &str) -> bool {
        self.source_table.eq_ignore_ascii_case(name)
            || self.destination.table.eq_ignore_ascii_case(name)
            || self.destination.to_string().eq_ignore_ascii_case(name)
    }
}

/// Lists the tables of an update, in the order of the objects.
pub(crate) async fn expand(
    request: &UpdateRequest,
    retry: RetryPolicy,
) -> Result<Vec<FlowTarget>, UpdateError> {
    let pipeline = &request.pipeline;
    let mut targets = Vec::new();
    for (index, object) in pipeline.objects.iter().enumerate() {
        match object {
            ObjectDefinition::Table(table) => {
                let configuration = table.configuration.clone();
                targets.push(target(request, &table.source_table, &table.destination, configuration)?);
            }
            ObjectDefinition::Schema(schema) => {
                for table in list(request, schema, index, retry).await? {
                    let configuration = schema.tables.get(&table).unwrap_or(&schema.configuration).clone();
                    let destination = Destination { table: None, ..schema.destination.clone() };
                    targets.push(target(request, &table, &destination, configuration)?);
                }
            }
        }
    }
    check_destinations(&targets)?;
    mark_full_refresh(&mut targets, &request.full_refresh)?;
    if let Some(names) = &request.tables {
        check_names(&targets, names)?;
        targets.retain(|target| names.iter().any(|name| target.is_called(name)));
    }
    if targets.is_empty() { Err(UpdateError::NoTables) } else { Ok(targets) }
}

fn target(
    request: &UpdateRequest,
    source_table: &str,
    destination: &Destination,
    configuration: TableConfiguration,
) -> Result<FlowTarget, UpdateError> {
    let pipeline = &request.pipeline;
    let destination = TableName::new(
        destination.catalog.as_deref().unwrap_or(&pipeline.catalog),
        destination.schema.as_deref().unwrap_or(&pipeline.schema),
        destination.table.as_deref().unwrap_or(source_table),
    )
    .map_err(|source| UpdateError::BadDestination { source_table: source_table.to_owned(), source })?;
    Ok(FlowTarget {
        source_table: source_table.to_owned(),
        destination,
        flow: flow_name(&pipeline.name, source_table),
        configuration,
        full_refresh: false,
    })
}

async fn list(
    request: &UpdateRequest,
    schema: &SchemaDefinition,
    index: usize,
    retry: RetryPolicy,
) -> Result<Vec<String>, UpdateError> {
    let object = match &schema.namespace {
        Some(namespace) => format!("`objects[{index}].schema` (namespace `{}`)", namespace.join(".")),
        None => format!("`objects[{index}].schema`"),
    };
    let connector =
        request.factory.connect(&request.connection.merged(&schema.configuration.options)).map_err(
            |source| UpdateError::Connect { connection: request.pipeline.connection_name.clone(), source },
        )?;
    if schema.namespace.is_some() && connector.namespaces().is_none() {
        let connector = request.factory.name().to_owned();
        return Err(UpdateError::NoNamespaces { object, connector });
    }
    let mut failures = 0;
    let mut tables = loop {
        match list_once(connector.as_ref(), schema.namespace.as_deref()).await {
            Ok(tables) => break tables,
            Err(source) => {
                failures += 1;
                let asked = match source.retry() {
                    Retry::Never => return Err(UpdateError::List { object, source }),
                    Retry::After(pause) => Some(pause),
                    Retry::Backoff => None,
                };
                if failures >= retry.attempts {
                    return Err(UpdateError::List { object, source });
                }
                tokio::time::sleep(retry.pause(failures, asked)).await;
            }
        }
    };
    tables.retain(|table| !schema.exclude.iter().any(|excluded| excluded.eq_ignore_ascii_case(table)));
    tables.sort();
    tables.dedup();
    Ok(tables)
}

async fn list_once(
    connector: &dyn Connector,
    namespace: Option<&[String]>,
) -> Result<Vec<String>, ConnectorError> {
    match (namespace, connector.namespaces()) {
        (Some(namespace), Some(namespaces)) => namespaces.list_tables_in_namespace(namespace).await,
        _ => connector.list_tables().await,
    }
}

fn check_destinations(targets: &[FlowTarget]) -> Result<(), UpdateError> {
    // Folders of some file systems do not tell case apart, so two such names are one table there.
    let mut seen: HashMap<String, &FlowTarget> = HashMap::new();
    for target in targets {
        if let Some(first) = seen.insert(target.destination.to_string().to_lowercase(), target) {
            return Err(UpdateError::DuplicateDestination {
                destination: target.destination.clone(),
                first: first.source_table.clone(),
                second: target.source_table.clone(),
            });
        }
    }
    Ok(())
}

fn mark_full_refresh(targets: &mut [FlowTarget], full_refresh: &FullRefresh) -> Result<(), UpdateError> {
    match full_refresh {
        FullRefresh::None => {}
        FullRefresh::All => targets.iter_mut().for_each(|target| target.full_refresh = true),
        FullRefresh::Tables(names) => {
            check_names(targets, names)?;
            for target in targets {
                target.full_refresh = names.iter().any(|name| target.is_called(name));
            }
        }
    }
    Ok(())
}

fn check_names(targets: &[FlowTarget], names: &[String]) -> Result<(), UpdateError> {
    match names.iter().find(|name| !targets.iter().any(|target| target.is_called(name))) {
        None => Ok(()),
        Some(name) => Err(UpdateError::UnknownTable {
            name: name.clone(),
            available: targets.iter().map(|target| target.source_table.clone()).collect(),
        }),
    }
}
