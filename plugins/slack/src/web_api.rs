//! With a bot: `chat.postMessage`, and `chat.update` of what was posted before. The receipt says where that is.

use router_plugin_sdk::{
    Settings,
    alert_sink::{
        Delivered, Delivery, DeliveryError, Occasion,
        egress::{self, Request},
    },
};
use serde_json::{Value as Json, json};

use crate::message::message;

/// Where Slack's methods are, where the settings do not say otherwise (`url`).
const API: &str = "https://slack.com/api";

/// The message of a group.
struct Posted {
    channel: String,
    ts: String,
}

impl Posted {
    fn of(receipt: Option<&String>) -> Option<Self> {
        Self::parse(&serde_json::from_str(receipt?).ok()?)
    }

    /// As Slack answers, and as the receipt is.
    fn parse(json: &Json) -> Option<Self> {
        let text = |name: &str| json[name].as_str().map(str::to_owned);
        Some(Self {
            channel: text("channel")?,
            ts: text("ts")?,
        })
    }

    fn receipt(&self) -> Delivered {
        Ok(Some(
            json!({ "channel": self.channel, "ts": self.ts }).to_string(),
        ))
    }
}

pub(crate) fn deliver(delivery: &Delivery, settings: &Settings, token: &str) -> Delivered {
    let api = settings.text("url").unwrap_or(API).trim_end_matches('/');
    let call = |method: &str, body: &Json| call(&format!("{api}/{method}"), token, body, delivery);
    let mut body = message(delivery);
    if let Some(posted) = Posted::of(delivery.receipt.as_ref()) {
        body["channel"] = posted.channel.as_str().into();
        body["ts"] = posted.ts.as_str().into();
        match call("chat.update", &body) {
            Ok(_) => {
                if is_to_be_seen(&delivery.occasion) {
                    body["thread_ts"] = posted.ts.as_str().into();
                    body["reply_broadcast"] = true.into();
                    without(&mut body, "ts");
                    call("chat.postMessage", &body)?;
                }
                return posted.receipt();
            }
            // Somebody deleted it, or it may not be changed any more: then it is posted anew.
            Err(Answer::MessageGone) => without(&mut body, "ts"),
            Err(Answer::Error(error)) => return Err(error),
        }
    } else {
        let Some(channel) = settings.text("channel") else {
            let reason = "with a bot_token the sink needs its setting channel";
            return Err(DeliveryError::retry(reason));
        };
        body["channel"] = channel.into();
    }
    let answer = call("chat.postMessage", &body)?;
    Posted::parse(&answer).map_or(Ok(None), |posted| posted.receipt())
}

/// Whether people have to be notified, which a changed message does not do.
fn is_to_be_seen(occasion: &Occasion) -> bool {
    matches!(
        occasion,
        Occasion::Escalated | Occasion::Reminder | Occasion::SeverityChanged(_)
    )
}

fn without(body: &mut Json, name: &str) {
    if let Some(fields) = body.as_object_mut() {
        fields.remove(name);
    }
}

/// What Slack's methods answer beside success.
enum Answer {
    /// The message that was to be changed is not there, or cannot be.
    MessageGone,
    Error(DeliveryError),
}

impl From<Answer> for DeliveryError {
    fn from(answer: Answer) -> Self {
        match answer {
            Answer::MessageGone => Self::retry("the message is not there"),
            Answer::Error(error) => error,
        }
    }
}

/// Calls a method. Errors come with status 200.
fn call(url: &str, token: &str, body: &Json, delivery: &Delivery) -> Result<Json, Answer> {
    let request = Request::post_json(url, body.to_string())
        .with_header("authorization", format!("Bearer {token}"));
    let error = |error: DeliveryError| Answer::Error(error);
    let response = egress::send(&request).map_err(|failed| error(failed.into()))?;
    if !response.is_success() {
        return Err(error(response.retry(delivery.now_ms)));
    }
    let answer: Json = serde_json::from_slice(&response.body).unwrap_or_default();
    if answer["ok"] == true {
        return Ok(answer);
    }
    let reason = response.describe();
    Err(match answer["error"].as_str().unwrap_or_default() {
        "message_not_found" | "cant_update_message" | "edit_window_closed" => Answer::MessageGone,
        "invalid_auth" | "not_authed" | "token_revoked" | "token_expired" | "account_inactive"
        | "missing_scope" | "channel_not_found" | "not_in_channel" | "is_archived"
        | "restricted_action" => error(DeliveryError::Gone(reason)),
        "msg_too_long"
        | "msg_blocks_too_long"
        | "invalid_blocks"
        | "no_text"
        | "invalid_arguments" => error(DeliveryError::Refused(reason)),
        "ratelimited" | "rate_limited" => error(response.retry(delivery.now_ms)),
        _ => error(DeliveryError::retry(reason)),
    })
}
