//! What state each condition's alert must be in, reckoned from what its rule answered and what people did, in other terms than the
//! engine's: the oracle.

use std::collections::BTreeSet;

use crate::condition::Severity;

const RESOLVE_AFTER_MS: u64 = 30_000;
const QUARTER_MS: u64 = 15 * 60_000;

/// What the oracle expects of one alert.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Expected {
    /// Nothing, or something that has ended.
    Over,
    Pending,
    Firing,
    Acknowledged,
}

#[derive(Debug, Clone)]
pub(super) struct Level {
    pub(super) rule: usize,
    pub(super) page: u32,
    pub(super) name: &'static str,
    pub(super) has_instance: bool,
    pub(super) for_ms: u64,
    /// Whether the fact holds at this moment, and as what.
    pub(super) holds: bool,
    pub(super) given: Severity,
    /// From here on: as the answers had it.
    pub(super) expected: Expected,
    pub(super) severity: Severity,
    pub(super) firing: u32,
    pub(super) pending_since_ms: u64,
    pub(super) fired_ms: u64,
    pub(super) over_ms: u64,
    pub(super) ack_until_ms: u64,
    /// When somebody said last that he is on the present firing.
    pub(super) acknowledged_ms: Option<u64>,
    /// What was done last came of a link that was outdated.
    pub(super) link_outdated: bool,
    pub(super) absent_since_ms: Option<u64>,
    lower_since_ms: Option<u64>,
    ends: Vec<u64>,
    pub(super) flaps: bool,
    pub(super) closed_by_hand: bool,
    /// When it last fired, was raised or released, so that its escalation begins anew.
    pub(super) anew: bool,
    /// The last firing began because the severity of what was acknowledged rose.
    pub(super) raised: bool,
}

impl Level {
    pub(super) fn new(rule: usize, page: u32, name: &'static str, given: Severity) -> Self {
        Self {
            rule,
            page,
            name,
            has_instance: false,
            for_ms: 0,
            holds: false,
            given,
            expected: Expected::Over,
            severity: given,
            firing: 0,
            pending_since_ms: 0,
            fired_ms: 0,
            over_ms: 0,
            ack_until_ms: 0,
            acknowledged_ms: None,
            link_outdated: false,
            absent_since_ms: None,
            lower_since_ms: None,
            ends: Vec::new(),
            flaps: false,
            closed_by_hand: false,
            anew: false,
            raised: false,
        }
    }

    pub(super) fn is_open(&self) -> bool {
        matches!(self.expected, Expected::Firing | Expected::Acknowledged)
    }

    /// Its rule named it, with what it holds as.
    pub(super) fn named(&mut self, now_ms: u64) {
        self.absent_since_ms = None;
        if self.is_open() {
            self.compare(now_ms);
            return;
        }
        if self.closed_by_hand {
            if self.given >= self.severity {
                return;
            }
            self.closed_by_hand = false;
        }
        if self.expected == Expected::Over {
            self.expected = Expected::Pending;
            self.pending_since_ms = now_ms;
        }
        self.severity = self.given;
        if now_ms - self.pending_since_ms >= self.for_ms {
            self.fire(now_ms);
            self.raised = false;
        }
    }

    fn fire(&mut self, now_ms: u64) {
        self.expected = Expected::Firing;
        self.firing += 1;
        self.fired_ms = now_ms;
        self.acknowledged_ms = None;
        self.lower_since_ms = None;
        self.anew = true;
    }

    fn compare(&mut self, now_ms: u64) {
        if self.given == self.severity {
            self.lower_since_ms = None;
        } else if self.given < self.severity {
            self.lower_since_ms = None;
            self.severity = self.given;
            self.anew = true;
            if self.expected == Expected::Acknowledged {
                self.fire(now_ms);
                self.raised = true;
            }
        } else {
            let since_ms = *self.lower_since_ms.get_or_insert(now_ms);
            if now_ms - since_ms >= QUARTER_MS {
                self.severity = self.given;
                self.lower_since_ms = None;
            }
        }
    }

    /// Every page of a round was answered, and it was in none.
    pub(super) fn not_named(&mut self, now_ms: u64) {
        let gone_ms = now_ms - *self.absent_since_ms.get_or_insert(now_ms);
        match self.expected {
            Expected::Over => {
                if gone_ms >= RESOLVE_AFTER_MS {
                    self.closed_by_hand = false;
                }
            }
            Expected::Pending => {
                self.expected = Expected::Over;
                self.over_ms = now_ms;
            }
            Expected::Firing | Expected::Acknowledged => {
                if self.flaps {
                    if gone_ms >= QUARTER_MS {
                        self.flaps = false;
                        self.ends.clear();
                        self.end(now_ms);
                    }
                } else if gone_ms >= RESOLVE_AFTER_MS {
                    self.ends.retain(|at_ms| now_ms - at_ms < QUARTER_MS);
                    if self.ends.len() >= 2 {
                        self.flaps = true;
                    } else {
                        self.ends.push(now_ms);
                        self.end(now_ms);
                    }
                }
            }
        }
    }

    pub(super) fn end(&mut self, now_ms: u64) {
        self.expected = Expected::Over;
        self.over_ms = now_ms;
        self.flaps = false;
    }

    /// What a restart forgets.
    pub(super) fn restart(&mut self) {
        self.absent_since_ms = None;
        self.lower_since_ms = None;
    }

    /// Somebody is on it.
    pub(super) fn acknowledge(&mut self, now_ms: u64, until_ms: u64) {
        self.expected = Expected::Acknowledged;
        self.ack_until_ms = until_ms;
        self.acknowledged_ms = Some(now_ms);
    }

    /// An acknowledgement that is over.
    pub(super) fn pass(&mut self, now_ms: u64) {
        if self.expected == Expected::Acknowledged && self.ack_until_ms <= now_ms {
            self.expected = Expected::Firing;
            self.anew = true;
        }
    }
}

/// The answers of one round, as a rule gives them.
#[derive(Debug, Clone, Default)]
pub(super) struct Rounds {
    pub(super) number: u64,
    pub(super) answered: BTreeSet<u32>,
    pub(super) named: BTreeSet<usize>,
    pub(super) complete_ms: u64,
    pub(super) has_answered: bool,
    pub(super) silent_until_ms: u64,
}
