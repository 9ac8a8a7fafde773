use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use headwater_connect::{Connector, ConnectorError, ConnectorFactory, Options};
use headwater_http::{Auth, HttpClient, RateBudget, RateLimit, RetryPolicy};

use crate::connector::ExampleConnector;
use crate::server::{ExampleOptions, ExampleServer};

/// Makes connectors to an example shop: one somewhere else (`base_url`), or one in this process.
///
/// Connections with the same settings share a shop, which stays open as long as the factory or a connector to it.
#[derive(Debug, Default)]
pub struct ExampleFactory {
    servers: Mutex<Vec<(ExampleOptions, Arc<ExampleServer>)>>,
}

impl ExampleFactory {
    /// A factory without a shop yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The shop with these settings, started where it is not there yet.
    fn server(&self, options: ExampleOptions) -> Result<Arc<ExampleServer>, ConnectorError> {
        let mut servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, server)) = servers.iter().find(|(known, _)| *known == options) {
            return Ok(Arc::clone(server));
        }
        let server = ExampleServer::start(options.clone())
            .map_err(|error| ConnectorError::Unavailable { source: Box::new(error) })?;
        let server = Arc::new(server);
        servers.push((options, Arc::clone(&server)));
        Ok(server)
    }
}

#[async_trait]
impl ConnectorFactory for ExampleFactory {
    fn name(&self) -> &str {
        "example"
    }

    fn connector_spec(&self) -> Option<&str> {
        Some(crate::CONNECTOR_SPEC)
    }

    async fn connect(&self, options: &Options) -> Result<Box<dyn Connector>, ConnectorError> {
        let (base_url, server) = match options.get("base_url") {
            Some(url) => (url.to_owned(), None),
            None if flag(options, "embedded", true)? => {
                let server = self.server(shop_options(options)?)?;
                (server.base_url(), Some(server))
            }
            None => {
                return Err(ConnectorError::MissingOption {
                    name: "base_url".into(),
                    hint: "the address of an example shop, or `embedded: true` for one in this process"
                        .into(),
                });
            }
        };
        // All tables of all pipelines that ask this shop with this token keep to its limits together.
        let token = options.secret("token");
        let budget = RateBudget::shared(&base_url, token.as_ref(), RateLimit::default());
        let mut client = HttpClient::builder(&base_url).budget(budget).retry(RetryPolicy {
            base: Duration::from_millis(50),
            cap: Duration::from_secs(5),
            ..RetryPolicy::default()
        });
        if let Some(token) = token {
            client = client.auth(Auth::Bearer(token));
        }
        Ok(Box::new(ExampleConnector::new(client.build()?, server)))
    }
}

fn shop_options(options: &Options) -> Result<ExampleOptions, ConnectorError> {
    let default = ExampleOptions::default();
    let rate = |name| match number(options, name, 0.0)? {
        rate if (0.0..=1.0).contains(&rate) => Ok(rate),
        rate => {
            Err(ConnectorError::invalid_option(name, format!("is {rate}; it must be a share from 0 to 1")))
        }
    };
    let opened_at = options.get("opened_at").map(|text| {
        text.trim().parse().map_err(|_| {
            ConnectorError::invalid_option("opened_at", "is not a time such as 2026-01-31T08:00:00Z")
        })
    });
    Ok(ExampleOptions {
        seed: number(options, "seed", default.seed)?,
        steps: number(options, "steps", default.steps)?,
        steps_per_request: number(options, "steps_per_request", default.steps_per_request)?,
        opened_at: opened_at.transpose()?,
        error_rate: rate("error_rate")?,
        throttle_rate: rate("throttle_rate")?,
        truncate_rate: rate("truncate_rate")?,
        retry_after_secs: number(options, "retry_after_secs", default.retry_after_secs)?,
        latency: Duration::from_millis(number(options, "latency_ms", 0)?),
        token: options.secret("token"),
    })
}

fn number<T: FromStr>(options: &Options, name: &str, default: T) -> Result<T, ConnectorError> {
    match options.get(name) {
        None => Ok(default),
        Some(text) => text
            .trim()
            .parse()
            .map_err(|_| ConnectorError::invalid_option(name, format!("is `{text}`, not a number"))),
    }
}

fn flag(options: &Options, name: &str, default: bool) -> Result<bool, ConnectorError> {
    match options.get(name).map(|text| text.trim().to_ascii_lowercase()).as_deref() {
        None => Ok(default),
        Some("true" | "yes" | "1") => Ok(true),
        Some("false" | "no" | "0") => Ok(false),
        Some(_) => Err(ConnectorError::invalid_option(name, "must be true or false")),
    }
}
