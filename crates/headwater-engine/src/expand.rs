//! From a pipeline's objects to the tables that an update reads: asks the source for what the spec does not name, and
//! leaves it to the spec to make tables of the answer.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use headwater_connect::{Connector, ConnectorError, Retry, SupportsNamespaces};
use headwater_lake::TableName;
use headwater_spec::{Listing, TableConfiguration, TableObject};

use crate::definition::flow_name;
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
    /// When the update began: the version of the snapshots that it takes.
    pub(crate) update_started_at: DateTime<Utc>,
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

/// The tables of an update, in the order of the objects, and what looked odd.
#[derive(Debug)]
pub(crate) struct Expanded {
    pub(crate) targets: Vec<FlowTarget>,
    pub(crate) warnings: Vec<String>,
}

/// Lists the tables of an update.
pub(crate) async fn expand(
    request: &UpdateRequest,
    retry: RetryPolicy,
    started_at: DateTime<Utc>,
) -> Result<Expanded, UpdateError> {
    let listing = list(request, retry).await?;
    let list = request.pipeline.spec.expand(&listing).map_err(|source| UpdateError::Spec { source })?;
    let mut targets = list
        .tables
        .into_iter()
        .map(|table| target(request, table, started_at))
        .collect::<Result<Vec<_>, _>>()?;
    mark_full_refresh(&mut targets, &request.full_refresh)?;
    if let Some(names) = &request.tables {
        check_names(&targets, names)?;
        targets.retain(|target| names.iter().any(|name| target.is_called(name)));
    }
    if targets.is_empty() {
        return Err(UpdateError::NoTables);
    }
    Ok(Expanded { targets, warnings: list.warnings.iter().map(ToString::to_string).collect() })
}

fn target(
    request: &UpdateRequest,
    table: TableObject,
    update_started_at: DateTime<Utc>,
) -> Result<FlowTarget, UpdateError> {
    let pipeline = &request.pipeline;
    let destination = TableName::new(
        table.destination_catalog.as_ref().unwrap_or(&pipeline.catalog),
        table.destination_schema.as_ref().unwrap_or(&pipeline.schema),
        table.destination_name(),
    )
    .map_err(|source| UpdateError::BadDestination { source_table: table.source_table.clone(), source })?;
    Ok(FlowTarget {
        destination,
        flow: flow_name(&pipeline.name, &table.source_table),
        source_table: table.source_table,
        configuration: table.configuration,
        full_refresh: false,
        update_started_at,
    })
}

/// Asks the source for the tables and namespaces that the spec needs to know; for nothing where it names all tables.
async fn list(request: &UpdateRequest, retry: RetryPolicy) -> Result<Listing, UpdateError> {
    let pipeline = &request.pipeline;
    let mut listing = Listing {
        connector: request.factory.name().to_owned(),
        catalog: pipeline.catalog.clone(),
        schema: pipeline.schema.clone(),
        ..Listing::default()
    };
    let wanted = pipeline.spec.value.namespaces_to_list();
    if wanted.is_empty() {
        return Ok(listing);
    }
    let mut retries = Retries { policy: retry, failures: 0 };
    let connector = loop {
        match request.factory.connect(&request.connection).await {
            Ok(connector) => break connector,
            Err(error) => retries.pause(error).await.map_err(|source| UpdateError::Connect {
                connection: pipeline.connection_name().to_owned(),
                source,
            })?,
        }
    };
    listing.namespaces = connector.namespaces().map(|_| BTreeSet::new());
    for namespace in wanted {
        let mut retries = Retries { policy: retry, failures: 0 };
        while let Err(error) = list_one(connector.as_ref(), namespace, &mut listing).await {
            retries.pause(error).await.map_err(|source| {
                let what = match namespace {
                    Some(namespace) => format!("namespace `{namespace}`"),
                    None => format!("connection `{}`", pipeline.connection_name()),
                };
                UpdateError::List { what, source }
            })?;
        }
    }
    Ok(listing)
}

struct Retries {
    policy: RetryPolicy,
    failures: u32,
}

impl Retries {
    /// Waits before the same is asked again; gives the error back where that is of no use.
    async fn pause(&mut self, error: ConnectorError) -> Result<(), ConnectorError> {
        self.failures += 1;
        let asked = match error.retry() {
            Retry::After(pause) if pause > self.policy.longest_asked => return Err(error),
            Retry::After(pause) => Some(pause),
            Retry::Backoff => None,
            Retry::Never => return Err(error),
        };
        if self.failures >= self.policy.attempts {
            return Err(error);
        }
        tokio::time::sleep(self.policy.pause(self.failures, asked)).await;
        Ok(())
    }
}

/// Lists the tables of a namespace, or of the connector. One that there is not is left out.
async fn list_one(
    connector: &dyn Connector,
    namespace: Option<&str>,
    listing: &mut Listing,
) -> Result<(), ConnectorError> {
    let mut tables = match (namespace, connector.namespaces()) {
        (None, _) => connector.list_tables().await?,
        (Some(_), None) => return Ok(()),
        (Some(name), Some(ability)) => match find(ability, name, listing).await? {
            Some(parts) => ability.list_tables_in_namespace(&parts).await?,
            None => return Ok(()),
        },
    };
    tables.sort();
    tables.dedup();
    listing.tables.insert(namespace.map(str::to_owned), tables);
    Ok(())
}

/// Finds the namespace whose parts, joined with dots, are `name`, and notes those met on the way.
async fn find(
    ability: &dyn SupportsNamespaces,
    name: &str,
    listing: &mut Listing,
) -> Result<Option<Vec<String>>, ConnectorError> {
    let mut prefixes = vec![Vec::new()];
    while let Some(prefix) = prefixes.pop() {
        for namespace in ability.list_namespaces(&prefix).await? {
            let joined = namespace.join(".");
            let is_above = name.strip_prefix(&joined).is_some_and(|rest| rest.starts_with('.'));
            let is_it = joined == name;
            listing.namespaces.get_or_insert_default().insert(joined);
            if is_it {
                return Ok(Some(namespace));
            }
            // A source that lists a level again below itself would be walked for ever.
            if is_above && namespace.len() > prefix.len() {
                prefixes.push(namespace);
            }
        }
    }
    Ok(None)
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
