//! The courier with sinks that misbehave and a disk that refuses.

#![allow(clippy::panic, clippy::unwrap_used, missing_docs)]

use std::{path::Path, sync::Arc, time::Duration};

use router_alerts::{
    AlertId, AlertRef, Condition, DeliveryId, Severity,
    delivery::{
        Delivery, DeliveryOrder, DeliveryProgress, DeliveryReport, Precedence, ScheduleEvent,
        ScheduleLimits, SinkSchedule, SinkTable,
    },
    notice::{DeliveryError, Notice, NoticeAlert, Occasion, Receipt},
};
use router_delivery::{
    AlertJournal, Courier, CourierSettings, JournalContents, JournalRow, NotDurable, Sink,
};
use serde_json::value::to_raw_value;

const PATIENCE: Duration = Duration::from_secs(20);

/// Panics at `panics`, refuses at `refuses`, and takes everything else.
struct Fickle;

impl Sink for Fickle {
    async fn deliver(
        &self,
        sink: Arc<str>,
        notice: Notice,
    ) -> Result<Option<Receipt>, DeliveryError> {
        match &*sink {
            "panics" => panic!("a sink that panics"),
            "refuses" => Err(DeliveryError::Refused("not this".to_owned())),
            _ => Ok(Some(Receipt::new(notice.id).unwrap())),
        }
    }
}

async fn courier(dir: &Path) -> (Courier<Fickle>, JournalContents) {
    let (journal, mut contents) = AlertJournal::open(dir.to_owned()).unwrap();
    let sink = |(name, fallback): (&str, Option<&str>)| SinkSchedule {
        sink: name.into(),
        interval_ms: 1,
        at_once_max: 2,
        fallback: fallback.map(Arc::from),
        is_per_alert: true,
        generation: 1,
    };
    let sinks = [
        ("panics", Some("takes")),
        ("refuses", None),
        ("takes", None),
    ]
    .map(sink);
    let settings = CourierSettings {
        sinks: SinkTable::new(sinks).unwrap(),
        limits: ScheduleLimits::default(),
        seed: 1,
    };
    let (courier, _) = Courier::start(settings, journal, &mut contents, Arc::new(Fickle)).await;
    (courier, contents)
}

fn order(key: &str, sink: &str, now_ms: u64) -> ScheduleEvent {
    let news = AlertRef {
        alert: AlertId::of(key),
        firing: 1,
    };
    let condition = Condition {
        key: key.to_owned(),
        name: key.to_owned(),
        severity: Severity::P1,
        summary: "it burns".to_owned(),
        remedy: "water".to_owned(),
        runbook_anchor: None,
        instance: None,
        for_ms: 0,
        attributes: Vec::new(),
    };
    let delivery = Delivery {
        id: DeliveryId::new(news, 1, sink),
        sink: sink.into(),
        route: None,
        group_key: format!("{key}#1").into(),
        occasion: Occasion::Firing,
        precedence: Precedence::FirstFiring,
        severity: Severity::P1,
        news: vec![news],
        listed: vec![NoticeAlert {
            condition: Arc::new(condition),
            since_ms: now_ms,
            resolved_ms: None,
            acknowledged_by: None,
            attributes: Vec::new(),
        }],
        more: 0,
        changes: Vec::new(),
        decided_ms: now_ms,
        not_before_ms: now_ms,
    };
    ScheduleEvent::Ordered(vec![DeliveryOrder::Deliver(Arc::new(delivery))])
}

/// Feeds one event and carries out what it leads to.
async fn step(
    courier: &mut Courier<Fickle>,
    event: ScheduleEvent,
    with: Vec<JournalRow>,
) -> (Vec<DeliveryReport>, Option<NotDurable>) {
    let (reports, _) = courier.decide(event);
    let not_durable = courier.carry_out(with).await;
    (reports, not_durable)
}

/// Goes on until a report is as wanted.
async fn until(
    courier: &mut Courier<Fickle>,
    mut reports: Vec<DeliveryReport>,
    wanted: impl Fn(&DeliveryReport) -> bool,
) -> DeliveryReport {
    let found = async {
        loop {
            if let Some(report) = reports.drain(..).find(|report| wanted(report)) {
                return report;
            }
            let event = courier.next().await;
            (reports, _) = step(courier, event, Vec::new()).await;
        }
    };
    tokio::time::timeout(PATIENCE, found)
        .await
        .expect("it goes on")
}

fn is_delivered(report: &DeliveryReport) -> bool {
    matches!(report.progress, DeliveryProgress::Delivered { .. })
}

#[tokio::test]
async fn a_sink_that_panics_is_tried_again_and_its_fallback_hears() {
    let dir = tempfile::tempdir().unwrap();
    let (mut courier, _) = courier(dir.path()).await;
    let event = order("k", "panics", courier.now_ms());
    let (reports, _) = step(&mut courier, event, Vec::new()).await;
    let failed = until(
        &mut courier,
        reports,
        |report| matches!(&report.progress, DeliveryProgress::Failed { error: DeliveryError::Other(why), .. } if why.contains("panicked")),
    );
    assert_eq!(&*failed.await.sink, "panics");
    // The step that heard of the failure has sent it to the fallback already.
    let taken = until(&mut courier, Vec::new(), is_delivered).await;
    assert_eq!(&*taken.sink, "takes");
    let waits: Vec<_> = courier.schedule().waiting(courier.now_ms()).collect();
    assert_eq!(waits.len(), 1);
    assert!(waits[0].fell_back && waits[0].next_ms > courier.now_ms());
}

#[tokio::test]
async fn rows_of_others_are_in_the_same_record_and_dead_letters_outlive_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let (mut first, _) = courier(dir.path()).await;
    let row = ("alert/k".to_owned(), Some(to_raw_value("firing").unwrap()));
    let event = order("k", "refuses", first.now_ms());
    let (reports, not_durable) = step(&mut first, event, vec![row]).await;
    assert_eq!(not_durable, None);
    let is_dead =
        |report: &DeliveryReport| matches!(report.progress, DeliveryProgress::DeadLetter { .. });
    let dead = until(&mut first, reports, is_dead).await;
    drop(first);
    let (second, contents) = courier(dir.path()).await;
    assert_eq!(contents.rows["alert/k"].get(), "\"firing\"");
    assert_eq!(contents.rows.len(), 1, "the courier takes its own");
    let letters: Vec<_> = second.schedule().dead_letters().collect();
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].delivery.id, dead.delivery);
    assert!(
        letters[0].reason.contains("not this"),
        "{}",
        letters[0].reason
    );
}

#[tokio::test]
async fn a_disk_that_refuses_keeps_nothing_from_its_sink() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("alerts");
    std::fs::write(&place, "").unwrap();
    let (mut courier, _) = courier(&place).await;
    let event = order("k", "takes", courier.now_ms());
    let (reports, not_durable) = step(&mut courier, event, Vec::new()).await;
    let refused = not_durable.expect("it is said");
    assert!(
        refused.to_string().contains("cannot be written"),
        "{refused}"
    );
    until(&mut courier, reports, is_delivered).await;
}
