//! Discord, over a webhook of a channel: a group of alerts is one message, which is brought up to date.

use router_plugin_sdk::{
    Settings,
    alert_sink::{
        AlertSink, Delivered, Delivery, DeliveryError, LinkTarget, Occasion, Severity,
        egress::{self, Request},
        rfc3339, truncated,
    },
};
use serde_json::{Value, json};

/// The sink.
pub struct Discord;

router_plugin_sdk::export_alert_sink!(Discord);

impl AlertSink for Discord {
    const NAME: &'static str = "discord";
    const SUMMARY: &'static str = "alerts in a channel of Discord";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");

    fn deliver(delivery: &Delivery, settings: &Settings) -> Delivered {
        // Not the address itself: the router puts that in its place as the request leaves.
        let webhook = egress::required("webhook_url")?;
        let mut request = Request::post_json(
            format!("{webhook}?wait=true"),
            message(delivery).to_string(),
        );
        // The receipt is the id of the message that the delivery before made.
        if let Some(id) = &delivery.receipt {
            request.method = "PATCH".to_owned();
            request.url = format!("{webhook}/messages/{id}");
        }
        let response = egress::send(&request)?;
        let answer: Value = serde_json::from_slice(&response.body).unwrap_or_default();
        match response.status {
            200..300 => Ok(answer["id"].as_str().map(str::to_owned)),
            // Unknown message: somebody deleted it, so it is posted anew.
            404 if answer["code"] == 10_008 => {
                let anew = Delivery {
                    receipt: None,
                    ..delivery.clone()
                };
                Self::deliver(&anew, settings)
            }
            401 | 403 | 404 => Err(DeliveryError::Gone(response.describe())),
            400 | 413 => Err(DeliveryError::Refused(response.describe())),
            _ => Err(response.retry(delivery.now_ms)),
        }
    }
}

fn message(delivery: &Delivery) -> Value {
    let color = match (&delivery.occasion, delivery.severity()) {
        (Occasion::Resolved, _) => 0x2e_cc_71,
        (_, Severity::P1 | Severity::P2) => 0xe7_4c_3c,
        _ => 0xf3_9c_12,
    };
    let title = format!(
        "{} {}",
        delivery.severity().as_str(),
        delivery.occasion.describe()
    );
    let remedy = delivery
        .alerts
        .first()
        .map(|alert| alert.condition.remedy.as_str());
    let text = format!("{}\n{}", delivery.summary(), remedy.unwrap_or_default());
    json!({
        "embeds": [{
            "title": truncated(&title, 256),
            // Where the title leads: to the page that acknowledges, where there is one.
            "url": delivery.link(&LinkTarget::Acknowledge),
            "description": truncated(&text, 4_096),
            "color": color,
            "timestamp": rfc3339(delivery.now_ms),
        }],
        // Whatever an alert says, it mentions nobody.
        "allowed_mentions": { "parse": [] },
    })
}

#[cfg(test)]
mod tests {
    use router_plugin_sdk::{
        Settings,
        alert_sink::{AlertSink as _, Delivery, Link, LinkTarget, Occasion, egress::FakeEgress},
    };

    use super::Discord;

    #[test]
    fn a_message_is_brought_up_to_date() {
        let channel = FakeEgress::with_secrets(&["webhook_url"]);
        channel.answers(200, r#"{"id":"42"}"#);
        let mut delivery = Delivery::default();
        delivery.links.push(Link {
            target: LinkTarget::Acknowledge,
            url: "https://router.example/ack/x".to_owned(),
        });
        let receipt = Discord::deliver(&delivery, &Settings::default()).unwrap();
        assert_eq!(receipt.as_deref(), Some("42"));

        channel.answers(200, r#"{"id":"42"}"#);
        delivery.occasion = Occasion::Resolved;
        delivery.receipt = receipt;
        Discord::deliver(&delivery, &Settings::default()).unwrap();
        let requests = channel.requests();
        assert_eq!(requests[0].url, "SECRET-webhook_url?wait=true");
        let body = String::from_utf8_lossy(&requests[0].body);
        assert!(body.contains(r#""url":"https://router.example/ack/x""#));
        assert_eq!(requests[1].method, "PATCH");
        assert_eq!(requests[1].url, "SECRET-webhook_url/messages/42");
    }
}
