//! Connectors in Python, through the worker that is brought along.

use headwater_connect::{IngestionType, Offset, Options, Profile};
use serde_json::json;

use crate::support::{Project, chain, drain, options};

const ISSUES: &str = r#"
import time
from databricks.labs.community_connector.interface import LakeflowConnect
from pyspark.sql.types import StructType, StructField, LongType, StringType

class IssuesLakeflowConnect(LakeflowConnect):
    """Reads issues."""
    def __init__(self, options):
        super().__init__(options)
        if "token" not in options:
            raise ValueError("option token is missing")
        self.token = options["token"]

    def list_tables(self):
        print("listing with", self.token)
        return ["issues", "broken"]

    def get_table_schema(self, table_name, table_options):
        return StructType([StructField("id", LongType(), False), StructField("title", StringType())])

    def read_table_metadata(self, table_name, table_options):
        return {"primary_keys": ["id"], "cursor_field": "id", "ingestion_type": "cdc", "extra": 1}

    def read_table(self, table_name, start_offset, table_options):
        if table_name == "broken":
            raise RuntimeError("refused: token=" + self.token)
        first = (start_offset or {}).get("next", 0)
        def rows():
            for n in range(first, min(first + 2500, 5000)):
                yield {"id": n, "title": "é %d" % n}
        return rows(), {"next": min(first + 2500, 5000)}
"#;

#[tokio::test]
async fn a_connector_is_read_unmodified() {
    let project = Project::new();
    let factory = project.factory(&project.python(ISSUES)).await;
    assert_eq!((factory.name(), factory.connector_spec(), factory.profile()), ("c", None, Profile::Python));
    let connector =
        factory.connect(&options(&[("Token", "hunter22"), ("tableName", "issues")])).await.unwrap();
    assert_eq!(connector.list_tables().await.unwrap(), ["issues", "broken"]);
    let none = Options::new();
    let schema = connector.get_table_schema("issues", &none).await.unwrap();
    assert_eq!(schema.fields.len(), 2);
    let metadata = connector.read_table_metadata("issues", &none).await.unwrap();
    assert_eq!(metadata.ingestion_type, IngestionType::Cdc);

    let mut at = Offset::empty();
    let mut all = Vec::new();
    loop {
        let (records, end) = drain(connector.read_table("issues", Some(&at), &none)).await.unwrap();
        all.extend(records);
        let end = end.unwrap();
        if end == at {
            break;
        }
        at = end;
    }
    assert_eq!(all.len(), 5000);
    assert_eq!(all[4999], json!({"id": 4999, "title": "é 4999"}));
    assert!(connector.memory_bytes() > 1_000_000, "{}", connector.memory_bytes());
    assert!(connector.partitions().is_none() && connector.namespaces().is_none());
}

#[tokio::test]
async fn an_exception_is_shown_with_its_place_and_without_secrets() {
    let project = Project::new();
    let factory = project.factory(&project.python(ISSUES)).await;
    let connector = factory.connect(&options(&[("token", "hunter22")])).await.unwrap();
    let none = Options::new();
    let error = drain(connector.read_table("broken", None, &none)).await.unwrap_err();
    let text = chain(&error);
    assert!(text.contains("RuntimeError: refused: token="), "{text}");
    assert!(text.contains("c.py:") && text.contains("in read_table"), "{text}");
    assert!(!text.contains("hunter22"), "{text}");
    // The worker is as good as before.
    assert_eq!(connector.list_tables().await.unwrap().len(), 2);
    let error = factory.connect(&Options::new()).await.err().unwrap();
    assert!(chain(&error).contains("option token is missing"), "{}", chain(&error));
}

const ODD: &str = r#"
from collections import namedtuple
from databricks.labs.community_connector.interface import LakeflowConnect, SupportsPartition
from pyspark.sql.types import ArrayType, LongType, StringType, StructType

class OddLakeflowConnect(LakeflowConnect, SupportsPartition):
    def list_tables(self):
        return ["t"]

    def get_table_schema(self, table_name, table_options):
        return StructType().add("says", StringType()).add("list", ArrayType(LongType())).add("n", LongType())

    def read_table_metadata(self, table_name, table_options):
        return {"ingestion_type": "snapshot"}

    def read_table(self, table_name, start_offset, table_options):
        return ({"says": value, "list": (1, 2)} for value in [(1, "2"), {"x"}, {"a": (None,)}, "text"]), None

    def get_partitions(self, table_name, table_options):
        return [{"n": 10**30, "f": 0.1 + 0.2, "nested": [{"big": -(2**64)}]}]

    def read_partition(self, table_name, partition, table_options):
        yield {"says": (partition["n"] == 10**30, partition["f"] == 0.1 + 0.2, partition["nested"]), "list": ()}
"#;

#[tokio::test]
async fn tuples_and_sets_are_text_in_columns_of_text_and_parts_keep_large_integers() {
    let project = Project::new();
    let connector = project.connect(&project.python(ODD)).await;
    let none = Options::new();
    connector.get_table_schema("t", &none).await.unwrap();
    let (records, _) = drain(connector.read_table("t", None, &none)).await.unwrap();
    let expect = ["(1, '2')", "{'x'}", "{'a': (None,)}", "text"];
    assert_eq!(records, expect.map(|says| json!({"says": says, "list": [1, 2]})));

    let ability = connector.partitions().unwrap();
    let parts = ability.get_partitions("t", &none).await.unwrap();
    assert!(parts[0].as_json().contains("1000000000000000000000000000000"), "{}", parts[0]);
    // Another worker is told of the columns as well.
    let (records, _) = drain(ability.read_partition("t", &parts[0], &none)).await.unwrap();
    let says = "(True, True, [{'big': -18446744073709551616}])";
    assert_eq!(records, [json!({"says": says, "list": []})]);
}
