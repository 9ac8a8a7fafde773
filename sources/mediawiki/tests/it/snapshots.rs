use std::collections::BTreeSet;

use headwater_connect::{ConnectorError, Options};
use serde_json::{Value, json};

use crate::support::{TestWiki, drain, edit, iso};

fn texts<'a>(rows: &'a [Value], name: &str) -> Vec<&'a str> {
    rows.iter().map(|row| row[name].as_str().unwrap()).collect()
}

#[tokio::test]
async fn users_are_those_of_the_database() {
    let wiki = TestWiki::start();
    let names = ["Zoë", "漢字", "A b", "Blocked", "Ægir", "Émile"];
    let mut steps: Vec<Value> = names.iter().map(|name| json!({"do": "user", "user": name})).collect();
    steps.push(json!({"do": "user", "user": "Zoë", "groups": ["sysop", "bot"]}));
    steps.push(json!({"do": "block", "target": "Blocked", "reason": "why", "expiry": "infinity"}));
    steps.push(edit("A", "1", "20250101000000"));
    wiki.run(&Value::Array(steps));
    let truth = wiki.sql("SELECT user_id, user_name, user_editcount, user_registration FROM user");
    for size in ["1", "3"] {
        let rows = wiki.snapshot("users", &[("page_size", size)]).await;
        assert_eq!(rows.len(), truth.len(), "page_size {size}");
        for row in &truth {
            let read = rows.iter().find(|read| read["name"] == row["user_name"]).unwrap();
            assert_eq!(read["userid"].to_string(), row["user_id"].as_str().unwrap());
            assert_eq!(read["editcount"].to_string(), row["user_editcount"].as_str().unwrap_or("0"));
            assert_eq!(read["registration"], iso(&row["user_registration"]));
        }
        let find = |name: &str| rows.iter().find(|row| row["name"] == name).unwrap();
        let groups: Vec<&str> =
            find("Zoë")["groups"].as_array().unwrap().iter().map(|g| g.as_str().unwrap()).collect();
        assert!(groups.contains(&"sysop") && groups.contains(&"bot"), "{groups:?}");
        let blocked = find("Blocked");
        assert_eq!((&blocked["blockreason"], &blocked["blockexpiry"]), (&json!("why"), &json!("infinite")));
        assert!(find("A b")["blockid"].is_null());
    }
}

#[tokio::test]
async fn categories_and_their_members_are_those_of_the_database() {
    let wiki = TestWiki::start();
    wiki.run(&json!([
        edit("P1", "[[Category:One]] [[Category:Two words|key]] [[Category:漢字]]", "20250101000000"),
        edit("P2", "[[Category:One]] [[Category:Two words]]", "20250101000000"),
        edit("Ünïcode:P3", "[[Category:One]]", "20250101000000"),
        edit("Category:Sub", "[[Category:One]]", "20250101000000"),
        edit("Category:Has a: colon", "nothing", "20250101000000"),
        edit("P4", "[[Category:Has a: colon]] [[Category:Left]]", "20250101000000"),
        edit("P4", "[[Category:Has a: colon]]", "20250101000000"),
    ]));
    let truth = wiki.sql("SELECT cat_title, cat_pages, cat_subcats FROM category");
    for size in ["1", "2"] {
        let rows = wiki.snapshot("categories", &[("page_size", size)]).await;
        assert_eq!(rows.len(), truth.len(), "page_size {size}");
        for row in &truth {
            let title = row["cat_title"].as_str().unwrap().replace('_', " ");
            let read = rows.iter().find(|read| read["category"] == title).unwrap();
            assert_eq!(read["size"].to_string(), row["cat_pages"].as_str().unwrap(), "{title}");
            assert_eq!(read["subcats"].to_string(), row["cat_subcats"].as_str().unwrap());
        }
    }

    let truth = wiki.sql(
        "SELECT cl_to, cl_from, cl_type, cl_timestamp, cl_sortkey_prefix, page_namespace FROM categorylinks \
         JOIN page ON page_id = cl_from",
    );
    let pairs = |rows: &[Value]| -> BTreeSet<(String, String)> {
        let pair = |row: &Value| (row["category"].as_str().unwrap().to_owned(), row["pageid"].to_string());
        let set: BTreeSet<_> = rows.iter().map(pair).collect();
        assert_eq!(set.len(), rows.len(), "a member twice");
        set
    };
    let all: BTreeSet<(String, String)> = truth
        .iter()
        .map(|row| {
            let title = row["cl_to"].as_str().unwrap().replace('_', " ");
            (format!("Category:{title}"), row["cl_from"].as_str().unwrap().to_owned())
        })
        .collect();
    assert_eq!(all.len(), 8);
    let named = [("categories", "One|Category:Two words|漢字|Has a: colon|one")];
    for size in ["1", "2"] {
        let walked = wiki.snapshot("category_members", &[("page_size", size)]).await;
        assert_eq!(pairs(&walked), all, "page_size {size}");
        let asked = wiki.snapshot("category_members", &[("page_size", size), named[0]]).await;
        assert_eq!(pairs(&asked), all, "page_size {size}");
        for row in &walked {
            let same =
                |other: &&Value| other["category"] == row["category"] && other["pageid"] == row["pageid"];
            let twin = asked.iter().find(same).unwrap();
            for name in ["ns", "title", "type", "sortkey", "sortkeyprefix", "timestamp"] {
                assert_eq!(row[name], twin[name], "{name}");
            }
        }
    }
    let some = wiki.snapshot("category_members", &[("namespaces", "[14, 3000]")]).await;
    assert_eq!(
        texts(&some, "title").into_iter().collect::<BTreeSet<_>>(),
        ["Category:Sub", "Ünïcode:P3"].into()
    );
    let same = wiki.snapshot("category_members", &[("namespaces", "14,3000"), ("categories", "One")]).await;
    assert_eq!(pairs(&some), pairs(&same));
    let none = wiki.snapshot("category_members", &[("categories", "Nobody is here")]).await;
    assert!(none.is_empty());

    let connector = wiki.connect(&[("categories", "a[b")]).await;
    let options = Options::new();
    let error = drain(connector.read_table("category_members", None, &options)).await.unwrap_err();
    assert!(
        matches!(&error, ConnectorError::InvalidOption { name, .. } if name == "categories"),
        "{error:?}"
    );
}

#[tokio::test]
async fn the_wiki_says_what_it_is_in_the_same_words_each_time() {
    let wiki = TestWiki::start();
    wiki.run(&json!([edit("A", "1", "20250101000000")]));
    let rows = wiki.snapshot("site_info", &[]).await;
    assert_eq!(rows.len(), 1);
    let row = &rows[0];
    assert_eq!(row["sitename"], "Headwater Test");
    assert!(row["generator"].as_str().unwrap().starts_with("MediaWiki 1."));
    assert_eq!(
        row["statistics"]["pages"].to_string(),
        wiki.ids("SELECT count(*) FROM page").first().unwrap().to_string()
    );
    let namespaces = row["namespaces"].as_array().unwrap();
    let own = namespaces.iter().find(|namespace| namespace["id"] == 3000).unwrap();
    assert_eq!(own["name"], "Ünïcode");
    assert_eq!(wiki.snapshot("site_info", &[]).await, rows);
}
