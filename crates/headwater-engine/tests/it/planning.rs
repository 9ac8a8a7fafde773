//! What a table is and how it will be handled, before anything is read.

use std::sync::Arc;

use headwater_connect::{DataType, IngestionType, Options, StructField, StructType};
use headwater_engine::{
    Engine, EngineSettings, FullRefresh, Reading, ScdType, TablePlan, UpdateError, UpdateRequest,
};
use headwater_lake::{Feed, SchemaChange, TrackHistory, WriteMode};

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

/// How the rows are written, in few words.
fn mode_text(plan: &TablePlan) -> String {
    match &plan.mode {
        WriteMode::Append => "append".into(),
        WriteMode::Snapshot => "replace".into(),
        WriteMode::Cdc(cdc) => {
            let feed = match cdc.feed {
                Feed::Snapshot { .. } => "snapshot",
                Feed::Upserts => "upserts",
                Feed::Deletes => "deletes",
            };
            let deletes = if plan.deletes_flow.is_some() { " and deletes" } else { "" };
            let sequence = cdc.sequence_by.as_deref().unwrap_or("-");
            format!("{:?} {feed}{deletes} by {} in order of {sequence}", cdc.scd_type, cdc.keys.join(","))
        }
    }
}

#[tokio::test]
async fn the_ingestion_type_and_the_scd_type_decide_how_rows_are_written() {
    use IngestionType::{Append, Cdc, CdcWithDeletes, Snapshot};
    let check = async |ingestion_type, scd_type: Option<ScdType>, expect: &str| {
        let configuration = scd_type.map_or(json!({}), |scd_type| json!({"scd_type": scd_type.as_str()}));
        let got = planned(script(ingestion_type), configuration).await;
        let got = got.map_or_else(|error| error, |plan| mode_text(&plan));
        assert_eq!(got, expect, "{ingestion_type} {scd_type:?}");
    };
    let (one, two, only) = (Some(ScdType::Type1), Some(ScdType::Type2), Some(ScdType::AppendOnly));
    for scd_type in [None, one, only] {
        check(Append, scd_type, "append").await;
    }
    let no_history = "`scd_type` of table `orders` is SCD_TYPE_2, but its records never change, so that there is no history to keep | take it out, or set it to APPEND_ONLY";
    check(Append, two, no_history).await;
    for ingestion_type in [Snapshot, Cdc, CdcWithDeletes] {
        check(ingestion_type, only, "append").await;
    }
    for scd_type in [None, one] {
        check(Snapshot, scd_type, "One snapshot by id in order of -").await;
        check(Cdc, scd_type, "One upserts by id in order of updatedAt").await;
        check(CdcWithDeletes, scd_type, "One upserts and deletes by id in order of updatedAt").await;
    }
    check(Snapshot, two, "Two snapshot by id in order of -").await;
    check(Cdc, two, "Two upserts by id in order of updatedAt").await;
    check(CdcWithDeletes, two, "Two upserts and deletes by id in order of updatedAt").await;
}

#[tokio::test]
async fn keys_and_a_sequence_are_asked_for_where_they_are_needed() {
    use IngestionType::{Append, Cdc, CdcWithDeletes, Snapshot};
    let keyless = |ingestion_type| {
        let mut script = script(ingestion_type);
        script.metadata.primary_keys.clear();
        script
    };
    for (ingestion_type, configuration) in [
        (Cdc, json!({})),
        (CdcWithDeletes, json!({"scd_type": "SCD_TYPE_1"})),
        (Snapshot, json!({"scd_type": "SCD_TYPE_2"})),
    ] {
        let error = planned(keyless(ingestion_type), configuration).await.unwrap_err();
        assert!(
            error.starts_with("`primary_keys` of table `orders` must say what tells records apart"),
            "{error}"
        );
        assert!(error.ends_with("set `primary_keys` in its `table_configuration`"), "{error}");
        let plan = planned(keyless(ingestion_type), json!({"primary_keys": "name"})).await.unwrap();
        assert_eq!(plan.primary_keys, ["name"]);
    }
    let replaced = planned(keyless(Snapshot), json!({})).await.unwrap();
    assert_eq!(mode_text(&replaced), "replace");
    for (ingestion_type, scd_type) in [(Append, "SCD_TYPE_1"), (Cdc, "APPEND_ONLY")] {
        let plan = planned(keyless(ingestion_type), json!({"scd_type": scd_type})).await.unwrap();
        assert_eq!(mode_text(&plan), "append");
    }
    let orderless = || {
        let mut script = script(Cdc);
        script.metadata.cursor_field = None;
        script
    };
    let error = planned(orderless(), json!({})).await.unwrap_err();
    assert!(error.starts_with("`sequence_by` of table `orders` must say what orders its changes"), "{error}");
    let plan = planned(orderless(), json!({"sequence_by": "ID"})).await.unwrap();
    assert_eq!(mode_text(&plan), "One upserts by id in order of id");
    // What the connector names wrongly is no longer harmless.
    let mut wrong = script(Cdc);
    wrong.metadata.primary_keys = names(&["id", "missing"]);
    let error = planned(wrong, json!({})).await.unwrap_err();
    assert!(
        error.starts_with("`primary_keys` of table `orders` of the connector names `missing`"),
        "{error}"
    );
}

#[tokio::test]
async fn a_sequence_may_lie_in_a_struct_and_need_not_be_kept() {
    let nested = || {
        let mut script = script(IngestionType::Cdc);
        let inner = StructType::new([
            StructField::nullable("Version", DataType::Long),
            StructField::nullable("author", DataType::String),
        ]);
        script.schema.fields.push(StructField::nullable("meta", DataType::Struct(inner)));
        script
    };
    let plan = planned(nested(), json!({"sequence_by": "META.version"})).await.unwrap();
    assert_eq!(mode_text(&plan), "One upserts by id in order of meta.Version");
    let plan =
        planned(nested(), json!({"sequence_by": "meta.version", "exclude_columns": "meta"})).await.unwrap();
    assert_eq!(mode_text(&plan), "One upserts by id in order of __SEQUENCE");
    let last = plan.schema.fields.last().unwrap();
    assert_eq!((last.name.as_str(), &last.data_type), ("__SEQUENCE", &DataType::Long));
    assert_eq!(plan.sequence_by.as_deref(), Some("meta.Version"));
    let check = async |path: &str, expect: &str| {
        let error = planned(nested(), json!({"sequence_by": path})).await.unwrap_err();
        assert_eq!(error, format!("`sequence_by` of table `orders` names `{path}`, {expect}"));
    };
    check("meta.versoin", "but `meta` has no field `versoin` | did you mean `Version`?").await;
    check("id.x", "but `id` is not a struct | did you mean `id`?").await;
    check("mta.version", "which is not a column | there are: id, name, updatedAt, meta").await;
}

#[tokio::test]
async fn what_begins_a_record_of_a_history_is_checked_against_the_columns() {
    let two = |more: Value| {
        let mut configuration = json!({"scd_type": "SCD_TYPE_2"});
        configuration.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        planned(script(IngestionType::Cdc), configuration)
    };
    let track = async |more: Value| match two(more).await.unwrap().mode {
        WriteMode::Cdc(cdc) => cdc.track,
        other => panic!("{other:?}"),
    };
    assert_eq!(track(json!({})).await, TrackHistory::All);
    assert_eq!(track(json!({"track_history_columns": "NAME"})).await, TrackHistory::Only(names(&["name"])));
    let except = json!({"track_history_except_columns": ["updatedat"]});
    assert_eq!(track(except).await, TrackHistory::Except(names(&["updatedAt"])));
    // A column that is not kept need not be excepted as well.
    let gone = json!({"track_history_except_columns": ["updatedAt"], "exclude_columns": ["updatedAt"]});
    assert_eq!(track(gone).await, TrackHistory::All);
    let check = async |more: Value, expect: &str| {
        let error = two(more).await.unwrap_err();
        assert!(error.contains(expect), "{error}");
    };
    for setting in ["track_history_columns", "track_history_except_columns"] {
        check(
            json!({setting: ["nme"]}),
            &format!(
                "`{setting}` of table `orders` names `nme`, which is not a column | did you mean `name`?"
            ),
        )
        .await;
        check(
            json!({setting: ["id"]}),
            &format!("`{setting}` of table `orders` names `id`, which is part of the key"),
        )
        .await;
    }
    let retention =
        planned(script(IngestionType::Cdc), json!({"tombstone_retention": "2d", "deletion_vectors": false}));
    let WriteMode::Cdc(cdc) = retention.await.unwrap().mode else { panic!("changes by key") };
    assert_eq!(cdc.tombstone_retention, Some(std::time::Duration::from_secs(2 * 86_400)));
    assert_eq!(cdc.deletion_vectors, Some(false));
}

#[tokio::test]
async fn names_that_such_tables_have_for_themselves_are_refused() {
    let with = |column: &str| {
        let mut script = script(IngestionType::Cdc);
        script.schema.fields.push(StructField::nullable(column, DataType::Long));
        script
    };
    for (column, one, two) in [
        ("__START_AT", true, false),
        ("__end_at", true, false),
        ("__SEQUENCE", false, false),
        ("__Sequence_2", false, false),
        ("__START", true, true),
    ] {
        for (scd_type, fine) in [("SCD_TYPE_1", one), ("SCD_TYPE_2", two)] {
            let got = planned(with(column), json!({"scd_type": scd_type})).await;
            assert_eq!(got.is_ok(), fine, "{column} {scd_type}");
            if let Err(error) = got {
                assert!(
                    error.contains(&format!(
                        "column `{column}` of table `orders` has a name that is reserved"
                    )),
                    "{error}"
                );
                assert!(error.contains(&format!("`exclude_columns: [{column}]`")), "{error}");
            }
            planned(with(column), json!({"scd_type": scd_type, "exclude_columns": [column]})).await.unwrap();
        }
    }
    planned(with("__SEQUENCE"), json!({"scd_type": "APPEND_ONLY"})).await.unwrap();
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
