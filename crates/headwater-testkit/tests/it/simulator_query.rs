//! Every role, operator and style.

use headwater_testkit::simulator::{HandlerAnswer, Settings, Simulator};
use serde_json::{Value, json};

use super::simulator_client::{ask, get, load, start};

fn ships() -> Value {
    json!([
        {"id": 1, "name": "Aurora", "built": "2001-03-01", "flag": {"code": "PT"}, "tonnes": 9.5,
         "seen_at": "2024-01-01T10:00:00Z", "tags": ["fast", "old"]},
        {"id": 2, "name": "Borealis", "built": "1999-07-12", "flag": {"code": "NO"}, "tonnes": 10,
         "seen_at": "2024-01-02T10:00:00+01:00", "tags": []},
        {"id": 3, "name": "Cassiopeia", "built": "2010-01-30", "flag": {"code": "PT"}, "tonnes": 100,
         "seen_at": "2024-01-03T10:00:00Z", "tags": ["old"]},
        {"id": 4, "name": "Draco", "built": null, "flag": {"code": "SE"}, "tonnes": 1e3,
         "seen_at": "2024-01-04T10:00:00Z"}
    ])
}

/// One endpoint over the ships, with these lines below it.
fn endpoint(lines: &str) -> Simulator {
    let indented: String = lines.lines().map(|line| format!("    {line}\n")).collect();
    start(&format!("endpoints:\n  - path: /ships\n    corpus: ships\n{indented}"), &[("ships", ships())])
}

async fn check(simulator: &Simulator, query: &str, expect: &[u64]) {
    let got = get(simulator, &format!("/ships?{query}")).await;
    let ids: Vec<Value> = expect.iter().map(|id| json!(id)).collect();
    assert_eq!((got.status, got.all("id")), (200, ids), "{query}");
}

#[tokio::test]
async fn filters_by_every_operator() {
    let params: String = ["eq", "ne", "gt", "gte", "lt", "lte", "in"]
        .iter()
        .map(|op| format!("  tonnes_{op}: {{role: filter, field: tonnes, op: {op}}}\n"))
        .chain(
            ["contains", "starts_with", "ends_with"]
                .iter()
                .map(|op| format!("  name_{op}: {{role: filter, field: name, op: {op}}}\n")),
        )
        .collect();
    let simulator = endpoint(&format!(
        "params:\n{params}  flag: {{role: filter, field: flag.code}}\n  since: {{role: filter, field: seen_at, op: gte}}\n  tag: {{role: filter, field: tags}}\n  name: filter\n  nothing: ignore"
    ));
    check(&simulator, "", &[1, 2, 3, 4]).await;
    check(&simulator, "tonnes_eq=10.0", &[2]).await;
    check(&simulator, "tonnes_ne=10", &[1, 3, 4]).await;
    check(&simulator, "tonnes_gt=10", &[3, 4]).await;
    check(&simulator, "tonnes_gte=10", &[2, 3, 4]).await;
    check(&simulator, "tonnes_lt=10", &[1]).await;
    check(&simulator, "tonnes_lte=10", &[1, 2]).await;
    check(&simulator, "tonnes_in=10,1000", &[2, 4]).await;
    check(&simulator, "tonnes_in=10&tonnes_in=1000", &[2, 4]).await;
    check(&simulator, "name_contains=ss", &[3]).await;
    check(&simulator, "name_starts_with=Bo", &[2]).await;
    check(&simulator, "name_ends_with=a", &[1, 3]).await;
    check(&simulator, "flag=PT&since=2024-01-02", &[3]).await;
    check(&simulator, "since=2024-01-02T09:00:00Z", &[2, 3, 4]).await;
    check(&simulator, "since=2024-01-02T09%3A00%3A01Z", &[3, 4]).await;
    check(&simulator, "tag=old", &[1, 3]).await;
    check(&simulator, "name=Draco&nothing=x&unknown=y", &[4]).await;
}

#[tokio::test]
async fn sorts_as_asked_or_as_described() {
    let simulator = endpoint(
        "params:\n  sort: {role: sort_by, options: {age: built, name: name}}\n  order: {role: sort_order, options: [asc, desc]}\nresponse: {default_sort: tonnes desc}",
    );
    check(&simulator, "", &[4, 3, 2, 1]).await;
    check(&simulator, "order=asc", &[1, 2, 3, 4]).await;
    check(&simulator, "sort=age", &[4, 2, 1, 3]).await;
    check(&simulator, "sort=age&order=desc", &[3, 1, 2, 4]).await;
    check(&simulator, "sort=colour", &[4, 3, 2, 1]).await;
    let plain = endpoint("params: {by: sort_by, dir: sort_order}");
    check(&plain, "by=seen_at&dir=desc", &[4, 3, 2, 1]).await;
}

#[tokio::test]
async fn pages_have_a_number_and_a_size() {
    let simulator = endpoint(
        "params:\n  page: {role: page}\n  size: {role: per_page, default: 3, max: 3}\nresponse: {pagination_style: page_number, wrapper: {records_key: data.ships, extras: {version: 2}}, computed: {meta.total: total, meta.pages: pages, meta.more: has_more, meta.next: next_page, meta.page: page, meta.size: per_page, meta.count: count}}",
    );
    let first = get(&simulator, "/ships").await.json();
    assert_eq!(first["data"]["ships"].as_array().unwrap().len(), 3);
    assert_eq!(first["version"], 2);
    assert_eq!(
        first["meta"],
        json!({"total": 4, "pages": 2, "more": true, "next": 2, "page": 1, "size": 3, "count": 3})
    );
    for (query, count) in
        [("page=2", 1), ("page=3", 0), ("page=0", 3), ("page=x", 3), ("size=99", 3), ("size=0", 3)]
    {
        let body = get(&simulator, &format!("/ships?{query}")).await.json();
        assert_eq!(body["data"]["ships"].as_array().unwrap().len(), count, "{query}");
    }
    assert_eq!(get(&simulator, "/ships?page=18446744073709551615").await.json()["meta"]["count"], 0);
}

#[tokio::test]
async fn link_headers_name_the_next_and_the_last_page() {
    let simulator = endpoint(
        "params: {page: page, per_page: per_page, flag: {role: filter, field: flag.code}}\nresponse: {pagination_style: page_number_with_link_header}",
    );
    let got = get(&simulator, "/ships?per_page=1&flag=PT").await;
    let link = "<http://source.example/ships?per_page=1&flag=PT&page=2>; rel=\"next\", \
                <http://source.example/ships?per_page=1&flag=PT&page=2>; rel=\"last\"";
    assert_eq!(got.header("link"), Some(link));
    assert_eq!(get(&simulator, "/ships?per_page=1&flag=PT&page=2").await.header("link"), None);
}

#[tokio::test]
async fn offsets_skip_and_limits_cap() {
    let simulator = endpoint(
        "params: {skip: offset, top: {role: limit, default: 2}}\nresponse: {pagination_style: offset_limit, wrapper: {records_key: items}, computed: {next: next_offset, url: next_url}}",
    );
    let body = get(&simulator, "/ships").await.json();
    assert_eq!((body["items"].as_array().unwrap().len(), &body["next"]), (2, &json!(2)));
    assert_eq!(body["url"], "http://source.example/ships?skip=2");
    let body = get(&simulator, "/ships?skip=3&top=50").await.json();
    assert_eq!(
        (&body["items"][0]["id"], &body["next"], &body["url"]),
        (&json!(4), &Value::Null, &Value::Null)
    );
    assert_eq!(get(&simulator, "/ships?skip=18446744073709551615&top=1").await.json()["items"], json!([]));
    assert_eq!(get(&simulator, "/ships?top=0").await.json()["items"], json!([]));
}

#[tokio::test]
async fn cursors_go_on_to_the_end() {
    let simulator = endpoint(
        "params: {after: cursor, limit: {role: limit, default: 3}}\nresponse: {pagination_style: cursor, wrapper: {records_key: items}}",
    );
    let first = get(&simulator, "/ships").await.json();
    let cursor = first["next_cursor"].as_str().unwrap();
    let second = get(&simulator, &format!("/ships?after={cursor}")).await.json();
    assert_eq!((&second["items"][0]["id"], &second["next_cursor"]), (&json!(4), &Value::Null));
    let got = get(&simulator, "/ships?after=nonsense").await;
    assert_eq!(got.status, 400);
    let bare = endpoint(
        "params: {after: cursor, limit: {role: limit, default: 3}}\nresponse: {pagination_style: cursor}",
    );
    let got = get(&bare, "/ships").await;
    let link = got.header("link").unwrap();
    let next = link.trim_start_matches('<').split('>').next().unwrap().replace("http://source.example", "");
    assert_eq!(get(&bare, &next).await.all("id"), [json!(4)]);
}

#[tokio::test]
async fn odata_links_to_what_follows() {
    for (params, expect) in [
        ("{$skip: offset, $top: {role: limit, default: 3}}", "%24skip=3"),
        ("{$top: {role: limit, default: 3}}", "%24skiptoken="),
    ] {
        let simulator = endpoint(&format!(
            "params: {params}\nstrict_params: true\nresponse: {{pagination_style: odata_next_link}}"
        ));
        let first = get(&simulator, "/ships").await.json();
        assert_eq!(first["value"].as_array().unwrap().len(), 3);
        let link = first["@odata.nextLink"].as_str().unwrap();
        assert!(link.contains(expect), "{link}");
        let second = get(&simulator, &link.replace("http://source.example", "")).await.json();
        assert_eq!(second["value"][0]["id"], 4);
        assert!(second.get("@odata.nextLink").is_none());
    }
}

#[tokio::test]
async fn one_entity_is_one_object() {
    let text = "
endpoints:
  - path: /ships/{id}
    corpus: ships
    path_params: {id: {role: filter, field: id}}
    response: {single_entity: true}
  - path: /about
    corpus: about
    response: {single_entity: true, wrapper: {records_key: source, extras: {ok: true}}}
";
    let simulator = start(text, &[("ships", ships()), ("about", json!({"name": "ships"}))]);
    assert_eq!(get(&simulator, "/ships/3").await.json()["name"], "Cassiopeia");
    assert_eq!(get(&simulator, "/ships/99").await.status, 404);
    assert_eq!(get(&simulator, "/about").await.json(), json!({"source": {"name": "ships"}, "ok": true}));
}

#[tokio::test]
async fn the_first_endpoint_that_fits_answers() {
    let text = "
endpoints:
  - {path: /ships/mine, corpus: one}
  - {path: '/ships/{id}', corpus: two}
  - {path: /ships, method: POST, corpus: one, params: {page: page, size: {role: per_page, default: 1}}}
";
    let simulator = start(text, &[("one", json!([{"id": 1}, {"id": 2}])), ("two", json!([{"id": 3}]))]);
    assert_eq!(get(&simulator, "/ships/mine").await.all("id").len(), 2);
    assert_eq!(get(&simulator, "/ships/other").await.all("id"), [json!(3)]);
    let got = get(&simulator, "/ships").await;
    assert_eq!((got.status, got.header("allow")), (405, Some("POST")));
    let got = get(&simulator, "/ships/7/other").await;
    assert_eq!(got.status, 404);
    assert!(got.json()["message"].as_str().unwrap().contains("the nearest is GET /ships/"), "{got:?}");
    // A search that is posted has its parameters in the body.
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    assert_eq!(ask(&simulator, "POST /ships", form, "page=2").await.all("id"), [json!(2)]);
    assert_eq!(
        ask(&simulator, "POST /ships", "Content-Type: application/json\r\n", "{\"page\":2}").await.all("id"),
        [json!(2)]
    );
}

#[tokio::test]
async fn strict_parameters_refuse_others() {
    let simulator =
        endpoint("params: {page: page, sort: {role: sort_by, options: [id]}}\nstrict_params: true");
    for (query, expect) in
        [("pgae=1", "did you mean `page`"), ("page=x", "no number"), ("sort=x", "one of id")]
    {
        let got = get(&simulator, &format!("/ships?{query}")).await;
        assert_eq!(got.status, 400, "{query}");
        assert!(got.json()["message"].as_str().unwrap().contains(expect), "{query}: {got:?}");
    }
    assert_eq!(get(&simulator, "/ships?page=1&sort=id").await.status, 200);
}

#[tokio::test]
async fn a_handler_answers_where_the_project_has_one() {
    let text = "endpoints: [{path: '/odd/{name}', corpus: ships, handler: sources.ships.odd}]";
    let corpora = [("ships", ships())];
    let without = start(text, &corpora);
    let got = get(&without, "/odd/x").await;
    assert_eq!(got.status, 501);
    assert!(got.json()["message"].as_str().unwrap().contains("`sources.ships.odd`"), "{got:?}");
    let settings = Settings::default().handler("sources.ships.odd", |request| {
        let body =
            json!({"count": request.records.len(), "name": request.path_values[0].1, "q": request.query});
        HandlerAnswer::json(202, &body)
    });
    let with = Simulator::start(load(text, &corpora), settings).unwrap();
    let got = get(&with, "/odd/x?a=b").await;
    assert_eq!((got.status, got.json()), (202, json!({"count": 4, "name": "x", "q": [["a", "b"]]})));
}

#[tokio::test]
async fn records_from_ahead_of_now_come_when_switched_on() {
    let simulator = endpoint(
        "synthesize_future_records: {cursor_field: seen_at, count: 2}\nparams: {since: {role: filter, field: seen_at, op: gt}}\nresponse: {default_sort: seen_at}",
    );
    assert_eq!(get(&simulator, "/ships").await.all("id").len(), 4);
    simulator.control().synthesize_future_records(true);
    let mut since = "2024-01-01".to_owned();
    for _ in 0..3 {
        // However far a client has come, there is more.
        let seen = get(&simulator, &format!("/ships?since={since}")).await.all("seen_at");
        let last = seen.last().expect("there is always more").as_str().unwrap().to_owned();
        assert!(last > since || since.len() < last.len(), "{last} {since}");
        since = "2024-01-04T10:00:00Z".into();
    }
    simulator.control().synthesize_future_records(false);
    assert_eq!(get(&simulator, "/ships").await.all("id").len(), 4);
}

#[tokio::test]
async fn a_grown_corpus_is_paged_and_searched_without_being_built() {
    let text = "
endpoints:
  - path: /ships
    corpus: ships
    params:
      page: page
      per_page: {role: per_page, max: 1000}
      since: {role: filter, field: seen_at, op: gte}
      flag: {role: filter, field: flag.code}
      order: sort_order
    response: {pagination_style: page_number_with_link_header, default_sort: seen_at}
    grow: {records: 1000000, keys: [id], times: [seen_at], step_seconds: 1}
  - path: /ships/{id}
    corpus: ships
    path_params: {id: {role: filter, field: id}}
    response: {single_entity: true}
";
    let simulator = start(text, &[("ships", ships())]);
    let got = get(&simulator, "/ships?per_page=1000&page=1000").await;
    assert_eq!(got.all("id").last(), Some(&json!(1_000_000)));
    assert!(
        get(&simulator, "/ships?per_page=1000")
            .await
            .header("link")
            .unwrap()
            .contains("page=1000>; rel=\"last\"")
    );
    assert_eq!(get(&simulator, "/ships?order=desc&per_page=1").await.all("id"), [json!(1_000_000)]);
    assert_eq!(get(&simulator, "/ships/654321").await.json()["id"], 654_321);
    // The fourth was seen on the fourth day; from there on it is a second for each.
    let since = get(&simulator, "/ships?since=2024-01-15T23:46:30Z&per_page=1").await.all("id");
    assert_eq!(since, [json!(999_994)]);
    let some = get(&simulator, "/ships?flag=SE&page=2&per_page=2").await.all("id");
    assert_eq!(some, [json!(12), json!(16)]);
}
