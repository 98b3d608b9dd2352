//! The last calls of a plugin, and the figures made of them: those of the generation that serves, so that a new one shows whether it
//! does better, and those of the plugin's whole life, which only grow.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use crate::{
    failure::{CallFailure, FailureKind},
    kinds::Record,
    view::{Decision, LastFailure, PluginCalls},
};

use super::unix_ms;

/// Decisions that are kept per plugin, the memory that they may take, and durations that figures are made of. One takes some
/// hundred bytes, and thirty thousand where a guest says as much as it may.
const DECISIONS_MAX: usize = 256;
const DECISIONS_BYTES_MAX: usize = 1024 * 1024;
const DURATIONS_MAX: usize = 1024;

/// See the module.
#[derive(Default)]
pub(super) struct History {
    /// Of the generation that serves.
    pub(super) current: Tally,
    /// Of all generations.
    pub(super) lifetime: Tally,
    pub(super) call_time: Duration,
    decisions: VecDeque<Decision>,
    decisions_bytes: usize,
    /// Of the generation that serves.
    durations: VecDeque<f64>,
}

/// How calls ended.
#[derive(Default)]
pub(super) struct Tally {
    pub(super) calls: u64,
    pub(super) failures: BTreeMap<FailureKind, u64>,
    pub(super) last_failure: Option<LastFailure>,
}

impl Tally {
    fn add(&mut self, failure: Option<&LastFailure>) {
        self.calls += 1;
        if let Some(failure) = failure {
            *self.failures.entry(failure.kind).or_default() += 1;
            self.last_failure = Some(failure.clone());
        }
    }

    pub(super) fn failures_by_kind(&self) -> BTreeMap<&'static str, u64> {
        let failures = self.failures.iter();
        failures
            .map(|(kind, count)| (kind.as_str(), *count))
            .collect()
    }
}

impl History {
    /// A new generation serves.
    pub(super) fn begin_generation(&mut self) {
        self.current = Tally::default();
        self.durations.clear();
    }

    /// Takes in one call, of the generation that serves or of one before it.
    pub(super) fn add(
        &mut self,
        (generation, is_serving): (u64, bool),
        record: Arc<dyn Record>,
        failure: Option<&CallFailure>,
        took: Duration,
    ) {
        let at_ms = unix_ms();
        let failure = failure.map(|failure| LastFailure {
            at_ms,
            generation,
            kind: failure.kind,
            reason: failure.message.clone(),
            printed: failure.printed.clone(),
        });
        self.lifetime.add(failure.as_ref());
        self.call_time += took;
        let micros = took.as_secs_f64() * 1e6;
        if is_serving {
            self.current.add(failure.as_ref());
            if self.durations.len() == DURATIONS_MAX {
                self.durations.pop_front();
            }
            self.durations.push_back(micros);
        }
        self.keep(Decision {
            at_ms,
            generation,
            micros,
            record,
        });
    }

    fn keep(&mut self, decision: Decision) {
        self.decisions_bytes += decision.bytes();
        self.decisions.push_back(decision);
        while self.decisions.len() > DECISIONS_MAX || self.decisions_bytes > DECISIONS_BYTES_MAX {
            let Some(oldest) = self.decisions.pop_front() else {
                return;
            };
            self.decisions_bytes -= oldest.bytes();
        }
    }

    /// The last decisions, the newest first.
    pub(super) fn decisions(&self) -> Vec<Decision> {
        self.decisions.iter().rev().cloned().collect()
    }

    /// How long the last calls took.
    pub(super) fn figures(&self) -> PluginCalls {
        let mut sorted: Vec<f64> = self.durations.iter().copied().collect();
        sorted.sort_by(f64::total_cmp);
        let at = |share: f64| {
            // Nearest rank.
            let rank = (sorted.len() as f64 * share).ceil() as usize;
            sorted.get(rank.saturating_sub(1)).copied()
        };
        PluginCalls {
            p50: at(0.5),
            p99: at(0.99),
        }
    }
}

#[cfg(test)]
mod tests {
    use router_core::health::{Health, HealthFacts, HealthVerdict};

    use super::{DECISIONS_BYTES_MAX, DECISIONS_MAX, Decision, History};
    use crate::kinds::{HealthKind, record};

    #[test]
    fn decisions_take_no_more_than_their_share() {
        let decision = |attributes: usize| Decision {
            at_ms: 0,
            generation: 1,
            micros: 1.0,
            record: record::<HealthKind>(
                HealthFacts::default(),
                &Ok(HealthVerdict {
                    health: Health::Degraded,
                    reason: "slow".to_owned(),
                    recycle: false,
                    attributes: vec![("n".repeat(256), "v".repeat(256)); attributes],
                }),
            ),
        };
        let mut history = History::default();
        for _ in 0..2 * DECISIONS_MAX {
            history.keep(decision(64));
            assert!(history.decisions_bytes <= DECISIONS_BYTES_MAX);
        }
        assert!(history.decisions.len() < DECISIONS_MAX);
        for _ in 0..2 * DECISIONS_MAX {
            history.keep(decision(0));
        }
        assert_eq!(history.decisions.len(), DECISIONS_MAX);
        let bytes: usize = history.decisions.iter().map(Decision::bytes).sum();
        assert_eq!(history.decisions_bytes, bytes);
        let shown = serde_json::to_value(decision(1)).unwrap();
        assert_eq!(shown["health"], "degraded");
        assert_eq!(shown["attributes"]["n".repeat(256)], "v".repeat(256));
    }
}
