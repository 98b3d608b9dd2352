//! What metrics show of alerts: read from the loop when somebody scrapes, and counted as reports of deliveries come.

use std::time::Duration;

use router_alerts::{
    Alert, AlertEngine, AlertRef,
    delivery::{DeliveryProgress, DeliveryReport, Precedence, Schedule},
    history::{Happening, MutedBy},
    notice::DeliveryError,
    record::{Record, RecordChange},
};
use router_delivery::JournalState;
use router_engine::{CallFailure, ExchangeEnd, SinkAnswer};
use router_telemetry::{
    AlertFigures, AlertMeters, AttemptResult, DeliveryOutcome, JournalFigures, SinkFigures,
};

use super::sinks::CONSOLE;

/// The loop's state as of now.
pub(super) fn figures(engine: &AlertEngine, schedule: &Schedule, now_ms: u64) -> AlertFigures {
    let mut figures = AlertFigures::default();
    for alert in engine.alerts() {
        let key = (alert.severity, alert.state.as_str());
        *figures.by_state.entry(key).or_default() += 1;
        if !alert.is_open() {
            continue;
        }
        figures.stale += u64::from(alert.is_stale());
        figures.flapping += u64::from(alert.flapping);
        if alert.overdue && alert.acknowledged_by().is_none() {
            *figures.overdue.entry(alert.severity).or_default() += 1;
        }
        if let Some(mute) = alert.mute() {
            *figures.muted.entry(mute.by.as_str()).or_default() += 1;
        }
    }
    let silences = engine.silences().map(|(_, silence)| silence);
    let in_force = silences.filter(|one| (one.starts_ms..one.ends_ms).contains(&now_ms));
    figures.silences = in_force.count() as u64;
    let rules = engine.rules();
    figures.rules_answered_ms = rules
        .map(|(rule, at_ms)| (rule.to_string(), at_ms))
        .collect();
    let sinks = schedule.sink_loads(now_ms).map(|load| {
        let figures = SinkFigures {
            waiting: load.waiting,
            oldest_ms: load.oldest_ms,
            dead_letters: load.dead_letters,
            held: load.held,
        };
        (load.sink.to_string(), figures)
    });
    figures.sinks = sinks.collect();
    figures
}

/// The journal as of now.
pub(super) fn journal(state: &JournalState) -> JournalFigures {
    JournalFigures {
        is_refusing: state.refusing.is_some(),
        file_bytes: state.file_bytes,
        used_share: state.used_share(),
        writes: state.writes,
        write_time: state.write_time,
    }
}

/// Counts the firings of a step.
pub(super) fn count_fired(meters: &AlertMeters, record: &Record) {
    for change in &record.changes {
        let RecordChange::Alert { history, .. } = change else {
            continue;
        };
        for entry in history {
            if let Happening::Fired { severity, .. } = entry.what {
                meters.count_fired(severity);
            }
        }
    }
}

/// Counts a delivery that came to an end. The engine has not heard of it yet.
pub(super) fn count_end(
    meters: &AlertMeters,
    report: &DeliveryReport,
    engine: &AlertEngine,
    now_ms: u64,
) {
    let outcome = match &report.progress {
        DeliveryProgress::Delivered { .. } => DeliveryOutcome::Delivered,
        DeliveryProgress::DeadLetter { .. } => DeliveryOutcome::DeadLetter,
        DeliveryProgress::Cancelled => DeliveryOutcome::Cancelled,
        DeliveryProgress::Collapsed { into: Some(_) } => DeliveryOutcome::Collapsed,
        DeliveryProgress::Collapsed { into: None } => DeliveryOutcome::Dropped,
        DeliveryProgress::Attempted { .. }
        | DeliveryProgress::Failed { .. }
        | DeliveryProgress::Held { .. }
        | DeliveryProgress::FellBack { .. }
        | DeliveryProgress::Requeued { .. } => return,
    };
    meters.count_outcome(&report.sink, outcome);
    let is_first = report.precedence == Precedence::FirstFiring && &*report.sink != CONSOLE;
    if outcome != DeliveryOutcome::Delivered || !is_first {
        return;
    }
    for news in &report.news {
        if let Some(alert) = engine.alert(news.alert)
            && let Some(fired_ms) = unheard_since(alert, *news)
        {
            let took = Duration::from_millis(now_ms.saturating_sub(fired_ms));
            meters.observe_first_delivery(alert.severity, took);
        }
    }
}

/// When a firing began that no receiver has had yet, and that nobody has kept from them, in milliseconds since 1970.
fn unheard_since(alert: &Alert, news: AlertRef) -> Option<u64> {
    let (mut since_ms, mut is_muted) = (None, false);
    for entry in alert.history() {
        match &entry.what {
            Happening::Fired { firing, .. } => {
                let is_it = *firing == news.firing && !is_muted;
                since_ms = is_it.then_some(entry.at_ms);
            }
            // What a start holds back is the router's own delay, and counts.
            Happening::Muted(mute) if mute.by != MutedBy::Settling => {
                (since_ms, is_muted) = (None, true);
            }
            Happening::Muted(_) | Happening::Unmuted => is_muted = false,
            Happening::Delivery {
                sink,
                progress: DeliveryProgress::Delivered { .. },
                ..
            } if &**sink != CONSOLE => since_ms = None,
            _ => {}
        }
    }
    since_ms
}

/// How an attempt ended: `None`: no plugin serves the sink.
pub(super) fn attempt_result(answer: Option<&Result<SinkAnswer, CallFailure>>) -> AttemptResult {
    let Some(Ok(answer)) = answer else {
        return AttemptResult::Plugin;
    };
    let Err(error) = &answer.delivered else {
        return AttemptResult::Delivered;
    };
    match (answer.last_exchange, error) {
        (Some(ExchangeEnd::Answered(429)), _) => AttemptResult::RateLimited,
        (Some(ExchangeEnd::Answered(401 | 403)), _) => AttemptResult::AuthError,
        (Some(ExchangeEnd::Answered(400..=499)), _) => AttemptResult::ClientError,
        (Some(ExchangeEnd::Answered(500..)), _) => AttemptResult::ServerError,
        (Some(ExchangeEnd::TimedOut), _) => AttemptResult::Timeout,
        (Some(ExchangeEnd::Failed), _) => AttemptResult::Connection,
        (Some(ExchangeEnd::NotSent), _) => AttemptResult::NotSent,
        (_, DeliveryError::Refused(_)) => AttemptResult::Refused,
        (_, DeliveryError::Gone(_)) => AttemptResult::Gone,
        (_, DeliveryError::Retry { .. } | DeliveryError::Other(_)) => AttemptResult::Other,
    }
}

#[cfg(test)]
mod tests;
