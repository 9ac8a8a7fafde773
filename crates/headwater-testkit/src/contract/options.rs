//! The rule on options: what is missing or wrong is refused, and the error names it.

use headwater_connect::{ConnectorError, Offset, Options};
use headwater_spec::{ChosenAuth, ConnectorSpec, Parameter, ParameterType};

use crate::reading::Read;
use crate::secrets::chain;
use crate::trial::{Trial, Verdict, not_tested};

/// A value that is no number, address, JSON or choice.
const NONSENSE: &str = "no such value {";

/// Table options that are numbers wherever they exist.
const NUMBERS: &[&str] = &["max_records_per_batch", "page_size", "per_page", "lookback_seconds"];

/// How a connector took options.
enum Taken {
    Accepted,
    Refused { said: String, named: bool },
}

pub(super) async fn r25_bad_options_are_refused_by_name(trial: &Trial<'_>, listed: &[String]) -> Verdict {
    let Some(spec) = &trial.spec else {
        return not_tested("the connector has no connector_spec.yaml, which would say what options it has");
    };
    let connection = &trial.subject.connection;
    let mut tried = 0;
    let mut doubts = Vec::new();
    for parameter in required(spec, connection) {
        let without =
            connection.iter().filter(|(name, _)| !name.eq_ignore_ascii_case(&parameter.name)).collect();
        let name = &parameter.name;
        tried += 1;
        match take(trial, &without, listed, name).await {
            Taken::Refused { named: true, .. } => {}
            Taken::Refused { said, .. } => {
                doubts.push(format!("without the required option `{name}` the error does not name it: {said}"));
            }
            Taken::Accepted => doubts.push(format!(
                "connector_spec.yaml says that option `{name}` is required, and the connector goes on without it"
            )),
        }
    }
    for parameter in spec.common_parameters().iter().chain(chosen(spec, connection)) {
        if parameter.kind == ParameterType::Text && parameter.allowed_values.is_empty()
            || parameter.kind == ParameterType::Secret
        {
            continue;
        }
        let mut wrong = connection.clone();
        wrong.set(&parameter.name, NONSENSE);
        tried += 1;
        // A wrong value that the connector has no use for is refused by its spec before it comes so far.
        if let Taken::Refused { said, named: false } = take(trial, &wrong, listed, &parameter.name).await {
            let name = &parameter.name;
            doubts.push(format!("with `{NONSENSE}` for option `{name}` the error does not name it: {said}"));
        }
    }
    for name in
        NUMBERS.iter().filter(|name| spec.table_options().iter().any(|o| o.eq_ignore_ascii_case(name)))
    {
        let mut wrong = connection.clone();
        wrong.set(*name, NONSENSE);
        tried += 1;
        if let Taken::Refused { said, named: false } = take(trial, &wrong, listed, name).await {
            doubts.push(format!(
                "with `{NONSENSE}` for table option `{name}` the error does not name it: {said}"
            ));
        }
    }
    match doubts.is_empty() {
        true if tried == 0 => not_tested("no option of the connector is required, or of a type to get wrong"),
        true => Ok(()),
        // Connectors in Python may leave the check to the spec.
        false => Err(trial.unless_foreign(doubts.join("; "))),
    }
}

/// The options that the connection needs, and has.
fn required<'s>(spec: &'s ConnectorSpec, connection: &Options) -> Vec<&'s Parameter> {
    // Without an option of its own, a way to sign in may leave another that fits.
    let signs_in_without = |parameter: &Parameter| {
        let others = connection.iter().filter(|(name, _)| !name.eq_ignore_ascii_case(&parameter.name));
        let others: Options = others.collect();
        matches!(spec.chosen_auth_method(&others), ChosenAuth::Method(_))
    };
    let all = spec.common_parameters().iter();
    let all = all.chain(chosen(spec, connection).iter().filter(|p| !signs_in_without(p)));
    all.filter(|p| p.required && p.default.is_none() && connection.get(&p.name).is_some()).collect()
}

/// The options of the way to sign in that the connection has chosen.
fn chosen<'s>(spec: &'s ConnectorSpec, connection: &Options) -> &'s [Parameter] {
    match spec.chosen_auth_method(connection) {
        ChosenAuth::Method(method) => &method.parameters,
        ChosenAuth::NotNeeded | ChosenAuth::Unclear(_) => &[],
    }
}

/// Tries options on an instance, up to the first record.
async fn take(trial: &Trial<'_>, options: &Options, listed: &[String], option: &str) -> Taken {
    let refused = |error: ConnectorError| {
        trial.witness.look_at(&error);
        let said = format!("{} {}", chain(&error), error.hint().unwrap_or_default());
        let named = said.to_ascii_lowercase().contains(&option.to_ascii_lowercase());
        Taken::Refused { said: chain(&error), named }
    };
    let connector = match trial.subject.factory.connect(options).await {
        Ok(connector) => connector,
        Err(error) => return refused(error),
    };
    if let Err(error) = connector.test_connection().await {
        return refused(error);
    }
    let tables = &trial.subject.tables;
    let table = tables.first().map(|(name, _)| name.as_str()).or(listed.first().map(String::as_str));
    let Some(table) = table else { return Taken::Accepted };
    let own = tables.first().map(|(_, own)| own.clone()).unwrap_or_default();
    let mut table_options = own;
    if let Some(value) = options.get(option).filter(|value| *value == NONSENSE) {
        table_options.set(option, value);
    }
    let metadata = match connector.read_table_metadata(table, &table_options).await {
        Ok(metadata) => metadata,
        Err(error) => return refused(error),
    };
    let start = metadata.ingestion_type.is_stream().then(Offset::empty);
    match Read::drain(connector.read_table(table, start.as_ref(), &table_options)).await {
        Ok(_) => Taken::Accepted,
        Err(error) => refused(error),
    }
}
