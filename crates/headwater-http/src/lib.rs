//! What a source connector needs of HTTP: one client with credentials, retries, a rate budget and limits, and
//! helpers that page through a source ahead of the reader.
//!
//! **Invariants:** a request sent twice is one that may be sent twice; credentials go to the host of the base
//! URL and to no other; no error, log line or `Debug` output holds a secret; a body is never larger in memory
//! than its limit; dropping a future or a stream stops its requests.
//!
//! Start reading at [`HttpClient`], then [`pages`].
//!
//! ```no_run
//! # async fn example() -> Result<(), headwater_connect::ConnectorError> {
//! use headwater_connect::Secret;
//! use headwater_http::{Auth, HttpClient};
//!
//! let client = HttpClient::builder("https://shop.example/api/v1")
//!     .auth(Auth::Bearer(Secret::new("…")))
//!     .build()?;
//! let response = client.get("orders").query("since", "2024-01-01T00:00:00Z").send().await?;
//! let page: serde_json::Value = response.json()?;
//! # Ok(()) }
//! ```

mod auth;
mod body;
mod budget;
mod client;
mod cookies;
mod error;
mod jwt;
mod oauth;
pub mod pages;
mod quota;
mod records;
mod redact;
mod request;
mod response;
mod retry;
mod send;
mod stats;
mod token;
mod transport;
pub mod windows;

pub use auth::Auth;
pub use budget::{RateBudget, RateLimit};
pub use client::{HttpClient, HttpClientBuilder, Timeouts};
pub use error::HttpError;
pub use jwt::{SigningKey, SigningKeyError};
pub use oauth::{Assertion, ClientAuth, KeepRotated, OAuth2, RotatedToken, TokenError};
pub use records::RecordPages;
pub use request::Request;
pub use response::Response;
pub use retry::RetryPolicy;
pub use stats::{RequestCounts, RequestStats};
pub use token::{AccessToken, TokenHttp, TokenSource};
pub use transport::{SimulatorAddress, lead_to};

pub use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
pub use reqwest::{Method, StatusCode};
