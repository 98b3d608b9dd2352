//! Asking the alert rules: every ten seconds, when the state of something changes, and when what was named has held for as long as it
//! must, for only an answer makes it fire; at most once a second.
//!
//! A rule that does not answer is left out: its alerts stay as they are. That it does not is logged once, and again when it answers.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use router_alerts::{Condition, event::RuleAnswer, facts::FleetFacts};
use router_engine::Engine;
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep_until},
};

use super::facts::FactSources;
use crate::meters::RouterMeters;

/// How often rules are asked where nothing changes.
const ASK_EVERY: Duration = Duration::from_secs(10);

/// Longer than the loop takes to take an answer in: what must hold for ten seconds has done so when it is asked about again.
const DUE_SLACK: Duration = Duration::from_millis(250);

/// The least time between two rounds: a storm of changes is one.
const ASK_PAUSE: Duration = Duration::from_secs(1);

/// Where the sinks stand, for the rules.
pub(crate) type SinkStates = watch::Receiver<Vec<router_alerts::facts::SinkFacts>>;

/// Asks until nobody wants answers any more.
pub(crate) struct RuleAsker {
    pub(crate) sources: FactSources,
    /// The names of the rules, as they are configured.
    pub(crate) rules: watch::Receiver<Arc<[Arc<str>]>>,
    pub(crate) sinks: SinkStates,
    /// What happens to the fleet and the plugins.
    pub(crate) changes: watch::Receiver<()>,
    pub(crate) answers: mpsc::Sender<RuleAnswer>,
}

impl RuleAsker {
    /// Runs until the alerts' loop has ended.
    pub(crate) async fn run(mut self) {
        let silent = Arc::new(SilentRules::default());
        let mut pending = PendingConditions::default();
        let mut round: u64 = 0;
        loop {
            let asked_at = Instant::now();
            round += 1;
            self.changes.mark_unchanged();
            let sinks = self.sinks.borrow().clone();
            let due = match self.sources.gather(sinks).await {
                Ok(pages) => {
                    let named = self.ask_all(round, pages.into(), &silent).await;
                    pending.next_due(named, Instant::now())
                }
                Err(error) => {
                    tracing::warn!(error = %error, "alert rules not asked: the fleet is not known");
                    None
                }
            };
            let next = asked_at + ASK_EVERY;
            let next = due.map_or(next, |due| due.min(next));
            if self.answers.is_closed() {
                return;
            }
            sleep_until(asked_at + ASK_PAUSE).await;
            tokio::select! {
                () = sleep_until(next) => {}
                changed = self.changes.changed() => if changed.is_err() { return },
                changed = self.rules.changed() => if changed.is_err() { return },
            }
        }
    }

    /// Asks every rule at once, and each about one page after the other. What they named that must hold for some time.
    async fn ask_all(
        &self,
        round: u64,
        pages: Arc<[FleetFacts]>,
        silent: &Arc<SilentRules>,
    ) -> Vec<Lasting> {
        let rules = Arc::clone(&self.rules.borrow());
        let asked = rules.iter().map(|rule| {
            let asking = RuleQuestion {
                engine: self.sources.engine.clone(),
                rule: Arc::clone(rule),
                round,
                pages: Arc::clone(&pages),
                answers: self.answers.clone(),
                silent: Arc::clone(silent),
                meters: Arc::clone(&self.sources.meters),
            };
            tokio::spawn(asking.run())
        });
        let mut named = Vec::new();
        for asked in asked.collect::<Vec<_>>() {
            // It has a deadline for each page.
            named.extend(asked.await.unwrap_or_default());
        }
        named
    }
}

/// A condition that must hold for some time: its key, and for how long.
struct Lasting {
    key: String,
    needed: Duration,
}

impl Lasting {
    fn of(condition: &Condition) -> Option<Self> {
        let needed = Duration::from_millis(condition.for_ms);
        let key = condition.key.clone();
        (!needed.is_zero()).then_some(Self { key, needed })
    }
}

/// Since when what the rules name has been named, of what must hold for some time: at most as much as answers may hold.
#[derive(Default)]
struct PendingConditions {
    since: HashMap<String, Instant>,
}

impl PendingConditions {
    /// Takes in what a round named, and returns when the first of it that has not held for long enough will have.
    fn next_due(&mut self, named: Vec<Lasting>, now: Instant) -> Option<Instant> {
        let before = std::mem::take(&mut self.since);
        let mut soonest: Option<Instant> = None;
        for Lasting { key, needed } in named {
            let since = before.get(&key).copied().unwrap_or(now);
            let due = since + needed + DUE_SLACK;
            if due > now {
                soonest = Some(soonest.map_or(due, |soonest| soonest.min(due)));
            }
            self.since.insert(key, since);
        }
        soonest
    }
}

/// One rule that is asked about every page of one round.
struct RuleQuestion {
    engine: Engine,
    rule: Arc<str>,
    round: u64,
    pages: Arc<[FleetFacts]>,
    answers: mpsc::Sender<RuleAnswer>,
    silent: Arc<SilentRules>,
    meters: Arc<RouterMeters>,
}

impl RuleQuestion {
    async fn run(self) -> Vec<Lasting> {
        let mut took = Duration::ZERO;
        let mut named = Vec::new();
        for fleet in self.pages.iter() {
            let page = fleet.page;
            let begun = Instant::now();
            let answer = self.engine.evaluate(&self.rule, fleet.clone()).await;
            took += begun.elapsed();
            let reason = match answer {
                Some(Ok(conditions)) => {
                    named.extend(conditions.iter().filter_map(Lasting::of));
                    let answer = RuleAnswer {
                        rule: Arc::clone(&self.rule),
                        round: self.round,
                        page,
                        conditions,
                    };
                    if self.answers.send(answer).await.is_err() {
                        return named;
                    }
                    continue;
                }
                Some(Err(failure)) => failure.to_string(),
                // After a start it is compiled first.
                None if self.is_loading() => return named,
                None => self.engine.why_silent(&self.rule),
            };
            self.silent.note(&self.rule, Some(reason));
            return named;
        }
        let meters = self.meters.metrics.alerts();
        meters.observe_evaluation(&self.rule, took);
        self.silent.note(&self.rule, None);
        named
    }

    fn is_loading(&self) -> bool {
        let view = self.engine.show(&self.rule);
        view.is_some_and(|view| view.state == "loading")
    }
}

/// Rules that did not answer when they were asked last. Why is logged once; what happens to their plugins meanwhile is logged by itself.
#[derive(Default)]
struct SilentRules(Mutex<BTreeSet<Arc<str>>>);

impl SilentRules {
    fn note(&self, rule: &Arc<str>, reason: Option<String>) {
        let mut silent = self.0.lock();
        match reason {
            Some(reason) if !silent.contains(rule) => {
                tracing::error!(
                    plugin = &**rule,
                    reason,
                    "alert rule does not answer: its alerts stay as they are"
                );
                silent.insert(Arc::clone(rule));
            }
            Some(_) => {}
            None => {
                if silent.remove(rule) {
                    tracing::info!(plugin = &**rule, "alert rule answers again");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::{DUE_SLACK, Lasting, PendingConditions};

    #[test]
    fn rules_are_asked_when_what_they_named_has_held_for_long_enough() {
        let second = Duration::from_secs(1);
        let lasting = |key: &str, seconds: u32| Lasting {
            key: key.to_owned(),
            needed: second * seconds,
        };
        let begun = Instant::now();
        let mut pending = PendingConditions::default();
        let ten = begun + second * 10 + DUE_SLACK;
        let due = pending.next_due(vec![lasting("a", 10), lasting("b", 60)], begun);
        assert_eq!(due, Some(ten));
        // Another round in between changes nothing of that; once it was asked about then, the next one counts.
        let named = || vec![lasting("a", 10), lasting("b", 60)];
        assert_eq!(pending.next_due(named(), begun + second * 9), Some(ten));
        let after = pending.next_due(named(), ten);
        assert_eq!(after, Some(begun + second * 60 + DUE_SLACK));
        // What was not named meanwhile begins anew.
        assert_eq!(pending.next_due(Vec::new(), ten), None);
        let anew = pending.next_due(vec![lasting("a", 10)], ten);
        assert_eq!(anew, Some(ten + second * 10 + DUE_SLACK));
    }
}
