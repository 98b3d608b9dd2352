//! A delivery as a message of Block Kit, within every limit of it.

use router_plugin_sdk::alert_sink::{
    Alert, Delivery, Link, LinkTarget, Occasion, Severity, rfc3339, truncated,
};
use serde_json::{Value as Json, json};

/// Limits of Block Kit, in characters: of a header, and of a text in a section or a context.
const HEADER_CHARS_MAX: usize = 150;
const TEXT_CHARS_MAX: usize = 3_000;

/// Longest fallback text; Slack takes more, and phones show less.
const FALLBACK_CHARS_MAX: usize = 1_000;

/// Texts of a section as long as they are read; the blocks together then stay below the 12,000 characters or so that Slack takes
/// without saying so (`msg_blocks_too_long`).
const SECTION_CHARS_MAX: usize = 1_500;

/// Alerts beside the first that have a line of their own.
const OTHERS_MAX: usize = 10;
const OTHER_CHARS_MAX: usize = 200;

/// `text` and `blocks`.
pub(crate) fn message(delivery: &Delivery) -> Json {
    let mut blocks = vec![header(delivery)];
    if let Some(first) = delivery.alerts.first() {
        blocks.push(section(&escaped(&first.condition.summary)));
        let remedy = &first.condition.remedy;
        if !is_over(delivery) && !remedy.is_empty() {
            blocks.push(section(&format!("*What to do:* {}", escaped(remedy))));
        }
        blocks.push(context(&facts(delivery, first)));
    }
    if let Some(others) = others(delivery) {
        blocks.push(section(&others));
    }
    if !delivery.changes.is_empty() {
        let changes = delivery
            .changes
            .iter()
            .map(|change| escaped(&truncated(change, 256)));
        let changes: Vec<String> = changes.collect();
        blocks.push(context(&format!("Changed lately: {}", changes.join("; "))));
    }
    let links: Vec<String> = delivery.links.iter().filter_map(link).collect();
    if !links.is_empty() {
        blocks.push(section(&links.join("  |  ")));
    }
    json!({
        "text": fallback(delivery),
        "blocks": blocks,
        "unfurl_links": false,
        "unfurl_media": false,
    })
}

/// What notifications show.
fn fallback(delivery: &Delivery) -> String {
    let text = format!("{}: {}", title(delivery), delivery.summary());
    truncated(&escaped(&text), FALLBACK_CHARS_MAX)
}

/// `P2 firing: instance-crash-loop`.
fn title(delivery: &Delivery) -> String {
    let occasion = match &delivery.occasion {
        Occasion::Acknowledged(by) => format!("acknowledged by {by}"),
        Occasion::SeverityChanged(before) => format!("was {}", before.as_str()),
        occasion => occasion.describe().to_owned(),
    };
    let severity = delivery.severity().as_str();
    match delivery.alerts.first() {
        Some(first) => format!("{severity} {occasion}: {}", first.condition.name),
        None => format!("{severity} {occasion}"),
    }
}

fn header(delivery: &Delivery) -> Json {
    let mark = match (&delivery.occasion, delivery.severity()) {
        (Occasion::Resolved, _) => ":white_check_mark:",
        (Occasion::Acknowledged(_), _) => ":eyes:",
        (Occasion::Test, _) => ":test_tube:",
        (_, Severity::P1 | Severity::P2) => ":red_circle:",
        (_, Severity::P3) => ":large_orange_circle:",
        (_, Severity::P4) => ":large_blue_circle:",
    };
    let text = truncated(&format!("{mark} {}", title(delivery)), HEADER_CHARS_MAX);
    json!({ "type": "header", "text": { "type": "plain_text", "text": text, "emoji": true } })
}

fn section(text: &str) -> Json {
    let text = cut_escaped(text, SECTION_CHARS_MAX);
    json!({ "type": "section", "text": { "type": "mrkdwn", "text": text } })
}

fn context(text: &str) -> Json {
    let text = cut_escaped(text, TEXT_CHARS_MAX);
    json!({ "type": "context", "elements": [{ "type": "mrkdwn", "text": text }] })
}

fn facts(delivery: &Delivery, first: &Alert) -> String {
    let mut facts = Vec::new();
    if let Some(instance) = &first.condition.instance {
        facts.push(format!("instance `{}`", escaped(instance)));
    }
    facts.push(format!("since {}", rfc3339(first.since_ms)));
    if let Some(resolved_ms) = first.resolved_ms {
        facts.push(format!("until {}", rfc3339(resolved_ms)));
    }
    if let Some(by) = &first.acknowledged_by {
        facts.push(format!("{} is on it", escaped(by)));
    }
    facts.push(escaped(&delivery.group_key));
    facts.join("  |  ")
}

fn others(delivery: &Delivery) -> Option<String> {
    let others = delivery.alerts.get(1..)?;
    let mut lines: Vec<String> = others
        .iter()
        .take(OTHERS_MAX)
        .map(|alert| {
            let summary = truncated(&alert.condition.summary, OTHER_CHARS_MAX / 2);
            cut_escaped(&format!("\u{2022} {}", escaped(&summary)), OTHER_CHARS_MAX)
        })
        .collect();
    let more = others.len().saturating_sub(OTHERS_MAX) as u64 + u64::from(delivery.more);
    if more > 0 {
        lines.push(format!("\u{2026}and {more} more"));
    }
    (!lines.is_empty()).then(|| lines.join("\n"))
}

fn link(link: &Link) -> Option<String> {
    let text = match &link.target {
        LinkTarget::Acknowledge => "Acknowledge",
        LinkTarget::Runbook => "Runbook",
        LinkTarget::Alert => "Alert",
        LinkTarget::Other(name) => name,
    };
    // A link that is cut leads elsewhere; what would end it early is none of ours.
    let is_plain = link.url.len() <= 512 && !link.url.contains(['|', '>', '<', ' ']);
    is_plain.then(|| format!("<{}|*{}*>", link.url.replace('&', "&amp;"), escaped(text)))
}

fn is_over(delivery: &Delivery) -> bool {
    matches!(delivery.occasion, Occasion::Resolved)
}

/// What Slack takes for the beginning of a mention, a link or an entity is none. Backticks and stars of strangers may still be bold.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

/// Cuts a text that was escaped, and not through an entity.
fn cut_escaped(text: &str, chars_max: usize) -> String {
    let mut cut = truncated(text, chars_max);
    if cut.len() < text.len()
        && let Some(at) = cut.rfind('&')
        && !cut[at..].contains(';')
    {
        cut.truncate(at);
        cut.push('\u{2026}');
    }
    cut
}
