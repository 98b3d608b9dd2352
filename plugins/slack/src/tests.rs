use std::{
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
};

use router_plugin_sdk::{
    Settings, Value,
    alert_sink::{
        Alert, AlertSink as _, Delivered, Delivery, DeliveryError, Later, Link, LinkTarget,
        Occasion, Severity,
        egress::{FakeEgress, Request, Response},
    },
};
use serde_json::{Value as Json, json};

use super::Slack;
use crate::message::message;

fn whole() -> Delivery {
    let link = |target, path: &str| Link {
        target,
        url: format!("https://router.example/{path}"),
    };
    Delivery {
        changes: vec!["configuration reloaded 3 min ago".to_owned()],
        links: vec![
            link(LinkTarget::Acknowledge, "ack/x?a=1&b=2"),
            link(LinkTarget::Runbook, "runbook#crash-loop"),
            link(LinkTarget::Alert, "alerts/a"),
        ],
        ..Delivery::default()
    }
}

/// As much of everything as there can be, of what takes most room.
fn full() -> Delivery {
    let long = |bytes: usize| "<&>".repeat(bytes / 3);
    let mut alert = Alert::default();
    alert.condition.summary = long(1_024);
    alert.condition.remedy = long(1_024);
    alert.condition.name = "n".repeat(64);
    alert.condition.instance = Some("i".repeat(64));
    alert.acknowledged_by = Some(long(256));
    let link = Link {
        target: LinkTarget::Other(long(64)),
        url: format!("https://router.example/{}", "x".repeat(480)),
    };
    Delivery {
        group_key: long(255),
        alerts: vec![alert; 100],
        more: 1_000,
        changes: vec![long(256); 10],
        links: vec![link; 4],
        ..whole()
    }
}

/// What the package `slackblocks` says of messages.
fn judge(messages: &[Json]) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let python = root.join("tests/.env/venv/bin/python");
    let mut judge = Command::new(&python)
        .arg(root.join("tests/python/judge_slack.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{}: {error}; run `make setup`", python.display()));
    let lines: String = messages
        .iter()
        .map(|message| format!("{message}\n"))
        .collect();
    judge
        .stdin
        .take()
        .unwrap()
        .write_all(lines.as_bytes())
        .unwrap();
    let judged = judge.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&judged.stdout).into_owned();
    assert!(judged.status.success(), "{said}");
}

#[test]
fn a_message_is_as_the_golden_one() {
    let receiver = FakeEgress::with_secrets(&["webhook_url"]);
    receiver.answers(200, "ok");
    assert_eq!(Slack::deliver(&whole(), &Settings::default()), Ok(None));
    let request = receiver.requests().pop().unwrap();
    assert_eq!(request.url, "SECRET-webhook_url");
    let sent: Json = serde_json::from_slice(&request.body).unwrap();
    let golden: Json = serde_json::from_str(include_str!("../golden/firing.json")).unwrap();
    assert_eq!(sent, golden, "{sent:#}");
}

#[test]
fn every_message_is_within_the_limits_of_block_kit() {
    let mut messages = Vec::new();
    for delivery in [
        whole(),
        full(),
        Delivery {
            alerts: Vec::new(),
            ..full()
        },
    ] {
        for occasion in [
            Occasion::Firing,
            Occasion::MoreFiring,
            Occasion::Escalated,
            Occasion::Reminder,
            Occasion::SeverityChanged(Severity::P1),
            Occasion::Acknowledged("<!channel>".repeat(100)),
            Occasion::Resolved,
            Occasion::Test,
            Occasion::Other("o".repeat(500)),
        ] {
            let delivery = Delivery {
                occasion,
                ..delivery.clone()
            };
            messages.push(message(&delivery));
        }
    }
    judge(&messages);
}

#[test]
fn strangers_mention_nobody_and_link_nowhere() {
    let mut delivery = whole();
    delivery.alerts[0].condition.summary = "<!channel> <https://evil.example|ok> & more".to_owned();
    delivery.links.push(Link {
        target: LinkTarget::Other("x".to_owned()),
        url: "https://a.example/|*Acknowledge*> <!here".to_owned(),
    });
    let sent = message(&delivery).to_string();
    assert!(
        !sent.contains("<!") && !sent.contains("<https://evil"),
        "{sent}"
    );
    assert!(!sent.contains("a.example"), "{sent}");
    assert!(
        sent.contains("&lt;!channel&gt;") && sent.contains("&amp; more"),
        "{sent}"
    );
}

#[test]
fn what_a_webhook_answers_says_what_becomes_of_it() {
    let answer = |status, body: &str| {
        let receiver = FakeEgress::with_secrets(&["webhook_url"]);
        receiver.answers(status, body);
        Slack::deliver(&whole(), &Settings::default())
    };
    for (status, body) in [
        (404, "no_service"),
        (403, "invalid_token"),
        (410, "channel_is_archived"),
        (403, "action_prohibited"),
    ] {
        assert!(
            matches!(answer(status, body), Err(DeliveryError::Gone(_))),
            "{body}"
        );
    }
    for body in ["invalid_payload", "invalid_blocks", "no_text"] {
        assert!(
            matches!(answer(400, body), Err(DeliveryError::Refused(reason)) if reason.contains(body))
        );
    }
    for status in [408, 500, 503, 302] {
        assert!(
            matches!(answer(status, "x"), Err(DeliveryError::Retry(_))),
            "{status}"
        );
    }
    let receiver = FakeEgress::with_secrets(&["webhook_url"]);
    receiver.answers_with(Ok(limited()));
    let delivered = Slack::deliver(&whole(), &Settings::default());
    assert!(matches!(
        delivered,
        Err(DeliveryError::Retry(Later {
            after_ms: Some(30_000),
            ..
        }))
    ));
    let _ = FakeEgress::with_secrets(&[]);
    assert!(matches!(
        Slack::deliver(&whole(), &Settings::default()),
        Err(DeliveryError::Retry(_))
    ));
}

fn limited() -> Response {
    Response {
        status: 429,
        headers: vec![("retry-after".to_owned(), "30".to_owned())],
        body: Vec::new(),
    }
}

/// With a bot: the receipt of the delivery before, and what Slack answers; what was sent, by method.
fn with_bot(
    receipt: Option<&str>,
    occasion: Occasion,
    answers: &[Json],
) -> (Delivered, Vec<(String, Json)>) {
    let bot = FakeEgress::with_secrets(&["bot_token"]);
    for answer in answers {
        bot.answers(200, &answer.to_string());
    }
    let delivery = Delivery {
        receipt: receipt.map(str::to_owned),
        occasion,
        ..whole()
    };
    let settings = Settings::of([("channel", Value::Text("#alerts".to_owned()))]);
    let delivered = Slack::deliver(&delivery, &settings);
    let sent = |request: Request| {
        let token = (
            "authorization".to_owned(),
            "Bearer SECRET-bot_token".to_owned(),
        );
        assert!(request.headers.contains(&token));
        let method = request
            .url
            .strip_prefix("https://slack.com/api/")
            .unwrap()
            .to_owned();
        (method, serde_json::from_slice(&request.body).unwrap())
    };
    (delivered, bot.requests().into_iter().map(sent).collect())
}

const RECEIPT: &str = r#"{"channel":"C1","ts":"1.2"}"#;

#[test]
fn with_a_bot_a_group_has_one_message() {
    let posted = json!({ "ok": true, "channel": "C1", "ts": "1.2" });
    let (delivered, sent) = with_bot(None, Occasion::Firing, std::slice::from_ref(&posted));
    assert_eq!(delivered, Ok(Some(RECEIPT.to_owned())));
    assert_eq!(
        (sent[0].0.as_str(), &sent[0].1["channel"]),
        ("chat.postMessage", &json!("#alerts"))
    );
    // What changed is seen where it stands; what has to be seen again is posted below it.
    for (occasion, methods) in [
        (Occasion::MoreFiring, &["chat.update"][..]),
        (Occasion::Acknowledged("ann".to_owned()), &["chat.update"]),
        (Occasion::Resolved, &["chat.update"]),
        (Occasion::Reminder, &["chat.update", "chat.postMessage"]),
        (Occasion::Escalated, &["chat.update", "chat.postMessage"]),
    ] {
        let answers = [
            posted.clone(),
            json!({ "ok": true, "channel": "C1", "ts": "3.4" }),
        ];
        let (delivered, sent) = with_bot(Some(RECEIPT), occasion, &answers);
        assert_eq!(delivered, Ok(Some(RECEIPT.to_owned())));
        let called: Vec<&str> = sent.iter().map(|(method, _)| method.as_str()).collect();
        assert_eq!(called, methods);
        assert_eq!(
            (&sent[0].1["channel"], &sent[0].1["ts"]),
            (&json!("C1"), &json!("1.2"))
        );
        if let Some((_, reply)) = sent.get(1) {
            assert_eq!(
                (&reply["thread_ts"], &reply["ts"]),
                (&json!("1.2"), &Json::Null)
            );
        }
    }
}

#[test]
fn a_message_that_was_deleted_is_posted_anew() {
    for error in [
        "message_not_found",
        "cant_update_message",
        "edit_window_closed",
    ] {
        let answers = [
            json!({ "ok": false, "error": error }),
            json!({ "ok": true, "channel": "C1", "ts": "9.9" }),
        ];
        let (delivered, sent) = with_bot(Some(RECEIPT), Occasion::Resolved, &answers);
        assert_eq!(
            delivered,
            Ok(Some(r#"{"channel":"C1","ts":"9.9"}"#.to_owned()))
        );
        assert_eq!((sent.len(), &sent[1].1["ts"]), (2, &Json::Null));
    }
    // A receipt that is none of ours is none.
    let posted = json!({ "ok": true, "channel": "C1", "ts": "1.2" });
    let (_, sent) = with_bot(Some("ok"), Occasion::Resolved, &[posted]);
    assert_eq!(sent[0].0, "chat.postMessage");
}

#[test]
fn what_a_method_answers_says_what_becomes_of_it() {
    let answer = |error: &str| {
        let answer = json!({ "ok": false, "error": error });
        with_bot(None, Occasion::Firing, &[answer]).0
    };
    for error in [
        "ratelimited",
        "internal_error",
        "fatal_error",
        "service_unavailable",
        "new_error",
    ] {
        assert!(
            matches!(answer(error), Err(DeliveryError::Retry(_))),
            "{error}"
        );
    }
    for error in [
        "invalid_auth",
        "token_revoked",
        "account_inactive",
        "channel_not_found",
        "not_in_channel",
        "is_archived",
    ] {
        assert!(
            matches!(answer(error), Err(DeliveryError::Gone(reason)) if reason.contains(error))
        );
    }
    for error in ["msg_too_long", "invalid_blocks"] {
        assert!(
            matches!(answer(error), Err(DeliveryError::Refused(_))),
            "{error}"
        );
    }
    let bot = FakeEgress::with_secrets(&["bot_token"]);
    bot.answers_with(Ok(limited()));
    let settings = Settings::of([("channel", Value::Text("#alerts".to_owned()))]);
    let delivered = Slack::deliver(&whole(), &settings);
    assert!(matches!(
        delivered,
        Err(DeliveryError::Retry(Later {
            after_ms: Some(30_000),
            ..
        }))
    ));
    let without = Slack::deliver(&whole(), &Settings::default());
    assert!(
        matches!(without, Err(DeliveryError::Retry(later)) if later.reason.contains("channel"))
    );
}

#[test]
fn its_settings_are_texts() {
    let faulty = Settings::of([("channel", Value::Whole(1)), ("room", Value::Flag(true))]);
    assert_eq!(Slack::check(&faulty).len(), 2);
    assert!(Slack::check(&Settings::default()).is_empty());
}
