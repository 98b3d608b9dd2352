//! The page itself: plain HTML that needs no script, loads nothing, is kept nowhere, and shows every text as text.

use std::fmt::Write as _;

use axum::{
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{Html, IntoResponse as _, Response},
};
use router_alerts::Alert;
use router_values::unix_ms_now;

use super::Linked;
use crate::render::at;

/// How it looks: large enough for a telephone at night.
const STYLE: &str = "body{font:1.1rem/1.5 system-ui,sans-serif;max-width:40rem;margin:2rem auto;padding:0 1rem}\
:root{color-scheme:light dark}\
button{font:inherit;font-weight:bold;padding:.8rem 2rem}\
p{white-space:pre-wrap;overflow-wrap:anywhere}";

/// Nothing but that style is loaded, nothing runs, the form goes nowhere else, and no other page frames it. The hash is that of the style.
const POLICY: &str = "default-src 'none'; style-src 'sha256-WQ27laqtuWbEV1jwr1eu4f9/a9P5g3q5r6j6XlR8eMw='; \
form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// What people see of an alert.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Shown {
    severity: &'static str,
    name: String,
    instance: Option<String>,
    summary: String,
    remedy: String,
    since_ms: u64,
}

impl Shown {
    pub(super) fn of(alert: &Alert) -> Self {
        let condition = &alert.condition;
        Self {
            severity: alert.severity.as_str(),
            name: condition.name.clone(),
            instance: condition.instance.as_ref().map(ToString::to_string),
            summary: condition.summary.clone(),
            remedy: condition.remedy.clone(),
            since_ms: alert.since_ms,
        }
    }

    fn write(&self, html: &mut String) {
        let Self {
            severity,
            name,
            instance,
            summary,
            remedy,
            since_ms,
        } = self;
        add(html, "h1", &format!("{severity} {name}"));
        add(html, "p", summary);
        let since = time(*since_ms);
        let facts = match instance {
            Some(instance) => format!("Instance {instance}, since {since}"),
            None => format!("Since {since}"),
        };
        add(html, "p", &facts);
        if !remedy.is_empty() {
            add(html, "p", &format!("What to do: {remedy}"));
        }
    }
}

/// The page about what a link leads to.
pub(super) fn answer(status: StatusCode, linked: &Linked) -> Response {
    let mut html = String::new();
    let title = match linked {
        Linked::Unknown => {
            add(&mut html, "h1", "This link is not valid");
            add(&mut html, "p", "It is damaged, or of another router.");
            "Link not valid"
        }
        Linked::Expired => {
            add(&mut html, "h1", "This link has expired");
            let what = "A link is good for a day. See godot-mcp-router alerts for what fires now.";
            add(&mut html, "p", what);
            "Link expired"
        }
        Linked::Test => {
            add(&mut html, "h1", "This link works");
            let what = "It came with a test: there is nothing to acknowledge. In a message about an alert, the button is here.";
            add(&mut html, "p", what);
            "Link of a test"
        }
        Linked::Over => {
            add(&mut html, "h1", "This alert is over");
            let what = "What the message was about does not fire any more. If it came back there is a newer message.";
            add(&mut html, "p", what);
            "Alert over"
        }
        Linked::Used => {
            add(&mut html, "h1", "This link is used up");
            let what = "Somebody acknowledged the alert after the message was sent, and nobody is on it any more. Use the link in \
                        a newer message, or godot-mcp-router alerts ack.";
            add(&mut html, "p", what);
            "Link used up"
        }
        Linked::Acknowledged {
            shown,
            by,
            until_ms,
        } => {
            shown.write(&mut html);
            let until = time(*until_ms);
            let what = format!("Acknowledged by {by}, until {until}.");
            add(&mut html, "h2", &what);
            "Alert acknowledged"
        }
        Linked::Open(shown) => {
            shown.write(&mut html);
            // Without an address of its own the form goes where the page came from, whatever stands in front of the router.
            html.push_str("<form method=\"post\"><button>Acknowledge</button></form>");
            let what =
                "You are on it then: it escalates no further, until the acknowledgement expires.";
            add(&mut html, "p", what);
            "Acknowledge an alert"
        }
    };
    let html = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <meta name=\"robots\" content=\"noindex,nofollow\"><title>{title}</title><style>{STYLE}</style></head><body>{html}</body></html>\n"
    );
    let mut response = (status, Html(html)).into_response();
    guard(&mut response);
    response
}

/// What browsers, caches and search engines are to know of it. With no referrer at all a browser would not say either that the form is
/// the page's own.
pub(super) fn guard(response: &mut Response) {
    let fixed = [
        (header::CACHE_CONTROL, "no-store"),
        (header::REFERRER_POLICY, "same-origin"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (HeaderName::from_static("x-robots-tag"), "noindex, nofollow"),
    ];
    for (name, value) in fixed {
        let value = HeaderValue::from_static(value);
        response.headers_mut().insert(name, value);
    }
}

fn time(ms: u64) -> String {
    let shown = at(ms);
    let left_ms = ms.saturating_sub(unix_ms_now());
    match left_ms / 60_000 {
        0 => shown,
        minutes => format!("{shown} (in {} h {} min)", minutes / 60, minutes % 60),
    }
}

fn add(html: &mut String, element: &str, text: &str) {
    // Writing to a string cannot fail.
    let _ = write!(html, "<{element}>{}</{element}>", escaped(text));
}

/// A text as it may stand in an element.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for sign in text.chars() {
        match sign {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            sign => escaped.push(sign),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    use sha2::{Digest as _, Sha256};

    use super::{POLICY, STYLE, escaped};

    #[test]
    fn the_policy_lets_this_style_in() {
        let hash = STANDARD.encode(Sha256::digest(STYLE));
        assert!(POLICY.contains(&format!("'sha256-{hash}'")), "{hash}");
    }

    #[test]
    fn a_text_ends_no_element_and_begins_none() {
        let hostile = "<script>alert('1')</script>\"&amp;";
        let shown = "&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;&quot;&amp;amp;";
        assert_eq!(escaped(hostile), shown);
    }
}
