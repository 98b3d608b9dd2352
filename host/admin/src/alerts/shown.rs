//! Alerts, silences and deliveries as JSON.

use router_alerts::{
    Alert, AlertId, AlertState,
    delivery::{DeadLetter, Delivery, Schedule, WaitingDelivery},
    history::{Mute, MutedBy},
    settings::Routing,
    silence::{Silence, SilenceId},
};
use serde_json::{Value, json};

use crate::{TestResult, render::at};

/// Deliveries of each kind in an answer.
const DELIVERIES_MAX: usize = 1_000;

/// One alert.
pub(super) fn alert(alert: &Alert) -> Value {
    let condition = &alert.condition;
    let (acknowledged, resolved) = match &alert.state {
        AlertState::Acknowledged { by, until_ms } => {
            (Some(json!({ "by": by, "until": at(*until_ms) })), None)
        }
        AlertState::Resolved { at_ms, .. } => (None, Some(at(*at_ms))),
        AlertState::Pending | AlertState::Firing => (None, None),
    };
    let attributes = condition.attributes.iter();
    let attributes: serde_json::Map<String, Value> = attributes
        .map(|(name, value)| (name.clone(), value.as_str().into()))
        .collect();
    let escalation = alert.escalation.as_ref();
    json!({
        "id": alert.id.to_string(),
        "key": condition.key,
        "name": condition.name,
        "severity": alert.severity.as_str(),
        "state": alert.state.as_str(),
        "summary": condition.summary,
        "remedy": condition.remedy,
        "runbook": condition.runbook_anchor,
        "versionId": condition.instance.as_ref().map(|id| id.as_str()),
        "rule": &*alert.rule,
        "since": at(alert.since_ms),
        "firedAt": alert.fired_ms.map(at),
        "firing": alert.firing,
        "acknowledged": acknowledged,
        "resolvedAt": resolved,
        "stale": alert.is_stale(),
        "flapping": alert.flapping,
        "overdue": alert.overdue,
        "muted": alert.mute().map(mute),
        "notified": alert.heard.keys().map(|sink| &**sink).collect::<Vec<_>>(),
        "nextEscalation": escalation.and_then(|one| one.due_ms).map(at),
        "attributes": attributes,
    })
}

fn mute(mute: &Mute) -> Value {
    let what = match &mute.by {
        MutedBy::Settling => None,
        MutedBy::Inhibition(key) => Some(key.clone()),
        MutedBy::Silence(id) => Some(id.to_string()),
        MutedBy::Window(name) => Some(name.to_string()),
    };
    json!({ "by": mute.by.as_str(), "what": what, "until": mute.until_ms.map(at) })
}

/// Where an alert goes.
pub(super) fn routing(routing: &Routing) -> Value {
    let targets = routing.targets.iter();
    let targets = targets.map(|(sink, route)| json!({ "sink": &**sink, "route": &**route }));
    json!({
        "sinks": targets.collect::<Value>(),
        "escalation": routing.escalation.as_ref().map(|(route, chain)| json!({ "route": &**route, "chain": &**chain })),
    })
}

/// One silence.
pub(super) fn silence(id: SilenceId, silence: &Silence) -> Value {
    json!({
        "id": id.0,
        "matcher": silence.matcher,
        "author": silence.author,
        "reason": silence.reason,
        "from": at(silence.starts_ms),
        "until": at(silence.ends_ms),
    })
}

/// One maintenance window.
pub(super) fn window(name: &str, span: Option<(u64, u64)>, now_ms: u64) -> Value {
    json!({
        "name": name,
        "active": span.is_some_and(|(from_ms, until_ms)| (from_ms..until_ms).contains(&now_ms)),
        "from": span.map(|(from_ms, _)| at(from_ms)),
        "until": span.map(|(_, until_ms)| at(until_ms)),
    })
}

/// How a sink answered a test.
pub(super) fn test(result: &TestResult) -> Value {
    json!({
        "sink": result.sink,
        "delivered": result.outcome.is_ok(),
        "reason": result.outcome.as_ref().err(),
    })
}

/// What waits, and dead letters.
pub(super) fn deliveries(schedule: &Schedule, now_ms: u64) -> Value {
    let waiting = schedule.waiting(now_ms).take(DELIVERIES_MAX);
    let dead = schedule.dead_letters().take(DELIVERIES_MAX);
    json!({
        "waiting": waiting.map(|one| self::waiting(&one)).collect::<Value>(),
        "deadLetters": dead.map(|one| dead_letter(&one)).collect::<Value>(),
    })
}

/// The same about one alert.
pub(super) fn deliveries_of(schedule: &Schedule, id: AlertId, now_ms: u64) -> Value {
    let is_about = |delivery: &Delivery| delivery.news.iter().any(|news| news.alert == id);
    let waiting = schedule
        .waiting(now_ms)
        .filter(|one| is_about(&one.delivery));
    let dead = schedule
        .dead_letters()
        .filter(|one| is_about(&one.delivery));
    json!({
        "waiting": waiting.map(|one| self::waiting(&one)).collect::<Value>(),
        "deadLetters": dead.map(|one| dead_letter(&one)).collect::<Value>(),
    })
}

fn delivery(delivery: &Delivery) -> Value {
    let news = delivery.news.iter();
    let news = news.map(|news| json!({ "alert": news.alert.to_string(), "firing": news.firing }));
    json!({
        "id": delivery.id.as_str(),
        "sink": &*delivery.sink,
        "route": delivery.route.as_deref(),
        "occasion": delivery.occasion.as_str(),
        "severity": delivery.severity.as_str(),
        "alerts": news.collect::<Value>(),
        "decidedAt": at(delivery.decided_ms),
    })
}

fn waiting(waiting: &WaitingDelivery) -> Value {
    let mut value = delivery(&waiting.delivery);
    value["attempts"] = waiting.attempts.into();
    value["inFlightSince"] = waiting.in_flight_ms.map(at).into();
    value["nextAttempt"] = at(waiting.next_ms).into();
    value["held"] = waiting.held.map_or(
        Value::Null,
        |(by, until_ms)| json!({ "by": by.as_str(), "until": until_ms.map(at) }),
    );
    value["lastFailure"] = waiting.failure.clone().into();
    value["fellBack"] = waiting.fell_back.into();
    value
}

fn dead_letter(letter: &DeadLetter) -> Value {
    let mut value = delivery(&letter.delivery);
    value["attempts"] = letter.attempts.into();
    value["since"] = at(letter.since_ms).into();
    value["reason"] = letter.reason.as_str().into();
    value["mayHaveArrived"] = letter.may_have_arrived.into();
    value
}
