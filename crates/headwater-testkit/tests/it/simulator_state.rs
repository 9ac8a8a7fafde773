//! Requests that change records, and changes from outside.

use headwater_testkit::simulator::{ChangeError, Simulator};
use serde_json::json;

use super::simulator_client::{ask, get, start};

const ENDPOINTS: &str = "
endpoints:
  - path: /{owner}/ships
    corpus: ships
    path_params: {owner: {role: filter, field: owner}}
  - path: /{owner}/ships
    method: POST
    corpus: ships
    path_params: {owner: {role: filter, field: owner}}
    state: {body_key: ship, set: {id: next, uid: uuid, updated_at: now, made_by: '{owner}', kind: ship}}
    response: {wrapper: {records_key: ship}}
  - path: /ships/{id}
    method: PATCH
    corpus: ships
    path_params: {id: {role: filter, field: id}}
    state: {set: {updated_at: now}}
  - path: /ships/{id}
    method: PUT
    corpus: ships
    path_params: {id: {role: filter, field: id}}
    state: true
  - path: /ships/{id}
    method: DELETE
    corpus: ships
    path_params: {id: {role: filter, field: id}}
    state: {deleted_to: gone, deleted_set: {deleted_at: now}}
  - path: /gone
    corpus: gone
";

const JSON: &str = "Content-Type: application/json\r\n";

fn simulator() -> Simulator {
    start(
        ENDPOINTS,
        &[("ships", json!([{"id": 7, "owner": "ann", "a": {"b": 1, "c": 2}}, {"id": 3, "owner": "bo"}]))],
    )
}

#[tokio::test]
async fn what_is_written_is_read() {
    let simulator = simulator();
    let got = ask(&simulator, "POST /ann/ships", JSON, "{\"ship\": {\"name\": \"New\"}}").await;
    let ship = &got.json()["ship"];
    assert_eq!(
        (got.status, &ship["id"], &ship["owner"], &ship["made_by"]),
        (201, &json!(8), &json!("ann"), &json!("ann"))
    );
    assert_eq!(ship["uid"].as_str().unwrap().len(), 36);
    assert!(ship["updated_at"].as_str().unwrap().ends_with('Z'));
    assert_eq!(get(&simulator, "/ann/ships").await.all("id"), [json!(7), json!(8)]);

    let got = ask(&simulator, "PATCH /ships/7", JSON, "{\"a\": {\"b\": 5}}").await;
    assert_eq!((got.status, &got.json()["a"]), (200, &json!({"b": 5, "c": 2})));
    let got = ask(&simulator, "PUT /ships/3", JSON, "{\"owner\": \"ann\"}").await;
    assert_eq!(got.json(), json!({"owner": "ann", "id": 3}));

    assert_eq!(ask(&simulator, "DELETE /ships/7", "", "").await.status, 204);
    assert_eq!(ask(&simulator, "DELETE /ships/7", "", "").await.status, 404);
    assert_eq!(get(&simulator, "/ann/ships").await.all("id"), [json!(3), json!(8)]);
    let gone = get(&simulator, "/gone").await.json();
    assert_eq!((&gone[0]["id"], gone[0]["deleted_at"].is_string()), (&json!(7), true));

    simulator.control().reset();
    assert_eq!(get(&simulator, "/ann/ships").await.all("id"), [json!(7)]);
    assert_eq!(get(&simulator, "/gone").await.json(), json!([]));
}

#[tokio::test]
async fn what_cannot_be_written_is_refused() {
    let simulator = simulator();
    for (request, body, status, expect) in [
        ("POST /ann/ships", "{", 400, "no JSON"),
        ("POST /ann/ships", "{\"name\": 1}", 400, "no `ship`"),
        ("POST /ann/ships", "{\"ship\": [1]}", 400, "no JSON object"),
        ("PATCH /ships/99", "{}", 404, "no such record"),
    ] {
        let got = ask(&simulator, request, JSON, body).await;
        assert_eq!(got.status, status, "{request}");
        assert!(got.json()["message"].as_str().unwrap().contains(expect), "{request}: {got:?}");
    }
    assert_eq!(simulator.control().records("ships").unwrap().len(), 2);
}

#[tokio::test]
async fn records_change_from_outside() {
    let simulator = simulator();
    let control = simulator.control();
    control.insert("ships", json!({"id": 9, "owner": "ann"})).unwrap();
    assert_eq!(control.update("ships", "owner", &json!("ann"), &json!({"seen": true})), Ok(2));
    assert_eq!(control.delete("ships", "id", &json!(7)), Ok(1));
    assert_eq!(control.delete("ships", "id", &json!(7)), Ok(0));
    assert_eq!(get(&simulator, "/ann/ships").await.json(), json!([{"id": 9, "owner": "ann", "seen": true}]));
    let unknown = control.insert("boats", json!({}));
    assert!(
        matches!(unknown, Err(ChangeError::UnknownCorpus { ref known, .. }) if known == &["gone", "ships"])
    );
}

#[tokio::test]
async fn a_grown_corpus_can_change() {
    let text = "
endpoints:
  - path: /n
    corpus: n
    params: {page: page, per_page: per_page, name: {role: filter, field: name}}
    response: {default_sort: id}
    grow: {records: 1000}
  - {path: '/n/{id}', method: DELETE, corpus: n, path_params: {id: {role: filter, field: id}}, state: true}
";
    let simulator = start(text, &[("n", json!([{"id": 1, "name": "x"}, {"id": 2, "name": "y"}]))]);
    assert_eq!(get(&simulator, "/n?page=3&per_page=2").await.all("id"), [json!(5), json!(6)]);
    assert_eq!(ask(&simulator, "DELETE /n/5", "", "").await.status, 204);
    assert_eq!(get(&simulator, "/n?page=3&per_page=2").await.all("id"), [json!(6), json!(7)]);
    simulator.control().insert("n", json!({"id": 0, "name": "x"})).unwrap();
    assert_eq!(
        get(&simulator, "/n?name=x&per_page=4").await.all("id"),
        [json!(0), json!(1), json!(3), json!(7)]
    );
}
