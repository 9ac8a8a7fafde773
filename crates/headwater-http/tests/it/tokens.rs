//! Tokens that expire: who asks for them, how often, and what becomes of refresh tokens.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair,
    RSA_PKCS1_2048_8192_SHA256, RsaKeyPair, UnparsedPublicKey,
};
use axum::body::Body;
use axum::http::Request;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use chrono::{DateTime, TimeDelta, Utc};
use futures::future::join_all;
use headwater_connect::{BoxError, ConnectorError, ManualClock, Retry, Secret};
use headwater_http::{
    AccessToken, Assertion, Auth, ClientAuth, HttpClient, HttpClientBuilder, KeepRotated, OAuth2,
    RotatedToken, SigningKey, SigningKeyError, TokenHttp, TokenSource,
};
use serde_json::{Map, Value, json};

use crate::server::{Server, answer, chain, quick, serve};

/// What a token endpoint was asked.
#[derive(Debug, Clone)]
struct Asked {
    authorization: String,
    form: HashMap<String, String>,
}

async fn asked(request: Request<Body>) -> Asked {
    let authorization = request.headers().get("authorization").map(|v| v.to_str().unwrap().to_owned());
    let body = axum::body::to_bytes(request.into_body(), 100_000).await.unwrap();
    let form = url::form_urlencoded::parse(&body).into_owned().collect();
    Asked { authorization: authorization.unwrap_or_default(), form }
}

/// A source whose API takes the newest token `t<n>` only, and whose token endpoint gives out the next one with what `more`
/// adds to the answer.
struct Source {
    server: Server,
    log: Arc<Mutex<Vec<Asked>>>,
    newest: Arc<AtomicUsize>,
}

impl Source {
    async fn new(more: impl Fn(usize) -> Value + Send + Sync + 'static) -> Self {
        let (log, newest) = (Arc::<Mutex<Vec<Asked>>>::default(), Arc::new(AtomicUsize::new(0)));
        let (kept, number, more) = (Arc::clone(&log), Arc::clone(&newest), Arc::new(more));
        let server = serve(move |_, request| {
            let (log, newest, more) = (Arc::clone(&kept), Arc::clone(&number), Arc::clone(&more));
            async move {
                if request.uri().path() == "/token" {
                    let asked = asked(request).await;
                    log.lock().unwrap().push(asked);
                    // Others come meanwhile.
                    for _ in 0..50 {
                        tokio::task::yield_now().await;
                    }
                    let number = newest.fetch_add(1, SeqCst) + 1;
                    let mut body =
                        json!({"access_token": format!("t{number}-secret"), "token_type": "bearer"});
                    for (name, value) in more(number).as_object().unwrap() {
                        body[name] = value.clone();
                    }
                    return answer(200, body.to_string());
                }
                let sent =
                    request.headers().get("authorization").map_or("", |v| v.to_str().unwrap()).to_owned();
                let good = format!("Bearer t{}-secret", newest.load(SeqCst));
                if sent == good { answer(200, "{}") } else { answer(401, format!("no: {sent}")) }
            }
        })
        .await;
        Self { server, log, newest }
    }

    fn token_url(&self) -> String {
        format!("{}/token", self.server.url)
    }

    fn asked(&self) -> Vec<Asked> {
        self.log.lock().unwrap().clone()
    }

    fn credentials(&self) -> OAuth2 {
        OAuth2::client_credentials(self.token_url(), "me", Secret::new("pass word/+"))
    }

    fn refresh(&self, token: &str) -> OAuth2 {
        OAuth2::refresh_token(self.token_url(), "me", Secret::new(token))
    }

    fn client(&self, auth: impl Into<Auth>) -> HttpClientBuilder {
        self.server.builder().auth(auth)
    }
}

#[tokio::test]
async fn client_credentials_go_where_the_source_wants_them() {
    let source = Source::new(|_| json!({"expires_in": 3600})).await;
    let oauth = source.credentials().scopes(["read", "list"]).parameter("audience", "api");
    source.client(oauth.clone()).build().unwrap().get("x").send().await.unwrap();
    let other = oauth.client_auth(ClientAuth::Body).parameter("resource", "r");
    source.client(other).build().unwrap().get("x").send().await.unwrap();
    let asked = source.asked();
    let user_and_password = STANDARD.encode("me:pass+word%2F%2B");
    assert_eq!(asked[0].authorization, format!("Basic {user_and_password}"));
    let mut form: Vec<_> = asked[0].form.iter().map(|(n, v)| format!("{n}={v}")).collect();
    form.sort();
    assert_eq!(form, ["audience=api", "grant_type=client_credentials", "scope=read list"]);
    assert_eq!(asked[1].authorization, "");
    assert_eq!((&*asked[1].form["client_id"], &*asked[1].form["client_secret"]), ("me", "pass word/+"));
}

#[tokio::test]
async fn one_token_serves_all_clients_and_is_asked_for_once() {
    let source = Source::new(|_| json!({})).await;
    let clients: Vec<_> = (0..4).map(|_| source.client(source.credentials()).build().unwrap()).collect();
    let sends = clients.iter().flat_map(|client| (0..5).map(|_| async { client.get("x").send().await }));
    for response in join_all(sends).await {
        response.unwrap();
    }
    assert_eq!(source.asked().len(), 1);
    // Another secret is another credential.
    let other = OAuth2::client_credentials(source.token_url(), "me", Secret::new("another"));
    source.client(other).build().unwrap().get("x").send().await.unwrap();
    assert_eq!(source.asked().len(), 2);
}

#[tokio::test]
async fn a_token_is_exchanged_before_it_ends() {
    let source = Source::new(|_| json!({"expires_in": "3600"})).await;
    let clock = ManualClock::new("2026-11-23T10:00:00Z".parse().unwrap());
    let oauth = source.credentials().margin(Duration::from_secs(100));
    let client = source.client(oauth).clock(Arc::new(clock.clone())).build().unwrap();
    for (seconds, expect) in [(0, 1), (3499, 1), (1, 2), (3400, 2), (7200, 3)] {
        clock.advance(TimeDelta::seconds(seconds));
        client.get("x").send().await.unwrap();
        assert_eq!(source.asked().len(), expect, "after {seconds} s");
    }
    assert_eq!(client.stats().counts().requests, 8, "five and three for tokens");
    assert_eq!(client.stats().counts().retries, 0);
}

#[tokio::test]
async fn a_token_that_is_refused_before_its_time_is_exchanged_once_for_all() {
    let source = Source::new(|_| json!({"expires_in": 3600})).await;
    let client = source.client(source.credentials()).build().unwrap();
    client.get("x").send().await.unwrap();
    // The source forgets the token.
    source.newest.fetch_add(1, SeqCst);
    let sends = (0..10).map(|_| async { client.post("x").send().await });
    for response in join_all(sends).await {
        response.unwrap();
    }
    assert_eq!(source.asked().len(), 2, "even a POST is sent again, the source has not acted on it");
}

#[tokio::test]
async fn a_request_that_is_refused_with_a_new_token_as_well_is_an_error() {
    let server = serve(|number, request| async move {
        match request.uri().path() {
            "/token" => answer(200, format!(r#"{{"access_token":"t0k3n-{number}"}}"#)),
            _ => answer(401, format!("you sent {:?}", request.headers().get("authorization"))),
        }
    })
    .await;
    let oauth = OAuth2::client_credentials(format!("{}/token", server.url), "me", Secret::new("pw-4-you"));
    let client = server.builder().auth(oauth).build().unwrap();
    let error = client.get("x").send().await.unwrap_err();
    assert!(matches!(error, ConnectorError::Unauthorized { .. }), "{error:?}");
    assert_eq!(server.seen(), ["POST /token", "GET /x", "POST /token", "GET /x"]);
    assert!(!chain(&error).contains("t0k3n") && chain(&error).contains("<secret>"), "{}", chain(&error));
    assert!(
        !client.redact("Bearer t0k3n-1, t0k3n-3").contains("t0k3n"),
        "{}",
        client.redact("Bearer t0k3n-1")
    );
}

#[tokio::test]
async fn tokens_stay_with_their_host() {
    let elsewhere =
        serve(
            |_, request| async move { answer(200, format!("{:?}", request.headers().get("authorization"))) },
        )
        .await;
    let source = Source::new(|_| json!({})).await;
    let client = source.client(source.credentials()).build().unwrap();
    let response = client.get(&format!("{}/page", elsewhere.url)).send().await.unwrap();
    assert_eq!(&response.body[..], b"None");
    assert_eq!(source.asked().len(), 0, "nor is one asked for");
}

/// Keeps what it is told, after failing so often; reads how many requests the API had seen by then.
struct Keeper {
    failures: AtomicUsize,
    kept: Mutex<Vec<String>>,
}

#[async_trait]
impl KeepRotated for Keeper {
    async fn keep(&self, rotated: &RotatedToken) -> Result<(), BoxError> {
        if self.failures.load(SeqCst) > 0 {
            self.failures.fetch_sub(1, SeqCst);
            return Err("the disk is full".into());
        }
        self.kept.lock().unwrap().push(format!("{} {}", rotated.client_id, rotated.refresh_token.expose()));
        Ok(())
    }
}

fn keeper(failures: usize) -> Arc<Keeper> {
    Arc::new(Keeper { failures: AtomicUsize::new(failures), kept: Mutex::default() })
}

#[tokio::test]
async fn a_new_refresh_token_is_kept_before_anything_is_done_with_it() {
    let source = Source::new(|n| json!({"expires_in": 60, "refresh_token": format!("r{n}")})).await;
    let clock = ManualClock::new(DateTime::<Utc>::UNIX_EPOCH);
    let keeper = keeper(2);
    let oauth = source.refresh("r0").client_secret(Secret::new("pw")).keep_rotated(keeper.clone());
    let client = source.client(oauth).clock(Arc::new(clock.clone())).build().unwrap();
    // As long as it cannot be kept there is no token, and none is asked for either.
    for _ in 0..2 {
        let error = client.get("x").send().await.unwrap_err();
        assert_eq!(error.retry(), Retry::Backoff);
        assert!(chain(&error).contains("could not be kept: the disk is full"), "{}", chain(&error));
        assert_eq!(source.asked().len(), 1);
        assert_eq!(source.server.seen(), ["POST /token"], "the API sees nothing of it");
    }
    client.get("x").send().await.unwrap();
    assert_eq!((&*keeper.kept.lock().unwrap(), source.asked().len()), (&vec!["me r1".to_owned()], 1));
    clock.advance(TimeDelta::seconds(60));
    client.get("x").send().await.unwrap();
    let sent: Vec<_> = source.asked().iter().map(|asked| asked.form["refresh_token"].clone()).collect();
    assert_eq!(sent, ["r0", "r1"]);
    assert_eq!(*keeper.kept.lock().unwrap(), ["me r1", "me r2"]);
}

#[tokio::test]
async fn the_newest_refresh_token_is_found_by_any_that_came_before_it() {
    let source = Source::new(|n| json!({"refresh_token": format!("n{n}")})).await;
    let client = source.client(source.refresh("n0")).build().unwrap();
    client.get("x").send().await.unwrap();
    drop(client);
    // A second client begins with the old one, a third with the new one, as one does that has read what was kept.
    let second = source.client(source.refresh("n0")).build().unwrap();
    second.get("x").send().await.unwrap();
    let third = source.client(source.refresh("n1")).build().unwrap();
    third.get("x").send().await.unwrap();
    let sent: Vec<_> = source.asked().iter().map(|asked| asked.form["refresh_token"].clone()).collect();
    assert_eq!(sent, ["n0", "n1"], "and both share what comes of it");
}

#[tokio::test]
async fn a_request_for_a_token_goes_on_when_nobody_waits_any_more() {
    let source = Source::new(|n| json!({"refresh_token": format!("d{n}")})).await;
    let keeper = keeper(0);
    let oauth = source.refresh("d0").keep_rotated(keeper.clone());
    let client = source.client(oauth.clone()).build().unwrap();
    let sending = client.get("x");
    let mut send = Box::pin(sending.send());
    // It has been asked for when the future is dropped.
    while source.asked().is_empty() {
        assert!(futures::poll!(&mut send).is_pending());
        tokio::task::yield_now().await;
    }
    drop(send);
    drop(client);
    while keeper.kept.lock().unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    // The token that came with it is of no use any more.
    source.newest.fetch_add(1, SeqCst);
    source.client(oauth).build().unwrap().get("x").send().await.unwrap();
    assert_eq!(source.asked().last().unwrap().form["refresh_token"], "d1");
}

#[tokio::test]
async fn what_a_token_endpoint_refuses_is_said_with_what_to_do() {
    let check = async |status: u16, body: &'static str, expect: &[&str]| {
        let server = serve(move |_, request| async move {
            let sent = asked(request).await;
            let echo = format!("{} {:?}", sent.authorization, sent.form).replace('"', "'");
            let body = body.replace("ECHO", &echo);
            answer(status, body)
        })
        .await;
        let oauth = OAuth2::refresh_token(format!("{}/token", server.url), "me", Secret::new("rrrrrr"));
        let oauth = oauth.client_secret(Secret::new("pppppp")).client_auth(ClientAuth::Body);
        let client = server.builder().retry(quick(1)).auth(oauth).build().unwrap();
        let error = client.get("x").send().await.unwrap_err();
        let text = chain(&error);
        for part in expect {
            assert!(text.contains(part), "{status} {body}: {text}");
        }
        assert!(!text.contains("rrrrrr") && !text.contains("pppppp"), "{text}");
        error
    };
    let refused = r#"{"error":"invalid_grant","error_description":"token revoked ECHO"}"#;
    let error =
        check(400, refused, &["/token answered `invalid_grant` (token revoked", "give consent again"]).await;
    assert!(matches!(error, ConnectorError::Unauthorized { .. }), "{error:?}");
    check(200, refused, &["invalid_grant"]).await;
    check(401, r#"{"error":"invalid_client"}"#, &["`invalid_client`: ", "check `client_id`"]).await;
    check(400, r#"{"error":"something_else"}"#, &["`something_else`"]).await;
    check(403, "<html>no ECHO</html>", &["/token answered 403: <html>no"]).await;
    let error = check(200, "{}", &["gave no `access_token`"]).await;
    assert!(matches!(error, ConnectorError::BadResponse { .. }), "{error:?}");
    check(200, "<html>", &["did not answer the JSON"]).await;
    check(200, r#"{"access_token":"a\nb"}"#, &["a token that no header can hold"]).await;
    let error = check(400, r#"{"error":"temporarily_unavailable"}"#, &["temporarily_unavailable"]).await;
    assert_eq!(error.retry(), Retry::Backoff);
    let error = check(503, "busy", &["/token answered 503"]).await;
    assert_eq!(
        (error.retry(), headwater_http::HttpError::of(&error).unwrap().status()),
        (Retry::Backoff, Some(503))
    );
}

fn pem(kind: &str, der: &[u8]) -> Secret {
    let base64 = STANDARD.encode(der);
    let lines: Vec<&str> =
        base64.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    Secret::new(format!("-----BEGIN {kind}-----\n{}\n-----END {kind}-----\n", lines.join("\n")))
}

/// Splits a token into what is signed, its claims, and the signature.
fn taken_apart(token: &str) -> (String, Value, Value, Vec<u8>) {
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let (header, claims) = signed.split_once('.').unwrap();
    let json = |part: &str| serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap();
    (signed.to_owned(), json(header), json(claims), URL_SAFE_NO_PAD.decode(signature).unwrap())
}

#[test]
fn assertions_carry_signatures_that_others_accept() {
    let header = Map::from_iter([("kid".to_owned(), json!("k1"))]);
    let claims = Map::from_iter([("iss".to_owned(), json!("app"))]);
    let sign = |key: &SigningKey| taken_apart(key.sign(&header, &claims).unwrap().expose());

    let rsa = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let der = rsa.as_der().unwrap();
    let key = SigningKey::rs256(&pem("PRIVATE KEY", der.as_ref())).unwrap();
    let (signed, head, body, signature) = sign(&key);
    assert_eq!((head, body), (json!({"alg": "RS256", "typ": "JWT", "kid": "k1"}), json!({"iss": "app"})));
    let public = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, rsa.public_key());
    public.verify(signed.as_bytes(), &signature).unwrap();
    // As a value comes out of an environment variable.
    let one_line = Secret::new(pem("PRIVATE KEY", der.as_ref()).expose().replace('\n', "\\n"));
    assert_eq!(sign(&SigningKey::rs256(&one_line).unwrap()).3, signature);

    let ec = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let ec_der = ec.to_pkcs8v1().unwrap();
    let ec_pem = pem("PRIVATE KEY", ec_der.as_ref());
    let (signed, head, _, signature) = sign(&SigningKey::es256(&ec_pem).unwrap());
    assert_eq!(head["alg"], "ES256");
    let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, ec.public_key());
    public.verify(signed.as_bytes(), &signature).unwrap();

    let secret = "a shared secret of more than thirty-two bytes";
    let (signed, head, _, signature) = sign(&SigningKey::hs256(&Secret::new(secret)).unwrap());
    assert_eq!(head["alg"], "HS256");
    let tag = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, secret.as_bytes());
    aws_lc_rs::hmac::verify(&tag, signed.as_bytes(), &signature).unwrap();

    let check = |made: Result<SigningKey, SigningKeyError>, expect: &str| {
        let error = made.unwrap_err().of_option("private_key");
        assert!(error.to_string().starts_with("option `private_key` "), "{error}");
        assert!(error.to_string().contains(expect), "{error}");
    };
    check(SigningKey::rs256(&ec_pem), "no RSA key");
    check(SigningKey::es256(&pem("PRIVATE KEY", der.as_ref())), "no P-256");
    check(SigningKey::rs256(&Secret::new("hunter2")), "no private key in PEM form");
    check(SigningKey::rs256(&pem("PRIVATE KEY", b"rubbish")), "no RSA key");
    check(SigningKey::rs256(&pem("RSA PRIVATE KEY", b"rubbish")), "no RSA key");
    check(SigningKey::rs256(&pem("ENCRYPTED PRIVATE KEY", b"x")), "passphrase");
    check(SigningKey::hs256(&Secret::new("short")), "less than 32 bytes");
}

#[tokio::test]
async fn an_assertion_is_exchanged_for_a_token() {
    let source = Source::new(|_| json!({"expires_in": 3600})).await;
    let secret = Secret::new("a shared secret of more than thirty-two bytes");
    let mut assertion = Assertion::new(SigningKey::hs256(&secret).unwrap(), "the-app");
    assertion.subject = Some("user@example.org".into());
    assertion.claims.insert("scope".into(), json!("read"));
    let now: DateTime<Utc> = "2026-11-23T10:00:00Z".parse().unwrap();
    let oauth = OAuth2::assertion(source.token_url(), "", assertion);
    let client = source.client(oauth).clock(Arc::new(ManualClock::new(now))).build().unwrap();
    client.get("x").send().await.unwrap();
    let asked = source.asked();
    assert_eq!(asked[0].form["grant_type"], "urn:ietf:params:oauth:grant-type:jwt-bearer");
    assert!(!asked[0].form.contains_key("client_id"));
    let (_, _, claims, _) = taken_apart(&asked[0].form["assertion"]);
    assert_eq!(claims["aud"], source.token_url());
    assert_eq!((&claims["iss"], &claims["sub"]), (&json!("the-app"), &json!("user@example.org")));
    assert_eq!((&claims["iat"], &claims["exp"]), (&json!(now.timestamp()), &json!(now.timestamp() + 300)));
    assert_eq!(claims["scope"], "read");
}

/// What a connector brings along for a source of its own kind.
#[derive(Debug)]
struct Installation {
    base: String,
    fetched: AtomicUsize,
}

#[async_trait]
impl TokenSource for Installation {
    fn identity(&self) -> Secret {
        Secret::new(format!("{} app 7", self.base))
    }

    async fn fetch(&self, http: &TokenHttp) -> Result<AccessToken, ConnectorError> {
        self.fetched.fetch_add(1, SeqCst);
        let client = http.client(&self.base).auth(Auth::Bearer(Secret::new("signed"))).build()?;
        let answer: Value = client.post("installations/7/tokens").send().await?.json()?;
        let expires_at: DateTime<Utc> = answer["expires_at"].as_str().unwrap().parse().unwrap();
        Ok(AccessToken::bearer(Secret::new(answer["token"].as_str().unwrap())).until(expires_at))
    }
}

#[tokio::test]
async fn a_connector_may_bring_a_way_of_its_own_to_get_tokens() {
    let server = serve(|_, request| async move {
        let sent = request.headers().get("authorization").map_or("", |v| v.to_str().unwrap()).to_owned();
        match (request.uri().path(), &*sent) {
            ("/installations/7/tokens", "Bearer signed") => {
                answer(201, r#"{"token":"ghs_1","expires_at":"2099-01-01T00:00:00Z"}"#)
            }
            ("/x", "Bearer ghs_1") => answer(200, "{}"),
            _ => answer(403, sent),
        }
    })
    .await;
    let source = Arc::new(Installation { base: server.url.clone(), fetched: AtomicUsize::new(0) });
    let auth = Auth::Token(source.clone());
    let client: HttpClient = server.builder().auth(auth).build().unwrap();
    for _ in 0..3 {
        client.get("x").send().await.unwrap();
    }
    assert_eq!(source.fetched.load(SeqCst), 1);
}
