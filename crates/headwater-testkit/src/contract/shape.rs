//! Rules on what a connector says of itself and its tables, and on what its errors show.

use std::collections::HashSet;

use headwater_connect::{Connector, ConnectorError, IngestionType, Offset, Options};

use super::Table;
use crate::reading::Read;
use crate::trial::{Fault, Trial, Verdict, not_tested};

/// A table that no source has.
pub(super) const NO_TABLE: &str = "no_such_table_anywhere";

pub(super) fn r1_each_table_is_named_once(listed: &[String]) -> Verdict {
    let mut seen = HashSet::new();
    match listed.iter().find(|name| !seen.insert(name.as_str())) {
        Some(twice) => Err(format!("`{twice}` is listed twice").into()),
        None if listed.is_empty() => not_tested("the connector lists no table"),
        None => Ok(()),
    }
}

pub(super) async fn r2_an_unknown_table_is_an_error(trial: &Trial<'_>, connector: &dyn Connector) -> Verdict {
    let (none, empty) = (Options::new(), Offset::empty());
    let unknown = |what: &str, error: Option<ConnectorError>| match error {
        None => Err(Fault::Broken(format!("{what} of an unknown table succeeds"))),
        Some(error) => {
            let said = trial.said(&error);
            match error {
                ConnectorError::UnknownTable { .. } => Ok(()),
                // A connector in Python raises what it likes, as long as it does not pass for a passing fault.
                ConnectorError::Raised { .. }
                | ConnectorError::Bug { .. }
                | ConnectorError::Rejected { .. }
                    if trial.subject.is_foreign() =>
                {
                    Ok(())
                }
                _ => Err(Fault::Broken(format!("{what} of an unknown table says: {said}"))),
            }
        }
    };
    unknown("the schema", connector.get_table_schema(NO_TABLE, &none).await.err())?;
    unknown("the metadata", connector.read_table_metadata(NO_TABLE, &none).await.err())?;
    unknown("a read", Read::drain(connector.read_table(NO_TABLE, Some(&empty), &none)).await.err())
}

/// Looks back at all errors and log lines of the suite, after it has provoked some that are apt to show a secret.
pub(super) async fn r15_nothing_shows_a_secret(trial: &Trial<'_>) -> Verdict {
    let subject = trial.subject;
    let secret: Vec<&str> = match &trial.spec {
        Some(spec) => subject.connection.names().filter(|name| spec.is_secret(name)).collect(),
        None => subject.connection.names().filter(|name| headwater_spec::is_secret_name(name)).collect(),
    };
    // Wrong credentials are tried on a source that was made for it only.
    if subject.complete {
        for name in secret {
            for wrong in ["x", "\n", "\u{e4}"] {
                let value = subject.connection.get(name).unwrap_or_default();
                let mut options = subject.connection.clone();
                options.set(name, format!("{value}{wrong}"));
                provoke(trial, &options).await;
            }
        }
    }
    let seen = trial.witness.gathered(subject.log.as_ref());
    match (seen.shown.first(), seen.taken_out.first()) {
        (Some(place), _) => Err(format!("a secret stands in {place}").into()),
        (None, Some(place)) => {
            Err(Fault::Doubtful(format!("a secret stood in {place}, where Headwater took it out")))
        }
        (None, None) if trial.subject.all_secrets().is_empty() => {
            not_tested("the connection has no secret; give it one, such as a made-up token in suite.yaml")
        }
        (None, None) => Ok(()),
    }
}

async fn provoke(trial: &Trial<'_>, options: &Options) {
    let look = |error: Option<ConnectorError>| error.iter().for_each(|error| trial.witness.look_at(error));
    match trial.subject.factory.connect(options).await {
        Err(error) => look(Some(error)),
        Ok(connector) => {
            look(connector.test_connection().await.err());
            let Ok(tables) = connector.list_tables().await else { return };
            if let Some(table) = tables.first() {
                let (none, empty) = (Options::new(), Offset::empty());
                look(Read::drain(connector.read_table(table, Some(&empty), &none)).await.err());
            }
        }
    }
}

pub(super) async fn r19_namespaces_list_tables_that_exist(
    trial: &Trial<'_>,
    connector: &dyn Connector,
) -> Verdict {
    let said = |error: ConnectorError| trial.said(&error);
    let Some(namespaces) = connector.namespaces() else {
        return not_tested("the connector has no namespaces");
    };
    let top = namespaces.list_namespaces(&[]).await.map_err(said)?;
    if top.is_empty() {
        return Err("there are namespaces, but none is listed".into());
    }
    for namespace in top {
        for table in namespaces.list_tables_in_namespace(&namespace).await.map_err(said)? {
            let schema = connector.get_table_schema(&table, &Options::new()).await;
            schema.map_err(|e| format!("`{table}` of namespace {namespace:?}: {}", trial.said(&e)))?;
        }
    }
    Ok(())
}

impl Table<'_> {
    pub(super) fn r3_schema_has_fields_with_distinct_names(&self) -> Verdict {
        self.schema.check().map_err(|e| Fault::Broken(e.to_string()))
    }

    pub(super) fn r4_keys_and_cursor_are_columns(&self) -> Verdict {
        let named = self.metadata.primary_keys.iter().chain(&self.metadata.cursor_field);
        match named.into_iter().find(|name| self.schema.field(name).is_none()) {
            Some(name) => Err(format!("`{name}` is not a column of the schema").into()),
            None => Ok(()),
        }
    }

    pub(super) fn r5_changes_have_keys_and_a_cursor(&self) -> Verdict {
        let kind = self.metadata.ingestion_type;
        if !matches!(kind, IngestionType::Cdc | IngestionType::CdcWithDeletes) {
            return Ok(());
        }
        if self.metadata.primary_keys.is_empty() {
            return Err(format!("it is {kind} without primary keys").into());
        }
        if self.metadata.cursor_field.is_none() {
            return Err(format!("it is {kind} without a cursor field").into());
        }
        Ok(())
    }
}
