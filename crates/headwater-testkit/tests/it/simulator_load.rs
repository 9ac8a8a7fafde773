//! Descriptions: those in the simple form as they are, and what is wrong with others.

use std::path::Path;

use headwater_testkit::simulator::Description;
use serde_json::json;

use super::simulator_client::{folder, get, start};

/// As the simple form has it, with nothing of what we add.
const SIMPLE: &str = r#"
# A public library's catalogue, which nobody has.
endpoints:
  - path: /v1/branches
    method: GET
    corpus: branches
    response:
      pagination_style: none

  - path: /v1/branches/{branch_id}/loans
    method: GET
    corpus: loans
    strict_params: true
    params:
      updated_after:
        role: filter
        field: updated_at
        op: gt
      state:
        role: filter
        field: state
        op: in
      reader:
        role: filter
        field: reader.card
        op: starts_with
      sort:
        role: sort_by
        options: [updated_at, due_on]
      direction:
        role: sort_order
        options: [asc, desc]
      page:
        role: page
      per_page:
        role: per_page
        default: 2
        max: 50
      fields:
        role: ignore
    response:
      pagination_style: page_number_with_link_header
      default_sort: updated_at asc
      wrapper:
        records_key: loans
        extras:
          api_version: "1.4"
          warnings: []
        ignore_extra_keys: [request_id]
      expected_status_codes: [200]
    synthesize_future_records:
      cursor_field: updated_at
      count: 3

  - path: /v1/me
    corpus: me
    response:
      single_entity: true

  - path: /v1/reports
    method: POST
    handler: library.simulator.reports
"#;

#[tokio::test]
async fn a_description_in_the_simple_form_loads_and_answers() {
    let simulator = start(
        SIMPLE,
        &[
            ("branches", json!([{"id": "north"}, {"id": "south"}])),
            (
                "loans",
                json!([
                    {"id": 1, "state": "out", "updated_at": "2024-03-03T09:00:00Z", "reader": {"card": "A-1"}},
                    {"id": 2, "state": "back", "updated_at": "2024-03-01T09:00:00Z", "reader": {"card": "B-1"}},
                    {"id": 3, "state": "lost", "updated_at": "2024-03-02T09:00:00Z", "reader": {"card": "A-2"}}
                ]),
            ),
            ("me", json!({"name": "catalogue"})),
        ],
    );
    assert_eq!(get(&simulator, "/v1/branches").await.all("id"), [json!("north"), json!("south")]);
    let first = get(&simulator, "/v1/branches/north/loans").await;
    let body = first.json();
    assert_eq!((&body["api_version"], &body["warnings"]), (&json!("1.4"), &json!([])));
    let ids: Vec<_> = body["loans"].as_array().unwrap().iter().map(|loan| loan["id"].clone()).collect();
    assert_eq!(ids, [json!(2), json!(3)]);
    assert!(first.header("link").unwrap().contains("page=2>; rel=\"next\""));
    let some =
        get(&simulator, "/v1/branches/x/loans?state=out,back&reader=A&sort=due_on&direction=desc&fields=id")
            .await;
    assert_eq!(some.json()["loans"].as_array().unwrap().len(), 1);
    assert_eq!(get(&simulator, "/v1/branches/x/loans?colour=red").await.status, 400);
    assert_eq!(get(&simulator, "/v1/me").await.json(), json!({"name": "catalogue"}));
    assert_eq!(super::simulator_client::ask(&simulator, "POST /v1/reports", "", "").await.status, 501);
}

fn errors(endpoints: &str) -> Vec<String> {
    let folder = folder(endpoints, &[("ships", json!([{"id": 1}])), ("one", json!({"a": 1}))]);
    let errors = Description::load(folder.path()).expect_err(endpoints);
    let prefix = format!("{}/", folder.path().display());
    errors
        .errors
        .iter()
        .map(|e| {
            let near = e.nearest.as_ref().map(|near| format!(" ({near}?)")).unwrap_or_default();
            format!("{}{near}", e.to_string().replace(&prefix, ""))
        })
        .collect()
}

#[test]
fn every_mistake_is_told_at_once_with_its_place() {
    let text = "endpoints:
  - path: /a
    corpus: shipps
    methd: GET
    params:
      x: {role: filtr, field: a}
      y: {role: filter, op: equals}
      z: {role: per_page, max: many}
    response: {pagination_style: page_numbers, default_sort: a b c, wraper: {}}
  - method: FETCH
    corpus: ships
  - path: b
    corpus: ships
    state: true
    faults: [{kind: rest}, {kind: reset, nth: 0}, {kind: reset, nth: 1, every: 2}]
    auth: {prefix: x}
    rate_limit: {window_seconds: 1}
    grow: {records: 10, keys: [uid]}
    path_params: {id: ignore}
  - path: /c
";
    let expect = [
        "endpoints.yaml:3:13: endpoints[0].corpus: `shipps` is not a value of `corpus` (ships?)",
        "endpoints.yaml:4:5: endpoints[0].methd: unknown field `methd` (method?)",
        "endpoints.yaml:6:17: endpoints[0].params.x.role: `filtr` is not a value of `role` (filter?)",
        "endpoints.yaml:7:29: endpoints[0].params.y.op: `equals` is not a value of `op` (eq?)",
        "endpoints.yaml:8:32: endpoints[0].params.z.max: expected a whole number from 0, found the text `many`",
        "endpoints.yaml:9:34: endpoints[0].response.pagination_style: `page_numbers` is not a value of `pagination_style` (page_number?)",
        "endpoints.yaml:9:62: endpoints[0].response.default_sort: `a b c` is not a field and a direction",
        "endpoints.yaml:9:69: endpoints[0].response.wraper: unknown field `wraper` (wrapper?)",
        "endpoints.yaml:10:5: endpoints[1]: missing field `path`",
        "endpoints.yaml:10:13: endpoints[1].method: `FETCH` is not a value of `method`",
        "endpoints.yaml:12:11: endpoints[2].path: `b` does not start with `/`",
        "endpoints.yaml:14:12: endpoints[2].state: GET changes nothing by itself",
        "endpoints.yaml:15:21: endpoints[2].faults[0].kind: `rest` is not a value of `kind` (reset?)",
        "endpoints.yaml:15:47: endpoints[2].faults[1].nth: expected a whole number from 1, found the number 0",
        "endpoints.yaml:15:51: endpoints[2].faults[2]: `nth` and `every` exclude each other",
        "endpoints.yaml:16:11: endpoints[2].auth: one of `header`, `query` is needed",
        "endpoints.yaml:17:17: endpoints[2].rate_limit: one of `requests`, `concurrent` is needed",
        "endpoints.yaml:18:31: endpoints[2].grow.keys: a record of the corpus has no `uid`",
        "endpoints.yaml:20:5: endpoints[3]: one of `corpus`, `handler` is needed",
    ];
    assert_eq!(errors(text), expect);
}

#[test]
fn files_that_cannot_be_read_are_told_with_what_should_be_there() {
    assert_eq!(errors("things: []\n").len(), 2);
    assert_eq!(errors("- path: /a\n"), ["endpoints.yaml:1:1: expected a map, found a list"]);
    let many = errors("endpoints:\n- {path: /a, corpus: ships, grow: {records: 9000000000000}}\n");
    assert!(many[0].contains("is more than 1000000000"), "{many:?}");
    assert!(errors("endpoints: [\n")[0].contains("not valid YAML"));
    assert!(
        errors("endpoints:\n- {path: /a, corpus: ships, path_params: {id: ignore}}\n")[0]
            .contains("unknown field `id`")
    );
    let missing = Description::load(Path::new("/nonexistent")).unwrap_err();
    assert!(missing.to_string().contains("/nonexistent/endpoints.yaml:1:1: it cannot be read"), "{missing}");

    let folder = folder("endpoints: [{path: /a, corpus: a}]\n", &[]);
    let corpus = folder.path().join("corpus/a.json");
    for (text, expect) in
        [("[{\"id\": 1},\n {\"id\" 2}]", "a.json:2:8"), ("12", "single value"), ("", "a.json:1:1")]
    {
        std::fs::write(&corpus, text).unwrap();
        let errors = Description::load(folder.path()).unwrap_err().to_string();
        assert!(errors.contains(expect), "{text}: {errors}");
    }
    std::fs::remove_file(&corpus).unwrap();
    let errors = Description::load(folder.path()).unwrap_err();
    assert!(errors.to_string().contains("is no file in the folder `corpus`"), "{errors}");
}
