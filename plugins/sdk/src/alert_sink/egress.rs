//! HTTP for sinks: only to the origins that the sink's `allow` names, without redirects, with bounds on head, body and time.
//!
//! ```
//! use router_plugin_sdk::alert_sink::egress::{self, FakeEgress, Request};
//!
//! let receiver = FakeEgress::with_secrets(&["webhook_url"]);
//! receiver.answers(200, "ok");
//! let request = Request::post_json(egress::placeholder("webhook_url").unwrap(), "{}");
//! assert!(egress::send(&request).unwrap().is_success());
//! assert_eq!(receiver.requests()[0].url, "SECRET-webhook_url");
//! ```

#[cfg(not(target_family = "wasm"))]
mod fake;

use std::borrow::Cow;

#[cfg(target_family = "wasm")]
use super::bindings::router::alerts::egress as router;
use super::{DeliveryError, times};
#[cfg(not(target_family = "wasm"))]
use fake::functions as router;

pub use super::bindings::router::alerts::egress::{
    Algorithm, EgressError, Request, Response, SecretError,
};
#[cfg(not(target_family = "wasm"))]
pub use fake::FakeEgress;

/// Sends one request.
///
/// # Errors
/// Nothing came back. A status is no error, whatever it is.
pub fn send(request: &Request) -> Result<Response, EgressError> {
    router::send(request)
}

/// A token that stands for a secret of the sink in the requests of this call. The router replaces it as the place demands:
/// percent-encoded in path and query, escaped in JSON, encoded in a form, verbatim in a header.
///
/// # Errors
/// The sink has no such secret.
pub fn placeholder(secret: &str) -> Result<String, SecretError> {
    router::placeholder(secret)
}

/// Signs bytes with a secret of the sink.
///
/// # Errors
/// The sink has no such secret, or it is no key for that.
pub fn sign(secret: &str, algorithm: &Algorithm, bytes: &[u8]) -> Result<Vec<u8>, SecretError> {
    router::sign(secret, algorithm, bytes)
}

/// The token for a secret that the sink cannot do without. Where it is missing the configuration is at fault, which may be corrected
/// before the router gives up.
///
/// # Errors
/// The sink has no such secret; says what to configure.
pub fn required(secret: &str) -> Result<String, DeliveryError> {
    placeholder(secret).map_err(|_| {
        DeliveryError::retry(format!(
            "the sink has no secret {secret}: name its variable in the sink's `secrets`"
        ))
    })
}

impl Request {
    /// Posts JSON.
    pub fn post_json(url: impl Into<String>, body: impl Into<Vec<u8>>) -> Self {
        Self {
            method: "POST".to_owned(),
            url: url.into(),
            headers: vec![("content-type".to_owned(), "application/json".to_owned())],
            body: body.into(),
        }
    }

    /// The same request, with another header.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }
}

impl Response {
    /// Whether the status says that it was taken.
    #[must_use]
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// Whether the status says that it may be taken later: too many requests, or a fault of the other side's own.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        matches!(self.status, 408 | 425 | 429 | 500..)
    }

    /// The value of a header; the name in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let header = self.headers.iter().find(|(one, _)| one == name)?;
        Some(&header.1)
    }

    /// How long the other side asks to wait, in milliseconds.
    #[must_use]
    pub fn retry_after_ms(&self, now_ms: u64) -> Option<u64> {
        times::retry_after_ms(self.header("retry-after")?, now_ms)
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.body)
    }

    /// What it answered, in one line for operators: the status and the beginning of the body.
    #[must_use]
    pub fn describe(&self) -> String {
        let text = self.text();
        let pieces: Vec<&str> = text.split_whitespace().take(300).collect();
        match pieces.join(" ").as_str() {
            "" => format!("it answered {}", self.status),
            text => format!(
                "it answered {}: {}",
                self.status,
                super::truncated(text, 300)
            ),
        }
    }

    /// That it is to be tried again, after as long as the other side asks for.
    #[must_use]
    pub fn retry(&self, now_ms: u64) -> DeliveryError {
        DeliveryError::retry_after(self.describe(), self.retry_after_ms(now_ms))
    }
}
