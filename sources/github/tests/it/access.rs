//! Who reads, and where.

use std::process::Command;
use std::sync::{Arc, Mutex};

use headwater_connect::{ConnectorError, ConnectorFactory, Options};
use headwater_source_github::GitHubFactory;
use headwater_testkit::simulator::{HandlerAnswer, HandlerRequest, Settings};
use serde_json::{Value, json};

use crate::support::{Site, chain, corpus_values};

const APP_TOKEN: &str = "ghs_invented0123456789abcdefghijklmnop";

/// A key that nobody else has.
fn private_key() -> String {
    let output = Command::new("openssl").args(["genrsa", "-traditional", "2048"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn an_app_buys_one_token_for_all_that_it_reads() {
    let asked: Arc<Mutex<Vec<(String, String)>>> = Arc::default();
    let seen = Arc::clone(&asked);
    let give = move |request: &HandlerRequest<'_>| {
        let header = request.headers.iter().find(|(name, _)| name == "authorization").unwrap();
        seen.lock().unwrap().push((request.path.to_owned(), header.1.clone()));
        HandlerAnswer::json(201, &json!({"token": APP_TOKEN, "expires_at": "2099-01-01T00:00:00Z"}))
    };
    let settings = Settings::default().handler("token", give);
    let site = Site::with(settings, &[("corpus: access_token", "handler: token")]);
    let key = private_key();
    let app = [("token", ""), ("app_id", "4711"), ("installation_id", "42"), ("private_key", key.as_str())];
    // The token is kept as long as anybody reads.
    let _reader = crate::support::connect(&site.options(&app), "issues").await.unwrap();
    for table in ["issues", "tags"] {
        let update = site.update(table, &app, None).await;
        assert!(update.rows().count() > 49, "{table}");
    }
    let asked = asked.lock().unwrap();
    let [(path, assertion)] = asked.as_slice() else { panic!("{} tokens were bought", asked.len()) };
    assert_eq!(path, "/app/installations/42/access_tokens");
    let parts: Vec<&str> = assertion.strip_prefix("Bearer ").unwrap().split('.').collect();
    let [header, claims] = [parts[0], parts[1]].map(decoded);
    assert_eq!((parts.len(), &header["alg"]), (3, &json!("RS256")));
    assert_eq!(claims["iss"], "4711");
    let life = claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap();
    assert!(life > 0 && life <= 600, "{claims}");
}

/// Reads base64url, as the parts of an assertion are written.
fn decoded(part: &str) -> Value {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let (mut bytes, mut held, mut bits) = (Vec::new(), 0_u32, 0);
    for byte in part.bytes() {
        held = (held << 6) | u32::try_from(alphabet.iter().position(|b| *b == byte).unwrap()).unwrap();
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push(u8::try_from((held >> bits) & 0xff).unwrap());
        }
    }
    serde_json::from_slice(&bytes).unwrap()
}

#[tokio::test]
async fn a_key_that_cannot_sign_is_told_of_without_being_shown() {
    for key in
        ["hunter2-is-no-key", "-----BEGIN RSA PRIVATE KEY-----\nhunter2\n-----END RSA PRIVATE KEY-----\n"]
    {
        let options = [("app_id", "1"), ("installation_id", "2"), ("private_key", key)];
        let options: Options = options.into_iter().collect();
        let error = GitHubFactory.connect(&options).await.err().unwrap();
        assert!(error.to_string().starts_with("option `private_key` "), "{error}");
        assert!(!chain(&error).contains("hunter2"), "{}", chain(&error));
    }
}

#[tokio::test]
async fn a_token_that_is_refused_is_told_of_without_being_shown() {
    let site = Site::start();
    let error = site.try_update("issues", &[("token", "ghp_hunter2")], None).await.err().unwrap();
    assert!(matches!(error, ConnectorError::Unauthorized { .. }), "{error:?}");
    assert!(!format!("{error:?} {}", chain(&error)).contains("hunter2"), "{error:?}");
    let connector =
        crate::support::connect(&site.options(&[("token", "ghp_hunter2")]), "issues").await.unwrap();
    assert!(matches!(connector.test_connection().await, Err(ConnectorError::Unauthorized { .. })));
    let connector = crate::support::connect(&site.options(&[]), "issues").await.unwrap();
    connector.test_connection().await.unwrap();
}

#[tokio::test]
async fn an_enterprise_server_answers_below_a_path() {
    let site = Site::with(Settings::default(), &[("- path: /", "- path: /api/v3/")]);
    let url = format!("{}/api/v3/", site.url());
    for table in ["issues", "reviews", "branches", "users"] {
        let update = site.update(table, &[("base_url", url.as_str()), ("per_page", "10")], None).await;
        let expect = site.control().records(if table == "issues" { "issues" } else { table }).unwrap().len();
        assert!(update.rows().count() >= expect - 4, "{table}");
    }
    let issues = site.update("issues", &[("base_url", url.as_str())], None).await;
    assert_eq!(issues.values("id"), corpus_values(&site.control(), "issues", "id", ("url", "/kit/")));
}
