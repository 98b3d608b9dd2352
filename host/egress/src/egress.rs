//! The egress of one sink, and of one call of it.

use std::{collections::BTreeMap, fmt, sync::Arc};

use http::HeaderMap;
use tokio::time::{Instant, timeout_at};

use crate::{
    allow::AllowList,
    dial::{Dialler, Resolve, SystemResolver},
    exchange::{Answer, exchange},
    fill::{Filled, Placeholders, fill},
    message::{EgressError, EgressRequest, EgressResponse, HEADERS_MAX, SENDS_MAX},
    options::{EgressOptions, InvalidEgress},
    redact::Redactor,
    secrets::Secrets,
    sign::{Algorithm, SecretError, sign},
    tls::Tls,
};

/// Everything that one sink may send through. Cheap to clone.
#[derive(Clone)]
pub struct Egress(Arc<Inner>);

struct Inner {
    secrets: Secrets,
    redactor: Redactor,
    dialler: Dialler,
}

/// The egress of one call: with placeholders of its own, which mean nothing in any other.
#[derive(Debug)]
pub struct EgressCall {
    egress: Egress,
    placeholders: Placeholders,
    sends: u32,
    deadline: Instant,
}

impl Egress {
    /// Reads certificate authorities; blocks for as long as that takes.
    ///
    /// # Errors
    /// The sink cannot send as it is configured.
    pub fn open(options: EgressOptions) -> Result<Self, InvalidEgress> {
        Self::with_resolver(options, Box::new(SystemResolver))
    }

    pub(crate) fn with_resolver(
        options: EgressOptions,
        resolver: Box<dyn Resolve>,
    ) -> Result<Self, InvalidEgress> {
        let secrets = Secrets::new(options.secrets)?;
        Ok(Self(Arc::new(Inner {
            redactor: Redactor::new(&secrets),
            secrets,
            dialler: Dialler {
                allow: AllowList::new(options.allow),
                tls: Tls::open(options.ca_file.as_deref())?,
                proxy: options.proxy,
                resolver,
            },
        })))
    }

    /// Begins a call, whose requests must be answered by then.
    #[must_use]
    pub fn begin(&self, deadline: Instant) -> EgressCall {
        EgressCall {
            egress: self.clone(),
            placeholders: Placeholders::default(),
            sends: 0,
            deadline,
        }
    }

    /// How often each secret was used: sent, or signed with.
    #[must_use]
    pub fn secret_uses(&self) -> BTreeMap<String, u64> {
        self.0.secrets.uses()
    }
}

impl EgressCall {
    /// A token that stands for a secret in the requests of this call, the same for each time it is asked for.
    ///
    /// # Errors
    /// The sink has no such secret.
    pub fn placeholder(&mut self, secret: &str) -> Result<String, SecretError> {
        self.placeholders.token(&self.egress.0.secrets, secret)
    }

    /// Signs bytes with a secret.
    ///
    /// # Errors
    /// The sink has no such secret, or it is no key for that.
    pub fn sign(
        &self,
        secret: &str,
        algorithm: Algorithm,
        bytes: &[u8],
    ) -> Result<Vec<u8>, SecretError> {
        let (_, secret) = self
            .egress
            .0
            .secrets
            .get(secret)
            .ok_or(SecretError::Unknown)?;
        sign(secret.use_value(), algorithm, bytes)
    }

    /// Sends one request, with secrets where their tokens stand. What it returns may be awaited on any runtime that has I/O and time,
    /// and ends the exchange when it is dropped.
    ///
    /// # Errors
    /// Nothing came back. A status is no error, whatever it is.
    pub fn send(
        &mut self,
        request: EgressRequest,
    ) -> impl Future<Output = Result<EgressResponse, EgressError>> + Send + use<> {
        self.sends = self.sends.saturating_add(1);
        let egress = Arc::clone(&self.egress.0);
        let filled = if self.sends > SENDS_MAX {
            Err(EgressError::Invalid(format!(
                "a call may send {SENDS_MAX} requests, and this is one more"
            )))
        } else {
            fill(&egress.secrets, &self.placeholders, request)
        };
        let deadline = self.deadline;
        async move {
            let redactor = &egress.redactor;
            let sent = timeout_at(deadline, egress.exchange(filled)).await;
            match sent.unwrap_or(Err(EgressError::TimedOut)) {
                Ok(answer) => Ok(redacted(redactor, &answer)),
                Err(error) => Err(redactor.error(error)),
            }
        }
    }
}

impl Inner {
    async fn exchange(&self, filled: Result<Filled, EgressError>) -> Result<Answer, EgressError> {
        let Filled {
            target,
            address_of,
            request,
        } = filled?;
        let allow = &self.dialler.allow;
        allow.check(&target.origin, address_of.as_deref())?;
        let stream = self.dialler.connect(&target.origin).await?;
        exchange(stream, request, self.redactor.body_bytes_max()).await
    }
}

fn redacted(redactor: &Redactor, answer: &Answer) -> EgressResponse {
    EgressResponse {
        status: answer.status.as_u16(),
        headers: headers(redactor, &answer.headers),
        body: redactor.body(&answer.body, answer.goes_on),
    }
}

fn headers(redactor: &Redactor, headers: &HeaderMap) -> Vec<(String, String)> {
    let pairs = headers.iter().take(HEADERS_MAX);
    let text = |bytes: &[u8]| redactor.text(&String::from_utf8_lossy(bytes));
    pairs
        .map(|(name, value)| (text(name.as_str().as_bytes()), text(value.as_bytes())))
        .collect()
}

impl fmt::Debug for Egress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut egress = f.debug_struct("Egress");
        egress.field("allow", &self.0.dialler.allow);
        egress.field("secrets", &self.0.secrets);
        egress.finish_non_exhaustive()
    }
}
