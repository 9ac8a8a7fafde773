//! `agent`: operations that an agent may call on a connection, JSON in and JSON out.

use std::io::Read;

use headwater_connect::{AgentOperation, AgentParameter, Connector, Offset, Options};
use serde_json::{Map, Value, json};

use super::connection::Source;
use super::source::{Described, Preview};
use crate::args;
use crate::config::Project;
use crate::fail::{Exit, Failure};
use crate::names;
use crate::output::{Out, RowPrinter};

/// Arguments on stdin are a few lines; more is a mistake.
const MAX_ARGUMENTS_BYTES: u64 = 16 << 20;

/// Rows of `read_table` that names no limit.
const DEFAULT_LIMIT: u64 = 100;

pub(crate) async fn agent(arguments: &args::Agent, project: &Project, out: &Out) -> Result<Exit, Failure> {
    let call = Call::parse(&arguments.arguments)?;
    let source = Source::find(project, &arguments.connection, out).await?;
    let operation = arguments.operation.as_str();
    let is_common = operation != "list_operations" && built_in().iter().any(|known| known.name == operation);
    // What every connector has is answered alike for all of them, and needs no look at its own.
    if !is_common && source.may_have_operations() {
        let connector = source.connect(&Options::new()).await?;
        if let Some(agent) = connector.agent() {
            let mut own = agent.agent_operations().await?;
            own.retain(|operation| !built_in().iter().any(|known| known.name == operation.name));
            if operation == "list_operations" {
                return list_operations(&own, out);
            }
            if own.iter().any(|o| o.name == operation) {
                let answer = agent.run_operation(operation, &call.arguments).await?;
                out.json(&answer)?;
                return Ok(Exit::Ok);
            }
        }
    }
    match operation {
        "list_operations" => list_operations(&[], out),
        "list_objects" => list_objects(&call, &source, out).await,
        "get_object_metadata" => get_object_metadata(&call, &source, out).await,
        "read_table" => read_table(&call, &source, out).await,
        "validate_connection" => validate_connection(&call, &source, out).await,
        _ => {
            let known: Vec<String> = built_in().into_iter().map(|o| o.name).collect();
            Err(Failure::usage(format!("there is no operation `{operation}`")).hint(names::hint(
                operation,
                &known,
                "operations",
                "`list_operations` lists them",
            )))
        }
    }
}

/// The operations that every connector has.
fn built_in() -> Vec<AgentOperation> {
    let parameter = |name: &str, kind: &str, required: bool, description: &str| AgentParameter {
        name: name.into(),
        kind: kind.into(),
        description: description.into(),
        required,
    };
    let table = || parameter("table", "string", true, "Name of the table in the source.");
    let options = || parameter("options", "object", false, "Options of the table, as texts.");
    let operation = |name: &str, description: &str, parameters| AgentOperation {
        name: name.into(),
        description: description.into(),
        parameters,
    };
    vec![
        operation("list_operations", "Describes the operations there are.", vec![]),
        operation(
            "list_objects",
            "Lists the tables of the source, or the namespaces and tables below a namespace.",
            vec![parameter("namespace", "array", false, "Namespace to list, outermost part first.")],
        ),
        operation(
            "get_object_metadata",
            "Gives columns, keys, cursor and ingestion type of a table.",
            vec![table(), options()],
        ),
        operation(
            "read_table",
            "Reads the first rows of a table, converted to its columns' types. Nothing is written.",
            vec![
                table(),
                options(),
                parameter("limit", "integer", false, "How many rows at most; 100 without it."),
                parameter("start_offset", "object", false, "Offset to read from; the start without it."),
            ],
        ),
        operation("validate_connection", "Tries the connection as cheaply as the source allows.", vec![]),
    ]
}

fn list_operations(own: &[AgentOperation], out: &Out) -> Result<Exit, Failure> {
    let mut all = own.to_vec();
    all.extend(built_in().into_iter().filter(|o| !own.iter().any(|mine| mine.name == o.name)));
    out.json(&json!({"operations": all}))?;
    Ok(Exit::Ok)
}

async fn list_objects(call: &Call, source: &Source, out: &Out) -> Result<Exit, Failure> {
    call.only(&["namespace"])?;
    let namespace = call.namespace()?;
    let connector = source.connect(&Options::new()).await?;
    let (namespaces, tables) = match (connector.namespaces(), namespace.as_slice()) {
        (Some(ability), []) => (ability.list_namespaces(&[]).await?, connector.list_tables().await?),
        (Some(ability), namespace) => {
            (ability.list_namespaces(namespace).await?, ability.list_tables_in_namespace(namespace).await?)
        }
        (None, []) => (Vec::new(), connector.list_tables().await?),
        (None, _) => {
            return Err(Failure::usage("the source has no namespaces").hint("leave `namespace` out"));
        }
    };
    out.json(&json!({"namespaces": namespaces, "tables": tables}))?;
    Ok(Exit::Ok)
}

async fn get_object_metadata(call: &Call, source: &Source, out: &Out) -> Result<Exit, Failure> {
    call.only(&["table", "options"])?;
    let table = call.table()?;
    let Described { schema, metadata, .. } = Described::of(source, table, &call.options()?).await?;
    out.json(&json!({
        "table": table, "schema": schema.to_json(), "primary_keys": metadata.primary_keys,
        "cursor_field": metadata.cursor_field, "ingestion_type": metadata.ingestion_type,
    }))?;
    Ok(Exit::Ok)
}

async fn read_table(call: &Call, source: &Source, out: &Out) -> Result<Exit, Failure> {
    call.only(&["table", "options", "limit", "start_offset"])?;
    let table = call.table()?;
    let limit = call.limit()?;
    let Described { options, connector, schema, metadata } =
        Described::of(source, table, &call.options()?).await?;
    let start = call.start.clone().or_else(|| metadata.ingestion_type.is_stream().then(Offset::empty));
    let mut head = Map::new();
    head.insert("table".into(), json!(table));
    let mut preview = Preview::new(
        &schema,
        source.factory.profile(),
        limit,
        RowPrinter::start(out, schema.clone(), head)?,
    )?;
    preview.read(connector.as_ref(), table, start, &options).await?;
    if let (bad, Some(reason)) = preview.finish()? {
        out.warn(&format!(
            "{bad} of the records read do not fit the schema and are left out, the first because: {reason}"
        ));
    }
    Ok(Exit::Ok)
}

async fn validate_connection(call: &Call, source: &Source, out: &Out) -> Result<Exit, Failure> {
    call.only(&[])?;
    let connector: Box<dyn Connector> = source.connect(&Options::new()).await?;
    connector.test_connection().await?;
    out.json(&json!({"ok": true}))?;
    Ok(Exit::Ok)
}

/// The arguments of an operation.
struct Call {
    arguments: Map<String, Value>,
    /// The offset to read from, to the last digit.
    start: Option<Offset>,
}

/// What must not go through a number of 64 bits.
#[derive(Default, serde::Deserialize)]
struct Exact<'a> {
    #[serde(borrow, default)]
    start_offset: Option<&'a serde_json::value::RawValue>,
}

impl Call {
    fn parse(text: &str) -> Result<Self, Failure> {
        let mut read = String::new();
        let text = if text == "-" {
            let mut input = std::io::stdin().lock().take(MAX_ARGUMENTS_BYTES);
            input
                .read_to_string(&mut read)
                .map_err(|e| Failure::other("stdin cannot be read", &e).with_exit(Exit::Usage))?;
            read.as_str()
        } else {
            text
        };
        match serde_json::from_str(text) {
            Ok(Value::Object(arguments)) => {
                let exact: Exact<'_> = serde_json::from_str(text).unwrap_or_default();
                let start = exact.start_offset.map(|raw| Offset::from_json(raw.get()));
                let start = start
                    .transpose()
                    .map_err(|_| Self::wrong("start_offset", "an offset of the connector"))?;
                Ok(Self { arguments, start })
            }
            Ok(_) => Err(Failure::usage("the arguments are JSON, but no object")
                .hint(r#"such as '{"table": "orders"}'"#)),
            Err(e) => Err(Failure::other("the arguments are not JSON", &e)
                .with_exit(Exit::Usage)
                .hint(r#"such as '{"table": "orders"}'"#)),
        }
    }

    fn only(&self, known: &[&str]) -> Result<(), Failure> {
        let Some(unknown) = self.arguments.keys().find(|name| !known.contains(&name.as_str())) else {
            return Ok(());
        };
        let known: Vec<String> = known.iter().map(|&k| k.to_owned()).collect();
        Err(Failure::usage(format!("the operation takes no argument `{unknown}`")).hint(names::hint(
            unknown,
            &known,
            "arguments",
            "it takes none",
        )))
    }

    fn wrong(name: &str, expected: &str) -> Failure {
        Failure::usage(format!("argument `{name}` must be {expected}"))
    }

    fn table(&self) -> Result<&str, Failure> {
        match self.arguments.get("table") {
            None => {
                Err(Failure::usage("argument `table` is missing").hint("`list_objects` lists the tables"))
            }
            Some(table) => table.as_str().ok_or_else(|| Self::wrong("table", "a text")),
        }
    }

    fn options(&self) -> Result<Vec<(String, String)>, Failure> {
        let Some(options) = self.arguments.get("options") else { return Ok(Vec::new()) };
        let options = options.as_object().ok_or_else(|| Self::wrong("options", "an object of texts"))?;
        // Lists and objects reach a connector as JSON text.
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        Ok(options.iter().map(|(name, value)| (name.clone(), text(value))).collect())
    }

    fn limit(&self) -> Result<u64, Failure> {
        match self.arguments.get("limit") {
            None => Ok(DEFAULT_LIMIT),
            Some(limit) => limit
                .as_u64()
                .filter(|limit| *limit > 0)
                .ok_or_else(|| Self::wrong("limit", "an integer above zero")),
        }
    }

    fn namespace(&self) -> Result<Vec<String>, Failure> {
        let wrong = || Self::wrong("namespace", "a list of texts");
        match self.arguments.get("namespace") {
            None | Some(Value::Null) => Ok(Vec::new()),
            Some(Value::String(one)) => Ok(vec![one.clone()]),
            Some(Value::Array(parts)) => {
                parts.iter().map(|part| part.as_str().map(str::to_owned).ok_or_else(wrong)).collect()
            }
            Some(_) => Err(wrong()),
        }
    }
}
