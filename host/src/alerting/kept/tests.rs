//! What an engine is given back after a kill is what the one before was, at any moment.

use std::collections::BTreeMap;

use router_alerts::{
    Condition, Severity,
    delivery::DeliveryProgress,
    event::AlertVerb,
    matcher::Matcher,
    record::{Record, RecordChange},
    silence::{Silence, SilenceId},
};

use super::super::bench::{Bench, condition};

/// Pseudo-random numbers (xorshift64): the same in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

/// Everything but the groups, in an order of its own.
fn changes(record: &Record) -> Vec<String> {
    let is_group = |change: &&RecordChange| matches!(change, RecordChange::GroupHeard { .. });
    // A floor of nothing is written by nobody.
    let is_nothing = |change: &&RecordChange| **change == RecordChange::FiringFloor(0);
    let changes = record.changes.iter();
    let mut changes: Vec<String> = changes
        .filter(|change| !is_group(change) && !is_nothing(change))
        .map(|change| serde_json::to_string(change).unwrap())
        .collect();
    changes.sort();
    changes
}

/// When each sink heard last of each open group: of the alerts in it, or said by itself.
fn groups(record: &Record) -> BTreeMap<(String, String), u64> {
    let mut groups = BTreeMap::new();
    let mut note = |sink: &str, group: &str, at_ms: u64| {
        let known = groups.entry((sink.to_owned(), group.to_owned()));
        let known = known.or_insert(at_ms);
        *known = at_ms.max(*known);
    };
    for change in &record.changes {
        match change {
            RecordChange::Alert { alert, .. } => {
                for (sink, heard) in &alert.heard {
                    note(sink, &heard.group_key, heard.at_ms);
                }
                for one in &alert.closings {
                    note(&one.sink, &one.group_key, one.heard_ms);
                }
            }
            RecordChange::GroupHeard {
                sink,
                group_key,
                at_ms,
            } => note(sink, group_key, *at_ms),
            _ => {}
        }
    }
    groups
}

fn check(bench: &Bench, moment: &str) {
    let (snapshot, restored) = (bench.engine.snapshot(), bench.restored());
    assert_eq!(changes(&restored), changes(&snapshot), "{moment}");
    let known = groups(&restored);
    for (group, at_ms) in groups(&snapshot) {
        assert_eq!(known.get(&group), Some(&at_ms), "{moment}: {group:?}");
    }
}

#[test]
fn at_any_moment_the_journal_has_what_the_engine_has() {
    for seed in 1..=6 {
        let mut dice = Dice(seed * 0x9e37_79b9);
        let mut bench = Bench::settled();
        let mut holds: Vec<Condition> = Vec::new();
        for step in 0..300 {
            let key = format!("k{}", dice.below(6));
            match dice.below(10) {
                0..=3 => {
                    let severity = Severity::ALL[usize::try_from(dice.below(4)).unwrap()];
                    holds.retain(|one| one.key != key);
                    holds.push(condition(&key, severity));
                }
                4..=5 => holds.retain(|one| one.key != key),
                6 => bench.acknowledge(&key),
                7 => bench.command(AlertVerb::AddSilence(Silence {
                    matcher: Matcher {
                        severity: vec![Severity::P3],
                        ..Matcher::default()
                    },
                    author: "alice".to_owned(),
                    reason: "known".to_owned(),
                    starts_ms: bench.now_ms,
                    ends_ms: bench.now_ms + 60_000,
                })),
                8 => bench.command(AlertVerb::EndSilence(SilenceId(dice.below(9) + 1))),
                _ => {
                    if let Some(delivery) = bench.sent.pop() {
                        bench.report(&delivery, DeliveryProgress::Delivered { attempt: 1 });
                    }
                }
            }
            let seconds = [10, 10, 30, 400][usize::try_from(dice.below(4)).unwrap()];
            bench.pass(seconds, &holds);
            check(&bench, &format!("seed {seed}, step {step}"));
        }
    }
}

/// A group that goes on without one of its alerts was heard of when the sink heard that. The alerts that are left do not say so.
#[test]
fn a_group_is_known_to_have_been_heard_of_by_an_end() {
    let mut bench = Bench::settled();
    let (a, b) = (condition("a", Severity::P3), condition("b", Severity::P3));
    bench.pass(60, &[a.clone(), b]);
    bench.pass(600, std::slice::from_ref(&a));
    let last = bench.sent.last().unwrap();
    assert_eq!(last.occasion.as_str(), "some_resolved", "{last:?}");
    let is_heard = |change: &RecordChange| matches!(change, RecordChange::GroupHeard { at_ms, .. } if *at_ms == last.decided_ms);
    assert!(bench.restored().changes.iter().any(is_heard));
    check(&bench, "the group goes on");
    // Its end removes the row.
    bench.pass(600, &[]);
    assert!(
        bench
            .journal
            .rows
            .keys()
            .all(|key| !key.starts_with("group/"))
    );
}

#[test]
fn what_is_forgotten_leaves_a_number_and_the_numbers_have_a_bound() {
    let mut bench = Bench::settled();
    bench.pass(20, &[condition("a", Severity::P2)]);
    bench.pass(3_600, &[]);
    let keys: Vec<&String> = bench.journal.rows.keys().collect();
    assert!(
        keys.len() == 1 && keys[0].starts_with("tombstone/"),
        "{keys:?}"
    );
    // It comes back under the next number.
    bench.pass(20, &[condition("a", Severity::P2)]);
    assert_eq!(bench.row("a", 2).state, "firing");
    assert!(
        bench
            .journal
            .rows
            .keys()
            .all(|key| key.starts_with("alert/"))
    );
}
