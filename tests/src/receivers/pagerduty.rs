//! PagerDuty's Events API v2: events that are checked as it checks them, the incidents that come of them, and what it says of those to
//! webhooks.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::SystemTime,
};

use hmac::{Hmac, KeyInit as _, Mac as _};
use parking_lot::Mutex;
use router_values::rfc3339;
use serde_json::{Value, json};
use sha2::Sha256;

use super::{Received, Reply, Service};

/// Longest `dedup_key` and `payload.summary` in characters, and longest event in bytes.
const KEY_CHARS_MAX: usize = 255;
const SUMMARY_CHARS_MAX: usize = 1_024;
const EVENT_BYTES_MAX: usize = 512 * 1024;

/// Its integrations.
pub struct PagerDuty {
    routing_keys: Vec<String>,
    next: Mutex<VecDeque<Reply>>,
    /// Calls to webhooks so far.
    calls: AtomicU64,
    /// By routing key and `dedup_key`: `triggered`, `acknowledged` or `resolved`.
    incidents: Mutex<BTreeMap<(String, String), &'static str>>,
}

impl PagerDuty {
    /// One with integrations of these keys.
    #[must_use]
    pub fn with_keys(keys: &[&str]) -> Arc<Self> {
        Arc::new(Self {
            routing_keys: keys.iter().map(|key| (*key).to_owned()).collect(),
            next: Mutex::default(),
            calls: AtomicU64::new(1),
            incidents: Mutex::default(),
        })
    }

    /// The next request without such a reply gets it, whatever it is.
    pub fn next_is(&self, reply: Reply) {
        self.next.lock().push_back(reply);
    }

    /// What became of an incident.
    #[must_use]
    pub fn incident(&self, routing_key: &str, dedup_key: &str) -> Option<&'static str> {
        let key = (routing_key.to_owned(), dedup_key.to_owned());
        self.incidents.lock().get(&key).copied()
    }

    /// Somebody does something to an incident there; the call that says so to a webhook whose secrets these are: one, or two while it is
    /// replaced.
    pub fn act(
        &self,
        (routing_key, dedup_key): (&str, &str),
        state: &'static str,
        secrets: &[&str],
    ) -> WebhookCall {
        let key = (routing_key.to_owned(), dedup_key.to_owned());
        let kind = match state {
            "triggered" => "incident.unacknowledged".to_owned(),
            state => format!("incident.{state}"),
        };
        self.incidents.lock().insert(key, state);
        let number = self.calls.fetch_add(1, Ordering::Relaxed);
        let body = json!({ "event": {
            "id": format!("01EVENT{number:05}"), "event_type": kind, "resource_type": "incident",
            "occurred_at": rfc3339(SystemTime::now()),
            "agent": { "id": "PANN", "summary": "Ann Lee", "type": "user_reference" },
            "client": null,
            "data": {
                "id": format!("Q{number}"), "type": "incident", "number": number, "status": state,
                "incident_key": dedup_key, "service": { "id": "PSERVICE" },
            },
        }});
        WebhookCall::signed(&body, secrets)
    }

    /// Takes an event. One about an incident that is not open, or that another integration has, is dropped and answered as any other.
    fn take(&self, event: &Value) {
        let text = |name: &str| event[name].as_str().unwrap_or_default().to_owned();
        let key = (text("routing_key"), text("dedup_key"));
        let mut incidents = self.incidents.lock();
        let state = incidents.get(&key).copied();
        let state = match (text("event_action").as_str(), state) {
            ("trigger", None | Some("resolved")) => "triggered",
            ("acknowledge", Some("triggered")) => "acknowledged",
            ("resolve", Some("triggered" | "acknowledged")) => "resolved",
            _ => return,
        };
        incidents.insert(key, state);
    }
}

/// A call to a webhook, version 3.
#[derive(Debug, Clone)]
pub struct WebhookCall {
    /// The body.
    pub body: String,
    /// The value of `X-PagerDuty-Signature`.
    pub signature: String,
}

impl WebhookCall {
    /// A call with this body, signed by each of these secrets.
    #[must_use]
    pub fn signed(body: &Value, secrets: &[&str]) -> Self {
        let body = body.to_string();
        let signatures = secrets.iter().map(|secret| {
            let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
            mac.update(body.as_bytes());
            let bytes = mac.finalize().into_bytes();
            let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("v1={digits}")
        });
        Self {
            signature: signatures.collect::<Vec<_>>().join(","),
            body,
        }
    }
}

impl Service for PagerDuty {
    fn reply(&self, request: &Received) -> Reply {
        if let Some(reply) = self.next.lock().pop_front() {
            return reply;
        }
        if request.method != "POST" || request.path != "/v2/enqueue" {
            return Reply::text(404, "");
        }
        let event = request.json();
        let faults = faults(&event, request.body.len(), &self.routing_keys);
        if !faults.is_empty() {
            let answer = json!({
                "status": "invalid event", "message": "Event object is invalid", "errors": faults,
            });
            return Reply::text(400, answer.to_string());
        }
        self.take(&event);
        let answer = json!({
            "status": "success", "message": "Event processed", "dedup_key": event["dedup_key"],
        });
        Reply::text(202, answer.to_string())
    }
}

fn faults(event: &Value, bytes: usize, routing_keys: &[String]) -> Vec<String> {
    let mut faults = Vec::new();
    let mut expect = |holds: bool, fault: &str| {
        if !holds {
            faults.push(fault.to_owned());
        }
    };
    let is_text = |value: &Value, chars_max: usize| {
        let chars = value.as_str().map_or(0, |text| text.chars().count());
        (1..=chars_max).contains(&chars)
    };
    expect(bytes <= EVENT_BYTES_MAX, "Event exceeds the size limit");
    let key = event["routing_key"].as_str().unwrap_or_default();
    expect(
        routing_keys.iter().any(|one| one == key),
        "Invalid routing key",
    );
    expect(
        is_text(&event["dedup_key"], KEY_CHARS_MAX),
        "'dedup_key' is missing or too long",
    );
    match event["event_action"].as_str() {
        Some("trigger") => {
            let payload = &event["payload"];
            expect(
                is_text(&payload["summary"], SUMMARY_CHARS_MAX),
                "'payload.summary' is missing or too long",
            );
            expect(
                is_text(&payload["source"], usize::MAX),
                "'payload.source' is missing or blank",
            );
            let severity = payload["severity"].as_str().unwrap_or_default();
            let severities = ["critical", "error", "warning", "info"];
            expect(
                severities.contains(&severity),
                "'payload.severity' is invalid",
            );
            let links = event["links"].as_array().into_iter().flatten();
            for link in links {
                let is_link = link["href"]
                    .as_str()
                    .is_some_and(|href| href.starts_with("http"));
                expect(is_link, "'links' is invalid");
            }
        }
        Some("acknowledge" | "resolve") => {}
        _ => expect(false, "'event_action' is invalid"),
    }
    faults
}
