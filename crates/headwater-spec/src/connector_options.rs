//! Checks the options of a connection and of its tables against a connector spec.

use headwater_connect::Options;

use crate::connector::{AuthMethod, ConnectorSpec, Parameter, ParameterType};
use crate::diagnostic::{Diagnostic, Parsed, Problem};
use crate::names::nearest;
use crate::node::shown;
use crate::pipeline::PipelineSpec;

/// An option that platforms set on a connection by themselves: the allow list again.
const ALLOW_LIST_OPTION: &str = "externalOptionsAllowList";

/// What is wrong with the options of a connection. Shows no value of a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OptionProblem {
    /// A required option is not set.
    #[error("option `{name}` is missing{}", about(.description.as_deref(), .method.as_deref()))]
    Missing {
        /// The option.
        name: String,
        /// What it is.
        description: Option<String>,
        /// The way to sign in that needs it.
        method: Option<String>,
    },
    /// The connector has no such option.
    #[error("unknown option `{name}`")]
    Unknown {
        /// The option as written.
        name: String,
        /// The one that was probably meant.
        nearest: Option<String>,
        /// All there are.
        allowed: Vec<String>,
    },
    /// The value is not of the option's type.
    #[error("option `{name}` must be {expected}{}", found(.value.as_deref()))]
    WrongType {
        /// The option.
        name: String,
        /// What it must be.
        expected: &'static str,
        /// The value, cut short; absent for a secret.
        value: Option<String>,
    },
    /// The value is not one of those allowed.
    #[error("option `{name}` has a value that is not allowed{}", found(.value.as_deref()))]
    NotAllowed {
        /// The option.
        name: String,
        /// The value, cut short; absent for a secret.
        value: Option<String>,
        /// The values there are.
        allowed: Vec<String>,
    },
    /// No way to sign in was chosen.
    #[error("no way to sign in is set up")]
    NoAuthMethod {
        /// The ways there are, each with the options that choose it.
        methods: Vec<(String, Vec<String>)>,
    },
    /// Options of several ways to sign in are set.
    #[error("options of several ways to sign in are set: {}", .methods.join(", "))]
    SeveralAuthMethods {
        /// The ways.
        methods: Vec<String>,
        /// The options that do not go with the first of them.
        surplus: Vec<String>,
    },
}

fn about(description: Option<&str>, method: Option<&str>) -> String {
    let method = method.map(|m| format!(", which `{m}` needs")).unwrap_or_default();
    let description = description.map(|d| format!(" ({})", shown_text(d))).unwrap_or_default();
    format!("{method}{description}")
}

fn found(value: Option<&str>) -> String {
    value.map(|v| format!(", found `{v}`")).unwrap_or_default()
}

/// A description on one line, without its last full stop.
fn shown_text(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    line.trim_end_matches('.').chars().filter(|c| !c.is_control()).take(300).collect()
}

impl OptionProblem {
    /// Says what to change.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            OptionProblem::Missing { .. } | OptionProblem::WrongType { .. } => return None,
            OptionProblem::Unknown { nearest: Some(nearest), .. } => format!("did you mean `{nearest}`?"),
            OptionProblem::Unknown { allowed, .. } if allowed.is_empty() => {
                "the connector takes no options".into()
            }
            OptionProblem::Unknown { allowed, .. } | OptionProblem::NotAllowed { allowed, .. } => {
                format!("allowed: {}", allowed.join(", "))
            }
            OptionProblem::NoAuthMethod { methods } => methods
                .iter()
                .map(|(name, options)| format!("for `{name}` set {}", options.join(", ")))
                .collect::<Vec<_>>()
                .join("; "),
            OptionProblem::SeveralAuthMethods { surplus, .. } => format!("take out {}", surplus.join(", ")),
        })
    }
}

/// A table option that the connector does not take.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("connector `{connector}` has no table option `{name}`")]
pub struct TableOptionRefused {
    /// The option as written.
    pub name: String,
    /// The connector's name to show.
    pub connector: String,
    /// The options that it takes.
    pub allowed: Vec<String>,
    /// The one that was probably meant.
    pub nearest: Option<String>,
}

impl TableOptionRefused {
    /// Says what is allowed.
    pub fn hint(&self) -> String {
        match (self.nearest.as_deref(), self.allowed.as_slice()) {
            (_, []) => "the connector takes no table options".into(),
            (Some(nearest), allowed) => format!("did you mean `{nearest}`? allowed: {}", allowed.join(", ")),
            (None, allowed) => format!("allowed: {}", allowed.join(", ")),
        }
    }
}

/// Which way to sign in the options choose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChosenAuth<'a> {
    /// The connector offers no choice.
    NotNeeded,
    /// This one.
    Method(&'a AuthMethod),
    /// None, or not clearly one: why.
    Unclear(Vec<OptionProblem>),
}

impl ConnectorSpec {
    /// Says what is wrong with the options of a connection: missing, unknown, of a wrong type, or not clear about
    /// how to sign in. Empty when all is well. An option of the allow list is fine here: it counts for all tables.
    pub fn check_connection_options(&self, options: &Options) -> Vec<OptionProblem> {
        let mut problems = Vec::new();
        for (name, value) in options.iter() {
            match self.parameters().find(|p| p.name.eq_ignore_ascii_case(name)) {
                Some(parameter) => problems.extend(bad_value(parameter, value)),
                None if self.takes_table_option(name) || name.eq_ignore_ascii_case(ALLOW_LIST_OPTION) => {}
                None => problems.push(self.unknown_option(name)),
            }
        }
        let unset = |p: &&Parameter| p.required && p.default.is_none() && !is_set(options, p);
        problems.extend(self.common_parameters().iter().filter(unset).map(|p| missing(p, None)));
        if let ChosenAuth::Unclear(why) = self.chosen_auth_method(options) {
            problems.extend(why);
        }
        problems
    }

    /// Finds the way to sign in that the options choose: the one whose required options are all set and beside
    /// which no option of another is set. Of several such, the one with most required options counts, then the
    /// first.
    pub fn chosen_auth_method(&self, options: &Options) -> ChosenAuth<'_> {
        let methods = self.auth_methods();
        if methods.is_empty() {
            return ChosenAuth::NotNeeded;
        }
        let common =
            |p: &Parameter| self.common_parameters().iter().any(|c| c.name.eq_ignore_ascii_case(&p.name));
        let set: Vec<&Parameter> =
            methods.iter().flat_map(|m| &m.parameters).filter(|p| !common(p) && is_set(options, p)).collect();
        let surplus = |m: &AuthMethod| -> Vec<String> {
            let mut names: Vec<String> = set
                .iter()
                .filter(|p| !m.parameters.iter().any(|own| own.name.eq_ignore_ascii_case(&p.name)))
                .map(|p| p.name.clone())
                .collect();
            names.dedup_by(|a, b| a.eq_ignore_ascii_case(b));
            names
        };
        let unset = |m: &AuthMethod| -> Vec<OptionProblem> {
            let needed =
                m.parameters.iter().filter(|p| p.required && p.default.is_none() && !is_set(options, p));
            needed.map(|p| missing(p, Some(&m.name))).collect()
        };
        let required = |m: &AuthMethod| m.parameters.iter().filter(|p| p.required).count();
        let mut fitting: Vec<&AuthMethod> =
            methods.iter().filter(|m| unset(m).is_empty() && surplus(m).is_empty()).collect();
        fitting.sort_by_key(|m| std::cmp::Reverse(required(m)));
        if let Some(method) = fitting.first() {
            return ChosenAuth::Method(method);
        }
        if set.is_empty() {
            let needs = |m: &AuthMethod| {
                let names = m.parameters.iter().filter(|p| p.required).map(|p| format!("`{}`", p.name));
                (m.name.clone(), names.collect())
            };
            return ChosenAuth::Unclear(vec![OptionProblem::NoAuthMethod {
                methods: methods.iter().map(needs).collect(),
            }]);
        }
        // One way was begun: say what it lacks. Several: say which, and what to take out.
        let mut begun: Vec<&AuthMethod> = methods.iter().filter(|m| surplus(m).len() < set.len()).collect();
        begun.sort_by_key(|m| (surplus(m).len(), unset(m).len()));
        match begun.first() {
            Some(best) if surplus(best).is_empty() => ChosenAuth::Unclear(unset(best)),
            Some(best) => ChosenAuth::Unclear(vec![OptionProblem::SeveralAuthMethods {
                methods: begun.iter().map(|m| format!("`{}`", m.name)).collect(),
                surplus: surplus(best).iter().map(|name| format!("`{name}`")).collect(),
            }]),
            None => ChosenAuth::Unclear(Vec::new()),
        }
    }

    /// Says whether a table's configuration may hand the option to the connector. The engine's own settings
    /// (`scd_type` and the like) are no options of the connector and must not come here.
    ///
    /// # Errors
    /// It is not on the allow list.
    pub fn check_table_option(&self, name: &str) -> Result<(), TableOptionRefused> {
        if self.takes_table_option(name) {
            return Ok(());
        }
        Err(TableOptionRefused {
            name: shown(name),
            connector: self.display_name().unwrap_or("this connector").to_owned(),
            allowed: self.table_options().to_vec(),
            nearest: nearest(name, self.table_options().iter().map(String::as_str)).map(str::to_owned),
        })
    }

    fn takes_table_option(&self, name: &str) -> bool {
        self.takes_any || self.table_options().iter().any(|option| option.eq_ignore_ascii_case(name))
    }

    fn unknown_option(&self, name: &str) -> OptionProblem {
        let mut allowed: Vec<String> = Vec::new();
        for parameter in self.parameters() {
            if !allowed.iter().any(|a| a.eq_ignore_ascii_case(&parameter.name)) {
                allowed.push(parameter.name.clone());
            }
        }
        let nearest = nearest(name, allowed.iter().map(String::as_str)).map(str::to_owned);
        OptionProblem::Unknown { name: shown(name), nearest, allowed }
    }
}

impl Parsed<PipelineSpec> {
    /// Finds the table options of the spec that a connector does not take, each with its place.
    pub fn check_table_options(&self, connector: &ConnectorSpec) -> Vec<Diagnostic> {
        let mut found = Vec::new();
        for object in self.value.objects() {
            for name in object.configuration().connector_options.names() {
                let Err(refused) = connector.check_table_option(name) else { continue };
                let own = format!("{}.table_configuration.{}", object.path(), shown(name));
                // A default of the pipeline stands above all objects; then it is named once, there.
                let above = object.path().split("objects[").next().unwrap_or_default();
                let default = format!("{above}table_configuration.{}", shown(name));
                let path = if self.source.has(&own) { own } else { default };
                let problem =
                    Problem::TableOption { name: refused.name.clone(), connector: refused.connector.clone() };
                let mut diagnostic = self.source.diagnostic(self.source.place(&path), &path, problem);
                if refused.allowed.is_empty() {
                    diagnostic = diagnostic.hint("the connector takes no table options");
                }
                diagnostic.allowed = refused.allowed;
                diagnostic.nearest = refused.nearest;
                if !found.contains(&diagnostic) {
                    found.push(diagnostic);
                }
            }
        }
        found
    }
}

/// An option that is set to nothing is not set.
fn is_set(options: &Options, parameter: &Parameter) -> bool {
    options.get(&parameter.name).is_some_and(|value| !value.trim().is_empty())
}

fn missing(parameter: &Parameter, method: Option<&str>) -> OptionProblem {
    OptionProblem::Missing {
        name: parameter.name.clone(),
        description: parameter.description.clone().filter(|d| !d.is_empty()),
        method: method.map(str::to_owned),
    }
}

fn bad_value(parameter: &Parameter, value: &str) -> Option<OptionProblem> {
    let trimmed = value.trim();
    if trimmed.is_empty() {
        return None;
    }
    let visible = || (!parameter.is_secret()).then(|| shown(value));
    let expected = match parameter.kind {
        ParameterType::Integer if trimmed.parse::<i128>().is_err() => Some("an integer"),
        ParameterType::Number if !trimmed.parse::<f64>().is_ok_and(f64::is_finite) => Some("a number"),
        ParameterType::Boolean if !["true", "false"].iter().any(|b| b.eq_ignore_ascii_case(trimmed)) => {
            Some("`true` or `false`")
        }
        ParameterType::Url if !is_url(trimmed) => Some("an address such as `https://example.com/`"),
        ParameterType::Json if serde_json::from_str::<&serde_json::value::RawValue>(trimmed).is_err() => {
            Some("JSON")
        }
        _ => None,
    };
    if let Some(expected) = expected {
        return Some(OptionProblem::WrongType { name: parameter.name.clone(), expected, value: visible() });
    }
    let allowed = &parameter.allowed_values;
    (!allowed.is_empty() && !allowed.iter().any(|a| a == value)).then(|| OptionProblem::NotAllowed {
        name: parameter.name.clone(),
        value: visible(),
        allowed: allowed.clone(),
    })
}

fn is_url(text: &str) -> bool {
    text.split_once("://").is_some_and(|(scheme, rest)| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
            && !rest.is_empty()
            && !rest.contains(char::is_whitespace)
    })
}
