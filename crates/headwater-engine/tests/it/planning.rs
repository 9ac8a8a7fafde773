//! What a table is and how it will be handled, before anything is read.

use std::sync::Arc;

use headwater_connect::{DataType, IngestionType, Options, StructField};
use headwater_engine::{
    Engine, EngineSettings, FullRefresh, Reading, ScdType, TablePlan, UpdateError, UpdateRequest,
};
use headwater_lake::{SchemaChange, WriteMode};

use serde_json::{Value, json};

use crate::faults::Faults;
use crate::model_lake::{ModelLake, Storage};
use crate::source::{Script, Source, Style};
use crate::support::{pipeline, request, run, table};

fn engine(storage: &Storage) -> Engine {
    Engine::new(Arc::new(ModelLake::new(storage, &Faults::none())), EngineSettings::default())
}

fn script(ingestion_type: IngestionType) -> Script {
    let mut script = Script::new(ingestion_type, []);
    script.schema.fields.push(StructField::nullable("updatedAt", DataType::Timestamp));
    script.metadata.cursor_field = Some("updatedAt".into());
    script
}

/// Plans one table: the plan, or the error and its hint.
async fn planned(script: Script, configuration: Value) -> Result<TablePlan, String> {
    let plan = engine(&Storage::default()).plan(&request(script, configuration)).await.unwrap();
    let one = plan.tables.into_iter().next().unwrap();
    one.plan.map_err(|error| format!("{error} | {}", error.hint().unwrap_or_default()))
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[tokio::test]
async fn the_ingestion_type_and_the_scd_type_decide_how_rows_are_written() {
    use IngestionType::{Append, Cdc, CdcWithDeletes, Snapshot};
    let check = async |ingestion_type, scd_type: Option<ScdType>, expect: Result<WriteMode, &str>| {
        let configuration = scd_type.map_or(json!({}), |scd_type| json!({"scd_type": scd_type.as_str()}));
        match (planned(script(ingestion_type), configuration).await, expect) {
            (Ok(plan), Ok(mode)) => assert_eq!(plan.mode, mode, "{ingestion_type} {scd_type:?}"),
            (Err(error), Err(expect)) => assert!(error.contains(expect), "{error}"),
            (got, _) => panic!("{ingestion_type} {scd_type:?}: {got:?}"),
        }
    };
    let (one, two, only) = (Some(ScdType::Type1), Some(ScdType::Type2), Some(ScdType::AppendOnly));
    let auto_cdc = "needs AUTO CDC, which this version does not have | set `scd_type: APPEND_ONLY`";
    for scd_type in [None, one, only] {
        check(Append, scd_type, Ok(WriteMode::Append)).await;
    }
    check(Snapshot, None, Ok(WriteMode::Snapshot)).await;
    check(Snapshot, one, Ok(WriteMode::Snapshot)).await;
    for ingestion_type in [Snapshot, Cdc, CdcWithDeletes] {
        check(ingestion_type, only, Ok(WriteMode::Append)).await;
        check(ingestion_type, two, Err(auto_cdc)).await;
    }
    check(Append, two, Err(auto_cdc)).await;
    check(Cdc, None, Err("is `cdc`, and keeping it as SCD_TYPE_1 needs AUTO CDC")).await;
    check(CdcWithDeletes, one, Err(auto_cdc)).await;
}

#[tokio::test]
async fn a_table_that_needs_auto_cdc_fails_before_it_is_read() {
    let script = script(IngestionType::Cdc);
    let storage = Storage::default();
    let report = run(&storage, request(script.clone(), json!({}))).await;
    assert!(crate::support::error_text(&report).contains("AUTO CDC"));
    assert!(script.starts().is_empty(), "nothing is read");
    assert!(storage.lock().unwrap().is_empty(), "nothing is written");
}

#[tokio::test]
async fn deletions_that_are_not_read_are_warned_of() {
    let configuration = json!({"scd_type": "APPEND_ONLY"});
    let plan = planned(script(IngestionType::CdcWithDeletes), configuration).await.unwrap();
    assert!(plan.warnings[0].contains("deletions of `orders` are not read"), "{:?}", plan.warnings);
}

#[tokio::test]
async fn settings_that_name_columns_are_checked_against_the_schema() {
    let check = async |configuration: Value, expect: &str| {
        let error = planned(script(IngestionType::Append), configuration).await.unwrap_err();
        assert_eq!(error, expect);
    };
    check(
        json!({"primary_keys": ["idd"]}),
        "`primary_keys` of table `orders` names `idd`, which is not a column | did you mean `id`?",
    )
    .await;
    check(
        json!({"sequence_by": "updated_at"}),
        "`sequence_by` of table `orders` names `updated_at`, which is not a column | did you mean `updatedAt`?",
    )
    .await;
    check(
        json!({"include_columns": "price"}),
        "`include_columns` of table `orders` names `price`, which is not a column | there are: id, name, updatedAt",
    )
    .await;
    check(
        json!({"exclude_columns": "id"}),
        "`exclude_columns` of table `orders` leaves out `id`, which `primary_keys` needs | keep `id`, or name other columns in `primary_keys`",
    )
    .await;
    check(
        json!({"include_columns": "id,name"}),
        "`include_columns` of table `orders` leaves out `updatedAt`, which `sequence_by` needs | keep `updatedAt`, or name other columns in `sequence_by`",
    )
    .await;
}

#[tokio::test]
async fn names_are_found_in_any_case_and_take_the_schemas_spelling() {
    let configuration = json!({
        "primary_keys": "ID", "sequence_by": "UPDATEDAT", "cluster_by": "Id", "exclude_columns": "NAME",
    });
    let plan = planned(script(IngestionType::Append), configuration).await.unwrap();
    assert_eq!(plan.primary_keys, ["id"]);
    assert_eq!(plan.sequence_by.as_deref(), Some("updatedAt"));
    assert_eq!(plan.cluster_by, ["id"]);
    let kept: Vec<&str> = plan.schema.fields.iter().map(|field| field.name.as_str()).collect();
    assert_eq!(kept, ["id", "updatedAt"]);
}

#[tokio::test]
async fn a_connector_that_names_columns_it_does_not_have_is_warned_of() {
    let mut script = script(IngestionType::Append);
    script.metadata.primary_keys = names(&["id", "missing"]);
    let plan = planned(script, json!({})).await.unwrap();
    assert_eq!(plan.primary_keys, ["id"]);
    assert!(plan.warnings[0].contains("`missing`"), "{:?}", plan.warnings);
}

#[tokio::test]
async fn a_schema_that_breaks_its_rules_is_an_error() {
    let mut script = script(IngestionType::Append);
    script.schema.fields.push(StructField::nullable("ID", DataType::String));
    let error = planned(script, json!({})).await.unwrap_err();
    assert!(error.contains("gives a schema for table `orders` that cannot be used"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_plan_tells_changes_and_where_the_offset_stands_and_changes_nothing() {
    let storage = Storage::default();
    let source = Source::new(IngestionType::Append, Style::Parts, 5);
    let request = request(source, json!({}));
    let plan = engine(&storage).plan(&request).await.unwrap();
    let one = plan.tables[0].plan.as_ref().unwrap();
    assert_eq!(
        (one.changes.as_slice(), one.reading),
        ([SchemaChange::Create].as_slice(), Reading::StreamParts)
    );
    assert!(one.state.is_none());
    assert!(storage.lock().unwrap().is_empty());
    run(&storage, request.clone()).await;
    let plan = engine(&storage).plan(&request).await.unwrap();
    let one = plan.tables[0].plan.as_ref().unwrap();
    assert!(one.changes.is_empty());
    assert_eq!(one.state.as_ref().unwrap().offset.as_ref().unwrap().as_json(), r#"{"at":5}"#);
}

fn schema_object(namespace: Option<&str>, exclude: &[&str]) -> Value {
    json!({"schema": {"source_schema": namespace, "exclude": exclude, "destination_schema": "raw"}})
}

fn many(objects: Vec<Value>) -> UpdateRequest {
    let mut source = Source::new(IngestionType::Append, Style::Plain, 1);
    source.tables = names(&["orders", "customers", "events"]);
    UpdateRequest::new(pipeline(objects), Arc::new(source), Options::new())
}

async fn destinations(request: UpdateRequest) -> Result<Vec<String>, UpdateError> {
    let plan = engine(&Storage::default()).plan(&request).await?;
    Ok(plan.tables.into_iter().map(|table| table.plan.unwrap().destination.to_string()).collect())
}

#[tokio::test]
async fn schema_objects_stand_for_their_tables() {
    let all = destinations(many(vec![schema_object(None, &["Events"])])).await.unwrap();
    assert_eq!(all, ["main.raw.customers", "main.raw.orders"]);
    let all = destinations(many(vec![schema_object(Some("shop"), &[])])).await.unwrap();
    assert_eq!(all, ["main.raw.customers", "main.raw.events", "main.raw.orders"]);
    let all = vec![schema_object(None, &["events", "orders", "customers"])];
    assert!(matches!(destinations(many(all)).await, Err(UpdateError::NoTables)));
}

/// What is wrong, with its place in the spec, and what may stand there.
async fn complaint(request: UpdateRequest) -> String {
    let Err(UpdateError::Spec { source }) = destinations(request).await else { panic!("the spec is fine") };
    let [error] = source.errors.as_slice() else { panic!("{source:?}") };
    format!("{error} | {}", error.allowed.join(", "))
}

#[tokio::test]
async fn two_tables_never_share_a_destination() {
    let other = json!({"table": {"source_table": "events", "destination_catalog": "Main", "destination_table": "orders"}});
    let complaint = complaint(many(vec![table(json!({})), other])).await;
    let expect = "objects[1].table.destination_table: `Main.shop.orders` is already the destination of `objects[0].table` (line 1)";
    assert!(complaint.contains(expect), "{complaint}");
}

#[tokio::test]
async fn a_namespace_must_be_one_of_the_source_for_a_single_table_too() {
    let of = |namespace: &str, table: &str| {
        many(vec![json!({"table": {"source_schema": namespace, "source_table": table}})])
    };
    for namespace in ["shop", "shop.eu"] {
        assert_eq!(destinations(of(namespace, "orders")).await.unwrap(), ["main.shop.orders"]);
    }
    let check = async |namespace: &str, table: &str, expect: &str| {
        let complaint = complaint(of(namespace, table)).await;
        assert!(complaint.ends_with(expect), "{complaint}");
    };
    check("shpo", "orders", "objects[0].table.source_schema: the source has no namespace `shpo` | shop")
        .await;
    check(
        "shop.us",
        "orders",
        "objects[0].table.source_schema: the source has no namespace `shop.us` | shop, shop.eu",
    )
    .await;
    check(
        "shop",
        "ordres",
        "objects[0].table.source_table: namespace `shop` has no table `ordres` | customers, events, orders",
    )
    .await;
    let mut request = of("shop", "orders");
    request.factory = Arc::new(script(IngestionType::Append));
    let complaint = complaint(request).await;
    assert!(complaint.contains("source_schema: connector `script` has no namespaces"), "{complaint}");
}

#[tokio::test]
async fn tables_are_chosen_by_either_name() {
    let mut request = many(vec![schema_object(None, &[])]);
    request.tables = Some(names(&["ORDERS", "main.raw.events"]));
    assert_eq!(destinations(request.clone()).await.unwrap(), ["main.raw.events", "main.raw.orders"]);
    request.full_refresh = FullRefresh::Tables(names(&["order"]));
    let error = destinations(request).await.unwrap_err();
    assert_eq!(error.hint().as_deref(), Some("did you mean `orders`?"));
}
