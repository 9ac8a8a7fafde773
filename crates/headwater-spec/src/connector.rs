//! The connector spec as values.

use crate::check::{self, Checked};
use crate::connector_fields::{CONNECTOR, SECRET_TYPES};
use crate::diagnostic::{Complaints, Parsed, Problem, SpecErrors};
use crate::node::shown;

/// How the text of a parameter is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ParameterType {
    /// Any text.
    Text,
    /// A whole number.
    Integer,
    /// A number.
    Number,
    /// `true` or `false`.
    Boolean,
    /// An address with a scheme.
    Url,
    /// JSON.
    Json,
    /// Any text, which must not be shown.
    Secret,
}

impl ParameterType {
    /// The name that specs use.
    pub fn as_str(self) -> &'static str {
        match self {
            ParameterType::Text => "string",
            ParameterType::Integer => "integer",
            ParameterType::Number => "number",
            ParameterType::Boolean => "boolean",
            ParameterType::Url => "url",
            ParameterType::Json => "json",
            ParameterType::Secret => "secret",
        }
    }

    /// Reads a type by any of the names that are in use.
    fn named(name: &str) -> Option<Self> {
        Some(match name.to_ascii_lowercase().as_str() {
            "string" | "str" | "text" | "enum" | "file" | "date" | "datetime" | "timestamp" | "list"
            | "array" | "multiselect" | "select" => ParameterType::Text,
            "integer" | "int" | "long" | "bigint" => ParameterType::Integer,
            "number" | "float" | "double" | "decimal" => ParameterType::Number,
            "boolean" | "bool" => ParameterType::Boolean,
            "url" | "uri" => ParameterType::Url,
            "json" | "object" | "map" => ParameterType::Json,
            name if SECRET_TYPES.contains(&name) => ParameterType::Secret,
            _ => return None,
        })
    }
}

/// An option of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameter {
    /// Its name; connections may write it in any case.
    pub name: String,
    /// How its text is read.
    pub kind: ParameterType,
    /// A connection without it is refused.
    pub required: bool,
    /// Whether it must not be shown, where the spec says so.
    pub secret: Option<bool>,
    /// Name to show.
    pub display_name: Option<String>,
    /// What it is.
    pub description: Option<String>,
    /// What counts where a connection does not set it.
    pub default: Option<String>,
    /// The only values; any where it is empty.
    pub allowed_values: Vec<String>,
    /// An example value.
    pub example: Option<String>,
}

impl Parameter {
    /// Says whether the value must not be shown: as the spec says, else by its type, else by its name.
    pub fn is_secret(&self) -> bool {
        self.secret.unwrap_or_else(|| self.kind == ParameterType::Secret || is_secret_name(&self.name))
    }
}

/// Says whether a name is one that secrets have. Many specs do not mark theirs.
pub fn is_secret_name(name: &str) -> bool {
    let mut words = String::new();
    let mut before_lower = false;
    for c in name.chars() {
        if c.is_uppercase() && before_lower {
            words.push('_');
        }
        before_lower = c.is_lowercase() || c.is_ascii_digit();
        words.extend(if c == '-' || c == '.' || c == ' ' { '_'.to_lowercase() } else { c.to_lowercase() });
    }
    let parts: Vec<&str> = words.split('_').collect();
    matches!(
        parts.as_slice(),
        [
            ..,
            "password"
                | "passwd"
                | "passphrase"
                | "pwd"
                | "secret"
                | "token"
                | "apikey"
                | "credential"
                | "credentials"
                | "pat"
        ] | [.., "api" | "access" | "secret" | "private" | "auth" | "signing" | "account" | "shared", "key"]
            | [.., "secret" | "token" | "password", "value" | "text" | "json"]
            | [.., "private", "key", "pem" | "text" | "value" | "json"]
            | [.., "service", "account", "json"]
            | [.., "connection", "string"]
    )
}

/// A way to sign in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthMethod {
    /// Its name.
    pub name: String,
    /// Name to show.
    pub display_name: Option<String>,
    /// When to use it.
    pub description: Option<String>,
    /// Options that it needs.
    pub parameters: Vec<Parameter>,
    /// How its token is got, for OAuth.
    pub oauth: Option<OAuthSpec>,
}

/// How to get a token by OAuth 2.0.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OAuthSpec {
    /// Where the user agrees.
    pub authorization_endpoint: Option<String>,
    /// Where tokens come from.
    pub token_endpoint: Option<String>,
    /// What is asked for.
    pub scopes: Vec<String>,
    /// The grant.
    pub grant_type: Option<String>,
    /// Whether the code is bound to the client.
    pub pkce: Option<bool>,
}

/// What a connector's connection needs, and which table options it takes. Made by [`ConnectorSpec::parse`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectorSpec {
    pub(crate) name: Option<String>,
    pub(crate) display_name: Option<String>,
    pub(crate) description: Option<String>,
    pub(crate) parameters: Vec<Parameter>,
    pub(crate) auth_methods: Vec<AuthMethod>,
    pub(crate) oauth: Option<OAuthSpec>,
    pub(crate) table_options: Vec<String>,
    pub(crate) tables: Vec<String>,
    /// Whether an option that is not named here is taken too.
    pub(crate) takes_any: bool,
}

impl ConnectorSpec {
    /// Reads a connector spec from YAML or JSON. `file_name` is shown in errors; one that ends in `.json` makes the
    /// text JSON, otherwise the text decides. Fields that are not known are warnings.
    ///
    /// # Errors
    /// Everything that is wrong with the document, not only the first of it.
    pub fn parse(text: &str, file_name: &str) -> Result<Parsed<ConnectorSpec>, SpecErrors> {
        let (mut complaints, checked) = check::document(text, file_name, &CONNECTOR);
        let spec = checked.map(|top| build(&top, &mut complaints));
        complaints.finish(spec)
    }

    /// As [`ConnectorSpec::parse`], for the bytes of a file.
    ///
    /// # Errors
    /// As there, and bytes that are not UTF-8.
    pub fn parse_bytes(bytes: &[u8], file_name: &str) -> Result<Parsed<ConnectorSpec>, SpecErrors> {
        match check::text_of(bytes, file_name) {
            Ok(text) => Self::parse(text, file_name),
            Err(complaints) => complaints.finish(None),
        }
    }

    /// Stands for the spec of a connector that has none: nothing is known of its options, so any is taken.
    pub fn unknown() -> Self {
        Self {
            name: None,
            display_name: None,
            description: None,
            parameters: Vec::new(),
            auth_methods: Vec::new(),
            oauth: None,
            table_options: Vec::new(),
            tables: Vec::new(),
            takes_any: true,
        }
    }

    /// Says whether options that the spec does not name are taken too.
    pub fn takes_any_option(&self) -> bool {
        self.takes_any
    }

    /// Name of the connector, where the spec gives one.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Name to show, where the spec gives one.
    pub fn display_name(&self) -> Option<&str> {
        self.display_name.as_deref().or(self.name.as_deref())
    }

    /// What the connector reads.
    pub fn description(&self) -> Option<&str> {
        self.description.as_deref()
    }

    /// All options of a connection: the common ones, then those of each way to sign in. One that several ways
    /// share comes once for each.
    pub fn parameters(&self) -> impl Iterator<Item = &Parameter> {
        self.parameters.iter().chain(self.auth_methods.iter().flat_map(|method| &method.parameters))
    }

    /// The options that every connection has, whichever way it signs in.
    pub fn common_parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    /// The ways to sign in; none where there is nothing to choose.
    pub fn auth_methods(&self) -> &[AuthMethod] {
        &self.auth_methods
    }

    /// How to get a token by OAuth 2.0, where the connector says so.
    pub fn oauth(&self) -> Option<&OAuthSpec> {
        self.oauth.as_ref()
    }

    /// The options that a table's configuration may hand to the connector.
    pub fn table_options(&self) -> &[String] {
        &self.table_options
    }

    /// Tables that the spec names, for documentation; the connector itself is what counts.
    pub fn tables(&self) -> &[String] {
        &self.tables
    }

    /// Says whether the value of a connection's option must not be shown: as the spec marks it, else by its type,
    /// else by its name. An option that the spec does not know goes by its name.
    pub fn is_secret(&self, name: &str) -> bool {
        let mut known = self.parameters().filter(|p| p.name.eq_ignore_ascii_case(name)).peekable();
        if known.peek().is_none() { is_secret_name(name) } else { known.any(Parameter::is_secret) }
    }
}

fn build(top: &Checked, complaints: &mut Complaints) -> ConnectorSpec {
    let connection = top.object("connection");
    let mut parameters_made = Vec::new();
    let mut methods = Vec::new();
    if let Some(connection) = connection {
        parameters_made = parameters(connection, complaints);
    }
    for (holder, other) in [(Some(top), connection), (connection, None)] {
        let Some(holder) = holder else { continue };
        let Some(list) = holder.list("auth_methods") else { continue };
        if let Some(second) = other.filter(|other| other.list("auth_methods").is_some()) {
            let problem =
                Problem::Exclusive { first: "auth_methods".into(), second: second.path_of("auth_methods") };
            complaints.error(second.place_of("auth_methods"), &second.path_of("auth_methods"), problem);
        }
        methods.extend(list.iter().filter_map(|method| auth_method(method, complaints)));
    }
    unique(&parameters_made, &methods, top, complaints);
    ConnectorSpec {
        name: top.text("name"),
        display_name: top.text("display_name"),
        description: top.text("description"),
        parameters: parameters_made,
        auth_methods: methods,
        oauth: top.object("oauth").or_else(|| connection.and_then(|c| c.object("oauth"))).map(oauth),
        table_options: top.names("external_options_allowlist").unwrap_or_default(),
        tables: top.names("tables").unwrap_or_default(),
        takes_any: false,
    }
}

/// A method's name comes once, and none of its parameters is a common one.
fn unique(common: &[Parameter], methods: &[AuthMethod], top: &Checked, complaints: &mut Complaints) {
    for (i, method) in methods.iter().enumerate() {
        if methods.iter().take(i).any(|m| m.name.eq_ignore_ascii_case(&method.name)) {
            let reason = "is the name of two ways to sign in".to_owned();
            complaints.error(
                top.place,
                "auth_methods",
                Problem::BadValue { value: shown(&method.name), reason },
            );
        }
        for parameter in &method.parameters {
            if common.iter().any(|p| p.name.eq_ignore_ascii_case(&parameter.name)) {
                let detail = format!(
                    "`{}` is both a common parameter and one of `{}`",
                    shown(&parameter.name),
                    shown(&method.name)
                );
                complaints.add(top.place, "auth_methods", Problem::Doubtful { detail }, |d| {
                    d.hint("the common one counts").warning()
                });
            }
        }
    }
}

fn parameters(holder: &Checked, complaints: &mut Complaints) -> Vec<Parameter> {
    let mut made: Vec<Parameter> = Vec::new();
    for checked in holder.list("parameters").into_iter().flatten() {
        let Some(name) = checked.text("name") else { continue };
        if made.iter().any(|p| p.name.eq_ignore_ascii_case(&name)) {
            let reason = "is the name of two parameters".to_owned();
            let problem = Problem::BadValue { value: shown(&name), reason };
            complaints.error(checked.place_of("name"), &checked.path_of("name"), problem);
            continue;
        }
        let kind = match checked.text("type") {
            None => ParameterType::Text,
            Some(written) => ParameterType::named(&written).unwrap_or_else(|| {
                let detail =
                    format!("`{}` is not a known type; the value is taken for text", shown(&written));
                let (place, path) = (checked.place_of("type"), checked.path_of("type"));
                complaints.add(place, &path, Problem::Doubtful { detail }, |d| {
                    d.allow(["string", "integer", "number", "boolean", "url", "json", "list", "secret"])
                        .warning()
                });
                ParameterType::Text
            }),
        };
        made.push(Parameter {
            name,
            kind,
            required: checked.flag("required").unwrap_or(false),
            secret: checked.flag("secret"),
            display_name: checked.text("display_name"),
            description: checked.text("description").map(|text| text.trim().to_owned()),
            default: checked.text("default"),
            allowed_values: checked.names("allowed_values").unwrap_or_default(),
            example: checked.text("example"),
        });
    }
    made
}

fn auth_method(checked: &Checked, complaints: &mut Complaints) -> Option<AuthMethod> {
    Some(AuthMethod {
        name: checked.text("name")?,
        display_name: checked.text("display_name"),
        description: checked.text("description").map(|text| text.trim().to_owned()),
        parameters: parameters(checked, complaints),
        oauth: checked.object("oauth").map(oauth),
    })
}

fn oauth(checked: &Checked) -> OAuthSpec {
    OAuthSpec {
        authorization_endpoint: checked.text("authorization_endpoint"),
        token_endpoint: checked.text("token_endpoint"),
        scopes: checked.names("scopes").unwrap_or_default(),
        grant_type: checked.text("grant_type"),
        pkce: checked.flag("pkce"),
    }
}

#[cfg(test)]
mod tests {
    use super::is_secret_name;

    #[test]
    fn secrets_are_known_by_their_names() {
        for name in [
            "token",
            "api_token",
            "apiToken",
            "API_KEY",
            "apikey",
            "client_secret",
            "clientSecret",
            "password",
            "db-password",
            "private_key",
            "access_key",
            "secret_key",
            "refresh_token",
            "private_key_pem",
            "service_account_json",
            "credentials",
        ] {
            assert!(is_secret_name(name), "{name}");
        }
        for name in [
            "base_url",
            "token_url",
            "token_endpoint",
            "max_tokens",
            "key",
            "primary_key",
            "sort_key",
            "user",
            "client_id",
            "access_key_id",
            "password_file_age",
            "tokenizer",
            "secretary",
            "start_date",
        ] {
            assert!(!is_secret_name(name), "{name}");
        }
    }
}
