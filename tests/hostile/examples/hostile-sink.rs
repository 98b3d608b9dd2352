//! An alert sink that misbehaves as its configuration demands, or tells what it could find out: what the engine must survive, and keep
//! to itself.

use hostile_guests::{endless, memory, trap};
use router_plugin_sdk::{
    ConfigFault, Settings,
    alert_sink::{
        AlertSink, Delivered, Delivery, DeliveryError,
        egress::{self, Algorithm, EgressError, Request, SecretError},
    },
    host::{self, LogLevel},
};

/// The guest.
#[derive(Debug, Clone, Copy)]
pub struct Hostile;

router_plugin_sdk::export_alert_sink!(Hostile);

impl AlertSink for Hostile {
    const NAME: &'static str = "hostile-sink";
    const SUMMARY: &'static str = "misbehaves as it is configured";

    fn check(settings: &Settings) -> Vec<ConfigFault> {
        let fault = |reason: String| {
            vec![ConfigFault {
                key: "mode".to_owned(),
                reason,
            }]
        };
        match settings.text("mode") {
            Some("refuses") => fault("is refused".to_owned()),
            // Whether secrets and receivers can be had before there is anything to deliver.
            Some("early") => fault(format!(
                "{:?} {:?}",
                egress::placeholder("key"),
                egress::send(&get(settings, ""))
            )),
            _ => Vec::new(),
        }
    }

    fn deliver(delivery: &Delivery, settings: &Settings) -> Delivered {
        let key = || egress::placeholder("key").map_err(refused);
        match settings.text("mode").unwrap_or("nothing") {
            "loop" => endless(),
            "trap" => trap(),
            "memory" => memory(),
            "logs" => loop {
                host::log(LogLevel::Error, &"x".repeat(4_096));
            },
            "leak" => leak(settings, &key()?),
            "send" => send(&get(settings, &format!("?key={}", key()?))),
            "flood" => Ok(Some(flood(settings).to_string())),
            "calls" => calls(),
            // To another origin than the sink's.
            "steal" => send(&Request {
                url: format!(
                    "{}/?{}",
                    settings.text("elsewhere").unwrap_or_default(),
                    key()?
                ),
                ..get(settings, "")
            }),
            // What another call's placeholder is worth.
            "hoard" => {
                let token = match host::get("token") {
                    Some(token) => String::from_utf8_lossy(&token).into_owned(),
                    None => {
                        let token = key()?;
                        host::set("token", token.as_bytes()).map_err(refused)?;
                        token
                    }
                };
                send(&get(settings, &format!("?key={token}")))
            }
            // The words of an alert, which hold a secret's name and old placeholders.
            "repeat" => {
                let body = format!("\"{}\"", delivery.summary());
                send(&Request {
                    headers: get(settings, "").headers,
                    ..Request::post_json(get(settings, "").url, body)
                })
            }
            "sign" => {
                let signed = egress::sign("key", &Algorithm::HmacSha256, b"bytes");
                signed
                    .map(|signed| Some(format!("{signed:?}")))
                    .map_err(refused)
            }
            "unknown" => {
                let unknown = egress::placeholder("other") == Err(SecretError::Unknown);
                Ok(Some(unknown.to_string()))
            }
            "retry" => Err(DeliveryError::retry_after("not now", Some(1_500))),
            "gone" => Err(DeliveryError::Gone("nobody is there".to_owned())),
            "receipt" => Ok(Some("r".repeat(2_000))),
            _ => Ok(Some(format!("{} {}", delivery.id, delivery.attempt))),
        }
    }
}

fn get(settings: &Settings, query: &str) -> Request {
    Request {
        method: "GET".to_owned(),
        url: format!("{}/{query}", settings.text("url").unwrap_or_default()),
        headers: Vec::new(),
        body: Vec::new(),
    }
}

/// The answer as the receipt, so that a test sees what the sink saw.
fn send(request: &Request) -> Delivered {
    match egress::send(request) {
        Ok(response) => Ok(Some(format!("{} {}", response.status, response.text()))),
        Err(EgressError::TimedOut) => Err(DeliveryError::retry("timed out")),
        Err(error) => Err(DeliveryError::Refused(format!("{error:?}"))),
    }
}

/// Uses a secret, and says what it then knows wherever it can: in the log, on its standard output, among its values, as the reason or,
/// where the answer is to be, as the receipt.
#[allow(clippy::print_stdout, reason = "this is one of the places")]
fn leak(settings: &Settings, key: &str) -> Delivered {
    let request = Request {
        url: format!(
            "{}/{key}?key={key}",
            settings.text("url").unwrap_or_default()
        ),
        ..Request::post_json("", format!("{{\"key\":\"{key}\"}}"))
    };
    let answer = egress::send(&request.with_header("x-key", key));
    let known = format!("known: {answer:?}");
    host::log(LogLevel::Error, &known);
    println!("{known}");
    host::set("known", known.as_bytes()).map_err(refused)?;
    match settings.text("answer") {
        Some("receipt") => Ok(Some(known.chars().take(300).collect())),
        Some("retry") => Err(DeliveryError::retry(known)),
        _ => Err(DeliveryError::Refused(known)),
    }
}

fn flood(settings: &Settings) -> usize {
    let sent = (0..100).map(|_| egress::send(&get(settings, "")));
    sent.filter(Result::is_ok).count()
}

fn calls() -> Delivered {
    for _ in 0..10_000 {
        let _ = egress::placeholder("key");
    }
    Ok(None)
}

fn refused(error: impl std::fmt::Debug) -> DeliveryError {
    DeliveryError::Refused(format!("{error:?}"))
}
