//! What PagerDuty says: an event about an incident, of which few things matter here.

use router_alerts::event::RelayedVerb;
use router_values::parse_rfc3339_ms;
use serde::Deserialize;

/// Longest name of an agent that is kept, in characters, and longest id of an event, in bytes. Theirs have 26.
const AGENT_CHARS_MAX: usize = 64;
const ID_BYTES_MAX: usize = 128;

/// An event that says what somebody did to an incident.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct IncidentEvent {
    /// The same when it is sent again.
    pub(super) id: String,
    pub(super) verb: RelayedVerb,
    /// When it was done, in milliseconds since 1970.
    pub(super) at_ms: u64,
    /// Who did it, as people know him.
    pub(super) agent: String,
    /// What the incident was opened under.
    pub(super) dedup_key: String,
}

#[derive(Deserialize)]
struct Envelope {
    event: Event,
}

#[derive(Deserialize)]
struct Event {
    id: String,
    event_type: String,
    occurred_at: String,
    agent: Option<Agent>,
    data: Option<Data>,
}

#[derive(Deserialize)]
struct Agent {
    summary: Option<String>,
}

#[derive(Deserialize)]
struct Data {
    incident_key: Option<String>,
}

impl IncidentEvent {
    /// Reads a body; an error is why there is nothing to be done.
    pub(super) fn parse(body: &[u8]) -> Result<Self, String> {
        let envelope: Envelope =
            serde_json::from_slice(body).map_err(|error| format!("it is no event: {error}"))?;
        let Event {
            id,
            event_type,
            occurred_at,
            agent,
            data,
        } = envelope.event;
        let verb = match event_type.as_str() {
            "incident.acknowledged" => RelayedVerb::Acknowledge,
            "incident.unacknowledged" => RelayedVerb::Unacknowledge,
            "incident.resolved" => RelayedVerb::Resolve,
            _ => return Err("events of this type change nothing here".to_owned()),
        };
        if verb == RelayedVerb::Resolve && agent.is_none() {
            // It ran out of time there. What is wrong still is.
            return Err("nobody resolved it".to_owned());
        }
        let at_ms = parse_rfc3339_ms(&occurred_at).and_then(|ms| u64::try_from(ms).ok());
        let at_ms = at_ms.ok_or("it does not say when it happened")?;
        let key = data.and_then(|data| data.incident_key);
        let dedup_key = key.ok_or("it is about an incident without a key")?;
        if id.is_empty() || id.len() > ID_BYTES_MAX {
            return Err("it has no id that could be one".to_owned());
        }
        let name = agent.and_then(|agent| agent.summary).unwrap_or_default();
        Ok(Self {
            id,
            verb,
            at_ms,
            agent: shown(&name),
            dedup_key,
        })
    }
}

/// A name as it may stand in a line.
fn shown(name: &str) -> String {
    let signs = name.chars().filter(|sign| !sign.is_control());
    let name: String = signs.take(AGENT_CHARS_MAX).collect();
    match name.trim() {
        "" => "PagerDuty".to_owned(),
        name => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{IncidentEvent, RelayedVerb};

    fn event(change: impl FnOnce(&mut Value)) -> Result<IncidentEvent, String> {
        let mut body = json!({ "event": {
            "id": "01BWDWDP2F", "event_type": "incident.acknowledged", "resource_type": "incident",
            "occurred_at": "2026-11-30T18:45:22.169Z",
            "agent": { "id": "PLH1HKV", "summary": "Tenex\n Engineer", "type": "user_reference" },
            "client": null,
            "data": { "id": "PGR0VU2", "incident_key": "InstanceCrashLoop/demo#2", "status": "acknowledged" },
        }});
        change(&mut body["event"]);
        IncidentEvent::parse(body.to_string().as_bytes())
    }

    #[test]
    fn what_matters_of_an_event_is_read() {
        let read = event(|_| ()).unwrap();
        assert_eq!(
            read,
            IncidentEvent {
                id: "01BWDWDP2F".to_owned(),
                verb: RelayedVerb::Acknowledge,
                at_ms: 1_796_064_322_169,
                agent: "Tenex Engineer".to_owned(),
                dedup_key: "InstanceCrashLoop/demo#2".to_owned(),
            }
        );
        let by_itself = event(|event| {
            event["event_type"] = "incident.unacknowledged".into();
            event["agent"] = Value::Null;
        });
        let by_itself = by_itself.unwrap();
        assert_eq!(
            (by_itself.verb, by_itself.agent.as_str()),
            (RelayedVerb::Unacknowledge, "PagerDuty")
        );
        let long = event(|event| event["agent"]["summary"] = "x".repeat(900).into());
        assert_eq!(long.unwrap().agent.len(), 64);
    }

    #[test]
    fn what_is_not_understood_says_why() {
        for body in ["", "ping", "[]", "{}", "{\"event\":{}}", "\u{0}"] {
            assert!(IncidentEvent::parse(body.as_bytes()).is_err(), "{body}");
        }
        let reason = |change: fn(&mut Value)| event(change).unwrap_err();
        for kind in ["pagey.ping", "incident.annotated", "service.updated", ""] {
            let mut changed =
                json!({ "event": { "id": "1", "event_type": kind, "occurred_at": "x" } });
            changed["event"]["data"] =
                json!({ "message": "Hello from your friend Pagey!", "type": "ping" });
            let refused = IncidentEvent::parse(changed.to_string().as_bytes());
            assert!(refused.unwrap_err().contains("change nothing"), "{kind}");
        }
        let by_itself = reason(|event| {
            event["event_type"] = "incident.resolved".into();
            event["agent"] = Value::Null;
        });
        assert_eq!(by_itself, "nobody resolved it");
        assert!(reason(|event| event["occurred_at"] = "yesterday".into()).contains("when"));
        assert!(reason(|event| event["data"] = json!({})).contains("without a key"));
        assert!(reason(|event| event["id"] = "x".repeat(200).into()).contains("no id"));
    }
}
