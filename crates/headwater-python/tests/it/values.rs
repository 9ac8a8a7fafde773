//! Python values, from a connector through the worker and the decoder to what lands.

use std::path::Path;

use headwater_connect::{Options, Page, ReadItem};

use futures::TryStreamExt;
use headwater_connect::DataType;
use serde_json::value::RawValue;

use crate::landing::{INDISTINCT, check, lines};
use crate::support::Project;

/// Yields the values of the vectors, one record each.
const CONNECTOR: &str = r#"
import sys
sys.path.insert(0, TESTS)
import vectors
from databricks.labs.community_connector.interface import LakeflowConnect

class VectorsLakeflowConnect(LakeflowConnect):
    def list_tables(self): return ["vectors"]
    def get_table_schema(self, table_name, table_options): ...
    def read_table_metadata(self, table_name, table_options): ...
    def read_table(self, table_name, start_offset, table_options):
        return ({"v": vectors.decode(line["in"])} for line in vectors.lines("py")), None
"#;

#[derive(serde::Deserialize)]
struct Record {
    v: Box<RawValue>,
}

#[tokio::test(flavor = "multi_thread")]
async fn values_of_python_land_as_on_the_reference() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../python/tests").canonicalize().unwrap();
    let project = Project::new();
    let definition =
        project.python(&CONNECTOR.replace("TESTS", &format!("{:?}", tests.display().to_string())));
    let connector = project.connect(&definition).await;
    let none = Options::new();
    let mut stream = connector.read_table("vectors", None, &none);
    let mut sent: Vec<String> = Vec::new();
    while let Some(item) = stream.try_next().await.unwrap() {
        if let ReadItem::Page(Page::Json { body, .. }) = item {
            let records: Vec<Record> = serde_json::from_slice(&body).unwrap();
            sent.extend(records.into_iter().map(|record| record.v.get().to_owned()));
        }
    }
    let (mut equal, mut indistinct) = (0, 0);
    let mut failures = Vec::new();
    let expected: Vec<_> = lines().filter(|line| line.from == "py").collect();
    assert_eq!(sent.len(), expected.len());
    for (line, json) in expected.iter().zip(&sent) {
        let data_type = DataType::from_json(&line.r#type).unwrap().to_string();
        let known = INDISTINCT.iter().any(|(t, value, _)| *t == data_type && *value == line.r#in.get());
        match (check(line, json), known) {
            (Ok(_), false) => equal += 1,
            (Err(_), true) => indistinct += 1,
            (outcome, _) => failures.push(format!("{} as {json}: {outcome:?}", line.r#in)),
        }
    }
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
    assert_eq!((equal, indistinct), (104, INDISTINCT.len()));
}
