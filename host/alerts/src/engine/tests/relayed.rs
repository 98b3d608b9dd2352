//! What somebody does elsewhere, by a link or at a receiver's own service: it comes late and more than once.

use super::*;
use crate::{identity::AlertRef, record::RecordChange};

fn relayed(bench: &Bench, firing: u32, at_ms: u64, verb: RelayedVerb) -> AlertVerb {
    assert!(at_ms <= bench.now_ms + HOUR);
    AlertVerb::Relayed {
        about: AlertRef {
            alert: AlertId::of("a"),
            firing,
        },
        at_ms,
        verb,
    }
}

impl Bench {
    fn relay(&mut self, at_ms: u64, verb: RelayedVerb) -> Result<AlertDone, AlertCommandError> {
        let verb = relayed(self, 1, at_ms, verb);
        self.command(verb)
    }

    fn restarted(&self) -> Self {
        Self::starting(settings(), self.now_ms, self.records.clone())
    }
}

#[test]
fn a_link_acknowledges_once_and_who_is_on_it_stays() {
    let mut bench = Bench::settled(settings());
    bench.raise(condition("a", "n", Severity::P1));
    let sent_ms = bench.now_ms;
    bench.run(MIN);
    let link = RelayedVerb::Acknowledge;
    assert_eq!(bench.relay(sent_ms, link), Ok(AlertDone::Alert));
    assert_eq!(bench.state("a"), "acknowledged");
    let until = |bench: &Bench| bench.engine.alert(AlertId::of("a")).unwrap().state.clone();
    let before = until(&bench);
    bench.run(MIN);
    // A second use, of this link or of another, changes nothing, and does not lengthen it.
    for at_ms in [sent_ms, bench.now_ms] {
        let again = bench.relay(at_ms, link);
        assert_eq!(again, Err(AlertCommandError::AcknowledgedAlready));
    }
    assert_eq!(until(&bench), before);

    // When nobody is on it any more the used link is still used, also after a restart, and that of a later message is not.
    let alert = AlertId::of("a");
    bench.command(AlertVerb::Unacknowledge { alert }).unwrap();
    let mut bench = bench.restarted();
    assert_eq!(bench.relay(sent_ms, link), Err(AlertCommandError::Outdated));
    assert_eq!(bench.state("a"), "firing");
    let later_ms = bench.now_ms;
    assert_eq!(bench.relay(later_ms, link), Ok(AlertDone::Alert));
    assert_eq!(bench.state("a"), "acknowledged");
}

#[test]
fn another_firing_and_one_that_is_over_are_not_touched() {
    let mut bench = Bench::settled(settings());
    bench.raise(condition("a", "n", Severity::P2));
    let link = RelayedVerb::Acknowledge;
    let sent_ms = bench.now_ms;
    let other = relayed(&bench, 2, sent_ms, link);
    assert_eq!(bench.command(other), Err(AlertCommandError::FiringOver));
    let resolve = relayed(&bench, 2, sent_ms, RelayedVerb::Resolve);
    assert_eq!(bench.command(resolve), Err(AlertCommandError::FiringOver));
    assert_eq!(bench.state("a"), "firing");

    bench.holds.clear();
    bench.run(MIN);
    assert_eq!(bench.state("a"), "resolved");
    assert_eq!(bench.relay(sent_ms, link), Err(AlertCommandError::NotOpen));
    bench.raise(condition("a", "n", Severity::P2));
    assert_eq!(bench.state("a"), "firing");
    assert_eq!(
        bench.relay(sent_ms, link),
        Err(AlertCommandError::FiringOver)
    );
    assert_eq!(bench.state("a"), "firing");
}

#[test]
fn what_is_done_elsewhere_counts_by_when_it_was_done() {
    let mut bench = Bench::settled(settings());
    bench.raise(condition("a", "n", Severity::P1));
    let nobody = bench.relay(bench.now_ms, RelayedVerb::Unacknowledge);
    assert_eq!(nobody, Err(AlertCommandError::NotAcknowledged));
    // The clock over there is a minute ahead.
    let first_ms = bench.now_ms + MIN;
    bench.relay(first_ms, RelayedVerb::Acknowledge).unwrap();
    let late = bench.relay(first_ms - 1, RelayedVerb::Unacknowledge);
    assert_eq!(late, Err(AlertCommandError::Outdated));
    bench
        .relay(first_ms + 1, RelayedVerb::Unacknowledge)
        .unwrap();
    assert_eq!(bench.state("a"), "firing");
    // Heard of again.
    let again = bench.relay(first_ms, RelayedVerb::Acknowledge);
    assert_eq!(again, Err(AlertCommandError::Outdated));
    bench.run(MIN);
    bench.relay(bench.now_ms, RelayedVerb::Resolve).unwrap();
    assert_eq!(bench.state("a"), "resolved");
    let closed = bench.relay(bench.now_ms, RelayedVerb::Resolve);
    assert_eq!(closed, Err(AlertCommandError::NotOpen));
}

/// Journals of versions that did not know the time of an acknowledgement are read.
#[test]
fn an_alert_without_the_time_of_its_acknowledgement_is_read() {
    let mut bench = Bench::settled(settings());
    bench.raise(condition("a", "n", Severity::P1));
    bench.acknowledge("a").unwrap();
    let last = bench.records.last().unwrap();
    let mut json = serde_json::to_value(&last.changes).unwrap();
    let text = json.to_string();
    assert!(text.contains("acknowledged_ms"), "{text}");
    remove(&mut json, "acknowledged_ms");
    assert!(!json.to_string().contains("acknowledged_ms"));
    let read: Vec<RecordChange> = serde_json::from_value(json).unwrap();
    assert_eq!(read.len(), last.changes.len());
}

fn remove(json: &mut serde_json::Value, name: &str) {
    match json {
        serde_json::Value::Object(object) => {
            object.remove(name);
            object.values_mut().for_each(|value| remove(value, name));
        }
        serde_json::Value::Array(items) => items.iter_mut().for_each(|item| remove(item, name)),
        _ => {}
    }
}
