//! The router's egress and the receiver behind it, for native tests: secrets are names, and answers are what the test says.

use std::{
    cell::RefCell,
    collections::{BTreeSet, VecDeque},
    marker::PhantomData,
};

use super::{Algorithm, EgressError, Request, Response, SecretError};

/// As in the router: what it would refuse is refused here.
const SENDS_MAX: usize = 16;
const URL_BYTES_MAX: usize = 2_048;
const HEADERS_MAX: usize = 64;
const BODY_BYTES_MAX: usize = 256 * 1024;

/// The egress of this thread, from its making on: without secrets, and nothing is answered. A placeholder is `SECRET-` and the name
/// of the secret, so that what was sent can be read; a signature is `ALGORITHM by NAME: ` and what was signed.
#[derive(Debug)]
pub struct FakeEgress {
    /// It belongs to its thread.
    _thread: PhantomData<*const ()>,
}

impl FakeEgress {
    /// A new egress of a sink with secrets of these names.
    #[must_use]
    pub fn with_secrets(names: &[&str]) -> Self {
        let secrets = names.iter().map(|name| (*name).to_owned());
        FAKE.replace(Fake {
            secrets: secrets.collect(),
            ..Fake::default()
        });
        Self {
            _thread: PhantomData,
        }
    }

    /// The next request without an answer so far is answered so.
    pub fn answers(&self, status: u16, body: &str) {
        self.answers_with(Ok(Response {
            status,
            headers: Vec::new(),
            body: body.as_bytes().to_vec(),
        }));
    }

    /// The same, with headers, or with an error.
    pub fn answers_with(&self, answer: Result<Response, EgressError>) {
        FAKE.with_borrow_mut(|fake| fake.answers.push_back(answer));
    }

    /// What was sent, the newest last.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        FAKE.with_borrow(|fake| fake.requests.clone())
    }
}

thread_local! {
    static FAKE: RefCell<Fake> = RefCell::default();
}

#[derive(Default)]
struct Fake {
    secrets: BTreeSet<String>,
    answers: VecDeque<Result<Response, EgressError>>,
    requests: Vec<Request>,
}

impl Fake {
    fn send(&mut self, request: &Request) -> Result<Response, EgressError> {
        let is_method =
            ["GET", "POST", "PUT", "PATCH", "DELETE"].contains(&request.method.as_str());
        if !is_method
            || request.url.len() > URL_BYTES_MAX
            || request.headers.len() > HEADERS_MAX
            || request.body.len() > BODY_BYTES_MAX
            || self.requests.len() == SENDS_MAX
        {
            return Err(EgressError::Other("the router would refuse it".to_owned()));
        }
        self.requests.push(request.clone());
        let silence = Err(EgressError::Failed("nobody answers".to_owned()));
        self.answers.pop_front().unwrap_or(silence)
    }
}

/// What the functions of the module above come to.
pub(super) mod functions {
    use super::{Algorithm, EgressError, FAKE, Request, Response, SecretError};

    pub(in super::super) fn send(request: &Request) -> Result<Response, EgressError> {
        FAKE.with_borrow_mut(|fake| fake.send(request))
    }

    pub(in super::super) fn placeholder(secret: &str) -> Result<String, SecretError> {
        known(secret)?;
        Ok(format!("SECRET-{secret}"))
    }

    pub(in super::super) fn sign(
        secret: &str,
        algorithm: &Algorithm,
        bytes: &[u8],
    ) -> Result<Vec<u8>, SecretError> {
        known(secret)?;
        let algorithm = match algorithm {
            Algorithm::HmacSha256 => "hmac-sha256",
            Algorithm::Ed25519 => "ed25519",
            Algorithm::Other(name) => name,
        };
        let signed = format!("{algorithm} by {secret}: ");
        Ok([signed.as_bytes(), bytes].concat())
    }

    fn known(secret: &str) -> Result<(), SecretError> {
        FAKE.with_borrow(|fake| {
            let is_known = fake.secrets.contains(secret);
            is_known.then_some(()).ok_or(SecretError::Unknown)
        })
    }
}
