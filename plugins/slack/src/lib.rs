//! Slack: a message in Block Kit, with a fallback text for notifications and screen readers.
//!
//! With an incoming webhook (secret `webhook_url`) each delivery is a message of its own: Slack gives nothing back by which one could be
//! changed. With a bot's token (secret `bot_token`, and `channel`) a group has one message, which is brought up to date, and what somebody
//! has to see again is posted below it.

mod message;
mod web_api;

use router_plugin_sdk::{
    ConfigFault, Settings,
    alert_sink::{
        AlertSink, Delivered, Delivery, DeliveryError,
        egress::{self, Request, Response},
    },
};

/// The sink.
#[derive(Debug, Clone, Copy)]
pub struct Slack;

router_plugin_sdk::export_alert_sink!(Slack);

impl AlertSink for Slack {
    const NAME: &'static str = "slack";
    const SUMMARY: &'static str = "messages in Slack, over a webhook or a bot";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");

    fn check(settings: &Settings) -> Vec<ConfigFault> {
        let faults = settings.keys().filter_map(|key| {
            let reason = match key {
                "channel" | "url" if settings.text(key).is_some_and(|text| !text.is_empty()) => {
                    return None;
                }
                "channel" | "url" => "is no text",
                _ => "is not known; there are channel, url",
            };
            Some(ConfigFault {
                key: key.to_owned(),
                reason: reason.to_owned(),
            })
        });
        faults.collect()
    }

    fn deliver(delivery: &Delivery, settings: &Settings) -> Delivered {
        match egress::placeholder("bot_token") {
            Ok(token) => web_api::deliver(delivery, settings, &token),
            Err(_) => over_webhook(delivery),
        }
    }
}

fn over_webhook(delivery: &Delivery) -> Delivered {
    let url = egress::required("webhook_url")?;
    let body = message::message(delivery).to_string();
    let response = egress::send(&Request::post_json(url, body))?;
    taken(&response, delivery.now_ms)
}

/// What Slack says to a webhook: `ok`, or one word and a status.
fn taken(response: &Response, now_ms: u64) -> Delivered {
    if response.is_success() {
        return Ok(None);
    }
    if response.is_passing() {
        return Err(response.retry(now_ms));
    }
    let reason = response.describe();
    let text = response.text();
    // The webhook, its app, its team or its channel is there no more.
    let gone = [
        "no_service",
        "no_team",
        "team_disabled",
        "invalid_token",
        "no_active_hooks",
        "channel_not_found",
        "channel_is_archived",
        "action_prohibited",
        "user_not_found",
    ];
    if response.status == 410 || gone.iter().any(|word| text.contains(word)) {
        return Err(DeliveryError::Gone(reason));
    }
    match response.status {
        // What was composed is at fault: `invalid_payload`, `invalid_blocks`, `no_text`, `too_many_attachments`.
        400 | 413 => Err(DeliveryError::Refused(reason)),
        _ => Err(DeliveryError::retry(reason)),
    }
}

#[cfg(test)]
mod tests;
