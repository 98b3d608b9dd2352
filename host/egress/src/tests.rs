//! Egress against real receivers: over TCP and TLS, well-behaved and hostile.

mod hostile;
mod receiver;
mod sending;
mod trust;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use router_values::{Origin, Secret};
use tokio::time::Instant;

use crate::{
    Egress, EgressCall, EgressError, EgressOptions, EgressRequest,
    dial::{Addresses, Resolve},
};

/// A resolver whose answer is another one each time.
struct Changing {
    answers: Vec<Vec<SocketAddr>>,
    asked: Arc<AtomicUsize>,
}

impl Resolve for Changing {
    fn resolve(&self, _: &str, _: u16) -> Addresses {
        let at = self.asked.fetch_add(1, Ordering::SeqCst);
        let answer = self.answers[at.min(self.answers.len() - 1)].clone();
        Box::pin(async move { Ok(answer) })
    }
}

fn options(allow: &[&str], secrets: &[(&str, &str)]) -> EgressOptions {
    let allow = allow.iter().map(|one| Origin::parse_http(one).unwrap());
    let secrets = secrets.iter();
    let secrets = secrets.map(|(name, value)| ((*name).to_owned(), Secret::new(*value)));
    EgressOptions {
        allow: allow.collect(),
        secrets: secrets.collect::<BTreeMap<_, _>>(),
        ..EgressOptions::default()
    }
}

fn resolved(options: EgressOptions, answers: &[&[SocketAddr]]) -> (Egress, Arc<AtomicUsize>) {
    let asked = Arc::default();
    let resolver = Changing {
        answers: answers.iter().map(|answer| answer.to_vec()).collect(),
        asked: Arc::clone(&asked),
    };
    (
        Egress::with_resolver(options, Box::new(resolver)).unwrap(),
        asked,
    )
}

/// A call with as much time as none of these tests needs.
fn call(egress: &Egress) -> EgressCall {
    egress.begin(Instant::now() + Duration::from_secs(60))
}

fn get(url: impl Into<String>) -> EgressRequest {
    EgressRequest {
        method: "GET".to_owned(),
        url: url.into(),
        ..EgressRequest::default()
    }
}

fn post(url: impl Into<String>, content_type: &str, body: impl Into<Vec<u8>>) -> EgressRequest {
    EgressRequest {
        method: "POST".to_owned(),
        url: url.into(),
        headers: vec![("content-type".to_owned(), content_type.to_owned())],
        body: body.into(),
    }
}

#[track_caller]
fn denied<T: std::fmt::Debug>(result: Result<T, EgressError>) -> String {
    match result {
        Err(EgressError::Denied(reason)) => reason,
        other => panic!("expected to be denied, not {other:?}"),
    }
}

#[track_caller]
fn failed<T: std::fmt::Debug>(result: Result<T, EgressError>) -> String {
    match result {
        Err(EgressError::Failed(reason)) => reason,
        other => panic!("expected a failure, not {other:?}"),
    }
}
