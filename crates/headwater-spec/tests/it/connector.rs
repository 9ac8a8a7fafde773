//! Connector specs, and what they say about options.

use headwater_connect::Options;
use headwater_spec::{ChosenAuth, ConnectorSpec, ParameterType};

fn parse(text: &str) -> ConnectorSpec {
    match ConnectorSpec::parse(text, "connector_spec.yaml") {
        Ok(parsed) => parsed.value,
        Err(errors) => panic!("{}", errors.render()),
    }
}

const SHOP: &str = "
display_name: Shop
description: |
  Orders of a shop.
connection:
  parameters:
    - {name: base_url, type: url, required: true, description: Address of the shop.}
    - {name: Page_Size, type: integer, default: 100}
    - {name: ratio, type: number}
    - {name: deep, type: boolean}
    - {name: mode, allowed_values: [test, live]}
    - {name: extra, type: json}
    - {name: pin, type: integer, secret: true}
  auth_methods:
    - name: api_token
      parameters:
        - {name: token, required: true, description: \"Token, from the settings page.\"}
    - name: login
      parameters:
        - {name: user, required: true}
        - {name: pass_code, type: password, required: true}
        - {name: domain}
    - name: oauth
      parameters:
        - {name: client_id, required: true}
        - {name: client_secret, required: true}
        - {name: refresh_token, required: true}
  oauth: {authorization_url: https://shop.example/a, token_endpoint: https://shop.example/t, scopes: \"read, write\"}
external_options_allowlist: start_date, page_size
tables: [orders, {name: customers, about: x}]
";

#[test]
fn a_spec_is_read_whole() {
    let spec = parse(SHOP);
    assert_eq!((spec.display_name(), spec.description()), (Some("Shop"), Some("Orders of a shop.\n")));
    let names: Vec<&str> = spec.parameters().map(|p| p.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "base_url",
            "Page_Size",
            "ratio",
            "deep",
            "mode",
            "extra",
            "pin",
            "token",
            "user",
            "pass_code",
            "domain",
            "client_id",
            "client_secret",
            "refresh_token"
        ]
    );
    let first = &spec.common_parameters()[0];
    assert_eq!((first.kind, first.required), (ParameterType::Url, true));
    assert_eq!(spec.common_parameters()[1].default.as_deref(), Some("100"));
    let oauth = spec.oauth().expect("oauth");
    assert_eq!(oauth.authorization_endpoint.as_deref(), Some("https://shop.example/a"));
    assert_eq!(oauth.scopes, ["read", "write"]);
    assert_eq!(spec.table_options(), ["start_date", "page_size"]);
    assert_eq!(spec.tables(), ["orders", "customers"]);
}

#[test]
fn secrets_are_known_by_mark_type_and_name() {
    let spec = parse(SHOP);
    for secret in ["pin", "PIN", "pass_code", "token", "client_secret", "refresh_token", "unknown_password"] {
        assert!(spec.is_secret(secret), "{secret}");
    }
    for open in ["base_url", "user", "domain", "client_id", "mode", "unknown"] {
        assert!(!spec.is_secret(open), "{open}");
    }
    let marked = parse("connection: {parameters: [{name: page_token, secret: false}]}");
    assert!(!marked.is_secret("page_token"));
}

/// Expects these problems, each with its hint after ` | `.
fn check(options: &[(&str, &str)], expected: &[&str]) {
    let options: Options = options.iter().copied().collect();
    let found: Vec<String> = parse(SHOP)
        .check_connection_options(&options)
        .iter()
        .map(|p| p.hint().map_or_else(|| p.to_string(), |hint| format!("{p} | {hint}")))
        .collect();
    assert_eq!(found, expected);
}

#[test]
fn options_of_a_connection() {
    let url = ("base_url", "https://shop.example");
    check(&[url, ("token", "t")], &[]);
    check(
        &[
            ("BASE_URL", "https://shop.example"),
            ("Token", "t"),
            ("page_size", " 10 "),
            ("deep", "True"),
            ("ratio", "1e3"),
        ],
        &[],
    );
    check(&[url, ("user", "u"), ("pass_code", "p")], &[]);
    // An option for all tables, and what platforms add by themselves.
    check(&[url, ("token", "t"), ("start_date", "2024"), ("externalOptionsAllowList", "x")], &[]);
    check(&[("token", "t")], &["option `base_url` is missing (Address of the shop)"]);
    check(&[("token", "t"), ("base_url", " ")], &["option `base_url` is missing (Address of the shop)"]);
    check(&[url, ("token", "t"), ("basurl", "x")], &["unknown option `basurl` | did you mean `base_url`?"]);
    check(
        &[url, ("token", "t"), ("zzz", "x")],
        &[
            "unknown option `zzz` | allowed: base_url, Page_Size, ratio, deep, mode, extra, pin, token, user, pass_code, domain, client_id, client_secret, refresh_token",
        ],
    );
    check(
        &[
            ("base_url", "shop.example"),
            ("token", "t"),
            ("page_size", "ten"),
            ("ratio", "NaN"),
            ("deep", "yes"),
            ("mode", "Live"),
            ("extra", "{"),
            ("pin", "hunter2"),
        ],
        &[
            "option `base_url` must be an address such as `https://example.com/`, found `shop.example`",
            "option `Page_Size` must be an integer, found `ten`",
            "option `ratio` must be a number, found `NaN`",
            "option `deep` must be `true` or `false`, found `yes`",
            "option `mode` has a value that is not allowed, found `Live` | allowed: test, live",
            "option `extra` must be JSON, found `{`",
            "option `pin` must be an integer",
        ],
    );
}

#[test]
fn the_options_choose_the_way_to_sign_in() {
    let url = ("base_url", "https://shop.example");
    check(
        &[url],
        &[
            "no way to sign in is set up | for `api_token` set `token`; for `login` set `user`, `pass_code`; for `oauth` set `client_id`, `client_secret`, `refresh_token`",
        ],
    );
    check(&[url, ("user", "u")], &["option `pass_code` is missing, which `login` needs"]);
    check(
        &[url, ("domain", "d")],
        &[
            "option `user` is missing, which `login` needs",
            "option `pass_code` is missing, which `login` needs",
        ],
    );
    check(
        &[url, ("token", "hunter2"), ("user", "u")],
        &["options of several ways to sign in are set: `api_token`, `login` | take out `user`"],
    );
    check(
        &[url, ("token", "t"), ("user", "u"), ("pass_code", "p"), ("domain", "d")],
        &["options of several ways to sign in are set: `login`, `api_token` | take out `token`"],
    );

    let spec = parse(SHOP);
    let options: Options = [("user", "u"), ("pass_code", "p")].into_iter().collect();
    let ChosenAuth::Method(method) = spec.chosen_auth_method(&options) else { panic!("no method") };
    assert_eq!(method.name, "login");
    assert_eq!(parse("{}").chosen_auth_method(&options), ChosenAuth::NotNeeded);
}

#[test]
fn a_way_without_options_counts_when_no_other_was_begun_and_the_fullest_way_wins() {
    let spec = parse(
        "auth_methods:
  - {name: public}
  - {name: token, parameters: [{name: token, required: true}, {name: email}]}
  - {name: both, parameters: [{name: token, required: true}, {name: email, required: true}]}
",
    );
    for (set, expected) in [(&[][..], "public"), (&["token"], "token"), (&["token", "email"], "both")] {
        let options: Options = set.iter().map(|name| (*name, "x")).collect();
        match spec.chosen_auth_method(&options) {
            ChosenAuth::Method(method) => assert_eq!(method.name, expected, "{set:?}"),
            other => panic!("{set:?}: {other:?}"),
        }
    }
    let options: Options = [("email", "x")].into_iter().collect();
    assert!(matches!(spec.chosen_auth_method(&options), ChosenAuth::Unclear(_)));
}

#[test]
fn table_options_must_be_on_the_list() {
    let spec = parse(SHOP);
    assert_eq!(spec.check_table_option("START_DATE"), Ok(()));
    let refused = spec.check_table_option("startdate").expect_err("not on the list");
    assert_eq!(refused.to_string(), "connector `Shop` has no table option `startdate`");
    assert_eq!(refused.hint(), "did you mean `start_date`? allowed: start_date, page_size");
    for none in ["{}", "external_options_allowlist: ''", "external_options_allowlist: []"] {
        let refused = parse(none).check_table_option("x").expect_err("no list");
        assert_eq!(refused.hint(), "the connector takes no table options");
    }
}

#[test]
fn what_is_not_known_is_a_warning_and_what_is_wrong_an_error() {
    let parsed = ConnectorSpec::parse(
        "display_nam: X\nicon: x.svg\nconnection:\n  parameters:\n    - {name: a, type: colour, label: A}\n",
        "c.yaml",
    )
    .expect("only warnings");
    let warnings: Vec<String> = parsed.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        warnings,
        [
            "c.yaml:1:1: display_nam: unknown field `display_nam`",
            "c.yaml:2:1: icon: unknown field `icon`",
            "c.yaml:5:23: connection.parameters[0].type: `colour` is not a known type; the value is taken for text",
            "c.yaml:5:31: connection.parameters[0].label: unknown field `label`",
        ]
    );
    for (text, expected) in [
        ("connection: []", "c.yaml:1:13: connection: expected a map, found a list"),
        (
            "connection: {parameters: [{type: string}]}",
            "c.yaml:1:27: connection.parameters[0]: missing field `name`",
        ),
        (
            "connection: {parameters: [{name: a}, {name: A}]}",
            "c.yaml:1:45: connection.parameters[1].name: `A` is the name of two parameters",
        ),
        (
            "connection: {parameters: [{name: a, required: yes}]}",
            "c.yaml:1:47: connection.parameters[0].required: expected `true` or `false`, found the text `yes`",
        ),
        ("auth_methods: [{parameters: []}]", "c.yaml:1:16: auth_methods[0]: one of `name` is needed"),
        (
            "auth_methods: [{name: a}]\nconnection: {auth_methods: [{name: b}]}",
            "c.yaml:2:28: connection.auth_methods: `auth_methods` and `connection.auth_methods` exclude each other",
        ),
        (
            "auth_methods: [{name: a}, {name: A}]",
            "c.yaml:1:1: auth_methods: `A` is the name of two ways to sign in",
        ),
        (
            "external_options_allowlist: {a: b}",
            "c.yaml:1:29: external_options_allowlist: expected a list of texts, or one text with commas, found a map",
        ),
        (
            "tables: [{title: a}]",
            "c.yaml:1:10: tables[0]: expected a name, or a map with a `name`, found a map",
        ),
    ] {
        let errors = ConnectorSpec::parse(text, "c.yaml").expect_err(text);
        assert_eq!(errors.errors.iter().map(ToString::to_string).collect::<Vec<_>>(), [expected], "{text}");
    }
}

#[test]
fn a_connector_without_a_spec_takes_any_option_and_secrets_go_by_their_names() {
    let spec = ConnectorSpec::unknown();
    let options: headwater_connect::Options = [("anything", "1"), ("api_token", "t")].into_iter().collect();
    assert_eq!(spec.check_connection_options(&options), []);
    spec.check_table_option("whatever").unwrap();
    assert!(spec.is_secret("api_token") && !spec.is_secret("anything"));
}
