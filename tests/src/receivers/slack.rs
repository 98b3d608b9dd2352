//! Slack's incoming webhooks: one address that is a secret, `ok` and no more for what it takes, and one word for what it does not.

use std::{collections::VecDeque, sync::Arc};

use parking_lot::Mutex;
use serde_json::Value;

use super::{Received, Reply, Service};

/// Limits of Block Kit that Slack answers `invalid_blocks` for: blocks of a message, and characters of a header, a section, an element
/// of a context.
const BLOCKS_MAX: usize = 50;
const HEADER_CHARS_MAX: usize = 150;
const SECTION_CHARS_MAX: usize = 3_000;
const ELEMENTS_MAX: usize = 10;

/// Above these characters in all blocks together the answer is `msg_blocks_too_long`.
const MESSAGE_CHARS_MAX: usize = 13_200;

/// One webhook.
pub struct Slack {
    path: String,
    /// What it does with the next requests in place of taking them.
    next: Mutex<VecDeque<Reply>>,
    messages: Mutex<Vec<Value>>,
}

impl Slack {
    /// A webhook at a path.
    #[must_use]
    pub fn at(path: &str) -> Arc<Self> {
        Arc::new(Self {
            path: path.to_owned(),
            next: Mutex::default(),
            messages: Mutex::default(),
        })
    }

    /// The next request without such a reply gets it, whatever it is.
    pub fn next_is(&self, reply: Reply) {
        self.next.lock().push_back(reply);
    }

    /// The messages that the channel has.
    #[must_use]
    pub fn messages(&self) -> Vec<Value> {
        self.messages.lock().clone()
    }
}

impl Service for Slack {
    fn reply(&self, request: &Received) -> Reply {
        if let Some(reply) = self.next.lock().pop_front() {
            return reply;
        }
        if request.method != "POST" || request.path != self.path {
            return Reply::text(404, "no_service");
        }
        let message = request.json();
        match fault(&message) {
            Some(word) => Reply::text(400, word),
            None => {
                self.messages.lock().push(message);
                Reply::text(200, "ok")
            }
        }
    }
}

/// The word for what is wrong with a message.
fn fault(message: &Value) -> Option<&'static str> {
    if !message.is_object() {
        return Some("invalid_payload");
    }
    let Some(blocks) = message["blocks"].as_array() else {
        return message["text"]
            .as_str()
            .is_none_or(str::is_empty)
            .then_some("no_text");
    };
    if blocks.len() > BLOCKS_MAX || !blocks.iter().all(is_block) {
        return Some("invalid_blocks");
    }
    let chars: usize = blocks.iter().map(chars).sum();
    (chars > MESSAGE_CHARS_MAX).then_some("msg_blocks_too_long")
}

fn is_text(text: &Value, kind: &str, chars_max: usize) -> bool {
    let chars = text["text"].as_str().map_or(0, |text| text.chars().count());
    text["type"] == kind && (1..=chars_max).contains(&chars)
}

fn is_block(block: &Value) -> bool {
    match block["type"].as_str() {
        Some("header") => is_text(&block["text"], "plain_text", HEADER_CHARS_MAX),
        Some("section") => is_text(&block["text"], "mrkdwn", SECTION_CHARS_MAX),
        Some("context") => block["elements"].as_array().is_some_and(|elements| {
            let is_element = |one| is_text(one, "mrkdwn", SECTION_CHARS_MAX);
            (1..=ELEMENTS_MAX).contains(&elements.len()) && elements.iter().all(is_element)
        }),
        _ => false,
    }
}

fn chars(block: &Value) -> usize {
    let elements = block["elements"].as_array().into_iter().flatten();
    let texts = elements.chain([&block["text"]]);
    texts
        .filter_map(|text| text["text"].as_str())
        .map(|text| text.chars().count())
        .sum()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::fault;

    #[test]
    fn what_slack_does_not_take_gets_its_word() {
        let header = |chars| json!({ "type": "header", "text": { "type": "plain_text", "text": "x".repeat(chars) } });
        let section = |chars| json!({ "type": "section", "text": { "type": "mrkdwn", "text": "x".repeat(chars) } });
        for (message, word) in [
            (json!("x"), Some("invalid_payload")),
            (json!({}), Some("no_text")),
            (json!({ "text": "x" }), None),
            (json!({ "blocks": [header(150), section(3_000)] }), None),
            (json!({ "blocks": [header(151)] }), Some("invalid_blocks")),
            (json!({ "blocks": [section(0)] }), Some("invalid_blocks")),
            (
                json!({ "blocks": [section(3_001)] }),
                Some("invalid_blocks"),
            ),
            (
                json!({ "blocks": vec![section(1); 51] }),
                Some("invalid_blocks"),
            ),
            (
                json!({ "blocks": vec![section(3_000); 5] }),
                Some("msg_blocks_too_long"),
            ),
            (
                json!({ "blocks": [{ "type": "card" }] }),
                Some("invalid_blocks"),
            ),
        ] {
            assert_eq!(fault(&message), word, "{message}");
        }
    }
}
