use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use router_alerts::{
    AlertEngine, Condition, Severity,
    delivery::{
        DeliveryOrder, DeliveryProgress, DeliveryReport, Schedule, ScheduleLimits, SinkTable,
    },
    event::{AlertAction, AlertCommand, AlertEvent, AlertVerb, RuleAnswer},
    facts::FleetPage,
    matcher::Matcher,
    notice::DeliveryError,
    settings::{AlertSettings, SinkSettings},
    silence::Silence,
};
use router_core::Now;
use router_delivery::JournalState;
use router_engine::{ExchangeEnd, SinkAnswer};
use router_telemetry::{AttemptResult, Metrics};
use tokio::sync::watch;

use super::{attempt_result, count_end, count_fired, figures};
use crate::alerting::handle::AlertsHandle;

#[test]
fn the_result_of_an_attempt_is_what_the_router_saw_before_what_the_sink_says() {
    let refused = || DeliveryError::Refused("words".to_owned());
    let retry = || DeliveryError::Retry {
        reason: "words".to_owned(),
        after_ms: None,
    };
    let gone = || DeliveryError::Gone("words".to_owned());
    let answered = |status| Some(ExchangeEnd::Answered(status));
    for (error, last_exchange, result) in [
        (retry(), answered(429), AttemptResult::RateLimited),
        (refused(), answered(401), AttemptResult::AuthError),
        (gone(), answered(404), AttemptResult::ClientError),
        (retry(), answered(503), AttemptResult::ServerError),
        (retry(), Some(ExchangeEnd::TimedOut), AttemptResult::Timeout),
        (
            retry(),
            Some(ExchangeEnd::Failed),
            AttemptResult::Connection,
        ),
        (
            refused(),
            Some(ExchangeEnd::NotSent),
            AttemptResult::NotSent,
        ),
        // Some APIs answer 200 and say in the body that they did nothing.
        (refused(), answered(200), AttemptResult::Refused),
        (gone(), None, AttemptResult::Gone),
        (retry(), answered(302), AttemptResult::Other),
    ] {
        let answer = Ok(SinkAnswer {
            delivered: Err(error),
            last_exchange,
        });
        assert_eq!(attempt_result(Some(&answer)), result, "{answer:?}");
    }
    let delivered = Ok(SinkAnswer {
        delivered: Ok(None),
        last_exchange: answered(202),
    });
    assert_eq!(attempt_result(Some(&delivered)), AttemptResult::Delivered);
    assert_eq!(attempt_result(None), AttemptResult::Plugin);
}

/// An engine with three sinks, whose deliveries end as a test says, and what is counted of it.
struct World {
    engine: AlertEngine,
    metrics: Metrics,
    round: u64,
    now_ms: u64,
}

impl World {
    fn new() -> Self {
        let sinks = ["console", "chat", "pager"].map(|sink| (sink.into(), SinkSettings::default()));
        let settings = AlertSettings {
            rules: vec!["rule".into()],
            sinks: sinks.into(),
            ..AlertSettings::default()
        };
        let metrics = Metrics::new();
        let sinks = settings.sinks.keys();
        let rules = ["rule"].into_iter();
        metrics.alerts().set_names(rules, sinks.map(|sink| &**sink));
        let mut world = Self {
            engine: AlertEngine::new(settings, 1_000),
            metrics,
            round: 0,
            now_ms: 1_000,
        };
        world.step(AlertEvent::JournalRead(Vec::new()));
        world
    }

    /// A step, and the deliveries that it orders.
    fn step(&mut self, event: AlertEvent) -> Vec<DeliveryOrder> {
        let (mut out, mut orders) = (Vec::new(), Vec::new());
        self.engine.step(self.now_ms, event, &mut out);
        for action in out {
            if let AlertAction::Keep(record) = action {
                count_fired(self.metrics.alerts(), &record);
                orders.extend(record.orders);
            }
        }
        orders
    }

    fn answer(&mut self, keys: &[&str]) -> Vec<DeliveryOrder> {
        self.round += 1;
        let condition = |key: &&str| Condition {
            key: (*key).to_owned(),
            name: "Hot".to_owned(),
            severity: Severity::P1,
            summary: "it is hot".to_owned(),
            remedy: "cool it".to_owned(),
            runbook_anchor: None,
            instance: None,
            for_ms: 0,
            attributes: Vec::new(),
        };
        self.step(AlertEvent::Answered(RuleAnswer {
            rule: "rule".into(),
            round: self.round,
            page: FleetPage::ONLY,
            conditions: keys.iter().map(condition).collect(),
        }))
    }

    /// The delivery to that sink ends so, after so many milliseconds.
    fn end(
        &mut self,
        orders: &[DeliveryOrder],
        sink: &str,
        took_ms: u64,
        progress: DeliveryProgress,
    ) {
        self.now_ms += took_ms;
        let mut deliveries = orders.iter().filter_map(|order| match order {
            DeliveryOrder::Deliver(delivery) if &*delivery.sink == sink => Some(delivery),
            _ => None,
        });
        let delivery = deliveries.next().expect("it was ordered");
        let report = DeliveryReport {
            delivery: delivery.id.clone(),
            sink: Arc::clone(&delivery.sink),
            news: delivery.news.clone(),
            precedence: delivery.precedence,
            group_key: Arc::clone(&delivery.group_key),
            content: Arc::clone(delivery),
            progress,
        };
        count_end(self.metrics.alerts(), &report, &self.engine, self.now_ms);
        self.step(AlertEvent::Delivery(report));
    }

    fn shows(&self, line: &str) {
        let text = self.metrics.encode(Now::at(0));
        assert!(text.lines().any(|shown| shown == line), "{line} in\n{text}");
    }
}

const DELIVERED: DeliveryProgress = DeliveryProgress::Delivered { attempt: 1 };

#[test]
fn the_first_receiver_ends_the_wait_and_neither_the_log_nor_the_second_one_does() {
    let mut world = World::new();
    let orders = world.answer(&["a"]);
    world.end(&orders, "console", 5, DELIVERED);
    world.shows("mcp_alert_first_delivery_seconds_count{severity=\"P1\"} 0");
    let failed = DeliveryProgress::Failed {
        attempt: 1,
        error: DeliveryError::Other("words".to_owned()),
        next_ms: 0,
    };
    world.end(&orders, "pager", 5, failed);
    world.end(&orders, "chat", 20, DELIVERED);
    world.end(&orders, "pager", 1_000, DELIVERED);
    world.shows("mcp_alert_first_delivery_seconds_count{severity=\"P1\"} 1");
    world.shows("mcp_alert_first_delivery_seconds_sum{severity=\"P1\"} 0.03");
    world.shows("mcp_alerts_fired_total{severity=\"P1\"} 1");
    for sink in ["console", "chat", "pager"] {
        world.shows(&format!(
            "mcp_alert_deliveries_total{{sink=\"{sink}\",outcome=\"delivered\"}} 1"
        ));
    }
}

#[test]
fn what_somebody_muted_says_nothing_about_the_time_that_deliveries_take() {
    let mut world = World::new();
    let silence = Silence {
        matcher: Matcher {
            severity: vec![Severity::P1],
            ..Matcher::default()
        },
        author: "ann".to_owned(),
        reason: "known".to_owned(),
        starts_ms: 0,
        ends_ms: 60_000,
    };
    world.step(AlertEvent::Command(AlertCommand {
        id: 1,
        by: "ann".to_owned(),
        verb: AlertVerb::AddSilence(silence),
    }));
    assert!(world.answer(&["a"]).is_empty());
    let muted = figures(&world.engine, &empty_schedule(), world.now_ms);
    assert_eq!(muted.muted["silence"], 1);
    assert_eq!((muted.silences, muted.stale), (1, 0));
    assert_eq!(muted.by_state[&(Severity::P1, "firing")], 1);
    assert_eq!(muted.rules_answered_ms["rule"], world.now_ms);
    world.now_ms = 60_000;
    let orders = world.answer(&["a"]);
    world.end(&orders, "chat", 10, DELIVERED);
    world.shows("mcp_alert_first_delivery_seconds_count{severity=\"P1\"} 0");
    world.shows("mcp_alert_deliveries_total{sink=\"chat\",outcome=\"delivered\"} 1");
}

/// The other end of the handle takes nothing: as when the loop waits for something for ever.
#[tokio::test]
async fn a_loop_that_stands_still_holds_no_scrape_up_and_is_seen() {
    let metrics = Metrics::new();
    let (_state, journal) = watch::channel(JournalState {
        file_bytes: 4_096,
        ..JournalState::default()
    });
    let (handle, _inbox) = AlertsHandle::new(journal);
    let begun = Instant::now();
    handle.report(metrics.alerts()).await;
    assert!(begun.elapsed() < Duration::from_secs(5));
    let text = metrics.encode(Now::at(0));
    for line in ["mcp_alert_loop_answering 0", "mcp_alert_journal_bytes 4096"] {
        assert!(text.lines().any(|shown| shown == line), "{line} in\n{text}");
    }
}

fn empty_schedule() -> Schedule {
    let (sinks, limits) = (SinkTable::default(), ScheduleLimits::default());
    Schedule::new(0, &sinks, limits, 1, []).0
}
