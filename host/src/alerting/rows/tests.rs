//! Each firing has one row, which says how it is or how it was.

use router_alerts::{
    Severity,
    delivery::{DeliveryProgress, FallbackCause, HeldBy},
    history::HistoryEntry,
    notice::DeliveryError,
};

use super::super::{
    bench::{Bench, condition, report},
    outbox::DatabaseRow,
};
use super::of_report;

#[test]
fn a_firing_has_a_row_from_its_beginning_to_its_end() {
    let mut bench = Bench::settled();
    let disk = condition("disk", Severity::P2);
    bench.answer(std::slice::from_ref(&disk));
    let fired_ms = i64::try_from(bench.now_ms).unwrap();
    let row = bench.row("disk", 1);
    assert_eq!((row.state.as_str(), row.fired_ms), ("firing", fired_ms));
    assert_eq!((row.name.as_str(), row.rule.as_str()), ("Wrong", "r"));
    assert_eq!((row.runbook.as_str(), row.story.as_str()), ("wrong", ""));
    assert_eq!(row.attributes, r#"{"disk":"/data"}"#);
    bench.pass(30, std::slice::from_ref(&disk));
    bench.acknowledge("disk");
    let row = bench.row("disk", 1);
    let acknowledged_ms = i64::try_from(bench.now_ms).unwrap();
    assert_eq!(row.state, "acknowledged");
    assert_eq!(row.acknowledged_ms, Some(acknowledged_ms));
    bench.pass(60, &[]);
    let row = bench.row("disk", 1);
    assert_eq!(row.state, "resolved");
    assert_eq!(row.acknowledged_by, "alice");
    assert_eq!(row.resolved_because, "the condition is gone");
    assert!(row.resolved_ms > row.acknowledged_ms);
    let story: Vec<HistoryEntry> = serde_json::from_str(&row.story).unwrap();
    assert_eq!(Some(story[0].at_ms), u64::try_from(fired_ms).ok());
    let first = row.clone();

    // It fires again, for long enough only the second time: another row, and the first stays as it was.
    let slow = router_alerts::Condition {
        for_ms: 60_000,
        ..disk.clone()
    };
    bench.pass(20, &[slow]);
    bench.pass(60, &[]);
    let before = bench.row("disk", 1);
    assert_eq!(before.resolved_ms, first.resolved_ms);
    assert_eq!(
        (before.fired_ms, before.since_ms),
        (first.fired_ms, first.since_ms)
    );
    assert_eq!(bench.table.len(), 1);
    bench.pass(10, &[disk]);
    assert_eq!(bench.row("disk", 2).state, "firing");
    assert_eq!(bench.row("disk", 1).resolved_ms, first.resolved_ms);
}

#[test]
fn one_that_somebody_is_on_and_that_gets_worse_is_another_firing() {
    let mut bench = Bench::settled();
    bench.pass(20, &[condition("disk", Severity::P3)]);
    bench.acknowledge("disk");
    bench.pass(20, &[condition("disk", Severity::P1)]);
    let (before, now) = (bench.row("disk", 1), bench.row("disk", 2));
    assert_eq!(
        (before.severity.as_str(), before.state.as_str()),
        ("P3", "resolved")
    );
    assert_eq!(before.resolved_because, "it fires anew, more severe");
    assert_eq!(before.acknowledged_by, "alice");
    assert_eq!(before.resolved_ms, Some(now.fired_ms));
    assert_eq!(
        (now.severity.as_str(), now.state.as_str()),
        ("P1", "firing")
    );
    assert_eq!(
        (now.acknowledged_by.as_str(), now.acknowledged_ms),
        ("", None)
    );
}

#[test]
fn what_becomes_of_a_delivery_is_one_word_and_what_the_receiver_said() {
    let mut bench = Bench::settled();
    bench.answer(&[condition("disk", Severity::P1)]);
    let delivery = bench.sent[0].clone();
    let retry = DeliveryError::Other("503 from the receiver".to_owned());
    let rows = [
        (DeliveryProgress::Attempted { attempt: 1 }, "sending", 1, ""),
        (
            DeliveryProgress::Failed {
                attempt: 1,
                error: retry.clone(),
                next_ms: 9,
            },
            "failed",
            1,
            &*retry.to_string(),
        ),
        (
            DeliveryProgress::Delivered { attempt: 2 },
            "delivered",
            2,
            "",
        ),
        (
            DeliveryProgress::DeadLetter {
                reason: "refused: no_service".to_owned(),
                may_have_arrived: false,
            },
            "dead_letter",
            0,
            "refused: no_service",
        ),
        (
            DeliveryProgress::Requeued {
                by: "alice".to_owned(),
            },
            "requeued",
            0,
            "",
        ),
        (DeliveryProgress::Cancelled, "cancelled", 0, ""),
        (
            DeliveryProgress::Collapsed { into: None },
            "collapsed",
            0,
            "",
        ),
    ];
    for (progress, outcome, attempts, answer) in rows {
        let began = (outcome == "sending").then_some(7);
        let Some(DatabaseRow::Delivery(row)) = of_report(&report(&delivery, progress), 7) else {
            panic!("no row for {outcome}");
        };
        assert_eq!(
            (row.outcome.as_str(), row.attempts, row.answer.as_str()),
            (outcome, attempts, answer)
        );
        assert_eq!((row.first_attempt_ms, row.last_attempt_ms), (began, began));
        assert_eq!(
            (row.sink.as_str(), row.occasion.as_str()),
            (&*delivery.sink, "firing")
        );
        assert_eq!((row.firing, row.step), (1, delivery.id.step().into()));
    }
    let others = [
        DeliveryProgress::Held {
            by: HeldBy::Order,
            until_ms: 1,
        },
        DeliveryProgress::FellBack {
            to: "pager".into(),
            delivery: delivery.id.for_sink("pager"),
            because: FallbackCause::Refused,
        },
    ];
    for progress in others {
        assert_eq!(of_report(&report(&delivery, progress), 7), None);
    }
}
