//! Asking the alert rules: every ten seconds, and when the state of something changes, at most once a second.
//!
//! A rule that does not answer is left out: its alerts stay as they are. That it does not is logged once, and again when it answers.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use parking_lot::Mutex;
use router_alerts::{event::RuleAnswer, facts::FleetFacts};
use router_engine::Engine;
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep_until},
};

use super::facts::FactSources;
use crate::meters::RouterMeters;

/// How often rules are asked where nothing changes.
const ASK_EVERY: Duration = Duration::from_secs(10);

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
        let mut round: u64 = 0;
        loop {
            let asked_at = Instant::now();
            round += 1;
            self.changes.mark_unchanged();
            let sinks = self.sinks.borrow().clone();
            match self.sources.gather(sinks).await {
                Ok(pages) => self.ask_all(round, pages.into(), &silent).await,
                Err(error) => {
                    tracing::warn!(error = %error, "alert rules not asked: the fleet is not known");
                }
            }
            if self.answers.is_closed() {
                return;
            }
            sleep_until(asked_at + ASK_PAUSE).await;
            tokio::select! {
                () = sleep_until(asked_at + ASK_EVERY) => {}
                changed = self.changes.changed() => if changed.is_err() { return },
                changed = self.rules.changed() => if changed.is_err() { return },
            }
        }
    }

    /// Asks every rule at once, and each about one page after the other.
    async fn ask_all(&self, round: u64, pages: Arc<[FleetFacts]>, silent: &Arc<SilentRules>) {
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
        for asked in asked.collect::<Vec<_>>() {
            // It has a deadline for each page.
            let _ = asked.await;
        }
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
    async fn run(self) {
        let mut took = Duration::ZERO;
        for fleet in self.pages.iter() {
            let page = fleet.page;
            let begun = Instant::now();
            let answer = self.engine.evaluate(&self.rule, fleet.clone()).await;
            took += begun.elapsed();
            let reason = match answer {
                Some(Ok(conditions)) => {
                    let answer = RuleAnswer {
                        rule: Arc::clone(&self.rule),
                        round: self.round,
                        page,
                        conditions,
                    };
                    if self.answers.send(answer).await.is_err() {
                        return;
                    }
                    continue;
                }
                Some(Err(failure)) => failure.to_string(),
                // After a start it is compiled first.
                None if self.is_loading() => return,
                None => self.engine.why_silent(&self.rule),
            };
            return self.silent.note(&self.rule, Some(reason));
        }
        let meters = self.meters.metrics.alerts();
        meters.observe_evaluation(&self.rule, took);
        self.silent.note(&self.rule, None);
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
