//! PagerDuty by its Events API v2: an incident for each alert, acknowledged and resolved with it.
//!
//! The group's key is the `dedup_key`, so that whatever is sent about one alert changes one incident. Give the sink `grouping = "none"`:
//! then each alert is an incident of its own.

use router_plugin_sdk::{
    ConfigFault, Settings,
    alert_sink::{
        Alert, AlertSink, Delivered, Delivery, DeliveryError, LinkTarget, Occasion, Severity,
        egress::{self, Request, Response},
        rfc3339, truncated,
    },
};
use serde_json::{Map, Value as Json, json};

/// Where events go, where the settings do not say otherwise (`url`), as for the service region of the EU.
const ENDPOINT: &str = "https://events.pagerduty.com/v2/enqueue";

/// Longest summary that PagerDuty takes, in characters.
const SUMMARY_CHARS_MAX: usize = 1_024;

/// Alerts of a delivery that the details list: PagerDuty takes events of 512 KB, and people read fewer.
const LISTED_MAX: usize = 20;

/// How long to wait after 429 where PagerDuty does not say: its limit counts the events of a minute.
const RATE_LIMITED_MS: u64 = 60_000;

/// The sink.
#[derive(Debug, Clone, Copy)]
pub struct PagerDuty;

router_plugin_sdk::export_alert_sink!(PagerDuty);

impl AlertSink for PagerDuty {
    const NAME: &'static str = "pagerduty";
    const SUMMARY: &'static str = "incidents at PagerDuty (Events API v2)";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");

    fn check(settings: &Settings) -> Vec<ConfigFault> {
        let faults = settings.keys().filter_map(|key| {
            let reason = match key {
                "url" | "source" if settings.text(key).is_some_and(|text| !text.is_empty()) => {
                    return None;
                }
                "url" | "source" => "is no text",
                _ => "is not known; there are url, source",
            };
            Some(ConfigFault {
                key: key.to_owned(),
                reason: reason.to_owned(),
            })
        });
        faults.collect()
    }

    fn deliver(delivery: &Delivery, settings: &Settings) -> Delivered {
        match &delivery.occasion {
            Occasion::Acknowledged(_) => send(delivery, settings, "acknowledge"),
            // PagerDuty drops the end of what it has not heard of, and nobody would ever know that it fired.
            Occasion::Resolved if delivery.is_fired_and_resolved() => {
                open_and_close(delivery, settings)
            }
            Occasion::Resolved => send(delivery, settings, "resolve"),
            // A trial opens an incident, as nothing less would show that somebody is paged, and leaves none behind.
            Occasion::Test => open_and_close(delivery, settings),
            _ => send(delivery, settings, "trigger"),
        }
    }
}

fn open_and_close(delivery: &Delivery, settings: &Settings) -> Delivered {
    send(delivery, settings, "trigger")?;
    send(delivery, settings, "resolve")
}

fn send(delivery: &Delivery, settings: &Settings, action: &str) -> Delivered {
    let mut event = json!({
        "routing_key": egress::required("routing_key")?,
        "event_action": action,
        "dedup_key": delivery.group_key,
    });
    if action == "trigger" {
        event["payload"] = payload(delivery, settings);
        event["links"] = links(delivery);
        event["client"] = "godot-mcp-router".into();
        if let Some(alert) = delivery.link(&LinkTarget::Alert) {
            event["client_url"] = alert.into();
        }
    }
    let url = settings.text("url").unwrap_or(ENDPOINT);
    let response = egress::send(&Request::post_json(url, event.to_string()))?;
    delivered(&response, delivery.now_ms)
}

/// 202 is taken; 400 is a fault of the event that no second attempt mends, and where it is the key's, of every other one too.
fn delivered(response: &Response, now_ms: u64) -> Delivered {
    if response.is_success() {
        return Ok(None);
    }
    let reason = response.describe();
    match response.status {
        429 => {
            let after_ms = response.retry_after_ms(now_ms).unwrap_or(RATE_LIMITED_MS);
            Err(DeliveryError::retry_after(reason, Some(after_ms)))
        }
        400 if response.text().to_lowercase().contains("routing key") => {
            Err(DeliveryError::Gone(reason))
        }
        400 | 413 => Err(DeliveryError::Refused(reason)),
        _ => Err(response.retry(now_ms)),
    }
}

fn payload(delivery: &Delivery, settings: &Settings) -> Json {
    let severity = delivery.severity();
    let is_test = delivery.occasion == Occasion::Test;
    let mark = if is_test { "TEST " } else { "" };
    let summary = format!("{mark}[{}] {}", severity.as_str(), delivery.summary());
    let first = delivery.alerts.first();
    let mut payload = json!({
        "summary": truncated(&summary, SUMMARY_CHARS_MAX),
        "source": settings.text("source").unwrap_or("godot-mcp-router"),
        "severity": if is_test { "info" } else { level(severity) },
        "custom_details": details(delivery),
    });
    if let Some(Alert {
        condition,
        since_ms,
        ..
    }) = first
    {
        payload["timestamp"] = rfc3339(*since_ms).into();
        payload["class"] = condition.name.as_str().into();
        payload["group"] = condition.name.as_str().into();
        if let Some(instance) = &condition.instance {
            payload["component"] = instance.as_str().into();
        }
    }
    payload
}

/// PagerDuty's own four.
fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::P1 => "critical",
        Severity::P2 => "error",
        Severity::P3 => "warning",
        Severity::P4 => "info",
    }
}

fn details(delivery: &Delivery) -> Map<String, Json> {
    let mut details = Map::new();
    let mut detail = |name: &str, value: Json| details.insert(name.to_owned(), value);
    detail("why", delivery.occasion.describe().into());
    if let Some(first) = delivery.alerts.first() {
        detail("what to do", first.condition.remedy.as_str().into());
        for (name, value) in &first.condition.attributes {
            detail(name, value.as_str().into());
        }
    }
    if !delivery.changes.is_empty() {
        detail("what changed lately", delivery.changes.clone().into());
    }
    let others = delivery.alerts.iter().skip(1).take(LISTED_MAX);
    let others: Vec<Json> = others
        .map(|alert| alert.condition.summary.as_str().into())
        .collect();
    let unlisted = delivery.alerts.len().saturating_sub(1 + LISTED_MAX) as u64;
    if !others.is_empty() {
        detail("others", others.into());
    }
    if unlisted + u64::from(delivery.more) > 0 {
        detail("and more", (unlisted + u64::from(delivery.more)).into());
    }
    details
}

fn links(delivery: &Delivery) -> Json {
    let links = delivery.links.iter().map(|link| {
        let text = match &link.target {
            LinkTarget::Acknowledge => "Acknowledge",
            LinkTarget::Runbook => "Runbook",
            LinkTarget::Alert => "Alert",
            LinkTarget::Other(name) => name,
        };
        json!({ "href": link.url, "text": text })
    });
    links.collect::<Vec<_>>().into()
}

#[cfg(test)]
mod tests;
