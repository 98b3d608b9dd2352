//! What happened to an alert, in sentences: why somebody was notified, and why not.

use router_alerts::{
    delivery::{DeliveryProgress, FallbackCause},
    history::{GroupDelay, Happening, HistoryEntry, Mute, MutedBy, Omission, ResolveCause},
    notice::Occasion,
};
use serde_json::{Value, json};

use crate::render::at;

/// One entry of its history.
pub(super) fn entry(entry: &HistoryEntry) -> Value {
    json!({ "at": at(entry.at_ms), "what": sentence(&entry.what) })
}

fn sentence(what: &Happening) -> String {
    match what {
        Happening::Pending { for_ms: 0 } => "a rule names the condition".to_owned(),
        Happening::Pending { for_ms } => {
            let seconds = for_ms / 1_000;
            format!("a rule names the condition; it is an alert once it has held for {seconds} s")
        }
        Happening::NeverFired => "the condition did not hold long enough".to_owned(),
        Happening::Fired { firing, severity } => {
            format!("fires as {severity}, for the {}", ordinal(*firing))
        }
        Happening::SeverityChanged { from, to } => {
            format!("the severity changed from {from} to {to}")
        }
        Happening::Stale => {
            "its rule does not answer: nothing is known any more, and nothing is resolved"
                .to_owned()
        }
        Happening::Fresh => "its rule answers again".to_owned(),
        Happening::Flapping => {
            "it comes and goes: it is held firing until it has been quiet".to_owned()
        }
        Happening::Resolved { cause } => format!("resolved: {}", resolved(cause)),
        Happening::Reopened => {
            "the condition that was closed by hand has been gone: it may fire again".to_owned()
        }
        Happening::Acknowledged { by, until_ms } => {
            format!("acknowledged by {by} until {}", at(*until_ms))
        }
        Happening::Unacknowledged { by } => format!("the acknowledgement was taken back by {by}"),
        Happening::AckExpired { by } => {
            format!("the acknowledgement of {by} expired: it escalates again")
        }
        Happening::Routed {
            targets,
            escalation,
        } => routed(targets, escalation.as_deref()),
        Happening::Muted(mute) => muted(mute),
        Happening::Unmuted => "nothing mutes it any more".to_owned(),
        Happening::Waits { sink, by, until_ms } => {
            let why = match by {
                GroupDelay::GroupWait => "others of its group may come",
                GroupDelay::GroupInterval => "its group was notified not long ago",
            };
            format!("{sink} is notified at {}: {why}", at(*until_ms))
        }
        Happening::Notified {
            sink,
            occasion,
            delivery,
        } => {
            format!(
                "{sink} is to be notified ({}): delivery {delivery}",
                occasion_of(occasion)
            )
        }
        Happening::LeftOut { sink, reason } => {
            format!("{sink} is not notified: {}", omitted(*reason))
        }
        Happening::Escalated { step } => {
            format!("nobody acknowledged it: step {step} of the escalation")
        }
        Happening::EscalationEnded => "nothing further escalates it".to_owned(),
        Happening::Overdue => "nobody acknowledged it within the time of its severity".to_owned(),
        Happening::Delivery {
            delivery,
            sink,
            progress,
        } => {
            format!("delivery {delivery} to {sink}: {}", progressed(progress))
        }
    }
}

fn ordinal(number: u32) -> String {
    match number {
        1 => "first time".to_owned(),
        2 => "second time".to_owned(),
        3 => "third time".to_owned(),
        number => format!("{number}th time"),
    }
}

fn resolved(cause: &ResolveCause) -> String {
    match cause {
        ResolveCause::Gone => "the rule does not name the condition any more".to_owned(),
        ResolveCause::RuleRemoved => "its rule was taken out of alerts.rules".to_owned(),
        ResolveCause::ByHand(by) => format!("closed by {by}"),
    }
}

fn routed(targets: &[(std::sync::Arc<str>, std::sync::Arc<str>)], chain: Option<&str>) -> String {
    if targets.is_empty() {
        return "no route takes it: nobody is notified".to_owned();
    }
    let targets = targets
        .iter()
        .map(|(sink, route)| format!("{sink} by route {route}"));
    let targets = targets.collect::<Vec<_>>().join(", ");
    match chain {
        Some(chain) => format!("goes to {targets}; escalates by {chain}"),
        None => format!("goes to {targets}"),
    }
}

fn muted(mute: &Mute) -> String {
    let by = match &mute.by {
        MutedBy::Settling => "the router started not long ago".to_owned(),
        MutedBy::Inhibition(key) => format!("the fleet-wide alert {key} fires"),
        MutedBy::Silence(id) => format!("silence {id}"),
        MutedBy::Window(name) => format!("maintenance window {name}"),
    };
    match mute.until_ms {
        Some(until_ms) => format!("muted until {}: {by}", at(until_ms)),
        None => format!("muted: {by}"),
    }
}

fn occasion_of(occasion: &Occasion) -> String {
    match occasion {
        Occasion::SeverityChanged(from) => format!("severity changed from {from}"),
        Occasion::Acknowledged(by) => format!("acknowledged by {by}"),
        other => other.as_str().replace('_', " "),
    }
}

fn omitted(reason: Omission) -> &'static str {
    match reason {
        Omission::HasHeard => "it knows already",
        Omission::NoSuchSink => "it is not configured any more",
        Omission::OverBefore => "it was over before anything was sent",
        Omission::RefusedFiring => "it refused the firing, and so gets no resolve",
    }
}

fn progressed(progress: &DeliveryProgress) -> String {
    match progress {
        DeliveryProgress::Attempted { attempt } => format!("attempt {attempt} begins"),
        DeliveryProgress::Failed {
            attempt,
            error,
            next_ms,
        } => {
            format!(
                "attempt {attempt} failed ({error}); the next is at {}",
                at(*next_ms)
            )
        }
        DeliveryProgress::Held { by, until_ms } => {
            format!(
                "waits until {} at the latest: {}",
                at(*until_ms),
                by.as_str()
            )
        }
        DeliveryProgress::Delivered { attempt } => format!("delivered with attempt {attempt}"),
        DeliveryProgress::FellBack {
            to,
            delivery,
            because,
        } => {
            let because = match because {
                FallbackCause::FirstFailure => "the first attempt failed",
                FallbackCause::NotInTime => "it was not delivered within a minute",
                FallbackCause::Breaker => "the sink's circuit breaker is open",
                FallbackCause::Refused => "the sink refused it",
                FallbackCause::Gone => "the sink takes nothing any more",
            };
            format!("goes to the fallback {to} as {delivery} too: {because}")
        }
        DeliveryProgress::DeadLetter {
            reason,
            may_have_arrived,
        } => {
            let arrived = if *may_have_arrived {
                "; it may have arrived"
            } else {
                ""
            };
            format!("given up: {reason}{arrived}")
        }
        DeliveryProgress::Requeued { by } => format!("sent again by {by}"),
        DeliveryProgress::Cancelled => {
            "cancelled: it was acknowledged before the first attempt".to_owned()
        }
        DeliveryProgress::Collapsed { into: Some(into) } => {
            format!("replaced by {into} before the first attempt")
        }
        DeliveryProgress::Collapsed { into: None } => {
            "dropped: it was over before the first attempt".to_owned()
        }
    }
}
