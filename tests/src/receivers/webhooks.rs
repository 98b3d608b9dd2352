//! A receiver of Standard Webhooks that keeps what it takes, and answers as a test wants. Its signatures are judged elsewhere.

use std::{collections::VecDeque, sync::Arc};

use parking_lot::Mutex;
use serde_json::Value;

use super::{Received, Reply, Service};

/// See the module.
#[derive(Default)]
pub struct Webhooks {
    /// What it does with the next requests in place of taking them.
    next: Mutex<VecDeque<Reply>>,
    /// What it does with every other request in place of taking it.
    always: Mutex<Option<Reply>>,
    events: Mutex<Vec<Value>>,
}

impl Webhooks {
    /// One that takes everything.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// The next request without such a reply gets it.
    pub fn next_is(&self, reply: Reply) {
        self.next.lock().push_back(reply);
    }

    /// From now on every request gets this; `None`: it is taken.
    pub fn always(&self, reply: Option<Reply>) {
        *self.always.lock() = reply;
    }

    /// The events that it took.
    #[must_use]
    pub fn events(&self) -> Vec<Value> {
        self.events.lock().clone()
    }

    /// Of which type the events were that it took about the alert with this key, in order: `firing`, `resolved`.
    #[must_use]
    pub fn about(&self, key: &str) -> Vec<String> {
        let is_about = |event: &&Value| {
            let mut alerts = event["data"]["alerts"].as_array().into_iter().flatten();
            alerts.any(|alert| alert["key"] == key)
        };
        let events = self.events.lock();
        let types = events.iter().filter(is_about).map(|event| {
            let kind = event["type"].as_str().unwrap_or_default();
            kind.trim_start_matches("alert.").to_owned()
        });
        types.collect()
    }
}

impl Service for Webhooks {
    fn reply(&self, request: &Received) -> Reply {
        let next = self.next.lock().pop_front();
        if let Some(reply) = next.or_else(|| self.always.lock().clone()) {
            return reply;
        }
        self.events.lock().push(request.json());
        Reply::text(204, "")
    }
}
