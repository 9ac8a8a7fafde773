//! The fields of a connector spec.

use crate::fields::{Field, ObjectKind, Rest, Rule, Shape, TextRule};

const LINE: Shape = Shape::Text(TextRule::Line);
const FREE: Shape = Shape::Text(TextRule::Free);

const PARAMETERS: Field = Field::new(
    "parameters",
    Shape::List { of: &PARAMETER, empty: true },
    "Options that a connection has, whichever way it signs in.",
)
.example(r#"[{"name": "base_url", "type": "string", "required": true, "description": "Address of the wiki's api.php."}]"#);
const AUTH_METHODS: Field = Field::new(
    "auth_methods",
    Shape::List { of: &AUTH_METHOD, empty: true },
    "Ways to sign in. Which one a connection uses shows by the parameters that it sets.",
)
.example(r#"[{"name": "api_token", "parameters": [{"name": "token", "required": true, "secret": true}]}]"#);
const OAUTH: Field = Field::new("oauth", Shape::Object(&OAUTH_KIND), "How to get a token by OAuth 2.0. Kept for tools that do so.")
    .example(r#"{"authorization_endpoint": "https://example.com/oauth/authorize", "token_endpoint": "https://example.com/oauth/token", "scopes": ["read"]}"#);

pub(crate) static CONNECTOR: ObjectKind = ObjectKind {
    name: "connector",
    about: "A connector: what its connection needs and which table options it takes. A field that is not listed is ignored with a warning.",
    fields: &[
        Field::new("name", LINE, "Name of the connector in the project.").example("\"mediawiki\""),
        Field::new("display_name", LINE, "Name to show.").example("\"MediaWiki\""),
        Field::new("description", FREE, "What the connector reads, in a sentence.").example("\"Pages and edits of any MediaWiki.\""),
        Field::new("connection", Shape::Object(&CONNECTION), "What a connection holds.")
            .example(r#"{"parameters": [{"name": "base_url", "required": true}]}"#),
        AUTH_METHODS,
        OAUTH,
        Field::new(
            "external_options_allowlist",
            Shape::Names { most: 10_000, empty: true },
            "Names of the options that `table_configuration` may hand to the connector: a list, or one text with commas. Without it, none.",
        )
        .example(r#"["namespace", "with_content"]"#),
        Field::new("tables", Shape::NamesOrObjects, "Tables of the connector, for documentation.").example(r#"["pages", "revisions"]"#),
    ],
    rest: Rest::Ignored,
    rules: &[],
};

static CONNECTION: ObjectKind = ObjectKind {
    name: "connection",
    about: "What a connection holds.",
    fields: &[PARAMETERS, AUTH_METHODS, OAUTH],
    rest: Rest::Ignored,
    rules: &[],
};

/// Types that say how a value is read; anything else is taken for text, with a warning.
pub(crate) const SECRET_TYPES: &[&str] = &["secret", "password", "credential", "token"];

static PARAMETER: ObjectKind = ObjectKind {
    name: "parameter",
    about: "An option of a connection.",
    fields: &[
        Field::new("name", LINE, "Its name.").required().example("\"base_url\""),
        Field::new("type", LINE, "Its type: `string` (the default), `integer`, `number`, `boolean`, `url`, `json`, `list`, or `secret` for a text that must not be shown.")
            .example("\"string\""),
        Field::new("required", Shape::Flag, "A connection without it is refused.").example("true"),
        Field::new("secret", Shape::Flag, "It must not be shown or stand in a file. Without this, type and name decide.").example("false"),
        Field::new("display_name", LINE, "Name to show.").example("\"Base URL\""),
        Field::new("description", FREE, "What it is, and where to find it.").example("\"Address of the wiki's api.php.\""),
        Field::new("default", Shape::Scalar, "What counts where a connection does not set it.").example("\"https://example.com/w/api.php\""),
        Field::new("allowed_values", Shape::Scalars, "The only values. `enum` is another name for it.")
            .alias("enum")
            .example(r#"["test", "live"]"#),
        Field::new("example", Shape::Scalar, "An example value.").example("\"https://example.com/w/api.php\""),
    ],
    rest: Rest::Ignored,
    rules: &[],
};

static AUTH_METHOD: ObjectKind = ObjectKind {
    name: "auth_method",
    about: "A way to sign in.",
    fields: &[
        Field::new("name", LINE, "Its name. `type` is another name for it.")
            .alias("type")
            .example("\"api_token\""),
        Field::new("display_name", LINE, "Name to show.").example("\"API token\""),
        Field::new("description", FREE, "When to use it.").example("\"A token of one user.\""),
        Field::new("parameters", Shape::List { of: &PARAMETER, empty: true }, "Options that this way needs.")
            .example(r#"[{"name": "token", "required": true, "secret": true}]"#),
        OAUTH,
    ],
    rest: Rest::Ignored,
    rules: &[Rule::ExactlyOne(&["name"])],
};

static OAUTH_KIND: ObjectKind = ObjectKind {
    name: "oauth",
    about: "How to get a token by OAuth 2.0.",
    fields: &[
        Field::new(
            "authorization_endpoint",
            LINE,
            "Where the user agrees. `authorization_url` is another name for it.",
        )
        .alias("authorization_url")
        .example("\"https://example.com/oauth/authorize\""),
        Field::new("token_endpoint", LINE, "Where tokens come from. `token_url` is another name for it.")
            .alias("token_url")
            .example("\"https://example.com/oauth/token\""),
        Field::new(
            "scopes",
            Shape::Names { most: 1_000, empty: true },
            "What is asked for: a list, or one text with commas. `scope` is another name for it.",
        )
        .alias("scope")
        .example(r#"["read"]"#),
        Field::new("grant_type", LINE, "The grant, such as `authorization_code`.")
            .example("\"authorization_code\""),
        Field::new("pkce", Shape::Flag, "Whether the code is bound to the client (PKCE).").example("true"),
    ],
    rest: Rest::Ignored,
    rules: &[],
};
