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
