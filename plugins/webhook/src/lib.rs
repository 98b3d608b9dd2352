//! Standard Webhooks 1.0.0: a signed JSON event to one address, for whatever an organisation has of its own.
//!
//! The id is the delivery's, the same for each attempt, so that a receiver drops what it has already. While a receiver changes over to
//! another secret (`secret_next`) there are two signatures.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use router_plugin_sdk::{
    ConfigFault, Settings, Value,
    alert_sink::{
        Alert, AlertSink, Delivered, Delivery, DeliveryError, LinkTarget, Occasion,
        egress::{self, Algorithm, Request, Response, SecretError},
        rfc3339,
    },
};
use serde_json::{Map, Value as Json, json};

/// Longest body, in bytes: the specification asks for no more than 20 kB.
const BODY_BYTES_MAX: usize = 20_000;

/// The sink.
#[derive(Debug, Clone, Copy)]
pub struct Webhook;

router_plugin_sdk::export_alert_sink!(Webhook);

impl AlertSink for Webhook {
    const NAME: &'static str = "webhook";
    const SUMMARY: &'static str = "a signed event by Standard Webhooks";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");

    fn check(settings: &Settings) -> Vec<ConfigFault> {
        let fault = |key: &str, reason: &str| ConfigFault {
            key: key.to_owned(),
            reason: reason.to_owned(),
        };
        let mut faults = Vec::new();
        if settings.text("url").is_none_or(str::is_empty) {
            faults.push(fault("url", "is missing: the whole address to post to"));
        }
        let signature = settings.get("signature");
        if signature.is_some_and(|one| algorithm(one).is_none()) {
            faults.push(fault(
                "signature",
                "is not known; there are \"v1\" and \"v1a\"",
            ));
        }
        for key in settings
            .keys()
            .filter(|key| !["url", "signature"].contains(key))
        {
            faults.push(fault(key, "is not known; there are url, signature"));
        }
        faults
    }

    fn deliver(delivery: &Delivery, settings: &Settings) -> Delivered {
        let body = body(delivery);
        let timestamp = delivery.now_ms / 1_000;
        let signed = format!("{}.{timestamp}.{body}", delivery.id);
        let request = Request::post_json(settings.text("url").unwrap_or_default(), body)
            .with_header("webhook-id", &*delivery.id)
            .with_header("webhook-timestamp", timestamp.to_string())
            .with_header(
                "webhook-signature",
                signatures(settings, signed.as_bytes())?,
            );
        let response = egress::send(&request)?;
        delivered(&response, delivery.now_ms)
    }
}

/// The version of a signature, and what makes it.
fn algorithm(signature: &Value) -> Option<(&'static str, Algorithm)> {
    match signature {
        Value::Text(text) if text == "v1" => Some(("v1", Algorithm::HmacSha256)),
        Value::Text(text) if text == "v1a" => Some(("v1a", Algorithm::Ed25519)),
        _ => None,
    }
}

/// One for each secret that the sink has.
fn signatures(settings: &Settings, bytes: &[u8]) -> Result<String, DeliveryError> {
    let signature = settings.get("signature").and_then(algorithm);
    let (version, algorithm) = signature.unwrap_or(("v1", Algorithm::HmacSha256));
    let mut signatures = Vec::new();
    for secret in ["secret", "secret_next"] {
        match egress::sign(secret, &algorithm, bytes) {
            Ok(signed) => signatures.push(format!("{version},{}", STANDARD.encode(signed))),
            Err(SecretError::Unknown) if secret == "secret_next" => {}
            Err(error) => {
                // The configuration may be corrected before the router gives up.
                let reason = format!("it cannot be signed with the secret {secret}: {error}");
                return Err(DeliveryError::retry(reason));
            }
        }
    }
    Ok(signatures.join(" "))
}

/// As the specification has it: 410 ends it, and everything else that is no success is tried again.
fn delivered(response: &Response, now_ms: u64) -> Delivered {
    match response.status {
        200..300 => Ok(None),
        410 => Err(DeliveryError::Gone(response.describe())),
        _ => Err(response.retry(now_ms)),
    }
}

/// The event; of its alerts as many as fit.
fn body(delivery: &Delivery) -> String {
    let mut listed = delivery.alerts.len();
    loop {
        let body = event(delivery, listed).to_string();
        if body.len() <= BODY_BYTES_MAX || listed <= 1 {
            return body;
        }
        listed = (listed / 2).max(1);
    }
}

fn event(delivery: &Delivery, listed: usize) -> Json {
    let more = (delivery.alerts.len() - listed) as u64 + u64::from(delivery.more);
    let kind = match &delivery.occasion {
        Occasion::Firing => "firing",
        Occasion::MoreFiring => "more_firing",
        Occasion::Escalated => "escalated",
        Occasion::Reminder => "reminder",
        Occasion::SeverityChanged(_) => "severity_changed",
        Occasion::Acknowledged(_) => "acknowledged",
        Occasion::Resolved => "resolved",
        Occasion::Test => "test",
        Occasion::Other(_) => "other",
    };
    let alerts = delivery.alerts.iter().take(listed).map(alert);
    let mut data = json!({
        "group": delivery.group_key,
        "severity": delivery.severity().as_str(),
        "summary": delivery.summary(),
        "alerts": alerts.collect::<Vec<_>>(),
        "more": more,
        "changes": delivery.changes,
        "links": links(delivery),
        "attempt": delivery.attempt,
    });
    if delivery.is_fired_and_resolved() {
        data["fired_and_resolved"] = true.into();
    }
    match &delivery.occasion {
        Occasion::Acknowledged(by) => data["acknowledged_by"] = by.as_str().into(),
        Occasion::SeverityChanged(before) => data["severity_before"] = before.as_str().into(),
        Occasion::Other(name) => data["occasion"] = name.as_str().into(),
        _ => {}
    }
    json!({ "type": format!("alert.{kind}"), "timestamp": rfc3339(delivery.now_ms), "data": data })
}

fn alert(alert: &Alert) -> Json {
    let condition = &alert.condition;
    let attributes = condition.attributes.iter().chain(&alert.attributes);
    let attributes: Map<String, Json> = attributes
        .map(|(name, value)| (name.clone(), value.as_str().into()))
        .collect();
    json!({
        "key": condition.key,
        "name": condition.name,
        "severity": condition.severity.as_str(),
        "summary": condition.summary,
        "remedy": condition.remedy,
        "instance": condition.instance,
        "since": rfc3339(alert.since_ms),
        "resolved": alert.resolved_ms.map(rfc3339),
        "acknowledged_by": alert.acknowledged_by,
        "attributes": attributes,
    })
}

fn links(delivery: &Delivery) -> Map<String, Json> {
    let links = delivery.links.iter().map(|link| {
        let target = match &link.target {
            LinkTarget::Acknowledge => "acknowledge",
            LinkTarget::Runbook => "runbook",
            LinkTarget::Alert => "alert",
            LinkTarget::Other(name) => name,
        };
        (target.to_owned(), link.url.as_str().into())
    });
    links.collect()
}

#[cfg(test)]
mod tests;
