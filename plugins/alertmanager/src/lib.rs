//! Feeds an existing Alertmanager, whose routes and receivers then do the rest, over its API v2.
//!
//! Alertmanager resolves what nobody repeats: after `resolve_timeout`, or at an alert's own `endsAt`. The router does not repeat what it
//! delivered, so a firing alert says that it ends in `hold_hours`; when it is over, it says when that was. Give the sink
//! `grouping = "none"`: Alertmanager groups by itself.

use router_plugin_sdk::{
    ConfigFault, Settings,
    alert_sink::{
        Alert, AlertSink, Delivered, Delivery, DeliveryError, LinkTarget, Occasion, Severity,
        egress::{self, Request, Response},
        rfc3339,
    },
};
use serde_json::{Map, Value as Json, json};

/// How long a firing alert holds at Alertmanager where nothing more is heard of it: over a weekend and a holiday.
const HOLD_HOURS: f64 = 7.0 * 24.0;

/// A trial ends by itself soon.
const TEST_HOLD_MS: u64 = 60_000;

/// The sink.
#[derive(Debug, Clone, Copy)]
pub struct Alertmanager;

router_plugin_sdk::export_alert_sink!(Alertmanager);

impl AlertSink for Alertmanager {
    const NAME: &'static str = "alertmanager";
    const SUMMARY: &'static str = "alerts for an existing Alertmanager";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");

    fn check(settings: &Settings) -> Vec<ConfigFault> {
        let fault = |key: &str, reason: &str| ConfigFault {
            key: key.to_owned(),
            reason: reason.to_owned(),
        };
        let mut faults = Vec::new();
        if settings.text("url").is_none_or(str::is_empty) {
            faults.push(fault(
                "url",
                "is missing: where Alertmanager is, as http://host:9093",
            ));
        }
        let hold = settings.get("hold_hours");
        let is_hold = settings
            .number("hold_hours")
            .is_some_and(|hours| (0.1..=8_760.0).contains(&hours));
        if hold.is_some() && !is_hold {
            faults.push(fault("hold_hours", "is no number from 0.1 to 8760"));
        }
        for key in settings
            .keys()
            .filter(|key| !["url", "hold_hours"].contains(key))
        {
            faults.push(fault(key, "is not known; there are url, hold_hours"));
        }
        faults
    }

    fn deliver(delivery: &Delivery, settings: &Settings) -> Delivered {
        let base = settings
            .text("url")
            .unwrap_or_default()
            .trim_end_matches('/');
        let body = Json::from(alerts(delivery, settings)).to_string();
        let mut request = Request::post_json(format!("{base}/api/v2/alerts"), body);
        if let Ok(token) = egress::placeholder("token") {
            request = request.with_header("authorization", format!("Bearer {token}"));
        }
        let response = egress::send(&request)?;
        delivered(&response, delivery.now_ms)
    }
}

fn delivered(response: &Response, now_ms: u64) -> Delivered {
    match response.status {
        200..300 => Ok(None),
        400 | 413 => Err(DeliveryError::Refused(response.describe())),
        _ => Err(response.retry(now_ms)),
    }
}

fn alerts(delivery: &Delivery, settings: &Settings) -> Vec<Json> {
    let hold_ms = match delivery.occasion {
        Occasion::Test => TEST_HOLD_MS,
        _ => (settings.number("hold_hours").unwrap_or(HOLD_HOURS) * 3_600_000.0) as u64,
    };
    let is_over = delivery.occasion == Occasion::Resolved;
    let mut alerts = Vec::new();
    for alert in &delivery.alerts {
        let ended_ms = alert.resolved_ms.or(is_over.then_some(delivery.now_ms));
        let ends_ms = ended_ms.unwrap_or(delivery.now_ms + hold_ms);
        alerts.push(entry(delivery, alert, alert.condition.severity, ends_ms));
        // Labels are what an alert is known by there: under the severity before it is another one, which is over.
        if let Occasion::SeverityChanged(before) = delivery.occasion {
            alerts.push(entry(delivery, alert, before, delivery.now_ms));
        }
    }
    alerts
}

fn entry(delivery: &Delivery, alert: &Alert, severity: Severity, ends_ms: u64) -> Json {
    let condition = &alert.condition;
    let mut labels = Map::new();
    let mut label = |name: &str, value: &str| {
        labels.insert(name.to_owned(), value.into());
    };
    label("alertname", &condition.name);
    label("severity", severity.as_str());
    label("key", &condition.key);
    if let Some(instance) = &condition.instance {
        label("instance", instance);
    }
    if delivery.occasion == Occasion::Test {
        label("test", "true");
    }
    let mut annotations = Map::new();
    let mut annotate = |name: &str, value: Option<&str>| {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            annotations.insert(name.to_owned(), value.into());
        }
    };
    annotate("summary", Some(&condition.summary));
    annotate("description", Some(&condition.remedy));
    annotate("runbook_url", delivery.link(&LinkTarget::Runbook));
    annotate("acknowledge_url", delivery.link(&LinkTarget::Acknowledge));
    let mut entry = json!({
        "labels": labels,
        "annotations": annotations,
        "startsAt": rfc3339(alert.since_ms),
        // What began and ended within a second ended after it began.
        "endsAt": rfc3339(ends_ms.max(alert.since_ms + 1_000)),
    });
    if let Some(url) = delivery.link(&LinkTarget::Alert) {
        entry["generatorURL"] = url.into();
    }
    entry
}

#[cfg(test)]
mod tests;
